"""One instance of a scale set: one function per endpoint.

Shared arguments, results and errors are described in `azurerm_lite.endpoints.vmss`. `instance_id`: a number in Uniform
sets, the name of the VM in Flexible sets. Protection from scale-set actions does not block the functions of this
module.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms
"""

from collections.abc import Mapping
from typing import Any, cast

from .._common import arguments
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..operation import Operation
from ..types import JsonDict, VmssVm, VmssVmInstanceView
from .vmss import MODEL_ETAG, etag_to_send, flag, group_path, vmss_path


def vm_path(subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int) -> str:
    """The ARM path of an instance."""
    (name,) = wire.instance_ids([instance_id])
    return f"{vmss_path(subscription_id, resource_group, vmss_name)}/virtualMachines/{name}"


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
    """Get an instance, with its latestModelApplied, exact image version and protection policy.

    `expand`: "instanceView" (see `get_vmss_vm_instance_view`) or "userData".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
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
    """Get the power state, health, update and fault domain, and placement group of an instance.

    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
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
    if_match: str | None = MODEL_ETAG,
    api_version: str | None = None,
) -> Operation:
    """The Operation that writes an instance, such as its protection policy.

    `model`: the instance as `get_vmss_vm` returned it, with your change; at least `{"location": ...}`. Protection is
    `{"properties": {"protectionPolicy": {"protectFromScaleIn": bool, "protectFromScaleSetActions": bool}}}`. The etag
    of the model is sent as If-Match; `if_match=None` sends none.
    Raises: ConcurrencyError when the instance has changed, InvalidInput, another ArmError, TransportError,
    OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/update
    """
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    model = arguments.json_object(model, "model")
    return arm_of(auth).start("PUT", path, model, api_version=api_version, if_match=etag_to_send(if_match, model))


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
    """The Operation that deletes an instance.

    `force_deletion=True`: forced deletion (a preview feature).
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/delete
    """
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return arm_of(auth).start("DELETE", path, api_version=api_version, forceDeletion=flag(force_deletion))


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
    """The Operation that starts a stopped or deallocated instance.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that restarts an instance.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that stops an instance and releases its hardware, which ends the compute charge.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that moves an instance to other hardware.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that performs planned maintenance on an instance now.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that replaces all disks of an instance, data disks included.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that approves a deferred rolling upgrade for an instance.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that stops an instance; it is still charged for.

    `skip_shutdown=True`: power off without a graceful shutdown.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """The Operation that replaces the OS disk of an instance with its image.

    `options`: `{"exactVersion": str, "tempDisk": bool, "forceUpdateOSDiskForEphemeral": bool, "osProfile":
    {"adminPassword": str, "customData": base64 str}}`, every key optional.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/reimage
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/reimage"
    return arm_of(auth).start(
        "POST", path, arguments.json_object({} if options is None else options, "options"), api_version=api_version
    )


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
    """Evict a spot instance within 30 minutes; returns nothing.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
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
    """Get temporary URLs of the console screenshot and the serial log of an instance.

    `expiration_minutes`: 1 to 1440, Azure's default is 120. Returns `{"consoleScreenshotBlobUri": ...,
    "serialConsoleLogBlobUri": ...}`; until they expire, anyone with these URLs can read the data.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/retrieve-boot-diagnostics-data
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/retrieveBootDiagnosticsData"
    if expiration_minutes is not None:
        arguments.whole_number(expiration_minutes, "expiration_minutes", 1, 1_000_000, "minutes")
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
    """The Operation that attaches and detaches managed data disks of an instance.

    `disks`: `{"dataDisksToAttach": [{"diskId": resource id, "lun": int}], "dataDisksToDetach": [{"diskId": resource
    id}]}`, either key optional.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/attach-detach-data-disks
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/attachDetachDataDisks"
    return arm_of(auth).start("POST", path, arguments.json_object(disks, "disks"), api_version=api_version)


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
    """The Operation that runs a script on an instance; its `resource` holds the output.

    `command`: `{"commandId": "RunShellScript" or "RunPowerShellScript", "script": [line, ...], "parameters": [{"name":
    ..., "value": ...}]}`; only `commandId` is required. Output: `{"value": [{"code": ..., "message": ...}]}`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms/run-command
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/runCommand"
    return arm_of(auth).start("POST", path, arguments.json_object(command, "command"), api_version=api_version)


def _flexible_path(subscription_id: str, resource_group: str, vm_name: str) -> str:
    return f"{group_path(subscription_id, resource_group)}/virtualMachines/{wire.segment(vm_name, 'VM name')}"


def get_flexible_vm(
    auth: Auth, /, subscription_id: str, resource_group: str, vm_name: str, *, api_version: str | None = None
) -> JsonDict:
    """Get a VM of a Flexible set from the VM API.

    `vm_name`: the name of the VM, which is also its instance id.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machines/get
    """
    path = _flexible_path(subscription_id, resource_group, vm_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version))


def get_flexible_vm_instance_view(
    auth: Auth, /, subscription_id: str, resource_group: str, vm_name: str, *, api_version: str | None = None
) -> VmssVmInstanceView:
    """Get the power state and health of a VM of a Flexible set, which the scale set does not show.

    `vm_name`: the name of the VM, which is also its instance id. The view has no domains.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machines/instance-view
    """
    path = f"{_flexible_path(subscription_id, resource_group, vm_name)}/instanceView"
    return cast(VmssVmInstanceView, arm_of(auth).get(path, api_version=api_version))


conceal_functions(globals())
