"""How long an upgrade takes and how many requests it makes when nothing happens. PURE.

The machine itself decides each step, in a small world in which all goes well: one instance stands for each batch, and
operations take what Azure has been recorded to take. What a plan promises follows the engine by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from . import machine
from .machine import Action
from .policy import Policy
from .snapshot import InstanceStatus, Model, Snapshot
from .state import Entry, Leg, Request, State

# Eighths of what was recorded of Azure for one batch: 0.6 to 174 s, a median of 36 s.
OPERATION_SECONDS = (32.8, 61.3, 21.1, 39.5, 90.4, 26.8, 48.3, 14.3)
# Other requests take so many times as long.
PACE: Mapping[Request, float] = {"deallocate": 1.7, "start": 0.8, "reimage": 4.3}
APPLICATION_SECONDS = 25.0  # until the slowest application of a batch reports that it is healthy
WRITE_SECONDS = 1.0  # until the write of a model, or of a protection, is looked at for the first time
SIMULATED = 2 * len(OPERATION_SECONDS)  # batches; those after them cost what the last half of these cost
MOST_STEPS = 50_000
_OLD, _NEW = "1", "2"


class Needs(NamedTuple):
    """What a plan knows of its change: as `State` has it, and whether the model is still to be written.

    `reports`: whether instances report health in the end; `repairs`: whether automatic repairs are there to suspend.
    """

    stages: tuple[Request, ...] = ("upgrade",)
    anew: str = ""
    hosted: bool = True
    writes: bool = True
    reports: bool = False
    repairs: bool = False
    flexible: bool = False


class Forecast(NamedTuple):
    """About how many seconds and requests a run takes."""

    seconds: float
    requests: int


def forecast(policy: Policy, sizes: Sequence[int], needs: Needs, list_requests: int) -> Forecast:
    """The seconds and requests of a run with batches of these sizes, the plan's own not counted.

    `list_requests`: how many requests one list of the instances takes.
    """
    world = _World(policy, sizes[:SIMULATED], needs, list_requests)
    world.run()
    more, half = len(sizes) - SIMULATED, SIMULATED // 2
    if more <= 0 or len(world.settled) < SIMULATED:
        return Forecast(world.now, round(world.requests))
    (begun, first), (ended, last) = world.settled[half - 1], world.settled[-1]
    seconds = world.now + more * (ended - begun) / half
    return Forecast(seconds, round(world.requests + more * (last - first) / half))


class _World:
    """Where all goes well. `settled`: the time and the requests when each batch was settled."""

    def __init__(self, policy: Policy, sizes: Sequence[int], needs: Needs, list_requests: int) -> None:
        self.needs, self.list_requests, self.now = needs, list_requests, 0.0
        self.requests = 1  # the model is read before anything else
        self.members = {name: _member(name, needs) for name in map(str, range(len(sizes)))}
        self.sizes = dict(zip(self.members, sizes, strict=True))
        self.state = _state(policy, needs, frozenset(self.members))
        self.snapshot: Snapshot | None = None
        self.written, self.operations, self.ends = not needs.writes, 0, 0.0
        self.healthy_at: dict[str, float] = {}
        self.settled: list[tuple[float, int]] = []

    def run(self) -> None:
        """Do what the machine decides until it ends."""
        for _ in range(MOST_STEPS):
            action = machine.decide(self.state, self.snapshot, self.now)
            if action.kind not in machine.RECORDING and action.kind not in _ACTS:
                return
            seconds = self._perform(action)
            self.note({"kind": "planned", "due": self.now + seconds})
            self.now += seconds

    def _perform(self, action: Action) -> float:
        if action.kind not in machine.RECORDING:
            return _ACTS[action.kind](self, action)
        self.note(action.entry)
        if action.kind == "settle":
            self.settled.append((self.now, self.requests))
        return 0.0

    def note(self, entry: Entry) -> None:
        self.state = machine.apply(self.state, {"at": self.now, **entry})

    # --- what the machine asks for -----------------------------------------------------------------------------------

    def look(self, action: Action) -> float:
        whole = action.request != "instances"
        self.requests += self.list_requests + whole
        fingerprint = _NEW if self.written else _OLD
        model = Model(fingerprint, _NEW, len(self.members), shows=self.written) if whole else None
        listed = {name: self._shown(member) for name, member in self.members.items()}
        self.snapshot = Snapshot(listed, self.now, self.needs.reports, ended=self.now, model=model)
        self.note(machine.seen_entry(self.state, self.snapshot))
        return 0.0

    def _shown(self, member: InstanceStatus) -> InstanceStatus:
        if not self.needs.reports:
            return member
        warm = self.now >= self.healthy_at.get(member.instance_id, 0.0)
        return member._replace(health="healthy" if warm else "initializing")

    def write_model(self, _action: Action) -> float:
        self.requests += 1
        self.note({"kind": "model-posted"})
        return WRITE_SECONDS

    def follow_model(self, _action: Action) -> float:
        """One poll, and the model as it is then."""
        self.requests += 2
        self.written = True
        self.note({"kind": "model-written", "fingerprint": _NEW})
        return 0.0

    def send(self, action: Action) -> float:
        self.requests += 1
        seconds = OPERATION_SECONDS[self.operations % len(OPERATION_SECONDS)]
        batch = self.state.batch
        assert batch is not None  # noqa: S101  (there is one to send)
        self.ends = self.now + seconds * PACE.get(batch.request, 1.0)
        self.operations += 1
        for name in action.ids:
            self.members[name] = self.members[name]._replace(state="Updating")
        self.note({"kind": "posted", "operation": {}, "request": action.request})
        return 5.0

    def follow(self, action: Action) -> float:
        self.requests += 1
        if self.now < self.ends:
            return action.seconds
        batch = self.state.batch
        assert batch is not None and batch.sent is not None  # noqa: S101, PT018  (there is one to follow)
        for name in batch.request_ids:
            self.members[name] = _after(self.members[name], batch.request, self.state)
            self.healthy_at[name] = self.ends + APPLICATION_SECONDS
        took = self.ends - batch.sent if len(self.state.stages) == 1 else None
        self.note({"kind": "ended", "took": took, "error": "", "request": batch.request})
        return 0.0

    @staticmethod
    def wait(action: Action) -> float:
        return max(0.5, action.seconds)

    # --- guards ------------------------------------------------------------------------------------------------------

    def check_repairs(self, _action: Action) -> float:
        self.requests += 0 if self.needs.flexible else 1 + self.needs.repairs
        ours = self.needs.repairs and not self.needs.flexible
        self.note({"kind": "guarded", "on": True} if ours else {"kind": "repairs", "repairs": "not ours"})
        return 0.0

    def suspend_repairs(self, _action: Action) -> float:
        self.requests += 2
        self.note({"kind": "repairs", "repairs": "suspended"})
        return WRITE_SECONDS

    def resume_repairs(self, _action: Action) -> float:
        self.requests += 2
        self.note({"kind": "guarded", "on": False})
        return WRITE_SECONDS

    def protect(self, action: Action) -> float:
        """Each instance is read, read again, and written."""
        self.requests += 3 * self._count(action.ids)
        self.note({"kind": "shielded", "ids": list(action.ids), "batch": list(action.ids)})
        return WRITE_SECONDS

    def unprotect(self, action: Action) -> float:
        self.requests += 2 * self._count(action.ids)
        self.note({"kind": "protection", "protection": "removing"})
        return WRITE_SECONDS

    def follow_protection(self, _action: Action) -> float:
        """One poll of each write, and the instance as it is then."""
        self.requests += 2 * self._count(self.state.shielded)
        removing = self.state.protection == "removing"
        on = {"kind": "protection", "protection": "on"}
        self.note({"kind": "shielded", "ids": [], "batch": []} if removing else on)
        return 0.0

    def _count(self, ids: Sequence[str]) -> int:
        return sum(self.sizes[name] for name in ids)


_ACTS: Mapping[str, Callable[[_World, Action], float]] = {
    "look": _World.look,
    "write-model": _World.write_model,
    "follow-model": _World.follow_model,
    "send": _World.send,
    "follow": _World.follow,
    "wait": lambda _world, action: _World.wait(action),
    "check-repairs": _World.check_repairs,
    "suspend-repairs": _World.suspend_repairs,
    "resume-repairs": _World.resume_repairs,
    "protect": _World.protect,
    "unprotect": _World.unprotect,
    "follow-protection": _World.follow_protection,
}


def _member(name: str, needs: Needs) -> InstanceStatus:
    behind = InstanceStatus(name, "", "", "", 0, 0, False, _OLD, "Succeeded", "running", "", False, size=_OLD)
    return behind._replace(health="healthy") if needs.reports else behind


def _state(policy: Policy, needs: Needs, names: frozenset[str]) -> State:
    """An upgrade of one instance a batch, with the pauses, bakes and limits of the policy."""
    single = replace(
        policy,
        batch_by="batch",
        batch_size=1,
        canary_instances=min(1, policy.canary_instances),
        min_healthy_instance_percent=0,
        min_healthy_zone_percent=0,
        max_unhealthy_instance_percent=100,
        max_unhealthy_upgraded_instance_percent=100,
        checkpoints=(),
        instances=None,
        zones=None,
        update_domains=None,
        fault_domains=None,
    )
    return State(
        single,
        (Leg(_NEW, before=_OLD if needs.writes else _NEW, after=_NEW, outline=_NEW),),
        len(names),
        {},
        frozenset(),
        names,
        stages=needs.stages,
        anew=needs.anew,  # type: ignore[arg-type]
        hosted=needs.hosted,
        size=_NEW,
        reports=needs.reports,
        flexible=needs.flexible,
        listed=names,
        repairs="unknown" if policy.suspend_repairs else "not ours",
    )


def _after(member: InstanceStatus, request: Request, state: State) -> InstanceStatus:
    """An instance after a request that went well."""
    member = member._replace(state="Succeeded")
    if request == "deallocate":
        return member._replace(power="deallocated")
    if request == "start":
        return member._replace(power="running")
    if request == "reimage":
        return member._replace(version=_NEW)
    version = member.version if state.anew == "shown" else _NEW
    return member._replace(latest=True, version=version, size=_NEW)
