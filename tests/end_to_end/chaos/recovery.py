"""4. After the faults end, one run a window, import or count brings the tables to the sources."""

from __future__ import annotations

from datetime import date, timedelta

from tests.end_to_end.chaos.count_invariants import check_count_recovery
from tests.end_to_end.chaos.import_invariants import check_import
from tests.end_to_end.chaos.imports import recover
from tests.end_to_end.chaos.invariants import check
from tests.end_to_end.chaos.plans import Ask, Plan
from tests.end_to_end.chaos.social_invariants import check_social_recovery
from tests.end_to_end.chaos.stage import Stage

FARTHEST_BACK = timedelta(days=100)


def check_recovery(stage: Stage) -> None:
    """One run over all days that were asked for and have begun, the nightly run, then a look.

    Of a day that has not begun where the sites are Matomo says 0, which is rightly doubted.
    """
    stage.mend_everything()
    today = stage.local_today()
    oldest, newest = today - FARTHEST_BACK, min(today, stage.world.today())
    days = sorted(day for day in stage.touched if oldest <= day <= newest)
    nights = [Plan()]
    if days:
        span = ((today - days[0]).days, (today - days[-1]).days)
        nights.insert(0, Plan(Ask(days=span)))
    for plan in nights:
        evidence = stage.night(plan)
        check(evidence)
        stage.forget_own_open_runs()
        assert evidence.outcome.status == 0, evidence.outcome.out
    if stage.log_touched and stage.store.kind == "psycopg":
        check_import_recovery(stage)
    if stage.events_touched and stage.store.kind == "psycopg":
        check_count_recovery(stage)
    if stage.social is not None:
        check_social_recovery(stage)
    problems = [*_differences(stage, days), *_left(stage)]
    assert not problems, "\n".join(problems)


def check_import_recovery(stage: Stage) -> None:
    """One import over all days that were touched: the table is what the visit log is."""
    imported, expected = recover(stage)
    check_import(imported)
    stage.forget_own_open_runs()
    assert imported.outcome.status == 0, imported.outcome.out
    wrong = [v for v in expected if imported.after.get(v) != expected[v]]
    stale = sorted(imported.after.keys() - expected.keys())
    assert not wrong, f"not as in the log: {wrong}"
    assert not stale, f"not in the log: {stale}"


def _left(stage: Stage) -> list[str]:
    """The runs that were killed are closed."""
    return [f"still open: {row[4]}" for row in stage.store.runs() if row[1] == "running"]


def _differences(stage: Stage, days: list[date]) -> list[str]:
    stored = stage.store.stored()
    found = []
    for site, configured in stage.sites.items():
        for day in days:
            visits, *pair = stored.get((site, day), (None, None, None))
            if configured.in_matomo and visits != stage.heard.number("visits", site, day):
                found.append(f"visits of {site}, {day}: {visits} is stored")
            if configured.account is not None:
                allowed = _search_numbers(stage, site, day)
                if tuple(pair) not in allowed:
                    found.append(f"search of {site}, {day}: {pair} is stored, not {allowed}")
    return found


def _search_numbers(stage: Stage, site: int, day: date) -> set[tuple[int | None, int | None]]:
    """The pair that may stand there: one, where the source knows it."""
    world, number = stage.world, stage.heard.number
    pair = (number("clicks", site, day), number("impressions", site, day))
    state = world.search_state(day)
    open_days = {(None, None), *stage.ever.search.get((site, day), ())}
    if state in ("unpublished", "expired"):
        return open_days
    if state == "provisional" and not pair[1]:
        later = (day + timedelta(days=n) for n in range(1, (world.newest() - day).days + 1))
        if not any(number("impressions", site, other) for other in later):
            return open_days
    return {pair}
