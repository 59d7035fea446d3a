"""Build a reproducible wheel and sdist: `python tools/build_release.py [FOLDER]`.

The wheel has times from SOURCE_DATE_EPOCH and file modes from the source, so the build uses a copy whose modes do not
depend on the umask. The sdist of setuptools contains times and owners, so its members are written again in order, with
one time.

The relative links in README.md do not work on PyPI. If REPOSITORY_URL is set, the release has links into that
repository instead, at the tag of this version.
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

EPOCH = 1_767_225_600  # 2026-01-01, the default of SOURCE_DATE_EPOCH
PARTS = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "azurerm_lite")


def main(folder: str = "dist") -> None:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as source:
        copy(Path(source), os.environ.get("REPOSITORY_URL", "").rstrip("/"))
        normalize_modes(Path(source))
        line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(Path(folder).resolve()), source]
        subprocess.run(line, check=True, env=env, umask=0o022)  # for the files that setuptools writes
    for path in Path(folder).glob("*.tar.gz"):
        normalize_sdist(path, epoch)


def copy(source: Path, repository: str) -> None:
    """Copy the released files into `source`. `repository`: its URL for the links, or ""."""
    for part in map(Path, PARTS):
        if part.is_dir():
            shutil.copytree(part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(part, source / part)
    if repository:
        version = runpy.run_path("azurerm_lite/_version.py")["__version__"]
        readme, project = source / "README.md", source / "pyproject.toml"
        readme.write_text(absolute_links(readme.read_text(encoding="utf-8"), repository, version), encoding="utf-8")
        project.write_text(project.read_text(encoding="utf-8") + urls(repository, version), encoding="utf-8")


def normalize_modes(folder: Path) -> None:
    """Set the modes that git would set, whatever the umask; no file is executable."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def absolute_links(text: str, repository: str, version: str) -> str:
    """Markdown with relative links replaced by links into the repository; those of pictures are to raw files."""

    def absolute(match: re.Match[str]) -> str:
        form = "raw" if match[1].endswith((".png", ".svg")) else "blob"
        return f"]({repository}/{form}/v{version}/{match[1]})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", absolute, text)


def urls(repository: str, version: str) -> str:
    """The section [project.urls] of pyproject.toml."""
    pages = {"Source": "", "Documentation": f"/blob/v{version}/docs/tutorial.md", "Issues": "/issues"}
    pages["Changelog"] = f"/blob/v{version}/CHANGELOG.md"
    return "\n[project.urls]\n" + "".join(f'{name} = "{repository}{path}"\n' for name, path in pages.items())


def normalize_sdist(path: Path, epoch: int) -> None:
    """Rewrite an sdist without times, owners and modes of the machine that built it."""
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
