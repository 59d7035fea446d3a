"""Plain JSON: places in it, whether two values are the same, and what is refused because no JSON holds it. PURE."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from .._common.parsing import PARSER_ERRORS
from .._common.secrecy import clear_frames
from ..errors import InvalidInput
from ..types import Json

Path = tuple[str | int, ...]
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def json_only(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """The function, with InvalidInput for what no JSON document holds: endless nesting, numbers of 5,000 digits.

    What it raises shows no value of the model, which may hold passwords.
    """

    @functools.wraps(function)
    def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            args, kwargs = (), {}  # type: ignore[assignment]
            clear_frames(error)
            if isinstance(error, InvalidInput) or not isinstance(error, PARSER_ERRORS):
                raise
            raise InvalidInput(f"a model must be plain JSON, and this is none ({type(error).__name__})") from None

    return guarded


class _Missing:
    def __repr__(self) -> str:
        return "(none)"


MISSING: Any = _Missing()


def without_nulls(value: Json) -> Json:
    if not isinstance(value, Mapping):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def is_no_zone(zones: Json) -> bool:
    """Whether a `zones` list names no zone: lists of regional Flexible sets show `[null]`."""
    return isinstance(zones, list) and all(zone is None for zone in zones)


def is_no_identity(identity: Json) -> bool:
    return isinstance(identity, Mapping) and (not identity or str(identity.get("type", "")).lower() == "none")


def region(place: str) -> str:
    return place.replace(" ", "").lower()


def at(value: Json, path: Path, default: Json = None) -> Json:
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def is_same(a: Json, b: Json) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(is_same(*pair) for pair in zip(a, b, strict=True))
    return a is b or (type(a) is type(b) and bool(a == b))


@json_only
def merged(model: Json, patch: Json) -> Json:
    """What a model is after a JSON merge: RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(model) if isinstance(model, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def with_text_keys(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(inner) for key, inner in value.items()}
    return [with_text_keys(inner) for inner in value] if isinstance(value, list | tuple) else value
