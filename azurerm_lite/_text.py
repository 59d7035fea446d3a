"""Turn values into text for people: printable, of limited length, with units. PURE."""

import re

# C0 and C1 controls, bidirectional overrides and line separators, with which a server's text could control a terminal.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
LONGEST_TEXT = 2000


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """The text as one line that is safe to print or log: control characters escaped, cut to `longest`."""
    raw = text if isinstance(text, str) else str(text)
    line = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), raw[: longest + 1])
    return line if len(line) <= longest else line[:longest] + "…"


def first_line(error: BaseException, longest: int = 300) -> str:
    """The first line of an error's message, safe to print."""
    return printable(str(error).partition("\n")[0], longest)


def short_repr(value: object, longest: int = 80) -> str:
    """The repr of any value, cut and printable, for an error message."""
    try:
        text = repr(value)
    except Exception:  # such as a number of 5,000 digits, a list that holds itself, or a repr that raises
        text = f"a {type(value).__name__} that cannot be shown"
    return printable(text, longest)


def plain(value: object, longest: int = LONGEST_TEXT) -> str:
    """A string as it is, any other value as its repr; cut and printable."""
    return printable(value, longest) if isinstance(value, str) else short_repr(value, longest)


def duration(seconds: float) -> str:
    """Seconds as text: `17 s`, `1200 s (20 min)`."""
    minutes = f" ({seconds / 60:.0f} min)" if seconds >= 120 else ""
    return f"{seconds:.15g} s{minutes}"
