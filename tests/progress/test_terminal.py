"""The screen of a terminal: a program writes to a pseudo-terminal, and a terminal emulator shows its output."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pyte
import pytest

from azurerm_lite.progress import Lines, LiveView, for_stream

from .worlds import make_stage, run_upgrade

ROOT = Path(__file__).parents[2]
# The view uses virtual time too, so that every event is drawn.
PROGRAM = """
import sys
from azurerm_lite import progress
from tests.progress.worlds import FAILING, make_stage, run_upgrade
stage = make_stage(FAILING, capacity={capacity})
def other(event):
    {other}
with progress.for_stream(sys.stderr, clock=stage.clock.time) as view:
    run_upgrade(stage, view, other, failure_budget=1)
"""


def run(columns: int, rows: int, *, other: str = "pass", capacity: int = 20, **env: str) -> tuple[bytes, int]:
    """Everything that the program wrote to its terminal, and its exit code."""
    return at_a_terminal(["-c", PROGRAM.format(other=other, capacity=capacity)], columns, rows, **env)


def at_a_terminal(words: list[str], columns: int, rows: int, **env: str) -> tuple[bytes, int]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **env}
    line = [sys.executable, *words]
    with subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT) as child:
        os.close(theirs)
        data = b""
        while chunk := _read(ours):
            data += chunk
    os.close(ours)
    return data, child.returncode


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # how Linux reports that the other side is closed
        return b""


def screens(data: bytes, columns: int, rows: int) -> list[list[str]]:
    """The screen before each new picture and at the end."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    pictures = []
    for part in data.split(b"\r\x1b[2K"):
        stream.feed(part if not pictures else b"\r\x1b[2K" + part)
        pictures.append([line.rstrip() for line in screen.display])
    return pictures


def middle(pictures: list[list[str]]) -> list[str]:
    """The first screen on which the third batch is under way."""
    return next(screen for screen in pictures if any("3 of 5     upgrading 2, 7, 12, 17" in line for line in screen))


def test_at_80_columns() -> None:
    data, code = run(80, 30)
    pictures = screens(data, 80, 30)
    assert code == 0
    screen = middle(pictures)
    top = next(number for number, line in enumerate(screen) if line.startswith("web to 22.04.202611120"))
    assert screen[top].endswith("EMULATOR")
    assert screen[top + 1].endswith("  8 of 20 done")
    assert screen[top + 4] == "available  16 of 20   floor 16, none to spare"
    assert screen[top + 7 : top + 13] == [
        "      FD 0  FD 1  FD 2  FD 3  FD 4",
        "UD 0  U     U     U     U",
        "UD 1        U     U     U     U",
        "UD 2  *           *     *     *",
        "UD 3  W     W           W     W",
        "UD 4  W     W     W           W",
    ]
    assert screen[top + 14] == "U updated 8   * in-batch 4   W not-reached 8"
    assert screen[top + 16].startswith("14:1")
    # The last picture stays, and the cursor is restored below it.
    assert sum(line.startswith("web to") for line in pictures[-1]) == 1
    assert any("succeeded" in line for line in pictures[-1])
    assert data.rstrip().endswith(b"\x1b[?25h")


def test_at_200_columns_the_events_stand_beside() -> None:
    data, _ = run(200, 50)
    screen = middle(screens(data, 200, 50))
    rows = [line for line in screen if line.startswith("UD ")]
    assert len(rows) == 5
    assert all(line[38:].startswith("14:1") for line in rows)
    assert sum(bool(line) for line in screen) <= 13


def test_colors_repeat_the_signs_and_no_color_removes_them() -> None:
    colored, _ = run(80, 30, COLORTERM="truecolor")
    plain, _ = run(80, 30, NO_COLOR="1")
    assert b"48;2;0;158;115mU" in colored  # the green of the heatmap
    for color in (b"48;2", b"38;2", b"48;5", b"38;5", b"[32m", b"[31m", b"[34m"):
        assert color not in plain
    assert screens(plain, 80, 30)[-1] == screens(colored, 80, 30)[-1]


def test_a_small_window_shows_the_head_and_does_not_scroll() -> None:
    data, _ = run(80, 12)
    for screen in screens(data, 80, 12)[5:-1]:
        assert any(line.startswith("batch") for line in screen) or not any(screen)
        assert sum(line.startswith("web to") for line in screen) <= 1


def test_an_ascii_terminal_gets_ascii() -> None:
    data, _ = run(80, 30, PYTHONIOENCODING="ascii")
    assert data.isascii()
    assert b"###" in data


def test_a_dumb_terminal_gets_lines() -> None:
    data, _ = run(80, 30, TERM="dumb")
    assert b"\x1b" not in data
    assert b"Z batch 3 of 5: upgrading 2, 7, 12, 17\r\n" in data


def test_other_output_appears_above_the_view() -> None:
    data, _ = run(80, 50, other="event['kind'] == 'fit' and print('somebody printed this', file=sys.stderr)")
    last = screens(data, 80, 50)[-1]
    printed = [number for number, line in enumerate(last) if line == "somebody printed this"]
    title = next(number for number, line in enumerate(last) if line.startswith("web to"))
    assert printed
    assert max(printed) < title


@pytest.mark.parametrize("way", ["KeyboardInterrupt", "SystemExit(3)"])
def test_the_terminal_is_restored_after_an_exception(way: str) -> None:
    data, code = run(80, 30, other=f"if event['kind'] == 'posted': raise {way}")
    assert code != 0
    assert data.rfind(b"\x1b[?25h") > data.rfind(b"\x1b[?25l")


def test_the_terminal_is_restored_when_the_view_is_not_closed() -> None:
    program = PROGRAM.format(other="if event['kind'] == 'posted': raise KeyboardInterrupt", capacity=20)
    left_open = program.replace("with progress.for_stream(sys.stderr, clock=stage.clock.time) as view:\n    ", (
        "view = progress.for_stream(sys.stderr, clock=stage.clock.time)\n"))  # fmt: skip
    data, code = at_a_terminal(["-c", left_open], 80, 30)
    assert code != 0
    assert b"with progress" not in left_open.encode()
    assert data.rfind(b"\x1b[?25h") > data.rfind(b"\x1b[?25l") >= 0


def test_the_example_shows_it_on_a_terminal() -> None:
    words = ["examples/rolling_upgrade.py", "--emulator", "22.04.202611120", "--yes"]
    data, code = at_a_terminal(words, 100, 60, PYTHONPATH=str(ROOT))
    last = screens(data, 100, 60)[-1]
    assert code == 0
    assert any(line.startswith("batch      5 of 5     succeeded") for line in last)
    assert any(line.startswith("U updated 20") for line in last)
    assert [line for line in last if line][-1].startswith("succeeded (20 updated; 5 batches in ")


def test_a_pipe_gets_lines() -> None:
    line = [sys.executable, "-c", PROGRAM.format(other="pass", capacity=20)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert "\x1b" not in done.stderr
    assert "Z batch 3 of 5: upgrading 2, 7, 12, 17\n" in done.stderr
    assert done.stdout == ""


def test_the_view_suits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(for_stream(io.StringIO()), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI systems set it: colors are not a terminal
    assert isinstance(for_stream(io.StringIO()), Lines)


def test_it_is_drawn_a_few_times_a_second() -> None:
    """A thousand instances, a second of real time, hundreds of events."""
    seconds = [0.0]
    view = LiveView(
        io.StringIO(), clock=lambda: seconds[0], auto_refresh=False, force_terminal=True, width=100, height=40
    )
    drawn: list[float] = []
    draw = view.draw
    view.draw = lambda: (drawn.append(seconds[0]), draw())  # type: ignore[assignment, func-returns-value]
    events: list[Any] = []

    def record(event: Any) -> None:
        events.append(event)
        seconds[0] += 0.01
        view(event)

    run_upgrade(make_stage(capacity=1000), record)
    assert len(events) > 30
    assert len(drawn) <= seconds[0] / 0.3 + 2
    assert drawn[-1] == seconds[0]  # the end is always drawn
