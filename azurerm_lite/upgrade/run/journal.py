"""What an upgrade has done and means to do, one JSON object a line, on disk before it is acted on.

An entry is written and fsynced before the request that it announces, and after the answer. Reading it back gives the
progress again (`fold`), in any process. No secrets: models are stored without them, operations without hosts or tokens.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import AzurermLiteError, InvalidInput, printable
from ..rules import checks, machine, stored
from ..rules.state import State, begin, left_deallocated
from . import lock as _lock

Entry = stored.Entry
SCHEMA = stored.SCHEMA
_OPEN = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a FIFO does not hang, and Windows changes no byte
_NO_LINK = _OPEN | getattr(os, "O_NOFOLLOW", 0)


class NotWritten(AzurermLiteError):
    """An entry could not be written to the journal: nothing may be done that does not stand in it."""


class Journal:
    """The entries of one upgrade: in memory, and in a file when there is one."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        checks.path(path, "path")
        self.path = Path(path) if path is not None else None
        self.entries: list[Entry] = []
        self._file: int | None = None
        self._lock: _lock.Lock | None = None
        self._seal = ""  # of the last entry in the file
        self._noted: tuple[str, str] | None = None  # where this machine remembers that instances are deallocated
        self._place = ("", "")

    def create(self) -> None:
        """Begin a new file, which must not exist: mode 0600, no symbolic link followed."""
        if self.path is None:
            return
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | _NO_LINK, 0o600)
        except FileExistsError:
            raise InvalidInput(f"{_shown(self.path)} exists already: resume it, or choose another file") from None
        except (OSError, ValueError) as error:
            raise _unusable("cannot write", self.path, error) from None
        _sync_folder(self.path.parent)

    def reopen(self) -> None:
        """Take up an existing file where it ends. A last line that was cut is dropped: it was never acted on.

        Raises InvalidInput for a file that somebody else may have written, or that was changed after it was written.
        """
        if self.path is None:
            return
        self._file = _opened(self.path, os.O_RDWR | _NO_LINK, "cannot take up")
        try:
            _refuse_others(self._file, self.path)
            if hasattr(os, "fchmod"):
                os.fchmod(self._file, 0o600)  # nobody else reads on either
            text = _bytes_of(self._file)
            whole = text[: text.rfind(b"\n") + 1]
            self.entries, self._seal = _unsealed(whole, self.path)
            os.ftruncate(self._file, len(whole))
        except OSError as error:
            raise _unusable("cannot take up", self.path, error) from None

    def append(self, entry: Entry) -> None:
        """Write an entry, and be sure that it is there before going on."""
        if self._file is not None:
            line, seal = stored.sealed(entry, self._seal)
            self._write(self._file, line)
            self._seal = seal
        self.entries.append(entry)
        if self.path is not None and _deallocates(entry):
            self._noted = self._place
            _lock.note_journal(*self._place, str(self.path.absolute()))

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
            raise NotWritten(f"the journal {_shown(self.path)} cannot be written ({error.strerror})") from None

    def lock(self, resource_id: str, place: str, run: str = "") -> None:
        """Be the only one on this machine who upgrades this scale set; `run` says to others which run that is."""
        self._lock = _lock.acquire(resource_id, place, run)
        self._place = (resource_id, place)
        if self.path is not None and _lock.noted_journal(*self._place) == str(self.path.absolute()):
            self._noted = self._place

    def close(self) -> None:
        """Close the file and let others have the lock. Closing again does nothing.

        While instances are deallocated this machine remembers where the journal is: a new plan names it.
        """
        file, lock, self._file, self._lock = self._file, self._lock, None, None
        if self._noted is not None and self.entries and not left_deallocated(machine.fold(self.entries)):
            _lock.forget_journal(*self._noted)
        self._noted = None
        if file is not None:
            os.close(file)
        if lock is not None:
            lock.release()


def _deallocates(entry: Entry) -> bool:
    """Whether an entry says that instances are deallocated, or are going to be."""
    return "deallocate" in (entry.get("request"), entry.get("name")) or bool(entry.get("deallocated"))


# --- the file --------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a journal, for looking only: whoever wrote the file, and whatever was changed in it since."""
    checks.needed_path(path, "journal")
    file = _opened(Path(path), os.O_RDONLY | _OPEN, "cannot read")
    try:
        text = _bytes_of(file)
    except OSError as error:
        raise _unusable("cannot read", Path(path), error) from None
    finally:
        os.close(file)
    found = _parsed(text[: text.rfind(b"\n") + 1], Path(path))
    return [{name: value for name, value in entry.items() if name != stored.SEAL} for _, entry in found]


def read_trusted(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a journal, to act on them: refused when somebody else may have written or changed the file."""
    checks.needed_path(path, "journal")
    file = _opened(Path(path), os.O_RDONLY | _NO_LINK, "cannot take up")
    try:
        _refuse_others(file, Path(path))
        text = _bytes_of(file)
    except OSError as error:
        raise _unusable("cannot read", Path(path), error) from None
    finally:
        os.close(file)
    return _unsealed(text[: text.rfind(b"\n") + 1], Path(path))[0]


def _opened(path: Path, flags: int, what: str) -> int:
    """A handle of a regular file; InvalidInput for anything else, at once."""
    try:
        file = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise _unusable(what, path, error) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InvalidInput(f"{what} the journal {_shown(path)}: it is no plain file")
    return file


def _refuse_others(file: int, path: Path) -> None:
    """InvalidInput when the file belongs to another user, or others may write it.

    What it says is done with the rights of whoever resumes it. The folder is not looked at: a file that others put
    there belongs to them, and one of ours that they move there still names its scale set, its endpoint and its plan.
    Windows shows neither owner nor mode in this way, so nothing is refused there.
    """
    found, shown = os.fstat(file), _shown(path)
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        why = (
            f"the journal {shown} belongs to another user (uid {found.st_uid}), who could have written anything into it"
        )
        raise InvalidInput(f"{why}. If you trust it: chown {os.getuid()} {shown}")
    if _lock.writable_by_others(found):
        why = f"others may write the journal {shown}, and what it says would be done in your name"
        raise InvalidInput(f"{why}. If you trust it: chmod go-w {shown}")


def _bytes_of(file: int) -> bytes:
    with open(os.dup(file), "rb") as stream:  # noqa: PTH123
        stream.seek(0)
        return stream.read()


def _sync_folder(folder: Path) -> None:
    """Have the name of a new file on disk too. Where folders cannot be opened (Windows), the system sees to that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some file systems sync no folders
    finally:
        os.close(handle)


def _parsed(text: bytes, path: Path) -> Iterator[tuple[str, Entry]]:
    """Each entry of a file, and where it stands."""
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        where = f"{_shown(path)} line {number}"
        yield where, stored.parse(line, where)


def _unsealed(text: bytes, path: Path) -> tuple[list[Entry], str]:
    """The entries of a file, and the seal of the last; InvalidInput when any was changed after it was written."""
    found = list(_parsed(text, path))
    if found and found[0][1].get("schema") == SCHEMA:  # another schema is refused by its number
        pairs = list(stored.unsealed(iter(found)))
        return [entry for entry, _ in pairs], pairs[-1][1]
    return [entry for _, entry in found], ""


def _shown(path: object) -> str:
    return printable(path, 300)


def _unusable(what: str, path: Path, error: Exception) -> InvalidInput:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidInput(f"{what} the journal {_shown(path)}: {printable(why)}")


# --- what the entries mean -------------------------------------------------------------------------------------------


def begun(entries: Sequence[Entry]) -> Entry:
    """The first entry, which holds the plan; InvalidInput when these are not the entries of an upgrade."""
    if not entries:
        raise InvalidInput("that journal has no whole entry: that upgrade was not begun, plan it anew")
    if entries[0].get("kind") != "begin":
        raise InvalidInput("that journal does not begin with an upgrade")
    if entries[0].get("schema") != SCHEMA:
        raise InvalidInput(f"that journal has schema {entries[0].get('schema')!r}, this version reads {SCHEMA}")
    return entries[0]


def fold(entries: Sequence[Entry]) -> State:
    """The state that these entries led to; InvalidInput where one of them cannot follow from those before it."""
    first, number = begun(entries), 1
    try:
        state = begin(first)
        for number, entry in enumerate(entries[1:], 2):  # noqa: B007  (the error names it)
            state = machine.apply(state, entry)
            _ = state.goal
        return state
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        why = f"line {number} of that journal cannot follow those before it ({type(error).__name__})"
        raise InvalidInput(why) from error
