"""What the page shows, as plain JSON: a picture, the properties of a set, one line for each event. PURE.

Nothing here is markup. The page makes text nodes of it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import azurerm_lite as az
from azurerm_lite._common.markup import visible
from azurerm_lite.heatmap import STYLES, Grid
from azurerm_lite.heatmap.lines import domain_name, panel_name
from azurerm_lite.model import MISSING, redact, without_read_only
from azurerm_lite.progress import describe
from azurerm_lite.upgrade import Plan

Json = dict[str, Any]


def summary(model: Mapping[str, Any]) -> Json:
    """One scale set in the list of them."""
    address = az.ScaleSet.parse(model["id"])
    return {
        "group": address.resource_group,
        "name": address.vmss_name,
        "location": model.get("location", ""),
        "capacity": _at(model, "sku").get("capacity"),
    }


def properties(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What there is to know of a scale set, in the order in which one asks."""
    own, sku = _at(model, "properties"), _at(model, "sku")
    machine = _at(own, "virtualMachineProfile", "osProfile")
    found = [
        ("State", own.get("provisioningState")),
        ("Location", model.get("location")),
        ("Zones", ", ".join(map(str, _list(model.get("zones"))))),
        ("VM size", sku.get("name")),
        ("Capacity", sku.get("capacity")),
        *_image_rows(model, image(model)),
        ("Upgrade policy", _at(own, "upgradePolicy").get("mode")),
        ("Orchestration", own.get("orchestrationMode")),
        ("Overprovision", _yes(own.get("overprovision"))),
        ("One placement group", _yes(own.get("singlePlacementGroup"))),
        ("Admin user", machine.get("adminUsername")),
        ("Name prefix", machine.get("computerNamePrefix")),
        ("Tags", ", ".join(f"{key}={value}" for key, value in _at(model, "tags").items())),
    ]
    return [(name, visible(value, 300)) for name, value in found if value not in (None, "")]


def image(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """The image reference of a model; empty where it has none."""
    return _at(model, "properties", "virtualMachineProfile", "storageProfile", "imageReference")


def _image_rows(model: Mapping[str, Any], named: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if named.get("publisher"):
        return [(key.capitalize(), named.get(key)) for key in ("publisher", "offer", "sku", "version")]
    return [("Image", az.image_text(model))]


def editable(model: Mapping[str, Any]) -> Json:
    """What the form for an edit starts from; a kind of image that the set does not have is left out."""
    storage = _at(model, "properties", "virtualMachineProfile", "storageProfile")
    named, sku = image(model), _at(model, "sku")
    found: Json = {"size": sku.get("name"), "capacity": sku.get("capacity")}
    if named.get("publisher"):
        found |= {"sku": named.get("sku"), "version": named.get("version")}
    elif uri := _at(storage, "osDisk", "image").get("uri"):
        found["image_uri"] = uri
    elif "(" not in (text := az.image_text(model)):
        found["image_id"] = text
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Json]:
    """The difference between two models, line by line, without secrets."""
    found = az.diff(without_read_only(old), without_read_only(new))
    return [{"path": one.path, "old": _shown(one.old), "new": _shown(one.new)} for one in found]


def plan(made: Plan, number: int, kind: str) -> Json:
    """What an upgrade or a rollback would do, under the number that starts it."""
    return {
        "number": number,
        "kind": kind,
        "changes": [visible(text, 2000) for text in made.changes],
        "version": visible(made.version),
        "batches": [list(ids) for ids in made.batches],
        "lowest": dict(made.lowest),
        "warnings": [visible(text, 2000) for text in made.warnings],
        "seconds": made.seconds,
        "stages": list(made.stages),
    }


def _shown(value: Any) -> str:
    if value is MISSING:
        return "(none)"
    return visible(value if isinstance(value, str) else json.dumps(redact(value)), 300)


def picture(grid: Grid) -> Json:
    """A heatmap: where the cells stand (which changes seldom), and what each of them shows (which changes often)."""
    panels = [
        {
            "name": panel_name(panel, grid),
            "rows": [domain_name(row) for row in panel.rows],
            "columns": [domain_name(column) for column in panel.columns],
            "places": [
                [[cell.instance_id for cell in panel.cells.get((row, column), ())] for column in panel.columns]
                for row in panel.rows
            ],
        }
        for panel in grid.panels
    ]
    legend = [
        {"state": state, "sign": grid.style_of(state).sign, "count": count} for state, count in grid.counts.items()
    ]
    return {
        "by": grid.color_by,
        "caption": grid.caption,
        "panels": panels,
        "legend": legend,
        "cells": grid.to_records(),
    }


def stylesheet() -> str:
    """The colors of the states, taken from azurerm_lite's own heatmaps."""
    rules = [
        f'[data-by="{by}"] [data-state="{state}"]{{--state:{style.color};--ink:{style.text_color}}}'
        for by, styles in STYLES.items()
        for state, style in styles.items()
    ]
    return "\n".join(rules)


def ids_text(ids: Iterable[str]) -> str:
    """Some instances in one line."""
    found = [visible(one, 40) for one in ids]
    return ", ".join(found) if len(found) <= 8 else f"{', '.join(found[:6])} and {len(found) - 6} more"


def event_line(event: Mapping[str, Any]) -> tuple[str, str]:
    """How serious an event of the engine is ("", "good", "bad"), and words for it; no words: leave it out."""
    text, kind = describe(event), event["kind"]
    well = kind == "settled" or (kind == "end" and event["verdict"]["outcome"] in ("succeeded", "rolled-back"))
    return ("bad" if text.bad else "good" if well else ""), text.line


def _at(value: Any, *path: str) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _yes(value: object) -> str:
    return "" if value is None else "yes" if value else "no"
