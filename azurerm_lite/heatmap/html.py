"""A heatmap as self-contained HTML and SVG: no script, no style sheet, no font, no image.

All text goes through `markup.escape_html`. Each instance has a sign besides its color, and a tooltip with its details.
"""

from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from .._common import arguments
from .._common.markup import FRAME, escape_html
from ..errors import InvalidInput
from .cells import Cell, CellGrid, Panel, Style
from .lines import domain_name, panel_name

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
SIGNS_PER_LINE = 10  # in one cell
# Up to a thousand instances repeat these attributes, so the table has the common ones.
_SIGN = "padding:0 3px;"
_HEAD = 'style="text-align:left;vertical-align:top;font-weight:400;padding:2px 8px 2px 0;white-space:nowrap"'
_CELL = "text-align:left;vertical-align:top;padding:3px;border:1px solid GrayText"
_EMPTY = '<td style="border:1px solid GrayText"></td>'
_FONT = "font:11px/1.5 ui-monospace,monospace;word-spacing:-4px;border-collapse:collapse"
SIGN_SIZE, PADDING, LABEL_WIDTH, MAX_WIDTH = 16, 6, 44, 1200  # SVG, in pixels


def render_fragment(grid: CellGrid) -> str:
    """The heatmap as an HTML fragment, for a notebook or another page."""
    panels = "\n".join(_panel(panel, grid) for panel in grid.panels)
    return (
        f'<div style="{FRAME}">\n<div style="font-weight:600">{escape_html(grid.caption, 500)}</div>\n'
        f"{panels}\n{_legend(grid)}</div>\n"
    )


def render_page(grid: CellGrid) -> str:
    """The heatmap as a whole HTML page; its content security policy forbids scripts and external resources."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="color-scheme" content="light dark"><meta name="viewport" content="width=device-width">\n'
        f'<title>{escape_html(grid.caption)}</title></head>\n<body style="margin:0">\n'
        f"{render_fragment(grid)}</body></html>\n"
    )


def save(grid: CellGrid, path: str | Path) -> None:
    """Write the heatmap to an .html or .svg file; the suffix decides.

    Raises: InvalidInput for another suffix, OSError when the file cannot be written.
    """
    arguments.typed(str | Path, path=path)
    target = Path(path)
    render = {".html": render_page, ".htm": render_page, ".svg": render_svg}.get(target.suffix.lower())
    if render is None:
        raise InvalidInput(f"a heatmap is saved as .html or .svg, not as {target.name!r}")
    target.write_text(render(grid), encoding="utf-8", newline="\n")


def tooltip(cell: Cell) -> str:
    """The details of an instance in one line: id, power, health, provisioning, model, version. Not escaped."""
    facts = [
        cell.power or "power unknown",
        f"health {cell.health}" if cell.health else "no health report",
        cell.provisioning,
        "latest model" if cell.latest else "behind the model",
        _shorten(cell.version),
        "protected" if cell.protected else "",
    ]
    return f"{_shorten(cell.instance_id)}: {', '.join(_shorten(fact) for fact in facts if fact)}"


def _shorten(text: str) -> str:
    """The end of a long text, since ids differ at the end."""
    return text if len(text) <= 32 else f"…{text[-31:]}"


def _panel(panel: Panel, grid: CellGrid) -> str:
    head = "" if _sparse(panel) else f" {_HEAD}"
    heads = "".join(f'<th scope="col"{head}>FD {domain_name(column)}</th>' for column in panel.columns)
    rows = "".join(_row(panel, row, grid) for row in panel.rows)
    name = panel_name(panel, grid)
    caption = f'<caption style="text-align:left;padding-bottom:2px">{escape_html(name)}</caption>' if name else ""
    return (
        '<div style="display:inline-block;vertical-align:top;margin:8px 24px 0 0">'
        f'<table style="{_FONT}">{caption}<tr><td></td>{heads}</tr>\n{rows}</table></div>'
    )


def _row(panel: Panel, row: int | None, grid: CellGrid) -> str:
    """One update domain. A sparse panel merges adjacent empty cells: 1,000 domains would make a million of them."""
    sparse = _sparse(panel)
    cells = ""
    for empty, run in groupby(panel.columns, lambda column: (row, column) not in panel.cells):
        columns = list(run)
        if empty:
            cells += f'<td colspan="{len(columns)}"></td>' if sparse else _EMPTY * len(columns)
        else:
            cells += "".join(_filled_cell(panel.cells[row, column], grid, plain=sparse) for column in columns)
    head = "" if sparse else f" {_HEAD}"
    return f'<tr><th scope="row"{head}>UD {domain_name(row)}</th>{cells}</tr>\n'


def _sparse(panel: Panel) -> bool:
    """True if most cells are empty; rows and columns are then written without styles, to keep the page small."""
    return len(panel.rows) * len(panel.columns) > 4 * len(panel.cells) + 20


def _filled_cell(cells: tuple[Cell, ...], grid: CellGrid, *, plain: bool) -> str:
    if plain:
        return f"<td>{' '.join(_sign(cell, grid) for cell in cells)}</td>"
    wide = (
        f";min-width:{SIGNS_PER_LINE * 15}px;max-width:{SIGNS_PER_LINE * 16}px" if len(cells) > SIGNS_PER_LINE else ""
    )
    return f'<td style="{_CELL}{wide}">{" ".join(_sign(cell, grid) for cell in cells)}</td>'


def _sign(cell: Cell, grid: CellGrid) -> str:
    style = grid.style_of(cell.state)
    return f'<b style="{_css(style)}" title="{escape_html(tooltip(cell), 400)}">{style.sign}</b>'


def _css(style: Style) -> str:
    return f"{_SIGN}background:{style.color};color:{style.text_color}"


def _legend(grid: CellGrid) -> str:
    entries = []
    for state, count in grid.counts.items():
        style = grid.style_of(state)
        sign = f'<b style="{_css(style)};font:bold 11px monospace">{style.sign}</b>'
        entries.append(
            f'<span style="margin-right:16px;white-space:nowrap">{sign} {escape_html(state, 40)} {count}</span>'
        )
    return f'<div style="margin-top:8px">{" ".join(entries) or "no instances"}</div>\n'


class _SvgPart(NamedTuple):
    """A part of the SVG and its size in pixels."""

    markup: str
    width: int
    height: int


def render_svg(grid: CellGrid) -> str:
    """The heatmap as an SVG image, dark on white, for a README or a ticket."""
    body, width, height = _svg_shelves([_svg_panel(panel, grid) for panel in grid.panels])
    legend = _svg_legend(grid)
    width, top = max(width, legend.width, 9 * len(grid.caption)) + 2 * PADDING, 28
    height = top + height + legend.height + 2 * PADDING
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'role="img" font-family="ui-monospace,monospace" font-size="11">\n'
        f"<title>{escape_html(grid.caption, 500)}</title>\n"
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        f'<text x="{PADDING}" y="18" font-family="system-ui,sans-serif" font-size="13" font-weight="600">'
        f"{escape_html(grid.caption, 500)}</text>\n"
        f'<g transform="translate({PADDING},{top})">\n{body}</g>\n'
        f'<g transform="translate({PADDING},{height - legend.height - PADDING})">{legend.markup}</g>\n</svg>\n'
    )


def _svg_shelves(parts: list[_SvgPart]) -> _SvgPart:
    """Parts side by side; a part that does not fit starts a new shelf."""
    body, x, y, widest, tallest = "", 0, 0, 0, 0
    for part in parts:
        if x and x + part.width > MAX_WIDTH:
            x, y, tallest = 0, y + tallest, 0
        body += f'<g transform="translate({x},{y})">{part.markup}</g>\n'
        x += part.width
        widest, tallest = max(widest, x), max(tallest, part.height)
    return _SvgPart(body, widest, y + tallest)


def _svg_panel(panel: Panel, grid: CellGrid) -> _SvgPart:
    signs = min(SIGNS_PER_LINE, max(map(len, panel.cells.values())))
    step = max(signs * SIGN_SIZE + PADDING, LABEL_WIDTH)
    parts = [f'<text y="11">{escape_html(panel_name(panel, grid))}</text>']
    for number, column in enumerate(panel.columns):
        parts.append(f'<text x="{LABEL_WIDTH + number * step}" y="27">FD {domain_name(column)}</text>')
    y = 32
    for row in panel.rows:
        parts.append(f'<text y="{y + 13}">UD {domain_name(row)}</text>')
        tallest = 1
        for number, column in enumerate(panel.columns):
            cells, x = panel.cells.get((row, column), ()), LABEL_WIDTH + number * step
            parts += [_svg_cell(cell, grid, x, y, index) for index, cell in enumerate(cells)]
            tallest = max(tallest, -(-len(cells) // SIGNS_PER_LINE))
        y += tallest * SIGN_SIZE + PADDING
    return _SvgPart("\n".join(parts), LABEL_WIDTH + len(panel.columns) * step + 3 * PADDING, y + PADDING)


def _svg_cell(cell: Cell, grid: CellGrid, x: int, y: int, index: int) -> str:
    x, y = x + index % SIGNS_PER_LINE * SIGN_SIZE, y + index // SIGNS_PER_LINE * SIGN_SIZE
    return f"<g><title>{escape_html(tooltip(cell), 400)}</title>{_svg_sign(grid.style_of(cell.state), x, y)}</g>"


def _svg_sign(style: Style, x: int, y: int) -> str:
    side = SIGN_SIZE - 1
    fill = f' fill="{style.text_color}"' if style.text_color != "#000" else ""
    return (
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{style.color}"/>'
        f'<text x="{x + 4}" y="{y + 12}"{fill}>{style.sign}</text>'
    )


def _svg_legend(grid: CellGrid) -> _SvgPart:
    parts, x, y, widest = [], 0, 0, 0
    for state, count in grid.counts.items():
        label = f"{state[:40]} {count}"
        width = SIGN_SIZE + PADDING + 7 * len(label) + 3 * PADDING
        if x and x + width > MAX_WIDTH:
            x, y = 0, y + SIGN_SIZE + PADDING
        parts.append(_svg_sign(grid.style_of(state), x, y))
        parts.append(f'<text x="{x + SIGN_SIZE + PADDING}" y="{y + 12}">{escape_html(label)}</text>')
        x += width
        widest = max(widest, x)
    return _SvgPart("".join(parts) or '<text y="12">no instances</text>', widest, y + SIGN_SIZE + PADDING)
