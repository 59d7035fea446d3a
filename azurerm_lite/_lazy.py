"""Names that a package fetches from its rooms when they are first asked for, so that importing it costs nothing."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, home: Mapping[str, str]) -> tuple[dict[str, str], Callable[[str], Any]]:
    """The room of each name, and the `__getattr__` of the package. `home`: room to its names, apart by blanks."""
    room_of = {name: room for room, found in home.items() for name in found.split()}

    def fetch(name: str) -> Any:
        if name not in room_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{room_of[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return room_of, fetch
