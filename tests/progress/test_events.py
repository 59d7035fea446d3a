"""The events of the engine: their numbers are true, and they cost nothing without a listener."""

import json
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.errors import InvalidInput
from azurerm_lite.heatmap import grid
from azurerm_lite.progress import describe, for_stream
from azurerm_lite.progress.lines import as_json
from azurerm_lite.upgrade import plan, resume, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules import events as engine_events

from .worlds import FAILING, NEW, make_plan, make_stage, run_upgrade


def kinds(events: list[Any], *excluded: str) -> list[str]:
    return [event["kind"] for event in events if event["kind"] not in excluded]


def test_every_step_has_an_event_in_order() -> None:
    _, events = run_upgrade(make_stage(capacity=4), batch_by="batch", batch_size=2, min_healthy_instance_percent=50)
    batch = ["intent", "posted", "ended", "fit", "settled"]
    assert kinds(events, "seen", "polled", "waiting") == ["begin", "model-intent", "model-written", *batch * 2, "end"]
    assert {"seen", "polled"} <= set(kinds(events))


def test_the_numbers_of_every_event_are_true() -> None:
    stage = make_stage(FAILING, capacity=20)
    verdict, events = run_upgrade(stage, failure_budget=1)
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


def test_instances_in_a_batch_are_not_available() -> None:
    _, events = run_upgrade(make_stage(capacity=20))
    for event in (event for event in events if event["kind"] in ("posted", "polled")):
        batch = event["now"].batch.ids
        assert {instance_id for instance_id, kind in event["now"].classes.items() if kind == "in-batch"} == set(batch)
        assert event["progress"]["available"] == 20 - len(batch)


def test_the_estimate_is_within_a_fifth() -> None:
    """After the first batch, on a set with batches of equal length."""
    stage = make_stage(capacity=100)
    stage.simulation.events.durations["upgrade"] = (301.0, 325.0)
    _, events = run_upgrade(stage, bake_seconds=30, pause_seconds=20)
    end = events[-1]["at"]
    checked = 0
    for event in events:
        if event["kind"] == "settled" and event["progress"]["seconds_left"]:
            assert event["progress"]["seconds_left"] == pytest.approx(end - event["at"], rel=0.2)
            checked += 1
    assert checked == 4


def test_an_event_without_now_is_json() -> None:
    _, events = run_upgrade(make_stage(FAILING, capacity=10), failure_budget=1)
    for event in events:
        again = json.loads(json.dumps(as_json(event)))
        assert again["kind"] == event["kind"]
        assert again["progress"] == event["progress"]


def test_no_event_is_computed_without_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(capacity=10)
    monkeypatch.setattr(engine_events, "event", lambda *_: pytest.fail("worked out for nobody"))
    assert upgrade(stage.arm, make_plan(stage)).ok


def test_before_the_model_is_written_no_instance_is_current() -> None:
    """The change moves no image version: by latestModelApplied alone every instance would be done."""
    stage = make_stage(capacity=5)
    license_plan = plan(stage.arm, *stage.address, lambda model: model["properties"]["virtualMachineProfile"].update(
        licenseType="Windows_Server"))  # fmt: skip
    events: list[Any] = []
    upgrade(stage.arm, license_plan, on_event=events.append)
    assert set(events[0]["now"].classes.values()) == {"not-reached"}
    assert events[-1]["progress"]["updated"] == 5


def stopped_after_two(stage: Stage, path: str) -> None:
    settled: list[Any] = []

    def record(event: Any) -> None:
        settled.extend([event] if event["kind"] == "settled" else [])

    upgrade(stage.arm, make_plan(stage), journal=path, on_event=record, should_stop=lambda: len(settled) == 2)


def test_a_resumed_upgrade_begins_with_its_progress(tmp_path: Path) -> None:
    stage, path = make_stage(capacity=20), str(tmp_path / "web.jsonl")
    stopped_after_two(stage, path)
    events: list[Any] = []
    assert resume(stage.arm, path, on_event=events.append).ok
    first = events[0]
    assert (first["kind"], first["version"], first["emulator"]) == ("resumed", NEW, True)
    assert (first["progress"]["updated"], first["progress"]["batch"], first["progress"]["batches"]) == (8, 2, 5)
    assert first["progress"]["available"] is None  # the instances have not been listed yet


def test_a_rollback_is_marked_as_one(tmp_path: Path) -> None:
    stage, path = make_stage(capacity=10), str(tmp_path / "web.jsonl")
    upgrade(stage.arm, make_plan(stage), journal=path)
    events: list[Any] = []
    assert rollback(stage.arm, path, on_event=events.append).ok
    assert (events[0]["kind"], events[0]["takes_back"]) == ("begin", True)


@pytest.mark.parametrize("event", ["settled", None, 5, [], {1: 2}])
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(InvalidInput, match="event must be an object"):
        describe(event)


@pytest.mark.parametrize("stream", [None, "out", 5])
def test_what_is_no_stream_is_refused(stream: Any) -> None:
    with pytest.raises(InvalidInput, match="stream"):
        for_stream(stream)
