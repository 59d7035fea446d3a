"""A local Azure Resource Manager: scale sets that really upgrade, behind real HTTPS and a real login.

    with azurerm_lite.emulator.serve() as emulator:
        arm = azurerm_lite.connect(env=emulator.env())

It knows nothing of the rest of azurerm_lite, and is never used unless somebody asks for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import ScaledClock as ScaledClock
    from .clock import VirtualClock as VirtualClock
    from .seed import Seed as Seed
    from .server import Emulator as Emulator
    from .server import serve as serve

_ROOM_OF = {"ScaledClock": "clock", "VirtualClock": "clock", "Seed": "seed", "Emulator": "server", "serve": "server"}


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_ROOM_OF[name]}", __name__), name)
