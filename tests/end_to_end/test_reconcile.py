"""`reconcile`: every verdict with the real program, and a repair that leaves the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date

import pytest

from sandbox import Fault, seed
from tests.end_to_end.night import (
    Finished,
    Night,
    asking_for,
    final_days,
    truth,
    without_visits,
)
from tests.integration.tables import execute
from tests.services.postgrest import PostgrestServer


@pytest.fixture(params=["postgres", "supabase"])
def stored_night(request: pytest.FixtureRequest, night: Night) -> Iterator[Night]:
    """A night whose days are stored, over either database."""
    with ExitStack() as stack:
        if request.param == "supabase":
            postgrest = stack.enter_context(PostgrestServer(night.database_url))
            night.environment |= {
                "SUPABASE_URL": postgrest.url,
                "SUPABASE_SERVICE_KEY": postgrest.service_key,
                "DATABASE_URL": "",
            }
        done = night.run(*asking_for(final_days(night.world)))
        assert done.status == 0, done
        yield night


def reconcile(night: Night, *options: str) -> Finished:
    return night.run("reconcile", *asking_for(final_days(night.world)), *options)


def tamper(night: Night, site: int, day: date, text: str) -> None:
    execute(
        night.database_url,
        f"update public.daily_analytics set {text} where site_id = %s and date = %s",
        seed.site_id(site), day,
    )  # fmt: skip


def totals(done: Finished) -> str:
    return done.last_line.partition(". ")[2]


def test_what_a_run_has_just_stored_is_equal(stored_night: Night) -> None:
    done = reconcile(stored_night)
    assert done.status == 0, done
    assert done.last_line == (
        "Compared 180 numbers of 20 sites. Equal 180. Revised by the source 0. Missing 0. "
        "Different without reason 0. Unknown 0. Repaired 0."
    )


def test_each_number_has_its_verdict_and_a_repair_leaves_the_truth(stored_night: Night) -> None:
    night, (first, second, third) = stored_night, final_days(stored_night.world)
    night.sandbox.set_number("visits", 3, first, 90_001)
    night.sandbox.set_number("clicks", 4, second, 90_002)
    tamper(night, 5, third, "matomo_visits = 777")
    tamper(night, 6, first, "matomo_visits = null, gsc_clicks = null")
    execute(night.database_url, "delete from public.daily_analytics where site_id = %s",
            seed.site_id(7))  # fmt: skip

    done = reconcile(night)

    assert done.status == 1
    assert totals(done) == (
        "Equal 166. Revised by the source 2. Missing 11. Different without reason 1. "
        "Unknown 0. Repaired 0."
    )
    domain = night.world.domain
    for line in (
        f"revised   {domain(3)} {first} matomo_visits: stored {night.world.visits(3, first)}, "
        "source 90001",
        f"revised   {domain(4)} {second} gsc_clicks: ",
        f"different {domain(5)} {third} matomo_visits: stored 777, source ",
        f"missing   {domain(6)} {first} gsc_clicks: stored unknown, source ",
        f"missing   {domain(7)} {second} gsc_impressions: stored unknown, source ",
    ):
        assert line in done.out
    before = night.stored()
    assert before[5, third][0] == 777, "it only looks"

    repaired = reconcile(night, "--repair")

    assert repaired.status == 0, repaired
    assert totals(repaired).endswith("Repaired 14.")
    full = truth(night.world, night.world.site_numbers, final_days(night.world))
    full[3, first] = (90_001, *full[3, first][1:])
    full[4, second] = (full[4, second][0], 90_002, full[4, second][2])
    assert night.stored() == full
    again = reconcile(night)
    assert (again.status, totals(again)[:10]) == (0, "Equal 180.")
    night.sandbox.set_number("visits", 5, third, 90_003)
    assert "Revised by the source 1." in reconcile(night).last_line, "the repair had stored it"


def test_its_report_is_in_the_run_history(stored_night: Night) -> None:
    night, (first, *_) = stored_night, final_days(stored_night.world)
    tamper(night, 5, first, "gsc_clicks = 777")
    reconcile(night)
    [run] = json.loads(night.run("runs", "--last", "1", "--json").out)
    assert (run["job"], run["status"]) == ("reconcile", "incomplete")
    assert (run["counts"]["equal"], run["counts"]["different"]) == (179, 1)
    [difference] = run["counts"]["differences"]
    assert difference == {
        "site": seed.site_id(5), "day": str(first), "metric": "gsc_clicks", "stored": 777,
        "source": night.world.clicks(5, first), "verdict": "different",
    }  # fmt: skip
    [failure] = run["failures"]
    assert (failure["kind"], failure["sites"], failure["days"]) == (
        "different", [seed.site_id(5)], [str(first)],
    )  # fmt: skip
    asked = " ".join(asking_for(final_days(night.world)))
    assert f"`aggregator.py reconcile {asked} --repair`" in failure["mend"]


def test_what_a_source_does_not_say_is_unknown_and_never_repaired(stored_night: Night) -> None:
    night, days = stored_night, final_days(stored_night.world)
    tamper(night, 4, days[0], "matomo_visits = 5")
    before = night.stored()
    night.sandbox.faults.add(Fault("matomo", "http_500_json", site=4))
    done = reconcile(night, "--repair")
    assert done.status == 1
    assert totals(done).startswith("Equal 177. ")
    assert "Unknown 3. Repaired 0." in done.last_line
    assert night.stored() == before
    assert "HTTP 500" in done.out


def test_zeros_of_a_day_that_is_not_archived_repair_nothing(stored_night: Night) -> None:
    night, days = stored_night, final_days(stored_night.world)
    before = night.stored()
    night.sandbox.faults.add(Fault("matomo", "unarchived", days=(days[-1],)))
    done = reconcile(night, "--repair")
    assert done.status == 1
    assert night.stored() == before
    assert "most likely not archived" in done.out


def test_a_sample_asks_for_so_many_sites_and_looks_at_no_other(stored_night: Night) -> None:
    night, days = stored_night, final_days(stored_night.world)
    night.sandbox.records.clear()
    done = reconcile(night, "--sample", "3")
    assert done.status == 0, done
    assert done.last_line.startswith("Compared 27 numbers of 3 sites. Equal 27.")
    asked = {site for r in night.sandbox.requests() if r.source == "query" for site in r.sites}
    assert len(asked) == 3
    assert len(days) == 3


def test_without_dates_it_compares_the_last_28_days(night: Night) -> None:
    assert night.run().status == 0
    done = night.run("reconcile")
    last = night.runs()[-1]
    assert last[1]["sites"] == 20
    known = without_visits(night.stored(), [])
    missing = last[1]["missing"]
    assert missing > 0, "only four days were stored"
    assert done.status == 1
    assert f"Missing {missing}." in done.last_line
    assert len({day for _, day in known}) == 4
    assert night.run("reconcile", "--repair").status == 0
    assert len({day for _, day in night.stored()}) == 28


def test_one_source_alone_needs_only_its_own_settings(stored_night: Night) -> None:
    done = stored_night.run(
        "reconcile", *asking_for(final_days(stored_night.world)), "--source", "matomo",
        GOOGLE_CLIENT_ID="", GOOGLE_CLIENT_SECRET="",
    )  # fmt: skip
    assert done.status == 0, done
    assert done.last_line.startswith("Compared 60 numbers of 20 sites. Equal 60.")


@pytest.mark.parametrize("options", [["--sample", "0"], ["--from", "2026-11-01"], ["--sample"]])
def test_wrong_words_are_refused(options: list[str], night: Night) -> None:
    assert night.run("reconcile", *options).status == 2
