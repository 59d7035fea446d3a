"""Secrets of a scale set that no GET shows: passwords, custom data, protected settings of extensions.

Azure stores them: a write that leaves them out changes nothing, `{}` or null in place of protected settings erases
them, and a deleted extension takes its secret along. A client that invents such a value does harm that no GET shows;
tests look for it here.
https://learn.microsoft.com/azure/virtual-machines/extensions/features-linux#protected-settings
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .state import Json, Secrets

NAMES = frozenset({"adminPassword", "customData", "protectedSettings", "protectedParameters", "runAsPassword"})


def without_secrets(value: Json) -> Json:
    """The value without its secrets, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in NAMES}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def after_write(before: Mapping[str, Json], profile: Json) -> Secrets:
    """The secrets of a scale set after a write of this VM profile, or of a part of it."""
    profile = profile if isinstance(profile, Mapping) else {}
    extensions = _extensions(profile)
    secrets = {**before, **dict(_in_profile(profile))}
    if extensions is not None:
        places = {_place(extension) for extension in extensions}
        secrets = {
            place: value for place, value in secrets.items() if place in places or not place.startswith("extensions/")
        }
    return _without_empty(secrets)


def after_extension(before: Mapping[str, Json], name: str, properties: Mapping[str, Any]) -> Secrets:
    """The secrets of a scale set or an instance after a write of this extension."""
    secret = {_place({"name": name}): properties["protectedSettings"]} if "protectedSettings" in properties else {}
    return _without_empty({**before, **secret})


def without_extension(before: Mapping[str, Json], name: str) -> Secrets:
    """The secrets of a scale set or an instance without this extension."""
    return {place: value for place, value in before.items() if place != _place({"name": name})}


def _without_empty(secrets: Mapping[str, Json]) -> Secrets:
    return {place: value for place, value in secrets.items() if value not in (None, {})}


def _in_profile(profile: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    system = profile.get("osProfile") or {}
    for name in ("adminPassword", "customData"):
        if system.get(name) is not None:
            yield f"osProfile/{name}", system[name]
    for extension in _extensions(profile) or []:
        properties = extension.get("properties") or {}
        if "protectedSettings" in properties:
            yield _place(extension), properties["protectedSettings"]


def _extensions(profile: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    extensions = (profile.get("extensionProfile") or {}).get("extensions")
    return [item for item in extensions if isinstance(item, Mapping)] if isinstance(extensions, list) else None


def _place(extension: Mapping[str, Any]) -> str:
    return f"extensions/{extension.get('name', '')}".lower()
