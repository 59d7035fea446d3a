"""What a PATCH of a scale set must send for a change, and what it makes of the model. PURE.

`WHOLE` is the table of the parts that are sent whole, each with its source; `merge_patch` is the body for a change.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from ..errors import InvalidInput, printable
from ..types import Json, JsonDict
from .compare import IMAGE, NEVER_SHOWN, without_read_only
from .plain import (
    MISSING,
    Path,
    apply_merge_patch,
    at,
    is_no_identity,
    is_no_zone,
    is_same,
    json_only,
    region,
    without_nulls,
)


class Part(NamedTuple):
    """A part of the model that a PATCH sends whole, as it was read, when anything in it changes.

    `modes`: in these modes of the upgrade policy it goes along with every change, whatever that is about.
    """

    path: Path
    source: str
    modes: frozenset[str] = frozenset()


_PROFILE = ("properties", "virtualMachineProfile")
_STORAGE = (*_PROFILE, "storageProfile")
_POLICY = ("properties", "upgradePolicy")
_PROBE = (*_PROFILE, "networkProfile", "healthProbe")
_RENEWING = frozenset({"rolling", "automatic"})  # modes in which Azure itself brings instances to the model
_CONTRACT = "azure-resource-manager-rpc v1.0/resource-api-reference.md, Patch Resource"

WHOLE: tuple[Part, ...] = (
    Part(("tags",), f"{_CONTRACT}: a PATCH replaces all tags; typespec-azure#1234: no tag is null"),
    Part(("plan",), f"{_CONTRACT}: only what stands in `properties` is merged"),
    Part(("identity",), "recorded: `type` always goes along; a null deletes an entry of userAssignedIdentities"),
    Part(
        _STORAGE,
        "azure-rest-api-specs#13164, #10373, #10322: the provider derives the disks anew from the image, and refuses "
        "a storage profile without one; terraform-provider-azurerm sends it as read",
    ),
    Part(_POLICY, "terraform-provider-azurerm: every update of a Rolling or Automatic set has it", _RENEWING),
    Part(_PROBE, "azure-rest-api-specs#7355, terraform-provider-azurerm#5430: as upgradePolicy", _RENEWING),
    Part(("properties", "scaleInPolicy"), "recorded: the provider replaces it"),
    Part((*_PROFILE, "securityProfile"), "recorded: the provider makes it anew for securityType Standard"),
)

_NOT_BY_PATCH = "a PATCH cannot change it. Make a new scale set"
_AS_READ = "a PATCH cannot remove it. Leave it in the model as it was read"
# What no PATCH changes, and what none removes: to send null would do nothing or more than was asked for.
_OF_THE_IMAGE = frozenset(
    (*_STORAGE, "osDisk", key) for key in ("osType", "createOption", "name")
)  # in no PATCH schema
_FIXED: dict[Path, str] = dict.fromkeys([("location",), ("extendedLocation",), *_OF_THE_IMAGE], _NOT_BY_PATCH)
_STAYS: dict[Path, str] = {
    **dict.fromkeys([("sku",), ("sku", "name"), ("sku", "capacity"), ("plan",), ("properties",), _PROFILE], _AS_READ),
    **dict.fromkeys([_STORAGE, IMAGE, (*_STORAGE, "osDisk"), _POLICY, (*_POLICY, "mode"), _PROBE[:-1]], _AS_READ),
    (*_PROFILE, "osProfile"): "its password and customData, which no GET shows, would go with it",
    (*_POLICY, "rollingUpgradePolicy"): (
        "in a PATCH null has no effect (azure-rest-api-specs#3751). Leave it in the model, or put_vmss the whole model"
    ),
}
_OBJECTS: tuple[Path, ...] = (
    ("properties",),
    ("sku",),
    *(part.path for part in WHOLE),
    _PROFILE,
    *((*_PROFILE, key) for key in ("osProfile", "networkProfile", "extensionProfile")),
    IMAGE,
    (*_STORAGE, "osDisk"),
    (*_POLICY, "rollingUpgradePolicy"),
)


@json_only
def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> JsonDict:
    """The PATCH body that turns the model `old`, as it was read, into `new`, and touches nothing else.

    It has what differs: lists whole, null for what is gone. A PATCH of a scale set is no plain JSON merge, so the
    parts in `WHOLE` are sent whole: tags without nulls (a tag that is gone is left out), the storage profile and
    others as read; in modes Rolling and Automatic the upgrade policy and the health probe go along with every change.
    What GET never shows (passwords, customData, protectedSettings, userData) is never removed, and capacity is in it
    only where the two models differ in it. InvalidInput, with the path, for a change that no PATCH can express.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/update
    """
    before, after = _comparable(old), _comparable(new)
    for path in _OBJECTS:
        if not isinstance(at(after, path, {}), Mapping):
            raise InvalidInput(f"{_dotted(path)} must be an object")
    if "identity" in before and "identity" in after:
        after["identity"] = _with_known_spelling(before["identity"], after["identity"])
    patch = _merge(before, after, ())
    return _add_required_parts(patch, before, after) if patch else patch


def _comparable(model: Mapping[str, Any]) -> JsonDict:
    """The model without read-only parts, nulls, zones that are none, and an identity of type None."""
    if not isinstance(model, Mapping):
        raise InvalidInput(f"a model must be an object, not {type(model).__name__}")
    plain = cast(JsonDict, without_nulls(without_read_only(model)))
    if is_no_zone(plain.get("zones")):
        del plain["zones"]
    if is_no_identity(plain.get("identity")):
        del plain["identity"]
    if isinstance(place := plain.get("location"), str):
        plain["location"] = region(place)
    return plain


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _with_known_spelling(before: Json, after: Json) -> Json:
    """The identity with its users under the ids that the model has for them: ids are the same in any case."""
    if not isinstance(users := at(after, ("userAssignedIdentities",)), Mapping):
        return after
    known = at(before, ("userAssignedIdentities",), {})
    spelt = {str(key).lower(): key for key in known} if isinstance(known, Mapping) else {}
    return {**after, "userAssignedIdentities": {spelt.get(str(key).lower(), key): users[key] for key in users}}


def _merge(before: Mapping[str, Any], after: Mapping[str, Any], path: Path) -> JsonDict:
    patch: JsonDict = {}
    for key in [*(key for key in before if key not in after), *after]:
        here, old, new = (*path, key), before.get(key, MISSING), after.get(key, MISSING)
        if not is_same(old, new) and not (new is MISSING and key in NEVER_SHOWN):
            patch[key] = _sent(old, new, here)
    return patch


_WHOLE_PATHS = frozenset(part.path for part in WHOLE)


def _sent(old: Json, new: Json, path: Path) -> Json:
    """What a PATCH says of one value that differs."""
    _refuse_unsendable(old, new, path)
    if path == ("tags",):
        return _tags(new)
    if path == ("identity",):
        return _identity(old, new)
    if new is MISSING:
        return [] if path == (*_STORAGE, "dataDisks") else None
    if path in _WHOLE_PATHS:
        return _entire(old, new, path)
    return _merge(old, new, path) if isinstance(old, Mapping) and isinstance(new, Mapping) else new


def _refuse_unsendable(old: Json, new: Json, path: Path) -> None:
    why = _FIXED.get(path) if old is not MISSING else None
    if why is None and new is MISSING:
        why = _STAYS.get(path)
    if why:
        raise InvalidInput(f"the change {'removes' if new is MISSING else 'changes'} {_dotted(path)}: {why}")


def _entire(old: Json, new: Json, path: Path) -> Json:
    """All of a part, and null for what is gone from it."""
    if not is_same(old, new):
        _refuse_unsendable(old, new, path)
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    gone = {key: _sent(old[key], MISSING, (*path, key)) for key in old if key not in new and key not in NEVER_SHOWN}
    members = {key: _entire(old.get(key, MISSING), value, (*path, key)) for key, value in new.items()}
    return gone | {key: value for key, value in members.items() if (*path, key) not in _OF_THE_IMAGE or key not in old}


def _tags(new: Json) -> JsonDict:
    tags = {} if new is MISSING else dict(new)
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput(f"the tag {printable(repr(name), 80)} must be text, not {type(value).__name__}")
    return tags


def _identity(old: Json, new: Json) -> JsonDict:
    """An identity with its type; users that are gone are null, and none at all where the type has none."""
    had = at(old, ("userAssignedIdentities",), {}) if old is not MISSING else {}
    has = at(new, ("userAssignedIdentities",), {}) if new is not MISSING else {}
    if new is not MISSING and not isinstance(new.get("type"), str):
        raise InvalidInput("identity must have a type: SystemAssigned, UserAssigned, both, or None")
    sent = {"type": "None"} if new is MISSING else {"type": new["type"], **new}
    if isinstance(had, Mapping) and had and not has:
        return {**sent, "userAssignedIdentities": None}
    if isinstance(had, Mapping) and isinstance(has, Mapping) and has:
        return {**sent, "userAssignedIdentities": {**{key: None for key in had if key not in has}, **has}}
    return sent


def _add_required_parts(patch: JsonDict, before: JsonDict, after: JsonDict) -> JsonDict:
    """The patch with what must go along in the mode of the set."""
    modes = {str(at(model, (*_POLICY, "mode"), "")).lower() for model in (before, after)}
    for part in WHOLE:
        value = at(after, part.path, MISSING)
        if part.modes & modes and value is not MISSING and at(patch, part.path, MISSING) is MISSING:
            patch = _put_at(patch, part.path, value)
    return patch


def _put_at(value: Json, path: Path, leaf: Json) -> Json:
    if not path:
        return leaf
    if value is not MISSING and not isinstance(value, Mapping):
        return value  # a part above it is replaced or removed
    known = {} if value is MISSING else value
    return {**known, path[0]: _put_at(known.get(path[0], MISSING), path[1:], leaf)}


# --- what a PATCH makes of a model -----------------------------------------------------------------------------------


@json_only
def apply_patch(model: Mapping[str, Any], patch: Mapping[str, Any]) -> JsonDict:
    """The model after a PATCH as ARM's contract has it: a JSON merge, but tags are replaced, and identities follow
    their type.

    https://github.com/cloud-and-ai-microsoft/resource-provider-contract/blob/master/v1.0/resource-api-reference.md
    """
    if not isinstance(model, Mapping) or not isinstance(patch, Mapping):
        raise InvalidInput("a model and a patch must be objects")
    result = cast(JsonDict, apply_merge_patch(model, patch))
    if isinstance(tags := patch.get("tags"), Mapping):
        result["tags"] = without_nulls(tags)
    identity = result.get("identity")
    if is_no_identity(identity):
        del result["identity"]
    elif isinstance(identity, Mapping) and "userassigned" not in str(identity.get("type", "")).lower():
        result["identity"] = {key: value for key, value in identity.items() if key != "userAssignedIdentities"}
    return result


def rebase_tags(patch: Mapping[str, Any], before: Mapping[str, Any], current: Mapping[str, Any]) -> JsonDict:
    """The patch, with its changes to the tags `before` applied to the `current` ones.

    For a patch that was made earlier: its tags would otherwise replace those that somebody has written since.
    """
    patched, old, now = (dict(at(document, ("tags",)) or {}) for document in (patch, before, current))
    if "tags" not in patch:
        return {**patch}
    unchanged = {name: value for name, value in now.items() if name in patched or name not in old}
    return {**patch, "tags": unchanged | {name: value for name, value in patched.items() if old.get(name) != value}}
