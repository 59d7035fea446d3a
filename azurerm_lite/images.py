"""Image versions and quota: what an upgrade can go to. One function for each endpoint, and `resolve_image_version`.

https://learn.microsoft.com/rest/api/compute/virtual-machine-images
"""

from collections.abc import Iterable
from typing import Any, cast

from . import wire
from .arm import Auth, arm_of
from .errors import NotFoundError
from .secrecy import conceal_tokens
from .types import ImageVersion, JsonDict

GALLERY_API_VERSION = "2023-07-03"


def _sku(subscription_id: str, location: str, publisher: str, offer: str, sku: str) -> str:
    subscription = wire.subscription_segment(subscription_id)
    names = {"location": location, "publisher": publisher, "offer": offer, "SKU": sku}
    place, maker, product, kind = (wire.segment(value, what) for what, value in names.items())
    return (
        f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{place}/publishers/{maker}"
        f"/artifacttypes/vmimage/offers/{product}/skus/{kind}"
    )


def _number(version: str) -> list[int]:
    return [int(part) if part.isdigit() else -1 for part in version.split(".")]


def in_order(versions: Iterable[str]) -> list[str]:
    """Versions from the oldest to the newest: by number, so that 1.0.10 comes after 1.0.9."""
    return sorted(versions, key=_number)


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
    """The versions of a platform image that a region offers, oldest first.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-images/list
    """
    path = f"{_sku(subscription_id, location, publisher, offer, sku)}/versions"
    versions = arm_of(auth).get_list(path, api_version=api_version)
    return in_order(str(version["name"]) for version in versions if version.get("name"))


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
    """One version of a platform image: its plan, operating system and generation.

    https://learn.microsoft.com/rest/api/compute/virtual-machine-images/get
    """
    path = f"{_sku(subscription_id, location, publisher, offer, sku)}/versions/{wire.segment(version, 'version')}"
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
    """The concrete version that `latest` stands for now, or the version itself once it is known to exist.

    Pin it: a model that says `latest` shows no difference when a newer image appears.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-upgrade-policy
    """
    where = (subscription_id, location, publisher, offer, sku)
    known = list_image_versions(auth, *where, api_version=api_version)
    if known and version == "latest":
        return known[-1]
    if version in known:
        return version
    newest = f"; the newest is {known[-1]}" if known else "; there is no version of it at all"
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
    """The versions of a gallery image, with `excludeFromLatest` and target regions in their publishing profile.

    https://learn.microsoft.com/rest/api/compute/gallery-image-versions/list-by-gallery-image
    """
    group = f"/subscriptions/{wire.subscription_segment(subscription_id)}/resourceGroups"
    names = f"galleries/{wire.segment(gallery, 'gallery')}/images/{wire.segment(image, 'image')}"
    path = f"{group}/{wire.resource_group_segment(resource_group)}/providers/Microsoft.Compute/{names}/versions"
    return arm_of(auth).list(path, api_version=api_version)


def newest_gallery_version(versions: Iterable[JsonDict], location: str) -> str | None:
    """The version that `latest` means in a region: replicated there, finished, and not excluded from latest."""
    region = wire.region(location)
    fit = [str(one["name"]) for one in versions if _offered(one.get("properties") or {}, region)]
    return in_order(fit)[-1] if fit else None


def _offered(properties: dict[str, Any], region: str) -> bool:
    profile = properties.get("publishingProfile") or {}
    regions = [one for one in profile.get("targetRegions") or [] if wire.region(one.get("name")) == region]
    excluded = profile.get("excludeFromLatest") or any(one.get("excludeFromLatest") for one in regions)
    return bool(regions) and not excluded and properties.get("provisioningState") == "Succeeded"


def list_usages(
    auth: Auth, /, subscription_id: str, location: str, *, api_version: str | None = None
) -> list[JsonDict]:
    """How much of each quota a subscription has used in a region: cores for a surge, for one.

    https://learn.microsoft.com/rest/api/compute/usage/list
    """
    subscription, place = wire.subscription_segment(subscription_id), wire.segment(location, "location")
    path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{place}/usages"
    return arm_of(auth).list(path, api_version=api_version)


conceal_tokens(globals(), arm_of)
