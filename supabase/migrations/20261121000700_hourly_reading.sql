-- Reading the rollup (docs/hourly-rollup.md): every function here answers what COUNT and COUNT
-- (DISTINCT) over analytics_events would answer in the same snapshot. Rows of clean days and hours are
-- read as they are; an hour that is marked, or cut by the range, is counted from its events.
--
-- They run with their owner's rights, because queue, state and sets are nobody else's, and see to it
-- themselves that the caller may see the project.

-- Who asks: the role that PostgREST or somebody else set, else whoever is connected.
create or replace function public.analytics_caller()
returns name language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(nullif(nullif(current_setting('role'), 'none'), ''), session_user::text)::name
$$;

-- `select wanted from of_table where of_column = who`, in the column's own type, so that an index on it
-- serves. Nothing where table or column is missing, or where such a value cannot be.
create or replace function public.analytics_look_up(
  of_table text, wanted text, of_column text, who text)
returns setof text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  found_type text;
begin
  select format_type(a.atttypid, -1) into found_type from pg_catalog.pg_attribute a
  where a.attrelid = to_regclass('public.' || of_table) and a.attname = of_column
    and not a.attisdropped;
  if found_type is null or not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.' || of_table) and a.attname = wanted
      and not a.attisdropped
  ) then
    return;
  end if;
  return query execute format(
    'select %I::text from public.%I where %I = $1::%s and %1$I is not null',
    wanted, of_table, of_column, found_type) using who;
exception
  when invalid_text_representation then
    return;
end
$$;

-- The projects that the signed-in user of the request may see, as the design has it: those of their
-- accounts and of accounts they collaborate in. NULL: all of them. Empty where a table is missing.
create or replace function public.analytics_projects_of_caller()
returns text[] language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  caller constant name := public.analytics_caller();
  claims constant text := coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}');
  who constant text := coalesce(claims::jsonb ->> 'sub',
    nullif(current_setting('request.jwt.claim.sub', true), ''));
begin
  -- Owners and the service key see everything, as row level security lets them.
  if exists (
    select from pg_catalog.pg_roles r where r.rolname = caller and (r.rolsuper or r.rolbypassrls)
  ) or pg_has_role(caller, (
    select relowner from pg_catalog.pg_class
    where oid = 'public.analytics_events_hourly_agg'::regclass), 'usage') then
    return null;
  end if;
  if who is null then
    return '{}';
  end if;
  if exists (select from public.analytics_look_up('admin_users', 'user_id', 'user_id', who)) then
    return null;
  end if;
  return array(
    select p.project
    from (
      select a from public.analytics_look_up('account', 'id', 'user_id', who) as a
      union
      select a from public.analytics_look_up('account_collaborator', 'account_id', 'user_id', who) as a
    ) as accounts
    cross join lateral public.analytics_look_up(
      'project', 'project_id', 'account_id', accounts.a) as p (project));
end
$$;

create or replace function public.analytics_may_read(in_project text)
returns boolean language sql stable set search_path = pg_catalog, pg_temp as $$
  select mine is null or coalesce(in_project = any (mine), false)
  from (select public.analytics_projects_of_caller() as mine) as asked
$$;

-- The buckets of a stretch of time, whole: the first and the last may reach over its ends.
create or replace function public.analytics_buckets(
  from_at timestamptz, to_at timestamptz, granularity text, zone text)
returns table (first timestamptz, after timestamptz)
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  first_day constant date := (from_at at time zone zone)::date;
  last_day constant date := ((to_at - interval '1 microsecond') at time zone zone)::date;
begin
  if granularity = 'hour' then
    return query select h, h + interval '1 hour'
      from generate_series(public.analytics_rollup_hour(from_at), to_at, interval '1 hour') h
      where h < to_at;
  elsif granularity = '4 hours' then
    -- From each midnight on; the one in which the clocks change is longer or shorter.
    return query select b.first, coalesce(
        lead(b.first) over (order by b.first), public.analytics_day_start(b.day + 1, zone))
      from (
        select d::date as day, case when n = 0 then public.analytics_day_start(d::date, zone)
            else (d::date + n * interval '4 hours') at time zone zone end as first
        from generate_series(first_day::timestamp, last_day, interval '1 day') d,
          generate_series(0, 5) n
      ) as b;
  elsif granularity = 'day' then
    return query select public.analytics_day_start(d::date, zone),
        public.analytics_day_start(d::date + 1, zone)
      from generate_series(first_day::timestamp, last_day, interval '1 day') d;
  elsif granularity = 'week' then
    return query select public.analytics_day_start(d::date, zone),
        public.analytics_day_start(d::date + 7, zone)
      from generate_series(date_trunc('week', first_day::timestamp), last_day, interval '7 days') d;
  else
    return query select from_at, to_at;
  end if;
end
$$;

do $$
begin
  if to_regtype('public.analytics_piece') is null then
    create type public.analytics_piece as (
      bucket integer, first timestamptz, after timestamptz, begins timestamptz, ends timestamptz,
      day date, since date, alone boolean, of_count text, of_uniques text);
  end if;
end
$$;

-- What a stretch of time is made of for one project: whole clean days (where buckets are that long),
-- else whole clean hours, else what is left, which is read from the events.
--
-- One row per piece, with the number of its bucket. of_count, of_uniques: where numbers come from:
-- 'day', 'hour' (rows and sets), 'row' (an hour's own unique counts), 'returns' (days that fill a bucket,
-- the first of them `since`), 'raw', or 'none': not known any more.
create or replace function public.analytics_pieces(
  in_project text, from_at timestamptz, to_at timestamptz, granularity text, of_grain text,
  only_type text, uniques text, zone text)
returns setof public.analytics_piece
language sql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
  with state as materialized (
    select * from public.analytics_rollup_state
  ), dirty as materialized (
    select distinct d.hour_bucket as hour from public.analytics_rollup_dirty d
    where d.hour_bucket > from_at - interval '1 hour' and d.hour_bucket < to_at
      and d.hour_bucket >= (select frozen_before from state)
      and (d.project_id is null or d.project_id = in_project)
  ), buckets as materialized (
    select (row_number() over (order by first))::integer as n, first, after
    from public.analytics_buckets(from_at, to_at, granularity, zone)
  ), dirty_days as materialized (
    select m.day from public.analytics_rollup_dirty_days m where m.project_id = in_project
      and m.day >= (from_at at time zone zone)::date and m.day <= (to_at at time zone zone)::date
    union select (hour at time zone zone)::date from dirty
    union select ((hour + interval '59 min 59 s') at time zone zone)::date from dirty
  ), all_days as materialized (
    select m::date as day, public.analytics_day_start(m::date, zone) as begins,
      public.analytics_day_start(m::date + 1, zone) as ends
    from generate_series(date_trunc('day', from_at at time zone zone), to_at at time zone zone,
                         '1 day') m
    where granularity in ('day', 'week', 'total')
  ), days as materialized (
    select b.n, d.day, d.begins, d.ends
    from all_days d
    cross join state s
    join buckets b on d.begins >= b.first and d.begins < b.after
    where d.begins >= from_at and d.ends <= to_at and d.begins >= s.sets_from
      and not (d.begins < s.frozen_before and d.ends > s.frozen_before)
      and d.day not in (select day from dirty_days)
  ), gaps as materialized (
    select lower(g) as begins, upper(g) as ends
    from unnest(tstzmultirange(tstzrange(from_at, to_at)) - coalesce(
      (select range_agg(tstzrange(begins, ends)) from days), '{}')) as g
  ), cut as materialized (
    select b.n, h as hour, greatest(h, b.first, g.begins) as begins,
      least(h + interval '1 hour', b.after, g.ends) as ends
    from gaps g
    cross join generate_series(public.analytics_rollup_hour(g.begins), g.ends, '1 hour') h
    join buckets b on b.first < h + interval '1 hour' and b.after > h
    where greatest(h, b.first, g.begins) < least(h + interval '1 hour', b.after, g.ends)
  ), pieces as materialized (
    select n, count(*) = 1 as alone, min(day) as since,
      count(*) between 2 and 31 and count(*) = count(day)
      and (uniques = 'visitors' or of_grain = 'project') and not exists (
        select from public.analytics_rollup_dirty_returns r
        where r.project_id = in_project and r.grain = of_grain
          and r.day between min(p.day) and max(p.day)
          and (only_type is null or r.event_type = only_type)) as by_returns
    from (select n, day from days union all select n, null from cut) as p group by n
  )
  select n, b.first, b.after, d.begins, d.ends, d.day, p.since, p.alone, 'day',
    case when p.by_returns then 'returns' else 'day' end
  from days d join pieces p using (n) join buckets b using (n)
  union all
  select n, b.first, b.after, begins, ends, null, null, alone, source, case
    when source <> 'hour' then source
    when of_grain = 'label' and alone then 'row'
    when of_grain = 'label' and hour >= frozen_before then 'raw'
    when of_grain <> 'label' and hour >= sets_from then 'hour'
    else 'none' end
  from (
    select c.*, p.alone, s.frozen_before, s.sets_from, case
      when c.ends - c.begins = interval '1 hour' and c.hour >= s.compacted_before
        and not exists (select from dirty h where h.hour = c.hour) then 'hour'
      when c.hour >= s.frozen_before then 'raw'
      else 'none' end as source
    from cut c join pieces p using (n) cross join state s
  ) as hours join buckets b using (n)
$$;

-- Counts of one project in [from_at, to_at), by bucket and grain ('project', 'type', 'label').
-- `uniques`: 'none', 'visitors' or 'both'.
--
-- A unique count is the stored one where the bucket is one piece, else a count over the pieces' sets:
-- never a sum. NULL: not known, since events or hourly rows that it needs are gone. Only what the
-- pieces need is read, and planned.
create or replace function public.analytics_events_counted(
  in_project text, from_at timestamptz, to_at timestamptz, granularity text, of_grain text,
  only_type text default null, uniques text default 'both')
returns table (bucket_start timestamptz, bucket_end timestamptz, event_type text, event_label text,
  event_count bigint, unique_visitors bigint, unique_sessions bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set jit = off
set work_mem = '32MB' as $$
declare
  zone text;
  grain constant text :=
    case when of_grain = 'project' and only_type is not null then 'type' else of_grain end;
  of_type constant text := case when only_type is null then '' else ' and a.event_type = $3' end;
  type_of_hour constant text := case when grain = 'project' then 'null' else 'a.event_type' end;
  label_of_hour constant text := case when grain = 'label' then 'a.event_label' else 'null' end;
  pieces public.analytics_piece[];
  sources text[];
  of_sets text[];
  parts text[] := '{}';
  counts text[] := '{}';
  sets text[] := '{}';
  returned text := 'select null::integer, null, null, null::bigint, null::bigint where false';
  first timestamptz := from_at;
  last timestamptz := to_at;
begin
  in_project := public.analytics_project_key(in_project)::text; -- uuids are the same in capitals
  if (from_at < to_at and public.analytics_may_read(in_project)) is not true then
    return;
  end if;
  zone := public.analytics_rollup_zone(in_project);
  if not (public.analytics_counts(from_at, in_project)
          and public.analytics_counts(to_at, in_project)) then
    raise exception 'from_at and to_at lie in the years 1 to 9999, and a project has 500 bytes at most'
      using errcode = 'invalid_parameter_value';
  end if;
  if (to_at - from_at > case granularity when 'hour' then interval '100 days'
      when '4 hours' then interval '400 days' when 'day' then interval '5 years'
      when 'week' then interval '15 years' else interval '10000 years' end) then
    raise exception '% to % is too long for buckets of one %', from_at, to_at, granularity
      using errcode = 'invalid_parameter_value', hint = 'ask for a coarser granularity';
  end if;
  if to_at - from_at > interval '400 days' and granularity = 'total' then
    -- "Since ever" is not cut into ten thousand years: nothing lies outside of these.
    select greatest(from_at, least(min(t.first), to_at - interval '1 hour')),
      least(to_at, greatest(max(t.last), from_at + interval '1 hour'))
    into first, last
    from (
      select min(h.hour_bucket), max(h.hour_bucket) + interval '1 hour'
      from public.analytics_events_hourly_agg h
      where h.project_id = in_project and h.hour_bucket >= from_at and h.hour_bucket < to_at
      union all
      select min(d.day) - interval '1 day', max(d.day) + interval '2 days'
      from public.analytics_events_daily_agg d
      where d.project_id = in_project and d.grain = 'project'
      union all
      select min(e.created_at), max(e.created_at) + interval '1 microsecond'
      from public.analytics_events e where e.project_id = public.analytics_project_key(in_project)
        and e.created_at >= from_at and e.created_at < to_at
    ) as t (first, last);
    if last <= first then -- nothing is known at all
      first := from_at;
      last := from_at + interval '1 hour';
    end if;
  end if;
  select array_agg(p), array_agg(distinct p.of_count),
    coalesce(array_agg(distinct p.of_uniques) filter (
      where uniques <> 'none' and p.of_uniques in ('day', 'hour', 'raw')
        and not (p.alone and p.of_uniques = 'day')), '{}')
  into pieces, sources, of_sets
  from public.analytics_pieces(
    in_project, first, last, granularity, grain, only_type, uniques, zone) p;
  if 'raw' = any (sources || of_sets) then
    parts := array[format($part$raw as materialized (
      select p.bucket, p.of_count = 'raw' as counts, %s as type, %s as label,
        hashtextextended(a.visitor_id::text, 0) as visitor,
        hashtextextended(a.session_id::text, 0) as session
      from pieces p join public.analytics_events a on a.project_id = public.analytics_project_key($2)
        and a.created_at >= p.begins and a.created_at < p.ends
      where 'raw' in (p.of_count, p.of_uniques)
        and ($3 is null or public.analytics_short(coalesce(a.event_type::text, ''), 500) = $3)
      )$part$,
      case when grain = 'project' then 'null::text'
        else 'public.analytics_short(coalesce(a.event_type::text, ''''), 500)' end,
      case when grain = 'label' then 'public.analytics_short(a.event_label::text, 1500)'
        else 'null::text' end)];
    counts := array['select bucket, type, label, count(*) as n, null::bigint as visitors, '
      'null::bigint as sessions from raw where counts group by 1, 2, 3'];
  end if;
  if 'day' = any (sources) then
    counts := counts || ('select p.bucket, a.event_type as type, a.event_label as label, '
      'a.event_count as n, case when p.alone then a.unique_visitors end as visitors, '
      'case when p.alone then a.unique_sessions end as sessions '
      'from pieces p join public.analytics_events_daily_agg a on a.project_id = $2 '
      'and a.grain = $4 and a.day = p.day' || of_type || ' where p.of_count = ''day''')::text;
  end if;
  if 'hour' = any (sources) then
    counts := counts || format('select p.bucket, %s as type, %s as label, a.event_count as n, '
      'case when p.of_uniques = ''row'' then a.unique_visitors end as visitors, '
      'case when p.of_uniques = ''row'' then a.unique_sessions end as sessions '
      'from pieces p join public.analytics_events_hourly_agg a on a.project_id = $2 '
      'and a.hour_bucket = p.begins %s where p.of_count = ''hour''',
      type_of_hour, label_of_hour, of_type);
  end if;
  if 'day' = any (of_sets) then
    sets := sets || ('select p.bucket, a.event_type as type, a.event_label as label, a.visitors, '
      'a.sessions from pieces p join public.analytics_visitor_day a on a.project_id = $2 '
      'and a.grain = $4 and a.day = p.day' || of_type
      || ' where p.of_uniques = ''day'' and not p.alone')::text;
  end if;
  if 'hour' = any (of_sets) then
    sets := sets || format('select p.bucket, %s as type, null as label, a.visitors, a.sessions '
      'from pieces p join public.analytics_visitor_hour a on a.project_id = $2 '
      'and a.hour_bucket = p.begins %s where p.of_uniques = ''hour''', type_of_hour, of_type);
  end if;
  if 'raw' = any (of_sets) then
    sets := sets || ('select bucket, type, label, array_agg(distinct visitor) filter '
      '(where visitor is not null), array_agg(distinct session) filter (where session is not null) '
      'from raw group by 1, 2, 3')::text;
  end if;
  if uniques <> 'none' and exists (select from unnest(pieces) p where p.of_uniques = 'returns') then
    returned := 'select p.bucket, a.event_type, a.event_label, '
      'sum(a.visitors[least(p.day - p.since + 1, cardinality(a.visitors))])::bigint, '
      'sum(a.sessions[least(p.day - p.since + 1, cardinality(a.sessions))])::bigint '
      'from pieces p join public.analytics_visitor_returns a on a.project_id = $2 '
      'and a.grain = $4 and a.day = p.day' || of_type
      || ' where p.of_uniques = ''returns'' group by 1, 2, 3';
  end if;
  if sets = '{}' then
    sets := array['select null::integer, null, null, null::bigint[], null::bigint[] where false'];
  end if;
  if counts = '{}' then
    counts := array['select null::integer, null, null, null::bigint, null::bigint, null::bigint '
      'where false'];
  end if;
  return query execute
    'with pieces as materialized (select * from unnest($1)), '
    || coalesce(array_to_string(parts, ', ') || nullif(repeat(', ', cardinality(parts)), ''), '')
    || 'counted (bucket, type, label, n, visitors, sessions) as (
      select bucket, type, label, sum(n)::bigint, max(visitors), max(sessions) from ('
    || array_to_string(counts, ' union all ') || ') as c (bucket, type, label, n, visitors, sessions)
      group by 1, 2, 3
    ), sets as materialized (
      select s.*, dense_rank() over (order by bucket, type collate "C", label collate "C") as k
      from (' || array_to_string(sets, ' union all ') || ')
      as s (bucket, type, label, visitors, sessions)
    ), keys as (
      select distinct on (k) k, bucket, type, label from sets
    ), visitors as (
      select k, count(distinct id) as n from (select k, unnest(visitors) as id from sets) i group by k
    ), sessions as (
      select k, count(distinct id) as n
      from (select k, unnest(sessions) as id from sets where $5 = ''both'') i group by k
    ), returned (bucket, type, label, visitors, sessions) as (' || returned || '
    ), buckets as (
      select bucket, first, after, bool_or(of_count = ''none'') as no_count,
        bool_or(of_uniques = ''none'') or $5 = ''none'' as no_uniques
      from pieces group by 1, 2, 3
    )
    select case $7 when ''total'' then $8 else b.first end,
      case $7 when ''total'' then $9 else b.after end, c.type, c.label,
      case when not b.no_count then coalesce(c.n, 0) end,
      case when not b.no_uniques then coalesce(c.visitors, r.visitors, v.n, 0) end,
      case when not b.no_uniques and $5 = ''both'' then coalesce(c.sessions, r.sessions, s.n, 0) end
    from buckets b
    left join counted c using (bucket)
    left join keys k on k.bucket = b.bucket and quote_nullable(k.type) = quote_nullable(c.type)
      and quote_nullable(k.label) = quote_nullable(c.label)
    left join returned r on r.bucket = b.bucket
      and quote_nullable(r.type) = quote_nullable(c.type)
      and quote_nullable(r.label) = quote_nullable(c.label)
    left join visitors v on v.k = k.k
    left join sessions s on s.k = k.k
    where c.n is not null or $6 = ''project'' or b.no_count
    order by b.first, c.type, c.label'
  using pieces, in_project, only_type, grain, uniques, grain, granularity, from_at, to_at;
end
$$;

-- The general question. granularity: 'hour' (of UTC), '4 hours', 'day', 'week' (Monday), 'total', or
-- 'auto': hours up to a day, four hours up to a week, days up to 31, then weeks. Days and weeks are
-- those of the project's time zone. by_label means by type as well. Without either, every bucket has a
-- row. Any two moments will do: [from_at, to_at).
create or replace function public.analytics_events_series(
  in_project text, from_at timestamptz, to_at timestamptz, granularity text default 'auto',
  by_type boolean default false, by_label boolean default false)
returns table (bucket_start timestamptz, bucket_end timestamptz, event_type text, event_label text,
  event_count bigint, unique_visitors bigint, unique_sessions bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  long constant interval := to_at - from_at;
begin
  if granularity is null
    or granularity not in ('auto', 'hour', '4 hours', 'day', 'week', 'total') then
    raise exception 'granularity is auto, hour, 4 hours, day, week or total, not %', granularity
      using errcode = 'invalid_parameter_value';
  end if;
  return query select * from public.analytics_events_counted(in_project, from_at, to_at, case
      when granularity <> 'auto' then granularity
      when long <= interval '25 hours' then 'hour'
      when long <= interval '7 days 1 hour' then '4 hours'
      when long <= interval '31 days 1 hour' then 'day'
      else 'week' end,
    case when by_label then 'label' when by_type then 'type' else 'project' end);
end
$$;

-- 1. Events per hour; by default of the last 24 hours, the running one included.
create or replace function public.analytics_events_by_hour(
  in_project text, from_at timestamptz default null, to_at timestamptz default null)
returns table (hour_bucket timestamptz, total_events bigint)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select bucket_start, event_count from public.analytics_events_counted(in_project,
    coalesce(from_at, public.analytics_rollup_hour(now()) - interval '23 hours'),
    coalesce(to_at, public.analytics_rollup_hour(now()) + interval '1 hour'),
    'hour', 'project', null, 'none')
$$;

-- 2. Events, visitors and sessions per day and type; by default of the last 30 days, today included.
create or replace function public.analytics_events_by_day(
  in_project text, from_at timestamptz default null, to_at timestamptz default null)
returns table (day date, event_type text, total_events bigint, unique_visitors bigint,
  unique_sessions bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select (c.bucket_start at time zone z.zone)::date, c.event_type, c.event_count, c.unique_visitors,
    c.unique_sessions
  from (
    select zone, (now() at time zone zone)::date as today
    from (select public.analytics_rollup_zone(in_project) as zone) as p
  ) as z
  cross join lateral public.analytics_events_counted(in_project,
    coalesce(from_at, public.analytics_day_start(z.today - 29, z.zone)),
    coalesce(to_at, public.analytics_day_start(z.today + 1, z.zone)), 'day', 'type') as c
$$;

-- 3. Events and visitors per label of one type, those with most events first.
create or replace function public.analytics_events_by_label(
  in_project text, in_type text, from_at timestamptz, to_at timestamptz)
returns table (event_label text, total_events bigint, unique_visitors bigint)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.event_label, c.event_count, c.unique_visitors
  from public.analytics_events_counted(
    in_project, from_at, to_at, 'total', 'label', in_type, 'visitors') as c
  where c.event_label is not null
  order by c.event_count desc, c.event_label
$$;

-- 4. Events, visitors and sessions of a stretch of time.
create or replace function public.analytics_events_totals(
  in_project text, from_at timestamptz, to_at timestamptz)
returns table (total_events bigint, unique_visitors bigint, unique_sessions bigint)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select event_count, c.unique_visitors, c.unique_sessions
  from public.analytics_events_counted(in_project, from_at, to_at, 'total', 'project') as c
$$;
