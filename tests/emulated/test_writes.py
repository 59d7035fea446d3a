"""Writes of a model through the emulator, which takes a PATCH as ARM's contract and public reports have it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import model
from azurerm_lite.emulator import Emulator, Seed, VirtualClock, serve
from azurerm_lite.emulator.faults import FaultError
from azurerm_lite.emulator.habits import HABITS, NONE, USUAL
from azurerm_lite.upgrade import plan, rollback, upgrade
from azurerm_lite.upgrade.rules.snapshot import observe

from .conftest import NEW

IMAGES = "/subscriptions/5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d/resourceGroups/img/providers/Microsoft.Compute/images/"
TAGS = {"owner": "web team", "cost-centre": "4711", "env": "prod"}
Start = Callable[..., "Stand"]
RULES = frozenset(
    name for name in HABITS if name.startswith(("patch-", "rolling-", "tags-")) and name != "tags-changed"
)


class Stand:
    """One scale set with disks that no image gives, and an Arm for it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, clock = emulator, emulator.clock
        self.arm = az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time)
        self.web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)

    @property
    def model(self) -> Any:
        return az.get_vmss(self.arm, *self.web)

    @property
    def storage(self) -> Any:
        return self.model["properties"]["virtualMachineProfile"]["storageProfile"]

    def update(self, change: Any) -> Any:
        operation = az.update_vmss(self.arm, *self.web, change)
        assert operation is not None
        operation.wait()
        return self.emulator.recorder.find("PATCH")[-1].body

    def patch(self, **body: Any) -> None:
        az.patch_vmss(self.arm, *self.web, body).wait()

    def patch_profile(self, **parts: Any) -> None:
        self.patch(properties={"virtualMachineProfile": parts})


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Emulator] = []

    def begin(habits: Any = USUAL, **options: Any) -> Stand:
        seed = Seed.build("web", capacity=5, tags=TAGS, **options)
        storage = seed.model["properties"]["virtualMachineProfile"]["storageProfile"]
        storage["osDisk"] |= {"diskSizeGB": 128, "managedDisk": {"storageAccountType": "Premium_LRS"}}
        storage["dataDisks"] = [{"lun": 0, "createOption": "Empty", "diskSizeGB": 512}]
        running.append(serve(seed, clock=VirtualClock(), habits=habits))
        return Stand(running[-1])

    yield begin
    for emulator in running:
        emulator.stop()


def disks(stand: Stand) -> tuple[Any, ...]:
    disk = stand.storage["osDisk"]
    return disk["managedDisk"]["storageAccountType"], disk["diskSizeGB"], len(stand.storage.get("dataDisks", []))


# --- what the library writes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("habits", [NONE, USUAL, RULES], ids=["none", "usual", "all"])
def test_a_new_image_leaves_the_disks_as_they_are(start: Start, habits: Any) -> None:
    """reports/r01."""
    stand = start(habits, image={"id": IMAGES + "web-1"})
    before = disks(stand)
    stand.update(lambda m: az.set_image_id(m, IMAGES + "web-2"))
    assert disks(stand) == before == ("Premium_LRS", 128, 1)
    verdict = upgrade(stand.arm, plan(stand.arm, *stand.web, lambda m: az.set_image_id(m, IMAGES + "web-3")))
    assert verdict.ok
    assert disks(stand) == before


def add_disk(model: Any) -> None:
    disk = {"lun": 1, "createOption": "Empty", "diskSizeGB": 20, "managedDisk": {"storageAccountType": "Standard_LRS"}}
    model["properties"]["virtualMachineProfile"]["storageProfile"]["dataDisks"].append(disk)


def test_a_data_disk_is_added_beside_the_image(start: Start) -> None:
    """reports/r02."""
    stand = start()
    assert stand.update(add_disk)["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    assert disks(stand) == ("Premium_LRS", 128, 2)
    assert upgrade(stand.arm, plan(stand.arm, *stand.web, add_disk)).ok
    assert disks(stand) == ("Premium_LRS", 128, 3)


def test_one_tag_is_changed_added_and_removed_and_the_others_stay(start: Start) -> None:
    """reports/r22, clients/f1."""
    stand = start()
    stand.update(lambda m: m["tags"].update(env="test"))
    assert stand.model["tags"] == {**TAGS, "env": "test"}
    rest = {key: value for key, value in TAGS.items() if key != "env"}

    def remove(model: Any) -> None:
        del model["tags"]["env"]

    assert stand.update(remove) == {"tags": rest}
    assert stand.model["tags"] == rest


def test_an_upgrade_that_also_tags_the_set_keeps_its_tags_and_so_does_its_rollback(start: Start, tmp_path: Any) -> None:
    """reports/r22."""
    stand, path = start(), str(tmp_path / "j.jsonl")

    def release(model: Any) -> Any:
        model["tags"]["release"] = "42"
        return az.set_image_version(model, NEW)

    assert upgrade(stand.arm, plan(stand.arm, *stand.web, release), journal=path).ok
    assert stand.model["tags"] == {**TAGS, "release": "42"}
    assert rollback(stand.arm, path).ok
    assert (stand.model["tags"], disks(stand)) == (TAGS, ("Premium_LRS", 128, 1))


def test_tags_that_somebody_writes_after_the_plan_or_after_the_upgrade_stay(start: Start, tmp_path: Any) -> None:
    stand, path = start(), str(tmp_path / "j.jsonl")

    def release(model: Any) -> Any:
        model["tags"]["release"] = "42"
        return az.set_image_version(model, NEW)

    planned = plan(stand.arm, *stand.web, release)
    stand.patch(tags={**TAGS, "theirs": "x"})
    assert upgrade(stand.arm, planned, journal=path).ok
    assert stand.model["tags"] == {**TAGS, "theirs": "x", "release": "42"}
    stand.patch(tags={**TAGS, "theirs": "y", "release": "42"})
    assert rollback(stand.arm, path).ok
    assert stand.model["tags"] == {**TAGS, "theirs": "y"}


@pytest.mark.parametrize("mode", ["Rolling", "Automatic"])
def test_a_set_that_azure_upgrades_takes_every_change(start: Start, mode: str) -> None:
    stand = start(RULES, mode=mode, health_source="probe", rolling_policy={"maxBatchInstancePercent": 50})
    for change in (
        lambda m: m["tags"].update(env="test"),
        lambda m: az.set_capacity(m, 6),
        lambda m: az.set_image_version(m, NEW),
        lambda m: m["properties"].update(overprovision=True),
    ):
        stand.update(change)
    policy = stand.model["properties"]["upgradePolicy"]
    assert (policy["mode"], policy["rollingUpgradePolicy"]["maxBatchInstancePercent"]) == (mode, 50)
    assert disks(stand) == ("Premium_LRS", 128, 1)


def test_a_get_shows_what_was_written_whatever_the_write_filled_in(start: Start) -> None:
    """engine/r23: a model from before some defaults, and a process that ended while its write was polled."""
    stand = start()
    (scale_set,) = stand.emulator.simulation.scale_sets
    profile = scale_set.profile
    for key in ("requireGuestProvisionSignal", "allowExtensionOperations"):
        profile["osProfile"].pop(key, None)
    profile["storageProfile"]["osDisk"].pop("osType", None)
    before = stand.model
    patch = az.merge_patch(before, az.set_image_version(before, NEW).model)
    az.patch_vmss(stand.arm, *stand.web, patch)
    stand.emulator.clock.advance(60)  # type: ignore[attr-defined]
    sent = model.apply_patch(before, patch)
    assert model.shows_write(stand.model, sent, patch)
    profile = scale_set.profile
    profile["osProfile"]["computerNamePrefix"] = "other"
    (change,) = model.unexplained(stand.model, sent, patch)
    assert str(change) == "properties.virtualMachineProfile.osProfile.computerNamePrefix: web -> other"


def test_a_set_that_goes_back_to_standard_security_shows_what_was_written(start: Start) -> None:
    stand = start()
    (scale_set,) = stand.emulator.simulation.scale_sets
    scale_set.profile["securityProfile"] = {"securityType": "TrustedLaunch", "uefiSettings": {"vTpmEnabled": True}}
    before = stand.model
    profile = {"securityProfile": {"securityType": "Standard", "uefiSettings": None}}
    patch = {"properties": {"virtualMachineProfile": profile}}
    with stand.emulator.simulation.lock:  # by hand: the published API of this version has no such type
        stand.emulator.simulation.scale_sets.patch(scale_set, patch)
    sent = model.apply_patch(before, patch)
    assert stand.model["properties"]["virtualMachineProfile"]["securityProfile"] == {}
    assert model.shows_write(stand.model, sent)


# --- what the emulator does -------------------------------------------------------------------------------------------


def test_tags_are_replaced_by_put_and_by_patch(start: Start) -> None:
    """clients/f1."""
    stand = start()
    stand.patch(tags={"a": "1"})
    assert stand.model["tags"] == {"a": "1"}
    model = {**stand.model, "tags": {"b": "2"}}
    az.put_vmss(stand.arm, *stand.web, model).wait()
    assert stand.model["tags"] == {"b": "2"}
    az.put_vmss(stand.arm, *stand.web, {key: value for key, value in stand.model.items() if key != "tags"}).wait()
    assert stand.model["tags"] == {"b": "2"}  # recorded: a PUT that names none leaves them
    stand.patch(tags={})
    assert stand.model["tags"] == {}


@pytest.mark.parametrize("tags", [{"a": None}, {"a": "b", "c": None}, [1], "x"])
@pytest.mark.parametrize("method", [az.patch_vmss, az.put_vmss])
def test_tags_of_null_and_tags_that_are_no_map_are_refused(start: Start, method: Any, tags: Any) -> None:
    stand = start()
    with pytest.raises(az.ArmError) as refused:
        method(stand.arm, *stand.web, {"location": "westus2", "tags": tags})
    assert (refused.value.status, refused.value.code) == (400, "InvalidRequestContent")
    assert stand.model["tags"] == TAGS


def test_tags_of_one_uniform_instance_stay_as_they_were(start: Start) -> None:
    stand = start()
    before = az.get_vmss_vm(stand.arm, *stand.web, "0")
    az.put_vmss_vm(stand.arm, *stand.web, "0", {**before, "tags": {"mine": "x"}}).wait()
    assert az.get_vmss_vm(stand.arm, *stand.web, "0")["tags"] == before["tags"] == TAGS


def test_tags_of_a_run_command_are_replaced_and_never_null(start: Start) -> None:
    stand = start()
    command = (*stand.web, "0", "hello")
    body = {"location": "westus2", "properties": {"source": {"script": "true"}}, "tags": {"a": "1", "b": "2"}}
    az.put_vmss_vm_run_command(stand.arm, *command, body).wait()
    az.patch_vmss_vm_run_command(stand.arm, *command, {"tags": {"c": "3"}}).wait()
    assert az.get_vmss_vm_run_command(stand.arm, *command)["tags"] == {"c": "3"}
    with pytest.raises(az.ArmError, match="400 InvalidRequestContent"):
        az.patch_vmss_vm_run_command(stand.arm, *command, {"tags": {"c": None}})


def test_a_patch_of_the_image_alone_takes_the_disks_from_the_image(start: Start) -> None:
    reference = {"imageReference": {"version": NEW}}
    stand = start()
    stand.patch_profile(storageProfile=reference)
    assert disks(stand) == ("Standard_LRS", 30, 0)
    stand = start(USUAL - {"patch-drops-disks"})
    stand.patch_profile(storageProfile=reference)
    assert disks(stand) == ("Premium_LRS", 128, 1)


def test_a_patch_of_disks_without_the_image_is_refused(start: Start) -> None:
    stand = start()
    with pytest.raises(az.ArmError, match=r"400 InvalidParameter: ImageReference is null\."):
        stand.patch_profile(storageProfile={"dataDisks": []})
    stand = start(NONE)
    stand.patch_profile(storageProfile={"dataDisks": []})
    assert disks(stand)[2] == 0


def test_a_set_that_azure_upgrades_wants_its_policy_and_its_probe(start: Start) -> None:
    stand = start(RULES, mode="Rolling", health_source="probe")
    with pytest.raises(az.ArmError, match="'upgradePolicy' is missing"):
        stand.patch(properties={"overprovision": True})
    with pytest.raises(az.ArmError, match="a health probe or health extension was not provided"):
        stand.patch(properties={"overprovision": True, "upgradePolicy": {"mode": "Rolling"}})
    stand.patch(sku={"capacity": 6})
    policy = stand.model["properties"]["upgradePolicy"]
    network = stand.model["properties"]["virtualMachineProfile"]["networkProfile"]
    profile = {"networkProfile": {"healthProbe": network["healthProbe"]}}
    erased = {"mode": "Rolling", "rollingUpgradePolicy": None}
    stand.patch(properties={"upgradePolicy": erased, "virtualMachineProfile": profile})
    assert stand.model["properties"]["upgradePolicy"] == policy


def test_zones_of_null_are_no_zone(start: Start) -> None:
    stand = start(zones=[None])
    assert "zones" not in stand.model
    shown = [{**instance, "zones": [None]} for instance in az.list_vmss_vms(stand.arm, *stand.web)]
    assert {member.zone for member in observe(shown, 0.0).members.values()} == {""}


def test_a_habit_that_is_none_is_refused() -> None:
    with pytest.raises(FaultError, match="no habit is named 'nonsense'; there are patch-drops-disks"):
        serve(clock=VirtualClock(), habits=["nonsense"])
    assert all(habit.effect and habit.sources for habit in HABITS.values())
