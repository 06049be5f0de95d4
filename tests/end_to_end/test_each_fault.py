"""Every fault of the sandbox in a real run: named, nothing stored is touched, the rest is complete.

Faults that concern one site, or one account, share a run: each meets a target of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import pytest

from sandbox import Fault, World, seed
from sandbox.faults import KINDS
from sandbox.messages import Source
from tests.end_to_end.chaos.plans import LOG_KINDS
from tests.end_to_end.chaos.run import run_each_import_fault
from tests.end_to_end.chaos.stage import Tally, open_stage
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Finished, Night, asking_for, final_days, summary_line, truth
from tests.integration.tables import Numbers, execute
from tests.services.postgres import PostgresServer

# These take longer than the second that a request has here; of a drip, each byte does not.
SECONDS = {"slow": 3.0, "drip": 0.3, "stall": 30.0}
QUICK = {"HTTP_TIMEOUT": "1", "RUN_DEADLINE": "40"}

# Every request of an account meets them, so that which sites came first does not matter.
ACCOUNT_QUERY_KINDS = (
    "daily_limit_exceeded", "access_not_configured", "insufficient_scope", "auth_error",
)  # fmt: skip
# They end a source as a whole; test_whole_sources.py has them.
WHOLE_SOURCE = {
    "matomo": {"login_blocked", "token_refused", "unarchived"},
    "token": {"invalid_client"},
    "query": {"redirect"},
    "sites": {"redirect"},
}

OLD: Numbers = (900_001, 900_002, 900_003)


def kinds(source: Source) -> list[str]:
    return sorted(KINDS[source] - WHOLE_SOURCE[source])


def fault(
    source: Source, kind: str, *, site: int | None = None, account: int | None = None
) -> Fault:
    cells = 0 if kind == "too_many_cells" else None
    return Fault(source, kind, site=site, account=account, cells=cells, seconds=SECONDS.get(kind))


def store_old_numbers(night: Night, days: list[date]) -> None:
    execute(
        night.database_url,
        "insert into public.daily_analytics "
        "(date, site_id, matomo_visits, gsc_clicks, gsc_impressions) "
        "select day, id, 900001, 900002, 900003 from public.sites, unnest(%s::date[]) day",
        days,
    )


def check_night_with_faults(
    night: Night,
    faults: Iterable[Fault],
    *,
    matomo_fails: Iterable[int] = (),
    gsc_fails: Iterable[int] = (),
    number_of_days: int = 3,
    variables: Mapping[str, str] | None = None,
) -> Finished:
    """One run with the faults and one after them, over numbers of an earlier day."""
    world, days = night.world, final_days(night.world, number_of_days)
    no_visits, no_search = set(matomo_fails), set(gsc_fails)
    store_old_numbers(night, days)
    full = truth(world, world.site_numbers, days)
    night.sandbox.faults.add(*faults)

    done = night.run(*asking_for(days), **(variables or {}))

    assert done.status == 1, done
    wrong = {
        (site, str(day), numbers)
        for (site, day), numbers in night.stored().items()
        if numbers[0] != (OLD[0] if site in no_visits else full[site, day][0])
        or numbers[1:] != (OLD[1:] if site in no_search else full[site, day][1:])
    }
    assert wrong == set(), done
    assert done.last_line == summary_line(
        world.sites, world.sites - len(no_visits), world.sites - len(no_search),
        world.sites * len(days),
    )  # fmt: skip
    check_failures_are_named(night, done, "matomo", no_visits)
    check_failures_are_named(night, done, "gsc", no_search)

    night.sandbox.faults.clear()
    night.sandbox.unblock()
    again = night.run(*asking_for(days))
    assert again.status == 0, again
    assert night.stored() == full
    return done


def check_failures_are_named(night: Night, done: Finished, source: str, sites: set[int]) -> None:
    """The history names each site that failed with what mends it, the report each short list."""
    status, _, failures = night.runs()[-1]
    of_source = [failure for failure in failures if failure["source"] == source]
    named: set[object] = set()
    for failure in of_source:
        of_failure = failure["sites"]
        assert isinstance(of_failure, list)
        assert failure["message"]
        assert failure["mend"]
        assert str(failure["message"]) in done.out
        named.update(of_failure)
    assert status == "incomplete"
    assert named == {seed.site_id(site) for site in sites}
    short_lists = [f["sites"] for f in of_source if len(f["sites"]) <= 5]  # type: ignore[arg-type]
    domains = {seed.site_id(site): night.world.domain(site) for site in night.world.site_numbers}
    for site in (site for short in short_lists for site in short):  # type: ignore[attr-defined]
        assert domains[site] in done.out


def test_every_fault_of_one_site_at_matomo_costs_that_site_alone(start_night: StartNight) -> None:
    faulty = dict(enumerate(kinds("matomo"), start=3))
    night = start_night(World(sites=len(faulty) + 8, accounts=2))
    check_night_with_faults(
        night,
        [fault("matomo", kind, site=site) for site, kind in faulty.items()],
        matomo_fails=faulty,
        number_of_days=2,
        variables=QUICK | {"MATOMO_SITES_PER_REQUEST": "1"},
    )


@pytest.mark.parametrize("kind", ["http_500_json", "memory_exhausted", "stall", "missing_site"])
def test_one_bad_site_is_split_off_from_a_request_for_many(kind: str, night: Night) -> None:
    check_night_with_faults(
        night,
        [fault("matomo", kind, site=13)],
        matomo_fails=[13],
        number_of_days=2,
        variables=QUICK,
    )


def test_a_matomo_with_little_memory_is_asked_for_less_at_once(night: Night) -> None:
    night.sandbox.faults.add(Fault("matomo", "too_many_cells", cells=7))
    days = final_days(night.world)
    done = night.run(*asking_for(days))
    assert done.status == 0, done
    assert night.stored() == truth(night.world, night.world.site_numbers, days)


def test_a_fault_at_one_property_costs_that_site_alone(start_night: StartNight) -> None:
    """Accounts 1 to 4 meet faults that end an account; sites of the other four one each."""
    world = World(sites=72, accounts=8)
    site_kinds = sorted(set(kinds("query")) - {*ACCOUNT_QUERY_KINDS, "drip"})
    ended = dict(enumerate(ACCOUNT_QUERY_KINDS, start=1))
    others = [site for site in world.site_numbers if world.account_of(site) not in ended]
    faulty = dict(zip(others, site_kinds, strict=False))
    assert len(faulty) == len(site_kinds) < len(others)
    check_night_with_faults(
        start_night(world),
        [fault("query", kind, site=site) for site, kind in faulty.items()]
        + [fault("query", kind, account=account) for account, kind in ended.items()],
        gsc_fails=[s for s in world.site_numbers if world.account_of(s) in ended or s in faulty],
        variables=QUICK,
    )


@pytest.mark.parametrize("source", ["token", "sites"])
def test_a_fault_of_one_account_costs_its_sites_alone(
    source: Source, start_night: StartNight
) -> None:
    faulty = dict(enumerate(sorted(set(kinds(source)) - {"drip"}), start=2))
    world = World(sites=2 * len(faulty) + 6, accounts=len(faulty) + 3)
    night = start_night(world)
    check_night_with_faults(
        night,
        [fault(source, kind, account=account) for account, kind in faulty.items()],
        gsc_fails=[site for site in world.site_numbers if world.account_of(site) in faulty],
        variables=QUICK,
    )


@pytest.mark.parametrize("source", ["query", "token", "sites"])
def test_an_answer_of_google_that_drips_is_given_up_after_its_time(
    source: Source, night: Night
) -> None:
    """A byte now and then keeps a socket's own time-out from ever passing."""
    night.sandbox.faults.add(fault(source, "drip", account=2))
    done = night.run(*asking_for(final_days(night.world)), HTTP_TIMEOUT="1", RUN_DEADLINE="15")
    assert done.status == 1, done
    assert "the run reached RUN_DEADLINE" not in done.out, done
    assert done.seconds < 12


def test_each_fault_of_the_visit_log_is_named_or_made_good_and_the_next_import_is_complete(
    postgres: PostgresServer,
) -> None:
    """In this process, one site's day of a few visits each."""
    tally = Tally()
    with open_stage("psycopg", postgres, tally) as stage:
        run_each_import_fault(stage, [each for each in LOG_KINDS if each[0] == "visits"])
    assert {f"visits {kind}" for kind in KINDS["visits"]} <= tally.met.keys()
