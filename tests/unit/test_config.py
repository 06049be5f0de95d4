"""Each setting is read from its variable, from its alias and from `.env`, or has its default."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config import RESERVED, Settings, load_settings
from tests.unit.helpers import fernet_key

KEY, OLDER_KEY = fernet_key(1), fernet_key(2)

DEFAULTS: dict[str, Any] = {
    "supabase_url": None,
    "supabase_service_key": None,
    "database_url": None,
    "matomo_api_url": None,
    "matomo_api_token": None,
    "google_client_id": None,
    "google_client_secret": None,
    "encryption_keys": (),
    "target_days_ago": 2,
    "lookback_days": 4,
    "timezone": ZoneInfo("UTC"),
    "concurrency": 16,
    "gsc_requests_per_minute": 1200,
    "gsc_search_type": "web",
    "http_timeout_seconds": 60.0,
    "http_attempts": 4,
    "run_deadline_seconds": 3600.0,
    "matomo_sites_per_request": 50,
    "visit_log_sites": (),
    "destination_table": "matomo",
    "partitioned": False,
    "start_date": None,
    "force_start_date": False,
    "initial_offset_days": 3,
    "results_per_page": 500,
    "google_api_endpoint": None,
    "google_token_uri": "https://oauth2.googleapis.com/token",
    "graph_api_version": "v25.0",
    "graph_api_url": "https://graph.facebook.com",
    "instagram_api_url": "https://graph.instagram.com",
    "youtube_api_endpoint": None,
    "linkedin_version": "202603",
    "linkedin_api_url": "https://api.linkedin.com",
    "linkedin_token_uri": "https://www.linkedin.com/oauth/v2/accessToken",
    "linkedin_client_id": None,
    "linkedin_client_secret": None,
    "healthcheck_url": None,
    "alert_webhook_url": None,
    "libpq_secrets": (),
}

REQUIRED = "postgres://h/d?sslmode=require"

# variable, text, setting, value
READ: list[tuple[str, str, str, Any]] = [
    ("SUPABASE_SERVICE_KEY", "sb_secret_x", "supabase_service_key", "sb_secret_x"),
    ("SUPABASE_SERVICE_ROLE_KEY", "eyJ.x", "supabase_service_key", "eyJ.x"),
    ("DATABASE_URL", "postgresql://u:p@h:5432/d", "database_url", "postgresql://u:p@h:5432/d"),
    ("DATABASE_URL", "postgres://h/d", "database_url", "postgres://h/d"),
    ("DATABASE_URL", "embedded:.demo/pg", "database_url", "embedded:.demo/pg"),
    ("DATABASE_URL", "postgresql://u@h:1,i:2/d", "database_url", "postgresql://u@h:1,i:2/d"),
    ("DATABASE_URL", "postgres://h/d?user=a@b", "database_url", "postgres://h/d?user=a@b"),
    ("PGDATABASE", "postgresql://h/d", "database_url", "postgresql://h/d"),
    ("PGDATABASE", "just_a_name", "database_url", None),
    ("MATOMO_API_URL", "https://m.example", "matomo_api_url", "https://m.example"),
    ("MATOMO_API_URL", "https://m.example/", "matomo_api_url", "https://m.example"),
    ("MATOMO_API_URL", "https://m.example/p/index.php", "matomo_api_url", "https://m.example/p"),
    ("MATOMO_URL", "http://m.example:8080/", "matomo_api_url", "http://m.example:8080"),
    ("MATOMO_API_TOKEN", "anonymous", "matomo_api_token", "anonymous"),
    ("MATOMO_KEY", "t", "matomo_api_token", "t"),
    ("GOOGLE_CLIENT_ID", "1.apps.example", "google_client_id", "1.apps.example"),
    ("GOOGLE_CLIENT_SECRET", "GOCSPX-x", "google_client_secret", "GOCSPX-x"),
    ("ENCRYPTION_KEY", KEY, "encryption_keys", (KEY,)),
    ("ENCRYPTION_KEY", f"{KEY} , {OLDER_KEY},", "encryption_keys", (KEY, OLDER_KEY)),
    ("TARGET_DAYS_AGO", "0", "target_days_ago", 0),
    ("LOOKBACK_DAYS", "1", "lookback_days", 1),
    ("TIMEZONE", "Europe/Berlin", "timezone", ZoneInfo("Europe/Berlin")),
    ("CONCURRENCY", "32", "concurrency", 32),
    ("GSC_REQUESTS_PER_MINUTE", "60", "gsc_requests_per_minute", 60),
    ("GSC_SEARCH_TYPE", "googleNews", "gsc_search_type", "googleNews"),
    ("HTTP_TIMEOUT", "2.5", "http_timeout_seconds", 2.5),
    ("HTTP_ATTEMPTS", "1", "http_attempts", 1),
    ("RUN_DEADLINE", "900", "run_deadline_seconds", 900.0),
    ("MATOMO_SITES_PER_REQUEST", "10", "matomo_sites_per_request", 10),
    ("MATOMO_SITE", "42", "visit_log_sites", (42,)),
    ("MATOMO_SITE", "3, 1,3,", "visit_log_sites", (3, 1)),
    ("MATOMO_SITE", "all", "visit_log_sites", ()),
    ("DESTINATION_TABLE", 'My "visits"', "destination_table", 'My "visits"'),
    ("DESTINATION_TABLE", "stats.matomo", "destination_table", "stats.matomo"),
    ("PARTITIONED", "true", "partitioned", True),
    ("STARTDATE", "2023-01-01", "start_date", date(2023, 1, 1)),
    ("FORCE_STARTDATE", "true", "force_start_date", True),
    ("FORCE_STARTDATE", "1", "force_start_date", False),
    ("INITIAL_OFFSET", "30", "initial_offset_days", 30),
    ("RESULTPERPAGE", "100", "results_per_page", 100),
    ("PGDATABASE", "postgres://h/d?sslmode=no-verify", "database_url", REQUIRED),
    ("DATABASE_URL", "postgres://h/d?ssl=true", "database_url", REQUIRED),
    (
        "DATABASE_URL",
        "postgres://h/d?ssl=false&application_name=a%20b&uselibpqcompat=true",
        "database_url",
        "postgres://h/d?sslmode=disable&application_name=a%20b",
    ),
    ("DATABASE_URL", "postgres://h/d?uselibpqcompat=true", "database_url", "postgres://h/d"),
    (
        "HEALTHCHECK_URL",
        "https://h.example/a/b?c=d",
        "healthcheck_url",
        "https://h.example/a/b?c=d",
    ),
    ("ALERT_WEBHOOK_URL", "https://h.example/T/B/", "alert_webhook_url", "https://h.example/T/B/"),
    ("GOOGLE_API_ENDPOINT", "http://127.0.0.1:9/", "google_api_endpoint", "http://127.0.0.1:9"),
    (
        "GOOGLE_TOKEN_URI",
        "http://127.0.0.1:9/token",
        "google_token_uri",
        "http://127.0.0.1:9/token",
    ),
    ("GRAPH_API_VERSION", "v26.0", "graph_api_version", "v26.0"),
    ("GRAPH_API_URL", "http://127.0.0.1:9/graph/", "graph_api_url", "http://127.0.0.1:9/graph"),
    ("INSTAGRAM_API_URL", "http://127.0.0.1:9", "instagram_api_url", "http://127.0.0.1:9"),
    ("YOUTUBE_API_ENDPOINT", "http://127.0.0.1:9/", "youtube_api_endpoint", "http://127.0.0.1:9"),
    ("LINKEDIN_VERSION", "202611", "linkedin_version", "202611"),
    ("LINKEDIN_API_URL", "http://127.0.0.1:9", "linkedin_api_url", "http://127.0.0.1:9"),
    ("LINKEDIN_API_URL", "http://127.0.0.1:9/rest/", "linkedin_api_url", "http://127.0.0.1:9"),
    ("LINKEDIN_TOKEN_URI", "http://127.0.0.1:9/t", "linkedin_token_uri", "http://127.0.0.1:9/t"),
    ("LINKEDIN_CLIENT_ID", "77example", "linkedin_client_id", "77example"),
    ("LINKEDIN_CLIENT_SECRET", " example ", "linkedin_client_secret", "example"),
]


def test_every_setting_has_the_default_of_the_contract() -> None:
    settings = load_settings({}, None)
    assert {f.name: getattr(settings, f.name) for f in fields(Settings)} == DEFAULTS


@pytest.mark.parametrize(("variable", "text", "setting", "value"), READ)
def test_a_variable_sets_its_setting_and_no_other(
    variable: str, text: str, setting: str, value: object
) -> None:
    settings = load_settings({variable: text}, None)
    assert {f.name: getattr(settings, f.name) for f in fields(Settings)} == DEFAULTS | {
        setting: value
    }


@pytest.mark.parametrize("path", ["", "/", "/rest/v1", "/rest/v1/"])
def test_supabase_is_found_under_each_spelling_of_its_url(path: str) -> None:
    environ = {"SUPABASE_URL": f"https://p.supabase.co{path}", "SUPABASE_SERVICE_KEY": "k"}
    assert load_settings(environ, None).supabase_url == "https://p.supabase.co"


@pytest.mark.parametrize(
    ("variable", "alias", "setting"),
    [
        ("SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY", "supabase_service_key"),
        ("MATOMO_API_TOKEN", "MATOMO_KEY", "matomo_api_token"),
    ],
)
def test_a_variable_wins_over_its_alias(variable: str, alias: str, setting: str) -> None:
    settings = load_settings({alias: "from-alias", variable: "from-variable"}, None)
    assert getattr(settings, setting) == "from-variable"


def test_database_url_wins_over_pgdatabase() -> None:
    environ = {"PGDATABASE": "postgresql://other/d", "DATABASE_URL": "postgresql://this/d"}
    assert load_settings(environ, None).database_url == "postgresql://this/d"


def test_the_process_environment_wins_over_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("LOOKBACK_DAYS=7\nTARGET_DAYS_AGO=3\n")
    settings = load_settings({"LOOKBACK_DAYS": "9"}, dotenv)
    assert (settings.lookback_days, settings.target_days_ago) == (9, 3)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_environment_variable_leaves_the_value_of_the_file(
    tmp_path: Path, empty: str
) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("LOOKBACK_DAYS=7\n")
    assert load_settings({"LOOKBACK_DAYS": empty}, dotenv).lookback_days == 7


@pytest.mark.parametrize("text", ["LOOKBACK_DAYS=\n", "LOOKBACK_DAYS=' '\n", "LOOKBACK_DAYS\n"])
def test_an_empty_value_in_the_file_is_not_set(tmp_path: Path, text: str) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(text)
    assert load_settings({}, dotenv).lookback_days == 4


def test_an_empty_variable_does_not_hide_its_alias() -> None:
    environ = {"MATOMO_API_TOKEN": "", "MATOMO_KEY": "from-alias"}
    assert load_settings(environ, None).matomo_api_token == "from-alias"


def test_a_value_of_the_file_is_taken_as_it_stands(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "MATOMO_API_TOKEN='to${HOME}ken#1'\nexport MATOMO_URL=\"https://m.example\"\n"
    )
    settings = load_settings({}, dotenv)
    assert settings.matomo_api_token == "to${HOME}ken#1"
    assert settings.matomo_api_url == "https://m.example"


def test_without_a_file_the_environment_alone_counts(tmp_path: Path) -> None:
    assert load_settings({"LOOKBACK_DAYS": "5"}, tmp_path / ".env").lookback_days == 5


def test_names_of_jobs_to_come_are_read_by_nothing() -> None:
    assert load_settings(dict.fromkeys(RESERVED, "nonsense"), None) == load_settings({}, None)


@pytest.mark.parametrize(
    ("variable", "address", "named"),
    [
        ("MATOMO_API_URL", "http://m.example", ["MATOMO_API_URL"]),
        ("GOOGLE_API_ENDPOINT", "http://10.0.0.1:80", ["GOOGLE_API_ENDPOINT"]),
        ("GOOGLE_TOKEN_URI", "http://token.example/token", ["GOOGLE_TOKEN_URI"]),
        ("GRAPH_API_URL", "http://graph.example", ["GRAPH_API_URL"]),
        ("INSTAGRAM_API_URL", "http://graph.example", ["INSTAGRAM_API_URL"]),
        ("YOUTUBE_API_ENDPOINT", "http://youtube.example", ["YOUTUBE_API_ENDPOINT"]),
        ("LINKEDIN_API_URL", "http://linkedin.example", ["LINKEDIN_API_URL"]),
        ("LINKEDIN_TOKEN_URI", "http://linkedin.example/t", ["LINKEDIN_TOKEN_URI"]),
        ("MATOMO_API_URL", "https://m.example", []),
        ("MATOMO_API_URL", "http://localhost:8080", []),
        ("MATOMO_API_URL", "http://127.0.0.1", []),
        ("MATOMO_API_URL", "http://[::1]:8080", []),
        ("MATOMO_API_URL", "http://localhost.example", ["MATOMO_API_URL"]),
    ],
)
def test_an_address_that_would_carry_a_secret_in_clear_text_is_named(
    variable: str, address: str, named: list[str]
) -> None:
    assert load_settings({variable: address}, None).unencrypted() == named


@pytest.mark.parametrize("variable", ["HEALTHCHECK_URL", "ALERT_WEBHOOK_URL"])
def test_of_an_alert_target_everything_behind_the_host_is_secret(variable: str) -> None:
    address = "https://h.example/services/sentinel?x=1"
    secrets = load_settings({variable: address}, None).secrets()
    assert secrets == [address, "services/sentinel?x=1"]
    assert load_settings({variable: "https://h.example/hook"}, None).secrets() == [
        "https://h.example/hook"
    ]
