"""The scale-set functions of azurerm 0.10: `import azurerm_lite.compat.azurerm as azurerm` for old scripts.

A read returns a dict as before, with lists under "value"; a write returns a Response with status_code, text and json().
Three things differ from azurerm: errors of Azure are raised as ArmError and not returned; a model is written with its
etag, so that it does not overwrite a concurrent change; `access_token` may also be a credential or an Arm. Each
function raises the errors of its counterpart in azurerm_lite; docs/coming-from-azurerm.md lists the counterparts.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from .._common import arguments, parsing
from .._common.secrecy import conceal_functions
from .._http import wire
from ..arm import Auth, arm_of
from ..auth.flows import azure_cli_credential
from ..auth.flows import get_access_token as get_access_token  # noqa: PLC0414
from ..endpoints import images, rolling_upgrades, vmss, vmss_vm, vmss_vms
from ..errors import InvalidInput
from ..operation import Operation
from ..types import Ids, JsonDict

NETWORK_API = "2023-09-01"
_SCOPE = "https://management.azure.com/.default"


class Response:
    """The response to a write, with the parts of requests.Response that azurerm scripts use.

    `operation`: the Operation, to wait for its end.
    """

    def __init__(self, operation: Operation | None, status_code: int, body: Any = None) -> None:
        self.operation, self.status_code, self._body = operation, status_code, body
        self.ok, self.reason = True, {200: "OK", 202: "Accepted"}.get(status_code, "OK")

    @property
    def text(self) -> str:
        """The body as JSON text."""
        return "" if self._body is None else json.dumps(self._body)

    @property
    def content(self) -> bytes:
        """The body as JSON text in UTF-8."""
        return self.text.encode()

    def json(self) -> Any:
        """The body as Python objects, None for no body."""
        return self._body

    def raise_for_status(self) -> None:
        """Do nothing: an error of Azure has already been raised."""

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


def _response(operation: Operation) -> Response:
    if operation.method in ("PUT", "PATCH"):
        return Response(operation, 200, operation.resource)
    return Response(operation, 202)


def _object(body: str | bytes | Mapping[str, Any], what: str) -> JsonDict:
    """A dict or JSON text as a dict."""
    if isinstance(body, Mapping):
        return dict(body)
    value = parsing.parse_json(body, InvalidInput, f"{what} is not JSON")
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be a JSON object, not {type(value).__name__}")
    return value


def get_access_token_from_cli() -> str:
    """Get a token of the user that is logged in to az. azurerm read it from a file that az no longer writes."""
    return azure_cli_credential().get_token(_SCOPE).token


# --- reading ---------------------------------------------------------------------------------------------------------


def get_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """Get the model of a scale set."""
    return {**vmss.get_vmss(access_token, subscription_id, resource_group, vmss_name)}


def get_vmss_instance_view(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """Get the number of instances in each state, and the state of the set."""
    return {**vmss.get_vmss_instance_view(access_token, subscription_id, resource_group, vmss_name)}


def get_vmss_rolling_upgrades(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str
) -> JsonDict:
    """Get the status of Azure's latest rolling upgrade."""
    return rolling_upgrades.get_rolling_upgrade(access_token, subscription_id, resource_group, vmss_name)


def get_vmss_vm(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """Get an instance."""
    return {**vmss_vm.get_vmss_vm(access_token, subscription_id, resource_group, vmss_name, instance_id)}


def get_vmss_vm_instance_view(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """Get the power state, health and domains of an instance."""
    address = (subscription_id, resource_group, vmss_name, instance_id)
    return {**vmss_vm.get_vmss_vm_instance_view(access_token, *address)}


def list_vmss(access_token: Auth, subscription_id: str, resource_group: str) -> JsonDict:
    """List the scale sets of a resource group."""
    return {"value": vmss.list_vmss(access_token, subscription_id, resource_group)}


def list_vmss_sub(access_token: Auth, subscription_id: str) -> JsonDict:
    """List the scale sets of a subscription."""
    return {"value": vmss.list_vmss_sub(access_token, subscription_id)}


def list_vmss_skus(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """List the VM sizes that a scale set may have."""
    return {"value": vmss.list_vmss_skus(access_token, subscription_id, resource_group, vmss_name)}


def list_vmss_vms(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """List the instances of a scale set."""
    return {"value": vmss_vms.list_vmss_vms(access_token, subscription_id, resource_group, vmss_name)}


def list_vmss_vm_instance_view(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str
) -> JsonDict:
    """List the instances with their instance views. azurerm left out the other fields."""
    address = (subscription_id, resource_group, vmss_name)
    return {"value": vmss_vms.list_vmss_vms(access_token, *address, expand="instanceView")}


def list_vmss_vm_instance_view_pg(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, link: str | None = None
) -> JsonDict:
    """List one page of instances with instance views; pass its "nextLink", if any, as `link` to get the next page."""
    arm = arm_of(access_token)
    arguments.typed(str | None, link=link)
    if link is not None:
        next_page: JsonDict = arm.read(wire.same_origin_path(link, arm.base))[2]
        return next_page
    path = f"{vmss.vmss_path(subscription_id, resource_group, vmss_name)}/virtualMachines"
    page: JsonDict = arm.get(path, **{"$expand": "instanceView"})
    return page


def get_compute_usage(access_token: Auth, subscription_id: str, location: str) -> JsonDict:
    """List the quotas of a region and their use."""
    return {"value": images.list_usages(access_token, subscription_id, location)}


def _network(access_token: Auth, path: str) -> JsonDict:
    document: JsonDict = arm_of(access_token).get(path, api_version=NETWORK_API)
    return document


def get_vmss_nics(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """List the network interfaces of a scale set."""
    path = vmss.vmss_path(subscription_id, resource_group, vmss_name)
    return _network(access_token, f"{path}/networkInterfaces")


def get_vmss_public_ips(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> JsonDict:
    """List the public IP addresses of the instances of a scale set."""
    path = vmss.vmss_path(subscription_id, resource_group, vmss_name)
    return _network(access_token, f"{path}/publicipaddresses")


def get_vmss_vm_nics(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_id: str | int
) -> JsonDict:
    """List the network interfaces of an instance."""
    path = vmss_vm.vm_path(subscription_id, resource_group, vmss_name, instance_id)
    return _network(access_token, f"{path}/networkInterfaces")


# --- writing ---------------------------------------------------------------------------------------------------------


def put_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, vmss_body: str | Mapping[str, Any]
) -> Response:
    """Write a whole model. `vmss_body`: as `get_vmss` returned it, or JSON text."""
    model = _object(vmss_body, "the model")
    return _response(vmss.put_vmss(access_token, subscription_id, resource_group, vmss_name, model))


def update_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, body: str | Mapping[str, Any]
) -> Response:
    """Write a whole model, as `put_vmss` does: azurerm had both names."""
    return put_vmss(access_token, subscription_id, resource_group, vmss_name, body)


def put_vmss_vm(
    access_token: Auth,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    vm_id: str | int,
    vm_body: str | Mapping[str, Any],
) -> Response:
    """Write an instance: its protection, data disks and user data. Azure answers 200 and keeps its tags as they are.

    `vm_body`: as `get_vmss_vm` returned it, or JSON text.
    """
    address = (subscription_id, resource_group, vmss_name, vm_id)
    return _response(vmss_vm.put_vmss_vm(access_token, *address, _object(vm_body, "the instance")))


def scale_vmss(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, capacity: int | str
) -> Response:
    """Change the number of instances."""
    is_number = isinstance(capacity, str) and re.fullmatch("[0-9]{1,4}", capacity)
    number = int(capacity) if is_number else capacity
    patch = {"sku": {"capacity": arguments.whole_number(number, "capacity", 0, 1000, "a whole number")}}
    return _response(vmss.patch_vmss(access_token, subscription_id, resource_group, vmss_name, patch))


def delete_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Delete the scale set with all its instances."""
    return _response(vmss.delete_vmss(access_token, subscription_id, resource_group, vmss_name))


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
    """Create a scale set. Raises: ConcurrencyError when one of this name exists."""
    texts = (vm_size, publisher, offer, sku, version, subnet_id, location, storage_type, username, upgrade_policy)
    arguments.typed(str, **{f"argument {number} of the texts": text for number, text in enumerate(texts, 1)})
    arguments.typed(str | None, be_pool_id=be_pool_id, lb_pool_id=lb_pool_id, password=password, public_key=public_key)
    arguments.whole_number(capacity, "capacity", 0, 1000, "instances")
    arguments.typed(bool, overprovision=overprovision, public_ip_per_vm=public_ip_per_vm)
    login: JsonDict = {"computerNamePrefix": vmss_name, "adminUsername": username}
    if password is not None:
        login["adminPassword"] = password
    if public_key is not None:
        key = {"path": f"/home/{username}/.ssh/authorized_keys", "keyData": public_key}
        login["linuxConfiguration"] = {"disablePasswordAuthentication": password is None, "ssh": {"publicKeys": [key]}}
    ip_properties: JsonDict = {"subnet": {"id": subnet_id}}
    for name, pool in (("loadBalancerBackendAddressPools", be_pool_id), ("loadBalancerInboundNatPools", lb_pool_id)):
        if pool is not None:
            ip_properties[name] = [{"id": pool}]
    if public_ip_per_vm:
        ip_properties["publicIPAddressConfiguration"] = {"name": "pubip", "properties": {"idleTimeoutInMinutes": 15}}
    nic = {"primary": True, "ipConfigurations": [{"name": vmss_name, "properties": ip_properties}]}
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
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss.put_vmss(access_token, *address, model, if_none_match="*"))


# --- actions on instances: ids are JSON text as in azurerm ('["0", "1"]'), or a list --------------------------------


def upgrade_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Upgrade instances to the latest model."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss.manual_upgrade_instances(access_token, *address, instance_ids))


def delete_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, vm_ids: Ids
) -> Response:
    """Delete instances."""
    return _response(vmss_vms.delete_vmss_vms(access_token, subscription_id, resource_group, vmss_name, vm_ids))


def reimage_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Replace the OS disk of instances with their image."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.reimage_vmss_vms(access_token, *address, instance_ids))


def start_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Start instances."""
    return _response(vmss_vms.start_vmss_vms(access_token, subscription_id, resource_group, vmss_name, instance_ids))


def restart_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Restart instances."""
    return _response(vmss_vms.restart_vmss_vms(access_token, subscription_id, resource_group, vmss_name, instance_ids))


def poweroff_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Power instances off; they are still charged for."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.power_off_vmss_vms(access_token, *address, instance_ids))


def stopdealloc_vmss_vms(
    access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str, instance_ids: Ids
) -> Response:
    """Stop and deallocate instances."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.deallocate_vmss_vms(access_token, *address, instance_ids))


# --- actions on all instances at once, as in azurerm ---------------------------------------------------------------


def start_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Start every instance."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.start_vmss_vms(access_token, *address, all_instances=True))


def restart_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Restart every instance."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.restart_vmss_vms(access_token, *address, all_instances=True))


def poweroff_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Power every instance off."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.power_off_vmss_vms(access_token, *address, all_instances=True))


def stopdealloc_vmss(access_token: Auth, subscription_id: str, resource_group: str, vmss_name: str) -> Response:
    """Stop and deallocate every instance."""
    address = (subscription_id, resource_group, vmss_name)
    return _response(vmss_vms.deallocate_vmss_vms(access_token, *address, all_instances=True))


conceal_functions(globals())
