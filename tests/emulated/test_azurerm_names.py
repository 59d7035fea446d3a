"""Old scripts run with their import line changed: azurerm's names, arguments and result shapes over our calls."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.compat import azurerm as azurerm_names
from azurerm_lite.emulator import Seed, serve

from .conftest import NEW

DOCS = Path(__file__).parents[2] / "docs"

# Written like gbowerman's vmssupgrade.py: token, model, changed version, PUT, one update domain, poll until it is done.
SCRIPT = """
import json, os, sys, time
import azurerm_lite.compat.azurerm as azurerm

tenant, app, secret = (os.environ[n] for n in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"))
subscription_id, resource_group, vmssname = os.environ["AZURE_SUBSCRIPTION_ID"], "web-rg", "web"
access_token = azurerm.get_access_token(tenant, app, secret)

vmssmodel = azurerm.get_vmss(access_token, subscription_id, resource_group, vmssname)
vmssmodel['properties']['virtualMachineProfile']['storageProfile']['imageReference']['version'] = sys.argv[1]
putreturn = azurerm.update_vmss(access_token, subscription_id, resource_group, vmssname, json.dumps(vmssmodel))
print(putreturn, putreturn.status_code)

vmlist = azurerm.list_vmss_vm_instance_view(access_token, subscription_id, resource_group, vmssname)
domain = []
for vm in vmlist['value']:
    if vm['properties']['instanceView']['platformUpdateDomain'] == 0:
        domain.append(vm['instanceId'])
ids = json.dumps(domain)
print(azurerm.upgrade_vmss_vms(access_token, subscription_id, resource_group, vmssname, ids))
status = ""
while status != "ProvisioningState/succeeded" or counts.get("ProvisioningState/updating"):
    view = azurerm.get_vmss_instance_view(access_token, subscription_id, resource_group, vmssname)
    status = view['statuses'][0]['code']
    counts = {row["code"]: row["count"] for row in view["virtualMachine"]["statusesSummary"]}
    time.sleep(0.05)
print(status, ids)
"""


def test_a_script_of_2016_runs_with_its_import_line_changed(tmp_path: Path) -> None:
    with serve(time_scale=500) as emulator:
        env = {"PATH": os.environ["PATH"], **emulator.env()}
        line = [sys.executable, "-c", SCRIPT, NEW]
        done = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        (scale_set,) = emulator.simulation.scale_sets
        current = {one for one, vm in scale_set.instances.items() if vm.model_version == scale_set.model_version}
        domain = {one for one, vm in scale_set.instances.items() if vm.view["platformUpdateDomain"] == 0}
    assert done.returncode == 0, done.stderr
    assert "<Response [200]> 200" in done.stdout
    assert "<Response [202]>" in done.stdout
    assert current == domain


def azurerms_own_names() -> set[str]:
    """The public functions of azurerm 0.10.0 that are about scale sets, and its two tokens."""
    python = os.environ.get("AZURERM_LITE_AZURERM_PYTHON")
    if not python:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_AZURERM_PYTHON")
        pytest.skip("AZURERM_LITE_AZURERM_PYTHON does not name a Python with azurerm 0.10.0")
    code = (
        "import inspect, json, azurerm;"
        "print(json.dumps({n: list(inspect.signature(f).parameters) for n, f in vars(azurerm).items()"
        " if inspect.isfunction(f) and ('vmss' in n or n.startswith('get_access_token'))}))"
    )
    done = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    names: dict[str, list[str]] = json.loads(done.stdout)
    import inspect

    for name, parameters in names.items():
        ours = list(inspect.signature(getattr(azurerm_names, name)).parameters)
        if name != "get_access_token":
            assert ours == parameters, name
    return set(names)


def test_every_name_that_azurerm_had_for_scale_sets_is_here_with_its_arguments_and_in_the_table() -> None:
    names = azurerms_own_names()
    assert len(names) > 30
    text = (DOCS / "coming-from-azurerm.md").read_text()
    missing = {name for name in names if not re.search(rf"`{name}`", text)} - {"list_vmss_vm_instance_view_pg"}
    assert missing == set()


def test_the_rest_of_the_names_do_what_they_did(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    names, where = azurerm_names, (arm, *web)
    azurerm_emulator.simulation.settings.page_size = 8
    assert len(names.list_vmss_vms(*where)["value"]) == 20
    page = names.list_vmss_vm_instance_view_pg(*where)
    seen = [*page["value"]]
    while "nextLink" in page:
        page = names.list_vmss_vm_instance_view_pg(*where, link=page["nextLink"])
        seen += page["value"]
    assert len(seen) == 20
    with pytest.raises(az.TransportError):
        names.list_vmss_vm_instance_view_pg(*where, link="https://evil.example/subscriptions")
    assert [one["name"] for one in names.list_vmss(arm, *web[:2])["value"]] == ["web"]
    assert [one["name"] for one in names.list_vmss_sub(arm, web[0])["value"]] == ["web"]
    assert names.list_vmss_skus(*where)["value"]
    assert names.get_compute_usage(arm, web[0], "westus2")["value"]
    assert names.get_vmss_vm(*where, 0)["instanceId"] == "0"
    assert "statuses" in names.get_vmss_vm_instance_view(*where, "0")
    answer = names.scale_vmss(*where, "21")
    assert (answer.status_code, answer.json()["sku"]["capacity"], answer.ok) == (200, 21, True)
    assert json.loads(answer.text) == json.loads(answer.content) == answer.json()
    answer.operation.wait()
    vm = names.get_vmss_vm(*where, "3")
    vm["properties"]["protectionPolicy"] = {"protectFromScaleIn": True}
    names.put_vmss_vm(*where, "3", json.dumps(vm)).operation.wait()
    for act in ("start", "restart", "poweroff", "stopdealloc"):
        assert getattr(names, f"{act}_vmss")(*where).operation.wait().done
        assert getattr(names, f"{act}_vmss_vms")(*where, '["0"]').operation.wait().done
    names.reimage_vmss_vms(*where, ["0"]).operation.wait()
    names.delete_vmss_vms(*where, "[0, 3]").operation.wait()
    names.delete_vmss(*where).operation.wait()
    with pytest.raises(az.NotFoundError):
        names.get_vmss(*where)
    for capacity in ("many", "²", "9" * 5000, "-1", "", 10**400, 1001, True, 2.5, None):
        with pytest.raises(az.InvalidInput, match="capacity must be"):
            names.scale_vmss(*where, capacity)
    for body in ("[]", "{", "", b"\xff", 5, None, [], '{"a": 1, "a": 2}'):
        with pytest.raises(az.InvalidInput, match="the model"):
            names.put_vmss(*where, body)


def test_a_set_is_created_as_before(arm: az.Arm, web: az.ScaleSet) -> None:
    image = Seed.build().images[0][:3]
    size = ("Standard_D2s_v3", 2, *image, "latest", "/subnet", "westus2")
    done = azurerm_names.create_vmss(
        arm, *web[:2], "made", *size, be_pool_id="/pool", public_key="ssh-rsa x", public_ip_per_vm=True
    )
    done.operation.wait()
    assert len(azurerm_names.list_vmss_vms(arm, *web[:2], "made")["value"]) == 2
    with pytest.raises(az.ConcurrencyError):
        azurerm_names.create_vmss(arm, *web[:2], "made", *size)


def test_network_interfaces_are_asked_of_their_own_provider() -> None:
    from tests.unit.endpoint_table import WEB, Recorder

    network = Recorder()
    arm = az.Arm("token", adapter=network)
    azurerm_names.get_vmss_nics(arm, *WEB)
    azurerm_names.get_vmss_public_ips(arm, *WEB)
    azurerm_names.get_vmss_vm_nics(arm, *WEB, 3)
    ends = [sent.path.rpartition("/virtualMachineScaleSets/")[2] for sent in network.sent]
    assert ends == ["web/networkInterfaces", "web/publicipaddresses", "web/virtualMachines/3/networkInterfaces"]
    assert {sent.query["api-version"] for sent in network.sent} == {azurerm_names.NETWORK_API}
