"""The endpoints of single instances, and of the VMs of Flexible sets: requests in, answers out.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms
"""

from collections.abc import Mapping
from typing import Any

from . import actions, views, writes
from .exchange import DISTURBED, Answer, ArmRequest, Refusal, Route
from .operations import accepted
from .scale_sets import Instance, ScaleSet
from .world import World

# The three forms of $filter that Azure documents, and the latestModelApplied that each lets through.
_FILTERS = {
    "properties/latestmodelapplied eq true": {True},
    "properties/latestmodelapplied eq false": {False},
    "startswith(instanceview/statuses/code,'powerstate') eq true": {True, False},
}
_GONE = "The entity was not found in this Azure location."


# --- preconditions ---------------------------------------------------------------------------------------------------


def address(names: Mapping[str, str]) -> tuple[str, str, str]:
    return names["subscription_id"], names["resource_group"], names["vmss_name"]


def json_object(request: ArmRequest) -> dict[str, Any]:
    if isinstance(request.body, dict):
        return request.body
    text = "The request content was invalid and could not be deserialized: 'expected a JSON object'."
    raise Refusal(400, "InvalidRequestContent", text, gateway=True)


def check_etag(request: ArmRequest, etag: int) -> None:
    if not views.has_etag(request):
        return
    wanted = request.headers.get("if-match", "")
    if wanted not in ("", "*", f'"{etag}"'):
        refuse_etag(wanted, f'"{etag}"')
    if request.headers.get("if-none-match") == "*":
        text = "The resource already exists, and the if-none-match header says that it must not."
        raise Refusal(412, "PreconditionFailed", text)


def refuse_etag(wanted: str, etag: str) -> None:
    text = f"Etag provided in if-match header {wanted} does not match etag {etag} of resource."
    raise Refusal(412, "PreconditionFailed", text)


def one_instance(world: World, names: Mapping[str, str]) -> tuple[ScaleSet, Instance]:
    scale_set = world.scale_sets.get(*address(names))
    instance = scale_set.instances.get(names["instance_id"])
    if instance is None or "unlisted" in instance.marks:
        raise Refusal(404, "NotFound", _GONE)
    return scale_set, instance


def action_of(request: ArmRequest) -> str:
    return request.path.rstrip("/").rpartition("/")[2].lower()


# --- endpoints -------------------------------------------------------------------------------------------------------


def list_vmss_vms(world: World, request: ArmRequest, **names: str) -> Answer:
    """The instances, page by page. A list that a habit has changed is one page."""
    scale_set = world.scale_sets.get(*address(names))
    follows = "$skiptoken" in request.query
    seen, listed, items = world.disturbances.listed(scale_set, disturbed=not follows)
    there = _filtered(request, seen, listed)
    page, following = _page(world, request, there) if items is None else (there, {})
    shown = [views.instance(world, seen, instance, request) for instance in page]
    if request.query.get("$select", "").lower().startswith("instanceview"):
        shown = [views.selected(document) for document in shown]
    answer = Answer(200, {"value": [*shown, *(items or [])], **following}, charge=len(page))
    marks = seen.marks.union(*(instance.marks for instance in page))
    if items is not None or "view-no-statuses" in marks:
        answer.headers[DISTURBED] = "asked for"
    if not follows:
        world.disturbances.occur("read", scale_set)
    return answer


def _filtered(request: ArmRequest, scale_set: ScaleSet, listed: list[Instance]) -> list[Instance]:
    wanted = " ".join(request.query.get("$filter", "").lower().replace(", ", ",").split())
    if not wanted:
        return listed
    if wanted not in _FILTERS:
        raise Refusal(400, "InvalidParameter", f"The filter '{wanted}' is not supported.", target="$filter")
    return [one for one in listed if (one.generation == scale_set.generation) in _FILTERS[wanted]]


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


def get_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = one_instance(world, names)
    shown = views.instance(world, scale_set, instance, request)
    return Answer(200, shown, views.etag_header(request, instance.etag))


def get_vmss_vm_instance_view(world: World, _request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = one_instance(world, names)
    if scale_set.flexible:
        text = "Operation 'GET instanceView' is not allowed on an instance of a Flexible scale set: ask the VM itself."
        raise Refusal(409, "OperationNotAllowed", text)
    return _view(world, scale_set, instance)


def _view(world: World, scale_set: ScaleSet, instance: Instance) -> Answer:
    if form := views.view_form(scale_set, instance):
        return Answer(200, views.broken_view(world, scale_set, instance, form), {DISTURBED: "asked for"})
    return Answer(200, views.instance_view(world, scale_set, instance))


def put_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    """Of an instance, protection, user data and data disks are the caller's; the rest is read.

    Tags of a Uniform instance stay as they were, with 200: azure-libraries-for-net#1299, azure-sdk-for-go#18278.
    """
    scale_set, instance = one_instance(world, names)
    body = json_object(request)
    check_etag(request, instance.etag)
    given, own = body.get("properties") or {}, instance.document["properties"]
    for key in ("protectionPolicy", "userData"):
        if given.get(key):
            own[key] = given[key]
    disks = (given.get("storageProfile") or {}).get("dataDisks")
    if isinstance(disks, list):
        own["storageProfile"] = {**own.get("storageProfile", {}), "dataDisks": [_attached(one) for one in disks]}
    if scale_set.flexible and "tags" in body:
        instance.document["tags"] = writes.checked_tags(world, body)["tags"]
    return _updating(world, request, scale_set, instance, 200)


def _attached(given: dict[str, Any]) -> dict[str, Any]:
    """A data disk as it is shown once it belongs to an instance."""
    managed = {"storageAccountType": "Premium_LRS", **(given.get("managedDisk") or {})}
    name = str(managed.get("id", "disk")).rpartition("/")[2]
    filled = {"name": name, "caching": "None", "diskSizeGB": 4, "toBeDetached": False}
    return {**filled, **given, "managedDisk": managed}


def _updating(world: World, request: ArmRequest, scale_set: ScaleSet, instance: Instance, status: int) -> Answer:
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    world.scale_sets.set_state(scale_set, instance, "Updating")
    body = views.instance(world, scale_set, instance, request) if status == 200 else None
    answer = accepted(record, request, status, body)
    if status == 200:
        answer.headers |= views.etag_header(request, instance.etag)

    def done() -> None:
        world.scale_sets.set_state(scale_set, instance, "Succeeded")
        world.operations.end(record)

    world.after(world.rng.uniform(0.1, 2.0), done)
    return answer


def act_on_vmss_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    """An action on one instance, named by the last part of the path (DELETE: delete); `*` is all of them.

    Protection does not stop what is asked of an instance by name.
    """
    if names["instance_id"] == "*":
        scale_set = world.scale_sets.get(*address(names))
        chosen = [one for one in scale_set.instances.values() if not one.protected]
    else:
        scale_set, instance = one_instance(world, names)
        chosen = [instance]
    name = "delete" if request.method == "DELETE" else action_of(request)
    force = bool(isinstance(request.body, dict) and request.body.get("forceUpdateOSDiskForEphemeral"))
    answer = accepted(actions.act(world, scale_set, chosen, name, force_disk=force), request, 202)
    answer.charge = len(chosen)
    return answer


def approve(world: World, request: ArmRequest, **names: str) -> Answer:
    return _updating(world, request, *one_instance(world, names), 202)


def simulate_eviction(world: World, _request: ArmRequest, **names: str) -> Answer:
    """Of a Spot instance, by its set's policy: deallocated or gone; at once, without an operation."""
    scale_set, instance = one_instance(world, names)
    if str(scale_set.profile.get("priority", "Regular")).lower() not in ("spot", "low"):
        text = "Operation 'simulateEviction' is allowed only for Spot Virtual Machines"
        raise Refusal(409, "OperationNotAllowed", text)
    deletes = str(scale_set.profile.get("evictionPolicy", "Deallocate")).lower() == "delete"

    def evicted() -> None:
        if deletes:
            actions.remove(world, scale_set, instance)
        else:
            world.scale_sets.changing(scale_set, instance, power="deallocated", health="")

    world.after(world.rng.uniform(1, 30), evicted)
    return Answer(204)


def boot_diagnostics(world: World, _request: ArmRequest, **names: str) -> Answer:
    one_instance(world, names)
    base = "https://bootdiagnostics.invalid"
    return Answer(200, {"consoleScreenshotBlobUri": f"{base}/screen.bmp", "serialConsoleLogBlobUri": f"{base}/log.txt"})


def attach_detach_disks(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = one_instance(world, names)
    body, own = json_object(request), instance.document["properties"]
    storage = own.get("storageProfile", {})
    leaving = {str(one.get("diskId", "")).lower() for one in body.get("dataDisksToDetach") or []}
    disks = [
        one
        for one in storage.get("dataDisks", [])
        if str((one.get("managedDisk") or {}).get("id", "")).lower() not in leaving
    ]
    for number, one in enumerate(body.get("dataDisksToAttach") or []):
        lun = one.get("lun", len(disks) + number)
        disks.append({"lun": lun, "createOption": "Attach", "managedDisk": {"id": one.get("diskId", "")}})
    own["storageProfile"] = {**storage, "dataDisks": disks}
    return _updating(world, request, scale_set, instance, 202)


def run_command(world: World, request: ArmRequest, **names: str) -> Answer:
    """The action (not the stored resource): its output stands at the operation's Location."""
    scale_set, instance = one_instance(world, names)
    json_object(request)
    record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
    code, text = "ComponentStatus/StdOut/succeeded", f"emulated on {instance.instance_id}"
    status = {"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": text}
    record.output = {"value": [status]}
    world.after(world.rng.uniform(5, 60), lambda: world.operations.end(record))
    return accepted(record, request, 202)


# --- VMs of Flexible sets: what Uniform sets answer on their instances -----------------------------------------------


def _flexible(world: World, names: Mapping[str, str]) -> tuple[ScaleSet, Instance]:
    for scale_set in world.scale_sets:
        same = (names["subscription_id"].lower(), names["resource_group"].lower())
        if scale_set.flexible and same == (scale_set.subscription_id.lower(), scale_set.resource_group.lower()):
            for name, instance in scale_set.instances.items():
                if name.lower() == names["vm_name"].lower() and "unlisted" not in instance.marks:
                    return scale_set, instance
    raise _no_vm(names)


def _no_vm(names: Mapping[str, str]) -> Refusal:
    text = (
        f"The Resource 'Microsoft.Compute/virtualMachines/{names['vm_name']}' under resource group "
        f"'{names['resource_group']}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix"
    )
    return Refusal(404, "ResourceNotFound", text, gateway=True)


def get_vm(world: World, request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = _flexible(world, names)
    return Answer(200, _shown_vm(scale_set, instance), views.etag_header(request, instance.etag))


def _shown_vm(scale_set: ScaleSet, instance: Instance) -> dict[str, Any]:
    own = instance.document
    group = scale_set.resource_id.partition("/providers/")[0]
    kept = ("hardwareProfile", "vmId", "storageProfile", "osProfile", "networkProfile", "timeCreated")
    properties = {key: own["properties"][key] for key in kept if key in own["properties"]}
    properties |= {"provisioningState": instance.state, "virtualMachineScaleSet": {"id": scale_set.resource_id}}
    return {
        "name": instance.instance_id,
        "id": f"{group}/providers/Microsoft.Compute/virtualMachines/{instance.instance_id}",
        "type": "Microsoft.Compute/virtualMachines",
        "location": own["location"],
        "tags": own.get("tags", {}),
        **({"zones": own["zones"]} if "zones" in own else {}),
        "properties": properties,
    }


def get_vm_instance_view(world: World, _request: ArmRequest, **names: str) -> Answer:
    scale_set, instance = _flexible(world, names)
    if views.view_form(scale_set, instance) in ("null", "absent"):
        raise _no_vm(names)
    return _view(world, scale_set, instance)


_GROUP = "/subscriptions/<subscription_id>/resourceGroups/<resource_group>/providers/Microsoft.Compute"
_VMS = f"{_GROUP}/virtualMachineScaleSets/<vmss_name>/virtualMachines"
_VM = f"{_VMS}/<instance_id>"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
_POSTS: dict[str, Any] = {
    **{name: act_on_vmss_vm for name in actions.ACTIONS if name not in ("delete", "reapply")},
    "approveRollingUpgrade": approve,
    "simulateEviction": simulate_eviction,
    "retrieveBootDiagnosticsData": boot_diagnostics,
    "attachDetachDataDisks": attach_detach_disks,
    "runCommand": run_command,
}
ROUTES: list[Route] = [
    ("GET", _VMS, list_vmss_vms, f"{_TYPE}/read"),
    ("GET", _VM, get_vmss_vm, f"{_TYPE}/read"),
    ("PUT", _VM, put_vmss_vm, f"{_TYPE}/write"),
    ("DELETE", _VM, act_on_vmss_vm, f"{_TYPE}/delete"),
    ("GET", f"{_VM}/instanceView", get_vmss_vm_instance_view, f"{_TYPE}/instanceView/read"),
    *(("POST", f"{_VM}/{name}", handler, f"{_TYPE}/{name}/action") for name, handler in _POSTS.items()),
    ("GET", f"{_GROUP}/virtualMachines/<vm_name>", get_vm, "Microsoft.Compute/virtualMachines/read"),
    (
        "GET",
        f"{_GROUP}/virtualMachines/<vm_name>/instanceView",
        get_vm_instance_view,
        "Microsoft.Compute/virtualMachines/instanceView/read",
    ),
]
