"""The pictures of README and docs: made by the tool, small, and in need of nothing else."""

import importlib.util
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "tools" / "screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["terminal", "terminal-wide"])
def test_the_terminal_is_the_same_whenever_it_is_made_and_loads_nothing(tool: Any, name: str) -> None:
    made = tool.terminal(*tool.SIZES[name])
    assert made == tool.terminal(*tool.SIZES[name])
    for text in (made, (IMAGES / f"{name}.svg").read_text(encoding="utf-8")):
        ElementTree.fromstring(text)  # noqa: S314 - our own output
        assert set(re.findall(r"https?://[^\s\"')]+", text)) == {
            "http://www.w3.org/2000/svg",
            "https://www.textualize.io",
        }
        for text_part in ("EMULATOR", "available", "in-batch", "failed"):
            assert text_part in text.replace("&#160;", " ")


def test_they_are_small_and_all_are_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for path in IMAGES.iterdir():
        assert path.stat().st_size < 200_000
        assert f"images/{path.name}" in shown
