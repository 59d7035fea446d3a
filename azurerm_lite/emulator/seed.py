"""What the world holds at the start: a named seed of ours, or a scale set that somebody captured from Azure.

A captured file is JSON: {"model": ..., "instances": [...]} with the bodies of GET and of the list of instances (with
`$expand=instanceView` where there is one; domains are made up where there is none). List documents ({"value": [...]})
are taken as they are.
"""

import copy
import json
import uuid
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .images import Images
from .scale_sets import Instance, ScaleSet, without_secrets
from .world import World

_SEEDS = resources.files("azurerm_lite.emulator") / "seeds"
UPDATE_DOMAINS = FAULT_DOMAINS = 5


class SeedError(ValueError):
    """A seed that cannot be used, and why."""


class Seed:
    """One scale set and the image versions around it. `Seed.load` reads one by name or from a file."""

    def __init__(self, model: dict[str, Any], instances: list[dict[str, Any]], images: list[list[str]]) -> None:
        self.model, self.instances, self.images = model, instances, images
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
    def load(cls, name_or_path: str) -> "Seed":
        """The seed of that name, or the one in that file."""
        named = _SEEDS / f"{name_or_path}.json"
        source = named if "/" not in name_or_path and named.is_file() else Path(name_or_path)
        try:
            document = json.loads(source.read_text(encoding="utf-8-sig"))
        except OSError as error:
            known = ", ".join(sorted(one.name[:-5] for one in _SEEDS.iterdir()))
            raise SeedError(f"no seed {name_or_path!r}: {error.strerror}; named seeds: {known}") from None
        except ValueError:
            raise SeedError(f"{name_or_path} is not JSON") from None
        return cls.from_captured(document)

    @classmethod
    def from_captured(cls, document: Any) -> "Seed":
        """A seed from what GET showed: a model, its instances, and image versions if some are named."""
        if not isinstance(document, Mapping) or not isinstance(document.get("model"), Mapping):
            raise SeedError('a seed is {"model": {…}, "instances": […]}, as GET showed them')
        found = document.get("instances", [])
        found = found.get("value") if isinstance(found, Mapping) else found
        if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
            raise SeedError("the instances of a seed are a list of objects, as GET …/virtualMachines showed them")
        if not isinstance(document["model"].get("properties"), Mapping):
            raise SeedError("the model of a seed has no properties: use the raw answer of GET, not az's flattened one")
        return cls(copy.deepcopy(dict(document["model"])), copy.deepcopy(found), document.get("images", []))

    def plant(self, world: World, images: Images) -> ScaleSet:
        """Make it all exist in a world."""
        for publisher, offer, sku, *versions in self.images:
            images.publish(publisher, offer, sku, *versions)
        scale_set = ScaleSet(self.subscription_id, self.resource_group, self.vmss_name, without_secrets(self.model))
        scale_set.etag = _counter(self.model.get("etag"), 3)
        scale_set.state = "Succeeded"
        for position, document in enumerate(self.instances):
            instance = _instance(world, scale_set, document, position)
            scale_set.instances[instance.instance_id] = instance
            self._publish_what_runs(images, document)
        self._publish_what_runs(images, {"properties": scale_set.profile})
        scale_set.model.setdefault("sku", {}).setdefault("capacity", len(scale_set.instances))
        return scale_set

    @staticmethod
    def _publish_what_runs(images: Images, document: Mapping[str, Any]) -> None:
        image = document.get("properties", {}).get("storageProfile", {}).get("imageReference") or {}
        if image.get("publisher"):
            named = [image.get("exactVersion"), image.get("version")]
            versions = [version for version in named if version and version != "latest"]
            images.publish(image["publisher"], image["offer"], image["sku"], *versions)


def _counter(etag: object, default: int) -> int:
    text = str(etag or "").strip('"')
    return int(text) if text.isdigit() else default


def _instance(world: World, scale_set: ScaleSet, document: dict[str, Any], position: int) -> Instance:
    properties = document.setdefault("properties", {})
    view = properties.pop("instanceView", None) or {}
    instance_id = str(document.get("instanceId") or str(document.get("name", "")).rpartition("_")[2])
    if not instance_id:
        raise SeedError(f"instance number {position} of the seed has neither instanceId nor name")
    power = next((s["code"][11:] for s in view.get("statuses", []) if s["code"].startswith("PowerState/")), "running")
    view = {key: value for key, value in view.items() if key != "statuses"}
    if not scale_set.model.get("zones"):
        view.setdefault("platformUpdateDomain", position % UPDATE_DOMAINS)
    view.setdefault("platformFaultDomain", (position // UPDATE_DOMAINS + position) % FAULT_DOMAINS)
    group = str(uuid.uuid5(uuid.NAMESPACE_URL, scale_set.resource_id))
    instance = Instance(instance_id, document, {"placementGroupId": group, **view}, power=power)
    instance.generation = 0 if properties.get("latestModelApplied", True) else -1
    instance.state_since, instance.etag = world.now, _counter(document.get("etag"), 2)
    return instance
