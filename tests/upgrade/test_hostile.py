"""Scenarios that broke the engine once: combinations of misfortunes, judged by the emulator's record."""

from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.upgrade import resume

from .test_promises import ELSEWHERE, Lab, at, interrupt

HEALTH: dict[str, Any] = {"health_source": "extension"}


# --- canary -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", ["operation-allocation-failed", "operation-canceled"])
def test_a_canary_that_proves_nothing_is_followed_by_another_canary(habit: str) -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(habit=habit, times=2)
    verdict = lab.run(canary_instances=1, failure_budget=3)
    assert verdict.ok
    assert [len(ids) for ids in lab.posts[:3]] == [1, 1, 1]
    assert max(map(len, lab.posts)) == 2


def test_a_canary_that_did_not_run_before_proves_nothing_either() -> None:
    lab = Lab(**HEALTH)
    lab.there["0"].power = "deallocated"
    wanted = lab.plan(canary_instances=1)
    verdict = lab.run(canary_instances=1)
    assert verdict.classes["0"] == "still-unavailable"
    assert lab.posts[:2] == [["0"], ["5"]]
    assert lab.posts == [list(ids) for ids in wanted.batches]


# --- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"habit": "busy", "seconds": 1500.0, "when": "after"},
        {"method": "POST", "path": "manualupgrade", "status": 503, "nth": 2, "times": 10**6, "seconds": 1200.0},
        {"method": "POST", "path": "manualupgrade", "status": 429, "nth": 2, "times": 10**6, "seconds": 3000.0},
    ],
)
def test_passing_trouble_is_waited_out_as_long_as_the_policy_grants(fault: dict[str, Any]) -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(**fault)
    verdict = lab.run()
    assert verdict.ok, verdict.reason
    assert not lab.breaches


def test_a_model_that_others_write_again_and_again_is_not_asked_for_without_a_pause() -> None:
    lab = Lab()
    lab.simulation.faults.add(method="PATCH", path="virtualMachineScaleSets", status=412, times=10**6)
    verdict = lab.run(busy_timeout_seconds=300.0)
    assert verdict.outcome == "paused"
    assert len(lab.made.app.recorder.find("PATCH", "virtualMachineScaleSets")) <= 70


def test_trouble_that_is_over_ends_no_run_half_an_hour_later() -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(method="PUT", path="virtualMachines", status=409, code="Conflict", nth=3)
    verdict = lab.run(protect_from_scale_in=True, pause_seconds=2400.0)
    assert verdict.ok, verdict.reason
    assert not any(
        one.document["properties"].get("protectionPolicy", {}).get("protectFromScaleIn") for one in lab.there.values()
    )


# --- rollbacks --------------------------------------------------------------------------------------------------------


def bigger(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "sku": {**found["sku"], "name": ELSEWHERE}}


def actions(lab: Lab) -> list[tuple[str, list[str]]]:
    record = lab.made.app.recorder.entries
    names = ("manualupgrade", "deallocate", "start", "reimage")
    sent = [entry for entry in record if entry.method == "POST" and entry.path.rpartition("/")[2] in names]
    return [(entry.path.rpartition("/")[2], entry.body["instanceIds"]) for entry in sent if entry.status < 400]


def test_an_automatic_rollback_of_a_size_deallocates_before_the_upgrade_and_what_has_the_new_size_only() -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(on="upgrade", instance="1", effect="fail")
    verdict = lab.run(bigger, max_disruption="deallocate", rollback_on_failure=True)
    assert verdict.outcome == "rolled-back", verdict.reason
    back = actions(lab)[6:]
    assert back[:3] == [("deallocate", ["0", "5"]), ("manualupgrade", ["0", "5"]), ("start", ["0", "5"])]
    assert ("deallocate", ["1"]) not in back


def test_an_automatic_rollback_makes_disks_anew_that_the_upgrade_had_made_anew() -> None:
    lab = Lab(**HEALTH)
    gate = lambda members: all(member.instance_id != "1" for member in members)  # noqa: E731

    def with_data(found: dict[str, Any]) -> dict[str, Any]:
        found["properties"]["virtualMachineProfile"]["osProfile"]["customData"] = "bmV3"
        found["properties"]["virtualMachineProfile"]["licenseType"] = "None"
        return found

    verdict = lab.run(with_data, rollback_on_failure=True, options={"gate": gate})
    assert verdict.classes["0"] == "rolled-back", verdict
    reimages = [name for action, ids in actions(lab) if action == "reimage" for name in ids]
    assert reimages.count("0") == 2, actions(lab)


def test_a_gate_that_refuses_what_began_a_rollback_does_not_stop_it() -> None:
    lab = Lab(**HEALTH)
    gate = lambda members: all(member.instance_id != "2" for member in members)  # noqa: E731
    options = {"gate": gate, "on_event": at("gate", 3, lambda: lab.sicken("2"))}
    verdict = lab.run(batch_size=1, rollback_on_failure=True, batch_by="batch", options=options)
    assert lab.posts[3:] == [["2"], ["0"], ["1"]]
    assert verdict.classes["0"] == verdict.classes["1"] == "rolled-back"


# --- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", ["operation-allocation-failed", "operation-canceled", "operation-preempted"])
def test_a_start_that_failed_is_sent_again(habit: str) -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(habit=habit, operation="start", times=2)
    verdict = lab.run(bigger, max_disruption="deallocate")
    assert verdict.ok, verdict.reason
    assert all(one.power == "running" for one in lab.there.values())
    assert actions(lab)[2:5] == [("start", ["0", "5"])] * 3


def test_a_start_that_fails_for_good_is_no_endless_loop() -> None:
    lab = Lab(**HEALTH)
    lab.simulation.faults.add(habit="operation-allocation-failed", operation="start", times=100)
    verdict = lab.run(bigger, max_disruption="deallocate")
    assert verdict.outcome == "stopped"
    assert "AllocationFailed" in verdict.failures["0"]
    assert len(actions(lab)) == 2 + 5


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["posted", "fit", "settled", "waiting"])
def test_a_clock_that_is_put_back_makes_no_run_wait_for_it(kind: str) -> None:
    lab, offset = Lab(**HEALTH), [0.0]
    real = lab.arm._now
    lab.arm._now = lambda: real() + offset[0]

    def jump() -> None:
        offset[0] = -3600.0

    begun = lab.clock.time()
    verdict = lab.run(bake_seconds=60.0, pause_seconds=30.0, options={"on_event": at(kind, 2, jump)})
    assert verdict.ok, verdict.reason
    assert lab.clock.time() - begun < 1200


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage", [False, True])
def test_a_run_that_is_stopped_as_its_batch_ends_says_how_its_instances_came_out(outage: bool) -> None:
    lab, stop = Lab(**HEALTH), list[bool]()
    lab.simulation.faults.add(on="upgrade", instance="0", effect="fail")

    def end() -> None:
        stop.append(True)
        if outage:
            lab.simulation.faults.add(method="GET", path="virtualMachines", status=503, times=10**6, seconds=3600.0)

    verdict = lab.run(failure_budget=3, options={"on_event": at("ended", 1, end), "should_stop": lambda: bool(stop)})
    assert verdict.outcome == "cancelled"
    classes = {verdict.classes["0"], verdict.classes["5"]}
    assert classes == ({"in-flight"} if outage else {"failed", "updated"}), verdict
    assert outage or "InjectedFault" in verdict.failures["0"]


# --- operations that hang ---------------------------------------------------------------------------------------------


def test_a_write_of_protection_that_never_ends_pauses_the_run_and_is_named() -> None:
    lab = Lab(**HEALTH)
    fault = {"method": "GET", "path": "operations", "status": 200, "body": {"status": "InProgress"}, "times": 10**7}
    begin = at("shielded", 1, lambda: lab.simulation.faults.add(**fault))
    verdict = lab.run(protect_from_scale_in=True, operation_timeout_seconds=600.0, options={"on_event": begin})
    assert verdict.outcome == "paused"
    assert "still protected" in verdict.reason
    assert len(lab.made.app.recorder.entries) < 500


def test_a_run_goes_on_after_an_operation_of_its_own_whose_status_is_gone(tmp_path: Path) -> None:
    lab, where = Lab(**HEALTH), str(tmp_path / "j.jsonl")
    lab.simulation.faults.add(habit="operation-hangs")
    verdict = lab.run(operation_timeout_seconds=500.0, options={"journal": where})
    assert verdict.outcome == "paused"
    lab.clock.advance(86_400.0)
    lab.simulation.events.run_due_events()
    lab.made.scale_set.upgrade = None
    gone = {"method": "GET", "path": "operations", "status": 404, "code": "NotFound", "times": 10**6, "seconds": 300.0}
    lab.simulation.faults.add(**gone)
    verdict = resume(lab.arm, where)
    assert verdict.ok, verdict.reason
    assert not lab.breaches


@pytest.mark.parametrize("seconds", [31.0, 130.0])
@pytest.mark.parametrize("kinds", [("seen",), ("intent",), ()])
def test_a_watcher_that_is_too_slow_ends_in_a_pause_and_in_no_endless_loop(
    kinds: tuple[str, ...], seconds: float
) -> None:
    lab = Lab(**HEALTH)

    def watch(event: dict[str, Any]) -> None:
        if not kinds or event["kind"] in kinds:
            lab.clock.advance(seconds)
        if len(lab.made.app.recorder.entries) > 400:
            interrupt()

    verdict = lab.run(options={"on_event": watch})
    assert verdict.outcome in ("paused", "succeeded")
    assert not lab.breaches
