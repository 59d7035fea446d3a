"""Guard rails around an upgrade: no automatic repairs while it runs, no scale-in of instances that are in flight.

What is done here stands in the journal before it is done, so that every exit, `resume` and `repair` can take it back.
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


class InMotion(AzurermLiteError):
    """An instance that is being changed now: a write to it could end that."""


# --- automatic repairs -----------------------------------------------------------------------------------------------


def repairs_on(arm: Arm, address: ScaleSet) -> bool:
    """Whether the set's repairs are running, so that it is ours to suspend them, and to resume them after."""
    found: Any = vmss.get_vmss(arm, *address)["properties"]
    enabled = (found.get("automaticRepairsPolicy") or {}).get("enabled") is True
    return enabled and _service_state(arm, address) == "running"


def _service_state(arm: Arm, address: ScaleSet) -> str:
    view: Any = vmss.get_vmss_instance_view(arm, *address)
    services = view.get("orchestrationServices") or []
    return next((str(one.get("serviceState")) for one in services if one.get("serviceName") == REPAIRS), "").lower()


def set_repairs(arm: Arm, address: ScaleSet, action: str) -> None:
    """`action`: Suspend or Resume; ended when it returns."""
    vmss.set_orchestration_service_state(arm, *address, action, REPAIRS).wait()


# --- protection from scale-in ----------------------------------------------------------------------------------------


def unprotected(arm: Arm, address: ScaleSet, ids: Iterable[str]) -> list[str]:
    """Those of these instances that a scale-in could take now."""
    return [one for one in ids if not _policy(_instance(arm, address, one)).get("protectFromScaleIn", False)]


class Writes(NamedTuple):
    """The writes of protection that were begun, by instance id; which instances needed none; and the first error."""

    operations: dict[str, Operation]
    unneeded: tuple[str, ...]
    error: AzurermLiteError | None


def protect(arm: Arm, address: ScaleSet, ids: Iterable[str], on: bool) -> Writes:
    """Begin to protect instances from scale-in, or to end that. Instances that are gone need nothing.

    An instance that is being changed is left as it is (InMotion). After an outage or a throttle no other one is tried.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-instance-protection
    """
    operations, unneeded, first = dict[str, Operation](), list[str](), None
    for name in ids:
        try:
            operation = _protected(arm, address, name, on)
        except AzurermLiteError as error:
            first = first or error
            if isinstance(error, ThrottledError | TransportError):
                break
            continue
        if operation is None:
            unneeded.append(name)
        else:
            operations[name] = operation
    return Writes(operations, tuple(unneeded), first)


def unprotect(arm: Arm, address: ScaleSet, ids: Iterable[str], note: Callable[[list[str]], None]) -> None:
    """End the protection of instances and wait for it. `note` gets the ids that are free; the first error is raised."""
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


def _protected(arm: Arm, address: ScaleSet, instance_id: str, on: bool) -> Operation | None:
    for left in reversed(range(_TRIES)):
        found = _instance(arm, address, instance_id)
        if not found or _policy(found).get("protectFromScaleIn", False) is on:
            return None
        if str(found["properties"].get("provisioningState")) == "Updating":
            raise InMotion(f"instance {instance_id} is being changed: its protection is left as it is")
        own = {key: value for key, value in found["properties"].items() if key not in _READ_ONLY}
        own["protectionPolicy"] = {**_policy(found), "protectFromScaleIn": on}
        body: dict[str, Any] = {
            key: copy.deepcopy(found[key]) for key in ("location", "tags", "plan", "identity") if key in found
        }
        try:
            return vmss_vm.put_vmss_vm(
                arm, *address, instance_id, {**body, "properties": own}, if_match=found.get("etag")
            )
        except ConcurrencyError:
            if not left:
                raise
        except NotFoundError:
            return None
    return None


def _instance(arm: Arm, address: ScaleSet, instance_id: str) -> dict[str, Any]:
    """An instance as it is now; {} when it is gone."""
    try:
        return {**vmss_vm.get_vmss_vm(arm, *address, instance_id)}
    except NotFoundError:
        return {}


def _policy(found: dict[str, Any]) -> dict[str, Any]:
    return dict((found.get("properties") or {}).get("protectionPolicy") or {})
