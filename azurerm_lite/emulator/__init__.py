"""A local Azure Resource Manager: scale sets that really upgrade, behind real HTTPS and a real login.

    with azurerm_lite.emulator.serve() as emulator:
        arm = azurerm_lite.connect(env=emulator.env())

It knows nothing of the rest of azurerm_lite. No other module uses it unless a caller asks for it.
"""

from typing import TYPE_CHECKING

from .._lazy import names

if TYPE_CHECKING:
    from .clock import ScaledClock as ScaledClock
    from .clock import VirtualClock as VirtualClock
    from .http.server import Emulator as Emulator
    from .http.server import serve as serve
    from .seed import Seed as Seed

_MODULE_OF, __getattr__ = names(
    __name__, {"clock": "ScaledClock VirtualClock", "seed": "Seed", "http.server": "Emulator serve"}
)
