"""What Azure makes of a model that was written: what it fills in, clears, or spells otherwise. PURE.

`unexplained` compares what a GET shows with what was sent, `matches_written` with what a body asked for; `fingerprint`
is the same for everything that Azure may make of a model, `outline` also when it adds what the image says.
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

_OPAQUE = frozenset({"tags", "settings"})  # the user's own, in which Azure fills nothing in
# Switches that are on where a model does not name them. Every other switch is off.
_ON = frozenset({
    "overprovision", "provisionVMAgent", "enableAutomaticUpdates", "allowExtensionOperations",
    "requireGuestProvisionSignal",
})  # fmt: skip
# What Azure fills in where a model does not name it: recorded after PUT and PATCH, or documented as the default.
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
# What Azure fills in from the image, the size or the region: any value, where the model did not name it.
_FROM_ELSEWHERE = _FROM_IMAGE | frozenset({
    "diskSizeGB", "diskIOPSReadWrite", "diskMBpsReadWrite", "singlePlacementGroup",
    "platformFaultDomainCount", "provisioningState", *PRINCIPAL,
})  # fmt: skip
# Values whose casing Azure chooses: the enums of the published API, and ids.
_ENUMS = frozenset({
    *_DEFAULTS, "passName", "componentName", "settingName", "rebootSetting", "protocol", "option", "placement",
    "osType", "securityEncryptionType", "domainNameLabelScope", "auxiliaryMode", "auxiliarySku", "allocationStrategy",
    "type", "location", "name", "publisher", "offer", "sku",
})  # fmt: skip


def _is_empty(value: Json) -> bool:
    """Nothing, or an object of nothing."""
    if isinstance(value, Mapping):
        return all(_is_empty(inner) for inner in value.values())
    return value is None or value in ("", [])


def _is_filled_in(key: str, value: Json) -> bool:
    """Whether Azure may show this where a model names nothing of that name."""
    if key in _OPAQUE:
        return _is_empty(value)
    if isinstance(value, Mapping):
        return all(_is_filled_in(str(name), inner) for name, inner in value.items())
    if isinstance(value, bool):
        return key in _FROM_ELSEWHERE or value is (key in _ON)
    return _is_empty(value) or key in _FROM_ELSEWHERE or any(_equal(key, one, value) for one in _DEFAULTS.get(key, ()))


def _is_cleared(key: str, value: Json) -> bool:
    """Whether Azure may show nothing where this was written: recorded of empty parts and of notices that are off."""
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
    """A security profile as it is shown: of the type Standard it has neither the type nor settings of UEFI."""
    if str(profile.get("securityType", "")).lower() != "standard":
        return profile
    return {key: value for key, value in profile.items() if key not in ("securityType", "uefiSettings")}


def _equal(key: str, left: Json, right: Json) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left == right or (_is_case_blind(key, left) and _caseless(key, left) == _caseless(key, right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(key, *pair) for pair in zip(left, right, strict=True))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left is right or bool(left == right)


def _is_case_blind(key: str, text: str) -> bool:
    return key in _ENUMS or key.lower().endswith("id") or text.startswith("/subscriptions/")


def _caseless(key: str, text: str) -> str:
    return region(text) if key == "location" else text.lower()


@json_only
def unexplained(shown: Json, sent: Json, patch: Json = None) -> Diff:
    """What a GET shows otherwise than it was written: a Change each, from what was sent to what is shown.

    `sent`: the model as it was written (`apply_patch` of the model before and the patch). What Azure itself fills in,
    clears or spells otherwise is no difference: ids of identities, empty parts, defaults, the casing of ids and enums.
    Tags and capacity, of which instances are not made, count only where `patch` names them. Empty: what is there is
    what was written; anything else was written by somebody else.
    """
    ignored = {path for path in (("tags",), ("sku", "capacity")) if at(patch, path, MISSING) is MISSING}
    plain = [_without_keys(_shape(one), ignored) for one in (sent, shown)]
    return Diff(_unlike(plain[0], plain[1], "", ""))


def shows_write(shown: Json, sent: Json, patch: Json = None) -> bool:
    """Whether a GET shows what was written, apart from what Azure itself completes: see `unexplained`."""
    return not unexplained(shown, sent, patch)


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


def _unlike(sent: Json, shown: Json, key: str, path: str) -> Iterator[Change]:
    if key in _OPAQUE:
        if not (_is_empty(sent) and _is_empty(shown)):
            yield from changes(_blank(sent), _blank(shown), path)
    elif sent is MISSING:
        if not _is_filled_in(key, shown):
            yield Change(path, sent, shown)
    elif shown is MISSING:
        if not _is_cleared(key, sent):
            yield Change(path, sent, shown)
    elif isinstance(sent, Mapping) and isinstance(shown, Mapping):
        yield from _unlike_members(sent, shown, key, path)
    elif isinstance(sent, list) and isinstance(shown, list):
        yield from _unlike_items(sent, shown, key, path)
    elif not _equal(key, sent, shown) and not (_is_empty(sent) and _is_filled_in(key, shown)):
        yield Change(path, sent, shown)


def _blank(value: Json) -> Json:
    return {} if value is MISSING or value is None else value


def _unlike_members(sent: Mapping[str, Any], shown: Mapping[str, Any], key: str, path: str) -> Iterator[Change]:
    if key == "securityProfile":
        sent, shown = _security(sent), _security(shown)
    if key == "terminateNotificationProfile" and True not in (sent.get("enable"), shown.get("enable")):
        return
    if key == "userAssignedIdentities":
        sent, shown = ({str(name).lower(): value for name, value in one.items()} for one in (sent, shown))
    for name in [*sent, *(name for name in shown if name not in sent)]:
        inner = f"{path}.{name}" if path else str(name)
        yield from _unlike(sent.get(name, MISSING), shown.get(name, MISSING), str(name), inner)


def _unlike_items(sent: list[Json], shown: list[Json], key: str, path: str) -> Iterator[Change]:
    left, right = index_by_name(sent), index_by_name(shown)
    if left is None or right is None:
        left, right = dict(enumerate(sent)), dict(enumerate(shown))
    for name in [*left, *(name for name in right if name not in left)]:
        old, new = left.get(name, MISSING), right.get(name, MISSING)
        if old is MISSING or new is MISSING:
            yield Change(f"{path}[{name}]", old, new)
        else:
            yield from _unlike(old, new, key, f"{path}[{name}]")


@json_only
def matches_written(model: Json, wanted: Json) -> bool:
    """Whether a resource shows everything that a body asked for: null stands for what shall be gone.

    Tags are compared as a whole, since a write replaces them. Defaults that Azure adds and secrets that it does not
    show make no difference, nor does casing.
    """
    if isinstance(wanted, Mapping):
        known = model if isinstance(model, Mapping) else {}
        return all(_member_matches(str(key), known.get(key, MISSING), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(model, list) and len(model) == len(wanted)
        return same and all(matches_written(*pair) for pair in zip(model, wanted, strict=True))
    if isinstance(wanted, str) and isinstance(model, str):
        return region(model) == region(wanted)  # Azure answers enums, ids and locations in a spelling of its own
    return bool(model == wanted)


def _member_matches(key: str, shown: Json, wanted: Json) -> bool:
    if key in NEVER_SHOWN or (SECRETS.search(key) and shown is MISSING):
        return True
    if key == "tags":
        return is_same(without_nulls(_blank(shown)), without_nulls(_blank(wanted)))
    if key == "identity" and is_no_identity(wanted):
        return shown is MISSING or is_no_identity(shown)
    if shown is MISSING:
        return _is_empty(wanted) or _is_cleared(key, wanted)
    return matches_written(shown, wanted) or (_is_empty(wanted) and _is_empty(shown))


# --- the fingerprint -------------------------------------------------------------------------------------------------


@json_only
def fingerprint(model: Mapping[str, Any]) -> str:
    """A short hash of what instances are made from.

    Read-only fields, secrets, capacity and tags do not count, nor does what Azure itself fills in or spells otherwise.
    InvalidInput for what is no model.
    """
    if not isinstance(model, Mapping):
        raise InvalidInput(f"a model must be an object, not {type(model).__name__}")
    plain = _without_keys(_shape(model), {("tags",), ("sku", "capacity")})
    text = json.dumps(_plain("", plain), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@json_only
def outline(model: Mapping[str, Any]) -> str:
    """The fingerprint of a model without what Azure adds from its image: the same before and after it is completed."""
    return fingerprint(_without_image_facts(model))


def _without_image_facts(value: Json) -> Json:
    if isinstance(value, Mapping):
        names = (name for name in value if name not in _FROM_IMAGE)
        return {name: value[name] if name in _OPAQUE else _without_image_facts(value[name]) for name in names}
    return [_without_image_facts(item) for item in value] if isinstance(value, list) else value


def _plain(key: str, value: Json) -> Json:
    """The value in one spelling, without what Azure fills in by itself."""
    if isinstance(value, Mapping):
        members = _security(value) if key == "securityProfile" else value
        if key == "terminateNotificationProfile" and value.get("enable") is not True:
            return {}
        inner = {
            str(name): with_text_keys(one) if name in _OPAQUE else _plain(str(name), one)
            for name, one in members.items()
        }
        return {_spelling(key, name): one for name, one in inner.items() if not _is_default(name, one)}
    if isinstance(value, list | tuple):
        return [_plain(key, one) for one in value]
    return _caseless(key, value) if isinstance(value, str) and _is_case_blind(key, value) else value


def _spelling(key: str, name: str) -> str:
    return name.lower() if key == "userAssignedIdentities" else name


def _is_default(key: str, value: Json) -> bool:
    """Of a value that is plain already, so that an object of defaults is empty."""
    if isinstance(value, Mapping) or key in _OPAQUE:
        return not value
    return _is_empty(value) or (key not in _FROM_ELSEWHERE and _is_filled_in(key, value))
