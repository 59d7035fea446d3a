"""azurerm's names for scale sets: `import azurerm_lite.azurerm_names as azurerm`, and old scripts run.

What is read is a dict as before, lists under "value"; what is written gives an answer with status_code, text, json().
Three things are not as they were: a refusal by Azure raises ArmError instead of coming back as if it were data; a model
that is written back carries its etag, so that nobody's change is lost; and the token may be any credential or an Arm.
docs/coming-from-azurerm.md has the new name of each function.
"""

import json
from collections.abc import Mapping
from typing import Any

from . import images, rolling_upgrades, vmss, vmss_vm, vmss_vms, wire
from .arm import Auth, arm_of
from .credentials import azure_cli_credential
from .credentials import get_access_token as get_access_token  # noqa: PLC0414
from .errors import InvalidInput
from .operation import Operation
from .types import Ids, JsonDict

NETWORK_API = "2023-09-01"
_SCOPE = "https://management.azure.com/.default"


class Response:
    """What a write was answered, as far as scripts looked at requests' own Response. `operation` can be waited for."""

    def __init__(self, operation: Operation | None, status_code: int, body: Any = None) -> None:
        self.operation, self.status_code, self._body = operation, status_code, body
        self.ok, self.reason = True, {200: "OK", 202: "Accepted"}.get(status_code, "OK")

    @property
    def text(self) -> str:
        return "" if self._body is None else json.dumps(self._body)

    @property
    def content(self) -> bytes:
        return self.text.encode()

    def json(self) -> Any:
        return self._body

    def raise_for_status(self) -> None:
        """Nothing to raise: what Azure refuses has raised by now."""

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


def _answered(operation: Operation) -> Response:
    if operation.method in ("PUT", "PATCH"):
        return Response(operation, 200, operation.resource)
    return Response(operation, 202)


def _object(body: str | bytes | Mapping[str, Any], what: str) -> JsonDict:
    """A body as scripts gave it: JSON text, or a dict."""
    if isinstance(body, Mapping):
        return dict(body)
    found = wire.decode_json(body.encode() if isinstance(body, str) else body, {})
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} must be a JSON object, not {type(found).__name__}")
    return found


def get_access_token_from_cli() -> str:
    """The token of whoever is logged in to az. (azurerm read a file that az no longer writes.)"""
    return azure_cli_credential().get_token(_SCOPE).token


# --- reading ---------------------------------------------------------------------------------------------------------


def get_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """The model of a scale set."""
    return {**vmss.get_vmss(access_token, subscription_id, resource_group, vmss_name)}


def get_vmss_instance_view(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """How many instances are in which state, and the state of the set."""
    return {**vmss.get_vmss_instance_view(access_token, subscription_id, resource_group, vmss_name)}


def get_vmss_rolling_upgrades(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str
) -> JsonDict:
    """Azure's newest rolling upgrade."""
    return rolling_upgrades.get_rolling_upgrade(access_token, subscription_id, resource_group, vmss_name)


def get_vmss_vm(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """One instance."""
    return {**vmss_vm.get_vmss_vm(access_token, subscription_id, resource_group, vmss_name, instance_id)}


def get_vmss_vm_instance_view(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """Power, health and domains of one instance."""
    where = (subscription_id, resource_group, vmss_name, instance_id)
    return {**vmss_vm.get_vmss_vm_instance_view(access_token, *where)}


def list_vmss(access_token: Auth, subscription_id: str, resource_group: str) -> JsonDict:
    """The scale sets of a resource group."""
    return {"value": vmss.list_vmss(access_token, subscription_id, resource_group)}


def list_vmss_sub(access_token: Auth, subscription_id: str) -> JsonDict:
    """The scale sets of a subscription."""
    return {"value": vmss.list_vmss_sub(access_token, subscription_id)}


def list_vmss_skus(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """The VM sizes that a scale set may have."""
    return {"value": vmss.list_vmss_skus(access_token, subscription_id, resource_group, vmss_name)}


def list_vmss_vms(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """The instances of a scale set."""
    return {"value": vmss_vms.list_vmss_vms(access_token, subscription_id, resource_group, vmss_name)}


def list_vmss_vm_instance_view(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str
) -> JsonDict:
    """The instances with their instance views. (With all the rest too: azurerm's $select made a trap of it.)"""
    where = (subscription_id, resource_group, vmss_name)
    return {"value": vmss_vms.list_vmss_vms(access_token, *where, expand="instanceView")}


def list_vmss_vm_instance_view_pg(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, link: str | None = None
) -> JsonDict:
    """One page of the same, and "nextLink" when there is another; give that as `link` to get it."""
    arm = arm_of(access_token)
    if link is not None:
        following: JsonDict = arm.read(wire.own_path(link, arm.base))[2]
        return following
    path = f"{vmss.vmss_path(subscription_id, resource_group, vmss_name)}/virtualMachines"
    page: JsonDict = arm.get(path, **{"$expand": "instanceView"})
    return page


def get_compute_usage(access_token: Auth, subscription_id: str, location: str) -> JsonDict:
    """Quota and use of a region."""
    return {"value": images.list_usages(access_token, subscription_id, location)}


def _network(access_token: Auth, path: str) -> JsonDict:
    found: JsonDict = arm_of(access_token).get(path, api_version=NETWORK_API)
    return found


def get_vmss_nics(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """The network interfaces of a scale set."""
    path = vmss.vmss_path(subscription_id, resource_group, vmss_name)
    return _network(access_token, f"{path}/networkInterfaces")


def get_vmss_public_ips(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """The public addresses of the instances of a scale set."""
    path = vmss.vmss_path(subscription_id, resource_group, vmss_name)
    return _network(access_token, f"{path}/publicipaddresses")


def get_vmss_vm_nics(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """The network interfaces of one instance."""
    path = vmss_vm.vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return _network(access_token, f"{path}/networkInterfaces")


# --- writing ---------------------------------------------------------------------------------------------------------


def put_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, vmss_body: str | Mapping[str, Any]
) -> Response:
    """Write a whole model (JSON text or a dict)."""
    model = _object(vmss_body, "the model")
    return _answered(vmss.put_vmss(access_token, subscription_id, resource_group, vmss_name, model))


def update_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, body: str | Mapping[str, Any]
) -> Response:
    """Write a whole model: azurerm's other name for the same."""
    return put_vmss(access_token, subscription_id, resource_group, vmss_name, body)


def put_vmss_vm(
    access_token: Auth,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    vm_id: str | int,
    vm_body: str | Mapping[str, Any],
) -> Response:
    """Write one instance: its protection, data disks and user data. Its tags Azure keeps as they are, with 200."""
    where = (subscription_id, resource_group, vmss_name, vm_id)
    return _answered(vmss_vm.put_vmss_vm(access_token, *where, _object(vm_body, "the instance")))


def scale_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, capacity: int | str
) -> Response:
    """Change the number of instances."""
    if not str(capacity).isdigit():
        raise InvalidInput(f"capacity must be a whole number, not {capacity!r}")
    patch = {"sku": {"capacity": int(capacity)}}
    return _answered(vmss.patch_vmss(access_token, subscription_id, resource_group, vmss_name, patch))


def delete_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Delete the scale set with all its instances."""
    return _answered(vmss.delete_vmss(access_token, subscription_id, resource_group, vmss_name))


def create_vmss(
    access_token: Auth,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    vm_size: str,
    capacity: int,
    publisher: str,
    offer: str,
    sku: str,
    version: str,
    subnet_id: str,
    location: str,
    be_pool_id: str | None = None,
    lb_pool_id: str | None = None,
    storage_type: str = "Standard_LRS",
    username: str = "azure",
    password: str | None = None,
    public_key: str | None = None,
    overprovision: bool = True,
    upgrade_policy: str = "Manual",
    public_ip_per_vm: bool = False,
) -> Response:
    """Create a scale set; refused when there is one of that name already."""
    login: JsonDict = {"computerNamePrefix": vmss_name, "adminUsername": username}
    if password is not None:
        login["adminPassword"] = password
    if public_key is not None:
        key = {"path": f"/home/{username}/.ssh/authorized_keys", "keyData": public_key}
        login["linuxConfiguration"] = {"disablePasswordAuthentication": password is None, "ssh": {"publicKeys": [key]}}
    address: JsonDict = {"subnet": {"id": subnet_id}}
    for name, pool in (("loadBalancerBackendAddressPools", be_pool_id), ("loadBalancerInboundNatPools", lb_pool_id)):
        if pool is not None:
            address[name] = [{"id": pool}]
    if public_ip_per_vm:
        address["publicIPAddressConfiguration"] = {"name": "pubip", "properties": {"idleTimeoutInMinutes": 15}}
    nic = {"primary": True, "ipConfigurations": [{"name": vmss_name, "properties": address}]}
    image = {"publisher": publisher, "offer": offer, "sku": sku, "version": version}
    disk = {"createOption": "FromImage", "managedDisk": {"storageAccountType": storage_type}, "caching": "ReadWrite"}
    profile = {
        "osProfile": login,
        "storageProfile": {"osDisk": disk, "imageReference": image},
        "networkProfile": {"networkInterfaceConfigurations": [{"name": vmss_name, "properties": nic}]},
    }
    model = {
        "location": location,
        "sku": {"name": vm_size, "tier": "Standard", "capacity": capacity},
        "properties": {
            "overprovision": overprovision,
            "upgradePolicy": {"mode": upgrade_policy},
            "virtualMachineProfile": profile,
        },
    }
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss.put_vmss(access_token, *where, model, if_none_match="*"))


# --- acting on instances: ids are JSON text as before ('["0", "1"]'), or a list --------------------------------------


def upgrade_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Bring instances to the latest model."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss.manual_upgrade_instances(access_token, *where, instance_ids))


def delete_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, vm_ids: Ids
) -> Response:
    """Delete instances."""
    return _answered(vmss_vms.delete_vmss_vms(access_token, subscription_id, resource_group, vmss_name, vm_ids))


def reimage_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Give instances a new OS disk."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.reimage_vmss_vms(access_token, *where, instance_ids))


def start_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Start instances."""
    return _answered(vmss_vms.start_vmss_vms(access_token, subscription_id, resource_group, vmss_name, instance_ids))


def restart_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Restart instances."""
    return _answered(vmss_vms.restart_vmss_vms(access_token, subscription_id, resource_group, vmss_name, instance_ids))


def poweroff_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Power instances off; they are still paid for."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.power_off_vmss_vms(access_token, *where, instance_ids))


def stopdealloc_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Stop and deallocate instances."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.deallocate_vmss_vms(access_token, *where, instance_ids))


# --- acting on every instance at once, as these names always did -----------------------------------------------------


def start_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Start every instance."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.start_vmss_vms(access_token, *where, all_instances=True))


def restart_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Restart every instance."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.restart_vmss_vms(access_token, *where, all_instances=True))


def poweroff_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Power every instance off."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.power_off_vmss_vms(access_token, *where, all_instances=True))


def stopdealloc_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Stop and deallocate every instance."""
    where = (subscription_id, resource_group, vmss_name)
    return _answered(vmss_vms.deallocate_vmss_vms(access_token, *where, all_instances=True))
