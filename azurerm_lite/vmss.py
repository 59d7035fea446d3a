"""Scale sets: one function for each endpoint of Azure Resource Manager, and nothing else.

Every function takes `auth` first (an Arm, a bare token, or a credential), then the subscription id, the resource group
and the name of the scale set, so that `get_vmss(arm, *web)` works with a ScaleSet. `api_version` overrides the Arm's.
`get_*` gives the JSON as a dict, `list_*` a list over all pages, what Azure may run long an Operation; an answer of
400 or more is an ArmError, and an argument that Azure could not accept an InvalidInput before anything is sent.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from . import wire
from .arm import arm_of
from .operation import Operation
from .types import JsonDict, Vmss, VmssInstanceView, VmssVm, VmssVmInstanceView

OWN_ETAG = "the model's own etag"


def _group(subscription_id: str, resource_group: str) -> str:
    subscription = wire.subscription_segment(subscription_id)
    return f"/subscriptions/{subscription}/resourceGroups/{wire.resource_group_segment(resource_group)}"


def _vmss(subscription_id: str, resource_group: str, vmss_name: str) -> str:
    name = wire.segment(vmss_name, "scale set name", 64)
    return f"{_group(subscription_id, resource_group)}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}"


def _vm(subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int) -> str:
    (one,) = wire.instance_ids([instance_id])
    return f"{_vmss(subscription_id, resource_group, vmss_name)}/virtualMachines/{one}"


def _etag(if_match: str | None, model: Mapping[str, Any]) -> str | None:
    return model.get("etag") if if_match is OWN_ETAG else if_match


# --- the scale set ---------------------------------------------------------------------------------------------------


def get_vmss(
    auth: object,
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
    path = _vmss(subscription_id, resource_group, vmss_name)
    return cast(Vmss, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss(
    auth: object,
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

    The model is sent as it is. Its own etag, when it has one, goes along, so that a change made by somebody else since
    it was read is a ConcurrencyError (412) and not lost; `if_match=None` turns that off. With `if_none_match="*"` it
    only creates.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/create-or-update
    """
    path = _vmss(subscription_id, resource_group, vmss_name)
    etags = {"if_match": _etag(if_match, model), "if_none_match": if_none_match}
    return arm_of(auth).start("PUT", path, model, api_version=api_version, **etags)


def patch_vmss(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    patch: Mapping[str, Any],
    *,
    if_match: str | None = OWN_ETAG,
    api_version: str | None = None,
) -> Operation:
    """The Operation that merges `patch` into the model: what it names changes, null deletes, lists are replaced.

    An etag in the patch itself goes along as If-Match, not in the body.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update
    """
    path = _vmss(subscription_id, resource_group, vmss_name)
    body = {key: value for key, value in patch.items() if key != "etag"}
    return arm_of(auth).start("PATCH", path, body, api_version=api_version, if_match=_etag(if_match, patch))


def list_vmss(
    auth: object, /, subscription_id: str, resource_group: str, *, api_version: str | None = None
) -> list[Vmss]:
    """The models of all scale sets in a resource group.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list
    """
    path = f"{_group(subscription_id, resource_group)}/providers/Microsoft.Compute/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def list_vmss_sub(auth: object, /, subscription_id: str, *, api_version: str | None = None) -> list[Vmss]:
    """The models of all scale sets in a subscription.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/list-all
    """
    subscription = wire.subscription_segment(subscription_id)
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachineScaleSets"
    return arm_of(auth).list(path, api_version=api_version)


def get_vmss_instance_view(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    api_version: str | None = None,
) -> VmssInstanceView:
    """How many instances are in which provisioning state, and the state of the set itself. Not for Flexible sets.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/get-instance-view
    """
    path = f"{_vmss(subscription_id, resource_group, vmss_name)}/instanceView"
    return cast(VmssInstanceView, arm_of(auth).get(path, api_version=api_version))


def manual_upgrade_instances(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Sequence[str] | str | None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that brings some instances to the latest model: the call that upgrades them.

    `instance_ids`: ids such as `["0", "3"]` (VM names in Flexible sets). All at once is downtime, so it takes
    `manual_upgrade_instances(..., None, all_instances=True)`.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update-instances
    """
    body: JsonDict = {"instanceIds": wire.instance_ids(instance_ids, all_instances=all_instances)}
    path = f"{_vmss(subscription_id, resource_group, vmss_name)}/manualupgrade"
    return arm_of(auth).start("POST", path, body, api_version=api_version)


# --- its instances ---------------------------------------------------------------------------------------------------


def list_vmss_vms(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    expand: str | None = None,
    filter: str | None = None,  # OData's own name
    select: str | None = None,
    api_version: str | None = None,
) -> list[VmssVm]:
    """All instances of a scale set; with `expand="instanceView"` also their power, health and domains.

    With `select` Azure shows latestModelApplied as false, whatever it is: leave it out when that matters.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/list
    """
    path = f"{_vmss(subscription_id, resource_group, vmss_name)}/virtualMachines"
    query = {"$filter": filter, "$select": select, "$expand": expand}
    return arm_of(auth).list(path, api_version=api_version, **query)


def get_vmss_vm(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> VmssVm:
    """One instance: its latestModelApplied, exact image version and protection.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/get
    """
    path = _vm(subscription_id, resource_group, vmss_name, instance_id)
    return cast(VmssVm, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def get_vmss_vm_instance_view(
    auth: object,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> VmssVmInstanceView:
    """One instance as it runs: power, health, update and fault domain, placement group.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/get-instance-view
    """
    path = f"{_vm(subscription_id, resource_group, vmss_name, instance_id)}/instanceView"
    return cast(VmssVmInstanceView, arm_of(auth).get(path, api_version=api_version))
