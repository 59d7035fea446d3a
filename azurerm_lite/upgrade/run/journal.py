"""The journal of an upgrade: a file with one JSON object a line, written before each request and after its answer.

Each entry is fsynced before the upgrade goes on. From the entries `fold` computes the state again, in any process. The
journal holds no secrets: models are stored without them, operations without hosts or tokens.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import AzurermLiteError, InvalidInput, printable
from ..rules import checks, machine, stored
from ..rules.state import State, begin, find_deallocated
from . import lock as _lock

Entry = stored.Entry
SCHEMA = stored.SCHEMA
_OPEN = getattr(os, "O_NONBLOCK", 0) | getattr(
    os, "O_BINARY", 0
)  # opening a FIFO does not block; Windows does not convert line ends
_NO_LINK = _OPEN | getattr(os, "O_NOFOLLOW", 0)


class NotWritten(AzurermLiteError):
    """An entry could not be written to the journal, so the upgrade must not go on."""


class Journal:
    """The entries of one upgrade, in memory and, with a `path`, in a file."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        checks.path(path, "path")
        self.path = Path(path) if path is not None else None
        self.entries: list[Entry] = []
        self._file: int | None = None
        self._lock: _lock.Lock | None = None
        self._seal = ""  # the checksum in the last entry of the file
        self._note_place: tuple[str, str] | None = None  # scale set and endpoint of the note, once it is written
        self._place = ("", "")

    def create(self) -> None:
        """Create the file with mode 0600. It must not exist, and must not be a symbolic link.

        Raises: InvalidInput when the file exists or cannot be written.
        """
        if self.path is None:
            return
        try:
            self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | _NO_LINK, 0o600)
        except FileExistsError:
            raise InvalidInput(f"{_path_text(self.path)} exists already: resume it, or choose another file") from None
        except (OSError, ValueError) as error:
            raise _unusable_file("cannot write", self.path, error) from None
        _sync_folder(self.path.parent)

    def reopen(self) -> None:
        """Read the existing file and append to it from now on. An incomplete last line is removed.

        No request follows an incomplete line, since each is written in full first.

        Raises: InvalidInput for a file that another user may have written, or whose entries were changed later.
        """
        if self.path is None:
            return
        self._file = _open_file(self.path, os.O_RDWR | _NO_LINK, "cannot open")
        try:
            _refuse_others(self._file, self.path)
            if hasattr(os, "fchmod"):
                os.fchmod(self._file, 0o600)  # and other users can no longer read it
            text = _read_bytes(self._file)
            whole = text[: text.rfind(b"\n") + 1]
            self.entries, self._seal = _check_seals(whole, self.path)
            os.ftruncate(self._file, len(whole))
        except OSError as error:
            raise _unusable_file("cannot open", self.path, error) from None

    def append(self, entry: Entry) -> None:
        """Write an entry and fsync the file before returning.

        Raises: NotWritten when the file cannot be written.
        """
        if self._file is not None:
            line, seal = stored.seal_entry(entry, self._seal)
            self._write(self._file, line)
            self._seal = seal
        self.entries.append(entry)
        if self.path is not None and _deallocates(entry):
            self._note_place = self._place
            _lock.note_journal(*self._place, str(self.path.absolute()))

    def _write(self, file: int, line: bytes) -> None:
        """Write the whole line or nothing: the entries after an incomplete line could not be read."""
        end = os.lseek(file, 0, os.SEEK_END)
        try:
            if os.write(file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(file, end)
            raise NotWritten(f"the journal {_path_text(self.path)} cannot be written ({error.strerror})") from None

    def lock(self, resource_id: str, place: str, run: str = "") -> None:
        """Lock the scale set on this machine. `run`: the id that the error of a second upgrade shows.

        Raises: Locked when another process upgrades the scale set, InvalidInput without a private folder for the lock.
        """
        self._lock = _lock.acquire(resource_id, place, run)
        self._place = (resource_id, place)
        if self.path is not None and _lock.read_journal_note(*self._place) == str(self.path.absolute()):
            self._note_place = self._place

    def close(self) -> None:
        """Close the file and let others have the lock. Closing again does nothing.

        While instances are deallocated this machine remembers where the journal is: a new plan names it.
        """
        file, lock, self._file, self._lock = self._file, self._lock, None, None
        if self._note_place is not None and self.entries and not find_deallocated(machine.fold(self.entries)):
            _lock.forget_journal(*self._note_place)
        self._note_place = None
        if file is not None:
            os.close(file)
        if lock is not None:
            lock.release()


def _deallocates(entry: Entry) -> bool:
    """Whether an entry announces or records that instances are deallocated."""
    return "deallocate" in (entry.get("request"), entry.get("name")) or bool(entry.get("deallocated"))


# --- the file --------------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> list[Entry]:
    """Read the entries of a journal for display only, without checking its owner or later changes.

    Raises: InvalidInput when the file cannot be read or is no journal.
    """
    checks.needed_path(path, "journal")
    file = _open_file(Path(path), os.O_RDONLY | _OPEN, "cannot read")
    try:
        text = _read_bytes(file)
    except OSError as error:
        raise _unusable_file("cannot read", Path(path), error) from None
    finally:
        os.close(file)
    entries = _parse_lines(text[: text.rfind(b"\n") + 1], Path(path))
    return [{name: value for name, value in entry.items() if name != stored.SEAL} for _, entry in entries]


def read_trusted(path: str | os.PathLike[str]) -> list[Entry]:
    """Read the entries of a journal that an upgrade will act on.

    Raises: InvalidInput when the file cannot be read, when another user may have written it, or when its entries were
    changed after they were written.
    """
    checks.needed_path(path, "journal")
    file = _open_file(Path(path), os.O_RDONLY | _NO_LINK, "cannot open")
    try:
        _refuse_others(file, Path(path))
        text = _read_bytes(file)
    except OSError as error:
        raise _unusable_file("cannot read", Path(path), error) from None
    finally:
        os.close(file)
    return _check_seals(text[: text.rfind(b"\n") + 1], Path(path))[0]


def _open_file(path: Path, flags: int, what: str) -> int:
    """A handle of a regular file; InvalidInput for anything else, at once."""
    try:
        file = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise _unusable_file(what, path, error) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise InvalidInput(f"{what} the journal {_path_text(path)}: it is not a regular file")
    return file


def _refuse_others(file: int, path: Path) -> None:
    """Refuse a file that belongs to another user or that other users may write.

    `resume` acts on the entries with the rights of its caller. The folder needs no check: a file that
    another user puts into it belongs to that user, and a moved journal still names its scale set, endpoint and plan.
    On Windows os.stat shows neither owner nor permissions, so nothing is refused there.
    """
    status, path_text = os.fstat(file), _path_text(path)
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        why = f"the journal {path_text} belongs to another user (uid {status.st_uid}), so its content is not trusted"
        raise InvalidInput(f"{why}. If you trust it: chown {os.getuid()} {path_text}")
    if _lock.writable_by_others(status):
        why = f"others may write the journal {path_text}, so its content is not trusted"
        raise InvalidInput(f"{why}. If you trust it: chmod go-w {path_text}")


def _read_bytes(file: int) -> bytes:
    with open(os.dup(file), "rb") as stream:  # noqa: PTH123
        stream.seek(0)
        return stream.read()


def _sync_folder(folder: Path) -> None:
    """Write the folder's entry of a new file to disk. On Windows, where folders cannot be opened, do nothing."""
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


def _parse_lines(text: bytes, path: Path) -> Iterator[tuple[str, Entry]]:
    """Each entry of a file, with its place ("path line 3")."""
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        where = f"{_path_text(path)} line {number}"
        yield where, stored.parse(line, where)


def _check_seals(text: bytes, path: Path) -> tuple[list[Entry], str]:
    """The entries of a file and the seal of the last; InvalidInput when an entry was changed after it was written."""
    numbered = list(_parse_lines(text, path))
    if numbered and numbered[0][1].get("schema") == SCHEMA:  # `begin_entry` refuses another schema by its number
        pairs = list(stored.unseal_entries(iter(numbered)))
        return [entry for entry, _ in pairs], pairs[-1][1]
    return [entry for _, entry in numbered], ""


def _path_text(path: object) -> str:
    return printable(path, 300)


def _unusable_file(what: str, path: Path, error: Exception) -> InvalidInput:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidInput(f"{what} the journal {_path_text(path)}: {printable(why)}")


# --- what the entries mean -------------------------------------------------------------------------------------------


def begin_entry(entries: Sequence[Entry]) -> Entry:
    """Return the first entry, which holds the plan; InvalidInput when these are not the entries of an upgrade."""
    if not entries:
        raise InvalidInput("the journal has no complete entry, so the upgrade was not begun: plan it again")
    if entries[0].get("kind") != "begin":
        raise InvalidInput("the first entry of the journal is not the begin of an upgrade")
    if entries[0].get("schema") != SCHEMA:
        raise InvalidInput(f"that journal has schema {entries[0].get('schema')!r}, this version reads {SCHEMA}")
    return entries[0]


def fold(entries: Sequence[Entry]) -> State:
    """Compute the state of the upgrade from its entries; InvalidInput for an entry that cannot follow the last."""
    first, number = begin_entry(entries), 1
    try:
        state = begin(first)
        for number, entry in enumerate(entries[1:], 2):  # noqa: B007  (the error names it)
            state = machine.apply(state, entry)
            _ = state.goal
        return state
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        why = f"line {number} of the journal cannot follow the lines before it ({type(error).__name__})"
        raise InvalidInput(why) from error
