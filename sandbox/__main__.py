"""The sandbox as a program: python -m sandbox --sites 198 --accounts 5 --latency 0.1 --port 0"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from sandbox.server import Sandbox
from sandbox.social_world import SocialWorld
from sandbox.world import World


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; prints lines for .env, then READY and the port."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    social = SocialWorld(users=options.users, connections=options.connections)
    world, latency = world_of(options), options.latency
    with Sandbox(world, latency, options.port, social) as sandbox:
        for name, value in sandbox.environment().items():
            print(f"{name}={value}")
        print(f"READY {sandbox.port}", flush=True)
        ended.wait()
    return 0


def world_of(options: argparse.Namespace) -> World:
    return World(
        sites=options.sites,
        accounts=options.accounts,
        time_zones=tuple(filter(None, options.time_zones.split(","))),
        visits_per_day=options.visits_per_day,
        actions_per_visit=options.actions_per_visit,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="Stands in for Matomo, Google Search Console, Instagram, Facebook, YouTube and "
        "LinkedIn on one port of 127.0.0.1.",
        epilog="Example: python -m sandbox --sites 198 --accounts 5 --latency 0.1 --port 8099",
    )
    parser.add_argument("--sites", type=int, default=198, help="number of sites")
    parser.add_argument("--accounts", type=int, default=5, help="number of Google accounts")
    parser.add_argument("--connections", type=int, default=300, help="social accounts")
    parser.add_argument("--users", type=int, default=150, help="whose they are, two each")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--visits-per-day", type=int, help="of every site; default: as usual")
    parser.add_argument("--actions-per-visit", type=int, help="default: 1 to 9")
    zones = "the sites' time zones in turn, for example Europe/Paris,Asia/Tokyo,UTC+3"
    parser.add_argument("--time-zones", default="", help=zones)
    return parser


if __name__ == "__main__":
    sys.exit(main())
