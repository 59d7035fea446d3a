"""What a person does in the editor, by clicking, against the emulator; what was sent stands in its journal."""

from typing import Any

from azurerm_lite.emulator import Seed

from .conftest import Open, Stand

OLD, NEW = "22.04.202608150", "22.04.202611120"
ON_INSTANCES = {
    "Upgrade": "manualupgrade",
    "Reimage": "reimage",
    "Start": "start",
    "Restart": "restart",
    "Power off": "poweroff",
    "Deallocate": "deallocate",
    "Delete": "delete",
}


def cell(page: Any, instance_id: str) -> Any:
    return page.locator(f'.cell[data-id="{instance_id}"]')


def press(page: Any, name: str, where: str = "body") -> None:
    page.locator(where).get_by_role("button", name=name, exact=True).click()


def chosen(page: Any) -> list[str]:
    return page.locator('.cell[aria-pressed="true"]').evaluate_all("found => found.map(one => one.dataset.id)")


def event(page: Any, text: str) -> None:
    """Wait until the log says it."""
    page.locator("#log li", has_text=text).first.wait_for()


def sent(stand: Stand, path: str) -> list[list[str]]:
    return [one.body["instanceIds"] for one in stand.emulator.recorder.find("POST", path) if one.status < 400]


# --- seeing ----------------------------------------------------------------------------------------------------------


def test_a_scale_set_is_chosen_and_its_properties_are_shown(stand: Stand, visit: Open) -> None:
    stand.emulator.add(Seed.build("other", capacity=6, zones=["1", "2", "3"], tags={"owner": "me"}))
    page = visit()
    names = page.locator("#pick option").all_text_contents()
    assert names == ["other (6, westus2)", "web (20, westus2)"]
    page.locator("#pick").select_option(label="web (20, westus2)")
    page.locator("dd", has_text="service=web").wait_for()
    shown = page.locator("#properties").inner_text()
    for text in (
        "westus2",
        "Standard_D2s_v3",
        "0001-com-ubuntu-server-jammy",
        "22_04-lts-gen2",
        OLD,
        "Manual",
        "deploy",
    ):
        assert text in shown
    assert "EMULATOR" in page.locator("header").inner_text()


def test_instances_stand_in_their_domains_zones_and_placement_groups(stand: Stand, visit: Open) -> None:
    stand.emulator.add(Seed.build("zonal", capacity=9, zones=["1", "2", "3"]))
    stand.emulator.add(Seed.build("big", capacity=120))
    page = visit("web (20, westus2)")
    assert page.locator("#map thead button").all_text_contents() == [f"FD {number}" for number in range(5)]
    assert page.locator("#map tbody th").all_text_contents() == [f"UD {number}" for number in range(5)]
    page.locator("#pick").select_option(label="zonal (9, westus2)")
    page.locator("#map table").nth(2).wait_for()
    assert page.locator("#map caption").all_text_contents() == ["zone 1", "zone 2", "zone 3"]
    page.locator("#pick").select_option(label="big (120, westus2)")
    page.locator("#map table").nth(1).wait_for()
    assert [one[:6] for one in page.locator("#map caption").all_text_contents()] == ["group "] * 2
    assert page.locator(".cell").count() == 120


def test_the_heatmap_is_live_by_power_health_and_model(stand: Stand, page: Any) -> None:
    assert page.locator("#legend").inner_text().split() == ["R", "running", "20"]
    page.get_by_text("Health", exact=True).click()
    page.locator("#legend", has_text="healthy 20").wait_for()
    stand.emulator.set_health("7", "unhealthy")
    page.locator('.cell[data-id="7"][data-state="unhealthy"]').wait_for()
    assert cell(page, "7").inner_text() == "U"
    page.get_by_text("Model", exact=True).click()
    page.locator("#legend", has_text="latest 20").wait_for()
    page.get_by_text("Progress", exact=True).click()
    page.locator("#legend", has_text="already-current 20").wait_for()


# --- choosing and acting ---------------------------------------------------------------------------------------------


def test_an_action_on_a_clicked_instance_reaches_that_one_alone(stand: Stand, page: Any) -> None:
    for number, (action, path) in enumerate(ON_INSTANCES.items()):
        cell(page, str(number)).click()
        press(page, action, "#actions")
        if action != "Start":
            assert page.locator("dialog").inner_text().count(f"{number}: ") == 1
            assert len(stand.emulator.recorder.writes()) == number  # nothing happens before the yes
            press(page, action, "dialog")
        event(page, f"{action.lower()} {number}: done")
        assert sent(stand, path) == [[str(number)]]
    assert len(stand.emulator.recorder.writes()) == len(ON_INSTANCES)


def test_a_cancelled_question_does_nothing(stand: Stand, page: Any) -> None:
    cell(page, "3").click()
    press(page, "Delete", "#actions")
    press(page, "Cancel", "dialog")
    press(page, "Delete", "#actions")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="hidden")
    assert stand.emulator.recorder.writes() == []
