"""The demo's social accounts: one of each platform and a few more, of which one's token is dead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from rich import box
from rich.console import Console
from rich.table import Table

import cli
from config import Settings
from jobs.alerts import Alerts
from jobs.social import collect_social
from storage.postgres_calls import connect

FILL = (
    "insert into public.platform_connections (id, user_id, platform, account_id, "
    "access_token_encrypted, refresh_token_encrypted, token_expires_at, is_active, metadata) "
    "values (%(id)s, %(user_id)s, %(platform)s, %(account_id)s, %(access_token_encrypted)s, "
    "%(refresh_token_encrypted)s, %(token_expires_at)s, %(is_active)s, %(metadata)s)"
)
NUMBERS = """
select platform, count(distinct account_id), count(distinct metric), count(*),
  count(*) filter (where metadata ->> 'data_state' = 'provisional'),
  min(date)::text, max(date)::text
from public.analytics_snapshots group by 1 order by 1
"""
COLUMNS = ("platform", "accounts", "metrics", "rows", "provisional", "from", "to")


def show_social(
    console: Console,
    settings: Settings,
    conninfo: str,
    connections: Sequence[dict[str, Any]],
    now: datetime,
) -> int:
    """Collect the numbers of these rows of platform_connections; the run's exit status."""
    console.rule("Social accounts, one of them with a dead token: aggregator.py social")
    fill_connections(conninfo, connections)
    asked = cli.parse_arguments(["social"])
    status = collect_social(asked, settings, now, Alerts(settings, "social", now))
    console.print(snapshots_table(conninfo))
    return status


def fill_connections(conninfo: str, connections: Sequence[dict[str, Any]]) -> None:
    """As if nobody had been connected before: what an earlier demo noted of a token is gone."""
    rows = [{**row, "metadata": Jsonb(row["metadata"])} for row in connections]
    with connect(conninfo) as connection, connection.transaction(), connection.cursor() as cursor:
        cursor.execute("truncate public.platform_connections, public.analytics_snapshots")
        cursor.executemany(FILL.encode(), rows)


def snapshots_table(conninfo: str) -> Table:
    """One line per platform: of how many accounts how much is known, and until when."""
    caption = "analytics_snapshots: a day that a platform has not published yet has no row"
    table = Table(box=box.SIMPLE, caption=caption)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "platform" else "right", no_wrap=True)
    with connect(conninfo) as connection:
        for row in connection.execute(NUMBERS.encode()):
            table.add_row(*(str(value) for value in row))
    return table
