"""The time of the simulation: one queue of events, the clock they follow, and the chance they draw from.

Everything that takes time is an event. `run_due_events` runs, in order, what was due by now, each at its own time;
nothing else moves the simulation, so the same seed and the same calls give the same history.
"""

import functools
import heapq
import itertools
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..clock import Clock

Event = tuple[float, int, Callable[[], None]]  # due, order, action


class Events:
    """The event queue.

    `now`: the time of the simulation, while an event runs the time of that event. `time_scale`: emulated seconds per
    real second; the waits of clients are divided by it. `durations`: seconds that things take where other
    than recorded of Azure: {"upgrade": (301, 325)}.
    """

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        self.clock, self.random = clock, random.Random(seed)
        self.now = clock.time()
        scale: Any = getattr(clock, "scale", 1.0)
        self.time_scale: float = scale
        self.durations: dict[str, tuple[float, float]] = {}
        self._queue: list[Event] = []
        self._order = itertools.count()

    def schedule_at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` when the simulation reaches this time."""
        heapq.heappush(self._queue, (max(when, self.now), next(self._order), action))

    def schedule_in(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` so many seconds from now."""
        self.schedule_at(self.now + seconds, action)

    def duration(self, what: str, shortest: float, longest: float) -> float:
        """Seconds that something takes this time, drawn from the range, or from the one in `durations`."""
        return self.random.uniform(*self.durations.get(what, (shortest, longest)))

    def run_due_events(self) -> None:
        """Bring the simulation to the time of the clock."""
        target = max(self.clock.time(), self.now)
        while self._queue and self._queue[0][0] <= target:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = target

    def next_due(self) -> float | None:
        """The time of the next event, None for no event: how far a virtual clock may jump without missing one."""
        return self._queue[0][0] if self._queue else None

    def clear(self) -> None:
        """Drop all events."""
        self._queue.clear()

    def guid(self) -> str:
        """A new GUID, by the chance of the simulation."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def timestamp(self, when: float | None = None) -> str:
        """A time, by default now, as Azure writes it: seven decimals without trailing zeros, numeric offset."""
        return _timestamp(self.now if when is None else when)


@functools.lru_cache(maxsize=4096)  # each instance of a list shows several, and seldom new ones
def _timestamp(when: float) -> str:
    """Azure never shows full seconds, where the clocks of tests stand, so digits below a millisecond are invented."""
    ticks = round(when * 10_000_000)
    thousandth = ticks // 10_000
    if ticks % 10_000 == 0:
        ticks += 1 + thousandth * 7919 % 9999
    moment = datetime.fromtimestamp(ticks // 10_000_000, UTC)
    fraction = f"{ticks % 10_000_000:07d}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}+00:00"
