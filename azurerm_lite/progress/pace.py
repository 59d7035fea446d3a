"""How often a view is drawn anew: never more than a few times a second, by a clock that is given."""

from collections.abc import Callable, Mapping
from typing import Any

from .watched import Watched, heard

OFTEN = 0.3  # seconds between two pictures


class View:
    """Hears events and draws now and then; the end is always drawn. What draws is what its kind says."""

    def __init__(self, clock: Callable[[], float], every: float = OFTEN) -> None:
        self.watched, self._clock, self._every = Watched(), clock, every
        self._drawn: float | None = None
        self._heard = 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.watched, self._heard = heard(self.watched, event), self._clock()
        ended = self.watched.verdict is not None
        if ended or self._drawn is None or self._heard - self._drawn >= self._every:
            self._drawn = self._heard
            self.draw()
        if ended:
            self.close()

    @property
    def at(self) -> float:
        """The time of the upgrade now: that of the last event, and what has passed since."""
        passed = 0.0 if self.watched.verdict is not None else self._clock() - self._heard
        return self.watched.at + passed

    def draw(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave the last picture as it is."""

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
