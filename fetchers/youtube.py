"""YouTube Analytics: daily numbers of a channel, and the same by kind of video.

Days are Pacific days. Rules from shared facts/social.md, 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from itertools import groupby

from fetchers.errors import (
    FetchError,
    MetricRefused,
    NeedsReauth,
    TargetMisnamed,
    UnexpectedAnswer,
)
from fetchers.google_client import ACCESS_TOKEN, GoogleApi, GoogleClient, get_google_client
from fetchers.google_errors import AccessTokenRefused
from fetchers.http import Http
from fetchers.social import Collected, SocialAccount, SocialValue
from fetchers.social_days import is_settled
from fetchers.social_metrics import YOUTUBE, Metric, metrics_of
from fetchers.youtube_answers import Report, extra_of, parse_report
from fetchers.youtube_errors import youtube_error, youtube_token_error

ANALYTICS = GoogleApi("YouTube", "youtubeAnalytics", "v2", youtube_error, youtube_token_error)

FINAL_AFTER_HOURS = 72
"""Google needs 48 to 72 hours for a day (facts 3.4)."""

CHANNEL = re.compile(r"[A-Za-z0-9_-]{0,64}")
LIVES_AN_HOUR = (
    "store the refresh token of the channel's Google account, since an access token lives one "
    "hour: `aggregator.py tokens --add --connection ID --refresh`"
)


_Ask = Callable[[Sequence[Metric]], None]
_Column = tuple[str, str | None]
"""A metric, and the dimension by which it is split."""


@dataclass(slots=True)
class YouTubeApi:
    """What all channels of one run share. endpoint: None is Google's own.

    refused: what the API turned out not to know, so that not every channel has to find out: splits,
    and optional metrics. Whether a metric is gone that must be there, each channel is asked: one
    answer must not take it away from all. Threads only ever add to it.
    """

    endpoint: str | None
    token_uri: str
    client_id: str
    client_secret: str = field(repr=False)
    requests_per_minute: int
    http: Http
    refused: set[_Column] = field(default_factory=set, init=False)


def get_youtube_data(
    account: SocialAccount, days: Sequence[date], *, api: YouTubeApi, now: datetime
) -> Collected:
    """Numbers of one channel: one report of totals, and one by kind of video, for all days.

    A day without a row in the totals is waiting: the newest ones always are. Parts of a metric that
    the API does not split are refused as `metric:dimension`, which is no error: the total is there.
    A cell that is no number costs that number alone.
    """
    channel = _Channel(account, sorted(days), api, now)
    if not days:
        return channel.collected
    try:
        channel.collect()
    except AccessTokenRefused as error:
        # A refresh token that still gives access tokens is not dead, whatever refuses those.
        dead = error if account.refresh_token else NeedsReauth(error.message, mend=LIVES_AN_HOUR)
        channel.collected.errors.append(dead)
    except FetchError as error:
        channel.collected.errors.append(error)
    return channel.collected


class _Channel:
    """One channel's reports; what they say gathers in `collected`."""

    def __init__(
        self, account: SocialAccount, days: Sequence[date], api: YouTubeApi, now: datetime
    ) -> None:
        self.collected = Collected()
        self._account = account
        self._days = days
        self._api = api
        self._now = now
        self._seen: set[date] = set()
        self._refused: set[_Column] = set()

    def collect(self) -> None:
        client = self._open()
        totals = metrics_of(YOUTUBE, "report")
        self._collect(client, totals, None)
        self.collected.waiting = set(self._days) - self._seen
        for split in dict.fromkeys(metric.split for metric in totals if metric.split):
            self._collect(client, [m for m in totals if m.split == split], split)

    def _open(self) -> GoogleClient:
        if not CHANNEL.fullmatch(self._account.account_id):
            raise TargetMisnamed(
                "the account's id is no id of a YouTube channel",
                mend="correct account_id in platform_connections (UC...), or empty it",
            )
        alone = not self._account.refresh_token
        if alone and not ACCESS_TOKEN.fullmatch(self._account.access_token):
            raise NeedsReauth(
                "the stored token is empty or has characters of no token", mend=LIVES_AN_HOUR
            )
        return get_google_client(
            self._account.refresh_token or None,
            access_token=self._account.access_token if alone else None,
            client_id=self._api.client_id,
            client_secret=self._api.client_secret,
            token_uri=self._api.token_uri,
            api_endpoint=self._api.endpoint,
            requests_per_minute=self._api.requests_per_minute,
            http=self._api.http,
            api=ANALYTICS,
        )

    def _collect(self, client: GoogleClient, metrics: Sequence[Metric], split: str | None) -> None:
        """A metric hides the days before it began: such days are asked for without it."""
        for alive, days in groupby(self._days, partial(_living, metrics)):
            gone = self._api.refused | self._refused
            known = [metric for metric in alive if (metric.name, split) not in gone]
            self._note_refused([metric for metric in alive if metric not in known], split)
            self._ask_all(partial(self._ask, client, list(days), split), known, split)

    def _ask_all(self, ask: _Ask, metrics: list[Metric], split: str | None) -> None:
        """Ask for all metrics at once, and again without those that the API refuses by name."""
        while metrics:
            try:
                ask(metrics)
                return
            except MetricRefused as error:
                named = _named(_without(error.message, self._account.account_id), metrics)
                if not named:
                    self._ask_each(ask, metrics, split)
                    return
                self._refuse(named, split, error.message)
                metrics = [metric for metric in metrics if metric not in named]

    def _ask_each(self, ask: _Ask, metrics: list[Metric], split: str | None) -> None:
        """The API does not say which metric it means. Where it refuses every one, it means none."""
        refused: dict[Metric, str] = {}
        for metric in metrics:
            try:
                ask([metric])
            except MetricRefused as error:
                refused[metric] = error.message
        if len(refused) == len(metrics):
            raise UnexpectedAnswer(refused[metrics[0]])
        for metric, message in refused.items():
            self._refuse([metric], split, message)

    def _ask(
        self,
        client: GoogleClient,
        days: Sequence[date],
        split: str | None,
        metrics: Sequence[Metric],
    ) -> None:
        request = client.service.reports().query(
            ids=f"channel=={self._account.account_id or 'MINE'}",
            startDate=days[0].isoformat(),
            endDate=days[-1].isoformat(),
            metrics=",".join(metric.name for metric in metrics),
            dimensions="day" if split is None else f"day,{split}",
            sort="day",
        )
        report = parse_report(client.execute(request), split)
        if any(not days[0] <= day <= days[-1] for day in report.days):
            raise UnexpectedAnswer("YouTube: a report of days that were not asked for")
        self._take(report, set(days), metrics)
        if lost := [metric for metric in metrics if metric.name not in report.metrics]:
            self._miss(lost, split, "YouTube: a report without the column")

    def _take(self, report: Report, days: set[date], metrics: Sequence[Metric]) -> None:
        self._seen |= report.days
        by_name = {metric.name: metric for metric in metrics}
        for name in sorted(report.odd & by_name.keys()):
            self._keep(UnexpectedAnswer(f"YouTube: a value of {name} is no number"))
        self.collected.add(
            SocialValue(
                by_name[name],
                day,
                value,
                part,
                "final" if is_settled(day, self._now, FINAL_AFTER_HOURS) else "provisional",
                extra_of(name, day, part),
            )
            for (name, day, part), value in report.numbers.items()
            if day in days and name in by_name
        )

    def _refuse(self, metrics: Sequence[Metric], split: str | None, said: str) -> None:
        """The API itself does not know them: what can be spared is not asked for any more."""
        spared = [metric for metric in metrics if _can_be_spared(metric, split)]
        self._api.refused.update((metric.name, split) for metric in spared)
        self._miss(metrics, split, said)

    def _miss(self, metrics: Sequence[Metric], split: str | None, said: str) -> None:
        """This channel has not got them."""
        for metric in metrics:
            self._refused.add((metric.name, split))
            if not _can_be_spared(metric, split):
                text = f"the metric {metric.name} is refused: {said}"
                self.collected.errors.append(MetricRefused(text, names=(metric.name,)))
        self._note_refused(metrics, split)

    def _note_refused(self, metrics: Sequence[Metric], split: str | None) -> None:
        suffix = "" if split is None else f":{split}"
        self.collected.refused |= {f"{metric.name}{suffix}" for metric in metrics}

    def _keep(self, error: FetchError) -> None:
        """Note a failure once: the same thing may be wrong with each report."""
        if all(known.message != error.message for known in self.collected.errors):
            self.collected.errors.append(error)


def _living(metrics: Sequence[Metric], day: date) -> tuple[Metric, ...]:
    text = day.isoformat()
    return tuple(m for m in metrics if m.since <= text and (not m.until or text < m.until))


def _named(said: str, metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that an error names; none where it names them all, which says nothing."""
    found = [metric for metric in metrics if _word(metric.name).search(said)]
    return found if len(found) < len(metrics) else []


def _without(said: str, account_id: str) -> str:
    """A channel may be called like a metric."""
    return _word(account_id).sub("...", said) if account_id else said


def _word(text: str) -> re.Pattern[str]:
    """As a whole: an id may have hyphens in it, and a metric's name between them."""
    return re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])")


def _can_be_spared(metric: Metric, split: str | None) -> bool:
    """Without its parts a number is still whole; without a metric that must be there, not."""
    return metric.optional or split is not None
