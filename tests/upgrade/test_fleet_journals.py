"""A folder of journals: what the same call, another call and an interrupted one make of it."""

import os
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import FleetReport, Policy, Verdict, resume, upgrade_fleet
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.run import journal as journals
from azurerm_lite.upgrade.run import lock

OLD, MID, NEW = "22.04.202608150", "22.04.202610200", "22.04.202611120"
GUARDS: dict[str, Any] = {"suspend_repairs": True, "protect_from_scale_in": True}


def world(size: int = 2, **options: Any) -> tuple[Stage, list[az.ScaleSet]]:
    """So many scale sets in one world."""
    seeds = [Seed.build(f"web{n}", **{"capacity": 5, **options}) for n in range(size)]
    stage = Stage(seeds[0])
    for seed in seeds[1:]:
        seed.add_to(stage.simulation)
    return stage, [az.ScaleSet(one.subscription_id, one.resource_group, one.vmss_name) for one in seeds]


def run(stage: Stage, sets: list[az.ScaleSet], folder: Path, change: Any = NEW, **options: Any) -> FleetReport:
    return upgrade_fleet(stage.arm, sets, change, journals=str(folder), workers=1, **options)


def versions(stage: Stage, address: az.ScaleSet) -> Counter[str]:
    instances = stage.simulation.scale_sets.get(*address).instances.values()
    return Counter(vm.document["properties"]["storageProfile"]["imageReference"]["exactVersion"] for vm in instances)


def posts(stage: Stage) -> int:
    return len([entry for entry in stage.app.recorder.find("POST", "manualupgrade") if entry.status < 400])


def only(report: FleetReport) -> Verdict:
    (verdict,) = report.verdicts.values()
    return verdict


def paused(stage: Stage, sets: list[az.ScaleSet], folder: Path, change: Any = NEW, **options: Any) -> None:
    """Leave unfinished journals in the folder."""
    asked = iter(range(10**6))
    report = run(stage, sets, folder, change, should_stop=lambda: next(asked) > 8, **options)
    assert set(report.counts) == {"cancelled"}, str(report)


# --- the same call, and another one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second",
    [
        NEW,
        lambda model: az.set_image_version(model, NEW),
        lambda model: {**model, "tags": {"a": "b"}},
        lambda model: az.set_image_sku(model, "22_04-lts-gen2", version=NEW),
    ],
)
def test_a_journal_that_has_ended_is_no_answer_to_another_change(second: Any, tmp_path: Path) -> None:
    stage, sets = world(1)
    assert run(stage, sets, tmp_path, MID).ok
    report = run(stage, sets, tmp_path, second)
    assert report.ok, str(report)
    expected = MID if callable(second) and "tags" in second.__code__.co_consts else NEW
    assert versions(stage, sets[0]) == {expected: 5}
    assert len(list(tmp_path.iterdir())) == 2
    requests = len(stage.app.recorder.entries)
    assert run(stage, sets, tmp_path, second).ok
    assert len(stage.app.recorder.writes()) == len(
        [e for e in stage.app.recorder.entries[:requests] if e.method != "GET"]
    )


def test_back_to_the_first_version_and_forth_again_each_have_their_journal(tmp_path: Path) -> None:
    stage, sets = world(1)
    for change in (MID, NEW, MID, OLD):
        assert run(stage, sets, tmp_path, change).ok
        assert versions(stage, sets[0]) == {change: 5}
    assert len(list(tmp_path.iterdir())) == 4


def test_latest_is_what_is_newest_now(tmp_path: Path) -> None:
    """Last month's folder and the same words are another change."""
    stage, sets = world(1)
    assert run(stage, sets, tmp_path, "latest").ok
    stage.simulation.images.publish("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "22.04.202612010")
    assert run(stage, sets, tmp_path, "latest").ok
    assert versions(stage, sets[0]) == {"22.04.202612010": 5}


@pytest.mark.parametrize("change", [NEW, "latest", lambda model: az.set_image_version(model, NEW)])
def test_the_same_call_goes_on_with_what_was_interrupted(change: Any, tmp_path: Path) -> None:
    stage, sets = world(2)
    paused(stage, sets, tmp_path, change)
    assert run(stage, sets, tmp_path, change).ok
    assert len(list(tmp_path.iterdir())) == 2
    assert posts(stage) == 10
    before = posts(stage)
    assert run(stage, sets, tmp_path, change).ok
    assert posts(stage) == before


@pytest.mark.parametrize(
    "options",
    [{"change": MID}, {"change": None}, {"policy": Policy(bake_seconds=5)}],
    ids=["version", "none", "policy"],
)
def test_what_is_unfinished_is_not_resumed_for_another_change_or_policy(
    options: dict[str, Any], tmp_path: Path
) -> None:
    stage, sets = world(1)
    paused(stage, sets, tmp_path)
    model, before = str(stage.simulation.scale_sets.get(*sets[0]).model), len(stage.app.recorder.writes())
    if options.get("change", NEW) is None:
        stage.simulation.scale_sets.get(*sets[0]).model = Seed.build(
            "web0", capacity=5
        ).model  # as somebody brought it back
        model = str(stage.simulation.scale_sets.get(*sets[0]).model)
    report = run(stage, sets, tmp_path, **{"change": NEW, **options})
    assert "of another change or policy" in report.refused[sets[0].resource_id]
    assert str(stage.simulation.scale_sets.get(*sets[0]).model) == model
    assert len(stage.app.recorder.writes()) == before


@pytest.mark.parametrize("rollback", [False, True])
def test_a_set_that_a_rule_stopped_goes_on_once_it_is_repaired(rollback: bool, tmp_path: Path) -> None:
    stage, sets = world(1, capacity=10)
    stage.simulation.faults.add(on="upgrade", instance="3", effect="fail", times=1)
    policy = Policy(rollback_on_failure=rollback)
    first = run(stage, sets, tmp_path, policy=policy)
    assert only(first).outcome in ("stopped", "rolled-back", "rollback-failed")
    again = run(stage, sets, tmp_path, policy=policy)
    assert again.ok, str(again)
    assert versions(stage, sets[0]) == {NEW: 10}


def test_an_empty_journal_is_of_nothing_that_was_begun(tmp_path: Path) -> None:
    """A process died between the making of the file and its first line."""
    stage, sets = world(1)
    assert run(stage, sets, tmp_path).ok
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"")
    assert run(stage, sets, tmp_path, MID).ok
    assert versions(stage, sets[0]) == {MID: 5}


@pytest.mark.parametrize("kind", ["of another set", "others may write", "not JSON", "fifo", "folder", "link"])
def test_what_may_not_be_acted_on_refuses_its_set_and_no_other(kind: str, tmp_path: Path) -> None:
    stage, sets = world(2)
    paused(stage, sets, tmp_path)
    first, second = sorted(tmp_path.iterdir())
    if kind == "of another set":
        first.write_bytes(second.read_bytes())
    elif kind == "others may write":
        first.chmod(0o666)
    elif kind == "not JSON":
        first.write_text("no\n")
    else:
        text = first.read_bytes()
        first.unlink()
        if kind == "fifo":
            os.mkfifo(first)
        elif kind == "folder":
            first.mkdir()
        else:
            (tmp_path / "x").write_bytes(text)
            first.symlink_to(tmp_path / "x")
    report = run(stage, sets, tmp_path, failures_allowed=1)
    assert set(report.refused) == {sets[0].resource_id}
    assert report.verdicts[sets[1].resource_id].ok


def test_a_folder_of_another_emulator_is_refused(tmp_path: Path) -> None:
    stage, sets = world(1)
    paused(stage, sets, tmp_path)
    other, _ = world(1)
    report = run(other, sets, tmp_path)
    assert "emulator" in report.refused[sets[0].resource_id]
    assert other.app.recorder.writes() == []


# --- interrupted -----------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Ctrl-C, at a moment of a test's choice."""


def interrupting(at: int, error: BaseException) -> Callable[[], bool]:
    """A switch that raises when it is asked for the `at`th time."""
    asked = iter(range(10**9))

    def should_stop() -> bool:
        if next(asked) == at:
            raise error
        return False

    return should_stop


def is_free(stage: Stage, address: az.ScaleSet) -> bool:
    """Whether nobody holds the lock of a set."""
    lock.acquire(address.resource_id, stage.arm.lock_scope).release()
    return True


def guards_of(stage: Stage, address: az.ScaleSet) -> list[str]:
    """What is still guarded, by Azure's own word."""
    view: Any = az.get_vmss_instance_view(stage.arm, *address)
    states = [one["serviceState"] for one in view.get("orchestrationServices", [])]
    instances: Any = az.list_vmss_vms(stage.arm, *address)
    policies = {one["instanceId"]: one["properties"].get("protectionPolicy") or {} for one in instances}
    protected = [instance_id for instance_id, policy in policies.items() if policy.get("protectFromScaleIn")]
    return [state for state in states if state != "Running"] + protected


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), Interrupted(), ValueError("a bug")])
@pytest.mark.parametrize("at", [0, 3, 7, 15, 31])
def test_whatever_ends_a_fleet_no_lock_is_held_no_guard_stays_and_the_same_call_goes_on(
    at: int, error: BaseException, workers: int, tmp_path: Path
) -> None:
    repairs = {"automaticRepairsPolicy": {"enabled": True, "gracePeriod": "PT10M"}}
    stage, sets = world(2, health_source="extension", properties=repairs)
    policy = Policy(**GUARDS)
    options: dict[str, Any] = {"policy": policy, "journals": str(tmp_path), "workers": workers}
    with pytest.raises(type(error)):
        upgrade_fleet(stage.arm, sets, NEW, should_stop=interrupting(at, error), **options)
    in_flight = {entry.path.split("/")[8] for entry in stage.app.recorder.find("POST", "manualupgrade")}
    for address in sets:
        assert is_free(stage, address)
        if address.vmss_name not in in_flight:
            assert guards_of(stage, address) == []
    report = upgrade_fleet(stage.arm, sets, NEW, **options)
    assert report.ok, str(report)
    for address in sets:
        assert guards_of(stage, address) == []
        assert versions(stage, address) == {NEW: 5}
        assert {len(vm.upgrades) for vm in stage.simulation.scale_sets.get(*address).instances.values()} == {1}


def test_a_second_interruption_while_it_tidies_up_releases_every_lock_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azurerm_lite.upgrade.run.runner import Runner

    stage, sets = world(3)

    def interrupted(*_arguments: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(stage, sets, tmp_path, should_stop=interrupting(15, KeyboardInterrupt()))
    monkeypatch.undo()
    assert all(is_free(stage, address) for address in sets)
    assert run(stage, sets, tmp_path).ok


@pytest.mark.parametrize("error", [KeyError("tags"), ZeroDivisionError(), az.InvalidInput("not that one")])
def test_a_change_that_raises_for_one_set_refuses_that_one_by_name(error: Exception, tmp_path: Path) -> None:
    stage, sets = world(3)

    def change(model: Any) -> Any:
        if model["name"] == "web1":
            raise error
        return az.set_image_version(model, NEW)

    report = run(stage, sets, tmp_path, change, failures_allowed=1)
    assert report.counts == {"succeeded": 2, "refused": 1}
    assert (type(error).__name__ if not isinstance(error, az.InvalidInput) else "not that one") in str(report)
    assert all(is_free(stage, address) for address in sets)


def test_a_journal_of_a_fleet_is_one_that_resume_takes(tmp_path: Path) -> None:
    stage, sets = world(1)
    paused(stage, sets, tmp_path)
    (path,) = tmp_path.iterdir()
    assert journals.read(path)[-1]["kind"] == "end"
    assert resume(stage.arm, str(path)).ok


# --- automatic rollbacks ---------------------------------------------------------------------------------------------


def failing(stage: Stage, times: int = 1) -> Policy:
    """A policy that rolls back, in a world in which instance 7 of the first sets that reach it fails."""
    stage.simulation.faults.add(on="upgrade", instance="7", effect="fail", times=times)
    return Policy(rollback_on_failure=True, bake_seconds=300)


def rolling_back(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "rollback"]


def test_while_one_set_is_rolled_back_the_others_are_looked_at(tmp_path: Path) -> None:
    stage, sets = world(2, capacity=10)
    events: list[dict[str, Any]] = []
    report = run(stage, sets, tmp_path, policy=failing(stage), failures_allowed=1, on_event=events.append)
    assert report.counts == {"rolled-back": 1, "succeeded": 1}
    (began,) = rolling_back(events)
    ended = {event["scale_set"]: event["at"] for event in events if event["kind"] == "end"}
    (other,) = set(ended) - {began["scale_set"]}
    until = min(ended.values())
    asked = [entry.time for entry in stage.app.recorder.entries if entry.path.startswith(other)]
    times = [began["at"], *(at for at in asked if began["at"] < at < until), until]
    assert max(later - earlier for earlier, later in pairwise(times)) < 60
    assert versions(stage, az.ScaleSet.parse(began["scale_set"])) == {OLD: 10}
    assert versions(stage, az.ScaleSet.parse(other)) == {NEW: 10}


def test_the_switch_of_a_fleet_stops_a_rollback_and_the_same_call_goes_on_with_it(tmp_path: Path) -> None:
    stage, sets = world(2, capacity=10)
    events: list[dict[str, Any]] = []
    policy = failing(stage)
    options: dict[str, Any] = {"policy": policy, "failures_allowed": 1, "on_event": events.append}
    report = run(stage, sets, tmp_path, should_stop=lambda: bool(rolling_back(events)), **options)
    assert report.outcome == "cancelled"
    began = rolling_back(events)[0]
    assert stage.clock.time() - began["at"] < 60
    assert all(is_free(stage, address) for address in sets)
    again = run(stage, sets, tmp_path, **options)
    assert again.counts == {"rolled-back": 1, "succeeded": 1}, str(again)
    assert versions(stage, az.ScaleSet.parse(began["scale_set"])) == {OLD: 10}


@pytest.mark.parametrize("kind", ["intent", "posted", "ended", "stage"])
def test_the_switch_of_a_fleet_leaves_no_instance_deallocated(kind: str, tmp_path: Path) -> None:
    """It is thrown between the stages of a batch; what is deallocated is started before its set ends."""
    stage, sets = world(2, capacity=10)
    events: list[str] = []
    options: dict[str, Any] = {
        "change": lambda model: az.set_vm_size(model, "Standard_E8s_v5"),
        "policy": Policy(max_disruption="deallocate"),
    }
    report = run(
        stage,
        sets,
        tmp_path,
        should_stop=lambda: kind in events,
        on_event=lambda event: events.append(event["kind"]),
        **options,
    )
    assert report.outcome == "cancelled"
    assert {one.outcome for one in report.verdicts.values()} == {"cancelled"}
    stage.clock.advance(600)
    stage.simulation.events.run_due_events()
    instances = [vm for address in sets for vm in stage.simulation.scale_sets.get(*address).instances.values()]
    assert {vm.power for vm in instances} == {"running"}
    again = run(stage, sets, tmp_path, **options)
    assert again.counts == {"succeeded": 2}, str(again)


def test_rollbacks_of_many_sets_at_once_stay_within_what_compute_grants(tmp_path: Path) -> None:
    stage, sets = world(12, capacity=10)
    stage.app.throttle.is_enforced = True
    policy = failing(stage, times=12)
    report = run(stage, sets, tmp_path, policy=policy, failures_allowed=12)
    rolled = [one.outcome for one in report.verdicts.values() if one.outcome.startswith("roll")]
    assert len(rolled) >= 6, str(report)  # the others went on; some failed on their way back, too
    assert stage.app.throttle.refusals == 0


def test_a_rollback_that_was_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    stage, sets = world(1, capacity=10)
    policy = failing(stage)

    def interrupted(event: dict[str, Any]) -> None:
        if event["kind"] == "rollback":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stage, sets, tmp_path, policy=policy, on_event=interrupted)
    assert is_free(stage, sets[0])
    assert only(run(stage, sets, tmp_path, policy=policy)).outcome == "rolled-back"
    assert versions(stage, sets[0]) == {OLD: 10}
