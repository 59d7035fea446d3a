"""What every test may use: where the recorded traffic is, and a guard against sleeping and against the Internet."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-comparison", action="store_true", help="write docs/comparison.md anew")


@pytest.fixture(scope="session")
def arm_data() -> Path:
    """Recorded Azure traffic, the published OpenAPI and its checker; kept outside the project."""
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_ARM_DATA: the recorded traffic is the judge of the core")
        pytest.skip("AZURERM_LITE_ARM_DATA is not set: no recorded Azure traffic at hand")
    return Path(folder)


class OpenApiJudge:
    """Holds every exchange of the run against the published OpenAPI; equal ones are looked at once."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder / "tools"))
        from swagger_check import SpecChecker

        sys.path.pop(0)
        self._checker = SpecChecker(str(folder / "openapi/ComputeRP/stable/2024-07-01/virtualMachineScaleSet.json"))
        self._seen: set[int] = set()
        self.failures: list[str] = []
        self.checked = 0

    def hear(self, entry: Any) -> None:
        if entry.answer_headers.get("x-emulator-fault"):
            return  # what was made wrong on purpose
        if entry.status == 429 and "code" in (entry.answer or {}):
            return  # Compute's own body, which its documentation shows and the OpenAPI does not know
        text = json.dumps([entry.method, entry.path, entry.body, entry.status, entry.answer], sort_keys=True)
        if hash(text) in self._seen:
            return
        self._seen.add(hash(text))
        url = f"https://x{entry.path}?" + "&".join(f"{key}={value}" for key, value in entry.query.items())
        if self._checker.operation(entry.method, url) is None or "$select" in entry.query:
            return  # not in this document; and $select leaves out what the document requires, as Azure does
        self.checked += 1
        ours = "azurerm-lite/" in entry.headers.get("user-agent", "")
        answer = json.loads(json.dumps(entry.answer))
        for where, *what in self._checker.check(entry.method, url, entry.body, entry.status, answer):
            if where == "response" or (ours and entry.status < 400):
                self.failures.append(f"{entry.method} {entry.path} {entry.status}: {where} {what}")


@pytest.fixture(scope="session", autouse=True)
def openapi_judge() -> Iterator[None]:
    """At the end of the run: every exchange that the OpenAPI covers had to pass it."""
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        yield
        return
    from azurerm_lite.emulator.journal import Journal

    judge = OpenApiJudge(Path(folder))
    Journal.listeners.append(judge.hear)
    yield
    Journal.listeners.remove(judge.hear)
    assert not judge.failures, f"{len(judge.failures)} of {judge.checked} exchanges fail: " + "\n".join(
        judge.failures[:20]
    )


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
        if host == "169.254.169.254":
            raise TimeoutError("this machine is none of Azure's")  # what the probe for a VM's identity meets elsewhere
        assert host in _LOOPBACK, f"a test tried to reach {host}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)
