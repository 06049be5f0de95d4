-- The hourly rollup of analytics_events (docs/hourly-rollup.md): tables, partitions, state, queue.
--
-- analytics_events may be there already, plain or partitioned, with other columns beside these and
-- ids of any type: it is not rewritten. The design's analytics_events_hourly_agg is taken over below.

-- A large table is copied, or indexed, in one statement; Supabase ends statements after two minutes.
set local statement_timeout = '2h';

-- Row level security on, and nothing for strangers. On Supabase a new table is everybody's else.
create or replace function public.analytics_rollup_close(of_table regclass)
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  role text;
begin
  execute format('alter table %s enable row level security', of_table);
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_catalog.pg_roles where rolname = role) then
      execute format('revoke all on %s from %I', of_table, role);
    end if;
  end loop;
end
$$;

-- When a day of a zone begins. Where the clocks go back at midnight it comes twice: the first counts,
-- as `(moment at time zone zone)::date` has it.
create or replace function public.analytics_day_start(day date, zone text)
returns timestamptz language sql immutable parallel safe as $$
  select case when t.first at time zone zone = day::timestamp then least(t.first, t.midnight)
    else t.midnight end
  from (
    select day::timestamp at time zone zone as midnight,
      (day::timestamp - interval '3 hours') at time zone zone + interval '3 hours' as first
  ) as t
$$;

-- The partition of `parent` for the UTC month of `moment`; nothing where there is one, where the default
-- partition already holds rows of the month, or for odd times. Attached, so that nobody waits.
create or replace function public.analytics_rollup_make_month(parent regclass, moment timestamptz)
returns void language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
set lock_timeout = '20s' as $$
declare
  first constant timestamptz := date_trunc('month', moment);
  after constant timestamptz := first + interval '1 month';
  base constant text := (select relname from pg_catalog.pg_class where oid = parent);
  name constant text := base || to_char(first, '"_y"YYYY"m"MM');
begin
  if to_regclass('public.' || quote_ident(name)) is not null
    or moment not between now() - interval '20 years' and now() + interval '2 years'
    or not exists (select from pg_catalog.pg_class where oid = parent and relkind = 'p')
  then
    return;
  end if;
  perform pg_advisory_xact_lock(72062020, (parent::oid::bigint - 2147483648)::integer);
  -- Another session may have made it meanwhile: to_regclass() would answer from what it saw before.
  if exists (
    select from pg_catalog.pg_class
    where relname = name and relnamespace = 'public'::regnamespace
  ) then
    return;
  end if;
  execute format('create table public.%I (like %s including all)', name, parent);
  perform public.analytics_rollup_close(format('public.%I', name)::regclass);
  begin
    execute format('alter table %s attach partition public.%I for values from (%L) to (%L)',
                   parent, name, first, after);
  exception
    -- The default partition holds rows of the month, or one of another kind covers it.
    when check_violation or invalid_object_definition then
      execute format('drop table public.%I', name);
  end;
end
$$;

-- Whether the table is one that the block below made, not a user's own.
create or replace function public.analytics_events_are_ours()
returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(obj_description(to_regclass('public.analytics_events'), 'pg_class')
    ~ 'made by analytics-aggregator', false)
$$;

create or replace function public.analytics_rollup_make_months(from_at timestamptz, to_at timestamptz)
returns void language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  name text;
  month timestamptz;
begin
  foreach name in array array[
    'analytics_events', 'analytics_events_hourly_agg', 'analytics_visitor_hour'
  ] loop
    for month in
      select generate_series(date_trunc('month', from_at), to_at, interval '1 month')
    loop
      -- A table that the user partitions otherwise stays as it is.
      if name <> 'analytics_events' or public.analytics_events_are_ours() then
        perform public.analytics_rollup_make_month(('public.' || name)::regclass, month);
      end if;
    end loop;
  end loop;
end
$$;

-- Events. By month, so that old months leave as a whole; the default partition takes every other time.
do $$
begin
  if to_regclass('public.analytics_events') is null then
    create sequence public.analytics_events_id_seq;
    create table public.analytics_events (
      id bigint not null default nextval('public.analytics_events_id_seq'),
      project_id text not null,
      visitor_id text,
      session_id text,
      event_type text not null,
      event_label text,
      event_data jsonb,
      created_at timestamptz not null default now(),
      primary key (id, created_at)
    ) partition by range (created_at);
    alter sequence public.analytics_events_id_seq owned by public.analytics_events.id;
    comment on table public.analytics_events is
      'Events, one partition a month: made by analytics-aggregator.';
    create table public.analytics_events_default partition of public.analytics_events default;
    perform public.analytics_rollup_close('public.analytics_events'::regclass);
    perform public.analytics_rollup_close('public.analytics_events_default'::regclass);
  elsif (select relkind not in ('r', 'p') from pg_class
         where oid = 'public.analytics_events'::regclass) then
    raise exception 'analytics_events is no table: the rollup needs triggers on it'
      using errcode = 'feature_not_supported';
  elsif exists (
    select from unnest(array['project_id', 'visitor_id', 'session_id', 'event_type', 'event_label',
                             'created_at']) as c(name)
    where not exists (
      select from pg_attribute a where a.attrelid = 'public.analytics_events'::regclass
        and a.attname = c.name and not a.attisdropped)
  ) then
    raise exception 'analytics_events lacks one of project_id, visitor_id, session_id, event_type, '
      'event_label, created_at' using errcode = 'feature_not_supported';
  elsif (
    select atttypid not in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
    from pg_attribute
    where attrelid = 'public.analytics_events'::regclass and attname = 'created_at'
  ) then
    raise exception 'analytics_events.created_at is no time: the rollup goes by it'
      using errcode = 'feature_not_supported';
  end if;
end
$$;

-- An hour of all projects, and a stretch of one project, are what is read of it. An index of the
-- user's own that begins with the same columns serves as well.
do $$
declare
  wanted text[];
begin
  for wanted in select * from (values (array['created_at', null]), (array['project_id', 'created_at'])) v
  loop
    if not exists (
      select from pg_index i
      where i.indrelid = 'public.analytics_events'::regclass and i.indisvalid
        and i.indpred is null
        and (
          select array_agg(a.attname::text order by k.n)
          from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality as k(attnum, n)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where k.n <= cardinality(array_remove(wanted, null))
        ) = array_remove(wanted, null)
        and (
          select m.amname from pg_class c join pg_am m on m.oid = c.relam where c.oid = i.indexrelid
        ) = 'btree'
    ) then
      execute format('create index on public.analytics_events (%s)',
                     array_to_string(array_remove(wanted, null), ', '));
    end if;
  end loop;
end
$$;

-- The design's table, if there is one, makes room; its rows are copied below.
do $$
declare
  before constant regclass := to_regclass('public.analytics_events_hourly_agg');
  kind constant text := (select relkind from pg_class where oid = before);
  others text;
  readers text;
begin
  if kind not in ('r', 'p') then
    raise exception 'analytics_events_hourly_agg is no table: rename it, or drop it, and migrate'
      using errcode = 'feature_not_supported';
  end if;
  if kind = 'r' then
    select string_agg(attname, ', ') into others from pg_attribute
    where attrelid = before and attnum > 0 and not attisdropped and attname not in (
      'id', 'project_id', 'event_type', 'event_label', 'hour_bucket', 'event_count',
      'unique_visitors', 'unique_sessions', 'created_at', 'updated_at');
    -- Said here, before anything is renamed: each file is a transaction of its own.
    select string_agg(distinct case when d.classid = 'pg_rewrite'::regclass
        then (select 'view ' || ev_class::regclass from pg_rewrite where oid = d.objid)
        else pg_describe_object(d.classid, d.objid, d.objsubid) end, ', ')
    into readers
    from pg_depend d
    where d.refclassid = 'pg_class'::regclass and d.refobjid = before and d.deptype = 'n'
      and d.classid in ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_constraint'::regclass)
      and not exists (select from pg_constraint k where k.oid = d.objid and k.conrelid = before);
    if readers is not null then
      raise exception 'analytics_events_hourly_agg is replaced by a partitioned table, and needed by: '
        '%. Drop what needs it, migrate, and create it again', readers
        using errcode = 'feature_not_supported';
    end if;
    if others is not null then
      raise exception 'analytics_events_hourly_agg has columns that the rollup does not know: %', others
        using errcode = 'feature_not_supported',
          hint = 'rename the table, and migrate: it is then made anew, from the events';
    end if;
    alter table public.analytics_events_hourly_agg rename to analytics_events_hourly_agg_before;
  end if;
end
$$;

create table if not exists public.analytics_events_hourly_agg (
  project_id text not null,
  event_type text not null,
  event_label text,
  hour_bucket timestamptz not null
    check (hour_bucket = date_bin('1 hour', hour_bucket, timestamptz '2000-01-01 00:00+00')),
  event_count bigint not null,
  unique_visitors bigint not null,
  unique_sessions bigint not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint analytics_events_hourly_agg_key
    unique nulls not distinct (project_id, hour_bucket, event_type, event_label)
) partition by range (hour_bucket);
create index if not exists analytics_events_hourly_agg_hour_idx
  on public.analytics_events_hourly_agg (hour_bucket);
create table if not exists public.analytics_events_hourly_agg_default
  partition of public.analytics_events_hourly_agg default;

comment on table public.analytics_events_hourly_agg is
  'Events by UTC hour, type and label. Unique counts are of the row: never sum them.';

-- Hashes of the ids seen in an hour: unique counts of any range of hours are counts over these.
create table if not exists public.analytics_visitor_hour (
  project_id text not null,
  hour_bucket timestamptz not null,
  event_type text not null,
  visitors bigint[] not null,
  sessions bigint[] not null,
  fingerprint bigint not null,
  primary key (project_id, hour_bucket, event_type)
) partition by range (hour_bucket);
create index if not exists analytics_visitor_hour_hour_idx
  on public.analytics_visitor_hour (hour_bucket);
create table if not exists public.analytics_visitor_hour_default
  partition of public.analytics_visitor_hour default;

comment on column public.analytics_visitor_hour.fingerprint is
  'A sum of hashes of the events themselves: another one says that the day has to be counted again.';

create table if not exists public.analytics_events_daily_agg (
  project_id text not null,
  day date not null,
  grain text not null check (grain in ('project', 'type', 'label')),
  event_type text,
  event_label text,
  event_count bigint not null,
  unique_visitors bigint not null,
  unique_sessions bigint not null,
  updated_at timestamptz not null default now(),
  constraint analytics_events_daily_agg_key
    unique nulls not distinct (project_id, grain, day, event_type, event_label)
);

comment on table public.analytics_events_daily_agg is
  'Closed days of the project''s time zone, each grain with its own unique counts: never sum them.';

create table if not exists public.analytics_visitor_day (
  project_id text not null,
  day date not null,
  grain text not null,
  event_type text,
  event_label text,
  visitors bigint[] not null,
  sessions bigint[] not null,
  constraint analytics_visitor_day_key
    unique nulls not distinct (project_id, grain, day, event_type, event_label)
);

-- Hashes do not compress: trying to would only cost time.
do $$
declare
  name text;
begin
  foreach name in array array['visitor_hour', 'visitor_hour_default', 'visitor_day'] loop
    execute format('alter table public.analytics_%s alter column visitors set storage external, '
                   'alter column sessions set storage external', name);
  end loop;
end
$$;

create table if not exists public.analytics_project_zones (
  project_id text primary key,
  time_zone text not null
    check ((timestamp '2000-01-01' at time zone time_zone) is not null)
);

comment on table public.analytics_project_zones is
  'Whose days a project''s daily numbers are; UTC for projects that are not here.';

-- Hours that have to be counted again: written by whoever changes events, in the same transaction.
-- Only ever appended to, so that no writer waits for another.
create table if not exists public.analytics_rollup_dirty (
  hour_bucket timestamptz not null,
  project_id text,
  marked_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
create index if not exists analytics_rollup_dirty_hour_idx
  on public.analytics_rollup_dirty (hour_bucket);

comment on column public.analytics_rollup_dirty.project_id is 'NULL: every project.';

create table if not exists public.analytics_rollup_dirty_days (
  project_id text not null,
  day date not null,
  marked_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000);
create index if not exists analytics_rollup_dirty_days_idx
  on public.analytics_rollup_dirty_days (day, project_id);

create table if not exists public.analytics_rollup_state (
  only_row boolean primary key default true check (only_row),
  frozen_before timestamptz not null default '-infinity',
  compacted_before timestamptz not null default '-infinity',
  sets_from timestamptz not null default '-infinity',
  compacted_at timestamptz,
  compact_after interval check (compact_after >= interval '1 day'),
  refreshed_at timestamptz
);
insert into public.analytics_rollup_state default values on conflict do nothing;

comment on column public.analytics_rollup_state.frozen_before is
  'What is stored of earlier hours stays, whatever becomes of their events (archived, deleted).';
comment on column public.analytics_rollup_state.compacted_before is
  'Of earlier hours only the daily rows are left.';
comment on column public.analytics_rollup_state.sets_from is
  'Rows of earlier hours were taken over from a table of the design: without sets of visitors.';
comment on column public.analytics_rollup_state.compact_after is
  'How old hourly rows become before only the daily ones are kept; NULL: they stay (90 days is usual).';

do $$
declare
  name text;
begin
  foreach name in array array[
    'events_hourly_agg', 'events_hourly_agg_default', 'visitor_hour', 'visitor_hour_default',
    'events_daily_agg', 'visitor_day', 'project_zones', 'rollup_dirty', 'rollup_dirty_days',
    'rollup_state'
  ] loop
    perform public.analytics_rollup_close(('public.analytics_' || name)::regclass);
  end loop;
end
$$;

select public.analytics_rollup_make_months(now() - interval '1 month', now() + interval '3 months');
