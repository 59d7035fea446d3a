"""Never run: mypy --strict and pyright must accept how people write against azurerm_lite."""

import logging
import sys
from collections.abc import Iterator
from typing import assert_type

from azure.identity import DefaultAzureCredential

import azurerm_lite as az
from azurerm_lite import progress
from azurerm_lite.types import Vmss, VmssInstanceView, VmssVm, VmssVmInstanceView
from azurerm_lite.upgrade import Plan, Verdict, upgrade


def people_write(arm: az.Arm, web: az.ScaleSet) -> None:
    model = az.get_vmss(arm, *web)
    assert_type(model, Vmss)
    assert_type(model["sku"]["capacity"], int)
    assert_type(model["properties"]["provisioningState"], str)
    assert_type(az.list_vmss_vms(arm, *web), list[VmssVm])
    assert_type(az.iter_vmss_vms(arm, *web), Iterator[VmssVm])
    assert_type(az.get_vmss_instance_view(arm, *web), VmssInstanceView)
    view = az.get_vmss_vm_instance_view(arm, *web, "0")
    assert_type(view, VmssVmInstanceView)
    assert_type(view.get("platformUpdateDomain"), int | None)
    assert_type(az.set_image_version(model, "1.2.3").model, Vmss)
    assert_type(az.manual_upgrade_instances(arm, *web, ["0"]).wait(), az.Operation)


def old_calls_keep_working(token: str, subscription_id: str) -> None:
    az.get_vmss(token, subscription_id, "web-rg", "web")
    az.manual_upgrade_instances(token, subscription_id, "web-rg", "web", '["0", "1"]')


class Foreign:
    def get_token(self, *scopes: str, **options: object) -> az.Token:
        return az.Token("x", 0)


def foreign_credentials_fit(subscription_id: str) -> None:
    az.get_vmss(Foreign(), subscription_id, "web-rg", "web")
    az.connect(Foreign(), cloud=az.US_GOVERNMENT)
    az.connect(auxiliary_tenants=["contoso.com"], strict_certificates=False)
    az.get_vmss(DefaultAzureCredential(), subscription_id, "web-rg", "web")


def everything_can_watch(arm: az.Arm, wanted: Plan) -> Verdict:
    with progress.for_stream(sys.stderr) as view:
        upgrade(arm, wanted, on_event=view)
    upgrade(arm, wanted, on_event=progress.JsonLines(sys.stdout))
    return upgrade(arm, wanted, on_event=progress.LogLines(logging.getLogger("roll-out")))


def every_way_to_log_in(tenant_id: str, client_id: str) -> list[az.Credential]:
    return [
        az.client_secret_credential(tenant_id, client_id, "s"),
        az.certificate_credential(tenant_id, client_id, "client.pem", send_chain=True),
        az.workload_identity_credential(tenant_id, client_id, "token"),
        az.managed_identity_credential(client_id=client_id),
        az.device_code_credential(print),
        az.interactive_browser_credential(tenant_id),
        az.azure_cli_credential(),
    ]
