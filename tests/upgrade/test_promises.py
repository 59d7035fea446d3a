"""What an upgrade must keep, one way to break it at a time: each was broken once, and the emulator's record judges."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.seed import publish_gallery_image
from azurerm_lite.emulator.simulation import health
from azurerm_lite.upgrade import (
    Plan,
    PlanRefused,
    Policy,
    Verdict,
    plan,
    plan_rollback,
    resume,
    rollback,
    upgrade,
    upgrade_fleet,
)
from azurerm_lite.upgrade.rehearsal import Stage, rehearse_captured

NEW, MID, OLD = "22.04.202611120", "22.04.202610200", "22.04.202608150"
ELSEWHERE = "Standard_E8s_v5"
Event = dict[str, Any]


class Lab:
    """A scale set of ten in virtual time, judged at each accepted request by what is true at that moment."""

    def __init__(self, **options: Any) -> None:
        self.made = Stage(Seed.build(**{"capacity": 10, **options}))
        self.arm, self.clock, self.simulation = self.made.arm, self.made.clock, self.made.simulation
        self.breaches: list[str] = []
        self.posts: list[list[str]] = []
        select = self.simulation.instances.select

        def selecting(scale_set: Any, ids: Any, target: str) -> Any:
            chosen = select(scale_set, ids, target)
            self.judge([one.instance_id for one in chosen])
            return chosen

        self.simulation.instances.select = selecting  # type: ignore[method-assign]

    @property
    def there(self) -> dict[str, Any]:
        instances: dict[str, Any] = self.made.scale_set.instances
        return instances

    def judge(self, ids: list[str]) -> None:
        up = [name for name, one in self.there.items() if one.is_available]
        left = [name for name in up if name not in ids]
        if set(ids) & set(up) and len(left) < math.ceil(0.8 * max(10, len(self.there))):
            self.breaches.append(f"{ids}: {len(left)} would be left")
        upgrading = self.made.scale_set.upgrade
        if upgrading is not None and not upgrading.is_done:
            self.breaches.append(f"{ids}: one was in flight already")
        self.posts.append(ids)

    def plan(self, change: Any = NEW, **policy: Any) -> Plan:
        return plan(self.arm, *self.made.address, change, policy=Policy(**policy))

    def run(self, change: Any = NEW, *, options: Any = None, **policy: Any) -> Verdict:
        return upgrade(self.arm, self.plan(change, **policy), **(options or {}))

    def sicken(self, *names: str) -> None:
        for name in names:
            self.simulation.health.set_health(self.made.scale_set, self.there[name], "unhealthy")

    def versions(self) -> Counter[str]:
        images = [one.document["properties"]["storageProfile"]["imageReference"] for one in self.there.values()]
        return Counter(str(image.get("exactVersion") or image.get("id")) for image in images)


def at(kind: str, number: int, act: Callable[[], object]) -> Callable[[Event], None]:
    """A listener that acts once, at the so-manieth event of a kind."""
    count = [0]

    def hear(event: Event) -> None:
        count[0] += event["kind"] == kind
        if event["kind"] == kind and count[0] == number:
            act()

    return hear


def interrupt() -> None:
    raise KeyboardInterrupt


def killed(lab: Lab, where: Path, kind: str, number: int = 1, change: Any = NEW, **policy: Any) -> str:
    """The journal of an upgrade that was interrupted there."""
    wanted = lab.plan(change, **policy)
    with pytest.raises(KeyboardInterrupt):
        upgrade(lab.arm, wanted, journal=str(where), on_event=at(kind, number, interrupt))
    return str(where)


# --- the floor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [{"drop": "before"}, {"drop": "after"}, {"status": 503}, {"status": 429, "retry_after": 200}]
)
@pytest.mark.parametrize("number", [2, 3])
def test_a_request_that_was_lost_or_throttled_is_decided_anew(fault: dict[str, Any], number: int) -> None:
    lab = Lab(health_source="extension")

    def trouble() -> None:
        lab.simulation.faults.add(method="POST", path="manualupgrade", **fault)
        lab.simulation.events.schedule_in(5, lambda: lab.sicken("2", "3", "4"))

    lab.run(options={"on_event": at("intent", number, trouble)})
    assert lab.breaches == []


@pytest.mark.parametrize("hours", [0.0, 0.5, 1.5, 10.0])
def test_a_batch_that_was_never_sent_has_not_failed_however_late_it_is_resumed(hours: float, tmp_path: Path) -> None:
    lab = Lab(health_source="extension")
    where = killed(lab, tmp_path / "j.jsonl", "intent", rollback_on_failure=True)
    lab.clock.advance(3600 * hours)
    verdict = resume(lab.arm, where)
    assert (verdict.outcome, verdict.counts) == ("succeeded", {"updated": 10})
    assert all(len(one.upgrades) == 1 for one in lab.there.values())
    sick = Lab(health_source="extension")
    where = killed(sick, tmp_path / "k.jsonl", "intent", 2)
    sick.clock.advance(3600 * hours)
    sick.sicken("2", "3", "4")
    resume(sick.arm, where)
    assert sick.breaches == []


def test_a_deallocation_is_decided_anew_too(tmp_path: Path) -> None:
    lab = Lab(health_source="extension")

    def bigger(found: Any) -> Any:
        return az.set_vm_size(found, ELSEWHERE)

    where = killed(lab, tmp_path / "j.jsonl", "intent", 2, bigger, max_disruption="deallocate")
    lab.clock.advance(600)
    lab.simulation.events.run_due_events()
    lab.sicken("2", "3", "4")
    verdict = resume(lab.arm, where)
    assert lab.breaches == []
    assert verdict.outcome in ("paused", "stopped")
    assert {one.power for one in lab.there.values()} == {"running"}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("hours", [0.5, 2.0])
def test_no_instance_is_left_deallocated(number: int, hours: float, tmp_path: Path) -> None:
    lab = Lab()

    def bigger(found: Any) -> None:
        found["sku"]["name"] = "Standard_E4s_v5"

    def die(event: Event) -> None:
        if event["kind"] == "stage" and event["number"] == number:
            interrupt()

    where = str(tmp_path / "j.jsonl")
    wanted = lab.plan(bigger, max_disruption="deallocate")
    with pytest.raises(KeyboardInterrupt):
        upgrade(lab.arm, wanted, journal=where, on_event=die)
    lab.clock.advance(3600 * hours)
    assert resume(lab.arm, where).ok
    assert {one.power for one in lab.there.values()} == {"running"}


def test_the_floor_is_a_share_of_the_capacity_and_not_of_what_is_left_of_it() -> None:
    lab = Lab()
    for name in "6789":
        lab.there.pop(name)
    with pytest.raises(PlanRefused, match="of 10 means that 8 must stay healthy, and 6 are"):
        lab.plan()
    wanted = lab.plan(min_healthy_instance_percent=50)
    assert any("4 of 10 instances are missing" in one for one in wanted.warnings)
    assert max(map(len, wanted.batches)) == 1


@pytest.mark.parametrize(("follows", "outcome"), [(True, "succeeded"), (False, "paused")])
def test_a_scale_in_by_others_lowers_the_floor_where_the_policy_says_so(follows: bool, outcome: str) -> None:
    lab = Lab()

    def scale_in() -> None:
        lab.simulation.scale_sets.write(lab.made.scale_set, {"sku": {"capacity": 7}}, null_deletes=True)

    verdict = lab.run(options={"on_event": at("settled", 1, scale_in)}, floor_follows_capacity=follows)
    assert verdict.outcome == outcome


@pytest.mark.parametrize("what", ["unknown", "Failed", ""])
def test_what_may_serve_is_not_free_to_take(what: str) -> None:
    lab = Lab(health_source="extension")
    for one in list(lab.there.values())[1:]:
        if what == "Failed":
            lab.simulation.instances.update(lab.made.scale_set, one, state="Failed")
        else:
            lab.simulation.health.set_health(lab.made.scale_set, one, what)
    with pytest.raises(PlanRefused, match="none can be spared"):
        lab.plan(batch_by="batch", max_batch_instance_percent=100)


def test_without_a_power_state_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    for name in "012345":
        lab.there[name].power = ""
    with pytest.raises(PlanRefused, match="8 must stay healthy, and 4 are"):
        lab.plan()
    other = Lab()
    shown, upgraded = other.simulation.instances.update, set[str]()

    def changing(scale_set: Any, instance: Any, **values: Any) -> None:
        if values.get("state") == "Succeeded" and instance.upgrades:
            upgraded.add(instance.instance_id)
            values["power"] = ""
        shown(scale_set, instance, **values)

    monkeypatch.setattr(other.simulation.scale_sets, "changing", changing)
    verdict = other.run(health_timeout_seconds=60)
    assert not verdict.ok
    assert upgraded == {"0", "5"}


# --- waits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [{"canary_instances": 1, "canary_bake_seconds": 3600.0}, {"bake_seconds": 1800.0},
     {"bake_seconds": 600.0, "health_timeout_seconds": 60.0}],
)  # fmt: skip
def test_a_bake_lasts_as_long_as_was_asked_for(policy: dict[str, Any]) -> None:
    lab, moments = Lab(health_source="extension"), dict[str, float]()
    lab.run(options={"on_event": lambda e: moments.setdefault(e["kind"], e["at"])}, **policy)
    assert moments["settled"] - moments["fit"] >= max(
        policy.get("bake_seconds", 0), policy.get("canary_bake_seconds", 0)
    )


def test_a_relapse_restarts_the_bake() -> None:
    lab = Lab(health_source="extension")
    settled: list[float] = []

    def toggle(times: int) -> None:
        one = lab.there["0"]
        if times and not settled:
            state = "initializing" if one.health == "healthy" else "healthy"
            lab.simulation.health.set_health(lab.made.scale_set, one, state)
            lab.simulation.events.schedule_in(35, lambda: toggle(times - 1))

    def hear(event: Event) -> None:
        if event["kind"] == "settled":
            settled.append(event["at"])

    def first(event: Event) -> None:
        begin(event)
        hear(event)

    begin = at("fit", 1, lambda: lab.simulation.events.schedule_in(5, lambda: toggle(6)))
    lab.run(options={"on_event": first}, bake_seconds=300.0)
    changes = [when for when, _, name, _ in lab.simulation.state.availability if name == "0" and when < settled[0]]
    assert settled[0] - changes[-1] >= 300


def test_sleep_restarts_the_bake() -> None:
    lab, moments = Lab(health_source="extension"), list[tuple[str, float]]()

    def sleep() -> None:
        lab.clock.advance(3600)
        lab.simulation.events.run_due_events()

    nap = at("waiting", 3, sleep)

    def hear(event: Event) -> None:
        moments.append((event["kind"], event["at"]))
        nap(event)

    assert lab.run(options={"on_event": hear}, bake_seconds=300.0).ok
    kinds = [kind for kind, _ in moments]
    assert "gap" in kinds
    after = moments[kinds.index("gap") :]
    assert next(when for kind, when in after if kind == "settled") - after[0][1] >= 300


def test_initializing_lasts_as_long_as_the_model_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "WARM_UP", (900.0, 900.0))
    lab = Lab(health_source="extension")
    for one in lab.made.scale_set.profile["extensionProfile"]["extensions"]:
        one["properties"]["settings"]["gracePeriod"] = 1200
    assert lab.run().ok


def test_what_azure_calls_not_active_is_given_up_after_a_while() -> None:
    lab = Lab()
    message = "The provided instanceId 0 is not an active Virtual Machine Scale Set VM instanceId."
    lab.simulation.faults.add(
        method="POST", path="manualupgrade", status=400, code="InvalidParameter", times=10**9, message=message
    )
    verdict = lab.run()
    assert verdict.outcome == "paused"
    assert len(lab.made.app.recorder.find("POST", "manualupgrade")) <= 40


@pytest.mark.parametrize("period", [2.0, 4.0, 8.0, 20.0])
def test_an_instance_that_flaps_does_not_keep_protected_batches_from_being_sent(period: float) -> None:
    lab = Lab(health_source="extension")

    def flap() -> None:
        one = lab.there["9"]
        state = "unhealthy" if one.health == "healthy" else "healthy"
        lab.simulation.health.set_health(lab.made.scale_set, one, state)
        lab.simulation.events.schedule_in(period, flap)

    wanted = lab.plan(protect_from_scale_in=True)
    lab.simulation.events.schedule_in(1, flap)
    upgrade(lab.arm, wanted)
    assert len(lab.posts) >= 4
    assert sum(entry.method == "PUT" for entry in lab.made.app.recorder.entries) <= 40


def test_everybody_silent_is_not_everybody_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, quiet = health.vm_health, [False]
    monkeypatch.setattr(health, "vm_health", lambda world, one: None if quiet[0] else shown(world, one))
    lab = Lab(health_source="extension")
    verdict = lab.run(options={"on_event": at("posted", 1, lambda: quiet.__setitem__(0, True))})
    assert (verdict.outcome, len(lab.posts)) == ("paused", 1)
    assert "no instance reports its health" in verdict.reason
    assert verdict.in_flight == ("0", "5")


def test_what_others_hold_is_waited_for_with_the_true_reason(tmp_path: Path) -> None:
    lab, where = Lab(), str(tmp_path / "j.jsonl")
    wanted = lab.plan()
    lab.simulation.instances.update(lab.made.scale_set, lab.there["9"], state="Updating")
    verdict = upgrade(lab.arm, wanted, journal=where)
    assert verdict.outcome == "paused"
    assert "1 being changed by others (9)" in verdict.reason
    lab.simulation.instances.update(lab.made.scale_set, lab.there["9"], state="Succeeded")
    assert resume(lab.arm, where).ok


@pytest.mark.parametrize("concurrency", ["conflict", "preempt"])
def test_nothing_is_begun_beside_an_operation_of_our_own(concurrency: str) -> None:
    lab = Lab()
    lab.simulation.faults.add(on="upgrade", instance="0", effect="hang")
    lab.simulation.settings.concurrency = concurrency
    verdict = lab.run(failure_budget=5, operation_timeout_seconds=600)
    assert verdict.outcome == "paused"
    assert len(lab.made.app.recorder.find("POST", "manualupgrade")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"method": "PATCH", "status": 409, "code": "Conflict"},
        {"method": "GET", "path": "/web/virtualMachines", "status": 503, "times": 5},
        {"method": "GET", "path": "/web/virtualMachines", "drop": "before", "times": 6},
        {"method": "POST", "path": "manualupgrade", "status": 429, "retry_after": 1200},
    ],
)
def test_passing_trouble_is_waited_out(fault: dict[str, Any]) -> None:
    lab = Lab()
    wanted = lab.plan()
    lab.simulation.faults.add(**fault)
    assert upgrade(lab.arm, wanted).ok


def test_a_pause_says_when_to_come_back() -> None:
    lab = Lab()
    wanted = lab.plan(throttle_timeout_seconds=600)
    lab.simulation.faults.add(method="POST", path="manualupgrade", status=429, retry_after=1200)
    verdict = upgrade(lab.arm, wanted)
    assert verdict.outcome == "paused"
    assert "come back in 12" in verdict.reason
    assert set(verdict.classes) == set(lab.there)


# --- instances as they are -------------------------------------------------------------------------------------------


def test_what_was_unavailable_before_and_still_is_has_a_class_of_its_own() -> None:
    lab = Lab(health_source="extension")
    lab.sicken("3")
    lab.simulation.faults.add(on="upgrade", instance="3", effect="unhealthy", times=99)
    verdict = lab.run(canary_instances=1)
    assert (verdict.outcome, verdict.classes["3"]) == ("succeeded", "still-unavailable")
    for power in ("stopped", "deallocated"):
        lab = Lab()
        lab.there["3"].power = power
        verdict = lab.run()
        assert (verdict.outcome, verdict.classes["3"]) == ("succeeded", "still-unavailable")
        assert lab.versions() == {NEW: 10}


@pytest.mark.parametrize(("choice", "kind"), [("upgrade", "still-unavailable"), ("skip", "skipped-stopped")])
def test_what_does_not_run_is_upgraded_or_skipped(choice: str, kind: str) -> None:
    lab = Lab()
    lab.there["3"].power = "deallocated"
    verdict = lab.run(on_stopped=choice)
    assert (verdict.outcome, verdict.classes["3"]) == ("succeeded", kind)
    with pytest.raises(PlanRefused, match="not running: 3"):
        lab.plan(MID, on_stopped="fail")


def test_rules_hold_for_the_whole_run() -> None:
    lab = Lab()

    def protect() -> None:
        lab.there["8"].document["properties"]["protectionPolicy"] = {"protectFromScaleSetActions": True}

    verdict = lab.run(options={"on_event": at("posted", 1, protect)}, on_protected="fail")
    assert (verdict.outcome, len(lab.posts)) == ("stopped", 1)
    assert "protected from scale-set actions: 8" in verdict.reason
    lab = Lab()
    stop = at("posted", 1, lambda: setattr(lab.there["8"], "power", "stopped"))
    verdict = lab.run(options={"on_event": stop}, on_stopped="fail")
    assert verdict.outcome == "stopped"


def test_an_eviction_is_not_our_failure() -> None:
    lab = Lab()
    verdict = lab.run(options={"on_event": at("settled", 1, lambda: setattr(lab.there["8"], "power", "deallocated"))})
    assert (verdict.outcome, verdict.classes["8"]) == ("succeeded", "still-unavailable")
    lab = Lab()
    verdict = lab.run(options={"on_event": at("ended", 1, lambda: setattr(lab.there["5"], "power", "deallocated"))})
    assert verdict.classes["5"] == "evicted"
    assert "failed" not in verdict.counts


def test_a_failed_instance_and_a_lost_request_fail_nothing() -> None:
    lab = Lab()
    lab.simulation.instances.update(lab.made.scale_set, lab.there["3"], state="Failed")
    wanted = lab.plan()
    lab.simulation.faults.add(method="POST", path="manualupgrade", drop="before")
    assert upgrade(lab.arm, wanted).counts == {"updated": 10}


def _without_first(items: list[Any]) -> list[Any]:
    return [item for item in items if item["instanceId"] != "6"]


@pytest.mark.parametrize("cut", [lambda _items: [], lambda items: items[:4], _without_first])
@pytest.mark.parametrize("kind", ["ended", "settled"])
def test_one_odd_list_is_not_the_truth(cut: Callable[[list[Any]], list[Any]], kind: str) -> None:
    lab = Lab()

    def odd() -> None:
        path = f"{lab.made.address.resource_id}/virtualMachines"
        items = lab.arm.get(path, **{"$expand": "instanceView"})["value"]  # type: ignore[arg-type]
        lab.simulation.faults.add(
            method="GET", path="/web/virtualMachines", status=200, body={"value": cut(items)}, times=1
        )

    verdict = lab.run(options={"on_event": at(kind, 2, odd)})
    assert verdict.counts == {"updated": 10}


def test_a_change_that_takes_the_health_source_away() -> None:
    lab = Lab(health_source="extension")

    def change(found: Any) -> None:
        profile = found["properties"]["virtualMachineProfile"]
        profile["storageProfile"]["imageReference"]["version"] = NEW
        profile["extensionProfile"]["extensions"] = []

    wanted = lab.plan(change)
    assert any("takes the health source away" in one for one in wanted.warnings)
    assert upgrade(lab.arm, wanted).counts == {"updated": 10}
    assert lab.plan(None).batches == ()


# --- the verdict -----------------------------------------------------------------------------------------------------


def test_succeeded_means_healthy() -> None:
    lab = Lab(health_source="extension")
    verdict = lab.run(options={"on_event": at("ended", 5, lambda: lab.sicken(*"01235678"))})
    assert verdict.outcome == "stopped"
    assert "8 instances are not healthy" in verdict.reason
    lab = Lab(health_source="extension")
    loose = {"max_unhealthy_instance_percent": 100}
    verdict = lab.run(options={"on_event": at("ended", 5, lambda: lab.sicken(*"012"))}, **loose)
    assert verdict.outcome == "paused"
    assert "not enough are healthy" in verdict.reason


def test_a_batch_that_is_not_settled_has_true_classes() -> None:
    lab = Lab(health_source="extension")
    verdict = lab.run(options={"gate": lambda _members: None})
    assert (verdict.outcome, verdict.classes["0"], verdict.classes["5"]) == ("paused", "updated", "updated")
    lab = Lab(health_source="extension")
    lab.simulation.settings.concurrency = "preempt"

    def edit() -> None:
        change = {"properties": {"virtualMachineProfile": {"licenseType": "x"}}}
        lab.simulation.scale_sets.write(lab.made.scale_set, change, null_deletes=True)

    verdict = lab.run(options={"on_event": at("posted", 1, edit)})
    assert verdict.outcome == "stopped"
    assert {verdict.classes["0"], verdict.classes["5"]} <= {"updated", "in-flight"}


def test_who_is_still_away_when_it_is_stopped_on_request_is_named() -> None:
    lab = Lab()
    verdict = lab.run(options={"should_stop": lambda: bool(lab.posts)})
    assert (verdict.outcome, verdict.in_flight) == ("cancelled", ("0", "5"))
    assert "still in flight: 0, 5" in verdict.reason
    assert set(verdict.classes) == set(lab.there)


def test_the_verdict_says_why() -> None:
    lab = Lab()
    lab.simulation.faults.add(
        on="upgrade", instance="0", effect="fail", code="AllocationFailed", message="no capacity here"
    )
    verdict = lab.run()
    assert "AllocationFailed" in verdict.reason
    assert "AllocationFailed: no capacity here" in verdict.failures["0"]
    assert "request id" in verdict.failures["0"]
    assert "AllocationFailed" in json.dumps(verdict.to_dict())


def test_an_exception_of_a_listener_is_logged_and_one_of_a_gate_pauses(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise KeyError("a bug in my dashboard")

    lab = Lab()
    assert lab.run(options={"on_event": at("posted", 1, broken)}).ok
    assert "a bug in my dashboard" in caplog.text

    def exits(_members: Any) -> bool:
        raise SystemExit(3)

    verdict = Lab().run(options={"gate": exits})
    assert verdict.outcome == "paused"
    assert "could not tell: SystemExit" in verdict.reason


def test_a_batch_with_a_failed_instance_is_not_called_healthy() -> None:
    from azurerm_lite.progress.event_text import describe

    lab, lines = Lab(health_source="extension"), list[str]()
    lab.simulation.faults.add(on="upgrade", instance="5", effect="fail")
    lab.run(options={"on_event": lambda event: lines.append(describe(event).line)})
    assert "batch 1 of 5: 1 of 2 healthy" in lines


# --- the model, stages -----------------------------------------------------------------------------------------------


def old_model(lab: Lab) -> None:
    """A model from before Azure had some of its defaults, which the next write fills in."""
    profile = lab.made.scale_set.model["properties"]["virtualMachineProfile"]
    for key in ("requireGuestProvisionSignal", "allowExtensionOperations"):
        profile["osProfile"].pop(key, None)
    profile["storageProfile"]["osDisk"].pop("osType", None)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("edited", [False, True])
def test_a_crash_while_the_model_is_written_makes_no_drift_of_it(old: bool, edited: bool, tmp_path: Path) -> None:
    lab, where = Lab(), str(tmp_path / "j.jsonl")
    if old:
        old_model(lab)
    wanted, sleep = lab.plan(), lab.arm._sleep

    def die(_seconds: float) -> None:
        raise KeyboardInterrupt

    lab.arm._sleep = die
    with pytest.raises(KeyboardInterrupt):
        upgrade(lab.arm, wanted, journal=where)
    lab.arm._sleep = sleep
    lab.clock.advance(60)
    lab.simulation.events.run_due_events()
    if edited:
        change = {"properties": {"virtualMachineProfile": {"licenseType": "x"}}}
        lab.simulation.scale_sets.write(lab.made.scale_set, change, null_deletes=True)
    verdict = resume(lab.arm, where)
    assert verdict.outcome == ("stopped" if edited else "succeeded")
    assert bool(lab.posts) is not edited


@pytest.mark.parametrize("size", [False, True])
def test_a_second_plan_finishes_what_the_first_one_began(size: bool) -> None:
    lab = Lab(ephemeral=not size)
    lab.simulation.faults.add(on="upgrade", instance="1", effect="fail")
    change: Any = (lambda found: az.set_vm_size(found, ELSEWHERE)) if size else NEW
    policy = {"max_disruption": "deallocate"} if size else {}
    assert lab.run(change, **policy).outcome == "stopped"
    wanted = lab.plan(change, **policy)
    assert ("deallocate" if size else "reimage") in wanted.stages
    assert upgrade(lab.arm, wanted).ok
    if size:
        assert {one.document["sku"]["name"] for one in lab.there.values()} == {ELSEWHERE}
    else:
        assert lab.versions() == {NEW: 10}


def test_empty_lists_are_no_drift() -> None:
    seed = Seed.build("web", capacity=5, orchestration="Flexible")
    made = Stage(seed)
    model: Any = {**az.get_vmss(made.arm, *made.address)}
    network = model["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"][0]
    network["properties"]["ipConfigurations"][0]["properties"]["applicationSecurityGroups"] = []
    instances = [{**one} for one in az.list_vmss_vms(made.arm, *made.address)]
    assert rehearse_captured({"model": model, "instances": instances}, NEW).verdict.ok


# --- rollbacks -------------------------------------------------------------------------------------------------------


def latest(lab: Lab) -> None:
    """A model that names no version, as most do."""
    lab.made.scale_set.image["version"] = "latest"


def test_a_rollback_brings_each_instance_back_to_what_it_ran(tmp_path: Path) -> None:
    lab, where = Lab(), str(tmp_path / "j.jsonl")
    latest(lab)
    for name in ("7", "8", "9"):
        lab.there[name].document["properties"]["storageProfile"]["imageReference"]["exactVersion"] = MID
    before = {
        name: one.document["properties"]["storageProfile"]["imageReference"]["exactVersion"]
        for name, one in lab.there.items()
    }
    assert lab.run(NEW, options={"journal": where}).ok
    wanted = plan_rollback(lab.arm, where)
    assert len(wanted.legs) == 2
    assert any(f"afterwards the model names {MID}, {OLD}" in one for one in wanted.warnings)
    assert rollback(lab.arm, where).ok
    after = {
        name: one.document["properties"]["storageProfile"]["imageReference"]["exactVersion"]
        for name, one in lab.there.items()
    }
    assert after == before
    assert lab.made.scale_set.image["version"] == OLD
    assert lab.breaches == []


def test_an_automatic_rollback_survives_a_crash_at_any_point(tmp_path: Path) -> None:
    points = [("settled", 2), ("rollback", 1), ("model-intent", 2), ("model-written", 2), ("intent", 3), ("posted", 3),
              ("settled", 3), ("end", 1)]  # fmt: skip
    for number, (kind, count) in enumerate(points):
        lab = Lab(health_source="extension")
        latest(lab)
        lab.simulation.faults.add(on="upgrade", instance="6", effect="fail")
        where = killed(lab, tmp_path / f"{number}.jsonl", kind, count, rollback_on_failure=True)
        verdict = resume(lab.arm, where)
        assert (verdict.outcome, lab.versions()) == ("rolled-back", {OLD: 10}), (kind, count)


def test_the_instance_that_caused_a_rollback_cannot_stop_it() -> None:
    lab = Lab(health_source="extension")
    lab.simulation.faults.add(on="upgrade", instance="1", effect="unhealthy", times=99)
    verdict = lab.run(rollback_on_failure=True)
    assert (verdict.outcome, lab.versions()) == ("rolled-back", {OLD: 10})
    lab = Lab(health_source="extension")
    lab.simulation.faults.add(on="upgrade", instance="1", effect="fail", times=99)
    verdict = lab.run(rollback_on_failure=True)
    assert verdict.outcome == "rollback-failed"
    assert "1" in verdict.reason
    assert all(
        one.model_version == lab.made.scale_set.model_version for name, one in lab.there.items() if name in "056"
    )


def test_a_rollback_over_a_later_change_is_asked_for(tmp_path: Path) -> None:
    lab, where = Lab(), str(tmp_path / "j.jsonl")
    lab.run(MID, options={"journal": where})
    lab.run(NEW)
    with pytest.raises(PlanRefused, match="over_later_changes=True"):
        rollback(lab.arm, where)
    assert rollback(lab.arm, where, over_later_changes=True).ok
    assert lab.versions() == {OLD: 10}


def test_what_cannot_be_brought_back_is_said_before_anything_is_written(tmp_path: Path) -> None:
    group = "/subscriptions/5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d/resourceGroups/web-rg/providers/Microsoft.Compute"
    image = f"{group}/galleries/g/images/i"
    lab, where = Lab(image={"id": image}), str(tmp_path / "j.jsonl")
    for version in ("1.0.0", "1.0.1"):
        publish_gallery_image(lab.simulation, f"{image}/versions/{version}", "westus2")
    wanted = lab.plan("1.0.1")
    assert any("a rollback could not bring back" in one for one in wanted.warnings)
    with pytest.raises(PlanRefused, match="rollback_on_failure"):
        lab.plan("1.0.1", rollback_on_failure=True)
    assert upgrade(lab.arm, wanted, journal=where).ok
    with pytest.raises(PlanRefused, match="nothing can be brought back"):
        rollback(lab.arm, where)


def test_a_second_rollback_of_ephemeral_disks_finishes_the_first(tmp_path: Path) -> None:
    lab, where = Lab(ephemeral=True), str(tmp_path / "j.jsonl")
    lab.run(options={"journal": where})
    with pytest.raises(KeyboardInterrupt):
        rollback(lab.arm, where, on_event=at("model-written", 1, interrupt))
    assert rollback(lab.arm, where).ok
    assert lab.versions() == {OLD: 10}


# --- guards, fleets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["intent", "ended", "settled"])
def test_guards_are_removed_whatever_ends_it(error: type[BaseException], kind: str) -> None:
    repairs = {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}}
    lab = Lab(health_source="extension", properties=repairs)

    def end() -> None:
        raise error

    with pytest.raises(error):
        lab.run(options={"on_event": at(kind, 1, end)}, suspend_repairs=True, protect_from_scale_in=True)
    assert lab.made.scale_set.repairs_state == "Running"
    policies = [one.document["properties"].get("protectionPolicy") or {} for one in lab.there.values()]
    assert not [policy for policy in policies if policy.get("protectFromScaleIn")]


def test_a_journal_of_a_fleet_is_resumed_for_the_same_change_only(tmp_path: Path) -> None:
    lab = Lab()
    assert upgrade_fleet(lab.arm, [lab.made.address], MID, journals=str(tmp_path), workers=1).ok
    assert upgrade_fleet(lab.arm, [lab.made.address], NEW, journals=str(tmp_path), workers=1).ok
    assert lab.versions() == {NEW: 10}
    lab.clock.advance(60)
    stopped = iter([False] * 12 + [True] * 1000)
    upgrade_fleet(
        lab.arm, [lab.made.address], MID, journals=str(tmp_path), workers=1, should_stop=lambda: next(stopped)
    )
    lab.clock.advance(600)
    lab.simulation.events.run_due_events()
    report = upgrade_fleet(lab.arm, [lab.made.address], NEW, journals=str(tmp_path), workers=1)
    assert "is of another change" in str(report)
    assert upgrade_fleet(lab.arm, [lab.made.address], MID, journals=str(tmp_path), workers=1).ok


def test_a_set_of_a_fleet_that_was_stopped_and_repaired_can_continue(tmp_path: Path) -> None:
    lab = Lab()
    lab.simulation.faults.add(on="upgrade", instance="1", effect="fail")
    assert not upgrade_fleet(lab.arm, [lab.made.address], NEW, journals=str(tmp_path), workers=1).ok
    lab.made.scale_set.state = "Succeeded"
    assert upgrade_fleet(lab.arm, [lab.made.address], NEW, journals=str(tmp_path), workers=1).ok
    assert lab.versions() == {NEW: 10}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_fleet_gives_its_locks_back(error: type[BaseException], tmp_path: Path) -> None:
    lab = Lab(vmss_name="web0")
    seed = Seed.build("web1", capacity=10)
    seed.add_to(lab.simulation)
    sets = [lab.made.address, az.ScaleSet(seed.subscription_id, seed.resource_group, "web1")]
    count = [0]

    def die(_event: Event) -> None:
        count[0] += 1
        if count[0] == 40:
            raise error

    with pytest.raises(error):
        upgrade_fleet(lab.arm, sets, NEW, journals=str(tmp_path), workers=1, on_event=die)
    assert upgrade_fleet(lab.arm, sets, NEW, journals=str(tmp_path), workers=1).ok


def test_a_rollback_in_a_fleet_consists_of_ordinary_steps() -> None:
    lab = Lab(vmss_name="web0")
    seed = Seed.build("web1", capacity=10)
    seed.add_to(lab.simulation)
    sets = [lab.made.address, az.ScaleSet(seed.subscription_id, seed.resource_group, "web1")]
    lab.simulation.faults.add(on="upgrade", instance="7", effect="fail", times=1)
    moments: dict[str, list[float]] = {}
    rolling: list[float] = []
    asked: list[float] = []

    def hear(event: Event) -> None:
        moments.setdefault(event["scale_set"], []).append(event["at"])
        if event["kind"] == "rollback":
            rolling.append(event["at"])

    def stop() -> bool:
        asked.append(lab.clock.time())
        return False

    policy = Policy(rollback_on_failure=True, bake_seconds=300)
    report = upgrade_fleet(
        lab.arm, sets, NEW, workers=1, failures_allowed=1, policy=policy, on_event=hear, should_stop=stop
    )
    assert sorted(report.counts) == ["rolled-back", "succeeded"]
    assert rolling
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) <= 10
