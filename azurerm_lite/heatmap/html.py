"""A grid as HTML and SVG that need nothing else: no script, no style sheet, no font, no image.

All text goes through `markup.escaped`. What the picture says by colour it says by sign, and a tooltip says the rest.
"""

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import InvalidInput
from ..markup import FRAME, escaped, page
from .grid import Cell, Grid, Panel
from .lines import domain_name, panel_name

ACROSS = 10  # signs side by side in one cell
# Written once for each of a thousand instances: what can be said of the table is said there.
_SIGN = "padding:0 3px;"
_HEAD = 'style="text-align:left;vertical-align:top;font-weight:400;padding:2px 8px 2px 0;white-space:nowrap"'
_CELL = "text-align:left;vertical-align:top;padding:3px;border:1px solid GrayText"
_NOTHING = '<td style="border:1px solid GrayText"></td>'
_FONT = "font:11px/1.5 ui-monospace,monospace;word-spacing:-4px;border-collapse:collapse"
PITCH, PAD, LABEL, WIDE = 16, 6, 44, 1200


def fragment(grid: Grid) -> str:
    """The picture as a piece of HTML, for a notebook or a page of one's own."""
    panels = "\n".join(_panel(panel, grid) for panel in grid.panels)
    return (
        f'<div style="{FRAME}">\n<div style="font-weight:600">{escaped(grid.caption, 500)}</div>\n'
        f"{panels}\n{_legend(grid)}</div>\n"
    )


def whole(grid: Grid) -> str:
    """The picture as a page."""
    return page(grid.caption, fragment(grid))


def save(grid: Grid, path: str | Path) -> None:
    """The picture in a file, .html or .svg by its name."""
    target = Path(path)
    make = {".html": whole, ".htm": whole, ".svg": svg}.get(target.suffix.lower())
    if make is None:
        raise InvalidInput(f"a heatmap is saved as .html or .svg, not as {target.name!r}")
    target.write_text(make(grid), encoding="utf-8", newline="\n")


def tooltip(cell: Cell) -> str:
    """What a tooltip says of an instance: id, power, health, provisioning, model and version. Not escaped."""
    facts = [
        cell.power or "power unknown",
        f"health {cell.health}" if cell.health else "no health report",
        cell.provisioning,
        "latest model" if cell.latest else "behind the model",
        _short(cell.version),
        "protected" if cell.protected else "",
    ]
    return f"{_short(cell.instance_id)}: {', '.join(_short(fact) for fact in facts if fact)}"


def _short(text: str) -> str:
    """The end of a long text, which is where ids differ."""
    return text if len(text) <= 32 else f"…{text[-31:]}"


def _panel(panel: Panel, grid: Grid) -> str:
    head = "" if _sparse(panel) else f" {_HEAD}"
    heads = "".join(f'<th scope="col"{head}>FD {domain_name(column)}</th>' for column in panel.columns)
    rows = "".join(_row(panel, row, grid) for row in panel.rows)
    name = panel_name(panel, grid)
    caption = f'<caption style="text-align:left;padding-bottom:2px">{escaped(name)}</caption>' if name else ""
    return (
        '<div style="display:inline-block;vertical-align:top;margin:8px 24px 0 0">'
        f'<table style="{_FONT}">{caption}<tr><td></td>{heads}</tr>\n{rows}</table></div>'
    )


def _row(panel: Panel, row: int | None, grid: Grid) -> str:
    """One update domain. In a sparse panel empty neighbours are one: a thousand domains would make a million cells."""
    sparse = _sparse(panel)
    cells = ""
    for empty, run in groupby(panel.columns, lambda column: (row, column) not in panel.places):
        columns = list(run)
        if empty:
            cells += f'<td colspan="{len(columns)}"></td>' if sparse else _NOTHING * len(columns)
        else:
            cells += "".join(_filled(panel.places[row, column], grid, plain=sparse) for column in columns)
    head = "" if sparse else f" {_HEAD}"
    return f'<tr><th scope="row"{head}>UD {domain_name(row)}</th>{cells}</tr>\n'


def _sparse(panel: Panel) -> bool:
    """Whether most of its cells are empty: then what is written for each row and column is kept short."""
    return len(panel.rows) * len(panel.columns) > 4 * len(panel.places) + 20


def _filled(cells: tuple[Cell, ...], grid: Grid, *, plain: bool) -> str:
    if plain:
        return f"<td>{' '.join(_sign(cell, grid) for cell in cells)}</td>"
    wide = f";min-width:{ACROSS * 15}px;max-width:{ACROSS * 16}px" if len(cells) > ACROSS else ""
    return f'<td style="{_CELL}{wide}">{" ".join(_sign(cell, grid) for cell in cells)}</td>'


def _sign(cell: Cell, grid: Grid) -> str:
    look = grid.look(cell.state)
    style = f"{_SIGN}background:{look.colour};color:{look.ink}"
    return f'<b style="{style}" title="{escaped(tooltip(cell), 400)}">{look.sign}</b>'


def _legend(grid: Grid) -> str:
    entries = []
    for state, count in grid.counts.items():
        look = grid.look(state)
        sign = f'<b style="{_SIGN}background:{look.colour};color:{look.ink};font:bold 11px monospace">{look.sign}</b>'
        entries.append(f'<span style="margin-right:16px;white-space:nowrap">{sign} {escaped(state, 40)} {count}</span>')
    return f'<div style="margin-top:8px">{" ".join(entries) or "no instances"}</div>\n'


class _Drawn(NamedTuple):
    """A part of the SVG, and the room it takes."""

    markup: str
    width: int
    height: int


def svg(grid: Grid) -> str:
    """The picture as an SVG image, dark on white, for a README or a ticket."""
    body, width, height = _shelved([_drawn_panel(panel, grid) for panel in grid.panels])
    legend = _drawn_legend(grid)
    width, top = max(width, legend.width, 9 * len(grid.caption)) + 2 * PAD, 28
    height = top + height + legend.height + 2 * PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" font-family="ui-monospace,monospace" font-size="11">\n'
        f"<title>{escaped(grid.caption, 500)}</title>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        f'<text x="{PAD}" y="18" font-family="system-ui,sans-serif" font-size="13" font-weight="600">'
        f"{escaped(grid.caption, 500)}</text>\n"
        f'<g transform="translate({PAD},{top})">\n{body}</g>\n'
        f'<g transform="translate({PAD},{height - legend.height - PAD})">{legend.markup}</g>\n</svg>\n'
    )


def _shelved(drawn: list[_Drawn]) -> _Drawn:
    """Panels side by side, and below when the line is full."""
    body, x, y, widest, tallest = "", 0, 0, 0, 0
    for one in drawn:
        if x and x + one.width > WIDE:
            x, y, tallest = 0, y + tallest, 0
        body += f'<g transform="translate({x},{y})">{one.markup}</g>\n'
        x += one.width
        widest, tallest = max(widest, x), max(tallest, one.height)
    return _Drawn(body, widest, y + tallest)


def _drawn_panel(panel: Panel, grid: Grid) -> _Drawn:
    across = min(ACROSS, max(map(len, panel.places.values())))
    step = max(across * PITCH + PAD, LABEL)
    parts = [f'<text y="11">{escaped(panel_name(panel, grid))}</text>']
    for number, column in enumerate(panel.columns):
        parts.append(f'<text x="{LABEL + number * step}" y="27">FD {domain_name(column)}</text>')
    y = 32
    for row in panel.rows:
        parts.append(f'<text y="{y + 13}">UD {domain_name(row)}</text>')
        tallest = 1
        for number, column in enumerate(panel.columns):
            found = panel.places.get((row, column), ())
            parts += [_square(one, grid, LABEL + number * step, y, index) for index, one in enumerate(found)]
            tallest = max(tallest, -(-len(found) // ACROSS))
        y += tallest * PITCH + PAD
    return _Drawn("\n".join(parts), LABEL + len(panel.columns) * step + 3 * PAD, y + PAD)


def _square(cell: Cell, grid: Grid, left: int, top: int, index: int) -> str:
    look = grid.look(cell.state)
    x, y = left + index % ACROSS * PITCH, top + index // ACROSS * PITCH
    return f"<g><title>{escaped(tooltip(cell), 400)}</title>{_mark(look.sign, look.colour, look.ink, x, y)}</g>"


def _mark(sign: str, colour: str, ink: str, x: int, y: int) -> str:
    side = PITCH - 1
    fill = f' fill="{ink}"' if ink != "#000" else ""
    return (
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{colour}"/>'
        f'<text x="{x + 4}" y="{y + 12}"{fill}>{sign}</text>'
    )


def _drawn_legend(grid: Grid) -> _Drawn:
    parts, x, y, widest = [], 0, 0, 0
    for state, count in grid.counts.items():
        look, words = grid.look(state), f"{state[:40]} {count}"
        width = PITCH + PAD + 7 * len(words) + 3 * PAD
        if x and x + width > WIDE:
            x, y = 0, y + PITCH + PAD
        parts.append(_mark(look.sign, look.colour, look.ink, x, y))
        parts.append(f'<text x="{x + PITCH + PAD}" y="{y + 12}">{escaped(words)}</text>')
        x += width
        widest = max(widest, x)
    return _Drawn("".join(parts) or '<text y="12">no instances</text>', widest, y + PITCH + PAD)
