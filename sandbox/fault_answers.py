"""What each kind of fault looks like; the bodies follow facts/matomo.md and facts/gsc.md."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from sandbox.faults import (
    CELL_KINDS,
    CONSENT_KINDS,
    DELIVERY_KINDS,
    ROW_KINDS,
    VISIT_KINDS,
    Fault,
)
from sandbox.messages import (
    HTML_TYPE,
    Answer,
    Call,
    Request,
    asked_property,
    google_error,
    html_answer,
    invalid_parameter,
    json_answer,
    matomo_message,
    matomo_refusal,
    site_forbidden,
    token_error,
    unauthenticated,
)
from sandbox.social_faults import KEPT_KINDS, SOCIAL_KINDS, social_answer

Table = dict[int, dict[date, object]]
Row = dict[str, Any]

BLOCKED = "Too many failed logins. Please wait and try logging in again later."
WRONG_TOKEN = "Unable to authenticate with the provided token. It is either invalid"
REVOKED = "Token has been expired or revoked."
MEMORY = "Allowed memory size of 134217728 bytes exhausted (tried to allocate 2097152 bytes)"

# kind -> status, reason, message, domain
GOOGLE_ERRORS = {
    "quota_exceeded_qps": (
        403,
        "quotaExceeded",
        "Search Analytics QPS quota exceeded.",
        "usageLimits",
    ),
    "quota_exceeded_load": (
        403,
        "quotaExceeded",
        "Search Analytics load quota exceeded.",
        "usageLimits",
    ),
    "rate_limit_exceeded": (403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits"),
    "user_rate_limit_exceeded": (
        403,
        "userRateLimitExceeded",
        "User Rate Limit Exceeded",
        "usageLimits",
    ),
    "daily_limit_exceeded": (403, "dailyLimitExceeded", "Daily Limit Exceeded", "usageLimits"),
    "access_not_configured": (
        403,
        "accessNotConfigured",
        "Google Search Console API has not been used in project 1 before or it is disabled.",
        "usageLimits",
    ),
    "insufficient_scope": (
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        "global",
    ),
    "backend_error": (503, "backendError", "Backend Error", "global"),
    "http_500_json": (500, "internalError", "Internal Error", "global"),
    "http_429": (429, "rateLimitExceeded", "Quota exceeded for quota metric.", "usageLimits"),
}


def answer_instead(faults: Iterable[Fault], request: Request, call: Call) -> Answer | None:
    """The answer of the first fault which replaces the real one, None where none does."""
    kept = CELL_KINDS | ROW_KINDS | DELIVERY_KINDS | CONSENT_KINDS | VISIT_KINDS | KEPT_KINDS
    for fault in faults:
        if fault.kind not in kept:
            return _http_answer(fault, request) or _api_answer(fault, request)
    return None


def _http_answer(fault: Fault, request: Request) -> Answer | None:
    """What a web server, a proxy or a broken script puts in place of any API's answer."""
    location = {"Location": f"https://127.0.0.1{request.target}"}
    answers = {
        "http_500_html": html_answer(500, "500 Internal Server Error", "Internal Server Error"),
        "http_502_html": html_answer(502, "502 Bad Gateway", "Bad Gateway"),
        "http_503_html": _unavailable(fault),
        "html_200": html_answer(200, "Welcome", "Please sign in to continue."),
        "not_json_200": Answer(200, b'{"rows": [{"keys": ["20'),
        "empty_200": Answer(200, b""),
        "redirect": Answer(302, b"", "text/html; charset=UTF-8", location),
    }
    return answers.get(fault.kind)


def _unavailable(fault: Fault) -> Answer:
    if fault.source in {"matomo", "visits"}:
        text = "Matomo is undergoing maintenance"
        return html_answer(503, text, text, "text/html; charset=UTF-8")
    return html_answer(503, "503 Service Unavailable", "Service Unavailable")


def _api_answer(fault: Fault, request: Request) -> Answer:
    by_source = {"matomo": _matomo_answer, "visits": _matomo_answer, "token": _token_answer}
    if fault.source in SOCIAL_KINDS:
        answer = social_answer(fault)
    else:
        answer = by_source.get(fault.source, _google_answer)(fault, request)
    if fault.kind in {"http_429", "linkedin_429"} and fault.seconds is not None:
        retry_after = {"Retry-After": f"{fault.seconds:g}"}
        return Answer(answer.status, answer.body, answer.content_type, retry_after)
    return answer


def _matomo_answer(fault: Fault, request: Request) -> Answer:
    plugin = "Live" if fault.source == "visits" else "VisitsSummary"
    disabled = (
        f"The plugin {plugin} is not enabled. You can activate the plugin on "
        "Settings &gt; Plugins page in Matomo."
    )
    not_allowed = "You cannot use this Matomo as your IP 127.0.0.1 is not allowed."
    database = "SQLSTATE[HY000] [2002] Connection refused"
    answers = {
        "result_error": matomo_message(200, disabled),
        "memory_exhausted": matomo_message(500, MEMORY),
        "too_many_cells": matomo_message(500, MEMORY),
        "page_too_large": matomo_message(500, MEMORY),
        "ip_not_allowed": matomo_message(401, not_allowed),
        "login_blocked": matomo_refusal(request, 500, BLOCKED),
        "token_refused": matomo_refusal(request, 401, f"{WRONG_TOKEN} or expired."),
        "database_down": matomo_refusal(request, 500, database),
        "http_500_json": matomo_message(500, "An internal error occurred."),
        "http_429": html_answer(429, "429 Too Many Requests", "Too Many Requests", HTML_TYPE),
    }
    return answers[fault.kind]


def _token_answer(fault: Fault, request: Request) -> Answer:
    answers = {
        "invalid_grant": token_error(400, "invalid_grant", REVOKED),
        "invalid_client": token_error(401, "invalid_client", "Unauthorized"),
        "server_error": token_error(500, "server_error", "Try again later."),
        "http_500_json": token_error(500, "internal_failure", "Try again later."),
        "http_429": token_error(429, "rate_limit_exceeded", "Try again later."),
    }
    return answers[fault.kind]


def _google_answer(fault: Fault, request: Request) -> Answer:
    if fault.kind in GOOGLE_ERRORS:
        return google_error(*GOOGLE_ERRORS[fault.kind])
    answers = {
        "forbidden": site_forbidden(asked_property(request)),
        "invalid_parameter": invalid_parameter("Invalid value for the parameter.", "startDate"),
        "auth_error": unauthenticated(),
        "details_only_429": _details_only(),
    }
    return answers[fault.kind]


def _details_only() -> Answer:
    """The newer style of error: no errors[], the reason in details[]."""
    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
    }
    error = {
        "code": 429,
        "message": "Quota exceeded for quota metric.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [reason],
    }
    return json_answer(429, {"error": error})


def spoil_table(table: Table, faults: Iterable[Fault]) -> None:
    """Applies the faults in Matomo's numbers to {site: {day: visits}}, in place."""
    for fault in faults:
        cells = [(site, day) for site, days in table.items() for day in days]
        for site, day in cells:
            if fault.spoils(site, day):
                _spoil_cell(table, site, day, fault.kind)


def _spoil_cell(table: Table, site: int, day: date, kind: str) -> None:
    if kind == "missing_site":
        table.pop(site, None)
    elif kind == "missing_day":
        table[site].pop(day)
    elif kind == "string_cell":
        table[site][day] = str(table[site][day])
    elif kind in CELL_KINDS:
        values: dict[str, object] = {
            "unarchived": 0,
            "null_cell": None,
            "float_cell": 2.5,
            "negative_cell": -1,
            "empty_array_cell": [],
        }
        table[site][day] = values[kind]


def spoil_rows(rows: list[Row], faults: Iterable[Fault], call: Call) -> None:
    """Applies the faults in Search Console's rows (dimension date), in place."""
    for fault in faults:
        for row in rows:
            if fault.days is None or date.fromisoformat(row["keys"][0]) in fault.days:
                _spoil_row(row, fault.kind, call)


def _spoil_row(row: Row, kind: str, call: Call) -> None:
    if kind == "wrong_day" and call.days:
        first, last = call.days
        shifted = date.fromisoformat(row["keys"][0]) - (last - first) - timedelta(days=1)
        row["keys"] = [str(shifted)]
    elif kind == "null_clicks":
        row["clicks"] = None
    elif kind == "missing_clicks":
        row.pop("clicks", None)
    elif kind == "two_keys":
        row["keys"] = [*row["keys"], "example"]
