"""A request as it came in, an answer as it goes out, and the error bodies of the imitated APIs.

The bodies follow facts/matomo.md and facts/gsc.md: Matomo's are recorded from a 5.0.2, Google's are
those of its documentation and client libraries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from email.message import Message
from functools import cached_property
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

Source = Literal[
    "matomo",
    "visits",
    "consent",
    "token",
    "sites",
    "query",
    "instagram",
    "facebook",
    "youtube",
    "linkedin",
]
Pairs = list[tuple[str, str]]

# PHP's max_input_vars: further form fields vanish without a word.
MAX_FORM_FIELDS = 1000
SITES_PATH = "/webmasters/v3/sites"
QUERY_PATH = "/searchAnalytics/query"
FORM_TYPE = "application/x-www-form-urlencoded"
HTML_TYPE = "text/html; charset=utf-8"
JSON_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """One HTTP request; `target` is path and query as sent."""

    method: str
    target: str
    headers: Message = field(repr=False)
    body: bytes = field(repr=False)

    @cached_property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> Pairs:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @cached_property
    def form(self) -> Pairs:
        """The fields of a form body; empty for any other content type."""
        if not self.headers.get("Content-Type", "").startswith(FORM_TYPE):
            return []
        fields = parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True)
        return fields[:MAX_FORM_FIELDS]

    @cached_property
    def json(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Call:
    """What a request asks for: the numbers of the sites, the account, first and last day.

    account: of Google, or a connection of the social platforms (sandbox/social_world.py).
    visits: the most of them that a page of the visit log may hold.
    """

    source: Source
    sites: tuple[int, ...] = ()
    account: int | None = None
    days: tuple[date, date] | None = None
    visits: int = 0

    @property
    def cells(self) -> int:
        """Site-days asked for."""
        return len(self.sites) * ((self.days[1] - self.days[0]).days + 1) if self.days else 0


@dataclass(frozen=True)
class Answer:
    """Status, body and headers; Content-Length is added when it is sent."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), JSON_TYPE, headers or {})


def html_answer(status: int, title: str, text: str, content_type: str = HTML_TYPE) -> Answer:
    page = (
        f'<!DOCTYPE html>\n<html>\n<head>\n\t<meta charset="utf-8">\n\t<title>{title}</title>\n'
        f'</head>\n<body id="simple">\n<div class="content"><h2>{text}</h2></div>\n</body>\n'
        "</html>\n"
    )
    return Answer(status, page.encode(), content_type)


def matomo_message(status: int, message: str) -> Answer:
    """An error of the Reporting API; most of them come with status 200."""
    return json_answer(status, {"result": "error", "message": message})


def matomo_refusal(request: Request, status: int, message: str) -> Answer:
    """An error from before Matomo's API starts: JSON only with module=API in the query string."""
    if ("module", "API") in request.query:
        return matomo_message(status, message)
    return html_answer(status, "Matomo &rsaquo; Error", message)


def google_error(
    status: int, reason: str, message: str, domain: str = "global", **more: str
) -> Answer:
    """A Google API error with one entry in errors[], to which `more` is added."""
    entry = {"message": message, "domain": domain, "reason": reason, **more}
    return json_answer(status, {"error": {"code": status, "message": message, "errors": [entry]}})


def invalid_parameter(message: str, location: str) -> Answer:
    more = {"location": location, "locationType": "parameter"}
    return google_error(400, "invalidParameter", message, **more)


def site_forbidden(site_url: str) -> Answer:
    message = (
        f"User does not have sufficient permission for site '{site_url}'. "
        "See also: https://support.google.com/webmasters/answer/2451999."
    )
    return google_error(403, "forbidden", message)


def unauthenticated() -> Answer:
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential."
    )
    more = {"location": "Authorization", "locationType": "header"}
    return google_error(401, "authError", message, **more)


def asked_property(request: Request) -> str:
    """The siteUrl in a Search Console path; Google reads a bare host as http://host/."""
    site_url = unquote(request.path.removeprefix(SITES_PATH).removesuffix(QUERY_PATH).strip("/"))
    return site_url if ":" in site_url else f"http://{site_url}/"


def token_error(status: int, error: str, description: str) -> Answer:
    """An error of the OAuth token endpoint (RFC 6749, section 5.2)."""
    return json_answer(status, {"error": error, "error_description": description})
