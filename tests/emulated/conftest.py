"""The scale set that tests work on, and scripts run as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed, serve

EXAMPLES = Path(__file__).parents[2] / "examples"
OLD, NEW = "22.04.202608150", "22.04.202611120"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def arm(azurerm_client: az.Arm) -> az.Arm:
    """The client of nearly every test here, by a short name."""
    return azurerm_client


@pytest.fixture
def web(azurerm_emulator: Any) -> az.ScaleSet:
    return az.ScaleSet(azurerm_emulator.subscription_id, azurerm_emulator.resource_group, azurerm_emulator.vmss_name)


@pytest.fixture
def running() -> Iterator[Any]:
    """An emulator in real time, for scripts that run in a process of their own."""
    with serve(Seed.default(), time_scale=200) as emulator:
        yield emulator


@pytest.fixture
def run_example(tmp_path: Path, journal_file: str) -> Run:
    """Run an example as a process with this environment; what it printed comes back."""

    def run(script: str, *arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        kept["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://127.0.0.1:9"  # nobody: no VM's identity is looked for
        kept["AZURERM_LITE_EMULATOR_RECORD"] = journal_file
        command = [sys.executable, str(EXAMPLES / script), *arguments]
        return subprocess.run(
            command, env={**kept, **(env or {})}, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return run
