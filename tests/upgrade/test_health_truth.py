"""Instances as they really are: unhealthy before, evicted, silent, flapping; and which lists are believed."""

import copy
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.simulation import health
from azurerm_lite.upgrade import PlanRefused, Policy, upgrade

from .lab import NEW, OLD, Lab, at
from .search import tables

FLEXIBLE = {"orchestration": "Flexible"}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "uniform": ({}, {}),
    "flexible": (FLEXIBLE, {"batch_by": "fault_domain"}),
    "zones": ({"zones": ("1", "2", "3")}, {"batch_by": "zone"}),
}


# --- bake -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"canary_instances": 1, "canary_bake_seconds": 3600.0}, 3600),
        ({"bake_seconds": 1800.0}, 1800),
        ({"canary_instances": 1, "canary_bake_seconds": 600.0, "health_timeout_seconds": 60.0}, 600),
        ({"canary_instances": 2, "canary_bake_seconds": 172_800.0, "bake_seconds": 5.0}, 172_800),
        ({"bake_seconds": 61.0, "health_timeout_seconds": 1.0}, 61),
    ],
)
@pytest.mark.parametrize("source", ["extension", ""])
def test_a_bake_lasts_as_long_as_configured(options: dict[str, Any], seconds: int, source: str) -> None:
    """Case r02: health_timeout_seconds does not cut it."""
    if source and options.get("health_timeout_seconds") == 1.0:
        options = {**options, "health_timeout_seconds": 120.0}
    lab, times = Lab(capacity=10, health_source=source), dict[str, float]()
    policy = Policy(**options)
    verdict = lab.run(policy=policy, on_event=lambda event: times.setdefault(event["kind"], event["at"]))
    assert verdict.ok, verdict
    assert times["settled"] - times["fit"] >= seconds
    first, second = lab.sent[0], lab.sent[1]
    assert second.at - first.at >= seconds


@pytest.mark.parametrize(("period", "state"), [(35, "initializing"), (35, "unhealthy"), (90, "initializing")])
@pytest.mark.parametrize("field", ["bake_seconds", "canary_bake_seconds"])
def test_an_instance_that_falls_back_while_it_bakes_does_not_pass(period: int, state: str, field: str) -> None:
    """Case r37: with a bake of 300 s nothing passes that was not healthy for 300 s without a break."""
    lab, active = Lab(capacity=10, health_source="extension"), [True]

    def flap(count: int) -> None:
        vm = lab.instances["0"]
        if count and active[0] and vm.model_version == lab.scale_set.model_version and vm.state == "Succeeded":
            after = state if vm.health == "healthy" else "healthy"
            lab.simulation.health.set_health(lab.scale_set, vm, after)
        if count and active[0]:
            lab.simulation.events.schedule_in(period, lambda: flap(count - 1))

    settled: list[Any] = []

    def hear(event: Any) -> None:
        if event["kind"] == "fit" and not settled:
            if not flapping:
                lab.simulation.events.schedule_in(5, lambda: flap(60))
            flapping.append(1)
        if event["kind"] == "settled":
            active[0] = False
            settled.append(event)

    flapping: list[int] = []
    policy = Policy(**{field: 300.0}, canary_instances=int(field == "canary_bake_seconds"))
    verdict = lab.run(policy=policy, on_event=hear)
    history = [(when, up) for when, _, name, up in lab.simulation.state.availability if name == "0"]
    last_change = max(when for when, _ in history if when <= settled[0]["at"])
    healthy = settled[0]["classes"]["0"] == "updated"
    assert not healthy or settled[0]["at"] - last_change >= 300, (history, settled)
    assert verdict.ok == healthy


# --- unhealthy, stopped, evicted before or while it runs --------------------------------------------------------------


def spot(eviction: str, **options: Any) -> Seed:
    seed = Seed.build("web", capacity=10, **options)
    spot_profile = {"priority": "Spot", "evictionPolicy": eviction, "billingProfile": {"maxPrice": -1}}
    seed.model["properties"]["virtualMachineProfile"] |= spot_profile
    return seed


@pytest.mark.parametrize(("kind", "canary"), [("unhealthy", 0), ("unhealthy", 1), ("unknown", 0), ("deallocated", 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_instance_that_was_unavailable_before_neither_fails_nor_succeeds(shape: str, kind: str, canary: int) -> None:
    """Cases r03 and reports/r03: it has a class of its own, and the others are upgraded."""
    options, policy = SHAPES[shape]
    lab = Lab(capacity=12, health_source="extension", **options)
    name = list(lab.instances)[3]
    if kind in ("unhealthy", "unknown"):
        lab.health(name, kind)
        lab.faults(on="upgrade", instance=name, effect="unhealthy", times=99)
    else:
        lab.power(name, kind)
    verdict = lab.run(policy=Policy(canary_instances=canary, min_healthy_zone_percent=50, **policy))
    assert verdict.ok, verdict
    assert verdict.classes[name] == "still-unavailable"
    assert verdict.counts == {"updated": 11, "still-unavailable": 1}
    assert lab.breaches == []
    assert lab.versions() == {NEW: 12}


@pytest.mark.parametrize("kind", ["deallocated", "stopped"])
def test_on_stopped_says_what_becomes_of_instances_that_do_not_run(kind: str) -> None:
    """Item 3: "skip" leaves them alone, "fail" refuses or stops."""
    lab = Lab(capacity=10)
    lab.power("3", kind)
    verdict = lab.run(policy=Policy(on_stopped="skip"))
    assert verdict.counts == {"updated": 9, "skipped-stopped": 1}, verdict
    assert lab.upgraded("3") == 0
    lab = Lab(capacity=10)
    lab.power("3", kind)
    with pytest.raises(PlanRefused):
        lab.plan(policy=Policy(on_stopped="fail"))


def test_on_stopped_fail_stops_a_run_in_which_an_instance_is_stopped() -> None:
    lab = Lab(capacity=10)
    verdict = lab.run(policy=Policy(on_stopped="fail"), on_event=at("settled", 1, lambda: lab.power("9", "stopped")))
    assert verdict.outcome == "stopped"
    assert "not running: 9" in verdict.reason


@pytest.mark.parametrize("rollback", [False, True])
@pytest.mark.parametrize("eviction", ["Deallocate", "Delete"])
@pytest.mark.parametrize(("kind", "victim"), [("settled", "8"), ("posted", "8"), ("posted", "0"), ("settled", "0")])
def test_an_eviction_uses_up_no_budget(kind: str, victim: str, eviction: str, rollback: bool) -> None:
    """Case reports/r03: an eviction is by others; what runs is upgraded, and nothing is taken back."""
    lab = Lab(spot(eviction))
    evict = at(kind, 1, lambda: az.simulate_eviction_vmss_vm(lab.arm, *lab.address, victim))
    verdict = lab.run(policy=Policy(rollback_on_failure=rollback), on_event=evict)
    assert verdict.outcome in ("succeeded", "paused"), verdict
    assert verdict.counts.get("failed", 0) == 0
    assert lab.breaches == []
    running = [name for name, vm in lab.instances.items() if vm.power == "running"]
    if verdict.ok:
        assert {lab.exact(name) for name in running} == {NEW}
    assert verdict.classes[victim] in ("evicted", "still-unavailable", "vanished", "updated"), verdict.classes


def test_deletions_by_others_use_up_no_budget() -> None:
    lab = Lab(capacity=10)

    def delete() -> None:
        lab.scale_set.model["sku"]["capacity"] = 9
        lab.scale_set.instances.pop("5")

    verdict = lab.run(on_event=at("posted", 1, delete), policy=Policy(floor_follows_capacity=True))
    assert verdict.ok, verdict
    assert verdict.classes["5"] == "vanished"


@pytest.mark.parametrize("code", ["OperationPreempted", "RetryableError", "OperationNotAllowed"])
def test_an_operation_that_gave_its_instances_back_unchanged_is_sent_again(code: str) -> None:
    """Item 3: Canceled, preempted or retryable: the instances are as they were, and it is no failure."""
    lab = Lab(capacity=10)
    lab.simulation.settings.concurrency = "preempt"

    def preempt() -> None:
        for name in ("0", "5"):
            lab.simulation.instances.update(lab.scale_set, lab.instances[name], state="Succeeded")
        lab.simulation.operations.end(lab.scale_set.upgrade, {"code": code, "message": "Preempted by another."})
        lab.scale_set.release(failed=False)
        lab.simulation.events.clear()

    verdict = lab.run(on_event=at("posted", 1, preempt))
    if code == "OperationNotAllowed":
        assert verdict.outcome == "stopped"
        assert code in verdict.reason
        return
    assert verdict.ok, verdict
    assert lab.versions() == {NEW: 10}


# --- silence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reporting", [(), ("9",), ("1", "2", "3", "4")])
@pytest.mark.parametrize(("kind", "number"), [("posted", 1), ("intent", 2)])
@pytest.mark.parametrize("source", ["extension", "probe"])
def test_silence_after_reports_is_not_health(
    reporting: tuple[str, ...], kind: str, number: int, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case r06: the reports of instances cease; none of them is available, and nothing more is sent."""
    lab, silent, shown = Lab(capacity=10, health_source=source), list[int](), health.vm_health

    def silenced(world: Any, vm: Any) -> Any:
        return None if silent and vm.instance_id not in reporting else shown(world, vm)

    monkeypatch.setattr(health, "vm_health", silenced)
    verdict = lab.run(on_event=at(kind, number, lambda: silent.append(len(lab.sent))))
    assert verdict.outcome in ("paused", "stopped"), verdict
    assert not verdict.ok
    assert verdict.reason
    assert len(lab.sent) <= silent[0] + 1
    assert lab.breaches == []


def test_silence_that_ends_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind of r06: an outage of the agents of 5 minutes; nobody has failed."""
    lab, silent, shown = Lab(capacity=10, health_source="extension"), list[int](), health.vm_health
    monkeypatch.setattr(health, "vm_health", lambda world, vm: None if silent else shown(world, vm))

    def fall_silent() -> None:
        silent.append(1)
        lab.simulation.events.schedule_in(300, silent.clear)

    verdict = lab.run(on_event=at("posted", 2, fall_silent))
    assert verdict.ok, verdict
    assert lab.versions() == {NEW: 10}


@pytest.mark.parametrize("source", ["extension", "probe"])
def test_instances_that_have_never_reported_to_the_health_source_are_not_available(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind of r06: the model has a health source, and no instance has ever reported: unknown health is not health."""
    lab = Lab(capacity=10, health_source=source)
    monkeypatch.setattr(health, "vm_health", lambda _world, _vm: None)
    with pytest.raises(PlanRefused, match=r"0 are \(10 run, and report nothing to the health source"):
        lab.plan()
    silent = [
        text
        for text in lab.plan(policy=Policy(min_healthy_instance_percent=0, min_healthy_zone_percent=0)).warnings
        if "without a health report" in text
    ]
    assert len(silent) == 1


@pytest.mark.parametrize("percent", [0, 80])
def test_a_set_of_which_nothing_reports_any_health_is_waited_for_and_then_left_alone(
    percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no instance must stay, one goes; it never reports either, and the run pauses for that."""
    lab, shown, silent = Lab(capacity=5, health_source="extension"), health.vm_health, list[int]()
    monkeypatch.setattr(health, "vm_health", lambda world, vm: None if silent else shown(world, vm))
    policy = Policy(min_healthy_instance_percent=percent, min_healthy_zone_percent=0)
    wanted = lab.plan(policy=policy)
    silent.append(1)
    lab.clock.advance(60)
    verdict = upgrade(lab.arm, wanted)
    assert verdict.outcome == "paused", verdict
    assert len(lab.sent) == (percent == 0)


def test_instances_that_are_older_than_the_health_source_count_by_whether_they_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source is in the model, and no instance was brought to it: none can report."""
    lab, shown = Lab(capacity=10, health_source="extension"), health.vm_health
    lab.simulation.scale_sets.write(
        lab.scale_set, {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}, null_deletes=True
    )
    lab.clock.advance(60)
    lab.simulation.events.run_due_events()
    monkeypatch.setattr(
        health,
        "vm_health",
        lambda emulated, vm: shown(emulated, vm) if vm.model_version == lab.scale_set.model_version else None,
    )
    assert lab.run(None).counts == {"updated": 10}
    assert lab.breaches == []


@pytest.mark.parametrize(
    ("source", "latest", "report", "available"),
    [
        ("kept", True, "", True),
        ("required", True, "", False),
        ("required", False, "", False),
        ("required", True, "healthy", True),
        ("required", True, "unknown", False),
        ("arrives", True, "", False),
        ("arrives", False, "", True),
        ("leaves", True, "unknown", True),
        ("leaves", False, "unknown", False),
    ],
)
def test_what_a_health_source_asks_of_an_instance(source: Any, latest: bool, report: str, available: bool) -> None:
    member = tables.instance("0", latest=latest, health=report)
    snapshot = tables.seen(member, source=source, reports=False)
    assert (snapshot.is_available(member), snapshot.is_free(member)) == (available, False)


# --- succeeded means healthy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 8, 10])
@pytest.mark.parametrize("percent", [20, 100])
def test_it_has_not_succeeded_while_the_last_snapshot_shows_too_many_unhealthy(count: int, percent: int) -> None:
    """Case r11: instances turn unhealthy in the snapshot on which the verdict rests."""
    lab = Lab(capacity=10, health_source="extension")

    def fall() -> None:
        for name in list(lab.instances)[:count]:
            lab.health(name, "unhealthy")

    def hear(event: Any) -> None:
        if event["kind"] == "settled" and len(lab.sent) == 5 and lab.available() == 10:
            fall()

    verdict = lab.run(policy=Policy(max_unhealthy_instance_percent=percent), on_event=hear)
    assert not verdict.ok, verdict
    assert verdict.reason
    assert lab.versions() == {NEW: 10}


def test_two_unhealthy_of_ten_satisfy_a_floor_of_eight() -> None:
    lab = Lab(capacity=10, health_source="extension")

    def hear(event: Any) -> None:
        if event["kind"] == "settled" and len(lab.sent) == 5:
            lab.health("0", "unhealthy")

    assert lab.run(on_event=hear).ok


# --- health sources that come and go ----------------------------------------------------------------------------------


def without_health(model: Any) -> None:
    profile = model["properties"]["virtualMachineProfile"]
    profile["storageProfile"]["imageReference"]["version"] = NEW
    if "extensionProfile" in profile:
        kept = [
            one
            for one in profile["extensionProfile"]["extensions"]
            if not one["properties"]["type"].startswith("ApplicationHealth")
        ]
        profile["extensionProfile"]["extensions"] = kept
    profile["networkProfile"].pop("healthProbe", None)


@pytest.mark.parametrize("source", ["extension", "probe"])
def test_a_change_that_removes_the_health_source_is_planned_as_such(source: str) -> None:
    """Case r16: what is upgraded counts by whether it runs; the plan warns, and the next plan finds nothing to do."""
    lab = Lab(capacity=10, health_source=source)
    plan = lab.plan(without_health)
    assert any("removes the health source" in warning for warning in plan.warnings)
    verdict = upgrade(lab.arm, plan)
    assert verdict.counts == {"updated": 10}, verdict
    assert lab.breaches == []
    assert lab.plan(None).batches == ()


def test_half_of_a_change_that_removes_the_health_source_can_be_finished(tmp_path: Any) -> None:
    """Kind of r16: planned anew, or resumed, in its middle."""
    lab, journal = Lab(capacity=10, health_source="extension"), str(tmp_path / "web.jsonl")
    lab.run_until("settled", journal, number=2, change=without_health)
    assert lab.run(None).ok
    assert lab.versions() == {NEW: 10}
    lab = Lab(capacity=10, health_source="extension")
    lab.run_until("settled", str(tmp_path / "two.jsonl"), number=2, change=without_health)
    assert lab.resume(str(tmp_path / "two.jsonl")).ok
    assert lab.breaches == []


def test_a_change_that_adds_a_health_source_is_planned_as_such() -> None:
    lab = Lab(capacity=10)
    extensions = Seed.build("web", health_source="extension").model["properties"]["virtualMachineProfile"][
        "extensionProfile"
    ]

    def with_health(model: Any) -> None:
        model["properties"]["virtualMachineProfile"]["extensionProfile"] = copy.deepcopy(extensions)

    verdict = lab.run(with_health)
    assert verdict.counts == {"updated": 10}, verdict
    assert lab.breaches == []
    assert lab.available() == 10


# --- initializing, flapping -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grace", "warm_up", "ok"), [(1200, 900.0, True), (3600, 3000.0, True), (60, 900.0, False)])
def test_initializing_lasts_as_long_as_the_model_grants(
    grace: int, warm_up: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case r38: gracePeriod 1200 is waited for, though health_timeout_seconds is 600."""
    monkeypatch.setattr(health, "WARM_UP", (warm_up, warm_up))
    lab = Lab(capacity=10, health_source="extension")
    for extension in lab.scale_set.profile["extensionProfile"]["extensions"]:
        extension["properties"]["settings"]["gracePeriod"] = grace
    verdict = lab.run()
    assert verdict.ok is ok, verdict
    assert lab.breaches == []


@pytest.mark.parametrize("period", [4.0, 8.0, 61.0])
@pytest.mark.parametrize("names", [("9",), ("8", "9")])
def test_a_flapping_instance_does_not_keep_protection_going_for_ever(period: float, names: tuple[str, ...]) -> None:
    """Case r27: protect_from_scale_in and an instance that flaps: it ends, with few writes, and removes its guards."""
    lab = Lab(capacity=10, health_source="extension")
    lab.limit = 6000
    plan = lab.plan(policy=Policy(protect_from_scale_in=True))

    def flap(name: str) -> None:
        vm = lab.scale_set.instances.get(name)
        if vm is not None and lab.clock.time() < lab.start + 20_000:
            after = "unhealthy" if vm.health == "healthy" else "healthy"
            lab.simulation.health.set_health(lab.scale_set, vm, after)
            lab.simulation.events.schedule_in(period, lambda: flap(name))

    for name in names:
        lab.simulation.events.schedule_in(1, lambda name=name: flap(name))
    verdict = upgrade(lab.arm, plan)
    assert verdict.outcome in ("succeeded", "paused", "stopped"), verdict
    assert verdict.ok or verdict.reason
    assert lab.breaches == []
    assert protected(lab) == []


def protected(lab: Lab) -> list[str]:
    policies = {name: vm.document["properties"].get("protectionPolicy") or {} for name, vm in lab.instances.items()}
    return [name for name, policy in policies.items() if policy.get("protectFromScaleIn")]


# --- implausible lists ------------------------------------------------------------------------------------------------

CUTS = {
    "empty": lambda _items: [],
    "four": lambda items: items[:4],
    "without the batch": lambda items: [item for item in items if item["instanceId"] not in ("2", "7")],
    "without one": lambda items: [item for item in items if item["instanceId"] != "6"],
    "garbage": lambda _items: [None, 1, {}],
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("kind", "count"), [("ended", 2), ("intent", 3), ("ended", 5)])
@pytest.mark.parametrize("cut", CUTS)
def test_an_implausible_list_is_read_again(cut: str, kind: str, count: int, times: int) -> None:
    """Case r24: an empty or short list, once or a few times: everybody is there, and everybody is upgraded."""
    lab, done = Lab(capacity=10), list[int]()

    def shorten() -> None:
        items = az.list_vmss_vms(lab.arm, *lab.address, expand="instanceView")
        lab.faults(method="GET", path="/web/virtualMachines", status=200, body={"value": CUTS[cut](items)}, times=times)

    def hear(event: Any) -> None:
        if event["kind"] == kind and len(lab.sent) == count and not done:
            done.append(1)
            shorten()

    verdict = lab.run(on_event=hear)
    if times == 1:
        assert verdict.ok, verdict
    assert verdict.ok or verdict.outcome == "paused", verdict
    assert not verdict.ok or lab.versions() == {NEW: 10}, verdict
    assert verdict.ok is False or verdict.counts == {"updated": 10}
    assert lab.breaches == []


def test_an_old_list_is_not_believed() -> None:
    """Kind of r24: a list that shows upgraded instances as they were before is read again."""
    lab, done = Lab(capacity=10), list[int]()
    old = az.list_vmss_vms(lab.arm, *lab.address, expand="instanceView")

    def hear(event: Any) -> None:
        if event["kind"] == "settled" and len(lab.sent) == 3 and not done:
            done.append(1)
            lab.faults(method="GET", path="/web/virtualMachines", status=200, body={"value": old}, times=1)

    verdict = lab.run(on_event=hear)
    assert verdict.counts == {"updated": 10}, verdict
    assert max(map(lab.upgraded, lab.instances)) == 1
    assert OLD not in lab.versions()
