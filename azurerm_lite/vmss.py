"""Scale sets: one function for each endpoint of Azure Resource Manager, and nothing else.

Every function takes `auth` first (an Arm, a bare token, or a credential), then the subscription id, the resource group
and the name of the scale set, so that `get_vmss(arm, *web)` works with a ScaleSet. `api_version` overrides the Arm's.
`get_*` gives the JSON as a dict, `list_*` a list over all pages, what Azure may run long an Operation; an answer of
400 or more is an ArmError, and an argument that Azure could not accept an InvalidInput before anything is sent.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Mapping
from typing import Any, cast

from . import wire
from .arm import Auth, arm_of
from .operation import Operation
from .types import Ids, JsonDict, Vmss, VmssInstanceView

OWN_ETAG = "the model's own etag"


def group_path(subscription_id: str, resource_group: str) -> str:
    subscription, group = wire.subscription_segment(subscription_id), wire.resource_group_segment(resource_group)
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute"


def vmss_path(subscription_id: str, resource_group: str, vmss_name: str) -> str:
    name = wire.segment(vmss_name, "scale set name", 64)
    return f"{group_path(subscription_id, resource_group)}/virtualMachineScaleSets/{name}"


def own_etag(if_match: str | None, model: Mapping[str, Any]) -> str | None:
    return model.get("etag") if if_match is OWN_ETAG else if_match


def flag(value: bool | None) -> str | None:
    """A switch as a query parameter; left out when nothing was said."""
    return None if value is None else str(value).lower()


def get_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> Vmss:
    """The model of a scale set. `expand="userData"` adds the user data.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    return cast(Vmss, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    model: Mapping[str, Any],
    *,
    if_match: str | None = OWN_ETAG,
    if_none_match: str | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that writes a whole model, or creates the scale set when there is none of that name.

    The model is sent as it is, and its tags replace all tags. Its own etag, when it has one, goes along, so that a
    change made by somebody else since it was read is a ConcurrencyError (412) and not lost; `if_match=None` turns that
    off. With `if_none_match="*"` it only creates.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/create-or-update
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    etags: dict[str, Any] = {"if_match": own_etag(if_match, model), "if_none_match": if_none_match}
    return arm_of(auth).start("PUT", path, model, api_version=api_version, **etags)


def patch_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    patch: Mapping[str, Any],
    *,
    if_match: str | None = OWN_ETAG,
    api_version: str | None = None,
) -> Operation:
    """The Operation that sends `patch` as it is; `update_vmss` and `merge_patch` know what a PATCH must have.

    Azure merges what stands in `properties` (null deletes, lists are replaced) and replaces other parts by what the
    patch has of them: all tags go that it does not name, and a tag cannot be null. A `storageProfile` must name the
    image, and Azure derives anew from it what is left out, `osDisk` and `dataDisks`. Sets in mode Rolling or Automatic
    want `upgradePolicy` and the health probe along, an identity its `type`. `model.WHOLE` lists the parts with sources.
    An etag in the patch itself goes along as If-Match, not in the body.
    https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/resource-api-reference.md
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    body = {key: value for key, value in patch.items() if key != "etag"}
    return arm_of(auth).start("PATCH", path, body, api_version=api_version, if_match=own_etag(if_match, patch))


def list_vmss(
    auth: Auth, /, subscription_id: str, resource_group: str, *, api_version: str | None = None
) -> list[Vmss]:
    """The models of all scale sets in a resource group.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list
    """
    path = f"{group_path(subscription_id, resource_group)}/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def list_vmss_sub(auth: Auth, /, subscription_id: str, *, api_version: str | None = None) -> list[Vmss]:
    """The models of all scale sets in a subscription.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-all
    """
    subscription = wire.subscription_segment(subscription_id)
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def get_vmss_instance_view(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> VmssInstanceView:
    """How many instances are in which provisioning state, and the state of the set itself. Not for Flexible sets.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-instance-view
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/instanceView"
    return cast(VmssInstanceView, arm_of(auth).get(path, api_version=api_version))


def manual_upgrade_instances(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that brings some instances to the latest model: the call that upgrades them.

    `instance_ids`: ids such as `["0", "3"]` (VM names in Flexible sets). All at once is downtime, so it takes
    `manual_upgrade_instances(..., None, all_instances=True)`.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update-instances
    """
    body = {"instanceIds": wire.instance_ids(instance_ids, all_instances=all_instances)}
    path = vmss_path(subscription_id, resource_group, vmss_name)
    seen_in = (f"{path}/virtualMachines", () if all_instances else tuple(body["instanceIds"]))
    return arm_of(auth).start("POST", f"{path}/manualupgrade", body, api_version=api_version, by_instances=seen_in)


def delete_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    force_deletion: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes the scale set and everything in it.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/delete
    """
    query: dict[str, Any] = {"forceDeletion": flag(force_deletion)}
    return arm_of(auth).start(
        "DELETE", vmss_path(subscription_id, resource_group, vmss_name), api_version=api_version, **query
    )


def reapply_vmss(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation that pushes the model's profile to the instances again.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/reapply
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/reapply"
    return arm_of(auth).start("POST", path, api_version=api_version)


def set_orchestration_service_state(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    action: str,
    service_name: str = "AutomaticRepairs",
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that suspends or resumes automatic repairs: `action` is Suspend or Resume.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/set-orchestration-service-state
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/setOrchestrationServiceState"
    return arm_of(auth).start("POST", path, {"serviceName": service_name, "action": action}, api_version=api_version)


def convert_vmss_to_single_placement_group(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    active_placement_group_id: str | None = None,
    *,
    api_version: str | None = None,
) -> None:
    """Make a Uniform set span several placement groups, whatever its name says; gives nothing.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/convert-to-single-placement-group
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/convertToSinglePlacementGroup"
    body = {"activePlacementGroupId": active_placement_group_id} if active_placement_group_id else {}
    arm_of(auth).act("POST", path, body, api_version=api_version)


def force_recovery_service_fabric_platform_update_domain_walk(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    platform_update_domain: int,
    zone: str | None = None,
    placement_group_id: str | None = None,
    *,
    api_version: str | None = None,
) -> JsonDict:
    """What Service Fabric says of the walk to an update domain: whether it went, and which one is next.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/force-recovery-service-fabric-platform-update-domain-walk
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/forceRecoveryServiceFabricPlatformUpdateDomainWalk"
    where = {"zone": zone, "placementGroupId": placement_group_id}
    query = {"platformUpdateDomain": str(platform_update_domain), **where}
    return cast(JsonDict, arm_of(auth).act("POST", path, api_version=api_version, **query))


def scale_out_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    capacity: int,
    zone: str | None = None,
    *,
    api_version: str = "2025-04-01",
) -> Operation:
    """The Operation that adds instances, in one zone if that is named. Born in 2025-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/scale-out
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/scaleOut"
    return arm_of(auth).start(
        "POST",
        path,
        {"capacity": capacity, **({"properties": {"zone": zone}} if zone else {})},
        api_version=api_version,
    )


def list_vmss_skus(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """The VM sizes that this scale set may have, and how many of each.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-skus
    """
    return arm_of(auth).list(f"{vmss_path(subscription_id, resource_group, vmss_name)}/skus", api_version=api_version)


def list_vmss_os_upgrade_history(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """The last five OS upgrades of two months, newest first.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-os-upgrade-history
    """
    return arm_of(auth).list(
        f"{vmss_path(subscription_id, resource_group, vmss_name)}/osUpgradeHistory", api_version=api_version
    )


def list_vmss_location(
    auth: Auth, /, subscription_id: str, location: str, *, api_version: str | None = None
) -> list[Vmss]:
    """The models of all scale sets of a subscription in one region.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-by-location
    """
    subscription, place = wire.subscription_segment(subscription_id), wire.segment(location, "location")
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{place}/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)
