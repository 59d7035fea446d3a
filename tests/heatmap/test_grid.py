"""The position and state of each instance, and the heatmap as plain text."""

import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azurerm_lite.errors import InvalidInput
from azurerm_lite.heatmap import STYLES, grid
from azurerm_lite.heatmap.lines import render_text
from azurerm_lite.upgrade.rules.state import CLASSES

from .worlds import AT, SNAPSHOTS, TEXTS, instance, snapshot, spread

UNKNOWN_DOMAINS: dict[str, Any] = {"update_domain": None, "fault_domain": None}


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
    world = snapshot(instance(0, **changes))
    states = {color_by: grid(world, color_by).cells[0].state for color_by in ("power", "health", "progress")}
    assert states == {"power": power, "health": health, "progress": progress}


@pytest.mark.parametrize("color_by", list(STYLES))
def test_signs_are_unique_and_every_state_has_a_style(color_by: str) -> None:
    signs = [style.sign for style in STYLES[color_by].values()]
    assert len(signs) == len(set(signs))
    assert all(len(sign) == 1 and sign.isascii() and sign.isprintable() for sign in signs)
    assert {cell.state for cell in grid(spread(1000), color_by).cells} <= set(STYLES[color_by])


def test_every_class_of_an_upgrade_has_a_style() -> None:
    assert set(CLASSES) <= set(STYLES["progress"])


def test_classes_of_an_upgrade_color_the_grid_and_vanished_instances_are_in_it() -> None:
    heatmap = grid(
        snapshot(instance(0), instance(1)), "progress", classes={"0": "updated", "7": "vanished", "1": "odd"}
    )
    assert {cell.instance_id: cell.state for cell in heatmap.cells} == {"0": "updated", "7": "vanished", "1": "odd"}
    assert heatmap.style_of("odd").sign == "?"
    assert heatmap.counts == {"updated": 1, "vanished": 1, "odd": 1}


def test_an_unknown_color_by_is_refused() -> None:
    with pytest.raises(InvalidInput, match="color_by must be one of power"):
        grid([], "mood")
    with pytest.raises(InvalidInput, match="progress"):
        grid([], "power", classes={})


def test_a_list_from_azure_is_accepted() -> None:
    view = {"platformUpdateDomain": 1, "platformFaultDomain": 2, "statuses": [{"code": "PowerState/stopped"}]}
    heatmap = grid([{"instanceId": "4", "zones": ["2"], "properties": {"instanceView": view}}], title="web", at=AT)
    assert heatmap.cells[0][:6] == ("4", "2", "", 1, 2, "stopped")
    assert heatmap.caption == "web: 1 instance by power, 2026-09-21 14:13:20 UTC"


def test_the_plain_text_of_a_small_set() -> None:
    world = snapshot(
        instance(0),
        instance(1, update_domain=1, fault_domain=1, power="stopped"),
        instance(2, update_domain=1, fault_domain=1),
        instance(3, **UNKNOWN_DOMAINS),
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


def test_an_empty_set_has_a_heatmap() -> None:
    assert str(grid([])) == "0 instances by power\n\nno instances"
    assert repr(grid([], title="web")) == "<Grid 'web' by power: no instances>"


def test_zones_and_placement_groups_have_a_panel_each() -> None:
    zonal = grid(spread(60, zones=3, groups=2))
    homes = [(panel.zone, panel.group[7]) for panel in zonal.panels]
    assert homes == [(zone, group) for zone in "123" for group in "01"]
    assert "zone 2, group 00000001" in str(zonal)
    assert "group" not in str(grid(spread(20)))


def test_a_grid_has_a_repr_and_flat_records() -> None:
    heatmap = grid(snapshot(instance(0), instance(1, power="stopped")), title="web")
    assert repr(heatmap) == "<Grid 'web' by power: 1 running, 1 stopped>"
    assert heatmap.to_records()[1] == {
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
def test_it_fits_the_width_and_counts_every_instance(count: int, width: int) -> None:
    for world in (spread(count), spread(count, zones=3, groups=10), spread(count, zones=3)):
        heatmap = grid(world, "health", title="a name " * 30)
        text = render_text(heatmap, width).split("\n")
        wide = [line for line in text if len(line) > width]
        assert not wide or width == 20, wide
        assert sum(heatmap.counts.values()) == count


def test_crowded_cells_show_counts() -> None:
    text = str(
        grid(snapshot(*(instance(number, power="stopped" if number < 3 else "running") for number in range(500))))
    )
    assert "UD 0  R497 S3\n" in text


def test_columns_that_do_not_fit_continue_below() -> None:
    world = snapshot(*(instance(number, update_domain=number, fault_domain=number) for number in range(1000)))
    text = str(grid(world)).split("\n")
    assert max(map(len, text)) <= 80
    assert sum(line.count("R") for line in text[:-1]) == 1000
    assert len(text) < 1200


@pytest.mark.parametrize("at", [-1.0, 0.0, 1e300, float("nan"), float("inf")])
def test_an_impossible_time_is_left_out(at: float) -> None:
    assert grid([], at=at).timestamp == ""


@given(SNAPSHOTS, st.sampled_from(list(STYLES)))
def test_every_instance_is_in_exactly_one_cell(world: Any, color_by: str) -> None:
    heatmap = grid(world, color_by)
    placed = Counter(cell.instance_id for panel in heatmap.panels for cells in panel.cells.values() for cell in cells)
    assert placed == Counter(world.members.keys())
    for panel in heatmap.panels:
        assert set(panel.cells) <= {(row, column) for row in panel.rows for column in panel.columns}
    assert sum(heatmap.counts.values()) == len(world.members)


@given(SNAPSHOTS, TEXTS, st.integers(0, 250))
def test_plain_text_has_no_control_characters(world: Any, title: str, width: int) -> None:
    text = render_text(grid(world, "progress", classes=dict.fromkeys(world.members, title), title=title), width)
    steering = [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"]
    assert steering == []


@pytest.mark.parametrize("instances", [True, 5, None, "0", {"instanceId": "0"}])
def test_instances_are_a_list(instances: Any) -> None:
    with pytest.raises(InvalidInput, match="instances must be a sequence"):
        grid(instances)


@pytest.mark.parametrize(
    "options",
    [
        *({"color_by": value} for value in ([], {}, None, "HEALTH")),
        *({"color_by": "progress", "classes": value} for value in (5, "failed", {0: "failed"}, ["0"])),
        *({"at": value} for value in ("now", None, True)),
    ],
)
def test_a_heatmap_of_other_types_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        grid([], **options)
