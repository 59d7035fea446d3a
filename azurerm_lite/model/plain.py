"""Functions on plain JSON: look up a path, compare, merge, and refuse values that JSON cannot hold. PURE."""

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
    """Decorate a function so that it raises InvalidInput for values that JSON cannot hold, such as endless nesting.

    Its errors show no value of the model, which may hold passwords.
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
    """A copy of an object, and of objects in it, without the keys whose value is None."""
    if not isinstance(value, Mapping):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def is_no_zone(zones: Json) -> bool:
    """Whether a `zones` list contains no zone; Azure shows `[null]` for instances of regional Flexible sets."""
    return isinstance(zones, list) and all(zone is None for zone in zones)


def is_no_identity(identity: Json) -> bool:
    """Whether an `identity` object stands for no identity: it is empty, or of type None."""
    return isinstance(identity, Mapping) and (not identity or str(identity.get("type", "")).lower() == "none")


def region(place: str) -> str:
    """A region in the form in which Azure compares it: `East US` is eastus."""
    return place.replace(" ", "").lower()


def at(value: Json, path: Path, default: Json = None) -> Json:
    """The value at a path of keys, or `default`."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def is_same(a: Json, b: Json) -> bool:
    """Whether two values are the same JSON: True is not 1."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(is_same(*pair) for pair in zip(a, b, strict=True))
    return a is b or (type(a) is type(b) and bool(a == b))


@json_only
def apply_merge_patch(model: Json, patch: Json) -> Json:
    """Apply a JSON merge patch (RFC 7396) and return the new model."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(model) if isinstance(model, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def with_text_keys(value: Json) -> Json:
    """A copy of a value in which the keys of all objects are strings."""
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(inner) for key, inner in value.items()}
    return [with_text_keys(inner) for inner in value] if isinstance(value, list | tuple) else value
