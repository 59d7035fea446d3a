"""The emulator against what was recorded of Azure: statuses, headers, bodies, errors; and against rude guests."""

import contextlib
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import VirtualClock, serve
from azurerm_lite.emulator.http.server import THREADS
from azurerm_lite.emulator.simulation.images import Images

from .conftest import NEW

ALWAYS = {
    "cache-control": "no-cache",
    "pragma": "no-cache",
    "expires": "-1",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
}


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in headers.items()}


@pytest.fixture
def exchanges(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> list[Any]:
    """What is said when a scale set is upgraded, from the first GET to the last poll."""
    model = az.set_image_version(az.get_vmss(arm, *web), NEW).model
    az.put_vmss(arm, *web, model).wait()
    az.manual_upgrade_instances(arm, *web, ["0"]).wait()
    az.patch_vmss(arm, *web, {"tags": {"a": "b"}}).wait()
    az.list_vmss_vms(arm, *web)
    az.list_vmss_vms(arm, *web, expand="instanceView")
    az.get_vmss_vm(arm, *web, "0", expand="instanceView")
    az.get_vmss_vm_instance_view(arm, *web, "0")
    az.get_vmss_instance_view(arm, *web)
    az.list_vmss(arm, *web[:2])
    az.list_vmss_sub(arm, web[0])
    entries: list[Any] = azurerm_emulator.recorder.entries
    return entries


def test_every_answer_has_azures_headers(exchanges: list[Any]) -> None:
    for entry in exchanges:
        headers = lower(entry.response_headers)
        assert {key: headers.get(key) for key in ALWAYS} == ALWAYS
        assert headers["x-ms-correlation-request-id"]
        assert re.fullmatch(r"[A-Z0-9]+:\d{8}T\d{6}Z:[0-9a-f-]{36}", headers["x-ms-routing-request-id"])


def test_the_first_answer_of_a_write_has_the_recorded_headers(exchanges: list[Any]) -> None:
    put, post, patch = (entry for entry in exchanges if entry.method != "GET")
    operation = (
        r"https://localhost:\d+/subscriptions/[0-9a-f-]+/providers/Microsoft\.Compute/locations/westus2/operations/"
    )
    for entry in (put, patch, post):
        headers = lower(entry.response_headers)
        link = re.fullmatch(operation + r"([0-9a-f-]{36})\?api-version=2024-07-01", headers["azure-asyncoperation"])
        assert link
        assert link[1] == headers["x-ms-request-id"]
        assert headers["azure-asyncnotification"] == "Enabled"
        assert "x-ms-request-charge" in headers
    for entry in (put, patch):
        assert (entry.status, lower(entry.response_headers)["retry-after"]) == (200, "10")
        assert "location" not in lower(entry.response_headers)
        assert entry.response["properties"]["provisioningState"] == "Updating"
    headers = lower(post.response_headers)
    assert (post.status, headers["content-length"]) == (202, "0")
    assert "retry-after" not in headers
    assert "monitor=true" in headers["location"]


def test_operation_documents_have_azures_keys_in_azures_order(exchanges: list[Any], arm: az.Arm) -> None:
    polls = [entry for entry in exchanges if "/operations/" in entry.path and "monitor" not in entry.query]
    assert {entry.status for entry in polls} == {200}
    shapes = {tuple(entry.response) for entry in polls}
    assert shapes == {("startTime", "status", "name"), ("startTime", "endTime", "status", "name")}
    location = next(entry.response_headers["Location"] for entry in exchanges if entry.status == 202)
    status, headers, result = arm.read(location.removeprefix(arm.base))
    assert (status, headers["content-length"], result) == (200, "0", None)


def test_every_exchange_passes_the_published_openapi(exchanges: list[Any], arm_data: Path) -> None:
    sys.path.insert(0, str(arm_data / "tools"))
    try:
        from swagger_check import SpecChecker
    finally:
        sys.path.pop(0)
    spec = arm_data / "openapi/ComputeRP/stable/2024-07-01/virtualMachineScaleSet.json"
    checker = SpecChecker(str(spec))
    checked = 0
    for entry in exchanges:
        url = f"https://x{entry.path}?" + "&".join(f"{key}={value}" for key, value in entry.query.items())
        if checker.operation(entry.method, url) is None:
            assert "/operations/" in entry.path
            continue
        assert checker.check(entry.method, url, entry.body, entry.status, entry.response) == []
        checked += 1
    assert checked >= 11


def test_the_default_model_has_the_keys_and_the_order_of_a_recorded_one(arm: az.Arm, web: Any, arm_data: Path) -> None:
    session = json.loads((arm_data / "traffic/azure-cli__test_vmss_create_user_data.json").read_text())
    recorded = next(
        one["response"]["body"]
        for one in session["interactions"]
        if one["request"]["method"] == "GET" and one["request"]["path"].split("?")[0].count("/") == 8
    )
    ours: Any = az.get_vmss(arm, *web)
    assert list(ours) == list(recorded)
    assert list(ours["properties"]) == list(recorded["properties"])
    theirs = [key for key in recorded["properties"]["virtualMachineProfile"] if key != "userData"]
    assert list(ours["properties"]["virtualMachineProfile"]) == theirs


def test_the_provider_writes_pretty_with_crlf_and_the_gateway_compact(arm: az.Arm, web: az.ScaleSet) -> None:
    path = f"{web.resource_id}?api-version=2024-07-01"
    answer = arm._transport().send(
        "GET", path, {"Authorization": f"Bearer {arm.credential.get_token(arm.cloud.scope).token}"}
    )
    assert answer.body.startswith(b'{\r\n  "name": "web"')
    answer = arm._transport().send("GET", path + "x", {})
    assert answer.status == 401
    answer = arm._transport().send(
        "GET",
        path.replace("/web?", "/nix?"),
        {"Authorization": f"Bearer {arm.credential.get_token(arm.cloud.scope).token}"},
    )
    assert answer.body.startswith(b'{"error":{"code":"ResourceNotFound","message":"The Resource ')
    assert answer.headers["x-ms-failure-cause"] == "gateway"


def test_paths_are_case_blind_and_any_api_version_will_do(arm: az.Arm, web: az.ScaleSet) -> None:
    path = web.resource_id.replace("resourceGroups", "resourcegroups").replace("Microsoft.C", "microsoft.c")
    assert arm.get(path.upper().replace("/SUBSCRIPTIONS", "/subscriptions"))["name"] == "web"
    assert "etag" in arm.get(path)
    assert "etag" not in arm.get(path, api_version="2023-07-01")
    group = az.list_vmss_sub(arm, web[0])[0]["id"].split("/")[4]
    assert group == "WEB-RG"


def test_the_select_trap_shows_every_instance_as_outdated(arm: az.Arm, web: az.ScaleSet) -> None:
    vms = az.list_vmss_vms(arm, *web, expand="instanceView", select="instanceView")
    assert {vm["properties"]["latestModelApplied"] for vm in vms} == {False}
    assert set(vms[0]) == {"id", "instanceId", "properties"}
    latest = az.list_vmss_vms(arm, *web, filter="properties/latestModelApplied eq true")
    assert len(latest) == 20


def test_the_read_only_fields_of_a_model_that_is_put_back_are_ignored(arm: az.Arm, web: az.ScaleSet) -> None:
    before = az.get_vmss(arm, *web)
    az.put_vmss(arm, *web, before, if_match=None).wait()
    after = az.get_vmss(arm, *web)
    assert {**before, "etag": ""} == {**after, "etag": ""}
    assert {vm["properties"]["latestModelApplied"] for vm in az.list_vmss_vms(arm, *web)} == {True}


def test_a_put_without_image_reference_leaves_the_image_as_az_relies_on(arm: az.Arm, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, {"location": "westus2", "sku": {"name": "Standard_D2s_v3", "capacity": 20}}).wait()
    assert az.image_text(az.get_vmss(arm, *web)).endswith("22.04.202608150")


def test_a_capacity_that_is_sent_as_text_is_a_number_as_azurerm_relies_on(arm: az.Arm, web: az.ScaleSet) -> None:
    body = b'{"sku": {"capacity": "20"}}'
    headers = {
        "Authorization": f"Bearer {arm.credential.get_token(arm.cloud.scope).token}",
        "Content-Type": "application/json",
    }
    path = f"{web.resource_id}?api-version=2019-03-01"
    answer = arm._transport().send("PATCH", path, {**headers, "Content-Length": str(len(body))}, body)
    assert (answer.status, json.loads(answer.body)["sku"]["capacity"]) == (200, 20)


def test_a_second_upgrade_while_one_runs_is_a_conflict(arm: az.Arm, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    az.manual_upgrade_instances(arm, *web, ["0"])
    with pytest.raises(az.BusyError, match="conflict with a concurrent request"):
        az.manual_upgrade_instances(arm, *web, ["1"])


def test_the_eleventh_model_is_refused(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    sizes = [f"Standard_D{size}s_v5" for size in range(20, 30)]
    everyone = [vm["instanceId"] for vm in az.list_vmss_vms(arm, *web)]
    for number, size in enumerate(sizes[:9]):
        az.put_vmss(arm, *web, az.set_vm_size(az.get_vmss(arm, *web), size).model).wait()
        az.manual_upgrade_instances(arm, *web, [everyone[number]]).wait()
    eleventh = az.set_vm_size(az.get_vmss(arm, *web), sizes[9]).model
    with pytest.raises(az.ConflictError, match="limit of 10 models"):
        az.put_vmss(arm, *web, eleventh)


def test_the_kind_of_image_cannot_change(arm: az.Arm, web: az.ScaleSet) -> None:
    image = {"id": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/images/i"}
    profile = {"storageProfile": {"imageReference": image}}
    with pytest.raises(az.ConflictError, match="not allowed"):
        az.patch_vmss(arm, *web, {"properties": {"virtualMachineProfile": profile}})


def test_versions_are_ordered_as_numbers() -> None:
    images = Images()
    images.publish("P", "O", "S", "1.0.10", "1.0.9", "1.0.100")
    assert images.versions("p", "o", "s") == ["1.0.9", "1.0.10", "1.0.100"]
    assert images.exact_version({"publisher": "P", "offer": "O", "sku": "S", "version": "latest"}) == "1.0.100"


def test_one_silent_client_does_not_stall_the_others(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    port = int(azurerm_emulator.arm_endpoint.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    try:
        assert az.get_vmss(arm, *web)["name"] == "web"
    finally:
        for one in silent:
            one.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as a thousand connections need, both of whose ends are in this process."""
    had, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(had, min(most, 4096)), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (had, most))


@pytest.mark.usefixtures("many_files")
def test_a_crowd_of_silent_clients_does_not_stall_the_others(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    """Row 152: a thousand who connect; some stop in a handshake, some before the body that they announce."""
    port = int(azurerm_emulator.arm_endpoint.rpartition(":")[2])
    context = ssl.create_default_context(cafile=azurerm_emulator.ca_file)
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    began, before = time.monotonic(), threading.active_count()
    with contextlib.ExitStack() as crowd:
        for number in range(1000):
            one = crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
            if number < THREADS // 4:
                crowd.enter_context(context.wrap_socket(one, server_hostname="localhost")).sendall(head)
            elif number < THREADS // 2:
                one.sendall(b"\x16\x03\x01")  # the beginning of a handshake, and no more
        assert az.get_vmss(arm, *web)["name"] == "web"
        assert time.monotonic() - began < 5
        assert threading.active_count() <= before + 4, "no thread for each of them"


def test_a_guest_who_hangs_up_in_the_middle_is_no_error_to_write_about(capfd: pytest.CaptureFixture[str]) -> None:
    """Row 152: a traceback on somebody's terminal for each of them would say that something is broken here."""
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with serve(clock=VirtualClock()) as emulator:
        context = ssl.create_default_context(cafile=emulator.ca_file)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", int(emulator.arm_endpoint.rpartition(":")[2]))) as raw:
                context.wrap_socket(raw, server_hostname="localhost").sendall(head)
        with az.connect(env=emulator.env()) as arm:
            az.list_vmss_sub(arm, emulator.subscription_id)
    assert capfd.readouterr().err == ""


def test_a_guest_who_distrusts_its_ca_or_speaks_http_is_told_of_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with serve(clock=VirtualClock()) as emulator:
        port = int(emulator.arm_endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            raw.recv(100)
    of_http, of_trust = sorted(capfd.readouterr().err.splitlines())
    assert "this is https" in of_http
    assert "UNKNOWN_CA): does it trust the CA" in of_trust


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "localhost.evil.example", ""])
def test_another_host_name_is_refused_so_that_no_web_page_can_reach_it(azurerm_emulator: Any, host: str) -> None:
    port = int(azurerm_emulator.arm_endpoint.rpartition(":")[2])
    context = ssl.create_default_context(cafile=azurerm_emulator.ca_file)
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(f"GET /subscriptions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: tls.recv(65536), b""))
    assert answer.split(b"\r\n")[0].split()[1] in (b"403", b"400")
    assert b"access-control" not in answer.lower()


def test_forms_and_broken_json_are_refused(arm: az.Arm, web: az.ScaleSet) -> None:
    path, bearer = (
        f"{web.resource_id}/manualupgrade?api-version=2024-07-01",
        {"Authorization": f"Bearer {arm.credential.get_token(arm.cloud.scope).token}"},
    )
    for kind, body, status in [
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 400),
    ]:
        headers = {**bearer, "Content-Type": kind, "Content-Length": str(len(body))}
        assert arm._transport().send("POST", path, headers, body).status == status
    assert arm._transport().send("GET", web.resource_id, bearer).status == 400
    assert arm._transport().send("TRACE", path, bearer).status == 405


def test_a_program_that_forgets_its_emulator_ends_and_leaves_no_key_behind(tmp_path: Path) -> None:
    program = "from azurerm_lite.emulator import serve; print(serve(proxy=True).ca_file)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert str(tmp_path) in done.stdout
    assert list(tmp_path.iterdir()) == []
