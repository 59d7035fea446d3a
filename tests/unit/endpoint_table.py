"""What every endpoint function sends, what azure-mgmt-compute sends for the same call, and docs/endpoints.md from both.

`python -m tests.unit.endpoint_table > docs/endpoints.md` writes the table anew.
"""

import contextlib
import inspect
import io
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

import azurerm_lite as az
from azurerm_lite.endpoints import extensions, images, rolling_upgrades, vmss, vmss_vm, vmss_vms

SUBSCRIPTION = "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d"
WEB = az.ScaleSet(SUBSCRIPTION, "web-rg", "web")
MODEL = {"location": "westus2", "etag": '"3"', "properties": {}}
EXTENSION = {"properties": {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript"}}
COMMAND = {"location": "westus2", "properties": {"source": {"script": "uptime"}}}
PATCHED = {"properties": {"source": {"script": "uptime"}}}
PROTECTED = {"location": "westus2", "etag": '"3"', "properties": {"protectionPolicy": {"protectFromScaleIn": True}}}
EVENT = {"properties": {"waitUntil": "2026-11-24T00:00:00Z"}}

SOME, ONE = (["0", "3"],), ("3",)
IDS = {"instanceIds": ["0", "3"]}
UBUNTU = ("westus2", "Canonical", "ubuntu", "22_04")


class Case(NamedTuple):
    """What a function is called with after the address of the scale set, and the same call in the official SDK."""

    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}
    group: str = ""
    operation: str = ""
    theirs: tuple[Any, ...] = ()
    their_options: Mapping[str, Any] = {}
    where: int = 3  # how many parts of the address it takes


def on_set(operation: str, *theirs: Any, own: tuple[Any, ...] = (), ours: Any = None, **options: Any) -> Case:
    where = ("web-rg", "web", *theirs)
    return Case(own, ours or {}, "virtual_machine_scale_sets", operation, where, options)


def on_vm(operation: str, *theirs: Any, own: tuple[Any, ...] = (), ours: Any = None, **options: Any) -> Case:
    where = ("web-rg", "web", "3", *theirs)
    return Case((*ONE, *own), ours or {}, "virtual_machine_scale_set_vms", operation, where, options)


def rolling(operation: str) -> Case:
    return Case((), {}, "virtual_machine_scale_set_rolling_upgrades", operation, ("web-rg", "web"))


def stored(group: str, operation: str, *extra: Any, vm: bool = True, ours: Any = None) -> Case:
    """Extensions and run commands: `extra` is name and body, and the same on both sides."""
    ids = ONE if vm else ()
    where = ("web-rg", "web", *ids, *extra)
    return Case((*ids, *extra), ours or {}, f"virtual_machine_scale_set_{group}", operation, where, ours or {})


BEHIND = {"expand": "instanceView", "filter": "properties/latestModelApplied eq true"}
INSTANCES = Case((), BEHIND, "virtual_machine_scale_set_vms", "list", ("web-rg", "web"), BEHIND)
CASES: dict[str, Case] = {
    "get_vmss": on_set("get", ours={"expand": "userData"}, expand="userData"),
    "put_vmss": on_set("begin_create_or_update", {**MODEL, "etag": None}, own=(MODEL,)),
    "patch_vmss": on_set("begin_update", {"tags": {"a": "b"}}, own=({"tags": {"a": "b"}},)),
    "list_vmss": Case((), {}, "virtual_machine_scale_sets", "list", ("web-rg",), {}, 2),
    "list_vmss_sub": Case((), {}, "virtual_machine_scale_sets", "list_all", (), {}, 1),
    "list_vmss_location": Case(("westus2",), {}, "virtual_machine_scale_sets", "list_by_location", ("westus2",), {}, 1),
    "get_vmss_instance_view": on_set("get_instance_view"),
    "manual_upgrade_instances": on_set("begin_update_instances", IDS, own=SOME),
    "start_vmss_vms": on_set("begin_start", IDS, own=SOME),
    "restart_vmss_vms": on_set("begin_restart", {"instanceIds": ["*"]}, ours={"all_instances": True}),
    "power_off_vmss_vms": on_set("begin_power_off", IDS, own=SOME, ours={"skip_shutdown": True}, skip_shutdown=True),
    "deallocate_vmss_vms": on_set("begin_deallocate", IDS, own=SOME, ours={"hibernate": False}, hibernate=False),
    "redeploy_vmss_vms": on_set("begin_redeploy", IDS, own=SOME),
    "perform_maintenance_vmss_vms": on_set("begin_perform_maintenance", IDS, own=SOME),
    "reimage_all_vmss_vms": on_set("begin_reimage_all", IDS, own=SOME),
    "approve_rolling_upgrade_vmss_vms": on_set("begin_approve_rolling_upgrade", IDS, own=SOME),
    "reimage_vmss_vms": on_set(
        "begin_reimage",
        {**IDS, "forceUpdateOSDiskForEphemeral": True},
        own=SOME,
        ours={"options": {"forceUpdateOSDiskForEphemeral": True}},
    ),
    "delete_vmss_vms": on_set(
        "begin_delete_instances", IDS, own=SOME, ours={"force_deletion": True}, force_deletion=True
    ),
    "delete_vmss": on_set("begin_delete", ours={"force_deletion": True}, force_deletion=True),
    "reapply_vmss": on_set("begin_reapply"),
    "set_orchestration_service_state": on_set(
        "begin_set_orchestration_service_state",
        {"serviceName": "AutomaticRepairs", "action": "Suspend"},
        own=("Suspend",),
    ),
    "convert_vmss_to_single_placement_group": on_set(
        "convert_to_single_placement_group", {"activePlacementGroupId": "g"}, ours={"active_placement_group_id": "g"}
    ),
    "force_recovery_service_fabric_platform_update_domain_walk": on_set(
        "force_recovery_service_fabric_platform_update_domain_walk",
        own=(0,),
        ours={"zone": "1"},
        platform_update_domain=0,
        zone="1",
    ),
    "scale_out_vmss": on_set(
        "begin_scale_out", {"capacity": 3, "properties": {"zone": "1"}}, own=(3,), ours={"zone": "1"}
    ),
    "migrate_availability_zone_vmss_vms": on_set(
        "begin_migrate_vm_availability_zone", {**IDS, "targetZone": "2"}, own=SOME, ours={"target_zone": "2"}
    ),
    "list_vmss_skus": on_set("list_skus"),
    "list_vmss_os_upgrade_history": on_set("get_os_upgrade_history"),
    "start_os_rolling_upgrade": rolling("begin_start_os_upgrade"),
    "start_extension_rolling_upgrade": rolling("begin_start_extension_upgrade"),
    "cancel_rolling_upgrade": rolling("begin_cancel"),
    "get_rolling_upgrade": rolling("get_latest"),
    "list_lifecycle_hook_events": stored("life_cycle_hook_events", "list", vm=False),
    "get_lifecycle_hook_event": stored("life_cycle_hook_events", "get", "h", vm=False),
    "patch_lifecycle_hook_event": stored("life_cycle_hook_events", "update", "h", EVENT, vm=False),
    "list_vmss_vms": INSTANCES,
    "iter_vmss_vms": INSTANCES,
    "get_vmss_vm": on_vm("get", ours={"expand": "instanceView"}, expand="instanceView"),
    "get_vmss_vm_instance_view": on_vm("get_instance_view"),
    "put_vmss_vm": on_vm("begin_update", {**PROTECTED, "etag": None}, own=(PROTECTED,)),
    "delete_vmss_vm": on_vm("begin_delete", ours={"force_deletion": False}, force_deletion=False),
    "start_vmss_vm": on_vm("begin_start"),
    "restart_vmss_vm": on_vm("begin_restart"),
    "deallocate_vmss_vm": on_vm("begin_deallocate"),
    "redeploy_vmss_vm": on_vm("begin_redeploy"),
    "perform_maintenance_vmss_vm": on_vm("begin_perform_maintenance"),
    "reimage_all_vmss_vm": on_vm("begin_reimage_all"),
    "approve_rolling_upgrade_vmss_vm": on_vm("begin_approve_rolling_upgrade"),
    "power_off_vmss_vm": on_vm("begin_power_off", ours={"skip_shutdown": True}, skip_shutdown=True),
    "reimage_vmss_vm": on_vm("begin_reimage", {"tempDisk": True}, own=({"tempDisk": True},)),
    "simulate_eviction_vmss_vm": on_vm("simulate_eviction"),
    "retrieve_boot_diagnostics_vmss_vm": on_vm(
        "retrieve_boot_diagnostics_data", ours={"expiration_minutes": 10}, sas_uri_expiration_time_in_minutes=10
    ),
    "attach_detach_data_disks_vmss_vm": on_vm(
        "begin_attach_detach_data_disks",
        {"dataDisksToDetach": [{"diskId": "/d"}]},
        own=({"dataDisksToDetach": [{"diskId": "/d"}]},),
    ),
    "run_command_vmss_vm": on_vm(
        "begin_run_command", {"commandId": "RunShellScript"}, own=({"commandId": "RunShellScript"},)
    ),
    "get_flexible_vm": Case((), {}, "virtual_machines", "get", ("web-rg", "web"), {}, 3),
    "get_flexible_vm_instance_view": Case((), {}, "virtual_machines", "instance_view", ("web-rg", "web"), {}, 3),
    "get_vmss_extension": stored("extensions", "get", "e", vm=False),
    "put_vmss_extension": stored("extensions", "begin_create_or_update", "e", EXTENSION, vm=False),
    "patch_vmss_extension": stored("extensions", "begin_update", "e", EXTENSION, vm=False),
    "delete_vmss_extension": stored("extensions", "begin_delete", "e", vm=False),
    "list_vmss_extensions": stored("extensions", "list", vm=False),
    "get_vmss_vm_extension": stored("vm_extensions", "get", "e", ours={"expand": "instanceView"}),
    "put_vmss_vm_extension": stored("vm_extensions", "begin_create_or_update", "e", EXTENSION),
    "patch_vmss_vm_extension": stored("vm_extensions", "begin_update", "e", EXTENSION),
    "delete_vmss_vm_extension": stored("vm_extensions", "begin_delete", "e"),
    "list_vmss_vm_extensions": stored("vm_extensions", "list", ours={"expand": "instanceView"}),
    "get_vmss_vm_run_command": stored("vm_run_commands", "get", "c", ours={"expand": "instanceView"}),
    "put_vmss_vm_run_command": stored("vm_run_commands", "begin_create_or_update", "c", COMMAND),
    "patch_vmss_vm_run_command": stored("vm_run_commands", "begin_update", "c", PATCHED),
    "delete_vmss_vm_run_command": stored("vm_run_commands", "begin_delete", "c"),
    "list_vmss_vm_run_commands": stored("vm_run_commands", "list"),
    "get_vmss_vm_diagnostic_run_command": stored("vm_diagnostic_run_commands", "get", "c"),
    "put_vmss_vm_diagnostic_run_command": stored("vm_diagnostic_run_commands", "begin_create_or_update", "c", COMMAND),
    "patch_vmss_vm_diagnostic_run_command": stored("vm_diagnostic_run_commands", "begin_update", "c", PATCHED),
    "delete_vmss_vm_diagnostic_run_command": stored("vm_diagnostic_run_commands", "begin_delete", "c"),
    "list_vmss_vm_diagnostic_run_commands": stored("vm_diagnostic_run_commands", "diagnostic_list"),
    "list_image_versions": Case(UBUNTU, {}, "virtual_machine_images", "list", UBUNTU, {}, 1),
    "get_image_version": Case((*UBUNTU, "1.0"), {}, "virtual_machine_images", "get", (*UBUNTU, "1.0"), {}, 1),
    "list_gallery_image_versions": Case(
        ("g", "i"), {}, "gallery_image_versions", "list_by_gallery_image", ("web-rg", "g", "i"), {}, 2
    ),
    "list_usages": Case(("westus2",), {}, "usage", "list", ("westus2",), {}, 1),
}
# Pure helpers and compositions that stand beside the endpoints.
HELPERS = {
    "etag_to_send", "flag", "vmss_path", "vm_path", "group_path", "sort_versions", "newest_gallery_version",
    "resolve_image_version",
}  # fmt: skip
ENDPOINTS = {
    name: value
    for room in (vmss, vmss_vms, vmss_vm, rolling_upgrades, extensions, images)
    for name, value in vars(room).items()
    if inspect.isfunction(value) and value.__module__ == room.__name__ and name[0] != "_" and name not in HELPERS
}
GROUPS = [
    "virtual_machine_scale_sets",
    "virtual_machine_scale_set_vms",
    "virtual_machine_scale_set_rolling_upgrades",
    "virtual_machine_scale_set_extensions",
    "virtual_machine_scale_set_vm_extensions",
    "virtual_machine_scale_set_vm_run_commands",
    "virtual_machine_scale_set_vm_diagnostic_run_commands",
    "virtual_machine_scale_set_life_cycle_hook_events",
]


class Sent(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    body: Any


class Recorder(BaseAdapter):
    """The network, which writes down what is sent and is content with everything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []

    def note(self, request: requests.PreparedRequest) -> bytes:
        parts = urlsplit(str(request.url))
        body = json.loads(request.body) if request.body else None
        self.sent.append(Sent(str(request.method), unquote(parts.path), dict(parse_qsl(parts.query)), body))
        answer: dict[str, Any] = {"value": [], "properties": {"provisioningState": "Succeeded"}}
        a_list = "/publishers/" in parts.path and parts.path.endswith("/versions")
        return b"[]" if a_list else json.dumps(answer).encode()

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        data = self.note(request)
        return HTTPResponse(io.BytesIO(data), status=200, preload_content=False)

    def close(self) -> None: ...


class TheirRecorder(Recorder):
    """The same for requests.Session, which wants a Response."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        answer = requests.Response()
        answer._content = self.note(request)
        answer.status_code, answer.request, answer.url = 200, request, str(request.url)
        answer.headers["Content-Type"] = "application/json"
        answer.raw = io.BytesIO(answer._content)
        return answer


def ours(name: str) -> Sent:
    """What an endpoint function sends for its case."""
    network, case = Recorder(), CASES[name]
    arm = az.Arm("token", adapter=network)
    found = ENDPOINTS[name](arm, *WEB[: case.where], *case.arguments, **case.options)
    if hasattr(found, "__next__"):
        list(found)
    (sent,) = network.sent
    return sent


def official_client(network: Recorder) -> Any:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.mgmt.compute import ComputeManagementClient

    class Fake:
        def get_token(self, *_: str, **__: Any) -> Any:
            from azure.core.credentials import AccessToken

            return AccessToken("token", 2**33)

    session = requests.Session()
    session.mount("https://", network)
    transport = RequestsTransport(session=session, session_owner=False)
    return ComputeManagementClient(Fake(), SUBSCRIPTION, transport=transport, polling_interval=0)


def official(name: str) -> Sent:
    """What azure-mgmt-compute sends for the same call."""
    from azure.core.exceptions import HttpResponseError

    network, case = TheirRecorder(), CASES[name]
    # Some want 202 or 204 and nothing else; it was sent by then.
    with official_client(network) as client, contextlib.suppress(HttpResponseError):
        found = getattr(getattr(client, case.group), case.operation)(*case.theirs, **case.their_options)
        if hasattr(found, "__next__"):
            list(found)
    return network.sent[0]


def page_of(name: str) -> str:
    return (inspect.getdoc(ENDPOINTS[name]) or "").splitlines()[-1].strip()


_PLACES = [
    (SUBSCRIPTION, "{subscription}"),
    ("resourceGroups/web-rg", "resourceGroups/{group}"),
    ("virtualMachineScaleSets/web", "virtualMachineScaleSets/{vmss}"),
    ("virtualMachines/web", "virtualMachines/{vm}"),
    ("virtualMachines/3", "virtualMachines/{id}"),
    ("locations/westus2", "locations/{location}"),
    ("publishers/Canonical", "publishers/{publisher}"),
    ("offers/ubuntu", "offers/{offer}"),
    ("skus/22_04", "skus/{sku}"),
    ("versions/1.0", "versions/{version}"),
    ("galleries/g/images/i", "galleries/{gallery}/images/{image}"),
]


def shown_path(path: str) -> str:
    for value, name in _PLACES:
        path = re.sub(rf"{re.escape(value)}(?=/|$)", name, path)
    path = re.sub(r"(extensions|[rR]unCommands|lifecycleHookEvents)/[ech](?=/|$)", r"\1/{name}", path)
    return path.replace(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/", "…/"
    ).replace("/subscriptions/{subscription}/providers/Microsoft.Compute/", "…sub/")


HEAD = """# Endpoints

`python -m tests.unit.endpoint_table > docs/endpoints.md` makes this page from the requests that the functions send. A
test checks that the page is current. It also compares each request with the published OpenAPI, and with the request
of azure-mgmt-compute 39.0.0 for the same call. `…/` stands for
`/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/`, and `…sub/` for the same path
without a resource group.

| function | method | path | default api-version | azure-mgmt-compute |
|---|---|---|---|---|
"""
TAIL = """
The table has every operation of the SDK's groups virtual_machine_scale_sets, virtual_machine_scale_set_vms,
…_rolling_upgrades, …_extensions, …_vm_extensions, …_vm_run_commands, …_vm_diagnostic_run_commands and
…_life_cycle_hook_events; a test counts them. Three functions combine several calls: `update_vmss` (read a model,
change it, write what changed), `resolve_image_version` (from `latest` to a version number) and
`newest_gallery_version`.
"""


def table() -> str:
    rows = []
    for name in ENDPOINTS:
        sent, case = ours(name), CASES[name]
        version = sent.query["api-version"]
        group = case.group.replace("virtual_machine_scale_set", "…")
        theirs = f"`{group}.{case.operation}`"
        rows.append(f"| [{name}]({page_of(name)}) | {sent.method} | `{shown_path(sent.path)}` | {version} | {theirs} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    sys.stdout.write(table())
