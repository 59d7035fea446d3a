"""How instances come to the latest model: manualupgrade, and what Automatic and Rolling sets do. No HTTP here.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-perform-manual-upgrades
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import actions, creation, health
from .exchange import Refusal
from .operations import OperationRecord

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

Done = Callable[[dict[str, Any] | None], None]  # told when an upgrade has ended, with Azure's error if it failed
_CONFLICT = (
    "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests."
)
_PREEMPTED = "Operation execution has been preempted by a more recent operation."


def refuse_or_preempt(world: "World", scale_set: "ScaleSet") -> None:
    """What happens to a write that comes while an upgrade runs; both are known of Azure, which one when is not."""
    if scale_set.upgrading is None or scale_set.upgrading.done:
        return
    if world.concurrency == "conflict":
        raise Refusal(409, "Conflict", _CONFLICT)
    world.operations.end(scale_set.upgrading, {"code": "OperationPreempted", "message": _PREEMPTED})


def manual_upgrade(world: "World", scale_set: "ScaleSet", instances: "list[Instance]") -> OperationRecord:
    """Bring instances to the latest model; the operation ends when the slowest is through."""
    refuse_or_preempt(world, scale_set)
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    scale_set.upgrading = record
    scale_set.etag += 1
    world.scale_sets.hold(scale_set)

    def done(error: dict[str, Any] | None) -> None:
        world.scale_sets.release(scale_set, failed=error is not None)
        world.operations.end(record, error)

    upgrade(world, scale_set, instances, done)
    return record


def upgrade(world: "World", scale_set: "ScaleSet", instances: "list[Instance]", done: Done) -> None:
    """Upgrade together; those that are on the latest model already are left alone."""
    generation = scale_set.generation
    behind = [one for one in instances if one.generation != generation]
    for instance in behind:
        world.scale_sets.set_state(scale_set, instance, "Updating")
        instance.upgrades.append((world.now, generation))
    world.after(_seconds(world) if behind else 0.6, lambda: _upgraded(world, scale_set, behind, generation, done))


def _seconds(world: "World") -> float:
    """Recorded: 0.6 to 174 s, median 36 s."""
    if "upgrade" in world.durations:
        return world.rng.uniform(*world.durations["upgrade"])
    return min(174.0, max(5.0, world.rng.lognormvariate(3.58, 0.6)))


def _upgraded(world: "World", scale_set: "ScaleSet", instances: "list[Instance]", generation: int, done: Done) -> None:
    scale_set.etag += 1
    error, hangs = None, False
    for instance in (one for one in instances if scale_set.instances.get(one.instance_id) is one):
        fault = world.faults.for_instance("upgrade", instance.instance_id)
        effect = fault.effect if fault else ""
        if effect == "hang":
            hangs = True
        elif fault is not None and effect == "fail":
            world.scale_sets.set_state(scale_set, instance, "Failed")
            error = {"code": fault.code, "message": fault.message, "target": instance.instance_id}
        elif effect == "vanish":
            actions.remove(world, scale_set, instance)
        else:
            to_model(world, scale_set, instance, generation)
            health.warm_up(world, scale_set, instance, fault)
    if not hangs:
        done(error)


def to_model(world: "World", scale_set: "ScaleSet", instance: "Instance", generation: int) -> None:
    """An instance has come to this model and runs again."""
    instance.generation = generation
    remake(world, scale_set, instance)
    world.scale_sets.set_state(scale_set, instance, "Succeeded")


def remake(world: "World", scale_set: "ScaleSet", instance: "Instance", *, disk: bool = False) -> None:
    """What an instance shows after it was made from the present model: its image, to the exact version.

    An ephemeral OS disk keeps its image until a reimage makes the disk anew (`disk`).
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-reimage-virtual-machine
    """
    properties = instance.document["properties"]
    storage = properties.get("storageProfile", {})
    image = scale_set.image
    if image and (disk or not scale_set.ephemeral or "imageReference" not in storage):
        exact = world.images.exact_or_none(image)
        shown = {**image, "exactVersion": exact} if exact else image
        storage = {"imageReference": shown, **{key: value for key, value in storage.items() if key != "imageReference"}}
    os_disk = scale_set.profile.get("storageProfile", {}).get("osDisk", {})
    if "image" in os_disk:
        storage = {**storage, "osDisk": {**storage.get("osDisk", {}), "image": dict(os_disk["image"])}}
    properties["storageProfile"] = storage
    if found := (scale_set.profile.get("extensionProfile") or {}).get("extensions"):
        instance.document["resources"] = [_resource(scale_set, instance, one) for one in found]
    instance.document["sku"] = creation.size_of(scale_set.model)
    properties["hardwareProfile"] = {"vmSize": instance.document["sku"].get("name")}


def _resource(scale_set: "ScaleSet", instance: "Instance", extension: dict[str, Any]) -> dict[str, Any]:
    """An extension of the model as a resource of the instance."""
    name = extension["name"]
    return {
        "name": name,
        "id": f"{scale_set.resource_id}/virtualMachines/{instance.instance_id}/extensions/{name}",
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "location": scale_set.location,
        "properties": {**extension["properties"], "provisioningState": "Succeeded"},
    }
