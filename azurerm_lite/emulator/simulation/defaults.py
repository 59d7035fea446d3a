"""Defaults: what Azure fills in where the body of a scale set leaves it out.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-orchestration-modes
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from ..messages import ErrorResponse, Json
from .events import Events

LARGEST_GROUP = 100  # instances of a placement group
ROLLING_POLICY = {
    "maxBatchInstancePercent": 20,
    "maxUnhealthyInstancePercent": 20,
    "maxUnhealthyUpgradedInstancePercent": 20,
    "pauseTimeBetweenBatches": "PT0S",
}


def new_model(events: Events, tenant_id: str, resource_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The model that a PUT of this body creates, with what Azure fills in; ErrorResponse for a body without a model."""
    if not body.get("location"):
        text = "The location property is required for this definition."
        raise ErrorResponse(400, "LocationRequired", text, gateway=True)
    properties, sku = dict(body.get("properties") or {}), body.get("sku") or {}
    flexible = is_flexible(properties)
    if is_no_zone(body.get("zones")):
        body = {key: value for key, value in body.items() if key != "zones"}
    if not sku.get("name") and not flexible:
        raise ErrorResponse(400, "InvalidParameter", "Required parameter 'sku' is missing (null).", target="sku")
    if not properties.get("virtualMachineProfile") and not flexible:
        text = "Required parameter 'virtualMachineProfile' is missing (null)."
        raise ErrorResponse(400, "InvalidParameter", text, target="virtualMachineProfile")
    capacity = int(sku.get("capacity", 0))
    full_sku = {"name": sku.get("name", "Mix"), "tier": sku.get("tier", "Standard"), "capacity": capacity}
    model: dict[str, Any] = {"name": resource_id.rpartition("/")[2], "id": resource_id}
    model |= {"type": "Microsoft.Compute/virtualMachineScaleSets", "location": body["location"]}
    model |= {key: copy.deepcopy(body[key]) for key in ("tags", "zones", "plan") if body.get(key) is not None}
    if body.get("identity"):
        model["identity"] = complete_identity(events, tenant_id, body["identity"])
    full = _complete_properties(events, properties, flexible, capacity, body.get("zones"))
    return {**model, "sku": full_sku, "properties": full}


def is_flexible(properties: Mapping[str, Any]) -> bool:
    """Whether the properties of a model say the orchestration mode Flexible."""
    return str(properties.get("orchestrationMode", "Uniform")).lower() == "flexible"


def is_no_zone(zones: Json) -> bool:
    """Whether a list names no zone: recorded lists of regional Flexible sets show `[null]`."""
    return isinstance(zones, list) and all(zone is None for zone in zones)


def _complete_properties(
    events: Events, properties: dict[str, Any], flexible: bool, capacity: int, zones: Json
) -> dict[str, Any]:
    sent = {key: copy.deepcopy(value) for key, value in properties.items() if value is not None}
    now = events.timestamp()
    spot = str((sent.get("virtualMachineProfile") or {}).get("priority", "")).lower() == "spot"
    # Azure's own order, which GET shows.
    full: dict[str, Any] = {
        "singlePlacementGroup": not flexible and not spot and capacity <= LARGEST_GROUP,
        "orchestrationMode": "Flexible" if flexible else "Uniform",
        "upgradePolicy": {"mode": "Manual"},
        "virtualMachineProfile": {},
        "provisioningState": "Creating",
        "overprovision": True,
        "doNotRunExtensionsOnOverprovisionedVMs": False,
        "uniqueId": events.guid(),
        "platformFaultDomainCount": 1 if flexible or zones or spot else 5,
        "constrainedMaximumCapacity": False,
        "timeCreated": now,
    }
    for absent in (
        ("overprovision", "doNotRunExtensionsOnOverprovisionedVMs") if flexible else ("constrainedMaximumCapacity",)
    ):
        del full[absent]
    full |= {**sent, "provisioningState": "Creating", "orchestrationMode": full["orchestrationMode"]}
    full["upgradePolicy"] = complete_policy(full["upgradePolicy"])
    if sent.get("virtualMachineProfile"):
        profile = complete_profile(sent["virtualMachineProfile"], is_new=True, keeps_empty=flexible)
        if spot:
            explicit = {key: profile[key] for key in ("evictionPolicy", "billingProfile") if profile.get(key)}
            spot_defaults = {"evictionPolicy": "Deallocate", "billingProfile": {"maxPrice": -1.0}}
            profile = {**profile, **spot_defaults, **explicit}
        full["virtualMachineProfile"] = {**profile, "timeCreated": now}
    else:
        del full["virtualMachineProfile"]
    return full


def complete_policy(sent: Mapping[str, Any]) -> dict[str, Any]:
    """An upgrade policy with its defaults: the rolling policy where the mode or the automatic OS upgrade needs it."""
    policy = {"mode": "Manual", **sent}
    automatic = policy.get("automaticOSUpgradePolicy")
    if str(policy["mode"]).lower() == "rolling" or (automatic or {}).get("enableAutomaticOSUpgrade"):
        policy["rollingUpgradePolicy"] = {**ROLLING_POLICY, **(policy.get("rollingUpgradePolicy") or {})}
    if automatic is not None:
        defaults = {"enableAutomaticOSUpgrade": False, "disableAutomaticRollback": False}
        policy["automaticOSUpgradePolicy"] = {**defaults, **automatic}
    return {key: policy[key] for key in ("mode", "rollingUpgradePolicy", *policy) if key in policy}


def complete_profile(sent: Mapping[str, Any], *, is_new: bool = False, keeps_empty: bool = False) -> dict[str, Any]:
    """A VM profile with its defaults, in Azure's order.

    `is_new`: of a new scale set. `keeps_empty`: empty lists of an ipConfiguration stay, as recorded of Flexible sets;
    Uniform sets drop them.
    """
    profile = {**sent}
    windows = _is_windows(sent)
    parts = {
        "osProfile": lambda value: _complete_os(value, windows),
        "storageProfile": lambda value: _complete_storage(value, windows),
        "networkProfile": lambda value: _complete_network(value, is_new, keeps_empty),
        "extensionProfile": _complete_extensions,
    }
    for key, complete in parts.items():
        if isinstance(profile.get(key), Mapping):
            profile[key] = complete(profile[key])
    return {key: profile[key] for key in (*parts, *profile) if key in profile}


def _is_windows(profile: Mapping[str, Any]) -> bool:
    system, storage = profile.get("osProfile") or {}, profile.get("storageProfile") or {}
    if system.get("linuxConfiguration") or system.get("windowsConfiguration"):
        return bool(system.get("windowsConfiguration"))
    kind = (storage.get("osDisk") or {}).get("osType")
    publisher = str((storage.get("imageReference") or {}).get("publisher", ""))
    return kind == "Windows" or (not kind and publisher.lower().startswith("microsoftwindows"))


def _complete_os(sent: Mapping[str, Any], windows: bool) -> dict[str, Any]:
    profile = {**sent}
    if windows:
        config = {"provisionVMAgent": True, "enableAutomaticUpdates": True}
        profile["windowsConfiguration"] = {**config, **(sent.get("windowsConfiguration") or {})}
    else:
        linux = sent.get("linuxConfiguration") or {}
        agent = linux.get("provisionVMAgent", True)
        profile["linuxConfiguration"] = {"disablePasswordAuthentication": False, **linux, "provisionVMAgent": agent}
    defaults = {"secrets": [], "allowExtensionOperations": True, "requireGuestProvisionSignal": True}
    return {**defaults, **profile, **{key: profile.get(key, value) for key, value in defaults.items()}}


def _complete_storage(sent: Mapping[str, Any], windows: bool) -> dict[str, Any]:
    disk = {**(sent.get("osDisk") or {})}
    full = {
        "osType": disk.get("osType", "Windows" if windows else "Linux"),
        "createOption": disk.get("createOption", "FromImage"),
        "caching": disk.get("caching", "None"),
    }
    if "vhdContainers" not in disk and "image" not in disk:
        full["managedDisk"] = {"storageAccountType": "Standard_LRS", **(disk.get("managedDisk") or {})}
        full["diskSizeGB"] = disk.get("diskSizeGB", 127 if windows else 30)
    storage: dict[str, Any] = {"osDisk": {**full, **{k: v for k, v in disk.items() if k not in full}}}
    storage |= {key: value for key, value in sent.items() if key != "osDisk"}
    if storage.get("dataDisks"):
        storage["dataDisks"] = [_complete_data_disk(disk) for disk in storage["dataDisks"]]
    return storage


def _complete_data_disk(sent: Mapping[str, Any]) -> dict[str, Any]:
    managed = {"storageAccountType": "Standard_LRS", **(sent.get("managedDisk") or {})}
    return {**sent, "caching": sent.get("caching", "None"), "managedDisk": managed}


def _complete_network(sent: Mapping[str, Any], is_new: bool, keeps_empty: bool) -> dict[str, Any]:
    nics = sent.get("networkInterfaceConfigurations") or []
    return {**sent, "networkInterfaceConfigurations": [_complete_nic(nic, is_new, keeps_empty) for nic in nics]}


def _complete_nic(sent: Mapping[str, Any], is_new: bool, keeps_empty: bool) -> dict[str, Any]:
    properties = sent.get("properties") or {}
    addresses = [_complete_address(address, keeps_empty) for address in properties.get("ipConfigurations") or []]
    defaults = {"disableTcpStateTracking": False, "dnsSettings": {"dnsServers": []}, "enableIPForwarding": False}
    first = {"primary": properties["primary"]} if "primary" in properties else {}
    if is_new:
        first["enableAcceleratedNetworking"] = False
    full = {**first, **defaults, **properties, "ipConfigurations": addresses}
    return {"name": sent.get("name", "nic"), "properties": full}


def keep_acceleration(profile: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Keep the accelerated networking of each network interface that a write leaves open, in place."""
    old = {nic["name"]: nic.get("properties", {}) for nic in _nics(before)}
    for nic in _nics(profile):
        previous = old.get(nic["name"], {})
        if "enableAcceleratedNetworking" in previous:
            nic["properties"].setdefault("enableAcceleratedNetworking", previous["enableAcceleratedNetworking"])


def _nics(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    nics = (profile.get("networkProfile") or {}).get("networkInterfaceConfigurations")
    return nics if isinstance(nics, list) else []


def _complete_address(sent: Mapping[str, Any], keeps_empty: bool) -> dict[str, Any]:
    properties = {key: value for key, value in (sent.get("properties") or {}).items() if keeps_empty or value != []}
    return {"name": sent.get("name", "ip"), "properties": {"privateIPAddressVersion": "IPv4", **properties}}


def _complete_extensions(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {**sent, "extensions": [complete_extension(extension) for extension in sent.get("extensions") or []]}


def complete_extension(sent: Mapping[str, Any]) -> dict[str, Any]:
    """An extension of the model with its defaults."""
    properties = sent.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    return {"name": sent.get("name", "extension"), "properties": {"autoUpgradeMinorVersion": False, **properties}}


def complete_identity(events: Events, tenant_id: str, sent: Mapping[str, Any]) -> dict[str, Any] | None:
    """A managed identity with its principals in Entra; None for the type None."""
    kind = str(sent.get("type", "")).replace(" ", "")
    if kind.lower() in ("", "none"):
        return None
    identity: dict[str, Any] = {"type": ", ".join(kind.split(","))}
    if "systemassigned" in kind.lower():
        identity["principalId"] = sent.get("principalId") or events.guid()
        identity["tenantId"] = sent.get("tenantId") or tenant_id
    users = {key: value for key, value in (sent.get("userAssignedIdentities") or {}).items() if value is not None}
    if "userassigned" in kind.lower() and users:
        identity["userAssignedIdentities"] = {
            key: value or {"principalId": events.guid(), "clientId": events.guid()} for key, value in users.items()
        }
    return identity


def surplus(count: int) -> int:
    """How many instances overprovisioning creates beyond these; recorded: 7 for 5, 4 for 2."""
    return max(2, math.ceil(count / 5)) if count else 0
