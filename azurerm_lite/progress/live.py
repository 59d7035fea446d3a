"""LiveView: an upgrade in a terminal, drawn in place by rich (`pip install 'azurerm_lite[cli]'`).

Rich detects the size of the window, its colors and NO_COLOR, and restores the terminal. A thread of rich redraws the
view between events to update the elapsed time.
"""

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from .._common import arguments
from ..heatmap.cells import STYLES as STATE_STYLES
from ..heatmap.lines import Line
from ..heatmap.text import rich_style
from . import layout
from .view import MIN_INTERVAL_SECONDS, View

if TYPE_CHECKING:
    from rich.console import RenderableType

CLOCK_UPDATES_PER_SECOND = 2
STYLES = {layout.QUIET: "dim", layout.STRONG: "bold", layout.GOOD: "green", layout.BAD: "bold red", layout.BUSY: "blue"}


class LiveView(View):
    """Draws an upgrade in place on a terminal; other output of the program appears above it.

    `with LiveView(sys.stderr) as view: upgrade(…, on_event=view)`. `auto_refresh`: redraw between events, to update the
    elapsed time. Other keywords go to `rich.console.Console`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = MIN_INTERVAL_SECONDS,
        auto_refresh: bool = True,
        **console: Any,
    ) -> None:
        super().__init__(clock, interval_seconds)
        arguments.typed(Callable, stream=getattr(stream, "write", None))
        arguments.switch(auto_refresh, "auto_refresh")
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False, **console)
        self._live = Live(
            console=self.console,
            get_renderable=self._renderable,
            auto_refresh=auto_refresh,
            refresh_per_second=CLOCK_UPDATES_PER_SECOND,
            vertical_overflow="crop",
        )
        # Restores the cursor when the view is never closed.
        self._finalizer = weakref.finalize(self, _stop, self._live)

    def draw(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone or closed
            self._live.start() if not self._live.is_started else self._live.refresh()

    def close(self) -> None:
        _stop(self._live)

    def _renderable(self) -> "RenderableType":
        return Picture(self)


class Picture:
    """A rich renderable of the current state of a view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        bar = layout.ASCII_BAR if options.ascii_only else layout.UNICODE_BAR
        height = max(console.size.height - 1, 1)  # the last line is for the cursor
        for line in layout.render_window(self._view.state, self._view.at, options.max_width, height, bar):
            yield rich_text(line, ascii_only=options.ascii_only)


def rich_text(line: Line, *, ascii_only: bool = False) -> Text:
    """A line as rich Text."""
    text = Text(no_wrap=True, overflow="crop", end="\n")
    for piece in line:
        content = piece.text.encode("ascii", "replace").decode() if ascii_only else piece.text
        text.append(content, _style(piece.state))
    text.rstrip()
    return text


def _style(state: str) -> str:
    if state in STYLES:
        return STYLES[state]
    style = STATE_STYLES["progress"].get(state)
    return "" if style is None else rich_style(style)


def _stop(live: Live) -> None:
    with contextlib.suppress(OSError, ValueError):
        live.stop()
