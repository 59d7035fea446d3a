"""An upgrade in a window: it fits at every size, and the key figures stay visible."""

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azurerm_lite.heatmap.lines import text_width
from azurerm_lite.progress.html import render_html
from azurerm_lite.progress.layout import ASCII_BAR, UNICODE_BAR, bar_widths, render_window
from azurerm_lite.progress.state import EventLine, ViewState, apply_event
from tests.heatmap.worlds import HOSTILE

from .worlds import FAILING, make_stage, run_upgrade


def at_each_event(*faults: Any, **seed: Any) -> list[ViewState]:
    states = [ViewState()]
    run_upgrade(
        make_stage(*faults, **seed), lambda event: states.append(apply_event(states[-1], event)), failure_budget=1
    )
    return states[1:]


@functools.cache
def small() -> list[ViewState]:
    return at_each_event(FAILING, capacity=20)


@functools.cache
def large() -> list[ViewState]:
    return at_each_event(capacity=1000, zones=("1", "2", "3"))


def text(view: ViewState, width: int, height: int = 40, **options: Any) -> list[str]:
    lines = render_window(view, view.at, width, height, **options)
    return ["".join(piece.text for piece in line).rstrip() for line in lines]


def timeless(line: str) -> str:
    """A line without its times, which depend on the emulator and on the poll gaps of the engine."""
    line = re.sub(r"\b[0-9]{2}:[0-9]{2}:[0-9]{2}\b", "hh:mm:ss", line)
    line = re.sub(r"\b[0-9]{1,2}:[0-9]{2}\b", "m:ss", line)
    return re.sub(r"about [0-9]+ (s|min) ", "about N ", line)


def in_the_middle(views: list[ViewState]) -> ViewState:
    """The state just after the third batch was begun."""
    return next(view for view in views if view.events and view.events[-1].text.startswith("batch 3 of "))


def test_the_view_at_80_columns() -> None:
    assert [timeless(line) for line in text(in_the_middle(small()), 80)] == [
        "web to 22.04.202611120                                                  EMULATOR",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━╍╍╍╍╍╍╍╍╍╍╍╍╍──────────────────────────  8 of 20 done",
        "",
        "batch      3 of 5     upgrading 2, 7, 12, 17 for m:ss",
        "available  16 of 20   floor 16, none to spare",
        "time       m:ss       about N left, until m:ss UTC",
        "",
        "      FD 0  FD 1  FD 2  FD 3  FD 4",
        "UD 0  U     U     U     U",
        "UD 1        U     U     U     U",
        "UD 2  *           *     *     *",
        "UD 3  W     W           W     W",
        "UD 4  W     W     W           W",
        "",
        "U updated 8   * in-batch 4   W not-reached 8",
        "",
        "hh:mm:ss  batch 1 of 5: through in m:ss, waiting for health",
        "hh:mm:ss  batch 1 of 5: healthy",
        "hh:mm:ss  batch 1 of 5: 4 updated; 4 of 20 updated, about N left",
        "hh:mm:ss  batch 2 of 5: upgrading 1, 6, 11, 16",
        "hh:mm:ss  batch 2 of 5: through in m:ss, waiting for health",
        "hh:mm:ss  batch 2 of 5: healthy",
        "hh:mm:ss  batch 2 of 5: 4 updated; 8 of 20 updated, about N left",
        "hh:mm:ss  batch 3 of 5: upgrading 2, 7, 12, 17",
    ]


def test_at_200_columns_the_events_stand_beside_the_heatmap() -> None:
    lines = text(in_the_middle(small()), 200)
    assert len(lines) == 15
    assert timeless(lines[8]).startswith("UD 0  U     U     U     U             hh:mm:ss  batch 2 of 5: ")
    assert lines[-1] == "U updated 8   * in-batch 4   W not-reached 8"


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("height", [10, 24, 50])
@pytest.mark.parametrize("views", [small, large], ids=["20", "1000"])
def test_it_never_leaves_the_window(views: Callable[[], list[ViewState]], width: int, height: int) -> None:
    for view in views()[::9]:
        lines = text(view, width, height)
        assert len(lines) <= height
        assert max(map(text_width, lines)) <= width
        assert lines[0].startswith("web")
        assert lines[3].startswith("batch")


def test_thirty_panels_in_a_small_window_become_counts() -> None:
    lines = text(in_the_middle(large()), 80, 30)
    counts = re.findall(r"[UW*](\d+)", " ".join(line for line in lines if line.startswith("zone")))
    assert sum(map(int, counts)) == 1000
    assert sum("batch" in line for line in lines[-3:]) == 3  # events are still there
    assert lines[3] == "batch      3 of 8        upgrading 166 instances for 0:00"
    assert "and 5 lines more" in text(in_the_middle(large()), 80, 24)


def test_the_bar_can_be_read_without_color_and_in_ascii() -> None:
    view = in_the_middle(small())
    assert text(view, 80, characters=ASCII_BAR)[1].startswith("#" * 27 + "*" * 13 + "-" * 26)
    assert len(set(UNICODE_BAR)) == len(set(ASCII_BAR)) == 4
    assert "x" in text(small()[-1], 80)[1]


def test_a_failure_and_the_end_are_shown() -> None:
    lines = text(small()[-1], 80)
    assert lines[3].split(None, 4) == ["batch", "6", "of", "6", "succeeded"]
    assert lines[5].startswith("time       ")
    assert "ended 14:1" in lines[5]
    assert "F failed 1" in lines[14]


def test_the_clock_moves_on_between_events() -> None:
    view = in_the_middle(small())
    now, later = (
        ["".join(piece.text for piece in line) for line in render_window(view, view.at + more, 80)] for more in (0, 20)
    )
    assert "for 0:00" in now[3]
    assert "for 0:20" in later[3]
    passed = [re.findall(r"time +(\d+):(\d+) ", lines[5])[0] for lines in (now, later)]
    before, after = (60 * int(minutes) + int(seconds) for minutes, seconds in passed)
    assert after - before == 20
    assert now[5].partition("until")[2] == later[5].partition("until")[2]  # the estimate itself stays


def test_being_below_the_floor_is_shown() -> None:
    view = in_the_middle(small())
    assert view.now is not None
    assert view.now.snapshot is not None
    unhealthy = {
        key: instance._replace(health="unhealthy") for key, instance in list(view.now.snapshot.members.items())[:5]
    }
    snapshot = view.now.snapshot._replace(members={**view.now.snapshot.members, **unhealthy})
    below = view._replace(now=view.now._replace(snapshot=snapshot))
    assert "BELOW the floor of 16" in text(below, 80)[4]
    assert "BELOW the floor of 16" in render_html(below)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_events_stay_on_their_line(hostile: str) -> None:
    event = {"kind": "stuck", "at": 1.0, "reason": hostile * 50, "progress": {}}
    lines = text(apply_event(ViewState(), event), 80)
    assert max(map(text_width, lines)) <= 80
    assert not set("\x1b\x07\r\x9b\u202e\u2066\u2028\u200b") & set("".join(lines))


def test_a_rolling_upgrade_by_azure_shows_its_counts() -> None:
    event = {"kind": "platform", "at": 1.0, "status": {"code": "RollingForward"}, "progress": {"successful": 4}}
    assert text(apply_event(ViewState(), event), 80)[2] == "instances  4 successful"


@given(st.lists(st.integers(0, 2000), min_size=4, max_size=4), st.integers(4, 200))
def test_the_parts_fill_the_bar_and_none_is_left_out(parts: list[int], width: int) -> None:
    sizes = bar_widths(tuple(parts), width)
    assert sum(sizes) == (width if sum(parts) else 0)
    assert all(bool(size) == bool(part) for size, part in zip(sizes, parts, strict=True))


@settings(max_examples=40)
@given(st.text(max_size=80), st.integers(1, 250), st.integers(1, 60))
def test_any_event_fits_any_window(message: str, width: int, height: int) -> None:
    view = in_the_middle(small())
    view = view._replace(events=tuple(EventLine(1.0, message, True) for _ in range(9)), activity=message)
    lines = render_window(view, view.at, width, height)
    assert len(lines) <= height
