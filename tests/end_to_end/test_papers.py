"""What the papers say is true: `.env.example`, README, crontab and unit files."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest

import cli
from config import RESERVED, Settings, load_settings

HOME = Path(__file__).parents[2]
PAPERS = [
    HOME / "README.md",
    HOME / "SECURITY.md",
    HOME / "crontab.example",
    *sorted((HOME / "docs").glob("*.md")),
    *sorted((HOME / "examples").rglob("*.service")),
]
# contract.md, Environment: what jobs that are not built yet will take for not set.
RESERVED_DEFAULTS = {
    "SOCIAL_CRON": "0 2 * * *",
    "HOURLY_CRON": "5 * * * *",
}
SHOWN_EMPTY = {"GOOGLE_TOKEN_URI"}
"""Its default is Google's own address."""


def example() -> dict[str, str]:
    lines = (HOME / ".env.example").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


def names_read_by_config() -> set[str]:
    """First argument of every read(…), number(…) and seconds(…) in config.py."""
    tree = ast.parse((HOME / "config.py").read_text())
    return {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("read", "number", "seconds")
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def test_env_example_names_exactly_the_variables_that_config_knows() -> None:
    read = names_read_by_config()
    assert len(read) >= 20
    # PGDATABASE is an old tool's name for DATABASE_URL, named in that one's comment.
    assert set(example()) == (read - {"PGDATABASE"}) | set(RESERVED)


def test_env_example_as_it_stands_is_the_defaults() -> None:
    assert load_settings({}, HOME / ".env.example") == Settings()


def test_env_example_shows_the_default_where_there_is_one() -> None:
    values = example()
    assert {n: v for n, v in values.items() if v and n in RESERVED} == RESERVED_DEFAULTS
    default = Settings()
    shown = {
        "MATOMO_SITES_PER_REQUEST": default.matomo_sites_per_request,
        "MATOMO_SITE": "all",
        "DESTINATION_TABLE": default.destination_table,
        "PARTITIONED": str(default.partitioned).lower(),
        "FORCE_STARTDATE": str(default.force_start_date).lower(),
        "INITIAL_OFFSET": default.initial_offset_days,
        "RESULTPERPAGE": default.results_per_page,
        "GSC_REQUESTS_PER_MINUTE": default.gsc_requests_per_minute,
        "GSC_SEARCH_TYPE": default.gsc_search_type,
        "TARGET_DAYS_AGO": default.target_days_ago,
        "LOOKBACK_DAYS": default.lookback_days,
        "TIMEZONE": default.timezone,
        "CONCURRENCY": default.concurrency,
        "HTTP_TIMEOUT": f"{default.http_timeout_seconds:g}",
        "HTTP_ATTEMPTS": default.http_attempts,
        "GRAPH_API_VERSION": default.graph_api_version,
        "LINKEDIN_VERSION": default.linkedin_version,
        "RUN_DEADLINE": f"{default.run_deadline_seconds:g}",
    }
    assert {n: v for n, v in values.items() if v and n not in RESERVED} == {
        name: str(value) for name, value in shown.items()
    }


def test_env_example_explains_every_variable() -> None:
    lines = (HOME / ".env.example").read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if "=" in line and not line.startswith("#"):
            assert above.startswith("# "), line


def command_lines(paper: Path) -> list[str]:
    """What follows `aggregator.py` in code: to the end of its back-ticks or of the line.

    A day that is left to the reader (`D`, `<first day>`) becomes one.
    """
    text = re.sub(r"<[^>\n]*\bday>|\bD\b", "2026-11-19", paper.read_text())
    found = re.findall(r"aggregator\.py((?: [^`\n]*)?)(?=`|\n|$)", text)
    return [re.split(r" 2>| >| <| \||,| and ", words)[0].strip(" …") for words in found]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_command_line_in_the_papers_is_accepted(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = []
    for words in command_lines(paper):
        try:
            cli.parse_arguments([word for word in shlex.split(words) if word not in ("…", "...")])
        except SystemExit as stopped:
            if stopped.code:
                refused.append(f"{words}\n{capsys.readouterr().err}")
    assert refused == []


def test_every_option_in_the_readme_is_one_of_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (HOME / "README.md").read_text()
    options = set(re.findall(r"`(-{1,2}[a-z][a-z-]*)", text))
    options |= {
        word
        for line in command_lines(HOME / "README.md")
        for word in line.split()
        if word.startswith("-")
    }
    helps = ""
    for command in ([], *([name] for name in cli.COMMANDS)):
        with pytest.raises(SystemExit):
            cli.parse_arguments([*command, "--help"])
        helps += capsys.readouterr().out
    assert len(options) >= 8
    assert {option for option in options if not re.search(rf"{option}\b", helps)} == set()


def test_the_readme_describes_every_command_and_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (HOME / "README.md").read_text()
    for command in cli.COMMANDS:
        assert f"aggregator.py {command}" in text
        with pytest.raises(SystemExit):
            cli.parse_arguments([command, "--help"])
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)):
            if option not in ("--help", "--verbose", "--quiet"):
                assert option in text, option


def test_the_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (HOME / "Makefile").read_text(), re.MULTILINE))
    text = (HOME / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test", "setup"} <= named
    assert named <= targets


def test_the_readme_opens_with_demo_and_test() -> None:
    first_code = (HOME / "README.md").read_text().split("```")[1]
    assert re.findall(r"^make (\w+)", first_code, re.MULTILINE) == ["demo", "test"]
