"""The safe way to change a model: read, change, write what changed, and start over when somebody was quicker.

It composes endpoints and is none itself. Capacity is written only when the change touched it, since an autoscaler may
have moved it between the read and the write.
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
from .model.edits import changed_by, unseen_secrets
from .operation import Operation
from .types import ScaleSet, Vmss

log = logging.getLogger(__name__)

Changer = Callable[[Vmss], object]


BUSY_TURNS, BUSY_SECONDS = 20, 15.0  # how often and how long to wait for an operation that holds the set


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
    """The Operation that writes what `change` made of the model; None when it changed nothing.

    `change` gets the model and changes it, or gives a new one or an Edit: `lambda m: set_image_version(m, "1.2.3")`.
    Only what changed is sent, with the model's etag, and whole where Azure would otherwise replace or derive the rest
    (tags, the storage profile: see `merge_patch`). InvalidInput for a change that no PATCH can express, before anything
    is sent. When somebody else wrote in between, the change is made once more
    on what is there now, unless they changed the same paths: then it is a ConcurrencyError that names them. So is a
    model that `change` gives and that was read before somebody else wrote: its etag is not that of the model. While
    another operation holds the set it is tried again, for a few minutes. The log has a warning for each extension that
    was touched and may have protected settings, which no GET shows: left out, they stay.
    """
    arguments.typed(Callable, change=change)
    arm, address = arm_of(auth), (subscription_id, resource_group, vmss_name)
    for _ in range(BUSY_TURNS):
        with contextlib.suppress(BusyError):
            return _once(arm, address, change, api_version)
        arm.pause(BUSY_SECONDS)
    return _once(arm, address, change, api_version)


def _once(arm: Arm, address: tuple[str, str, str], change: Changer, api_version: str | None) -> Operation | None:
    before = get_vmss(arm, *address, api_version=api_version)
    after = _changed(before, change)
    try:
        return _write(arm, address, before, after, api_version)
    except ConcurrencyError as lost:
        now = get_vmss(arm, *address, api_version=api_version)
        again = _changed(now, change)
        if both := (_paths(before, after) | _paths(now, again)) & _paths(before, now):
            lost.message += f"; somebody else changed {', '.join(sorted(both))} at the same time"
            raise
        return _write(arm, address, now, again, api_version)


def _write(
    arm: Arm, address: tuple[str, str, str], before: Vmss, after: Mapping[str, Any], api_version: str | None
) -> Operation | None:
    patch = _model.merge_patch(before, after)
    if not patch:
        return None
    if "etag" not in before and _paths(before, get_vmss(arm, *address, api_version=api_version)):
        raise ConcurrencyError("the model has no etag, and it has changed since it was read", status=412)
    operation = patch_vmss(arm, *address, patch, if_match=before.get("etag"), api_version=api_version)
    for line in unseen_secrets(before, after):
        log.warning("%s: %s", ScaleSet(*address).resource_id, line)
    return operation


def _changed(model: Vmss, change: Changer) -> Mapping[str, Any]:
    result, _ = changed_by(model, change)
    if "etag" in model and result.get("etag", model["etag"]) != model["etag"]:
        why = "the model that change gave was read before somebody else wrote: change the model that it gets"
        raise ConcurrencyError(why, status=412)
    return result


def _paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Where two models differ, besides what Azure alone writes."""
    return {change.path for change in _model.diff(_model.without_read_only(old), _model.without_read_only(new))}
