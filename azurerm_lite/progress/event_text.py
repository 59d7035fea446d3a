"""Describe each event of an upgrade in one line of text. PURE.

Events that only update a picture have no text. An event of an unknown kind is described by its kind and reason.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .._common import arguments
from .._common.markup import batches, listing, visible
from ..types import ScaleSet

Event = Mapping[str, Any]
MAX_LENGTH = 400
_REQUEST = re.compile(r"^[A-Z]+ /\S+: ")  # the request at the beginning of an error, which is redundant here


class EventText(NamedTuple):
    """The description of an event. `text`: what happened, or ""; `bad`: a failure; `batch`: "batch 2 of 5", or ""."""

    text: str
    bad: bool = False
    batch: str = ""

    @property
    def line(self) -> str:
        """The batch and the text in one line."""
        return f"{self.batch}: {self.text}" if self.batch and self.text else self.text


def describe(event: Event) -> EventText:
    """Describe an event of the engine in one line.

    `event`: a dict as `on_event=` gets it: `{"kind": ..., "at": ..., "progress": {...}, ...}`.

    Raises: InvalidInput for what is no event, KeyError for an event of a known kind that lacks a key of that kind.
    """
    arguments.json_object(event, "event")
    kind = str(event.get("kind"))
    text = _KINDS[kind](event) if kind in _KINDS else EventText(f"{kind}: {event.get('reason', '')}".rstrip(": "))
    of_a_fleet = "scale_set" in event and kind not in ("begin", "resumed")
    batch = ": ".join(filter(None, (_name(event) if of_a_fleet else "", text.batch)))
    return EventText(visible(text.text, MAX_LENGTH), text.bad, batch) if text.text else text


def format_timestamp(at: float) -> str:
    """A time with its date: 2026-09-21T14:13:20Z. `at`: seconds since 1970."""
    return _format(at, "%Y-%m-%dT%H:%M:%SZ")


def format_time(at: float, *, seconds: bool = True) -> str:
    """A time of the day in UTC, as in Azure's logs: 14:13:20, or 14:13. `at`: seconds since 1970."""
    return _format(at, "%H:%M:%S" if seconds else "%H:%M")


def format_duration(seconds: float) -> str:
    """A duration to the second: 0:39, 4:12, 1:04:12."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_estimate(seconds: float) -> str:
    """A duration rounded as an estimate: 40 s, 6 min, 1 h 10 min."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _format(at: float, pattern: str) -> str:
    known = 0 < at < 253_402_300_800  # the last second that a date can hold
    return datetime.fromtimestamp(at, UTC).strftime(pattern) if known else "?"


# --- one function per kind -------------------------------------------------------------------------------------------


def _begin(event: Event) -> EventText:
    counts = _numbers(event)
    goal = f"{_name(event)}: {counts['instances']} instances to {event.get('version') or 'the model as it is'}"
    prefix = "rollback: " if event.get("takes_back") else ""
    steps = f"{batches(counts['batches'])}, at least {counts['floor']} stay available"
    return EventText(f"{prefix}{goal}, {steps}{', EMULATOR' if event.get('emulator') else ''}")


def _resumed(event: Event) -> EventText:
    return EventText(f"{_name(event)}: going on, {_totals(event)}{', EMULATOR' if event.get('emulator') else ''}")


def _intent(event: Event) -> EventText:
    canary = " (canary)" if event.get("canary") else ""
    ids = [str(instance_id) for instance_id in event["ids"]]
    count = f"{len(ids)} instances: " if len(ids) > 6 else ""
    return _of_batch(event, f"upgrading {count}{listing(ids)}{canary}")


def _posted(event: Event) -> EventText:
    return _of_batch(event, "found under way" if event.get("found_again") else "")


def _unposted(event: Event) -> EventText:
    return EventText(f"the next batch was not begun: {event['reason']}", bad=True)


def _ended(event: Event) -> EventText:
    if error := event.get("error"):
        return _of_batch(event, _REQUEST.sub("", str(error)), bad=True)
    seconds = event.get("took")
    return _of_batch(event, f"through{f' in {format_duration(seconds)}' if seconds else ''}, waiting for health")


def _fit(event: Event) -> EventText:
    ids, size = event.get("ids", ()), event.get("of", 0)
    return _of_batch(event, "healthy" if len(ids) >= size else f"{len(ids)} of {size} healthy")


def _gate(event: Event) -> EventText:
    reason = f": {event['reason']}" if event.get("reason") else ""
    return _of_batch(event, f"the gate says {event['said']}{reason}", bad=event["said"] != "pass")


def _settled(event: Event) -> EventText:
    classes = event["classes"]
    counts = Counter(classes.values())
    order = sorted(counts, key=lambda kind: (kind == "failed", kind))
    totals = ", ".join(f"{counts[kind]} {kind}" for kind in order)
    failed = [str(instance_id) for instance_id, kind in classes.items() if kind == "failed"]
    ids = f" ({listing(failed)})" if failed else ""
    return _of_batch(event, f"{totals}{ids}; {_totals(event)}{_time_left(event)}", bad=bool(failed))


def _stuck(event: Event) -> EventText:
    return EventText(f"waiting: {event['reason']}", bad=True)


def _guarded(event: Event) -> EventText:
    return EventText(f"automatic repairs {'suspended' if event['on'] else 'resumed'}")


def _shielded(event: Event) -> EventText:
    if not event["ids"]:
        return EventText("no longer protected from scale-in")
    return EventText(f"protected from scale-in: {listing(event['ids'])}")


def _platform(event: Event) -> EventText:
    counts = ", ".join(f"{count} {kind}" for kind, count in event.get("progress", {}).items())
    code = event.get("status", {}).get("code", "not begun yet")
    return EventText(f"Azure's rolling upgrade: {code}{f', {counts}' if counts else ''}")


def _end(event: Event) -> EventText:
    verdict = event["verdict"]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict["counts"].items()))
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    text = f"{verdict['outcome']}{reason} ({counts or 'no instances'}; {batches(verdict['batches'])})"
    return EventText(text, bad=verdict["outcome"] not in ("succeeded", "paused"))


def _constant(text: str) -> Callable[[Event], EventText]:
    return lambda _event: EventText(text)


_KINDS: Mapping[str, Callable[[Event], EventText]] = {
    "begin": _begin,
    "resumed": _resumed,
    "model-intent": _constant("writing the model"),
    "model-written": _constant("the model is written"),
    "intent": _intent,
    "posted": _posted,
    "unposted": _unposted,
    "ended": _ended,
    "fit": _fit,
    "relapsed": lambda event: _of_batch(event, f"not healthy any more: {listing(event['ids'])}", bad=True),
    "lost": lambda event: _of_batch(event, f"the response was lost: {event['reason']}", bad=True),
    "trouble": lambda event: EventText(f"{event['of']} failed: {event['reason']}", bad=True),
    "gap": lambda event: EventText(f"no step for {format_estimate(event['seconds'])}: observation starts anew"),
    "leg": _constant("the next old version"),
    "rollback": lambda event: EventText(f"rolling back: {event['reason']}", bad=True),
    "gate": _gate,
    "settled": _settled,
    "checkpoint": lambda event: EventText(f"checkpoint at {event['percent']} %"),
    "stuck": _stuck,
    "guarded": _guarded,
    "shielded": _shielded,
    "stage": lambda event: EventText(f"next: {event['name']}"),
    "platform": _platform,
    "end": _end,
    **dict.fromkeys(("seen", "polled", "waiting"), _constant("")),
}


def _numbers(event: Event) -> Mapping[str, Any]:
    numbers: Mapping[str, Any] = event["progress"]
    return numbers


def _name(event: Event) -> str:
    return ScaleSet.parse(event["scale_set"]).vmss_name


def _of_batch(event: Event, text: str, *, bad: bool = False) -> EventText:
    """An EventText with the number of the current batch, or of the last one between batches."""
    counts = _numbers(event)
    return EventText(text, bad, f"batch {counts['batch']} of {counts['batches']}")


def _totals(event: Event) -> str:
    counts = _numbers(event)
    return f"{counts['updated']} of {counts['known']} updated"


def _time_left(event: Event) -> str:
    seconds = _numbers(event)["seconds_left"]
    return f", about {format_estimate(seconds)} left" if seconds else ""
