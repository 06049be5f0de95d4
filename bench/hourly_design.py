"""The design's own SQL (design/hourly-aggregation.md), word for word, in a schema of its own.

Only what a benchmark must steer is a parameter: NOW() and $1. With SEARCH_PATH its statements find
its own analytics_events_hourly_agg and the one analytics_events. RAW are the same UI patterns asked
of analytics_events itself, which is what the rollup's answers must equal.
"""

from __future__ import annotations

SCHEMA = "design"
SEARCH_PATH = "set search_path = design, public"

TABLE = """
drop schema if exists design cascade;
create schema design;
CREATE TABLE design.analytics_events_hourly_agg (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id text NOT NULL,
  event_type text NOT NULL,
  event_label text,
  hour_bucket timestamp with time zone NOT NULL,
  event_count bigint NOT NULL DEFAULT 0,
  unique_visitors bigint NOT NULL DEFAULT 0,
  unique_sessions bigint NOT NULL DEFAULT 0,
  created_at timestamp with time zone NOT NULL DEFAULT now(),
  updated_at timestamp with time zone NOT NULL DEFAULT now()
);
"""

INDEXES = """
ALTER TABLE design.analytics_events_hourly_agg ADD CONSTRAINT analytics_events_hourly_agg_unique
  UNIQUE (project_id, event_type, event_label, hour_bucket);
CREATE INDEX idx_events_hourly_project_hour
  ON design.analytics_events_hourly_agg(project_id, hour_bucket DESC);
CREATE INDEX idx_events_hourly_type_hour
  ON design.analytics_events_hourly_agg(project_id, event_type, hour_bucket DESC);
CREATE INDEX idx_events_hourly_label_hour
  ON design.analytics_events_hourly_agg(project_id, event_label, hour_bucket DESC)
  WHERE event_label IS NOT NULL;
"""

_UPSERT = """
INSERT INTO analytics_events_hourly_agg (
  project_id, event_type, event_label, hour_bucket, event_count, unique_visitors, unique_sessions
)
SELECT
  project_id,
  event_type,
  event_label,
  date_trunc('hour', created_at) as hour_bucket,
  COUNT(*) as event_count,
  COUNT(DISTINCT visitor_id) as unique_visitors,
  COUNT(DISTINCT session_id) as unique_sessions
FROM analytics_events
WHERE {which}
GROUP BY
  project_id,
  event_type,
  event_label,
  date_trunc('hour', created_at)
ON CONFLICT (project_id, event_type, event_label, hour_bucket)
DO UPDATE SET
  event_count = EXCLUDED.event_count,
  unique_visitors = EXCLUDED.unique_visitors,
  unique_sessions = EXCLUDED.unique_sessions,
  updated_at = NOW();
"""

BACKFILL = _UPSERT.format(which="created_at >= NOW() - INTERVAL '90 days'")

INCREMENTAL = _UPSERT.format(
    which="""created_at >= date_trunc('hour', %(now)s::timestamptz - INTERVAL '2 hours')
  AND created_at < date_trunc('hour', %(now)s::timestamptz)"""
)

UI = {
    1: """
SELECT hour_bucket, SUM(event_count) as total_events
FROM analytics_events_hourly_agg
WHERE project_id = %(project)s AND hour_bucket >= %(from_at)s AND hour_bucket < %(to_at)s
GROUP BY hour_bucket
ORDER BY hour_bucket
""",
    2: """
SELECT
  date_trunc('day', hour_bucket) as day,
  event_type,
  SUM(event_count) as total_events,
  SUM(unique_visitors) as total_unique_visitors,
  SUM(unique_sessions) as total_unique_sessions
FROM analytics_events_hourly_agg
WHERE project_id = %(project)s AND hour_bucket >= %(from_at)s AND hour_bucket < %(to_at)s
GROUP BY date_trunc('day', hour_bucket), event_type
ORDER BY day, event_type
""",
    3: """
SELECT
  event_label,
  SUM(event_count) as total_events,
  SUM(unique_visitors) as total_unique_visitors
FROM analytics_events_hourly_agg
WHERE project_id = %(project)s
  AND event_type = 'widget_visible'
  AND event_label IS NOT NULL
  AND hour_bucket >= %(from_at)s
  AND hour_bucket < %(to_at)s
GROUP BY event_label
ORDER BY total_events DESC
""",
    4: """
SELECT
  SUM(event_count) as total_events,
  SUM(unique_visitors) as total_unique_visitors,
  SUM(unique_sessions) as total_unique_sessions
FROM analytics_events_hourly_agg
WHERE project_id = %(project)s AND hour_bucket >= %(from_at)s AND hour_bucket < %(to_at)s
""",
}
"""Patterns 1 and 2 end at NOW() in the design: here at %(to_at)s, so that they ask the same."""

_RANGE = "project_id = %(project)s and created_at >= %(from_at)s and created_at < %(to_at)s"

RAW = {
    1: f"""
select date_bin('1 hour', created_at, '2000-01-01 00:00+00'), count(*)
from analytics_events where {_RANGE} group by 1
""",
    2: f"""
select (created_at at time zone 'UTC')::date, event_type,
  count(*), count(distinct visitor_id), count(distinct session_id)
from analytics_events where {_RANGE} group by 1, 2
""",
    3: f"""
select event_label, count(*), count(distinct visitor_id)
from analytics_events
where {_RANGE} and event_type = 'widget_visible' and event_label is not null group by 1
""",
    4: f"""
select count(*), count(distinct visitor_id), count(distinct session_id)
from analytics_events where {_RANGE}
""",
}
