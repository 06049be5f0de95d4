"""What is printed, and what never is: plain lines for people, JSON for machines, no secrets.

Everything goes to standard output in one order, so that a cron mail reads from top to bottom.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import string
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import quote, quote_plus

REPORT = 45
"""Level of the final report: shown even with -q, printed without time and level."""

EXCERPT_READS = 100_000
"""Of a page of 64 MB, some of which servers send in place of an answer."""

SHORTEST_SECRET = 4
"""Shorter values would turn up inside ordinary words."""

log = logging.getLogger("aggregator")


class Redactor:
    """Blanks known secrets out of any text, also as they are spelled in URLs, JSON and repr().

    Looked up by their first characters: a run adds secrets while it logs, and a pattern of 5,000
    spellings takes 0.3 s to compile.
    """

    def __init__(self) -> None:
        self._by_beginning: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def add(self, secrets: Iterable[str]) -> None:
        found = set[str]()
        for secret in secrets:
            if len(secret) >= SHORTEST_SECRET:
                quoted = quote(secret, safe="", errors="replace")
                found |= {secret, quoted, quote(quoted, safe="")}
                found.add(quote_plus(secret, errors="replace"))
                found |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
                found.add(base64.b64encode(secret.encode(errors="replace")).decode().rstrip("="))
        with self._lock:
            for spelling in map(_lower, found):
                beginning = spelling[:SHORTEST_SECRET]
                known = {*self._by_beginning.get(beginning, ()), spelling}
                longest_first = sorted(known, key=len, reverse=True)
                self._by_beginning[beginning] = tuple(longest_first)

    def __call__(self, text: str) -> str:
        if not self._by_beginning:
            return text
        # Whatever the case: servers and libraries change it (%2f, header names).
        lowered = _lower(text)
        kept: list[str] = []
        at = shown_from = 0
        while at <= len(text) - SHORTEST_SECRET:
            candidates = self._by_beginning.get(lowered[at : at + SHORTEST_SECRET], ())
            secret = next((c for c in candidates if lowered.startswith(c, at)), None)
            if secret is None:
                at += 1
                continue
            kept += [text[shown_from:at], "***"]
            at = shown_from = at + len(secret)
        return "".join([*kept, text[shown_from:]])


ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def _lower(text: str) -> str:
    """Of ASCII letters alone: the text keeps its length."""
    return text.translate(ASCII_LOWER)


redact = Redactor()
"""The one of this process. Whoever reads a secret adds it here before using it."""


UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn text around, and halves of characters: none of them may come
from a server or a table into a terminal, a log or the run history."""


def printable(text: str) -> str:
    """Text from outside on one line, without what a terminal would obey; secrets blanked."""
    return redact(UNPRINTABLE.sub(" ", text))


def excerpt(text: str, limit: int = 200) -> str:
    """The beginning of somebody else's message; secrets go first, since half of one shows too."""
    words = printable(text[:EXCERPT_READS]).split()
    if len(text) > EXCERPT_READS and len(words) > 1:
        words.pop()  # it may be cut in the middle of a secret
    return " ".join(words)[:limit]


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        line = text if record.levelno == REPORT else f"{_time(record)} {record.levelname:<7} {text}"
        return "\n".join(map(printable, line.split("\n")))


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
    """Asks for sys.stdout each time: a progress bar puts itself in its place for a while.

    aside: on standard error, where standard output is one JSON value.
    """

    def __init__(self, *, aside: bool) -> None:
        super().__init__()
        self._aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True, file=sys.stderr if self._aside else sys.stdout)
        except OSError:  # a closed pipe, a full disk: the night's numbers are worth more than words
            if not self._aside:
                silence_standard_output()


def silence_standard_output() -> None:
    """After a closed pipe: nothing more is printed, and the exit is no error."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115  open as long as the process lives
    try:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())  # also for the flush at exit
    except io.UnsupportedOperation:
        sys.stdout = nowhere


def set_up_logging(
    *, verbose: bool = False, quiet: bool = False, style: str = "text", aside: bool = False
) -> None:
    """Log to standard output, or `aside` of it: to standard error.

    Libraries are heard from ERROR on, with `verbose` from WARNING.
    """
    logging.addLevelName(REPORT, "REPORT")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the terminal cannot spell is escaped
            stream.reconfigure(errors="backslashreplace")
    handler = _StandardOutput(aside=aside)
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
