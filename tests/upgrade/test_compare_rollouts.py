"""The page that holds our engine against the other ways to upgrade: that it is current, and what it must show."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from azurerm_lite.upgrade import Policy

SCRIPT = Path(__file__).parents[2] / "tools" / "compare_rollouts.py"
OURS = ("azurerm_lite", "azurerm_lite, one canary first", "azurerm_lite, failure budget 2")
LOST, EVICTION = "a request is lost and three other instances become unhealthy", "two instances are evicted"
BAD_IMAGE = "an image on which no instance becomes healthy"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("compare_rollouts", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(script: ModuleType) -> Any:
    return script.results()


def test_the_page_is_current(script: ModuleType, found: Any) -> None:
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.page_with(page, script.table(found)) == page, "run tools/compare_rollouts.py"


def test_the_check_fails_on_a_page_that_is_not_current_and_leaves_it_alone(
    script: ModuleType, found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "comparison.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(script, "results", lambda: found)
    assert script.main(["--check"]) == 1
    assert "\nold\n" in page.read_text(encoding="utf-8")
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    assert page.read_text(encoding="utf-8").startswith("before\n")
    assert page.read_text(encoding="utf-8").endswith("\nafter\n")


def test_a_page_without_the_markers_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="has no"):
        script.page_with("nothing here", "table")


def test_we_never_go_below_the_floor(script: ModuleType, found: Any) -> None:
    floor = math.ceil(Policy().min_healthy_instance_percent * script.CAPACITY / 100)
    calm = [outcomes for scenario, outcomes in found.items() if scenario != EVICTION]
    assert all(outcomes[name].lowest >= floor for outcomes in calm for name in OURS)


@pytest.mark.parametrize("name", OURS)
def test_an_eviction_in_a_batch_is_no_failure_and_no_request_goes_below_the_floor(
    script: ModuleType, found: Any, name: str
) -> None:
    stage = script.stage_for(script.CONTENDERS[name], script.SCENARIOS[EVICTION])
    up, changes = script.available(stage), len(stage.simulation.state.availability)
    script.CONTENDERS[name](stage.arm, stage.address)
    posts = [one.time for one in stage.app.recorder.entries if one.path.endswith("/manualupgrade")]
    after = []
    for time in posts:
        for when, _, instance, is_up in stage.simulation.state.availability[changes:]:
            if when <= time:
                (up.add if is_up else up.discard)(instance)
        after.append(len(up))
    assert min(after) >= 16, after
    assert (found[EVICTION][name].reported, found[EVICTION][name].upgraded) == ("succeeded", 18)


def test_a_lost_request_is_decided_anew_where_others_give_up(found: Any) -> None:
    outcomes = found[LOST]
    assert {outcomes[name].upgraded for name in OURS} == {20}
    assert outcomes["the 2016 script, domain by domain"].upgraded == 0
    assert outcomes['`az vmss update-instances "*"`'].upgraded == 0
    assert outcomes["Azure's rolling policy, 20/20/20"].lowest < min(outcomes[name].lowest for name in OURS)


def test_a_bad_image_harms_fewer_with_us(found: Any) -> None:
    outcomes = found[BAD_IMAGE]
    blind = [outcomes["the 2016 script, domain by domain"], outcomes['`az vmss update-instances "*"`']]
    assert all(outcomes[name].harmed < one.harmed for name in OURS for one in blind)
    assert outcomes[OURS[1]].harmed == 1
    assert outcomes[OURS[0]].harmed <= outcomes["Azure's rolling policy, 20/20/20"].harmed


def test_failures_that_were_agreed_to_cost_no_availability(found: Any) -> None:
    outcomes = found["two instances fail"]
    mine = outcomes[OURS[2]]
    others = [one for name, one in outcomes.items() if name not in OURS]
    assert (mine.reported, mine.harmed) == ("succeeded", 2)
    assert all(mine.lowest > one.lowest and mine.upgraded >= one.upgraded for one in others)


def test_when_all_goes_well_everybody_arrives_and_nobody_is_harmed(script: ModuleType, found: Any) -> None:
    """So that the others are really run, not run into a wall."""
    outcomes = found["all goes well"]
    assert {one.upgraded for one in outcomes.values()} == {script.CAPACITY}
    assert {one.harmed for one in outcomes.values()} == {0}


@pytest.mark.parametrize("number", range(6))
def test_the_same_world_gives_the_same_figures(script: ModuleType, found: Any, number: int) -> None:
    name, contender = list(script.CONTENDERS.items())[number]
    assert script.run(contender, script.SCENARIOS[BAD_IMAGE]) == found[BAD_IMAGE][name]
