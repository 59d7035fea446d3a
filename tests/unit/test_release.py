"""What is released: the same bytes from the same source, nothing in it that does not belong, no known holes."""

import hashlib
import os
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from azurerm_lite import __version__

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://git.example/us/azurerm_lite"


def build(folder: Path, umask: int) -> dict[str, str]:
    """Wheel and sdist of the tree as git has it, built under this umask in a folder of their own; hashes by name."""
    source, out = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, (one.decode() for one in names)):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
            (source / name).chmod(0o666 & ~umask)
    line = [sys.executable, "tools/build_release.py", str(out)]
    env = {**os.environ, "REPOSITORY_URL": REPOSITORY}
    done = subprocess.run(line, cwd=source, capture_output=True, text=True, check=False, env=env, umask=umask)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    pytest.importorskip("build", reason="the package build is not installed")
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    folder = tmp_path_factory.mktemp("builds")
    return folder, build(folder / "one", 0o022), build(folder / "two", 0o077)


def test_builds_under_two_umasks_have_the_same_bytes(builds: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    folder, first, second = builds
    assert first == second
    assert {name.rpartition(".")[2] for name in first} == {"whl", "gz"}
    (wheel,) = [name for name in first if name.endswith(".whl")]
    modes = {entry.external_attr >> 16 & 0o777 for entry in zipfile.ZipFile(folder / "two" / "dist" / wheel).infolist()}
    assert modes <= {0o644, 0o664}  # who installs it may read it


def test_the_wheel_holds_the_package_and_nothing_else(builds: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    folder, first, _ = builds
    (wheel,) = [name for name in first if name.endswith(".whl")]
    names = zipfile.ZipFile(folder / "one" / "dist" / wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"azurerm_lite", wheel.rsplit("-", 3)[0] + ".dist-info"}
    assert "azurerm_lite/py.typed" in names
    assert "azurerm_lite/emulator/seeds/default.json" in names
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
    (sdist,) = [name for name in first if name.endswith(".tar.gz")]
    with tarfile.open(folder / "one" / "dist" / sdist) as packed:
        inside = packed.getnames()
    assert not any("/tests/" in name or "__pycache__" in name for name in inside)


def test_what_pypi_shows_has_no_link_that_leads_nowhere(builds: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    """README's links are relative in the repository; in the wheel they lead there, at this version's tag."""
    folder, first, _ = builds
    (wheel,) = [name for name in first if name.endswith(".whl")]
    packed = zipfile.ZipFile(folder / "one" / "dist" / wheel)
    (name,) = [one for one in packed.namelist() if one.endswith(".dist-info/METADATA")]
    shown = packed.read(name).decode()
    targets = re.findall(r"\]\(([^)\s]+)\)", shown)
    relative = re.findall(r"\]\((?!https:)([^)\s]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(relative) > 10
    assert [one for one in targets if not one.startswith("https://")] == []
    assert f"{REPOSITORY}/blob/v{__version__}/docs/tutorial.md" in targets
    assert f"{REPOSITORY}/raw/v{__version__}/docs/images/terminal.svg" in targets
    assert f"Project-URL: Changelog, {REPOSITORY}/blob/v{__version__}/CHANGELOG.md" in shown


# The first versions without CVEs that were known in November 2026.
SOUND = {
    "requests": (2, 33),
    "urllib3": (2, 7),
    "werkzeug": (3, 1, 6),
    "pyjwt": (2, 13),
    "setuptools": (83,),
    "pytest": (9, 0, 3),
    "nbconvert": (7, 17, 1),
}


def test_the_floors_are_those_without_known_holes() -> None:
    audit = runpy.run_path(str(ROOT / "tools" / "audit.py"))
    needed = audit["project_requirements"]()
    assert {re.split(r"[<>=]", entry)[0] for entry in needed["core"]} == {"requests", "msal", "urllib3"}
    for entry in (entry for entries in needed.values() for entry in entries):
        name, _, version = audit["floor"](entry).partition("==")
        assert re.fullmatch(r"[\d.]+", version), f"{entry} has no floor"
        least = SOUND.get(name.partition("[")[0], ())
        assert tuple(map(int, version.split("."))) >= least, entry


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## (\S+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest[1] == __version__
