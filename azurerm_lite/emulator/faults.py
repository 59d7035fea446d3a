"""Faults as data: what goes wrong, for which request or instance, one line each in Python or in a JSON file.

    emulator.faults.next("POST", "manualupgrade", status=429, retry_after=2)
    emulator.faults.add(on="upgrade", instance="3", effect="fail", code="OSProvisioningTimedOut")

A JSON file is a list of such objects, with the same words. A rule is used up after `times` uses (default 1), or is over
`seconds` after its first use. An object with `habit` is a habit by its name (`habits`), with its own parameters.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from azurerm_lite._common.parsing import parse_json

from .exchange import Answer, Json

EFFECTS = ("fail", "hang", "unhealthy", "flap", "vanish")


class FaultError(ValueError):
    """A fault that cannot be understood, and why."""


@dataclass(slots=True)
class Fault:
    """For the requests that match, from the `nth` on, `times` times. What is not given does not happen."""

    method: str = ""  # "" for any, WRITE for all but GET and HEAD
    path: str = ""  # segments of it that follow each other, whole ones, case-blind
    nth: int = 1
    times: int = 1
    at: float = 0.0  # seconds of the emulator's clock from when it was added on: before that it counts nothing
    seconds: float = 0.0  # from the first use on, every match is hit until they are over, whatever `times` says
    status: int = 0
    code: str = "InjectedFault"
    message: str = "This failure was asked for."
    body: Json = None  # instead of code and message
    headers: dict[str, str] = field(default_factory=dict)  # "" takes one away
    retry_after: float | None = None
    delay: float = 0.0  # seconds of the emulator's clock, before anything else
    late: bool = False  # the status comes when the request has had its effect, as behind a gateway that gave up
    drop: str = ""  # "before" or "after" the request has had its effect
    truncate: int = -1  # send so many bytes of the body, then hang up
    garbage: str = ""  # instead of the body, as it stands
    link: str = ""  # origin that replaces ours in nextLink, Location and Azure-AsyncOperation
    role: str | None = None  # the caller has this role from here on: "Contributor", "Reader", "" for none
    expire: bool = False  # the caller's tokens are over from here on
    # For instances: on what ("upgrade"), which one ("" for any), and the effect.
    on: str = ""
    instance: str = ""
    effect: str = ""
    seen: int = 0
    # The use of a habit that this rule is a part of; and when it was added, and is over.
    origin: Any = None
    counts_down: bool = False  # Retry-After is what is left of `seconds`
    since: float = 0.0
    ends: float | None = None

    def due(self, now: float) -> bool:
        """Count one match; whether this one is hit."""
        if now < self.since + self.at or (self.ends is not None and now >= self.ends):
            return False
        self.seen += 1
        if self.ends is not None:
            return True
        hit = self.nth <= self.seen < self.nth + self.times
        if hit and self.seconds:
            self.ends = now + self.seconds
        return hit

    def matches(self, method: str, segments: str) -> bool:
        """Whether it is about requests with this method and these segments of their path."""
        write = self.method == "WRITE" and method not in ("GET", "HEAD")
        return not self.on and (write or self.method in ("", method)) and _segments(self.path) in segments


_OURS = frozenset({"seen", "origin", "counts_down", "since", "ends"})
_KNOWN = {one.name for one in fields(Fault)} - _OURS


def _is_number(value: Any, least: float, most: float = 1e9) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_whole(value: Any, least: int, most: int = 10**9) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def _is_text(value: Any) -> bool:
    """Whether it is a text that can be sent: with no half character (an unpaired surrogate)."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_header(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and (value.isprintable() or not value)


def _are_headers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(name and _is_header(name) and _is_header(value[name]) for name in value)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


_TESTS: Mapping[str, Callable[[Any], bool]] = {
    "status": lambda value: (value == 0 and _is_whole(value, 0)) or _is_whole(value, 100, 599),
    "nth": lambda value: _is_whole(value, 1),
    "times": lambda value: _is_whole(value, 0),
    "truncate": lambda value: _is_whole(value, -1),
    "delay": lambda value: _is_number(value, 0),
    "retry_after": lambda value: value is None or _is_number(value, 0),
    "headers": _are_headers,
    "body": _is_json,
    "role": lambda value: value is None or _is_text(value),
}
_TEST_OF_TYPE: Mapping[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    str: _is_text,
    int: lambda value: _is_whole(value, 0),
    float: lambda value: _is_number(value, 0),
}


def _refuse_other_types(description: Mapping[str, Any]) -> None:
    """FaultError for a value that would break a request later."""
    for one in fields(Fault):
        test = _TESTS.get(one.name) or _TEST_OF_TYPE.get(one.type)
        if one.name in description and test is not None and not test(description[one.name]):
            raise FaultError(f"{one.name} of a fault cannot be {ascii(description[one.name])[:80]}")


def _fault(description: Mapping[str, Any]) -> Fault:
    if unknown := set(description) - _KNOWN:
        raise FaultError(f"a fault has no {', '.join(sorted(unknown))}; it may have {', '.join(sorted(_KNOWN))}")
    _refuse_other_types(description)
    rule = Fault(**description)
    if rule.drop not in ("", "before", "after") or rule.effect not in ("", *EFFECTS):
        raise FaultError(f"drop is before or after, effect one of {', '.join(EFFECTS)}")
    if bool(rule.on) != bool(rule.effect):
        raise FaultError("a fault of an instance needs both `on` and `effect`")
    return rule


class Faults:
    """The faults of one emulator, in the order in which they were added."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.rules: list[Fault] = []
        self._now = now
        # What hears of each hit, asks for a habit by its name, and forgets all of them; a world sets them.
        self.listener: Callable[..., None] | None = None
        self.add_habit: Callable[[Mapping[str, Any]], Any] | None = None
        self.clear_habits: Callable[[], None] | None = None

    def add(self, **description: Any) -> Any:
        """A fault by its words, or a habit by its name (`habit`) and parameters."""
        if "habit" in description:
            if self.add_habit is None:
                raise FaultError("a habit needs the world of an emulator")
            return self.add_habit(description)
        return self.append(_fault(description))

    def append(self, rule: Fault) -> Fault:
        """One more rule, from now on."""
        rule.since = self._now()
        self.rules.append(rule)
        return rule

    def next(self, method: str, path: str, **description: Any) -> Fault:
        """A fault for the next request with this method and these segments in its path."""
        rule: Fault = self.add(method=method, path=path, **description)
        return rule

    def load(self, path: str) -> None:
        """The faults in a JSON file."""
        try:
            text = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            raise FaultError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
        found = parse_json(text, FaultError, f"{path} is not JSON")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise FaultError(f"{path} must hold a list of objects")
        for one in found:
            self.add(**one)

    def clear(self) -> None:
        """Nothing goes wrong any more: no fault is left, and no habit that is an event."""
        self.rules.clear()
        if self.clear_habits is not None:
            self.clear_habits()

    def for_request(self, method: str, path: str) -> Fault | None:
        """The first rule that hits this request; every rule that matches has counted it."""
        now, segments = self._now(), _segments(path)
        hits = [rule for rule in self.rules if rule.matches(method, segments) and rule.due(now)]
        return self._first(hits, method=method, path=path)

    def for_instance(self, on: str, instance_id: str) -> Fault | None:
        """What befalls this instance now, if anything."""
        now = self._now()
        matching = [rule for rule in self.rules if rule.on == on and rule.instance in ("", instance_id)]
        hits = [rule for rule in matching if rule.due(now)]
        return self._first(hits, instance=instance_id)

    def _first(self, hits: list[Fault], **details: str) -> Fault | None:
        if hits and self.listener is not None:
            self.listener(hits[0], **details)
        return hits[0] if hits else None


def refusal(rule: Fault, now: float = 0.0) -> Answer:
    """The answer that a rule with a status gives."""
    body = {"error": {"code": rule.code, "message": rule.message}} if rule.body is None else rule.body
    seconds = rule.retry_after
    if rule.counts_down and rule.ends is not None:
        seconds = max(1, math.ceil(rule.ends - now))
    wait = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    return Answer(rule.status, body, {**rule.headers, **wait})


def misled(answer: Answer, own: str, foreign: str) -> None:
    """Let an answer's links lead to a foreign origin."""
    for name in ("Location", "Azure-AsyncOperation"):
        if name in answer.headers:
            answer.headers[name] = answer.headers[name].replace(own, foreign, 1)
    if isinstance(answer.body, dict) and "nextLink" in answer.body:
        answer.body["nextLink"] = answer.body["nextLink"].replace(own, foreign, 1)


def _segments(path: str) -> str:
    """In a form of which each part is whole segments: virtualMachines is no part of virtualMachineScaleSets."""
    return f"/{path.strip('/').lower()}/" if path.strip("/") else "/"
