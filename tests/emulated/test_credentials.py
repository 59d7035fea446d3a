"""Each way to get a token, with the emulator checking the proof, and each way in which it fails: one clear line."""

import json
import logging
import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from requests.adapters import BaseAdapter

import azurerm_lite as az
from azurerm_lite.auth._msal import Login
from azurerm_lite.auth.flows import from_environment
from azurerm_lite.clouds import network_from_environment
from azurerm_lite.emulator import serve

SCOPE = "https://management.azure.com/.default"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def login(azurerm_emulator: Any) -> Login:
    network = network_from_environment({"REQUESTS_CA_BUNDLE": azurerm_emulator.ca_file})
    return Login(azurerm_emulator.authority, network, azurerm_emulator.clock.time)


def public(key: rsa.RSAPrivateKey) -> str:
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form).decode()


def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    import datetime

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "azurerm_lite test")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(start).not_valid_after(start.replace(year=2036))
    return builder.sign(key, hashes.SHA256())


def pem_file(folder: Path, key: rsa.RSAPrivateKey, password: bytes | None = None) -> str:
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    path = folder / "client.pem"
    path.write_bytes(secret + certificate(key).public_bytes(serialization.Encoding.PEM))
    return str(path)


def pfx_file(folder: Path, key: rsa.RSAPrivateKey, password: bytes) -> str:
    path = folder / "client.pfx"
    hidden = serialization.BestAvailableEncryption(password)
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"x", key, certificate(key), None, hidden))
    return str(path)


@pytest.mark.parametrize("form", ["pem", "pem with password", "pem with chain", "pfx"])
def test_a_certificate_proves_who_one_is(
    azurerm_emulator: Any, login: Login, key: rsa.RSAPrivateKey, tmp_path: Path, form: str
) -> None:
    who = (azurerm_emulator.tenant_id, azurerm_emulator.client_id)
    password = "opensesame" if form in ("pem with password", "pfx") else None
    secret = password.encode() if password else None
    path = pfx_file(tmp_path, key, secret or b"") if form == "pfx" else pem_file(tmp_path, key, secret)
    chain = form == "pem with chain"
    credential = az.certificate_credential(*who, path, password, send_chain=chain, login=login)
    with pytest.raises(az.CredentialError, match="AADSTS700027"):
        credential.get_token(SCOPE)
    azurerm_emulator.identity.trust_key(azurerm_emulator.client_id, public(key))
    first = credential.get_token(SCOPE)
    assert credential.get_token(SCOPE) is first
    azurerm_emulator.clock.advance(3400)
    assert credential.get_token(SCOPE) != first
    assert "opensesame" not in repr(credential)


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot read the certificate file"), (b"-----BEGIN nothing", "must hold a private key")],
)
def test_a_certificate_that_is_none_is_one_clear_line(
    azurerm_emulator: Any, login: Login, tmp_path: Path, content: bytes | None, text: str
) -> None:
    path = tmp_path / "client.pem"
    if content is not None:
        path.write_bytes(content)
    credential = az.certificate_credential(
        azurerm_emulator.tenant_id, azurerm_emulator.client_id, str(path), login=login
    )
    with pytest.raises(az.CredentialError, match=text) as told:
        credential.get_token(SCOPE)
    assert "\n" not in str(told.value)


def test_a_federated_token_is_read_again_each_time_and_its_end_is_told(
    azurerm_emulator: Any, login: Login, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    azurerm_emulator.identity.trust_key(azurerm_emulator.client_id, public(key), issuer="https://issuer.example")
    file, now = tmp_path / "token", azurerm_emulator.clock.time()

    def write(expires: float) -> None:
        file.write_text(jwt.encode({"iss": "https://issuer.example", "exp": expires}, key, algorithm="RS256"))

    who = (azurerm_emulator.tenant_id, azurerm_emulator.client_id)
    credential = az.workload_identity_credential(*who, str(file), login)
    with pytest.raises(az.CredentialError, match="cannot read the federated token file"):
        credential.get_token(SCOPE)
    write(now - 1)
    with pytest.raises(az.CredentialError, match="AADSTS700024") as told:
        credential.get_token(SCOPE)
    assert "\n" not in str(told.value)
    write(now + 600)
    first = credential.get_token(SCOPE)
    azurerm_emulator.clock.advance(3400)
    write(now + 9999)
    assert credential.get_token(SCOPE) != first


class FakeAz:
    """What az prints, without az: the one foreign program that is not at hand in every test run."""

    def __init__(self, folder: Path, script: str) -> None:
        self.path = folder / "az"
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)
        self.env = {"PATH": f"{folder}:/usr/bin:/bin"}


def test_az_is_asked_without_a_shell_and_its_epoch_is_believed(tmp_path: Path) -> None:
    answer = {"accessToken": "tok", "expiresOn": "2026-11-23 10:46:38.000000", "expires_on": 2_000_000_000}
    fake = FakeAz(tmp_path, f"echo \"$@\" > {tmp_path}/asked\necho '{json.dumps(answer)}'")
    credential = az.azure_cli_credential(env=fake.env)
    assert credential.get_token(SCOPE) == az.Token("tok", 2_000_000_000)
    asked = (tmp_path / "asked").read_text().strip()
    assert asked == "account get-access-token --output json --resource https://management.azure.com"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo 'Please run: az login' >&2; exit 1", "az gave no token: Please run: az login"),
        ("echo '{}'", "az 2.54 or newer"),
        ("echo nonsense", "az 2.54 or newer"),
    ],
)
def test_what_goes_wrong_with_az_is_one_clear_line(tmp_path: Path, script: str, text: str) -> None:
    credential = az.azure_cli_credential(env=FakeAz(tmp_path, script).env)
    with pytest.raises(az.CredentialError, match=text) as told:
        credential.get_token(SCOPE)
    assert "\n" not in str(told.value)


def test_no_az_and_an_az_that_hangs_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(az.CredentialError, match="not installed"):
        az.azure_cli_credential(env={"PATH": str(tmp_path)}).get_token(SCOPE)

    def hangs(line: Any, **_: Any) -> Any:
        raise subprocess.TimeoutExpired(line, 30)

    fake = FakeAz(tmp_path, "")
    with pytest.raises(az.CredentialError, match="TimeoutExpired after at most 30 s"):
        az.azure_cli_credential(env=fake.env, run=hangs).get_token(SCOPE)


WHO = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ({**WHO, "AZURE_CLIENT_SECRET": "s", "AZURE_CLIENT_CERTIFICATE_PATH": "/x"}, "client secret of client c"),
        ({**WHO, "AZURE_CLIENT_CERTIFICATE_PATH": "/x", "AZURE_FEDERATED_TOKEN_FILE": "/y"}, "certificate of client c"),
        ({**WHO, "AZURE_FEDERATED_TOKEN_FILE": "/y"}, "workload identity of client c"),
    ],
)
def test_the_environment_is_walked_in_order_and_the_log_says_which_one_won(
    env: dict[str, str], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert from_environment(env, Login()).kind == kind
    assert f"credential: {kind}" in caplog.text


def test_prod_and_dev_narrow_the_walk(tmp_path: Path) -> None:
    fake = FakeAz(tmp_path, "")
    everything = {**fake.env, **WHO, "AZURE_CLIENT_SECRET": "s"}
    assert from_environment({**everything, "AZURE_TOKEN_CREDENTIALS": "dev"}, Login()).kind == "az login"
    with pytest.raises(az.CredentialError, match=r"Tried: client secret \(AZURE_TENANT_ID, AZURE_CLIENT_ID"):
        from_environment({**fake.env, "AZURE_TOKEN_CREDENTIALS": "prod"}, Login())


class OfficialStyle:
    """A credential as the official SDK has them, of the newer kind."""

    def __init__(self) -> None:
        self.asked = 0

    def get_token_info(self, *scopes: str, options: Any = None) -> az.Token:
        self.asked += 1
        return az.Token(f"token{self.asked}", 2_000_000_000)


def test_a_foreign_credential_is_asked_once_and_renewed_when_refused() -> None:
    foreign = OfficialStyle()
    arm = az.Arm(foreign, now=lambda: 1_900_000_000.0)
    assert [
        arm.credential.get_token(arm.cloud.scope).token,
        arm.credential.get_token(arm.cloud.scope).token,
        foreign.asked,
    ] == ["token1", "token1", 1]
    refused = az.Token("token1", 2_000_000_000)
    assert arm.credential.renew(arm.cloud.scope, refused).token == "token2"
    assert arm.credential.renew(arm.cloud.scope, refused).token == "token2"


@pytest.mark.parametrize("given", [None, b"x", "", "two words", "line\nbreak", 7, "é"])
@pytest.mark.parametrize("how", ["token", "bare"])
def test_what_is_no_token_never_becomes_a_header(given: Any, how: str) -> None:
    """Row 39: a token that is none, and a credential that gives no token at all."""

    class Odd:
        def get_token(self, *_: str, **__: Any) -> Any:
            return az.Token(given, 2_000_000_000) if how == "token" else given

    asked: list[object] = []
    arm = az.Arm(Odd(), adapter=Untouched(asked))
    with pytest.raises(az.CredentialError, match=r"Odd gave (what is not a bearer token|no token)") as told:
        arm.get("/subscriptions")
    assert asked == []
    assert "two words" not in str(told.value)


@pytest.mark.parametrize("error", [ValueError("no\nlogin"), KeyError("token"), RuntimeError(), TimeoutError("late")])
@pytest.mark.parametrize("name", ["get_token", "get_token_info"])
def test_a_credential_that_raises_is_one_typed_line_and_nothing_is_sent(error: Exception, name: str) -> None:
    """Row 39."""

    def fails(*_: Any, **__: Any) -> Any:
        raise error

    asked: list[object] = []
    arm = az.Arm(type("Broken", (), {name: fails})(), adapter=Untouched(asked))
    with pytest.raises(az.CredentialError, match=f"Broken gave no token: {type(error).__name__}") as told:
        arm.get("/subscriptions")
    assert "\n" not in str(told.value)
    assert asked == []


class Untouched(BaseAdapter):
    """A way to the network that nobody should go."""

    def __init__(self, asked: list[object]) -> None:
        super().__init__()
        self._asked = asked

    def send(self, request: Any, *_: Any, **__: Any) -> Any:
        self._asked.append(request)
        raise AssertionError("nothing may be sent without a token")

    def close(self) -> None: ...


# --- managed identity, device code, browser --------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An emulator in real time, and a way to put the process on a machine with its identity."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with serve(time_scale=1) as emulator:
        yield emulator


@pytest.mark.parametrize("kind", ["imds", "app-service"])
@pytest.mark.parametrize("who", ["system", "client_id", "object_id", "resource_id"])
def test_a_managed_identity_gets_and_renews_its_token(
    machine: Any, monkeypatch: pytest.MonkeyPatch, kind: str, who: str
) -> None:
    user = machine.identity.register_managed(role="Reader", resource_id="/subscriptions/s/userAssignedIdentities/u")
    for name, value in machine.managed_identity_env(kind).items():
        monkeypatch.setenv(name, value)
    chosen = {} if who == "system" else {who: getattr(user, who)}
    credential = az.managed_identity_credential(**chosen)
    first = credential.get_token(SCOPE)
    assert credential.get_token(SCOPE) is first
    again = credential.renew(SCOPE, first)
    assert again.token != first.token
    principal = machine.identity.principal_of(f"Bearer {again.token}")
    assert principal.client_id == (machine.identity.managed[0] if who == "system" else user).client_id


def test_a_managed_identity_of_another_name_is_one_clear_line(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in machine.managed_identity_env("imds").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(az.CredentialError, match="Identity not found") as caught:
        az.managed_identity_credential(client_id="nobody").get_token(SCOPE)
    assert "\n" not in str(caught.value)
    with pytest.raises(az.InvalidInput):
        az.managed_identity_credential(client_id="a", object_id="b")


def test_connect_finds_the_identity_of_the_machine(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in machine.managed_identity_env("imds").items():
        monkeypatch.setenv(name, value)
    for name, value in machine.env().items():
        monkeypatch.setenv(name, value)
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name)
    with az.connect() as arm:
        assert "managed identity" in repr(arm)
        assert az.get_vmss(arm, machine.subscription_id, "web-rg", "web")["name"] == "web"


def test_a_machine_that_is_none_of_azures_is_known_in_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import time

    with socket.socket() as silent:  # takes the connection and never says a word, as some networks do
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("PATH", "")
        began = time.monotonic()
        with pytest.raises(az.CredentialError, match=r"managed identity \(nothing answers"):
            from_environment(dict(os.environ), Login())
        assert time.monotonic() - began < 2.0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_metadata_service_of_another_cloud_is_no_identity(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other clouds answer at IMDS's own address too; who is logged in to az there must not be passed over."""

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("PATH", "")
        slept = [0.0]
        with pytest.raises(az.CredentialError, match=r"managed identity \(nothing answers"):
            from_environment(dict(os.environ), Login(sleep=slept.append))
        assert sum(slept) <= 3
        with pytest.raises(az.CredentialError, match="no identity"):
            az.managed_identity_credential(sleep=slept.append).get_token(SCOPE)
        server.shutdown()


def test_a_device_login_asks_once_and_renews_by_itself(azurerm_emulator: Any, login: Login) -> None:
    azurerm_emulator.identity.confirms_at_once = True
    said: list[str] = []
    credential = az.device_code_credential(said.append, azurerm_emulator.tenant_id, login=login)
    first = credential.get_token(SCOPE)
    again = credential.renew(SCOPE, first)
    assert first.token != again.token
    assert len(said) == 1
    assert "enter the code" in said[0]


def test_a_device_login_that_is_declined_is_one_clear_line(azurerm_emulator: Any, login: Login) -> None:
    def decline(_message: str) -> None:
        azurerm_emulator.identity.confirm(decline=True)

    with pytest.raises(az.CredentialError, match="authorization_declined") as caught:
        az.device_code_credential(decline, azurerm_emulator.tenant_id, login=login).get_token(SCOPE)
    assert "\n" not in str(caught.value)


def test_a_login_by_browser(azurerm_emulator: Any, login: Login) -> None:
    import threading
    import webbrowser

    import requests

    class Person(webbrowser.BaseBrowser):
        """Opens the page, says yes, and is sent back to the script."""

        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            threading.Thread(target=self.log_in, args=(url,)).start()
            return True

        def log_in(self, url: str) -> None:
            page = requests.get(url, verify=azurerm_emulator.ca_file, timeout=20).text
            (back,) = re.findall(r'action="([^"]+)"', page)
            requests.post(back, dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page)), timeout=20)

    webbrowser.register("person", None, Person("person"), preferred=True)
    try:
        credential = az.interactive_browser_credential(azurerm_emulator.tenant_id, timeout=20, login=login)
        token = credential.get_token(SCOPE)
        assert credential.renew(SCOPE, token).token != token.token
    finally:
        webbrowser._tryorder.remove("person")  # type: ignore[attr-defined]
        del webbrowser._browsers["person"]  # type: ignore[attr-defined]


# --- clouds ----------------------------------------------------------------------------------------------------------


def test_a_cloud_of_ones_own_says_by_itself_where_it_is(azurerm_emulator: Any) -> None:
    env = {**azurerm_emulator.env()}
    for name in ("AZURE_AUTHORITY_HOST", "AZURE_RM_ENDPOINT", "AZURE_AUTH_ENDPOINT"):
        del env[name]
    clock = azurerm_emulator.clock
    with az.connect(cloud=azurerm_emulator.arm_endpoint, env=env, now=clock.time, sleep=clock.sleep) as arm:
        assert (arm.cloud.name, arm.cloud.authority) == ("AzureEmulator", azurerm_emulator.authority)
        assert arm.cloud.scope == f"{azurerm_emulator.arm_endpoint}/.default"
        assert az.list_vmss_sub(arm, azurerm_emulator.subscription_id)[0]["name"] == "web"
    with pytest.raises(az.AzurermLiteError):
        az.connect("token", cloud="http://far.example")


def test_the_clouds_by_name() -> None:
    government = az.connect("token", cloud="us-government", env={})
    assert government.base == "https://management.usgovcloudapi.net"
    assert government.cloud.scope == "https://management.core.usgovcloudapi.net/.default"
    assert az.connect("token", cloud="china", env={}).cloud == az.CHINA


# --- our credentials in other hands ----------------------------------------------------------------------------------


def test_our_credentials_fit_the_official_sdk(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.mgmt.compute import ComputeManagementClient

    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    network = network_from_environment({"REQUESTS_CA_BUNDLE": machine.ca_file})
    login = Login(machine.authority, network)
    credential: Any = az.client_secret_credential(machine.tenant_id, machine.client_id, machine.client_secret, login)
    options = {"base_url": machine.arm_endpoint, "credential_scopes": [SCOPE], "connection_verify": machine.ca_file}
    with ComputeManagementClient(credential, machine.subscription_id, **options) as client:
        assert client.virtual_machine_scale_sets.get("web-rg", "web").name == "web"
