"""Splits a SQL file into statements as the Supabase CLI does, so that both record the same.

No library agrees with it on backslashes, nested comments and comments behind a semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"""
      --[^\n]*                                # comment to the end of the line
    | /\*                                     # block comment: nests, so its end is looked for apart
    | [eE]'(?:[^'\\]|\\.|'')*'                # string in which a backslash escapes
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag)   # dollar quotes
    | [A-Za-z_][\w$]*
    | [();]
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
COMMENT_MARK = re.compile(r"/\*|\*/")


def split_statements(text: str) -> list[str]:
    """Statements without their closing semicolon; comments belong to what follows them.

    A comment behind the last statement is an entry of its own, as the CLI has it.
    """
    statements: list[str] = []
    start = 0
    for semicolon in _ends_of_statements(text):
        statements.append(text[start:semicolon].strip())
        start = semicolon + 1
    statements.append(text[start:].strip())
    return [statement for statement in statements if statement]


def _ends_of_statements(text: str) -> Iterator[int]:
    """Where a semicolon ends a statement: in no quotes, comment, parentheses or BEGIN ATOMIC."""
    nesting = 0
    previous = ""
    body: list[str] = []  # open BEGIN ATOMIC and CASE, each closed by an END
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        assert match is not None  # the last alternative matches anything
        token, position = match[0], match.end()
        if token == "/*":
            position = _end_of_comment(text, position)
            continue
        word = token.lower()
        nesting += (token == "(") - (token == ")")
        if (word == "atomic" and previous == "begin") or (word == "case" and body):
            body.append(word)
        elif word == "end" and body:
            body.pop()
        elif token == ";" and not nesting and not body:
            yield match.start()
        if not token.isspace():
            previous = word


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    while depth and (mark := COMMENT_MARK.search(text, position)):
        depth += 1 if mark[0] == "/*" else -1
        position = mark.end()
    return len(text) if depth else position
