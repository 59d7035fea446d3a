"""A machine that sleeps, and lists of instances that are older than the request for them: rows 120 and 127."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy, plan, resume, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.run import journal as journals

NEW = "22.04.202611120"
HOURS = 8 * 3600.0
CAREFUL = Policy(bake_seconds=30, pause_seconds=30)


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, "health_source": "extension", **options}))


def posts(made: Stage) -> list[Any]:
    return [entry for entry in made.app.recorder.find("POST", "manualupgrade") if entry.status < 400]


def sleeper(made: Stage) -> az.Arm:
    """An Arm whose monotonic clock stands still, as it does on machines that sleep."""
    now, wait = made.clock.time, made.clock.sleep
    adapter, credential = made.arm._adapter, made.arm.credential
    return az.Arm(credential, cloud=made.arm.cloud, adapter=adapter, sleep=wait, now=now, monotonic=lambda: 0.0)


@pytest.mark.parametrize("point", ["model-intent", "intent", "posted", "polled", "ended", "fit", "settled", "waiting"])
def test_after_eight_hours_of_sleep_it_looks_before_it_acts(point: str) -> None:
    """Row 120, wherever the lid is closed: time has passed, one of the clocks has not, and nothing is given up."""
    made, slept = stage(), list[int]()

    def sleep(event: dict[str, Any]) -> None:
        if event["kind"] == point and not slept:
            made.clock.advance(HOURS)
            made.simulation.events.run_due_events()
            slept.append(len(made.app.recorder.entries))

    arm = sleeper(made)
    verdict = upgrade(arm, plan(arm, *made.address, NEW, policy=CAREFUL), on_event=sleep)
    assert slept
    assert verdict.counts == {"updated": 10}
    assert all(len(vm.upgrades) == 1 for vm in made.scale_set.instances.values())
    after = made.app.recorder.entries[slept[0] :]
    acts = [entry.method == "POST" for entry in after]
    looks = [entry.method == "GET" and entry.path.endswith("/virtualMachines") for entry in after]
    assert True not in acts or True in looks[: acts.index(True)], [(one.method, one.path) for one in after[:6]]


def test_an_instance_that_turned_sick_while_it_slept_is_seen_before_the_next_batch() -> None:
    made, slept = stage(), list[str]()

    def sleep(event: dict[str, Any]) -> None:
        if event["kind"] == "intent" and event["ids"] == ["1", "6"] and not slept:
            slept.append("")
            made.clock.advance(HOURS)
            for one in ("2", "3", "4"):
                made.simulation.health.set_health(made.scale_set, made.scale_set.instances[one], "unhealthy")

    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW), on_event=sleep)
    assert verdict.outcome == "stopped"
    assert [one.body["instanceIds"] for one in posts(made)] == [["0", "5"]]


def old_list(made: Stage) -> dict[str, Any]:
    """The list of instances as it is now, to be served again later."""
    query = {"$expand": "instanceView"}
    path = f"{made.address.resource_id}/virtualMachines"
    return {"value": made.arm.get(path, **query)["value"]}  # type: ignore[dict-item, call-overload, index]


def test_a_list_from_before_the_batch_says_nothing_of_the_batch() -> None:
    """Row 127: neither "failed" nor "done" is read from it."""
    made = stage()
    before, served = old_list(made), list[str]()

    def stale(event: dict[str, Any]) -> None:
        if event["kind"] == "ended":
            served.append("")
            made.simulation.faults.add(method="GET", path="/web/virtualMachines", status=200, body=before, times=2)

    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW), on_event=stale)
    assert len(served) == 5
    assert verdict.counts == {"updated": 10}
    assert Counter(one for entry in posts(made) for one in entry.body["instanceIds"]).most_common(1)[0][1] == 1


def test_a_list_from_before_the_crash_does_not_lead_to_a_second_upgrade(tmp_path: Path) -> None:
    """Row 127 after row 117: the POST has had its effect, its entry is lost, and the first lists do not show it."""
    made, where = stage(), tmp_path / "web.jsonl"
    wanted, before = plan(made.arm, *made.address, NEW), dict[str, Any]()

    def remember(event: dict[str, Any]) -> None:
        if event["kind"] == "intent":
            before.update(old_list(made))

    upgrade(made.arm, wanted, journal=str(where), on_event=remember, should_stop=lambda: bool(posts(made)))
    lines = where.read_text().splitlines(keepends=True)
    kinds = [entry["kind"] for entry in journals.read(where)]
    where.write_text("".join(lines[: kinds.index("intent") + 1]))
    made.simulation.faults.add(method="GET", path="/web/virtualMachines", status=200, body=before, times=2)
    verdict = resume(made.arm, str(where))
    assert verdict.counts == {"updated": 10}, verdict
    sent = made.app.recorder.find("POST", "manualupgrade")  # those that Azure refused too
    assert Counter(one for entry in sent for one in entry.body["instanceIds"]).most_common(1)[0][1] == 1


def test_an_instance_that_stays_behind_though_azure_calls_it_done_has_failed() -> None:
    """Row 97: after as long as one waits for health, and not because one list said so."""
    made = stage()

    def undo(event: dict[str, Any]) -> None:
        if event["kind"] == "ended":
            made.scale_set.instances["5"].model_version = -1

    verdict = upgrade(made.arm, plan(made.arm, *made.address, NEW), on_event=undo)
    assert (verdict.outcome, verdict.classes["5"], verdict.classes["0"]) == ("stopped", "failed", "updated")
    assert len(posts(made)) == 1
