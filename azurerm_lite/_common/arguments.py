"""Check the arguments of public functions before anything is read or sent. PURE.

Each function returns the value with its type narrowed, or raises an InvalidInput that names the argument.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import InvalidInput, printable, short_repr

_SURROGATE = re.compile("[\ud800-\udfff]")


def sequence(value: object, name: str, example: str) -> tuple[Any, ...]:
    """The items of an iterable as a tuple; strings, bytes and mappings are refused.

    A caller may pass a bare string in place of a list of one, and its letters would be taken for items. `example`: a
    valid value for the message.
    """
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise InvalidInput(f"{name} must be a sequence such as {example}, not the bare value {short_repr(value)}")
    return tuple(value)


def switch(value: object, name: str) -> bool:
    """True or False; other values are refused, since "no" would count as true."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False, not {short_repr(value)}")
    return value


def whole_number(value: object, name: str, least: int, most: int, unit: str) -> int:
    """An integer from `least` to `most`, not a bool. `unit`: what it counts, for the message."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name} must be {unit}, from {least} to {most}, not {short_repr(value)}")
    return value


def seconds(value: object, name: str, most: float = 10_000_000) -> float:
    """A number of seconds from 0 to below `most`, not NaN and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < most:
        raise InvalidInput(f"{name} must be a number of seconds, 0 or more, not {short_repr(value)}")
    return value


def json_object(value: object, name: str) -> Mapping[str, Any]:
    """A mapping whose keys are strings. The error shows no value, since a body may hold passwords."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        kind = "one with other keys" if isinstance(value, Mapping) else f"a {printable(type(value).__name__, 80)}"
        raise InvalidInput(f"{name} must be an object, as a dict with texts as keys, and it is {kind}")
    return value


def word(value: object, name: str, known: Iterable[str]) -> str:
    """One of the strings in `known`."""
    words = tuple(known)
    if not isinstance(value, str) or value not in words:
        raise InvalidInput(f"{name} must be one of {', '.join(words)}, not {short_repr(value)}")
    return value


def text(value: object, name: str, longest: int = 200, *, least: int = 1) -> str:
    """A string of `least` to `longest` characters without unpaired surrogates."""
    if not isinstance(value, str) or not least <= len(value) <= longest or _SURROGATE.search(value):
        raise InvalidInput(f"{name} must be a text of {least} to {longest} characters, not {short_repr(value)}")
    return value


def typed(kind: Any, /, **values: object) -> None:
    """Raise InvalidInput unless each value is of this type. The error shows no value: it may be a secret."""
    for name, value in values.items():
        if not isinstance(value, kind):
            expected = "function" if kind is Callable else getattr(kind, "__name__", str(kind))
            raise InvalidInput(f"{name} must be a {expected}, not a {printable(type(value).__name__, 80)}")


def environment(env: object) -> Mapping[str, str]:
    """The environment itself: a mapping of strings to strings. The error shows no value."""
    if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
        raise InvalidInput("env must be a mapping of texts to texts, as os.environ is, or None")
    return env
