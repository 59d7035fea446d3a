"""Which instances, in which order, how many at once, and what stops it: one row for each word of a policy."""

import itertools
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Policy, Verdict, plan, resume, upgrade
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.selection import simulate
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Snapshot

NEW = "22.04.202611120"
EASY: dict[str, Any] = {"min_healthy_instance_percent": 0, "min_healthy_zone_percent": 0}
ZONED = {"zones": ["1", "2", "3"], "capacity": 9}


def stage(**options: Any) -> Stage:
    return Stage(Seed.build(**{"capacity": 10, **options}))


def posts(made: Stage) -> list[str]:
    found = made.app.recorder.find("POST", "manualupgrade")
    return [" ".join(entry.body["instanceIds"]) for entry in found if entry.status < 400]


def run(made: Stage, policy: Policy, change: Any = NEW, **options: Any) -> Verdict:
    return upgrade(made.arm, plan(made.arm, *made.address, change, policy=policy), **options)


# --- which, and in which order ---------------------------------------------------------------------------------------
# Of ten Uniform instances without zones, number n stands in update domain n % 5, and 0 and 9 in fault domain 0; of nine
# in three zones, number n stands in zone n % 3 + 1.


@pytest.mark.parametrize(
    ("options", "policy", "batches"),
    [
        ({}, {}, ["0 5", "1 6", "2 7", "3 8", "4 9"]),
        ({}, {"instances": ("8", "3", "1")}, ["1", "3 8"]),
        ({}, {"update_domains": (1,)}, ["1 6"]),
        ({}, {"update_domains": (3, 1)}, ["1 6", "3 8"]),
        ({}, {"fault_domains": (0,), "batch_by": "fault_domain"}, ["0 9"]),
        ({}, {"batch_by": "fault_domain"}, ["0 9", "1 5", "2 6", "3 7", "4 8"]),
        (ZONED, {"zones": ("2",), "batch_by": "zone", "batch_size": 9}, ["1 4 7"]),
        (ZONED, {"batch_by": "zone", "batch_size": 9}, ["0 3 6", "1 4 7", "2 5 8"]),
        (ZONED, {"batch_by": "update_domain", "batch_size": 9}, ["0 3 6", "1 4 7", "2 5 8"]),
        (ZONED, {"batch_by": "zone", "batch_size": 2}, ["0 3", "6", "1 4", "7", "2 5", "8"]),
        ({}, {"batch_by": "batch", "batch_size": 4}, ["0 1 2 3", "4 5 6 7", "8 9"]),
        ({}, {"batch_by": "batch", "max_batch_instance_percent": 35}, ["0 1 2", "3 4 5", "6 7 8", "9"]),
        ({}, {"batch_by": "batch", "max_batch_instance_percent": 1, "instances": ("0", "1")}, ["0", "1"]),
        ({"capacity": 12}, {"batch_by": "batch", "batch_size": 100}, ["0 1 2 3 4 5 6 7 8 9 10 11"]),
        ({}, {"batch_by": "batch", "batch_size": 5, "canary_instances": 1}, ["0", "1 2 3 4 5", "6 7 8 9"]),
        ({}, {"canary_instances": 3}, ["0 5", "1 6", "2 7", "3 8", "4 9"]),
        (
            {},
            {"batch_by": "batch", "batch_size": 5, "min_healthy_instance_percent": 70},
            ["0 1 2", "3 4 5", "6 7 8", "9"],
        ),
        (ZONED, {"batch_by": "batch", "batch_size": 9, "min_healthy_zone_percent": 50}, ["0 1 2", "3 4 5", "6 7 8"]),
    ],
)
def test_the_batches_of_a_policy(options: dict[str, Any], policy: dict[str, Any], batches: list[str]) -> None:
    """The plan says them, and the upgrade does them."""
    made, mine = stage(**options), Policy(**{**EASY, **policy})
    assert [" ".join(ids) for ids in plan(made.arm, *made.address, NEW, policy=mine).batches] == batches
    assert run(made, mine).ok
    assert posts(made) == batches


@pytest.mark.parametrize(("first", "batches"), [(True, ["7 2", "0 5", "1 6", "3 8", "4 9"]),
                                                (False, ["0 5", "1 6", "2 7", "3 8", "4 9"])])  # fmt: skip
def test_sick_ones_go_first_unless_the_policy_says_otherwise(first: bool, batches: list[str]) -> None:
    made = stage(health_source="extension")
    made.simulation.health.set_health(made.scale_set, made.scale_set.instances["7"], "unhealthy")
    assert run(made, Policy(**EASY, prioritize_unhealthy_instances=first)).ok
    assert posts(made) == batches


def _member(number: int, zone: str, group: str, domain: int | None) -> InstanceStatus:
    return InstanceStatus(str(number), "v", zone, group, domain, 0, False, "", "Succeeded", "running", "", False)


@pytest.mark.parametrize(
    ("policy", "batches"),
    [
        # An update domain's number means something in its placement group only: one of each may go together.
        ({"batch_size": 8, **EASY}, ["0 4", "1 5", "2 6", "3 7"]),
        ({"batch_size": 8, "batch_by": "batch", "min_healthy_instance_percent": 0, "min_healthy_zone_percent": 75},
         ["0 4", "1 5", "2 6", "3 7"]),
        ({"batch_size": 8, "batch_by": "batch", "min_healthy_instance_percent": 0, "min_healthy_zone_percent": 50},
         ["0 1 4 5", "2 3 6 7"]),
    ],
)  # fmt: skip
def test_each_placement_group_has_a_floor_of_its_own(policy: dict[str, Any], batches: list[str]) -> None:
    members = [_member(n, "", "g" if n < 4 else "h", n % 4) for n in range(8)]
    seen = Snapshot({one.instance_id: one for one in members}, 0.0)
    found, why_not = simulate(Policy(**policy), seen, "")
    assert (why_not, [" ".join(ids) for ids in found]) == ("", batches)


def test_unknown_domains_are_never_one_giant_batch() -> None:
    """Row 111: all null, or all the same: still no more than the policy allows at once."""
    for domain in (None, 0, 7):
        members = [_member(n, "", "", domain) for n in range(10)]
        found, _ = simulate(Policy(), Snapshot({one.instance_id: one for one in members}, 0.0), "")
        assert [len(ids) for ids in found] == [2] * 5


# --- when -------------------------------------------------------------------------------------------------------------


def _gaps(made: Stage) -> list[float]:
    """Seconds from the end of each batch to the begin of the next, by the emulator's own record."""
    found = [one for one in made.simulation.operations.records.values() if one.kind == "POST"]
    return [later.started - (one.ended or 0.0) for one, later in itertools.pairwise(found)]


@pytest.mark.parametrize(
    ("policy", "least", "most"),
    [
        ({}, [0.0] * 4, [60.0] * 4),
        ({"pause_seconds": 300.0}, [300.0] * 4, [380.0] * 4),
        ({"bake_seconds": 200.0}, [200.0] * 4, [290.0] * 4),
        ({"canary_instances": 1, "canary_bake_seconds": 500.0}, [500.0, 0, 0, 0], [580.0, 60, 60, 60]),
        ({"bake_seconds": 100.0, "pause_seconds": 100.0}, [200.0] * 4, [290.0] * 4),
    ],
)
def test_pauses_and_bakes_take_their_time_and_no_more(
    policy: dict[str, Any], least: list[float], most: list[float]
) -> None:
    made = stage()
    assert run(made, Policy(**policy)).ok
    found = _gaps(made)[:4]
    assert all(low <= gap <= high for gap, low, high in zip(found, least, most, strict=True)), found


def test_checkpoints_pause_until_somebody_resumes(tmp_path: Any) -> None:
    made, where = stage(), str(tmp_path / "web.jsonl")
    assert run(made, Policy(checkpoints=(20, 60)), journal=where).outcome == "paused"
    assert len(posts(made)) == 1
    assert resume(made.arm, where).outcome == "paused"
    assert len(posts(made)) == 3
    assert resume(made.arm, where).ok


# --- what stops it ----------------------------------------------------------------------------------------------------

LOOSE: dict[str, Any] = {**EASY, "floor_timeout_seconds": 60.0, "failure_budget": 9, "health_timeout_seconds": 60.0}


def _sicken(made: Stage, ids: str) -> Any:
    """While the second batch is away, these applications turn sick."""
    count = [0]

    def turn(event: dict[str, Any]) -> None:
        count[0] += event["kind"] == "posted"
        if event["kind"] == "posted" and count[0] == 2:
            for one in ids.split():
                made.simulation.health.set_health(made.scale_set, made.scale_set.instances[one], "unhealthy")

    return turn


@pytest.mark.parametrize(
    ("policy", "sick", "batches", "reason"),
    [
        # Of ten, who was not upgraded yet: two may turn sick, three not.
        ({"max_unhealthy_instance_percent": 20}, "8 9", 5, ""),
        ({"max_unhealthy_instance_percent": 20}, "7 8 9", 2, "3 instances are not healthy (7, 8, 9), for 60 s"),
        ({"max_unhealthy_instance_percent": 0}, "9", 2, "1 instances are not healthy (9), for 60 s"),
        ({"max_unhealthy_instance_percent": 100}, "3 7 8 9", 5, ""),
        # Of the four that were upgraded: two are half of them.
        ({"max_unhealthy_upgraded_instance_percent": 50}, "0 5", 5, ""),
        ({"max_unhealthy_upgraded_instance_percent": 49}, "0 5", 2, "2 of 4 upgraded instances are not healthy (0, 5)"),
        ({"max_unhealthy_upgraded_instance_percent": 0}, "9", 5, ""),
        # The floor is eight: with two sick none can go any more, with one sick they go one by one.
        ({"min_healthy_instance_percent": 80}, "0 5", 2, "the floor would be broken"),
        ({"min_healthy_instance_percent": 80}, "0", 8, ""),
    ],
)
def test_how_many_may_be_sick(policy: dict[str, Any], sick: str, batches: int, reason: str) -> None:
    made = stage(health_source="extension")
    loose = {"max_unhealthy_instance_percent": 100, **LOOSE, **policy}
    verdict = run(made, Policy(**loose), on_event=_sicken(made, sick))
    assert reason in verdict.reason
    floor = reason.startswith("the floor")
    assert verdict.outcome == ("paused" if floor else "stopped" if reason else "succeeded")
    assert len(posts(made)) == batches


@pytest.mark.parametrize(("budget", "batches", "outcome"), [(0, 1, "stopped"), (1, 2, "stopped"), (2, 5, "succeeded")])
def test_the_failure_budget_is_what_may_fail(budget: int, batches: int, outcome: str) -> None:
    made = stage()
    for one in ("0", "6"):
        made.simulation.faults.add(on="upgrade", instance=one, effect="fail")
    verdict = run(made, Policy(**EASY, failure_budget=budget))
    assert (verdict.outcome, len(posts(made))) == (outcome, batches)
    assert verdict.counts["failed"] == min(2, budget + 1)


@pytest.mark.parametrize(("percent", "batches"), [(66, 2), (33, 9)])
def test_a_zone_that_has_lost_one_can_spare_none(percent: int, batches: int) -> None:
    """While the other zones could: the floor of a zone is its own."""
    made = stage(**ZONED, health_source="extension")
    policy = Policy(
        **{**LOOSE, "min_healthy_zone_percent": percent, "max_unhealthy_instance_percent": 100}, batch_size=1
    )
    verdict = run(made, policy, on_event=_sicken(made, "0"))
    assert verdict.outcome == ("succeeded" if batches == 9 else "paused")
    assert len(posts(made)) == batches


# --- to what ----------------------------------------------------------------------------------------------------------

GROUP = "/subscriptions/5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d/resourceGroups/images-rg/providers/Microsoft.Compute"
MINIMAL = "22_04-lts-minimal"


def _storage(made: Stage) -> list[dict[str, Any]]:
    return [vm.document["properties"]["storageProfile"] for vm in made.scale_set.instances.values()]


def test_to_another_sku_of_the_image() -> None:
    made = stage()
    made.simulation.images.publish("Canonical", "0001-com-ubuntu-server-jammy", MINIMAL, NEW)
    assert run(made, Policy(), lambda found: az.set_image_sku(found, MINIMAL, version=NEW)).counts == {"updated": 10}
    assert {one["imageReference"]["sku"] for one in _storage(made)} == {MINIMAL}


def test_to_another_managed_image() -> None:
    made = stage(image={"id": f"{GROUP}/images/one"})
    found = plan(made.arm, *made.address, lambda found: az.set_image_id(found, f"{GROUP}/images/two"))
    assert found.version == f"{GROUP}/images/two"
    assert upgrade(made.arm, found).counts == {"updated": 10}
    assert {one["imageReference"]["id"] for one in _storage(made)} == {f"{GROUP}/images/two"}


def test_to_another_custom_image_by_uri_with_a_warning() -> None:
    seed = Seed.build(capacity=10)
    storage = seed.model["properties"]["virtualMachineProfile"]["storageProfile"]
    del storage["imageReference"]
    storage["osDisk"]["image"] = {"uri": "https://old.blob.core.windows.net/vhds/one.vhd"}
    made = Stage(seed)
    new = "https://old.blob.core.windows.net/vhds/two.vhd"
    found = plan(made.arm, *made.address, lambda found: az.set_image_uri(found, new))
    assert any("unmanaged disks are retired" in one for one in found.warnings)
    assert upgrade(made.arm, found).counts == {"updated": 10}
    assert {one["osDisk"]["image"]["uri"] for one in _storage(made)} == {new}


def test_to_whatever_a_function_makes_of_the_model() -> None:
    made = stage()

    def change(found: dict[str, Any]) -> None:
        found["properties"]["virtualMachineProfile"]["licenseType"] = "RHEL_BYOS"

    assert run(made, Policy(), change).counts == {"updated": 10}
    assert made.scale_set.profile["licenseType"] == "RHEL_BYOS"
    assert all(vm.model_version == 1 for vm in made.scale_set.instances.values())
