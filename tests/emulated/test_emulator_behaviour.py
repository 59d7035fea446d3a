"""Scale sets that behave: made, placed, upgraded by themselves, sick, repaired, throttled; Uniform and Flexible."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Emulator, Seed, VirtualClock, serve

from .conftest import NEW, OLD

IMAGE = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": OLD}
Start = Callable[..., "Rig"]


class Rig:
    """An emulator with a seed, and an Arm on it, in virtual time."""

    def __init__(self, emulator: Emulator, arm: az.Arm) -> None:
        self.emulator, self.arm, self.simulation = emulator, arm, emulator.simulation
        self.web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        self.clock: Any = emulator.clock

    @property
    def scale_set(self) -> Any:
        return self.simulation.scale_sets.get(*self.web)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.simulation.events.run_due_events()

    def vms(self, **options: Any) -> dict[str, Any]:
        return {vm["instanceId"]: vm for vm in az.list_vmss_vms(self.arm, *self.web, **options)}

    def patch(self, properties: dict[str, Any]) -> None:
        az.patch_vmss(self.arm, *self.web, {"properties": properties}).wait()

    def new_version(self, version: str = NEW) -> None:
        model = az.get_vmss(self.arm, *self.web)
        self.patch(az.merge_patch(model, az.set_image_version(model, version).model)["properties"])

    def exact(self) -> Counter[str]:
        images = [vm["properties"]["storageProfile"]["imageReference"]["exactVersion"] for vm in self.vms().values()]
        return Counter(images)


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Any] = []

    def begin(seed: Seed | None = None, **options: Any) -> Rig:
        emulator = serve(seed or Seed.build(**options), clock=VirtualClock())
        clock: Any = emulator.clock
        arm = az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time)
        running.extend((arm, emulator))
        return Rig(emulator, arm)

    yield begin
    for one in running:
        one.close() if isinstance(one, az.Arm) else one.stop()


# --- coming to be ----------------------------------------------------------------------------------------------------


def body(capacity: int, **properties: Any) -> dict[str, Any]:
    built = Seed.build(capacity=capacity).model
    own = {**built["properties"], **properties}
    return {"location": "westus2", "sku": built["sku"], "properties": own}


def test_a_put_of_a_new_name_creates_the_set_with_azures_defaults_and_overprovisions(start: Start) -> None:
    rig = start()
    other = az.ScaleSet(rig.web.subscription_id, rig.web.resource_group, "other")
    operation = az.put_vmss(rig.arm, *other, body(5, overprovision=True), if_none_match="*")
    (entry,) = rig.emulator.recorder.find("PUT", "/other")
    assert entry.status == 201
    assert "Location" not in entry.response_headers
    assert entry.response["properties"]["provisioningState"] == "Creating"
    assert len(rig.simulation.scale_sets.get(*other).instances) == 7  # more than asked for, while it is made
    model = operation.wait().resource
    assert model["properties"]["platformFaultDomainCount"] == 5
    vms = az.list_vmss_vms(rig.arm, *other)
    assert len(vms) == 5
    assert {vm["properties"]["provisioningState"] for vm in vms} == {"Succeeded"}
    with pytest.raises(az.ConcurrencyError):
        az.put_vmss(rig.arm, *other, body(5), if_match=None, if_none_match="*")


@pytest.mark.parametrize(
    ("change", "code"), [({"location": None}, "LocationRequired"), ({"sku": None}, "InvalidParameter")]
)
def test_a_body_that_azure_would_refuse_creates_nothing(start: Start, change: dict[str, Any], code: str) -> None:
    rig = start()
    given = {key: value for key, value in {**body(2), **change}.items() if value is not None}
    with pytest.raises(az.ArmError, match=code):
        az.put_vmss(rig.arm, rig.web[0], rig.web[1], "other", given)
    assert len(list(rig.simulation.scale_sets)) == 1


def test_instances_are_created_and_deleted_with_the_states_between(start: Start) -> None:
    rig = start(capacity=4)
    out = az.patch_vmss(rig.arm, *rig.web, {"sku": {"capacity": 6}})
    assert Counter(vm["properties"]["provisioningState"] for vm in rig.vms().values()) == {
        "Succeeded": 4,
        "Creating": 2,
    }
    out.wait()
    into = az.patch_vmss(rig.arm, *rig.web, {"sku": {"capacity": 3}})
    assert Counter(vm["properties"]["provisioningState"] for vm in rig.vms().values()) == {
        "Succeeded": 3,
        "Deleting": 3,
    }
    into.wait()
    assert len(rig.vms()) == 3


# --- placement -------------------------------------------------------------------------------------------------------


def test_a_zonal_set_spreads_over_its_zones_and_has_no_update_domains(start: Start) -> None:
    rig = start(capacity=9, zones=["1", "2", "3"])
    vms = rig.vms(expand="instanceView").values()
    assert Counter(vm["zones"][0] for vm in vms) == {"1": 3, "2": 3, "3": 3}
    views = [vm["properties"]["instanceView"] for vm in vms]
    assert not any("platformUpdateDomain" in view for view in views)
    assert {view["platformFaultDomain"] for view in views} == {0}


def test_a_large_set_has_a_placement_group_for_each_hundred_with_domains_of_its_own(start: Start) -> None:
    rig = start(capacity=250, page_size=100)
    views = [vm["properties"]["instanceView"] for vm in rig.vms(expand="instanceView").values()]
    groups = Counter(view["placementGroupId"] for view in views)
    assert sorted(groups.values()) == [50, 100, 100]
    for group in groups:
        domains = Counter(view["platformUpdateDomain"] for view in views if view["placementGroupId"] == group)
        assert set(domains) == {0, 1, 2, 3, 4}
        assert len(set(domains.values())) == 1


def test_a_flexible_set_goes_by_vm_names_and_has_no_view_of_the_set(start: Start) -> None:
    rig = start(capacity=3, orchestration="Flexible")
    vms = rig.vms(expand="instanceView")
    assert all(name.startswith("web_") and len(name) == 12 for name in vms)
    assert not any("instanceView" in vm["properties"] for vm in vms.values())
    with pytest.raises(az.ConflictError, match="Flexible"):
        az.get_vmss_instance_view(rig.arm, *rig.web)
    rig.new_version()
    first = next(iter(vms))
    az.manual_upgrade_instances(rig.arm, *rig.web, [first]).wait()
    assert rig.exact() == {NEW: 1, OLD: 2}
    group = f"/subscriptions/{rig.web[0]}/resourceGroups/{rig.web[1]}"
    shown = rig.arm.get(f"{group}/providers/Microsoft.Compute/virtualMachines/{first}")
    assert shown["properties"]["virtualMachineScaleSet"]["id"] == rig.web.resource_id
    view = rig.arm.get(f"{group}/providers/Microsoft.Compute/virtualMachines/{first}/instanceView")
    assert "platformUpdateDomain" not in view
    assert view["statuses"][1]["code"] == "PowerState/running"
    with pytest.raises(az.NotFoundError):
        rig.arm.get(f"{group}/providers/Microsoft.Compute/virtualMachines/nix/instanceView")


# --- upgrading by itself ---------------------------------------------------------------------------------------------


def test_an_automatic_set_upgrades_all_at_once_when_its_model_changes(start: Start) -> None:
    rig = start(mode="Automatic")
    rig.new_version()
    assert {vm["properties"]["provisioningState"] for vm in rig.vms().values()} == {"Updating"}
    rig.later(400)
    assert rig.exact() == {NEW: 20}


def test_a_rolling_set_goes_batch_by_batch_with_pauses_and_waits_for_health(start: Start) -> None:
    policy = {"maxBatchInstancePercent": 25, "pauseTimeBetweenBatches": "PT2M"}
    rig = start(mode="Rolling", rolling_policy=policy, health_source="extension")
    rig.new_version()
    assert az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]["progress"]["inProgressInstanceCount"] == 5
    rig.later(61)
    health = Counter(
        vm["properties"]["instanceView"]["vmHealth"]["status"]["code"] for vm in rig.vms(expand="instanceView").values()
    )
    assert health == {"HealthState/healthy": 15, "HealthState/initializing": 5}
    rig.later(60)
    assert rig.exact() == {NEW: 5, OLD: 15}  # the pause
    rig.later(3600)
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert (latest["runningStatus"]["code"], rig.exact()) == ("Completed", {NEW: 20})
    (run,) = az.list_vmss_os_upgrade_history(rig.arm, *rig.web)
    assert (run["properties"]["startedBy"], run["properties"]["progress"]["successfulInstanceCount"]) == (
        "Platform",
        20,
    )


def test_a_rolling_upgrade_stops_when_too_many_of_the_upgraded_are_sick(start: Start) -> None:
    rig = start(mode="Rolling", health_source="probe")
    rig.emulator.faults.add(on="upgrade", effect="unhealthy", times=2)
    rig.new_version()
    rig.later(3600)
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert latest["runningStatus"]["code"] == "Faulted"
    assert latest["error"]["code"] == "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
    assert latest["progress"] == {
        "successfulInstanceCount": 2,
        "failedInstanceCount": 2,
        "inProgressInstanceCount": 0,
        "pendingInstanceCount": 16,
    }


def test_a_rolling_upgrade_rolls_the_failed_ones_back_when_its_policy_says_so(start: Start) -> None:
    policy = {"rollbackFailedInstancesOnPolicyBreach": True}
    rig = start(mode="Rolling", rolling_policy=policy)
    rig.emulator.faults.add(on="upgrade", effect="fail", times=3)
    rig.new_version()
    rig.later(3600)
    assert {vm["properties"]["provisioningState"] for vm in rig.vms().values()} == {"Succeeded"}
    (run,) = az.list_vmss_os_upgrade_history(rig.arm, *rig.web)
    assert run["properties"]["rollbackInfo"]["successfullyRolledbackInstanceCount"] == 3


@pytest.mark.parametrize("mode", ["Rolling", "Manual"])
def test_a_rolling_upgrade_does_not_begin_on_a_set_that_is_too_sick(start: Start, mode: str) -> None:
    """Five of twenty are a quarter, and a fifth may be sick: whether they stand first in line or not."""
    rig = start(mode=mode, health_source="extension", rolling_policy={"prioritizeUnhealthyInstances": True})
    for number in list(rig.scale_set.instances)[:5]:
        rig.emulator.set_health(number, "unhealthy")
    image = {"storageProfile": {"imageReference": {"version": NEW}}}
    az.patch_vmss(rig.arm, *rig.web, {"properties": {"virtualMachineProfile": image}})
    rig.later(60)
    if mode == "Manual":
        az.start_os_rolling_upgrade(rig.arm, *rig.web)
    rig.later(7200)
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert latest["runningStatus"]["code"] == "Faulted"
    assert latest["error"]["code"] == "MaxUnhealthyInstancePercentExceededBeforeRollingUpgrade"
    assert latest["progress"]["pendingInstanceCount"] == 20
    assert rig.exact() == {OLD: 20}
    assert not [one.instance_id for one in rig.scale_set.instances.values() if one.upgrades]


def test_a_rolling_upgrade_goes_through_a_set_that_is_as_sick_as_it_may_be_the_sick_first(start: Start) -> None:
    policy = {"prioritizeUnhealthyInstances": True, "maxBatchInstancePercent": 20}
    rig = start(mode="Rolling", health_source="extension", rolling_policy=policy)
    sick = list(rig.scale_set.instances)[-4:]
    for number in sick:
        rig.emulator.set_health(number, "unhealthy")
    rig.new_version()
    assert {one.instance_id for one in rig.scale_set.instances.values() if one.upgrades} == set(sick)
    rig.later(7200)
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert (latest["runningStatus"]["code"], rig.exact()) == ("Completed", {NEW: 20})


def test_a_rolling_upgrade_stops_between_batches_when_the_set_falls_sick_meanwhile(start: Start) -> None:
    rig = start(mode="Rolling", health_source="extension", rolling_policy={"pauseTimeBetweenBatches": "PT5M"})
    rig.new_version()
    rig.later(150)
    done = rig.exact()[NEW]
    for number in list(rig.scale_set.instances)[-5:]:
        rig.emulator.set_health(number, "unhealthy")
    rig.later(7200)
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert latest["error"]["code"] == "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
    assert (done, rig.exact()) == (4, {NEW: 4, OLD: 16})


def test_a_cancelled_rolling_upgrade_keeps_what_is_done_and_the_next_model_starts_anew(start: Start) -> None:
    rig = start(mode="Rolling")
    rig.new_version()
    rig.later(70)
    az.cancel_rolling_upgrade(rig.arm, *rig.web).wait()
    latest = az.get_rolling_upgrade(rig.arm, *rig.web)["properties"]
    assert (latest["runningStatus"]["code"], latest["runningStatus"]["lastAction"]) == ("Cancelled", "Cancel")
    assert latest["error"]["details"][0]["code"] == "RollingUpgradeCanceled"
    rig.later(3600)
    assert 0 < rig.exact()[NEW] < 20
    with pytest.raises(az.ConflictError, match="no ongoing Rolling Upgrade"):
        az.cancel_rolling_upgrade(rig.arm, *rig.web)
    az.patch_vmss(rig.arm, *rig.web, {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}).wait()
    rig.later(3600)
    assert rig.exact() == {NEW: 20}


def test_a_new_image_behind_latest_shows_in_no_instance_and_in_no_flag(start: Start) -> None:
    rig = start(image={**IMAGE, "version": "latest"})
    rig.simulation.images.publish(IMAGE["publisher"], IMAGE["offer"], IMAGE["sku"], "22.04.202701010")
    assert rig.exact() == {NEW: 20}
    assert {vm["properties"]["latestModelApplied"] for vm in rig.vms().values()} == {True}
    az.start_os_rolling_upgrade(rig.arm, *rig.web).wait()
    assert rig.exact() == {"22.04.202701010": 20}


# --- health and repairs ----------------------------------------------------------------------------------------------


def test_health_is_reported_where_the_model_has_a_source_and_nowhere_else(start: Start) -> None:
    plain = start(capacity=2)
    assert not any("vmHealth" in vm["properties"]["instanceView"] for vm in plain.vms(expand="instanceView").values())
    rig = start(capacity=2, health_source="extension")
    az.restart_vmss_vms(rig.arm, *rig.web, ["0"]).wait()
    assert az.get_vmss_vm_instance_view(rig.arm, *rig.web, "0")["vmHealth"]["status"]["code"] in (
        "HealthState/initializing",
        "HealthState/healthy",
    )
    rig.later(31)
    assert az.get_vmss_vm_instance_view(rig.arm, *rig.web, "0")["vmHealth"]["status"]["code"] == "HealthState/healthy"


@pytest.mark.parametrize("effect", ["unhealthy", "flap", "vanish", "hang", "fail"])
def test_each_misfortune_of_an_instance(start: Start, effect: str) -> None:
    rig = start(capacity=3, health_source="extension")
    rig.new_version()
    rig.emulator.faults.add(on="upgrade", instance="1", effect=effect)
    operation = az.manual_upgrade_instances(rig.arm, *rig.web, ["0", "1"])
    rig.later(200)
    if effect == "fail":
        with pytest.raises(az.OperationFailed):
            operation.wait()
    operation.poll()
    assert operation.done == (effect != "hang")
    seen = set()
    for _ in range(8):
        rig.later(60)
        vm = rig.vms(expand="instanceView").get("1")
        view = vm["properties"]["instanceView"] if vm else {}
        seen.add(view.get("vmHealth", {}).get("status", {}).get("code", "gone" if vm is None else "silent"))
    wanted = {
        "unhealthy": {"HealthState/unhealthy"},
        "flap": {"HealthState/unhealthy", "HealthState/healthy"},
        "vanish": {"gone"},
    }
    assert seen == wanted.get(effect, {"HealthState/healthy"})


def test_automatic_repairs_replace_a_sick_instance_after_its_grace_unless_suspended(start: Start) -> None:
    policy = {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}}
    rig = start(capacity=4, health_source="extension", properties=policy)
    sick = rig.scale_set.instances["2"]
    az.set_orchestration_service_state(rig.arm, *rig.web, "Suspend").wait()
    rig.simulation.health.set_health(rig.scale_set, sick, "unhealthy")
    rig.later(1200)
    assert "2" in rig.vms()
    services = az.get_vmss_instance_view(rig.arm, *rig.web)["orchestrationServices"]
    assert services == [{"serviceName": "AutomaticRepairs", "serviceState": "Suspended"}]
    az.set_orchestration_service_state(rig.arm, *rig.web, "Resume").wait()
    rig.simulation.health.set_health(rig.scale_set, sick, "healthy")
    rig.simulation.health.set_health(rig.scale_set, sick, "unhealthy")
    rig.later(1200)
    assert "2" not in rig.vms()
    assert len(rig.vms()) == 4


# --- upgrade is not reimage ------------------------------------------------------------------------------------------


def test_custom_data_reaches_an_instance_with_its_reimage_only(start: Start) -> None:
    rig = start(capacity=2)
    rig.patch({"virtualMachineProfile": {"osProfile": {"customData": "ZWNobw=="}, "licenseType": "None"}})
    az.manual_upgrade_instances(rig.arm, *rig.web, ["0"]).wait()
    instance = rig.scale_set.instances["0"]
    assert rig.vms()["0"]["properties"]["latestModelApplied"] is True
    assert instance.disk_version < instance.model_version
    az.reimage_vmss_vms(rig.arm, *rig.web, ["0"]).wait()
    assert instance.disk_version == instance.model_version
    assert "customData" not in json.dumps(az.get_vmss(rig.arm, *rig.web))


def test_an_ephemeral_disk_moves_to_the_new_image_with_a_forced_reimage_only(start: Start) -> None:
    rig = start(capacity=2, ephemeral=True)
    rig.new_version()
    az.manual_upgrade_instances(rig.arm, *rig.web, ["0"]).wait()
    assert rig.exact() == {OLD: 2}
    az.reimage_vmss_vms(rig.arm, *rig.web, ["0"]).wait()
    assert rig.exact() == {OLD: 2}
    az.reimage_vmss_vms(rig.arm, *rig.web, ["0"], options={"forceUpdateOSDiskForEphemeral": True}).wait()
    assert rig.exact() == {OLD: 1, NEW: 1}


# --- the state of the set ---------------------------------------------------------------------------------------------


def state_of(rig: Rig) -> tuple[str, int]:
    """The state that the model shows, which is the one that the set's instance view shows, and the etag as a number."""
    model = az.get_vmss(rig.arm, *rig.web)
    shown = az.get_vmss_instance_view(rig.arm, *rig.web)["statuses"][0]["code"]
    assert shown == f"ProvisioningState/{model['properties']['provisioningState'].lower()}"
    return model["properties"]["provisioningState"], int(model["etag"].strip('"'))


@pytest.mark.parametrize("call", [az.manual_upgrade_instances, az.restart_vmss_vms, az.reimage_vmss_vms])
def test_a_set_is_updating_while_an_operation_works_on_it_and_its_etag_is_raised_twice(start: Start, call: Any) -> None:
    """What tools of 2016 wait for: they look at the state of the set alone."""
    rig = start(capacity=3)
    rig.new_version()
    state, before = state_of(rig)
    assert state == "Succeeded"
    operation = call(rig.arm, *rig.web, ["0"])
    assert state_of(rig) == ("Updating", before + 1)
    operation.wait()
    assert state_of(rig) == ("Succeeded", before + 2)


def test_a_failed_upgrade_leaves_the_set_failed_until_an_operation_succeeds(start: Start) -> None:
    rig = start(capacity=3)
    rig.new_version()
    rig.emulator.faults.add(on="upgrade", instance="0", effect="fail")
    with pytest.raises(az.OperationFailed):
        az.manual_upgrade_instances(rig.arm, *rig.web, ["0"]).wait()
    assert state_of(rig)[0] == "Failed"
    az.manual_upgrade_instances(rig.arm, *rig.web, ["0"]).wait()
    assert state_of(rig)[0] == "Succeeded"


def test_a_rolling_set_is_updating_until_its_roll_is_over_and_a_deleted_one_is_gone(start: Start) -> None:
    rig = start(capacity=5, mode="Rolling")
    rig.new_version()
    assert state_of(rig)[0] == "Updating"
    rig.later(3600)
    assert state_of(rig)[0] == "Succeeded"
    rig.patch({"virtualMachineProfile": {"licenseType": "None"}})
    az.cancel_rolling_upgrade(rig.arm, *rig.web).wait()
    assert state_of(rig)[0] == "Succeeded"
    rig.emulator.faults.add(on="upgrade", effect="fail", times=9)
    rig.patch({"virtualMachineProfile": {"licenseType": "RHEL_BYOS"}})
    rig.later(3600)
    assert state_of(rig)[0] == "Failed"


# --- writers in each other's way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["conflict", "preempt"])
def test_a_second_upgrade_is_refused_or_takes_over_as_chosen(start: Start, way: str) -> None:
    rig = start()
    rig.simulation.settings.concurrency = way
    rig.new_version()
    first = az.manual_upgrade_instances(rig.arm, *rig.web, ["0"])
    if way == "conflict":
        with pytest.raises(az.BusyError):
            az.manual_upgrade_instances(rig.arm, *rig.web, ["1"])
        first.wait()
        return
    az.manual_upgrade_instances(rig.arm, *rig.web, ["1"]).wait()
    with pytest.raises(az.OperationFailed, match="OperationPreempted"):
        first.wait()


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits_are_shown_in_every_answer_and_refuse_with_computes_own_body_when_enforced(start: Start) -> None:
    rig = start(capacity=2)
    az.get_vmss(rig.arm, *rig.web)
    shown = rig.emulator.recorder.entries[-1].response_headers["x-ms-ratelimit-remaining-resource"]
    assert shown.startswith("Microsoft.Compute/GetVMScaleSetSubscriptionMaximum;2399,")
    rig.emulator.throttle.is_enforced = True
    path, bearer = (
        f"{rig.web.resource_id}?api-version=2024-07-01",
        {"Authorization": f"Bearer {rig.arm.credential.get_token(rig.arm.cloud.scope).token}"},
    )
    statuses = [rig.arm._transport().send("GET", path, bearer).status for _ in range(60)]
    assert statuses.count(200) in (35, 36)
    assert set(statuses) == {200, 429}
    entry = rig.emulator.recorder.entries[-1]
    assert set(entry.response) == {"code", "message", "details", "innererror"}
    assert entry.response["details"][0]["code"] == "TooManyRequests"
    assert int(entry.response_headers["Retry-After"]) >= 1
    once = az.connect(env=rig.emulator.env(), retry=az.Retry(attempts=1), now=rig.clock.time, sleep=rig.clock.sleep)
    with once, pytest.raises(az.ThrottledError) as caught:
        az.get_vmss(once, *rig.web)
    assert (caught.value.code, caught.value.policy) == ("OperationNotAllowed", "GetVMScaleSetResource")
    rig.later(60)
    assert az.get_vmss(rig.arm, *rig.web)["name"] == "web"


# --- stored resources ------------------------------------------------------------------------------------------------


def test_extensions_of_the_set_are_part_of_its_model(start: Start) -> None:
    rig = start(capacity=2)
    own = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    made = az.put_vmss_extension(
        rig.arm, *rig.web, "script", {"properties": {**own, "protectedSettings": {"k": "geheim"}}}
    )
    assert rig.emulator.recorder.entries[-1].status == 201
    made.wait()
    assert {vm["properties"]["latestModelApplied"] for vm in rig.vms().values()} == {False}
    assert [one["name"] for one in az.list_vmss_extensions(rig.arm, *rig.web)] == ["script"]
    az.patch_vmss_extension(rig.arm, *rig.web, "script", {"properties": {"settings": {"a": 1}}}).wait()
    found = az.get_vmss_extension(rig.arm, *rig.web, "SCRIPT")
    assert found["properties"]["settings"] == {"a": 1}
    assert "geheim" not in json.dumps([entry.response for entry in rig.emulator.recorder.entries])
    az.delete_vmss_extension(rig.arm, *rig.web, "script").wait()
    with pytest.raises(az.NotFoundError):
        az.get_vmss_extension(rig.arm, *rig.web, "script")


def script(**own: Any) -> dict[str, Any]:
    return {"publisher": "P", "type": "CustomScript", "typeHandlerVersion": "2.1", **own}


SECRET = {"commandToExecute": "geheim"}


@pytest.mark.parametrize(
    ("written", "left"),
    [({}, SECRET), ({"settings": {"a": 1}}, SECRET), ({"protectedSettings": {"k": "v"}}, {"k": "v"})]
    + [({"protectedSettings": erased}, None) for erased in ({}, None)],
)
@pytest.mark.parametrize("way", ["put model", "patch model", "put extension", "patch extension"])
def test_protected_settings_stay_when_left_out_and_are_erased_by_null_or_an_empty_object(
    start: Start, way: str, written: dict[str, Any], left: Any
) -> None:
    """Row 85: no GET shows them, so only the emulator can say whether a client has done that by accident."""
    rig = start(capacity=1)
    az.put_vmss_extension(rig.arm, *rig.web, "Script", {"properties": script(protectedSettings=SECRET)}).wait()
    assert rig.scale_set.secrets == {"extensions/script": SECRET}
    if "model" in way:
        model: Any = az.get_vmss(rig.arm, *rig.web)
        profile = model["properties"]["virtualMachineProfile"]
        profile["extensionProfile"] = {"extensions": [{"name": "Script", "properties": script(**written)}]}
        if way == "put model":
            az.put_vmss(rig.arm, *rig.web, model).wait()
        else:
            rig.patch({"virtualMachineProfile": {"extensionProfile": profile["extensionProfile"]}})
    else:
        write = az.put_vmss_extension if way == "put extension" else az.patch_vmss_extension
        write(rig.arm, *rig.web, "script", {"properties": script(**written)}).wait()
    assert rig.scale_set.secrets.get("extensions/script") == left
    shown = [az.get_vmss(rig.arm, *rig.web), az.list_vmss_extensions(rig.arm, *rig.web), [*rig.vms().values()]]
    assert "protectedSettings" not in json.dumps(shown)
    assert "geheim" not in json.dumps([entry.response for entry in rig.emulator.recorder.entries])


def test_what_a_set_hides_is_part_of_its_model_and_goes_with_what_it_belonged_to(start: Start) -> None:
    own = Seed.build(capacity=2).model
    own["properties"]["virtualMachineProfile"]["osProfile"] |= {"adminPassword": "geheim", "customData": "ZWNobw=="}
    extension = {"name": "s", "properties": script(protectedSettings=SECRET)}
    own["properties"]["virtualMachineProfile"]["extensionProfile"] = {"extensions": [extension]}
    rig = start(Seed(own, None, Seed.build().images))
    before = {"osProfile/adminPassword": "geheim", "osProfile/customData": "ZWNobw==", "extensions/s": SECRET}
    assert rig.scale_set.secrets == before
    rig.new_version()
    assert rig.scale_set.secrets == before
    az.manual_upgrade_instances(rig.arm, *rig.web, ["0", "1"]).wait()
    rig.patch({"virtualMachineProfile": {"osProfile": {"customData": "bHM="}}})
    assert {vm["properties"]["latestModelApplied"] for vm in rig.vms().values()} == {False}
    az.delete_vmss_extension(rig.arm, *rig.web, "S").wait()
    assert rig.scale_set.secrets == {"osProfile/adminPassword": "geheim", "osProfile/customData": "bHM="}
    one = rig.scale_set.instances["0"]
    az.put_vmss_vm_extension(rig.arm, *rig.web, "0", "e", {"properties": script(protectedSettings=SECRET)}).wait()
    az.patch_vmss_vm_extension(rig.arm, *rig.web, "0", "e", {"properties": {"settings": {"a": 1}}}).wait()
    assert one.secrets == {"extensions/e": SECRET}
    az.patch_vmss_vm_extension(rig.arm, *rig.web, "0", "e", {"properties": {"protectedSettings": {}}}).wait()
    assert one.secrets == {}


def test_extensions_and_run_commands_of_an_instance_are_stored(start: Start) -> None:
    rig = start(capacity=1)
    script = {"properties": {"publisher": "P", "type": "T", "typeHandlerVersion": "1.0"}}
    az.put_vmss_vm_extension(rig.arm, *rig.web, "0", "e", script).wait()
    assert [one["name"] for one in az.list_vmss_vm_extensions(rig.arm, *rig.web, "0")] == ["e"]
    az.patch_vmss_vm_extension(rig.arm, *rig.web, "0", "e", {"properties": {"settings": {"a": 1}}}).wait()
    found = az.get_vmss_vm_extension(rig.arm, *rig.web, "0", "e")["properties"]
    assert (found["settings"], found["publisher"], found["provisioningState"]) == ({"a": 1}, "P", "Succeeded")
    az.delete_vmss_vm_extension(rig.arm, *rig.web, "0", "e").wait()
    assert az.list_vmss_vm_extensions(rig.arm, *rig.web, "0") == []
    command = {"location": "westus2", "properties": {"source": {"script": "uptime"}}}
    az.put_vmss_vm_run_command(rig.arm, *rig.web, "0", "c", command).wait()
    found = az.get_vmss_vm_run_command(rig.arm, *rig.web, "0", "c", expand="instanceView")
    assert found["properties"]["instanceView"]["executionState"] == "Succeeded"
    az.patch_vmss_vm_run_command(rig.arm, *rig.web, "0", "c", {"properties": {"timeoutInSeconds": 5}}).wait()
    az.delete_vmss_vm_run_command(rig.arm, *rig.web, "0", "c").wait()
    assert az.list_vmss_vm_run_commands(rig.arm, *rig.web, "0") == []


def test_the_rarer_endpoints_do_what_they_say(start: Start) -> None:
    rig = start(capacity=3, properties={"virtualMachineProfile": spot_profile()})
    arm, web = rig.arm, rig.web
    assert {row["sku"]["name"] for row in az.list_vmss_skus(arm, *web)} >= {"Standard_D2s_v3"}
    assert [one["name"] for one in az.list_vmss_location(arm, web[0], "westus2")] == ["web"]
    assert az.list_vmss_location(arm, web[0], "nowhere") == []
    az.approve_rolling_upgrade_vmss_vms(arm, *web, ["0"]).wait()
    az.simulate_eviction_vmss_vm(arm, *web, "1")
    rig.later(60)
    assert az.get_vmss_vm_instance_view(arm, *web, "1")["statuses"][1]["code"] == "PowerState/deallocated"
    assert "vmAgent" not in az.get_vmss_vm_instance_view(arm, *web, "1")
    assert az.retrieve_boot_diagnostics_vmss_vm(arm, *web, "0")["serialConsoleLogBlobUri"]
    output = (
        az.run_command_vmss_vm(arm, *web, "0", {"commandId": "RunShellScript", "script": ["uptime"]}).wait().resource
    )
    assert output["value"][0]["code"].startswith("ComponentStatus/StdOut")
    az.scale_out_vmss(arm, *web, 2).wait()
    assert len(rig.vms()) == 5
    az.convert_vmss_to_single_placement_group(arm, *web)
    assert az.get_vmss(arm, *web)["properties"]["singlePlacementGroup"] is False
    walk = az.force_recovery_service_fabric_platform_update_domain_walk(arm, *web, 0)
    assert walk == {"walkPerformed": True, "nextPlatformUpdateDomain": 1}
    usages = {row["name"]["value"]: row["currentValue"] for row in az.list_usages(arm, web[0], "westus2")}
    assert usages == {"cores": 10, "virtualMachineScaleSets": 1}
    az.attach_detach_data_disks_vmss_vm(arm, *web, "0", {"dataDisksToAttach": [{"diskId": "/d/disk", "lun": 1}]}).wait()
    assert rig.vms()["0"]["properties"]["storageProfile"]["dataDisks"][0]["lun"] == 1


def spot_profile() -> dict[str, Any]:
    profile: dict[str, Any] = Seed.build().model["properties"]["virtualMachineProfile"]
    return {**profile, "priority": "Spot", "evictionPolicy": "Deallocate"}


def test_the_newest_version_of_a_gallery_image_is_the_one_that_the_region_has(start: Start) -> None:
    rig = start(capacity=1)
    image = f"/subscriptions/{rig.web[0]}/resourceGroups/{rig.web[1]}/providers/Microsoft.Compute/galleries/g/images/i"
    rig.simulation.images.publish_gallery(image, "1.0.9", "westus2", "eastus")
    rig.simulation.images.publish_gallery(image, "1.0.10", "West US 2")
    rig.simulation.images.publish_gallery(image, "1.0.11", "eastus")
    rig.simulation.images.publish_gallery(image, "1.0.12", "westus2", exclude_from_latest=True)
    found = az.list_gallery_image_versions(rig.arm, rig.web[0], rig.web[1], "g", "i")
    assert az.newest_gallery_version(found, "westus2") == "1.0.10"
    with pytest.raises(az.NotFoundError):
        az.list_gallery_image_versions(rig.arm, rig.web[0], rig.web[1], "g", "nix")


def test_the_catalogue_of_platform_images_can_be_walked_down(start: Start) -> None:
    rig = start(capacity=1)
    path = f"/subscriptions/{rig.web[0]}/providers/Microsoft.Compute/locations/westus2/publishers"
    for name, below in (
        ("Canonical", "/artifacttypes/vmimage/offers"),
        (IMAGE["offer"], "/skus"),
        (IMAGE["sku"], "/versions"),
        ("22.04.202606010", ""),
    ):
        assert name in [one["name"] for one in rig.arm.get_list(path)]
        path = f"{path}/{name}{below}"
    shown = rig.arm.get(path)
    assert (shown["name"], shown["properties"]["osDiskImage"]) == ("22.04.202606010", {"operatingSystem": "Linux"})
    *_, newest = rig.arm.read(f"{path.rpartition('/')[0]}?api-version=2024-07-01&$top=1&$orderby=name%20desc")
    assert [one["name"] for one in newest] == [NEW]  # type: ignore[call-overload,union-attr]
    with pytest.raises(az.NotFoundError):
        rig.arm.get(f"{path}0")


def test_what_arm_itself_answers_about_a_subscription(start: Start) -> None:
    rig = start(capacity=1)
    for subscription in (rig.web[0], rig.web[0].upper()):
        one = f"/subscriptions/{subscription}"
        assert [row["name"] for row in rig.arm.list(f"{one}/locations")] == ["westus2"]
        assert [row["name"] for row in rig.arm.list(f"{one}/resourceGroups")] == ["web-rg"]
        providers = {row["namespace"]: row for row in rig.arm.list(f"{one}/providers")}
        assert set(providers) == {"Microsoft.Compute", "Microsoft.Resources"}
        assert (
            rig.arm.get(f"{one}/providers/microsoft.compute")["resourceTypes"]
            == (providers["Microsoft.Compute"]["resourceTypes"])
        )
        kinds = {row["resourceType"]: row for row in providers["Microsoft.Compute"]["resourceTypes"]}
        assert kinds["virtualMachineScaleSets"]["locations"] == ["westus2"]
        assert rig.arm.get(one)["state"] == "Enabled"
    assert [row["subscriptionId"] for row in rig.arm.list("/subscriptions")] == [rig.web[0]]


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_a_reset_brings_the_seed_back_and_keeps_who_is_logged_in(start: Start) -> None:
    rig = start(capacity=3)
    az.delete_vmss_vms(rig.arm, *rig.web, ["0"]).wait()
    rig.emulator.reset()
    assert len(rig.vms()) == 3
    rig.emulator.add(Seed.build("second", resource_group="other-rg", capacity=1))
    assert [one["name"] for one in az.list_vmss_sub(rig.arm, rig.web[0])] == ["web", "second"]


def examples() -> list[Any]:
    from .test_recorded_traffic import FOLDER

    found = sorted((FOLDER.parent / "examples" / "2024-07-01").glob("*.json"))
    return [path for path in found if "VirtualMachineScaleSet_Create" in path.name]


@pytest.mark.usefixtures("arm_data")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in examples()])
def test_every_published_example_of_a_set_can_be_grown_and_upgraded(start: Start, path: Path) -> None:
    document = json.loads(path.read_text())
    rig = start(Seed.from_captured(document))
    model = az.get_vmss(rig.arm, *rig.web)
    assert len(rig.vms()) == model["sku"]["capacity"]
    az.patch_vmss(rig.arm, *rig.web, {"tags": {"seen": "yes"}}).wait()
    assert az.get_vmss(rig.arm, *rig.web)["tags"] == {**(model.get("tags") or {}), "seen": "yes"}


def test_the_same_seed_and_calls_give_the_same_history(start: Start) -> None:
    histories = []
    for _ in range(2):
        rig = start(capacity=6, health_source="extension")
        rig.new_version()
        az.manual_upgrade_instances(rig.arm, *rig.web, ["0", "3"]).wait()
        rig.later(600)
        histories.append([(name, one, up) for _, name, one, up in rig.simulation.state.availability])
    assert histories[0] == histories[1]
