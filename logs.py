"""What is printed, and what never is: plain lines for people, JSON for machines, no secrets.

Everything goes to standard output in one order, so that a cron mail reads from top to bottom.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import quote, quote_plus

REPORT = 45
"""Level of the final report: shown even with -q, printed without time and level."""

SHORTEST_SECRET = 4
"""Shorter values would turn up inside ordinary words."""

log = logging.getLogger("aggregator")


class Redactor:
    """Blanks known secrets out of any text, also as they are spelled in URLs, JSON and repr()."""

    def __init__(self) -> None:
        self._spellings: list[str] = []

    def add(self, secrets: Iterable[str]) -> None:
        found = set(self._spellings)
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET:
                found |= {secret, quote(secret, safe=""), quote_plus(secret)}
                found |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        self._spellings = sorted(found, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        return text


redact = Redactor()
"""The one of this process. Whoever reads a secret adds it here before using it."""


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.levelno == REPORT:
            return redact(text)
        return redact(f"{_time(record)} {record.levelname:<7} {text}")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class _StandardOutput(logging.Handler):
    """Asks for sys.stdout each time: a progress bar puts itself in its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True)
        except OSError:  # a closed pipe, a full disk: the night's numbers are worth more than words
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  as long as the process lives


def set_up_logging(*, verbose: bool = False, quiet: bool = False, style: str = "text") -> None:
    """Log to standard output. Libraries are heard from ERROR on, with `verbose` from WARNING."""
    logging.addLevelName(REPORT, "REPORT")
    handler = _StandardOutput()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # What a library warns of is in our own failures, in better words; -v shows it.
    root.setLevel(logging.WARNING if verbose else logging.ERROR)
    log.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    logging.getLogger("dotenv").setLevel(logging.WARNING)  # a line of .env that it cannot read
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def report(line: str, **fields: object) -> None:
    """Print one line of the final report; `fields` go with it in JSON."""
    log.log(REPORT, "%s", line, extra={"fields": fields})


def report_error(title: str, problems: Sequence[str], mend: str) -> None:
    """Say on standard error why nothing was done; in the style of the log."""
    if any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers):
        log.critical("%s", title, extra={"fields": {"problems": problems, "mend": mend}})
        return
    lines = [title, *(f"  {problem}" for problem in problems), f"  -> {mend}"]
    print(redact("\n".join(lines)), file=sys.stderr)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A bug is a traceback, but not one that shows a secret."""
    if issubclass(kind, KeyboardInterrupt):
        return
    text = "".join(traceback.format_exception(kind, error, trace))
    print(redact(text), file=sys.stderr, end="")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
