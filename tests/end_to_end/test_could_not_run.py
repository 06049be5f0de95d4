"""Exit status 2: nothing was asked of anybody, and each line says what mends it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.end_to_end.night import Finished, Night
from tests.integration.tables import execute, rows
from tests.services.postgres import PostgresServer


def check_could_not_run(night: Night, done: Finished, *words: str) -> None:
    assert done.status == 2, done
    assert "Could not run:" in done.err
    assert "  -> " in done.err
    for word in words:
        assert word in done.err, done
    assert night.sandbox.requests() == []


def over_tcp(postgres: PostgresServer, night: Night) -> str:
    """The night's database with a password in its address."""
    return postgres.url(urlsplit(night.database_url).path.removeprefix("/"), tcp=True)


def test_a_database_over_tcp_with_its_password_is_used(
    postgres: PostgresServer, night: Night
) -> None:
    done = night.run(DATABASE_URL=over_tcp(postgres, night))
    assert done.status == 0, done
    assert len(night.stored()) == 80


def test_a_wrong_password_is_said_with_what_mends_it(
    postgres: PostgresServer, night: Night
) -> None:
    address = urlsplit(over_tcp(postgres, night))
    wrong = address._replace(netloc=f"postgres:sentinel-password@127.0.0.1:{address.port}").geturl()
    done = night.run(DATABASE_URL=wrong)
    check_could_not_run(night, done, "password", "DATABASE_URL")
    assert "sentinel-password" not in done.out + done.err
    assert done.seconds < 5  # it is not tried again


def test_a_database_that_is_down_is_said_with_what_mends_it(night: Night) -> None:
    done = night.run(DATABASE_URL="postgresql://me:secret-word@127.0.0.1:1/db", HTTP_ATTEMPTS="1")
    check_could_not_run(night, done, "127.0.0.1", "see whether the database is up")
    assert "secret-word" not in done.out + done.err


def test_a_database_that_does_not_exist_is_said_with_what_mends_it(night: Night) -> None:
    done = night.run(DATABASE_URL=night.database_url.replace("/test_", "/no_such_", 1))
    check_could_not_run(night, done, "does not exist", "DATABASE_URL")


def test_a_database_without_the_tables_names_the_migration_command(
    night: Night, database_url: str
) -> None:
    done = night.run(DATABASE_URL=database_url)
    check_could_not_run(night, done, "sites", "aggregator.py migrate")


def test_no_deployed_site_is_an_error(night: Night) -> None:
    execute(night.database_url, "update public.sites set status_deployment = 'planned'")
    check_could_not_run(night, night.run(), "no sites to work on", "status_deployment")
    [(status,)] = rows(night.database_url, "select status from public.aggregator_runs")
    assert status == "failed"


def test_a_site_that_is_not_there_is_named(night: Night) -> None:
    done = night.run("--site", "00000000-0000-0000-0000-00000000dead")
    check_could_not_run(night, done, "00000000-0000-0000-0000-00000000dead")


def test_a_day_to_come_is_refused(night: Night) -> None:
    check_could_not_run(night, night.run("--date", "2999-01-01"), "2999-01-01 is in the future")


def test_all_missing_and_wrong_settings_are_named_at_once(night: Night) -> None:
    done = night.run(
        DATABASE_URL="",
        MATOMO_API_TOKEN="",
        MATOMO_API_URL="not-a-url",
        GOOGLE_CLIENT_ID="",
        TIMEZONE="Mars/Olympus",
        LOOKBACK_DAYS="-1",
        HTTP_TIMEOUT="soon",
        GSC_SEARCH_TYPE="smell",
    )
    names = (
        "SUPABASE_URL", "DATABASE_URL", "MATOMO_API_TOKEN", "MATOMO_API_URL", "GOOGLE_CLIENT_ID",
        "TIMEZONE", "LOOKBACK_DAYS", "HTTP_TIMEOUT", "GSC_SEARCH_TYPE", ".env.example",
    )  # fmt: skip
    check_could_not_run(night, done, *names)


def test_migrate_without_a_postgres_connection_says_so(night: Night) -> None:
    done = night.run("migrate", DATABASE_URL="", SUPABASE_URL="https://x.supabase.co")
    check_could_not_run(night, done, "DATABASE_URL is missing", "session pooler")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--date", "yesterday"],
        ["--date", "2026-02-30"],
        ["--date", "20261119"],
        ["--date", "2026-11-01", "--from", "2026-11-01", "--to", "2026-11-02"],
        ["--from", "2026-11-01"],
        ["--to", "2026-11-01"],
        ["--from", "2026-11-02", "--to", "2026-11-01"],
        ["--source", "bing"],
        ["--colour"],
        ["nightly"],
        ["-v", "-q"],
        ["migrate", "--gaps"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_exit_2_with_the_usage(arguments: list[str], night: Night) -> None:
    done = night.run(*arguments)
    assert done.status == 2, done
    assert done.err.startswith("usage: aggregator.py")
    assert night.sandbox.requests() == []
