"""azure-mgmt-compute 39 with azure-identity, unmodified: each poller ends, and each state afterwards is right."""

from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient

from azurerm_lite.emulator import Seed

from .conftest import Watch

NEW = "22.04.202611120"
NEW_CUSTOM_DATA = {"virtualMachineProfile": {"osProfile": {"customData": "ZWNobw=="}}}
LATEST = {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": "latest"}}}}


@pytest.fixture
def client(emulator: Any) -> Any:
    credential = ClientSecretCredential(
        emulator.tenant_id,
        emulator.client_id,
        emulator.client_secret,
        authority=emulator.authority,
        disable_instance_discovery=True,
        connection_verify=emulator.ca_file,
    )
    with ComputeManagementClient(
        credential,
        emulator.subscription_id,
        base_url=emulator.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
        connection_verify=emulator.ca_file,
        polling_interval=0.05,
    ) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _no_ca_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture
def web(emulator: Any) -> tuple[str, str]:
    return emulator.resource_group, emulator.vmss_name


def states(client: Any, web: tuple[str, str]) -> dict[str, Any]:
    found = client.virtual_machine_scale_set_vms.list(*web, expand="instanceView")
    return {vm.instance_id: vm.as_dict()["properties"] for vm in found}


def power(state: dict[str, Any]) -> str:
    return next(s["code"] for s in state["instanceView"]["statuses"] if s["code"].startswith("PowerState/"))


def test_reading(client: Any, web: tuple[str, str], emulator: Any) -> None:
    model = client.virtual_machine_scale_sets.get(*web)
    assert (model.name, model.etag, model.sku.capacity) == ("web", '"3"', 20)
    assert [one.name for one in client.virtual_machine_scale_sets.list(web[0])] == ["web"]
    assert [one.name for one in client.virtual_machine_scale_sets.list_all()] == ["web"]
    view = client.virtual_machine_scale_sets.get_instance_view(*web)
    assert view.virtual_machine.statuses_summary[0].count == 20
    emulator.simulation.settings.page_size = 6
    assert len(states(client, web)) == 20
    one = client.virtual_machine_scale_set_vms.get(*web, "0", expand="instanceView").as_dict()
    assert one["properties"]["instanceView"]["platformUpdateDomain"] == 0
    assert client.virtual_machine_scale_set_vms.get_instance_view(*web, "0").platform_fault_domain == 0
    with pytest.raises(ResourceNotFoundError):
        client.virtual_machine_scale_sets.get(web[0], "nix")


def test_put_with_match_conditions_and_update_instances(client: Any, web: tuple[str, str]) -> None:
    sets = client.virtual_machine_scale_sets
    model = sets.get(*web)
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = NEW
    stale = model.etag
    unmodified = MatchConditions.IfNotModified
    done = sets.begin_create_or_update(*web, model, etag=stale, match_condition=unmodified).result()
    assert done.as_dict()["properties"]["provisioningState"] == "Succeeded"
    with pytest.raises(ResourceModifiedError):
        sets.begin_create_or_update(*web, model, etag=stale, match_condition=unmodified)
    sets.begin_update_instances(*web, {"instanceIds": ["0", "1"]}).result()
    assert {one for one, state in states(client, web).items() if state["latestModelApplied"]} == {"0", "1"}
    with pytest.raises(HttpResponseError, match="999 is not an active"):
        sets.begin_update_instances(*web, {"instanceIds": ["999"]})


def test_patch_scales_out_and_in(client: Any, web: tuple[str, str]) -> None:
    sets = client.virtual_machine_scale_sets
    done = sets.begin_update(*web, {"sku": {"capacity": 23}}).result()
    assert (done.sku.capacity, len(states(client, web))) == (23, 23)
    assert {state["provisioningState"] for state in states(client, web).values()} == {"Succeeded"}
    sets.begin_update(*web, {"sku": {"capacity": 18}}).result()
    assert len(states(client, web)) == 18


@pytest.mark.parametrize(
    ("action", "left"),
    [("begin_power_off", "stopped"), ("begin_deallocate", "deallocated"), ("begin_restart", "running")],
)
def test_power_actions_and_start(client: Any, web: tuple[str, str], watch: Watch, action: str, left: str) -> None:
    sets = client.virtual_machine_scale_sets
    getattr(sets, action)(*web, {"instanceIds": ["0", "3"]}).result()
    assert watch.interrupted() == ({"0", "3"} if action == "begin_restart" else set())
    found = {one: power(state) for one, state in states(client, web).items()}
    assert {found[one] for one in ("0", "3")} == {f"PowerState/{left}"}
    assert found["1"] == "PowerState/running"
    sets.begin_start(*web, {"instanceIds": ["0", "3"]}).result()
    assert {power(state) for state in states(client, web).values()} == {"PowerState/running"}


def test_reimage_makes_the_disk_anew_and_redeploy_and_restart_do_not(
    client: Any, web: tuple[str, str], watch: Watch
) -> None:
    sets, two = client.virtual_machine_scale_sets, {"instanceIds": ["0", "3"]}
    sets.begin_update(*web, {"properties": NEW_CUSTOM_DATA}).result()
    sets.begin_update_instances(*web, two).result()
    assert {one for one, state in states(client, web).items() if state["latestModelApplied"]} == {"0", "3"}
    assert watch.interrupted() == {"0", "3"}
    for begin in (sets.begin_redeploy, sets.begin_restart, sets.begin_perform_maintenance):
        begin(*web, two).result()
        assert (watch.interrupted(), watch.made_anew()) == ({"0", "3"}, set())
    sets.begin_reimage(*web, {"instanceIds": ["0"]}).result()
    assert (watch.interrupted(), watch.made_anew()) == ({"0"}, {"0"})
    sets.begin_reimage_all(*web, {"instanceIds": ["3"]}).result()
    assert (watch.interrupted(), watch.made_anew()) == ({"3"}, {"0", "3"})
    found = states(client, web).values()
    assert {state["provisioningState"] for state in found} == {"Succeeded"}
    assert {power(state) for state in found} == {"PowerState/running"}


@pytest.mark.parametrize("action", ["begin_restart", "begin_reimage", "begin_reimage_all", "begin_redeploy"])
def test_actions_on_one_instance_leave_the_others_alone(
    client: Any, web: tuple[str, str], watch: Watch, action: str
) -> None:
    one = client.virtual_machine_scale_set_vms
    client.virtual_machine_scale_sets.begin_update(*web, {"properties": NEW_CUSTOM_DATA}).result()
    client.virtual_machine_scale_sets.begin_update_instances(*web, {"instanceIds": ["1", "3"]}).result()
    one.begin_power_off(*web, "1").result()
    assert power(states(client, web)["1"]) == "PowerState/stopped"
    one.begin_start(*web, "1").result()
    assert watch.interrupted() == {"1", "3"}
    getattr(one, action)(*web, "1").result()
    assert watch.interrupted() == {"1"}
    assert watch.made_anew() == ({"1"} if "reimage" in action else set())
    assert {power(state) for state in states(client, web).values()} == {"PowerState/running"}
    one.begin_deallocate(*web, "1").result()
    assert watch.power()["deallocated"] == {"1"}


def test_delete_instances_and_one_instance(client: Any, web: tuple[str, str]) -> None:
    client.virtual_machine_scale_sets.begin_delete_instances(*web, {"instanceIds": ["0", "1"]}).result()
    client.virtual_machine_scale_set_vms.begin_delete(*web, "3").result()
    assert not {"0", "1", "3"} & set(states(client, web))
    assert client.virtual_machine_scale_sets.get(*web).sku.capacity == 17


def test_protection_is_stored_and_keeps_an_instance_out_of_set_wide_work(client: Any, web: tuple[str, str]) -> None:
    vms = client.virtual_machine_scale_set_vms
    vm = vms.get(*web, "5")
    vm["properties"]["protectionPolicy"] = {"protectFromScaleIn": True, "protectFromScaleSetActions": True}
    vms.begin_update(*web, "5", vm).result()
    assert states(client, web)["5"]["protectionPolicy"]["protectFromScaleSetActions"] is True
    client.virtual_machine_scale_sets.begin_deallocate(*web).result()
    found = {one: power(state) for one, state in states(client, web).items()}
    assert {one for one, code in found.items() if code == "PowerState/running"} == {"5"}


def test_a_rolling_upgrade_runs_to_its_end_and_can_be_cancelled(
    client: Any, web: tuple[str, str], emulator: Any
) -> None:
    rolling, sets = client.virtual_machine_scale_set_rolling_upgrades, client.virtual_machine_scale_sets
    with pytest.raises(HttpResponseError, match="no ongoing Rolling Upgrade"):
        rolling.begin_cancel(*web)
    sets.begin_update(*web, {"properties": LATEST}).result()
    rolling.begin_start_os_upgrade(*web).result()
    latest = rolling.get_latest(*web).as_dict()["properties"]
    assert (latest["runningStatus"]["code"], latest["progress"]["successfulInstanceCount"]) == ("Completed", 20)
    exact = {state["storageProfile"]["imageReference"]["exactVersion"] for state in states(client, web).values()}
    assert exact == {NEW}
    history = [one.as_dict() for one in sets.get_os_upgrade_history(*web)]
    assert history[0]["properties"]["startedBy"] == "User"


def test_a_running_rolling_upgrade_is_cancelled(client: Any, web: tuple[str, str], emulator: Any) -> None:
    rolling, sets = client.virtual_machine_scale_set_rolling_upgrades, client.virtual_machine_scale_sets
    sets.begin_update(*web, {"properties": LATEST}).result()
    emulator.simulation.events.durations = {}
    emulator.set_time_scale(20)  # slow enough to be caught in the middle: a batch takes three seconds
    rolling.begin_start_os_upgrade(*web)
    rolling.begin_cancel(*web).result()
    latest = rolling.get_latest(*web).as_dict()["properties"]
    assert (latest["runningStatus"]["code"], latest["runningStatus"]["lastAction"]) == ("Cancelled", "Cancel")
    assert latest["error"]["code"] == "RollingUpgradeInternalError"
    assert latest["progress"]["pendingInstanceCount"] == 16


def test_a_set_is_created_and_its_extensions_and_run_commands_are_stored(
    client: Any, web: tuple[str, str], emulator: Any
) -> None:
    sets = client.virtual_machine_scale_sets
    body = Seed.build("made", capacity=3, overprovision=True).model
    made = sets.begin_create_or_update(web[0], "made", body, etag="*", match_condition=MatchConditions.IfMissing)
    assert made.result().as_dict()["properties"]["provisioningState"] == "Succeeded"
    assert len(states(client, (web[0], "made"))) == 3
    own = {"publisher": "Microsoft.ManagedServices", "type": "ApplicationHealthLinux", "typeHandlerVersion": "1.0"}
    health = client.virtual_machine_scale_set_extensions
    health.begin_create_or_update(web[0], "made", "health", {"properties": own}).result()
    assert [one.name for one in health.list(web[0], "made")] == ["health"]
    instance = next(iter(states(client, (web[0], "made"))))
    commands, where = client.virtual_machine_scale_set_vm_run_commands, (web[0], "made", instance, "look")
    script = {"location": "westus2", "properties": {"source": {"script": "uptime"}}}
    commands.begin_create_or_update(*where, script).result()
    assert commands.get(*where, expand="instanceView").as_dict()["properties"]["instanceView"]["exitCode"] == 0
    commands.begin_delete(*where).result()
    assert list(commands.list(web[0], "made", instance)) == []


def test_a_flexible_set_is_upgraded_by_vm_names(client: Any, emulator: Any) -> None:
    emulator.add(Seed.build("flex", orchestration="Flexible", capacity=3))
    where, sets = ("web-rg", "flex"), client.virtual_machine_scale_sets
    image = {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}
    sets.begin_update(*where, {"properties": image}).result()
    names = [vm.instance_id for vm in client.virtual_machine_scale_set_vms.list(*where)]
    sets.begin_update_instances(*where, {"instanceIds": names[:1]}).result()
    view = client.virtual_machines.instance_view("web-rg", names[0])
    assert [one.code for one in view.statuses] == ["ProvisioningState/succeeded", "PowerState/running"]


def test_deleting_the_set(client: Any, web: tuple[str, str]) -> None:
    client.virtual_machine_scale_sets.begin_delete(*web).result()
    with pytest.raises(ResourceNotFoundError):
        client.virtual_machine_scale_sets.get(*web)
