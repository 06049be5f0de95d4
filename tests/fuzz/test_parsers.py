"""No parser trips over any answer: a short look at each with every change, long ones in chaos."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from tests.fuzz.parsers import PARSERS
from tests.fuzz.run import feed

EXAMPLES = 60


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_any_answer_is_parsed_or_refused_by_a_named_kind(
    parser: Callable[[st.DataObject], None],
) -> None:
    feed(parser, EXAMPLES, seed=1)
