-- A table that was made from the design gives its rows to the new one. Rows of one hour and group that
-- stand there several times (NULL labels never conflicted) become one: the newest, which counted last.
-- Hours that were bucketed in a zone with half hours go to the UTC hour that they begin in.
--
-- Where analytics_events begins later than those rows, its older events are gone: those hours are
-- frozen, and keep what is stored.

do $$
declare
  before constant regclass := to_regclass('public.analytics_events_hourly_agg_before');
  reader text;
  policy record;
  gift record;
  first_row timestamptz;
  last_row timestamptz;
  first_event timestamptz;
begin
  if before is null then
    return;
  end if;
  select string_agg(distinct v.oid::regclass::text, ', ') into reader
  from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class
  where d.classid = 'pg_rewrite'::regclass and d.refobjid = before and v.oid <> before;
  if reader is not null then
    raise exception 'analytics_events_hourly_agg is replaced by a partitioned table, and % would go '
      'on reading the old one', reader
      using hint = 'drop what reads it, migrate, and create it again';
  end if;

  execute 'select min(hour_bucket), max(hour_bucket) from public.analytics_events_hourly_agg_before'
  into first_row, last_row;
  if first_row is not null then
    perform public.analytics_rollup_make_months(first_row, last_row);
    execute $copy$
      insert into public.analytics_events_hourly_agg (project_id, event_type, event_label,
        hour_bucket, event_count, unique_visitors, unique_sessions, created_at, updated_at)
      select project_id, event_type, event_label, date_bin('1 hour', hour_bucket,
          timestamptz '2000-01-01 00:00+00') as hour,
        sum(event_count), max(unique_visitors), max(unique_sessions), min(created_at),
        max(updated_at)
      from (
        select distinct on (project_id, event_type, event_label, hour_bucket) *
        from public.analytics_events_hourly_agg_before
        order by project_id, event_type, event_label, hour_bucket, updated_at desc,
          event_count desc
      ) as newest
      group by project_id, event_type, event_label, hour
    $copy$;
    select min(created_at) into first_event from public.analytics_events
    where isfinite(created_at);
    if first_event is null or first_row < date_bin('1 hour', first_event,
      timestamptz '2000-01-01 00:00+00') then
      update public.analytics_rollup_state
      set frozen_before = date_bin('1 hour', coalesce(least(first_event, last_row), last_row),
            timestamptz '2000-01-01 00:00+00') + interval '1 hour';
      update public.analytics_rollup_state set sets_from = frozen_before;
    end if;
  end if;

  -- Whoever could read the table still can. The design's own two policies are replaced by one.
  for policy in
    select * from pg_policies where schemaname = 'public'
      and tablename = 'analytics_events_hourly_agg_before'
      and policyname not in ('Admin users can view all aggregated events',
                             'Users can view their project aggregated events')
  loop
    execute format('create policy %I on public.analytics_events_hourly_agg as %s for %s to %s %s %s',
      policy.policyname, policy.permissive, policy.cmd,
      (select string_agg(case when r = 'public' then 'public' else quote_ident(r) end, ', ')
       from unnest(policy.roles) r),
      'using (' || policy.qual || ')', 'with check (' || policy.with_check || ')');
  end loop;
  for gift in
    select a.grantee::regrole::text as role, a.privilege_type
    from pg_class c, aclexplode(c.relacl) a
    where c.oid = before and a.grantee <> 0 and a.grantee <> c.relowner
      and a.grantee::regrole::text not in ('anon', 'authenticated', 'service_role')
  loop
    execute format('grant %s on public.analytics_events_hourly_agg to %s',
                   gift.privilege_type, gift.role);
  end loop;
  drop table public.analytics_events_hourly_agg_before;
end
$$;
