"""Text from outside, read without loss or refused: JSON, numbers, and whatever else a parser of Python takes. PURE.

A parser raises more than ValueError: RecursionError for what is nested deeply, OverflowError for what is huge,
UnicodeError for what is no text. Each function here takes the error that its caller raises instead, so that nobody
lists those by hand. Nothing else of the package is imported, so every room may use this, the emulator's too.
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
DEEPEST = 100  # levels; the deepest model that was recorded has 13, and Python's own functions end at 1000
_NO_BRACKETS = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # from a level to the next, as signed bytes
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")

MakeError = Callable[[str], Exception]
Text = TypeVar("Text")
Value = TypeVar("Value")


def parse_json(text: str | bytes | bytearray, make_error: MakeError, what: str = "") -> Any:
    """The value of a JSON text, or the error that `make_error` makes of one line which says why there is none.

    `make_error` is a class of error or a function of one text; the line begins with `what` where that is there.
    Refused is what another reader would read differently, or what would break whoever works with it: a key that stands
    twice in an object, NaN and infinities, numbers beyond what a float holds, more than 100 levels, half a character
    (an unpaired surrogate), bytes that are not UTF-8. A byte order mark is skipped in bytes. The error holds nothing
    of the text but the name of a key or the first digits of a number.
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
    # Outside the except block: the parser's error holds the whole text, which may hold secrets.
    if why:
        raise make_error(f"{what}: {why}" if what else why)
    return value


def parse_with(parser: Callable[[Text], Value], text: Text, make_error: MakeError, what: str) -> Value:
    """What a parser makes of a text (`int`, `urlsplit`, ...), or the error that `make_error` makes of `what`.

    The error holds nothing of the text.
    """
    try:
        return parser(text)
    except PARSER_ERRORS as error:
        kind = type(error).__name__
    raise make_error(f"{what} cannot be read ({kind})")


def finite_number(
    value: object, make_error: MakeError, what: str, *, least: float = -1e300, most: float = 1e300
) -> float:
    """A number, or the text of one, as a float from `least` to `most`; else the error that `make_error` makes."""
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
    """Whether a JSON text ends before it is complete: in a string, or with brackets that are still open.

    What is nested too deeply to be read is not called unfinished: more of it would not help.
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
    """Whether a JSON text has more than `DEEPEST` levels, known before a parser recurses into them.

    C's stack is what a parser overflows in a thread, and that ends the process on Python 3.13.
    """
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    steps = memoryview(_skeleton(text)[1].translate(_STEPS)).cast("b")
    return max(accumulate(steps), default=0) > DEEPEST


def _skeleton(text: str) -> tuple[int, bytes]:
    """Whether a JSON text has an odd number of quotation marks (1 or 0), and its brackets outside strings.

    Strings without a bracket, most of them, are left out by one replacement, which keeps the count odd or even.
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
