"""What the engine tells: numbers that are true, pictures that cost nothing until they are asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.heatmap import grid
from azurerm_lite.progress.lines import as_json
from azurerm_lite.upgrade import plan, resume, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules import events as told

from .worlds import FAILING, NEW, stage, wanted, watched


def kinds(events: list[Any], *left_out: str) -> list[str]:
    return [one["kind"] for one in events if one["kind"] not in left_out]


def test_every_step_is_told_in_order() -> None:
    _, events = watched(stage(capacity=4), order="batch", batch_size=2, min_healthy_instance_percent=50)
    batch = ["intent", "posted", "ended", "fit", "settled"]
    assert kinds(events, "seen", "polled", "waiting") == ["begin", "model-intent", "model-written", *batch * 2, "end"]
    assert {"seen", "polled"} <= set(kinds(events))


def test_the_numbers_are_true_at_every_moment() -> None:
    made = stage(FAILING, capacity=20)
    verdict, events = watched(made, failure_budget=1)
    for event in events:
        counts, now = event["progress"], event["now"]
        assert counts["available"] >= counts["floor"] == 16
        assert counts["batch"] <= counts["batches"]
        assert set(now.classes) == {str(number) for number in range(20)}
        assert len(grid(now.seen, "progress", classes=now.classes).cells) == 20
    begin, *_, end = events
    assert (begin["progress"]["batch"], begin["progress"]["batches"], begin["progress"]["updated"]) == (0, 5, 0)
    assert set(begin["now"].classes.values()) == {"not-reached"}
    assert end["now"].classes == verdict.classes
    assert (end["progress"]["updated"], end["progress"]["failed"], end["progress"]["seconds_left"]) == (19, 1, None)


def test_who_is_in_the_batch_is_not_available() -> None:
    _, events = watched(stage(capacity=20))
    for event in (one for one in events if one["kind"] in ("posted", "polled")):
        batch = event["now"].batch.ids
        assert {one for one, kind in event["now"].classes.items() if kind == "in-batch"} == set(batch)
        assert event["progress"]["available"] == 20 - len(batch)


def test_the_estimate_is_near_what_it_takes() -> None:
    """After the first batch, on a set whose batches are alike: within a fifth."""
    made = stage(capacity=100)
    made.world.durations["upgrade"] = (301.0, 325.0)
    _, events = watched(made, bake_seconds=30, pause_seconds=20)
    end = events[-1]["at"]
    checked = 0
    for event in events:
        if event["kind"] == "settled" and event["progress"]["seconds_left"]:
            assert event["progress"]["seconds_left"] == pytest.approx(end - event["at"], rel=0.2)
            checked += 1
    assert checked == 4


def test_an_event_is_json_but_for_what_views_use() -> None:
    _, events = watched(stage(FAILING, capacity=10), failure_budget=1)
    for event in events:
        again = json.loads(json.dumps(as_json(event)))
        assert again["kind"] == event["kind"]
        assert again["progress"] == event["progress"]


def test_nothing_is_worked_out_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(capacity=10)
    monkeypatch.setattr(told, "event", lambda *_: pytest.fail("worked out for nobody"))
    assert upgrade(made.arm, wanted(made)).ok


def test_before_the_model_is_written_nobody_is_current_already() -> None:
    """A change that moves no image version: the flag alone would call everyone done."""
    made = stage(capacity=5)
    found = plan(made.arm, *made.address, lambda model: model["properties"]["virtualMachineProfile"].update(
        licenseType="Windows_Server"))  # fmt: skip
    events: list[Any] = []
    upgrade(made.arm, found, on_event=events.append)
    assert set(events[0]["now"].classes.values()) == {"not-reached"}
    assert events[-1]["progress"]["updated"] == 5


def stopped_after_two(made: Stage, path: str) -> None:
    settled: list[Any] = []

    def hear(event: Any) -> None:
        settled.extend([event] if event["kind"] == "settled" else [])

    upgrade(made.arm, wanted(made), journal=path, on_event=hear, should_stop=lambda: len(settled) == 2)


def test_who_resumes_is_told_where_it_stands(tmp_path: Path) -> None:
    made, path = stage(capacity=20), str(tmp_path / "web.jsonl")
    stopped_after_two(made, path)
    events: list[Any] = []
    assert resume(made.arm, path, on_event=events.append).ok
    first = events[0]
    assert (first["kind"], first["version"], first["emulator"]) == ("resumed", NEW, True)
    assert (first["progress"]["updated"], first["progress"]["batch"], first["progress"]["batches"]) == (8, 2, 5)
    assert first["progress"]["available"] is None  # not looked yet


def test_a_rollback_says_that_it_is_one(tmp_path: Path) -> None:
    made, path = stage(capacity=10), str(tmp_path / "web.jsonl")
    upgrade(made.arm, wanted(made), journal=path)
    events: list[Any] = []
    assert rollback(made.arm, path, on_event=events.append).ok
    assert (events[0]["kind"], events[0]["takes_back"]) == ("begin", True)
