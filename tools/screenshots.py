"""Make the pictures of README and docs anew: `python tools/screenshots.py [terminal] [notebook]`.

The terminal is an upgrade on the emulator in virtual time, drawn by the live view itself and exported by rich. The
notebook is examples/upgrade.ipynb, run, shown by nbconvert (extra `pictures`) and photographed by a headless chromium.
Look at them before they are committed.
"""

import importlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from azurerm_lite.emulator import Seed
from azurerm_lite.progress.layout import render_window
from azurerm_lite.progress.live import rich_text
from azurerm_lite.progress.state import ViewState, apply_event
from azurerm_lite.upgrade import Policy, plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
NEW = "22.04.202611120"
SIZES = {"terminal": (80, 25), "terminal-wide": (150, 17)}
LARGEST = 200_000  # bytes of a picture
CALM = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (121, 192, 255), (188, 140, 255), (57, 197, 207),
     (177, 186, 196)],
)  # fmt: skip
FONTS = "ui-monospace, 'DejaVu Sans Mono', monospace"


def form() -> str:
    """Rich's own form without its font, which it loads from elsewhere: a picture of ours needs nothing else."""
    before, _, rest = CONSOLE_SVG_FORMAT.partition("@font-face")
    return f"{before}{rest[rest.index('.{unique_id}-matrix') :]}".replace("Fira Code, monospace", FONTS)


def main(*wanted: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    if not wanted or "terminal" in wanted:
        for name, (width, height) in SIZES.items():
            keep(IMAGES / f"{name}.svg", terminal(width, height).encode())
    if not wanted or "notebook" in wanted:
        keep(IMAGES / "notebook.png", notebook())


def keep(path: Path, data: bytes) -> None:
    if len(data) > LARGEST:
        raise SystemExit(f"{path.name} would have {len(data)} bytes, more than {LARGEST}")
    path.write_bytes(data)
    print(f"{path.relative_to(ROOT)}: {len(data)} bytes")


# --- the terminal ----------------------------------------------------------------------------------------------------


def under_way(batch: int) -> ViewState:
    """A hundred instances in the middle of an upgrade, one of them failed."""
    made = Stage(Seed.build(capacity=100, health_source="extension"))
    made.simulation.faults.add(on="upgrade", instance="37", effect="fail")
    kept, views = [ViewState()], list[ViewState]()

    def hear(event: dict[str, Any]) -> None:
        kept.append(apply_event(kept[-1], event))
        if event["kind"] == "polled" and event["progress"]["batch"] == batch:
            views.append(kept[-1])

    policy = Policy(canary_instances=1, failure_budget=1)
    upgrade(made.arm, plan(made.arm, *made.address, NEW, policy=policy), on_event=hear)
    return views[1]


def terminal(width: int, height: int, batch: int = 5) -> str:
    """The live view in a window of that size, as SVG."""
    view = under_way(batch)
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", highlight=False
    )
    for line in render_window(view, view.at, width, height):
        console.print(rich_text(line))
    title = "azurerm_lite: a rolling upgrade on the emulator"
    return console.export_svg(title=title, theme=CALM, code_format=form(), unique_id="roll-out")


# --- the notebook ----------------------------------------------------------------------------------------------------


def notebook() -> bytes:
    """The cell of the last upgrade with the picture that it showed half-way, as PNG."""
    sys.path.insert(0, str(ROOT))
    nbconvert, nbformat, run = map(importlib.import_module, ("nbconvert", "nbformat", "tests.progress.test_notebook"))

    found = nbformat.read(run.NOTEBOOK, as_version=4)
    client = run.Watching(found, timeout=120, kernel_manager_class=run.Kernel)
    client.shown = {}
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    last = max(client.shown)
    cell = found.cells[last]
    pictures = [one for one in client.shown[last] if "in-batch" in one]
    cell.outputs = [one for one in cell.outputs if one.output_type == "display_data"]
    cell.outputs[0].data["text/html"] = pictures[len(pictures) // 2]
    found.cells = found.cells[last - 1 : last + 1]
    page, _ = nbconvert.HTMLExporter().from_notebook_node(found)
    return photographed(page, 900, 710)


def photographed(page: str, width: int, height: int) -> bytes:
    """A page as a browser shows it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        switches = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"]
        switches += ["disable-background-networking", "disable-component-update", "disable-sync"]
        line = [browser, *(f"--{one}" for one in switches), f"--user-data-dir={folder}/profile"]
        line += [f"--window-size={width},{height}", "--virtual-time-budget=3000", f"--screenshot={target}"]
        subprocess.run([*line, source.as_uri()], check=True, capture_output=True, timeout=120)
        return target.read_bytes()


if __name__ == "__main__":
    main(*sys.argv[1:])
