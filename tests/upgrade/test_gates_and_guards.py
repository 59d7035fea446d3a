"""What stands around a batch: gates that have a say, guards that are taken back, and the way back after a failure."""

import contextlib
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy, clean_up, command_gate, http_gate, plan, resume, rollback, tcp_gate, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.preflight import PlanRefused
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus
from azurerm_lite.upgrade.run import journal as journals
from azurerm_lite.upgrade.run.gates import ask
from azurerm_lite.upgrade.run.runs import opened

NEW, OLD = "22.04.202611120", "22.04.202608150"
ONE = InstanceStatus("0", "vm-0", "", "", 0, 0, True, NEW, "Succeeded", "running", "", False)


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def versions(made: Stage) -> Counter[str]:
    documents = [vm.document["properties"] for vm in made.scale_set.instances.values()]
    return Counter(one["storageProfile"]["imageReference"]["exactVersion"] for one in documents)


def posts(made: Stage) -> list[list[str]]:
    return [
        entry.body["instanceIds"] for entry in made.app.recorder.find("POST", "manualupgrade") if entry.status < 400
    ]


# --- gates -----------------------------------------------------------------------------------------------------------


def _raises(_members: Sequence[InstanceStatus]) -> object:
    raise RuntimeError("no \x1b[31mroute")


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (lambda _: True, "pass"), (lambda _: False, "fail"), (lambda _: None, "inconclusive"),
        (lambda _: "yes", "inconclusive"), (lambda _: 1, "inconclusive"), (_raises, "inconclusive"),
    ],
)  # fmt: skip
def test_only_true_passes_and_what_a_gate_raises_is_no_answer(gate: Callable[..., object], said: str) -> None:
    """Row 125."""
    found, why = ask(gate, [ONE], 5.0)
    assert found == said
    assert "\x1b" not in why


def test_a_gate_that_hangs_is_left_behind() -> None:
    """Row 125."""
    release = threading.Event()
    assert ask(lambda _: release.wait(30), [ONE], 0.05) == ("inconclusive", "the gate gave no answer in 0.05 s")
    release.set()


def test_a_gate_is_asked_once_for_each_batch_and_its_no_is_a_failure() -> None:
    made, asked = stage(), list[list[str]]()

    def gate(members: Sequence[InstanceStatus]) -> bool:
        asked.append([one.instance_id for one in members])
        return "6" not in asked[-1]

    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW), gate=gate)
    assert verdict.outcome == "stopped"
    assert asked == posts(made)
    assert {one for one, kind in verdict.classes.items() if kind == "failed"} == set(asked[-1])


def test_a_gate_that_cannot_tell_pauses_and_resume_asks_again(tmp_path: Path) -> None:
    made, answers = stage(), iter([None, *[True] * 20])
    where = str(tmp_path / "web.jsonl")
    wanted = plan(made.arm, *made.address, NEW)
    paused = upgrade(made.arm, wanted, journal=where, gate=lambda _: next(answers))
    assert (paused.outcome, len(posts(made))) == ("paused", 1)
    assert "could not tell" in paused.reason
    with pytest.raises(az.InvalidInput, match="begun with a gate"):
        resume(made.arm, where)
    assert resume(made.arm, where, gate=lambda _: next(answers)).ok
    assert sorted(one for ids in posts(made) for one in ids) == sorted(made.scale_set.instances)


def test_a_checkpoint_waits_for_somebody_to_resume_it(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(checkpoints=(30, 70)))
    first = upgrade(made.arm, wanted, journal=where)
    assert (first.outcome, first.counts["updated"]) == ("paused", 4)
    assert "checkpoint at 30 %" in first.reason
    second = resume(made.arm, where)
    assert (second.outcome, second.counts["updated"]) == ("paused", 8)
    assert resume(made.arm, where).ok
    assert sorted(one for ids in posts(made) for one in ids) == sorted(made.scale_set.instances)
    with pytest.raises(az.InvalidInput, match="checkpoints"):
        Policy(checkpoints=(100,))


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz?deep=1" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


def test_probes_ask_every_instance_of_the_batch() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Health)
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        assert http_gate(lambda _: f"http://127.0.0.1:{port}/healthz?deep=1")([ONE, ONE]) is True
        assert http_gate(lambda _: f"http://127.0.0.1:{port}/")([ONE]) is False
        assert tcp_gate(lambda _: "127.0.0.1", port)([ONE]) is True
        with pytest.raises(az.InvalidInput, match="http or https"):
            http_gate(lambda _: "file:///etc/passwd")([ONE])
    finally:
        server.shutdown()
        server.server_close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert tcp_gate(lambda _: "127.0.0.1", closed.getsockname()[1])([ONE]) is False


def test_a_command_finds_the_ids_and_answers_by_its_exit_code() -> None:
    def exits(text: str) -> object:
        script = f"import os, sys; sys.exit({text})"
        return command_gate([sys.executable, "-c", script])([ONE, ONE._replace(instance_id="6")])

    assert exits("0 if os.environ['AZURERM_LITE_INSTANCES'] == '0,6' else 9") is True
    assert exits("1") is False
    assert exits("2") is None
    with pytest.raises(az.InvalidInput):
        command_gate("true")


# --- automatic rollback ----------------------------------------------------------------------------------------------


def test_a_failure_is_taken_back_when_the_policy_says_so(tmp_path: Path) -> None:
    made = stage(health_source="extension")
    made.simulation.faults.add(on="upgrade", instance="6", effect="unhealthy")
    careful = Policy(rollback_on_failure=True, health_timeout_seconds=120)
    before = made.scale_set.model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    wanted = plan(made.arm, *made.address, NEW, policy=careful)
    verdict = upgrade(made.arm, wanted, journal=str(tmp_path / "web.jsonl"))
    assert verdict.outcome == "rolled-back", verdict
    assert "more than the budget" in verdict.reason
    assert versions(made) == {OLD: 10}
    after = made.scale_set.model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    assert before["version"] == after["version"]
    moved = {one for ids in posts(made) for one in ids}
    assert moved < set(made.scale_set.instances)  # those that were not reached were never touched
    assert {verdict.classes[one] for one in moved} <= {"rolled-back", "still-unavailable"}
    with pytest.raises(PlanRefused, match="has been rolled back already"):
        rollback(made.arm, str(tmp_path / "web.jsonl"))


def test_a_rollback_that_fails_too_is_the_end() -> None:
    """Row 122: no ping-pong."""
    made = stage(health_source="extension")
    made.simulation.faults.add(on="upgrade", instance="5", effect="fail", times=2)
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(rollback_on_failure=True, health_timeout_seconds=60))
    verdict = upgrade(made.arm, wanted)
    assert verdict.outcome == "rollback-failed"
    assert not verdict.ok
    assert len(made.app.recorder.find("PATCH", "virtualMachineScaleSets")) == 2


def test_a_rollback_does_not_pause_at_the_checkpoints_of_the_upgrade() -> None:
    made = stage()
    made.simulation.faults.add(on="upgrade", instance="6", effect="fail")  # in the second batch of five
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(rollback_on_failure=True, checkpoints=(50,)))
    verdict = upgrade(made.arm, wanted)
    assert (verdict.outcome, versions(made)) == ("rolled-back", {OLD: 10})


# --- automatic repairs -----------------------------------------------------------------------------------------------


def repaired(**options: Any) -> Stage:
    made = stage(health_source="extension", **options)
    made.scale_set.model["properties"]["automaticRepairsPolicy"] = {"enabled": True, "gracePeriod": "PT10M"}
    return made


def states(made: Stage) -> list[str]:
    return [entry.body["action"] for entry in made.app.recorder.find("POST", "setOrchestrationServiceState")]


@pytest.mark.parametrize("effect", ["", "fail"])
def test_repairs_are_suspended_while_it_runs_and_resumed_however_it_ends(effect: str) -> None:
    made = repaired()
    if effect:
        made.simulation.faults.add(on="upgrade", instance="6", effect=effect)
    seen: list[str] = []
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(suspend_repairs=True))
    verdict = upgrade(made.arm, wanted, on_event=lambda _: seen.append(made.scale_set.repairs_state))
    assert verdict.ok is not bool(effect)
    assert states(made) == ["Suspend", "Resume"]
    assert "Suspended" in seen
    assert made.scale_set.repairs_state == "Running"


def test_repairs_that_were_not_running_are_left_as_they_are() -> None:
    made = repaired()
    made.scale_set.repairs_state = "Suspended"
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(suspend_repairs=True))
    assert upgrade(made.arm, wanted).ok
    assert states(made) == []


def test_what_a_crash_left_behind_can_be_taken_back(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(event: dict[str, Any]) -> None:
        if event["kind"] == "posted":
            raise Killed

    made, where = repaired(), str(tmp_path / "web.jsonl")
    runner = opened(made.arm, plan(made.arm, *made.address, NEW, policy=Policy(suspend_repairs=True)), where)
    runner.on_event = die
    with contextlib.suppress(Killed):
        while (wait := runner.step()) is not None:
            made.clock.advance(wait)
    assert runner.verdict is None
    runner.journal.close()  # as a process that is killed does
    assert made.scale_set.repairs_state == "Suspended"
    assert clean_up(made.arm, where) is True
    assert made.scale_set.repairs_state == "Running"
    assert clean_up(made.arm, where) is False
    assert resume(made.arm, where).ok
    assert states(made) == ["Suspend", "Resume", "Suspend", "Resume"]
    assert journals.fold(journals.read(where)).guarded is False


def test_repairs_that_cannot_be_resumed_are_named_in_the_verdict() -> None:
    made = repaired()

    def forbid(event: dict[str, Any]) -> None:
        if event["kind"] == "guarded":
            made.simulation.faults.add(method="POST", path="setOrchestrationServiceState", nth=2, times=9, status=403)

    wanted = plan(made.arm, *made.address, NEW, policy=Policy(suspend_repairs=True))
    verdict = upgrade(made.arm, wanted, on_event=forbid)
    assert verdict.ok
    assert "automatic repairs are still suspended" in verdict.reason


# --- no scale-in of who is in flight ---------------------------------------------------------------------------------

SHIELDED = Policy(protect_from_scale_in=True)


def shielded(made: Stage) -> set[str]:
    """Who is protected from scale-in, by the emulator's own record."""
    found = {
        one: vm.document["properties"].get("protectionPolicy") or {} for one, vm in made.scale_set.instances.items()
    }
    return {one for one, policy in found.items() if policy.get("protectFromScaleIn")}


class Gone(BaseException):
    """What no step can catch: a process that is gone."""


@pytest.mark.parametrize("careful", [True, False])
def test_a_scale_in_takes_nobody_who_is_in_flight(careful: bool) -> None:
    made, protected = stage(), list[set[str]]()

    def scale_in(event: dict[str, Any]) -> None:
        if event["kind"] == "posted":
            protected.append(shielded(made))
            if len(protected) == 1:
                made.simulation.scale_sets.write(made.scale_set, {"sku": {"capacity": 9}}, null_deletes=True)

    mine = Policy(protect_from_scale_in=careful, instances=("9",))
    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW, policy=mine), on_event=scale_in)
    assert verdict.classes["9"] == ("updated" if careful else "vanished")
    assert protected == [{"9"} if careful else set()]
    assert shielded(made) == set()


def test_each_batch_is_protected_and_set_free_again() -> None:
    made, seen = stage(health_source="extension"), list[set[str]]()
    made.scale_set.instances["5"].document["properties"]["protectionPolicy"] = {"protectFromScaleIn": True}
    wanted = plan(made.arm, *made.address, NEW, policy=SHIELDED)
    verdict = upgrade(made.arm, wanted, on_event=lambda one: one["kind"] == "posted" and seen.append(shielded(made)))
    assert verdict.counts == {"updated": 10}
    assert seen == [{*ids, "5"} for ids in wanted.batches]
    assert shielded(made) == {"5"}  # which was not ours to set free
    assert made.lowest() >= 8


def test_nobody_stays_protected_over_the_pause_between_batches() -> None:
    made, seen = stage(), list[set[str]]()
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(protect_from_scale_in=True, pause_seconds=300))

    def note(event: dict[str, Any]) -> None:
        if event["kind"] == "waiting" and event["reason"].startswith("pause"):
            seen.append(shielded(made))

    assert upgrade(made.arm, wanted, on_event=note).ok
    assert seen == [set()] * len(seen)
    assert len(seen) >= 4


@pytest.mark.parametrize("point", range(1, 14))
def test_whoever_was_protected_when_a_process_died_is_set_free(point: int, tmp_path: Path) -> None:
    """By resume, and by repair where nobody is in flight."""
    made, where, count = stage(), str(tmp_path / "web.jsonl"), [0]

    def die(event: dict[str, Any]) -> None:
        count[0] += event["kind"] not in ("begin", "seen", "polled", "waiting")
        if count[0] == point:
            raise Gone

    with pytest.raises(Gone):
        upgrade(made.arm, plan(made.arm, *made.address, NEW, policy=SHIELDED), journal=where, on_event=die)
    flying = any(vm.state == "Updating" for vm in made.scale_set.instances.values())
    if flying:
        made.clock.advance(600)
        made.simulation.events.run_due_events()
    clean_up(made.arm, where)
    assert shielded(made) == set()
    assert clean_up(made.arm, where) is False
    assert resume(made.arm, where).ok
    assert shielded(made) == set()
    assert all(len(vm.upgrades) == 1 for vm in made.scale_set.instances.values())


@pytest.mark.parametrize("effect", ["fail", "unhealthy"])
def test_however_it_ends_nobody_stays_protected(effect: str) -> None:
    made = stage(health_source="extension")
    made.simulation.faults.add(on="upgrade", instance="6", effect=effect)
    careful = Policy(protect_from_scale_in=True, health_timeout_seconds=60)
    assert upgrade(made.arm, plan(made.arm, *made.address, NEW, policy=careful)).outcome == "stopped"
    assert shielded(made) == set()


@pytest.mark.parametrize("refused", ["0", "5"])
def test_only_what_is_still_protected_is_named_so(refused: str, tmp_path: Path) -> None:
    """Of a batch of two, the protection of one cannot be ended: the other is free, and the verdict says so."""
    made, where = stage(), str(tmp_path / "web.jsonl")

    def refuse(event: dict[str, Any]) -> None:
        if event["kind"] == "settled":
            path = f"virtualMachines/{refused}"
            made.simulation.faults.add(method="PUT", path=path, status=409, code="OperationNotAllowed", times=10**6)

    careful = Policy(protect_from_scale_in=True, busy_timeout_seconds=120)
    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW, policy=careful), journal=where, on_event=refuse)
    assert verdict.outcome == "paused"
    assert shielded(made) == {refused}
    assert f"still protected from scale-in: {refused};" in verdict.reason
    made.simulation.faults.clear()
    assert clean_up(made.arm, where)
    assert shielded(made) == set()


def test_who_is_still_in_flight_when_it_is_cancelled_is_named_and_set_free_later(tmp_path: Path) -> None:
    """An instance that is being upgraded is not written to: that could end its upgrade."""
    made, where = stage(), str(tmp_path / "web.jsonl")
    wanted = plan(made.arm, *made.address, NEW, policy=SHIELDED)
    verdict = upgrade(made.arm, wanted, journal=where, should_stop=lambda: bool(posts(made)))
    assert verdict.outcome == "cancelled"
    assert "still protected from scale-in: 0, 5" in verdict.reason
    with pytest.raises(az.AzurermLiteError, match="instance 0 is being changed"):
        clean_up(made.arm, where)
    assert resume(made.arm, where).ok
    assert shielded(made) == set()
