"""NotebookView: an upgrade in a notebook, as one output that is updated in place without widgets or scripts."""

import importlib
import time
from collections.abc import Callable
from typing import Any

from .html import render_html
from .view import MIN_INTERVAL_SECONDS, View


class NotebookView(View):
    """Shows an upgrade below a notebook cell: `upgrade(…, on_event=NotebookView())`."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, interval_seconds: float = MIN_INTERVAL_SECONDS
    ) -> None:
        super().__init__(clock, interval_seconds)
        self._handle: Any = None

    def draw(self) -> None:
        ipython = importlib.import_module("IPython.display")  # part of every notebook; no other module needs it
        output = ipython.HTML(render_html(self.state))
        if self._handle is None:
            self._handle = ipython.display(output, display_id=True)
        else:
            self._handle.update(output)
