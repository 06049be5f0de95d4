"""Each fault of a social platform costs its own connection and nobody else: what it is called,
whose it is, what mends it; and no number that is stored is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

import pytest

from sandbox import Fault, seed
from sandbox.faults import DELIVERY_KINDS, HTTP_KINDS
from sandbox.messages import Source
from sandbox.social_errors import LINKEDIN_ERRORS, YOUTUBE_ERRORS
from sandbox.social_faults import SOCIAL_KINDS
from sandbox.social_graph_errors import GRAPH_ERRORS
from tests.end_to_end.social_runs import (
    IN_PROCESS,
    Failures,
    Rows,
    SocialRuns,
    all_tokens,
    differences,
    failed_connections,
    failures,
    ids,
    marks,
    open_social_runs,
    truth,
)
from tests.end_to_end.visit_runs import Ran, last_run
from tests.integration.tables import execute
from tests.services.postgres import PostgresServer

pytestmark = IN_PROCESS

DAY = date(2026, 11, 16)
ON_DAY = ("--date", str(DAY))
OLD = 900_001.0
"""What an earlier run is said to have stored."""

TEMPORARY = ("temporary", "nothing to do if the next")
PERMISSION = ("permission", "connect it again and grant")
LOG_IN = ("credentials", "let its owner log in")
AGAIN = ("credentials", "connect the account again")
RETIRED = ("retired metric", "update this program")
REPORTED = ("unexpected answer", "report it")

GRAPH: Mapping[str, tuple[str, str]] = {
    "graph_1": TEMPORARY,
    "graph_2": TEMPORARY,
    "graph_transient": TEMPORARY,
    "graph_3": PERMISSION,
    "graph_10": PERMISSION,
    "graph_200": PERMISSION,
    "graph_283": PERMISSION,
    "graph_100": RETIRED,
    "graph_100_33": ("permission", "correct the connection's account_id"),
    "graph_100_1504016": REPORTED,
    "graph_100_2108006": RETIRED,
    "graph_102": AGAIN,
    "graph_104": REPORTED,
    "graph_190": AGAIN,
    "graph_190_page_token": ("permission", "connect the Page again"),
    **{f"graph_190_{subcode}": AGAIN for subcode in (458, 460, 463, 467, 492)},
    **{f"graph_190_{subcode}": LOG_IN for subcode in (459, 464)},
    "graph_368": ("permission", "account quality"),
    "graph_2500": REPORTED,
    "graph_3001_1504028": REPORTED,
}
"""Kind and mend of what facts/social.md 1.8 lists; the throttles: test_social_limits.py."""

GRAPH_THROTTLES = {"graph_4", "graph_17", "graph_32", "graph_341", "graph_613"} | {
    "graph_80001",
    "graph_80002",
}
YOUTUBE: Mapping[str, tuple[str, str]] = {
    "unsupported_query": REPORTED,
    "auth_error": ("credentials", "tokens --add --connection ID --refresh"),
    "forbidden": ("permission", "correct account_id"),
    "insufficient_scope": ("permission", "yt-analytics.readonly"),
    "access_not_configured": ("permission", "enable the YouTube Analytics API"),
    "quota_exceeded": TEMPORARY,
    "daily_limit_exceeded": TEMPORARY,
    "rate_limit_exceeded": TEMPORARY,
    "user_rate_limit_exceeded": TEMPORARY,
    "backend_error": TEMPORARY,
    "http_500_json": TEMPORARY,
    "http_429": TEMPORARY,
}
LINKEDIN: Mapping[str, tuple[str, str]] = {
    "linkedin_400": REPORTED,
    "linkedin_401_65600": ("credentials", "connect the LinkedIn account again"),
    "linkedin_401_65601": ("credentials", "connect the LinkedIn account again"),
    "linkedin_401_65602": ("credentials", "connect the LinkedIn account again"),
    "linkedin_403": ("permission", "administrator of the organization's page"),
    "linkedin_404": ("permission", "correct account_id"),
    "linkedin_426": ("settings", "raise LINKEDIN_VERSION"),
    "linkedin_500": TEMPORARY,
    "linkedin_503": TEMPORARY,
}
TOKEN: Mapping[str, tuple[str, str]] = {
    "invalid_grant": ("credentials", "give consent again"),
    "invalid_client": ("settings", "GOOGLE_CLIENT_ID"),
    "server_error": TEMPORARY,
}
DEAD = {
    *(f"graph_190_{subcode}" for subcode in (458, 460, 463, 467, 492)),
    *("graph_190", "graph_102", "invalid_grant"),
    *("linkedin_401_65600", "linkedin_401_65601", "linkedin_401_65602"),
}
"""After these the token is dead, and is not asked with again."""

EACH: list[tuple[Source, int, str, tuple[str, str]]] = [
    *(("instagram", 1, kind, told) for kind, told in GRAPH.items()),
    *(("instagram", 5, kind, told) for kind, told in list(GRAPH.items())[::6]),
    *(("facebook", 6, kind, told) for kind, told in GRAPH.items()),
    *(("youtube", 3, kind, told) for kind, told in YOUTUBE.items()),
    *(("linkedin", 8, kind, told) for kind, told in LINKEDIN.items()),
    *(("token", 7, kind, told) for kind, told in TOKEN.items()),
]


@dataclass
class Stage:
    """8 accounts whose one day is stored already, with other numbers."""

    runs: SocialRuns
    full: Rows = field(default_factory=dict)

    def begin(self) -> None:
        """As if an earlier run had stored other numbers, and nobody had met a fault."""
        url = self.runs.database_url
        self.runs.sandbox.reset()
        execute(url, "update platform_connections set metadata = metadata - 'needs_reauth'")
        execute(url, f"update analytics_snapshots set value = {OLD}")

    def check(self, connections: Iterable[int]) -> None:
        """Everybody else's numbers are stored; theirs are what they were, or right."""
        faulty = set(connections)
        found = self.runs.stored()
        others = {key: row for key, row in found.items() if key[0] not in faulty}
        expected = {key: row for key, row in self.full.items() if key[0] not in faulty}
        assert differences(others, expected) == []
        for key in found.keys() | self.full.keys():
            if key[0] in faulty:
                assert found[key][0] in (OLD, self.full[key][0]), (key, found[key])

    def untouched(self, connection: int) -> bool:
        return all(
            value == OLD for (n, _, _), (value, _) in self.runs.stored().items() if n == connection
        )


@pytest.fixture(scope="module")
def of_module(postgres: PostgresServer, migrated_template: str) -> Iterator[Stage]:
    url = postgres.create_database("social_faults", template=migrated_template)
    with open_social_runs(url) as runs:
        runs.whole(*ON_DAY)
        stage = Stage(runs, runs.stored())
        assert differences(stage.full, truth(runs, [DAY])) == []
        yield stage
    postgres.drop_database("social_faults")


@pytest.fixture
def stage(of_module: Stage) -> Stage:
    of_module.begin()
    return of_module


def check_told(
    done: Ran, found: Failures, told: tuple[str, str], connections: Iterable[int]
) -> None:
    """The failures of these connections alone, in the history and in the report."""
    kind, mend = told
    assert done.status == 1, done
    assert {failure["kind"] for failure in found} == {kind}, found
    assert failed_connections(found) == ids(connections)
    for failure in found:
        assert mend in failure["mend"], failure
        assert failure["message"]
        assert failure["message"] in done.out
        assert failure["mend"] in done.out
        for number in range(1, 9):  # the same for all accounts: they are told of together
            assert f"{number:011}" not in failure["message"]


def test_each_error_of_the_platforms_is_looked_at() -> None:
    """That nothing is left out below."""
    assert GRAPH.keys() | GRAPH_THROTTLES == GRAPH_ERRORS.keys()
    assert YOUTUBE.keys() == YOUTUBE_ERRORS.keys() | {"auth_error"}
    assert LINKEDIN.keys() | {"linkedin_429"} == LINKEDIN_ERRORS.keys()


@pytest.mark.parametrize(
    ("source", "connection", "kind", "told"), EACH, ids=[f"{s}-{n}-{k}" for s, n, k, _ in EACH]
)
def test_each_error_costs_its_connection_alone(
    source: Source, connection: int, kind: str, told: tuple[str, str], stage: Stage
) -> None:
    runs = stage.runs
    of_insights = (DAY,) if (source, told) == ("facebook", RETIRED) else None
    runs.sandbox.faults.add(Fault(source, kind, account=connection, days=of_insights))
    done = runs.run(*ON_DAY)
    found = failures(runs.database_url)
    check_told(done, found, told, [connection])
    assert {failure["source"] for failure in found} == {runs.world.platform_of(connection)}
    stage.check([connection])
    assert stage.untouched(connection)
    assert f"❌ {runs.world.platform_of(connection)}" in done.out
    assert "Platforms: 7/8 successful" in done.out
    assert "Users: 3/4 successful" in done.out
    assert not any(token in done.out for token in all_tokens(runs.world))
    dead = ids([connection]) if kind in DEAD else set()
    assert set(marks(runs.database_url)) == dead
    counts = last_run(runs.database_url)["counts"]
    assert (counts["platforms"], counts["platforms_successful"]) == (8, 7)


BROKEN: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("drop", "cut", "stall", "drip", "slow"), TEMPORARY),
    **dict.fromkeys(("http_500_html", "http_502_html", "http_503_html"), TEMPORARY),
    "http_500_json": TEMPORARY,
    **dict.fromkeys(("html_200", "not_json_200", "empty_200"), REPORTED),
    "redirect": ("settings", "correct "),
}
"""What stands between, or a server that is broken; all but http_429."""

SPOILED: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("string_value", "bool_value", "odd_end_time"), REPORTED),
    **dict.fromkeys(("no_data", "data_no_list", "no_headers", "short_row"), REPORTED),
    **dict.fromkeys(("no_time_range", "no_elements"), REPORTED),
    "no_read_insights": PERMISSION,
}
SPOILED_AT = {
    ("youtube", "foreign_day"): REPORTED,
    ("linkedin", "doubled_day"): REPORTED,
}
"""Good answers with something wrong in them; the others are no failure, only nothing to store."""

ALONE = {"http_429", "usage_app", "usage_account", "missing_column", "float_value"}
SECONDS = {"slow": 3.0, "drip": 0.3, "stall": 30.0}
PLATFORMS: tuple[Source, ...] = ("instagram", "facebook", "youtube", "linkedin")


def spoils(source: Source) -> list[str]:
    """The kinds that are no error of the platform's own."""
    errors = {**GRAPH, **YOUTUBE, **LINKEDIN}.keys() | GRAPH_THROTTLES | {"linkedin_429"}
    kinds = (SOCIAL_KINDS[source] - errors) | DELIVERY_KINDS | HTTP_KINDS
    return sorted(kinds - ALONE)


def test_what_is_broken_or_spoiled_costs_its_connection_alone(migrated_url: str) -> None:
    """All kinds in one run, each at a connection of its own; the last eight meet none."""
    faulty = {
        4 * place + at: (source, kind)
        for at, source in enumerate(PLATFORMS, start=1)
        for place, kind in enumerate(spoils(source))
    }
    assert len(faulty) > 90
    with open_social_runs(migrated_url, connections=max(faulty) + 8) as runs:
        full = truth(runs, [DAY])
        runs.whole(*ON_DAY)
        assert differences(runs.stored(), full) == []
        execute(migrated_url, f"update analytics_snapshots set value = {OLD}")
        runs.sandbox.faults.add(
            *(
                Fault(source, kind, account=n, seconds=SECONDS.get(kind))
                for n, (source, kind) in faulty.items()
            )
        )
        done = runs.run(*ON_DAY, HTTP_TIMEOUT="1", RUN_DEADLINE="30", CONCURRENCY="64")
        found = runs.stored()
        expected = {
            n: SPOILED_AT.get((source, kind)) or SPOILED.get(kind) or BROKEN.get(kind)
            for n, (source, kind) in faulty.items()
        }
        wrong = [key for key in full if found[key][0] not in (OLD, full[key][0])]
        whole = {key: row for key, row in full.items() if key[0] not in faulty}
        told = {
            (one, failure["kind"], failure["mend"])
            for failure in failures(migrated_url)
            for one in failure["sites"]
        }
    assert done.status == 1
    assert wrong == []
    assert found.keys() == full.keys()
    assert differences({key: found[key] for key in whole}, whole) == []
    kinds = {(one, kind) for one, kind, _ in told}
    assert kinds == {(seed.connection_id(n), what[0]) for n, what in expected.items() if what}
    mends = {one: mend for one, _, mend in told}
    for number, what in expected.items():
        if what:
            assert what[1] in mends[seed.connection_id(number)], faulty[number]
    untouched = {n for n, (_, kind) in faulty.items() if kind in BROKEN or kind == "empty_data"}
    assert all(value == OLD for (n, _, _), (value, _) in found.items() if n in untouched)
