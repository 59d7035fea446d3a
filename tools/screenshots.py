"""Generate the pictures of README and docs: `python tools/screenshots.py [terminal] [notebook]`.

The terminal picture is the live view of an upgrade on the emulator in virtual time, exported by rich. The notebook
picture is examples/upgrade.ipynb, executed, rendered by nbconvert (extra `pictures`) and captured by a headless
chromium. Check the pictures before you commit them.
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
MAX_BYTES = 200_000  # of a picture
CALM = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (121, 192, 255), (188, 140, 255), (57, 197, 207),
     (177, 186, 196)],
)  # fmt: skip
FONTS = "ui-monospace, 'DejaVu Sans Mono', monospace"


def svg_format() -> str:
    """Rich's SVG format without its font, which would be loaded from the Internet."""
    before, _, rest = CONSOLE_SVG_FORMAT.partition("@font-face")
    return f"{before}{rest[rest.index('.{unique_id}-matrix') :]}".replace("Fira Code, monospace", FONTS)


def main(*names: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    if not names or "terminal" in names:
        for name, (width, height) in SIZES.items():
            write(IMAGES / f"{name}.svg", terminal(width, height).encode())
    if not names or "notebook" in names:
        write(IMAGES / "notebook.png", notebook())


def write(path: Path, data: bytes) -> None:
    """Write a picture, unless it is too large."""
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{path.name} would have {len(data)} bytes, more than {MAX_BYTES}")
    path.write_bytes(data)
    print(f"{path.relative_to(ROOT)}: {len(data)} bytes")


# --- the terminal ----------------------------------------------------------------------------------------------------


def view_of_batch(batch: int) -> ViewState:
    """The view of an upgrade of a hundred instances during a batch, after one failure."""
    stage = Stage(Seed.build(capacity=100, health_source="extension"))
    stage.simulation.faults.add(on="upgrade", instance="37", effect="fail")
    states, views = [ViewState()], list[ViewState]()

    def record(event: dict[str, Any]) -> None:
        states.append(apply_event(states[-1], event))
        if event["kind"] == "polled" and event["progress"]["batch"] == batch:
            views.append(states[-1])

    policy = Policy(canary_instances=1, failure_budget=1)
    upgrade(stage.arm, plan(stage.arm, *stage.address, NEW, policy=policy), on_event=record)
    return views[1]


def terminal(width: int, height: int, batch: int = 5) -> str:
    """The live view in a window of this size, as SVG."""
    view = view_of_batch(batch)
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", highlight=False
    )
    for line in render_window(view, view.at, width, height):
        console.print(rich_text(line))
    title = "azurerm_lite: a rolling upgrade on the emulator"
    return console.export_svg(title=title, theme=CALM, code_format=svg_format(), unique_id="roll-out")


# --- the notebook ----------------------------------------------------------------------------------------------------


def notebook() -> bytes:
    """The last upgrade of the notebook with its picture from the middle of the upgrade, as PNG."""
    sys.path.insert(0, str(ROOT))
    nbconvert, nbformat, run = map(importlib.import_module, ("nbconvert", "nbformat", "tests.progress.test_notebook"))

    notebook_node = nbformat.read(run.NOTEBOOK, as_version=4)
    client = run.Watching(notebook_node, timeout=120, kernel_manager_class=run.Kernel)
    client.shown = {}
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    last = max(client.shown)
    cell = notebook_node.cells[last]
    pictures = [html for html in client.shown[last] if "in-batch" in html]
    cell.outputs = [output for output in cell.outputs if output.output_type == "display_data"]
    cell.outputs[0].data["text/html"] = pictures[len(pictures) // 2]
    notebook_node.cells = notebook_node.cells[last - 1 : last + 1]
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook_node)
    return capture(page, 900, 710)


def capture(page: str, width: int, height: int) -> bytes:
    """A screenshot of an HTML page, as PNG."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        switches = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"]
        switches += ["disable-background-networking", "disable-component-update", "disable-sync"]
        line = [browser, *(f"--{switch}" for switch in switches), f"--user-data-dir={folder}/profile"]
        line += [f"--window-size={width},{height}", "--virtual-time-budget=3000", f"--screenshot={target}"]
        subprocess.run([*line, source.as_uri()], check=True, capture_output=True, timeout=120)
        return target.read_bytes()


if __name__ == "__main__":
    main(*sys.argv[1:])
