"""Who used how much processor time, from /proc (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its children, living or gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile: its parent counts it
        return 0.0
    own = sum(map(int, fields[11:15])) / TICKS  # utime stime cutime cstime
    return own + sum(map(cpu_seconds, children(pid)))


def children_cpu_seconds() -> float:
    """The same of this process's living children alone."""
    return sum(map(cpu_seconds, children(os.getpid())))


def children(pid: int) -> list[int]:
    """Living children of a process, whichever of its threads started them."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


def machine_busy_seconds() -> float:
    """Time that all processors of this machine were not idle since it started."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    idle = fields[3] + fields[4]  # idle, iowait
    return (sum(fields) - idle) / TICKS
