"""What callers of the engine get wrong is refused in words, before anything is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import (
    Journal,
    azure_rolling_upgrade,
    clean_up,
    command_gate,
    http_gate,
    plan,
    rehearse,
    resume,
    rollback,
    tcp_gate,
    upgrade,
    upgrade_fleet,
    watch_azure_rolling_upgrade,
)
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"
HALF = chr(0xD800)


@pytest.fixture(name="stage")
def _stage() -> Stage:
    return Stage(Seed.build(capacity=5))


def requests(stage: Stage) -> int:
    return len(stage.app.recorder.entries)


def test_a_policy_of_another_type_or_a_change_that_is_none_is_refused_before_anything_is_read(stage: Stage) -> None:
    calls: list[Callable[..., Any]] = [
        lambda **given: plan(stage.arm, *stage.address, **given),
        lambda **given: rehearse(stage.arm, *stage.address, **given),
        lambda **given: upgrade_fleet(stage.arm, [stage.address], **given),
    ]
    for call in calls:
        for given in ({"policy": {"batch_by": "zone"}}, {"policy": "zone"}, {"change": 5}, {"change": ["1.2.3"]}):
            with pytest.raises(az.InvalidInput, match="must be a"):
                call(**given)
    assert requests(stage) == 0


@pytest.mark.parametrize("journal", [5, b"j.jsonl", "", "j\0.jsonl", ["j.jsonl"], True])
def test_a_path_of_a_journal_that_is_none_is_refused_before_anything_is_read(stage: Stage, journal: Any) -> None:
    wanted = plan(stage.arm, *stage.address, NEW)
    before = requests(stage)
    for call in (resume, rollback, clean_up, lambda arm, path: upgrade(arm, wanted, journal=path)):
        with pytest.raises(az.InvalidInput, match="must be a path"):
            call(stage.arm, journal)
    with pytest.raises(az.InvalidInput, match="must be a path"):
        upgrade_fleet(stage.arm, [stage.address], NEW, journals=journal)
    assert requests(stage) == before


def test_without_a_journal_nothing_is_resumed(stage: Stage) -> None:
    calls: list[Any] = [resume, rollback, clean_up]
    for call in calls:
        with pytest.raises(az.InvalidInput, match="journal"):
            call(stage.arm, None)


def test_what_is_no_plan_and_no_function_is_refused(stage: Stage, tmp_path: Path) -> None:
    wanted: Any = plan(stage.arm, *stage.address, NEW)
    before = requests(stage)
    refused: list[dict[str, Any]] = [{"gate": "yes"}, {"on_event": 5}, {"should_stop": True}]
    for given in refused:
        with pytest.raises(az.InvalidInput, match="must be a function"):
            upgrade(stage.arm, wanted, **given)
        with pytest.raises(az.InvalidInput, match="must be a function"):
            resume(stage.arm, str(tmp_path / "j"), **given)
    for other in (wanted.to_dict(), "plan", None):
        with pytest.raises(az.InvalidInput, match="must be a Plan"):
            upgrade(stage.arm, other)
    assert requests(stage) == before


@pytest.mark.parametrize(
    "given",
    [
        *({"scale_sets": one} for one in ("web", b"web", {"web": 1}, 5, None, ["web"], [("a", "b")], [("a", "b", 3)])),
        *({"waves": one} for one in ("100", 100, b"d", ("100",), (True, 100), (5.5, 100), {"5": 1}, (0, 100), [])),
        *({"at_once": one} for one in (True, "5", 0, 1.5, None)),
        *({"workers": one} for one in (True, "5", 0, 1.5, None)),
        *({"failures_allowed": one} for one in (True, "5", -1, 1.5, None)),
        *({"on_event": one} for one in ("x", 5)),
        *({"should_stop": one} for one in (True, "no")),
    ],
)
def test_a_fleet_of_other_types_is_refused_before_anything_is_read(stage: Stage, given: dict[str, Any]) -> None:
    options: dict[str, Any] = {"scale_sets": [stage.address], "workers": 1, **given}
    with pytest.raises(az.InvalidInput):
        upgrade_fleet(stage.arm, options.pop("scale_sets"), NEW, **options)
    assert requests(stage) == 0


def test_one_scale_set_is_no_fleet(stage: Stage) -> None:
    bare: Any = stage.address
    with pytest.raises(az.InvalidInput, match="put the one that you have into a list"):
        upgrade_fleet(stage.arm, bare, NEW)


@pytest.mark.parametrize("faults", ["fail", {"on": "upgrade"}, ["fail"], 5, [5]])
def test_faults_of_a_rehearsal_are_a_sequence_of_objects(stage: Stage, faults: Any) -> None:
    with pytest.raises(az.InvalidInput):
        rehearse(stage.arm, *stage.address, NEW, faults=faults)
    assert requests(stage) == 0


@pytest.mark.parametrize("given", [{"habits": True}, {"habits": 5}, {"random_seed": []}, {"random_seed": HALF}])
def test_a_rehearsal_of_other_types_is_refused_before_anything_is_read(stage: Stage, given: dict[str, Any]) -> None:
    with pytest.raises(az.InvalidInput):
        rehearse(stage.arm, *stage.address, NEW, **given)
    assert requests(stage) == 0


@pytest.mark.parametrize("path", [True, b"j", 5, ["j"], ""])
def test_a_journal_has_a_path(path: Any) -> None:
    with pytest.raises(az.InvalidInput, match="must be a path"):
        Journal(path)


@pytest.mark.parametrize("percent", ["5", True, None, float("nan"), -1, 101])
def test_a_share_of_bad_luck_is_a_number(stage: Stage, percent: Any) -> None:
    with pytest.raises(az.InvalidInput):
        rehearse(stage.arm, *stage.address, NEW, failure_percent=percent)
    assert requests(stage) == 0


@pytest.mark.parametrize("call", [azure_rolling_upgrade, watch_azure_rolling_upgrade])
@pytest.mark.parametrize("given", [{"timeout": "5"}, {"timeout": float("nan")}, {"on_event": 5}, {"should_stop": True}])
def test_azures_own_engine_is_begun_with_right_types_only(stage: Stage, call: Any, given: dict[str, Any]) -> None:
    with pytest.raises(az.InvalidInput):
        call(stage.arm, *stage.address, **given)
    assert requests(stage) == 0


@pytest.mark.parametrize(
    "make",
    [
        *(lambda value=value: tcp_gate(str, value) for value in ("80", 0, 65_536, True, None, 1.5)),
        *(lambda value=value: http_gate(str, status=value) for value in ("200", 99, True, None, (200,))),
        *(lambda value=value: http_gate(str, timeout=value) for value in ("5", -1, float("nan"), True)),
        *(lambda value=value: http_gate(value) for value in ("http://x", None)),
        *(lambda value=value: command_gate(value) for value in ("true", b"true", [], [5], 5, None, {"true": 1})),
    ],
)
def test_a_gate_of_another_type_is_refused_when_it_is_made(make: Any) -> None:
    with pytest.raises(az.InvalidInput):
        make()


@pytest.mark.parametrize("change", ["22.04.202611120", None, 5, {}])
def test_a_change_of_a_model_is_a_function(stage: Stage, change: Any) -> None:
    with pytest.raises(az.InvalidInput, match="change must be a function"):
        az.update_vmss(stage.arm, *stage.address, change)
    assert requests(stage) == 0
