"""The plain version of the design document, as its reader would write it; the baseline.

One request at a time: each site's visits of one day from Matomo, each site's clicks and
impressions of that day from Search Console, one upsert. No retries, and an absent row is 0.

The design does not say which property is a site's: sites.gsc_property names it here.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from datetime import date
from typing import Any

import psycopg
import requests
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build

SITES = """
select id, matomo_site_id, gsc_account_id, gsc_property from sites
where status_deployment = 'deployed' order by matomo_site_id limit %s
"""
UPSERT = """
insert into daily_analytics (date, site_id, matomo_visits, gsc_clicks, gsc_impressions)
values (%(date)s, %(site_id)s, %(visits)s, %(clicks)s, %(impressions)s)
on conflict (date, site_id) do update set matomo_visits = excluded.matomo_visits,
  gsc_clicks = excluded.gsc_clicks, gsc_impressions = excluded.gsc_impressions
"""


def get_matomo_data(site_ids: list[int], day: date) -> dict[int, int]:
    """Visits by Matomo site id."""
    visits = {}
    for site_id in site_ids:
        answer = requests.post(
            f"{os.environ['MATOMO_API_URL']}index.php",
            data={
                "module": "API",
                "method": "VisitsSummary.getVisits",
                "idSite": site_id,
                "period": "day",
                "date": day.isoformat(),
                "format": "JSON",
                "token_auth": os.environ["MATOMO_API_TOKEN"],
            },
            timeout=60,
        )
        visits[site_id] = int(answer.json()["value"])
    return visits


def get_google_client(refresh_token: str) -> Any:
    credentials = Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=refresh_token,
        token_uri=os.environ["GOOGLE_TOKEN_URI"],
        client_id=os.environ["GOOGLE_CLIENT_ID"],
        client_secret=os.environ["GOOGLE_CLIENT_SECRET"],
    )
    endpoint = {"api_endpoint": os.environ["GOOGLE_API_ENDPOINT"]}
    return build("searchconsole", "v1", credentials=credentials, client_options=endpoint)


def get_gsc_data(client: Any, site_urls: list[str], day: date) -> dict[str, tuple[int, int]]:
    """(clicks, impressions) by property."""
    data = {}
    for site_url in site_urls:
        body = {
            "startDate": day.isoformat(),
            "endDate": day.isoformat(),
            "dimensions": ["date"],
            "dataState": "all",
        }
        answer = client.searchanalytics().query(siteUrl=site_url, body=body).execute()
        row = answer.get("rows", [{"clicks": 0, "impressions": 0}])[0]
        data[site_url] = int(row["clicks"]), int(row["impressions"])
    return data


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--date", type=date.fromisoformat, required=True)
    arguments.add_argument("--sites", type=int, help="only the first of them")
    options = arguments.parse_args()
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        sites = connection.execute(SITES, (options.sites,)).fetchall()
        accounts = connection.execute("select id, oauth_refresh_token from gsc_accounts").fetchall()
    visits = get_matomo_data([matomo_id for _, matomo_id, _, _ in sites], options.date)
    groups: dict[Any, list[str]] = defaultdict(list)
    for _, _, account_id, site_url in sites:
        groups[account_id].append(site_url)
    tokens: dict[Any, str] = dict(accounts)
    clicks: dict[str, tuple[int, int]] = {}
    for account_id, site_urls in groups.items():
        client = get_google_client(tokens[account_id])
        clicks |= get_gsc_data(client, site_urls, options.date)
    records = [
        {
            "date": options.date,
            "site_id": site_id,
            "visits": visits[matomo_id],
            "clicks": clicks[site_url][0],
            "impressions": clicks[site_url][1],
        }
        for site_id, matomo_id, _, site_url in sites
    ]
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.cursor().executemany(UPSERT, records)
    print(f"Processed {len(sites)} sites. Stored {len(records)} records.")


if __name__ == "__main__":
    main()
