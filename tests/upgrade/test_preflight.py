"""What a plan knows before anything is written: refused with what to do about it, or a warning."""

from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Plan, PlanRefused, Policy, plan, rehearse, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.preflight import cores, kind, more_cores

NEW, OLD = "22.04.202611120", "22.04.202608150"
SUBSCRIPTION = "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/images-rg/providers/Microsoft.Compute"
GALLERY = f"{GROUP}/galleries/golden/images/web"
PLATFORM = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": OLD}
SOLD = {"publisher": "acme", "product": "web", "name": "byol"}


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def wanted(made: Stage, change: Any = NEW, **options: Any) -> Plan:
    made.app.recorder.entries.clear()
    try:
        return plan(made.arm, *made.address, change, **options)
    finally:
        assert made.app.recorder.writes() == []


def refused(made: Stage, change: Any, reason: str, **options: Any) -> None:
    with pytest.raises(PlanRefused, match=reason):
        wanted(made, change, **options)


def warned(found: Plan, text: str) -> bool:
    return any(text in one for one in found.warnings)


# --- the image -------------------------------------------------------------------------------------------------------


def _becomes(reference: dict[str, Any]) -> Any:
    def change(vmss: dict[str, Any]) -> None:
        vmss["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"] = reference

    return change


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (PLATFORM, {"id": GALLERY}, "runs a platform image, and the change asks for a gallery image"),
        ({"id": GALLERY}, PLATFORM, "runs a gallery image, and the change asks for a platform image"),
        ({"id": f"{GROUP}/images/a"}, {"id": GALLERY}, "runs a managed image, and the change asks for a gallery image"),
        (PLATFORM, {}, "asks for none"),
    ],
)
def test_the_kind_of_image_cannot_change(before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    refused(stage(image=before), _becomes(after), reason)


def test_a_purchase_plan_can_neither_come_nor_go() -> None:
    made = stage()
    made.simulation.images.publish("acme", "web", "byol", "1.0.0")
    made.simulation.images.plans["acme", "web", "byol"] = SOLD
    acme = {"publisher": "acme", "offer": "web", "sku": "byol", "version": "1.0.0"}
    refused(made, _becomes(acme), "sold under the plan acme/web/byol, and this scale set has no plan")
    made.scale_set.model["plan"] = {**SOLD, "publisher": "ACME"}
    assert wanted(made, _becomes(acme)).version == "1.0.0"
    refused(made, NEW, "has a purchase plan and the image has none")
    made.scale_set.model["plan"] = {**SOLD, "name": "other"}
    refused(made, _becomes(acme), "has another plan")


@pytest.mark.parametrize(
    ("version", "regions", "state", "reason"),
    [
        ("1.0.1", ("westus2",), "Succeeded", ""),
        ("1.0.1", ("West US 2",), "Succeeded", ""),
        ("1.0.1", ("eastus",), "Succeeded", "not replicated to westus2"),
        ("1.0.1", ("westus2",), "Creating", "is Creating"),
        ("1.0.2", ("westus2",), "Succeeded", "has no version 1.0.2; the newest in westus2 is 1.0.1"),
    ],
)
def test_a_gallery_image_must_be_in_the_region(version: str, regions: tuple[str, ...], state: str, reason: str) -> None:
    made = stage(image={"id": f"{GALLERY}/versions/1.0.0"})
    made.simulation.images.publish_gallery(GALLERY, "1.0.1", *regions, state=state)
    if reason:
        refused(made, version, reason)
    else:
        assert wanted(made, version).version == "1.0.1"


def test_a_gallery_says_what_latest_is_and_it_is_pinned() -> None:
    made = stage(image={"id": f"{GALLERY}/versions/1.0.0"})
    made.simulation.images.publish_gallery(GALLERY, "1.0.9", "westus2")
    made.simulation.images.publish_gallery(GALLERY, "1.0.10", "westus2")
    made.simulation.images.publish_gallery(GALLERY, "1.0.11", "westus2", exclude_from_latest=True)
    found = wanted(made, "latest")
    assert found.version == "1.0.10"
    assert found.changes[0].endswith("/versions/1.0.10")


def test_a_gallery_that_may_not_be_read_is_a_warning() -> None:
    made = stage(image={"id": f"{GALLERY}/versions/1.0.0"})
    made.simulation.faults.next("GET", "/galleries/", status=403, code="AuthorizationFailed")
    assert warned(wanted(made, "1.0.1"), "the gallery may not be read")


def test_a_platform_image_that_a_function_names_must_exist_too() -> None:
    with pytest.raises(az.NotFoundError, match=r"9\.9\.9 does not exist in westus2; the newest"):
        wanted(stage(), lambda m: az.set_image_version(m, "9.9.9"))
    found = wanted(stage(), lambda m: az.set_image_version(m, "latest"))
    assert found.version == ""
    assert warned(found, "the model says `latest`")


# --- models, quota, rights -------------------------------------------------------------------------------------------


def test_the_limit_of_ten_models_is_seen_before_it_is_hit() -> None:
    made = stage()
    for number, vm in enumerate(made.scale_set.instances.values()):
        vm.model_version = -1 - number
        vm.document["properties"]["storageProfile"]["imageReference"]["exactVersion"] = f"1.0.{number}"
    refused(made, NEW, "instances run 10 older models at least, and Azure allows 10 with the present and the next")
    assert wanted(made, None).batches  # which is the way out
    made.scale_set.instances["0"].model_version = made.scale_set.instances["1"].model_version = 0
    assert warned(wanted(made), "8 instances are behind the present model already")
    assert warned(wanted(made), "they run 1.0.2, 1.0.3, 1.0.4")


def _grown(capacity: int, size: str) -> Any:
    return lambda m: az.set_vm_size(az.set_capacity(m, capacity).model, size)


def test_a_larger_set_must_fit_into_the_quota() -> None:
    made = stage()  # 10 instances of 2 vCPUs
    made.simulation.images.cores = 28
    refused(made, _grown(15, "Standard_D2s_v3"), "needs 10 vCPUs more, and the region's quota leaves 8")
    assert wanted(made, _grown(14, "Standard_D2s_v3")).batches == ()
    refused(made, _grown(10, "Standard_D4s_v3"), "needs 20 vCPUs more")
    assert wanted(made, _grown(5, "Standard_D4s_v3")).batches
    deep = Policy(max_disruption="deallocate")
    assert warned(wanted(made, _grown(11, "Standard_DS3_v2"), policy=deep), "the quota was not looked at")


@pytest.mark.parametrize(
    ("size", "number"),
    [("Standard_D2s_v3", 2), ("Standard_E96-24ads_v5", 96), ("Standard_NC40ads_H100_v5", 40), ("Standard_DS3_v2", None),
     ("Standard_A1", None), ("", None), ("Mix", None)],
)  # fmt: skip
def test_cores_are_read_where_the_name_says_them(size: str, number: int | None) -> None:
    assert cores(size) == number
    assert more_cores({"sku": {"name": size, "capacity": 3}}, {"sku": {"name": size, "capacity": 3}}) == 0


def test_rights_that_do_not_reach_operations_are_told_before_the_first_batch() -> None:
    """Row 53: rights on the scale set alone can begin what they cannot follow."""
    made = stage()
    made.simulation.faults.add(method="GET", path="/operations/", times=99, status=403, code="AuthorizationFailed")
    found = wanted(made)
    assert warned(found, "the status of operations may not be read with these rights")
    assert warned(found, "Grant a role on the resource group")
    verdict = upgrade(made.arm, found)
    assert verdict.outcome == "paused"
    assert made.app.recorder.find("POST", "manualupgrade") == []
    assert not warned(wanted(stage()), "may not be read")


# --- the instances ---------------------------------------------------------------------------------------------------


def test_what_others_do_meanwhile_is_shown() -> None:
    made = stage()
    made.simulation.instances.update(made.scale_set, made.scale_set.instances["3"], state="Updating")
    assert warned(wanted(made), "being changed by somebody else, and waited for: 3")


@pytest.mark.parametrize(
    ("reference", "name"),
    [(PLATFORM, "a platform image"), ({"id": GALLERY}, "a gallery image"),
     ({"id": f"{GROUP}/images/i"}, "a managed image"),
     ({"communityGalleryImageId": "/CommunityGalleries/g/images/i"}, "a gallery image"), ({}, "")],
)  # fmt: skip
def test_images_are_told_apart(reference: dict[str, Any], name: str) -> None:
    profile = {"storageProfile": {"imageReference": reference}}
    assert kind({"properties": {"virtualMachineProfile": profile}}) == name
    assert kind({}) == ""
    assert kind({"properties": {"virtualMachineProfile": {"storageProfile": {"osDisk": {"image": {}}}}}}) != ""


def test_a_policy_can_forbid_touching_a_protected_set() -> None:
    made = stage()
    made.scale_set.instances["3"].document["properties"]["protectionPolicy"] = {"protectFromScaleSetActions": True}
    assert warned(wanted(made), "protected from scale-set actions and left alone: 3")
    refused(made, NEW, "protected from scale-set actions: 3", policy=Policy(on_protected="fail"))


def test_a_gallery_set_is_upgraded_and_rehearsed_to_the_version_that_was_named() -> None:
    made = stage(image={"id": f"{GALLERY}/versions/1.0.0"})
    made.simulation.images.publish_gallery(GALLERY, "1.0.1", "westus2")
    tried = rehearse(made.arm, *made.address, "1.0.1")
    assert (tried.plan.version, tried.verdict.counts) == ("1.0.1", {"updated": 10})
    assert upgrade(made.arm, wanted(made, "1.0.1")).counts == {"updated": 10}
    shown = [vm.document["properties"]["storageProfile"]["imageReference"] for vm in made.scale_set.instances.values()]
    assert shown == [{"id": f"{GALLERY}/versions/1.0.1"}] * 10
    assert wanted(made, "1.0.1").batches == ()


def test_a_rehearsal_has_the_image_that_a_function_asks_for() -> None:
    made = stage(image={"id": f"{GALLERY}/versions/1.0.0"})
    made.simulation.images.publish_gallery(GALLERY, "2.0.0", "westus2")
    found = rehearse(made.arm, *made.address, lambda m: az.set_image_id(m, f"{GALLERY}/versions/2.0.0"))
    assert (found.plan.version, found.verdict.counts) == ("2.0.0", {"updated": 10})
    found = rehearse(stage().arm, *made.address, lambda m: az.set_image_sku(m, "22_04-lts-minimal", version=NEW))
    assert found.verdict.counts == {"updated": 10}
