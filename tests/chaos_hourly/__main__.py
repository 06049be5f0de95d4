"""A run of any length on any version, and what came of it.

    python -m tests.chaos_hourly --seconds 600 --seed 1234 --major 15

--fault plants one of tests/chaos_hourly/faults.py first: the run has to find it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.chaos_hourly.faults import FAULTS, plant
from tests.chaos_hourly.machine import Machine, Plan, Report
from tests.chaos_hourly.server import MortalServer
from tests.integration.tables import migrate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos_hourly", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--major", type=int, default=18)
    parser.add_argument("--fault", choices=FAULTS)
    parser.add_argument("--kill-every", type=float, default=30)
    arguments = parser.parse_args()
    plan = Plan(arguments.seconds, arguments.seed, kill_every=arguments.kill_every or None)
    began = time.monotonic()
    with MortalServer(arguments.major) as server:
        url = server.create_database("chaos")
        migrate(url)
        if arguments.fault:
            plant(url, arguments.fault)
        report = Machine(server, "chaos", plan).run()
    print(f"seed {plan.seed}, PostgreSQL {arguments.major}, {time.monotonic() - began:.0f} s")
    show(report)
    return 1 if report.findings() else 0


def show(report: Report) -> None:
    for name in ("done", "compared", "refused"):
        print(f"{name}:")
        for kind, times in sorted(getattr(report, name).items()):
            print(f"  {times:8} {kind}")
    print(
        f"{len(report.differences)} differences, {report.after_the_end} of them after the last "
        f"refresh; {len(report.unexpected)} unexpected errors"
    )
    print(report.findings() or "no findings")


if __name__ == "__main__":
    sys.exit(main())
