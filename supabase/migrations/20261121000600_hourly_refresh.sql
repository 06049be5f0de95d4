-- How the rollup stays true (docs/hourly-rollup.md): whoever changes events marks their hours in the
-- same transaction; refresh_hourly() counts marked hours again, whole. Nothing else writes aggregates.
--
-- Functions go by UTC whatever the session says; a created_at without time zone is taken for UTC.

set local statement_timeout = '2h'; -- the triggers wait for whoever writes events

create or replace function public.analytics_rollup_hour(moment timestamptz)
returns timestamptz language sql immutable parallel safe as $$
  select date_bin('1 hour', moment, timestamptz '2000-01-01 00:00+00')
$$;

-- Which events are counted: of a project, and of a time that has hours before and after it.
create or replace function public.analytics_counts(moment timestamptz, project text)
returns boolean language sql immutable parallel safe as $$
  select moment >= timestamptz '0001-01-02 00:00+00' and moment < timestamptz '9999-12-31 00:00+00'
    and octet_length(project) <= 500
$$;

-- A text that is too long for an index keeps its beginning and a hash of the whole.
create or replace function public.analytics_short(words text, bytes integer)
returns text language sql immutable parallel safe as $$
  select case when octet_length(words) > bytes then left(words, bytes / 5) || ' ... ' || md5(words)
    else words end
$$;

create or replace function public.analytics_rollup_zone(of_project text)
returns text language sql stable as $$
  select coalesce((
    select z.time_zone from public.analytics_project_zones z where z.project_id = of_project), 'UTC')
$$;

-- A statement that touches more hours and projects than this marks its hours for every project.
create or replace function public.analytics_rollup_mark_changes()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
  if tg_op = 'TRUNCATE' then
    perform public.analytics_rollup_check_isolation();
    perform public.analytics_rollup_mark();
  elsif tg_op in ('INSERT', 'DELETE') then
    with touched as materialized (
      select distinct public.analytics_rollup_hour(created_at) as hour, project_id::text as project
      from changed_rows where public.analytics_counts(created_at, project_id::text)
    ), few as materialized (select count(*) <= 5000 as yes from touched)
    insert into public.analytics_rollup_dirty (hour_bucket, project_id)
    select hour, project from touched, few where yes
    union all
    select distinct hour, null from touched, few where not yes;
  else
    with touched as materialized (
      select public.analytics_rollup_hour(created_at) as hour, project_id::text as project
      from old_rows where public.analytics_counts(created_at, project_id::text)
      union
      select public.analytics_rollup_hour(created_at), project_id::text
      from new_rows where public.analytics_counts(created_at, project_id::text)
    ), few as materialized (select count(*) <= 5000 as yes from touched)
    insert into public.analytics_rollup_dirty (hour_bucket, project_id)
    select hour, project from touched, few where yes
    union all
    select distinct hour, null from touched, few where not yes;
  end if;
  return null;
end
$$;

-- Puts the triggers on the table and on each of its partitions: a statement that names a partition
-- fires only that one's. "Always": a restore or a replica's session counts as well. Where rows went
-- unwatched, everything is marked. Says how many triggers were missing.
create or replace function public.analytics_rollup_watch()
returns integer language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  of_table regclass;
  operation text;
  name text;
  made integer := 0;
  has_rows boolean;
  unseen boolean := false;
begin
  for of_table in
    select relid from pg_catalog.pg_partition_tree('public.analytics_events') union
    select 'public.analytics_events'::regclass
  loop
    continue when (select relkind not in ('r', 'p') from pg_catalog.pg_class where oid = of_table);
    foreach operation in array array['insert', 'update', 'delete', 'truncate'] loop
      name := 'analytics_rollup_' || operation;
      continue when exists (
        select from pg_catalog.pg_trigger where tgrelid = of_table and tgname = name
          and tgenabled = 'A');
      execute format(
        'create or replace trigger %I after %s on %s %s for each statement '
        'execute function public.analytics_rollup_mark_changes()', name, operation, of_table,
        case operation
          when 'insert' then 'referencing new table as changed_rows'
          when 'delete' then 'referencing old table as changed_rows'
          when 'update' then 'referencing old table as old_rows new table as new_rows'
          else '' end);
      execute format('alter table %s enable always trigger %I', of_table, name);
      made := made + 1;
      execute format('select exists (select from %s)', of_table) into has_rows;
      unseen := unseen or has_rows;
    end loop;
  end loop;
  if unseen then -- by nobody knows which changes
    perform public.analytics_rollup_mark();
  end if;
  return made;
end
$$;

-- The hours of [from_at, to_at) that have events or rows. Leaps from hour to hour in the indexes: a
-- stray event of the year 1 costs nothing.
create or replace function public.analytics_rollup_known_hours(
  from_at timestamptz default '-infinity', to_at timestamptz default 'infinity')
returns setof timestamptz language sql stable
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
  (
    with recursive events as (
      select public.analytics_rollup_hour(min(e.created_at)) as hour
      from public.analytics_events e
      where e.created_at >= greatest(from_at, '0001-01-02 00:00+00')
        and e.created_at < least(to_at, '9999-12-31 00:00+00')
      union all
      select (select public.analytics_rollup_hour(min(e.created_at))
              from public.analytics_events e
              where e.created_at >= events.hour + interval '1 hour'
                and e.created_at < least(to_at, '9999-12-31 00:00+00'))
      from events where events.hour is not null
    )
    select hour from events where hour is not null
  ) union (
    with recursive hours as (
      select min(h.hour_bucket) as hour from public.analytics_events_hourly_agg h
      where h.hour_bucket >= from_at and h.hour_bucket < to_at
      union all
      select (select min(h.hour_bucket) from public.analytics_events_hourly_agg h
              where h.hour_bucket > hours.hour and h.hour_bucket < to_at)
      from hours where hours.hour is not null
    )
    select hour from hours where hour is not null
  )
$$;

-- Marks the UTC hours of [from_at, to_at), and the days that have rows there; says how many hours. The
-- way of a backfill and of a repair: whatever is wrong, marking mends it. Without `days_too` days are
-- counted again only where their hours turn out to have changed.
create or replace function public.analytics_rollup_mark(
  from_at timestamptz default '-infinity', to_at timestamptz default 'infinity',
  days_too boolean default true)
returns bigint language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  frozen constant timestamptz := (select frozen_before from public.analytics_rollup_state);
  marked bigint;
begin
  perform public.analytics_rollup_check_isolation();
  insert into public.analytics_rollup_dirty (hour_bucket)
  select hour from public.analytics_rollup_known_hours(from_at, to_at) as hour
  where hour >= frozen;
  get diagnostics marked = row_count;
  if not days_too then
    return marked;
  end if;
  insert into public.analytics_rollup_dirty_days (project_id, day)
  select d.project_id, d.day from public.analytics_events_daily_agg d
  where d.grain = 'project'
    and d.day >= (greatest(from_at, frozen) - interval '1 day')::date
    and d.day <= (to_at + interval '1 day')::date
  union
  select v.project_id, (v.hour_bucket at time zone public.analytics_rollup_zone(v.project_id))::date
  from (
    select distinct project_id, hour_bucket from public.analytics_visitor_hour
    where hour_bucket >= greatest(from_at, frozen) and hour_bucket < to_at
  ) as v;
  insert into public.analytics_rollup_dirty_returns (project_id, grain, day, event_type, event_label)
  select v.project_id, v.grain, v.day, v.event_type, v.event_label
  from public.analytics_visitor_day v
  where v.day >= (greatest(from_at, frozen) - interval '1 day')::date
    and v.day <= (to_at + interval '1 day')::date;
  return marked;
end
$$;

-- A project's id in the type of analytics_events.project_id: compared so, its index is used.
do $$
declare
  path constant text := current_setting('search_path');
begin
  perform set_config('search_path', '', true); -- so that the type's name says its schema
  execute format(
    'create or replace function public.analytics_project_key(of_project text) returns %s '
    'language sql immutable parallel safe as ''select of_project::%1$s''', (
      select format_type(atttypid, -1) from pg_catalog.pg_attribute
      where attrelid = 'public.analytics_events'::regclass and attname = 'project_id'));
  perform set_config('search_path', path, true);
end
$$;

-- A snapshot that is older than the lock would let an older count win.
create or replace function public.analytics_rollup_check_isolation()
returns void language plpgsql as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the rollup refreshes in READ COMMITTED only, not in %',
      upper(current_setting('transaction_isolation'))
      using errcode = 'invalid_transaction_state',
        hint = 'alter role ... reset default_transaction_isolation, or begin no transaction';
  end if;
end
$$;

-- Counts one hour again; false if another refresh has it, or had it. Runs in one statement, so that
-- the marks it takes away are those of the very events it has counted: what commits later is marked
-- later. The lock comes before that statement's snapshot: nobody writes an older count over a newer.
--
-- Where few projects are marked, only theirs is read. A group that has no events any more goes.
create or replace function public.analytics_rollup_refresh_hour(in_hour timestamptz)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set work_mem = '64MB' set jit = off
set enable_nestloop = off as $$
declare
  projects text[];
  all_of_them boolean;
begin
  perform public.analytics_rollup_check_isolation();
  -- The first lock is that of time zones: while one changes, nothing is counted.
  if not pg_try_advisory_xact_lock_shared(72062024, 0)
    or not pg_try_advisory_xact_lock(
      72062021, hashint8((extract(epoch from in_hour) / 3600)::bigint)) then
    return false;
  end if;
  -- Asked again, after the lock: it may have been frozen since the hour was listed.
  if in_hour < (select frozen_before from public.analytics_rollup_state) then
    return false;
  end if;
  select bool_or(d.project_id is null) or count(distinct d.project_id) > 20,
         array_agg(distinct d.project_id)
  into all_of_them, projects
  from public.analytics_rollup_dirty d where d.hour_bucket = in_hour;
  if all_of_them is null then
    return false; -- another refresh was quicker
  end if;
  perform public.analytics_rollup_make_month('public.analytics_events_hourly_agg', in_hour);
  perform public.analytics_rollup_make_month('public.analytics_visitor_hour', in_hour);
  execute replace(replace(replace(replace($counting$
  with taken as (
    delete from public.analytics_rollup_dirty where hour_bucket = $1 {{of_marks}}
  ), fresh as materialized (
    select project, type, label, grouping(label) = 1 as of_type, count(*) as events,
      coalesce(array_agg(distinct visitor) filter (where visitor is not null), '{}') as visitors,
      coalesce(array_agg(distinct session) filter (where session is not null), '{}') as sessions,
      (sum(print) % 9223372036854775807)::bigint as fingerprint
    from (
      select project, type, label, visitor, session,
        -- Half hours belong to different days in some zones.
        hashint8extended(coalesce(visitor, 0), hashint8extended(coalesce(session, 0),
          hashtextextended(coalesce(label, ''), quarter + 4 * (label is null)::int))) as print
      from (
        select project_id::text collate "C" as project,
          public.analytics_short(coalesce(event_type::text, ''), 500) collate "C" as type,
          public.analytics_short(event_label::text, 1500) collate "C" as label,
          hashtextextended(visitor_id::text, 0) as visitor,
          hashtextextended(session_id::text, 0) as session,
          (created_at >= $1 + interval '15 min')::int + (created_at >= $1 + interval '30 min')::int
            + (created_at >= $1 + interval '45 min')::int as quarter
        from public.analytics_events
        where created_at >= $1 and created_at < $1 + interval '1 hour'
          and octet_length(project_id::text) <= 500 {{of_events}}
      ) as hashed
    ) as events
    group by project, type, rollup (label)
  ), stored as materialized (
    select project_id collate "C" as project, event_type collate "C" as type,
      event_label collate "C" as label, event_count, unique_visitors, unique_sessions
    from public.analytics_events_hourly_agg where hour_bucket = $1 {{of_rows}}
  ), gone as (
    delete from public.analytics_events_hourly_agg h
    using stored s left join fresh f on not f.of_type and f.project = s.project
      and f.type = s.type and quote_nullable(f.label) = quote_nullable(s.label)
    where f.project is null and h.hour_bucket = $1 and h.project_id collate "C" = s.project
      and h.event_type collate "C" = s.type
      and quote_nullable(h.event_label collate "C") = quote_nullable(s.label)
  ), compared as materialized (
    select f.*, s.project is null as is_new
    from fresh f left join stored s on f.project = s.project
      and f.type = s.type and quote_nullable(f.label) = quote_nullable(s.label)
    where not f.of_type and (s.project is null or
      (s.event_count, s.unique_visitors, s.unique_sessions)
      <> (f.events, cardinality(f.visitors), cardinality(f.sessions)))
  ), updated as (
    update public.analytics_events_hourly_agg h set event_count = c.events,
      unique_visitors = cardinality(c.visitors), unique_sessions = cardinality(c.sessions),
      updated_at = now()
    from compared c
    where not c.is_new and h.hour_bucket = $1 and h.project_id collate "C" = c.project
      and h.event_type collate "C" = c.type
      and quote_nullable(h.event_label collate "C") = quote_nullable(c.label)
  ), inserted as (
    insert into public.analytics_events_hourly_agg (project_id, event_type, event_label,
      hour_bucket, event_count, unique_visitors, unique_sessions)
    select project, type, label, $1, events, cardinality(visitors), cardinality(sessions)
    from compared where is_new
  ), sets as materialized (
    select project_id collate "C" as project, event_type collate "C" as type, fingerprint,
      visitors, sessions
    from public.analytics_visitor_hour where hour_bucket = $1 {{of_rows}}
  ), sets_gone as (
    delete from public.analytics_visitor_hour h
    using sets s left join fresh f on f.of_type and f.project = s.project and f.type = s.type
    where f.project is null and h.hour_bucket = $1 and h.project_id collate "C" = s.project
      and h.event_type collate "C" = s.type
    returning h.project_id
  ), sets_compared as materialized (
    select f.*, s.project is null as is_new
    from fresh f left join sets s on f.project = s.project and f.type = s.type
    where f.of_type and (s.project is null or s.fingerprint <> f.fingerprint
      or s.visitors <> f.visitors or s.sessions <> f.sessions)
  ), sets_updated as (
    update public.analytics_visitor_hour h set visitors = c.visitors, sessions = c.sessions,
      fingerprint = c.fingerprint
    from sets_compared c
    where not c.is_new and h.hour_bucket = $1 and h.project_id collate "C" = c.project
      and h.event_type collate "C" = c.type
  ), sets_inserted as (
    insert into public.analytics_visitor_hour (project_id, hour_bucket, event_type, visitors,
      sessions, fingerprint)
    select project, $1, type, visitors, sessions, fingerprint from sets_compared where is_new
  ), changed as (
    select project_id from sets_gone union select project from sets_compared
    -- Compaction leaves nothing to compare with: such an hour's days are counted again in any case.
    union select p from unnest($2) p
    where $1 < (select compacted_before from public.analytics_rollup_state)
    union select d.project_id from public.analytics_events_daily_agg d
    where $1 < (select compacted_before from public.analytics_rollup_state)
      and d.grain = 'project' and d.day between ($1 - interval '1 day')::date
      and ($1 + interval '1 day')::date {{of_compacted}}
  )
  insert into public.analytics_rollup_dirty_days (project_id, day)
  select project_id, day from (
    select distinct c.project_id, (moment at time zone z.zone)::date as day, z.zone
    from changed c
    cross join lateral (select public.analytics_rollup_zone(c.project_id) as zone) z
    cross join unnest(array[$1, $1 + interval '59 min 59 s']) as moment
  ) as touched
  where not exists (
    -- A day that may be counted at this very moment is marked again: its mark may be on its way out.
    select from public.analytics_rollup_dirty_days d
    where d.day = touched.day and d.project_id = touched.project_id
      and now() < public.analytics_day_start(d.day + 1, touched.zone) - interval '1 hour')
  $counting$,
    '{{of_compacted}}', case when all_of_them then '' else 'and project_id = any ($2)' end),
    '{{of_events}}', case when all_of_them then '' else
      'and project_id = any (array(select public.analytics_project_key(p) from unnest($2) p))' end),
    '{{of_marks}}', case when all_of_them then '' else 'and project_id = any ($2)' end),
    '{{of_rows}}', case when all_of_them then '' else 'and project_id = any ($2)' end)
  using in_hour, projects;
  return true;
end
$$;

-- Counts a closed day again for the projects of one zone that wait for it; says for how many. A
-- project with a dirty hour in the day waits on: in one snapshot no mark means that the hours' rows
-- and the events are the same, and what changes later marks the day again.
create or replace function public.analytics_rollup_refresh_day(in_day date, in_zone text)
returns integer language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set work_mem = '64MB' set jit = off
set enable_nestloop = off as $$
declare
  first constant timestamptz := public.analytics_day_start(in_day, in_zone);
  after constant timestamptz := public.analytics_day_start(in_day + 1, in_zone);
  events_at_once constant bigint := 1000000; -- about three seconds
  waiting text[];
  portions integer;
  portion integer;
  counted integer := 0;
  done integer;
begin
  perform public.analytics_rollup_check_isolation();
  if not pg_try_advisory_xact_lock_shared(72062024, 0)
    or not pg_try_advisory_xact_lock(72062022, in_day - date '2000-01-01') then
    return 0;
  end if;
  if first < (select frozen_before from public.analytics_rollup_state) then
    return 0;
  end if;
  select array_agg(distinct d.project_id) into waiting
  from public.analytics_rollup_dirty_days d
  where d.day = in_day and public.analytics_rollup_zone(d.project_id) = in_zone;
  select 1 + coalesce(sum(h.event_count), 0) / events_at_once into portions
  from public.analytics_events_hourly_agg h
  where h.hour_bucket >= first and h.hour_bucket < after and h.project_id = any (waiting);
  for portion in 1 .. portions loop
    execute replace(replace(replace($counting$
    with clean as materialized (
      select project from unnest($1) with ordinality as w(project, n)
      where n % $5 = $6 and not exists (
        select from public.analytics_rollup_dirty d
        where d.hour_bucket > $3 - interval '1 hour' and d.hour_bucket < $4
          and (d.project_id is null or d.project_id = w.project))
        and public.analytics_rollup_zone(w.project) = $7
    ), taken as (
      delete from public.analytics_rollup_dirty_days d using clean c
      where d.day = $2 and d.project_id = c.project
    ), fresh as materialized (
      select project, type, label,
        case grouping(type, label) when 3 then 'project' when 1 then 'type' else 'label' end as grain,
        count(*) as events,
        coalesce(array_agg(distinct visitor) filter (where visitor is not null), '{}') as visitors,
        coalesce(array_agg(distinct session) filter (where session is not null), '{}') as sessions
      from (
        select project_id::text collate "C" as project,
          public.analytics_short(coalesce(event_type::text, ''), 500) collate "C" as type,
          public.analytics_short(event_label::text, 1500) collate "C" as label,
          hashtextextended(visitor_id::text, 0) as visitor,
          hashtextextended(session_id::text, 0) as session
        from public.analytics_events
        where created_at >= $3 and created_at < $4
          and project_id = any (array(select public.analytics_project_key(project) from clean))
      ) as events
      group by project, rollup (type, label)
    ), stored as materialized (
      select a.project_id collate "C" as project, a.grain, a.event_type collate "C" as type,
        a.event_label collate "C" as label, a.event_count, a.unique_visitors, a.unique_sessions
      from public.analytics_events_daily_agg a
      where {{of_day}}
    ), stored_sets as materialized (
      select a.project_id collate "C" as project, a.grain, a.event_type collate "C" as type,
        a.event_label collate "C" as label, a.visitors, a.sessions
      from public.analytics_visitor_day a
      where {{of_day}}
    ), gone as materialized (
      select s.project, s.grain, s.type, s.label
      from stored s left join fresh f on {{same_as_fresh}}
      where f.project is null
    ), gone_counts as (
      delete from public.analytics_events_daily_agg a using gone f where {{of_day}} and {{same_row}}
    ), sets_gone as materialized (
      select s.project, s.grain, s.type, s.label
      from stored_sets s left join fresh f on {{same_as_fresh}}
      where f.project is null
    ), gone_sets as (
      delete from public.analytics_visitor_day a using sets_gone f where {{of_day}} and {{same_row}}
    ), compared as materialized (
      select f.*, s.project is null as is_new, v.project is null as sets_new
      from fresh f left join stored s on {{same_as_fresh}}
      left join stored_sets v on v.project = f.project and v.grain = f.grain
        and quote_nullable(v.type) = quote_nullable(f.type)
        and quote_nullable(v.label) = quote_nullable(f.label)
      where s.project is null or v.project is null or s.event_count <> f.events
        or (s.unique_visitors, s.unique_sessions)
          <> (cardinality(f.visitors), cardinality(f.sessions))
        or v.visitors <> f.visitors or v.sessions <> f.sessions
    ), updated as (
      update public.analytics_events_daily_agg a set event_count = f.events,
        unique_visitors = cardinality(f.visitors), unique_sessions = cardinality(f.sessions),
        updated_at = now()
      from compared f where not f.is_new and {{of_day}} and {{same_row}}
    ), sets_updated as (
      update public.analytics_visitor_day a set visitors = f.visitors, sessions = f.sessions
      from compared f where not f.sets_new and {{of_day}} and {{same_row}}
    ), inserted as (
      insert into public.analytics_events_daily_agg (project_id, day, grain, event_type,
        event_label, event_count, unique_visitors, unique_sessions)
      select project, $2, grain, type, label, events, cardinality(visitors), cardinality(sessions)
      from compared where is_new
    ), sets_inserted as (
      insert into public.analytics_visitor_day (project_id, day, grain, event_type, event_label,
        visitors, sessions)
      select project, $2, grain, type, label, visitors, sessions from compared where sets_new
    ), returns as (
      insert into public.analytics_rollup_dirty_returns
        (project_id, grain, day, event_type, event_label)
      select project, grain, $2, type, label from compared
      union all select project, grain, $2, type, label from sets_gone
    )
    select count(*) from clean
    $counting$,
      '{{of_day}}', 'a.day = $2 and a.grain in (''project'', ''type'', ''label'') '
        'and a.project_id = any (array(select project from clean))'),
      '{{same_row}}', 'a.project_id collate "C" = f.project and a.grain = f.grain '
        'and quote_nullable(a.event_type collate "C") = quote_nullable(f.type) '
        'and quote_nullable(a.event_label collate "C") = quote_nullable(f.label)'),
      '{{same_as_fresh}}', 'f.project = s.project and f.grain = s.grain '
        'and quote_nullable(f.type) = quote_nullable(s.type) '
        'and quote_nullable(f.label) = quote_nullable(s.label)')
    into done using waiting, in_day, first, after, portions, portion - 1, in_zone;
    counted := counted + done;
  end loop;
  return counted;
end
$$;

-- The newest dirty hours, each once. Marks of frozen hours and days are void.
create or replace function public.analytics_rollup_next_hours(at_most integer)
returns text[] language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO' as $$
declare
  frozen constant timestamptz := (select frozen_before from public.analytics_rollup_state);
begin
  if isfinite(frozen) then
    delete from public.analytics_rollup_dirty where hour_bucket < frozen;
    delete from public.analytics_rollup_dirty_days
    where day <= (frozen + interval '14 hours')::date
      and public.analytics_day_start(day, public.analytics_rollup_zone(project_id)) < frozen;
  end if;
  return array(
    with recursive hours as (
      select max(hour_bucket) as hour from public.analytics_rollup_dirty
      union all
      select (select max(d.hour_bucket) from public.analytics_rollup_dirty d
              where d.hour_bucket < hours.hour)
      from hours where hours.hour is not null
    )
    select hour::text from hours where hour is not null limit at_most);
end
$$;

-- The days that are over and wait to be counted, newest first.
create or replace function public.analytics_rollup_closed_days(at_most integer default null)
returns table (day date, zone text) language sql stable set search_path = pg_catalog, pg_temp as $$
  select w.day, w.zone from (
    select distinct d.day, public.analytics_rollup_zone(d.project_id) as zone
    from (select distinct project_id, day from public.analytics_rollup_dirty_days) as d
  ) as w
  where public.analytics_day_start(w.day + 1, w.zone) <= now()
  order by w.day desc, w.zone limit at_most
$$;

-- How many hours, closed days and projects' returning visitors wait to be counted; of them, those that
-- were marked up to `since`.
create or replace function public.analytics_rollup_left(since timestamptz default 'infinity')
returns bigint language sql stable set search_path = pg_catalog, pg_temp as $$
  select (
    select count(distinct d.hour_bucket) from public.analytics_rollup_dirty d
    where d.marked_at <= since
  ) + (
    select count(distinct (w.day, c.zone)) from public.analytics_rollup_dirty_days w
    join public.analytics_rollup_closed_days() c on c.day = w.day
      and c.zone = public.analytics_rollup_zone(w.project_id)
    where w.marked_at <= since and not exists (
      -- Its hours changed again meanwhile: the day waits for them.
      select from public.analytics_rollup_dirty d
      where d.marked_at > since and (d.project_id is null or d.project_id = w.project_id)
        and d.hour_bucket > public.analytics_day_start(w.day, c.zone) - interval '1 hour'
        and d.hour_bucket < public.analytics_day_start(w.day + 1, c.zone))
  ) + (
    select count(distinct (r.project_id, r.grain)) from public.analytics_rollup_dirty_returns r
    where r.marked_at <= since
  )
$$;

-- Counts what is marked: hours, newest first, then closed days, then who returned on which day; each in
-- a transaction of its own, at most max_hours of them, and none is begun after `budget`: Supabase ends a CALL after two minutes.
-- Several at once share the work. To be called outside a transaction.
--
-- What cannot be counted stays marked and stops nothing else; the call fails at its end.
create or replace procedure public.refresh_hourly(
  max_hours integer default 48, budget interval default '45 s',
  inout hours_done integer default null, inout left_over bigint default null)
language plpgsql as $$
declare
  began constant timestamptz := clock_timestamp();
  wait text; -- an hour; a day and its zone; a grain and its project
  waits text[];
  failed text[] := '{}';
begin
  perform public.analytics_rollup_check_isolation();
  hours_done := 0;
  for round in 1 .. 3 loop
    if round = 1 then
      waits := public.analytics_rollup_next_hours(10000);
    elsif round = 2 then
      waits := array(select c.day || ' ' || c.zone
                     from public.analytics_rollup_closed_days(10000) c);
    else
      waits := array(select r.grain || ' ' || r.project_id
                     from public.analytics_rollup_dirty_returns r
                     group by r.project_id, r.grain order by min(r.marked_at)
                     limit 10000);
    end if;
    foreach wait in array waits loop
      exit when hours_done >= max_hours or hours_done + cardinality(failed) > 0
        and clock_timestamp() - began >= budget;
      begin
        if round = 1 and public.analytics_rollup_refresh_hour(wait::timestamptz)
          or round = 2 and public.analytics_rollup_refresh_day(
            split_part(wait, ' ', 1)::date, split_part(wait, ' ', 2)) > 0
          or round = 3 and public.analytics_rollup_refresh_returns(
            substring(wait from ' (.*)'), split_part(wait, ' ', 1))
        then
          hours_done := hours_done + 1;
        end if;
      exception
        when others then
          failed := failed || format('%s: %s', wait, sqlerrm);
      end;
      commit;
    end loop;
  end loop;
  update public.analytics_rollup_state set refreshed_at = clock_timestamp();
  commit;
  left_over := public.analytics_rollup_left();
  if failed <> '{}' then
    raise exception '% could not be counted, the first: %', cardinality(failed), failed[1]
      using errcode = 'HR001', hint = 'what could be counted is stored; these stay marked';
  end if;
end
$$;

-- The triggers before the marks, in one transaction: every event is either marked by its writer or
-- marked here.
select public.analytics_rollup_watch();
