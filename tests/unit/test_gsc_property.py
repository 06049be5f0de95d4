"""Which property holds a site's numbers: by host, in a fixed order, and never a parent's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from fetchers.errors import TargetDenied
from fetchers.gsc_property import Properties, Property, choose_property, parse_host

KINDS = [
    "sc-domain:a.test",
    "https://a.test/",
    "https://www.a.test/",
    "http://a.test/",
    "http://www.a.test/",
]
OTHERS = [Property(f"https://other{n}.test/") for n in range(3)]


def choose(domain: str, override: str | None, listed: Sequence[Property]) -> str:
    return choose_property(domain, override, Properties(listed))


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("example.com", "example.com"),
        ("Example.COM", "example.com"),
        ("www.example.com", "example.com"),
        ("WWW.Example.com", "example.com"),
        ("https://www.example.com/", "example.com"),
        ("http://example.com", "example.com"),
        ("HTTPS://EXAMPLE.COM/", "example.com"),
        ("example.com.", "example.com"),
        ("my_shop.example.com", "my_shop.example.com"),
        ("r3---sn.example.com", "r3---sn.example.com"),
        ("https://example.com./", "example.com"),
        ("  example.com\n", "example.com"),
        ("blog.example.com", "blog.example.com"),
        ("www2.example.com", "www2.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("https://www.BÜCHER.example/", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("straße.example", "xn--strae-oqa.example"),
        ("1und1.example", "1und1.example"),
    ],
)
def test_a_domain_is_read_in_each_spelling(domain: str, host: str) -> None:
    assert parse_host(domain) == host


@pytest.mark.parametrize(
    "domain",
    [
        "",
        " ",
        ".",
        "https://",
        "example.com/shop",
        "https://example.com/shop/",
        "example.com:8080",
        "info@example.com",
        "https://example.com:443/",
        "example.com?x=1",
        "example.com:abc",
        "exa mple.com",
        "*.example.com",
        "example..com",
        "-example.com",
        "http://[example",
        "a" * 64 + ".com",
        "a.com, b.com",
        "a.com/b.com",
    ],
)
def test_what_is_no_host_alone_is_refused_with_the_sites_domain(domain: str) -> None:
    with pytest.raises(TargetDenied) as caught:
        choose(domain, None, [Property(kind) for kind in KINDS])
    assert repr(domain) in caught.value.message
    assert "sites.gsc_property" in caught.value.mend


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(KINDS, 2)))
def test_the_better_kind_is_chosen_in_any_order_of_the_list(better: str, worse: str) -> None:
    for urls in ([better, worse], [worse, better]):
        properties = [*OTHERS, *map(Property, urls)]
        assert choose("www.A.test", None, properties) == better


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_alone_will_do(kind: str) -> None:
    assert choose("https://a.test/", None, [*OTHERS, Property(kind)]) == kind


@pytest.mark.parametrize(
    "listed",
    [
        "sc-domain:bücher.example",
        "sc-domain:xn--bcher-kva.example",
        "https://Bücher.example/",
        "https://www.xn--bcher-kva.example/",
    ],
)
def test_a_property_is_handed_on_in_the_spelling_of_the_list(listed: str) -> None:
    assert choose("BÜCHER.example", None, [Property(listed)]) == listed


def test_the_first_of_two_spellings_of_one_property_is_used() -> None:
    listed = [Property("https://A.test/"), Property("https://a.test/")]
    assert choose("a.test", None, listed) == "https://A.test/"
    assert choose("a.test", None, listed[::-1]) == "https://a.test/"
    assert choose("a.test", "https://a.test/", listed) == "https://a.test/"


@pytest.mark.parametrize(
    "listed",
    [
        "https://a.test/shop/",
        "https://blog.a.test/",
        "sc-domain:www.a.test",
        "https://a.test:8443/",
        "android-app://a.test/",
        "sc-domain:xa.test",
        "sc-domain:a.test.example",
        "https://a.test",
        "a.test",
    ],
)
def test_another_property_is_not_mistaken_for_the_sites_own(listed: str) -> None:
    with pytest.raises(TargetDenied, match="no Search Console property of this site"):
        choose("a.test", None, [Property(listed)])


@pytest.mark.parametrize(
    "garbage", ["", "x", "http://[a.test/", "sc-domain:", "https:///", "://", "sc-domain:a b"]
)
def test_a_property_of_unknown_spelling_is_passed_over(garbage: str) -> None:
    properties = [Property(garbage), Property("https://a.test/")]
    assert choose("a.test", None, properties) == "https://a.test/"
    with pytest.raises(TargetDenied):
        choose("b.test", None, properties)


def test_a_parents_property_is_named_and_never_used() -> None:
    properties = [*OTHERS, Property("sc-domain:test"), Property("sc-domain:a.test")]
    with pytest.raises(TargetDenied) as caught:
        choose("shop.de.a.test", None, properties)
    assert "sc-domain:a.test," in caught.value.message  # the nearest one
    assert "parent domain's numbers" in caught.value.message
    assert "shop.de.a.test" in caught.value.mend


def test_a_childs_property_is_not_used_either() -> None:
    with pytest.raises(TargetDenied):
        choose("a.test", None, [Property("sc-domain:shop.a.test")])


def test_an_unverified_property_does_not_count() -> None:
    with pytest.raises(TargetDenied) as caught:
        choose("a.test", None, [Property(KINDS[0], verified=False), *OTHERS])
    assert caught.value.message == "the account is not verified for sc-domain:a.test"
    assert "verify the property" in caught.value.mend


def test_a_verified_property_of_a_lesser_kind_wins_over_an_unverified_one() -> None:
    properties = [Property(KINDS[0], verified=False), Property(KINDS[4])]
    assert choose("a.test", None, properties) == KINDS[4]


def test_the_override_is_used_as_it_stands_even_for_another_host() -> None:
    properties = [
        *map(Property, KINDS),
        Property("https://a.test/shop/"),
        Property("sc-domain:b.test"),
    ]
    assert choose("a.test", "https://a.test/shop/", properties) == "https://a.test/shop/"
    assert choose("a.test", "sc-domain:b.test", properties) == "sc-domain:b.test"
    assert choose("no host!", "sc-domain:b.test", properties) == "sc-domain:b.test"


@pytest.mark.parametrize("override", ["https://a.test", "https://A.test/", "sc-domain:c.test"])
def test_an_override_that_is_not_listed_is_refused_and_not_replaced(override: str) -> None:
    with pytest.raises(TargetDenied) as caught:
        choose("a.test", override, [*map(Property, KINDS)])
    assert repr(override) in caught.value.message
    assert "sites.gsc_property" in caught.value.message
    assert all(kind in caught.value.message for kind in KINDS)


def test_an_unverified_override_is_refused_and_not_replaced() -> None:
    properties = [Property(KINDS[0]), Property(KINDS[1], verified=False)]
    with pytest.raises(TargetDenied, match=r"not verified for https://a\.test/"):
        choose("a.test", KINDS[1], properties)


@pytest.mark.parametrize(
    ("number", "more"), [(1, None), (10, None), (11, "and 1 more"), (500, "and 490 more")]
)
def test_the_message_lists_what_the_account_does_see(number: int, more: str | None) -> None:
    properties = [Property(f"https://p{n}.test/") for n in range(number)]
    with pytest.raises(TargetDenied) as caught:
        choose("a.test", None, [*properties, Property("https://u.test/", verified=False)])
    listed = [p.url for p in properties if p.url in caught.value.message]
    assert listed == [p.url for p in properties[:10]]
    assert ("more" in caught.value.message) == (more is not None)
    assert more is None or caught.value.message.endswith(more)
    assert "u.test" not in caught.value.message


@pytest.mark.parametrize("properties", [[], [Property("https://u.test/", verified=False)]])
def test_an_account_that_sees_nothing_says_so(properties: list[Property]) -> None:
    with pytest.raises(TargetDenied, match="it sees none"):
        choose("a.test", None, properties)
