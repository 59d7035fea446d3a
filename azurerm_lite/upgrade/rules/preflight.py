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
    if found := str(named.get("id") or "").lower():
        return "a gallery image" if "/galleries/" in found else "a managed image"
    return "an image by URI" if "image" in os_disk(vmss) else ""


def gallery(vmss: Mapping[str, Any]) -> dict[str, str]:
    """subscription, group, gallery, image and version ("" for the newest) of a gallery image; {} for another kind."""
    found = _GALLERY.fullmatch(re.sub(r"/versions/latest$", "", str(image(vmss).get("id") or ""), flags=re.IGNORECASE))
    return {key: value or "" for key, value in found.groupdict().items()} if found else {}


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
    kinds = [str((one.get("properties") or {}).get("type", "")) for one in extensions if isinstance(one, Mapping)]
    probe = (profile(vmss).get("networkProfile") or {}).get("healthProbe")
    return bool(probe) or any(one.lower().startswith("applicationhealth") for one in kinds)


def grace_seconds(vmss: Mapping[str, Any]) -> float:
    """How long a fresh application may be Initializing by its Application Health extension, 0.0 where none says so."""
    extensions = (profile(vmss).get("extensionProfile") or {}).get("extensions") or []
    settings = [(one.get("properties") or {}) for one in extensions if isinstance(one, Mapping)]
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
    was, wanted = kind(before), kind(after)
    if was and was != wanted:
        raise PlanRefused(
            f"this scale set runs {was}, and the change asks for {wanted or 'none'}: Azure refuses to change the kind "
            "of image. Make a new scale set beside it"
        )


def refuse_by_plan(after: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """Of a platform image version as Azure shows it: the model must name the purchase plan that the image has."""
    needed, has = (shown.get("properties") or {}).get("plan") or {}, after.get("plan") or {}
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


def refuse_a_deprecated_image(shown: Mapping[str, Any]) -> None:
    """Of a platform image version as Azure shows it: what is deprecated makes no instances any more.

    https://learn.microsoft.com/azure/virtual-machines/deprecated-images
    """
    status = (shown.get("properties") or {}).get("imageDeprecationStatus") or {}
    if str(status.get("imageState", "")).lower() == "deprecated":
        raise PlanRefused(f"the image version {shown.get('name', '')} is deprecated: no instance can be made from it")


def _plan(given: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(given.get(key, "")).lower() for key in ("publisher", "product", "name"))


def refuse_by_gallery(
    named: Mapping[str, str], found: Iterable[Mapping[str, Any]], newest: str | None, at: str
) -> None:
    """A version of a gallery image must be there, finished and replicated. `newest`: of those, in the region."""
    name = f"{named['gallery']}/{named['image']}"
    if not named["version"]:
        if newest is None:
            raise PlanRefused(f"no version of {name} can be used in {at}: replicate one there first")
        return
    version = next((one for one in found if str(one.get("name")) == named["version"]), None)
    if version is None:
        raise PlanRefused(f"{name} has no version {named['version']}; the newest in {at} is {newest or 'none'}")
    properties = version.get("properties") or {}
    regions = (properties.get("publishingProfile") or {}).get("targetRegions") or []
    if at not in {wire.region(one.get("name")) for one in regions}:
        raise PlanRefused(f"{name} {named['version']} is not replicated to {at}: add that to its target regions first")
    if properties.get("provisioningState") != "Succeeded":
        state = properties.get("provisioningState")
        raise PlanRefused(f"{name} {named['version']} is {state}: wait until it is replicated")


def refuse_by_instances(policy: Policy, seen: Snapshot, *, renews: bool, deallocated: Collection[str] = ()) -> None:
    if unknown := [one for one in policy.instances or () if one not in seen.members]:
        known = tuple(seen.members)
        raise InvalidInput(f"no such instance: {', '.join(unknown[:10])} (there are {markup.listing(known)})")
    chosen = [*filter(selection.choice(policy), seen.members.values())]
    if seen.members and not chosen and policy.instances != ():  # none at all is what a rollback may ask for
        raise InvalidInput("no instance is in what was selected")
    protected = [one.instance_id for one in chosen if one.protected]
    if protected and policy.on_protected == "fail":
        raise PlanRefused(f"protected from scale-set actions: {', '.join(protected[:10])}")
    stopped = [member.instance_id for member in chosen if member.is_stopped and member.instance_id not in deallocated]
    if stopped and policy.on_stopped == "fail":
        raise PlanRefused(f"not running: {', '.join(stopped[:10])}")
    told_apart = {(one.version, one.size) for one in seen.members.values() if not one.latest}
    if renews and len(told_apart) + 2 > MOST_MODELS:
        raise PlanRefused(
            f"instances run {len(told_apart)} older models at least, and Azure allows {MOST_MODELS} with the present "
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
    shown = bool(version) and (not patch or "imageReference" in storage)
    return "shown" if shown else "always" if patch else ""


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
    worst = max((one for one in needed if one in DISRUPTIONS), key=DISRUPTIONS.index)
    if DISRUPTIONS.index(worst) > allowed:
        raise PlanRefused(
            f"this change {_NEEDS[worst]}, and max_disruption={policy.max_disruption!r} forbids that. "
            f"max_disruption={worst!r} allows it"
        )


# --- quota -----------------------------------------------------------------------------------------------------------


def cores(vm_size: str) -> int | None:
    """The vCPUs of a VM size by its name; None when the name does not say."""
    found = _SIZE.match(vm_size)
    return int(found["cores"]) if found and int(found["series"]) >= 3 else None


def more_cores(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """How many vCPUs more the set would have; None when a name does not say."""
    had, has = (cores(size(one)) for one in (before, after))
    few, many = (int((one.get("sku") or {}).get("capacity") or 0) for one in (before, after))
    if size(before) == size(after) and few == many:
        return 0
    return None if had is None or has is None else has * many - had * few


def refuse_by_quota(needed: int, usages: Iterable[Mapping[str, Any]], what: str) -> None:
    total = next((one for one in usages if (one.get("name") or {}).get("value") == "cores"), None)
    free = int(total["limit"]) - int(total["currentValue"]) if total else needed
    if needed > free:
        raise PlanRefused(f"{what} needs {needed} vCPUs more, and the region's quota leaves {free}: raise it first")


# --- what to warn of -------------------------------------------------------------------------------------------------


def warnings(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    seen: Snapshot,
    *,
    renews: bool,
    deallocated: Collection[str] = (),
    journal: str = "",
) -> list[str]:
    """What somebody should know before it begins.

    `deallocated`: instances that an earlier upgrade left so, and that this one starts; `journal`: of an upgrade of this
    set that did not start all that it had deallocated, as far as this machine knows.
    """
    everybody = seen.members.values()
    found = _behind(before, everybody) if renews else []
    told = (
        ("protected from scale-set actions and left alone", [one for one in everybody if one.protected]),
        ("not healthy before it begins", [one for one in everybody if not seen.fit(one)]),
        (
            "not running, and not started by it",
            [member for member in everybody if member.is_stopped and member.instance_id not in deallocated],
        ),
        (
            "deallocated by an upgrade that did not end, and started by this one",
            [member for member in everybody if member.instance_id in deallocated],
        ),
        ("being changed by somebody else, and waited for", [one for one in everybody if one.state in selection.MOVING]),
    )
    found += [f"{what}: {markup.listing([one.instance_id for one in who])}" for what, who in told if who]
    found += left_deallocated(seen, deallocated, journal)
    capacity = seen.model.capacity if seen.model is not None else 0
    if len(seen.members) < capacity:
        found.append(f"{capacity - len(seen.members)} of {capacity} instances are missing, and count against the floor")
    if watches_health(before) and not watches_health(after):
        found.append("the change takes the health source away: what is upgraded counts by whether it runs")
    if "image" in os_disk(after):
        found.append(f"unmanaged disks are retired: {UNMANAGED}")
    if not watches_health(before) and watches_health(after):
        found.append("the change brings a health source: what is not upgraded yet reports nothing, and counts as it is")
    found += edits.protected_settings_warnings(before, after)
    if model.without_secrets(after) != after:
        found.append(
            "passwords, customData and protected settings are in no journal, and no rollback brings old ones back"
        )
    if not seen.reports and seen.source != "required":
        found.append("nothing reports the health of the application: running and provisioned is all that is known")
    if silent := selection.silent(seen):
        found.append(f"{markup.listing(silent)}: running, and nothing reports their health: they are not available")
    if str(image(after).get("version", "")) == "latest":
        found.append("the model says `latest`: a newer image shows in no instance until a version is named")
    return found


def left_deallocated(snapshot: Snapshot, deallocated: Collection[str], journal: str) -> list[str]:
    """How to start the other deallocated instances, where an upgrade may have left them so: see `warnings`."""
    ids = [
        name for name, member in snapshot.members.items() if member.power == "deallocated" and name not in deallocated
    ]
    if not ids:
        return []
    way = "resume(auth, journal) starts them, or plan with unfinished_journal=journal"
    cause = f"the upgrade in {printable(journal, 300)} did not end:" if journal else "where an upgrade left them so,"
    return [f"deallocated: {markup.listing(ids)}; {cause} {way}"]


def _behind(before: Mapping[str, Any], members: Iterable[InstanceStatus]) -> list[str]:
    """What instances missed before, which they get together with this change; and how they differ, if that shows."""
    drifted = [one for one in members if not one.latest]
    if not drifted:
        return []
    named, own = image_version(image(before)), size(before)
    versions = sorted({one.version for one in drifted if one.version and one.version != named})
    sizes = sorted({one.size for one in drifted if one.size and one.size != own})
    shown = "; ".join(
        f"{what} {', '.join(some[:3])}" for what, some in (("they run", versions), ("are of size", sizes)) if some
    )
    ids = markup.listing([one.instance_id for one in drifted])
    behind = f"{len(drifted)} instances are behind the present model already ({ids}{f'; {shown}' if shown else ''})"
    return [f"{behind}: they get what they missed together with this change"]
