"""Each habit does what its row says, by plain HTTP, judged by the answers of the emulator and its record."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from azurerm_lite.emulator import Seed, VirtualClock, serve
from azurerm_lite.emulator.__main__ import main
from azurerm_lite.emulator.faults import FaultError
from azurerm_lite.emulator.habits import EVENTS, HABITS, USUAL, use
from azurerm_lite.emulator.simulation.compose import Simulation
from azurerm_lite.emulator.simulation.disturbances import REQUESTS, Disturbances

NEW = "22.04.202611120"
VERSION = {"api-version": "2024-07-01"}


class Http:
    """An emulator in virtual time, asked by requests alone."""

    def __init__(self, emulator: Any) -> None:
        self.emulator, self.clock, self.simulation = emulator, emulator.clock, emulator.simulation
        self.session = requests.Session()
        self.session.trust_env = False
        group = f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
        self.group = f"{group}/providers/Microsoft.Compute"
        self.set = f"{self.group}/virtualMachineScaleSets/{emulator.vmss_name}"
        self.login()

    def token(self) -> requests.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.emulator.client_id,
            "client_secret": self.emulator.client_secret,
            "scope": f"{self.emulator.arm_endpoint}/.default",
        }
        url = f"{self.emulator.authority}/{self.emulator.tenant_id}/oauth2/v2.0/token"
        return self.session.post(url, data=form, verify=self.emulator.ca_file, timeout=30)

    def login(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.token().json()['access_token']}"

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        url = path if path.startswith("https") else f"{self.emulator.arm_endpoint}{path}"
        asked = {} if "api-version" in path else {**VERSION, **query}
        return self.session.request(method, url, json=body, params=asked, verify=self.emulator.ca_file, timeout=30)

    def items(self) -> list[Any]:
        """The instances as they are listed, by id."""
        found: list[Any] = self.ask("GET", f"{self.set}/virtualMachines", **{"$expand": "instanceView"}).json()["value"]
        return found

    def listed(self) -> dict[str, Any]:
        return {item["instanceId"]: item["properties"] for item in self.items()}

    def change_image(self) -> None:
        """Leave every instance behind the model."""
        profile = {"storageProfile": self.model()["properties"]["virtualMachineProfile"]["storageProfile"]}
        profile["storageProfile"]["imageReference"]["version"] = NEW
        answer = self.ask("PATCH", self.set, {"properties": {"virtualMachineProfile": profile}})
        assert answer.status_code == 200, answer.text
        self.wait(5)

    def model(self) -> Any:
        return self.ask("GET", self.set).json()

    def upgrade(self, *ids: str) -> requests.Response:
        return self.ask("POST", f"{self.set}/manualupgrade", {"instanceIds": list(ids)})

    def end(self, answer: requests.Response, seconds: float = 400) -> Any:
        """The status of its operation, so many seconds later."""
        assert answer.status_code in (200, 201, 202), answer.text
        self.wait(seconds)
        return self.ask("GET", answer.headers["Azure-AsyncOperation"]).json()

    def upgraded(self, *ids: str) -> Any:
        """The end of an upgrade of these."""
        return self.end(self.upgrade(*ids))

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        with self.simulation.lock:
            self.simulation.events.run_due_events()
        if seconds >= 3600:
            self.login()

    def record(self, habit: str) -> list[Any]:
        return [happening for happening in self.emulator.happenings if happening.habit == habit]


@contextmanager
def http(habits: Any = (), seed: Seed | None = None, **options: Any) -> Iterator[Http]:
    made = seed or Seed.build(**{"capacity": 6, "health_source": "extension", **options})
    with serve(made, clock=VirtualClock(), habits=[*USUAL, *habits]) as emulator:
        yield Http(emulator)


def power(properties: Any) -> list[str]:
    view = properties.get("instanceView") or {}
    return [s["code"][11:] for s in view.get("statuses") or [] if s["code"].startswith("PowerState/")]


def health(properties: Any) -> str:
    view = properties.get("instanceView") or {}
    return str(((view.get("vmHealth") or {}).get("status") or {}).get("code", "")).rpartition("/")[2]


def healths(asked: Http) -> dict[str, str]:
    return {instance: health(properties) for instance, properties in asked.listed().items()}


def at(habit: str, moment: float = 60.0, /, **parameters: Any) -> dict[str, Any]:
    return {"habit": habit, "when": "at", "at": moment, **parameters}


# --- instances -------------------------------------------------------------------------------------------------------


def test_an_instance_becomes_unhealthy_at_its_time_and_healthy_again() -> None:
    with http([at("instance-unhealthy", instance="2", seconds=300.0)]) as asked:
        asked.wait(59)
        assert set(healths(asked).values()) == {"healthy"}
        asked.wait(1)
        assert [one for one, state in healths(asked).items() if state == "unhealthy"] == ["2"]
        asked.wait(300)
        assert set(healths(asked).values()) == {"healthy"}
        begun, ended = asked.record("instance-unhealthy")
        assert (begun.instances, ended.instances, ended.time - begun.time) == (("2",), ("2",), 300)
        assert ended.details == {"ended": True}


def test_instances_that_wait_become_unhealthy_while_others_are_upgraded() -> None:
    with http([{"habit": "instance-unhealthy", "among": "others", "count": 3}]) as asked:
        asked.change_image()
        asked.upgrade("0", "1")
        ill = {one for one, state in healths(asked).items() if state == "unhealthy"}
        assert len(ill) == 3
        assert not ill & {"0", "1"}
        assert {*asked.record("instance-unhealthy")[0].instances} == ill


def test_an_instance_becomes_unhealthy_after_its_upgrade_and_after_the_nth_only() -> None:
    with http([{"habit": "instance-unhealthy", "when": "after", "among": "batch", "nth": 2, "delay": 60.0}]) as asked:
        asked.change_image()
        asked.upgraded("0")
        assert set(healths(asked).values()) == {"healthy"}
        asked.upgraded("1")
        assert [one for one, state in healths(asked).items() if state == "unhealthy"] == ["1"]


def test_an_instance_becomes_unhealthy_right_after_somebody_has_looked() -> None:
    with http([{"habit": "instance-unhealthy", "when": "read", "nth": 2, "instance": "4"}]) as asked:
        assert [healths(asked)["4"] for _ in range(3)] == ["healthy", "healthy", "unhealthy"]


def test_an_instance_flaps() -> None:
    with http([at("instance-flaps", instance="1", interval=30.0, flips=4)]) as asked:
        seen = []
        for _ in range(8):
            asked.wait(30)
            seen.append(healths(asked)["1"])
        assert seen == ["healthy", "unhealthy", "healthy", "unhealthy", "healthy", "healthy", "healthy", "healthy"]


def test_a_spot_instance_is_evicted_by_its_policy() -> None:
    with http([at("instance-evicted", instance="1")]) as asked:
        asked.wait(60)
        assert power(asked.listed()["1"]) == ["deallocated"]
        assert not asked.simulation.scale_sets.find(*where(asked)).instances["1"].is_available
    with http([at("instance-evicted", instance="1", policy="Delete")]) as asked:
        asked.wait(60)
        assert "1" not in asked.listed()
        assert asked.model()["sku"]["capacity"] == 6


def where(asked: Http) -> tuple[str, str, str]:
    return asked.emulator.subscription_id, asked.emulator.resource_group, asked.emulator.vmss_name


def test_an_instance_is_stuck_in_updating_with_its_operation_and_goes_on() -> None:
    with http([{"habit": "instance-stuck", "instance": "0", "seconds": 3600.0}]) as asked:
        asked.change_image()
        answer = asked.upgrade("0", "1")
        assert asked.end(answer)["status"] == "InProgress"
        states = {one: properties["provisioningState"] for one, properties in asked.listed().items()}
        assert (states["0"], states["1"]) == ("Updating", "Succeeded")
        assert asked.upgrade("2").status_code == 409
        assert asked.end(answer, 3600)["status"] == "Succeeded"
        assert asked.listed()["0"]["latestModelApplied"] is True


def test_an_operation_may_end_without_the_instance_that_is_stuck() -> None:
    with http([{"habit": "instance-stuck", "instance": "0", "operation_ends": True}]) as asked:
        asked.change_image()
        assert asked.upgraded("0", "1")["status"] == "Succeeded"
        assert asked.listed()["0"]["provisioningState"] == "Updating"
        assert asked.listed()["0"]["latestModelApplied"] is False


def test_an_instance_that_nobody_touches_is_stuck() -> None:
    with http([at("instance-stuck", among="others", instance="3", seconds=60.0)]) as asked:
        asked.wait(60)
        assert asked.listed()["3"]["provisioningState"] == "Updating"
        asked.wait(60)
        assert asked.listed()["3"]["provisioningState"] == "Succeeded"


def test_an_instance_vanishes_and_one_is_not_listed_for_a_while() -> None:
    with http([at("instance-vanishes", instance="1"), at("instance-unlisted", instance="2")]) as asked:
        asked.wait(60)
        assert set(asked.listed()) == {"0", "3", "4", "5"}
        assert asked.ask("GET", f"{asked.set}/virtualMachines/2").status_code == 404
        assert asked.model()["sku"]["capacity"] == 5
        asked.wait(120)
        assert set(asked.listed()) == {"0", "2", "3", "4", "5"}
        assert asked.ask("GET", f"{asked.set}/virtualMachines/2").status_code == 200


def test_an_instance_is_listed_though_gone() -> None:
    with http([at("instance-listed-though-gone", instance="1", seconds=600.0)]) as asked:
        asked.change_image()
        asked.wait(60)
        assert asked.listed()["1"]["provisioningState"] == "Succeeded"
        answer = asked.upgrade("0", "1")
        assert answer.status_code == 400
        assert "is not an active Virtual Machine Scale Set VM instanceId" in answer.json()["error"]["message"]
        assert asked.upgrade("0").status_code == 202
        asked.wait(600)
        assert "1" not in asked.listed()


def test_an_instance_is_replaced_by_repairs() -> None:
    with http([at("instance-replaced", instance="1")]) as asked:
        before = {properties["vmId"] for properties in asked.listed().values()}
        asked.wait(400)
        now = asked.listed()
        assert "1" not in now
        assert len(now) == 6
        assert len({properties["vmId"] for properties in now.values()} - before) == 1


def test_somebody_protects_an_instance() -> None:
    with http([at("instance-protected", instance="1", among="any")]) as asked:
        asked.wait(60)
        assert asked.listed()["1"]["protectionPolicy"] == {"protectFromScaleSetActions": True}


def test_a_zone_goes_down_and_comes_back() -> None:
    with http([at("zone-down", zone="2", seconds=600.0)], zones=["1", "2", "3"]) as asked:
        asked.wait(60)
        down = {one for one, properties in asked.listed().items() if power(properties) != ["running"]}
        assert down == {item["instanceId"] for item in asked.items() if item["zones"] == ["2"]}
        assert len(down) == 2
        asked.wait(700)
        assert all(power(properties) == ["running"] for properties in asked.listed().values())


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_power_states_are_missing() -> None:
    with http([at("power-state-missing", count=4, seconds=60.0)]) as asked:
        asked.wait(60)
        without = [one for one, properties in asked.listed().items() if not power(properties)]
        assert len(without) == 4
        view = asked.ask("GET", f"{asked.set}/virtualMachines/{without[0]}/instanceView").json()
        assert [status["code"] for status in view["statuses"]] == ["ProvisioningState/succeeded"]
        asked.wait(60)
        assert all(map(power, asked.listed().values()))


@pytest.mark.parametrize(("form", "shown"), [("null", None), ("absent", "absent"), ("empty", {})])
def test_instance_views_are_missing(form: str, shown: Any) -> None:
    with http([at("instance-view-missing", instance="1", form=form)]) as asked:
        asked.wait(60)
        assert asked.listed()["1"].get("instanceView", "absent") == shown
        assert asked.listed()["2"]["instanceView"]["statuses"]


def test_an_instance_view_may_lack_its_statuses() -> None:
    with http([at("instance-view-missing", instance="1", form="no-statuses")]) as asked:
        asked.wait(60)
        assert asked.listed()["1"]["instanceView"]["statuses"] is None
        assert health(asked.listed()["1"]) == "healthy"
        view = asked.ask("GET", f"{asked.set}/virtualMachines/1/instanceView").json()
        assert view["statuses"] is None


def test_a_second_write_may_preempt_an_upgrade() -> None:
    with http(["write-preempts"]) as asked:
        asked.change_image()
        first = asked.upgrade("0")
        assert asked.upgrade("1").status_code == 202
        assert asked.end(first)["error"]["code"] == "OperationPreempted"


def test_the_view_of_a_flexible_vm_is_not_found() -> None:
    with http([at("instance-view-missing", count=0)], orchestration="Flexible") as asked:
        name = next(iter(asked.listed()))
        path = f"{asked.group}/virtualMachines/{name}"
        assert asked.ask("GET", f"{path}/instanceView").json()["statuses"]
        asked.wait(60)
        assert asked.ask("GET", f"{path}/instanceView").status_code == 404
        assert asked.ask("GET", path).status_code == 200


def test_all_health_reports_cease_also_those_of_fresh_applications_and_come_back() -> None:
    with http([at("health-silent", seconds=3600.0)]) as asked:
        asked.change_image()
        asked.wait(60)
        assert set(healths(asked).values()) == {""}
        asked.upgraded("0", "1")
        assert set(healths(asked).values()) == {""}
        asked.wait(3600)
        assert set(healths(asked).values()) == {"healthy"}


def test_all_health_is_unknown_and_known_again() -> None:
    with http([at("health-unknown", seconds=600.0)]) as asked:
        asked.wait(60)
        assert set(healths(asked).values()) == {"unknown"}
        asked.wait(600)
        assert set(healths(asked).values()) == {"healthy"}


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_is_empty_once_whatever_its_pages() -> None:
    with http([{"habit": "list-empty", "nth": 2}]) as asked:
        asked.simulation.settings.page_size = 4
        shown = [len(asked.items()) for _ in range(3)]
        assert shown == [4, 0, 4]
        assert len(asked.record("list-empty")) == 1


def test_a_list_is_short_once() -> None:
    with http([{"habit": "list-short", "count": 2}, {"habit": "list-short", "nth": 2, "instance": "3"}]) as asked:
        first, second, third = set(asked.listed()), set(asked.listed()), set(asked.listed())
        assert (len(first), second, len(third)) == (4, {"0", "1", "2", "4", "5"}, 6)


def test_a_list_is_old_once() -> None:
    with http([{"habit": "list-old", "nth": 3, "age": 399.0}]) as asked:
        asked.change_image()
        assert {properties["latestModelApplied"] for properties in asked.listed().values()} == {False}
        asked.upgraded("0", "1")
        assert [one for one, properties in asked.listed().items() if properties["latestModelApplied"]] == ["0", "1"]
        assert {properties["latestModelApplied"] for properties in asked.listed().values()} == {False}
        assert [one for one, properties in asked.listed().items() if properties["latestModelApplied"]] == ["0", "1"]


def test_a_list_has_garbage_once() -> None:
    with http([{"habit": "list-garbage"}]) as asked:
        assert asked.items() == [None, 1, {}]
        assert len(asked.listed()) == 6


# --- operations ------------------------------------------------------------------------------------------------------


def test_an_operation_fails_and_its_instances_are_well() -> None:
    with http([{"habit": "operation-failed-wrongly"}]) as asked:
        asked.change_image()
        status = asked.upgraded("0", "1")
        assert (status["status"], status["error"]["code"]) == ("Failed", "VMExtensionProvisioningError")
        assert {asked.listed()[one]["latestModelApplied"] for one in "01"} == {True}
        assert {asked.listed()[one]["provisioningState"] for one in "01"} == {"Succeeded"}
        assert asked.model()["properties"]["provisioningState"] == "Failed"
        assert asked.upgraded("2")["status"] == "Succeeded"


def test_an_operation_succeeds_and_has_left_an_instance_behind() -> None:
    with http([{"habit": "operation-succeeded-wrongly", "instance": "1"}]) as asked:
        asked.change_image()
        assert asked.upgraded("0", "1")["status"] == "Succeeded"
        assert [asked.listed()[one]["latestModelApplied"] for one in "01"] == [True, False]
        assert asked.record("operation-succeeded-wrongly")[0].instances == ("1",)


@pytest.mark.parametrize(
    ("habit", "status", "code"),
    [
        ("operation-canceled", "Canceled", "OperationCanceled"),
        ("operation-preempted", "Failed", "OperationPreempted"),
        ("operation-allocation-failed", "Failed", "AllocationFailed"),
    ],
)
def test_an_operation_ends_and_its_instances_are_as_they_were(habit: str, status: str, code: str) -> None:
    with http([habit]) as asked:
        asked.change_image()
        before = asked.listed()
        ended = asked.upgraded("0", "1")
        assert (ended["status"], ended["error"]["code"]) == (status, code)
        for one in "01":
            now = asked.listed()[one]
            assert (now["latestModelApplied"], now["provisioningState"]) == (False, "Succeeded")
            assert now["storageProfile"] == before[one]["storageProfile"]
            assert not asked.simulation.scale_sets.find(*where(asked)).instances[one].upgrades, "no effective upgrade"
        assert asked.upgraded("0", "1")["status"] == "Succeeded"


def test_a_start_may_find_no_room() -> None:
    with http([{"habit": "operation-allocation-failed", "operation": "start"}]) as asked:
        asked.end(asked.ask("POST", f"{asked.set}/deallocate", {"instanceIds": ["0"]}))
        status = asked.end(asked.ask("POST", f"{asked.set}/start", {"instanceIds": ["0"]}))
        assert status["error"]["code"] == "AllocationFailed"
        assert power(asked.listed()["0"]) == ["deallocated"]


def test_a_write_may_be_called_failed() -> None:
    with http([{"habit": "operation-failed-wrongly", "operation": "write"}]) as asked:
        answer = asked.ask("PATCH", asked.set, {"tags": {"service": "web", "owner": "me"}})
        assert asked.end(answer)["status"] == "Failed"
        assert asked.model()["tags"]["owner"] == "me"


def test_an_operation_never_ends_and_its_status_is_lost() -> None:
    with http(["operation-hangs", {"habit": "operation-status-lost", "times": 2}]) as asked:
        asked.change_image()
        answer = asked.upgrade("0")
        codes = [asked.ask("GET", answer.headers["Azure-AsyncOperation"]).status_code for _ in range(3)]
        assert codes == [404, 404, 200]
        assert asked.end(answer, 36_000)["status"] == "InProgress"
        assert asked.listed()["0"]["latestModelApplied"] is True


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("habit", "upgraded"), [("request-lost-before", False), ("request-lost-after", True)])
def test_a_request_is_lost(habit: str, upgraded: bool) -> None:
    with http([habit]) as asked:
        asked.change_image()
        with pytest.raises(requests.ConnectionError):
            asked.upgrade("0")
        asked.wait(400)
        assert asked.listed()["0"]["latestModelApplied"] is upgraded
        assert asked.record(habit)[0].details["method"] == "POST"


def test_a_gateway_gives_up_on_what_has_its_effect() -> None:
    with http(["gateway-timeout"]) as asked:
        asked.change_image()
        assert asked.upgrade("0").status_code == 504
        asked.wait(400)
        assert asked.listed()["0"]["latestModelApplied"] is True


def test_a_throttle_asks_for_twenty_minutes_and_counts_them_down() -> None:
    with http(["throttled"]) as asked:
        asked.change_image()
        first = asked.upgrade("0")
        assert (first.status_code, first.headers["Retry-After"]) == (429, "1200")
        assert first.json()["details"][0]["code"] == "TooManyRequests"
        asked.wait(1000)
        assert asked.upgrade("0").headers["Retry-After"] == "200"
        asked.wait(200)
        assert asked.upgrade("0").status_code == 202
        assert len(asked.record("throttled")) == 2


@pytest.mark.parametrize("answer", ["503", "reset"])
def test_an_outage_of_lists_lasts_minutes(answer: str) -> None:
    with http([at("outage", answer=answer)]) as asked:
        assert len(asked.listed()) == 6
        asked.wait(60)
        if answer == "503":
            assert asked.ask("GET", f"{asked.set}/virtualMachines").status_code == 503
        else:
            with pytest.raises(requests.ConnectionError):
                asked.items()
        assert asked.ask("GET", asked.set).status_code == 200, "only what was named"
        asked.wait(300)
        assert len(asked.listed()) == 6


def test_somebody_elses_operation_holds_the_set() -> None:
    with http([at("busy", code="AnotherOperationInProgress")]) as asked:
        asked.change_image()
        asked.wait(60)
        assert asked.model()["properties"]["provisioningState"] == "Updating"
        refused = asked.upgrade("0")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "AnotherOperationInProgress")
        asked.wait(300)
        assert asked.model()["properties"]["provisioningState"] == "Succeeded"
        assert asked.upgrade("0").status_code == 202


# --- other writers, tokens and rights --------------------------------------------------------------------------------


def test_others_scale_and_write_tags_and_the_model() -> None:
    writers = [at("scaled-out", 60.0, by=2), at("scaled-in", 600.0, by=3), at("tags-changed", 1200.0)]
    with http([*writers, at("model-changed", 1800.0)]) as asked:
        before, sizes = asked.model(), []
        for _ in range(3):
            asked.wait(500)
            sizes.append((asked.model()["sku"]["capacity"], len(asked.listed())))
        assert sizes == [(8, 8), (5, 5), (5, 5)]
        assert set(asked.model()["tags"]) == {*before["tags"], "changed-by"}
        assert {properties["latestModelApplied"] for properties in asked.listed().values()} == {True}
        asked.wait(500)
        assert {properties["latestModelApplied"] for properties in asked.listed().values()} == {False}
        assert asked.model()["etag"] != before["etag"]


def test_who_changes_the_model_while_an_upgrade_runs_tries_until_it_has_ended() -> None:
    with http(["model-changed"]) as asked:
        asked.change_image()
        asked.upgraded("0")
        assert asked.listed()["0"]["latestModelApplied"] is False
        assert len(asked.record("model-changed")) == 1


def test_tokens_are_over_and_the_login_service_is_away() -> None:
    with http([{"habit": "token-expires", "method": "GET", "path": "web"}, at("login-outage")]) as asked:
        assert asked.ask("GET", asked.set).status_code == 401
        asked.login()
        assert asked.ask("GET", asked.set).status_code == 200
        asked.wait(60)
        assert (asked.token().status_code, asked.token().json()["error_codes"]) == (503, [90033])
        asked.wait(300)
        assert asked.token().status_code == 200


def test_rights_are_taken_away_for_a_while() -> None:
    with http([at("rights-removed")]) as asked:
        asked.change_image()
        asked.wait(60)
        assert (asked.upgrade("0").status_code, len(asked.listed())) == (403, 6)
        asked.wait(300)
        assert asked.upgrade("0").status_code == 202


# --- how they are asked for ------------------------------------------------------------------------------------------


def test_every_event_has_a_test_here_and_an_effect() -> None:
    effects = Simulation(VirtualClock()).disturbances.effects
    of_lists_and_operations = {one for one in EVENTS if one.startswith(("list-", "operation-"))} - set(REQUESTS)
    assert set(effects) | set(REQUESTS) | of_lists_and_operations == set(EVENTS)
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', Path(__file__).read_text()))
    assert set(EVENTS) - named == set()


def shown(name: str) -> str:
    """The row of a habit on the page: a parameter by itself is the text \"\", 0 or no by default."""
    habit = HABITS[name]
    parameters = [f"`{key}` {written(value)}".strip() for key, value in (habit.parameters or {}).items()]
    when = ", ".join(parameters) or ("rule, on by default" if habit.usual else "rule")
    return f"| `{name}` | {habit.effect} | {when} | {', '.join(habit.sources)} |"


def written(default: Any) -> str:
    if isinstance(default, float):
        default = int(default)
    return str(default) if default else ""


def test_the_page_of_habits_is_the_table_in_the_code() -> None:
    """What is missing there, or not true any more, stands in the failure, to be copied."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "habits.md").read_text()
    rows = [line for line in page.partition("## All of them")[2].splitlines() if line.startswith("| `")]
    wanted = [shown(name) for name in HABITS]
    assert rows == wanted, "\n".join(wanted)


def test_every_habit_has_a_source() -> None:
    for name, habit in HABITS.items():
        assert habit.effect
        assert habit.sources, name
        for source in habit.sources:
            assert re.search(r"[\w.-]+#\d+|fault matrix \d+|/", source), source


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("instance-evict", "no habit is named 'instance-evict'; there are patch-drops-disks"),
        ({"habit": 7}, "no habit is named 7"),
        ({"at": 3}, "no habit is named None"),
        ({"habit": "instance-evicted", "who": "3"}, "instance-evicted has no who; it has when, at"),
        ({"habit": "patch-drops-disks", "at": 3}, "patch-drops-disks has no at; it has no parameters"),
        ({"habit": "instance-evicted", "at": "3"}, "at is a number of seconds, not '3'"),
        ({"habit": "instance-evicted", "at": -1}, "at is at least 0, not -1"),
        ({"habit": "instance-evicted", "at": float("nan")}, "at is a number of seconds, not nan"),
        ({"habit": "instance-evicted", "nth": 0}, "nth is at least 1, not 0"),
        ({"habit": "instance-evicted", "nth": 1.5}, "nth is a whole number, not 1.5"),
        ({"habit": "instance-evicted", "count": True}, "count is a whole number, not True"),
        ({"habit": "instance-evicted", "instance": 3}, "instance is a text, not 3"),
        ({"habit": "instance-evicted", "when": "now"}, "when is one of 'at', 'during', 'after', 'read', not 'now'"),
        ({"habit": "instance-stuck", "operation_ends": 1}, "operation_ends is true or false, not 1"),
        ({"habit": "operation-canceled", "operation": "dance"}, "operation is one of 'upgrade', 'write'"),
    ],
)
def test_what_is_no_habit_or_no_parameter_is_refused_with_the_reason(wrong: Any, reason: str) -> None:
    with pytest.raises(FaultError, match=re.escape(reason)):
        serve(Seed.build(capacity=1), habits=[wrong])
    if isinstance(wrong, dict) and "habit" in wrong:
        with serve(Seed.build(capacity=1)) as emulator, pytest.raises(FaultError, match=re.escape(reason)):
            emulator.faults.add(**wrong)


def test_a_rule_cannot_be_switched_on_by_a_fault() -> None:
    with serve(Seed.build(capacity=1)) as emulator, pytest.raises(FaultError, match="patch-drops-disks is no event"):
        emulator.faults.add(habit="patch-drops-disks")


def test_habits_stand_in_a_file_of_faults_beside_faults(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    window = {"method": "GET", "path": "/web", "status": 500, "at": 100, "seconds": 50}
    file.write_text(json.dumps([at("instance-evicted", instance="1"), window]))
    with serve(Seed.build(capacity=3), clock=VirtualClock(), faults=str(file)) as emulator:
        asked = Http(emulator)
        codes = []
        for _ in range(4):
            codes.append(asked.ask("GET", asked.set).status_code)
            asked.wait(50)
        assert codes == [200, 200, 500, 200]
        assert power(asked.listed()["1"]) == ["deallocated"]
        assert [happening.habit for happening in emulator.happenings] == ["instance-evicted", "fault"]
    with serve(Seed.build(capacity=3), faults=[window], clock=VirtualClock()) as emulator:
        assert emulator.faults.rules[0].at == 100


def test_the_command_takes_habits_and_refuses_what_is_none(capsys: Any, tmp_path: Path) -> None:
    assert main(["--habit", "instance-evict"]) == 2
    assert "no habit is named 'instance-evict'" in capsys.readouterr().err
    file = tmp_path / "faults.json"
    file.write_text('[{"habit": "busy", "seconds": "long"}]')
    assert main(["--faults", str(file)]) == 2
    assert "the habit busy: seconds is a number of seconds, not 'long'" in capsys.readouterr().err


def test_the_same_seed_draws_the_same_instances_and_another_draws_others() -> None:
    def drawn(seed: int) -> tuple[str, ...]:
        with http([at("instance-evicted", count=3, seed=seed)], capacity=20) as asked:
            asked.wait(60)
            instances: tuple[str, ...] = asked.record("instance-evicted")[0].instances
            return instances

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_a_habit_that_never_applied_can_be_asked_for() -> None:
    with http(["instance-unhealthy", "busy"], health_source="") as asked:
        assert asked.emulator.unused_habits() == ["instance-unhealthy", "busy"]
        asked.change_image()
        asked.upgrade("0")
        assert asked.emulator.unused_habits() == ["instance-unhealthy"], "nothing reports health here"


def test_a_habit_may_be_about_one_of_several_sets() -> None:
    with http([at("instance-evicted", count=0, vmss_name="DB")]) as asked:
        asked.emulator.add(Seed.build("db", capacity=2))
        asked.wait(60)
        assert asked.record("instance-evicted")[0].vmss_name == "db"
        assert all(power(properties) == ["running"] for properties in asked.listed().values())


def test_a_reset_begins_the_habits_anew_and_forgets_those_that_were_added() -> None:
    with http([at("instance-evicted", instance="1")]) as asked:
        asked.emulator.faults.add(**at("instance-evicted", instance="2"))
        for _ in range(2):
            asked.wait(60)
            assert power(asked.listed()["1"]) == ["deallocated"]
            asked.emulator.reset()
            assert power(asked.listed()["1"]) == ["running"]
            assert asked.emulator.happenings == []
        asked.wait(60)
        assert power(asked.listed()["2"]) == ["running"]


def test_nothing_more_happens_when_the_faults_are_cleared() -> None:
    with http([at("instance-evicted", instance="1"), "request-lost-before"]) as asked:
        asked.emulator.faults.clear()
        asked.wait(60)
        assert power(asked.listed()["1"]) == ["running"]
        asked.change_image()
        assert asked.upgrade("0").status_code == 202


def test_azures_own_roll_meets_them_too() -> None:
    with http([{"habit": "instance-evicted", "among": "others", "instance": "5"}], mode="Rolling") as asked:
        asked.change_image()
        assert power(asked.listed()["5"]) == ["deallocated"]


def test_the_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azurerm_lite.emulator.simulation.disturbances.MOST_HAPPENINGS", 20)
    with http() as asked:
        record: Disturbances = asked.simulation.disturbances
        for _ in range(50):
            record.note(None, None, ())
        assert len(record.record) <= 20


def test_a_use_has_every_parameter() -> None:
    assert use({"habit": "busy", "seconds": 5}).parameters["seconds"] == 5
    assert use({"habit": "busy"}).parameters.keys() == (HABITS["busy"].parameters or {}).keys()
