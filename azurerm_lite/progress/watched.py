"""What a view knows of an upgrade: the events so far, folded into one value. PURE."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..heatmap import Grid, grid
from ..markup import visible
from ..upgrade.rules.events import Now
from .words import Event, words

KEPT = 50  # events; more than any view shows


class Told(NamedTuple):
    """One event in words, and when it was."""

    at: float
    text: str
    bad: bool


class Watched(NamedTuple):
    """`now`: how the upgrade stands, None before the first event of an engine. `doing`: what it is at.

    `counts`: what Azure's own engine counts, when it is that which runs.
    """

    now: Now | None = None
    at: float = 0.0
    doing: str = ""
    told: tuple[Told, ...] = ()
    verdict: Mapping[str, Any] | None = None
    counts: Mapping[str, int] = {}

    @property
    def title(self) -> str:
        """The scale set, and what it is brought to."""
        if self.now is None:
            return "a rolling upgrade by Azure"
        version = self.now.first["version"]
        return f"{self.now.scale_set.vmss_name} to {version}" if version else self.now.scale_set.vmss_name

    @property
    def picture(self) -> Grid | None:
        """The heatmap, None before the first look at the set."""
        if self.now is None or self.now.seen is None:
            return None
        name = self.now.scale_set.vmss_name
        return grid(self.now.seen, "progress", classes=self.now.classes, title=name, emulator=self.now.emulator)


def heard(watched: Watched, event: Event) -> Watched:
    """The same after one event more."""
    said, at, kind = words(event), float(event["at"]), event["kind"]
    told = (*watched.told, Told(at, said.line, said.bad))[-KEPT:] if said.text else watched.told
    doing = "about to begin" if kind in ("begin", "resumed") else said.text or watched.doing
    doing = visible(event["reason"]) if kind == "waiting" else doing
    counts = event["progress"] if kind == "platform" else {}
    verdict = event["verdict"] if kind == "end" else None
    return Watched(event.get("now"), at, doing, told, verdict, counts)
