"""Each fault does what it says, over a real socket, and what the client makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import VirtualClock, serve
from azurerm_lite.emulator.faults import FaultError, Faults

from .conftest import NEW, Run


@pytest.fixture
def faults(arm: az.Arm, azurerm_emulator: Any) -> Any:
    arm.credential.get_token(arm.cloud.scope)  # the login is not what goes wrong here
    return azurerm_emulator.faults


def written(arm: az.Arm, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_get_is_sent_again_after_a_passing_failure(arm: az.Arm, faults: Any, web: Any, status: int) -> None:
    faults.next("GET", "/web", status=status, times=2)
    assert az.get_vmss(arm, *web)["name"] == "web"


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"truncate": 100}, {"truncate": 0}])
def test_a_get_is_sent_again_after_a_broken_connection(arm: az.Arm, faults: Any, web: Any, fault: Any) -> None:
    faults.next("GET", "/web", **fault)
    assert az.get_vmss(arm, *web)["name"] == "web"


def test_a_failure_that_stays_ends_with_the_last_answer(arm: az.Arm, faults: Any, web: Any) -> None:
    faults.next("GET", "/web", status=503, times=99)
    with pytest.raises(az.ArmError, match="503 InjectedFault"):
        az.get_vmss(arm, *web)
    assert faults.rules[0].matches == 4


@pytest.mark.parametrize(
    "fault", [{"drop": "after"}, {"status": 504}, {"status": 500}, {"drop": "before"}, {"status": 504, "late": True}]
)
def test_an_action_whose_answer_is_lost_is_not_sent_again(arm: az.Arm, faults: Any, web: Any, fault: Any) -> None:
    rule = faults.next("POST", "web", **fault)
    with pytest.raises(az.OutcomeUnknown, match="may have happened"):
        az.restart_vmss_vms(arm, *web, ["0"])
    assert rule.matches == 1


@pytest.mark.parametrize(
    "fault", [{"drop": "after"}, {"drop": "before"}, {"status": 504}, {"truncate": 10}, {"status": 504, "late": True}]
)
@pytest.mark.parametrize("call", [az.put_vmss, az.patch_vmss])
def test_a_model_whose_answer_is_lost_is_written_once_in_the_end(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any, fault: Any, call: Any
) -> None:
    old = az.get_vmss(arm, *web)
    new: Any = az.set_image_version(old, NEW).model
    body = new if call is az.put_vmss else az.merge_patch(old, new)
    faults.next("PUT" if call is az.put_vmss else "PATCH", "web", **fault)
    operation = call(arm, *web, body, if_match=old["etag"])
    assert operation.wait().resource["properties"]["provisioningState"] == "Succeeded"
    assert az.image_text(az.get_vmss(arm, *web)).endswith(NEW)
    (scale_set,) = azurerm_emulator.simulation.scale_sets
    assert (scale_set.model_version, scale_set.etag) == (1, 4)


def test_a_lost_write_is_not_repeated_over_somebody_elses(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    old = az.get_vmss(arm, *web)
    az.patch_vmss(arm, *web, {"tags": {"owner": "somebody else"}}).wait()
    faults.next("PUT", "web", drop="before")
    with pytest.raises(az.OutcomeUnknown, match="Another write may have happened"):
        az.put_vmss(arm, *web, az.set_image_version(old, NEW).model)
    assert len(azurerm_emulator.recorder.find("PUT")) == 0


def test_a_lost_write_that_cannot_be_looked_at_stays_unknown(arm: az.Arm, faults: Any, web: Any) -> None:
    model = az.get_vmss(arm, *web)
    faults.next("PUT", "web", drop="after")
    faults.next("GET", "web", status=403, times=9)
    with pytest.raises(az.OutcomeUnknown, match="may have happened"):
        az.put_vmss(arm, *web, model)


@pytest.mark.parametrize("status", [400, 404, 409, 412, 501, 505])
def test_a_write_is_not_sent_again_just_because_there_is_a_retry_after(
    arm: az.Arm, faults: Any, web: Any, status: int
) -> None:
    rule = faults.next("POST", "manualupgrade", status=status, retry_after=1, times=9)
    with pytest.raises(az.ArmError):
        az.manual_upgrade_instances(arm, *web, ["0"])
    assert rule.matches == 1


def test_a_throttled_write_waits_as_long_as_it_is_told_and_is_sent_once_more(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    before = azurerm_emulator.clock.time()
    rule = faults.next("POST", "manualupgrade", status=429, retry_after=17)
    az.manual_upgrade_instances(arm, *web, ["0"])
    assert rule.matches == 2
    assert azurerm_emulator.clock.time() - before >= 17


def test_a_wait_beyond_the_budget_is_an_error_at_once(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    before = azurerm_emulator.clock.time()
    faults.next("GET", "/web", status=429, retry_after=1200)
    with pytest.raises(az.ThrottledError) as caught:
        az.get_vmss(arm, *web)
    assert caught.value.retry_after == 1200
    assert azurerm_emulator.clock.time() == before


@pytest.mark.parametrize("garbage", ["<html>Please log in</html>", "{", '{"a": NaN}', "\x1b[2J"])
def test_what_is_not_arms_json_is_a_protocol_error(arm: az.Arm, faults: Any, web: Any, garbage: str) -> None:
    faults.next("GET", "/web", garbage=garbage, times=9)
    with pytest.raises(az.ProtocolError, match="expected JSON") as caught:
        az.get_vmss(arm, *web)
    assert "\x1b" not in str(caught.value)


def test_links_to_a_foreign_host_are_not_followed_and_the_token_stays(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    with serve(clock=VirtualClock()) as twin:
        foreign = twin.arm_endpoint.replace("localhost", "127.0.0.1")
        azurerm_emulator.simulation.settings.page_size = 5
        faults.next("GET", "virtualMachines", link=foreign)
        with pytest.raises(az.ProtocolError, match="not followed"):
            az.list_vmss_vms(arm, *web)
        faults.next("POST", "manualupgrade", link=foreign)
        with pytest.raises(az.ProtocolError, match="not followed"):
            az.manual_upgrade_instances(arm, *web, ["0"])
        faults.next("GET", "/web", status=307, headers={"Location": f"{foreign}/x"}, body={})
        with pytest.raises(az.ProtocolError, match="redirect"):
            az.get_vmss(arm, *web)
        assert twin.recorder.entries == []


@pytest.mark.parametrize("times", [1, 3, 5])
def test_a_status_that_cannot_be_read_is_not_a_failed_operation(arm: az.Arm, faults: Any, web: Any, times: int) -> None:
    written(arm, web)
    operation = az.manual_upgrade_instances(arm, *web, ["0"])
    faults.next("GET", "/operations/", status=404, times=times)
    assert operation.wait().status == "Succeeded"


def test_a_write_whose_status_cannot_be_read_at_all_is_settled_by_looking_at_the_model(
    arm: az.Arm, faults: Any, web: Any
) -> None:
    model = az.set_image_version(az.get_vmss(arm, *web), NEW).model
    operation = az.put_vmss(arm, *web, model)
    faults.next("GET", "/operations/", status=404, times=99)
    assert operation.wait().status == "Succeeded"


def test_an_operation_that_never_ends_is_a_timeout(arm: az.Arm, faults: Any, web: Any) -> None:
    written(arm, web)
    faults.add(on="upgrade", instance="0", effect="hang")
    with pytest.raises(az.OperationTimeout):
        az.manual_upgrade_instances(arm, *web, ["0"]).wait(timeout=600)


def test_a_failing_instance_fails_the_operation_and_is_named(arm: az.Arm, faults: Any, web: Any) -> None:
    written(arm, web)
    faults.add(on="upgrade", instance="1", effect="fail", code="OSProvisioningTimedOut", message="It did not start.")
    operation = az.manual_upgrade_instances(arm, *web, ["0", "1"])
    with pytest.raises(az.OperationFailed, match="OSProvisioningTimedOut: It did not start") as caught:
        operation.wait()
    assert (caught.value.target, operation.status) == ("1", "Failed")
    states = {vm["instanceId"]: vm["properties"] for vm in az.list_vmss_vms(arm, *web)}
    assert (states["0"]["provisioningState"], states["1"]["provisioningState"]) == ("Succeeded", "Failed")
    assert not states["1"]["latestModelApplied"]


def test_the_script_stops_at_the_first_update_domain_that_fails(run_example: Run, running: Any) -> None:
    running.faults.add(on="upgrade", instance="8", effect="fail", code="VMStartTimedOut", message="It did not start.")
    named = ["-r", running.resource_group, "-s", running.vmss_name]
    done = run_example("vmssupgrade.py", *named, "-n", NEW, "--all", "-y", env=running.env())
    assert done.returncode == 1
    assert "VMStartTimedOut" in done.stderr
    assert [entry.body["instanceIds"] for entry in running.recorder.find("POST", "manualupgrade")] == [
        ["0", "6", "13", "19"],
        ["1", "8", "14", "20"],
    ]


def test_faults_are_read_from_a_file_and_nonsense_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps([{"method": "GET", "path": "/web", "nth": 2, "status": 503}]))
    faults = Faults()
    faults.load(str(file))
    hits = [faults.for_request("GET", "/x/Web") for _ in range(3)]
    assert [hit is not None for hit in hits] == [False, True, False]
    for bad in ({"drop": "never"}, {"when": 1}, {"on": "upgrade"}, {"effect": "explode"}):
        with pytest.raises(FaultError):
            faults.add(**bad)
    file.write_text("{}")
    with pytest.raises(FaultError, match="list of objects"):
        faults.load(str(file))


def test_a_fault_meets_whole_segments_only(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    """/virtualMachines is the beginning of /virtualMachineScaleSets too, and /web that of /web-rg."""
    azurerm_emulator.faults.next("GET", "/virtualMachines", status=418, code="Teapot")
    azurerm_emulator.faults.next("GET", "resourceGroups/web", status=418, code="Teapot")
    assert az.get_vmss(arm, *web)["name"] == "web"
    with pytest.raises(az.ArmError, match="Teapot"):
        az.list_vmss_vms(arm, *web)
