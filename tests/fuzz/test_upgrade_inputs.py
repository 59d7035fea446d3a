"""Policies and journals from outside: whatever they hold, a value or our own error comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy, clean_up, plan, resume, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules import stored
from azurerm_lite.upgrade.run import journal as journals

from . import EXAMPLES, documents, fuzz

NEW = "22.04.202611120"
FIELDS = st.sampled_from([*Policy().to_dict(), "nothing"])
VALUES = (
    documents.JSON | st.tuples(documents.SCALARS) | st.binary(max_size=3) | st.just(float("nan")) | st.just(10**400)
)
over_files = settings(
    fuzz, max_examples=max(20, EXAMPLES // 20), suppress_health_check=[*fuzz.suppress_health_check, *HealthCheck]
)


@fuzz
@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_a_policy_is_made_or_refused_and_survives_its_stored_form(fields: dict[str, Any]) -> None:
    try:
        policy = Policy(**fields)
    except az.InvalidInput as error:
        documents.shows_nothing_hidden(error)
        return
    except TypeError:
        assert "nothing" in fields
        return
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@fuzz
@given(documents.JSON | st.dictionaries(FIELDS, VALUES, max_size=4))
def test_a_stored_policy_is_read_or_refused(stored: Any) -> None:
    try:
        Policy.from_dict(stored)
    except az.InvalidInput as error:
        documents.shows_nothing_hidden(error)


# --- journals --------------------------------------------------------------------------------------------------------


def _written(folder: Path) -> list[dict[str, Any]]:
    """The entries of a whole upgrade with guards, and of one that was paused."""
    stage = Stage(Seed.build(capacity=6, health_source="extension"))
    policy = Policy(
        suspend_repairs=True, protect_from_scale_in=True, min_healthy_instance_percent=50, checkpoints=(50,)
    )
    path = str(folder / "j.jsonl")
    upgrade(stage.arm, plan(stage.arm, *stage.address, NEW, policy=policy), journal=path)
    resume(stage.arm, path)
    return journals.read(path)


@pytest.fixture(name="written", scope="module")
def _written_fixture(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return _written(tmp_path_factory.mktemp("journal"))


def lines_of(changed: list[Any]) -> bytes:
    """A file with these entries, sealed anew: as somebody who may write the file could."""
    seal, lines = "", list[bytes]()
    for entry in changed:
        if isinstance(entry, dict):
            try:
                line, seal = stored.sealed(entry, seal)
            except ValueError:  # NaN
                line = json.dumps(entry).encode() + b"\n"
        else:
            line = json.dumps(entry).encode() + b"\n"
        lines.append(line)
    return b"".join(lines)


def folded(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
    for reader in (journals.read, journals.read_trusted):
        try:
            found = reader(path)
            journals.fold(found)
        except az.InvalidInput as error:
            documents.shows_nothing_hidden(error)


@settings(fuzz, suppress_health_check=[*fuzz.suppress_health_check, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_entry_is_read_or_refused(data: st.DataObject, written: list[dict[str, Any]], tmp_path: Path) -> None:
    number = data.draw(st.integers(0, len(written) - 1))
    changed = data.draw(documents.altered(written[number]))
    folded(lines_of([*written[:number], changed, *written[number + 1 :]]), tmp_path / "j")


@settings(fuzz, suppress_health_check=[*fuzz.suppress_health_check, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_entries_in_any_order_are_read_or_refused(data: st.DataObject, written: list[Any], tmp_path: Path) -> None:
    chosen = data.draw(st.lists(st.sampled_from(written), max_size=6))
    folded(lines_of([*data.draw(st.sampled_from([written[:1], []])), *chosen]), tmp_path / "j")


@settings(fuzz, suppress_health_check=[*fuzz.suppress_health_check, HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(max_size=80) | documents.ODD_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    ended=st.booleans(),
)
def test_a_file_of_anything_is_read_or_refused(
    data: bytes, ended: bool, written: list[dict[str, Any]], tmp_path: Path
) -> None:
    folded(data + b"\n" * ended, tmp_path / "j")
    folded(lines_of(written[:3]) + data + b"\n" * ended, tmp_path / "j")


@over_files
@given(data=st.data())
def test_a_changed_journal_is_acted_on_as_planned_or_refused(
    data: st.DataObject, written: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Sealed anew, by somebody who may write the file: it ends in an error of ours, or does what was planned."""
    stage = Stage(Seed.build(capacity=6, health_source="extension"))
    first = {**written[0], "endpoint": stage.arm.base, "world": stage.simulation.id}
    number = data.draw(st.integers(0, min(3, len(written) - 1)))
    kept = [first, *written[1 : number + 1]]
    kept[number] = data.draw(documents.altered(kept[number]))
    path = tmp_path / "j"
    path.write_bytes(lines_of(kept))
    path.chmod(0o600)
    call: Any = data.draw(st.sampled_from([resume, rollback, clean_up]))
    try:
        call(stage.arm, str(path))
    except az.AzurermLiteError as error:
        documents.shows_nothing_hidden(error)
    for entry in stage.app.recorder.find("PATCH"):
        assert set(entry.body or {}) <= {"properties"}
        assert "upgradePolicy" not in (entry.body or {}).get("properties", {})
    assert stage.scale_set.model["sku"]["capacity"] == 6
