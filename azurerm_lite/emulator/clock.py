"""The time of an emulator: real, scaled, or virtual.

The simulation never waits and runs no timers: before each request it runs the events that are due
(`Events.run_due_events`). So a virtual hour costs as much as what happens in it.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """The time of the simulation, in seconds since 1970."""

    def time(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class ScaledClock:
    """Real time, or real time running `scale` times as fast (`--time-scale 60`: a minute a second)."""

    def __init__(
        self,
        scale: float = 1.0,
        *,
        start: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < scale < 1e9:
            raise ValueError(f"time scale must be above 0, not {scale!r}")
        self.scale = scale
        self._start = time.time() if start is None else start
        self._monotonic, self._sleep, self._origin = monotonic, sleep, monotonic()

    def time(self) -> float:
        """Seconds since 1970, on this clock."""
        return self._start + (self._monotonic() - self._origin) * self.scale

    def sleep(self, seconds: float) -> None:
        """Wait until so many seconds have passed on this clock."""
        self._sleep(max(0.0, seconds) / self.scale)

    def rescale(self, scale: float) -> None:
        """Change the speed from now on."""
        self._start, self._origin, self.scale = self.time(), self._monotonic(), scale


class VirtualClock:
    """Time that moves only by `advance`, and by `sleep`, which does not wait."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now, self._lock = start, threading.Lock()

    def time(self) -> float:
        """Seconds since 1970, on this clock."""
        return self._now

    monotonic = time

    def advance(self, seconds: float) -> None:
        """Move the time forward. Raises ValueError for a negative or infinite number of seconds."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"time goes forward only, not by {seconds!r} s")
        with self._lock:
            self._now += seconds

    sleep = advance
