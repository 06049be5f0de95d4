"""10,000 sequences over two processes in bounded time, then the parsers; says what was met.

    python -m tests.chaos --seconds 5400 --seed 1234 --fuzz-seconds 600

A finding ends its process and is printed with the sequence that shows it; `--seed` repeats it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.chaos.sequences import SEQUENCES, STORES, Part, run_half
from tests.end_to_end.chaos.plans import LOG_KINDS, SOCIAL_KINDS, SOURCE_KINDS
from tests.fuzz.run import fuzz


def main() -> int:
    arguments = _parse()
    print(f"seed {arguments.seed}; to repeat: make chaos CHAOS_SEED={arguments.seed}", flush=True)
    began = time.monotonic()
    share, ends_at = arguments.sequences // len(STORES), time.time() + arguments.seconds
    with ProcessPoolExecutor(len(STORES), multiprocessing.get_context("spawn")) as pool:
        halves = [pool.submit(run_half, s, share, ends_at, arguments.seed) for s in STORES]
        parts = [half.result() for half in halves]
    _report(parts, time.monotonic() - began)
    findings = [part.finding for part in parts if part.finding]
    findings += fuzz(arguments.fuzz_seconds, arguments.seed)
    print("\n\n".join(findings) or "no findings", flush=True)
    return 1 if findings else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--seconds", type=float, default=5400, help="for the sequences")
    parser.add_argument("--fuzz-seconds", type=float, default=600, help="for the parsers")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    return parser.parse_args()


def _report(parts: list[Part], seconds: float) -> None:
    met: Counter[str] = sum((part.tally.met for part in parts), Counter())
    sequences = sum(part.tally.sequences for part in parts)
    runs = sum(part.tally.runs for part in parts)
    print(f"{sequences} sequences, {runs} runs, {seconds:.0f} s; runs that met each kind of fault:")
    for kind, times in sorted(met.items()):
        print(f"  {times:6} {kind}")
    known = {f"{source} {kind}" for source, kind in (*SOURCE_KINDS, *LOG_KINDS, *SOCIAL_KINDS)}
    missing = sorted(known - met.keys())
    if missing:
        print(f"never met: {', '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
