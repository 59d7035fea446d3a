"""How the provider reads a PUT or PATCH of a scale set: ARM's contract for tags, and the habits of a PATCH.

The contract: https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/resource-api-reference.md
`emulator.habits` has the habits, each with its sources.
"""

import copy
from collections.abc import Mapping
from typing import Any

from ..messages import ErrorResponse, Json
from .state import ScaleSet

Habits = frozenset[str]  # names of the habits that are on
_RENEWING = ("rolling", "automatic")
_NO_PROBE = (
    "Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe or health "
    "extension was not provided."
)
# Azure replaces these parts where a body has them, and merges all others. Recorded of scaleInPolicy.
_REPLACED: tuple[tuple[str, ...], ...] = (
    ("tags",),
    ("properties", "scaleInPolicy"),
    ("properties", "virtualMachineProfile", "securityProfile"),
)
# What no set can be without: a null in a PATCH does not erase it.
_PROFILE = ("properties", "virtualMachineProfile")
_BASIS = (
    ("location",),
    ("sku",),
    *(("sku", part) for part in ("name", "tier", "capacity")),
    ("properties",),
    *(("properties", part) for part in ("orchestrationMode", "singlePlacementGroup", "upgradePolicy")),
    ("properties", "upgradePolicy", "mode"),
    ("properties", "platformFaultDomainCount"),
    _PROFILE,
    *((*_PROFILE, part) for part in ("storageProfile", "osProfile", "networkProfile")),
)


def dig(value: Json, *path: str) -> Json:
    """The value at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def check_tags(habits: Habits, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with tags as Azure stores them; ErrorResponse for tags that are no map.

    A null value is an error with the habit tags-refuse-null; without it, the tag is left out.
    """
    if "tags" not in body:
        return dict(body)
    tags = body["tags"] if body["tags"] is not None else {}
    if not isinstance(tags, Mapping):
        raise _unreadable("tags", tags)
    for name, value in tags.items():
        if value is None and "tags-refuse-null" in habits:
            raise _unreadable(f"tags.{name}", value)
    return {**body, "tags": {name: value for name, value in tags.items() if value is not None}}


def _unreadable(path: str, value: Json) -> ErrorResponse:
    text = (
        "The request content was invalid and could not be deserialized: 'Error converting value "
        f"{'{null}' if value is None else str(value)[:80]} to type System.String. Path '{path}'.'."
    )
    return ErrorResponse(400, "InvalidRequestContent", text, gateway=True)


def read_patch(habits: Habits, scale_set: ScaleSet, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PATCH as the provider reads it; ErrorResponse where a habit refuses it."""
    if "patch-wants-image" in habits:
        _refuse_without_image(scale_set, body)
    if "patch-wants-upgrade-policy" in habits:
        _refuse_without_policy(scale_set, body)
    patch = _without_erased_basis(copy.deepcopy(dict(body)))
    policy = dig(patch, "properties", "upgradePolicy")
    erases = isinstance(policy, dict) and policy.get("rollingUpgradePolicy", ...) is None
    if erases and "rolling-policy-stays" in habits:
        del policy["rollingUpgradePolicy"]
    return patch


def _without_erased_basis(body: dict[str, Any]) -> dict[str, Any]:
    """The body without the nulls that would erase what a set is made of: for these a null is no value at all."""
    for *parents, key in _BASIS:
        parent = dig(body, *parents) if parents else body
        if isinstance(parent, dict) and parent.get(key, ...) is None:
            del parent[key]
    return body


def _refuse_without_image(scale_set: ScaleSet, body: Mapping[str, Any]) -> None:
    storage = dig(body, "properties", "virtualMachineProfile", "storageProfile")
    if storage and scale_set.image and dig(storage, "imageReference") is None:
        raise ErrorResponse(400, "InvalidParameter", "ImageReference is null.", target="imageReference")


def _refuse_without_policy(scale_set: ScaleSet, body: Mapping[str, Any]) -> None:
    properties = body.get("properties")
    if not properties or scale_set.mode.lower() not in _RENEWING:
        return
    if not dig(properties, "upgradePolicy", "mode"):
        text = "Required parameter 'upgradePolicy' is missing (null)."
        raise ErrorResponse(400, "InvalidParameter", text, target="upgradePolicy")
    probe = dig(scale_set.profile, "networkProfile", "healthProbe")
    leaves = str(dig(properties, "upgradePolicy", "mode")).lower() not in _RENEWING
    if probe and not leaves and not dig(properties, "virtualMachineProfile", "networkProfile", "healthProbe"):
        raise ErrorResponse(400, "BadRequest", _NO_PROBE)


def without_replaced(
    habits: Habits, model: Mapping[str, Any], body: Mapping[str, Any], *, is_patch: bool
) -> dict[str, Any]:
    """The stored model without the parts that the body replaces as a whole, ready to be merged with the body."""
    paths = [path for path in _REPLACED if dig(body, *path) is not None]
    storage = ("properties", "virtualMachineProfile", "storageProfile")
    if is_patch and "patch-drops-disks" in habits and dig(body, *storage, "imageReference"):
        paths += [(*storage, part) for part in ("osDisk", "dataDisks") if dig(body, *storage, part) is None]
    base = dict(model)
    for path in paths:
        base = _without(base, path)
    if (*storage, "osDisk") in paths:
        base = _with_derived_disk(base, model, storage)
    return base


def _without(value: Json, path: tuple[str, ...]) -> Any:
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _with_derived_disk(base: Any, model: Mapping[str, Any], storage: tuple[str, ...]) -> Any:
    """The model with an OS disk as derived from the image: the OS type stays; account type, size and caching do not."""
    old = dig(model, *storage, "osDisk") or {}
    disk = {key: old[key] for key in ("osType", "createOption", "vhdContainers", "image") if key in old}
    return _with(base, (*storage, "osDisk"), disk)


def _with(value: Any, path: tuple[str, ...], leaf: Json) -> Any:
    return {**value, path[0]: _with(value[path[0]], path[1:], leaf) if len(path) > 1 else leaf}
