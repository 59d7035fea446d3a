"""What an upgrade tells whoever watches it: how it stands after each entry of its journal and each look. PURE.

An event is the entry as plain data. Its "progress" holds the numbers that a person asks for; its "now" is a Now, which
a picture is made from, and which works out nothing that nobody asks for.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any, NamedTuple

from ...types import ScaleSet
from . import selection
from .policy import Policy
from .selection import USUAL_BATCH_SECONDS
from .snapshot import Snapshot
from .state import Batch, State
from .verdict import verdict_classes

Event = dict[str, Any]


class Now(NamedTuple):
    """How an upgrade stands. `first`: what its journal begins with; `phase`: model, batches or ended.

    `took`: seconds of each batch so far. `seen`: the newest look at the set, None before the first; `at`: the time.
    """

    first: Mapping[str, Any]
    policy: Policy
    phase: str
    progress: State
    took: tuple[float, ...]
    seen: Snapshot | None
    lowest: int | None
    at: float
    emulator: bool

    @property
    def scale_set(self) -> ScaleSet:
        return ScaleSet.parse(self.first["scale_set"])

    @property
    def batch(self) -> Batch | None:
        """The batch that is under way."""
        return self.progress.batch

    @property
    def batch_number(self) -> int:
        """Which batch is under way, from 1; which was the last one while none is."""
        return self.progress.batches + (self.batch is not None)

    @property
    def batches(self) -> int:
        """How many there will be: those that were, and those of the plan that still have somebody to upgrade."""
        touched = self.progress.posted | set(self.progress.classes)
        gone = set() if self.seen is None else self.progress.known - set(self.seen.members)
        return self.batch_number + sum(not (touched | gone).issuperset(ids) for ids in self.first["batches"])

    @property
    def instances(self) -> int:
        return self.progress.capacity if self.seen is None else len(self.seen.members)

    @property
    def available(self) -> int | None:
        """How many are fit to serve: by the newest look, less a batch that was begun after it."""
        if self.seen is None:
            return None
        away = self._away()
        return sum(self.seen.fit(one) for one in self.seen.members.values() if one.instance_id not in away)

    def _away(self) -> tuple[str, ...]:
        gone = self.batch is not None and self.seen is not None and self.seen.at <= self.batch.begun
        return self.batch.ids if gone and self.batch is not None else ()

    @property
    def floor(self) -> int:
        """How many must be fit when a batch begins."""
        if self.seen is not None:
            return selection.needed(self.progress, self.seen)
        return selection.floor(self.policy.min_healthy_instance_percent, self.progress.capacity)

    @property
    def classes(self) -> Mapping[str, str]:
        """Every instance in its class, as in the Verdict; besides, "in-batch" for those under way."""
        under_way = dict.fromkeys(self.batch.ids if self.batch else (), "in-batch")
        return {**verdict_classes(self.progress, self.seen), **under_way}

    @property
    def seconds_left(self) -> float | None:
        """An estimate: batches take as long as those before them, or as is usual; None when it has ended."""
        if self.phase == "ended":
            return None
        bake, pause = self.policy.bake_seconds, self.policy.pause_seconds
        usual = USUAL_BATCH_SECONDS * len(self.first["stages"])
        each = (fmean(self.took) if self.took else usual) + bake
        ahead = self.batches - self.batch_number
        here = 0.0 if self.batch is None else max(0.0, each - (self.at - self.batch.begun))
        return here + ahead * (each + pause)

    def numbers(self) -> dict[str, Any]:
        """What can be said in numbers, as plain JSON."""
        kinds = list(self.progress.classes.values())
        return {
            "updated": kinds.count("updated"),
            "failed": kinds.count("failed"),
            "posted": len(self.progress.posted),
            "known": len(self.progress.known),
            "instances": self.instances,
            "available": self.available,
            "floor": self.floor,
            "lowest": self.lowest,
            "batch": self.batch_number,
            "batches": self.batches,
            "seconds_left": self.seconds_left,
        }


def event(entry: Mapping[str, Any], now: Now) -> Event:
    """The entry, with how the upgrade stands after it."""
    return {**entry, "progress": now.numbers(), "now": now}
