"""Selections, edits of the model, and what happens when somebody or something else interferes."""

from typing import Any

import azurerm_lite as az
from azurerm_lite.emulator import Seed

from .conftest import Open, Stand
from .test_editor import NEW, OLD, cell, chosen, event, press, sent


def field(page: Any, label: str) -> Any:
    return page.locator("dialog").get_by_label(label)


def test_domains_states_and_selections_are_chosen_by_mouse_and_by_keyboard(stand: Stand, page: Any) -> None:
    row = [one.instance_id for one in stand.scale_set().instances.values() if one.view["platformUpdateDomain"] == 2]
    press(page, "Update domain 2", "#map")
    assert sorted(chosen(page)) == sorted(row)
    cell(page, "0").click(modifiers=["Control"])
    assert sorted(chosen(page)) == sorted([*row, "0"])
    page.keyboard.press("Escape")
    assert chosen(page) == []
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert len(chosen(page)) == 2
    page.keyboard.press("Control+a")
    assert len(chosen(page)) == 20
    page.get_by_label("Ids").fill("3, 5-7")
    assert sorted(chosen(page)) == ["3", "5", "6", "7"]
    page.locator("#legend button").first.click()
    assert len(chosen(page)) == 20


def test_a_domain_is_restarted_and_instances_are_protected(stand: Stand, page: Any) -> None:
    press(page, "Fault domain 1", "#map")
    ids = chosen(page)
    press(page, "Restart", "#actions")
    press(page, "Restart", "dialog")
    event(page, ": done")
    assert sent(stand, "restart") == [ids]
    cell(page, "4").click()
    press(page, "Protect", "#actions")
    page.locator('.cell.protected[data-id="4"]').wait_for()
    policy = stand.scale_set().instances["4"].document["properties"]["protectionPolicy"]
    assert policy == {"protectFromScaleIn": True, "protectFromScaleSetActions": True}
    press(page, "Unprotect", "#actions")
    page.locator('.cell:not(.protected)[data-id="4"]').wait_for()


def test_the_whole_set_is_powered_off_deallocated_started_and_restarted(stand: Stand, page: Any) -> None:
    for action, state in (("Power off", "stopped"), ("Deallocate", "deallocated"), ("Start", "running")):
        press(page, action, "#set-actions")
        if action != "Start":
            assert "All at once" in page.locator("dialog").inner_text()
            press(page, action, "dialog")
        page.locator("#legend", has_text=f"{state} 20").wait_for()
    press(page, "Restart", "#set-actions")
    press(page, "Restart", "dialog")
    event(page, "restart all instances: done")


def test_an_edit_shows_its_difference_and_is_written_with_the_etag(stand: Stand, page: Any) -> None:
    press(page, "Edit …")
    page.locator("#versions option").nth(3).wait_for(state="attached")
    assert page.locator("#versions option").first.get_attribute("value") == NEW
    field(page, "Image version").fill(NEW)
    field(page, "VM size").fill("Standard_D4s_v3")
    field(page, "Capacity").fill("22")
    press(page, "Show the difference", "dialog")
    page.locator(".difference").wait_for()
    assert page.locator(".difference del").all_text_contents() == ["Standard_D2s_v3", "20", OLD]
    assert page.locator(".difference ins").all_text_contents() == ["Standard_D4s_v3", "22", NEW]
    assert stand.emulator.recorder.writes() == []
    press(page, "Write it", "dialog")
    event(page, "write the model: done")
    (write,) = stand.emulator.recorder.writes()
    assert write.method == "PATCH"
    assert write.headers["if-match"]
    page.locator("dd", has_text=NEW).wait_for()
    cell(page, "21").wait_for()


def test_an_edit_that_azure_could_not_accept_is_refused_with_the_reason(stand: Stand, page: Any) -> None:
    press(page, "Edit …")
    field(page, "Image version").fill("not a version")
    press(page, "Show the difference", "dialog")
    page.locator("dialog", has_text="image version must be three numbers").wait_for()
    press(page, "OK", "dialog")
    assert stand.emulator.recorder.writes() == []


def test_a_change_by_somebody_else_in_the_middle_of_an_edit_is_not_lost(stand: Stand, page: Any) -> None:
    press(page, "Edit …")
    field(page, "Capacity").fill("21")
    press(page, "Show the difference", "dialog")
    page.locator(".difference").wait_for()
    az.patch_vmss(stand.arm, *stand.address(), {"tags": {"somebody": "else"}}).wait()
    press(page, "Write it", "dialog")
    page.locator("dialog", has_text="Somebody else was quicker").wait_for()
    assert az.get_vmss(stand.arm, *stand.address())["sku"]["capacity"] == 20
    press(page, "Look again", "dialog")
    page.locator(".difference").wait_for()
    press(page, "Write it", "dialog")
    event(page, "write the model: done")
    found = az.get_vmss(stand.arm, *stand.address())
    assert (found["sku"]["capacity"], found["tags"]) == (21, {"somebody": "else"})


def test_a_set_with_an_image_by_id_is_edited_by_id(stand: Stand, visit: Open) -> None:
    gallery = (
        f"/subscriptions/{stand.emulator.subscription_id}/resourceGroups/g/providers/Microsoft.Compute/galleries/g"
    )
    stand.emulator.add(Seed.build("golden", capacity=3, image={"id": f"{gallery}/images/i/versions/1.0.0"}))
    page = visit("golden (3, westus2)")
    press(page, "Edit …")
    assert field(page, "Image version").count() == 0
    field(page, "Image id").fill(f"{gallery}/images/i/versions/1.0.1")
    press(page, "Show the difference", "dialog")
    page.locator(".difference ins", has_text="1.0.1").wait_for()
    press(page, "Cancel", "dialog")
    assert stand.emulator.recorder.writes() == []


def test_a_lost_connection_is_shown_and_recovers(stand: Stand, page: Any) -> None:
    assert page.locator("#live").inner_text() == "live"
    page.context.set_offline(True)
    page.locator("#trouble", has_text="The editor does not answer").wait_for()
    assert page.locator("#live").inner_text() == "not live"
    assert page.locator(".cell").count() == 20  # what was seen stays, and says that it is old
    page.context.set_offline(False)
    page.locator("#trouble").wait_for(state="hidden")
    stand.emulator.set_health("7", "unhealthy")
    page.get_by_text("Health", exact=True).click()
    page.locator('.cell[data-id="7"][data-state="unhealthy"]').wait_for()


def test_what_azure_refuses_is_told_in_its_words(stand: Stand, page: Any) -> None:
    stand.emulator.faults.next("POST", "/restart", status=403, code="AuthorizationFailed", message="Not you.")
    cell(page, "3").click()
    press(page, "Restart", "#actions")
    press(page, "Restart", "dialog")
    page.locator("dialog", has_text="AuthorizationFailed").wait_for()
    assert "Not you." in page.locator("dialog").inner_text()
    press(page, "OK", "dialog")


def test_a_sku_and_an_image_by_uri_are_edited(stand: Stand, visit: Open) -> None:
    blob = Seed.build("blob", capacity=3)
    storage = blob.model["properties"]["virtualMachineProfile"]["storageProfile"]
    del storage["imageReference"]
    storage["osDisk"] |= {"image": {"uri": "https://a.blob.core.windows.net/v/one.vhd"}, "name": "os"}
    stand.emulator.add(blob)
    page = visit("web (20, westus2)")
    page.locator("dd", has_text="service=web").wait_for()
    for label, value in (("Image SKU", "22_04-lts"), ("Image URI", "https://a.blob.core.windows.net/v/two.vhd")):
        press(page, "Edit …")
        field(page, label).fill(value)
        press(page, "Show the difference", "dialog")
        page.locator(".difference ins", has_text=value).wait_for()
        press(page, "Cancel", "dialog")
        page.locator("#pick").select_option(label="blob (3, westus2)")
        page.locator("dd", has_text="service=blob").wait_for()


def test_instances_of_a_flexible_set_are_shown_and_restarted_by_name(stand: Stand, visit: Open) -> None:
    stand.emulator.add(Seed.build("flex", capacity=3, orchestration="Flexible", fault_domains=3))
    page = visit("flex (3, westus2)")
    page.locator("dd", has_text="Flexible").wait_for()
    name = page.locator(".cell").first.get_attribute("data-id")
    overflows = "all => all.filter(e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight).length"
    assert page.locator(".cell").evaluate_all(overflows) == 0  # names are longer than a cell is wide
    assert page.locator(".cell").first.get_attribute("title") == name
    page.locator(".cell").first.click()
    press(page, "Restart", "#actions")
    press(page, "Restart", "dialog")
    event(page, f"restart {name}: done")
    assert sent(stand, "restart") == [[name]]
