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
from azurerm_lite.errors import printable
from azurerm_lite.upgrade import Plan, Verdict, journal, resume, rollback, upgrade
from azurerm_lite.upgrade.runner import OnEvent, Stop

from . import views

Run = Callable[[OnEvent, Stop], Verdict]
Say = Callable[..., None]


@dataclass
class Rollout:
    """One upgrade, or the taking back of one, as far as it is known here. Its thread writes, pages read."""

    address: az.ScaleSet
    journal: Path
    kind: str = "upgrade"
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
    touched: bool = False  # an instance was upgraded: there is something to take back
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
        taken_back = self.kind == "rollback" or self.outcome.startswith("roll")
        return ["resume"] * open_ended + ["roll back"] * (self.touched and not taken_back)

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
        names = ("kind", "version", "batches", "instances", "floor", "batch", "ids", "done", "failed", "offers")
        also = ("running", "state", "outcome", "reason")
        found = {name: getattr(self, name) for name in (*names, *also)}
        return {**found, "journal": self.journal.name, "seconds_left": self.seconds_left()}


# --- the ways to get one ---------------------------------------------------------------------------------------------


def planned(plan: Plan, path: Path, pace: float) -> Rollout:
    """An upgrade that does what the plan says."""
    sizes = list(map(len, plan.batches))
    each = plan.seconds / len(sizes) / pace if sizes else 0.0
    floor = plan.lowest.get("", 0)
    return Rollout(plan.address, path, "upgrade", plan.version, len(sizes), sum(sizes), floor, each)


def left_over(folder: Path, address: az.ScaleSet) -> Rollout | None:
    """The newest upgrade of this set that was left unfinished, and has not been taken back."""
    for path in sorted(folder.glob("vmsseditor-*.jsonl"), reverse=True):
        try:
            entries = journal.read(path)
            first, state = journal.begun(entries), journal.fold(entries)
        except az.AzurermLiteError:
            continue  # no journal of ours
        if (
            first["scale_set"].lower() != address.resource_id.lower()
            or path.with_name(f"{path.name}.rollback").exists()
        ):
            continue
        verdict = state.verdict or {"outcome": "paused", "reason": "the editor ended before the upgrade did"}
        return None if verdict["outcome"] not in ("paused", "cancelled") else _resumable(address, path, first, verdict)
    return None


def _resumable(address: az.ScaleSet, path: Path, first: Mapping[str, Any], verdict: Mapping[str, Any]) -> Rollout:
    batches = first["batches"]
    made = Rollout(address, path, "upgrade", first["version"], len(batches), sum(map(len, batches)))
    made.floor = min(first["lowest"].values(), default=0) if "lowest" in first else 0
    made.outcome, made.reason = verdict["outcome"], verdict["reason"]
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


def taking_back(arm: az.Arm, before: Rollout) -> tuple[Rollout, Run]:
    """The rollback of an upgrade, with a journal beside its own."""
    progress = journal.fold(journal.read(before.journal)).progress
    touched = len(progress.posted) if progress else 0
    path = before.journal.with_name(f"{before.journal.name}.rollback")
    made = Rollout(before.address, path, "rollback", instances=touched)
    return made, lambda on_event, stop: rollback(
        arm, str(before.journal), new_journal=str(path), on_event=on_event, should_stop=stop
    )


# --- the thread ------------------------------------------------------------------------------------------------------


def start(made: Rollout, run: Run, say: Say) -> None:
    """Run it, and keep what it says of itself."""
    made.running = True

    def work() -> None:
        try:
            verdict = run(lambda event: _heard(made, event, say), lambda: bool(made.wish))
            made.outcome, made.reason, made.classes = verdict.outcome, verdict.reason, dict(verdict.classes)
        except az.AzurermLiteError as error:
            made.outcome, made.reason = "refused", printable(error)
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
