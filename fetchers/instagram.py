"""Instagram's daily numbers of one account: `/{ig-user-id}/insights`, through either login.

Facts are those of shared facts/social.md, part 1. A day's totals are asked for one day at a time,
since the API sums over the time that is asked for; what is known already is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from fetchers.errors import FetchError, MetricRefused, UnexpectedAnswer
from fetchers.graph import (
    TOKEN,
    GraphApi,
    Parts,
    ask_metrics,
    keep_error,
    keep_errors,
    known_metrics,
    note_refused,
    path_of,
)
from fetchers.graph_errors import UnknownError
from fetchers.graph_insights import (
    Number,
    Total,
    askable_days,
    began_within,
    parse_fields,
    parse_series,
    parse_totals,
    ranges,
    span_of,
)
from fetchers.social import (
    Collected,
    DataState,
    NewToken,
    SocialAccount,
    SocialValue,
    StoredNumbers,
)
from fetchers.social_days import is_settled, pacific_day
from fetchers.social_metrics import INSTAGRAM, Metric, metrics_of
from logs import redact

LONGEST_RANGE_SECONDS = 30 * 86_400
FOLLOWER_COUNT_KEPT = timedelta(days=30)
LONGEST_LIFE_SECONDS = 366 * 86_400
FOLLOWER_COUNT = "follower_count"
SPLIT = "media_product_type"
TOTAL = {"metric_type": "total_value"}
BY_TYPE = {"breakdown": SPLIT}
POST_TYPES = {"reels": "reel", "feed": "post", "carousel_container": "post"}
"""Where a part of the API goes by another name in a row's post_type; the others keep theirs."""


def get_instagram_data(
    account: SocialAccount,
    days: Sequence[date],
    *,
    api: GraphApi,
    now: datetime,
    stored: StoredNumbers,
    levels: bool,
) -> Collected:
    """The account's numbers of these Pacific days; failures are in `errors`, nothing is raised.

    stored: what is known: only days with something to learn are asked for their totals. levels:
    also the account's followers as they are now, under the current day.
    """
    found = Collected()
    try:
        _Instagram(account, api, now, stored, found).read(days, levels=levels)
    except FetchError as error:
        keep_error(found, error)
    return found


def refresh_instagram_token(account: SocialAccount, *, api: GraphApi) -> NewToken:
    """Exchange a token of an Instagram login, at least a day old, for one of 60 days (facts 1.7).

    Raises:
        FetchError: it was refused; an expired token cannot be refreshed.
    """
    url = f"{api.instagram_url}/refresh_access_token"
    answer = api.get_url(account, url, {"grant_type": "ig_refresh_token"})
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise UnexpectedAnswer("Instagram's answer holds no new token")
    redact.add([token])
    if type(seconds) is not int or not 0 < seconds <= LONGEST_LIFE_SECONDS:
        raise UnexpectedAnswer("Instagram's new token has no time of expiry")
    # Counted from the answer, which may come long after the run began.
    return NewToken(token, datetime.now(UTC) + timedelta(seconds=seconds))


class _Instagram:
    """The requests for one account."""

    def __init__(
        self,
        account: SocialAccount,
        api: GraphApi,
        now: datetime,
        stored: StoredNumbers,
        found: Collected,
    ) -> None:
        self._account = account
        self._api = api
        self._now = now
        self._stored = stored
        self._found = found
        self._path = path_of(account)
        self._reach: dict[date, Number] = {}
        self._revised: set[date] = set()
        self._held: dict[date, SocialValue] = {}
        self._odd: set[date] = set()
        self._unsplit: dict[Metric, FetchError] = {}

    def read(self, days: Sequence[date], *, levels: bool) -> None:
        parts, asked = Parts(self._found), askable_days(days, self._now, self._found)
        for metrics, span in self._series_spans(asked):
            parts.read(partial(self._read_series, metrics, span))
        if levels:
            parts.read(self._read_levels)
        for day in reversed(asked):
            if self._has_more(day):
                parts.read(partial(self._read_day, day))
            elif day in self._held:  # since it was kept back, all its totals proved to be gone
                self._found.add([self._held[day]])

    def _series_spans(self, days: Sequence[date]) -> Iterator[tuple[list[Metric], list[date]]]:
        metrics = metrics_of(INSTAGRAM, "series")
        recent = [day for day in days if began_within(day, self._now, FOLLOWER_COUNT_KEPT)]
        older = [day for day in days if day not in recent]
        for span in ranges(older, LONGEST_RANGE_SECONDS):
            yield [metric for metric in metrics if metric.name != FOLLOWER_COUNT], span
        for span in ranges(recent, LONGEST_RANGE_SECONDS):
            yield list(metrics), span

    def _read_series(self, metrics: Sequence[Metric], days: Sequence[date]) -> None:
        answers = self._insights(metrics, days, {"metric_type": "time_series"})
        if not answers:
            return
        published, odd = set(), list[UnexpectedAnswer]()
        for answer in answers:
            for (metric, day), number in parse_series(answer, metrics, days, odd).items():
                self._keep_series(SocialValue(metric, day, number, data_state=self._state(day)))
                published.add(day)
        keep_errors(self._found, odd)
        if not odd:
            self._found.waiting |= set(days) - published

    def _keep_series(self, value: SocialValue) -> None:
        """The reach of a settled day is kept back until its totals are read, where they are asked
        for: stored before, it would hide that stored totals are out of date, of which a run over
        given days knows nothing."""
        day = value.day
        if value.metric.name == "reach":
            self._reach[day] = value.value
            before = self._stored.get(("reach", day))
            if before and before[0] != value.value:
                self._revised.add(day)
            if self._is_settled(day) and self._has_more(day):
                self._held[day] = value
                return
        self._found.add([value])

    def _read_levels(self) -> None:
        def ask(metrics: Sequence[Metric]) -> dict[str, Any]:
            names = [metric.name for metric in metrics]
            return self._api.get(
                self._account, self._path, {"fields": ",".join(names)}, asked=names
            )

        metrics = known_metrics(self._api, self._found, metrics_of(INSTAGRAM, "node"))
        answers, refused = ask_metrics(metrics, ask)
        note_refused(self._api, self._found, refused, answered=bool(answers))
        today, odd = pacific_day(self._now), list[UnexpectedAnswer]()
        for answer in answers:
            numbers = parse_fields(answer, metrics, odd)
            self._found.add(SocialValue(m, today, n) for m, n in numbers.items())
        keep_errors(self._found, odd)

    def _has_more(self, day: date) -> bool:
        """Whether asking for a day's totals can tell anything that is not stored."""
        known = self._stored_totals(day)
        if any(number is None for number in known):
            return True
        return self._is_settled(day) and (not self._is_final(day) or day in self._revised)

    def _read_day(self, day: date) -> None:
        came = False
        for totals in self._totals(day):
            if self._contradicts(day, totals):
                self._found.waiting.add(day)
                return
            for metric, total in totals.items():
                values = list(self._values(metric, day, total))
                self._found.add(values)
                came = came or bool(values)
        if day in self._odd:
            return
        if not came and self._total_metrics():
            self._found.waiting.add(day)
        elif day in self._held:
            self._found.add([self._held[day]])

    def _total_metrics(self) -> list[Metric]:
        return known_metrics(self._api, self._found, metrics_of(INSTAGRAM, "total_value"))

    def _totals(self, day: date) -> Iterator[dict[Metric, Total]]:
        """A settled day's totals come in two answers: the API fails as a whole where one metric
        has no such breakdown (facts 1.3)."""
        metrics = self._total_metrics()
        split = [m for m in metrics if m.split == SPLIT and m not in self._unsplit]
        if not self._is_settled(day):
            split = []
        if split:
            yield self._split_totals(day, split)
        plain = [m for m in metrics if m not in split or m in self._unsplit]
        if plain:
            yield self._plain_totals(day, plain)
        for metric, error in self._unsplit.items():
            if metric.name not in self._found.refused:
                message = f"{metric.name} by {SPLIT}: {error.message}"
                keep_error(self._found, MetricRefused(message, names=(metric.name,)))

    def _split_totals(self, day: date, metrics: Sequence[Metric]) -> dict[Metric, Total]:
        """What cannot be split is left for a request without; then it is at least known whole."""
        try:
            answers, refused = ask_metrics(metrics, partial(self._ask, [day], TOTAL | BY_TYPE))
        except UnknownError as error:
            self._unsplit |= dict.fromkeys(metrics, error)
            return {}
        self._unsplit |= refused
        return self._merged(day, answers, metrics)

    def _plain_totals(self, day: date, metrics: Sequence[Metric]) -> dict[Metric, Total]:
        return self._merged(day, self._insights(metrics, [day], TOTAL), metrics)

    def _merged(
        self, day: date, answers: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]
    ) -> dict[Metric, Total]:
        odd: list[UnexpectedAnswer] = []
        found: dict[Metric, Total] = {}
        for answer in answers:
            found |= parse_totals(answer, metrics, odd)
        keep_errors(self._found, odd)
        if odd:
            self._odd.add(day)
        return found

    def _insights(
        self, metrics: Sequence[Metric], days: Sequence[date], how: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        known = known_metrics(self._api, self._found, metrics)
        answers, refused = ask_metrics(known, partial(self._ask, days, how))
        note_refused(self._api, self._found, refused, answered=bool(answers))
        return answers

    def _ask(
        self, days: Sequence[date], how: Mapping[str, str], metrics: Sequence[Metric]
    ) -> dict[str, Any]:
        names = [metric.name for metric in metrics]
        since, until = span_of(days)
        when = {"period": "day", "since": str(since), "until": str(until)}
        params = {"metric": ",".join(names), **when, **how}
        return self._api.get(self._account, f"{self._path}/insights", params, asked=names)

    def _contradicts(self, day: date, totals: Mapping[Metric, Total]) -> bool:
        """Whether a total of 0 is none: there were viewers, or nobody knows (facts 1.6)."""
        if not any(m.name == "views" and total.value == 0 for m, total in totals.items()):
            return False
        if day in self._reach:
            return self._reach[day] != 0
        reach, views = (self._stored.get((name, day)) for name in ("reach", "views"))
        return reach is None or reach[0] != 0 or (views is not None and views[0] > 0)

    def _values(self, metric: Metric, day: date, total: Total) -> Iterator[SocialValue]:
        # Without its parts it is asked for again.
        state = "provisional" if metric in self._unsplit else self._state(day)
        if total.value is not None:
            yield SocialValue(metric, day, total.value, data_state=state)
        for part, number in total.parts.items():
            extra = {"post_type": POST_TYPES.get(part, part)}
            yield SocialValue(metric, day, number, part=part, data_state=state, extra=extra)

    def _is_settled(self, day: date) -> bool:
        return is_settled(day, self._now)

    def _state(self, day: date) -> DataState:
        return "final" if self._is_settled(day) else "provisional"

    def _stored_totals(self, day: date) -> list[tuple[float, str] | None]:
        metrics = metrics_of(INSTAGRAM, "total_value")
        required = [m.name for m in metrics if not m.optional and m.name not in self._found.refused]
        return [self._stored.get((name, day)) for name in required]

    def _is_final(self, day: date) -> bool:
        return all(number and number[1] == "final" for number in self._stored_totals(day))
