"""A source that fails as a whole: the other one is complete, and nobody is asked too often."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from models import days_between
from sandbox import Fault, World
from sandbox.messages import Source
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Night, asking_for, final_days, truth, without_visits
from tests.end_to_end.test_each_fault import check_night_with_faults
from tests.integration.tables import execute


def asked(night: Night) -> Counter[str]:
    return Counter(record.source for record in night.sandbox.requests())


@pytest.mark.parametrize(
    ("kind", "says", "at_most"),
    [
        ("login_blocked", "locked this address out", 1),
        ("ip_not_allowed", "login_allowlist_ip", 1),
        ("http_503_html", "HTTP 503", 2),
        ("redirect", "redirects to https://127.0.0.1/matomo", 1),
        ("html_200", "MATOMO_API_URL", 1),
        ("drop", "connection broke", 2),
    ],
)
def test_a_matomo_that_fails_for_every_site_costs_search_console_nothing(
    kind: str, says: str, at_most: int, night: Night
) -> None:
    done = check_night_with_faults(
        night, [Fault("matomo", kind)], matomo_fails=night.world.site_numbers
    )
    assert says in done.out
    with_fault = [record for record in night.sandbox.requests() if record.source == "matomo"]
    # The second, good run asks twice: for the viewable sites, and for the visits.
    assert len(with_fault) - 2 <= at_most


def test_a_wrong_oauth_client_is_one_failure_for_all_accounts(night: Night) -> None:
    check_night_with_faults(
        night, [Fault("token", "invalid_client")], gsc_fails=night.world.site_numbers
    )
    _, _, failures = night.runs()[0]
    assert [f["kind"] for f in failures] == ["settings"]
    assert "GOOGLE_CLIENT_SECRET" in str(failures[0]["mend"])


@pytest.mark.parametrize("source", ["sites", "query"])
def test_a_redirect_of_google_is_followed_by_nothing(source: Source, night: Night) -> None:
    check_night_with_faults(night, [Fault(source, "redirect")], gsc_fails=night.world.site_numbers)


def test_a_dead_consent_costs_one_request(night: Night) -> None:
    gone = [site for site in night.world.site_numbers if night.world.account_of(site) == 2]
    done = check_night_with_faults(
        night, [Fault("token", "invalid_grant", account=2)], gsc_fails=gone
    )
    assert "give consent again" in done.out
    # Once in the night with the fault, once in the good one after it.
    of_account = [r.source for r in night.sandbox.requests() if r.account == 2]
    assert Counter(of_account) == {"token": 2, "sites": 1, "query": len(gone)}


def test_a_wrong_matomo_token_is_never_tried_again(night: Night) -> None:
    done = night.run(*asking_for(final_days(night.world)), MATOMO_API_TOKEN="mistyped-token")
    assert done.status == 1, done
    assert "MATOMO_API_TOKEN" in done.out
    assert "mistyped-token" not in done.out + done.err
    assert asked(night)["matomo"] == 1
    full = truth(night.world, night.world.site_numbers, final_days(night.world))
    assert night.stored() == without_visits(full, night.world.site_numbers)


def test_a_day_on_which_every_site_has_zero_visits_is_not_believed(night: Night) -> None:
    days = final_days(night.world, 9)
    night.sandbox.faults.add(Fault("matomo", "unarchived", days=(days[-1],)))
    full = truth(night.world, night.world.site_numbers, days)

    done = night.run(*asking_for(days))

    assert done.status == 1, done
    assert "core:archive" in done.out
    unbelieved = {
        cell: (None, *numbers[1:]) for cell, numbers in full.items() if cell[1] == days[-1]
    }
    assert night.stored() == full | unbelieved

    done = night.run("--date", str(days[-1]), "--accept-zeros")

    assert done.status == 0, done
    accepted = {cell: (0, *numbers[1:]) for cell, numbers in full.items() if cell[1] == days[-1]}
    assert night.stored() == full | accepted

    night.sandbox.faults.clear()
    assert night.run("--date", str(days[-1])).status == 0
    assert night.stored() == full


def test_the_guard_against_zeros_knows_what_an_earlier_night_stored(night: Night) -> None:
    days = final_days(night.world, 3)
    assert night.run(*asking_for(days[:2])).status == 0
    night.sandbox.faults.add(Fault("matomo", "unarchived"))
    done = night.run("--date", str(days[2]))
    assert done.status == 1, done
    assert {night.stored()[site, days[2]][0] for site in night.world.site_numbers} == {None}


def test_zeros_of_sites_that_never_had_visits_are_stored(start_night: StartNight) -> None:
    night = start_night(World(sites=6, accounts=1))
    night.sandbox.faults.add(Fault("matomo", "unarchived"))
    done = night.run(*asking_for(final_days(night.world)))
    assert done.status == 0, done
    assert {numbers[0] for numbers in night.stored().values()} == {0}


def test_days_older_than_sixteen_months_are_read_from_matomo_alone(night: Night) -> None:
    days = days_between(*(night.world.today() - timedelta(days=ago) for ago in (491, 490)))
    execute(night.database_url, "delete from public.sites where matomo_site_id > 5")
    done = night.run(*asking_for(days))
    assert done.status == 1, done
    assert "Search Console keeps 16 months" in done.out
    assert night.stored() == truth(night.world, range(1, 6), days)
    assert asked(night)["query"] == 0
