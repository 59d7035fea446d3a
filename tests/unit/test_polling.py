"""When a batch is looked at again: what that costs at worst, whatever the batches do.

`polls` and `late` here are those of five batches; the engine adds 16 requests and the second that the model takes.
"""

import functools
import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azurerm_lite.upgrade.rules.polling import next_gap

MOST_POLLS, MOST_LATE = 64, 14.0
Cost = tuple[int, float]


def watched(seconds: float, before: Sequence[float]) -> Cost:
    """Polls, and seconds between its end and the poll that saw it, of a batch that takes so long."""
    age = 0.0
    for polls in itertools.count(1):
        age += next_gap(age, before)
        if age >= seconds:
            return polls, age - seconds
    raise AssertionError


def rolled_out(batches: Sequence[float]) -> Cost:
    costs = [watched(seconds, batches[:number]) for number, seconds in enumerate(batches)]
    return sum(polls for polls, _ in costs), sum(late for _, late in costs)


def test_five_batches_of_about_five_minutes_in_two_thousand_draws() -> None:
    chance = random.Random(0)
    costs = [rolled_out([chance.uniform(301, 325) for _ in range(5)]) for _ in range(2000)]
    assert max(polls for polls, _ in costs) <= MOST_POLLS
    assert max(late for _, late in costs) <= MOST_LATE


@pytest.mark.parametrize(("what", "most"), [(0, MOST_POLLS), (1, MOST_LATE)], ids=["polls", "late"])
def test_five_batches_of_about_five_minutes_in_the_worst_order_there_is(what: int, most: float) -> None:
    """Of all sequences in steps of a second: what comes next depends on the fastest and the slowest only."""
    durations = range(301, 326)

    @functools.cache
    def cost(seconds: int, fastest: int, slowest: int) -> float:
        return watched(seconds, (fastest, slowest))[what]

    @functools.cache
    def worst(left: int, fastest: int, slowest: int) -> float:
        if not left:
            return 0.0
        return max(
            cost(seconds, fastest, slowest) + worst(left - 1, min(fastest, seconds), max(slowest, seconds))
            for seconds in durations
        )

    assert max(watched(first, ())[what] + worst(4, first, first) for first in durations) <= most


@pytest.mark.parametrize("usual", [0.6, 5.0, 36.0, 90.0, 174.0, 600.0, 1800.0])
def test_batches_that_are_alike_cost_little_once_the_first_is_over(usual: float) -> None:
    chance = random.Random(1)
    batches = [usual * chance.uniform(0.97, 1.03) for _ in range(20)]
    costs = [watched(seconds, batches[:number]) for number, seconds in enumerate(batches) if number]
    assert sum(polls for polls, _ in costs) / len(costs) <= 14
    assert max(late for _, late in costs) <= max(3.0, 0.04 * usual)


@given(st.floats(0.5, 7200), st.lists(st.floats(0.5, 7200), max_size=5))
@settings(max_examples=200, deadline=None)
def test_no_batch_empties_the_bucket_of_its_operation(seconds: float, before: list[float]) -> None:
    """15 polls a minute, 45 at once; and the next look is never now."""
    left, age = 45.0, 0.0
    while age < seconds:
        gap = next_gap(age, before)
        assert gap >= 0.5
        left, age = min(45.0, left + gap / 4) - 1, age + gap
        assert left > 5


@given(st.floats(0.5, 7200), st.lists(st.floats(0.5, 7200), max_size=5))
@settings(max_examples=200, deadline=None)
def test_no_end_is_seen_much_later_than_it_comes(seconds: float, before: list[float]) -> None:
    """At most 45 s; or what the fastest took, when one is much faster than all before it."""
    _, late = watched(seconds, before)
    assert late <= max(45.0, min(before, default=0.0))
