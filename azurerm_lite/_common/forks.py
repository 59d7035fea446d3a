"""Replace locks and connections in the child after os.fork.

The child has one thread: a lock that another thread of the parent held is never released there. A socket that both
processes use would mix up their responses.
https://docs.python.org/3/library/os.html#os.register_at_fork
"""

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object with locks or connections. `after_fork` is called in the child before any other code runs there."""

    def after_fork(self) -> None: ...


_known: "weakref.WeakSet[Forkable]" = weakref.WeakSet()

# Held by a fork, and while msal or requests are imported or a transport is created: the child of a fork in the middle
# of that would never see it completed.
importing = threading.RLock()


def register(thing: Forkable) -> None:
    """Call `thing.after_fork()` in every child process for as long as `thing` exists."""
    _known.add(thing)


def _in_child() -> None:
    importing.release()
    for thing in list(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=_in_child)
