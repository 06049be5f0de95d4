"""When a connection to Postgres must be encrypted, and what would make it safer."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from storage.postgres_calls import sort_error
from storage.postgres_tls import tls_advice, tls_mend, with_tls

LIBPQ_VARIABLES = ("PGSSLMODE", "PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE")
SUPABASE = "postgresql://postgres.ref:pw@aws-0-eu-central-1.pooler.supabase.com:5432/postgres"

REMOTE = [
    "postgresql://u:p@db.example/d",
    "postgresql://u:p@db.example:6543/d?connect_timeout=3",
    "postgresql://u:p@192.0.2.7/d",
    "postgresql://u:p@10.0.0.7/d",
    "postgresql://u:p@[2001:db8::7]/d",
    "postgresql://u:p@[::ffff:192.0.2.7]/d",
    "postgresql://u:p@0.0.0.0/d",
    "postgresql://u:p@localhost.example/d",
    "postgresql://u:p@localhost,db.example/d",
    "postgresql:///d?host=/run/postgresql,db.example",
    "postgresql:///d?host=db.example",
    "postgresql:///d?hostaddr=192.0.2.7",
    "postgresql://localhost/d?hostaddr=192.0.2.7",
    "postgresql://localhost,localhost/d?hostaddr=127.0.0.1,192.0.2.7",
    "host=db.example dbname=d",
    SUPABASE,
]
LOCAL = [
    "postgresql:///d",
    "postgresql://u:p@localhost/d",
    "postgresql://u:p@LocalHost:5433/d",
    "postgresql://u:p@127.0.0.1/d",
    "postgresql://u:p@127.7.7.7/d",
    "postgresql://u:p@[::1]/d",
    "postgresql://u:p@[::ffff:127.0.0.1]/d",
    "postgresql://u:p@localhost,127.0.0.1/d",
    "postgresql://%2Frun%2Fpostgresql/d",
    "postgresql:///d?host=/run/postgresql",
    "postgresql:///d?host=@abstract",
    "postgresql://db.example/d?hostaddr=127.0.0.1",
    "host=/run/postgresql port=5432 user=postgres dbname=postgres",
]
SAID = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@pytest.fixture(autouse=True)
def _no_libpq_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBPQ_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def mode(conninfo: str) -> str | None:
    return conninfo_to_dict(with_tls(conninfo)).get("sslmode")  # type: ignore[return-value]


@pytest.mark.parametrize("conninfo", REMOTE)
def test_to_another_machine_tls_is_required_where_nothing_is_said(conninfo: str) -> None:
    before = conninfo_to_dict(conninfo)
    assert conninfo_to_dict(with_tls(conninfo)) == before | {"sslmode": "require"}


@pytest.mark.parametrize("conninfo", LOCAL)
def test_on_this_machine_nothing_is_changed(conninfo: str) -> None:
    assert with_tls(conninfo) == conninfo
    assert tls_advice(conninfo) is None


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("host", ["db.example", "localhost"])
def test_what_the_address_says_stays(said: str, host: str) -> None:
    conninfo = f"postgresql://u:p@{host}/d?sslmode={said}"
    assert with_tls(conninfo) == conninfo


@pytest.mark.parametrize("said", [mode for mode in SAID if mode != "prefer"])
def test_what_pgsslmode_says_stays(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", said)
    assert mode("postgresql://u:p@db.example/d") is None


def test_prefer_outside_the_address_is_not_told_from_libpqs_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGSSLMODE", "prefer")
    assert mode("postgresql://u:p@db.example/d") == "require"


def test_the_trusted_authorities_of_the_system_are_not_weakened() -> None:
    """With sslrootcert=system libpq's own default is verify-full, and require is refused."""
    conninfo = "postgresql://u:p@db.example/d?sslrootcert=system"
    assert with_tls(conninfo) == conninfo
    assert tls_advice(conninfo) is None


@pytest.mark.parametrize("variable", ["PGHOST", "PGHOSTADDR"])
def test_a_host_of_the_environment_counts_like_one_in_the_address(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "192.0.2.7")
    assert mode("postgresql://u:p@/d") == "require"
    monkeypatch.setenv(variable, "127.0.0.1")
    assert mode("postgresql://u:p@/d") is None


@pytest.mark.parametrize("named_by", ["the address", "the environment"])
def test_a_service_says_host_and_mode(
    named_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = tmp_path / "services"
    services.write_text(
        "[strict]\nhost=db.example\nsslmode=verify-full\n[silent]\nhost=db.example\n"
        "[near]\nhost=localhost\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    for service, expected in (("strict", None), ("silent", "require"), ("near", None)):
        conninfo = "postgresql://u:p@/d"
        if named_by == "the address":
            conninfo += f"?service={service}"
        else:
            monkeypatch.setenv("PGSERVICE", service)
        assert mode(conninfo) == expected, service


ADVICE = [
    ("", "any server would be believed (sslmode=require)"),
    ("?sslmode=require", "any server would be believed (sslmode=require)"),
    ("?sslmode=disable", "in clear text (sslmode=disable)"),
    ("?sslmode=allow", "in clear text (sslmode=allow)"),
    ("?sslmode=prefer", "in clear text (sslmode=prefer)"),
    ("?sslmode=verify-ca&sslrootcert=/a", "name is not checked (sslmode=verify-ca)"),
    ("?sslrootcert=/a", "name is not checked (sslmode=require)"),
]


@pytest.mark.parametrize(("parameters", "words"), ADVICE)
def test_less_than_verify_full_is_advised_against(parameters: str, words: str) -> None:
    advice = tls_advice(f"postgresql://u:p@db.example/d{parameters}")
    assert advice is not None
    assert words in advice
    assert "add sslmode=verify-full&sslrootcert=" in advice


def test_verify_full_needs_no_advice() -> None:
    assert tls_advice("postgresql://u:p@db.example/d?sslmode=verify-full&sslrootcert=/a") is None


def test_supabase_is_known_by_its_hosts_and_its_certificate_by_its_place() -> None:
    for url in (SUPABASE, "postgresql://postgres:pw@db.ref.supabase.co/postgres"):
        assert "SSL Configuration" in (tls_advice(url) or "")
    assert "Supabase" not in (tls_advice("postgresql://u:p@supabase.co.example/d") or "Supabase")


def test_advice_holds_no_secret() -> None:
    advice = tls_advice("postgresql://someone:sentinel@db.example/d?sslpassword=sentinel")
    assert advice
    assert "sentinel" not in advice


@pytest.mark.parametrize("conninfo", ["postgresql://h/d?no_such=1", "postgresql://u:p%zz@h/d"])
def test_an_address_that_cannot_be_read_is_an_error_of_psycopg(conninfo: str) -> None:
    for function in (with_tls, tls_advice):
        with pytest.raises(psycopg.ProgrammingError):
            function(conninfo)


def test_a_service_that_does_not_exist_is_left_to_the_connection_to_say() -> None:
    assert mode("postgresql://u:p@/d?service=no-such") is None


SAID_BY_LIBPQ = [
    ("server does not support SSL, but SSL was required", "sslmode=disable"),
    ("SSL error: certificate verify failed", "who answers at that address"),
    ('server certificate for "a" does not match host name "b"', "who answers at that address"),
    ('root certificate file "/a/root.crt" does not exist', "sslrootcert"),
]


@pytest.mark.parametrize(("said", "mend"), SAID_BY_LIBPQ)
def test_each_refusal_over_tls_has_its_mend(said: str, mend: str) -> None:
    error = sort_error(psycopg.OperationalError(said))
    assert error.kind == "settings"  # it is not tried again
    assert mend in error.mend


@pytest.mark.parametrize("said", ['database "d" does not exist', "connection refused", ""])
def test_other_refusals_are_no_matter_of_tls(said: str) -> None:
    assert tls_mend(said) is None
