"""Events as lines in pipes, logs and JSON: complete, without control characters, and never stopping the upgrade."""

import io
import json
import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.heatmap import STYLES
from azurerm_lite.progress import JsonLines, Lines, LogLines, describe
from azurerm_lite.progress.event_text import format_duration, format_estimate, format_timestamp
from azurerm_lite.types import ScaleSet
from azurerm_lite.upgrade import azure_rolling_upgrade
from tests.heatmap.worlds import HOSTILE

from .worlds import FAILING, NEW, make_stage, run_upgrade

COUNTS = {"batch": 2, "batches": 5, "updated": 4, "known": 20, "instances": 20, "floor": 16, "seconds_left": 200.0}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "intent", "ids": ["1", "2"], "canary": True}, "batch 2 of 5: upgrading 1, 2 (canary)"),
        ({"kind": "posted"}, ""),
        ({"kind": "posted", "found_again": True}, "batch 2 of 5: found under way"),
        ({"kind": "unposted", "ids": ["1"], "reason": "busy"}, "the next batch was not begun: busy"),
        ({"kind": "ended", "took": 39.2}, "batch 2 of 5: through in 0:39, waiting for health"),
        ({"kind": "intent", "ids": list("abcdefg")}, "batch 2 of 5: upgrading 7 instances: a, b, c, d, e, f, g"),
        ({"kind": "ended", "error": "VMExtensionError"}, "batch 2 of 5: VMExtensionError"),
        ({"kind": "ended", "error": "POST /subscriptions/s: 409 Busy: wait"}, "batch 2 of 5: 409 Busy: wait"),
        ({"kind": "gate", "said": "fail", "reason": "503"}, "batch 2 of 5: the gate says fail: 503"),
        (
            {"kind": "settled", "classes": {"1": "updated", "2": "failed"}},
            "batch 2 of 5: 1 updated, 1 failed (2); 4 of 20 updated, about 3 min left",
        ),
        ({"kind": "checkpoint", "percent": 50}, "checkpoint at 50 %"),
        ({"kind": "guarded", "on": True}, "automatic repairs suspended"),
        ({"kind": "waiting", "reason": "baking"}, ""),
        ({"kind": "fit", "scale_set": ScaleSet("s", "g", "web").resource_id}, "web: batch 2 of 5: healthy"),
        (
            {"kind": "end", "verdict": {"outcome": "succeeded", "reason": "", "counts": {"updated": 1}, "batches": 1}},
            "succeeded (1 updated; 1 batch)",
        ),
        ({"kind": "of-tomorrow", "reason": "new"}, "of-tomorrow: new"),
    ],
)
def test_the_text_of_each_kind(event: dict[str, Any], line: str) -> None:
    assert describe({"at": 0.0, "progress": COUNTS, **event}).line == line


def test_a_failure_is_marked_as_bad() -> None:
    assert describe({"kind": "settled", "classes": {"1": "failed"}, "progress": COUNTS}).bad
    assert not describe({"kind": "settled", "classes": {"1": "updated"}, "progress": COUNTS}).bad


@pytest.mark.parametrize("hostile", HOSTILE)
def test_untrusted_text_has_no_control_characters(hostile: str) -> None:
    for event in (
        {"kind": "stuck", "reason": hostile},
        {"kind": "ended", "error": hostile},
        {"kind": "settled", "classes": {hostile: hostile}},
        {"kind": "intent", "ids": [hostile]},
        {"kind": hostile, "reason": hostile},
    ):
        line = describe({"progress": COUNTS, **event}).line
        assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize(("seconds", "text"), [(39, "0:39"), (252, "4:12"), (3852, "1:04:12"), (-1, "0:00")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(3, "10 s"), (44, "40 s"), (360, "6 min"), (4200, "1 h 10 min")])
def test_estimates_are_rounded(seconds: float, text: str) -> None:
    assert format_estimate(seconds) == text


def test_a_pipe_gets_a_line_for_each_event() -> None:
    stream = io.StringIO()
    run_upgrade(make_stage(FAILING, capacity=20), Lines(stream), failure_budget=1, bake_seconds=60)
    lines = [line.partition(" ")[2] for line in stream.getvalue().splitlines()]
    assert lines[0] == f"web: 20 instances to {NEW}, 5 batches, at least 16 stay available, EMULATOR"
    assert "batch 2 of 5: upgrading 1, 6, 11, 16" in lines
    assert any("3 updated, 1 failed (3); 15 of 20 updated" in line for line in lines)
    assert lines[-1] == "succeeded (1 failed, 19 updated; 6 batches)"
    assert lines.count("waiting for: baking") == 6  # once for each batch, not at each poll
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().startswith(format_timestamp(1_790_000_000.0))


def test_a_log_gets_the_same_lines_and_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_upgrade(make_stage(FAILING, capacity=10), LogLines(logging.getLogger("roll-out")))
    levels = {record.getMessage().partition(" (")[0]: record.levelname for record in caplog.records}
    assert levels["writing the model"] == "INFO"
    assert any(text.startswith("stopped: 1 failed") and level == "WARNING" for text, level in levels.items())


def test_json_lines_hold_every_event() -> None:
    stream = io.StringIO()
    verdict, events = run_upgrade(make_stage(capacity=10), JsonLines(stream))
    parsed = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["kind"] for event in parsed] == [event["kind"] for event in events]
    assert parsed[-1]["verdict"]["counts"] == verdict.counts
    assert all("now" not in event for event in parsed)


def test_a_rolling_upgrade_by_azure_has_lines() -> None:
    stage, stream = make_stage(mode="Rolling", capacity=10), io.StringIO()
    assert azure_rolling_upgrade(stage.arm, *stage.address, NEW, on_event=Lines(stream)).ok
    assert "Azure's rolling upgrade: RollingForward, " in stream.getvalue()


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_closed_stream_does_not_stop_the_upgrade() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Gone(), closed):
        verdict, _ = run_upgrade(make_stage(capacity=5), Lines(stream), JsonLines(stream))
        assert verdict.ok


def test_a_stream_of_ascii_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Lines(stream)({"kind": "stuck", "at": 1.0, "reason": "Zürich ist überlastet", "progress": COUNTS})
    assert raw.getvalue() == rb"1970-01-01T00:00:01Z waiting: Z\xfcrich ist \xfcberlastet" + b"\n"


def test_an_error_in_a_callers_view_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It appears in the log, and no batch is left unfinished for it."""

    def wrong(_event: Any) -> None:
        raise RuntimeError("mine")

    verdict, _ = run_upgrade(make_stage(capacity=5), wrong)
    assert verdict.ok
    assert "mine" in caplog.text


def test_the_heatmap_has_a_style_for_instances_in_a_batch() -> None:
    assert "in-batch" in STYLES["progress"]


def test_the_block_of_watching_md_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(capacity=5)
    page = Path(__file__).parents[2] / "docs" / "watching.md"
    (block,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"arm": stage.arm, "web": stage.address}
    exec(block, names)
    assert names["verdict"].ok
    assert (tmp_path / "watched.jsonl").exists()


def test_the_numbers_that_watching_md_lists_are_those_of_an_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    table = page.partition("| Number | Is |")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`([a-z_]+)`", row.split(" | ")[0])}
    _, events = run_upgrade(make_stage(capacity=5))
    assert listed == set(events[0]["progress"])
