"""Upgrade many scale sets, in many subscriptions, from one process: in waves, with one report.

Each scale set has its own plan, journal and verdict. This module only chooses the scale set that takes the next step,
and first reserves the step's requests in the budget of its subscription and region.
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
from .run.planning import Change, changed_model, pin, plan
from .run.runner import OnEvent, Runner, Stop, _always, _never, _silent
from .run.runs import renewable_arm, resume_runner, start_runner

_IMAGE_PATH = f"{'.'.join(map(str, model.IMAGE))}."
LOOK_SECONDS = 5.0  # the longest time between two calls of `should_stop`
PLANNING: Cost = {"GetVMScaleSet": 3, "HighCostGetVMScaleSet": 2}


@dataclass(frozen=True, slots=True, repr=False)
class FleetReport:
    """The result of a fleet's upgrade.

    `outcome`: "succeeded", "stopped" (too many scale sets failed), "cancelled" or "incomplete". By resource id:
    `verdicts`, and `refused`, the reasons why scale sets could not be planned. `not_begun`: the resource ids of the
    scale sets that were not started.
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
        """The number of scale sets by outcome."""
        outcomes = Counter(verdict.outcome for verdict in self.verdicts.values())
        rest = {"refused": len(self.refused), "not begun": len(self.not_begun)}
        return {**outcomes, **{name: count for name, count in rest.items() if count}}

    @property
    def instances(self) -> dict[str, int]:
        """The number of instances of all scale sets by class."""
        totals: Counter[str] = Counter()
        for verdict in self.verdicts.values():
            totals.update(verdict.counts)
        return dict(totals)

    def to_dict(self) -> JsonDict:
        """The report as a JSON object."""
        return {
            "outcome": self.outcome,
            "seconds": self.seconds,
            "counts": self.counts,
            "instances": self.instances,
            "verdicts": {name: verdict.to_dict() for name, verdict in self.verdicts.items()},
            "refused": dict(self.refused),
            "not_begun": list(self.not_begun),
        }

    def _troubles(self) -> Iterator[tuple[str, str]]:
        yield from (
            (name, f"{verdict.outcome}: {verdict.reason}") for name, verdict in self.verdicts.items() if not verdict.ok
        )
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
    """One scale set of the fleet: waiting, running, or ended with a verdict or a refusal."""

    def __init__(
        self, arm: Arm, address: ScaleSet, change: Change, policy: Policy | None, folder: str | None, on_event: OnEvent
    ) -> None:
        self.arm, self.address, self._policy, self._folder = arm, address, policy, folder
        self._change = _with_refusals(change)
        self._on_event: OnEvent = _silent
        if on_event is not _silent:
            self._on_event = lambda event: on_event({**event, "scale_set": address.resource_id})
        self.runner: Runner | None = None
        self.verdict: Verdict | None = None
        self.refused = ""
        self.region = ""
        self.paid = False  # whether its next step is already reserved in the budget

    @property
    def place(self) -> Place:
        return self.address.subscription_id.lower(), self.region

    @property
    def failed(self) -> bool:
        return bool(self.refused) or (self.verdict is not None and not self.verdict.ok)

    def cost(self) -> Cost:
        """The most Compute requests that the next step may send, by throttling bucket."""
        return PLANNING if self.runner is None else self.runner.cost()

    def step(self) -> float | None:
        """Plan and start the upgrade, or take one step. Returns the seconds to wait, None when it has ended."""
        if self.runner is not None:
            seconds = self.runner.step()
            if seconds is None:
                self._finish(self.runner)
            return seconds
        try:
            self._begin()
        except (AzurermLiteError, OSError) as error:
            self.refused = str(error)
        return None if self.runner is None else 0.0

    def _begin(self) -> None:
        """Resume the newest journal, or plan and start a new upgrade. After success only its verdict is read."""
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
            # The same upgrade has put the scale set into the state Failed.
            self._plan(path, accept_failed=attempt.same, unfinished=before)
        elif attempt.same:
            self.runner = resume_runner(self.arm, path, on_event=self._on_event)
        else:
            why = "is of another change or policy, and that upgrade has not ended: resume it or roll it back"
            raise InvalidInput(f"the journal {path} {why}, or choose another folder")

    def _plan(self, path: str | None, *, accept_failed: bool = False, unfinished: str | None = None) -> None:
        options: Any = {"policy": self._policy, "accept_failed": accept_failed, "unfinished_journal": unfinished}
        upgrade_plan = plan(self.arm, *self.address, self._change, **options)
        self.region = str(upgrade_plan.before.get("location", ""))
        self.runner = start_runner(self.arm, upgrade_plan, path, on_event=self._on_event)

    def _attempt(self, path: str, entries: Sequence[journal.Entry]) -> "_Attempt":
        """The earlier upgrade of a journal in the folder; InvalidInput for another scale set or endpoint."""
        first, stored = journal.begin_entry(entries), journal.fold(entries).verdict
        if ScaleSet.parse(first["scale_set"]).resource_id.lower() != self.address.resource_id.lower():
            raise InvalidInput(f"the journal {path} is of another scale set: {first['scale_set']}")
        trust.refuse_other_endpoint(first, self.arm.base)
        if self.arm.world is not None:
            trust.refuse_other_world(first, self.arm.world)
        verdict = None if stored is None else Verdict(**{key: stored[key] for key in stored if key != "counts"})
        ended = verdict is not None and verdict.outcome not in ("paused", "cancelled")
        return _Attempt(verdict, ended, self._is_same(first))

    def _is_same(self, first: journal.Entry) -> bool:
        """Whether a journal is of the same change and policy."""
        if Policy.from_dict(first["policy"]) != (self._policy or Policy()):
            return False
        if isinstance(self._change, str) and self._change != "latest":
            only_image = all(path.startswith(_IMAGE_PATH) for path in first["paths"])
            return only_image and first["version"] == self._change
        current: JsonDict = {**vmss.get_vmss(self.arm, *self.address)}
        after, _ = changed_model(self.arm, self.address, current, self._change)
        stored = model.apply_patch(current, first["patch"])
        return not trust.paths_of(stored, after) and pin(after) == first["version"]

    def abandon(self) -> None:
        """Remove the guards and release the lock. The upgrade can be resumed from its journal."""
        runner, self.runner = self.runner, None
        if runner is None:
            return
        try:
            runner.release()
        finally:
            runner.journal.close()

    def _finish(self, runner: Runner) -> None:
        assert runner.verdict is not None  # noqa: S101  (every end is recorded)
        self._close(runner, runner.verdict)

    def _close(self, runner: Runner, verdict: Verdict) -> None:
        runner.journal.close()  # releases the lock too
        self.runner, self.verdict = None, verdict

    def stop(self) -> bool:
        """Ask a running upgrade to end at the next safe point; False when it does not run or was asked before."""
        if self.runner is None or self.runner.should_stop is _always:
            return False
        self.runner.should_stop = _always
        return True


class _Attempt(NamedTuple):
    """An earlier upgrade from the fleet's folder. `same`: it has the same change and policy."""

    verdict: Verdict | None
    ended: bool
    same: bool


Turn = tuple[float, int, _Member]  # time, order, scale set


class _Fleet:
    """A queue of scale sets by the time of their next step; at most `at_once` run."""

    def __init__(self, arm: Arm, at_once: int, workers: int, should_stop: Stop) -> None:
        self._arm, self._at_once, self._should_stop = arm, at_once, should_stop
        self._budget, self._order = Budget(), itertools.count()
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.stopped = False

    def run(self, members: Sequence[_Member], failures_allowed: Callable[[], bool]) -> None:
        """Run a wave to its end. After too many failures, or a stop, no further scale set starts.

        After an exception no lock and no guard remains.
        """
        try:
            self._drive(members, failures_allowed)
        except BaseException:
            self._abandon(members)
            raise

    def _abandon(self, members: Sequence[_Member]) -> None:
        """Wait for running steps, then abandon every member, even if another interruption comes."""
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
            self._take_turns(queue, flying)

    def _take_turns(self, queue: list[Turn], flying: dict[Future[float | None], _Member]) -> None:
        """Take a step for each scale set that is due, then wait until the next one is due or a step has ended."""
        while queue and queue[0][0] <= self._arm.time():
            _, _, member = heapq.heappop(queue)
            delay = 0.0 if member.paid else self._budget.draw(member.place, member.cost(), self._arm.time())
            member.paid = delay > 0
            if delay > 0:
                self._requeue(queue, member, delay)
            elif self._pool is not None:
                flying[self._pool.submit(member.step)] = member
            else:
                self._requeue(queue, member, member.step())
        rest = min(LOOK_SECONDS, queue[0][0] - self._arm.time()) if queue else LOOK_SECONDS
        if flying:
            done, _ = wait(flying, timeout=max(0.0, rest), return_when="FIRST_COMPLETED")
            for future in done:
                self._requeue(queue, flying.pop(future), future.result())
        elif queue and rest > 0:
            self._arm.pause(rest)

    def _requeue(self, queue: list[Turn], member: _Member, seconds: float | None) -> None:
        if seconds is not None:
            heapq.heappush(queue, (self._arm.time() + seconds, next(self._order), member))

    def _stop(self, queue: list[Turn]) -> None:
        """Stop the running upgrades at their next safe point without further waits, and start no others."""
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
    """Upgrade many scale sets under one policy and return a FleetReport.

    `scale_sets`: ScaleSets, or tuples of subscription id, resource group and name. `change`: as in `plan`; each scale
    set gets its own plan.
    `waves`: the percent of the fleet that has ended after each wave, in the given order, such as (5, 25, 100).
    `at_once`: the most scale sets that run at a time.
    `failures_allowed`: when more scale sets have failed, no further one starts; those that run go on to their end.
    `workers`: threads; with 1 everything runs in the calling thread.
    `journals`: a folder for one journal file per scale set. The same call again resumes interrupted upgrades, skips
    those that succeeded, and plans those anew that a rule stopped. A journal of another change or policy is never
    resumed: after an ended upgrade a new file is written next to it, and with an unfinished one its scale set is
    refused.
    `on_event`: called with the events of all scale sets, each with the resource id as `scale_set`.
    `should_stop`: called between steps; after True the upgrades end at their next safe points.

    Raises, before anything is read: InvalidInput for wrong arguments. Errors of a scale set are in the report.
    """
    addresses, waves = _addresses(scale_sets), arguments.sequence(waves, "waves", "(5, 25, 100)")
    _refuse(addresses, waves, at_once, failures_allowed, workers)
    checks.of_plan(change, policy)
    checks.of_run(journals, None, on_event, should_stop)
    arm = renewable_arm(auth)
    members = [_Member(arm, address, change, policy, journals, on_event) for address in addresses]
    fleet, started_at = _Fleet(arm, at_once, workers, should_stop), arm.time()

    def may_begin() -> bool:
        return sum(member.failed for member in members) <= failures_allowed

    try:
        for wave in _split_into_waves(members, waves):
            fleet.run(wave, may_begin)
            if fleet.stopped or not may_begin():
                break
    finally:
        fleet.close()
    return _report(members, "cancelled" if fleet.stopped else "", may_begin(), arm.time() - started_at)


def _addresses(scale_sets: object) -> list[ScaleSet]:
    """The scale sets of a fleet, from ScaleSets or tuples of subscription id, resource group and name."""
    if isinstance(scale_sets, ScaleSet):
        raise InvalidInput("scale_sets must be a sequence of ScaleSets: put a single one into a list")
    listed = arguments.sequence(scale_sets, "scale_sets", "[ScaleSet(subscription_id, resource_group, vmss_name)]")
    return [_address(item) for item in listed]


def _address(item: object) -> ScaleSet:
    if not isinstance(item, tuple | list) or len(item) != 3 or not all(isinstance(part, str) for part in item):
        example = "ScaleSet(subscription_id, resource_group, vmss_name)"
        raise InvalidInput(f"each of scale_sets must be {example}, not {short_repr(item)}")
    address = ScaleSet(*item)
    vmss.vmss_path(*address)  # raises InvalidInput for an invalid address
    return address


def _refuse(addresses: list[ScaleSet], waves: Sequence[Any], at_once: int, failures: int, workers: int) -> None:
    for percent in waves:
        arguments.whole_number(percent, "each item of waves", 1, 100, "percent, whole numbers")
    for name, value, least in (("at_once", at_once, 1), ("workers", workers, 1), ("failures_allowed", failures, 0)):
        arguments.whole_number(value, name, least, 100_000, "a whole number")
    if twice := [
        name for name, count in Counter(address.resource_id.lower() for address in addresses).items() if count > 1
    ]:
        raise InvalidInput(f"a scale set is twice in scale_sets: {twice[0]}")
    if not waves or list(waves) != sorted(set(waves)) or not 0 < waves[0] <= waves[-1] == 100:
        raise InvalidInput(
            f"waves must be rising percentages that end with 100, such as (5, 25, 100), not {short_repr(waves)}"
        )


def _split_into_waves(members: list[_Member], waves: Sequence[int]) -> Iterator[list[_Member]]:
    start = 0
    for percent in waves:
        upto = math.ceil(len(members) * percent / 100)
        yield members[start:upto]
        start = upto


def _journal_path(folder: str | None, address: ScaleSet, number: int = 1) -> str | None:
    """The path of the journal of a scale set's upgrade with this number in a folder."""
    if folder is None:
        return None
    mark = hashlib.sha256(address.resource_id.lower().encode()).hexdigest()[:8]
    suffix = "" if number == 1 else f".{number}"
    return str(Path(folder) / f"{address.vmss_name}-{mark}{suffix}.jsonl")


def _newest_journal(folder: str | None, address: ScaleSet) -> tuple[int, str | None]:
    """Number and path of a scale set's newest journal in a folder, or of the first one to write."""
    number = 1
    while folder is not None and os.path.lexists(_journal_path(folder, address, number + 1) or ""):
        number += 1
    return number, _journal_path(folder, address, number)


def _with_refusals(change: Change) -> Change:
    """Wrap the change so that its exceptions refuse one scale set instead of ending the fleet."""
    if not callable(change):
        return change
    function = change

    def applied(current: Any) -> Any:
        try:
            return function(current)
        except AzurermLiteError:
            raise
        except Exception as error:
            raise InvalidInput(f"change raised {type(error).__name__}: {error}") from error

    return applied


def _report(members: list[_Member], outcome: str, within: bool, seconds: float) -> FleetReport:
    verdicts = {member.address.resource_id: member.verdict for member in members if member.verdict is not None}
    refused = {member.address.resource_id: member.refused for member in members if member.refused}
    rest = tuple(member.address.resource_id for member in members if member.verdict is None and not member.refused)
    whole = not rest and all(not member.failed for member in members)
    fleet_outcome = outcome or ("succeeded" if whole else "incomplete" if within else "stopped")
    return FleetReport(fleet_outcome, verdicts, refused, rest, seconds)
