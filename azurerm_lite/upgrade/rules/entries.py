"""How each entry of a journal changes the state of an upgrade. PURE.

Nothing is decided here: an entry records an event or a decision, and the state follows from the entries.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .snapshot import HealthSource
from .state import Batch, Ending, Entry, Protection, State, Wait, begin, changed, leg_of

_Value = TypeVar("_Value")
LOOK_SECONDS, BUSY_SECONDS = 5.0, 30.0  # after which what did not work is tried again


def fold(entries: Sequence[Entry]) -> State:
    """Return the state after these entries. The runner uses the same `apply`, so a resumed run has the same state."""
    state = begin(entries[0])
    for entry in entries[1:]:
        state = apply(state, entry)
    return state


def apply(state: State, entry: Entry) -> State:
    """Return the state after one more entry. Entries of unknown kinds change nothing."""
    change = _APPLY.get(entry["kind"])
    return state if change is None else change(state, entry)


def _change_batch(state: State, **changes: Any) -> State:
    return state if state.batch is None else changed(state, batch=changed(state.batch, **changes))


def _apply_model_intent(state: State, _entry: Entry) -> State:
    return changed(state, model="intended")


def _apply_model_posted(state: State, entry: Entry) -> State:
    return changed(state, model="sent", model_since=entry["at"], wait=None)


def _apply_model_answered(state: State, _entry: Entry) -> State:
    return changed(state, model="answered", stale=True)


def _apply_model_written(state: State, entry: Entry) -> State:
    fingerprint = entry.get("fingerprint") or state.goal.after
    return changed(state, model="written", model_written=True, fingerprint=fingerprint, wait=None, stale=True)


def _apply_intent(state: State, entry: Entry) -> State:
    ids = tuple(entry["ids"])
    batch = Batch(
        ids,
        tuple(entry["vm_ids"]),
        entry["at"],
        bool(entry.get("canary")),
        entry.get("request", "upgrade"),
        tuple(entry.get("request_ids", ids)),
        unavailable=frozenset(entry.get("unavailable", ())),
        stopped=frozenset(entry.get("stopped", ())),
        failed=frozenset(entry.get("failed", ())),
    )
    posted = state.posted | set(ids)
    return changed(state, batch=batch, posted=posted, operation=None, available_left=entry.get("left"), protections=0)


def _apply_stage(state: State, entry: Entry) -> State:
    """Intend the next request of a batch. Instances that are not in the entry's `batch` leave the batch."""
    ids = tuple(entry["ids"])
    state = _shrink_batch(state, frozenset(entry["batch"])) if "batch" in entry else state
    return _change_batch(
        changed(state, operation=None), request=entry["name"], request_ids=ids, status="intended", sent=None
    )


def _shrink_batch(state: State, names: frozenset[str]) -> State:
    """Reduce the batch to these instances; the others may be chosen again."""
    batch = state.batch
    if batch is None:
        return state
    pairs = [(name, vm) for name, vm in zip(batch.ids, batch.vm_ids, strict=True) if name in names]
    posted = state.posted - (set(batch.ids) - names)
    ids, vm_ids = tuple(name for name, _ in pairs), tuple(vm for _, vm in pairs)
    return _change_batch(changed(state, posted=posted), ids=ids, vm_ids=vm_ids)


def _apply_posted(state: State, entry: Entry) -> State:
    batch = state.batch
    if batch is None:
        return state
    counts = batch.request == "upgrade"
    sends = {**state.sends, **{name: state.sends.get(name, 0) + counts for name in batch.request_ids}}
    lowest = least(state.lowest, state.available_left)
    operation = entry.get("operation")
    sent = changed(
        state,
        sends=sends,
        operation=operation,
        lowest=lowest,
        wait=None,
        unsent=0,
        gaps=0,
        turned_down=_without(state.turned_down, batch.request_ids),
    )
    if batch.request == "deallocate":
        sent = changed(sent, deallocated=state.deallocated | set(batch.request_ids) - batch.stopped)
    return _change_batch(changed(sent, stale=True), status="sent", sent=entry["at"], followed=operation is not None)


def _without(values: Mapping[str, _Value], names: Iterable[str]) -> dict[str, _Value]:
    gone = set(names)
    return {name: value for name, value in values.items() if name not in gone}


def _apply_lost(state: State, entry: Entry) -> State:
    return _change_batch(changed(state, stale=True), status="lost", sent=entry["at"])


_RETRY_SECONDS: Mapping[str, float] = {
    "busy": BUSY_SECONDS,
    "throttled": 60.0,
    "inactive": LOOK_SECONDS,
    "outage": LOOK_SECONDS,
    "model": LOOK_SECONDS,
}
_WEIGHTS = {"stale": 100, "inactive": 100}  # a time limit does not bound these causes, so each counts more


def _apply_unposted(state: State, entry: Entry) -> State:
    """Forget a request that was not sent or had no effect; the next decision starts again."""
    batch, cause = state.batch, entry.get("cause", "stale")
    if batch is None:
        return state
    if batch.done:
        batch_after: Batch | None = changed(batch, status="ended", ended=entry["at"], watched=entry["at"])
        posted = state.posted
    else:
        batch_after, posted = None, state.posted - set(batch.ids)
    turned_down = dict(state.turned_down)
    if cause == "inactive":
        turned_down |= {name: turned_down.get(name, 0) + 1 for name in batch.request_ids}
    state = changed(state, batch=batch_after, posted=posted, operation=None, turned_down=turned_down, stale=True)
    state = changed(state, unsent=state.unsent + _WEIGHTS.get(cause, 1))
    return (
        state
        if cause == "stop"
        else _record_trouble(state, {**entry, "of": "send", "cause": "outage" if cause == "lost" else cause})
    )


def _record_trouble(state: State, entry: Entry) -> State:
    """Wait before the next attempt; the same cause as before keeps the begin of its wait."""
    cause, before = entry["cause"], state.wait
    same = before is not None and before.cause == cause
    since = before.since if before is not None and same else entry["at"]
    pause = max(
        _RETRY_SECONDS.get(cause, 0.0) if entry.get("retry_after") is None else 1.0, entry.get("retry_after") or 0.0
    )
    wait = Wait(cause, since, str(entry.get("reason", "")), entry["at"] + pause, entry.get("of", ""))
    return changed(state, wait=wait, stale=True)


def _apply_trouble(state: State, entry: Entry) -> State:
    """Record a failed request. A guard that cannot be removed does not stop the run from ending."""
    of = entry.get("of", "")
    if of == "write-model":
        state = changed(state, model="intended")
    if state.ending is not None and of in ("unprotect", "follow-protection", "resume-repairs"):
        guard = "resume-repairs" if of == "resume-repairs" else "unprotect"
        protection: Protection = "unneeded" if guard == "unprotect" and state.shielded else state.protection
        first = state.wait is None or state.wait.of != of
        if entry["cause"] in ("busy", "outage", "throttled") and first:
            return _record_trouble(changed(state, protection=protection), entry)
        return changed(
            state, outstanding=(*state.outstanding, guard, str(entry.get("reason", ""))), protection=protection
        )
    if of in ("protect", "follow-protection", "unprotect"):
        state = changed(state, protection="unneeded" if state.shielded else "off")
    return _record_trouble(state, entry)


def _apply_ended(state: State, entry: Entry) -> State:
    """Record that a request has ended, has failed or is overdue."""
    batch = state.batch
    if batch is None:
        return state
    at, request = entry["at"], batch.request
    elapsed = at - batch.intended_at
    took = min(entry.get("took") or elapsed, elapsed)  # Azure's figure, unless it is larger than the observed time
    state = changed(state, took=(*state.took, took), hanging=state.operation if entry.get("overdue") else state.hanging)
    if request == "start" and not entry.get("error") and not entry.get("returned"):
        state = changed(state, deallocated=state.deallocated - set(batch.request_ids))
    if request == "reimage":
        state = changed(state, reimaged=state.reimaged | set(batch.request_ids))
    error = "; ".join(filter(None, (batch.error, entry.get("error", ""))))
    # A deallocation without an effect says nothing of how the upgrade after it fares.
    returned = batch.returned or (bool(entry.get("returned")) and request != "deallocate")
    state = changed(state, operation=None, stale=True)
    done = (*batch.done, request)
    return _change_batch(state, status="ended", done=done, ended=at, watched=at, error=error, returned=returned)


def _apply_available(state: State, entry: Entry) -> State:
    return _change_batch(state, available_since=entry["at"])


def _apply_relapsed(state: State, entry: Entry) -> State:
    relapses = 0 if state.batch is None else state.batch.relapses + 1
    return _change_batch(state, available_since=None, watched=entry["at"], relapses=relapses)


def _apply_gate(state: State, entry: Entry) -> State:
    if entry["said"] == "inconclusive":
        return changed(state, wait=Wait("refused", entry["at"], str(entry.get("reason", "")), 0.0, "gate"))
    refused = tuple(name for name in entry["ids"] if name not in state.broken) if entry["said"] == "fail" else ()
    return _change_batch(changed(state, gate_refused=state.gate_refused + refused), gate=entry["said"])


def _apply_settled(state: State, entry: Entry) -> State:
    given_back = {name for name, kind in entry["classes"].items() if kind == "unchanged"}
    classes = {**state.classes, **{name: kind for name, kind in entry["classes"].items() if name not in given_back}}
    # The next batch is a canary until one instance was healthy on the new model.
    has_updated = any(kind in ("updated", "rolled-back") for kind in entry["classes"].values())
    protection: Protection = "unneeded" if state.shielded else "off"
    reasons = entry.get("reasons", {})
    return changed(
        state,
        batch=None,
        operation=None,
        classes=classes,
        reasons={**state.reasons, **reasons},
        posted=state.posted - given_back,
        absent={**state.absent, **{name: reasons.get(name, "") for name in entry.get("absent", ())}},
        batches=state.batches + has_updated,
        settled_batches=state.settled_batches + 1,
        closed_at=entry["at"],
        gaps=0,
        protection=protection,
        wait=None,
        stale=True,
    )


def _apply_checkpointed(state: State, entry: Entry) -> State:
    return changed(state, checkpoint=entry["percent"], pausing=True)


def _apply_stuck(state: State, entry: Entry) -> State:
    return changed(state, wait=Wait(entry.get("cause", "floor"), entry["since"], str(entry.get("reason", ""))))


def _apply_guarded(state: State, entry: Entry) -> State:
    return changed(state, repairs="suspending" if entry["on"] else "not ours", stale=True)


def _apply_repairs(state: State, entry: Entry) -> State:
    return changed(state, repairs=entry["repairs"], stale=True)


def _apply_shielded(state: State, entry: Entry) -> State:
    ids, batch = tuple(entry["ids"]), tuple(entry["batch"])
    if not batch:
        return changed(state, shielded=(), shielded_for=(), protection="off", stale=True)
    writing = changed(state, protection="writing", protections=state.protections + 1, protected_at=entry["at"])
    return changed(writing, shielded=ids, shielded_for=batch, stale=True)


def _apply_freed(state: State, entry: Entry) -> State:
    """Record that these instances are not protected by this upgrade any more."""
    return changed(state, shielded=tuple(name for name in state.shielded if name not in entry["ids"]))


def _apply_protection(state: State, entry: Entry) -> State:
    return changed(state, protection=entry["protection"], protected_at=entry["at"], stale=True)


def _apply_leg(state: State, entry: Entry) -> State:
    return changed(state, leg=entry["number"], model="unwritten", wait=None, posted=frozenset(), stale=True)


_SOURCES_BACK: Mapping[HealthSource, HealthSource] = {"arrives": "leaves", "leaves": "arrives"}


def _apply_rollback(state: State, entry: Entry) -> State:
    """Begin the rollback: the same machine with other legs."""
    legs = tuple(leg_of(stored) for stored in entry["legs"])
    broken = frozenset(name for name, kind in state.classes.items() if kind == "failed")
    back = changed(
        state,
        direction="back",
        legs=legs or (state.goal,),
        leg=0,
        model="unwritten",
        forward=state.classes,
        classes={},
        posted=frozenset(),
        absent={},
        turned_down={},
        reimaged=frozenset(),
        size=state.size if not legs else str(entry["legs"][0].get("size", state.size)),
        broken=broken,
        source=_SOURCES_BACK.get(state.source, state.source),
        gate_refused=(),
        batch=None,
        operation=None,
        closed_at=None,
        stopped_for=str(entry.get("reason", "")),
        unreturnable=tuple(entry.get("unreturnable", ())),
        wait=None,
        stale=True,
    )
    if legs:
        return back
    text = "; ".join(("not rolled back", *back.unreturnable))
    return changed(back, ending=Ending("rollback-failed", "rollback", f"{back.stopped_for}; {text}"))


def _apply_gap(state: State, entry: Entry) -> State:
    """Leave out unobserved time: observations start again, and deadlines move by the same time.

    After a clock change to an earlier time the seconds are negative, and planned times move back with the clock.
    """
    seconds, at = entry["seconds"], entry["at"]
    back, wait, batch = min(0.0, seconds), state.wait, state.batch
    closed_at = None if state.closed_at is None else state.closed_at + back
    state = changed(state, due=None, stale=True, closed_at=closed_at, model_since=state.model_since + seconds)
    state = changed(state, protected_at=state.protected_at + seconds, gaps=state.gaps + 1)
    if wait is not None:
        state = changed(state, wait=wait._replace(since=wait.since + seconds, until=wait.until + back))
    if batch is None:
        return state
    sent = None if batch.sent is None else batch.sent + seconds
    return _change_batch(state, sent=sent, watched=at, available_since=None)


def _apply_resumed(state: State, entry: Entry) -> State:
    """Continue in another process: deadlines start again, and no earlier snapshot counts."""
    at, batch = entry["at"], state.batch
    model = "intended" if state.model in ("sent", "answered") else state.model
    protection = state.protection
    if state.shielded and (batch is None or protection in ("writing", "removing")):
        protection = "unneeded"
    keeps = state.ending is not None and state.ending.outcome in (
        "succeeded",
        "stopped",
        "rolled-back",
        "rollback-failed",
    )
    state = changed(
        state,
        verdict=None,
        ending=state.ending if keeps else None,
        model=model,
        protection=protection,
        repairs="unknown" if state.repairs == "not ours" and state.policy.suspend_repairs else state.repairs,
        wait=None,
        outstanding=(),
        pausing=False,
        stopping=False,
        due=None,
        stale=True,
        unsent=0,
        turned_down={},
        protections=0,
        doubts=0,
        looks=0,
        gaps=0,
    )
    if batch is None:
        return state
    status = "lost" if batch.status == "intended" else batch.status
    sent = at if status in ("lost", "sent") else batch.sent
    return _change_batch(state, status=status, sent=sent, watched=at, available_since=None)


def _apply_snapshot(state: State, entry: Entry) -> State:
    doubtful = frozenset(entry["doubtful"])
    wait = None if state.wait is not None and state.wait.of == "look" else state.wait
    looks = state.looks + 1
    state = changed(state, stale=False, reports=state.reports or bool(entry["reports"]), wait=wait, looks=looks)
    if doubtful - state.doubted:
        return changed(state, doubted=doubtful, doubts=state.doubts + 1)
    wait = None if wait is not None and wait.cause == "implausible" else wait
    names = frozenset(entry["ids"])
    if back := state.absent.keys() & names:  # lists without them were wrong
        failed = entry.get("failed", {})
        classes = {name: kind for name, kind in state.classes.items() if name not in back}
        classes |= dict.fromkeys(failed, "failed")
        reasons = {**state.reasons, **failed}
        posted, absent = state.posted - back, _without(state.absent, back)
        state = changed(state, classes=classes, reasons=reasons, posted=posted, absent=absent)
    return changed(state, listed=names, doubted=frozenset(), doubts=0, wait=wait)


def _apply_planned(state: State, entry: Entry) -> State:
    stale = state.stale or entry["due"] > entry["at"]
    looks = 0 if entry["due"] > entry["at"] else state.looks  # a wait comes first
    return changed(state, due=entry["due"], stepped=entry["at"], stale=stale, looks=looks)


def _apply_stop(state: State, _entry: Entry) -> State:
    return changed(state, stopping=True)


def _apply_in_hand(state: State, _entry: Entry) -> State:
    return changed(state, withheld=False)


def _apply_released(state: State, _entry: Entry) -> State:
    return changed(state, hanging=None, wait=None, stale=True)


def _apply_answered(state: State, entry: Entry) -> State:
    """End the wait for a request that has succeeded now."""
    over = state.wait is not None and state.wait.of == entry["of"]
    return changed(state, wait=None) if over else state


def _apply_ending(state: State, entry: Entry) -> State:
    return changed(state, ending=Ending(entry["outcome"], entry["cause"], entry["reason"]), wait=None)


def _apply_finished(state: State, entry: Entry) -> State:
    lowest = least(state.lowest, entry["verdict"].get("lowest"))
    return changed(state, verdict=entry["verdict"], lowest=lowest)


def least(first: int | None, second: int | None) -> int | None:
    """Return the smaller number; None stands for an unknown one."""
    return min((number for number in (first, second) if number is not None), default=None)


_APPLY: Mapping[str, Callable[[State, Entry], State]] = {
    "model-intent": _apply_model_intent,
    "model-posted": _apply_model_posted,
    "model-answered": _apply_model_answered,
    "model-written": _apply_model_written,
    "intent": _apply_intent,
    "stage": _apply_stage,
    "posted": _apply_posted,
    "lost": _apply_lost,
    "unposted": _apply_unposted,
    "trouble": _apply_trouble,
    "ended": _apply_ended,
    "fit": _apply_available,
    "relapsed": _apply_relapsed,
    "gate": _apply_gate,
    "settled": _apply_settled,
    "checkpoint": _apply_checkpointed,
    "stuck": _apply_stuck,
    "guarded": _apply_guarded,
    "repairs": _apply_repairs,
    "shielded": _apply_shielded,
    "freed": _apply_freed,
    "protection": _apply_protection,
    "leg": _apply_leg,
    "rollback": _apply_rollback,
    "gap": _apply_gap,
    "resumed": _apply_resumed,
    "seen": _apply_snapshot,
    "planned": _apply_planned,
    "stop": _apply_stop,
    "in-hand": _apply_in_hand,
    "released": _apply_released,
    "answered": _apply_answered,
    "ending": _apply_ending,
    "end": _apply_finished,
}
# Kinds of entries that only this process needs: they change the state and are not written to the journal.
PASSING = frozenset(
    [
        *("seen", "planned", "stop", "in-hand", "released", "answered"),
        *("model-posted", "model-answered", "repairs", "protection"),
    ]
)
