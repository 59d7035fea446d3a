"""Instances of scale sets, one at a time: one function for each endpoint, and nothing else.

As in `vmss`, and with the instance id after the name of the scale set: a number in Uniform sets, a VM name in Flexible
ones. Protection from scale-set actions does not stop what is asked of an instance here.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms
"""

from collections.abc import Mapping
from typing import Any, cast

from . import wire
from .arm import Auth, arm_of
from .operation import Operation
from .secrecy import conceal_tokens
from .types import JsonDict, VmssVm, VmssVmInstanceView
from .vmss import OWN_ETAG, flag, group_path, own_etag, vmss_path


def vm_path(subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int) -> str:
    (one,) = wire.instance_ids([instance_id])
    return f"{vmss_path(subscription_id, resource_group, vmss_name)}/virtualMachines/{one}"


def get_vmss_vm(
    auth: Auth,
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
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return cast(VmssVm, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def get_vmss_vm_instance_view(
    auth: Auth,
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
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/instanceView"
    return cast(VmssVmInstanceView, arm_of(auth).get(path, api_version=api_version))


def put_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    model: Mapping[str, Any],
    *,
    if_match: str | None = OWN_ETAG,
    api_version: str | None = None,
) -> Operation:
    """The Operation that writes an instance: its protection policy lives there.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/update
    """
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return arm_of(auth).start("PUT", path, model, api_version=api_version, if_match=own_etag(if_match, model))


def delete_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    force_deletion: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes one instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/delete
    """
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    query: dict[str, Any] = {"forceDeletion": flag(force_deletion)}
    return arm_of(auth).start("DELETE", path, api_version=api_version, **query)


def start_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that starts one instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/start
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/start"
    return arm_of(auth).start("POST", path, api_version=api_version)


def restart_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that restarts one instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/restart
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/restart"
    return arm_of(auth).start("POST", path, api_version=api_version)


def deallocate_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that stops one instance and gives its hardware back.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/deallocate
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/deallocate"
    return arm_of(auth).start("POST", path, api_version=api_version)


def redeploy_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that moves one instance to other hardware.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/redeploy
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/redeploy"
    return arm_of(auth).start("POST", path, api_version=api_version)


def perform_maintenance_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that does planned maintenance on one instance now.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/perform-maintenance
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/performMaintenance"
    return arm_of(auth).start("POST", path, api_version=api_version)


def reimage_all_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that makes all disks of one instance anew, data disks too.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/reimage-all
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/reimageall"
    return arm_of(auth).start("POST", path, api_version=api_version)


def approve_rolling_upgrade_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that lets a deferred rolling upgrade go on with one instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/approve-rolling-upgrade
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/approveRollingUpgrade"
    return arm_of(auth).start("POST", path, api_version=api_version)


def power_off_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    skip_shutdown: bool | None = None,
    api_version: str | None = None,
) -> Operation:
    """The Operation that stops one instance; it is still paid for. `skip_shutdown`: pull the plug.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/power-off
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/powerOff"
    return arm_of(auth).start("POST", path, api_version=api_version, skipShutdown=flag(skip_shutdown))


def reimage_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    options: Mapping[str, Any] | None = None,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that makes the OS disk of one instance anew. `options`: Azure's own words.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/reimage
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/reimage"
    return arm_of(auth).start("POST", path, dict(options or {}), api_version=api_version)


def simulate_eviction_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    api_version: str | None = None,
) -> None:
    """Have a spot instance evicted within half an hour; gives nothing.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/simulate-eviction
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/simulateEviction"
    arm_of(auth).act("POST", path, api_version=api_version)


def retrieve_boot_diagnostics_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    expiration_minutes: int | None = None,
    api_version: str | None = None,
) -> JsonDict:
    """Addresses of one instance's console screenshot and serial log; they are secrets for as long as they last.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/retrieve-boot-diagnostics-data
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/retrieveBootDiagnosticsData"
    query = {"sasUriExpirationTimeInMinutes": None if expiration_minutes is None else str(expiration_minutes)}
    return cast(JsonDict, arm_of(auth).act("POST", path, api_version=api_version, wants_object=True, **query))


def attach_detach_data_disks_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    disks: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that attaches and detaches data disks of one instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/attach-detach-data-disks
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/attachDetachDataDisks"
    return arm_of(auth).start("POST", path, disks, api_version=api_version)


def run_command_vmss_vm(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    command: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that runs a script inside one instance; its `resource` is the output.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/run-command
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/runCommand"
    return arm_of(auth).start("POST", path, command, api_version=api_version)


def _flexible_path(subscription_id: str, resource_group: str, vm_name: str) -> str:
    return f"{group_path(subscription_id, resource_group)}/virtualMachines/{wire.segment(vm_name, 'VM name')}"


def get_flexible_vm(
    auth: Auth, /, subscription_id: str, resource_group: str, vm_name: str, *, api_version: str | None = None
) -> JsonDict:
    """One VM of a Flexible set by its own name, as the VM API shows it.

    https://learn.microsoft.com/rest/api/compute/virtual-machines/get
    """
    path = _flexible_path(subscription_id, resource_group, vm_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version))


def get_flexible_vm_instance_view(
    auth: Auth, /, subscription_id: str, resource_group: str, vm_name: str, *, api_version: str | None = None
) -> VmssVmInstanceView:
    """Power and health of one VM of a Flexible set, which the scale set itself does not show. It has no domains.

    https://learn.microsoft.com/rest/api/compute/virtual-machines/instance-view
    """
    path = f"{_flexible_path(subscription_id, resource_group, vm_name)}/instanceView"
    return cast(VmssVmInstanceView, arm_of(auth).get(path, api_version=api_version))


conceal_tokens(globals(), arm_of)
