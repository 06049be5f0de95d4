"""The design's own loop, as its reader would write it; the baseline of bench/social.py.

User by user, connection by connection, day by day: one request, and one INSERT per metric that
does nothing where the row is there. Its metrics are those of today in place of the retired ones, a
Page's token is derived once, and the table's key has the account in it; else nothing would come.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import requests
from cryptography.fernet import Fernet

PACIFIC = ZoneInfo("America/Los_Angeles")
VERSION = "v25.0"
SECONDS = 60
NEWEST_DAYS_AGO = 4
"""All platforms have published that day."""

CONNECTIONS = """
select user_id, platform, account_id, access_token_encrypted, refresh_token_encrypted,
  metadata ->> 'login'
from platform_connections where is_active order by user_id, platform limit %s
"""
INSERT = """
insert into analytics_snapshots
  (user_id, platform, source, metric, value, date, post_id, account_id, metadata)
values (%s, %s, 'social_media', %s, %s, %s, null, %s, %s)
on conflict (user_id, platform, source, metric, date, post_id, account_id) do nothing
"""

Numbers = dict[str, float]


def get(url: str, token: str, **params: object) -> Any:
    headers = {
        "Authorization": f"Bearer {token}",
        "LinkedIn-Version": "202603",
        "X-Restli-Protocol-Version": "2.0.0",
    }
    answer = requests.get(url, params=params, headers=headers, timeout=SECONDS)  # type: ignore[arg-type]
    answer.raise_for_status()
    return answer.json()


def midnight(day: date, zone: ZoneInfo = PACIFIC) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())


def pacific_times(day: date) -> dict[str, int]:
    return {"since": midnight(day), "until": midnight(day + timedelta(days=1))}


def collect_instagram(account: str, token: str, _refresh: str, login: str, day: date) -> Numbers:
    host = os.environ["INSTAGRAM_API_URL" if login == "instagram" else "GRAPH_API_URL"]
    answer = get(
        f"{host}/{VERSION}/{account}/insights",
        token,
        metric="views,reach,profile_views",
        period="day",
        metric_type="total_value",
        **pacific_times(day),
    )
    return {item["name"]: item["total_value"]["value"] for item in answer["data"]}


def collect_facebook(
    account: str, page_token: str, _refresh: str, _login: str, day: date
) -> Numbers:
    answer = get(
        f"{os.environ['GRAPH_API_URL']}/{VERSION}/{account}/insights",
        page_token,
        metric="page_media_view,page_post_engagements,page_views_total",
        period="day",
        **pacific_times(day),
    )
    return {item["name"]: item["values"][0]["value"] for item in answer["data"]}


def collect_youtube(account: str, token: str, _refresh: str, _login: str, day: date) -> Numbers:
    answer = get(
        f"{os.environ['YOUTUBE_API_ENDPOINT']}/v2/reports",
        token,
        ids=f"channel=={account}",
        startDate=day.isoformat(),
        endDate=day.isoformat(),
        metrics="views,estimatedMinutesWatched,subscribersGained",
        dimensions="day",
    )
    names = [header["name"] for header in answer["columnHeaders"]]
    return dict(zip(names[1:], answer["rows"][0][1:], strict=True))


def collect_linkedin(account: str, token: str, _refresh: str, _login: str, day: date) -> Numbers:
    start, end = (1000 * midnight(day + timedelta(days=n), ZoneInfo("UTC")) for n in (0, 1))
    urn = f"urn%3Ali%3Aorganization%3A{account}"
    answer = get(
        f"{os.environ['LINKEDIN_API_URL']}/rest/organizationalEntityShareStatistics"
        f"?q=organizationalEntity&organizationalEntity={urn}"
        f"&timeIntervals=(timeRange:(start:{start},end:{end}),timeGranularityType:DAY)",
        token,
    )
    numbers = answer["elements"][0]["totalShareStatistics"]
    return {name: numbers[name] for name in ("impressionCount", "clickCount", "likeCount")}


COLLECTORS: dict[str, Callable[[str, str, str, str, date], Numbers]] = {
    "instagram": collect_instagram,
    "facebook": collect_facebook,
    "youtube": collect_youtube,
    "linkedin": collect_linkedin,
}


def usable_token(platform: str, account: str, access: str, refresh: str) -> str:
    """A Page answers to its own token, and YouTube's access tokens live for an hour."""
    if platform == "facebook":
        url = f"{os.environ['GRAPH_API_URL']}/{VERSION}/{account}"
        return str(get(url, access, fields="access_token")["access_token"])
    if platform == "youtube":
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": os.environ["GOOGLE_CLIENT_ID"],
            "client_secret": os.environ["GOOGLE_CLIENT_SECRET"],
        }
        answer = requests.post(os.environ["GOOGLE_TOKEN_URI"], data=form, timeout=SECONDS)
        return str(answer.json()["access_token"])
    return access


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--connections", type=int, required=True, help="the first of them")
    arguments.add_argument("--days", type=int, required=True)
    options = arguments.parse_args()
    fernet = Fernet(os.environ["ENCRYPTION_KEY"])
    newest = datetime.now(UTC).date() - timedelta(days=NEWEST_DAYS_AGO)
    by_user = defaultdict(list)
    inserted = 0
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        for user, *connection in database.execute(CONNECTIONS, (options.connections,)).fetchall():
            by_user[user].append(connection)
        for user, connections in by_user.items():
            for platform, account, *encrypted, login in connections:
                access, refresh = (t and fernet.decrypt(t).decode() for t in encrypted)
                token = usable_token(platform, account, access, refresh)
                for ago in range(options.days):
                    day = newest - timedelta(days=ago)
                    numbers = COLLECTORS[platform](account, token, refresh, login, day)
                    for metric, value in numbers.items():
                        metadata = json.dumps({"period": "day", "account_id": account})
                        database.execute(
                            INSERT, (user, platform, metric, value, day, account, metadata)
                        )
                        inserted += 1
    print(f"Total Metrics Inserted: {inserted}")


if __name__ == "__main__":
    main()
