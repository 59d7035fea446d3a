"""Every decision of an upgrade: `decide` returns the next action, `apply` adds one entry to the state. PURE.

No function here acts, and the runner decides nothing. Each request on instances is decided on a new snapshot: it began
after the previous request had ended or had failed, and the request is sent within `FRESH_SECONDS` of its end.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from . import polling, selection
from .entries import BUSY_SECONDS, LOOK_SECONDS, PASSING, apply, fold, least
from .policy import Policy
from .selection import Health, has_reached, health_of
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
    # Kinds that only record a conclusion from the state and the snapshot.
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

LATE_SECONDS = 60.0  # after a step that is later than this, observations start again
FRESH_SECONDS = 30.0  # the greatest age of a snapshot when a request is decided and sent
LAG_SECONDS = 30.0  # a list of instances may show the state of so long ago
QUIET_SECONDS = 60.0  # a request without an operation has ended when its instances did not change for so long
HEALTH_SECONDS, FLOOR_SECONDS = 10.0, 15.0  # between two snapshots
START_SECONDS = 60.0  # between a failed start and the next start
MOST_UNSENT = 2000  # unsent requests in a row; a stale or inactive request counts as 100
MOST_LOOKS = 20  # snapshots in a row, without a wait or a request between them
MOST_GAPS = 50  # late steps since the last request or settled batch
MOST_PROTECTIONS = 5  # protected batches in a row that could not be sent
MOST_STARTS = 5  # start requests for one batch: Azure may lack capacity for its deallocated instances
MOST_RELAPSES = 5  # times that the instances of one batch stopped being available
DRIFTED = "the model was changed while the upgrade ran"


_NOTHING: Entry = MappingProxyType({})


class Action(NamedTuple):
    """The next thing to do. `entry`: the entry to record; `seconds`: the pause before the next decision.

    A wait has a `cause`, a `deadline` (None for no limit) and a `reason` in words.
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
    """Return the next action. After the end of the upgrade it is always `end`."""
    if state.verdict is not None:
        return Action("end")
    if state.gaps >= MOST_GAPS and state.ending is None:
        return _end(
            state, "paused", "stale", "many steps came later than planned: this process is suspended or overloaded"
        )
    if state.due is not None and now > state.due + LATE_SECONDS and state.gaps < MOST_GAPS:
        return Action("note-gap", {"kind": "gap", "seconds": now - state.due})
    if state.due is not None and now < state.stepped - 1.0:  # the clock was put back
        return Action("note-gap", {"kind": "gap", "seconds": now - state.stepped})
    if state.ending is not None:
        return _finish(state, now)
    if state.stopping and not _must_start(state):
        return _cancel(state, snapshot)
    if state.looks >= MOST_LOOKS:
        return _end(state, "paused", "stale", "snapshots were too old to act on: lists take too long")
    for rule in (_about_wait, _about_guards, _about_model, _about_batch):
        action = rule(state, snapshot, now)
        if action is not None:
            return action
    return _about_next(state, snapshot, now)


# --- ends and waits ---------------------------------------------------------------------------------------------------


def _must_start(state: State) -> bool:
    """Whether this upgrade has deallocated instances of the batch and must start them before it stops."""
    batch = state.batch
    if batch is None:
        return False
    if batch.request == "deallocate" and batch.status == "lost":
        return True  # the request may have arrived: the next snapshot shows it
    # After a start without a response, a changing instance may be changed by another client.
    is_followed = batch.request == "start" and batch.status == "sent" and batch.followed
    being_started = batch.request_ids if is_followed else ()
    return bool(state.deallocated.intersection(batch.ids).difference(being_started))


def _cancel(state: State, snapshot: Snapshot | None) -> Action:
    """Stop on request: cancel an intended request, and let a sent request go on in Azure."""
    batch = state.batch
    if batch is not None and batch.status == "intended":
        return _give_up(batch, "stop", "asked to stop")
    looked = snapshot is not None and batch is not None and snapshot.at >= (batch.ended or 0.0)
    if batch is not None and batch.status == "ended" and not looked and state.wait is None:
        return Action("look", request="instances")  # to classify the instances of the batch
    return _end(state, "cancelled", "stop", "stopped on request; resume goes on with it")


def _end(state: State, outcome: Outcome, cause: str, reason: str) -> Action:
    """End the upgrade. A stopped upgrade is rolled back if the policy says so; guards are removed before the end."""
    written = state.model_written and state.policy.rollback_on_failure and not state.takes_back
    if outcome == "stopped" and state.direction == "back":
        outcome = "rollback-failed"
    elif outcome == "stopped" and written:
        if cause != "drift":
            return Action("roll-back", reason=reason, cause=cause)
        outcome, reason = "rollback-failed", f"{reason}; not rolled back: {DRIFTED}"
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
    assert ending is not None  # noqa: S101  (checked by decide)
    wait = state.wait
    if wait is not None and wait.of in ("resume-repairs", "unprotect", "follow-protection") and now < wait.until:
        return Action("wait", seconds=wait.until - now, cause=wait.cause, deadline=wait.until, reason=wait.reason)
    pending = state.protection in ("writing", "removing")
    if pending and now <= _protection_deadline(state):
        return Action("follow-protection", deadline=_protection_deadline(state))
    in_flight = state.batch is not None and state.batch.status in ("sent", "lost")
    if state.shielded and not pending and not in_flight and "unprotect" not in state.outstanding:
        return Action("unprotect", ids=state.shielded)
    if state.guarded and "resume-repairs" not in state.outstanding:
        return Action("resume-repairs")
    return Action("end", outcome=ending.outcome, cause=ending.cause, reason=ending.reason)


_FAMILY: Mapping[str, str] = dict.fromkeys(("floor", "unhealthy", "unknown-health", "others"), "health")


def limit_of(policy: Policy, cause: str) -> float:
    """The longest wait for this cause, in seconds of observed time."""
    if cause in ("outage", "implausible", "stale", "lost-answer"):
        return policy.outage_timeout_seconds
    if cause == "throttled":
        return policy.throttle_timeout_seconds
    if cause in ("busy", "others", "protection", "model"):
        return policy.busy_timeout_seconds
    return 0.0 if cause == "refused" else policy.floor_timeout_seconds


def _wait_or_end(
    state: State, now: float, cause: Cause, reason: str, seconds: float, outcome: Outcome = "paused"
) -> Action:
    """Wait for a condition to pass. After the limit of its cause, end the run with `outcome`."""
    wait = state.wait
    if wait is None or wait.cause != cause:
        same = wait is not None and _FAMILY.get(wait.cause, wait.cause) == _FAMILY.get(cause, cause)
        since = wait.since if wait is not None and same else now
        return Action("note-wait", {"kind": "stuck", "since": since, "cause": cause, "reason": reason}, cause=cause)
    limit = limit_of(state.policy, cause)
    if now >= wait.since + limit:
        return _end(state, outcome, cause, f"{reason}, for {limit:g} s")
    remaining = wait.since + limit - now
    return Action("wait", seconds=min(seconds, remaining), cause=cause, deadline=wait.since + limit, reason=reason)


def _about_wait(state: State, _snapshot: Snapshot | None, now: float) -> Action | None:
    """Wait before the next attempt of a failed request; after the limit, pause the run."""
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
        return _end(state, "paused", "stale", f"no request could be sent after many attempts: {wait.reason}")
    return None


_WORDS: Mapping[str, str] = {
    "outage": "Azure has given no answer,",
    "throttled": "Azure has refused for too many requests,",
    "busy": "another operation has held the scale set,",
    "inactive": "Azure has called instances not active,",
    "model": "other clients have written the model at the same time,",
    "stale": "snapshots have been too old to act on,",
}


# --- guards -----------------------------------------------------------------------------------------------------------


def _about_guards(state: State, _snapshot: Snapshot | None, now: float) -> Action | None:
    """Set guards before the batch that needs them; remove protection that is not needed or not confirmed."""
    if state.protection in ("writing", "removing"):
        if now > _protection_deadline(state):
            return _end(state, "paused", "operation", "the writes of protection did not end in time")
        return Action("follow-protection", deadline=_protection_deadline(state))
    if state.protection == "unneeded":
        return Action("unprotect", ids=state.shielded)
    if state.repairs == "unknown":
        return Action("check-repairs")
    return Action("suspend-repairs") if state.repairs == "suspending" else None


def _protection_deadline(state: State) -> float:
    """The time by which writes of protection must have ended."""
    return state.protected_at + state.policy.operation_timeout_seconds


# --- looking ----------------------------------------------------------------------------------------------------------


def _look(state: State, snapshot: Snapshot | None, now: float, *, whole: bool = True) -> Action | None:
    """A look if there is no current, plausible snapshot, else None. `whole`: the snapshot must have the model too."""
    if snapshot is None or state.stale or (whole and snapshot.model is None):
        return Action("look", request="" if whole else "instances")
    if state.doubted:
        names = ", ".join(sorted(state.doubted)[:10])
        return _wait_or_end(
            state, now, "implausible", f"the list of instances is to be read again ({names})", LOOK_SECONDS
        )
    return None


def _fresh(snapshot: Snapshot, now: float) -> Action | None:
    """A look if the snapshot is too old for deciding on a request, else None."""
    return Action("look") if now > snapshot.ended_at + FRESH_SECONDS else None


def build_snapshot_entry(state: State, snapshot: Snapshot) -> dict[str, Any]:
    """The entry of a snapshot: the listed instances, and the doubtful ones that a second list must confirm."""
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
    """Whose upgrade has failed while no list had them, and why: a second name to the same model is not sent."""
    errors = {name: error for name, error in state.absent.items() if name in snapshot.members and state.sends.get(name)}
    reasons = {name: _why_unseen(state, snapshot.members[name], error) for name, error in errors.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _why_unseen(state: State, instance: InstanceStatus, error: str) -> str:
    """Why the upgrade of an instance has failed that no list had, "" if it has not; `error`: that of its batch.

    A start makes a Failed instance Succeeded, so the error of its batch says more than its state.
    """
    if instance.state == "Failed":
        return instance.trouble or error or "it was not listed after its upgrade, and is Failed"
    leg = state.leg_for(instance.instance_id)
    is_there = has_reached(leg, instance) if leg is state.goal else selection.has_image(leg, instance)
    return "" if is_there else error


# --- the model --------------------------------------------------------------------------------------------------------


def _about_model(state: State, snapshot: Snapshot | None, now: float) -> Action | None:
    """Write the model unless it has the change already. Another change of the model ends the run."""
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
    assert snapshot is not None  # noqa: S101  (checked by _look)
    assert snapshot.model is not None  # noqa: S101
    leg, model = state.goal, snapshot.model
    before = leg.before or state.fingerprint
    if _is_written(state, leg, before, snapshot):
        return Action("adopt-model", {"kind": "model-written", "fingerprint": model.fingerprint})
    if state.model == "answered" or model.fingerprint != before:
        return _end(state, "stopped", "drift", "the model has changed since it was planned: plan again")
    if state.withheld:
        return _end(state, "stopped", "secrets", "the change has secrets, which are not in the journal: plan again")
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    if state.model == "unwritten":
        return Action("intend-model", {"kind": "model-intent", "outline": leg.outline})
    return Action("write-model")


def _is_written(state: State, leg: Leg, before: str, snapshot: Snapshot) -> bool:
    """Whether the model has the change: as planned, or as Azure completed it after the write."""
    model = snapshot.model
    assert model is not None  # noqa: S101  (checked by _look)
    if leg.after == before:  # the fingerprint leaves out capacity and tags
        return model.fingerprint == before and (state.model == "answered" or (model.shows and not leg.hidden))
    sent = state.model in ("intended", "answered")
    return model.fingerprint == leg.after or (sent and model.fingerprint != before and model.outline == leg.outline)


def _has_drifted(state: State, snapshot: Snapshot) -> bool:
    """Whether the model differs from the model of this upgrade."""
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
            return _give_up(batch, "stale", "the snapshot is too old")
        return Action("send", ids=batch.request_ids, request=batch.request)
    if (take_snapshot := _look(state, snapshot, now, whole=len(state.stages) > 1)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (checked by _look)
    if batch.status == "lost":
        return _about_lost(state, batch, snapshot, now)
    if batch.status == "sent":
        return _watch(state, batch, snapshot, now)
    return _about_ended(state, batch, snapshot, now)


def _give_up(batch: Batch, cause: str, reason: str) -> Action:
    entry = {"kind": "unposted", "ids": list(batch.request_ids), "reason": reason, "cause": cause}
    return Action("give-up", entry, ids=batch.request_ids, cause=cause, reason=reason)


def _follow(state: State, batch: Batch, now: float) -> Action:
    """Poll the operation of the request until it ends or is overdue."""
    assert batch.sent is not None  # noqa: S101  (set when it was sent)
    age, limit = now - batch.sent, state.policy.operation_timeout_seconds
    if age > limit:
        return _end_request(batch, f"the operation did not end within {age:.0f} s", overdue=True)
    took = state.took if len(state.stages) == 1 else ()
    return Action("follow", seconds=polling.next_gap(age, took), cause="operation", deadline=batch.sent + limit)


def _end_request(batch: Batch, error: str = "", **facts: Any) -> Action:
    return Action("end-request", {"kind": "ended", "error": error, "request": batch.request, **facts})


def _find_signs(batch: Batch, snapshot: Snapshot, leg: Leg) -> tuple[str, ...]:
    """The instances that show that Azure has the request: they are changing, or have its result."""
    pairs = zip(batch.ids, batch.vm_ids, strict=True)
    instances = {name: snapshot.members[name] for name, vm in pairs if _is_same(snapshot.members.get(name), vm)}
    return tuple(name for name in batch.request_ids if name in instances and _shows(batch, instances[name], leg))


def _is_same(instance: InstanceStatus | None, vm_id: str) -> bool:
    return instance is not None and not (vm_id and instance.vm_id and instance.vm_id != vm_id)


def _shows(batch: Batch, instance: InstanceStatus, leg: Leg) -> bool:
    if instance.state == "Updating" or (instance.state == "Failed" and instance.instance_id not in batch.failed):
        return True
    if batch.request == "deallocate":
        return instance.power == "deallocated" and instance.instance_id not in batch.stopped
    if batch.request == "start":
        return instance.power in ("running", "starting")
    return has_reached(leg, instance) if batch.request == "reimage" else instance.latest


def _about_lost(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """Decide from the instances whether a request without a response reached Azure; wait until lists are current."""
    if _find_signs(batch, snapshot, state.goal):
        entry = {"kind": "posted", "operation": None, "found_again": True, "request": batch.request}
        return Action("take-for-sent", entry, ids=batch.request_ids)
    assert batch.sent is not None  # noqa: S101  (set when it was lost)
    if now < batch.sent + LAG_SECONDS:
        reason, deadline = "no instance shows yet whether the request arrived", batch.sent + LAG_SECONDS
        return Action("wait", seconds=LOOK_SECONDS, cause="lost-answer", deadline=deadline, reason=reason)
    return _give_up(batch, "lost", "the response was lost, and no instance shows the request")


def _watch(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """Wait for a request without an operation URL: it has ended when none of its instances is changing."""
    assert batch.sent is not None  # noqa: S101  (set when it was found)
    instances = [snapshot.members[name] for name in batch.request_ids if name in snapshot.members]
    deadline = batch.sent + state.policy.operation_timeout_seconds
    moving = [instance.instance_id for instance in instances if instance.state == "Updating"]
    if now > deadline and moving:  # by this request or by another client: no list says which
        reason = f"{', '.join(moving[:10])} being changed for {now - batch.sent:.0f} s"
        return _end(state, "paused", "operation", reason)
    quiet, has_arrived = (
        now >= batch.sent + QUIET_SECONDS,
        all(_shows(batch, instance, state.goal) for instance in instances),
    )
    if moving or not (quiet or has_arrived):
        reason = f"Azure works on {', '.join(moving[:10]) or 'the batch'}"
        return Action("wait", seconds=HEALTH_SECONDS, cause="operation", deadline=deadline, reason=reason)
    failed = [
        instance for instance in instances if instance.state == "Failed" and instance.instance_id not in batch.failed
    ]
    error = "; ".join(instance.trouble or "Failed" for instance in failed) if len(state.stages) > 1 else ""
    return _end_request(batch, error, returned=not (batch.request == "start" and has_arrived))


def _about_ended(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    """After a request has ended: send the next request of the batch, or wait for health, bake, gate, and settle."""
    if snapshot.model is None and not _all_reached(state, batch, snapshot):
        return Action("look")  # another client may have changed the model
    drifted = _has_drifted(state, snapshot)
    if len(state.stages) > 1:
        health = health_of(snapshot, state.broken)
        request, ids = next_request(state, batch, snapshot, drifted=drifted or _check_failures(state) is not None)
        if ids and state.hanging is not None:
            request, ids = next_request(state, batch, snapshot, drifted=True)
            if not (ids and _has_hung(state, now)):
                return _hang(state, now)
        if ids and request in batch.done and now < batch.watched + START_SECONDS:
            deadline, reason = batch.watched + START_SECONDS, f"to be started again: {', '.join(ids[:10])}"
            return Action("wait", seconds=deadline - now, cause="operation", deadline=deadline, reason=reason)
        if ids:
            return _next_stage(state, snapshot, health, now, request, ids)
        if parked := _find_parked(state, batch, snapshot):
            reason = f"deallocated, and being changed by others: {', '.join(parked[:10])}"
            return _wait_or_end(state, now, "others", reason, FLOOR_SECONDS)
    if drifted:
        return _end(state, "stopped", "drift", DRIFTED)
    return _about_health(state, batch, snapshot, now)


def _find_parked(state: State, batch: Batch, snapshot: Snapshot) -> list[str]:
    """The instances of the batch that this upgrade deallocated and that other clients are changing."""
    names = [name for name in batch.ids if name in state.deallocated and name in snapshot.members]
    return [name for name in names if snapshot.members[name].state in selection.MOVING]


def _all_reached(state: State, batch: Batch, snapshot: Snapshot) -> bool:
    """Whether every listed instance of the batch has reached the goal or is changing."""
    instances = [snapshot.members[name] for name in batch.ids if name in snapshot.members]
    return all(has_reached(state.goal, instance) or instance.state in selection.MOVING for instance in instances)


def next_request(state: State, batch: Batch, snapshot: Snapshot, *, drifted: bool) -> tuple[Request, tuple[str, ...]]:
    """The next request that a batch needs, and the ids of the instances that need it; "upgrade" and () for none.

    `drifted`: after a foreign write of the model, or at a stop, nothing is begun, but what was deallocated is started.
    """
    pairs = zip(batch.ids, batch.vm_ids, strict=True)
    instances = [snapshot.members[name] for name, vm in pairs if _is_same(snapshot.members.get(name), vm)]
    for request in ORDER:
        if batch.done.count(request) >= (MOST_STARTS if request == "start" else 1) or (drifted and request != "start"):
            continue
        ids = tuple(instance.instance_id for instance in instances if needs_request(state, instance, request))
        if ids:
            return request, ids
    return "upgrade", ()


def needs_request(state: State, instance: InstanceStatus, request: Request) -> bool:
    """Whether an instance needs this request, by what it shows. What has failed is started at most."""
    is_failed = state.classes.get(instance.instance_id) == "failed"
    if instance.state in selection.MOVING or ((instance.protected or is_failed) and request != "start"):
        return False
    if request == "deallocate":
        other_size = bool(state.size) and instance.size.lower() != state.size.lower()
        return not state.hosted and other_size and instance.power != "deallocated"
    if request == "upgrade":
        return not instance.latest
    if request == "start":
        return selection.is_parked(state, instance)
    if instance.state == "Failed" or not instance.latest or not state.anew:
        return False
    return (
        instance.instance_id not in state.reimaged if state.anew == "always" else not has_reached(state.goal, instance)
    )


def _next_stage(
    state: State, snapshot: Snapshot, health: Health, now: float, request: Request, ids: tuple[str, ...]
) -> Action:
    """Intend the next request of a batch, once the floor allows it and the snapshot is fresh.

    If the floor allows only a part of the batch, the other instances leave it and are chosen again later.
    """
    part = ids if request == "start" else selection.choose_spare(state, snapshot, health, ids)
    if not part:
        return _wait_or_end(state, now, "floor", _short_of(state, snapshot, health), FLOOR_SECONDS)
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    entry = {"kind": "stage", "number": _number(state, request), "name": request, "ids": list(part)}
    if state.batch is not None and part != ids:
        entry["batch"] = [name for name in state.batch.ids if name in part or name not in ids]
    return Action("intend", {**entry, **_facts(state, snapshot, health, part)}, ids=part, request=request)


def _number(state: State, request: Request) -> int:
    return state.stages.index(request) if request in state.stages else len(state.stages)


def _facts(state: State, snapshot: Snapshot, health: Health, ids: Sequence[str]) -> dict[str, Any]:
    """The ids of instances that are unavailable, stopped or failed when a request on them is intended.

    Instances that this upgrade deallocated do not count: they were available before.
    """
    instances = [snapshot.members[name] for name in ids if name in snapshot.members]
    parked = [instance.instance_id for instance in instances if selection.is_parked(state, instance)]
    return {
        "unavailable": [name for name in ids if name in health.unavailable and name not in parked],
        "stopped": [
            instance.instance_id for instance in instances if instance.is_stopped and instance.instance_id not in parked
        ],
        "failed": [instance.instance_id for instance in instances if instance.state == "Failed"],
    }


# --- health, bake, gate -----------------------------------------------------------------------------------------------


def _about_health(state: State, batch: Batch, snapshot: Snapshot, now: float) -> Action:
    classes = {
        name: class_of(state, batch, snapshot, name, vm, now) for name, vm in zip(batch.ids, batch.vm_ids, strict=True)
    }
    waiting = tuple(name for name, kind in classes.items() if not kind)
    good = tuple(name for name, kind in classes.items() if kind in ("updated", "rolled-back"))
    if waiting and batch.available_since is not None:
        return Action("note-health", {"kind": "relapsed", "ids": list(waiting)}, ids=waiting)
    if waiting and _is_silent(snapshot):
        reason = "no instance reports its health"
        return _wait_or_end(state, now, "silence", reason, FLOOR_SECONDS)
    if waiting:
        deadline = batch.watched + max(_patience(state, snapshot.members.get(name)) for name in waiting)
        reason = f"{len(waiting)} not healthy yet"
        return Action("wait", seconds=HEALTH_SECONDS, cause="health", deadline=deadline, reason=reason)
    spent = not _within_budget(state, classes)
    if good and batch.available_since is None:
        return Action("note-health", {"kind": "fit", "ids": list(good), "of": len(batch.ids)}, ids=good)
    bake = state.policy.canary_bake_seconds if batch.canary else state.policy.bake_seconds
    if good and batch.available_since is not None and now < batch.available_since + bake and not spent:
        end = batch.available_since + bake
        return Action("wait", seconds=min(30.0, end - now), cause="bake", deadline=end, reason="baking")
    if state.gated and good and not batch.gate and not spent:
        return Action("gate", ids=good)
    refused = good if batch.gate == "fail" else ()
    classes |= dict.fromkeys(refused, "failed")
    failed = [name for name, kind in classes.items() if kind == "failed" and state.classes.get(name) != "failed"]
    reasons = {name: _why(batch, snapshot, name) for name in failed}
    reasons |= dict.fromkeys(refused, "the gate refused it")
    absent = [name for name in batch.ids if name not in snapshot.members]
    reasons |= dict.fromkeys(absent, batch.error) if batch.error else {}
    entry = {"kind": "settled", "classes": classes, "reasons": reasons, "absent": absent}
    return Action("settle", entry, ids=batch.ids)


def _is_silent(snapshot: Snapshot) -> bool:
    """Whether the health source reports no instance at all: then the source has failed, not the instances."""
    instances = snapshot.members.values()
    expected = snapshot.source == "required" or (snapshot.source == "kept" and snapshot.reports)
    return expected and not any(instance.health for instance in instances)


def _within_budget(state: State, classes: Mapping[str, str]) -> bool:
    return len(_list_failures(state, {**state.classes, **classes})) <= state.policy.failure_budget


def _list_failures(state: State, classes: Mapping[str, str]) -> list[str]:
    """The instances that failed in this direction; a rollback does not count the failures that caused it."""
    return [name for name, kind in classes.items() if kind == "failed" and name not in state.broken]


def _why(batch: Batch, snapshot: Snapshot, name: str) -> str:
    instance = snapshot.members.get(name)
    trouble = instance.trouble if instance is not None else ""
    late = "it became unavailable again repeatedly" if batch.relapses else "it was not healthy in time"
    return "; ".join(filter(None, (trouble, batch.error))) or late


def _patience(state: State, instance: InstanceStatus | None) -> float:
    """How many seconds an instance may take to become available; the model may grant a longer grace period."""
    patience = state.policy.health_timeout_seconds
    return max(patience, state.grace) if instance is not None and instance.health == "initializing" else patience


def class_of(state: State, batch: Batch, snapshot: Snapshot, name: str, vm_id: str, now: float) -> str:
    """The class of an instance of a batch, "" while it is undecided."""
    instance = snapshot.members.get(name)
    if instance is None or not _is_same(instance, vm_id) or instance.state == "Deleting":
        return "vanished"
    late = now >= batch.watched + _patience(state, instance) and not _is_silent(snapshot)
    if not has_reached(state.goal, instance):
        return _not_reached(state, batch, instance, late)
    if snapshot.is_available(instance):
        return "rolled-back" if state.direction == "back" else "updated"
    if name in batch.unavailable:
        return "still-unavailable" if late or (name in batch.stopped and instance.is_stopped) else ""
    if instance.power == "deallocated" and "deallocate" not in batch.done and name not in state.deallocated:
        return "evicted"
    if late or batch.relapses >= MOST_RELAPSES or instance.state == "Failed":
        return "failed"
    return "failed" if batch.available_since is not None and instance.health == "unhealthy" else ""


def _not_reached(state: State, batch: Batch, instance: InstanceStatus, late: bool) -> str:
    """The class of an instance that has not reached the goal, "" while it is undecided."""
    moves, name = instance.state in ("Updating", "Creating"), instance.instance_id
    if moves and not late:
        return ""
    if late and len(state.stages) > 1 and not state.sends.get(name):
        return "unchanged"  # other clients kept changing it, and no upgrade was sent
    if moves:
        return "failed"
    if instance.state == "Failed" and name not in batch.failed:
        return "failed"
    if instance.protected and len(state.stages) > 1:
        return "skipped-protected"  # since the batch began: no further request of ours is on it
    if (batch.error or state.classes.get(name) == "failed") and "start" in batch.done:
        return "failed"  # before it was evicted, if it is
    if instance.state == "Failed" and batch.returned and not batch.followed:
        return "failed"  # Azure was seen to work on it, and nothing says that this had no effect
    if batch.returned or (instance.power == "deallocated" and name not in batch.stopped | state.deallocated):
        again = state.sends.get(name, 0) < selection.MOST_SENDS
        return "unchanged" if again else "failed"
    return "failed" if batch.error or late else ""  # after success the list may still be old


# --- the next batch ---------------------------------------------------------------------------------------------------


def _about_next(state: State, snapshot: Snapshot | None, now: float) -> Action:
    if (stop := _check_failures(state)) is not None:
        return _start_first(state, snapshot, now) or stop
    if (take_snapshot := _look(state, snapshot, now)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (asked by _look)
    if _has_drifted(state, snapshot):
        return _start_first(state, snapshot, now) or _end(state, "stopped", "drift", DRIFTED)
    if (stop := _check_instances(state, snapshot)) is not None:
        return stop
    health = health_of(snapshot, state.broken)
    if why := _too_unhealthy(state, snapshot, health):
        return _wait_or_end(state, now, "unhealthy", why, FLOOR_SECONDS, "stopped")
    waiting = selection.candidates(state, snapshot, health)
    coming = _find_changing(state, snapshot)
    if not waiting and not coming:
        return _about_end(state, snapshot, health, now)
    paused_until = 0.0 if state.closed_at is None else state.closed_at + state.policy.pause_seconds
    if now < paused_until:
        reason = "pause between batches"
        return Action("wait", seconds=paused_until - now, cause="pause", deadline=paused_until, reason=reason)
    if percent := _checkpoint(state, len(waiting)):
        return Action("checkpoint", {"kind": "checkpoint", "percent": percent})
    if state.hanging is not None:
        waiting, coming = [instance for instance in waiting if selection.is_parked(state, instance)], ()
        if not (waiting and _has_hung(state, now)):
            return _hang(state, now)
    return _begin_batch(state, snapshot, health, now, waiting, coming)


def _start_first(state: State, snapshot: Snapshot | None, now: float) -> Action | None:
    """Start what this upgrade has deallocated, before it stops; None where nothing is to be started."""
    if not state.deallocated:
        return None
    if (take_snapshot := _look(state, snapshot, now)) is not None:
        return take_snapshot
    assert snapshot is not None  # noqa: S101  (asked by _look)
    instances, health = snapshot.members.values(), health_of(snapshot, state.broken)
    parked = [vm for vm in instances if selection.is_parked(state, vm) and selection.needs_it(state, vm)]
    if not parked:
        return None
    waiting = [member for member in selection.candidates(state, snapshot, health) if member in parked]
    if state.hanging is not None and not (waiting and _has_hung(state, now)):
        return _hang(state, now)
    coming = [vm.instance_id for vm in parked]
    return _begin_batch(state, snapshot, health, now, waiting, coming, is_start_only=True)


def _check_failures(state: State) -> Action | None:
    """Stop after too many failures or a failed gate; pause at a checkpoint; else None."""
    failures = _list_failures(state, state.classes)
    if len(failures) > state.policy.failure_budget:
        names = ", ".join(failures[:10])
        why = "; ".join(dict.fromkeys(filter(None, (state.reasons.get(name, "") for name in failures))))[:600]
        reason = f"{len(failures)} failed ({names}), more than the budget of {state.policy.failure_budget}"
        return _end(state, "stopped", "budget", f"{reason}: {why}" if why else reason)
    if state.gate_refused:
        return _end(state, "stopped", "gate", f"the gate refused {', '.join(state.gate_refused[:10])}")
    if state.pausing:
        return _end(state, "paused", "checkpoint", f"checkpoint at {state.checkpoint} %: check the set, then resume")
    return None


def _check_instances(state: State, snapshot: Snapshot) -> Action | None:
    """Stop if the policy says to fail on protected or stopped instances and there are some."""
    policy, selected = state.policy, selection.choice(state.policy, state.goal)
    if policy.on_protected != "fail" and policy.on_stopped != "fail":
        return None
    open_ = [
        instance for instance in snapshot.members.values() if selected(instance) and selection.needs_it(state, instance)
    ]
    protected = [instance.instance_id for instance in open_ if instance.protected and policy.on_protected == "fail"]
    if protected:
        return _end(state, "stopped", "protected", f"protected from scale-set actions: {', '.join(protected[:10])}")
    still = [instance for instance in open_ if instance.is_stopped and not selection.is_parked(state, instance)]
    stopped = [instance.instance_id for instance in still if policy.on_stopped == "fail"]
    if stopped and state.direction == "forward":
        return _end(state, "stopped", "stopped-instances", f"not running: {', '.join(stopped[:10])}")
    return None


def _too_unhealthy(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why too many instances are unhealthy, "" otherwise. It never stops a rollback."""
    if state.direction == "back":
        return ""
    return _unhealthy_upgraded(state, snapshot, health) or _newly_unhealthy(state, snapshot, health)


def _newly_unhealthy(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why too many instances became unhealthy since the start; instances changed by other clients do not count."""
    known = ("failed", "still-unavailable")
    counted = [
        name
        for name in snapshot.members
        if name in health.unavailable
        and name not in state.unavailable
        and snapshot.members[name].state not in selection.MOVING
        and not selection.is_parked(state, snapshot.members[name])
        and state.classes.get(name) not in known
    ]
    if 100 * len(counted) <= state.policy.max_unhealthy_instance_percent * len(snapshot.members):
        return ""
    return f"{len(counted)} instances are not healthy ({', '.join(counted[:10])})"


def _unhealthy_upgraded(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why too many upgraded instances have failed or are unhealthy, "" otherwise."""
    most, kinds = state.policy.max_unhealthy_upgraded_instance_percent, ("updated", "failed")
    if most == 100:
        return ""
    upgraded = [name for name, kind in state.classes.items() if kind in kinds and name in snapshot.members]
    bad = [name for name in upgraded if state.classes[name] == "failed" or name in health.unavailable]
    if 100 * len(bad) <= most * len(upgraded):
        return ""
    return f"{len(bad)} of {len(upgraded)} upgraded instances are not healthy ({', '.join(bad[:10])})"


def _find_changing(state: State, snapshot: Snapshot) -> tuple[str, ...]:
    """The ids of instances that other clients are creating or changing and that may need the upgrade afterwards."""
    selected = selection.choice(state.policy, state.goal)
    moving = [
        instance
        for instance in snapshot.members.values()
        if instance.state in ("Creating", "Updating") and selected(instance)
    ]
    still = [(instance.instance_id, instance._replace(state="")) for instance in moving]
    return tuple(name for name, instance in still if selection.is_open(state, instance))


def _checkpoint(state: State, waiting: int) -> int:
    """The highest checkpoint that was reached and has not paused the run yet; 0 for none."""
    if state.direction == "back" or state.takes_back:
        return 0
    settled = len(state.classes)
    share = 100 * settled // max(1, settled + waiting)
    return max((percent for percent in state.policy.checkpoints if state.checkpoint < percent <= share), default=0)


def _hang(state: State, now: float) -> Action:
    """Wait for an overdue operation of this upgrade. Only the starts of `_has_hung` are sent before its end."""
    reason = "another operation has held the scale set: one of this upgrade that did not end in time"
    waiting = _wait_or_end(state, now, "busy", reason, BUSY_SECONDS)
    return waiting._replace(kind="follow-hanging") if waiting.kind == "wait" else waiting


def _has_hung(state: State, now: float) -> bool:
    """Whether the wait for an overdue operation has reached its limit, so that deallocated instances are started.

    One request is in flight, so a start waits too. At the limit the run would pause and leave the instances
    deallocated. A start is safe: it takes no instance out of service and is no second upgrade.
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
    *,
    is_start_only: bool = False,
) -> Action:
    """Intend the next batch, protected if the policy says so; or wait until the floor allows one."""
    only = state.shielded_for if state.protection == "on" else None
    ids = selection.first_batch(state, snapshot, health, waiting, only)
    if not ids and only is not None:
        return Action("unprotect", ids=state.shielded)
    if not ids and not waiting:
        names = ", ".join(coming[:10])
        return _wait_or_end(state, now, "others", f"{len(coming)} being changed by others ({names})", FLOOR_SECONDS)
    if not ids:
        return _wait_or_end(state, now, "floor", _short_of(state, snapshot, health), FLOOR_SECONDS)
    if (take_snapshot := _fresh(snapshot, now)) is not None:
        return take_snapshot
    if state.policy.protect_from_scale_in and only is None:
        if state.protections >= MOST_PROTECTIONS:
            return _wait_or_end(state, now, "protection", "protected batches could not be sent", FLOOR_SECONDS)
        return Action("protect", ids=ids)
    return _intend(state, snapshot, health, ids, is_start_only=is_start_only or state.hanging is not None)


def _short_of(state: State, snapshot: Snapshot, health: Health) -> str:
    """Why the floor allows no further instance."""
    not_active = selection.list_inactive(state, snapshot)
    available, need = (
        len(snapshot.members) - len(health.unavailable | not_active),
        selection.count_needed(state, snapshot),
    )
    unknown = sorted(health.unavailable - health.free)
    names = f"; of {', '.join(unknown[:10])} nothing shows that they serve" if unknown else ""
    beyond = selection.count_surplus(state, snapshot)
    inactive = (
        f"; Azure calls each of {', '.join(sorted(not_active)[:10])} not an active instance" if not_active else ""
    )
    more = f"; the list has {beyond} more than the capacity, which may be gone" if beyond else ""
    text = f"{available} are available, {need} are needed{names}{inactive}{more}"
    return f"no further instance can be spared: the floor would be broken ({text})"


def _intend(state: State, snapshot: Snapshot, health: Health, ids: tuple[str, ...], *, is_start_only: bool) -> Action:
    vm_ids = tuple(snapshot.members[name].vm_id for name in ids)
    draft = Batch(ids, vm_ids, 0.0)
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
        "left": available - sum(name not in health.unavailable for name in ids),
        **_facts(state, snapshot, health, ids),
    }
    return Action("intend", entry, ids=ids, request=request)


# --- the end ----------------------------------------------------------------------------------------------------------

_GOOD = ("updated", "rolled-back", "already-current", "still-unavailable", "vanished")


def _about_end(state: State, snapshot: Snapshot, health: Health, now: float) -> Action:
    """After the last batch: begin the next leg, or end once the last snapshot satisfies the policy."""
    if state.leg + 1 < len(state.legs):
        return Action("next-leg", {"kind": "leg", "number": state.leg + 1})
    if state.direction == "back" or (state.takes_back and _problems(state, snapshot)):
        return _about_return(state, snapshot)
    rejected = [
        name
        for name, count in state.turned_down.items()
        if count >= selection.MOST_REFUSALS and name not in state.classes and name in snapshot.members
    ]
    if rejected:
        return _end(state, "paused", "inactive", f"Azure lists {', '.join(rejected[:10])} and calls them not active")
    fallen = [
        name
        for name, kind in state.classes.items()
        if kind == "updated"
        and name in snapshot.members
        and not selection.has_image(state.leg_for(name), snapshot.members[name])
    ]
    if fallen:
        return _end(
            state, "paused", "others", f"other clients have changed upgraded instances: {', '.join(fallen[:10])}"
        )
    if short := _find_shortage(state, snapshot, health):
        return _wait_or_end(state, now, "floor", short, FLOOR_SECONDS)
    return _end(state, "succeeded", "", "")


def _find_shortage(state: State, snapshot: Snapshot, health: Health) -> str:
    """Which floors the set is below, "" for none."""
    missing = {place: -count for place, count in selection.room(state, snapshot, health).items() if count < 0}
    if not missing:
        return ""
    places = ", ".join(f"{place or 'the set'} lacks {count}" for place, count in missing.items())
    return f"all are upgraded, and not enough are healthy: {places}"


def _about_return(state: State, snapshot: Snapshot) -> Action:
    """End a rollback: it has succeeded only if each instance runs its earlier image again."""
    problems = _problems(state, snapshot)
    if state.takes_back:
        return _end(state, "stopped", "rollback", "; ".join(problems))
    outcome: Outcome = "rollback-failed" if problems else "rolled-back"
    return _end(
        state, outcome, "rollback", "; ".join(problems) or f"rolled back: {len(_list_returning(state))} instances"
    )


def _problems(state: State, snapshot: Snapshot) -> list[str]:
    """What a rollback could not restore, one text each."""
    astray = sorted(name for name in _list_returning(state) if not _is_back(state, snapshot, name))
    text = f"not on their earlier version: {', '.join(astray[:10])}"
    return [*state.unreturnable, *[text] * bool(astray)]


def _list_returning(state: State) -> frozenset[str]:
    return frozenset().union(*(leg.instances or frozenset() for leg in state.legs))


def _is_back(state: State, snapshot: Snapshot, name: str) -> bool:
    instance = snapshot.members.get(name)
    if instance is None or state.classes.get(name) == "vanished":
        return True
    return selection.has_image(state.leg_for(name), instance) and state.classes.get(name) != "failed"


__all__ = [
    "PASSING",
    "RECORDING",
    "Action",
    "Kind",
    "apply",
    "build_snapshot_entry",
    "decide",
    "fold",
    "least",
    "limit_of",
]
