"""Compare two models, and remove the parts of a model that must not be shown or sent. PURE."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from ..errors import printable
from ..types import Json, JsonDict
from .plain import MISSING, json_only, with_text_keys

IMAGE = ("properties", "virtualMachineProfile", "storageProfile", "imageReference")


class Change(NamedTuple):
    """A difference between two models. `old` or `new` is `MISSING` when only the other model has the value."""

    path: str
    old: Json
    new: Json

    @property
    @json_only
    def texts(self) -> tuple[str, str]:
        """Both values as text; secrets are replaced by "(secret)"."""
        return self._text(self.old), self._text(self.new)

    def _text(self, value: Json) -> str:
        hidden = value and value is not MISSING and SECRETS.search(self.path)
        return "(secret)" if hidden else _text_of(value)

    def __str__(self) -> str:
        return f"{printable(self.path, 400)}: {' -> '.join(self.texts)}"

    def __repr__(self) -> str:
        return f"<Change {self}>"


class Diff(list[Change]):
    """A list of Change; a notebook shows it as a table."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no change"

    def _repr_html_(self) -> str:
        from .._common.markup import table  # noqa: PLC0415

        changed = f"{len(self)} change{'' if len(self) == 1 else 's'} of the model"
        return table(changed, ("path", "before", "after"), ((change.path, *change.texts) for change in self))


@json_only
def diff(old: Json, new: Json) -> Diff:
    """List the differences of two models, such as `properties.….imageReference.version: 1.2.3 -> 1.2.4`.

    There is one Change for each value that differs. List items are matched by `name` when all have one, so that an
    insertion is one change.
    Raises: InvalidInput when a model cannot be JSON.
    """
    return Diff(changes(old, new, ""))


def changes(old: Json, new: Json, path: str) -> Iterator[Change]:
    """The differences of two values. `path`: where the values are in the model."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key, MISSING), new.get(key, MISSING), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        before, after = index_by_name(old), index_by_name(new)
        if before is None or after is None:
            before, after = dict(enumerate(old)), dict(enumerate(new))
        for key in [*before, *(key for key in after if key not in before)]:
            yield from changes(before.get(key, MISSING), after.get(key, MISSING), f"{path}[{key}]")
    elif old is not new and (old != new or type(old) is not type(new)):
        yield Change(path, old, new)


def index_by_name(items: Sequence[Any]) -> dict[Any, Any] | None:
    """The items by their `name`, or None unless every item has a name of its own."""
    named = {item["name"]: item for item in items if isinstance(item, Mapping) and isinstance(item.get("name"), str)}
    return named if len(named) == len(items) else None


SECRETS = re.compile(
    r"password|customdata|userdata|protectedsettings|secret|sas|(?<!public)key(?!data|vault)", re.IGNORECASE
)
_SIGNED = re.compile(r"([?&]sig=)[^&\s\"']+", re.IGNORECASE)  # the signature in a SAS address


def _text_of(value: Json) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        return printable(redact(value), 200)
    return printable(
        value if value is MISSING else json.dumps(with_text_keys(redact(value)), sort_keys=True, default=str), 200
    )


@json_only
def redact(value: Json) -> Json:
    """A copy of a value with the secrets of a model (passwords, customData, ...) replaced by "(secret)"."""
    if isinstance(value, Mapping):
        return {
            key: "(secret)" if SECRETS.search(str(key)) and inner else redact(inner) for key, inner in value.items()
        }
    if isinstance(value, str):
        return _SIGNED.sub(r"\1(secret)", value)
    return [redact(inner) for inner in value] if isinstance(value, list) else value


# --- fields that only Azure sets, and fields that it never shows ------------------------------------------------------


# Azure can even refuse a PUT with an old provisioningState.
_READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData", "properties.provisioningState"}) | {
    f"properties.{key}" for key in ("uniqueId", "timeCreated", "virtualMachineProfile.timeCreated")
}
_IMAGE_READ_ONLY = ".".join(map(str, IMAGE)) + ".exactVersion"
PRINCIPAL = frozenset({"principalId", "clientId", "tenantId"})  # set by Entra for a managed identity
NEVER_SHOWN = frozenset({"adminPassword", "customData", "protectedSettings", "userData"})


@json_only
def without_secrets(value: Json) -> Json:
    """A copy of a value without the fields that GET never shows, to compare a written model with the current one."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in NEVER_SHOWN}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


@json_only
def without_read_only(model: Mapping[str, Any]) -> JsonDict:
    """A copy of a model without the fields that only Azure sets."""
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
