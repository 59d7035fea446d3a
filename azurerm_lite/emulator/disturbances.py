"""What the habits that are events do to a world, and the record of it, which judges read. No HTTP here.

When: at a time, during or after an upgrade, or when the list of instances has been read. What is drawn is drawn by
the seed of the use, so that the same world with the same requests has the same history, whatever else is switched on.
"""

import copy
import functools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from . import actions, habits, health, upgrading
from .exchange import Json, Refusal
from .faults import Fault, FaultError
from .upgrading import Outcome

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

MOST_HAPPENINGS = 20_000
MOST_SNAPSHOTS = 50
WRITE_AGAIN_SECONDS, MOST_WRITES = 10.0, 100  # of another writer whom Azure refuses for the moment
FAULT = "fault"  # the name in the record of a fault that is no habit


class Happening(NamedTuple):
    """Which habit did what, when (the world's time), and to which instances. "fault": a fault without a habit."""

    time: float
    habit: str
    vmss_name: str = ""
    instances: tuple[str, ...] = ()
    details: Mapping[str, Json] = {}


@dataclass(slots=True, eq=False)
class Disturbance:
    """One use of a habit. `applied`: how often it has had an effect."""

    habit: str
    parameters: dict[str, Any]
    chance: random.Random
    seen: int = 0
    applied: int = 0
    over: bool = False

    def concerns(self, scale_set: "ScaleSet") -> bool:
        name = self.parameters.get("vmss_name", "")
        return not name or name.lower() == scale_set.name.lower()

    def due(self) -> bool:
        """Count one occasion; whether it is one of those that were asked for."""
        self.seen += 1
        first, times = self.parameters["nth"], self.parameters["times"]
        return bool(first <= self.seen < first + times)


class Disturbances:
    """The events of one world: those to come, and the record of those that were."""

    def __init__(self, world: "World", uses: Iterable[habits.Use] = ()) -> None:
        self.world = world
        self.record: list[Happening] = []
        self.uses: list[Disturbance] = []
        self.shown: ScaleSet | None = None  # the set as the last list has shown it, where that is not as it is
        self._snapshots: list[tuple[float, ScaleSet]] = []
        world.faults.add_habit, world.faults.clear_habits = self._add_described, self.clear
        world.faults.listener = self._hit
        for entry in uses:
            self.add(entry)

    # --- to ask for one, and about it

    def add(self, use: habits.Use) -> Disturbance:
        """Let a habit happen, from now on."""
        chance = random.Random(f"{len(self.uses)}|{use.habit}|{use.parameters.get('seed', 0)}")
        disturbance = Disturbance(use.habit, use.parameters, chance)
        self.uses.append(disturbance)
        if use.habit in REQUESTS:
            self._add_fault(disturbance, **REQUESTS[use.habit](use.parameters))
        elif use.parameters.get("when") == "at":
            when = self.world.now + use.parameters["at"] + use.parameters["delay"]
            self.world.at(when, functools.partial(self._apply_to_all, disturbance))
        elif use.habit == "list-old":
            self._remember()
        return disturbance

    def _add_described(self, description: Mapping[str, Any]) -> Disturbance:
        use = habits.use(description)
        if use.habit not in habits.EVENTS:
            raise FaultError(f"{use.habit} is no event: switch it on when the emulator is made (habits=)")
        return self.add(use)

    def _add_fault(self, disturbance: Disturbance, **description: Any) -> Fault:
        return self.world.faults.append(Fault(origin=disturbance, **description))

    def unused(self) -> list[Disturbance]:
        """Those that have had no effect so far."""
        return [disturbance for disturbance in self.uses if not disturbance.applied]

    def clear(self) -> None:
        """Let nothing more happen. What has happened stays, and what was to end by itself still ends."""
        for disturbance in self.uses:
            disturbance.over = True

    def note(
        self, disturbance: Disturbance | None, scale_set: "ScaleSet | None", ids: Iterable[str], **details: Json
    ) -> None:
        """Write into the record what has happened."""
        if disturbance is not None:
            disturbance.applied += 1
        habit = FAULT if disturbance is None else disturbance.habit
        name = "" if scale_set is None else scale_set.name
        self.record.append(Happening(self.world.now, habit, name, tuple(ids), details))
        if len(self.record) > MOST_HAPPENINGS:
            del self.record[: MOST_HAPPENINGS // 10]

    def _hit(self, rule: Fault, **details: Json) -> None:
        """A fault has met a request or an instance."""
        instance = details.pop("instance", None)
        self.note(rule.origin, None, [] if instance is None else [instance], **details)

    # --- occasions

    def _uses(self, scale_set: "ScaleSet", chosen: Callable[[Disturbance], bool]) -> list[Disturbance]:
        """Those that are due at this occasion; each of those that are chosen has counted it."""
        there = [one for one in self.uses if not one.over and chosen(one) and one.concerns(scale_set)]
        return [disturbance for disturbance in there if disturbance.due()]

    def occur(self, when: str, scale_set: "ScaleSet", batch: "Sequence[Instance]" = ()) -> None:
        """An upgrade of these instances goes on ("during") or has ended ("after"), or the list has been "read"."""
        if not self.uses:
            return
        if any(one.habit == "list-old" for one in self.uses):
            self._remember()
        for disturbance in self._uses(scale_set, lambda one: one.parameters.get("when") == when):
            apply = functools.partial(self._apply, disturbance, scale_set, list(batch))
            delay = disturbance.parameters["delay"]
            # What happens after a read must not be seen by whoever notes what the list was like.
            self.world.after(delay, apply) if delay or when == "read" else apply()

    def _apply_to_all(self, disturbance: Disturbance) -> None:
        for scale_set in list(self.world.scale_sets):
            if disturbance.concerns(scale_set):
                self._apply(disturbance, scale_set, [])

    def _apply(self, disturbance: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> None:
        if disturbance.over:
            return
        changed = EVENTS[disturbance.habit](self, disturbance, scale_set, batch)
        if changed is not None:
            self.note(disturbance, scale_set, [instance.instance_id for instance in changed])

    def end_later(
        self, disturbance: Disturbance, scale_set: "ScaleSet", changed: "list[Instance]", end: Callable[[], None]
    ) -> None:
        """Let the effect end by itself, if it shall, and write that down."""
        seconds = disturbance.parameters.get("seconds", 0.0)

        def ended() -> None:
            end()
            self.note(disturbance, scale_set, [instance.instance_id for instance in changed], ended=True)

        if seconds and changed:
            self.world.after(seconds, ended)

    # --- lists

    def listed(
        self, scale_set: "ScaleSet", *, disturbed: bool = True
    ) -> "tuple[ScaleSet, list[Instance], list[Json] | None]":
        """What a list of instances shows: the set and its instances as they are seen, and what stands beside them.

        The last is None for a list as usual.
        """
        self.shown = None
        shown = [one for one in scale_set.instances.values() if "unlisted" not in one.marks]
        shown += scale_set.ghosts.values()
        for disturbance in self._uses(scale_set, _is_of_lists) if disturbed and self.uses else ():
            self.note(disturbance, scale_set, ())
            if disturbance.habit == "list-garbage":
                return scale_set, [], [None, 1, {}]
            if disturbance.habit == "list-empty":
                return scale_set, [], []
            if disturbance.habit == "list-short":
                gone = choose(disturbance, shown)
                return scale_set, [one for one in shown if one not in gone], []
            self.shown = old = self._snapshot(scale_set, disturbance.parameters["age"])
            return old, list(old.instances.values()), []
        return scale_set, shown, None

    def _remember(self) -> None:
        self._snapshots += [(self.world.now, _twin(scale_set)) for scale_set in self.world.scale_sets]
        del self._snapshots[:-MOST_SNAPSHOTS]

    def _snapshot(self, scale_set: "ScaleSet", age: float) -> "ScaleSet":
        """The newest of at least this age in seconds, or the oldest that there is."""
        mine = [(when, twin) for when, twin in self._snapshots if twin.resource_id == scale_set.resource_id]
        old = [twin for when, twin in mine if when <= self.world.now - age]
        return old[-1] if old else mine[0][1] if mine else scale_set

    # --- operations

    def outcome(self, operation: str, scale_set: "ScaleSet", instances: "Sequence[Instance]") -> Outcome | None:
        """How this operation ends, where a habit has a say in it."""
        if not self.uses:
            return None
        for disturbance in self._uses(scale_set, lambda one: one.parameters.get("operation") == operation):
            result = _outcome(disturbance, instances)
            ids = result.spared or [one.instance_id for one in instances]
            self.note(disturbance, scale_set, sorted(ids), operation=operation)
            return result
        return None


def _is_of_lists(disturbance: Disturbance) -> bool:
    return disturbance.habit.startswith("list-")


def _outcome(disturbance: Disturbance, instances: "Sequence[Instance]") -> Outcome:
    match disturbance.habit:
        case "operation-hangs":
            return Outcome(hangs=True)
        case "operation-succeeded-wrongly":
            return Outcome(spared=frozenset(one.instance_id for one in choose(disturbance, list(instances))))
        case "operation-failed-wrongly":
            return Outcome({"code": disturbance.parameters["code"], "message": "VM has reported a failure."})
        case _:
            return Outcome(_ENDS[disturbance.habit], unchanged=True)


_ENDS: dict[str, dict[str, Json]] = {
    "operation-canceled": {"code": upgrading.CANCELED, "message": "The operation was canceled."},
    "operation-preempted": {"code": "OperationPreempted", "message": upgrading.PREEMPTED},
    "operation-allocation-failed": {
        "code": "AllocationFailed",
        "message": "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. "
        "Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    },
}


def choose(
    disturbance: Disturbance, pool: "list[Instance]", batch: "Sequence[Instance]" = (), fits: Any = None
) -> "list[Instance]":
    """The instances that it is about: the one that is named, or so many of the pool."""
    parameters = disturbance.parameters
    among = parameters.get("among", "any")
    if among != "any":
        pool = [one for one in pool if (one in batch) == (among == "batch")]
    if parameters["instance"]:
        pool = [one for one in pool if one.instance_id.lower() == parameters["instance"].lower()]
    pool = [one for one in pool if fits is None or fits(one)]
    count = parameters["count"] or len(pool)
    return pool if count >= len(pool) else disturbance.chance.sample(pool, count)


def _twin(scale_set: "ScaleSet") -> "ScaleSet":
    """A copy that stays as it is now."""
    twin = copy.copy(scale_set)
    twin.instances = {one.instance_id: _twin_of_instance(one) for one in scale_set.instances.values()}
    return twin


def _twin_of_instance(instance: "Instance") -> "Instance":
    twin = copy.copy(instance)
    twin.document = {**instance.document, "properties": {**instance.document["properties"]}}
    twin.view, twin.marks = dict(instance.view), set(instance.marks)
    return twin


# --- what happens to instances ---------------------------------------------------------------------------------------

Event = Callable[[Disturbances, Disturbance, "ScaleSet", "list[Instance]"], "list[Instance] | None"]


def _settled(instance: "Instance") -> bool:
    return instance.state not in ("Creating", "Deleting")


def _pick(disturbance: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]", fits: Any) -> "list[Instance]":
    there = [one for one in scale_set.instances.values() if _settled(one)]
    return choose(disturbance, there, batch, fits)


def _is_there(scale_set: "ScaleSet", instance: "Instance") -> bool:
    return scale_set.instances.get(instance.instance_id) is instance


def _report(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]", state: str) -> Any:
    """Applications report another health, and in the end what they reported before."""
    if not health.has_source(scale_set):
        return None
    picked = _pick(use, scale_set, batch, lambda one: one.power == "running" and one.health not in ("", state))
    before = [(one, one.health) for one in picked]
    for instance in picked:
        health.set_health(events.world, scale_set, instance, state)

    def end() -> None:
        for instance, was in before:
            if _is_there(scale_set, instance) and instance.health == state:
                health.set_health(events.world, scale_set, instance, "healthy" if was == "initializing" else was)

    events.end_later(use, scale_set, picked, end)
    return picked or None


def _unhealthy(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    return _report(events, use, scale_set, batch, "unhealthy")


def _unknown(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    return _report(events, use, scale_set, batch, "unknown")


def _flaps(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    if not health.has_source(scale_set):
        return None
    picked = _pick(use, scale_set, batch, lambda one: one.power == "running")
    for instance in picked:
        health.flap(events.world, scale_set, instance, use.parameters["flips"], use.parameters["interval"])
    return picked or None


def _evicted(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    policy = use.parameters["policy"] or str(scale_set.profile.get("evictionPolicy", "Deallocate"))
    picked = _pick(use, scale_set, batch, lambda one: one.power == "running")
    for instance in picked:
        if policy.lower() == "delete":
            actions.forget(events.world, scale_set, instance)
        else:
            events.world.scale_sets.changing(scale_set, instance, power="deallocated", health="")
    return picked or None


def _stuck(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    picked = _pick(use, scale_set, batch, lambda one: "stuck" not in one.marks)
    for instance in picked:
        instance.marks |= {"stuck", *(["alone"] if use.parameters["operation_ends"] else [])}
        if instance.state != "Updating":
            events.world.scale_sets.set_state(scale_set, instance, "Updating")
            instance.marks.add("idle")

    def end() -> None:
        for instance in picked:
            upgrading.release_stuck(events.world, scale_set, instance)

    events.end_later(use, scale_set, picked, end)
    return picked or None


def _vanishes(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    picked = _pick(use, scale_set, batch, None)
    for instance in picked:
        actions.remove(events.world, scale_set, instance)
    return picked or None


def _listed_though_gone(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    picked = _pick(use, scale_set, batch, None)
    for instance in picked:
        ghost = _twin_of_instance(instance)
        actions.remove(events.world, scale_set, instance)
        scale_set.ghosts[instance.instance_id] = ghost

    def end() -> None:
        for instance in picked:
            scale_set.ghosts.pop(instance.instance_id, None)

    events.end_later(use, scale_set, picked, end)
    return picked or None


def _marked(mark: Callable[[Mapping[str, Any]], str]) -> Event:
    """An event that lets something be shown otherwise than it is."""

    def event(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
        word = mark(use.parameters)
        picked = _pick(use, scale_set, batch, lambda one: word not in one.marks)
        whole = not use.parameters["count"] and not use.parameters["instance"] and use.parameters["among"] == "any"
        holders: list[Any] = [*picked, *([scale_set] if whole else [])]  # with all of them those that are yet to come
        for holder in holders:
            holder.marks.add(word)

        def end() -> None:
            for holder in holders:
                holder.marks.discard(word)

        events.end_later(use, scale_set, picked, end)
        return picked or None

    return event


def _replaced(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    picked = _pick(use, scale_set, batch, None)
    for instance in picked:
        events.world.scale_sets.repair(scale_set, instance, "replace")
    return picked or None


def _protected(_events: Disturbances, use: Disturbance, scale_set: "ScaleSet", batch: "list[Instance]") -> Any:
    picked = _pick(use, scale_set, batch, lambda one: not one.protected)
    for instance in picked:
        properties = instance.document["properties"]
        policy = properties.get("protectionPolicy") or {}
        properties["protectionPolicy"] = {**policy, "protectFromScaleSetActions": True}
        instance.etag += 1
    return picked or None


def _zone_down(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
    zones = [one.zone for one in scale_set.instances.values() if one.zone]
    zone = use.parameters["zone"] or (zones[0] if zones else "")
    there = [one for one in scale_set.instances.values() if zone and one.zone == zone and one.power == "running"]
    for instance in there:
        events.world.scale_sets.changing(scale_set, instance, power="stopped", health="")

    def end() -> None:
        for instance in there:
            if _is_there(scale_set, instance) and instance.power == "stopped":
                events.world.scale_sets.changing(scale_set, instance, power="running")
                health.warm_up(events.world, scale_set, instance)

    events.end_later(use, scale_set, there, end)
    return there or None


# --- what happens to requests for a while ----------------------------------------------------------------------------


def _outage(events: Disturbances, use: Disturbance, _scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
    given = use.parameters
    way = {"drop": "before"} if given["answer"] == "reset" else {"status": 503, "code": "ServiceUnavailable"}
    return _refuse(events, use, method=given["method"], path=given["path"], **way)


def _refuse(events: Disturbances, use: Disturbance, **description: Any) -> "list[Instance]":
    """A fault for all requests that match, for as long as the habit says."""
    rule = events._add_fault(use, **description)
    rule.ends = events.world.now + use.parameters["seconds"]
    return []


def _busy(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
    events.world.scale_sets.hold(scale_set)
    events.world.after(use.parameters["seconds"], lambda: events.world.scale_sets.release(scale_set))
    place = f"virtualMachineScaleSets/{scale_set.name}"
    refused = {"status": 409, "code": use.parameters["code"], "message": upgrading.CONFLICT}
    return _refuse(events, use, method="WRITE", path=place, **refused)


def _login_outage(events: Disturbances, use: Disturbance, _scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
    text = "AADSTS90033: A transient error has occurred. Please try again."
    body = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90033]}
    return _refuse(events, use, path="oauth2", status=503, body=body)


def _rights_removed(events: Disturbances, use: Disturbance, _scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
    text = "The client does not have authorization to perform this action."
    return _refuse(
        events, use, method="WRITE", path="subscriptions", status=403, code="AuthorizationFailed", message=text
    )


# --- other writers ---------------------------------------------------------------------------------------------------


def _writer(change: "Callable[[Disturbance, ScaleSet], dict[str, Any] | None]") -> Event:
    """An event in which somebody else writes the model; who is refused for the moment tries again."""

    def event(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", _batch: "list[Instance]") -> Any:
        return _write(events, use, scale_set, change, MOST_WRITES)

    return event


def _write(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", change: Any, tries: int) -> Any:
    body = None if use.over or scale_set.state == "Deleting" else change(use, scale_set)
    if body is None:
        return None
    try:
        events.world.scale_sets.write(scale_set, body, null_deletes=True)
    except Refusal:
        if tries:
            again = functools.partial(_write_again, events, use, scale_set, change, tries - 1)
            events.world.after(WRITE_AGAIN_SECONDS, again)
        return None
    return []


def _write_again(events: Disturbances, use: Disturbance, scale_set: "ScaleSet", change: Any, tries: int) -> None:
    if _write(events, use, scale_set, change, tries) is not None:
        events.note(use, scale_set, ())


def _capacity(use: Disturbance, scale_set: "ScaleSet") -> dict[str, Any] | None:
    """The capacity and so many more, or fewer; one is left."""
    now = int(scale_set.model["sku"].get("capacity") or 0)
    wanted = now + use.parameters["by"] if use.habit == "scaled-out" else max(1, now - use.parameters["by"])
    return None if wanted == now else {"sku": {"capacity": wanted}}


def _tags(_use: Disturbance, scale_set: "ScaleSet") -> dict[str, Any]:
    return {"tags": {**(scale_set.model.get("tags") or {}), "changed-by": f"another-writer-{scale_set.etag}"}}


def _model(_use: Disturbance, scale_set: "ScaleSet") -> dict[str, Any] | None:
    """Boot diagnostics are switched on or off, which every instance can follow."""
    if not scale_set.profile:
        return None
    before = (scale_set.profile.get("diagnosticsProfile") or {}).get("bootDiagnostics") or {}
    diagnostics = {"bootDiagnostics": {"enabled": not before.get("enabled", False)}}
    policy = scale_set.model["properties"].get("upgradePolicy")
    kept = {"upgradePolicy": policy} if policy else {}
    return {"properties": {**kept, "virtualMachineProfile": {"diagnosticsProfile": diagnostics}}}


EVENTS: dict[str, Event] = {
    "instance-unhealthy": _unhealthy,
    "instance-flaps": _flaps,
    "instance-evicted": _evicted,
    "instance-stuck": _stuck,
    "instance-vanishes": _vanishes,
    "instance-unlisted": _marked(lambda _: "unlisted"),
    "instance-listed-though-gone": _listed_though_gone,
    "instance-replaced": _replaced,
    "instance-protected": _protected,
    "zone-down": _zone_down,
    "power-state-missing": _marked(lambda _: "no-power"),
    "instance-view-missing": _marked(lambda parameters: f"view-{parameters['form']}"),
    "health-silent": _marked(lambda _: "silent"),
    "health-unknown": _unknown,
    "outage": _outage,
    "busy": _busy,
    "scaled-out": _writer(_capacity),
    "scaled-in": _writer(_capacity),
    "tags-changed": _writer(_tags),
    "model-changed": _writer(_model),
    "login-outage": _login_outage,
    "rights-removed": _rights_removed,
}


# --- what happens to single requests ---------------------------------------------------------------------------------


def _where(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameters[key] for key in ("method", "path", "nth", "times")}


def _throttled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Compute's own 429: not wrapped in `error`."""
    measured = {"operationGroup": "VMScaleSetActions", "allowedRequestCount": 12, "measuredRequestCount": 13}
    detail = {"code": "TooManyRequests", "target": "VMScaleSetActions", "message": json.dumps(measured)}
    text = "The server rejected the request because too many requests have been received for this subscription."
    body = {"code": "OperationNotAllowed", "message": text, "details": [detail]}
    return {"status": 429, "body": body, "seconds": parameters["seconds"], "counts_down": True}


REQUESTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "operation-status-lost": lambda p: {**_where(p), "status": 404, "code": "NotFound"},
    "request-lost-before": lambda p: {**_where(p), "drop": "before"},
    "request-lost-after": lambda p: {**_where(p), "drop": "after"},
    "gateway-timeout": lambda p: {**_where(p), "status": 504, "late": True, "code": "GatewayTimeout"},
    "throttled": lambda p: {**_where(p), **_throttled(p)},
    "token-expires": lambda p: {**_where(p), "expire": True},
}
