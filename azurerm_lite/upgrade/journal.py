"""What an upgrade has done and means to do, one JSON object a line, on disk before it is acted on.

An entry is written and fsynced before the request that it announces, and after the answer. Reading it back gives the
progress again (`fold`), in any process. No secrets: models are stored without them, operations without hosts or tokens.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import AzurermLiteError, InvalidInput
from . import lock as _lock
from .planner import Batch, Progress

Entry = dict[str, Any]
SCHEMA = 1


class Journal:
    """The entries of one upgrade: in memory, and in a file when there is one."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self.entries: list[Entry] = []
        self._file: int | None = None
        self._lock: _lock.Lock | None = None

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
            raise AzurermLiteError(f"the journal {self.path} cannot be written ({error.strerror})") from None

    def lock(self, resource_id: str, place: str, run: str = "") -> None:
        """Be the only one on this machine who upgrades this scale set; `run` says to others which run that is."""
        self._lock = _lock.acquire(resource_id, place, run)

    def close(self) -> None:
        """Close the file and let others have the lock. Closing again does nothing."""
        file, lock, self._file, self._lock = self._file, self._lock, None, None
        if file is not None:
            os.close(file)
        if lock is not None:
            lock.release()


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


class State(NamedTuple):
    """Where an upgrade stands. `phase`: model, batches, ended. `operation`: the stored handle of the one in flight."""

    phase: str = "model"
    progress: Progress | None = None
    operation: Mapping[str, Any] | None = None
    model_written: bool = False
    verdict: Mapping[str, Any] | None = None
    took: tuple[float, ...] = ()
    lowest: int | None = None  # the fewest that were healthy when a batch began, without those of it
    left: int | None = None  # the same of the batch that is meant
    guarded: bool = False  # automatic repairs are suspended by us
    shielded: tuple[str, ...] = ()  # instances that are protected from scale-in by us
    shielded_for: tuple[str, ...] = ()  # the batch that this was done for
    fingerprint: str = ""  # of the model as Azure took it, when that was seen


def begun(entries: list[Entry]) -> Entry:
    """The first entry, which holds the plan; InvalidInput when these are not the entries of an upgrade."""
    if not entries:
        raise InvalidInput("that journal has no whole entry: that upgrade was not begun, plan it anew")
    if entries[0].get("kind") != "begin":
        raise InvalidInput("that journal does not begin with an upgrade")
    if entries[0].get("schema") != SCHEMA:
        raise InvalidInput(f"that journal has schema {entries[0].get('schema')!r}, this version reads {SCHEMA}")
    return entries[0]


def progress_of(entry: Mapping[str, Any]) -> Progress:
    """The progress with which an upgrade began."""
    return Progress(
        entry["version"],
        entry["capacity"],
        dict(entry["zone_sizes"]),
        frozenset(entry["sick_before"]),
        frozenset(entry["known"]),
        gated=bool(entry.get("gated")),
    )


def fold(entries: list[Entry]) -> State:
    """The state that these entries led to. The runner uses the same `apply`, so a resumed run knows what it knew."""
    state = State(progress=progress_of(begun(entries)))
    for entry in entries[1:]:
        state = apply(state, entry)
    return state


def apply(state: State, entry: Entry) -> State:
    """One entry more."""
    kind, progress = entry["kind"], state.progress
    assert progress is not None  # noqa: S101  (set by the first entry)
    batch = progress.batch
    if kind == "model-written":
        return state._replace(phase="batches", model_written=True, fingerprint=entry.get("fingerprint", ""))
    if kind == "intent":
        made = Batch(tuple(entry["ids"]), tuple(entry["vm_ids"]), entry["at"], bool(entry.get("canary")))
        fresh = replace(progress, batch=made, posted=progress.posted | set(made.ids), stuck_since=None)
        return state._replace(progress=fresh, operation=None, left=entry.get("left"))
    if kind == "unposted":
        fresh = replace(progress, batch=None, posted=progress.posted - set(entry["ids"]))
        return state._replace(progress=fresh, operation=None)
    if kind == "posted":
        return state._replace(operation=entry["operation"], lowest=least(state.lowest, state.left))
    if kind in _OF_BATCH and batch is not None:
        return _about_batch(state, progress, batch, entry)
    if kind == "checkpoint":
        return state._replace(progress=replace(progress, checkpoint=entry["percent"]))
    if kind == "shielded":
        return state._replace(shielded=tuple(entry["ids"]), shielded_for=tuple(entry["batch"]))
    if kind == "guarded":
        return state._replace(guarded=bool(entry["on"]))
    if kind == "settled":
        classes = {**progress.classes, **entry["classes"]}
        # A batch that vanished as a whole has shown nothing: the canary is still to come.
        seen = progress.batches + any(kind != "vanished" for kind in entry["classes"].values())
        done = replace(progress, batch=None, classes=classes, batches=seen, closed_at=entry["at"])
        return state._replace(progress=done, operation=None)
    if kind == "stuck":
        return state._replace(progress=replace(progress, stuck_since=entry["since"]))
    if kind == "end":
        seen = entry["verdict"].get("lowest")
        return state._replace(phase="ended", verdict=entry["verdict"], lowest=least(state.lowest, seen))
    return state


def least(one: int | None, other: int | None) -> int | None:
    """The smaller one; None stands for nothing known."""
    return min((found for found in (one, other) if found is not None), default=None)


_OF_BATCH = frozenset({"stage", "ended", "fit", "gate"})


def _about_batch(state: State, progress: Progress, batch: Batch, entry: Entry) -> State:
    """What became of the batch that is under way."""
    kind, at = entry["kind"], entry["at"]
    if kind == "stage":
        moved = replace(batch, stage=entry["number"], staged=at, error=entry.get("error", ""))
        return state._replace(progress=replace(progress, batch=moved), operation=None)
    if kind == "ended":
        elapsed = at - batch.begun
        took = min(entry.get("took") or elapsed, elapsed)  # Azure's clock, unless it runs faster than ours
        ended = replace(batch, ended=at, error=entry.get("error", ""))
        return state._replace(progress=replace(progress, batch=ended), took=(*state.took, took))
    said = {"fit_since": at} if kind == "fit" else {"gate": entry["said"]}
    return state._replace(progress=replace(progress, batch=replace(batch, **said)))
