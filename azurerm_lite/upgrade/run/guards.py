"""Guards of an upgrade: automatic repairs are suspended and the current batch is protected from scale-in.

Each guard is written to the journal before it is set, so that the end of the upgrade, `resume` and `clean_up` can
remove it.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ...arm import Arm
from ...endpoints import vmss, vmss_vm
from ...errors import AzurermLiteError, ConcurrencyError, NotFoundError, ThrottledError, TransportError
from ...operation import Operation
from ...types import ScaleSet

REPAIRS = "AutomaticRepairs"
_READ_ONLY = (
    "latestModelApplied",
    "vmId",
    "instanceView",
    "provisioningState",
    "modelDefinitionApplied",
    "timeCreated",
)
_TRIES = 3


class InstanceBusy(AzurermLiteError):
    """The instance is being changed now, and a write to it could cancel that change."""


# --- automatic repairs -----------------------------------------------------------------------------------------------


def are_repairs_running(arm: Arm, address: ScaleSet) -> bool:
    """Whether automatic repairs are enabled and running; only then does an upgrade suspend and later resume them."""
    properties: Any = vmss.get_vmss(arm, *address)["properties"]
    enabled = (properties.get("automaticRepairsPolicy") or {}).get("enabled") is True
    return enabled and _service_state(arm, address) == "running"


def _service_state(arm: Arm, address: ScaleSet) -> str:
    view: Any = vmss.get_vmss_instance_view(arm, *address)
    services = view.get("orchestrationServices") or []
    return next(
        (str(service.get("serviceState")) for service in services if service.get("serviceName") == REPAIRS), ""
    ).lower()


def set_repairs(arm: Arm, address: ScaleSet, action: str) -> None:
    """Suspend or resume automatic repairs, and wait for it. `action`: "Suspend" or "Resume"."""
    vmss.set_orchestration_service_state(arm, *address, action, REPAIRS).wait()


# --- protection from scale-in ----------------------------------------------------------------------------------------


def list_unprotected(arm: Arm, address: ScaleSet, ids: Iterable[str]) -> list[str]:
    """The ids of the instances that are not protected from scale-in."""
    return [name for name in ids if not _policy(_instance(arm, address, name)).get("protectFromScaleIn", False)]


class ProtectionWrites(NamedTuple):
    """The started writes by instance id, the ids that needed no write, and the first error."""

    operations: dict[str, Operation]
    unneeded: tuple[str, ...]
    error: AzurermLiteError | None


def protect(arm: Arm, address: ScaleSet, ids: Iterable[str], on: bool) -> ProtectionWrites:
    """Start to protect instances from scale-in (`on` True) or to remove the protection (`on` False).

    A deleted instance needs no write. An instance that is being changed is not written (InstanceBusy). After an outage
    or a throttle the remaining instances are not tried.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-instance-protection
    """
    operations, unneeded, first = dict[str, Operation](), list[str](), None
    for name in ids:
        try:
            operation = _write_protection(arm, address, name, on)
        except AzurermLiteError as error:
            first = first or error
            if isinstance(error, ThrottledError | TransportError):
                break
            continue
        if operation is None:
            unneeded.append(name)
        else:
            operations[name] = operation
    return ProtectionWrites(operations, tuple(unneeded), first)


def unprotect(arm: Arm, address: ScaleSet, ids: Iterable[str], note: Callable[[list[str]], None]) -> None:
    """Remove the protection of instances and wait for it.

    `note` is called with the ids that are no longer protected. Then the first error is raised, if there was one.
    """
    writes = protect(arm, address, ids, False)
    free, first = list(writes.unneeded), writes.error
    for name, operation in writes.operations.items():
        try:
            operation.wait()
            free.append(name)
        except AzurermLiteError as error:
            first = first or error
    note(free)
    if first is not None:
        raise first


def _write_protection(arm: Arm, address: ScaleSet, instance_id: str, on: bool) -> Operation | None:
    for tries_left in reversed(range(_TRIES)):
        instance = _instance(arm, address, instance_id)
        if not instance or _policy(instance).get("protectFromScaleIn", False) is on:
            return None
        if str(instance["properties"].get("provisioningState")) == "Updating":
            raise InstanceBusy(f"instance {instance_id} is being changed, so its protection was not changed")
        properties = {key: value for key, value in instance["properties"].items() if key not in _READ_ONLY}
        properties["protectionPolicy"] = {**_policy(instance), "protectFromScaleIn": on}
        body: dict[str, Any] = {
            key: copy.deepcopy(instance[key]) for key in ("location", "tags", "plan", "identity") if key in instance
        }
        try:
            return vmss_vm.put_vmss_vm(
                arm, *address, instance_id, {**body, "properties": properties}, if_match=instance.get("etag")
            )
        except ConcurrencyError:
            if not tries_left:
                raise
        except NotFoundError:
            return None
    return None


def _instance(arm: Arm, address: ScaleSet, instance_id: str) -> dict[str, Any]:
    """Read an instance; {} when it has been deleted."""
    try:
        return {**vmss_vm.get_vmss_vm(arm, *address, instance_id)}
    except NotFoundError:
        return {}


def _policy(instance: dict[str, Any]) -> dict[str, Any]:
    return dict((instance.get("properties") or {}).get("protectionPolicy") or {})
