"""How scale sets and instances come to be: what Azure fills in, and where a new instance is placed. No HTTP here.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-orchestration-modes
"""

import copy
import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .exchange import Json, Refusal

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

UPDATE_DOMAINS = 5
LARGEST_GROUP = 100  # instances of a placement group
ROLLING_POLICY = {
    "maxBatchInstancePercent": 20,
    "maxUnhealthyInstancePercent": 20,
    "maxUnhealthyUpgradedInstancePercent": 20,
    "pauseTimeBetweenBatches": "PT0S",
}


def new_model(world: "World", resource_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The model that a PUT of this body creates, with what Azure fills in; a Refusal when it cannot."""
    if not body.get("location"):
        text = "The location property is required for this definition."
        raise Refusal(400, "LocationRequired", text, gateway=True)
    given, sku = dict(body.get("properties") or {}), body.get("sku") or {}
    flexible = is_flexible(given)
    if is_no_zone(body.get("zones")):
        body = {key: value for key, value in body.items() if key != "zones"}
    if not sku.get("name") and not flexible:
        raise Refusal(400, "InvalidParameter", "Required parameter 'sku' is missing (null).", target="sku")
    if not given.get("virtualMachineProfile") and not flexible:
        text = "Required parameter 'virtualMachineProfile' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="virtualMachineProfile")
    capacity = int(sku.get("capacity", 0))
    shown_sku = {"name": sku.get("name", "Mix"), "tier": sku.get("tier", "Standard"), "capacity": capacity}
    model: dict[str, Any] = {"name": resource_id.rpartition("/")[2], "id": resource_id}
    model |= {"type": "Microsoft.Compute/virtualMachineScaleSets", "location": body["location"]}
    model |= {key: copy.deepcopy(body[key]) for key in ("tags", "zones", "plan") if body.get(key) is not None}
    if body.get("identity"):
        model["identity"] = completed_identity(world, body["identity"])
    return {**model, "sku": shown_sku, "properties": _properties(world, given, flexible, capacity, body.get("zones"))}


def is_flexible(properties: Mapping[str, Any]) -> bool:
    return str(properties.get("orchestrationMode", "Uniform")).lower() == "flexible"


def is_no_zone(zones: Json) -> bool:
    """Whether a list names no zone: recorded lists of regional Flexible sets show `[null]`."""
    return isinstance(zones, list) and all(zone is None for zone in zones)


def _properties(world: "World", given: dict[str, Any], flexible: bool, capacity: int, zones: Json) -> dict[str, Any]:
    own = {key: copy.deepcopy(value) for key, value in given.items() if value is not None}
    made = world.timestamp()
    spot = str((own.get("virtualMachineProfile") or {}).get("priority", "")).lower() == "spot"
    # Azure's own order, which GET shows.
    filled: dict[str, Any] = {
        "singlePlacementGroup": not flexible and not spot and capacity <= LARGEST_GROUP,
        "orchestrationMode": "Flexible" if flexible else "Uniform",
        "upgradePolicy": {"mode": "Manual"},
        "virtualMachineProfile": {},
        "provisioningState": "Creating",
        "overprovision": True,
        "doNotRunExtensionsOnOverprovisionedVMs": False,
        "uniqueId": world.guid(),
        "platformFaultDomainCount": 1 if flexible or zones or spot else 5,
        "constrainedMaximumCapacity": False,
        "timeCreated": made,
    }
    for absent in (
        ("overprovision", "doNotRunExtensionsOnOverprovisionedVMs") if flexible else ("constrainedMaximumCapacity",)
    ):
        del filled[absent]
    filled |= {**own, "provisioningState": "Creating", "orchestrationMode": filled["orchestrationMode"]}
    filled["upgradePolicy"] = completed_policy(filled["upgradePolicy"])
    if own.get("virtualMachineProfile"):
        profile = completed_profile(own["virtualMachineProfile"], fresh=True, keeps_empty=flexible)
        if spot:
            profile = {
                **profile,
                "evictionPolicy": "Deallocate",
                "billingProfile": {"maxPrice": -1.0},
                **_told(profile),
            }
        filled["virtualMachineProfile"] = {**profile, "timeCreated": made}
    else:
        del filled["virtualMachineProfile"]
    return filled


def _told(profile: Mapping[str, Any]) -> dict[str, Any]:
    return {key: profile[key] for key in ("evictionPolicy", "billingProfile") if profile.get(key)}


def completed_policy(given: Mapping[str, Any]) -> dict[str, Any]:
    """An upgrade policy with its defaults: the rolling one where the mode or the automatic OS upgrade needs it."""
    policy = {"mode": "Manual", **given}
    automatic = policy.get("automaticOSUpgradePolicy")
    if str(policy["mode"]).lower() == "rolling" or (automatic or {}).get("enableAutomaticOSUpgrade"):
        policy["rollingUpgradePolicy"] = {**ROLLING_POLICY, **(policy.get("rollingUpgradePolicy") or {})}
    if automatic is not None:
        filled = {"enableAutomaticOSUpgrade": False, "disableAutomaticRollback": False}
        policy["automaticOSUpgradePolicy"] = {**filled, **automatic}
    return {key: policy[key] for key in ("mode", "rollingUpgradePolicy", *policy) if key in policy}


def completed_profile(given: Mapping[str, Any], *, fresh: bool = False, keeps_empty: bool = False) -> dict[str, Any]:
    """A VM profile with what Azure fills in, in the order in which it shows it. `fresh`: of a new scale set.

    `keeps_empty`: empty lists of an ipConfiguration stay. Recorded: Flexible sets keep them, Uniform ones do not.
    """
    profile = {**given}
    windows = _is_windows(given)
    known = {
        "osProfile": lambda value: _os_profile(value, windows),
        "storageProfile": lambda value: _storage(value, windows),
        "networkProfile": lambda value: _network(value, fresh, keeps_empty),
        "extensionProfile": _extensions,
    }
    for key, complete in known.items():
        if isinstance(profile.get(key), Mapping):
            profile[key] = complete(profile[key])
    return {key: profile[key] for key in (*known, *profile) if key in profile}


def _is_windows(profile: Mapping[str, Any]) -> bool:
    system, storage = profile.get("osProfile") or {}, profile.get("storageProfile") or {}
    if system.get("linuxConfiguration") or system.get("windowsConfiguration"):
        return bool(system.get("windowsConfiguration"))
    kind = (storage.get("osDisk") or {}).get("osType")
    publisher = str((storage.get("imageReference") or {}).get("publisher", ""))
    return kind == "Windows" or (not kind and publisher.lower().startswith("microsoftwindows"))


def _os_profile(given: Mapping[str, Any], windows: bool) -> dict[str, Any]:
    profile = {**given}
    if windows:
        wanted = {"provisionVMAgent": True, "enableAutomaticUpdates": True}
        profile["windowsConfiguration"] = {**wanted, **(given.get("windowsConfiguration") or {})}
    else:
        own = given.get("linuxConfiguration") or {}
        filled = {"disablePasswordAuthentication": False, **own, "provisionVMAgent": own.get("provisionVMAgent", True)}
        profile["linuxConfiguration"] = filled
    defaults = {"secrets": [], "allowExtensionOperations": True, "requireGuestProvisionSignal": True}
    return {**defaults, **profile, **{key: profile.get(key, value) for key, value in defaults.items()}}


def _storage(given: Mapping[str, Any], windows: bool) -> dict[str, Any]:
    disk = {**(given.get("osDisk") or {})}
    filled = {
        "osType": disk.get("osType", "Windows" if windows else "Linux"),
        "createOption": disk.get("createOption", "FromImage"),
        "caching": disk.get("caching", "None"),
    }
    if "vhdContainers" not in disk and "image" not in disk:
        filled["managedDisk"] = {"storageAccountType": "Standard_LRS", **(disk.get("managedDisk") or {})}
        filled["diskSizeGB"] = disk.get("diskSizeGB", 127 if windows else 30)
    storage: dict[str, Any] = {"osDisk": {**filled, **{k: v for k, v in disk.items() if k not in filled}}}
    storage |= {key: value for key, value in given.items() if key != "osDisk"}
    if storage.get("dataDisks"):
        storage["dataDisks"] = [_data_disk(one) for one in storage["dataDisks"]]
    return storage


def _data_disk(given: Mapping[str, Any]) -> dict[str, Any]:
    managed = {"storageAccountType": "Standard_LRS", **(given.get("managedDisk") or {})}
    return {**given, "caching": given.get("caching", "None"), "managedDisk": managed}


def _network(given: Mapping[str, Any], fresh: bool, keeps_empty: bool) -> dict[str, Any]:
    nics = given.get("networkInterfaceConfigurations") or []
    return {**given, "networkInterfaceConfigurations": [_nic(one, fresh, keeps_empty) for one in nics]}


def _nic(given: Mapping[str, Any], fresh: bool, keeps_empty: bool) -> dict[str, Any]:
    own = given.get("properties") or {}
    addresses = [_address(one, keeps_empty) for one in own.get("ipConfigurations") or []]
    filled = {"disableTcpStateTracking": False, "dnsSettings": {"dnsServers": []}, "enableIPForwarding": False}
    primary = {"primary": own["primary"]} if "primary" in own else {}
    if fresh:
        primary["enableAcceleratedNetworking"] = False
    return {"name": given.get("name", "nic"), "properties": {**primary, **filled, **own, "ipConfigurations": addresses}}


def keep_acceleration(profile: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """A network interface that is written again without a word on acceleration keeps what it had."""
    old = {one["name"]: one.get("properties", {}) for one in _nics(before)}
    for one in _nics(profile):
        had = old.get(one["name"], {})
        if "enableAcceleratedNetworking" in had:
            one["properties"].setdefault("enableAcceleratedNetworking", had["enableAcceleratedNetworking"])


def _nics(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = (profile.get("networkProfile") or {}).get("networkInterfaceConfigurations")
    return found if isinstance(found, list) else []


def _address(given: Mapping[str, Any], keeps_empty: bool) -> dict[str, Any]:
    own = {key: value for key, value in (given.get("properties") or {}).items() if keeps_empty or value != []}
    return {"name": given.get("name", "ip"), "properties": {"privateIPAddressVersion": "IPv4", **own}}


def _extensions(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**given, "extensions": [completed_extension(one) for one in given.get("extensions") or []]}


def completed_extension(given: Mapping[str, Any]) -> dict[str, Any]:
    """An extension as the model keeps it: its protected settings are known and never shown."""
    return {"name": given.get("name", "extension"), "properties": {"autoUpgradeMinorVersion": False, **_own(given)}}


def _own(given: Mapping[str, Any]) -> Mapping[str, Any]:
    found = given.get("properties")
    return found if isinstance(found, Mapping) else {}


def completed_identity(world: "World", given: Mapping[str, Any]) -> dict[str, Any] | None:
    """A managed identity with the principals that Entra made for it; None for the type None."""
    kind = str(given.get("type", "")).replace(" ", "")
    if kind.lower() in ("", "none"):
        return None
    identity: dict[str, Any] = {"type": ", ".join(kind.split(","))}
    if "systemassigned" in kind.lower():
        identity["principalId"] = given.get("principalId") or world.guid()
        identity["tenantId"] = given.get("tenantId") or world.identity.tenant_id
    users = {key: value for key, value in (given.get("userAssignedIdentities") or {}).items() if value is not None}
    if "userassigned" in kind.lower() and users:
        made = {key: value or {"principalId": world.guid(), "clientId": world.guid()} for key, value in users.items()}
        identity["userAssignedIdentities"] = made
    return identity


# --- instances -------------------------------------------------------------------------------------------------------


def next_id(world: "World", scale_set: "ScaleSet") -> str:
    """The id of a new instance: the next number, or the name of a VM in a Flexible set."""
    if scale_set.flexible:
        return f"{scale_set.name}_{world.guid()[:8]}"
    numbers = [int(one) for one in scale_set.instances if one.isdigit()]
    scale_set.last_id = max(scale_set.last_id, *numbers, -1) + 1 if numbers else scale_set.last_id + 1
    return str(scale_set.last_id)


def view_of(world: "World", scale_set: "ScaleSet", zone: str | None, position: int | None = None) -> dict[str, Any]:
    """Where an instance is placed. `position`: its place in an orderly set; without it the emptiest domain is taken."""
    if scale_set.flexible:
        return {}
    there = [one for one in scale_set.instances.values() if zone is None or one.zone == zone]
    groups = scale_set.placement_groups
    number = len(there) // LARGEST_GROUP if position is None else position // LARGEST_GROUP
    while not scale_set.single_group and len(groups) <= number:
        groups.append(world.guid())
    if not groups:
        groups.append(world.guid())
    group = groups[0] if scale_set.single_group else groups[number]
    beside = [one for one in there if one.view.get("placementGroupId") == group] if position is None else []
    faults = max(1, min(5, int(scale_set.model["properties"].get("platformFaultDomainCount", 5))))
    view: dict[str, Any] = {"placementGroupId": group}
    if zone is None:
        view["platformUpdateDomain"] = _domain(beside, "platformUpdateDomain", UPDATE_DOMAINS, position)
    place = None if position is None else position // UPDATE_DOMAINS + position
    view["platformFaultDomain"] = _domain(beside, "platformFaultDomain", faults, place)
    return view


def _domain(beside: "list[Instance]", key: str, count: int, position: int | None) -> int:
    if position is not None:
        return position % count
    taken = Counter(one.view.get(key, 0) for one in beside)
    return min(range(count), key=lambda domain: taken[domain])


def next_zone(scale_set: "ScaleSet") -> str | None:
    zones = [zone for zone in scale_set.model.get("zones") or [] if zone is not None]
    taken = Counter(one.zone for one in scale_set.instances.values())
    return min(zones, key=lambda zone: taken[zone]) if zones else None


def size_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """The sku of an instance: that of the set, or the first of its mix."""
    sku = {key: model["sku"][key] for key in ("name", "tier") if key in model.get("sku", {})}
    mixed = (model["properties"].get("skuProfile") or {}).get("vmSizes")
    return {**sku, "name": mixed[0]["name"]} if mixed and sku.get("name") == "Mix" else sku


def instance_document(world: "World", scale_set: "ScaleSet", instance_id: str, zone: str | None) -> dict[str, Any]:
    """What GET shows of a new instance, made from the model of its set."""
    model, profile, name = scale_set.model, scale_set.profile, scale_set.instance_name(instance_id)
    resource_id = f"{scale_set.resource_id}/virtualMachines/{instance_id}"
    document: dict[str, Any] = {
        "name": name,
        "id": resource_id,
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": scale_set.location,
        "tags": dict(model.get("tags") or {}),
        "instanceId": instance_id,
        "sku": size_of(model),
    }
    if zone is not None:
        document["zones"] = [zone]
    configured = profile.get("networkProfile", {}).get("networkInterfaceConfigurations", [])
    nics = [one["name"] for one in configured]
    properties: dict[str, Any] = {
        "latestModelApplied": True,
        "modelDefinitionApplied": "VirtualMachineScaleSet",
        "networkProfileConfiguration": {"networkInterfaceConfigurations": configured},
        "provisioningState": "Creating",
        "hardwareProfile": {"vmSize": size_of(model).get("name")},
        "vmId": world.guid(),
        "storageProfile": _instance_storage(world, scale_set, name),
        "osProfile": _instance_os(profile.get("osProfile", {}), instance_id),
        "networkProfile": {"networkInterfaces": [{"id": f"{resource_id}/networkInterfaces/{nic}"} for nic in nics]},
        "timeCreated": world.timestamp(),
    }
    if profile.get("userData"):
        properties["userData"] = profile["userData"]
    return {**document, "properties": properties}


def _instance_storage(world: "World", scale_set: "ScaleSet", name: str) -> dict[str, Any]:
    disk = scale_set.profile.get("storageProfile", {}).get("osDisk", {})
    if "vhdContainers" in disk:  # an unmanaged disk: a blob in somebody's storage account
        uri = f"{disk['vhdContainers'][0]}/{disk.get('name', 'osdisk')}-{name}.vhd"
        kept = {key: disk[key] for key in ("osType", "createOption", "caching") if key in disk}
        return {"osDisk": {"name": f"{disk.get('name', 'osdisk')}-{name}", "vhd": {"uri": uri}, **kept}}
    disk_name = f"{scale_set.name}_{name}_OsDisk_1_{world.guid().replace('-', '')}"
    group = scale_set.resource_id.partition("/providers/")[0]
    managed = {**disk.get("managedDisk", {}), "id": f"{group}/providers/Microsoft.Compute/disks/{disk_name}"}
    shown = {key: disk[key] for key in ("osType", "createOption", "caching", "diskSizeGB", "image") if key in disk}
    kept = {"osType": shown.pop("osType", "Linux"), "name": disk_name, **shown}
    return {"osDisk": {**kept, **({"managedDisk": managed} if "managedDisk" in disk else {})}, "dataDisks": []}


def _instance_os(profile: Mapping[str, Any], instance_id: str) -> dict[str, Any]:
    number = f"{int(instance_id):06X}" if instance_id.isdigit() else instance_id.rpartition("_")[2]
    name = {"computerName": f"{profile.get('computerNamePrefix', 'vm')}{number}"}
    return {**name, **{key: value for key, value in profile.items() if key != "computerNamePrefix"}}


def extras(capacity: int) -> int:
    """How many instances overprovisioning makes beyond what is asked for; recorded: 7 made for 5, 4 for 2."""
    return max(2, math.ceil(capacity / 5)) if capacity else 0
