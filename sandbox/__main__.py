"""The sandbox as a program: python -m sandbox --sites 198 --accounts 5 --latency 0.1 --port 0"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from sandbox.server import Sandbox
from sandbox.world import World


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; prints lines for .env, then READY and the port."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    world = World(sites=options.sites, accounts=options.accounts)
    with Sandbox(world, latency_seconds=options.latency, port=options.port) as sandbox:
        for name, value in sandbox.environment().items():
            print(f"{name}={value}")
        print(f"READY {sandbox.port}", flush=True)
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Stands in for Matomo and Google Search Console on one port of 127.0.0.1.",
        epilog="Example: python -m sandbox --sites 198 --accounts 5 --latency 0.1 --port 8099",
    )
    parser.add_argument("--sites", type=int, default=198, help="number of sites")
    parser.add_argument("--accounts", type=int, default=5, help="number of Google accounts")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
