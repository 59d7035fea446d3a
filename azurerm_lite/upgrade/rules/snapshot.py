"""A snapshot of a scale set: its model, and one InstanceStatus for each instance. PURE.

Unknown health is not healthy: an instance is available only if its states and its health source say so. Neither does
unknown health mean out of service.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ...types import JsonDict

REPORTS = ("healthy", "unhealthy", "initializing", "unknown")
# How the change affects the model's health source. "required": it stays, so each instance must report; "arrives": the
# change adds it; "leaves": the change removes it; "kept": there is none. Older journals use "kept" for "required" too.
HealthSource = Literal["kept", "required", "arrives", "leaves"]


class InstanceStatus(NamedTuple):
    """One instance in a list. `health`: the health that its application reports, "" without a report.

    `image`: its exact image, "" if unknown (see `exact_image`); `trouble`: Azure's code and message if its
    provisioning has failed.
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
    def is_healthy(self) -> bool:
        """Whether it is provisioned, running, and not reported as anything but healthy."""
        return self.state == "Succeeded" and self.power == "running" and self.health in ("", "healthy")

    @property
    def is_running(self) -> bool:
        """Whether it is provisioned and running, independent of its health."""
        return self.state == "Succeeded" and self.power == "running"

    @property
    def is_stopped(self) -> bool:
        """Whether it is known not to run: stopped, deallocated or evicted."""
        return self.power in ("stopped", "deallocated", "stopping", "deallocating")

    @property
    def is_settling(self) -> bool:
        """Whether it is changing or initializing, so that its final state is not known yet."""
        return self.state in ("Creating", "Updating", "Deleting") or self.health == "initializing"


class Model(NamedTuple):
    """The model at a snapshot. `fingerprint`: of the whole model; `outline`: without the fields that Azure completes.

    `shows`: whether it has every value of the change.
    """

    fingerprint: str
    outline: str = ""
    capacity: int = 0
    state: str = "Succeeded"
    shows: bool = False


class Snapshot(NamedTuple):
    """All instances at one time: the list began at `at` and ended at `ended`.

    `reports`: whether any instance has reported health, now or earlier; then an instance without a report is not
    healthy. `source`: how the change affects the health source. `model`: None if it was not read. `requests`: the
    number of requests for the list.
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
        """The time when the list was complete."""
        return self.at if self.ended is None else self.ended

    def expects_report(self, instance: InstanceStatus) -> bool:
        """Whether an instance must report its health to count as healthy."""
        if self.source == "arrives":
            return instance.latest
        if self.source == "required":
            return True
        return self.source == "kept" and self.reports

    def is_available(self, instance: InstanceStatus) -> bool:
        """Whether an instance is running, and healthy by its health source."""
        if self.source == "leaves" and instance.latest:
            return instance.is_running
        return instance.is_healthy and (instance.health == "healthy" or not self.expects_report(instance))

    def is_free(self, instance: InstanceStatus) -> bool:
        """Whether an instance is known to be out of service, so that an upgrade makes no fewer available."""
        return (
            instance.power not in ("", "running")
            or (bool(instance.power) and instance.health in ("unhealthy", "initializing"))
        ) and not (self.source == "leaves" and instance.latest)


def observe(instances: Iterable[Mapping[str, Any]], at: float) -> Snapshot:
    """Return the snapshot of a list of instances with instance views, in numeric order."""
    statuses = [_instance_status(item) for item in instances if isinstance(item, dict) and item.get("instanceId")]
    statuses.sort(key=lambda status: natural(status.instance_id))
    return Snapshot(
        {status.instance_id: status for status in statuses}, at, any(instance.health for instance in statuses)
    )


def behind(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with all instances outdated."""
    return snapshot._replace(
        members={key: instance._replace(latest=False) for key, instance in snapshot.members.items()}
    )


def natural(text: str) -> tuple[int, int, str]:
    """Return a sort key: ids that are numbers by value, then names."""
    return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def _instance_status(instance: Mapping[str, Any]) -> InstanceStatus:
    properties = _object(instance.get("properties"))
    view = _object(properties.get("instanceView"))
    storage = _object(properties.get("storageProfile"))
    zones = instance.get("zones")
    health = _read_health(view)
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


# --- images -----------------------------------------------------------------------------------------------------------


def image_version(image: Mapping[str, Any]) -> str:
    """Return the version in an image reference, or the id of the image without one."""
    if version := image.get("exactVersion") or image.get("version"):
        return str(version)
    resource = str(image.get("id") or "")
    return resource.rpartition("/versions/")[2] if "/versions/" in resource else resource


def exact_image(storage: Mapping[str, Any]) -> str:
    """Return the exact image of a storage profile as one text, "" if unknown; `reference_of` is the inverse.

    A platform image is publisher:offer:sku:version; other images are the id of one version.
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
    """Return the id of one version of a gallery image, or the id of a managed image."""
    name, _, version = resource.partition("/versions/")
    version = "" if version.lower() == "latest" else version
    if not of_gallery:
        return resource
    return f"{name}/versions/{version or exact}" if version or exact else ""


def reference_of(image: str) -> JsonDict:
    """Return the image reference of this exact image for a model; {} for an image by URI."""
    if image.lower().startswith(("http://", "https://")):
        return {}
    if image.startswith("/"):
        first = image.split("/")[1].lower()
        key = {"sharedgalleries": "sharedGalleryImageId", "communitygalleries": "communityGalleryImageId"}
        return {key.get(first, "id"): image}
    publisher, offer, sku, version = image.split(":", 3)
    return {"publisher": publisher, "offer": offer, "sku": sku, "version": version}


# --- statuses ---------------------------------------------------------------------------------------------------------


def _power(statuses: Any) -> str:
    for status in statuses if isinstance(statuses, list) else ():
        code = _object(status).get("code")
        if isinstance(code, str) and code.startswith("PowerState/"):
            return code[11:]
    return ""


def _trouble(statuses: Any) -> str:
    """Return Azure's code and message for a failed provisioning."""
    for status in statuses if isinstance(statuses, list) else ():
        fields = _object(status)
        code = fields.get("code")
        if isinstance(code, str) and code.startswith("ProvisioningState/failed/"):
            return f"{code.rpartition('/')[2]}: {fields.get('message') or ''}".rstrip(": ")
    return ""


def _read_health(view: JsonDict) -> str:
    """Return the last part of HealthState/healthy, "" without a report."""
    if "vmHealth" not in view:
        return ""
    code = _object(_object(view["vmHealth"]).get("status")).get("code", "")
    return str(code).rpartition("/")[2].lower()


_NOTHING: JsonDict = {}


def _object(value: Any) -> JsonDict:
    return value if isinstance(value, dict) else _NOTHING


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
