"""A rehearsal is the same world: a plan sees in the copy what it sees in the set; and habits happen by name."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.habits import EVENTS
from azurerm_lite.emulator.seed import SeedError
from azurerm_lite.upgrade import Plan, PlanRefused, Policy, plan, rehearse, rehearse_failures, upgrade
from azurerm_lite.upgrade.rehearsal import Rehearsal, Stage, capture, rehearse_captured

NEW = "22.04.202611120"
UBUNTU = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2"}
LOOSE = Policy(min_healthy_instance_percent=0, min_healthy_zone_percent=0)


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def planned(stage: Stage, policy: Policy, change: Any = NEW) -> Plan | str:
    """The plan, or why there is none."""
    try:
        return plan(stage.arm, *stage.address, change, policy=policy, accept_failed=True)
    except PlanRefused as refused:
        return str(refused)


def facts(result: Plan | str) -> Any:
    """All that a plan says, but for when its instances were looked at."""
    if isinstance(result, str):
        return result
    seen = result.observation._replace(at=0.0)
    return result.to_dict(), seen, result.fingerprint_before, result.fingerprint_after, result.before, result.patch


def copy_of(stage: Stage) -> Stage:
    copy = Stage(Seed.from_captured(capture(stage.arm, stage.address)))
    copy.simulation.images.publish(*UBUNTU.values(), NEW)  # a rehearsal does so with the version that is asked for
    return copy


INSTANCES = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["Succeeded"] * 5 + ["Failed", "Updating", "Creating", "Deleting"]),
        "power": st.sampled_from(["running"] * 5 + ["stopped", "deallocated", "starting", "unknown"]),
        "health": st.sampled_from(["healthy"] * 4 + ["unhealthy", "unknown", "initializing", ""]),
        "mark": st.sampled_from(
            [""] * 6 + ["no-power", "view-null", "view-empty", "view-absent", "view-no-statuses", "silent"]
        ),
        "behind": st.booleans(),
        "protected": st.sampled_from([False] * 5 + [True]),
        "version": st.sampled_from(["22.04.202608150", "22.04.202606010", NEW]),
    }
)
TOPOLOGIES = st.fixed_dictionaries(
    {
        "capacity": st.integers(1, 12),
        "orchestration": st.sampled_from(["Uniform", "Flexible"]),
        "health_source": st.sampled_from(["", "extension", "probe"]),
        "zones": st.sampled_from([(), ("1", "2", "3")]),
        "image": st.sampled_from([None, "latest"]),
        "ephemeral": st.sampled_from([False, False, True]),
        "page_size": st.sampled_from([0, 3]),
    }
)
POLICIES = st.builds(
    Policy,
    batch_by=st.sampled_from(["update_domain", "fault_domain", "zone", "batch"]),
    min_healthy_instance_percent=st.sampled_from([0, 30, 80]),
    min_healthy_zone_percent=st.sampled_from([0, 50]),
    canary_instances=st.integers(0, 1),
)


def real(topology: dict[str, Any], instances: list[dict[str, Any]], set_state: str) -> Stage:
    """A scale set in which each instance is as it was drawn."""
    image = {**UBUNTU, "version": "latest"} if topology["image"] else None
    made = Stage(Seed.build(**{**topology, "image": image}))
    made.scale_set.state = set_state
    for instance, drawn in zip(made.scale_set.instances.values(), instances, strict=False):
        instance.state, instance.power, instance.health = drawn["state"], drawn["power"], drawn["health"]
        instance.marks = {drawn["mark"]} - {""}
        instance.model_version = -1 if drawn["behind"] else 0
        properties = instance.document["properties"]
        properties["storageProfile"]["imageReference"]["exactVersion"] = drawn["version"]
        if drawn["protected"]:
            properties["protectionPolicy"] = {"protectFromScaleSetActions": True}
    return made


@given(
    topology=TOPOLOGIES,
    instances=st.lists(INSTANCES, min_size=12, max_size=12),
    policy=POLICIES,
    set_state=st.sampled_from(["Succeeded"] * 6 + ["Failed", "Updating"]),
    change=st.sampled_from([NEW, None]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_plan_of_a_set_is_the_plan_of_its_copy(
    topology: dict[str, Any], instances: list[dict[str, Any]], policy: Policy, set_state: str, change: Any
) -> None:
    made = real(topology, instances, set_state)
    copy = copy_of(made)
    assert facts(planned(copy, policy, change)) == facts(planned(made, policy, change))


@given(
    topology=TOPOLOGIES,
    instances=st.lists(INSTANCES, min_size=12, max_size=12),
    set_state=st.sampled_from(["Succeeded", "Failed", "Updating"]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_copy_of_a_copy_is_captured_alike(
    topology: dict[str, Any], instances: list[dict[str, Any]], set_state: str
) -> None:
    made = real(topology, instances, set_state)
    copy = copy_of(made)
    copied, again = capture(copy.arm, copy.address), copy_of(copy)
    assert capture(again.arm, again.address) == copied


@pytest.mark.parametrize("state", ["Failed", "Updating"])
def test_a_rehearsal_knows_who_has_failed_or_is_updating(state: str) -> None:
    made, policy = stage(health_source="extension"), Policy(min_healthy_instance_percent=70)
    for one in "12":
        made.simulation.instances.update(made.scale_set, made.scale_set.instances[one], state=state)
    wanted = plan(made.arm, *made.address, NEW, policy=policy)
    tried = rehearse(made.arm, *made.address, NEW, policy=policy)
    assert (tried.plan.batches, tried.plan.lowest) == (wanted.batches, wanted.lowest)
    verdict = upgrade(made.arm, wanted)
    assert (tried.verdict.outcome, tried.verdict.classes) == (verdict.outcome, verdict.classes)
    assert tried.lowest == made.lowest()


def test_a_rehearsal_of_a_flexible_set_knows_its_health() -> None:
    made = stage(orchestration="Flexible", health_source="extension")
    policy = Policy(batch_by="fault_domain", min_healthy_instance_percent=80)
    for instance in list(made.scale_set.instances.values())[:4]:
        made.simulation.health.set_health(made.scale_set, instance, "unhealthy")
    wanted, tried = (one(made.arm, *made.address, NEW, policy=policy) for one in (plan, rehearse))
    assert isinstance(tried, Rehearsal)
    assert facts(tried.plan) == facts(wanted)
    assert tried.lowest <= 6


def test_a_seed_says_what_azure_shows_nothing_of() -> None:
    """The public spelling: null for no view, {} for an empty one, a view without a power state."""
    captured: Any = capture((made := stage(capacity=4)).arm, made.address)
    views: list[Any] = [None, {}, {"statuses": None, "platformUpdateDomain": 3}]
    for instance, view in zip(captured["instances"], views, strict=False):
        instance["properties"]["instanceView"] = view
    copy = Stage(Seed.from_captured(captured))
    shown = [one["properties"] for one in az.list_vmss_vms(copy.arm, *copy.address, expand="instanceView")]
    assert [one["instanceView"] for one in shown[:2]] == [None, {}]
    assert shown[2]["instanceView"]["statuses"] is None
    assert shown[2]["instanceView"]["platformUpdateDomain"] == 3
    assert len(shown[3]["instanceView"]["statuses"]) == 2


# --- habits in rehearsals --------------------------------------------------------------------------------------------


def test_a_rehearsal_takes_habits_by_name_and_says_what_they_did() -> None:
    made = stage(health_source="extension")
    made.app.recorder.entries.clear()
    late = {"habit": "instance-unhealthy", "when": "at", "at": 30, "count": 2, "seconds": 60}
    tried = rehearse(made.arm, *made.address, NEW, habits=["instance-evicted", late])
    assert made.app.recorder.writes() == []
    habits = [happening.habit for happening in tried.happenings]
    assert habits.count("instance-evicted") == 1
    assert habits.count("instance-unhealthy") == 2, "begun and ended"
    begun = next(one for one in tried.happenings if one.habit == "instance-unhealthy")
    assert len(begun.instances) == 2
    assert tried.lowest < rehearse(made.arm, *made.address, NEW).lowest


def test_what_if_tries_each_habit_that_it_is_given() -> None:
    made = stage(health_source="extension", capacity=5)
    long = {"habit": "busy", "seconds": 60.0}
    tried = rehearse_failures(made.arm, *made.address, NEW, policy=LOOSE, habits=["instance-vanishes", long])
    assert list(tried)[-2:] == ["instance-vanishes", "busy (seconds 60.0)"]
    assert {one.habit for one in tried["instance-vanishes"].happenings} == {"instance-vanishes"}
    assert {one.habit for one in tried["busy (seconds 60.0)"].happenings} >= {"busy"}


@pytest.mark.parametrize("habit", sorted(EVENTS))
def test_every_habit_can_be_rehearsed_by_name_alone(habit: str) -> None:
    zones = ("1", "2", "3") if habit == "zone-down" else ()
    seed = Seed.build(capacity=6, health_source="extension", zones=zones)
    tried = rehearse_captured(seed, NEW, policy=LOOSE, habits=[habit])
    assert tried.verdict.outcome in ("succeeded", "stopped", "paused")
    quiet = {"login-outage", "list-old"}  # the token of a rehearsal is its own; a lag may show nothing
    assert habit in quiet or habit in {one.habit for one in tried.happenings}


@pytest.mark.parametrize(
    "wrong",
    [
        {"habits": ["instance-evict"]},
        {"habits": [{"habit": "busy", "seconds": "long"}]},
        {"habits": "busier"},
        {"faults": [{"on": "upgrade", "effect": "dance"}]},
        {"faults": [{"habit": "busy", "who": "1"}]},
    ],
)
def test_what_is_no_habit_is_refused_before_azure_is_asked(wrong: Any) -> None:
    made = stage()
    made.app.recorder.entries.clear()
    with pytest.raises(az.InvalidInput):
        rehearse(made.arm, *made.address, NEW, **wrong)
    if "habits" in wrong:
        with pytest.raises(az.InvalidInput, match="habit"):
            rehearse_failures(made.arm, *made.address, NEW, **wrong)
    assert made.app.recorder.entries == []


def test_a_rehearsal_logs_in_again_and_pauses_where_it_cannot() -> None:
    seed, expired = Seed.build(capacity=4), {"habit": "token-expires", "nth": 2}
    assert rehearse_captured(seed, NEW, policy=LOOSE, habits=[expired]).verdict.ok
    away = {"habit": "login-outage", "seconds": 36_000}
    tried = rehearse_captured(seed, NEW, policy=LOOSE, habits=[expired, away])
    assert (tried.verdict.outcome, "503" in tried.verdict.reason) == ("paused", True)


def test_a_rehearsal_has_the_usual_rules_and_those_that_are_asked_for() -> None:
    seed = Seed.build(capacity=2)
    assert "patch-drops-disks" in Stage(seed).simulation.settings.habits
    assert rehearse_captured(seed, NEW, habits="tags-refuse-null", policy=LOOSE).verdict.ok


def test_a_plan_of_a_flexible_set_refuses_a_list_of_what_is_no_instance() -> None:
    made = stage(orchestration="Flexible", capacity=3)
    for read in (lambda: plan(made.arm, *made.address, NEW, policy=LOOSE), lambda: capture(made.arm, made.address)):
        made.simulation.faults.add(habit="list-garbage")
        with pytest.raises(az.ProtocolError, match="each of them an object"):
            read()
    assert len(plan(made.arm, *made.address, NEW, policy=LOOSE).observation.members) == 3


@pytest.mark.parametrize(("page_size", "pages"), [(0, 0), (3, 3), (4, 4), (9, 5), (10, 0)])
def test_a_copy_has_lists_of_as_many_pages(page_size: int, pages: int) -> None:
    made = stage(page_size=page_size)
    assert capture(made.arm, made.address)["page_size"] == pages
    requests = [planned(one, LOOSE).observation.requests for one in (made, copy_of(made))]  # type: ignore[union-attr]
    assert requests[0] == requests[1]


@pytest.mark.parametrize("page_size", [-1, "3", None, True, 1.5])
def test_a_page_size_that_is_none_is_refused(page_size: object) -> None:
    made = stage()
    with pytest.raises(SeedError, match="page_size"):
        Seed.from_captured({**capture(made.arm, made.address), "page_size": page_size})


def test_the_set_that_the_emulator_has_by_itself_can_be_upgraded() -> None:
    """Its instances show that they run."""
    result = rehearse_captured(Seed.default(), NEW)
    assert (result.verdict.outcome, result.verdict.counts) == ("succeeded", {"updated": 20})
