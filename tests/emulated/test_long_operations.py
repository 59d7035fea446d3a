"""How long-running calls begin, are polled and end: every header and key that was recorded of Azure, call by call."""

import json
import re
from datetime import datetime
from typing import Any, NamedTuple

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve

from .conftest import NEW

ONE = {"instanceIds": ["0"]}
GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6})(\d?)\+00:00")


class Begun(NamedTuple):
    """A call, and what its first answer and its first poll have to show (None: nothing of that name)."""

    method: str
    below: str  # of the collection of scale sets
    body: Any
    status: int
    state: str | None = None  # provisioningState of the body; None: Content-Length 0
    location: bool = False
    retry_after: str | None = None
    first_poll: str | None = None


def model(**more: Any) -> dict[str, Any]:
    built = Seed.build(capacity=2).model
    return {"location": "westus2", "sku": built["sku"], "properties": built["properties"], **more}


def post(name: str, body: Any = None, below: str = "web") -> Begun:
    return Begun("POST", f"{below}/{name}", body, 202, location=True)


VM = "web/virtualMachines/0"
DISK = {"dataDisksToAttach": [{"diskId": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/disks/d"}]}
CALLS = [
    Begun("PUT", "other", model(), 201, "Creating", retry_after="10", first_poll="61"),
    Begun("PUT", "web", model(tags={"a": "b"}), 200, "Updating", retry_after="10", first_poll="37"),
    Begun("PATCH", "web", {"tags": {"a": "b"}}, 200, "Updating", retry_after="10", first_poll="37"),
    Begun("DELETE", "web", None, 202, location=True, retry_after="10", first_poll="11"),
    *(post(name, ONE) for name in ("manualupgrade", "restart", "poweroff", "deallocate", "reimage", "reimageall")),
    *(post(name, ONE) for name in ("start", "redeploy", "delete", "performMaintenance", "approveRollingUpgrade")),
    post("setOrchestrationServiceState", {"serviceName": "AutomaticRepairs", "action": "Suspend"}),
    *(post(name) for name in ("osRollingUpgrade", "extensionRollingUpgrade", "rollingUpgrades/cancel", "reapply")),
    post("scaleOut", {"capacity": 1}),
    post("migrateVMAvailabilityZone", ONE),
    Begun("PUT", VM, {"location": "westus2", "tags": {"a": "b"}}, 200, "Updating"),
    Begun("DELETE", VM, None, 202, location=True),
    *(post(name, None, VM) for name in ("start", "restart", "powerOff", "deallocate", "reimage", "reimageall")),
    *(post(name, None, VM) for name in ("redeploy", "performMaintenance", "approveRollingUpgrade")),
    post("attachDetachDataDisks", DISK, VM),
    post("runCommand", {"commandId": "RunShellScript", "script": ["uptime"]}, VM),
]


class Rig:
    """An emulator whose time stands still, and requests without a client that would make something of the answers."""

    def __init__(self, emulator: Any, arm: az.Arm) -> None:
        self.emulator, self._arm = emulator, arm
        self.collection = (
            f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
            "/providers/Microsoft.Compute/virtualMachineScaleSets"
        )

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self._arm.credential.get_token(self._arm.cloud.scope).token}",
            "User-Agent": "azurerm-lite/judge",
        }
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))} if data else {}
        answer = self._arm._transport().send(method, path, headers, data)
        shown = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, shown, json.loads(answer.body) if answer.body else None

    def begin(self, call: Begun) -> tuple[int, dict[str, str], Any]:
        if call.below.endswith("/cancel"):
            self.ask("POST", f"{self.collection}/web/osRollingUpgrade?api-version=2024-07-01")
        return self.ask(call.method, f"{self.collection}/{call.below}?api-version=2024-07-01", call.body)

    def follow(self, link: str) -> tuple[int, dict[str, str], Any]:
        return self.ask("GET", link.removeprefix(self.emulator.arm_endpoint))


@pytest.fixture(scope="module")
def running() -> Any:
    with serve(Seed.build(capacity=3, image=None), clock=VirtualClock()) as emulator:
        yield emulator


@pytest.fixture
def rig(running: Any) -> Any:
    running.reset()
    clock: Any = running.clock
    with az.connect(env=running.env(), sleep=clock.sleep, now=clock.time) as arm:
        made = Rig(running, arm)
        yield made


def when(text: str) -> datetime:
    found = TIME.fullmatch(text)
    assert found, text
    return datetime.fromisoformat(found[1])


@pytest.mark.parametrize("call", [pytest.param(one, id=f"{one.method} {one.below}") for one in CALLS])
def test_a_call_begins_is_polled_and_ends_as_recorded(rig: Rig, call: Begun) -> None:
    status, first, body = rig.begin(call)
    assert status == call.status
    assert (body["properties"]["provisioningState"] if body else None) == call.state
    assert body or first["content-length"] == "0"
    link = rf"{re.escape(rig.emulator.arm_endpoint)}/subscriptions/{GUID}/providers/Microsoft.Compute/locations/westus2"
    link += rf"/operations/({GUID})\?"
    found = re.fullmatch(rf"{link}api-version=2024-07-01", first["azure-asyncoperation"])
    assert found
    assert found[1] == first["x-ms-request-id"]
    assert first["azure-asyncnotification"] == "Enabled"
    assert first.get("retry-after") == call.retry_after
    assert ("location" in first) == call.location
    if call.location:
        assert re.fullmatch(rf"{link}monitor=true&api-version=2024-07-01", first["location"])
    assert "x-ms-request-charge" in first

    polls = [rig.follow(first["azure-asyncoperation"]) for _ in range(2)]
    assert [status for status, _, _ in polls] == [200, 200]
    assert [headers.get("retry-after") for _, headers, _ in polls] == [call.first_poll, None]
    assert [list(shown) for _, _, shown in polls] == [["startTime", "status", "name"]] * 2
    assert polls[0][2]["status"] == "InProgress"
    if call.location:
        assert rig.follow(first["location"])[0] == 202

    rig.emulator.clock.advance(7200)
    status, headers, done = rig.follow(first["azure-asyncoperation"])
    output = ["properties"] if call.below.endswith("runCommand") else []
    assert (status, headers.get("retry-after")) == (200, None)
    assert list(done) == ["startTime", "endTime", "status", *output, "name"]
    assert (done["status"], done["name"]) == ("Succeeded", found[1])
    assert when(done["endTime"]) >= when(done["startTime"])
    if call.location:
        status, headers, result = rig.follow(first["location"])
        assert status == 200
        if output:
            assert list(done["properties"]) == ["output"]
            assert result == done["properties"]["output"]
        else:
            assert (headers["content-length"], result) == ("0", None)


SYNCHRONOUS = [("DELETE", "nix"), ("POST", "spot/virtualMachines/0/simulateEviction"), ("DELETE", "web/extensions/nix")]


@pytest.mark.parametrize(("method", "below"), SYNCHRONOUS)
def test_what_has_no_operation_is_done_at_once_and_says_nothing(rig: Rig, method: str, below: str) -> None:
    profile = {**Seed.build().model["properties"]["virtualMachineProfile"], "priority": "Spot"}
    rig.emulator.add(Seed.build("spot", capacity=1, properties={"virtualMachineProfile": profile}))
    status, headers, body = rig.begin(Begun(method, below, None, 204))
    assert (status, body) == (204, None)
    assert not {"azure-asyncoperation", "location", "retry-after"} & set(headers)


def test_a_failed_operation_is_shown_with_its_keys_in_order_and_names_the_instance(rig: Rig) -> None:
    text = "VM has reported a failure when processing extension 'x'."
    rig.emulator.faults.add(
        on="upgrade", instance="0", effect="fail", code="VMExtensionProvisioningError", message=text
    )
    image = {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}
    rig.begin(Begun("PATCH", "web", {"properties": image}, 200))
    rig.emulator.clock.advance(5)
    _, first, _ = rig.begin(post("manualupgrade", ONE))
    rig.emulator.clock.advance(400)
    status, headers, failed = rig.follow(first["azure-asyncoperation"])
    assert status == 200
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert list(failed) == ["startTime", "endTime", "status", "error", "name"]
    assert failed["status"] == "Failed"
    assert list(failed["error"].items()) == [
        ("code", "VMExtensionProvisioningError"),
        ("message", text),
        ("target", "0"),
    ]


def test_times_have_seven_decimals_as_azures_have_but_for_trailing_zeros(rig: Rig) -> None:
    """Which `datetime.fromisoformat` of Python up to 3.10 does not read: a trap that an emulator has to have."""
    seen = []
    for _ in range(40):
        rig.emulator.clock.advance(1)
        _, first, _ = rig.begin(post("restart", ONE))
        seen.append(rig.follow(first["azure-asyncoperation"])[2]["startTime"])
    decimals = [len(one.partition(".")[2].removesuffix("+00:00")) for one in seen]
    assert decimals.count(7) >= 30
    assert min(decimals) >= 1
    assert sorted(seen) == sorted(seen, key=when)
