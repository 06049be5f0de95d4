-- What keeps the rollup well: partitions ahead, compaction, zones, a check against the events, health.

-- A project's days are other days in another zone: all of them are counted again.
create or replace function public.analytics_rollup_zone_changed()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  projects text[];
  project text;
  first timestamptz;
  frozen timestamptz;
begin
  perform public.analytics_rollup_check_isolation();
  -- Refreshes that are under way end first, and none begins: each goes by one zone throughout.
  perform pg_advisory_xact_lock(72062024, 0);
  frozen := (select frozen_before from public.analytics_rollup_state);
  if tg_op = 'TRUNCATE' then
    projects := array(select distinct d.project_id from public.analytics_events_daily_agg d);
  elsif tg_op = 'UPDATE' and (new.project_id, new.time_zone) = (old.project_id, old.time_zone) then
    return null;
  else
    projects := array[case when tg_op <> 'INSERT' then old.project_id end,
                      case when tg_op <> 'DELETE' then new.project_id end];
  end if;
  if tg_op in ('INSERT', 'UPDATE') and not exists (
    select from pg_catalog.pg_timezone_names where lower(name) = lower(new.time_zone)
  ) then
    raise exception '% is no time zone: see pg_timezone_names', new.time_zone
      using errcode = 'invalid_parameter_value';
  end if;
  for project in select distinct p from unnest(projects) p where p is not null loop
    select least(
      (select min(hour_bucket) from public.analytics_events_hourly_agg where project_id = project),
      (select min(day)::timestamptz from public.analytics_events_daily_agg
       where project_id = project and grain = 'project')) into first;
    if first < frozen then
      raise exception 'project % has days before %, whose events are archived: they cannot be counted '
        'again in another time zone', project, frozen;
    end if;
    insert into public.analytics_rollup_dirty_days (project_id, day)
    select project, d.day + n from public.analytics_events_daily_agg d, generate_series(-1, 1) n
    where d.project_id = project and d.grain = 'project'
    union
    select project, (moment at time zone public.analytics_rollup_zone(project))::date
    from (select distinct v.hour_bucket from public.analytics_visitor_hour v
          where v.project_id = project) as h
    cross join unnest(array[h.hour_bucket, h.hour_bucket + interval '59 min 59 s']) as moment;
    delete from public.analytics_events_daily_agg where project_id = project;
    delete from public.analytics_visitor_day where project_id = project;
    delete from public.analytics_visitor_returns where project_id = project;
  end loop;
  return null;
end
$$;

create or replace trigger analytics_rollup_zone after insert or update or delete
  on public.analytics_project_zones
  for each row execute function public.analytics_rollup_zone_changed();
create or replace trigger analytics_rollup_zones_gone after truncate
  on public.analytics_project_zones
  for each statement execute function public.analytics_rollup_zone_changed();
alter table public.analytics_project_zones enable always trigger analytics_rollup_zone,
  enable always trigger analytics_rollup_zones_gone;

-- Of months that ended before `keep_from` only the daily rows are kept. In two steps, since a dropped
-- partition is gone for readers with an older snapshot too: from the first run on nobody reads the
-- month's hourly rows, a run an hour later drops them. A month whose days are not all
-- counted, or count otherwise than its hours, stops it. Says how many months were dropped.
create or replace function public.analytics_rollup_compact(keep_from timestamptz)
returns integer language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set datestyle = 'ISO'
set lock_timeout = '20s' as $$
declare
  state public.analytics_rollup_state;
  first timestamptz;
  after timestamptz;
  gone integer := 0;
  name text;
begin
  select * into state from public.analytics_rollup_state for update;
  for first in
    select distinct to_timestamp(substring(c.relname from '_y(....m..)$'), 'YYYY"m"MM')
    from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'public.analytics_events_hourly_agg'::regclass
      and c.relname ~ '^analytics_events_hourly_agg_y\d{4}m\d{2}$'
    order by 1
  loop
    after := first + interval '1 month';
    exit when after > keep_from;
    -- Taken over from the design, there are no days of it.
    exit when first < state.sets_from and exists (
      select from public.analytics_events_hourly_agg where hour_bucket >= first
        and hour_bucket < least(after, state.sets_from));
    if exists (
      select from public.analytics_rollup_dirty d
      where d.hour_bucket >= first - interval '1 day' and d.hour_bucket < after + interval '1 day'
        and d.hour_bucket >= state.frozen_before
    ) or exists (
      select from public.analytics_rollup_dirty_days d
      where d.day >= (first - interval '1 day')::date and d.day <= after::date
    ) then
      raise notice '% is not compacted yet: some of it waits to be counted', to_char(first, 'YYYY-MM');
      exit;
    end if;
    if after <= state.compacted_before then
      continue when state.compacted_at > now() - interval '1 hour';
      foreach name in array array['analytics_events_hourly_agg', 'analytics_visitor_hour'] loop
        execute format('drop table if exists public.%I', name || to_char(first, '"_y"YYYY"m"MM'));
        execute format('delete from public.%I where hour_bucket >= %L and hour_bucket < %L',
                       name || '_default', first, after);
      end loop;
      gone := gone + 1;
      continue;
    end if;
    if exists (
      select from (
        select h.project_id, (h.hour_bucket at time zone z.zone)::date as day, z.zone,
          sum(h.event_count) as n
        from public.analytics_events_hourly_agg h
        join (
          select p.project_id, public.analytics_rollup_zone(p.project_id) as zone
          from (select distinct project_id from public.analytics_events_daily_agg) as p
        ) as z using (project_id)
        where h.hour_bucket >= first and h.hour_bucket < after
        group by 1, 2, 3
      ) as h
      left join public.analytics_events_daily_agg d on d.project_id = h.project_id
        and d.grain = 'project' and d.day = h.day
      where extract(epoch from public.analytics_day_start(h.day, h.zone))::bigint % 3600 = 0
        and public.analytics_day_start(h.day, h.zone) >= first
        and public.analytics_day_start(h.day + 1, h.zone) <= after
        and d.event_count is distinct from h.n
    ) then
      raise warning '% is not compacted: its days count otherwise than its hours', to_char(first, 'YYYY-MM')
        using hint = 'aggregator.py hourly --from ... --to ... counts it again';
      exit;
    end if;
    update public.analytics_rollup_state
    set compacted_before = greatest(compacted_before, after), compacted_at = now();
  end loop;
  return gone;
end
$$;

-- Once a day: partitions three months ahead, triggers on partitions that are new, compaction if on.
create or replace function public.analytics_rollup_upkeep()
returns void language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  compact_after constant interval := (
    select s.compact_after from public.analytics_rollup_state s);
begin
  perform public.analytics_rollup_make_months(now(), now() + interval '3 months');
  perform public.analytics_rollup_watch();
  if compact_after is not null then
    perform public.analytics_rollup_compact(now() - compact_after);
  end if;
end
$$;

-- Counts a random sample of closed, clean hours again, of days, and of stretches of 2 to 31 days, and
-- compares with what is stored, or answered: one row per hour, day or end of a stretch that differs.
create or replace function public.analytics_rollup_check(sample integer default 24)
returns table (hour_bucket timestamptz, day date, project_id text, stored bigint, counted bigint)
language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set work_mem = '64MB' set jit = off as $$
declare
  state public.analytics_rollup_state;
  hour timestamptz;
  checked record;
begin
  select * into state from public.analytics_rollup_state;
  for hour in
    select h from public.analytics_rollup_known_hours(
      greatest(state.frozen_before, state.compacted_before), now() - interval '1 hour') h
    order by random() limit sample
  loop
    return query
    with fresh as (
      select project, type, quote_nullable(label) as label, grouping(label) as of_sets,
        count(*) as n, count(distinct visitor) as visitors, count(distinct session) as sessions
      from (
        select e.project_id::text collate "C" as project,
          public.analytics_short(coalesce(e.event_type::text, ''), 500) as type,
          public.analytics_short(e.event_label::text, 1500) as label,
          hashtextextended(e.visitor_id::text, 0) as visitor,
          hashtextextended(e.session_id::text, 0) as session
        from public.analytics_events e
        where e.created_at >= hour and e.created_at < hour + interval '1 hour'
          and octet_length(e.project_id::text) <= 500
      ) as e
      group by project, type, rollup (label)
    ), kept as (
      select h.project_id collate "C" as project, h.event_type as type,
        quote_nullable(h.event_label) as label, 0 as of_sets, h.event_count as n,
        h.unique_visitors as visitors, h.unique_sessions as sessions
      from public.analytics_events_hourly_agg h where h.hour_bucket = hour
      union all
      select v.project_id collate "C", v.event_type, quote_nullable(null::text), 1,
        sum(h.event_count)::bigint, cardinality(v.visitors), cardinality(v.sessions)
      from public.analytics_visitor_hour v
      join public.analytics_events_hourly_agg h using (project_id, hour_bucket, event_type)
      where v.hour_bucket = hour and v.hour_bucket >= state.sets_from
      group by v.project_id, v.event_type, v.visitors, v.sessions
    )
    select hour, null::date, coalesce(f.project, k.project) collate "default",
      coalesce(sum(k.n) filter (where of_sets = 0), 0)::bigint,
      coalesce(sum(f.n) filter (where of_sets = 0), 0)::bigint
    from fresh f full join kept k using (project, type, label, of_sets)
    where (f.n, f.visitors, f.sessions) is distinct from (k.n, k.visitors, k.sessions)
      and not exists (select from public.analytics_rollup_dirty d where d.hour_bucket = hour)
    group by 1, 2, 3;
  end loop;
  for checked in
    select d.project, d.of_day, d.zone
    from (
      select a.project_id as project, a.day as of_day,
        public.analytics_rollup_zone(a.project_id) as zone
      from public.analytics_events_daily_agg a where a.grain = 'project'
      union
      select v.project_id, (v.hour_bucket at time zone z.zone)::date, z.zone
      from (select distinct h.project_id, h.hour_bucket from public.analytics_visitor_hour h) as v
      cross join lateral (select public.analytics_rollup_zone(v.project_id) as zone) as z
    ) as d
    where public.analytics_day_start(d.of_day, d.zone) >= state.frozen_before
      and public.analytics_day_start(d.of_day + 1, d.zone) <= now()
    order by random() limit sample * 100 / 6
  loop
    return query
    with fresh as (
      select case grouping(type, label) when 3 then 'project' when 1 then 'type' else 'label' end
          as grain, quote_nullable(type) as type, quote_nullable(label) as label, count(*) as n,
        count(distinct visitor) as visitors, count(distinct session) as sessions
      from (
        select public.analytics_short(coalesce(e.event_type::text, ''), 500) as type,
          public.analytics_short(e.event_label::text, 1500) as label,
          hashtextextended(e.visitor_id::text, 0) as visitor,
          hashtextextended(e.session_id::text, 0) as session
        from public.analytics_events e
        where e.project_id = public.analytics_project_key(checked.project)
          and e.created_at >= public.analytics_day_start(checked.of_day, checked.zone)
          and e.created_at < public.analytics_day_start(checked.of_day + 1, checked.zone)
      ) as e
      group by rollup (type, label)
    ), kept as (
      select d.grain, quote_nullable(d.event_type) as type, quote_nullable(d.event_label) as label,
        d.event_count as n, case when cardinality(v.visitors) = d.unique_visitors
          and cardinality(v.sessions) = d.unique_sessions then d.unique_visitors end as visitors,
        d.unique_sessions as sessions
      from public.analytics_events_daily_agg d
      left join public.analytics_visitor_day v on v.project_id = d.project_id and v.grain = d.grain
        and v.day = d.day and quote_nullable(v.event_type) = quote_nullable(d.event_type)
        and quote_nullable(v.event_label) = quote_nullable(d.event_label)
      where d.project_id = checked.project and d.day = checked.of_day
    )
    select null::timestamptz, checked.of_day, checked.project,
      coalesce(max(k.n) filter (where grain = 'project'), 0),
      coalesce(max(f.n) filter (where grain = 'project'), 0)
    from fresh f full join kept k using (grain, type, label)
    where not exists (
        select from public.analytics_rollup_dirty_days m
        where m.project_id = checked.project and m.day = checked.of_day)
      and not exists (
        select from public.analytics_rollup_dirty m
        where m.hour_bucket
            > public.analytics_day_start(checked.of_day, checked.zone) - interval '1 hour'
          and m.hour_bucket < public.analytics_day_start(checked.of_day + 1, checked.zone)
          and (m.project_id is null or m.project_id = checked.project))
    having bool_or((f.n, f.visitors, f.sessions) is distinct from (k.n, k.visitors, k.sessions));
  end loop;
  for checked in
    select a.project_id as project, a.day as of_day, a.day - 1 - (random() * 29)::integer as first_day,
      public.analytics_rollup_zone(a.project_id) as zone
    from public.analytics_events_daily_agg a
    where a.grain = 'project' and a.day > (greatest(state.frozen_before, state.sets_from,
      timestamptz '2000-01-01') + interval '31 days')::date
    order by random() limit sample / 6
  loop
    return query
    select null::timestamptz, checked.of_day, checked.project, t.event_count, e.n
    from public.analytics_events_counted(checked.project,
        public.analytics_day_start(checked.first_day, checked.zone),
        public.analytics_day_start(checked.of_day + 1, checked.zone), 'total', 'project') as t
    cross join (
      select count(*) as n, count(distinct r.visitor_id::text) as visitors,
        count(distinct r.session_id::text) as sessions
      from public.analytics_events r
      where r.project_id = public.analytics_project_key(checked.project)
        and r.created_at >= public.analytics_day_start(checked.first_day, checked.zone)
        and r.created_at < public.analytics_day_start(checked.of_day + 1, checked.zone)
    ) as e
    where (t.event_count, t.unique_visitors, t.unique_sessions)
      is distinct from (e.n, e.visitors, e.sessions);
  end loop;
end
$$;

-- How the rollup is, in one row. Ages are for whoever reads it: nothing here is judged.
create or replace function public.analytics_rollup_health()
returns table (dirty_hours bigint, dirty_days bigint, oldest_mark timestamptz, newest_hour timestamptz,
  newest_event timestamptz, refreshed_at timestamptz, frozen_before timestamptz,
  compacted_before timestamptz, unwatched text[])
language sql stable set search_path = pg_catalog, pg_temp as $$
  select
    (select count(distinct d.hour_bucket) from public.analytics_rollup_dirty d
     where d.hour_bucket >= s.frozen_before),
    (select count(*) from public.analytics_rollup_closed_days()),
    least(
      (select min(d.marked_at) from public.analytics_rollup_dirty d
       where d.hour_bucket >= s.frozen_before),
      (select min(d.marked_at) from public.analytics_rollup_dirty_days d
       join public.analytics_rollup_closed_days() c on c.day = d.day
         and c.zone = public.analytics_rollup_zone(d.project_id))),
    (select max(h.hour_bucket) from public.analytics_events_hourly_agg h
     where h.hour_bucket <= now()),
    (select max(e.created_at) from public.analytics_events e where e.created_at <= now()),
    s.refreshed_at, s.frozen_before, s.compacted_before,
    (select coalesce(array_agg(t.relid::text), '{}') from (
       select relid from pg_catalog.pg_partition_tree('public.analytics_events') union
       select 'public.analytics_events'::regclass) as t
     where (select count(*) from pg_catalog.pg_trigger g where g.tgrelid = t.relid
            and g.tgname ~ '^analytics_rollup_' and g.tgenabled = 'A') < 4)
  from public.analytics_rollup_state s
$$;

-- The jobs of pg_cron: made anew, or changed in place, by whoever owns the rollup. Says what became of
-- it. Without pg_cron, `aggregator.py hourly` in a crontab does the same.
create or replace function public.analytics_rollup_schedule()
returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from pg_catalog.pg_available_extensions where name = 'pg_cron') then
    return 'no jobs: this server has no pg_cron';
  end if;
  if not exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    create extension pg_cron with schema pg_catalog;
  end if;
  -- The design's own job would go on writing into the table, without lock or mark.
  perform cron.unschedule(jobid) from cron.job
  where jobname = 'aggregate-analytics-events-hourly'
    or command ~* 'insert\s+into\s+(public\.)?analytics_events_hourly_agg';
  -- One statement each: a procedure that commits can be no part of several.
  perform cron.schedule('analytics-rollup-refresh', '* * * * *',
    'call public.refresh_hourly(48, ''45 s'')');
  perform cron.schedule('analytics-rollup-upkeep', '15 0 * * *',
    'select public.analytics_rollup_upkeep()');
  -- pg_cron never cleans its history. Runs whose times are missing go with their neighbours.
  perform cron.schedule('analytics-rollup-purge', '25 0 * * *',
    'delete from cron.job_run_details where status in (''succeeded'', ''failed'') and runid <= ('
    'select max(runid) from cron.job_run_details where end_time < now() - interval ''7 days'')');
  return 'scheduled: refresh every minute, upkeep and purge every night';
exception
  when undefined_object or raise_exception or insufficient_privilege or invalid_schema_name then
    return 'no jobs: ' || sqlerrm;
end
$$;

-- The jobs of pg_cron and how their last runs ended; no row where there is no pg_cron, or no right to
-- look. failures: how many of the last `runs` failed, counted from the newest until one succeeded.
create or replace function public.analytics_rollup_jobs(runs integer default 10)
returns table (job text, active boolean, failures bigint, message text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if to_regnamespace('cron') is null or not has_schema_privilege('cron', 'usage') then
    return;
  end if;
  return query execute $jobs$
    select j.jobname::text, j.active, count(d.runid) filter (where d.succeeded_after = 0 and d.failed),
      (array_agg(d.return_message::text order by d.runid desc) filter (where d.failed))[1]
    from cron.job j
    left join lateral (
      select r.runid, r.return_message, r.status = 'failed' as failed,
        count(*) filter (where r.status = 'succeeded') over (order by r.runid desc) as succeeded_after
      from cron.job_run_details r where r.jobid = j.jobid order by r.runid desc limit $1
    ) as d on true
    where j.jobname like 'analytics-rollup-%'
    group by j.jobname, j.active order by j.jobname
  $jobs$ using runs;
end
$$;
