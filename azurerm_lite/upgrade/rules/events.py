"""Events of an upgrade: its progress after each entry of its journal and each snapshot. PURE.

An event is the entry as plain data. Its "progress" holds the numbers for people; its "now" is a Now, from which
pictures are drawn. A Now computes its properties only on access.
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
    """The present progress of an upgrade. `first`: the first entry of its journal; `phase`: model, batches or ended.

    `took`: seconds of each batch so far. `snapshot`: the newest snapshot, None before the first. `at`: the time.
    """

    first: Mapping[str, Any]
    policy: Policy
    phase: str
    progress: State
    took: tuple[float, ...]
    snapshot: Snapshot | None
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
        """The number of the present or, between batches, the last batch, from 1."""
        return self.progress.batches + (self.batch is not None)

    @property
    def batches(self) -> int:
        """The expected number of batches: past ones, and those of the plan with instances still to upgrade."""
        touched = self.progress.posted | set(self.progress.classes)
        gone = set() if self.snapshot is None else self.progress.known - set(self.snapshot.members)
        return self.batch_number + sum(not (touched | gone).issuperset(ids) for ids in self.first["batches"])

    @property
    def instances(self) -> int:
        return self.progress.capacity if self.snapshot is None else len(self.snapshot.members)

    @property
    def available(self) -> int | None:
        """The number of available instances in the newest snapshot, without a batch that began after it."""
        if self.snapshot is None:
            return None
        away = self._away()
        return sum(
            self.snapshot.is_available(instance)
            for instance in self.snapshot.members.values()
            if instance.instance_id not in away
        )

    def _away(self) -> tuple[str, ...]:
        gone = self.batch is not None and self.snapshot is not None and self.snapshot.at <= self.batch.intended_at
        return self.batch.ids if gone and self.batch is not None else ()

    @property
    def floor(self) -> int:
        """The number of instances that must be available when a batch begins."""
        if self.snapshot is not None:
            return selection.count_needed(self.progress, self.snapshot)
        return selection.floor(self.policy.min_healthy_instance_percent, self.progress.capacity)

    @property
    def classes(self) -> Mapping[str, str]:
        """The class of every instance as in a Verdict, and "in-batch" for instances of the present batch."""
        under_way = dict.fromkeys(self.batch.ids if self.batch else (), "in-batch")
        return {**verdict_classes(self.progress, self.snapshot), **under_way}

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds to the end, from the mean or usual time of a batch; None after the end."""
        if self.phase == "ended":
            return None
        bake, pause = self.policy.bake_seconds, self.policy.pause_seconds
        usual = USUAL_BATCH_SECONDS * len(self.first["stages"])
        each = (fmean(self.took) if self.took else usual) + bake
        ahead = self.batches - self.batch_number
        here = 0.0 if self.batch is None else max(0.0, each - (self.at - self.batch.intended_at))
        return here + ahead * (each + pause)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers of the progress as plain JSON."""
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
    """Return the entry with the progress of the upgrade after it."""
    return {**entry, "progress": now.numbers(), "now": now}
