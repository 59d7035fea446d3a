"""What a forked process must make anew: locks that a thread of the parent may hold, and connections of the parent.

The child of os.fork has one thread. A lock that another thread held at that moment is never released there, and a
socket that both processes use mixes up their responses.
https://docs.python.org/3/library/os.html#os.register_at_fork
"""

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something with locks or connections. `after_fork` is called in the child, before anything else runs there."""

    def after_fork(self) -> None: ...


_known: "weakref.WeakSet[Forkable]" = weakref.WeakSet()

# Held while msal or requests are imported or a transport is made, and by a fork: what is half done stays so in a child.
importing = threading.RLock()


def register(thing: Forkable) -> None:
    """Let `thing.after_fork()` be called in every child process, for as long as somebody holds `thing`."""
    _known.add(thing)


def _in_child() -> None:
    importing.release()
    for thing in list(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=_in_child)
