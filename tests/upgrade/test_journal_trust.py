"""Which journal may be acted on: who may have written it, where it is from, and what it may do."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve
from azurerm_lite.upgrade import PlanRefused, Policy, Verdict, clean_up, plan, resume, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules import stored
from azurerm_lite.upgrade.run import journal as journals

from . import windows

MID, NEW = "22.04.202610200", "22.04.202611120"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives a file to another user")
CALLS: dict[str, Callable[..., Any]] = {"resume": resume, "rollback": rollback, "clean_up": clean_up}


def paused(path: Path, **options: Any) -> Stage:
    """A world in which an upgrade has paused after its half."""
    stage = Stage(Seed.build(**{"capacity": 6, **options}))
    policy = Policy(checkpoints=(50,), min_healthy_instance_percent=50)
    assert (
        upgrade(stage.arm, plan(stage.arm, *stage.address, NEW, policy=policy), journal=str(path)).outcome == "paused"
    )
    return stage


def planned(path: Path) -> Stage:
    """A world in which an upgrade has written down its plan, and nothing else."""
    stage = Stage(Seed.build(capacity=6))
    with pytest.raises(KeyboardInterrupt):
        upgrade(stage.arm, plan(stage.arm, *stage.address, NEW), journal=str(path), on_event=interrupt)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    return stage


def interrupt(_event: Any) -> None:
    raise KeyboardInterrupt


def writes(stage: Stage) -> int:
    return len(stage.app.recorder.writes())


@pytest.fixture(name="ends_soon", autouse=True)
def _ends_soon() -> Iterator[None]:
    """A wait that does not end, as for the other end of a FIFO, ends the test."""
    signal.alarm(120)
    yield
    signal.alarm(0)


# --- who may have written it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602, 0o660, 0o777, 0o664])
def test_a_journal_that_others_may_write_is_refused_with_the_command_that_mends_it(
    call: str, mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    path.chmod(mode)
    before = len(stage.app.recorder.entries)
    with pytest.raises(az.InvalidInput, match=f"chmod go-w {path}"):
        CALLS[call](stage.arm, str(path))
    assert len(stage.app.recorder.entries) == before
    assert journals.read(path)[0]["kind"] == "begin"  # reading is never refused
    assert path.stat().st_mode & 0o777 == mode  # and nothing is mended behind anybody's back
    path.chmod(mode & ~0o022)
    CALLS[call](stage.arm, str(path))


@needs_root
@pytest.mark.parametrize("call", CALLS)
def test_a_journal_of_another_user_is_refused_with_the_command_that_mends_it(call: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(az.InvalidInput, match=f"uid {NOBODY}.*chown 0 {path}"):
        CALLS[call](stage.arm, str(path))
    assert journals.read(path)[0]["kind"] == "begin"
    os.chown(path, 0, 0)
    CALLS[call](stage.arm, str(path))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o400])
def test_a_journal_that_others_may_read_is_taken_and_closed_to_them(mode: int, tmp_path: Path) -> None:
    """As a CI artifact is unpacked."""
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    path.chmod(mode)
    if os.getuid() != 0 and not mode & 0o200:
        pytest.skip("a file that its owner may not write cannot be resumed")
    assert resume(stage.arm, str(path)).ok
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["fifo", "folder", "nothing", "device"])
def test_what_is_no_plain_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "j.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    stage = Stage(Seed.build(capacity=5))
    wanted = plan(stage.arm, *stage.address, NEW)
    for call in CALLS.values():
        with pytest.raises(az.InvalidInput, match="cannot take up the journal"):
            call(stage.arm, str(path))
    with pytest.raises(az.InvalidInput):
        journals.read(path)
    if kind != "nothing":
        with pytest.raises(az.InvalidInput, match="exists already"):
            upgrade(stage.arm, wanted, journal=str(path))
    assert writes(stage) == 0


def test_a_link_to_a_journal_can_be_read_and_not_resumed(tmp_path: Path) -> None:
    path, link = tmp_path / "j.jsonl", tmp_path / "link"
    stage = paused(path)
    link.symlink_to(path)
    assert journals.read(link) == journals.read(path)
    for call in CALLS.values():
        with pytest.raises(az.InvalidInput, match="cannot take up the journal"):
            call(stage.arm, str(link))


# --- where it is from ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_journal_of_one_emulator_is_refused_by_another_at_another_address(call: str, tmp_path: Path) -> None:
    """As a practice run whose journal meets Azure: the ids are the same."""
    path = tmp_path / "j.jsonl"
    with serve(Seed.build(capacity=4), clock=VirtualClock()) as practice, serve(Seed.build(capacity=4)) as real:
        arm, other = connected(practice), connected(real)
        web = az.ScaleSet(practice.subscription_id, practice.resource_group, practice.vmss_name)
        policy = Policy(checkpoints=(50,), min_healthy_instance_percent=50)
        upgrade(arm, plan(arm, *web, NEW, policy=policy), journal=str(path))
        with pytest.raises(az.InvalidInput, match=f"of {practice.arm_endpoint}, and .* leads to {real.arm_endpoint}"):
            CALLS[call](other, str(path))
        assert real.recorder.writes() == []
        CALLS[call](arm, str(path))


def connected(emulator: Any) -> az.Arm:
    return az.connect(env=emulator.env(), sleep=emulator.clock.sleep, now=emulator.clock.time)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("known", [True, False])
def test_a_journal_of_an_emulator_that_is_gone_is_refused_by_the_next_at_its_address(
    call: str, known: bool, tmp_path: Path
) -> None:
    path = tmp_path / "j.jsonl"
    paused(path)
    later = Stage(Seed.build(capacity=6))
    if known:
        plan(later.arm, *later.address, NEW)
    with pytest.raises(az.InvalidInput, match="that journal is of the emulator"):
        CALLS[call](later.arm, str(path))
    assert writes(later) == 0


def test_a_journal_of_azure_is_refused_by_an_emulator_and_the_other_way_round(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    resealed(path, lambda first: first.update(world=""))
    with pytest.raises(az.InvalidInput, match="that journal is of Azure, and here answers the emulator"):
        resume(stage.arm, str(path))


def test_where_it_is_from_stands_in_the_first_entry(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    first = journals.read(path)[0]
    assert (first["endpoint"], first["world"]) == (stage.arm.base, stage.simulation.id)
    assert first["paths"] == ["properties.virtualMachineProfile.storageProfile.imageReference.version"]


def test_a_file_that_is_swapped_between_two_readings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is that of the set which the first reading named."""
    path, other = tmp_path / "j.jsonl", tmp_path / "other.jsonl"
    stage = paused(path)
    paused(other, vmss_name="db")
    lock = journals.Journal.lock

    def swapped(journal: journals.Journal, *arguments: str) -> None:
        lock(journal, *arguments)
        other.rename(path)

    monkeypatch.setattr(journals.Journal, "lock", swapped)
    with pytest.raises(az.InvalidInput, match="became another one"):
        resume(stage.arm, str(path))
    monkeypatch.undo()
    with pytest.raises(az.InvalidInput, match="emulator"):  # of the other world, and nothing is locked
        resume(stage.arm, str(path))


# --- what it may do --------------------------------------------------------------------------------------------------


def changed(path: Path, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Another entry at that place, its seal as it was."""
    lines = path.read_text().splitlines()
    entry = json.loads(lines[number])
    change(entry)
    lines[number] = json.dumps(entry)
    path.write_text("\n".join(lines) + "\n")


def resealed(path: Path, change: Callable[[dict[str, Any]], Any], number: int = 0) -> None:
    """Another entry at that place, and all of them sealed anew: by somebody who knows how."""
    found, seal, lines = journals.read(path), "", list[bytes]()
    change(found[number])
    for entry in found:
        line, seal = stored.sealed(entry, seal)
        lines.append(line)
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("number", "change"),
    [
        (0, {"patch": {"sku": {"capacity": 1}}}),
        (0, {"undo": {"tags": {"owned": "yes"}}}),
        (0, {"policy": Policy(min_healthy_instance_percent=0, max_batch_instance_percent=100).to_dict()}),
        (0, {"version": MID}),
        (0, {"fingerprint_after": "0" * 16}),
        (0, {"known": ["0"]}),
        (0, {"capacity": 1}),
        (0, {"paths": []}),
        (0, {"reports": True}),
        (2, {"fingerprint": "0" * 16}),
        (-1, {"kind": "guarded", "on": True}),
    ],
)
def test_an_entry_that_was_changed_is_refused_by_its_line(
    call: str, number: int, change: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    changed(path, number, lambda entry: entry.update(change))
    before = writes(stage)
    line = number + 1 if number >= 0 else len(path.read_text().splitlines())
    with pytest.raises(az.InvalidInput, match=f"{path} line {line} was changed after it was written"):
        CALLS[call](stage.arm, str(path))
    assert writes(stage) == before
    assert journals.read(path)


def test_an_entry_that_was_removed_or_moved_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in (lines[:2] + lines[3:], [lines[0], lines[2], lines[1], *lines[3:]], [*lines, lines[-1]]):
        path.write_bytes(b"".join(kept))
        with pytest.raises(az.InvalidInput, match="was changed after it was written"):
            resume(stage.arm, str(path))


def test_another_spelling_of_the_same_entries_is_no_change(tmp_path: Path) -> None:
    """As a tool that reads and writes JSON leaves it."""
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    lines = [json.dumps(json.loads(line), sort_keys=True) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    assert resume(stage.arm, str(path)).ok
    assert journals.read_trusted(path)[-1]["kind"] == "end"


EVIL: list[dict[str, Any]] = [
    {"sku": {"capacity": 1}},
    {"tags": {"owned": "yes"}},
    {"tags": None},
    {"zones": ["1"]},
    {"properties": {"upgradePolicy": {"mode": "Automatic"}}},
    {"sku": {"name": "Standard_D64s_v5"}},
    {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": [{"name": "x"}]}}}},
    {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": MID}}}}},
    {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"sku": "other", "version": NEW}}}}},
    {"properties": None},
    {"identity": {"type": "SystemAssigned"}},
    {"name": "other", "properties": {}},
]


def replace_patch(first: dict[str, Any], patch: dict[str, Any]) -> None:
    """Another patch wherever the plan has it."""
    first["patch"] = first["legs"][0]["patch"] = patch


@pytest.mark.parametrize("where", ["plan", "leg"])
def test_a_patch_that_differs_from_that_of_its_plan_is_never_sent(where: str, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = planned(path)
    resealed(path, lambda first: (first if where == "plan" else first["legs"][0]).update(patch=EVIL[0]))
    with pytest.raises(az.InvalidInput, match="the patch in that journal"):
        resume(stage.arm, str(path))
    assert writes(stage) == 0


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside the image"])
def test_a_patch_that_is_not_the_planned_change_is_never_sent(
    evil: dict[str, Any], beside: bool, tmp_path: Path
) -> None:
    """Sealed anew, so that nothing but the change itself tells."""
    path = tmp_path / "j.jsonl"
    stage = planned(path)
    model = json.dumps(stage.scale_set.model)
    patch = {**(journals.read(path)[0]["patch"] if beside else {}), **evil}
    resealed(path, lambda first: replace_patch(first, patch))
    with pytest.raises(az.InvalidInput, match="the patch in that journal"):
        resume(stage.arm, str(path))
    assert writes(stage) == 0
    assert json.dumps(stage.scale_set.model) == model


@pytest.mark.parametrize("evil", EVIL)
def test_a_way_back_that_is_not_the_planned_one_is_never_sent(evil: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = paused(path)
    resealed(path, lambda first: first.update(undo=evil))
    before = writes(stage)
    with pytest.raises((az.InvalidInput, PlanRefused)):
        rollback(stage.arm, str(path))
    assert writes(stage) == before


def test_the_planned_patch_is_sent_and_the_planned_way_back_too(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = planned(path)
    resealed(path, dict.copy)
    assert resume(stage.arm, str(path)).ok
    assert rollback(stage.arm, str(path)).ok
    assert az.image_text(stage.scale_set.model).endswith("22.04.202608150")


def test_tags_and_capacity_that_others_changed_meanwhile_are_no_reason_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    stage = planned(path)
    az.patch_vmss(stage.arm, *stage.address, {"sku": {"capacity": 7}, "tags": {"a": "b"}}).wait()
    assert resume(stage.arm, str(path)).ok
    assert stage.scale_set.model["sku"]["capacity"] == 7
    assert stage.scale_set.model["tags"]["a"] == "b"


# --- a later change by somebody else ---------------------------------------------------------------------------------


def rolled_out(stage: Stage, version: str, path: Path | None = None) -> Verdict:
    policy = Policy(min_healthy_instance_percent=50)
    journal = None if path is None else str(path)
    return upgrade(stage.arm, plan(stage.arm, *stage.address, version, policy=policy), journal=journal)


def test_a_rollback_over_a_later_change_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    path, stage = tmp_path / "j.jsonl", Stage(Seed.build(capacity=6))
    assert rolled_out(stage, MID, path).ok
    assert rolled_out(stage, NEW).ok
    before = writes(stage)
    with pytest.raises(PlanRefused, match="somebody has written the model since"):
        rollback(stage.arm, str(path))
    assert writes(stage) == before
    assert rollback(stage.arm, str(path), over_later_changes=True).ok


@pytest.mark.parametrize("words", ["yes", 1, None])
def test_only_true_allows_it(words: Any, tmp_path: Path) -> None:
    with pytest.raises(az.InvalidInput, match="over_later_changes must be True or False"):
        rollback(Stage(Seed.build(capacity=2)).arm, str(tmp_path / "j"), over_later_changes=words)


def test_a_change_by_others_to_other_parts_does_not_hinder_a_rollback(tmp_path: Path) -> None:
    path, stage = tmp_path / "j.jsonl", Stage(Seed.build(capacity=6))
    assert rolled_out(stage, NEW, path).ok
    az.patch_vmss(stage.arm, *stage.address, {"tags": {"team": "b"}}).wait()
    assert rollback(stage.arm, str(path)).ok
    assert stage.scale_set.model["tags"]["team"] == "b"


# --- Windows, simulated ----------------------------------------------------------------------------------------------


def test_windows_simulated_an_upgrade_begins_is_resumed_and_rolled_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No fchmod, no owner, no mode, folders that cannot be opened."""
    path = tmp_path / "j.jsonl"
    windows.simulate(monkeypatch, tmp_path / "local")
    stage = paused(path)
    path.chmod(0o666)  # as every file looks there
    assert resume(stage.arm, str(path)).ok
    assert rollback(stage.arm, str(path), new_journal=str(tmp_path / "back.jsonl")).ok
    assert not list((tmp_path / "local" / "azurerm-lite").iterdir())


def test_windows_simulated_the_emulator_writes_its_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from azurerm_lite.emulator import recorder as record

    windows.simulate(monkeypatch, tmp_path)
    stage = Stage(Seed.build(capacity=2))
    stage.app.recorder.write_to(str(tmp_path / "record.jsonl"))
    az.get_vmss(stage.arm, *stage.address)
    stage.app.recorder.close()
    assert [entry.method for entry in record.read(str(tmp_path / "record.jsonl"))] == ["GET"]
