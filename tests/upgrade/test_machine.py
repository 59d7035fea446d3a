"""The machine by tables: what is decided in each state, and what each entry makes of a state. No emulator, no clock."""

from collections.abc import Mapping
from typing import Any

import pytest

from azurerm_lite.upgrade.rules import machine
from azurerm_lite.upgrade.rules.policy import Policy
from azurerm_lite.upgrade.rules.snapshot import Snapshot
from azurerm_lite.upgrade.rules.state import Batch, Ending, Leg, State, Wait, begin, changed, find_deallocated
from azurerm_lite.upgrade.rules.verdict import verdict_classes

from .search import tables
from .search.tables import NOW, instance, seen

ROWS = tables.rows()
LEGS = {"legs": (Leg("1", "i:1", frozenset("0")), Leg("2", "i:2", frozenset("12"))), "leg": 1}


@pytest.mark.parametrize(("state", "snapshot", "expected"), ROWS.values(), ids=ROWS)
def test_what_is_decided(state: State, snapshot: Snapshot | None, expected: Mapping[str, Any]) -> None:
    assert tables.differences(machine.decide(state, snapshot, NOW), expected) == []


@pytest.mark.parametrize(
    ("cause", "field"),
    [
        *((cause, "outage") for cause in ("outage", "implausible", "stale", "lost-answer")),
        ("throttled", "throttle"),
        *((cause, "busy") for cause in ("busy", "others", "protection", "model")),
        *((cause, "floor") for cause in ("floor", "unhealthy", "silence", "inactive")),
    ],
)
def test_how_long_a_cause_is_waited_for(cause: str, field: str) -> None:
    policy = Policy(**tables.POLICY)
    assert machine.limit_of(policy, cause) == getattr(policy, f"{field}_timeout_seconds")
    assert machine.limit_of(policy, "refused") == 0.0


@pytest.mark.parametrize(
    ("values", "snapshot", "doubtful"),
    [
        ({}, tables.OUTDATED, []),
        ({}, seen(instance("0"), instance("1")), ["2"]),
        ({"classes": {"0": "updated", "1": "failed"}}, tables.OUTDATED, ["0"]),
        ({"classes": {"0": "updated"}}, tables.FIRST, []),
        ({"classes": {"2": "updated"}}, seen(instance("0"), instance("1")), ["2"]),
        ({"classes": {"0": "updated"}, "legs": (Leg("1", instances=frozenset("0")), Leg("3"))}, tables.OUTDATED, []),
        ({"classes": {"0": "updated"}, "legs": (Leg("1", instances=frozenset("1")), Leg("3"))}, tables.FIRST, ["0"]),
    ],
)
def test_what_of_a_snapshot_is_to_be_seen_twice(values: dict[str, Any], snapshot: Snapshot, doubtful: Any) -> None:
    entry = machine.build_snapshot_entry(tables.state(**values), snapshot)
    assert (entry["doubtful"], entry["ids"], entry["at"]) == (doubtful, frozenset(snapshot.members), snapshot.at)


@pytest.mark.parametrize(
    ("values", "shown", "failed"),
    [
        ({"state": "Failed", "trouble": "OOM: no room"}, {}, {"0": "OOM: no room"}),
        ({"state": "Failed"}, {}, {"0": "it was not listed after its upgrade, and is Failed"}),
        ({"state": "Failed"}, {"absent": {"0": "OOM"}}, {"0": "OOM"}),
        ({"state": "Failed"}, {"sends": {}}, {}),
        ({}, {"absent": {"0": "OOM"}}, {"0": "OOM"}),
        ({}, {"absent": {"0": "OOM"}, "sends": {}}, {}),
        ({"latest": True, "version": "2", "image": "i:2"}, {"absent": {"0": "OOM"}}, {}),
        ({}, {"absent": {"0": "OOM"}, **LEGS}, {}),
        ({"image": "i:0"}, {"absent": {"0": "OOM"}, **LEGS}, {"0": "OOM"}),
        ({}, {}, {}),
    ],
)
def test_a_failed_upgrade_is_not_sent_again_when_lists_had_lost_its_instance(
    values: dict[str, Any], shown: dict[str, Any], failed: dict[str, str]
) -> None:
    """Two empty lists, and the instance was vanished; then it is listed again, perhaps started and Succeeded."""
    facts = {"absent": {"0": ""}, "classes": {"0": "vanished"}, "posted": frozenset("0"), "sends": {"0": 1}}
    before = tables.state(**{**facts, **shown})
    snapshot = seen(instance("0", **values), instance("1"), instance("2"))
    after = machine.apply(before, machine.build_snapshot_entry(before, snapshot))
    assert (after.classes, after.reasons, after.absent) == (dict.fromkeys(failed, "failed"), failed, {})


def test_what_was_not_available_before_is_updated_once_it_is_available() -> None:
    state = tables.state(classes={"0": "still-unavailable", "1": "still-unavailable", "2": "still-unavailable"})
    snapshot = seen(tables.current("0"), tables.current("1", health="unhealthy"), instance("2"))
    assert verdict_classes(state, snapshot) == {"0": "updated", "1": "still-unavailable", "2": "still-unavailable"}
    back = changed(state, direction="back")
    assert verdict_classes(back, snapshot)["0"] == "rolled-back"
    assert verdict_classes(state, None) == state.classes
    assert verdict_classes(state, seen(instance("2")))["0"] == "still-unavailable"
    unmade = changed(state, anew="always", sends={"0": 1, "1": 1}, reimaged=frozenset("1"))
    assert verdict_classes(unmade, tables.ALL) == {"0": "still-unavailable", "1": "updated", "2": "updated"}


# --- what each entry makes of a state --------------------------------------------------------------------------------

STATE = tables.state()
SENT = tables.batch(status="sent", done=(), sent=NOW - 20, ended=None, watched=0.0, followed=True)
INTENDED = tables.batch(status="intended", done=(), ended=None, watched=0.0)
ENDED = tables.batch()
STALE: dict[str, Any] = {"stale": True}
LOOKED = {"looks": 1}
GAP = {"protected_at": NOW + 90, "gaps": 1, **STALE}
EVENTS: dict[str, tuple[State, dict[str, Any], dict[str, Any]]] = {
    "unknown": (STATE, {"kind": "remark"}, {}),
    "model-intent": (STATE, {"kind": "model-intent"}, {"model": "intended"}),
    "model-posted": (
        changed(STATE, wait=Wait("outage", 0.0)),
        {"kind": "model-posted"},
        {"model": "sent", "model_since": NOW, "wait": None},
    ),
    "model-answered": (STATE, {"kind": "model-answered"}, {"model": "answered", **STALE}),
    "model-written": (
        changed(STATE, model="sent", model_written=False, wait=Wait("outage", 0.0)),
        {"kind": "model-written", "fingerprint": "m9"},
        {"model": "written", "model_written": True, "fingerprint": "m9", "wait": None, **STALE},
    ),
    "model-written, without a fingerprint": (
        changed(STATE, fingerprint=""),
        {"kind": "model-written"},
        {"fingerprint": "m2", **STALE},
    ),
    "intent": (
        changed(STATE, operation={"url": "u"}, protections=2),
        {"kind": "intent", "ids": ["0"], "vm_ids": ["vm0"], "canary": True, "left": 2, "stopped": ["0"]},
        {
            "batch": Batch(("0",), ("vm0",), NOW, True, request_ids=("0",), stopped=frozenset("0")),
            "posted": frozenset("0"),
            "operation": None,
            "available_left": 2,
            "protections": 0,
        },
    ),
    "stage": (
        changed(STATE, batch=ENDED, operation={"url": "u"}),
        {"kind": "stage", "name": "start", "ids": ["0"]},
        {"batch": changed(ENDED, request="start", status="intended"), "operation": None},
    ),
    "stage, of a part": (
        changed(STATE, batch=tables.batch("01"), posted=frozenset("012")),
        {"kind": "stage", "name": "reimage", "ids": ["1"], "batch": ["1"]},
        {"batch": changed(tables.batch("1"), request="reimage", status="intended"), "posted": frozenset("12")},
    ),
    "stage, of a part, without a batch": (STATE, {"kind": "stage", "name": "start", "ids": ["0"], "batch": ["0"]}, {}),
    "stage, without a batch": (STATE, {"kind": "stage", "name": "start", "ids": ["0"]}, {}),
    "posted": (
        changed(
            STATE, batch=INTENDED, available_left=1, lowest=2, unsent=3, sends={"0": 1}, turned_down={"0": 1, "1": 1}
        ),
        {"kind": "posted", "operation": {"url": "u"}},
        {
            "batch": changed(INTENDED, status="sent", sent=NOW, followed=True),
            "operation": {"url": "u"},
            "sends": {"0": 2},
            "lowest": 1,
            "unsent": 0,
            "turned_down": {"1": 1},
            **STALE,
        },
    ),
    "posted, without a handle": (
        changed(STATE, batch=changed(INTENDED, request="reimage")),
        {"kind": "posted"},
        {"batch": changed(INTENDED, request="reimage", status="sent", sent=NOW), "sends": {"0": 0}, **STALE},
    ),
    "posted, a deallocation": (
        changed(STATE, batch=changed(tables.batch("01"), request="deallocate", stopped=frozenset("1"))),
        {"kind": "posted"},
        {
            "batch": changed(tables.batch("01"), request="deallocate", stopped=frozenset("1"), status="sent", sent=NOW),
            "deallocated": frozenset("0"),
            "sends": {"0": 0, "1": 0},
            **STALE,
        },
    ),
    "posted, without a batch": (STATE, {"kind": "posted"}, {}),
    "lost": (
        changed(STATE, batch=INTENDED),
        {"kind": "lost"},
        {"batch": changed(INTENDED, status="lost", sent=NOW), **STALE},
    ),
    "unposted, stale": (
        changed(STATE, batch=INTENDED, posted=frozenset("01"), operation={"url": "u"}),
        {"kind": "unposted", "reason": "too old"},
        {
            "batch": None,
            "posted": frozenset("1"),
            "operation": None,
            "unsent": 100,
            "wait": Wait("stale", NOW, "too old", NOW, "send"),
            **STALE,
        },
    ),
    "unposted, to stop": (
        changed(STATE, batch=INTENDED),
        {"kind": "unposted", "cause": "stop"},
        {"batch": None, "unsent": 1, **STALE},
    ),
    "unposted, lost": (
        changed(STATE, batch=INTENDED),
        {"kind": "unposted", "cause": "lost", "reason": "r"},
        {"batch": None, "unsent": 1, "wait": Wait("outage", NOW, "r", NOW + 5, "send"), **STALE},
    ),
    "unposted, inactive": (
        changed(STATE, batch=INTENDED, turned_down={"0": 1}),
        {"kind": "unposted", "cause": "inactive"},
        {
            "batch": None,
            "unsent": 100,
            "turned_down": {"0": 2},
            **STALE,
            "wait": Wait("inactive", NOW, "", NOW + 5, "send"),
        },
    ),
    "unposted, after a stage": (
        changed(STATE, batch=changed(INTENDED, done=("deallocate",)), posted=frozenset("0")),
        {"kind": "unposted", "cause": "throttled", "retry_after": 0},
        {
            "batch": changed(INTENDED, done=("deallocate",), status="ended", ended=NOW, watched=NOW),
            "unsent": 1,
            "wait": Wait("throttled", NOW, "", NOW + 1, "send"),
            **STALE,
        },
    ),
    "unposted, without a batch": (STATE, {"kind": "unposted"}, {}),
    "trouble": (
        changed(STATE, wait=Wait("throttled", NOW - 60)),
        {"kind": "trouble", "cause": "throttled", "of": "look", "retry_after": 90},
        {"wait": Wait("throttled", NOW - 60, "", NOW + 90, "look"), **STALE},
    ),
    "trouble of another kind": (
        changed(STATE, wait=Wait("throttled", NOW - 60)),
        {"kind": "trouble", "cause": "busy"},
        {"wait": Wait("busy", NOW, "", NOW + 30), **STALE},
    ),
    "trouble with the model": (
        changed(STATE, model="sent"),
        {"kind": "trouble", "cause": "model", "of": "write-model"},
        {"model": "intended", "wait": Wait("model", NOW, "", NOW + 5, "write-model"), **STALE},
    ),
    "trouble with protection": (
        changed(STATE, protection="writing", shielded=("0",)),
        {"kind": "trouble", "cause": "busy", "of": "protect"},
        {"protection": "unneeded", "wait": Wait("busy", NOW, "", NOW + 30, "protect"), **STALE},
    ),
    "trouble with protection of none": (
        changed(STATE, protection="writing"),
        {"kind": "trouble", "cause": "refused", "of": "protect"},
        {"protection": "off", "wait": Wait("refused", NOW, "", NOW, "protect"), **STALE},
    ),
    "trouble at the end": (
        changed(STATE, ending=Ending("paused", "floor", ""), protection="removing", shielded=("0",)),
        {"kind": "trouble", "cause": "busy", "of": "follow-protection"},
        {"protection": "unneeded", "wait": Wait("busy", NOW, "", NOW + 30, "follow-protection"), **STALE},
    ),
    "trouble at the end, for good": (
        changed(STATE, ending=Ending("paused", "floor", ""), protection="removing", shielded=("0",)),
        {"kind": "trouble", "cause": "refused", "of": "unprotect", "reason": "403"},
        {"protection": "unneeded", "outstanding": ("unprotect", "403")},
    ),
    "trouble at the end, again": (
        changed(STATE, ending=Ending("paused", "floor", ""), wait=Wait("busy", NOW, of="resume-repairs")),
        {"kind": "trouble", "cause": "busy", "of": "resume-repairs"},
        {"outstanding": ("resume-repairs", "")},
    ),
    "ended": (
        changed(STATE, batch=SENT, operation={"url": "u"}),
        {"kind": "ended", "error": "X", "took": 30.0},
        {
            "batch": changed(SENT, status="ended", done=("upgrade",), ended=NOW, watched=NOW, error="X"),
            "operation": None,
            "took": (30.0,),
            **STALE,
        },
    ),
    "ended, overdue": (
        changed(STATE, batch=SENT, operation={"url": "u"}),
        {"kind": "ended", "overdue": True, "returned": True},
        {
            "batch": changed(SENT, status="ended", done=("upgrade",), ended=NOW, watched=NOW, returned=True),
            "operation": None,
            "hanging": {"url": "u"},
            "took": (50.0,),
            **STALE,
        },
    ),
    "ended, a start": (
        changed(STATE, batch=changed(SENT, request="start", error="X"), deallocated=frozenset("01")),
        {"kind": "ended", "took": 90.0},
        {
            "batch": changed(SENT, request="start", status="ended", done=("start",), ended=NOW, watched=NOW, error="X"),
            "took": (50.0,),
            "deallocated": frozenset("1"),
            **STALE,
        },
    ),
    "ended, a start that was given back": (
        changed(STATE, batch=changed(SENT, request="start"), deallocated=frozenset("0")),
        {"kind": "ended", "returned": True},
        {
            "batch": changed(
                SENT, request="start", status="ended", done=("start",), ended=NOW, watched=NOW, returned=True
            ),
            "took": (50.0,),
            **STALE,
        },
    ),
    "ended, a start that failed": (
        changed(STATE, batch=changed(SENT, request="start", error="X"), deallocated=frozenset("01")),
        {"kind": "ended", "error": "Y"},
        {
            "batch": changed(
                SENT, request="start", status="ended", done=("start",), ended=NOW, watched=NOW, error="X; Y"
            ),
            "took": (50.0,),
            **STALE,
        },
    ),
    "ended, a reimage": (
        changed(STATE, batch=changed(SENT, request="reimage")),
        {"kind": "ended"},
        {
            "batch": changed(SENT, request="reimage", status="ended", done=("reimage",), ended=NOW, watched=NOW),
            "took": (50.0,),
            "reimaged": frozenset("0"),
            **STALE,
        },
    ),
    "ended, without a batch": (STATE, {"kind": "ended"}, {}),
    "fit": (changed(STATE, batch=ENDED), {"kind": "fit"}, {"batch": changed(ENDED, available_since=NOW)}),
    "relapsed": (
        changed(STATE, batch=changed(ENDED, available_since=0.0, watched=0.0)),
        {"kind": "relapsed"},
        {"batch": changed(ENDED, relapses=1)},
    ),
    "relapsed, without a batch": (STATE, {"kind": "relapsed"}, {}),
    "gate passes": (
        changed(STATE, batch=ENDED),
        {"kind": "gate", "said": "pass", "ids": ["0"]},
        {"batch": changed(ENDED, gate="pass")},
    ),
    "gate refuses": (
        changed(STATE, batch=ENDED),
        {"kind": "gate", "said": "fail", "ids": ["0"]},
        {"batch": changed(ENDED, gate="fail"), "gate_refused": ("0",)},
    ),
    "gate refuses what a rollback mends": (
        changed(STATE, batch=ENDED, broken=frozenset("0")),
        {"kind": "gate", "said": "fail", "ids": ["0"]},
        {"batch": changed(ENDED, gate="fail")},
    ),
    "gate cannot tell": (
        changed(STATE, batch=ENDED),
        {"kind": "gate", "said": "inconclusive", "ids": ["0"], "reason": "?"},
        {"wait": Wait("refused", NOW, "?", 0.0, "gate")},
    ),
    "settled": (
        changed(
            STATE, batch=tables.batch("01"), posted=frozenset("01"), wait=Wait("floor", 0.0), shielded=("0",), gaps=3
        ),
        {"kind": "settled", "classes": {"0": "updated", "1": "unchanged"}, "reasons": {}},
        {
            "batch": None,
            "gaps": 0,
            "posted": frozenset("0"),
            "wait": None,
            "classes": {"0": "updated"},
            "batches": 1,
            "settled_batches": 1,
            "closed_at": NOW,
            "protection": "unneeded",
            **STALE,
        },
    ),
    "ended, a deallocation without an effect": (
        changed(STATE, batch=changed(SENT, request="deallocate", done=())),
        {"kind": "ended", "returned": True, "took": 5.0},
        {
            "batch": changed(SENT, request="deallocate", status="ended", done=("deallocate",), ended=NOW, watched=NOW),
            "took": (5.0,),
            **STALE,
        },
    ),
    "settled, none shown": (
        changed(STATE, batch=ENDED),
        {"kind": "settled", "classes": {"0": "vanished"}, "reasons": {"0": "r"}, "absent": ["0"]},
        {
            "batch": None,
            "classes": {"0": "vanished"},
            "reasons": {"0": "r"},
            "absent": {"0": "r"},
            "settled_batches": 1,
            "closed_at": NOW,
            **STALE,
        },
    ),
    "checkpoint": (STATE, {"kind": "checkpoint", "percent": 50}, {"checkpoint": 50, "pausing": True}),
    "stuck": (STATE, {"kind": "stuck", "since": 5.0, "reason": "r"}, {"wait": Wait("floor", 5.0, "r")}),
    "guarded": (STATE, {"kind": "guarded", "on": True}, {"repairs": "suspending", **STALE}),
    "not guarded": (
        changed(STATE, repairs="unknown"),
        {"kind": "guarded", "on": False},
        {"repairs": "not ours", **STALE},
    ),
    "repairs": (STATE, {"kind": "repairs", "repairs": "suspended"}, {"repairs": "suspended", **STALE}),
    "shielded": (
        STATE,
        {"kind": "shielded", "ids": ["0"], "batch": ["0", "1"]},
        {
            "shielded": ("0",),
            "shielded_for": ("0", "1"),
            "protection": "writing",
            "protections": 1,
            "protected_at": NOW,
            **STALE,
        },
    ),
    "not shielded": (
        changed(STATE, shielded=("0",), shielded_for=("0",), protection="removing"),
        {"kind": "shielded", "ids": [], "batch": []},
        {"shielded": (), "shielded_for": (), "protection": "off", **STALE},
    ),
    "freed": (
        changed(STATE, shielded=("0", "1"), shielded_for=("0", "1"), protection="removing"),
        {"kind": "freed", "ids": ["0"]},
        {"shielded": ("1",)},
    ),
    "protection": (
        STATE,
        {"kind": "protection", "protection": "on"},
        {"protection": "on", "protected_at": NOW, **STALE},
    ),
    "leg": (
        changed(STATE, posted=frozenset("0"), wait=Wait("floor", 0.0)),
        {"kind": "leg", "number": 1},
        {"leg": 1, "model": "unwritten", "wait": None, "posted": frozenset(), **STALE},
    ),
    "rollback": (
        changed(
            STATE,
            classes={"0": "failed", "1": "updated"},
            absent={"2": "r"},
            batch=ENDED,
            closed_at=5.0,
            gate_refused=("1",),
        ),
        {"kind": "rollback", "reason": "r", "legs": [{"version": "1", "instances": ["0", "1"]}]},
        {
            "direction": "back",
            "legs": (Leg("1", instances=frozenset("01")),),
            "model": "unwritten",
            "forward": {"0": "failed", "1": "updated"},
            "classes": {},
            "absent": {},
            "broken": frozenset("0"),
            "batch": None,
            "closed_at": None,
            "gate_refused": (),
            "stopped_for": "r",
            **STALE,
        },
    ),
    "rollback to another size": (
        changed(STATE, size="big", reimaged=frozenset("0"), turned_down={"0": 1}),
        {"kind": "rollback", "legs": [{"version": "1", "size": "small"}]},
        {
            "direction": "back",
            "legs": (Leg("1"),),
            "model": "unwritten",
            "size": "small",
            "reimaged": frozenset(),
            "turned_down": {},
            **STALE,
        },
    ),
    "rollback of a health source": (
        changed(STATE, source="arrives"),
        {"kind": "rollback", "legs": [{"version": "1"}]},
        {"direction": "back", "legs": (Leg("1"),), "model": "unwritten", "source": "leaves", **STALE},
    ),
    "rollback to nothing": (
        STATE,
        {"kind": "rollback", "reason": "r", "legs": [], "unreturnable": ["0 is not"]},
        {
            "direction": "back",
            "model": "unwritten",
            "stopped_for": "r",
            "unreturnable": ("0 is not",),
            **STALE,
            "ending": Ending("rollback-failed", "rollback", "r; not rolled back; 0 is not"),
        },
    ),
    "gap": (
        changed(STATE, due=5.0, model_since=1.0, wait=Wait("floor", 2.0), batch=changed(SENT, available_since=4.0)),
        {"kind": "gap", "seconds": 100.0},
        {
            "due": None,
            "model_since": 101.0,
            "protected_at": NOW + 90,
            "gaps": 1,
            "wait": Wait("floor", 102.0),
            **STALE,
            "batch": changed(SENT, sent=NOW + 80, watched=NOW),
        },
    ),
    "gap, of a clock that was put back": (
        changed(STATE, due=NOW + 3600, closed_at=NOW + 3600, model_since=3700.0, wait=Wait("busy", 3700.0, "", 3800.0)),
        {"kind": "gap", "seconds": -3600.0},
        {
            "due": None,
            "closed_at": NOW,
            "model_since": 100.0,
            "wait": Wait("busy", 100.0, "", 200.0),
            "protected_at": NOW - 3610,
            "gaps": 1,
            **STALE,
        },
    ),
    "gap, without a batch": (STATE, {"kind": "gap", "seconds": 100.0}, {"model_since": 100.0, **GAP}),
    "gap, nothing sent": (
        changed(STATE, batch=changed(INTENDED, sent=None)),
        {"kind": "gap", "seconds": 100.0},
        {"batch": changed(INTENDED, watched=NOW), "model_since": 100.0, **GAP},
    ),
    "resumed": (
        changed(
            tables.state({"suspend_repairs": True}),
            verdict={},
            ending=Ending("paused", "floor", ""),
            model="sent",
            shielded=("0",),
            wait=Wait("floor", 0.0),
            outstanding=("unprotect", ""),
            pausing=True,
            stopping=True,
            due=5.0,
            unsent=5,
            turned_down={"0": 1},
            protections=2,
            doubts=2,
        ),
        {"kind": "resumed"},
        {
            "verdict": None,
            "ending": None,
            "model": "intended",
            "protection": "unneeded",
            "repairs": "unknown",
            "wait": None,
            "outstanding": (),
            "pausing": False,
            "stopping": False,
            "due": None,
            "unsent": 0,
            "turned_down": {},
            "protections": 0,
            "doubts": 0,
            **STALE,
        },
    ),
    "resumed, intended": (
        changed(STATE, batch=INTENDED, ending=Ending("stopped", "budget", ""), shielded=("0",), protection="on"),
        {"kind": "resumed"},
        {"batch": changed(INTENDED, status="lost", sent=NOW, watched=NOW), **STALE},
    ),
    "resumed, ended": (
        changed(STATE, batch=changed(ENDED, available_since=5.0, watched=0.0)),
        {"kind": "resumed"},
        {"batch": ENDED, **STALE},
    ),
    "resumed, being protected": (
        changed(STATE, batch=SENT, shielded=("0",), protection="removing"),
        {"kind": "resumed"},
        {"batch": changed(SENT, sent=NOW, watched=NOW), "protection": "unneeded", **STALE},
    ),
    "seen": (
        changed(STATE, stale=True, wait=Wait("implausible", 0.0), doubted=frozenset("2"), doubts=1),
        {"kind": "seen", "ids": frozenset("01"), "doubtful": ["2"], "reports": True},
        {
            "stale": False,
            **LOOKED,
            "reports": True,
            "wait": None,
            "listed": frozenset("01"),
            "doubted": frozenset(),
            "doubts": 0,
        },
    ),
    "seen, and doubted": (
        changed(STATE, stale=True, wait=Wait("outage", 0.0, of="look")),
        {"kind": "seen", "ids": frozenset("01"), "doubtful": ["2"], "reports": False},
        {"stale": False, **LOOKED, "wait": None, "doubted": frozenset("2"), "doubts": 1},
    ),
    "seen again": (
        changed(STATE, classes={"0": "vanished", "1": "updated"}, posted=frozenset("01"), absent={"0": ""}),
        {"kind": "seen", "ids": frozenset("012"), "doubtful": [], "reports": False},
        {"classes": {"1": "updated"}, **LOOKED, "posted": frozenset("1"), "absent": {}},
    ),
    "seen again, and Failed": (
        changed(STATE, classes={"0": "vanished", "1": "updated"}, posted=frozenset("01"), absent={"0": ""}),
        {"kind": "seen", "ids": frozenset("012"), "doubtful": [], "reports": False, "failed": {"0": "OOM"}},
        {
            "classes": {"0": "failed", "1": "updated"},
            "reasons": {"0": "OOM"},
            **LOOKED,
            "posted": frozenset("1"),
            "absent": {},
        },
    ),
    "seen, and waited for something else": (
        changed(STATE, wait=Wait("floor", 5.0)),
        {"kind": "seen", "ids": frozenset("012"), "doubtful": [], "reports": False},
        LOOKED,
    ),
    "planned": (
        changed(STATE, looks=3),
        {"kind": "planned", "due": NOW + 5},
        {"due": NOW + 5, "stepped": NOW, "looks": 0, **STALE},
    ),
    "planned at once": (STATE, {"kind": "planned", "due": NOW}, {"due": NOW, "stepped": NOW}),
    "stop": (STATE, {"kind": "stop"}, {"stopping": True}),
    "in-hand": (changed(STATE, withheld=True), {"kind": "in-hand"}, {"withheld": False}),
    "released": (
        changed(STATE, hanging={"url": "u"}, wait=Wait("busy", 0.0)),
        {"kind": "released"},
        {"hanging": None, "wait": None, **STALE},
    ),
    "answered": (changed(STATE, wait=Wait("busy", 0.0, of="send")), {"kind": "answered", "of": "send"}, {"wait": None}),
    "answered, something else": (
        changed(STATE, wait=Wait("busy", 0.0, of="send")),
        {"kind": "answered", "of": "look"},
        {},
    ),
    "ending": (
        changed(STATE, wait=Wait("busy", 0.0)),
        {"kind": "ending", "outcome": "paused", "cause": "busy", "reason": "r"},
        {"ending": Ending("paused", "busy", "r"), "wait": None},
    ),
    "end": (
        changed(STATE, lowest=2),
        {"kind": "end", "verdict": {"outcome": "paused", "lowest": 1}},
        {"verdict": {"outcome": "paused", "lowest": 1}, "lowest": 1},
    ),
}


@pytest.mark.parametrize(("state", "entry", "changes"), EVENTS.values(), ids=EVENTS)
def test_what_an_entry_makes_of_a_state(state: State, entry: dict[str, Any], changes: dict[str, Any]) -> None:
    assert machine.apply(state, {"at": NOW, **entry}) == changed(state, **changes)


def test_a_journal_leads_to_the_state_that_its_entries_led_to() -> None:
    first: dict[str, Any] = {
        "kind": "begin",
        "at": 0.0,
        "policy": tables.POLICY,
        "legs": [{"version": "2", "after": "m2"}],
        "capacity": 3,
        "zone_sizes": {},
        "unavailable": [],
        "known": ["0"],
        "flexible": False,
        "stages": ["upgrade"],
        "images": [{"image": "i:1", "instances": ["0"]}],
    }
    intent, written = {"kind": "model-intent", "at": 1.0}, {"kind": "model-written", "at": 2.0}
    assert machine.fold([first]) == begin(first)
    assert machine.fold([first, intent, written]) == machine.apply(machine.apply(begin(first), intent), written)
    assert begin(first).images == {"0": "i:1"}


@pytest.mark.parametrize(
    ("batch", "names"),
    [
        (None, "2"),
        (SENT, "2"),
        (changed(tables.batch("01"), request="deallocate", status="lost", stopped=frozenset("1")), "02"),
        (changed(tables.batch("01"), request="deallocate", status="sent"), "012"),
        (changed(tables.batch("01"), request="deallocate", status="ended"), "2"),
    ],
)
def test_which_instances_are_left_deallocated(batch: Batch | None, names: str) -> None:
    assert find_deallocated(changed(STATE, batch=batch, deallocated=frozenset("2"))) == frozenset(names)


def test_the_phases_of_an_upgrade() -> None:
    states = [changed(STATE, model="sent"), STATE, changed(STATE, verdict={})]
    assert [state.phase for state in states] == ["model", "batches", "ended"]
    assert STATE.version == "2"
    assert STATE.progress is STATE
