"""The editor as a user starts it: one command, one link."""

import contextlib
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "vmsseditor"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_command_starts_it_on_the_emulator_and_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    command = [sys.executable, str(FOLDER), "--emulator", "--no-browser", "--journals", str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=tmp_path) as run, contextlib.ExitStack() as stack:
        assert run.stdout is not None
        stack.callback(run.kill)
        said, _, link = run.stdout.readline().strip().partition(": ")
        assert said == "vmsseditor on the EMULATOR"
        with urllib.request.urlopen(link) as answer:  # noqa: S310  (what it printed)
            assert answer.status == 200
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        run.send_signal(number)
        assert run.wait(20) == 0


def test_without_a_subscription_it_says_what_to_give(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    done = subprocess.run(
        [sys.executable, str(FOLDER)], env={}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "AZURE_SUBSCRIPTION_ID" in done.stderr
