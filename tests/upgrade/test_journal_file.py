"""Row 90: the file of a journal that was cut at any byte is read as whole entries, or refused in words."""

import os
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import plan, resume, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.run import journal as journals
from azurerm_lite.upgrade.run.journal import Journal

NEW = "22.04.202611120"


class Killed(BaseException):
    """What no step can catch: a process that is gone."""


def killed_at(kind: str, path: Path) -> Stage:
    """A world in which an upgrade died right after this entry was written for the first time."""
    made = Stage(Seed.build(capacity=10))

    def die(event: dict[str, Any]) -> None:
        if event["kind"] == kind:
            raise Killed

    with pytest.raises(Killed):
        upgrade(made.arm, plan(made.arm, *made.address, NEW), journal=str(path), on_event=die)
    return made


def test_a_last_line_that_was_cut_anywhere_is_read_over_and_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.jsonl"
    killed_at("posted", path)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # some hundred of them take their time
    *kept, last = path.read_bytes().splitlines(keepends=True)
    whole, entries = b"".join(kept), journals.read(path)[:-1]
    assert len(last) > 200
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        assert journals.read(path) == entries
        journal = Journal(path)
        journal.reopen()
        journal.append({"kind": "x", "cut": cut})
        journal.close()
        assert path.read_bytes().startswith(whole)
        assert journals.read(path) == [*entries, {"kind": "x", "cut": cut}]


def test_a_first_line_that_was_cut_anywhere_is_no_upgrade_and_nothing_is_asked_of_azure(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    made = killed_at("begin", path)
    (first,) = path.read_bytes().splitlines(keepends=True)
    asked = len(made.app.recorder.entries)
    for cut in range(len(first)):
        path.write_bytes(first[:cut])
        assert journals.read(path) == []
        with pytest.raises(az.InvalidInput, match="no whole entry: that upgrade was not begun"):
            resume(made.arm, str(path))
    assert len(made.app.recorder.entries) == asked
    path.write_bytes(first)
    assert resume(made.arm, str(path)).ok


@pytest.mark.parametrize("left", [1, 40, -1])
@pytest.mark.parametrize("kind", ["model-intent", "model-written", "intent", "posted", "ended", "settled"])
def test_who_died_in_the_middle_of_an_entry_is_gone_on_with_and_nothing_happens_twice(
    kind: str, left: int, tmp_path: Path
) -> None:
    path = tmp_path / "j.jsonl"
    made = killed_at(kind, path)
    *kept, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept) + last[:left])
    assert resume(made.arm, str(path)).counts == {"updated": 10}
    assert all(len(vm.upgrades) == 1 for vm in made.scale_set.instances.values())
    assert [one["kind"] for one in journals.read(path)][-1] == "end"


@pytest.mark.parametrize("fails", ["half is written", "nothing is written", "it is not synced"])
def test_an_entry_that_the_disk_did_not_take_leaves_no_half_line_behind(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after it, here the end of the upgrade, would make one broken line of both."""
    made, path, write, sync = Stage(Seed.build(capacity=10)), tmp_path / "j.jsonl", os.write, os.fsync
    last: list[bytes] = []

    def written(handle: int, data: bytes) -> int:
        last.append(data)
        if b'"intent"' not in data or fails == "it is not synced":
            return write(handle, data)
        if fails == "nothing is written":
            raise OSError(28, "No space left on device")
        return write(handle, data[: len(data) // 2])

    def synced(handle: int) -> None:
        sync(handle)
        if fails == "it is not synced" and last and b'"intent"' in last[-1]:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", written)
    monkeypatch.setattr(os, "fsync", synced)
    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW), journal=str(path))
    assert (verdict.outcome, made.app.recorder.find("POST", "manualupgrade")) == ("paused", [])
    monkeypatch.undo()
    kinds = [one["kind"] for one in journals.read(path)]
    assert (kinds[-1], "intent" in kinds) == ("end", False)
    assert resume(made.arm, str(path)).counts == {"updated": 10}
