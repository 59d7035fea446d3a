"""View: the base class of views that redraw a picture, at most a few times a second."""

from collections.abc import Callable, Mapping
from typing import Any

from .._common import arguments
from .state import ViewState, apply_event

MIN_INTERVAL_SECONDS = 0.3


class View:
    """Computes a ViewState from events and draws it after the first event, the last, and others at an interval.

    A subclass implements `draw`. `clock`: returns seconds. `interval_seconds`: the shortest time between two drawings.
    """

    def __init__(self, clock: Callable[[], float], interval_seconds: float = MIN_INTERVAL_SECONDS) -> None:
        arguments.typed(Callable, clock=clock)
        arguments.seconds(interval_seconds, "interval_seconds")
        self.state, self._clock, self._interval_seconds = ViewState(), clock, interval_seconds
        self._drawn_at: float | None = None
        self._event_at = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.state, self._event_at = apply_event(self.state, event), self._clock()
        ended = self.state.verdict is not None
        if ended or self._drawn_at is None or self._event_at - self._drawn_at >= self._interval_seconds:
            self._drawn_at = self._event_at
            self.draw()
        if ended:
            self.close()

    @property
    def at(self) -> float:
        """The time of the upgrade now: that of the last event plus the seconds since then."""
        elapsed = 0.0 if self.state.verdict is not None else self._clock() - self._event_at
        return self.state.at + elapsed

    def draw(self) -> None:
        """Show `self.state` as of `self.at`."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop drawing; the last picture stays."""

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
