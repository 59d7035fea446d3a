"""The floor holds at every request of ours, by the emulator's own state: lost requests, crashes, misfortune between."""

import json
import math
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.upgrade import PlanRefused, Policy

from .lab import NEW, Lab, at

SETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ten": ({"capacity": 10, "health_source": "extension"}, {}),
    "without health": ({"capacity": 10}, {}),
    "probe": ({"capacity": 15, "health_source": "probe"}, {"max_batch_instance_percent": 10}),
    "zones": (
        {"capacity": 12, "health_source": "extension", "zones": ("1", "2", "3")},
        {"batch_by": "zone", "min_healthy_zone_percent": 75},
    ),
    "flexible": (
        {"capacity": 10, "health_source": "extension", "orchestration": "Flexible"},
        {"batch_by": "fault_domain", "min_healthy_instance_percent": 70},
    ),
    "ephemeral": ({"capacity": 10, "health_source": "extension", "ephemeral": True}, {}),
}
WAYS: dict[str, dict[str, Any]] = {
    "dropped before": {"drop": "before"},
    "dropped after": {"drop": "after"},
    "503": {"status": 503},
    "503 after its effect": {"status": 503, "late": True},
    "502, three times": {"status": 502, "times": 3},
    "429": {"status": 429},
    "429 for 200 s": {"status": 429, "retry_after": 200},
    "429 for 20 minutes": {"status": 429, "retry_after": 1200},
    "409": {"status": 409, "code": "Conflict"},
    "412": {"status": 412, "code": "PreconditionFailed"},
}


def turn_unhealthy(lab: Lab, names: tuple[str, ...]) -> None:
    for name in names:
        if name in lab.instances and lab.instances[name].state == "Succeeded":
            if lab.instances[name].health:
                lab.simulation.health.set_health(lab.scale_set, lab.instances[name], "unhealthy")
            else:
                lab.simulation.instances.update(lab.scale_set, lab.instances[name], power="stopped")


@pytest.mark.parametrize(
    ("shape", "way"),
    [*(("ten", way) for way in WAYS), *((shape, "dropped before") for shape in SETS), ("flexible", "429 for 200 s")],
)
def test_the_floor_holds_when_a_request_is_lost_while_others_turn_unhealthy(shape: str, way: str) -> None:
    """Case r01: before a batch is sent again it is decided anew, on the instances as they are by then."""
    options, policy = SETS[shape]
    lab = Lab(**options)
    lost = list(lab.instances)[2:5]

    def misfortune() -> None:
        lab.faults(method="POST", path="manualupgrade", **WAYS[way])
        lab.simulation.events.schedule_in(5, lambda: turn_unhealthy(lab, tuple(lost)))

    verdict = lab.run(policy=Policy(**policy), on_event=at("intent", 2, misfortune))
    assert lab.breaches == []
    assert verdict.outcome in ("succeeded", "stopped", "paused")
    assert verdict.ok == (lab.versions() == {NEW: lab.size} and lab.available() >= lab.size * 0.7), verdict
    assert verdict.ok or verdict.reason
    assert max(map(lab.upgraded, lab.instances)) <= 1


@pytest.mark.parametrize("hours", [0.0, 1.5])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("shape", SETS)
def test_the_floor_holds_when_a_crash_comes_before_the_request(
    shape: str, number: int, hours: float, tmp_path: Any
) -> None:
    """Cases r01 and r19: a batch that was never sent is decided anew, whenever somebody resumes."""
    options, policy = SETS[shape]
    lab, journal = Lab(**options), str(tmp_path / "web.jsonl")
    lab.run_until("intent", journal, number=number, policy=Policy(**policy))
    lab.clock.advance(3600 * hours)
    lab.simulation.events.run_due_events()
    turn_unhealthy(lab, tuple(list(lab.instances)[2:5]))
    verdict = lab.resume(journal)
    assert lab.breaches == []
    assert "failed" not in verdict.counts, verdict
    assert max(map(lab.upgraded, lab.instances)) <= 1


@pytest.mark.parametrize("percent", [80, 50, 100])
@pytest.mark.parametrize("state", ["unknown", "Failed", "no power state"])
def test_instances_of_which_nothing_shows_that_they_are_out_of_service_are_not_free(state: str, percent: int) -> None:
    """Case r22: unknown health, or a failed extension, is neither available nor free to take."""
    lab = Lab(capacity=10, health_source="extension")
    for name in lab.instances:
        if state == "unknown":
            lab.health(name, "unknown")
        elif state == "Failed":
            lab.state(name, "Failed")
        else:
            lab.power(name, "")
    policy = Policy(batch_by="batch", max_batch_instance_percent=100, min_healthy_instance_percent=percent)
    with pytest.raises(PlanRefused, match="0 are: none can be spared"):
        lab.plan(policy=policy)


@pytest.mark.parametrize(("capacity", "gone"), [(10, 4), (10, 2), (20, 5), (7, 2)])
@pytest.mark.parametrize("flexible", [False, True])
def test_the_floor_counts_instances_that_the_capacity_asks_for_and_nobody_sees(
    capacity: int, gone: int, flexible: bool
) -> None:
    """Case reports/r09: four of ten were evicted and deleted; 80 % of ten are eight, not five."""
    shape = {"orchestration": "Flexible"} if flexible else {}
    lab = Lab(capacity=capacity, **shape)
    for name in list(lab.instances)[-gone:]:
        lab.scale_set.instances.pop(name)
    order = "fault_domain" if flexible else "update_domain"
    need = math.ceil(0.8 * capacity)
    if capacity - gone < need or capacity - gone == need:
        with pytest.raises(PlanRefused, match=f"{need} must stay healthy, and {capacity - gone} are"):
            lab.plan(policy=Policy(batch_by=order))
        return
    assert lab.run(policy=Policy(batch_by=order)).ok
    assert min(request.left for request in lab.sent) >= need


def test_a_scale_in_by_others_while_it_runs_keeps_the_floor_unless_the_policy_lets_it_follow() -> None:
    """Kind of reports/r09: the floor is that of the largest size there was; floor_follows_capacity lowers it."""
    for follows in (False, True):
        lab = Lab(capacity=10)

        def scale_in(lab: Lab = lab) -> None:
            lab.scale_set.model["sku"]["capacity"] = 7
            for name in ("4", "8", "9"):
                lab.scale_set.instances.pop(name)

        policy = Policy(floor_follows_capacity=follows)
        verdict = lab.run(policy=policy, on_event=at("settled", 1, scale_in))
        if follows:
            assert verdict.ok, verdict
        else:
            assert verdict.outcome == "paused", verdict
            assert lab.breaches == []
            assert "floor" in verdict.reason


def without_power(names: set[str]) -> Any:
    """Responses in which these instances have no power state, as where their hosts do not respond."""

    def after(request: Any, status: int, document: Any) -> Any:
        path = request.url.partition("?")[0]
        if request.method != "GET" or status != 200 or not isinstance(document, dict):
            return None
        if path.endswith("/virtualMachines"):
            for item in document["value"]:
                view = item["properties"].get("instanceView")
                if view and item["instanceId"] in names:
                    view["statuses"] = [one for one in view["statuses"] if not one["code"].startswith("PowerState/")]
        elif path.endswith("/instanceView") and path.split("/")[-2] in names:
            document["statuses"] = [one for one in document["statuses"] if not one["code"].startswith("PowerState/")]
        return status, {}, document

    return after


@pytest.mark.parametrize("shape", ["Uniform", "Flexible"])
def test_no_power_state_is_neither_available_nor_free(shape: str) -> None:
    """Case reports/r04: six of ten hosts do not respond; nothing can be spared."""
    names: set[str] = set()
    lab = Lab(capacity=10, orchestration=shape, after=without_power(names))
    names.update(list(lab.instances)[:6])
    order = "fault_domain" if shape == "Flexible" else "update_domain"
    with pytest.raises(PlanRefused, match="8 must stay healthy, and 4 are"):
        lab.plan(policy=Policy(batch_by=order))


@pytest.mark.parametrize("shape", ["Uniform", "Flexible"])
def test_an_instance_that_has_no_power_state_after_its_upgrade_is_no_success(shape: str) -> None:
    """Case reports/r04: those that were upgraded have no power state from then on: it does not go on with others."""
    names: set[str] = set()
    lab = Lab(capacity=10, orchestration=shape, after=without_power(names))
    lab.wire.before = lambda request: (
        names.update(json.loads(request.body)["instanceIds"])
        if request.method == "POST" and "/manualupgrade" in request.url
        else None
    )
    order = "fault_domain" if shape == "Flexible" else "update_domain"
    verdict = lab.run(policy=Policy(batch_by=order))
    assert not verdict.ok
    assert verdict.counts.get("updated", 0) == 0, verdict
    assert len(lab.sent) == 1


@pytest.mark.parametrize("view", [None, {}, {"statuses": None}, {"statuses": []}])
def test_an_empty_instance_view_is_no_view(view: Any) -> None:
    """Kind of reports/r04: a view that is null, empty or without statuses makes no instance available."""

    def after(request: Any, status: int, document: Any) -> Any:
        if request.method != "GET" or not request.url.partition("?")[0].endswith("/virtualMachines"):
            return None
        for item in document["value"][:6]:
            item["properties"]["instanceView"] = view
        return status, {}, document

    with pytest.raises(PlanRefused, match="8 must stay healthy, and 4 are"):
        Lab(capacity=10, after=after).plan()


def test_flexible_views_that_are_not_there_make_no_instance_available() -> None:
    """Case reports/r04: each view of a Flexible set is 404, because the VMs are being deleted."""

    def before(request: Any) -> Any:
        if request.method == "GET" and request.url.partition("?")[0].endswith("/instanceView"):
            return 404, {}, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}}
        return None

    with pytest.raises(PlanRefused, match="and 0 are"):
        Lab(capacity=6, orchestration="Flexible", before=before).plan(policy=Policy(batch_by="fault_domain"))


@pytest.mark.parametrize("world", ["conflict", "preempt"])
@pytest.mark.parametrize(("budget", "seconds"), [(5, 600.0), (20, 120.0)])
def test_no_upgrade_is_sent_while_one_of_ours_has_not_ended(world: str, budget: int, seconds: float) -> None:
    """Case r15: an upgrade that hangs; the next is not sent beside it, whatever Azure would say."""
    lab = Lab(capacity=10)
    lab.faults(on="upgrade", instance="0", effect="hang")
    lab.simulation.settings.concurrency = world
    verdict = lab.run(policy=Policy(failure_budget=budget, operation_timeout_seconds=seconds))
    assert lab.breaches == []
    assert len(lab.requests()) == 1
    assert verdict.outcome == "paused"
    assert "did not end" in verdict.reason


def test_an_upgrade_that_hangs_and_ends_at_last_lets_the_others_go_on() -> None:
    """Kind of r15: once the operation has ended, the run goes on within the budget."""
    lab = Lab(capacity=10)
    lab.faults(on="upgrade", instance="0", effect="hang")

    def ended() -> None:
        lab.simulation.instances.update(lab.scale_set, lab.scale_set.instances["0"], state="Failed")
        lab.simulation.operations.end(lab.scale_set.upgrade, {"code": "Timeout", "message": "It took too long."})
        lab.scale_set.release(failed=True)

    lab.simulation.events.schedule_in(1200, ended)
    verdict = lab.run(policy=Policy(failure_budget=1, operation_timeout_seconds=600))
    assert lab.breaches == []
    assert verdict.counts == {"failed": 1, "updated": 9}, verdict


def test_deallocate_is_not_sent_again_below_the_floor_or_over_a_foreign_model(tmp_path: Any) -> None:
    """Case r45c: a crash before deallocate, three others turn unhealthy, somebody writes the model."""
    lab, journal = Lab(capacity=10, health_source="extension"), str(tmp_path / "web.jsonl")
    policy = Policy(max_disruption="deallocate")

    def larger(model: Any) -> Any:
        return az.set_vm_size(model, "Standard_E8s_v5")

    lab.run_until("intent", journal, number=2, change=larger, policy=policy)
    requests = len(lab.sent)
    lab.clock.advance(600)
    for name in ("2", "3", "4"):
        lab.health(name, "unhealthy")
    lab.scale_set.model["properties"]["virtualMachineProfile"]["licenseType"] = "by-others"
    lab.scale_set.model_version += 1
    verdict = lab.resume(journal)
    assert verdict.outcome == "stopped"
    assert "the model was changed" in verdict.reason
    assert len(lab.sent) == requests
    assert lab.breaches == []


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("flexible", [False, True])
def test_an_instance_that_was_failed_before_does_not_fail_a_lost_batch(
    crash: bool, flexible: bool, tmp_path: Any
) -> None:
    """Case r31: one instance was Failed before, the request of its batch is lost: it is sent, and all succeed."""
    lab, journal = Lab(capacity=10, orchestration="Flexible" if flexible else "Uniform"), str(tmp_path / "web.jsonl")
    name = list(lab.instances)[3]
    lab.state(name, "Failed")
    policy = Policy(batch_by="fault_domain" if flexible else "update_domain")
    if crash:
        lab.run_until("intent", journal, policy=policy)
        verdict = lab.resume(journal)
    else:
        lab.faults(method="POST", path="manualupgrade", drop="before")
        verdict = lab.run(policy=policy, journal=journal)
    assert verdict.ok, verdict
    assert verdict.counts == {"updated": 10}
    assert lab.breaches == []
    assert lab.versions() == {NEW: 10}


@pytest.mark.parametrize("state", ["Updating", "Creating"])
@pytest.mark.parametrize("rollback", [False, True])
@pytest.mark.parametrize("seconds", [700.0, 2400.0, math.inf])
def test_an_instance_that_others_change_is_waited_for_and_named(
    state: str, rollback: bool, seconds: float, tmp_path: Any
) -> None:
    """Cases r18 and A1: it pauses with the true reason, nothing is taken back, and resume goes on."""
    lab, journal = Lab(capacity=10), str(tmp_path / "web.jsonl")
    policy = Policy(rollback_on_failure=rollback, min_healthy_instance_percent=50, busy_timeout_seconds=1800)
    plan = lab.plan(policy=policy)
    lab.state("9", state)
    if seconds < math.inf:
        lab.simulation.events.schedule_in(
            seconds, lambda: lab.simulation.instances.update(lab.scale_set, lab.instances["9"], state="Succeeded")
        )
    verdict = az.upgrade.upgrade(lab.arm, plan, journal=journal)
    if seconds < 1000:
        assert verdict.ok, verdict
        return
    assert verdict.outcome == "paused"
    assert "being changed by others (9)" in verdict.reason
    assert "floor" not in verdict.reason
    assert verdict.counts == {"updated": 9, "not-reached": 1}
    assert lab.versions()[NEW] == 9
    lab.state("9", "Succeeded")
    assert lab.resume(journal).counts == {"updated": 10}


@pytest.mark.parametrize("seconds", [300.0, 0.0])
def test_an_instance_that_is_listed_though_gone_does_not_count_as_available(seconds: float) -> None:
    """It is listed as it was, running and healthy, for a while or for good."""
    lab = Lab(capacity=10, health_source="extension")
    lab.faults(habit="instance-listed-though-gone", instance="9", when="after", seconds=seconds)
    verdict = lab.run()
    assert lab.breaches == []
    assert verdict.outcome == ("succeeded" if seconds else "paused")
    assert verdict.counts["updated"] == 9
