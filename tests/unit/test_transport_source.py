"""The source nowhere switches off what makes a connection safe."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import HOME

NOT_THE_PROGRAM = ("tests", "sandbox", "bench", "node_modules")
SOURCES = sorted(
    path
    for path in HOME.rglob("*.py")
    if not any(
        part in NOT_THE_PROGRAM or part.startswith(".") for part in path.relative_to(HOME).parts
    )
)
# Words that weaken TLS, whatever they are set to: nothing here has a reason to say one of them.
WEAKENING = {
    *("verify", "verify_mode", "check_hostname", "cert_reqs", "assert_hostname", "trust_env"),
    *("CERT_NONE", "CERT_OPTIONAL", "SSLContext", "_create_unverified_context"),
    *("disable_ssl_certificate_validation", "disable_warnings", "assert_fingerprint"),
}
REDIRECTS = ("allow_redirects", "follow_redirects")
ASKING = {
    # Who speaks HTTP, with which library: each of these files is held to the tests here.
    "requests": {"fetchers/http.py"},
    "httpx": {"storage/rest_calls.py"},
    "httplib2": {"fetchers/google_client.py"},
    "urllib.request": set[str](),
    "urllib3": {"fetchers/http.py"},
}


def name(path: Path) -> str:
    return str(path.relative_to(HOME))


def words(tree: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Every name, attribute and keyword argument, with what it is set to where it is set."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, None
        elif isinstance(node, ast.Attribute):
            yield node.attr, None
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            yield node.targets[0].attr, node.value


def check(text: str) -> list[str]:
    """What a source says that it must not."""
    found = []
    for word, value in words(ast.parse(text)):
        if word in WEAKENING:
            found.append(word)
        if word in REDIRECTS and value is not None and ast.unparse(value) != "False":
            found.append(f"{word} = {ast.unparse(value)}")
    return found


def imported(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_certificates_are_checked_and_redirects_not_followed(path: Path) -> None:
    assert check(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "requests.get(url, verify=False)",
        "session.verify = False",
        "httpx.Client(verify=context)",
        "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE",
        "httplib2.Http(disable_ssl_certificate_validation=True)",
        "ssl._create_unverified_context()",
        "urllib3.disable_warnings()",
        "requests.get(url, allow_redirects=True)",
        "httpx.Client(follow_redirects=True)",
        "plain.follow_redirects = wanted",
    ],
)
def test_each_way_to_weaken_a_connection_is_seen(text: str) -> None:
    assert check(text)


@pytest.mark.parametrize("library", ASKING)
def test_http_is_spoken_in_known_files_alone(library: str) -> None:
    users = {
        name(path)
        for path in SOURCES
        if any(module == library or module.startswith(f"{library}.") for module in imported(path))
    }
    assert users - {"aggregator.py"} == ASKING[library]


def calls(path: str, *endings: str) -> list[ast.Call]:
    tree = ast.parse((HOME / path).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func).endswith(endings)]


def test_requests_is_told_to_follow_no_redirect() -> None:
    """It follows them unless told: each request that is sent says so."""
    sent = calls("fetchers/http.py", "_session().request", "_session().post", "_session().get")
    assert sent
    for call in sent:
        assert "allow_redirects" in {keyword.arg for keyword in call.keywords}


def test_httplib2_is_told_to_follow_no_redirect() -> None:
    """One Http is made to send with; the other only fills an argument of the discovery."""
    text = (HOME / "fetchers/google_client.py").read_text()
    assert len(calls("fetchers/google_client.py", "httplib2.Http")) == 2
    assert "plain.follow_redirects = False" in text


def test_postgres_is_connected_to_in_one_place() -> None:
    """Which asks for TLS (storage/postgres_tls.py)."""
    users = {
        name(path)
        for path in SOURCES
        if calls(name(path), "psycopg.connect", "Connection.connect", "ConnectionPool")
    }
    assert users == {"storage/postgres_calls.py"}
