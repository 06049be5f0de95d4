"""The Search Console half of the nightly run: all accounts side by side, one pool of threads."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial

from config import Settings
from fetchers.errors import (
    AccessDenied,
    CredentialsError,
    FetchError,
    Interrupted,
    QuotaExhausted,
    SettingsError,
    TargetDenied,
    interrupted,
    outcome_of,
)
from fetchers.gsc import (
    Clicks,
    PropertyAnswer,
    get_gsc_data,
    list_properties,
    pacific_today,
    published_until,
    refuse_old_days,
    settle_days,
)
from fetchers.gsc_property import Properties, Property, choose_property
from fetchers.http import Http
from jobs.daily_plan import Plan
from jobs.gsc_accounts import Account, decrypt_token, group_by_account, name_account
from jobs.progress import Advance, Bars
from jobs.sources import open_google_account
from models import Failure, Site, SiteId
from workers import Workers

log = logging.getLogger("aggregator.gsc")

Numbers = dict[SiteId, dict[date, Clicks]]


@dataclass(slots=True)
class SearchConsoleResult:
    """numbers: what is known now. waiting: cells that Google has not published yet."""

    numbers: Numbers = field(default_factory=dict)
    waiting: dict[SiteId, list[date]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def sites(self) -> int:
        """Sites of which at least one day is known."""
        return sum(1 for days in self.numbers.values() if days)


def fetch_search_console(
    plan: Plan, settings: Settings, http: Http, now: datetime, bars: Bars
) -> SearchConsoleResult:
    """Clicks and impressions of every site that has an account, one request per property."""
    advance = bars.bar("Search Console sites", sum(1 for days in plan.gsc.values() if days))
    return _SearchConsole(plan, settings, http, pacific_today(now), advance).fetch()


class _SearchConsole:
    """State of one run. Only the thread that calls `fetch` changes it; workers ask, and note
    what ends an account or everything."""

    def __init__(
        self, plan: Plan, settings: Settings, http: Http, today: date, advance: Advance
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._http = http
        self._today = today
        self._advance = advance
        self._result = SearchConsoleResult()
        self._workers: Workers[_Opened | _Asked] = Workers(settings.concurrency, http.stop)
        self._open_sites: dict[SiteId, list[date]] = {}
        self._answers: list[tuple[dict[SiteId, list[date]], PropertyAnswer]] = []
        self._ended_by: FetchError | None = None

    def fetch(self) -> SearchConsoleResult:
        for account in self._accounts():
            self._workers.submit(partial(self._open, account))
        for outcome in self._workers.results():
            if isinstance(outcome, _Opened):
                self._ask_sites_of(outcome)
            else:
                self._take(outcome)
        for account in self._accounts_of_open_sites():
            self._fail(account.sites, interrupted(self._http.stop), account.id)
        self._settle()
        return self._result

    def _accounts(self) -> list[Account]:
        """The accounts to open, with their tokens readable.

        Days that Search Console no longer keeps and unreadable tokens fail here, unasked.
        """
        kept: dict[SiteId, list[date]] = {}
        for site_id, days in self._plan.gsc.items():
            kept[site_id], gone, error = refuse_old_days(days, self._today)
            if error is not None:
                self._record(error, (site_id,), tuple(gone), None)
        self._open_sites = {site_id: days for site_id, days in kept.items() if days}
        readable = []
        for account in self._accounts_of_open_sites():
            try:
                keys = self._settings.encryption_keys
                account.refresh_token = decrypt_token(account.id, account.stored_token, keys)
                readable.append(account)
            except FetchError as error:
                self._fail(account.sites, error, account.id)
        return readable

    def _accounts_of_open_sites(self) -> list[Account]:
        sites = (self._plan.sites[site_id] for site_id in self._open_sites)
        return group_by_account(sites, self._plan.accounts)

    def _open(self, account: Account) -> _Opened:
        """Runs on a worker: one token refresh and one list of properties per account."""
        if self._ended_by is not None:
            return _Opened(account, self._ended_by)

        def open_account() -> list[Property]:
            client = open_google_account(account.refresh_token, self._settings, self._http)
            account.client = client
            return list_properties(client)

        outcome = outcome_of(open_account)
        if isinstance(outcome, SettingsError):  # our client, or the address: all accounts' matter
            self._ended_by = outcome
        return _Opened(account, outcome)

    def _ask_sites_of(self, opened: _Opened) -> None:
        """Choose each site's property; sites that share one share its request."""
        account = opened.account
        if isinstance(opened.outcome, FetchError):
            self._fail(account.sites, opened.outcome, account.id)
            return
        properties = Properties(opened.outcome)
        sites_of: dict[str, list[Site]] = defaultdict(list)
        for site in account.sites:
            url = outcome_of(partial(choose_property, site.domain, site.gsc_property, properties))
            if isinstance(url, FetchError):
                self._fail([site], url, account.id)
            else:
                sites_of[url].append(site)
        log.debug("account %s: %d properties to ask", account.id, len(sites_of))
        for url, sites in sites_of.items():
            days = {day for site in sites for day in self._open_sites[site.id]}
            self._workers.submit(partial(self._ask, account, url, sites, days))

    def _ask(self, account: Account, url: str, sites: list[Site], days: set[date]) -> _Asked:
        """Runs on a worker: one request for all days of one property."""
        ended_by = self._ended_by or account.ended_by
        if ended_by is not None:
            return _Asked(account, sites, ended_by)
        client, search_type = account.client, self._settings.gsc_search_type
        assert client is not None
        outcome = outcome_of(
            lambda: get_gsc_data(client, url, days, today=self._today, search_type=search_type)
        )
        # At once, for the other workers: what was refused for good is not asked again.
        if isinstance(outcome, FetchError) and _ends_account(outcome):
            account.ended_by = client.refused = outcome
        return _Asked(account, sites, outcome)

    def _take(self, asked: _Asked) -> None:
        if isinstance(asked.outcome, FetchError):
            self._fail(asked.sites, asked.outcome, asked.account.id)
            return
        self._advance(len(asked.sites))
        days_of = {site.id: self._open_sites.pop(site.id) for site in asked.sites}
        self._answers.append((days_of, asked.outcome))

    def _settle(self) -> None:
        """Decide the days without a row, once every property has shown where its data end."""
        until = published_until((answer for _, answer in self._answers), self._today)
        for days_of, answer in self._answers:
            known, waiting = settle_days(answer, until)
            for site_id, days in days_of.items():
                self._result.numbers[site_id] = {d: known[d] for d in days if d in known}
                if unpublished := [day for day in days if day in waiting]:
                    self._result.waiting[site_id] = unpublished

    def _fail(self, sites: Iterable[Site], error: FetchError, account_id: SiteId | None) -> None:
        """Sites that stay unknown. Our own settings and stops are no account's failure."""
        account = None if isinstance(error, SettingsError | Interrupted) else account_id
        by_days: dict[tuple[date, ...], list[SiteId]] = defaultdict(list)
        for site in sites:
            by_days[tuple(self._open_sites.pop(site.id))].append(site.id)
            self._advance(1)
        for days, ids in by_days.items():
            self._record(error, tuple(ids), days, account)

    def _record(
        self,
        error: FetchError,
        ids: tuple[SiteId, ...],
        days: tuple[date, ...],
        account: SiteId | None,
    ) -> None:
        mend = name_account(error.mend, account)
        self._result.failures.append(
            Failure(error.kind, "gsc", error.message, mend, ids, days, account)
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    account: Account
    outcome: list[Property] | FetchError


@dataclass(frozen=True, slots=True)
class _Asked:
    account: Account
    sites: list[Site]
    outcome: PropertyAnswer | FetchError


def _ends_account(error: FetchError) -> bool:
    if isinstance(error, TargetDenied):
        return False
    return isinstance(error, CredentialsError | AccessDenied | QuotaExhausted)
