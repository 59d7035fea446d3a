"""Every pure entry point on whatever may come in: it answers, or refuses with an error of our own.

How many examples each test tries is decided here alone: AZURERM_LITE_FUZZ_EXAMPLES, else 2,000 in CI and 200 elsewhere.

    from tests.fuzz import JSON, fuzz

    @fuzz
    @given(JSON)
    def test_...(value): ...
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("AZURERM_LITE_FUZZ_EXAMPLES") or (2000 if os.environ.get("CI") else 200))
# As many examples as are asked for, and no limit of time for one.
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
some = settings(fuzz, max_examples=max(50, EXAMPLES // 4))  # for what takes its time on each


def deep(value: Any) -> Any:
    """The value below 3,000 objects and lists, deeper than recursion goes: for tests without hypothesis, which cannot
    report it.
    """
    for number in range(3000):
        value = {"a": value} if number % 2 else [value]
    return value


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["", "latest", "None", "Rolling", "\x1b[2J", "\ud800", 1e308, 10**400])
)
# What json.loads may give, NaN and lone surrogates included. (A number of more than 4,300 digits, which nobody can even
# print, hypothesis cannot report: those stand in tests of their own.)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DEEP: st.SearchStrategy[Any] = JSON.map(deep)
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
