"""The lock of a scale set on this machine: one upgrade of it at a time, by one user.

The lock file lies in a folder that only this user may write, so that nobody else can put something in its place. Other
users and other machines are kept apart by the model's etag and fingerprint, which are compared before every request.
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
_FAR = 1 << 30  # beyond everything that is written
_TRIES = 20  # each try loses against another process that has just removed the file


class Locked(AzurermLiteError):
    """Another process of this machine upgrades this scale set, or uses this journal."""


class Lock:
    """The lock of one scale set, held until `release`. `files`: path and handle of each lock file."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self.files = files

    def release(self) -> None:
        """Let others have it. The files go, so that they do not pile up."""
        files, self.files = self.files, []
        for path, handle in files:
            _remove(path, handle)


def acquire(resource_id: str, place: str, run: str = "", *, env: Mapping[str, str] | None = None) -> Lock:
    """The lock of a scale set; Locked when another process of this user holds it.

    `place` is where the scale set is (the endpoint), and `run` tells others which run holds the lock. InvalidInput when
    there is no private folder for the lock file, or when the file is none of ours.
    """
    name, lock = _name(resource_id, place), Lock([])
    try:
        for folder in private_folders(os.environ if env is None else env):
            lock.files.append(_locked(folder / f"{name}.lock", resource_id))
        for _, handle in lock.files:
            _write(handle, f"{os.getpid()}{f' (run {run})' if run else ''}".encode())
    except BaseException:
        lock.release()
        raise
    return lock


# --- the journal of an upgrade that has deallocated instances -------------------------------------------------------


def note_journal(resource_id: str, place: str, journal: str) -> None:
    """Remember where the journal of an upgrade is that deallocates instances: the next plan names it."""
    with contextlib.suppress(OSError, InvalidInput):
        path = _note_path(resource_id, place)
        file = os.open(path, _FLAGS | os.O_TRUNC, 0o600)
        try:
            os.write(file, journal.encode("utf-8", "surrogateescape"))
        finally:
            os.close(file)


def noted_journal(resource_id: str, place: str) -> str:
    """The path of the journal that `note_journal` has remembered, "" for none."""
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
    """Remove what `note_journal` has remembered: its instances are started."""
    with contextlib.suppress(OSError, InvalidInput):
        _note_path(resource_id, place).unlink()


def _note_path(resource_id: str, place: str) -> Path:
    return private_folders(os.environ)[-1] / f"{_name(resource_id, place)}.journal"


def _name(resource_id: str, place: str) -> str:
    """What the files of a scale set are called."""
    return hashlib.sha256(f"{place} {resource_id}".lower().encode("utf-8", "replace")).hexdigest()[:20]


# --- the folders -----------------------------------------------------------------------------------------------------


def private_folders(env: Mapping[str, str]) -> list[Path]:
    """The folders for lock files: one of the login session, and one in the user's cache. Every usable one counts.

    A process of a login session and one without it (cron, sudo) share the second. TMPDIR has no say.
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
    """The folder of this user for what may be lost."""
    if sys.platform == "win32":
        return Path(env.get("LOCALAPPDATA") or _home(env) / "AppData" / "Local")
    if sys.platform == "darwin":
        return _home(env) / "Library" / "Caches"
    named = env.get("XDG_CACHE_HOME", "")
    return Path(named) if named.startswith("/") else _home(env) / ".cache"


def _home(env: Mapping[str, str]) -> Path:
    """The home of this user. HOME is passed over where it belongs to somebody else, as after `sudo -E`."""
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
    """Make the folder, or see that it is one that only this user may write."""
    if not folder.is_absolute():
        raise InvalidInput(f"{printable(folder, 300)} is no absolute path")
    with contextlib.suppress(FileExistsError):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    if not _is_private(folder):
        shown = printable(folder, 300)
        raise InvalidInput(f"others may write {shown}, or it is no folder of yours: remove it, or chmod 700 {shown}")


def _is_private(folder: Path) -> bool:
    """Whether this is a folder of this user (no link to one) that nobody else may write."""
    try:
        found = folder.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(found.st_mode) and _is_own(found) and not writable_by_others(found)


def _is_own(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def writable_by_others(found: os.stat_result) -> bool:
    """Whether group or others may write it; never on Windows, where the mode does not show that."""
    return hasattr(os, "getuid") and bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


# --- the file --------------------------------------------------------------------------------------------------------


def _locked(path: Path, resource_id: str) -> tuple[Path, int]:
    """Path and handle of the lock file, locked by this process."""
    for _ in range(_TRIES):
        handle = _opened(path)
        try:
            _refuse_other_files(path, os.fstat(handle))
            _take(handle, resource_id)
            if _is_at(path, handle):
                return path, handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise Locked(f"{resource_id} is being upgraded by other processes of this machine, which come and go")


def _opened(path: Path) -> int:
    try:
        return os.open(path, _FLAGS, 0o600)
    except OSError as error:
        shown = printable(path, 300)
        raise InvalidInput(f"the lock {shown} cannot be opened ({error.strerror}): remove it with rm {shown}") from None


def _refuse_other_files(path: Path, found: os.stat_result) -> None:
    """Only a regular file of this user, under one name at most, is written; it has none when it was just removed."""
    if stat.S_ISREG(found.st_mode) and _is_own(found) and found.st_nlink <= 1:
        return
    shown = printable(path, 300)
    raise InvalidInput(f"the lock {shown} is no plain file of yours: remove it with rm {shown}")


def _take(handle: int, resource_id: str) -> None:
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
        os.lseek(handle, _FAR, os.SEEK_SET)  # where nothing is written: a locked byte cannot be read by others
        lock.locking(handle, lock.LK_NBLCK, 1)
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(path: Path, handle: int) -> bool:
    """Whether the open file is the one at the path: a holder before us may have removed it."""
    try:
        found, opened = os.lstat(path), os.fstat(handle)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)


def _read(handle: int) -> str:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        return os.read(handle, 100).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _write(handle: int, text: bytes) -> None:
    """Say who holds it. It is held all the same where that cannot be written."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text)


def _remove(path: Path, handle: int) -> None:
    """Remove the file while it is still locked; where an open file cannot be removed (Windows), after that."""
    with contextlib.suppress(OSError):
        if _is_at(path, handle):
            path.unlink()
    with contextlib.suppress(OSError):
        os.close(handle)
    if not hasattr(os, "getuid"):
        with contextlib.suppress(OSError):
            path.unlink()
