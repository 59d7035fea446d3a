"""Text from outside on one line that is safe to print or log. PURE."""

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
