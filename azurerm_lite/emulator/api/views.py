"""The JSON of models, instances and instance views: Azure's key order, and what older api-versions do not show.

Nothing is changed here.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..messages import Json, Request
from ..simulation import health
from ..simulation.compose import Simulation
from ..simulation.events import Events
from ..simulation.repairs import repairs_policy
from ..simulation.state import Instance, ScaleSet

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


def has_etag(request: Request) -> bool:
    """Whether the api-version of the request has etags."""
    return request.api_version >= ETAGS_SINCE


def etag_header(request: Request, etag: int) -> dict[str, str]:
    """The ETag header, where the api-version has it."""
    return {"ETag": f'"{etag}"'} if has_etag(request) else {}


_LEFT_OUT = frozenset({"networkProfileConfiguration", "networkProfile", "osProfile", "hardwareProfile", "timeCreated"})


def model(scale_set: ScaleSet, request: Request) -> dict[str, Json]:
    """A model as GET shows it: keys in Azure's order; user data only with $expand; the etag where there is instance."""
    stored = scale_set.model
    document = {key: stored[key] for key in _MODEL_ORDER if key in stored}
    if has_etag(request):
        document["etag"] = f'"{scale_set.etag}"'
    document |= {key: value for key, value in stored.items() if key not in document and key != "etag"}
    properties = {**document.pop("properties"), "provisioningState": scale_set.state}
    if isinstance(properties.get("virtualMachineProfile"), Mapping):
        properties["virtualMachineProfile"] = _profile(properties["virtualMachineProfile"], request)
    ordered = {key: properties[key] for key in (*_MODEL_PROPERTIES, *properties) if key in properties}
    since = {key: when for key, when in _SINCE.items() if key not in scale_set.explicit_properties}
    if not scale_set.is_single_group:
        since.pop("platformFaultDomainCount", None)
    return {**document, "properties": {k: v for k, v in ordered.items() if request.api_version >= since.get(k, "")}}


def _profile(profile: Mapping[str, Any], request: Request) -> dict[str, Any]:
    hidden = set() if request.query.get("$expand", "").lower() == "userdata" else {"userData"}
    if request.api_version < _PROFILE_SINCE:
        hidden.add("timeCreated")
    visible = {key: value for key, value in profile.items() if key not in hidden}
    if request.api_version < _AGENT_SINCE and isinstance(visible.get("osProfile"), Mapping):
        visible["osProfile"] = _old_os_profile(visible["osProfile"], request.api_version)
    return visible


def _old_os_profile(profile: Mapping[str, Any], version: str) -> dict[str, Any]:
    visible = {key: value for key, value in profile.items() if version >= _OS_SINCE.get(key, "")}
    linux = visible.get("linuxConfiguration")
    if isinstance(linux, Mapping):
        visible["linuxConfiguration"] = {key: value for key, value in linux.items() if key != "provisionVMAgent"}
    return visible


def instance_document(
    simulation: Simulation, scale_set: ScaleSet, instance: Instance, request: Request
) -> dict[str, Json]:
    """An instance as GET shows it, with its instance view when `$expand` asks for it (Uniform sets only)."""
    expand = request.query.get("$expand", "").lower()
    document = {key: value for key, value in instance.document.items() if key != "etag"}
    hidden: frozenset[str] = frozenset()
    if simulation.settings.compact_views:
        hidden = _LEFT_OUT if "sku" in instance.document else _LEFT_OUT - {"hardwareProfile"}
    properties = {key: value for key, value in instance.document["properties"].items() if key not in hidden}
    properties["latestModelApplied"] = instance.model_version == scale_set.model_version
    properties["provisioningState"] = instance.state
    if expand != "userdata":
        properties.pop("userData", None)
    if request.api_version < _SINCE["timeCreated"]:
        properties.pop("timeCreated", None)
    if expand == "instanceview" and not scale_set.is_flexible:
        properties |= _view_property(simulation, scale_set, instance)
    document["properties"] = properties
    if has_etag(request):
        document["etag"] = f'"{instance.etag}"'
    return document


def select_view(document: dict[str, Json]) -> dict[str, Json]:
    """The document of an instance after `$select=instanceView`, where latestModelApplied is always false."""
    selected = ("latestModelApplied", "instanceView", "provisioningState", "hardwareProfile")
    properties = {key: document["properties"][key] for key in selected if key in document["properties"]}
    properties["latestModelApplied"] = False
    return {"id": document["id"], "instanceId": document["instanceId"], "properties": properties}


def view_form(scale_set: ScaleSet, instance: Instance) -> str:
    """The form of a missing view: "null", "absent", "empty" or "no-statuses"; "" for a complete view."""
    return next((mark[5:] for mark in instance.marks | scale_set.marks if mark.startswith("view-")), "")


def _view_property(simulation: Simulation, scale_set: ScaleSet, instance: Instance) -> dict[str, Json]:
    match view_form(scale_set, instance):
        case "":
            return {"instanceView": instance_view(simulation, scale_set, instance)}
        case "absent":
            return {}
        case "null":
            return {"instanceView": None}
        case form:
            return {"instanceView": broken_view(simulation, scale_set, instance, form)}


def broken_view(simulation: Simulation, scale_set: ScaleSet, instance: Instance, form: str) -> dict[str, Json]:
    """An instance view without statuses, or an empty instance."""
    return {**instance_view(simulation, scale_set, instance), "statuses": None} if form == "no-statuses" else {}


def instance_view(simulation: Simulation, scale_set: ScaleSet, instance: Instance) -> dict[str, Json]:
    """An instance view: placement, health, states; of a deallocated VM without the parts of its agent."""
    events, is_compact = simulation.events, simulation.settings.compact_views
    view: dict[str, Json] = {**instance.view}
    if instance.power != "deallocated" and not is_compact:
        view |= _guest(events, scale_set, instance)
    marks = instance.marks | scale_set.marks
    if (reported := health.vm_health(events, instance)) and "silent" not in marks:
        view["vmHealth"] = reported
    if not is_compact:
        view |= _disks(events, instance)
    state: dict[str, Json] = {
        "code": f"ProvisioningState/{instance.state.lower()}",
        "level": "Error" if instance.state == "Failed" else "Info",
        "displayStatus": "Provisioning succeeded" if instance.state == "Succeeded" else instance.state,
    }
    if instance.failure is not None:
        state |= {"code": f"ProvisioningState/failed/{instance.failure[0]}", "displayStatus": "Provisioning failed"}
        state["message"] = instance.failure[1]
    if instance.state in ("Succeeded", "Failed"):
        state["time"] = events.timestamp(instance.state_since)
    if "no-power" in marks:
        return {**view, "statuses": [state]}
    text = _POWER_TEXT.get(instance.power, f"VM {instance.power}")
    power = {"code": f"PowerState/{instance.power}", "level": "Info", "displayStatus": text}
    return {**view, "statuses": [state, power]}


def _ready(events: Events, instance: Instance, text: str, message: str | None = None) -> dict[str, Json]:
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": text}
    return {**status, **({"message": message} if message else {}), "time": events.timestamp(instance.state_since)}


def _guest(events: Events, scale_set: ScaleSet, instance: Instance) -> dict[str, Json]:
    """What the VM agent reports; {} where a captured view has it."""
    if "vmAgent" in instance.view:
        return {}
    properties = instance.document["properties"]
    disk = properties.get("storageProfile", {}).get("osDisk", {})
    windows = disk.get("osType") == "Windows"
    agent = {
        "vmAgentVersion": "2.11.1.4",
        "statuses": [_ready(events, instance, "Ready", "Guest Agent is running")],
        "extensionHandlers": [],
    }
    report: dict[str, Json] = {
        "computerName": properties.get("osProfile", {}).get("computerName", instance.instance_id),
        "osName": "windows" if windows else "ubuntu",
        "osVersion": "10.0" if windows else "22.04",
        "vmAgent": agent,
    }
    if scale_set.extensions:
        report["extensions"] = [_extension_view(extension) for extension in scale_set.extensions]
    return report


def _extension_view(extension: Mapping[str, Any]) -> dict[str, Json]:
    properties = extension["properties"]
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
    return {
        "name": extension["name"],
        "type": f"{properties.get('publisher')}.{properties.get('type')}",
        "typeHandlerVersion": str(properties.get("typeHandlerVersion", "1.0")),
        "statuses": [{**status, "message": "ExtensionOperation:enable. Status:Success"}],
    }


def _disks(events: Events, instance: Instance) -> dict[str, Json]:
    if "disks" in instance.view:
        return {}
    storage = instance.document["properties"].get("storageProfile", {})
    named = [disk["name"] for disk in (storage.get("osDisk", {}), *storage.get("dataDisks", [])) if disk.get("name")]
    disks = [{"name": name, "statuses": [_ready(events, instance, "Provisioning succeeded")]} for name in named]
    return {"disks": disks, "hyperVGeneration": "V2"}


def set_view(events: Events, scale_set: ScaleSet) -> dict[str, Json]:
    """The instance view of a scale set: how many instances are in each provisioning state."""
    counts = Counter(f"ProvisioningState/{item.state.lower()}" for item in scale_set.instances.values())
    summary = [{"code": code, "count": count} for code, count in sorted(counts.items())]
    view: dict[str, Json] = {"virtualMachine": {"statusesSummary": summary}}
    if names := [extension["name"] for extension in scale_set.extensions]:
        view["extensions"] = [{"name": name, "statusesSummary": summary} for name in names]
    done = scale_set.state in ("Succeeded", "Failed")
    status: dict[str, Json] = {
        "code": f"ProvisioningState/{scale_set.state.lower()}",
        "level": "Info",
        "displayStatus": "Provisioning succeeded" if scale_set.state == "Succeeded" else scale_set.state,
        **({"time": events.timestamp()} if done else {}),
    }
    if repairs_policy(scale_set):
        view["orchestrationServices"] = [{"serviceName": "AutomaticRepairs", "serviceState": scale_set.repairs_state}]
    return {**view, "statuses": [status]}
