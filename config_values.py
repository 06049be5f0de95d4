"""What the text of a variable must look like; a ValueError continues the sentence "NAME …"."""

from __future__ import annotations

import base64
import re
from datetime import date
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

SEARCH_TYPES = ("web", "image", "video", "news", "discover", "googleNews")

EARLIEST = date(2000, 1, 1)

NODE_TLS = {"no-verify", "ssl", "uselibpqcompat"}

HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:@\[\]]*)(:[0-9]{1,5})?")


def parse_secret(text: str) -> str:
    # A header or body cannot carry these; the HTTP libraries would quote the value in their error.
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("holds white space or characters outside ASCII: copy it again")
    return text


def parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL such as https://host.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a bare URL: no user name, password, ? or # in it")
    return text.rstrip("/")


def parse_alert_url(text: str) -> str:
    """Its path and query are its secret: they stay as they are."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("must be a URL such as https://host.example/path")
    return text


def parse_matomo_url(text: str) -> str:
    return parse_url(parse_url(text).removesuffix("/index.php"))


def parse_supabase_url(text: str) -> str:
    return parse_url(parse_url(text).removesuffix("/rest/v1"))


def parse_linkedin_url(text: str) -> str:
    return parse_url(parse_url(text).removesuffix("/rest"))


def parse_graph_version(text: str) -> str:
    if not re.fullmatch(r"v[1-9][0-9]\.[0-9]", text):
        raise ValueError("must be a version of the Graph API such as v25.0")
    return text


def parse_linkedin_version(text: str) -> str:
    if not re.fullmatch(r"20[2-9][0-9](0[1-9]|1[0-2])", text):
        raise ValueError("must be year and month of a version of LinkedIn's API such as 202603")
    return text


def parse_database_url(text: str) -> str:
    if text.startswith("embedded:"):
        if not text.removeprefix("embedded:"):
            raise ValueError("names no directory after embedded:")
        return text
    scheme, _, rest = text.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("must begin with postgresql:// or be embedded:DIR")
    # A raw @ / ? # in the password makes libpq take a part of it for the host, and print it.
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].partition("?")[0]
    user, _, hosts = authority.rpartition("@")
    odd = set("@[]") & set(user) or "@" in path
    if odd or not all(map(HOST_AND_PORT.fullmatch, hosts.split(","))):
        raise ValueError(
            "cannot be read: special characters of user and password go as %40 (@), %2F (/), "
            "%23 (#), %3F (?), %3A (:)"
        )
    return _in_words_of_libpq(text)


def _in_words_of_libpq(url: str) -> str:
    """Node's Postgres client, and so matomo-postgres, knows words for TLS that libpq refuses."""
    before, mark, query = url.partition("?")
    if not (NODE_TLS & set(re.split("[=&]", query))):
        return url
    kept = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if (name, value) == ("sslmode", "no-verify"):
            kept.append(("sslmode", "require"))
        elif name == "ssl":
            kept.append(("sslmode", "disable" if value in ("false", "0") else "require"))
        elif name != "uselibpqcompat":
            kept.append((name, value))
    return f"{before}{mark}{urlencode(kept, quote_via=quote)}" if kept else before


def parse_matomo_sites(text: str) -> tuple[int, ...]:
    """Site ids; none of them for `all`."""
    if text == "all":
        return ()
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch("[1-9][0-9]{0,8}", part) for part in parts):
        raise ValueError("must be all, one idSite, or several with commas between")
    return tuple(dict.fromkeys(map(int, parts)))


def parse_table_name(text: str) -> str:
    # The database library takes % for a place of a value.
    odd = "%" in text or not text.isprintable()
    if odd or any(len(part.encode()) > 63 for part in text.split(".")):
        raise ValueError("must be the name of a table, of at most 63 bytes and without %")
    return text


def parse_switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def parse_day(text: str) -> date:
    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date such as 2026-11-19") from None
    if day < EARLIEST:
        raise ValueError("lies before all web analytics")
    return day


def parse_fernet_keys(text: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in text.split(",") if part.strip())
    for key in keys:
        try:
            usable = len(base64.urlsafe_b64decode(key.encode("ascii"))) == 32
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must be one or more Fernet keys (44 characters), comma separated")
    return keys


def parse_timezone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be an IANA time zone such as Europe/Berlin") from None


def parse_search_type(text: str) -> str:
    if text not in SEARCH_TYPES:
        raise ValueError(f"must be one of {', '.join(SEARCH_TYPES)}")
    return text
