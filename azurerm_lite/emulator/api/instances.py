"""The ARM resource `virtualMachineScaleSets/virtualMachines`: single instances, and the VMs of Flexible sets.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-vms
"""

from collections.abc import Mapping
from typing import Any

from ..messages import FAULT_HEADER, ErrorResponse, Request, Response, Route
from ..simulation import power, writes
from ..simulation.compose import Simulation
from ..simulation.state import Instance, ScaleSet
from . import views
from .operations import accepted
from .preconditions import action_of, check_etag, find_instance, find_scale_set, json_object

# The three forms of $filter that Azure documents, and the values of latestModelApplied that each selects.
_FILTERS = {
    "properties/latestmodelapplied eq true": {True},
    "properties/latestmodelapplied eq false": {False},
    "startswith(instanceview/statuses/code,'powerstate') eq true": {True, False},
}


def list_vmss_vms(simulation: Simulation, request: Request, **names: str) -> Response:
    """The instances, page by page. A list that a habit has changed is one page."""
    scale_set = find_scale_set(simulation, names)
    follows = "$skiptoken" in request.query
    visible_set, instances, odd_items = simulation.disturbances.list_instances(scale_set, disturb=not follows)
    chosen = _filter(request, visible_set, instances)
    page, following = _page(simulation, request, chosen) if odd_items is None else (chosen, {})
    documents = [views.instance_document(simulation, visible_set, instance, request) for instance in page]
    if request.query.get("$select", "").lower().startswith("instanceview"):
        documents = [views.select_view(document) for document in documents]
    response = Response(200, {"value": [*documents, *(odd_items or [])], **following}, charge=len(page))
    marks = visible_set.marks.union(*(instance.marks for instance in page))
    if odd_items is not None or "view-no-statuses" in marks:
        response.headers[FAULT_HEADER] = "asked for"
    if not follows:
        simulation.disturbances.occur("read", scale_set)
    return response


def _filter(request: Request, scale_set: ScaleSet, instances: list[Instance]) -> list[Instance]:
    text = " ".join(request.query.get("$filter", "").lower().replace(", ", ",").split())
    if not text:
        return instances
    if text not in _FILTERS:
        raise ErrorResponse(400, "InvalidParameter", f"The filter '{text}' is not supported.", target="$filter")
    version = scale_set.model_version
    return [instance for instance in instances if (instance.model_version == version) in _FILTERS[text]]


def _page(simulation: Simulation, request: Request, items: list[Instance]) -> tuple[list[Instance], dict[str, str]]:
    """The items of this page, and the nextLink to the next page, if any."""
    token = request.query.get("$skiptoken", "0")
    start = int(token) if token.isdigit() else 0
    size = simulation.settings.page_size
    if not size or start + size >= len(items):
        return items[start:], {}
    following = {**request.query, "$skiptoken": str(start + size)}
    query = "&".join(f"{key}={value.replace(' ', '%20')}" for key, value in following.items())
    link = f"{request.base_url}{request.path}?{query}"
    return items[start : start + size], {"nextLink": link}


def get_vmss_vm(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set, instance = find_instance(simulation, names)
    document = views.instance_document(simulation, scale_set, instance, request)
    return Response(200, document, views.etag_header(request, instance.etag))


def get_vmss_vm_instance_view(simulation: Simulation, _request: Request, **names: str) -> Response:
    scale_set, instance = find_instance(simulation, names)
    if scale_set.is_flexible:
        text = "Operation 'GET instanceView' is not allowed on an instance of a Flexible scale set: ask the VM itself."
        raise ErrorResponse(409, "OperationNotAllowed", text)
    return _view(simulation, scale_set, instance)


def _view(simulation: Simulation, scale_set: ScaleSet, instance: Instance) -> Response:
    if form := views.view_form(scale_set, instance):
        return Response(200, views.broken_view(simulation, scale_set, instance, form), {FAULT_HEADER: "asked for"})
    return Response(200, views.instance_view(simulation, scale_set, instance))


def put_vmss_vm(simulation: Simulation, request: Request, **names: str) -> Response:
    """Change protection, user data and data disks of an instance; the rest of the body is read only.

    Tags of a Uniform instance stay as they were, with 200: azure-libraries-for-net#1299, azure-sdk-for-go#18278.
    """
    scale_set, instance = find_instance(simulation, names)
    body = json_object(request)
    check_etag(request, instance.etag)
    sent, properties = body.get("properties") or {}, instance.document["properties"]
    for key in ("protectionPolicy", "userData"):
        if sent.get(key):
            properties[key] = sent[key]
    disks = (sent.get("storageProfile") or {}).get("dataDisks")
    if isinstance(disks, list):
        full = [_complete_disk(disk) for disk in disks]
        properties["storageProfile"] = {**properties.get("storageProfile", {}), "dataDisks": full}
    if scale_set.is_flexible and "tags" in body:
        instance.document["tags"] = writes.check_tags(simulation.settings.habits, body)["tags"]
    return _update(simulation, request, scale_set, instance, 200)


def _complete_disk(sent: dict[str, Any]) -> dict[str, Any]:
    """A data disk of an instance, with Azure's defaults."""
    managed = {"storageAccountType": "Premium_LRS", **(sent.get("managedDisk") or {})}
    name = str(managed.get("id", "disk")).rpartition("/")[2]
    full = {"name": name, "caching": "None", "diskSizeGB": 4, "toBeDetached": False}
    return {**full, **sent, "managedDisk": managed}


def _update(simulation: Simulation, request: Request, scale_set: ScaleSet, instance: Instance, status: int) -> Response:
    """An operation that changes nothing more: the instance is Updating until it ends."""
    record = simulation.operations.begin("POST", scale_set)
    simulation.instances.update(scale_set, instance, state="Updating")
    body = views.instance_document(simulation, scale_set, instance, request) if status == 200 else None
    response = accepted(record, request, status, body)
    if status == 200:
        response.headers |= views.etag_header(request, instance.etag)

    def finish() -> None:
        simulation.instances.update(scale_set, instance, state="Succeeded")
        simulation.operations.end(record)

    simulation.events.schedule_in(simulation.events.random.uniform(0.1, 2.0), finish)
    return response


def act_on_vmss_vm(simulation: Simulation, request: Request, **names: str) -> Response:
    """The action in the last part of the path (DELETE: delete) on an instance, or on all with the id `*`.

    Protection does not stop an action on a single instance.
    """
    if names["instance_id"] == "*":
        scale_set = find_scale_set(simulation, names)
        chosen = [instance for instance in scale_set.instances.values() if not instance.is_protected]
    else:
        scale_set, instance = find_instance(simulation, names)
        chosen = [instance]
    name = "delete" if request.method == "DELETE" else action_of(request)
    force = bool(isinstance(request.body, dict) and request.body.get("forceUpdateOSDiskForEphemeral"))
    response = accepted(simulation.power.begin(scale_set, chosen, name, force_disk=force), request, 202)
    response.charge = len(chosen)
    return response


def approve(simulation: Simulation, request: Request, **names: str) -> Response:
    return _update(simulation, request, *find_instance(simulation, names), 202)


def simulate_eviction(simulation: Simulation, _request: Request, **names: str) -> Response:
    """Evict a Spot instance without an operation: deallocate or delete it, as the policy of its set says."""
    scale_set, instance = find_instance(simulation, names)
    if str(scale_set.profile.get("priority", "Regular")).lower() not in ("spot", "low"):
        text = "Operation 'simulateEviction' is allowed only for Spot Virtual Machines"
        raise ErrorResponse(409, "OperationNotAllowed", text)
    deletes = str(scale_set.profile.get("evictionPolicy", "Deallocate")).lower() == "delete"

    def evict() -> None:
        if deletes:
            simulation.instances.delete(scale_set, instance)
        else:
            simulation.instances.update(scale_set, instance, power="deallocated", health="")

    simulation.events.schedule_in(simulation.events.random.uniform(1, 30), evict)
    return Response(204)


def boot_diagnostics(simulation: Simulation, _request: Request, **names: str) -> Response:
    find_instance(simulation, names)
    base = "https://bootdiagnostics.invalid"
    return Response(
        200, {"consoleScreenshotBlobUri": f"{base}/screen.bmp", "serialConsoleLogBlobUri": f"{base}/log.txt"}
    )


def attach_detach_disks(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set, instance = find_instance(simulation, names)
    body, properties = json_object(request), instance.document["properties"]
    storage = properties.get("storageProfile", {})
    detach = {str(disk.get("diskId", "")).lower() for disk in body.get("dataDisksToDetach") or []}
    disks = [
        disk
        for disk in storage.get("dataDisks", [])
        if str((disk.get("managedDisk") or {}).get("id", "")).lower() not in detach
    ]
    for number, disk in enumerate(body.get("dataDisksToAttach") or []):
        lun = disk.get("lun", len(disks) + number)
        disks.append({"lun": lun, "createOption": "Attach", "managedDisk": {"id": disk.get("diskId", "")}})
    properties["storageProfile"] = {**storage, "dataDisks": disks}
    return _update(simulation, request, scale_set, instance, 202)


def run_command(simulation: Simulation, request: Request, **names: str) -> Response:
    """The action, not the resource of that name: its output is the result of the operation."""
    scale_set, instance = find_instance(simulation, names)
    json_object(request)
    record = simulation.operations.begin("POST", scale_set)
    code, text = "ComponentStatus/StdOut/succeeded", f"emulated on {instance.instance_id}"
    status = {"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": text}
    record.output = {"value": [status]}
    seconds = simulation.events.random.uniform(5, 60)
    simulation.events.schedule_in(seconds, lambda: simulation.operations.end(record))
    return accepted(record, request, 202)


# --- VMs of Flexible sets: what Uniform sets show on their instances -----------------------------------------------


def _find_vm(simulation: Simulation, names: Mapping[str, str]) -> tuple[ScaleSet, Instance]:
    for scale_set in simulation.scale_sets:
        group = (names["subscription_id"].lower(), names["resource_group"].lower())
        if scale_set.is_flexible and group == (scale_set.subscription_id.lower(), scale_set.resource_group.lower()):
            for name, instance in scale_set.instances.items():
                if name.lower() == names["vm_name"].lower() and "unlisted" not in instance.marks:
                    return scale_set, instance
    raise _no_vm(names)


def _no_vm(names: Mapping[str, str]) -> ErrorResponse:
    text = (
        f"The Resource 'Microsoft.Compute/virtualMachines/{names['vm_name']}' under resource group "
        f"'{names['resource_group']}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix"
    )
    return ErrorResponse(404, "ResourceNotFound", text, gateway=True)


def get_vm(simulation: Simulation, request: Request, **names: str) -> Response:
    scale_set, instance = _find_vm(simulation, names)
    return Response(200, _vm_document(scale_set, instance), views.etag_header(request, instance.etag))


def _vm_document(scale_set: ScaleSet, instance: Instance) -> dict[str, Any]:
    document = instance.document
    group = scale_set.resource_id.partition("/providers/")[0]
    visible = ("hardwareProfile", "vmId", "storageProfile", "osProfile", "networkProfile", "timeCreated")
    properties = {key: document["properties"][key] for key in visible if key in document["properties"]}
    properties |= {"provisioningState": instance.state, "virtualMachineScaleSet": {"id": scale_set.resource_id}}
    return {
        "name": instance.instance_id,
        "id": f"{group}/providers/Microsoft.Compute/virtualMachines/{instance.instance_id}",
        "type": "Microsoft.Compute/virtualMachines",
        "location": document["location"],
        "tags": document.get("tags", {}),
        **({"zones": document["zones"]} if "zones" in document else {}),
        "properties": properties,
    }


def get_vm_instance_view(simulation: Simulation, _request: Request, **names: str) -> Response:
    scale_set, instance = _find_vm(simulation, names)
    if views.view_form(scale_set, instance) in ("null", "absent"):
        raise _no_vm(names)
    return _view(simulation, scale_set, instance)


_GROUP = "/subscriptions/<subscription_id>/resourceGroups/<resource_group>/providers/Microsoft.Compute"
_VMS = f"{_GROUP}/virtualMachineScaleSets/<vmss_name>/virtualMachines"
_VM = f"{_VMS}/<instance_id>"
_TYPE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
_POSTS: dict[str, Any] = {
    **{name: act_on_vmss_vm for name in power.ACTIONS if name not in ("delete", "reapply")},
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
