"""The fenced blocks of a page, and what the comment above one says of it. PURE."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
)
RUN = ("python", "sh")
# Shown and not run: what is printed, data, pipelines of other services, and Azure's PowerShell, which needs Azure.
SHOWN = ("text", "json", "yaml", "powershell")
_FENCE = re.compile(r"^(?:<!-- (?P<mark>[^>]*?) -->\n)?```(?P<language>\S*)\n(?P<text>.*?)^```$", re.S | re.M)


class Block(NamedTuple):
    """`mark`: "not run: WHY", "needs: az", or "prints": this is what the block above it prints."""

    line: int
    language: str
    mark: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, one.start("text")) + 1, one["language"], one["mark"] or "", one["text"])
        for one in _FENCE.finditer(text)
    ]


def matches(wanted: str, got: str) -> bool:
    """Whether the output is the one shown. A line `...` stands for any lines, `...` within one for any text."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
        for line in wanted.splitlines()
    )
    return re.fullmatch(pattern, got if got.endswith("\n") else got + "\n") is not None
