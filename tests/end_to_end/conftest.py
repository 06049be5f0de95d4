from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox import World
from tests.end_to_end.night import Night, copy_program, open_night

StartNight = Callable[[World], Night]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program without anybody's `.env`, shared by the tests of one worker."""
    return copy_program(tmp_path_factory.mktemp("program") / "analytics-aggregator")


@pytest.fixture
def start_night(program: Path, migrated_url: str) -> Iterator[StartNight]:
    """Opens a night of a world of the test's own."""
    with ExitStack() as stack:
        yield lambda world: stack.enter_context(open_night(program, migrated_url, world))


@pytest.fixture
def night(start_night: StartNight) -> Night:
    """20 sites of 3 accounts, nothing wrong with any of them."""
    return start_night(World(sites=20, accounts=3))
