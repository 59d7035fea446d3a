"""Scenarios that broke the engine once: combinations of misfortunes, judged by the emulator's record."""

from typing import Any

import pytest

from .test_promises import Lab

HEALTH: dict[str, Any] = {"health_source": "extension"}


# --- canary -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habit", ["operation-allocation-failed", "operation-canceled"])
def test_a_canary_that_proves_nothing_is_followed_by_another_canary(habit: str) -> None:
    lab = Lab(**HEALTH)
    lab.world.faults.add(habit=habit, times=2)
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
    lab.world.faults.add(**fault)
    verdict = lab.run()
    assert verdict.ok, verdict.reason
    assert not lab.breaches


def test_a_model_that_others_write_again_and_again_is_not_asked_for_without_a_pause() -> None:
    lab = Lab()
    lab.world.faults.add(method="PATCH", path="virtualMachineScaleSets", status=412, times=10**6)
    verdict = lab.run(busy_timeout_seconds=300.0)
    assert verdict.outcome == "paused"
    assert len(lab.made.app.journal.find("PATCH", "virtualMachineScaleSets")) <= 70
