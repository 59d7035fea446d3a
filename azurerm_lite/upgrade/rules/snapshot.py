"""What one look at a scale set says: its model, and one InstanceStatus for each instance. PURE.

Unknown health is not health: an instance is available only where everything that reports on it says so. What is not
known to be out of service is not free to take either.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ...types import JsonDict

REPORTS = ("healthy", "unhealthy", "initializing", "unknown")
# What the change makes of the model's health source. "required": it stays, so each instance must report; "arrives": it
# comes with this change; "leaves": it goes; "kept": there is none, before and after. Older journals say "kept" of both.
HealthSource = Literal["kept", "required", "arrives", "leaves"]


class InstanceStatus(NamedTuple):
    """One instance as a list showed it. `health`: what its application reports, "" when nothing does.

    `image`: the exact image that it runs, "" where nothing says so (see `exact_image`); `trouble`: Azure's code and
    message where its provisioning has failed.
    """

    instance_id: str
    vm_id: str
    zone: str
    group: str
    update_domain: int | None
    fault_domain: int | None
    latest: bool
    version: str
    state: str
    power: str
    health: str
    protected: bool
    size: str = ""
    image: str = ""
    trouble: str = ""

    @property
    def fit(self) -> bool:
        """Provisioned, known to run, and healthy by its own report if there is one."""
        return self.state == "Succeeded" and self.power == "running" and self.health in ("", "healthy")

    @property
    def is_running(self) -> bool:
        """Provisioned and known to run, whatever its application says."""
        return self.state == "Succeeded" and self.power == "running"

    @property
    def is_stopped(self) -> bool:
        """Known not to run: stopped, deallocated, evicted."""
        return self.power in ("stopped", "deallocated", "stopping", "deallocating")

    @property
    def settling(self) -> bool:
        """On its way: what it is will show later."""
        return self.state in ("Creating", "Updating", "Deleting") or self.health == "initializing"


class Model(NamedTuple):
    """The model as it was at a snapshot. `fingerprint`: of all of it; `outline`: without what Azure completes.

    `shows`: whether it has every value of the change that is to be written.
    """

    fingerprint: str
    outline: str = ""
    capacity: int = 0
    state: str = "Succeeded"
    shows: bool = False


class Snapshot(NamedTuple):
    """All instances at one moment: the list was begun at `at` and had ended at `ended`.

    `reports`: whether any instance has reported health, now or earlier, so that silence is not health.
    `source`: what the change makes of the model's health source. `model`: None where it was not read.
    `requests`: how many the list took.
    """

    members: dict[str, InstanceStatus]
    at: float
    reports: bool = False
    source: HealthSource = "kept"
    ended: float | None = None
    model: Model | None = None
    requests: int = 1

    @property
    def ended_at(self) -> float:
        """When the list had been read to its end."""
        return self.at if self.ended is None else self.ended

    def expects_report(self, member: InstanceStatus) -> bool:
        """Whether this instance should report its health, so that its silence says that it is not healthy."""
        if self.source == "arrives":
            return member.latest
        if self.source == "required":
            return True
        return self.source == "kept" and self.reports

    def fit(self, member: InstanceStatus) -> bool:
        """Whether an instance is available: running, and healthy by the health source that it has."""
        if self.source == "leaves" and member.latest:
            return member.is_running
        return member.fit and (member.health == "healthy" or not self.expects_report(member))

    def is_free(self, member: InstanceStatus) -> bool:
        """Whether an instance is known to be out of service, so that to take it is no loss."""
        return (
            member.power not in ("", "running")
            or (bool(member.power) and member.health in ("unhealthy", "initializing"))
        ) and not (self.source == "leaves" and member.latest)


def observe(instances: Iterable[Mapping[str, Any]], at: float) -> Snapshot:
    """The members in a list of instances with their instance views, in numeric order."""
    members = [_member(item) for item in instances if isinstance(item, dict) and item.get("instanceId")]
    members.sort(key=lambda member: natural(member.instance_id))
    return Snapshot({member.instance_id: member for member in members}, at, any(one.health for one in members))


def behind(seen: Snapshot) -> Snapshot:
    """The same instances, once the model has moved on."""
    return seen._replace(members={key: member._replace(latest=False) for key, member in seen.members.items()})


def natural(text: str) -> tuple[int, int, str]:
    """Numbers as numbers, names after them."""
    return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def _member(instance: Mapping[str, Any]) -> InstanceStatus:
    properties = _object(instance.get("properties"))
    view = _object(properties.get("instanceView"))
    storage = _object(properties.get("storageProfile"))
    zones = instance.get("zones")
    health = _reported(view)
    return InstanceStatus(
        str(instance["instanceId"]),
        str(properties.get("vmId") or ""),
        str(zones[0]) if isinstance(zones, list) and zones and zones[0] is not None else "",
        str(view.get("placementGroupId") or ""),
        _number(view.get("platformUpdateDomain")),
        _number(view.get("platformFaultDomain")),
        properties.get("latestModelApplied") is True,
        image_version(_object(storage.get("imageReference"))),
        str(properties.get("provisioningState") or ""),
        _power(view.get("statuses")),
        health if health in REPORTS or not health else "unknown",
        _object(properties.get("protectionPolicy")).get("protectFromScaleSetActions") is True,
        str(_object(properties.get("hardwareProfile")).get("vmSize") or _object(instance.get("sku")).get("name") or ""),
        exact_image(storage),
        _trouble(view.get("statuses")) if properties.get("provisioningState") == "Failed" else "",
    )


# --- images ----------------------------------------------------------------------------------------------------------


def image_version(image: Mapping[str, Any]) -> str:
    """What an image reference says of the version: its number where there is one, else the id of the image."""
    if said := image.get("exactVersion") or image.get("version"):
        return str(said)
    resource = str(image.get("id") or "")
    return resource.rpartition("/versions/")[2] if "/versions/" in resource else resource


def exact_image(storage: Mapping[str, Any]) -> str:
    """The exact image of a storage profile as one text, "" where it does not say; `reference_of` turns it back.

    A platform image is publisher:offer:sku:version, any other the id of one version.
    """
    image = _object(storage.get("imageReference"))
    if image.get("publisher") and image.get("exactVersion"):
        return f"{image['publisher']}:{image.get('offer', '')}:{image.get('sku', '')}:{image['exactVersion']}"
    exact = str(image.get("exactVersion") or image.get("version") or "")
    exact = "" if exact.lower() == "latest" else exact
    if image.get("publisher"):
        return ":".join([*(str(image.get(key, "")) for key in ("publisher", "offer", "sku")), exact]) if exact else ""
    for key in ("id", "sharedGalleryImageId", "communityGalleryImageId"):
        if resource := str(image.get(key) or ""):
            return _exact_resource(resource, exact, of_gallery=key != "id" or "/galleries/" in resource.lower())
    uri = _object(_object(storage.get("osDisk")).get("image")).get("uri")
    return str(uri or "")


def _exact_resource(resource: str, exact: str, *, of_gallery: bool) -> str:
    """The id of one version of a gallery image, or of a managed image, which is exact by itself."""
    name, _, version = resource.partition("/versions/")
    version = "" if version.lower() == "latest" else version
    if not of_gallery:
        return resource
    return f"{name}/versions/{version or exact}" if version or exact else ""


def reference_of(image: str) -> JsonDict:
    """The image reference that names this exact image in a model; {} for an image by URI."""
    if image.lower().startswith(("http://", "https://")):
        return {}
    if image.startswith("/"):
        first = image.split("/")[1].lower()
        key = {"sharedgalleries": "sharedGalleryImageId", "communitygalleries": "communityGalleryImageId"}
        return {key.get(first, "id"): image}
    publisher, offer, sku, version = image.split(":", 3)
    return {"publisher": publisher, "offer": offer, "sku": sku, "version": version}


# --- statuses --------------------------------------------------------------------------------------------------------


def _power(statuses: Any) -> str:
    for status in statuses if isinstance(statuses, list) else ():
        code = _object(status).get("code")
        if isinstance(code, str) and code.startswith("PowerState/"):
            return code[11:]
    return ""


def _trouble(statuses: Any) -> str:
    """Azure's code and message of a provisioning that failed."""
    for status in statuses if isinstance(statuses, list) else ():
        found = _object(status)
        code = found.get("code")
        if isinstance(code, str) and code.startswith("ProvisioningState/failed/"):
            return f"{code.rpartition('/')[2]}: {found.get('message') or ''}".rstrip(": ")
    return ""


def _reported(view: JsonDict) -> str:
    """The last part of HealthState/healthy, "" when nothing reports."""
    if "vmHealth" not in view:
        return ""
    code = _object(_object(view["vmHealth"]).get("status")).get("code", "")
    return str(code).rpartition("/")[2].lower()


_NOTHING: JsonDict = {}


def _object(value: Any) -> JsonDict:
    return value if isinstance(value, dict) else _NOTHING


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
