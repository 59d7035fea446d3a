"""A write of ours is known again whatever Azure completes, and a write of somebody else is noticed whatever it is."""

import copy
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from azurerm_lite import model as m
from tests.fuzz import some
from tests.models import DATA, built, holder, models, places, recorded

READ_ONLY = {"id", "name", "type", "etag", "systemData", "uniqueId", "timeCreated", "provisioningState", "exactVersion"}
IDENTITIES = {"principalId", "clientId", "tenantId"}
ABSENT = object()


def leaves(model: Any) -> list[tuple[Any, ...]]:
    """The places of what instances are made from: plain values that only a writer of the model changes."""
    return [place for place in places(model) if _is_leaf(model, place)]


def _is_leaf(model: Any, place: tuple[Any, ...]) -> bool:
    if isinstance(holder(model, place)[place[-1]], dict | list):
        return False
    if (
        place[0] in ("tags", *READ_ONLY)
        or place == ("sku", "capacity")
        or (place[0] == "identity" and place[-1] in IDENTITIES)
    ):
        return False
    if place[0] == "properties" and len(place) == 2 and place[1] in READ_ONLY:
        return False
    return place[-2:] != ("virtualMachineProfile", "timeCreated") and place[-1] != "exactVersion"


def other(value: Any, number: int) -> Any:
    """A value that is not the same, of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 + number
    return f"{value}{'xyz'[number % 3]}"


@some
@given(models(), st.integers(0, 10**6), st.integers(0, 5))
def test_any_other_value_of_what_instances_are_made_from_is_noticed(model: Any, which: int, number: int) -> None:
    every = leaves(model)
    place = every[which % len(every)]
    shown = copy.deepcopy(model)
    within = holder(shown, place)
    within[place[-1]] = other(within[place[-1]], number)
    assume(place != ("identity", "type") or model["identity"]["type"] != "None")
    assert not m.shows_write(shown, model), place
    assert m.fingerprint(shown) != m.fingerprint(model), place
    named = "".join(change.path for change in m.unexplained(shown, model))
    assert str(place[-1]) in named or isinstance(place[-1], int) or place[-1] == "name"  # by which lists are matched


@some
@given(models(), st.integers(0, 10**6))
def test_what_was_written_and_is_gone_is_noticed(model: Any, which: int) -> None:
    """But for empty parts, notices that are off and the rules of scaling in, which Azure clears by itself."""
    every = [place for place in leaves(model) if holder(model, place)[place[-1]] not in (None, "")]
    place = every[which % len(every)]
    assume(not {"terminateNotificationProfile", "scaleInPolicy"} & set(place))
    assume(place != ("identity", "type"))
    assume("securityProfile" not in place or holder(model, place).get("securityType") != "Standard")
    shown = copy.deepcopy(model)
    del holder(shown, place)[place[-1]]
    assert not m.shows_write(shown, model), place


@some
@given(
    models(), st.integers(0, 10**6), st.sampled_from(["text", 7, True, {"enabled": True}, ["item"], {"a": {"b": "c"}}])
)
def test_anything_that_somebody_adds_is_noticed(model: Any, which: int, value: Any) -> None:
    objects = [(), *(place for place in places(model) if isinstance(holder(model, place)[place[-1]], dict))]
    objects = [place for place in objects if place[:1] != ("tags",) and "userAssignedIdentities" not in place]
    place = objects[which % len(objects)]
    shown = copy.deepcopy(model)
    within = holder(shown, place)[place[-1]] if place else shown
    within["somethingNew"] = value
    assert not m.shows_write(shown, model), place
    assert m.fingerprint(shown) != m.fingerprint(model), place


FILLED = [
    (("properties", "singlePlacementGroup"), True),
    (("properties", "constrainedMaximumCapacity"), False),
    (("properties", "zoneBalance"), False),
    (("properties", "resiliencyPolicy"), {"resilientVMCreationPolicy": {"enabled": False}, "zones": []}),
    (("properties", "scaleInPolicy"), {"rules": ["Default"], "forceDeletion": False}),
    (("properties", "virtualMachineProfile", "osProfile", "secrets"), []),
    (("properties", "virtualMachineProfile", "osProfile", "allowExtensionOperations"), True),
    (("properties", "virtualMachineProfile", "osProfile", "requireGuestProvisionSignal"), True),
    (("properties", "virtualMachineProfile", "storageProfile", "osDisk", "osType"), "Linux"),
    (("properties", "virtualMachineProfile", "storageProfile", "osDisk", "diskSizeGB"), 30),
    (("properties", "virtualMachineProfile", "storageProfile", "diskControllerType"), "SCSI"),
    (("properties", "virtualMachineProfile", "applicationProfile"), {"galleryApplications": []}),
    (("properties", "virtualMachineProfile", "securityProfile"), {"securityType": "Standard"}),
    (("identity", "principalId"), "p"),
    (("identity", "tenantId"), "t"),
]


@some
@given(models(), st.sets(st.sampled_from(range(len(FILLED)))), st.booleans())
def test_what_azure_fills_in_is_no_write_of_anybody(model: Any, which: set[int], upper: bool) -> None:
    shown = copy.deepcopy(model)
    for place, value in (FILLED[number] for number in sorted(which)):
        within: Any = shown
        for key in place[:-1]:
            within = within.get(key) if isinstance(within, dict) else None
        if isinstance(within, dict):
            within.setdefault(place[-1], value)
    if upper:
        shown["sku"] = {key: value.upper() if isinstance(value, str) else value for key, value in shown["sku"].items()}
    assert m.unexplained(shown, model) == []


@pytest.mark.skipif(not DATA, reason="AZURERM_LITE_ARM_DATA is not set: no recorded models at hand")
def test_recorded_writes_are_known_again() -> None:
    """What recorded Azure answers to a PUT or PATCH of a model that it showed, is what was sent."""
    assert len(recorded()) > 30
    for model in recorded():
        assert m.shows_write(model, m.without_read_only(model))
        assert m.fingerprint(model) == m.fingerprint(m.without_read_only(model))


def test_a_model_shows_itself() -> None:
    assert m.shows_write(built(), built())
