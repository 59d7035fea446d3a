"""A roll-out in a terminal, drawn in place by rich (`pip install 'azurerm_lite[cli]'`).

Rich knows how large the window is, which colours there are, NO_COLOR, and how to give the terminal back. A thread of
its own moves the clock on while Azure is waited for.
"""

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from ..heatmap.grid import COLOURS
from ..heatmap.lines import Line
from ..heatmap.text import style
from . import layout
from .pace import OFTEN, View

if TYPE_CHECKING:
    from rich.console import RenderableType

TICKS = 2  # a second: how often the clock moves
STYLES = {layout.QUIET: "dim", layout.STRONG: "bold", layout.GOOD: "green", layout.BAD: "bold red", layout.BUSY: "blue"}


class LiveView(View):
    """`with LiveView(sys.stderr) as view: upgrade(…, on_event=view)`. What is printed meanwhile stands above it."""

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = OFTEN,
        ticking: bool = True,
        **console: Any,
    ) -> None:
        super().__init__(clock, every)
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False, **console)
        self._live = Live(
            console=self.console,
            get_renderable=self._shown,
            auto_refresh=ticking,
            refresh_per_second=TICKS,
            vertical_overflow="crop",
        )
        # The cursor comes back even where nobody closes this.
        self._given_back = weakref.finalize(self, _stopped, self._live)

    def draw(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody looks any more
            self._live.start() if not self._live.is_started else self._live.refresh()

    def close(self) -> None:
        _stopped(self._live)

    def _shown(self) -> "RenderableType":
        return Picture(self)


class Picture:
    """The view as it is when rich asks for it."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        marks = layout.ASCII if options.ascii_only else layout.DRAWN
        height = max(console.size.height - 1, 1)  # the last line is the cursor's
        for line in layout.picture(self._view.watched, self._view.at, options.max_width, height, marks):
            yield styled(line, ascii_only=options.ascii_only)


def styled(line: Line, *, ascii_only: bool = False) -> Text:
    """A line in rich's words."""
    text = Text(no_wrap=True, overflow="crop", end="\n")
    for piece in line:
        shown = piece.text.encode("ascii", "replace").decode() if ascii_only else piece.text
        text.append(shown, _style(piece.state))
    text.rstrip()
    return text


def _style(state: str) -> str:
    if state in STYLES:
        return STYLES[state]
    look = COLOURS["progress"].get(state)
    return "" if look is None else style(look)


def _stopped(live: Live) -> None:
    with contextlib.suppress(OSError, ValueError):
        live.stop()
