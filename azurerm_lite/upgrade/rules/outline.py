"""A model without what Azure completes by itself, so that a write can be told from what it looks like afterwards. PURE.

What Azure adds to a model that was written is listed here, each with its source; whatever else differs was written by
somebody else.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ... import model

# Leaves that a write fills in with these values where the model had none: "" stands for any value.
# https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-sets/create-or-update
_COMPLETED: Mapping[str, Any] = {
    "requireGuestProvisionSignal": True,
    "allowExtensionOperations": True,
    "provisionVMAgent": True,
    "enableVMAgentPlatformUpdates": False,
    "enableAutomaticUpdates": True,
    "osType": "",
    "diskControllerType": "",
    "timeCreated": "",
    "uniqueId": "",
    "principalId": "",
    "tenantId": "",
    "clientId": "",
    "userAssignedIdentities": "",
    "deleteOption": "",
    "enableAcceleratedNetworking": False,
    "disableTcpStateTracking": False,
    "enableIPForwarding": False,
    "assessmentMode": "ImageDefault",
    "patchMode": "ImageDefault",
    "privateIPAddressVersion": "IPv4",
    "exactVersion": "",
    "writeAcceleratorEnabled": False,
}


def outline(document: Mapping[str, Any]) -> str:
    """A short hash of a model that is the same before and after Azure has completed it.

    Read-only fields, secrets, tags and capacity count as little as in `model.fingerprint`, and neither do empty parts,
    `securityType: Standard`, and the listed defaults.
    """
    kept: Any = model.without_secrets(model.without_read_only(document))
    kept.pop("tags", None)
    kept["sku"] = {key: value for key, value in (kept.get("sku") or {}).items() if key != "capacity"}
    text = json.dumps(_plain(kept), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {key: _plain(item) for key, item in value.items() if not _is_completed(str(key), item)}
        return {key: item for key, item in inner.items() if item not in (None, {}, [], "")}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def _is_completed(key: str, value: Any) -> bool:
    if key == "securityProfile" and isinstance(value, Mapping):
        return str(value.get("securityType", "")).lower() == "standard"
    if key not in _COMPLETED:
        return False
    default = _COMPLETED[key]
    same = value.lower() == default.lower() if isinstance(value, str) and isinstance(default, str) else value == default
    return default == "" or same
