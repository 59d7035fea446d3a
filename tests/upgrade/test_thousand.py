"""A thousand instances in five update domains of 301 to 325 s each: what that costs in requests and in time.

How long a batch takes is known to nobody before it is over; what that costs at worst is worked out for all sequences
in tests/unit/test_polling.py, and here each run has to show it. Limits are those of Azure, and they are enforced.
"""

import os
from typing import Any, NamedTuple

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"
RUNS = 10 if os.environ.get("CI") else 3
MOST_REQUESTS, MOST_LATE = 85, 17.0  # each list comes with a look at the model, which decides on drift


class Cost(NamedTuple):
    """`requests`: besides list pages, planning included. `late`: seconds beyond the sum of the batches."""

    ok: bool
    updated: int
    batches: list[float]
    requests: int
    late: float
    refused: int


def stage(number: int) -> Stage:
    """A thousand instances, a hundred a page, under Azure's limits."""
    made = Stage(Seed.build("thousand", capacity=1000, page_size=100), random_seed=number)
    made.simulation.events.durations["upgrade"] = (301.0, 325.0)
    made.app.throttle.is_enforced = True
    return made


def cost(number: int) -> Cost:
    """One run, by the emulator's own record."""
    made = stage(number)
    wanted = plan(made.arm, *made.address, NEW)
    begun = made.clock.time()
    verdict = upgrade(made.arm, wanted)
    spent = made.clock.time() - begun
    records = [one for one in made.simulation.operations.records.values() if one.kind == "POST"]
    batches = [record.end_time - record.start_time for record in records if record.end_time is not None]
    besides = [one for one in made.app.recorder.entries if not one.path.endswith("/virtualMachines")]
    refused = made.app.throttle.refusals + sum(one.status == 429 for one in made.app.recorder.entries)
    return Cost(verdict.ok, verdict.counts["updated"], batches, len(besides), spent - sum(batches), refused)


@pytest.fixture(scope="module")
def costs() -> list[Cost]:
    return [cost(number) for number in range(RUNS)]


def test_each_update_domain_is_one_batch_of_its_length(costs: list[Cost]) -> None:
    for one in costs:
        assert (one.ok, one.updated, len(one.batches)) == (True, 1000, 5)
        assert all(301.0 <= seconds <= 325.1 for seconds in one.batches)


def test_eighty_five_requests_besides_list_pages(costs: list[Cost]) -> None:
    assert [one.requests for one in costs if one.requests > MOST_REQUESTS] == []


def test_seventeen_seconds_later_than_the_sum_of_the_batches(costs: list[Cost]) -> None:
    assert [one.late for one in costs if one.late > MOST_LATE] == []


def test_no_bucket_is_ever_empty(costs: list[Cost]) -> None:
    assert [one.refused for one in costs] == [0] * RUNS


def test_the_buckets_are_there_to_be_emptied() -> None:
    """What the test above relies on: reading instance views as fast as the 2016 script's wait, and more, is refused."""
    made: Any = stage(0)
    for _ in range(45):
        az.get_vmss_instance_view(made.arm, *made.address)
    assert made.app.throttle.refusals > 0
