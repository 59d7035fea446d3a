"""Every block of README and docs does what it says: Python and shell are run, page by page, on an emulator.

The Python blocks of a page are one session: `az`, `arm`, `web` and `emulator` are there, as the pages say, and waiting
is done by the emulator's clock. The shell blocks of a page are one session too, in a folder with `examples/` in it.
"""

import contextlib
import inspect
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import azurerm_lite as az

from .blocks import PAGES, ROOT, RUN, SHOWN, Block, blocks, matches


@pytest.fixture
def session(
    azurerm_client: az.Arm, azurerm_emulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The names that a page's Python may use; `connect()` finds the emulator, and waits by its clock."""
    monkeypatch.chdir(tmp_path)
    for name, value in azurerm_emulator.env().items():
        monkeypatch.setenv(name, value)
    clock = azurerm_emulator.clock
    functions: tuple[Any, ...] = (inspect.unwrap(az.Arm.__init__), inspect.unwrap(az.connect))
    for defaults in (function.__kwdefaults__ for function in functions):
        for name, value in (("sleep", clock.sleep), ("now", clock.time), ("monotonic", clock.time)):
            monkeypatch.setitem(defaults, name, value)
    web = az.ScaleSet(azurerm_emulator.subscription_id, azurerm_emulator.resource_group, azurerm_emulator.vmss_name)
    return {"__name__": "page", "az": az, "arm": azurerm_client, "web": web, "emulator": azurerm_emulator}


class Shell:
    """Blocks of sh, one after another, as in one terminal: variables stay, and what runs in the background goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._groups = folder, list[int]()
        (folder / "examples").symlink_to(ROOT / "examples")
        (folder / "bin").mkdir()
        # A script and not a link: an interpreter finds its environment by where it is called.
        (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin" / "python").chmod(0o755)
        programs = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {"HOME": str(folder), "PATH": programs, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        kept["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://127.0.0.1:9"  # nobody: no VM's identity is looked for
        self._env = {**kept, "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_ONLY_SHOW_ERRORS": "true"}
        if program := os.environ.get("AZURERM_LITE_AZ"):
            (folder / "bin" / "az").symlink_to(program)

    def run(self, block: Block) -> str:
        (self.folder / "block.sh").write_text(
            f"test ! -f state || . ./state\n{block.text}\nexport -p > state\n", encoding="utf-8"
        )
        with (self.folder / "out").open("w") as out:
            process = subprocess.Popen(
                ["sh", "-eu", "block.sh"], cwd=self.folder, env=self._env, stdout=out, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            self._groups.append(process.pid)
            code = process.wait(timeout=100)
        printed = (self.folder / "out").read_text()
        assert code == 0, f"the block at line {block.line} ended with {code}:\n{printed}"
        return printed

    def close(self) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "shell"
    folder.mkdir()
    made = Shell(folder)
    yield made
    made.close()


def run_python(page: Path, block: Block, names: dict[str, Any]) -> str:
    """What the block prints; tests that it defines are called, with the fixtures that they ask for."""
    text = block.text.replace("<subscription id>", names["web"].subscription_id)
    printed, before = io.StringIO(), set(names)
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (block.line - 1) + text, str(ROOT / page), "exec"), names)
        for name in [one for one in names if one.startswith("test_") and one not in before]:
            given = {"azurerm_client": names["arm"], "azurerm_emulator": names["emulator"]}
            names[name](**{one: given[one] for one in inspect.signature(names[name]).parameters})
    return printed.getvalue()


def wanting(block: Block) -> str:
    """Why a block cannot be run here; a newcomer may lack a tool, CI may not."""
    if block.mark.startswith("not run: "):
        return block.mark
    if block.mark == "needs: az" and not os.environ.get("AZURERM_LITE_AZ"):
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_AZ")
        pytest.skip("AZURERM_LITE_AZ does not name an az executable")
    return ""


@pytest.mark.parametrize("page", [one for one in PAGES if any(b.language in RUN for b in blocks(one))], ids=str)
def test_the_blocks_of_a_page_do_what_it_says(page: Path, session: dict[str, Any], shell: Shell) -> None:
    printed = ""
    for block in blocks(page):
        if block.language in RUN and not wanting(block):
            printed = shell.run(block) if block.language == "sh" else run_python(page, block, session)
        if block.mark == "prints":
            assert matches(block.text, printed), f"{page}:{block.line} shows something else than\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        directive = block.language.startswith("{")
        assert directive or block.language in (*RUN, *SHOWN), f"{page}:{block.line}: what is {block.language!r}?"
        marks = ("", "prints", "needs: az")
        assert block.mark in marks or re.match(r"not run: \S.{15,}", block.mark), f"{page}:{block.line}: {block.mark}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Those to our own files are followed; those to the Internet are looked at only: nothing is fetched."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http", "mailto")):
            parts = urlsplit(target)
            assert parts.scheme == "https", f"{page}: {target} is not https"
            assert re.fullmatch(r"[a-z0-9.-]+\.[a-z]{2,}", parts.hostname or ""), f"{page}: {target} has no host"
            assert not parts.username, f"{page}: {target} names a user"
        elif not target.startswith("#"):
            assert (ROOT / page.parent / target.partition("#")[0]).exists(), f"{page}: there is no {target}"


def test_az_of_this_machine_is_not_taken_by_chance(shell: Shell) -> None:
    """Blocks find the az that AZURERM_LITE_AZ names, or none that a test relies on."""
    named = os.environ.get("AZURERM_LITE_AZ")
    found = shutil.which("az", path=str(shell.folder / "bin"))
    assert (found is not None) == bool(named)


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a ... d\n", "a b c d\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\nd\n", "a\nb\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_what_is_shown_is_compared(wanted: str, got: str, same: bool) -> None:
    assert matches(wanted, got) is same
