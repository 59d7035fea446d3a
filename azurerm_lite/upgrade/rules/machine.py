"""Every decision of an upgrade: `decide` says what is done next, `apply` takes the state one entry further. PURE.

No function here acts, and the runner decides nothing. A request on instances is decided on a snapshot that was begun
after the request before it had ended or was given back, and is sent within `FRESH_SECONDS` of the snapshot's end.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from . import polling, selection
from .entries import BUSY_SECONDS, LOOK_SECONDS, PASSING, apply, fold, least
from .policy import Policy
from .selection import Health, health_of, reached
from .snapshot import InstanceStatus, Snapshot
from .state import ORDER, Batch, Cause, Entry, Leg, Outcome, Request, State

Kind = Literal[
    "look",
    "write-model",
    "follow-model",
    "check-repairs",
    "suspend-repairs",
    "resume-repairs",
    "protect",
    "follow-protection",
    "unprotect",
    "send",
    "follow",
    "follow-hanging",
    "gate",
    "wait",
    "roll-back",
    "end",
    # Those that only record what follows from what is known.
    "intend-model",
    "adopt-model",
    "intend",
    "give-up",
    "take-for-sent",
    "end-request",
    "note-health",
    "settle",
    "checkpoint",
    "next-leg",
    "note-gap",
    "note-wait",
    "begin-ending",
]
RECORDING: frozenset[Kind] = frozenset(get_args(Kind)[get_args(Kind).index("intend-model") :])

LATE_SECONDS = 60.0  # a step that comes so much later than planned starts observations anew
FRESH_SECONDS = 30.0  # how old a snapshot may be when a request is decided on it and sent
LAG_SECONDS = 30.0  # how much older than the request a list of instances may be
QUIET_SECONDS = 60.0  # after so long without a change of its instances a request that nobody can follow has ended
HEALTH_SECONDS, FLOOR_SECONDS = 10.0, 15.0  # between two looks
START_SECONDS = 60.0  # after a start that failed, before the next one
MOST_UNSENT = 2000  # requests in a row that were not sent; one that was stale or not active counts for 100
MOST_LOOKS = 20  # in a row, without a wait or a request between them
MOST_GAPS = 50  # steps that came late, since a request was sent or a batch was settled
MOST_PROTECTIONS = 5  # batches in a row that were protected and could not be sent
MOST_STARTS = 5  # of the instances of a batch that were deallocated: Azure may have no room for them at once
MOST_RELAPSES = 5  # of a batch: its instances were available and are not any more
DRIFTED = "somebody changed the model while the upgrade ran"


_NOTHING: Entry = MappingProxyType({})


class Action(NamedTuple):
    """What is done next. `entry`: what is recorded for it; `seconds`: how long it is left alone after it.

    A wait has a `cause`, a `deadline` (None where it ends by itself) and a `reason` in words.
    """

    kind: Kind
    entry: Entry = _NOTHING
    ids: tuple[str, ...] = ()
    request: str = ""
    seconds: float = 0.0
    cause: str = ""
    deadline: float | None = None
    reason: str = ""
    outcome: Outcome = "paused"


# --- what to do now ---------------------------------------------------------------------------------------------------


def decide(state: State, snapshot: Snapshot | None, now: float) -> Action:
    """What is done next; `end` again and again once it has ended."""
    if state.verdict is not None:
        return Action("end")
    if state.gaps >= MOST_GAPS and state.ending is None:
        return _end(state, "paused", "stale", "steps came later than planned, again and again: something holds them up")
    if state.due is not None and now > state.due + LATE_SECONDS and state.gaps < MOST_GAPS:
        return Action("note-gap", {"kind": "gap", "seconds": now - state.due})
    if state.due is not None and now < state.stepped - 1.0:  # the clock was put back
        return Action("note-gap", {"kind": "gap", "seconds": now - state.stepped})
    if state.ending is not None:
        return _finish(state, now)
    if state.stopping and not _must_start(state):
        return _cancel(state, snapshot)
    if state.looks >= MOST_LOOKS:
        return _end(
            state, "paused", "stale", "what was seen was too old to act on, again and again: lists take too long"
        )
    for rule in (_about_wait, _about_guards, _about_model, _about_batch):
        action = rule(state, snapshot, now)
        if action is not None:
            return action
    return _about_next(state, snapshot, now)


# --- ends and waits ---------------------------------------------------------------------------------------------------


def _must_start(state: State) -> bool:
    """Whether instances of the batch are deallocated by us: no safe point, until they are being started."""
    batch = state.batch
    if batch is None:
        return False
    if batch.request == "deallocate" and batch.status == "lost":
        return True  # perhaps: the instances will show it
    # A start whose answer was lost may be somebody else's change of the instance, until it is over.
    is_followed = batch.request == "start" and batch.status == "sent" and batch.followed
    being_started = batch.request_ids if is_followed else ()
    return bool(state.deallocated.intersection(batch.ids).difference(being_started))


def _cancel(state: State, snapshot: Snapshot | None) -> Action:
    """Stop as somebody asked: what was intended is given up, what Azure works on goes on."""
    batch = state.batch
    if batch is not None and batch.status == "intended":
        return _give_up(batch, "stop", "asked to stop")
    looked = snapshot is not None and batch is not None and snapshot.at >= (batch.ended or 0.0)
    if batch is not None and batch.status == "ended" and not looked and state.wait is None:
        return Action("look", request="instances")  # how its instances came out, as far as Azure shows it
    return _end(state, "cancelled", "stop", "stopped on request; resume goes on with it")


def _end(state: State, outcome: Outcome, cause: str, reason: str) -> Action:
    """End, or begin to: what a rule stopped is rolled back where the policy says so, and guards are removed first."""
    written = state.model_written and state.policy.rollback_on_failure and not state.takes_back
    if outcome == "stopped" and state.direction == "back":
        outcome = "rollback-failed"
    elif outcome == "stopped" and written:
        if cause != "drift":
            return Action("roll-back", reason=reason, cause=cause)
        outcome, reason = "rollback-failed", f"{reason}; not taken back: {DRIFTED}"
    if state.stopped_for and outcome in ("rolled-back", "rollback-failed"):
        reason = "; ".join(filter(None, (state.stopped_for, reason)))
    elif state.stopped_for:
        reason = f"{reason} (in the rollback after: {state.stopped_for})"
    if state.guarded or state.shielded:
        entry = {"kind": "ending", "outcome": outcome, "cause": cause, "reason": reason}
        return Action("begin-ending", entry, outcome=outcome, reason=reason, cause=cause)
    return Action("end", outcome=outcome, cause=cause, reason=reason)


def _finish(state: State, now: float) -> Action:
    """Remove the guards, then end."""
    ending = state.ending
    assert ending is not None  # noqa: S101  (asked by decide)
    wait = state.wait
    if wait is not None and wait.of in ("resume-repairs", "unprotect", "follow-protection") and now < wait.until:
        return Action("wait", seconds=wait.until - now, cause=wait.cause, deadline=wait.until, reason=wait.reason)
    pending = state.protection in ("writing", "removing")
    if pending and now <= _protected_by(state):
        return Action("follow-protection", deadline=_protected_by(state))
    in_flight = state.batch is not None and state.batch.status in ("sent", "lost")
    if state.shielded and not pending and not in_flight and "unprotect" not in state.outstanding:
        return Action("unprotect", ids=state.shielded)
    if state.guarded and "resume-repairs" not in state.outstanding:
        return Action("resume-repairs")
    return Action("end", outcome=ending.outcome, cause=ending.cause, reason=ending.reason)


_FAMILY: Mapping[str, str] = dict.fromkeys(("floor", "unhealthy", "unknown-health", "others"), "health")


def limit_of(policy: Policy, cause: str) -> float:
    """How many seconds of observed time something may be waited for."""
    if cause in ("outage", "implausible", "stale", "lost-answer"):
        return policy.outage_timeout_seconds
    if cause == "throttled":
        return policy.throttle_timeout_seconds
    if cause in ("busy", "others", "protection", "model"):
        return policy.busy_timeout_seconds
    return 0.0 if cause == "refused" else policy.floor_timeout_seconds


def _limited(
    state: State, now: float, cause: Cause, reason: str, seconds: float, outcome: Outcome = "paused"
) -> Action:
    """Wait for something that may pass; after its limit the run pauses, or stops where a rule says so."""
    wait = state.wait
    if wait is None or wait.cause != cause:
        same = wait is not None and _FAMILY.get(wait.cause, wait.cause) == _FAMILY.get(cause, cause)
        since = wait.since if wait is not None and same else now
        return Action("note-wait", {"kind": "stuck", "since": since, "cause": cause, "reason": reason}, cause=cause)
    limit = limit_of(state.policy, cause)
    if now >= wait.since + limit:
        return _end(state, outcome, cause, f"{reason}, for {limit:g} s")
    left = wait.since + limit - now
    return Action("wait", seconds=min(seconds, left), cause=cause, deadline=wait.since + limit, reason=reason)


def _about_wait(state: State, _snapshot: Snapshot | None, now: float) -> Action | None:
    """What Azure has refused for now is not tried again before its time, and not for ever."""
    wait = state.wait
    if wait is None or not wait.of:
        return None
    if wait.cause == "refused":
        return _end(state, "paused", "refused", wait.reason)
    limit = limit_of(state.policy, wait.cause)
    deadline = wait.since + limit
    if now >= deadline or wait.until > deadline:
        back = f"; come back in {wait.until - now:.0f} s" if wait.until > now else ""
        return _end(state, "paused", wait.cause, f"{_WORDS[wait.cause]} for {limit:g} s at most: {wait.reason}{back}")
    if now < wait.until:
        seconds = wait.until - now
        return Action("wait", seconds=seconds, cause=wait.cause, deadline=deadline, reason=wait.reason)
    if state.unsent >= MOST_UNSENT:
        return _end(state, "paused", "stale", f"no request could be sent, again and again: {wait.reason}")
    return None


_WORDS: Mapping[str, str] = {
    "outage": "Azure has given no answer,",
    "throttled": "Azure has refused for too many requests,",
    "busy": "another operation has held the scale set,",
    "inactive": "Azure has called instances not active,",
    "model": "others have written the model at the same time,",
    "stale": "what was seen was too old to act on,",
}


# --- guards -----------------------------------------------------------------------------------------------------------


def _about_guards(state: State, _snapshot: Snapshot | None, now: float) -> Action | None:
    """Guards come before what they guard; what is not needed any more, or not known to be in force, is removed."""
    if state.protection in ("writing", "removing"):
        if now > _protected_by(state):
            return _end(state, "paused", "operation", "the writes of protection did not end in time")
        return Action("follow-protection", deadline=_protected_by(state))
    if state.protection == "unneeded":
        return Action("unprotect", ids=state.shielded)
    if state.repairs == "unknown":
        return Action("check-repairs")
    return Action("suspend-repairs") if state.repairs == "suspending" else None


def _protected_by(state: State) -> float:
    """Until when writes of protection may take."""
    return state.protected_at + state.policy.operation_timeout_seconds


# --- looking ----------------------------------------------------------------------------------------------------------


def _look(state: State, snapshot: Snapshot | None, now: float, *, whole: bool = True) -> Action | None:
    """A look, where what is known is no ground for anything; None where it is. `whole`: at the model too."""
    if snapshot is None or state.stale or (whole and snapshot.model is None):
        return Action("look", request="" if whole else "instances")
    if state.doubted:
        names = ", ".join(sorted(state.doubted)[:10])
        return _limited(state, now, "implausible", f"the list of instances is to be read again ({names})", LOOK_SECONDS)
    return None


def _fresh(snapshot: Snapshot, now: float) -> Action | None:
    """A look, where a request that is decided now would be decided on too old a snapshot."""
    return Action("look") if now > snapshot.ended_at + FRESH_SECONDS else None


def seen_entry(state: State, snapshot: Snapshot) -> dict[str, Any]:
    """What a snapshot changes in the state: who was listed, and what of it is to be doubted until it is seen twice."""
    names = frozenset(snapshot.members)
    again = [
        name
        for name, kind in state.classes.items()
        if kind in ("updated", "rolled-back")
        and name in names
        and not selection.has_image(state.leg_for(name), snapshot.members[name])
    ]
    doubtful = sorted((state.listed - names) | frozenset(again))
    entry = {"kind": "seen", "at": snapshot.at, "ids": names, "doubtful": doubtful, "reports": snapshot.reports}
    return {**entry, "failed": _failed_unseen(state, snapshot)} if state.absent else entry


def _failed_unseen(state: State, snapshot: Snapshot) -> dict[str, str]:
    """Whose upgrade has failed while no list had them, and why: a second one to the same model is not sent."""
    names = [name for name in state.absent if name in snapshot.members and state.sends.get(name)]
    failed = [snapshot.members[name] for name in names if snapshot.members[name].state == "Failed"]
    return {one.instance_id: one.trouble or "it was not listed after its upgrade, and is Failed" for one in failed}


# --- the model --------------------------------------------------------------------------------------------------------


def _about_model(state: State, snapshot: Snapshot | None, now: float) -> Action | None:
    """Write the change, unless it is there; what is there instead of it ends the run."""
    if state.model == "written":
        return None
    if state.model == "sent":
        if now > state.model_since + state.policy.operation_timeout_seconds:
            return _end(
                state, "paused", "operation", "the write of the model did not end in time; it may still be running"
            )
        return Action("follow-model", deadline=state.model_since + state.policy.operation_timeout_seconds)
    if (take_snapshot := _look(state, snapshot, now)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (asked by _look)
    assert snapshot.model is not None  # noqa: S101
    leg, shown = state.goal, snapshot.model
    before = leg.before or state.fingerprint
    if _is_written(state, leg, before, snapshot):
        return Action("adopt-model", {"kind": "model-written", "fingerprint": shown.fingerprint})
    if state.model == "answered" or shown.fingerprint != before:
        return _end(state, "stopped", "drift", "the model has changed since it was planned: plan again")
    if state.withheld:
        return _end(state, "stopped", "secrets", "the change has secrets, which no journal keeps: plan again")
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    if state.model == "unwritten":
        return Action("intend-model", {"kind": "model-intent", "outline": leg.outline})
    return Action("write-model")


def _is_written(state: State, leg: Leg, before: str, snapshot: Snapshot) -> bool:
    """Whether the model shows the change: as it is wanted, or as Azure completes what was sent."""
    shown = snapshot.model
    assert shown is not None  # noqa: S101  (asked by _look)
    if leg.after == before:  # the change shows in no fingerprint: capacity, tags
        return shown.fingerprint == before and (state.model == "answered" or (shown.shows and not leg.hidden))
    sent = state.model in ("intended", "answered")
    return shown.fingerprint == leg.after or (sent and shown.fingerprint != before and shown.outline == leg.outline)


def _drift(state: State, snapshot: Snapshot) -> bool:
    """Whether the model is another one than instances are brought to."""
    return snapshot.model is not None and snapshot.model.fingerprint != state.fingerprint


# --- a batch ----------------------------------------------------------------------------------------------------------


def _about_batch(state: State, snapshot: Snapshot | None, now: float) -> Action | None:
    batch = state.batch
    if batch is None:
        return None
    if batch.status == "sent" and batch.followed:
        return _follow(state, batch, now)
    if batch.status == "intended":
        if snapshot is None or state.stale or now > snapshot.ended_at + FRESH_SECONDS:
            return _give_up(batch, "stale", "what was seen is too old by now")
        return Action("send", ids=batch.request_ids, request=batch.request)
    if (take_snapshot := _look(state, snapshot, now, whole=len(state.stages) > 1)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (asked by _look)
    if batch.status == "lost":
        return _about_lost(state, batch, snapshot, now)
    if batch.status == "sent":
        return _watch(state, batch, snapshot, now)
    return _about_ended(state, batch, snapshot, now)


def _give_up(batch: Batch, cause: str, reason: str) -> Action:
    entry = {"kind": "unposted", "ids": list(batch.request_ids), "reason": reason, "cause": cause}
    return Action("give-up", entry, ids=batch.request_ids, cause=cause, reason=reason)


def _follow(state: State, batch: Batch, now: float) -> Action:
    """Look how the request does, until it has taken too long."""
    assert batch.sent is not None  # noqa: S101  (set when it was sent)
    age, limit = now - batch.sent, state.policy.operation_timeout_seconds
    if age > limit:
        return _end_request(batch, f"the operation did not end within {age:.0f} s", overdue=True)
    took = state.took if len(state.stages) == 1 else ()
    return Action("follow", seconds=polling.next_gap(age, took), cause="operation", deadline=batch.sent + limit)


def _end_request(batch: Batch, error: str = "", **facts: Any) -> Action:
    return Action("end-request", {"kind": "ended", "error": error, "request": batch.request, **facts})


def _signs(batch: Batch, snapshot: Snapshot, leg: Leg) -> tuple[str, ...]:
    """Who shows that a request has reached Azure: who is being changed, or is where the request brings it."""
    pairs = zip(batch.ids, batch.vm_ids, strict=True)
    there = {one: snapshot.members[one] for one, vm in pairs if _is_same(snapshot.members.get(one), vm)}
    return tuple(name for name in batch.request_ids if name in there and _shows(batch, there[name], leg))


def _is_same(member: InstanceStatus | None, vm_id: str) -> bool:
    return member is not None and not (vm_id and member.vm_id and member.vm_id != vm_id)


def _shows(batch: Batch, member: InstanceStatus, leg: Leg) -> bool:
    if member.state == "Updating" or (member.state == "Failed" and member.instance_id not in batch.failed):
        return True
    if batch.request == "deallocate":
        return member.power == "deallocated" and member.instance_id not in batch.stopped
    if batch.request == "start":
        return member.power in ("running", "starting")
    return reached(leg, member) if batch.request == "reimage" else member.latest


def _about_lost(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """Nobody knows whether the request arrived: the instances say so, after as long as a list may be old."""
    if _signs(batch, snapshot, state.goal):
        entry = {"kind": "posted", "operation": None, "found_again": True, "request": batch.request}
        return Action("take-for-sent", entry, ids=batch.request_ids)
    assert batch.sent is not None  # noqa: S101  (set when it was lost)
    if now < batch.sent + LAG_SECONDS:
        reason, deadline = "no instance shows yet whether the request arrived", batch.sent + LAG_SECONDS
        return Action("wait", seconds=LOOK_SECONDS, cause="lost-answer", deadline=deadline, reason=reason)
    return _give_up(batch, "lost", "its answer was lost, and no instance shows it")


def _watch(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """A request without a handle is over when none of its instances is being changed any more."""
    assert batch.sent is not None  # noqa: S101  (set when it was found)
    there = [snapshot.members[name] for name in batch.request_ids if name in snapshot.members]
    deadline = batch.sent + state.policy.operation_timeout_seconds
    moving = [member.instance_id for member in there if member.state == "Updating"]
    if now > deadline and moving:  # by this request, or by somebody else: nobody knows
        reason = f"{', '.join(moving[:10])} being changed for {now - batch.sent:.0f} s"
        return _end(state, "paused", "operation", reason)
    quiet, shown = now >= batch.sent + QUIET_SECONDS, all(_shows(batch, member, state.goal) for member in there)
    if moving or not (quiet or shown):
        reason = f"Azure works on {', '.join(moving[:10]) or 'the batch'}"
        return Action("wait", seconds=HEALTH_SECONDS, cause="operation", deadline=deadline, reason=reason)
    failed = [one for one in there if one.state == "Failed" and one.instance_id not in batch.failed]
    error = "; ".join(one.trouble or "Failed" for one in failed) if len(state.stages) > 1 else ""
    return _end_request(batch, error, returned=not (batch.request == "start" and shown))


def _about_ended(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """The last request is through: the next one that the instances need, or wait for health, bake, gate and settle."""
    if snapshot.model is None and not _all_reached(state, batch, snapshot):
        return Action("look")  # by the model of somebody else, perhaps
    drifted = _drift(state, snapshot)
    if len(state.stages) > 1:
        health = health_of(snapshot, state.broken)
        request, ids = next_request(state, batch, snapshot, drifted=drifted)
        if ids and state.hanging is not None:
            request, ids = next_request(state, batch, snapshot, drifted=True)
            if not (ids and _has_hung(state, now)):
                return _hang(state, now)
        if ids and request in batch.done and now < batch.watched + START_SECONDS:
            deadline, reason = batch.watched + START_SECONDS, f"to be started again: {', '.join(ids[:10])}"
            return Action("wait", seconds=deadline - now, cause="operation", deadline=deadline, reason=reason)
        if ids:
            return _next_stage(state, snapshot, health, now, request, ids)
        if parked := _parked(state, batch, snapshot):
            reason = f"deallocated, and being changed by others: {', '.join(parked[:10])}"
            return _limited(state, now, "others", reason, FLOOR_SECONDS)
    if drifted:
        return _end(state, "stopped", "drift", DRIFTED)
    return _about_health(state, batch, snapshot, now)


def _parked(state: State, batch: Batch, snapshot: Snapshot) -> list[str]:
    """Who of a batch was deallocated by us, and cannot be started while others change it."""
    names = [one for one in batch.ids if one in state.deallocated and one in snapshot.members]
    return [one for one in names if snapshot.members[one].state in selection.MOVING]


def _all_reached(state: State, batch: Batch, snapshot: Snapshot) -> bool:
    """Whether all of a batch that are there are where they were to come, or on their way."""
    there = [snapshot.members[one] for one in batch.ids if one in snapshot.members]
    return all(reached(state.goal, member) or member.state in selection.MOVING for member in there)


def next_request(state: State, batch: Batch, snapshot: Snapshot, *, drifted: bool) -> tuple[Request, tuple[str, ...]]:
    """Which request the instances of a batch need next, and which of them do; "upgrade" and () for none.

    `drifted`: after a foreign write of the model nothing is begun, but what was deallocated is started.
    """
    pairs = zip(batch.ids, batch.vm_ids, strict=True)
    there = [snapshot.members[one] for one, vm in pairs if _is_same(snapshot.members.get(one), vm)]
    for request in ORDER:
        if batch.done.count(request) >= (MOST_STARTS if request == "start" else 1) or (drifted and request != "start"):
            continue
        ids = tuple(member.instance_id for member in there if needs_request(state, member, request))
        if ids:
            return request, ids
    return "upgrade", ()


def needs_request(state: State, member: InstanceStatus, request: Request) -> bool:
    """Whether an instance needs this request, by what it shows."""
    if member.state in selection.MOVING or (member.protected and request != "start"):
        return False
    if request == "deallocate":
        other_size = bool(state.size) and member.size.lower() != state.size.lower()
        return not state.hosted and other_size and member.power != "deallocated"
    if request == "upgrade":
        return not member.latest
    if request == "start":
        return selection.is_parked(state, member)
    if member.state == "Failed" or not member.latest or not state.anew:
        return False
    return member.instance_id not in state.reimaged if state.anew == "always" else not reached(state.goal, member)


def _next_stage(
    state: State, snapshot: Snapshot, health: Health, now: float, request: Request, ids: tuple[str, ...]
) -> Action:
    """Intend the next request of a batch, once the floor allows it and the snapshot is fresh.

    As much of the batch goes as can be spared. The rest leaves the batch and is chosen again after it.
    """
    part = ids if request == "start" else selection.spared(state, snapshot, health, ids)
    if not part:
        return _limited(state, now, "floor", _short_of(state, snapshot, health), FLOOR_SECONDS)
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    entry = {"kind": "stage", "number": _number(state, request), "name": request, "ids": list(part)}
    if state.batch is not None and part != ids:
        entry["batch"] = [name for name in state.batch.ids if name in part or name not in ids]
    return Action("intend", {**entry, **_facts(state, snapshot, health, part)}, ids=part, request=request)


def _number(state: State, request: Request) -> int:
    return state.stages.index(request) if request in state.stages else len(state.stages)


def _facts(state: State, snapshot: Snapshot, health: Health, ids: Sequence[str]) -> dict[str, Any]:
    """Who of these was not available, did not run, had failed, when a request on them was intended.

    What we have deallocated was available before that.
    """
    there = [snapshot.members[name] for name in ids if name in snapshot.members]
    parked = [member.instance_id for member in there if selection.is_parked(state, member)]
    return {
        "unavailable": [name for name in ids if name in health.unavailable and name not in parked],
        "stopped": [member.instance_id for member in there if member.is_stopped and member.instance_id not in parked],
        "failed": [member.instance_id for member in there if member.state == "Failed"],
    }


# --- health, bake, gate -----------------------------------------------------------------------------------------------


def _about_health(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    classes = {
        one: class_of(state, batch, snapshot, one, vm, now) for one, vm in zip(batch.ids, batch.vm_ids, strict=True)
    }
    waiting = tuple(one for one, kind in classes.items() if not kind)
    good = tuple(one for one, kind in classes.items() if kind in ("updated", "rolled-back"))
    if waiting and batch.fit_since is not None:
        return Action("note-health", {"kind": "relapsed", "ids": list(waiting)}, ids=waiting)
    if waiting and _is_silent(snapshot):
        reason = "no instance reports its health"
        return _limited(state, now, "silence", reason, FLOOR_SECONDS)
    if waiting:
        deadline = batch.watched + max(_patience(state, snapshot.members.get(one)) for one in waiting)
        reason = f"{len(waiting)} not healthy yet"
        return Action("wait", seconds=HEALTH_SECONDS, cause="health", deadline=deadline, reason=reason)
    spent = not _within_budget(state, classes)
    if good and batch.fit_since is None:
        return Action("note-health", {"kind": "fit", "ids": list(good), "of": len(batch.ids)}, ids=good)
    bake = state.policy.canary_bake_seconds if batch.canary else state.policy.bake_seconds
    if good and batch.fit_since is not None and now < batch.fit_since + bake and not spent:
        end = batch.fit_since + bake
        return Action("wait", seconds=min(30.0, end - now), cause="bake", deadline=end, reason="baking")
    if state.gated and good and not batch.gate and not spent:
        return Action("gate", ids=good)
    refused = good if batch.gate == "fail" else ()
    classes |= dict.fromkeys(refused, "failed")
    reasons = {one: _why(batch, snapshot, one) for one, kind in classes.items() if kind == "failed"}
    reasons |= dict.fromkeys(refused, "the gate refused it")
    absent = [one for one in batch.ids if one not in snapshot.members]
    entry = {"kind": "settled", "classes": classes, "reasons": reasons, "absent": absent}
    return Action("settle", entry, ids=batch.ids)


def _is_silent(snapshot: Snapshot) -> bool:
    """Whether a health source reports of no instance at all: an outage of its own, and no instance's failure."""
    members = snapshot.members.values()
    expected = snapshot.source == "required" or (snapshot.source == "kept" and snapshot.reports)
    return expected and not any(member.health for member in members)


def _within_budget(state: State, classes: Mapping[str, str]) -> bool:
    return len(_failures(state, {**state.classes, **classes})) <= state.policy.failure_budget


def _failures(state: State, classes: Mapping[str, str]) -> list[str]:
    """Who has failed by our doing; in a rollback those that had begun it do not count."""
    return [one for one, kind in classes.items() if kind == "failed" and one not in state.broken]


def _why(batch: Batch, snapshot: Snapshot, name: str) -> str:
    member = snapshot.members.get(name)
    trouble = member.trouble if member is not None else ""
    late = "it was available and fell back again and again" if batch.relapses else "it was not healthy in time"
    return "; ".join(filter(None, (trouble, batch.error))) or late


def _patience(state: State, member: InstanceStatus | None) -> float:
    """How long an instance may take until it is available: as long as its model grants, where it says so."""
    patience = state.policy.health_timeout_seconds
    return max(patience, state.grace) if member is not None and member.health == "initializing" else patience


def class_of(state: State, batch: Batch, snapshot: Snapshot, name: str, vm_id: str, now: float) -> str:
    """How an instance of a batch came out, "" while that is open."""
    member = snapshot.members.get(name)
    if member is None or not _is_same(member, vm_id) or member.state == "Deleting":
        return "vanished"
    late = now >= batch.watched + _patience(state, member) and not _is_silent(snapshot)
    if not reached(state.goal, member):
        return _not_reached(state, batch, member, late)
    if snapshot.fit(member):
        return "rolled-back" if state.direction == "back" else "updated"
    if name in batch.unavailable:
        return "still-unavailable" if late or (name in batch.stopped and member.is_stopped) else ""
    if member.power == "deallocated" and "deallocate" not in batch.done and name not in state.deallocated:
        return "evicted"
    if late or batch.relapses >= MOST_RELAPSES or member.state == "Failed":
        return "failed"
    return "failed" if batch.fit_since is not None and member.health == "unhealthy" else ""


def _not_reached(state: State, batch: Batch, member: InstanceStatus, late: bool) -> str:
    """How an instance came out that is not where it was to come, "" while that is open."""
    moves, name = member.state in ("Updating", "Creating"), member.instance_id
    if moves and not late:
        return ""
    if late and len(state.stages) > 1 and not state.sends.get(name):
        return "unchanged"  # others changed it all the time, and no upgrade of it was sent
    if moves:
        return "failed"
    if member.state == "Failed" and name not in batch.failed:
        return "failed"
    if member.protected and len(state.stages) > 1:
        return "skipped-protected"  # since the batch began: no further request of ours is on it
    if batch.error and "start" in batch.done:
        return "failed"  # before it was evicted, if it is
    if member.state == "Failed" and batch.returned and not batch.followed:
        return "failed"  # Azure was seen to work on it, and nothing says that this had no effect
    if batch.returned or (member.power == "deallocated" and name not in batch.stopped | state.deallocated):
        again = state.sends.get(name, 0) < selection.MOST_SENDS
        return "unchanged" if again else "failed"
    return "failed" if batch.error or late else ""  # where Azure says that all went well, the list may be an old one


# --- the next batch ---------------------------------------------------------------------------------------------------


def _about_next(state: State, snapshot: Snapshot | None, now: float) -> Action:
    if (stop := _spent(state)) is not None:
        return stop
    if (take_snapshot := _look(state, snapshot, now)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (asked by _look)
    if _drift(state, snapshot):
        return _about_foreign_write(state, snapshot, now)
    if (stop := _forbidden(state, snapshot)) is not None:
        return stop
    health = health_of(snapshot, state.broken)
    if why := _too_unhealthy(state, snapshot, health):
        return _limited(state, now, "unhealthy", why, FLOOR_SECONDS, "stopped")
    waiting = selection.candidates(state, snapshot, health)
    coming = _coming(state, snapshot)
    if not waiting and not coming:
        return _about_end(state, snapshot, health, now)
    paused_until = 0.0 if state.closed_at is None else state.closed_at + state.policy.pause_seconds
    if now < paused_until:
        reason = "pause between batches"
        return Action("wait", seconds=paused_until - now, cause="pause", deadline=paused_until, reason=reason)
    if percent := _checkpoint(state, len(waiting)):
        return Action("checkpoint", {"kind": "checkpoint", "percent": percent})
    if state.hanging is not None:
        waiting, coming = [member for member in waiting if selection.is_parked(state, member)], ()
        if not (waiting and _has_hung(state, now)):
            return _hang(state, now)
    return _begin_batch(state, snapshot, health, now, waiting, coming)


def _about_foreign_write(state: State, snapshot: Snapshot, now: float) -> Action:
    """Stop, once what we have deallocated is started again."""
    health = health_of(snapshot, state.broken)
    waiting = selection.candidates(state, snapshot, health)
    parked = [member for member in waiting if selection.is_parked(state, member)]
    return (
        _begin_batch(state, snapshot, health, now, parked, ()) if parked else _end(state, "stopped", "drift", DRIFTED)
    )


def _spent(state: State) -> Action | None:
    """Stop, when more has failed than may, or when a gate has refused."""
    failures = _failures(state, state.classes)
    if len(failures) > state.policy.failure_budget:
        names = ", ".join(failures[:10])
        why = "; ".join(dict.fromkeys(filter(None, (state.reasons.get(one, "") for one in failures))))[:600]
        reason = f"{len(failures)} failed ({names}), more than the budget of {state.policy.failure_budget}"
        return _end(state, "stopped", "budget", f"{reason}: {why}" if why else reason)
    if state.gate_refused:
        return _end(state, "stopped", "gate", f"the gate refused {', '.join(state.gate_refused[:10])}")
    if state.pausing:
        return _end(state, "paused", "checkpoint", f"checkpoint at {state.checkpoint} %: look at it, and resume")
    return None


def _forbidden(state: State, snapshot: Snapshot) -> Action | None:
    """Stop, when an instance is protected or does not run, and the policy does not put up with that."""
    policy, selected = state.policy, selection.choice(state.policy, state.goal)
    if policy.on_protected != "fail" and policy.on_stopped != "fail":
        return None
    open_ = [one for one in snapshot.members.values() if selected(one) and selection.needs_it(state, one)]
    protected = [one.instance_id for one in open_ if one.protected and policy.on_protected == "fail"]
    if protected:
        return _end(state, "stopped", "protected", f"protected from scale-set actions: {', '.join(protected[:10])}")
    still = [member for member in open_ if member.is_stopped and not selection.is_parked(state, member)]
    stopped = [member.instance_id for member in still if policy.on_stopped == "fail"]
    if stopped and state.direction == "forward":
        return _end(state, "stopped", "stopped-instances", f"not running: {', '.join(stopped[:10])}")
    return None


def _too_unhealthy(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why the set is too unhealthy to go on, if it is. A rollback is the cure, so it goes on."""
    if state.direction == "back":
        return ""
    return _unhealthy_upgraded(state, snapshot, health) or _newly_unhealthy(state, snapshot, health)


def _newly_unhealthy(state: State, snapshot: Snapshot, health: Health) -> str:
    """Those that were not available before are known and do not count, nor do those that others are changing."""
    known = ("failed", "still-unavailable")
    counted = [
        one
        for one in snapshot.members
        if one in health.unavailable
        and one not in state.unavailable
        and snapshot.members[one].state not in selection.MOVING
        and not selection.is_parked(state, snapshot.members[one])
        and state.classes.get(one) not in known
    ]
    if 100 * len(counted) <= state.policy.max_unhealthy_instance_percent * len(snapshot.members):
        return ""
    return f"{len(counted)} instances are not healthy ({', '.join(counted[:10])})"


def _unhealthy_upgraded(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why too many of those that were upgraded are not well, if they are: they failed, or turned unhealthy since."""
    most, kinds = state.policy.max_unhealthy_upgraded_instance_percent, ("updated", "failed")
    if most == 100:
        return ""
    upgraded = [one for one, kind in state.classes.items() if kind in kinds and one in snapshot.members]
    bad = [one for one in upgraded if state.classes[one] == "failed" or one in health.unavailable]
    if 100 * len(bad) <= most * len(upgraded):
        return ""
    return f"{len(bad)} of {len(upgraded)} upgraded instances are not healthy ({', '.join(bad[:10])})"


def _coming(state: State, snapshot: Snapshot) -> tuple[str, ...]:
    """Who is being made or changed by others, and may need the upgrade when they are through."""
    selected = selection.choice(state.policy, state.goal)
    moving = [one for one in snapshot.members.values() if one.state in ("Creating", "Updating") and selected(one)]
    still = [(one.instance_id, one._replace(state="")) for one in moving]
    return tuple(name for name, member in still if selection.is_open(state, member))


def _checkpoint(state: State, waiting: int) -> int:
    """The checkpoint that has been reached and not yet paused at; 0 when there is none."""
    if state.direction == "back" or state.takes_back:
        return 0
    settled = len(state.classes)
    share = 100 * settled // max(1, settled + waiting)
    return max((one for one in state.policy.checkpoints if state.checkpoint < one <= share), default=0)


def _hang(state: State, now: float) -> Action:
    """An operation of our own has not ended: nothing is begun beside it, but for the starts of `_has_hung`."""
    reason = "another operation has held the scale set: one of this upgrade that did not end in time"
    waiting = _limited(state, now, "busy", reason, BUSY_SECONDS)
    return waiting._replace(kind="follow-hanging") if waiting.kind == "wait" else waiting


def _has_hung(state: State, now: float) -> bool:
    """Whether an operation of our own was waited for in vain: what we deallocated is started beside it.

    One request of ours is in flight, so a start waits as long as everything else does. After that the run would pause,
    and the instances would stay deallocated; a start takes none out of service, and is no second upgrade.
    """
    wait = state.wait
    return wait is not None and wait.cause == "busy" and now >= wait.since + limit_of(state.policy, "busy")


def _begin_batch(
    state: State,
    snapshot: Snapshot,
    health: Health,
    now: float,
    waiting: Sequence[InstanceStatus],
    coming: Sequence[str],
) -> Action:
    """Intend the next batch, protected where the policy says so; or wait until one can be spared."""
    only = state.shielded_for if state.protection == "on" else None
    ids = selection.first_batch(state, snapshot, health, waiting, only)
    if not ids and only is not None:
        return Action("unprotect", ids=state.shielded)
    if not ids and not waiting:
        names = ", ".join(coming[:10])
        return _limited(state, now, "others", f"{len(coming)} being changed by others ({names})", FLOOR_SECONDS)
    if not ids:
        return _limited(state, now, "floor", _short_of(state, snapshot, health), FLOOR_SECONDS)
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    if state.policy.protect_from_scale_in and only is None:
        if state.protections >= MOST_PROTECTIONS:
            return _limited(state, now, "protection", "what was protected could not be sent", FLOOR_SECONDS)
        return Action("protect", ids=ids)
    return _intend(state, snapshot, health, ids)


def _short_of(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why no further instance can be spared."""
    refused = selection.refused(state, snapshot)
    available, need = len(snapshot.members) - len(health.unavailable | refused), selection.needed(state, snapshot)
    unknown = sorted(health.unavailable - health.free)
    names = f"; of {', '.join(unknown[:10])} nothing shows that they serve" if unknown else ""
    beyond = selection.surplus(state, snapshot)
    inactive = f"; Azure calls each of {', '.join(sorted(refused)[:10])} not an active instance" if refused else ""
    more = f"; the list has {beyond} more than the capacity, which may be gone" if beyond else ""
    text = f"{available} are available, {need} are needed{names}{inactive}{more}"
    return f"no further instance can be spared: the floor would be broken ({text})"


def _intend(state: State, snapshot: Snapshot, health: Health, ids: tuple[str, ...]) -> Action:
    vm_ids = tuple(snapshot.members[one].vm_id for one in ids)
    draft = Batch(ids, vm_ids, 0.0)
    is_start_only = state.hanging is not None or _drift(state, snapshot)
    request, request_ids = next_request(state, draft, snapshot, drifted=is_start_only)
    available = len(snapshot.members) - len(health.unavailable)
    entry = {
        "kind": "intent",
        "ids": list(ids),
        "vm_ids": list(vm_ids),
        "canary": bool(state.policy.canary_instances) and not state.batches and state.direction == "forward",
        "request": request,
        "request_ids": list(request_ids or ids),
        "fit": available,
        "left": available - sum(one not in health.unavailable for one in ids),
        **_facts(state, snapshot, health, ids),
    }
    return Action("intend", entry, ids=ids, request=request)


# --- the end ----------------------------------------------------------------------------------------------------------

_GOOD = ("updated", "rolled-back", "already-current", "still-unavailable", "vanished")


def _about_end(state: State, snapshot: Snapshot, health: Health, now: float) -> Action:
    """Nobody is left: the next leg, or the end, once the last snapshot satisfies the policy."""
    if state.leg + 1 < len(state.legs):
        return Action("next-leg", {"kind": "leg", "number": state.leg + 1})
    if state.direction == "back" or (state.takes_back and _problems(state, snapshot)):
        return _about_return(state, snapshot)
    rejected = [
        one
        for one, count in state.turned_down.items()
        if count >= selection.MOST_REFUSALS and one not in state.classes and one in snapshot.members
    ]
    if rejected:
        return _end(state, "paused", "inactive", f"Azure lists {', '.join(rejected[:10])} and calls them not active")
    fallen = [
        one
        for one, kind in state.classes.items()
        if kind == "updated"
        and one in snapshot.members
        and not selection.has_image(state.leg_for(one), snapshot.members[one])
    ]
    if fallen:
        return _end(state, "paused", "others", f"others have changed what was upgraded: {', '.join(fallen[:10])}")
    if short := _below(state, snapshot, health):
        return _limited(state, now, "floor", short, FLOOR_SECONDS)
    return _end(state, "succeeded", "", "")


def _below(state: State, snapshot: Snapshot, health: Health) -> str:
    """Which floor the set is below, "" for none."""
    missing = {place: -left for place, left in selection.room(state, snapshot, health).items() if left < 0}
    if not missing:
        return ""
    places = ", ".join(f"{place or 'the set'} lacks {count}" for place, count in missing.items())
    return f"all are upgraded, and not enough are healthy: {places}"


def _about_return(state: State, snapshot: Snapshot) -> Action:
    """The end of a rollback: it has succeeded only when each instance is back on the image that it ran."""
    problems = _problems(state, snapshot)
    if state.takes_back:
        return _end(state, "stopped", "rollback", "; ".join(problems))
    outcome: Outcome = "rollback-failed" if problems else "rolled-back"
    return _end(state, outcome, "rollback", "; ".join(problems) or f"taken back: {len(_returning(state))} instances")


def _problems(state: State, snapshot: Snapshot) -> list[str]:
    """What a rollback has not brought back."""
    astray = sorted(one for one in _returning(state) if not _is_back(state, snapshot, one))
    text = f"not on the version that they ran before: {', '.join(astray[:10])}"
    return [*state.unreturnable, *[text] * bool(astray)]


def _returning(state: State) -> frozenset[str]:
    return frozenset().union(*(leg.instances or frozenset() for leg in state.legs))


def _is_back(state: State, snapshot: Snapshot, name: str) -> bool:
    member = snapshot.members.get(name)
    if member is None or state.classes.get(name) == "vanished":
        return True
    return selection.has_image(state.leg_for(name), member) and state.classes.get(name) != "failed"


__all__ = ["PASSING", "RECORDING", "Action", "Kind", "apply", "decide", "fold", "least", "limit_of", "seen_entry"]
