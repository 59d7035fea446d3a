"""How an upgrade came out: every instance in exactly one class, and the evidence. PURE."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..._common import markup
from . import selection
from .selection import Choice
from .snapshot import InstanceStatus, Snapshot, behind
from .state import Batch, State


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """`outcome`: succeeded, stopped (a rule ended it), paused (it could not go on), cancelled (somebody did),
    rolled-back or rollback-failed (a rule ended it, and the policy had it taken back).

    `classes`: instance id to its class. updated, rolled-back: it is where it was to come; already-current,
    arrived-current: it was, or came so; still-unavailable: there, and not available, as before; evicted: by others,
    while it was upgraded; in-flight: sent, and not over; skipped-protected, skipped-stopped, not-selected, vanished,
    failed, not-reached. `failures`: Azure's code, message and request id for each that failed. `lowest`: the fewest
    healthy instances: seen, or left while a batch was away.
    """

    outcome: str
    reason: str
    classes: Mapping[str, str]
    version: str
    batches: int
    seconds: float
    lowest: int | None = None
    journal: str | None = None
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Those that Azure still works on."""
        return tuple(name for name, kind in self.classes.items() if kind == "in-flight")

    @property
    def ok(self) -> bool:
        return self.outcome == "succeeded"

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(self.classes.values()))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "classes": dict(self.classes), "failures": dict(self.failures), "counts": self.counts}

    def __repr__(self) -> str:
        return f"<Verdict {markup.visible(self, 300)}>"

    def _repr_html_(self) -> str:
        rows = [("reason", self.reason)] if self.reason else []
        rows += [(kind, str(count)) for kind, count in sorted(self.counts.items())]
        rows += [("version", self.version)] if self.version else []
        rows += [("batches", f"{self.batches} in {self.seconds:.0f} s")]
        rows += [("fewest healthy", str(self.lowest))] if self.lowest is not None else []
        rows += [("journal", self.journal)] if self.journal else []
        return markup.card(self.outcome, rows)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        why = f": {self.reason}" if self.reason else ""
        took = f"{markup.batches(self.batches)} in {self.seconds:.0f} s"
        return markup.visible(f"{self.outcome}{why} ({counts or 'no instances'}; {took})", 2000)


def verdict_classes(state: State, snapshot: Snapshot | None) -> dict[str, str]:
    """Every instance that was ever seen, each in exactly one class, as the newest snapshot has it."""
    classes = {**state.forward, **state.classes}
    snapshot = None if snapshot is None else _as_planned(state, snapshot)
    members = {} if snapshot is None else snapshot.members
    if state.batch is not None:
        pairs = zip(state.batch.ids, state.batch.vm_ids, strict=True)
        classes |= {name: _unsettled(state, state.batch, snapshot, name, vm) for name, vm in pairs}
    classes |= {name: _good(state) for name, kind in state.classes.items() if _is_over(state, snapshot, name, kind)}
    selected = selection.choice(state.policy, state.goal if state.direction == "forward" else None)
    for name, member in members.items():
        if name not in classes:
            classes[name] = _rest(state, member, selected, is_available=snapshot is not None and snapshot.fit(member))
    for name in state.known:
        classes.setdefault(name, "not-reached" if snapshot is None else "vanished")
    return classes


def _good(state: State) -> str:
    return "rolled-back" if state.direction == "back" else "updated"


def _is_over(state: State, snapshot: Snapshot | None, name: str, kind: str) -> bool:
    """Whether an instance that was not available after its upgrade, as before it, is available by now."""
    member = None if snapshot is None or kind != "still-unavailable" else snapshot.members.get(name)
    if snapshot is None or member is None:
        return False
    return snapshot.fit(member) and selection.has_image(state.leg_for(name), member)


def failure_reasons(state: State, snapshot: Snapshot | None) -> dict[str, str]:
    """Why each instance of a batch that is not settled has failed, if it has: as Azure has it."""
    if state.batch is None or snapshot is None:
        return {}
    there = [snapshot.members[name] for name in state.batch.ids if name in snapshot.members]
    return {one.instance_id: "; ".join(filter(None, (one.trouble, state.batch.error))) for one in there}


def _as_planned(state: State, snapshot: Snapshot) -> Snapshot:
    """Until the model is written each instance seems to be on the latest, which is the old one."""
    unwritten = state.model != "written" and state.goal.after != (state.goal.before or state.fingerprint)
    return behind(snapshot) if unwritten else snapshot


def _unsettled(state: State, batch: Batch, snapshot: Snapshot | None, name: str, vm_id: str) -> str:
    """The class of an instance whose batch is not over."""
    member = None if snapshot is None else snapshot.members.get(name)
    if batch.status == "intended" and not batch.done:
        return "not-reached"
    if snapshot is None or batch.status in ("sent", "lost", "intended") or snapshot.at < (batch.ended or 0.0):
        return "in-flight"
    if member is None or (vm_id and member.vm_id and member.vm_id != vm_id):
        return "vanished"
    pinned = bool(state.goal.version or state.goal.image)
    unmade = selection.is_unmade(state, member)
    there = (selection.has_image(state.goal, member) if pinned else member.latest) and not unmade
    if member.state == "Failed" and name not in batch.failed:
        return "failed"
    if not there:
        return "not-reached" if (pinned or unmade) and member.state == "Succeeded" else "in-flight"
    if not snapshot.fit(member):
        return "in-flight"
    return _good(state)


def _rest(state: State, member: InstanceStatus, selected: Choice, *, is_available: bool) -> str:
    """The class of an instance that no settled batch has."""
    if member.state == "Deleting":
        return "vanished"
    is_there = selection.reached(state.goal, member) and not selection.is_unmade(state, member)
    if state.sends.get(member.instance_id) and is_there:
        return _good(state) if is_available else "still-unavailable"
    if state.direction == "forward" and is_there:
        return "already-current" if member.instance_id in state.known else "arrived-current"
    if not selected(member):
        return "not-selected"
    if member.protected:
        return "skipped-protected"
    skipped = state.policy.on_stopped == "skip" and member.is_stopped
    return "skipped-stopped" if skipped else "not-reached"
