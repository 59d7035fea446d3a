"""What an upgrade would do: the change, the batches, the floor, the time and the cost; and why it would be refused.

A Plan is a value. `upgrade(plan)` does what it says and nothing else, and refuses when the world has moved from it.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import images, markup, model
from ..arm import Arm, Auth, arm_of
from ..errors import AzurermLiteError, InvalidInput, NotFoundError
from ..types import JsonDict, ScaleSet
from ..vmss import get_vmss
from ..vmss_vms import get_flexible_vm_instance_view, iter_vmss_vms
from . import planner
from .observe import Observation, behind, observe
from .policy import Policy

Change = str | Callable[[Any], Any] | None


class PlanRefused(AzurermLiteError):
    """An upgrade that would not keep what it promises, or that Azure would refuse. Nothing was changed."""


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What would be done. `lowest`: the fewest healthy while it runs, of all ("") and by zone and placement group."""

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
        return f"<Plan {markup.visible(self._headline)} in {len(self.batches)} batches>"

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
        lines.append(f"  at least {least} stay healthy; about {self.seconds / 60:.0f} min and {self.requests} requests")
        return "\n".join([*lines, *(f"  warning: {one}" for one in self.warnings)])


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
    arm, address, kept = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name), policy or Policy()
    before: JsonDict = {**get_vmss(arm, *address)}
    after, warnings = _changed(arm, address, before, change)
    _refuse_by_model(before, accept_failed)
    seen = look(arm, address, flexible=is_flexible(before))
    _refuse_by_instances(kept, seen)
    version = pin(after)
    patch = model.merge_patch(before, after)
    expected = seen if not patch else behind(seen)
    stages = _stages(after, patch)
    if "reimage" in stages and kept.most_disruptive == "upgrade":
        raise PlanRefused("this change needs the OS disk made anew, and most_disruptive='upgrade' forbids that")
    batches, why_not = planner.simulate(kept, expected, version)
    if why_not:
        raise PlanRefused(why_not)
    warnings += _warnings(before, after, seen, bool(patch))
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
        planner.lowest(seen, batches),
        seen,
        tuple(warnings),
        stages,
        sum(planner.USUAL_BATCH_SECONDS * len(stages) + pauses for _ in batches)
        + (kept.canary_bake_seconds if batches else 0),
        4 + 12 * len(batches),
    )


def _changed(arm: Arm, address: ScaleSet, before: JsonDict, change: Change) -> tuple[JsonDict, list[str]]:
    """The model as it shall be, and what to warn of."""
    if change is None:
        return copy.deepcopy(before), []
    working: Any = copy.deepcopy(before)
    if isinstance(change, str):
        given: Any = model.set_image_version(working, resolved(arm, address, before, change))
    else:
        given = change(working)
    found = given.model if isinstance(given, model.Edit) else working if given is None else given
    if not isinstance(found, Mapping):
        raise InvalidInput(f"change must change the model or give one, not {type(found).__name__}")
    return {**found}, [str(one) for one in getattr(given, "warnings", ())]


def resolved(arm: Arm, address: ScaleSet, before: JsonDict, version: str) -> str:
    """The concrete version; NotFoundError when there is no such image in the region."""
    image = _image(before)
    if not image.get("publisher"):
        return version
    where = (address.subscription_id, str(before.get("location", "")))
    publisher, offer, sku = (str(image.get(key, "")) for key in ("publisher", "offer", "sku"))
    return images.resolve_image_version(arm, *where, publisher, offer, sku, version)


def _image(vmss: Mapping[str, Any]) -> Mapping[str, Any]:
    profile = (vmss.get("properties") or {}).get("virtualMachineProfile") or {}
    return (profile.get("storageProfile") or {}).get("imageReference") or {}


def pin(after: Mapping[str, Any]) -> str:
    """The exact version that every instance must run in the end; "" where the model's word is all there is."""
    image = _image(after)
    version = str(image.get("version") or "")
    return version if image.get("publisher") and version != "latest" else ""


def _stages(after: Mapping[str, Any], patch: Mapping[str, Any]) -> tuple[str, ...]:
    """What must be done to an instance for the change to reach it."""
    profile = (after.get("properties") or {}).get("virtualMachineProfile") or {}
    disk = (profile.get("storageProfile") or {}).get("osDisk") or {}
    system = ((patch.get("properties") or {}).get("virtualMachineProfile") or {}).get("osProfile") or {}
    anew = bool(disk.get("diffDiskSettings")) or bool({"customData", "adminPassword"} & set(system))
    return ("upgrade", "reimage") if anew and patch else ("upgrade",)


def _refuse_by_model(vmss: Mapping[str, Any], accept_failed: bool) -> None:
    properties = vmss.get("properties") or {}
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


def _refuse_by_instances(policy: Policy, seen: Observation) -> None:
    if unknown := [one for one in policy.instances or () if one not in seen.members]:
        known = list(seen.members)
        raise InvalidInput(f"no such instance: {', '.join(unknown[:10])} (there are {markup.listing(known)})")
    chosen = [*filter(planner.choice(policy), seen.members.values())]
    if seen.members and not chosen:
        raise InvalidInput("no instance is in what was selected")
    protected = [one.instance_id for one in chosen if one.protected]
    if protected and policy.protected == "fail":
        raise PlanRefused(f"protected from scale-set actions: {', '.join(protected[:10])}")


def _warnings(before: JsonDict, after: JsonDict, seen: Observation, changes: bool) -> list[str]:
    found = []
    drifted = [one.instance_id for one in seen.members.values() if not one.latest]
    if drifted and changes:
        found.append(
            f"{len(drifted)} instances are behind the present model already ({markup.listing(drifted)}): they get what "
            "they missed together with this change"
        )
    if protected := [one.instance_id for one in seen.members.values() if one.protected]:
        found.append(f"protected from scale-set actions and left alone: {markup.listing(protected)}")
    if sick := [one.instance_id for one in seen.members.values() if not seen.fit(one)]:
        found.append(f"not healthy before it begins: {markup.listing(sick)}")
    profile = (after.get("properties") or {}).get("virtualMachineProfile") or {}
    if "image" in ((profile.get("storageProfile") or {}).get("osDisk") or {}):
        found.append(
            "unmanaged disks are retired: https://learn.microsoft.com/azure/virtual-machines/unmanaged-disks-deprecation"
        )
    if not seen.reports:
        found.append("nothing reports the health of the application: running and provisioned is all that is known")
    if str(_image(before).get("version", "")) == "latest" and not changes:
        found.append("the model says `latest`: a newer image shows in no instance until a version is named")
    return found
