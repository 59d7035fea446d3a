"""Extensions and run commands of scale sets and instances: one function per endpoint.

Shared arguments, results and errors are described in `azurerm_lite.endpoints.vmss`. Azure never returns
`protectedSettings`: a write without that key keeps them, a write with an empty object erases them.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions
"""

from collections.abc import Mapping
from typing import Any, cast

from .._common import arguments
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..operation import Operation
from ..types import JsonDict
from .vmss import vmss_path
from .vmss_vm import vm_path

DIAGNOSTIC_SINCE = "2026-04-01"


def _extension_path(subscription_id: str, resource_group: str, vmss_name: str, name: str) -> str:
    return f"{vmss_path(subscription_id, resource_group, vmss_name)}/extensions/{wire.segment(name, 'extension name')}"


def _child_path(
    subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int, kind: str, name: str
) -> str:
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return f"{path}/{kind}/{wire.segment(name, f'name in {kind}')}"


def _diagnostic_path(
    subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int, name: str
) -> str:
    return _child_path(subscription_id, resource_group, vmss_name, instance_id, "diagnosticRunCommands", name)


def get_vmss_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    extension_name: str,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> JsonDict:
    """Get an extension of a scale set.

    `expand`: OData's `$expand`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/get
    """
    path = _extension_path(subscription_id, resource_group, vmss_name, extension_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    extension_name: str,
    extension: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that creates or replaces an extension of a scale set.

    `extension`: `{"properties": {"publisher": ..., "type": ..., "typeHandlerVersion": ..., "settings": {...},
    "protectedSettings": {...}}}`; a new extension needs the first three.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/create-or-update
    """
    path = _extension_path(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("PUT", path, arguments.json_object(extension, "extension"), api_version=api_version)


def patch_vmss_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    extension_name: str,
    patch: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that changes an extension of a scale set.

    `patch`: `{"properties": {...}}` with the keys of `put_vmss_extension` that change.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/update
    """
    path = _extension_path(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("PATCH", path, arguments.json_object(patch, "patch"), api_version=api_version)


def delete_vmss_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    extension_name: str,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes an extension of a scale set.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/delete
    """
    path = _extension_path(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version)


def list_vmss_extensions(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """List the extensions of a scale set.

    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/list
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/extensions"
    return arm_of(auth).list(path, api_version=api_version)


def get_vmss_vm_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    extension_name: str,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> JsonDict:
    """Get an extension of an instance.

    `expand`: OData's `$expand`, such as "instanceView".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/get
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss_vm_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    extension_name: str,
    extension: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that creates or replaces an extension of an instance.

    `extension`: `{"location": ..., "properties": {"publisher": ..., "type": ..., "typeHandlerVersion": ..., "settings":
    {...}, "protectedSettings": {...}}}`; a new extension needs the first three.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/create-or-update
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return arm_of(auth).start("PUT", path, arguments.json_object(extension, "extension"), api_version=api_version)


def patch_vmss_vm_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    extension_name: str,
    patch: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that changes an extension of an instance.

    `patch`: `{"properties": {...}}` with the keys of `put_vmss_vm_extension` that change.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/update
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return arm_of(auth).start("PATCH", path, arguments.json_object(patch, "patch"), api_version=api_version)


def delete_vmss_vm_extension(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    extension_name: str,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes an extension of an instance.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/delete
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version)


def list_vmss_vm_extensions(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> list[JsonDict]:
    """List the extensions of an instance.

    `expand`: OData's `$expand`, such as "instanceView".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/list
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/extensions"
    return arm_of(auth).list(path, api_version=api_version, **{"$expand": expand})


def get_vmss_vm_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> JsonDict:
    """Get a run command of an instance.

    `expand`: OData's `$expand`, such as "instanceView", which holds the output.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/get
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss_vm_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    run_command: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that creates or replaces a run command of an instance, which runs its script.

    `run_command`: `{"location": ..., "properties": {"source": {"script": ...}}}`; instead of `script`: `scriptUri` or
    `commandId`. Optional properties: `parameters` (`[{"name": ..., "value": ...}]`), `timeoutInSeconds`,
    `asyncExecution`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/create-or-update
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return arm_of(auth).start("PUT", path, arguments.json_object(run_command, "run_command"), api_version=api_version)


def patch_vmss_vm_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    patch: Mapping[str, Any],
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that changes a run command of an instance.

    `patch`: `{"properties": {...}}` with the keys of `put_vmss_vm_run_command` that change.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/update
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return arm_of(auth).start("PATCH", path, arguments.json_object(patch, "patch"), api_version=api_version)


def delete_vmss_vm_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    *,
    api_version: str | None = None,
) -> Operation:
    """The Operation that deletes a run command of an instance.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/delete
    """
    path = _child_path(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version)


def list_vmss_vm_run_commands(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    expand: str | None = None,
    api_version: str | None = None,
) -> list[JsonDict]:
    """List the run commands of an instance.

    `expand`: OData's `$expand`, such as "instanceView".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/list
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/runCommands"
    return arm_of(auth).list(path, api_version=api_version, **{"$expand": expand})


# --- diagnostic run commands: they require a newer api-version -------------------------------------------------------


def get_vmss_vm_diagnostic_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    *,
    expand: str | None = None,
    api_version: str = DIAGNOSTIC_SINCE,
) -> JsonDict:
    """Get a diagnostic run command of an instance.

    Requires api-version 2026-04-01 or later. `expand`: OData's `$expand`, such as "instanceView".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/get
    """
    path = _diagnostic_path(subscription_id, resource_group, vmss_name, instance_id, run_command_name)
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version, **{"$expand": expand}))


def put_vmss_vm_diagnostic_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    run_command: Mapping[str, Any],
    *,
    api_version: str = DIAGNOSTIC_SINCE,
) -> Operation:
    """The Operation that creates or replaces a diagnostic run command of an instance, which runs its script.

    Requires api-version 2026-04-01 or later. `run_command`: `{"location": ..., "properties": {"source": {"script":
    ...}}}`; instead of `script`: `scriptUri` or `commandId`. Optional properties: `parameters` (`[{"name": ...,
    "value": ...}]`), `timeoutInSeconds`, `asyncExecution`.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/create-or-update
    """
    path = _diagnostic_path(subscription_id, resource_group, vmss_name, instance_id, run_command_name)
    return arm_of(auth).start("PUT", path, arguments.json_object(run_command, "run_command"), api_version=api_version)


def patch_vmss_vm_diagnostic_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    patch: Mapping[str, Any],
    *,
    api_version: str = DIAGNOSTIC_SINCE,
) -> Operation:
    """The Operation that changes a diagnostic run command of an instance.

    Requires api-version 2026-04-01 or later. `patch`: `{"properties": {...}}` with the keys of
    `put_vmss_vm_diagnostic_run_command` that change.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/update
    """
    path = _diagnostic_path(subscription_id, resource_group, vmss_name, instance_id, run_command_name)
    return arm_of(auth).start("PATCH", path, arguments.json_object(patch, "patch"), api_version=api_version)


def delete_vmss_vm_diagnostic_run_command(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    run_command_name: str,
    *,
    api_version: str = DIAGNOSTIC_SINCE,
) -> Operation:
    """The Operation that deletes a diagnostic run command of an instance.

    Requires api-version 2026-04-01 or later.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/delete
    """
    path = _diagnostic_path(subscription_id, resource_group, vmss_name, instance_id, run_command_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version)


def list_vmss_vm_diagnostic_run_commands(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    instance_id: str | int,
    *,
    expand: str | None = None,
    api_version: str = DIAGNOSTIC_SINCE,
) -> list[JsonDict]:
    """List the diagnostic run commands of an instance.

    Requires api-version 2026-04-01 or later. `expand`: OData's `$expand`, such as "instanceView".
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/list
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/diagnosticRunCommands"
    return arm_of(auth).list(path, api_version=api_version, **{"$expand": expand})


conceal_functions(globals())
