"""What the provider takes a PUT or PATCH of a scale set for: ARM's contract for tags, and the habits of a PATCH.

The contract: https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/resource-api-reference.md
Habits stand in `habits`, each with its sources.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .exchange import Json, Refusal

if TYPE_CHECKING:
    from .scale_sets import ScaleSet
    from .world import World

_RENEWING = ("rolling", "automatic")
_NO_PROBE = (
    "Rolling Upgrade mode is not supported for this Virtual Machine Scale Set because a health probe or health "
    "extension was not provided."
)
# What Azure replaces where a body names it; everything else is merged. Recorded of scaleInPolicy.
_REPLACED: tuple[tuple[str, ...], ...] = (
    ("tags",),
    ("properties", "scaleInPolicy"),
    ("properties", "virtualMachineProfile", "securityProfile"),
)


def at(value: Json, *path: str) -> Json:
    """The value at a path of keys; None where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def checked_tags(world: "World", body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with tags as they are stored; a Refusal for tags that are no map.

    With the habit tags-refuse-null a null is refused; without it, it names a tag that shall not be there.
    """
    if "tags" not in body:
        return dict(body)
    tags = body["tags"] if body["tags"] is not None else {}
    if not isinstance(tags, Mapping):
        raise _unreadable("tags", tags)
    for name, value in tags.items():
        if value is None and "tags-refuse-null" in world.habits:
            raise _unreadable(f"tags.{name}", value)
    return {**body, "tags": {name: value for name, value in tags.items() if value is not None}}


def _unreadable(path: str, value: Json) -> Refusal:
    text = (
        "The request content was invalid and could not be deserialized: 'Error converting value "
        f"{'{null}' if value is None else str(value)[:80]} to type System.String. Path '{path}'.'."
    )
    return Refusal(400, "InvalidRequestContent", text, gateway=True)


def as_patch(world: "World", scale_set: "ScaleSet", body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PATCH as the provider takes it, by the habits that are on; a Refusal where they refuse it."""
    _refuse_without_image(world, scale_set, body)
    _refuse_without_policy(world, scale_set, body)
    taken = copy.deepcopy(dict(body))
    policy = at(taken, "properties", "upgradePolicy")
    erased = isinstance(policy, dict) and policy.get("rollingUpgradePolicy", ...) is None
    if erased and "rolling-policy-stays" in world.habits:
        del policy["rollingUpgradePolicy"]
    return taken


def _refuse_without_image(world: "World", scale_set: "ScaleSet", body: Mapping[str, Any]) -> None:
    storage = at(body, "properties", "virtualMachineProfile", "storageProfile")
    if "patch-wants-image" not in world.habits or not storage or not scale_set.image:
        return
    if at(storage, "imageReference") is None:
        raise Refusal(400, "InvalidParameter", "ImageReference is null.", target="imageReference")


def _refuse_without_policy(world: "World", scale_set: "ScaleSet", body: Mapping[str, Any]) -> None:
    properties = body.get("properties")
    if "patch-wants-upgrade-policy" not in world.habits or not properties or scale_set.mode.lower() not in _RENEWING:
        return
    if not at(properties, "upgradePolicy", "mode"):
        text = "Required parameter 'upgradePolicy' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="upgradePolicy")
    probe = at(scale_set.profile, "networkProfile", "healthProbe")
    leaves = str(at(properties, "upgradePolicy", "mode")).lower() not in _RENEWING
    if probe and not leaves and not at(properties, "virtualMachineProfile", "networkProfile", "healthProbe"):
        raise Refusal(400, "BadRequest", _NO_PROBE)


def before_merge(world: "World", model: Mapping[str, Any], body: Mapping[str, Any], *, patch: bool) -> dict[str, Any]:
    """The stored model without what the body replaces, so that a merge puts the body's in its place."""
    gone = [path for path in _REPLACED if at(body, *path) is not None]
    storage = ("properties", "virtualMachineProfile", "storageProfile")
    if patch and "patch-drops-disks" in world.habits and at(body, *storage, "imageReference"):
        gone += [(*storage, part) for part in ("osDisk", "dataDisks") if at(body, *storage, part) is None]
    base = dict(model)
    for path in gone:
        base = _without(base, path)
    if (*storage, "osDisk") in gone:
        base = _with_derived_disk(base, model, storage)
    return base


def _without(value: Json, path: tuple[str, ...]) -> Any:
    if not isinstance(value, Mapping) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}


def _with_derived_disk(base: Any, model: Mapping[str, Any], storage: tuple[str, ...]) -> Any:
    """An OS disk as the image alone gives it: the type of system stays, account type, size and caching do not."""
    old = at(model, *storage, "osDisk") or {}
    kept = {key: old[key] for key in ("osType", "createOption", "vhdContainers", "image") if key in old}
    return _with(base, (*storage, "osDisk"), kept)


def _with(value: Any, path: tuple[str, ...], leaf: Json) -> Any:
    return {**value, path[0]: _with(value[path[0]], path[1:], leaf) if len(path) > 1 else leaf}
