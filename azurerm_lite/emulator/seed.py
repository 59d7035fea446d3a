"""Seeds: the scale set that an emulator has at the start. A named one of ours, one by arguments, or a captured one.

A captured file is JSON: {"model": ..., "instances": [...]} with the bodies of GET and of the list of instances (with
`$expand=instanceView` where there is one). The emulator takes over its provisioning states, power, health, protection
and exact versions. An instance without a key `instanceView` runs, is healthy, and gets invented domains. With
`"instanceView": null` (or {}, or without a power state) Azure has shown no view (or no power state), and the emulator
shows the same; the view of a VM of a Flexible set is then a 404. List documents ({"value": [...]}), the output of
`az vmss show` and `az vmss list-instances`, and the published examples of the API are accepted too. A model alone gets
as many instances as its capacity. `page_size`: how many instances a page of their list has.
"""

import copy
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from azurerm_lite._common.parsing import parse_json
from azurerm_lite._common.secrecy import conceal_locals

from . import shapes
from .messages import ErrorResponse
from .simulation import defaults, health, secrets
from .simulation.compose import Simulation
from .simulation.images import Images
from .simulation.secrets import without_secrets
from .simulation.state import Instance, ScaleSet

_SEEDS = resources.files("azurerm_lite.emulator") / "seeds"
UPDATE_DOMAINS = FAULT_DOMAINS = 5
SUBSCRIPTION = "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d"
UBUNTU = ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2")
VERSIONS = ("22.04.202606010", "22.04.202608150", "22.04.202610200", "22.04.202611120")
OLD = VERSIONS[1]


class SeedError(ValueError):
    """A seed cannot be used; the message says why."""


class Seed:
    """One scale set and its image versions. `Seed.load` reads one, `Seed.build` makes one.

    `instances=None`: as many as the capacity of the model.
    """

    @conceal_locals
    def __init__(
        self,
        model: dict[str, Any],
        instances: list[dict[str, Any]] | None,
        images: Sequence[Sequence[str]] = (),
        *,
        page_size: int = 0,
    ) -> None:
        self.model, self.instances, self.images, self.page_size = model, instances, images, page_size
        _refuse_wrong_types(model, instances, images)
        parts = str(model.get("id", "")).strip("/").split("/")
        if len(parts) != 8 or parts[6].lower() != "virtualmachinescalesets":
            raise SeedError("the model has no scale set's id: /subscriptions/…/virtualMachineScaleSets/…")
        self.subscription_id, self.resource_group, self.vmss_name = parts[1], parts[3], parts[7]
        self.location = str(model.get("location", "westus"))

    @classmethod
    def default(cls) -> "Seed":
        """A Uniform, Manual scale set of 20 instances in 5 update and 5 fault domains."""
        return cls.load("default")

    @classmethod
    def build(
        cls,
        vmss_name: str = "web",
        *,
        capacity: int = 20,
        mode: str = "Manual",
        orchestration: str = "Uniform",
        zones: Sequence[str] = (),
        single_placement_group: bool | None = None,
        fault_domains: int | None = None,
        image: Mapping[str, str] | None = None,
        versions: Sequence[str] = VERSIONS,
        size: str = "Standard_D2s_v3",
        health_source: str = "",
        ephemeral: bool = False,
        overprovision: bool = False,
        rolling_policy: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        page_size: int = 0,
        subscription_id: str = SUBSCRIPTION,
        resource_group: str = "web-rg",
        location: str = "westus2",
    ) -> "Seed":
        """A scale set by arguments.

        `image`: an imageReference; by default Ubuntu, not at its newest. `health_source`: "extension" or "probe".
        `properties`: added to those of the model (automaticRepairsPolicy, …). More than 100 instances are in several
        placement groups.
        """
        reference = dict(image or {**dict(zip(("publisher", "offer", "sku"), UBUNTU, strict=True)), "version": OLD})
        resource_id = (
            f"/subscriptions/{subscription_id}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{vmss_name}"
        )
        policy: dict[str, Any] = {"mode": mode}
        if rolling_policy is not None:
            policy["rollingUpgradePolicy"] = dict(rolling_policy)
        single = capacity <= defaults.LARGEST_GROUP if single_placement_group is None else single_placement_group
        model_properties: dict[str, Any] = {
            "orchestrationMode": orchestration,
            "singlePlacementGroup": single,
            "upgradePolicy": policy,
            "virtualMachineProfile": _profile(vmss_name, resource_id, reference, health_source, ephemeral),
            "overprovision": overprovision,
            **({"platformFaultDomainCount": fault_domains} if fault_domains else {}),
            **(properties or {}),
        }
        model: dict[str, Any] = {"id": resource_id, "location": location, "tags": dict(tags or {"service": vmss_name})}
        model |= {"sku": {"name": size, "tier": "Standard", "capacity": capacity}, "properties": model_properties}
        if zones:
            model["zones"] = list(zones)
        published = [[*UBUNTU, *versions]]
        return cls(model, None, published, page_size=page_size)

    @classmethod
    def load(cls, name_or_path: str) -> "Seed":
        """The seed of this name, or in this file. Raises SeedError for an unknown name or a wrong file."""
        named = _SEEDS / f"{name_or_path}.json"
        source = named if "/" not in name_or_path and named.is_file() else Path(name_or_path)
        try:
            text = source.read_bytes()
        except (OSError, ValueError) as error:
            known = ", ".join(sorted(file.name[:-5] for file in _SEEDS.iterdir()))
            why = getattr(error, "strerror", None) or error
            raise SeedError(f"no seed {name_or_path!r}: {why}; named seeds: {known}") from None
        return cls.from_captured(parse_json(text, SeedError, f"{name_or_path!a} is not JSON"))

    @classmethod
    @conceal_locals
    def from_captured(cls, document: Any) -> "Seed":
        """A seed from the output of GET or az, or from a published example. Raises SeedError for anything else."""
        if isinstance(document, Mapping) and "responses" in document and "parameters" in document:
            return cls._from_example(document)
        if (
            isinstance(document, Mapping)
            and "model" not in document
            and "virtualMachineScaleSets/" in str(document.get("id", ""))
        ):
            document = {"model": document, "instances": None}
        if not isinstance(document, Mapping) or not isinstance(document.get("model"), Mapping):
            raise SeedError('a seed is {"model": {…}, "instances": […]}, as GET or az showed them')
        items = document.get("instances")
        items = items.get("value") if isinstance(items, Mapping) else items
        if items is not None and (not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items)):
            raise SeedError("the instances of a seed are a list of objects, as GET …/virtualMachines showed them")
        model = _raw(document["model"])
        instances = None if items is None else [_raw(item) for item in items]
        page_size = document.get("page_size", 0)
        if isinstance(page_size, bool) or not isinstance(page_size, int) or page_size < 0:
            raise SeedError("the page_size of a seed is a number of instances, 0 for all in one page")
        return cls(model, instances, document.get("images", []), page_size=page_size)

    @classmethod
    def _from_example(cls, document: Mapping[str, Any]) -> "Seed":
        parameters, responses = document["parameters"], document["responses"]
        if not isinstance(parameters, Mapping) or not isinstance(responses, Mapping):
            raise SeedError("the parameters and responses of an example are objects")
        bodies = (item["body"] for item in responses.values() if isinstance(item, Mapping) and "body" in item)
        body: dict[str, Any] = next(bodies, {})
        model = _raw({**body, **(parameters.get("parameters") or {})})
        group = parameters.get("resourceGroupName", "example-rg")
        name = parameters.get("vmScaleSetName", "example")
        group, name = str(group).strip("{}"), str(name).strip("{}")
        model["id"] = (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{name}"
        )
        if not isinstance(model.get("properties"), Mapping) or not model.get("sku"):
            raise SeedError("that example does not show the model of a scale set")
        return cls(model, None)

    @conceal_locals
    def add_to(self, simulation: Simulation) -> ScaleSet:
        """Add the scale set, its images and its resource group to a simulation. Raises SeedError for a wrong seed."""
        key = (self.subscription_id.lower(), self.resource_group.lower())
        group = (self.subscription_id, self.resource_group, self.location)
        simulation.state.resource_groups.setdefault(key, group)
        simulation.settings.page_size = self.page_size or simulation.settings.page_size
        try:
            scale_set = self._scale_set(simulation)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, SeedError):
                raise
            raise SeedError(f"that seed is not as Azure shows a scale set ({type(error).__name__}: {error})") from error
        simulation.scale_sets.add(scale_set)
        return scale_set

    def _scale_set(self, simulation: Simulation) -> ScaleSet:
        images = simulation.images
        for publisher, offer, sku, *versions in self.images:
            images.publish(publisher, offer, sku, *versions)
        scale_set = ScaleSet(self.subscription_id, self.resource_group, self.vmss_name, {})
        scale_set.etag = _counter(self.model.get("etag"), 3)
        if self.instances is not None:
            scale_set.state = str(self.model.get("properties", {}).get("provisioningState") or "Succeeded")
        scale_set.model = without_secrets(copy.deepcopy(self.model))
        if defaults.is_no_zone(scale_set.model.get("zones")):
            del scale_set.model["zones"]
        scale_set.secrets = secrets.after_write({}, self.model.get("properties", {}).get("virtualMachineProfile"))
        if self.instances is None:
            _publish_image_of(images, {"properties": scale_set.profile})
            self._create_instances(simulation, scale_set)
        else:
            for position, document in enumerate(copy.deepcopy(self.instances)):
                instance = _instance(simulation, scale_set, document, position)
                scale_set.instances[instance.instance_id] = instance
                _publish_image_of(images, document)
        _publish_image_of(images, {"properties": scale_set.profile})
        publish_gallery_image(simulation, str(scale_set.image.get("id", "")), self.location)
        if scale_set.image.get("publisher") and self.model.get("plan"):
            key = tuple(str(scale_set.image.get(part, "")).lower() for part in ("publisher", "offer", "sku"))
            images.plans[key[0], key[1], key[2]] = dict(self.model["plan"])
        scale_set.model.setdefault("sku", {}).setdefault("capacity", len(scale_set.instances))
        return scale_set

    def _create_instances(self, simulation: Simulation, scale_set: ScaleSet) -> None:
        """Add as many instances as the capacity of the model."""
        try:
            model = defaults.new_model(
                simulation.events, simulation.identity.tenant_id, scale_set.resource_id, scale_set.model
            )
        except ErrorResponse as error:
            raise SeedError(f"Azure would refuse this scale set: {error}") from None
        scale_set.model = without_secrets(model)
        try:
            for position in range(int(model["sku"]["capacity"])):
                instance = simulation.instances.create(scale_set, position=position)
                instance.state, instance.power = "Succeeded", "running"
                instance.health = "healthy" if health.has_source(scale_set) else ""
        except ErrorResponse as error:
            raise SeedError(f"Azure would refuse this scale set: {error}") from None


def _refuse_wrong_types(model: Any, instances: Any, images: Any) -> None:
    """Raise SeedError for values of another type than Azure shows, which would break a request later."""
    wrong = [*shapes.wrong_types(model, shapes.MODEL, "model")]
    for number, instance in enumerate(instances or []):
        wrong += shapes.wrong_types(instance, shapes.INSTANCE, f"instances[{number}]")
    if not isinstance(images, list | tuple) or not all(_is_image(image) for image in images):
        wrong.append("images")
    if wrong:
        raise SeedError(f"Azure shows values of another type at {', '.join(wrong[:5])!a}")


def _is_image(image: Any) -> bool:
    """Whether this is publisher, offer, SKU and versions."""
    return isinstance(image, list | tuple) and len(image) >= 3 and all(isinstance(part, str) for part in image)


def _publish_image_of(images: Images, document: Mapping[str, Any]) -> None:
    """Publish the image version that a model or an instance runs."""
    image = document.get("properties", {}).get("storageProfile", {}) or document.get("storageProfile", {})
    image = image.get("imageReference") or {}
    if image.get("publisher"):
        candidates = [image.get("exactVersion"), image.get("version")]
        versions = [version for version in candidates if version and version != "latest"]
        known = images.versions(image["publisher"], image["offer"], image["sku"])
        if not versions and not known and "exactVersion" not in image:
            versions = ["1.0.0"]  # "latest", and no exact version is known
        images.publish(image["publisher"], image["offer"], image["sku"], *versions)


def publish_gallery_image(simulation: Simulation, image_id: str, location: str) -> None:
    """Publish the version of a gallery image in a region, with its resource group; ignore any other id."""
    image, _, version = image_id.partition("/versions/")
    parts = image.strip("/").split("/")
    if len(parts) != 10 or parts[6].lower() != "galleries" or version.lower() in ("", "latest"):
        return
    key = (parts[1].lower(), parts[3].lower())
    simulation.state.resource_groups.setdefault(key, (parts[1], parts[3], location))
    known = simulation.images.gallery.get((parts[3].lower(), parts[7].lower(), parts[9].lower()), [])
    if version not in [entry["name"] for entry in known]:
        simulation.images.publish_gallery(image, version, location)


def _counter(etag: object, default: int) -> int:
    text = str(etag or "").strip('"')
    return int(text) if text.isdigit() else default


def _instance(simulation: Simulation, scale_set: ScaleSet, document: dict[str, Any], position: int) -> Instance:
    properties = document.setdefault("properties", {})
    has_view, view = "instanceView" in properties, properties.pop("instanceView", None)
    instance_id = str(document.get("instanceId") or str(document.get("name", "")).rpartition("_")[2])
    if not instance_id:
        raise SeedError(f"instance number {position} of the seed has neither instanceId nor name")
    reported = (view or {}).get("vmHealth") if isinstance(view, Mapping) else None
    placement = _placement(view)
    if not scale_set.is_flexible:
        if not (has_view and view):
            _invent_domains(scale_set, placement, position)
        group = placement.get("placementGroupId")
        if group and group not in scale_set.placement_groups:
            scale_set.placement_groups.append(group)
    document = {**document, "instanceId": instance_id}
    instance = Instance(instance_id, document, placement, power=_power(view), health=_health(reported))
    instance.state = str(properties.get("provisioningState") or "Succeeded")
    instance.marks = _marks(view, instance) if has_view else set()
    instance.power = instance.power or "running"
    instance.failure = _failure(view)
    instance.model_version = 0 if properties.get("latestModelApplied", True) else -1
    instance.disk_version = instance.model_version
    instance.state_since, instance.etag = simulation.events.now, _counter(document.get("etag"), 2)
    return instance


def _placement(view: Any) -> dict[str, Any]:
    """The parts of a view that do not change: placement and the reports of the agent."""
    parts = view if isinstance(view, Mapping) else {}
    return {key: value for key, value in parts.items() if key not in ("statuses", "vmHealth") and value is not None}


def _power(view: Any) -> str:
    """The power state in a view; "" for none."""
    statuses = view.get("statuses") if isinstance(view, Mapping) else None
    codes = [str(status.get("code", "")) for status in statuses or [] if isinstance(status, Mapping)]
    return next((code[11:] for code in codes if code.startswith("PowerState/")), "")


def _failure(view: Any) -> tuple[str, str] | None:
    """Code and message of a failed provisioning in a view; None for none."""
    statuses = view.get("statuses") if isinstance(view, Mapping) else None
    for status in statuses or []:
        code = str(status.get("code", "")) if isinstance(status, Mapping) else ""
        if code.startswith("ProvisioningState/failed/"):
            return code.rpartition("/")[2], str(status.get("message", ""))
    return None


def _health(reported: Any) -> str:
    """The state in vmHealth; "" for no report."""
    if not isinstance(reported, Mapping):
        return ""
    state = str((reported.get("status") or {}).get("code", "")).rpartition("/")[2].lower()
    return state if state in health.STATES or not state else "unknown"


def _marks(view: Any, instance: Instance) -> set[str]:
    """The marks of an instance whose view Azure has shown incomplete."""
    if not view:
        return {"view-null" if view is None else "view-empty"}
    if "statuses" in view and view["statuses"] is None:
        return {"view-no-statuses"}
    return {"no-power"} if not instance.power else {"reports"}


def _invent_domains(scale_set: ScaleSet, view: dict[str, Any], position: int) -> None:
    if not scale_set.model.get("zones"):
        view.setdefault("platformUpdateDomain", position % UPDATE_DOMAINS)
    view.setdefault("platformFaultDomain", (position // UPDATE_DOMAINS + position) % FAULT_DOMAINS)
    view.setdefault("placementGroupId", str(uuid.uuid5(uuid.NAMESPACE_URL, scale_set.resource_id)))


# --- the output of az: no `properties`, nulls for absent values -------------------------------------------------------

_TOP = frozenset({
    *("id", "name", "type", "location", "tags", "sku", "identity", "zones", "plan", "etag", "extendedLocation"),
    *("instanceId", "resources", "systemData", "placement"),
})  # fmt: skip
_LISTS = frozenset({"networkInterfaceConfigurations", "ipConfigurations", "extensions"})
_NAMED = frozenset({"publicIPAddressConfiguration", "publicIpAddressConfiguration"})
_OF_ADDRESS = frozenset({"name", "id", "sku", "tags", "type", "location"})


def _raw(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document in the form of the API: the flattened output of az gets its `properties` back."""
    if isinstance(document.get("properties"), Mapping):
        return copy.deepcopy(dict(document))
    top = _without_nulls({key: value for key, value in document.items() if key in _TOP})
    inner = {key: value for key, value in document.items() if key not in _TOP and key != "resourceGroup"}
    return {**top, "properties": _unflatten(_without_nulls(inner))}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        dropped = {"resourceGroup"} if "id" in value else set()  # which az adds
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None and key not in dropped}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _unflatten(value: Any) -> Any:
    if isinstance(value, list):
        return [_unflatten(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return dict(_members(value))


def _members(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if key in _LISTS and isinstance(inner, list) and all(isinstance(item, Mapping) for item in inner):
            yield key, [_nest(item, keep=frozenset({"name", "id"})) for item in inner]
        elif key in _NAMED and isinstance(inner, Mapping):
            yield "publicIPAddressConfiguration", _nest(inner, keep=_OF_ADDRESS)
        elif key == "instanceView":
            yield key, inner
        else:
            yield key, _unflatten(inner)


def _nest(value: Mapping[str, Any], *, keep: frozenset[str]) -> dict[str, Any]:
    if "properties" in value:
        return dict(value)
    outer = {key: inner for key, inner in value.items() if key in keep and key != "type"}
    return {**outer, "properties": _unflatten({k: v for k, v in value.items() if k not in outer})}


# --- a plain VM profile ----------------------------------------------------------------------------------------------


def _profile(name: str, resource_id: str, image: dict[str, str], source: str, ephemeral: bool) -> dict[str, Any]:
    network = resource_id.partition("/providers/")[0] + "/providers/Microsoft.Network"
    pool = f"{network}/loadBalancers/{name}-lb"
    address = {
        "subnet": {"id": f"{network}/virtualNetworks/{name}-vnet/subnets/{name}"},
        "loadBalancerBackendAddressPools": [{"id": f"{pool}/backendAddressPools/{name}-pool"}],
    }
    nic = {"primary": True, "ipConfigurations": [{"name": f"{name}ip", "properties": address}]}
    disk: dict[str, Any] = {"osType": "Linux", "createOption": "FromImage", "caching": "ReadWrite"}
    if ephemeral:
        disk |= {"caching": "ReadOnly", "diffDiskSettings": {"option": "Local"}}
    key = {"path": "/home/deploy/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAAexample azurerm_lite example"}
    linux = {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}}
    profile: dict[str, Any] = {
        "osProfile": {"computerNamePrefix": name, "adminUsername": "deploy", "linuxConfiguration": linux},
        "storageProfile": {"osDisk": disk, "imageReference": image},
        "networkProfile": {"networkInterfaceConfigurations": [{"name": f"{name}nic", "properties": nic}]},
    }
    if source == "probe":
        profile["networkProfile"] = {"healthProbe": {"id": f"{pool}/probes/{name}"}, **profile["networkProfile"]}
    elif source == "extension":
        settings = {"protocol": "http", "port": 80, "requestPath": "/healthz", "gracePeriod": 60}
        kind = {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "2.0"}
        extension = {"name": "health", "properties": {**kind, "autoUpgradeMinorVersion": True, "settings": settings}}
        profile["extensionProfile"] = {"extensions": [extension]}
    elif source:
        raise SeedError(f'a health source is "extension" or "probe", not {source!r}')
    return profile
