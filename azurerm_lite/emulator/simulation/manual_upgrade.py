"""manualupgrade: bring instances to the latest model. Sets in mode Automatic upgrade the same way.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-perform-manual-upgrades
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..faults import Faults
from ..messages import ErrorResponse
from .disturbances import Disturbances
from .events import Events
from .health import Health
from .instances import Instances
from .operations import CONFLICT, PREEMPTED, Operations, Outcome
from .state import Instance, OperationRecord, ScaleSet, Settings

OnEnd = Callable[[dict[str, Any] | None], None]  # called with Azure's error, or None for success
_HANGS: dict[str, Any] = {"code": "hangs"}


@dataclass(eq=False)
class ManualUpgrades:
    """Upgrades of several instances at once, as one operation."""

    events: Events
    settings: Settings
    faults: Faults
    operations: Operations
    instances: Instances
    health: Health
    disturbances: Disturbances

    def begin(self, scale_set: ScaleSet, instances: list[Instance]) -> OperationRecord:
        """Begin a manual upgrade. Returns the operation, which ends when the slowest instance is done."""
        self.refuse_or_preempt(scale_set)
        record = self.operations.begin("POST", scale_set)
        scale_set.upgrade = record
        scale_set.etag += 1
        scale_set.hold()

        self.upgrade(scale_set, instances, lambda error: self.operations.end_on_set(scale_set, record, error))
        return record

    def refuse_or_preempt(self, scale_set: ScaleSet) -> None:
        """Apply the settings to a write during an upgrade: 409 Conflict, or end the upgrade as preempted.

        Azure does both; when it does which is unknown.
        """
        if scale_set.upgrade is None or scale_set.upgrade.is_done:
            return
        if self.settings.concurrency == "conflict" and "write-preempts" not in self.settings.habits:
            raise ErrorResponse(409, "Conflict", CONFLICT)
        self.operations.end(scale_set.upgrade, {"code": "OperationPreempted", "message": PREEMPTED})

    def upgrade(self, scale_set: ScaleSet, instances: list[Instance], on_end: OnEnd) -> None:
        """Upgrade these instances together, but for those on the latest model."""
        version = scale_set.model_version
        outdated = [instance for instance in instances if instance.model_version != version]
        before = {instance.instance_id: instance.state for instance in outdated}
        for instance in outdated:
            self.instances.update(scale_set, instance, state="Updating")
            instance.upgrades.append((self.events.now, version))

        def finish() -> None:
            self._finish(scale_set, outdated, version, on_end, before)
            self.disturbances.occur("after", scale_set, outdated)

        self.events.schedule_in(self._seconds() if outdated else 0.6, finish)
        if outdated:
            self.disturbances.occur("during", scale_set, outdated)

    def _seconds(self) -> float:
        """Seconds of an upgrade. Recorded: 0.6 to 174 s, median 36 s."""
        if "upgrade" in self.events.durations:
            return self.events.random.uniform(*self.events.durations["upgrade"])
        return min(174.0, max(5.0, self.events.random.lognormvariate(3.58, 0.6)))

    def _finish(
        self, scale_set: ScaleSet, instances: list[Instance], version: int, on_end: OnEnd, before: Mapping[str, str]
    ) -> None:
        """End the upgrade of each instance, and of the operation."""
        scale_set.etag += 1
        present = [instance for instance in instances if scale_set.has(instance)]
        stuck = [instance for instance in present if "stuck" in instance.marks]
        outcome = self.disturbances.outcome("upgrade", scale_set, present) or Outcome()
        free = [instance for instance in present if instance not in stuck]
        for instance in free:
            if outcome.spares(instance.instance_id):
                self._revert(scale_set, instance, before.get(instance.instance_id, "Succeeded"))
        changed = [instance for instance in free if not outcome.spares(instance.instance_id)]
        errors = [self._finish_instance(scale_set, instance, version) for instance in changed]
        if outcome.hangs or _HANGS in errors:
            on_end = _never
        error = outcome.error or next((error for error in reversed(errors) if error), None)
        self._await_stuck(scale_set, stuck, version, functools.partial(on_end, error))

    def _await_stuck(
        self, scale_set: ScaleSet, stuck: list[Instance], version: int, end_operation: Callable[[], None]
    ) -> None:
        """End the operation, at once or when the last of its stuck instances is released."""
        awaited = [instance for instance in stuck if "alone" not in instance.marks]

        def release(instance: Instance) -> None:
            if scale_set.has(instance):
                self._finish_instance(scale_set, instance, version)
            if awaited and not any("stuck" in other.marks for other in awaited):
                end_operation()

        for instance in stuck:
            instance.on_release = functools.partial(release, instance)
        if not awaited:
            end_operation()

    def _finish_instance(self, scale_set: ScaleSet, instance: Instance, version: int) -> dict[str, Any] | None:
        """End the upgrade of an instance. Returns None, Azure's error, or _HANGS."""
        fault = self.faults.for_instance("upgrade", instance.instance_id)
        effect = fault.effect if fault else ""
        if effect == "hang":
            return _HANGS
        if fault is not None and effect == "fail":
            self.instances.update(scale_set, instance, state="Failed")
            instance.failure = fault.code, fault.message
            return {"code": fault.code, "message": fault.message, "target": instance.instance_id}
        if effect == "vanish":
            self.instances.delete(scale_set, instance)
        else:
            self.instances.bring_to_model(scale_set, instance, version)
            self.health.warm_up(scale_set, instance, fault)
        return None

    def _revert(self, scale_set: ScaleSet, instance: Instance, state: str) -> None:
        """Leave an instance as it was before the operation."""
        if instance.upgrades:
            instance.upgrades.pop()
        self.instances.update(scale_set, instance, state=state)


def _never(_error: dict[str, Any] | None) -> None:
    """Let the operation go on for ever."""
