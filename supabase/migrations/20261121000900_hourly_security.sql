-- Who sees what of the rollup: the design's policies, decided once per query; and its health.

-- "(select ...)" makes the planner ask once per query, not once per row.
do $$
declare
  name text;
  made_here constant boolean := public.analytics_events_are_ours();
begin
  if not exists (select from pg_roles where rolname = 'authenticated') then
    return;
  end if;
  foreach name in array array['analytics_events_hourly_agg', 'analytics_events_daily_agg']
    || case when made_here then array['analytics_events'] else '{}' end
  loop
    execute format('drop policy if exists "Projects of the caller" on public.%I', name);
    execute format(
      'create policy "Projects of the caller" on public.%I for select to authenticated using ('
      '(select public.analytics_projects_of_caller()) is null '
      'or project_id = any ((select public.analytics_projects_of_caller())::text[]))', name);
    execute format('grant select on public.%I to authenticated', name);
  end loop;
end
$$;

do $$
declare
  of_function record;
  ours constant text[] := array[ -- a user's own may be called analytics_... too
    'analytics_buckets', 'analytics_caller', 'analytics_counts', 'analytics_day_start',
    'analytics_events_are_ours', 'analytics_events_by_day', 'analytics_events_by_hour',
    'analytics_events_by_label', 'analytics_events_counted', 'analytics_events_series',
    'analytics_events_totals', 'analytics_look_up', 'analytics_may_read', 'analytics_pieces',
    'analytics_project_key', 'analytics_projects_of_caller', 'analytics_rollup_check',
    'analytics_rollup_check_isolation', 'analytics_rollup_close', 'analytics_rollup_closed_days',
    'analytics_rollup_compact', 'analytics_rollup_health', 'analytics_rollup_hour',
    'analytics_rollup_jobs', 'analytics_rollup_known_hours', 'analytics_rollup_left',
    'analytics_rollup_make_month', 'analytics_rollup_make_months', 'analytics_rollup_mark',
    'analytics_rollup_mark_changes', 'analytics_rollup_next_hours', 'analytics_rollup_refresh_day',
    'analytics_rollup_refresh_hour', 'analytics_rollup_refresh_returns',
    'analytics_rollup_schedule', 'analytics_rollup_upkeep', 'analytics_rollup_watch',
    'analytics_rollup_zone', 'analytics_rollup_zone_changed', 'analytics_short', 'refresh_hourly'];
  for_callers constant text[] := array['analytics_projects_of_caller', 'analytics_events_counted',
    'analytics_events_series', 'analytics_events_by_hour', 'analytics_events_by_day',
    'analytics_events_by_label', 'analytics_events_totals', 'analytics_rollup_hour'];
  role text;
begin
  for of_function in
    select p.oid::regprocedure as signature, p.proname, p.prokind from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname = any (ours)
  loop
    execute format('revoke execute on routine %s from public', of_function.signature);
    foreach role in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_roles where rolname = role);
      execute format('revoke execute on routine %s from %I', of_function.signature, role);
      if role <> 'anon' and of_function.proname = any (for_callers) then
        execute format('grant execute on routine %s to %I', of_function.signature, role);
      end if;
    end loop;
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant select, insert, update, delete on public.analytics_events to service_role;
    grant select on public.analytics_events_hourly_agg, public.analytics_events_daily_agg,
      public.analytics_visitor_hour, public.analytics_visitor_day, public.analytics_visitor_returns,
      public.analytics_rollup_dirty, public.analytics_rollup_dirty_returns,
      public.analytics_rollup_dirty_days, public.analytics_rollup_state to service_role;
    grant select, insert, update, delete on public.analytics_project_zones to service_role;
    grant update on public.analytics_rollup_state to service_role;
    if to_regclass('public.analytics_events_id_seq') is not null then
      grant usage on sequence public.analytics_events_id_seq to service_role;
    end if;
  end if;
end
$$;
