"""How careful an upgrade is: one value, checked when it is made. PURE.

Fields carry Azure's own names where Azure has them; times are in seconds and say so.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...errors import InvalidInput

ORDERS = ("update_domain", "fault_domain", "zone", "batch")
PROTECTED = ("skip", "fail")
STOPPED = ("upgrade", "skip", "fail")
DISRUPTIONS = ("upgrade", "reimage", "deallocate")  # from the least to the most


@dataclass(frozen=True, slots=True)
class Policy:
    """What an upgrade keeps to. The defaults take a fifth of the set at a time, one update domain after another.

    `order`: what a batch may not span. `min_healthy_instance_percent`: of the whole set, rounded up, never fewer are
    healthy when a batch begins; `min_healthy_zone_percent`: the same for each zone and each placement group.
    `max_unhealthy_instance_percent`: of the whole set, how many may have turned unhealthy since the start when a batch
    begins; `max_unhealthy_upgraded_instance_percent`: of those that were upgraded, how many may be unhealthy or failed
    after a batch (100: `failure_budget` alone counts).
    `checkpoints`: percent of the instances after which it pauses until somebody resumes it.
    `failure_budget`: how many instances may fail before it stops. `instances`, `zones`, `update_domains`,
    `fault_domains`: only these. `most_disruptive`: what a change may need at most, or it is refused: "upgrade",
    "reimage" (the OS disk is made anew), "deallocate" (the hardware is given back first, as some sizes need it).
    `rollback_on_failure`: take it back when a rule stops it. `suspend_repairs`: no automatic repairs while it runs.
    `protect_in_flight`: the instances of a batch are protected from scale-in until it is settled.
    `on_stopped`: what becomes of instances that do not run: "upgrade", "skip" (left alone), "fail" (stop the run).
    `outage_timeout_seconds`, `throttle_timeout_seconds`, `busy_timeout_seconds`: how long Azure may not answer, refuse
    for too many requests, or have another operation hold the set, before the run pauses.
    `floor_follows_capacity`: a scale-in by others lowers the floor; else it is that of the largest size there was.
    """

    order: str = "update_domain"
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
    sick_first: bool = True
    protected: str = "skip"
    most_disruptive: str = "reimage"
    rollback_on_failure: bool = False
    suspend_repairs: bool = False
    protect_in_flight: bool = False
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
            if field_.name.endswith("_percent"):
                _whole(field_.name, getattr(self, field_.name), 0, 100, "percent, a whole number")
        if self.max_batch_instance_percent == 0 and self.batch_size is None:
            raise InvalidInput("max_batch_instance_percent is 0: no instance could ever be upgraded")
        if self.batch_size is not None:
            _whole("batch_size", self.batch_size, 1, 100_000, "instances")
        for name in ("failure_budget", "canary_instances"):
            _whole(name, getattr(self, name), 0, 100_000, "instances")
        for percent in self.checkpoints:
            _whole("checkpoints", percent, 1, 99, "percent, whole numbers")
        for field_ in fields(self):
            if field_.name.endswith("_seconds"):
                _seconds(field_.name, getattr(self, field_.name))
        for name, value, known in (
            ("order", self.order, ORDERS),
            ("protected", self.protected, PROTECTED),
            ("on_stopped", self.on_stopped, STOPPED),
        ):
            if value not in known:
                raise InvalidInput(f"{name} is one of {', '.join(known)}, not {value!r}")
        if self.most_disruptive not in DISRUPTIONS:
            raise InvalidInput(f"most_disruptive is one of {', '.join(DISRUPTIONS)}, not {self.most_disruptive!r}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, for the journal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Policy":
        """The policy that `to_dict` stored."""
        known = {one.name for one in fields(cls)}
        if unknown := set(stored) - known:
            raise InvalidInput(f"a policy has no {', '.join(sorted(unknown))}")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        return cls(**values)


def _whole(name: str, value: object, least: int, most: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name} must be {unit}, from {least} to {most}, not {value!r}")


def _seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10_000_000:
        raise InvalidInput(f"{name} must be a number of seconds, 0 or more, not {value!r}")
