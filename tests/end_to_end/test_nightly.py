"""`aggregator.py` from beginning to end: real process, real HTTP, real Postgres."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

from models import days_between
from sandbox import Fault, World, seed
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import (
    Night,
    asking_for,
    final_days,
    summary_line,
    truth,
    without_search,
    without_visits,
)
from tests.integration.tables import execute, read_updated_at, rows


def window_of_last_run(night: Night) -> list[date]:
    query = "select window_from, window_to from public.aggregator_runs order by id desc limit 1"
    [(first, last)] = rows(night.database_url, query)
    return days_between(first, last)


def numbers_asked(night: Night) -> Counter[str]:
    """Requests for numbers by source; Matomo's one call for the viewable sites is none."""
    return Counter(r.source for r in night.sandbox.requests() if r.sites)


def test_a_night_stores_every_number_of_every_site(night: Night) -> None:
    done = night.run()
    days = window_of_last_run(night)
    assert done.status == 0, done
    assert len(days) == 4
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
    assert done.last_line == summary_line(20, 20, 20, 80)
    assert done.err == ""
    counts = {"sites": 20, "matomo": 20, "gsc": 20, "stored": 80}
    assert night.runs() == [("complete", counts, [])]


def test_a_second_run_changes_nothing(night: Night) -> None:
    asked = asking_for(final_days(night.world))
    assert night.run(*asked).status == 0
    stored, updated_at = night.stored(), read_updated_at(night.database_url)
    done = night.run(*asked)
    assert done.status == 0, done
    assert (night.stored(), read_updated_at(night.database_url)) == (stored, updated_at)
    assert done.last_line == summary_line(20, 20, 20, 60)


def test_a_revised_number_replaces_the_old_one_and_moves_its_own_row_only(night: Night) -> None:
    days = final_days(night.world)
    asked = asking_for(days)
    assert night.run(*asked).status == 0
    before = read_updated_at(night.database_url)
    night.sandbox.set_number("visits", 7, days[1], 123_456)
    assert night.run(*asked).status == 0
    stored, after = night.stored(), read_updated_at(night.database_url)
    assert stored[7, days[1]][0] == 123_456
    assert [cell for cell in after if after[cell] != before[cell]] == [(seed.site_id(7), days[1])]


def test_date_reads_that_day_alone(night: Night) -> None:
    day = final_days(night.world)[0]
    done = night.run("--date", str(day))
    assert done.status == 0, done
    assert night.stored() == truth(night.world, night.world.site_numbers, [day])
    assert done.last_line == summary_line(20, 20, 20, 20)


def test_from_and_to_are_inclusive_over_many_weeks(night: Night) -> None:
    days = final_days(night.world, 75)
    done = night.run("daily", *asking_for(days))
    assert done.status == 0, done
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
    # 75 days are three requests of at most 31 days to Matomo, and one to each property.
    assert numbers_asked(night) == {"matomo": 3, "query": 20}


def test_gaps_asks_only_for_what_is_not_known(night: Night) -> None:
    days = final_days(night.world, 10)
    assert night.run(*asking_for(days)).status == 0
    complete = night.stored()
    hole = "update public.daily_analytics set {} = null where site_id = %s and date = %s"
    lost = "delete from public.daily_analytics where site_id = %s and date = %s"
    execute(night.database_url, hole.format("matomo_visits"), seed.site_id(3), days[2])
    execute(night.database_url, hole.format("gsc_clicks"), seed.site_id(4), days[1])
    execute(night.database_url, hole.format("gsc_impressions"), seed.site_id(4), days[6])
    execute(night.database_url, lost, seed.site_id(9), days[5])
    night.sandbox.records.clear()

    done = night.run("--gaps", *asking_for(days))

    assert done.status == 0, done
    assert night.stored() == complete
    asked = {(r.source, r.sites, r.days) for r in night.sandbox.requests() if r.sites}
    last_asked = {r.days[1] for r in night.sandbox.requests() if r.source == "query" and r.days}
    assert {(source, sites) for source, sites, _ in asked} == {
        ("matomo", (3,)), ("matomo", (9,)), ("query", (4,)), ("query", (9,)),
    }  # fmt: skip
    assert ("matomo", (3,), (days[2], days[2])) in asked
    assert ("matomo", (9,), (days[5], days[5])) in asked
    # One request spans both gaps of site 4.
    assert {d[0] for _, sites, d in asked if sites == (4,) and d} == {days[1]}
    assert min(last_asked) >= days[5]
    assert numbers_asked(night) == {"matomo": 2, "query": 2}


def test_gaps_of_a_full_table_asks_nothing(night: Night) -> None:
    asked = asking_for(final_days(night.world))
    assert night.run(*asked).status == 0
    night.sandbox.records.clear()
    done = night.run("--gaps", *asked)
    assert done.status == 0, done
    assert night.sandbox.requests() == []
    assert done.last_line == summary_line(20, 0, 0, 0)


def test_site_reads_the_named_sites_alone(night: Night) -> None:
    days = final_days(night.world)
    named = [word for site in (2, 11) for word in ("--site", seed.site_id(site))]
    done = night.run(*asking_for(days), *named)
    assert done.status == 0, done
    assert night.stored() == truth(night.world, [2, 11], days)
    assert {site for r in night.sandbox.requests() for site in r.sites} == {2, 11}
    assert done.last_line == summary_line(2, 2, 2, 6)


def test_source_reads_one_source_and_needs_no_settings_of_the_other(night: Night) -> None:
    days = final_days(night.world)
    full = truth(night.world, night.world.site_numbers, days)
    no_google = {"GOOGLE_CLIENT_ID": "", "GOOGLE_CLIENT_SECRET": ""}
    done = night.run(*asking_for(days), "--source", "matomo", **no_google)
    assert done.status == 0, done
    assert night.stored() == without_search(full, night.world.site_numbers)
    assert done.last_line == summary_line(20, 20, 0, 60)
    night.sandbox.records.clear()
    no_matomo = {"MATOMO_API_URL": "", "MATOMO_API_TOKEN": ""}
    done = night.run(*asking_for(days), "--source", "gsc", **no_matomo)
    assert done.status == 0, done
    assert night.stored() == full
    assert numbers_asked(night) == {"query": 20}


def test_a_dry_run_says_what_would_change_and_writes_nothing(night: Night) -> None:
    days = final_days(night.world)
    assert night.run(*asking_for(days)).status == 0
    night.sandbox.set_number("clicks", 5, days[0], 77_777)
    night.sandbox.set_number("impressions", 5, days[0], 99_999)
    execute(night.database_url, "delete from public.aggregator_runs")
    before = night.stored(), read_updated_at(night.database_url)
    done = night.run(*asking_for(days), "--dry-run")
    assert done.status == 0, done
    assert (night.stored(), read_updated_at(night.database_url)) == before
    assert night.runs() == []
    old = night.world.clicks(5, days[0])
    [line] = [line for line in done.out.splitlines() if line.startswith("would change ")]
    assert f"site-0005.example {days[0]}" in line
    assert f"{old} -> 77777" in line
    assert "dry run: 2 numbers would change, nothing was written" in done.out
    assert done.last_line == summary_line(20, 20, 20, 0)


def test_a_day_that_google_has_not_published_is_no_failure(start_night: StartNight) -> None:
    night = start_night(World(sites=12, accounts=2, first_incomplete_days_ago=6, newest_days_ago=5))
    days = days_between(*(night.world.today() - timedelta(days=ago) for ago in (8, 3)))
    done = night.run(*asking_for(days))
    assert done.status == 0, done
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
    assert {numbers[1] for (_, day), numbers in night.stored().items() if day == days[-1]} == {None}
    assert f"Search Console has not published {days[-1]} yet (12 sites)" in done.out


def test_a_site_that_no_source_knows_gets_its_empty_row(night: Night) -> None:
    days = final_days(night.world)
    execute(
        night.database_url, "update public.sites set matomo_site_id = null where matomo_site_id = 6"
    )
    execute(
        night.database_url,
        "update public.sites set gsc_account_id = null where id = any(%s::uuid[])",
        [seed.site_id(6), seed.site_id(8)],
    )
    done = night.run(*asking_for(days))
    full = truth(night.world, night.world.site_numbers, days)
    assert done.status == 0, done
    assert night.stored() == without_visits(without_search(full, [6, 8]), [6])
    assert done.last_line == summary_line(20, 19, 18, 60)


def test_only_deployed_sites_are_read(night: Night) -> None:
    days = final_days(night.world)
    execute(
        night.database_url,
        "update public.sites set status_deployment = 'archived' where matomo_site_id > 15",
    )
    done = night.run(*asking_for(days))
    assert done.status == 0, done
    assert night.stored() == truth(night.world, range(1, 16), days)


def test_sites_that_cannot_be_read_are_named_and_cost_no_other(start_night: StartNight) -> None:
    world = World(
        sites=25, accounts=5, matomo_hidden=frozenset({3}), unverified=frozenset({4}),
        parent_only=frozenset({5}), no_property=frozenset({6}),
    )  # fmt: skip
    night = start_night(world)
    days = final_days(world)
    done = night.run(*asking_for(days))
    full = truth(world, world.site_numbers, days)
    assert done.status == 1, done
    assert night.stored() == without_visits(without_search(full, [4, 5, 6]), [3])
    assert done.last_line == summary_line(25, 24, 22, 75)
    for site in (3, 4, 5, 6):
        assert world.domain(site) in done.out
    assert "INCOMPLETE: 4 " in done.out
    [(status, _, failures)] = night.runs()
    assert status == "incomplete"
    assert {site for failure in failures for site in failure["sites"]} == {  # type: ignore[attr-defined]
        seed.site_id(site) for site in (3, 4, 5, 6)
    }


def test_two_runs_at_the_same_time_are_harmless(night: Night) -> None:
    days = final_days(night.world, 20)
    night.sandbox.latency_seconds = 0.1
    with night.started(*asking_for(days)) as one, night.started(*asking_for(days)) as other:
        outs = [process.communicate(timeout=60) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outs
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
    assert [status for status, _, _ in night.runs()] == ["complete", "complete"]


def test_a_provisional_number_is_read_again_by_the_next_nights(night: Night) -> None:
    days = days_between(*(night.world.today() - timedelta(days=ago) for ago in (3, 2)))
    night.sandbox.set_number("impressions", 2, days[1], 500)
    night.sandbox.set_number("clicks", 2, days[1], 5)
    assert night.run(*asking_for(days)).status == 0
    assert night.stored()[2, days[1]][1:] == (5, 500)
    night.sandbox.set_number("impressions", 2, days[1], 700)
    night.sandbox.faults.add(Fault("matomo", "http_503_html"))
    done = night.run(*asking_for(days))
    assert done.status == 1, done
    assert night.stored()[2, days[1]] == (night.world.visits(2, days[1]), 5, 700)
    assert done.last_line == summary_line(20, 0, 20, 40)
