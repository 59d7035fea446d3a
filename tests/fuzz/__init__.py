"""Every pure entry point on whatever may come in: it answers, or refuses with an error of our own.

How many examples each test tries is decided here alone: AZURERM_LITE_FUZZ_EXAMPLES, else 2,000 in CI and 200 elsewhere.

    from tests.fuzz import JSON, fuzz

    @fuzz
    @given(JSON)
    def test_...(value): ...
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("AZURERM_LITE_FUZZ_EXAMPLES") or (2000 if os.environ.get("CI") else 200))


_UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def fuzz(test: Callable[..., Any]) -> Any:
    """The test with as many examples as are asked for, and no limit of time for one."""
    return settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=_UNHURRIED)(test)


def some(test: Callable[..., Any]) -> Any:
    """The same with a quarter of the examples: for what takes its time on each."""
    return settings(max_examples=max(50, EXAMPLES // 4), deadline=None, suppress_health_check=_UNHURRIED)(test)


def _deep(value: Any) -> Any:
    """The value below 3,000 objects and lists: deeper than any parser or recursion goes."""
    for number in range(3000):
        value = {"a": value} if number % 2 else [value]
    return value


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["", "latest", "None", "Rolling", "\x1b[2J", "\ud800", 10**5000, 1e308])
)
# What json.loads may give, and a little more: NaN, lone surrogates, numbers that no text holds.
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DEEP: st.SearchStrategy[Any] = JSON.map(_deep)
# And what a program may hand over instead.
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.none() | st.booleans() | st.integers() | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
