from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.postgrest import PostgrestServer


@pytest.fixture
def postgrest(database_url: str) -> Iterator[PostgrestServer]:
    """PostgREST over this test's own database; it starts in a tenth of a second."""
    with PostgrestServer(database_url) as server:
        yield server
