"""Many scale sets from one process: no step waits by itself, limits hold, one report says how each came out."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed, serve
from azurerm_lite.errors import InvalidInput
from azurerm_lite.upgrade import Journal, Policy, Runner, plan, upgrade_fleet
from azurerm_lite.upgrade.rehearsal import Stage
from azurerm_lite.upgrade.rules.budget import Budget
from azurerm_lite.upgrade.run.runs import first_entry

NEW, OLD = "22.04.202611120", "22.04.202608150"
SUBSCRIPTIONS = ("5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "00000000-1111-4222-8333-9e0f1a2b3c4d")


def _fleet(size: int, **options: Any) -> tuple[Stage, list[az.ScaleSet]]:
    """A world of so many scale sets, in two subscriptions in turn, under limits that refuse."""
    seeds = [
        Seed.build(f"web{n:03}", subscription_id=SUBSCRIPTIONS[n % 2], **{"capacity": 10, **options})
        for n in range(size)
    ]
    made = Stage(seeds[0])
    for seed in seeds[1:]:
        seed.add_to(made.simulation)
    made.app.throttle.is_enforced = True
    return made, [az.ScaleSet(one.subscription_id, one.resource_group, one.vmss_name) for one in seeds]


def _ruin(made: Stage, address: az.ScaleSet, instance: str = "0") -> None:
    """Make an instance of one set one that no upgrade gets through: its answer says so."""
    path = f"{address.vmss_name}/manualupgrade"
    made.simulation.faults.add(method="POST", path=path, status=409, code="OperationNotAllowed", times=10**6)


def _posted(made: Stage) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for entry in made.app.recorder.find("POST", "manualupgrade"):
        if entry.status < 400:
            found.update((entry.path.split("/")[8], one) for one in entry.body["instanceIds"])
    return found


def _stop_after(steps: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= steps


def test_no_step_waits_by_itself_so_that_one_thread_can_drive_many() -> None:
    made = Stage(Seed.build(capacity=10))
    kept = Journal()
    kept.append(first_entry(plan(made.arm, *made.address, NEW), made.clock.time()))
    runner, steps = Runner(made.arm, kept), 0
    while True:
        before = made.clock.time()
        wait = runner.step()
        assert made.clock.time() == before, "a step must say how long to wait, not wait"
        if wait is None:
            break
        made.clock.advance(wait)
        steps += 1
    assert runner.verdict is not None
    assert runner.verdict.ok
    assert steps > 10


def test_every_scale_set_is_upgraded_once_and_nobody_is_refused() -> None:
    made, sets = _fleet(12)
    heard: list[dict[str, Any]] = []
    report = upgrade_fleet(made.arm, sets, NEW, workers=1, on_event=heard.append)
    assert report.ok, str(report)
    assert report.counts == {"succeeded": 12}
    assert report.instances == {"updated": 120}
    assert set(report.verdicts) == {one.resource_id for one in sets} == {event["scale_set"] for event in heard}
    assert set(_posted(made).values()) == {1}
    assert made.app.throttle.refusals == 0
    alone = max(one.seconds for one in report.verdicts.values())
    assert report.seconds < 2 * alone, "they are upgraded at once, not one after the other"


def test_so_many_at_a_time_and_wave_after_wave() -> None:
    made, sets = _fleet(10)
    began, ended = dict[str, int](), dict[str, int]()
    most = 0

    def hear(event: dict[str, Any]) -> None:
        nonlocal most
        began.setdefault(event["scale_set"], len(began) + len(ended))
        if event["kind"] == "end":
            ended[event["scale_set"]] = len(began) + len(ended)
        most = max(most, len(began) - len(ended))

    report = upgrade_fleet(made.arm, sets, NEW, workers=1, at_once=3, waves=(10, 50, 100), on_event=hear)
    assert report.ok, str(report)
    assert most == 3
    names = [one.resource_id for one in sets]
    assert ended[names[0]] <= min(began[one] for one in names[1:]), "the canary wave ends before others begin"
    assert max(ended[one] for one in names[:5]) <= min(began[one] for one in names[5:])


def test_after_too_many_failures_no_further_one_begins() -> None:
    made, sets = _fleet(10)
    _ruin(made, sets[0])
    report = upgrade_fleet(made.arm, sets, NEW, workers=1, at_once=2, waves=(20, 100))
    assert report.outcome == "stopped"
    assert report.verdicts[sets[0].resource_id].outcome == "paused"
    assert report.verdicts[sets[1].resource_id].ok, "what was under way went on to its end"
    assert len(report.not_begun) == 8
    assert {name for name, _ in _posted(made)} == {sets[1].vmss_name}
    assert "web000: paused" in str(report)


def test_failures_that_were_agreed_to_do_not_stop_the_others() -> None:
    made, sets = _fleet(6)
    _ruin(made, sets[2])
    report = upgrade_fleet(made.arm, sets, NEW, workers=1, failures_allowed=1)
    assert report.outcome == "incomplete"
    assert report.counts == {"succeeded": 5, "paused": 1}


def test_what_cannot_be_planned_is_told_by_name_and_nothing_of_it_is_touched() -> None:
    made, sets = _fleet(3)
    odd = Seed.build("odd", capacity=4, mode="Automatic")
    odd.add_to(made.simulation)
    sets.append(az.ScaleSet(odd.subscription_id, odd.resource_group, "odd"))
    sets.append(az.ScaleSet(odd.subscription_id, odd.resource_group, "absent"))
    report = upgrade_fleet(made.arm, sets, NEW, workers=1, failures_allowed=2)
    assert report.counts == {"succeeded": 3, "refused": 2}
    assert "Automatic" in report.refused[sets[3].resource_id]
    assert "NotFound" in report.refused[sets[4].resource_id]
    assert not [entry for entry in made.app.recorder.writes() if "/odd" in entry.path]


def test_one_switch_stops_all_at_safe_points_and_the_same_call_goes_on(tmp_path: Path) -> None:
    made, sets = _fleet(6)
    first = upgrade_fleet(made.arm, sets, NEW, workers=1, journals=str(tmp_path), should_stop=_stop_after(40))
    assert first.outcome == "cancelled"
    assert first.counts["cancelled"] >= 1
    again = upgrade_fleet(made.arm, sets, NEW, workers=1, journals=str(tmp_path))
    assert again.ok, str(again)
    assert set(_posted(made).values()) == {1}, "no instance is sent twice"
    assert len(_posted(made)) == 60
    done = len(made.app.recorder.entries)
    assert upgrade_fleet(made.arm, sets, NEW, workers=1, journals=str(tmp_path)).ok
    assert len(made.app.recorder.entries) == done, "what has ended is read from its journal"


def test_a_fleet_is_taken_back_where_the_policy_says_so() -> None:
    made, sets = _fleet(2)
    made.simulation.faults.add(on="upgrade", instance="3", effect="fail", times=2)  # that one of either set
    report = upgrade_fleet(made.arm, sets, NEW, workers=1, policy=Policy(rollback_on_failure=True))
    assert {one.outcome for one in report.verdicts.values()} <= {"rolled-back", "rollback-failed", "succeeded"}
    assert not report.ok


def test_threads_share_one_connection_to_an_emulator_and_cross_no_answers() -> None:
    with serve(Seed.build("web000", capacity=3), time_scale=300, throttle=True) as emulator:
        sets = [az.ScaleSet(emulator.subscription_id, emulator.resource_group, f"web{n:03}") for n in range(4)]
        for one in sets[1:]:
            emulator.add(Seed.build(one.vmss_name, capacity=3))
        arm = az.connect(env=emulator.env(), now=emulator.clock.time, sleep=emulator.clock.sleep)
        report = upgrade_fleet(arm, sets, NEW, policy=Policy(min_healthy_instance_percent=60), workers=4)
        assert report.ok, str(report)
        assert report.instances == {"updated": 12}
        posted = [entry.path.split("/")[8] for entry in emulator.recorder.find("POST", "manualupgrade")]
        assert set(posted) == {one.vmss_name for one in sets}
        assert emulator.throttle.refusals == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"waves": (50, 20, 100)}, "rising"),
        ({"waves": (50,)}, "end with 100"),
        ({"waves": ()}, "end with 100"),
        ({"at_once": 0}, "at_once"),
        ({"workers": 0}, "workers"),
        ({"failures_allowed": -1}, "failures_allowed"),
    ],
)
def test_a_fleet_that_makes_no_sense_is_refused_before_anything_is_read(options: dict[str, Any], said: str) -> None:
    made, sets = _fleet(2)
    with pytest.raises(InvalidInput, match=said):
        upgrade_fleet(made.arm, sets, NEW, **options)
    with pytest.raises(InvalidInput, match="twice"):
        upgrade_fleet(made.arm, [*sets, az.ScaleSet(*(part.upper() for part in sets[0]))], NEW)
    assert made.app.recorder.entries == []


def test_a_report_is_text_json_and_a_page_without_markup_of_others() -> None:
    made, sets = _fleet(1)
    report = upgrade_fleet(made.arm, [sets[0], az.ScaleSet(sets[0][0], "web-rg", "gone")], NEW, failures_allowed=1)
    assert report.to_dict()["counts"] == {"succeeded": 1, "refused": 1}
    assert "<FleetReport incomplete" in repr(report)
    page = report._repr_html_()
    assert "gone" in page
    assert "<script" not in page


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 1), st.integers(1, 5)), max_size=80))
def test_never_more_than_a_minutes_share_and_what_was_held_in_any_minute(draws: list[tuple[float, int, int]]) -> None:
    budget, now = Budget({"Get": 60}, share=0.5), 0.0
    spent: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for gap, place, count in draws:
        now += gap
        spent[place].append((now + budget.draw((str(place), "westus2"), {"Get": count}, now), count))
    for moments in spent.values():
        assert moments == sorted(moments, key=lambda one: one[0]), "first come, first served"
        for start, _ in moments:
            window = sum(count for when, count in moments if start <= when < start + 60)
            assert window <= 30 + 30 + 5, "a minute's share, what the bucket held, and the last draw"
