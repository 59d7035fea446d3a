"""Render a heatmap in a terminal with rich (`pip install 'azurerm_lite[cli]'`), which is imported when needed.

Rich detects the width of the terminal, its colors, NO_COLOR, and pipes.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from .cells import CellGrid, Style
from .lines import render_lines, render_text

if TYPE_CHECKING:
    from rich.text import Text


def render(grid: CellGrid, width: int) -> Iterator["Text"]:
    """The heatmap as rich Text, line by line, `width` columns wide."""
    from rich.text import Text  # noqa: PLC0415

    for line in render_lines(grid, width):
        text = Text(no_wrap=True, overflow="crop", end="\n")
        for piece in line:
            text.append(piece.text, rich_style(grid.style_of(piece.state)) if piece.state else None)
        text.rstrip()
        yield text


def show(grid: CellGrid, file: TextIO, *, width: int | None = None) -> None:
    """Write the heatmap to `file`: in color on a terminal, as plain text into a pipe and without rich.

    `width`: in columns; by default that of the terminal, or 80.
    """
    try:
        from rich.console import Console  # noqa: PLC0415
    except ImportError:
        file.write(render_text(grid, width or 80) + "\n")
        return
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(grid)


def rich_style(style: Style) -> str:
    """A style in rich's notation."""
    return f"bold {'#ffffff' if style.text_color == '#fff' else '#000000'} on {style.color.lower()}"
