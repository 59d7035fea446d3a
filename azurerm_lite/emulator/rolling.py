"""Azure's own rolling upgrade: batches, thresholds, pauses, rollback, cancel, history. No HTTP here.

Started by osRollingUpgrade (to the newest image), by extensionRollingUpgrade, and in mode Rolling by every change of
the model. A batch takes a minute, as recorded. Before a batch at most maxUnhealthyInstancePercent of the set may be
sick, after it at most maxUnhealthyUpgradedInstancePercent of what was upgraded.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import actions, health, upgrading
from .creation import ROLLING_POLICY
from .exchange import Json, Refusal
from .operations import OperationRecord

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

BATCH_SECONDS = 60.0
HEALTH_SECONDS = 300.0  # how long a batch may take to become healthy
_KEPT = 5  # runs that the history shows
_INTERNAL = "Rolling Upgrade failed because of an internal error."


@dataclass(slots=True, eq=False)
class RollingUpgrade:
    """One run. `code`: RollingForward, Completed, Cancelled or Faulted."""

    record: OperationRecord
    policy: dict[str, Json]
    pending: "list[Instance]"
    started: float
    code: str = "RollingForward"
    last_action: str = "Start"
    last_action_at: float = 0.0
    ended: float | None = None
    batch: "list[Instance]" = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    rolled_back: int = 0
    error: dict[str, Json] | None = None
    started_by: str = "User"
    kind: str = "OS"
    before: "RollingUpgrade | None" = None

    @property
    def running(self) -> bool:
        return self.code == "RollingForward"


def policy_of(scale_set: "ScaleSet") -> dict[str, Json]:
    own = scale_set.model["properties"].get("upgradePolicy", {}).get("rollingUpgradePolicy") or {}
    return {**ROLLING_POLICY, **own}


def start(world: "World", scale_set: "ScaleSet", *, kind: str = "OS") -> RollingUpgrade:
    """Roll every instance, those too that run the newest image: so was recorded."""
    if scale_set.rolling is not None and scale_set.rolling.running:
        text = "Rolling Upgrade is already in progress for this VM Scale Set."
        raise Refusal(409, "OperationNotAllowed", text)
    if scale_set.image:
        world.images.exact(scale_set.image)
    there = [one for one in scale_set.instances.values() if not one.protected]
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    return _run(world, scale_set, record, there, kind=kind)


def roll(world: "World", scale_set: "ScaleSet") -> RollingUpgrade:
    """What mode Rolling does by itself when the model has changed; a run that is under way gives way to the new one."""
    if scale_set.rolling is not None and scale_set.rolling.running:
        _cancelled(world, scale_set, scale_set.rolling)
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    behind = [one for one in scale_set.instances.values() if one.generation != scale_set.generation]
    return _run(world, scale_set, record, [one for one in behind if not one.protected], by="Platform")


def _run(
    world: "World",
    scale_set: "ScaleSet",
    record: OperationRecord,
    behind: "list[Instance]",
    *,
    kind: str = "OS",
    by: str = "User",
) -> RollingUpgrade:
    policy = policy_of(scale_set)
    if policy.get("prioritizeUnhealthyInstances"):
        behind = sorted(behind, key=lambda one: one.available)
    run = RollingUpgrade(record, policy, behind, world.now, last_action_at=world.now, started_by=by, kind=kind)
    run.before, scale_set.rolling = scale_set.rolling, run
    world.scale_sets.hold(scale_set)
    _next_batch(world, scale_set, run)
    return run


def _next_batch(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    if not run.running:
        return
    _leave_out_what_others_did(scale_set, run)
    if not run.pending:
        _end(world, scale_set, run, "Completed")
        return
    if all(one.state == "Updating" for one in run.pending):
        world.after(5.0, lambda: _next_batch(world, scale_set, run))
        return
    there = list(scale_set.instances.values())
    sick = [one for one in there if not one.available]
    if 100 * len(sick) > int(run.policy["maxUnhealthyInstancePercent"]) * len(there):
        _fault(world, scale_set, run, "MaxUnhealthyInstancePercent", "In" if run.succeeded or run.failed else "Before")
        return
    run.batch = _batch(run, len(there))
    run.pending = [one for one in run.pending if one not in run.batch]
    for instance in run.batch:
        world.scale_sets.set_state(scale_set, instance, "Updating")
        instance.upgrades.append((world.now, scale_set.generation))
    world.after(BATCH_SECONDS, lambda: _batch_done(world, scale_set, run))
    world.disturbances.occur("during", scale_set, run.batch)


def _leave_out_what_others_did(scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    """Instances that are gone, or that somebody has upgraded by hand meanwhile."""
    there = [one for one in run.pending if scale_set.instances.get(one.instance_id) is one]
    by_model = run.started_by == "Platform"
    run.pending = [one for one in there if not by_model or one.generation != scale_set.generation]
    run.succeeded += len(there) - len(run.pending)


def _batch(run: RollingUpgrade, total: int) -> "list[Instance]":
    """The next ones: a share of the set, of one zone unless zones may be crossed."""
    size = max(1, math.floor(total * int(run.policy["maxBatchInstancePercent"]) / 100))
    free = [one for one in run.pending if one.state != "Updating"]
    if run.policy.get("enableCrossZoneUpgrade"):
        return free[:size]
    return [one for one in free if one.zone == free[0].zone][:size]


def _batch_done(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    sick: list[Instance] = []
    for instance in (one for one in run.batch if scale_set.instances.get(one.instance_id) is one):
        if "stuck" in instance.marks:
            instance.when_released = lambda one=instance: upgrading.to_model(
                world, scale_set, one, scale_set.generation
            )
            continue
        fault = world.faults.for_instance("upgrade", instance.instance_id)
        if fault is not None and fault.effect in ("fail", "hang"):
            world.scale_sets.set_state(scale_set, instance, "Failed")
            instance.failure = fault.code, fault.message
            sick.append(instance)
        elif fault is not None and fault.effect == "vanish":
            actions.remove(world, scale_set, instance)
        else:
            upgrading.to_model(world, scale_set, instance, scale_set.generation)
            health.warm_up(world, scale_set, instance, fault)
    world.disturbances.occur("after", scale_set, run.batch)
    _await_health(world, scale_set, run, sick, world.now + HEALTH_SECONDS)


def _await_health(
    world: "World", scale_set: "ScaleSet", run: RollingUpgrade, failed: "list[Instance]", until: float
) -> None:
    """A batch is through when each of its applications reports well, or when the time for that is up."""
    there = [one for one in run.batch if scale_set.instances.get(one.instance_id) is one and one not in failed]
    waiting = [one for one in there if not one.available]
    if waiting and world.now < until:
        world.after(5.0, lambda: _await_health(world, scale_set, run, failed, until))
        return
    run.failed += len(failed) + len(waiting)
    run.succeeded += len(there) - len(waiting)
    run.batch = []
    if run.running and _too_many_failed(run):
        _roll_back(world, scale_set, run, [*failed, *waiting])
        _fault(world, scale_set, run, "MaxUnhealthyUpgradedInstancePercent", "In")
    pause = health.seconds_of(run.policy.get("pauseTimeBetweenBatches"))
    world.after(pause if run.pending else 0.0, lambda: _next_batch(world, scale_set, run))


def _too_many_failed(run: RollingUpgrade) -> bool:
    upgraded = run.succeeded + run.failed
    return 100 * run.failed > int(run.policy["maxUnhealthyUpgradedInstancePercent"]) * upgraded


def _roll_back(world: "World", scale_set: "ScaleSet", run: RollingUpgrade, sick: "list[Instance]") -> None:
    """On a breach the policy may ask for the failed ones to get their old disk back (Uniform only)."""
    if run.policy.get("rollbackFailedInstancesOnPolicyBreach") and not scale_set.flexible:
        for instance in sick:
            instance.generation = -1
            world.scale_sets.changing(
                scale_set, instance, state="Succeeded", health="healthy" if instance.health else ""
            )
        run.rolled_back += len(sick)


def _fault(world: "World", scale_set: "ScaleSet", run: RollingUpgrade, limit: str, when: str) -> None:
    text = f"Rolling Upgrade failed after exceeding the {limit} value of its policy."
    error: dict[str, Json] = {"code": f"{limit}Exceeded{when}RollingUpgrade", "message": text}
    _end(world, scale_set, run, "Faulted", error)


def _end(
    world: "World", scale_set: "ScaleSet", run: RollingUpgrade, code: str, error: dict[str, Json] | None = None
) -> None:
    run.code, run.ended, run.error = code, world.now, error
    world.scale_sets.release(scale_set, failed=code == "Faulted")
    world.operations.end(run.record, error)


def cancel(world: "World", scale_set: "ScaleSet") -> OperationRecord:
    """Stop after the batch that is under way. What was upgraded stays upgraded."""
    run = scale_set.rolling
    if run is None or not run.running:
        raise Refusal(409, "OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel.")
    run.last_action, run.last_action_at = "Cancel", world.now
    _cancelled(world, scale_set, run)
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    world.after(0.03, lambda: world.operations.end(record))
    return record


def _cancelled(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    detail = {
        "code": "RollingUpgradeCanceled",
        "message": "Rolling Upgrade was canceled by the user.",
        "target": f"{scale_set.name}/virtualMachines/{run.batch[0].instance_id}" if run.batch else scale_set.name,
    }
    error = {"details": [detail], "code": "RollingUpgradeInternalError", "message": _INTERNAL}
    _end(world, scale_set, run, "Cancelled", error)


def shown(world: "World", scale_set: "ScaleSet") -> dict[str, Any]:
    """The newest run as `rollingUpgrades/latest` shows it: counts, and no instance ids."""
    run = scale_set.rolling
    if run is None:
        raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
    properties: dict[str, Json] = {
        "policy": {**run.policy, **{key: run.policy.get(key, False) for key in _SHOWN_ALWAYS}},
        "runningStatus": {
            "code": run.code,
            "lastAction": run.last_action,
            "lastActionTime": world.timestamp(run.last_action_at),
            "startTime": world.timestamp(run.started),
        },
        "progress": _progress(run),
    }
    if run.error is not None:
        properties["error"] = run.error
    return {"type": _TYPE, "location": scale_set.location, "properties": properties}


_SHOWN_ALWAYS = ("maxSurge", "rollbackFailedInstancesOnPolicyBreach")
_TYPE = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"


def _progress(run: RollingUpgrade) -> dict[str, int]:
    return {
        "successfulInstanceCount": run.succeeded,
        "failedInstanceCount": run.failed,
        "inProgressInstanceCount": len(run.batch),
        "pendingInstanceCount": len(run.pending),
    }


def history(world: "World", scale_set: "ScaleSet") -> dict[str, Any]:
    """What `osUpgradeHistory` shows: the newest runs of the OS that have ended."""
    found: list[dict[str, Any]] = []
    run = scale_set.rolling
    while run is not None and len(found) < _KEPT:
        if run.ended is not None and run.kind == "OS":
            found.append(_in_history(world, scale_set, run))
        run = run.before
    return {"value": found}


def _in_history(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> dict[str, Any]:
    image = {k: v for k, v in scale_set.image.items() if k in ("publisher", "offer", "sku", "version")}
    status = {"code": run.code, "startTime": world.timestamp(run.started), "endTime": world.timestamp(run.ended)}
    properties: dict[str, Json] = {
        "runningStatus": status,
        "progress": _progress(run),
        "startedBy": run.started_by,
        "targetImageReference": image,
        "rollbackInfo": {"successfullyRolledbackInstanceCount": run.rolled_back, "failedRolledbackInstanceCount": 0},
    }
    if run.error is not None:
        properties["error"] = run.error
    return {"type": _TYPE, "location": scale_set.location, "properties": properties}
