"""The package as such: what importing it costs, what it says of itself, what its rooms may not know."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import azurerm_lite

PACKAGE = Path(azurerm_lite.__file__).parent


def test_importing_it_imports_no_http_library_and_no_room() -> None:
    watched = ("azurerm_lite.", "requests", "msal", "werkzeug", "rich")
    code = f"import sys, azurerm_lite; print([m for m in sys.modules if m.startswith({watched})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['azurerm_lite._lazy', 'azurerm_lite._version']"


def test_importing_it_touches_nothing() -> None:
    """No connection, no file written, no thread, no change of the environment."""
    code = """
import os, sys, threading
seen = []
def hook(event, args):
    if event.startswith(("socket.", "subprocess.", "os.putenv", "os.remove", "os.mkdir")) or (
        event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")):
        seen.append((event, args[:2]))
sys.dont_write_bytecode = True
sys.addaudithook(hook)
before = dict(os.environ)
import azurerm_lite, azurerm_lite.endpoints.vmss, azurerm_lite.arm
assert not seen, seen
assert threading.active_count() == 1 and dict(os.environ) == before
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_a_pytest_run_that_does_not_use_the_fixtures_loads_four_small_modules_of_ours(tmp_path: Path) -> None:
    """pytest loads the plugin wherever azurerm_lite is installed; nobody pays for an emulator that is not asked for."""
    watched = ("azurerm_lite", "werkzeug", "cheroot", "trustme", "requests", "msal", "jwt", "cryptography")
    (tmp_path / "conftest.py").write_text(
        f"import sys\ndef pytest_unconfigure(): print('LOADED', [m for m in sys.modules if m.startswith({watched})])"
    )
    (tmp_path / "test_it.py").write_text("def test_nothing(): pass")
    line = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    (loaded,) = [one for one in done.stdout.splitlines() if one.startswith("LOADED")]
    ours = [
        "azurerm_lite",
        "azurerm_lite._lazy",
        "azurerm_lite._version",
        "azurerm_lite.emulator",
        "azurerm_lite.emulator.pytest_plugin",
    ]
    assert sorted(ast.literal_eval(loaded.removeprefix("LOADED "))) == ours


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == azurerm_lite._MODULE_OF
    for name in azurerm_lite.__all__:
        home = getattr(azurerm_lite, name).__module__
        assert home == f"azurerm_lite.{seen[name]}" or name.isupper() or name == "Auth"
    assert set(azurerm_lite.__all__) <= set(dir(azurerm_lite))
    with pytest.raises(AttributeError, match="no attribute 'nix'"):
        azurerm_lite.nix  # noqa: B018


def test_every_public_name_says_what_the_caller_gets() -> None:
    undocumented = [
        name
        for name in azurerm_lite.__all__
        if not name.isupper() and name != "Auth" and not (getattr(azurerm_lite, name).__doc__ or "").strip()
    ]
    assert undocumented == []


def test_library_code_never_prints_sleeps_or_exits() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__main__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in (
                    "print",
                    "time.sleep",
                    "sys.exit",
                    "exit",
                    "logging.basicConfig",
                    "eval",
                    "exec",
                ), path


@pytest.mark.parametrize("word", ["pickle", "yaml", "marshal", "shelve"])
def test_nothing_that_runs_code_from_data_is_imported(word: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert word not in names, path


NOT_THE_CLIENT = ("upgrade", "heatmap", "progress", "cli", "editor", "emulator")


def test_the_client_can_be_held_in_the_head() -> None:
    """A ceiling that only goes down, to 6,000: lines without the engine, pictures, command and emulator.

    No function is longer than 60 lines.
    """
    client = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in NOT_THE_CLIENT]
    assert sum(len(path.read_text().splitlines()) for path in client) <= 8370
    functions = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{path.name} {node.name}")
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert statistics.median(lines for lines, _ in functions) <= 12
    assert [name for lines, name in functions if lines > 60] == []
