"""What an upgrade would do: the change, the batches, the floor, the time and the cost; and why it would be refused.

A Plan is a value. `upgrade(plan)` does what it says and nothing else, and refuses when the world has moved from it.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import arguments, edits, images, markup, model, wire
from ..arm import Arm, Auth, arm_of
from ..errors import AuthError, AzurermLiteError, ForbiddenError, InvalidInput, NotFoundError
from ..secrecy import conceal_tokens
from ..types import JsonDict, ScaleSet
from ..vmss import get_vmss, list_vmss_skus
from ..vmss_vm import get_flexible_vm_instance_view
from ..vmss_vms import iter_vmss_vms
from . import checks, planner, preflight
from .observe import Observation, behind, image_version, observe
from .policy import Policy
from .preflight import PlanRefused

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
    observation: Observation = field(repr=False)
    warnings: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("upgrade",)
    seconds: float = 0.0
    requests: int = 0
    takes_back: bool = False  # a rollback, which cannot be taken back itself

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


def look(arm: Arm, address: ScaleSet, *, flexible: bool = False) -> Observation:
    """All instances as they are now, page by page. Of a Flexible set each VM is asked for its own view."""
    found = _viewed(arm, address) if flexible else iter_vmss_vms(arm, *address, expand="instanceView")
    return observe(found, arm.time())


def _viewed(arm: Arm, address: ScaleSet) -> Iterator[JsonDict]:
    for item in iter_vmss_vms(arm, *address):
        one: JsonDict = {**item}
        try:
            view = get_flexible_vm_instance_view(arm, address[0], address[1], one["instanceId"])
        except NotFoundError:
            yield one
        else:
            yield {**one, "properties": {**one["properties"], "instanceView": view}}


def is_flexible(vmss: Mapping[str, Any]) -> bool:
    return str((vmss.get("properties") or {}).get("orchestrationMode", "")).lower() == "flexible"


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
) -> Plan:
    """What an upgrade would do. Reads only.

    `change`: an image version ("latest" is resolved and pinned), a function on the model as `update_vmss` takes it, or
    None to bring instances to the model as it is. Raises PlanRefused, with the reason, for what could not be kept.
    """
    checks.of_plan(change, policy)
    arguments.switch(accept_failed, "accept_failed")
    arm, address, kept = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name), policy or Policy()
    before: JsonDict = {**get_vmss(arm, *address)}
    after, warnings = changed(arm, address, before, change)
    preflight.refuse_by_model(before, after, accept_failed)
    seen = look(arm, address, flexible=is_flexible(before))
    version = pin(after)
    patch = model.merge_patch(before, after)
    renews = preflight.renews(model.without_read_only(before), model.without_read_only(after))
    preflight.refuse_by_instances(kept, seen, renews=renews)
    stages = preflight.stages(after, patch, hosted=_hosted(arm, address, before, after))
    preflight.refuse_by_disruption(kept, stages)
    batches, why_not = planner.simulate(kept, behind(seen) if renews else seen, version)
    if why_not:
        raise PlanRefused(why_not)
    warnings += preflight.warnings(before, after, seen, renews=renews) + _asked(arm, address, before, after)
    pauses = kept.pause_seconds + kept.bake_seconds
    return Plan(
        address,
        kept,
        model.without_read_only(before),
        patch,
        tuple(str(one) for one in model.diff(model.without_read_only(before), model.without_read_only(after))),
        version,
        model.fingerprint(before),
        model.fingerprint(after),
        tuple(batches),
        planner.lowest(seen, batches) | planner.lowest_by_domain(seen, batches),
        seen,
        tuple(warnings),
        stages,
        sum(planner.USUAL_BATCH_SECONDS * len(stages) + pauses for _ in batches)
        + (kept.canary_bake_seconds if batches else 0),
        4 + 12 * len(batches),
    )


def changed(arm: Arm, address: ScaleSet, before: JsonDict, change: Change) -> tuple[JsonDict, list[str]]:
    """The model as it shall be, and what to warn of."""
    if change is None:
        return copy.deepcopy(before), []
    working: Any = copy.deepcopy(before)
    if isinstance(change, str):
        version = resolved(arm, address, before, change) if change == "latest" else change
        given: Any = edits.set_image_version(working, version)
    else:
        given = change(working)
    found = given.model if isinstance(given, edits.Edit) else working if given is None else given
    if not isinstance(found, Mapping):
        raise InvalidInput(f"change must change the model or give one, not {type(found).__name__}")
    return {**found}, [str(one) for one in getattr(given, "warnings", ())]


def resolved(arm: Arm, address: ScaleSet, before: JsonDict, version: str) -> str:
    """The concrete version; NotFoundError when there is no such image in the region."""
    named, region = preflight.image(before), wire.region(before.get("location"))
    if named.get("publisher"):
        publisher, offer, sku = (str(named.get(key, "")) for key in ("publisher", "offer", "sku"))
        where = (address.subscription_id, str(before.get("location", "")))
        return images.resolve_image_version(arm, *where, publisher, offer, sku, version)
    if version == "latest" and (gallery := preflight.gallery(before)):
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
    if version == "latest":
        version = resolved(arm, address, after, version)
    try:
        return images.get_image_version(arm, *where, publisher, offer, sku, version)
    except NotFoundError:
        resolved(arm, address, after, version)
        return {}


def _gallery_versions(arm: Arm, gallery: Mapping[str, str]) -> list[JsonDict]:
    where = (gallery["subscription"], gallery["group"], gallery["gallery"], gallery["image"])
    return images.list_gallery_image_versions(arm, *where)


def _hosted(arm: Arm, address: ScaleSet, before: JsonDict, after: JsonDict) -> bool:
    """Whether instances can have the wanted size where they are. What cannot be read is taken for a yes."""
    wanted = preflight.size(after).lower()
    if wanted == preflight.size(before).lower():
        return True
    with contextlib.suppress(ForbiddenError, NotFoundError):
        offered = [str((one.get("sku") or {}).get("name", "")).lower() for one in list_vmss_skus(arm, *address)]
        return wanted in offered
    return True


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
    open_end = version == "latest" or (preflight.gallery(after) and not preflight.gallery(after)["version"])
    return "" if open_end or not (named.get("publisher") or named.get("id")) else version


conceal_tokens(globals(), arm_of)
