"""Everything that is wrong with the settings is said at once, and never with a secret's value."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

import pytest

from config import InvalidSettings, Settings, load_settings
from tests.unit.helpers import fernet_key

SECRETS = {
    "SUPABASE_SERVICE_KEY": "sentinel-supabase",
    "MATOMO_API_TOKEN": "sentinel-matomo",
    "GOOGLE_CLIENT_SECRET": "sentinel-google",
    "LINKEDIN_CLIENT_SECRET": "sentinel-linkedin",
    "ENCRYPTION_KEY": fernet_key(1),
    "DATABASE_URL": "postgresql://u:sentinel-database@db.example/d",
}


def problems_of(environ: Mapping[str, str], needs: Collection[str] = ()) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environ, None, needs)
    return caught.value.problems


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *((name, "https//m.example") for name in ("MATOMO_API_URL", "MATOMO_URL")),
        ("MATOMO_API_URL", "ftp://m.example"),
        ("MATOMO_API_URL", "https://"),
        ("MATOMO_API_URL", "https://m.example:99999"),
        ("MATOMO_API_URL", "https://[m.example"),
        ("MATOMO_API_URL", "https://m.example/?token_auth=sentinel"),
        ("GOOGLE_API_ENDPOINT", "localhost"),
        ("GOOGLE_TOKEN_URI", "https://u:sentinel@token.example"),
        *(("TARGET_DAYS_AGO", text) for text in ("-1", "1.5", "two", "3651", "\u0663")),
        *(("LOOKBACK_DAYS", text) for text in ("0", "481")),
        *(("CONCURRENCY", text) for text in ("0", "257", "1e1")),
        ("GSC_REQUESTS_PER_MINUTE", "0"),
        ("HTTP_ATTEMPTS", "0"),
        ("MATOMO_SITES_PER_REQUEST", "1001"),
        *(("HTTP_TIMEOUT", text) for text in ("0", "0.0", "-1", "nan", "inf", "1m")),
        ("RUN_DEADLINE", "0"),
        *(("MATOMO_SITE", text) for text in ("0", "-1", "1;2", "1,x", ",", "\u0663")),
        *(("DESTINATION_TABLE", text) for text in ("a\x00b", "a\nb", "ä" * 32)),
        *(("PARTITIONED", text) for text in ("TRUE", "1", "yes")),
        *(("STARTDATE", text) for text in ("20230101", "2023-02-30", "yesterday", "01/02/2023")),
        *(("INITIAL_OFFSET", text) for text in ("-1", "x")),
        *(("RESULTPERPAGE", text) for text in ("0", "all")),
        *(("TIMEZONE", text) for text in ("Berlin", "../../etc/passwd", "Europe", "UTC+1")),
        *(("GSC_SEARCH_TYPE", text) for text in ("WEB", "discover,web")),
        *(("ENCRYPTION_KEY", text) for text in ("sentinel", "é" * 44, fernet_key(1)[:-4])),
        *(
            ("DATABASE_URL", text)
            for text in ("mysql://h/d", "embedded:", "host=h password=sentinel")
        ),
        ("PGDATABASE", "mysql://h/d"),
        *(("GRAPH_API_VERSION", text) for text in ("25.0", "v25", "v0.0", "v25.0/me", "latest")),
        *(("LINKEDIN_VERSION", text) for text in ("2026-03", "202613", "202600", "20260301", "v2")),
        ("GRAPH_API_URL", "graph.facebook.com"),
        ("INSTAGRAM_API_URL", "https://u:sentinel@graph.example"),
        ("YOUTUBE_API_ENDPOINT", "youtube"),
        ("LINKEDIN_API_URL", "https://linkedin.example/?token=sentinel"),
        ("LINKEDIN_TOKEN_URI", "https//linkedin.example"),
    ],
)
def test_an_invalid_value_is_a_problem_that_names_its_variable(variable: str, text: str) -> None:
    [problem] = problems_of({variable: text})
    assert problem.startswith(f"{variable} ")
    assert "sentinel" not in problem


@pytest.mark.parametrize(
    "password", ["p@ss", "p#ss", "p/ss", "p?ss", "@", "p@s#s", "p/s@s", "p[ss", "12/34@", "#"]
)
@pytest.mark.parametrize("variable", ["DATABASE_URL", "PGDATABASE"])
def test_a_raw_special_character_in_the_database_password_is_refused_unprinted(
    variable: str, password: str
) -> None:
    [problem] = problems_of({variable: f"postgresql://user:{password}@db.example:5432/d"})
    assert problem.startswith(f"{variable} ")
    assert "%40" in problem or "%23" in problem
    assert "db.example" not in problem
    assert password in ("@", "#") or password not in problem


@pytest.mark.parametrize("encoded", ["p%40ss", "p%23ss", "p%2Fss", "p%3Fss", "pa:ss", "pass"])
def test_an_encoded_password_is_accepted_and_is_secret_in_both_spellings(encoded: str) -> None:
    url = f"postgresql://user:{encoded}@db.example:5432/d"
    settings = load_settings({"DATABASE_URL": url}, None)
    assert settings.database_url == url
    assert {encoded, unquote(encoded)} <= set(settings.secrets())


@pytest.mark.parametrize("secret", sorted(set(SECRETS) - {"DATABASE_URL", "ENCRYPTION_KEY"}))
@pytest.mark.parametrize("white_space", ["\n", "\r\n", " ", "\t", "\u00a0"])
def test_a_secret_with_white_space_inside_is_refused_unprinted(
    secret: str, white_space: str
) -> None:
    [problem] = problems_of({secret: f"front{white_space}back"})
    assert problem.startswith(f"{secret} ")
    assert "front" not in problem
    assert "back" not in problem


def test_white_space_around_a_secret_is_dropped(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text('MATOMO_API_TOKEN="sentinel\n"\n')
    settings = load_settings({"GOOGLE_CLIENT_SECRET": " other\n"}, dotenv)
    assert (settings.matomo_api_token, settings.google_client_secret) == ("sentinel", "other")


def test_all_problems_are_named_at_once() -> None:
    environ = {"SUPABASE_URL": "https://p.supabase.co", "CONCURRENCY": "0", "TIMEZONE": "Mars"}
    problems = problems_of(environ, ("database", "matomo", "gsc"))
    assert [problem.split()[0] for problem in problems] == [
        "SUPABASE_SERVICE_KEY",
        "TIMEZONE",
        "CONCURRENCY",
        "MATOMO_API_URL",
        "MATOMO_API_TOKEN",
        "GOOGLE_CLIENT_ID",
        "GOOGLE_CLIENT_SECRET",
    ]


@pytest.mark.parametrize(
    ("needs", "named"),
    [
        ((), []),
        (("database",), ["SUPABASE_URL", "DATABASE_URL"]),
        (("postgres",), ["DATABASE_URL"]),
        (("matomo",), ["MATOMO_API_URL", "MATOMO_API_TOKEN", "--source gsc"]),
        (("gsc",), ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "--source matomo"]),
    ],
)
def test_a_command_names_what_it_cannot_do_without(
    needs: tuple[str, ...], named: list[str]
) -> None:
    said = " ".join(problems_of({"CONCURRENCY": "0"}, needs))
    assert all(name in said for name in ["CONCURRENCY", *named])
    assert ("MATOMO" in said, "GOOGLE" in said) == ("matomo" in needs, "gsc" in needs)


@pytest.mark.parametrize(
    ("environ", "need"),
    [
        ({"DATABASE_URL": "postgresql://h/d"}, "database"),
        ({"SUPABASE_URL": "https://p.supabase.co", "SUPABASE_SERVICE_KEY": "k"}, "database"),
        ({"DATABASE_URL": "embedded:x"}, "postgres"),
        ({"MATOMO_URL": "https://m.example", "MATOMO_KEY": "k"}, "matomo"),
        ({"GOOGLE_CLIENT_ID": "i", "GOOGLE_CLIENT_SECRET": "s"}, "gsc"),
    ],
)
def test_a_need_that_is_met_is_no_problem(environ: dict[str, str], need: str) -> None:
    assert isinstance(load_settings(environ, None, [need]), Settings)


@pytest.mark.parametrize(
    ("variable", "need"),
    [("MATOMO_API_URL", "matomo"), ("DATABASE_URL", "database"), ("SUPABASE_URL", "database")],
)
def test_an_invalid_value_is_not_called_missing_too(variable: str, need: str) -> None:
    environ = {variable: "nonsense", "MATOMO_API_TOKEN": "t", "SUPABASE_SERVICE_KEY": "k"}
    [problem] = problems_of(environ, [need])
    assert "missing" not in problem


def test_a_wrong_supabase_url_does_not_hide_that_postgres_is_missing() -> None:
    problems = problems_of({"SUPABASE_URL": "nonsense"}, ["postgres"])
    assert [problem.split()[0] for problem in problems] == ["SUPABASE_URL", "DATABASE_URL"]


def test_no_secret_is_in_the_repr_and_all_are_listed_to_be_redacted() -> None:
    settings = load_settings(SECRETS, None)
    hidden = [*SECRETS.values(), "sentinel-database"]
    assert not [secret for secret in hidden if secret in repr(settings)]
    assert {*settings.secrets()} == {*SECRETS.values(), "sentinel-database"} - {
        SECRETS["DATABASE_URL"]
    }


def test_a_password_in_the_query_of_a_database_url_is_secret() -> None:
    url = "postgresql://db.example/d?user=u&password=sentinel-database"
    assert "sentinel-database" in load_settings({"DATABASE_URL": url}, None).secrets()


def test_a_file_that_is_no_text_is_a_problem_and_no_traceback(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"MATOMO_API_TOKEN=\xff\xfe\x00sentinel\n")
    with pytest.raises(InvalidSettings) as caught:
        load_settings({}, dotenv)
    assert str(dotenv) in str(caught.value)
    assert "sentinel" not in str(caught.value)
