"""Escape text for terminals and HTML, and build the HTML that plans, verdicts and heatmaps share. PURE.

Names, tags and messages are untrusted text; only this module turns text into markup.
"""

from collections.abc import Iterable, Sequence
from html import escape
from unicodedata import category

from ..errors import printable

_XML_FORBIDDEN = "\ufffe\uffff"
FRAME = (
    "color-scheme:light dark;background:Canvas;color:CanvasText;font:13px/1.4 system-ui,sans-serif;"
    "padding:8px;text-align:left"
)


def visible(text: object, longest: int = 200) -> str:
    """The text as one line, with control, bidirectional and invisible characters escaped, cut to `longest`."""
    line = printable(text, longest)
    if line.isascii():
        return line
    return "".join(char.encode("unicode_escape").decode() if _is_invisible(char) else char for char in line)


def listing(ids: Sequence[str]) -> str:
    """Ids as text: all of them up to 12, otherwise the first ten and the number of the others."""
    return ", ".join(ids) if len(ids) <= 12 else f"{', '.join(ids[:10])} and {len(ids) - 10} more"


def batches(count: int) -> str:
    """A number of batches as text."""
    return "1 batch" if count == 1 else f"{count} batches"


def _is_invisible(char: str) -> bool:
    return category(char) == "Cf" or char in _XML_FORBIDDEN


def escape_html(text: object, longest: int = 200) -> str:
    """The text as `visible` returns it, escaped for HTML text and for quoted attributes."""
    return escape(visible(text, longest), quote=True)


def card(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """A table of names and values as an HTML fragment."""
    cells = "".join(
        '<tr><th scope="row" style="text-align:left;vertical-align:top;padding:1px 12px 1px 0;font-weight:600">'
        f'{escape_html(name)}</th><td style="text-align:left;padding:1px 0">{escape_html(value, 2000)}</td></tr>\n'
        for name, value in rows
    )
    return (
        f'<div style="{FRAME}"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{escape_html(caption, 500)}</caption>\n'
        f"{cells}</table></div>\n"
    )


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with column headings as an HTML fragment."""
    style = 'style="text-align:left;vertical-align:top;padding:1px 16px 1px 0'
    head = "".join(f'<th scope="col" {style};font-weight:600">{escape_html(name)}</th>' for name in heads)
    cells = (
        "".join(f'<td {style};overflow-wrap:anywhere">{escape_html(text, 500)}</td>' for text in row) for row in rows
    )
    body = "".join(f"<tr>{row_cells}</tr>\n" for row_cells in cells)
    return (
        f'<div style="{FRAME}"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;font-weight:600;padding-bottom:4px">{escape_html(caption, 500)}</caption>\n'
        f"<tr>{head}</tr>\n{body}</table></div>\n"
    )
