"""A fault at each request and at each statement of a small import, in turn, and a run after it.

Whatever happens: no exit status 0 and no watermark over what is missing, no secret in the output,
and after the next run the table is that of an import that nothing disturbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import urlsplit

import pytest

from models import days_between
from sandbox import Fault, World
from sandbox.world import MATOMO_TOKEN
from tests.end_to_end.visit_runs import (
    COULD_NOT_RUN,
    Ran,
    VisitRuns,
    asking_for,
    differences,
    forget,
    open_runs,
    stored,
    truth,
    watermarks,
)
from tests.integration.tables import rows
from tests.services.postgres import PostgresServer
from tests.services.postgres_proxy import Cut, PostgresProxy

FIRST, LAST = date(2026, 11, 17), date(2026, 11, 18)
DAYS = asking_for(FIRST, LAST)
WORLD = World(
    sites=2, time_zones=("Europe/Paris", "Asia/Tokyo"), visits_per_day=8, actions_per_visit=2,
    midnight_visits=1,
)  # fmt: skip
TRANSIENT = ("drop", "cut", "http_502_html", "stall", "memory_exhausted")
KINDS = (*TRANSIENT, "redirect", "html_200", "not_json_200", "http_500_json")
SECONDS = {"stall": "0.4"}
"""HTTP_TIMEOUT, where it is to be reached."""


@dataclass
class Trial:
    """Disturbed imports, each made good by the next run, and emptied out again."""

    runs: VisitRuns
    rows_of_days: dict[tuple[int, date], set[tuple[str, str]]] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def all_rows(self) -> set[tuple[str, str]]:
        return set().union(*self.rows_of_days.values())

    def rows(self) -> set[tuple[str, str]]:
        """Each row of the table as a checksum of all of it."""
        query = "select action_id, md5(t::text) from matomo t"
        return set(rows(self.runs.database_url, query))

    def undisturbed(self) -> None:
        self.runs.whole(*DAYS)
        days = days_between(FIRST, LAST)
        expected = truth(self.runs.sandbox, WORLD.site_numbers, days)
        assert differences(stored(self.runs.database_url), expected) == []
        checksums = dict(self.rows())
        for site in WORLD.site_numbers:
            for day in days:
                ids = truth(self.runs.sandbox, [site], [day])
                self.rows_of_days[site, day] = {(key, checksums[key]) for key in ids}
        forget(self.runs.database_url)

    def check(self, done: Ran, what: object) -> None:
        """What must hold after a disturbed run and after the one that follows it."""
        url = self.runs.database_url
        self.printed.append(done.out)
        self.statuses[done.status] += 1
        self.runs.sandbox.faults.clear()
        is_there, explained = self.rows(), f"{what}: {done}"
        assert is_there <= self.all_rows, explained
        if done.status == 0:
            assert is_there == self.all_rows, explained
        else:
            assert "->" in done.out, explained  # it says what mends it
        for site, complete_through in watermarks(url).items():
            for (of_site, day), expected in self.rows_of_days.items():
                if of_site == site and day <= complete_through:
                    assert expected <= is_there, explained
        again = self.runs.run(*DAYS)
        self.printed.append(again.out)
        assert again.status == 0, f"{explained}\n{again}"
        assert self.rows() == self.all_rows, explained
        assert watermarks(url) == dict.fromkeys(WORLD.site_numbers, LAST), explained
        forget(url)

    def check_secrets(self, *secrets: str) -> None:
        history = rows(self.runs.database_url, "select r::text from public.aggregator_runs r")
        text = "\n".join([*self.printed, *(row for (row,) in history)])
        for secret in secrets:
            assert secret not in text, text[text.index(secret) - 300 :][:400]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once: how long the waits are is tested elsewhere."""
    monkeypatch.setattr("retrying.BACKOFF_SECONDS", 0.01)


@contextmanager
def open_trial(database_url: str) -> Iterator[Trial]:
    with open_runs(database_url, WORLD, "2026-11-19 12:00") as runs:
        runs.variables["RESULTPERPAGE"] = "6"
        trial = Trial(runs)
        trial.undisturbed()
        yield trial


def test_each_request_meets_faults_with_one_try_and_with_three(
    migrated_url: str, at_once: None
) -> None:
    with open_trial(migrated_url) as trial:
        faults = trial.runs.sandbox.faults
        asked = Counter(record.source for record in trial.runs.sandbox.requests())
        assert asked == {"matomo": 3, "visits": 8}
        places = [(source, n) for source, number in asked.items() for n in range(1, number + 1)]
        for turn, (source, nth) in enumerate(places):
            for kind in (KINDS[turn % len(KINDS)], KINDS[(turn + 4) % len(KINDS)]):
                faults.replace([Fault(source, kind, nth=nth)])
                done = trial.runs.run(*DAYS, HTTP_TIMEOUT=SECONDS.get(kind, "30"))
                trial.check(done, (kind, source, nth))
            if turn % 2:
                continue
            kind = TRANSIENT[turn // 2 % len(TRANSIENT)]
            faults.replace([Fault(source, kind, nth=nth)])
            limit = SECONDS.get(kind, "30")
            done = trial.runs.run(*DAYS, HTTP_TIMEOUT=limit, HTTP_ATTEMPTS="3")
            assert done.status == 0, (kind, source, nth, done)
            trial.check(done, (kind, source, nth, "three tries"))
        assert trial.statuses[1] >= len(places)
        trial.check_secrets(MATOMO_TOKEN)


def test_the_connection_breaks_at_each_statement_with_one_try_and_with_two(
    postgres: PostgresServer, migrated_url: str, at_once: None
) -> None:
    direct = postgres.url(urlsplit(migrated_url).path.removeprefix("/"), tcp=True)
    with open_trial(migrated_url) as trial, PostgresProxy(direct) as proxy:
        disturbed = VisitRuns(
            trial.runs.sandbox, trial.runs.clock, proxy.url, {"RESULTPERPAGE": "6"}
        )
        proxy.at(0)
        disturbed.whole(*DAYS)
        statements = list(proxy.texts)
        forget(migrated_url)
        for number, text in enumerate(statements, start=1):
            if text == "BEGIN":  # nothing has happened after it that had not before
                continue
            # After a COMMIT the client cannot know whether it was one.
            cut: Cut = "before" if number % 2 and text != "COMMIT" else "after"
            proxy.at(number, cut)
            trial.check(disturbed.run(*DAYS), (number, cut, text))
            if number % 5 == 0:
                cut = "after" if number % 2 else "before"
                proxy.at(number, cut)
                done = disturbed.run(*DAYS, HTTP_ATTEMPTS="2")
                assert done.status == 0, (number, cut, text, done)
                trial.check(done, (number, cut, text, "two tries"))
        assert trial.statuses[1] >= 10  # while it stores
        assert trial.statuses[COULD_NOT_RUN] >= 10  # before it asks Matomo
        password = urlsplit(direct).password
        assert password is not None
        trial.check_secrets(MATOMO_TOKEN, password)
