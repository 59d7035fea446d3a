"""Each way to get a token, with the emulator checking the proof, and each way in which it fails: one clear line."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

import azurerm_lite as az
from azurerm_lite.clouds import reach_from_environment
from azurerm_lite.credentials import Login, from_environment

SCOPE = "https://management.azure.com/.default"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def login(arm_emulator: Any) -> Login:
    reach = reach_from_environment({"REQUESTS_CA_BUNDLE": arm_emulator.ca_file})
    return Login(arm_emulator.authority, reach, arm_emulator.clock.time)


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
    arm_emulator: Any, login: Login, key: rsa.RSAPrivateKey, tmp_path: Path, form: str
) -> None:
    who = (arm_emulator.tenant_id, arm_emulator.client_id)
    password = "opensesame" if form in ("pem with password", "pfx") else None
    secret = password.encode() if password else None
    path = pfx_file(tmp_path, key, secret or b"") if form == "pfx" else pem_file(tmp_path, key, secret)
    chain = form == "pem with chain"
    credential = az.certificate_credential(*who, path, password, send_chain=chain, login=login)
    with pytest.raises(az.CredentialError, match="AADSTS700027"):
        credential.get_token(SCOPE)
    arm_emulator.world.identity.trust_key(arm_emulator.client_id, public(key))
    first = credential.get_token(SCOPE)
    assert credential.get_token(SCOPE) is first
    assert "opensesame" not in repr(credential)


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot read the certificate file"), (b"-----BEGIN nothing", "must hold a private key")],
)
def test_a_certificate_that_is_none_is_one_clear_line(
    arm_emulator: Any, login: Login, tmp_path: Path, content: bytes | None, text: str
) -> None:
    path = tmp_path / "client.pem"
    if content is not None:
        path.write_bytes(content)
    credential = az.certificate_credential(arm_emulator.tenant_id, arm_emulator.client_id, str(path), login=login)
    with pytest.raises(az.CredentialError, match=text):
        credential.get_token(SCOPE)


def test_a_federated_token_is_read_again_each_time_and_its_end_is_told(
    arm_emulator: Any, login: Login, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    arm_emulator.world.identity.trust_key(arm_emulator.client_id, public(key), issuer="https://issuer.example")
    file, now = tmp_path / "token", arm_emulator.clock.time()

    def write(expires: float) -> None:
        file.write_text(jwt.encode({"iss": "https://issuer.example", "exp": expires}, key, algorithm="RS256"))

    who = (arm_emulator.tenant_id, arm_emulator.client_id)
    credential = az.workload_identity_credential(*who, str(file), login)
    with pytest.raises(az.CredentialError, match="cannot read the federated token file"):
        credential.get_token(SCOPE)
    write(now - 1)
    with pytest.raises(az.CredentialError, match="AADSTS700024"):
        credential.get_token(SCOPE)
    write(now + 600)
    first = credential.get_token(SCOPE)
    arm_emulator.clock.advance(3400)
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
    with pytest.raises(az.CredentialError, match=text):
        credential.get_token(SCOPE)


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
    assert [arm._token(), arm._token(), foreign.asked] == ["token1", "token1", 1]
    assert arm.credential.renew(arm.cloud.scope, "token1").token == "token2"
    assert arm.credential.renew(arm.cloud.scope, "token1").token == "token2"


@pytest.mark.parametrize("token", [None, b"x", "", "two words", "line\nbreak"])
def test_what_is_no_token_never_becomes_a_header(token: Any) -> None:
    class Odd:
        def get_token(self, *_: str, **__: Any) -> Any:
            return az.Token(token, 2_000_000_000)

    with pytest.raises(az.CredentialError, match="is not a bearer token"):
        az.Arm(Odd())._token()
