-- The visit log: what `aggregator.py visits` remembers of the tables it fills, and the functions
-- that make those tables as @socialgouv/matomo-postgres 2.4.1 has them.
--
-- The functions are told schema and table by name, already resolved: whoever calls them knows their
-- search_path.

create table if not exists public.visit_log_tables (
  id bigint generated always as identity primary key,
  table_schema text not null,
  table_name text not null,
  table_oid oid not null,
  server text not null,
  true_utc boolean not null,
  writer bigint not null default 0,
  created_at timestamptz not null default now(),
  unique (table_schema, table_name)
);

comment on column public.visit_log_tables.table_oid is
  'A table that was dropped and made anew has another: what is remembered of the old one is void.';
comment on column public.visit_log_tables.true_utc is
  'Whether action_timestamp holds real UTC, not the site''s wall clock labelled UTC.';
comment on column public.visit_log_tables.writer is
  'Counts the runs that took the table over. One that finds another number writes no more.';

create table if not exists public.visit_log_watermarks (
  table_id bigint not null references public.visit_log_tables on delete cascade,
  idsite bigint not null,
  begins_after date,
  complete_through date not null,
  verified_at timestamptz,
  read_until timestamptz,
  updated_at timestamptz not null default now(),
  primary key (table_id, idsite)
);

comment on column public.visit_log_watermarks.begins_after is
  'The first complete_through: where the import of the site begins again if the table is emptied.';
comment on column public.visit_log_watermarks.complete_through is
  'Every day up to this one (the site''s own days) is closed, read whole, and compared.';
comment on column public.visit_log_watermarks.read_until is
  'The last action seen of the days after it, which are still open.';

alter table public.visit_log_tables enable row level security;
alter table public.visit_log_watermarks enable row level security;

do $$
declare
  role text;
begin
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_roles where rolname = role) then
      execute format(
        'revoke truncate, references, trigger on public.visit_log_tables, '
        'public.visit_log_watermarks from %I', role);
    end if;
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant select, insert, update on public.visit_log_tables to service_role;
    grant select, insert, update, delete on public.visit_log_watermarks to service_role;
  end if;
end
$$;

-- Where Supabase's roles are, a new table is nobody's but its owner's and the service key's. Row level
-- security does not bind TRUNCATE. Elsewhere a reporting role of the user's must still be able to read.
create or replace function public.visit_log_close(in_schema text, name text)
returns void language plpgsql set search_path = '' as $$
declare
  role text;
begin
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_catalog.pg_roles where rolname = role) then
      execute format('alter table %I.%I enable row level security', in_schema, name);
      execute format('revoke truncate, references, trigger on %I.%I from %I',
                     in_schema, name, role);
    end if;
  end loop;
end
$$;

-- A name that nothing in the schema has: the first of the wanted ones, else the last with a number.
-- Postgres cuts names at 63 bytes, so that two could become one: a longer one gets a digest.
create or replace function public.visit_log_free_name(in_schema text, variadic wanted text[])
returns text language plpgsql stable set search_path = '' as $$
declare
  name text;
  fits text;
  number integer := 1;
begin
  loop
    foreach name in array wanted loop
      continue when number > 1 and name <> wanted[array_upper(wanted, 1)];
      fits := name || case when number > 1 then '_' || number else '' end;
      if octet_length(fits) > 63 then
        while octet_length(name) > 50 loop
          name := left(name, -1);
        end loop;
        fits := name || '_' || left(md5(fits), 12);
      end if;
      if not exists (
        select from pg_class c where c.relname = fits and c.relnamespace = (
          select n.oid from pg_namespace n where n.nspname = in_schema)
      ) and not exists (
        select from pg_type t where t.typname = fits and t.typnamespace = (
          select n.oid from pg_namespace n where n.nspname = in_schema)
      ) then
        return fits;
      end if;
    end loop;
    number := number + 1;
  end loop;
end
$$;

-- From when to when each partition of a table holds rows. Needs DateStyle ISO: in others a bound's
-- text has the zone's abbreviation, and IST is read as Israel's.
create or replace function public.visit_log_bounds(parent regclass)
returns table (lower_bound timestamptz, upper_bound timestamptz)
language sql stable set search_path = '' as $$
  select
    case when b.bound ~ 'FROM \(MINVALUE' then '-infinity'
      else substring(b.bound from 'FROM \(''([^'']+)''') end::timestamptz,
    case when b.bound ~ 'TO \(MAXVALUE' then 'infinity'
      else substring(b.bound from 'TO \(''([^'']+)''') end::timestamptz
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  cross join lateral (select pg_get_expr(c.relpartbound, c.oid) as bound) b
  where i.inhparent = parent
$$;

-- The week that a new partition for `moment` would hold if it had no neighbours.
--
-- matomo-postgres makes Mondays of its session's time zone, ours are Mondays of UTC. An existing
-- table goes on as its partition nearest to the moment shows: with Mondays of UTC or of this
-- session's zone, else in steps of seven days from that partition.
create or replace function public.visit_log_week(
  parent regclass, made_by_upstream boolean, moment timestamptz,
  out lower_bound timestamptz, out upper_bound timestamptz)
language plpgsql stable set search_path = '' as $$
declare
  zone text;
  zones text[] := array['UTC', current_setting('TimeZone')];
  near record;
  week constant interval := '168 hours';
begin
  if made_by_upstream then -- in winter London's Mondays are UTC's too
    zones := array[current_setting('TimeZone'), 'UTC'];
  end if;
  select b.lower_bound, b.upper_bound into near
  from public.visit_log_bounds(parent) b
  where isfinite(b.lower_bound) and isfinite(b.upper_bound)
  order by least(abs(extract(epoch from b.lower_bound - moment)),
                 abs(extract(epoch from b.upper_bound - moment)))
  limit 1;
  foreach zone in array zones loop
    if near is null or (
      near.lower_bound = date_trunc('week', near.lower_bound, zone)
      or near.upper_bound = date_trunc('week', near.upper_bound, zone)
    ) then
      lower_bound := date_trunc('week', moment, zone);
      upper_bound := ((lower_bound at time zone zone) + interval '7 days') at time zone zone;
      return;
    end if;
  end loop;
  lower_bound := date_bin(week, moment, near.upper_bound);
  upper_bound := lower_bound + week;
end
$$;

-- Makes the partitions that these UTC days want, and says how many. Nothing is done where a default
-- partition takes every row, or where the table is partitioned by something else.
--
-- A new partition is attached, not made as one: so nobody who reads or writes the table is blocked
-- or waited for. lock_timeout ends the waiting for others who change the table's partitions.
--
-- matomo-postgres's row trigger looks for a partition by the name of the row's week in the session's
-- time zone, and fails where it finds none but the time is taken. Where the table has it, the days
-- around are made sure of too.
create or replace function public.visit_log_make_partitions(
  in_schema text, of_table text, days date[])
returns integer language plpgsql
set search_path = '' set datestyle = 'ISO' set lock_timeout = '20s' as $$
declare
  parent constant regclass := to_regclass(format('%I.%I', in_schema, of_table));
  made_by_upstream constant boolean := exists (
    select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = in_schema and p.proname = of_table || '_partition_trigger');
  made integer := 0;
  day date;
  moment timestamptz;
  covered tstzmultirange;
  bounds record;
  partition_name text;
begin
  if not exists (
    select from pg_partitioned_table p
    join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0]
    where p.partrelid = parent and p.partstrat = 'r' and p.partnatts = 1 and p.partdefid = 0
      and a.attname = 'action_timestamp'
  ) then
    return 0;
  end if;
  perform pg_advisory_xact_lock(72062012, (parent::oid::bigint - 2147483648)::integer);
  if exists (
    select from pg_trigger t where t.tgrelid = parent and t.tgname = of_table || '_auto_partition'
  ) then
    days := (select array_agg(d + n) from unnest(days) d, generate_series(-1, 1) n);
  end if;
  select coalesce(range_agg(tstzrange(b.lower_bound, b.upper_bound)), '{}') into covered
  from public.visit_log_bounds(parent) b;
  for day in select distinct d from unnest(days) d order by d loop
    moment := day::timestamp at time zone 'UTC';
    while moment < (day + 1)::timestamp at time zone 'UTC' loop
      if covered @> moment then
        moment := (select upper(r) from unnest(covered) r where r @> moment);
        continue;
      end if;
      select
        greatest(w.lower_bound, (
          select max(b.upper_bound) from public.visit_log_bounds(parent) b
          where b.upper_bound <= moment)) as lower_bound,
        least(w.upper_bound, (
          select min(b.lower_bound) from public.visit_log_bounds(parent) b
          where b.lower_bound > moment)) as upper_bound
      into bounds from public.visit_log_week(parent, made_by_upstream, moment) w;
      partition_name := public.visit_log_free_name(in_schema, of_table || '_' || to_char(
        (bounds.lower_bound + (bounds.upper_bound - bounds.lower_bound) / 2)
        at time zone 'UTC', 'IYYY"w"IW'));
      execute format(
        'create table %1$I.%2$I (like %1$I.%3$I including defaults including constraints '
        'including generated including storage including compression)',
        in_schema, partition_name, of_table);
      perform public.visit_log_close(in_schema, partition_name);
      execute format(
        'alter table %1$I.%2$I attach partition %1$I.%3$I for values from (%4$L) to (%5$L)',
        in_schema, of_table, partition_name, bounds.lower_bound, bounds.upper_bound);
      made := made + 1;
      covered := covered + tstzmultirange(tstzrange(bounds.lower_bound, bounds.upper_bound));
    end loop;
  end loop;
  return made;
end
$$;

-- What matomo-postgres looks for when it starts: without the six names it would migrate again, and
-- fail at the fourth. A name so long that Postgres would cut its two tables' names to the same one
-- gets none: matomo-postgres cannot run there.
create or replace function public.visit_log_record_migrations(in_schema text, of_table text)
returns void language plpgsql set search_path = '' as $$
declare
  of_migrations constant text := of_table || '_migration';
  of_lock constant text := of_table || '_migration_lock';
begin
  if octet_length(of_lock) > 63 then
    return;
  end if;
  execute format(
    'create table if not exists %1$I.%2$I '
    '(name varchar(255) not null primary key, timestamp varchar(255) not null)',
    in_schema, of_migrations);
  execute format(
    'create table if not exists %1$I.%2$I '
    '(id varchar(255) not null primary key, is_locked integer not null default 0)',
    in_schema, of_lock);
  execute format(
    'insert into %I.%I (name, timestamp) select n, %L from unnest(%L::text[]) n '
    'on conflict do nothing',
    in_schema, of_migrations,
    to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    array['20230301-01-initial', '20230301-02-indexes', '20250425-01-add-resolution',
          '20250715-01-weekly-partitioning', '20250908-01-convention-analysis-index',
          '20260407-01-ab-testing']);
  execute format(
    'insert into %I.%I (id) values (''migration_lock'') on conflict do nothing',
    in_schema, of_lock);
  perform public.visit_log_close(in_schema, of_migrations);
  perform public.visit_log_close(in_schema, of_lock);
end
$$;

-- The two functions that matomo-postgres calls for the table PARTITIONED_MATOMO_TABLE_NAME. The
-- schema's own stay: they may serve another table.
create or replace function public.visit_log_make_functions(
  in_schema text, of_table text, columns text[], types text[])
returns void language plpgsql set search_path = '' as $$
declare
  name text;
  role text;
  found record;
  code text;
begin
  foreach name in array array[
    'create_weekly_partition_if_not_exists', 'insert_into_matomo_partitioned'
  ] loop
    continue when exists (
      select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = in_schema and p.proname = name);
    if name = 'create_weekly_partition_if_not_exists' then
      execute format(
        'create function %I.%I(table_name text, partition_date timestamptz) returns void '
        'language plpgsql as $f$ begin perform public.visit_log_make_partitions('
        '%L, table_name, array[(partition_date at time zone ''UTC'')::date]); end $f$',
        in_schema, name, in_schema);
    else
      code := format(
        'insert into %I.%I (%s) values (%s) on conflict (action_id, action_timestamp) do nothing;',
        in_schema, of_table, array_to_string(columns, ', '),
        'p_' || array_to_string(columns, ', p_'));
      -- A row that no partition takes is a check_violation: then its week is made.
      execute format(
        'create function %I.%I(%s) returns void language plpgsql as $f$ begin begin %s '
        'exception when check_violation then perform public.visit_log_make_partitions('
        '%L, %L, array[(p_action_timestamp at time zone ''UTC'')::date]); %s end; end $f$',
        in_schema, name,
        (select string_agg(
           format('p_%s %s', c, t) || case when n > 2 then ' default null' else '' end,
           ', ' order by n)
         from unnest(columns, types) with ordinality as u(c, t, n)),
        code, in_schema, of_table, code);
    end if;
    if exists (select from pg_roles where rolname = 'anon') then
      for found in
        select p.oid::regprocedure as signature, r.rolname from pg_proc p
        join pg_namespace n on n.oid = p.pronamespace
        cross join pg_roles r
        where n.nspname = in_schema and p.proname = name
          and r.rolname in ('anon', 'authenticated')
      loop
        execute format('revoke execute on function %s from public, %I',
                       found.signature, found.rolname);
      end loop;
    end if;
  end loop;
end
$$;

-- Makes the table as matomo-postgres does, standard or partitioned, unless something has its name;
-- says whether it did. Other than there: the index names that are taken in the schema are replaced
-- by `{table}_...` names, where matomo-postgres then makes no index at all; a partitioned table gets
-- no row trigger (it cannot make a partition in time, and costs as much as the row), and no index
-- for the addresses of one private site (idx_convention_analysis_matomo_partitioned).
create or replace function public.visit_log_make_table(
  in_schema text, new_table text, partitioned boolean)
returns boolean language plpgsql set search_path = '' as $$
declare
  columns constant text[] := array[
    'action_id', 'idsite', 'idvisit', 'actions', 'country', 'region', 'city',
    'operatingsystemname', 'devicemodel', 'devicebrand', 'visitduration', 'dayssincefirstvisit',
    'visitortype', 'sitename', 'userid', 'serverdateprettyfirstaction', 'action_type',
    'action_eventcategory', 'action_eventaction', 'action_eventname', 'action_eventvalue',
    'action_timespent', 'action_timestamp', 'usercustomproperties', 'usercustomdimensions',
    'dimension1', 'dimension2', 'dimension3', 'dimension4', 'dimension5', 'dimension6',
    'dimension7', 'dimension8', 'dimension9', 'dimension10', 'action_url', 'sitesearchkeyword',
    'action_title', 'visitorid', 'referrertype', 'referrername', 'resolution', 'experiments'];
  types constant jsonb := '{"serverdateprettyfirstaction": "date", "action_eventvalue": "numeric",
    "action_timestamp": "timestamptz", "usercustomproperties": "json",
    "usercustomdimensions": "json", "experiments": "jsonb"}';
  indexes constant text[] := array[ -- name without what follows it, and columns
    ['idx_action_eventaction', 'action_eventaction'],
    ['idx_action_eventcategory', 'action_eventcategory'],
    ['idx_action_id', 'action_id'],
    ['idx_action_timestamp', 'action_timestamp'],
    ['idx_action_type', 'action_type'],
    ['idx_actionurl', 'action_url'],
    ['idx_dimension1', 'dimension1'],
    ['idx_dimension2', 'dimension2'],
    ['idx_dimension3', 'dimension3'],
    ['idx_dimension4', 'dimension4'],
    ['idx_dimension5', 'dimension5'],
    ['idx_idvisit', 'idvisit'],
    ['idx_region', 'region'],
    ['idx_userid', 'userid'],
    ['idx_visitorid', 'visitorid'],
    ['actions_day', 'date(timezone(''UTC'', action_timestamp))'],
    ['idx_category_timestamp', 'action_eventcategory, action_timestamp']];
  named_matomo constant text[] := array[
    'idx_action_eventaction', 'idx_action_eventcategory', 'idx_action_timestamp',
    'idx_action_type', 'idx_idvisit'];
  in_call_order constant text[] := array['action_id', 'action_timestamp']
    || array_remove(array_remove(columns, 'action_id'), 'action_timestamp');
  index_name text;
begin
  perform pg_advisory_xact_lock(72062013, hashtext(format('%I.%I', in_schema, new_table)));
  if to_regclass(format('%I.%I', in_schema, new_table)) is not null then
    return false;
  end if;
  execute format(
    'create table %I.%I (%s, constraint %I unique (%s)) %s',
    in_schema, new_table,
    (select string_agg(c || ' ' || coalesce(types ->> c, 'text') || case
       when c = 'action_id' then ' not null'
       when c <> 'action_timestamp' then ''
       when partitioned then ' not null default now()'
       else ' default now()' end, ', ' order by n)
     from unnest(columns) with ordinality as u(c, n)),
    public.visit_log_free_name(in_schema, new_table ||
      case when partitioned then '_action_id_timestamp_unique' else '_action_id_key' end),
    case when partitioned then 'action_id, action_timestamp' else 'action_id' end,
    case when partitioned then 'partition by range (action_timestamp)' else '' end);
  for i in 1 .. array_length(indexes, 1) - case when partitioned then 0 else 1 end loop
    index_name := case when partitioned
      then public.visit_log_free_name(in_schema, indexes[i][1] || '_' || new_table)
      else public.visit_log_free_name(in_schema,
        indexes[i][1] || case when indexes[i][1] = any(named_matomo) then '_matomo' else '' end,
        new_table || '_' || indexes[i][1]) end;
    execute format('create index %I on %I.%I (%s)',
                   index_name, in_schema, new_table, indexes[i][2]);
  end loop;
  perform public.visit_log_close(in_schema, new_table);
  if partitioned then
    perform public.visit_log_make_functions(in_schema, new_table, in_call_order,
      (select array_agg(coalesce(types ->> c, 'text') order by n)
       from unnest(in_call_order) with ordinality as u(c, n)));
  end if;
  perform public.visit_log_record_migrations(in_schema, new_table);
  return true;
end
$$;

comment on function public.visit_log_make_table(text, text, boolean) is
  'Used by visits: the table that matomo-postgres would make.';
comment on function public.visit_log_make_partitions(text, text, date[]) is
  'Used by visits: the weekly partitions that rows of these UTC days need.';

-- Functions are for everybody unless it is taken away.
do $$
declare
  signature regprocedure;
  role text;
begin
  for signature in
    select p.oid from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in (
      'visit_log_close', 'visit_log_free_name', 'visit_log_bounds', 'visit_log_week',
      'visit_log_make_partitions',
      'visit_log_record_migrations', 'visit_log_make_functions', 'visit_log_make_table')
  loop
    execute format('revoke execute on function %s from public', signature);
    foreach role in array array['anon', 'authenticated'] loop
      if exists (select from pg_roles where rolname = role) then
        execute format('revoke execute on function %s from %I', signature, role);
      end if;
    end loop;
    if exists (select from pg_roles where rolname = 'service_role') then
      execute format('grant execute on function %s to service_role', signature);
    end if;
  end loop;
end
$$;
