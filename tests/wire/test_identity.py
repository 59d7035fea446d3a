"""Who one is to Azure: logins that fail for a while, challenges, refusals that say what is missing, other tenants."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.upgrade import plan, upgrade

from .conftest import NEW

SCOPE = "https://management.azure.com/.default"

# --- a login service that fails for a while --------------------------------------------------------------------------

BUSY = {"error": "temporarily_unavailable", "error_codes": [90033], "error_description": "AADSTS90033: it stumbles"}
STUMBLES: list[dict[str, Any]] = [
    {"status": 429, "body": {"error": "invalid_client"}},
    {"status": 503, "body": {"error": "invalid_client"}},
    {"status": 500, "body": None},
    {"status": 400, "body": BUSY},
    {"status": 400, "body": {"error": "invalid_grant", "error_description": "AADSTS90006: try again"}},
    {"status": 400, "body": {"error": "invalid_request", "error_codes": [90024], "error_description": "no"}},
    {"drop": "before"},
    {"drop": "after"},
]


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        *(("/oauth2/v2.0/token", fault) for fault in STUMBLES),
        *(("/.well-known/openid-configuration", fault) for fault in STUMBLES if fault.get("status") != 400),
    ],
    ids=str,
)
def test_a_login_service_that_fails_for_a_while_is_asked_again(
    arm_emulator: Any, web: Any, path: str, fault: dict[str, Any]
) -> None:
    """Row 32: at the start, with and without the number of Entra's."""
    clock = arm_emulator.clock
    rule = arm_emulator.faults.add(path=path, times=2, **fault)
    began = clock.time()
    with az.connect(env=arm_emulator.env(), now=clock.time, sleep=clock.sleep) as arm:
        assert az.get_vmss(arm, *web)["name"] == "web"
    assert rule.seen == 3
    assert 3 <= clock.time() - began <= 90


def test_a_login_service_that_fails_for_good_is_given_up_in_a_minute_and_a_half(arm_emulator: Any, web: Any) -> None:
    """Row 32: one clear line in the end."""
    clock = arm_emulator.clock
    arm_emulator.faults.next("POST", "/oauth2/v2.0/token", status=503, body=BUSY, times=10**6)
    began = clock.time()
    arm = az.connect(env=arm_emulator.env(), now=clock.time, sleep=clock.sleep)
    with pytest.raises(az.CredentialError, match="AADSTS90033") as caught:
        az.get_vmss(arm, *web)
    assert "\n" not in str(caught.value)
    assert 60 <= clock.time() - began <= 90


@pytest.mark.parametrize("fault", STUMBLES, ids=str)
def test_a_token_that_is_refused_while_the_login_service_fails_pauses_no_upgrade(
    arm: az.Arm, arm_emulator: Any, web: Any, fault: dict[str, Any]
) -> None:
    """Row 32 in the middle of an upgrade: a 401, then a login that fails twice, then a token."""
    wanted = plan(arm, *web, NEW)
    arm_emulator.faults.next("GET", "/web/virtualMachines", nth=3, expire=True)
    rule = arm_emulator.faults.next("POST", "/oauth2/v2.0/token", times=2, **fault)
    assert upgrade(arm, wanted).outcome == "succeeded"
    assert rule.seen >= 3


# --- the metadata service of a machine -------------------------------------------------------------------------------


class Imds:
    """A metadata service that answers requests for a token from a script first, and waits for its probe."""

    def __init__(self) -> None:
        self.script: list[int] = []
        self.probe_seconds, self.tokens, self.probes, self.headers = 0.0, 0, 0, {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers.get("Metadata") is None:
                    service.probes += 1
                    Event().wait(service.probe_seconds)
                    return self.say(400, {"error": "invalid_request"})
                service.tokens += 1
                if service.script:
                    return self.say(service.script.pop(0), {"error": "passing", "error_description": "ask later"})
                return self.say(200, {"access_token": "a.b.c", "expires_in": "3599", "token_type": "Bearer"})

            def say(self, status: int, document: dict[str, str]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **service.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def imds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Imds]:
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    service = Imds()
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{service.server.server_port}")
    monkeypatch.setenv("PATH", "")
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("status", [404, 410, 429, 500, 502, 503, 504])
def test_a_metadata_service_that_fails_for_a_while_is_asked_again(imds: Imds, status: int, times: int) -> None:
    imds.script, slept = [status] * times, [0.0]
    token = az.managed_identity_credential(sleep=slept.append).get_token(SCOPE)
    assert (token.token, imds.tokens) == ("a.b.c", times + 1)
    assert len(slept) == times + 1


@pytest.mark.parametrize("status", [404, 410, 503])
def test_an_update_of_the_metadata_service_may_take_seventy_seconds(imds: Imds, status: int) -> None:
    imds.script, slept = [status] * 10**3, [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) >= 70:
            imds.script.clear()

    assert az.managed_identity_credential(sleep=sleep).get_token(SCOPE).token == "a.b.c"


def test_the_metadata_service_says_how_long_to_wait(imds: Imds) -> None:
    imds.script, imds.headers, slept = [429], {"Retry-After": "17"}, []
    az.managed_identity_credential(sleep=slept.append).get_token(SCOPE)
    assert slept == [17.0]


def test_an_identity_that_was_asked_for_by_name_is_not_judged_by_a_probe(imds: Imds) -> None:
    imds.probe_seconds = 30.0
    assert az.managed_identity_credential().get_token(SCOPE).token == "a.b.c"
    assert imds.probes == 0


def test_a_refusal_of_the_metadata_service_is_final(imds: Imds) -> None:
    imds.script = [400]
    with pytest.raises(az.CredentialError, match="passing"):
        az.managed_identity_credential().get_token(SCOPE)
    assert imds.tokens == 1


def test_a_metadata_service_that_says_nothing_is_given_up(imds: Imds) -> None:
    """Nothing listens any more: asked for a few seconds, then one clear line."""
    imds.server.server_close()
    slept: list[float] = []
    with pytest.raises(az.CredentialError, match="no identity answers") as caught:
        az.managed_identity_credential(sleep=slept.append).get_token(SCOPE)
    assert "\n" not in str(caught.value)
    assert sum(slept) <= 10


def test_connect_takes_an_identity_whose_service_is_being_updated(arm_emulator: Any, monkeypatch: Any) -> None:
    """One 404 to the probe, and 410 to the first request for a token."""
    for name, value in arm_emulator.managed_identity_env("imds").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", "")
    hidden = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID")
    env = {name: value for name, value in {**os.environ, **arm_emulator.env()}.items() if name not in hidden}
    path, clock = "/metadata/identity/oauth2/token", arm_emulator.clock
    arm_emulator.faults.next("GET", path, status=404)
    arm_emulator.faults.next("GET", path, nth=2, status=410, times=2)
    with az.connect(env=env, now=clock.time, sleep=clock.sleep) as arm:
        assert "managed identity" in repr(arm)
        assert az.list_vmss_sub(arm, arm_emulator.subscription_id)


NO_ADDRESSES = [
    *("http://[::1", "http://a:99999", "http://[:::]/x", "http://a:0", "http://u:p@a", "http://"),
    *("x", "ftp://a", "//", "\udcff"),
]


@pytest.mark.parametrize("name", ["IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"])
@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_of_an_identity_that_is_none_is_refused(monkeypatch: Any, name: str, address: str) -> None:
    env = {name: address, "PATH": "", "DB_PASSWORD": "MARKER"}
    monkeypatch.setenv(name, address)
    with pytest.raises(az.InvalidInput, match=name):
        az.connect(env=env)
    with pytest.raises(az.InvalidInput, match=name):
        az.managed_identity_credential(env=env)
