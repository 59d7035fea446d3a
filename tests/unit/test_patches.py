"""What a PATCH must send, part by part: as ARM's contract, recordings and public reports have it."""

import copy
import json
from typing import Any

import pytest

from azurerm_lite import model as m
from azurerm_lite.errors import InvalidInput
from azurerm_lite.model.edits import set_capacity, set_image_version, set_vm_size

USER = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
PROBE = {"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/loadBalancers/lb/probes/p"}
POLICY = {"mode": "Rolling", "rollingUpgradePolicy": {"maxBatchInstancePercent": 20}}
STORAGE: dict[str, Any] = {
    "osDisk": {"osType": "Linux", "createOption": "FromImage", "managedDisk": {"storageAccountType": "Premium_LRS"}},
    "imageReference": {"publisher": "P", "offer": "O", "sku": "S", "version": "1.0.0", "exactVersion": "1.0.0"},
    "dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 512}],
}


def model(mode: str = "Manual") -> dict[str, Any]:
    profile = {
        "osProfile": {"computerNamePrefix": "web", "linuxConfiguration": {"provisionVMAgent": True}},
        "storageProfile": copy.deepcopy(STORAGE),
        "networkProfile": {"healthProbe": dict(PROBE), "networkInterfaceConfigurations": [{"name": "nic"}]},
    }
    return {
        "id": "/x",
        "location": "westus2",
        "etag": '"3"',
        "tags": {"team": "shop", "cost": "4711"},
        "sku": {"name": "Standard_D2s_v3", "tier": "Standard", "capacity": 5},
        "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
        "plan": {"name": "n", "publisher": "p", "product": "x"},
        "zones": ["1"],
        "properties": {
            "provisioningState": "Succeeded",
            "upgradePolicy": {**copy.deepcopy(POLICY), "mode": mode},
            "scaleInPolicy": {"rules": ["Default"], "forceDeletion": False},
            "virtualMachineProfile": profile,
        },
    }


def changed(place: str, value: Any, mode: str = "Manual") -> Any:
    """The PATCH for one value at a dotted place; None removes it."""
    old, new = model(mode), model(mode)
    *above, last = place.split(".")
    inner = new
    for key in above:
        inner = inner.setdefault(key, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return m.merge_patch(old, new)


def test_tags_are_sent_whole_and_a_tag_that_is_gone_is_absent() -> None:
    """reports/r22, clients/f1."""
    assert changed("tags.owner", "me") == {"tags": {"team": "shop", "cost": "4711", "owner": "me"}}
    assert changed("tags.cost", None) == {"tags": {"team": "shop"}}
    assert changed("tags", {}) == changed("tags", None) == {"tags": {}}
    new = model()
    new["tags"]["cost"] = None
    assert m.merge_patch(model(), new) == {"tags": {"team": "shop"}}


@pytest.mark.parametrize("tags", [[1], "x", 5, {"a": 1}, {"a": {"b": "c"}}, {"a": ["b"]}, {"a": True}, {5: "x"}])
def test_tags_that_are_no_text_are_refused(tags: Any) -> None:
    with pytest.raises(InvalidInput, match="tag"):
        changed("tags", tags)


def test_any_change_below_the_storage_profile_sends_it_whole_as_read() -> None:
    """reports/r01, r02."""
    image = {key: value for key, value in STORAGE["imageReference"].items() if key != "exactVersion"}
    disk = {key: value for key, value in STORAGE["osDisk"].items() if key not in ("osType", "createOption")}
    whole = {**STORAGE, "osDisk": disk, "imageReference": image}
    storage = "properties.virtualMachineProfile.storageProfile"
    disks = [*STORAGE["dataDisks"], {"lun": 1}]
    rows: list[tuple[str, Any, dict[str, Any]]] = [
        (f"{storage}.imageReference.version", "1.0.1", {**whole, "imageReference": {**image, "version": "1.0.1"}}),
        (f"{storage}.dataDisks", disks, {**whole, "dataDisks": disks}),
        (f"{storage}.dataDisks", None, {**whole, "dataDisks": []}),
        (f"{storage}.osDisk.caching", "None", {**whole, "osDisk": {**disk, "caching": "None"}}),
        (f"{storage}.osDisk.managedDisk", None, {**whole, "osDisk": {"managedDisk": None}}),
        (f"{storage}.diskControllerType", "NVMe", {**whole, "diskControllerType": "NVMe"}),
    ]
    for place, value, sent in rows:
        assert changed(place, value) == {"properties": {"virtualMachineProfile": {"storageProfile": sent}}}, place


@pytest.mark.parametrize("mode", ["Rolling", "Automatic", "rolling", "AUTOMATIC"])
@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("tags.a", "b"),
        ("sku.capacity", 6),
        ("zones", ["1", "2"]),
        ("properties.overprovision", False),
        ("properties.virtualMachineProfile.licenseType", "RHEL_BYOS"),
        ("properties.virtualMachineProfile.storageProfile.imageReference.version", "1.0.1"),
        ("properties.virtualMachineProfile.networkProfile.networkInterfaceConfigurations", [{"name": "other"}]),
    ],
)
def test_a_set_that_azure_upgrades_gets_policy_and_probe_with_every_change(mode: str, place: str, value: Any) -> None:
    sent = changed(place, value, mode)["properties"]
    assert sent["upgradePolicy"] == {**POLICY, "mode": mode}
    assert sent["virtualMachineProfile"]["networkProfile"]["healthProbe"] == PROBE
    plain = changed(place, value)
    assert "upgradePolicy" not in json.dumps(plain)
    assert "healthProbe" not in json.dumps(plain)


def test_a_change_of_mode_counts_in_both_directions_and_no_change_sends_nothing() -> None:
    assert "healthProbe" in json.dumps(changed("properties.upgradePolicy.mode", "Manual", "Rolling"))
    assert "healthProbe" in json.dumps(changed("properties.upgradePolicy.mode", "Rolling"))
    assert m.merge_patch(model("Rolling"), model("Rolling")) == {}
    probe = changed("properties.virtualMachineProfile.networkProfile.healthProbe", None, "Rolling")
    assert probe["properties"]["virtualMachineProfile"]["networkProfile"] == {"healthProbe": None}


def test_the_upgrade_policy_is_sent_whole_and_loses_no_rolling_policy() -> None:
    policy = changed("properties.upgradePolicy.rollingUpgradePolicy.maxBatchInstancePercent", 10)
    rolling = {"maxBatchInstancePercent": 10}
    assert policy == {"properties": {"upgradePolicy": {"mode": "Manual", "rollingUpgradePolicy": rolling}}}
    with pytest.raises(InvalidInput, match=r"upgradePolicy\.rollingUpgradePolicy: in a PATCH null has no effect"):
        changed("properties.upgradePolicy.rollingUpgradePolicy", None)


def test_capacity_is_sent_where_the_change_touched_it_and_nowhere_else() -> None:
    assert m.merge_patch(model(), set_vm_size(model(), "Standard_D4s_v3").model) == {"sku": {"name": "Standard_D4s_v3"}}
    assert m.merge_patch(model(), set_capacity(model(), 6).model) == {"sku": {"capacity": 6}}
    for mode in ("Manual", "Rolling"):
        old = model(mode)
        assert "sku" not in m.merge_patch(old, set_image_version(old, "1.0.1").model)


@pytest.mark.parametrize(
    "place",
    [
        "sku",
        "sku.name",
        "sku.capacity",
        "plan",
        "location",
        "properties",
        "properties.upgradePolicy",
        "properties.virtualMachineProfile",
        "properties.virtualMachineProfile.osProfile",
        "properties.virtualMachineProfile.storageProfile",
        "properties.virtualMachineProfile.storageProfile.osDisk",
        "properties.virtualMachineProfile.storageProfile.imageReference",
    ],
)
def test_what_no_patch_removes_is_refused_by_name(place: str) -> None:
    with pytest.raises(InvalidInput, match=place):
        changed(place, None)


@pytest.mark.parametrize("key", ["osType", "createOption"])
@pytest.mark.parametrize("value", ["Other", None])
def test_what_no_patch_of_an_os_disk_may_name_is_left_out_or_refused(key: str, value: Any) -> None:
    """The published API has neither in a PATCH; Azure takes both from the image."""
    with pytest.raises(InvalidInput, match=rf"osDisk\.{key}: a PATCH cannot change it"):
        changed(f"properties.virtualMachineProfile.storageProfile.osDisk.{key}", value)


def test_a_location_cannot_be_changed_but_spelt_otherwise() -> None:
    with pytest.raises(InvalidInput, match="location"):
        changed("location", "eastus")
    assert changed("location", "West US 2") == {}


@pytest.mark.parametrize("place", ["properties", "sku", "properties.virtualMachineProfile", "identity", "plan"])
@pytest.mark.parametrize("value", [5, "x", [1], True])
def test_an_object_that_is_none_is_refused(place: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{place} must be an object"):
        changed(place, value)


def both(*users: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "SystemAssigned, UserAssigned",
        "principalId": "p",
        "userAssignedIdentities": {USER + user: {"principalId": "q", "clientId": "c"} for user in users},
        **more,
    }


@pytest.mark.parametrize(
    ("old", "new", "sent"),
    [
        (None, {"type": "SystemAssigned"}, {"type": "SystemAssigned"}),
        ({"type": "SystemAssigned", "principalId": "p"}, {"type": "SystemAssigned"}, None),
        ({"type": "SystemAssigned", "principalId": "p"}, None, {"type": "None"}),
        ({"type": "SystemAssigned", "principalId": "p"}, {"type": "None"}, {"type": "None"}),
        (both("a"), both("a"), None),
        (both("a"), both("A"), None),
        (both("a"), {**both("a"), "userAssignedIdentities": {USER + "a": {}}}, None),
        (both("a"), both("a", "b"), {"a": {}, "b": {}}),
        (both("a", "b"), both("b"), {"a": None, "b": {}}),
        (both("a", "b"), {**both("b"), "userAssignedIdentities": {USER + "b": {}, USER + "a": None}}, None),
        (both("a"), {"type": "SystemAssigned"}, {"type": "SystemAssigned", "userAssignedIdentities": None}),
        (both("a"), None, {"type": "None", "userAssignedIdentities": None}),
    ],
)
def test_an_identity_goes_with_its_type_and_without_what_entra_made(old: Any, new: Any, sent: Any) -> None:
    patch = m.merge_patch(*({"identity": one} if one else {} for one in (old, new)))
    if sent is not None and "type" not in sent:
        users = {USER + name: value for name, value in sent.items()}
        sent = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": users}
    if sent is None and new and None in new.get("userAssignedIdentities", {}).values():
        sent = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {USER + "a": None, USER + "b": {}}}
    assert patch == ({} if sent is None else {"identity": sent})


def test_an_identity_without_a_type_is_refused() -> None:
    with pytest.raises(InvalidInput, match="identity must have a type"):
        m.merge_patch({}, {"identity": {"userAssignedIdentities": {USER + "a": {}}}})


def test_other_parts_that_azure_holds_as_one_are_sent_whole() -> None:
    assert changed("plan.name", "m") == {"plan": {"name": "m", "publisher": "p", "product": "x"}}
    sent = changed("properties.scaleInPolicy.forceDeletion", True)
    assert sent == {"properties": {"scaleInPolicy": {"rules": ["Default"], "forceDeletion": True}}}
    assert changed("zones", ["1", "2"]) == {"zones": ["1", "2"]}


def test_zones_of_null_are_no_zones() -> None:
    regional = {**model(), "zones": [None]}
    assert m.merge_patch(regional, {key: value for key, value in model().items() if key != "zones"}) == {}
    assert m.merge_patch(regional, model()) == {"zones": ["1"]}
    assert m.fingerprint(regional) == m.fingerprint({**regional, "zones": []})


@pytest.mark.parametrize("secret", ["adminPassword", "customData"])
@pytest.mark.parametrize("value", ["absent", None])
def test_what_no_get_shows_is_never_removed(secret: str, value: Any) -> None:
    old, new = model(), model()
    old["properties"]["virtualMachineProfile"]["osProfile"][secret] = "MARKER"
    if value is None:
        new["properties"]["virtualMachineProfile"]["osProfile"][secret] = None
    new["properties"]["virtualMachineProfile"]["osProfile"]["computerNamePrefix"] = "shop"
    assert m.merge_patch(old, new) == {
        "properties": {"virtualMachineProfile": {"osProfile": {"computerNamePrefix": "shop"}}}
    }
    new["properties"]["virtualMachineProfile"]["osProfile"][secret] = "FRESH"
    assert m.merge_patch(model(), new)["properties"]["virtualMachineProfile"]["osProfile"][secret] == "FRESH"


def test_a_patch_as_arm_takes_it_replaces_tags_and_drops_an_identity_of_type_none() -> None:
    assert m.apply_patch({"tags": {"a": "1", "b": "2"}}, {"tags": {"c": "3"}}) == {"tags": {"c": "3"}}
    assert m.apply_patch({"identity": both("a")}, {"identity": {"type": "None"}}) == {}
    assert m.apply_patch({"identity": both("a")}, {"identity": {"type": "SystemAssigned"}})["identity"] == {
        "type": "SystemAssigned",
        "principalId": "p",
    }
    assert m.apply_patch({"sku": {"name": "a", "capacity": 1}}, {"sku": {"capacity": 2}}) == {
        "sku": {"name": "a", "capacity": 2}
    }


def test_every_part_says_where_it_is_known_from() -> None:
    assert all(part.source for part in m.WHOLE)


@pytest.mark.parametrize("odd", [None, 5, "x", [1], True])
def test_what_is_no_model_is_refused(odd: Any) -> None:
    for call in (m.fingerprint, lambda one: m.merge_patch(one, {}), lambda one: m.merge_patch({}, one)):
        with pytest.raises(InvalidInput, match="a model must be an object"):
            call(odd)


def test_what_no_json_holds_is_refused_and_no_traceback() -> None:
    """security r06: too deep, too large a number, keys of several types."""
    deep: Any = {}
    for _ in range(20_000):
        deep = {"a": deep}
    for call in (
        m.fingerprint,
        m.without_read_only,
        m.redact,
        lambda one: m.diff(one, {}),
        lambda one: m.diff({}, one),
    ):
        try:
            call(deep)
        except InvalidInput:
            continue
    huge = {"sku": 10**5000, 5: {"x": 1, None: 2}}
    for call in (m.fingerprint, lambda one: str(m.diff({}, one)), lambda one: m.merge_patch({}, one)):
        with pytest.raises(InvalidInput):
            call(huge)
    assert m.fingerprint({"sku": 5, 5: {"x": 1, None: 2}})
    assert str(m.diff({}, {"sku": {5: 1, "x": 2}}))


@pytest.mark.parametrize(
    ("wanted", "before", "found", "sent"),
    [
        ({"a": "1", "b": "2"}, {"a": "1"}, {"a": "1"}, {"a": "1", "b": "2"}),
        ({"a": "1", "b": "2"}, {"a": "1"}, {"a": "1", "theirs": "x"}, {"a": "1", "theirs": "x", "b": "2"}),
        ({"a": "1", "b": "2"}, {"a": "1"}, {}, {"b": "2"}),
        ({"a": "1", "b": "2"}, {"a": "1"}, {"a": "9"}, {"a": "9", "b": "2"}),
        ({}, {"a": "1"}, {"a": "1", "theirs": "x"}, {"theirs": "x"}),
        ({"a": "2"}, {"a": "1"}, {"a": "1"}, {"a": "2"}),
    ],
)
def test_a_patch_of_earlier_changes_the_tags_that_are_there_now(
    wanted: Any, before: Any, found: Any, sent: Any
) -> None:
    assert m.rebase_tags({"tags": wanted}, {"tags": before}, {"tags": found}) == {"tags": sent}
    assert m.rebase_tags({"sku": {}}, {"tags": before}, {"tags": found}) == {"sku": {}}
