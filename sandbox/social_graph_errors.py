"""The error answers of Graph by kind of fault, and its usage headers (facts/social.md 1.8).

A kind is named by code and subcode: graph_190_463.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sandbox.messages import Answer, json_answer

# kind -> status, code, subcode, message
GRAPH_ERRORS: Mapping[str, tuple[int, int, int | None, str]] = {
    "graph_1": (500, 1, None, "An unknown error has occurred."),
    "graph_2": (500, 2, None, "(#2) Service temporarily unavailable"),
    "graph_transient": (
        400,
        99,
        None,
        "An unexpected error has occurred. Please retry your request later.",
    ),
    "graph_3": (
        400,
        3,
        None,
        "(#3) Application does not have the capability to make this API call.",
    ),
    "graph_4": (403, 4, None, "(#4) Application request limit reached"),
    "graph_10": (403, 10, None, "(#10) Application does not have permission for this action"),
    "graph_17": (400, 17, None, "(#17) User request limit reached"),
    "graph_32": (400, 32, None, "(#32) Page request limit reached"),
    "graph_100": (400, 100, None, "(#100) The value must be a valid insights metric"),
    "graph_100_33": (
        400,
        100,
        33,
        "Unsupported get request. Object with ID 'example' does not exist, cannot be loaded due to "
        "missing permissions, or does not support this operation. Please read the Graph API "
        "documentation at https://developers.facebook.com/docs/graph-api",
    ),
    "graph_100_1504016": (
        400,
        100,
        1504016,
        "(#100) There cannot be more than 90 days (7776000 s) between since and until",
    ),
    "graph_100_2108006": (
        400,
        100,
        2108006,
        "(#100) The requested resource was posted before the account was converted to a business "
        "account.",
    ),
    "graph_102": (400, 102, None, "(#102) Session key invalid or no longer valid"),
    "graph_104": (400, 104, None, "An access token is required to request this resource."),
    "graph_190": (400, 190, None, "Invalid OAuth access token - Cannot parse access token"),
    "graph_190_page_token": (
        400,
        190,
        None,
        "(#190) This method must be called with a Page Access Token",
    ),
    "graph_190_458": (
        400,
        190,
        458,
        "Error validating access token: The user has not authorized application 1.",
    ),
    "graph_190_459": (
        400,
        190,
        459,
        "Error validating access token: You cannot access the app till you log in to "
        "www.facebook.com and follow the instructions given.",
    ),
    "graph_190_460": (
        400,
        190,
        460,
        "Error validating access token: The session has been invalidated because the user changed "
        "their password or Facebook has changed the session for security reasons.",
    ),
    "graph_190_463": (
        400,
        190,
        463,
        "Error validating access token: Session has expired on Thursday, 19-Nov-26 10:00:00 PST. "
        "The current time is Friday, 20-Nov-26 02:00:00 PST.",
    ),
    "graph_190_464": (
        400,
        190,
        464,
        "Error validating access token: Sessions for the user are not allowed because the user is "
        "not a confirmed user.",
    ),
    "graph_190_467": (
        400,
        190,
        467,
        "Error validating access token: The session is invalid because the user logged out.",
    ),
    "graph_190_492": (
        400,
        190,
        492,
        "Error validating access token: the user does not have a role on the page any more.",
    ),
    "graph_200": (
        403,
        200,
        None,
        "(#200) Requires pages_read_engagement permission to manage the object",
    ),
    "graph_283": (
        403,
        283,
        None,
        "(#283) Requires pages_read_engagement permission to manage the object",
    ),
    "graph_341": (400, 341, None, "(#341) Application limit reached"),
    "graph_368": (
        403,
        368,
        None,
        "(#368) The action attempted has been deemed abusive or is otherwise disallowed",
    ),
    "graph_613": (400, 613, None, "(#613) Calls to this api have exceeded the rate limit."),
    "graph_2500": (400, 2500, None, "Unknown path components: /insights"),
    "graph_3001_1504028": (
        400,
        3001,
        1504028,
        "(#3001) Invalid query: no metric was specified",
    ),
    "graph_80001": (
        400,
        80001,
        None,
        "(#80001) There have been too many calls to this Page account. Wait a bit and try again. "
        "For more info, please refer to "
        "https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
    ),
    "graph_80002": (
        400,
        80002,
        None,
        "(#80002) There have been too many calls to this Instagram account. Wait a bit and try "
        "again. For more info, please refer to "
        "https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
    ),
}
TRANSIENT = frozenset({"graph_2", "graph_transient"})


def graph_error(kind: str, message: str | None = None) -> Answer:
    """Facebook's and Instagram's envelope; `message` in place of the kind's own."""
    status, code, subcode, usual = GRAPH_ERRORS[kind]
    error: dict[str, object] = {
        "message": message or usual,
        "type": "OAuthException",
        "code": code,
    }
    if subcode is not None:
        error["error_subcode"] = subcode
    if kind in TRANSIENT:
        error["is_transient"] = True
    return json_answer(status, {"error": {**error, "fbtrace_id": "AsandboxTraceId"}})


def app_usage(percent: int) -> dict[str, str]:
    usage = {"call_count": percent, "total_time": 25, "total_cputime": 25}
    return {"X-App-Usage": json.dumps(usage)}


def account_usage(account_id: str, kind: str, percent: int, minutes: int = 0) -> dict[str, str]:
    """kind: instagram or pages; minutes: until the account gets anything again."""
    usage = {
        "type": kind,
        "call_count": percent,
        "total_cputime": 1,
        "total_time": 1,
        "estimated_time_to_regain_access": minutes,
    }
    return {"X-Business-Use-Case-Usage": json.dumps({account_id: [usage]})}
