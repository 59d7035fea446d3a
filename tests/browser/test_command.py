"""The editor as a user starts it: one command, one link."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
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


BROWSER = """#!{python}
import json, os, pathlib, sys, urllib.request
path = pathlib.Path(urllib.request.url2pathname(sys.argv[1].removeprefix("file://")))
seen = {{"arguments": sys.argv, "text": path.read_text()}}
seen |= {{"file": path.stat().st_mode, "folder": path.parent.stat().st_mode}}
seen["processes"] = [
    one.read_bytes().decode("utf-8", "replace") for one in pathlib.Path("/proc").glob("[0-9]*/cmdline") if one.exists()
]
report = pathlib.Path({report!r})
report.with_suffix(".part").write_text(json.dumps({{**seen, "path": str(path)}}))
os.replace(report.with_suffix(".part"), report)
"""


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the arguments of processes are read from /proc")
def test_the_link_stands_in_no_processs_arguments_and_its_file_is_removed(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    report, browser = tmp_path / "report.json", tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable, report=str(report)))
    browser.chmod(0o755)
    env = {**os.environ, "BROWSER": f"{browser} %s", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(FOLDER), "--emulator", "--journals", str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, env=env, text=True, cwd=tmp_path) as run, contextlib.ExitStack() as stack:
        assert run.stdout is not None
        stack.callback(run.kill)
        printed = run.stdout.readline().strip().partition(": ")[2]
        end = time.monotonic() + 60
        while not report.exists():
            assert time.monotonic() < end
        seen = json.loads(report.read_text())
        (link,) = set(re.findall(r"http://127[^\"]+", seen["text"]))
        assert (stat.S_IMODE(seen["file"]), stat.S_IMODE(seen["folder"])) == (0o600, 0o700)
        for secret in (link, printed):
            token = secret.partition("token=")[2]
            assert len(token) > 40
            assert not [arguments for arguments in [*seen["processes"], *seen["arguments"]] if token in arguments]
        assert any(str(FOLDER) in arguments for arguments in seen["processes"])
        assert Path(seen["path"]).exists()
        with urllib.request.urlopen(link) as answer:  # noqa: S310  (what it wrote)
            assert answer.status == 200
        assert not Path(seen["path"]).parent.exists()
        run.send_signal(signal.SIGINT)
        assert run.wait(20) == 0


def test_a_file_that_was_not_opened_is_removed_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
    env = {**os.environ, "BROWSER": "true", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(FOLDER), "--emulator", "--journals", str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, env=env, text=True, cwd=tmp_path) as run, contextlib.ExitStack() as stack:
        assert run.stdin is not None
        assert run.stdout is not None
        stack.callback(run.kill)
        run.stdout.readline()
        run.stdin.write("\n")
        run.stdin.flush()
        assert "token=" in run.stdout.readline()  # by now the browser was asked
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 0
    assert not list(tmp_path.glob("vmsseditor-*"))
