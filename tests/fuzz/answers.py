"""Answers that are nearly right: recorded and made-up ones, parts exchanged or bytes changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

RESPONSES = Path(__file__).parents[1] / "responses"


def _recorded() -> list[bytes]:
    """Bodies of the answers that were recorded from real servers."""
    answers = [json.loads(path.read_text()) for path in sorted(RESPONSES.rglob("*.json"))]
    return [
        str(answer["text"]).encode()
        if "text" in answer
        else json.dumps(answer.get("json")).encode()
        for answer in answers
    ]


RECORDED = _recorded()
WORDS = [
    "2026-11-05", "2026-11-06", "20261105", "2026-W45-4", "1", "2", "result", "error", "message",
    "rows", "keys", "clicks", "impressions", "metadata", "firstIncompleteDate",
    "first_incomplete_date", "responseAggregationType", "siteEntry", "siteUrl", "permissionLevel",
    "sc-domain:a.test", "https://a.test/", "siteOwner", "errors", "details", "reason", "domain",
    "quotaExceeded", "dailyLimitExceeded", "accessNotConfigured", "invalid_grant", "access_token",
    "expires_in", "code", "hint", "23503", "57014", "PGRST204", "id", "gsc_account_id",
    "matomo_site_id", "gsc_property", "oauth_refresh_token", "http://[", "//x:y@z:99999/", "\ud800",
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**63, -1, 10**400])
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=10)
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
visits: Any = {"1": {"2026-11-05": 15, "2026-11-06": 0}, "2": {"2026-11-05": 3, "2026-11-06": 4}}
query: Any = {
    "rows": [
        {"keys": ["2026-11-05"], "clicks": 1.0, "impressions": 20, "ctr": 0.05, "position": 3.2},
        {"keys": ["2026-11-06"], "clicks": 0, "impressions": 2, "ctr": 0, "position": 9},
    ],
    "responseAggregationType": "byProperty",
    "metadata": {"firstIncompleteDate": "2026-11-06"},
}
listing: Any = {"siteEntry": [{"siteUrl": "sc-domain:a.test", "permissionLevel": "siteOwner"}]}
google_error: Any = {
    "error": {
        "code": 403,
        "message": "User does not have sufficient permission",
        "errors": [{"message": "m", "domain": "global", "reason": "forbidden"}],
        "details": [{"reason": "RATE_LIMIT_EXCEEDED", "domain": "googleapis.com"}],
    }
}
site: Any = {
    "id": 1,
    "domain": "a.test",
    "matomo_site_id": 1,
    "gsc_account_id": 2,
    "gsc_property": None,
    "oauth_refresh_token": "token",
}
live: Any = [
    {
        "idSite": 1,
        "idVisit": 17,
        "firstActionTimestamp": 1794009570,
        "lastActionTimestamp": 1794009600,
        "visitorId": "0dc9ab2adcbce0d3",
        "userId": None,
        "experiments": [{"name": "a"}],
        "dimension1": "pro",
        "truncatedActionsCount": 3,
        "actionDetails": [
            {"type": "action", "url": "https://a.test/", "title": "t", "timestamp": 1794009570},
            {"type": 13, "timestamp": 1794009600, "eventValue": 2.5, "dimension2": "x"},
            {"customVariables": {"1": {"customVariableName1": "n", "customVariableValue1": "v"}}},
        ],
    },
    {"idSite": 1, "idVisit": 18, "lastActionTimestamp": 1794009601, "actionDetails": []},
]
sites_of_matomo: Any = [{"idsite": 1, "name": "a", "timezone": "Europe/Paris"}]
MODELS = [
    visits,
    visits["1"],
    [1, 2, 3],
    query,
    listing,
    google_error,
    site,
    live,
    sites_of_matomo,
]


@st.composite
def mutated(draw: st.DrawFn, model: Any) -> Any:
    """A right answer in which one to three parts became something else, or went."""
    answer = json.loads(json.dumps(model))
    for _ in range(draw(st.integers(1, 3))):
        answer = _change_somewhere(draw, answer)
    return answer


def _change_somewhere(draw: st.DrawFn, node: Any) -> Any:
    if not node or not isinstance(node, dict | list) or draw(st.integers(0, 4)) == 0:
        return draw(trees)
    places = list(node) if isinstance(node, dict) else list(range(len(node)))
    place = draw(st.sampled_from(places))
    if draw(st.integers(0, 5)) == 0:
        del node[place]
    else:
        node[place] = _change_somewhere(draw, node[place])
    return node


payloads = trees | st.one_of([mutated(model) for model in MODELS])
headers = st.none() | st.sampled_from(
    ["0", "1", "-1", "1.5", "٣", "²", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "nan", "1e9"]
) | st.text(max_size=12)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bytes of an answer: recorded ones or JSON, some cut, some with bytes changed."""
    body = draw(
        st.sampled_from(RECORDED)
        | payloads.map(lambda payload: json.dumps(payload).encode())
        | st.binary(max_size=40)
        | st.sampled_from([b"[" * 100_000, b"\xef\xbb\xbf{}", b"1" * 5000, b'{"a":1e999}', b""])
    )
    if body and draw(st.booleans()):
        at = draw(st.integers(0, len(body) - 1))
        end = draw(st.sampled_from([at, at + 1, len(body)]))
        body = body[:at] + draw(st.binary(max_size=4)) + body[end:]
    return body
