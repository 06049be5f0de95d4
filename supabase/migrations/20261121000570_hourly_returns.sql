-- Unique counts over many days without looking at a single visitor (docs/hourly-rollup.md).
--
-- visitors[k] of a day is how many of its visitors were not seen in the k - 1 days before it. Whoever is
-- seen in a stretch of days is counted on their first day in it: the unique visitors of the days a to b
-- are the sum over days d of visitors[d - a + 1]. The last number stands for all larger k, up to 31.

create table if not exists public.analytics_visitor_returns (
  project_id text not null,
  grain text not null,
  day date not null,
  event_type text,
  event_label text,
  visitors integer[] not null,
  sessions integer[] not null, -- of whole projects only
  constraint analytics_visitor_returns_key
    unique nulls not distinct (project_id, grain, day, event_type, event_label)
);

-- Whose numbers, from this day on, do not know yet of a change to the day's sets.
create table if not exists public.analytics_rollup_dirty_returns (
  project_id text not null,
  grain text not null,
  day date not null,
  event_type text,
  event_label text,
  marked_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000);
create index if not exists analytics_rollup_dirty_returns_idx
  on public.analytics_rollup_dirty_returns (project_id, grain, day);

select public.analytics_rollup_close('public.analytics_visitor_returns'::regclass),
  public.analytics_rollup_close('public.analytics_rollup_dirty_returns'::regclass);

-- Numbers for one project and grain anew, wherever they are marked: the oldest 31 days of marks at once.
-- False if another refresh has them. As with hours and days, marks and numbers go in one snapshot.
create or replace function public.analytics_rollup_refresh_returns(of_project text, of_grain text)
returns boolean language plpgsql
set search_path = pg_catalog, pg_temp set timezone = 'UTC' set work_mem = '64MB' set jit = off
set enable_nestloop = off as $$
declare
  first_day date;
begin
  perform public.analytics_rollup_check_isolation();
  if not pg_try_advisory_xact_lock_shared(72062024, 0)
    or not pg_try_advisory_xact_lock(72062023, hashtext(of_project || ' ' || of_grain)) then
    return false;
  end if;
  select min(d.day) into first_day from public.analytics_rollup_dirty_returns d
  where d.project_id = of_project and d.grain = of_grain;
  if first_day is null then
    return false;
  end if;
  with marks as (
    delete from public.analytics_rollup_dirty_returns d
    where d.project_id = of_project and d.grain = of_grain and d.day <= first_day + 30
    returning d.day, d.event_type, d.event_label
  ), keys as materialized (
    select row_number() over () as key, event_type as type, event_label as label,
      min(day) as first, max(day) + 31 as last
    from marks group by event_type, event_label
  ), sets as materialized (
    select k.key, k.first, s.day, s.visitors, s.sessions
    from public.analytics_visitor_day s
    join keys k on quote_nullable(k.type) = quote_nullable(s.event_type)
      and quote_nullable(k.label) = quote_nullable(s.event_label)
    where s.project_id = of_project and s.grain = of_grain
      and s.day >= first_day - 31 and s.day <= first_day + 61
      and s.day >= k.first - 31 and s.day <= k.last
  ), seen as (
    select key, first, day, is_visitor,
      day - lag(day) over (partition by is_visitor, key, id order by day) as gap
    from (
      select key, first, day, true as is_visitor, unnest(visitors) as id from sets
      union all
      select key, first, day, false, unnest(sessions) from sets where of_grain = 'project'
    ) as ids
  ), gaps as materialized (
    select key, day, is_visitor, case when gap <= 30 then gap else 99 end as gap, count(*) as n
    from seen where day >= first group by 1, 2, 3, 4
  ), numbers as materialized (
    -- Up to one more than the longest gap, from where on only those count who were never seen before.
    select g.key, g.day, g.is_visitor, k, sum(case when g.gap >= k then g.n else 0 end)::integer as n
    from gaps g join (
      select key, day, is_visitor, coalesce(max(gap) filter (where gap < 99), 0) + 1 as longest
      from gaps group by 1, 2, 3
    ) as w using (key, day, is_visitor)
    cross join lateral generate_series(1, w.longest) as k
    group by 1, 2, 3, 4
  ), fresh as (
    select s.key, s.day,
      coalesce(array_agg(n.n order by n.k) filter (where n.is_visitor), '{0}') as visitors,
      coalesce(array_agg(n.n order by n.k) filter (where not n.is_visitor), '{0}') as sessions
    from sets s left join numbers n using (key, day)
    where s.day >= s.first group by 1, 2
  ), gone as (
    delete from public.analytics_visitor_returns r using keys k
    where r.project_id = of_project and r.grain = of_grain
      and r.day >= first_day and r.day <= first_day + 61
      and r.day >= k.first and r.day <= k.last
      and quote_nullable(k.type) = quote_nullable(r.event_type)
      and quote_nullable(k.label) = quote_nullable(r.event_label)
      and not exists (select from sets s where s.key = k.key and s.day = r.day)
  )
  insert into public.analytics_visitor_returns as r
    (project_id, grain, day, event_type, event_label, visitors, sessions)
  select of_project, of_grain, f.day, k.type, k.label, f.visitors, f.sessions
  from fresh f join keys k using (key)
  on conflict (project_id, grain, day, event_type, event_label) do update set
    visitors = excluded.visitors, sessions = excluded.sessions
  where (r.visitors, r.sessions) is distinct from (excluded.visitors, excluded.sessions);
  return true;
end
$$;
