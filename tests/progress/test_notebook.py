"""The notebook, run headless: no cell fails, the pictures change in place, and they name the emulator."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from azurerm_lite.progress.html import render_html
from azurerm_lite.progress.state import ViewState, apply_event
from tests.heatmap.test_html import check_safe
from tests.heatmap.worlds import HOSTILE

from .worlds import make_stage, run_upgrade

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "upgrade.ipynb"


class Kernel(AsyncKernelManager):
    """The Python that runs the tests, not an installed kernel."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


class Watching(nbclient.NotebookClient):
    """Records the pictures that each cell displayed, in order."""

    shown: dict[int, list[str]]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data") and "text/html" in msg["content"]["data"]:
            self.shown.setdefault(cell_index, []).append(msg["content"]["data"]["text/html"])
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[int, list[str]]]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    client = Watching(notebook, timeout=120, kernel_manager_class=Kernel, resources=where)
    client.shown = {}
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return notebook, client.shown


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_no_cell_fails_or_warns(executed: Any) -> None:
    kinds = {output.output_type for output in outputs(executed[0])}
    assert kinds == {"display_data", "execute_result"}  # no error, nothing on stdout or stderr


def test_the_heatmap_changes_in_place(executed: Any) -> None:
    """Each of the four runs is one output that is updated, and its counts change.

    How often depends on how quick the machine is: a picture is due three times a second.
    """
    notebook, shown = executed
    assert len(shown) == 4
    changes = []
    for index, pictures in shown.items():
        displays = [output for output in notebook.cells[index].outputs if output.output_type == "display_data"]
        assert [output.data["text/html"] for output in displays] == pictures[-1:]
        heatmaps = {tuple(re.findall(r"</b> ([a-z-]+ [0-9]+)</span>", html)) for html in pictures}
        assert len(heatmaps) >= 2
        changes.append(heatmaps)
    assert max(map(len, changes)) >= 4
    assert any("in-batch" in state for states in changes[-1] for state in states)


def test_it_shows_a_stop_a_pause_and_a_success(executed: Any) -> None:
    texts = [output.data["text/plain"] for output in outputs(executed[0]) if "text/plain" in output.data]
    verdicts = [text for text in texts if text.startswith("<Verdict")]
    ways = ["stopped", "paused", "stopped", "succeeded", "succeeded"]
    assert [text.split()[1].rstrip(":") for text in verdicts] == ways
    assert "1 failed (13)" in verdicts[2]
    assert any("latest 20" in str(output.data.get("text/html")) for output in outputs(executed[0])[-3:])


def test_every_caption_names_the_emulator(executed: Any) -> None:
    notebook, shown = executed
    html = [output.data["text/html"] for output in outputs(notebook) if "text/html" in output.data]
    pictures = [text for text in html if "instances by " in text]
    assert len(pictures) == 7
    assert all("EMULATOR" in text for text in [*pictures, *(text for updates in shown.values() for text in updates)])
    assert all("emulator" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_it_is_stored_without_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_view_of_a_thousand_is_under_300_kb() -> None:
    sizes = []
    views = [ViewState()]

    def record(event: Any) -> None:
        views.append(apply_event(views[-1], event))
        if event["kind"] in ("begin", "posted", "end"):
            sizes.append(len(render_html(views[-1]).encode()))

    run_upgrade(make_stage(capacity=1000), record)
    assert max(sizes) < 300_000


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_of_azure_becomes_text(hostile: str) -> None:
    event = {"kind": "stuck", "at": 1.0, "reason": hostile, "progress": {}}
    check_safe(render_html(apply_event(ViewState(), event)))
    views = [ViewState()]
    run_upgrade(make_stage(capacity=5), lambda event: views.append(apply_event(views[-1], event)))
    last = apply_event(views[-1], {**event, "now": views[-1].now})
    check_safe(render_html(last))
