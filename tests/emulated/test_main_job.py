"""GET, modify, PUT, manualUpgrade over real HTTPS, and what must be refused on the way."""

from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve

from .conftest import NEW, OLD


def versions(arm: az.Arm, web: az.ScaleSet) -> dict[str, str]:
    vms = az.list_vmss_vms(arm, *web)
    return {vm["instanceId"]: vm["properties"]["storageProfile"]["imageReference"]["exactVersion"] for vm in vms}


def test_the_whole_sequence_moves_the_chosen_instances_and_no_others(arm: az.Arm, web: az.ScaleSet) -> None:
    edit = az.set_image_version(az.get_vmss(arm, *web), NEW)
    written = az.put_vmss(arm, *web, edit.model).wait()
    assert written.resource["properties"]["provisioningState"] == "Succeeded"
    assert set(versions(arm, web).values()) == {OLD}
    operation = az.manual_upgrade_instances(arm, *web, ["0", "3"])
    assert not operation.done
    states = {vm["instanceId"]: vm["properties"]["provisioningState"] for vm in az.list_vmss_vms(arm, *web)}
    assert {one for one, state in states.items() if state == "Updating"} == {"0", "3"}
    operation.wait()
    assert operation.status == "Succeeded"
    moved = {one for one, version in versions(arm, web).items() if version == NEW}
    assert moved == {"0", "3"}
    latest = {vm["instanceId"] for vm in az.list_vmss_vms(arm, *web) if vm["properties"]["latestModelApplied"]}
    assert latest == {"0", "3"}


def test_a_patch_sends_only_what_changed_and_the_models_etag(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet
) -> None:
    model = az.get_vmss(arm, *web)
    patch = az.merge_patch(model, az.set_image_version(model, NEW).model)
    az.patch_vmss(arm, *web, patch, if_match=model["etag"]).wait()
    (sent,) = azurerm_emulator.recorder.writes()
    (profile,) = sent.body.pop("properties").values()
    assert (sent.body, list(profile)) == ({}, ["storageProfile"])
    assert profile["storageProfile"]["imageReference"]["version"] == NEW
    assert sent.headers["if-match"] == model["etag"]


def test_a_change_by_somebody_else_is_a_412_and_nothing_is_lost(arm: az.Arm, web: az.ScaleSet) -> None:
    mine = az.set_image_version(az.get_vmss(arm, *web), NEW).model
    az.patch_vmss(arm, *web, {"tags": {"owner": "somebody else"}}).wait()
    with pytest.raises(az.ConcurrencyError, match="does not match etag"):
        az.put_vmss(arm, *web, mine)
    assert az.get_vmss(arm, *web)["tags"] == {"owner": "somebody else"}
    az.put_vmss(arm, *web, mine, if_match=None).wait()


@pytest.mark.parametrize(
    "ids", [[], "", "3", ["*"], None, "*", ["0", "../1"], ['0","1'], [0.5]], ids=[repr(i) for i in range(9)]
)
def test_ids_that_could_mean_more_than_was_meant_send_nothing(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet, ids: Any
) -> None:
    with pytest.raises(az.InvalidInput):
        az.manual_upgrade_instances(arm, *web, ids)
    assert azurerm_emulator.recorder.entries == []


def test_all_instances_at_once_takes_so_many_words(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    az.manual_upgrade_instances(arm, *web, None, all_instances=True).wait()
    assert set(versions(arm, web).values()) == {NEW}
    assert azurerm_emulator.recorder.writes()[-1].body == {"instanceIds": ["*"]}


def test_azurerms_json_text_of_ids_still_works(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    az.manual_upgrade_instances(arm, *web, '["0", "1"]').wait()
    assert azurerm_emulator.recorder.writes()[-1].body == {"instanceIds": ["0", "1"]}


def test_a_bare_token_is_enough_for_the_old_calls(
    azurerm_emulator: Any, web: az.ScaleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azurerm_emulator.env().items():
        monkeypatch.setenv(name, value)
    token = az.get_access_token(azurerm_emulator.tenant_id, azurerm_emulator.client_id, azurerm_emulator.client_secret)
    assert az.get_vmss(token, *web)["name"] == "web"
    assert token not in repr(az.Token(token, 0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a, w: az.get_vmss(a, *w._replace(vmss_name="nix")), az.NotFoundError, "ResourceNotFound"),
        (lambda a, w: az.get_vmss(a, *w._replace(resource_group="nix")), az.NotFoundError, "ResourceGroupNotFound"),
        (
            lambda a, w: az.get_vmss(a, *w._replace(subscription_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12)),
            az.NotFoundError,
            "SubscriptionNotFound",
        ),
        (lambda a, w: az.get_vmss_vm(a, *w, "999"), az.NotFoundError, "The entity was not found"),
        (lambda a, w: az.manual_upgrade_instances(a, *w, ["999"]), az.ArmError, "999 is not an active"),
        (
            lambda a, w: az.put_vmss(a, *w, az.set_image_version(az.get_vmss(a, *w), "9.9.9").model),
            az.NotFoundError,
            "PlatformImageNotFound",
        ),
    ],
)
def test_errors_say_what_azure_said(arm: az.Arm, web: az.ScaleSet, call: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        call(arm, web)
    assert caught.value.request_id
    assert caught.value.correlation_id == arm.correlation_id
    assert "\n" not in str(caught.value)


def test_a_reader_may_look_and_not_touch(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    reader = azurerm_emulator.identity.register(role="Reader")
    env = {**azurerm_emulator.env(), "AZURE_CLIENT_ID": reader.client_id, "AZURE_CLIENT_SECRET": reader.secret}
    with az.connect(env=env, now=azurerm_emulator.clock.time) as reading:
        assert az.list_vmss(reading, *web[:2])[0]["name"] == "web"
        with pytest.raises(az.ForbiddenError, match="does not have authorization"):
            az.manual_upgrade_instances(reading, *web, ["0"])


def test_tokens_are_renewed_when_time_passes_and_once_after_a_401(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    az.get_vmss(arm, *web)
    azurerm_emulator.clock.advance(5000)
    az.get_vmss(arm, *web)
    azurerm_emulator.identity.tokens.clear()
    az.get_vmss(arm, *web)
    assert [entry.status for entry in azurerm_emulator.recorder.entries] == [200, 200, 401, 200]


def test_pages_are_followed_to_the_end(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    azurerm_emulator.simulation.settings.page_size = 7
    vms = az.list_vmss_vms(arm, *web, expand="instanceView")
    assert len(vms) == 20
    assert len({vm["instanceId"] for vm in vms}) == 20
    assert len(azurerm_emulator.recorder.find("GET", "virtualMachines")) == 3


def test_a_stored_operation_is_taken_up_by_another_arm(arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    stored = az.manual_upgrade_instances(arm, *web, ["0"]).to_dict()
    assert "localhost" not in str(stored)
    assert "eyJ" not in str(stored)
    clock = azurerm_emulator.clock
    with az.connect(env=azurerm_emulator.env(), sleep=clock.sleep, now=clock.time) as other:
        assert az.Operation.from_dict(other, stored).wait().status == "Succeeded"


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"kind": "pickle"},
        {"path": "https://evil.example/x"},
        {"monitor": {"kind": "status", "path": "//evil.example", "result_path": ""}},
        {"monitor": {"kind": "eval", "path": "/x", "result_path": ""}},
        {"status": "Done"},
        {"started_at": None},
        {"request_id": 7},
    ],
)
def test_a_stored_operation_that_was_tampered_with_is_refused_before_any_request(
    arm: az.Arm, azurerm_emulator: Any, web: az.ScaleSet, damage: dict[str, Any]
) -> None:
    stored = az.manual_upgrade_instances(arm, *web, ["0"]).to_dict()
    before = len(azurerm_emulator.recorder.entries)
    with pytest.raises(az.InvalidInput):
        az.Operation.from_dict(arm, {**stored, **damage})
    assert len(azurerm_emulator.recorder.entries) == before


def test_waiting_ends_and_leaves_the_operation_usable(arm: az.Arm, web: az.ScaleSet) -> None:
    az.put_vmss(arm, *web, az.set_image_version(az.get_vmss(arm, *web), NEW).model).wait()
    operation = az.manual_upgrade_instances(arm, *web, ["0"])
    with pytest.raises(az.OperationTimeout, match="may still be running") as caught:
        operation.wait(timeout=3)
    assert caught.value.operation.wait().done


def test_every_attempt_has_its_own_id_and_the_arm_one_for_all(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    az.get_vmss(arm, *web)
    az.get_vmss(arm, *web)
    sent = [entry.headers for entry in azurerm_emulator.recorder.entries]
    assert len({headers["x-ms-client-request-id"] for headers in sent}) == 2
    assert {headers["x-ms-correlation-request-id"] for headers in sent} == {arm.correlation_id}


def test_an_explicit_ca_wins_over_the_environment(azurerm_emulator: Any, web: Any, tmp_path: Any) -> None:
    """A company's REQUESTS_CA_BUNDLE must not lock out a private CA that was named."""
    with serve(Seed.default(), clock=VirtualClock()) as other:
        env = {**azurerm_emulator.env(), "REQUESTS_CA_BUNDLE": other.ca_file, "CURL_CA_BUNDLE": other.ca_file}
        with (
            az.connect(env=env, now=azurerm_emulator.clock.time) as wrong,
            pytest.raises(az.CredentialError, match="not trusted"),
        ):
            az.get_vmss(wrong, *web)
        with az.connect(env=env, ca_file=azurerm_emulator.ca_file, now=azurerm_emulator.clock.time) as right:
            assert az.get_vmss(right, *web)["name"] == "web"


def test_nothing_shows_a_secret(arm: az.Arm, azurerm_emulator: Any, web: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    az.get_vmss(arm, *web)
    token = arm.credential.get_token(arm.cloud.scope).token
    shown = repr(arm) + repr(arm.credential) + repr(azurerm_emulator.recorder.entries) + caplog.text
    assert token not in shown
    assert azurerm_emulator.client_secret not in shown
    assert "EMULATOR" in repr(arm)


def test_connecting_with_nothing_says_what_was_tried_and_how_to_try_the_emulator() -> None:
    with pytest.raises(az.CredentialError, match=r"AZURE_CLIENT_SECRET.*python -m azurerm_lite\.emulator"):
        az.connect(env={"AZURE_TOKEN_CREDENTIALS": "prod"})
