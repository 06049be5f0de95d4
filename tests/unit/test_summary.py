"""The end of a run in words: one entry per reason, grouped by kind, with whose and which days."""

from __future__ import annotations

from datetime import date
from random import Random

import pytest

from models import Failure, SiteId
from summary import count, describe_days, failure_lines, merge_failures
from tests.unit.helpers import days_from

FIRST, SECOND, THIRD, FOURTH = days_from(date(2026, 11, 16), 4)
NAMES: dict[SiteId, str] = {n: f"s{n:02}.test" for n in range(1, 20)}


def failure(
    message: str,
    *sites: int,
    days: tuple[date, ...] = (FIRST,),
    kind: str = "temporary",
    source: str = "matomo",
    mend: str = "wait",
    account: str | None = None,
) -> Failure:
    return Failure(kind, source, message, mend, sites, days, account)


def test_failures_that_differ_in_sites_and_days_only_are_one() -> None:
    merged = merge_failures(
        [failure("x", 2, 1), failure("x", 3, 1, days=(SECOND, FIRST)), failure("x", 4)]
    )
    assert merged == [failure("x", 2, 1, 3, 4, days=(FIRST, SECOND))]


def test_for_the_history_only_sites_that_miss_the_same_days_are_joined() -> None:
    failures = [failure("x", 1), failure("x", 1, 2, days=(SECOND,)), failure("x", 3)]
    assert merge_failures(failures, exact=True) == [
        failure("x", 1, 3),
        failure("x", 1, 2, days=(SECOND,)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        failure("y", 1),
        failure("x", 1, kind="permission"),
        failure("x", 1, source="gsc"),
        failure("x", 1, mend="do"),
        failure("x", 1, account="g"),
    ],
)
def test_failures_of_another_reason_stay_apart(other: Failure) -> None:
    assert len(merge_failures([failure("x", 1), other])) == 2


def test_failures_come_by_kind_and_the_largest_first_in_any_order() -> None:
    failures = [
        failure("a", 1, kind="permission"),
        failure("b", 1, 2, 3, kind="permission"),
        failure("c", 1, kind="credentials"),
        failure("d", 1, 2, kind="temporary"),
    ]
    for seed in range(5):
        shuffled = Random(seed).sample(failures, len(failures))
        assert [f.message for f in merge_failures(shuffled)] == ["c", "b", "a", "d"]


def test_the_lines_name_kind_source_account_sites_days_reason_and_mend() -> None:
    lines = failure_lines(
        [
            failure("HTTP 503", 1, 2, days=(FIRST, SECOND)),
            failure("revoked", 3, kind="credentials", source="gsc", mend="consent", account="g"),
            failure("no table", days=(), source="database"),
        ],
        NAMES,
    )
    assert lines == [
        "",
        "credentials:",
        "  gsc, account g, 1 site (s03.test), 2026-11-16",
        "    revoked",
        "    -> consent",
        "",
        "temporary:",
        "  matomo, 2 sites (s01.test, s02.test), 2026-11-16 to 2026-11-17",
        "    HTTP 503",
        "    -> wait",
        "  database",
        "    no table",
        "    -> wait",
    ]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        (1, "1 site (s01.test)"),
        (5, "5 sites (s01.test, s02.test, s03.test, s04.test, s05.test)"),
        (6, "6 sites (s01.test, s02.test, s03.test, s04.test, s05.test and 1 more)"),
        (19, "19 sites (s01.test, s02.test, s03.test, s04.test, s05.test and 14 more)"),
    ],
)
def test_a_long_list_of_sites_is_cut_and_counted(sites: int, said: str) -> None:
    assert f"  matomo, {said}, 2026-11-16" in failure_lines(
        [failure("x", *range(1, sites + 1))], NAMES
    )


def test_a_site_without_domain_is_named_by_its_id() -> None:
    assert "  matomo, 2 sites (7, 8), 2026-11-16" in failure_lines([failure("x", 7, 8)], {7: ""})


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ((FIRST,), "2026-11-16"),
        ((FIRST, SECOND), "2026-11-16 to 2026-11-17"),
        ((FIRST, SECOND, THIRD, FOURTH), "2026-11-16 to 2026-11-19"),
        ((FIRST, THIRD), "2 days from 2026-11-16 to 2026-11-18"),
        ((FIRST, SECOND, FOURTH), "3 days from 2026-11-16 to 2026-11-19"),
    ],
)
def test_days_are_said_as_a_day_a_range_or_a_range_with_holes(
    days: tuple[date, ...], said: str
) -> None:
    assert describe_days(days) == said


def test_one_thing_is_not_many() -> None:
    assert [count(n, "site") for n in (0, 1, 2)] == ["0 sites", "1 site", "2 sites"]


def test_no_failures_are_no_lines() -> None:
    assert failure_lines([], NAMES) == []
