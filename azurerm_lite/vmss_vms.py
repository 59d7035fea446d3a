"""Instances of scale sets, several at once: one function for each endpoint, and nothing else.

Named, or all of them in so many words: a missing list is refused, `all_instances=True` is downtime.
Arguments are as in `vmss`. https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Iterator, Mapping
from typing import Any

from . import wire
from .arm import Auth, arm_of
from .operation import Operation
from .secrecy import conceal_tokens
from .types import Ids, JsonDict, VmssVm
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
    """All instances of a scale set; with `expand="instanceView"` also their power, health and domains.

    With `select` Azure shows latestModelApplied as false, whatever it is: leave it out when that matters.
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
    """The same instances one by one, holding no more than a page of them, whatever the size of the set.

    Each page is asked for when the one before is used up. Bad input is refused at once.
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
    """The Operation that starts instances which were stopped or deallocated.

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
    """The Operation that stops instances; they are still paid for. `skip_shutdown`: pull the plug.

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
    """The Operation that stops instances and gives their hardware back.

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
    """The Operation that does planned maintenance on instances now.

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
    """The Operation that makes all disks of instances anew, data disks too: never part of an upgrade.

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
    """The Operation that lets a deferred rolling upgrade go on with instances.

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
    """The Operation that makes the OS disk of instances anew from the image that they have.

    `options`: Azure's own words, such as {"forceUpdateOSDiskForEphemeral": True} or {"exactVersion": "1.2.3"}.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/reimage
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/reimage"
    body = {**(options or {}), **_instances(instance_ids, all_instances)}
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
    """The Operation that deletes instances, and lowers the capacity by as many.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/delete-instances
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/delete"
    body = _instances(instance_ids, all_instances=False)
    query: dict[str, Any] = {"forceDeletion": flag(force_deletion)}
    return arm_of(auth).start("POST", path, body, api_version=api_version, **query)


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
    """The Operation that moves instances to another availability zone, Azure's choice or yours. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/migrate-vm-availability-zone
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/migrateVMAvailabilityZone"
    body = {"instanceIds": wire.instance_ids(instance_ids), **({"targetZone": target_zone} if target_zone else {})}
    return arm_of(auth).start("POST", path, body, api_version=api_version)


conceal_tokens(globals(), arm_of)
