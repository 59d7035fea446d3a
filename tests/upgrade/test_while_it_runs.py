"""What others do while an upgrade runs, and what is asked of it: rows of the fault matrix, read strictly."""

from collections import Counter
from pathlib import Path
from typing import Any

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy, Verdict, plan, rollback, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW, OLD = "22.04.202611120", "22.04.202608150"


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def posts(made: Stage) -> list[list[str]]:
    return [
        entry.body["instanceIds"] for entry in made.app.recorder.find("POST", "manualupgrade") if entry.status < 400
    ]


def run(made: Stage, policy: Policy | None = None, change: Any = NEW, **options: Any) -> Verdict:
    return upgrade(made.arm, plan(made.arm, *made.address, change, policy=policy), **options)


def test_new_instances_on_the_old_model_are_upgraded_too() -> None:
    """Row 101, the other half."""
    made = stage()

    def grow(event: dict[str, Any]) -> None:
        if event["kind"] == "settled" and len(made.scale_set.instances) == 10:
            made.simulation.scale_sets.write(made.scale_set, {"sku": {"capacity": 12}}, null_deletes=True)
            for one in list(made.scale_set.instances.values())[10:]:
                one.model_version = -1

    verdict = run(made, on_event=grow)
    assert verdict.counts == {"updated": 12}
    assert Counter(one for ids in posts(made) for one in ids).most_common(1)[0][1] == 1


def test_an_instance_that_is_protected_meanwhile_is_left_alone() -> None:
    """Row 104: not only at the start."""
    made = stage()

    def protect(event: dict[str, Any]) -> None:
        if event["kind"] == "posted":
            own = made.scale_set.instances["8"].document["properties"]
            own["protectionPolicy"] = {"protectFromScaleSetActions": True}

    verdict = run(made, on_event=protect)
    assert verdict.classes["8"] == "skipped-protected"
    assert verdict.counts == {"updated": 9, "skipped-protected": 1}
    assert not any("8" in ids for ids in posts(made))


def test_a_request_to_stop_is_heard_right_before_the_batch_is_begun(tmp_path: Path) -> None:
    """Row 116: between the decision and the POST."""
    made, asked = stage(), list[bool]()

    def stop(event: dict[str, Any]) -> None:
        if event["kind"] == "intent":
            asked.append(True)

    verdict = run(made, journal=str(tmp_path / "web.jsonl"), on_event=stop, should_stop=lambda: bool(asked))
    assert (verdict.outcome, posts(made)) == ("cancelled", [])


def test_a_health_source_that_comes_with_the_change_does_not_make_the_others_sick() -> None:
    """Row 93: who is not upgraded yet cannot report; who is has to."""
    made = stage()
    extension = Seed.build(health_source="extension").model["properties"]["virtualMachineProfile"]["extensionProfile"]

    def bring(found: dict[str, Any]) -> None:
        found["properties"]["virtualMachineProfile"]["extensionProfile"] = extension

    wanted = plan(made.arm, *made.address, bring)
    assert any("the change brings a health source" in one for one in wanted.warnings)
    assert upgrade(made.arm, wanted).counts == {"updated": 10}
    assert {vm.health for vm in made.scale_set.instances.values()} == {"healthy"}
    made = stage()
    made.simulation.faults.add(on="upgrade", instance="5", effect="unhealthy")
    verdict = upgrade(made.arm, plan(made.arm, *made.address, bring, policy=Policy(health_timeout_seconds=60)))
    assert (verdict.outcome, verdict.classes["5"], len(posts(made))) == ("stopped", "failed", 1)


def test_a_rollback_to_an_image_that_is_gone_says_so() -> None:
    """Row 123: nothing is written for it, and the verdict has the reason."""
    made = stage()
    made.simulation.faults.add(on="upgrade", instance="5", effect="fail")
    image = ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2")
    wanted = plan(made.arm, *made.address, NEW, policy=Policy(rollback_on_failure=True))
    made.simulation.images.versions(*image).remove(OLD)
    verdict = upgrade(made.arm, wanted)
    assert verdict.outcome == "rollback-failed"
    assert f"{OLD} does not exist in westus2" in verdict.reason
    assert len(made.app.recorder.find("PATCH", "virtualMachineScaleSets")) == 1


def test_a_rollback_is_asked_of_the_gate_too(tmp_path: Path) -> None:
    """Row 121: the same gates."""
    made, where, asked = stage(), str(tmp_path / "web.jsonl"), list[list[str]]()
    assert run(made, journal=where).ok

    def gate(members: Any) -> bool:
        asked.append([one.instance_id for one in members])
        return True

    before = len(posts(made))
    assert rollback(made.arm, where, gate=gate).ok
    assert asked == posts(made)[before:]
    assert len(asked) == 5


def test_a_plan_is_a_value_that_says_everything_as_text_and_as_json() -> None:
    made = stage(zones=["1", "2"], health_source="probe")
    made.scale_set.instances["3"].model_version = -1
    found = plan(made.arm, *made.address, NEW, policy=Policy(batch_by="zone", canary_instances=1))
    told, text = found.to_dict(), str(found)
    assert [list(ids) for ids in found.batches] == told["batches"]
    assert told["lowest"][""] == 8
    assert {"zone 1", "zone 2"} <= set(told["lowest"])
    assert found.changes == tuple(told["changes"])
    assert 300 < told["seconds"] < 3000
    assert 20 < told["requests"] < 200
    assert told["warnings"]
    assert told["stages"] == ["upgrade"]
    for part in (
        f"{OLD} -> {NEW}",
        "batch  1  0",
        "at least 8 stay healthy (zone 1: 3, zone 2: 3)",
        "requests",
        "warning: 1 instances are behind",
    ):
        assert part in text
    domains = plan(stage().arm, *made.address, NEW).to_dict()["lowest"]
    assert [domains[f"update domain {number}"] for number in range(5)] == [0] * 5
    asked = len(made.app.recorder.entries)
    assert upgrade(made.arm, found).ok
    assert len(made.app.recorder.entries) - asked <= told["requests"]
    assert az.ScaleSet.parse(told["scale_set"]) == made.address
