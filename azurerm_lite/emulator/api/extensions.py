"""The ARM resources of extensions and run commands, of a scale set and of an instance.

The extensions of a set are part of its model; the others belong to the instance. Nothing is executed: a run command
succeeds without output. https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-extensions
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..messages import ErrorResponse, Json, Request, Response, Route
from ..simulation import defaults, secrets, writes
from ..simulation.compose import Simulation
from ..simulation.events import Events
from ..simulation.scale_sets import merge
from ..simulation.secrets import without_secrets
from ..simulation.state import Instance, OperationRecord, ScaleSet
from .operations import accepted
from .preconditions import NOT_FOUND, find_instance, find_scale_set, json_object

_TYPE = "Microsoft.Compute/virtualMachineScaleSets"


# --- extensions of the set -------------------------------------------------------------------------------------------


def _extension_document(scale_set: ScaleSet, extension: Mapping[str, Any], state: str) -> dict[str, Json]:
    name = extension["name"]
    return {
        "name": name,
        "id": f"{scale_set.resource_id}/extensions/{name}",
        "type": f"{_TYPE}/extensions",
        "properties": {"provisioningState": state, **extension["properties"]},
    }


def list_extensions(simulation: Simulation, _request: Request, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    extensions = [_extension_document(scale_set, extension, "Succeeded") for extension in scale_set.extensions]
    return Response(200, {"value": extensions})


def _find(scale_set: ScaleSet, name: str) -> dict[str, Any] | None:
    return next((item for item in scale_set.extensions if item["name"].lower() == name.lower()), None)


def get_extension(simulation: Simulation, _request: Request, *, name: str, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    extension = _find(scale_set, name)
    if extension is None:
        raise ErrorResponse(404, "NotFound", NOT_FOUND)
    return Response(200, _extension_document(scale_set, extension, "Succeeded"))


def write_extension(simulation: Simulation, request: Request, *, name: str, **names: str) -> Response:
    """PUT or PATCH an extension: part of the model, so all instances become outdated."""
    scale_set = find_scale_set(simulation, names)
    old, body = _find(scale_set, name), json_object(request)
    if old is None and request.method == "PATCH":
        raise ErrorResponse(404, "NotFound", NOT_FOUND)
    properties: dict[str, Any] = body.get("properties") or {}
    sent = {"name": old["name"] if old else name, "properties": properties}
    new = merge(old, sent, null_deletes=True) if old else defaults.complete_extension(sent)
    new["properties"].setdefault("settings", {})
    if "protectedSettings" in properties and properties["protectedSettings"] is None:
        new["properties"]["protectedSettings"] = None  # which erases them
    others = [extension for extension in scale_set.extensions if extension is not old]
    record = _write_extensions(simulation, scale_set, [*others, new], "PUT")
    document = without_secrets(_extension_document(scale_set, new, "Updating" if old else "Creating"))
    return accepted(record, request, 200 if old else 201, document)


def delete_extension(simulation: Simulation, request: Request, *, name: str, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    old = _find(scale_set, name)
    if old is None:
        return Response(204)
    others = [extension for extension in scale_set.extensions if extension is not old]
    return accepted(_write_extensions(simulation, scale_set, others, "DELETE"), request, 202)


def _write_extensions(
    simulation: Simulation, scale_set: ScaleSet, extensions: list[dict[str, Any]], kind: str
) -> OperationRecord:
    change = {"properties": {"virtualMachineProfile": {"extensionProfile": {"extensions": extensions}}}}
    record = simulation.scale_sets.write(scale_set, change, null_deletes=True)
    record.kind = kind
    return record


# --- resources of an instance ----------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A kind of resource below an instance: its segment of the path, and the defaults of its properties."""

    segment: str
    defaults: dict[str, Json]


KINDS = (
    Kind("extensions", {"autoUpgradeMinorVersion": False, "settings": {}}),
    Kind("runCommands", {"timeoutInSeconds": 0, "asyncExecution": False}),
    Kind("diagnosticRunCommands", {"timeoutInSeconds": 0, "asyncExecution": False}),
)
_BY_SEGMENT = {kind.segment.lower(): kind for kind in KINDS}


def _kind_of(request: Request) -> Kind:
    for part in reversed(request.path.lower().strip("/").split("/")):
        if part in _BY_SEGMENT:
            return _BY_SEGMENT[part]
    raise ErrorResponse(404, "NotFound", NOT_FOUND)


def _resources(
    simulation: Simulation, request: Request, names: Mapping[str, str]
) -> tuple[Kind, ScaleSet, Instance, dict[str, Any]]:
    """The kind of resource of a path, the instance with its set, and all its resources of this kind by name."""
    scale_set, instance = find_instance(simulation, names)
    kind = _kind_of(request)
    return kind, scale_set, instance, instance.resources.setdefault(kind.segment, {})


def _with_view(request: Request, document: dict[str, Any], events: Events) -> dict[str, Any]:
    """The document of a resource, with its instance view when `$expand` asks for it."""
    if request.query.get("$expand", "").lower() != "instanceview":
        return document
    when = events.timestamp()
    view: dict[str, Json] = {"statuses": []}
    if document["type"].endswith(("runCommands", "diagnosticRunCommands")):
        view = {"exitCode": 0, "executionState": "Succeeded", "executionMessage": "", "output": "", "error": ""}
        view |= {"startTime": when, "endTime": when}
    return {**document, "properties": {**document["properties"], "instanceView": view}}


def list_resources(simulation: Simulation, request: Request, **names: str) -> Response:
    _, _, _, resources = _resources(simulation, request, names)
    events = simulation.events
    return Response(200, {"value": [_with_view(request, document, events) for document in resources.values()]})


def get_resource(simulation: Simulation, request: Request, *, name: str, **names: str) -> Response:
    _, _, _, resources = _resources(simulation, request, names)
    if name.lower() not in resources:
        raise ErrorResponse(404, "NotFound", NOT_FOUND)
    return Response(200, _with_view(request, resources[name.lower()], simulation.events))


def write_resource(simulation: Simulation, request: Request, *, name: str, **names: str) -> Response:
    kind, scale_set, instance, resources = _resources(simulation, request, names)
    old = resources.get(name.lower())
    body = without_secrets(writes.check_tags(simulation.settings.habits, json_object(request)))
    if old is None and request.method == "PATCH":
        raise ErrorResponse(404, "NotFound", NOT_FOUND)
    instance.secrets = secrets.after_extension(instance.secrets, name, json_object(request).get("properties") or {})
    sent = {key: body[key] for key in ("location", "tags") if key in body}
    properties = {**kind.defaults, **(old["properties"] if old else {}), **(body.get("properties") or {})}
    state = "Updating" if old else "Creating"
    document = {
        "name": name,
        "id": f"{scale_set.resource_id}/virtualMachines/{instance.instance_id}/{kind.segment}/{name}",
        "type": f"{_TYPE}/virtualMachines/{kind.segment}",
        **({"location": scale_set.location} if kind.segment != "extensions" else {}),
        **(old or {}),
        **sent,
        "properties": {**properties, "provisioningState": state},
    }
    resources[name.lower()] = document
    record = simulation.operations.begin("POST", scale_set)

    def finish() -> None:
        resources[name.lower()] = {
            **document,
            "properties": {**document["properties"], "provisioningState": "Succeeded"},
        }
        simulation.operations.end(record)

    simulation.events.schedule_in(simulation.events.random.uniform(1, 30), finish)
    return accepted(record, request, 200 if old else 201, document)


def delete_resource(simulation: Simulation, request: Request, *, name: str, **names: str) -> Response:
    _, scale_set, instance, resources = _resources(simulation, request, names)
    if name.lower() not in resources:
        return Response(204)
    record = simulation.operations.begin("DELETE", scale_set)

    def finish() -> None:
        resources.pop(name.lower(), None)
        instance.secrets = secrets.without_extension(instance.secrets, name)
        simulation.operations.end(record)

    simulation.events.schedule_in(simulation.events.random.uniform(1, 30), finish)
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
            ("GET", "", list_resources, "read"),
            ("GET", "/<name>", get_resource, "read"),
            ("PUT", "/<name>", write_resource, "write"),
            ("PATCH", "/<name>", write_resource, "write"),
            ("DELETE", "/<name>", delete_resource, "delete"),
        )
    ),
]
