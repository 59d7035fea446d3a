"""Extensions and run commands of scale sets and of their instances: one function for each endpoint, and nothing else.

Secrets in `protectedSettings` never come back: leave them out of what you write to keep them, an empty object erases.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions
"""

from collections.abc import Mapping
from typing import Any, cast

from . import wire
from .arm import Auth, arm_of
from .operation import Operation
from .secrecy import conceal_tokens
from .types import JsonDict
from .vmss import vmss_path
from .vmss_vm import vm_path

DIAGNOSTIC_SINCE = "2026-04-01"


def _of_set(subscription_id: str, resource_group: str, vmss_name: str, name: str) -> str:
    return f"{vmss_path(subscription_id, resource_group, vmss_name)}/extensions/{wire.segment(name, 'extension name')}"


def _of_vm(
    subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int, kind: str, name: str
) -> str:
    path = vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return f"{path}/{kind}/{wire.segment(name, f'name in {kind}')}"


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
    """One extension of a scale set.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/get
    """
    path = _of_set(subscription_id, resource_group, vmss_name, extension_name)
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
    """The Operation that creates or replaces one extension of a scale set.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/create-or-update
    """
    path = _of_set(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("PUT", path, extension, api_version=api_version)


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
    """The Operation that merges `patch` into one extension of a scale set.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/update
    """
    path = _of_set(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("PATCH", path, patch, api_version=api_version)


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
    """The Operation that deletes one extension of a scale set.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions/delete
    """
    path = _of_set(subscription_id, resource_group, vmss_name, extension_name)
    return arm_of(auth).start("DELETE", path, api_version=api_version)


def list_vmss_extensions(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """All extensions of a scale set.

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
    """One extension of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/get
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
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
    """The Operation that creates or replaces one extension of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/create-or-update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return arm_of(auth).start("PUT", path, extension, api_version=api_version)


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
    """The Operation that merges `patch` into one extension of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
    return arm_of(auth).start("PATCH", path, patch, api_version=api_version)


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
    """The Operation that deletes one extension of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-extensions/delete
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "extensions", extension_name)
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
    """All extensions of an instance.

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
    """One run command of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/get
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
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
    """The Operation that creates or replaces one run command of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/create-or-update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return arm_of(auth).start("PUT", path, run_command, api_version=api_version)


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
    """The Operation that merges `patch` into one run command of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
    return arm_of(auth).start("PATCH", path, patch, api_version=api_version)


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
    """The Operation that deletes one run command of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/delete
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "runCommands", run_command_name)
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
    """All run commands of an instance.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-run-commands/list
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/runCommands"
    return arm_of(auth).list(path, api_version=api_version, **{"$expand": expand})


# --- diagnostic run commands: younger than the default api-version ---------------------------------------------------


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
    """One diagnostic run command of an instance. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/get
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "diagnosticRunCommands", run_command_name)
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
    """The Operation that creates or replaces one diagnostic run command of an instance. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/create-or-update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "diagnosticRunCommands", run_command_name)
    return arm_of(auth).start("PUT", path, run_command, api_version=api_version)


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
    """The Operation that merges `patch` into one diagnostic run command of an instance. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/update
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "diagnosticRunCommands", run_command_name)
    return arm_of(auth).start("PATCH", path, patch, api_version=api_version)


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
    """The Operation that deletes one diagnostic run command of an instance. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/delete
    """
    path = _of_vm(subscription_id, resource_group, vmss_name, instance_id, "diagnosticRunCommands", run_command_name)
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
    """All diagnostic run commands of an instance. Born in 2026-04-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vm-diagnostic-run-commands/list
    """
    path = f"{vm_path(subscription_id, resource_group, vmss_name, instance_id)}/diagnosticRunCommands"
    return arm_of(auth).list(path, api_version=api_version, **{"$expand": expand})


conceal_tokens(globals(), arm_of)
