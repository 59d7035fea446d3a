"""ViewState: the state that views draw, computed from the events of an upgrade. PURE."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._common.markup import visible
from ..heatmap import Grid, grid
from ..upgrade.rules.events import Now
from .event_text import Event, describe

MAX_EVENTS = 50  # more than any view shows


class EventLine(NamedTuple):
    """An event as text. `at`: in seconds since 1970. `bad`: it is a failure or delays the upgrade."""

    at: float
    text: str
    bad: bool


class ViewState(NamedTuple):
    """What a view shows. `now`: the state of the upgrade, None before the first event that carries it.

    `at`: the time of the last event. `activity`: what the upgrade is doing, as text. `counts`: the numbers of Azure's
    own rolling upgrade, which has no `now`.
    """

    now: Now | None = None
    at: float = 0.0
    activity: str = ""
    events: tuple[EventLine, ...] = ()
    verdict: Mapping[str, Any] | None = None
    counts: Mapping[str, int] = {}

    @property
    def title(self) -> str:
        """The name of the scale set, and the version that it is upgraded to."""
        if self.now is None:
            return "a rolling upgrade by Azure"
        version = self.now.first["version"]
        return f"{self.now.scale_set.vmss_name} to {version}" if version else self.now.scale_set.vmss_name

    @property
    def grid(self) -> Grid | None:
        """The heatmap, or None before the instances have been listed."""
        if self.now is None or self.now.snapshot is None:
            return None
        name = self.now.scale_set.vmss_name
        return grid(self.now.snapshot, "progress", classes=self.now.classes, title=name, emulator=self.now.emulator)


def apply_event(state: ViewState, event: Event) -> ViewState:
    """The state after one more event."""
    text, at, kind = describe(event), float(event["at"]), event["kind"]
    events = (*state.events, EventLine(at, text.line, text.bad))[-MAX_EVENTS:] if text.text else state.events
    activity = "about to begin" if kind in ("begin", "resumed") else text.text or state.activity
    activity = visible(event["reason"]) if kind == "waiting" else activity
    counts = event["progress"] if kind == "platform" else {}
    verdict = event["verdict"] if kind == "end" else None
    return ViewState(event.get("now"), at, activity, events, verdict, counts)
