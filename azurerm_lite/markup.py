"""Text made safe for a page, and the small pieces of HTML that plans, verdicts and heatmaps share. PURE.

Names, tags and messages are other people's text: here is the only place where they become markup.
"""

from collections.abc import Iterable, Sequence
from html import escape
from unicodedata import category

from .errors import printable

_XML_FORBIDS = "\ufffe\uffff"
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
FRAME = (
    "color-scheme:light dark;background:Canvas;color:CanvasText;font:13px/1.4 system-ui,sans-serif;"
    "padding:8px;text-align:left"
)


def visible(text: object, longest: int = 200) -> str:
    """One line in which nothing hides: control, bidirectional and invisible characters are shown as escapes."""
    line = printable(text, longest)
    if line.isascii():
        return line
    return "".join(one.encode("unicode_escape").decode() if _hides(one) else one for one in line)


def listing(ids: Sequence[str]) -> str:
    """Some ids in words: all of a few, the first ten of many."""
    return ", ".join(ids) if len(ids) <= 12 else f"{', '.join(ids[:10])} and {len(ids) - 10} more"


def batches(count: int) -> str:
    """So many batches, in words."""
    return "1 batch" if count == 1 else f"{count} batches"


def _hides(one: str) -> bool:
    return category(one) == "Cf" or one in _XML_FORBIDS


def escaped(text: object, longest: int = 200) -> str:
    """The same, for between tags and for inside quoted attributes."""
    return escape(visible(text, longest), quote=True)


def card(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of two columns as an HTML fragment: what it is called, and what it is."""
    cells = "".join(
        '<tr><th scope="row" style="text-align:left;vertical-align:top;padding:1px 12px 1px 0;font-weight:600">'
        f'{escaped(name)}</th><td style="text-align:left;padding:1px 0">{escaped(value, 2000)}</td></tr>\n'
        for name, value in rows
    )
    return (
        f'<div style="{FRAME}"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{escaped(caption, 500)}</caption>\n'
        f"{cells}</table></div>\n"
    )


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line of heads, as an HTML fragment."""
    place = 'style="text-align:left;vertical-align:top;padding:1px 16px 1px 0'
    head = "".join(f'<th scope="col" {place};font-weight:600">{escaped(name)}</th>' for name in heads)
    cells = (("".join(f'<td {place};overflow-wrap:anywhere">{escaped(one, 500)}</td>' for one in row)) for row in rows)
    body = "".join(f"<tr>{one}</tr>\n" for one in cells)
    return (
        f'<div style="{FRAME}"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{escaped(caption, 500)}</caption>\n'
        f"<tr>{head}</tr>\n{body}</table></div>\n"
    )


def page(title: str, body: str) -> str:
    """A whole HTML page around a fragment. It may load nothing and run nothing."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">\n'
        f'<title>{escaped(title)}</title></head>\n<body style="margin:0">\n{body}</body></html>\n'
    )
