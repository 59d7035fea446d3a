"""Compare models in spite of Azure's completions: values that it fills in, clears or spells differently. PURE.

`unexplained` compares a resource with the model that was sent, `matches_written` with a body. `fingerprint` is equal
for a model and for its completions; `outline` also ignores the values that Azure takes from the image.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import InvalidInput
from ..types import Json
from .compare import (
    NEVER_SHOWN,
    PRINCIPAL,
    SECRETS,
    Change,
    Diff,
    changes,
    index_by_name,
    without_read_only,
    without_secrets,
)
from .plain import (
    MISSING,
    Path,
    at,
    is_no_identity,
    is_no_zone,
    is_same,
    json_only,
    region,
    with_text_keys,
    without_nulls,
)

_OPAQUE = frozenset({"tags", "settings"})  # objects of the user, in which Azure fills nothing in
# Booleans whose default is true. The default of every other boolean is false.
_ON = frozenset({
    "overprovision", "provisionVMAgent", "enableAutomaticUpdates", "allowExtensionOperations",
    "requireGuestProvisionSignal",
})  # fmt: skip
# Values that Azure fills in for missing keys: recorded after PUT and PATCH, or documented as the default.
_DEFAULTS: Mapping[str, tuple[Json, ...]] = {
    "caching": ("None",),
    "createOption": ("FromImage", "Empty"),
    "storageAccountType": ("Standard_LRS",),
    "diskControllerType": ("SCSI", "NVMe"),
    "deleteOption": ("Delete", "Detach"),
    "privateIPAddressVersion": ("IPv4",),
    "publicIPAddressVersion": ("IPv4",),
    "idleTimeoutInMinutes": (4,),
    "tier": ("Standard", "Regional"),
    "orchestrationMode": ("Uniform",),
    "mode": ("Manual",),
    "maxBatchInstancePercent": (20,),
    "maxUnhealthyInstancePercent": (20,),
    "maxUnhealthyUpgradedInstancePercent": (20,),
    "pauseTimeBetweenBatches": ("PT0S",),
    "rules": (["Default"],),
    "repairAction": ("Replace",),
    "gracePeriod": ("PT10M", "PT30M"),
    "notBeforeTimeout": ("PT5M",),
    "priority": ("Regular",),
    "evictionPolicy": ("Deallocate",),
    "maxPrice": (-1,),
    "securityType": ("Standard",),
    "patchMode": ("ImageDefault", "AutomaticByOS"),
    "assessmentMode": ("ImageDefault",),
    "zonalPlatformFaultDomainAlignMode": ("Unaligned",),
    "networkApiVersion": ("2020-11-01", "2022-11-01"),
}
_FROM_IMAGE = frozenset({"osType"})
# Keys that Azure fills in from the image, the VM size or the region, with any value.
_FROM_ELSEWHERE = _FROM_IMAGE | frozenset({
    "diskSizeGB", "diskIOPSReadWrite", "diskMBpsReadWrite", "singlePlacementGroup",
    "platformFaultDomainCount", "provisioningState", *PRINCIPAL,
})  # fmt: skip
# Keys whose values Azure may return in another case: enums of the published API, names and locations.
_ENUMS = frozenset({
    *_DEFAULTS, "passName", "componentName", "settingName", "rebootSetting", "protocol", "option", "placement",
    "osType", "securityEncryptionType", "domainNameLabelScope", "auxiliaryMode", "auxiliarySku", "allocationStrategy",
    "type", "location", "name", "publisher", "offer", "sku",
})  # fmt: skip


def _is_empty(value: Json) -> bool:
    """Whether a value is null, "", [], or an object of such values."""
    if isinstance(value, Mapping):
        return all(_is_empty(inner) for inner in value.values())
    return value is None or value in ("", [])


def _is_filled_in(key: str, value: Json) -> bool:
    """Whether Azure may fill in this value where the model has no such key."""
    if key in _OPAQUE:
        return _is_empty(value)
    if isinstance(value, Mapping):
        return all(_is_filled_in(str(name), inner) for name, inner in value.items())
    if isinstance(value, bool):
        return key in _FROM_ELSEWHERE or value is (key in _ON)
    defaults = _DEFAULTS.get(key, ())
    return _is_empty(value) or key in _FROM_ELSEWHERE or any(_equal(key, default, value) for default in defaults)


def _is_cleared(key: str, value: Json) -> bool:
    """Whether Azure may omit this value: recorded for empty objects and for disabled terminate notifications."""
    if key == "terminateNotificationProfile" and isinstance(value, Mapping):
        return value.get("enable") is not True
    if key == "scaleInPolicy":
        return _is_filled_in(key, value)
    if key == "securityProfile" and isinstance(value, Mapping):
        return _is_empty(_security(value))
    if isinstance(value, Mapping) and key not in _OPAQUE:
        return all(_is_cleared(str(name), inner) for name, inner in value.items())
    return _is_empty(value)


def _security(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """A security profile as GET shows it: with the type Standard it has neither the type nor UEFI settings."""
    if str(profile.get("securityType", "")).lower() != "standard":
        return profile
    return {key: value for key, value in profile.items() if key not in ("securityType", "uefiSettings")}


def _equal(key: str, first: Json, second: Json) -> bool:
    if isinstance(first, str) and isinstance(second, str):
        return first == second or (_is_case_blind(key, first) and _caseless(key, first) == _caseless(key, second))
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(_equal(key, *pair) for pair in zip(first, second, strict=True))
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    return first is second or bool(first == second)


def _is_case_blind(key: str, text: str) -> bool:
    return key in _ENUMS or key.lower().endswith("id") or text.startswith("/subscriptions/")


def _caseless(key: str, text: str) -> str:
    return region(text) if key == "location" else text.lower()


@json_only
def unexplained(actual: Json, sent: Json, patch: Json = None) -> Diff:
    """Return the differences between the model that was sent and the one that GET shows, without Azure's completions.

    `actual`: the scale set as `get_vmss` returned it. `sent`: the model that was written: `apply_patch` of the model
    before and the patch. `patch`: the JSON merge patch that was sent; tags and capacity are compared only if it has
    them. Azure's own changes are no differences: ids of identities, empty objects, defaults, the case of ids and enums.
    An empty Diff means that no other writer has changed the model since.

    Raises: InvalidInput for values that are not JSON.
    """
    ignored = {path for path in (("tags",), ("sku", "capacity")) if at(patch, path, MISSING) is MISSING}
    plain = [_without_keys(_shape(model), ignored) for model in (sent, actual)]
    return Diff(_unlike(plain[0], plain[1], "", ""))


def shows_write(actual: Json, sent: Json, patch: Json = None) -> bool:
    """Return True when GET shows the model that was sent, apart from Azure's completions; see `unexplained`.

    The arguments are those of `unexplained`. Raises: InvalidInput for values that are not JSON.
    """
    return not unexplained(actual, sent, patch)


def _shape(model: Json) -> Json:
    plain = without_secrets(without_read_only(model))
    if isinstance(plain, dict) and is_no_zone(plain.get("zones")):
        del plain["zones"]
    if isinstance(plain, dict) and is_no_identity(plain.get("identity")):
        del plain["identity"]
    return plain


def _without_keys(value: Json, paths: Iterable[Path]) -> Json:
    if not isinstance(value, Mapping) or not paths:
        return value
    gone = {path[0] for path in paths if len(path) == 1}
    inner = {key: {path[1:] for path in paths if path[0] == key and len(path) > 1} for key in value}
    return {key: _without_keys(value[key], inner[key]) for key in value if key not in gone}


def _unlike(sent: Json, actual: Json, key: str, path: str) -> Iterator[Change]:
    if key in _OPAQUE:
        if not (_is_empty(sent) and _is_empty(actual)):
            yield from changes(_blank(sent), _blank(actual), path)
    elif sent is MISSING:
        if not _is_filled_in(key, actual):
            yield Change(path, sent, actual)
    elif actual is MISSING:
        if not _is_cleared(key, sent):
            yield Change(path, sent, actual)
    elif isinstance(sent, Mapping) and isinstance(actual, Mapping):
        yield from _unlike_members(sent, actual, key, path)
    elif isinstance(sent, list) and isinstance(actual, list):
        yield from _unlike_items(sent, actual, key, path)
    elif not _equal(key, sent, actual) and not (_is_empty(sent) and _is_filled_in(key, actual)):
        yield Change(path, sent, actual)


def _blank(value: Json) -> Json:
    return {} if value is MISSING or value is None else value


def _unlike_members(sent: Mapping[str, Any], actual: Mapping[str, Any], key: str, path: str) -> Iterator[Change]:
    if key == "securityProfile":
        sent, actual = _security(sent), _security(actual)
    if key == "terminateNotificationProfile" and True not in (sent.get("enable"), actual.get("enable")):
        return
    if key == "userAssignedIdentities":
        sent, actual = ({str(name).lower(): value for name, value in ids.items()} for ids in (sent, actual))
    for name in [*sent, *(name for name in actual if name not in sent)]:
        inner = f"{path}.{name}" if path else str(name)
        yield from _unlike(sent.get(name, MISSING), actual.get(name, MISSING), str(name), inner)


def _unlike_items(sent: list[Json], actual: list[Json], key: str, path: str) -> Iterator[Change]:
    sent_items, actual_items = index_by_name(sent), index_by_name(actual)
    if sent_items is None or actual_items is None:
        sent_items, actual_items = dict(enumerate(sent)), dict(enumerate(actual))
    for name in [*sent_items, *(name for name in actual_items if name not in sent_items)]:
        old, new = sent_items.get(name, MISSING), actual_items.get(name, MISSING)
        if old is MISSING or new is MISSING:
            yield Change(f"{path}[{name}]", old, new)
        else:
            yield from _unlike(old, new, key, f"{path}[{name}]")


@json_only
def matches_written(model: Json, body: Json) -> bool:
    """Whether a resource has every value of a body; null in the body means that the key must be missing.

    Tags are compared as a whole, since a write replaces them. Azure's defaults, the case of values, and secrets that
    GET does not show are ignored.
    """
    if isinstance(body, Mapping):
        known = model if isinstance(model, Mapping) else {}
        return all(_member_matches(str(key), known.get(key, MISSING), value) for key, value in body.items())
    if isinstance(body, list):
        same = isinstance(model, list) and len(model) == len(body)
        return same and all(matches_written(*pair) for pair in zip(model, body, strict=True))
    if isinstance(body, str) and isinstance(model, str):
        return region(model) == region(body)  # Azure changes the case of enums, ids and locations
    return bool(model == body)


def _member_matches(key: str, actual: Json, expected: Json) -> bool:
    if key in NEVER_SHOWN or (SECRETS.search(key) and actual is MISSING):
        return True
    if key == "tags":
        return is_same(without_nulls(_blank(actual)), without_nulls(_blank(expected)))
    if key == "identity" and is_no_identity(expected):
        return actual is MISSING or is_no_identity(actual)
    if actual is MISSING:
        return _is_empty(expected) or _is_cleared(key, expected)
    return matches_written(actual, expected) or (_is_empty(expected) and _is_empty(actual))


# --- the fingerprint -------------------------------------------------------------------------------------------------


@json_only
def fingerprint(model: Mapping[str, Any]) -> str:
    """Return a short hash of the parts of a model that instances are created from.

    `model`: the scale set as `get_vmss` returned it, or a body `{"location": ..., "properties": {...}}`. Read-only
    fields, secrets, capacity, tags and Azure's completions do not change the hash.

    Raises: InvalidInput for a value that is not a model.
    """
    if not isinstance(model, Mapping):
        raise InvalidInput(f"a model must be an object, not {type(model).__name__}")
    plain = _without_keys(_shape(model), {("tags",), ("sku", "capacity")})
    text = json.dumps(_plain("", plain), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@json_only
def outline(model: Mapping[str, Any]) -> str:
    """The fingerprint of a model without the values that Azure adds from the image."""
    return fingerprint(_without_image_facts(model))


def _without_image_facts(value: Json) -> Json:
    if isinstance(value, Mapping):
        names = (name for name in value if name not in _FROM_IMAGE)
        return {name: value[name] if name in _OPAQUE else _without_image_facts(value[name]) for name in names}
    return [_without_image_facts(item) for item in value] if isinstance(value, list) else value


def _plain(key: str, value: Json) -> Json:
    """The value in one spelling, without the values that Azure fills in."""
    if isinstance(value, Mapping):
        members = _security(value) if key == "securityProfile" else value
        if key == "terminateNotificationProfile" and value.get("enable") is not True:
            return {}
        inner = {
            str(name): with_text_keys(item) if name in _OPAQUE else _plain(str(name), item)
            for name, item in members.items()
        }
        return {_spelling(key, name): item for name, item in inner.items() if not _is_default(name, item)}
    if isinstance(value, list | tuple):
        return [_plain(key, item) for item in value]
    return _caseless(key, value) if isinstance(value, str) and _is_case_blind(key, value) else value


def _spelling(key: str, name: str) -> str:
    return name.lower() if key == "userAssignedIdentities" else name


def _is_default(key: str, value: Json) -> bool:
    """Whether a value is a default. `value`: as `_plain` returns it, so an object of defaults is empty."""
    if isinstance(value, Mapping) or key in _OPAQUE:
        return not value
    return _is_empty(value) or (key not in _FROM_ELSEWHERE and _is_filled_in(key, value))
