"""Which instances go together and what that leaves, by tables: no emulator. `test_selection.py` runs upgrades."""

from dataclasses import replace
from typing import Any

import pytest

from azurerm_lite.upgrade.rules import selection
from azurerm_lite.upgrade.rules.policy import Policy
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Model
from azurerm_lite.upgrade.rules.state import Leg

from .search import tables
from .search.tables import current, instance, seen

EASY: dict[str, Any] = {"min_healthy_instance_percent": 0, "min_healthy_zone_percent": 0}


def _set(count: int, **values: Any) -> list[InstanceStatus]:
    """So many outdated instances, in zones 1 and 2 and two update domains in each."""
    places = [{"zone": str(n % 2 + 1), "update_domain": n // 2 % 2, "fault_domain": n // 4} for n in range(count)]
    return [instance(str(number), **{**place, **values}) for number, place in enumerate(places)]


@pytest.mark.parametrize(
    ("policy", "members", "batches"),
    [
        ({"batch_by": "update_domain", "batch_size": 9}, _set(8), ["0 4", "2 6", "1 5", "3 7"]),
        ({"batch_by": "fault_domain", "batch_size": 9}, _set(8), ["0 2", "4 6", "1 3", "5 7"]),
        ({"batch_by": "zone", "batch_size": 9}, _set(8), ["0 2 4 6", "1 3 5 7"]),
        ({"batch_by": "batch", "batch_size": 3}, _set(8), ["0 1 2", "3 4 5", "6 7"]),
        ({"batch_by": "batch", "batch_size": 3, "canary_instances": 1}, _set(5), ["0", "1 2 3", "4"]),
        ({"batch_by": "batch", "batch_size": 9, "zones": ("1",)}, _set(8), ["0 2 4 6"]),
        ({"batch_by": "batch", "batch_size": 9, "update_domains": (0,)}, _set(8), ["0 1 4 5"]),
        ({"batch_by": "batch", "batch_size": 9, "fault_domains": (1,)}, _set(8), ["4 5 6 7"]),
        ({"batch_by": "batch", "batch_size": 9, "instances": ("7", "1")}, _set(8), ["1 7"]),
        ({"batch_by": "update_domain", "batch_size": 9}, [instance("0"), instance("1", update_domain=None)], ["0", "1"]),  # noqa: E501
        ({"batch_by": "batch", "batch_size": 9, "min_healthy_zone_percent": 50}, _set(8), ["0 1 2 3", "4 5 6 7"]),
        ({"batch_by": "batch", "batch_size": 2}, [instance("0"), instance("1", state="Updating")], ["0", "1"]),
        ({"batch_by": "batch", "batch_size": 2}, [instance("0"), current("1"), instance("2", protected=True)], ["0"]),
        ({"batch_by": "batch", "batch_size": 1}, [instance("0"), instance("1", health="unhealthy")], ["1", "0"]),
        ({"batch_by": "batch", "batch_size": 1, "prioritize_unhealthy_instances": False}, [instance("0"), instance("1", power="stopped")],  # noqa: E501
         ["0", "1"]),
        ({"batch_by": "batch", "batch_size": 2, "on_stopped": "skip"}, [instance("0"), instance("1", power="stopped")],
         ["0"]),
    ],
)  # fmt: skip
def test_the_batches_of_a_plan(policy: dict[str, Any], members: list[InstanceStatus], batches: list[str]) -> None:
    ids, why_not = selection.simulate(Policy(**{**EASY, **policy}), seen(*members), "2")
    assert ([" ".join(batch) for batch in ids], why_not) == (batches, "")


def test_a_plan_waits_for_what_others_change() -> None:
    """What is Updating comes last, and counts as available from then on."""
    members = [instance("0", state="Updating"), instance("1"), instance("2")]
    policy = Policy(batch_by="batch", batch_size=1, min_healthy_instance_percent=30, min_healthy_zone_percent=0)
    assert selection.simulate(policy, seen(*members), "2") == ([("1",), ("2",), ("0",)], "")


@pytest.mark.parametrize(
    ("policy", "members", "batches", "words"),
    [
        ({"min_healthy_instance_percent": 100}, _set(4), [], "min_healthy_instance_percent"),
        ({"min_healthy_zone_percent": 100, "batch_by": "zone"}, _set(4), [], "min_healthy_zone_percent"),
        ({"min_healthy_zone_percent": 50, "batch_by": "batch"}, [*_set(3), current("3", zone="2", health="unhealthy")],
         [("0",), ("2",)], "zone 2"),
    ],
)  # fmt: skip
def test_why_a_plan_comes_to_no_end(
    policy: dict[str, Any], members: list[InstanceStatus], batches: Any, words: str
) -> None:
    ids, why_not = selection.simulate(Policy(**{**EASY, "batch_size": 1, **policy}), seen(*members), "2")
    assert ids == batches
    assert words in why_not


def test_the_fewest_available_of_each_place() -> None:
    """What did not run is not started by its upgrade; what was unhealthy is available after it."""
    members = _set(4)
    members[0], members[1] = members[0]._replace(health="unhealthy"), members[1]._replace(power="stopped")
    snapshot = seen(*members)
    policy = Policy(**{**EASY, "batch_by": "batch", "batch_size": 2})
    course = selection.course(selection.plain(policy, snapshot, "2"), snapshot)
    assert course.batches == [("0", "1"), ("2", "3")]
    assert course.lowest == {"": 1, "zone 1": 1, "zone 2": 0}


def test_a_place_without_an_available_instance_has_none() -> None:
    members = [instance("0", zone="1"), instance("1", zone="2", health="unhealthy", group="a")]
    snapshot = seen(*members)
    plain = selection.plain(Policy(**{**EASY, "instances": ("0",)}), snapshot, "2")
    assert selection.course(plain, snapshot).lowest == {"": 0, "zone 1": 0, "zone 2": 0, "group a": 0}


def test_what_an_upgrade_has_deallocated_is_available_after_its_batch() -> None:
    """Two of four are to be started: they go first, and then the others can be spared."""
    members = [instance(name, power="deallocated" if name in "02" else "running") for name in "0123"]
    snapshot, policy = seen(*members), Policy(**{**EASY, "batch_by": "batch", "batch_size": 2})
    careful = replace(policy, min_healthy_instance_percent=50)
    plain = selection.plain(careful, snapshot, "2")
    assert selection.course(plain, snapshot).why_not
    started = selection.course(replace(plain, deallocated=frozenset("02")), snapshot)
    assert (started.batches, started.why_not) == ([("0", "2"), ("1", "3")], "")


@pytest.mark.parametrize(
    ("members", "batches", "lowest"),
    [
        (_set(8), [["0", "4"], ["2"]], {"update domain 0": 2, "update domain 1": 3}),
        ([instance("0", update_domain=None)], [["0"]], {}),
        (
            [instance("0"), instance("1", power="stopped", update_domain=1)],
            [["1"]],
            {"update domain 0": 1, "update domain 1": 0},
        ),
        ([instance("0"), instance("1", health="unhealthy")], [["1"]], {"update domain 0": 1}),
    ],
)
def test_the_fewest_available_of_each_update_domain(members: list[InstanceStatus], batches: Any, lowest: Any) -> None:
    assert selection.lowest_by_domain(seen(*members), batches) == lowest


def test_what_azure_turned_down_goes_alone() -> None:
    state = tables.state({"batch_size": 3, "min_healthy_instance_percent": 0}, turned_down={"1": 1})
    assert selection.next_batch(state, tables.OUTDATED) == ("1",)
    assert selection.next_batch(tables.state({"batch_size": 1}, turned_down={"1": 1}), tables.OUTDATED) == ("0",)


@pytest.mark.parametrize(
    ("follows", "spare"), [(False, {"": 0, "zone 1": 0, "group a": -1}), (True, {"": 0, "zone 1": 1, "group a": -1})]
)
def test_the_room_that_is_left(follows: bool, spare: dict[str, int]) -> None:
    """The set had four instances, zone 1 had four; the only one of group a is not available."""
    members = [instance("0", zone="1"), instance("1", zone="1"), instance("2", group="a", health="unhealthy")]
    policy = {"floor_follows_capacity": follows, "min_healthy_instance_percent": 50, "min_healthy_zone_percent": 50}
    state = tables.state(policy, capacity=4, zone_sizes={"zone 1": 4})
    room = selection.room(state, seen(*members), selection.health_of(seen(*members)))
    assert room == spare


@pytest.mark.parametrize(
    ("values", "changes", "spare"),
    [
        ({}, {}, {"": 2, "zone 1": 1, "zone 2": 1}),
        ({}, {"capacity": 3}, {"": 1, "zone 1": 0, "zone 2": 0}),
        ({"flexible": True}, {"capacity": 3}, {"": 2, "zone 1": 1, "zone 2": 1}),
        ({}, {"capacity": 3, "state": "Deleting"}, {"": 1, "zone 1": 1, "zone 2": 0}),
        ({}, {"capacity": 0}, {"": 2, "zone 1": 1, "zone 2": 1}),
        ({"turned_down": {"0": 3, "1": 2, "9": 3}}, {}, {"": 1, "zone 1": 0, "zone 2": 1}),
        ({"turned_down": {"0": 3}}, {"capacity": 3}, {"": 1, "zone 1": 0, "zone 2": 1}),
    ],
    ids=[
        "all",
        "more than the capacity",
        "flexible",
        "explained",
        "no capacity",
        "not active",
        "not active, explained",
    ],
)
def test_instances_that_are_listed_though_gone_are_not_available(
    values: dict[str, Any], changes: dict[str, Any], spare: dict[str, int]
) -> None:
    members = _set(4)
    members[3] = members[3]._replace(state=changes.get("state", "Succeeded"))
    snapshot = seen(*members)
    snapshot = snapshot._replace(model=Model("m2", "o2", changes.get("capacity", 4)))
    policy = {"min_healthy_instance_percent": 50, "min_healthy_zone_percent": 50}
    state = tables.state(policy, capacity=4, **values)
    assert selection.room(state, snapshot, selection.health_of(snapshot)) == spare


@pytest.mark.parametrize(
    ("ids", "zone_percent", "spared"),
    [("0123", 0, "02"), ("0123", 50, "2"), ("13", 0, "1"), ("31", 50, ""), ("2", 100, "2"), ("13", 100, "")],
)
def test_those_that_can_be_spared_together(ids: str, zone_percent: int, spared: str) -> None:
    """Two zones; "2" is out of service, of "1" nothing shows that it serves, and one of four must stay."""
    members = _set(4, zone="1")
    members[3] = members[3]._replace(zone="2")
    members[2] = members[2]._replace(health="unhealthy", zone="2")
    members[1] = members[1]._replace(power="")
    policy = {"min_healthy_instance_percent": 25, "min_healthy_zone_percent": zone_percent}
    state = tables.state(policy, capacity=4, zone_sizes={})
    snapshot = seen(*members)
    assert selection.spared(state, snapshot, selection.health_of(snapshot), ids) == tuple(spared)


@pytest.mark.parametrize(
    ("leg", "member", "reached"),
    [
        (Leg("2"), current("0"), True),
        (Leg("2"), current("0", latest=False), False),
        (Leg("2"), current("0", version="1"), False),
        (Leg("/images/X"), current("0", version="/IMAGES/x"), True),
        (Leg(""), current("0"), True),
        (Leg("2"), current("0", version=""), True),
        (Leg("2", "i:2"), current("0", image="I:2"), True),
        (Leg("2", "i:2"), current("0", image="i:3"), False),
        (Leg("2", "i:2"), current("0", image=""), True),
    ],
)
def test_where_an_instance_is_to_come(leg: Leg, member: InstanceStatus, reached: bool) -> None:
    assert selection.reached(leg, member) is reached


def test_current_needs_the_model_and_the_version() -> None:
    assert selection.current(current("0"), "2")
    assert not selection.current(current("0", latest=False), "2")
    assert not selection.current(current("0"), "3")
