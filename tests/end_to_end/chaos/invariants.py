"""What holds after each run, one function a sentence; a list of what does not is the answer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from urllib.parse import quote

from sandbox.world import METRICS
from tests.end_to_end.chaos.evidence import Evidence, Trace
from tests.end_to_end.chaos.heard import Asked, Cell
from tests.end_to_end.chaos.program import A_BUG, COULD_NOT_RUN, MINUTE_MILLISECONDS
from tests.end_to_end.chaos.stores import STATES
from tests.end_to_end.chaos.world import owner_of

GRACE_SECONDS = 0.2
JUST_LOOKED = 1
ENOUGH_SITES = 5
WEEK = timedelta(days=7)
WHOLE_SOURCE = {"invalid_client", "redirect"}
WHOLE_ACCOUNT = {
    "auth_error", "insufficient_scope", "access_not_configured", "daily_limit_exceeded",
}  # fmt: skip

Problems = Iterator[str]


def check(evidence: Evidence) -> None:
    """Raises AssertionError with everything that does not hold and what was printed."""
    problems = [f"{rule.__name__}: {found}" for rule in RULES for found in rule(evidence)]
    if problems:
        shown = "\n".join(problems[:20])
        raise AssertionError(f"{shown}\n--- {evidence.plan}\n--- printed\n{evidence.outcome.out}")


def no_bug(e: Trace) -> Problems:
    """No traceback, and the status is one of the contract's."""
    if e.outcome.status == A_BUG or "Traceback" in e.outcome.out or "is a bug" in e.outcome.out:
        yield "a bug"
    if e.killed:
        return
    allowed = {130, 143, 129, -15, -2} if e.stopped else set()
    if e.outcome.status not in {0, 1, COULD_NOT_RUN} | allowed:
        yield f"exit status {e.outcome.status}"


def numbers_are_the_sources(e: Evidence) -> Problems:
    """1. What is stored was said at some time; what changed was said in this run."""
    for cell, (visits, clicks, impressions) in e.after.items():
        old = e.before.get(cell, (None, None, None))
        said = e.said if (visits != old[0]) else e.ever
        if visits is not None and visits not in said.visits.get(cell, ()):
            yield f"visits of {cell}: {visits}, and {said.visits.get(cell)} was said"
        pair = (clicks, impressions)
        if pair == (None, None):
            continue
        said = e.said if pair != old[1:] else e.ever
        if pair not in said.search.get(cell, ()):
            yield f"search of {cell}: {pair}, and {said.search.get(cell)} was said"


def nothing_known_is_forgotten(e: Evidence) -> Problems:
    """1. No number goes back to unknown, no row vanishes."""
    for cell, numbers in e.before.items():
        now = e.after.get(cell, (None, None, None))
        lost = any(new is None for old, new in zip(numbers, now, strict=True) if old is not None)
        if (lost or cell not in e.after) and cell[0] not in e.deleted:
            yield f"{cell}: {numbers} became {now}"


def each_number_stands_in_its_place(e: Evidence) -> Problems:
    """2. A number says itself whose it is."""
    for cell, numbers in e.after.items():
        for metric, number in zip(METRICS, numbers, strict=True):
            if number and owner_of(number) != (metric, *cell):
                yield f"{number}, of {owner_of(number)}, is stored as {metric} of {cell}"


def what_was_not_asked_is_untouched(e: Evidence) -> Problems:
    for cell in {*e.before, *e.after} - e.wanted.rows:
        if cell[0] not in e.deleted and e.alone and e.before.get(cell) != e.after.get(cell):
            yield f"{cell}: {e.before.get(cell)} became {e.after.get(cell)}"
    if (e.plan.ask.dry_run or e.outcome.status == COULD_NOT_RUN) and e.alone:
        changed = {c for c in {*e.before, *e.after} if e.before.get(c) != e.after.get(c)}
        if {site for site, _ in changed} - e.deleted:
            yield f"changed though nothing was to be written: {sorted(changed)}"


def every_missing_cell_is_named_and_no_other(e: Evidence) -> Problems:
    """3. Asked cells are either as just said, or named in the run's history as missing."""
    if e.finished is None or not e.alone or e.plan.ask.dry_run or e.outcome.status == COULD_NOT_RUN:
        return
    refused = e.failed("database")
    yield from (f"database names {c}, not a row of this run" for c in refused - e.wanted.rows)
    for source, fresh in (("matomo", fresh_visits), ("gsc", fresh_search)):
        wanted, failed = e.wanted.of(source), e.failed(source)
        yield from (f"{source} names {c}, which was not asked" for c in sorted(failed - wanted))
        for cell in sorted(wanted):
            changed = _of(source, e.before.get(cell)) != _of(source, e.after.get(cell))
            if cell[0] in e.deleted:
                continue
            if cell in failed:
                if changed:
                    yield f"{source} of {cell} is named as missing, and was stored"
            elif cell in refused:
                if changed and not fresh(e, cell):
                    yield f"{source} of {cell} is neither old nor as said"
            elif not fresh(e, cell):
                yield (
                    f"{source} of {cell} is not named as missing, and {e.after.get(cell)} is stored"
                )


def _of(source: str, numbers: tuple[int | None, ...] | None) -> tuple[int | None, ...]:
    numbers = numbers or (None, None, None)
    return numbers[:1] if source == "matomo" else numbers[1:]


def fresh_visits(e: Evidence, cell: Cell) -> bool:
    return e.after.get(cell, (None,))[0] in e.said.visits.get(cell, ())


def fresh_search(e: Evidence, cell: Cell) -> bool:
    now = _of("gsc", e.after.get(cell))
    unpublished = cell in e.said.silent and now == _of("gsc", e.before.get(cell))
    return unpublished or now in e.said.search.get(cell, ())


def status_history_and_summary_agree(e: Evidence) -> Problems:
    """3. Exit status, last line and history tell the same, and true, story."""
    if e.killed:
        return
    row, status = e.finished, e.outcome.status
    calm = not e.database_met and not e.plan.is_slow and not e.stopped and e.alone
    if e.wanted.impossible:
        if status != COULD_NOT_RUN and e.alone and not e.stopped:
            yield f"status {status}, though: {e.wanted.impossible}"
        return
    if calm and status == COULD_NOT_RUN:
        yield "it could not run, and nothing was in its way"
    if e.plan.ask.dry_run:
        if e.rows:
            yield "a dry run left a trace"
        return
    if len(e.rows) > 1 and e.alone:
        yield f"{len(e.rows)} rows in the history for one run"
    if row is None:
        if calm:
            yield "no row in the history"
        elif status in (0, 1) and "no run history" not in e.outcome.out and e.alone:
            yield "no finished row in the history, and not a word of it"
        return
    expected = {0: "complete", 1: "incomplete", COULD_NOT_RUN: "failed"}.get(status)
    if e.alone and expected and row.status != expected:
        yield f"exit status {status}, and the history says {row.status}"
    if e.alone and (row.status == "complete") != (not row.failures):
        yield f"{row.status} with {len(row.failures)} failures"
    if status in (0, 1):
        yield from _summary_agrees(e, row.counts)


def _summary_agrees(e: Evidence, counts: dict[str, int]) -> Problems:
    told = tuple(counts.get(name, 0) for name in ("sites", "matomo", "gsc", "stored"))
    if not e.alone:
        return
    if e.summary != told:
        yield f"the last line says {e.summary}, the history {told}"
        return
    got = {site for site, day in e.wanted.matomo - e.failed("matomo")}
    search = e.wanted.gsc - e.failed("gsc")
    surely = {c[0] for c in search if c in e.said.search and c not in e.said.silent}
    perhaps = {c[0] for c in search if c in e.said.search}
    if told[0] != e.wanted.sites:
        yield f"{told[0]} sites processed of {e.wanted.sites}"
    if told[1] != len(got):
        yield f"Matomo data for {told[1]} sites, {len(got)} have some"
    if not len(surely) <= told[2] <= len(perhaps):
        yield f"GSC data for {told[2]} sites, {len(surely)} to {len(perhaps)} have some"
    refused = e.failed("database")
    if not e.database_met and told[3] != len(e.wanted.rows - refused):
        yield f"stored {told[3]} rows, {len(e.wanted.rows - refused)} were due"


def every_failure_has_a_cause(e: Evidence) -> Problems:
    """3. One site's or account's fault costs no other; without any fault nothing fails."""
    if e.plan.is_slow or e.stopped or not e.alone or e.plan.deadline_seconds < 1:
        return
    if e.failed("matomo") and not _matomo_has_a_cause(e):
        yield f"Matomo had no fault: {sorted(e.failed('matomo'))}"
    for site in {site for site, day in e.failed("gsc") if day >= e.oldest}:
        if not e.skewed and not _search_has_a_cause(e, site):
            yield f"no fault concerned Search Console of site {site}"
    if e.failed("database") and not (e.database_met or e.deleted):
        yield f"the database had no fault: {sorted(e.failed('database'))}"
    for cell in e.wanted.gsc if e.finished and e.outcome.status != COULD_NOT_RUN else ():
        if cell[1] < e.oldest and cell not in e.failed("gsc"):
            yield f"Search Console no longer keeps {cell}, and that is not said"


def _matomo_has_a_cause(e: Evidence) -> bool:
    zeros = all(e.said.visits.get(cell) == {0} for cell in e.failed("matomo"))
    faulty = any(fault.source == "matomo" for fault in e.met)
    return faulty or zeros or bool(e.upset & {site for site, _ in e.failed("matomo")})


def _search_has_a_cause(e: Evidence, site: int) -> bool:
    if site in e.upset:
        return True
    account = e.sites[site].account if site in e.sites else None
    for fault in (f for f in e.met if f.source != "matomo"):
        of_site = fault.site in (None, site) or fault.kind in WHOLE_ACCOUNT
        of_account = fault.account in (None, account)
        if (of_site and of_account) or fault.kind in WHOLE_SOURCE:
            return True
    return False


def zeros_of_every_site_are_doubted(e: Evidence) -> Problems:
    """A day of zeros alone, after days with visits, is a day that was not archived."""
    if not e.alone or e.finished is None:
        return
    by_day: dict[date, list[Cell]] = defaultdict(list)
    for cell in e.wanted.matomo - e.failed("matomo") - e.failed("database"):
        by_day[cell[1]].append(cell)
    for day, cells in by_day.items():
        zeros = all(e.after.get(cell, (None,))[0] == 0 for cell in cells if cell in e.after)
        week = {s for (s, d), n in e.before.items() if day - WEEK <= d < day and n[0]}
        if zeros and len(week - e.deleted) >= ENOUGH_SITES:
            yield f"{day} is stored with zeros alone, and {sorted(week)} had visits before"


def nothing_is_half(e: Evidence) -> Problems:
    """Clicks and impressions go together; over psycopg a run is stored as a whole or not at all."""
    for cell, numbers in e.after.items():
        if (numbers[1] is None) != (numbers[2] is None):
            yield f"clicks without impressions: {cell}"
    if e.store != "psycopg" or not e.alone:
        return
    changed = {c for c in e.after if e.after[c] != e.before.get(c)}
    if e.plan.database is not None and e.plan.database.kind in STATES:
        halves = sorted(changed & e.failed("database"))
        yield from (f"{cell} is stored, and the transaction failed" for cell in halves)
    if e.killed and changed and not e.met and not e.upset:
        lost = sorted(c for c in e.wanted.matomo & e.said.visits.keys() if not fresh_visits(e, c))
        yield from (f"{cell} is not stored, others of the killed run are" for cell in lost)


def no_secret_is_shown(e: Trace) -> Problems:
    """5. Neither printed nor kept as history."""
    shown = e.outcome.out + "".join(row.text for row in e.rows)
    for secret in e.secrets:
        for spelling in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
            if spelling in shown:
                yield f"{secret[:6]}… is shown"


def what_was_refused_is_not_asked_again(e: Trace) -> Problems:
    """5. After a permanent refusal only what was under way already."""
    if not e.alone or e.plan.is_slow:
        return
    for refused in e.refused:
        later = [
            asked for asked in e.asked if asked.at > refused.at and _uses(asked, refused.credential)
        ]
        # One thread may just have looked, while the refusal was on its way to the other.
        under_way = e.profile.concurrency - 1 + JUST_LOOKED
        late = [asked for asked in later if asked.at > refused.at + GRACE_SECONDS]
        if len(later) > under_way or late:
            yield (
                f"{refused.credential}: {len(later)} requests after its refusal, {len(late)} of "
                f"them {GRACE_SECONDS} s later; {under_way} may have been under way"
            )
            return


def _uses(asked: Asked, refused: str) -> bool:
    """Our OAuth client is shown to the token endpoint alone."""
    return asked.source == "token" if refused == "client" else asked.credential == refused


def limits_are_kept(e: Trace) -> Problems:
    """5. Requests in flight, and requests a minute and account."""
    runs = 1 if e.alone else 2
    # A server is still at work on what its client has given up after the time-out.
    if not e.plan.is_slow and e.most_in_flight > e.profile.concurrency * runs:
        yield f"{e.most_in_flight} requests in flight, {e.profile.concurrency} are allowed"
    if not e.alone:
        return
    times: dict[int | None, list[float]] = defaultdict(list)
    for record in e.records:
        if record.source in ("sites", "query"):
            times[record.account].append(record.at)
    for account, at in times.items():
        minutes = int((max(at) - min(at)) * 1000 / MINUTE_MILLISECONDS) + 2
        if len(at) > e.profile.gsc_per_minute * minutes:
            yield f"account {account}: {len(at)} requests in {minutes} minutes"


RULES: list[Callable[[Evidence], Problems]] = [
    no_bug,
    numbers_are_the_sources,
    nothing_known_is_forgotten,
    each_number_stands_in_its_place,
    what_was_not_asked_is_untouched,
    every_missing_cell_is_named_and_no_other,
    status_history_and_summary_agree,
    every_failure_has_a_cause,
    zeros_of_every_site_are_doubted,
    nothing_is_half,
    no_secret_is_shown,
    what_was_refused_is_not_asked_again,
    limits_are_kept,
]


def kinds_met(e: Trace) -> Counter[str]:
    return Counter({f"{fault.source} {fault.kind}" for fault in e.met})
