"""pytest fixtures: a fresh emulator for each test, an Arm that is connected to it, and one emulator for the run.

Loaded in every pytest run where azurerm_lite is installed, so nothing is imported before a fixture is asked for.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .server import Emulator


@pytest.fixture
def arm_emulator() -> "Iterator[Emulator]":
    """An emulator of its own for this test, over real HTTPS, whose time moves only when somebody waits."""
    from .clock import VirtualClock  # noqa: PLC0415
    from .server import serve  # noqa: PLC0415

    with serve(clock=VirtualClock()) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def arm_server() -> "Iterator[Emulator]":
    """One emulator in real time, sixty times as fast, for the whole run: for tools in processes of their own.

    Its state is shared; `arm_server.reset()` brings the seed back.
    """
    from .server import serve  # noqa: PLC0415

    with serve(time_scale=60) as emulator:
        yield emulator


@pytest.fixture
def arm(arm_emulator: "Emulator") -> Iterator[Any]:
    """An azurerm_lite.Arm that is logged in to `arm_emulator` and waits by its clock."""
    from azurerm_lite import connect  # noqa: PLC0415  (the one door from the emulator's side to the core)

    clock: Any = arm_emulator.clock
    with connect(env=arm_emulator.env(), sleep=clock.sleep, now=clock.time) as connected:
        yield connected
