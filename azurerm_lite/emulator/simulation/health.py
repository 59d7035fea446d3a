"""The health that the applications of instances report.

A set has a health source when its model has a health probe or the Application Health extension; then each instance
view has `vmHealth`. A new application is Initializing for a while, as the extension's rich states have it.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-health-extension
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..faults import Fault
from .events import Events
from .instances import Instances
from .state import Instance, ScaleSet

STATES = {
    "healthy": "The VM is reporting itself as healthy",
    "unhealthy": "The VM is reporting itself as unhealthy",
    "initializing": "The VM is reporting itself as initializing",
    "unknown": "The VM has not reported its health",
}
WARM_UP = (5.0, 30.0)  # seconds until a new application is healthy
FLAP_SECONDS = 60.0
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


@dataclass(eq=False)
class Health:
    """The health of all instances. `on_unhealthy` is called when an application becomes unhealthy."""

    events: Events
    instances: Instances
    on_unhealthy: Callable[[ScaleSet, Instance], None] = lambda _scale_set, _instance: None

    def set_health(self, scale_set: ScaleSet, instance: Instance, state: str) -> None:
        """Let the application of an instance report this state from now on; "" for no report."""
        if state and state not in STATES:
            raise ValueError(f"health is one of {', '.join(STATES)}, not {state!r}")
        self.instances.update(scale_set, instance, health=state)
        instance.health_since = self.events.now
        if state == "unhealthy":
            self.on_unhealthy(scale_set, instance)

    def warm_up(self, scale_set: ScaleSet, instance: Instance, fault: Fault | None = None) -> None:
        """Let the application of an instance start: Initializing, then Healthy, or what the fault says."""
        effect = fault.effect if fault else ""
        if effect == "unhealthy":
            self.set_health(scale_set, instance, "unhealthy")
            return
        if effect == "flap":
            self.flap(scale_set, instance, times=6)
            return
        if not has_source(scale_set):
            self.instances.update(scale_set, instance, health="")
            return
        self.set_health(scale_set, instance, "initializing")
        since = instance.health_since
        seconds = self.events.random.uniform(*WARM_UP)
        self.events.schedule_in(seconds, lambda: self._finish_warm_up(scale_set, instance, since))

    def _finish_warm_up(self, scale_set: ScaleSet, instance: Instance, since: float) -> None:
        if instance.health == "initializing" and instance.health_since == since:
            self.set_health(scale_set, instance, "healthy")

    def flap(self, scale_set: ScaleSet, instance: Instance, times: int, interval: float = FLAP_SECONDS) -> None:
        """Let an application report Unhealthy and Healthy in turn, every `interval` seconds, so many times."""
        if not scale_set.has(instance) or not times:
            return
        self.set_health(scale_set, instance, "unhealthy" if instance.health == "healthy" else "healthy")
        self.events.schedule_in(interval, lambda: self.flap(scale_set, instance, times - 1, interval))


def has_source(scale_set: ScaleSet) -> bool:
    """Whether the set has a health source."""
    profile = scale_set.profile
    if (profile.get("networkProfile") or {}).get("healthProbe"):
        return True
    extensions = (profile.get("extensionProfile") or {}).get("extensions") or []
    return any(str(item.get("properties", {}).get("type", "")).startswith("ApplicationHealth") for item in extensions)


def vm_health(events: Events, instance: Instance) -> dict[str, Any] | None:
    """`vmHealth` of the instance view, or None for no report."""
    if instance.health not in STATES or (instance.power != "running" and "reports" not in instance.marks):
        return None
    status = {"code": f"HealthState/{instance.health}", "level": "Info", "displayStatus": STATES[instance.health]}
    return {"status": {**status, "time": events.timestamp(instance.health_since)}}


def seconds_of(duration: object) -> float:
    """Seconds of an ISO 8601 duration ("PT10M"); 0 for any other text."""
    match = _DURATION.fullmatch(str(duration or ""))
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0, 0.0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
