"""Rows of the fault matrix that no other file holds: networks, logins, operations, throttles and writers that go wrong.

docs/faults.md says which test stands for which row.
"""

import base64
import contextlib
import copy
import datetime
import io
import json
import logging
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite._http import retry as rules
from azurerm_lite._http.transport import Timeouts
from azurerm_lite.auth._msal import LoginHttpClient
from azurerm_lite.auth.credential import Credential, Token
from azurerm_lite.clouds import DIRECT, NetworkSettings, custom_cloud
from azurerm_lite.emulator import Seed, serve
from azurerm_lite.upgrade.rehearsal import Stage

from .conftest import NEW
from .test_raw_socket import HEAD, PATH, Rude, Scripted, Start, arm_at, sized

KEEP = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-note: keep\r\n"


@pytest.fixture
def rude() -> Iterator[Start]:
    started: list[Rude] = []

    def start(*answers: Scripted) -> Rude:
        started.append(Rude(answers))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def answer(status: int, body: Any = None, **headers: str) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "Connection: close", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\nContent-Type: application/json\r\n\r\n" + data


@pytest.fixture
def faults(arm: az.Arm, azurerm_emulator: Any) -> Any:
    arm.credential.get_token(arm.cloud.scope)  # the login is not what goes wrong here
    return azurerm_emulator.faults


# --- transport -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [b"", HEAD + b"Content-Length: 10000\r\n\r\n"], ids=["headers", "body"])
def test_what_drips_is_ended_by_the_total_deadline(at_once: bytes) -> None:
    """Row 2: a time limit for each read never ends what comes byte by byte."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(at_once)
        for byte in HEAD + b"x-long: " + b"a" * 400:  # for eight seconds more than the client grants
            if stop.wait(0.02):
                break
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
        connection.close()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    began = time.monotonic()
    arm = arm_at(f"http://127.0.0.1:{listener.getsockname()[1]}", timeouts=Timeouts(read=5.0, total=0.5))
    try:
        with pytest.raises(az.TransportError, match="no answer in time"):
            arm.get(PATH)
        assert time.monotonic() - began < 2.0
    finally:
        stop.set()
        thread.join(timeout=5)
        listener.close()


def test_a_pooled_connection_that_has_gone_stale_is_not_noticed_by_reads_or_writes(rude: Start) -> None:
    """Row 7: the server closed it while it was idle; a new one is opened, and nothing is sent twice."""
    body = b"{}"
    kept = KEEP.replace(b"x-note: keep\r\n", b"") + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    server = rude(kept, kept, kept)
    arm = arm_at(server.base)
    assert arm.get(PATH) == {}
    assert server.hung_up.acquire(timeout=10)
    assert arm.get(PATH) == {}
    assert server.hung_up.acquire(timeout=10)
    assert arm.act("POST", PATH, {}) == {}
    assert len(server.asked) == 3


def test_a_body_that_only_the_end_of_the_connection_delimits_is_asked_for_again_when_cut(rude: Start) -> None:
    """Row 10: half a document is a broken connection, not bad JSON."""
    server = rude(HEAD + b'\r\n{"name": "w', HEAD + b'\r\n{"name": "web"}')
    assert arm_at(server.base, retry=az.Retry(attempts=2)).get(PATH) == {"name": "web"}


def test_informational_answers_are_passed_over(rude: Start) -> None:
    """Row 15: 100 Continue and its kin are not the answer."""
    server = rude(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b'{"a": 1}'))
    assert arm_at(server.base).get(PATH) == {"a": 1}


@pytest.mark.parametrize("head", [b"x: y\r\n" * 150, b"x: " + b"a" * 70_000 + b"\r\n"])
def test_too_many_or_too_long_headers_are_a_typed_error(rude: Start, head: bytes) -> None:
    """Row 16."""
    with pytest.raises(az.TransportError):
        arm_at(rude(HEAD + head + b"\r\n{}").base).get(PATH)


class TlsServer:
    """TLS with this certificate, which answers every request alike."""

    def __init__(self, certificate: trustme.LeafCert) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"https://localhost:{self._listener.getsockname()[1]}"
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, args=(context,), daemon=True).start()

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as tls:
                    self.asked.append(tls.recv(65536))
                    tls.sendall(sized(b"{}"))
            except OSError:
                raw.close()

    def stop(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("wrong", ["unknown CA", "another host", "expired"])
def test_a_certificate_that_does_not_fit_gets_no_request_whatever_the_environment_says(
    wrong: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 17: nothing switches the check off."""
    for name in ("PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "0" if name == "PYTHONHTTPSVERIFY" else "")
    ca, stranger = trustme.CA(), trustme.CA()
    names = ["other.invalid"] if wrong == "another host" else ["localhost"]
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    leaf = (stranger if wrong == "unknown CA" else ca).issue_cert(
        *names, not_after=past if wrong == "expired" else None
    )
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = TlsServer(leaf)
    try:
        cloud = custom_cloud(server.base, "https://login.invalid")
        arm = az.Arm("the-token", cloud=cloud, ca_file=str(tmp_path / "ca.pem"), retry=az.Retry(attempts=1))
        with pytest.raises(az.TransportError, match="is not trusted"):
            arm.get(PATH)
        assert server.asked == []
    finally:
        server.stop()


def test_https_goes_by_the_proxy_that_is_named_and_loopback_never() -> None:
    """Row 19: through CONNECT, so that the proxy sees no token; what is on this machine is not sent through it."""
    with serve(time_scale=50, proxy=True) as emulator:
        with az.connect(env=emulator.env()) as arm:
            assert arm.base == "https://management.azure.com"
            assert az.get_vmss(arm, emulator.subscription_id, "web-rg", "web")["name"] == "web"
        assert NetworkSettings(proxy="http://127.0.0.1:9").proxy_for(emulator.arm_endpoint) is None
        assert NetworkSettings(proxy="http://p:1").proxy_for("https://management.azure.com") == "http://p:1"


@pytest.mark.parametrize(
    "failure", [socket.gaierror(-2, "Name or service not known"), OSError(24, "Too many open files")]
)
def test_a_name_that_does_not_resolve_and_a_process_out_of_files_end_soon_and_say_so(
    monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    """Row 20."""

    def fails(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    waited: list[float] = []
    arm = arm_at("https://far.example", retry=az.Retry(attempts=3), sleep=waited.append)
    with pytest.raises(az.TransportError, match=r"cannot reach https://far\.example|far\.example"):
        arm.get(PATH)
    assert len(waited) == 2


def test_threads_that_share_an_arm_get_their_own_answers(azurerm_emulator: Any) -> None:
    """Row 25."""
    for number in range(16):
        azurerm_emulator.add(Seed.build(f"web{number}", capacity=1))
    clock = azurerm_emulator.clock
    wrong: list[str] = []
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep) as arm:

        def ask(number: int) -> None:
            for _ in range(20):
                found = az.get_vmss(arm, azurerm_emulator.subscription_id, "web-rg", f"web{number % 16}")["name"]
                if found != f"web{number % 16}":
                    wrong.append(found)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


# --- logins ----------------------------------------------------------------------------------------------------------


def test_a_token_that_is_refused_for_ever_is_renewed_once_and_the_operation_stays_usable(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    """Rows 29 and 43: exactly one refresh, then an error that says what to check."""
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    rule = faults.next("GET", "operations", status=401, code="InvalidAuthenticationTokenTenant", times=99)
    with pytest.raises(az.AuthError, match="check tenant"):
        operation.wait()
    assert rule.matches == 2
    faults.clear()
    assert operation.wait().status == "Succeeded"


def test_a_claims_challenge_is_answered_once_with_the_claims(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    """Row 30."""
    az.get_vmss(arm, *web)
    azurerm_emulator.identity.demand_claims('{"access_token":{"nbf":{"essential":true,"value":"1790000000"}}}')
    assert az.get_vmss(arm, *web)["name"] == "web"
    assert az.get_vmss(arm, *web)["name"] == "web"


@pytest.mark.parametrize("claims", ["%%%", base64.b64encode(b"[1]").decode(), ""])
def test_a_claims_challenge_that_stays_or_is_garbage_ends_after_two_attempts(
    arm: az.Arm, faults: Any, web: Any, claims: str
) -> None:
    """Row 30."""
    challenge = f'Bearer error="insufficient_claims", claims="{claims}"'
    rule = faults.next("GET", "/web", status=401, times=99, headers={"WWW-Authenticate": challenge})
    with pytest.raises((az.AuthError, az.CredentialError)):
        az.get_vmss(arm, *web)
    assert rule.matches <= 2


def test_rights_that_are_taken_away_are_not_asked_for_again(arm: az.Arm, faults: Any, web: Any) -> None:
    """Row 31."""
    rule = faults.next("POST", "manualupgrade", role="Reader")
    with pytest.raises(az.ForbiddenError, match="AuthorizationFailed"):
        az.manual_upgrade_instances(arm, *web, ["0"])
    assert rule.matches == 1


def test_a_login_that_is_mended_works_at_once(azurerm_emulator: Any, web: Any) -> None:
    """Row 33: no error is remembered."""
    clock = azurerm_emulator.clock
    rule = azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", status=400, body={"error": "invalid_client"})
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep) as arm:
        with pytest.raises(az.CredentialError) as caught:
            az.get_vmss(arm, *web)
        assert "\n" not in str(caught.value)
        assert azurerm_emulator.client_secret not in str(caught.value)
        assert rule.matches == 1
        assert az.get_vmss(arm, *web)["name"] == "web"


def test_a_login_service_that_hangs_is_given_up() -> None:
    """Row 34: msal has no time limit of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    http = LoginHttpClient((f"http://127.0.0.1:{listener.getsockname()[1]}",), DIRECT, 0.3)
    began = time.monotonic()
    with pytest.raises(az.TransportError):
        http.get(f"http://127.0.0.1:{listener.getsockname()[1]}/token")
    assert time.monotonic() - began < 3
    assert LoginHttpClient((), DIRECT)._seconds <= 60
    listener.close()


@pytest.mark.parametrize(
    "body", ["{}", '{"access_token": ""}', "<html>marker-token</html>", '{"access_token": "marker-to']
)
def test_a_login_answer_without_a_token_is_told_without_its_text(
    azurerm_emulator: Any, web: Any, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 35."""
    caplog.set_level(logging.DEBUG)
    azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", garbage=body, times=9)
    clock = azurerm_emulator.clock
    arm = az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep)
    with pytest.raises(az.CredentialError) as caught:
        az.get_vmss(arm, *web)
    assert "marker-to" not in str(caught.value) + repr(caught.value.__context__) + caplog.text


@pytest.mark.parametrize("jump", [3700.0, -3700.0])
def test_a_clock_that_jumps_leads_to_no_loop_of_renewals(jump: float) -> None:
    """Row 38: the server's 401 decides; whatever the clock says, tokens are not asked for over and over."""
    now, asked = [1_000_000.0], []

    def acquire(_scope: str, _claims: str | None) -> Token:
        asked.append(now[0])
        return Token(f"t{len(asked)}", int(now[0]) + 3600)

    credential = Credential("test", acquire, now=lambda: now[0])
    credential.get_token("s")
    now[0] += jump
    for _ in range(50):
        credential.get_token("s")
    assert len(asked) <= 2
    credential.renew("s", credential.get_token("s"))
    assert len(asked) <= 3


# --- operations ------------------------------------------------------------------------------------------------------


def scripted(rude: Start, *answers: Callable[[str], bytes]) -> az.Arm:
    """A server whose answers name its own address."""
    return arm_at(rude(*answers).base)


def test_a_put_whose_first_answer_says_failed_raises(rude: Start) -> None:
    """Row 47."""
    failed = {"properties": {"provisioningState": "Failed"}}
    with pytest.raises(az.OperationFailed):
        arm_at(rude(answer(200, failed)).base).start("PUT", PATH, {"a": 1})


def test_an_operation_that_succeeded_on_a_resource_that_failed_raises(rude: Start) -> None:
    """Row 48: both states are shown."""
    arm = scripted(
        rude,
        lambda base: answer(200, {}, Azure_AsyncOperation=f"{base}/op"),
        lambda _: answer(200, {"status": "Succeeded"}),
        lambda _: answer(200, {"properties": {"provisioningState": "Failed"}}),
    )
    with pytest.raises(az.OperationFailed, match="provisioning state is Failed"):
        arm.start("PUT", PATH, {"a": 1}).wait()


def test_a_put_that_succeeded_at_once_is_done_and_one_that_is_updating_is_watched_by_itself(rude: Start) -> None:
    """Rows 45 and 46."""
    done = arm_at(rude(answer(200, {"properties": {"provisioningState": "Succeeded"}})).base).start("PUT", PATH, {})
    assert (done.done, done.polls) == (True, 0)
    arm = scripted(
        rude,
        lambda _: answer(201, {"properties": {"provisioningState": "Creating"}}),
        lambda _: answer(200, {"properties": {"provisioningState": "Updating"}}),
        lambda _: answer(200, {"properties": {"provisioningState": "Succeeded"}}),
    )
    assert arm.start("PUT", PATH, {}).wait().polls == 2


def test_an_upgrade_that_was_accepted_without_a_word_on_where_to_look_is_watched_in_its_instances(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    """Row 49."""
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    rule = faults.next("POST", "manualupgrade", headers={"Azure-AsyncOperation": "", "Location": ""})
    operation = az.manual_upgrade_instances(arm, *web, ["0", "3"])
    assert operation.status == "InProgress"
    assert operation.wait().status == "Succeeded"
    states = {vm["instanceId"]: vm["properties"]["latestModelApplied"] for vm in az.list_vmss_vms(arm, *web)}
    assert {one for one, latest in states.items() if latest} == {"0", "3"}
    assert rule.matches == 1


def test_a_location_that_moves_and_a_relative_one_are_followed_on_our_own_origin(rude: Start) -> None:
    """Rows 50 and 51; row 44: Azure-AsyncOperation would have gone first."""
    arm = scripted(
        rude,
        lambda _: answer(202, None, Location="/one?x=1"),
        lambda base: answer(202, None, Location=f"{base}/two", Retry_After="1"),
        lambda _: answer(200, {"value": "done"}),
    )
    assert arm.start("POST", PATH).wait().resource == {"value": "done"}


def test_a_status_that_may_not_be_read_stops_the_waiting_and_leaves_the_operation(
    arm: az.Arm, faults: Any, web: Any
) -> None:
    """Row 53."""
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    faults.next("GET", "operations", status=403, times=2)
    with pytest.raises(az.ForbiddenError):
        operation.wait()
    assert operation.status == "InProgress"
    faults.clear()
    assert operation.wait().status == "Succeeded"


UNREADABLE = [
    *({"status": status} for status in (404, 429, 500)),
    {"drop": "before"},
    *({"garbage": text} for text in ("{}", "<html>", " ")),
]


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_few_unreadable_statuses_are_tolerated(arm: az.Arm, faults: Any, web: Any, fault: dict[str, Any]) -> None:
    """Rows 52, 54 and 55."""
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    faults.next("GET", "operations", times=3, **fault)
    assert operation.wait().status == "Succeeded"


def test_a_retry_after_beyond_the_deadline_is_told_at_once(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any
) -> None:
    """Row 59."""
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    faults.next("GET", "operations", headers={"Retry-After": "500"})
    before = azurerm_emulator.clock.time()
    with pytest.raises(az.OperationTimeout, match="asked to wait another 500 s"):
        operation.wait(timeout=60)
    assert azurerm_emulator.clock.time() - before < 60


def test_the_first_end_that_is_seen_is_the_end(rude: Start) -> None:
    """Row 64."""
    arm = scripted(
        rude,
        lambda base: answer(202, None, Azure_AsyncOperation=f"{base}/op"),
        lambda _: answer(200, {"status": "Succeeded"}),
        lambda _: answer(200, {"status": "InProgress"}),
    )
    operation = arm.start("POST", PATH).wait()
    assert [operation.poll(), operation.poll()] == ["Succeeded", "Succeeded"]


def test_a_newer_write_supersedes_and_is_not_called_a_failure_of_its_own(
    arm: az.Arm, azurerm_emulator: Any, web: Any
) -> None:
    """Row 65."""
    azurerm_emulator.simulation.settings.concurrency = "preempt"
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    first = az.manual_upgrade_instances(arm, *web, ["0"])
    az.manual_upgrade_instances(arm, *web, ["1"])
    with pytest.raises(az.OperationSuperseded):
        first.wait()


def test_an_old_failure_is_not_taken_for_ours(arm: az.Arm, faults: Any, web: Any) -> None:
    """Row 66."""
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    faults.add(on="upgrade", instance="0", effect="fail")
    with pytest.raises(az.OperationFailed):
        az.manual_upgrade_instances(arm, *web, ["0"]).wait()
    model = az.set_image_version(az.get_vmss(arm, *web), "22.04.202610200").model
    assert az.put_vmss(arm, *web, model).wait().status == "Succeeded"
    assert az.manual_upgrade_instances(arm, *web, ["1"]).wait().status == "Succeeded"


# --- writes whose answer is lost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"status": 504}, {"truncate": 0}])
def test_an_upgrade_whose_answer_is_lost_happens_once_and_is_waited_for(
    arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any, fault: dict[str, Any]
) -> None:
    """Rows 6 and 22: the instances say whether it began."""
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    faults.next("POST", "manualupgrade", **fault)
    operation = az.manual_upgrade_instances(arm, *web, ["0", "3"])
    stored = json.loads(json.dumps(operation.to_dict()))
    assert az.Operation.from_dict(arm, stored).wait().status == "Succeeded"
    (scale_set,) = azurerm_emulator.simulation.scale_sets
    assert {one: len(vm.upgrades) for one, vm in scale_set.instances.items() if vm.upgrades} == {"0": 1, "3": 1}


def test_an_upgrade_whose_answer_is_lost_and_whose_instances_cannot_be_read_stays_unknown(
    arm: az.Arm, faults: Any, web: Any
) -> None:
    rule = faults.next("POST", "manualupgrade", drop="after")
    faults.next("GET", "virtualMachines", status=403, times=9)
    with pytest.raises(az.OutcomeUnknown):
        az.manual_upgrade_instances(arm, *web, ["0"])
    assert rule.matches == 1


def test_an_upgrade_that_is_seen_to_fail_in_its_instances_names_them(arm: az.Arm, faults: Any, web: Any) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    faults.next("POST", "manualupgrade", drop="after")
    faults.add(on="upgrade", instance="3", effect="fail")
    with pytest.raises(az.OperationFailed, match="left instances 3 as Failed"):
        az.manual_upgrade_instances(arm, *web, ["0", "3"]).wait()


STEPS = st.lists(
    st.sampled_from(
        [
            {"drop": "before"}, {"drop": "after"}, {"truncate": 5}, {"status": 500}, {"status": 502}, {"status": 503},
            {"status": 504}, {"status": 429, "retry_after": 1}, {"status": 408}, {"status": 409}, {"status": 412}, {},
            {"status": 401},
            {"garbage": "<html>"}, {"delay": 3}, {"status": 504, "late": True}, {"status": 500, "late": True},
        ]
    ),
    max_size=6,
)  # fmt: skip


@given(writes=STEPS, reads=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_schedule_of_faults_makes_two_writes_of_one(
    writes: list[dict[str, Any]], reads: list[dict[str, Any]]
) -> None:
    """For every intended write at most one effective one, whatever is dropped, delayed or refused, and when."""
    made = Stage(Seed.build(capacity=4))
    arm, web, due = made.arm, made.address, made.simulation.faults
    model = az.set_image_version(az.get_vmss(arm, *web), NEW).model
    for number, fault in enumerate(writes):
        due.add(method="PUT", nth=number + 1, **fault)
    for number, fault in enumerate(reads):
        due.add(method="GET", nth=number + 1, **fault)
    with contextlib.suppress(az.AzurermLiteError):
        az.put_vmss(arm, *web, model).wait()
    assert made.scale_set.model_version <= 1
    due.clear()
    az.patch_vmss(arm, *web, {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}).wait()
    for number, fault in enumerate(writes):
        due.add(method="POST", nth=number + 1, **fault)
    for number, fault in enumerate(reads):
        due.add(method="GET", nth=number + 1, **fault)
    with contextlib.suppress(az.AzurermLiteError):
        az.manual_upgrade_instances(arm, *web, ["0", "1"]).wait()
    instances = made.scale_set.instances
    assert all(len(vm.upgrades) <= 1 for vm in instances.values())
    assert not instances["2"].upgrades


NEW_TAGS = {"tags": {"release": "7"}}
WRITES: dict[str, Callable[[az.Arm, az.ScaleSet], Any]] = {
    "PATCH of the model": lambda arm, web: az.patch_vmss(arm, *web, NEW_TAGS),
    "PATCH under an etag": lambda arm, web: az.patch_vmss(
        arm, *web, {**NEW_TAGS, "etag": az.get_vmss(arm, *web)["etag"]}
    ),
    "change of the capacity": lambda arm, web: az.update_vmss(arm, *web, lambda model: az.set_capacity(model, 5)),
    "restart": lambda arm, web: az.restart_vmss_vms(arm, *web, ["0", "1"]),
    "reimage of one": lambda arm, web: az.reimage_vmss_vm(arm, *web, "1"),
    "DELETE of an instance": lambda arm, web: az.delete_vmss_vm(arm, *web, "2"),
    "deletion of two": lambda arm, web: az.delete_vmss_vms(arm, *web, ["0", "1"]),
    "DELETE of the set": lambda arm, web: az.delete_vmss(arm, *web),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@given(writes=STEPS, reads=STEPS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_under_no_schedule_of_faults_a_write_has_its_effect_twice(
    write: Callable[[az.Arm, az.ScaleSet], Any], writes: list[dict[str, Any]], reads: list[dict[str, Any]]
) -> None:
    """Each effective write begins an operation of the emulator's, which counts them: never more than the one meant."""
    made = Stage(Seed.build(capacity=4))
    for method, faults in (("PATCH", writes), ("POST", writes), ("DELETE", writes), ("GET", reads)):
        for number, fault in enumerate(faults):
            made.simulation.faults.add(method=method, nth=number + 1, **fault)
    with contextlib.suppress(az.AzurermLiteError):
        operation = write(made.arm, made.address)
        if operation is not None:
            operation.wait()
    assert len(made.simulation.operations.records.values()) <= 1


# --- throttles -------------------------------------------------------------------------------------------------------


def test_a_bucket_that_is_nearly_empty_is_waited_for_before_the_429(
    arm: az.Arm, azurerm_emulator: Any, web: Any
) -> None:
    """Rows 74 and 77: under Azure's real limits a client that only follows the headers meets no refusal."""
    azurerm_emulator.throttle.is_enforced = True
    before = azurerm_emulator.clock.time()
    for _ in range(100):
        az.get_vmss(arm, *web)
    for number in range(20):
        az.patch_vmss(arm, *web, {"tags": {"n": str(number)}}).wait()
    assert azurerm_emulator.throttle.refusals == 0
    assert azurerm_emulator.clock.time() - before > 300


@pytest.mark.parametrize(
    ("method", "left", "age", "seconds"),
    [
        ("GET", {}, 0, 0), ("GET", {"A": 2}, 0, 0), ("GET", {"A": 1}, 0, 5), ("GET", {"A": 0, "B": 900}, 2, 3),
        ("POST", {"A": 1}, 0, 15), ("POST", {"A": 0}, 60, 0), ("POST", {"VmssQueuedVMOperations": 0}, 0, 0),
        ("PUT", {"A": 1}, -5, 15),
    ],
)  # fmt: skip
def test_how_long_a_nearly_empty_bucket_is_waited_for(
    method: str, left: dict[str, int], age: float, seconds: float
) -> None:
    assert rules.throttle_delay(method, left, age) == seconds


def test_many_that_are_throttled_at_once_wake_apart() -> None:
    """Row 76."""
    waits = [rules.wait_seconds(rules.Retry(), 17.0, 1, number / 20) for number in range(20)]
    assert min(waits) >= 17
    assert statistics.pstdev(waits) > 0.3


def test_a_long_wait_can_be_broken_off(arm: az.Arm, azurerm_emulator: Any, faults: Any, web: Any) -> None:
    """Row 70: Retry-After is obeyed within the budget, and the wait is the caller's own sleep."""

    def impatient(seconds: float) -> None:
        assert seconds >= 200
        raise KeyboardInterrupt

    clock = azurerm_emulator.clock
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=impatient) as hasty:
        hasty.credential.get_token(hasty.cloud.scope)
        faults.next("GET", "/web", status=429, retry_after=200)
        with pytest.raises(KeyboardInterrupt):
            az.get_vmss(hasty, *web)


# --- writers in each other's way -------------------------------------------------------------------------------------


def test_without_etags_a_model_that_changed_meanwhile_is_not_overwritten(
    arm: az.Arm, azurerm_emulator: Any, web: Any
) -> None:
    """Row 80: in an api-version without etags the model is compared before it is written."""
    old = "2023-07-01"

    def change(model: Any) -> Any:
        if not seen:
            seen.append(1)
            az.patch_vmss(arm, *web, {"tags": {"owner": "somebody else"}}).wait()
        return az.set_image_version(model, NEW)

    seen: list[int] = []
    operation = az.update_vmss(arm, *web, change, api_version=old)
    assert operation is not None
    operation.wait()
    found = az.get_vmss(arm, *web)
    assert (found["tags"], az.image_text(found).endswith(NEW)) == ({"owner": "somebody else"}, True)


@pytest.mark.parametrize("etag", ['"é"', "a\r\nb", "\x00", ""])
def test_an_etag_that_no_header_can_carry_is_refused(arm: az.Arm, azurerm_emulator: Any, web: Any, etag: str) -> None:
    """Row 81."""
    before = len(azurerm_emulator.recorder.writes())
    with pytest.raises(az.InvalidInput):
        az.put_vmss(arm, *web, {"location": "westus2"}, if_match=etag)
    assert len(azurerm_emulator.recorder.writes()) == before


@pytest.mark.parametrize("etag", ['"3"', 'W/"3"', "*"])
def test_a_legal_etag_goes_out_as_it_is(arm: az.Arm, azurerm_emulator: Any, web: Any, etag: str) -> None:
    """Row 81."""
    with contextlib.suppress(az.ConcurrencyError):
        az.patch_vmss(arm, *web, {"tags": {}}, if_match=etag)
    assert azurerm_emulator.recorder.writes()[-1].headers["if-match"] == etag


def test_a_change_waits_for_the_operation_that_holds_the_set(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    """Row 82: a conflict with a running upgrade is waited out, the model read again, and the change made on that."""
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    az.manual_upgrade_instances(arm, *web, ["0"])
    operation = az.update_vmss(arm, *web, lambda model: az.set_image_version(model, "22.04.202610200"))
    assert operation is not None
    assert operation.wait().status == "Succeeded"


def test_a_write_of_a_model_sends_no_secret_that_it_never_saw(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    """Row 85: what GET does not show is left out, never null or empty, so that Azure keeps it whatever is written."""
    (scale_set,) = azurerm_emulator.simulation.scale_sets
    extension = {"publisher": "P", "type": "T", "typeHandlerVersion": "1.0", "protectedSettings": {"k": "v"}}
    az.put_vmss_extension(arm, *web, "e", {"properties": extension}).wait()
    scale_set.secrets["osProfile/customData"] = "ZWNobw=="
    before = dict(scale_set.secrets)
    az.update_vmss(arm, *web, lambda model: az.set_image_version(model, NEW))
    sent = json.dumps(azurerm_emulator.recorder.writes()[-1].body)
    assert not any(word in sent for word in ("adminPassword", "protectedSettings", "customData", "null"))
    az.put_vmss(arm, *web, az.set_vm_size(az.get_vmss(arm, *web), "Standard_D4s_v3").model).wait()
    shown = az.get_vmss_extension(arm, *web, "e")
    az.put_vmss_extension(arm, *web, "e", {"properties": {**shown["properties"], "settings": {"a": 1}}}).wait()
    az.patch_vmss_extension(arm, *web, "e", {"properties": {"settings": {"a": 2}}}).wait()
    assert scale_set.secrets == before == {"extensions/e": {"k": "v"}, "osProfile/customData": "ZWNobw=="}


# --- security --------------------------------------------------------------------------------------------------------


def test_a_list_that_does_not_end_is_ended(rude: Start) -> None:
    """Row 140: a link back to a page that was seen; an empty page with a link is followed."""
    arm = scripted(
        rude,
        lambda base: answer(200, {"value": [], "nextLink": f"{base}/two"}),
        lambda base: answer(200, {"value": [{}], "nextLink": f"{base}/three"}),
        lambda base: answer(200, {"value": [{}], "nextLink": f"{base}/two"}),
    )
    with pytest.raises(az.ProtocolError, match="does not end"):
        arm.list(PATH)


def test_no_object_of_ours_gives_the_token_away(arm: az.Arm, faults: Any, web: Any) -> None:
    """Rows 142 and 144: repr, str, vars, copies, and errors with what they hold."""
    token = arm.credential.get_token(arm.cloud.scope).token
    faults.next("GET", "/web", drop="before", times=9)
    with pytest.raises(az.TransportError) as caught:
        az.get_vmss(arm, *web)
    seen: list[object] = [arm, arm.credential, caught.value, caught.value.__cause__, caught.value.__context__]
    seen += [vars(caught.value), caught.value.args]
    assert not any(token in repr(one) + str(one) for one in seen)
    for one in (arm, arm.credential):
        with pytest.raises(TypeError):
            copy.deepcopy(one)
    exception: BaseException | None = caught.value
    while exception is not None:
        assert not hasattr(exception, "request")
        exception = exception.__cause__ or exception.__context__


def test_text_from_a_server_is_one_printable_line_in_the_log(
    arm: az.Arm, faults: Any, web: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows 147 and 148."""
    caplog.set_level(logging.DEBUG, logger="azurerm_lite")
    evil = "\x1b[2J\r\nINFO forged line\x07\u202e"
    faults.next("GET", "/web", status=400, code=evil, message=evil)
    with pytest.raises(az.ArmError) as caught:
        az.get_vmss(arm, *web)
    shown = str(caught.value) + "".join(record.getMessage() for record in caplog.records)
    assert not set(shown) & set("\x1b\r\n\x07\u202e")


def test_an_emulator_can_be_told_from_azure(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    """Row 153."""
    az.get_vmss(arm, *web)
    assert azurerm_emulator.recorder.entries[-1].response_headers["Server"] == "azurerm-lite-emulator"
    assert "EMULATOR" in repr(arm)


def test_the_emulator_bounds_bodies_and_reads_no_files(arm: az.Arm, azurerm_emulator: Any) -> None:
    """Rows 151 and 152."""
    session = requests.Session()
    session.verify, session.trust_env = azurerm_emulator.ca_file, False
    base = azurerm_emulator.arm_endpoint
    assert session.get(f"{base}/subscriptions?api-version=2022-12-01", timeout=10).status_code == 401
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/../../etc/passwd"):
        assert session.get(base + path, timeout=10).status_code in (400, 401, 404)
    with contextlib.suppress(requests.ConnectionError):  # hung up on, before it was all sent
        big = session.post(f"{base}/subscriptions", data=io.BytesIO(b"x" * (5 << 20)), timeout=20)
        assert big.status_code in (400, 401, 411, 413, 415)
    assert session.get(f"{base}/metadata/endpoints", timeout=10).status_code == 200
    cross = session.options(f"{base}/subscriptions", headers={"Origin": "https://evil.example"}, timeout=10)
    assert not any(name.lower().startswith("access-control") for name in cross.headers)
