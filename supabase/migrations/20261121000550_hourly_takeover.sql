-- A table that was made from the design gives its rows to the new one. Rows of one hour and group that
-- stand there several times (NULL labels never conflicted) become one: the newest, which counted last.
-- Hours that were bucketed in a zone with half hours go to the UTC hour that they begin in.
--
-- Where the events of the older hours are gone (a retention of 90 days, say), those hours are frozen and
-- keep what is stored. The border lies where it parts hours without events from hours with events best:
-- neither a stray event of 1970 nor an hour whose events were all deleted moves it.

set local statement_timeout = '2h';

do $$
declare
  before constant regclass := to_regclass('public.analytics_events_hourly_agg_before');
  policy record;
  gift record;
  has_rows boolean;
  kept_until timestamptz;
begin
  perform set_config('timezone', 'UTC', true); -- a created_at without time zone is taken for UTC
  if before is null then
    return;
  end if;
  execute 'select exists (select from public.analytics_events_hourly_agg_before)' into has_rows;
  if has_rows then
    execute 'select public.analytics_rollup_make_months(month, month) from ('
      'select distinct date_trunc(''month'', hour_bucket) as month '
      'from public.analytics_events_hourly_agg_before) as m';
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
    select hour + interval '1 hour' into kept_until
    from (
      select hour, sum(case when present then -1 else 1 end) over (order by hour) as balance
      from (
        select hour, exists (
          select from public.analytics_events e
          where e.created_at >= hour and e.created_at < hour + interval '1 hour') as present
        from (select distinct hour_bucket as hour from public.analytics_events_hourly_agg) as hours
      ) as looked_up
    ) as weighed
    where balance > 0 order by balance desc, hour desc limit 1;
    -- The first hour that has events may have lost some of them.
    update public.analytics_rollup_state set frozen_before = kept_until + interval '1 hour',
      sets_from = kept_until + interval '1 hour' where kept_until is not null;
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
      'using (' || replace(policy.qual, 'hourly_agg_before', 'hourly_agg') || ')',
      'with check (' || replace(policy.with_check, 'hourly_agg_before', 'hourly_agg') || ')');
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
