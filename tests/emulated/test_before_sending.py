"""What is refused before anything is sent, what a proxy's refusal says, and when to come back after a throttle."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import errors
from azurerm_lite._http import stored_operation
from azurerm_lite._http.transport import Transport
from azurerm_lite._http.wire import Monitor
from azurerm_lite.clouds import PUBLIC, custom_cloud, time_scale_from_environment
from azurerm_lite.emulator import serve
from azurerm_lite.operation import Operation

from .small_arm import WEB, SmallArm

HALF = chr(0xD800)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallArm]:
    running = SmallArm(tmp_path_factory.mktemp("small-arm"))
    yield running
    running.close()


@pytest.mark.parametrize("value", ["abc\r\n X: y", "a\nb", "漢", " a", "a\x00", "é", 5, b"a", HALF])
def test_a_correlation_id_is_checked_like_every_header(value: Any) -> None:
    with pytest.raises(az.InvalidInput, match="correlation_id cannot be sent as a header"):
        az.Arm("t", correlation_id=value)


@pytest.mark.parametrize("value", [HALF, f"a{HALF}", 5, ["instanceView"], True])
def test_a_query_that_cannot_be_sent_is_refused_before_any_request(server: SmallArm, value: Any) -> None:
    server.reset(lambda *_: None)
    with server.arm() as arm:
        for call in (az.get_vmss, az.list_vmss_vms):
            with pytest.raises(az.InvalidInput, match=r"\$expand"):
                call(arm, *WEB, expand=value)
        with pytest.raises(az.InvalidInput, match=r"\$filter"):
            az.list_vmss_vms(arm, *WEB, filter=value)
    assert server.requests == []


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "漢", b"a", None])
def test_a_header_that_cannot_be_sent_reaches_nobody_and_is_not_shown(server: SmallArm, value: Any) -> None:
    server.reset(lambda *_: None)
    with pytest.raises(az.InvalidInput, match="the header X-Secret cannot be sent") as caught:
        Transport(server.base).send("GET", "/x", {"X-Secret": value})
    assert repr(value) not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 10**400, "60", None, True])
def test_a_wait_has_an_end_that_can_be(server: SmallArm, timeout: Any) -> None:
    with server.arm() as arm, pytest.raises(az.InvalidInput, match=r"timeout must be a (positive )?number of seconds"):
        Operation(arm, "POST", "/p", Monitor("status", "/op")).wait(timeout)


STORED: dict[str, Any] = {
    "kind": stored_operation.KIND,
    "schema": 1,
    "method": "PUT",
    "path": "/x",
    "monitor": {"kind": "status", "path": "/op", "result_path": ""},
    "status": "InProgress",
    "started_at": 1.0,
}


@pytest.mark.parametrize(
    "damage",
    [
        {"started_at": 10**400},
        {"started_at": float("nan")},
        {"started_at": float("inf")},
        {"started_at": -1e300},
        {"schema": 10**5000},
        {"schema": []},
        {"request_id": "\x1b[2J"},
        {"request_id": HALF},
        {"path": ""},
        {"path": "/x y"},
        {"monitor": {"kind": "status", "path": "", "result_path": ""}},
        {"monitor": {"kind": "none", "path": "", "result_path": ""}},
        {"monitor": {"kind": "status", "path": "https://management.azure.com:99999/x", "result_path": ""}},
        {"monitor": {"kind": "instances", "path": "/x", "result_path": "", "ids": ["\u202e"]}},
    ],
)
def test_a_stored_operation_that_cannot_be_is_refused(server: SmallArm, damage: dict[str, Any]) -> None:
    with server.arm() as arm:
        assert Operation.from_dict(arm, STORED).status == "InProgress"
        with pytest.raises(az.InvalidInput, match="stored operation"):
            Operation.from_dict(arm, {**STORED, **damage})


GOOD_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/web"


@pytest.mark.parametrize(
    "resource_id",
    [
        None,
        5,
        "",
        "web",
        GOOD_ID.replace("Compute", "Network"),
        GOOD_ID.replace("/web", "/"),
        GOOD_ID.replace("/web", "/.."),
        GOOD_ID.replace("/web", "/we b"),
        GOOD_ID.replace("/web", "/web?x=1"),
        GOOD_ID.replace("/web", "/web\n"),
        GOOD_ID.replace("/rg/", "/\u202erg/"),
        GOOD_ID.replace("/web", f"/{HALF}"),
        GOOD_ID + "//virtualMachines/0",
        "/" * 100_000,
    ],
)
def test_what_is_no_id_of_a_scale_set_is_refused_in_a_line(resource_id: Any) -> None:
    with pytest.raises(az.InvalidInput, match="not the resource id of a scale set") as caught:
        az.ScaleSet.parse(resource_id)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_the_id_of_an_instance_names_its_scale_set() -> None:
    web = az.ScaleSet("s", "rg", "web")
    assert az.ScaleSet.parse(GOOD_ID.upper() + "/virtualMachines/0") == az.ScaleSet("S", "RG", "WEB")
    assert az.ScaleSet.parse(GOOD_ID + "/virtualMachines/0") == web == az.ScaleSet.parse(web.resource_id)


# --- throttles and proxies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(17.0, "come back in 17 s"), (1200.0, r"come back in 1200 s \(20 min\)"), (0.5, r"come back in 0\.5 s")],
)
def test_a_throttle_says_when_to_come_back(seconds: float, text: str) -> None:
    with pytest.raises(az.ThrottledError, match=text):
        raise errors.ThrottledError("too many requests", status=429, retry_after=seconds)


class Proxy:
    """A proxy that answers every CONNECT alike."""

    def __init__(self, response: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = 0
        self._response = response
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                self.requests += 1
                connection.sendall(self._response)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize(
    ("status", "text", "attempts", "kind"),
    [
        ("407 Proxy Authentication Required", "it offers NTLM, Basic: give user and password", 1, az.ProtocolError),
        ("403 Forbidden", "ask its administrator", 1, az.ProtocolError),
        ("502 Bad Gateway", "it may reach Azure later", 3, az.TransportError),
    ],
)
@pytest.mark.parametrize("write", [False, True])
def test_a_proxy_that_refuses_is_named_with_its_status_and_what_helps(
    status: str, text: str, attempts: int, kind: type[Exception], write: bool
) -> None:
    heads = "Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    proxy = Proxy(f"HTTP/1.1 {status}\r\n{heads}".encode())
    env = {"HTTPS_PROXY": f"http://marker-user:marker-password@{proxy.address}"}
    arm = az.connect("a.b.c", env=env, retry=az.Retry(attempts=3), sleep=lambda _: None)
    with arm, pytest.raises(kind, match=f"{proxy.address} answered {status}.*{text}") as caught:
        az.restart_vmss_vms(arm, *WEB, ["0"]) if write else az.get_vmss(arm, *WEB)
    proxy.close()
    assert "marker" not in str(caught.value)
    assert not isinstance(caught.value, az.OutcomeUnknown)
    assert isinstance(caught.value, az.TransportError)
    assert not caught.value.sent
    assert proxy.requests == attempts


def test_a_407_that_comes_as_a_response_says_what_helps_too(server: SmallArm) -> None:
    server.reset(lambda *_: b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    with (
        server.arm() as arm,
        pytest.raises(az.ArmError, match=r"407.*A proxy asks for a login: give user and password"),
    ):
        az.get_vmss(arm, *WEB)
    assert len(server.requests) == 1


# --- an emulator in a hurry ------------------------------------------------------------------------------------------


def test_only_an_emulator_that_says_so_is_polled_more_than_once_a_second() -> None:
    with serve(time_scale=50) as emulator:
        web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        env = emulator.env()
        assert env["AZURERM_LITE_TIME_SCALE"] == "50"
        for options, gap in (({}, 0.05), ({"sleep": emulator.clock.sleep}, 1.0), ({"time_scale": 1.0}, 1.0)):
            with az.connect(env=env, **options) as arm:
                operation = az.restart_vmss_vms(arm, *web, ["0"])
                assert operation.next_poll_seconds() == pytest.approx(gap, abs=0.2)
                emulator.clock.sleep(120)


@pytest.mark.parametrize("scale", ["x", "0", "-1", "nan", "inf", "1e999"])
def test_a_time_scale_is_a_positive_number(scale: str) -> None:
    loopback = custom_cloud("http://127.0.0.1:1", "https://login.invalid")
    assert time_scale_from_environment({"AZURERM_LITE_TIME_SCALE": scale}, PUBLIC) == 1.0
    with pytest.raises(az.InvalidInput, match="AZURERM_LITE_TIME_SCALE is not a number"):
        time_scale_from_environment({"AZURERM_LITE_TIME_SCALE": scale}, loopback)


def test_azure_has_no_time_scale() -> None:
    with pytest.raises(az.InvalidInput, match=r"not for https://management\.azure\.com"):
        az.Arm("t", time_scale=50)
    env = {"AZURERM_LITE_TIME_SCALE": "50"}
    assert az.connect("t", env=env).time_scale == 1.0


@pytest.mark.parametrize("given", [{"cloud": "public"}, {"cloud": None}, {"network": "direct"}, {"network": None}])
def test_a_cloud_or_a_reach_of_another_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(az.InvalidInput, match="cloud must be a Cloud and network a NetworkSettings"):
        az.Arm("t", **given)


@pytest.mark.parametrize("address", [True, None, 5, b"https://localhost", ["https://localhost"]])
def test_an_address_of_a_cloud_is_a_text(address: Any) -> None:
    for given in ((address, "https://localhost"), ("https://localhost", address)):
        with pytest.raises(az.InvalidInput, match="must be an address of the form"):
            custom_cloud(*given)
