"""What is done to instances besides upgrading them: power, reimage, redeploy, delete, scale out and in. No HTTP here.

Durations are within what was recorded of Azure (start, restart, power off 0.3 to 137 s; reimage 64 to 957 s).
"""

import copy
from typing import TYPE_CHECKING, NamedTuple

from .operations import OperationRecord

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World


class Action(NamedTuple):
    """`during` and `after`: power states ("" leaves it). `remake`: the OS disk is made anew from the model."""

    shortest: float
    longest: float
    during: str = ""
    after: str = ""
    remake: bool = False
    remove: bool = False


ACTIONS = {
    "start": Action(5, 60, "starting", "running"),
    "restart": Action(5, 60, "starting", "running"),
    "poweroff": Action(5, 60, "stopping", "stopped"),
    "deallocate": Action(20, 120, "deallocating", "deallocated"),
    "reimage": Action(64, 300, "stopped", "running", remake=True),
    "reimageall": Action(64, 300, "stopped", "running", remake=True),
    "redeploy": Action(60, 300, "stopped", "running"),
    "reapply": Action(5, 30),
    "performmaintenance": Action(60, 300, "stopped", "running"),
    "delete": Action(2, 120, "stopping", remove=True),
}


def act(world: "World", scale_set: "ScaleSet", instances: "list[Instance]", name: str) -> OperationRecord:
    """Begin an action; the operation ends when the slowest of its instances is through."""
    action = ACTIONS[name]
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    scale_set.etag += 1
    for instance in instances:
        instance.power = action.during or instance.power
        world.scale_sets.set_state(scale_set, instance, "Deleting" if action.remove else "Updating")
    seconds = world.rng.uniform(action.shortest, action.longest)
    world.after(seconds, lambda: _acted(world, scale_set, instances, action, record))
    return record


def _acted(
    world: "World", scale_set: "ScaleSet", instances: "list[Instance]", action: Action, record: OperationRecord
) -> None:
    scale_set.etag += 1
    for instance in instances:
        if action.remove:
            remove(world, scale_set, instance)
            continue
        instance.power = action.after or instance.power
        if action.remake and instance.generation == scale_set.generation:
            world.scale_sets.remake(scale_set, instance)
        world.scale_sets.set_state(scale_set, instance, "Succeeded")
    world.operations.end(record)


def remove(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    """An instance is gone, and the capacity with it."""
    if scale_set.instances.pop(instance.instance_id, None) is not None:
        scale_set.model["sku"] = {**scale_set.model["sku"], "capacity": len(scale_set.instances)}
        world.scale_sets.history.append((world.now, scale_set.name, instance.instance_id, False))


def scale(world: "World", scale_set: "ScaleSet") -> float:
    """Begin to bring the number of instances to the capacity of the model; the seconds until that is done."""
    wanted, there = int(scale_set.model["sku"].get("capacity", 0)), len(scale_set.instances)
    seconds = world.rng.uniform(20, 60) if wanted != there else 0.0
    for _ in range(wanted - there):
        _create(world, scale_set, seconds)
    spare = [one for one in reversed(list(scale_set.instances.values())) if not _protected_from_scale_in(one)]
    for instance in spare[: max(0, there - wanted)]:
        world.scale_sets.set_state(scale_set, instance, "Deleting")
        world.after(seconds, lambda gone=instance: remove(world, scale_set, gone))  # type: ignore[misc]
    return seconds


def _protected_from_scale_in(instance: "Instance") -> bool:
    policy = instance.document["properties"].get("protectionPolicy") or {}
    return bool(policy.get("protectFromScaleIn") or policy.get("protectFromScaleSetActions"))


def _create(world: "World", scale_set: "ScaleSet", seconds: float) -> None:
    """A new instance on the latest model, with the next free id and the emptiest update and fault domain."""
    numbers = [int(one) for one in scale_set.instances if one.isdigit()]
    number = str(max(numbers, default=-1) + 1)
    template = next(iter(scale_set.instances.values()))
    old = f"{scale_set.name}_{template.instance_id}"
    document = _renamed(
        copy.deepcopy(template.document), template.instance_id, number, old, f"{scale_set.name}_{number}"
    )
    document["properties"] |= {"vmId": world.guid(), "timeCreated": world.timestamp()}
    document["properties"].pop("protectionPolicy", None)
    view = {**template.view}
    for key in ("platformUpdateDomain", "platformFaultDomain"):
        if key in view:
            taken = [one.view.get(key, 0) for one in scale_set.instances.values()]
            view[key] = min(range(5), key=taken.count)
    instance = world.scale_sets.new_instance(number, document, view)
    instance.generation, instance.state, instance.power = scale_set.generation, "Creating", "starting"
    scale_set.instances[number] = instance
    world.scale_sets.remake(scale_set, instance)
    world.after(seconds, lambda: _created(world, scale_set, instance))


def _created(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    instance.power = "running"
    world.scale_sets.set_state(scale_set, instance, "Succeeded")


def _renamed(document: dict, old_id: str, new_id: str, old_name: str, new_name: str) -> dict:  # type: ignore[type-arg]
    inner = document["properties"].get("networkProfile", {})
    for nic in inner.get("networkInterfaces", []):
        nic["id"] = nic.get("id", "").replace(f"/virtualMachines/{old_id}/", f"/virtualMachines/{new_id}/")
    disk = document["properties"].get("storageProfile", {}).get("osDisk", {})
    for holder, key in ((disk, "name"), (disk.get("managedDisk", {}), "id")):
        if key in holder:
            holder[key] = holder[key].replace(f"_{old_id}_", f"_{new_id}_")
    document["id"] = document["id"].rpartition("/")[0] + f"/{new_id}"
    document["name"] = new_name if document.get("name") == old_name else f"{document['name']}-{new_id}"
    return {**document, "instanceId": new_id}
