"""What differs between two models, and what of a model must not be shown or sent. PURE."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ..errors import printable
from ..types import Json, JsonDict
from .plain import MISSING, json_only, with_text_keys

IMAGE = ("properties", "virtualMachineProfile", "storageProfile", "imageReference")


class Change(NamedTuple):
    """One difference; `MISSING` stands for a value that one side does not have."""

    path: str
    old: Json
    new: Json

    @property
    @json_only
    def texts(self) -> tuple[str, str]:
        """Both values as they may be shown: what is secret by its name is not."""
        return self._text(self.old), self._text(self.new)

    def _text(self, value: Json) -> str:
        hidden = value and value is not MISSING and SECRETS.search(self.path)
        return "(secret)" if hidden else _text_of(value)

    def __str__(self) -> str:
        return f"{printable(self.path, 400)}: {' -> '.join(self.texts)}"

    def __repr__(self) -> str:
        return f"<Change {self}>"


class Diff(list[Change]):
    """What changed, one Change a leaf; a table in notebooks."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no change"

    def _repr_html_(self) -> str:
        from .._common.markup import table  # noqa: PLC0415

        changed = f"{len(self)} change{'' if len(self) == 1 else 's'} of the model"
        return table(changed, ("path", "before", "after"), ((change.path, *change.texts) for change in self))


@json_only
def diff(old: Json, new: Json) -> Diff:
    """What changed, one Change a leaf: `properties.….imageReference.version: 1.2.3 -> 1.2.4`.

    Items of lists are matched by their `name` where all have one, so that an insertion is one change.
    """
    return Diff(changes(old, new, ""))


def changes(old: Json, new: Json, path: str) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key, MISSING), new.get(key, MISSING), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        before, after = keyed(old), keyed(new)
        if before is None or after is None:
            before, after = dict(enumerate(old)), dict(enumerate(new))
        for key in [*before, *(key for key in after if key not in before)]:
            yield from changes(before.get(key, MISSING), after.get(key, MISSING), f"{path}[{key}]")
    elif old is not new and (old != new or type(old) is not type(new)):
        yield Change(path, old, new)


def keyed(items: Sequence[Any]) -> dict[Any, Any] | None:
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else None


SECRETS = re.compile(
    r"password|customdata|userdata|protectedsettings|secret|sas|(?<!public)key(?!data|vault)", re.IGNORECASE
)
_SIGNED = re.compile(r"([?&]sig=)[^&\s\"']+", re.IGNORECASE)  # what makes a SAS address a secret


def _text_of(value: Json) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        return printable(redacted(value), 200)
    return printable(
        value if value is MISSING else json.dumps(with_text_keys(redacted(value)), sort_keys=True, default=str), 200
    )


@json_only
def redacted(value: Json) -> Json:
    """The value with whatever is secret in a model (passwords, customData, protectedSettings, ...) masked."""
    if isinstance(value, Mapping):
        return {
            key: "(secret)" if SECRETS.search(str(key)) and inner else redacted(inner) for key, inner in value.items()
        }
    if isinstance(value, str):
        return _SIGNED.sub(r"\1(secret)", value)
    return [redacted(inner) for inner in value] if isinstance(value, list) else value


# --- what only Azure sets, and what it never shows --------------------------------------------------------------------


# Set by Azure, never by us; a PUT that echoes a stale provisioningState can even be refused.
_READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData", "properties.provisioningState"}) | {
    f"properties.{key}" for key in ("uniqueId", "timeCreated", "virtualMachineProfile.timeCreated")
}
_IMAGE_READ_ONLY = ".".join(map(str, IMAGE)) + ".exactVersion"
PRINCIPAL = frozenset({"principalId", "clientId", "tenantId"})  # which Entra gives to a managed identity
NEVER_SHOWN = frozenset({"adminPassword", "customData", "protectedSettings", "userData"})


@json_only
def without_secrets(value: Json) -> Json:
    """The value without what GET never shows of it, so that what was written can be compared with what is there."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in NEVER_SHOWN}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


@json_only
def without_read_only(model: Mapping[str, Any]) -> JsonDict:
    """The model without what only Azure sets; every other key is kept, in its order."""
    writable = _without(model, _READ_ONLY | {_IMAGE_READ_ONLY}, "")
    if isinstance(writable, dict) and isinstance(identity := writable.get("identity"), dict):
        writable["identity"] = _without_principals(identity)
    return cast(JsonDict, writable)


def _without(value: Json, paths: frozenset[str], path: str) -> Json:
    if not isinstance(value, Mapping):
        return value
    inner = {key: (f"{path}.{key}" if path else str(key)) for key in value}
    return {key: _without(value[key], paths, inner[key]) for key in value if inner[key] not in paths}


def _without_principals(identity: JsonDict) -> JsonDict:
    plain = {key: value for key, value in identity.items() if key not in PRINCIPAL}
    if isinstance(users := plain.get("userAssignedIdentities"), Mapping):
        plain["userAssignedIdentities"] = {key: _without_ids(value) for key, value in users.items()}
    return plain


def _without_ids(user: Json) -> Json:
    return {k: v for k, v in user.items() if k not in PRINCIPAL} if isinstance(user, Mapping) else user
