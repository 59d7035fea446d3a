"""update_vmss: read a model, change it, PATCH what changed, and start over after a concurrent write.

Capacity is written only when the change touched it, since an autoscaler may change it between the read and the write.
"""

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from . import model as _model
from ._common import arguments
from ._common.secrecy import conceal_locals
from .arm import Arm, Auth, arm_of
from .endpoints.vmss import get_vmss, patch_vmss
from .errors import BusyError, ConcurrencyError
from .model.edits import changed_by, protected_settings_warnings
from .operation import Operation
from .types import ScaleSet, Vmss

log = logging.getLogger(__name__)

Changer = Callable[[Vmss], object]

BUSY_ATTEMPTS, BUSY_SECONDS = 20, 15.0  # while another operation holds the scale set


@conceal_locals
def update_vmss(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: Changer,
    *,
    api_version: str | None = None,
) -> Operation | None:
    """The Operation that writes the changes that `change` makes to the model; None when it changes nothing.

    `change`: a function that gets the model and changes it, or returns a new model or an Edit, such as
    `lambda model: set_image_version(model, "1.2.3")`. It may be called a second time: when the scale set changed after
    it was read, `change` is applied to the new model, unless both changes touch the same path. The patch is that of
    `merge_patch`, sent with the model's etag. While another operation holds the scale set, the update is tried again
    for five minutes. A warning is logged for each changed extension that may have protected settings.

    Raises: InvalidInput, before anything is written, for a change that no PATCH can express; ConcurrencyError, which
    names the paths that both changes touch, or when `change` returns a model with another etag; BusyError, another
    ArmError, TransportError, OutcomeUnknown.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update
    """
    arguments.typed(Callable, change=change)
    arm, address = arm_of(auth), (subscription_id, resource_group, vmss_name)
    for _ in range(BUSY_ATTEMPTS):
        with contextlib.suppress(BusyError):
            return _update_once(arm, address, change, api_version)
        arm.pause(BUSY_SECONDS)
    return _update_once(arm, address, change, api_version)


def _update_once(arm: Arm, address: tuple[str, str, str], change: Changer, api_version: str | None) -> Operation | None:
    before = get_vmss(arm, *address, api_version=api_version)
    after = _apply(change, before)
    try:
        return _write(arm, address, before, after, api_version)
    except ConcurrencyError as error:
        current = get_vmss(arm, *address, api_version=api_version)
        updated = _apply(change, current)
        if both := (_paths(before, after) | _paths(current, updated)) & _paths(before, current):
            error.message += f"; somebody else changed {', '.join(sorted(both))} at the same time"
            raise
        return _write(arm, address, current, updated, api_version)


def _write(
    arm: Arm, address: tuple[str, str, str], before: Vmss, after: Mapping[str, Any], api_version: str | None
) -> Operation | None:
    patch = _model.merge_patch(before, after)
    if not patch:
        return None
    if "etag" not in before and _paths(before, get_vmss(arm, *address, api_version=api_version)):
        raise ConcurrencyError("the model has no etag, and it has changed since it was read", status=412)
    operation = patch_vmss(arm, *address, patch, if_match=before.get("etag"), api_version=api_version)
    for line in protected_settings_warnings(before, after):
        log.warning("%s: %s", ScaleSet(*address).resource_id, line)
    return operation


def _apply(change: Changer, model: Vmss) -> Mapping[str, Any]:
    result, _ = changed_by(model, change)
    if "etag" in model and result.get("etag", model["etag"]) != model["etag"]:
        why = "the model that change returned has another etag: change the model that it is called with"
        raise ConcurrencyError(why, status=412)
    return result


def _paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """The paths in which two models differ, without read-only fields."""
    return {change.path for change in _model.diff(_model.without_read_only(old), _model.without_read_only(new))}
