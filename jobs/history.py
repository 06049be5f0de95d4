"""`aggregator.py runs`: the run history, newest first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from db import Database
from logs import excerpt, log, printable, report
from models import Failure, SiteId, Window
from storage.errors import DatabaseRefused, MissingRelation
from storage.runs import StoredRun
from summary import count, failure_lines, merge_failures

NOT_COMPLETE = ("incomplete", "failed")
INTERNAL = ("process", "alerts")
"""Counts that this program keeps for itself."""

STYLES = {"complete": "green", "incomplete": "yellow", "failed": "red", "running": "cyan"}
LONGEST_MESSAGE = 90
COLUMNS = ("started (UTC)", "job", "status", "took", "days", "counts", "failures")


def show_runs(database: Database, arguments: argparse.Namespace) -> None:
    """Print the last runs; with --failed only those that are not complete, each with its failures.

    Raises:
        DatabaseError: the history cannot be read.
    """
    statuses = NOT_COMPLETE if arguments.failed else ()
    try:
        runs = database.read_runs(arguments.last, statuses=statuses)
    except MissingRelation as error:
        raise DatabaseRefused("there is no run history yet", mend=error.mend) from None
    if arguments.json or arguments.log_format == "json":
        print(json.dumps([as_json(run) for run in runs], indent=2, ensure_ascii=False))
        return
    if not runs:
        report("no run yet" if not arguments.failed else "no run that is not complete")
    elif arguments.failed:
        names = {site.id: site.domain for site in database.read_sites()}
        for run in runs:
            for line in run_lines(run, names):
                report(line)
    else:
        _print_table(runs)
    log.debug("%s read", count(len(runs), "run"))


def as_json(run: StoredRun) -> dict[str, Any]:
    """A run for machines: the columns of aggregator_runs, times in UTC."""
    return {
        "id": run.id,
        "job": run.job,
        "started_at": run.started_at.astimezone(UTC).isoformat(),
        "finished_at": run.finished_at.astimezone(UTC).isoformat() if run.finished_at else None,
        "status": run.status,
        "window_from": str(run.window_from) if run.window_from else None,
        "window_to": str(run.window_to) if run.window_to else None,
        "counts": shown_counts(run),
        "failures": run.failures or [],
    }


def shown_counts(run: StoredRun) -> dict[str, Any]:
    """What a run counted, without what the program keeps for itself."""
    return {name: value for name, value in run.counts.items() if name not in INTERNAL}


def run_lines(run: StoredRun, names: Mapping[SiteId, str]) -> Iterator[str]:
    """One run in full: what it was, how it ended, and every reason with what mends it."""
    cells = table_cells(run)
    yield " ".join(cell for cell in cells[:5] if cell)
    lines = failure_lines([stored_failure(f) for f in run.failures or []], names)
    yield from (f"  {line}" if line else "" for line in lines)
    yield ""


def stored_failure(stored: dict[str, Any]) -> Failure:
    """A failure from the history's JSON; what is of another shape is left out."""
    account = stored.get("account")
    return Failure(
        kind=str(stored.get("kind", "")),
        source=str(stored.get("source", "")),
        message=str(stored.get("message", "")),
        mend=str(stored.get("mend", "")),
        sites=tuple(site for site in _list(stored, "sites") if isinstance(site, str | int)),
        days=tuple(sorted(filter(None, map(_day, _list(stored, "days"))))),
        account=account if isinstance(account, str | int) else None,
    )


def _list(stored: dict[str, Any], name: str) -> list[Any]:
    value = stored.get(name)
    return value if isinstance(value, list) else []


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None


def table_cells(run: StoredRun) -> list[str]:
    """A run in the columns of the table."""
    counts = {name: n for name, n in shown_counts(run).items() if isinstance(n, int)}
    # jsonb sorts its keys by length: sites and what came of each source go first.
    first = [name for name in ("sites", "matomo", "gsc") if name in counts]
    names = [*first, *(name for name in counts if name not in first)]
    numbers = ", ".join(f"{name} {counts[name]}" for name in names)
    failures = run.failures or []
    reason = ""
    if failures:
        reasons = len(merge_failures(map(stored_failure, failures)))
        more = f" and {count(reasons - 1, 'other reason')}" if reasons > 1 else ""
        message = excerpt(str(failures[0].get("message")), LONGEST_MESSAGE)
        reason = f"{failures[0].get('source')}: {message}{more}"
    return [
        f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M}",
        run.job,
        run.status,
        _took(run.started_at, run.finished_at),
        _days(run),
        numbers,
        printable(reason),
    ]


def _days(run: StoredRun) -> str:
    if run.window_from is None or run.window_to is None:
        return ""
    return str(Window(run.window_from, run.window_to))


def _took(started_at: datetime, finished_at: datetime | None) -> str:
    if finished_at is None:
        return ""
    seconds = max(0, round((finished_at - started_at).total_seconds()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"


def _print_table(runs: Sequence[StoredRun]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Into a file or a mail, lines are as long as they are.
    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else 400, highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD if on_terminal else None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, no_wrap=name not in ("counts", "failures"))
    for run in runs:
        table.add_row(*table_cells(run), style=STYLES.get(run.status))
    console.print(table)
