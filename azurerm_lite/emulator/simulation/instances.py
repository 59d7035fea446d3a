"""Instances: where a new one is placed, its parts, and each change of its state.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-orchestration-modes
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..messages import ErrorResponse, Json
from .defaults import LARGEST_GROUP
from .events import Events
from .images import Images
from .state import Instance, ScaleSet, State

UPDATE_DOMAINS = 5


@dataclass(eq=False)
class Instances:
    """The instances of all scale sets."""

    events: Events
    state: State
    images: Images

    def create(self, scale_set: ScaleSet, *, position: int | None = None) -> Instance:
        """A new instance on the latest model, in the emptiest zone and domains; it is Creating.

        `position`: the place in an orderly set, which decides the domains instead.
        """
        zone = _next_zone(scale_set)
        instance_id = self._next_id(scale_set)
        document = self._document(scale_set, instance_id, zone)
        view = self._placement(scale_set, zone, position)
        now = self.events.now
        instance = Instance(instance_id, document, view, state="Creating", power="starting", state_since=now)
        instance.model_version = instance.disk_version = scale_set.model_version
        scale_set.instances[instance_id] = instance
        self.rebuild(scale_set, instance)
        return instance

    def select(self, scale_set: ScaleSet, ids: Iterable[Json], target: str) -> list[Instance]:
        """The instances with these ids, ["*"] for all.

        Raises ErrorResponse (400 InvalidParameter, with this target) for an id without an instance.
        """
        id_list = [str(instance_id) for instance_id in ids]
        if id_list == ["*"]:
            return list(scale_set.instances.values())
        for instance_id in id_list:
            if instance_id not in scale_set.instances:
                raise ErrorResponse(
                    400,
                    "InvalidParameter",
                    f"The provided instanceId {instance_id} is not an active Virtual Machine Scale Set VM instanceId.",
                    target=target,
                )
        return [scale_set.instances[instance_id] for instance_id in dict.fromkeys(id_list)]

    def update(self, scale_set: ScaleSet, instance: Instance, **fields: str) -> None:
        """Set state, power or health, and record a change of the instance's availability."""
        before = instance.is_available
        if "state" in fields:
            instance.state_since = self.events.now
            instance.etag += 1
            instance.failure = instance.failure if fields["state"] == "Failed" else None
        for name, value in fields.items():
            setattr(instance, name, value)
        if instance.is_available != before and scale_set.has(instance):
            self.record_availability(scale_set, instance, instance.is_available)

    def record_availability(self, scale_set: ScaleSet, instance: Instance, is_available: bool) -> None:
        """Record whether an instance is available from now on."""
        self.state.availability.append((self.events.now, scale_set.name, instance.instance_id, is_available))

    def bring_to_model(self, scale_set: ScaleSet, instance: Instance, model_version: int) -> None:
        """End the upgrade of an instance: it is on this model and runs."""
        instance.model_version = model_version
        self.rebuild(scale_set, instance)
        self.update(scale_set, instance, state="Succeeded")

    def rebuild(self, scale_set: ScaleSet, instance: Instance, *, replaces_disk: bool = False) -> None:
        """Show an instance as made from the present model: its image to the exact version, size, extensions.

        An ephemeral OS disk keeps its image until a reimage replaces the disk.
        https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-reimage-virtual-machine
        """
        properties = instance.document["properties"]
        storage = properties.get("storageProfile", {})
        image = scale_set.image
        if image and (replaces_disk or not scale_set.has_ephemeral_disks or "imageReference" not in storage):
            exact = self.images.exact_version_or_none(image)
            reference = {**image, "exactVersion": exact} if exact else image
            others = {key: value for key, value in storage.items() if key != "imageReference"}
            storage = {"imageReference": reference, **others}
        os_disk = scale_set.profile.get("storageProfile", {}).get("osDisk", {})
        if "image" in os_disk:
            storage = {**storage, "osDisk": {**storage.get("osDisk", {}), "image": dict(os_disk["image"])}}
        properties["storageProfile"] = storage
        if extensions := (scale_set.profile.get("extensionProfile") or {}).get("extensions"):
            instance.document["resources"] = [_resource(scale_set, instance, extension) for extension in extensions]
        instance.document["sku"] = instance_sku(scale_set.model)
        properties["hardwareProfile"] = {"vmSize": instance.document["sku"].get("name")}

    def release_stuck(self, scale_set: ScaleSet, instance: Instance) -> None:
        """Let an instance go on that a habit keeps in Updating."""
        on_release, instance.on_release = instance.on_release, None
        is_idle = "idle" in instance.marks
        instance.marks -= {"stuck", "alone", "idle"}
        if on_release is not None:
            on_release()
        elif is_idle and scale_set.has(instance):
            self.update(scale_set, instance, state="Succeeded")

    def delete(self, scale_set: ScaleSet, instance: Instance) -> None:
        """Delete an instance, and lower the capacity."""
        if self.discard(scale_set, instance):
            scale_set.model["sku"] = {**scale_set.model["sku"], "capacity": len(scale_set.instances)}

    def discard(self, scale_set: ScaleSet, instance: Instance) -> bool:
        """Delete an instance and keep the capacity. Returns False for an instance that no longer exists."""
        if not scale_set.has(instance):
            return False
        del scale_set.instances[instance.instance_id]
        self.record_availability(scale_set, instance, is_available=False)
        return True

    # --- the parts of a new instance

    def _next_id(self, scale_set: ScaleSet) -> str:
        """The next number; in a Flexible set the name of a new VM."""
        if scale_set.is_flexible:
            return f"{scale_set.name}_{self.events.guid()[:8]}"
        numbers = [int(instance_id) for instance_id in scale_set.instances if instance_id.isdigit()]
        scale_set.last_id = max(scale_set.last_id, *numbers, -1) + 1 if numbers else scale_set.last_id + 1
        return str(scale_set.last_id)

    def _placement(self, scale_set: ScaleSet, zone: str | None, position: int | None) -> dict[str, Any]:
        """The part of an instance view that says where the instance is placed."""
        if scale_set.is_flexible:
            return {}
        neighbors = [other for other in scale_set.instances.values() if zone is None or other.zone == zone]
        groups = scale_set.placement_groups
        number = len(neighbors) // LARGEST_GROUP if position is None else position // LARGEST_GROUP
        while not scale_set.is_single_group and len(groups) <= number:
            groups.append(self.events.guid())
        if not groups:
            groups.append(self.events.guid())
        group = groups[0] if scale_set.is_single_group else groups[number]
        beside = (
            [other for other in neighbors if other.view.get("placementGroupId") == group] if position is None else []
        )
        faults = max(1, min(5, int(scale_set.model["properties"].get("platformFaultDomainCount", 5))))
        view: dict[str, Any] = {"placementGroupId": group}
        if zone is None:
            view["platformUpdateDomain"] = _domain(beside, "platformUpdateDomain", UPDATE_DOMAINS, position)
        shifted = None if position is None else position // UPDATE_DOMAINS + position
        view["platformFaultDomain"] = _domain(beside, "platformFaultDomain", faults, shifted)
        return view

    def _document(self, scale_set: ScaleSet, instance_id: str, zone: str | None) -> dict[str, Any]:
        """What GET shows of a new instance."""
        model, profile, name = scale_set.model, scale_set.profile, scale_set.instance_name(instance_id)
        resource_id = f"{scale_set.resource_id}/virtualMachines/{instance_id}"
        document: dict[str, Any] = {
            "name": name,
            "id": resource_id,
            "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
            "location": scale_set.location,
            "tags": dict(model.get("tags") or {}),
            "instanceId": instance_id,
            "sku": instance_sku(model),
        }
        if zone is not None:
            document["zones"] = [zone]
        nics = profile.get("networkProfile", {}).get("networkInterfaceConfigurations", [])
        nic_ids = [{"id": f"{resource_id}/networkInterfaces/{nic['name']}"} for nic in nics]
        properties: dict[str, Any] = {
            "latestModelApplied": True,
            "modelDefinitionApplied": "VirtualMachineScaleSet",
            "networkProfileConfiguration": {"networkInterfaceConfigurations": nics},
            "provisioningState": "Creating",
            "hardwareProfile": {"vmSize": instance_sku(model).get("name")},
            "vmId": self.events.guid(),
            "storageProfile": self._storage(scale_set, name),
            "osProfile": _os_profile(profile.get("osProfile", {}), instance_id),
            "networkProfile": {"networkInterfaces": nic_ids},
            "timeCreated": self.events.timestamp(),
        }
        if profile.get("userData"):
            properties["userData"] = profile["userData"]
        return {**document, "properties": properties}

    def _storage(self, scale_set: ScaleSet, name: str) -> dict[str, Any]:
        disk = scale_set.profile.get("storageProfile", {}).get("osDisk", {})
        if "vhdContainers" in disk:  # an unmanaged disk: a blob in a storage account
            uri = f"{disk['vhdContainers'][0]}/{disk.get('name', 'osdisk')}-{name}.vhd"
            copied = {key: disk[key] for key in ("osType", "createOption", "caching") if key in disk}
            return {"osDisk": {"name": f"{disk.get('name', 'osdisk')}-{name}", "vhd": {"uri": uri}, **copied}}
        disk_name = f"{scale_set.name}_{name}_OsDisk_1_{self.events.guid().replace('-', '')}"
        group = scale_set.resource_id.partition("/providers/")[0]
        managed = {**disk.get("managedDisk", {}), "id": f"{group}/providers/Microsoft.Compute/disks/{disk_name}"}
        copied = {key: disk[key] for key in ("osType", "createOption", "caching", "diskSizeGB", "image") if key in disk}
        os_disk = {"osType": copied.pop("osType", "Linux"), "name": disk_name, **copied}
        return {"osDisk": {**os_disk, **({"managedDisk": managed} if "managedDisk" in disk else {})}, "dataDisks": []}


def instance_sku(model: Mapping[str, Any]) -> dict[str, Any]:
    """The sku of a new instance: that of the set, or the first size of its mix."""
    sku = {key: model["sku"][key] for key in ("name", "tier") if key in model.get("sku", {})}
    sizes = (model["properties"].get("skuProfile") or {}).get("vmSizes")
    return {**sku, "name": sizes[0]["name"]} if sizes and sku.get("name") == "Mix" else sku


def _domain(neighbors: list[Instance], key: str, count: int, position: int | None) -> int:
    if position is not None:
        return position % count
    sizes = Counter(instance.view.get(key, 0) for instance in neighbors)
    return min(range(count), key=lambda domain: sizes[domain])


def _next_zone(scale_set: ScaleSet) -> str | None:
    zones = [zone for zone in scale_set.model.get("zones") or [] if zone is not None]
    sizes = Counter(instance.zone for instance in scale_set.instances.values())
    return min(zones, key=lambda zone: sizes[zone]) if zones else None


def _os_profile(profile: Mapping[str, Any], instance_id: str) -> dict[str, Any]:
    number = f"{int(instance_id):06X}" if instance_id.isdigit() else instance_id.rpartition("_")[2]
    name = {"computerName": f"{profile.get('computerNamePrefix', 'vm')}{number}"}
    return {**name, **{key: value for key, value in profile.items() if key != "computerNamePrefix"}}


def _resource(scale_set: ScaleSet, instance: Instance, extension: dict[str, Any]) -> dict[str, Any]:
    """An extension of the model as a resource of the instance."""
    name = extension["name"]
    return {
        "name": name,
        "id": f"{scale_set.resource_id}/virtualMachines/{instance.instance_id}/extensions/{name}",
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "location": scale_set.location,
        "properties": {**extension["properties"], "provisioningState": "Succeeded"},
    }
