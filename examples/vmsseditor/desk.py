"""What the editor knows: the connection, each scale set as it was last seen, what is under way, and the event log.

One Desk serves all pages and threads of the editor. Scale sets are read when a page asks and what is known is too old,
so that an editor nobody looks at asks Azure nothing.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import azurerm_lite as az
from azurerm_lite._common.markup import visible
from azurerm_lite.types import Vmss
from azurerm_lite.upgrade import Plan, Snapshot, take_snapshot
from azurerm_lite.upgrade.run.planning import is_flexible

from . import actions, rollout, views
from .rollout import Rollout

# Seconds after which a set is read anew: while something is under way, and else. Azure grants some 15 lists a minute.
BUSY_SECONDS, CALM_SECONDS, LEAST_SECONDS = 5.0, 15.0, 0.25
MOST_LINES, MOST_DRAFTS = 1000, 100


class Seen(NamedTuple):
    """A scale set at one moment."""

    model: Vmss
    instances: Snapshot
    at: float
    took: float


class Outdated(az.AzurermLiteError):
    """A page asks on the ground of something that is no longer so; nothing was begun."""


class Proposal(NamedTuple):
    """A plan that was shown and can be started: the newest of its set. `undoes`: the upgrade that it rolls back."""

    number: int
    plan: Plan
    undoes: Rollout | None


class Draft(NamedTuple):
    """A change that has been shown and not been written: it fits the model with this etag and no other."""

    address: az.ScaleSet
    etag: str | None
    patch: dict[str, Any]


class Desk:
    """The state of a running editor. `pace`: how many times as fast as Azure's the emulator's time goes."""

    def __init__(
        self,
        arm: az.Arm,
        subscription_id: str,
        folder: Path,
        *,
        pace: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.arm, self.subscription_id, self.folder, self.pace, self._now = arm, subscription_id, folder, pace, now
        self.rollouts: dict[az.ScaleSet, Rollout] = {}
        self._proposals: dict[az.ScaleSet, Proposal] = {}
        self._drafts: dict[int, Draft] = {}
        self._seen: dict[az.ScaleSet, Seen] = {}
        self._locks: dict[az.ScaleSet, threading.Lock] = {}
        self._steering: dict[az.ScaleSet, threading.Lock] = {}
        self._working: dict[int, tuple[az.ScaleSet, dict[str, Any]]] = {}
        self._lines: deque[dict[str, Any]] = deque(maxlen=MOST_LINES)
        self._numbers = itertools.count(1)

    # --- the log -----------------------------------------------------------------------------------------------------

    def say(self, address: az.ScaleSet, text: str, mood: str = "") -> None:
        """One line in the event log of a set. `mood`: "good", "bad" or nothing."""
        line = {"number": next(self._numbers), "at": self._now(), "mood": mood, "text": visible(text, 1000)}
        self._lines.append({**line, "set": address.resource_id})

    def lines(self, address: az.ScaleSet, after: int) -> list[dict[str, Any]]:
        """The lines of a set that are younger than the one with that number."""
        return [one for one in list(self._lines) if one["number"] > after and one["set"] == address.resource_id]

    # --- what is seen ------------------------------------------------------------------------------------------------

    def seen(self, address: az.ScaleSet) -> Seen:
        """The set as it is, or was a moment ago."""
        with self._locks.setdefault(address, threading.Lock()):
            found = self._seen.get(address)
            if found is None or self._now() - found.at > self._patience(address, found):
                found = self._seen[address] = self._look(address)
            return found

    def _patience(self, address: az.ScaleSet, found: Seen) -> float:
        wanted = BUSY_SECONDS if self.busy(address) else CALM_SECONDS
        return max(LEAST_SECONDS, wanted / self.pace, 3 * found.took)

    def _look(self, address: az.ScaleSet) -> Seen:
        began = self._now()
        model = az.get_vmss(self.arm, *address)
        instances = take_snapshot(self.arm, address, flexible=is_flexible(model))
        return Seen(model, instances, began, self._now() - began)

    def look_again(self, address: az.ScaleSet) -> None:
        """Forget how fresh a set is: something was done to it."""
        if found := self._seen.get(address):
            self._seen[address] = found._replace(at=0.0)

    # --- what is done ------------------------------------------------------------------------------------------------

    def busy(self, address: az.ScaleSet) -> bool:
        running = self.rollouts.get(address)
        return bool(self.working(address)) or (running is not None and running.running)

    def working(self, address: az.ScaleSet) -> list[dict[str, Any]]:
        """What is being done to a set: {"what", "ids"}, where no ids mean all of it."""
        return [work for where, work in list(self._working.values()) if where == address]

    @contextmanager
    def _at_work(self, address: az.ScaleSet, what: str, ids: Sequence[str] | None) -> Iterator[None]:
        number = next(self._numbers)
        self._working[number] = address, {"what": what, "ids": ids}
        try:
            yield
            self.say(address, f"{what}: done", "good")
        except az.AzurermLiteError as error:
            self.say(address, f"{what}: {error}", "bad")
        finally:
            del self._working[number]
            self.look_again(address)

    def act(self, address: az.ScaleSet, action: str, ids: Sequence[str] | None) -> None:
        """Begin an action; how it came out is in the log. What Azure refuses at once is raised here."""
        what = f"{action} {'all instances' if ids is None else views.ids_text(ids)}"
        operations = actions.begin(self.arm, address, action, ids)
        first = next(operations)
        self.say(address, f"{what}: begun")
        self._in_background(address, what, ids, itertools.chain([first], operations))

    def _in_background(
        self, address: az.ScaleSet, what: str, ids: Sequence[str] | None, operations: Iterator[az.Operation]
    ) -> None:
        def run() -> None:
            with self._at_work(address, what, ids):
                for operation in operations:
                    operation.wait()

        threading.Thread(target=run, name=what, daemon=True).start()

    # --- edits -------------------------------------------------------------------------------------------------------

    def draft(self, address: az.ScaleSet, wishes: Mapping[str, Any]) -> dict[str, Any]:
        """What an edit would change in the model as it is now; `number` is 0 when that is nothing."""
        model = az.get_vmss(self.arm, *address)
        wanted = actions.edited(model, wishes)
        patch = az.merge_patch(model, wanted)
        if not patch:
            return {"number": 0, "changes": []}
        number = next(self._numbers)
        self._drafts[number] = Draft(address, model.get("etag"), patch)
        for old in list(self._drafts)[:-MOST_DRAFTS]:
            del self._drafts[old]
        return {"number": number, "changes": views.changes(model, wanted)}

    def write(self, address: az.ScaleSet, number: int) -> None:
        """Write a draft, if the model is still the one that it was made for; ConcurrencyError (412) if not."""
        draft = self._drafts.pop(number, None)
        if draft is None or draft.address != address:
            raise Outdated("that change was written already, or is too old: look at it again")
        operation = az.patch_vmss(self.arm, *address, draft.patch, if_match=draft.etag)
        self.say(address, "write the model: begun")
        self._in_background(address, "write the model", None, iter([operation]))

    # --- rolling upgrades --------------------------------------------------------------------------------------------

    def last_rollout(self, address: az.ScaleSet) -> Rollout | None:
        """The last upgrade of a set, also one that an editor before this one has left unfinished."""
        if address not in self.rollouts and (left := rollout.left_over(self.folder, address)):
            left.number = next(self._numbers)
            self.rollouts.setdefault(address, left)
        return self.rollouts.get(address)

    def known_rollout(self, address: az.ScaleSet, number: int, wish: str) -> Rollout:
        """The upgrade that a page showed under that number, if this can still be asked of it; else Outdated."""
        running = self.last_rollout(address)
        if running is None or running.number != number:
            raise Outdated("another upgrade of this scale set was begun since: look at it again")
        if wish not in running.offers:
            raise Outdated(f"there is nothing to {wish}, it is {running.state}: look at it again")
        return running

    def propose(self, address: az.ScaleSet, plan: Plan, *, undoes: Rollout | None = None) -> Proposal:
        """Keep a plan to be started under its number. An older plan of the set is outdated by it."""
        proposal = self._proposals[address] = Proposal(next(self._numbers), plan, undoes)
        return proposal

    def proposal(self, address: az.ScaleSet) -> Proposal | None:
        """The newest plan of a set, if it has not been started."""
        return self._proposals.get(address)

    def take(self, address: az.ScaleSet, number: int, wish: str) -> Proposal:
        """The plan that a page showed under that number, to be started now; Outdated if it is not the newest."""
        proposal, running = self._proposals.get(address), self.rollouts.get(address)
        if running is not None and running.running:
            raise Outdated("this scale set is being upgraded already: look at it again")
        if proposal is None or proposal.number != number or (wish == "roll back") != (proposal.undoes is not None):
            raise Outdated("another plan was made since, or that one was started: look at the newest before you start")
        if proposal.undoes is not None and proposal.undoes is not running:
            raise Outdated("another upgrade of this scale set was begun since: look at it again")
        return proposal

    @contextmanager
    def steering(self, address: az.ScaleSet) -> Iterator[None]:
        """One click at a time for each set: of two that race, the second sees what the first has done."""
        with self._steering.setdefault(address, threading.Lock()):
            yield

    def new_journal(self, address: az.ScaleSet) -> Path:
        """A file for the next upgrade of a set."""
        when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._now()))
        return self.folder / f"vmsseditor-{when}-{next(self._numbers)}-{address.vmss_name}.jsonl"

    def roll(self, address: az.ScaleSet, made: Rollout, run: rollout.Run) -> None:
        """Let an upgrade run in a thread of its own. Its number is new, and plans made before it are outdated."""
        self._proposals.pop(address, None)
        made.number = next(self._numbers)
        self.rollouts[address] = made

        def say(text: str, mood: str = "") -> None:
            self.say(address, text, mood)
            self.look_again(address)

        rollout.start(made, run, say)
