"""Every endpoint function: its first parameters, its page, its route in the emulator, and who accepts what it sends."""

import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import VirtualClock, serve
from azurerm_lite.emulator.http.app import _lower_path

from .endpoint_table import CASES, ENDPOINTS, GROUPS, INSTANCES, WEB, Recorder, official, official_client, ours, table

DOCS = Path(__file__).parents[2] / "docs"
DEFAULT = "2024-07-01"


def test_every_endpoint_has_a_case_and_every_case_an_endpoint() -> None:
    assert set(CASES) == set(ENDPOINTS)
    assert set(ENDPOINTS) <= set(az.__all__)
    assert len(ENDPOINTS) >= 75


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_first_parameters_are_the_same_everywhere_and_the_page_is_linked(name: str) -> None:
    parameters = list(inspect.signature(ENDPOINTS[name]).parameters.values())
    assert parameters[0].name == "auth"
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_ONLY
    names = [one.name for one in parameters[1:4]]
    wanted = CASES[name].where
    third = "vm_name" if "flexible" in name else "vmss_name"
    assert names[:wanted] == ["subscription_id", "resource_group", third][:wanted]
    assert parameters[-1].name == "api_version"
    assert parameters[-1].kind is inspect.Parameter.KEYWORD_ONLY
    doc = inspect.getdoc(ENDPOINTS[name]) or ""
    assert doc.splitlines()[0].endswith((".", ". Born in 2026-04-01.", ". Born in 2025-11-01."))
    assert "https://learn.microsoft.com/rest/api/compute/" in doc.splitlines()[-1]


@pytest.fixture(scope="module")
def checker(arm_data: Path) -> Any:
    sys.path.insert(0, str(arm_data / "tools"))
    from swagger_check import SpecChecker

    sys.path.pop(0)
    return SpecChecker(str(arm_data / "openapi/ComputeRP/stable/2024-07-01/virtualMachineScaleSet.json"))


# Not in the published documents that are at hand: younger than 2024-07-01, or of another resource.
ELSEWHERE = {name for name in CASES if "run_command" in name or "lifecycle_hook" in name or "flexible" in name}
ELSEWHERE |= {"scale_out_vmss", "migrate_availability_zone_vmss_vms", "list_image_versions", "get_image_version"}
ELSEWHERE |= {"list_gallery_image_versions", "list_usages"}


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name not in ELSEWHERE])
def test_the_published_openapi_accepts_what_it_sends(name: str, checker: Any) -> None:
    sent = ours(name)
    url = f"https://x{sent.path}?" + "&".join(f"{key}={value}" for key, value in sent.query.items())
    assert checker.operation(sent.method, url) is not None, f"no such operation: {sent.method} {url}"
    errors = [error for error in checker.check(sent.method, url, sent.body, 200, None) if error[0] == "request"]
    assert errors == []
    assert sent.query["api-version"] == DEFAULT


def without(body: Any, *names: str) -> Any:
    return {key: value for key, value in body.items() if key not in names} if isinstance(body, dict) else body


@pytest.mark.parametrize("name", ENDPOINTS)
def test_it_sends_what_azure_mgmt_compute_sends_for_the_same_call(name: str) -> None:
    mine, theirs = ours(name), official(name)
    assert (mine.method, mine.path.lower()) == (theirs.method, theirs.path.lower())
    assert without(mine.query, "api-version") == without(theirs.query, "api-version")
    assert without(mine.body, "etag") == without(theirs.body, "etag")  # put_vmss sends the model as it is
    if mine.query["api-version"] != DEFAULT and "gallery" not in name:
        assert mine.query["api-version"] <= theirs.query["api-version"]


def test_every_operation_of_the_official_sdk_has_a_function() -> None:
    have = {(case.group, case.operation) for case in CASES.values()}
    with official_client(Recorder()) as client:
        want = {
            (group, name)
            for group in GROUPS
            for name, value in inspect.getmembers(getattr(client, group))
            if not name.startswith("_") and callable(value) and name != "models"
        }
    assert want - have == set()


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_emulator_has_a_route_for_it(name: str) -> None:
    with serve(clock=VirtualClock()) as emulator:
        sent = ours(name)
        (_, action), _ = emulator.app._routes.bind("localhost").match(_lower_path(sent.path), sent.method)
        assert action.startswith("Microsoft.Compute/")


def test_the_table_in_the_documents_is_current() -> None:
    assert (DOCS / "endpoints.md").read_text() == table()


ON_SEVERAL = [name for name in ENDPOINTS if name.endswith("_vmss_vms") and CASES[name] is not INSTANCES]


@pytest.mark.parametrize("name", ON_SEVERAL)
def test_no_action_on_several_instances_takes_silence_for_all_of_them(name: str) -> None:
    network = Recorder()
    with pytest.raises(az.InvalidInput):
        ENDPOINTS[name](az.Arm("token", adapter=network), *WEB, [])
    with pytest.raises((az.InvalidInput, TypeError)):
        ENDPOINTS[name](az.Arm("token", adapter=network), *WEB)
    assert network.sent == []


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("bad", ["..", "a/b", "a?b", "%2e%2e", ""])
def test_no_name_can_lead_out_of_its_place(name: str, bad: str) -> None:
    network, case = Recorder(), CASES[name]
    address = [*WEB[: case.where]]
    address[-1] = bad
    with pytest.raises(az.InvalidInput):
        ENDPOINTS[name](az.Arm("token", adapter=network), *address, *case.arguments, **case.options)
    assert network.sent == []
