"""A redirect is an answer, not an order: it would carry the service key to somebody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models import Window
from storage.errors import DatabaseError
from tests.integration.databases import DAYS, Store
from tests.services.gateway import Answer, Fault, Gateway

REQUESTS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.database.read_sites(),
    "read accounts": lambda store: store.database.read_gsc_accounts(),
    "read days": lambda store: list(store.database.read_days(Window(DAYS[0], DAYS[-1]))),
    "write": lambda store: store.database.upsert_rows(["matomo_visits"], [(DAYS[0], "x", 1)]),
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_supabases_key_follows_no_redirect(request_name: str, status: int, rest: Store) -> None:
    assert rest.postgrest is not None
    gateway = rest.postgrest.proxy
    elsewhere = Gateway(gateway.upstream, gateway.keys)
    try:
        location = {"Location": f"{elsewhere.url}/rest/v1/sites"}
        gateway.faults.append(Fault(Answer(status, "", location), times=None))
        with pytest.raises(DatabaseError):
            REQUESTS[request_name](rest)
        assert gateway.requests
        assert elsewhere.requests == []
    finally:
        elsewhere.stop()
