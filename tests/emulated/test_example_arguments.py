"""What a person mistypes for an example ends with 2 before anything is sent; nothing that others wrote is undone."""

import importlib.util
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator.recorder import Recorder
from azurerm_lite.upgrade import PlanRefused, Policy, plan

from .conftest import NEW

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _signal_handlers_of_the_examples() -> Iterator[None]:
    """Restore what an example's main() replaces; as a script it ends with its process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ended(name: str, line: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """The exit code, and what was asked to be changed."""
    writes: list[str] = []
    monkeypatch.setattr(sys, "argv", [name, *line])
    monkeypatch.setattr(
        Recorder, "listeners", [*Recorder.listeners, lambda entry: entry.method != "GET" and writes.append(entry.path)]
    )
    try:
        return int(example(name).main()), writes
    except SystemExit as over:
        return int(over.code or 0), writes


@pytest.mark.parametrize(
    "words",
    [
        *(
            ["-l", ids]
            for ids in ("", "*", '["*"]', "0,*", "0,,1", "[[0]]", '{"0": 1}', "[" * 100_000, "0;1", '"0"', " ")
        ),
        *(["-i", instance] for instance in ("", "*", "0,1", "../0")),
        *(["-u", domain] for domain in ("-1", "x", "1.5", "99999")),
        *(["--all", "--floor", percent] for percent in ("-1", "101", "x", "nan")),
    ],
)
def test_vmssupgrade_refuses_what_names_no_instances(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, writes = ended("vmssupgrade", ["--emulator", "-n", "22.04.202611120", "-y", *words], monkeypatch)
    assert (code, writes) == (2, [])
    assert capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    "words",
    [
        *(["--bake", seconds] for seconds in ("nan", "inf", "-1", "x", "1e300")),
        *(["--pause", seconds] for seconds in ("nan", "-1")),
        *(["--percent", percent] for percent in ("0", "101", "-5", "x", "1.5")),
        *(["--floor", percent] for percent in ("-1", "101")),
        *(["--canary", count] for count in ("-1", "x")),
        *(["--checkpoint", percent] for percent in ("0", "100", "x", "50,75")),
        ["--order", "none"],
        ["--resume", ""],
        ["--rollback", ""],
        ["--resume", "/dev/null"],
        ["--rollback", "/"],
        ["--journal", ""],
    ],
)
def test_rolling_upgrade_refuses_what_is_no_policy_and_no_journal(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, writes = ended("rolling_upgrade", ["--emulator", "22.04.202611120", "--yes", *words], monkeypatch)
    assert (code, writes) == (2, [])
    assert capsys.readouterr().err.strip()


def test_vmssupgrade_without_waiting_keeps_tags_written_since_the_plan(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    wanted = plan(arm, *web, _with_tag_and_version, policy=Policy(instances=("0",)))
    az.patch_vmss(arm, *web, {"tags": {"service": "web", "theirs": "1"}}).wait()
    example("vmssupgrade").start(arm, wanted)
    found = az.get_vmss(arm, *web)
    assert found["tags"] == {"service": "web", "theirs": "1", "release": "42"}
    (write,) = [entry for entry in azurerm_emulator.recorder.find("PATCH") if "properties" in entry.body]
    assert write.headers["if-match"]


def _with_tag_and_version(model: Any) -> az.Edit:
    model["tags"]["release"] = "42"
    return az.set_image_version(model, NEW)


def test_vmssupgrade_without_waiting_undoes_no_model_written_since_the_plan(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    wanted = plan(arm, *web, NEW, policy=Policy(instances=("0",)))
    az.update_vmss(arm, *web, lambda model: model["properties"].update(overprovision=False))
    before = len(azurerm_emulator.recorder.writes())
    with pytest.raises(PlanRefused, match="the model has changed since it was planned"):
        example("vmssupgrade").start(arm, wanted)
    assert len(azurerm_emulator.recorder.writes()) == before
