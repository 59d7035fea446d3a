"""Windows, simulated: what Python does not have there is taken away, and what fails there fails.

Nothing here runs on Windows. Simulated are: no fcntl, an msvcrt whose `locking` is backed by the lock of this system;
no os.getuid, os.fchmod, os.geteuid, O_NOFOLLOW, O_NONBLOCK, os.pread and os.pwrite; os.open refuses folders (EACCES);
an open file cannot be removed. https://docs.python.org/3/library/msvcrt.html, https://docs.python.org/3/library/os.html
"""

import errno
import fcntl
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ABSENT = ("getuid", "geteuid", "fchmod", "fchown", "pread", "pwrite", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY")


def simulate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make this process look like one on Windows to what it imports from now on."""
    open_file, unlink, opened = os.open, os.unlink, dict[int, str]()

    def refusing_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        handle = open_file(path, flags, *more, **named)
        opened[handle] = os.path.realpath(path)
        return handle

    def is_open(path: str) -> bool:
        for handle, name in list(opened.items()):
            try:
                os.fstat(handle)
            except OSError:
                del opened[handle]
                continue
            if name == path:
                return True
        return False

    def refusing_unlink(path: Any, *more: Any, **named: Any) -> None:
        if is_open(os.path.realpath(path)):
            raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        unlink(path, *more, **named)

    def locking(handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    msvcrt: Any = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
    for name in ABSENT:
        monkeypatch.delattr(os, name, raising=False)
    for name, replacement in (("open", refusing_open), ("unlink", refusing_unlink)):
        monkeypatch.setattr(os, name, replacement)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "pwd", None)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(home))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
