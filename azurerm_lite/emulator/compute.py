"""The Compute provider's endpoints for scale sets: requests in, answers out. How scale sets behave is not known here.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections.abc import Mapping
from typing import Any

from . import actions, images, instances, operations, rolling, stored, upgrading, views
from .disturbances import Disturbances
from .exchange import Answer, ArmRequest, Json, Refusal, Route
from .images import Images
from .instances import address, check_etag, json_object, refuse_etag
from .operations import accepted
from .scale_sets import Instance, ScaleSet, ScaleSets
from .seed import Seed
from .throttle import Throttle
from .world import World


def install(world: World, *seeds: Seed) -> None:
    """Give a world its operations, images, limits, scale sets and habits, and plant the seeds."""
    world.operations, world.images, world.throttle = operations.Operations(world), Images(), Throttle(world)
    world.scale_sets = ScaleSets(world)
    world.disturbances = Disturbances(world, world.uses)
    for seed in seeds:
        plant(world, seed)


def plant(world: World, seed: Seed) -> ScaleSet:
    """One more scale set, and its resource group if there is none of that name yet."""
    key = (seed.subscription_id.lower(), seed.resource_group.lower())
    world.resource_groups.setdefault(key, (seed.subscription_id, seed.resource_group, seed.location))
    world.page_size = seed.page_size or world.page_size
    scale_set = seed.plant(world, world.images)
    world.scale_sets.add(scale_set)
    return scale_set


def _set(world: World, names: Mapping[str, str]) -> ScaleSet:
    return world.scale_sets.get(*address(names))


def get_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = _set(world, names)
    return Answer(200, views.model(scale_set, request), views.etag_header(request, scale_set.etag))


def list_vmss(world: World, request: ArmRequest, *, subscription_id: str, resource_group: str = "") -> Answer:
    """Of a resource group, or of a subscription: then ARM itself answers, with the group in capitals."""
    found = [one for one in world.scale_sets if one.subscription_id.lower() == subscription_id.lower()]
    if resource_group:
        found = [one for one in found if one.resource_group.lower() == resource_group.lower()]
        return Answer(200, {"value": [views.model(one, request) for one in found]}, counted=bool(found))
    shown = [views.model(one, request) for one in found]
    for one, scale_set in zip(shown, found, strict=True):
        one["id"] = one["id"].replace(f"/{scale_set.resource_group}/", f"/{scale_set.resource_group.upper()}/", 1)
    return Answer(200, {"value": shown}, gateway=True)


def list_vmss_location(world: World, request: ArmRequest, *, subscription_id: str, location: str) -> Answer:
    there = [one for one in world.scale_sets if one.subscription_id.lower() == subscription_id.lower()]
    found = [one for one in there if one.location.lower() == location.lower()]
    return Answer(200, {"value": [views.model(one, request) for one in found]})


def put_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    """Create (201), or lay the body over the model that is there (200), as recorded Azure does."""
    body, where = json_object(request), address(names)
    scale_set = world.scale_sets.find(*where)
    if scale_set is None and request.headers.get("if-match"):
        refuse_etag(request.headers["if-match"], "")
    if scale_set is None:
        made, record = world.scale_sets.create(*where, body)
        return _written(request, made, record, 201)
    check_etag(request, scale_set.etag)
    return _written(request, scale_set, world.scale_sets.put(scale_set, body), 200)


def patch_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, body = _set(world, names), json_object(request)
    check_etag(request, scale_set.etag)
    return _written(request, scale_set, world.scale_sets.patch(scale_set, body), 200)


def _written(request: ArmRequest, scale_set: ScaleSet, record: operations.OperationRecord, status: int) -> Answer:
    answer = accepted(record, request, status, views.model(scale_set, request))
    answer.headers |= views.etag_header(request, scale_set.etag)
    answer.charge = -1 if scale_set.flexible else 0  # of a Flexible set nothing is charged
    return answer


def delete_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.find(*address(names))
    if scale_set is None:
        return Answer(204, counted=False)
    return accepted(world.scale_sets.delete(scale_set), request, 202)


def get_vmss_instance_view(world: World, _request: ArmRequest, **names: str) -> Answer:
    scale_set = _set(world, names)
    if scale_set.flexible:
        text = (
            "Operation 'GET instanceView' is not allowed on a Virtual Machine Scale Set in Flexible orchestration mode."
        )
        raise Refusal(409, "OperationNotAllowed", text)
    return Answer(200, views.set_view(world, scale_set))


def list_skus(world: World, _request: ArmRequest, **names: str) -> Answer:
    """The sizes that the set may have: its own, and the next ones of a plain family."""
    own = _set(world, names).model["sku"]["name"]
    sizes = dict.fromkeys([own, *(f"Standard_D{cores}s_v3" for cores in (2, 4, 8, 16, 32))])
    capacity = {"minimum": 0, "maximum": 100, "defaultCapacity": 1, "scaleType": "Automatic"}
    kind = "Microsoft.Compute/virtualMachineScaleSets"
    value = [{"resourceType": kind, "sku": {"name": n, "tier": "Standard"}, "capacity": capacity} for n in sizes]
    return Answer(200, {"value": value})


# --- actions on the set ----------------------------------------------------------------------------------------------


def _required_ids(request: ArmRequest) -> list[Json]:
    ids = json_object(request).get("instanceIds")
    if not isinstance(ids, list) or not ids:
        text = "Required parameter 'instanceIds' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="instanceIds")
    return ids


def manual_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = _set(world, names)
    ids = _required_ids(request)
    found = world.scale_sets.select(scale_set, ids, "upgradePolicies.instanceIds")
    free = [one for one in found if not one.protected]
    return _charged(accepted(upgrading.manual_upgrade(world, scale_set, free), request, 202), free)


def act_on_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    """An action on several instances; without ids on all of them. Instances protected from the set are left alone."""
    scale_set, name = _set(world, names), instances.action_of(request)
    body = request.body if isinstance(request.body, dict) else {}
    ids = _required_ids(request) if name == "delete" else body.get("instanceIds")
    found = world.scale_sets.select(scale_set, ids or ["*"], "instanceIds")
    free = [one for one in found if name == "delete" or not one.protected]
    force = bool(body.get("forceUpdateOSDiskForEphemeral"))
    record = actions.act(world, scale_set, free, name, force_disk=force, of_set=True)
    return _charged(accepted(record, request, 202), free)


def _charged(answer: Answer, instances_: list[Instance]) -> Answer:
    answer.charge = len(instances_)
    return answer


def _short(world: World, request: ArmRequest, scale_set: ScaleSet, seconds: tuple[float, float]) -> Answer:
    """An operation that only takes its time."""
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    world.after(world.rng.uniform(*seconds), lambda: world.operations.end(record))
    return accepted(record, request, 202)


def approve_rolling_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    """Releases VMs whose OS upgrade was deferred; nothing is deferred here, so nothing more happens."""
    return _short(world, request, _set(world, names), (0.1, 2))


def set_orchestration_service_state(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, body = _set(world, names), json_object(request)
    states = {"suspend": "Suspended", "resume": "Running"}
    state = states.get(str(body.get("action", "")).lower())
    services = ("AutomaticRepairs", "AutomaticZoneRebalancing")
    if state is None or body.get("serviceName") not in services:
        raise Refusal(400, "InvalidParameter", "The action or serviceName is not valid.", target="action")
    if body["serviceName"] == "AutomaticRepairs":
        scale_set.repairs_state = state
    return _short(world, request, scale_set, (0.1, 5))


def convert_to_single_placement_group(world: World, _request: ArmRequest, **names: str) -> Answer:
    """Despite its name it sets singlePlacementGroup to false, as Azure's own text says."""
    scale_set = _set(world, names)
    if scale_set.flexible:
        text = "Operation 'convertToSinglePlacementGroup' is not allowed in Flexible orchestration mode."
        raise Refusal(409, "OperationNotAllowed", text)
    scale_set.model["properties"]["singlePlacementGroup"] = False
    scale_set.etag += 1
    return Answer(200)


def walk_update_domains(world: World, request: ArmRequest, **names: str) -> Answer:
    """Service Fabric's recovery walk: done at once, and the next update domain."""
    scale_set, wanted = _set(world, names), request.query.get("platformupdatedomain", "")
    if not wanted.isdigit():
        text = "Required parameter 'platformUpdateDomain' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="platformUpdateDomain")
    domains = {int(one.view.get("platformUpdateDomain", 0)) for one in scale_set.instances.values()}
    later = sorted(one for one in domains if one > int(wanted))
    body = {"walkPerformed": True, "nextPlatformUpdateDomain": later[0]} if later else {"walkPerformed": True}
    return Answer(200, body)


def scale_out(world: World, request: ArmRequest, **names: str) -> Answer:
    """More instances than there are. https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/scale-out"""
    scale_set, body = _set(world, names), json_object(request)
    if not isinstance(body.get("capacity"), int) or body["capacity"] < 1:
        raise Refusal(400, "InvalidParameter", "The value of parameter 'capacity' is invalid.", target="capacity")
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    sku = scale_set.model["sku"]
    scale_set.model["sku"] = {**sku, "capacity": sku["capacity"] + body["capacity"]}
    actions.scale(world, scale_set, lambda: world.operations.end(record))
    return accepted(record, request, 202)


def migrate_zone(world: World, request: ArmRequest, **names: str) -> Answer:
    """Move VMs to another zone, one operation for all."""
    scale_set, body = _set(world, names), request.body if isinstance(request.body, dict) else {}
    ids = body.get("instanceIds") or ["*"]
    found = world.scale_sets.select(scale_set, ids if isinstance(ids, list) else ["*"], "instanceIds")
    record = actions.act(world, scale_set, found, "redeploy", of_set=True)
    return _charged(accepted(record, request, 202), found)


# --- Azure's own rolling upgrade -------------------------------------------------------------------------------------


def start_rolling_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    return accepted(rolling.start(world, _set(world, names)).record, request, 202)


def start_extension_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    return accepted(rolling.start(world, _set(world, names), kind="Extension").record, request, 202)


def cancel_rolling_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    return accepted(rolling.cancel(world, _set(world, names)), request, 202)


def get_rolling_upgrade(world: World, _request: ArmRequest, **names: str) -> Answer:
    return Answer(200, rolling.shown(world, _set(world, names)))


def list_os_upgrades(world: World, _request: ArmRequest, **names: str) -> Answer:
    return Answer(200, rolling.history(world, _set(world, names)))


# --- lifecycle hooks: none ever waits here ---------------------------------------------------------------------------


def list_lifecycle_events(world: World, _request: ArmRequest, **names: str) -> Answer:
    events = _set(world, names).lifecycle_events
    return Answer(200, {"value": list(events.values())})


def lifecycle_event(world: World, request: ArmRequest, *, event_name: str, **names: str) -> Answer:
    """GET an event, or PATCH it with what is decided about it."""
    found = _set(world, names).lifecycle_events.get(event_name)
    if found is None:
        raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
    if request.method == "PATCH":
        found["properties"] = {**found.get("properties", {}), **(json_object(request).get("properties") or {})}
    return Answer(200, found)


_SUBSCRIPTION = "/subscriptions/<subscription_id>"
_COLLECTION = f"{_SUBSCRIPTION}/resourceGroups/<resource_group>/providers/Microsoft.Compute/virtualMachineScaleSets"
_SET = f"{_COLLECTION}/<vmss_name>"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
_LOCATION = f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/<location>"

_POSTS: dict[str, Any] = {
    **dict.fromkeys(actions.ACTIONS, act_on_vmss),
    "manualupgrade": manual_upgrade,
    "approveRollingUpgrade": approve_rolling_upgrade,
    "setOrchestrationServiceState": set_orchestration_service_state,
    "convertToSinglePlacementGroup": convert_to_single_placement_group,
    "forceRecoveryServiceFabricPlatformUpdateDomainWalk": walk_update_domains,
    "scaleOut": scale_out,
    "migrateVMAvailabilityZone": migrate_zone,
    "osRollingUpgrade": start_rolling_upgrade,
    "extensionRollingUpgrade": start_extension_upgrade,
    "rollingUpgrades/cancel": cancel_rolling_upgrade,
}
_GETS: dict[str, Any] = {
    "instanceView": get_vmss_instance_view,
    "skus": list_skus,
    "rollingUpgrades/latest": get_rolling_upgrade,
    "osUpgradeHistory": list_os_upgrades,
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
    (
        "GET",
        f"{_LOCATION}/operations/<operation_id>",
        operations.get_operation,
        "Microsoft.Compute/locations/operations/read",
    ),
    *instances.ROUTES,
    *stored.ROUTES,
    *images.ROUTES,
]
