-- Sites, Search Console accounts, and one row of numbers per site and day.
--
-- Made for tables that may exist already, with other columns beside these and ids of any type:
-- nothing is dropped or rewritten, missing parts are added.

create table if not exists public.gsc_accounts (
  id uuid primary key default gen_random_uuid(),
  oauth_refresh_token text not null
);

-- The id types follow the tables that are there: an existing one may count its rows with integers.
do $$
declare
  account_id text := (
    select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = 'public.gsc_accounts'::regclass and attname = 'id'
  );
begin
  execute format(
    'create table if not exists public.sites (
       id uuid primary key default gen_random_uuid(),
       domain text not null,
       matomo_site_id integer,
       gsc_account_id %s references public.gsc_accounts (id),
       gsc_property text,
       status_deployment text not null default ''deployed''
     )', account_id);
end
$$;

-- A site whose deployment nobody has stated is not worked on: the column gets no default here.
alter table public.sites add column if not exists status_deployment text;
alter table public.sites add column if not exists matomo_site_id integer;
alter table public.sites add column if not exists gsc_property text;

do $$
declare
  account_id text := (
    select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = 'public.gsc_accounts'::regclass and attname = 'id'
  );
begin
  execute format(
    'alter table public.sites
       add column if not exists gsc_account_id %s references public.gsc_accounts (id)',
    account_id);
end
$$;

do $$
declare
  site_id text := (
    select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = 'public.sites'::regclass and attname = 'id'
  );
begin
  execute format(
    'create table if not exists public.daily_analytics (
       date date not null,
       site_id %s not null references public.sites (id),
       matomo_visits bigint,
       gsc_clicks bigint,
       gsc_impressions bigint,
       updated_at timestamptz not null default now(),
       primary key (date, site_id)
     )', site_id);
end
$$;

alter table public.daily_analytics add column if not exists matomo_visits bigint;
alter table public.daily_analytics add column if not exists gsc_clicks bigint;
alter table public.daily_analytics add column if not exists gsc_impressions bigint;
alter table public.daily_analytics
  add column if not exists updated_at timestamptz not null default now();

-- NULL is "not known": a default of 0 would say that somebody had counted.
alter table public.daily_analytics
  alter column matomo_visits drop default, alter column matomo_visits drop not null,
  alter column gsc_clicks drop default, alter column gsc_clicks drop not null,
  alter column gsc_impressions drop default, alter column gsc_impressions drop not null;

-- The upsert names (date, site_id); a table that has no such unique index gets one.
do $$
begin
  if not exists (
    select from pg_index i
    where i.indrelid = 'public.daily_analytics'::regclass
      and i.indisunique and i.indpred is null and i.indexprs is null
      and (
        select array_agg(a.attname::text order by a.attname)
        from unnest(i.indkey[0:i.indnkeyatts - 1]) as k(attnum)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      ) = array['date', 'site_id']
  ) then
    create unique index daily_analytics_date_site_id_key
      on public.daily_analytics (date, site_id);
  end if;
end
$$;

comment on column public.daily_analytics.matomo_visits is
  'Visits of the day in the site''s own time zone. NULL: not known. 0: Matomo said zero.';
comment on column public.daily_analytics.gsc_clicks is
  'Search clicks of the Pacific day. NULL: not known. 0: Search Console said zero.';
comment on column public.daily_analytics.gsc_impressions is
  'Search impressions of the Pacific day. NULL: not known. 0: Search Console said zero.';

-- updated_at says when a number changed, not when somebody last looked. (Whole rows cannot be
-- compared: generated columns are not computed yet when this runs.)
create or replace function public.daily_analytics_set_updated_at() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.updated_at := old.updated_at;
  if (new.matomo_visits, new.gsc_clicks, new.gsc_impressions)
     is distinct from (old.matomo_visits, old.gsc_clicks, old.gsc_impressions) then
    new.updated_at := now();
  end if;
  return new;
end
$$;

create or replace trigger daily_analytics_updated_at
  before update on public.daily_analytics
  for each row execute function public.daily_analytics_set_updated_at();

-- Refresh tokens and numbers are for the service key alone until a policy of yours says otherwise.
alter table public.sites enable row level security;
alter table public.gsc_accounts enable row level security;
alter table public.daily_analytics enable row level security;

do $$
begin
  if exists (select from pg_roles where rolname = 'service_role') then
    grant select on public.sites, public.gsc_accounts to service_role;
    grant select, insert, update on public.daily_analytics to service_role;
  end if;
end
$$;
