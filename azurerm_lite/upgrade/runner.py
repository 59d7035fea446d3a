"""Acts on what the planner decides and records it: one step at a time, so that anybody's loop may own it.

Before each POST: a fresh list of instances, the model's fingerprint, an entry in the journal. After it: another entry.
Whatever happens between the two is settled by looking at the instances, here or in another process.
"""

from collections.abc import Callable, Sequence
from typing import Any

from .. import markup, model, vmss, vmss_vms, wire
from ..arm import Arm
from ..errors import (
    ArmError,
    AzurermLiteError,
    BusyError,
    ConcurrencyError,
    InvalidInput,
    OperationTimeout,
    OutcomeUnknown,
)
from ..operation import Operation
from ..types import Json, JsonDict, ScaleSet, Vmss
from . import events, guards, health, planner, polling
from . import journal as _journal
from .events import Event
from .health import Gate
from .journal import Journal, State
from .observe import Observation
from .planning import look
from .policy import Policy
from .verdict import Verdict

OnEvent = Callable[[Event], object]
Stop = Callable[[], bool]
BUSY_SECONDS = 30.0
DRIFTED = "somebody changed the model while the upgrade ran"
UNSURE = "nobody shows whether it has begun"
LAG_SECONDS = 30.0  # how much older than the request a list of instances may be
STALE_SECONDS = 120.0  # what was seen so long ago is no ground for a POST: this process may have slept


def _silent(_event: Event) -> None: ...


def _never() -> bool:
    return False


class Runner:
    """One upgrade under way. `step()` does at most one thing and says how long to wait; None when it has ended."""

    def __init__(self, arm: Arm, journal: Journal, on_event: OnEvent = _silent, gate: Gate | None = None) -> None:
        self.arm, self.journal, self.on_event, self.gate = arm, journal, on_event, gate
        first = _journal.begun(journal.entries)
        if first.get("gated") and gate is None:
            raise InvalidInput("this upgrade was begun with a gate: give it here too, as gate=…")
        self.address = ScaleSet.parse(first["scale_set"])
        self.policy = Policy.from_dict(first["policy"])
        self.state: State = _journal.fold(journal.entries)
        self._first, self._operation = first, self._stored_operation()
        self._lowest = self.state.lowest
        self.seen: Observation | None = None  # the newest look, kept for who watches
        self._greeted = False
        self._repairs: bool | None = None
        self._shields: list[Operation] = []  # writes of protection that are under way
        self._busy_since: float | None = None  # since when another operation keeps a batch from being begun
        self._held_since = 0.0  # since when an instance that others change keeps them from being made
        self._sure = self._freeing = False  # whether this process has made them; whether they take it back
        self.should_stop: Stop = _never  # asked once more right before a batch is begun
        self.found: Vmss | None = None  # the model, when it was read a moment ago
        self._written = ""  # the fingerprint of the model as Azure took it
        self.patch: Any = None  # the change with its secrets, which the journal does not have

    @property
    def verdict(self) -> Verdict | None:
        stored = self.state.verdict
        if stored is None:
            return None
        return Verdict(**{key: value for key, value in stored.items() if key != "counts"})

    @property
    def progress(self) -> planner.Progress:
        assert self.state.progress is not None  # noqa: S101  (folded from the first entry)
        return self.state.progress

    def take_up(self) -> None:
        """Go on with what was paused or cancelled. What has succeeded, or was stopped by a rule, stays as it is."""
        if self.verdict is None or self.verdict.outcome not in ("succeeded", "stopped"):
            phase = "batches" if self.state.model_written else "model"
            self.state = self.state._replace(phase=phase, verdict=None)

    # --- one step ----------------------------------------------------------------------------------------------------

    def step(self) -> float | None:
        """Do the next thing. Seconds to leave it alone after that; None when the upgrade has ended."""
        if self.state.phase == "ended":
            return None
        self._greet()
        if self.policy.suspend_repairs and not self.state.guarded:
            self._suspend_repairs()
        if (wait := self._about_shields()) is not None:
            return wait
        if self.state.phase == "model":
            return self._model_step()
        batch = self.progress.batch
        if batch is not None and batch.ended is None:
            return self._follow(batch)
        seen = self._look()
        if batch is not None and self._astray(batch, seen) and self.drifted():
            self.end("stopped", DRIFTED, seen)  # by the model of somebody else: they have not failed
            return None
        if batch is not None and batch.fit_since is None and planner.all_fit(self.progress, seen):
            self._record("fit")
        return self._act(planner.decide(self.policy, self.progress, seen, self.arm.time()), seen)

    def _act(self, action: planner.Action, seen: Observation) -> float | None:
        if action.kind == "post":
            return self._post(action, seen)
        if action.kind == "gate":
            return self._ask_gate(action, seen)
        if action.kind == "settle":
            self._record("settled", classes=dict(action.classes))
            if self.state.shielded:
                return self._unshield()
            # What was seen a moment ago is what the next batch is chosen by.
            return self._act(planner.decide(self.policy, self.progress, seen, self.arm.time()), seen)
        if action.kind == "pause":
            self._record("checkpoint", percent=action.percent)
            self.end("paused", action.reason, seen)
            return None
        if action.kind == "done":
            self.end("succeeded", "", seen)
            return None
        if action.kind == "stop":
            self.end("stopped", action.reason, seen)
            return None
        self._note_stuck(action)
        self._tell({"kind": "waiting", "at": self.arm.time(), "seconds": action.seconds, "reason": action.reason})
        return max(0.5, action.seconds)

    def _ask_gate(self, action: planner.Action, seen: Observation) -> float | None:
        assert self.gate is not None  # noqa: S101  (no progress is gated without one)
        members = [seen.members[one] for one in action.ids]
        said, why = health.ask(self.gate, members, self.policy.gate_timeout_seconds)
        if said == "inconclusive":
            self.end("paused", why, seen)
            return None
        self._record("gate", said=said, reason=why, ids=list(action.ids))
        return 0.0

    def _note_stuck(self, action: planner.Action) -> None:
        waits_for_health = self.progress.batch is None and not action.reason.startswith("pause")
        if waits_for_health and self.progress.stuck_since is None:
            self._record("stuck", since=self.arm.time(), reason=action.reason)

    # --- the model ---------------------------------------------------------------------------------------------------

    def _model_step(self) -> float | None:
        """Write the change, unless it is there; what is there instead of it ends the upgrade."""
        if self._operation is not None:
            return self._model_followed(self._operation)
        found, self.found = self.found, None
        if found is None or not found.get("etag"):  # without one, a model that was read earlier protects from nothing
            found = vmss.get_vmss(self.arm, *self.address)
        if self._is_written(found):
            self._record("model-written")
            return 0.0
        patch = self._first["patch"] if self.patch is None else self.patch
        if model.fingerprint(found) != self._first["fingerprint_before"]:
            self.end("stopped", "the model has changed since it was planned: plan again", self._look())
            return None
        if self._first.get("withheld") and self.patch is None:
            self.end("stopped", "the change has secrets, which no journal keeps: plan again", self._look())
            return None
        patch = model.retagged(patch, self._first.get("undo") or {}, found)
        self._record("model-intent")
        try:
            self._operation = vmss.patch_vmss(self.arm, *self.address, patch, if_match=found.get("etag"))
        except ConcurrencyError:
            self.end("stopped", "somebody else wrote the model at the same time: plan again", self._look())
            return None
        self._written = _as_taken(self._operation.resource, model.apply_patch(model.without_read_only(found), patch))
        return 0.0 if self._operation.done else self._operation.next_poll_seconds()

    def _is_written(self, found: Vmss) -> bool:
        """Whether the model shows the change. Where it shows in no fingerprint (capacity, tags), value by value."""
        before, after = self._first["fingerprint_before"], self.fingerprint
        shows = before != after or (not self._first.get("withheld") and model.reflects(found, self._first["patch"]))
        return shows and model.fingerprint(found) == self.fingerprint

    def _model_followed(self, operation: Operation) -> float:
        """Look how the write does. It is not waited for here, so that one thread can drive many upgrades."""
        operation.poll()
        if not operation.done:
            if self.arm.time() - operation.started_at > self.policy.operation_timeout_seconds:
                raise OperationTimeout(f"{operation!r} did not end in time. It may still be running.", operation)
            return operation.next_poll_seconds()
        self._operation = None
        if operation.error is not None:
            raise operation.error
        self._record("model-written", request_id=operation.request_id, fingerprint=self._written)
        return 0.0

    # --- a batch -----------------------------------------------------------------------------------------------------

    def _post(self, action: planner.Action, seen: Observation) -> float | None:
        if self.policy.protect_in_flight and action.ids != self.state.shielded_for:
            return self._unshield() if self.state.shielded else self._shield(action.ids)
        if self.drifted():
            self.end("stopped", DRIFTED, seen)
            return None
        vm_ids = [seen.members[one].vm_id for one in action.ids]
        fit, away = self._fit(seen), sum(seen.fit(seen.members[one]) for one in action.ids)
        self._record("intent", ids=list(action.ids), vm_ids=vm_ids, canary=action.canary, fit=fit, left=fit - away)
        if self.should_stop():
            return self._not_posted(action, "asked to stop", 0.0)
        if self.arm.time() > seen.at + STALE_SECONDS:
            return self._not_posted(action, "what was seen is too old by now", 0.0)
        try:
            self._operation = self._send(self._first["stages"][0], list(action.ids))
        except OutcomeUnknown:
            return 5.0  # the intent stands; the next step looks at the instances
        except BusyError as busy:
            return self._held_up(action, str(busy), seen)
        except ArmError as refused:
            if refused.status == 400 and "not an active" in refused.message:
                return self._not_posted(action, str(refused), 1.0)  # one of them is gone: list again
            self._not_posted(action, str(refused), 0.0)
            raise
        self._busy_since = None
        self._record("posted", operation=self._operation.to_dict())
        return self._gap(self._operation, 0.0)

    def _gap(self, operation: Operation, age: float) -> float:
        """When to look at the operation of a batch again: as Azure asks, or where its end may be."""
        took = self.state.took if len(self._first["stages"]) == 1 else ()
        return operation.next_poll_seconds() if operation.asks_to_wait else polling.next_gap(age, took)

    @property
    def fingerprint(self) -> str:
        """That of the model which instances are brought to."""
        return self.state.fingerprint or str(self._first["fingerprint_after"])

    def drifted(self) -> bool:
        """Whether the model is another one than this upgrade brings instances to."""
        return model.fingerprint(vmss.get_vmss(self.arm, *self.address)) != self.fingerprint

    def _astray(self, batch: planner.Batch, seen: Observation) -> bool:
        """Whether somebody of a batch that has ended is not where it was to come."""
        there = [seen.members[one] for one in batch.ids if one in seen.members]
        return not all(planner.current(one, self.progress.version) for one in there)

    def _not_posted(self, action: planner.Action, reason: str, seconds: float) -> float:
        self._record("unposted", ids=list(action.ids), reason=reason)
        return seconds

    def _held_up(self, action: planner.Action, why: str, seen: Observation) -> float | None:
        """Another operation holds the set: it is waited for, as long as one of ours would be."""
        now = self.arm.time()
        self._busy_since = now if self._busy_since is None else self._busy_since
        self._not_posted(action, why, 0.0)
        if now - self._busy_since <= self.policy.operation_timeout_seconds:
            return BUSY_SECONDS
        self.end("paused", f"another operation has held the scale set for {now - self._busy_since:.0f} s: {why}", seen)
        return None

    def _follow(self, batch: planner.Batch) -> float | None:
        """Look how the stage of the batch does; ask for it, or find it again when a crash came between."""
        age = self.arm.time() - (batch.begun if batch.staged is None else batch.staged)
        late = age > self.policy.operation_timeout_seconds
        if self._operation is None and not late:
            try:
                missing = self._ask_for(batch)
            except BusyError:
                return BUSY_SECONDS
            except OutcomeUnknown:
                return 5.0  # the next step looks at the instances
            if missing == UNSURE:
                return 5.0
            if missing == DRIFTED and "start" not in self._first["stages"]:
                self.end("stopped", DRIFTED, self._look())
                return None
            if missing:
                return self._stage_over(batch, missing)
        if self._operation is not None:
            self._operation.poll()
            if self._operation.done:
                return self._operated(batch, self._operation)
        self._tell({"kind": "polled", "at": self.arm.time()})
        if late or self._operation is None:
            return self._stage_over(batch, f"the operation did not end within {age:.0f} s")
        return self._gap(self._operation, age)

    def _operated(self, batch: planner.Batch, operation: Operation) -> float:
        error = "" if operation.error is None else str(operation.error)
        took = operation.seconds if len(self._first["stages"]) == 1 else None
        return self._stage_over(batch, error, request_id=operation.request_id, took=took)

    def _stage_over(self, batch: planner.Batch, error: str, **told: Any) -> float:
        """The batch comes to its next stage, whatever became of this one: nobody is left deallocated or half made."""
        error, stages, following = "; ".join(filter(None, (batch.error, error))), self._first["stages"], batch.stage + 1
        if following < len(stages):
            self._operation = None
            self._record("stage", number=following, name=stages[following], error=error, **told)
        else:
            self._record("ended", error=error, **told)
        return 0.0

    def _ask_for(self, batch: planner.Batch) -> str:
        """Ask for the stage that a batch is in; why there is nothing to ask for, if so.

        What else than an upgrade was asked for before a crash is asked for again: it does no harm twice.
        """
        stage = self._first["stages"][batch.stage]
        if stage == "upgrade":
            return self._find_again(batch)
        there = self._look().members
        left = [there[one] for one in batch.ids if one in there]
        ids = [one.instance_id for one in left if stage != "reimage" or (one.latest and one.state != "Failed")]
        if not ids:
            return f"nobody is left to {stage}"
        self._operation = self._send(stage, ids)
        self._record("posted", operation=self._operation.to_dict(), stage=stage)
        return ""

    def _send(self, stage: str, ids: list[str]) -> Operation:
        if stage == "reimage":
            forced = {"forceUpdateOSDiskForEphemeral": True} if self._first["ephemeral"] else {}
            return vmss_vms.reimage_vmss_vms(self.arm, *self.address, ids, options=forced)
        if stage == "deallocate":
            return vmss_vms.deallocate_vmss_vms(self.arm, *self.address, ids)
        if stage == "start":
            return vmss_vms.start_vmss_vms(self.arm, *self.address, ids)
        return vmss.manual_upgrade_instances(self.arm, *self.address, ids)

    def _find_again(self, batch: planner.Batch) -> str:
        """After a crash: the instances say whether the upgrade that was meant has begun; if not, it is begun now.

        Why not, when the model is no longer the one that was meant, or when a list of instances may be older than that.
        """
        path = f"{vmss.vmss_path(*self.address)}/virtualMachines"
        items = self.arm.list(path)
        # None of them was current when the intent was written: one that is now was reached.
        if wire.upgrade_begun(items, batch.ids) or any(wire.upgrade_begun(items, (one,)) for one in batch.ids):
            listed = f"{path}?api-version={self.arm.api_version}"
            watch = wire.Monitor("instances", listed, "", batch.ids)
            target = f"{vmss.vmss_path(*self.address)}/manualupgrade?api-version={self.arm.api_version}"
            self._operation = Operation(self.arm, "POST", target, watch)
        elif self.drifted():
            return DRIFTED
        elif self.arm.time() < (batch.begun if batch.staged is None else batch.staged) + LAG_SECONDS:
            return UNSURE
        else:
            self._operation = vmss.manual_upgrade_instances(self.arm, *self.address, list(batch.ids))
        self._record("posted", operation=self._operation.to_dict(), found_again=True)
        return ""

    def _stored_operation(self) -> Operation | None:
        stored = self.state.operation
        return Operation.from_dict(self.arm, stored) if stored is not None else None

    # --- guard rails -------------------------------------------------------------------------------------------------

    def _suspend_repairs(self) -> None:
        """The entry comes first: after a crash in between, `resume` knows that they may have to be resumed."""
        if self._repairs is None:
            self._repairs = not self._first["flexible"] and guards.repairs_on(self.arm, self.address)
        if self._repairs:
            self._record("guarded", on=True)
            guards.set_repairs(self.arm, self.address, "Suspend")

    def _shield(self, ids: tuple[str, ...]) -> float:
        """Protect a batch from scale-in before it is begun. Who was protected before is not ours to set free."""
        ours = guards.unprotected(self.arm, self.address, ids)
        self._record("shielded", ids=ours, batch=list(ids))
        self._sure = self._write_shields(ours, True)
        return 0.0

    def _unshield(self) -> float:
        self._freeing = self._write_shields(self.state.shielded, False)
        return 0.0 if self._freeing else BUSY_SECONDS

    def _write_shields(self, ids: Sequence[str], on: bool) -> bool:
        """Whether it could be begun. Who is being changed by others is waited for, but not for ever."""
        try:
            self._shields = guards.protect(self.arm, self.address, ids, on)
        except guards.InMotion:
            now = self.arm.time()
            self._held_since = self._held_since or now
            if now - self._held_since > self.policy.operation_timeout_seconds:
                raise
            return False
        self._held_since = 0.0
        return True

    def _shields_followed(self) -> float:
        """Look how the writes of protection do."""
        first = self._shields[0]
        first.poll()
        if not first.done:
            return first.next_poll_seconds()
        self._shields = self._shields[1:]
        if first.error is not None:
            raise first.error
        return 0.0

    def _about_shields(self) -> float | None:
        """What is to be done about protection before anything else; None for nothing."""
        if self._shields:
            return self._shields_followed()
        if self._freeing:
            self._freeing = False
            self._record("shielded", ids=[], batch=[])
        if self.state.shielded and self.progress.batch is None and not self._sure:
            return self._unshield()  # of a process that is gone: whether it came to protect them is not known
        return None

    def _take_back(self) -> str:
        """Take the guards back; what to say where that was not possible."""
        told, batch = [], self.progress.batch
        try:
            if self.state.guarded:
                guards.set_repairs(self.arm, self.address, "Resume")
                self._record("guarded", on=False)
                self._repairs = None
        except AzurermLiteError as error:
            told.append(f"automatic repairs are still suspended ({error}); repair(auth, journal) resumes them")
        in_flight = batch is not None and batch.ended is None
        try:
            if self.state.shielded and not in_flight:
                for one in guards.protect(self.arm, self.address, self.state.shielded, False):
                    one.wait()
                self._shields, self._freeing = [], False
                self._record("shielded", ids=[], batch=[])
        except AzurermLiteError as error:
            told.append(f"not all are free for scale-in again ({error})")
        if self.state.shielded:
            ids = markup.listing(self.state.shielded)
            told.append(f"still protected from scale-in: {ids}; resume, or repair(auth, journal) later, takes it back")
        return "; ".join(told)

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _look(self) -> Observation:
        seen = look(self.arm, self.address, flexible=self._first["flexible"])
        seen = seen._replace(arrives=not self._first.get("reports", True))
        self._lowest = _journal.least(self._lowest, self._fit(seen))
        self._tell({"kind": "seen", "at": seen.at}, seen)
        return seen

    @staticmethod
    def _fit(seen: Observation) -> int:
        return sum(map(seen.fit, seen.members.values()))

    def _record(self, kind: str, **fields: Any) -> None:
        entry = {"kind": kind, "at": self.arm.time(), **fields}
        self.journal.append(entry)
        self.state = _journal.apply(self.state, entry)
        self._lowest = _journal.least(self._lowest, self.state.lowest)
        if kind in ("settled", "unposted"):
            self._operation = None
        self._tell(entry)

    def _tell(self, entry: _journal.Entry, seen: Observation | None = None) -> None:
        """Tell it to whoever watches. "begin", "resumed", "seen", "polled" and "waiting" are told only."""
        if self.on_event is _silent:
            return  # and nothing is kept: a fleet has a thousand of these
        self.seen = seen or self.seen
        where = (self.state.phase, self.progress, self.state.took, self.seen, self._lowest)
        now = events.Now(self._first, self.policy, *where, entry["at"], self.arm.is_emulator)
        self.on_event(events.event(entry, now))

    def _greet(self) -> None:
        """What is about to be done, or gone on with, before the first step."""
        if self._greeted:
            return
        self._greeted = True
        kind = "begin" if len(self.journal.entries) == 1 else "resumed"
        told = {key: self._first[key] for key in ("scale_set", "version", "changes", "warnings", "takes_back")}
        self._tell({"kind": kind, "at": self.arm.time(), "emulator": self.arm.is_emulator, **told})

    def end(self, outcome: str, reason: str, seen: Observation | None = None) -> None:
        """Write down how it came out; `resume` can go on from everything but succeeded and stopped."""
        outstanding = self._take_back()
        reason = "; ".join(filter(None, (reason, outstanding)))
        classes = dict(self.progress.classes)
        if seen is not None:
            classes = planner.verdict_classes(self.policy, self.progress, seen)
        began = float(self._first["at"])
        where = str(self.journal.path) if self.journal.path else None
        took = self.arm.time() - began
        made = Verdict(
            outcome, reason, classes, self.progress.version, self.progress.batches, took, self._lowest, where
        )
        self._record("end", verdict=made.to_dict())


def _as_taken(answer: Json, wanted: JsonDict) -> str:
    """The fingerprint of a model as Azure answers the write of it, "" when that is not what was written.

    A write fills in defaults that an older model lacks: they are part of it from then on, and no drift.
    """
    return model.fingerprint(answer) if isinstance(answer, dict) and model.reflects(answer, wanted) else ""


def safe_step(runner: Runner) -> float | None:
    """One step; what cannot be gone on with pauses the upgrade, since the journal knows where it stands."""
    try:
        return runner.step()
    except AzurermLiteError as error:
        runner.end("paused", str(error))
        return None
