"""Rows 35, 142 to 145: what is secret stands in no repr, log, error, traceback or file of ours.

Markers are planted wherever a secret can be, then everything that comes out is searched for them.
"""

import copy
import json
import logging
import os
import pickle
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite._common.secrecy import Headers
from azurerm_lite.emulator import Seed, VirtualClock, serve
from azurerm_lite.upgrade import Policy, plan, resume, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

from .conftest import NEW

OURS = str(Path(az.__file__).parent)
SAS = "https://acc.blob.core.windows.net/c/run.sh?sv=2024-01-01&sig=MARKERsas%3D&se=2027"
PROFILE = {
    "osProfile": {"adminPassword": "MARKERpassword", "customData": "MARKERcustom", "adminUsername": "u"},
    "userData": "MARKERuser",
    "extensionProfile": {
        "extensions": [
            {
                "name": "script",
                "properties": {
                    "publisher": "Microsoft.Azure.Extensions",
                    "type": "CustomScript",
                    "typeHandlerVersion": "2.1",
                    "settings": {"fileUris": [SAS]},
                    "protectedSettings": {"commandToExecute": "MARKERprotected"},
                },
            }
        ]
    },
}


COMMAND = {
    "source": {"script": "id"},
    "protectedParameters": [{"name": "key", "value": "MARKERparameter"}],
    "runAsUser": "u",
    "runAsPassword": "MARKERrunAs",
}


def hidden_anew(model: Any) -> None:
    """A change of what may change, to secrets."""
    profile = model["properties"]["virtualMachineProfile"]
    profile["osProfile"]["customData"], profile["userData"] = "MARKERcustom", "MARKERuser"
    profile["extensionProfile"] = copy.deepcopy(PROFILE["extensionProfile"])


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def texts_of(error: BaseException) -> Iterator[str]:
    """All that an error and its chain say, hold, and let be seen in the frames of our own files."""
    for one in chain(error):
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        trace = one.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(OURS):
                yield repr(trace.tb_frame.f_locals)
            trace = trace.tb_next


def reachable(root: object, depth: int = 8) -> Iterator[object]:
    """What can be reached from an object by its attributes and items: what `vars`, a debugger or a dump would show."""
    seen: set[int] = set()
    queue = [(root, depth)]
    while queue:
        one, left = queue.pop()
        if id(one) in seen or left == 0:
            continue
        seen.add(id(one))
        yield one
        inner = list(one.values()) if isinstance(one, Mapping) else []
        inner += list(one) if isinstance(one, list | tuple | set | frozenset) else []
        inner += list(vars(one).values()) if hasattr(one, "__dict__") and not isinstance(one, type) else []
        queue += [(item, left - 1) for item in inner]


@pytest.fixture
def token(arm: az.Arm) -> str:
    return arm.credential.get_token(arm.cloud.scope).token


FAILURES = [
    {"drop": "before", "times": 9},
    {"status": 400},
    {"status": 401, "times": 9},
    {"status": 403},
    {"status": 429, "retry_after": 900},
    {"status": 503, "times": 9},
    {"garbage": "<html>", "times": 9},
    {"status": 307, "headers": {"Location": "https://127.0.0.1:9/x"}, "body": {}},
]


@pytest.mark.parametrize("fault", FAILURES, ids=[repr(fault)[:40] for fault in FAILURES])
def test_no_error_leads_to_the_token_or_to_a_request(
    arm: az.Arm, azurerm_emulator: Any, web: Any, token: str, fault: dict[str, Any]
) -> None:
    """Rows 142 and 144: neither what it says nor what it holds, nor the locals of our frames, nor a request object."""
    azurerm_emulator.faults.next("GET", "/web", **fault)
    with pytest.raises(az.AzurermLiteError) as caught:
        az.get_vmss(arm, *web)
    shown = "".join(texts_of(caught.value))
    assert token not in shown
    assert azurerm_emulator.client_secret not in shown
    for one in chain(caught.value):
        assert not hasattr(one, "request")
        assert not hasattr(one, "response")
        assert not hasattr(one, "doc"), "of JSON that could not be read: the whole answer"
        assert not any(type(inner).__module__.startswith(("requests", "urllib3")) for inner in reachable(one))
        assert not any(isinstance(inner, str) and token in inner for inner in reachable(one))


def test_an_error_from_below_shows_no_token_in_our_frames(azurerm_emulator: Any, web: Any) -> None:
    """Row 144: Ctrl-C in the middle of a request keeps the frames, and they show no header's value."""
    clock = azurerm_emulator.clock

    def interrupted() -> float:
        if armed:
            raise KeyboardInterrupt
        return float(clock.time())

    armed: list[int] = []
    with az.connect(env=azurerm_emulator.env(), now=clock.time, monotonic=interrupted) as arm:
        token = arm.credential.get_token(arm.cloud.scope).token
        armed.append(1)
        with pytest.raises(KeyboardInterrupt) as caught:
            az.get_vmss(arm, *web)
    assert token not in "".join(texts_of(caught.value))
    assert token not in repr(Headers({"Authorization": f"Bearer {token}"}))


def test_nothing_of_ours_can_be_dumped_with_its_secrets(
    arm: az.Arm, azurerm_emulator: Any, web: Any, token: str
) -> None:
    """Row 142: repr, str and vars of client, credential, operation, answer and errors; pickling and copying refused."""
    az.get_vmss(arm, *web)
    operation = az.restart_vmss_vms(arm, *web, ["0"])
    with pytest.raises(az.OperationTimeout) as late:
        operation.wait(timeout=0.01)
    answer = arm._transport().send("GET", f"{web.resource_id}?api-version=2024-07-01", {})
    things: list[Any] = [
        arm,
        arm.credential,
        arm.credential.get_token(arm.cloud.scope),
        operation,
        answer,
        late.value,
        arm._transport(),
    ]
    for one in things:
        shown = repr(one) + str(one) + repr(vars(one) if hasattr(one, "__dict__") else "")
        assert token not in shown
        assert azurerm_emulator.client_secret not in shown
    for one in (arm, arm.credential, operation, late.value):
        for spread in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError):
                spread(one)
    for error in (az.NotFoundError("x", code="y"), az.TransportError("x"), az.CredentialError("x", code="y")):
        assert str(copy.deepcopy(error)) == str(error)


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": ""}',
        "<html>MARKERtoken</html>",
        '{"access_token": "MARKERtok',
        '{"access_token": "MARKER token"}',
        '{"access_token": "", "refresh_token": "MARKERrefresh"}',
        '{"error": "invalid_client", "error_description": "AADSTS7000215: no.\\r\\nTrace ID: 1"}',
    ],
)
def test_a_login_that_fails_shows_neither_secret_nor_answer(
    azurerm_emulator: Any, web: Any, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows 35 and 144, msal's own loggers and frames of ours included."""
    caplog.set_level(logging.DEBUG)
    azurerm_emulator.faults.next("POST", "/oauth2/v2.0/token", garbage=body, times=9)
    clock = azurerm_emulator.clock
    arm = az.connect(env=azurerm_emulator.env(), now=clock.time, sleep=clock.sleep)
    with pytest.raises(az.CredentialError) as caught:
        az.get_vmss(arm, *web)
    shown = "".join(texts_of(caught.value)) + caplog.text
    assert "MARKER" not in shown
    assert azurerm_emulator.client_secret not in shown


@pytest.mark.parametrize("tenant", ["", "a b", None])
def test_a_secret_that_is_given_with_a_wrong_tenant_is_in_no_frame(tenant: Any) -> None:
    for call in (az.client_secret_credential, az.get_access_token):
        with pytest.raises(az.InvalidInput) as caught:
            call(tenant, "client", "MARKERsecret")
        assert "MARKER" not in "".join(texts_of(caught.value))
    with pytest.raises(az.CredentialError) as bad:
        az.Arm("MARKER token")
    assert "MARKER" not in str(bad.value)


def test_no_secret_of_a_model_reaches_a_log_an_error_or_a_handle(
    arm: az.Arm, azurerm_emulator: Any, web: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 143: every logger at DEBUG, those of urllib3, requests and msal included, while secrets are sent."""
    caplog.set_level(logging.DEBUG)
    for name in ("urllib3", "requests", "msal", "azurerm_lite"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    model: Any = az.get_vmss(arm, *web)
    model["properties"]["virtualMachineProfile"] |= copy.deepcopy(PROFILE)
    shown: list[str] = []
    for fault in ({"status": 400}, {"drop": "before"}, {"status": 504}, {"status": 409}, {"garbage": "<html>"}, {}):
        azurerm_emulator.faults.clear()
        azurerm_emulator.faults.next("PUT", "/web", **fault)
        try:
            operation = az.put_vmss(arm, *web, model, if_match=None)
            shown += [repr(operation), json.dumps(operation.to_dict())]
            operation.wait()
        except az.AzurermLiteError as error:
            shown += [str(error), repr(error), repr(error.args)]
    extension: Any = PROFILE["extensionProfile"]["extensions"][0]  # type: ignore[index]
    for write in (az.put_vmss_extension, az.patch_vmss_extension):
        write(arm, *web, "script", {"properties": extension["properties"]}).wait()
    az.put_vmss_vm_run_command(arm, *web, "0", "run", {"location": "westus2", "properties": COMMAND}).wait()
    shown += [repr(az.get_vmss_vm_run_command(arm, *web, "0", "run"))]
    az.update_vmss(arm, *web, hidden_anew)
    sent = azurerm_emulator.recorder.writes()
    assert any(entry.status < 300 for entry in sent)
    edit = az.set_image_version(model, NEW)
    shown += [str(change) for change in az.diff(az.get_vmss(arm, *web), edit.model)]
    # What was sent on purpose, the address of a script included, is what a journal of requests is for.
    shown += [repr(azurerm_emulator.recorder.entries).replace("MARKERsas", ""), caplog.text]
    whole = "".join(shown)
    for secret in ("MARKER", token, azurerm_emulator.client_secret):
        assert secret not in whole
    assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}


def test_a_journal_is_private_whatever_it_was_and_holds_no_secret(tmp_path: Path) -> None:
    """Row 145: 0600 when it is made and when it is taken up; a link is refused; secrets of the model stay out."""
    made = Stage(Seed.build(capacity=10))
    path = tmp_path / "j.jsonl"
    posted: list[int] = []

    def secretly(model: Any) -> Any:
        profile = model["properties"]["virtualMachineProfile"]
        profile["osProfile"] |= {"customData": "MARKERcustom", "adminPassword": "MARKERpassword"}
        profile["userData"] = "MARKERuser"
        return az.set_image_version(model, NEW)

    wanted = plan(made.arm, *made.address, secretly, policy=Policy(max_disruption="reimage"))
    old = os.umask(0)
    try:
        verdict = upgrade(
            made.arm,
            wanted,
            journal=str(path),
            on_event=lambda event: posted.append(1) if event["kind"] == "posted" else None,
            should_stop=lambda: bool(posted),
        )
        assert verdict.outcome == "cancelled"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        link = tmp_path / "link"
        link.symlink_to(path)
        with pytest.raises(az.InvalidInput, match="cannot take up the journal"):
            resume(made.arm, str(link))
        assert resume(made.arm, str(path)).ok
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert {one.name for one in tmp_path.iterdir()} == {"j.jsonl", "link"}
    shown = path.read_text() + str(wanted) + repr(wanted) + str(verdict)
    assert not [one for one in ("MARKER", "eyJ") if one in shown]  # eyJ: as every token begins


def test_the_file_of_the_emulators_journal_is_private_whatever_it_was(tmp_path: Path) -> None:
    """Row 145: 0600 when it is made and when it is found, and a link is refused."""
    path, link, old = tmp_path / "asked.jsonl", tmp_path / "link", os.umask(0)
    try:
        for _ in ("made", "found"):
            with serve(clock=VirtualClock(), record=str(path)) as emulator:
                az.list_vmss_sub(az.connect(env=emulator.env()), emulator.subscription_id)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            path.chmod(0o644)
        link.symlink_to(path)
        with pytest.raises(OSError, match="symbolic link"), serve(clock=VirtualClock(), record=str(link)):
            pass
    finally:
        os.umask(old)
    assert not [one for one in ("eyJ", emulator.client_secret) if one in path.read_text()]
