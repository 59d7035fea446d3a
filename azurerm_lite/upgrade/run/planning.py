"""Plan an upgrade: the change of the model, the batches, the healthy instances that remain, the time, the requests.

A Plan is an immutable value. `upgrade` carries it out, and refuses it when the scale set has changed since.
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
from ..rules.state import Leg, State, find_deallocated
from . import journal as _journal
from . import lock as _lock

Change = str | Callable[[Any], Any] | None
NO_OPERATION = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What an upgrade will do.

    `lowest`: the fewest healthy instances during the upgrade, of the whole set ("") and by zone, placement group and
    update domain. `seconds`, `requests`: estimates. `observation`: the Snapshot that the plan is based on.
    """

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
    takes_back: bool = False  # True for a rollback, which cannot be rolled back itself
    # For a rollback: one model for each old version, what cannot be rolled back, and the instances that had failed.
    legs: tuple[JsonDict, ...] = field(default=(), repr=False)
    unreturnable: tuple[str, ...] = ()
    broken: tuple[str, ...] = field(default=(), repr=False)
    # How the instances show whether they are upgraded.
    anew: str = field(default="", repr=False)
    hosted: bool = field(default=True, repr=False)
    source: HealthSource = field(default="kept", repr=False)
    outline: str = field(default="", repr=False)
    deallocated: tuple[str, ...] = ()  # by an unfinished upgrade; this upgrade starts them

    def to_dict(self) -> JsonDict:
        """The plan as a JSON object."""
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
        rows = [("change", change) for change in self.changes] or [("change", "none: the model stays as it is")]
        rows += [(f"batch {number}", markup.listing(ids)) for number, ids in enumerate(self.batches, 1)]
        rows += [("stays healthy", f"at least {self.lowest.get('', 0)} instances")]
        rows += [("takes about", f"{self.seconds / 60:.0f} min and {self.requests} requests")]
        return markup.card(self._headline, [*rows, *(("warning", warning) for warning in self.warnings)])

    def __str__(self) -> str:
        lines = [self._headline]
        lines += [f"  change  {change}" for change in self.changes] or ["  change  none: the model stays as it is"]
        lines += [f"  batch {number:>2}  {markup.listing(ids)}" for number, ids in enumerate(self.batches, 1)]
        least = self.lowest.get("", 0)
        places = [f"{place}: {count}" for place, count in self.lowest.items() if place.startswith("zone")]
        zones = f" ({', '.join(places)})" if places else ""
        stay = f"at least {least} stay healthy{zones}"
        lines.append(f"  {stay}; about {self.seconds / 60:.0f} min and {self.requests} requests")
        lines += [f"  warning: {warning}" for warning in self.warnings]
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
    items = _iter_with_views(arm, address) if flexible else iter_vmss_vms(arm, *address, expand="instanceView")
    snapshot = observe(items, arm.time())
    return snapshot._replace(requests=arm.requests - before)


def _iter_with_views(arm: Arm, address: ScaleSet) -> Iterator[JsonDict]:
    for item in iter_vmss_vms(arm, *address):
        if not isinstance(item, dict) or "instanceId" not in item:  # other lists skip such items too
            continue
        instance: JsonDict = {**item}
        try:
            view = get_flexible_vm_instance_view(arm, address[0], address[1], instance["instanceId"])
        except NotFoundError:
            yield instance
        else:
            yield {**instance, "properties": {**(instance.get("properties") or {}), "instanceView": view}}


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
    """Plan the upgrade of a scale set, with read requests only.

    `change`: an image version ("latest" is resolved and pinned), a function on the model as `update_vmss` takes it, or
    None to bring the instances to the present model. `policy`: the defaults of Policy where it is None.
    `accept_failed`: plan even when the provisioning state of the scale set is Failed.
    `unfinished_journal`: the path of the journal of an unfinished upgrade of this scale set; this upgrade starts the
    instances that the other one has deallocated.

    Raises: PlanRefused, with the reason, when the policy cannot be kept or Azure would refuse the change; InvalidInput
    for wrong arguments; ArmError when Azure refuses a read; TransportError without an answer.
    """
    checks.of_plan(change, policy)
    arguments.switch(accept_failed, "accept_failed")
    address = ScaleSet(subscription_id, resource_group, vmss_name)
    checks.path(unfinished_journal, "unfinished_journal")
    arm = arm_of(auth)
    deallocated = _deallocated_before(arm, address, unfinished_journal)
    return make_plan(arm, address, change, policy or Policy(), accept_failed=accept_failed, deallocated=deallocated)


def _deallocated_before(arm: Arm, address: ScaleSet, journal: str | None) -> frozenset[str]:
    """The instances that an unfinished upgrade has deallocated; InvalidInput for a journal of another scale set."""
    if journal is None:
        return frozenset()
    entries = _journal.read_trusted(journal)
    first = _journal.begin_entry(entries)
    if ScaleSet.parse(first["scale_set"]).resource_id.lower() != address.resource_id.lower():
        raise InvalidInput(f"unfinished_journal is of another scale set: {first['scale_set']}")
    trust.refuse_other_endpoint(first, arm.base)
    return find_deallocated(_journal.fold(entries))


def make_plan(
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
    """Plan a change, or one leg of a rollback: the instances `only`, to the exact `image`.

    `broken`: instances whose upgrade had failed; they are not available. `deallocated`: by an unfinished upgrade.
    """
    before: JsonDict = {**get_vmss(arm, *address)}
    after, warnings = changed_model(arm, address, before, change)
    preflight.refuse_by_model(before, after, accept_failed)
    snapshot = _take_plausible_snapshot(arm, address, before)
    snapshot = snapshot._replace(source=health_source(before, after, snapshot))
    version, patch = pin(after), model.merge_patch(before, after)
    bare_before, bare_after = model.without_read_only(before), model.without_read_only(after)
    renews, parked = preflight.renews(bare_before, bare_after), _still_deallocated(deallocated, snapshot)
    preflight.refuse_by_instances(policy, snapshot, renews=renews, deallocated=parked)
    start = behind(snapshot) if renews else snapshot
    hosted = _offers_size(arm, address, before, after, snapshot, policy)
    goal, anew = Leg(version, image, only), preflight.anew(after, patch, version)
    facts: Any = {"broken": broken, "flexible": is_flexible(before), "deallocated": parked}
    state = replace(selection.plain(policy, start, version, goal), **facts)
    makes_disks = _makes_new_disks(goal, start, anew)
    stages = preflight.stages(after, patch, hosted=hosted, remade=makes_disks, deallocated=bool(parked))
    preflight.refuse_by_disruption(policy, stages)
    journal_path = _lock.read_journal_note(address.resource_id, arm.lock_scope)
    course = _plan_course(state, start, journal_path)
    warnings += preflight.warnings(before, after, snapshot, renews=renews, deallocated=parked, journal=journal_path)
    warnings += _check_with_azure(arm, address, before, after)
    warnings += _check_way_back(arm, address, before, after, policy, snapshot, course.batches)
    needs = _forecast_needs(before, after, replace(state, stages=stages, anew=anew, hosted=hosted), bool(patch))
    return Plan(
        address,
        policy,
        bare_before,
        patch,
        tuple(map(str, model.diff(bare_before, bare_after))),
        version,
        model.fingerprint(before),
        model.fingerprint(after),
        tuple(course.batches),
        course.lowest | selection.lowest_by_domain(snapshot, course.batches),
        snapshot,
        tuple(warnings),
        stages,
        *forecast(policy, [len(ids) for ids in course.batches], needs, snapshot.requests),
        anew=anew,
        hosted=hosted,
        source=snapshot.source,
        outline=model.outline(model.apply_patch(bare_before, patch)),
        deallocated=tuple(sorted(parked)),
    )


def _still_deallocated(names: frozenset[str], snapshot: Snapshot) -> frozenset[str]:
    """The instances of `names` that a Snapshot shows as deallocated."""
    return frozenset(name for name in names & set(snapshot.members) if snapshot.members[name].power == "deallocated")


def _plan_course(state: State, snapshot: Snapshot, journal: str) -> selection.Course:
    """The batches of a plan; PlanRefused when some instance cannot be upgraded under the policy.

    `journal`: the path of an unfinished upgrade's journal, or "".
    """
    course = selection.course(state, snapshot)
    if course.why_not:
        hints = preflight.explain_deallocated(snapshot, state.deallocated, journal)
        raise PlanRefused("; ".join((course.why_not, *hints)))
    return course


def _take_plausible_snapshot(arm: Arm, address: ScaleSet, before: JsonDict) -> Snapshot:
    """A Snapshot of all instances. A list that is shorter than the capacity may be incomplete, so it is read again."""
    current = snapshot_model(before)
    snapshot = take_snapshot(arm, address, flexible=is_flexible(before))
    if len(snapshot.members) < current.capacity:
        snapshot = take_snapshot(arm, address, flexible=is_flexible(before))
    return snapshot._replace(model=current)


def snapshot_model(vmss: Mapping[str, Any]) -> Model:
    """The Model of a Snapshot, from the scale set as GET shows it."""
    properties, capacity = vmss.get("properties") or {}, (vmss.get("sku") or {}).get("capacity")
    state = str(properties.get("provisioningState", "Succeeded"))
    return Model(model.fingerprint(vmss), model.outline(vmss), capacity if isinstance(capacity, int) else 0, state)


def health_source(before: Mapping[str, Any], after: Mapping[str, Any], snapshot: Snapshot) -> HealthSource:
    """Whether the change adds or removes the model's health source.

    "arrives" also when the present model has one and no old instance reports health: a change that is half done.
    """
    had, has = preflight.watches_health(before), preflight.watches_health(after)
    if not has:
        return "leaves" if had or snapshot.reports else "kept"
    old = [member for member in snapshot.members.values() if not member.latest]
    half_done = bool(old) and not any(member.health for member in old)
    return "arrives" if not had or half_done else "required"


def _makes_new_disks(goal: Leg, snapshot: Snapshot, anew: str) -> bool:
    """Whether any instance still needs an OS disk of the plan's image."""
    return anew == "shown" and not all(selection.has_image(goal, member) for member in snapshot.members.values())


def _forecast_needs(before: JsonDict, after: JsonDict, state: State, writes: bool) -> Needs:
    """The facts for a forecast of time and requests. `state`: the state of the plan, with its stages."""
    repairs = ((before.get("properties") or {}).get("automaticRepairsPolicy") or {}).get("enabled") is True
    facts = (writes, preflight.watches_health(after), repairs, is_flexible(before))
    return Needs(state.stages, state.anew, state.hosted, *facts)


def changed_model(arm: Arm, address: ScaleSet, before: JsonDict, change: Change) -> tuple[JsonDict, list[str]]:
    """Return the changed model and the warnings of the change."""
    if change is None:
        return copy.deepcopy(before), []
    if isinstance(change, str):
        version = resolve_version(arm, address, before, change) if change == "latest" else change
        return {**edits.set_image_version(before, version).model}, []
    after, warnings = edits.changed_by(cast(Vmss, before), change)
    return {**after}, warnings


def resolve_version(arm: Arm, address: ScaleSet, before: JsonDict, version: str) -> str:
    """Return the concrete version; NotFoundError when there is no such image in the region."""
    named, region = preflight.image(before), wire.region(before.get("location"))
    if named.get("publisher"):
        publisher, offer, sku = (str(named.get(key, "")) for key in ("publisher", "offer", "sku"))
        where = (address.subscription_id, str(before.get("location", "")))
        return images.resolve_image_version(arm, *where, publisher, offer, sku, version)
    if version.lower() == "latest" and (gallery := preflight.gallery(before)):
        with contextlib.suppress(
            AuthError, ForbiddenError, NotFoundError
        ):  # `latest` stays where the gallery may not be read
            return images.newest_gallery_version(_gallery_versions(arm, gallery), region) or version
    return version


# --- checks that ask Azure --------------------------------------------------------------------------------------------


def _check_with_azure(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    """Check the image, the quota and the rights with Azure; return the warnings.

    Raises PlanRefused or NotFoundError where Azure would refuse the change.
    """
    warnings = _check_image(arm, address, before, after) + _check_quota(arm, address, before, after)
    return warnings + _check_operation_rights(arm, address, before)


def _check_image(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    """Check that a new image exists in this region and fits the purchase plan of the scale set; return the warnings."""
    named, region = preflight.image(after), wire.region(after.get("location"))
    if named == preflight.image(before):
        return []
    if named.get("publisher"):
        preflight.refuse_by_plan(after, _platform_version(arm, address, after))
        return []
    gallery = preflight.gallery(after)
    if not gallery:
        return ["the image was not checked: Azure checks it when the model is written"]
    try:
        versions = _gallery_versions(arm, gallery)
    except (AuthError, ForbiddenError):  # 401: a gallery of another tenant
        return ["these rights do not allow reading the gallery, so the image was not checked in this region"]
    preflight.refuse_by_gallery(gallery, versions, images.newest_gallery_version(versions, region), region)
    return []


def _platform_version(arm: Arm, address: ScaleSet, after: JsonDict) -> Mapping[str, Any]:
    """The platform image of a model as Azure shows it; NotFoundError, with the newest version, when it is missing."""
    named = preflight.image(after)
    publisher, offer, sku, version = (str(named.get(key, "")) for key in ("publisher", "offer", "sku", "version"))
    where = (address.subscription_id, str(after.get("location", "")))
    if version.lower() == "latest":
        version = resolve_version(arm, address, after, version)
    try:
        return images.get_image_version(arm, *where, publisher, offer, sku, version)
    except NotFoundError:
        resolve_version(arm, address, after, version)
        return {}


def _gallery_versions(arm: Arm, gallery: Mapping[str, str]) -> list[JsonDict]:
    where = (gallery["subscription"], gallery["group"], gallery["gallery"], gallery["image"])
    return images.list_gallery_image_versions(arm, *where)


def _offers_size(
    arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict, snapshot: Snapshot, policy: Policy
) -> bool:
    """Whether the hosts of the instances offer the VM size of the new model; True when Azure does not let us read it.

    When the present model has that size already, Azure lists it even if the hosts do not offer it. Then instances of
    another size are deallocated if the policy allows it.
    """
    size = preflight.size(after).lower()
    sizes = {preflight.size(before).lower(), *(member.size.lower() for member in snapshot.members.values())} - {""}
    if not size or sizes <= {size}:
        return True
    if size == preflight.size(before).lower():
        return policy.max_disruption != "deallocate"
    with contextlib.suppress(ForbiddenError, NotFoundError):
        offered = [str((sku.get("sku") or {}).get("name", "")).lower() for sku in list_vmss_skus(arm, *address)]
        return size in offered
    return True


def image_problem(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> str:
    """The reason why instances cannot get the image of a model; "" when they can or when it may not be read."""
    try:
        if preflight.image(after).get("publisher"):
            preflight.refuse_a_deprecated_image(_platform_version(arm, address, after))
        _check_image(arm, address, before, after)
    except (PlanRefused, NotFoundError) as error:
        return str(error)
    except ForbiddenError:
        return ""
    return ""


def _check_way_back(
    arm: Arm,
    address: ScaleSet,
    before: JsonDict,
    after: JsonDict,
    policy: Policy,
    snapshot: Snapshot,
    batches: list[tuple[str, ...]],
) -> list[str]:
    """Warnings of what a rollback could not restore; PlanRefused when the policy asks for automatic rollback."""
    if preflight.image(before) == preflight.image(after):
        return []
    going = [snapshot.members[name] for ids in batches for name in ids if name in snapshot.members]
    unknown = [member.instance_id for member in going if not member.image]
    problems = [f"{markup.listing(unknown)}: the exact image that they run is not known"] if unknown else []
    for old in sorted({member.image for member in going if member.image}):
        if why := image_problem(arm, address, after, _with_image(before, old)):
            ids = [member.instance_id for member in going if member.image == old]
            problems.append(f"{markup.listing(ids)}: {why}")
    texts = [f"a rollback could not restore {problem}" for problem in problems]
    if texts and policy.rollback_on_failure:
        raise PlanRefused(f"rollback_on_failure, and {'; '.join(texts)}")
    return texts


def _with_image(vmss: JsonDict, image: str) -> JsonDict:
    """The model with this exact image."""
    reference = reference_of(image)
    return dict(_replace_image(_replace_image(vmss, None), reference))


def _replace_image(vmss: Any, reference: JsonDict | None) -> Any:
    storage: JsonDict = {"storageProfile": {"imageReference": reference}}
    return model.apply_patch(vmss, {"properties": {"virtualMachineProfile": storage}})


def _check_quota(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> list[str]:
    needed = preflight.more_cores(before, after)
    if needed is None:
        return ["the name of the VM size does not show its vCPUs, so the quota was not checked"]
    if needed > 0:
        usages = images.list_usages(arm, address.subscription_id, str(after.get("location", "")))
        preflight.refuse_by_quota(needed, usages, "the change")
    return []


def _check_operation_rights(arm: Arm, address: ScaleSet, vmss: JsonDict) -> list[str]:
    """Warn when the status of operations may not be read, as with rights on the scale set alone.

    The request names an operation that does not exist, so 404 means that the rights suffice. This is only a warning,
    since Azure may treat a real operation differently. The write of the model, before the first batch, will show it.
    https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """
    region = wire.region(vmss.get("location"))
    place = f"/subscriptions/{address.subscription_id}/providers/Microsoft.Compute/locations/{region}"
    try:
        arm.get(f"{place}/operations/{NO_OPERATION}")
    except ForbiddenError:
        grant = "Grant a role on the resource group, not on the scale set alone"
        return [f"these rights do not allow reading the status of operations, so the upgrade would pause. {grant}"]
    except AzurermLiteError:
        pass
    return []


def pin(after: Mapping[str, Any]) -> str:
    """Return the version or image id that every instance must run in the end; "" when the model does not fix it."""
    named = preflight.image(after)
    version = image_version(named)
    open_end = version.lower() == "latest" or (preflight.gallery(after) and not preflight.gallery(after)["version"])
    return "" if open_end or not (named.get("publisher") or named.get("id")) else version
