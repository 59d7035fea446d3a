"""The result of an upgrade: the class of every instance, and the evidence. PURE."""

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
    """The result of an upgrade.

    `outcome`: succeeded, stopped (by a rule), paused (it could not continue), cancelled (by a person), rolled-back or
    rollback-failed (stopped by a rule, and then rolled back by the policy).

    `classes`: instance id to its class. updated, rolled-back: it has reached the goal; already-current: it was current
    before; arrived-current: it was created current; still-unavailable: it has reached the goal and is unavailable, as
    before; evicted: Azure evicted it during its upgrade; in-flight: its request has not ended; skipped-protected,
    skipped-stopped, not-selected, vanished, failed, not-reached. `failures`: Azure's code, message and request id for
    each failed instance. `lowest`: the fewest available instances, in a snapshot or during a batch.
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
        """The ids of instances that Azure is still changing."""
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
    """Return the class of every known instance, judged by the newest snapshot."""
    classes = {**state.forward, **state.classes}
    snapshot = None if snapshot is None else _as_planned(state, snapshot)
    instances = {} if snapshot is None else snapshot.members
    if state.batch is not None:
        pairs = zip(state.batch.ids, state.batch.vm_ids, strict=True)
        classes |= {name: _unsettled(state, state.batch, snapshot, name, vm) for name, vm in pairs}
    classes |= {name: _good(state) for name, kind in state.classes.items() if _is_over(state, snapshot, name, kind)}
    selected = selection.choice(state.policy, state.goal if state.direction == "forward" else None)
    for name, instance in instances.items():
        if name not in classes:
            classes[name] = _rest(
                state, instance, selected, is_available=snapshot is not None and snapshot.is_available(instance)
            )
    for name in state.known:
        classes.setdefault(name, "not-reached" if snapshot is None else "vanished")
    return classes


def _good(state: State) -> str:
    return "rolled-back" if state.direction == "back" else "updated"


def _is_over(state: State, snapshot: Snapshot | None, name: str, kind: str) -> bool:
    """Whether a still-unavailable instance is available by now."""
    instance = None if snapshot is None or kind != "still-unavailable" else snapshot.members.get(name)
    if snapshot is None or instance is None:
        return False
    is_there = selection.has_image(state.leg_for(name), instance) and not selection.is_unmade(state, instance)
    return is_there and snapshot.is_available(instance)


def failure_reasons(state: State, snapshot: Snapshot | None) -> dict[str, str]:
    """Return Azure's error for each failed instance of a batch that is not settled."""
    if state.batch is None or snapshot is None:
        return {}
    instances = [snapshot.members[name] for name in state.batch.ids if name in snapshot.members]
    return {
        instance.instance_id: "; ".join(filter(None, (instance.trouble, state.batch.error))) for instance in instances
    }


def _as_planned(state: State, snapshot: Snapshot) -> Snapshot:
    """The snapshot with all instances outdated, until the model is written: Azure still calls the old model latest."""
    unwritten = state.model != "written" and state.goal.after != (state.goal.before or state.fingerprint)
    return behind(snapshot) if unwritten else snapshot


def _unsettled(state: State, batch: Batch, snapshot: Snapshot | None, name: str, vm_id: str) -> str:
    """The class of an instance whose batch is not settled."""
    instance = None if snapshot is None else snapshot.members.get(name)
    if batch.status == "intended" and not batch.done:
        return "not-reached"
    if snapshot is None or batch.status in ("sent", "lost", "intended") or snapshot.at < (batch.ended or 0.0):
        return "in-flight"
    if instance is None or (vm_id and instance.vm_id and instance.vm_id != vm_id):
        return "vanished"
    pinned = bool(state.goal.version or state.goal.image)
    unmade = selection.is_unmade(state, instance)
    is_current = (selection.has_image(state.goal, instance) if pinned else instance.latest) and not unmade
    if instance.state == "Failed" and name not in batch.failed:
        return "failed"
    if not is_current:
        return "not-reached" if (pinned or unmade) and instance.state == "Succeeded" else "in-flight"
    if not snapshot.is_available(instance):
        return "in-flight"
    return _good(state)


def _rest(state: State, instance: InstanceStatus, selected: Choice, *, is_available: bool) -> str:
    """The class of an instance that was in no settled batch."""
    if instance.state == "Deleting":
        return "vanished"
    is_there = selection.has_reached(state.goal, instance) and not selection.is_unmade(state, instance)
    if state.sends.get(instance.instance_id) and is_there:
        return _good(state) if is_available else "still-unavailable"
    if state.direction == "forward" and is_there:
        return "already-current" if instance.instance_id in state.known else "arrived-current"
    if not selected(instance):
        return "not-selected"
    if instance.protected:
        return "skipped-protected"
    skipped = state.policy.on_stopped == "skip" and instance.is_stopped
    return "skipped-stopped" if skipped else "not-reached"
