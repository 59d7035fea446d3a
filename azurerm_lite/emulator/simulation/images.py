"""Images: versions of platform images and of galleries, their purchase plans, and the quota of cores."""

from typing import Any

from ..messages import ErrorResponse

Key = tuple[str, str, str]


def _sort_versions(versions: list[str]) -> list[str]:
    """Versions by their numbers, oldest first."""
    return sorted(versions, key=lambda version: [int(part) if part.isdigit() else 0 for part in version.split(".")])


class Images:
    """The catalogue of images, the same in every region; a captured scale set adds its own image.

    `gallery`: versions of gallery images: (resource group, gallery, image) in lower case -> documents, oldest first.
    `cores`: the quota of every region. `plans`: purchase plans of platform images: (publisher, offer, SKU) in lower
    case -> {publisher, product, name}.
    """

    def __init__(self) -> None:
        self._versions: dict[Key, list[str]] = {}
        self._spelling: dict[Key, Key] = {}
        self.gallery: dict[Key, list[dict[str, Any]]] = {}
        self.cores = 1000
        self.plans: dict[Key, dict[str, Any]] = {}

    def publish_gallery(
        self, image_id: str, version: str, *regions: str, exclude_from_latest: bool = False, state: str = "Succeeded"
    ) -> None:
        """Add a version of a gallery image (`image_id`: …/galleries/G/images/I), replicated to these regions."""
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
        """Add versions of a platform image, as if its publisher had just released them."""
        key = (publisher.lower(), offer.lower(), sku.lower())
        self._spelling.setdefault(key, (publisher, offer, sku))
        known = self._versions.setdefault(key, [])
        self._versions[key] = _sort_versions([*known, *(version for version in versions if version not in known)])

    def versions(self, publisher: str, offer: str, sku: str) -> list[str]:
        """The versions of a platform image, oldest first; [] for an unknown image."""
        return self._versions.get((publisher.lower(), offer.lower(), sku.lower()), [])

    def exact_version(self, image: dict[str, Any]) -> str | None:
        """The version that a new instance of this image reference would run; None for no platform image.

        Raises ErrorResponse (404 PlatformImageNotFound) where there is no such version.
        """
        if not image.get("publisher"):
            return None
        names = [str(image.get(key, "")) for key in ("publisher", "offer", "sku", "version")]
        known = self.versions(*names[:3])
        if known and names[3] == "latest":
            return known[-1]
        if names[3] in known:
            return names[3]
        raise ErrorResponse(
            404,
            "PlatformImageNotFound",
            f"The platform image '{':'.join(names)}' is not available. Verify that all fields in the storage profile "
            "are correct. For more details about storage profile information, please refer to "
            "https://aka.ms/storageprofile",
            target="imageReference",
        )

    def exact_version_or_none(self, image: dict[str, Any]) -> str | None:
        """The version that a new instance would run; None where the image has been withdrawn."""
        try:
            return self.exact_version(image)
        except ErrorResponse:
            return None

    def names(self, *prefix: str) -> list[str]:
        """The names below a prefix: all publishers, the offers of a publisher, the SKUs of an offer."""
        lower = tuple(part.lower() for part in prefix)
        return sorted({name[len(lower)] for key, name in self._spelling.items() if key[: len(lower)] == lower})
