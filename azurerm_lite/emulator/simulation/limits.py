"""Values of a model that Azure refuses whatever their type: too many instances, another region, an unknown zone.

https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-placement-groups
"""

from collections.abc import Mapping
from typing import Any

from ..messages import ErrorResponse
from . import locations

MOST_INSTANCES = 1000
MOST_OF_MANAGED_IMAGE = 600
MOST_OF_ONE_GROUP = 100
ZONES = frozenset({"1", "2", "3"})
Model = Mapping[str, Any]


def most_instances(model: Model) -> int:
    """How many instances a set of this model may have: by its placement groups and by the kind of its image."""
    properties = model["properties"]
    if properties.get("singlePlacementGroup"):
        return MOST_OF_ONE_GROUP
    storage = (properties.get("virtualMachineProfile") or {}).get("storageProfile") or {}
    managed = "/providers/microsoft.compute/images/" in str((storage.get("imageReference") or {}).get("id", "")).lower()
    custom = managed or bool((storage.get("osDisk") or {}).get("image"))
    return MOST_OF_MANAGED_IMAGE if custom else MOST_INSTANCES


def capacity_of(model: Model) -> int:
    """The capacity of a model, 0 where it has none."""
    return int((model.get("sku") or {}).get("capacity") or 0)


def refuse_capacity(name: str, model: Model, before: Model | None = None) -> None:
    """ErrorResponse for more instances than this model may have, or for instances that nothing describes.

    before: the model that is replaced. What it has already is not judged again.
    """
    capacity, most = capacity_of(model), most_instances(model)
    grows = before is None or capacity > capacity_of(before)
    if capacity > most and (grows or (before is not None and most < most_instances(before))):
        what, limit = f"Virtual Machine Scale Set '{name}'", f"the total limit of '{most}' Virtual Machine instances"
        text = f"Unable to create or update {what} as it exceeds {limit}."
        raise ErrorResponse(409, "OperationNotAllowed", text)
    if grows and capacity and not model["properties"].get("virtualMachineProfile"):
        text = "Required parameter 'virtualMachineProfile' is missing (null)."
        raise ErrorResponse(400, "InvalidParameter", text, target="virtualMachineProfile")


def refuse_move(name: str, resource_group: str, before: Model, change: Model) -> None:
    """ErrorResponse for a write that names another location than the resource has."""
    place = change.get("location")
    if place is None or locations.normalize(place) == locations.normalize(str(before.get("location", place))):
        return
    text = (
        f"The resource '{name}' already exists in location '{before['location']}' in resource group "
        f"'{resource_group}'. A resource with the same name cannot be created in location '{place}'. Please select a "
        "new resource name."
    )
    raise ErrorResponse(409, "InvalidResourceLocation", text, gateway=True)


def refuse_zones(resource_id: str, location: str, change: Model, before: Model | None = None) -> None:
    """ErrorResponse for zones that no region has; those that the set has already stay."""
    known = ZONES.union(zone for zone in (before or {}).get("zones") or () if zone is not None)
    unknown = [zone for zone in change.get("zones") or () if zone is not None and zone not in known]
    if unknown:
        kind_and_name = resource_id.partition("/providers/")[2]
        text = (
            f"The zone(s) '{','.join(unknown)[:80]}' for resource '{kind_and_name}' is not supported. The supported "
            f"zones for location '{location}' are '{','.join(sorted(ZONES))}'"
        )
        raise ErrorResponse(400, "AvailabilityZoneNotSupported", text, target="zones")
