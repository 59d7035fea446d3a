"""How models, instances and instance views are shown: Azure's key order, and what each api-version does not have yet.

The models and instances themselves are `scale_sets`' affair; nothing is changed here.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import health
from .exchange import ArmRequest, Json

if TYPE_CHECKING:
    from .scale_sets import Instance, ScaleSet
    from .world import World

ETAGS_SINCE = "2023-09-01"
_POWER_TEXT = {"running": "VM running", "stopped": "VM stopped", "deallocated": "VM deallocated"}
_MODEL_ORDER = ("name", "id", "type", "location", "tags", "sku", "identity", "zones", "plan")
_MODEL_PROPERTIES = (
    *("singlePlacementGroup", "orchestrationMode", "upgradePolicy", "virtualMachineProfile", "provisioningState"),
    *("overprovision", "doNotRunExtensionsOnOverprovisionedVMs", "uniqueId", "platformFaultDomainCount", "timeCreated"),
)
# Properties of the model that older api-versions do not show.
_SINCE = {
    "doNotRunExtensionsOnOverprovisionedVMs": "2018-10-01",
    "orchestrationMode": "2020-06-01",
    "platformFaultDomainCount": "2021-03-01",
    "timeCreated": "2021-11-01",
}
_OS_SINCE = {"allowExtensionOperations": "2018-06-01", "requireGuestProvisionSignal": "2018-10-01"}
_PROFILE_SINCE = "2023-07-01"  # timeCreated of the profile
_AGENT_SINCE = "2018-10-01"


def has_etag(request: ArmRequest) -> bool:
    return request.api_version >= ETAGS_SINCE


def etag_header(request: ArmRequest, etag: int) -> dict[str, str]:
    return {"ETag": f'"{etag}"'} if has_etag(request) else {}


_NEVER_READ = frozenset(
    {"networkProfileConfiguration", "networkProfile", "osProfile", "hardwareProfile", "timeCreated"}
)


def model(scale_set: "ScaleSet", request: ArmRequest) -> dict[str, Json]:
    """A model as GET shows it: keys in Azure's order, etag from the api-version that has it, no user data unasked."""
    stored = scale_set.model
    shown = {key: stored[key] for key in _MODEL_ORDER if key in stored}
    if has_etag(request):
        shown["etag"] = f'"{scale_set.etag}"'
    shown |= {key: value for key, value in stored.items() if key not in shown and key != "etag"}
    own = {**shown.pop("properties"), "provisioningState": scale_set.state}
    if isinstance(own.get("virtualMachineProfile"), Mapping):
        own["virtualMachineProfile"] = _profile(own["virtualMachineProfile"], request)
    ordered = {key: own[key] for key in (*_MODEL_PROPERTIES, *own) if key in own}
    since = {key: when for key, when in _SINCE.items() if key not in scale_set.asked_for}
    if not scale_set.single_group:
        since.pop("platformFaultDomainCount", None)
    return {**shown, "properties": {k: v for k, v in ordered.items() if request.api_version >= since.get(k, "")}}


def _profile(profile: Mapping[str, Any], request: ArmRequest) -> dict[str, Any]:
    hidden = set() if request.query.get("$expand", "").lower() == "userdata" else {"userData"}
    if request.api_version < _PROFILE_SINCE:
        hidden.add("timeCreated")
    shown = {key: value for key, value in profile.items() if key not in hidden}
    if request.api_version < _AGENT_SINCE and isinstance(shown.get("osProfile"), Mapping):
        shown["osProfile"] = _old_os_profile(shown["osProfile"], request.api_version)
    return shown


def _old_os_profile(profile: Mapping[str, Any], version: str) -> dict[str, Any]:
    shown = {key: value for key, value in profile.items() if version >= _OS_SINCE.get(key, "")}
    linux = shown.get("linuxConfiguration")
    if isinstance(linux, Mapping):
        shown["linuxConfiguration"] = {key: value for key, value in linux.items() if key != "provisionVMAgent"}
    return shown


def instance(world: "World", scale_set: "ScaleSet", one: "Instance", request: ArmRequest) -> dict[str, Json]:
    """One instance as GET shows it, with its instance view when `$expand` asks for that (Uniform sets only)."""
    expand = request.query.get("$expand", "").lower()
    document = {key: value for key, value in one.document.items() if key != "etag"}
    hidden = (_NEVER_READ if "sku" in one.document else _NEVER_READ - {"hardwareProfile"}) if world.lean else ()
    properties = {key: value for key, value in one.document["properties"].items() if key not in hidden}
    properties["latestModelApplied"] = one.generation == scale_set.generation
    properties["provisioningState"] = one.state
    if expand != "userdata":
        properties.pop("userData", None)
    if request.api_version < _SINCE["timeCreated"]:
        properties.pop("timeCreated", None)
    if expand == "instanceview" and not scale_set.flexible:
        properties |= _shown_view(world, scale_set, one)
    document["properties"] = properties
    if has_etag(request):
        document["etag"] = f'"{one.etag}"'
    return document


def selected(document: dict[str, Json]) -> dict[str, Json]:
    """What `$select=instanceView` leaves, and its trap: latestModelApplied is false there, whatever is true."""
    kept = ("latestModelApplied", "instanceView", "provisioningState", "hardwareProfile")
    properties = {key: document["properties"][key] for key in kept if key in document["properties"]}
    properties["latestModelApplied"] = False
    return {"id": document["id"], "instanceId": document["instanceId"], "properties": properties}


def view_form(scale_set: "ScaleSet", one: "Instance") -> str:
    """In which form a view is missing: "null", "absent", "empty" or "no-statuses"; "" where there is one."""
    return next((mark[5:] for mark in one.marks | scale_set.marks if mark.startswith("view-")), "")


def _shown_view(world: "World", scale_set: "ScaleSet", one: "Instance") -> dict[str, Json]:
    match view_form(scale_set, one):
        case "":
            return {"instanceView": instance_view(world, scale_set, one)}
        case "absent":
            return {}
        case "null":
            return {"instanceView": None}
        case form:
            return {"instanceView": broken_view(world, scale_set, one, form)}


def broken_view(world: "World", scale_set: "ScaleSet", one: "Instance", form: str) -> dict[str, Json]:
    """An instance view that says too little."""
    return {**instance_view(world, scale_set, one), "statuses": None} if form == "no-statuses" else {}


def instance_view(world: "World", scale_set: "ScaleSet", one: "Instance") -> dict[str, Json]:
    """Where an instance stands and how it does; what only a running VM can say is missing when it does not run."""
    view: dict[str, Json] = {**one.view}
    if one.power != "deallocated" and not world.lean:
        view |= _guest(world, scale_set, one)
    marks = one.marks | scale_set.marks
    if (reported := health.shown(world, one)) and "silent" not in marks:
        view["vmHealth"] = reported
    if not world.lean:
        view |= _disks(world, one)
    state: dict[str, Json] = {
        "code": f"ProvisioningState/{one.state.lower()}",
        "level": "Error" if one.state == "Failed" else "Info",
        "displayStatus": "Provisioning succeeded" if one.state == "Succeeded" else one.state,
    }
    if one.failure is not None:
        state |= {"code": f"ProvisioningState/failed/{one.failure[0]}", "displayStatus": "Provisioning failed"}
        state["message"] = one.failure[1]
    if one.state in ("Succeeded", "Failed"):
        state["time"] = world.timestamp(one.state_since)
    if "no-power" in marks:
        return {**view, "statuses": [state]}
    text = _POWER_TEXT.get(one.power, f"VM {one.power}")
    power = {"code": f"PowerState/{one.power}", "level": "Info", "displayStatus": text}
    return {**view, "statuses": [state, power]}


def _ready(world: "World", one: "Instance", text: str, message: str | None = None) -> dict[str, Json]:
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": text}
    return {**status, **({"message": message} if message else {}), "time": world.timestamp(one.state_since)}


def _guest(world: "World", scale_set: "ScaleSet", one: "Instance") -> dict[str, Json]:
    """What the VM agent says. A captured view has its own."""
    if "vmAgent" in one.view:
        return {}
    properties = one.document["properties"]
    disk = properties.get("storageProfile", {}).get("osDisk", {})
    windows = disk.get("osType") == "Windows"
    agent = {
        "vmAgentVersion": "2.11.1.4",
        "statuses": [_ready(world, one, "Ready", "Guest Agent is running")],
        "extensionHandlers": [],
    }
    shown: dict[str, Json] = {
        "computerName": properties.get("osProfile", {}).get("computerName", one.instance_id),
        "osName": "windows" if windows else "ubuntu",
        "osVersion": "10.0" if windows else "22.04",
        "vmAgent": agent,
    }
    if found := extensions_of(scale_set):
        shown["extensions"] = [_extension_view(extension) for extension in found]
    return shown


def _extension_view(extension: Mapping[str, Any]) -> dict[str, Json]:
    own = extension["properties"]
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
    return {
        "name": extension["name"],
        "type": f"{own.get('publisher')}.{own.get('type')}",
        "typeHandlerVersion": str(own.get("typeHandlerVersion", "1.0")),
        "statuses": [{**status, "message": "ExtensionOperation:enable. Status:Success"}],
    }


def _disks(world: "World", one: "Instance") -> dict[str, Json]:
    if "disks" in one.view:
        return {}
    storage = one.document["properties"].get("storageProfile", {})
    named = [disk["name"] for disk in (storage.get("osDisk", {}), *storage.get("dataDisks", [])) if disk.get("name")]
    disks = [{"name": name, "statuses": [_ready(world, one, "Provisioning succeeded")]} for name in named]
    return {"disks": disks, "hyperVGeneration": "V2"}


def extensions_of(scale_set: "ScaleSet") -> list[dict[str, Any]]:
    found = (scale_set.profile.get("extensionProfile") or {}).get("extensions")
    return found if isinstance(found, list) else []


def set_view(world: "World", scale_set: "ScaleSet") -> dict[str, Json]:
    """How many instances are in which state; of their power it says nothing."""
    counts = Counter(f"ProvisioningState/{one.state.lower()}" for one in scale_set.instances.values())
    summary = [{"code": code, "count": count} for code, count in sorted(counts.items())]
    shown: dict[str, Json] = {"virtualMachine": {"statusesSummary": summary}}
    if names := [one["name"] for one in extensions_of(scale_set)]:
        shown["extensions"] = [{"name": name, "statusesSummary": summary} for name in names]
    done = scale_set.state in ("Succeeded", "Failed")
    status: dict[str, Json] = {
        "code": f"ProvisioningState/{scale_set.state.lower()}",
        "level": "Info",
        "displayStatus": "Provisioning succeeded" if scale_set.state == "Succeeded" else scale_set.state,
        **({"time": world.timestamp()} if done else {}),
    }
    if health.repairs(scale_set):
        shown["orchestrationServices"] = [{"serviceName": "AutomaticRepairs", "serviceState": scale_set.repairs_state}]
    return {**shown, "statuses": [status]}
