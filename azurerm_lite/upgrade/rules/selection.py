"""Which instances may be taken next: pure functions of a State and what is seen. PURE.

A plan is this asked again and again on a world in which everything goes well (`simulate`).
"""

import functools
import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from .policy import Policy
from .snapshot import InstanceStatus, Snapshot, natural
from .state import Leg, State

MOVING = ("Creating", "Updating", "Deleting")  # provisioning states of an instance that somebody is changing
USUAL_BATCH_SECONDS = 60.0  # recorded: a median of 36 s for an upgrade, and something for health
MOST_SENDS = 3  # of one instance: Azure may give it back unchanged so often
MOST_REFUSALS = 3  # of one instance: Azure may call it not active so often


def current(member: InstanceStatus, version: str) -> bool:
    """On the latest model, and on the pinned image: the flag alone does not say what is on the disk."""
    return member.latest and runs(member, version)


def runs(member: InstanceStatus, version: str) -> bool:
    """Whether an instance runs this version; what shows no version is taken at its model's word."""
    if not version or not member.version:
        return True
    return member.version.lower() == version.lower()  # ids come back in a casing of Azure's own


def reached(leg: Leg, member: InstanceStatus) -> bool:
    """Whether an instance is where this leg brings it."""
    return member.latest and has_image(leg, member)


def has_image(leg: Leg, member: InstanceStatus) -> bool:
    """Whether an instance runs the image of this leg, whatever its model says."""
    if leg.image and member.image:
        return member.image.lower() == leg.image.lower()
    return runs(member, leg.version)


# --- places ----------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _places(zone: str, group: str) -> tuple[str, ...]:
    """What has a floor of its own: the whole set (""), a zone, a placement group."""
    return ("", *[f"zone {zone}"] * bool(zone), *[f"group {group}"] * bool(group))


_ZONE_AND_GROUP = operator.attrgetter("zone", "group")


def by_place(members: Iterable[InstanceStatus]) -> Counter[str]:
    """How many there are of all (""), in each zone, and in each placement group."""
    counts: Counter[str] = Counter()
    for pair, count in Counter(map(_ZONE_AND_GROUP, members)).items():
        for place in _places(*pair):
            counts[place] += count
    return counts


Domain = tuple[str | int | None, ...]


def _domain(order: str, member: InstanceStatus) -> Domain:
    """What a batch may not span, for this instance; an unknown domain stands for itself."""
    if order == "update_domain":
        return (member.zone, member.update_domain)
    if order == "batch":
        return ()
    return (member.zone,) if order == "zone" else (member.zone, member.fault_domain)


def _turn(domain: Domain) -> tuple[Any, ...]:
    return tuple(natural("?" if part is None else str(part)) for part in domain)


# --- who is available, who may be taken -------------------------------------------------------------------------------


class Health(NamedTuple):
    """Who of a snapshot is not available, and who of them is known to be out of service."""

    unavailable: frozenset[str]
    free: frozenset[str]


def health_of(seen: Snapshot, broken: Collection[str] = ()) -> Health:
    """Who is not available, who is free to take: asked once for a snapshot, because it is asked of thousands.

    `broken`: instances whose upgrade is known to have failed: what is Failed of them is out of service.
    """
    away = [member for member in seen.members.values() if not seen.fit(member)]
    free = frozenset([one.instance_id for one in away if seen.is_free(one) or one.instance_id in broken])
    return Health(frozenset([member.instance_id for member in away]), free)


Choice = Callable[[InstanceStatus], bool]


def choice(policy: Policy, leg: Leg | None = None) -> Choice:
    """Whether policy and leg are about an instance: a function, because it is asked of thousands."""
    instances = None if policy.instances is None else frozenset(policy.instances)
    if leg is not None and leg.instances is not None:
        instances = leg.instances if instances is None else instances & leg.instances
    zones, update_domains, fault_domains = policy.zones, policy.update_domains, policy.fault_domains

    def selected(member: InstanceStatus) -> bool:
        return (
            (instances is None or member.instance_id in instances)
            and (zones is None or member.zone in zones)
            and (update_domains is None or member.update_domain in update_domains)
            and (fault_domains is None or member.fault_domain in fault_domains)
        )

    return selected


def candidates(state: State, seen: Snapshot, health: Health) -> list[InstanceStatus]:
    """Those that still need it and may be touched, in order: those out of service first, then domain by domain."""
    selected, order = choice(state.policy, state.goal), state.policy.batch_by
    queues: dict[tuple[bool, Domain], list[InstanceStatus]] = {}
    for member in seen.members.values():
        if is_open(state, member) and selected(member):
            later = state.policy.prioritize_unhealthy_instances and member.instance_id not in health.free
            queues.setdefault((later, _domain(order, member)), []).append(member)
    turns = sorted(queues, key=lambda key: (key[0], _turn(key[1])))
    return [member for turn in turns for member in sorted(queues[turn], key=_by_number)]


def _by_number(member: InstanceStatus) -> tuple[int, int, str]:
    return natural(member.instance_id)


def is_open(state: State, member: InstanceStatus) -> bool:
    """Whether an instance is not where it is to come, was not touched yet, and may be."""
    return needs_it(state, member) and not member.protected and member.state not in MOVING


def needs_it(state: State, member: InstanceStatus) -> bool:
    """Whether an instance is still to be upgraded, if only others leave it alone."""
    name = member.instance_id
    if name in state.posted or name in state.classes:
        return False
    if is_parked(state, member) or is_unmade(state, member):
        return True
    if reached(state.goal, member):
        return False
    if state.policy.on_stopped == "skip" and member.is_stopped and state.direction == "forward":
        return False
    return state.turned_down.get(name, 0) < MOST_REFUSALS


def is_parked(state: State, member: InstanceStatus) -> bool:
    """Whether an instance is deallocated by us, and is still to be started: lists without it were wrong, perhaps."""
    return member.instance_id in state.deallocated and member.power == "deallocated"


def is_unmade(state: State, member: InstanceStatus) -> bool:
    """Whether an instance was upgraded, and its disk is still to be made anew by a reimage that it does not show."""
    name = member.instance_id
    return state.anew == "always" and state.sends.get(name, 0) > 0 and name not in state.reimaged


# --- how many at once ------------------------------------------------------------------------------------------------


def floor(percent: int, size: int) -> int:
    """How many must stay: rounded up, towards safety."""
    return math.ceil(percent * size / 100)


def largest_batch(policy: Policy, total: int) -> int:
    """How many at once at most: rounded down, but one at least."""
    return policy.batch_size or max(1, policy.max_batch_instance_percent * total // 100)


def size_of(state: State, seen: Snapshot) -> int:
    """The number of instances that the floor is a share of."""
    size = max(len(seen.members), seen.model.capacity if seen.model is not None else 0)
    return size if state.policy.floor_follows_capacity else max(size, state.capacity)


def needed(state: State, seen: Snapshot) -> int:
    """How many must be available when a request of ours is sent."""
    return floor(state.policy.min_healthy_instance_percent, size_of(state, seen))


def room(state: State, seen: Snapshot, health: Health) -> dict[str, int]:
    """How many available instances could be spared: of all (""), of each zone, of each placement group.

    Lists may have instances that are gone: what Azure calls not active is not available, nor are as many of the others
    as the list has more than the capacity asks for. Nobody knows which, so they count in every place.
    """
    gone, beyond = refused(state, seen), surplus(state, seen)
    every, away = by_place(seen.members.values()), by_place(map(seen.members.__getitem__, health.unavailable | gone))
    follows, percent = state.policy.floor_follows_capacity, state.policy.min_healthy_zone_percent
    needs = {"": needed(state, seen)}
    for place in filter(None, every):
        whole = every[place] if follows else max(every[place], state.zone_sizes.get(place, 0))
        needs[place] = floor(percent, whole)
    spare = {place: every[place] - away[place] - beyond - need for place, need in needs.items()}
    # Where none is needed one may always go, even if nothing shows whether it serves.
    return {place: count if needs[place] else max(1, count) for place, count in spare.items()}


def surplus(state: State, snapshot: Snapshot) -> int:
    """How many more instances a list has than the capacity asks for, and nothing explains. Uniform sets only.

    A Flexible set may have VMs that its capacity does not count.
    """
    capacity = 0 if snapshot.model is None or state.flexible else snapshot.model.capacity
    if not capacity or len(snapshot.members) <= capacity:
        return 0
    explained = {name for name, member in snapshot.members.items() if member.state in ("Creating", "Deleting")}
    return max(0, len(snapshot.members) - len(explained | refused(state, snapshot)) - capacity)


def refused(state: State, snapshot: Snapshot) -> frozenset[str]:
    """The listed instances that Azure calls not active, again and again."""
    return frozenset(
        [name for name, count in state.turned_down.items() if count >= MOST_REFUSALS and name in snapshot.members]
    )


def spared(state: State, snapshot: Snapshot, health: Health, ids: Iterable[str]) -> tuple[str, ...]:
    """Those of these instances that may be taken out of service together, in order."""
    spare, chosen = room(state, snapshot, health), list[str]()
    for member in (snapshot.members[name] for name in ids):
        places = () if member.instance_id in health.free else _places(member.zone, member.group)
        if any(spare[place] <= 0 for place in places):
            continue
        chosen.append(member.instance_id)
        for place in places:
            spare[place] -= 1
    return tuple(chosen)


def first_batch(
    state: State, seen: Snapshot, health: Health, waiting: Sequence[InstanceStatus], only: Collection[str] | None = None
) -> tuple[str, ...]:
    """The next batch of those that wait: one domain, no more than the policy allows, no floor broken; () for none.

    `only`: no others than these, which are protected from scale-in for it. What Azure has turned down goes alone.
    """
    queue = [member for member in waiting if only is None or member.instance_id in only]
    if not queue:
        return ()
    domain = _domain(state.policy.batch_by, queue[0])
    queue = [member for member in queue if _domain(state.policy.batch_by, member) == domain]
    spare, size = room(state, seen, health), _size(state, seen)
    if any(member.instance_id in state.turned_down for member in queue[:size]):
        queue, size = sorted(queue, key=lambda member: member.instance_id not in state.turned_down), 1
    return tuple([member.instance_id for member in _taken(state.policy, queue, size, spare, health)[0]])


def _size(state: State, seen: Snapshot) -> int:
    size = largest_batch(state.policy, max(state.capacity, len(seen.members)))
    first = state.policy.canary_instances and not state.batches and state.direction == "forward"
    return min(size, state.policy.canary_instances) if first else size


def _taken(
    policy: Policy, queue: Sequence[InstanceStatus], size: int, spare: Mapping[str, int], health: Health
) -> tuple[list[InstanceStatus], list[InstanceStatus]]:
    """Those of one domain that may go together, and those that stay. Who is out of service is no loss."""
    left, chosen, stay = dict(spare), list[InstanceStatus](), list[InstanceStatus]()
    for home, run in itertools.groupby(queue, _ZONE_AND_GROUP):
        free_places = before = min(left[place] for place in _places(*home))
        for member in run:
            counts = member.instance_id not in health.free
            # Those out of service come first: when none can be spared any more, none after this one could go.
            if len(chosen) == size or (
                counts and policy.prioritize_unhealthy_instances and left[""] + free_places <= before
            ):
                return chosen, [*stay, *queue[len(chosen) + len(stay) :]]
            if counts and free_places <= 0:
                stay.append(member)
                continue
            chosen.append(member)
            free_places -= counts
        for place in _places(*home):
            left[place] -= before - free_places
    return chosen, stay


# --- a plan: the same, on a world in which all goes well --------------------------------------------------------------


class Course(NamedTuple):
    """What would happen. `why_not`: why it would not come to its end; `lowest`: the fewest available, by place."""

    batches: list[tuple[str, ...]]
    why_not: str
    lowest: dict[str, int]


def course(state: State, seen: Snapshot, health: Health | None = None) -> Course:
    """The batches if nothing happens. What `first_batch` would say, but nobody is looked at twice."""
    health = health_of(seen, state.broken) if health is None else health
    batches = list[tuple[str, ...]]()
    moving = frozenset([name for name, member in seen.members.items() if member.state in ("Creating", "Updating")])
    waiting = candidates(state, _through(seen, moving), health)
    waiting = _last(waiting, moving) if moving else waiting
    spare, now = room(state, seen, health), _Availability(seen, health, state.deallocated)
    queues: dict[Domain, list[InstanceStatus]] = {}
    for member in waiting:
        queues.setdefault(_domain(state.policy.batch_by, member), []).append(member)
    gone: set[str] = set()
    for first in waiting:
        domain = _domain(state.policy.batch_by, first)
        while first.instance_id not in gone:
            if first.instance_id in moving & health.unavailable:
                health = _settled(health, spare, waiting, moving)
            chosen, queues[domain] = _taken(state.policy, queues[domain], _size(state, seen), spare, health)
            if not chosen:
                return Course(batches, _why_not(state, seen, spare), now.lowest)
            batches.append(tuple([member.instance_id for member in chosen]))
            gone.update(batches[-1])
            now.take(chosen, spare)
            state = replace(state, batches=state.batches + any(not member.is_stopped for member in chosen))
    return Course(batches, "", now.lowest)


def _through(seen: Snapshot, moving: Collection[str]) -> Snapshot:
    """The instances, when others are through with those that they are changing."""
    if not moving:
        return seen
    still = {name: seen.members[name]._replace(state="Succeeded") for name in moving}
    return seen._replace(members={**seen.members, **still})


def _last(waiting: Iterable[InstanceStatus], moving: Collection[str]) -> list[InstanceStatus]:
    return sorted(waiting, key=lambda member: member.instance_id in moving)


def _settled(
    health: Health, spare: dict[str, int], waiting: Iterable[InstanceStatus], moving: frozenset[str]
) -> Health:
    """Those that others were changing are available, once it is their turn."""
    _heal(spare, [member for member in waiting if member.instance_id in moving])
    return Health(health.unavailable - moving, health.free - moving)


def _heal(spare: dict[str, int], members: Iterable[InstanceStatus]) -> None:
    for place, count in by_place(members).items():
        spare[place] += count


class _Availability:
    """How many are available while batch after batch is away, and the fewest of it: of all (""), by zone and group."""

    def __init__(self, seen: Snapshot, health: Health, deallocated: frozenset[str]) -> None:
        self._away, self._deallocated = health.unavailable, deallocated
        self._now = by_place([one for one in seen.members.values() if one.instance_id not in health.unavailable])
        places = dict.fromkeys(by_place(seen.members.values()), 0)
        self.lowest: dict[str, int] = {"": 0, **places, **self._now}

    def take(self, chosen: Sequence[InstanceStatus], spare: dict[str, int]) -> None:
        """One batch is away; after it all of it that run are available, and one that others stopped is not started."""
        for place, count in by_place([one for one in chosen if one.instance_id not in self._away]).items():
            self.lowest[place] = min(self.lowest.get(place, 0), self._now[place] - count)
        away = [member for member in chosen if member.instance_id in self._away]
        healed = [member for member in away if not member.is_stopped or member.instance_id in self._deallocated]
        self._now.update(by_place(healed))
        _heal(spare, healed)


def silent(snapshot: Snapshot) -> list[str]:
    """The instances that run and should report their health, and do not."""
    members = [member for member in snapshot.members.values() if member.is_running and not member.health]
    return [member.instance_id for member in members if not snapshot.fit(member)]


def _why_not(state: State, seen: Snapshot, spare: Mapping[str, int]) -> str:
    quiet = len(silent(seen))
    text = f" ({quiet} run, and report nothing to the health source of their model)" if quiet else ""
    total, need = size_of(state, seen), needed(state, seen)
    if spare[""] <= 0:
        return (
            f"min_healthy_instance_percent={state.policy.min_healthy_instance_percent} of {total} means that {need} "
            f"must stay healthy, and {spare[''] + need} are{text}: none can be spared. "
            "Accept fewer, or make the set larger first"
        )
    blocked = [place for place, left in spare.items() if left <= 0 and place]
    percent = state.policy.min_healthy_zone_percent
    return f"min_healthy_zone_percent={percent} leaves none to spare in {', '.join(blocked[:5])}{text}"


def lowest_by_domain(snapshot: Snapshot, batches: Iterable[Collection[str]]) -> dict[str, int]:
    """The fewest available of each update domain, in all placement groups together; {} where there are none."""
    members = [member for member in snapshot.members.values() if member.update_domain is not None]
    home = {member.instance_id: f"update domain {member.update_domain}" for member in members}
    every = Counter(dict.fromkeys(home.values(), 0))
    every.update(home[member.instance_id] for member in members if snapshot.fit(member))
    low = dict(sorted(every.items()))
    for ids in batches:
        away = Counter(home[name] for name in ids if name in home and snapshot.fit(snapshot.members[name]))
        for place, count in away.items():
            low[place] = min(low[place], every[place] - count)
    return low


def plain(policy: Policy, seen: Snapshot, version: str, leg: Leg | None = None, health: Health | None = None) -> State:
    """The state of an upgrade that has not begun, as a plan has it."""
    members = seen.members.values()
    sizes = {place: count for place, count in by_place(members).items() if place}
    capacity = max(len(seen.members), seen.model.capacity if seen.model is not None else 0)
    away = (health or health_of(seen)).unavailable
    return State(policy, (leg or Leg(version),), capacity, sizes, away, frozenset(seen.members))


def simulate(policy: Policy, seen: Snapshot, version: str) -> tuple[list[tuple[str, ...]], str]:
    """The batches if nothing happens, and why it would not come to its end ("" if it would)."""
    health = health_of(seen)
    there = course(plain(policy, seen, version, health=health), seen, health)
    return there.batches, there.why_not


def next_batch(state: State, seen: Snapshot) -> tuple[str, ...]:
    """The ids of the next batch; () when none may go."""
    health = health_of(seen, state.broken)
    return first_batch(state, seen, health, candidates(state, seen, health))
