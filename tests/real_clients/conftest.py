"""Clients that nobody here wrote, unmodified, over real TLS: they judge the emulator."""

from collections.abc import Iterator
from typing import Any

import pytest

from azurerm_lite.emulator import serve


@pytest.fixture
def emulator() -> Iterator[Any]:
    """An emulator in its own time, two thousand times as fast as ours, so that a poll or two sees the end."""
    with serve(time_scale=2000) as running:
        yield running
