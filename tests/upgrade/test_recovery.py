"""Crashes, late resumes, outages, rollbacks, callbacks: a journal goes on, and no guard or instance is abandoned."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import progress
from azurerm_lite.errors import InvalidInput
from azurerm_lite.upgrade import PlanRefused, Policy, clean_up, plan, plan_rollback, resume, rollback, upgrade

from .lab import NEW, OLD, EndlessLoop, Killed, Lab, at

MIDDLE = "22.04.202610200"
SIZE = "Standard_E8s_v5"


def journal_of(folder: Any, name: str = "web.jsonl") -> str:
    return str(folder / name)


def larger(model: Any) -> Any:
    return az.set_vm_size(model, SIZE)


def stopped_or_deallocated(lab: Lab) -> list[str]:
    return [name for name, vm in lab.instances.items() if vm.power != "running"]


# --- late resumes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0.0, 1.5, 240.0])
@pytest.mark.parametrize("kind", ["intent", "posted", "ended", "model-intent", "fit"])
@pytest.mark.parametrize("rollback_on_failure", [False, True])
def test_a_run_that_was_killed_anywhere_goes_on_whenever_it_is_resumed(
    kind: str, hours: float, rollback_on_failure: bool, tmp_path: Any
) -> None:
    """Cases r19 and r45b: a batch that was never sent has not failed, and nothing sound is rolled back."""
    lab, journal = Lab(capacity=10, health_source="extension"), journal_of(tmp_path)
    number = 1 if kind.startswith("model") else 2
    lab.run_until(kind, journal, number=number, policy=Policy(rollback_on_failure=rollback_on_failure))
    verdict = lab.resume(journal, after=3600 * hours)
    assert verdict.counts == {"updated": 10}, verdict
    assert verdict.ok
    assert lab.versions() == {NEW: 10}
    assert max(map(lab.upgraded, lab.instances)) == 1
    assert lab.breaches == []


@pytest.mark.parametrize("hours", [0.1, 30.0])
@pytest.mark.parametrize(("kind", "number"), [("intent", 2), ("model-intent", 1), ("posted", 3), ("settled", 1)])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_run_that_the_network_left_goes_on_when_it_is_back(
    kind: str, number: int, drop: str, hours: float, tmp_path: Any
) -> None:
    """Case r19: the network is away for good; it pauses; somebody resumes hours later."""
    lab, journal = Lab(capacity=10, health_source="extension"), journal_of(tmp_path)
    verdict = lab.run(journal=journal, on_event=at(kind, number, lambda: lab.faults(drop=drop, times=10**9)))
    assert verdict.outcome == "paused", verdict
    lab.simulation.faults.clear()
    verdict = lab.resume(journal, after=3600 * hours)
    assert verdict.counts == {"updated": 10}, verdict
    assert max(map(lab.upgraded, lab.instances)) == 1
    assert lab.breaches == []


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("hours", [0.02, 5.0])
def test_a_crash_while_the_write_of_the_model_is_polled_is_no_drift(old: bool, hours: float, tmp_path: Any) -> None:
    """Case r23: Azure fills in defaults that an older model lacks."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    if old:
        profile = lab.scale_set.model["properties"]["virtualMachineProfile"]
        for key in ("requireGuestProvisionSignal", "allowExtensionOperations"):
            profile["osProfile"].pop(key, None)
        profile["storageProfile"]["osDisk"].pop("osType", None)
    plan, sleep = lab.plan(), lab.arm._sleep

    def kill(_seconds: float) -> None:
        raise Killed

    lab.arm._sleep = kill
    with pytest.raises(Killed):
        upgrade(lab.arm, plan, journal=journal)
    lab.arm._sleep = sleep
    assert lab.resume(journal, after=3600 * hours).ok
    assert lab.versions() == {NEW: 10}


def test_a_foreign_write_while_nobody_looks_is_drift(tmp_path: Any) -> None:
    """Kind of r23: what somebody else wrote is never taken for the own write."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    lab.run_until("model-intent", journal)
    az.patch_vmss(lab.arm, *lab.address, {"properties": {"virtualMachineProfile": {"licenseType": "x"}}}).wait()
    verdict = lab.resume(journal, after=3600)
    assert verdict.outcome == "stopped"
    assert lab.sent == []


# --- stages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [0.5, 2.0])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_instance_is_left_deallocated(number: int, hours: float, tmp_path: Any) -> None:
    """Case r32: killed before any stage of a batch, resumed at any time: each instance runs in the end."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    policy = Policy(max_disruption="deallocate")
    lab.run_until("stage", journal, number=number, change=larger, policy=policy)
    verdict = lab.resume(journal, after=3600 * hours)
    assert verdict.counts == {"updated": 10}, verdict
    assert stopped_or_deallocated(lab) == []
    assert lab.breaches == []


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("request_kind", ["deallocate", "manualupgrade", "start"])
def test_no_instance_is_left_deallocated_when_a_request_is_lost(request_kind: str, drop: str) -> None:
    """Kind of r32: each request of a batch is lost once."""
    lab = Lab(capacity=10)
    lab.faults(method="POST", path=request_kind, drop=drop, nth=2)
    verdict = lab.run(larger, Policy(max_disruption="deallocate"))
    assert verdict.counts == {"updated": 10}, verdict
    assert stopped_or_deallocated(lab) == []
    assert lab.breaches == []


DEALLOCATING = Policy(max_disruption="deallocate")


@pytest.mark.parametrize(("kind", "number"), [("stage", 1), ("stage", 2), ("posted", 1), ("posted", 2), ("ended", 2)])
@pytest.mark.parametrize("change", [larger, None], ids=["again", "as it is"])
def test_a_plan_made_anew_starts_what_a_killed_run_has_deallocated(
    kind: str, number: int, change: Any, tmp_path: Any
) -> None:
    """It says so, and names the journal; once it is given that, it starts them."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    lab.run_until(kind, journal, number=number, change=larger, policy=DEALLOCATING)
    lab.clock.advance(600)
    lab.simulation.events.run_due_events()
    parked = {name for name, vm in lab.instances.items() if vm.power == "deallocated"}
    assert parked
    with pytest.raises(
        PlanRefused, match=r"none can be spared.*deallocated: 0, 5; the upgrade in .*web.jsonl did not end"
    ):
        lab.plan(change, DEALLOCATING)
    lower = replace(DEALLOCATING, min_healthy_instance_percent=50)
    (warning,) = [text for text in lab.plan(change, lower).warnings if text.startswith("deallocated:")]
    assert journal in warning
    assert "resume(auth, journal)" in warning
    wanted = lab.plan(change, DEALLOCATING, unfinished_journal=journal)
    assert set(wanted.deallocated) == parked
    assert any("started by this one" in text for text in wanted.warnings)
    verdict = upgrade(lab.arm, wanted, journal=journal_of(tmp_path, "second.jsonl"))
    assert verdict.counts == {"updated": 10}, verdict
    assert lab.breaches == []
    assert {vm.power for vm in lab.instances.values()} == {"running"}
    lab.power("3", "deallocated")
    (warning,) = [text for text in lab.plan(None, lower).warnings if text.startswith("deallocated:")]
    assert "jsonl" not in warning


@pytest.mark.parametrize(("kind", "number"), [("posted", 1), ("stage", 2)])
def test_a_rollback_starts_what_a_killed_run_has_deallocated(kind: str, number: int, tmp_path: Any) -> None:
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    policy = replace(DEALLOCATING, min_healthy_instance_percent=60)
    lab.run_until(kind, journal, number=number, change=larger, policy=policy)
    lab.clock.advance(600)
    lab.simulation.events.run_due_events()
    assert stopped_or_deallocated(lab) == ["0", "5"]
    verdict = rollback(lab.arm, journal)
    assert verdict.ok, verdict
    assert lab.breaches == []
    assert stopped_or_deallocated(lab) == []


def test_the_journal_of_another_scale_set_is_no_unfinished_one(tmp_path: Any) -> None:
    lab, journal = Lab(capacity=3), journal_of(tmp_path)
    lab.run(policy=Policy(min_healthy_instance_percent=0), journal=journal)
    with pytest.raises(InvalidInput, match="of another scale set"):
        plan(lab.arm, *lab.address[:2], "db", unfinished_journal=journal)


def test_a_pause_between_stages_says_what_is_deallocated(tmp_path: Any) -> None:
    lab = Lab(capacity=10)
    lab.faults(method="POST", path="/start", status=503, times=10**6)
    verdict = lab.run(larger, DEALLOCATING, journal=journal_of(tmp_path))
    assert verdict.outcome == "paused"
    assert "deallocated, and started by resume: 0, 5" in verdict.reason


@pytest.mark.parametrize("kind", ["settled", "stage", "ended", "intent"])
def test_a_run_that_is_stopped_on_request_between_stages_leaves_instances_that_resume_starts(
    kind: str, tmp_path: Any
) -> None:
    """Kind of r32: cancelled in the middle of a batch; resume starts what was deallocated."""
    lab, journal, stop = Lab(capacity=10), journal_of(tmp_path), list[int]()
    verdict = lab.run(
        larger,
        Policy(max_disruption="deallocate"),
        journal=journal,
        on_event=at(kind, 2, lambda: stop.append(1)),
        should_stop=lambda: bool(stop),
    )
    assert verdict.outcome == "cancelled"
    lab.clock.advance(600)
    lab.simulation.events.run_due_events()
    assert stopped_or_deallocated(lab) == []
    verdict = lab.resume(journal, after=7200)
    assert verdict.ok, verdict
    assert stopped_or_deallocated(lab) == []
    assert lab.breaches == []


@pytest.mark.parametrize("case", ["ephemeral", "size"])
@pytest.mark.parametrize("stop", ["failed", "killed", "cancelled"])
def test_a_second_plan_finishes_what_a_first_did_not(case: str, stop: str, tmp_path: Any) -> None:
    """Case r33: whether an instance still needs a reimage or a deallocation is read from the instance."""
    lab, journal = Lab(capacity=10, ephemeral=case == "ephemeral", health_source="extension"), journal_of(tmp_path)
    change, policy = (larger, Policy(max_disruption="deallocate")) if case == "size" else (NEW, Policy())
    if stop == "killed":
        lab.run_until("settled" if case == "size" else "stage", journal, number=2, change=change, policy=policy)
    elif stop == "failed":
        lab.faults(on="upgrade", instance="1", effect="fail")
        assert lab.run(change, policy).outcome == "stopped"
    else:
        wish = list[int]()
        watch = at("stage", 3, lambda: wish.append(1))
        assert lab.run(change, policy, on_event=watch, should_stop=lambda: bool(wish)).outcome == "cancelled"
    lab.clock.advance(4000)
    lab.simulation.events.run_due_events()
    lab.health("1", "healthy")
    verdict = lab.run(change, policy)
    assert verdict.ok, verdict
    assert stopped_or_deallocated(lab) == []
    if case == "ephemeral":
        assert lab.versions() == {NEW: 10}
    else:
        assert Counter(vm.document["sku"]["name"] for vm in lab.instances.values()) == {SIZE: 10}
    assert lab.breaches == []


@pytest.mark.parametrize("kind", ["model-written", "model-intent", "intent", "settled", "ended"])
def test_a_second_rollback_finishes_what_a_first_did_not(kind: str, tmp_path: Any) -> None:
    """Case r45a: an ephemeral set, a rollback that is interrupted and asked for again."""
    lab, journal = Lab(capacity=10, ephemeral=True), journal_of(tmp_path)
    assert lab.run(journal=journal).ok

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        rollback(lab.arm, journal, on_event=at(kind, 1, kill))
    lab.clock.advance(4000)
    lab.simulation.events.run_due_events()
    verdict = rollback(lab.arm, journal)
    assert verdict.ok, verdict
    assert lab.versions() == {OLD: 10}


# --- rollbacks --------------------------------------------------------------------------------------------------------

POINTS = [(1, "end"), (1, "rollback"), (1, "model-intent"), (2, "model-intent"), (2, "model-written"), (3, "intent")]


@pytest.mark.parametrize("hours", [0.0, 8.0])
@pytest.mark.parametrize(("number", "kind"), [*POINTS, (4, "posted"), (3, "ended"), (3, "settled")])
def test_an_automatic_rollback_survives_a_crash(number: int, kind: str, hours: float, tmp_path: Any) -> None:
    """Case r08: before it, in it: resume goes on with it."""
    lab, journal, count = Lab(capacity=10, health_source="extension"), journal_of(tmp_path), Counter[str]()
    lab.faults(on="upgrade", instance="6", effect="fail")

    def hear(event: Any) -> None:
        count[event["kind"]] += 1
        if (count[event["kind"]], event["kind"]) == (number, kind):
            raise Killed

    try:
        verdict = lab.run(policy=Policy(rollback_on_failure=True), journal=journal, on_event=hear)
    except Killed:
        verdict = lab.resume(journal, after=3600 * hours)
    assert verdict.outcome == "rolled-back", verdict
    assert verdict.counts == {"rolled-back": 4, "not-reached": 6}
    assert lab.versions() == {OLD: 10}
    assert lab.scale_set.image["version"] == OLD
    assert lab.breaches == []


@pytest.mark.parametrize("name", ["1", "0", "9"])
@pytest.mark.parametrize("shape", [{}, {"orchestration": "Flexible"}, {"zones": ("1", "2")}])
def test_the_instance_that_caused_a_rollback_does_not_stop_it(name: str, shape: Any, tmp_path: Any) -> None:
    """Case r28: it stays unhealthy on the old image too; the others go back."""
    lab = Lab(capacity=10, health_source="extension", **shape)
    victim = list(lab.instances)[int(name)]
    lab.faults(on="upgrade", instance=victim, effect="unhealthy", times=99)
    order = "fault_domain" if "orchestration" in shape else "update_domain"
    verdict = lab.run(policy=Policy(rollback_on_failure=True, batch_by=order), journal=journal_of(tmp_path))
    assert verdict.outcome == "rolled-back", verdict
    assert lab.versions() == {OLD: 10}
    assert lab.breaches == []


def test_a_rollback_over_a_later_change_is_refused_unless_it_is_allowed(tmp_path: Any) -> None:
    """Case r40: somebody else has brought the set to B since."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    assert lab.run(MIDDLE, journal=journal).ok
    assert lab.run(NEW).ok
    for refused in (rollback, plan_rollback):
        with pytest.raises(PlanRefused, match="somebody has written the model since"):
            refused(lab.arm, journal)
    assert lab.versions() == {NEW: 10}
    assert rollback(lab.arm, journal, over_later_changes=True).ok
    assert lab.versions() == {OLD: 10}


@pytest.mark.parametrize("change", ["tags", "capacity", "licenseType"])
def test_which_later_changes_a_rollback_goes_on_over(change: str, tmp_path: Any) -> None:
    """Kind of r40: tags and capacity are no part of what is rolled back, and stay as others have written them."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    assert lab.run(NEW, journal=journal).ok
    bodies: dict[str, Any] = {
        "tags": {"tags": {"team": "x"}},
        "capacity": {"sku": {"name": "Standard_D2s_v3", "tier": "Standard", "capacity": 11}},
        "licenseType": {"properties": {"virtualMachineProfile": {"licenseType": "x"}}},
    }
    az.patch_vmss(lab.arm, *lab.address, bodies[change]).wait()
    if change == "licenseType":
        with pytest.raises(PlanRefused):
            rollback(lab.arm, journal)
        return
    assert rollback(lab.arm, journal).ok
    tags, capacity = lab.scale_set.model["tags"], lab.scale_set.model["sku"]["capacity"]
    assert change != "tags" or tags["team"] == "x"
    assert change != "capacity" or capacity == 11
    assert lab.versions()[OLD] == 10


@pytest.mark.parametrize("version", ["latest", OLD])
def test_a_rollback_of_a_set_that_said_latest_brings_instances_back(version: str, tmp_path: Any) -> None:
    """Case files/rollback_to_latest: to the exact version that each ran; the model names it afterwards."""
    from azurerm_lite.emulator import Seed

    image = {
        "publisher": "Canonical",
        "offer": "0001-com-ubuntu-server-jammy",
        "sku": "22_04-lts-gen2",
        "version": version,
    }
    for automatic in (False, True):
        lab = Lab(Seed.build("web", capacity=10, image=image, versions=[OLD]))
        lab.simulation.images.publish("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", NEW)
        journal = journal_of(tmp_path, f"{automatic}.jsonl")
        if automatic:
            lab.faults(on="upgrade", effect="fail", instance="3")
            assert lab.run(policy=Policy(rollback_on_failure=True), journal=journal).outcome == "rolled-back"
        else:
            assert lab.run(journal=journal).ok
            assert any(f"names {OLD}" in warning for warning in plan_rollback(lab.arm, journal).warnings)
            assert rollback(lab.arm, journal).ok
        assert lab.versions() == {OLD: 10}
        assert lab.scale_set.image["version"] == OLD


@pytest.mark.parametrize("seconds", [600.0, 10**6])
@pytest.mark.parametrize("fault", [{"drop": "before"}, {"status": 503}, {"status": 429}], ids=str)
@pytest.mark.parametrize("age", [0.0, 100.0])
def test_an_outage_at_the_first_read_is_waited_for_too(
    seconds: float, fault: dict[str, Any], age: float, tmp_path: Any
) -> None:
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    wanted = lab.plan(policy=Policy(throttle_timeout_seconds=1800.0))
    lab.clock.advance(age)
    lab.faults(times=10**9, seconds=seconds, **fault)
    verdict = upgrade(lab.arm, wanted, journal=journal)
    assert verdict.outcome == ("succeeded" if seconds < 1800 else "paused"), verdict
    lab.simulation.faults.clear()
    assert verdict.ok or lab.resume(journal, after=60).ok
    assert lab.breaches == []


def test_a_refusal_at_the_first_read_begins_nothing(tmp_path: Any) -> None:
    lab, journal = Lab(capacity=10), tmp_path / "web.jsonl"
    wanted = lab.plan()
    lab.faults(status=403, code="AuthorizationFailed", times=10**9)
    with pytest.raises(az.ForbiddenError):
        upgrade(lab.arm, wanted, journal=str(journal))
    assert not journal.exists()


# --- requests that Azure refuses --------------------------------------------------------------------------------------


def not_active(name: str) -> dict[str, Any]:
    message = f"The provided instanceId {name} is not an active Virtual Machine Scale Set VM instanceId."
    return {"status": 400, "code": "InvalidParameter", "message": message}


def test_an_id_that_azure_calls_not_active_for_ever_ends_the_run(tmp_path: Any) -> None:
    """Case r04: it pauses, after few requests, and says why."""
    lab = Lab(capacity=10)
    lab.limit = 500
    lab.faults(method="POST", path="manualupgrade", times=10**9, **not_active("0"))
    verdict = lab.run(journal=journal_of(tmp_path))
    assert verdict.outcome == "paused"
    assert "not an active" in verdict.reason
    assert verdict.counts == {"not-reached": 10}


@pytest.mark.parametrize("name", ["0", "5", "9"])
@pytest.mark.parametrize("times", [1, 2, 10**9])
def test_the_others_go_on_without_an_id_that_azure_calls_not_active(name: str, times: int, tmp_path: Any) -> None:
    """Kind of r04 (row 100): once more with the rest."""
    refusals: list[int] = []

    def before(request: Any) -> Any:
        if request.method != "POST" or "/manualupgrade" not in request.url or len(refusals) >= times:
            return None
        if name not in json.loads(request.body)["instanceIds"]:
            return None
        refusals.append(1)
        fault = not_active(name)
        return 400, {}, {"error": {"code": fault["code"], "message": fault["message"]}}

    lab, journal = Lab(capacity=10, before=before), journal_of(tmp_path)
    lab.limit = 800
    verdict = lab.run(journal=journal)
    assert lab.breaches == []
    if times < 10:
        assert verdict.counts == {"updated": 10}, verdict
    else:
        assert verdict.outcome == "paused", verdict
        assert verdict.counts == {"updated": 9, "not-reached": 1}
        assert name in verdict.reason
        lab.wire.before = None
        assert lab.resume(journal).counts == {"updated": 10}


@pytest.mark.parametrize("status", [409, 412, 503, 429])
@pytest.mark.parametrize("times", [1, 3])
def test_a_write_of_the_model_that_is_refused_for_now_is_tried_again(status: int, times: int, tmp_path: Any) -> None:
    """Case r30: another operation is just ending; an autoscaler wrote at the same time."""
    lab = Lab(capacity=10)
    plan = lab.plan()
    lab.faults(method="PATCH", path="", status=status, code="Conflict", times=times)
    verdict = upgrade(lab.arm, plan, journal=journal_of(tmp_path))
    assert verdict.counts == {"updated": 10}, verdict
    assert lab.breaches == []


def test_a_write_of_the_model_that_is_always_refused_pauses_with_every_instance_in_a_class(tmp_path: Any) -> None:
    """Case r30: the verdict names each instance; resume goes on when the operation has ended."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)
    plan = lab.plan()
    lab.faults(method="PATCH", path="", status=409, code="Conflict", times=10**9)
    verdict = upgrade(lab.arm, plan, journal=journal)
    assert verdict.outcome == "paused"
    assert verdict.counts == {"not-reached": 10}
    lab.simulation.faults.clear()
    assert lab.resume(journal).ok


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "GET", "path": "/virtualMachines", "status": 503, "times": 5},
        {"method": "GET", "path": "/virtualMachines", "drop": "before", "times": 5},
        {"method": "GET", "path": "/virtualMachines", "status": 502, "times": 60},
        {"method": "GET", "path": "/operations", "status": 503, "times": 50},
        {"method": "GET", "path": "/web", "status": 500, "times": 12},
        {"method": "GET", "path": "/virtualMachines", "status": 429, "retry_after": 900},
        {"method": "POST", "path": "manualupgrade", "status": 429, "retry_after": 1200},
        {"method": "POST", "path": "manualupgrade", "status": 429, "retry_after": 1200, "nth": 3, "times": 2},
        {"method": "PATCH", "path": "", "status": 429, "retry_after": 1200},
    ],
)
def test_passing_trouble_is_waited_out(fault: dict[str, Any]) -> None:
    """Case reports/r10: an outage of seconds or minutes, a throttle of 20 minutes."""
    lab = Lab(capacity=10)
    verdict = lab.run(on_event=at("begin", 1, lambda: lab.faults(**fault)))
    assert verdict.counts == {"updated": 10}, verdict
    assert lab.breaches == []


def test_a_throttle_longer_than_its_limit_pauses_and_says_when_to_come_back() -> None:
    """Case reports/r10: the wait stands in the text."""
    lab = Lab(capacity=10)
    plan = lab.plan(policy=Policy(throttle_timeout_seconds=600))
    lab.faults(method="POST", path="manualupgrade", status=429, retry_after=1200)
    verdict = upgrade(lab.arm, plan)
    assert verdict.outcome == "paused"
    assert "come back in 1200 s" in verdict.reason
    assert verdict.counts == {"not-reached": 10}


# --- verdicts ---------------------------------------------------------------------------------------------------------

OPERATION = (
    "https://localhost/subscriptions/5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d/providers/Microsoft.Compute"
    "/locations/westus2/operations/11111111-2222-3333-4444-555555555555?api-version=2024-07-01"
)
REQUEST_ID = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("code", ["AllocationFailed", "OSProvisioningTimedOut", "VMExtensionProvisioningError"])
def test_the_verdict_says_why_each_instance_failed(code: str) -> None:
    """Case reports/r06: Azure's code, message and request id."""

    def before(request: Any) -> Any:
        if request.method == "POST" and "/manualupgrade" in request.url:
            return 202, {"Azure-AsyncOperation": OPERATION, "x-ms-request-id": REQUEST_ID}, None
        if request.url == OPERATION:
            return 200, {}, {"status": "Failed", "error": {"code": code, "message": "No capacity for this size here."}}
        return None

    lab = Lab(capacity=10, before=before)
    verdict = lab.run()
    assert verdict.outcome == "stopped"
    assert verdict.counts == {"failed": 2, "not-reached": 8}
    assert sorted(verdict.failures) == ["0", "5"]
    for text in verdict.failures.values():
        assert code in text
        assert "No capacity for this size here." in text
        assert REQUEST_ID in text
    assert code in verdict.reason


def test_a_gate_that_cannot_tell_leaves_true_classes() -> None:
    """Case r21: the two that were upgraded are no `already-current`."""
    lab = Lab(capacity=10, health_source="extension")
    verdict = lab.run(gate=lambda _members: None)
    assert verdict.outcome == "paused"
    assert {verdict.classes[name] for name in ("0", "5")} <= {"updated", "in-flight"}
    assert verdict.counts["not-reached"] == 8


@pytest.mark.parametrize("kind", ["posted", "ended", "fit"])
@pytest.mark.parametrize("world", ["preempt", "conflict"])
def test_a_model_that_others_edit_while_a_batch_is_away_leaves_true_classes(kind: str, world: str) -> None:
    """Case r21: what was sent is no `not-reached`."""
    lab = Lab(capacity=10, health_source="extension")
    lab.simulation.settings.concurrency = "preempt"

    def edit() -> None:
        change = {"properties": {"virtualMachineProfile": {"licenseType": "x"}}}
        lab.simulation.scale_sets.write(lab.scale_set, change, null_deletes=True)

    verdict = lab.run(on_event=at(kind, 1, edit))
    assert verdict.outcome == "stopped"
    assert {verdict.classes[name] for name in ("0", "5")} <= {"updated", "in-flight"}, verdict.classes
    assert verdict.counts["not-reached"] == 8
    assert set(verdict.classes) == set(lab.instances)


@pytest.mark.parametrize("capacity", [10, 20, 5])
def test_a_run_that_is_stopped_on_request_names_what_azure_still_works_on(capacity: int) -> None:
    """Case people/paused_says_nothing_is_away."""
    lab, stop = Lab(capacity=capacity), list[int]()
    verdict = lab.run(on_event=at("posted", 1, lambda: stop.append(1)), should_stop=lambda: bool(stop))
    away = sorted(name for name, vm in lab.instances.items() if vm.state == "Updating")
    assert away
    assert verdict.outcome == "cancelled"
    assert sorted(verdict.in_flight) == away
    assert "still in flight" in verdict.reason
    assert set(verdict.classes) == set(lab.instances)


def test_a_batch_with_a_failed_instance_is_not_called_healthy() -> None:
    """Case people/batch_healthy_with_a_failed_one."""
    import io

    lab, text = Lab(capacity=20, health_source="extension"), io.StringIO()
    lab.faults(on="upgrade", instance="5", effect="fail", code="OSProvisioningTimedOut")
    lab.run(on_event=progress.Lines(text))
    assert "batch 1 of 5: 3 of 4 healthy" in text.getvalue()
    assert "batch 1 of 5: healthy" not in text.getvalue()
    assert "1 failed (5)" in text.getvalue()


# --- callbacks and guards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyError("mine"), ValueError("x"), RuntimeError(), az.InvalidInput("x")])
def test_an_exception_in_on_event_is_logged_and_ends_nothing(error: Exception, caplog: Any) -> None:
    """Case people/on_event_raises: at every event of every kind."""
    lab = Lab(capacity=10)

    def mine(_event: Any) -> None:
        raise error

    assert lab.run(on_event=mine).ok
    assert lab.versions() == {NEW: 10}
    assert any("on_event failed" in record.message for record in caplog.records)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("x"), GeneratorExit(), Killed()])
def test_a_gate_that_raises_anything_is_inconclusive(error: BaseException, tmp_path: Any, capfd: Any) -> None:
    """Item 8: it pauses with the reason, resume asks again, and nothing is printed."""
    lab, journal = Lab(capacity=10), journal_of(tmp_path)

    def gate(_members: Any) -> bool:
        raise error

    verdict = lab.run(gate=gate, journal=journal)
    assert verdict.outcome == "paused"
    assert type(error).__name__ in verdict.reason
    assert len(lab.sent) == 1
    assert capfd.readouterr().err == ""
    assert lab.resume(journal, gate=lambda _members: True).ok


GUARDED = {
    "health_source": "extension",
    "properties": {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}},
}
CAREFUL = Policy(suspend_repairs=True, protect_from_scale_in=True)


def guards_of(lab: Lab) -> tuple[str, list[str]]:
    policies = {name: vm.document["properties"].get("protectionPolicy") or {} for name, vm in lab.instances.items()}
    return lab.scale_set.repairs_state, [name for name, one in policies.items() if one.get("protectFromScaleIn")]


@pytest.mark.parametrize("number", [2])
@pytest.mark.parametrize("kind", ["shielded", "guarded", "intent", "fit", "settled", "seen"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_guards_are_removed_whatever_ends_a_run_without_a_journal(kind: str, number: int, error: Any) -> None:
    """Case r14."""
    if kind == "guarded":
        number = 1
    lab = Lab(capacity=10, **GUARDED)

    def interrupt() -> None:
        raise error

    with pytest.raises(error):
        lab.run(policy=CAREFUL, on_event=at(kind, number, interrupt))
    assert guards_of(lab) == ("Running", [])


@pytest.mark.parametrize("kind", ["shielded", "guarded", "intent", "posted", "ended", "settled"])
@pytest.mark.parametrize("way", ["resume", "clean_up"])
def test_guards_that_a_crash_left_are_removed(kind: str, way: str, tmp_path: Any, monkeypatch: Any) -> None:
    """Kind of r14: the process is gone; the journal knows."""
    from azurerm_lite.upgrade.run.runner import Runner

    lab, journal = Lab(capacity=10, **GUARDED), journal_of(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Runner, "release", lambda _self: None)  # as a process that is killed
        lab.run_until(kind, journal, policy=CAREFUL)
    lab.clock.advance(4000)
    lab.simulation.events.run_due_events()
    if way == "clean_up":
        clean_up(lab.arm, journal)
        assert guards_of(lab) == ("Running", [])
    assert resume(lab.arm, journal).ok
    assert guards_of(lab) == ("Running", [])


@pytest.mark.parametrize("effect", ["fail", "unhealthy", "vanish", "hang"])
@pytest.mark.parametrize("back", [False, True])
def test_guards_are_removed_when_a_rule_ends_a_run(effect: str, back: bool) -> None:
    lab = Lab(capacity=10, **GUARDED)
    lab.faults(on="upgrade", instance="1", effect=effect)
    policy = Policy(
        suspend_repairs=True, protect_from_scale_in=True, rollback_on_failure=back, operation_timeout_seconds=600
    )
    verdict = lab.run(policy=policy)
    state, protected = guards_of(lab)
    assert state == "Running", verdict
    away = {name for name, vm in lab.instances.items() if vm.state == "Updating"}
    assert set(protected) <= away, verdict
    assert not protected or "still protected" in verdict.reason


def test_a_loop_without_end_is_noticed() -> None:
    """The limit of the lab itself works."""
    lab = Lab(capacity=10)
    lab.limit = 10
    with pytest.raises(EndlessLoop):
        lab.run()
