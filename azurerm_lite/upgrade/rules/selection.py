"""The choice of the next batch: functions of a State and a Snapshot. PURE.

A plan repeats the choice on instances that are upgraded without faults (`simulate`).
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

MOVING = ("Creating", "Updating", "Deleting")  # provisioning states of an instance that is being changed
USUAL_BATCH_SECONDS = 60.0  # a recorded median of 36 s for the upgrade, and time for health
MOST_SENDS = 3  # of one instance: Azure may leave it unchanged so often
MOST_REFUSALS = 3  # of one instance: Azure may refuse it as not active so often


def is_current(instance: InstanceStatus, version: str) -> bool:
    """Whether an instance has the latest model and runs the version: the model flag says nothing of the disk."""
    return instance.latest and runs_version(instance, version)


def runs_version(instance: InstanceStatus, version: str) -> bool:
    """Whether an instance runs this version. An instance without a known version counts as running it."""
    if not version or not instance.version:
        return True
    return instance.version.lower() == version.lower()  # Azure may change the case of ids


def has_reached(leg: Leg, instance: InstanceStatus) -> bool:
    """Whether an instance has the model and the image of this leg."""
    return instance.latest and has_image(leg, instance)


def has_image(leg: Leg, instance: InstanceStatus) -> bool:
    """Whether an instance runs the image of this leg, independent of its model."""
    if leg.image and instance.image:
        return instance.image.lower() == leg.image.lower()
    return runs_version(instance, leg.version)


# --- places -----------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _places(zone: str, group: str) -> tuple[str, ...]:
    """The places with a floor of their own: the whole set (""), a zone, a placement group."""
    return ("", *[f"zone {zone}"] * bool(zone), *[f"group {group}"] * bool(group))


_ZONE_AND_GROUP = operator.attrgetter("zone", "group")


def by_place(instances: Iterable[InstanceStatus]) -> Counter[str]:
    """Count instances in all (""), in each zone, and in each placement group."""
    counts: Counter[str] = Counter()
    for pair, count in Counter(map(_ZONE_AND_GROUP, instances)).items():
        for place in _places(*pair):
            counts[place] += count
    return counts


Domain = tuple[str | int | None, ...]


def _domain(order: str, instance: InstanceStatus) -> Domain:
    """The domain of an instance that a batch must not span; an unknown domain counts as one."""
    if order == "update_domain":
        return (instance.zone, instance.update_domain)
    if order == "batch":
        return ()
    return (instance.zone,) if order == "zone" else (instance.zone, instance.fault_domain)


def _turn(domain: Domain) -> tuple[Any, ...]:
    return tuple(natural("?" if part is None else str(part)) for part in domain)


# --- available instances and candidates -------------------------------------------------------------------------------


class Health(NamedTuple):
    """The instances of a snapshot that are not available; `free`: those known to be out of service."""

    unavailable: frozenset[str]
    free: frozenset[str]


def health_of(snapshot: Snapshot, broken: Collection[str] = ()) -> Health:
    """Return the Health of a snapshot, computed once because a set may have thousands of instances.

    `broken`: instances with a failed upgrade; they count as out of service when they are not available.
    """
    away = [instance for instance in snapshot.members.values() if not snapshot.is_available(instance)]
    free = frozenset(
        [instance.instance_id for instance in away if snapshot.is_free(instance) or instance.instance_id in broken]
    )
    return Health(frozenset([instance.instance_id for instance in away]), free)


Choice = Callable[[InstanceStatus], bool]


def choice(policy: Policy, leg: Leg | None = None) -> Choice:
    """Return a function that says whether policy and leg select an instance."""
    instances = None if policy.instances is None else frozenset(policy.instances)
    if leg is not None and leg.instances is not None:
        instances = leg.instances if instances is None else instances & leg.instances
    zones, update_domains, fault_domains = policy.zones, policy.update_domains, policy.fault_domains

    def selected(instance: InstanceStatus) -> bool:
        return (
            (instances is None or instance.instance_id in instances)
            and (zones is None or instance.zone in zones)
            and (update_domains is None or instance.update_domain in update_domains)
            and (fault_domains is None or instance.fault_domain in fault_domains)
        )

    return selected


def candidates(state: State, snapshot: Snapshot, health: Health) -> list[InstanceStatus]:
    """Return the instances that may be upgraded now, in order: first those out of service, then by domain."""
    selected, order = choice(state.policy, state.goal), state.policy.batch_by
    queues: dict[tuple[bool, Domain], list[InstanceStatus]] = {}
    for instance in snapshot.members.values():
        if is_open(state, instance) and selected(instance):
            later = state.policy.prioritize_unhealthy_instances and instance.instance_id not in health.free
            queues.setdefault((later, _domain(order, instance)), []).append(instance)
    turns = sorted(queues, key=lambda key: (key[0], _turn(key[1])))
    return [instance for turn in turns for instance in sorted(queues[turn], key=_by_number)]


def _by_number(instance: InstanceStatus) -> tuple[int, int, str]:
    return natural(instance.instance_id)


def is_open(state: State, instance: InstanceStatus) -> bool:
    """Whether an instance needs the upgrade and may be changed now."""
    return needs_it(state, instance) and not instance.protected and instance.state not in MOVING


def needs_it(state: State, instance: InstanceStatus) -> bool:
    """Whether an instance is still to be upgraded, if only others leave it alone."""
    name = instance.instance_id
    if name in state.posted or name in state.classes:  # what failed while no list had it is started at most
        return state.classes.get(name) == "failed" and name not in state.posted and is_parked(state, instance)
    if is_parked(state, instance) or is_unmade(state, instance):
        return True
    if has_reached(state.goal, instance):
        return False
    if state.policy.on_stopped == "skip" and instance.is_stopped and state.direction == "forward":
        return False
    return state.turned_down.get(name, 0) < MOST_REFUSALS


def is_parked(state: State, instance: InstanceStatus) -> bool:
    """Whether this upgrade has deallocated an instance and must still start it."""
    return instance.instance_id in state.deallocated and instance.power == "deallocated"


def is_unmade(state: State, instance: InstanceStatus) -> bool:
    """Whether an upgraded instance still needs a reimage that its status does not show."""
    name = instance.instance_id
    return state.anew == "always" and state.sends.get(name, 0) > 0 and name not in state.reimaged


# --- batch size and floors --------------------------------------------------------------------------------------------


def floor(percent: int, size: int) -> int:
    """The number of instances that must stay available, rounded up."""
    return math.ceil(percent * size / 100)


def largest_batch(policy: Policy, total: int) -> int:
    """The largest number of instances in a batch: rounded down, but at least 1."""
    return policy.batch_size or max(1, policy.max_batch_instance_percent * total // 100)


def size_of(state: State, snapshot: Snapshot) -> int:
    """The size of the set of which the floor is a percent."""
    size = max(len(snapshot.members), snapshot.model.capacity if snapshot.model is not None else 0)
    return size if state.policy.floor_follows_capacity else max(size, state.capacity)


def count_needed(state: State, snapshot: Snapshot) -> int:
    """The number of instances that must be available when a request is sent."""
    return floor(state.policy.min_healthy_instance_percent, size_of(state, snapshot))


def room(state: State, snapshot: Snapshot, health: Health) -> dict[str, int]:
    """How many available instances could be taken out of service: of all (""), of each zone, of each placement group.

    Lists may have instances that no longer exist. So an instance that Azure calls not active does not count, nor does
    any surplus over the capacity. The surplus instances are unknown, so they are subtracted in every place.
    """
    gone, beyond = list_inactive(state, snapshot), count_surplus(state, snapshot)
    every, away = (
        by_place(snapshot.members.values()),
        by_place(map(snapshot.members.__getitem__, health.unavailable | gone)),
    )
    follows, percent = state.policy.floor_follows_capacity, state.policy.min_healthy_zone_percent
    needs = {"": count_needed(state, snapshot)}
    for place in filter(None, every):
        whole = every[place] if follows else max(every[place], state.zone_sizes.get(place, 0))
        needs[place] = floor(percent, whole)
    spare = {place: every[place] - away[place] - beyond - need for place, need in needs.items()}
    # Without a floor one instance may always be taken, even with unknown health.
    return {place: count if needs[place] else max(1, count) for place, count in spare.items()}


def count_surplus(state: State, snapshot: Snapshot) -> int:
    """The number of unexplained instances in a list above the capacity. Uniform sets only.

    A Flexible set may have VMs that its capacity does not count.
    """
    capacity = 0 if snapshot.model is None or state.flexible else snapshot.model.capacity
    if not capacity or len(snapshot.members) <= capacity:
        return 0
    explained = {name for name, instance in snapshot.members.items() if instance.state in ("Creating", "Deleting")}
    return max(0, len(snapshot.members) - len(explained | list_inactive(state, snapshot)) - capacity)


def list_inactive(state: State, snapshot: Snapshot) -> frozenset[str]:
    """The listed instances that Azure has repeatedly refused as not active."""
    return frozenset(
        [name for name, count in state.turned_down.items() if count >= MOST_REFUSALS and name in snapshot.members]
    )


def choose_spare(state: State, snapshot: Snapshot, health: Health, ids: Iterable[str]) -> tuple[str, ...]:
    """Return the instances of `ids` that may be taken out of service together, in order."""
    spare, chosen = room(state, snapshot, health), list[str]()
    for instance in (snapshot.members[name] for name in ids):
        places = () if instance.instance_id in health.free else _places(instance.zone, instance.group)
        if any(spare[place] <= 0 for place in places):
            continue
        chosen.append(instance.instance_id)
        for place in places:
            spare[place] -= 1
    return tuple(chosen)


def first_batch(
    state: State,
    snapshot: Snapshot,
    health: Health,
    waiting: Sequence[InstanceStatus],
    only: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Return the ids of the next batch: one domain, within the policy's size and all floors; () for none.

    `waiting`: the candidates in order; `only`: choose only these, which are protected from scale-in. An instance that
    Azure has refused as not active forms a batch of its own.
    """
    queue = [instance for instance in waiting if only is None or instance.instance_id in only]
    if not queue:
        return ()
    domain = _domain(state.policy.batch_by, queue[0])
    queue = [instance for instance in queue if _domain(state.policy.batch_by, instance) == domain]
    spare, size = room(state, snapshot, health), _size(state, snapshot)
    if any(instance.instance_id in state.turned_down for instance in queue[:size]):
        queue, size = sorted(queue, key=lambda instance: instance.instance_id not in state.turned_down), 1
    return tuple([instance.instance_id for instance in _take_batch(state.policy, queue, size, spare, health)[0]])


def _size(state: State, snapshot: Snapshot) -> int:
    size = largest_batch(state.policy, max(state.capacity, len(snapshot.members)))
    first = state.policy.canary_instances and not state.batches and state.direction == "forward"
    return min(size, state.policy.canary_instances) if first else size


def _take_batch(
    policy: Policy, queue: Sequence[InstanceStatus], size: int, spare: Mapping[str, int], health: Health
) -> tuple[list[InstanceStatus], list[InstanceStatus]]:
    """Split one domain into the instances of a batch and the rest. Instances out of service need no room."""
    remaining, chosen, stay = dict(spare), list[InstanceStatus](), list[InstanceStatus]()
    for home, run in itertools.groupby(queue, _ZONE_AND_GROUP):
        free_places = before = min(remaining[place] for place in _places(*home))
        for instance in run:
            counts = instance.instance_id not in health.free
            # Instances out of service come first: without room, no later instance can be chosen.
            if len(chosen) == size or (
                counts and policy.prioritize_unhealthy_instances and remaining[""] + free_places <= before
            ):
                return chosen, [*stay, *queue[len(chosen) + len(stay) :]]
            if counts and free_places <= 0:
                stay.append(instance)
                continue
            chosen.append(instance)
            free_places -= counts
        for place in _places(*home):
            remaining[place] -= before - free_places
    return chosen, stay


# --- a plan: the same choice, without faults --------------------------------------------------------------------------


class Course(NamedTuple):
    """The planned batches. `why_not`: why the upgrade could not end; `lowest`: the fewest available, by place."""

    batches: list[tuple[str, ...]]
    why_not: str
    lowest: dict[str, int]


def course(state: State, snapshot: Snapshot, health: Health | None = None) -> Course:
    """Return the batches of an upgrade without faults: as repeated calls of `first_batch`, but in one pass."""
    health = health_of(snapshot, state.broken) if health is None else health
    batches = list[tuple[str, ...]]()
    moving = frozenset(
        [name for name, instance in snapshot.members.items() if instance.state in ("Creating", "Updating")]
    )
    waiting = candidates(state, _assume_settled(snapshot, moving), health)
    waiting = _last(waiting, moving) if moving else waiting
    spare, availability = room(state, snapshot, health), _Availability(snapshot, health, state.deallocated)
    queues: dict[Domain, list[InstanceStatus]] = {}
    for instance in waiting:
        queues.setdefault(_domain(state.policy.batch_by, instance), []).append(instance)
    gone: set[str] = set()
    for first in waiting:
        domain = _domain(state.policy.batch_by, first)
        while first.instance_id not in gone:
            if first.instance_id in moving & health.unavailable:
                health = _mark_available(health, spare, waiting, moving)
            chosen, queues[domain] = _take_batch(state.policy, queues[domain], _size(state, snapshot), spare, health)
            if not chosen:
                return Course(batches, _why_not(state, snapshot, spare), availability.lowest)
            batches.append(tuple([instance.instance_id for instance in chosen]))
            gone.update(batches[-1])
            availability.take(chosen, spare)
            state = replace(state, batches=state.batches + any(not instance.is_stopped for instance in chosen))
    return Course(batches, "", availability.lowest)


def _assume_settled(snapshot: Snapshot, moving: Collection[str]) -> Snapshot:
    """Return the snapshot after other clients have finished changing the instances in `moving`."""
    if not moving:
        return snapshot
    still = {name: snapshot.members[name]._replace(state="Succeeded") for name in moving}
    return snapshot._replace(members={**snapshot.members, **still})


def _last(waiting: Iterable[InstanceStatus], moving: Collection[str]) -> list[InstanceStatus]:
    return sorted(waiting, key=lambda instance: instance.instance_id in moving)


def _mark_available(
    health: Health, spare: dict[str, int], waiting: Iterable[InstanceStatus], moving: frozenset[str]
) -> Health:
    """Count the instances in `moving` as available."""
    _heal(spare, [instance for instance in waiting if instance.instance_id in moving])
    return Health(health.unavailable - moving, health.free - moving)


def _heal(spare: dict[str, int], instances: Iterable[InstanceStatus]) -> None:
    for place, count in by_place(instances).items():
        spare[place] += count


class _Availability:
    """Available instances during the batches of a plan, and the fewest: of all (""), by zone and group."""

    def __init__(self, snapshot: Snapshot, health: Health, deallocated: frozenset[str]) -> None:
        self._away, self._deallocated = health.unavailable, deallocated
        self._now = by_place(
            [instance for instance in snapshot.members.values() if instance.instance_id not in health.unavailable]
        )
        places = dict.fromkeys(by_place(snapshot.members.values()), 0)
        self.lowest: dict[str, int] = {"": 0, **places, **self._now}

    def take(self, chosen: Sequence[InstanceStatus], spare: dict[str, int]) -> None:
        """Take a batch out of service and bring it back; instances stopped by others are not started."""
        for place, count in by_place(
            [instance for instance in chosen if instance.instance_id not in self._away]
        ).items():
            self.lowest[place] = min(self.lowest.get(place, 0), self._now[place] - count)
        away = [instance for instance in chosen if instance.instance_id in self._away]
        healed = [instance for instance in away if not instance.is_stopped or instance.instance_id in self._deallocated]
        self._now.update(by_place(healed))
        _heal(spare, healed)


def list_silent(snapshot: Snapshot) -> list[str]:
    """The ids of running instances that should report their health and do not."""
    instances = [instance for instance in snapshot.members.values() if instance.is_running and not instance.health]
    return [instance.instance_id for instance in instances if not snapshot.is_available(instance)]


def _why_not(state: State, snapshot: Snapshot, spare: Mapping[str, int]) -> str:
    quiet = len(list_silent(snapshot))
    text = f" ({quiet} run, and report nothing to the health source of their model)" if quiet else ""
    total, need = size_of(state, snapshot), count_needed(state, snapshot)
    if spare[""] <= 0:
        return (
            f"min_healthy_instance_percent={state.policy.min_healthy_instance_percent} of {total} means that {need} "
            f"must stay healthy, and {spare[''] + need} are{text}: none can be spared. "
            "Accept fewer, or make the set larger first"
        )
    blocked = [place for place, count in spare.items() if count <= 0 and place]
    percent = state.policy.min_healthy_zone_percent
    return f"min_healthy_zone_percent={percent} leaves none to spare in {', '.join(blocked[:5])}{text}"


def lowest_by_domain(snapshot: Snapshot, batches: Iterable[Collection[str]]) -> dict[str, int]:
    """The fewest available instances of each update domain, over all placement groups; {} without update domains."""
    instances = [instance for instance in snapshot.members.values() if instance.update_domain is not None]
    home = {instance.instance_id: f"update domain {instance.update_domain}" for instance in instances}
    every = Counter(dict.fromkeys(home.values(), 0))
    every.update(home[instance.instance_id] for instance in instances if snapshot.is_available(instance))
    low = dict(sorted(every.items()))
    for ids in batches:
        away = Counter(home[name] for name in ids if name in home and snapshot.is_available(snapshot.members[name]))
        for place, count in away.items():
            low[place] = min(low[place], every[place] - count)
    return low


def plain(
    policy: Policy, snapshot: Snapshot, version: str, leg: Leg | None = None, health: Health | None = None
) -> State:
    """Return the state of a planned upgrade before its start."""
    instances = snapshot.members.values()
    sizes = {place: count for place, count in by_place(instances).items() if place}
    capacity = max(len(snapshot.members), snapshot.model.capacity if snapshot.model is not None else 0)
    away = (health or health_of(snapshot)).unavailable
    return State(policy, (leg or Leg(version),), capacity, sizes, away, frozenset(snapshot.members))


def simulate(policy: Policy, snapshot: Snapshot, version: str) -> tuple[list[tuple[str, ...]], str]:
    """Return the batches of an upgrade without faults, and why it could not end ("" if it can)."""
    health = health_of(snapshot)
    result = course(plain(policy, snapshot, version, health=health), snapshot, health)
    return result.batches, result.why_not


def next_batch(state: State, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the ids of the next batch; () for none."""
    health = health_of(snapshot, state.broken)
    return first_batch(state, snapshot, health, candidates(state, snapshot, health))
