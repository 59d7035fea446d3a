"""Every public callable, every parameter, values of other types: InvalidInput before any request, and nothing else.

The annotations say which values are of another type. What is only a value (a NamedTuple, a report) is checked where it
is used.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import arm, clouds, heatmap, progress, upgrade
from azurerm_lite._http import transport
from azurerm_lite._http.transport import Timeouts
from azurerm_lite.auth._msal import Login
from azurerm_lite.auth.credential import Credential
from azurerm_lite.auth.flows import from_environment
from azurerm_lite.clouds import Cloud, NetworkSettings
from azurerm_lite.compat import azurerm
from azurerm_lite.upgrade.rehearsal import capture, rehearse_captured
from azurerm_lite.upgrade.run import journal


class Odd:
    """A value of no type that a function expects."""

    def __repr__(self) -> str:
        return "Odd()"


class Unspeakable:
    """A value that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


VALUES: list[Any] = [
    *(None, 5, -1, 1.5, float("nan"), True, "", "x\0y", "a b", b"x", bytearray(b"x")),
    *([], [5], [None], (), {}, {"a": 1}, {5: 1}, {"a": b"x"}, set(), Odd(), Unspeakable(), Odd, 10**400),
]
ROOMS = (az, upgrade, heatmap, progress)
PLAIN_VALUES = {
    *(az.Change, az.Cloud, az.Edit, az.Retry, az.ScaleSet, az.Token, upgrade.Plan, upgrade.Verdict),
    *(upgrade.Snapshot, upgrade.Rehearsal, upgrade.FleetReport, upgrade.Policy),  # Policy: test_arguments
    *(heatmap.Cell, heatmap.Grid, heatmap.Panel, heatmap.Style),
}


def public() -> dict[str, Callable[..., Any]]:
    named = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}
    old = {f"azurerm.{name}": value for name, value in vars(azurerm).items() if name[0] != "_"}
    old = {name: value for name, value in old.items() if getattr(value, "__module__", "") == azurerm.__name__}
    more: list[Any] = [rehearse_captured, capture, journal.read, journal.read_trusted]
    more += [clouds.cloud_from_environment, from_environment, az.Operation.from_dict]
    more += [az.ScaleSet.parse, az.Arm.read, az.Arm.get, az.Arm.list, az.Arm.start, az.Arm.act]
    return {
        name: value
        for name, value in {**named, **old, **{value.__qualname__: value for value in more}}.items()
        if inspect.isroutine(value) or (inspect.isclass(value) and not is_plain(value))
    }


def is_plain(kind: type) -> bool:
    return issubclass(kind, BaseException) or kind in PLAIN_VALUES or kind is azurerm.Response


NAMES: Any = {**vars(typing), **vars(arm), **vars(transport)}


def hints(function: Any) -> dict[str, Any]:
    real = function.__init__ if inspect.isclass(function) else inspect.unwrap(function)
    return typing.get_type_hints(real, localns=NAMES)


def fits(value: Any, hint: Any) -> bool:  # noqa: PLR0911  (a case each)
    """Whether a value may be one of that annotation; what cannot be told counts as one."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    if origin is typing.Literal:
        return any(value == one for one in inner)
    if isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping):
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray | Mapping)
    if inner == (str, str) and isinstance(value, Mapping):
        return all(isinstance(text, str) for pair in value.items() for text in pair)
    if isinstance(hint, type) and issubclass(hint, typing.Protocol) and hint.__name__ == "Reader":  # type: ignore[arg-type]
        return isinstance(value, az.Arm)
    kind = dict if typing.is_typeddict(hint) else origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True


# `timeouts`: at the first request, below; `by_instances`, `wants_object`, `instances`, `query`: for this package alone.
ELSEWHERE = {"return", "self", "timeouts", "by_instances", "wants_object", "instances", "query", "options", "console"}
ELSEWHERE |= {"request_id", "correlation_id", "retry_after", "started_at"}


class Unreachable:
    """A network that nothing may reach."""

    def send(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a request was made")

    def close(self) -> None:
        """Nothing is open."""


SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
WEB = az.ScaleSet(SUBSCRIPTION, "rg", "web")
RIGHT: dict[str, Any] = {
    "instance_ids": ["0"],
    "vm_ids": ["0"],
    **dict.fromkeys(("instance_id", "vm_id"), "0"),
    "subscription_id": SUBSCRIPTION,
    "platform_update_domain": 0,
    "capacity": 1,
    "prompt": print,
    "path": "/x",
    "change": lambda _: None,
    "scale_sets": [],
    "address": WEB,
    "expires_on": 1,
    "acquire": print,
    "port": 1,
    "resource_manager": "https://localhost",
    "authority": "https://localhost",
    "url": "https://localhost",
    "versions": [],
    "status_code": 200,
    "command": ["x"],
    "address_of": str,
    "url_of": str,
    "env": {},
    "login": Login(),
    "reader": az.Arm("x", adapter=Unreachable()),
    "operation": None,
    "version": "1.0.0",
}


def right(function: Any, name: str, hint: Any) -> Any:
    if name in ("auth", "access_token", "self", "arm"):
        return az.Arm("x", adapter=Unreachable())
    if name == "command" and "run_command" in str(function):
        return {}
    return RIGHT.get(name, "x" if fits("x", hint) else {})


def call_with(function: Any, changed: str, value: Any) -> object:
    """The call with that argument, and a right value for each other one that must be there."""
    known, plain, named = hints(function), [], {}
    for parameter in inspect.signature(function).parameters.values():
        is_asked = parameter.name == changed
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not is_asked and parameter.default is not parameter.empty:
            continue
        given = value if is_asked else right(function, parameter.name, known.get(parameter.name, Any))
        if parameter.kind is parameter.KEYWORD_ONLY or (is_asked and parameter.default is not parameter.empty):
            named[parameter.name] = given
        else:
            plain.append(given)
    return function(*plain, **named)


@pytest.mark.parametrize("name", public())
def test_a_value_of_another_type_is_refused_before_any_request(name: str) -> None:
    function = public()[name]
    for parameter, hint in hints(function).items():
        for value in VALUES if parameter not in ELSEWHERE else ():
            if fits(value, hint) or (value is None and parameter == "api_version"):
                continue
            with pytest.raises(az.InvalidInput) as caught:
                call_with(function, parameter, value)
            assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("field", Login._fields)
@pytest.mark.parametrize("value", [None, 5, "", [], Odd(), b"x"], ids=repr)
def test_a_login_with_a_field_of_another_type_is_refused_by_every_credential(field: str, value: Any) -> None:
    login = Login()._replace(**{field: value})
    calls: list[Callable[[], object]] = [
        lambda: az.client_secret_credential("t", "c", "s", login),
        lambda: az.certificate_credential("t", "c", "/x", login=login),
        lambda: az.workload_identity_credential("t", "c", "/x", login),
        lambda: az.device_code_credential(print, login=login),
        lambda: az.interactive_browser_credential(login=login),
    ]
    for call in calls:
        with pytest.raises(az.InvalidInput):
            call()


@pytest.mark.parametrize("value", [None, "x", [], Odd(), -1, True, float("nan"), float("inf")], ids=repr)
def test_limits_of_other_types_are_refused_before_any_request(value: Any) -> None:
    for field in az.Retry._fields:
        with pytest.raises(az.InvalidInput, match="retry"):
            az.Arm("x", retry=az.Retry()._replace(**{field: value}))
    for field in Timeouts._fields:
        with pytest.raises(az.InvalidInput, match="timeouts"):
            az.get_vmss(az.Arm("x", timeouts=Timeouts()._replace(**{field: value}), adapter=Unreachable()), *WEB)


@pytest.mark.parametrize("field", Cloud._fields)
@pytest.mark.parametrize("value", [5, b"x", [], Odd(), True], ids=repr)
def test_a_cloud_with_a_field_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput):
        az.Arm("x", cloud=az.PUBLIC._replace(**{field: value}))
    with pytest.raises(az.InvalidInput):
        az.connect("x", cloud=az.PUBLIC._replace(**{field: value}), env={})


@pytest.mark.parametrize("value", [None, 5, "x", b"x", ("x", 5), Odd(), az.Token(5, 2**40), az.Token("x", "y")])  # type: ignore[arg-type]
def test_what_an_acquisition_gives_must_be_a_token(value: Any) -> None:
    credential = Credential("mine", lambda *_: value)
    with pytest.raises(az.CredentialError):
        credential.get_token("s")


@pytest.mark.parametrize("path", ["", "x", ".example.com/x", "@example.com/", "https://example.com/x", ":8080/x"])
def test_a_path_that_is_none_reaches_nobody(path: str) -> None:
    connection = az.Arm("x", adapter=Unreachable())
    calls: list[Callable[[], object]] = [
        lambda: connection.get(path),
        lambda: connection.list(path),
        lambda: connection.read(path),
        lambda: connection.start("PUT", path, {}),
        lambda: connection.act("POST", path),
    ]
    for call in calls:
        with pytest.raises(az.InvalidInput, match="path"):
            call()


def test_network_settings_of_another_type_are_refused() -> None:
    for value in (5, "x", None, {}):
        wrong: Any = value
        with pytest.raises(az.InvalidInput, match="network"):
            az.fetch_cloud("https://localhost", wrong)
    assert NetworkSettings()
