"""Actions on instances besides upgrades: power, reimage, redeploy, delete.

Durations are within what was recorded of Azure (start, restart, power off 0.3 to 137 s; reimage 64 to 957 s).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .disturbances import Disturbances
from .events import Events
from .health import Health
from .instances import Instances
from .operations import Operations, Outcome
from .state import Instance, OperationRecord, ScaleSet


class Action(NamedTuple):
    """How long an action takes, in seconds, and what it does.

    `during`, `after`: the power states ("" for no change). `replaces_disk`: the OS disk is made anew from the model.
    """

    shortest: float
    longest: float
    during: str = ""
    after: str = ""
    replaces_disk: bool = False
    deletes: bool = False


ACTIONS = {
    "start": Action(5, 60, "starting", "running"),
    "restart": Action(5, 60, "starting", "running"),
    "poweroff": Action(5, 60, "stopping", "stopped"),
    "deallocate": Action(20, 120, "deallocating", "deallocated"),
    "reimage": Action(64, 300, "stopped", "running", replaces_disk=True),
    "reimageall": Action(64, 300, "stopped", "running", replaces_disk=True),
    "redeploy": Action(60, 300, "stopped", "running"),
    "reapply": Action(5, 30),
    "performmaintenance": Action(60, 300, "stopped", "running"),
    "delete": Action(2, 120, "stopping", deletes=True),
}


@dataclass(eq=False)
class Power:
    """The actions in ACTIONS, by name."""

    events: Events
    operations: Operations
    instances: Instances
    health: Health
    disturbances: Disturbances

    def begin(
        self,
        scale_set: ScaleSet,
        instances: Sequence[Instance],
        name: str,
        *,
        force_disk: bool = False,
        holds_set: bool = False,
    ) -> OperationRecord:
        """Begin an action on these instances. Returns the operation, which ends when all of them are done.

        `force_disk`: a reimage replaces an ephemeral OS disk too. `holds_set`: the action is on the set, which is
        Updating meanwhile.
        """
        action = ACTIONS[name]
        record = self.operations.begin("POST", scale_set)
        scale_set.etag += 1
        if holds_set:
            scale_set.hold()
        before = [(instance, instance.state, instance.power) for instance in instances]
        for instance in instances:
            state = "Deleting" if action.deletes else "Updating"
            self.instances.update(scale_set, instance, state=state, power=action.during or instance.power)

        def finish() -> None:
            outcome = self.disturbances.outcome(name, scale_set, instances) or Outcome()
            for instance, state, power in before:
                if outcome.spares(instance.instance_id):
                    self.instances.update(scale_set, instance, state=state, power=power)
            changed = [instance for instance in instances if not outcome.spares(instance.instance_id)]
            self._finish(scale_set, changed, action, force_disk)
            if outcome.hangs:
                return
            if holds_set:
                self.operations.end_on_set(scale_set, record, outcome.error)
            else:
                self.operations.end(record, outcome.error)

        self.events.schedule_in(self.events.duration(name, action.shortest, action.longest), finish)
        return record

    def _finish(self, scale_set: ScaleSet, instances: Sequence[Instance], action: Action, force_disk: bool) -> None:
        scale_set.etag += 1
        for instance in instances:
            if action.deletes:
                self.instances.delete(scale_set, instance)
                continue
            if action.replaces_disk:
                self._replace_disk(scale_set, instance, force_disk)
            starts = action.after == "running"
            self.instances.update(scale_set, instance, state="Succeeded", power=action.after or instance.power)
            if starts:
                self.health.warm_up(scale_set, instance)

    def _replace_disk(self, scale_set: ScaleSet, instance: Instance, force_disk: bool) -> None:
        """Make the OS disk anew from the model of the instance; an ephemeral disk stays unless forced."""
        if instance.model_version == scale_set.model_version:
            instance.disk_version = scale_set.model_version
            self.instances.rebuild(scale_set, instance, replaces_disk=force_disk)

    def finish_creation(self, scale_set: ScaleSet, instance: Instance) -> None:
        """Let a new instance run, unless it has been deleted meanwhile."""
        if scale_set.has(instance):
            self.instances.update(scale_set, instance, state="Succeeded", power="running")
            self.health.warm_up(scale_set, instance)
