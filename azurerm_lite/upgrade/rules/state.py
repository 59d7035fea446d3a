"""Where an upgrade stands, as one value, and what its first entry makes of it. PURE.

`machine.apply` takes a State one entry further, `machine.decide` says what follows from it.
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
# off; being written; in force; no longer needed (or not known to be in force); being removed.
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
# Every instance ends in exactly one of these.
CLASSES = (
    *("updated", "rolled-back", "already-current", "arrived-current", "still-unavailable", "evicted", "in-flight"),
    *("skipped-protected", "skipped-stopped", "not-selected", "vanished", "failed", "not-reached"),
)


@dataclass(frozen=True, slots=True)
class Leg:
    """One model, and the instances that are brought to it. A rollback to several old versions has several.

    `version`: what each instance must run in the end, "" where only the model counts; `image`: the exact image that
    counts instead, where there is one. `instances`: None for all. `before`: the fingerprint of the model that may be
    replaced, "" for the one that was written last; `after` and `outline`: of the model as it is sent. `hidden`: no GET
    shows all of it. `stored`: the entry that this was read from.
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

    `request`, `request_ids`: what is intended or under way, and for which of them; `done`: what has ended.
    `unavailable`, `stopped`, `failed`: who was that when the batch was intended. `sent`: since when Azure has had the
    request, in observed time. `ended`: when the last request was through. `returned`: Azure gave it back without an
    effect. `watched`: since when health is waited for; `fit_since`: since when all that came through are available.
    """

    ids: tuple[str, ...]
    vm_ids: tuple[str, ...]
    begun: float
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
    fit_since: float | None = None
    relapses: int = 0
    gate: str = ""


class Wait(NamedTuple):
    """Something that is waited for: why, since when (in observed time), not to be tried again before `until`."""

    cause: Cause
    since: float
    reason: str = ""
    until: float = 0.0
    of: str = ""


class Ending(NamedTuple):
    """How it is going to end, once the guards are removed."""

    outcome: Outcome
    cause: str
    reason: str


@dataclass(frozen=True)  # without slots: see `changed`
class State:
    """All that `decide` needs besides the snapshot and the time.

    `stages`: which requests the change may need. `anew`: whether an instance shows that its disk must be made anew
    ("shown", by its version), does not ("always"), or needs none (""). `hosted`: whether the hardware has the wanted
    `size`. `capacity` and `zone_sizes`: the set's size when the run began, `unavailable`: who was not available then.
    `images`: which exact image each instance ran then. `deallocated`: which instances this upgrade has deallocated, or
    an earlier one whose work it finishes.
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
    # How far it is.
    leg: int = 0
    direction: Direction = "forward"
    model: ModelPhase = "unwritten"
    model_since: float = 0.0
    model_written: bool = False
    fingerprint: str = ""
    batch: Batch | None = None
    operation: Entry | None = None
    hanging: Entry | None = None  # an operation of ours that has not ended in time
    classes: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    posted: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()  # settled as vanished because no list had them
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
    # What is waited for, and what is guarded.
    wait: Wait | None = None
    repairs: Repairs = "unknown"
    protection: Protection = "off"
    protected_at: float = 0.0  # when the last writes of protection began
    shielded: tuple[str, ...] = ()
    shielded_for: tuple[str, ...] = ()
    protections: int = 0
    outstanding: tuple[str, ...] = ()
    # What is in this process only.
    stale: bool = True
    listed: frozenset[str] = frozenset()
    doubted: frozenset[str] = frozenset()
    doubts: int = 0
    looks: int = 0  # in a row, with nothing but looks between them
    gaps: int = 0  # since a request was sent or a batch was settled
    unsent: int = 0
    due: float | None = None
    stepped: float = 0.0  # when the last step was over
    stopping: bool = False
    pausing: bool = False
    ending: Ending | None = None
    verdict: Mapping[str, Any] | None = None
    took: tuple[float, ...] = ()
    lowest: int | None = None
    left: int | None = None

    @property
    def goal(self) -> Leg:
        """The leg that is under way."""
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
    """A copy with other values in these fields: `dataclasses.replace`, many times faster for so many fields."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **changes)
    assert len(copy.__dict__) == len(value.__dict__), changes  # noqa: S101  (a field that does not exist)
    return copy


def left_deallocated(state: State) -> frozenset[str]:
    """The instances that an upgrade has deallocated, or perhaps has, and that it has not started again."""
    batch = state.batch
    if batch is None or batch.request != "deallocate" or batch.status not in ("intended", "lost", "sent"):
        return state.deallocated
    return state.deallocated | (set(batch.request_ids) - batch.stopped)


def begin(entry: Entry) -> State:
    """The state of an upgrade of which only the first entry has been written."""
    known = frozenset(entry["known"])
    images = {one: item["image"] for item in entry.get("images", ()) for one in item["instances"]}
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
    """A leg as an entry of the journal has it."""
    ids = stored.get("instances")
    instances = None if ids is None else frozenset(ids)
    names = ("version", "image", "before", "after", "outline")
    texts = {name: str(stored.get(name, "")) for name in names}
    return Leg(**texts, instances=instances, hidden=bool(stored.get("hidden")), stored=stored)
