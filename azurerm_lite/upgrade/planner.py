"""Which instances next, and what to do now: pure functions of policy, progress, what is seen, and the time. PURE.

No function here decides and acts. The runner acts on what `decide` says; a plan is `next_batch` asked again and again
on a world in which everything goes well.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from .observe import Member, Observation, natural
from .policy import Policy

# Every instance ends in exactly one of these.
CLASSES = (
    *("updated", "already-current", "skipped-protected", "not-selected", "vanished", "arrived-current", "failed"),
    "not-reached",
)


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
    sizes = Counter(place for one in members for place in _places(one))
    sick = frozenset(one.instance_id for one in members if not seen.fit(one))
    return Progress(version, len(seen.members), dict(sizes), sick, frozenset(seen.members))


def current(member: Member, version: str) -> bool:
    """On the latest model, and on the pinned image: the flag alone does not say what is on the disk."""
    return member.latest and (not version or not member.version or member.version == version)


def _places(member: Member) -> list[str]:
    """The zone and the placement group of an instance, each with a floor of its own."""
    return [f"zone {member.zone}"] * bool(member.zone) + [f"group {member.group}"] * bool(member.group)


def _domain(policy: Policy, member: Member) -> tuple[str, ...]:
    """What a batch may not span, for this instance; an unknown domain stands for itself."""
    if policy.order == "batch":
        return ()
    if policy.order == "zone":
        return (member.zone,)
    number = member.update_domain if policy.order == "update_domain" else member.fault_domain
    return (member.zone, "?" if number is None else str(number))


def selected(policy: Policy, member: Member) -> bool:
    chosen = (
        (policy.instances, member.instance_id),
        (policy.zones, member.zone),
        (policy.update_domains, member.update_domain),
        (policy.fault_domains, member.fault_domain),
    )
    return all(wanted is None or value in wanted for wanted, value in chosen)


def candidates(policy: Policy, progress: Progress, seen: Observation) -> list[Member]:
    """Those that still need it and may be touched, in order: sick ones first, then domain by domain, by number."""
    found = [one for one in seen.members.values() if _open(policy, progress, one)]
    return sorted(found, key=lambda one: _rank(policy, seen, one))


def _open(policy: Policy, progress: Progress, one: Member) -> bool:
    touched = one.instance_id in progress.posted or one.instance_id in progress.classes
    ready = one.state not in ("Creating", "Deleting", "Updating")
    free = not one.protected and ready and not touched
    return free and selected(policy, one) and not current(one, progress.version)


def _rank(policy: Policy, seen: Observation, one: Member) -> tuple[Any, ...]:
    domain = tuple(natural(part) for part in _domain(policy, one))
    return (policy.sick_first and seen.fit(one), domain, natural(one.instance_id))


def floor(percent: int, size: int) -> int:
    """How many must stay: rounded up, towards safety."""
    return math.ceil(percent * size / 100)


def largest_batch(policy: Policy, total: int) -> int:
    """How many at once at most: rounded down, but one at least."""
    return policy.batch_size or max(1, policy.max_batch_instance_percent * total // 100)


def next_batch(policy: Policy, progress: Progress, seen: Observation) -> tuple[str, ...]:
    """The ids of the next batch: one domain, no more than the policy allows, no floor broken. () when none may go."""
    waiting = candidates(policy, progress, seen)
    if not waiting:
        return ()
    size = largest_batch(policy, max(progress.capacity, len(seen.members)))
    if policy.canary_instances and not progress.batches:
        size = min(size, policy.canary_instances)
    spare = _spare(policy, progress, seen)
    domain = _domain(policy, waiting[0])
    chosen: list[str] = []
    for one in (one for one in waiting if _domain(policy, one) == domain):
        if len(chosen) == size:
            break
        if not seen.fit(one):
            chosen.append(one.instance_id)  # it serves nobody as it is
        elif all(spare.get(place, 0) > 0 for place in ("", *_places(one))):
            chosen.append(one.instance_id)
            for place in ("", *_places(one)):
                spare[place] -= 1
    return tuple(chosen)


def _spare(policy: Policy, progress: Progress, seen: Observation) -> dict[str, int]:
    """How many fit instances could be missed: of all (""), of each zone, of each placement group."""
    fit = [one for one in seen.members.values() if seen.fit(one)]
    total = max(progress.capacity, len(seen.members))
    spare = {"": len(fit) - floor(policy.min_healthy_instance_percent, total)}
    there = Counter(place for one in fit for place in _places(one))
    now = Counter(place for one in seen.members.values() for place in _places(one))
    for place, size in now.items():
        whole = max(size, progress.zone_sizes.get(place, 0))
        spare[place] = there[place] - floor(policy.min_healthy_zone_percent, whole)
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
    waiting = candidates(policy, progress, seen)
    busy = [one for one in seen.members.values() if _coming(policy, progress, one)]
    if not waiting and not busy:
        return Action("done")
    if progress.closed_at is not None and now < progress.closed_at + policy.pause_seconds:
        return Action("wait", seconds=progress.closed_at + policy.pause_seconds - now, reason="pause between batches")
    if sick := _newly_sick(policy, progress, seen):
        return _stuck(policy, progress, now, sick)
    if reached := _checkpoint(policy, progress, len(waiting)):
        return Action("pause", reason=f"checkpoint at {reached} %: look at it, and resume", percent=reached)
    ids = next_batch(policy, progress, seen)
    if not ids:
        return _stuck(policy, progress, now, "no further instance can be spared: the floor would be broken")
    return Action("post", ids, canary=bool(policy.canary_instances) and not progress.batches)


def _checkpoint(policy: Policy, progress: Progress, waiting: int) -> int:
    """The checkpoint that has been reached and not yet paused at; 0 when there is none."""
    settled = len(progress.classes)
    share = 100 * settled // max(1, settled + waiting)
    return max((one for one in policy.checkpoints if progress.checkpoint < one <= share), default=0)


def _coming(policy: Policy, progress: Progress, one: Member) -> bool:
    """An instance that is being made or changed by others, and may need the upgrade when it is through."""
    touched = one.instance_id in progress.posted or one.instance_id in progress.classes
    moving = one.state in ("Creating", "Updating") and not one.protected
    return moving and not touched and selected(policy, one) and not current(one, progress.version)


def _newly_sick(policy: Policy, progress: Progress, seen: Observation) -> str:
    """Why the set is too sick for another batch, if it is. Those that were sick before are known and do not count."""
    sick = [
        one.instance_id
        for one in seen.members.values()
        if not seen.fit(one) and one.instance_id not in progress.sick_before and one.state != "Deleting"
    ]
    failed = {one for one, kind in progress.classes.items() if kind == "failed"}
    counted = [one for one in sick if one not in failed]
    if 100 * len(counted) <= policy.max_unhealthy_instance_percent * len(seen.members):
        return ""
    return f"{len(counted)} instances are not healthy ({', '.join(counted[:10])})"


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
        return "failed"
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
    """The batches if nothing happens, and why it would not come to its end ("" if it would)."""
    progress = begin(seen, version)
    batches: list[tuple[str, ...]] = []
    while candidates(policy, progress, seen):
        ids = next_batch(policy, progress, seen)
        if not ids:
            return batches, _why_not(policy, progress, seen)
        batches.append(ids)
        members = {**seen.members}
        for one in ids:
            members[one] = members[one]._replace(
                latest=True,
                version=version or members[one].version,
                state="Succeeded",
                power="running",
                health="healthy" if seen.reports else "",
            )
        seen = seen._replace(members=members)
        progress = replace(progress, posted=progress.posted | set(ids), batches=progress.batches + 1)
    return batches, ""


def _why_not(policy: Policy, progress: Progress, seen: Observation) -> str:
    total, fit = len(seen.members), sum(map(seen.fit, seen.members.values()))
    need = floor(policy.min_healthy_instance_percent, max(total, progress.capacity))
    if fit <= need:
        return (
            f"min_healthy_instance_percent={policy.min_healthy_instance_percent} of {total} means that {need} must "
            f"stay healthy, and {fit} are: none can be spared. Accept fewer, or make the set larger first"
        )
    blocked = [place for place, left in _spare(policy, progress, seen).items() if left <= 0 and place]
    return (
        f"min_healthy_zone_percent={policy.min_healthy_zone_percent} leaves none to spare in {', '.join(blocked[:5])}"
    )


def lowest(seen: Observation, batches: Iterable[Collection[str]]) -> dict[str, int]:
    """The fewest that stay fit while any of the batches is away: of all (""), of each zone and placement group."""
    fit = {one.instance_id: one for one in seen.members.values() if seen.fit(one)}
    every = Counter(place for one in fit.values() for place in ("", *_places(one)))
    low = dict(every)
    for ids in batches:
        away = Counter(place for one in ids if one in fit for place in ("", *_places(fit[one])))
        low = {place: min(least, every[place] - away[place]) for place, least in low.items()}
    return low


def verdict_classes(policy: Policy, progress: Progress, seen: Observation) -> dict[str, str]:
    """Every instance that was ever seen, each in exactly one class."""
    classes = dict(progress.classes)
    for one in seen.members.values():
        classes.setdefault(one.instance_id, _rest(policy, progress, one))
    for instance_id in progress.known - set(seen.members):
        classes.setdefault(instance_id, "vanished")
    return classes


def _rest(policy: Policy, progress: Progress, one: Member) -> str:
    if current(one, progress.version):
        return "already-current" if one.instance_id in progress.known else "arrived-current"
    if not selected(policy, one):
        return "not-selected"
    return "skipped-protected" if one.protected else "not-reached"
