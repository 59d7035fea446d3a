"""Automatic repairs: what Azure does by itself with unhealthy instances.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-automatic-instance-repairs
"""

from dataclasses import dataclass
from typing import Any

from .events import Events
from .health import seconds_of
from .instances import Instances
from .power import Power
from .state import Instance, ScaleSet


@dataclass(eq=False)
class Repairs:
    """Repairs unhealthy instances after the grace period of the policy."""

    events: Events
    instances: Instances
    power: Power

    def schedule(self, scale_set: ScaleSet, instance: Instance) -> None:
        """Repair an instance that is unhealthy since now, if it is still unhealthy after the grace period."""
        policy, since = repairs_policy(scale_set), instance.health_since
        if policy:
            grace = seconds_of(policy.get("gracePeriod", "PT10M")) or 600.0
            self.events.schedule_in(grace, lambda: self._repair_if_due(scale_set, instance, since))

    def _repair_if_due(self, scale_set: ScaleSet, instance: Instance, since: float) -> None:
        policy = repairs_policy(scale_set)
        still = instance.health == "unhealthy" and instance.health_since == since
        if not (policy and still and scale_set.has(instance)):
            return
        if scale_set.repairs_state == "Running" and not instance.is_protected:
            self.repair(scale_set, instance, str(policy.get("repairAction", "Replace")).lower())

    def repair(self, scale_set: ScaleSet, instance: Instance, action: str) -> None:
        """Repair an instance: "reimage" or "restart" it, else replace it by a new one."""
        if action in ("reimage", "restart"):
            self.power.begin(scale_set, [instance], action)
            return
        self.instances.update(scale_set, instance, state="Deleting")
        successor = self.instances.create(scale_set)

        def finish() -> None:
            self.instances.discard(scale_set, instance)
            self.power.finish_creation(scale_set, successor)

        self.events.schedule_in(self.events.duration("create", 60, 180), finish)


def repairs_policy(scale_set: ScaleSet) -> dict[str, Any]:
    """The policy of automatic repairs; {} where they are off."""
    policy = scale_set.model["properties"].get("automaticRepairsPolicy")
    return policy if isinstance(policy, dict) and policy.get("enabled") else {}
