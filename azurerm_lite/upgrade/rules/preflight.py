"""What is known before anything is written: why an upgrade would fail, what to warn of, and how it disrupts. PURE.

Only judgement stands here; what there is to judge (models, instances, images, quota) was read by `planning`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from ... import model
from ..._common import markup
from ..._http import wire
from ...errors import AzurermLiteError, InvalidInput, printable
from ...model import edits
from . import selection
from .policy import DISRUPTIONS, Policy
from .snapshot import InstanceStatus, Snapshot, image_version
from .state import Request

MOST_MODELS = 10  # https://github.com/MicrosoftDocs/azure-docs/issues/103472
UNMANAGED = "https://learn.microsoft.com/azure/virtual-machines/unmanaged-disks-deprecation"
_GALLERY = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Compute"
    r"/galleries/(?P<gallery>[^/]+)/images/(?P<image>[^/]+)(/versions/(?P<version>[^/]+))?",
    re.IGNORECASE,
)
# From the third version on the first number of a size's name is its vCPUs, before that it is often a rank.
# https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
_SIZE = re.compile(r"[A-Za-z]+_[A-Z]+(?P<cores>\d+).*_v(?P<series>\d+)")


class PlanRefused(AzurermLiteError):
    """An upgrade that would not keep what it promises, or that Azure would refuse. Nothing was changed."""


# --- what a model says -----------------------------------------------------------------------------------------------


def profile(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (vmss.get("properties") or {}).get("virtualMachineProfile") or {}


def image(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (profile(vmss).get("storageProfile") or {}).get("imageReference") or {}


def os_disk(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (profile(vmss).get("storageProfile") or {}).get("osDisk") or {}


def size(vmss: Mapping[str, Any]) -> str:
    return str((vmss.get("sku") or {}).get("name") or "")


def kind(vmss: Mapping[str, Any]) -> str:
    """Which kind of image a model names; "" when it names none."""
    named = image(vmss)
    if named.get("publisher"):
        return "a platform image"
    if named.get("sharedGalleryImageId") or named.get("communityGalleryImageId"):
        return "a gallery image"
    if resource := str(named.get("id") or "").lower():
        return "a gallery image" if "/galleries/" in resource else "a managed image"
    return "an image by URI" if "image" in os_disk(vmss) else ""


def gallery(vmss: Mapping[str, Any]) -> dict[str, str]:
    """subscription, group, gallery, image and version ("" for the newest) of a gallery image; {} for another kind."""
    match = _GALLERY.fullmatch(re.sub(r"/versions/latest$", "", str(image(vmss).get("id") or ""), flags=re.IGNORECASE))
    return {key: value or "" for key, value in match.groupdict().items()} if match else {}


def renews(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether instances fall behind when the one becomes the other. Capacity, tags and policies leave them as they are.

    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    return _made_from(before) != _made_from(after)


def _made_from(vmss: Mapping[str, Any]) -> tuple[Any, ...]:
    group = (vmss.get("properties") or {}).get("proximityPlacementGroup")
    zones = None if model.is_no_zone(vmss.get("zones")) else vmss.get("zones")
    return profile(vmss), size(vmss), zones, group


def watches_health(vmss: Mapping[str, Any]) -> bool:
    """Whether the model has a health source: a load balancer's probe or the Application Health extension."""
    extensions = (profile(vmss).get("extensionProfile") or {}).get("extensions") or []
    kinds = [
        str((extension.get("properties") or {}).get("type", ""))
        for extension in extensions
        if isinstance(extension, Mapping)
    ]
    probe = (profile(vmss).get("networkProfile") or {}).get("healthProbe")
    return bool(probe) or any(name.lower().startswith("applicationhealth") for name in kinds)


def grace_seconds(vmss: Mapping[str, Any]) -> float:
    """How long a fresh application may be Initializing by its Application Health extension, 0.0 where none says so."""
    extensions = (profile(vmss).get("extensionProfile") or {}).get("extensions") or []
    settings = [(extension.get("properties") or {}) for extension in extensions if isinstance(extension, Mapping)]
    health = [
        properties["settings"].get("gracePeriod")
        for properties in settings
        if str(properties.get("type", "")).lower().startswith("applicationhealth")
        and isinstance(properties.get("settings"), Mapping)
    ]
    return max((float(value) for value in health if isinstance(value, int | float)), default=0.0)


# --- why it would be refused -----------------------------------------------------------------------------------------


def refuse_by_model(before: Mapping[str, Any], after: Mapping[str, Any], accept_failed: bool) -> None:
    properties = before.get("properties") or {}
    mode = str((properties.get("upgradePolicy") or {}).get("mode", "Manual"))
    if mode.lower() != "manual":
        raise PlanRefused(
            f"the upgrade mode is {mode}: writing the model would make Azure upgrade instances by itself, at its own "
            "pace. Set upgradePolicy.mode to Manual first"
        )
    state = str(properties.get("provisioningState", "Succeeded"))
    if state == "Failed" and not accept_failed:
        raise PlanRefused("the scale set's provisioning state is Failed; accept_failed=True goes on all the same")
    if state not in ("Succeeded", "Failed"):
        raise PlanRefused(f"the scale set is {state}: another operation holds it. Wait for that to end")
    kind_before, kind_after = kind(before), kind(after)
    if kind_before and kind_before != kind_after:
        raise PlanRefused(
            f"this scale set runs {kind_before}, and the change asks for {kind_after or 'none'}: Azure refuses to "
            "change the kind of image. Make a new scale set beside it"
        )


def refuse_by_plan(after: Mapping[str, Any], version: Mapping[str, Any]) -> None:
    """Of a platform image version as Azure shows it: the model must name the purchase plan that the image has."""
    needed, has = (version.get("properties") or {}).get("plan") or {}, after.get("plan") or {}
    if needed and _plan(needed) != _plan(has):
        named = "/".join(str(needed.get(key, "")) for key in ("publisher", "product", "name"))
        raise PlanRefused(
            f"the image is sold under the plan {named}, and this scale set has "
            f"{'another plan' if has else 'no plan'}: a plan cannot be changed. Make a new scale set beside it"
        )
    if has and not needed:
        raise PlanRefused(
            "this scale set has a purchase plan and the image has none: a plan cannot be taken away. Choose an image "
            "of that plan, or make a new scale set beside it"
        )


def refuse_a_deprecated_image(version: Mapping[str, Any]) -> None:
    """Of a platform image version as Azure shows it: what is deprecated makes no instances any more.

    https://learn.microsoft.com/azure/virtual-machines/deprecated-images
    """
    status = (version.get("properties") or {}).get("imageDeprecationStatus") or {}
    if str(status.get("imageState", "")).lower() == "deprecated":
        raise PlanRefused(f"the image version {version.get('name', '')} is deprecated: no instance can be made from it")


def _plan(plan: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(plan.get(key, "")).lower() for key in ("publisher", "product", "name"))


def refuse_by_gallery(
    named: Mapping[str, str], versions: Iterable[Mapping[str, Any]], newest: str | None, at: str
) -> None:
    """A version of a gallery image must be there, finished and replicated. `newest`: of those, in the region."""
    name = f"{named['gallery']}/{named['image']}"
    if not named["version"]:
        if newest is None:
            raise PlanRefused(f"no version of {name} can be used in {at}: replicate one there first")
        return
    version = next((item for item in versions if str(item.get("name")) == named["version"]), None)
    if version is None:
        raise PlanRefused(f"{name} has no version {named['version']}; the newest in {at} is {newest or 'none'}")
    properties = version.get("properties") or {}
    regions = (properties.get("publishingProfile") or {}).get("targetRegions") or []
    if at not in {wire.region(region.get("name")) for region in regions}:
        raise PlanRefused(f"{name} {named['version']} is not replicated to {at}: add that to its target regions first")
    if properties.get("provisioningState") != "Succeeded":
        state = properties.get("provisioningState")
        raise PlanRefused(f"{name} {named['version']} is {state}: wait until it is replicated")


def refuse_by_instances(policy: Policy, snapshot: Snapshot, *, renews: bool, deallocated: Collection[str] = ()) -> None:
    if unknown := [name for name in policy.instances or () if name not in snapshot.members]:
        known = tuple(snapshot.members)
        raise InvalidInput(f"no such instance: {', '.join(unknown[:10])} (there are {markup.listing(known)})")
    chosen = [*filter(selection.choice(policy), snapshot.members.values())]
    if snapshot.members and not chosen and policy.instances != ():  # none at all is what a rollback may ask for
        raise InvalidInput("no instance is in what was selected")
    protected = [instance.instance_id for instance in chosen if instance.protected]
    if protected and policy.on_protected == "fail":
        raise PlanRefused(f"protected from scale-set actions: {', '.join(protected[:10])}")
    stopped = [
        instance.instance_id for instance in chosen if instance.is_stopped and instance.instance_id not in deallocated
    ]
    if stopped and policy.on_stopped == "fail":
        raise PlanRefused(f"not running: {', '.join(stopped[:10])}")
    older_models = {(instance.version, instance.size) for instance in snapshot.members.values() if not instance.latest}
    if renews and len(older_models) + 2 > MOST_MODELS:
        raise PlanRefused(
            f"instances run {len(older_models)} older models at least, and Azure allows {MOST_MODELS} with the present "
            "and the next one: bring them to the present model first, with a plan that changes nothing"
        )


# --- how it disrupts -------------------------------------------------------------------------------------------------


_NEEDS = {
    "reimage": "needs the OS disk made anew",
    "deallocate": "is to a VM size that the present hardware does not have, so instances must be deallocated first",
}


def anew(after: Mapping[str, Any], patch: Mapping[str, Any], version: str) -> Literal["", "shown", "always"]:
    """Whether an instance shows that its OS disk must be made anew ("shown"), does not ("always"), or needs none.

    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    system = ((patch.get("properties") or {}).get("virtualMachineProfile") or {}).get("osProfile") or {}
    if {"customData", "adminPassword"} & set(system):
        return "always"
    if not os_disk(after).get("diffDiskSettings"):
        return ""
    storage = ((patch.get("properties") or {}).get("virtualMachineProfile") or {}).get("storageProfile") or {}
    is_pinned = bool(version) and (not patch or "imageReference" in storage)
    return "shown" if is_pinned else "always" if patch else ""


def stages(
    after: Mapping[str, Any],
    patch: Mapping[str, Any],
    *,
    hosted: bool = True,
    remade: bool = False,
    deallocated: bool = False,
) -> tuple[Request, ...]:
    """What must be done to an instance for the change to reach it. `hosted`: its hardware has the wanted size.

    `remade`: the disks of instances do not have the image yet; `deallocated`: an earlier upgrade has left some so.
    Which of it an instance needs, it shows itself.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    moved: tuple[Request, ...] = ("upgrade",) if hosted else ("deallocate", "upgrade", "start")
    if hosted and deallocated:
        moved = ("upgrade", "start")
    return (*moved, "reimage") if remade or (patch and anew(after, patch, "")) else moved


def refuse_by_disruption(policy: Policy, needed: tuple[str, ...]) -> None:
    allowed = DISRUPTIONS.index(policy.max_disruption)
    worst = max((request for request in needed if request in DISRUPTIONS), key=DISRUPTIONS.index)
    if DISRUPTIONS.index(worst) > allowed:
        raise PlanRefused(
            f"this change {_NEEDS[worst]}, and max_disruption={policy.max_disruption!r} forbids that. "
            f"max_disruption={worst!r} allows it"
        )


# --- quota -----------------------------------------------------------------------------------------------------------


def cores(vm_size: str) -> int | None:
    """The vCPUs of a VM size by its name; None when the name does not say."""
    match = _SIZE.match(vm_size)
    return int(match["cores"]) if match and int(match["series"]) >= 3 else None


def more_cores(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """How many vCPUs more the set would have; None when a name does not say."""
    had, has = (cores(size(vmss)) for vmss in (before, after))
    few, many = (int((vmss.get("sku") or {}).get("capacity") or 0) for vmss in (before, after))
    if size(before) == size(after) and few == many:
        return 0
    return None if had is None or has is None else has * many - had * few


def refuse_by_quota(needed: int, usages: Iterable[Mapping[str, Any]], what: str) -> None:
    total = next((usage for usage in usages if (usage.get("name") or {}).get("value") == "cores"), None)
    free = int(total["limit"]) - int(total["currentValue"]) if total else needed
    if needed > free:
        raise PlanRefused(f"{what} needs {needed} vCPUs more, and the region's quota leaves {free}: raise it first")


# --- what to warn of -------------------------------------------------------------------------------------------------


def warnings(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    snapshot: Snapshot,
    *,
    renews: bool,
    deallocated: Collection[str] = (),
    journal: str = "",
) -> list[str]:
    """What somebody should know before it begins.

    `deallocated`: instances that an earlier upgrade left so, and that this one starts; `journal`: of an upgrade of this
    set that did not start all that it had deallocated, as far as this machine knows.
    """
    instances = snapshot.members.values()
    messages = _behind(before, instances) if renews else []
    groups = (
        ("protected from scale-set actions and left alone", [instance for instance in instances if instance.protected]),
        ("not healthy before it begins", [instance for instance in instances if not snapshot.is_available(instance)]),
        (
            "not running, and not started by it",
            [instance for instance in instances if instance.is_stopped and instance.instance_id not in deallocated],
        ),
        (
            "deallocated by an upgrade that did not end, and started by this one",
            [instance for instance in instances if instance.instance_id in deallocated],
        ),
        (
            "being changed by somebody else, and waited for",
            [instance for instance in instances if instance.state in selection.MOVING],
        ),
    )
    messages += [
        f"{what}: {markup.listing([instance.instance_id for instance in affected])}"
        for what, affected in groups
        if affected
    ]
    messages += explain_deallocated(snapshot, deallocated, journal)
    capacity = snapshot.model.capacity if snapshot.model is not None else 0
    if len(snapshot.members) < capacity:
        messages.append(
            f"{capacity - len(snapshot.members)} of {capacity} instances are missing, and count against the floor"
        )
    if watches_health(before) and not watches_health(after):
        messages.append("the change takes the health source away: what is upgraded counts by whether it runs")
    if "image" in os_disk(after):
        messages.append(f"unmanaged disks are retired: {UNMANAGED}")
    if not watches_health(before) and watches_health(after):
        messages.append(
            "the change brings a health source: what is not upgraded yet reports nothing, and counts as it is"
        )
    messages += edits.unseen_secrets(before, after)
    if model.without_secrets(after) != after:
        messages.append(
            "passwords, customData and protected settings are in no journal, and no rollback brings old ones back"
        )
    if not snapshot.reports and snapshot.source != "required":
        messages.append("nothing reports the health of the application: running and provisioned is all that is known")
    if silent := selection.list_silent(snapshot):
        messages.append(f"{markup.listing(silent)}: running, and nothing reports their health: they are not available")
    if str(image(after).get("version", "")) == "latest":
        messages.append("the model says `latest`: a newer image shows in no instance until a version is named")
    return messages


def explain_deallocated(snapshot: Snapshot, deallocated: Collection[str], journal: str) -> list[str]:
    """How to start the other deallocated instances, where an upgrade may have left them so: see `warnings`."""
    ids = [
        name
        for name, instance in snapshot.members.items()
        if instance.power == "deallocated" and name not in deallocated
    ]
    if not ids:
        return []
    way = "resume(auth, journal) starts them, or plan with unfinished_journal=journal"
    cause = f"the upgrade in {printable(journal, 300)} did not end:" if journal else "where an upgrade left them so,"
    return [f"deallocated: {markup.listing(ids)}; {cause} {way}"]


def _behind(before: Mapping[str, Any], instances: Iterable[InstanceStatus]) -> list[str]:
    """What instances missed before, which they get together with this change; and how they differ, if that shows."""
    drifted = [instance for instance in instances if not instance.latest]
    if not drifted:
        return []
    model_version, model_size = image_version(image(before)), size(before)
    versions = sorted(
        {instance.version for instance in drifted if instance.version and instance.version != model_version}
    )
    sizes = sorted({instance.size for instance in drifted if instance.size and instance.size != model_size})
    differences = "; ".join(
        f"{what} {', '.join(values[:3])}" for what, values in (("they run", versions), ("are of size", sizes)) if values
    )
    ids = markup.listing([instance.instance_id for instance in drifted])
    details = f"{ids}; {differences}" if differences else ids
    behind = f"{len(drifted)} instances are behind the present model already ({details})"
    return [f"{behind}: they get what they missed together with this change"]
