"""azurerm 0.10.0 from PyPI, unmodified, by the proxy: it knows nothing but Azure's own host names."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from azurerm_lite.emulator import serve

SCRIPT = """
import json, os, azurerm
it = json.loads(os.environ["EMULATOR"])
token = azurerm.get_access_token(it["tenant_id"], it["client_id"], it["client_secret"])
where = (token, it["subscription_id"], it["resource_group"], it["vmss_name"])
model = azurerm.get_vmss(*where)
model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = "22.04.202611120"
seen = {"update_vmss": azurerm.update_vmss(*where, json.dumps(model)).status_code}
views = azurerm.list_vmss_vm_instance_view(*where)["value"]
seen["views"] = len([v for v in views if v["properties"]["instanceView"]["platformUpdateDomain"] in range(5)])
seen["upgrade_vmss_vms"] = azurerm.upgrade_vmss_vms(*where, '["0", "1"]').status_code
seen["state"] = azurerm.get_vmss_instance_view(*where)["statuses"][0]["code"]
seen["scale_vmss"] = azurerm.scale_vmss(*where, "21").status_code
for call in ("poweroff_vmss", "start_vmss", "restart_vmss", "stopdealloc_vmss"):
    seen[call] = getattr(azurerm, call)(*where).status_code
for call in ("poweroff_vmss_vms", "start_vmss_vms", "restart_vmss_vms", "reimage_vmss_vms", "delete_vmss_vms"):
    if hasattr(azurerm, call):
        seen[call] = getattr(azurerm, call)(*where, '["3"]').status_code
print(json.dumps(seen))
"""


@pytest.fixture
def python() -> str:
    """The Python of an environment that has azurerm 0.10.0."""
    found = os.environ.get("AZURERM_LITE_AZURERM_PYTHON")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_AZURERM_PYTHON")
        pytest.skip("AZURERM_LITE_AZURERM_PYTHON does not name a Python with azurerm 0.10.0")
    return found


def test_the_calls_of_the_old_tools_work_as_they_are(python: str, tmp_path: Path) -> None:
    with serve(time_scale=1000, proxy=True) as emulator:
        known: dict[str, Any] = emulator.ready()
        trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), emulator.ca_file)
        env = {"PATH": os.environ["PATH"], "EMULATOR": json.dumps(known), "HTTPS_PROXY": emulator.proxy or "", **trust}
        command = [python, "-W", "ignore", "-c", SCRIPT]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen.pop("update_vmss"), seen.pop("scale_vmss")) == (200, 200)
    assert (seen.pop("views"), seen.pop("state")) == (20, "ProvisioningState/succeeded")
    assert set(seen.values()) == {202}
    assert len(seen) >= 8
