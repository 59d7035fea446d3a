"""Faults as data: what goes wrong, for which request or instance, one line each in Python or in a JSON file.

    emulator.faults.next("POST", "manualupgrade", status=429, retry_after=2)
    emulator.faults.add(on="upgrade", instance="3", effect="fail", code="OSProvisioningTimedOut")

A JSON file is a list of such objects, with the same words. A rule is used up after `times` uses (default 1).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from azurerm_lite.parsing import parse_json

from .exchange import Answer, Json

EFFECTS = ("fail", "hang", "unhealthy", "flap", "vanish")


class FaultError(ValueError):
    """A fault that cannot be understood, and why."""


@dataclass(slots=True)
class Fault:
    """For the requests that match, from the `nth` on, `times` times. What is not given does not happen."""

    method: str = ""  # "" for any
    path: str = ""  # segments of it that follow each other, whole ones, case-blind
    nth: int = 1
    times: int = 1
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

    def due(self) -> bool:
        """Count one match; whether this one is hit."""
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


_KNOWN = {one.name for one in fields(Fault)} - {"seen"}


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

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, **description: Any) -> Fault:
        """A fault, by its words."""
        rule = _fault(description)
        self.rules.append(rule)
        return rule

    def next(self, method: str, path: str, **description: Any) -> Fault:
        """A fault for the next request with this method and these segments in its path."""
        return self.add(method=method, path=path, **description)

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
        self.rules.clear()

    def for_request(self, method: str, path: str) -> Fault | None:
        """The first rule that hits this request; every rule that matches has counted it."""
        asked = _segments(path)
        matching = [r for r in self.rules if not r.on and r.method in ("", method) and _segments(r.path) in asked]
        hits = [rule for rule in matching if rule.due()]
        return hits[0] if hits else None

    def for_instance(self, on: str, instance_id: str) -> Fault | None:
        """What befalls this instance now, if anything."""
        matching = [rule for rule in self.rules if rule.on == on and rule.instance in ("", instance_id)]
        hits = [rule for rule in matching if rule.due()]
        return hits[0] if hits else None


def refusal(rule: Fault) -> Answer:
    """The answer that a rule with a status gives."""
    body = {"error": {"code": rule.code, "message": rule.message}} if rule.body is None else rule.body
    wait = {} if rule.retry_after is None else {"Retry-After": f"{rule.retry_after:g}"}
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
