"""When habits disturb the simulation, how they change lists and the ends of operations, and the record of it.

A habit happens at a time, during or after an upgrade, or when the list of instances has been read. Each use draws from
a chance of its own seed, so the same simulation with the same requests has the same history, whatever else is on.
What a habit does to instances and scale sets is in `habit_effects`.
"""

import copy
import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import habits
from ..faults import Fault, FaultError, Faults
from ..messages import Json
from .events import Events
from .operations import CANCELED, PREEMPTED, Outcome
from .state import Instance, ScaleSet, State

MOST_HAPPENINGS = 20_000
MOST_SNAPSHOTS = 50
FAULT = "fault"  # the name in the record of a fault that is no habit


class Happening(NamedTuple):
    """One effect of a habit, or of a fault without a habit ("fault"). `time`: that of the simulation."""

    time: float
    habit: str
    vmss_name: str = ""
    instances: tuple[str, ...] = ()
    details: Mapping[str, Json] = {}


@dataclass(slots=True, eq=False)
class Disturbance:
    """One use of a habit. `occasions`: how many it could have used. `effects`: how many it has had."""

    habit: str
    parameters: dict[str, Any]
    chance: random.Random
    occasions: int = 0
    effects: int = 0
    is_over: bool = False

    def concerns(self, scale_set: ScaleSet) -> bool:
        """Whether it is about this scale set."""
        name = self.parameters.get("vmss_name", "")
        return not name or name.lower() == scale_set.name.lower()

    def is_due(self) -> bool:
        """Count an occasion. Returns whether the parameters choose it (`nth`, `times`)."""
        self.occasions += 1
        first, times = self.parameters["nth"], self.parameters["times"]
        return bool(first <= self.occasions < first + times)


# What a habit does to a scale set, and to the batch of an upgrade; returns the changed instances, None for no effect.
Effect = Callable[[Disturbance, ScaleSet, Sequence[Instance]], list[Instance] | None]


class Disturbances:
    """The habits of one simulation that are events.

    `record`: what has happened, oldest first. `uses`: every use, in order. `stale_set`: the scale set as the last list
    has shown it, where the list was old. `effects`: by the name of the habit; set when all behaviour exists.
    """

    def __init__(self, events: Events, state: State, faults: Faults) -> None:
        self.events, self.state, self.faults = events, state, faults
        self.record: list[Happening] = []
        self.uses: list[Disturbance] = []
        self.stale_set: ScaleSet | None = None
        self.effects: Mapping[str, Effect] = {}
        self._snapshots: list[tuple[float, ScaleSet]] = []
        faults.add_habit, faults.clear_habits, faults.on_hit = self._add_description, self.clear, self._note_fault

    # --- to add a use, and to ask about it

    def add(self, use: habits.Use) -> Disturbance:
        """Let a habit happen, from now on."""
        chance = random.Random(f"{len(self.uses)}|{use.habit}|{use.parameters.get('seed', 0)}")
        disturbance = Disturbance(use.habit, use.parameters, chance)
        self.uses.append(disturbance)
        if use.habit in REQUESTS:
            self.add_fault(disturbance, **REQUESTS[use.habit](use.parameters))
        elif use.parameters.get("when") == "at":
            when = self.events.now + use.parameters["at"] + use.parameters["delay"]
            self.events.schedule_at(when, functools.partial(self._apply_to_all, disturbance))
        elif use.habit == "list-old":
            self._remember()
        return disturbance

    def _add_description(self, description: Mapping[str, Any]) -> Disturbance:
        use = habits.use(description)
        if use.habit not in habits.EVENTS:
            raise FaultError(f"{use.habit} is no event: switch it on when the emulator is made (habits=)")
        return self.add(use)

    def add_fault(self, disturbance: Disturbance, **description: Any) -> Fault:
        """A fault that is part of a habit."""
        return self.faults.append(Fault(origin=disturbance, **description))

    def unused(self) -> list[Disturbance]:
        """The uses without an effect so far."""
        return [disturbance for disturbance in self.uses if not disturbance.effects]

    def clear(self) -> None:
        """Let nothing more happen. Effects that have begun still end by themselves."""
        for disturbance in self.uses:
            disturbance.is_over = True

    def note(
        self, disturbance: Disturbance | None, scale_set: ScaleSet | None, ids: Iterable[str], **details: Json
    ) -> None:
        """Record an effect on the instances with these ids."""
        if disturbance is not None:
            disturbance.effects += 1
        habit = FAULT if disturbance is None else disturbance.habit
        name = "" if scale_set is None else scale_set.name
        self.record.append(Happening(self.events.now, habit, name, tuple(ids), details))
        if len(self.record) > MOST_HAPPENINGS:
            del self.record[: MOST_HAPPENINGS // 10]

    def _note_fault(self, rule: Fault, **details: Json) -> None:
        """Record that a fault has hit a request or an instance."""
        instance = details.pop("instance", None)
        self.note(rule.origin, None, [] if instance is None else [instance], **details)

    # --- occasions

    def _due(self, scale_set: ScaleSet, fits: Callable[[Disturbance], bool]) -> list[Disturbance]:
        """The uses that happen at this occasion; each use that fits counts the occasion."""
        candidates = [use for use in self.uses if not use.is_over and fits(use) and use.concerns(scale_set)]
        return [disturbance for disturbance in candidates if disturbance.is_due()]

    def occur(self, when: str, scale_set: ScaleSet, batch: Sequence[Instance] = ()) -> None:
        """Report an occasion: "during" or "after" the upgrade of a batch, or after the list was "read"."""
        if not self.uses:
            return
        if any(use.habit == "list-old" for use in self.uses):
            self._remember()
        for disturbance in self._due(scale_set, lambda use: use.parameters.get("when") == when):
            apply = functools.partial(self._apply, disturbance, scale_set, list(batch))
            delay = disturbance.parameters["delay"]
            # What happens after a read is an event, so that a reader of the list sees the state before.
            self.events.schedule_in(delay, apply) if delay or when == "read" else apply()

    def _apply_to_all(self, disturbance: Disturbance) -> None:
        for scale_set in list(self.state):
            if disturbance.concerns(scale_set):
                self._apply(disturbance, scale_set, [])

    def _apply(self, disturbance: Disturbance, scale_set: ScaleSet, batch: Sequence[Instance]) -> None:
        if disturbance.is_over:
            return
        changed = self.effects[disturbance.habit](disturbance, scale_set, batch)
        if changed is not None:
            self.note(disturbance, scale_set, [instance.instance_id for instance in changed])

    def end_later(
        self, disturbance: Disturbance, scale_set: ScaleSet, changed: Sequence[Instance], end: Callable[[], None]
    ) -> None:
        """End the effect on these instances after the `seconds` of the habit, if it has any, and record that."""
        seconds = disturbance.parameters.get("seconds", 0.0)

        def finish() -> None:
            end()
            self.note(disturbance, scale_set, [instance.instance_id for instance in changed], ended=True)

        if seconds and changed:
            self.events.schedule_in(seconds, finish)

    # --- lists

    def list_instances(
        self, scale_set: ScaleSet, *, disturb: bool = True
    ) -> tuple[ScaleSet, list[Instance], list[Json] | None]:
        """What a list of instances shows: the scale set and its instances, and items that are no instances.

        The items are None for a list that no habit has changed. `disturb`: whether a habit may change it.
        """
        self.stale_set = None
        instances = [instance for instance in scale_set.instances.values() if "unlisted" not in instance.marks]
        instances += scale_set.ghosts.values()
        for disturbance in self._due(scale_set, _is_of_lists) if disturb and self.uses else ():
            self.note(disturbance, scale_set, ())
            if disturbance.habit == "list-garbage":
                return scale_set, [], [None, 1, {}]
            if disturbance.habit == "list-empty":
                return scale_set, [], []
            if disturbance.habit == "list-short":
                missing = choose(disturbance, instances)
                return scale_set, [instance for instance in instances if instance not in missing], []
            self.stale_set = old = self._snapshot(scale_set, disturbance.parameters["age"])
            return old, list(old.instances.values()), []
        return scale_set, instances, None

    def _remember(self) -> None:
        self._snapshots += [(self.events.now, _copy_set(scale_set)) for scale_set in self.state]
        del self._snapshots[:-MOST_SNAPSHOTS]

    def _snapshot(self, scale_set: ScaleSet, age: float) -> ScaleSet:
        """The newest snapshot that is at least this old, in seconds, or else the oldest."""
        mine = [(when, twin) for when, twin in self._snapshots if twin.resource_id == scale_set.resource_id]
        old = [twin for when, twin in mine if when <= self.events.now - age]
        return old[-1] if old else mine[0][1] if mine else scale_set

    # --- operations

    def outcome(self, operation: str, scale_set: ScaleSet, instances: Sequence[Instance]) -> Outcome | None:
        """How a habit ends this operation; None where no habit does."""
        if not self.uses:
            return None
        for disturbance in self._due(scale_set, lambda use: use.parameters.get("operation") == operation):
            result = _outcome(disturbance, instances)
            ids = result.unchanged_ids or [instance.instance_id for instance in instances]
            self.note(disturbance, scale_set, sorted(ids), operation=operation)
            return result
        return None


def _is_of_lists(disturbance: Disturbance) -> bool:
    return disturbance.habit.startswith("list-")


def _outcome(disturbance: Disturbance, instances: Sequence[Instance]) -> Outcome:
    match disturbance.habit:
        case "operation-hangs":
            return Outcome(hangs=True)
        case "operation-succeeded-wrongly":
            chosen = choose(disturbance, list(instances))
            return Outcome(unchanged_ids=frozenset(instance.instance_id for instance in chosen))
        case "operation-failed-wrongly":
            return Outcome({"code": disturbance.parameters["code"], "message": "VM has reported a failure."})
        case _:
            return Outcome(_ENDS[disturbance.habit], unchanged=True)


_ENDS: dict[str, dict[str, Json]] = {
    "operation-canceled": {"code": CANCELED, "message": "The operation was canceled."},
    "operation-preempted": {"code": "OperationPreempted", "message": PREEMPTED},
    "operation-allocation-failed": {
        "code": "AllocationFailed",
        "message": "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. "
        "Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    },
}


def choose(
    disturbance: Disturbance,
    pool: list[Instance],
    batch: Sequence[Instance] = (),
    fits: Callable[[Instance], bool] | None = None,
) -> list[Instance]:
    """The instances of the pool that a habit is about: the named one, or `count` of them by chance."""
    parameters = disturbance.parameters
    among = parameters.get("among", "any")
    if among != "any":
        pool = [instance for instance in pool if (instance in batch) == (among == "batch")]
    if parameters["instance"]:
        pool = [instance for instance in pool if instance.instance_id.lower() == parameters["instance"].lower()]
    pool = [instance for instance in pool if fits is None or fits(instance)]
    count = parameters["count"] or len(pool)
    return pool if count >= len(pool) else disturbance.chance.sample(pool, count)


def _copy_set(scale_set: ScaleSet) -> ScaleSet:
    twin = copy.copy(scale_set)
    twin.instances = {key: copy_instance(instance) for key, instance in scale_set.instances.items()}
    return twin


def copy_instance(instance: Instance) -> Instance:
    """A copy that stays as the instance is now."""
    twin = copy.copy(instance)
    twin.document = {**instance.document, "properties": {**instance.document["properties"]}}
    twin.view, twin.marks = dict(instance.view), set(instance.marks)
    return twin


# --- habits that are faults of single requests ------------------------------------------------------------------------


def _match(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters[key] for key in ("method", "path", "nth", "times")}


def _throttle(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Compute's own 429, which has no `error` around it."""
    measured = {"operationGroup": "VMScaleSetActions", "allowedRequestCount": 12, "measuredRequestCount": 13}
    detail = {"code": "TooManyRequests", "target": "VMScaleSetActions", "message": json.dumps(measured)}
    text = "The server rejected the request because too many requests have been received for this subscription."
    body = {"code": "OperationNotAllowed", "message": text, "details": [detail]}
    return {"status": 429, "body": body, "seconds": parameters["seconds"], "counts_down": True}


REQUESTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "operation-status-lost": lambda p: {**_match(p), "status": 404, "code": "NotFound"},
    "request-lost-before": lambda p: {**_match(p), "drop": "before"},
    "request-lost-after": lambda p: {**_match(p), "drop": "after"},
    "gateway-timeout": lambda p: {**_match(p), "status": 504, "late": True, "code": "GatewayTimeout"},
    "throttled": lambda p: {**_match(p), **_throttle(p)},
    "token-expires": lambda p: {**_match(p), "expire": True},
}
