"""A grid in a terminal, by rich (`pip install 'azurerm_lite[cli]'`), which is imported when it is needed.

Rich knows what the terminal can: how wide it is, how many colours it has, NO_COLOR, and that a pipe is no terminal.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from .grid import Grid, Look
from .lines import lines, plain

if TYPE_CHECKING:
    from rich.text import Text


def rendered(grid: Grid, width: int) -> Iterator["Text"]:
    """The picture as rich's text, line by line."""
    from rich.text import Text  # noqa: PLC0415

    for line in lines(grid, width):
        text = Text(no_wrap=True, overflow="crop", end="\n")
        for piece in line:
            text.append(piece.text, style(grid.look(piece.state)) if piece.state else None)
        text.rstrip()
        yield text


def show(grid: Grid, file: TextIO, *, width: int | None = None) -> None:
    """The picture written to `file`: coloured on a terminal, plain into a pipe and where rich is not installed."""
    try:
        from rich.console import Console  # noqa: PLC0415
    except ImportError:
        file.write(plain(grid, width or 80) + "\n")
        return
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(grid)


def style(look: Look) -> str:
    """The words by which rich draws a state."""
    return f"bold {'#ffffff' if look.ink == '#fff' else '#000000'} on {look.colour.lower()}"
