"""Resources that are kept below a set or an instance: extensions, run commands, diagnostic run commands.

The extensions of a set are part of its model; the others belong to the instance. Nothing is run: a command "ran" and
said nothing. https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from . import creation, secrets, views, writes
from .exchange import Answer, ArmRequest, Json, Refusal, Route
from .instances import address, json_object, one_instance
from .operations import accepted
from .scale_sets import ScaleSet, merged
from .secrets import without_secrets
from .world import World

_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
_GONE = "The entity was not found in this Azure location."


# --- extensions of the set -------------------------------------------------------------------------------------------


def _shown_extension(scale_set: ScaleSet, extension: Mapping[str, Any], state: str) -> dict[str, Json]:
    name = extension["name"]
    return {
        "name": name,
        "id": f"{scale_set.resource_id}/extensions/{name}",
        "type": f"{_TYPE}/extensions",
        "properties": {"provisioningState": state, **extension["properties"]},
    }


def list_extensions(world: World, _request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*address(names))
    shown = [_shown_extension(scale_set, one, "Succeeded") for one in views.extensions_of(scale_set)]
    return Answer(200, {"value": shown})


def _find(scale_set: ScaleSet, name: str) -> dict[str, Any] | None:
    found = (one for one in views.extensions_of(scale_set) if one["name"].lower() == name.lower())
    return next(found, None)


def get_extension(world: World, _request: ArmRequest, *, name: str, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*address(names))
    found = _find(scale_set, name)
    if found is None:
        raise Refusal(404, "NotFound", _GONE)
    return Answer(200, _shown_extension(scale_set, found, "Succeeded"))


def write_extension(world: World, request: ArmRequest, *, name: str, **names: str) -> Answer:
    """PUT or PATCH: part of the model, so that instances fall behind it."""
    scale_set = world.scale_sets.get(*address(names))
    found, body = _find(scale_set, name), json_object(request)
    if found is None and request.method == "PATCH":
        raise Refusal(404, "NotFound", _GONE)
    own: dict[str, Any] = body.get("properties") or {}
    given = {"name": found["name"] if found else name, "properties": own}
    changed = merged(found, given, null_deletes=True) if found else creation.completed_extension(given)
    changed["properties"].setdefault("settings", {})
    if "protectedSettings" in own and own["protectedSettings"] is None:
        changed["properties"]["protectedSettings"] = None  # which erases them
    others = [one for one in views.extensions_of(scale_set) if one is not found]
    record = _keep_extensions(world, scale_set, [*others, changed], "PUT")
    shown = without_secrets(_shown_extension(scale_set, changed, "Updating" if found else "Creating"))
    return accepted(record, request, 200 if found else 201, shown)


def delete_extension(world: World, request: ArmRequest, *, name: str, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*address(names))
    found = _find(scale_set, name)
    if found is None:
        return Answer(204)
    kept = [one for one in views.extensions_of(scale_set) if one is not found]
    return accepted(_keep_extensions(world, scale_set, kept, "DELETE"), request, 202)


def _keep_extensions(world: World, scale_set: ScaleSet, kept: list[dict[str, Any]], kind: str) -> Any:
    change = {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": kept}}}}
    record = world.scale_sets.write(scale_set, change, null_deletes=True)
    record.kind = kind
    return record


# --- resources of an instance ----------------------------------------------------------------------------------------


class Kind(NamedTuple):
    segment: str
    fill: dict[str, Json]


KINDS = (
    Kind("extensions", {"autoUpgradeMinorVersion": False, "settings": {}}),
    Kind("runCommands", {"timeoutInSeconds": 0, "asyncExecution": False}),
    Kind("diagnosticRunCommands", {"timeoutInSeconds": 0, "asyncExecution": False}),
)
_BY_SEGMENT = {kind.segment.lower(): kind for kind in KINDS}


def _kind_of(request: ArmRequest) -> Kind:
    for part in reversed(request.path.lower().strip("/").split("/")):
        if part in _BY_SEGMENT:
            return _BY_SEGMENT[part]
    raise Refusal(404, "NotFound", _GONE)


def _shelf(world: World, request: ArmRequest, names: Mapping[str, str]) -> tuple[Kind, ScaleSet, Any, dict[str, Any]]:
    scale_set, instance = one_instance(world, names)
    kind = _kind_of(request)
    return kind, scale_set, instance, instance.stored.setdefault(kind.segment, {})


def _shown(request: ArmRequest, document: dict[str, Any], world: World) -> dict[str, Any]:
    if request.query.get("$expand", "").lower() != "instanceview":
        return document
    when = world.timestamp()
    view: dict[str, Json] = {"statuses": []}
    if "ommands" in document["type"]:
        view = {"exitCode": 0, "executionState": "Succeeded", "executionMessage": "", "output": "", "error": ""}
        view |= {"startTime": when, "endTime": when}
    return {**document, "properties": {**document["properties"], "instanceView": view}}


def list_stored(world: World, request: ArmRequest, **names: str) -> Answer:
    _, _, _, shelf = _shelf(world, request, names)
    return Answer(200, {"value": [_shown(request, one, world) for one in shelf.values()]})


def get_stored(world: World, request: ArmRequest, *, name: str, **names: str) -> Answer:
    _, _, _, shelf = _shelf(world, request, names)
    if name.lower() not in shelf:
        raise Refusal(404, "NotFound", _GONE)
    return Answer(200, _shown(request, shelf[name.lower()], world))


def write_stored(world: World, request: ArmRequest, *, name: str, **names: str) -> Answer:
    kind, scale_set, instance, shelf = _shelf(world, request, names)
    old, body = shelf.get(name.lower()), without_secrets(writes.checked_tags(world, json_object(request)))
    if old is None and request.method == "PATCH":
        raise Refusal(404, "NotFound", _GONE)
    instance.secrets = secrets.after_extension(instance.secrets, name, json_object(request).get("properties") or {})
    given = {key: body[key] for key in ("location", "tags") if key in body}
    own = {**kind.fill, **(old["properties"] if old else {}), **(body.get("properties") or {})}
    state = "Updating" if old else "Creating"
    document = {
        "name": name,
        "id": f"{scale_set.resource_id}/virtualMachines/{instance.instance_id}/{kind.segment}/{name}",
        "type": f"{_TYPE}/virtualMachines/{kind.segment}",
        **({"location": scale_set.location} if kind.segment != "extensions" else {}),
        **(old or {}),
        **given,
        "properties": {**own, "provisioningState": state},
    }
    shelf[name.lower()] = document
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)

    def done() -> None:
        shelf[name.lower()] = {**document, "properties": {**document["properties"], "provisioningState": "Succeeded"}}
        world.operations.end(record)

    world.after(world.rng.uniform(1, 30), done)
    return accepted(record, request, 200 if old else 201, document)


def delete_stored(world: World, request: ArmRequest, *, name: str, **names: str) -> Answer:
    _, scale_set, instance, shelf = _shelf(world, request, names)
    if name.lower() not in shelf:
        return Answer(204)
    record = world.operations.begin("DELETE", scale_set.subscription_id, scale_set.location)

    def done() -> None:
        shelf.pop(name.lower(), None)
        instance.secrets = secrets.without_extension(instance.secrets, name)
        world.operations.end(record)

    world.after(world.rng.uniform(1, 30), done)
    return accepted(record, request, 202)


_SET = f"/subscriptions/<subscription_id>/resourceGroups/<resource_group>/providers/{_TYPE}/<vmss_name>"
_VM = f"{_SET}/virtualMachines/<instance_id>"
ROUTES: list[Route] = [
    ("GET", f"{_SET}/extensions", list_extensions, f"{_TYPE}/extensions/read"),
    ("GET", f"{_SET}/extensions/<name>", get_extension, f"{_TYPE}/extensions/read"),
    ("PUT", f"{_SET}/extensions/<name>", write_extension, f"{_TYPE}/extensions/write"),
    ("PATCH", f"{_SET}/extensions/<name>", write_extension, f"{_TYPE}/extensions/write"),
    ("DELETE", f"{_SET}/extensions/<name>", delete_extension, f"{_TYPE}/extensions/delete"),
    *(
        (method, f"{_VM}/{kind.segment}{below}", handler, f"{_TYPE}/virtualMachines/{kind.segment}/{right}")
        for kind in KINDS
        for method, below, handler, right in (
            ("GET", "", list_stored, "read"),
            ("GET", "/<name>", get_stored, "read"),
            ("PUT", "/<name>", write_stored, "write"),
            ("PATCH", "/<name>", write_stored, "write"),
            ("DELETE", "/<name>", delete_stored, "delete"),
        )
    ),
]
