"""One line from whoever runs a command: a person at a terminal, or a pipe."""

from __future__ import annotations

import getpass
from typing import TextIO

LONGEST_LINE = 16_384
UNREADABLE = "\ufffd"


def read_line(source: TextIO | None, *, hidden_prompt: str | None = None) -> str:
    """The next line without white space around it; "" where nothing more comes.

    `source` is None where a process has no standard input. With `hidden_prompt` a terminal shows
    that, and nothing of what is typed.
    """
    if source is None:
        return ""
    try:
        if hidden_prompt and source.isatty():
            return getpass.getpass(hidden_prompt).strip()
        return source.readline(LONGEST_LINE).strip()
    except (EOFError, OSError):
        return ""
    except UnicodeDecodeError:
        return UNREADABLE
