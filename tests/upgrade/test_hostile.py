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
