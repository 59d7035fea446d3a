"""What a change needs besides the upgrade itself: reimage, deallocate and start; the ceiling on that; and secrets."""

import json
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import PlanRefused, Policy, plan, plan_rollback, resume, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.preflight import stages
from azurerm_lite.upgrade.run import journal as journals

from .lab import Lab, at

NEW, OLD = "22.04.202611120", "22.04.202608150"
ELSEWHERE = "Standard_E8s_v5"  # a size that the set's hardware does not offer
DEEP = Policy(max_disruption="deallocate")


def _system(key: str) -> Any:
    return {"properties": {"virtualMachineProfile": {"osProfile": {key: "x"}}}}


class Killed(BaseException):
    """What no step can catch: a process that is gone."""


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def bigger(size: str) -> Any:
    return lambda found: az.set_vm_size(found, size)


def secret(**values: str) -> Any:
    def change(found: dict[str, Any]) -> None:
        found["properties"]["virtualMachineProfile"]["osProfile"].update(values)

    return change


def done(made: Stage) -> list[tuple[str, tuple[str, ...]]]:
    """What was done to instances, in order."""
    writes = [one for one in made.app.recorder.writes() if one.method == "POST" and one.status < 400]
    return [(one.path.rpartition("/")[2].lower(), tuple(one.body["instanceIds"])) for one in writes]


@pytest.mark.parametrize(
    ("disk", "patch", "hosted", "needed"),
    [
        ({}, {"sku": {}}, True, ("upgrade",)),
        ({}, _system("customData"), True, ("upgrade", "reimage")),
        ({}, _system("adminPassword"), True, ("upgrade", "reimage")),
        ({}, _system("adminUsername"), True, ("upgrade",)),
        ({"diffDiskSettings": {"option": "Local"}}, {"sku": {}}, True, ("upgrade", "reimage")),
        ({"diffDiskSettings": {"option": "Local"}}, {}, True, ("upgrade",)),
        ({}, {"sku": {}}, False, ("deallocate", "upgrade", "start")),
        ({"diffDiskSettings": {"option": "Local"}}, {"sku": {}}, False, ("deallocate", "upgrade", "start", "reimage")),
    ],
)  # fmt: skip
def test_a_change_needs_what_it_needs(disk: Any, patch: Any, hosted: bool, needed: tuple[str, ...]) -> None:
    after = {"properties": {"virtualMachineProfile": {"storageProfile": {"osDisk": disk}}}}
    assert stages(after, patch, hosted=hosted) == needed


@pytest.mark.parametrize(
    ("options", "change", "ceiling", "reason"),
    [
        ({}, bigger(ELSEWHERE), "reimage", "must be deallocated first.*max_disruption='deallocate' allows it"),
        ({}, bigger(ELSEWHERE), "upgrade", "must be deallocated first"),
        ({}, bigger(ELSEWHERE), "deallocate", ""),
        ({}, bigger("standard_d4s_v3"), "upgrade", ""),
        ({}, secret(customData="eA=="), "upgrade", "disk recreated.*max_disruption='reimage' allows it"),
        ({}, secret(customData="eA=="), "reimage", ""),
        ({"ephemeral": True}, NEW, "upgrade", "disk recreated"),
        ({"ephemeral": True}, NEW, "reimage", ""),
        ({}, NEW, "upgrade", ""),
    ],
)
def test_more_disruption_than_was_allowed_is_refused(
    options: dict[str, Any], change: Any, ceiling: str, reason: str
) -> None:
    made = stage(**options)
    if reason:
        with pytest.raises(PlanRefused, match=reason):
            plan(made.arm, *made.address, change, policy=Policy(max_disruption=ceiling))
    else:
        assert plan(made.arm, *made.address, change, policy=Policy(max_disruption=ceiling)).batches
    assert made.app.recorder.writes() == []


def test_a_size_that_the_hardware_has_is_an_upgrade_only() -> None:
    made = stage()
    assert upgrade(made.arm, plan(made.arm, *made.address, bigger("Standard_D4s_v3"))).ok
    assert {kind for kind, _ in done(made)} == {"manualupgrade"}
    assert {vm.document["sku"]["name"] for vm in made.scale_set.instances.values()} == {"Standard_D4s_v3"}


def test_a_size_that_it_has_not_is_reached_by_way_of_deallocation_batch_by_batch() -> None:
    made = stage(health_source="extension")
    wanted = plan(made.arm, *made.address, bigger(ELSEWHERE), policy=DEEP)
    assert wanted.stages == ("deallocate", "upgrade", "start")
    assert upgrade(made.arm, wanted).counts == {"updated": 10}
    kinds = [kind for kind, _ in done(made)]
    assert kinds == ["deallocate", "manualupgrade", "start"] * len(wanted.batches)
    assert [ids for _, ids in done(made)][::3] == list(wanted.batches)
    assert {vm.document["sku"]["name"] for vm in made.scale_set.instances.values()} == {ELSEWHERE}
    assert {vm.power for vm in made.scale_set.instances.values()} == {"running"}
    assert made.lowest() >= 8


def test_nobody_is_left_deallocated_by_an_upgrade_that_fails() -> None:
    made = stage()
    made.simulation.faults.add(on="upgrade", instance="0", effect="fail")
    verdict = upgrade(made.arm, plan(made.arm, *made.address, bigger(ELSEWHERE), policy=DEEP))
    assert verdict.outcome == "stopped"
    assert [kind for kind, _ in done(made)] == ["deallocate", "manualupgrade", "start"]
    assert {vm.power for vm in made.scale_set.instances.values()} == {"running"}


def test_a_later_stage_goes_in_parts_where_others_turned_unhealthy() -> None:
    """Six of ten must stay: four are upgraded together, then two others become unhealthy for good."""
    lab = Lab(capacity=10, health_source="extension", ephemeral=True)
    policy = Policy(batch_by="batch", batch_size=4, min_healthy_instance_percent=60, max_unhealthy_instance_percent=30)

    def two_turn_unhealthy() -> None:
        for name in "89":
            lab.health(name, "unhealthy")

    verdict = lab.run(NEW, policy, on_event=at("ended", 1, two_turn_unhealthy))
    assert (verdict.outcome, lab.breaches) == ("succeeded", [])
    assert verdict.counts == {"updated": 10}
    reimaged = [name for request in lab.requests("reimage") for name in request.body["instanceIds"]]
    assert sorted(reimaged) == sorted(lab.instances)


def test_what_is_deallocated_is_started_beside_an_upgrade_of_ours_only_after_that_hung_for_too_long(
    tmp_path: Path,
) -> None:
    """The upgrade of instance 0 hangs: 1, of the same batch, waits for it, and is not left deallocated."""
    lab = Lab(capacity=10)
    lab.simulation.settings.concurrency = "preempt"
    lab.faults(on="upgrade", instance="0", effect="hang")
    policy = Policy(
        batch_by="batch", batch_size=2, max_disruption="deallocate", operation_timeout_seconds=600, failure_budget=5
    )
    verdict = lab.run(bigger(ELSEWHERE), policy, journal=str(tmp_path / "web.jsonl"))
    assert verdict.outcome == "paused"
    assert lab.instances["1"].power == "running"
    (upgraded,), (started,) = lab.requests(), lab.requests("start")
    assert started.body["instanceIds"] == ["1"]
    assert started.time - upgraded.time >= policy.operation_timeout_seconds + policy.busy_timeout_seconds


def test_nobody_is_left_deallocated_when_somebody_edits_the_model_meanwhile(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")

    def edit(event: dict[str, Any]) -> None:
        if event["kind"] == "stage":
            change = {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}
            made.simulation.scale_sets.write(made.scale_set, change, null_deletes=True)
            raise Killed

    with pytest.raises(Killed):
        upgrade(made.arm, plan(made.arm, *made.address, bigger(ELSEWHERE), policy=DEEP), journal=where, on_event=edit)
    verdict = resume(made.arm, where)
    assert verdict.outcome == "stopped"
    assert [kind for kind, _ in done(made)] == ["deallocate", "start"]
    assert {vm.power for vm in made.scale_set.instances.values()} == {"running"}


@pytest.mark.parametrize("point", range(1, 15))
def test_killed_between_any_two_entries_it_is_gone_on_with(point: int, tmp_path: Path) -> None:
    """Row 117 for stages: no upgrade is sent twice, and nobody stays down."""
    made, where, count = stage(), str(tmp_path / "web.jsonl"), [0]

    def die(event: dict[str, Any]) -> None:
        count[0] += event["kind"] not in ("begin", "seen", "polled", "waiting", "resumed")
        if count[0] == point:
            count[0] += 1
            raise Killed

    with pytest.raises(Killed):
        upgrade(made.arm, plan(made.arm, *made.address, bigger(ELSEWHERE), policy=DEEP), journal=where, on_event=die)
    assert resume(made.arm, where).counts == {"updated": 10}
    assert all(len(vm.upgrades) == 1 for vm in made.scale_set.instances.values())
    assert {vm.power for vm in made.scale_set.instances.values()} == {"running"}


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_custom_data_is_written_and_its_instances_are_reimaged_and_no_file_or_text_has_it(tmp_path: Path) -> None:
    """I16: what GET never shows is neither in the plan's text nor in the journal."""
    made, path = stage(), tmp_path / "web.jsonl"
    wanted = plan(made.arm, *made.address, secret(customData="aHVudGVyMg==", adminPassword="hunter2!Marker"))
    told: list[Any] = []
    assert upgrade(made.arm, wanted, journal=str(path), on_event=lambda event: told.append(repr(event))).ok
    assert [kind for kind, _ in done(made)] == ["manualupgrade", "reimage"] * len(wanted.batches)
    assert all(vm.disk_version == made.scale_set.model_version == 1 for vm in made.scale_set.instances.values())
    texts = [path.read_text(), str(wanted), repr(wanted), json.dumps(wanted.to_dict()), wanted._repr_html_(), *told]
    assert not [text for text in texts if "aHVudGVyMg==" in text or "Marker" in text]
    assert any("a rollback cannot restore them" in one for one in wanted.warnings)


def test_a_secret_that_no_journal_keeps_cannot_be_written_by_another_process(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    wanted = plan(made.arm, *made.address, secret(customData="eA=="))
    assert upgrade(made.arm, wanted, journal=where, should_stop=lambda: True).outcome == "cancelled"
    entries = [one["kind"] for one in journals.read(where)]
    assert "model-written" not in entries
    verdict = resume(made.arm, where)
    assert verdict.outcome == "stopped"
    assert "which are not in the journal: plan again" in verdict.reason
    assert done(made) == []


def test_taking_back_a_secret_sends_none() -> None:
    """The instances that were upgraded keep it, so nothing is called rolled back."""
    made = stage()
    wanted = plan(made.arm, *made.address, secret(customData="eA=="), policy=Policy(rollback_on_failure=True))
    made.simulation.faults.add(on="upgrade", instance="5", effect="fail")
    verdict = upgrade(made.arm, wanted)
    assert verdict.outcome == "rollback-failed"
    assert "GET does not show the passwords, customData" in verdict.reason
    bodies = [json.dumps(one.body) for one in made.app.recorder.writes() if one.method == "PATCH"]
    assert len([one for one in bodies if "customData" in one]) == 1


def test_what_no_get_shows_cannot_be_brought_back_and_the_plan_says_so(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    assert upgrade(made.arm, plan(made.arm, *made.address, secret(customData="eA==")), journal=where).ok
    written = len(made.app.recorder.writes())
    with pytest.raises(PlanRefused, match=r"nothing can be rolled back: 0, 1, .*GET does not show"):
        rollback(made.arm, where)
    assert len(made.app.recorder.writes()) == written


@pytest.mark.parametrize(
    ("together", "outcome", "text"),
    [
        (lambda found: az.set_image_version(found, NEW), "succeeded", "customData or protected settings of"),
        (lambda found: found.update(tags={"by": "us"}), "stopped", "cannot be rolled back: 0, 1,"),
    ],
    ids=["an image", "tags"],
)
def test_what_was_changed_together_with_a_secret_is_brought_back(
    together: Any, outcome: str, text: str, tmp_path: Path
) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")

    def change(found: dict[str, Any]) -> Any:
        secret(customData="eA==")(found)
        return together(found)

    assert upgrade(made.arm, plan(made.arm, *made.address, change), journal=where).ok
    wanted = plan_rollback(made.arm, where)
    assert [warning for warning in wanted.warnings if text in warning]
    assert upgrade(made.arm, wanted).outcome == outcome
    assert made.scale_set.model["tags"] == {"service": "web"}
    assert made.scale_set.image["version"] == OLD


def test_the_older_model_of_instances_that_a_plan_without_a_change_moved_is_not_known(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    made.simulation.scale_sets.write(
        made.scale_set, {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}, null_deletes=True
    )
    made.clock.advance(60)
    made.simulation.events.run_due_events()
    assert upgrade(made.arm, plan(made.arm, *made.address), journal=where).counts == {"updated": 10}
    with pytest.raises(PlanRefused, match="the model that they were created from is not known"):
        rollback(made.arm, where)


def test_a_change_without_a_version_is_rolled_back_by_its_model(tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    assert upgrade(made.arm, plan(made.arm, *made.address, bigger("Standard_D4s_v3")), journal=where).ok
    assert rollback(made.arm, where).counts == {"updated": 10}
    assert {vm.document["sku"]["name"] for vm in made.scale_set.instances.values()} == {"Standard_D2s_v3"}


def test_a_plan_that_edits_an_extension_warns_of_what_no_get_shows() -> None:
    """Row 85."""
    made = stage(health_source="extension")

    def change(found: dict[str, Any]) -> None:
        extensions = found["properties"]["virtualMachineProfile"]["extensionProfile"]["extensions"]
        extensions[0]["properties"]["settings"] = {"port": 81, "protocol": "tcp"}

    told = [one for one in plan(made.arm, *made.address, change).warnings if "protected settings" in one]
    assert len(told) == 1
    assert told[0].endswith(
        "keeps any protected settings that it has, which Azure does not show: pass new ones to change them"
    )
    assert not [one for one in plan(made.arm, *made.address, NEW).warnings if "protected settings" in one]


# --- changes that no instance notices --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [lambda found: az.set_capacity(found, 12), lambda found: found.update(tags={"by": "us"})]
)
def test_a_change_of_capacity_or_tags_is_written_and_moves_nobody(change: Any, tmp_path: Path) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    wanted = plan(made.arm, *made.address, change)
    assert wanted.batches == ()
    assert wanted.changes
    verdict = upgrade(made.arm, wanted, journal=where)
    assert verdict.ok
    assert [one.method for one in made.app.recorder.writes()] == ["PATCH"]
    assert plan(made.arm, *made.address, change).patch == {}
    assert rollback(made.arm, where).ok
    assert made.scale_set.model["tags"] == {"service": "web"}
    assert len(made.scale_set.instances) == 10
