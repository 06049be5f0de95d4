"""What somebody has who built the rollup from its design; and whether it is counted right."""

from __future__ import annotations

from typing import Any

from tests.integration.tables import execute, rows

AUTH = """
create schema auth; grant usage on schema auth to public;
create function auth.uid() returns uuid language sql stable as
  $$ select (current_setting('request.jwt.claims', true)::jsonb ->> 'sub')::uuid $$;
"""
EVENTS = """
create table public.analytics_events (
  id bigint generated always as identity primary key, project_id text not null, visitor_id text,
  session_id text, event_type text not null, event_label text, event_data jsonb,
  created_at timestamptz not null default now()
);
"""
TABLE = """
create table public.analytics_events_hourly_agg (
  id bigint generated always as identity primary key,
  project_id text not null,
  event_type text not null,
  event_label text,
  hour_bucket timestamp with time zone not null,
  event_count bigint not null default 0,
  unique_visitors bigint not null default 0,
  unique_sessions bigint not null default 0,
  created_at timestamp with time zone not null default now(),
  updated_at timestamp with time zone not null default now(),
  constraint analytics_events_hourly_agg_unique
    unique (project_id, event_type, event_label, hour_bucket)
);
create index idx_events_hourly_project_hour
  on analytics_events_hourly_agg (project_id, hour_bucket desc);
create index idx_events_hourly_type_hour
  on analytics_events_hourly_agg (project_id, event_type, hour_bucket desc);
create index idx_events_hourly_label_hour
  on analytics_events_hourly_agg (project_id, event_label, hour_bucket desc)
  where event_label is not null;
"""
POLICIES = """
alter table analytics_events_hourly_agg enable row level security;
create policy "Admin users can view all aggregated events"
  on analytics_events_hourly_agg for select to authenticated using (
    exists (select 1 from admin_users where admin_users.user_id = auth.uid()));
create policy "Users can view their project aggregated events"
  on analytics_events_hourly_agg for select to authenticated using (
    exists (
      select 1 from project p left join account_collaborator ac on ac.account_id = p.account_id
      where p.project_id = analytics_events_hourly_agg.project_id and (
        p.account_id in (select id from account where user_id = auth.uid())
        or ac.user_id = auth.uid())));
"""
# Its query for cron and for the backfill, without the limits of time. Rows without a label never
# conflict: each run adds them again.
RUN = """
insert into analytics_events_hourly_agg (project_id, event_type, event_label, hour_bucket,
  event_count, unique_visitors, unique_sessions)
select project_id, event_type, event_label, date_trunc('hour', created_at) as hour_bucket,
  count(*), count(distinct visitor_id), count(distinct session_id)
from analytics_events
group by project_id, event_type, event_label, date_trunc('hour', created_at)
on conflict (project_id, event_type, event_label, hour_bucket) do update set
  event_count = excluded.event_count, unique_visitors = excluded.unique_visitors,
  unique_sessions = excluded.unique_sessions, updated_at = now();
"""
FILL = """
insert into public.analytics_events
  (project_id, visitor_id, session_id, event_type, event_label, created_at)
select e.project_id, e.visitor_id, e.session_id, e.event_type, e.event_label, e.created_at
from generate_series(1, 200) n,
  jsonb_populate_record(null::public.analytics_events, jsonb_build_object(
    'project_id', '0000000' || n % 2 || '-0000-4000-8000-000000000000',
    'visitor_id', md5((n % 9)::text)::uuid, 'session_id', n % 17, 'event_type', 'type ' || n % 3,
    'event_label', case when n % 4 > 0 then 'label ' || n % 4 end,
    'created_at', timestamp '2026-05-10 09:20' + n * interval '9 min')) e;
"""
"""Into columns of any type: ids are such that they fit into uuid, sessions into integer."""

HOUR = "date_bin('1 hour', created_at, timestamptz '2000-01-01 00:00+00')"
COUNTS = (
    "count(*), count(distinct visitor_id), count(distinct session_id) from "
    "(select *, project_id::text as project, event_type::text as type, event_label::text as label, "
    "created_at at time zone 'UTC' as at from (select project_id, visitor_id, session_id, "
    "event_type, event_label, created_at::timestamptz from public.analytics_events) e) as events"
)
EXPECTED = {
    "hourly": f"select project, type, label, {HOUR}, {COUNTS} group by 1, 2, 3, 4",
    "daily": f"select project, at::date, case grouping(type, label) when 3 then 'project' "
    f"when 1 then 'type' else 'label' end, type, label, {COUNTS} "
    "group by project, at::date, rollup (type, label)",
}
STORED = {
    "hourly": "select project_id, event_type, event_label, hour_bucket, event_count, "
    "unique_visitors, unique_sessions from public.analytics_events_hourly_agg",
    "daily": "select project_id, day, grain, event_type, event_label, event_count, "
    "unique_visitors, unique_sessions from public.analytics_events_daily_agg",
}


def drain(url: str) -> None:
    """Count everything that is marked."""
    execute(url, "call public.refresh_hourly(100000, '10 min')")


def differences(url: str, which: str, where: str = "true") -> list[tuple[Any, ...]]:
    """Rows that are stored and not to be, or the other way; days are those of UTC."""
    stored = f"select * from ({STORED[which]}) s where {where}"
    expected = EXPECTED[which]
    return rows(
        url,
        f"(select 'stored', * from ({stored}) s except select 'stored', * from ({expected}) e) "
        f"union all "
        f"(select 'missing', * from ({expected}) e except select 'missing', * from ({stored}) s)",
    )
