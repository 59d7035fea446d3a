"""Edit the model of a scale set: set another image, size or capacity. PURE.

Each `set_*` takes a model from `get_vmss` and returns an Edit with a new model; it raises InvalidInput for a change
that Azure would refuse.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from .._common import arguments
from ..errors import InvalidInput, printable, short_repr
from ..types import Json, JsonDict, Vmss
from . import IMAGE, Path, diff, json_only
from .plain import at

_EXTENSIONS = ("properties", "virtualMachineProfile", "extensionProfile", "extensions")
_OS_DISK = ("properties", "virtualMachineProfile", "storageProfile", "osDisk")
_IMAGE_IDS = ("id", "sharedGalleryImageId", "communityGalleryImageId")
_VERSION = re.compile(r"latest|[0-9]{1,10}\.[0-9]{1,10}\.[0-9]{1,12}")
_GALLERY_VERSION = re.compile(r"(?P<image>.*/images/[^/]+?)(/versions/(?P<version>[^/]+))?/?", re.IGNORECASE)
_MANAGED_IMAGE = re.compile(
    r"(/subscriptions/[^/\s]+/resourceGroups/[^/\s]+/providers/Microsoft\.Compute/"
    r"(images/[^/\s]+|galleries/[^/\s]+/images/[^/\s]+(/versions/[^/\s]+)?)"
    r"|/(SharedGalleries|CommunityGalleries)/[^/\s]+/images/[^/\s]+(/versions/[^/\s]+)?)/?",
    re.IGNORECASE,
)


class Edit(NamedTuple):
    """A new model, and the paths in which it differs from the original; none when nothing changes."""

    model: Vmss
    paths: tuple[str, ...]


def changed_by(model: Vmss, change: Callable[[Vmss], object]) -> tuple[Mapping[str, Any], list[str]]:
    """The model that a function makes of a copy of this one, by itself or as an Edit, and what it warns of."""
    working: Any = copy.deepcopy(model)
    result = change(working)
    changed = result.model if isinstance(result, Edit) else working if result is None else result
    if not isinstance(changed, Mapping):
        raise InvalidInput(f"change must change the model or give one, not {type(changed).__name__}")
    return changed, [str(warning) for warning in getattr(result, "warnings", ())]


@json_only
def set_image_version(model: Mapping[str, Any], version: str) -> Edit:
    """Set another version of the platform or gallery image.

    `model`: as `get_vmss` returned it. `version`: three numbers such as `18.04.202401161`, or `latest`.
    Raises: InvalidInput.
    """
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InvalidInput(
            f"image version must be three numbers such as 18.04.202401161, or 'latest', not {short_repr(version)}"
        )
    image = _image_reference(model)
    for key in _IMAGE_IDS:
        if gallery := _GALLERY_VERSION.fullmatch(str(image.get(key) or "")):
            if key == "id" and "/galleries/" not in image[key].lower():
                raise InvalidInput("this scale set runs a managed image, which has no versions: use set_image_id")
            if (gallery["version"] or "latest").lower() == version:
                return _edit(model, IMAGE, image)
            suffix = "" if version == "latest" else f"/versions/{version}"
            return _edit(model, IMAGE, {key: gallery["image"] + suffix})
    if not image.get("publisher"):
        raise InvalidInput("this scale set does not run a platform or gallery image: use set_image_uri or set_image_id")
    return _edit(model, (*IMAGE, "version"), version)


@json_only
def set_image_sku(model: Mapping[str, Any], sku: str, *, version: str | None = None) -> Edit:
    """Set another SKU of the platform image, and optionally another version.

    `model`: as `get_vmss` returned it. `sku`: such as `2022-datacenter`. `version`: as for `set_image_version`.
    Raises: InvalidInput.
    """
    image = _image_reference(model)
    if not image.get("publisher"):
        raise InvalidInput("only a platform image has a SKU, and this scale set does not run one")
    if not isinstance(sku, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", sku):
        raise InvalidInput(f"image SKU must be a name such as 2022-datacenter, not {short_repr(sku)}")
    with_sku = _edit(model, (*IMAGE, "sku"), sku)
    if version is None:
        return with_sku
    return Edit((edit := set_image_version(with_sku.model, version)).model, with_sku.paths + edit.paths)


@json_only
def set_image_uri(model: Mapping[str, Any], uri: str) -> Edit:
    """Set another custom image by the URI of its VHD blob (`osDisk.image.uri`).

    It is for unmanaged disks, which Azure is retiring. `model`: as `get_vmss` returned it.
    Raises: InvalidInput.
    https://learn.microsoft.com/azure/virtual-machines/unmanaged-disks-deprecation
    """
    if not isinstance(uri, str) or not re.fullmatch(r"https?://[^\s/?#@]+/[^\s?#]+", uri) or not uri.isprintable():
        raise InvalidInput("image URI must be the address of a VHD blob, https://account.blob.…/container/name.vhd")
    disk = at(model, _OS_DISK)
    if not isinstance(disk, dict) or not isinstance(disk.get("image"), dict):
        raise InvalidInput(
            "this scale set does not run a custom image by URI; Azure refuses to change the kind of image"
        )
    return _edit(model, (*_OS_DISK, "image", "uri"), uri)


@json_only
def set_image_id(model: Mapping[str, Any], image_id: str) -> Edit:
    """Set another gallery image, gallery image version or managed image by resource id.

    `model`: as `get_vmss` returned it. `image_id`: with `/versions/latest` or without a version, it means the newest
    version that the region offers.
    Raises: InvalidInput.
    """
    if not isinstance(image_id, str) or not _MANAGED_IMAGE.fullmatch(image_id):
        raise InvalidInput(f"not the resource id of an image or gallery image: {short_repr(image_id, 200)}")
    image = _image_reference(model)
    key = next((key for key in _IMAGE_IDS if image.get(key)), None)
    if key is None:
        raise InvalidInput("this scale set does not run an image by id; Azure refuses to change the kind of image")
    newest = re.sub(r"(/versions/latest)?/?$", "", image_id, flags=re.IGNORECASE)
    if re.sub(r"(/versions/latest)?/?$", "", str(image[key]), flags=re.IGNORECASE) == newest:
        return _edit(model, IMAGE, image)
    return _edit(model, IMAGE, {key: newest})


@json_only
def set_vm_size(model: Mapping[str, Any], size: str) -> Edit:
    """Set another VM size.

    `model`: as `get_vmss` returned it. `size`: such as `Standard_D4s_v5`.
    Raises: InvalidInput.
    """
    if not isinstance(size, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", size):
        raise InvalidInput(f"VM size must be a name such as Standard_D4s_v5, not {short_repr(size)}")
    return _edit(_with_sku(model), ("sku", "name"), size)


@json_only
def set_capacity(model: Mapping[str, Any], capacity: int) -> Edit:
    """Set another number of instances, from 0 to 1000.

    `model`: as `get_vmss` returned it.
    Raises: InvalidInput.
    """
    arguments.whole_number(capacity, "capacity", 0, 1000, "a whole number")
    return _edit(_with_sku(model), ("sku", "capacity"), capacity)


def _with_sku(model: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(at(model, ("sku",)), Mapping):
        raise InvalidInput("this model has no sku: a scale set's model is what get_vmss shows")
    return model


def _image_reference(model: Mapping[str, Any]) -> JsonDict:
    image = at(model, IMAGE)
    if not isinstance(image, dict):
        raise InvalidInput("this model has no virtualMachineProfile.storageProfile.imageReference")
    return image


def _edit(model: Mapping[str, Any], path: Path, value: Json) -> Edit:
    changed = _with(arguments.json_object(model, "model"), path, value)
    return Edit(cast(Vmss, changed), tuple(change.path for change in diff(model, changed)))


def _with(value: Json, path: Path, leaf: Json) -> Json:
    """A copy of `value` in which only the dicts along `path` are new."""
    if not path:
        return leaf
    inner = value.get(path[0]) if isinstance(value, Mapping) else None
    return {**(value if isinstance(value, Mapping) else {}), path[0]: _with(inner, path[1:], leaf)}


@json_only
def image_text(model: Mapping[str, Any]) -> str:
    """The image of a model as one line: `Canonical:UbuntuServer:18.04-LTS:18.04.202401161`.

    `model`: as `get_vmss` returned it.
    Raises: InvalidInput when it cannot be JSON.
    """
    image = at(arguments.json_object(model, "model"), IMAGE)
    if isinstance(image, Mapping) and image.get("publisher"):
        return printable(":".join(str(image.get(key, "")) for key in ("publisher", "offer", "sku", "version")))
    if isinstance(image, Mapping) and (known := next((image[key] for key in _IMAGE_IDS if image.get(key)), None)):
        return printable(known)
    uri = at(model, (*_OS_DISK, "image", "uri"))
    return printable(uri) if uri else "(no image in the model)"


@json_only
def protected_settings_warnings(old: Json, new: Json) -> list[str]:
    """What a change does to protected settings, one line for each extension that it changes.

    No GET shows protected settings, so an extension may have some that the model does not contain.
    https://learn.microsoft.com/azure/virtual-machines/extensions/features-linux#protected-settings
    """
    before, after = _extensions(old), _extensions(new)
    changed = [key for key, extension in before.items() if extension != after.get(key)]
    return [*filter(None, (_protected_settings_warning(before[key], after.get(key)) for key in changed))]


def _extensions(model: Json) -> dict[str, Mapping[str, Any]]:
    """The extensions of a model by name in lower case, since Azure ignores the case."""
    listed = at(model, _EXTENSIONS)
    extensions = listed if isinstance(listed, list) else []
    return {str(extension.get("name")).lower(): extension for extension in extensions if isinstance(extension, Mapping)}


def _protected_settings_warning(old: Mapping[str, Any], new: Mapping[str, Any] | None) -> str:
    name = f"extension {printable(str(old.get('name')), 80)}"
    if new is None:
        return f"{name} is removed with any protected settings that it has, which cannot be restored"
    properties = new.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    if "protectedSettings" in properties and not properties["protectedSettings"]:
        return f"{name} loses any protected settings that it has: an empty object erases them, a missing key does not"
    if {"protectedSettings", "protectedSettingsFromKeyVault"} & set(properties):
        return ""
    return f"{name} keeps any protected settings that it has, which Azure does not show: pass new ones to change them"
