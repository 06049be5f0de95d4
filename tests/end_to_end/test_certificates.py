"""Every API is believed only with a certificate of its own name from an authority we trust.

A real server stands at each address. What it received is what whoever stands between would get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.night import Finished, Night, copy_program, final_days
from tests.services.certificates import make_certificate
from tests.services.tls_listener import Listener, tls_listener

# Each library's own name for a file of trusted authorities.
TRUSTED_BY = ("REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Api:
    """How a run is led to a server in place of the API, and how it ends if that is refused."""

    variables: Callable[[str], dict[str, str]]
    status: int
    mend: str


APIS = {
    "Matomo": Api(
        lambda url: {"MATOMO_API_URL": url}, 1, "renew the server's certificate, or correct"
    ),
    "Google's token endpoint": Api(
        lambda url: {"GOOGLE_TOKEN_URI": f"{url}/token"}, 1, "between this machine and Google"
    ),
    "Search Console": Api(
        lambda url: {"GOOGLE_API_ENDPOINT": url}, 1, "between this machine and Google"
    ),
    "Supabase": Api(
        lambda url: {"SUPABASE_URL": url, "SUPABASE_SERVICE_KEY": "sb_secret_word"},
        2,
        "between this machine and Supabase",
    ),
    "a health check": Api(lambda url: {"HEALTHCHECK_URL": f"{url}/ping/sentinel"}, 0, "WARNING"),
    "a chat": Api(  # which is told at once of a run that failed
        lambda url: {
            "ALERT_WEBHOOK_URL": f"{url}/sentinel",
            "DATABASE_URL": "postgresql://me@127.0.0.1:1/db",
        },
        2,
        "WARNING",
    ),
}


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    return APIS[request.param]


@pytest.fixture
def ask(night: Night, api: Api, tmp_path: Path) -> Callable[..., Finished]:
    """One night with the listener in place of the API, trusting this certificate too.

    It runs from a copy of its own: alerts that could not be sent are remembered beside the program.
    """
    night.program = copy_program(tmp_path / "program")

    def run(listener: Listener, trusted: Path | None, attempts: int = 2) -> Finished:
        variables = api.variables(listener.url) | {"HTTP_ATTEMPTS": str(attempts)}
        if trusted:
            variables |= dict.fromkeys(TRUSTED_BY, str(trusted))
        return night.run("--date", str(final_days(night.world)[0]), **variables)

    return run


def test_the_right_certificate_is_believed(
    api: Api, ask: Callable[..., Finished], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    with tls_listener(certificate) as listener:
        done = ask(listener, certificate, attempts=1)
    assert done.status == api.status, done
    assert b"HTTP/1.1" in listener.received
    assert "certificate" not in done.out + done.err


@pytest.mark.parametrize("flaw", ["nobody vouches for it", "it is another host's"])
def test_any_other_gets_nothing_and_is_named_with_what_mends_it(
    flaw: str, api: Api, night: Night, ask: Callable[..., Finished], tmp_path: Path
) -> None:
    other = flaw == "it is another host's"
    certificate = make_certificate(tmp_path, "other.example" if other else "localhost")
    with tls_listener(certificate) as listener:
        done = ask(listener, certificate if other else None)
    assert done.status == api.status, done
    assert listener.asked > 0
    assert bytes(listener.received) == b""
    said = " ".join((done.out + done.err).split())
    assert f"localhost:{listener.port}: its TLS certificate cannot be verified" in said
    assert api.mend in said
    assert "sentinel" not in said
    assert listener.asked <= len(
        night.world.account_numbers
    )  # what will not mend itself is not tried again
