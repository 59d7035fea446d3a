"""The health of instances' applications, and the repairs that Azure makes by itself. No HTTP here.

A set has a health source when its model has a health probe or the Application Health extension; then each instance
view has `vmHealth`. A fresh application is Initializing for a while, as the extension's rich states have it.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-health-extension
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import Fault
    from .scale_sets import Instance, ScaleSet
    from .world import World

STATES = {
    "healthy": "The VM is reporting itself as healthy",
    "unhealthy": "The VM is reporting itself as unhealthy",
    "initializing": "The VM is reporting itself as initializing",
    "unknown": "The VM has not reported its health",
}
WARM_UP = (5.0, 30.0)  # seconds until a fresh application answers
FLAP_SECONDS = 60.0
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def seconds_of(duration: object) -> float:
    """Seconds of an ISO 8601 duration ("PT10M"); 0 of anything else."""
    found = _DURATION.fullmatch(str(duration or ""))
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0, 0.0)
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def has_source(scale_set: "ScaleSet") -> bool:
    profile = scale_set.profile
    if (profile.get("networkProfile") or {}).get("healthProbe"):
        return True
    found = (profile.get("extensionProfile") or {}).get("extensions") or []
    return any(str(one.get("properties", {}).get("type", "")).startswith("ApplicationHealth") for one in found)


def shown(world: "World", instance: "Instance") -> dict[str, Any] | None:
    """`vmHealth` of the instance view, or None where nothing reports."""
    if instance.health not in STATES or (instance.power != "running" and "reports" not in instance.marks):
        return None
    status = {"code": f"HealthState/{instance.health}", "level": "Info", "displayStatus": STATES[instance.health]}
    return {"status": {**status, "time": world.timestamp(instance.health_since)}}


def set_health(world: "World", scale_set: "ScaleSet", instance: "Instance", state: str) -> None:
    """Let an application report this from now on ("": nothing any more)."""
    if state and state not in STATES:
        raise ValueError(f"health is one of {', '.join(STATES)}, not {state!r}")
    world.scale_sets.changing(scale_set, instance, health=state)
    instance.health_since = world.now
    if state == "unhealthy":
        _repair_later(world, scale_set, instance)


def warm_up(world: "World", scale_set: "ScaleSet", instance: "Instance", fault: "Fault | None" = None) -> None:
    """An application has just been started: what it reports, now and later."""
    effect = fault.effect if fault else ""
    if effect == "unhealthy":
        set_health(world, scale_set, instance, "unhealthy")
        return
    if effect == "flap":
        flap(world, scale_set, instance, times=6)
        return
    if not has_source(scale_set):
        world.scale_sets.changing(scale_set, instance, health="")
        return
    set_health(world, scale_set, instance, "initializing")
    since = instance.health_since
    world.after(world.rng.uniform(*WARM_UP), lambda: _warm(world, scale_set, instance, since))


def _warm(world: "World", scale_set: "ScaleSet", instance: "Instance", since: float) -> None:
    """A fresh application is up."""
    if instance.health == "initializing" and instance.health_since == since:
        set_health(world, scale_set, instance, "healthy")


def flap(
    world: "World", scale_set: "ScaleSet", instance: "Instance", times: int, interval: float = FLAP_SECONDS
) -> None:
    """Let an application report Unhealthy and Healthy by turns, so many times."""
    if scale_set.instances.get(instance.instance_id) is not instance or not times:
        return
    set_health(world, scale_set, instance, "unhealthy" if instance.health == "healthy" else "healthy")
    world.after(interval, lambda: flap(world, scale_set, instance, times - 1, interval))


# --- automatic repairs -----------------------------------------------------------------------------------------------


def repairs(scale_set: "ScaleSet") -> dict[str, Any]:
    policy = scale_set.model["properties"].get("automaticRepairsPolicy")
    return policy if isinstance(policy, dict) and policy.get("enabled") else {}


def _repair_later(world: "World", scale_set: "ScaleSet", instance: "Instance") -> None:
    policy, since = repairs(scale_set), instance.health_since
    if policy:
        grace = seconds_of(policy.get("gracePeriod", "PT10M")) or 600.0
        world.after(grace, lambda: _repair(world, scale_set, instance, since))


def _repair(world: "World", scale_set: "ScaleSet", instance: "Instance", since: float) -> None:
    """https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-automatic-instance-repairs"""
    policy = repairs(scale_set)
    still = instance.health == "unhealthy" and instance.health_since == since
    there = scale_set.instances.get(instance.instance_id) is instance
    if not (policy and still and there) or scale_set.repairs_state != "Running" or instance.protected:
        return
    action = str(policy.get("repairAction", "Replace")).lower()
    world.scale_sets.repair(scale_set, instance, action)
