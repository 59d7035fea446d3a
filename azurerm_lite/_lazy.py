"""Load the names of a package from its modules on first use, so that importing the package is cheap."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def names(package: str, exports: Mapping[str, str]) -> tuple[dict[str, str], Callable[[str], Any]]:
    """`{name: module}` and a `__getattr__` for the package. `exports`: `{module: "name name ..."}`."""
    module_of = {name: module for module, module_names in exports.items() for name in module_names.split()}

    def fetch(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".{module_of[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return module_of, fetch
