"""What an upgrade would do: the change, the batches, the floor, the time and the cost; and why it would be refused.

A Plan is a value. `upgrade(plan)` does what it says and nothing else, and refuses when the world has moved from it.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from ... import model
from ..._common import arguments, markup
from ..._common.secrecy import conceal_locals
from ..._http import wire
from ...arm import Arm, Auth, arm_of
from ...endpoints import images
from ...endpoints.vmss import get_vmss, list_vmss_skus
from ...endpoints.vmss_vm import get_flexible_vm_instance_view
from ...endpoints.vmss_vms import iter_vmss_vms
from ...errors import AuthError, AzurermLiteError, ForbiddenError, InvalidInput, NotFoundError
from ...model import edits
from ...types import JsonDict, ScaleSet, Vmss
from ..rules import checks, preflight, selection, trust
from ..rules.forecast import Needs, forecast
from ..rules.policy import Policy
from ..rules.preflight import PlanRefused
from ..rules.snapshot import HealthSource, Model, Snapshot, behind, image_version, observe, reference_of
from ..rules.state import Leg, State, left_deallocated
from . import journal as _journal
from . import lock as _lock

Change = str | Callable[[Any], Any] | None
NO_OPERATION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What would be done. `lowest`: the fewest healthy while it runs, of all (""), by zone, group and update domain."""

    address: ScaleSet
    policy: Policy
    before: JsonDict = field(repr=False)
    patch: JsonDict = field(repr=False)
    changes: tuple[str, ...]
    version: str
    fingerprint_before: str
    fingerprint_after: str
    batches: tuple[tuple[str, ...], ...]
    lowest: Mapping[str, int]
    observation: Snapshot = field(repr=False)
    warnings: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("upgrade",)
    seconds: float = 0.0
    requests: int = 0
    takes_back: bool = False  # a rollback, which cannot be taken back itself
    # Of a rollback: one model for each old version, what cannot be brought back, and who had failed before.
    legs: tuple[JsonDict, ...] = field(default=(), repr=False)
    unreturnable: tuple[str, ...] = ()
    broken: tuple[str, ...] = field(default=(), repr=False)
    # How an instance shows what it still needs.
    anew: str = field(default="", repr=False)
    hosted: bool = field(default=True, repr=False)
    source: HealthSource = field(default="kept", repr=False)
    outline: str = field(default="", repr=False)
    deallocated: tuple[str, ...] = ()  # by an upgrade that did not end; this one starts them

    def to_dict(self) -> JsonDict:
        """As plain JSON."""
        return {
            "scale_set": self.address.resource_id,
            "policy": self.policy.to_dict(),
            "changes": list(self.changes),
            "version": self.version,
            "batches": [list(ids) for ids in self.batches],
            "lowest": dict(self.lowest),
            "warnings": list(self.warnings),
            "stages": list(self.stages),
            "seconds": self.seconds,
            "requests": self.requests,
        }

    def __repr__(self) -> str:
        return f"<Plan {markup.visible(self._headline)} in {markup.batches(len(self.batches))}>"

    @property
    def _headline(self) -> str:
        moved = sum(map(len, self.batches))
        return f"{self.address.vmss_name}: {moved} of {len(self.observation.members)} instances"

    def _repr_html_(self) -> str:
        rows = [("change", change) for change in self.changes] or [("change", "none: the model is as wanted")]
        rows += [(f"batch {number}", markup.listing(ids)) for number, ids in enumerate(self.batches, 1)]
        rows += [("stays healthy", f"at least {self.lowest.get('', 0)} instances")]
        rows += [("takes about", f"{self.seconds / 60:.0f} min and {self.requests} requests")]
        return markup.card(self._headline, [*rows, *(("warning", one) for one in self.warnings)])

    def __str__(self) -> str:
        lines = [self._headline]
        lines += [f"  change  {change}" for change in self.changes] or ["  change  none: the model is as wanted"]
        lines += [f"  batch {number:>2}  {markup.listing(ids)}" for number, ids in enumerate(self.batches, 1)]
        least = self.lowest.get("", 0)
        places = [f"{place}: {left}" for place, left in self.lowest.items() if place.startswith("zone")]
        shown = f" ({', '.join(places)})" if places else ""
        stay = f"at least {least} stay healthy{shown}"
        lines.append(f"  {stay}; about {self.seconds / 60:.0f} min and {self.requests} requests")
        lines += [f"  warning: {one}" for one in self.warnings]
        return "\n".join(markup.visible(line, 1000) for line in lines)


def take_snapshot(arm: Arm, address: ScaleSet, *, flexible: bool = False) -> Snapshot:
    """A Snapshot of all instances of a scale set as they are now.

    `flexible`: the set is in Flexible orchestration mode, so the view of each VM is read by itself.

    Raises: InvalidInput for wrong arguments, ArmError when Azure refuses the list.
    """
    arguments.typed(Arm, arm=arm)
    arguments.typed(ScaleSet, address=address)
    arguments.switch(flexible, "flexible")
    before = arm.requests
    found = _viewed(arm, address) if flexible else iter_vmss_vms(arm, *address, expand="instanceView")
    seen = observe(found, arm.time())
    return seen._replace(requests=arm.requests - before)


def _viewed(arm: Arm, address: ScaleSet) -> Iterator[JsonDict]:
    for item in iter_vmss_vms(arm, *address):
        if not isinstance(item, dict) or "instanceId" not in item:  # as in other lists, what is no instance is left out
            continue
        one: JsonDict = {**item}
        try:
            view = get_flexible_vm_instance_view(arm, address[0], address[1], one["instanceId"])
        except NotFoundError:
            yield one
        else:
            yield {**one, "properties": {**(one.get("properties") or {}), "instanceView": view}}


def is_flexible(vmss: Mapping[str, Any]) -> bool:
    return str((vmss.get("properties") or {}).get("orchestrationMode", "")).lower() == "flexible"


@conceal_locals
def plan(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: Change = None,
    *,
    policy: Policy | None = None,
    accept_failed: bool = False,
    unfinished_journal: str | None = None,
) -> Plan:
    """What an upgrade would do. Reads only.

    `change`: an image version ("latest" is resolved and pinned), a function on the model as `update_vmss` takes it, or
    None to bring instances to the model as it is. `unfinished_journal`: of an upgrade that did not end and is planned
    anew; instances that it has deallocated are started by this one. Raises PlanRefused, with the reason, for what could
    not be kept.
    """
    checks.of_plan(change, policy)
    arguments.switch(accept_failed, "accept_failed")
    address = ScaleSet(subscription_id, resource_group, vmss_name)
    checks.path(unfinished_journal, "unfinished_journal")
    arm = arm_of(auth)
    deallocated = _unfinished(arm, address, unfinished_journal)
    return planned(arm, address, change, policy or Policy(), accept_failed=accept_failed, deallocated=deallocated)


def _unfinished(arm: Arm, address: ScaleSet, journal: str | None) -> frozenset[str]:
    """The instances that the upgrade in a journal has deallocated, and not started; InvalidInput for another set's."""
    if journal is None:
        return frozenset()
    entries = _journal.read_trusted(journal)
    first = _journal.begun(entries)
    if ScaleSet.parse(first["scale_set"]).resource_id.lower() != address.resource_id.lower():
        raise InvalidInput(f"unfinished_journal is of another scale set: {first['scale_set']}")
    trust.refuse_other_endpoint(first, arm.base)
    return left_deallocated(_journal.fold(entries))


def planned(
    arm: Arm,
    address: ScaleSet,
    change: Change,
    policy: Policy,
    *,
    accept_failed: bool = False,
    only: frozenset[str] | None = None,
    image: str = "",
    broken: frozenset[str] = frozenset(),
    deallocated: frozenset[str] = frozenset(),
) -> Plan:
    """The plan of a change, or of one leg of a rollback: `only` these instances, to this exact `image`.

    `broken`: those whose upgrade had failed, which serve nobody; `deallocated`: by an upgrade that did not end.
    """
    before: JsonDict = {**get_vmss(arm, *address)}
    after, warnings = changed(arm, address, before, change)
    preflight.refuse_by_model(before, after, accept_failed)
    seen = _plausible_look(arm, address, before)
    seen = seen._replace(source=health_source(before, after, seen))
    version, patch = pin(after), model.merge_patch(before, after)
    renews = preflight.renews(model.without_read_only(before), model.without_read_only(after))
    parked = frozenset(name for name in deallocated & set(seen.members) if seen.members[name].power == "deallocated")
    preflight.refuse_by_instances(policy, seen, renews=renews, deallocated=parked)
    then = behind(seen) if renews else seen
    hosted = _hosted(arm, address, before, after, seen, policy)
    goal = Leg(version, image, only)
    facts: Any = {"broken": broken, "flexible": is_flexible(before), "deallocated": parked}
    state = replace(selection.plain(policy, then, version, goal), **facts)
    anew = preflight.anew(after, patch, version)
    stages = preflight.stages(after, patch, hosted=hosted, remade=_remade(goal, then, anew), deallocated=bool(parked))
    preflight.refuse_by_disruption(policy, stages)
    noted = _lock.noted_journal(address.resource_id, arm.lock_scope)
    course = _course(state, then, noted)
    warnings += preflight.warnings(before, after, seen, renews=renews, deallocated=parked, journal=noted)
    warnings += _asked(arm, address, before, after)
    warnings += _of_return(arm, address, before, after, policy, seen, course.batches)
    needs = _needs(before, after, replace(state, stages=stages, anew=anew, hosted=hosted), bool(patch))
    return Plan(
        address,
        policy,
        model.without_read_only(before),
        patch,
        tuple(str(one) for one in model.diff(model.without_read_only(before), model.without_read_only(after))),
        version,
        model.fingerprint(before),
        model.fingerprint(after),
        tuple(course.batches),
        course.lowest | selection.lowest_by_domain(seen, course.batches),
        seen,
        tuple(warnings),
        stages,
        *forecast(policy, [len(ids) for ids in course.batches], needs, seen.requests),
        anew=anew,
        hosted=hosted,
        source=seen.source,
        outline=model.outline(model.apply_patch(model.without_read_only(before), patch)),
        deallocated=tuple(sorted(parked)),
    )


def _course(state: State, snapshot: Snapshot, journal: str) -> selection.Course:
    """The batches of a plan; PlanRefused where they come to no end. `journal`: of an unfinished upgrade, or ""."""
    course = selection.course(state, snapshot)
    if course.why_not:
        hints = preflight.left_deallocated(snapshot, state.deallocated, journal)
        raise PlanRefused("; ".join((course.why_not, *hints)))
    return course


def _plausible_look(arm: Arm, address: ScaleSet, before: JsonDict) -> Snapshot:
    """All instances; a list that is shorter than the capacity is read twice before anything follows from it."""
    there = seen_model(before)
    seen = take_snapshot(arm, address, flexible=is_flexible(before))
    if len(seen.members) < there.capacity:
        seen = take_snapshot(arm, address, flexible=is_flexible(before))
    return seen._replace(model=there)


def seen_model(found: Mapping[str, Any]) -> Model:
    """The model as a snapshot has it."""
    properties, capacity = found.get("properties") or {}, (found.get("sku") or {}).get("capacity")
    state = str(properties.get("provisioningState", "Succeeded"))
    return Model(model.fingerprint(found), model.outline(found), capacity if isinstance(capacity, int) else 0, state)


def health_source(before: Mapping[str, Any], after: Mapping[str, Any], seen: Snapshot) -> HealthSource:
    """What the change makes of the model's health source; a change that is half done is recognized by its instances."""
    had, has = preflight.watches_health(before), preflight.watches_health(after)
    if not has:
        return "leaves" if had or seen.reports else "kept"
    old = [member for member in seen.members.values() if not member.latest]
    half_done = bool(old) and not any(member.health for member in old)
    return "arrives" if not had or half_done else "required"


def _remade(goal: Leg, seen: Snapshot, anew: str) -> bool:
    """Whether the disk of any instance is still to be made from the image of this plan."""
    return anew == "shown" and not all(selection.has_image(goal, member) for member in seen.members.values())


def _needs(before: JsonDict, after: JsonDict, state: State, writes: bool) -> Needs:
    """What a forecast must know of the change. `state`: as a plan has it, with the stages."""
    repairs = ((before.get("properties") or {}).get("automaticRepairsPolicy") or {}).get("enabled") is True
    facts = (writes, preflight.watches_health(after), repairs, is_flexible(before))
    return Needs(state.stages, state.anew, state.hosted, *facts)


def changed(arm: Arm, address: ScaleSet, before: JsonDict, change: Change) -> tuple[JsonDict, list[str]]:
    """The model as it shall be, and what to warn of."""
    if change is None:
        return copy.deepcopy(before), []
    if isinstance(change, str):
        version = resolved(arm, address, before, change) if change == "latest" else change
        return {**edits.set_image_version(before, version).model}, []
    after, warnings = edits.changed_by(cast(Vmss, before), change)
    return {**after}, warnings


def resolved(arm: Arm, address: ScaleSet, before: JsonDict, version: str) -> str:
    """The concrete version; NotFoundError when there is no such image in the region."""
    named, region = preflight.image(before), wire.region(before.get("location"))
    if named.get("publisher"):
        publisher, offer, sku = (str(named.get(key, "")) for key in ("publisher", "offer", "sku"))
        where = (address.subscription_id, str(before.get("location", "")))
        return images.resolve_image_version(arm, *where, publisher, offer, sku, version)
    if version.lower() == "latest" and (gallery := preflight.gallery(before)):
        with contextlib.suppress(AuthError, ForbiddenError, NotFoundError):  # what may not be read stays `latest`
            return images.newest_gallery_version(_gallery_versions(arm, gallery), region) or version
    return version


# --- what only Azure can say ------------------------------------------------------------------------------------------


def _asked(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    """What Azure says of the image, the quota and our rights: refused, or warned of."""
    found = _of_image(arm, address, before, after) + _of_quota(arm, address, before, after)
    return found + _of_tracking(arm, address, before)


def _of_image(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    """A new image is there, in this region, under the plan that the scale set has."""
    named, region = preflight.image(after), wire.region(after.get("location"))
    if named == preflight.image(before):
        return []
    if named.get("publisher"):
        preflight.refuse_by_plan(after, _platform_version(arm, address, after))
        return []
    gallery = preflight.gallery(after)
    if not gallery:
        return ["whether the image is there was not looked at: Azure says so when the model is written"]
    try:
        versions = _gallery_versions(arm, gallery)
    except (AuthError, ForbiddenError):  # 401: a gallery of another tenant
        return ["the gallery may not be read from here, so whether the image is in this region was not looked at"]
    preflight.refuse_by_gallery(gallery, versions, images.newest_gallery_version(versions, region), region)
    return []


def _platform_version(arm: Arm, address: ScaleSet, after: JsonDict) -> Mapping[str, Any]:
    """A version of a platform image as Azure shows it; NotFoundError, with the newest, when it does not exist."""
    named = preflight.image(after)
    publisher, offer, sku, version = (str(named.get(key, "")) for key in ("publisher", "offer", "sku", "version"))
    where = (address.subscription_id, str(after.get("location", "")))
    if version.lower() == "latest":
        version = resolved(arm, address, after, version)
    try:
        return images.get_image_version(arm, *where, publisher, offer, sku, version)
    except NotFoundError:
        resolved(arm, address, after, version)
        return {}


def _gallery_versions(arm: Arm, gallery: Mapping[str, str]) -> list[JsonDict]:
    where = (gallery["subscription"], gallery["group"], gallery["gallery"], gallery["image"])
    return images.list_gallery_image_versions(arm, *where)


def _hosted(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict, seen: Snapshot, policy: Policy) -> bool:
    """Whether instances can have the wanted size where they are. What cannot be read is taken for a yes.

    Once the model has the size, Azure offers it in any case: instances that have another are deallocated if they may.
    """
    wanted = preflight.size(after).lower()
    sizes = {preflight.size(before).lower(), *(member.size.lower() for member in seen.members.values())} - {""}
    if not wanted or sizes <= {wanted}:
        return True
    if wanted == preflight.size(before).lower():
        return policy.max_disruption != "deallocate"
    with contextlib.suppress(ForbiddenError, NotFoundError):
        offered = [str((one.get("sku") or {}).get("name", "")).lower() for one in list_vmss_skus(arm, *address)]
        return wanted in offered
    return True


def image_problem(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> str:
    """Why instances cannot be brought to the image of a model, "" when they can, or when it may not be read."""
    try:
        if preflight.image(after).get("publisher"):
            preflight.refuse_a_deprecated_image(_platform_version(arm, address, after))
        _of_image(arm, address, before, after)
    except (PlanRefused, NotFoundError) as error:
        return str(error)
    except ForbiddenError:
        return ""
    return ""


def _of_return(
    arm: Arm,
    address: ScaleSet,
    before: JsonDict,
    after: JsonDict,
    policy: Policy,
    seen: Snapshot,
    batches: list[tuple[str, ...]],
) -> list[str]:
    """What a rollback could not bring back: refused where the policy counts on one, else warned of."""
    if preflight.image(before) == preflight.image(after):
        return []
    going = [seen.members[name] for ids in batches for name in ids if name in seen.members]
    unknown = [member.instance_id for member in going if not member.image]
    problems = [f"{markup.listing(unknown)}: what exactly they run is not known"] if unknown else []
    for old in sorted({member.image for member in going if member.image}):
        if why := image_problem(arm, address, after, _with_image(before, old)):
            ids = [member.instance_id for member in going if member.image == old]
            problems.append(f"{markup.listing(ids)}: {why}")
    texts = [f"a rollback could not bring back {problem}" for problem in problems]
    if texts and policy.rollback_on_failure:
        raise PlanRefused(f"rollback_on_failure, and {'; '.join(texts)}")
    return texts


def _with_image(found: JsonDict, image: str) -> JsonDict:
    """A model that names this exact image."""
    reference = reference_of(image)
    return dict(_imaged(_imaged(found, None), reference))


def _imaged(found: Any, reference: JsonDict | None) -> Any:
    storage: JsonDict = {"storageProfile": {"imageReference": reference}}
    return model.apply_patch(found, {"properties": {"virtualMachineProfile": storage}})


def _of_quota(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    needed = preflight.more_cores(before, after)
    if needed is None:
        return ["the VM size does not say how many vCPUs it has, so the quota was not looked at"]
    if needed > 0:
        usages = images.list_usages(arm, address.subscription_id, str(after.get("location", "")))
        preflight.refuse_by_quota(needed, usages, "the change")
    return []


def _of_tracking(arm: Arm, address: ScaleSet, vmss: JsonDict) -> list[str]:
    """Whether the status of an operation may be read. Rights on the scale set alone begin what they cannot follow.

    It is asked for one that never was: 404 is a yes. A warning only, since Azure may judge a real one otherwise; the
    write of the model, which is followed before the first batch, shows it for certain.
    https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    region = wire.region(vmss.get("location"))
    place = f"/subscriptions/{address.subscription_id}/providers/Microsoft.Compute/locations/{region}"
    try:
        arm.get(f"{place}/operations/{NO_OPERATION}")
    except ForbiddenError:
        grant = "Grant a role on the resource group, not on the scale set alone"
        return [
            f"the status of operations may not be read with these rights, and the first one would pause it. {grant}"
        ]
    except AzurermLiteError:
        pass
    return []


def pin(after: Mapping[str, Any]) -> str:
    """The version, or the image, that every instance must run in the end; "" where the model's word is all there is."""
    named = preflight.image(after)
    version = image_version(named)
    open_end = version.lower() == "latest" or (preflight.gallery(after) and not preflight.gallery(after)["version"])
    return "" if open_end or not (named.get("publisher") or named.get("id")) else version
