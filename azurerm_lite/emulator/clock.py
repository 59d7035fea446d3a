"""The time of an emulator: real, scaled, or virtual.

The world never waits for time and runs no timers: whoever asks it anything first lets it catch up
(`World.settle`) with what was due by now. So a virtual hour costs as much as what happens in it.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Where the world reads the time, in seconds since 1970."""

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
        return self._start + (self._monotonic() - self._origin) * self.scale

    def sleep(self, seconds: float) -> None:
        self._sleep(max(0.0, seconds) / self.scale)

    def rescale(self, scale: float) -> None:
        """Run on from now at another speed."""
        self._start, self._origin, self.scale = self.time(), self._monotonic(), scale


class VirtualClock:
    """Time that moves only when somebody says so: `advance`, or a `sleep` that costs no time at all."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now, self._lock = start, threading.Lock()

    def time(self) -> float:
        return self._now

    monotonic = time

    def advance(self, seconds: float) -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"time goes forward only, not by {seconds!r} s")
        with self._lock:
            self._now += seconds

    sleep = advance
