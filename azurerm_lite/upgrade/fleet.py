"""Many scale sets, in many subscriptions, upgraded from one process: waves, a limit on how many at once, one report.

Each scale set is an upgrade of its own, with its own plan, journal and verdict. This room decides only whose turn it
is: every step that the engine takes is drawn from the budget of its subscription and region first.
"""

import contextlib
import hashlib
import heapq
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .. import model
from .._common import arguments, markup
from .._common.secrecy import conceal_locals
from ..arm import Arm, Auth
from ..endpoints import vmss
from ..errors import AzurermLiteError, InvalidInput, short_repr
from ..types import JsonDict, ScaleSet
from .rules import checks, trust
from .rules.budget import Budget, Cost, Place
from .rules.policy import Policy
from .rules.verdict import Verdict
from .run import journal
from .run.planning import Change, changed, pin, plan
from .run.runner import OnEvent, Runner, Stop, _always, _never, _silent
from .run.runs import lasting, opened, taken_up

_IMAGE_PATH = f"{'.'.join(map(str, model.IMAGE))}."
LOOK_SECONDS = 5.0  # at most between two looks at `should_stop`
PLANNING: Cost = {"GetVMScaleSet": 3, "HighCostGetVMScaleSet": 2}


@dataclass(frozen=True, slots=True, repr=False)
class FleetReport:
    """How a fleet came out. `outcome`: succeeded, stopped (too many failed), cancelled, or incomplete.

    `verdicts` by resource id; `refused`: why a scale set could not be planned; `not_begun`: whose turn never came.
    """

    outcome: str
    verdicts: Mapping[str, Verdict]
    refused: Mapping[str, str]
    not_begun: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return self.outcome == "succeeded"

    @property
    def counts(self) -> dict[str, int]:
        """How many scale sets came out how."""
        found = Counter(one.outcome for one in self.verdicts.values())
        rest = {"refused": len(self.refused), "not begun": len(self.not_begun)}
        return {**found, **{name: count for name, count in rest.items() if count}}

    @property
    def instances(self) -> dict[str, int]:
        """How many instances of all of them ended in which class."""
        found: Counter[str] = Counter()
        for one in self.verdicts.values():
            found.update(one.counts)
        return dict(found)

    def to_dict(self) -> JsonDict:
        """As plain JSON."""
        return {
            "outcome": self.outcome,
            "seconds": self.seconds,
            "counts": self.counts,
            "instances": self.instances,
            "verdicts": {name: one.to_dict() for name, one in self.verdicts.items()},
            "refused": dict(self.refused),
            "not_begun": list(self.not_begun),
        }

    def _troubles(self) -> Iterator[tuple[str, str]]:
        yield from ((name, f"{one.outcome}: {one.reason}") for name, one in self.verdicts.items() if not one.ok)
        yield from ((name, f"refused: {why}") for name, why in self.refused.items())

    def __repr__(self) -> str:
        return f"<FleetReport {markup.visible(self._headline, 400)}>"

    @property
    def _headline(self) -> str:
        sets = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        vms = ", ".join(f"{count} {name}" for name, count in sorted(self.instances.items()))
        return f"{self.outcome}: scale sets {sets or 'none'}; instances {vms or 'none'}; {self.seconds:.0f} s"

    def __str__(self) -> str:
        return "\n".join(
            [
                markup.visible(self._headline, 400),
                *(f"  {markup.visible(f'{n}: {why}', 400)}" for n, why in self._troubles()),
            ]
        )

    def _repr_html_(self) -> str:
        return markup.card(self._headline, self._troubles())


class _Member:
    """One scale set of the fleet: waiting for its turn, under way, or ended with a verdict or a refusal."""

    def __init__(
        self, arm: Arm, address: ScaleSet, change: Change, policy: Policy | None, folder: str | None, on_event: OnEvent
    ) -> None:
        self.arm, self.address, self._policy, self._folder = arm, address, policy, folder
        self._change = _reporting(change)
        self._on_event: OnEvent = _silent
        if on_event is not _silent:
            self._on_event = lambda event: on_event({**event, "scale_set": address.resource_id})
        self.runner: Runner | None = None
        self.verdict: Verdict | None = None
        self.refused = ""
        self.region = ""
        self.paid = False  # whether its next step is drawn from the budget already

    @property
    def place(self) -> Place:
        return self.address.subscription_id.lower(), self.region

    @property
    def failed(self) -> bool:
        return bool(self.refused) or (self.verdict is not None and not self.verdict.ok)

    def cost(self) -> Cost:
        """What the next step may ask of Compute, at the most."""
        return PLANNING if self.runner is None else self.runner.cost()

    def step(self) -> float | None:
        """Plan and begin it, or take one step; None when it has ended."""
        if self.runner is not None:
            seconds = self.runner.step()
            if seconds is None:
                self._ended(self.runner)
            return seconds
        try:
            self._begin()
        except (AzurermLiteError, OSError) as error:
            self.refused = str(error)
        return None if self.runner is None else 0.0

    def _begin(self) -> None:
        """Go on with its newest journal, or plan and begin anew; a journal that has succeeded is its verdict."""
        number, path = _newest_journal(self._folder, self.address)
        if path is None or not Path(path).exists():
            self._plan(path)
            return
        entries = journal.read_trusted(path)
        if not entries:  # nothing was begun
            self._plan(_journal_path(self._folder, self.address, number + 1))
            return
        attempt = self._attempt(path, entries)
        if attempt.verdict is not None and attempt.verdict.ok and attempt.same:
            self.verdict = attempt.verdict
        elif attempt.ended:
            before, path = path, _journal_path(self._folder, self.address, number + 1)
            # It is this upgrade that left the set as Failed.
            self._plan(path, accept_failed=attempt.same, unfinished=before)
        elif attempt.same:
            self.runner = taken_up(self.arm, path, on_event=self._on_event)
        else:
            why = "is of another change or policy, and that upgrade has not ended: resume it or roll it back"
            raise InvalidInput(f"the journal {path} {why}, or choose another folder")

    def _plan(self, path: str | None, *, accept_failed: bool = False, unfinished: str | None = None) -> None:
        options: Any = {"policy": self._policy, "accept_failed": accept_failed, "unfinished_journal": unfinished}
        wanted = plan(self.arm, *self.address, self._change, **options)
        self.region = str(wanted.before.get("location", ""))
        self.runner = opened(self.arm, wanted, path, on_event=self._on_event)

    def _attempt(self, path: str, entries: Sequence[journal.Entry]) -> "_Attempt":
        """What a journal in the folder is to this call; InvalidInput for one of another scale set or endpoint."""
        first, stored = journal.begun(entries), journal.fold(entries).verdict
        if ScaleSet.parse(first["scale_set"]).resource_id.lower() != self.address.resource_id.lower():
            raise InvalidInput(f"the journal {path} is of another scale set: {first['scale_set']}")
        trust.refuse_other_endpoint(first, self.arm.base)
        if self.arm.world is not None:
            trust.refuse_other_world(first, self.arm.world)
        verdict = None if stored is None else Verdict(**{key: stored[key] for key in stored if key != "counts"})
        ended = verdict is not None and verdict.outcome not in ("paused", "cancelled")
        return _Attempt(verdict, ended, self._is_same(first))

    def _is_same(self, first: journal.Entry) -> bool:
        """Whether a journal is of this change, under this policy."""
        if Policy.from_dict(first["policy"]) != (self._policy or Policy()):
            return False
        if isinstance(self._change, str) and self._change != "latest":
            only_image = all(path.startswith(_IMAGE_PATH) for path in first["paths"])
            return only_image and first["version"] == self._change
        found: JsonDict = {**vmss.get_vmss(self.arm, *self.address)}
        after, _ = changed(self.arm, self.address, found, self._change)
        planned = model.apply_patch(found, first["patch"])
        return not trust.paths_of(planned, after) and pin(after) == first["version"]

    def abandon(self) -> None:
        """Remove its guards and release its lock, whatever ended the fleet; its journal lets it be resumed."""
        runner, self.runner = self.runner, None
        if runner is None:
            return
        try:
            runner.release()
        finally:
            runner.journal.close()

    def _ended(self, runner: Runner) -> None:
        assert runner.verdict is not None  # noqa: S101  (every end is recorded)
        self._closed(runner, runner.verdict)

    def _closed(self, runner: Runner, verdict: Verdict) -> None:
        runner.journal.close()  # and with it the lock
        self.runner, self.verdict = None, verdict

    def stop(self) -> bool:
        """End at the next safe point, if it has begun; its journal lets it be resumed. Whether that is new to it."""
        if self.runner is None or self.runner.should_stop is _always:
            return False
        self.runner.should_stop = _always
        return True


class _Attempt(NamedTuple):
    """What a journal in a fleet's folder is: how it ended, if it did, and whether it is of the same change."""

    verdict: Verdict | None
    ended: bool
    same: bool


Turn = tuple[float, int, _Member]  # when, in which order, who


class _Fleet:
    """Whose turn it is: a queue by time, at most `at_once` under way."""

    def __init__(self, arm: Arm, at_once: int, workers: int, should_stop: Stop) -> None:
        self._arm, self._at_once, self._should_stop = arm, at_once, should_stop
        self._budget, self._order = Budget(), itertools.count()
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.stopped = False

    def run(self, members: Sequence[_Member], failures_allowed: Callable[[], bool]) -> None:
        """Drive a wave to its end. When too many have failed, or on request, no further one begins.

        Whatever ends it, no lock is held and no guard stays.
        """
        try:
            self._drive(members, failures_allowed)
        except BaseException:
            self._abandon(members)
            raise

    def _abandon(self, members: Sequence[_Member]) -> None:
        """Let steps under way end, then release what every member holds, one interruption more or not."""
        with contextlib.ExitStack() as stack:
            for member in members:
                stack.callback(member.abandon)
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _drive(self, members: Sequence[_Member], failures_allowed: Callable[[], bool]) -> None:
        waiting, queue, flying = list(reversed(members)), list[Turn](), dict[Future[float | None], _Member]()
        while waiting or queue or flying:
            self.stopped = self.stopped or self._should_stop()
            if self.stopped or not failures_allowed():
                waiting.clear()
            if self.stopped:
                self._stop(queue)
            while waiting and len(queue) + len(flying) < self._at_once:
                heapq.heappush(queue, (self._arm.time(), next(self._order), waiting.pop()))
            self._turn(queue, flying)

    def _turn(self, queue: list[Turn], flying: dict[Future[float | None], _Member]) -> None:
        """Let those that are due take a step each, then wait for the next moment in which anything may happen."""
        while queue and queue[0][0] <= self._arm.time():
            _, _, member = heapq.heappop(queue)
            delay = 0.0 if member.paid else self._budget.draw(member.place, member.cost(), self._arm.time())
            member.paid = delay > 0
            if delay > 0:
                self._again(queue, member, delay)
            elif self._pool is not None:
                flying[self._pool.submit(member.step)] = member
            else:
                self._again(queue, member, member.step())
        rest = min(LOOK_SECONDS, queue[0][0] - self._arm.time()) if queue else LOOK_SECONDS
        if flying:
            done, _ = wait(flying, timeout=max(0.0, rest), return_when="FIRST_COMPLETED")
            for one in done:
                self._again(queue, flying.pop(one), one.result())
        elif queue and rest > 0:
            self._arm.pause(rest)

    def _again(self, queue: list[Turn], member: _Member, seconds: float | None) -> None:
        if seconds is not None:
            heapq.heappush(queue, (self._arm.time() + seconds, next(self._order), member))

    def _stop(self, queue: list[Turn]) -> None:
        """Let what has begun come to its next safe point, at once where it waits for something; nothing else begins."""
        now = self._arm.time()
        turns = [(now if member.stop() else at, turn, member) for at, turn, member in queue if member.runner]
        queue[:] = turns
        heapq.heapify(queue)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


@conceal_locals
def upgrade_fleet(
    auth: Auth,
    scale_sets: Iterable[ScaleSet],
    change: Change = None,
    *,
    policy: Policy | None = None,
    waves: Sequence[int] = (100,),
    at_once: int = 50,
    failures_allowed: int = 0,
    workers: int = 8,
    journals: str | None = None,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> FleetReport:
    """Upgrade many scale sets, each with a plan of its own under the same policy; one report on all of them.

    `waves`: percent of the fleet, in the order given, that has ended by the end of each wave, such as (5, 25, 100).
    `at_once`: how many are under way at a time.
    `failures_allowed`: scale sets that may fail before no further one begins; those under way go on to their end.
    `workers`: threads; 1 keeps everything in the calling one. `journals`: a folder that gets a journal for each. The
    same call again goes on with what was interrupted, leaves what has succeeded, and plans anew what a rule stopped. A
    journal of another change or policy is never resumed: one that has ended stays, and a new one is begun beside it;
    one that has not refuses its scale set.
    `on_event` hears the events of all, each with its `scale_set`. Raises InvalidInput before anything is read.
    """
    addresses, waves = _addresses(scale_sets), arguments.sequence(waves, "waves", "(5, 25, 100)")
    _refuse(addresses, waves, at_once, failures_allowed, workers)
    checks.of_plan(change, policy)
    checks.of_run(journals, None, on_event, should_stop)
    arm = lasting(auth)
    members = [_Member(arm, one, change, policy, journals, on_event) for one in addresses]
    fleet, begun = _Fleet(arm, at_once, workers, should_stop), arm.time()

    def may_begin() -> bool:
        return sum(member.failed for member in members) <= failures_allowed

    try:
        for wave in _cut(members, waves):
            fleet.run(wave, may_begin)
            if fleet.stopped or not may_begin():
                break
    finally:
        fleet.close()
    return _report(members, "cancelled" if fleet.stopped else "", may_begin(), arm.time() - begun)


def _addresses(scale_sets: object) -> list[ScaleSet]:
    """The scale sets of a fleet; ScaleSets, or tuples of subscription id, resource group and name."""
    if isinstance(scale_sets, ScaleSet):
        raise InvalidInput("scale_sets must be a sequence of ScaleSets: put the one that you have into a list")
    listed = arguments.sequence(scale_sets, "scale_sets", "[ScaleSet(subscription_id, resource_group, vmss_name)]")
    return [_address(item) for item in listed]


def _address(item: object) -> ScaleSet:
    if not isinstance(item, tuple | list) or len(item) != 3 or not all(isinstance(part, str) for part in item):
        example = "ScaleSet(subscription_id, resource_group, vmss_name)"
        raise InvalidInput(f"each of scale_sets must be {example}, not {short_repr(item)}")
    address = ScaleSet(*item)
    vmss.vmss_path(*address)  # which refuses what cannot be part of an address
    return address


def _refuse(addresses: list[ScaleSet], waves: Sequence[Any], at_once: int, failures: int, workers: int) -> None:
    for percent in waves:
        arguments.whole_number(percent, "each item of waves", 1, 100, "percent, whole numbers")
    for name, value, least in (("at_once", at_once, 1), ("workers", workers, 1), ("failures_allowed", failures, 0)):
        arguments.whole_number(value, name, least, 100_000, "a whole number")
    if twice := [one for one, count in Counter(one.resource_id.lower() for one in addresses).items() if count > 1]:
        raise InvalidInput(f"a scale set stands twice in the fleet: {twice[0]}")
    if not waves or list(waves) != sorted(set(waves)) or not 0 < waves[0] <= waves[-1] == 100:
        raise InvalidInput(
            f"waves are rising percents that end with 100, such as (5, 25, 100), not {short_repr(waves)}"
        )


def _cut(members: list[_Member], waves: Sequence[int]) -> Iterator[list[_Member]]:
    begun = 0
    for percent in waves:
        upto = math.ceil(len(members) * percent / 100)
        yield members[begun:upto]
        begun = upto


def _journal_path(folder: str | None, address: ScaleSet, number: int = 1) -> str | None:
    """The journal of a scale set's first or later upgrade in a folder."""
    if folder is None:
        return None
    mark = hashlib.sha256(address.resource_id.lower().encode()).hexdigest()[:8]
    suffix = "" if number == 1 else f".{number}"
    return str(Path(folder) / f"{address.vmss_name}-{mark}{suffix}.jsonl")


def _newest_journal(folder: str | None, address: ScaleSet) -> tuple[int, str | None]:
    """Number and path of the last journal of a scale set in a folder; of the first where there is none."""
    number = 1
    while folder is not None and os.path.lexists(_journal_path(folder, address, number + 1) or ""):
        number += 1
    return number, _journal_path(folder, address, number)


def _reporting(change: Change) -> Change:
    """The change, whose own errors refuse a scale set by name instead of ending the fleet."""
    if not callable(change):
        return change
    function = change

    def applied(found: Any) -> Any:
        try:
            return function(found)
        except AzurermLiteError:
            raise
        except Exception as error:
            raise InvalidInput(f"change raised {type(error).__name__}: {error}") from error

    return applied


def _report(members: list[_Member], outcome: str, within: bool, seconds: float) -> FleetReport:
    verdicts = {one.address.resource_id: one.verdict for one in members if one.verdict is not None}
    refused = {one.address.resource_id: one.refused for one in members if one.refused}
    rest = tuple(one.address.resource_id for one in members if one.verdict is None and not one.refused)
    whole = not rest and all(not one.failed for one in members)
    said = outcome or ("succeeded" if whole else "incomplete" if within else "stopped")
    return FleetReport(said, verdicts, refused, rest, seconds)
