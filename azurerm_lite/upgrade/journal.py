"""What an upgrade has done and means to do, one JSON object a line, on disk before it is acted on.

An entry is written and fsynced before the request that it announces, and after the answer. Reading it back gives the
progress again (`fold`), in any process. No secrets: models are stored without them, operations without hosts or tokens.
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import AzurermLiteError, InvalidInput
from .rules import machine
from .rules.state import State

Entry = dict[str, Any]
SCHEMA = 2


class Locked(AzurermLiteError):
    """Another process of this machine upgrades this scale set, or uses this journal."""


class NotWritten(AzurermLiteError):
    """An entry could not be written to the journal: nothing may be done that does not stand in it."""


class Journal:
    """The entries of one upgrade: in memory, and in a file when there is one."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self.entries: list[Entry] = []
        self._file: int | None = None
        self._lock: int | None = None

    def create(self) -> None:
        """Begin a new file, which must not exist: mode 0600, no symbolic link followed."""
        if self.path is None:
            return
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except FileExistsError:
            raise InvalidInput(f"{self.path} exists already: resume it, or choose another file") from None
        except OSError as error:
            raise InvalidInput(f"cannot write the journal {self.path}: {error.strerror}") from None
        _sync_folder(self.path.parent)

    def reopen(self) -> None:
        """Take up an existing file where it ends. A last line that was cut is dropped: it was never acted on."""
        if self.path is None:
            return
        try:
            self._file = os.open(self.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            os.fchmod(self._file, 0o600)  # whoever made it readable for others meanwhile
        except OSError as error:
            raise InvalidInput(f"cannot take up the journal {self.path}: {error.strerror}") from None
        with open(os.dup(self._file), "rb") as file:  # noqa: PTH123
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.entries = list(_parsed(whole, self.path))
        os.ftruncate(self._file, len(whole))
        os.lseek(self._file, 0, os.SEEK_END)

    def append(self, entry: Entry) -> None:
        """Write an entry, and be sure that it is there before going on."""
        if self._file is not None:
            self._write(self._file, (json.dumps(entry, separators=(",", ":"), allow_nan=False) + "\n").encode())
        self.entries.append(entry)

    def _write(self, file: int, line: bytes) -> None:
        """The whole line or none of it: with half a line before it, no later one could be read."""
        end = os.lseek(file, 0, os.SEEK_END)
        try:
            if os.write(file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(file, end)
            raise NotWritten(f"the journal {self.path} cannot be written ({error.strerror})") from None

    def lock(self, resource_id: str, place: str, run: str = "") -> None:
        """Be the only one on this machine who upgrades this scale set; `run` says to others which run that is."""
        try:
            import fcntl  # noqa: PLC0415  (POSIX)
        except ImportError:  # pragma: no cover
            return
        name = hashlib.sha256(f"{place} {resource_id}".lower().encode()).hexdigest()[:20]
        path = Path(tempfile.gettempdir()) / f"azurerm-lite-{os.getuid()}-{name}.lock"
        self._lock = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 100).decode("utf-8", "replace").strip()
            os.close(self._lock)
            self._lock = None
            raise Locked(f"{resource_id} is being upgraded by process {holder or '?'} of this machine") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}{f' (run {run})' if run else ''}".encode(), 0)

    def close(self) -> None:
        for handle in (self._file, self._lock):
            if handle is not None:
                os.close(handle)
        self._file = self._lock = None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parsed(text: bytes, path: Path) -> Iterable[Entry]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            raise InvalidInput(f"{path} line {number} is not JSON: this journal cannot be resumed") from None
        if not isinstance(entry, dict) or "kind" not in entry:
            raise InvalidInput(f"{path} line {number} is no entry of an upgrade")
        yield entry


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a journal, for looking only."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the journal {path}: {error.strerror}") from None
    return list(_parsed(text[: text.rfind(b"\n") + 1], Path(path)))


# --- what the entries mean -------------------------------------------------------------------------------------------


def begun(entries: list[Entry]) -> Entry:
    """The first entry, which holds the plan; InvalidInput when these are not the entries of an upgrade."""
    if not entries:
        raise InvalidInput("that journal has no whole entry: that upgrade was not begun, plan it anew")
    if entries[0].get("kind") != "begin":
        raise InvalidInput("that journal does not begin with an upgrade")
    if entries[0].get("schema") != SCHEMA:
        raise InvalidInput(f"that journal has schema {entries[0].get('schema')!r}, this version reads {SCHEMA}")
    return entries[0]


def fold(entries: list[Entry]) -> State:
    """The state that these entries led to."""
    begun(entries)
    return machine.fold(entries)
