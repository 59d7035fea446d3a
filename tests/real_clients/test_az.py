"""az 2.91, unmodified, in its own environment: against the emulator as a registered cloud, and as stock AzureCloud."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as lite
from azurerm_lite.compat import azurerm as azurerm_names
from azurerm_lite.emulator import serve

from .conftest import Watch

NEW = "22.04.202611120"
WEB = ("-g", "web-rg", "-n", "web")
Az = Callable[..., Any]


@pytest.fixture
def program() -> str:
    found = os.environ.get("AZURERM_LITE_AZ")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_AZ")
        pytest.skip("AZURERM_LITE_AZ does not name an az executable")
    return found


def az_of(program: str, folder: Path, extra: dict[str, str]) -> Az:
    """az with a configuration folder of its own; gives the JSON that it prints."""
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder), "AZURE_CONFIG_DIR": str(folder / "az")}
    env = {**kept, "AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_ONLY_SHOW_ERRORS": "true", **extra}

    def az(*words: str, fails: bool = False) -> Any:
        line = [program, *words, "--output", "json"]
        done = subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode != 0) == fails, f"az {' '.join(words)}: {done.stdout} {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() and not fails else done.stderr

    return az


def log_in(az: Az, emulator: Any) -> None:
    who = ("-u", emulator.client_id, "-p", emulator.client_secret, "--tenant", emulator.tenant_id)
    accounts = az("login", "--service-principal", *who)
    assert [one["id"] for one in accounts] == [emulator.subscription_id]


def instances(az: Az) -> dict[str, Any]:
    return {vm["instanceId"]: vm for vm in az("vmss", "list-instances", *WEB, "--expand", "instanceView")}


def power(vm: Any) -> str:
    return next(s["code"] for s in vm["instanceView"]["statuses"] if s["code"].startswith("PowerState/"))


@pytest.fixture
def az(program: str, tmp_path: Path, emulator: Any) -> Az:
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), emulator.ca_file)
    ready = az_of(program, tmp_path, {**trust, "AZURE_CORE_INSTANCE_DISCOVERY": "false"})
    ready("cloud", "register", "-n", "emulator", "--endpoint-resource-manager", emulator.arm_endpoint)
    ready("cloud", "set", "-n", "emulator")
    log_in(ready, emulator)
    return ready


def test_az_looks_and_upgrades(az: Az) -> None:
    assert [one["name"] for one in az("vmss", "list")] == ["web"]
    assert [one["name"] for one in az("vmss", "list", "-g", "web-rg")] == ["web"]
    assert az("vmss", "show", *WEB)["sku"]["capacity"] == 20
    assert az("vmss", "get-instance-view", *WEB)["statuses"][0]["code"] == "ProvisioningState/succeeded"
    assert len(instances(az)) == 20
    path = "virtualMachineProfile.storageProfile.imageReference.version"
    model = az("vmss", "update", *WEB, "--set", f"{path}={NEW}")
    image = model["virtualMachineProfile"]["storageProfile"]["imageReference"]
    assert (image["publisher"], image["version"]) == ("Canonical", NEW)
    az("vmss", "update-instances", *WEB, "--instance-ids", "0", "1")
    assert {one for one, vm in instances(az).items() if vm["latestModelApplied"]} == {"0", "1"}
    az("vmss", "update-instances", *WEB, "--instance-ids", "*")
    assert {vm["latestModelApplied"] for vm in instances(az).values()} == {True}
    assert "999 is not an active" in az("vmss", "update-instances", *WEB, "--instance-ids", "999", fails=True)


def test_az_scales_protects_and_drives_power(az: Az, watch: Watch) -> None:
    az("vmss", "scale", *WEB, "--new-capacity", "22")
    assert len(instances(az)) == 22
    az("vmss", "update", *WEB, "--instance-id", "0", "--protect-from-scale-in", "true")
    assert instances(az)["0"]["protectionPolicy"]["protectFromScaleIn"] is True
    az("vmss", "restart", *WEB, "--instance-ids", "0")
    assert watch.interrupted() == {"0"}
    az("vmss", "update", *WEB, "--set", "virtualMachineProfile.osProfile.customData=ZWNobw==")
    az("vmss", "update-instances", *WEB, "--instance-ids", "1", "3")
    assert (watch.interrupted(), watch.made_anew()) == ({"1", "3"}, set())
    az("vmss", "reimage", *WEB, "--instance-ids", "1")
    assert (watch.interrupted(), watch.made_anew()) == ({"1"}, {"1"})
    az("vmss", "deallocate", *WEB, "--instance-ids", "3")
    assert power(instances(az)["3"]) == "PowerState/deallocated"
    az("vmss", "start", *WEB, "--instance-ids", "3")
    assert {power(vm) for vm in instances(az).values()} == {"PowerState/running"}
    az("vmss", "delete-instances", *WEB, "--instance-ids", "4", "5")
    assert not {"4", "5"} & set(instances(az))
    az("vmss", "wait", *WEB, "--updated", "--interval", "1", "--timeout", "20")


def test_az_drives_a_rolling_upgrade_and_deletes_the_set(az: Az, emulator: Any) -> None:
    assert "no ongoing Rolling Upgrade" in az("vmss", "rolling-upgrade", "cancel", *WEB, fails=True)
    path = "virtualMachineProfile.storageProfile.imageReference.version"
    az("vmss", "update", *WEB, "--set", f"{path}=latest")
    az("vmss", "rolling-upgrade", "start", *WEB)
    latest = az("vmss", "rolling-upgrade", "get-latest", *WEB)
    assert (latest["runningStatus"]["code"], latest["progress"]["successfulInstanceCount"]) == ("Completed", 20)
    assert az("vmss", "get-os-upgrade-history", *WEB)[0]["properties"]["startedBy"] == "User"
    emulator.set_time_scale(20)  # a batch takes three seconds: there is time to cancel
    az("vmss", "rolling-upgrade", "start", *WEB, "--no-wait")
    az("vmss", "rolling-upgrade", "cancel", *WEB)
    assert az("vmss", "rolling-upgrade", "get-latest", *WEB)["runningStatus"]["code"] == "Cancelled"
    az("vmss", "delete", *WEB)
    assert az("vmss", "list") == []


def test_what_az_shows_of_a_set_is_a_seed_to_rehearse_on(az: Az, emulator: Any, tmp_path: Path) -> None:
    emulator.set_time_scale(20)
    shown = az("vmss", "show", *WEB)
    listed = az("vmss", "list-instances", *WEB, "--expand", "instanceView")
    path = tmp_path / "captured.json"
    path.write_text(json.dumps({"model": shown, "instances": listed}))
    before = emulator.simulation.scale_sets.get(emulator.subscription_id, "web-rg", "web")
    with serve(str(path)) as again:
        (after,) = again.simulation.scale_sets
        own, old = after.model["properties"], before.model["properties"]
        assert own == {key: value for key, value in old.items() if key != "provisioningState"} | {
            "provisioningState": "Succeeded"
        }
        assert after.model["sku"] == before.model["sku"]
        assert list(after.instances) == list(before.instances)
        for name, instance in after.instances.items():
            was = before.instances[name]
            assert instance.view["platformUpdateDomain"] == was.view["platformUpdateDomain"]
            assert instance.document["properties"]["vmId"] == was.document["properties"]["vmId"]
            assert instance.power == was.power


def test_our_credential_takes_the_token_of_az_and_renews_it(
    az: Az, program: str, tmp_path: Path, emulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real az, logged in to the emulator and not logged in: its token works there, its refusal is one line."""
    kept = {"PATH": f"{Path(program).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    env = {**kept, "AZURE_CORE_INSTANCE_DISCOVERY": "false", "REQUESTS_CA_BUNDLE": emulator.ca_file}
    logged_in = lite.azure_cli_credential(env={**env, "AZURE_CONFIG_DIR": str(tmp_path / "az")})
    cloud = lite.custom_cloud(emulator.arm_endpoint, emulator.authority)
    with lite.Arm(logged_in, cloud=cloud, ca_file=emulator.ca_file) as arm:
        web = (emulator.subscription_id, "web-rg", "web")
        assert lite.get_vmss(arm, *web)["name"] == "web"
        scope = "https://management.azure.com/.default"
        before = logged_in.get_token(scope)
        after = logged_in.renew(scope, before)  # az keeps a token of its own while that is good
        assert abs(after.expires_on - before.expires_on) <= 2
        assert lite.get_vmss(arm, *web)["name"] == "web"
    for name, value in {**env, "AZURE_CONFIG_DIR": str(tmp_path / "az")}.items():
        monkeypatch.setenv(name, value)
    token = azurerm_names.get_access_token_from_cli()  # azurerm's name, which knows the process's environment only
    assert emulator.identity.principal_of(f"Bearer {token}").client_id == emulator.client_id
    nobody = lite.azure_cli_credential(env={**env, "AZURE_CONFIG_DIR": str(tmp_path / "nobody")})
    with pytest.raises(lite.CredentialError, match=r"az gave no token: .*az login") as told:
        nobody.get_token(scope)
    assert "\n" not in str(told.value)


def test_az_reaches_it_as_stock_azure_cloud_by_the_proxy(program: str, tmp_path: Path) -> None:
    with serve(time_scale=1000, proxy=True) as emulator:
        trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), emulator.ca_file)
        stock = az_of(program, tmp_path, {**trust, "HTTPS_PROXY": emulator.proxy or ""})
        log_in(stock, emulator)
        assert stock("vmss", "show", *WEB)["name"] == "web"
        path = "virtualMachineProfile.storageProfile.imageReference.version"
        stock("vmss", "update", *WEB, "--set", f"{path}={NEW}")
        stock("vmss", "update-instances", *WEB, "--instance-ids", "0")
        assert Watch(emulator).running(NEW) == {"0"}


@pytest.mark.parametrize("kind", ["imds", "app-service"])
def test_az_logs_in_as_the_machine_itself(program: str, tmp_path: Path, kind: str) -> None:
    with serve(time_scale=1) as emulator:
        trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), emulator.ca_file)
        env = {**trust, "AZURE_CORE_INSTANCE_DISCOVERY": "false", **emulator.managed_identity_env(kind)}
        az = az_of(program, tmp_path, env)
        az("cloud", "register", "-n", "emulator", "--endpoint-resource-manager", emulator.arm_endpoint)
        az("cloud", "set", "-n", "emulator")
        assert [one["id"] for one in az("login", "--identity")] == [emulator.subscription_id]
        assert az("vmss", "show", *WEB)["name"] == "web"


def test_azure_identity_gets_the_token_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import ManagedIdentityCredential

    with serve(time_scale=1) as emulator:
        for name, value in emulator.managed_identity_env("imds").items():
            monkeypatch.setenv(name, value)
        token = ManagedIdentityCredential().get_token("https://management.azure.com/.default").token
        found = emulator.identity.principal_of(f"Bearer {token}")
        assert found.client_id == emulator.identity.managed[0].client_id
