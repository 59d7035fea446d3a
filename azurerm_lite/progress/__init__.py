"""Watch an upgrade: in a terminal, in a notebook, as lines, as JSON. Nothing here writes but to what it is given.

from azurerm_lite import progress
with progress.for_stream(sys.stderr) as view:
    verdict = upgrade(arm, wanted, on_event=view)
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from .. import _lazy
from .lines import JsonLines, Lines, LogLines
from .pace import View
from .words import Words, words

if TYPE_CHECKING:
    from .live import LiveView as LiveView
    from .notebook import NotebookView as NotebookView

_, __getattr__ = _lazy.names(__name__, {"live": "LiveView", "notebook": "NotebookView"})
__all__ = ["JsonLines", "Lines", "LiveView", "LogLines", "NotebookView", "View", "Words", "for_stream", "words"]


def for_stream(stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> Lines | View:
    """What suits the stream: the live view on a terminal, the picture in a notebook, lines everywhere else.

    It is given as on_event= and is a context manager that leaves the stream in order. Lines are for pipes and files,
    for TERM=dumb, and where rich is not installed. `clock`: seconds, for how often it is drawn.
    """
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        from .notebook import NotebookView  # noqa: PLC0415

        return NotebookView(clock=clock)
    if stream.isatty() and find_spec("rich") is not None:
        from .live import LiveView  # noqa: PLC0415

        view = LiveView(stream, clock=clock)
        if view.console.is_interactive and not view.console.is_dumb_terminal:
            return view
    return Lines(stream)
