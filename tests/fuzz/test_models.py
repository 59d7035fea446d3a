"""Models and edits of any shape are compared, changed or refused: no exception but our own."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azurerm_lite import model as m
from azurerm_lite.errors import AzurermLiteError, InvalidInput
from azurerm_lite.model import edits
from tests.fuzz import ANYTHING, JSON, deep, fuzz
from tests.models import built, holder, places

PLACES = list(places(built()))


@st.composite
def damaged(draw: Any) -> Any:
    """A model with odd values in the places that count."""
    model = built()
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        try:
            holder(model, place)[place[-1]] = draw(JSON | ANYTHING)
        except (KeyError, TypeError, IndexError):  # an earlier one has taken that place away
            continue
    return model


MODELS = damaged() | JSON | ANYTHING
ONE: dict[str, Callable[[Any], Any]] = {
    "fingerprint": m.fingerprint,
    "outline": m.outline,
    "without_read_only": m.without_read_only,
    "without_secrets": m.without_secrets,
    "redact": m.redact,
    "is_no_zone": m.is_no_zone,
    "image_text": edits.image_text,
}
TWO: dict[str, Callable[[Any, Any], Any]] = {
    "diff": lambda old, new: str(m.diff(old, new)) + m.diff(old, new)._repr_html_(),
    "merge_patch": m.merge_patch,
    "apply_patch": m.apply_patch,
    "apply_merge_patch": m.apply_merge_patch,
    "matches_written": m.matches_written,
    "unexplained": lambda old, new: str(m.unexplained(old, new)),
    "shows_write": m.shows_write,
    "protected_settings_warnings": edits.protected_settings_warnings,
}
EDITS: dict[str, Callable[[Any, Any], Any]] = {
    "set_image_version": edits.set_image_version,
    "set_image_sku": edits.set_image_sku,
    "set_image_sku, version": lambda model, value: edits.set_image_sku(model, "s", version=value),
    "set_image_uri": edits.set_image_uri,
    "set_image_id": edits.set_image_id,
    "set_vm_size": edits.set_vm_size,
    "set_capacity": edits.set_capacity,
}
GALLERY = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i"
GOOD = st.sampled_from(["1.2.3", "latest", "Standard_D4s_v5", f"{GALLERY}/versions/latest", "https://a.b/c/d.vhd", 5])


@fuzz
@given(MODELS)
def test_of_one_value(value: Any) -> None:
    for call in ONE.values():
        with contextlib.suppress(InvalidInput):
            call(value)


@fuzz
@given(MODELS, MODELS)
def test_of_two_values(left: Any, right: Any) -> None:
    for call in TWO.values():
        with contextlib.suppress(InvalidInput):
            call(left, right)


@fuzz
@given(MODELS, GOOD | JSON | ANYTHING)
def test_of_edits(model: Any, value: Any) -> None:
    for call in EDITS.values():
        try:
            edit = call(model, value)
        except AzurermLiteError:
            continue
        assert isinstance(edit.model, dict)
        assert list(edit.paths) == list(dict.fromkeys(edit.paths))


ODD: list[Any] = [deep(1), deep({"sku": 1}), {"sku": {"capacity": 10**5000}}, {10**5000: 1}, {"tags": deep(1)}]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_of_what_is_too_deep_or_too_long(number: int) -> None:
    calls = [*ONE.values(), *(lambda value, call=call: call(value, {}) for call in TWO.values())]
    calls += [lambda value, call=call: call({}, value) for call in TWO.values()]
    calls += [lambda value, call=call: call(value, "1.2.3") for call in EDITS.values()]
    for call in calls:
        with contextlib.suppress(InvalidInput):
            call(ODD[number])
