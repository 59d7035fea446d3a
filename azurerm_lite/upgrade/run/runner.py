"""Run one upgrade step by step. `machine` decides each action; the Runner performs it and writes the journal.

Before each request on instances the journal gets an intent, after it the result. If the process ends between the two,
the machine finds out from a new snapshot what happened. The caller owns the loop, see docs/how-to/embedding.md.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ... import model
from ..._common import arguments, markup
from ..._common.secrecy import conceal_locals
from ..._http import wire
from ...arm import Arm
from ...endpoints import vmss, vmss_vms
from ...errors import (
    ArmError,
    AzurermLiteError,
    BusyError,
    ConcurrencyError,
    InvalidInput,
    OutcomeUnknown,
    ProtocolError,
    ThrottledError,
    TransportError,
)
from ...operation import Operation
from ...types import Json, JsonDict, ScaleSet, Vmss
from ..rules import checks, events, machine
from ..rules.budget import Cost
from ..rules.events import Event
from ..rules.machine import Action
from ..rules.policy import Policy
from ..rules.snapshot import Model, Snapshot, natural
from ..rules.state import Entry, State, find_deallocated
from ..rules.verdict import Verdict, failure_reasons, verdict_classes
from . import gates as health
from . import guards
from . import journal as _journal
from . import rollbacks as legs
from .gates import Gate
from .journal import Journal
from .planning import take_snapshot

OnEvent = Callable[[Event], object]
Stop = Callable[[], bool]
log = logging.getLogger(__name__)


def _silent(_event: Event) -> None: ...


def _never() -> bool:
    return False


def _always() -> bool:
    return True


class Runner:
    """A running upgrade. `step()` performs one action and returns the seconds to wait, None at the end.

    `journal`: with the entries of the upgrade, at least the first. `on_event`: called with each Event. `gate`: required
    if the upgrade started with one.

    Raises: InvalidInput for wrong arguments, for a journal that is not of an upgrade, and for a missing gate.
    """

    def __init__(self, arm: Arm, journal: Journal, on_event: OnEvent = _silent, gate: Gate | None = None) -> None:
        arguments.typed(Arm, arm=arm)
        arguments.typed(Journal, journal=journal)
        checks.of_run(None, gate, on_event, _never)
        self.arm, self.journal, self.on_event, self.gate = arm, journal, on_event, gate
        first = _journal.begin_entry(journal.entries)
        if first.get("gated") and gate is None:
            raise InvalidInput("this upgrade was begun with a gate: pass it again, as gate=…")
        self._first = first
        self.address = ScaleSet.parse(first["scale_set"])
        self.policy = Policy.from_dict(first["policy"])
        self.state: State = _journal.fold(journal.entries)
        self._operations: list[Operation] = self._stored_operations()  # the batch's or the model's running operation
        self._protecting: dict[str, Operation] = {}  # writes of protection, by instance id
        self._protection_error: AzurermLiteError | None = None  # the first error of these writes
        self._late_operation: Operation | None = None  # an operation that did not end in time, polled on
        self._lowest = self.state.lowest
        self.snapshot: Snapshot | None = None  # the newest snapshot; events carry it
        self.current: Vmss | None = None  # the model that was read with the newest snapshot
        self._cached_model: tuple[Any, Model] | None = None  # the newest Model and the values it is computed from
        self._answer = ""  # the fingerprint of the model in the response to its write
        self._has_told_start = False
        self._last = ""  # the kind of the newest action
        self._done_at = 0.0  # the time when the last action of this process ended
        self.should_stop: Stop = _never  # called before each step
        self._patch: Any = None  # the change with its secrets, which are not in the journal

    @property
    def patch(self) -> Any:
        return self._patch

    @patch.setter
    def patch(self, patch: Any) -> None:
        self._patch = patch
        self._note({"kind": "in-hand", "at": self.arm.time()})

    @property
    def verdict(self) -> Verdict | None:
        stored = self.state.verdict
        if stored is None:
            return None
        return Verdict(**{key: value for key, value in stored.items() if key != "counts"})

    @property
    def progress(self) -> State:
        return self.state

    @property
    def lowest(self) -> int | None:
        """The fewest available instances so far, None before the first snapshot."""
        return self._lowest

    def take_up(self) -> None:
        """Go on with an upgrade that was paused, cancelled or interrupted. One that a rule has ended stays ended."""
        final = ("succeeded", "stopped", "rolled-back", "rollback-failed")
        if self.verdict is None or self.verdict.outcome not in final:
            self._write({"kind": "resumed", "at": self.arm.time()})

    # --- one step ----------------------------------------------------------------------------------------------------

    @conceal_locals
    def step(self) -> float | None:
        """Perform the next action. Returns the seconds until the next step, None when the upgrade has ended."""
        if self.state.verdict is not None:
            return None
        self._tell_start()
        wait = self._act_once()
        while wait is not None and self._last in _LEADS:
            wait = self._act_once()
        return wait

    def _act_once(self) -> float | None:
        """Perform one action. Returns the seconds to wait, None when the upgrade has ended."""
        if not self.state.stopping and self.should_stop():
            self._note({"kind": "stop", "at": self.arm.time()})
        self._done_at = self.arm.time()
        action = self.next_action()
        self._last = "" if action.kind == self._last else action.kind
        wait = self._perform(action)
        if self.state.verdict is not None:
            return None
        self._note({"kind": "planned", "at": self._done_at, "due": self._done_at + wait})
        return wait

    def next_action(self) -> Action:
        """The machine's decision for the present state."""
        return machine.decide(self.state, self.snapshot, self.arm.time())

    def cost(self) -> Cost:
        """The most Compute requests that the next step may send, by throttling bucket."""
        return _COSTS.get(self.next_action().kind, {})

    def _perform(self, action: Action) -> float:
        """Perform an action and return the seconds to wait. Without a writable journal the upgrade pauses."""
        try:
            if action.kind in machine.RECORDING:
                self._record(action.entry)
                return 0.0
            return self._act(action)
        except _journal.NotWritten as error:
            self._end(action._replace(outcome="paused", reason=str(error)))
            return 0.0

    def _act(self, action: Action) -> float:
        """Perform an action; errors of Azure and of the network become entries for the machine."""
        before = self.state.wait
        try:
            seconds = _ACTS[action.kind](self, action)
        except _journal.NotWritten:
            raise
        except AzurermLiteError as error:
            self._done_at = self.arm.time()
            facts = trouble_of(error)
            facts["cause"] = {"lost": "outage", "inactive": "refused"}.get(facts["cause"], facts["cause"])
            if action.kind == "look" and isinstance(error, ProtocolError):
                facts["cause"] = "outage"  # an unreadable snapshot is read again
            self._record({"kind": "trouble", "of": action.kind, **facts})
            return 0.0
        if before is not None and self.state.wait is before:  # the trouble of before may be over
            self._note({"kind": "answered", "of": action.kind, "at": self.arm.time()})
        return seconds

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def _take_snapshot(self, action: Action) -> float:
        """Read the model, unless only the instances are requested, and all instances."""
        self.current = None if action.request == "instances" else vmss.get_vmss(self.arm, *self.address)
        snapshot = take_snapshot(self.arm, self.address, flexible=self.state.flexible)
        snapshot = snapshot._replace(
            source=self.state.source,
            reports=self.state.reports or snapshot.reports,
            ended=self.arm.time(),
            model=None if self.current is None else self._model(self.current),
        )
        self.snapshot = snapshot
        self._note(machine.build_snapshot_entry(self.state, snapshot))
        self._lowest = machine.least(self._lowest, sum(map(snapshot.is_available, snapshot.members.values())))
        self._tell({"kind": "seen", "at": snapshot.ended_at}, snapshot)
        return 0.0

    def _model(self, current: Vmss) -> Model:
        """The model in the form that the machine compares; computed again only when the model has changed."""
        leg, is_written = self.state.goal, self.state.model == "written"
        facts, before = (leg.stored, is_written, current), self._cached_model
        if before is not None and before[0] == facts:
            return before[1]
        properties: Any = current.get("properties") or {}
        capacity: Any = (current.get("sku") or {}).get("capacity")
        patch = {} if is_written else legs.patch_of(leg.stored, current)
        snapshot_model = Model(
            model.fingerprint(current),
            model.outline(current),
            capacity if isinstance(capacity, int) else 0,
            str(properties.get("provisioningState", "Succeeded")),
            model.matches_written(current, patch),
        )
        self._cached_model = facts, snapshot_model
        return snapshot_model

    # --- the model ---------------------------------------------------------------------------------------------------

    def _write_model(self, _action: Action) -> float:
        current = self.current
        assert current is not None  # noqa: S101  (decided on a snapshot)
        if self.state.direction == "back" or self._first["takes_back"]:
            patch = legs.patch_of(self.state.goal.stored, current)
        else:
            patch = self._first["patch"] if self._patch is None else self._patch
            patch = legs.keep_present_tags(patch, self._first["undo"], current)
        operation = vmss.patch_vmss(self.arm, *self.address, patch, if_match=current.get("etag"))
        self._operations = [operation]
        self._answer = _fingerprint(operation.resource)
        self._note({"kind": "model-posted", "at": self.arm.time()})
        return 0.0 if operation.done else operation.next_poll_seconds()

    def _follow_model(self, _action: Action) -> float:
        """Poll the write of the model once. It does not wait, so that one thread can run many upgrades."""
        operation = self._operations[0]
        if not operation.done:
            operation.poll()
        if not operation.done:
            self._tell({"kind": "polled", "at": self.arm.time()})
            return operation.next_poll_seconds()
        self._operations = []
        if operation.error is not None:
            raise operation.error
        fingerprint = self._written_fingerprint(operation.resource)
        if not fingerprint:
            self._note({"kind": "model-answered", "at": self.arm.time()})
            return 0.0
        self._record({"kind": "model-written", "fingerprint": fingerprint, "request_id": operation.request_id})
        return 0.0

    def _written_fingerprint(self, resource: Json) -> str:
        """The fingerprint of the model in the write's final response, "" when it is not the model that was written."""
        fingerprint = _fingerprint(resource)
        if not fingerprint or not isinstance(resource, Mapping):
            return ""
        leg = self.state.goal
        known = fingerprint in (self._answer, leg.after) or model.outline(resource) == leg.outline
        return fingerprint if known else ""

    # --- requests on instances ---------------------------------------------------------------------------------------

    def _send(self, action: Action) -> float:
        """Send a request once. A refusal or a lost answer becomes an entry for the machine."""
        ids = list(action.ids)
        try:
            operation = self._send_once(action.request, ids)
        except AzurermLiteError as error:
            self._done_at = self.arm.time()
            facts = trouble_of(error)
            kind = "lost" if facts["cause"] == "lost" else "unposted"
            self._record({"kind": kind, "ids": ids, **facts})
            return 0.0
        self._operations = [operation]
        self._record({"kind": "posted", "operation": operation.to_dict(), "request": action.request})
        return operation.next_poll_seconds() if operation.has_retry_after else 5.0

    def _send_once(self, request: str, ids: list[str]) -> Operation:
        once = self.arm.without_retries()
        if request == "reimage":
            forced = {"forceUpdateOSDiskForEphemeral": True} if self._first["ephemeral"] else {}
            sent = vmss_vms.reimage_vmss_vms(once, *self.address, ids, options=forced)
        elif request == "deallocate":
            sent = vmss_vms.deallocate_vmss_vms(once, *self.address, ids)
        elif request == "start":
            sent = vmss_vms.start_vmss_vms(once, *self.address, ids)
        else:
            sent = vmss.manual_upgrade_instances(once, *self.address, ids)
        return sent.poll_through(self.arm)

    def _follow(self, action: Action) -> float:
        """Poll the batch's operation once."""
        operation = self._operations[0]
        if not operation.done:
            operation.poll()
        if not operation.done:
            self._tell({"kind": "polled", "at": self.arm.time()})
            return operation.next_poll_seconds() if operation.has_retry_after else action.seconds
        self._operations = []
        took = operation.seconds if len(self.state.stages) == 1 else None
        self._record({"kind": "ended", "took": took, "request_id": operation.request_id, **_error_of(operation)})
        return 0.0

    def _follow_hanging(self, action: Action) -> float:
        """Poll once an operation that did not end in time."""
        stored = self.state.hanging
        assert stored is not None  # noqa: S101  (decided on it)
        if self._late_operation is None or self._late_operation.request_id != stored["request_id"]:
            self._late_operation = Operation.from_dict(self.arm, stored)
        operation = self._late_operation  # reused for each poll: without a status it reads the instances
        operation.poll()
        if operation.done:
            self._note({"kind": "released", "at": self.arm.time()})
            return 0.0
        self._tell(_waiting(action, self.arm.time()))
        return action.seconds

    def _stored_operations(self) -> list[Operation]:
        stored = self.state.operation
        return [] if stored is None else [Operation.from_dict(self.arm, stored)]

    # --- guards ------------------------------------------------------------------------------------------------------

    def _check_repairs(self, _action: Action) -> float:
        """Check whether automatic repairs are running and must be suspended; write that before suspending them."""
        ours = not self.state.flexible and guards.are_repairs_running(self.arm, self.address)
        if ours:
            self._record({"kind": "guarded", "on": True})
        else:
            self._note({"kind": "repairs", "repairs": "not ours", "at": self.arm.time()})
        return 0.0

    def _suspend_repairs(self, _action: Action) -> float:
        guards.set_repairs(self.arm, self.address, "Suspend")
        self._note({"kind": "repairs", "repairs": "suspended", "at": self.arm.time()})
        return 0.0

    def _resume_repairs(self, _action: Action) -> float:
        guards.set_repairs(self.arm, self.address, "Resume")
        self._record({"kind": "guarded", "on": False})
        return 0.0

    def _protect(self, action: Action) -> float:
        """Protect a batch from scale-in before it is sent.

        Instances that were protected before are not recorded, so their protection stays after the upgrade.
        """
        ours = guards.list_unprotected(self.arm, self.address, action.ids)
        self._record({"kind": "shielded", "ids": ours, "batch": list(action.ids)})
        writes = guards.protect(self.arm, self.address, ours, True)
        self._protecting, self._protection_error = writes.operations, writes.error
        return 0.0

    def _unprotect(self, action: Action) -> float:
        writes = guards.protect(self.arm, self.address, action.ids, False)
        self._protecting, self._protection_error = writes.operations, writes.error
        self._note({"kind": "protection", "protection": "removing", "at": self.arm.time()})
        self._record_freed(list(writes.unneeded))
        return 0.0

    def _record_freed(self, ids: list[str]) -> None:
        """Record the instances that this upgrade no longer protects."""
        if ids:
            self._record({"kind": "freed", "ids": ids})

    def _follow_protection(self, _action: Action) -> float:
        """Poll the writes of protection until one has not ended yet."""
        while self._protecting:
            name, first = next(iter(self._protecting.items()))
            if not first.done:
                first.poll()
            if not first.done:
                self._tell({"kind": "polled", "at": self.arm.time()})
                return first.next_poll_seconds()
            self._protecting = {key: value for key, value in self._protecting.items() if key != name}
            if first.error is not None:
                self._protection_error = self._protection_error or first.error
            elif self.state.protection == "removing":
                self._record_freed([name])
        if self._protection_error is not None:
            error, self._protection_error = self._protection_error, None
            raise error
        if self.state.protection == "removing":
            self._record({"kind": "shielded", "ids": [], "batch": []})
        else:
            self._note({"kind": "protection", "protection": "on", "at": self.arm.time()})
        return 0.0

    # --- gates, waits, rollbacks, the end ----------------------------------------------------------------------------

    def _ask_gate(self, action: Action) -> float:
        assert self.gate is not None  # noqa: S101  (__init__ has required it)
        assert self.snapshot is not None  # noqa: S101  (decided on a snapshot)
        members = [self.snapshot.members[name] for name in action.ids if name in self.snapshot.members]
        answer, why = health.ask(self.gate, members, self.policy.gate_timeout_seconds)
        self._record({"kind": "gate", "said": answer, "reason": why, "ids": list(action.ids)})
        return 0.0

    def _wait(self, action: Action) -> float:
        self._tell(_waiting(action, self.arm.time()))
        return max(0.5, action.seconds)

    def _roll_back(self, action: Action) -> float:
        """Write the rollback into the journal, before its first request."""
        parts = legs.make_rollback_entry(self.arm, self.state, self._first)
        self._record({"kind": "rollback", "reason": action.reason, **parts})
        return 0.0

    def _end(self, action: Action) -> float:
        """Write the verdict into the journal."""
        classes = verdict_classes(self.state, self.snapshot)
        reasons = {**failure_reasons(self.state, self.snapshot), **self.state.reasons}
        failures = {name: reasons.get(name, "") for name, kind in classes.items() if kind == "failed"}
        entry = {"kind": "end", "at": self.arm.time(), "verdict": {}}
        entry["verdict"] = self._verdict(action, classes, failures).to_dict()
        try:
            self._record(entry)
        except _journal.NotWritten:
            self._note(entry)
            self._tell(entry)
        return 0.0

    def _verdict(self, action: Action, classes: dict[str, str], failures: dict[str, str]) -> Verdict:
        where = str(self.journal.path) if self.journal.path else None
        took, version = self.arm.time() - float(self._first["at"]), self.state.legs[-1].version
        texts = (
            action.reason,
            self._in_flight_text(action, classes),
            self._deallocated_text(),
            self._outstanding_text(),
        )
        reason = "; ".join(filter(None, texts))
        counts = (self.state.settled_batches, took, self._lowest)
        return Verdict(action.outcome, reason, classes, version, *counts, where, failures)

    @staticmethod
    def _in_flight_text(action: Action, classes: Mapping[str, str]) -> str:
        away = [name for name, kind in classes.items() if kind == "in-flight"]
        return f"still in flight: {markup.listing(away)}" if away and action.outcome != "succeeded" else ""

    def _deallocated_text(self) -> str:
        """A text on the instances that still need a start, by the newest snapshot; "" for none."""
        members = {} if self.snapshot is None else self.snapshot.members
        ids = [name for name in find_deallocated(self.state) if name not in members or members[name].is_stopped]
        return f"deallocated, and started by resume: {markup.listing(sorted(ids, key=natural))}" if ids else ""

    def _outstanding_text(self) -> str:
        """A text on the guards that could not be removed, and on how to remove them; "" for none."""
        texts, why = [], self.state.outstanding
        if self.state.guarded:
            reason = f" ({why[why.index('resume-repairs') + 1]})" if "resume-repairs" in why else ""
            texts.append(f"automatic repairs are still suspended{reason}; clean_up(auth, journal) resumes them")
        if self.state.shielded:
            members = self.state.shielded if self.snapshot is None else self.snapshot.members
            ids = markup.listing([name for name in self.state.shielded if name in members])
            texts.append(f"still protected from scale-in: {ids}; resume or clean_up(auth, journal) removes that")
        return "; ".join(texts)

    def release(self) -> None:
        """Try to remove the guards after an exception has ended the run. Raises nothing but interruptions."""
        try:
            if self.state.guarded:
                self._resume_repairs(Action("resume-repairs"))
            if self.state.shielded:
                guards.unprotect(self.arm, self.address, self.state.shielded, self._record_freed)
                self._record({"kind": "shielded", "ids": [], "batch": []})
        except Exception as error:
            log.warning("guards could not be removed: %s; clean_up(auth, journal) removes them", error)

    @conceal_locals
    def end(self) -> None:
        """Stop at the next safe point: start deallocated instances and remove the guards. `resume` goes on later."""
        self.should_stop = _always
        while (wait := self.step()) is not None:
            self.arm.pause(wait)

    # --- entries and events ------------------------------------------------------------------------------------------

    def _record(self, entry: Entry) -> None:
        """Write an entry to the journal, apply it to the state, and report it as an event."""
        whole = {"kind": entry["kind"], "at": self.arm.time(), **entry}
        self._done_at = whole["at"]
        self._write(whole)
        if whole["kind"] not in _QUIET:
            self._tell(whole)

    def _write(self, entry: dict[str, Any]) -> None:
        self.journal.append(entry)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        """Apply an entry to the state without writing it to the journal."""
        self.state = machine.apply(self.state, entry)
        self._lowest = machine.least(self._lowest, self.state.lowest)

    def _tell(self, entry: Mapping[str, Any], snapshot: Snapshot | None = None) -> None:
        """Call `on_event`. The events "begin", "seen", "polled" and "waiting" are not in the journal."""
        self._done_at = self.arm.time()
        if self.on_event is _silent:
            return
        self.snapshot = snapshot or self.snapshot
        where = (self.state.phase, self.state, self.state.took, self.snapshot, self._lowest)
        now = events.Now(self._first, self.policy, *where, entry["at"], self.arm.is_emulator)
        try:
            self.on_event(events.event(entry, now))
        except Exception:
            log.exception("on_event failed at %r; the upgrade goes on", entry["kind"])

    def _tell_start(self) -> None:
        """Report the start, or the resumption, before the first step."""
        if self._has_told_start:
            return
        self._has_told_start = True
        kind = "begin" if len(self.journal.entries) == 1 else "resumed"
        texts = {key: self._first[key] for key in ("scale_set", "version", "changes", "warnings", "takes_back")}
        self._tell({"kind": kind, "at": self.arm.time(), "emulator": self.arm.is_emulator, **texts})


_QUIET = frozenset(["resumed", "ending", "freed"])
_LEADS = frozenset(["look", "intend", "intend-model"])  # the next action follows in the same step, since these age
_ACTS: Mapping[str, Callable[[Runner, Action], float]] = {
    "look": Runner._take_snapshot,
    "write-model": Runner._write_model,
    "follow-model": Runner._follow_model,
    "send": Runner._send,
    "follow": Runner._follow,
    "follow-hanging": Runner._follow_hanging,
    "check-repairs": Runner._check_repairs,
    "suspend-repairs": Runner._suspend_repairs,
    "resume-repairs": Runner._resume_repairs,
    "protect": Runner._protect,
    "unprotect": Runner._unprotect,
    "follow-protection": Runner._follow_protection,
    "gate": Runner._ask_gate,
    "wait": Runner._wait,
    "roll-back": Runner._roll_back,
    "end": Runner._end,
}
_COSTS: Mapping[str, Cost] = {
    "look": {"GetVMScaleSet": 1, "HighCostGetVMScaleSet": 1, "VMScaleSetActions": 1},
    "write-model": {"VMScaleSetActions": 1},
    "follow-model": {"GetOperation": 1},
    "send": {"VMScaleSetActions": 1},
    "follow": {"GetOperation": 1},
    "follow-hanging": {"GetOperation": 1},
    "roll-back": {"GetVMScaleSet": 1},
}


def _fingerprint(resource: Json) -> str:
    return model.fingerprint(resource) if isinstance(resource, Mapping) and "properties" in resource else ""


def _error_of(operation: Operation) -> dict[str, Any]:
    """The error of a failed operation, and whether its instances are as they were before it."""
    error = operation.error
    if error is None:
        return {"error": ""}
    return {
        "error": str(error),
        "code": error.code,
        "returned": operation.status == wire.CANCELED or wire.is_retryable(error.code),
    }


def trouble_of(error: AzurermLiteError) -> dict[str, Any]:
    """The cause of an error and the seconds to wait, as the fields of a journal entry."""
    return {"cause": _cause(error), "reason": str(error), "retry_after": getattr(error, "retry_after", None)}


def _cause(error: AzurermLiteError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "lost"
    if isinstance(error, guards.InstanceBusy | BusyError):
        return "busy"
    if isinstance(error, ThrottledError):
        return "throttled"
    if isinstance(error, ConcurrencyError):
        return "model"
    if isinstance(error, ArmError) and error.status == 400 and error.code == "InvalidParameter":
        return "inactive"
    return "outage" if isinstance(error, ArmError | TransportError) and wire.is_transient(error) else "refused"


def _waiting(action: Action, at: float) -> JsonDict:
    what = {"cause": action.cause, "deadline": action.deadline, "reason": action.reason}
    return {"kind": "waiting", "at": at, "seconds": action.seconds, **what}
