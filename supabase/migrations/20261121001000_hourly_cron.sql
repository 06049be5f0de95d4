-- The rollup refreshes itself every minute where pg_cron is at hand; elsewhere this says so and does
-- nothing. After installing pg_cron later: select public.analytics_rollup_schedule();

do $$
begin
  raise notice 'pg_cron: %', public.analytics_rollup_schedule();
end
$$;
