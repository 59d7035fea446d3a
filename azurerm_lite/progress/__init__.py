"""Watch an upgrade in a terminal or a notebook, as lines of text or as JSON. Each view writes only to its stream.

from azurerm_lite import progress
with progress.for_stream(sys.stderr) as view:
    verdict = upgrade(arm, wanted, on_event=view)
"""

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

from .. import _lazy
from .._common import arguments
from .event_text import EventText, describe
from .lines import JsonLines, Lines, LogLines
from .view import View

if TYPE_CHECKING:
    from .live import LiveView as LiveView
    from .notebook import NotebookView as NotebookView

_, __getattr__ = _lazy.names(__name__, {"live": "LiveView", "notebook": "NotebookView"})
__all__ = ["EventText", "JsonLines", "Lines", "LiveView", "LogLines", "NotebookView", "View", "describe", "for_stream"]


def for_stream(stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> Lines | View:
    """Choose the view that suits a stream: LiveView on a terminal, NotebookView in a notebook, Lines otherwise.

    Pass it as `on_event=`, and use it as a context manager: it restores the terminal on exit. Lines are also chosen for
    TERM=dumb and when rich is not installed. `clock`: seconds as a float; limits how often the view is drawn.

    Raises: InvalidInput for what is no stream. A stream that is closed later is ignored.
    """
    arguments.typed(Callable, stream=getattr(stream, "isatty", None))
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        from .notebook import NotebookView  # noqa: PLC0415

        return NotebookView(clock=clock)
    if stream.isatty() and find_spec("rich") is not None:
        from .live import LiveView  # noqa: PLC0415

        view = LiveView(stream, clock=clock)
        if view.console.is_interactive and not view.console.is_dumb_terminal:
            return view
    return Lines(stream)
