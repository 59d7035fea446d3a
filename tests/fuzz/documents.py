"""Strategies for JSON from outside, and one value in a document put in the place of another."""

import copy
from collections.abc import Iterator
from typing import Any
from unicodedata import category

from hypothesis import strategies as st

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["", "0", "*"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
ODD_TEXTS = st.sampled_from([
    *("[" * 100_000, '{"a":' * 5_000, "NaN", "1e999", '{"a":1,"a":2}', '"\\ud800"', "\ufeff{}", ""),
])  # fmt: skip
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a document, the whole one included."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at the path; `...` removes what is there."""
    if not path:
        return {} if value is ... else value
    changed = copy.deepcopy(document)
    where = changed
    for key in path[:-1]:
        where = where[key]
    if value is ...:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    return changed


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """The document with one to three values replaced or removed."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        document = put(document, path, draw(JSON | st.just(...)))
    return document


def shows_nothing_hidden(error: Exception) -> None:
    """What stands in an error steers no terminal and turns no line around."""
    text = str(error)
    assert text
    assert not [one for one in text if category(one) in ("Cc", "Cs", "Zl", "Zp") or one in _BIDI], ascii(text)
