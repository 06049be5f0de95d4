"""Why a run could not begin, or ended as a whole."""

from __future__ import annotations

from config import InvalidSettings
from models import Failure
from stopping import Stopped
from storage.errors import DatabaseError


class CannotRun(Exception):
    """The run cannot begin: what is in the way, and what mends it."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend


class WrongRequest(CannotRun):
    """What was asked for cannot be: the person at the terminal is told, and nobody else."""


def failure_of(error: BaseException) -> Failure:
    """Why a run failed as a whole."""
    if isinstance(error, DatabaseError):
        return Failure(error.kind, "database", error.message, error.mend)
    if isinstance(error, CannotRun):
        return Failure("settings", "run", error.message, error.mend)
    if isinstance(error, InvalidSettings):
        mend = "correct .env; `aggregator.py doctor` shows all of it"
        return Failure("settings", "run", "; ".join(error.problems), mend)
    if isinstance(error, Stopped):
        return Failure("interrupted", "run", str(error), "run it again")
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "run", "the run was interrupted", "run it again")
    mend = "see the log of that run, and report it: this is a bug"
    return Failure("unexpected", "run", f"the run ended with {type(error).__name__}", mend)
