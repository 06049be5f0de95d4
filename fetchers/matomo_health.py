"""Whether a Matomo is worth asking further: shared by the threads of one run."""

from __future__ import annotations

from collections.abc import Callable

from fetchers.errors import CredentialsError, FetchError, Temporary, Throttled

FAILED_REQUESTS_IN_A_ROW = 3
"""After this many failures with no answer between them, see whether Matomo is down at all."""

FAILURES_WITHOUT_ANSWER = 30
"""After this many failures and not one answer, Matomo has nothing for us, even if it is up."""


class MatomoHealth:
    """Told of every answer and failure; `gave_up` is why nothing more is to be asked.

    probe: one cheap call, which raises a FetchError if Matomo is down.
    """

    def __init__(self, probe: Callable[[], object]) -> None:
        self._probe = probe
        self._answers = 0
        self._failures = 0
        self._failed_in_a_row = 0
        self.gave_up: FetchError | None = None

    def answered(self) -> None:
        self._answers += 1
        self._failed_in_a_row = 0

    def failed(self, error: FetchError) -> None:
        """A refused token is not sent again (facts/matomo.md C), a dead server not asked again."""
        if isinstance(error, CredentialsError | Throttled) or self._is_down(error):
            self.gave_up = error

    def is_over(self) -> bool:
        """Whether nothing more is to be asked."""
        return self.gave_up is not None

    def _is_down(self, error: FetchError) -> bool:
        """After a few failures in a row, one cheap call tells a dead server from bad sites."""
        if not isinstance(error, Temporary):
            return False
        self._failures += 1
        self._failed_in_a_row += 1
        if self._answers == 0 and self._failures >= FAILURES_WITHOUT_ANSWER:
            return True
        if self._failed_in_a_row < FAILED_REQUESTS_IN_A_ROW:
            return False
        try:
            self._probe()
        except FetchError:
            return True
        self._failed_in_a_row = 0
        return False
