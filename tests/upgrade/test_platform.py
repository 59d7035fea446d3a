"""Azure's own rolling upgrade, started, watched and cancelled from here."""

from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import PlanRefused, roll, watch
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, "mode": "Rolling", "health_source": "extension", **options}))


def test_writing_the_change_lets_azure_roll_and_every_instance_is_accounted_for() -> None:
    made, events = stage(), list[dict[str, Any]]()
    verdict = roll(made.arm, *made.address, NEW, on_event=events.append)
    assert verdict.ok, verdict
    assert verdict.counts == {"updated": 10}
    assert verdict.version == NEW
    assert {event["kind"] for event in events} == {"platform"}
    assert events[-1]["progress"]["successful"] > 0
    assert made.app.journal.find("POST", "manualupgrade") == []


def test_a_breach_of_azures_policy_is_a_verdict_with_azures_reason() -> None:
    made = stage()
    for one in ("0", "1"):
        made.world.faults.add(on="upgrade", instance=one, effect="fail")
    verdict = roll(made.arm, *made.address, NEW)
    assert verdict.outcome == "stopped"
    assert "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade" in verdict.reason
    assert verdict.classes["0"] == "failed"
    assert verdict.counts["not-reached"] > 0


def test_a_request_to_stop_cancels_it() -> None:
    made = stage()
    answers = iter([False] * 8)
    verdict = roll(made.arm, *made.address, NEW, should_stop=lambda: next(answers, True))
    assert verdict.outcome == "cancelled"
    assert 0 < verdict.counts["updated"] < 10
    assert len(made.app.journal.find("POST", "rollingUpgrades/cancel")) == 1


def test_the_newest_image_is_rolled_out_by_name_and_anybody_can_watch() -> None:
    made = stage()
    az.start_os_rolling_upgrade(made.arm, *made.address)
    with pytest.raises(PlanRefused, match="already"):
        roll(made.arm, *made.address)
    assert watch(made.arm, *made.address).outcome == "succeeded"
    assert roll(made.arm, *made.address).ok


def test_what_cannot_be_rolled_is_refused_and_nothing_is_written() -> None:
    made = stage(mode="Manual")
    with pytest.raises(PlanRefused, match="mode is Manual"):
        roll(made.arm, *made.address, NEW)
    with pytest.raises(az.NotFoundError):
        watch(made.arm, *made.address)
    assert made.app.journal.writes() == []


def test_a_change_that_changes_nothing_begins_nothing() -> None:
    made = stage()
    assert roll(made.arm, *made.address, lambda _: None).reason == "nothing changed, so nothing was begun"
    assert made.app.journal.writes() == []


def test_one_that_does_not_end_in_time_goes_on_and_says_so() -> None:
    made = stage()
    left = roll(made.arm, *made.address, NEW, timeout=20)
    assert (left.outcome, "watch" in left.reason) == ("paused", True)
    assert watch(made.arm, *made.address).ok


def test_a_surge_needs_quota_for_a_batch() -> None:
    """Without it Azure would upgrade in place and say nothing."""
    rolling = {"maxBatchInstancePercent": 20, "maxSurge": True}
    made = Stage(Seed.build(capacity=10, mode="Rolling", health_source="extension", rolling_policy=rolling))
    made.world.images.cores = 23
    with pytest.raises(PlanRefused, match="a batch with maxSurge needs 4 vCPUs more, and the region's quota leaves 3"):
        roll(made.arm, *made.address, NEW)
    assert made.app.journal.writes() == []
    made.world.images.cores = 24
    assert roll(made.arm, *made.address, NEW).ok
