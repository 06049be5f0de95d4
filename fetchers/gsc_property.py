"""Which Search Console property holds a site's numbers. Pure functions.

Google matches a property byte for byte, so the string handed on is always one that the account
itself lists (shared facts/gsc.md, Endpoint).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import idna

from fetchers.errors import TargetDenied, TargetMisnamed

DOMAIN_PREFIX = "sc-domain:"
LISTED_IN_A_MESSAGE = 10
ASCII_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Property:
    """One entry of sites.list. `verified` is False for siteUnverifiedUser: no access to data."""

    url: str
    verified: bool = True


def parse_host(domain: str) -> str:
    """Host of a site in lower case, IDN as punycode, without `www.`, scheme and trailing dot.

    Accepts `Example.com`, `https://www.example.com/`, `example.com.`, `bücher.example`.

    Raises:
        ValueError: it is no host name, or names a path or port, whose numbers are others.
    """
    text = domain.strip()
    if not text.isprintable() or " " in text:  # urlsplit would drop a line break unseen
        raise ValueError("is no host name")
    parts = urlsplit(text if "://" in text else f"//{text}")
    more = parts.path.strip("/") or parts.query or parts.username or parts.port is not None
    if more:
        raise ValueError("names more than a host")
    try:
        return _to_ascii(parts.hostname or "").rstrip(".").removeprefix("www.")
    except ValueError:
        raise ValueError("is no host name") from None


class Properties:
    """What an account lists, found by the spelling of `choose_property`. Made once per account."""

    def __init__(self, listed: Sequence[Property]) -> None:
        self.listed = listed
        self._by_url = {p.url: p for p in listed}
        # The first of two spellings of one property wins.
        self._by_canonical = {_canonical(p.url): p for p in reversed(listed)}

    def exactly(self, url: str) -> list[Property]:
        return [self._by_url[url]] if url in self._by_url else []

    def of_host(self, host: str) -> list[Property]:
        """Properties that hold this host's numbers and no other's, best first."""
        wanted = [
            f"{DOMAIN_PREFIX}{host}",
            *(f"{scheme}://{www}{host}/" for scheme in ("https", "http") for www in ("", "www.")),
        ]
        return [self._by_canonical[url] for url in wanted if url in self._by_canonical]

    def parent_of(self, host: str) -> str | None:
        """The nearest parent domain's property, if the account has one."""
        labels = host.split(".")
        parents = (f"{DOMAIN_PREFIX}{'.'.join(labels[n:])}" for n in range(1, len(labels)))
        return next((url for url in parents if url in self._by_canonical), None)


def choose_property(domain: str, override: str | None, properties: Properties) -> str:
    """The property to ask for a site: `override` (sites.gsc_property), else the best one listed.

    In this order: sc-domain:host, https://host/, https://www.host/, http://host/, http://www.host/.
    A parent's sc-domain property would give the parent's numbers: it is named, never used.

    Raises:
        TargetDenied: none fits, or the account is not verified for it.
    """
    if override:
        return _overridden(override, properties)
    try:
        host = parse_host(domain)
    except ValueError as error:
        raise TargetMisnamed(
            f"the site's domain {domain!r} {error}",
            mend="correct sites.domain, or name the property in sites.gsc_property",
        ) from None
    return _usable(properties.of_host(host), host, properties)


def explain_choice(url: str, override: str | None) -> str:
    """Why `choose_property` chose this one, in a few words."""
    if override:
        return "named in sites.gsc_property"
    if url.startswith(DOMAIN_PREFIX):
        return "the domain property of the host comes first"
    return "the account lists none that comes before it"


def _overridden(override: str, properties: Properties) -> str:
    found = properties.exactly(override)
    if not found:
        listed = _listed(properties.listed)
        raise TargetMisnamed(
            f"sites.gsc_property {override!r} is not among the account's properties: {listed}",
            mend="spell it exactly as Search Console does, or empty it to have one chosen",
        )
    return _usable(found, override, properties)


def _usable(found: Sequence[Property], asked: str, properties: Properties) -> str:
    verified = next((p for p in found if p.verified), None)
    if verified is not None:
        return verified.url
    if found:
        raise TargetDenied(
            f"the account is not verified for {found[0].url}",
            mend="verify the property in Search Console, or add the account as a user of it",
        )
    parent = properties.parent_of(asked)
    if parent:
        raise TargetDenied(
            f"the account sees only {parent}, which holds the parent domain's numbers",
            mend=f"add a property for {asked} itself in Search Console",
        )
    listed = _listed(properties.listed)
    raise TargetDenied(
        f"the account has no Search Console property of this site; it sees {listed}",
        mend="add the account as a user of the site's property, or set sites.gsc_property",
    )


def _canonical(url: str) -> str:
    """The same property in the spelling of `choose_property`; unknown spellings as they are."""
    try:
        if url.startswith(DOMAIN_PREFIX):
            return f"{DOMAIN_PREFIX}{_to_ascii(url.removeprefix(DOMAIN_PREFIX))}"
        parts = urlsplit(url)
        return f"{parts.scheme}://{_to_ascii(parts.netloc)}{parts.path}"
    except ValueError:
        return url


def _to_ascii(host: str) -> str:
    """IDN as punycode, in lower case. Raises ValueError (idna.IDNAError is one)."""
    if host.isascii():  # what is registered already may break IDNA's rules: my_shop.example
        if not ASCII_HOST.fullmatch(host):
            raise ValueError("is no host name")
        return host.lower()
    return idna.encode(host, uts46=True).decode("ascii").lower()


def _listed(properties: Sequence[Property]) -> str:
    urls = [p.url for p in properties if p.verified]
    more = len(urls) - LISTED_IN_A_MESSAGE
    listed = ", ".join(urls[:LISTED_IN_A_MESSAGE]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
