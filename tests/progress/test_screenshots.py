"""The pictures of README and docs: made by the tool, small and self-contained."""

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
def test_the_terminal_picture_is_reproducible_and_self_contained(tool: Any, name: str) -> None:
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


def test_the_pictures_are_small_and_used() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for path in IMAGES.iterdir():
        assert path.stat().st_size < 200_000
        assert f"images/{path.name}" in shown
