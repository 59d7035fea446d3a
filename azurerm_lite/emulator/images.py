"""The images that exist: versions of platform images and of galleries; and the quota of a region.

https://learn.microsoft.com/rest/api/compute/virtual-machine-images
"""

from typing import Any

from .exchange import Answer, ArmRequest, Json, Refusal, Route
from .world import World

Key = tuple[str, str, str]


def _ordered(versions: list[str]) -> list[str]:
    """Oldest first: versions are numbers, not text."""
    return sorted(versions, key=lambda version: [int(part) if part.isdigit() else 0 for part in version.split(".")])


class Images:
    """What the catalogue of a region offers; a captured scale set brings its own image along."""

    def __init__(self) -> None:
        self._versions: dict[Key, list[str]] = {}
        self._spelling: dict[Key, Key] = {}
        # Versions of gallery images: (resource group, gallery, image) in lower case -> documents, oldest first.
        self.gallery: dict[Key, list[dict[str, Any]]] = {}
        self.cores = 1000  # quota of every region
        # Purchase plans of platform images: (publisher, offer, SKU) in lower case -> {publisher, product, name}.
        self.plans: dict[Key, dict[str, Any]] = {}

    def publish_gallery(
        self, image_id: str, version: str, *regions: str, exclude_from_latest: bool = False, state: str = "Succeeded"
    ) -> None:
        """A version of a gallery image (…/galleries/G/images/I), replicated to these regions."""
        parts = image_id.strip("/").split("/")
        targets = [{"name": region, "regionalReplicaCount": 1, "excludeFromLatest": False} for region in regions]
        profile = {"targetRegions": targets, "excludeFromLatest": exclude_from_latest}
        document = {
            "name": version,
            "id": f"{image_id}/versions/{version}",
            "type": "Microsoft.Compute/galleries/images/versions",
            "location": regions[0] if regions else "westus2",
            "properties": {"publishingProfile": profile, "provisioningState": state},
        }
        key = (parts[3].lower(), parts[7].lower(), parts[9].lower())
        self.gallery.setdefault(key, []).append(document)

    def publish(self, publisher: str, offer: str, sku: str, *versions: str) -> None:
        """Make versions exist, as if the publisher had just released them."""
        key = (publisher.lower(), offer.lower(), sku.lower())
        self._spelling.setdefault(key, (publisher, offer, sku))
        known = self._versions.setdefault(key, [])
        self._versions[key] = _ordered([*known, *(version for version in versions if version not in known)])

    def versions(self, publisher: str, offer: str, sku: str) -> list[str]:
        return self._versions.get((publisher.lower(), offer.lower(), sku.lower()), [])

    def exact(self, image: dict[str, Any]) -> str | None:
        """The version that an instance made now from this reference would run; a Refusal when there is none."""
        if not image.get("publisher"):
            return None
        names = [str(image.get(key, "")) for key in ("publisher", "offer", "sku", "version")]
        known = self.versions(*names[:3])
        if known and names[3] == "latest":
            return known[-1]
        if names[3] in known:
            return names[3]
        raise Refusal(
            404,
            "PlatformImageNotFound",
            f"The platform image '{':'.join(names)}' is not available. Verify that all fields in the storage profile "
            "are correct. For more details about storage profile information, please refer to "
            "https://aka.ms/storageprofile",
            target="imageReference",
        )

    def exact_or_none(self, image: dict[str, Any]) -> str | None:
        """The same of an image that was accepted before; None when it has been withdrawn since."""
        try:
            return self.exact(image)
        except Refusal:
            return None

    def names(self, *prefix: str) -> list[str]:
        """The next level below a prefix: publishers, offers of a publisher, SKUs of an offer."""
        lower = tuple(part.lower() for part in prefix)
        found = {spelt[len(lower)] for key, spelt in self._spelling.items() if key[: len(lower)] == lower}
        return sorted(found)


_BASE = "/subscriptions/<subscription_id>/providers/Microsoft.Compute/locations/<location>/publishers"
_OFFERS = f"{_BASE}/<publisher>/artifacttypes/vmimage/offers"


def _entry(request: ArmRequest, location: str, name: str) -> dict[str, Json]:
    return {"location": location, "name": name, "id": f"{request.path.rstrip('/')}/{name}"}


def list_names(world: World, request: ArmRequest, *, location: str, **parts: str) -> Answer:
    """Publishers, offers or SKUs, by how much of the path is given."""
    prefix = [parts[key] for key in ("publisher", "offer") if key in parts]
    return Answer(200, [_entry(request, location, name) for name in world.images.names(*prefix)])


def list_versions(
    world: World, request: ArmRequest, *, location: str, publisher: str, offer: str, sku: str, **_: str
) -> Answer:
    found = list(world.images.versions(publisher, offer, sku))
    if request.query.get("$orderby", "").replace("%20", " ").lower() == "name desc":
        found.reverse()
    if request.query.get("$top", "").isdigit():
        found = found[: int(request.query["$top"])]
    return Answer(200, [_entry(request, location, version) for version in found])


def get_version(
    world: World, request: ArmRequest, *, location: str, publisher: str, offer: str, sku: str, version: str, **_: str
) -> Answer:
    if version not in world.images.versions(publisher, offer, sku):
        raise Refusal(404, "NotFound", f"Artifact: VMImage was not found. Version {version} of {offer} {sku}.")
    parent = request.path.rstrip("/").rpartition("/")[0]
    system = {"operatingSystem": "Linux"}
    properties: dict[str, Json] = {"hyperVGeneration": "V2", "architecture": "x64", "osDiskImage": system}
    if plan := world.images.plans.get((publisher.lower(), offer.lower(), sku.lower())):
        properties["plan"] = plan
    entry = {"properties": properties, "location": location, "name": version, "id": f"{parent}/{version}"}
    return Answer(200, entry)


def list_gallery_versions(
    world: World, _request: ArmRequest, *, resource_group: str, gallery: str, image: str, **_: str
) -> Answer:
    found = world.images.gallery.get((resource_group.lower(), gallery.lower(), image.lower()))
    if found is None:
        what = f"Microsoft.Compute/galleries/{gallery}/images/{image}"
        text = f"The Resource '{what}' under resource group '{resource_group}' was not found."
        raise Refusal(404, "ResourceNotFound", text, gateway=True)
    return Answer(200, {"value": list(found)})


def list_usages(world: World, _request: ArmRequest, *, subscription_id: str, location: str) -> Answer:
    """Cores and scale sets in use in a region, and how many there may be."""
    there = [
        one
        for one in world.scale_sets
        if one.subscription_id.lower() == subscription_id.lower() and one.location.lower() == location.lower()
    ]
    cores = sum(len(one.instances) * _cores(str(one.model["sku"].get("name", ""))) for one in there)
    rows = [("cores", "Total Regional vCPUs", cores, world.images.cores)]
    rows.append(("virtualMachineScaleSets", "Virtual Machine Scale Sets", len(there), 2500))
    value = [
        {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": text}}
        for name, text, used, limit in rows
    ]
    return Answer(200, {"value": value})


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
