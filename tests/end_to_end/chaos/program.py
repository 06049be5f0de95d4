"""The one place where the fault test calls the program, in the order of `aggregator.main`."""

from __future__ import annotations

import argparse
import io
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from unittest.mock import patch

import aggregator
import cli
import commands
import logs
from config import InvalidSettings, Settings, examine_settings
from jobs.alerts import alerting
from jobs.run_failures import CannotRun
from storage.errors import DatabaseError

MINUTE_MILLISECONDS = 150
"""What Search Console's rate limit counts by here: its minutes would be waited for."""

BLOCK_SECONDS = 0.03
"""What the social platforms' blocks and slowing down last here, where they do not say how long."""

COULD_NOT_RUN, A_BUG = 2, 70


@dataclass(frozen=True)
class Outcome:
    """Exit status and everything printed. A bug has the status 70 and its traceback in `out`."""

    status: int
    out: str


def run_program(words: Sequence[str], settings: Settings, now: datetime) -> Outcome:
    """One run in this process, with its own logging and its own knowledge of secrets.

    words: the command line.
    """
    printed = io.StringIO()
    with _own_logging(), redirect_stdout(printed), redirect_stderr(printed):
        status = call_program(words, settings, now)
    return Outcome(status, printed.getvalue())


def call_program(words: Sequence[str], settings: Settings, now: datetime) -> int:
    """The exit status of `aggregator.py` with these words, settings and time."""
    arguments = cli.parse_arguments(words)
    logs.redact.__init__()  # type: ignore[misc]  # what earlier runs taught it is forgotten
    logs.set_up_logging(
        verbose=arguments.verbose, quiet=arguments.quiet, style=arguments.log_format
    )
    logs.redact.add(settings.secrets())
    try:
        with quick():
            if arguments.command in commands.COMMANDS:
                return _command(arguments, settings, now)
            with alerting(settings, "daily", now) as alerts:
                return aggregator.nightly(arguments, settings, now, alerts)
    except InvalidSettings as error:
        logs.report_error("Could not run:", error.problems, "")
        return COULD_NOT_RUN
    except (CannotRun, DatabaseError) as error:
        logs.report_error("Could not run:", [error.message], error.mend)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        return 130
    except Exception:
        print(traceback.format_exc())
        return A_BUG


def _command(arguments: argparse.Namespace, settings: Settings, now: datetime) -> int:
    """The command with settings and time of the test's in place of the machine's."""
    given = {
        "DATABASE_URL": settings.database_url,
        "SUPABASE_URL": settings.supabase_url,
        "SUPABASE_SERVICE_KEY": settings.supabase_service_key,
        "MATOMO_API_URL": settings.matomo_api_url,
        "MATOMO_API_TOKEN": settings.matomo_api_token,
    }
    named = {name: value for name, value in given.items() if value}

    def examined(*needs: str) -> tuple[Settings, list[str]]:
        return settings, examine_settings(named, None, needs)[1]

    clock = SimpleNamespace(now=lambda _zone: now)
    with patch("commands.examined_settings", examined), patch("commands.datetime", clock):
        return commands.COMMANDS[arguments.command](arguments)


@contextmanager
def quick() -> Iterator[None]:
    """Tries follow each other at once, and a minute of the rate limit is short."""
    with ExitStack() as stack:
        stack.enter_context(patch("retrying.BACKOFF_SECONDS", 0.005))
        short_minute = SimpleNamespace(MINUTE=MINUTE_MILLISECONDS)
        stack.enter_context(patch("fetchers.google_client.Duration", short_minute))
        for name in ("throttle.FIRST_HOLD_SECONDS", "throttle.PROBE_SECONDS"):
            stack.enter_context(patch(f"fetchers.{name}", BLOCK_SECONDS))
        for name in ("throttle.LONGEST_HOLD_SECONDS", "graph.LONGEST_HOLD_SECONDS"):
            stack.enter_context(patch(f"fetchers.{name}", BLOCK_SECONDS))
        at_once = SimpleNamespace(sleep=lambda _seconds: None)
        stack.enter_context(patch("google.auth._exponential_backoff.time", at_once))
        yield


@contextmanager
def _own_logging() -> Iterator[None]:
    """`set_up_logging` takes over the whole process: give it back."""
    root, own = logging.getLogger(), logging.getLogger("aggregator")
    before = root.handlers[:], root.level, own.level
    hooks = sys.excepthook, threading.excepthook
    with warnings.catch_warnings():
        try:
            yield
        finally:
            logging.captureWarnings(False)
            root.handlers[:], root.level, own.level = before[0], before[1], before[2]
            sys.excepthook, threading.excepthook = hooks
