"""Build wheel and sdist so that the same source gives the same bytes: `python tools/build_release.py [FOLDER]`.

The wheel is reproducible by SOURCE_DATE_EPOCH; setuptools' sdist is not (it keeps times, owners and gzip's clock), so
its members are written anew, in order, with one time for all.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

EPOCH = 1_767_225_600  # 2026-01-01, unless SOURCE_DATE_EPOCH says otherwise


def main(folder: str = "dist") -> None:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0"}
    line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, "."]
    subprocess.run(line, check=True, env=env)
    for path in Path(folder).glob("*.tar.gz"):
        settle(path, epoch)


def settle(path: Path, epoch: int) -> None:
    """Write an sdist anew without anything that depends on when, where and by whom it was made."""
    plain = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            data = old.extractfile(member) if member.isfile() else None
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() else 0o644
            member.pax_headers = {}
            new.addfile(member, data)
    with path.open("wb") as file, gzip.GzipFile("", "wb", mtime=epoch, fileobj=file) as packed:
        packed.write(plain.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])
