"""How requests of one account are sent: tokens, waiting, and asking on without a refused metric."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from fetchers.errors import (
    FetchError,
    Interrupted,
    MetricRefused,
    NeedsReauth,
    SettingsError,
    Temporary,
    Throttled,
    UnexpectedAnswer,
)
from fetchers.graph import (
    GraphApi,
    Parts,
    ask_metrics,
    known_metrics,
    note_refused,
    path_of,
    scopes_of,
)
from fetchers.graph_errors import MetricUnknown
from fetchers.social import Collected, SocialAccount
from fetchers.social_metrics import FACEBOOK, INSTAGRAM, Metric, metrics_of
from fetchers.throttle import TURNS_PER_HOLD, Throttle
from stopping import Stop
from tests.unit.fake_graph import (
    INSTAGRAM_URL,
    URL,
    USER_TOKEN,
    Reply,
    error,
    make_api,
    ok,
    serving,
)
from tests.unit.helpers import InstantStop, make_http

ACCOUNT = SocialAccount("user-17", "178", USER_TOKEN)
BY_INSTAGRAM = SocialAccount("user-17", "178", USER_TOKEN, login="instagram")


def test_the_login_decides_which_host_answers_and_the_token_is_in_a_header() -> None:
    with serving(lambda asked: ok({"host": asked.host})) as fake:
        api = make_api(version="v26.0")
        assert api.get(ACCOUNT, "178", {"fields": "id"})["host"] == URL.removeprefix("https://")
        assert api.get(BY_INSTAGRAM, "178", {})["host"] == INSTAGRAM_URL.removeprefix("https://")
        api.get(ACCOUNT, "me", {}, token="sentinel-other")
    assert [asked.path for asked in fake.asked] == ["/v26.0/178", "/v26.0/178", "/v26.0/me"]
    assert [asked.token for asked in fake.asked] == [USER_TOKEN, USER_TOKEN, "sentinel-other"]


@pytest.mark.parametrize("token", ["", "sentinel two", "sentinel\n", "séntinel", "sentinel\x00"])
def test_what_cannot_be_a_token_is_not_sent(token: str) -> None:
    with serving(lambda _: ok({})) as fake, pytest.raises(NeedsReauth) as caught:
        make_api().get(SocialAccount("1", "2", token), "2", {})
    assert fake.asked == []
    assert "sentinel" not in caught.value.message


def test_an_account_without_an_id_is_no_path() -> None:
    assert path_of(SocialAccount("1", "17/8?x", "t")) == "17%2F8%3Fx"
    with pytest.raises(SettingsError):
        path_of(SocialAccount("1", "", "t"))


def test_what_may_pass_is_asked_for_again() -> None:
    replies = [error(2, "later", status=500), ok({"id": "178"})]
    with serving(lambda _: replies.pop(0)):
        assert make_api().get(ACCOUNT, "178", {}) == {"id": "178"}


@pytest.mark.parametrize(
    ("code", "scope"), [(4, "app"), (341, "app"), (17, "user"), (32, "user"), (80002, "account")]
)
def test_a_throttle_holds_what_it_counts_by_and_nothing_else(code: int, scope: str) -> None:
    """Another account of the same user, another user: who waits?"""
    stop = InstantStop()
    api = make_api(stop)
    replies = [error(code, "too many calls"), ok({})]
    with serving(lambda _: replies.pop(0) if replies else ok({})) as fake:
        api.get(ACCOUNT, "178", {})
        assert len(fake.asked) == 2
        assert round(stop.slept[0]) == 60
    others = {
        "account": SocialAccount("user-17", "178", USER_TOKEN),
        "user": SocialAccount("user-17", "179", USER_TOKEN),
        "app": SocialAccount("user-18", "180", USER_TOKEN),
    }
    waiting = set()
    for name, other in others.items():
        stop.slept.clear()
        api.throttle.wait(*scopes_of(other).values())
        if stop.slept:
            waiting.add(name)
    expected = {"account": {"account"}, "user": {"account", "user"}, "app": set(others)}
    assert waiting == expected[scope]


def test_a_blocked_account_waits_for_the_minutes_of_its_header_within_the_deadline() -> None:
    usage = {"178": [{"call_count": 100, "estimated_time_to_regain_access": 7}]}
    headers = {"X-Business-Use-Case-Usage": json.dumps(usage)}
    for deadline, slept in ((None, [420]), (300, [])):
        stop = InstantStop(deadline)
        replies = [error(80002, "too many", headers=headers), ok({"id": "178"})]
        with serving(lambda _, replies=replies: replies.pop(0)) as fake:  # type: ignore[misc]
            if slept:
                assert make_api(stop).get(ACCOUNT, "178", {}) == {"id": "178"}
            else:
                with pytest.raises(Throttled, match="UTC"):
                    make_api(stop).get(ACCOUNT, "178", {})
                assert len(fake.asked) == 1
        assert [round(seconds) for seconds in stop.slept] == slept


def test_a_throttled_request_ends_after_a_few_tries() -> None:
    with serving(lambda _: error(4, "limit reached", status=403)) as fake:
        with pytest.raises(Throttled):
            make_api(attempts=4).get(ACCOUNT, "178", {})
        assert len(fake.asked) == 3


@pytest.mark.parametrize(("percent", "seconds"), [(74, 0), (75, 0), (80, 12), (100, 60)])
@pytest.mark.parametrize("name", ["X-App-Usage", "X-Business-Use-Case-Usage"])
def test_usage_slows_the_next_request_down_before_it_is_refused(
    name: str, percent: int, seconds: int
) -> None:
    usage: Any = {"call_count": 3, "total_time": percent, "total_cputime": 1}
    by_app = name == "X-App-Usage"
    header = json.dumps(usage if by_app else {"178": [{"type": "instagram", **usage}]})
    stop = InstantStop()
    api = make_api(stop)
    replies = [ok({}, {name: header}), ok({}), ok({})]
    with serving(lambda _: replies.pop(0)):
        api.get(ACCOUNT, "178", {})
        assert stop.slept == []
        api.get(ACCOUNT, "178", {})
        assert sum(map(round, stop.slept)) == seconds
        stop.slept.clear()
        api.get(SocialAccount("user-18", "180", USER_TOKEN), "180", {})
        assert bool(stop.slept) is (by_app and seconds > 0)


class FastStop(Stop):
    """A clock on which a minute is over in 0.6 s, for as many threads as one likes."""

    SPEED = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        super().sleep(seconds / self.SPEED)

    def clock(self) -> float:
        return time.monotonic() * self.SPEED


PLACES = 16


def ask_at_once(percent: int, threads: int = 50) -> tuple[list[float], FastStop]:
    """When the app's requests were sent, each from an account of its own."""
    stop, sent, began = FastStop(), list[float](), threading.Barrier(threads)
    http = make_http(stop, concurrency=PLACES)
    api = GraphApi(URL, INSTAGRAM_URL, "v25.0", http, Throttle(stop, stop.clock))
    header = {"X-App-Usage": json.dumps({"call_count": percent})}

    def reply(_: object) -> Reply:
        sent.append(stop.clock())
        time.sleep(0.2 if len(sent) <= PLACES else 0.002)  # all others are in the queue by then
        return ok({}, header)

    def ask(n: int) -> None:
        began.wait()
        api.get(SocialAccount(f"user-{n}", str(n), USER_TOKEN), str(n), {})

    with serving(reply), ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, range(threads)))
    assert len(sent) == threads
    return sorted(sent), stop


def test_of_an_app_near_its_limit_the_accounts_take_turns() -> None:
    """At 90 % an account waits 36 s: so 10 requests in 36 s, but for those under way already."""
    gap = 36 / TURNS_PER_HOLD
    sent, _ = ask_at_once(90)
    after = sent[PLACES:]  # the others were in flight when the first answer came
    turns = [sent[0] + gap * (n + 1) * 0.95 for n in range(len(after))]  # a clock may be early
    assert all(at >= turn for at, turn in zip(after, turns, strict=True))


@pytest.mark.parametrize("percent", [0, 74])
def test_of_an_app_far_from_its_limit_nobody_waits(percent: int) -> None:
    _, stop = ask_at_once(percent)
    assert stop.slept == []


def test_an_account_that_is_blocked_is_not_asked_even_if_this_answer_came() -> None:
    usage = {"178": [{"call_count": 3, "estimated_time_to_regain_access": 2}]}
    stop = InstantStop()
    api = make_api(stop)
    replies = [ok({}, {"X-Business-Use-Case-Usage": json.dumps(usage)}), ok({})]
    with serving(lambda _: replies.pop(0)):
        api.get(ACCOUNT, "178", {})
        api.get(ACCOUNT, "178", {})
    assert [round(seconds) for seconds in stop.slept] == [120]


def test_waiting_keeps_no_place_from_others() -> None:
    stop = Stop()
    api = make_api(stop)
    api.http._slots = threading.BoundedSemaphore(1)
    api.throttle.hold("graph account 178", 1.0)
    with serving(lambda _: ok({})):
        waiting = threading.Thread(target=lambda: api.get(ACCOUNT, "178", {}), daemon=True)
        waiting.start()
        time.sleep(0.1)
        began = time.monotonic()
        api.get(SocialAccount("user-18", "180", USER_TOKEN), "180", {})
        assert time.monotonic() - began < 0.5
        assert waiting.is_alive()
        waiting.join(5)
        assert not waiting.is_alive()


PAGE = metrics_of(FACEBOOK, "series")
NAMES = [metric.name for metric in PAGE]
UNKNOWN = MetricUnknown("(#100) The value must be a valid insights metric")


def ask(refusals: dict[str, MetricRefused], told: bool) -> tuple[Any, list[list[str]]]:
    """An API that refuses these; told: it says which."""
    asked: list[list[str]] = []

    def attempt(metrics: Sequence[Metric]) -> dict[str, Any]:
        names = [metric.name for metric in metrics]
        asked.append(names)
        for name, refusal in refusals.items():
            if name in names:
                raise type(refusal)(refusal.message, names=(name,) if told else ())
        return {"names": names}

    return attempt, asked


def test_metrics_that_a_refusal_names_are_left_out_and_the_rest_asked_in_one() -> None:
    attempt, asked = ask({NAMES[1]: UNKNOWN, NAMES[4]: UNKNOWN}, told=True)
    answers, refused = ask_metrics(PAGE, attempt)
    left = [name for name in NAMES if name not in (NAMES[1], NAMES[4])]
    assert answers == [{"names": left}]
    assert [metric.name for metric in refused] == [NAMES[1], NAMES[4]]
    assert len(asked) == 3


def test_where_a_refusal_names_none_each_is_asked_alone() -> None:
    attempt, asked = ask({NAMES[1]: UNKNOWN}, told=False)
    answers, refused = ask_metrics(PAGE, attempt)
    assert [answer["names"] for answer in answers] == [[n] for n in NAMES if n != NAMES[1]]
    assert [metric.name for metric in refused] == [NAMES[1]]
    assert len(asked) == 1 + len(NAMES)


def test_all_may_be_refused() -> None:
    for told in (True, False):
        attempt, _ = ask(dict.fromkeys(NAMES, UNKNOWN), told)
        answers, refused = ask_metrics(PAGE, attempt)
        assert (answers, [metric.name for metric in refused]) == ([], NAMES)


def test_other_failures_are_not_about_metrics() -> None:
    def attempt(_: Sequence[Metric]) -> dict[str, Any]:
        raise Temporary("later")

    with pytest.raises(Temporary):
        ask_metrics(PAGE, attempt)


def test_an_optional_metric_may_go_another_is_a_failure_that_names_it() -> None:
    api, found = make_api(), Collected()
    required = next(metric for metric in PAGE if not metric.optional)
    optional = next(metric for metric in PAGE if metric.optional)
    note_refused(api, found, {required: UNKNOWN, optional: UNKNOWN})
    assert found.refused == {required.name, optional.name}
    [failure] = found.errors
    assert failure.kind == "retired metric"
    assert required.name in failure.message


def test_what_the_api_does_not_know_is_not_asked_for_other_accounts() -> None:
    api = make_api()
    required = next(metric for metric in PAGE if not metric.optional)
    optional = [metric for metric in PAGE if metric.optional]
    note_refused(api, Collected(), {required: UNKNOWN, optional[0]: UNKNOWN})
    note_refused(api, Collected(), {optional[1]: MetricRefused("not for this account")})
    other = Collected()
    assert known_metrics(api, other, PAGE) == [m for m in PAGE if m is not optional[0]]
    assert other.refused == {optional[0].name}
    assert known_metrics(api, other, metrics_of(INSTAGRAM, "series")) != []


@pytest.mark.parametrize(
    ("failures", "done"),
    [
        ([Temporary("a"), None, Temporary("a"), None], 4),
        ([Temporary("a"), Temporary("a"), None], 2),
        ([UnexpectedAnswer("a"), UnexpectedAnswer("b"), UnexpectedAnswer("a"), None], 4),
        ([NeedsReauth("a"), None], 1),
        ([Interrupted("a"), None], 1),
        ([Throttled("a"), None], 1),
        ([SettingsError("a"), None], 1),
    ],
)
def test_one_part_may_fail_without_the_others_unless_they_would_too(
    failures: list[FetchError | None], done: int
) -> None:
    found, did = Collected(), 0
    parts = Parts(found)

    def part(failure: FetchError | None) -> None:
        nonlocal did
        did += 1
        if failure:
            raise failure

    with suppress(FetchError):
        for failure in failures:
            parts.read(lambda failure=failure: part(failure))  # type: ignore[misc]
    assert did == done
    assert len({error.message for error in found.errors}) == len(found.errors)


def test_what_refuses_every_metric_says_nothing_of_them_to_other_accounts() -> None:
    api, found = make_api(), Collected()
    optional = next(metric for metric in PAGE if metric.optional)
    note_refused(api, found, {optional: UNKNOWN}, answered=False)
    assert found.refused == {optional.name}
    assert not api.is_unknown(optional)
