"""Does what the machine decides and writes it down: one action a step, so that anybody's loop may own it.

Nothing is decided here. Before each request on instances an intent stands in the journal, after it what came of it;
whatever happens between the two is settled by the machine on a new snapshot, here or in another process.
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
from ..rules.state import Entry, State, left_deallocated
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
    """One upgrade under way. `step()` does one thing and says how long to wait; None when it has ended."""

    def __init__(self, arm: Arm, journal: Journal, on_event: OnEvent = _silent, gate: Gate | None = None) -> None:
        arguments.typed(Arm, arm=arm)
        arguments.typed(Journal, journal=journal)
        checks.of_run(None, gate, on_event, _never)
        self.arm, self.journal, self.on_event, self.gate = arm, journal, on_event, gate
        first = _journal.begun(journal.entries)
        if first.get("gated") and gate is None:
            raise InvalidInput("this upgrade was begun with a gate: give it here too, as gate=…")
        self._first = first
        self.address = ScaleSet.parse(first["scale_set"])
        self.policy = Policy.from_dict(first["policy"])
        self.state: State = _journal.fold(journal.entries)
        self._operations: list[Operation] = self._stored_operations()  # of the batch, or of the model
        self._protecting: dict[str, Operation] = {}  # by instance
        self._protection_error: AzurermLiteError | None = None  # of the last writes of protection
        self._hanging: Operation | None = None  # what did not end in time, as it is polled
        self._lowest = self.state.lowest
        self.seen: Snapshot | None = None  # the newest snapshot, kept for who watches
        self.found: Vmss | None = None  # the model of the newest snapshot
        self._worked_out: tuple[Any, Model] | None = None  # the newest model, and what it was worked out from
        self._answer = ""  # the fingerprint of the model as Azure answered its write
        self._greeted = False
        self._last = ""  # the kind of the newest action
        self._done_at = 0.0  # when the last thing that this process did was over
        self.should_stop: Stop = _never  # asked before each step
        self._patch: Any = None  # the change with its secrets, which the journal does not have

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
        """The fewest available instances so far."""
        return self._lowest

    def take_up(self) -> None:
        """Go on with what was paused or cancelled, or left by a process that is gone. What a rule ended stays so."""
        final = ("succeeded", "stopped", "rolled-back", "rollback-failed")
        if self.verdict is None or self.verdict.outcome not in final:
            self._write({"kind": "resumed", "at": self.arm.time()})

    # --- one step ----------------------------------------------------------------------------------------------------

    @conceal_locals
    def step(self) -> float | None:
        """Do the next thing. Seconds to leave it alone after that; None when the upgrade has ended."""
        if self.state.verdict is not None:
            return None
        self._greet()
        wait = self._once()
        while wait is not None and self._last in _LEADS:
            wait = self._once()
        return wait

    def _once(self) -> float | None:
        """One action. A snapshot and an intent age, so what follows from them is done in the same step."""
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
        """What the machine wants done now."""
        return machine.decide(self.state, self.seen, self.arm.time())

    def cost(self) -> Cost:
        """What the next step may ask of Compute."""
        return _COSTS.get(self.next_action().kind, {})

    def _perform(self, action: Action) -> float:
        """Do it; an error of Azure or of the network is one more thing that the machine is told."""
        try:
            if action.kind in machine.RECORDING:
                self._record(action.entry)
                return 0.0
            return self._act(action)
        except _journal.NotWritten as error:
            self._end(action._replace(outcome="paused", reason=str(error)))
            return 0.0

    def _act(self, action: Action) -> float:
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
                facts["cause"] = "outage"  # a snapshot that cannot be read is read again
            self._record({"kind": "trouble", "of": action.kind, **facts})
            return 0.0
        if before is not None and self.state.wait is before:  # what was in trouble before, perhaps, is no more
            self._note({"kind": "answered", "of": action.kind, "at": self.arm.time()})
        return seconds

    # --- looking -----------------------------------------------------------------------------------------------------

    def _look(self, action: Action) -> float:
        """Read the model, unless the instances alone are asked for, then all instances."""
        self.found = None if action.request == "instances" else vmss.get_vmss(self.arm, *self.address)
        seen = take_snapshot(self.arm, self.address, flexible=self.state.flexible)
        seen = seen._replace(
            source=self.state.source,
            reports=self.state.reports or seen.reports,
            ended=self.arm.time(),
            model=None if self.found is None else self._model(self.found),
        )
        self.seen = seen
        self._note(machine.seen_entry(self.state, seen))
        self._lowest = machine.least(self._lowest, sum(map(seen.fit, seen.members.values())))
        self._tell({"kind": "seen", "at": seen.ended_at}, seen)
        return 0.0

    def _model(self, found: Vmss) -> Model:
        """The model as the machine compares it. One that has not changed since the last snapshot is worked out once."""
        leg, is_written = self.state.goal, self.state.model == "written"
        facts, before = (leg.stored, is_written, found), self._worked_out
        if before is not None and before[0] == facts:
            return before[1]
        properties: Any = found.get("properties") or {}
        capacity: Any = (found.get("sku") or {}).get("capacity")
        patch = {} if is_written else legs.patch_of(leg.stored, found)
        shown = Model(
            model.fingerprint(found),
            model.outline(found),
            capacity if isinstance(capacity, int) else 0,
            str(properties.get("provisioningState", "Succeeded")),
            model.matches_written(found, patch),
        )
        self._worked_out = facts, shown
        return shown

    # --- the model ---------------------------------------------------------------------------------------------------

    def _write_model(self, _action: Action) -> float:
        found = self.found
        assert found is not None  # noqa: S101  (decided on a snapshot)
        if self.state.direction == "back" or self._first["takes_back"]:
            patch = legs.patch_of(self.state.goal.stored, found)
        else:
            patch = self._first["patch"] if self._patch is None else self._patch
            patch = legs.on_present_tags(patch, self._first["undo"], found)
        operation = vmss.patch_vmss(self.arm, *self.address, patch, if_match=found.get("etag"))
        self._operations = [operation]
        self._answer = _fingerprint(operation.resource)
        self._note({"kind": "model-posted", "at": self.arm.time()})
        return 0.0 if operation.done else operation.next_poll_seconds()

    def _follow_model(self, _action: Action) -> float:
        """Look how the write does. It is not waited for here, so that one thread can drive many upgrades."""
        operation = self._operations[0]
        if not operation.done:
            operation.poll()
        if not operation.done:
            self._tell({"kind": "polled", "at": self.arm.time()})
            return operation.next_poll_seconds()
        self._operations = []
        if operation.error is not None:
            raise operation.error
        taken = self._as_taken(operation.resource)
        if not taken:
            self._note({"kind": "model-answered", "at": self.arm.time()})
            return 0.0
        self._record({"kind": "model-written", "fingerprint": taken, "request_id": operation.request_id})
        return 0.0

    def _as_taken(self, resource: Json) -> str:
        """The fingerprint of the model as the write's final response shows it, "" where it shows another one."""
        shown = _fingerprint(resource)
        if not shown or not isinstance(resource, Mapping):
            return ""
        leg = self.state.goal
        known = shown in (self._answer, leg.after) or model.outline(resource) == leg.outline
        return shown if known else ""

    # --- requests on instances ---------------------------------------------------------------------------------------

    def _send(self, action: Action) -> float:
        """Send it once. What is not known to have arrived, and what was refused, goes back to the machine."""
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
        """Look how the request does, by one poll."""
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
        """Whether an operation that did not end in time has ended since."""
        stored = self.state.hanging
        assert stored is not None  # noqa: S101  (decided on it)
        if self._hanging is None or self._hanging.request_id != stored["request_id"]:
            self._hanging = Operation.from_dict(self.arm, stored)
        operation = self._hanging  # the same at each poll: it looks at the instances when its status is gone for good
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
        """Whether automatic repairs are running, so that it is ours to suspend them. The entry comes before the act."""
        ours = not self.state.flexible and guards.repairs_on(self.arm, self.address)
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
        """Protect a batch from scale-in before it is sent. Who was protected before is not ours to set free."""
        ours = guards.unprotected(self.arm, self.address, action.ids)
        self._record({"kind": "shielded", "ids": ours, "batch": list(action.ids)})
        writes = guards.protect(self.arm, self.address, ours, True)
        self._protecting, self._protection_error = writes.operations, writes.error
        return 0.0

    def _unprotect(self, action: Action) -> float:
        writes = guards.protect(self.arm, self.address, action.ids, False)
        self._protecting, self._protection_error = writes.operations, writes.error
        self._note({"kind": "protection", "protection": "removing", "at": self.arm.time()})
        self._freed(list(writes.unneeded))
        return 0.0

    def _freed(self, ids: list[str]) -> None:
        """Instances that are protected by us no more."""
        if ids:
            self._record({"kind": "freed", "ids": ids})

    def _follow_protection(self, _action: Action) -> float:
        """Look how the writes of protection do."""
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
                self._freed([name])
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
        assert self.gate is not None  # noqa: S101  (no upgrade is gated without one)
        assert self.seen is not None  # noqa: S101  (decided on a snapshot)
        members = [self.seen.members[name] for name in action.ids if name in self.seen.members]
        said, why = health.ask(self.gate, members, self.policy.gate_timeout_seconds)
        self._record({"kind": "gate", "said": said, "reason": why, "ids": list(action.ids)})
        return 0.0

    def _wait(self, action: Action) -> float:
        self._tell(_waiting(action, self.arm.time()))
        return max(0.5, action.seconds)

    def _roll_back(self, action: Action) -> float:
        """What is to be done to undo what was done stands in the journal before any of it is."""
        made = legs.way_back(self.arm, self.state, self._first)
        self._record({"kind": "rollback", "reason": action.reason, **made})
        return 0.0

    def _end(self, action: Action) -> float:
        """Write down how it came out."""
        classes = verdict_classes(self.state, self.seen)
        reasons = {**failure_reasons(self.state, self.seen), **self.state.reasons}
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
        texts = (action.reason, self._away(action, classes), self._deallocated(), self._outstanding())
        reason = "; ".join(filter(None, texts))
        counts = (self.state.settled_batches, took, self._lowest)
        return Verdict(action.outcome, reason, classes, version, *counts, where, failures)

    @staticmethod
    def _away(action: Action, classes: Mapping[str, str]) -> str:
        away = [name for name, kind in classes.items() if kind == "in-flight"]
        return f"still in flight: {markup.listing(away)}" if away and action.outcome != "succeeded" else ""

    def _deallocated(self) -> str:
        """The instances that wait for a start, as far as the newest snapshot shows."""
        members = {} if self.seen is None else self.seen.members
        ids = [name for name in left_deallocated(self.state) if name not in members or members[name].is_stopped]
        return f"deallocated, and started by resume: {markup.listing(sorted(ids, key=natural))}" if ids else ""

    def _outstanding(self) -> str:
        """What guards could not be removed, and how they can be."""
        texts, why = [], self.state.outstanding
        if self.state.guarded:
            reason = f" ({why[why.index('resume-repairs') + 1]})" if "resume-repairs" in why else ""
            texts.append(f"automatic repairs are still suspended{reason}; clean_up(auth, journal) resumes them")
        if self.state.shielded:
            members = self.state.shielded if self.seen is None else self.seen.members
            ids = markup.listing([name for name in self.state.shielded if name in members])
            texts.append(
                f"still protected from scale-in: {ids}; resume, or clean_up(auth, journal) later, takes it back"
            )
        return "; ".join(texts)

    def release(self) -> None:
        """Remove the guards after an exception that ended the run, as far as that is possible now."""
        try:
            if self.state.guarded:
                self._resume_repairs(Action("resume-repairs"))
            if self.state.shielded:
                guards.unprotect(self.arm, self.address, self.state.shielded, self._freed)
                self._record({"kind": "shielded", "ids": [], "batch": []})
        except Exception as error:
            log.warning("guards are left behind: %s; clean_up(auth, journal) removes them", error)

    @conceal_locals
    def end(self) -> None:
        """End at the next safe point: what was deallocated is started, and guards are removed. `resume` goes on."""
        self.should_stop = _always
        while (wait := self.step()) is not None:
            self.arm.pause(wait)

    # --- writing down and telling ------------------------------------------------------------------------------------

    def _record(self, entry: Entry) -> None:
        """An entry in the journal, then in the state, then to whoever watches."""
        whole = {"kind": entry["kind"], "at": self.arm.time(), **entry}
        self._done_at = whole["at"]
        self._write(whole)
        if whole["kind"] not in _QUIET:
            self._tell(whole)

    def _write(self, entry: dict[str, Any]) -> None:
        self.journal.append(entry)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        """What only this process needs to know."""
        self.state = machine.apply(self.state, entry)
        self._lowest = machine.least(self._lowest, self.state.lowest)

    def _tell(self, entry: Mapping[str, Any], seen: Snapshot | None = None) -> None:
        """Tell it to whoever watches. "begin", "seen", "polled" and "waiting" are told only, and in no journal."""
        self._done_at = self.arm.time()
        if self.on_event is _silent:
            return
        self.seen = seen or self.seen
        where = (self.state.phase, self.state, self.state.took, self.seen, self._lowest)
        now = events.Now(self._first, self.policy, *where, entry["at"], self.arm.is_emulator)
        try:
            self.on_event(events.event(entry, now))
        except Exception:
            log.exception("on_event failed at %r; the upgrade goes on", entry["kind"])

    def _greet(self) -> None:
        """What is about to be done, or gone on with, before the first step."""
        if self._greeted:
            return
        self._greeted = True
        kind = "begin" if len(self.journal.entries) == 1 else "resumed"
        texts = {key: self._first[key] for key in ("scale_set", "version", "changes", "warnings", "takes_back")}
        self._tell({"kind": kind, "at": self.arm.time(), "emulator": self.arm.is_emulator, **texts})


_QUIET = frozenset(["resumed", "ending", "freed"])
_LEADS = frozenset(["look", "intend", "intend-model"])  # actions that are nothing without the one that follows
_ACTS: Mapping[str, Callable[[Runner, Action], float]] = {
    "look": Runner._look,
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
    """What Azure said of an operation that failed, and whether it left its instances as they were."""
    error = operation.error
    if error is None:
        return {"error": ""}
    return {
        "error": str(error),
        "code": error.code,
        "returned": operation.status == wire.CANCELED or wire.is_retryable(error.code),
    }


def trouble_of(error: AzurermLiteError) -> dict[str, Any]:
    """The cause of an error, and when to come back, as an entry of the journal has it."""
    return {"cause": _cause(error), "reason": str(error), "retry_after": getattr(error, "retry_after", None)}


def _cause(error: AzurermLiteError) -> str:
    if isinstance(error, OutcomeUnknown):
        return "lost"
    if isinstance(error, guards.InMotion | BusyError):
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
