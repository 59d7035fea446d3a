"""What is done to instances besides upgrading them: power, reimage, redeploy, delete, scale out and in. No HTTP here.

Durations are within what was recorded of Azure (start, restart, power off 0.3 to 137 s; reimage 64 to 957 s).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from . import creation, health, upgrading
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


def act(
    world: "World",
    scale_set: "ScaleSet",
    instances: "list[Instance]",
    name: str,
    *,
    force_disk: bool = False,
    of_set: bool = False,
) -> OperationRecord:
    """Begin an action; the operation ends when the slowest of its instances is through. `of_set`: asked of the set."""
    action = ACTIONS[name]
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    scale_set.etag += 1
    if of_set:
        world.scale_sets.hold(scale_set)
    before = [(one, one.state, one.power) for one in instances]
    for instance in instances:
        state = "Deleting" if action.remove else "Updating"
        world.scale_sets.changing(scale_set, instance, state=state, power=action.during or instance.power)

    def acted() -> None:
        outcome = world.disturbances.outcome(name, scale_set, instances) or upgrading.Outcome()
        left = [entry for entry in before if outcome.unchanged or entry[0].instance_id in outcome.spared]
        for instance, state, power in left:
            world.scale_sets.changing(scale_set, instance, state=state, power=power)
        spared = {entry[0].instance_id for entry in left}
        _acted(world, scale_set, [one for one in instances if one.instance_id not in spared], action, force_disk)
        if outcome.hangs:
            return
        if of_set:
            upgrading.end(world, scale_set, record, outcome.error)
        else:
            world.operations.end(record, outcome.error)

    world.after(world.seconds(name, action.shortest, action.longest), acted)
    return record


def _acted(
    world: "World", scale_set: "ScaleSet", instances: "list[Instance]", action: Action, force_disk: bool
) -> None:
    scale_set.etag += 1
    for instance in instances:
        if action.remove:
            remove(world, scale_set, instance)
            continue
        if action.remake:
            _reimage(world, scale_set, instance, force_disk)
        starts = action.after == "running"
        world.scale_sets.changing(scale_set, instance, state="Succeeded", power=action.after or instance.power)
        if starts:
            health.warm_up(world, scale_set, instance)


def _reimage(world: "World", scale_set: "ScaleSet", instance: "Instance", force_disk: bool) -> None:
    """A new OS disk, made from the model that the instance was upgraded to; an ephemeral one stays unless forced."""
    if instance.generation == scale_set.generation:
        instance.booted = scale_set.generation
        upgrading.remake(world, scale_set, instance, disk=force_disk)


def remove(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    """An instance is gone, and the capacity with it."""
    if forget(world, scale_set, instance):
        scale_set.model["sku"] = {**scale_set.model["sku"], "capacity": len(scale_set.instances)}


def forget(world: "World", scale_set: "ScaleSet", instance: "Instance") -> bool:
    """An instance is gone; whether it was there."""
    if scale_set.instances.get(instance.instance_id) is not instance:
        return False
    del scale_set.instances[instance.instance_id]
    world.scale_sets.history.append((world.now, scale_set.name, instance.instance_id, False))
    return True


def scale(world: "World", scale_set: "ScaleSet", done: Callable[[], None]) -> None:
    """Bring the number of instances to the capacity of the model, and say when that is done.

    Overprovisioning makes more than are wanted and removes the surplus at the end, so that ids have gaps.
    """
    wanted, there = int(scale_set.model["sku"].get("capacity", 0)), len(scale_set.instances)
    missing = max(0, wanted - there)
    surplus = creation.extras(missing) if scale_set.model["properties"].get("overprovision") else 0
    fresh = [world.scale_sets.new_instance(scale_set) for _ in range(missing + surplus)]
    spare = [one for one in reversed(scale_set.instances.values()) if one not in fresh and not _kept(one)]
    leaving = spare[: max(0, there - wanted)]
    for instance in leaving:
        world.scale_sets.set_state(scale_set, instance, "Deleting")

    def scaled() -> None:
        for instance in (*leaving, *world.rng.sample(fresh, surplus if fresh else 0)):
            forget(world, scale_set, instance)
        for instance in fresh:
            created(world, scale_set, instance)
        done()

    world.after(world.seconds("scale", 20, 60) if missing or leaving else 0.1, scaled)


def _kept(instance: "Instance") -> bool:
    policy = instance.document["properties"].get("protectionPolicy") or {}
    return bool(policy.get("protectFromScaleIn") or policy.get("protectFromScaleSetActions"))


def created(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    """A new instance is through."""
    if scale_set.instances.get(instance.instance_id) is instance:
        world.scale_sets.changing(scale_set, instance, state="Succeeded", power="running")
        health.warm_up(world, scale_set, instance)
