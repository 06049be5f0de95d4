"""The social stand-ins answer as documented, and fail as documented (tests/responses/social/).

Keys, names and messages count, not numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from cryptography.fernet import Fernet

from sandbox import Fault, Sandbox, SocialWorld, World, seed
from sandbox.faults import HTTP_KINDS, SOURCE_KINDS
from sandbox.messages import Source
from sandbox.social_faults import BLOCK_KINDS, KEPT_KINDS, SOCIAL_KINDS
from tests.unit.social_sandbox import (
    DAY,
    NUMBER,
    ONE_DAY,
    RESPONSES,
    SOCIAL,
    SOCIAL_SOURCES,
    USUAL,
    ask,
    documented,
    insights,
    items,
    shape,
    totals,
)

CONDITIONS = {  # what has to be so for the documented answer to come
    "instagram_empty": Fault("instagram", "empty_data"),
    "instagram_total_empty_value": Fault("instagram", "missing_value"),
    "facebook_empty": Fault("facebook", "no_read_insights"),
    "facebook_permissions_declined": Fault("facebook", "no_read_insights"),
}
# They have values of several shapes in one list.
ODD = {
    "facebook_series_odd_values",
    "instagram_total_breakdown_empty",
    "instagram_total_empty_value",
    "linkedin_missing_day",
    "youtube_day_content_type_camel",
    "youtube_other_columns",
    # These are asked with a form: test_sandbox_social_rules.py.
    "linkedin_token",
    "youtube_token",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with Sandbox(World(sites=3, accounts=1), social=SOCIAL) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    return shared


def names(value: Any) -> set[str]:
    """The words that a program looks for: names of metrics, columns, periods, dimensions."""
    if isinstance(value, dict):
        keys = ("name", "period", "columnType", "dataType")
        words = {value[key] for key in keys if key in value}
        found: set[str] = words.union(*map(names, value.values()))
        return {word for word in found if not word.startswith("Example")}
    return set().union(*map(names, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize(
    "name",
    [
        path.stem
        for path in sorted(RESPONSES.glob("*.json"))
        if "_errors" not in path.name and path.stem not in ODD
    ],
)
def test_it_answers_as_documented(sandbox: Sandbox, name: str) -> None:
    expected = documented(name)
    if name in CONDITIONS:
        sandbox.faults.add(CONDITIONS[name])
    token = SOCIAL.access_token(2) if name == "facebook_error_page_token" else ""
    for day in (date(2026, 11, 15), DAY):  # days of nothing have fewer parts
        for number, metric in ((1, "views"), (1, "total_interactions"), (3, "views")):
            sandbox.social.numbers.set(number, metric, day, 1000)
    response = ask(sandbox, expected["api"], expected["request"]["path"], token)
    answer = response.json()
    assert response.status_code == expected["status"]
    if "error" in expected["json"]:
        assert error_of(answer) == error_of(expected["json"])
    else:
        assert shape(answer) == shape(expected["json"])
        assert names(answer) == names(expected["json"])


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """An error without what is different each time, and Google's optional word for the status."""
    if "error" not in answer:
        return answer
    skipped = {"fbtrace_id", "status"}
    return {key: value for key, value in answer["error"].items() if key not in skipped}


@pytest.mark.parametrize("family", ["graph", "youtube", "linkedin"])
def test_every_documented_error_is_a_kind_of_fault(sandbox: Sandbox, family: str) -> None:
    rows = documented(f"{family}_errors")["errors"]
    source: Source = {"graph": "instagram", "youtube": "youtube", "linkedin": "linkedin"}[family]  # type: ignore[assignment]
    asked = {row["kind"] for row in rows} - HTTP_KINDS
    assert asked == SOCIAL_KINDS[source] - (KEPT_KINDS - BLOCK_KINDS) - HTTP_KINDS
    for row in rows:
        sandbox.faults.replace([Fault(source, row["kind"], seconds=420)])
        response = ask(sandbox, source, USUAL[source])
        assert response.status_code == row["status"]
        assert error_of(response.json()) == error_of(row["json"])


@pytest.mark.parametrize("kind", sorted(BLOCK_KINDS))
def test_a_used_up_account_is_told_how_many_minutes_to_wait(sandbox: Sandbox, kind: str) -> None:
    sandbox.faults.add(Fault("instagram", kind, seconds=61, times=1))
    response = ask(sandbox, "instagram", USUAL["instagram"])
    usage = json.loads(response.headers["X-Business-Use-Case-Usage"])[SOCIAL.account_id(1)][0]
    assert (usage["call_count"], usage["estimated_time_to_regain_access"]) == (100, 2)
    assert usage["type"] == "instagram"
    response = ask(sandbox, "instagram", USUAL["instagram"])
    usage = json.loads(response.headers["X-Business-Use-Case-Usage"])[SOCIAL.account_id(1)][0]
    assert (usage["call_count"], usage["estimated_time_to_regain_access"]) == (3, 0)


def test_usage_comes_near_the_limit_on_demand(sandbox: Sandbox) -> None:
    def percents() -> tuple[int, int]:
        headers = ask(sandbox, "facebook", USUAL["facebook"]).headers
        app = json.loads(headers["X-App-Usage"])
        account = json.loads(headers["X-Business-Use-Case-Usage"])[SOCIAL.account_id(2)][0]
        assert account["type"] == "pages"
        return app["call_count"], account["call_count"]

    assert percents() == (3, 3)
    sandbox.faults.replace([Fault("facebook", "usage_app", account=2)])
    assert percents() == (95, 3)
    sandbox.faults.replace([Fault("facebook", "usage_account", account=2)])
    assert percents() == (3, 95)


@pytest.mark.parametrize("source", SOCIAL_SOURCES)
def test_every_fault_of_web_servers_is_known_by_its_status(
    sandbox: Sandbox, source: Source
) -> None:
    for kind in HTTP_KINDS:
        sandbox.faults.replace([Fault(source, kind, seconds=7)])
        response = ask(sandbox, source, USUAL[source])
        word = kind.replace("http_", "").split("_")[0]
        status = int(word) if word.isdecimal() else 302 if kind == "redirect" else 200
        assert response.status_code == status
        assert (response.headers.get("Retry-After") == "7") == (kind == "http_429")
        assert ("<html>" in response.text) == ("html" in kind)


@pytest.mark.parametrize("source", SOCIAL_SOURCES)
def test_every_spoiling_fault_spoils_and_one_of_another_account_does_not(
    sandbox: Sandbox, source: Source
) -> None:
    kinds = (SOCIAL_KINDS[source] & KEPT_KINDS) - BLOCK_KINDS
    for kind in sorted(kinds - {"usage_app", "usage_account"}):
        path = totals("views") if kind in {"zero_total", "no_total_value"} else USUAL[source]
        sandbox.social.numbers.set(1, "views", DAY, 77)
        sandbox.faults.replace([Fault(source, kind, account=8)])
        sound = ask(sandbox, source, path).json()
        sandbox.faults.replace([Fault(source, kind, account=NUMBER[source], nth=1)])
        spoiled = ask(sandbox, source, path).json()
        spoiled.pop("paging", None)
        assert spoiled != {key: value for key, value in sound.items() if key != "paging"}, kind
        assert ask(sandbox, source, path).json() == sound


def test_a_spoiled_day_leaves_the_others_alone(sandbox: Sandbox) -> None:
    for source in SOCIAL_SOURCES:
        paths = {
            **USUAL,
            "instagram": insights("instagram", "reach", last=DAY + ONE_DAY),
            "facebook": insights("facebook", "page_media_view", last=DAY + ONE_DAY),
        }
        sound = items(ask(sandbox, source, paths[source]).json())
        assert len(sound) == 2
        sandbox.faults.replace([Fault(source, "missing_day", days=(DAY,))])
        assert items(ask(sandbox, source, paths[source]).json()) == sound[1:]


def test_the_connections_are_two_of_each_user_until_the_users_are_through() -> None:
    users = [SOCIAL.user_of(n) for n in range(1, 9)]
    assert users == [f"user-{n:03}" for n in (1, 1, 2, 2, 3, 3, 4, 4)]
    few = SocialWorld(users=1, connections=8)
    assert {few.user_of(n) for n in few.connection_numbers} == {"user-001"}
    assert few.numbers_of("instagram") == [1, 5]
    accounts = {few.account_id(n) for n in few.connection_numbers}
    assert len(accounts) == 8


def test_the_seed_gives_each_connection_its_encrypted_tokens() -> None:
    newest, older = (Fernet.generate_key().decode() for _ in range(2))
    rows = seed.connection_rows(SOCIAL, [newest, older])
    assert len({row["id"] for row in rows}) == 8
    fernet = Fernet(newest)
    for number, row in enumerate(rows, start=1):
        assert row["account_id"] == SOCIAL.account_id(number)
        token = str(row["access_token_encrypted"])
        assert fernet.decrypt(token).decode() == SOCIAL.access_token(number)
        refresh = row["refresh_token_encrypted"]
        decrypted = fernet.decrypt(str(refresh)).decode() if refresh else ""
        assert decrypted == SOCIAL.refresh_token(number)
    assert [row["metadata"] for row in rows[:5:4]] == [
        {"login": "instagram"},
        {"login": "facebook"},
    ]
    assert seed.connection_rows(SOCIAL, newest)[0]["id"] == rows[0]["id"]


def test_only_faults_of_its_own_platform_are_known() -> None:
    for source, kind in (("linkedin", "graph_4"), ("facebook", "zero_total"), ("query", "graph_4")):
        with pytest.raises(ValueError, match="fault"):
            Fault(source, kind)  # type: ignore[arg-type]
    assert set(SOCIAL_SOURCES) < set(SOURCE_KINDS)
