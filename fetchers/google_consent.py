"""Google's consent for one account: the address to open, its answer, and the token it is worth.

The flow of a desktop application with PKCE (RFC 8252, RFC 7636). google-auth-oauthlib makes the
address; the exchange goes through fetchers/http.py like every other request, because oauthlib
follows redirects with the client's secret, refuses stand-ins on http://127.0.0.1 and raises a bare
Warning where a scope was not granted.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    SettingsError,
    Temporary,
    UnexpectedAnswer,
)
from fetchers.google_errors import CLIENT_ERRORS
from fetchers.http import Answer, Http
from logs import excerpt, redact

AUTHORIZATION_URL = "https://accounts.google.com/o/oauth2/auth"
SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
BARE_CODE = re.compile(r"4/[0-9A-Za-z_.~-]{8,512}")
TOKEN = re.compile(r"[\x21-\x7e]+")

AGAIN = "run connect-gsc again; nothing was stored"
CLIENT_TYPE = "the OAuth client must be of type Desktop app (README, Google)"


@dataclass(frozen=True, slots=True)
class Client:
    """Our OAuth client, and where Google exchanges a code for tokens."""

    id: str
    secret: str = field(repr=False)
    token_uri: str


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent that was asked for: `url` is opened in a browser and holds no secret.

    The answer comes as a request to `redirect_uri` and must bring `state` back; only who has the
    verifier can exchange its code.
    """

    url: str
    state: str
    redirect_uri: str
    verifier: str = field(repr=False)


class NotTheAnswer(UnexpectedAnswer):
    """A text or a request that is not Google's answer to this consent: it may still come."""


def begin_consent(client: Client, redirect_uri: str) -> Consent:
    """A new consent for Search Console, read-only, that lasts without the person being there.

    `prompt=consent`: Google gives a refresh token with the first consent only, unless it is asked
    to show the page again.
    """
    from google_auth_oauthlib.flow import InstalledAppFlow

    names = {"client_id": client.id, "client_secret": client.secret}
    places = {"auth_uri": AUTHORIZATION_URL, "token_uri": client.token_uri}
    flow = InstalledAppFlow.from_client_config(
        {"installed": names | places}, scopes=[SCOPE], redirect_uri=redirect_uri
    )
    url, state = flow.authorization_url(access_type="offline", prompt="consent")
    redact.add([flow.code_verifier])
    return Consent(url, state, redirect_uri, flow.code_verifier)


def read_answer(address: str, consent: Consent) -> str:
    """The code in the address that Google sent the browser to.

    Raises:
        NotTheAnswer: it is something else. AccessDenied: consent was refused. SettingsError: Google
            refuses our client.
    """
    query = address.partition("?")[2].partition("#")[0]
    answer = {name: values[-1] for name, values in parse_qs(query).items()}
    redact.add([answer.get("code", "")])
    if not answer.keys() & {"code", "error"}:
        raise NotTheAnswer(
            "this is neither the address that the browser ended up at nor a code",
            mend="copy the whole address from the browser's address bar: it holds code= and state=",
        )
    state = answer.get("state", "").encode(errors="replace")
    if not hmac.compare_digest(state, consent.state.encode()):
        raise NotTheAnswer(
            "the address belongs to another consent (its state is not the one asked with)",
            mend="open the address of this run, and copy where the browser ends up then",
        )
    if "error" in answer:
        raise _refusal(answer["error"])
    return answer["code"]


def read_pasted(text: str, consent: Consent) -> str:
    """The code in what somebody pasted: that address, or the code alone.

    A bare code comes without a state; the verifier still ties it to this consent.

    Raises:
        FetchError: as `read_answer`.
    """
    text = text.strip().strip("<>\"'")
    code = unquote(text)
    if not BARE_CODE.fullmatch(code):
        return read_answer(text, consent)
    redact.add([code])
    return code


def exchange_code(code: str, consent: Consent, client: Client, http: Http) -> str:
    """The refresh token that a code is worth. A code works once, so it is sent once.

    Raises:
        FetchError: as `parse_tokens`. Temporary: the token endpoint did not answer.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": consent.verifier,
        "redirect_uri": consent.redirect_uri,
        "client_id": client.id,
        "client_secret": client.secret,
    }
    try:
        answer = http.retrying(
            lambda: http.request("POST", client.token_uri, data=form),
            lambda error: type(error) is Temporary,  # no connection: the code was not sent
        )
    except Temporary as error:
        raise Temporary(error.message, mend=AGAIN) from None
    return parse_tokens(answer)


def parse_tokens(answer: Answer) -> str:
    """The refresh token in an answer of the token endpoint, with the scope checked.

    Raises:
        AccessDenied: Search Console was not ticked. CredentialsError: no refresh token, or the code
            is refused. SettingsError: our client is. Temporary, UnexpectedAnswer: anything else.
    """
    try:
        tokens = json.loads(answer.body)
    except (ValueError, RecursionError):
        tokens = None
    if answer.status != 200 or not isinstance(tokens, dict):
        raise _exchange_error(answer.status, tokens if isinstance(tokens, dict) else {})
    redact.add(str(tokens[name]) for name in ("access_token", "refresh_token") if name in tokens)
    # Without the key the scope is the one that was asked for (RFC 6749, 5.1).
    if SCOPE not in str(tokens.get("scope", SCOPE)).split():
        raise AccessDenied(
            "Google gave no access to Search Console: its box was not ticked",
            mend="run connect-gsc again and tick it: View Search Console data for your sites",
        )
    token = tokens.get("refresh_token")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise CredentialsError(
            "Google's answer holds no refresh token",
            mend="remove this app at https://myaccount.google.com/connections, signed in with "
            "that account, and run connect-gsc again",
        )
    return token


def _refusal(error: str) -> FetchError:
    """What Google's `error=` in the address means."""
    if error == "access_denied":
        return AccessDenied(
            "consent was refused (access_denied)",
            mend="run connect-gsc again and allow it; while the app is in status Testing, Google "
            "refuses every account that is not among its test users",
        )
    return SettingsError(f"Google refuses to ask for consent ({excerpt(error)})", mend=CLIENT_TYPE)


def _exchange_error(status: int, body: dict[str, Any]) -> FetchError:
    code = excerpt(str(body.get("error", "")))
    parts = (code, excerpt(str(body.get("error_description", ""))))
    said = ": ".join(part for part in parts if part) or f"HTTP {status} without JSON"
    if code in CLIENT_ERRORS:
        return SettingsError(
            f"Google does not accept our OAuth client ({said})",
            mend="correct GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET",
        )
    if code in ("redirect_uri_mismatch", "unauthorized_client", "invalid_request"):
        return SettingsError(f"Google refused to exchange the code ({said})", mend=CLIENT_TYPE)
    if code == "invalid_grant":
        return CredentialsError(
            f"Google refused the code ({said})",
            mend="run connect-gsc again: a code works once, and for a few minutes",
        )
    if status == 429 or status >= 500:
        return Temporary(f"Google's token endpoint did not answer ({said})", mend=AGAIN)
    if 300 <= status < 400:
        return SettingsError(
            f"Google's token endpoint: HTTP {status} (a redirect, not followed)",
            mend="correct GOOGLE_TOKEN_URI",
        )
    return UnexpectedAnswer(f"Google's token endpoint answered {said}")
