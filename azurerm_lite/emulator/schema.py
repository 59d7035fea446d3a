"""What a request's body may hold: a table made from the published OpenAPI, and a body held against it. PURE.

The table, schemas/2024-07-01.json, is written by tools/make_schema.py. It has the type of the body of each operation,
and the properties of each type. The text of a property is its type and marks after it:

    string, boolean, integer, int64, number
    object               of anything; a text in its place is taken too, as recorded of the settings of an extension
    =Manual|Rolling      one of these words, in any case
    Sku                  an object of that type
    [Sku], {string}      a list, a map of any names
    !                    required
    ~                    read-only: Azure ignores what a request says
    0..100               the least and the most; of a list, how many items
    @2021-03-01          since that version of the API

A number in quotation marks is a number and "true" is true, as in Azure, whose reader converts them.
"""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Literal, NamedTuple

Json = Any
Why = Literal["type", "value", "missing", "unknown"]
Fields = Mapping[str, str]

API_VERSION = "2024-07-01"
TABLE = Path(__file__).parent / "schemas" / f"{API_VERSION}.json"
_DIGITS = {"integer": 10, "int64": 19}  # no integer of this kind has more
_MOST = {"integer": 2**31 - 1, "int64": 2**63 - 1}
_WORDS = {"true": True, "false": False}
_MARKS = re.compile(r"(.*?)((?: (?:!|~|@[-0-9]+|[-0-9]*\.\.[-0-9]*))*)")  # words have blanks of their own
# Azure itself shows a null in this list: recorded of regional Flexible sets.
_NULL_IN = "zones"


class Misfit(Exception):
    """A part of a body that does not fit. `domain`: the type, or what values there are; `owner`: the type around it."""

    def __init__(self, why: Why, path: str, value: Json = None, *, domain: str = "", owner: str = "") -> None:
        super().__init__(f"{why} at {path or 'the body'}")
        self.why, self.path, self.value, self.domain, self.owner = why, path, value, domain, owner


class Rules(NamedTuple):
    """How strictly a body is judged.

    `partial`: a PATCH, in which nothing is required and a null erases. `values`: enumerations, ranges and required
    parts are judged, not types alone. `names`: a property that the type does not have, or not yet in `version`, is
    refused; otherwise it is kept.
    """

    partial: bool = False
    values: bool = True
    names: bool = False
    version: str = API_VERSION


class Spec(NamedTuple):
    """The text of a property, parsed. `kind`: type, list, map, enum or the name of a plain type."""

    kind: str
    inner: str = ""
    words: tuple[str, ...] = ()
    required: bool = False
    read_only: bool = False
    least: float = -math.inf
    most: float = math.inf
    since: str = ""


@functools.cache
def _table() -> Json:
    return json.loads(TABLE.read_text(encoding="utf-8"))


def types() -> Mapping[str, Fields]:
    """The properties of each type of the table."""
    types_: Mapping[str, Fields] = _table()["types"]
    return types_


def body_of(operation: str) -> str | None:
    """The text of the body of an operation, "PUT virtualMachineScaleSets/write"; None when it takes none."""
    return _operations().get(operation.lower())


@functools.cache
def _operations() -> Mapping[str, str]:
    return {name.lower(): text for name, text in _table()["operations"].items()}


@functools.cache
def parse_spec(text: str) -> Spec:
    """The text of a property or a body as a Spec."""
    kind, marks = _MARKS.fullmatch(text).groups()  # type: ignore[union-attr]
    spec = Spec(kind)
    if kind[0] == "=":
        spec = Spec("enum", words=tuple(kind[1:].split("|")))
    elif kind[0] in "[{":
        spec = Spec("list" if kind[0] == "[" else "map", kind[1:-1])
    elif kind in types():
        spec = Spec("type", kind)
    for mark in marks.split():
        if ".." in mark:
            least, most = (float(part) if part else math.inf for part in mark.split(".."))
            spec = spec._replace(least=-math.inf if least == math.inf else least, most=most)
        elif mark[0] == "@":
            spec = spec._replace(since=mark[1:])
        else:
            spec = spec._replace(required=spec.required or mark == "!", read_only=spec.read_only or mark == "~")
    return spec


def fit(body: Json, text: str, rules: Rules) -> Json:
    """The body as Azure takes it, or a Misfit: converted, without what is read-only and without nulls that say nothing.

    text: of the body, from `body_of`. The body itself is not changed.
    """
    return _fit(body, parse_spec(text), "", rules)


def rules_for(method: str, api_version: str, *, names: bool) -> Rules:
    """The rules for a request: those of PATCH, and of versions of the API newer than the table, are looser.

    names: whether a property that the type does not have is refused.
    """
    newer = api_version[:10] > API_VERSION
    return Rules(method == "PATCH", not newer, names and not newer, api_version[:10])


def _fit(value: Json, spec: Spec, path: str, rules: Rules) -> Json:
    if spec.kind == "type":
        return _object(value, spec.inner, path, rules)
    if spec.kind == "list":
        return _list(value, spec, path, rules)
    if spec.kind == "map":
        return _map(value, spec, path, rules)
    if spec.kind == "enum":
        return _word(value, spec, path, rules)
    return _plain(value, spec, path, rules)


def _object(value: Json, name: str, path: str, rules: Rules) -> dict[str, Json]:
    if not isinstance(value, Mapping):
        raise Misfit("type", path, value, domain=name)
    fields, result = types()[name], {}
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        if key not in fields or parse_spec(fields[key]).since > rules.version:
            if rules.names:
                raise Misfit("unknown", where, owner=name)
            if key not in fields:
                result[key] = inner
                continue
        spec = parse_spec(fields[key])
        if inner is None:
            result |= _null(key, spec, where, rules)
        elif not spec.read_only:
            result[key] = _fit(inner, spec, where, rules)
    if rules.values and not rules.partial:
        for key in _required(name):
            if key not in result:
                raise Misfit("missing", f"{path}.{key}" if path else key)
    return result


def _null(key: str, spec: Spec, path: str, rules: Rules) -> dict[str, Json]:
    """What a null says: it erases in a PATCH and in what is free, and stands for a value not given elsewhere."""
    if spec.read_only:
        return {}
    if spec.required:
        if rules.partial or not rules.values:
            return {}
        raise Misfit("missing", path)
    return {key: None} if rules.partial or spec.kind in ("object", "map") else {}


@functools.cache
def _required(name: str) -> tuple[str, ...]:
    return tuple(key for key, text in types()[name].items() if parse_spec(text).required)


def _list(value: Json, spec: Spec, path: str, rules: Rules) -> list[Json]:
    if not isinstance(value, list):
        raise Misfit("type", path, value, domain=f"list of {spec.inner}")
    _check_count(value, spec, path)
    return list(_items(value, parse_spec(spec.inner), path, rules))


def _check_count(value: Sized, spec: Spec, path: str) -> None:
    """Raise Misfit for more items than there may be: in no version of the API, so whatever the rules."""
    if not spec.least <= len(value) <= spec.most:
        raise Misfit("value", path, len(value), domain=f"{spec.least:g} to {spec.most:g} items")


def _items(value: list[Json], spec: Spec, path: str, rules: Rules) -> Iterator[Json]:
    for number, item in enumerate(value):
        if item is None and path == _NULL_IN:
            yield None
        else:
            yield _fit(item, spec, f"{path}[{number}]", rules)


def _map(value: Json, spec: Spec, path: str, rules: Rules) -> dict[str, Json]:
    if not isinstance(value, Mapping):
        raise Misfit("type", path, value, domain=f"map of {spec.inner}")
    _check_count(value, spec, path)
    item_spec = parse_spec(spec.inner)
    return {key: None if item is None else _fit(item, item_spec, f"{path}.{key}", rules) for key, item in value.items()}


def _word(value: Json, spec: Spec, path: str, rules: Rules) -> Json:
    """The word as Azure spells it."""
    if not isinstance(value, str):
        raise Misfit("type", path, value, domain="string")
    spelt = {_bare(word): word for word in spec.words}
    if _bare(value) not in spelt and rules.values:
        raise Misfit("value", path, value, domain=", ".join(spec.words))
    return spelt.get(_bare(value), value)


def _bare(word: str) -> str:
    """A word without case and blanks: `SystemAssigned,UserAssigned` is the word that Azure shows with a blank."""
    return word.replace(" ", "").lower()


def _plain(value: Json, spec: Spec, path: str, rules: Rules) -> Json:
    fits = _FITS[spec.kind](value)
    if fits is None:
        raise Misfit("type", path, value, domain=spec.kind)
    if rules.values and isinstance(fits, int | float) and not spec.least <= fits <= spec.most:
        raise Misfit("value", path, value, domain=f"{spec.least:g} to {spec.most:g}")
    return fits


def _whole(kind: str, value: Json) -> int | None:
    """A whole number, also one in quotation marks; None for what is none."""
    if isinstance(value, str) and re.fullmatch(rf"-?[0-9]{{1,{_DIGITS[kind]}}}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -_MOST[kind] - 1 <= value <= _MOST[kind] else None


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e308 else None


def _switch(value: Json) -> bool | None:
    if isinstance(value, str):
        return _WORDS.get(value.lower())
    return value if isinstance(value, bool) else None


_FITS: Mapping[str, Any] = {
    "string": lambda value: value if isinstance(value, str) else None,
    "boolean": _switch,
    "integer": functools.partial(_whole, "integer"),
    "int64": functools.partial(_whole, "int64"),
    "number": _number,
    "object": lambda value: value if isinstance(value, Mapping | str) else None,
}
