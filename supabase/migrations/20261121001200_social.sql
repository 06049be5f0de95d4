-- Social snapshots (docs/social.md): the accounts to ask, and one row per metric and day.
--
-- Both tables may be there already, made from the design, with other columns beside these and ids of
-- any type. The design's key never conflicts (post_id is NULL) and cannot hold two accounts of one
-- platform: what is stored twice is merged, and the account becomes part of the key.

-- A large table is rewritten and indexed below; Supabase ends statements after two minutes.
set local statement_timeout = '2h';

do $$
declare
  of_table text;
  lacking text;
  of_user constant text := coalesce((
    select format_type(atttypid, atttypmod) from pg_attribute
    where attname = 'user_id' and not attisdropped and attrelid in (
      to_regclass('public.platform_connections'), to_regclass('public.analytics_snapshots'))
    order by attrelid = to_regclass('public.platform_connections') desc limit 1
  ), 'text');
begin
  if to_regclass('public.platform_connections') is null then
    execute format(
      'create table public.platform_connections (
         id uuid primary key default gen_random_uuid(),
         user_id %s not null,
         platform text not null,
         account_id text,
         access_token_encrypted text,
         refresh_token_encrypted text,
         token_expires_at timestamptz,
         is_active boolean not null default true,
         metadata jsonb not null default ''{}'',
         created_at timestamptz not null default now(),
         updated_at timestamptz not null default now()
       )', of_user);
    perform public.analytics_rollup_close('public.platform_connections'::regclass);
  end if;
  if to_regclass('public.analytics_snapshots') is null then
    execute format(
      'create table public.analytics_snapshots (
         id bigint generated always as identity primary key,
         user_id %s not null,
         platform text not null,
         source text not null,
         metric text not null,
         value numeric not null,
         date date not null,
         post_id text,
         account_id text not null default '''',
         metadata jsonb not null default ''{}'',
         created_at timestamptz not null default now(),
         updated_at timestamptz not null default now()
       )', of_user);
    perform public.analytics_rollup_close('public.analytics_snapshots'::regclass);
  end if;
  foreach of_table in array array['platform_connections', 'analytics_snapshots'] loop
    if (select relkind not in ('r', 'p') from pg_class where oid = ('public.' || of_table)::regclass)
    then
      raise exception '% is no table', of_table using errcode = 'feature_not_supported';
    end if;
    select string_agg(c.needed, ', ' order by c.needed) into lacking
    from unnest(case of_table when 'platform_connections' then array['id', 'user_id', 'platform']
      else array['user_id', 'platform', 'source', 'metric', 'value', 'date'] end) as c(needed)
    where not exists (
      select from pg_attribute a where a.attrelid = ('public.' || of_table)::regclass
        and a.attname = c.needed and not a.attisdropped);
    if lacking is not null then
      raise exception '% lacks %', of_table, lacking using errcode = 'feature_not_supported';
    end if;
  end loop;
end
$$;

alter table public.platform_connections add column if not exists account_id text;
alter table public.platform_connections add column if not exists access_token_encrypted text;
alter table public.platform_connections add column if not exists refresh_token_encrypted text;
alter table public.platform_connections add column if not exists token_expires_at timestamptz;
alter table public.platform_connections add column if not exists is_active boolean default true;
alter table public.platform_connections
  add column if not exists metadata jsonb not null default '{}';
alter table public.platform_connections
  add column if not exists updated_at timestamptz not null default now();

alter table public.analytics_snapshots add column if not exists post_id text;
alter table public.analytics_snapshots
  add column if not exists account_id text not null default '';
alter table public.analytics_snapshots
  add column if not exists metadata jsonb not null default '{}';
alter table public.analytics_snapshots
  add column if not exists updated_at timestamptz not null default now();

-- What nobody but the owner can decide on is named, and nothing is changed. (A message is cut after
-- 300 characters.)
do $$
declare
  in_the_way record;
  key constant text[] := array[
    'user_id', 'platform', 'source', 'metric', 'date', 'post_id', 'account_id'];
  divided_by text;
begin
  for in_the_way in
    select i.indisprimary, i.indexrelid::regclass as name, used.listed, (
      select conname from pg_constraint where conindid = i.indexrelid and contype = 'p') as conname
    from pg_index i
    cross join lateral (
      select array_agg(a.attname::text) as columns,
        string_agg(a.attname, ', ' order by a.attnum) as listed
      from pg_attribute a
      where a.attrelid = i.indrelid and a.attnum = any ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
    ) as used
    where i.indrelid = 'public.analytics_snapshots'::regclass
      and (i.indisprimary or i.indisreplident)
      and ('post_id' = any (used.columns) -- which is NULL in our rows
        or (used.columns @> array['user_id', 'platform', 'metric', 'date']
          and not 'account_id' = any (used.columns) and used.columns <@ key))
  loop
    if in_the_way.indisprimary then
      raise exception 'the primary key (%) of analytics_snapshots has no room for a second account '
        'without a post. Give it another, then migrate again: alter table '
        'public.analytics_snapshots drop constraint %, add number bigint generated always as '
        'identity primary key', in_the_way.listed, quote_ident(in_the_way.conname)
        using errcode = 'feature_not_supported';
    end if;
    raise exception 'the replica identity of analytics_snapshots is its index % (%), which has no '
      'room for a second account without a post. Choose another, then migrate again: '
      'alter table public.analytics_snapshots replica identity full', in_the_way.name,
      in_the_way.listed using errcode = 'feature_not_supported';
  end loop;

  select string_agg(distinct coalesce(a.attname, 'an expression'), ', ') into divided_by
  from pg_partition_tree('public.analytics_snapshots') t
  join pg_partitioned_table p on p.partrelid = t.relid
  cross join unnest(p.partattrs::smallint[]) as k(attnum)
  left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum
  where a.attname is null or a.attname <> all (key);
  if divided_by is not null then
    raise exception 'analytics_snapshots is partitioned by %, which is no part of its new key (%). '
      'Partition it by columns of the key (by date, say), then migrate again', divided_by,
      array_to_string(key, ', ') using errcode = 'feature_not_supported';
  end if;
end
$$;

alter table public.analytics_snapshots alter column post_id drop not null;

do $$
begin
  if exists (
    select from pg_attribute
    where attrelid = 'public.analytics_snapshots'::regclass and attname = 'id' and attnotnull
      and not attisdropped and not atthasdef and atttypid = 'uuid'::regtype
  ) then -- our rows are written without one
    alter table public.analytics_snapshots alter column id set default gen_random_uuid();
  end if;
  if exists (
    select from pg_attribute
    where attrelid = 'public.analytics_snapshots'::regclass and attname = 'value'
      and atttypid in ('bigint'::regtype, 'integer'::regtype, 'smallint'::regtype)
  ) then -- some numbers are fractions
    begin
      alter table public.analytics_snapshots alter column value type numeric;
    exception
      when feature_not_supported or dependent_objects_still_exist or invalid_table_definition then
        raise notice 'analytics_snapshots.value stays a column of whole numbers, and fractions will '
          'be refused (%): drop what uses it (a view?), alter column value type numeric, and make '
          'it again', sqlerrm;
    end;
  end if;
end
$$;

-- Keys without the account would refuse the second account of a user: the design's, and those that
-- make up for its NULL, by a predicate or an expression.
do $$
declare
  old record;
begin
  for old in
    select i.indexrelid::regclass as name, k.conname, (
      select format('%s of %s', quote_ident(f.conname), f.conrelid::regclass)
      from pg_constraint f where f.contype = 'f' and f.conindid = i.indexrelid limit 1
    ) as refers
    from pg_index i
    left join pg_constraint k
      on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype = 'u'
    cross join lateral (
      select array_agg(a.attname::text) as columns from pg_attribute a
      where a.attrelid = i.indrelid and a.attnum > 0 and (
        a.attnum = any ((i.indkey::smallint[])[0:i.indnkeyatts - 1])
        or exists (
          select from pg_depend d
          where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
            and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid
            and d.refobjsubid = a.attnum))
    ) as used
    where i.indrelid = 'public.analytics_snapshots'::regclass
      and i.indisunique and not i.indisprimary
      and used.columns @> array['user_id', 'platform', 'metric', 'date']
      and used.columns <@ array['user_id', 'platform', 'source', 'metric', 'date', 'post_id']
  loop
    if old.refers is not null then
      raise exception 'the foreign key % refers to the key % of analytics_snapshots, which has no '
        'room for a second account. Let it refer to the primary key, or drop it, then migrate again',
        old.refers, old.name using errcode = 'feature_not_supported';
    end if;
    if old.conname is null then
      execute format('drop index %s', old.name);
    else
      execute format('alter table public.analytics_snapshots drop constraint %I', old.conname);
    end if;
  end loop;
end
$$;

-- Whoever wrote a row in the design's way may have written no time, or none that can be read.
create or replace function pg_temp.social_moment(said text) returns timestamptz
language plpgsql set timezone = 'UTC' as $$
begin
  return said::timestamptz;
exception
  when others then
    return null;
end
$$;

create or replace function pg_temp.social_json(said text) returns jsonb
language plpgsql as $$
begin
  return said::jsonb;
exception
  when others then
    return null;
end
$$;

-- As the program reads them (storage/social_rows.py): without the same spaces around them; a platform
-- in lower case, whatever language the database lowers in; a uuid in small letters.
create or replace function pg_temp.social_account(said text) returns text
language sql immutable as $$
  select btrim(said, E' \t\n\r\f\x0b')
$$;

create or replace function pg_temp.social_platform(said text) returns text
language sql immutable as $$
  select lower(btrim(said, E' \t\n\r\f\x0b') collate "C")
$$;

create or replace function pg_temp.social_user(said text) returns text
language sql immutable as $$
  select case when said ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then lower(said) else said end
$$;

-- The rows as the new key wants them: platform in lower case; the account where there can be no doubt
-- about it, because that user has one connection of that platform; each number once, as it was
-- fetched last.
do $$
declare
  lowered text := 's.platform';
  newer text;
  unreadable bigint;
  refers record;
  is_referred_to boolean;
begin
  if exists (
    select from pg_index i
    where i.indrelid = 'public.analytics_snapshots'::regclass
      and i.indisunique and i.indnullsnotdistinct and i.indpred is null and i.indexprs is null
      and (
        select array_agg(a.attname::text order by a.attname)
        from unnest(i.indkey[0:i.indnkeyatts - 1]) as k(attnum)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      ) = array['account_id', 'date', 'metric', 'platform', 'post_id', 'source', 'user_id']
  ) then
    return;
  end if;
  update public.analytics_snapshots set account_id = '' where account_id is null;
  alter table public.analytics_snapshots
    alter column account_id set default '', alter column account_id set not null;
  if (select typcategory = 'S' from pg_attribute a join pg_type t on t.oid = a.atttypid
      where a.attrelid = 'public.analytics_snapshots'::regclass and a.attname = 'platform')
  then -- an enumeration knows its own words alone
    lowered := 'pg_temp.social_platform(s.platform::text)';
  end if;
  if (select atttypid <> 'jsonb'::regtype from pg_attribute
      where attrelid = 'public.analytics_snapshots'::regclass and attname = 'metadata')
  then
    select count(*) into unreadable from public.analytics_snapshots
    where metadata is not null and pg_temp.social_json(metadata::text) is null;
    if unreadable > 0 then
      raise exception 'metadata of analytics_snapshots holds what is no JSON in % row(s): mend it '
        'there, or write {} in its place, then migrate again', unreadable
        using errcode = 'feature_not_supported';
    end if;
  end if;
  -- An id that is a number was counted up; any other says nothing of the time.
  select coalesce(string_agg(format('r.%I desc nulls last, ', attname), '' order by attname), '')
  into newer from pg_attribute
  where attrelid = 'public.analytics_snapshots'::regclass and not attisdropped
    and (attname = 'created_at' or (attname = 'id' and atttypid in (
      'bigint'::regtype, 'integer'::regtype, 'smallint'::regtype, 'numeric'::regtype)));

  create temp table social_accounts on commit drop as
  select pg_temp.social_user(user_id::text) as user_id,
    pg_temp.social_platform(platform::text) as platform,
    max(pg_temp.social_account(account_id::text)) as account_id
  from public.platform_connections
  group by 1, 2 having count(*) = 1;

  execute format(
    'create temp table social_rows on commit drop as
     select r.tableoid as part, r.ctid as place, w.account_id, row_number() over (
         partition by r.user_id, pg_temp.social_platform(r.platform::text), r.source, r.metric,
           r.date, r.post_id, w.account_id
         order by pg_temp.social_moment(r.metadata::jsonb ->> ''fetched_at'') desc nulls last,
           %s r.ctid desc
       ) as number
     from public.analytics_snapshots r
     left join social_accounts a
       on a.user_id = pg_temp.social_user(r.user_id::text)
       and a.platform = pg_temp.social_platform(r.platform::text)
     cross join lateral (
       select coalesce(nullif(pg_temp.social_account(r.account_id), ''''), a.account_id, '''')
         as account_id
     ) as w',
    newer);

  -- With a row that is merged away, rows that refer to it would go, or forget what they belong to.
  for refers in
    select f.conname, f.conrelid::regclass as name, string_agg(
      format('f.%I = s.%I', theirs.attname, ours.attname), ' and ') as joined
    from pg_constraint f
    cross join unnest(f.conkey, f.confkey) as k(theirs, ours)
    join pg_attribute theirs on theirs.attrelid = f.conrelid and theirs.attnum = k.theirs
    join pg_attribute ours on ours.attrelid = f.confrelid and ours.attnum = k.ours
    where f.contype = 'f' and f.conparentid = 0 and f.confrelid in (
      select 'public.analytics_snapshots'::regclass
      union select relid from pg_partition_tree('public.analytics_snapshots'))
    group by f.oid, f.conname, f.conrelid
  loop
    execute format(
      'select exists (
         select from %s f join public.analytics_snapshots s on %s
         join social_rows r on r.part = s.tableoid and r.place = s.ctid where r.number > 1)',
      refers.name, refers.joined) into is_referred_to;
    if is_referred_to then
      raise exception 'rows of % refer (%) to rows of analytics_snapshots that hold a number a second '
        'time and would be merged into the one fetched last. Let them refer to that one, or delete '
        'them, then migrate again', refers.name, quote_ident(refers.conname)
        using errcode = 'feature_not_supported';
    end if;
  end loop;

  delete from public.analytics_snapshots s using social_rows r
  where r.number > 1 and s.tableoid = r.part and s.ctid = r.place;
  execute format(
    'update public.analytics_snapshots s
     set platform = %1$s, account_id = r.account_id
     from social_rows r
     where s.tableoid = r.part and s.ctid = r.place
       and (s.platform, s.account_id) is distinct from (%1$s, r.account_id)',
    lowered);
  if to_regclass('public.analytics_snapshots_key') is null and not exists (
    select from pg_constraint where conrelid = 'public.analytics_snapshots'::regclass
      and conname = 'analytics_snapshots_key')
  then
    alter table public.analytics_snapshots add constraint analytics_snapshots_key
      unique nulls not distinct (user_id, platform, source, metric, date, post_id, account_id);
  else -- another thing of the owner's has the name
    alter table public.analytics_snapshots add
      unique nulls not distinct (user_id, platform, source, metric, date, post_id, account_id);
  end if;
end
$$;

drop function pg_temp.social_moment(text), pg_temp.social_json(text), pg_temp.social_account(text),
  pg_temp.social_platform(text), pg_temp.social_user(text);

-- Runs and reports read days; the key begins with the user.
do $$
begin
  if not exists (
    select from pg_index i
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'public.analytics_snapshots'::regclass
      and a.attname = 'date' and i.indisvalid and i.indpred is null
  ) then
    create index on public.analytics_snapshots (date);
  end if;
end
$$;

comment on column public.analytics_snapshots.metric is
  'As the API calls it; a part of it as metric:part. The design''s names: metadata.legacy_name.';
comment on column public.analytics_snapshots.account_id is
  'The platform''s own id of the account; empty where it was not known when the row was written.';
comment on column public.platform_connections.metadata is
  'Yours, but for the key needs_reauth: since when and why the platform refuses the token.';

-- A number that was fetched again and is the same is no change; updated_at says when a value changed.
-- (Whole rows are compared last: generated columns are not computed yet when this runs.) Rows of other
-- writers are their affair.
create or replace function public.analytics_snapshots_set_updated_at() returns trigger
language plpgsql set search_path = '' as $$
declare
  was constant jsonb := coalesce(old.metadata::jsonb, '{}');
  will_be constant jsonb := coalesce(new.metadata::jsonb, '{}');
begin
  new.updated_at := old.updated_at;
  if new.value is distinct from old.value then
    new.updated_at := pg_catalog.now();
  elsif was is distinct from will_be then
    if pg_catalog.jsonb_typeof(was) = 'object' and pg_catalog.jsonb_typeof(will_be) = 'object'
      and was - 'fetched_at' = will_be - 'fetched_at'
    then
      return null;
    end if;
  elsif pg_catalog.to_jsonb(old) = pg_catalog.to_jsonb(new) then
    return null;
  end if;
  return new;
end
$$;

create or replace trigger analytics_snapshots_social_media
  before update on public.analytics_snapshots
  for each row when (new.source::text = 'social_media' and new.post_id is null)
  execute function public.analytics_snapshots_set_updated_at();

-- Over REST an UPDATE with a filter would carry the old token in the URL, and the API's log keeps
-- URLs; the arguments of a function go in the body. True if the new token is there afterwards: an
-- earlier try may have put it there, whose answer was lost.
create or replace function public.replace_connection_token(
  connection text, which text, old_token text, new_token text
) returns boolean language plpgsql set search_path = '' as $$
begin
  if which = 'access' then
    update public.platform_connections
    set access_token_encrypted = new_token, updated_at = pg_catalog.now()
    where id::text = connection
      and coalesce(access_token_encrypted, '') in (old_token, new_token);
  elsif which = 'refresh' then
    update public.platform_connections
    set refresh_token_encrypted = new_token, updated_at = pg_catalog.now()
    where id::text = connection
      and coalesce(refresh_token_encrypted, '') in (old_token, new_token);
  else
    raise exception 'a connection has no % token', which;
  end if;
  return found;
end
$$;

create or replace function public.renew_connection_token(
  connection text, old_access text, new_access text, expires_at timestamptz, new_refresh text
) returns boolean language plpgsql set search_path = '' as $$
begin
  update public.platform_connections
  set access_token_encrypted = new_access, token_expires_at = expires_at,
    refresh_token_encrypted = coalesce(new_refresh, refresh_token_encrypted),
    updated_at = pg_catalog.now()
  where id::text = connection and coalesce(access_token_encrypted, '') in (old_access, new_access);
  return found;
end
$$;

create or replace function public.mark_connection(connection text, mark jsonb)
returns void language plpgsql set search_path = '' as $$
begin
  if pg_catalog.jsonb_typeof(mark) = 'null' then
    mark := null;
  end if;
  -- What is no object is the user's own affair.
  update public.platform_connections
  set updated_at = pg_catalog.now(), metadata = case
    when mark is null then metadata::jsonb - 'needs_reauth'
    else coalesce(nullif(metadata::jsonb, 'null'), '{}')
      || pg_catalog.jsonb_build_object('needs_reauth', mark) end
  where id::text = connection and metadata::jsonb -> 'needs_reauth' is distinct from mark
    and pg_catalog.jsonb_typeof(coalesce(nullif(metadata::jsonb, 'null'), '{}')) = 'object';
exception
  when data_exception then -- text that is no JSON
    null;
end
$$;

comment on function public.replace_connection_token(text, text, text, text) is
  'Used by tokens. False: the connection is gone, or its token is another by now.';
comment on function public.renew_connection_token(text, text, text, timestamptz, text) is
  'Used by social. False: the connection is gone, or its access token is another by now.';
comment on function public.mark_connection(text, jsonb) is
  'Used by social: sets metadata.needs_reauth, or takes it away where mark is NULL.';

do $$
declare
  of_function regprocedure;
  role text;
  ids text;
begin
  foreach of_function in array array[
    'public.replace_connection_token(text, text, text, text)'::regprocedure,
    'public.renew_connection_token(text, text, text, timestamptz, text)'::regprocedure,
    'public.mark_connection(text, jsonb)'::regprocedure
  ] loop
    -- Functions are for everybody unless it is taken away.
    execute format('revoke execute on function %s from public', of_function);
    foreach role in array array['anon', 'authenticated'] loop
      if exists (select from pg_roles where rolname = role) then
        execute format('revoke execute on function %s from %I', of_function, role);
      end if;
    end loop;
    if exists (select from pg_roles where rolname = 'service_role') then
      execute format('grant execute on function %s to service_role', of_function);
    end if;
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant select, update (access_token_encrypted, refresh_token_encrypted, token_expires_at,
      metadata, updated_at) on public.platform_connections to service_role;
    grant select, insert, update on public.analytics_snapshots to service_role;
    if exists (select from pg_attribute where attname = 'id' and not attisdropped
               and attrelid = 'public.analytics_snapshots'::regclass) then
      ids := pg_get_serial_sequence('public.analytics_snapshots', 'id');
      if ids is not null then -- a serial id is counted by whoever inserts
        execute format('grant usage on sequence %s to service_role', ids);
      end if;
    end if;
  end if;
end
$$;
