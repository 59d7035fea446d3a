"""Arguments of callers: a bare value in place of a sequence, a word in place of a switch, a number that is none."""

import inspect
import math
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.upgrade import Policy

WEB = ("11111111-2222-3333-4444-555555555555", "rg", "web")
NO_SEQUENCE: list[Any] = ["12", "0", "*", b"12", bytearray(b"12"), {"0": 1}, 12, 1.5, True, object()]
NO_SWITCH: list[Any] = ["no", "false", "", 0, 1, None, [], "True"]
NO_NUMBER: list[Any] = [True, "1", None, 1.5, math.nan, math.inf, -1, 10**30, [1], b"1"]
SELECTIONS = ("instances", "zones", "update_domains", "fault_domains")


@pytest.mark.parametrize("field", [*SELECTIONS, "checkpoints"])
@pytest.mark.parametrize("value", NO_SEQUENCE)
def test_a_bare_value_in_place_of_a_sequence_is_refused_by_every_field_of_a_policy(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=f"^{field} must be a sequence such as"):
        Policy(**{field: value})


@pytest.mark.parametrize("field", SELECTIONS)
@pytest.mark.parametrize("value", [(), [], iter(())])
def test_a_selection_of_nothing_is_refused(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=f"{field} is empty"):
        Policy(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("instances", (one,)) for one in (12, 1.0, True, None, "*", "", "a b", "../0", "0\n", b"0", ("0",))),
        *(("zones", (one,)) for one in (1, None, "", True, "x" * 41)),
        *(("update_domains", (one,)) for one in ("0", 1.0, True, -1, None, math.nan)),
        *(("fault_domains", (one,)) for one in ("0", 1.0, False, -1, None)),
        *(("checkpoints", (one,)) for one in ("50", 0, 100, True, 50.0, None, math.nan)),
    ],
)
def test_an_item_of_another_type_is_refused(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput):
        Policy(**{field: value})


@pytest.mark.parametrize("field", [name for name, value in Policy().to_dict().items() if isinstance(value, bool)])
@pytest.mark.parametrize("value", NO_SWITCH)
def test_only_true_and_false_switch(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=f"{field} must be True or False"):
        Policy(**{field: value})


@pytest.mark.parametrize("field", [name for name in Policy().to_dict() if name.endswith("_percent")])
@pytest.mark.parametrize("value", [*NO_NUMBER, 101])
def test_percents_are_whole_numbers(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=field):
        Policy(**{field: value})


@pytest.mark.parametrize("field", [name for name in Policy().to_dict() if name.endswith("_seconds")])
@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, -math.inf, -1, 10**30, [1]])
def test_seconds_are_numbers(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=field):
        Policy(**{field: value})


@pytest.mark.parametrize("field", ["batch_by", "on_protected", "max_disruption", "on_stopped"])
@pytest.mark.parametrize("value", ["", "every", 5, None, ["zone"], {}, True])
def test_words_are_known(field: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=f"{field} must be one of"):
        Policy(**{field: value})


@pytest.mark.parametrize(
    "stored",
    [None, 5, "x", [], ["batch_by"], {5: 1}, {"nothing": 1}, {"batch_by": {}}, {"zones": {}}, {"instances": []}],
)
def test_what_is_stored_as_no_policy_is_refused(stored: Any) -> None:
    with pytest.raises(az.InvalidInput):
        Policy.from_dict(stored)


def test_any_iterable_of_items_is_a_sequence_and_kept_as_a_tuple() -> None:
    policy = Policy(instances=["0", "3"], update_domains=range(2), checkpoints=iter([25, 50]), zones={"1"})  # type: ignore[arg-type]
    assert (policy.instances, policy.update_domains, policy.checkpoints) == (("0", "3"), (0, 1), (25, 50))
    assert policy.zones == ("1",)
    assert Policy.from_dict(policy.to_dict()) == policy
    assert hash(policy)


# --- endpoint functions ----------------------------------------------------------------------------------------------


def callers_of(parameter: str) -> list[Any]:
    names = [name for name in az.__all__ if inspect.isfunction(getattr(az, name))]
    return [getattr(az, name) for name in names if parameter in inspect.signature(getattr(az, name)).parameters]


def called(function: Any, **changed: Any) -> None:
    """The call with a right value for each argument but those."""
    right = {"instance_id": "0", "service_name": "AutomaticRepairs", "extension_name": "x", "run_command_name": "x"}
    right |= {"event_name": "x", "platform_update_domain": 0, "capacity": 1, "instance_ids": ["0"], "action": "Suspend"}
    needed = [
        name
        for name, one in inspect.signature(function).parameters.items()
        if one.default is inspect.Parameter.empty and name not in ("auth", "subscription_id", *changed)
    ]
    known = {"resource_group": "rg", "vmss_name": "web", "vm_name": "web_1", "name": "x", **right}
    arm = az.Arm("x", adapter=Unreachable())
    function(arm, WEB[0], **{name: known.get(name, {}) for name in needed}, **changed)


class Unreachable:
    """A network that nothing may reach."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a request was made: {name}")


@pytest.mark.parametrize("function", callers_of("instance_ids"), ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "value", [*NO_SEQUENCE, "0,1", '"0"', '{"0": 1}', "", [], [None], ["*"], [True], [b"0"], [["0"]]]
)
def test_ids_that_are_no_sequence_of_ids_are_refused_before_any_request(function: Any, value: Any) -> None:
    with pytest.raises(az.InvalidInput):
        called(function, instance_ids=value)


@pytest.mark.parametrize("switch", ["all_instances", "force_deletion", "skip_shutdown", "hibernate"])
@pytest.mark.parametrize("value", ["no", "false", 0, 1, [], "True"])
def test_switches_of_endpoints_are_true_or_false(switch: str, value: Any) -> None:
    functions = callers_of(switch)
    assert functions
    for function in functions:
        ids = {"instance_ids": ["0"]} if "instance_ids" in inspect.signature(function).parameters else {}
        with pytest.raises(az.InvalidInput, match="must be True or False"):
            called(function, **{switch: value}, **ids)


@pytest.mark.parametrize("body", ["model", "patch", "extension", "run_command", "disks", "command", "options"])
@pytest.mark.parametrize("value", ["x", "", 5, [], ["x"], {5: 1}, True, b"{}"])
def test_bodies_are_objects(body: str, value: Any) -> None:
    functions = [one for one in callers_of(body) if one.__module__.startswith("azurerm_lite.") and is_endpoint(one)]
    assert functions
    for function in functions:
        with pytest.raises(az.InvalidInput):
            called(function, **{body: value})


def is_endpoint(function: Any) -> bool:
    return "subscription_id" in inspect.signature(function).parameters


@pytest.mark.parametrize("option", ["expand", "filter", "select"])
@pytest.mark.parametrize("value", [5, True, ["x"], b"x", {}, "\ud800"])
def test_options_of_a_query_are_texts(option: str, value: Any) -> None:
    with pytest.raises(az.InvalidInput, match=option):
        az.list_vmss_vms(az.Arm("x", adapter=Unreachable()), *WEB, **{option: value})


@pytest.mark.parametrize(
    "call",
    [
        lambda arm: az.scale_out_vmss(arm, *WEB, "5"),  # type: ignore[arg-type]
        lambda arm: az.scale_out_vmss(arm, *WEB, True),
        lambda arm: az.force_recovery_service_fabric_platform_update_domain_walk(arm, *WEB, "x"),  # type: ignore[arg-type]
        lambda arm: az.retrieve_boot_diagnostics_vmss_vm(arm, *WEB, "0", expiration_minutes=0.5),  # type: ignore[arg-type]
    ],
)
def test_numbers_of_endpoints_are_whole(call: Any) -> None:
    with pytest.raises(az.InvalidInput):
        call(az.Arm("x", adapter=Unreachable()))


@pytest.mark.parametrize("model", ["x", 5, None, [], {5: 1}])
@pytest.mark.parametrize(
    "edit",
    [
        lambda model: az.set_image_version(model, "1.2.3"),
        lambda model: az.set_vm_size(model, "Standard_D2s_v5"),
        lambda model: az.set_capacity(model, 5),
        lambda model: az.set_image_uri(model, "https://a.blob.core.windows.net/v/x.vhd"),
    ],
)
def test_edits_take_models_only(edit: Any, model: Any) -> None:
    with pytest.raises(az.InvalidInput):
        edit(model)
