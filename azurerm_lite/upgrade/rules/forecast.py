"""How long an upgrade takes and how many requests it makes when nothing happens. PURE.

The machine decides each step in a small simulation without faults: one instance stands for each batch, and operations
take as long as recorded ones. So a change of the machine changes the forecast too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from . import machine
from .machine import Action
from .policy import Policy
from .snapshot import InstanceStatus, Model, Snapshot
from .state import Entry, Leg, Request, State

# Eight typical times of recorded batches; all of them took 0.6 to 174 s, with a median of 36 s.
OPERATION_SECONDS = (32.8, 61.3, 21.1, 39.5, 90.4, 26.8, 48.3, 14.3)
# The time of other requests, as a multiple of it.
PACE: Mapping[Request, float] = {"deallocate": 1.7, "start": 0.8, "reimage": 4.3}
APPLICATION_SECONDS = 25.0  # until the slowest application of a batch reports that it is healthy
WRITE_SECONDS = 1.0  # until the first poll of a write of the model or of protection
SIMULATED = 2 * len(OPERATION_SECONDS)  # batches; later ones are estimated from the last half of these
MOST_STEPS = 50_000
_OLD, _NEW = "1", "2"


class Needs(NamedTuple):
    """Facts about the change of a plan: fields as in `State`, and `writes`: whether the model must be written.

    `reports`: whether instances report health at the end; `repairs`: whether automatic repairs are on.
    """

    stages: tuple[Request, ...] = ("upgrade",)
    anew: str = ""
    hosted: bool = True
    writes: bool = True
    reports: bool = False
    repairs: bool = False
    flexible: bool = False


class Forecast(NamedTuple):
    """The estimated seconds and requests of a run."""

    seconds: float
    requests: int


def forecast(policy: Policy, sizes: Sequence[int], needs: Needs, list_requests: int) -> Forecast:
    """Estimate the seconds and requests of a run with batches of these sizes, without those of the plan.

    `list_requests`: how many requests one list of the instances takes.
    """
    world = _World(policy, sizes[:SIMULATED], needs, list_requests)
    world.run()
    more, half = len(sizes) - SIMULATED, SIMULATED // 2
    if more <= 0 or len(world.settled) < SIMULATED:
        return Forecast(world.now, round(world.requests))
    (start, first), (end, last) = world.settled[half - 1], world.settled[-1]
    seconds = world.now + more * (end - start) / half
    return Forecast(seconds, round(world.requests + more * (last - first) / half))


class _World:
    """A simulation without faults. `settled`: time and requests at the end of each batch."""

    def __init__(self, policy: Policy, sizes: Sequence[int], needs: Needs, list_requests: int) -> None:
        self.needs, self.list_requests, self.now = needs, list_requests, 0.0
        self.requests = 1  # the read of the model
        self.instances = {name: _instance(name, needs) for name in map(str, range(len(sizes)))}
        self.sizes = dict(zip(self.instances, sizes, strict=True))
        self.state = _state(policy, needs, frozenset(self.instances))
        self.snapshot: Snapshot | None = None
        self.written, self.operations, self.ends = not needs.writes, 0, 0.0
        self.healthy_at: dict[str, float] = {}
        self.settled: list[tuple[float, int]] = []

    def run(self) -> None:
        """Perform the actions of the machine until the upgrade ends."""
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

    # --- actions of the machine -----------------------------------------------------------------------------------

    def look(self, action: Action) -> float:
        whole = action.request != "instances"
        self.requests += self.list_requests + whole
        fingerprint = _NEW if self.written else _OLD
        model = Model(fingerprint, _NEW, len(self.instances), shows=self.written) if whole else None
        listed = {name: self._with_health(instance) for name, instance in self.instances.items()}
        self.snapshot = Snapshot(listed, self.now, self.needs.reports, ended=self.now, model=model)
        self.note(machine.build_snapshot_entry(self.state, self.snapshot))
        return 0.0

    def _with_health(self, instance: InstanceStatus) -> InstanceStatus:
        if not self.needs.reports:
            return instance
        warm = self.now >= self.healthy_at.get(instance.instance_id, 0.0)
        return instance._replace(health="healthy" if warm else "initializing")

    def write_model(self, _action: Action) -> float:
        self.requests += 1
        self.note({"kind": "model-posted"})
        return WRITE_SECONDS

    def follow_model(self, _action: Action) -> float:
        """One poll, and one read of the model."""
        self.requests += 2
        self.written = True
        self.note({"kind": "model-written", "fingerprint": _NEW})
        return 0.0

    def send(self, action: Action) -> float:
        self.requests += 1
        seconds = OPERATION_SECONDS[self.operations % len(OPERATION_SECONDS)]
        batch = self.state.batch
        assert batch is not None  # noqa: S101  (there is a batch to send)
        self.ends = self.now + seconds * PACE.get(batch.request, 1.0)
        self.operations += 1
        for name in action.ids:
            self.instances[name] = self.instances[name]._replace(state="Updating")
        self.note({"kind": "posted", "operation": {}, "request": action.request})
        return 5.0

    def follow(self, action: Action) -> float:
        self.requests += 1
        if self.now < self.ends:
            return action.seconds
        batch = self.state.batch
        assert batch is not None and batch.sent is not None  # noqa: S101, PT018  (there is a batch to follow)
        for name in batch.request_ids:
            self.instances[name] = _after(self.instances[name], batch.request, self.state)
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
        """Two reads and one write for each instance."""
        self.requests += 3 * self._count(action.ids)
        self.note({"kind": "shielded", "ids": list(action.ids), "batch": list(action.ids)})
        return WRITE_SECONDS

    def unprotect(self, action: Action) -> float:
        self.requests += 2 * self._count(action.ids)
        self.note({"kind": "protection", "protection": "removing"})
        return WRITE_SECONDS

    def follow_protection(self, _action: Action) -> float:
        """One poll of each write, and one read of the instance."""
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


def _instance(name: str, needs: Needs) -> InstanceStatus:
    behind = InstanceStatus(name, "", "", "", 0, 0, False, _OLD, "Succeeded", "running", "", False, size=_OLD)
    return behind._replace(health="healthy") if needs.reports else behind


def _state(policy: Policy, needs: Needs, names: frozenset[str]) -> State:
    """The state of an upgrade with one instance a batch, and the pauses, bakes and limits of the policy."""
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


def _after(instance: InstanceStatus, request: Request, state: State) -> InstanceStatus:
    """The instance after a successful request."""
    instance = instance._replace(state="Succeeded")
    if request == "deallocate":
        return instance._replace(power="deallocated")
    if request == "start":
        return instance._replace(power="running")
    if request == "reimage":
        return instance._replace(version=_NEW)
    version = instance.version if state.anew == "shown" else _NEW
    return instance._replace(latest=True, version=version, size=_NEW)
