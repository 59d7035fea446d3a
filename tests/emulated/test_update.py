"""The safe change of a model, and the image versions it can go to, through the emulator."""

import json
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.endpoints import images

from .conftest import NEW, OLD

IMAGE = ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2")


def test_only_what_changed_is_sent_with_the_models_etag(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    operation = az.update_vmss(arm, *web, lambda model: az.set_image_version(model, NEW))
    assert operation is not None
    assert operation.wait().resource["etag"] != '"3"'
    (sent,) = azurerm_emulator.recorder.writes()
    storage = _as_sent(az.get_vmss(arm, *web))
    storage["imageReference"] = {**storage["imageReference"], "version": NEW}
    assert (sent.method, sent.headers["if-match"]) == ("PATCH", '"3"')
    assert sent.body == {"properties": {"virtualMachineProfile": {"storageProfile": storage}}}


def _as_sent(model: Any) -> Any:
    """The storage profile as it was read, without what no PATCH may name."""
    storage = model["properties"]["virtualMachineProfile"]["storageProfile"]
    disk = {key: value for key, value in storage["osDisk"].items() if key not in ("osType", "createOption")}
    return {**storage, "osDisk": disk}


def test_a_change_that_changes_nothing_writes_nothing(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    assert az.update_vmss(arm, *web, lambda model: az.set_image_version(model, OLD)) is None
    assert azurerm_emulator.recorder.writes() == []


def test_a_write_by_an_autoscaler_in_between_is_kept(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    asked = 0

    def change(model: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:  # somebody is quicker
            az.patch_vmss(arm, *web, {"sku": {"capacity": 22}}).wait()
        model["tags"]["owner"] = "me"

    operation = az.update_vmss(arm, *web, change)
    assert operation is not None
    operation.wait()
    model = az.get_vmss(arm, *web)
    assert (model["sku"]["capacity"], model["tags"]["owner"], asked) == (22, "me", 2)
    assert [entry.body for entry in azurerm_emulator.recorder.writes()][-1] == {
        "tags": {"service": "web", "owner": "me"}
    }


def test_who_edits_an_extension_is_warned_of_what_no_get_shows(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 85: what it keeps stays, and is neither null nor empty in what is sent; who takes it away loses it."""
    kept = {"publisher": "P", "type": "T", "typeHandlerVersion": "1.0", "protectedSettings": {"key": "MARKER"}}
    az.put_vmss_extension(arm, *web, "script", {"properties": kept}).wait()
    (scale_set,) = azurerm_emulator.simulation.scale_sets

    def extensions(model: Any) -> Any:
        return model["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]

    def edit(model: Any) -> None:
        extensions(model)[-1]["properties"]["settings"] = {"a": 1}

    def remove(model: Any) -> None:
        extensions(model).pop()

    def written(change: Any) -> list[str]:
        caplog.clear()
        operation = az.update_vmss(arm, *web, change)
        assert operation is not None
        operation.wait()
        return [one.message for one in caplog.records if one.name == "azurerm_lite.update"]

    assert written(lambda model: az.set_image_version(model, NEW)) == []
    (told,) = written(edit)
    assert told.startswith(f"{web.resource_id}: extension script keeps any protected settings that it has")
    sent = json.dumps(azurerm_emulator.recorder.find("PATCH")[-1].body)
    assert "protectedSettings" not in sent
    assert "null" not in sent
    assert scale_set.secrets["extensions/script"] == {"key": "MARKER"}
    assert written(remove)[0].startswith(f"{web.resource_id}: extension script is removed with any protected")
    assert "extensions/script" not in scale_set.secrets
    assert {one.levelname for one in caplog.records if one.name == "azurerm_lite.update"} == {"WARNING"}
    assert "MARKER" not in caplog.text


def test_two_changes_of_the_same_path_are_an_error_that_names_it(arm: az.Arm, web: az.ScaleSet) -> None:
    def change(model: Any) -> az.Edit:
        az.patch_vmss(arm, *web, {"tags": {"service": "theirs"}}).wait()
        model["tags"]["service"] = "mine"
        return az.Edit(model, ())

    with pytest.raises(az.ConcurrencyError, match=r"changed tags\.service at the same time"):
        az.update_vmss(arm, *web, change)
    assert az.get_vmss(arm, *web)["tags"]["service"] == "theirs"


def test_a_change_that_gives_no_model_is_refused(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    with pytest.raises(az.InvalidInput, match="not str"):
        az.update_vmss(arm, *web, lambda _model: "oops")
    assert azurerm_emulator.recorder.writes() == []


def test_latest_is_resolved_to_a_number(arm: az.Arm, web: az.ScaleSet) -> None:
    where = (web.subscription_id, "westus2", *IMAGE)
    assert az.list_image_versions(arm, *where)[-1] == NEW
    assert az.resolve_image_version(arm, *where) == NEW
    assert az.resolve_image_version(arm, *where, OLD) == OLD
    with pytest.raises(az.NotFoundError, match=f"does not exist in westus2; the newest is {NEW}"):
        az.resolve_image_version(arm, *where, "9.9.9")
    assert az.get_image_version(arm, *where, NEW)["name"] == NEW


def test_versions_are_ordered_as_versions() -> None:
    assert images.sort_versions(["1.0.10", "1.0.9", "1.0.100", "0.9.1000"]) == [
        "0.9.1000",
        "1.0.9",
        "1.0.10",
        "1.0.100",
    ]


def version(name: str, *regions: str, **profile: Any) -> dict[str, Any]:
    targets = [{"name": region} for region in regions]
    state = profile.pop("state", "Succeeded")
    return {
        "name": name,
        "properties": {"publishingProfile": {"targetRegions": targets, **profile}, "provisioningState": state},
    }


def test_the_newest_gallery_version_is_one_that_the_region_really_offers() -> None:
    found = [
        version("1.0.9", "West US 2"),
        version("1.0.10", "West US 2", "East US"),
        version("1.0.11", "East US"),
        version("1.0.12", "West US 2", excludeFromLatest=True),
        version("1.0.13", "West US 2", state="Creating"),
    ]
    assert images.newest_gallery_version(found, "westus2") == "1.0.10"
    assert images.newest_gallery_version(found, "eastus") == "1.0.11"
    assert images.newest_gallery_version(found, "westeurope") is None


def test_a_model_that_was_read_before_another_write_does_not_undo_it(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    earlier: Any = az.get_vmss(arm, *web)
    earlier["tags"]["owner"] = "me"
    az.patch_vmss(arm, *web, {"tags": {"service": "web", "theirs": "1"}}).wait()
    with pytest.raises(az.ConcurrencyError, match="has another etag"):
        az.update_vmss(arm, *web, lambda _: earlier)
    assert az.get_vmss(arm, *web)["tags"] == {"service": "web", "theirs": "1"}
    assert len(azurerm_emulator.recorder.writes()) == 1


def test_a_prepared_model_without_an_etag_does_not_undo_what_somebody_wrote_in_between(
    arm: az.Arm, web: az.ScaleSet
) -> None:
    prepared: list[Any] = []

    def change(model: Any) -> Any:
        if not prepared:
            edited = {**model, "tags": {**model["tags"], "owner": "me"}}
            prepared.append({key: value for key, value in edited.items() if key != "etag"})
            az.patch_vmss(arm, *web, {"properties": {"overprovision": False}}).wait()
        return prepared[0]

    with pytest.raises(az.ConcurrencyError, match=r"changed properties\.overprovision at the same time"):
        az.update_vmss(arm, *web, change)
    found: Any = az.get_vmss(arm, *web)
    assert (found["properties"]["overprovision"], found["tags"]) == (False, {"service": "web"})
