"""Plan, run and rehearsal of undisturbed sets: the same batches, and about the requests and seconds that the plan says.

AZURERM_LITE_SETS says how many sets are tried (`nox -s long`: 1,000).
"""

import os
import random
import statistics
from typing import Any, NamedTuple

import pytest

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Plan, PlanRefused, Policy, plan, rehearse, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"
SETS = int(os.environ.get("AZURERM_LITE_SETS", "60" if os.environ.get("CI") else "25"))


class Run(NamedTuple):
    """What was planned, and what came."""

    wanted: Plan
    rehearsed: Plan
    batches: tuple[tuple[str, ...], ...]
    lowest: int
    requests: int
    seconds: float


def topology(chance: random.Random) -> dict[str, Any]:
    return {
        "capacity": chance.randint(1, 40),
        "zones": chance.choice([(), ("1", "2"), ("1", "2", "3")]),
        "health_source": chance.choice(["", "extension", "probe"]),
        "page_size": chance.choice([0, 3, 10]),
    }


def policy(chance: random.Random) -> Policy:
    return Policy(
        order=chance.choice(["update_domain", "fault_domain", "zone", "batch"]),
        max_batch_instance_percent=chance.choice([10, 20, 34, 50]),
        min_healthy_instance_percent=chance.choice([0, 50, 66, 80]),
        min_healthy_zone_percent=chance.choice([0, 30, 50]),
        canary_instances=chance.choice([0, 0, 1, 2]),
        canary_bake_seconds=chance.choice([0, 60, 300]),
        bake_seconds=chance.choice([0, 45, 200]),
        pause_seconds=chance.choice([0, 30]),
    )


def run(number: int) -> Run | None:
    """One set; None where no plan can keep its promises."""
    chance = random.Random(number)
    options, mine = topology(chance), policy(chance)
    made = Stage(Seed.build(**options), random_seed=number)
    there = made.scale_set.instances
    if options["health_source"]:
        for name in chance.sample(list(there), min(len(there), chance.choice([0, 0, 1, 2]))):
            made.world.scale_sets.set_health(made.scale_set, there[name], "unhealthy")
    try:
        wanted = plan(made.arm, *made.address, NEW, policy=mine)
    except PlanRefused:
        return None
    rehearsed = rehearse(made.arm, *made.address, NEW, policy=mine)
    asked = len(made.app.journal.entries)
    verdict = upgrade(made.arm, wanted)
    entries = made.app.journal.entries[asked:]
    batches = tuple(tuple(entry.body["instanceIds"]) for entry in entries if entry.method == "POST")
    assert verdict.ok
    assert [list(ids) for ids in rehearsed.plan.batches] == [list(ids) for ids in batches]
    return Run(wanted, rehearsed.plan, batches, made.lowest(), len(entries), verdict.seconds)


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [found for number in range(SETS) if (found := run(number)) is not None]


def test_plan_run_and_rehearsal_have_the_same_batches(runs: list[Run]) -> None:
    for one in runs:
        assert one.wanted.batches == one.batches == one.rehearsed.batches
        assert one.lowest >= one.wanted.lowest[""]


@pytest.mark.parametrize(("what", "within"), [("requests", 0.2), ("seconds", 0.25)])
def test_a_plan_says_what_it_costs(runs: list[Run], what: str, within: float) -> None:
    planned, real = [getattr(one.wanted, what) for one in runs], [getattr(one, what) for one in runs]
    assert sum(planned) == pytest.approx(sum(real), rel=within)
    shares = [said / came for said, came in zip(planned, real, strict=True) if came]
    assert statistics.median(shares) == pytest.approx(1, rel=within)
