"""The state of an upgrade as one value, and its initial state from the first entry. PURE.

`machine.apply` adds one entry to a State, `machine.decide` returns the next action.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

from .policy import Policy
from .snapshot import HealthSource

Entry = Mapping[str, Any]
Request = Literal["deallocate", "upgrade", "start", "reimage"]
ORDER: tuple[Request, ...] = ("deallocate", "upgrade", "start", "reimage")
Direction = Literal["forward", "back"]
ModelPhase = Literal["unwritten", "intended", "sent", "answered", "written"]
BatchStatus = Literal["intended", "lost", "sent", "between", "ended"]
# off; being written; in force; no longer needed or not confirmed; being removed.
Protection = Literal["off", "writing", "on", "unneeded", "removing"]
Repairs = Literal["unknown", "not ours", "suspending", "suspended"]
Outcome = Literal["succeeded", "stopped", "paused", "cancelled", "rolled-back", "rollback-failed"]
Cause = Literal[
    "outage",
    "throttled",
    "busy",
    "refused",
    "inactive",
    "floor",
    "unhealthy",
    "others",
    "implausible",
    "stale",
    "protection",
    "lost-answer",
    "operation",
    "health",
    "silence",
    "bake",
    "pause",
    "model",
]
# Every instance ends in exactly one of these classes.
CLASSES = (
    *("updated", "rolled-back", "already-current", "arrived-current", "still-unavailable", "evicted", "in-flight"),
    *("skipped-protected", "skipped-stopped", "not-selected", "vanished", "failed", "not-reached"),
)


@dataclass(frozen=True, slots=True)
class Leg:
    """One model, and the instances that get it. A rollback to several old versions has several legs.

    `version`: the version that each instance must run at the end, "" if only the model counts; `image`: the exact
    image, which counts instead of the version if known. `instances`: None for all. `before`: the fingerprint of the
    model to replace, "" for the model of the previous leg; `after` and `outline`: of the model to write. `hidden`: GET
    does not return all of it. `stored`: the journal entry of this leg.
    """

    version: str
    image: str = ""
    instances: frozenset[str] | None = None
    before: str = ""
    after: str = ""
    outline: str = ""
    hidden: bool = False
    stored: Entry = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)  # without slots: see `changed`
class Batch:
    """Instances that are upgraded together.

    `request`, `request_ids`: the present request and its instances; `done`: the requests that have ended.
    `unavailable`, `stopped`, `failed`: the instances in that condition when the batch was intended. `sent`: when Azure
    received the request, in observed time. `ended`: when the last request ended. `returned`: Azure ended the request
    without an effect. `watched`: when waiting for health began. `available_since`: when all instances that have
    reached the goal were available.
    """

    ids: tuple[str, ...]
    vm_ids: tuple[str, ...]
    intended_at: float
    canary: bool = False
    request: Request = "upgrade"
    request_ids: tuple[str, ...] = ()
    status: BatchStatus = "intended"
    done: tuple[Request, ...] = ()
    unavailable: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    sent: float | None = None
    followed: bool = False
    ended: float | None = None
    error: str = ""
    returned: bool = False
    watched: float = 0.0
    available_since: float | None = None
    relapses: int = 0
    gate: str = ""


class Wait(NamedTuple):
    """A wait: its cause, its begin in observed time, and the earliest time `until` of the next attempt."""

    cause: Cause
    since: float
    reason: str = ""
    until: float = 0.0
    of: str = ""


class Ending(NamedTuple):
    """The end of the upgrade, after the guards are removed."""

    outcome: Outcome
    cause: str
    reason: str


@dataclass(frozen=True)  # without slots: see `changed`
class State:
    """All that `decide` needs besides the snapshot and the time.

    `stages`: the requests that the change may need. `anew`: whether disks must be recreated: "" for no, "shown": the
    version of an instance shows if it is needed, "always": it does not. `hosted`: whether the present hardware offers
    the VM `size`. `capacity`, `zone_sizes`, `unavailable`, `images`: the size of the set, its unavailable instances and
    the exact image of each instance when the run began. `deallocated`: the instances that this upgrade deallocated, or
    an earlier upgrade that this one finishes.
    """

    policy: Policy
    legs: tuple[Leg, ...]
    capacity: int
    zone_sizes: Mapping[str, int]
    unavailable: frozenset[str]
    known: frozenset[str]
    images: Mapping[str, str] = field(default_factory=dict)
    at: float = 0.0
    flexible: bool = False
    gated: bool = False
    takes_back: bool = False
    stages: tuple[Request, ...] = ("upgrade",)
    anew: Literal["", "shown", "always"] = ""
    hosted: bool = True
    size: str = ""
    source: HealthSource = "kept"
    grace: float = 0.0
    reports: bool = False
    withheld: bool = False
    # The progress of the upgrade.
    leg: int = 0
    direction: Direction = "forward"
    model: ModelPhase = "unwritten"
    model_since: float = 0.0
    model_written: bool = False
    fingerprint: str = ""
    batch: Batch | None = None
    operation: Entry | None = None
    hanging: Entry | None = None  # an overdue operation of this upgrade
    classes: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    posted: frozenset[str] = frozenset()
    absent: Mapping[str, str] = field(default_factory=dict)  # vanished as no list had them: the error of their batch
    sends: Mapping[str, int] = field(default_factory=dict)
    turned_down: Mapping[str, int] = field(default_factory=dict)
    deallocated: frozenset[str] = frozenset()
    reimaged: frozenset[str] = frozenset()
    batches: int = 0
    settled_batches: int = 0
    closed_at: float | None = None
    checkpoint: int = 0
    gate_refused: tuple[str, ...] = ()
    # Before a rollback began.
    stopped_for: str = ""
    forward: Mapping[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    unreturnable: tuple[str, ...] = ()
    # Waits and guards.
    wait: Wait | None = None
    repairs: Repairs = "unknown"
    protection: Protection = "off"
    protected_at: float = 0.0  # when the last writes of protection began
    shielded: tuple[str, ...] = ()
    shielded_for: tuple[str, ...] = ()
    protections: int = 0
    outstanding: tuple[str, ...] = ()
    # Values of this process only.
    stale: bool = True
    listed: frozenset[str] = frozenset()
    doubted: frozenset[str] = frozenset()
    doubts: int = 0
    looks: int = 0  # snapshots in a row, without a wait or a request between them
    gaps: int = 0  # since the last request or settled batch
    unsent: int = 0
    due: float | None = None
    stepped: float = 0.0  # the time of the last step
    stopping: bool = False
    pausing: bool = False
    ending: Ending | None = None
    verdict: Mapping[str, Any] | None = None
    took: tuple[float, ...] = ()
    lowest: int | None = None
    available_left: int | None = None

    @property
    def goal(self) -> Leg:
        """The present leg."""
        return self.legs[self.leg]

    def leg_for(self, name: str) -> Leg:
        """The leg that an instance belongs to."""
        return next((leg for leg in self.legs if leg.instances is not None and name in leg.instances), self.goal)

    @property
    def version(self) -> str:
        return self.goal.version

    @property
    def phase(self) -> Literal["model", "batches", "ended"]:
        if self.verdict is not None:
            return "ended"
        return "batches" if self.model == "written" else "model"

    @property
    def guarded(self) -> bool:
        """Whether automatic repairs are suspended by this upgrade, or may be."""
        return self.repairs in ("suspending", "suspended")

    @property
    def progress(self) -> "State":
        return self


_Value = TypeVar("_Value", State, Batch)


def changed(value: _Value, **changes: Any) -> _Value:
    """Return a copy with other values in these fields. It is much faster than `dataclasses.replace`."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **changes)
    assert len(copy.__dict__) == len(value.__dict__), changes  # noqa: S101  (a field that does not exist)
    return copy


def find_deallocated(state: State) -> frozenset[str]:
    """Return the instances that an upgrade has deallocated, or may have, and not started again."""
    batch = state.batch
    if batch is None or batch.request != "deallocate" or batch.status not in ("intended", "lost", "sent"):
        return state.deallocated
    return state.deallocated | (set(batch.request_ids) - batch.stopped)


def begin(entry: Entry) -> State:
    """Return the state of an upgrade after its first entry."""
    known = frozenset(entry["known"])
    images = {name: item["image"] for item in entry.get("images", ()) for name in item["instances"]}
    return State(
        Policy.from_dict(entry["policy"]),
        tuple(leg_of(stored) for stored in entry["legs"]),
        entry["capacity"],
        dict(entry["zone_sizes"]),
        frozenset(entry["unavailable"]),
        known,
        images,
        entry["at"],
        bool(entry["flexible"]),
        bool(entry.get("gated")),
        bool(entry.get("takes_back")),
        tuple(entry["stages"]),
        entry.get("anew", ""),
        bool(entry.get("hosted", True)),
        str(entry.get("size", "")),
        entry.get("source", "kept"),
        float(entry.get("grace_seconds", 0.0)),
        bool(entry.get("reports")),
        bool(entry.get("withheld")),
        broken=frozenset(entry.get("broken", ())),
        unreturnable=tuple(entry.get("unreturnable", ())),
        deallocated=frozenset(entry.get("deallocated", ())),
        listed=known,
        repairs="unknown" if Policy.from_dict(entry["policy"]).suspend_repairs else "not ours",
    )


def leg_of(stored: Entry) -> Leg:
    """Return the leg that a journal entry describes."""
    ids = stored.get("instances")
    instances = None if ids is None else frozenset(ids)
    names = ("version", "image", "before", "after", "outline")
    texts = {name: str(stored.get(name, "")) for name in names}
    return Leg(**texts, instances=instances, hidden=bool(stored.get("hidden")), stored=stored)
