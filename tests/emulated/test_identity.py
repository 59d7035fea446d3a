"""Who one is to Azure: logins that fail for a while, challenges, refusals that say what is missing, other tenants."""

import base64
import json
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.auth._msal import Login
from azurerm_lite.auth.flows import find_az
from azurerm_lite.auth.principal import authorization
from azurerm_lite.clouds import network_from_environment
from azurerm_lite.emulator import Seed
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
    azurerm_emulator: Any, web: Any, path: str, fault: dict[str, Any]
) -> None:
    """Row 32: at the start, with and without the number of Entra's."""
    clock = azurerm_emulator.clock
    rule = azurerm_emulator.faults.add(path=path, times=2, **fault)
    began = clock.time()
    with az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep) as arm:
        assert az.get_vmss(arm, *web)["name"] == "web"
    assert rule.matches == 3
    assert 3 <= clock.time() - began <= 90


def test_a_login_service_that_fails_for_good_is_given_up_in_a_minute_and_a_half(
    azurerm_emulator: Any, web: Any
) -> None:
    """Row 32: one clear line in the end."""
    clock = azurerm_emulator.clock
    azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", status=503, body=BUSY, times=10**6)
    began = clock.time()
    arm = az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep)
    with pytest.raises(az.CredentialError, match="AADSTS90033") as caught:
        az.get_vmss(arm, *web)
    assert "\n" not in str(caught.value)
    assert 60 <= clock.time() - began <= 90


@pytest.mark.parametrize("fault", STUMBLES, ids=str)
def test_a_token_that_is_refused_while_the_login_service_fails_pauses_no_upgrade(
    arm: az.Arm, azurerm_emulator: Any, web: Any, fault: dict[str, Any]
) -> None:
    """Row 32 in the middle of an upgrade: a 401, then a login that fails twice, then a token."""
    wanted = plan(arm, *web, NEW)
    azurerm_emulator.faults.next("GET", "/web/virtualMachines", nth=3, expire=True)
    rule = azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", times=2, **fault)
    assert upgrade(arm, wanted).outcome == "succeeded"
    assert rule.matches >= 3


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


def test_connect_takes_an_identity_whose_service_is_being_updated(azurerm_emulator: Any, monkeypatch: Any) -> None:
    """One 404 to the probe, and 410 to the first request for a token."""
    for name, value in azurerm_emulator.managed_identity_env("imds").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", "")
    hidden = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID")
    env = {name: value for name, value in {**os.environ, **azurerm_emulator.env()}.items() if name not in hidden}
    path, clock = "/metadata/identity/oauth2/token", azurerm_emulator.clock
    azurerm_emulator.faults.next("GET", path, status=404)
    azurerm_emulator.faults.next("GET", path, nth=2, status=410, times=2)
    with az.connect(env=env, now=clock.time, sleep=clock.sleep) as arm:
        assert "managed identity" in repr(arm)
        assert az.list_vmss_sub(arm, azurerm_emulator.subscription_id)


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


# --- a stronger login ------------------------------------------------------------------------------------------------

CLAIMS = '{"access_token":{"acrs":{"essential":true,"values":["p1"]}}}'
ENCODED = base64.b64encode(CLAIMS.encode()).decode()


def fake_az(folder: Path, script: str) -> dict[str, str]:
    """An environment with an az that does this."""
    path = folder / "az"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def demanded(azurerm_emulator: Any, claims: str = CLAIMS) -> None:
    azurerm_emulator.identity.demand_claims(claims)


def az_login(azurerm_emulator: Any, folder: Path, **answer: object) -> az.Credential:
    token = azurerm_emulator.identity.issue(azurerm_emulator.client_id)
    end = int(azurerm_emulator.clock.time()) + 3000
    document = {"accessToken": token, "expires_on": end, **answer}
    return az.azure_cli_credential(
        env=fake_az(folder, f"echo '{json.dumps(document)}'"), now=azurerm_emulator.clock.time
    )


@pytest.mark.parametrize("tenant", ["contoso.com", "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "", "a; rm -rf /", None])
def test_who_is_logged_in_to_az_is_told_the_command_with_the_claims(
    azurerm_emulator: Any, web: az.ScaleSet, tmp_path: Path, tenant: str | None
) -> None:
    demanded(azurerm_emulator)
    arm = az.connect(az_login(azurerm_emulator, tmp_path, tenant=tenant), env=azurerm_emulator.env())
    with pytest.raises(az.CredentialError) as caught:
        az.put_vmss(arm, *web, {"location": "westus2"})
    text = str(caught.value)
    is_fit = tenant in ("contoso.com", "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d")
    named = f'--tenant "{tenant}" ' if is_fit else ""
    assert text.endswith(f'az login {named}--scope "{arm.cloud.scope}" --claims-challenge "{ENCODED}"')
    assert "rm -rf" not in text


def test_claims_of_any_length_are_named_whole(azurerm_emulator: Any, web: az.ScaleSet, tmp_path: Path) -> None:
    claims = json.dumps({"access_token": {"nbf": {"value": "1" * 4000}}})
    demanded(azurerm_emulator, claims)
    arm = az.connect(az_login(azurerm_emulator, tmp_path), env=azurerm_emulator.env())
    with pytest.raises(az.CredentialError) as caught:
        az.get_vmss(arm, *web)
    assert base64.b64encode(claims.encode()).decode() in str(caught.value)


def test_a_bare_token_that_is_too_weak_is_told_the_command_too(azurerm_emulator: Any, web: az.ScaleSet) -> None:
    demanded(azurerm_emulator)
    arm = az.connect(azurerm_emulator.identity.issue(azurerm_emulator.client_id), env=azurerm_emulator.env())
    with pytest.raises(az.AuthError) as caught:
        az.get_vmss(arm, *web)
    assert caught.value.claims == CLAIMS
    assert f'az login --claims-challenge "{ENCODED}"' in str(caught.value)


def test_az_that_fails_for_a_while_is_asked_again(azurerm_emulator: Any, tmp_path: Path) -> None:
    """az passes on what Entra says, number and all."""
    answer = json.dumps({"accessToken": "tok", "expires_on": 2_000_000_000})
    mark = tmp_path / "asked"
    script = (
        f"if [ -e {mark} ]; then echo '{answer}'; else touch {mark}; echo 'ERROR: AADSTS90033: busy' >&2; exit 1; fi"
    )
    slept: list[float] = []
    credential = az.azure_cli_credential(env=fake_az(tmp_path, script), now=lambda: 1.0, sleep=slept.append)
    assert credential.get_token(SCOPE).token == "tok"
    assert slept == [1.0]


def test_the_command_that_az_itself_names_is_passed_on_whole(tmp_path: Path) -> None:
    said = ["WARNING: x", "ERROR: AADSTS50076: you must use MFA.", "Run the command below:", "az logout"]
    said.append(f'az login --tenant "t" --scope "s" --claims-challenge "{ENCODED * 20}"')
    (tmp_path / "said").write_text("\n".join(said) + "\n")
    credential = az.azure_cli_credential(env=fake_az(tmp_path, f"cat {tmp_path}/said >&2; exit 1"))
    with pytest.raises(az.CredentialError) as caught:
        credential.get_token(SCOPE)
    assert str(caught.value) == "az gave no token: " + " ".join(said[1:])


@pytest.mark.parametrize(
    "printed",
    [
        *("[" * 100_000, "[]", "", "\udcff", "NaN", '{"accessToken":"a","expires_on":1e999}'),
        *('{"accessToken":"a","expires_on":' + "9" * 400 + "}", '{"accessToken":"a","expires_on":null}'),
        *('{"accessToken":"a","expires_on":-1}', '{"accessToken":7,"expires_on":9}'),
        *('{"accessToken":"MARKER x","expires_on":2000000000}', '{"accessToken":"a","expires_on":true}'),
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_whatever_az_prints_is_a_token_or_one_clear_line(tmp_path: Path, printed: str) -> None:
    (tmp_path / "printed").write_bytes(printed.encode("utf-8", "surrogateescape"))
    credential = az.azure_cli_credential(env=fake_az(tmp_path, f"cat {tmp_path}/printed"), now=lambda: 1.0)
    with pytest.raises(az.CredentialError) as caught:
        credential.get_token(SCOPE)
    assert "\n" not in str(caught.value)
    assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        *("[" * 100_000, "NaN", "[]", "7", "null", '{"access_token":"a","expires_in":1e999}', '{"a":1,"a":2}'),
        *('{"access_token":"a","token_type":"Bearer","expires_in":' + "9" * 401 + "}", '"\\ud800"'),
        *('{"access_token":"a","expires_in":-5}', '{"access_token":"a","expires_in":"soon"}'),
        *('{"access_token":"a","expires_in":0}', '{"access_token":"a","expires_in":[]}'),
    ],
    ids=lambda text: text[:40],
)
def test_whatever_a_login_answers_is_a_token_or_one_clear_line(azurerm_emulator: Any, web: Any, body: str) -> None:
    azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", garbage=body, times=99)
    clock = azurerm_emulator.clock
    with pytest.raises(az.CredentialError) as caught:
        az.get_vmss(az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep), *web)
    assert "\n" not in str(caught.value)


# --- az on Windows (simulated: no Windows here; the folders are those of this machine) -------------------------------


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", ["az.cmd", "az.exe", "az.bat"])
@pytest.mark.parametrize("variable", ["PATH", "Path"])
def test_az_is_found_on_the_path_of_windows_and_never_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    program(tmp_path / "here", name)
    program(tmp_path / "here" / "sub", name)
    wanted = program(tmp_path / "Program Files", name)
    monkeypatch.chdir(tmp_path / "here")
    for first in ("", ".", "sub", ".\\", '"."', "..\\here"):
        path = ";".join([first, str(tmp_path / "nothing"), f'"{tmp_path / "Program Files"}"'])
        assert find_az({variable: path}, "nt") == wanted
        assert find_az({variable: first}, "nt") is None
    assert find_az({}, "nt") is None


def test_az_is_not_taken_from_the_current_folder_elsewhere_either(tmp_path: Path, monkeypatch: Any) -> None:
    program(tmp_path, "az")
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", ":", ".:/nonexistent", ":/usr/nothing"):
        assert find_az({"PATH": path}, "posix") is None
    assert find_az({"PATH": f".:{tmp_path}"}, "posix") == str(tmp_path / "az")


def test_az_runs_away_from_the_current_folder(tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[dict[str, Any]] = []

    def run(line: list[str], **options: Any) -> Any:
        seen.append(options)
        raise OSError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(az.CredentialError, match="could not be run"):
        az.azure_cli_credential(env=fake_az(tmp_path, ""), run=run).get_token(SCOPE)
    assert seen[0]["cwd"] == "/"


# --- refusals --------------------------------------------------------------------------------------------------------

POLICY = {
    "type": "PolicyViolation",
    "info": {
        "policyDefinitionDisplayName": "Scale sets must have automatic OS upgrades",
        "policyAssignmentDisplayName": "Baseline of the platform team",
        "policyAssignmentId": "/providers/x/policyAssignments/base",
    },
}


def test_a_refusal_by_a_policy_names_it_and_asks_for_no_role(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    error = {"code": "RequestDisallowedByPolicy", "message": "Resource 'web' was disallowed by policy."}
    body = {"error": {**error, "additionalInfo": [POLICY]}}
    wanted = plan(arm, *web, NEW)
    azurerm_emulator.faults.next("PATCH", "/web", status=403, body=body, times=9)
    with pytest.raises(az.ForbiddenError) as caught:
        az.update_vmss(arm, *web, lambda model: az.set_image_version(model, NEW))
    reason = upgrade(arm, wanted).reason
    for text in (str(caught.value), reason):
        assert "policy 'Scale sets must have automatic OS upgrades'" in text
        assert "'Baseline of the platform team' at /providers/x/policyAssignments/base" in text
        assert "Contributor" not in text


def test_each_403_of_the_emulator_has_its_advice(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    azurerm_emulator.identity.set_role(azurerm_emulator.client_id, "Reader")
    with pytest.raises(az.ForbiddenError, match="Virtual Machine Contributor covers upgrades"):
        az.patch_vmss(arm, *web, {"tags": {}}, if_match=None)


# --- an image of another tenant --------------------------------------------------------------------------------------

FAR = "9a6b7c8d-2222-4222-8333-9e0f1a2b3c4d"
IMAGE = f"/subscriptions/{FAR}/resourceGroups/g/providers/Microsoft.Compute/galleries/gal/images/web/versions/2.0.0"


@pytest.fixture
def gallery_set(azurerm_emulator: Any) -> az.ScaleSet:
    image = IMAGE.replace(FAR, azurerm_emulator.subscription_id).replace("2.0.0", "1.0.0")
    azurerm_emulator.add(Seed.build("far", capacity=5, image={"id": image}))
    return az.ScaleSet(azurerm_emulator.subscription_id, azurerm_emulator.resource_group, "far")


def connected(azurerm_emulator: Any, *tenants: str, **options: Any) -> az.Arm:
    clock = azurerm_emulator.clock
    return az.connect(
        env=azurerm_emulator.env(), sleep=clock.sleep, now=clock.time, auxiliary_tenants=tenants, **options
    )


def test_an_image_of_another_tenant_needs_that_tenant(azurerm_emulator: Any, gallery_set: az.ScaleSet) -> None:
    tenant = azurerm_emulator.identity.add_tenant(FAR)
    with pytest.raises(az.ForbiddenError, match=r"LinkedAuthorizationFailed.*auxiliary_tenants") as caught:
        az.update_vmss(connected(azurerm_emulator), *gallery_set, lambda model: az.set_image_id(model, IMAGE))
    assert "Virtual Machine Contributor" not in str(caught.value)
    assert FAR in caught.value.hint
    other = azurerm_emulator.identity.add_tenant("8a6b7c8d-2222-4222-8333-9e0f1a2b3c4d")
    with pytest.raises(az.ForbiddenError, match="LinkedAuthorizationFailed"):
        az.update_vmss(connected(azurerm_emulator, other), *gallery_set, lambda model: az.set_image_id(model, IMAGE))
    with connected(azurerm_emulator, other, tenant) as arm:
        az.update_vmss(arm, *gallery_set, lambda model: az.set_image_id(model, IMAGE)).wait()
        model: Any = az.get_vmss(arm, *gallery_set)
    assert model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["id"] == IMAGE


def test_an_upgrade_to_an_image_of_another_tenant(azurerm_emulator: Any, gallery_set: az.ScaleSet) -> None:
    """Hours of it: the tokens of both tenants are renewed, by time and when they are refused."""
    tenant = azurerm_emulator.identity.add_tenant(FAR)
    with connected(azurerm_emulator, tenant) as arm:
        wanted = plan(arm, *gallery_set, lambda model: az.set_image_id(model, IMAGE))
        assert any("do not allow reading the gallery" in warning for warning in wanted.warnings)
        azurerm_emulator.clock.advance(7200)
        azurerm_emulator.faults.next("GET", "/far/virtualMachines", nth=3, expire=True)
        assert upgrade(arm, wanted).outcome == "succeeded"


def test_the_header_has_a_token_of_the_same_principal_in_each_tenant_and_is_hidden(
    azurerm_emulator: Any, web: az.ScaleSet, caplog: pytest.LogCaptureFixture
) -> None:
    tenants = [azurerm_emulator.identity.add_tenant() for _ in range(3)]
    caplog.set_level("DEBUG")
    with connected(azurerm_emulator, *tenants) as arm:
        az.get_vmss(arm, *web)
        tokens = arm._principal.tokens(azurerm_emulator.clock.sleep)
    known = azurerm_emulator.identity.tokens
    assert [known[token.token].tenant_id for token in tokens] == ["", *tenants]
    assert {known[token.token].client_id for token in tokens} == {azurerm_emulator.client_id}
    shown = caplog.text + repr(azurerm_emulator.recorder.entries) + repr(authorization(tokens)) + repr(vars(arm))
    assert "x-ms-authorization-auxiliary" in shown
    assert not [token for token in tokens if token.token in shown]


def test_three_tenants_at_most_and_nothing_else_is_sent(azurerm_emulator: Any) -> None:
    wrong: list[Any] = [
        ("a.com", "b.com", "c.com", "d.com"),
        "contoso.com",
        ("a b",),
        (7,),
        None,
        ("a.com", "A.com"),
        ("",),
    ]
    for tenants in [*wrong, ("../x",), {"a.com": 1}, 5, (None,), b"a.com", ("a.com\r\nx: y",)]:
        with pytest.raises(az.InvalidInput):
            az.connect(env=azurerm_emulator.env(), auxiliary_tenants=tenants)
        with pytest.raises(az.InvalidInput):
            az.Arm(az.azure_cli_credential(), auxiliary_tenants=tenants)
    assert azurerm_emulator.recorder.entries == []
    for tenant in ("a b; rm", "", None, "../x"):
        with pytest.raises(az.InvalidInput):
            az.azure_cli_credential().in_tenant(tenant)  # type: ignore[arg-type]
    for lone in ("bare", az.managed_identity_credential(env={})):
        with pytest.raises(az.InvalidInput, match="its own tenant only"):
            az.Arm(lone, auxiliary_tenants=["contoso.com"])


def test_az_and_foreign_credentials_are_asked_for_the_tenant(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    answer = json.dumps({"accessToken": "tok", "expires_on": 2_000_000_000})
    credential = az.azure_cli_credential(env=fake_az(tmp_path, f"echo \"$@\" >> {asked}\necho '{answer}'"))
    credential.in_tenant("contoso.com").get_token(SCOPE)
    assert asked.read_text().strip().endswith("--tenant contoso.com")

    class Foreign:
        def get_token(self, *scopes: str, **options: Any) -> az.Token:
            return az.Token(f"for-{options.get('tenant_id', 'home')}", 2_000_000_000)

    class Newer:
        def get_token_info(self, *scopes: str, options: Any = None) -> az.Token:
            return az.Token(f"for-{(options or {}).get('tenant_id', 'home')}", 2_000_000_000)

    for foreign in (Foreign(), Newer()):
        arm = az.Arm(foreign, auxiliary_tenants=["contoso.com"])
        assert [token.token for token in arm._principal.tokens(time.sleep)] == ["for-home", "for-contoso.com"]


def test_a_person_logs_in_once_for_all_tenants(azurerm_emulator: Any) -> None:
    azurerm_emulator.identity.confirms_at_once = True
    prompts: list[str] = []
    login = Login(
        azurerm_emulator.authority, network_from_environment(azurerm_emulator.env()), azurerm_emulator.clock.time
    )
    credential = az.device_code_credential(prompts.append, azurerm_emulator.tenant_id, login=login)
    own = credential.get_token(SCOPE)
    other = azurerm_emulator.identity.add_tenant()
    far = credential.in_tenant(other).get_token(SCOPE)
    assert [azurerm_emulator.identity.tokens[token.token].tenant_id for token in (own, far)] == ["", other]
    assert len(prompts) == 1
