"""One import of the visit log, timed from its first request to its last commit.

python -m bench.visit_import REPORT [arguments of `aggregator.py visits`]
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import cli
from config import load_settings
from jobs.alerts import Alerts
from jobs.visits import import_visits
from logs import set_up_logging


def main(report: str, *words: str) -> int:
    set_up_logging(verbose=False, quiet=True, style="text")
    arguments = cli.parse_arguments(["visits", "-q", *words])
    settings = load_settings(os.environ, None, ("postgres", "visit log"))
    now = datetime.now(UTC)
    alerts = Alerts(settings, "visits", now, wanted=False)
    wall, processor = time.perf_counter(), time.process_time()
    status = import_visits(arguments, settings, now, alerts)
    took = {
        "import_seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
    }
    Path(report).write_text(json.dumps(took), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
