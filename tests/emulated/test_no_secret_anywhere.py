"""Every public callable, and every way in which one fails: no signature and no frame of ours shows a secret.

A crash reporter that collects local variables is the judge: it sees the repr of each, and what is inside of those that
are plain data.
"""

import contextlib
import http.client
import inspect
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite._common.secrecy import Headers
from azurerm_lite._http.transport import Timeouts, _TimedResponse
from azurerm_lite.auth._msal import Login
from azurerm_lite.auth.foreign import as_credential, bearer_credential
from azurerm_lite.clouds import NetworkSettings, custom_cloud, network_from_environment
from azurerm_lite.compat import azurerm

from .crash_reporter import MARK, callables, failure_of, inside, leaks

TOKEN = f"{MARK}.bare.token"
SECRET, PROXY = f"{MARK}secret", f"http://user:{MARK}proxy@127.0.0.1:9"
WHO = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
WEB = ("5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "web-rg", "web")
ELSEWHERE = custom_cloud("https://127.0.0.1:9", "https://127.0.0.1:9")
ENV: dict[str, str] = {
    **WHO,
    "AZURE_CLIENT_SECRET": SECRET,
    "AZURE_CLIENT_CERTIFICATE_PASSWORD": f"{MARK}password",
    "HTTPS_PROXY": PROXY,
    "DB_PASSWORD": f"{MARK}db",
    "PATH": "",
}


# --- signatures -----------------------------------------------------------------------------------------------------


def test_no_default_argument_holds_live_state() -> None:
    live = (os.environ, sys.stdin, sys.stdout, sys.stderr)
    assert len(callables()) > 800
    wrong = []
    for name, function in callables().items():
        with contextlib.suppress(ValueError, TypeError):
            defaults = {entry.name: entry.default for entry in inspect.signature(function).parameters.values()}
            wrong += [f"{name}({key})" for key, value in defaults.items() if any(value is thing for thing in live)]
    assert wrong == []


def test_help_and_the_signatures_of_a_process_full_of_secrets_show_none() -> None:
    code = """
import importlib, inspect, pkgutil, pydoc
import azurerm_lite as az
for info in pkgutil.walk_packages(az.__path__, "azurerm_lite."):
    if not info.name.endswith("__main__"):
        print(pydoc.plain(pydoc.render_doc(importlib.import_module(info.name))))
print(pydoc.plain(pydoc.render_doc(az.connect)), inspect.signature(az.connect))
"""
    env = {**os.environ, **{name: value for name, value in ENV.items() if name != "PATH"}}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert "connect(" in done.stdout
    assert len(done.stdout) > 100_000
    assert MARK not in done.stdout


# --- errors of every function that takes a token --------------------------------------------------------------------


def takes_auth(parameter: inspect.Parameter) -> bool:
    return parameter.name in ("auth", "access_token")


def every_call() -> list[str]:
    """Public functions whose first argument may be a bare token."""
    return [
        name
        for name, function in callables().items()
        if inspect.isfunction(function)
        and not name.rpartition(".")[2].startswith("_")
        and any(map(takes_auth, list(inspect.signature(function).parameters.values())[:1]))
    ]


def filled(function: Any, wrong: object) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for it: a bare token, a scale set, and for each other one that must be there `wrong`."""
    usual = dict(zip(("subscription_id", "resource_group", "vmss_name"), WEB, strict=True))
    plain, named = [], {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = TOKEN if takes_auth(parameter) else usual.get(parameter.name, wrong)
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                named[parameter.name] = value
        elif parameter.default is parameter.empty:
            plain.append(value)
    return plain, named


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose resource manager is a port on which nobody listens."""
    for name, value in {**ENV, "AZURE_RM_ENDPOINT": ELSEWHERE.resource_manager}.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    defaults: Any = inspect.unwrap(az.Arm.__init__).__kwdefaults__
    monkeypatch.setitem(defaults, "retry", az.Retry(attempts=1))
    monkeypatch.setitem(defaults, "sleep", no_waiting)


def no_waiting(_seconds: float) -> None:
    """Arm may have been imported before the guard against sleeping, and would then wait for its outage to pass."""
    raise TimeoutError("nothing is waited for here")


@pytest.mark.parametrize("wrong", ["x", "", 7, None, ["0"], {"location": "westus2"}], ids=repr)
def test_no_function_that_takes_a_bare_token_shows_it_when_it_fails(nowhere: None, wrong: object) -> None:
    names = every_call()
    assert len(names) > 100
    shown = {}
    for name in names:
        plain, named = filled(callables()[name], wrong)
        try:
            result = callables()[name](*plain, **named)
            if inspect.isgenerator(result):
                next(result, None)
        except Exception as error:
            if places := leaks(error):
                shown[name] = places
        with pytest.raises(TypeError) as caught:
            callables()[name](*plain, no_such_argument=1, **named)
        if places := leaks(caught.value):
            shown[f"{name}, no such argument"] = places
    assert shown == {}


def test_a_bare_token_that_is_passed_by_its_name_is_not_shown_either(nowhere: None) -> None:
    calls = {name: callables()[name] for name in every_call()}
    by_name = {
        name: function
        for name, function in calls.items()
        if next(iter(inspect.signature(function).parameters.values())).kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and "azurerm_lite" in function.__module__
    }
    shown = {}
    for name, function in by_name.items():
        parameters = list(inspect.signature(function).parameters.values())
        needed = [one.name for one in parameters[1:] if one.default is one.empty]
        try:
            function(**{parameters[0].name: TOKEN}, **dict.fromkeys(needed, ""))
        except Exception as error:
            if places := leaks(error):
                shown[name] = places
    assert len(by_name) > 40
    assert shown == {}


# --- errors of everything else that takes a secret ------------------------------------------------------------------


def by_person(**options: Any) -> None:
    raise RuntimeError("nobody is here")


FAILURES: dict[str, Callable[[], object]] = {
    "connect, bad tenant": lambda: az.connect(env={**ENV, "AZURE_TENANT_ID": "../x"}),
    "connect, no tenant": lambda: az.connect(env={**ENV, "AZURE_TENANT_ID": ""}),
    "connect, bad client": lambda: az.connect(env={**ENV, "AZURE_CLIENT_ID": "a b"}),
    "connect, bad cloud": lambda: az.connect(env={**ENV, "AZURE_SDK_CLOUD_CONF": "no"}),
    "connect, bad authority": lambda: az.connect(env={**ENV, "AZURE_AUTHORITY_HOST": "http://far"}),
    "connect, bad manager": lambda: az.connect(env={**ENV, "AZURE_RM_ENDPOINT": "https://[::1"}),
    "connect, bad identity": lambda: az.connect(env={"IDENTITY_ENDPOINT": "http://[::1", "DB": SECRET}),
    "connect, nothing there": lambda: az.connect(env={"DB": SECRET, "PATH": "", "AZURE_TOKEN_CREDENTIALS": "dev"}),
    "connect, bad option": lambda: az.connect(env=ENV, no_such_option=SECRET),
    "connect, bad token": lambda: az.connect(f"{MARK} x", env=ENV),
    "connect, bad proxy": lambda: az.get_vmss(
        az.connect(
            "a.b.c", env={}, cloud=custom_cloud("https://far.invalid", "https://a.invalid"), proxy=f"x://{MARK}:p"
        ),
        *WEB,
    ),
    "connect, bad proxy port": lambda: az.get_vmss(
        az.connect("a.b.c", env={}, cloud="public", proxy=f"http://u:{MARK}@h:99999"), *WEB
    ),
    "connect, no CA file": lambda: az.get_vmss(az.connect(TOKEN, env=ENV, ca_file="/nonexistent"), *WEB),
    "connect, another cloud": lambda: az.connect(env=ENV, cloud="https://127.0.0.1:9"),
    "login, unreachable": lambda: az.connect(
        env={**ENV, "AZURE_AUTHORITY_HOST": "https://127.0.0.1:9"}, sleep=lambda _: None
    ).credential.get_token("s"),
    "get_access_token": lambda: az.get_access_token("a b", "c", SECRET),
    "get_access_token, env": lambda: az.get_access_token("t", "c", SECRET, env={**ENV, "AZURE_SDK_CLOUD_CONF": "no"}),
    "secret, bad client": lambda: az.client_secret_credential("t", "a b", SECRET),
    "secret, bytes": lambda: az.client_secret_credential("t", "c", SECRET.encode()),  # type: ignore[arg-type]
    "secret, one argument more": lambda: az.client_secret_credential("t", "c", SECRET, Login(), 5),  # type: ignore[call-arg]
    "certificate, bad client": lambda: az.certificate_credential("t", "a b", "/x", SECRET),
    "certificate, no file": lambda: az.certificate_credential("t", "c", "/nonexistent", SECRET).get_token("s"),
    "federated, no file": lambda: az.workload_identity_credential("t", "c", "/nonexistent").get_token("s"),
    "bare token": lambda: bearer_credential(f"{MARK} x"),
    "bare token, bytes": lambda: bearer_credential(TOKEN.encode()),  # type: ignore[arg-type]
    "as_credential": lambda: as_credential(f"{MARK}\n x"),
    "Arm, bad token": lambda: az.Arm(f"{MARK} x"),
    "Arm, bad version": lambda: az.Arm(TOKEN, api_version="x"),
    "Arm, bad tenants": lambda: az.Arm(TOKEN, auxiliary_tenants=["a b"]),
    "Arm, bad option": lambda: az.Arm(TOKEN, no_such_option=1),  # type: ignore[call-arg]
    "Arm, unreachable": lambda: az.get_vmss(
        az.Arm(TOKEN, cloud=ELSEWHERE, retry=az.Retry(attempts=1), network=NetworkSettings(proxy=PROXY)), *WEB
    ),
    "az, not there": lambda: az.azure_cli_credential(env=ENV).get_token("s"),
    "az, interrupted": lambda: (
        az.azure_cli_credential(env=os.environ | ENV | {"PATH": os.environ["PATH"]}, run=by_person)
        .in_tenant("t")
        .get_token("s")
    ),
    "create_vmss, unreachable": lambda: azurerm.create_vmss(
        az.Arm(TOKEN, cloud=ELSEWHERE, retry=az.Retry(attempts=1)),
        *WEB,
        "s",
        2,
        "p",
        "o",
        "k",
        "1",
        "/n",
        "w",
        password=SECRET,
    ),
    "put_vmss, no JSON": lambda: azurerm.put_vmss(TOKEN, *WEB, '{"adminPassword": "' + SECRET),
    "claims": lambda: bearer_credential(TOKEN).renew("s", az.Token(TOKEN, 9), "{}"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_takes_a_secret_shows_none_when_it_fails(name: str) -> None:
    assert leaks(failure_of(FAILURES[name])) == []


@pytest.mark.parametrize(
    "content", [b"-----BEGIN x", b"-----BEGIN PRIVATE KEY-----\nMARKERkey\n-----END PRIVATE KEY-----"]
)
@pytest.mark.parametrize("end", [b"", b"\n-----BEGIN CERTIFICATE-----\nTUFSS0VS\n-----END CERTIFICATE-----"])
def test_a_certificate_that_is_none_shows_no_key(tmp_path: Path, content: bytes, end: bytes) -> None:
    path = tmp_path / "client.pem"
    path.write_bytes(content + end)
    login = Login("https://127.0.0.1:9", sleep=lambda _: None)
    credential = az.certificate_credential("t", "c", str(path), SECRET, login=login)
    assert leaks(failure_of(lambda: credential.get_token("s")), everywhere=True) == []


class Interrupted(BaseException):
    """As Ctrl-C is: no Exception."""


LOGINS = ["secret", "federated", "device code", "refresh token", "az", "managed identity"]
PLACES = ["connection", "first response", "second response"]


@pytest.mark.parametrize(
    ("kind", "place"),
    [(kind, place) for kind in LOGINS for place in PLACES if (kind, place) != ("managed identity", PLACES[-1])],
)
def test_ctrl_c_in_the_middle_of_a_login_shows_no_secret_in_any_frame(
    azurerm_emulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, place: str
) -> None:
    """Wherever it breaks off: the frames of msal, urllib3 and http.client are gone too."""
    login = Login(
        azurerm_emulator.authority, network_from_environment(azurerm_emulator.env()), azurerm_emulator.clock.time
    )
    azurerm_emulator.identity.principals[azurerm_emulator.client_id].secret = SECRET
    who = (azurerm_emulator.tenant_id, azurerm_emulator.client_id)
    (tmp_path / "token").write_text(f"{MARK}.federated.token")
    (tmp_path / "az").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "az").chmod(0o755)
    azurerm_emulator.identity.confirms_at_once = True
    made: dict[str, Callable[[], az.Credential]] = {
        "secret": lambda: az.client_secret_credential(*who, SECRET, login),
        "federated": lambda: az.workload_identity_credential(*who, str(tmp_path / "token"), login),
        "device code": lambda: az.device_code_credential(lambda _: None, who[0], login=login),
        "refresh token": lambda: az.device_code_credential(lambda _: None, who[0], login=login),
        "az": lambda: az.azure_cli_credential(env={**ENV, "PATH": f"{tmp_path}:/bin:/usr/bin"}, run=by_interrupt),
        "managed identity": lambda: az.managed_identity_credential(
            env={"AZURE_POD_IDENTITY_AUTHORITY_HOST": azurerm_emulator.metadata_endpoint}
        ),
    }
    for name, value in azurerm_emulator.managed_identity_env("imds").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    credential = made[kind]()
    first = credential.get_token("https://m/.default") if kind == "refresh token" else None
    if kind == "refresh token":
        marked = {f"{MARK}.refresh": azurerm_emulator.client_id}
        azurerm_emulator.identity.refresh_tokens.update(marked)
    with monkeypatch.context() as patch:
        patch.setattr(*interrupting(place))
        if first is None:
            error = failure_of(lambda: credential.get_token("https://m/.default"))
        else:
            error = failure_of(lambda: credential.renew("https://m/.default", first))
    assert isinstance(error, Interrupted)
    assert leaks(error, everywhere=True) == []
    assert first is None or first.token not in "".join(map(repr, walked(error)))


def interrupting(place: str) -> tuple[Any, str, Any]:
    """What to replace so that a login breaks off at a place. A managed identity has one response."""
    if place == "connection":
        return socket.socket, "connect", by_interrupt
    begin, calls = http.client.HTTPResponse.begin, [0]

    def begin_later(response: http.client.HTTPResponse) -> None:
        calls[0] += 1
        begin(response)
        if calls[0] >= (2 if place.startswith("second") else 1):
            raise Interrupted

    return _TimedResponse, "begin", begin_later


def by_interrupt(*_: Any, **__: Any) -> Any:
    raise Interrupted


def walked(error: BaseException) -> Iterator[object]:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            yield trace.tb_frame.f_locals
        trace = trace.tb_next


@pytest.mark.parametrize("bodies", ["GET", "PUT"])
def test_ctrl_c_in_the_middle_of_a_request_shows_no_token_in_any_frame(bodies: str) -> None:
    """A server that says nothing, and SIGINT while the response is waited for."""
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    arm = az.Arm(TOKEN, cloud=custom_cloud(base, base), timeouts=Timeouts(5, 5, 5))
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    call = {
        "GET": lambda: az.get_vmss(arm, *WEB),
        "PUT": lambda: az.put_vmss(arm, *WEB, {"location": "w"}, if_match=None),
    }
    error = failure_of(call[bodies])
    listener.close()
    assert isinstance(error, KeyboardInterrupt)
    assert leaks(error, everywhere=True) == []
    assert len(list(walked(error))) > 2


# --- things ---------------------------------------------------------------------------------------------------------


def test_no_thing_that_holds_a_secret_is_shown_by_any_form() -> None:
    token = az.Token(TOKEN, 2**40)
    network = NetworkSettings(proxy=PROXY)
    headers = Headers({"Authorization": f"Bearer {TOKEN}"})
    arm = az.Arm(TOKEN, network=network, cloud=ELSEWHERE)
    secret = az.client_secret_credential("t", "c", SECRET, Login(network=network))
    for thing in (
        token,
        network,
        headers,
        headers.copy(),
        arm,
        secret,
        Login(network=network),
        bearer_credential(TOKEN),
    ):
        texts = [repr(thing), str(thing), f"{thing}", f"{thing!r}", ascii([thing]), "%s" % (thing,)]  # noqa: UP031
        texts += list(inside(vars(thing))) if hasattr(thing, "__dict__") else []
        for dump in (json.dumps, pickle.dumps):
            with contextlib.suppress(TypeError):
                texts.append(repr(dump(thing)))
        assert not [text for text in texts if MARK in text], type(thing)
    assert headers["Authorization"] == headers.copy()["Authorization"] == f"Bearer {TOKEN}"
