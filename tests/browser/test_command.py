"""The editor as a user starts it: one command, one link."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "vmsseditor"


def test_one_command_starts_it_on_the_emulator_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    command = [sys.executable, str(FOLDER), "--emulator", "--no-browser", "--journals", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as run:
        assert run.stdout is not None
        said, _, link = run.stdout.readline().strip().partition(": ")
        assert said == "vmsseditor on the EMULATOR"
        with urllib.request.urlopen(link) as answer:  # noqa: S310  (what it printed)
            assert answer.status == 200
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 0


def test_without_a_subscription_it_says_what_to_give(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    done = subprocess.run(
        [sys.executable, str(FOLDER)], env={}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "AZURE_SUBSCRIPTION_ID" in done.stderr
