"""Render a heatmap as lines of text of a given width, in pieces that carry their state. PURE.

A cell shows one sign per instance if they fit, otherwise counts. Panels are placed side by side if they fit; columns
that do not fit continue below.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from .._common.markup import visible
from .cells import STYLES, Cell, CellGrid, Panel, Position

COLUMN_GAP = 2
PANEL_GAP = 4
MAX_SIGNS = 16  # a panel with more instances in one cell shows counts


class Piece(NamedTuple):
    """A piece of text. `state`: the state whose style it has, "" for none."""

    text: str
    state: str = ""


Line = list[Piece]
CellTexts = Mapping[Position, Line]


def render_text(grid: CellGrid, width: int = 80) -> str:
    """The whole heatmap as plain text, at most `width` columns wide."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in render_lines(grid, width))


def render_lines(grid: CellGrid, width: int = 80) -> list[Line]:
    """The whole heatmap: caption, panels and legend."""
    width = max(width, 20)
    caption: list[Line] = [[Piece(truncate(visible(grid.caption), width))], []]
    body = render_panels(grid, width)
    return [*caption, *body, *([[]] if body else []), *render_legend(grid, width)]


def render_panels(grid: CellGrid, width: int) -> list[Line]:
    """The panels without caption and legend, one for each zone and placement group."""
    lines: list[Line] = []
    for shelf in _shelves([_block(panel, grid, width) for panel in grid.panels], width):
        lines += [[], *shelf] if lines else shelf
    return lines


def render_summary(grid: CellGrid, width: int) -> list[Line]:
    """The counts of each panel, for a window that is too small for the panels."""
    names = [visible(panel_name(panel, grid) or "all") for panel in grid.panels]
    widest = min(max(map(text_width, names), default=0), width // 2)
    lines: list[Line] = []
    for name, panel in zip(names, grid.panels, strict=True):
        counts = _counts(tuple(cell for cells in panel.cells.values() for cell in cells), grid)
        lines.append([Piece(pad(truncate(name, widest), widest)), Piece("  "), *counts])
    longest = max(map(line_width, lines), default=0)
    return [row for shelf in _shelves([[_pad_line(line, longest)] for line in lines], width) for row in shelf]


def _pad_line(line: Line, width: int) -> Line:
    return [*line, Piece(" " * (width - line_width(line)))]


def panel_name(panel: Panel, grid: CellGrid) -> str:
    """The zone of a panel, and its placement group when the grid has several."""
    zones, groups = {cell.zone for cell in grid.cells}, {cell.group for cell in grid.cells}
    prefix_length = 8 if len({group[:8] for group in groups}) == len(groups) else 80
    zone = f"zone {panel.zone or '?'}" if zones != {""} else ""
    group = f"group {panel.group[:prefix_length] or '?'}" if len(groups) > 1 else ""
    return ", ".join(part for part in (zone, group) if part)


def domain_name(domain: int | None) -> str:
    """The number of a domain, or "?" when it is unknown."""
    return "?" if domain is None else visible(domain, 9)


def _block(panel: Panel, grid: CellGrid, width: int) -> list[Line]:
    label = max(len(domain_name(row)) for row in panel.rows) + 3
    texts = _cell_texts(panel, grid, width - label)
    name = panel_name(panel, grid)
    lines: list[Line] = [[Piece(truncate(visible(name), width))]] if name else []
    for band in _bands(_column_widths(panel, texts), width - label):
        lines += _band(panel, texts, band, label)
    return lines


def _cell_texts(panel: Panel, grid: CellGrid, width: int) -> CellTexts:
    """The text of every cell of a panel: signs if all of them fit, otherwise counts in every cell."""
    if max(map(len, panel.cells.values())) <= MAX_SIGNS:
        texts = {position: _signs(cells, grid) for position, cells in panel.cells.items()}
        if sum(_column_widths(panel, texts).values()) + COLUMN_GAP * len(panel.columns) <= width:
            return texts
    return {position: _counts(cells, grid) for position, cells in panel.cells.items()}


def _signs(cells: tuple[Cell, ...], grid: CellGrid) -> Line:
    runs = groupby(cell.state for cell in cells)
    return [Piece(grid.style_of(state).sign * len(list(run)), state) for state, run in runs]


def _counts(cells: tuple[Cell, ...], grid: CellGrid) -> Line:
    counts = Counter(cell.state for cell in cells)
    order = [state for state in dict.fromkeys([*STYLES[grid.color_by], *counts]) if counts[state]]
    return _join([Piece(f"{grid.style_of(state).sign}{counts[state]}", state) for state in order])


def _join(pieces: Iterable[Piece]) -> Line:
    return [part for piece in pieces for part in (Piece(" "), piece)][1:]


def _column_widths(panel: Panel, texts: CellTexts) -> dict[int | None, int]:
    widths = {column: len(domain_name(column)) + 3 for column in panel.columns}
    for (_, column), text in texts.items():
        widths[column] = max(widths[column], line_width(text))
    return widths


def _bands(widths: dict[int | None, int], width: int) -> list[dict[int | None, int]]:
    """The columns, split into as many bands as the width requires."""
    bands: list[dict[int | None, int]] = []
    space = 0
    for column, column_width in widths.items():
        if not bands or column_width + COLUMN_GAP > space:
            bands.append({})
            space = width
        bands[-1][column] = column_width
        space -= column_width + COLUMN_GAP
    return bands


def _band(panel: Panel, texts: CellTexts, widths: dict[int | None, int], label: int) -> list[Line]:
    head: Line = [Piece(" " * label)]
    for column, width in widths.items():
        head.append(Piece(" " * COLUMN_GAP + f"FD {domain_name(column)}".ljust(width)))
    rows = [row for row in panel.rows if any((row, column) in texts for column in widths)]
    return [head, *(_row(row, texts, widths, label) for row in rows)]


def _row(row: int | None, texts: CellTexts, widths: dict[int | None, int], label: int) -> Line:
    line: Line = [Piece(f"UD {domain_name(row)}".ljust(label))]
    for column, width in widths.items():
        text = texts.get((row, column), [])
        line += [Piece(" " * COLUMN_GAP), *text, Piece(" " * (width - line_width(text)))]
    return line


def _shelves(blocks: list[list[Line]], width: int) -> list[list[Line]]:
    """Blocks side by side on shelves of that width."""
    shelves: list[list[list[Line]]] = []
    space = 0
    for block in blocks:
        needed = max(map(line_width, block)) + PANEL_GAP
        if not shelves or needed - PANEL_GAP > space:
            shelves.append([])
            space = width
        shelves[-1].append(block)
        space -= needed
    return [_side_by_side(shelf) for shelf in shelves]


def _side_by_side(blocks: list[list[Line]]) -> list[Line]:
    widths = [max(map(line_width, block)) for block in blocks]
    lines: list[Line] = []
    for number in range(max(map(len, blocks))):
        line: Line = []
        for block, width in zip(blocks, widths, strict=True):
            part = block[number] if number < len(block) else []
            line += [*part, Piece(" " * (width - line_width(part) + PANEL_GAP))]
        lines.append(line[:-1])
    return lines


def render_legend(grid: CellGrid, width: int) -> list[Line]:
    """The legend: every state that occurs, with its sign and its count."""
    lines: list[Line] = [[]]
    for state, count in grid.counts.items():
        label = f" {truncate(visible(state), 30)} {count}"
        gap = [Piece("   ")] if lines[-1] else []
        if lines[-1] and line_width(lines[-1]) + 4 + len(label) > width:
            lines.append([])
            gap = []
        lines[-1] += [*gap, Piece(grid.style_of(state).sign, state), Piece(label)]
    return lines if lines[0] else [[Piece("no instances")]]


def line_width(line: Line) -> int:
    """The width of a line in terminal columns."""
    return sum(text_width(piece.text) for piece in line)


def text_width(text: str) -> int:
    """The width of a text in terminal columns: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, width: int) -> str:
    """The text, filled with blanks to a width in columns."""
    return text + " " * (width - text_width(text))


def truncate(text: str, width: int) -> str:
    """The text, cut to a width in columns; a cut text ends with an ellipsis."""
    while text_width(text) > width:
        text = text[: max(0, min(len(text) - 2, width - 1))] + "…"
    return text
