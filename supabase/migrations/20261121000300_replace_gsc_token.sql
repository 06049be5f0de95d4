-- Replaces a stored refresh token unless it changed meanwhile.
--
-- Over REST an UPDATE with a filter would carry the old token in the URL, and the API's log keeps
-- URLs; the arguments of a function go in the body.

create or replace function public.replace_gsc_token(account text, old_token text, new_token text)
returns boolean language plpgsql set search_path = '' as $$
begin
  update public.gsc_accounts set oauth_refresh_token = new_token
  where id::text = account and coalesce(oauth_refresh_token, '') = old_token;
  return found;
end
$$;

comment on function public.replace_gsc_token(text, text, text) is
  'Used by connect-gsc and tokens. False: the account is gone, or its token is another by now.';

-- Functions are for everybody unless it is taken away.
revoke execute on function public.replace_gsc_token(text, text, text) from public;

do $$
declare
  role text;
  ids text := pg_get_serial_sequence('public.gsc_accounts', 'id');
begin
  foreach role in array array['anon', 'authenticated'] loop
    if exists (select from pg_roles where rolname = role) then
      execute format(
        'revoke execute on function public.replace_gsc_token(text, text, text) from %I', role);
    end if;
  end loop;
  if exists (select from pg_roles where rolname = 'service_role') then
    grant execute on function public.replace_gsc_token(text, text, text) to service_role;
    grant insert (oauth_refresh_token), update (oauth_refresh_token)
      on public.gsc_accounts to service_role;
    if ids is not null then -- a serial id is counted by whoever inserts
      execute format('grant usage on sequence %s to service_role', ids);
    end if;
  end if;
end
$$;
