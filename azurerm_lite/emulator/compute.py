"""The Compute provider's endpoints: requests in, answers out. How scale sets behave is `scale_sets`' affair.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from . import actions, images, operations, rolling
from .exchange import Answer, ArmRequest, Json, Refusal, Route
from .images import Images
from .operations import accepted
from .scale_sets import Instance, ScaleSet, ScaleSets
from .seed import Seed
from .world import World

ETAGS_SINCE = "2024-03-01"
_POWER_TEXT = {"running": "VM running", "stopped": "VM stopped", "deallocated": "VM deallocated"}


def install(world: World, seed: Seed) -> None:
    """Give a world its operations, images and scale sets, and plant the seed."""
    world.operations, world.images = operations.Operations(world), Images()
    world.scale_sets = ScaleSets(world)
    world.page_size = 0
    key = (seed.subscription_id.lower(), seed.resource_group.lower())
    world.resource_groups[key] = (seed.subscription_id, seed.resource_group, seed.location)
    world.scale_sets.add(seed.plant(world, world.images))


# --- what is shown ---------------------------------------------------------------------------------------------------

_MODEL_ORDER = ("name", "id", "type", "location", "tags", "sku", "identity", "zones", "plan")


def shown_model(scale_set: ScaleSet, request: ArmRequest) -> dict[str, Json]:
    """A model as GET shows it: keys in Azure's order, etag from the api-version that has it, no user data unasked."""
    model = scale_set.model
    shown = {key: model[key] for key in _MODEL_ORDER if key in model}
    if request.api_version >= ETAGS_SINCE:
        shown["etag"] = f'"{scale_set.etag}"'
    shown |= {key: value for key, value in model.items() if key not in shown and key != "etag"}
    properties = {**shown.pop("properties"), "provisioningState": scale_set.state}
    profile = properties.get("virtualMachineProfile")
    if isinstance(profile, Mapping) and request.query.get("$expand", "").lower() != "userdata":
        properties["virtualMachineProfile"] = {key: value for key, value in profile.items() if key != "userData"}
    return {**shown, "properties": properties}


def _etag(request: ArmRequest, etag: int) -> dict[str, str]:
    return {"ETag": f'"{etag}"'} if request.api_version >= ETAGS_SINCE else {}


def shown_instance(world: World, scale_set: ScaleSet, instance: Instance, request: ArmRequest) -> dict[str, Json]:
    """One instance as GET shows it, with its instance view when `$expand` asks for that."""
    document = {key: value for key, value in instance.document.items() if key != "etag"}
    properties = {**instance.document["properties"]}
    properties["latestModelApplied"] = instance.generation == scale_set.generation
    properties["provisioningState"] = instance.state
    if request.query.get("$expand", "").lower() == "instanceview":
        properties["instanceView"] = instance_view(world, instance)
    document["properties"] = properties
    if request.api_version >= ETAGS_SINCE:
        document["etag"] = f'"{instance.etag}"'
    return document


def instance_view(world: World, instance: Instance) -> dict[str, Json]:
    state = {
        "code": f"ProvisioningState/{instance.state.lower()}",
        "level": "Info",
        "displayStatus": "Provisioning succeeded" if instance.state == "Succeeded" else instance.state,
        "time": world.timestamp(instance.state_since),
    }
    text = _POWER_TEXT.get(instance.power, f"VM {instance.power}")
    power = {"code": f"PowerState/{instance.power}", "level": "Info", "displayStatus": text}
    return {**instance.view, "statuses": [state, power]}


def _selected(document: dict[str, Json]) -> dict[str, Json]:
    """What `$select=instanceView` leaves, and its trap: latestModelApplied is false there, whatever is true."""
    kept = ("latestModelApplied", "instanceView", "provisioningState", "hardwareProfile")
    properties = {key: document["properties"][key] for key in kept if key in document["properties"]}
    properties["latestModelApplied"] = False
    return {"id": document["id"], "instanceId": document["instanceId"], "properties": properties}


# --- the scale set ---------------------------------------------------------------------------------------------------


def get_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*_address(names))
    return Answer(200, shown_model(scale_set, request), _etag(request, scale_set.etag))


def list_vmss(world: World, request: ArmRequest, *, subscription_id: str, resource_group: str = "") -> Answer:
    """Of a resource group, or of a subscription: then ARM itself answers, with the group in capitals."""
    found = [one for one in world.scale_sets if one.subscription_id.lower() == subscription_id.lower()]
    if resource_group:
        found = [one for one in found if one.resource_group.lower() == resource_group.lower()]
        return Answer(200, {"value": [shown_model(one, request) for one in found]})
    shown = [shown_model(one, request) for one in found]
    for one, scale_set in zip(shown, found, strict=True):
        one["id"] = one["id"].replace(f"/{scale_set.resource_group}/", f"/{scale_set.resource_group.upper()}/", 1)
    return Answer(200, {"value": shown}, gateway=True)


def put_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    body = _object(request)
    scale_set = world.scale_sets.find(*_address(names))
    if scale_set is None:
        if request.headers.get("if-match"):
            _refuse_etag(request.headers["if-match"], "")
        raise Refusal(400, "OperationNotAllowed", "This emulator does not create scale sets yet: start it with a seed.")
    _check_etag(request, scale_set.etag)
    record = world.scale_sets.write(scale_set, body, null_deletes=False)
    answer = accepted(record, request, 200, shown_model(scale_set, request))
    answer.headers |= _etag(request, scale_set.etag)
    return answer


def patch_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*_address(names))
    body = _object(request)
    _check_etag(request, scale_set.etag)
    record = world.scale_sets.write(scale_set, body, null_deletes=True)
    answer = accepted(record, request, 200, shown_model(scale_set, request))
    answer.headers |= _etag(request, scale_set.etag)
    return answer


def get_vmss_instance_view(world: World, _request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*_address(names))
    counts = Counter(f"ProvisioningState/{one.state.lower()}" for one in scale_set.instances.values())
    status = {
        "code": f"ProvisioningState/{scale_set.state.lower()}",
        "level": "Info",
        "displayStatus": "Provisioning succeeded" if scale_set.state == "Succeeded" else scale_set.state,
        "time": world.timestamp(),
    }
    summary = [{"code": code, "count": count} for code, count in sorted(counts.items())]
    return Answer(200, {"virtualMachine": {"statusesSummary": summary}, "statuses": [status]})


def manual_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*_address(names))
    ids = _object(request).get("instanceIds")
    if not isinstance(ids, list) or not ids:
        text = "Required parameter 'instanceIds' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="instanceIds")
    instances = world.scale_sets.select(scale_set, ids, "upgradePolicies.instanceIds")
    free = [one for one in instances if not _protected(one)]
    return accepted(world.scale_sets.manual_upgrade(scale_set, free), request, 202)


# --- its instances ---------------------------------------------------------------------------------------------------

# The three forms of $filter that Azure documents, and the latestModelApplied that each lets through.
_FILTERS = {
    "properties/latestmodelapplied eq true": {True},
    "properties/latestmodelapplied eq false": {False},
    "startswith(instanceview/statuses/code,'powerstate') eq true": {True, False},
}


def list_vmss_vms(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.get(*_address(names))
    there = list(scale_set.instances.values())
    wanted = " ".join(request.query.get("$filter", "").lower().replace(", ", ",").split())
    if wanted:
        if wanted not in _FILTERS:
            raise Refusal(400, "InvalidParameter", f"The filter '{wanted}' is not supported.", target="$filter")
        there = [one for one in there if (one.generation == scale_set.generation) in _FILTERS[wanted]]
    page, following = _page(world, request, there)
    shown = [shown_instance(world, scale_set, one, request) for one in page]
    if request.query.get("$select", "").lower().startswith("instanceview"):
        shown = [_selected(one) for one in shown]
    return Answer(200, {"value": shown, **following})


def _page(world: World, request: ArmRequest, items: list[Instance]) -> tuple[list[Instance], dict[str, str]]:
    """The items of this page, and the nextLink if there is another."""
    token = request.query.get("$skiptoken", "0")
    start = int(token) if token.isdigit() else 0
    if not world.page_size or start + world.page_size >= len(items):
        return items[start:], {}
    following = {**request.query, "$skiptoken": str(start + world.page_size)}
    query = "&".join(f"{key}={value.replace(' ', '%20')}" for key, value in following.items())
    link = f"{request.base_url}{request.path}?{query}"
    return items[start : start + world.page_size], {"nextLink": link}


def _instance(world: World, names: Mapping[str, str]) -> tuple[ScaleSet, Instance]:
    scale_set = world.scale_sets.get(*_address(names))
    instance = scale_set.instances.get(names["instance_id"])
    if instance is None:
        raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
    return scale_set, instance


def get_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = _instance(world, names)
    return Answer(200, shown_instance(world, scale_set, instance, request), _etag(request, instance.etag))


def get_vmss_vm_instance_view(world: World, _request: ArmRequest, **names: str) -> Answer:
    return Answer(200, instance_view(world, _instance(world, names)[1]))


def put_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    """Of an instance, its protection and its tags are the caller's; the rest is read."""
    scale_set, instance = _instance(world, names)
    body = _object(request)
    _check_etag(request, instance.etag)
    properties = body.get("properties") or {}
    if isinstance(properties.get("protectionPolicy"), dict):
        instance.document["properties"]["protectionPolicy"] = properties["protectionPolicy"]
    if isinstance(body.get("tags"), dict):
        instance.document["tags"] = body["tags"]
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    world.scale_sets.set_state(scale_set, instance, "Updating")
    answer = accepted(record, request, 200, shown_instance(world, scale_set, instance, request))

    def done() -> None:
        world.scale_sets.set_state(scale_set, instance, "Succeeded")
        world.operations.end(record)

    world.after(world.rng.uniform(0.1, 2.0), done)
    return answer


def _action_of(request: ArmRequest) -> str:
    return request.path.rstrip("/").rpartition("/")[2].lower()


def act_on_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    """An action on one instance, named by the last part of the path (DELETE: delete). Protection does not stop it."""
    scale_set, instance = _instance(world, names)
    name = "delete" if request.method == "DELETE" else _action_of(request)
    return accepted(actions.act(world, scale_set, [instance], name), request, 202)


def act_on_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    """An action on several instances; without ids on all of them. Instances protected from the set are left alone."""
    scale_set = world.scale_sets.get(*_address(names))
    name = _action_of(request)
    body = request.body if isinstance(request.body, dict) else {}
    ids = body.get("instanceIds")
    if name == "delete" and not ids:
        text = "Required parameter 'instanceIds' is missing (null)."
        raise Refusal(400, "InvalidParameter", text, target="instanceIds")
    instances = world.scale_sets.select(scale_set, ids or ["*"], "instanceIds")
    free = [one for one in instances if name == "delete" or not _protected(one)]
    return accepted(actions.act(world, scale_set, free, name), request, 202)


def _protected(instance: Instance) -> bool:
    policy = instance.document["properties"].get("protectionPolicy") or {}
    return bool(policy.get("protectFromScaleSetActions"))


def delete_vmss(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set = world.scale_sets.find(*_address(names))
    if scale_set is None:
        return Answer(204)
    return accepted(world.scale_sets.delete(scale_set), request, 202)


# --- Azure's own rolling upgrade -------------------------------------------------------------------------------------


def start_rolling_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    return accepted(rolling.start(world, world.scale_sets.get(*_address(names))).record, request, 202)


def cancel_rolling_upgrade(world: World, request: ArmRequest, **names: str) -> Answer:
    return accepted(rolling.cancel(world, world.scale_sets.get(*_address(names))), request, 202)


def get_rolling_upgrade(world: World, _request: ArmRequest, **names: str) -> Answer:
    return Answer(200, rolling.shown(world, world.scale_sets.get(*_address(names))))


def list_os_upgrades(world: World, _request: ArmRequest, **names: str) -> Answer:
    return Answer(200, rolling.history(world, world.scale_sets.get(*_address(names))))


# --- preconditions ---------------------------------------------------------------------------------------------------


def _address(names: Mapping[str, str]) -> tuple[str, str, str]:
    return names["subscription_id"], names["resource_group"], names["vmss_name"]


def _object(request: ArmRequest) -> dict[str, Any]:
    if isinstance(request.body, dict):
        return request.body
    text = "The request content was invalid and could not be deserialized: 'expected a JSON object'."
    raise Refusal(400, "InvalidRequestContent", text, gateway=True)


def _check_etag(request: ArmRequest, etag: int) -> None:
    if request.api_version < ETAGS_SINCE:
        return
    wanted = request.headers.get("if-match", "")
    if wanted not in ("", "*", f'"{etag}"'):
        _refuse_etag(wanted, f'"{etag}"')
    if request.headers.get("if-none-match") == "*":
        text = "The resource already exists, and the if-none-match header says that it must not."
        raise Refusal(412, "PreconditionFailed", text)


def _refuse_etag(wanted: str, etag: str) -> None:
    text = f"Etag provided in if-match header {wanted} does not match etag {etag} of resource."
    raise Refusal(412, "PreconditionFailed", text)


_SUBSCRIPTION = "/subscriptions/<subscription_id>"
_COLLECTION = f"{_SUBSCRIPTION}/resourceGroups/<resource_group>/providers/Microsoft.Compute/virtualMachineScaleSets"
_SET = f"{_COLLECTION}/<vmss_name>"
_VMS = f"{_SET}/virtualMachines"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets"

ROUTES: list[Route] = [
    ("GET", f"{_SUBSCRIPTION}/providers/{_TYPE}", list_vmss, f"{_TYPE}/read"),
    ("GET", _COLLECTION, list_vmss, f"{_TYPE}/read"),
    ("GET", _SET, get_vmss, f"{_TYPE}/read"),
    ("PUT", _SET, put_vmss, f"{_TYPE}/write"),
    ("PATCH", _SET, patch_vmss, f"{_TYPE}/write"),
    ("GET", f"{_SET}/instanceView", get_vmss_instance_view, f"{_TYPE}/instanceView/read"),
    ("POST", f"{_SET}/manualupgrade", manual_upgrade, f"{_TYPE}/manualUpgrade/action"),
    ("GET", _VMS, list_vmss_vms, f"{_TYPE}/virtualMachines/read"),
    ("DELETE", _SET, delete_vmss, f"{_TYPE}/delete"),
    *(("POST", f"{_SET}/{name}", act_on_vmss, f"{_TYPE}/{name}/action") for name in actions.ACTIONS),
    *(
        ("POST", f"{_VMS}/<instance_id>/{name}", act_on_vmss_vm, f"{_TYPE}/virtualMachines/{name}/action")
        for name in actions.ACTIONS
        if name not in ("delete", "reapply")
    ),
    ("DELETE", f"{_VMS}/<instance_id>", act_on_vmss_vm, f"{_TYPE}/virtualMachines/delete"),
    ("PUT", f"{_VMS}/<instance_id>", put_vmss_vm, f"{_TYPE}/virtualMachines/write"),
    ("POST", f"{_SET}/osRollingUpgrade", start_rolling_upgrade, f"{_TYPE}/osRollingUpgrade/action"),
    ("POST", f"{_SET}/rollingUpgrades/cancel", cancel_rolling_upgrade, f"{_TYPE}/rollingUpgrades/action"),
    ("GET", f"{_SET}/rollingUpgrades/latest", get_rolling_upgrade, f"{_TYPE}/rollingUpgrades/read"),
    ("GET", f"{_SET}/osUpgradeHistory", list_os_upgrades, f"{_TYPE}/osUpgradeHistory/read"),
    ("GET", f"{_VMS}/<instance_id>", get_vmss_vm, f"{_TYPE}/virtualMachines/read"),
    ("GET", f"{_VMS}/<instance_id>/instanceView", get_vmss_vm_instance_view, f"{_TYPE}/virtualMachines/read"),
    (
        "GET",
        f"{_SUBSCRIPTION}/providers/Microsoft.Compute/locations/<location>/operations/<operation_id>",
        operations.get_operation,
        "Microsoft.Compute/locations/operations/read",
    ),
    *images.ROUTES,
]
