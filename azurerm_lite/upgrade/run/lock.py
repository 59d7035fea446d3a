"""The lock of a scale set on this machine: one user runs at most one upgrade of it at a time.

The lock file is in a folder that only this user may write, so that no other user can replace it. The lock does not
exclude other users and machines: for them the model's etag and fingerprint are compared before every request.
"""

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import AzurermLiteError, InvalidInput, printable

_FLAGS = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FAR = 1 << 30  # an offset beyond the content of the file
_TRIES = 20  # a try fails when another process has just removed the file


class Locked(AzurermLiteError):
    """Another process on this machine upgrades this scale set or uses this journal."""


class Lock:
    """The lock of one scale set, held until `release`. `files`: path and handle of each lock file."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self.files = files

    def release(self) -> None:
        """Release the lock and remove its files."""
        files, self.files = self.files, []
        for path, handle in files:
            _remove(path, handle)


def acquire(resource_id: str, place: str, run: str = "", *, env: Mapping[str, str] | None = None) -> Lock:
    """Lock a scale set and return the Lock.

    `place`: the endpoint of the scale set. `run`: the id of the run, which the error of a second upgrade shows.

    Raises: Locked when another process of this user holds the lock, InvalidInput without a private folder for the lock
    file or for a lock file of another user.
    """
    name, lock = _name(resource_id, place), Lock([])
    try:
        for folder in private_folders(os.environ if env is None else env):
            lock.files.append(_open_locked(folder / f"{name}.lock", resource_id))
        for _, handle in lock.files:
            _write(handle, f"{os.getpid()}{f' (run {run})' if run else ''}".encode())
    except BaseException:
        lock.release()
        raise
    return lock


# --- the journal of an upgrade that has deallocated instances -------------------------------------------------------


def note_journal(resource_id: str, place: str, journal: str) -> None:
    """Write down the path of the journal of an upgrade that deallocates instances; the next plan shows it."""
    with contextlib.suppress(OSError, InvalidInput):
        path = _note_path(resource_id, place)
        file = os.open(path, _FLAGS | os.O_TRUNC, 0o600)
        try:
            os.write(file, journal.encode("utf-8", "surrogateescape"))
        finally:
            os.close(file)


def read_journal_note(resource_id: str, place: str) -> str:
    """Return the path that `note_journal` has written down, "" for none."""
    try:
        file = os.open(_note_path(resource_id, place), _FLAGS & ~(os.O_CREAT | os.O_RDWR) | os.O_RDONLY)
    except (OSError, InvalidInput):
        return ""
    try:
        status = os.fstat(file)
        plain = stat.S_ISREG(status.st_mode) and _is_own(status) and not writable_by_others(status)
        return os.read(file, 5000).decode("utf-8", "surrogateescape") if plain else ""
    except OSError:
        return ""
    finally:
        os.close(file)


def forget_journal(resource_id: str, place: str) -> None:
    """Remove the note of `note_journal`, once the instances are started."""
    with contextlib.suppress(OSError, InvalidInput):
        _note_path(resource_id, place).unlink()


def _note_path(resource_id: str, place: str) -> Path:
    return private_folders(os.environ)[-1] / f"{_name(resource_id, place)}.journal"


def _name(resource_id: str, place: str) -> str:
    """The name of a scale set's lock file and note, without the suffix."""
    return hashlib.sha256(f"{place} {resource_id}".lower().encode("utf-8", "replace")).hexdigest()[:20]


# --- the folders -----------------------------------------------------------------------------------------------------


def private_folders(env: Mapping[str, str]) -> list[Path]:
    """Return the folders for lock files: one of the login session and one in the user's cache, where usable.

    A lock is taken in each. A process outside a login session (cron, sudo) shares only the second. TMPDIR is not used.

    Raises: InvalidInput when no folder is usable.
    """
    usable, why_not = list[Path](), list[str]()
    for folder in _candidates(env):
        try:
            _make_private(folder)
        except (OSError, ValueError, InvalidInput) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            why_not.append(why if isinstance(error, InvalidInput) else f"{printable(folder, 300)}: {printable(why)}")
        else:
            usable.append(folder)
    if not usable:
        raise InvalidInput(f"there is no private folder for the lock of this upgrade ({'; '.join(why_not)})")
    return usable


def _candidates(env: Mapping[str, str]) -> Iterator[Path]:
    if (session := env.get("XDG_RUNTIME_DIR")) and _is_private(Path(session)):
        yield Path(session) / "azurerm-lite"
    yield _cache(env) / "azurerm-lite"


def _cache(env: Mapping[str, str]) -> Path:
    """The cache folder of this user."""
    if sys.platform == "win32":
        return Path(env.get("LOCALAPPDATA") or _home(env) / "AppData" / "Local")
    if sys.platform == "darwin":
        return _home(env) / "Library" / "Caches"
    named = env.get("XDG_CACHE_HOME", "")
    return Path(named) if named.startswith("/") else _home(env) / ".cache"


def _home(env: Mapping[str, str]) -> Path:
    """The home folder of this user. HOME is ignored when it belongs to another user, as after `sudo -E`."""
    named = Path(env.get("HOME") or env.get("USERPROFILE") or "")
    with contextlib.suppress(OSError, ValueError):
        if named.is_absolute() and _is_own(named.stat()):
            return named
    try:
        import pwd  # noqa: PLC0415  (POSIX)

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (ImportError, AttributeError, KeyError):
        return named


def _make_private(folder: Path) -> None:
    """Create the folder, or check that only this user may write it."""
    if not folder.is_absolute():
        raise InvalidInput(f"{printable(folder, 300)} is not an absolute path")
    with contextlib.suppress(FileExistsError):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        path_text = printable(folder, 300)
        raise InvalidInput(
            f"other users may write {path_text}, or it is not your folder: remove it, or chmod 700 {path_text}"
        )


def _is_private(folder: Path) -> bool:
    """Whether this is a folder (no link) of this user that no other user may write."""
    try:
        status = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and _is_own(status) and not writable_by_others(status)


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()


def writable_by_others(status: os.stat_result) -> bool:
    """Whether group or others may write the file; always False on Windows, where the mode does not show it."""
    return hasattr(os, "getuid") and bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


# --- the file --------------------------------------------------------------------------------------------------------


def _open_locked(path: Path, resource_id: str) -> tuple[Path, int]:
    """Path and handle of the lock file, locked by this process."""
    for _ in range(_TRIES):
        handle = _open_file(path)
        try:
            _refuse_other_files(path, os.fstat(handle))
            _lock_or_refuse(handle, resource_id)
            if _is_at(path, handle):
                return path, handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise Locked(f"{resource_id} is being upgraded by other processes of this machine, one after another: try again")


def _open_file(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o600)
    except OSError as error:
        path_text = printable(path, 300)
        raise InvalidInput(
            f"the lock {path_text} cannot be opened ({error.strerror}): remove it with rm {path_text}"
        ) from None


def _refuse_other_files(path: Path, status: os.stat_result) -> None:
    """Refuse anything but a regular file of this user with at most one name (none when it was just removed)."""
    if stat.S_ISREG(status.st_mode) and _is_own(status) and status.st_nlink <= 1:
        return
    path_text = printable(path, 300)
    raise InvalidInput(f"the lock {path_text} is not a regular file of yours: remove it with rm {path_text}")


def _lock_or_refuse(handle: int, resource_id: str) -> None:
    try:
        _lock_handle(handle)
    except OSError:
        holder = printable(_read(handle), 120)
        raise Locked(f"{resource_id} is being upgraded by process {holder or '?'} of this machine") from None


def _lock_handle(handle: int) -> None:
    """Lock an open file, or raise OSError when another process has locked it."""
    try:
        import fcntl  # noqa: PLC0415  (POSIX)
    except ImportError:
        import msvcrt  # noqa: PLC0415  (Windows)

        lock: Any = msvcrt
        os.lseek(handle, _FAR, os.SEEK_SET)  # other processes cannot read a locked byte, so lock one without content
        lock.locking(handle, lock.LK_NBLCK, 1)
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the open file is still at the path: the previous holder may have removed it."""
    try:
        at_path, at_handle = os.lstat(path), os.fstat(handle)
    except OSError:
        return False
    return (at_path.st_dev, at_path.st_ino) == (at_handle.st_dev, at_handle.st_ino)


def _read(handle: int) -> str:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        return os.read(handle, 100).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _write(handle: int, text: bytes) -> None:
    """Write the holder into the lock file. The lock is held even if this fails."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text)


def _remove(path: Path, handle: int) -> None:
    """Remove the file while it is locked; on Windows, which removes no open file, remove it after closing."""
    with contextlib.suppress(OSError):
        if _is_at(path, handle):
            path.unlink()
    with contextlib.suppress(OSError):
        os.close(handle)
    if not hasattr(os, "getuid"):
        with contextlib.suppress(OSError):
            path.unlink()
