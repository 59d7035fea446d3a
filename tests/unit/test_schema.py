"""A body held against the table of the emulator: what fits, what is converted, what is refused and why."""

import copy
import json
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.emulator import schema
from azurerm_lite.emulator.api import routes
from azurerm_lite.emulator.schema import Misfit, Rules

PUT, PATCH = "PUT virtualMachineScaleSets/write", "PATCH virtualMachineScaleSets/write"
STRICT = Rules(names=True)


def fit(body: Any, operation: str = PATCH, *, version: str = schema.API_VERSION, names: bool = False) -> Any:
    text = schema.body_of(operation)
    assert text is not None
    return schema.fit(body, text, schema.rules_for(operation.partition(" ")[0], version, names=names))


def profile(**parts: Any) -> dict[str, Any]:
    return {"properties": {"virtualMachineProfile": parts}}


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ({}, {}),
        ({"sku": {"capacity": "3"}}, {"sku": {"capacity": 3}}),
        ({"sku": {"capacity": None}}, {"sku": {"capacity": None}}),
        ({"properties": {"overprovision": "True"}}, {"properties": {"overprovision": True}}),
        (
            {"properties": {"upgradePolicy": {"mode": "rolling"}}},
            {"properties": {"upgradePolicy": {"mode": "Rolling"}}},
        ),
        ({"identity": {"type": "systemAssigned,UserAssigned"}}, {"identity": {"type": "SystemAssigned, UserAssigned"}}),
        ({"id": 5, "etag": [], "properties": {"provisioningState": {}}}, {"properties": {}}),
        ({"location": None, "tags": {"a": None}}, {"tags": {"a": None}}),
        ({"zones": [None]}, {"zones": [None]}),
        ({"unknown": [1], "properties": {"unknown": 1}}, {"unknown": [1], "properties": {"unknown": 1}}),
        (
            profile(applicationProfile={"galleryApplications": []}),
            profile(applicationProfile={"galleryApplications": []}),
        ),
        (
            profile(extensionProfile={"extensions": [{"name": "a", "properties": {"settings": "{}", "type": None}}]}),
            profile(extensionProfile={"extensions": [{"name": "a", "properties": {"settings": "{}", "type": None}}]}),
        ),
    ],
)
def test_what_a_patch_may_say_is_taken_as_azure_reads_it(sent: Any, taken: Any) -> None:
    before = copy.deepcopy(sent)
    assert fit(sent) == taken
    assert sent == before


@pytest.mark.parametrize(
    ("body", "why", "path"),
    [
        (None, "type", ""),
        ([], "type", ""),
        ("x", "type", ""),
        ({"sku": []}, "type", "sku"),
        ({"sku": {"capacity": "many"}}, "type", "sku.capacity"),
        ({"sku": {"capacity": 2.7}}, "type", "sku.capacity"),
        ({"sku": {"capacity": True}}, "type", "sku.capacity"),
        ({"sku": {"capacity": 10**400}}, "type", "sku.capacity"),
        ({"sku": {"capacity": "9" * 5000}}, "type", "sku.capacity"),
        ({"sku": {"capacity": -3}}, "value", "sku.capacity"),
        ({"sku": {"capacity": 1001}}, "value", "sku.capacity"),
        ({"sku": {"name": True}}, "type", "sku.name"),
        ({"tags": [1]}, "type", "tags"),
        ({"tags": {"a": {"b": 1}}}, "type", "tags.a"),
        ({"tags": {"a": 1}}, "type", "tags.a"),
        ({"zones": "1"}, "type", "zones"),
        ({"zones": [1]}, "type", "zones[0]"),
        ({"zones": ["1"] * 4}, "value", "zones"),
        ({"tags": {str(number): "" for number in range(51)}}, "value", "tags"),
        ({"location": 5}, "type", "location"),
        ({"properties": []}, "type", "properties"),
        ({"properties": {"overprovision": 1}}, "type", "properties.overprovision"),
        ({"properties": {"upgradePolicy": {"mode": "Sometimes"}}}, "value", "properties.upgradePolicy.mode"),
        ({"properties": {"upgradePolicy": {"mode": 1}}}, "type", "properties.upgradePolicy.mode"),
        (
            {"properties": {"upgradePolicy": {"rollingUpgradePolicy": {"maxBatchInstancePercent": 101}}}},
            "value",
            "properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent",
        ),
        (
            profile(billingProfile={"maxPrice": 10**400}),
            "type",
            "properties.virtualMachineProfile.billingProfile.maxPrice",
        ),
        (
            profile(storageProfile={"dataDisks": [None]}),
            "type",
            "properties.virtualMachineProfile.storageProfile.dataDisks[0]",
        ),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(body: Any, why: str, path: str) -> None:
    with pytest.raises(Misfit) as refused:
        fit(body)
    assert (refused.value.why, refused.value.path) == (why, path)


def test_a_put_needs_what_is_required_and_its_nulls_say_nothing() -> None:
    for body, path in (
        ({}, "location"),
        ({"location": None}, "location"),
        (
            {"location": "westus2", **profile(storageProfile={"osDisk": {}})},
            "properties.virtualMachineProfile.storageProfile.osDisk.createOption",
        ),
    ):
        with pytest.raises(Misfit) as refused:
            fit(body, PUT)
        assert (refused.value.why, refused.value.path) == ("missing", path)
    sent = {
        "location": "westus2",
        "sku": {"capacity": None},
        "plan": None,
        "tags": None,
        "properties": {"zoneBalance": None},
    }
    assert fit(sent, PUT) == {"location": "westus2", "sku": {}, "tags": None, "properties": {}}


def test_a_property_that_the_type_does_not_have_may_be_refused() -> None:
    for body, version, path in (
        ({"nothing": 1}, schema.API_VERSION, "nothing"),
        ({"properties": {"nothing": None}}, schema.API_VERSION, "properties.nothing"),
        (profile(userData="eA=="), "2020-12-01", "properties.virtualMachineProfile.userData"),
    ):
        fit(body, version=version)
        with pytest.raises(Misfit) as refused:
            fit(body, version=version, names=True)
        assert (refused.value.why, refused.value.path) == ("unknown", path)
    assert fit(profile(userData="eA=="), names=True) == profile(userData="eA==")


def test_a_newer_version_of_the_api_is_judged_by_type_alone() -> None:
    newer = "2031-01-01-preview"
    assert fit({"new": 1, "properties": {"priority": "New"}}, version=newer, names=True)["new"] == 1
    mode = {"properties": {"upgradePolicy": {"mode": "New"}}}
    assert fit(mode, version=newer) == mode
    assert fit({}, PUT, version=newer) == {}
    with pytest.raises(Misfit):
        fit({"properties": {"upgradePolicy": {"mode": 1}}}, version=newer)


def test_a_patch_is_judged_by_the_type_of_put() -> None:
    """https://github.com/Azure/azure-rest-api-specs/issues/36582"""
    operations = json.loads(schema.TABLE.read_text())["operations"]
    for name, text in operations.items():
        if name.startswith("PATCH") and f"PUT{name[5:]}" in operations:
            assert text == operations[f"PUT{name[5:]}"]


def test_every_text_of_the_table_can_be_read_and_names_what_there_is() -> None:
    for fields in schema.types().values():
        for text in fields.values():
            spec = schema.parse_spec(text)
            if spec.read_only:
                continue
            assert spec.kind in ("type", "list", "map", "enum", *schema._FITS), text
            assert not spec.inner or schema.parse_spec(spec.inner).kind in (
                "type",
                "list",
                "map",
                "enum",
                *schema._FITS,
            ), text


# --- held against what Azure publishes and has taken -----------------------------------------------------------------


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_schema.py"))


def test_the_table_is_current_and_small(arm_data: Path, tool: dict[str, Any]) -> None:
    assert tool["main"](["--check"]) == 0
    assert schema.TABLE.stat().st_size < 40_000


def test_every_write_of_the_emulator_that_has_a_body_is_in_the_table(arm_data: Path, tool: dict[str, Any]) -> None:
    bodies = {
        (method, tool["_shape"](path)): body
        for method, path, body, _ in tool["Document"](arm_data / "openapi").operations()
    }
    for method, path, _, action in routes.ARM:
        published = bodies.get((method, tool["_shape"](path)))
        if published is not None:
            assert schema.body_of(f"{method} {action.removeprefix('Microsoft.Compute/')}") is not None, (method, path)


def recorded() -> Iterator[tuple[str, str, str, Any]]:
    """Session, method and path with query, and the body of every write that Azure has taken; and what it showed."""
    folder = Path(os.environ.get("AZURERM_LITE_ARM_DATA", "/nonexistent")) / "traffic"
    for path in sorted(folder.glob("*.json")):
        for entry in json.loads(path.read_text())["interactions"]:
            request, response = entry["request"], entry["response"]
            if response["status"] < 300 and request["body"] is not None and request["method"] != "GET":
                yield path.stem, request["method"], request["path"], request["body"]
            shown = response["body"]
            if response["status"] == 200 and isinstance(shown, dict) and "$select" not in request["path"]:
                yield path.stem, "PUT", request["path"], shown
                yield path.stem, "PATCH", request["path"], shown


def operation_of(method: str, path: str) -> str | None:
    """The operation of the table that a path is of."""
    for route, rule, _, action in routes.ARM:
        pattern = re.sub(r"<[^>]*>", "[^/]+", rule)
        if route == method and re.fullmatch(pattern, path.partition("?")[0], re.IGNORECASE):
            return f"{method} {action.removeprefix('Microsoft.Compute/')}"
    return None


def test_every_body_that_azure_has_taken_or_shown_fits(arm_data: Path) -> None:
    judged = 0
    for session, method, path, body in recorded():
        operation = operation_of(method, path)
        if operation is None or schema.body_of(operation) is None:
            continue
        version = re.findall(r"api-version=([^&]*)", path)[0]
        try:
            fit(body, operation, version=version)
        except Misfit as misfit:
            pytest.fail(f"{session}: {method} {path}: {misfit}")
        judged += 1
    assert judged > 300
