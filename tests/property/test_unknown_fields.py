"""Row 86: fields that nobody here knows, anywhere in a model, survive being read and written, in value and in order."""

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import requests
from hypothesis import given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.http.adapter import InProcessAdapter
from azurerm_lite.emulator.http.app import ArmApp
from azurerm_lite.model import apply_merge_patch, without_read_only
from azurerm_lite.upgrade.rehearsal import Stage

MID, NEW = "22.04.202610200", "22.04.202611120"
LEAVES = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# At which place in an object, under which name, which value.
FIELDS = st.tuples(st.integers(0, 9), st.text(max_size=5).map("future{}".format), VALUES)


class Overheard(InProcessAdapter):
    """The network, which keeps what was written as it was sent."""

    def __init__(self, app: ArmApp) -> None:
        super().__init__(app)
        self.bodies: list[Any] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        if request.method in ("PUT", "PATCH"):
            self.bodies.append(json.loads(request.body or b""))
        return super().send(request)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def insert(model: dict[str, Any], fields: list[tuple[int, str, Any]]) -> None:
    """Each object of the model gets one of these fields, at a place among its own; tags are names and texts alone."""
    for number, target in enumerate(item for item in list(objects(model)) if item is not model.get("tags")):
        place, name, value = fields[number % len(fields)]
        items = list(target.items())
        items.insert(place % (len(items) + 1), (name, copy.deepcopy(value)))
        target.clear()
        target.update(items)


def text(model: Any) -> str:
    """All of a model but what only Azure sets, to the letter."""
    return json.dumps(without_read_only(model))


@functools.cache
def world() -> tuple[Stage, Overheard, az.Arm, dict[str, Any]]:
    """One scale set for all examples, written once, so that what Azure fills in is there; and its model then."""
    made = Stage(Seed.build(capacity=1, health_source="extension"))
    network = Overheard(made.app)
    options: Any = {"adapter": network, "sleep": made.clock.sleep, "now": made.clock.time}
    arm = az.Arm(made.arm.credential, cloud=made.arm.cloud, **options)
    az.put_vmss(arm, *made.address, az.set_image_version(az.get_vmss(arm, *made.address), MID).model).wait()
    return made, network, arm, copy.deepcopy(made.scale_set.model)


def port_81(model: Any) -> Any:
    """A change in a list, which a PATCH sends whole."""
    changed = copy.deepcopy(model)
    extensions = changed["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]
    extensions[0]["properties"]["settings"]["port"] = 81
    return changed


def two_more(model: Any) -> Any:
    return az.set_capacity(model, model["sku"]["capacity"] + 2).model


def newer(model: Any) -> Any:
    return az.set_image_version(model, NEW).model


@settings(max_examples=40)
@given(st.lists(FIELDS, min_size=1, max_size=4), st.sampled_from([two_more, newer, port_81]))
def test_fields_that_nobody_here_knows_survive_get_put_and_update_wherever_they_are(fields: Any, change: Any) -> None:
    made, network, arm, model = world()
    made.scale_set.model = copy.deepcopy(model)
    insert(made.scale_set.model, fields)
    first = az.get_vmss(arm, *made.address)
    network.bodies.clear()
    az.put_vmss(arm, *made.address, first).wait()
    assert json.dumps(network.bodies.pop()) == json.dumps(first)
    assert text(az.get_vmss(arm, *made.address)) == text(first)
    operation = az.update_vmss(arm, *made.address, change)
    assert operation is not None
    operation.wait()
    (patch,) = network.bodies
    assert text(apply_merge_patch(without_read_only(first), patch)) == text(change(first))
    if change is newer:  # what a PATCH must send whole goes as it was read, and nothing beside it
        assert [*patch["properties"], *patch["properties"]["virtualMachineProfile"]] == [
            "virtualMachineProfile",
            "storageProfile",
        ]
    if change is two_more:  # which leaves the profile alone, where the emulator fills in as Azure does
        assert "future" not in json.dumps(patch)
        assert text(az.get_vmss(arm, *made.address)) == text(change(first))
