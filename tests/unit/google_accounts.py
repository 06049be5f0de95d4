"""Google accounts that own four properties each, and answer by a rule where a test has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from fetchers.google_client import GoogleClient
from fetchers.http import Http
from tests.unit.google import Call, FakeGoogle, OfflineClient, Reply

BOUNDARY = "2026-11-17"
"""The first day whose numbers are not final."""

Rule = Callable[[str, str], Reply | None]
"""account, property (or "list") -> an answer in place of the usual one."""


class Account(FakeGoogle):
    """One account that owns s0.test to s3.test, unless `rule` answers a property otherwise."""

    def __init__(self, name: str, rule: Rule, tokens: list[Reply] | None) -> None:
        super().__init__(self.answer, tokens)
        self.name, self.rule = name, rule
        self.asked: list[str] = []

    def answer(self, call: Call) -> Reply:
        uri = unquote(call["uri"])
        if "/searchAnalytics/" not in uri:
            urls = [f"sc-domain:s{n}.test" for n in range(4)]
            listed = [{"siteUrl": url, "permissionLevel": "siteOwner"} for url in urls]
            return self.rule(self.name, "list") or (200, {"siteEntry": listed})
        site_url = uri.split("/sites/")[1].split("/searchAnalytics")[0]
        self.asked.append(site_url)
        row = {"keys": [json.loads(call["body"])["startDate"]], "clicks": 3, "impressions": 30}
        answer = {
            "rows": [row],
            "responseAggregationType": "byProperty",
            "metadata": {"firstIncompleteDate": BOUNDARY},
        }
        return self.rule(self.name, site_url) or (200, answer)


class Google:
    """All accounts of a run, by refresh token."""

    def __init__(self) -> None:
        self.rule: Rule = lambda _account, _site_url: None
        self.tokens: dict[str, list[Reply]] = {}
        self.accounts: dict[str, Account] = {}

    def open(self, refresh_token: str, *, http: Http, **_settings: Any) -> GoogleClient:
        name = refresh_token.removeprefix("token-of-")
        account = Account(name, self.rule, self.tokens.get(name))
        self.accounts[name] = account
        client = OfflineClient(account, http)
        client.authorize()
        return client

    @property
    def queries(self) -> int:
        return sum(len(account.asked) for account in self.accounts.values())
