"""Azure's own rolling upgrade and the hooks that hold it up: one function for each endpoint, and nothing else.

Azure drives these in mode Rolling; `upgrade.roll` watches one to its end. Arguments are as in `vmss`.
https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades
"""

from collections.abc import Mapping
from typing import Any, cast

from . import wire
from .arm import Auth, arm_of
from .operation import Operation
from .secrecy import conceal_tokens
from .types import JsonDict
from .vmss import vmss_path

HOOKS_SINCE = "2025-11-01"


def start_os_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation in which Azure rolls every instance to the newest image. It does not roll back by itself.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/start-os-upgrade
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/osRollingUpgrade"
    return arm_of(auth).start("POST", path, api_version=api_version)


def start_extension_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation in which Azure rolls every instance to the newest extensions.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/start-extension-upgrade
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/extensionRollingUpgrade"
    return arm_of(auth).start("POST", path, api_version=api_version)


def cancel_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> Operation:
    """The Operation that stops the rolling upgrade under way; ConflictError when there is none.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/cancel
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/rollingUpgrades/cancel"
    return arm_of(auth).start("POST", path, api_version=api_version)


def get_rolling_upgrade(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str | None = None
) -> JsonDict:
    """The newest rolling upgrade: its status, and counts without instance ids.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/get-latest
    """
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/rollingUpgrades/latest"
    return cast(JsonDict, arm_of(auth).get(path, api_version=api_version))


def list_lifecycle_hook_events(
    auth: Auth, /, subscription_id: str, resource_group: str, vmss_name: str, *, api_version: str = HOOKS_SINCE
) -> list[JsonDict]:
    """What Azure waits for an answer to before it goes on with an automatic OS upgrade. Born in 2025-11-01.

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
    """One lifecycle hook event. Born in 2025-11-01.

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
    """The lifecycle hook event as it is after it was approved, rejected or put off. Born in 2025-11-01.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-life-cycle-hook-events/update
    """
    name = wire.segment(event_name, "lifecycle hook event name")
    path = f"{vmss_path(subscription_id, resource_group, vmss_name)}/lifecycleHookEvents/{name}"
    return cast(JsonDict, arm_of(auth).act("PATCH", path, patch, api_version=api_version, wants_object=True))


conceal_tokens(globals(), arm_of)
