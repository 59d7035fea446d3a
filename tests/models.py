"""Models of scale sets for tests: all recorded ones, shapes of our own, and edits of them."""

import copy
import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

DATA = os.environ.get("AZURERM_LITE_ARM_DATA", "")
_SET = re.compile(r"/virtualmachinescalesets/[^/?]+$", re.IGNORECASE)
PROFILE = ("properties", "virtualMachineProfile")


@functools.cache
def recorded() -> tuple[dict[str, Any], ...]:
    """Every model that recorded Azure showed: answers to GET, PUT and PATCH of a scale set."""
    return tuple(_recorded())


def _recorded() -> Iterator[dict[str, Any]]:
    texts = set()
    for path in sorted(Path(DATA, "traffic").glob("*.json")) if DATA else ():
        for exchange in json.loads(path.read_text(encoding="utf-8"))["interactions"]:
            body = exchange["response"]["body"]
            if _SET.search(exchange["request"]["path"].partition("?")[0]) and isinstance(body, dict):
                text = json.dumps(body, sort_keys=True)
                if "properties" in body and text not in texts:
                    texts.add(text)
                    yield body


def built(mode: str = "Rolling", **top: Any) -> dict[str, Any]:
    """A model in which every part stands that a PATCH treats in its own way."""
    group = "/subscriptions/s/resourceGroups/rg/providers"
    users = {f"{group}/Microsoft.ManagedIdentity/userAssignedIdentities/{name}": {"clientId": name} for name in "ab"}
    address = {"name": "ip", "properties": {"subnet": {"id": f"{group}/Microsoft.Network/x"}}}
    return {
        "id": f"{group}/Microsoft.Compute/virtualMachineScaleSets/web",
        "location": "westus2",
        "tags": {"team": "shop", "cost-centre": "4711"},
        "sku": {"name": "Standard_D2s_v3", "tier": "Standard", "capacity": 5},
        "identity": {"type": "SystemAssigned, UserAssigned", "principalId": "p", "userAssignedIdentities": users},
        "plan": {"name": "n", "publisher": "p", "product": "x"},
        "zones": ["1", "2"],
        "etag": '"3"',
        "properties": {
            "overprovision": False,
            "provisioningState": "Succeeded",
            "upgradePolicy": {"mode": mode, "rollingUpgradePolicy": {"maxBatchInstancePercent": 20, "maxSurge": True}},
            "scaleInPolicy": {"rules": ["OldestVM"], "forceDeletion": True},
            "virtualMachineProfile": {
                "osProfile": {"computerNamePrefix": "web", "linuxConfiguration": {"provisionVMAgent": True}},
                "securityProfile": {"securityType": "TrustedLaunch", "uefiSettings": {"vTpmEnabled": True}},
                "storageProfile": {
                    "osDisk": {
                        "osType": "Linux",
                        "createOption": "FromImage",
                        "diskSizeGB": 128,
                        "managedDisk": {"storageAccountType": "Premium_LRS"},
                    },
                    "imageReference": {
                        "publisher": "P",
                        "offer": "O",
                        "sku": "S",
                        "version": "1.0.0",
                        "exactVersion": "1.0.0",
                    },
                    "dataDisks": [{"lun": 0, "createOption": "Empty", "diskSizeGB": 512}],
                },
                "networkProfile": {
                    "healthProbe": {"id": f"{group}/Microsoft.Network/loadBalancers/lb/probes/p"},
                    "networkInterfaceConfigurations": [{"name": "nic", "properties": {"ipConfigurations": [address]}}],
                },
                "extensionProfile": {"extensions": [{"name": "s", "properties": {"settings": {"a": 1}}}]},
            },
        },
        **top,
    }


def models() -> st.SearchStrategy[dict[str, Any]]:
    """Recorded models, where there are any, and built ones in every mode."""
    every = [*recorded(), *map(built, ("Manual", "Rolling", "Automatic", "rolling"))]
    return st.sampled_from(every).map(copy.deepcopy)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a document, objects and items of lists included."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield (*above, key)
        yield from places(inner, (*above, key))


def holder(document: Any, place: tuple[Any, ...]) -> Any:
    """What holds the value at a place."""
    for key in place[:-1]:
        document = document[key]
    return document
