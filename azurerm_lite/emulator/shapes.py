"""The types of the values of a model and an instance that the emulator reads; all others may be anything.

A seed comes from a file, and a value of another type would break a request much later.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Shape = Any  # a test of a value, {"name": shape} for an object, [shape] for a list of them


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _switch(value: Any) -> bool:
    return isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100_000


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _settings(value: Any) -> bool:
    """An object, or the text that recordings have in its place."""
    return isinstance(value, Mapping | str)


def _zones(value: Any) -> bool:
    """A list of zones; Azure shows `[null]` for no zone in lists of regional Flexible sets."""
    return isinstance(value, list) and all(zone is None or isinstance(zone, str) for zone in value)


def _map(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(test, value.values()))


_IMAGE: Shape = dict.fromkeys(("publisher", "offer", "sku", "version", "exactVersion", "id"), _text)
_STORAGE: Shape = {"imageReference": _IMAGE, "osDisk": {"diffDiskSettings": {}, "image": {}}, "dataDisks": [{}]}
_EXTENSION: Shape = {"name": _text, "properties": {"publisher": _text, "type": _text, "settings": _settings}}
_IP: Shape = {"name": _text, "properties": {"loadBalancerBackendAddressPools": [{}]}}
_NIC: Shape = {"name": _text, "properties": {"ipConfigurations": [_IP]}}
_PROFILE: Shape = {
    "storageProfile": _STORAGE,
    "osProfile": {"computerNamePrefix": _text, "linuxConfiguration": {}, "windowsConfiguration": {}, "secrets": [{}]},
    "networkProfile": {"networkInterfaceConfigurations": [_NIC], "healthProbe": {"id": _text}},
    "extensionProfile": {"extensions": [_EXTENSION]},
    "scheduledEventsProfile": {},
    "securityProfile": {},
    "priority": _text,
    "evictionPolicy": _text,
}
MODEL: Shape = {
    **dict.fromkeys(("id", "name", "type", "location", "etag"), _text),
    "tags": _map(_text),
    "sku": {"name": _text, "tier": _text, "capacity": _count},
    "zones": _zones,
    "plan": {},
    "identity": {"type": _text, "userAssignedIdentities": {}},
    "properties": {
        "orchestrationMode": _text,
        "provisioningState": _text,
        "singlePlacementGroup": _switch,
        "overprovision": _switch,
        "platformFaultDomainCount": _count,
        "upgradePolicy": {
            "mode": _text,
            "rollingUpgradePolicy": {},
            "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": _switch},
        },
        "automaticRepairsPolicy": {"enabled": _switch},
        "virtualMachineProfile": _PROFILE,
    },
}
_STATUS: Shape = {"code": _text, "level": _text}
_VIEW: Shape = {
    "statuses": [_STATUS],
    "vmHealth": {"status": _STATUS},
    "platformUpdateDomain": _count,
    "platformFaultDomain": _count,
    "placementGroupId": _text,
}
INSTANCE: Shape = {
    **dict.fromkeys(("id", "name", "location", "etag"), _text),
    "instanceId": _scalar,
    "sku": {"name": _text, "tier": _text},
    "zones": _zones,
    "tags": _map(_text),
    "properties": {
        "latestModelApplied": _switch,
        "provisioningState": _text,
        "vmId": _text,
        "storageProfile": _STORAGE,
        "instanceView": _VIEW,
        "protectionPolicy": {},
        "networkProfile": {},
        "networkProfileConfiguration": {},
    },
}


def wrong_types(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """The paths of values of another type than the shape says; null and absent values are right everywhere."""
    if value is None:
        return
    if isinstance(shape, dict):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            yield path
            return
        for key, inner in shape.items():
            yield from wrong_types(value.get(key), inner, f"{path}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield path
            return
        for number, item in enumerate(value):
            yield from wrong_types(item, shape[0], f"{path}[{number}]") if item is not None else (f"{path}[{number}]",)
    elif not shape(value):
        yield path
