"""What is stored beside what the sources say now, number by number. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from jobs.daily_plan import Plan
from models import GSC_METRICS, MATOMO_METRICS, Failure, Master, SiteId, StoredDay, Window
from storage.runs import StoredRun

EQUAL, REVISED, MISSING, DIFFERENT, UNKNOWN = "equal", "revised", "missing", "different", "unknown"
VERDICTS = (EQUAL, REVISED, MISSING, DIFFERENT, UNKNOWN)
"""equal; revised: the source changed it after a run of ours stored it; missing: the source has it,
the table does not; different: stored, but by no run that is recorded; unknown: the source did not
say."""

LONGEST = timedelta(hours=6)
"""No run takes longer, whatever its RUN_DEADLINE is."""

FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
"""The end of a run that is still under way."""

REASONS = {
    REVISED: "the source has revised numbers since they were stored",
    MISSING: "the source has numbers that are not stored",
    DIFFERENT: "numbers differ from the source's, and no recorded run has stored them",
}
MENDS = {
    REVISED: "`{command}` stores the source's numbers",
    MISSING: "`{command}` stores them",
    DIFFERENT: "see who else writes daily_analytics; `{command}` stores the source's",
}


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the database's clock is before ours, and how exactly that is known."""

    ahead: timedelta = timedelta()
    exact_to: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Compared:
    """One number: as it is stored and as the source has it now; None is "not known"."""

    site_id: SiteId
    day: date
    metric: str
    stored: int | None
    source: int | None
    verdict: str

    @property
    def asked(self) -> str:
        """The source that was asked for it."""
        return "matomo" if self.metric in MATOMO_METRICS else "gsc"


def compare(
    plan: Plan,
    master: Master,
    stored: Iterable[StoredDay],
    runs: Sequence[StoredRun],
    clock: Clock,
) -> Iterator[Compared]:
    """Every number that was asked for, with its verdict.

    A number that differs was revised by its source if a run of ours wrote the row last: updated_at
    moves with every change of a number, whoever makes it.
    """
    rows = {(row.site_id, row.day): row for row in stored}
    earlier, later = clock.ahead - clock.exact_to, clock.ahead + clock.exact_to
    # By the database's clock. A run that died ends, for the history, with the next one's start.
    spans = []
    for run in runs:
        end = min(run.finished_at or FOREVER, run.started_at + LONGEST)
        spans.append((run, run.started_at + earlier, end + later))
    for site_id, day, metric in _asked(plan):
        row = rows.get((site_id, day))
        old = row.numbers[metric] if row else None
        new = master.get(site_id, {}).get(day, {}).get(metric)
        if new is None:
            verdict = UNKNOWN
        elif old is None:
            verdict = MISSING
        elif old == new:
            verdict = EQUAL
        else:
            assert row is not None
            ours = row.updated_at is not None and any(
                first <= row.updated_at <= last and _asked_for(run, day)
                for run, first, last in spans
            )
            verdict = REVISED if ours else DIFFERENT
        yield Compared(site_id, day, metric, old, new, verdict)


def count_verdicts(compared: Iterable[Compared]) -> dict[str, int]:
    """How many numbers have each verdict, all verdicts named."""
    counted = Counter(number.verdict for number in compared)
    return {verdict: counted[verdict] for verdict in VERDICTS}


def differences(compared: Iterable[Compared]) -> list[Compared]:
    """The numbers whose stored value is not the source's."""
    return [number for number in compared if number.verdict in REASONS]


def as_failures(different: Iterable[Compared], window: Window) -> list[Failure]:
    """One failure for each verdict, source and site, with its days."""
    command = f"aggregator.py reconcile --from {window.first} --to {window.last} --repair"
    days: dict[tuple[str, str, SiteId], set[date]] = {}
    for number in different:
        days.setdefault((number.verdict, number.asked, number.site_id), set()).add(number.day)
    return [
        Failure(
            verdict,
            source,
            REASONS[verdict],
            MENDS[verdict].format(command=command),
            (site_id,),
            tuple(sorted(of_site)),
        )
        for (verdict, source, site_id), of_site in days.items()
    ]


def as_master(different: Iterable[Compared]) -> Master:
    """The source's numbers, to be stored."""
    master: Master = {}
    for number in different:
        if number.source is not None:
            cell = master.setdefault(number.site_id, {}).setdefault(number.day, {})
            cell[number.metric] = number.source
    return master


def _asked(plan: Plan) -> Iterator[tuple[SiteId, date, str]]:
    by_source: tuple[tuple[Mapping[SiteId, list[date]], tuple[str, ...]], ...] = (
        (plan.matomo, MATOMO_METRICS),
        (plan.gsc, GSC_METRICS),
    )
    for asked, metrics in by_source:
        for site_id, days in asked.items():
            for day in days:
                yield from ((site_id, day, metric) for metric in metrics)


def _asked_for(run: StoredRun, day: date) -> bool:
    if run.window_from is None or run.window_to is None:
        return True
    return run.window_from <= day <= run.window_to
