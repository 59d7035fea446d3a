"""The entries of a journal as data from outside: what each field may hold, and the seal that ties them together. PURE.

A journal may come from an artifact store or another machine. An entry of another shape is InvalidInput, which names
file and line, and is never a KeyError somewhere later. The seal shows that an entry was changed after it was written.
It is no signature: whoever may write the file can seal it anew, which is why the file's owner and mode are checked too.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, get_args

from ..._common.parsing import parse_json
from ...errors import InvalidInput, printable
from ...types import ScaleSet
from .entries import PASSING
from .policy import Policy
from .snapshot import HealthSource
from .state import ORDER, Outcome
from .verdict import Verdict

Entry = dict[str, Any]
SCHEMA = 2
SEAL = "seal"

_INSTANCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "begin": (
        *("at", "scale_set", "policy", "changes", "version", "batches", "warnings", "stages", "patch", "undo", "legs"),
        *("fingerprint_before", "fingerprint_after", "flexible", "takes_back", "ephemeral", "capacity", "zone_sizes"),
        *("unavailable", "known", "endpoint", "world", "paths"),
    ),
    "model-intent": ("at",),
    "model-written": ("at",),
    "intent": ("at", "ids", "vm_ids"),
    "unposted": ("at", "ids"),
    "posted": ("at",),
    "lost": ("at",),
    "stage": ("at", "name", "ids"),
    "trouble": ("at", "cause"),
    "ended": ("at",),
    "fit": ("at",),
    "relapsed": ("at",),
    "gate": ("at", "said", "ids"),
    "checkpoint": ("percent",),
    "shielded": ("ids", "batch"),
    "freed": ("ids",),
    "guarded": ("on",),
    "settled": ("at", "classes"),
    "stuck": ("since",),
    "leg": ("number",),
    "rollback": ("at", "legs"),
    "gap": ("at", "seconds"),
    "resumed": ("at",),
    "ending": ("outcome", "cause", "reason"),
    "end": ("verdict",),
}


def parse(line: bytes, where: str) -> Entry:
    """The entry in a line; InvalidInput, which begins with `where`, for anything else."""

    def refused(why: str) -> InvalidInput:
        return InvalidInput(f"{where} is no entry of an upgrade: {why}")

    entry = parse_json(line, lambda why: InvalidInput(f"{where} is not JSON ({why}): this journal cannot be resumed"))
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        raise refused("it is no object with a kind")
    if entry["kind"] == "begin" and entry.get("schema") != SCHEMA:
        return entry  # of another version, which is refused by that number when it is to be resumed
    if entry["kind"] in PASSING:
        raise refused(f"{entry['kind']} stands in no journal")
    if absent := [name for name in _NEEDED.get(entry["kind"], ()) if name not in entry]:
        raise refused(f"{printable(entry['kind'], 40)} has no {', '.join(absent)}")
    for name, value in entry.items():
        if name in _FIELDS and not _FIELDS[name](value):
            raise refused(f"{name} cannot be {printable(json.dumps(value), 80)}")
    return entry


# --- what a field may hold -------------------------------------------------------------------------------------------

Test = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9


def _is_instance_id(value: Any) -> bool:
    return isinstance(value, str) and _INSTANCE_ID.fullmatch(value) is not None


def _is_name(value: Any) -> bool:
    """Whether it can be the name of an instance as Azure lists it, even if no request could name it."""
    return isinstance(value, str) and 0 < len(value) <= 200


def _one_of(*words: str) -> Test:
    return lambda value: isinstance(value, str) and value in words


def _optional(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _mapping(key: Test, test: Test) -> Test:
    return lambda value: isinstance(value, dict) and all(key(name) and test(item) for name, item in value.items())


def _is_scale_set(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ScaleSet.parse(value))
    except InvalidInput:
        return False


def _is_policy(value: Any) -> bool:
    try:
        return isinstance(value, dict) and bool(Policy.from_dict(value))
    except InvalidInput:
        return False


def _is_verdict(value: Any) -> bool:
    names = {one.name for one in fields(Verdict)}
    if not isinstance(value, dict) or not _VERDICT_NEEDS <= set(value) <= names | {"counts"}:
        return False
    tests = {**_FIELDS, "batches": _is_count}
    return all(tests[name](item) for name, item in value.items() if name in tests)


def _is_leg(value: Any) -> bool:
    if not isinstance(value, dict) or not ({"patch", "undo"} & set(value)):
        return False
    return all(test(value[name]) for name, test in _LEG.items() if name in value)


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("image")) and _list(_is_name)(value.get("instances"))


_VERDICT_NEEDS = {"outcome", "reason", "classes", "version", "batches", "seconds"}
_LEG: Mapping[str, Test] = {
    **dict.fromkeys(("version", "image", "before", "after", "outline"), _is_text),
    **dict.fromkeys(("patch", "undo"), _is_object),
    "instances": _optional(_list(_is_instance_id)),
    "hidden": _is_switch,
}
_FIELDS: Mapping[str, Test] = {
    **dict.fromkeys(("at", "since", "seconds", "grace_seconds"), _is_number),
    **dict.fromkeys(("schema", "number", "capacity", "percent"), _is_count),
    **dict.fromkeys(("fit", "left", "lowest"), _optional(_is_count)),
    **dict.fromkeys(("took", "retry_after"), _optional(_is_number)),
    **dict.fromkeys(("ids", "batch", "request_ids"), _list(_is_instance_id)),
    **dict.fromkeys(("known", "unavailable", "stopped", "failed", "broken", "deallocated"), _list(_is_name)),
    **dict.fromkeys(("vm_ids", "changes", "warnings", "paths", "unreturnable"), _list(_is_text)),
    "stages": _list(_one_of(*ORDER)),
    **dict.fromkeys(("request", "name"), _one_of(*ORDER)),
    "said": _one_of("pass", "fail", "inconclusive"),
    "source": _one_of(*get_args(HealthSource)),
    "anew": _one_of("", "shown", "always"),
    "batches": _list(_list(_is_name)),
    "legs": _list(_is_leg),
    "images": _list(_is_image),
    **dict.fromkeys(("classes", "reasons", "failures"), _mapping(_is_name, _is_text)),
    "counts": _mapping(_is_text, _is_count),
    "zone_sizes": _mapping(_is_text, _is_count),
    **dict.fromkeys(("on", "canary", "flexible", "reports", "gated", "hosted"), _is_switch),
    **dict.fromkeys(("takes_back", "withheld", "ephemeral", "overdue", "returned", "found_again"), _is_switch),
    **dict.fromkeys(("error", "reason", "cause", "code", "version", "size", "outline", "endpoint", "world"), _is_text),
    **dict.fromkeys(("fingerprint", "fingerprint_before", "fingerprint_after"), _is_text),
    **dict.fromkeys(("request_id", "journal"), _optional(_is_text)),
    **dict.fromkeys(("patch", "undo"), _is_object),
    "outcome": _one_of(*get_args(Outcome)),
    "operation": _optional(_is_object),
    "scale_set": _is_scale_set,
    "policy": _is_policy,
    "verdict": _is_verdict,
}


# --- the seal --------------------------------------------------------------------------------------------------------


def sealed(entry: Mapping[str, Any], before: str) -> tuple[bytes, str]:
    """The line of an entry, which ends with its seal, and that seal. `before`: the seal of the entry before it."""
    entry = _readable(entry)
    seal = _seal_of(entry, before)
    return json.dumps({**entry, SEAL: seal}, separators=(",", ":"), allow_nan=False).encode() + b"\n", seal


def unsealed(entries: Iterator[tuple[str, Entry]]) -> Iterator[tuple[Entry, str]]:
    """Each entry without its seal, and that seal; InvalidInput for the first that was changed since it was written.

    `entries`: each with where it stands, for the message.
    """
    before = ""
    for where, entry in entries:
        bare = {name: value for name, value in entry.items() if name != SEAL}
        seal = _seal_of(bare, before)
        if entry.get(SEAL) != seal:
            raise InvalidInput(f"{where} was changed after it was written, or one before it was: plan the upgrade anew")
        before = seal
        yield bare, seal


def _readable(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry without half characters, which no reader would take."""
    text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return entry if text.isascii() else dict(json.loads(text.encode("utf-8", "replace")))


def _seal_of(entry: Mapping[str, Any], before: str) -> str:
    text = json.dumps([before, entry], separators=(",", ":"), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
