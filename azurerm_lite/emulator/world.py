"""The emulated world: what exists, what time it is there, and what is due to happen.

Everything that takes time is an event in one queue. `settle()` runs, in order, what was due by now, each at its
own time; nothing else moves the world, so the same seed and the same calls give the same history.
"""

import functools
import heapq
import itertools
import random
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import habits as _habits
from .clock import Clock
from .faults import Faults

if TYPE_CHECKING:
    from .disturbances import Disturbances
    from .identity import Identity
    from .images import Images
    from .operations import Operations
    from .scale_sets import ScaleSets
    from .throttle import Throttle

Event = list[Any]  # [due, order, action or None when cancelled]


class World:
    """`now` is the world's time (that of the event being run, while one runs); `lock` is held for each request."""

    # The rooms that `compute.install` and `identity.install` furnish.
    operations: "Operations"
    images: "Images"
    scale_sets: "ScaleSets"
    identity: "Identity"
    throttle: "Throttle"
    disturbances: "Disturbances"
    page_size: int = 0  # 0: all instances in one page, as recorded Azure answers
    lean: bool = False  # leave out of instances what no engine reads: for rehearsals by the thousand
    concurrency: str = "conflict"  # a second write while an upgrade runs: "conflict" (409) or "preempt"

    def __init__(self, clock: Clock, *, seed: int = 0, habits: _habits.Habits = _habits.USUAL) -> None:
        self.clock, self.rng, self.lock = clock, random.Random(seed), threading.RLock()
        self.now = clock.time()
        self.id = uuid.uuid4().hex  # by chance alone, so that no two emulators are taken for each other
        self.faults = Faults(lambda: self.now)
        # The names of all habits that are on, and of those that are events what was asked for.
        self.habits, self.uses = _habits.checked(habits)
        # Resource groups that exist: (subscription, name) in lower case -> (subscription, name, location) as spelt.
        self.resource_groups: dict[tuple[str, str], tuple[str, str, str]] = {}
        # How many of its seconds pass in one of its callers': what it asks them to wait must shrink by as much.
        self.pace: float = getattr(clock, "scale", 1.0)
        # Seconds that things take, where other than recorded of Azure: {"upgrade": (301, 325)}.
        self.durations: dict[str, tuple[float, float]] = {}
        self._events: list[Event] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> Event:
        """Have `action` run when the world reaches `when`; the returned event can be cancelled."""
        event: Event = [max(when, self.now), next(self._order), action]
        heapq.heappush(self._events, event)
        return event

    def after(self, seconds: float, action: Callable[[], None]) -> Event:
        return self.at(self.now + seconds, action)

    def seconds(self, what: str, shortest: float, longest: float) -> float:
        """How long something takes this time."""
        return self.rng.uniform(*self.durations.get(what, (shortest, longest)))

    @staticmethod
    def cancel(event: Event) -> None:
        event[2] = None

    def settle(self) -> None:
        """Catch up with the clock."""
        target = max(self.clock.time(), self.now)
        while self._events and self._events[0][0] <= target:
            self.now, _, action = heapq.heappop(self._events)
            if action is not None:
                action()
        self.now = target

    def next_due(self) -> float | None:
        """When the next event is due, if any: how far a virtual clock may jump without missing one."""
        while self._events and self._events[0][2] is None:
            heapq.heappop(self._events)
        return self._events[0][0] if self._events else None

    def forget_events(self) -> None:
        """Nothing is due any more."""
        self._events.clear()

    def guid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def timestamp(self, when: float | None = None) -> str:
        """Azure's spelling: seven decimals with trailing zeros dropped, numeric offset."""
        return _timestamp(self.now if when is None else when)


@functools.lru_cache(maxsize=4096)  # each instance of a list shows several, and seldom new ones
def _timestamp(when: float) -> str:
    """The clocks of tests stand at full seconds, as Azure's never do: below a millisecond the decimals are made up."""
    ticks = round(when * 10_000_000)
    thousandth = ticks // 10_000
    if ticks % 10_000 == 0:
        ticks += 1 + thousandth * 7919 % 9999
    moment = datetime.fromtimestamp(ticks // 10_000_000, UTC)
    fraction = f"{ticks % 10_000_000:07d}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}+00:00"
