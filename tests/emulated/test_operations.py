"""Rows of the fault matrix on what is waited for, and on writes whose answers come late, twice or not at all."""

import gzip
import json
import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite._http.transport import Timeouts

from .conftest import NEW
from .test_raw_socket import HEAD, PATH, Rude, arm_at

MIB = 1024 * 1024


@pytest.fixture
def faults(arm: az.Arm, azurerm_emulator: Any) -> Any:
    arm.credential.get_token(arm.cloud.scope)  # the login is not what goes wrong here
    return azurerm_emulator.faults


def written(arm: az.Arm, web: Any) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()


# --- transport -------------------------------------------------------------------------------------------------------


@pytest.fixture
def endless() -> Iterator[str]:
    """A server that sends a body without an end, as fast as it is read."""
    listener, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def pour() -> None:
        connection, _ = listener.accept()
        connection.settimeout(5)
        connection.recv(65536)
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        while not stop.is_set():
            try:
                connection.sendall(piece)
            except OSError:
                break
        connection.close()

    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    thread.join(timeout=5)
    listener.close()


def peak_of(base: str) -> int:
    """The most bytes that were held at once while a body over the cap of 16 MiB was read there."""
    arm = arm_at(base)
    arm._transport()
    tracemalloc.start()
    try:
        with pytest.raises(az.ProtocolError, match="sent more than 16777216 bytes"):
            arm.get(PATH)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_body_without_an_end_costs_no_more_memory_than_the_cap(endless: str) -> None:
    """Row 14: what is held at any moment is bounded: the pieces as they come, and the whole that is made of them."""
    assert peak_of(endless) < 2 * 16 * MIB + MIB


def test_a_body_that_unpacks_to_too_much_costs_no_more_memory_than_the_cap() -> None:
    """Row 14: a kilobyte on the wire for a megabyte in memory, far beyond the cap."""
    packed = gzip.compress(bytes(200 * MIB), 1)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: " + str(len(packed)).encode() + b"\r\n\r\n"
    assert len(packed) < MIB
    server = Rude((head + packed,))
    try:
        assert peak_of(server.base) < 2 * 16 * MIB + 2 * MIB
    finally:
        server.stop()


def test_every_attempt_is_named_in_the_error_that_ends_them(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    """Row 23: attempts and time end it, and somebody who asks Azure's support has the id of each."""
    arm.credential.get_token(arm.cloud.scope)
    for fault in ({"status": 500}, {"status": 503}, {"drop": "before"}, {"status": 500}):
        azurerm_emulator.faults.add(method="GET", path="/web", nth=len(azurerm_emulator.faults.rules) + 1, **fault)
    before = azurerm_emulator.clock.time()
    with pytest.raises(az.ArmError) as caught:
        az.get_vmss(arm, *web)
    answered = [one.response_headers["x-ms-request-id"] for one in azurerm_emulator.recorder.find("GET", "/web")]
    assert len(caught.value.request_ids) == 4
    assert set(answered) <= set(caught.value.request_ids)
    assert all(one in str(caught.value) for one in caught.value.request_ids)
    assert azurerm_emulator.clock.time() - before <= az.Retry().budget_seconds
    azurerm_emulator.faults.clear()
    azurerm_emulator.faults.next("GET", "/web", drop="before", times=9)
    with pytest.raises(az.TransportError) as broken:
        az.get_vmss(arm, *web)
    assert all(one in str(broken.value) for one in broken.value.request_ids)
    assert len(broken.value.request_ids) == 4


def test_a_failure_that_stays_ends_by_the_time_budget_too(azurerm_emulator: Any, web: Any) -> None:
    """Row 23: many attempts are allowed, and the budget of time is what ends them."""
    clock = azurerm_emulator.clock
    retry = az.Retry(attempts=10_000, budget_seconds=300)
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep, retry=retry) as arm:
        arm.credential.get_token(arm.cloud.scope)
        rule = azurerm_emulator.faults.next("GET", "/web", status=500, times=99_999)
        before = clock.time()
        with pytest.raises(az.ArmError):
            az.get_vmss(arm, *web)
        assert 200 < clock.time() - before <= 300
        assert 5 < rule.matches < 100


# --- throttles -------------------------------------------------------------------------------------------------------


def test_a_wait_of_twenty_minutes_is_kept_when_the_budget_has_it_and_is_told(
    azurerm_emulator: Any, web: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 70: obeyed to the second or more, told before it begins, and broken off by whoever sleeps."""
    caplog.set_level(logging.WARNING, logger="azurerm_lite")
    clock = azurerm_emulator.clock
    told: list[int] = []

    def sleep(seconds: float) -> None:
        told.append(len(caplog.records))
        if stopped:
            raise KeyboardInterrupt
        clock.sleep(seconds)

    stopped: list[int] = []
    retry = az.Retry(budget_seconds=1800)
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=sleep, retry=retry) as arm:
        arm.credential.get_token(arm.cloud.scope)
        rule = azurerm_emulator.faults.next("GET", "/web", status=429, retry_after=1200)
        before = clock.time()
        assert az.get_vmss(arm, *web)["name"] == "web"
        assert 1200 <= clock.time() - before <= 1260
        assert (rule.matches, told) == (2, [1])
        assert "429" in caplog.text
        assert "again in 12" in caplog.text
        stopped.append(1)
        azurerm_emulator.faults.next("GET", "/web", status=429, retry_after=1200)
        with pytest.raises(KeyboardInterrupt):
            az.get_vmss(arm, *web)
        stopped.clear()
        assert az.get_vmss(arm, *web)["name"] == "web"


# --- operations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"status": 404}, {"garbage": "{}"}, {"garbage": "<html>"}, {"garbage": " "}])
def test_an_upgrade_whose_status_is_never_readable_is_settled_by_its_instances(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any, fault: dict[str, Any]
) -> None:
    """Rows 52 and 55, k = infinity: never "failed" by itself, and what was stored meanwhile knows it too."""
    written(arm, web)
    operation = az.manual_upgrade_instances(arm, *web, ["0", "3"])
    faults.next("GET", "/operations/", times=10**6, **fault)
    stored = json.loads(json.dumps(operation.to_dict()))
    assert operation.wait().status == "Succeeded"
    assert az.Operation.from_dict(arm, stored).wait().status == "Succeeded"
    states = {vm["instanceId"]: vm["properties"]["latestModelApplied"] for vm in az.list_vmss_vms(arm, *web)}
    assert {one for one, latest in states.items() if latest} == {"0", "3"}


def test_an_upgrade_that_is_never_readable_and_never_done_ends_at_the_deadline(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    """Row 52, k = infinity: neither its status nor its instances end; the wait does, and the handle stays good."""
    written(arm, web)
    faults.add(on="upgrade", instance="0", effect="hang")
    operation = az.manual_upgrade_instances(arm, *web, ["0"])
    faults.next("GET", "/operations/", status=404, times=10**6)
    before = azurerm_emulator.clock.time()
    with pytest.raises(az.OperationTimeout, match="may still be running") as late:
        operation.wait(timeout=1800)
    assert 1200 < azurerm_emulator.clock.time() - before <= 1800
    assert late.value.operation.status == "InProgress"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"drop": "before"}])
def test_a_status_that_fails_for_hours_counts_against_the_deadline_only(
    azurerm_emulator: Any, web: Any, fault: dict[str, Any]
) -> None:
    """Row 54: an outage of the gateway is no end of an operation, however often it is met."""
    clock = azurerm_emulator.clock
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep, retry=az.Retry(attempts=1)) as arm:
        operation = az.restart_vmss_vms(arm, *web, ["0"])
        rule = azurerm_emulator.faults.next("GET", "/operations/", times=100, **fault)
        with pytest.raises(az.OperationTimeout):
            operation.wait(timeout=600)
        assert rule.matches > 20
        azurerm_emulator.faults.clear()
        assert operation.wait().status == "Succeeded"


def test_an_action_of_which_nothing_can_be_known_is_unknown_and_not_failed(arm: az.Arm, faults: Any, web: Any) -> None:
    """Row 52: a restart leaves no trace in the model, so its end stays unknown."""
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    faults.next("GET", "/operations/", status=404, times=10**6)
    with pytest.raises(az.OutcomeUnknown, match="cannot be read") as unknown:
        operation.wait()
    assert not isinstance(unknown.value, az.OperationFailed)
    assert operation.status == "InProgress"
    faults.clear()
    assert operation.wait().status == "Succeeded"


def test_a_deletion_whose_status_is_never_readable_is_settled_by_the_absence(
    arm: az.Arm, faults: Any, web: Any
) -> None:
    operation = az.delete_vmss(arm, *web)
    faults.next("GET", "/operations/", status=404, times=10**6)
    assert operation.wait().status == "Succeeded"
    with pytest.raises(az.NotFoundError):
        az.get_vmss(arm, *web)


@pytest.mark.parametrize("word", ["Frobnicating", "Running", "", "Успех", "Succeeded?"])
def test_a_status_that_nobody_knows_is_waited_for_until_the_deadline_and_no_longer(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any, word: str
) -> None:
    """Row 57: a word that ARM does not define means running; the handle that the timeout carries goes on."""
    written(arm, web)
    operation = az.manual_upgrade_instances(arm, *web, ["0"])
    document = json.dumps({"status": word or "Unknown", "name": operation._monitor.path.split("?")[0].split("/")[-1]})
    faults.next("GET", "/operations/", garbage=document, times=10**6)
    before = azurerm_emulator.clock.time()
    with pytest.raises(az.OperationTimeout) as late:
        operation.wait(timeout=900)
    assert 800 < azurerm_emulator.clock.time() - before <= 900
    stored = json.loads(json.dumps(late.value.operation.to_dict()))
    faults.clear()
    azurerm_emulator.clock.advance(3600)
    assert az.Operation.from_dict(arm, stored).wait().status == "Succeeded"


def test_a_failure_of_an_earlier_operation_is_not_taken_for_ours(arm: az.Arm, faults: Any, web: Any) -> None:
    """Row 66: a status document that bears another operation's name says nothing about ours."""
    written(arm, web)
    faults.add(on="upgrade", instance="0", effect="fail")
    earlier = az.manual_upgrade_instances(arm, *web, ["0"])
    with pytest.raises(az.OperationFailed):
        earlier.wait()
    failed = arm.read(earlier._monitor.path)[2]
    assert failed["status"] == "Failed"
    ours = az.manual_upgrade_instances(arm, *web, ["1"])
    faults.next("GET", "/operations/", garbage=json.dumps(failed), times=10**6)
    assert ours.wait().status == "Succeeded"


def test_an_instance_that_had_failed_before_is_no_answer_to_a_lost_upgrade(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    """Rows 6 and 66: whose failure it is cannot be told, so it is called neither ours nor undone, nor sent again."""
    written(arm, web)
    faults.add(on="upgrade", instance="3", effect="fail")
    with pytest.raises(az.OperationFailed):
        az.manual_upgrade_instances(arm, *web, ["3"]).wait()
    rule = faults.next("POST", "manualupgrade", drop="before")
    with pytest.raises(az.OutcomeUnknown, match=r"3 is Failed, by this upgrade or an earlier one"):
        az.manual_upgrade_instances(arm, *web, ["3"])
    assert rule.matches == 1


# --- writers in each other's way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [az.put_vmss, az.patch_vmss])
def test_the_second_of_two_writers_is_told_both_etags(arm: az.Arm, web: Any, call: Any) -> None:
    """Row 78."""
    model = az.get_vmss(arm, *web)
    az.patch_vmss(arm, *web, {"tags": {"owner": "somebody else"}}).wait()
    now = az.get_vmss(arm, *web)
    with pytest.raises(az.ConcurrencyError) as lost:
        call(arm, *web, model, if_match=model["etag"])
    assert (lost.value.sent_etag, lost.value.current_etag) == (model["etag"], now["etag"])
    assert model["etag"] in str(lost.value)
    assert now["etag"] in str(lost.value)
    assert az.get_vmss(arm, *web) == now


@pytest.mark.parametrize("call", [az.put_vmss, az.patch_vmss])
@pytest.mark.parametrize("ours", [True, False])
def test_a_412_that_our_own_late_first_attempt_explains_is_no_failure(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any, call: Any, ours: bool
) -> None:
    """Row 79: what broke off looks undone, is sent again, and takes effect just before that. Or somebody else wrote."""
    (scale_set,), simulation = azurerm_emulator.simulation.scale_sets, azurerm_emulator.simulation
    old = az.get_vmss(arm, *web)
    new: Any = az.set_image_version(old, NEW).model
    body = new if call is az.put_vmss else az.merge_patch(old, new)
    arrives = body if ours else {"tags": {"owner": "somebody else"}}
    simulation.events.schedule_in(
        30, lambda: simulation.scale_sets.write(scale_set, arrives, null_deletes=call is az.patch_vmss)
    )
    method = "PUT" if call is az.put_vmss else "PATCH"
    faults.next(method, "/web", drop="before")
    faults.next(method, "/web", nth=2, delay=60)
    generation, etag = scale_set.model_version, scale_set.etag
    if ours:
        assert call(arm, *web, body, if_match=old["etag"]).wait().status == "Succeeded"
        assert az.image_text(az.get_vmss(arm, *web)).endswith(NEW)
    else:
        with pytest.raises(az.ConcurrencyError) as lost:
            call(arm, *web, body, if_match=old["etag"])
        assert lost.value.current_etag == az.get_vmss(arm, *web)["etag"] != old["etag"]
    assert [(entry.method, entry.status) for entry in azurerm_emulator.recorder.writes()] == [(method, 412)]
    assert (scale_set.model_version - generation, scale_set.etag - etag) == (int(ours), 1)


def test_the_default_deadline_bounds_each_request(arm: az.Arm) -> None:
    assert arm._transport()._timeouts == Timeouts()
