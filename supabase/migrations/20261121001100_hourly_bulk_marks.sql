-- A statement with many rows marks its hours for every project at once: telling the projects apart
-- would cost an import more than counting whole hours again does.

create or replace function public.analytics_rollup_mark_changes()
returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  many constant integer := 20000;
begin
  if tg_op = 'TRUNCATE' then
    perform public.analytics_rollup_check_isolation();
    perform public.analytics_rollup_mark();
  elsif tg_op in ('INSERT', 'DELETE') then
    if many < (select count(*) from (select from changed_rows limit many + 1) as beginning) then
      insert into public.analytics_rollup_dirty (hour_bucket)
      select distinct public.analytics_rollup_hour(created_at) from changed_rows
      where public.analytics_counts(created_at, project_id::text);
    else
      insert into public.analytics_rollup_dirty (hour_bucket, project_id)
      select distinct public.analytics_rollup_hour(created_at), project_id::text from changed_rows
      where public.analytics_counts(created_at, project_id::text);
    end if;
  elsif many < (select count(*) from (select from new_rows limit many + 1) as beginning) then
    insert into public.analytics_rollup_dirty (hour_bucket)
    select public.analytics_rollup_hour(created_at) from old_rows
    where public.analytics_counts(created_at, project_id::text)
    union
    select public.analytics_rollup_hour(created_at) from new_rows
    where public.analytics_counts(created_at, project_id::text);
  else
    insert into public.analytics_rollup_dirty (hour_bucket, project_id)
    select public.analytics_rollup_hour(created_at), project_id::text from old_rows
    where public.analytics_counts(created_at, project_id::text)
    union
    select public.analytics_rollup_hour(created_at), project_id::text from new_rows
    where public.analytics_counts(created_at, project_id::text);
  end if;
  return null;
end
$$;
