"""The nightly run over Supabase's REST API: the real PostgREST with its cap of 1,000 rows."""

from __future__ import annotations

import pytest

from sandbox import World
from tests.end_to_end.conftest import StartNight
from tests.end_to_end.night import Night, asking_for, final_days, summary_line, truth
from tests.integration.tables import read_updated_at
from tests.services.postgrest import PostgrestServer


def over_rest(postgrest: PostgrestServer, key: str | None = None) -> dict[str, str]:
    """Variables of a user with a Supabase project, and no DATABASE_URL."""
    key = postgrest.service_key if key is None else key
    return {"SUPABASE_URL": postgrest.url, "SUPABASE_SERVICE_KEY": key, "DATABASE_URL": ""}


def test_a_night_over_rest_is_complete_and_a_second_changes_nothing(night: Night) -> None:
    days = final_days(night.world)
    with PostgrestServer(night.database_url) as postgrest:
        done = night.run(*asking_for(days), **over_rest(postgrest))
        assert done.status == 0, done
        updated_at = read_updated_at(night.database_url)
        again = night.run(*asking_for(days), **over_rest(postgrest, postgrest.secret_key))
    assert again.status == 0, again
    assert again.last_line == summary_line(20, 20, 20, 60)
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
    assert read_updated_at(night.database_url) == updated_at
    assert [status for status, _, _ in night.runs()] == ["complete", "complete"]


def test_supabase_is_used_where_both_databases_are_set(night: Night) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        wrong = "postgresql://me:secret-word@127.0.0.1:1/db"
        done = night.run(**over_rest(postgrest) | {"DATABASE_URL": wrong})
        assert postgrest.proxy.requests
    assert done.status == 0, done


def test_2500_sites_are_all_read_and_stored(start_night: StartNight) -> None:
    world = World(sites=2500, accounts=50)
    night = start_night(world)
    [day] = final_days(world, 1)
    with PostgrestServer(night.database_url, max_rows=1000) as postgrest:
        done = night.run(
            "--date", str(day), **over_rest(postgrest), GSC_REQUESTS_PER_MINUTE="1000000"
        )
    assert done.status == 0, done
    assert done.last_line == summary_line(2500, 2500, 2500, 2500)
    assert night.stored() == truth(world, world.site_numbers, [day])


@pytest.mark.parametrize("key", ["anon", "publishable", "mistyped"])
def test_a_key_that_is_not_the_service_key_is_named_as_the_cause(key: str, night: Night) -> None:
    with PostgrestServer(night.database_url) as postgrest:
        keys = {"anon": postgrest.anon_key, "publishable": postgrest.publishable_key}
        done = night.run(**over_rest(postgrest, keys.get(key, "sb_secret_mistyped")))
    assert done.status == 2, done
    assert "SUPABASE_SERVICE_KEY" in done.err
    assert "sb_secret_mistyped" not in done.out + done.err
    assert night.sandbox.requests() == []


def test_a_project_that_does_not_answer_is_said_with_what_mends_it(night: Night) -> None:
    project = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SERVICE_KEY": "sb_secret_word"}
    done = night.run(**project, DATABASE_URL="", HTTP_ATTEMPTS="1")
    assert done.status == 2, done
    assert "127.0.0.1:1" in done.err
    assert "see whether the database is up" in done.err


def test_two_runs_over_rest_at_the_same_time_are_harmless(night: Night) -> None:
    days = final_days(night.world, 20)
    night.sandbox.latency_seconds = 0.1
    with PostgrestServer(night.database_url) as postgrest:
        variables = over_rest(postgrest)
        with (
            night.started(*asking_for(days), **variables) as one,
            night.started(*asking_for(days), **variables) as other,
        ):
            outs = [process.communicate(timeout=60) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outs
    assert night.stored() == truth(night.world, night.world.site_numbers, days)
