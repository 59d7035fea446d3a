"""Scale sets: one function per endpoint of Azure Resource Manager.

Endpoint functions share these arguments:
`auth`: an Arm, a bare access token, or a credential with `get_token(*scopes)`.
`subscription_id`, `resource_group`, `vmss_name`: the address; a ScaleSet fits as `get_vmss(arm, *web)`.
`api_version`: such as "2024-07-01"; by default that of the Arm.

`get_*` returns the JSON as a dict and `list_*` a list over all pages. A call that can take long returns an Operation as
soon as Azure has accepted it; `.wait()` waits for its end.

Each docstring names the errors to expect. InvalidInput is raised before anything is sent. ArmError stands for a status
of 400 or above: NotFoundError (404), ForbiddenError (403), ConflictError (409), ConcurrencyError (412), ThrottledError
(429). TransportError means that there was no usable response. CredentialError and AuthError concern the token. A write
whose response was lost raises OutcomeUnknown: read the resource before repeating it. `Operation.wait()` raises
OperationFailed, OperationCanceled or OperationTimeout.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Mapping
from typing import Any, cast

from .._common import arguments
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..operation import Operation
from ..types import Ids, JsonDict, Vmss, VmssInstanceView

MODEL_ETAG = "the etag in the model"


def group_path(subscription_id: str, resource_group: str) -> str:
    """The ARM path of Microsoft.Compute in a resource group."""
    subscription, group = wire.subscription_segment(subscription_id), wire.resource_group_segment(resource_group)
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute"


def vmss_path(subscription_id: str, resource_group: str, vmss_name: str) -> str:
    """The ARM path of a scale set."""
    name = wire.segment(vmss_name, "scale set name", 64)
    return f"{group_path(subscription_id, resource_group)}/virtualMachineScaleSets/{name}"


def etag_to_send(if_match: str | None, model: Mapping[str, Any]) -> str | None:
    """The etag to send as If-Match: that of the caller, or by default that of the model."""
    return model.get("etag") if if_match is MODEL_ETAG else if_match


def flag(value: bool | None) -> str | None:
    """A boolean as a query parameter; None leaves it out."""
    return None if value is None else str(arguments.switch(value, "each switch")).lower()


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
    """Get the model of a scale set.

    `expand="userData"` includes the user data, base64-encoded.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
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
    if_match: str | None = MODEL_ETAG,
    if_none_match: str | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that writes a whole model, or creates the scale set when it does not exist.

    `model`: as `get_vmss` returned it, with your change; it is sent unchanged, and its tags replace all tags. Its etag
    is sent as If-Match, so that a concurrent change is not overwritten; `if_match=None` sends none.
    `if_none_match="*"`: only create.
    Raises: ConcurrencyError when the scale set has changed, or exists with `if_none_match`; InvalidInput,
    ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/create-or-update
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    model = arguments.json_object(model, "model")
    etags: dict[str, Any] = {"if_match": etag_to_send(if_match, model), "if_none_match": if_none_match}
    return arm_of(auth).start("PUT", path, model, api_version=api_version, **etags)


def patch_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    patch: Mapping[str, Any],
    *,
    if_match: str | None = MODEL_ETAG,
    api_version: str | None = None,
) -> Operation:
    """The Operation that sends a PATCH unchanged; `update_vmss` and `merge_patch` build one from a change.

    `patch`: `{"tags": {...}, "sku": {...}, "properties": {...}, ...}`. Azure merges `properties` (null deletes, lists
    are replaced) and replaces the other parts: tags that the patch does not name are deleted, and a tag cannot be null.
    A `storageProfile` must contain the image reference, and `osDisk` and `dataDisks` are set to defaults unless it
    contains them. Modes Rolling and Automatic need `upgradePolicy` and the health probe, an identity needs its `type`;
    `model.WHOLE` lists these parts with sources. An etag in the patch is sent as If-Match and not in the body;
    `if_match=None` sends none.
    Raises: ConcurrencyError when the scale set has changed; InvalidInput, NotFoundError, ConflictError, another
    ArmError, TransportError, OutcomeUnknown.
    https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/resource-api-reference.md
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    body = {key: value for key, value in arguments.json_object(patch, "patch").items() if key != "etag"}
    return arm_of(auth).start("PATCH", path, body, api_version=api_version, if_match=etag_to_send(if_match, patch))


def list_vmss(
    auth: Auth, /, subscription_id: str, resource_group: str, *, api_version: str | None = None
) -> list[Vmss]:
    """List the models of all scale sets in a resource group.

    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list
    """
    path = f"{group_path(subscription_id, resource_group)}/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def list_vmss_sub(auth: Auth, /, subscription_id: str, *, api_version: str | None = None) -> list[Vmss]:
    """List the models of all scale sets in a subscription.

    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-all
    """
    subscription = wire.subscription_segment(subscription_id)
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def get_vmss_instance_view(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> VmssInstanceView:
    """Get the number of instances in each provisioning state, and the state of the set; not for Flexible sets.

    Returns `{"virtualMachine": {"statusesSummary": [{"code": ..., "count": ...}]}, "statuses": [...], ...}`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
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
    """The Operation that upgrades some instances to the latest model.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update-instances
    """
    body = {"instanceIds": wire.instance_ids(instance_ids, all_instances=all_instances)}
    path = vmss_path(subscription_id, resource_group, vmss_name)
    instances = (f"{path}/virtualMachines", () if all_instances else tuple(body["instanceIds"]))
    return arm_of(auth).start("POST", f"{path}/manualupgrade", body, api_version=api_version, by_instances=instances)


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
    """The Operation that deletes the scale set with all its instances.

    `force_deletion=True`: forced deletion (a preview feature).
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/delete
    """
    path = vmss_path(subscription_id, resource_group, vmss_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version, forceDeletion=flag(force_deletion))


def reapply_vmss(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation that applies the profile of the model to the instances again.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that suspends or resumes automatic repairs, or another orchestration service.

    `action`: "Suspend" or "Resume"; `service_name`: such as "AutomaticZoneRebalancing".
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/set-orchestration-service-state
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/setOrchestrationServiceState"
    arguments.typed(str, action=action, service_name=service_name)
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
    """Set `singlePlacementGroup` of a Uniform set to false, so that it may span several placement groups.

    `active_placement_group_id`: the placement group of instances created from now on. Returns nothing.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/convert-to-single-placement-group
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/convertToSinglePlacementGroup"
    arguments.typed(str | None, active_placement_group_id=active_placement_group_id)
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
    """Walk a Service Fabric scale set to an update domain, to recover it by hand.

    `zone`, `placement_group_id`: limit the walk to one. Returns `{"walkPerformed": ..., "nextPlatformUpdateDomain":
    ...}`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/force-recovery-service-fabric-platform-update-domain-walk
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/forceRecoveryServiceFabricPlatformUpdateDomainWalk"
    limits = {"zone": zone, "placementGroupId": placement_group_id}
    domain = arguments.whole_number(platform_update_domain, "platform_update_domain", 0, 1000, "the number of a domain")
    query = {"platformUpdateDomain": str(domain), **limits}
    return cast(JsonDict, arm_of(auth).act("POST", path, api_version=api_version, wants_object=True, **query))


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
    """The Operation that adds instances, in one zone if `zone` names it.

    Requires api-version 2025-04-01 or later. `capacity`: how many instances to add; `zone`: "1", "2" or "3".
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/scale-out
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/scaleOut"
    added = arguments.whole_number(capacity, "capacity", 0, 10_000, "instances")
    arguments.typed(str | None, zone=zone)
    body = {"capacity": added, **({"properties": {"zone": zone}} if zone else {})}
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def list_vmss_skus(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """List the VM sizes that the scale set may have.

    Returns a list of `{"sku": {"name": ...}, "capacity": {"minimum": ..., "maximum": ...}}`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-skus
    """
    return arm_of(auth).list(f"{vmss_path(subscription_id, resource_group, vmss_name)}/skus", api_version=api_version)


def list_vmss_os_upgrade_history(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """List the OS upgrades of the last two months, at most five, newest first.

    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-os-upgrade-history
    """
    return arm_of(auth).list(
        f"{vmss_path(subscription_id, resource_group, vmss_name)}/osUpgradeHistory", api_version=api_version
    )


def list_vmss_location(
    auth: Auth, /, subscription_id: str, location: str, *, api_version: str | None = None
) -> list[Vmss]:
    """List the models of all scale sets of a subscription in one region.

    `location`: such as `westeurope`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-by-location
    """
    subscription, region = wire.subscription_segment(subscription_id), wire.segment(location, "location")
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


conceal_functions(globals())
