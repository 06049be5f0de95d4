"""Every fault of the sandbox while doctor looks: a named finding, in time, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Collection

import pytest

from sandbox import Fault, World, seed
from sandbox.faults import KINDS
from sandbox.messages import Source
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Night
from tests.end_to_end.test_doctor import Report, problems, said
from tests.end_to_end.test_each_fault import fault

QUICK = {"HTTP_TIMEOUT": "0.5", "CONCURRENCY": "64"}
# The numbers are good in themselves: a zero that is wrong needs a week to compare it with.
NUMBERS_LOOK_RIGHT = {"unarchived"}
SMALL = World(sites=6, accounts=2)


def examined(night: Night, *faults: Fault, **variables: str) -> list[Report]:
    """The findings with these faults, each problem of a source and with its mend."""
    night.sandbox.faults.add(*faults)
    done = night.run("doctor", "--json", **QUICK, **variables)
    assert (done.status, done.err) == (1, ""), done
    assert done.seconds < 15
    findings: list[Report] = json.loads(done.out)["findings"]
    for problem in problems(findings):
        assert problem["message"]
        assert problem["mend"]
        assert problem["area"] in ("matomo", "google")
    return findings


def failed_sites(findings: list[Report], area: str) -> set[str]:
    return {site for f in problems(findings) if f["area"] == area for site in f["sites"]}


def ids(sites: Collection[int]) -> set[str]:
    return {seed.site_id(site) for site in sites}


@pytest.mark.parametrize("kind", sorted(KINDS["matomo"] - NUMBERS_LOOK_RIGHT))
def test_a_matomo_that_fails_as_a_whole_is_named(kind: str, start_night: StartNight) -> None:
    night = start_night(SMALL)
    findings = examined(night, fault("matomo", kind))
    assert {problem["area"] for problem in problems(findings)} == {"matomo"}
    assert len(said(findings, "consent is alive")) == 2
    assert sum(record.source == "matomo" for record in night.sandbox.requests()) <= 40


def test_a_fault_of_one_site_at_matomo_costs_that_site_alone(start_night: StartNight) -> None:
    kinds = sorted(KINDS["matomo"] - NUMBERS_LOOK_RIGHT - {"login_blocked", "http_429"})
    faulty = dict(enumerate(kinds, start=3))
    night = start_night(World(sites=len(kinds) + 8, accounts=2))
    faults = [fault("matomo", kind, site=site) for site, kind in faulty.items()]
    findings = examined(night, *faults, MATOMO_SITES_PER_REQUEST="1")
    assert failed_sites(findings, "matomo") == ids(faulty)
    assert failed_sites(findings, "google") == set()


@pytest.mark.parametrize("kind", ["stall", "memory_exhausted", "http_502_html", "missing_site"])
def test_one_bad_site_is_split_off_from_the_others(kind: str, start_night: StartNight) -> None:
    night = start_night(World(sites=50, accounts=2))
    findings = examined(night, fault("matomo", kind, site=13))
    assert failed_sites(findings, "matomo") == ids([13])


@pytest.mark.parametrize("source", ["token", "sites"])
def test_each_fault_of_an_account_costs_its_sites_alone(
    source: Source, start_night: StartNight
) -> None:
    faulty = dict(enumerate(sorted(KINDS[source]), start=2))
    world = World(sites=2 * len(faulty) + 4, accounts=len(faulty) + 2)
    night = start_night(world)
    findings = examined(night, *(fault(source, kind, account=n) for n, kind in faulty.items()))
    lost = [site for site in world.site_numbers if world.account_of(site) in faulty]
    assert failed_sites(findings, "google") == ids(lost)
    assert failed_sites(findings, "matomo") == set()
    assert len(said(findings, "consent is alive")) == 2


def test_a_wrong_client_is_said_once_for_all_accounts(night: Night) -> None:
    findings = examined(night, GOOGLE_CLIENT_SECRET="not-the-right-one")
    assert {f["account"] for f in problems(findings)} == {None}
    assert len({(f["message"], f["mend"]) for f in problems(findings)}) == 1
    assert said(problems(findings), "GOOGLE_CLIENT_SECRET")
    done = night.run("doctor", GOOGLE_CLIENT_SECRET="not-the-right-one")
    assert "Some numbers will be missing: 1 problem," in done.last_line


def test_sources_that_are_not_there_are_named(night: Night) -> None:
    nowhere = "http://127.0.0.1:1"
    findings = examined(night, MATOMO_API_URL=nowhere, GOOGLE_TOKEN_URI=f"{nowhere}/token")
    assert {problem["area"] for problem in problems(findings)} == {"matomo", "google"}
    assert len(said(findings, "told no time")) == 2


@pytest.mark.parametrize("kind", ["stall", "drip"])
def test_all_of_google_and_matomo_stall_and_it_ends_in_time(
    kind: str, start_night: StartNight
) -> None:
    night = start_night(World(sites=60, accounts=6))
    every = [fault(source, kind) for source in ("matomo", "token", "sites")]
    findings = examined(night, *every)
    assert len(failed_sites(findings, "google")) == 60
