"""The example over the engine, as a process: plan, run, stop by a signal, resume, roll back."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.emulator import Seed, serve

SCRIPT = Path(__file__).parents[2] / "examples" / "rolling_upgrade.py"
NEW = "22.04.202611120"


def script(*words: str, env: dict[str, str] | None = None, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    kept["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://127.0.0.1:9"
    line = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(
        line, env={**kept, **(env or {})}, input=stdin, capture_output=True, text=True, timeout=100, check=False
    )


def test_it_upgrades_the_emulators_scale_set_and_shows_each_step(journal_file: str) -> None:
    env = {"AZURERM_LITE_EMULATOR_RECORD": journal_file}
    done = script("--emulator", NEW, "--yes", "--canary", "1", "--bake", "30", env=env)
    assert done.returncode == 0, done.stderr
    assert "batch  1  0" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("succeeded (20 updated; 6 batches in ")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--emulator", "9.9.9", "-y"], 1, "does not exist"),
        (["--emulator", NEW, "-y", "--floor", "100"], 2, "none can be spared"),
        (["--emulator", NEW, "-y", "--percent", "0"], 2, "max_batch_instance_percent"),
        (["--emulator", NEW], 3, ""),
        ([NEW, "-r", "g", "-s", "s"], 2, "no credential found"),
    ],
)
def test_what_is_refused_is_one_line_and_an_exit_code(words: list[str], code: int, text: str) -> None:
    done = script(*words, stdin="n\n")
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("answer", ["", "n\n", "yes?\n"])
def test_what_is_not_confirmed_is_not_begun(answer: str) -> None:
    done = script("--emulator", NEW, stdin=answer)
    assert done.returncode == 3
    assert done.stdout.endswith("Go on? [y/N] ")
    assert done.stderr == ""


def test_a_rollback_asks_for_nothing_with_yes(tmp_path: Path) -> None:
    path = str(tmp_path / "web.jsonl")
    with serve(Seed.build(capacity=3), time_scale=2000) as emulator:
        assert (
            script(NEW, "--yes", "--percent", "40", "--floor", "50", "--journal", path, env=emulator.env()).returncode
            == 0
        )
        back = script("--rollback", path, "--yes", env=emulator.env())
        assert back.returncode == 0, back.stderr
        assert "Go on?" not in back.stdout
        assert "batch  1" in back.stdout


def test_a_signal_stops_it_at_a_safe_point_and_it_is_gone_on_with_and_taken_back(tmp_path: Path) -> None:
    path = str(tmp_path / "web.jsonl")
    with serve(Seed.build(capacity=10), time_scale=40) as emulator:
        env = {"PATH": os.environ["PATH"], **emulator.env()}
        line = [sys.executable, str(SCRIPT), NEW, "--yes", "--journal", path]
        child: Any = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for shown in child.stdout:
            if "upgrading" in shown:
                child.send_signal(signal.SIGTERM)
                break
        rest, error = child.communicate(timeout=60)
        assert child.returncode == 1, error
        assert "cancelled" in rest
        assert f"--resume {path}" in error
        emulator.set_time_scale(2000)
        done = script("--resume", path, env=emulator.env())
        assert done.returncode == 0, done.stderr
        (scale_set,) = emulator.simulation.scale_sets
        assert all(len(vm.upgrades) == 1 for vm in scale_set.instances.values())
        writes = len(emulator.recorder.writes())
        for answer in ("n\n", ""):  # a no, and nobody who could answer
            refused = script("--rollback", path, env=emulator.env(), stdin=answer)
            assert refused.returncode == 3, refused.stderr
            assert f"{NEW} -> 22.04.202608150" in refused.stdout
            assert "batch  1" in refused.stdout
            assert refused.stdout.endswith("Go on? [y/N] ")
            assert refused.stderr == ""
        assert len(emulator.recorder.writes()) == writes
        back = script("--rollback", path, "--journal", str(tmp_path / "back.jsonl"), env=emulator.env(), stdin="y\n")
        assert back.returncode == 0, back.stderr
        assert scale_set.image["version"] == "22.04.202608150"
        assert json.loads(Path(path).read_text().splitlines()[0])["kind"] == "begin"
