"""A roll-out in a notebook: one output that changes in place, by IPython's display handle. No widgets, no script."""

import importlib
import time
from collections.abc import Callable
from typing import Any

from .pace import OFTEN, View
from .page import fragment_of


class NotebookView(View):
    """`upgrade(…, on_event=NotebookView())` in a cell: the picture appears below it and follows the upgrade."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, every: float = OFTEN) -> None:
        super().__init__(clock, every)
        self._handle: Any = None

    def draw(self) -> None:
        ipython = importlib.import_module("IPython.display")  # there in every notebook, and needed nowhere else
        shown = ipython.HTML(fragment_of(self.watched))
        if self._handle is None:
            self._handle = ipython.display(shown, display_id=True)
        else:
            self._handle.update(shown)
