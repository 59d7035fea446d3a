"""The heatmap in a terminal: in color where there is color, plain in a pipe, correct at every width."""

import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.style import Style

from azurerm_lite.heatmap import grid
from azurerm_lite.heatmap.lines import render_text
from azurerm_lite.heatmap.text import show

from .worlds import HOSTILE, instance, snapshot, spread

WORLD = spread(1000, zones=3, groups=4)


def terminal(width: int, colors: Any = "truecolor", **options: Any) -> Console:
    for method in map(Style.__dict__.get, ("parse", "_add")):
        # A style of rich caches the codes of the first terminal that used it.
        getattr(method, "__func__", method).cache_clear()
    environment: dict[str, str] = {"TERM": "xterm-256color", **options.pop("environment", {})}
    return Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system=colors, _environ=environment, **options
    )


def printed(console: Console, heatmap: Any) -> str:
    console.print(heatmap)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("world", [spread(1), spread(20), WORLD], ids=["1", "20", "1000"])
def test_without_color_it_is_plain_text(world: Any, width: int) -> None:
    heatmap = grid(world, "health", title="web")
    text = printed(terminal(width, None), heatmap)
    assert text.rstrip("\n") == render_text(heatmap, width)
    assert max(map(len, text.split("\n"))) <= width


def test_on_a_terminal_each_sign_has_its_color() -> None:
    text = printed(terminal(80), grid(snapshot(instance(0)), title="[bold]web[/bold]"))
    assert "48;2;0;158;115mR\x1b[0m" in text
    assert "[bold]web[/bold]" in text


def test_no_color_is_obeyed() -> None:
    text = printed(terminal(80, environment={"NO_COLOR": "1"}), grid(WORLD, "health"))
    assert "48;2" not in text
    assert "38;2" not in text


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    show(grid(WORLD, "power"), sys.stdout, width=200)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert text.rstrip("\n") == render_text(grid(WORLD, "power"), 200)


def test_hostile_names_do_not_reach_the_terminal() -> None:
    world = snapshot(*(instance(name, zone=name, group=name) for name in HOSTILE))
    for name in HOSTILE:
        text = printed(terminal(80, None), grid(world, title=name))
        assert not set("\x1b\x07\r\x9b\u202e\u2066\u2028\u200b") & set(text)


def test_rich_is_imported_when_needed_and_is_optional(tmp_path: Any) -> None:
    program = """
import sys
from azurerm_lite.heatmap import grid
from azurerm_lite.heatmap.text import show
heatmap = grid([], title="web")
assert heatmap._repr_html_() and str(heatmap)
assert not {"rich", "requests", "msal"} & set(sys.modules)
sys.modules["rich.console"] = None
show(heatmap, sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "web: 0 instances by power\n\nno instances\n"
