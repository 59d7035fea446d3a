"""What Azure makes of a model that was written, and what nobody but another writer made of it."""

from typing import Any

import pytest

from azurerm_lite import model as m
from azurerm_lite.errors import InvalidInput

USER = "/subscriptions/s/resourceGroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a"


def model() -> dict[str, Any]:
    nic = {"primary": True, "ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": "/subscriptions/S"}}}]}
    return {
        "location": "westus2",
        "tags": {"team": "shop"},
        "sku": {"name": "Standard_D2s_v3", "tier": "Standard", "capacity": 5},
        "properties": {
            "overprovision": False,
            "upgradePolicy": {"mode": "Manual"},
            "virtualMachineProfile": {
                "osProfile": {"computerNamePrefix": "web", "adminUsername": "deploy"},
                "storageProfile": {
                    "osDisk": {"createOption": "FromImage", "caching": "ReadWrite"},
                    "imageReference": {"publisher": "P", "offer": "O", "sku": "S", "version": "1.0.0"},
                },
                "networkProfile": {"networkInterfaceConfigurations": [{"name": "nic", "properties": nic}]},
                "extensionProfile": {"extensions": [{"name": "script", "properties": {"settings": {"a": 1}}}]},
            },
        },
    }


P = "properties.virtualMachineProfile"
NIC = f"{P}.networkProfile.networkInterfaceConfigurations.0.properties"


def at(place: str, value: Any) -> Any:
    """The model with this value at a dotted place, where a number counts list items; without one for `...`."""
    result = model()
    *above, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    inner: Any = result
    for key in above:
        inner = inner[key] if isinstance(key, int) else inner.setdefault(key, {})
    if value is ...:
        inner.pop(last, None)
    else:
        inner[last] = value
    return result


# (place, what was sent there or ... for nothing, what is shown or ... for nothing)
COMPLETIONS: list[tuple[str, Any, Any]] = [
    ("etag", '"3"', '"4"'),
    ("properties.provisioningState", "Updating", "Succeeded"),
    ("identity", {"type": "SystemAssigned"}, {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"}),
    ("identity", {"type": "None"}, ...),
    (
        "identity",
        {"type": "UserAssigned", "userAssignedIdentities": {USER: {}}},
        {"type": "UserAssigned", "userAssignedIdentities": {USER.lower(): {"principalId": "p", "clientId": "c"}}},
    ),
    ("zones", [None], ...),
    ("zones", ..., [None]),
    ("location", "West US 2", "westus2"),
    ("location", "SoutheastAsia", "southeastasia"),
    ("properties.upgradePolicy.mode", "manual", "Manual"),
    ("sku.name", "standard_d2s_v3", "Standard_D2s_v3"),
    ("sku.tier", ..., "Standard"),
    ("properties.singlePlacementGroup", ..., True),
    ("properties.doNotRunExtensionsOnOverprovisionedVMs", ..., False),
    ("properties.aSwitchOfANewerVersion", ..., False),
    ("properties.aPolicyOfANewerVersion", ..., {"enabled": False, "rules": [], "more": {}}),
    ("properties.scaleInPolicy", ..., {"rules": ["Default"], "forceDeletion": False}),
    ("properties.scaleInPolicy", {"rules": ["Default"], "forceDeletion": False}, ...),
    ("properties.upgradePolicy.automaticOSUpgradePolicy", ..., {"enableAutomaticOSUpgrade": False}),
    (
        "properties.upgradePolicy.rollingUpgradePolicy",
        {"maxBatchInstancePercent": 10},
        {
            "maxBatchInstancePercent": 10,
            "maxUnhealthyInstancePercent": 20,
            "maxUnhealthyUpgradedInstancePercent": 20,
            "pauseTimeBetweenBatches": "PT0S",
            "maxSurge": False,
        },
    ),
    (f"{P}.timeCreated", ..., "2026-01-01T00:00:00+00:00"),
    (f"{P}.userData", "MARKER", ...),
    (f"{P}.osProfile.adminPassword", "MARKER", ...),
    (f"{P}.osProfile.secrets", ..., []),
    (f"{P}.osProfile.allowExtensionOperations", ..., True),
    (f"{P}.osProfile.requireGuestProvisionSignal", ..., True),
    (f"{P}.osProfile.windowsConfiguration", ..., {"provisionVMAgent": True, "enableAutomaticUpdates": True}),
    (f"{P}.osProfile.linuxConfiguration", ..., {"provisionVMAgent": True, "enableVMAgentPlatformUpdates": False}),
    (f"{P}.securityProfile", {"securityType": "Standard"}, ...),
    (f"{P}.securityProfile", {"securityType": "Standard"}, {}),
    (f"{P}.securityProfile", ..., {"securityType": "Standard"}),
    (f"{P}.securityProfile", {"securityType": "Standard", "uefiSettings": {"vTpmEnabled": True}}, ...),
    (f"{P}.applicationProfile", {"galleryApplications": []}, ...),
    (f"{P}.applicationProfile", ..., {"galleryApplications": []}),
    (f"{P}.scheduledEventsProfile", {"terminateNotificationProfile": {"enable": False}}, ...),
    (f"{P}.scheduledEventsProfile", {"terminateNotificationProfile": {"enable": False}}, {}),
    (f"{P}.scheduledEventsProfile.terminateNotificationProfile", {"enable": False, "notBeforeTimeout": "PT9M"}, ...),
    (f"{P}.scheduledEventsProfile.terminateNotificationProfile", ..., {"enable": False, "notBeforeTimeout": "PT5M"}),
    (f"{P}.storageProfile.osDisk.osType", ..., "Linux"),
    (f"{P}.storageProfile.osDisk.diskSizeGB", ..., 30),
    (f"{P}.storageProfile.osDisk.managedDisk", ..., {"storageAccountType": "Standard_LRS"}),
    (f"{P}.storageProfile.dataDisks", [], ...),
    (f"{P}.storageProfile.dataDisks", ..., []),
    (f"{P}.storageProfile.imageReference.exactVersion", ..., "1.0.0"),
    (f"{P}.storageProfile.diskControllerType", ..., "SCSI"),
    (f"{NIC}.enableAcceleratedNetworking", ..., False),
    (f"{NIC}.dnsSettings", ..., {"dnsServers": []}),
    (f"{NIC}.ipConfigurations.0.properties.privateIPAddressVersion", ..., "IPv4"),
    (f"{NIC}.ipConfigurations.0.properties.applicationSecurityGroups", [], ...),
    (f"{NIC}.ipConfigurations.0.properties.applicationSecurityGroups", ..., []),
    (f"{NIC}.ipConfigurations.0.properties.subnet.id", "/subscriptions/S", "/subscriptions/s"),
    (f"{P}.extensionProfile.extensions.0.properties.autoUpgradeMinorVersion", ..., False),
    ("tags", {"team": "shop"}, {"team": "autoscaler"}),
    ("sku.capacity", 5, 50),
]
# Where the model did not say, Azure takes it from the image: it is part of the fingerprint from then on.
FROM_ELSEWHERE = ("osType", "diskSizeGB", "singlePlacementGroup")


@pytest.mark.parametrize(("place", "sent", "shown"), COMPLETIONS)
def test_what_azure_completes_clears_or_spells_otherwise_is_no_difference(place: str, sent: Any, shown: Any) -> None:
    before, after = at(place, sent), at(place, shown)
    assert m.unexplained(after, before) == []
    assert m.shows_write(after, before)
    if not place.endswith(FROM_ELSEWHERE):
        assert m.fingerprint(after) == m.fingerprint(before)


FOREIGN: list[tuple[str, Any, Any]] = [
    ("sku.name", "Standard_D2s_v3", "Standard_D4s_v3"),
    ("location", "westus2", "eastus2"),
    ("zones", ["1"], ["2"]),
    ("zones", ["1"], ...),
    ("identity", {"type": "SystemAssigned"}, ...),
    ("identity", {"type": "SystemAssigned"}, {"type": "UserAssigned", "userAssignedIdentities": {USER: {}}}),
    ("properties.overprovision", False, True),
    ("properties.overprovision", False, ...),
    ("properties.upgradePolicy.mode", "Manual", "Rolling"),
    ("properties.aSwitchOfANewerVersion", ..., True),
    ("properties.aSwitchOfANewerVersion", True, ...),
    ("properties.aSwitchOfANewerVersion", True, False),
    ("properties.scaleInPolicy", ..., {"rules": ["OldestVM"]}),
    (f"{P}.licenseType", ..., "RHEL_BYOS"),
    (f"{P}.osProfile.allowExtensionOperations", ..., False),
    (f"{P}.osProfile.adminUsername", "deploy", "Deploy"),
    (f"{P}.securityProfile", {"securityType": "TrustedLaunch"}, ...),
    (f"{P}.securityProfile", {"securityType": "TrustedLaunch"}, {"securityType": "Standard"}),
    (f"{P}.securityProfile", {"securityType": "Standard", "encryptionAtHost": True}, ...),
    (f"{P}.applicationProfile", ..., {"galleryApplications": [{"packageReferenceId": "/x"}]}),
    (f"{P}.scheduledEventsProfile", {"terminateNotificationProfile": {"enable": True}}, ...),
    (f"{P}.scheduledEventsProfile.terminateNotificationProfile", ..., {"enable": True}),
    (f"{P}.storageProfile.imageReference.version", "1.0.0", "1.0.1"),
    (f"{P}.storageProfile.osDisk.osType", "Linux", "Windows"),
    (f"{P}.storageProfile.osDisk.diskSizeGB", 30, 64),
    (f"{P}.storageProfile.osDisk.caching", "ReadWrite", "None"),
    (f"{P}.storageProfile.osDisk.managedDisk", ..., {"storageAccountType": "Premium_LRS"}),
    (f"{P}.storageProfile.dataDisks", ..., [{"lun": 0}]),
    (f"{P}.storageProfile.dataDisks", [{"lun": 0, "diskSizeGB": 4}], [{"lun": 0, "diskSizeGB": 8}]),
    (f"{P}.storageProfile.dataDisks", [{"lun": 0}], ...),
    (f"{NIC}.ipConfigurations.0.properties.subnet.id", "/subscriptions/S", "/subscriptions/T"),
    (f"{P}.extensionProfile.extensions.0.properties.settings", {"a": 1}, {"a": 1, "debug": False}),
    (f"{P}.extensionProfile.extensions.0.properties.settings", {"a": 1, "debug": False}, {"a": 1}),
    (f"{P}.extensionProfile.extensions.0.properties.settings", {"a": "x"}, {"a": "X"}),
    (f"{P}.extensionProfile.extensions", [{"name": "script"}], []),
]


@pytest.mark.parametrize(("place", "sent", "shown"), FOREIGN)
def test_what_another_writer_changed_is_named(place: str, sent: Any, shown: Any) -> None:
    before, after = at(place, sent), at(place, shown)
    changes = m.unexplained(after, before)
    assert not m.shows_write(after, before)
    assert any(change.path.startswith(place.partition(".0.")[0].partition("[")[0]) for change in changes), changes
    if (sent, shown) != (False, ...):  # a switch that is off and one that is not named are the same to instances
        assert m.fingerprint(after) != m.fingerprint(before) or place == "properties.overprovision"


def test_tags_and_capacity_count_where_the_patch_names_them() -> None:
    other = {**model(), "tags": {"team": "shop", "more": "x"}, "sku": {**model()["sku"], "capacity": 9}}
    assert m.shows_write(other, model())
    assert [change.path for change in m.unexplained(other, model(), {"tags": {"team": "shop"}})] == ["tags.more"]
    assert [str(change) for change in m.unexplained(other, model(), {"sku": {"capacity": 5}})] == [
        "sku.capacity: 5 -> 9"
    ]


def test_the_difference_shows_no_secret() -> None:
    sent = at(f"{P}.extensionProfile.extensions.0.properties.settings", {"password": "hunter2"})
    shown = at(f"{P}.extensionProfile.extensions.0.properties.settings", {"password": "hunter3"})
    text = str(m.unexplained(shown, sent))
    assert "hunter" not in text
    assert "password" in text


@pytest.mark.parametrize(
    ("shown", "wanted", "expected"),
    [
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"a": "1"}}, False),
        ({"tags": {"a": "1"}}, {"tags": {"a": "1"}}, True),
        ({"tags": {}}, {"tags": {}}, True),
        ({}, {"tags": {}}, True),
        ({"tags": {"a": "1"}}, {"tags": {}}, False),
        ({}, {"identity": {"type": "None"}}, True),
        ({"identity": {"type": "SystemAssigned"}}, {"identity": {"type": "None"}}, False),
        ({"storageProfile": {}}, {"storageProfile": {"dataDisks": []}}, True),
        ({"storageProfile": {"dataDisks": [{"lun": 1}]}}, {"storageProfile": {"dataDisks": []}}, False),
        ({"location": "westus2"}, {"location": "West US 2"}, True),
        ({"a": 1}, {"a": None}, False),
    ],
)
def test_what_a_body_asked_for_shows_or_does_not(shown: Any, wanted: Any, expected: bool) -> None:
    assert m.matches_written(shown, wanted) is expected


def test_an_outline_is_the_same_before_and_after_azure_adds_what_the_image_says() -> None:
    shown = at(f"{P}.storageProfile.osDisk.osType", "Linux")
    assert m.outline(shown) == m.outline(model())
    assert m.fingerprint(shown) != m.fingerprint(model())
    other = at(f"{P}.storageProfile.imageReference.version", "2.0.0")
    assert m.outline(other) != m.outline(model())
    assert m.outline(at(f"{P}.extensionProfile.extensions.0.properties.settings.osType", "x")) != m.outline(model())
    with pytest.raises(InvalidInput):
        m.outline([])  # type: ignore[arg-type]
