"""What a plan says of batches, availability, requests and time, held against what comes when nothing happens.

Everything here is judged by the emulator's own record: its journal of requests, and its history of availability. CI
tries a hundred random sets, `nox -s long` a thousand; AZURERM_LITE_PLANS says how many.
"""

import os
import random
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import pytest

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Plan, PlanRefused, Policy, plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage, capture, rehearse_captured
from azurerm_lite.upgrade.rules.forecast import SIMULATED, Needs, forecast

NEW = "22.04.202611120"
SETS = int(os.environ.get("AZURERM_LITE_PLANS", "100" if os.environ.get("CI") else "30"))
MOST_OFF_REQUESTS, MOST_OFF_SECONDS = 0.20, 0.25

Batches = list[tuple[str, ...]]


class Run(NamedTuple):
    """A run by the emulator's record. `lowest`: the fewest available, of all ("") and by zone; `sent`: at each POST."""

    number: int
    plan: Plan
    outcome: str
    batches: Batches
    rehearsed: Batches
    lowest: dict[str, int]
    sent: list[int]
    requests: int
    seconds: float

    @property
    def short(self) -> dict[str, tuple[int, int]]:
        """Where fewer were available than the plan says: (planned, really)."""
        pairs = {place: (self.plan.lowest.get(place, 0), count) for place, count in self.lowest.items()}
        return {place: pair for place, pair in pairs.items() if pair[1] < pair[0]}


# --- a random set and a random policy --------------------------------------------------------------------------------


def random_seed(rng: random.Random, capacity: int) -> Seed:
    """A Uniform scale set of some size, in zones or none, in some placement groups and domains."""
    return Seed.build(
        capacity=capacity,
        zones=rng.choice(((), ("1", "2"), ("1", "2", "3"))),
        single_placement_group=False if capacity > 100 else rng.choice((True, False)),
        fault_domains=rng.choice((None, None, 1, 2, 3)),
        health_source=rng.choice(("", "extension", "probe")),
        page_size=rng.choice((0, 0, 20, 100)),
    )


def random_policy(rng: random.Random, capacity: int) -> Policy:
    """How careful, without checkpoints. Large sets go in few batches, or the test would take long."""
    canary = rng.choice((0, 0, 1, 2))
    return Policy(
        batch_by=rng.choice(("update_domain", "update_domain", "fault_domain", "zone", "batch")),
        max_batch_instance_percent=rng.choice((10, 20, 34, 50, 100)),
        batch_size=rng.choice((None, None, None, 1, 3, 10)) if capacity <= 20 else None,
        min_healthy_instance_percent=rng.choice((0, 50, 67, 80, 90)),
        min_healthy_zone_percent=rng.choice((0, 30, 50)),
        canary_instances=canary,
        canary_bake_seconds=rng.choice((0.0, 120.0, 900.0)) if canary else 0.0,
        bake_seconds=rng.choice((0.0, 0.0, 45.0, 300.0)),
        pause_seconds=rng.choice((0.0, 0.0, 30.0, 120.0)),
        prioritize_unhealthy_instances=rng.choice((True, True, False)),
    )


def disabled(stage: Stage, rng: random.Random) -> None:
    """Some instances of some sets are unhealthy before it begins, and heal with their upgrade; or are stopped."""
    instances = list(stage.scale_set.instances.values())
    few = rng.sample(instances, min(len(instances) // 5, rng.choice((0, 0, 0, 1, 2))))
    for instance in few:
        if instance.health:
            stage.simulation.instances.update(stage.scale_set, instance, health="unhealthy")
        else:
            stage.simulation.instances.update(stage.scale_set, instance, power=rng.choice(("stopped", "deallocated")))


# --- a run, and what the record says of it ---------------------------------------------------------------------------


def planned(number: int) -> tuple[Stage, Plan, Any]:
    """A world, a plan in it, and the set as it was captured. What cannot be planned is drawn again."""
    for attempt in range(50):
        rng = random.Random(1000 * number + attempt)
        largest = rng.choice((12, 12, 30, 30, 60, 130))
        capacity = rng.randint(1 + largest // 3, largest)
        stage = Stage(random_seed(rng, capacity), random_seed=number)
        stage.clock.advance(60)
        stage.simulation.events.run_due_events()
        disabled(stage, rng)
        try:
            wanted = plan(stage.arm, *stage.address, NEW, policy=random_policy(rng, capacity))
        except PlanRefused:
            continue
        return stage, wanted, capture(stage.arm, stage.address)
    raise AssertionError(f"no plan in fifty tries: {number}")


def run(number: int) -> Run:
    """Plan, run and rehearse one."""
    stage, wanted, captured = planned(number)
    before, begun, changes = (
        len(stage.app.recorder.entries),
        stage.clock.time(),
        len(stage.simulation.state.availability),
    )
    up = {one.instance_id for one in stage.scale_set.instances.values() if one.is_available}
    verdict = upgrade(stage.arm, wanted)
    entries = stage.app.recorder.entries[before:]
    posts = [(one.time, one.body) for one in entries if one.path.endswith("/manualupgrade")]
    lowest, sent = availability(stage, wanted, up, changes, [time for time, _ in posts])
    return Run(
        number,
        wanted,
        verdict.outcome,
        [tuple(body["instanceIds"]) for _, body in posts],
        rehearsed(captured, wanted.policy),
        lowest,
        sent,
        len(entries),
        stage.clock.time() - begun,
    )


def rehearsed(captured: dict[str, Any], policy: Policy) -> Batches:
    """The batches of a rehearsal on the captured set, as its own emulator was asked for them."""
    batches: Batches = []

    def note(event: Any) -> None:
        if event["kind"] == "intent":
            batches.append(tuple(event["ids"]))

    rehearsal = rehearse_captured(captured, NEW, policy=policy, on_event=note)
    assert rehearsal.verdict.outcome == "succeeded", rehearsal.verdict
    assert list(rehearsal.plan.batches) == batches
    return batches


def availability(
    stage: Stage, wanted: Plan, up: set[str], changes: int, sent: list[float]
) -> tuple[dict[str, int], list[int]]:
    """The fewest available by place, and how many were available after each POST."""
    zones = {name: f"zone {member.zone}" for name, member in wanted.observation.members.items() if member.zone}
    places = {"", *(place for place in zones.values())}
    up, least, after = set(up), dict.fromkeys(places, 10**9), dict.fromkeys(sent, 0)

    def note() -> None:
        for place in places:
            least[place] = min(least[place], sum(not place or zones[name] == place for name in up))

    note()
    for when, instances in _by_time(stage.simulation.state.availability[changes:]):
        for name, available in instances:
            (up.add if available else up.discard)(name)
        note()
        if when in after:
            after[when] = len(up)
    return least, list(after.values())


def _by_time(history: list[tuple[float, str, str, bool]]) -> Iterator[tuple[float, list[tuple[str, bool]]]]:
    """What changed at each moment, in order."""
    moments: dict[float, list[tuple[str, bool]]] = {}
    for when, _, name, available in history:
        moments.setdefault(when, []).append((name, available))
    yield from moments.items()


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [run(number) for number in range(SETS)]


def test_plan_run_and_rehearsal_have_the_same_batches(runs: list[Run]) -> None:
    assert [one.number for one in runs if one.outcome != "succeeded"] == []
    assert [one.number for one in runs if one.batches != list(one.plan.batches)] == []
    assert [one.number for one in runs if one.rehearsed != one.batches] == []


def test_never_fewer_are_available_than_the_plan_says(runs: list[Run]) -> None:
    assert {one.number: one.short for one in runs if one.short} == {}


def test_the_figure_is_what_happens_and_no_guess(runs: list[Run]) -> None:
    """A plan that always said 0 would keep its word too."""
    assert [one.number for one in runs if one.plan.lowest[""] != one.lowest[""]] == []


@pytest.mark.parametrize(("what", "most"), [("requests", MOST_OFF_REQUESTS), ("seconds", MOST_OFF_SECONDS)])
def test_requests_and_seconds_are_near_the_plans(runs: list[Run], what: str, most: float) -> None:
    pairs = [(getattr(one.plan, what), getattr(one, what)) for one in runs]
    middle = median(really / said for said, really in pairs)
    whole = sum(really for _, really in pairs) / sum(said for said, _ in pairs)
    print(f"{what}: median {middle:.3f} of the plan's, sum {whole:.3f}")
    assert (abs(middle - 1) <= most, abs(whole - 1) <= most) == (True, True), (middle, whole)


# --- guards, other requests, Flexible sets ---------------------------------------------------------------------------

OTHERS: dict[str, tuple[Policy, dict[str, Any]]] = {
    "protection": (Policy(protect_from_scale_in=True), {"capacity": 15}),
    "repairs": (
        Policy(suspend_repairs=True),
        {"capacity": 10, "health_source": "probe", "properties": {"automaticRepairsPolicy": {"enabled": True}}},
    ),
    "reimage": (Policy(), {"capacity": 12, "ephemeral": True}),
    "Flexible": (Policy(batch_by="fault_domain"), {"capacity": 30, "orchestration": "Flexible"}),
    "many batches": (Policy(batch_size=1), {"capacity": 40}),
}


@pytest.mark.parametrize(("policy", "facts"), OTHERS.values(), ids=OTHERS)
def test_guards_other_requests_and_views_are_counted_too(policy: Policy, facts: dict[str, Any]) -> None:
    said, really = [0.0, 0.0], [0.0, 0.0]
    for number in range(3):
        stage = Stage(Seed.build(**facts), random_seed=number)
        wanted = plan(stage.arm, *stage.address, NEW, policy=policy)
        before, begun = len(stage.app.recorder.entries), stage.clock.time()
        assert upgrade(stage.arm, wanted).ok
        said = [said[0] + wanted.requests, said[1] + wanted.seconds]
        really = [really[0] + len(stage.app.recorder.entries) - before, really[1] + stage.clock.time() - begun]
    assert really[0] == pytest.approx(said[0], rel=0.25)
    assert really[1] == pytest.approx(said[1], rel=0.35)


def test_batches_that_are_not_simulated_cost_what_those_before_them_cost() -> None:
    """The forecast of many batches is a line, and meets what is simulated."""
    requests = [forecast(Policy(), [3] * count, Needs(), 1).requests for count in (SIMULATED, SIMULATED + 8, 400)]
    each = (requests[1] - requests[0]) / 8
    assert requests[2] == pytest.approx(requests[0] + each * (400 - SIMULATED), rel=0.01)
