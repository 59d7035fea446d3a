"""The policies and sets of instances that are searched."""

from typing import Any

from azurerm_lite.upgrade.rules.policy import Policy

from .explore import Case
from .world import Instance, Place

_SHORT: dict[str, Any] = {
    "min_healthy_instance_percent": 50,
    "min_healthy_zone_percent": 0,
    "max_batch_instance_percent": 50,
    "max_unhealthy_instance_percent": 40,
    "health_timeout_seconds": 25.0,
    "floor_timeout_seconds": 35.0,
    "operation_timeout_seconds": 100.0,
    "outage_timeout_seconds": 100.0,
    "throttle_timeout_seconds": 250.0,
    "busy_timeout_seconds": 60.0,
}
THREE = tuple(Place(domain=number) for number in range(3))
FOUR = tuple(Place(domain=number // 2) for number in range(4))
ZONES = tuple(Place(zone=str(number // 2 + 1), domain=number % 2) for number in range(4))
GROUPS = (Place(group="a"), Place(group="a", domain=1), Place(group="b"))


def _case(name: str, places: tuple[Place, ...] = THREE, policy: dict[str, Any] | None = None, **values: Any) -> Case:
    return Case(name, Policy(**{**_SHORT, **(policy or {})}), places, **values)


UNHEALTHY, WELL = Instance(health="unhealthy"), Instance()
OLDER, UPGRADED = Instance(version="0"), Instance(version="2")
HARDWARE = ("deallocate", "upgrade", "start")
CASES = (
    _case("plain"),
    _case("the model first", model=True),
    _case("canary and bake", policy={"canary_instances": 1, "canary_bake_seconds": 40.0, "bake_seconds": 20.0}),
    _case("bake longer than health", policy={"canary_instances": 1, "canary_bake_seconds": 60.0}),
    _case("budget and pause", policy={"failure_budget": 1, "pause_seconds": 30.0}),
    _case("of the upgraded", policy={"failure_budget": 1, "max_unhealthy_upgraded_instance_percent": 30}),
    _case("checkpoint", policy={"checkpoints": (50,)}),
    _case("rollback", policy={"rollback_on_failure": True}),
    _case("protection", policy={"protect_from_scale_in": True}),
    _case("repairs", policy={"suspend_repairs": True}),
    _case("gate", gated=True),
    _case("stopped is skipped", policy={"on_stopped": "skip"}),
    _case("stopped and protected fail", policy={"on_stopped": "fail", "on_protected": "fail"}),
    _case("an unhealthy one", instances=(UNHEALTHY, WELL, WELL)),
    _case("a protected one", instances=(Instance(protected=True), WELL, WELL)),
    _case("deallocated first", stages=HARDWARE),
    _case(
        "deallocated first, in one batch",
        policy={"batch_by": "batch", "batch_size": 2, "failure_budget": 1, "min_healthy_instance_percent": 30},
        stages=HARDWARE,
    ),
    _case("made anew", stages=("upgrade", "reimage")),
    _case(
        "made anew, in one batch",
        policy={"batch_by": "batch", "batch_size": 2, "failure_budget": 1, "min_healthy_instance_percent": 30},
        stages=("upgrade", "reimage"),
    ),
    _case("two old versions", instances=(OLDER, WELL, WELL), policy={"rollback_on_failure": True}),
    _case("taken back to two versions", instances=(UPGRADED,) * 3, back=("0", "1", "1")),
    _case("groups", GROUPS, policy={"min_healthy_zone_percent": 50, "min_healthy_instance_percent": 0}),
)
LARGER = (
    _case("four", FOUR),
    _case("four in zones", ZONES, policy={"min_healthy_zone_percent": 50}),
    _case("four in one batch", FOUR, policy={"batch_by": "batch", "prioritize_unhealthy_instances": False}),
    _case("four, rollback", FOUR, policy={"rollback_on_failure": True, "canary_instances": 1}),
)
