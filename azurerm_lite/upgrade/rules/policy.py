"""How careful an upgrade is: one value, checked when it is made. PURE.

Fields carry Azure's own names where Azure has them; times are in seconds and say so.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..._common import arguments
from ..._http import wire
from ...errors import InvalidInput, printable, short_repr

ORDERS = ("update_domain", "fault_domain", "zone", "batch")
PROTECTED = ("skip", "fail")
STOPPED = ("upgrade", "skip", "fail")
DISRUPTIONS = ("upgrade", "reimage", "deallocate")  # from the least to the most


@dataclass(frozen=True, slots=True)
class Policy:
    """What an upgrade keeps to. The defaults take a fifth of the set at a time, one update domain after another.

    `batch_by`: what a batch may not span. `min_healthy_instance_percent`: of the whole set, rounded up, never fewer are
    healthy when a batch begins; `min_healthy_zone_percent`: the same for each zone and each placement group.
    `max_unhealthy_instance_percent`: of the whole set, how many may have turned unhealthy since the start when a batch
    begins; `max_unhealthy_upgraded_instance_percent`: of those that were upgraded, how many may be unhealthy or failed
    after a batch (100: `failure_budget` alone counts).
    `checkpoints`: percent of the instances after which it pauses until somebody resumes it.
    `failure_budget`: how many instances may fail before it stops. `instances`, `zones`, `update_domains`,
    `fault_domains`: only these. `max_disruption`: what a change may need at most, or it is refused: "upgrade",
    "reimage" (the OS disk is made anew), "deallocate" (the hardware is given back first, as some sizes need it).
    `rollback_on_failure`: take it back when a rule stops it. `suspend_repairs`: no automatic repairs while it runs.
    `protect_from_scale_in`: the instances of a batch are protected from scale-in until it is settled.
    `on_stopped`: what becomes of instances that do not run: "upgrade", "skip" (left alone), "fail" (stop the run).
    `outage_timeout_seconds`, `throttle_timeout_seconds`, `busy_timeout_seconds`: how long Azure may not answer, refuse
    for too many requests, or have another operation hold the set, before the run pauses.
    `floor_follows_capacity`: a scale-in by others lowers the floor; else it is that of the largest size there was.
    """

    batch_by: str = "update_domain"
    max_batch_instance_percent: int = 20
    batch_size: int | None = None
    min_healthy_instance_percent: int = 80
    min_healthy_zone_percent: int = 50
    max_unhealthy_instance_percent: int = 20
    max_unhealthy_upgraded_instance_percent: int = 100
    failure_budget: int = 0
    canary_instances: int = 0
    canary_bake_seconds: float = 0.0
    checkpoints: tuple[int, ...] = ()
    bake_seconds: float = 0.0
    pause_seconds: float = 0.0
    health_timeout_seconds: float = 600.0
    operation_timeout_seconds: float = 3600.0
    floor_timeout_seconds: float = 600.0
    prioritize_unhealthy_instances: bool = True
    on_protected: str = "skip"
    max_disruption: str = "reimage"
    rollback_on_failure: bool = False
    suspend_repairs: bool = False
    protect_from_scale_in: bool = False
    gate_timeout_seconds: float = 60.0
    instances: tuple[str, ...] | None = None
    zones: tuple[str, ...] | None = None
    update_domains: tuple[int, ...] | None = None
    fault_domains: tuple[int, ...] | None = None
    on_stopped: str = "upgrade"
    outage_timeout_seconds: float = 1800.0
    throttle_timeout_seconds: float = 3600.0
    busy_timeout_seconds: float = 1800.0
    floor_follows_capacity: bool = False

    def __post_init__(self) -> None:
        for field_ in fields(self):
            check = _CHECKS.get(field_.name) or _check_by_name(field_.name, str(field_.type))
            object.__setattr__(self, field_.name, check(field_.name, getattr(self, field_.name)))
        if self.max_batch_instance_percent == 0 and self.batch_size is None:
            raise InvalidInput("max_batch_instance_percent is 0: no instance could ever be upgraded")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, for the journal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Policy":
        """The policy that `to_dict` stored; InvalidInput for anything else."""
        if not isinstance(stored, Mapping) or not all(isinstance(key, str) for key in stored):
            raise InvalidInput(f"a policy is stored as an object, not as {short_repr(stored)}")
        names = {field_.name for field_ in fields(cls)}
        if unknown := set(stored) - names:
            raise InvalidInput(f"a policy has no {printable(', '.join(sorted(unknown)), 200)}")
        return cls(**stored)


Check = Callable[[str, Any], Any]


def _percent(name: str, value: object) -> int:
    return arguments.whole_number(value, name, 0, 100, "percent, a whole number")


def _count(least: int) -> Check:
    return lambda name, value: arguments.whole_number(value, name, least, 100_000, "instances, a whole number")


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _word(known: Iterable[str]) -> Check:
    return lambda name, value: arguments.word(value, name, known)


def _items(check: Callable[[Any, str], Any], example: str, least: int = 1) -> Check:
    """A check of a sequence and of each of its items."""

    def checked(name: str, value: object) -> tuple[Any, ...]:
        items = arguments.sequence(value, name, example)
        if len(items) < least:
            raise InvalidInput(f"{name} is empty, which would select nothing: leave it out to select all")
        return tuple(check(item, name) for item in items)

    return checked


def _instance(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must hold texts such as '0', not {short_repr(value)}")
    (instance_id,) = wire.instance_ids([value])
    return instance_id


def _zone(value: object, name: str) -> str:
    return arguments.text(value, f"each item of {name}", 40)


def _domain(value: object, name: str) -> int:
    return arguments.whole_number(value, f"each item of {name}", 0, 1000, "the number of a domain")


def _checkpoint(value: object, name: str) -> int:
    return arguments.whole_number(value, f"each item of {name}", 1, 99, "percent, whole numbers")


_CHECKS: Mapping[str, Check] = {
    "batch_by": _word(ORDERS),
    "on_protected": _word(PROTECTED),
    "on_stopped": _word(STOPPED),
    "max_disruption": _word(DISRUPTIONS),
    "batch_size": _optional(_count(1)),
    "failure_budget": _count(0),
    "canary_instances": _count(0),
    "checkpoints": _items(_checkpoint, "(50,)", least=0),
    "instances": _optional(_items(_instance, "('0', '3')")),
    "zones": _optional(_items(_zone, "('1', '2')")),
    "update_domains": _optional(_items(_domain, "(0, 1)")),
    "fault_domains": _optional(_items(_domain, "(0, 1)")),
}


def _check_by_name(name: str, kind: str) -> Check:
    """The check of a field whose name says its unit, or whose type is a switch."""
    if name.endswith("_percent"):
        return _percent
    if name.endswith("_seconds"):
        return lambda field_name, value: arguments.seconds(value, field_name)
    assert "bool" in kind, name  # noqa: S101  (a field without a check)
    return lambda field_name, value: arguments.switch(value, field_name)
