"""A rolling upgrade in the editor: planned, run, paused, resumed, cancelled, taken back, and failing."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .conftest import PACE, Open, Stand
from .test_editor import NEW, OLD, event, press

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def keep(page: Any, name: str) -> None:
    """A picture for the documentation, small enough for it."""
    page.set_viewport_size({"width": 1200, "height": 600})
    assert len(page.screenshot(path=IMAGES / f"editor-{name}.png")) < 150_000


def versions(stand: Stand) -> Counter[str]:
    documents = [one.document["properties"] for one in stand.scale_set().instances.values()]
    return Counter(one["storageProfile"]["imageReference"]["exactVersion"] for one in documents)


def make_plan(page: Any, **fields: Any) -> None:
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=False).fill(str(value))
    press(page, "Make a plan")
    page.locator(".batches").wait_for()


def headline(page: Any, text: str) -> None:
    page.locator("#rollout .headline", has_text=text).wait_for()


def test_an_upgrade_is_planned_shown_and_run(stand: Stand, page: Any) -> None:
    make_plan(page, Batch_size=4)
    plan = page.locator("#rollout").inner_text()
    assert "20 instances in 5 batches" in plan
    assert f"{OLD} -> {NEW}" in plan
    assert "At least 16 stay healthy" in plan
    assert stand.emulator.recorder.writes() == []
    page.get_by_text("Progress", exact=True).click()
    press(page, "Start the upgrade")
    headline(page, "running")
    page.locator('.cell[data-state="in-batch"]').first.wait_for()
    headline(page, "succeeded")
    assert versions(stand) == {NEW: 20}
    assert "20 of 20 updated" in page.locator("#rollout").inner_text()
    page.locator("#legend", has_text="updated 20").wait_for()
    assert len(stand.emulator.recorder.find("POST", "manualupgrade")) == 5


def test_an_upgrade_is_paused_resumed_by_the_next_editor_cancelled_and_taken_back(stand: Stand, visit: Open) -> None:
    page = visit()
    make_plan(page, Batch_size=2, Pause=120)
    press(page, "Start the upgrade")
    event(page, "batch 1 of 10: 2 updated")
    press(page, "Pause")
    headline(page, "paused")
    began = len(stand.emulator.recorder.find("POST", "manualupgrade"))
    assert 0 < began < 5
    stand.open(stand.folder)  # the editor ends; another one finds the journal
    page = visit()
    headline(page, "cancelled")
    press(page, "Resume")
    headline(page, "running")
    event(page, "2 updated")
    press(page, "Cancel", "#rollout")
    headline(page, "cancelled")
    assert 0 < versions(stand)[NEW] < 20
    press(page, "Roll back")
    assert f"{NEW} -> {OLD}" in page.locator("dialog .change").inner_text()
    press(page, "Roll back", "dialog")
    headline(page, "Rollback: succeeded")
    assert versions(stand) == {OLD: 20}


def test_a_failing_instance_stops_the_upgrade_and_is_named(stand: Stand, page: Any) -> None:
    stand.emulator.faults.add(on="upgrade", instance="6", effect="fail", code="OSProvisioningTimedOut")
    page.get_by_text("Progress", exact=True).click()
    make_plan(page, Batch_size=4)
    press(page, "Start the upgrade")
    headline(page, "stopped")
    assert "Failed: 6" in page.locator("#rollout").inner_text()
    page.locator('.cell[data-id="6"][data-state="failed"]').wait_for()
    assert page.locator("#log li.bad").count() > 0
    assert versions(stand)[NEW] == 7  # the batch before it, and its neighbours


def test_a_plan_that_could_not_keep_its_floor_is_refused_with_the_reason(stand: Stand, page: Any) -> None:
    page.get_by_label("Floor").fill("100")
    press(page, "Make a plan")
    page.locator(".refusal", has_text="none can be spared").wait_for()
    assert stand.emulator.recorder.writes() == []


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_pictures_of_an_upgrade(stand: Stand, visit: Open, colours: str, request: pytest.FixtureRequest) -> None:
    """With --write-images the pictures of the documentation are made anew."""
    if not request.config.getoption("--write-images"):
        pytest.skip("no pictures are asked for (--write-images)")
    page = visit("web (20, westus2)", color_scheme=colours)

    def shot(name: str) -> None:
        keep(page, name)

    if colours == "light":
        page.locator("#legend", has_text="running 20").wait_for()
        shot("idle")
    stand.emulator.set_time_scale(PACE / 6)
    page.get_by_text("Progress", exact=True).click()
    if colours == "light":
        stand.emulator.faults.add(on="upgrade", instance="17", effect="fail", code="OSProvisioningTimedOut")
    make_plan(page, Batch_size=4)
    press(page, "Start the upgrade")
    event(page, "batch 3 of 5: upgrading")
    page.locator('.cell[data-state="in-batch"]').first.wait_for()
    shot("upgrade" if colours == "light" else "dark")
    page.locator("#rollout .headline.bad, #rollout .headline.good").wait_for(timeout=60_000)
    page.locator('.cell[data-state="in-batch"]').first.wait_for(state="detached")
    if colours == "light":
        shot("failed")
