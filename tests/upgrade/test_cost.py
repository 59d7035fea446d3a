"""What the engine costs as sets grow, counted and not timed: calls of its own functions, which no busy machine changes.

tools/measure_engine.py gives the seconds.
"""

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy
from azurerm_lite.upgrade.rehearsal import rehearse_captured
from azurerm_lite.upgrade.rules import selection
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Snapshot

NEW = "22.04.202611120"
MOST_EXPONENT = 1.1


def calls(act: Callable[[], object]) -> int:
    """How many calls the core makes in it, of functions in Python or C; those of the emulator are not counted."""
    found = 0

    def note(frame: Any, event: str, _argument: object) -> None:
        nonlocal found
        name = frame.f_code.co_filename
        if event in ("call", "c_call") and "/azurerm_lite/" in name and "/emulator/" not in name:
            found += 1

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


def exponent(small: int, cost: float, large: int, cost_of_large: float) -> float:
    return math.log(cost_of_large / cost) / math.log(large / small)


def seen(instances: int) -> Snapshot:
    """Three zones, five update domains, a placement group for each hundred; every tenth is sick."""
    members = [
        InstanceStatus(
            str(number),
            "v",
            str(number % 3 + 1),
            f"g{number // 100}",
            number % 5,
            number % 3,
            False,
            "1",
            "Succeeded",
            "running",
            "healthy" if number % 10 else "unhealthy",
            False,
        )
        for number in range(instances)
    ]
    return Snapshot({one.instance_id: one for one in members}, 0.0, True)


POLICIES = {
    "a fifth": Policy(),
    "one at a time": Policy(batch_size=1),
    "next to the floor": Policy(min_healthy_instance_percent=89, min_healthy_zone_percent=85),
    "whoever is first": Policy(prioritize_unhealthy_instances=False, batch_by="batch"),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_plan_grows_with_the_set_and_no_faster(policy: Policy) -> None:
    costs = [calls(functools.partial(selection.simulate, policy, seen(size), "2")) for size in (300, 3000)]
    assert exponent(300, costs[0], 3000, costs[1]) <= MOST_EXPONENT


def test_a_plan_costs_few_calls_for_each_instance() -> None:
    world = seen(3000)
    assert calls(lambda: selection.simulate(Policy(), world, "2")) <= 25 * 3000


def test_a_whole_roll_out_grows_with_the_set_and_no_faster() -> None:
    """Plan, 13 lists, five batches: about 1,800 calls for an instance, each object that is parsed being one."""

    def rolled_out(size: int) -> None:
        assert rehearse_captured(Seed.build(capacity=size, page_size=100), NEW).verdict.ok

    rolled_out(5)
    costs = [calls(functools.partial(rolled_out, size)) for size in (50, 300)]
    assert exponent(50, costs[0], 300, costs[1]) <= MOST_EXPONENT
    assert costs[1] <= 2200 * 300  # a list after each settled batch; a forecast of the whole run


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_plan_is_what_would_be_decided_batch_by_batch(policy: Policy) -> None:
    """The short cut of `simulate` against the long way: `next_batch` on a world in which each batch goes well."""
    world = seen(60)
    expected = list[tuple[str, ...]]()
    state, now = selection.plain(policy, world, "2"), world
    while ids := selection.next_batch(state, now):
        expected.append(ids)
        healed = {one: now.members[one]._replace(latest=True, version="2", health="healthy") for one in ids}
        now = now._replace(members={**now.members, **healed})
        state = replace(state, batches=state.batches + 1, posted=state.posted | frozenset(healed))
    assert selection.simulate(policy, world, "2")[0] == expected
