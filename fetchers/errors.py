"""The few kinds of failure, named by who can mend them.

FetchError
  NotReady          the source has not made the data yet: time mends it, or its archiving job
  Temporary         network, overload, quota: the next run mends it
    Overloaded      a time-out or an error 500: asking for less at once may work
    BrokenOff       the answer did not come whole: one part of what was asked may be the reason
    Throttled       the server asks for fewer requests (429)
    QuotaExhausted  the account gets nothing more today
  CredentialsError  a token or key is refused: whoever holds the account mends it
    NeedsReauth     ... for good: it is not tried again before it has changed
  AccessDenied      the credentials are good but may not see this: the source's administrator
    TargetDenied    ... this one target; asking for the others alone works
      TargetMisnamed  ... it is called what cannot be: whoever entered the site
  MetricRefused     the API does not know a metric (any more): the others are asked without it
  SettingsError     an address or setting is wrong: whoever looks after this program
  UnexpectedAnswer  an answer of no known shape: look at what stands between, or report it
    AnswerTooLarge  ... one that does not end: asking for less at once may work
  Interrupted       the run was stopped by a signal or by its deadline
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ClassVar, TypeVar

from stopping import Stop

Result = TypeVar("Result")

log = logging.getLogger("aggregator.fetchers")


class FetchError(Exception):
    """Something could not be fetched. `str(error)` says what happened and never holds a secret."""

    kind: ClassVar[str] = "unexpected"
    default_mend: ClassVar[str] = ""

    def __init__(self, message: str, *, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend or self.default_mend


class NotReady(FetchError):
    kind = "not ready"
    default_mend = "nothing to do: the next nightly runs read the day again"


class Temporary(FetchError):
    """May work when tried again; `retry_after` is what the server asked for, in seconds.

    `retry` is False where trying again within this run is known to be useless (a load quota).
    """

    kind = "temporary"
    default_mend = (
        "nothing to do if the next nightly run is complete: it reads the last days again; "
        "days before those: run them again with --gaps"
    )

    def __init__(
        self,
        message: str,
        *,
        mend: str | None = None,
        retry_after: float | None = None,
        retry: bool = True,
    ) -> None:
        super().__init__(message, mend=mend)
        self.retry_after = retry_after
        self.retry = retry


class Overloaded(Temporary):
    pass


class BrokenOff(Temporary):
    pass


class Throttled(Temporary):
    pass


class QuotaExhausted(Temporary):
    def __init__(self, message: str) -> None:
        super().__init__(message, retry=False)


class CredentialsError(FetchError):
    kind = "credentials"


class NeedsReauth(CredentialsError):
    pass


class AccessDenied(FetchError):
    kind = "permission"


class TargetDenied(AccessDenied):
    pass


class TargetMisnamed(TargetDenied):
    kind = "settings"


class MetricRefused(FetchError):
    """names: the metrics, where the answer says which."""

    kind = "retired metric"
    default_mend = "nothing to do if it is optional; else update this program"

    def __init__(self, message: str, *, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class SettingsError(FetchError):
    kind = "settings"


class UnexpectedAnswer(FetchError):
    kind = "unexpected answer"
    default_mend = (
        "see whether a proxy, firewall or login page answers in place of the API; "
        "if not, report it with this line"
    )

    def __init__(self, message: str, *, mend: str | None = None, retry: bool = False) -> None:
        super().__init__(message, mend=mend)
        self.retry = retry


class AnswerTooLarge(UnexpectedAnswer):
    pass


class Interrupted(FetchError):
    kind = "interrupted"
    default_mend = (
        "run it again (daily: with --gaps, what was fetched is stored), or raise RUN_DEADLINE"
    )


def interrupted(stop: Stop, mend: str | None = None) -> Interrupted:
    """The failure of everything that a run no longer had the time to fetch."""
    return Interrupted(str(stop.error()), mend=mend)


def outcome_of(task: Callable[[], Result]) -> Result | FetchError:
    """The seam of every worker: what a task returns, or the failure it ends with.

    A bug is a traceback, but costs no more than the cells of its own task.
    """
    try:
        return task()
    except FetchError as error:
        return error
    except Exception as bug:
        log.exception("this is a bug, please report it:")
        return UnexpectedAnswer(
            f"the program tripped over an answer ({type(bug).__name__})",
            mend="report it with the traceback of the log",
        )
