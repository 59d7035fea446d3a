"""How long an operation is left alone: what Azure asked for, within bounds; else a share of its age."""

from typing import Any

import pytest

from azurerm_lite._http.wire import Monitor
from azurerm_lite.operation import Operation


class Clock:
    base = "https://management.azure.com"

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self, path: str) -> Any:
        raise AssertionError(f"nothing is read here: {path}")

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("polls", "asked", "age", "gap"),
    [
        (0, None, 0, 1.0),
        (0, 37.0, 0, 1.0),
        (0, 0.02, 0, 1.0),
        (1, 37.0, 0, 37.0),
        (1, 1.0, 0, 4.0),
        (1, 1e9, 0, 600.0),
        (1, 0.5, 0, 1.0),
        (1, 0.001, 0, 1.0),
        (1, 0.0, 16, 4.0),
        (1, None, 0, 4.0),
        (1, None, 80, 10.0),
        (1, None, 100_000, 15.0),
        (1, None, -50, 4.0),
    ],
)
def test_the_gap_between_two_polls_has_a_floor_and_a_ceiling(
    polls: int, asked: float | None, age: float, gap: float
) -> None:
    clock = Clock()
    operation = Operation(clock, "POST", "/p", Monitor("status", "/op"), retry_after=asked)
    operation.polls = polls
    clock.now += age
    assert operation.next_poll_seconds() == gap
