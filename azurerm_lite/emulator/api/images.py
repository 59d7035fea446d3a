"""The ARM resources for images: platform images of publishers, versions in galleries; and the usage of a region.

https://learn.microsoft.com/rest/api/compute/virtual-machine-images
"""

from ..messages import ErrorResponse, Json, Request, Response, Route
from ..simulation.compose import Simulation

_BASE = "/subscriptions/<subscription_id>/providers/Microsoft.Compute/locations/<location>/publishers"
_OFFERS = f"{_BASE}/<publisher>/artifacttypes/vmimage/offers"


def _entry(request: Request, location: str, name: str) -> dict[str, Json]:
    return {"location": location, "name": name, "id": f"{request.path.rstrip('/')}/{name}"}


def list_names(simulation: Simulation, request: Request, *, location: str, **parts: str) -> Response:
    """All publishers, the offers of a publisher, or the SKUs of an offer."""
    prefix = [parts[key] for key in ("publisher", "offer") if key in parts]
    return Response(200, [_entry(request, location, name) for name in simulation.images.names(*prefix)])


def list_versions(
    simulation: Simulation, request: Request, *, location: str, publisher: str, offer: str, sku: str, **_: str
) -> Response:
    versions = list(simulation.images.versions(publisher, offer, sku))
    if request.query.get("$orderby", "").replace("%20", " ").lower() == "name desc":
        versions.reverse()
    if request.query.get("$top", "").isdigit():
        versions = versions[: int(request.query["$top"])]
    return Response(200, [_entry(request, location, version) for version in versions])


def get_version(
    simulation: Simulation,
    request: Request,
    *,
    location: str,
    publisher: str,
    offer: str,
    sku: str,
    version: str,
    **_: str,
) -> Response:
    if version not in simulation.images.versions(publisher, offer, sku):
        raise ErrorResponse(404, "NotFound", f"Artifact: VMImage was not found. Version {version} of {offer} {sku}.")
    parent = request.path.rstrip("/").rpartition("/")[0]
    system = {"operatingSystem": "Linux"}
    properties: dict[str, Json] = {"hyperVGeneration": "V2", "architecture": "x64", "osDiskImage": system}
    if plan := simulation.images.plans.get((publisher.lower(), offer.lower(), sku.lower())):
        properties["plan"] = plan
    entry = {"properties": properties, "location": location, "name": version, "id": f"{parent}/{version}"}
    return Response(200, entry)


def list_gallery_versions(
    simulation: Simulation, _request: Request, *, resource_group: str, gallery: str, image: str, **_: str
) -> Response:
    versions = simulation.images.gallery.get((resource_group.lower(), gallery.lower(), image.lower()))
    if versions is None:
        what = f"Microsoft.Compute/galleries/{gallery}/images/{image}"
        text = f"The Resource '{what}' under resource group '{resource_group}' was not found."
        raise ErrorResponse(404, "ResourceNotFound", text, gateway=True)
    return Response(200, {"value": list(versions)})


def list_usages(simulation: Simulation, _request: Request, *, subscription_id: str, location: str) -> Response:
    """Cores and scale sets in use in a region, and their limits."""
    local = [
        scale_set
        for scale_set in simulation.scale_sets
        if scale_set.subscription_id.lower() == subscription_id.lower()
        and scale_set.location.lower() == location.lower()
    ]
    cores = sum(len(item.instances) * _cores(str(item.model["sku"].get("name", ""))) for item in local)
    rows = [("cores", "Total Regional vCPUs", cores, simulation.images.cores)]
    rows.append(("virtualMachineScaleSets", "Virtual Machine Scale Sets", len(local), 2500))
    value = [
        {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": text}}
        for name, text, used, limit in rows
    ]
    return Response(200, {"value": value})


def _cores(size: str) -> int:
    """The first number of a size's name, which is its vCPUs for the plain families."""
    digits = "".join(ch if ch.isdigit() else " " for ch in size.partition("_")[2]).split()
    return int(digits[0]) if digits else 1


_GALLERY = (
    "/subscriptions/<subscription_id>/resourceGroups/<resource_group>/providers/Microsoft.Compute"
    "/galleries/<gallery>/images/<image>/versions"
)
_USAGES = "/subscriptions/<subscription_id>/providers/Microsoft.Compute/locations/<location>/usages"
_READ = "Microsoft.Compute/locations/publishers/read"
ROUTES: list[Route] = [
    ("GET", _BASE, list_names, _READ),
    ("GET", _OFFERS, list_names, _READ),
    ("GET", f"{_OFFERS}/<offer>/skus", list_names, _READ),
    ("GET", f"{_OFFERS}/<offer>/skus/<sku>/versions", list_versions, _READ),
    ("GET", f"{_OFFERS}/<offer>/skus/<sku>/versions/<version>", get_version, _READ),
    ("GET", _GALLERY, list_gallery_versions, "Microsoft.Compute/galleries/images/versions/read"),
    ("GET", _USAGES, list_usages, "Microsoft.Compute/locations/usages/read"),
]
