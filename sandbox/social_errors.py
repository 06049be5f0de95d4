"""The error answers of YouTube and LinkedIn by kind of fault (facts/social.md 3.5, 4.5).

LinkedIn's are named by status and service code: linkedin_401_65600.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.messages import Answer, google_error, json_answer, unauthenticated

# kind -> status, reason, message, domain
YOUTUBE_ERRORS: Mapping[str, tuple[int, str, str, str]] = {
    "unsupported_query": (
        400,
        "badRequest",
        "The query is not supported. Check the documentation at "
        "https://developers.google.com/youtube/analytics/v2/available_reports for supported "
        "queries.",
        "global",
    ),
    "forbidden": (403, "forbidden", "Forbidden", "global"),
    "insufficient_scope": (
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        "global",
    ),
    "access_not_configured": (
        403,
        "accessNotConfigured",
        "YouTube Analytics API has not been used in project 1 before or it is disabled.",
        "usageLimits",
    ),
    "quota_exceeded": (
        403,
        "quotaExceeded",
        "The request cannot be completed because you have exceeded your quota.",
        "usageLimits",
    ),
    "daily_limit_exceeded": (403, "dailyLimitExceeded", "Daily Limit Exceeded", "usageLimits"),
    "rate_limit_exceeded": (403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits"),
    "user_rate_limit_exceeded": (
        403,
        "userRateLimitExceeded",
        "User Rate Limit Exceeded",
        "usageLimits",
    ),
    "backend_error": (503, "backendError", "Backend Error", "global"),
    "http_500_json": (500, "internalError", "Internal Error", "global"),
    "http_429": (429, "rateLimitExceeded", "Quota exceeded for quota metric.", "usageLimits"),
}

# kind -> status, service code, code, message
LINKEDIN_ERRORS: Mapping[str, tuple[int, int | None, str, str]] = {
    "linkedin_400": (400, None, "ILLEGAL_ARGUMENT", "Invalid timeIntervals parameter"),
    "linkedin_401_65600": (401, 65600, "INVALID_ACCESS_TOKEN", "Invalid access token"),
    "linkedin_401_65601": (
        401,
        65601,
        "REVOKED_ACCESS_TOKEN",
        "The token used in the request has been revoked by the user",
    ),
    "linkedin_401_65602": (
        401,
        65602,
        "EXPIRED_ACCESS_TOKEN",
        "The token used in the request has expired",
    ),
    "linkedin_403": (
        403,
        100,
        "ACCESS_DENIED",
        "Not enough permissions to access: "
        "organizationalEntityShareStatistics.FINDER-organizationalEntity",
    ),
    "linkedin_404": (404, 0, "RESOURCE_NOT_FOUND", "No virtual resource found"),
    "linkedin_426": (
        426,
        None,
        "NONEXISTENT_VERSION",
        "Requested version 20251101 is not active",
    ),
    "linkedin_429": (
        429,
        101,
        "TOO_MANY_REQUESTS",
        "Resource level throttle DAY limit for calls to this resource is reached.",
    ),
    "linkedin_500": (500, 0, "INTERNAL_SERVER_ERROR", "Internal Server Error"),
    "linkedin_503": (503, 0, "SERVICE_UNAVAILABLE", "Service unavailable"),
}


def youtube_error(kind: str, message: str | None = None) -> Answer:
    if kind == "auth_error":
        return unauthenticated()
    status, reason, usual, domain = YOUTUBE_ERRORS[kind]
    return google_error(status, reason, message or usual, domain)


def linkedin_error(kind: str, message: str | None = None, code: str | None = None) -> Answer:
    status, service_code, usual_code, usual = LINKEDIN_ERRORS[kind]
    error: dict[str, object] = {"status": status}
    if service_code is not None:
        error["serviceErrorCode"] = service_code
    return json_answer(status, {**error, "code": code or usual_code, "message": message or usual})
