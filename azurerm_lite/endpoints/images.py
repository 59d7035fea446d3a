"""Image versions and quotas: one function per endpoint, and `resolve_image_version`.

Shared arguments, results and errors are described in `azurerm_lite.endpoints.vmss`.
https://learn.microsoft.com/rest/api/compute/virtual-machine-images
"""

import re
from collections.abc import Iterable
from typing import cast

from .._common import arguments
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..errors import NotFoundError
from ..model.plain import at
from ..types import ImageVersion, JsonDict

GALLERY_API_VERSION = "2023-07-03"


def _sku_path(subscription_id: str, location: str, publisher: str, offer: str, sku: str) -> str:
    subscription = wire.subscription_segment(subscription_id)
    names = {"location": location, "publisher": publisher, "offer": offer, "SKU": sku}
    region, publisher, offer, sku = (wire.segment(value, what) for what, value in names.items())
    return (
        f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/publishers/{publisher}"
        f"/artifacttypes/vmimage/offers/{offer}/skus/{sku}"
    )


def _numbers(version: str) -> list[int]:
    return [int(part) if re.fullmatch("[0-9]{1,19}", part) else -1 for part in version.split(".")]


def sort_versions(versions: Iterable[str]) -> list[str]:
    """Sort versions from oldest to newest, by number: 1.0.10 comes after 1.0.9."""
    return sorted(versions, key=_numbers)


def list_image_versions(
    auth: Auth,
    /,
    subscription_id: str,
    location: str,
    publisher: str,
    offer: str,
    sku: str,
    *,
    api_version: str | None = None,
) -> list[str]:
    """List the versions of a platform image in a region, oldest first.

    `location`: such as `westeurope`; the other arguments are those of an image reference.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-images/list
    """
    path = f"{_sku_path(subscription_id, location, publisher, offer, sku)}/versions"
    versions = arm_of(auth).get_list(path, api_version=api_version)
    return sort_versions(str(version["name"]) for version in versions if version.get("name"))


def get_image_version(
    auth: Auth,
    /,
    subscription_id: str,
    location: str,
    publisher: str,
    offer: str,
    sku: str,
    version: str,
    *,
    api_version: str | None = None,
) -> ImageVersion:
    """Get one version of a platform image, with its plan, operating system and generation.

    `version`: an exact one, such as `22.04.202608150`; `latest` is not accepted here.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-images/get
    """
    path = f"{_sku_path(subscription_id, location, publisher, offer, sku)}/versions/{wire.segment(version, 'version')}"
    return cast(ImageVersion, arm_of(auth).get(path, api_version=api_version))


def resolve_image_version(
    auth: Auth,
    /,
    subscription_id: str,
    location: str,
    publisher: str,
    offer: str,
    sku: str,
    version: str = "latest",
    *,
    api_version: str | None = None,
) -> str:
    """Find the exact version that `latest` means now, or confirm that a version exists.

    Write the result into the model: a model with `latest` shows no change when a newer image appears.
    Raises: NotFoundError when there is no such version, InvalidInput, another ArmError, TransportError.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    image = (subscription_id, location, publisher, offer, sku)
    arguments.typed(str, version=version)
    versions = list_image_versions(auth, *image, api_version=api_version)
    if versions and version.lower() == "latest":
        return versions[-1]
    if version in versions:
        return version
    newest = f"; the newest is {versions[-1]}" if versions else "; there is no version of it at all"
    raise NotFoundError(
        f"{publisher}:{offer}:{sku}:{version} does not exist in {location}{newest}", code="PlatformImageNotFound"
    )


def list_gallery_image_versions(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    gallery: str,
    image: str,
    *,
    api_version: str | None = GALLERY_API_VERSION,
) -> list[JsonDict]:
    """List the versions of a gallery image, each with its publishing profile.

    Each is `{"name": ..., "properties": {"publishingProfile": {"excludeFromLatest": ..., "targetRegions": [...]},
    ...}}`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/gallery-image-versions/list-by-gallery-image
    """
    group = f"/subscriptions/{wire.subscription_segment(subscription_id)}/resourceGroups"
    names = f"galleries/{wire.segment(gallery, 'gallery')}/images/{wire.segment(image, 'image')}"
    path = f"{group}/{wire.resource_group_segment(resource_group)}/providers/Microsoft.Compute/{names}/versions"
    return arm_of(auth).list(path, api_version=api_version)


def newest_gallery_version(versions: Iterable[JsonDict], location: str) -> str | None:
    """Find the version that `latest` means in a region, or None: the highest that is offered there.

    A version is offered when it is replicated to the region, provisioned, and not excluded from latest. `versions`:
    from `list_gallery_image_versions`, `[{"name": ..., "properties": {...}}, ...]`. `location`: such as `westeurope`.
    Raises: InvalidInput for arguments of other types; a version that lacks a field is skipped.
    """
    arguments.typed(str, location=location)
    items = [arguments.json_object(item, "each version") for item in arguments.sequence(versions, "versions", "[...]")]
    offered = [item for item in items if _is_offered(item.get("properties"), wire.region(location))]
    names = [str(item["name"]) for item in offered if item.get("name")]
    return sort_versions(names)[-1] if names else None


def _is_offered(properties: object, region: str) -> bool:
    profile = at(properties, ("publishingProfile",))
    sites = at(profile, ("targetRegions",))
    regions = [site for site in sites if wire.region(at(site, ("name",))) == region] if isinstance(sites, list) else []
    is_excluded = any(at(part, ("excludeFromLatest",)) for part in [profile, *regions])
    return bool(regions) and not is_excluded and at(properties, ("provisioningState",)) == "Succeeded"


def list_usages(
    auth: Auth, /, subscription_id: str, location: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """List the quotas of a subscription in a region, and how much of each is used.

    Each is `{"name": {"value": "cores", ...}, "currentValue": ..., "limit": ..., "unit": "Count"}`.
    Raises: InvalidInput, NotFoundError, another ArmError, TransportError.
    https://learn.microsoft.com/rest/api/compute/usage/list
    """
    subscription, region = wire.subscription_segment(subscription_id), wire.segment(location, "location")
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/usages"
    return arm_of(auth).list(path, api_version=api_version)


conceal_functions(globals())
