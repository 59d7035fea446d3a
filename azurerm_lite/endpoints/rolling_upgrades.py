"""Azure's own rolling upgrade and its lifecycle hooks: one function per endpoint.

Azure runs such an upgrade in mode Rolling; `azurerm_lite.upgrade` has functions that start and watch one. Shared
arguments, results and errors are described in `azurerm_lite.endpoints.vmss`.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades
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

HOOKS_SINCE = "2025-11-01"


def start_os_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation in which Azure upgrades every instance to the newest image, batch by batch.

    It does not roll back by itself.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/start-os-upgrade
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/osRollingUpgrade"
    return arm_of(auth).start("POST", path, api_version=api_version)


def start_extension_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation in which Azure upgrades every instance to the newest extensions, batch by batch.

    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/start-extension-upgrade
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/extensionRollingUpgrade"
    return arm_of(auth).start("POST", path, api_version=api_version)


def cancel_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation that cancels the rolling upgrade of a scale set.

    Raises: ConflictError when none is running, InvalidInput, NotFoundError, another ArmError, TransportError,
    OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/cancel
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/rollingUpgrades/cancel"
    return arm_of(auth).start("POST", path, api_version=api_version)


def get_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> JsonDict:
    """Get the status and counts of the latest rolling upgrade; Azure names no instances.

    Returns `{"properties": {"runningStatus": {"code": ...}, "progress": {"successfulInstanceCount": ..., ...}, ...}}`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/get-latest
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/rollingUpgrades/latest"
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version))


def list_lifecycle_hook_events(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str = HOOKS_SINCE
) -> list[JsonDict]:
    """List the lifecycle hook events whose approval Azure waits for before it continues an automatic OS upgrade.

    Requires api-version 2025-11-01 or later.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-life-cycle-hook-events/list
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/lifecycleHookEvents"
    return arm_of(auth).list(path, api_version=api_version)


def get_lifecycle_hook_event(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    event_name: str,
    *,
    api_version: str = HOOKS_SINCE,
) -> JsonDict:
    """Get a lifecycle hook event.

    Requires api-version 2025-11-01 or later.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-life-cycle-hook-events/get
    """
    name = wire.segment(event_name, "lifecycle hook event name")
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/lifecycleHookEvents/{name}"
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version))


def patch_lifecycle_hook_event(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    event_name: str,
    patch: Mapping[str, Any],
    *,
    api_version: str = HOOKS_SINCE,
) -> JsonDict:
    """Approve, reject or delay a lifecycle hook event, and return the changed event.

    Requires api-version 2025-11-01 or later. `patch`: `{"properties": {"targetResources": [{"resource": {"id": ...},
    "actionState": "Approved" or "Rejected"}]}}`, or `{"properties": {"waitUntil": ISO 8601 time}}` to delay it.
    Raises: InvalidInput, NotFoundError, ConflictError, another ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-life-cycle-hook-events/update
    """
    name = wire.segment(event_name, "lifecycle hook event name")
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/lifecycleHookEvents/{name}"
    body = arguments.json_object(patch, "patch")
    return cast(JsonDict, arm_of(auth).act("PATCH", path, body, api_version=api_version, wants_object=True))


conceal_functions(globals())
