"""Many scale sets, in many subscriptions, upgraded from one process: waves, a limit on how many at once, one report.

Each scale set is an upgrade of its own, with its own plan, journal and verdict. This room decides only whose turn it
is: every step that the engine takes is drawn from the budget of its subscription and region first.
"""

import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from .. import markup
from ..arm import Arm, Auth
from ..errors import AzurermLiteError, InvalidInput
from ..types import JsonDict, ScaleSet
from ..vmss import get_vmss
from . import journal as journals
from .planning import Change, changed, plan
from .rules.budget import Budget, Cost, Place
from .rules.outline import outline
from .rules.policy import Policy
from .rules.verdict import Verdict
from .runner import OnEvent, Runner, Stop, _never, _silent, safe_step
from .runs import lasting, opened, set_aside, taken_up

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
        return f"<FleetReport {self._headline}>"

    @property
    def _headline(self) -> str:
        sets = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        vms = ", ".join(f"{count} {name}" for name, count in sorted(self.instances.items()))
        return f"{self.outcome}: scale sets {sets or 'none'}; instances {vms or 'none'}; {self.seconds:.0f} s"

    def __str__(self) -> str:
        return "\n".join([self._headline, *(f"  {markup.visible(f'{n}: {why}', 400)}" for n, why in self._troubles())])

    def _repr_html_(self) -> str:
        return markup.card(self._headline, self._troubles())


class _Earlier:
    """What a journal that is there already says of its run."""

    def __init__(self, entries: list[journals.Entry]) -> None:
        self._first, self._state = journals.begun(entries), journals.fold(entries)
        stored = self._state.verdict
        fields = {key: value for key, value in (stored or {}).items() if key != "counts"}
        self.verdict = None if stored is None else Verdict(**fields)

    @property
    def ok(self) -> bool:
        return self.verdict is not None and self.verdict.ok

    @property
    def is_final(self) -> bool:
        return self.verdict is not None and self.verdict.outcome not in ("paused", "cancelled")

    def is_done(self, change: Change) -> bool:
        """Whether it has brought the set to this very version, so that there is nothing to ask."""
        return self.ok and self._asked(change)

    def _asked(self, change: Change) -> bool:
        return isinstance(change, str) and change != "latest" and self._first.get("asked") == change

    def is_of(self, arm: Arm, address: ScaleSet, change: Change) -> bool:
        """Whether it is of this change, by what that makes of the model."""
        if self._asked(change):
            return True
        leg = self._state.legs[0]
        after, _ = changed(arm, address, {**get_vmss(arm, *address)}, change)
        return outline(after) == leg.outline


class _Member:
    """One scale set of the fleet: waiting for its turn, under way, or ended with a verdict or a refusal."""

    def __init__(
        self, arm: Arm, address: ScaleSet, change: Change, policy: Policy | None, journal: str | None, on_event: OnEvent
    ) -> None:
        self.arm, self.address, self._change, self._policy, self._journal = arm, address, change, policy, journal
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
            seconds = safe_step(self.runner)
            if seconds is None:
                self._ended(self.runner)
            return seconds
        try:
            self.runner = self._begun()
        except (AzurermLiteError, OSError) as error:
            self.refused = str(error)
            return None
        except Exception as error:  # of the caller's own `change`: the others go on
            self.refused = f"{type(error).__name__}: {error}"
            return None
        if self.runner is None:
            return None
        if self.runner.verdict is None:
            return 0.0
        self._closed(self.runner, self.runner.verdict)
        return None

    def _begun(self) -> Runner | None:
        """A Runner of a new run, or of one that was not ended; None where the journal says that all is done."""
        earlier, journal = self._earlier(), self._journal
        if earlier is not None and journal is not None and not earlier.is_final:
            if not earlier.is_of(self.arm, self.address, self._change):
                raise InvalidInput(f"{journal} is of another change that was not ended: resume it, or move it away")
            return taken_up(self.arm, journal, on_event=self._on_event)
        if earlier is not None and earlier.is_done(self._change):
            self.verdict = earlier.verdict
            return None
        wanted = plan(self.arm, *self.address, self._change, policy=self._policy)
        self.region = str(wanted.before.get("location", ""))
        if earlier is not None and earlier.ok and not wanted.batches and not wanted.patch:
            self.verdict = earlier.verdict
            return None
        if earlier is not None and journal is not None:
            set_aside(journal)
        return opened(self.arm, wanted, journal, on_event=self._on_event)

    def _earlier(self) -> "_Earlier | None":
        if self._journal is None or not Path(self._journal).exists():
            return None
        return _Earlier(journals.read(self._journal))

    def release(self) -> None:
        """After an exception that ends the fleet: guards are removed, the lock is given back."""
        if self.runner is not None:
            self.runner.release()
            self.runner.journal.close()

    def _ended(self, runner: Runner) -> None:
        assert runner.verdict is not None  # noqa: S101  (every end is recorded)
        self._closed(runner, runner.verdict)

    def _closed(self, runner: Runner, verdict: Verdict) -> None:
        runner.journal.close()  # and with it the lock
        self.runner, self.verdict = None, verdict

    def cancel(self) -> None:
        """Stop at this safe point; its journal lets it be resumed."""
        if self.runner is not None:
            self.runner.end("cancelled", "the fleet was stopped; resume goes on with it")
            self._ended(self.runner)


Turn = tuple[float, int, _Member]  # when, in which order, who


class _Fleet:
    """Whose turn it is: a queue by time, at most `at_once` under way."""

    def __init__(self, arm: Arm, at_once: int, workers: int, should_stop: Stop) -> None:
        self._arm, self._at_once, self._should_stop = arm, at_once, should_stop
        self._budget, self._order = Budget(), itertools.count()
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.stopped = False

    def run(self, members: Sequence[_Member], failures_allowed: Callable[[], bool]) -> None:
        """Drive a wave to its end. When too many have failed, or on request, no further one begins."""
        waiting, queue, flying = list(reversed(members)), list[Turn](), dict[Future[float | None], _Member]()
        while waiting or queue or flying:
            self.stopped = self.stopped or self._should_stop()
            if self.stopped or not failures_allowed():
                waiting.clear()
            if self.stopped:
                self._cancelled([one for _, _, one in queue], flying)
                return
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

    def _cancelled(self, members: list[_Member], flying: dict[Future[float | None], _Member]) -> None:
        wait(flying)
        for member in [*members, *flying.values()]:
            member.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


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
    `workers`: threads; 1 keeps everything in the calling one. `journals`: a folder that gets a journal for each; one
    that is there already is resumed, so the same call goes on with a fleet that was interrupted.
    `on_event` hears the events of all, each with its `scale_set`. Raises InvalidInput before anything is read.
    """
    arm, addresses = lasting(auth), list(scale_sets)
    _refuse(addresses, waves, at_once, failures_allowed, workers)
    members = [_Member(arm, one, change, policy, _journal_of(journals, one), on_event) for one in addresses]
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
        for member in members:
            member.release()
    return _report(members, "cancelled" if fleet.stopped else "", may_begin(), arm.time() - begun)


def _refuse(addresses: list[ScaleSet], waves: Sequence[int], at_once: int, failures: int, workers: int) -> None:
    if twice := [one for one, count in Counter(one.resource_id.lower() for one in addresses).items() if count > 1]:
        raise InvalidInput(f"a scale set stands twice in the fleet: {twice[0]}")
    if not waves or list(waves) != sorted(set(waves)) or not 0 < waves[0] <= waves[-1] == 100:
        raise InvalidInput(f"waves are rising percents that end with 100, such as (5, 25, 100), not {waves!r}")
    if at_once < 1 or workers < 1 or failures < 0:
        raise InvalidInput("at_once and workers must be at least 1, failures_allowed at least 0")


def _cut(members: list[_Member], waves: Sequence[int]) -> Iterator[list[_Member]]:
    begun = 0
    for percent in waves:
        upto = math.ceil(len(members) * percent / 100)
        yield members[begun:upto]
        begun = upto


def _journal_of(folder: str | None, address: ScaleSet) -> str | None:
    if folder is None:
        return None
    mark = hashlib.sha256(address.resource_id.lower().encode()).hexdigest()[:8]
    return str(Path(folder) / f"{address.vmss_name}-{mark}.jsonl")


def _report(members: list[_Member], outcome: str, within: bool, seconds: float) -> FleetReport:
    verdicts = {one.address.resource_id: one.verdict for one in members if one.verdict is not None}
    refused = {one.address.resource_id: one.refused for one in members if one.refused}
    rest = tuple(one.address.resource_id for one in members if one.verdict is None and not one.refused)
    whole = not rest and all(not one.failed for one in members)
    said = outcome or ("succeeded" if whole else "incomplete" if within else "stopped")
    return FleetReport(said, verdicts, refused, rest, seconds)
