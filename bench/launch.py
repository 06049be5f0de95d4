"""Runs a command and writes what it took as JSON: python -I -S launch.py REPORT COMMAND...

A small process of its own, since the peak memory that the kernel reports of a child begins with
the size of the process that started it. Standard library only.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(report: str, *command: str) -> int:
    started = time.perf_counter()
    done = subprocess.run(command, check=False)
    wall_seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {
        "wall_seconds": wall_seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,  # Linux counts in kilobytes
    }
    Path(report).write_text(json.dumps(took), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
