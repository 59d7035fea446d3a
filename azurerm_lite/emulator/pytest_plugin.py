"""pytest fixtures: an emulator for each test, a client that is logged in to it, and an emulator for the whole run.

pytest loads this wherever azurerm_lite is installed, so nothing is imported before a fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .http.server import Emulator


@pytest.fixture
def azurerm_emulator() -> "Iterator[Emulator]":
    """A new emulator for this test, over real HTTPS, whose time moves only by waits."""
    from .clock import VirtualClock  # noqa: PLC0415
    from .http.server import serve  # noqa: PLC0415

    with serve(clock=VirtualClock()) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def azurerm_server() -> "Iterator[Emulator]":
    """One emulator for the whole run, in sixty times real time, for tools in other processes.

    Tests share its state; `azurerm_server.reset()` goes back to the seed.
    """
    from .http.server import serve  # noqa: PLC0415

    with serve(time_scale=60) as emulator:
        yield emulator


@pytest.fixture
def azurerm_client(azurerm_emulator: "Emulator") -> Iterator[Any]:
    """An azurerm_lite.Arm that is logged in to `azurerm_emulator` and waits by its clock."""
    from azurerm_lite import connect  # noqa: PLC0415  (alone in the emulator the fixtures know the core)

    clock: Any = azurerm_emulator.clock
    with connect(env=azurerm_emulator.env(), sleep=clock.sleep, now=clock.time) as connected:
        yield connected
