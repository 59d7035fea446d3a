"""What every test may use: where the recorded traffic is, and a guard against sleeping and against the Internet."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@pytest.fixture(scope="session")
def arm_data() -> Path:
    """Recorded Azure traffic, the published OpenAPI and its checker; kept outside the project."""
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_ARM_DATA: the recorded traffic is the judge of the core")
        pytest.skip("AZURERM_LITE_ARM_DATA is not set: no recorded Azure traffic at hand")
    return Path(folder)


_sleep = time.sleep


def _no_sleep(seconds: float) -> None:
    """Foreign clients and servers may wait; our own code and our tests have clocks to inject."""
    caller = sys._getframe(1).f_code.co_filename
    assert "/site-packages/" in caller or "/lib/python" in caller, f"{caller} slept for {seconds} s: inject a clock"
    _sleep(seconds)


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sleeps, and none talks to anything but this machine."""
    monkeypatch.setattr(time, "sleep", _no_sleep)
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        assert host in _LOOPBACK, f"a test tried to reach {host}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)
