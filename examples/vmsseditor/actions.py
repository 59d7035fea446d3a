"""What can be done to a scale set and its instances, by name; each is one function of azurerm_lite.

Nothing here asks whether it is a good idea: the page has asked, and shown what would happen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import azurerm_lite as az
from azurerm_lite.types import Vmss

Start = Callable[..., az.Operation]
ON_INSTANCES: Mapping[str, Start] = {
    "upgrade": az.manual_upgrade_instances,
    "reimage": az.reimage_vmss_vms,
    "start": az.start_vmss_vms,
    "restart": az.restart_vmss_vms,
    "power off": az.power_off_vmss_vms,
    "deallocate": az.deallocate_vmss_vms,
    "delete": az.delete_vmss_vms,
}
ON_ALL = ("start", "restart", "power off", "deallocate")
PROTECTION = {"protect": True, "unprotect": False}
SETTERS: Mapping[str, Callable[[Any, Any], az.Edit]] = {
    "sku": az.set_image_sku,
    "version": az.set_image_version,
    "image_id": az.set_image_id,
    "image_uri": az.set_image_uri,
    "size": az.set_vm_size,
    "capacity": az.set_capacity,
}


def begin(arm: az.Arm, address: az.ScaleSet, action: str, ids: Sequence[str] | None) -> Iterator[az.Operation]:
    """The operations that do this to these instances, each begun when it is asked for; None means all of them."""
    if action in PROTECTION and ids:
        for one in ids:
            yield _protected(arm, address, one, PROTECTION[action])
    elif ids is None and action in ON_ALL:
        yield ON_INSTANCES[action](arm, *address, all_instances=True)
    elif ids is not None and action in ON_INSTANCES:
        yield ON_INSTANCES[action](arm, *address, ids)
    else:
        raise az.InvalidInput(f"there is no {action!r} for {'all instances' if ids is None else 'these instances'}")


def _protected(arm: az.Arm, address: az.ScaleSet, instance_id: str, on: bool) -> az.Operation:
    found: dict[str, Any] = {**az.get_vmss_vm(arm, *address, instance_id)}
    policy = {"protectFromScaleIn": on, "protectFromScaleSetActions": on}
    found["properties"] = {**found["properties"], "protectionPolicy": policy}
    return az.put_vmss_vm(arm, *address, instance_id, found)


def edited(model: Vmss, wishes: Mapping[str, Any]) -> Vmss:
    """The model as somebody wishes it; InvalidInput says which wish Azure could not accept."""
    if unknown := set(wishes) - set(SETTERS):
        raise az.InvalidInput(f"there is no {', '.join(sorted(unknown))} to edit")
    for name, change in SETTERS.items():
        if name in wishes:
            model = change(model, wishes[name]).model
    return model
