"""Every public callable that takes a body, and every way in which it fails: no frame of ours shows what is in it.

Passwords, customData and protected settings stand in bodies that callers write. A crash reporter that collects local
variables is the judge; the server is one of our own, which answers with any error at the write, or breaks off.
"""

import copy
import http.client
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import model
from azurerm_lite._http.transport import _TimedResponse
from azurerm_lite.compat import azurerm as azurerm_names
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.http.adapter import InProcessAdapter
from azurerm_lite.model import edits
from azurerm_lite.operation import Operation
from azurerm_lite.upgrade import azure_rolling_upgrade, plan, rehearse, upgrade, upgrade_fleet
from azurerm_lite.upgrade.rehearsal import Stage, rehearse_captured
from azurerm_lite.upgrade.run.runs import start_runner
from tests.unit.endpoint_table import CASES

from .crash_reporter import MARK, callables, error_of, failure_of, inside, leaks
from .small_arm import MODEL, SmallArm, reply

WEB = az.ScaleSet("11111111-2222-3333-4444-555555555555", "rg", "web")
NEW = "22.04.202611120"
LINUX = {"ssh": {"publicKeys": [{"path": "/home/a", "keyData": f"{MARK}key"}]}}
PROFILE: dict[str, Any] = {
    "userData": f"{MARK}user",
    "osProfile": {
        "adminPassword": f"{MARK}password",
        "customData": f"{MARK}custom",
        "secrets": [{"vaultCertificates": [{"certificateUrl": f"https://{MARK}"}]}],
        "linuxConfiguration": LINUX,
    },
    "extensionProfile": {"extensions": [{"name": "x", "properties": {"protectedSettings": {"a": f"{MARK}setting"}}}]},
}
SECRETS: dict[str, Any] = {
    "protectedSettings": {"command": f"{MARK}command"},
    "protectedParameters": [{"name": "a", "value": f"{MARK}parameter"}],
    "runAsPassword": f"{MARK}run",
    "virtualMachineProfile": PROFILE,
}
BODY: dict[str, Any] = {
    **MODEL,
    "etag": '"3"',
    "parameters": [{"name": "a", "value": f"{MARK}argument"}],
    "properties": {**MODEL["properties"], **SECRETS},
}


def marked(change: Any) -> Any:
    """A change of a model that puts secrets into it."""
    change["properties"] |= copy.deepcopy(SECRETS)


Call = Callable[..., object]


def of_endpoint(name: str) -> Call:
    """The call of an endpoint function with `body` in place of each body."""
    case = CASES[name]
    address = WEB[: case.where]

    def call(arm: Any, body: Any = BODY, **changed: Any) -> object:
        own = [body if isinstance(value, Mapping) else value for value in case.arguments]
        options = {key: body if isinstance(value, Mapping) else value for key, value in case.options.items()}
        return getattr(az, name)(arm, *address, *own, **{**options, **changed})

    return call


def is_body(value: object) -> bool:
    return isinstance(value, Mapping)


ENDPOINTS: dict[str, Call] = {
    name: of_endpoint(name)
    for name, case in CASES.items()
    if any(map(is_body, [*case.arguments, *case.options.values()]))
}
WRITERS: dict[str, Call] = {
    **ENDPOINTS,
    "update_vmss": lambda arm, body=BODY, **given: az.update_vmss(arm, *WEB, lambda _: body, **given),
    "azurerm put_vmss": lambda arm, body=BODY: azurerm_names.put_vmss(arm, *WEB, body),
    "azurerm update_vmss": lambda arm, body=BODY: azurerm_names.update_vmss(arm, *WEB, body),
    "azurerm put_vmss_vm": lambda arm, body=BODY: azurerm_names.put_vmss_vm(arm, *WEB, "0", body),
    "Arm.start": lambda arm, body=BODY, **given: arm.start("PUT", WEB.resource_id, body, **given),
    "Arm.act": lambda arm, body=BODY, **given: arm.act("POST", f"{WEB.resource_id}/x", body, **given),
}


def test_every_function_that_takes_a_body_is_in_the_table() -> None:
    bodies = {"model", "patch", "body", "extension", "run_command", "instance", "options", "command", "parameters"}
    bodies |= {"vm", "disks", "event", "vmss_body", "vm_body", "vm_model"}
    assert len(ENDPOINTS) > 14
    for name, function in callables().items():
        home, _, last = name.rpartition(".")
        if hasattr(az, last) and last not in ENDPOINTS and home.startswith("azurerm_lite.endpoints.vmss"):
            assert not bodies & set(inspect.signature(function).parameters), name


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallArm]:
    server = SmallArm(tmp_path_factory.mktemp("tls"))
    yield server
    server.close()


ERROR = {"error": {"code": "Wrong", "message": "no"}}
ANSWERS: dict[str, bytes | None] = {
    **{status: reply(ERROR, status) for status in ("400 Bad", "401 No", "403 No", "404 No", "409 Busy", "412 Changed")},
    **{status: reply(ERROR, status) for status in ("429 Often", "500 Oops", "503 Away", "302 Elsewhere")},
    "no JSON": reply(None).replace(b"Content-Length: 0", b"Content-Length: 3") + b"{[]",
    "a list": reply([1]),
    "a text": reply("x"),
    "broken off": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 900\r\n\r\n{",
    "nothing": b"Connection: close",
    "a link elsewhere": reply(None, "202 Accepted", Location="https://elsewhere.example/x"),
    "failed": reply({**MODEL, "properties": {"provisioningState": "Failed"}}),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_fails_at_the_server_shows_nothing_of_its_body(server: SmallArm, name: str, answer: str) -> None:
    server.reset(lambda method, *_: None if method == "GET" else ANSWERS[answer])
    error = error_of(lambda: WRITERS[name](server.arm()))
    assert error is None or isinstance(error, az.AzurermLiteError)
    assert leaks(error) == []
    assert server.counts("PUT") + server.counts("PATCH") + server.counts("POST") > 0


@pytest.mark.parametrize("name", ["update_vmss", "put_vmss", "patch_vmss"])
def test_a_read_that_fails_after_the_write_shows_nothing_of_its_body(server: SmallArm, name: str) -> None:
    server.reset(lambda method, *_: reply([1]) if method == "GET" else ANSWERS["500 Oops"])
    assert leaks(failure_of(lambda: WRITERS[name](server.arm()))) == []


class Odd:
    """No JSON."""


NO_BODIES: list[Any] = [
    {**BODY, "x": Odd()},
    {**BODY, "x": float("nan")},
    {**BODY, "x": "\ud800"},
    {**BODY, 5: 1},
    {**BODY, ("a",): 1},
    [BODY],
    f'{{"adminPassword": "{MARK}"',
    f"{MARK}".encode(),
    (BODY,),
    {MARK},
]


def endless() -> dict[str, Any]:
    body: dict[str, Any] = {**BODY}
    body["x"] = body
    return body


ENDLESS = endless()


@pytest.mark.parametrize("body", [*NO_BODIES, ENDLESS], ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("name", WRITERS)
def test_a_body_that_is_none_is_refused_before_any_request_and_not_shown(
    server: SmallArm, name: str, body: Any
) -> None:
    server.reset(lambda *_: None)
    error = failure_of(lambda: WRITERS[name](server.arm(), body))
    assert isinstance(error, az.InvalidInput)
    assert leaks(error) == []
    assert {method for method, _ in server.requests} <= {"GET"}


@pytest.mark.parametrize("name", [*ENDPOINTS, "update_vmss", "Arm.start", "Arm.act"])
def test_another_argument_that_is_wrong_does_not_show_the_body(server: SmallArm, name: str) -> None:
    for changed in ({"api_version": "x"}, {"no_such_argument": 1}):
        error = failure_of(lambda changed=changed: WRITERS[name](server.arm(), BODY, **changed))  # type: ignore[misc]
        assert leaks(error) == []


class Interrupted(BaseException):
    """As Ctrl-C is: no Exception."""


def interrupt(*_: Any, **__: Any) -> Any:
    raise Interrupted


@pytest.mark.parametrize("place", ["the answer", "the wait before the next attempt"])
@pytest.mark.parametrize("name", WRITERS)
def test_ctrl_c_shows_nothing_of_the_body(
    server: SmallArm, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    server.reset(lambda method, *_: None if method == "GET" else ANSWERS["429 Often"])
    arm = server.arm(sleep=interrupt)
    if place == "the answer":
        begin = http.client.HTTPResponse.begin

        def end(response: Any) -> None:
            begin(response)
            if response._method != "GET":
                raise Interrupted

        monkeypatch.setattr(_TimedResponse, "begin", end)
    error = failure_of(lambda: WRITERS[name](arm))
    assert isinstance(error, Interrupted)
    assert leaks(error, everywhere=True) == []


def test_the_traceback_keeps_its_lines_and_the_frames_of_the_caller_their_values(server: SmallArm) -> None:
    server.reset(lambda *_: None)

    def change(found: Any) -> None:
        secret = found["sku"]
        raise KeyError(secret["name"])

    error = failure_of(lambda: az.update_vmss(server.arm(), *WEB, change))
    frames = {}
    trace = error.__traceback__
    while trace is not None:
        frames[trace.tb_frame.f_code.co_name] = trace.tb_frame.f_locals
        trace = trace.tb_next
    assert {"update_vmss", "_update_once", "_apply", "change"} <= set(frames)
    assert frames["_apply"] == {}
    assert frames["change"]["secret"] == MODEL["sku"]


# --- pure functions --------------------------------------------------------------------------------------------------

PURE: dict[str, Call] = {
    "set_image_version": lambda body: edits.set_image_version(body, "1.2.3"),
    "set_image_version, odd": lambda body: edits.set_image_version(body, 5),  # type: ignore[arg-type]
    "set_image_sku": lambda body: edits.set_image_sku(body, "x"),
    "set_image_uri": lambda body: edits.set_image_uri(body, "https://a/b"),
    "set_image_id": lambda body: edits.set_image_id(body, "x"),
    "set_vm_size": lambda body: edits.set_vm_size(body, "a b"),
    "set_capacity": lambda body: edits.set_capacity(body, -1),
    "merge_patch, location": lambda body: model.merge_patch(body, {**body, "location": "x"}),
    "merge_patch, gone": lambda body: model.merge_patch(body, {}),
    "merge_patch, text": lambda body: model.merge_patch(body, f"{MARK}"),  # type: ignore[arg-type]
    "merge_patch, list": lambda body: model.merge_patch([body], body),  # type: ignore[arg-type]
    "merge_patch, endless": lambda body: model.merge_patch(body, ENDLESS),
    "diff, endless": lambda _: model.diff(ENDLESS, endless()),
    "fingerprint, endless": lambda _: model.fingerprint(ENDLESS),
    "fingerprint, text": lambda _: model.fingerprint(f"{MARK}"),  # type: ignore[arg-type]
    "redact, endless": lambda _: model.redact(ENDLESS),
    "apply_merge_patch, endless": lambda _: model.apply_merge_patch(ENDLESS, ENDLESS),
    "without_secrets, endless": lambda _: model.without_secrets(ENDLESS),
    "apply_patch": lambda body: model.apply_patch(body, ENDLESS),
    "Operation.from_dict": lambda body: Operation.from_dict(az.Arm("x"), body),
    "seed": lambda body: Seed.from_captured({"model": body, "instances": [5]}),
    "seed, page_size": lambda body: Seed.from_captured({"model": body, "page_size": -1}),
    "rehearse_captured": lambda body: rehearse_captured({"model": body, "instances": [5]}),
    "rehearse_captured, odd": lambda body: rehearse_captured([body]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", PURE)
def test_what_computes_with_a_model_shows_nothing_of_it_when_it_fails(name: str) -> None:
    error = failure_of(lambda: PURE[name](copy.deepcopy(BODY)))
    assert isinstance(error, ValueError), repr(error)
    assert leaks(error) == []


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.fixture(name="stage")
def _stage() -> Stage:
    return Stage(Seed.build(capacity=5))


def with_secrets(found: Any) -> Any:
    edit = az.set_image_version(found, NEW).model
    profile: Any = edit["properties"]["virtualMachineProfile"]
    profile["osProfile"] = {**profile.get("osProfile", {}), "adminPassword": f"{MARK}password"}
    profile["userData"] = f"{MARK}user"
    return edit


def wrong_change(found: Any) -> Any:
    return {**with_secrets(found), "location": "elsewhere", "x": f"{MARK}"}


ENGINE: dict[str, Call] = {
    "plan": lambda stage, change, **_: plan(stage.arm, *stage.address, change),
    "rehearse": lambda stage, change, **_: rehearse(stage.arm, *stage.address, change),
    "roll": lambda stage, change, **_: azure_rolling_upgrade(stage.arm, *stage.address, change),
    "upgrade": lambda stage, change, **given: upgrade(
        stage.arm, plan(stage.arm, *stage.address, change), **{"on_event": print_nothing, **given}
    ),
    "upgrade_fleet": lambda stage, change, **given: upgrade_fleet(
        stage.arm, [stage.address], change, workers=1, **given
    ),
}


def print_nothing(_event: Any) -> None: ...


def odd(found: Any) -> Any:
    return {**with_secrets(found), "tags": {"a": Odd()}}


@pytest.mark.parametrize("change", [wrong_change, odd, lambda _: ENDLESS, lambda _: [BODY], lambda _: f"{MARK}"])
@pytest.mark.parametrize("name", [name for name in ENGINE if name != "upgrade_fleet"])
def test_a_plan_that_is_refused_shows_nothing_of_the_model(stage: Stage, name: str, change: Any) -> None:
    stage.scale_set.model["properties"]["upgradePolicy"]["mode"] = "Rolling" if name == "roll" else "Manual"
    error = error_of(lambda: ENGINE[name](stage, change))
    assert error is None or isinstance(error, az.AzurermLiteError), repr(error)
    assert leaks(error) == []


def break_off(stage: Stage, when: Callable[[int, str], bool]) -> None:
    """Interrupt the process in the middle of a request: its number and its method say of which."""
    numbers = itertools.count(1)

    def broken(environ: Any, start_response: Any) -> Any:
        if when(next(numbers), environ["REQUEST_METHOD"]):
            raise Interrupted
        return stage.app(environ, start_response)

    stage.arm.close()
    stage.arm._open_transport, stage.arm._adapter = None, InProcessAdapter(broken)  # type: ignore[arg-type]


@pytest.mark.parametrize("request_number", range(1, 40, 3))
@pytest.mark.parametrize("name", ENGINE)
def test_ctrl_c_in_the_engine_shows_nothing_of_the_model(stage: Stage, name: str, request_number: int) -> None:
    stage.scale_set.model["properties"]["upgradePolicy"]["mode"] = "Rolling" if name == "roll" else "Manual"
    break_off(stage, lambda number, _: number == request_number)
    error = error_of(lambda: ENGINE[name](stage, with_secrets))
    assert error is None or isinstance(error, Interrupted)
    assert leaks(error) == []


@pytest.mark.parametrize("kind", ["begin", "model-written", "intend", "posted", "seen", "end"])
@pytest.mark.parametrize("name", ["upgrade", "upgrade_fleet"])
def test_an_interruption_by_whoever_watches_shows_nothing_of_the_model(stage: Stage, name: str, kind: str) -> None:
    def watch(event: Any) -> None:
        if event["kind"] == kind:
            raise Interrupted

    error = error_of(lambda: ENGINE[name](stage, with_secrets, on_event=watch))
    assert error is None or isinstance(error, Interrupted)
    assert leaks(error) == []


def test_a_runner_that_is_stepped_by_its_caller_shows_nothing_either(stage: Stage) -> None:
    runner = start_runner(stage.arm, plan(stage.arm, *stage.address, with_secrets), None)
    break_off(stage, lambda _, method: method == "PATCH")
    error = failure_of(lambda: [runner.step() for _ in range(50)])
    runner.journal.close()
    assert isinstance(error, Interrupted)
    assert leaks(error) == []
    assert not [text for text in inside(vars(runner.journal)) if MARK in text]


def test_what_the_engine_writes_and_says_holds_no_secret(stage: Stage, tmp_path: Any) -> None:
    wanted = plan(stage.arm, *stage.address, with_secrets)
    events: list[Any] = []
    verdict = upgrade(stage.arm, wanted, journal=str(tmp_path / "j.jsonl"), on_event=events.append)
    assert verdict.ok
    shown = [str(wanted), repr(wanted), str(wanted.to_dict()), wanted._repr_html_(), str(verdict), repr(verdict)]
    shown += [(tmp_path / "j.jsonl").read_text(), repr(events)]
    assert not [text for text in shown if MARK in text]
