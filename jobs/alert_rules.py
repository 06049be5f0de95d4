"""When somebody is told, and what: pure functions from one run to the next.

Told at once: a run that failed. Told after three runs: the same failure. Told when no run was
complete for 26 hours. Each once, at most once a day, and once more when it is over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from models import Failure
from summary import merge_failures

LASTING_RUNS = 3
COMPLETE_WITHIN = timedelta(hours=26)

FAILED, LASTING, STALE = "failed", "lasting", "stale"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to know of the run that has just ended.

    status: as in aggregator_runs. sources: what the run asked; of others nothing is known now.
    nightly: whether it asked for what a nightly run asks for.
    last_complete: when a run of the job was last complete, or, if none ever was, the first began.
    """

    status: str
    failures: Sequence[Failure]
    sources: Collection[str]
    now: datetime
    last_complete: datetime | None
    nightly: bool = True


@dataclass(frozen=True, slots=True)
class Alert:
    """One trouble that is watched, from the run that first had it to the one that ends it.

    runs: by site, how many runs in a row had it (the key "" stands for the run as a whole).
    told: the sites of which somebody was told. told_on: the day of the last message.
    over: it has ended, and is kept for the rest of that day, so that it is not told twice.
    """

    what: str
    source: str = ""
    kind: str = ""
    account: str = ""
    runs: Mapping[str, int] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    told_on: date | None = None
    over: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.what, self.source, self.kind, self.account)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to say now, and what to remember for the next run once it is said."""

    failed: list[Failure] = field(default_factory=list)
    lasting: list[Failure] = field(default_factory=list)
    stale_since: datetime | None = None
    recovered: list[Alert] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.failed or self.lasting or self.stale_since or self.recovered)


def decide(known: Iterable[Alert], run: Outcome) -> Decision:
    """What to tell after this run, given the alerts that are open."""
    by_key = {alert.key: alert for alert in known}
    decision = Decision()
    today = run.now.date()
    merged = merge_failures(run.failures)
    now_open: dict[tuple[str, str, str, str], Alert] = {}
    for alert, failures in _troubles(run, merged, by_key):
        now_open[alert.key] = alert
        newly = [name for name in _due(alert) if alert.what == FAILED or name not in alert.told]
        if newly and alert.told_on != today:
            decision = _tell(decision, alert, failures, newly, run)
            told = tuple(sorted({*alert.told, *newly}))
            now_open[alert.key] = replace(alert, told=told, told_on=today)
    for key, alert in by_key.items():
        if key not in now_open:
            if not _is_known_now(alert, run):
                now_open[key] = alert
                continue
            if alert.told and not alert.over:
                decision.recovered.append(alert)
            if alert.told_on == today:
                now_open[key] = replace(alert, runs={}, told=(), over=True)
    return replace(decision, alerts=list(now_open.values()))


def undelivered(known: Iterable[Alert], decision: Decision) -> list[Alert]:
    """What to remember when the message did not arrive: nobody was told, the next run tries."""
    before = {alert.key: alert for alert in known}
    kept = [
        replace(alert, told=earlier.told, told_on=earlier.told_on, over=earlier.over and alert.over)
        for alert in decision.alerts
        if (earlier := before.get(alert.key, Alert(*alert.key))) not in decision.recovered
    ]
    return [*kept, *decision.recovered]


def as_json(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """The alerts as they are kept in a run's counts."""
    return [
        {**asdict(alert), "told_on": alert.told_on.isoformat() if alert.told_on else None}
        for alert in alerts
    ]


def from_json(kept: object) -> list[Alert]:
    """The alerts of a run's counts; what this program did not write so is left out."""
    found = []
    for item in kept if isinstance(kept, list) else ():
        try:
            day = item["told_on"]
            told_on = date.fromisoformat(day) if day else None
            runs = {str(site): int(number) for site, number in item["runs"].items()}
            found.append(
                Alert(
                    what=str(item["what"]),
                    source=str(item["source"]),
                    kind=str(item["kind"]),
                    account=str(item["account"]),
                    runs=runs,
                    told=tuple(map(str, item["told"] if isinstance(item["told"], list) else ())),
                    told_on=told_on,
                    over=bool(item["over"]),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return found


def _troubles(
    run: Outcome, merged: Sequence[Failure], known: Mapping[tuple[str, str, str, str], Alert]
) -> Iterator[tuple[Alert, list[Failure]]]:
    """The alerts that this run opens or goes on with, and the failures behind each."""
    groups: dict[tuple[str, str, str, str], list[Failure]] = {}
    for failure in merged:
        what = FAILED if run.status == "failed" and not failure.sites else LASTING
        account = "" if failure.account is None else str(failure.account)
        groups.setdefault((what, failure.source, failure.kind, account), []).append(failure)
    for key, failures in groups.items():
        before = known.get(key, Alert(*key))
        sites = {str(site) for failure in failures for site in failure.sites} or {""}
        runs = {site: before.runs.get(site, 0) + 1 for site in sorted(sites)}
        told = tuple(site for site in before.told if site in sites)
        yield replace(before, runs=runs, told=told, over=False), failures
    late = run.last_complete is not None and run.now - run.last_complete > COMPLETE_WITHIN
    if late and run.status != "complete":
        before = known.get((STALE, "", "", ""), Alert(STALE))
        yield replace(before, runs={"": LASTING_RUNS}, over=False), []


def _due(alert: Alert) -> list[str]:
    """The sites (or "") of an alert that somebody should know of."""
    enough = 1 if alert.what == FAILED else LASTING_RUNS
    return [site for site, number in alert.runs.items() if number >= enough]


def _tell(
    decision: Decision,
    alert: Alert,
    failures: list[Failure],
    newly: Collection[str],
    run: Outcome,
) -> Decision:
    if alert.what == STALE:
        return replace(decision, stale_since=run.last_complete)
    if alert.what == FAILED:
        return replace(decision, failed=[*decision.failed, *failures])
    narrowed = [
        replace(failure, sites=tuple(site for site in failure.sites if str(site) in newly))
        for failure in failures
    ]
    told = [failure for failure in narrowed if failure.sites or "" in newly]
    return replace(decision, lasting=[*decision.lasting, *told])


def _is_known_now(alert: Alert, run: Outcome) -> bool:
    """Whether this run could have had the trouble again; a run that failed has tried nothing."""
    if alert.what == STALE:
        return run.status == "complete" and run.nightly
    if run.status == "failed":
        return False
    return alert.what == FAILED or alert.source in run.sources
