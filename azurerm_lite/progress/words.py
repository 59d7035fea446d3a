"""Each event of an upgrade as one line for people. PURE.

A line says what was done or seen, and the numbers one asks for next: how many are through, how long it will take.
Events that only refresh a picture have no words; a kind that nobody foresaw is shown by its name.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..markup import batches, listing, visible
from ..types import ScaleSet

Event = Mapping[str, Any]
LONGEST = 400
_ASKED = re.compile(r"^[A-Z]+ /\S+: ")  # what was tried, which everybody knows here; what Azure said comes after it


class Words(NamedTuple):
    """What happened, whether it is bad, and to which batch if to one."""

    text: str
    bad: bool = False
    batch: str = ""

    @property
    def line(self) -> str:
        return f"{self.batch}: {self.text}" if self.batch and self.text else self.text


def words(event: Event) -> Words:
    """What there is to say of an event; no text where there is nothing."""
    kind = str(event.get("kind"))
    said = _KINDS[kind](event) if kind in _KINDS else Words(f"{kind}: {event.get('reason', '')}".rstrip(": "))
    of_a_fleet = "scale_set" in event and kind not in ("begin", "resumed")
    batch = ": ".join(filter(None, (_name(event) if of_a_fleet else "", said.batch)))
    return Words(visible(said.text, LONGEST), said.bad, batch) if said.text else said


def stamp(at: float) -> str:
    """A time in full, for lines that are kept: 2026-09-21T14:13:20Z."""
    return _moment(at, "%Y-%m-%dT%H:%M:%SZ")


def time_of_day(at: float, *, seconds: bool = True) -> str:
    """A time of today, in UTC as Azure's own logs are."""
    return _moment(at, "%H:%M:%S" if seconds else "%H:%M")


def span(seconds: float) -> str:
    """How long, to the second, as a clock shows it: 0:39, 4:12, 1:04:12."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """How long, as an estimate is said: 40 s, 6 min, 1 h 10 min."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _moment(at: float, form: str) -> str:
    known = 0 < at < 253_402_300_800  # the last second that a date can hold
    return datetime.fromtimestamp(at, UTC).strftime(form) if known else "?"


# --- one function for each kind --------------------------------------------------------------------------------------


def _begin(event: Event) -> Words:
    counts = _numbers(event)
    what = f"{_name(event)}: {counts['instances']} instances to {event.get('version') or 'the model as it is'}"
    back = "taking it back: " if event.get("takes_back") else ""
    safe = f"{batches(counts['batches'])}, at least {counts['floor']} stay available"
    return Words(f"{back}{what}, {safe}{', EMULATOR' if event.get('emulator') else ''}")


def _resumed(event: Event) -> Words:
    return Words(f"{_name(event)}: going on, {_through(event)}{', EMULATOR' if event.get('emulator') else ''}")


def _intent(event: Event) -> Words:
    canary = " (canary)" if event.get("canary") else ""
    ids = [str(one) for one in event["ids"]]
    many = f"{len(ids)} instances: " if len(ids) > 6 else ""
    return _of(event, f"upgrading {many}{listing(ids)}{canary}")


def _posted(event: Event) -> Words:
    return _of(event, "found under way" if event.get("found_again") else "")


def _unposted(event: Event) -> Words:
    return Words(f"the next batch was not begun: {event['reason']}", bad=True)


def _ended(event: Event) -> Words:
    if error := event.get("error"):
        return _of(event, _ASKED.sub("", str(error)), bad=True)
    took = event.get("took")
    return _of(event, f"through{f' in {span(took)}' if took else ''}, waiting for health")


def _fit(event: Event) -> Words:
    ids, of = event.get("ids", ()), event.get("of", 0)
    return _of(event, "healthy" if len(ids) >= of else f"{len(ids)} of {of} healthy")


def _gate(event: Event) -> Words:
    why = f": {event['reason']}" if event.get("reason") else ""
    return _of(event, f"the gate says {event['said']}{why}", bad=event["said"] != "pass")


def _settled(event: Event) -> Words:
    classes = event["classes"]
    found = Counter(classes.values())
    counts = ", ".join(f"{found[kind]} {kind}" for kind in sorted(found, key=lambda kind: (kind == "failed", kind)))
    failed = [str(one) for one, kind in classes.items() if kind == "failed"]
    who = f" ({listing(failed)})" if failed else ""
    return _of(event, f"{counts}{who}; {_through(event)}{_left(event)}", bad=bool(failed))


def _stuck(event: Event) -> Words:
    return Words(f"waiting: {event['reason']}", bad=True)


def _guarded(event: Event) -> Words:
    return Words(f"automatic repairs {'suspended' if event['on'] else 'resumed'}")


def _shielded(event: Event) -> Words:
    if not event["ids"]:
        return Words("no longer protected from scale-in")
    return Words(f"protected from scale-in: {listing(event['ids'])}")


def _platform(event: Event) -> Words:
    counts = ", ".join(f"{count} {kind}" for kind, count in event.get("progress", {}).items())
    code = event.get("status", {}).get("code", "not begun yet")
    return Words(f"Azure's rolling upgrade: {code}{f', {counts}' if counts else ''}")


def _end(event: Event) -> Words:
    verdict = event["verdict"]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict["counts"].items()))
    why = f": {verdict['reason']}" if verdict["reason"] else ""
    text = f"{verdict['outcome']}{why} ({counts or 'no instances'}; {batches(verdict['batches'])})"
    return Words(text, bad=verdict["outcome"] not in ("succeeded", "paused"))


def _plainly(text: str) -> Callable[[Event], Words]:
    return lambda _event: Words(text)


_KINDS: Mapping[str, Callable[[Event], Words]] = {
    "begin": _begin,
    "resumed": _resumed,
    "model-intent": _plainly("writing the model"),
    "model-written": _plainly("the model is written"),
    "intent": _intent,
    "posted": _posted,
    "unposted": _unposted,
    "ended": _ended,
    "fit": _fit,
    "relapsed": lambda event: _of(event, f"not healthy any more: {listing(event['ids'])}", bad=True),
    "lost": lambda event: _of(event, f"nobody knows whether it was sent: {event['reason']}", bad=True),
    "trouble": lambda event: Words(f"{event['of']} did not work: {event['reason']}", bad=True),
    "gap": lambda event: Words(f"nothing was seen for {about(event['seconds'])}: what was observed is observed anew"),
    "leg": _plainly("the next old version"),
    "rollback": lambda event: Words(f"rolling back: {event['reason']}", bad=True),
    "gate": _gate,
    "settled": _settled,
    "checkpoint": lambda event: Words(f"checkpoint at {event['percent']} %"),
    "stuck": _stuck,
    "guarded": _guarded,
    "shielded": _shielded,
    "stage": lambda event: Words(f"next: {event['name']}"),
    "platform": _platform,
    "end": _end,
    **dict.fromkeys(("seen", "polled", "waiting"), _plainly("")),
}


def _numbers(event: Event) -> Mapping[str, Any]:
    found: Mapping[str, Any] = event["progress"]
    return found


def _name(event: Event) -> str:
    return ScaleSet.parse(event["scale_set"]).vmss_name


def _of(event: Event, text: str, *, bad: bool = False) -> Words:
    """Words on the batch that is under way, or was until now."""
    counts = _numbers(event)
    return Words(text, bad, f"batch {counts['batch']} of {counts['batches']}")


def _through(event: Event) -> str:
    counts = _numbers(event)
    return f"{counts['updated']} of {counts['known']} updated"


def _left(event: Event) -> str:
    seconds = _numbers(event)["seconds_left"]
    return f", about {about(seconds)} left" if seconds else ""
