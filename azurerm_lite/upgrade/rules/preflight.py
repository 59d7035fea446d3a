"""Checks before anything is written: reasons to refuse an upgrade, warnings, and its disruption. PURE.

Nothing is read here: `planning` reads models, instances, images and quota, and passes them in.
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
# In size names of version 3 and later the first number is the vCPU count; in earlier names it may be a rank.
# https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
_SIZE = re.compile(r"[A-Za-z]+_[A-Z]+(?P<cores>\d+).*_v(?P<series>\d+)")


class PlanRefused(AzurermLiteError):
    """The upgrade would break a promise, or Azure would refuse it. Nothing was changed."""


# --- fields of a model ------------------------------------------------------------------------------------------------


def profile(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (vmss.get("properties") or {}).get("virtualMachineProfile") or {}


def image(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (profile(vmss).get("storageProfile") or {}).get("imageReference") or {}


def os_disk(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    return (profile(vmss).get("storageProfile") or {}).get("osDisk") or {}


def size(vmss: Mapping[str, Any]) -> str:
    return str((vmss.get("sku") or {}).get("name") or "")


def kind(vmss: Mapping[str, Any]) -> str:
    """The kind of image that a model names, "" for none."""
    named = image(vmss)
    if named.get("publisher"):
        return "a platform image"
    if named.get("sharedGalleryImageId") or named.get("communityGalleryImageId"):
        return "a gallery image"
    if resource := str(named.get("id") or "").lower():
        return "a gallery image" if "/galleries/" in resource else "a managed image"
    return "an image by URI" if "image" in os_disk(vmss) else ""


def gallery(vmss: Mapping[str, Any]) -> dict[str, str]:
    """The subscription, group, gallery, image and version ("" for the newest) of a gallery image; {} otherwise."""
    match = _GALLERY.fullmatch(re.sub(r"/versions/latest$", "", str(image(vmss).get("id") or ""), flags=re.IGNORECASE))
    return {key: value or "" for key, value in match.groupdict().items()} if match else {}


def renews(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the change makes instances outdated. Capacity, tags and policies do not.

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
    """The grace period of the Application Health extension in seconds, 0.0 without one."""
    extensions = (profile(vmss).get("extensionProfile") or {}).get("extensions") or []
    settings = [(extension.get("properties") or {}) for extension in extensions if isinstance(extension, Mapping)]
    health = [
        properties["settings"].get("gracePeriod")
        for properties in settings
        if str(properties.get("type", "")).lower().startswith("applicationhealth")
        and isinstance(properties.get("settings"), Mapping)
    ]
    return max((float(value) for value in health if isinstance(value, int | float)), default=0.0)


# --- reasons to refuse an upgrade -------------------------------------------------------------------------------------


def refuse_by_model(before: Mapping[str, Any], after: Mapping[str, Any], accept_failed: bool) -> None:
    """PlanRefused for an upgrade mode, a state or an image kind that does not allow this upgrade."""
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
    """PlanRefused unless the model and the platform image have the same purchase plan.

    `version`: the image version as Azure returns it.
    """
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
    """PlanRefused for a deprecated platform image: Azure creates no instances from it.

    `version`: the image version as Azure returns it.

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
    """PlanRefused unless the gallery image version exists, has succeeded and is replicated to the region.

    `named`: see `gallery`; `versions`: as Azure lists them; `newest`: the newest usable version in the region `at`.
    """
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
    if snapshot.members and not chosen and policy.instances != ():  # a rollback may select no instances
        raise InvalidInput("no instance matches the selection")
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


# --- disruption -------------------------------------------------------------------------------------------------------


_NEEDS = {
    "reimage": "needs the OS disk recreated",
    "deallocate": "needs a VM size that the present hardware does not have, so instances must be deallocated first",
}


def anew(after: Mapping[str, Any], patch: Mapping[str, Any], version: str) -> Literal["", "shown", "always"]:
    """Whether OS disks must be recreated: "" for no; "shown": instances show if it is needed; "always": they do not.

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
    """The requests that the change may need, in order. The status of each instance says which of them it needs.

    `hosted`: the present hardware offers the VM size; `remade`: some disks do not have the image yet; `deallocated`: an
    earlier upgrade has left instances deallocated.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    moved: tuple[Request, ...] = ("upgrade",) if hosted else ("deallocate", "upgrade", "start")
    if hosted and deallocated:
        moved = ("upgrade", "start")
    return (*moved, "reimage") if remade or (patch and anew(after, patch, "")) else moved


def refuse_by_disruption(policy: Policy, needed: tuple[str, ...]) -> None:
    """PlanRefused if the change needs a request that `max_disruption` forbids."""
    allowed = DISRUPTIONS.index(policy.max_disruption)
    worst = max((request for request in needed if request in DISRUPTIONS), key=DISRUPTIONS.index)
    if DISRUPTIONS.index(worst) > allowed:
        raise PlanRefused(
            f"this change {_NEEDS[worst]}, and max_disruption={policy.max_disruption!r} forbids that. "
            f"max_disruption={worst!r} allows it"
        )


# --- quota ------------------------------------------------------------------------------------------------------------


def cores(vm_size: str) -> int | None:
    """The vCPU count in the name of a VM size, None if the name has none."""
    match = _SIZE.match(vm_size)
    return int(match["cores"]) if match and int(match["series"]) >= 3 else None


def more_cores(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """How many more vCPUs the set would have, None if unknown."""
    had, has = (cores(size(vmss)) for vmss in (before, after))
    few, many = (int((vmss.get("sku") or {}).get("capacity") or 0) for vmss in (before, after))
    if size(before) == size(after) and few == many:
        return 0
    return None if had is None or has is None else has * many - had * few


def refuse_by_quota(needed: int, usages: Iterable[Mapping[str, Any]], what: str) -> None:
    """PlanRefused if the region's quota has fewer than `needed` free vCPUs. `usages`: as Azure lists them."""
    total = next((usage for usage in usages if (usage.get("name") or {}).get("value") == "cores"), None)
    free = int(total["limit"]) - int(total["currentValue"]) if total else needed
    if needed > free:
        raise PlanRefused(f"{what} needs {needed} vCPUs more, and the region's quota leaves {free}: raise it first")


# --- warnings ---------------------------------------------------------------------------------------------------------


def warnings(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    snapshot: Snapshot,
    *,
    renews: bool,
    deallocated: Collection[str] = (),
    journal: str = "",
) -> list[str]:
    """The warnings of a plan, one text each.

    `deallocated`: instances that an earlier upgrade left deallocated and this one starts; `journal`: the path of the
    journal of that upgrade, if this machine knows it.
    """
    messages = _behind(before, snapshot.members.values()) if renews else []
    messages += _about_instances(snapshot, deallocated)
    messages += explain_deallocated(snapshot, deallocated, journal)
    messages += _about_health(before, after, snapshot)
    if "image" in os_disk(after):
        messages.append(f"unmanaged disks are retired: {UNMANAGED}")
    messages += edits.protected_settings_warnings(before, after)
    if model.without_secrets(after) != after:
        messages.append(
            "passwords, customData and protected settings are not in the journal: a rollback cannot restore them"
        )
    if str(image(after).get("version", "")) == "latest":
        messages.append("the model says `latest`: instances do not show a newer image until the model names a version")
    return messages


def _about_instances(snapshot: Snapshot, deallocated: Collection[str]) -> list[str]:
    """Warnings that name instances, and the number of those that are missing."""
    instances = snapshot.members.values()
    groups = (
        ("protected from scale-set actions and skipped", [instance for instance in instances if instance.protected]),
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
            "being changed by another client, and waited for",
            [instance for instance in instances if instance.state in selection.MOVING],
        ),
    )
    messages = [
        f"{what}: {markup.listing([instance.instance_id for instance in affected])}"
        for what, affected in groups
        if affected
    ]
    capacity = snapshot.model.capacity if snapshot.model is not None else 0
    if len(snapshot.members) < capacity:
        messages.append(
            f"{capacity - len(snapshot.members)} of {capacity} instances are missing, and count against the floor"
        )
    return messages


def _about_health(before: Mapping[str, Any], after: Mapping[str, Any], snapshot: Snapshot) -> list[str]:
    """Warnings about the health source, and about instances that report nothing to it."""
    messages = []
    if watches_health(before) and not watches_health(after):
        messages.append("the change removes the health source: upgraded instances are available when they run")
    if not watches_health(before) and watches_health(after):
        messages.append(
            "the change adds a health source: other instances need no health report until they are upgraded"
        )
    if not snapshot.reports and snapshot.source != "required":
        messages.append("no instance reports application health: only power and provisioning states are known")
    if silent := selection.list_silent(snapshot):
        messages.append(f"{markup.listing(silent)}: running without a health report, so not available")
    return messages


def explain_deallocated(snapshot: Snapshot, deallocated: Collection[str], journal: str) -> list[str]:
    """A warning about the other deallocated instances and how to start them; see `warnings`."""
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
    """A warning about instances that are outdated before this change, and how they differ from the model."""
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
    return [f"{behind}: earlier changes reach them together with this change"]
