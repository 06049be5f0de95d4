"""Environment and .env -> one frozen Settings. The only file that knows a variable's name."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

from config_values import (
    parse_alert_url,
    parse_database_url,
    parse_day,
    parse_fernet_keys,
    parse_graph_version,
    parse_linkedin_url,
    parse_linkedin_version,
    parse_matomo_sites,
    parse_matomo_url,
    parse_search_type,
    parse_secret,
    parse_supabase_url,
    parse_switch,
    parse_table_name,
    parse_timezone,
    parse_url,
)

HOME = Path(__file__).resolve().parent
"""Where the program lives: `.env` and relative paths are found here, whatever cron's cwd is."""

RESERVED = (
    "INTERNAL_CRON_SECRET",
    "DASHBOARD_PASSWORD",
    "DAILY_CRON",
    "SOCIAL_CRON",
    "VISITS_CRON",
    "HOURLY_CRON",
    "DASK_SCHEDULER",
)
"""Names promised to jobs that are not built yet: documented in .env.example, read by nothing."""

PG_NAME = re.compile("PG[A-Z]+")
"""libpq reads these itself."""

SHORTEST_SECRET_PATH = 12
"""A shorter path of an alert target (`/hook`) would blank ordinary words."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

MAKE_KEY = (
    ".venv/bin/python -c "
    "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)

T = TypeVar("T")


class InvalidSettings(Exception):
    """Settings are missing or wrong; `problems` names every one of them, never a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. None means "not set"; secrets stay out of repr()."""

    supabase_url: str | None = None
    supabase_service_key: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    matomo_api_url: str | None = None
    matomo_api_token: str | None = field(default=None, repr=False)
    google_client_id: str | None = None
    google_client_secret: str | None = field(default=None, repr=False)
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    target_days_ago: int = 2
    lookback_days: int = 4
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    concurrency: int = 16
    gsc_requests_per_minute: int = 1200
    gsc_search_type: str = "web"
    http_timeout_seconds: float = 60.0
    http_attempts: int = 4
    run_deadline_seconds: float = 3600.0
    matomo_sites_per_request: int = 50
    visit_log_sites: tuple[int, ...] = ()
    """idSites of the visit log; empty: all that the token may view."""
    destination_table: str = "matomo"
    partitioned: bool = False
    start_date: date | None = None
    force_start_date: bool = False
    initial_offset_days: int = 3
    results_per_page: int = 500
    google_api_endpoint: str | None = None
    google_token_uri: str = "https://oauth2.googleapis.com/token"
    graph_api_version: str = "v25.0"
    graph_api_url: str = "https://graph.facebook.com"
    instagram_api_url: str = "https://graph.instagram.com"
    youtube_api_endpoint: str | None = None
    linkedin_version: str = "202603"
    linkedin_api_url: str = "https://api.linkedin.com"
    linkedin_token_uri: str = "https://www.linkedin.com/oauth/v2/accessToken"
    linkedin_client_id: str | None = None
    linkedin_client_secret: str | None = field(default=None, repr=False)
    healthcheck_url: str | None = field(default=None, repr=False)
    alert_webhook_url: str | None = field(default=None, repr=False)
    libpq_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Passwords in libpq's own variables, which it may fall back to and print."""

    def secrets(self) -> list[str]:
        """Every value that must never be printed."""
        url = urlsplit(self.database_url or "")
        in_query = parse_qs(url.query)
        found = [self.supabase_service_key, self.matomo_api_token, self.google_client_secret]
        found += [self.linkedin_client_secret]
        found += [url.password, unquote(url.password or ""), *self.encryption_keys]
        found += self.libpq_secrets
        found += [*in_query.get("password", ()), *in_query.get("sslpassword", ())]
        for target in (self.healthcheck_url, self.alert_webhook_url):
            found += _secrets_of_address(target or "")
        return [value for value in found if value]

    def unencrypted(self) -> list[str]:
        """Variables whose address would carry a secret over the network in clear text."""
        addresses = {
            "SUPABASE_URL": self.supabase_url,
            "MATOMO_API_URL": self.matomo_api_url,
            "GOOGLE_API_ENDPOINT": self.google_api_endpoint,
            "GOOGLE_TOKEN_URI": self.google_token_uri,
            "GRAPH_API_URL": self.graph_api_url,
            "INSTAGRAM_API_URL": self.instagram_api_url,
            "YOUTUBE_API_ENDPOINT": self.youtube_api_endpoint,
            "LINKEDIN_API_URL": self.linkedin_api_url,
            "LINKEDIN_TOKEN_URI": self.linkedin_token_uri,
            "HEALTHCHECK_URL": self.healthcheck_url,
            "ALERT_WEBHOOK_URL": self.alert_webhook_url,
        }
        return [
            name
            for name, address in addresses.items()
            if urlsplit(address or "").scheme == "http"
            and urlsplit(address or "").hostname not in LOOPBACK
        ]


def load_settings(
    environ: Mapping[str, str], dotenv: Path | None, needs: Collection[str] = ()
) -> Settings:
    """Read all settings; `needs` names what the command cannot do without.

    Needs are "database" (Supabase or Postgres), "postgres" (a DATABASE_URL), "matomo", "gsc",
    "visit log" (Matomo alone), "encryption" (an ENCRYPTION_KEY).
    The process environment wins over the file, and an empty value counts as not set (contract.md).

    Raises:
        InvalidSettings: with all missing and invalid variables at once.
    """
    settings, problems = examine_settings(environ, dotenv, needs)
    if problems:
        raise InvalidSettings(problems)
    return settings


def examine_settings(
    environ: Mapping[str, str], dotenv: Path | None, needs: Collection[str] = ()
) -> tuple[Settings, list[str]]:
    """As `load_settings`, with the problems beside what can be used in spite of them.

    What is wrong or missing is None, or its default, in the settings.
    """
    try:
        reader = _Reader(_merge(environ, dotenv))
    except InvalidSettings as error:
        return Settings(), error.problems
    settings = reader.settings()
    problems = list(reader.invalid.values())
    for need in needs:
        problems += _missing(need, settings, reader.invalid)
    return settings, problems


def unknown_names(dotenv: Path) -> list[str]:
    """Names in the file that no command knows, as it is with a slip of the pen."""
    try:
        reader = _Reader(_merge({}, dotenv))
    except InvalidSettings:
        return []
    reader.settings()
    known = {*reader.asked, *RESERVED}
    return sorted(name for name in reader.values if name not in known and not PG_NAME.match(name))


def env_file_warning(dotenv: Path) -> str | None:
    """What to say where other users of this machine may get at the secrets in `.env`."""
    try:
        mode = dotenv.stat().st_mode & 0o777
    except OSError:  # there is none; or it cannot be read, which load_settings says
        return None
    if not mode & 0o077:
        return None
    name = shlex.quote(str(dotenv))
    return f"{dotenv} is open to other users (mode {mode:o}) and holds secrets: chmod 600 {name}"


def _merge(environ: Mapping[str, str], dotenv: Path | None) -> dict[str, str]:
    merged: dict[str, str] = {}
    if dotenv is not None and dotenv.is_file():
        from dotenv import dotenv_values

        try:
            # No interpolation: a token may hold "${".
            merged.update(
                (name, value)
                for name, value in dotenv_values(dotenv, interpolate=False).items()
                if value
            )
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings([f"{dotenv} cannot be read: {type(error).__name__}"]) from None
    merged.update((name, value) for name, value in environ.items() if value.strip())
    return {name: value.strip() for name, value in merged.items() if value.strip()}


def _missing(need: str, settings: Settings, invalid: Collection[str]) -> list[str]:
    """The variables that this need asks for and that are not set, one sentence each.

    Those that are set to something `invalid` are complained of already.
    """
    postgres_given = settings.database_url or {"DATABASE_URL", "PGDATABASE"} & set(invalid)
    database_given = postgres_given or settings.supabase_url or "SUPABASE_URL" in invalid
    if need == "database" and not database_given:
        return [
            "SUPABASE_URL and SUPABASE_SERVICE_KEY, or DATABASE_URL, are missing: which database?"
        ]
    if need == "postgres" and not postgres_given:
        return [
            "DATABASE_URL is missing: this command needs a Postgres connection (on Supabase: the "
            "session pooler's connection string: dashboard, Connect, Session pooler; with the "
            "database's password in place of [YOUR-PASSWORD])"
        ]
    if need == "encryption" and not settings.encryption_keys and "ENCRYPTION_KEY" not in invalid:
        return [
            "ENCRYPTION_KEY is missing: tokens are stored encrypted. If some are already, put back "
            f"the key they were encrypted with; else make one: {MAKE_KEY}"
        ]
    matomo = {
        "MATOMO_API_URL": settings.matomo_api_url,
        "MATOMO_API_TOKEN": settings.matomo_api_token,
    }
    wanted = {
        "matomo": matomo,
        "visit log": matomo,
        "gsc": {
            "GOOGLE_CLIENT_ID": settings.google_client_id,
            "GOOGLE_CLIENT_SECRET": settings.google_client_secret,
        },
    }.get(need, {})
    without = {"matomo": "gsc", "gsc": "matomo"}.get(need)
    instead = f" (or work without it: --source {without})" if without else ""
    return [
        f"{name} is missing{instead}"
        for name, value in wanted.items()
        if not value and name not in invalid
    ]


def _secrets_of_address(address: str) -> list[str]:
    """Whoever knows an alert target's address may write to it: all behind the host is secret."""
    path = re.split("[/?#]", address.partition("://")[2], maxsplit=1)[-1]
    return [address, path] if len(path) >= SHORTEST_SECRET_PATH else [address]


class _Reader:
    """Turns strings into values and collects what is wrong with them, by variable."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.asked: set[str] = set()
        self.invalid: dict[str, str] = {}

    def settings(self) -> Settings:
        default = Settings()
        supabase_url = self.read("SUPABASE_URL", parse_supabase_url)
        key = self.read("SUPABASE_SERVICE_KEY", parse_secret, "SUPABASE_SERVICE_ROLE_KEY")
        if supabase_url and not key:
            missing = "SUPABASE_SERVICE_KEY is missing (SUPABASE_URL is set)"
            self.invalid.setdefault("SUPABASE_SERVICE_KEY", missing)
        return Settings(
            supabase_url=supabase_url,
            supabase_service_key=key,
            database_url=self.read("DATABASE_URL", parse_database_url) or self._pgdatabase(),
            matomo_api_url=self.read("MATOMO_API_URL", parse_matomo_url, "MATOMO_URL"),
            matomo_api_token=self.read("MATOMO_API_TOKEN", parse_secret, "MATOMO_KEY"),
            google_client_id=self.read("GOOGLE_CLIENT_ID", parse_secret),
            google_client_secret=self.read("GOOGLE_CLIENT_SECRET", parse_secret),
            encryption_keys=self.read("ENCRYPTION_KEY", parse_fernet_keys) or (),
            target_days_ago=self.number("TARGET_DAYS_AGO", default.target_days_ago, 0, 3650),
            lookback_days=self.number("LOOKBACK_DAYS", default.lookback_days, 1, 480),
            timezone=self.read("TIMEZONE", parse_timezone) or default.timezone,
            concurrency=self.number("CONCURRENCY", default.concurrency, 1, 256),
            gsc_requests_per_minute=self.number(
                "GSC_REQUESTS_PER_MINUTE", default.gsc_requests_per_minute, 1, 1_000_000
            ),
            gsc_search_type=self.read("GSC_SEARCH_TYPE", parse_search_type)
            or default.gsc_search_type,
            http_timeout_seconds=self.seconds("HTTP_TIMEOUT", default.http_timeout_seconds),
            http_attempts=self.number("HTTP_ATTEMPTS", default.http_attempts, 1, 20),
            run_deadline_seconds=self.seconds("RUN_DEADLINE", default.run_deadline_seconds),
            matomo_sites_per_request=self.number(
                "MATOMO_SITES_PER_REQUEST", default.matomo_sites_per_request, 1, 1000
            ),
            visit_log_sites=self.read("MATOMO_SITE", parse_matomo_sites) or (),
            destination_table=self.read("DESTINATION_TABLE", parse_table_name)
            or default.destination_table,
            partitioned=self.read("PARTITIONED", parse_switch) or False,
            start_date=self.read("STARTDATE", parse_day),
            # As in matomo-postgres: only this word counts.
            force_start_date=self.read("FORCE_STARTDATE", str) == "true",
            initial_offset_days=self.number("INITIAL_OFFSET", default.initial_offset_days, 0, 3650),
            results_per_page=self.number("RESULTPERPAGE", default.results_per_page, 1, 100_000),
            google_api_endpoint=self.read("GOOGLE_API_ENDPOINT", parse_url),
            google_token_uri=self.read("GOOGLE_TOKEN_URI", parse_url) or default.google_token_uri,
            graph_api_version=self.read("GRAPH_API_VERSION", parse_graph_version)
            or default.graph_api_version,
            graph_api_url=self.read("GRAPH_API_URL", parse_url) or default.graph_api_url,
            instagram_api_url=self.read("INSTAGRAM_API_URL", parse_url)
            or default.instagram_api_url,
            youtube_api_endpoint=self.read("YOUTUBE_API_ENDPOINT", parse_url),
            linkedin_version=self.read("LINKEDIN_VERSION", parse_linkedin_version)
            or default.linkedin_version,
            linkedin_api_url=self.read("LINKEDIN_API_URL", parse_linkedin_url)
            or default.linkedin_api_url,
            linkedin_token_uri=self.read("LINKEDIN_TOKEN_URI", parse_url)
            or default.linkedin_token_uri,
            linkedin_client_id=self.read("LINKEDIN_CLIENT_ID", parse_secret),
            linkedin_client_secret=self.read("LINKEDIN_CLIENT_SECRET", parse_secret),
            healthcheck_url=self.read("HEALTHCHECK_URL", parse_alert_url),
            alert_webhook_url=self.read("ALERT_WEBHOOK_URL", parse_alert_url),
            libpq_secrets=self._libpq_secrets(),
        )

    def read(self, name: str, parse: Callable[[str], T], alias: str | None = None) -> T | None:
        names = [n for n in (name, alias) if n]
        self.asked.update(names)
        found = next((n for n in names if n in self.values), None)
        if found is None:
            return None
        try:
            return parse(self.values[found])
        except ValueError as error:
            self.invalid[name] = f"{found} {error}"
            return None

    def number(self, name: str, default: int, low: int, high: int) -> int:
        def parse(text: str) -> int:
            if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
                raise ValueError(f"must be a whole number from {low} to {high}")
            return int(text)

        value = self.read(name, parse)
        return default if value is None else value

    def seconds(self, name: str, default: float) -> float:
        def parse(text: str) -> float:
            if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]+)?", text) or float(text) <= 0:
                raise ValueError("must be a number of seconds above 0")
            return float(text)

        return self.read(name, parse) or default

    def _libpq_secrets(self) -> tuple[str, ...]:
        password = re.search(r"://[^/@:]*:([^@]+)@", self.values.get("PGDATABASE", ""))
        found = (password[1], unquote(password[1])) if password else ()
        return tuple(value for value in (*found, self.values.get("PGPASSWORD")) if value)

    def _pgdatabase(self) -> str | None:
        """matomo-postgres keeps its connection string in PGDATABASE; a bare name is not one."""
        if "://" not in self.values.get("PGDATABASE", ""):
            return None
        return self.read("PGDATABASE", parse_database_url)
