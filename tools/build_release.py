"""Build wheel and sdist so that the same source gives the same bytes: `python tools/build_release.py [FOLDER]`.

The wheel takes its times from SOURCE_DATE_EPOCH and the modes of its files from the source, so the copy that is built
has the same modes whatever the umask. setuptools' sdist keeps times, owners and gzip's clock as well, so its members
are written anew, in order, with one time for all.

README's links are relative, which is right in a checkout and wrong on PyPI. Where REPOSITORY_URL says where the
repository is on the Internet, what is released has links that lead there, at the tag of this version.
"""

import gzip
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

EPOCH = 1_767_225_600  # 2026-01-01, unless SOURCE_DATE_EPOCH says otherwise
PARTS = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "azurerm_lite")


def main(folder: str = "dist") -> None:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as source:
        copy(Path(source), os.environ.get("REPOSITORY_URL", "").rstrip("/"))
        settle_modes(Path(source))
        line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(Path(folder).resolve()), source]
        subprocess.run(line, check=True, env=env, umask=0o022)  # of the files that setuptools makes
    for path in Path(folder).glob("*.tar.gz"):
        settle(path, epoch)


def copy(source: Path, repository: str) -> None:
    """What is released, in a folder of its own; with links into the repository if it is known."""
    for part in map(Path, PARTS):
        if part.is_dir():
            shutil.copytree(part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(part, source / part)
    if repository:
        version = runpy.run_path("azurerm_lite/_version.py")["__version__"]
        readme, project = source / "README.md", source / "pyproject.toml"
        readme.write_text(linked(readme.read_text(encoding="utf-8"), repository, version), encoding="utf-8")
        project.write_text(project.read_text(encoding="utf-8") + urls(repository, version), encoding="utf-8")


def settle_modes(folder: Path) -> None:
    """Give files and folders the modes that git would give them, whatever the umask: nothing here is a program."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def linked(text: str, repository: str, version: str) -> str:
    """Markdown whose relative links lead into the repository: to its pages, and to pictures as bytes."""

    def absolute(found: re.Match[str]) -> str:
        form = "raw" if found[1].endswith((".png", ".svg")) else "blob"
        return f"]({repository}/{form}/v{version}/{found[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", absolute, text)


def urls(repository: str, version: str) -> str:
    pages = {"Source": "", "Documentation": f"/blob/v{version}/docs/tutorial.md", "Issues": "/issues"}
    pages["Changelog"] = f"/blob/v{version}/CHANGELOG.md"
    return "\n[project.urls]\n" + "".join(f'{name} = "{repository}{path}"\n' for name, path in pages.items())


def settle(path: Path, epoch: int) -> None:
    """Write an sdist anew without anything that depends on when, where and by whom it was made."""
    plain = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            data = old.extractfile(member) if member.isfile() else None
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() else 0o644
            member.pax_headers = {}
            new.addfile(member, data)
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=epoch, fileobj=file) as packed:
        packed.write(plain.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
