"""Several instances of a scale set: one function per endpoint.

Shared arguments, results and errors are described in `azurerm_lite.endpoints.vmss`. To act on every instance, pass
`all_instances=True`; without it a missing list of ids raises InvalidInput.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .._common import arguments
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..operation import Operation
from ..types import Ids, JsonDict, VmssVm
from .vmss import flag, vmss_path


def _instances(instance_ids: Ids | None, all_instances: bool) -> JsonDict:
    return {"instanceIds": wire.instance_ids(instance_ids, all_instances=all_instances)}


def list_vmss_vms(
    auth: Auth,
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
    """List all instances of a scale set.

    `expand="instanceView"` adds power state, health and domains. `filter`, `select`: OData expressions, such as
    `filter="properties/latestModelApplied eq false"`. With `select`, Azure always reports latestModelApplied as false.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/list
    """
    options = {"expand": expand, "filter": filter, "select": select, "api_version": api_version}
    return list(iter_vmss_vms(auth, subscription_id, resource_group, vmss_name, **options))


def iter_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    expand: str | None = None,
    filter: str | None = None,  # OData's own name
    select: str | None = None,
    api_version: str | None = None,
) -> Iterator[VmssVm]:
    """Iterate over all instances of a scale set, holding one page in memory at a time.

    The next page is requested when the previous one is used up. Arguments are those of `list_vmss_vms`.
    Raises: InvalidInput at once; NotFoundError, another ArmError or TransportError during the iteration.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/list
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/virtualMachines"
    query = {"$filter": filter, "$select": select, "$expand": expand}
    return arm_of(auth).items(path, api_version=api_version, **query)


def start_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that starts stopped or deallocated instances.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/start
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/start"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def restart_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that restarts instances.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/restart
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/restart"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def power_off_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    skip_shutdown: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that stops instances; they are still charged for.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    `skip_shutdown=True`: power off without a graceful shutdown.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/power-off
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/poweroff"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version, skipShutdown=flag(skip_shutdown))


def deallocate_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    hibernate: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that stops instances and releases their hardware, which ends the compute charge.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    `hibernate=True`: hibernate them; Flexible sets only.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/deallocate
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/deallocate"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version, hibernate=flag(hibernate))


def redeploy_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that moves instances to other hardware.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/redeploy
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/redeploy"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def perform_maintenance_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that performs planned maintenance on instances now.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/perform-maintenance
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/performMaintenance"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def reimage_all_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that replaces all disks of instances, data disks included; no upgrade needs it.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/reimage-all
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/reimageall"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def approve_rolling_upgrade_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    api_version: str | None = None,
) -> Operation:
    """The Operation that approves a deferred rolling upgrade for instances.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/approve-rolling-upgrade
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/approveRollingUpgrade"
    body = _instances(instance_ids, all_instances)
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def reimage_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids | None = None,
    *,
    all_instances: bool = False,
    options: Mapping[str, Any] | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that replaces the OS disk of instances with their image.

    `instance_ids`: ids such as `["0", "3"]`, VM names in Flexible sets; or `all_instances=True`, which causes downtime.
    `options`: `{"exactVersion": str, "tempDisk": bool, "forceUpdateOSDiskForEphemeral": bool, "osProfile":
    {"adminPassword": str, "customData": base64 str}}`, every key optional.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/reimage
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/reimage"
    body = {
        **arguments.json_object({} if options is None else options, "options"),
        **_instances(instance_ids, all_instances),
    }
    return arm_of(auth).start("POST", path, body, api_version=api_version)


def delete_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids,
    *,
    force_deletion: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes instances and lowers the capacity by their number.

    `instance_ids`: ids such as `["0", "3"]`. `force_deletion=True`: forced deletion (a preview feature).
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/delete-instances
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/delete"
    body = _instances(instance_ids, all_instances=False)
    return arm_of(auth).start("POST", path, body, api_version=api_version, forceDeletion=flag(force_deletion))


def migrate_availability_zone_vmss_vms(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_ids: Ids,
    target_zone: str | None = None,
    *,
    api_version: str = "2026-04-01",
) -> Operation:
    """The Operation that moves instances to another availability zone.

    Requires api-version 2026-04-01 or later. `instance_ids`: ids such as `["0", "3"]`. `target_zone`: "1", "2" or "3";
    by default Azure chooses.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/migrate-vm-availability-zone
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/migrateVMAvailabilityZone"
    arguments.typed(str | None, target_zone=target_zone)
    body = {"instanceIds": wire.instance_ids(instance_ids), **({"targetZone": target_zone} if target_zone else {})}
    return arm_of(auth).start("POST", path, body, api_version=api_version)


conceal_functions(globals())
