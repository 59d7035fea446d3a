"""The lock of a scale set on this machine: one upgrade of it at a time."""

import hashlib
import os
import tempfile
from pathlib import Path

from ..errors import AzurermLiteError


class Locked(AzurermLiteError):
    """Another process of this machine upgrades this scale set, or uses this journal."""


def acquire(resource_id: str, place: str, run: str = "") -> int | None:
    """A handle of the lock file, locked; None where the platform has none. `run` tells others which run it is."""
    try:
        import fcntl  # noqa: PLC0415  (POSIX)
    except ImportError:  # pragma: no cover
        return None
    name = hashlib.sha256(f"{place} {resource_id}".lower().encode()).hexdigest()[:20]
    path = Path(tempfile.gettempdir()) / f"azurerm-lite-{os.getuid()}-{name}.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 100).decode("utf-8", "replace").strip()
        os.close(handle)
        raise Locked(f"{resource_id} is being upgraded by process {holder or '?'} of this machine") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}{f' (run {run})' if run else ''}".encode(), 0)
    return handle
