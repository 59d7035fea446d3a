"""Arguments of callers, checked before anything is read or sent: sequences, switches, numbers, texts. PURE.

Each function returns the value in the type that the caller works with, or raises InvalidInput that names the argument.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import InvalidInput, printable, short_repr

_SURROGATE = re.compile("[\ud800-\udfff]")


def sequence(value: object, name: str, example: str) -> tuple[Any, ...]:
    """The items of a list, a tuple, a set or another iterable; a text, bytes and a mapping are none of those.

    `example` is what the message shows as right. Raises InvalidInput for one bare value, which a caller easily passes
    in place of a sequence of one: a text would be taken apart into its letters.
    """
    if isinstance(value, str | bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise InvalidInput(f"{name} must be a sequence such as {example}, not the bare value {short_repr(value)}")
    return tuple(value)


def switch(value: object, name: str) -> bool:
    """A switch: True or False, and nothing that only counts as one ("no" would count as True)."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} must be True or False, not {short_repr(value)}")
    return value


def whole_number(value: object, name: str, least: int, most: int, unit: str) -> int:
    """A whole number from `least` to `most`; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name} must be {unit}, from {least} to {most}, not {short_repr(value)}")
    return value


def seconds(value: object, name: str, most: float = 10_000_000) -> float:
    """A number of seconds from 0 to below `most`; NaN, infinity, True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < most:
        raise InvalidInput(f"{name} must be a number of seconds, 0 or more, not {short_repr(value)}")
    return value


def json_object(value: object, name: str) -> Mapping[str, Any]:
    """A JSON object: a mapping with texts as keys. The error shows no value: a body may hold passwords."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        kind = "one with other keys" if isinstance(value, Mapping) else f"a {printable(type(value).__name__, 80)}"
        raise InvalidInput(f"{name} must be an object, as a dict with texts as keys, and it is {kind}")
    return value


def word(value: object, name: str, known: Iterable[str]) -> str:
    """One of the known words."""
    words = tuple(known)
    if not isinstance(value, str) or value not in words:
        raise InvalidInput(f"{name} must be one of {', '.join(words)}, not {short_repr(value)}")
    return value


def text(value: object, name: str, longest: int = 200, *, least: int = 1) -> str:
    """A text of `least` to `longest` characters, none of them half a character (an unpaired surrogate)."""
    if not isinstance(value, str) or not least <= len(value) <= longest or _SURROGATE.search(value):
        raise InvalidInput(f"{name} must be a text of {least} to {longest} characters, not {short_repr(value)}")
    return value


def typed(kind: Any, /, **values: object) -> None:
    """InvalidInput unless each value is of that type. The error shows no value: it may be a secret in a wrong place."""
    for name, value in values.items():
        if not isinstance(value, kind):
            expected = "function" if kind is Callable else getattr(kind, "__name__", str(kind))
            raise InvalidInput(f"{name} must be a {expected}, not a {printable(type(value).__name__, 80)}")


def environment(env: object) -> Mapping[str, str]:
    """Variables of an environment: a mapping of texts to texts. The error shows none of them."""
    if not isinstance(env, Mapping) or not all(isinstance(text, str) for pair in env.items() for text in pair):
        raise InvalidInput("env must be a mapping of texts to texts, as os.environ is, or None")
    return env
