"""Which instances next, and what to do now: pure functions of policy, progress, what is seen, and the time. PURE.

No function here decides and acts. The runner acts on what `decide` says; a plan is `next_batch` asked again and again
on a world in which everything goes well.
"""

import functools
import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .observe import Member, Observation, natural
from .policy import Policy

# Every instance ends in exactly one of these.
CLASSES = (
    *("updated", "already-current", "skipped-protected", "not-selected", "vanished", "arrived-current", "failed"),
    "not-reached",
)
MOVING = ("Creating", "Updating", "Deleting")  # provisioning states of an instance that somebody is changing
USUAL_BATCH_SECONDS = 60.0  # recorded: a median of 36 s for an upgrade, and something for health


@dataclass(frozen=True, slots=True)
class Batch:
    """Instances that are upgraded together. `ended`: when Azure said the operation was through."""

    ids: tuple[str, ...]
    vm_ids: tuple[str, ...]
    begun: float
    canary: bool = False
    ended: float | None = None
    error: str = ""
    fit_since: float | None = None
    stage: int = 0  # which of the plan's stages it is in
    staged: float | None = None  # when that began, if it is not the first
    gate: str = ""  # what the gate said of it: pass, fail, or "" while it has not been asked


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upgrade is: all that `decide` needs besides what is seen."""

    version: str  # that every instance must run in the end; "" where only the model counts
    capacity: int
    zone_sizes: Mapping[str, int]
    sick_before: frozenset[str]
    known: frozenset[str]  # ids seen at the start
    batch: Batch | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    posted: frozenset[str] = frozenset()
    batches: int = 0
    closed_at: float | None = None
    stuck_since: float | None = None
    checkpoint: int = 0  # percent: the last one that was reached, and paused at
    gated: bool = False  # whether a gate has a say before a batch is settled


class Action(NamedTuple):
    """What to do now. `kind`: post, wait, gate (ask it), settle (a batch ended: `classes`), pause, done, stop."""

    kind: str
    ids: tuple[str, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    classes: Mapping[str, str] = {}
    canary: bool = False
    percent: int = 0


def begin(seen: Observation, version: str) -> Progress:
    """The progress of an upgrade that has not begun."""
    members = seen.members.values()
    sizes = {place: count for place, count in _by_place(members).items() if place}
    return Progress(version, len(seen.members), sizes, _sick(seen), frozenset(seen.members))


def _sick(seen: Observation) -> frozenset[str]:
    return frozenset([one.instance_id for one in seen.members.values() if not seen.fit(one)])


def current(member: Member, version: str) -> bool:
    """On the latest model, and on the pinned image: the flag alone does not say what is on the disk."""
    if not member.latest or not version or not member.version or member.version == version:
        return member.latest
    return member.version.lower() == version.lower()  # ids come back in a casing of Azure's own


@functools.lru_cache(maxsize=4096)
def _places(zone: str, group: str) -> tuple[str, ...]:
    """What has a floor of its own: the whole set (""), a zone, a placement group."""
    return ("", *[f"zone {zone}"] * bool(zone), *[f"group {group}"] * bool(group))


_ZONE_AND_GROUP = operator.attrgetter("zone", "group")


def _by_place(members: Iterable[Member]) -> Counter[str]:
    """How many there are of all (""), in each zone, and in each placement group."""
    found: Counter[str] = Counter()
    for pair, count in Counter(map(_ZONE_AND_GROUP, members)).items():
        for place in _places(*pair):
            found[place] += count
    return found


Domain = tuple[str | int | None, ...]


def _domain(order: str, member: Member) -> Domain:
    """What a batch may not span, for this instance; an unknown domain stands for itself."""
    if order == "update_domain":
        return (member.zone, member.update_domain)
    if order == "batch":
        return ()
    return (member.zone,) if order == "zone" else (member.zone, member.fault_domain)


def _turn(domain: Domain) -> tuple[Any, ...]:
    return tuple(natural("?" if part is None else str(part)) for part in domain)


Choice = Callable[[Member], bool]


def choice(policy: Policy) -> Choice:
    """Whether the policy is about an instance: a function, because it is asked of thousands."""
    instances = None if policy.instances is None else frozenset(policy.instances)
    zones, update_domains, fault_domains = policy.zones, policy.update_domains, policy.fault_domains

    def selected(one: Member) -> bool:
        return (
            (instances is None or one.instance_id in instances)
            and (zones is None or one.zone in zones)
            and (update_domains is None or one.update_domain in update_domains)
            and (fault_domains is None or one.fault_domain in fault_domains)
        )

    return selected


def candidates(policy: Policy, progress: Progress, seen: Observation, sick: Collection[str]) -> list[Member]:
    """Those that still need it and may be touched, in order: `sick` ones first, then domain by domain, by number."""
    selected, order = choice(policy), policy.order
    found: dict[tuple[bool, Domain], list[Member]] = {}
    for one in seen.members.values():
        if _open(progress, one) and selected(one):
            later = policy.sick_first and one.instance_id not in sick
            found.setdefault((later, _domain(order, one)), []).append(one)
    turns = sorted(found, key=lambda key: (key[0], _turn(key[1])))
    return [one for turn in turns for one in sorted(found[turn], key=_number)]


def _number(one: Member) -> tuple[int, int, str]:
    return natural(one.instance_id)


def _open(progress: Progress, one: Member) -> bool:
    """Not current, not touched yet, and ready to be."""
    if current(one, progress.version) or one.protected or one.state in MOVING:
        return False
    return one.instance_id not in progress.posted and one.instance_id not in progress.classes


def floor(percent: int, size: int) -> int:
    """How many must stay: rounded up, towards safety."""
    return math.ceil(percent * size / 100)


def largest_batch(policy: Policy, total: int) -> int:
    """How many at once at most: rounded down, but one at least."""
    return policy.batch_size or max(1, policy.max_batch_instance_percent * total // 100)


def next_batch(policy: Policy, progress: Progress, seen: Observation) -> tuple[str, ...]:
    """The ids of the next batch: one domain, no more than the policy allows, no floor broken. () when none may go."""
    sick = _sick(seen)
    return _first_batch(policy, progress, seen, sick, candidates(policy, progress, seen, sick))


def _first_batch(
    policy: Policy, progress: Progress, seen: Observation, sick: Collection[str], waiting: Sequence[Member]
) -> tuple[str, ...]:
    """The same, when it is known who waits."""
    if not waiting:
        return ()
    domain = _domain(policy.order, waiting[0])
    queue = [one for one in waiting if _domain(policy.order, one) == domain]
    size, spare = _size(policy, progress, seen), _spare(policy, progress, seen, sick)
    return tuple(one.instance_id for one in _taken(policy, queue, size, spare, sick)[0])


def _size(policy: Policy, progress: Progress, seen: Observation) -> int:
    size = largest_batch(policy, max(progress.capacity, len(seen.members)))
    return min(size, policy.canary_instances) if policy.canary_instances and not progress.batches else size


def _taken(
    policy: Policy, queue: Sequence[Member], size: int, spare: Mapping[str, int], sick: Collection[str]
) -> tuple[list[Member], list[Member]]:
    """Those of one domain that may go together, and those that stay. Who is sick serves nobody, and is no loss."""
    left, chosen, stay = dict(spare), list[Member](), list[Member]()
    for home, run in itertools.groupby(queue, _ZONE_AND_GROUP):
        room = before = min(left[place] for place in _places(*home))
        for one in run:
            fit = one.instance_id not in sick
            # The sick come first: when nobody can be missed any more, there is none after this one who could go.
            if len(chosen) == size or (fit and policy.sick_first and left[""] + room <= before):
                return chosen, [*stay, *queue[len(chosen) + len(stay) :]]
            if fit and room <= 0:
                stay.append(one)
                continue
            chosen.append(one)
            room -= fit
        for place in _places(*home):
            left[place] -= before - room
    return chosen, stay


def _spare(policy: Policy, progress: Progress, seen: Observation, sick: Collection[str]) -> dict[str, int]:
    """How many fit instances could be missed: of all (""), of each zone, of each placement group."""
    every, away = _by_place(seen.members.values()), _by_place(map(seen.members.__getitem__, sick))
    need = floor(policy.min_healthy_instance_percent, max(progress.capacity, len(seen.members)))
    spare = {"": every[""] - away[""] - need}
    for place in filter(None, every):
        whole = max(every[place], progress.zone_sizes.get(place, 0))
        spare[place] = every[place] - away[place] - floor(policy.min_healthy_zone_percent, whole)
    return spare


# --- what to do now --------------------------------------------------------------------------------------------------


def decide(policy: Policy, progress: Progress, seen: Observation, now: float) -> Action:
    """The next action. With a batch under way it is about that; else about the next one."""
    if progress.batch is not None:
        return _about_batch(policy, progress, progress.batch, seen, now)
    failures = [one for one, kind in progress.classes.items() if kind == "failed"]
    if len(failures) > policy.failure_budget:
        who = ", ".join(failures[:10])
        return Action("stop", reason=f"{len(failures)} failed ({who}), more than the budget of {policy.failure_budget}")
    sick = _sick(seen)
    if why := _sick_upgraded(policy, progress, seen, sick):
        return _stuck(policy, progress, now, why)
    waiting = candidates(policy, progress, seen, sick)
    if not waiting and not _coming(policy, progress, seen):
        return Action("done")
    if progress.closed_at is not None and now < progress.closed_at + policy.pause_seconds:
        return Action("wait", seconds=progress.closed_at + policy.pause_seconds - now, reason="pause between batches")
    if too_many := _newly_sick(policy, progress, seen, sick):
        return _stuck(policy, progress, now, too_many)
    if reached := _checkpoint(policy, progress, len(waiting)):
        return Action("pause", reason=f"checkpoint at {reached} %: look at it, and resume", percent=reached)
    ids = _first_batch(policy, progress, seen, sick, waiting)
    if not ids:
        return _stuck(policy, progress, now, "no further instance can be spared: the floor would be broken")
    return Action("post", ids, canary=bool(policy.canary_instances) and not progress.batches)


def _checkpoint(policy: Policy, progress: Progress, waiting: int) -> int:
    """The checkpoint that has been reached and not yet paused at; 0 when there is none."""
    settled = len(progress.classes)
    share = 100 * settled // max(1, settled + waiting)
    return max((one for one in policy.checkpoints if progress.checkpoint < one <= share), default=0)


def _coming(policy: Policy, progress: Progress, seen: Observation) -> bool:
    """Whether some are being made or changed by others, and may need the upgrade when they are through."""
    selected = choice(policy)
    moving = [one for one in seen.members.values() if one.state in ("Creating", "Updating") and selected(one)]
    return any(_open(progress, one._replace(state="")) for one in moving)


def _newly_sick(policy: Policy, progress: Progress, seen: Observation, sick: Collection[str]) -> str:
    """Why the set is too sick for another batch, if it is. Those that were sick before are known and do not count."""
    counted = [
        one
        for one in seen.members
        if one in sick
        and one not in progress.sick_before
        and seen.members[one].state != "Deleting"
        and progress.classes.get(one) != "failed"
    ]
    if 100 * len(counted) <= policy.max_unhealthy_instance_percent * len(seen.members):
        return ""
    return f"{len(counted)} instances are not healthy ({', '.join(counted[:10])})"


def _sick_upgraded(policy: Policy, progress: Progress, seen: Observation, sick: Collection[str]) -> str:
    """Why too many of those that were upgraded are not well, if they are: they failed, or turned sick afterwards."""
    most = policy.max_unhealthy_upgraded_instance_percent
    if most == 100:
        return ""
    upgraded = [one for one, kind in progress.classes.items() if kind in ("updated", "failed") and one in seen.members]
    bad = [one for one in upgraded if progress.classes[one] == "failed" or one in sick]
    if 100 * len(bad) <= most * len(upgraded):
        return ""
    return f"{len(bad)} of {len(upgraded)} upgraded instances are not healthy ({', '.join(bad[:10])})"


def _stuck(policy: Policy, progress: Progress, now: float, reason: str) -> Action:
    """Wait for the set to recover, but not for ever."""
    since = now if progress.stuck_since is None else progress.stuck_since
    if now - since >= policy.floor_timeout_seconds:
        return Action("stop", reason=f"{reason}, for {policy.floor_timeout_seconds:g} s")
    return Action("wait", seconds=15.0, reason=reason)


def _about_batch(policy: Policy, progress: Progress, batch: Batch, seen: Observation, now: float) -> Action:
    if batch.ended is None:
        return Action("wait", reason="the operation runs")
    classes = {one: _class_of(progress, batch, seen, one, vm) for one, vm in zip(batch.ids, batch.vm_ids, strict=True)}
    waiting = [one for one, kind in classes.items() if not kind]
    late = now >= batch.ended + policy.health_timeout_seconds
    if waiting and not late:
        return Action("wait", seconds=10.0, reason=f"{len(waiting)} not healthy yet")
    bake = policy.canary_bake_seconds if batch.canary else policy.bake_seconds
    if batch.fit_since is not None and now < batch.fit_since + bake and not late:
        return Action("wait", seconds=min(30.0, batch.fit_since + bake - now), reason="baking")
    if batch.fit_since is None and bake and not waiting and not late and "updated" in classes.values():
        return Action("wait", seconds=min(30.0, bake), reason="baking")
    classes = {one: kind or "failed" for one, kind in classes.items()}
    good = tuple(one for one, kind in classes.items() if kind == "updated")
    if progress.gated and good and not batch.gate:
        return Action("gate", good)
    if batch.gate == "fail":
        classes.update(dict.fromkeys(good, "failed"))
    return Action("settle", batch.ids, classes=classes)


def _class_of(progress: Progress, batch: Batch, seen: Observation, instance_id: str, vm_id: str) -> str:
    """How an instance of a batch came out, "" while that is open."""
    member = seen.members.get(instance_id)
    if member is None or (vm_id and member.vm_id and member.vm_id != vm_id) or member.state == "Deleting":
        return "vanished"
    if member.state == "Failed":
        return "failed"
    if member.state == "Updating":
        return ""
    if not current(member, progress.version):
        return "failed" if batch.error else ""  # where Azure says that all went well, the list may be an old one
    if seen.fit(member):
        return "updated"
    return "failed" if batch.fit_since is not None and not member.settling else ""


def all_fit(progress: Progress, seen: Observation) -> bool:
    """Whether everybody of the batch who has not failed is current and fit."""
    batch = progress.batch
    if batch is None:
        return False
    there = [seen.members[one] for one in batch.ids if one in seen.members]
    if any(one.state == "Updating" for one in there):
        return False
    good = [one for one in there if one.state != "Failed" and current(one, progress.version)]
    return bool(good) and all(map(seen.fit, good))


# --- a plan: the same, on a world in which all goes well --------------------------------------------------------------


def simulate(policy: Policy, seen: Observation, version: str) -> tuple[list[tuple[str, ...]], str]:
    """The batches if nothing happens, and why it would not come to its end ("" if it would).

    What `next_batch` would say, asked again and again; but nobody is looked at twice, so that it can be asked of
    thousands.
    """
    progress, batches = begin(seen, version), list[tuple[str, ...]]()
    sick = progress.sick_before
    waiting, spare = candidates(policy, progress, seen, sick), _spare(policy, progress, seen, sick)
    queues: dict[Domain, list[Member]] = {}
    for one in waiting:
        queues.setdefault(_domain(policy.order, one), []).append(one)
    gone: set[str] = set()
    for first in waiting:
        domain = _domain(policy.order, first)
        while first.instance_id not in gone:
            chosen, queues[domain] = _taken(policy, queues[domain], _size(policy, progress, seen), spare, sick)
            if not chosen:
                return batches, _why_not(policy, progress, seen, spare)
            batches.append(tuple([one.instance_id for one in chosen]))
            gone.update(batches[-1])
            _healed(spare, [one for one in chosen if one.instance_id in sick])
            progress = replace(progress, batches=len(batches))
    return batches, ""


def _healed(spare: dict[str, int], members: Iterable[Member]) -> None:
    """Those who were sick serve again after their upgrade."""
    for place, count in _by_place(members).items():
        spare[place] += count


def _why_not(policy: Policy, progress: Progress, seen: Observation, spare: Mapping[str, int]) -> str:
    total = len(seen.members)
    need = floor(policy.min_healthy_instance_percent, max(total, progress.capacity))
    if spare[""] <= 0:
        return (
            f"min_healthy_instance_percent={policy.min_healthy_instance_percent} of {total} means that {need} must "
            f"stay healthy, and {spare[''] + need} are: none can be spared. Accept fewer, or make the set larger first"
        )
    blocked = [place for place, left in spare.items() if left <= 0 and place]
    return (
        f"min_healthy_zone_percent={policy.min_healthy_zone_percent} leaves none to spare in {', '.join(blocked[:5])}"
    )


def lowest(seen: Observation, batches: Iterable[Collection[str]]) -> dict[str, int]:
    """The fewest that stay fit while any of the batches is away: of all (""), of each zone and placement group."""
    fit = {one.instance_id: one for one in seen.members.values() if seen.fit(one)}
    every = _by_place(fit.values())
    low = {"": 0, **every}
    for ids in batches:
        for place, away in _by_place(fit[one] for one in ids if one in fit).items():
            low[place] = min(low[place], every[place] - away)
    return low


def lowest_by_domain(seen: Observation, batches: Iterable[Collection[str]]) -> dict[str, int]:
    """The same of each update domain, in all placement groups together; {} where there are none."""
    home = {
        one.instance_id: f"update domain {one.update_domain}"
        for one in seen.members.values()
        if one.update_domain is not None and seen.fit(one)
    }
    every = Counter(home.values())
    low = dict(sorted(every.items()))
    for ids in batches:
        for place, away in Counter(home[one] for one in ids if one in home).items():
            low[place] = min(low[place], every[place] - away)
    return low


def verdict_classes(policy: Policy, progress: Progress, seen: Observation) -> dict[str, str]:
    """Every instance that was ever seen, each in exactly one class."""
    classes, selected = dict(progress.classes), choice(policy)
    for one in seen.members.values():
        if one.instance_id not in classes:
            classes[one.instance_id] = _rest(progress, one, selected)
    for instance_id in progress.known - set(seen.members):
        classes.setdefault(instance_id, "vanished")
    return classes


def _rest(progress: Progress, one: Member, selected: Choice) -> str:
    if current(one, progress.version):
        return "already-current" if one.instance_id in progress.known else "arrived-current"
    if not selected(one):
        return "not-selected"
    return "skipped-protected" if one.protected else "not-reached"
