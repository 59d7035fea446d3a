"""Azure's own rolling upgrade, started, watched and cancelled from here."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.habits import EVENTS
from azurerm_lite.upgrade import PlanRefused, azure_rolling_upgrade, watch_azure_rolling_upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, "mode": "Rolling", "health_source": "extension", **options}))


def test_writing_the_change_lets_azure_roll_and_every_instance_is_accounted_for() -> None:
    made, events = stage(), list[dict[str, Any]]()
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, on_event=events.append)
    assert verdict.ok, verdict
    assert verdict.counts == {"updated": 10}
    assert verdict.version == NEW
    assert {event["kind"] for event in events} == {"platform"}
    assert events[-1]["progress"]["successful"] > 0
    assert made.app.recorder.find("POST", "manualupgrade") == []


def test_a_breach_of_azures_policy_is_a_verdict_with_azures_reason() -> None:
    made = stage()
    for one in ("0", "1"):
        made.simulation.faults.add(on="upgrade", instance=one, effect="fail")
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert verdict.outcome == "stopped"
    assert "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade" in verdict.reason
    assert verdict.classes["0"] == "failed"
    assert verdict.counts["not-reached"] > 0


def test_a_request_to_stop_cancels_it() -> None:
    made = stage()
    answers = iter([False] * 8)
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, should_stop=lambda: next(answers, True))
    assert verdict.outcome == "cancelled"
    assert 0 < verdict.counts["updated"] < 10
    assert len(made.app.recorder.find("POST", "rollingUpgrades/cancel")) == 1


def test_the_newest_image_is_rolled_out_by_name_and_anybody_can_watch() -> None:
    made = stage()
    az.start_os_rolling_upgrade(made.arm, *made.address)
    with pytest.raises(PlanRefused, match="already"):
        azure_rolling_upgrade(made.arm, *made.address)
    assert watch_azure_rolling_upgrade(made.arm, *made.address).outcome == "succeeded"
    assert azure_rolling_upgrade(made.arm, *made.address).ok


def test_what_cannot_be_rolled_is_refused_and_nothing_is_written() -> None:
    made = stage(mode="Manual")
    with pytest.raises(PlanRefused, match="mode is Manual"):
        azure_rolling_upgrade(made.arm, *made.address, NEW)
    with pytest.raises(az.NotFoundError):
        watch_azure_rolling_upgrade(made.arm, *made.address)
    assert made.app.recorder.writes() == []


def test_a_change_that_changes_nothing_begins_nothing() -> None:
    made = stage()
    assert (
        azure_rolling_upgrade(made.arm, *made.address, lambda _: None).reason == "nothing changed, so nothing was begun"
    )
    assert made.app.recorder.writes() == []


def test_one_that_does_not_end_in_time_goes_on_and_says_so() -> None:
    made = stage()
    left = azure_rolling_upgrade(made.arm, *made.address, NEW, timeout=20)
    assert (left.outcome, "watch" in left.reason) == ("paused", True)
    assert watch_azure_rolling_upgrade(made.arm, *made.address).ok


def test_a_surge_needs_quota_for_a_batch() -> None:
    """Without it Azure would upgrade in place and say nothing."""
    rolling = {"maxBatchInstancePercent": 20, "maxSurge": True}
    made = Stage(Seed.build(capacity=10, mode="Rolling", health_source="extension", rolling_policy=rolling))
    made.simulation.images.cores = 23
    with pytest.raises(PlanRefused, match="a batch with maxSurge needs 4 vCPUs more, and the region's quota leaves 3"):
        azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert made.app.recorder.writes() == []
    made.simulation.images.cores = 24
    assert azure_rolling_upgrade(made.arm, *made.address, NEW).ok


# --- health, class and outage ----------------------------------------------------------------------------------------


def loose(**policy: Any) -> dict[str, Any]:
    shares = dict.fromkeys(("maxBatchInstancePercent", "maxUnhealthyInstancePercent"), 40)
    return {"rolling_policy": {**shares, "maxUnhealthyUpgradedInstancePercent": 100, **policy}}


def truly_available(made: Stage) -> set[str]:
    """By the emulator's own state."""
    return {name for name, instance in made.scale_set.instances.items() if instance.is_available}


def test_an_instance_that_was_unavailable_before_and_still_is_is_no_failure() -> None:
    made = stage(**loose())
    there = made.scale_set.instances
    made.simulation.instances.update(made.scale_set, there["3"], power="deallocated", health="")
    made.simulation.instances.update(made.scale_set, there["4"], power="stopped", health="")
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert {one for one, kind in verdict.classes.items() if kind == "still-unavailable"} == {"3", "4"}
    assert verdict.ok, verdict
    assert verdict.counts == {"updated": 8, "still-unavailable": 2}
    assert truly_available(made) == {one for one, kind in verdict.classes.items() if kind == "updated"}


@pytest.mark.parametrize(("policy", "kind"), [("Deallocate", "evicted"), ("Delete", "vanished")])
def test_an_eviction_meanwhile_is_no_failure(policy: str, kind: str) -> None:
    made = stage(**loose())
    made.simulation.faults.add(habit="instance-evicted", instance="9", among="others", policy=policy)
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert (verdict.outcome, verdict.classes["9"], verdict.counts) == ("succeeded", kind, {"updated": 9, kind: 1})


def test_a_failure_has_azures_code_message_and_request_id() -> None:
    made = stage(**loose())
    made.simulation.faults.add(
        on="upgrade", instance="0", effect="fail", code="OSProvisioningTimedOut", message="No signal."
    )
    made.simulation.faults.add(on="upgrade", instance="1", effect="unhealthy")
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert verdict.outcome == "stopped"
    assert set(verdict.failures) == {"0", "1"} == {one for one, kind in verdict.classes.items() if kind == "failed"}
    (write,) = made.app.recorder.find("PATCH")
    request_id = write.response_headers["x-ms-request-id"]
    assert verdict.failures["0"] == f"OSProvisioningTimedOut: No signal.; request id {request_id}"
    assert "health unhealthy" in verdict.failures["1"]
    assert request_id in verdict.failures["1"]
    assert verdict.to_dict()["failures"] == verdict.failures


def test_who_watches_gets_the_request_id_of_the_answer_that_showed_it() -> None:
    made = stage(**loose())
    made.simulation.faults.add(on="upgrade", instance="0", effect="fail")
    az.start_os_rolling_upgrade(made.arm, *made.address)
    verdict = watch_azure_rolling_upgrade(made.arm, *made.address)
    shown = made.app.recorder.find("GET", "rollingUpgrades/latest")[-1].response_headers["x-ms-request-id"]
    assert verdict.failures["0"].endswith(f"request id {shown}")


@pytest.mark.parametrize("answer", ["503", "reset"])
def test_an_outage_of_minutes_is_waited_out_and_reported(answer: str) -> None:
    made, events = stage(), list[dict[str, Any]]()
    outage = {"habit": "outage", "path": "subscriptions", "answer": answer, "seconds": 900}
    made.simulation.faults.add(**outage)
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, on_event=events.append)
    assert (verdict.outcome, verdict.counts) == ("succeeded", {"updated": 10})
    waits = [event for event in events if event["kind"] == "waiting"]
    assert {event["cause"] for event in waits} == {"outage"}
    assert all(event["deadline"] > event["at"] and event["reason"] for event in waits)


@pytest.mark.parametrize("path", ["rollingUpgrades", "subscriptions"])
def test_an_outage_without_an_end_pauses_and_says_when_to_come_back(path: str) -> None:
    made = stage()
    made.simulation.faults.add(habit="outage", path=path, seconds=100_000)
    begun = made.clock.time()
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, outage_timeout_seconds=600)
    assert verdict.outcome == "paused"
    assert "Azure has given no answer for" in verdict.reason
    assert "come back in 15 s" in verdict.reason
    assert "watch_azure_rolling_upgrade() follows it" in verdict.reason
    assert 500 < made.clock.time() - begun < 900
    assert set(verdict.classes) == set(made.scale_set.instances)
    made.simulation.faults.clear()
    assert watch_azure_rolling_upgrade(made.arm, *made.address).ok


def test_a_throttle_of_twenty_minutes_is_waited_for_and_one_beyond_the_limit_pauses() -> None:
    made, limit = stage(), {"throttle_timeout_seconds": 600.0}
    made.simulation.faults.add(habit="throttled", method="GET", path="rollingUpgrades", nth=3)
    begun = made.clock.time()
    assert azure_rolling_upgrade(made.arm, *made.address, NEW).ok
    assert made.clock.time() - begun > 1200
    made = stage()
    made.simulation.faults.add(habit="throttled", method="GET", path="rollingUpgrades", nth=3)
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, **limit)
    assert (verdict.outcome, "come back in 1200 s" in verdict.reason) == ("paused", True)


def test_a_pause_names_the_instances_in_flight() -> None:
    made = stage()
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, timeout=30)
    truly = {one for one, instance in made.scale_set.instances.items() if instance.state == "Updating"}
    assert verdict.outcome == "paused"
    assert truly
    assert {one for one, kind in verdict.classes.items() if kind == "in-flight"} == truly
    assert "in flight: " in verdict.reason


def test_rights_that_are_taken_away_pause_it_with_a_verdict() -> None:
    made = stage()
    made.simulation.faults.add(
        method="GET", path="rollingUpgrades", nth=3, times=9, status=403, code="AuthorizationFailed"
    )
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert (verdict.outcome, "AuthorizationFailed" in verdict.reason) == ("paused", True)
    assert set(verdict.classes) == set(made.scale_set.instances)


def test_a_change_that_azure_refuses_is_raised_and_a_busy_set_is_waited_for() -> None:
    made = stage()
    made.simulation.faults.add(method="PATCH", status=400, code="InvalidParameter")
    with pytest.raises(az.ArmError, match="InvalidParameter"):
        azure_rolling_upgrade(made.arm, *made.address, NEW)
    made.simulation.faults.add(habit="busy", when="at", seconds=900)
    made.simulation.events.run_due_events()
    assert azure_rolling_upgrade(made.arm, *made.address, NEW).ok


def test_a_lost_answer_to_the_start_is_looked_for() -> None:
    for habit, outcome in (("request-lost-after", "succeeded"), ("request-lost-before", "stopped")):
        made = stage()
        made.simulation.faults.add(habit=habit, path="osRollingUpgrade")
        verdict = azure_rolling_upgrade(made.arm, *made.address)
        assert verdict.outcome == outcome, verdict
    assert "Azure began no rolling upgrade" in verdict.reason


def test_a_write_that_fails_is_the_reason_when_nothing_begins() -> None:
    made = stage()
    made.simulation.faults.add(habit="operation-failed-wrongly", operation="write", code="VMExtensionProvisioningError")
    made.simulation.faults.add(method="GET", path="rollingUpgrades", nth=2, times=99, status=404)
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    (write,) = made.app.recorder.find("PATCH")
    assert verdict.outcome == "stopped"
    assert "VMExtensionProvisioningError" in verdict.reason
    assert write.response_headers["x-ms-request-id"] in verdict.reason


@pytest.mark.parametrize("habit", ["list-empty", "list-short", "list-old"])
def test_one_odd_list_at_the_end_is_read_again(habit: str) -> None:
    made = stage(**loose())
    made.simulation.faults.add(habit=habit, nth=2, **({"age": 100_000} if habit == "list-old" else {}))
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert (verdict.outcome, verdict.counts) == ("succeeded", {"updated": 10})


def test_silence_of_all_applications_is_not_health() -> None:
    made = stage(**loose())
    made.simulation.faults.add(habit="health-silent")
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert verdict.outcome == "stopped"
    assert verdict.counts == {"failed": 10}


def test_an_instance_that_is_stuck_is_in_flight_and_the_upgrade_not_succeeded() -> None:
    made = stage(**loose())
    made.simulation.faults.add(habit="instance-stuck", instance="0")
    verdict = azure_rolling_upgrade(made.arm, *made.address, NEW)
    assert (verdict.outcome, verdict.classes["0"]) == ("paused", "in-flight")
    assert verdict.counts["updated"] == 9


def test_limits_that_are_none_are_refused_before_azure_is_asked() -> None:
    made = stage()
    made.app.recorder.entries.clear()
    for wrong in ({"timeout": "1"}, {"outage_timeout_seconds": -1}, {"throttle_timeout_seconds": float("nan")}):
        for begin in (azure_rolling_upgrade, watch_azure_rolling_upgrade):
            with pytest.raises(az.InvalidInput, match=next(iter(wrong))):
                begin(made.arm, *made.address, **wrong)
    assert made.app.recorder.entries == []


CLASSES = {
    *("updated", "already-current", "arrived-current", "still-unavailable", "evicted", "in-flight"),
    *("skipped-protected", "vanished", "failed", "not-reached"),
}
MISFORTUNES = st.lists(
    st.fixed_dictionaries(
        {"habit": st.sampled_from(sorted(EVENTS))},
        optional={"nth": st.integers(1, 4), "seed": st.integers(0, 99), "count": st.integers(0, 3)},
    ),
    max_size=4,
)


@given(
    habits=MISFORTUNES,
    ill=st.sets(st.sampled_from("0123456789"), max_size=3),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0, 20, 100]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_the_verdict_is_true_and_complete(
    habits: list[dict[str, Any]], ill: set[str], seed: int, share: int
) -> None:
    made = Stage(
        Seed.build(capacity=10, mode="Rolling", health_source="extension", **loose(maxUnhealthyInstancePercent=share)),
        random_seed=seed,
    )
    for one in ill:
        made.simulation.instances.update(made.scale_set, made.scale_set.instances[one], power="deallocated", health="")
    for habit in habits:
        known = EVENTS[habit["habit"]].parameters or {}
        made.simulation.faults.add(**{key: value for key, value in habit.items() if key in {"habit", *known}})
    try:
        verdict = azure_rolling_upgrade(made.arm, *made.address, NEW, timeout=20_000)
    except (az.ArmError, az.ProtocolError):  # of what was asked before anything was begun
        assert made.app.recorder.find("GET", "rollingUpgrades") == [] or not made.scale_set.model_version
        return
    made.simulation.events.run_due_events()
    shown = [entry.response for entry in made.app.recorder.find("GET", "virtualMachines") if entry.response]
    last = {item["instanceId"] for item in shown[-1]["value"] if item} if shown else set()
    assert set(verdict.classes) >= last - set(made.scale_set.ghosts)
    assert set(verdict.classes.values()) <= CLASSES
    assert verdict.ok or verdict.reason
    assert set(verdict.failures) == {one for one, kind in verdict.classes.items() if kind == "failed"}
    for one, instance in made.scale_set.instances.items():
        if verdict.classes.get(one) == "updated":
            assert instance.document["properties"]["storageProfile"]["imageReference"]["exactVersion"] == NEW
        if verdict.classes.get(one) == "failed":
            assert one not in ill, "it was unavailable before"
        if verdict.ok and verdict.classes.get(one) == "in-flight":
            raise AssertionError("succeeded, and Azure still works on one")
