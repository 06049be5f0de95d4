"""Doctor looks for whoever hears of a run, over real connections."""

from __future__ import annotations

from dataclasses import replace

from jobs.doctor_alerts import check_alerts
from jobs.findings import ADVICE, OK
from tests.services.receiver import Receiver
from tests.unit.examinations import SETTINGS, examination
from tests.unit.fake_database import FakeDatabase


def test_whether_anybody_hears_of_a_run_is_looked_for_without_telling_them() -> None:
    [advice] = check_alerts(examination(FakeDatabase()))
    assert (advice.status, "HEALTHCHECK_URL" in advice.mend) == (ADVICE, True)
    with Receiver() as receiver:
        targets = replace(
            SETTINGS,
            healthcheck_url=f"{receiver.url}/sentinel-check",
            alert_webhook_url="http://127.0.0.1:1/sentinel-hook",
        )
        found = list(check_alerts(examination(FakeDatabase(), settings=targets)))
        assert receiver.got == []
    assert [f.status for f in found] == [OK, ADVICE]
    assert "127.0.0.1: no connection" in found[1].message
    assert not any("sentinel" in f.message + f.mend for f in found)
