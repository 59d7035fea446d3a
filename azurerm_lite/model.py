"""What differs between two models, what makes one of the other, and what must not be seen of them. PURE.

`diff` shows it, `merge_patch` is the smallest PATCH body that makes it so, `fingerprint` tells whether anything did.
Changes that people make are in `edits`.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from .errors import printable
from .types import Json, JsonDict

Path = tuple[str | int, ...]
IMAGE = ("properties", "virtualMachineProfile", "storageProfile", "imageReference")


class Change(NamedTuple):
    """One difference; `MISSING` stands for a value that one side does not have."""

    path: str
    old: Json
    new: Json

    @property
    def shown(self) -> tuple[str, str]:
        """Both values as they may be shown: what is secret by its name is not."""
        return self._shown(self.old), self._shown(self.new)

    def _shown(self, value: Json) -> str:
        hidden = value and value is not MISSING and _SECRETS.search(self.path)
        return "(secret)" if hidden else _shown(value)

    def __str__(self) -> str:
        return f"{printable(self.path, 400)}: {' -> '.join(self.shown)}"

    def __repr__(self) -> str:
        return f"<Change {self}>"


class Diff(list[Change]):
    """What changed, one Change a leaf; a table in notebooks."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no change"

    def _repr_html_(self) -> str:
        from .markup import table  # noqa: PLC0415

        changed = f"{len(self)} change{'' if len(self) == 1 else 's'} of the model"
        return table(changed, ("path", "before", "after"), ((one.path, *one.shown) for one in self))


class _Missing:
    def __repr__(self) -> str:
        return "(none)"


MISSING: Any = _Missing()


# Set by Azure, never by us; a PUT that echoes a stale provisioningState can even be refused.
_READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData", "properties.provisioningState"}) | {
    f"properties.{key}" for key in ("uniqueId", "timeCreated", "virtualMachineProfile.timeCreated")
}
_IMAGE_READ_ONLY = ".".join(map(str, IMAGE)) + ".exactVersion"


def diff(old: Json, new: Json) -> Diff:
    """What changed, one Change a leaf: `properties.….imageReference.version: 1.2.3 -> 1.2.4`.

    Items of lists are matched by their `name` where all have one, so that an insertion is one change.
    """
    return Diff(_changes(old, new, ""))


def _changes(old: Json, new: Json, path: str) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _changes(old.get(key, MISSING), new.get(key, MISSING), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        left, right = _keyed(old), _keyed(new)
        if left is None or right is None:
            left, right = dict(enumerate(old)), dict(enumerate(new))
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _changes(left.get(key, MISSING), right.get(key, MISSING), f"{path}[{key}]")
    elif old is not new and (old != new or type(old) is not type(new)):
        yield Change(path, old, new)


def _keyed(items: Sequence[Any]) -> dict[Any, Any] | None:
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else None


_SECRETS = re.compile(
    r"password|customdata|userdata|protectedsettings|secret|sas|(?<!public)key(?!data|vault)", re.IGNORECASE
)
_SIGNED = re.compile(r"([?&]sig=)[^&\s\"']+", re.IGNORECASE)  # what makes a SAS address a secret


def _shown(value: Json) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        return printable(redacted(value), 200)
    return printable(value if value is MISSING else json.dumps(redacted(value), sort_keys=True), 200)


def redacted(value: Json) -> Json:
    """The value with whatever is secret in a model (passwords, customData, protectedSettings, ...) masked."""
    if isinstance(value, Mapping):
        return {
            key: "(secret)" if _SECRETS.search(str(key)) and inner else redacted(inner) for key, inner in value.items()
        }
    if isinstance(value, str):
        return _SIGNED.sub(r"\1(secret)", value)
    return [redacted(inner) for inner in value] if isinstance(value, list) else value


_NEVER_SHOWN = frozenset({"adminPassword", "customData", "protectedSettings", "userData"})


def without_secrets(value: Json) -> Json:
    """The value without what GET never shows of it, so that what was written can be told from what is there."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in _NEVER_SHOWN}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def without_read_only(model: Mapping[str, Any]) -> JsonDict:
    """The model without what only Azure sets; every other key is kept, in its order."""
    kept = _without(model, _READ_ONLY | {_IMAGE_READ_ONLY}, "")
    return cast(JsonDict, kept)


def _without(value: Json, paths: frozenset[str], path: str) -> Json:
    if not isinstance(value, Mapping):
        return value
    inner = {key: (f"{path}.{key}" if path else str(key)) for key in value}
    return {key: _without(value[key], paths, inner[key]) for key in value if inner[key] not in paths}


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> JsonDict:
    """The smallest PATCH body (JSON merge) that turns `old` into `new`: changed keys only, lists whole, null deletes.

    Of an image reference everything is sent unless the version alone changed: Azure wants publisher, offer and SKU
    together. https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    return _merge(without_read_only(old), without_read_only(new), ())


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> JsonDict:
    patch: JsonDict = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key, MISSING)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _merge(before, value, (*path, key)):
                whole = (*path, key) == IMAGE and set(inner) != {"version"}
                patch[key] = {**{k: None for k in inner if inner[k] is None}, **value} if whole else inner
        elif value != before or type(value) is not type(before):
            patch[key] = value
    return patch


def merged(model: Json, patch: Json) -> Json:
    """What a model is after a JSON merge: RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(model) if isinstance(model, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def reflects(model: Json, wanted: Json) -> bool:
    """Whether a resource shows everything that was written: defaults added by Azure and absent secrets do not count."""
    if isinstance(wanted, Mapping):
        known = model if isinstance(model, Mapping) else {}
        return all(
            (key not in known if value is None else key in known and reflects(known[key], value))
            for key, value in wanted.items()
            if not (_SECRETS.search(str(key)) and key not in known)
        )
    if isinstance(wanted, list):
        same = isinstance(model, list) and len(model) == len(wanted)
        return same and all(reflects(*pair) for pair in zip(model, wanted, strict=True))
    if isinstance(wanted, str) and isinstance(model, str):
        return model.lower() == wanted.lower()  # Azure answers enums and ids in a casing of its own
    return bool(model == wanted)


def fingerprint(model: Mapping[str, Any]) -> str:
    """A short hash of what instances are made from: read-only fields, secrets, capacity and tags do not count."""
    kept = cast(JsonDict, without_secrets(without_read_only(model)))
    kept.pop("tags", None)
    kept["sku"] = {key: value for key, value in (kept.get("sku") or {}).items() if key != "capacity"}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
