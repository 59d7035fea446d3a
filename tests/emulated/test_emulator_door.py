"""What the emulator refuses before anything is stored, in Azure's words; and that a refused write changes nothing."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve
from azurerm_lite.emulator.habits import USUAL

Start = Callable[..., "Stand"]


class Stand:
    """An emulator in virtual time, and an Arm on it."""

    def __init__(self, seed: Seed, habits: Any) -> None:
        self.emulator = serve(seed, clock=VirtualClock(), habits=habits)
        clock: Any = self.emulator.clock
        self.arm = az.connect(env=self.emulator.env(), sleep=clock.sleep, now=clock.time)
        self.web = az.ScaleSet(self.emulator.subscription_id, self.emulator.resource_group, self.emulator.vmss_name)

    @property
    def model(self) -> dict[str, Any]:
        return az.get_vmss(self.arm, *self.web)

    def patch(self, body: Any) -> None:
        az.patch_vmss(self.arm, *self.web, body, if_match=None).wait()

    def send_patch(self, body: Any) -> int:
        """The status of a PATCH by no client of ours, which would not send it."""
        emulator, token = self.emulator, self.arm.credential.get_token("https://management.azure.com/.default").token
        response = requests.patch(
            f"{emulator.arm_endpoint}{self.web.resource_id}?api-version=2024-07-01",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            verify=emulator.ca_file,
            timeout=30,
        )
        emulator.clock.advance(3600)  # type: ignore[attr-defined]
        return response.status_code

    def refused(self, act: Callable[[], Any]) -> az.ArmError:
        """The error that Azure's kind of answer became; the set is as it was."""
        before = self.model
        with pytest.raises(az.ArmError) as error:
            act()
        assert self.model == before
        return error.value


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Stand] = []

    def begin(habits: Any = USUAL, **options: Any) -> Stand:
        running.append(Stand(Seed.build(**{"capacity": 2, **options}), habits))
        return running[-1]

    yield begin
    for stand in running:
        stand.arm.close()
        stand.emulator.stop()


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"sku": {"capacity": "many"}}, "InvalidRequestContent", "Error converting value \"many\" to type 'int64'"),
        ({"sku": []}, "InvalidRequestContent", "Cannot deserialize the current JSON array into type 'Sku'. Path 'sku'"),
        ({"sku": {"capacity": -3}}, "InvalidParameter", "The value -3 of parameter 'sku.capacity' is invalid"),
        ({"sku": {"capacity": 1001}}, "InvalidParameter", "Allowed: 0 to 1000"),
        ({"sku": {"capacity": 10**400}}, "InvalidRequestContent", "Path 'sku.capacity'"),
        ({"properties": {"upgradePolicy": {"mode": "Sometimes"}}}, "InvalidParameter", "Automatic, Manual, Rolling"),
        ({"zones": ["9"]}, "AvailabilityZoneNotSupported", "The zone(s) '9'"),
        ({"location": "mars"}, "LocationNotAvailableForResourceType", "The provided location 'mars'"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_in_azures_words(start: Start, body: Any, code: str, text: str) -> None:
    stand = start()
    error = stand.refused(lambda: stand.patch(body))
    assert (error.status, error.code) == (400, code)
    assert text in str(error)


def test_a_wrong_secret_is_not_repeated(start: Start) -> None:
    stand = start()
    profile = {"osProfile": {"adminPassword": 48151623}}
    error = stand.refused(lambda: stand.patch({"properties": {"virtualMachineProfile": profile}}))
    assert "48151623" not in str(error)


def test_what_a_put_must_have_is_missing(start: Start) -> None:
    stand = start()
    bodies = [
        ({}, "LocationRequired", "The location property is required"),
        (
            {"location": "westus2", "properties": {"virtualMachineProfile": {"storageProfile": {"osDisk": {}}}}},
            "InvalidParameter",
            "Required parameter 'createOption' is missing (null).",
        ),
    ]
    for body, code, text in bodies:
        error = stand.refused(lambda body=body: az.put_vmss(stand.arm, *stand.web, body, if_match=None))
        assert error.code == code
        assert text in str(error)


def test_a_null_is_no_value(start: Start) -> None:
    stand = start()
    before = stand.model
    assert stand.send_patch({"sku": {"capacity": None}}) == 200
    assert stand.send_patch({"sku": None, "properties": None, "location": None}) == 200
    assert stand.send_patch({"properties": {"virtualMachineProfile": None, "upgradePolicy": None}}) == 200
    assert {**stand.model, "etag": ""} == {**before, "etag": ""}
    assert len(az.list_vmss_vms(stand.arm, *stand.web)) == 2


def test_unknown_properties_are_kept_or_by_habit_refused(start: Start) -> None:
    stand = start()
    assert stand.send_patch({"properties": {"nothing": 1}}) == 200
    assert stand.model["properties"]["nothing"] == 1
    stand = start([*USUAL, "unknown-property-refused"])
    error = stand.refused(lambda: stand.patch({"properties": {"nothing": 1}}))
    assert (error.status, error.code) == (400, "BadRequest")
    text = "Could not find member 'nothing' on object of type 'VirtualMachineScaleSetProperties'. Path 'properties."
    assert text in str(error)


@pytest.mark.parametrize(
    ("options", "capacity", "most"),
    [
        ({}, 101, 100),
        ({"single_placement_group": False, "image": {"id": "/subscriptions/s/resourceGroups/r/providers/"
          "Microsoft.Compute/images/i"}}, 601, 600),
    ],
)  # fmt: skip
def test_a_capacity_beyond_what_the_set_can_have_is_refused(
    start: Start, options: dict[str, Any], capacity: int, most: int
) -> None:
    stand = start(**options)
    error = stand.refused(lambda: stand.patch({"sku": {"capacity": capacity}}))
    assert (error.status, error.code) == (409, "OperationNotAllowed")
    assert f"exceeds the total limit of '{most}'" in str(error)
    stand.patch({"sku": {"capacity": 3}})
    assert stand.model["sku"]["capacity"] == 3


def test_a_set_that_is_larger_than_its_limit_can_be_written_and_shrunk_and_not_grown(start: Start) -> None:
    stand = start(capacity=120, single_placement_group=True)
    stand.patch({"tags": {"a": "b"}})
    stand.patch({"sku": {"capacity": 119}})
    assert stand.refused(lambda: stand.patch({"sku": {"capacity": 120}})).code == "OperationNotAllowed"


def test_a_set_without_a_profile_has_no_sizes_and_grows_no_instances(start: Start) -> None:
    """https://github.com/Azure/azure-cli/issues/30813"""
    seed = Seed.build("pool", capacity=1, orchestration="Flexible", fault_domains=1)
    del seed.model["properties"]["virtualMachineProfile"], seed.model["sku"]
    seed.instances = []
    with serve(seed, clock=VirtualClock()) as emulator:
        arm = az.connect(env=emulator.env())
        pool = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        assert az.list_vmss_skus(arm, *pool) == []
        with pytest.raises(az.ArmError, match="Required parameter 'virtualMachineProfile' is missing"):
            az.patch_vmss(arm, *pool, {"sku": {"capacity": 3}}, if_match=None)
        arm.close()


# --- locations -------------------------------------------------------------------------------------------------------


def test_locations_are_shown_as_azure_shows_them(start: Start) -> None:
    stand = start(location="West US 2")
    assert stand.model["location"] == "westus2"
    assert {vm["location"] for vm in az.list_vmss_vms(stand.arm, *stand.web)} == {"westus2"}
    body = {key: stand.model[key] for key in ("sku", "properties")}
    second = (*stand.web[:2], "second")
    az.put_vmss(stand.arm, *second, {**body, "location": "SoutheastAsia"}, if_match=None).wait()
    assert az.get_vmss(stand.arm, *second)["location"] == "southeastasia"


def test_a_set_stays_where_it_is(start: Start) -> None:
    stand = start()
    moved = {**stand.model, "location": "eastus"}
    for act in (
        lambda: az.put_vmss(stand.arm, *stand.web, moved, if_match=None),
        lambda: stand.patch({"location": "eastus"}),
    ):
        error = stand.refused(act)
        assert (error.status, error.code) == (409, "InvalidResourceLocation")
    az.put_vmss(stand.arm, *stand.web, {**stand.model, "location": "West US 2"}, if_match=None).wait()
    assert stand.model["location"] == "westus2"


@pytest.mark.parametrize("place", ["mars", "/subscriptions/x/y", "west us 9"])
def test_nothing_is_created_where_no_azure_is(start: Start, place: str) -> None:
    stand = start()
    body = {**{key: stand.model[key] for key in ("sku", "properties")}, "location": place}
    act = lambda: az.put_vmss(stand.arm, *stand.web[:2], "second", body, if_match=None)  # noqa: E731
    assert stand.refused(act).code == "LocationNotAvailableForResourceType"
    assert len(az.list_vmss(stand.arm, *stand.web[:2])) == 1


# --- a set that is being deleted -------------------------------------------------------------------------------------


def test_a_set_that_is_being_deleted_takes_no_write(start: Start) -> None:
    stand = start()
    operation = az.delete_vmss(stand.arm, *stand.web)
    for act in (
        lambda: az.patch_vmss(stand.arm, *stand.web, {"tags": {"a": "b"}}, if_match=None),
        lambda: az.put_vmss(stand.arm, *stand.web, {"location": "westus2"}, if_match=None),
        lambda: az.deallocate_vmss_vms(stand.arm, *stand.web, ["0"]),
        lambda: az.delete_vmss_vm(stand.arm, *stand.web, "0"),
    ):
        error = stand.refused(act)
        assert (error.status, error.code) == (409, "OperationNotAllowed")
        assert "marked for deletion" in str(error)
    again = az.delete_vmss(stand.arm, *stand.web)
    operation.wait()
    again.wait()
    with pytest.raises(az.ArmError, match="404"):
        az.get_vmss(stand.arm, *stand.web)


def test_a_second_delete_does_not_take_what_was_created_since(start: Start) -> None:
    stand = start()
    body = {key: stand.model[key] for key in ("location", "sku", "properties")}
    events = stand.emulator.simulation.events
    events.durations["delete_vmss"] = (10, 10)
    az.delete_vmss(stand.arm, *stand.web)
    events.durations["delete_vmss"] = (100, 100)
    az.delete_vmss(stand.arm, *stand.web)
    stand.emulator.clock.advance(50)  # type: ignore[attr-defined]
    az.put_vmss(stand.arm, *stand.web, body, if_match=None).wait()
    stand.emulator.clock.advance(100)  # type: ignore[attr-defined]
    assert stand.model["sku"]["capacity"] == 2


# --- when the emulator itself fails ----------------------------------------------------------------------------------


def test_a_failure_of_the_emulator_is_an_error_of_arms_form_and_stands_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    stand = start()
    stand.emulator.simulation.scale_sets.get(*stand.web).model["properties"] = 5  # no request can bring this about
    with caplog.at_level(logging.ERROR), pytest.raises(az.ArmError) as error:
        az.get_vmss(stand.arm, *stand.web)
    assert (error.value.status, error.value.code) == (500, "InternalServerError")
    assert "Traceback" in caplog.text


def test_an_event_that_fails_does_not_stop_the_world(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    stand = start()
    stand.emulator.simulation.events.schedule_in(1, [].pop)
    stand.emulator.clock.advance(2)  # type: ignore[attr-defined]
    assert stand.model["sku"]["capacity"] == 2
    assert "pop from empty list" in caplog.text
    stand.patch({"tags": {"a": "b"}})
