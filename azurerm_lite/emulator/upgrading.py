"""How instances come to the latest model: manualupgrade, and what Automatic and Rolling sets do. No HTTP here.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-perform-manual-upgrades
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import actions, creation, health
from .exchange import Refusal
from .operations import OperationRecord

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

Done = Callable[[dict[str, Any] | None], None]  # told when an upgrade has ended, with Azure's error if it failed
CONFLICT = (
    "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests."
)
PREEMPTED = "Operation execution has been preempted by a more recent operation."
CANCELED = "OperationCanceled"
_NO_FAILURES = frozenset({CANCELED, "OperationPreempted"})  # ends that leave the set as it was


class Outcome(NamedTuple):
    """How an operation ends by a habit. `unchanged`: so are its instances, all of them, or those in `spared`."""

    error: dict[str, Any] | None = None
    unchanged: bool = False
    spared: frozenset[str] = frozenset()
    hangs: bool = False


def end(world: "World", scale_set: "ScaleSet", record: OperationRecord, error: dict[str, Any] | None) -> None:
    """An operation has ended, and holds the set no longer."""
    code = error["code"] if error else ""
    world.scale_sets.release(scale_set, failed=error is not None and code not in _NO_FAILURES)
    world.operations.end(record, error, "Canceled" if code == CANCELED else "")


def refuse_or_preempt(world: "World", scale_set: "ScaleSet") -> None:
    """What happens to a write that comes while an upgrade runs; both are known of Azure, which one when is not."""
    if scale_set.upgrading is None or scale_set.upgrading.done:
        return
    if world.concurrency == "conflict" and "write-preempts" not in world.habits:
        raise Refusal(409, "Conflict", CONFLICT)
    world.operations.end(scale_set.upgrading, {"code": "OperationPreempted", "message": PREEMPTED})


def manual_upgrade(world: "World", scale_set: "ScaleSet", instances: "list[Instance]") -> OperationRecord:
    """Bring instances to the latest model; the operation ends when the slowest is through."""
    refuse_or_preempt(world, scale_set)
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    scale_set.upgrading = record
    scale_set.etag += 1
    world.scale_sets.hold(scale_set)

    upgrade(world, scale_set, instances, lambda error: end(world, scale_set, record, error))
    return record


def upgrade(world: "World", scale_set: "ScaleSet", instances: "list[Instance]", done: Done) -> None:
    """Upgrade together; those that are on the latest model already are left alone."""
    generation = scale_set.generation
    behind = [one for one in instances if one.generation != generation]
    before = {one.instance_id: one.state for one in behind}
    for instance in behind:
        world.scale_sets.set_state(scale_set, instance, "Updating")
        instance.upgrades.append((world.now, generation))

    def upgraded() -> None:
        _upgraded(world, scale_set, behind, generation, done, before)
        world.disturbances.occur("after", scale_set, behind)

    world.after(_seconds(world) if behind else 0.6, upgraded)
    if behind:
        world.disturbances.occur("during", scale_set, behind)


def _seconds(world: "World") -> float:
    """Recorded: 0.6 to 174 s, median 36 s."""
    if "upgrade" in world.durations:
        return world.rng.uniform(*world.durations["upgrade"])
    return min(174.0, max(5.0, world.rng.lognormvariate(3.58, 0.6)))


def _upgraded(
    world: "World",
    scale_set: "ScaleSet",
    instances: "list[Instance]",
    generation: int,
    done: Done,
    before: dict[str, str],
) -> None:
    """What becomes of each instance, and of the operation."""
    scale_set.etag += 1
    there = [one for one in instances if scale_set.instances.get(one.instance_id) is one]
    stuck = [one for one in there if "stuck" in one.marks]
    outcome = world.disturbances.outcome("upgrade", scale_set, there) or Outcome()
    ends = [one for one in there if one not in stuck]
    left = [one for one in ends if outcome.unchanged or one.instance_id in outcome.spared]
    for instance in left:
        _leave(world, scale_set, instance, before.get(instance.instance_id, "Succeeded"))
    errors = [_come_out(world, scale_set, one, generation) for one in ends if one not in left]
    if outcome.hangs or HANGS in errors:
        done = _never
    error = outcome.error or next((problem for problem in reversed(errors) if problem), None)
    held = [one for one in stuck if "alone" not in one.marks]

    def released(instance: "Instance") -> None:
        if scale_set.instances.get(instance.instance_id) is instance:
            _come_out(world, scale_set, instance, generation)
        if held and not any("stuck" in one.marks for one in held):
            done(error)

    for instance in stuck:
        instance.when_released = functools.partial(released, instance)
    if not held:
        done(error)


def _never(_error: dict[str, Any] | None) -> None:
    """The end of an operation that has none."""


def release_stuck(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    """An instance that was stuck in Updating goes on."""
    released, instance.when_released = instance.when_released, None
    idle = "idle" in instance.marks
    instance.marks -= {"stuck", "alone", "idle"}
    if released is not None:
        released()
    elif idle and scale_set.instances.get(instance.instance_id) is instance:
        world.scale_sets.set_state(scale_set, instance, "Succeeded")


HANGS: dict[str, Any] = {"code": "hangs"}


def _come_out(world: "World", scale_set: "ScaleSet", instance: "Instance", generation: int) -> dict[str, Any] | None:
    """How the upgrade of one instance comes out: None, Azure's error, or HANGS."""
    fault = world.faults.for_instance("upgrade", instance.instance_id)
    effect = fault.effect if fault else ""
    if effect == "hang":
        return HANGS
    if fault is not None and effect == "fail":
        world.scale_sets.set_state(scale_set, instance, "Failed")
        instance.failure = fault.code, fault.message
        return {"code": fault.code, "message": fault.message, "target": instance.instance_id}
    if effect == "vanish":
        actions.remove(world, scale_set, instance)
    else:
        to_model(world, scale_set, instance, generation)
        health.warm_up(world, scale_set, instance, fault)
    return None


def _leave(world: "World", scale_set: "ScaleSet", instance: "Instance", state: str) -> None:
    """An operation has not changed this instance after all."""
    if instance.upgrades:
        instance.upgrades.pop()
    world.scale_sets.set_state(scale_set, instance, state)


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
