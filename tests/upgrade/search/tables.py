"""States, snapshots, and what the machine decides on them: one row or more for each branch of `decide`.

The sets have the instances "0", "1" and "2"; two of three must be available, and one goes at a time. `NOW` is now.
"""

from collections.abc import Mapping
from typing import Any

from azurerm_lite.upgrade.rules.machine import Action
from azurerm_lite.upgrade.rules.policy import Policy
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Model, Snapshot
from azurerm_lite.upgrade.rules.state import Batch, Ending, Leg, State, Wait, changed

NOW = 1000.0
LEG = Leg("2", before="m1", after="m2", outline="o2")
POLICY: dict[str, Any] = {
    "batch_by": "batch",
    "max_batch_instance_percent": 50,
    "min_healthy_instance_percent": 50,
    "min_healthy_zone_percent": 0,
    "max_unhealthy_instance_percent": 100,
    "health_timeout_seconds": 100.0,
    "floor_timeout_seconds": 60.0,
    "operation_timeout_seconds": 300.0,
    "outage_timeout_seconds": 110.0,
    "throttle_timeout_seconds": 200.0,
    "busy_timeout_seconds": 120.0,
}
Row = tuple[State, Snapshot | None, Mapping[str, Any]]


def instance(name: str, **values: Any) -> InstanceStatus:
    """An outdated instance that is available."""
    plain = InstanceStatus(
        name, f"vm{name}", "", "", 0, 0, False, "1", "Succeeded", "running", "healthy", False, image="i:1"
    )
    return plain._replace(**values)


def current(name: str, **values: Any) -> InstanceStatus:
    """An instance that is where the upgrade brings it."""
    return instance(name, latest=True, version="2", image="i:2")._replace(**values)


def seen(*members: InstanceStatus, model: str | None = "m2", age: float = 0.0, **values: Any) -> Snapshot:
    """A snapshot of so many seconds ago."""
    shown = None if model is None else Model(model, f"o{model[1:]}", len(members))
    snapshot = Snapshot({one.instance_id: one for one in members}, NOW - age, reports=True, model=shown)
    return snapshot._replace(**values)


def state(policy: Mapping[str, Any] | None = None, **values: Any) -> State:
    """An upgrade whose model is written, between two batches."""
    names = frozenset("012")
    plain = State(Policy(**{**POLICY, **(policy or {})}), (LEG,), 3, {}, frozenset(), names, listed=names)
    values = {"protected_at": NOW - 10, **values}
    written = changed(plain, model="written", model_written=True, fingerprint="m2", stale=False, repairs="not ours")
    return changed(written, **values)


def batch(ids: str = "0", **values: Any) -> Batch:
    """A batch whose upgrade has ended just now."""
    plain = Batch(tuple(ids), tuple(f"vm{name}" for name in ids), NOW - 50, request_ids=tuple(ids), status="ended")
    return changed(changed(plain, done=("upgrade",), ended=NOW, watched=NOW), **values)


def differences(action: Action, expected: Mapping[str, Any]) -> list[str]:
    """What is otherwise in an action than expected; of its entry only what is expected is compared."""
    pairs = [(name, value, getattr(action, name)) for name, value in expected.items() if name != "entry"]
    pairs += [(f"entry {name}", value, action.entry.get(name)) for name, value in expected.get("entry", {}).items()]
    return [f"{name}: {is_!r}, not {value!r}" for name, value, is_ in pairs if is_ != value]


OUTDATED = seen(instance("0"), instance("1"), instance("2"))
FIRST = seen(current("0"), instance("1"), instance("2"))  # the first of them has reached it
ALL = seen(current("0"), current("1"), current("2"))
PINNED = {"classes": {"0": "updated", "1": "updated", "2": "updated"}}


def _action(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": kind, **values}


def _ends(outcome: str, cause: str = "") -> dict[str, Any]:
    return {"kind": "end", "outcome": outcome, "cause": cause}


INTENDS = _action("intend", ids=("0",), request="upgrade", entry={"kind": "intent", "fit": 3, "left": 2})


def rows() -> dict[str, Row]:
    """All rows, by name."""
    groups = (_of_ends, _of_waits, _of_guards, _of_models, _of_requests, _of_stages, _of_health, _of_batches)
    return {name: row for group in (*groups, _of_results) for name, row in group().items()}


def _of_ends() -> dict[str, Row]:
    failed = {"classes": {"0": "failed"}, "reasons": {"0": "AllocationFailed"}}
    taken = {"direction": "back", "legs": (Leg("1", "i:1", frozenset("0")),), "stopped_for": "budget"}
    shielded = {"shielded": ("0",), "shielded_for": ("0",)}
    ending = Ending("cancelled", "stop", "asked")
    left = Wait("busy", NOW - 10, "409", NOW + 20, "unprotect")
    starts = {"request": "start", "status": "sent", "sent": NOW - 10, "followed": True}
    return {
        "ended": (state(verdict={}), OUTDATED, _action("end")),
        "a gap": (state(due=NOW - 61), OUTDATED, _action("note-gap", entry={"kind": "gap", "seconds": 61.0})),
        "no gap": (state(due=NOW - 60), OUTDATED, INTENDS),
        "gaps again and again": (state(due=NOW - 61, gaps=50), OUTDATED, _ends("paused", "stale")),
        "gaps again and again, ending": (
            state(due=NOW - 61, gaps=50, ending=ending),
            OUTDATED,
            _ends("cancelled", "stop"),
        ),
        "the clock was put back": (
            state(due=NOW + 3600, stepped=NOW + 3590),
            OUTDATED,
            _action("note-gap", entry={"kind": "gap", "seconds": -3590.0}),
        ),
        "the clock trembles": (state(due=NOW + 1, stepped=NOW + 1), OUTDATED, INTENDS),
        "looks again and again": (state(looks=20, stale=True), OUTDATED, _ends("paused", "stale")),
        "looks often": (state(looks=19, stale=True), OUTDATED, _action("look")),
        "ending": (state(ending=ending), OUTDATED, {**_ends("cancelled", "stop"), "reason": "asked"}),
        "asked to stop": (state(stopping=True), OUTDATED, _ends("cancelled", "stop")),
        "asked to stop, intended": (
            state(stopping=True, batch=batch(status="intended")),
            OUTDATED,
            _action("give-up", cause="stop", ids=("0",), entry={"kind": "unposted", "ids": ["0"], "cause": "stop"}),
        ),
        "asked to stop, ended": (state(stopping=True, batch=batch()), None, _action("look", request="instances")),
        "asked to stop, ended before the snapshot": (
            state(stopping=True, batch=batch()),
            OUTDATED,
            _ends("cancelled", "stop"),
        ),
        "asked to stop, ended after the snapshot": (
            state(stopping=True, batch=batch()),
            seen(*OUTDATED.members.values(), age=5),
            _action("look"),
        ),
        "asked to stop, and no look works": (
            state(stopping=True, batch=batch(), wait=Wait("outage", NOW, of="look")),
            None,
            _ends("cancelled", "stop"),
        ),
        "asked to stop, deallocated": (
            state(stopping=True, batch=batch(), deallocated=frozenset("0"), stages=("deallocate", "upgrade", "start")),
            seen(current("0", power="deallocated"), instance("1"), instance("2")),
            _action("intend", request="start", ids=("0",)),
        ),
        "asked to stop, being started": (
            state(stopping=True, batch=batch(**starts), deallocated=frozenset("0")),
            OUTDATED,
            _ends("cancelled", "stop"),
        ),
        "asked to stop, and being started by a lost request or changed by others": (
            state(stopping=True, batch=batch(**{**starts, "followed": False}), deallocated=frozenset("0")),
            seen(current("0", power="deallocated", state="Updating"), instance("1"), instance("2")),
            _action("wait", cause="operation"),
        ),
        "asked to stop, and perhaps being started": (
            state(stopping=True, batch=batch(request="start", status="lost", sent=NOW), deallocated=frozenset("0")),
            seen(current("0", power="deallocated"), instance("1"), instance("2")),
            _action("wait", cause="lost-answer"),
        ),
        "asked to stop, others being started": (
            state(stopping=True, batch=batch("01", **starts, request_ids=("1",)), deallocated=frozenset("01")),
            None,
            _action("follow"),
        ),
        "asked to stop, and perhaps deallocated": (
            state(stopping=True, batch=batch(request="deallocate", status="lost", sent=NOW)),
            None,
            _action("look"),
        ),
        "budget": (state(**failed), FIRST, _ends("stopped", "budget")),
        "budget, without a reason": (state(classes={"0": "failed"}), FIRST, _ends("stopped", "budget")),
        "budget, within": (state({"failure_budget": 1}, **failed), FIRST, _action("intend", ids=("1",))),
        "budget, rolled back": (
            state({"rollback_on_failure": True}, **failed),
            FIRST,
            _action("roll-back", cause="budget"),
        ),
        "budget, model not written": (
            state({"rollback_on_failure": True}, **failed, model_written=False),
            FIRST,
            _ends("stopped", "budget"),
        ),
        "budget in a rollback": (state(**taken, **failed), FIRST, _ends("rollback-failed", "budget")),
        "paused in a rollback": (state(**taken, pausing=True), FIRST, _ends("paused", "checkpoint")),
        "drift, not rolled back": (
            state({"rollback_on_failure": True}),
            seen(*OUTDATED.members.values(), model="m3"),
            _ends("rollback-failed", "drift"),
        ),
        "the gate refused": (state(gate_refused=("0",)), FIRST, _ends("stopped", "gate")),
        "checkpoint": (state(pausing=True), FIRST, _ends("paused", "checkpoint")),
        "ends with repairs suspended": (
            state(repairs="suspended", pausing=True),
            FIRST,
            _action("begin-ending", outcome="paused", cause="checkpoint", entry={"kind": "ending"}),
        ),
        "ends with protection": (state(**shielded, pausing=True), FIRST, _action("begin-ending", outcome="paused")),
        "finish: waits": (
            state(ending=ending, wait=left, **shielded),
            FIRST,
            _action("wait", seconds=20.0, cause="busy", deadline=NOW + 20),
        ),
        "finish: waits for a write of protection": (
            state(ending=ending, wait=left._replace(of="follow-protection"), **shielded),
            FIRST,
            _action("wait", seconds=20.0, cause="busy", deadline=NOW + 20),
        ),
        "finish: has waited": (
            state(ending=ending, wait=left._replace(until=NOW), **shielded),
            FIRST,
            _action("unprotect", ids=("0",)),
        ),
        "finish: another wait": (
            state(ending=ending, wait=left._replace(of="send"), **shielded),
            FIRST,
            _action("unprotect"),
        ),
        "finish: being written": (
            state(ending=ending, **shielded, protection="writing"),
            FIRST,
            _action("follow-protection", deadline=NOW + 290),
        ),
        "finish: being written too long": (
            state(ending=ending, **shielded, protection="writing", protected_at=NOW - 301),
            FIRST,
            _ends("cancelled", "stop"),
        ),
        "finish: in flight": (
            state(ending=ending, **shielded, batch=batch(status="sent")),
            FIRST,
            _ends("cancelled", "stop"),
        ),
        "finish: cannot be removed": (
            state(ending=ending, **shielded, outstanding=("unprotect", "409")),
            FIRST,
            _ends("cancelled", "stop"),
        ),
        "finish: repairs": (state(ending=ending, repairs="suspended"), FIRST, _action("resume-repairs")),
        "finish: repairs stay": (
            state(ending=ending, repairs="suspended", outstanding=("resume-repairs", "")),
            FIRST,
            _ends("cancelled", "stop"),
        ),
    }


def _of_waits() -> dict[str, Row]:
    def wait(cause: Any, since: float, until: float = 0.0, of: str = "send") -> dict[str, Any]:
        return {"wait": Wait(cause, NOW - since, "why", NOW + until, of)}

    doubted = {"doubted": frozenset("2")}
    stuck = _action("note-wait", cause="implausible")
    return {
        "refused": (state(**wait("refused", 0)), OUTDATED, _ends("paused", "refused")),
        "busy too long": (state(**wait("busy", 120)), OUTDATED, _ends("paused", "busy")),
        "busy": (
            state(**wait("busy", 119, 0.5)),
            OUTDATED,
            _action("wait", seconds=0.5, cause="busy", deadline=NOW + 1, reason="why"),
        ),
        "busy, until too late": (state(**wait("busy", 119, 30.0)), OUTDATED, _ends("paused", "busy")),
        "busy, over": (state(**wait("busy", 119)), OUTDATED, INTENDS),
        "of nothing": (state(**wait("busy", 120, of="")), OUTDATED, INTENDS),
        "never sent": (state(**wait("stale", 0), unsent=2000), OUTDATED, _ends("paused", "stale")),
        "sent at last": (state(**wait("stale", 0), unsent=1999), OUTDATED, INTENDS),
        "implausible": (state(**doubted), OUTDATED, {**stuck, "entry": {"kind": "stuck", "since": NOW}}),
        "implausible after the floor": (
            state(**doubted, wait=Wait("floor", NOW - 20)),
            OUTDATED,
            {**stuck, "entry": {"since": NOW}},
        ),
        "implausible, waits": (
            state(**doubted, wait=Wait("implausible", NOW - 10)),
            OUTDATED,
            _action("wait", seconds=5.0, cause="implausible", deadline=NOW + 100),
        ),
        "implausible, waits what is left": (
            state(**doubted, wait=Wait("implausible", NOW - 107)),
            OUTDATED,
            _action("wait", seconds=3.0, deadline=NOW + 3),
        ),
        "implausible too long": (
            state(**doubted, wait=Wait("implausible", NOW - 110)),
            OUTDATED,
            _ends("paused", "implausible"),
        ),
        "the floor after others": (
            state(wait=Wait("others", NOW - 20)),
            seen(instance("0"), instance("1"), current("2", health="unhealthy")),
            _action("note-wait", cause="floor", entry={"since": NOW - 20}),
        ),
    }


def _of_guards() -> dict[str, Row]:
    return {
        "protection being written": (state(protection="writing"), OUTDATED, _action("follow-protection")),
        "protection being removed": (state(protection="removing"), OUTDATED, _action("follow-protection")),
        "protection being written too long": (
            state(protection="writing", protected_at=NOW - 301),
            OUTDATED,
            _ends("paused", "operation"),
        ),
        "protection not needed": (
            state(protection="unneeded", shielded=("0",)),
            OUTDATED,
            _action("unprotect", ids=("0",)),
        ),
        "repairs unknown": (state(repairs="unknown"), OUTDATED, _action("check-repairs")),
        "repairs run": (state(repairs="suspending"), OUTDATED, _action("suspend-repairs")),
        "to be protected": (state({"protect_from_scale_in": True}), OUTDATED, _action("protect", ids=("0",))),
        "protected": (
            state({"protect_from_scale_in": True}, protection="on", shielded=("1",), shielded_for=("1",)),
            OUTDATED,
            _action("intend", ids=("1",)),
        ),
        "protected, and not to be sent": (
            state({"protect_from_scale_in": True}, protection="on", shielded=("7",), shielded_for=("7",)),
            OUTDATED,
            _action("unprotect", ids=("7",)),
        ),
        "protected again and again": (
            state({"protect_from_scale_in": True}, protections=5),
            OUTDATED,
            _action("note-wait", cause="protection"),
        ),
    }


def _of_models() -> dict[str, Row]:
    members = OUTDATED.members.values()
    before = seen(*members, model="m1")
    other = seen(*members, model="m3")

    def unwritten(**values: Any) -> State:
        return changed(state(model="unwritten", model_written=False, fingerprint=""), **values)

    same = {"legs": (Leg("", before="m1", after="m1"),)}
    shows = before._replace(model=Model("m1", "o1", 3, shows=True))
    return {
        "model: look": (unwritten(), None, _action("look", request="")),
        "model: intend": (unwritten(), before, _action("intend-model", entry={"outline": "o2"})),
        "model: old": (unwritten(), seen(*members, model="m1", age=31), _action("look")),
        "model: write": (unwritten(model="intended"), before, _action("write-model")),
        "model: is there": (unwritten(), OUTDATED, _action("adopt-model", entry={"fingerprint": "m2"})),
        "model: completed by Azure": (
            unwritten(model="intended"),
            other._replace(model=Model("m3", "o2", 3)),
            _action("adopt-model", entry={"fingerprint": "m3"}),
        ),
        "model: drift": (unwritten(), other, _ends("stopped", "drift")),
        "model: answered, and not there": (unwritten(model="answered"), before, _ends("stopped", "drift")),
        "model: secrets": (unwritten(withheld=True), before, _ends("stopped", "secrets")),
        "model: in no fingerprint": (unwritten(**same), before, _action("intend-model")),
        "model: in no fingerprint, shown": (unwritten(**same), shows, _action("adopt-model")),
        "model: in no fingerprint, answered": (unwritten(**same, model="answered"), before, _action("adopt-model")),
        "model: of the next leg": (
            unwritten(legs=(Leg("2", after="m2"),), fingerprint="m1"),
            before,
            _action("intend-model"),
        ),
        "model: sent": (unwritten(model="sent", model_since=NOW - 300), before, _action("follow-model", deadline=NOW)),
        "model: sent too long ago": (
            unwritten(model="sent", model_since=NOW - 301),
            before,
            _ends("paused", "operation"),
        ),
    }


def _of_requests() -> dict[str, Row]:
    intended, lost = batch(status="intended", done=()), batch(status="lost", done=(), sent=NOW - 10)
    sent = batch(status="sent", done=(), sent=NOW - 10)
    late = changed(sent, sent=NOW - 301)
    busy = seen(instance("0", state="Updating"), instance("1"), instance("2"))

    def with_batch(value: Batch, **values: Any) -> State:
        return state(batch=value, **values)

    def lost_shows(request: str, **values: Any) -> Row:
        member = seen(instance("0", **values), instance("1"), instance("2"))
        return (with_batch(changed(lost, request=request)), member, _action("take-for-sent"))

    def lost_hides(request: str, **values: Any) -> Row:
        member = seen(instance("0", **values), instance("1"), instance("2"))
        value = changed(lost, request=request, stopped=frozenset("0"), failed=frozenset("0"))
        return (with_batch(value), member, _action("wait", cause="lost-answer"))

    return {
        "send": (with_batch(intended), OUTDATED, _action("send", ids=("0",), request="upgrade")),
        "send: no snapshot": (with_batch(intended), None, _action("give-up", cause="stale")),
        "send: stale": (with_batch(intended, stale=True), OUTDATED, _action("give-up", cause="stale")),
        "send: an old snapshot": (
            with_batch(intended),
            seen(*OUTDATED.members.values(), age=31),
            _action("give-up", cause="stale"),
        ),
        "follow": (
            with_batch(changed(sent, followed=True)),
            None,
            _action("follow", cause="operation", deadline=NOW + 290, seconds=5.0),
        ),
        "follow: as long as others took": (
            with_batch(changed(sent, followed=True), took=(100.0,)),
            None,
            _action("follow", seconds=(1 - 0.066) * 100 - 10),
        ),
        "follow: of several stages": (
            with_batch(changed(sent, followed=True), took=(100.0,), stages=("upgrade", "reimage")),
            None,
            _action("follow", seconds=5.0),
        ),
        "follow: too long": (
            with_batch(changed(late, followed=True)),
            None,
            _action("end-request", entry={"kind": "ended", "overdue": True, "request": "upgrade"}),
        ),
        "batch: look": (with_batch(lost), None, _action("look", request="instances")),
        "batch: look at the model too": (
            with_batch(lost, stages=("upgrade", "reimage")),
            seen(*OUTDATED.members.values(), model=None),
            _action("look", request=""),
        ),
        "batch: implausible": (with_batch(lost, doubted=frozenset("1")), OUTDATED, _action("note-wait")),
        "lost: shows": (
            with_batch(lost),
            busy,
            _action("take-for-sent", ids=("0",), entry={"kind": "posted", "operation": None}),
        ),
        "lost: is there": (with_batch(lost), FIRST, _action("take-for-sent")),
        "lost: another instance": (
            with_batch(lost),
            seen(current("0", vm_id="other"), instance("1"), instance("2")),
            _action("wait", cause="lost-answer"),
        ),
        "lost: has failed": lost_shows("upgrade", state="Failed"),
        "lost: had failed": lost_hides("upgrade", state="Failed"),
        "lost: deallocated": lost_shows("deallocate", power="deallocated"),
        "lost: was deallocated": lost_hides("deallocate", power="deallocated"),
        "lost: starts": lost_shows("start", power="starting"),
        "lost: does not start": lost_hides("start", power="deallocated"),
        "lost: is made anew": lost_shows("reimage", latest=True, version="2"),
        "lost: is not made anew": lost_hides("reimage", latest=True),
        "lost: waits": (
            with_batch(lost),
            OUTDATED,
            _action("wait", seconds=5.0, cause="lost-answer", deadline=NOW + 20),
        ),
        "lost: given up": (
            with_batch(changed(lost, sent=NOW - 30)),
            OUTDATED,
            _action("give-up", cause="lost", entry={"cause": "lost"}),
        ),
        "watch: moves": (with_batch(sent), busy, _action("wait", seconds=10.0, cause="operation", deadline=NOW + 290)),
        "watch: moves too long": (with_batch(late), busy, _ends("paused", "operation")),
        "watch: not quiet": (with_batch(sent), OUTDATED, _action("wait", cause="operation")),
        "watch: quiet": (
            with_batch(changed(sent, sent=NOW - 60)),
            OUTDATED,
            _action("end-request", entry={"returned": True, "error": ""}),
        ),
        "watch: quiet, too late": (with_batch(late), OUTDATED, _action("end-request")),
        "watch: all are there": (with_batch(sent), FIRST, _action("end-request")),
    }


def _of_stages() -> dict[str, Row]:
    every = ("deallocate", "upgrade", "start", "reimage")

    def staged(done: tuple[str, ...], policy: Mapping[str, Any] | None = None, **values: Any) -> State:
        return state(policy, **{"batch": batch(done=done), "stages": every, **values})

    def shown(*members: InstanceStatus, **values: Any) -> Snapshot:
        others = (instance("1"), instance("2"))[: 3 - len(members)]
        return seen(*members, *others, **values)

    def intends(request: str, number: int) -> dict[str, Any]:
        return _action(
            "intend", request=request, ids=("0",), entry={"kind": "stage", "name": request, "number": number}
        )

    moved = {"hosted": False, "size": "big"}
    gone = current("0", power="deallocated")
    settles = _action("settle", entry={"classes": {"0": "unchanged"}})
    return {
        "stages: look at the model": (
            state(batch=batch()),
            seen(*OUTDATED.members.values(), model=None),
            _action("look", request=""),
        ),
        "stages: another model": (state(batch=batch()), seen(current("0"), model="m3"), _ends("stopped", "drift")),
        "stages: another model, several": (staged(every[:2]), shown(gone, model="m3"), _ends("stopped", "drift")),
        "stages: start after a foreign write": (
            staged(every[:2], deallocated=frozenset("0")),
            shown(gone, model="m3"),
            intends("start", 2),
        ),
        "stages: deallocate": (staged((), **moved), OUTDATED, intends("deallocate", 0)),
        "stages: of that size": (
            staged((), size="BIG", hosted=False),
            shown(instance("0", size="big")),
            intends("upgrade", 1),
        ),
        "stages: upgrade": (staged(every[:1], **moved), OUTDATED, intends("upgrade", 1)),
        "stages: start": (staged(every[:2], deallocated=frozenset("0")), shown(gone), intends("start", 2)),
        "stages: hangs": (staged(every[:1], hanging={"url": "u"}), OUTDATED, _action("note-wait", cause="busy")),
        "stages: hangs, and a start waits": (
            staged(every[:2], hanging={"url": "u"}, wait=Wait("busy", NOW - 119), deallocated=frozenset("0")),
            shown(gone),
            _action("follow-hanging", cause="busy", deadline=NOW + 1),
        ),
        "stages: hangs, and a start goes beside it": (
            staged(every[:2], hanging={"url": "u"}, wait=Wait("busy", NOW - 120), deallocated=frozenset("0")),
            shown(gone),
            intends("start", 2),
        ),
        "stages: hangs, and a start goes before an upgrade": (
            staged(
                every[:1],
                batch=batch("01", done=every[:1]),
                hanging={"url": "u"},
                wait=Wait("busy", NOW - 120),
                deallocated=frozenset("0"),
            ),
            shown(instance("0", power="deallocated"), instance("1")),
            intends("start", 2),
        ),
        "stages: hangs too long, and nothing is deallocated": (
            staged(every[:1], hanging={"url": "u"}, wait=Wait("busy", NOW - 120)),
            OUTDATED,
            _ends("paused", "busy"),
        ),
        "stages: deallocated, and changed by others": (
            staged(every[:2], deallocated=frozenset("0")),
            shown(current("0", power="deallocated", state="Updating")),
            _action("note-wait", cause="others"),
        ),
        "stages: gone since it was deallocated": (
            staged(every[:2], deallocated=frozenset("0")),
            shown(instance("1"), instance("2")),
            _action("settle", entry={"classes": {"0": "vanished"}}),
        ),
        "stages: protected since the batch began": (
            staged(("upgrade",), anew="shown", stages=("upgrade", "reimage")),
            shown(current("0", version="1", image="", protected=True)),
            _action("settle", entry={"classes": {"0": "skipped-protected"}}),
        ),
        "stages: protected since it was deallocated": (
            staged(every[:1], deallocated=frozenset("0")),
            shown(instance("0", power="deallocated", protected=True)),
            intends("start", 2),
        ),
        "stages: others changed it all the time": (
            staged(every[:2], batch=batch(done=every[:2], watched=NOW - 100)),
            shown(instance("0", state="Updating")),
            settles,
        ),
        "stages: failed, and was started": (
            staged((), batch=batch(done=every[:3], error="X", returned=True), sends={"0": 1}),
            OUTDATED,
            _action("settle", entry={"classes": {"0": "failed"}, "reasons": {"0": "X"}}),
        ),
        "stages: failed, and nobody could follow": (
            staged((), batch=batch(status="sent", sent=NOW - 60, done=())),
            shown(instance("0", state="Failed", trouble="X")),
            _action("end-request", entry={"error": "X", "returned": True}),
        ),
        "stages: started, and nobody could follow": (
            staged((), batch=batch(request="start", status="sent", sent=NOW - 60)),
            OUTDATED,
            _action("end-request", entry={"error": "", "returned": False}),
        ),
        "stages: start again, not yet": (
            staged(every[:3], deallocated=frozenset("0")),
            shown(gone),
            _action("wait", seconds=60.0, cause="operation", deadline=NOW + 60),
        ),
        "stages: start again": (
            staged((), deallocated=frozenset("0"), batch=batch(done=("upgrade", *("start",) * 4), watched=NOW - 60)),
            shown(gone),
            intends("start", 2),
        ),
        "stages: started often enough": (
            staged((), deallocated=frozenset("0"), batch=batch(done=(*every[:2], *("start",) * 5), watched=NOW - 60)),
            shown(gone),
            _action("wait", cause="health", deadline=NOW + 40),
        ),
        "stages: started often enough, and too late": (
            staged((), deallocated=frozenset("0"), batch=batch(done=("upgrade", *("start",) * 5), watched=NOW - 100)),
            shown(gone),
            _action("settle", entry={"classes": {"0": "failed"}}),
        ),
        "stages: start in a plan without": (
            staged(("upgrade",), deallocated=frozenset("0"), stages=("upgrade", "reimage")),
            shown(gone),
            intends("start", 2),
        ),
        "stages: reimage": (
            staged(every[:3], anew="shown"),
            shown(current("0", version="1", image="")),
            intends("reimage", 3),
        ),
        "stages: always anew": (staged(every[:3], anew="always"), FIRST, intends("reimage", 3)),
        "stages: was made anew": (
            staged(every[:3], anew="always", reimaged=frozenset("0")),
            FIRST,
            _action("note-health", ids=("0",)),
        ),
        "stages: not anew": (staged(every[:3]), FIRST, _action("note-health")),
        "stages: moves": (
            staged(every[:1], {"health_timeout_seconds": 50.0}),
            shown(instance("0", state="Updating")),
            _action("wait", cause="health", deadline=NOW + 50),
        ),
        "stages: the floor": (
            staged(every[:3], anew="always"),
            shown(current("0"), instance("1", health="unhealthy")),
            _action("note-wait", cause="floor"),
        ),
        "stages: a part, as the floor allows": (
            staged((), anew="always", batch=batch("01", done=("upgrade",))),
            shown(current("0"), current("1"), current("2")),
            _action("intend", request="reimage", ids=("0",), entry={"ids": ["0"], "batch": ["0"]}),
        ),
        "stages: a part, what is out of service": (
            staged((), anew="always", batch=batch("012", done=("upgrade",)), reimaged=frozenset("2")),
            shown(current("0"), current("1", health="unhealthy"), current("2")),
            _action("intend", request="reimage", ids=("1",), entry={"ids": ["1"], "batch": ["1", "2"]}),
        ),
        "stages: the whole, as the floor allows": (
            staged((), {"min_healthy_instance_percent": 30}, anew="always", batch=batch("01", done=("upgrade",))),
            shown(current("0"), current("1"), current("2")),
            _action("intend", request="reimage", ids=("0", "1"), entry={"ids": ["0", "1"], "batch": None}),
        ),
        "stages: start below the floor": (
            staged(every[:2], deallocated=frozenset("0")),
            shown(gone, instance("1", health="unhealthy")),
            intends("start", 2),
        ),
        "stages: an old snapshot": (staged(every[:3], anew="always"), shown(current("0"), age=31), _action("look")),
        "stages: given back": (state(batch=batch(returned=True)), OUTDATED, settles),
    }


def _of_health() -> dict[str, Row]:
    def settles(kind: str, reason: str | None = None) -> dict[str, Any]:
        reasons = {} if reason is None else {"0": reason}
        return _action("settle", ids=("0",), entry={"classes": {"0": kind}, "reasons": reasons})

    def first(**values: Any) -> Snapshot:
        return seen(current("0", **values), instance("1"), instance("2"))

    def outdated(**values: Any) -> Snapshot:
        return seen(instance("0", **values), instance("1"), instance("2"))

    def of(policy: Mapping[str, Any] | None = None, state_: Mapping[str, Any] | None = None, **values: Any) -> State:
        return state(policy, batch=batch(**values), **(state_ or {}))

    silent = seen(*(member._replace(health="") for member in FIRST.members.values()))
    late, well = {"watched": NOW - 100}, {"fit_since": NOW - 10}
    waits = _action("wait", seconds=10.0, cause="health", deadline=NOW + 100)
    taken = {"direction": "back", "legs": (Leg("1", "i:1", frozenset("0")),)}
    timeout = "it was not healthy in time"
    return {
        "health: waits": (of(), first(health="unhealthy"), waits),
        "health: too late": (of(**late), first(health="unhealthy"), settles("failed", timeout)),
        "health: a relapse": (
            of(**well),
            first(health="initializing"),
            _action("note-health", ids=("0",), entry={"kind": "relapsed", "ids": ["0"]}),
        ),
        "health: unhealthy after it was well": (of(**well), first(health="unhealthy"), settles("failed", timeout)),
        "health: relapses": (
            of(relapses=5),
            first(health="initializing"),
            settles("failed", "it was available and fell back again and again"),
        ),
        "health: all reports cease": (of(**late), silent, _action("note-wait", cause="silence")),
        "health: none has ever reported": (
            of(**late),
            silent._replace(source="required", reports=False),
            _action("note-wait", cause="silence"),
        ),
        "health: all reports cease, too long": (
            of(state_={"wait": Wait("silence", NOW - 60)}, **late),
            silent,
            _ends("paused", "silence"),
        ),
        "health: initializes": (
            of(state_={"grace": 500.0}, **late),
            first(health="initializing"),
            _action("wait", cause="health", deadline=NOW + 400),
        ),
        "health: well": (of(), FIRST, _action("note-health", ids=("0",), entry={"kind": "fit", "ids": ["0"], "of": 1})),
        "health: settles": (of(**well), FIRST, settles("updated")),
        "health: bakes": (
            of({"bake_seconds": 60.0}, **well),
            FIRST,
            _action("wait", seconds=30.0, cause="bake", deadline=NOW + 50),
        ),
        "health: bakes what is left": (
            of({"bake_seconds": 20.0}, **well),
            FIRST,
            _action("wait", seconds=10.0, cause="bake", deadline=NOW + 10),
        ),
        "health: has baked": (of({"bake_seconds": 10.0}, **well), FIRST, settles("updated")),
        "health: the canary bakes": (
            of({"canary_bake_seconds": 30.0}, canary=True, **well),
            FIRST,
            _action("wait", cause="bake", deadline=NOW + 20),
        ),
        "health: no bake beyond the budget": (
            state({"bake_seconds": 60.0}, gated=True, batch=batch("01", failed=frozenset("1"), error="X", **well)),
            seen(current("0"), instance("1"), instance("2")),
            _action("settle", entry={"classes": {"0": "updated", "1": "failed"}, "reasons": {"1": "X"}}),
        ),
        "health: a gate": (of(state_={"gated": True}, **well), FIRST, _action("gate", ids=("0",))),
        "health: the gate passed": (of(state_={"gated": True}, gate="pass", **well), FIRST, settles("updated")),
        "health: the gate refused": (
            of(state_={"gated": True}, gate="fail", **well),
            FIRST,
            settles("failed", "the gate refused it"),
        ),
        "class: failed, as before, after a lost answer": (
            of(returned=True, failed=frozenset("0")),
            outdated(state="Failed"),
            settles("failed", timeout),
        ),
        "class: failed, as before, and given back": (
            of(returned=True, followed=True, failed=frozenset("0")),
            outdated(state="Failed"),
            settles("unchanged"),
        ),
        "class: vanished": (
            of(),
            seen(instance("1"), instance("2")),
            _action("settle", entry={"classes": {"0": "vanished"}, "absent": ["0"]}),
        ),
        "class: another instance": (of(), first(vm_id="other"), settles("vanished")),
        "class: being deleted": (of(), first(state="Deleting"), settles("vanished")),
        "class: rolled back": (
            of(state_=taken, **well),
            seen(instance("0", latest=True), instance("1"), instance("2")),
            settles("rolled-back"),
        ),
        "class: was unavailable": (of(unavailable=frozenset("0")), first(health="unhealthy"), waits),
        "class: was unavailable, and is": (
            of(unavailable=frozenset("0"), **late),
            first(health="unhealthy"),
            settles("still-unavailable"),
        ),
        "class: was stopped, and is": (
            of(unavailable=frozenset("0"), stopped=frozenset("0")),
            first(power="stopped"),
            settles("still-unavailable"),
        ),
        "class: evicted": (of(), first(power="deallocated"), settles("evicted")),
        "class: deallocated by us": (of(done=("deallocate", "upgrade")), first(power="deallocated"), waits),
        "class: failed, and on the model": (
            of(),
            first(state="Failed", trouble="OSProvisioningTimedOut"),
            settles("failed", "OSProvisioningTimedOut"),
        ),
        "class: moves": (of(), outdated(state="Updating"), waits),
        "class: moves too long": (of(**late), outdated(state="Updating"), settles("failed", timeout)),
        "class: failed": (of(), outdated(state="Failed"), settles("failed", timeout)),
        "class: had failed": (of(failed=frozenset("0")), outdated(state="Failed"), waits),
        "class: evicted before": (of(), outdated(power="deallocated"), settles("unchanged")),
        "class: evicted before, thrice": (
            of(state_={"sends": {"0": 3}}),
            outdated(power="deallocated"),
            settles("failed", timeout),
        ),
        "class: was deallocated": (of(stopped=frozenset("0")), outdated(power="deallocated"), waits),
        "class: error": (of(error="Y"), outdated(), settles("failed", "Y")),
        "class: an old list": (of(), outdated(), waits),
        "class: an old list, too long": (of(**late), outdated(), settles("failed", timeout)),
        "class: of Updating ones no look at the model": (
            of(),
            seen(instance("0", state="Updating"), instance("1"), instance("2"), model=None),
            waits,
        ),
    }


def _of_batches() -> dict[str, Row]:
    sick = seen(current("0", health="unhealthy"), instance("1"), instance("2"))
    held = seen(instance("0", protected=True), instance("1"), instance("2"))
    stopped = seen(instance("0", power="stopped"), instance("1"), instance("2"))
    share = {"max_unhealthy_instance_percent": 30}
    upgraded = {"max_unhealthy_upgraded_instance_percent": 50}
    taken = {"direction": "back", "legs": (Leg("1", "i:1", frozenset("12")),)}
    limit = _action("note-wait", cause="unhealthy")
    return {
        "next: intends": (state(), OUTDATED, INTENDS),
        "next: look": (state(), None, _action("look", request="")),
        "next: stale": (state(stale=True), OUTDATED, _action("look")),
        "next: an old snapshot": (state(), seen(*OUTDATED.members.values(), age=31), _action("look")),
        "next: drift": (state(), seen(*OUTDATED.members.values(), model="m3"), _ends("stopped", "drift")),
        "next: drift, and what is deallocated is started first": (
            state(deallocated=frozenset("0"), stages=("deallocate", "upgrade", "start")),
            seen(instance("0", power="deallocated"), instance("1"), instance("2"), model="m3"),
            _action("intend", ids=("0",), request="start", entry={"request_ids": ["0"]}),
        ),
        "next: protected": (state({"on_protected": "fail"}), held, _ends("stopped", "protected")),
        "next: protected is skipped": (state(), held, _action("intend", ids=("1",))),
        "next: stopped": (state({"on_stopped": "fail"}), stopped, _ends("stopped", "stopped-instances")),
        "next: stopped by us": (
            state({"on_stopped": "fail"}, deallocated=frozenset("0"), stages=("upgrade", "start")),
            seen(instance("0", power="deallocated"), instance("1"), instance("2")),
            _action("intend", ids=("0",), entry={"stopped": [], "unavailable": []}),
        ),
        "next: none stopped": (state({"on_stopped": "fail"}), OUTDATED, INTENDS),
        "next: stopped in a rollback": (
            state({"on_stopped": "fail"}, direction="back", legs=(Leg("2"),)),
            stopped,
            _action("intend", ids=("0",)),
        ),
        "next: stopped first": (state(), stopped, _action("intend", ids=("0",), entry={"left": 2, "stopped": ["0"]})),
        "next: stopped is skipped": (
            state({"on_stopped": "skip", "min_healthy_instance_percent": 30}),
            stopped,
            _action("intend", ids=("1",)),
        ),
        "next: too unhealthy": (state(share), sick, limit),
        "next: too unhealthy, too long": (
            state(share, wait=Wait("unhealthy", NOW - 60)),
            sick,
            _ends("stopped", "unhealthy"),
        ),
        "next: unhealthy before": (
            state({**share, "min_healthy_instance_percent": 30}, unavailable=frozenset("0")),
            sick,
            _action("intend", ids=("1",)),
        ),
        "next: unhealthy in a rollback": (
            state({**share, "min_healthy_instance_percent": 30}, **taken),
            seen(instance("0", health="unhealthy"), current("1"), current("2")),
            _action("intend", ids=("1",)),
        ),
        "next: upgraded unhealthy": (state(upgraded, classes={"0": "updated"}), sick, limit),
        "next: upgraded failed": (state({**upgraded, "failure_budget": 1}, classes={"0": "failed"}), FIRST, limit),
        "next: upgraded well": (state(upgraded, classes={"0": "updated"}), FIRST, _action("intend", ids=("1",))),
        "next: pause": (
            state({"pause_seconds": 30.0}, closed_at=NOW - 10),
            FIRST,
            _action("wait", seconds=20.0, cause="pause", deadline=NOW + 20),
        ),
        "next: pause is over": (
            state({"pause_seconds": 30.0}, closed_at=NOW - 30),
            FIRST,
            _action("intend", ids=("1",)),
        ),
        "next: checkpoint": (
            state({"checkpoints": (30,)}, classes={"0": "updated"}),
            FIRST,
            _action("checkpoint", entry={"percent": 30}),
        ),
        "next: checkpoint not reached": (
            state({"checkpoints": (40,)}, classes={"0": "updated"}),
            FIRST,
            _action("intend"),
        ),
        "next: checkpoint paused at": (
            state({"checkpoints": (30,)}, classes={"0": "updated"}, checkpoint=30),
            FIRST,
            _action("intend"),
        ),
        "next: no checkpoint when taking back": (
            state({"checkpoints": (30,)}, classes={"0": "updated"}, takes_back=True),
            FIRST,
            _action("intend"),
        ),
        "next: hangs": (state(hanging={"url": "u"}), OUTDATED, _action("note-wait", cause="busy")),
        "next: hangs on": (
            state(hanging={"url": "u"}, wait=Wait("busy", NOW - 10)),
            OUTDATED,
            _action("follow-hanging", seconds=30.0, cause="busy", deadline=NOW + 110),
        ),
        "next: hangs too long": (
            state(hanging={"url": "u"}, wait=Wait("busy", NOW - 120)),
            OUTDATED,
            _ends("paused", "busy"),
        ),
        "next: hangs, and what is deallocated waits": (
            state(hanging={"url": "u"}, deallocated=frozenset("0"), wait=Wait("busy", NOW - 119)),
            seen(instance("0", power="deallocated"), instance("1"), instance("2")),
            _action("follow-hanging"),
        ),
        "next: hangs, and what is deallocated is started beside it": (
            state(hanging={"url": "u"}, deallocated=frozenset("0"), wait=Wait("busy", NOW - 120)),
            seen(instance("0", power="deallocated"), instance("1"), instance("2")),
            _action("intend", ids=("0",), request="start", entry={"request_ids": ["0"]}),
        ),
        "next: others": (
            state(),
            seen(instance("0", state="Updating"), current("1"), current("2")),
            _action("note-wait", cause="others"),
        ),
        "next: the floor": (
            state(),
            seen(current("0", health="unhealthy"), instance("1"), instance("2")),
            _action("note-wait", cause="floor"),
        ),
        "next: the floor, by what nothing shows": (
            state(),
            seen(current("0", power=""), instance("1"), instance("2")),
            _action("note-wait", cause="floor"),
        ),
        "next: the floor, by what is listed though gone": (
            state(),
            OUTDATED._replace(model=Model("m2", "o2", 2)),
            {
                **_action("note-wait", cause="floor"),
                "entry": {
                    "reason": "no further instance can be spared: the floor would be broken (3 are available, "
                    "2 are needed; the list has 1 more than the capacity, which may be gone)"
                },
            },
        ),
        "next: the floor, by what is not active": (
            state({"min_healthy_instance_percent": 60}, turned_down={"2": 3}),
            OUTDATED,
            {
                **_action("note-wait", cause="floor"),
                "entry": {
                    "reason": "no further instance can be spared: the floor would be broken (2 are available, "
                    "2 are needed; Azure calls each of 2 not an active instance)"
                },
            },
        ),
        "next: the canary": (
            state({"canary_instances": 1, "batch_size": 2, "min_healthy_instance_percent": 0}),
            OUTDATED,
            _action("intend", ids=("0",), entry={"canary": True}),
        ),
        "next: after the canary": (
            state({"canary_instances": 1, "batch_size": 2, "min_healthy_instance_percent": 0}, batches=1),
            OUTDATED,
            _action("intend", ids=("0", "1"), entry={"canary": False}),
        ),
        "next: as its stages want": (
            state(stages=("deallocate", "upgrade", "start"), hosted=False, size="big"),
            OUTDATED,
            _action("intend", request="deallocate", ids=("0",)),
        ),
        "next: left behind by a batch before its disk was made anew": (
            state(stages=("upgrade", "reimage"), anew="always", sends={"0": 1, "1": 1}, reimaged=frozenset("0")),
            ALL,
            _action("intend", request="reimage", ids=("1",), entry={"request_ids": ["1"]}),
        ),
        "next: deallocated by us, and listed again": (
            state(stages=("deallocate", "upgrade", "start"), deallocated=frozenset("01")),
            seen(current("0", power="deallocated"), current("1"), current("2")),
            _action("intend", request="start", ids=("0",), entry={"request_ids": ["0"]}),
        ),
        "next: deallocated by us is not unhealthy": (
            state(share, stages=("deallocate", "upgrade", "start"), deallocated=frozenset("0")),
            seen(instance("0", power="deallocated"), instance("1"), instance("2")),
            _action("intend", request="upgrade", ids=("0",)),
        ),
        "next: an arrival below the pinned version": (
            state(),
            seen(current("0"), current("1"), instance("2", latest=True)),
            _action("intend", request="upgrade", entry={"request_ids": ["2"]}),
        ),
    }


def _of_results() -> dict[str, Row]:
    back: dict[str, Any] = {"direction": "back", "model": "written", "fingerprint": "m2"}
    legs = (Leg("1", "i:1", frozenset("0")),)
    returned = seen(instance("0", latest=True), current("1"), current("2"))
    return {
        "end: succeeded": (state(**PINNED), ALL, _ends("succeeded")),
        "end: the next leg": (
            state(legs=(LEG, Leg("3"))),
            ALL,
            _action("next-leg", entry={"kind": "leg", "number": 1}),
        ),
        "end: inactive": (
            state(turned_down={"0": 3}),
            seen(instance("0"), current("1"), current("2")),
            _ends("paused", "inactive"),
        ),
        "end: fallen": (
            state(**PINNED),
            seen(instance("0", latest=True), current("1"), current("2")),
            _ends("paused", "others"),
        ),
        "end: below the floor": (
            state(**PINNED),
            seen(current("0", health="unhealthy"), current("1", health="unhealthy"), current("2")),
            _action("note-wait", cause="floor"),
        ),
        "end: rolled back": (state(**back, legs=legs), returned, _ends("rolled-back", "rollback")),
        "end: rolled back, vanished": (
            state(**back, legs=legs, classes={"0": "vanished"}),
            ALL,
            _ends("rolled-back", "rollback"),
        ),
        "end: rolled back, gone": (
            state(**back, legs=legs),
            seen(current("1"), current("2")),
            _ends("rolled-back", "rollback"),
        ),
        "end: not rolled back": (
            state(**back, legs=legs, posted=frozenset("0")),
            ALL,
            _ends("rollback-failed", "rollback"),
        ),
        "end: failed in the rollback": (
            state({"failure_budget": 1}, **back, legs=legs, classes={"0": "failed"}),
            returned,
            _ends("rollback-failed", "rollback"),
        ),
        "end: unreturnable": (
            state(**back, legs=legs, unreturnable=("1 ran an image that is gone",)),
            returned,
            _ends("rollback-failed", "rollback"),
        ),
        "end: taken back": (state(takes_back=True, legs=legs), returned, _ends("succeeded")),
        "end: not taken back": (
            state(takes_back=True, legs=legs, posted=frozenset("0")),
            ALL,
            _ends("stopped", "rollback"),
        ),
    }
