"""The bytes of a JSON body, read: what Azure's reader refuses is refused."""

import json
import math
from typing import Any

DEEPEST = 128  # levels, as Azure's reader takes them


def parse(data: bytes) -> Any:
    """The JSON in these bytes; ValueError for what no JSON reader takes.

    Refused beside broken JSON: NaN and Infinity, numbers beyond a double, lone surrogates, more than 128 levels.
    """
    try:
        value = json.loads(
            data.decode(json.detect_encoding(data)), parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("too many levels") from None
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, which is a ValueError
    if data.count(b"[") + data.count(b"{") > DEEPEST and _depth(value) > DEEPEST:
        raise ValueError("too many levels")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _depth(value: Any) -> int:
    """How many levels of objects and lists there are, up to one more than may be."""
    level, depth = [value], 0
    while level and depth <= DEEPEST:
        inner = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [item for items in inner if isinstance(items, list) for item in items]
        depth += 1
    return depth
