"""Two tabs or two people before one editor: what a click begins is what its page showed, or nothing."""

from typing import Any

import pytest

from .conftest import Open, Stand
from .test_editor import OLD, cell, press
from .test_rolling import headline, make_plan, versions


def plan_of_selected(page: Any, instance_id: str) -> None:
    cell(page, instance_id).click()
    page.get_by_label("Only the selected instances").check()
    make_plan(page, Batch_size=1)


def summary(page: Any) -> str:
    return str(page.locator("#rollout .headline").inner_text())


@pytest.fixture(params=["two people", "two tabs"])
def pages(request: pytest.FixtureRequest, visit: Open, stand: Stand) -> tuple[Any, Any]:
    """Two pages of one editor: in browsers of their own with a link each, or beside each other in one browser."""
    first = visit()
    if request.param == "two people":
        return first, visit()
    second = first.context.new_page()
    second.goto(stand.door.link())
    second.locator(".cell").first.wait_for()
    return first, second


def test_a_plan_that_another_page_replaced_cannot_be_started(stand: Stand, pages: tuple[Any, Any]) -> None:
    first, second = pages
    plan_of_selected(first, "3")
    assert summary(first) == "1 instances in 1 batches"
    make_plan(second, Batch_size=1)
    first.locator("#outdated", has_text="Another plan was made").wait_for()
    assert first.get_by_role("button", name="Start the upgrade").count() == 0
    assert stand.emulator.recorder.writes() == []


def test_a_click_that_comes_before_the_news_is_refused_and_shows_what_is_so_now(
    stand: Stand, pages: tuple[Any, Any]
) -> None:
    first, second = pages
    plan_of_selected(first, "3")
    first.route("**/now?*", lambda route: route.abort())  # this page has not heard of the other one
    make_plan(second, Batch_size=1)
    press(first, "Start the upgrade")
    first.locator("dialog", has_text="another plan was made since").wait_for()
    press(first, "OK", "dialog")
    assert summary(first) == "20 instances in 20 batches"
    assert stand.emulator.recorder.writes() == []
    first.unroute("**/now?*")
    press(first, "Start the upgrade")
    headline(first, "running")
    headline(second, "running")
    press(second, "Cancel", "#rollout")
    headline(second, "cancelled")


def test_a_rollback_shows_its_plan_and_waits_for_a_yes(stand: Stand, page: Any) -> None:
    stand.emulator.faults.add(on="upgrade", instance="7", effect="fail")
    page.get_by_text("Progress", exact=True).click()
    make_plan(page, Batch_size=4)
    press(page, "Start the upgrade")
    headline(page, "stopped")
    writes = len(stand.emulator.recorder.writes())
    press(page, "Roll back")
    dialog = page.locator("dialog")
    dialog.locator(".batches").wait_for()
    touched = int(dialog.locator(".headline").inner_text().split()[0])
    assert 0 < touched < 20
    assert f"-> {OLD}" in dialog.locator(".change").inner_text()
    press(page, "Cancel", "dialog")
    headline(page, "stopped")
    assert len(stand.emulator.recorder.writes()) == writes
    press(page, "Roll back")
    press(page, "Roll back", "dialog")
    page.locator("#legend", has_text=f"not-selected {20 - touched}").wait_for()
    headline(page, "Rollback: succeeded")
    page.locator("#legend", has_text=f"not-selected {20 - touched}").wait_for()
    assert versions(stand) == {OLD: 20}
    assert "not-reached" not in page.locator("#legend").inner_text()


def test_instances_outside_a_selection_are_not_selected_while_it_runs(stand: Stand, page: Any) -> None:
    page.get_by_text("Progress", exact=True).click()
    plan_of_selected(page, "3")
    press(page, "Start the upgrade")
    page.locator("#legend", has_text="not-selected 19").wait_for()
    headline(page, "succeeded")


def test_a_session_that_ended_leaves_no_key_in_the_browser(stand: Stand, page: Any) -> None:
    assert page.evaluate("() => localStorage.getItem('vmsseditor-key')")
    stand.clock += 13 * 3600
    page.locator("#trouble", has_text="it has ended").wait_for()
    assert page.evaluate("() => ({...localStorage})") == {}


def test_names_of_azure_hide_nothing_in_the_page(stand: Stand, visit: Open) -> None:
    from azurerm_lite.emulator import Seed

    stand.emulator.add(Seed.build("bidi", capacity=1, tags={"note": "a\u202eb\u200b"}))
    page = visit("bidi (1, westus2)")
    page.locator("dd", has_text="note=").wait_for()
    assert "a\\u202eb\\u200b" in page.locator("#properties").inner_text()
    assert page.evaluate("async () => (await import('/static/dom.js')).visible('x\\u202ey\\n')") == "x\\u202ey\\u000a"
