"""The search: every state that machine and world can come to, with so many misfortunes on a path.

The runner is mirrored by `_perform`: what it records for each action, and all that may come of it. Times are relative
to now and clipped at the longest limit, so that the number of states is finite.
"""

import gc
import math
import operator
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from azurerm_lite.upgrade.rules import machine
from azurerm_lite.upgrade.rules.machine import Action
from azurerm_lite.upgrade.rules.policy import Policy
from azurerm_lite.upgrade.rules.snapshot import Snapshot
from azurerm_lite.upgrade.rules.state import State, begin
from azurerm_lite.upgrade.rules.verdict import verdict_classes

from . import world as worlds
from .world import NEW, OLD, Instance, Place, World

RESUMES = (0.0, 400.0, 36_000.0)  # seconds after which somebody resumes it
OPERATION_SECONDS = 35.0
MOST_ACTIONS = 60  # in a row without a choice: more is a loop inside of one moment


class Case(NamedTuple):
    """One search: a policy and a set of instances. `model`: whether the model is still to be written.

    `stages`: what the change needs; `back`: which version each instance is brought back to, by an upgrade that takes
    another one back: a leg for each version.
    """

    name: str
    policy: Policy
    places: tuple[Place, ...]
    instances: tuple[Instance, ...] = ()
    model: bool = False
    gated: bool = False
    stages: tuple[str, ...] = ("upgrade",)
    back: tuple[str, ...] = ()


class Node(NamedTuple):
    """Where a path stands. `seen`: the newest snapshot, `old`: what the one before it showed."""

    state: State
    world: World
    now: float
    left: int
    seen: Snapshot | None = None
    old: World | None = None
    stop: bool = False


class Report(NamedTuple):
    """What a search has seen. `broken`: how often each promise was broken; `examples`: a path to each."""

    states: int
    whole: bool
    broken: Counter[str]
    examples: Mapping[str, tuple[str, ...]]
    kinds: Counter[str]
    outcomes: Counter[str]


def entry_of(case: Case) -> dict[str, Any]:
    """The first entry of the journal of such an upgrade."""
    names = [str(number) for number in range(len(case.places))]
    instances = start(case).instances
    away = [name for name, one in zip(names, instances, strict=True) if one is None or not one.available]
    images: dict[str, list[str]] = {}
    for name, one in zip(names, instances, strict=True):
        images.setdefault(worlds.IMAGE + (one.version if one else ""), []).append(name)
    legs = [{"version": NEW, "before": f"model-{OLD}", "after": f"model-{NEW}", "outline": f"model-{NEW}"}]
    if case.back:
        legs = legs_to(dict(zip(names, case.back, strict=True)))
        legs[0]["before"] = f"model-{NEW}"
    return {
        "kind": "begin",
        "at": 0.0,
        "policy": case.policy.to_dict(),
        "legs": legs,
        "takes_back": bool(case.back),
        "capacity": len(names),
        "zone_sizes": dict(Counter(f"zone {place.zone}" for place in case.places if place.zone)),
        "unavailable": away,
        "known": names,
        "images": [{"image": image, "instances": ids} for image, ids in images.items()],
        "flexible": False,
        "gated": case.gated,
        "stages": list(case.stages),
        "anew": "shown" if "reimage" in case.stages else "",
        "hosted": "deallocate" not in case.stages,
        "size": "big" if "deallocate" in case.stages else "",
        "reports": True,
    }


def legs_to(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """The legs that bring each instance to its version, the smallest first."""
    groups: dict[str, list[str]] = {}
    for name, version in versions.items():
        groups.setdefault(version, []).append(name)
    return [
        {
            "version": version,
            "image": worlds.IMAGE + version,
            "instances": ids,
            "outline": f"model-{version}",
            "after": f"model-{version}",
        }
        for version, ids in sorted(groups.items(), key=lambda item: (len(item[1]), item[0]))
    ]


def target_of(case: Case, name: str) -> str:
    """The version that an upgrade brings an instance to."""
    return case.back[int(name)] if case.back else NEW


def origin_of(case: Case, name: str) -> str:
    """The version that an instance ran before."""
    instance = start(case).instances[int(name)]
    return OLD if instance is None else instance.version


def start(case: Case) -> World:
    instances = case.instances or tuple(Instance() for _ in case.places)
    return World(instances, case.places, NEW if case.back else OLD, anew="reimage" in case.stages)


def first_node(case: Case, misfortunes: int) -> Node:
    state, world = begin(entry_of(case)), start(case)
    if not case.model and not case.back:
        state = machine.apply(state, {"kind": "model-written", "at": 0.0, "fingerprint": f"model-{NEW}"})
        world = worlds.written(world, NEW)
    return Node(state, world, 0.0, misfortunes)


# --- what the runner does, and what may come of it -------------------------------------------------------------------

Step = tuple[str, Node]


def _note(node: Node, kind: str, **values: Any) -> Node:
    return node._replace(state=machine.apply(node.state, {"kind": kind, "at": node.now, **values}))


def _planned(node: Node, wait: float) -> Node:
    state = machine.apply(node.state, {"kind": "planned", "at": node.now, "due": node.now + wait})
    return node._replace(state=state, now=node.now + wait)


def _spend(node: Node) -> Node:
    return node._replace(left=node.left - 1)


def _resumed(node: Node, later: float) -> Node:
    """The process is gone; another one goes on, after so long. What takes time has come to its end by then."""
    world = node.world
    if world.running is not None and not world.stuck and later > OPERATION_SECONDS:
        world = worlds.ended(world)
    world = worlds.recovered(world) if later > OPERATION_SECONDS else world
    there = node._replace(world=world, now=node.now + later, seen=None, stop=False)
    return _note(there, "resumed")


def _slept(node: Node) -> Node:
    """Nothing has been done for a while, by the same process."""
    world = node.world
    world = worlds.ended(world) if world.running is not None and not world.stuck else world
    return node._replace(world=worlds.recovered(world), now=node.now + 400.0)


def _crashes(node: Node, label: str) -> Iterator[Step]:
    for later in RESUMES:
        yield f"crash {label}, resumed after {later:g} s", _resumed(_spend(node), later)


def _look(node: Node, action: Action) -> Iterator[Step]:
    yield from _shown(node, action, "look", node.world)
    if not node.left:
        return
    for label, world in worlds.misfortunes(node.world):
        yield from _shown(_spend(node)._replace(world=world), action, label, world)
    there = [number for number, one in enumerate(node.world.instances) if one is not None]
    empty = node.world._replace(instances=tuple(None for _ in node.world.instances))
    yield from _shown(_spend(node), action, "an empty list", empty)
    if len(there) > 1:
        yield from _shown(_spend(node), action, "a short list", node.world.put(there[-1], None))
    if node.old is not None and node.old != node.world:
        yield from _shown(
            _spend(node), action, "an old list", node.old._replace(model=node.world.model, writes=node.world.writes)
        )
    trouble = {"cause": "throttled", "of": "look", "retry_after": 100.0, "reason": "429"}
    yield "429 at a look", _planned(_note(_spend(node), "trouble", **trouble), 0.0)
    yield from _crashes(node, "at a look")
    yield "somebody asks to stop", _note(_spend(node)._replace(stop=True), "stop")
    yield "this machine sleeps", _slept(_spend(node))


def _shown(node: Node, action: Action, label: str, shown: World) -> Iterator[Step]:
    """A look at a world: an upgrade that nobody follows comes to its end between two of them."""
    for more, world in _progress(node, shown):
        cost = bool(more) and more != "ended"
        if node.left < cost:
            continue
        seen = worlds.snapshot(world if shown is node.world else shown, node.now)
        if action.request == "instances":
            seen = seen._replace(model=None)
        state = _after_look(node.state, seen)
        text = f"{label}; {more}" if more else label
        yield text, Node(state, world, node.now, node.left - cost, seen, node.world, node.stop)


def _after_look(state: State, seen: Snapshot) -> State:
    """The state after a snapshot; snapshots of one moment that tell the machine the same have one and the same."""
    entry = machine.seen_entry(state, seen)
    facts = (id(state), entry["at"], entry["ids"], tuple(entry["doubtful"]), entry["reports"])
    before, after = _LOOKS.get(facts, (None, state))
    if before is not state:
        if len(_LOOKS) > MOST_LOOKS:
            _LOOKS.clear()
        after = machine.apply(state, entry)
        _LOOKS[facts] = state, after
    return after


_LOOKS: dict[tuple[Any, ...], tuple[State, State]] = {}
MOST_LOOKS = 1000


def _progress(node: Node, shown: World) -> Iterator[tuple[str, World]]:
    world = node.world
    followed = node.state.batch is not None and node.state.batch.status == "sent" and node.state.batch.followed
    if world.running is None or world.stuck or followed or shown is not world:
        yield "", worlds.recovered(world) if shown is world and world.running is None else world
        return
    if world.looks < 1:
        yield "", world._replace(looks=world.looks + 1)
        return
    yield from _outcomes(world, node.left)


def _outcomes(world: World, left: int) -> Iterator[tuple[str, World]]:
    yield "ended", worlds.ended(world)
    if left:
        for name in world.running or ():
            for kind in worlds.kinds(world):
                yield f"{name} ends {kind}", worlds.ended(world, name, kind)


def _send(node: Node, action: Action) -> Iterator[Step]:
    ids, world = action.ids, node.world
    if world.running is not None:
        facts = {"ids": list(ids), "cause": "busy", "reason": "409"}
        yield "busy", _planned(_note(node, "unposted", **facts), 0.0)
        return
    if any(world.instances[int(name)] is None for name in ids):
        facts = {"ids": list(ids), "cause": "inactive", "reason": "400"}
        yield "not active", _planned(_note(node, "unposted", **facts), 0.0)
        return
    sent = node._replace(world=worlds.begun(world, ids, action.request))
    yield f"send {' '.join(ids)}", _planned(_note(sent, "posted", operation={"handle": True}), 5.0)
    if not node.left:
        return
    lost = {"ids": list(ids), "cause": "lost", "reason": "connection dropped"}
    yield "lost before its effect", _planned(_note(_spend(node), "lost", **lost), 0.0)
    yield "lost after its effect", _planned(_note(_spend(sent), "lost", **lost), 0.0)
    facts = {"ids": list(ids), "cause": "throttled", "retry_after": 200.0, "reason": "429"}
    yield "429", _planned(_note(_spend(node), "unposted", **facts), 0.0)
    yield "asked to stop right before it", _note(_spend(node)._replace(stop=True), "stop")
    yield "this machine sleeps right before it", _slept(_spend(node))
    yield from _crashes(node, "before sending")
    yield from _crashes(sent, "after sending")


def _follow(node: Node, action: Action) -> Iterator[Step]:
    if node.world.stuck or node.world.running is None:
        if node.world.running is None:
            yield "ended", _planned(_note(node, "ended", error=""), 0.0)
            return
        yield "still running", _planned(node, max(30.0, action.seconds))
        return
    if node.left:
        yield "the upgrade gets stuck", _planned(_spend(node)._replace(world=node.world._replace(stuck=True)), 30.0)
    later = node._replace(now=node.now + OPERATION_SECONDS)
    for label, world in _outcomes(node.world, node.left):
        failed = label.endswith("failed")
        facts = {"error": "AllocationFailed" if failed else "", "returned": label.endswith("unchanged")}
        there = later._replace(world=world, left=node.left - (label != "ended"))
        yield label, _planned(_note(there, "ended", **facts), 0.0)
    if node.left:
        yield from _crashes(node, "while it is followed")


def _gate(node: Node, action: Action) -> Iterator[Step]:
    ids = list(action.ids)
    yield "gate passes", _planned(_note(node, "gate", said="pass", ids=ids), 0.0)
    if node.left:
        yield "gate refuses", _planned(_note(_spend(node), "gate", said="fail", ids=ids), 0.0)
        yield "gate cannot tell", _planned(_note(_spend(node), "gate", said="inconclusive", ids=ids, reason="?"), 0.0)


def _write_model(node: Node, _action: Action) -> Iterator[Step]:
    target = node.state.goal.version
    done = node._replace(world=worlds.written(node.world, target)._replace(writes=0))
    yield "write", _planned(_note(done, "model-posted"), 1.0)
    if not node.left:
        return
    lost = {"of": "write-model", "cause": "outage", "reason": "lost"}
    yield "write lost before", _planned(_note(_spend(node), "trouble", **lost), 0.0)
    yield "write lost after", _planned(_note(_spend(done), "trouble", **lost), 0.0)
    yield (
        "412 by another writer",
        _planned(_note(_spend(node), "trouble", of="write-model", cause="model", reason="412"), 0.0),
    )
    yield from _crashes(node, "before the model")
    yield from _crashes(done, "after the model")


def _follow_model(node: Node, _action: Action) -> Iterator[Step]:
    mark = f"model-{node.state.goal.version}"
    yield "written", _planned(_note(node, "model-written", fingerprint=mark), 0.0)
    yield "answered without the resource", _planned(_note(node, "model-answered"), 0.0)


def _guard(node: Node, action: Action) -> Iterator[Step]:
    """Repairs and protection: what is begun ends well, or does not once."""
    world = node.world
    if action.kind == "check-repairs":
        yield "repairs run", _planned(_note(node, "guarded", on=True), 0.0)
        return
    if action.kind in ("suspend-repairs", "resume-repairs"):
        on = action.kind == "suspend-repairs"
        there = node._replace(world=world._replace(repairs=not on))
        kind = ("repairs", {"repairs": "suspended"}) if on else ("guarded", {"on": False})
        yield action.kind, _planned(_note(there, kind[0], **kind[1]), 0.0)
    elif action.kind == "follow-protection":
        removing = node.state.protection == "removing"
        kind = ("shielded", {"ids": [], "batch": []}) if removing else ("protection", {"protection": "on"})
        yield action.kind, _planned(_note(node, kind[0], **kind[1]), 0.0)
    else:
        on = action.kind == "protect"
        there = node
        for name in action.ids:
            there = there._replace(world=there.world.change(int(name), guarded=on))
        kind = (
            ("shielded", {"ids": list(action.ids), "batch": list(action.ids)})
            if on
            else ("protection", {"protection": "removing"})
        )
        yield action.kind, _planned(_note(there, kind[0], **kind[1]), 0.0)
    if node.left:
        trouble = {"of": action.kind, "cause": "busy", "reason": "409"}
        yield f"{action.kind} is refused", _planned(_note(_spend(node), "trouble", **trouble), 0.0)
        yield from _crashes(node, f"at {action.kind}")


def _roll_back(node: Node, action: Action) -> Iterator[Step]:
    images = node.state.images
    legs = legs_to({name: images[name].rpartition(":")[2] for name in sorted(set(node.state.sends))})
    none = {"version": OLD, "image": "", "instances": [], "outline": f"model-{OLD}", "after": f"model-{OLD}"}
    legs = legs or [none]
    yield "roll back", _planned(_note(node, "rollback", reason=action.reason, legs=legs), 0.0)


def _hanging(node: Node, action: Action) -> Iterator[Step]:
    if node.world.running is None:
        yield "released", _planned(_note(node, "released"), 0.0)
    else:
        yield "hangs", _planned(node, action.seconds)


def _end(node: Node, action: Action) -> Iterator[Step]:
    """It has ended; what is paused or cancelled may be resumed."""
    done = _note(node, "end", verdict={"outcome": action.outcome, "lowest": None})
    yield f"end {action.outcome} {action.cause}", done
    if node.left and action.outcome in ("paused", "cancelled"):
        for later in RESUMES:
            yield f"paused, resumed after {later:g} s", _resumed(_spend(done), later)


def _wait(node: Node, action: Action) -> Iterator[Step]:
    yield f"wait {action.seconds:g} s: {action.cause}", _planned(node, max(0.5, action.seconds))


_PERFORM: Mapping[str, Callable[[Node, Action], Iterator[Step]]] = {
    "look": _look,
    "send": _send,
    "follow": _follow,
    "follow-hanging": _hanging,
    "gate": _gate,
    "write-model": _write_model,
    "follow-model": _follow_model,
    "check-repairs": _guard,
    "suspend-repairs": _guard,
    "resume-repairs": _guard,
    "protect": _guard,
    "unprotect": _guard,
    "follow-protection": _guard,
    "roll-back": _roll_back,
    "end": _end,
    "wait": _wait,
}


# --- what must always hold -------------------------------------------------------------------------------------------


def complaints(case: Case, node: Node, action: Action) -> Iterator[str]:
    """What is wrong with doing this now."""
    if action.kind == "wait":
        if not action.cause or not action.reason:
            yield "a wait without a cause"
        if action.deadline is None:
            yield "a wait without a deadline"
    if action.kind == "send":
        yield from _of_request(case, node, action)
    if action.kind == "end" and node.state.verdict is None:
        yield from _of_end(case, node, action)


def _of_request(case: Case, node: Node, action: Action) -> Iterator[str]:
    seen = node.seen
    if seen is None:
        yield "a request without a snapshot"
        return
    if node.now > seen.ended_at + 30:
        yield "a request on an old snapshot"
    if not set(action.ids) <= set(seen.members):
        yield "a request on an instance that was not listed"
        return
    yield from _of_floor(case, node, seen, set(action.ids))
    if action.request != "start":  # what we have deallocated is started, whatever has become of it
        yield from _of_targets(node, seen, set(action.ids))
    yield from _of_policy(case, node, set(action.ids))


def _of_floor(case: Case, node: Node, seen: Snapshot, ids: set[str]) -> Iterator[str]:
    policy, members = case.policy, seen.members
    up = {name for name, member in members.items() if seen.fit(member)}
    need = math.ceil(policy.min_healthy_instance_percent * max(len(members), len(case.places)) / 100)
    if ids & up and len(up - ids) < need:
        yield "the floor"
    for place in {(case.places[int(name)].zone, case.places[int(name)].group) for name in ids & up} - {("", "")}:
        mine = [str(n) for n, one in enumerate(case.places) if (one.zone, one.group) == place]
        whole = len(mine) if place[0] else len([name for name in mine if name in members])
        if len((up - ids) & set(mine)) < math.ceil(policy.min_healthy_zone_percent * whole / 100):
            yield "the floor of a zone or group"
    known = [members[name] for name in ids - node.state.broken]
    unknown = [one for one in known if one.power == "running" and one.health in ("", "unknown")]
    if unknown and len(up) - len(unknown) < need:
        yield "an instance that may serve was taken"


def _of_targets(node: Node, seen: Snapshot, ids: set[str]) -> Iterator[str]:
    state, chosen = node.state, [seen.members[name] for name in ids]
    if any(one.protected for one in chosen):
        yield "protection"
    if any(one.state in ("Updating", "Creating", "Deleting") for one in chosen):
        yield "a request on an instance that others change"
    if any(one.latest and one.version == state.version for one in chosen):
        yield "a request on an instance that is current"
    if any(one.state == "Updating" for name, one in seen.members.items() if name in (node.world.running or ())):
        yield "a second upgrade in flight"
    if seen.model is None or seen.model.fingerprint != state.fingerprint:
        yield "a request after a foreign write"


def _of_policy(case: Case, node: Node, ids: set[str]) -> Iterator[str]:
    state, policy = node.state, case.policy
    if policy.batch_by == "update_domain" and len({case.places[int(name)].domain for name in ids}) > 1:
        yield "two update domains"
    first = policy.canary_instances and not state.batches and state.direction == "forward"
    if first and len(ids) > policy.canary_instances:
        yield "no canary"
    failed = [name for name, kind in state.classes.items() if kind == "failed" and name not in state.broken]
    if len(failed) > policy.failure_budget:
        yield "a request after the budget was spent"
    there = [one for name in ids if (one := node.world.instances[int(name)]) is not None]
    if policy.protect_from_scale_in and not all(one.guarded for one in there):
        yield "a batch without protection"
    if policy.suspend_repairs and node.world.repairs:
        yield "a request while repairs run"


def _of_end(case: Case, node: Node, action: Action) -> Iterator[str]:
    classes = verdict_classes(node.state, node.seen)
    world, seen = node.world, node.seen
    if {str(number) for number in range(len(case.places))} - set(classes):
        yield "an instance without a class"
    for number, instance in enumerate(world.instances):
        yield from _of_class(case, node, str(number), instance, classes.get(str(number), ""))
    guarded = [one for one in world.instances if one is not None and one.guarded]
    if (
        guarded
        and not node.state.outstanding
        and not (node.state.batch and node.state.batch.status in ("sent", "lost"))
    ):
        yield "protection is left"
    if case.policy.suspend_repairs and not world.repairs and not node.state.outstanding:
        yield "repairs stay suspended"
    if action.outcome == "succeeded" and seen is not None:
        several = len(node.state.legs) > 1
        right = {n: m.version == target_of(case, n) and (m.latest or several) for n, m in seen.members.items()}
        behind = [n for n, m in seen.members.items() if not right[n] and not m.protected]
        allowed = [n for n in behind if classes.get(n) in ("failed", "not-selected", "skipped-stopped")]
        if len(behind) > len(allowed):
            yield "succeeded, and an instance is behind"
        up = [member for member in seen.members.values() if seen.fit(member)]
        if len(up) < math.ceil(case.policy.min_healthy_instance_percent * len(case.places) / 100):
            yield "succeeded below the floor"
    if action.outcome == "rolled-back":
        # What two lists do not have is gone, as far as anybody knows.
        known = world.touched if seen is None else world.touched & set(seen.members)
        there = {n: one for n in known if (one := world.instances[int(n)]) is not None}
        if any(one.version != origin_of(case, n) for n, one in there.items()):
            yield "rolled-back, and an instance runs another version than before"
    starts = (world.running or ()) if world.request == "start" else ()
    listed = () if seen is None else seen.members  # what two lists do not have is gone, as far as anybody knows
    parked = [n for n in listed if (one := world.instances[int(n)]) is not None and one.parked]
    if action.outcome != "paused" and not set(parked) <= set(starts):
        yield "an instance is left deallocated"
    if action.outcome not in ("succeeded", "rolled-back") and not action.reason:
        yield "no reason"


def _of_class(case: Case, node: Node, name: str, instance: Instance | None, kind: str) -> Iterator[str]:
    seen = node.seen
    listed = seen is not None and name in seen.members
    if instance is not None and kind == "vanished" and listed:
        yield "vanished, and it is listed"
    if instance is None:
        return
    if kind == "updated" and instance.version != target_of(case, name) and node.state.direction == "forward":
        yield "updated, and it runs another version"
    if kind == "rolled-back" and instance.version != origin_of(case, name):
        yield "rolled-back, and it runs another version than before"
    if kind == "failed" and name not in node.world.touched:
        yield "failed, and no request ever reached it"
    if (
        kind == "still-unavailable"
        and instance.available
        and listed
        and seen is not None
        and seen.fit(seen.members[name])
    ):
        yield "still-unavailable, and it is available"


def broken_effects(node: Node) -> Iterator[str]:
    """More than one effective upgrade, or reimage, of an instance to one model."""
    for instance in node.world.instances:
        if instance is not None and len(set(instance.effects)) < len(instance.effects):
            yield "two effective upgrades to one model"


# --- the search itself -----------------------------------------------------------------------------------------------

_PLAIN = operator.attrgetter(
    *("direction", "leg", "model", "model_written", "fingerprint", "posted", "absent", "deallocated", "reimaged"),
    *("looks", "gaps", "batches", "checkpoint", "gate_refused", "broken", "unreturnable", "repairs", "protection"),
    *("shielded", "shielded_for", "protections", "stale", "listed", "doubted", "doubts", "unsent", "stopping"),
    *("pausing", "reports", "unavailable"),
)
_OF_BATCH = operator.attrgetter(
    *("ids", "request", "request_ids", "canary", "status", "done", "unavailable", "stopped", "failed", "followed"),
    *("returned", "relapses", "gate"),
)


class Limits(NamedTuple):
    """After how many seconds of age a moment makes no difference any more."""

    sent: float
    watched: float
    bake: float
    pause: float
    operation: float
    wait: float


def limits_of(policy: Policy) -> Limits:
    """How long each moment of a state matters under a policy."""
    operation = policy.operation_timeout_seconds
    sent = max(operation, machine.LAG_SECONDS, machine.QUIET_SECONDS)
    watched = max(policy.health_timeout_seconds, machine.START_SECONDS)
    bake = max(policy.bake_seconds, policy.canary_bake_seconds)
    wait = max(getattr(policy, f"{name}_timeout_seconds") for name in ("floor", "outage", "throttle", "busy"))
    return Limits(sent, watched, bake, policy.pause_seconds, operation, wait)


def _age(moment: float | None, now: float, limit: float) -> float | None:
    """How long ago something was; all that is longer ago than matters is the same."""
    return None if moment is None else min(now - moment, limit + 1.0)


def state_key(state: State, now: float, limits: Limits) -> tuple[Any, ...]:
    """What decides the future of a state: without moments that nothing asks for, and without how old old ones are.

    Of a step that came late the machine takes the gap off each deadline, so what counts is the time before it.
    """
    late = state.due is not None and now > state.due + machine.LATE_SECONDS
    then = state.due if late and state.due is not None else now
    batch, wait = state.batch, state.wait
    of_batch: Any = None
    if batch is not None:
        sent = _age(batch.sent, then, limits.sent) if batch.status in ("sent", "lost") else None
        watched = _age(batch.watched, then, limits.watched) if batch.status == "ended" else None
        of_batch = (_OF_BATCH(batch), bool(batch.error), sent, watched, _age(batch.fit_since, then, limits.bake))
    of_wait: Any = None
    if wait is not None:
        until = max(0.0, wait.until - now) if wait.of else 0.0
        of_wait = (wait.cause, wait.of, _age(wait.since, then, limits.wait), until)
    pause = None if state.closed_at is None else max(0.0, state.closed_at + limits.pause - now)
    model = _age(state.model_since, then, limits.operation) if state.model == "sent" else None
    protected = state.protection in ("writing", "removing")
    protection = _age(state.protected_at, then, limits.operation) if protected else None
    counts = [frozenset(state.classes.items()), frozenset(state.forward.items())]
    counts += [frozenset(state.sends.items()), frozenset(state.turned_down.items())]
    flags = (late, bool(state.outstanding), bool(state.stopped_for), state.hanging is not None)
    ending = state.ending and state.ending.outcome
    return (_PLAIN(state), of_batch, of_wait, *counts, flags, ending, pause or 0.0, model, protection)


class Search:
    """One search from its first node."""

    def __init__(self, case: Case, misfortunes: int, most: int) -> None:
        self.case, self.most = case, most
        self.first = first_node(case, misfortunes)
        self.limits = limits_of(case.policy)
        self.broken: Counter[str] = Counter()
        self.examples: dict[str, tuple[str, ...]] = {}
        self.kinds: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._parents: dict[int, tuple[int, str]] = {}
        self._states: dict[int, tuple[State, float, int]] = {}  # the keys of what one step has led to
        self._lists: dict[int, tuple[Any, int]] = {}

    def _complain(self, what: str, key: Any, label: str) -> None:
        self.broken[what] += 1
        if what not in self.examples:
            path = [label]
            while key in self._parents:
                key, step = self._parents[key]
                path.append(step)
            self.examples[what] = tuple(reversed(path))

    def key(self, node: Node) -> int:
        """What two nodes have in common that have the same future: a hash, as the values would take too much memory.

        What has ended has no future: there is one such node for each outcome.
        """
        state, seen = node.state, node.seen
        if state.verdict is not None:
            return hash(("over", state.verdict["outcome"]))
        take_snapshot: Any = None
        if seen is not None:
            ended = None if state.batch is None else state.batch.ended
            age = None if state.stale else _age(seen.ended_at, node.now, machine.FRESH_SECONDS)
            take_snapshot = (self._list_key(seen), seen.model, age, seen.at >= (ended or 0.0))
        old = node.old if node.left else None  # which only a misfortune shows again
        return hash((self._state_key(state, node.now), node.world, node.left, take_snapshot, old))

    def _state_key(self, state: State, now: float) -> int:
        """A hash of the state, once for all that one step may lead to."""
        known, when, key = self._states.get(id(state), (None, 0.0, 0))
        if known is not state or when != now:
            key = hash(state_key(state, now, self.limits))
            self._states[id(state)] = state, now, key
        return key

    def _list_key(self, seen: Snapshot) -> int:
        """A hash of the instances of a snapshot, once for each list: equal worlds show the same."""
        known, key = self._lists.get(id(seen.members), (None, 0))
        if known is not seen.members:
            key = hash(tuple(seen.members.values()))
            self._lists[id(seen.members)] = seen.members, key
        return key

    def run(self) -> Report:
        """Explore. Millions of values are made that are in no cycle, so the search for cycles pauses."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._run()
        finally:
            if collecting:
                gc.enable()

    def _run(self) -> Report:
        known = {self.key(self.first)}
        queue = deque([(self.first, self.key(self.first))])
        edges: dict[int, tuple[int, ...]] = {}
        while queue and len(known) <= self.most:
            node, key = queue.popleft()
            if node.state.verdict is not None:
                if machine.decide(node.state, node.seen, node.now).kind != "end":
                    self._complain("something is done after the end", key, "again")
                continue
            self._states.clear()
            calm = []
            for label, following in self._steps(node, key):
                there = self.key(following)
                if following.left == node.left:
                    calm.append(there)
                if there not in known:
                    known.add(there)
                    self._parents[there] = (key, sys.intern(label))
                    queue.append((following, there))
            edges[key] = tuple(calm)
        if not queue:
            self._loops(edges)
        return Report(len(known), not queue, self.broken, self.examples, self.kinds, self.outcomes)

    def _steps(self, node: Node, key: Any) -> Iterator[Step]:
        """The choices at the next moment at which there is any: what only follows from what is known is passed over."""
        for _ in range(MOST_ACTIONS):
            action = machine.decide(node.state, node.seen, node.now)
            self.kinds[action.kind] += 1
            for complaint in complaints(self.case, node, action):
                self._complain(complaint, key, f"{action.kind} {action.ids} {action.outcome}")
            if action.kind not in machine.RECORDING:
                break
            node = _planned(
                _note(
                    node,
                    **{
                        "kind": action.entry["kind"],
                        **{k: v for k, v in action.entry.items() if k not in ("kind", "at")},
                    },
                ),
                0.0,
            )
        else:
            self._complain("a loop inside of one moment", key, action.kind)
            return
        if action.kind == "end":
            self.outcomes[f"{action.outcome} {action.cause}"] += 1
        for label, following in _PERFORM[action.kind](node, action):
            if following.world is not node.world:
                for complaint in broken_effects(following):
                    self._complain(complaint, key, label)
            yield label, following

    def _loops(self, edges: Mapping[int, tuple[int, ...]]) -> None:
        """A way back to the same state in which the world does nothing: it would never end."""
        colors: dict[int, int] = {}
        for root in edges:
            if colors.get(root):
                continue
            stack = [(root, iter(edges[root]))]
            colors[root] = 1
            while stack:
                node, following = stack[-1]
                for there in following:
                    color = colors.get(there, 0)
                    if color == 1:
                        self._complain("a cycle without an end", there, "again")
                    elif color == 0:
                        colors[there] = 1
                        stack.append((there, iter(edges.get(there, ()))))
                        break
                else:
                    colors[node] = 2
                    stack.pop()


def explore(case: Case, *, misfortunes: int = 2, most: int = 10**9) -> Report:
    """All states of one case, or as many as `most`."""
    return Search(case, misfortunes, most).run()


def replaced(case: Case, **policy: Any) -> Case:
    """The case under another policy."""
    return case._replace(policy=replace(case.policy, **policy))
