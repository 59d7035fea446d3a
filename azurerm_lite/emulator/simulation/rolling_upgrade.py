"""Azure's rolling upgrade: batches, limits, pauses, rollback, cancel.

osRollingUpgrade (to the newest image) and extensionRollingUpgrade start it, and in mode Rolling every change of the
model. A batch takes a minute, as recorded. Before a batch at most maxUnhealthyInstancePercent of the set may be
unhealthy, after it at most maxUnhealthyUpgradedInstancePercent of the upgraded instances.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

import functools
import math
from dataclasses import dataclass

from ..faults import Faults
from ..messages import ErrorResponse
from .defaults import ROLLING_POLICY
from .disturbances import Disturbances
from .events import Events
from .health import Health, seconds_of
from .images import Images
from .instances import Instances
from .operations import Operations
from .state import Instance, Json, OperationRecord, RollingUpgrade, ScaleSet

BATCH_SECONDS = 60.0
HEALTH_SECONDS = 300.0  # how long a batch may take to become healthy
_INTERNAL = "Rolling Upgrade failed because of an internal error."


@dataclass(eq=False)
class RollingUpgrades:
    """The rolling upgrades of all scale sets, at most one running for each."""

    events: Events
    faults: Faults
    operations: Operations
    images: Images
    instances: Instances
    health: Health
    disturbances: Disturbances

    def start(self, scale_set: ScaleSet, *, kind: str = "OS") -> RollingUpgrade:
        """Start an upgrade of every instance, those on the newest image too: so was recorded."""
        if scale_set.rolling_upgrade is not None and scale_set.rolling_upgrade.is_running:
            text = "Rolling Upgrade is already in progress for this VM Scale Set."
            raise ErrorResponse(409, "OperationNotAllowed", text)
        if scale_set.image:
            self.images.exact_version(scale_set.image)
        pending = [instance for instance in scale_set.instances.values() if not instance.is_protected]
        record = self.operations.begin("POST", scale_set)
        return self._run(scale_set, record, pending, kind=kind)

    def start_after_write(self, scale_set: ScaleSet) -> RollingUpgrade:
        """Start the upgrade that mode Rolling does after a change of the model; it cancels a running one."""
        if scale_set.rolling_upgrade is not None and scale_set.rolling_upgrade.is_running:
            self._end_as_canceled(scale_set, scale_set.rolling_upgrade)
        record = self.operations.begin("POST", scale_set)
        version = scale_set.model_version
        outdated = [instance for instance in scale_set.instances.values() if instance.model_version != version]
        pending = [instance for instance in outdated if not instance.is_protected]
        return self._run(scale_set, record, pending, initiator="Platform")

    def cancel(self, scale_set: ScaleSet) -> OperationRecord:
        """Stop after the running batch. Upgraded instances stay upgraded."""
        run = scale_set.rolling_upgrade
        if run is None or not run.is_running:
            raise ErrorResponse(409, "OperationNotAllowed", "There is no ongoing Rolling Upgrade to cancel.")
        run.last_action, run.last_action_time = "Cancel", self.events.now
        self._end_as_canceled(scale_set, run)
        record = self.operations.begin("POST", scale_set)
        self.events.schedule_in(0.03, lambda: self.operations.end(record))
        return record

    def _run(
        self,
        scale_set: ScaleSet,
        record: OperationRecord,
        pending: list[Instance],
        *,
        kind: str = "OS",
        initiator: str = "User",
    ) -> RollingUpgrade:
        policy = rolling_policy(scale_set)
        if policy.get("prioritizeUnhealthyInstances"):
            pending = sorted(pending, key=lambda instance: instance.is_available)
        now = self.events.now
        run = RollingUpgrade(record, policy, pending, now, last_action_time=now, initiator=initiator, kind=kind)
        run.previous, scale_set.rolling_upgrade = scale_set.rolling_upgrade, run
        scale_set.hold()
        self._next_batch(scale_set, run)
        return run

    def _next_batch(self, scale_set: ScaleSet, run: RollingUpgrade) -> None:
        if not run.is_running:
            return
        _skip_finished(scale_set, run)
        if not run.pending:
            self._end(scale_set, run, "Completed")
            return
        if all(instance.state == "Updating" for instance in run.pending):
            self.events.schedule_in(5.0, lambda: self._next_batch(scale_set, run))
            return
        total = len(scale_set.instances)
        unhealthy = sum(not instance.is_available for instance in scale_set.instances.values())
        if 100 * unhealthy > int(run.policy["maxUnhealthyInstancePercent"]) * total:
            when = "In" if run.succeeded or run.failed else "Before"
            self._end_as_faulted(scale_set, run, "MaxUnhealthyInstancePercent", when)
            return
        run.batch = _choose_batch(run, total)
        run.pending = [instance for instance in run.pending if instance not in run.batch]
        for instance in run.batch:
            self.instances.update(scale_set, instance, state="Updating")
            instance.upgrades.append((self.events.now, scale_set.model_version))
        self.events.schedule_in(BATCH_SECONDS, lambda: self._finish_batch(scale_set, run))
        self.disturbances.occur("during", scale_set, run.batch)

    def _finish_batch(self, scale_set: ScaleSet, run: RollingUpgrade) -> None:
        failed: list[Instance] = []
        for instance in run.batch:
            if not scale_set.has(instance):
                continue
            if "stuck" in instance.marks:
                instance.on_release = functools.partial(self._bring_to_model, scale_set, instance)
                continue
            fault = self.faults.for_instance("upgrade", instance.instance_id)
            if fault is not None and fault.effect in ("fail", "hang"):
                self.instances.update(scale_set, instance, state="Failed")
                instance.failure = fault.code, fault.message
                failed.append(instance)
            elif fault is not None and fault.effect == "vanish":
                self.instances.delete(scale_set, instance)
            else:
                self._bring_to_model(scale_set, instance)
                self.health.warm_up(scale_set, instance, fault)
        self.disturbances.occur("after", scale_set, run.batch)
        self._await_health(scale_set, run, failed, self.events.now + HEALTH_SECONDS)

    def _bring_to_model(self, scale_set: ScaleSet, instance: Instance) -> None:
        self.instances.bring_to_model(scale_set, instance, scale_set.model_version)

    def _await_health(self, scale_set: ScaleSet, run: RollingUpgrade, failed: list[Instance], until: float) -> None:
        """End the batch when all its instances are healthy, or at the deadline."""
        upgraded = [instance for instance in run.batch if scale_set.has(instance) and instance not in failed]
        unhealthy = [instance for instance in upgraded if not instance.is_available]
        if unhealthy and self.events.now < until:
            self.events.schedule_in(5.0, lambda: self._await_health(scale_set, run, failed, until))
            return
        run.failed += len(failed) + len(unhealthy)
        run.succeeded += len(upgraded) - len(unhealthy)
        run.batch = []
        if run.is_running and _exceeds_failures(run):
            self._roll_back(scale_set, run, [*failed, *unhealthy])
            self._end_as_faulted(scale_set, run, "MaxUnhealthyUpgradedInstancePercent", "In")
        pause = seconds_of(run.policy.get("pauseTimeBetweenBatches"))
        self.events.schedule_in(pause if run.pending else 0.0, lambda: self._next_batch(scale_set, run))

    def _roll_back(self, scale_set: ScaleSet, run: RollingUpgrade, failed: list[Instance]) -> None:
        """Restore the old disks of failed instances, where the policy says so (Uniform only)."""
        if run.policy.get("rollbackFailedInstancesOnPolicyBreach") and not scale_set.is_flexible:
            for instance in failed:
                instance.model_version = -1
                health = "healthy" if instance.health else ""
                self.instances.update(scale_set, instance, state="Succeeded", health=health)
            run.rollbacks += len(failed)

    def _end_as_faulted(self, scale_set: ScaleSet, run: RollingUpgrade, limit: str, when: str) -> None:
        text = f"Rolling Upgrade failed after exceeding the {limit} value of its policy."
        error: dict[str, Json] = {"code": f"{limit}Exceeded{when}RollingUpgrade", "message": text}
        self._end(scale_set, run, "Faulted", error)

    def _end_as_canceled(self, scale_set: ScaleSet, run: RollingUpgrade) -> None:
        detail = {
            "code": "RollingUpgradeCanceled",
            "message": "Rolling Upgrade was canceled by the user.",
            "target": f"{scale_set.name}/virtualMachines/{run.batch[0].instance_id}" if run.batch else scale_set.name,
        }
        error = {"details": [detail], "code": "RollingUpgradeInternalError", "message": _INTERNAL}
        self._end(scale_set, run, "Cancelled", error)

    def _end(self, scale_set: ScaleSet, run: RollingUpgrade, code: str, error: dict[str, Json] | None = None) -> None:
        run.code, run.end_time, run.error = code, self.events.now, error
        scale_set.release(failed=code == "Faulted")
        self.operations.end(run.record, error)


def rolling_policy(scale_set: ScaleSet) -> dict[str, Json]:
    """The rolling upgrade policy of a scale set, with Azure's defaults."""
    policy = scale_set.model["properties"].get("upgradePolicy", {}).get("rollingUpgradePolicy") or {}
    return {**ROLLING_POLICY, **policy}


def _skip_finished(scale_set: ScaleSet, run: RollingUpgrade) -> None:
    """Take instances off the queue that are deleted, or that a manual upgrade has brought to the model."""
    present = [instance for instance in run.pending if scale_set.has(instance)]
    by_model, version = run.initiator == "Platform", scale_set.model_version
    run.pending = [instance for instance in present if not by_model or instance.model_version != version]
    run.succeeded += len(present) - len(run.pending)


def _choose_batch(run: RollingUpgrade, total: int) -> list[Instance]:
    """The next batch: a share of the set, in one zone unless the policy lets it cross zones."""
    size = max(1, math.floor(total * int(run.policy["maxBatchInstancePercent"]) / 100))
    free = [instance for instance in run.pending if instance.state != "Updating"]
    if run.policy.get("enableCrossZoneUpgrade"):
        return free[:size]
    return [instance for instance in free if instance.zone == free[0].zone][:size]


def _exceeds_failures(run: RollingUpgrade) -> bool:
    upgraded = run.succeeded + run.failed
    return 100 * run.failed > int(run.policy["maxUnhealthyUpgradedInstancePercent"]) * upgraded
