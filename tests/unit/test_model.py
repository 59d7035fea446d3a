"""Edits on models: what changes, what stays, and what is refused."""

import copy
from typing import Any

import pytest

from azurerm_lite import model as m
from azurerm_lite.errors import InvalidInput
from azurerm_lite.model import edits as e

GALLERY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i"


def model(image: dict[str, Any] | None = None, disk: dict[str, Any] | None = None) -> dict[str, Any]:
    storage: dict[str, Any] = {"osDisk": disk or {"createOption": "FromImage"}}
    if image is not None:
        storage["imageReference"] = image
    return {
        "name": "web",
        "etag": '"3"',
        "tags": {"a": "b"},
        "sku": {"name": "Standard_B1s", "tier": "Standard", "capacity": 5},
        "properties": {
            "provisioningState": "Succeeded",
            "virtualMachineProfile": {"storageProfile": storage, "futureField": [1, {"x": None}]},
        },
    }


PLATFORM = {"publisher": "Canonical", "offer": "Ubuntu", "sku": "22_04-lts", "version": "22.04.1"}
VERSION_PATH = "properties.virtualMachineProfile.storageProfile.imageReference.version"


def test_a_new_version_changes_one_path_and_leaves_the_old_model_alone() -> None:
    old = model(PLATFORM)
    before = copy.deepcopy(old)
    edit = e.set_image_version(old, "22.04.20")
    assert edit.paths == (VERSION_PATH,)
    assert old == before
    storage = {"osDisk": {}, "imageReference": {**PLATFORM, "version": "22.04.20"}}
    assert m.merge_patch(old, edit.model) == {"properties": {"virtualMachineProfile": {"storageProfile": storage}}}


def test_the_version_that_is_there_already_changes_nothing() -> None:
    edit = e.set_image_version(model(PLATFORM), "22.04.1")
    assert edit.paths == ()
    assert m.merge_patch(model(PLATFORM), edit.model) == {}


@pytest.mark.parametrize("version", ["", "1.2", "newest", "1.2.3.4.5", "v1.2.3", "1.2.3\n", None, 3])
def test_versions_that_are_none_are_refused(version: Any) -> None:
    with pytest.raises(InvalidInput, match="version"):
        e.set_image_version(model(PLATFORM), version)


@pytest.mark.parametrize(
    ("old", "version", "new"),
    [
        (f"{GALLERY}/versions/1.0.0", "2.0.0", f"{GALLERY}/versions/2.0.0"),
        (GALLERY, "2.0.0", f"{GALLERY}/versions/2.0.0"),
        (f"{GALLERY}/versions/1.0.0", "latest", GALLERY),
        (f"{GALLERY}/versions/latest", "2.0.0", f"{GALLERY}/versions/2.0.0"),
        (f"{GALLERY}/versions/latest", "latest", f"{GALLERY}/versions/latest"),
        (f"{GALLERY}/versions/LATEST", "latest", f"{GALLERY}/versions/LATEST"),
        (GALLERY, "latest", GALLERY),
    ],
)
def test_a_gallery_image_gets_its_version_in_the_id(old: str, version: str, new: str) -> None:
    edit = e.set_image_version(model({"id": old}), version)
    assert edit.model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"] == {"id": new}


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("id", GALLERY),
        ("sharedGalleryImageId", "/SharedGalleries/u/images/i"),
        ("communityGalleryImageId", "/CommunityGalleries/u/images/i"),
    ],
)
def test_versions_latest_of_a_gallery_image_is_no_version(key: str, image: str) -> None:
    """reports/r11."""

    def named(edit: e.Edit) -> Any:
        return edit.model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]

    for newest in (f"{image}/versions/latest", f"{image}/Versions/Latest"):
        assert named(e.set_image_id(model({key: f"{image}/versions/1.0.0"}), newest)) == {key: image}
        assert named(e.set_image_id(model({key: f"{image}/versions/1.0.0"}), image)) == {key: image}
        for same in (e.set_image_id(model({key: image}), newest), e.set_image_id(model({key: newest}), image)):
            assert same.paths == ()


def test_a_model_without_sku_gets_none_made_up() -> None:
    odd: Any
    for odd in ({}, {"properties": {}}, {"sku": 5}, {"sku": None}, {"sku": []}):
        for edit in (lambda one: e.set_capacity(one, 5), lambda one: e.set_vm_size(one, "Standard_D2s_v3")):
            with pytest.raises(InvalidInput, match="no sku"):
                edit(odd)


def test_a_new_sku_sends_the_whole_image_reference() -> None:
    old = model({**PLATFORM, "exactVersion": "22.04.1"})
    edit = e.set_image_sku(old, "24_04-lts", version="24.4.1")
    sent = m.merge_patch(old, edit.model)["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    assert sent == {**PLATFORM, "sku": "24_04-lts", "version": "24.4.1"}


def test_a_new_uri_and_a_new_id_change_just_that() -> None:
    disk = {"image": {"uri": "https://acc.blob.core.windows.net/vhds/old.vhd"}, "osType": "Linux"}
    edit = e.set_image_uri(model(None, disk), "https://acc.blob.core.windows.net/vhds/new.vhd")
    assert edit.paths == ("properties.virtualMachineProfile.storageProfile.osDisk.image.uri",)
    assert e.image_text(edit.model).endswith("new.vhd")
    managed = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/two"
    edit = e.set_image_id(model({"id": managed.replace("two", "one")}), managed)
    assert edit.paths == ("properties.virtualMachineProfile.storageProfile.imageReference.id",)
    assert e.image_text(edit.model) == managed


@pytest.mark.parametrize(
    ("edit", "image"),
    [
        (lambda x: e.set_image_version(x, "1.2.3"), None),
        (
            lambda x: e.set_image_version(x, "1.2.3"),
            {"id": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/images/i"},
        ),
        (lambda x: e.set_image_sku(x, "sku"), {"id": GALLERY}),
        (lambda x: e.set_image_sku(x, "bad sku"), PLATFORM),
        (lambda x: e.set_image_uri(x, "https://a.b/c/d.vhd"), PLATFORM),
        (lambda x: e.set_image_id(x, GALLERY), PLATFORM),
        (lambda x: e.set_image_id(x, "../x"), {"id": GALLERY}),
        (lambda x: e.set_vm_size(x, "a b"), PLATFORM),
        (lambda x: e.set_capacity(x, True), PLATFORM),
        (lambda x: e.set_capacity(x, -1), PLATFORM),
        (lambda x: e.set_capacity(x, 1001), PLATFORM),
    ],
)
def test_edits_that_azure_would_refuse_are_refused_here_with_the_reason(edit: Any, image: Any) -> None:
    with pytest.raises(InvalidInput):
        edit(model(image))


@pytest.mark.parametrize("broken", [{}, {"properties": None}, {"properties": {"virtualMachineProfile": []}}])
def test_models_without_a_profile_are_refused_without_a_key_error(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        e.set_image_version(broken, "1.2.3")


def test_diff_matches_list_items_by_name_and_reads_well() -> None:
    old = {"extensions": [{"name": "a", "v": 1}, {"name": "b", "v": 1}], "zones": ["1"]}
    new = {"extensions": [{"name": "b", "v": 2}, {"name": "c", "v": 1}], "zones": ["1", "2"]}
    assert [str(change) for change in m.diff(old, new)] == [
        'extensions[a]: {"name": "a", "v": 1} -> (none)',
        "extensions[b].v: 1 -> 2",
        'extensions[c]: (none) -> {"name": "c", "v": 1}',
        "zones[1]: (none) -> 2",
    ]


def test_diff_shows_no_secret() -> None:
    changes = m.diff({}, {"osProfile": {"adminPassword": "hunter2", "computerName": "x"}})
    assert "hunter2" not in str(changes[0])
    assert "computerName" in str(changes[0])
    profile = "properties.virtualMachineProfile"
    for path in ("osProfile.adminPassword", "osProfile.customData", "userData", "x.protectedSettings.key"):
        assert "hunter2" not in str(m.Change(f"{profile}.{path}", "hunter2", m.MISSING))
    signed = {"settings": {"fileUris": ["https://a.blob.core.windows.net/c/s.sh?sv=2024&sig=hunter2%3D&se=2027"]}}
    assert "hunter2" not in str(m.diff({}, signed)[0]) + str(m.diff({"settings": {"fileUris": ["x"]}}, signed)[0])
    leaves = m.diff({"osProfile": {"adminPassword": "old1"}}, {"osProfile": {"adminPassword": "hunter2"}})
    for shown in (str(leaves), repr(leaves), leaves._repr_html_()):
        assert "hunter2" not in shown
        assert "old1" not in shown
        assert "osProfile.adminPassword" in shown


def test_a_merge_patch_turns_one_model_into_the_other() -> None:
    old, new = {"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"b": 2, "c": [1, 2]}, "e": {}}
    assert m.apply_merge_patch(old, m.merge_patch(old, new)) == new


def test_the_fingerprint_ignores_what_instances_are_not_made_from() -> None:
    one = model(PLATFORM)
    two = {**copy.deepcopy(one), "etag": '"9"', "tags": {}, "sku": {**one["sku"], "capacity": 50}}
    two["properties"]["provisioningState"] = "Updating"
    assert m.fingerprint(one) == m.fingerprint(two)
    assert m.fingerprint(one) != m.fingerprint(e.set_image_version(one, "22.04.2").model)


def test_a_resource_reflects_what_was_written_whatever_azure_added() -> None:
    written = {"properties": {"mode": "rolling", "osProfile": {"adminPassword": "x", "adminUsername": "u"}}}
    shown = {"properties": {"mode": "Rolling", "osProfile": {"adminUsername": "u", "secrets": []}}, "etag": "1"}
    assert m.matches_written(shown, written)
    assert not m.matches_written(shown, {"properties": {"mode": "Manual"}})
    assert not m.matches_written(shown, {"properties": {"new": 1}})
    assert m.matches_written(shown, {"tags": None})


def extended(*extensions: Any) -> dict[str, Any]:
    return {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": [*extensions]}}}}


SCRIPT = {"name": "script", "properties": {"type": "CustomScript", "settings": {"a": 1}}}


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ([SCRIPT], None),
        ([SCRIPT, {"name": "new", "properties": {}}], None),
        ([{**SCRIPT, "name": "Script"}], "keeps"),
        ([{"name": "script", "properties": {"settings": {"a": 2}}}], "extension script keeps"),
        ([{"name": "script", "properties": None}], "extension script keeps"),
        ([{"name": "script", "properties": {"protectedSettings": {}}}], "extension script loses"),
        ([{"name": "script", "properties": {"protectedSettings": None}}], "extension script loses"),
        ([{"name": "script", "properties": {"protectedSettings": {"key": "MARKER"}}}], None),
        ([{"name": "script", "properties": {"protectedSettingsFromKeyVault": {"secretUrl": "u"}}}], None),
        ([{"name": "other"}], "extension script is removed"),
        ([], "extension script is removed"),
    ],
)
def test_what_becomes_of_protected_settings_that_nobody_is_shown_is_told(new: Any, said: str | None) -> None:
    """Row 85."""
    told = e.protected_settings_warnings(extended(SCRIPT), extended(*new))
    assert [said in line for line in told if said] == ([True] if said else [])
    assert len(told) == bool(said)
    assert "MARKER" not in "".join(told)


@pytest.mark.parametrize("odd", [None, [], {}, extended(None, 3), {"properties": {"virtualMachineProfile": []}}])
def test_models_without_extensions_have_nothing_to_tell_of_them(odd: Any) -> None:
    assert e.protected_settings_warnings(odd, extended(SCRIPT)) == []
    assert len(e.protected_settings_warnings(extended({"name": "\x1b[2J"}), odd)) == 1
    assert "\x1b" not in e.protected_settings_warnings(extended({"name": "\x1b[2J"}), odd)[0]
