"""Where each instance stands, in which state, and how that reads as plain text."""

import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azurerm_lite.errors import InvalidInput
from azurerm_lite.heatmap import COLOURS, grid
from azurerm_lite.heatmap.lines import plain
from azurerm_lite.upgrade.rules.state import CLASSES

from .worlds import AT, OBSERVATIONS, TEXTS, member, seen, spread

UNKNOWN_PLACE: dict[str, Any] = {"update_domain": None, "fault_domain": None}


@pytest.mark.parametrize(
    ("changes", "power", "health", "progress"),
    [
        ({}, "running", "healthy", "already-current"),
        ({"latest": False}, "running", "healthy", "not-reached"),
        ({"latest": False, "protected": True}, "running", "healthy", "skipped-protected"),
        ({"health": "unhealthy"}, "running", "unhealthy", "already-current"),
        ({"health": "initializing"}, "running", "initializing", "already-current"),
        ({"health": "unknown"}, "running", "unknown", "already-current"),
        ({"health": ""}, "running", "no report", "already-current"),
        ({"health": "", "state": ""}, "running", "unknown", "already-current"),
        ({"state": "Updating"}, "running", "busy", "in-batch"),
        ({"state": "Failed"}, "running", "failed", "failed"),
        ({"power": "stopped"}, "stopped", "off", "already-current"),
        ({"power": "deallocated", "health": ""}, "deallocated", "off", "already-current"),
        ({"power": "", "state": "Creating", "health": ""}, "creating", "busy", "in-batch"),
        ({"power": "", "health": ""}, "unknown", "no report", "already-current"),
        ({"power": "hibernated"}, "unknown", "off", "already-current"),
    ],
)
def test_what_an_instance_shows_is_its_state(changes: dict[str, Any], power: str, health: str, progress: str) -> None:
    world = seen(member(0, **changes))
    found = {colour: grid(world, colour).cells[0].state for colour in ("power", "health", "progress")}
    assert found == {"power": power, "health": health, "progress": progress}


@pytest.mark.parametrize("colour", list(COLOURS))
def test_no_two_states_have_the_same_sign_and_every_state_is_foreseen(colour: str) -> None:
    signs = [look.sign for look in COLOURS[colour].values()]
    assert len(signs) == len(set(signs))
    assert all(len(sign) == 1 and sign.isascii() and sign.isprintable() for sign in signs)
    assert {cell.state for cell in grid(spread(1000), colour).cells} <= set(COLOURS[colour])


def test_every_class_of_an_upgrade_has_a_look() -> None:
    assert set(CLASSES) <= set(COLOURS["progress"])


def test_classes_of_an_upgrade_colour_the_grid_and_the_vanished_are_in_it() -> None:
    found = grid(seen(member(0), member(1)), "progress", classes={"0": "updated", "7": "vanished", "1": "odd"})
    assert {cell.instance_id: cell.state for cell in found.cells} == {"0": "updated", "7": "vanished", "1": "odd"}
    assert found.look("odd").sign == "?"
    assert found.counts == {"updated": 1, "vanished": 1, "odd": 1}


def test_what_cannot_be_coloured_is_refused() -> None:
    with pytest.raises(InvalidInput, match="colour is one of"):
        grid([], "mood")
    with pytest.raises(InvalidInput, match="progress"):
        grid([], "power", classes={})


def test_a_list_as_azure_sends_it_is_taken_too() -> None:
    view = {"platformUpdateDomain": 1, "platformFaultDomain": 2, "statuses": [{"code": "PowerState/stopped"}]}
    found = grid([{"instanceId": "4", "zones": ["2"], "properties": {"instanceView": view}}], title="web", at=AT)
    assert found.cells[0][:6] == ("4", "2", "", 1, 2, "stopped")
    assert found.caption == "web: 1 instance by power, 2026-09-21 14:13:20 UTC"


def test_the_plain_text_of_a_small_set() -> None:
    world = seen(
        member(0),
        member(1, update_domain=1, fault_domain=1, power="stopped"),
        member(2, update_domain=1, fault_domain=1),
        member(3, **UNKNOWN_PLACE),
    )
    assert str(grid(world, title="web", emulator=True)).split("\n") == [
        "web: 4 instances by power, 2026-09-21 14:13:20 UTC, EMULATOR",
        "",
        "      FD 0  FD 1  FD ?",
        "UD 0  R",
        "UD 1        SR",
        "UD ?              R",
        "",
        "R running 3   S stopped 1",
    ]


def test_nothing_is_a_picture_too() -> None:
    assert str(grid([])) == "0 instances by power\n\nno instances"
    assert repr(grid([], title="web")) == "<Grid 'web' by power: no instances>"


def test_zones_and_placement_groups_have_a_panel_each() -> None:
    zonal = grid(spread(60, zones=3, groups=2))
    homes = [(panel.zone, panel.group[7]) for panel in zonal.panels]
    assert homes == [(zone, group) for zone in "123" for group in "01"]
    assert "zone 2, group 00000001" in str(zonal)
    assert "group" not in str(grid(spread(20)))


def test_a_grid_says_what_it_is_and_gives_flat_records() -> None:
    found = grid(seen(member(0), member(1, power="stopped")), title="web")
    assert repr(found) == "<Grid 'web' by power: 1 running, 1 stopped>"
    assert found.to_records()[1] == {
        "instance_id": "1",
        "zone": "",
        "group": "",
        "update_domain": 0,
        "fault_domain": 0,
        "state": "stopped",
        "power": "stopped",
        "health": "healthy",
        "provisioning": "Succeeded",
        "latest": True,
        "version": "22.04.202608150",
        "protected": False,
        "sign": "S",
    }


@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("count", [1, 20, 1000])
def test_it_fits_the_width_and_counts_everyone(count: int, width: int) -> None:
    for world in (spread(count), spread(count, zones=3, groups=10), spread(count, zones=3)):
        found = grid(world, "health", title="a name " * 30)
        text = plain(found, width).split("\n")
        wide = [line for line in text if len(line) > width]
        assert not wide or width == 20, wide
        assert sum(found.counts.values()) == count


def test_crowded_cells_show_counts() -> None:
    text = str(grid(seen(*(member(number, power="stopped" if number < 3 else "running") for number in range(500)))))
    assert "UD 0  R497 S3\n" in text


def test_many_domains_go_below_one_another() -> None:
    world = seen(*(member(number, update_domain=number, fault_domain=number) for number in range(1000)))
    text = str(grid(world)).split("\n")
    assert max(map(len, text)) <= 80
    assert sum(line.count("R") for line in text[:-1]) == 1000
    assert len(text) < 1200


@pytest.mark.parametrize("at", [-1.0, 0.0, 1e300, float("nan"), float("inf")])
def test_a_time_that_is_none_is_left_out(at: float) -> None:
    assert grid([], at=at).when == ""


@given(OBSERVATIONS, st.sampled_from(list(COLOURS)))
def test_every_instance_is_in_exactly_one_place(world: Any, colour: str) -> None:
    found = grid(world, colour)
    placed = Counter(cell.instance_id for panel in found.panels for cells in panel.places.values() for cell in cells)
    assert placed == Counter(world.members.keys())
    for panel in found.panels:
        assert set(panel.places) <= {(row, column) for row in panel.rows for column in panel.columns}
    assert sum(found.counts.values()) == len(world.members)


@given(OBSERVATIONS, TEXTS, st.integers(0, 250))
def test_plain_text_holds_nothing_that_steers_a_terminal(world: Any, title: str, width: int) -> None:
    text = plain(grid(world, "progress", classes=dict.fromkeys(world.members, title), title=title), width)
    steering = [one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one != "\n"]
    assert steering == []
