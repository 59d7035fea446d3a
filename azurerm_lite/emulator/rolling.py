"""Azure's own rolling upgrade, as a caller sees it: start, progress in counts, cancel, history. No HTTP here.

Batches are a share of the set (maxBatchInstancePercent), a minute each as recorded, and stop when too many of the
upgraded instances failed. https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .exchange import Json, Refusal
from .operations import OperationRecord

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

BATCH_SECONDS = 60.0
_POLICY = {
    "maxBatchInstancePercent": 20,
    "maxUnhealthyInstancePercent": 20,
    "maxUnhealthyUpgradedInstancePercent": 20,
    "pauseTimeBetweenBatches": "PT0S",
}


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
    error: dict[str, Json] | None = None


def start(world: "World", scale_set: "ScaleSet") -> RollingUpgrade:
    """Roll every instance that is not on the newest image of the model."""
    if scale_set.rolling is not None and scale_set.rolling.code == "RollingForward":
        text = "Rolling Upgrade is already in progress for this VM Scale Set."
        raise Refusal(409, "OperationNotAllowed", text)
    exact = world.images.exact(scale_set.image)
    behind = [one for one in scale_set.instances.values() if _outdated(scale_set, one, exact)]
    policy = {**_POLICY, **(scale_set.model["properties"].get("upgradePolicy", {}).get("rollingUpgradePolicy") or {})}
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    run = RollingUpgrade(record, policy, behind, world.now, last_action_at=world.now)
    scale_set.rolling = run
    _next_batch(world, scale_set, run)
    return run


def _outdated(scale_set: "ScaleSet", instance: "Instance", exact: str | None) -> bool:
    image = instance.document["properties"].get("storageProfile", {}).get("imageReference") or {}
    return instance.generation != scale_set.generation or (exact is not None and image.get("exactVersion") != exact)


def _next_batch(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    if run.code != "RollingForward":
        return
    if not run.pending:
        _end(world, run, "Completed")
        return
    size = max(1, math.floor(len(scale_set.instances) * int(run.policy["maxBatchInstancePercent"]) / 100))
    run.batch, run.pending = run.pending[:size], run.pending[size:]
    for instance in run.batch:
        world.scale_sets.set_state(scale_set, instance, "Updating")
        instance.upgrades.append((world.now, scale_set.generation))
    world.after(BATCH_SECONDS, lambda: _batch_done(world, scale_set, run))


def _batch_done(world: "World", scale_set: "ScaleSet", run: RollingUpgrade) -> None:
    for instance in run.batch:
        fault = world.faults.for_instance("upgrade", instance.instance_id)
        if fault is not None:
            run.failed += 1
            world.scale_sets.set_state(scale_set, instance, "Failed")
            continue
        instance.generation = scale_set.generation
        world.scale_sets.remake(scale_set, instance)
        world.scale_sets.set_state(scale_set, instance, "Succeeded")
        run.succeeded += 1
    run.batch = []
    if run.code == "RollingForward" and _too_many_failed(run):
        code = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
        text = "Rolling Upgrade failed after exceeding the MaxUnhealthyUpgradedInstancePercent value of its policy."
        _end(world, run, "Faulted", {"code": code, "message": text})
    _next_batch(world, scale_set, run)


def _too_many_failed(run: RollingUpgrade) -> bool:
    upgraded = run.succeeded + run.failed
    return 100 * run.failed > int(run.policy["maxUnhealthyUpgradedInstancePercent"]) * upgraded


def _end(world: "World", run: RollingUpgrade, code: str, error: dict[str, Json] | None = None) -> None:
    run.code, run.ended, run.error = code, world.now, error
    world.operations.end(run.record, error)


def cancel(world: "World", scale_set: "ScaleSet") -> OperationRecord:
    """Stop after the batch that is under way. What was upgraded stays upgraded."""
    run = scale_set.rolling
    if run is None or run.code != "RollingForward":
        raise Refusal(409, "OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel.")
    run.last_action, run.last_action_at = "Cancel", world.now
    detail = {
        "code": "RollingUpgradeCanceled",
        "message": "Rolling Upgrade was canceled by the user.",
        "target": f"{scale_set.name}/virtualMachines/{run.batch[0].instance_id}" if run.batch else scale_set.name,
    }
    text = "Rolling Upgrade failed because of an internal error."
    _end(world, run, "Cancelled", {"details": [detail], "code": "RollingUpgradeInternalError", "message": text})
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    world.after(0.03, lambda: world.operations.end(record))
    return record


def shown(world: "World", scale_set: "ScaleSet") -> dict[str, Any]:
    """The newest run as `rollingUpgrades/latest` shows it: counts, and no instance ids."""
    run = scale_set.rolling
    if run is None:
        raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
    status = {"code": run.code, "startTime": world.timestamp(run.started), "lastAction": run.last_action}
    counts = {
        "successfulInstanceCount": run.succeeded,
        "failedInstanceCount": run.failed,
        "inProgressInstanceCount": len(run.batch),
        "pendingInstanceCount": len(run.pending),
    }
    properties: dict[str, Json] = {
        "policy": run.policy,
        "runningStatus": {**status, "lastActionTime": world.timestamp(run.last_action_at)},
        "progress": counts,
    }
    if run.error is not None:
        properties["error"] = run.error
    kind = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"
    return {"type": kind, "location": scale_set.location, "properties": properties}


def history(world: "World", scale_set: "ScaleSet") -> dict[str, Any]:
    """What `osUpgradeHistory` shows of the newest run, once it has ended."""
    run = scale_set.rolling
    if run is None or run.ended is None:
        return {"value": []}
    status = {"code": run.code, "startTime": world.timestamp(run.started), "endTime": world.timestamp(run.ended)}
    progress = shown(world, scale_set)["properties"]["progress"]
    image = {k: v for k, v in scale_set.image.items() if k in ("publisher", "offer", "sku", "version")}
    properties = {
        "runningStatus": status,
        "progress": progress,
        "startedBy": "User",
        "targetImageReference": image,
        "rollbackInfo": {"successfullyRolledbackInstanceCount": 0, "failedRolledbackInstanceCount": 0},
    }
    kind = "Microsoft.Compute/virtualMachineScaleSets/rollingUpgrades"
    return {"value": [{"type": kind, "location": scale_set.location, "properties": properties}]}
