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
from .grid import Cell, Grid, Panel, Place

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
    found: list[Line] = [[Piece(_fitted(visible(grid.caption), width))]]
    for row in _shelves([_block(panel, grid, width) for panel in grid.panels], width):
        found += [[], *row]
    return [*found, [], *_legend(grid, width)]


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
    found: list[Line] = [[Piece(_fitted(visible(name), width))]] if name else []
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
    return _joined([Piece(f"{grid.look(state).sign}{counts[state]}", state) for state in grid.counts if counts[state]])


def _joined(pieces: Iterable[Piece]) -> Line:
    return [part for piece in pieces for part in (Piece(" "), piece)][1:]


def _widths(panel: Panel, texts: Texts) -> dict[int | None, int]:
    widths = {column: len(domain_name(column)) + 3 for column in panel.columns}
    for (_, column), text in texts.items():
        widths[column] = max(widths[column], _length(text))
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
        line += [Piece(" " * GAP), *text, Piece(" " * (width - _length(text)))]
    return line


def _shelves(blocks: list[list[Line]], width: int) -> list[list[Line]]:
    """Blocks side by side, as many as there is room for."""
    shelves: list[list[list[Line]]] = []
    left = 0
    for block in blocks:
        needed = max(map(_length, block)) + BETWEEN_PANELS
        if not shelves or needed - BETWEEN_PANELS > left:
            shelves.append([])
            left = width
        shelves[-1].append(block)
        left -= needed
    return [_beside(shelf) for shelf in shelves]


def _beside(blocks: list[list[Line]]) -> list[Line]:
    widths = [max(map(_length, block)) for block in blocks]
    found: list[Line] = []
    for number in range(max(map(len, blocks))):
        line: Line = []
        for block, width in zip(blocks, widths, strict=True):
            part = block[number] if number < len(block) else []
            line += [*part, Piece(" " * (width - _length(part) + BETWEEN_PANELS))]
        found.append(line[:-1])
    return found


def _legend(grid: Grid, width: int) -> list[Line]:
    """Every state that occurs with its sign and how many, on as many lines as that takes."""
    found: list[Line] = [[]]
    for state, count in grid.counts.items():
        rest = f" {_fitted(visible(state), 30)} {count}"
        start = [Piece("   ")] if found[-1] else []
        if found[-1] and _length(found[-1]) + 4 + len(rest) > width:
            found.append([])
            start = []
        found[-1] += [*start, Piece(grid.look(state).sign, state), Piece(rest)]
    return found if found[0] else [[Piece("no instances")]]


def _length(line: Line) -> int:
    return sum(_columns(piece.text) for piece in line)


def _columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _fitted(text: str, width: int) -> str:
    while _columns(text) > width:
        text = text[: max(0, min(len(text) - 2, width - 1))] + "…"
    return text
