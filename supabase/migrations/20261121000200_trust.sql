-- What the run history's 400 days and doctor need.

do $$
begin
  if exists (select from pg_roles where rolname = 'service_role') then
    grant delete on public.aggregator_runs to service_role;
  end if;
end
$$;

-- Row level security does not bind TRUNCATE, and nobody but the owner needs these.
do $$
declare
  role text;
begin
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_roles where rolname = role) then
      execute format(
        'revoke truncate, references, trigger on public.sites, public.gsc_accounts, '
        'public.daily_analytics, public.aggregator_runs from %I', role);
    end if;
  end loop;
end
$$;

create index if not exists aggregator_runs_started_at_idx on public.aggregator_runs (started_at);

-- What doctor checks and REST does not show: the database's clock, and of each table of the schema
-- public its columns with their types, its unique keys, and who can see its rows.
create or replace function public.aggregator_schema() returns jsonb
language sql volatile set search_path = '' as $$
  select pg_catalog.jsonb_build_object('now', pg_catalog.clock_timestamp(),
    'only_reads', pg_catalog.current_setting('transaction_read_only') = 'on', 'tables',
    coalesce(pg_catalog.jsonb_object_agg(c.relname, pg_catalog.jsonb_build_object(
    'columns', (
      select pg_catalog.jsonb_object_agg(
        a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
      from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    'unique_keys', (
      select coalesce(pg_catalog.jsonb_agg(keys.columns order by keys.columns), '[]')
      from pg_catalog.pg_index i
      cross join lateral (
        select pg_catalog.jsonb_agg(a.attname order by a.attname) as columns
        from pg_catalog.unnest(i.indkey[0:i.indnkeyatts - 1]) as k(attnum)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      ) as keys
      where i.indrelid = c.oid and i.indisunique and i.indisvalid
        and i.indpred is null and i.indexprs is null),
    'writable', pg_catalog.has_table_privilege(c.oid, 'insert')
      and pg_catalog.has_table_privilege(c.oid, 'update'),
    'row_level_security', c.relrowsecurity,
    'policies', (
      select coalesce(pg_catalog.jsonb_agg(p.polname order by p.polname), '[]')
      from pg_catalog.pg_policy p where p.polrelid = c.oid),
    'open_views', ( -- a view without security_invoker shows rows whatever the table's security says
      select coalesce(pg_catalog.jsonb_agg(distinct v.relname), '[]')
      from pg_catalog.pg_depend d
      join pg_catalog.pg_rewrite r on r.oid = d.objid
      join pg_catalog.pg_class v on v.oid = r.ev_class
      where d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.refobjid = c.oid
        and v.oid <> c.oid and v.relkind in ('v', 'm')
        and not (v.relkind = 'v' and coalesce(v.reloptions, '{}') &&
          array['security_invoker=true', 'security_invoker=on', 'security_invoker=1',
                'security_invoker=yes'])),
    'triggers', (
      select coalesce(pg_catalog.jsonb_agg(t.tgname order by t.tgname), '[]')
      from pg_catalog.pg_trigger t
      where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D')
  )), '{}'))
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'public' and c.relkind in ('r', 'p')
$$;

comment on function public.aggregator_schema() is
  'The tables of schema public as aggregator.py doctor checks them: columns, keys, security.';

-- Functions are for everybody unless it is taken away.
revoke execute on function public.aggregator_schema() from public;

do $$
declare
  role text;
begin
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_roles where rolname = role) then
      execute format('revoke execute on function public.aggregator_schema() from %I', role);
    end if;
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant execute on function public.aggregator_schema() to service_role;
  end if;
end
$$;
