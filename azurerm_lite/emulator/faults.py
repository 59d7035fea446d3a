"""Faults as data: what goes wrong, for which request or instance, in one line of Python or of a JSON file.

    emulator.faults.next("POST", "manualupgrade", status=429, retry_after=2)
    emulator.faults.add(on="upgrade", instance="3", effect="fail", code="OSProvisioningTimedOut")

A JSON file is a list of objects with the same names. A fault ends after `times` uses (default 1), or `seconds` after
its first use. An object with `habit` is a habit (module `habits`) and its parameters.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from azurerm_lite._common.parsing import parse_json

from .messages import Json, Response

EFFECTS = ("fail", "hang", "unhealthy", "flap", "vanish")


class FaultError(ValueError):
    """A fault or habit is unknown or has a wrong value; the message says what is allowed."""


@dataclass(slots=True)
class Fault:
    """A fault of the requests that match, from the `nth` on, `times` times. A field at its default does nothing."""

    method: str = ""  # "" for any, WRITE for all but GET and HEAD
    path: str = ""  # whole segments of the path, one after the other, in any case
    nth: int = 1
    times: int = 1
    at: float = 0.0  # seconds after it was added, by the emulator's clock: before that it counts no request
    seconds: float = 0.0  # hit every match for so long after the first use, whatever `times` says
    status: int = 0
    code: str = "InjectedFault"
    message: str = "This failure was asked for."
    body: Json = None  # instead of code and message
    headers: dict[str, str] = field(default_factory=dict)  # "" removes a header
    retry_after: float | None = None
    delay: float = 0.0  # seconds of the emulator's clock, before all else
    late: bool = False  # the request has its effect before the status, as behind a gateway that gives up
    drop: str = ""  # break the connection "before" or "after" the request has its effect
    truncate: int = -1  # send so many bytes of the body, then break the connection
    garbage: str = ""  # send this text instead of the body
    link: str = ""  # this origin replaces ours in nextLink, Location and Azure-AsyncOperation
    role: str | None = None  # the role of the caller from now on: "Contributor", "Reader", "" for none
    expire: bool = False  # expire the tokens of the caller
    # For instances: during what ("upgrade"), which id ("" for any), and the effect.
    on: str = ""
    instance: str = ""
    effect: str = ""
    matches: int = 0
    # The use of a habit that this fault is part of, and the times of its begin and end.
    origin: Any = None
    counts_down: bool = False  # Retry-After is the rest of `seconds`
    since: float = 0.0
    ends: float | None = None

    def is_due(self, now: float) -> bool:
        """Count a match. Returns whether the fault hits it."""
        if now < self.since + self.at or (self.ends is not None and now >= self.ends):
            return False
        self.matches += 1
        if self.ends is not None:
            return True
        hit = self.nth <= self.matches < self.nth + self.times
        if hit and self.seconds:
            self.ends = now + self.seconds
        return hit

    def is_about(self, method: str, segments: str) -> bool:
        """Whether it is about requests with this method and these segments of their path."""
        write = self.method == "WRITE" and method not in ("GET", "HEAD")
        return not self.on and (write or self.method in ("", method)) and _segments(self.path) in segments


_INTERNAL = frozenset({"matches", "origin", "counts_down", "since", "ends"})
_KNOWN = {entry.name for entry in fields(Fault)} - _INTERNAL


def _is_number(value: Any, least: float, most: float = 1e9) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_whole(value: Any, least: int, most: int = 10**9) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def _is_text(value: Any) -> bool:
    """Whether it is a text without half characters (unpaired surrogates), which cannot be sent."""
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
    for name, kind in ((entry.name, entry.type) for entry in fields(Fault)):
        test = _TESTS.get(name) or _TEST_OF_TYPE.get(kind)
        if name in description and test is not None and not test(description[name]):
            raise FaultError(f"{name} of a fault cannot be {ascii(description[name])[:80]}")


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
    """The faults of one emulator, oldest first.

    The simulation sets what is called on a hit (`on_hit`), to add a habit, and to end all habits.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.rules: list[Fault] = []
        self._now = now
        self.on_hit: Callable[..., None] | None = None
        self.add_habit: Callable[[Mapping[str, Any]], Any] | None = None
        self.clear_habits: Callable[[], None] | None = None

    def add(self, **description: Any) -> Any:
        """Add a fault by its fields, or a habit by its name (`habit`) and parameters.

        Raises FaultError for an unknown or wrong one.
        """
        if "habit" in description:
            if self.add_habit is None:
                raise FaultError("a habit needs an emulator")
            return self.add_habit(description)
        return self.append(_fault(description))

    def append(self, rule: Fault) -> Fault:
        """Add a fault, from now on."""
        rule.since = self._now()
        self.rules.append(rule)
        return rule

    def next(self, method: str, path: str, **description: Any) -> Fault:
        """Add a fault of the next request with this method and these segments in its path."""
        rule: Fault = self.add(method=method, path=path, **description)
        return rule

    def load(self, path: str) -> None:
        """Add the faults in a JSON file. Raises FaultError for a file that has none."""
        try:
            text = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            raise FaultError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
        descriptions = parse_json(text, FaultError, f"{path} is not JSON")
        if not isinstance(descriptions, list) or not all(isinstance(item, dict) for item in descriptions):
            raise FaultError(f"{path} must hold a list of objects")
        for description in descriptions:
            self.add(**description)

    def clear(self) -> None:
        """Remove all faults, and end all habits that are events."""
        self.rules.clear()
        if self.clear_habits is not None:
            self.clear_habits()

    def for_request(self, method: str, path: str) -> Fault | None:
        """The first fault that hits this request; every fault that matches counts it."""
        now, segments = self._now(), _segments(path)
        hits = [rule for rule in self.rules if rule.is_about(method, segments) and rule.is_due(now)]
        return self._first(hits, method=method, path=path)

    def for_instance(self, on: str, instance_id: str) -> Fault | None:
        """The first fault that hits this instance, during `on`."""
        now = self._now()
        matching = [rule for rule in self.rules if rule.on == on and rule.instance in ("", instance_id)]
        hits = [rule for rule in matching if rule.is_due(now)]
        return self._first(hits, instance=instance_id)

    def _first(self, hits: list[Fault], **details: str) -> Fault | None:
        if hits and self.on_hit is not None:
            self.on_hit(hits[0], **details)
        return hits[0] if hits else None


def fault_response(rule: Fault, now: float = 0.0) -> Response:
    """The response of a fault with a status."""
    body = {"error": {"code": rule.code, "message": rule.message}} if rule.body is None else rule.body
    seconds = rule.retry_after
    if rule.counts_down and rule.ends is not None:
        seconds = max(1, math.ceil(rule.ends - now))
    wait = {} if seconds is None else {"Retry-After": f"{seconds:g}"}
    return Response(rule.status, body, {**rule.headers, **wait})


def redirect_links(response: Response, origin: str, other: str) -> None:
    """Replace our origin by another in the links of a response, in place."""
    for name in ("Location", "Azure-AsyncOperation"):
        if name in response.headers:
            response.headers[name] = response.headers[name].replace(origin, other, 1)
    if isinstance(response.body, dict) and "nextLink" in response.body:
        response.body["nextLink"] = response.body["nextLink"].replace(origin, other, 1)


def _segments(path: str) -> str:
    """A path normalized so that a search for a part of it matches whole segments only."""
    return f"/{path.strip('/').lower()}/" if path.strip("/") else "/"
