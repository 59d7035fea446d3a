"""What a scale set was given and never shows: passwords, custom data, protected settings of extensions. No HTTP here.

Azure keeps them: what a write leaves out stays, `{}` or null in the place of protected settings erases them, and with
an extension goes its secret. A client that invents such a value does harm that no GET shows; tests look for it here.
https://learn.microsoft.com/azure/virtual-machines/extensions/features-linux#protected-settings
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .exchange import Json

NAMES = frozenset({"adminPassword", "customData", "protectedSettings", "protectedParameters", "runAsPassword"})
Secrets = dict[str, Json]  # by place: "osProfile/customData", "extensions/health" (the name in lower case)


def without_secrets(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in NAMES}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def after(kept: Mapping[str, Json], profile: Json) -> Secrets:
    """What is kept when this VM profile, or a part of one, has been written."""
    profile = profile if isinstance(profile, Mapping) else {}
    listed = _extensions(profile)
    found = {**kept, **dict(_given(profile))}
    if listed is not None:
        there = {_place(one) for one in listed}
        found = {place: one for place, one in found.items() if place in there or not place.startswith("extensions/")}
    return _without_erased(found)


def after_extension(kept: Mapping[str, Json], name: str, properties: Mapping[str, Any]) -> Secrets:
    """The same when one extension has been written, wherever it is kept."""
    given = {_place({"name": name}): properties["protectedSettings"]} if "protectedSettings" in properties else {}
    return _without_erased({**kept, **given})


def without_extension(kept: Mapping[str, Json], name: str) -> Secrets:
    """The same when it is gone."""
    return {place: one for place, one in kept.items() if place != _place({"name": name})}


def _without_erased(found: Mapping[str, Json]) -> Secrets:
    return {place: one for place, one in found.items() if one not in (None, {})}


def _given(profile: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    system = profile.get("osProfile") or {}
    for name in ("adminPassword", "customData"):
        if system.get(name) is not None:
            yield f"osProfile/{name}", system[name]
    for one in _extensions(profile) or []:
        own = one.get("properties") or {}
        if "protectedSettings" in own:
            yield _place(one), own["protectedSettings"]


def _extensions(profile: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    found = (profile.get("extensionProfile") or {}).get("extensions")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else None  # type: ignore[misc]


def _place(extension: Mapping[str, Any]) -> str:
    return f"extensions/{extension.get('name', '')}".lower()
