"""Values as text for people: printable, bounded, with their units. PURE."""

import re

# C0 and C1 controls, bidirectional overrides and line separators: text from servers must not steer a terminal or a log.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
LONGEST_TEXT = 2000


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """One line that is safe to print or log: control characters escaped, length bounded."""
    raw = text if isinstance(text, str) else str(text)
    line = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), raw[: longest + 1])
    return line if len(line) <= longest else line[:longest] + "…"


def first_line(error: BaseException, longest: int = 300) -> str:
    """The first line of what an error says, safe to print."""
    return printable(str(error).partition("\n")[0], longest)


def short_repr(value: object, longest: int = 80) -> str:
    """How a value reads in an error: its repr, bounded and printable, whatever the value is."""
    try:
        text = repr(value)
    except Exception:  # a number of 5,000 digits, a list within itself, a repr of the caller's own
        text = f"a {type(value).__name__} that cannot be shown"
    return printable(text, longest)


def plain(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text as it is, and anything else as its repr; bounded and printable."""
    return printable(value, longest) if isinstance(value, str) else short_repr(value, longest)


def duration(seconds: float) -> str:
    """Seconds in words: `17 s`, `1200 s (20 min)`."""
    minutes = f" ({seconds / 60:.0f} min)" if seconds >= 120 else ""
    return f"{seconds:.15g} s{minutes}"
