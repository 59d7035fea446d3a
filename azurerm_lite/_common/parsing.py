"""Parse JSON, numbers and other text from outside: without loss, or refuse it. PURE.

Python's parsers raise more than ValueError: RecursionError for deep nesting, OverflowError for huge numbers,
UnicodeError for invalid bytes. Each function here turns all of them into the error that its caller chooses. This module
imports nothing of the package, so that every module may use it, those of the emulator too.
https://www.rfc-editor.org/rfc/rfc8259
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVar

PARSER_ERRORS = (ValueError, RecursionError, OverflowError)  # UnicodeError is a ValueError
DEEPEST = 100  # levels; the deepest recorded model has 13, and Python's own recursion limit is 1000
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1 level, as signed bytes
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")

MakeError = Callable[[str], Exception]
Text = TypeVar("Text")
Value = TypeVar("Value")


def parse_json(text: str | bytes | bytearray, make_error: MakeError, what: str = "") -> Any:
    """Parse JSON text. Raises: `make_error(reason)` when it is invalid.

    `make_error`: an error class or a function of one string. `what`: the beginning of the reason. Also refused is JSON
    that other parsers would read differently or that cannot be written again: a repeated key in an object, NaN and
    infinities, numbers beyond a float, more than 100 levels, unpaired surrogates, bytes that are not UTF-8. In bytes a
    byte order mark is skipped. The reason contains nothing of the text except the name of a repeated key or the first
    digits of a number, since the text may hold secrets.
    """
    try:
        plain = text if isinstance(text, str) else _as_text(text)
        value = None if (why := _TOO_DEEP if _is_deep(plain) else "") else _DECODER.decode(plain)
        why = why or (_HALF if _has_half_characters(value, plain) else "")
    except json.JSONDecodeError as error:
        value, why = None, f"{error.msg} at character {error.pos}"
    except UnicodeError:
        value, why = None, "the bytes are not UTF-8"
    except RecursionError:
        value, why = None, _TOO_DEEP
    except PARSER_ERRORS as error:
        value, why = None, str(error)[:120]
    # Raised outside the except block: the parser's error holds the whole text, which may hold secrets.
    if why:
        raise make_error(f"{what}: {why}" if what else why)
    return value


def parse_with(parser: Callable[[Text], Value], text: Text, make_error: MakeError, what: str) -> Value:
    """The result of `parser(text)`. Raises: `make_error(reason)` when the parser fails; the reason holds no text."""
    try:
        return parser(text)
    except PARSER_ERRORS as error:
        kind = type(error).__name__
    raise make_error(f"{what} cannot be read ({kind})")


def finite_number(
    value: object, make_error: MakeError, what: str, *, least: float = -1e300, most: float = 1e300
) -> float:
    """A number, or a string with one, as a float from `least` to `most`. Raises: `make_error(reason)` otherwise."""
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except PARSER_ERRORS:
            number = math.nan
    if not least <= number <= most:
        raise make_error(f"{what} is not a number from {least:g} to {most:g}")
    return number


_TOO_DEEP = f"nested more than {DEEPEST} levels deep"
_HALF = "a string holds half a character (an unpaired surrogate)"


def is_unfinished(data: bytes) -> bool:
    """Whether a JSON text ends inside a string or before all brackets are closed.

    A text that is nested too deeply to be parsed does not count as unfinished.
    """
    text = data.decode("utf-8", "replace")
    odd, brackets = _skeleton(text)
    openings = brackets.count(b"[") + brackets.count(b"{")
    return (odd == 1 or 2 * openings > len(brackets)) and not _is_deep(text)


def _as_text(data: object) -> str:
    if not isinstance(data, bytes | bytearray):
        raise ValueError(f"{type(data).__name__} is neither text nor bytes")
    return data.decode("utf-8-sig")


def _is_deep(text: str) -> bool:
    """Whether a JSON text has more than `DEEPEST` levels, without recursion.

    On Python 3.13 a parser that recurses too deeply in a thread overflows C's stack, which ends the process.
    """
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    steps = memoryview(_skeleton(text)[1].translate(_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > DEEPEST


def _skeleton(text: str) -> tuple[int, bytes]:
    """1 or 0 for an odd or even number of quotation marks in a JSON text, and its brackets outside strings.

    Most strings have no bracket: they are dropped first, in pairs of quotation marks.
    """
    data = text.encode("utf-8", "surrogatepass")
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = data.translate(None, _NO_BRACKETS).replace(b'""', b"").split(b'"')
    return (len(pieces) - 1) % 2, b"".join(pieces[::2])


def _has_half_characters(value: Any, text: str) -> bool:
    doubtful = _HALF_CHARACTER.search(text) or not _is_encodable(text)
    return bool(doubtful) and not _is_encodable(json.dumps(value, ensure_ascii=False))


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeError:
        return False
    return True


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _int(digits: str) -> int:
    if len(digits.lstrip("-")) > 308:
        raise ValueError(f"{digits[:20]}... is too large a number")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {ascii(counts.most_common(1)[0][0])[:80]} stands twice in one object")
    return entries


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_int, object_pairs_hook=_unique)
