"""Who may do what in the emulator, and where it listens; protection, lifecycle events, and what rehearsals answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve
from azurerm_lite.emulator.api import routes, subscriptions
from azurerm_lite.emulator.http.adapter import InProcessAdapter

from .conftest import NEW

Principal = Any


@pytest.fixture(scope="module")
def emulator() -> Iterator[Any]:
    with serve(Seed.build(capacity=2), clock=VirtualClock(), proxy=True) as running:
        yield running


def ask(emulator: Any, principal: Principal, method: str, path: str) -> tuple[int, Any]:
    """The answer to a request of somebody in particular, straight from the application behind the server."""
    bearer = emulator.identity.issue(principal.client_id)
    request = requests.Request(
        method,
        f"{emulator.arm_endpoint}{path}?api-version=2024-07-01",
        headers={"Authorization": f"Bearer {bearer}"},
        json={} if method in ("PUT", "PATCH", "POST") else None,
    )
    answer = InProcessAdapter(emulator.app).send(request.prepare())
    body = answer.read()
    return answer.status, json.loads(body) if body else None


NAMES = {"resource_group": "web-rg", "vmss_name": "web", "instance_id": "0", "location": "westus2", "name": "x"}


def paths(emulator: Any) -> list[tuple[str, str, str]]:
    """Every route of the Compute provider with names in it, and the action that it needs."""
    found = []
    for method, rule, _, action in routes.ARM[len(subscriptions.ROUTES) :]:
        path = rule.replace("<subscription_id>", emulator.subscription_id)
        for name, value in NAMES.items():
            path = path.replace(f"<{name}>", value)
        found.append((method, path.replace("<", "").replace(">", ""), action))
    return found


def test_a_reader_reads_everything_and_writes_nothing_and_a_stranger_does_neither(emulator: Any) -> None:
    reader, stranger = emulator.identity.register(role="Reader"), emulator.identity.register(role="")
    writes = reads = 0
    for method, path, action in paths(emulator):
        status, said = ask(emulator, reader, method, path)
        if method == "GET":
            reads += 1
            assert action.endswith("/read")
            assert status in (200, 404), path
        else:
            writes += 1
            assert (status, said["error"]["code"]) == (403, "AuthorizationFailed"), path
            assert f"'{reader.client_id}'" in said["error"]["message"]
            assert f"to perform action '{action}' over scope '{path}'" in said["error"]["message"]
        assert ask(emulator, stranger, method, path)[0] == 403
    assert (reads > 25, writes > 50) == (True, True)
    assert emulator.recorder.find("POST") != []
    assert {one.model_version for one in next(iter(emulator.simulation.scale_sets)).instances.values()} == {0}


def test_rights_are_each_principals_own_and_change_while_things_run(emulator: Any) -> None:
    one, other = emulator.identity.register(role="Reader"), emulator.identity.register()
    restart = next(path for method, path, _ in paths(emulator) if path.endswith("/web/restart"))
    assert [ask(emulator, who, "POST", restart)[0] for who in (one, other)] == [403, 202]
    emulator.identity.set_role(one.client_id, "Contributor")
    emulator.identity.set_role(other.client_id, "Reader")
    assert [ask(emulator, who, "POST", restart)[0] for who in (one, other)] == [202, 403]


def test_every_one_of_its_servers_listens_on_this_machine_only(emulator: Any) -> None:
    servers = (emulator._server, emulator._metadata, emulator._proxy)
    assert {one.socket.getsockname()[0] for one in servers} == {"127.0.0.1"}


# --- what else an upgrade may meet -----------------------------------------------------------------------------------


def test_scale_in_spares_protected_instances_and_scale_out_is_not_held_up_by_them(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    everyone = [vm["instanceId"] for vm in az.list_vmss_vms(arm, *web)]
    for number in everyone[-3:]:
        vm: Any = az.get_vmss_vm(arm, *web, number)
        vm["properties"]["protectionPolicy"] = {"protectFromScaleIn": True}
        az.put_vmss_vm(arm, *web, number, vm).wait()
    az.patch_vmss(arm, *web, {"sku": {"capacity": 5}}).wait()
    left = {vm["instanceId"] for vm in az.list_vmss_vms(arm, *web)}
    assert set(everyone[-3:]) < left
    assert len(left) == 5
    az.patch_vmss(arm, *web, {"sku": {"capacity": 6}}).wait()
    assert len(az.list_vmss_vms(arm, *web)) == 6


def test_lifecycle_events_are_listed_shown_and_decided_about(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    (scale_set,) = azurerm_emulator.simulation.scale_sets
    assert az.list_lifecycle_hook_events(arm, *web) == []
    scale_set.lifecycle_events["e1"] = {"name": "e1", "properties": {"type": "UpgradeAutoOSScheduling"}}
    assert [one["name"] for one in az.list_lifecycle_hook_events(arm, *web)] == ["e1"]
    with pytest.raises(az.NotFoundError):
        az.get_lifecycle_hook_event(arm, *web, "e2")
    az.patch_lifecycle_hook_event(arm, *web, "e1", {"properties": {"waitUntil": "2026-12-01T00:00:00Z"}})
    assert az.get_lifecycle_hook_event(arm, *web, "e1")["properties"] == {
        "type": "UpgradeAutoOSScheduling",
        "waitUntil": "2026-12-01T00:00:00Z",
    }


def test_a_sample_of_the_lean_answers_of_rehearsals_passes_the_openapi_too(openapi_judge: Any) -> None:
    """The others are not looked at: there are millions of them in the ten thousand roll-outs."""
    from azurerm_lite.upgrade import plan, upgrade
    from azurerm_lite.upgrade.rehearsal import Stage

    before = sum(openapi_judge.heard.values()) if openapi_judge else 0
    stage = Stage(Seed.build(capacity=10, health_source="extension"))
    stage.app.recorder.keeps_responses = True
    verdict = upgrade(stage.arm, plan(stage.arm, *stage.address, NEW))
    assert verdict.outcome == "succeeded"
    assert openapi_judge is None or sum(openapi_judge.heard.values()) - before >= 20
