"""What a list of instances says: one Member for each, and whether it is fit to serve. PURE.

Unknown health is not health: an instance counts as healthy only where everything that reports on it says so.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..types import JsonDict

REPORTS = ("healthy", "unhealthy", "initializing", "unknown")


class Member(NamedTuple):
    """One instance as it was seen. `health`: what its application reports, "" when nothing does.

    `trouble`: Azure's code and message where its provisioning has failed.
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
    trouble: str = ""

    @property
    def fit(self) -> bool:
        """Provisioned, running, and well by its own report if there is one."""
        return self.state == "Succeeded" and self.power in ("running", "") and self.health in ("", "healthy")

    @property
    def settling(self) -> bool:
        """On its way: what it is will show later."""
        return self.state in ("Creating", "Updating", "Deleting") or self.health == "initializing"


class Observation(NamedTuple):
    """All instances at one moment. `reports`: whether a health source exists, so that silence is not health.

    `arrives`: it came with the model that instances are being brought to, so that the others cannot report.
    """

    members: dict[str, Member]
    at: float
    reports: bool = False
    arrives: bool = False

    def fit(self, member: Member) -> bool:
        expected = self.reports and (member.latest or not self.arrives)
        return (member.health == "healthy" or not expected) and member.fit


def observe(instances: Iterable[Mapping[str, Any]], at: float) -> Observation:
    """The members in a list of instances with their instance views, in numeric order."""
    found = [_member(one) for one in instances if isinstance(one, dict) and one.get("instanceId")]
    found.sort(key=lambda one: natural(one.instance_id))
    return Observation({one.instance_id: one for one in found}, at, any(one.health for one in found))


def behind(seen: Observation) -> Observation:
    """The same instances, once the model has moved on."""
    return seen._replace(members={key: one._replace(latest=False) for key, one in seen.members.items()})


def natural(text: str) -> tuple[int, int, str]:
    """Numbers as numbers, names after them."""
    return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def _member(instance: Mapping[str, Any]) -> Member:
    properties = _object(instance.get("properties"))
    view = _object(properties.get("instanceView"))
    image = _object(_object(properties.get("storageProfile")).get("imageReference"))
    zones = instance.get("zones")
    health = _reported(view)
    return Member(
        str(instance["instanceId"]),
        str(properties.get("vmId") or ""),
        str(zones[0] or "") if isinstance(zones, list) and zones else "",
        str(view.get("placementGroupId") or ""),
        _number(view.get("platformUpdateDomain")),
        _number(view.get("platformFaultDomain")),
        properties.get("latestModelApplied") is True,
        image_version(image),
        str(properties.get("provisioningState") or ""),
        _power(view.get("statuses")),
        health if health in REPORTS or not health else "unknown",
        _object(properties.get("protectionPolicy")).get("protectFromScaleSetActions") is True,
        str(_object(properties.get("hardwareProfile")).get("vmSize") or _object(instance.get("sku")).get("name") or ""),
        _trouble(view.get("statuses")),
    )


def image_version(image: Mapping[str, Any]) -> str:
    """What an image reference says of the version: its number where there is one, else the id of the image."""
    if said := image.get("exactVersion") or image.get("version"):
        return str(said)
    resource = str(image.get("id") or "")
    return resource.rpartition("/versions/")[2] if "/versions/" in resource else resource


def _power(statuses: Any) -> str:
    for one in statuses if isinstance(statuses, list) else ():
        code = _object(one).get("code")
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
