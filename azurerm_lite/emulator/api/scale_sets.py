"""The ARM resource `virtualMachineScaleSets`: models, instance views, and actions on the whole set.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from typing import Any

from ..messages import ErrorResponse, Json, Request, Response, Route
from ..simulation import power
from ..simulation.compose import Simulation
from ..simulation.state import Instance, OperationRecord, ScaleSet
from . import views
from .operations import accepted
from .preconditions import action_of, address, check_etag, find_scale_set, json_object, refuse_etag


def get_vmss(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    return Response(200, views.model(scale_set, request), views.etag_header(request, scale_set.etag))


def list_vmss(simulation: Simulation, request: Request, *, subscription_id: str, resource_group: str = "") -> Response:
    """The scale sets of a resource group, or of a subscription: then ARM responds, with the group in capitals."""
    scale_sets = _of_subscription(simulation, subscription_id)
    if resource_group:
        scale_sets = [item for item in scale_sets if item.resource_group.lower() == resource_group.lower()]
        models = [views.model(item, request) for item in scale_sets]
        return Response(200, {"value": models}, uses_quota=bool(models))
    models = [views.model(item, request) for item in scale_sets]
    for model, scale_set in zip(models, scale_sets, strict=True):
        model["id"] = model["id"].replace(f"/{scale_set.resource_group}/", f"/{scale_set.resource_group.upper()}/", 1)
    return Response(200, {"value": models}, gateway=True)


def _of_subscription(simulation: Simulation, subscription_id: str) -> list[ScaleSet]:
    return [item for item in simulation.scale_sets if item.subscription_id.lower() == subscription_id.lower()]


def list_vmss_location(simulation: Simulation, request: Request, *, subscription_id: str, location: str) -> Response:
    scale_sets = _of_subscription(simulation, subscription_id)
    local = [item for item in scale_sets if item.location.lower() == location.lower()]
    return Response(200, {"value": [views.model(item, request) for item in local]})


def put_vmss(simulation: Simulation, request: Request, **names: str) -> Response:
    """Create a scale set (201), or merge the body into the model of an existing one (200), as recorded."""
    body, where = json_object(request), address(names)
    scale_set = simulation.scale_sets.find(*where)
    if scale_set is None and request.headers.get("if-match"):
        refuse_etag(request.headers["if-match"], "")
    if scale_set is None:
        scale_set, record = simulation.scale_sets.create(*where, body)
        return _after_write(request, scale_set, record, 201)
    check_etag(request, scale_set.etag)
    return _after_write(request, scale_set, simulation.scale_sets.put(scale_set, body), 200)


def patch_vmss(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set, body = find_scale_set(simulation, names), json_object(request)
    check_etag(request, scale_set.etag)
    return _after_write(request, scale_set, simulation.scale_sets.patch(scale_set, body), 200)


def _after_write(request: Request, scale_set: ScaleSet, record: OperationRecord, status: int) -> Response:
    response = accepted(record, request, status, views.model(scale_set, request))
    response.headers |= views.etag_header(request, scale_set.etag)
    response.charge = -1 if scale_set.is_flexible else 0  # writes of a Flexible set show no charge
    return response


def delete_vmss(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set = simulation.scale_sets.find(*address(names))
    if scale_set is None:
        return Response(204, uses_quota=False)
    return accepted(simulation.scale_sets.delete(scale_set), request, 202)


def get_vmss_instance_view(simulation: Simulation, _request: Request, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    if scale_set.is_flexible:
        text = (
            "Operation 'GET instanceView' is not allowed on a Virtual Machine Scale Set in Flexible orchestration mode."
        )
        raise ErrorResponse(409, "OperationNotAllowed", text)
    return Response(200, views.set_view(simulation.events, scale_set))


def list_skus(simulation: Simulation, _request: Request, **names: str) -> Response:
    """The sizes that the set may have: its present size, and some of a plain family."""
    size = find_scale_set(simulation, names).model["sku"]["name"]
    sizes = dict.fromkeys([size, *(f"Standard_D{cores}s_v3" for cores in (2, 4, 8, 16, 32))])
    capacity = {"minimum": 0, "maximum": 100, "defaultCapacity": 1, "scaleType": "Automatic"}
    kind = "Microsoft.Compute/virtualMachineScaleSets"
    value = [{"resourceType": kind, "sku": {"name": n, "tier": "Standard"}, "capacity": capacity} for n in sizes]
    return Response(200, {"value": value})


# --- actions on the set ----------------------------------------------------------------------------------------------


def _required_ids(request: Request) -> list[Json]:
    ids = json_object(request).get("instanceIds")
    if not isinstance(ids, list) or not ids:
        text = "Required parameter 'instanceIds' is missing (null)."
        raise ErrorResponse(400, "InvalidParameter", text, target="instanceIds")
    return ids


def manual_upgrade(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set = find_scale_set(simulation, names)
    ids = _required_ids(request)
    selected = simulation.instances.select(scale_set, ids, "upgradePolicies.instanceIds")
    free = [instance for instance in selected if not instance.is_protected]
    return _with_charge(accepted(simulation.manual_upgrades.begin(scale_set, free), request, 202), free)


def act_on_vmss(simulation: Simulation, request: Request, **names: str) -> Response:
    """An action on several instances, without ids on all; only "delete" includes protected instances."""
    scale_set, name = find_scale_set(simulation, names), action_of(request)
    body = request.body if isinstance(request.body, dict) else {}
    ids = _required_ids(request) if name == "delete" else body.get("instanceIds")
    selected = simulation.instances.select(scale_set, ids or ["*"], "instanceIds")
    free = [instance for instance in selected if name == "delete" or not instance.is_protected]
    force = bool(body.get("forceUpdateOSDiskForEphemeral"))
    record = simulation.power.begin(scale_set, free, name, force_disk=force, holds_set=True)
    return _with_charge(accepted(record, request, 202), free)


def _with_charge(response: Response, instances: list[Instance]) -> Response:
    response.charge = len(instances)
    return response


def approve_rolling_upgrade(simulation: Simulation, request: Request, **names: str) -> Response:
    """Release VMs whose OS upgrade was deferred; the emulator defers none, so nothing more happens."""
    record = simulation.operations.begin_timed(find_scale_set(simulation, names), 0.1, 2)
    return accepted(record, request, 202)


def set_orchestration_service_state(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set, body = find_scale_set(simulation, names), json_object(request)
    states = {"suspend": "Suspended", "resume": "Running"}
    state = states.get(str(body.get("action", "")).lower())
    services = ("AutomaticRepairs", "AutomaticZoneRebalancing")
    if state is None or body.get("serviceName") not in services:
        raise ErrorResponse(400, "InvalidParameter", "The action or serviceName is not valid.", target="action")
    if body["serviceName"] == "AutomaticRepairs":
        scale_set.repairs_state = state
    return accepted(simulation.operations.begin_timed(scale_set, 0.1, 5), request, 202)


def convert_to_single_placement_group(simulation: Simulation, _request: Request, **names: str) -> Response:
    """Set singlePlacementGroup to false, which is what Azure documents in spite of the name."""
    scale_set = find_scale_set(simulation, names)
    if scale_set.is_flexible:
        text = "Operation 'convertToSinglePlacementGroup' is not allowed in Flexible orchestration mode."
        raise ErrorResponse(409, "OperationNotAllowed", text)
    scale_set.model["properties"]["singlePlacementGroup"] = False
    scale_set.etag += 1
    return Response(200)


def walk_update_domains(simulation: Simulation, request: Request, **names: str) -> Response:
    """The recovery walk of Service Fabric, which ends at once. Returns the next update domain."""
    scale_set, domain = find_scale_set(simulation, names), request.query.get("platformupdatedomain", "")
    if not domain.isdigit():
        text = "Required parameter 'platformUpdateDomain' is missing (null)."
        raise ErrorResponse(400, "InvalidParameter", text, target="platformUpdateDomain")
    domains = {int(item.view.get("platformUpdateDomain", 0)) for item in scale_set.instances.values()}
    later = sorted(other for other in domains if other > int(domain))
    body = {"walkPerformed": True, "nextPlatformUpdateDomain": later[0]} if later else {"walkPerformed": True}
    return Response(200, body)


def scale_out(simulation: Simulation, request: Request, **names: str) -> Response:
    """Add instances. https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/scale-out"""
    scale_set, body = find_scale_set(simulation, names), json_object(request)
    if not isinstance(body.get("capacity"), int) or body["capacity"] < 1:
        raise ErrorResponse(400, "InvalidParameter", "The value of parameter 'capacity' is invalid.", target="capacity")
    record = simulation.operations.begin("POST", scale_set)
    sku = scale_set.model["sku"]
    scale_set.model["sku"] = {**sku, "capacity": sku["capacity"] + body["capacity"]}
    simulation.scale_sets.resize(scale_set, lambda: simulation.operations.end(record))
    return accepted(record, request, 202)


def migrate_zone(simulation: Simulation, request: Request, **names: str) -> Response:
    """Move VMs to another zone, as one operation."""
    scale_set, body = find_scale_set(simulation, names), request.body if isinstance(request.body, dict) else {}
    ids = body.get("instanceIds") or ["*"]
    selected = simulation.instances.select(scale_set, ids if isinstance(ids, list) else ["*"], "instanceIds")
    record = simulation.power.begin(scale_set, selected, "redeploy", holds_set=True)
    return _with_charge(accepted(record, request, 202), selected)


# --- lifecycle hooks: the emulator never waits for them --------------------------------------------------------------


def list_lifecycle_events(simulation: Simulation, _request: Request, **names: str) -> Response:
    events = find_scale_set(simulation, names).lifecycle_events
    return Response(200, {"value": list(events.values())})


def lifecycle_event(simulation: Simulation, request: Request, *, event_name: str, **names: str) -> Response:
    """GET an event, or PATCH it with a decision."""
    event = find_scale_set(simulation, names).lifecycle_events.get(event_name)
    if event is None:
        raise ErrorResponse(404, "NotFound", "The entity was not found in this Azure location.")
    if request.method == "PATCH":
        event["properties"] = {**event.get("properties", {}), **(json_object(request).get("properties") or {})}
    return Response(200, event)


_SUBSCRIPTION = "/subscriptions/<subscription_id>"
_COLLECTION = f"{_SUBSCRIPTION}/resourceGroups/<resource_group>/providers/Microsoft.Compute/virtualMachineScaleSets"
_SET = f"{_COLLECTION}/<vmss_name>"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
_LOCATION = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/<location>"

_POSTS: dict[str, Any] = {
    **dict.fromkeys(power.ACTIONS, act_on_vmss),
    "manualupgrade": manual_upgrade,
    "approveRollingUpgrade": approve_rolling_upgrade,
    "setOrchestrationServiceState": set_orchestration_service_state,
    "convertToSinglePlacementGroup": convert_to_single_placement_group,
    "forceRecoveryServiceFabricPlatformUpdateDomainWalk": walk_update_domains,
    "scaleOut": scale_out,
    "migrateVMAvailabilityZone": migrate_zone,
}
_GETS: dict[str, Any] = {
    "instanceView": get_vmss_instance_view,
    "skus": list_skus,
    "lifecycleHookEvents": list_lifecycle_events,
    "lifecycleHookEvents/<event_name>": lifecycle_event,
}
ROUTES: list[Route] = [
    ("GET", f"{_SUBSCRIPTION}/providers/{_TYPE}", list_vmss, f"{_TYPE}/read"),
    ("GET", f"{_LOCATION}/virtualMachineScaleSets", list_vmss_location, f"{_TYPE}/read"),
    ("GET", _COLLECTION, list_vmss, f"{_TYPE}/read"),
    ("GET", _SET, get_vmss, f"{_TYPE}/read"),
    ("PUT", _SET, put_vmss, f"{_TYPE}/write"),
    ("PATCH", _SET, patch_vmss, f"{_TYPE}/write"),
    ("DELETE", _SET, delete_vmss, f"{_TYPE}/delete"),
    *(("POST", f"{_SET}/{name}", handler, f"{_TYPE}/{name}/action") for name, handler in _POSTS.items()),
    *(("GET", f"{_SET}/{name}", handler, f"{_TYPE}/{name}/read") for name, handler in _GETS.items()),
    ("PATCH", f"{_SET}/lifecycleHookEvents/<event_name>", lifecycle_event, f"{_TYPE}/lifecycleHookEvents/write"),
]
