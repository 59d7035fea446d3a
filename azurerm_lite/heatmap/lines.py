"""A grid as lines of text of a given width, in pieces that know their state. PURE.

Cells show a sign for each instance while that fits, and counts where they are crowded. Panels stand side by side where
there is room; columns that do not fit come below.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple
from unicodedata import combining, east_asian_width

from ..markup import visible
from .grid import COLOURS, Cell, Grid, Panel, Place

GAP = 2
BETWEEN_PANELS = 4
CROWDED = 16  # with more than so many in one cell, or with too many for the width, a panel shows counts


class Piece(NamedTuple):
    """Some text, and the state that colours it ("": none)."""

    text: str
    state: str = ""


Line = list[Piece]
Texts = Mapping[Place, Line]


def plain(grid: Grid, width: int = 80) -> str:
    """The whole picture as plain text."""
    return "\n".join("".join(piece.text for piece in line).rstrip() for line in lines(grid, width))


def lines(grid: Grid, width: int = 80) -> list[Line]:
    """The whole picture, line by line: caption, panels, legend."""
    width = max(width, 20)
    caption: list[Line] = [[Piece(fitted(visible(grid.caption), width))], []]
    body = panels(grid, width)
    return [*caption, *body, *([[]] if body else []), *legend(grid, width)]


def panels(grid: Grid, width: int) -> list[Line]:
    """The picture alone: one panel for each zone and placement group."""
    found: list[Line] = []
    for row in _shelves([_block(panel, grid, width) for panel in grid.panels], width):
        found += [[], *row] if found else row
    return found


def summary(grid: Grid, width: int) -> list[Line]:
    """The picture where there is little room: the counts of each panel, side by side."""
    names = [visible(panel_name(panel, grid) or "all") for panel in grid.panels]
    widest = min(max(map(columns_of, names), default=0), width // 2)
    found: list[Line] = []
    for name, panel in zip(names, grid.panels, strict=True):
        counted = _counts(tuple(cell for cells in panel.places.values() for cell in cells), grid)
        found.append([Piece(padded(fitted(name, widest), widest)), Piece("  "), *counted])
    longest = max(map(length, found), default=0)
    return [row for shelf in _shelves([[_filled(line, longest)] for line in found], width) for row in shelf]


def _filled(line: Line, width: int) -> Line:
    return [*line, Piece(" " * (width - length(line)))]


def panel_name(panel: Panel, grid: Grid) -> str:
    """What tells this panel from the others: the zone, and the placement group where there are several."""
    zones, groups = {cell.zone for cell in grid.cells}, {cell.group for cell in grid.cells}
    enough = 8 if len({one[:8] for one in groups}) == len(groups) else 80
    zone = f"zone {panel.zone or '?'}" if zones != {""} else ""
    group = f"group {panel.group[:enough] or '?'}" if len(groups) > 1 else ""
    return ", ".join(part for part in (zone, group) if part)


def domain_name(domain: int | None) -> str:
    """The number of a domain, "?" for none."""
    return "?" if domain is None else visible(domain, 9)


def _block(panel: Panel, grid: Grid, width: int) -> list[Line]:
    label = max(len(domain_name(row)) for row in panel.rows) + 3
    texts = _texts(panel, grid, width - label)
    name = panel_name(panel, grid)
    found: list[Line] = [[Piece(fitted(visible(name), width))]] if name else []
    for band in _bands(_widths(panel, texts), width - label):
        found += _band(panel, texts, band, label)
    return found


def _texts(panel: Panel, grid: Grid, room: int) -> Texts:
    """The text of every cell: its signs if they all fit, its counts else. Never both in one panel."""
    if max(map(len, panel.places.values())) <= CROWDED:
        texts = {place: _signs(cells, grid) for place, cells in panel.places.items()}
        if sum(_widths(panel, texts).values()) + GAP * len(panel.columns) <= room:
            return texts
    return {place: _counts(cells, grid) for place, cells in panel.places.items()}


def _signs(cells: tuple[Cell, ...], grid: Grid) -> Line:
    runs = groupby(cell.state for cell in cells)
    return [Piece(grid.look(state).sign * len(list(run)), state) for state, run in runs]


def _counts(cells: tuple[Cell, ...], grid: Grid) -> Line:
    counts = Counter(cell.state for cell in cells)
    order = [state for state in dict.fromkeys([*COLOURS[grid.colour], *counts]) if counts[state]]
    return _joined([Piece(f"{grid.look(state).sign}{counts[state]}", state) for state in order])


def _joined(pieces: Iterable[Piece]) -> Line:
    return [part for piece in pieces for part in (Piece(" "), piece)][1:]


def _widths(panel: Panel, texts: Texts) -> dict[int | None, int]:
    widths = {column: len(domain_name(column)) + 3 for column in panel.columns}
    for (_, column), text in texts.items():
        widths[column] = max(widths[column], length(text))
    return widths


def _bands(widths: dict[int | None, int], room: int) -> list[dict[int | None, int]]:
    """The columns, cut into as many bands as their widths need."""
    bands: list[dict[int | None, int]] = []
    left = 0
    for column, width in widths.items():
        if not bands or width + GAP > left:
            bands.append({})
            left = room
        bands[-1][column] = width
        left -= width + GAP
    return bands


def _band(panel: Panel, texts: Texts, widths: dict[int | None, int], label: int) -> list[Line]:
    head: Line = [Piece(" " * label)]
    for column, width in widths.items():
        head.append(Piece(" " * GAP + f"FD {domain_name(column)}".ljust(width)))
    rows = [row for row in panel.rows if any((row, column) in texts for column in widths)]
    return [head, *(_row(row, texts, widths, label) for row in rows)]


def _row(row: int | None, texts: Texts, widths: dict[int | None, int], label: int) -> Line:
    line: Line = [Piece(f"UD {domain_name(row)}".ljust(label))]
    for column, width in widths.items():
        text = texts.get((row, column), [])
        line += [Piece(" " * GAP), *text, Piece(" " * (width - length(text)))]
    return line


def _shelves(blocks: list[list[Line]], width: int) -> list[list[Line]]:
    """Blocks side by side, as many as there is room for."""
    shelves: list[list[list[Line]]] = []
    left = 0
    for block in blocks:
        needed = max(map(length, block)) + BETWEEN_PANELS
        if not shelves or needed - BETWEEN_PANELS > left:
            shelves.append([])
            left = width
        shelves[-1].append(block)
        left -= needed
    return [_beside(shelf) for shelf in shelves]


def _beside(blocks: list[list[Line]]) -> list[Line]:
    widths = [max(map(length, block)) for block in blocks]
    found: list[Line] = []
    for number in range(max(map(len, blocks))):
        line: Line = []
        for block, width in zip(blocks, widths, strict=True):
            part = block[number] if number < len(block) else []
            line += [*part, Piece(" " * (width - length(part) + BETWEEN_PANELS))]
        found.append(line[:-1])
    return found


def legend(grid: Grid, width: int) -> list[Line]:
    """Every state that occurs with its sign and how many, on as many lines as that takes."""
    found: list[Line] = [[]]
    for state, count in grid.counts.items():
        rest = f" {fitted(visible(state), 30)} {count}"
        start = [Piece("   ")] if found[-1] else []
        if found[-1] and length(found[-1]) + 4 + len(rest) > width:
            found.append([])
            start = []
        found[-1] += [*start, Piece(grid.look(state).sign, state), Piece(rest)]
    return found if found[0] else [[Piece("no instances")]]


def length(line: Line) -> int:
    return sum(columns_of(piece.text) for piece in line)


def columns_of(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def padded(text: str, width: int) -> str:
    """The text, and blanks up to a width."""
    return text + " " * (width - columns_of(text))


def fitted(text: str, width: int) -> str:
    while columns_of(text) > width:
        text = text[: max(0, min(len(text) - 2, width - 1))] + "…"
    return text
