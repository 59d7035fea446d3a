"""An upgrade in a thread of its own: how far it is, and the wish that it should stop. The engine does the rest.

A pause and a cancel are the same to the engine, which stops at a safe point and leaves a journal that can be resumed;
they differ in what the page offers next.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import azurerm_lite as az
from azurerm_lite._common.markup import visible
from azurerm_lite.upgrade import Plan, Policy, Snapshot, Verdict, plan_rollback, resume, upgrade
from azurerm_lite.upgrade.run import journal
from azurerm_lite.upgrade.run.runner import OnEvent, Stop

from . import views

Run = Callable[[OnEvent, Stop], Verdict]
Say = Callable[..., None]
# What a file that is no journal of ours may end in, whatever stands in it.
NO_JOURNAL = (az.AzurermLiteError, ArithmeticError, AttributeError, LookupError, OSError, RecursionError)


@dataclass
class Rollout:
    """One upgrade, or the rollback of one, as far as it is known here. Its thread writes, pages read."""

    address: az.ScaleSet
    journal: Path
    policy: Policy
    kind: str = "upgrade"
    selected: frozenset[str] | None = None  # the instances of a rollback; None: those that the policy selects
    number: int = 0  # new each time it begins or is resumed: what a page sends back to steer it
    version: str = ""
    batches: int = 0  # planned; 0 where nobody planned them here
    instances: int = 0  # that are to be upgraded
    floor: int = 0  # as many stay healthy, says the plan
    seconds: float = 0.0  # for a batch, as far as that is known
    running: bool = False
    wish: str = ""  # pause or cancel
    outcome: str = ""
    reason: str = ""
    batch: int = 0
    ids: tuple[str, ...] = ()
    classes: dict[str, str] = field(default_factory=dict)
    touched: bool = False  # an instance was upgraded: there is something to roll back
    began: float = 0.0

    @property
    def done(self) -> int:
        return sum(kind == "updated" for kind in self.classes.values())

    @property
    def failed(self) -> list[str]:
        return [one for one, kind in self.classes.items() if kind == "failed"]

    @property
    def offers(self) -> list[str]:
        """What can be asked of it now."""
        if self.running:
            return [] if self.wish else ["pause", "cancel"]
        open_ended = self.outcome in ("paused", "cancelled") and self.wish != "cancel"
        is_rolled_back = self.kind == "rollback" or self.outcome.startswith("roll")
        return ["resume"] * open_ended + ["roll back"] * (self.touched and not is_rolled_back)

    @property
    def state(self) -> str:
        if self.running:
            return {"pause": "pausing", "cancel": "cancelling"}.get(self.wish, "running")
        return "paused" if self.outcome == "cancelled" and self.wish == "pause" else self.outcome

    def seconds_left(self) -> float | None:
        """Until it is through, if the batches to come take as long as those before."""
        if not self.running or not self.batches or not self.seconds:
            return None
        return max(0, self.batches - self.batch + bool(self.ids)) * self.seconds

    def to_dict(self) -> dict[str, Any]:
        names = (
            "number",
            "kind",
            "version",
            "batches",
            "instances",
            "floor",
            "batch",
            "ids",
            "done",
            "failed",
            "offers",
        )
        also = ("running", "state", "outcome", "reason")
        found = {name: getattr(self, name) for name in (*names, *also)}
        return {**found, "journal": self.journal.name, "seconds_left": self.seconds_left()}


# --- the ways to get one ---------------------------------------------------------------------------------------------


def planned(plan: Plan, path: Path, pace: float, kind: str) -> Rollout:
    """An upgrade or rollback that does what the plan says."""
    sizes = list(map(len, plan.batches))
    each = plan.seconds / len(sizes) / pace if sizes else 0.0
    made = Rollout(plan.address, path, plan.policy, kind, version=plan.version, batches=len(sizes))
    if kind == "rollback":
        made.selected = frozenset(name for ids in plan.batches for name in ids)
    made.instances, made.floor, made.seconds = sum(sizes), plan.lowest.get("", 0), each
    return made


def left_over(folder: Path, address: az.ScaleSet) -> Rollout | None:
    """The newest upgrade of this set that was left unfinished, and was not rolled back."""
    for path in sorted(folder.glob("vmsseditor-*.jsonl"), reverse=True):
        try:
            is_ours, left = _stored(path, address)
        except (*NO_JOURNAL, TypeError, ValueError):
            continue  # no journal, or none that can be resumed; another file may be
        if is_ours:
            return left
    return None


def _stored(path: Path, address: az.ScaleSet) -> tuple[bool, Rollout | None]:
    """Whether a file is the journal of an upgrade of this set, and that upgrade if it was left unfinished."""
    if not path.is_file() or path.with_name(f"{path.name}.rollback").exists():
        return False, None
    entries = journal.read(path)
    first, state = journal.begin_entry(entries), journal.fold(entries)
    if first["scale_set"].lower() != address.resource_id.lower():
        return False, None
    verdict = state.verdict or {"outcome": "paused", "reason": "the editor ended before the upgrade did"}
    unfinished = verdict["outcome"] in ("paused", "cancelled")
    return True, _resumable(address, path, first, verdict) if unfinished else None


def _resumable(address: az.ScaleSet, path: Path, first: Mapping[str, Any], verdict: Mapping[str, Any]) -> Rollout:
    made = Rollout(address, path, Policy.from_dict(first["policy"]), version=str(first["version"]))
    made.batches, made.instances = len(first["batches"]), sum(map(len, first["batches"]))
    made.floor = min(first["lowest"].values(), default=0) if "lowest" in first else 0
    made.outcome, made.reason = str(verdict["outcome"]), str(verdict["reason"])
    _take_up(made)
    return made


def _take_up(made: Rollout) -> None:
    """What the journal says of it."""
    progress = journal.fold(journal.read(made.journal)).progress
    assert progress is not None
    made.classes, made.touched = dict(progress.classes), bool(progress.posted)
    made.batch = progress.batches + (progress.batch is not None)
    made.ids = progress.batch.ids if progress.batch else ()


def upgrading(arm: az.Arm, plan: Plan, made: Rollout) -> Run:
    return lambda on_event, stop: upgrade(arm, plan, journal=str(made.journal), on_event=on_event, should_stop=stop)


def resuming(arm: az.Arm, made: Rollout) -> Run:
    _take_up(made)
    made.wish = made.outcome = made.reason = ""
    return lambda on_event, stop: resume(arm, str(made.journal), on_event=on_event, should_stop=stop)


def rollback_plan(arm: az.Arm, before: Rollout) -> Plan:
    """What a rollback of an upgrade would do. Reads only."""
    return plan_rollback(arm, str(before.journal))


def rollback_path(before: Rollout) -> Path:
    """The journal of the rollback of an upgrade: beside its own."""
    return before.journal.with_name(f"{before.journal.name}.rollback")


def classes(rollout: Rollout, snapshot: Snapshot) -> dict[str, str] | None:
    """How each instance stands in an upgrade, for the picture; None while nothing is known of any.

    Instances that the policy leaves out are not selected. In a rollback these are all that the upgrade did not touch,
    whichever model they have.
    """
    if rollout.selected is not None:
        outside = dict.fromkeys(set(snapshot.members) - rollout.selected, "not-selected")
        known = {**rollout.classes, **outside}
    else:
        behind = {name: instance for name, instance in snapshot.members.items() if not instance.latest}
        outside = {name: "not-selected" for name, instance in behind.items() if not _selects(rollout.policy, instance)}
        known = {**outside, **rollout.classes}
    return {**known, **dict.fromkeys(rollout.ids, "in-batch")} or None


def _selects(policy: Policy, instance: Any) -> bool:
    wanted = (
        (policy.instances, instance.instance_id),
        (policy.zones, instance.zone),
        (policy.update_domains, instance.update_domain),
        (policy.fault_domains, instance.fault_domain),
    )
    return all(allowed is None or value in allowed for allowed, value in wanted)


# --- the thread ------------------------------------------------------------------------------------------------------


def start(made: Rollout, run: Run, say: Say) -> None:
    """Run it, and keep what it says of itself."""
    made.running = True

    def work() -> None:
        try:
            verdict = run(lambda event: _heard(made, event, say), lambda: bool(made.wish))
            made.outcome, made.reason, made.classes = verdict.outcome, verdict.reason, dict(verdict.classes)
        except az.AzurermLiteError as error:
            made.outcome, made.reason = "refused", visible(error)
            say(f"{made.kind} refused: {error}", "bad")
        finally:
            made.ids, made.running = (), False

    say(f"{made.kind} begun, journal {made.journal.name}")
    threading.Thread(target=work, name=f"{made.kind} {made.address.vmss_name}", daemon=True).start()


def _heard(made: Rollout, event: Mapping[str, Any], say: Say) -> None:
    kind = event["kind"]
    if kind == "intent":
        made.batch, made.ids, made.touched = made.batch + 1, tuple(event["ids"]), True
        made.batches, made.began = made.batches and max(made.batches, made.batch), time.monotonic()
    elif kind == "settled":
        made.ids, made.classes = (), {**made.classes, **event["classes"]}
        made.seconds = time.monotonic() - made.began
    mood, text = views.event_line(event)
    if kind == "unposted":
        made.batch, made.ids = made.batch - 1, ()
    if text:
        say(text, mood)
