"""Random events: names that trip, moments around midnights, clock changes and now."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

T = TypeVar("T")

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Chatham",
    "Atlantic/Azores",
    "America/Havana",
    "Africa/Cairo",
)

PROJECTS = ("plain", "plain ", 'O\'Brien "&" {sons}', "zürich-💥", "x" * 200, "42")
QUIET = "quiet"
"""A project that is written to seldom, so that its days are clean most of the time."""

TYPES = ("page_view", "click", "", "o'type", "Größe", "{visitors,\\N}")
LABELS = (
    None,
    "",
    "a",
    "A",
    "a ",
    "it's",
    "NULL",
    "\x01",
    "\\x01",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "💥",
    "{a,b}",
    "tab\tand\nline",
    "💥" * 300,
    "long " * 400,
    "long " * 400 + "!",
    "0",
)
PEOPLE = (None, "", *(f"v{number}" for number in range(30)))

CLOCK_CHANGES = (
    datetime(2026, 3, 8, 5, 30, tzinfo=UTC),  # St. John's, Havana: forward
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin, Azores: forward
    datetime(2026, 4, 4, 14, tzinfo=UTC),  # Chatham: back
    datetime(2026, 4, 23, 22, tzinfo=UTC),  # Cairo: forward, over midnight
    datetime(2026, 9, 26, 14, tzinfo=UTC),  # Chatham: forward
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin: back; Azores: midnight comes twice
    datetime(2026, 10, 29, 21, tzinfo=UTC),  # Cairo: back
    datetime(2026, 11, 1, 4, 30, tzinfo=UTC),  # St. John's: back; Havana: midnight comes twice
)
ODD_TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2031, 5, 5, 5, 5, tzinfo=UTC),
    datetime(2090, 2, 28, 12, tzinfo=UTC),
)
RECENT_DAYS = 5
MICROSECOND = timedelta(microseconds=1)


class NewEvent(NamedTuple):
    """The columns of analytics_events that a writer gives, in this order."""

    project_id: str
    visitor_id: str | None
    session_id: str | None
    event_type: str
    event_label: str | None
    created_at: datetime


COLUMNS = ", ".join(NewEvent._fields)


class Chance(random.Random):
    """A seeded random, with the vocabulary of the rollup. now: the moment the run began."""

    def __init__(self, seed: str, now: datetime) -> None:
        super().__init__(seed)
        self.now = now

    def yes(self, probability: float) -> bool:
        return self.random() < probability

    def any_of(self, weighted: Sequence[tuple[float, T]]) -> T:
        weights = [weight for weight, _ in weighted]
        return self.choices([value for _, value in weighted], weights)[0]

    def project(self) -> str:
        return QUIET if self.yes(0.02) else self.choice(PROJECTS)

    def moment(self) -> datetime:
        """Mostly of the last days; often on, or a microsecond before, a boundary of hours."""
        at = self.any_of(
            (
                (70, self._recent),
                (10, self._around_a_clock_change),
                (8, self._about_now),
                (4, self._of_another_month),
                (2, self._odd),
            )
        )()
        if self.yes(0.15):
            at = at.replace(minute=self.choice((0, 15, 30, 45)), second=0, microsecond=0)
            at -= self.choice((timedelta(0), MICROSECOND))
        return at

    def event(self) -> NewEvent:
        return NewEvent(
            self.project(),
            self.choice(PEOPLE),
            self.choice(PEOPLE),
            self.choice(TYPES),
            self.choice(LABELS),
            self.moment(),
        )

    def events(self, number: int) -> list[NewEvent]:
        return [self.event() for _ in range(number)]

    def _recent(self) -> datetime:
        # Two hours of each day get half of it, so that writers meet there.
        back = timedelta(days=self.randrange(RECENT_DAYS), hours=self.choice((0, 3)))
        if self.yes(0.5):
            back = timedelta(days=self.uniform(0, RECENT_DAYS))
        return self.now - timedelta(hours=2) - back + timedelta(seconds=self.uniform(0, 3600))

    def _around_a_clock_change(self) -> datetime:
        return self.choice(CLOCK_CHANGES) + timedelta(hours=self.uniform(-2, 2))

    def _about_now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=self.uniform(-1, 1))

    def _of_another_month(self) -> datetime:
        day = self.now + timedelta(days=self.choice((-66, -35, -14, -9, 12, 40)))
        return day.replace(hour=self.choice((0, 23))) + timedelta(seconds=self.uniform(0, 3600))

    def _odd(self) -> datetime:
        return self.choice(ODD_TIMES)
