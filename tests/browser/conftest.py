"""The editor in a browser: one chromium, one emulator and one server for all of it, a page of its own for each test."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed, serve

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
PACE = 120.0
SWITCHES = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}: the editor is judged in a browser")
    pytest.skip(f"{what} is not here")


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A running browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright (pip install 'azurerm_lite[browser]')")
    path = shutil.which("chromium")
    if path is None:
        _missing("chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=SWITCHES.split())


class Stand:
    """An emulator with its scale sets, and the editor before it."""

    def __init__(self) -> None:
        from vmsseditor import app

        self.emulator = serve(Seed.build("web", capacity=20, health_source="extension"), time_scale=PACE)
        clock: Any = self.emulator.clock
        self.arm = az.connect(env=self.emulator.env(), sleep=clock.sleep, now=clock.time)
        self.clock = 1_000_000.0  # the time by which links and sessions end
        self.server, self.door = app.serve(self.desk(Path()), now=lambda: self.clock)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def desk(self, folder: Path) -> Any:
        from vmsseditor.desk import Desk

        return Desk(self.arm, self.emulator.subscription_id, folder, pace=PACE)

    def open(self, folder: Path) -> None:
        """An editor that knows nothing yet, at the same address."""
        from vmsseditor import app

        self.folder = folder
        self.now = self.desk(folder)
        self.server.app = app.application(self.now, self.door)

    def address(self, name: str = "web") -> az.ScaleSet:
        return az.ScaleSet(self.emulator.subscription_id, self.emulator.resource_group, name)

    def scale_set(self, name: str = "web") -> Any:
        return self.emulator.simulation.scale_sets.get(*self.address(name))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.arm.close()
        self.emulator.stop()


@pytest.fixture(scope="package")
def _stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.close()


@pytest.fixture
def stand(_stand: Stand, tmp_path: Path) -> Iterator[Stand]:
    """The emulator as at its start, and an editor that was just started."""
    _stand.emulator.set_time_scale(PACE)
    _stand.emulator.reset()
    _stand.open(tmp_path)
    yield _stand
    for one in threading.enumerate():  # what a test began ends before the next one begins
        if one.name.startswith(("upgrade ", "rollback ", "write ")):
            one.join(20)


Open = Callable[..., Any]


@pytest.fixture
def visit(chromium: Any, stand: Stand) -> Iterator[Open]:
    """Open the editor as a person does, by its link. What the browser complains of fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def opened(name: str = "", **options: Any) -> Any:
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = chromium.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(40_000)  # a busy machine is no failure
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.goto(stand.door.link())
        if name:
            page.locator("#pick").select_option(label=name)
        page.locator(".cell").first.wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    real = [one for one in complaints if "Failed to load resource" not in one]  # which tests provoke
    assert not real, real


@pytest.fixture
def page(visit: Open) -> Any:
    """The editor, open on its first scale set."""
    return visit()
