"""The heatmap as HTML and SVG: complete, small and safe; and the cards of plans and verdicts."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.errors import InvalidInput
from azurerm_lite.heatmap import grid
from azurerm_lite.heatmap.html import render_fragment, render_page, render_svg
from azurerm_lite.upgrade import Verdict, plan
from azurerm_lite.upgrade.rehearsal import Stage

from .worlds import HOSTILE, SNAPSHOTS, TEXTS, instance, snapshot, spread

ELEMENTS = {"html", "head", "meta", "title", "body", "div", "span", "table", "caption", "tr", "th", "td", "b"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "style", "title", "scope", "colspan"}
STEERING = set("\x00\x07\x1b\r\x9b\u202e\u2066\u2028\u200b\ufeff\ufffe")


class ParsedPage(HTMLParser):
    """The elements, attributes and text that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def check_safe(text: str) -> ParsedPage:
    page = ParsedPage(text)
    assert set(page.elements) <= ELEMENTS
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert not STEERING & set(text)
    assert not re.search(r"url\(|@import|expression\(", " ".join(v or "" for n, v in page.attributes if n == "style"))
    return page


def test_a_page_shows_the_title_the_time_and_the_emulator_mark() -> None:
    text = render_page(grid(snapshot(instance(0, latest=False, protected=True)), "model", title="web", emulator=True))
    page = check_safe(text)
    assert "web: 1 instance by model, 2026-09-21 14:13:20 UTC, EMULATOR" in page.text
    assert "color-scheme:light dark" in text
    tooltip = "0: running, health healthy, Succeeded, behind the model, 22.04.202608150, protected"
    assert ("title", tooltip) in page.attributes
    assert "behind 1" in page.text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_becomes_text(hostile: str) -> None:
    """Rows 146 and 147."""
    odd = {"zone": hostile, "group": hostile, "version": hostile, "state": hostile, "power": hostile, "health": hostile}
    heatmap = grid(
        snapshot(instance(hostile, **odd), instance(1)),
        "progress",
        classes={hostile: hostile, "gone": hostile},
        title=hostile,
    )
    plain = check_safe(render_page(grid(snapshot(instance(0), instance(1)), "progress")))
    hostile_page = check_safe(render_page(heatmap))
    assert {*hostile_page.elements} <= {*plain.elements, "caption"}
    root = ElementTree.fromstring(render_svg(heatmap))  # noqa: S314 - our own output
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "text", "g"}
    assert not STEERING & set(render_svg(heatmap))


@settings(max_examples=60)
@given(SNAPSHOTS, TEXTS)
def test_any_snapshot_parses_and_shows_each_instance_once(world: Any, title: str) -> None:
    heatmap = grid(world, "health", title=title)
    signs = [value for name, value in check_safe(render_fragment(heatmap)).attributes if name == "title"]
    assert len(signs) == len(world.members)
    root = ElementTree.fromstring(render_svg(heatmap))  # noqa: S314 - our own output
    titles = root.findall(".//{http://www.w3.org/2000/svg}title")
    assert len(titles) == len(world.members) + 1


@pytest.mark.parametrize(
    "world",
    [
        spread(1000),
        spread(1000, zones=3, groups=10),
        spread(1000, zones=3, groups=10, version="/subscriptions/" + "x" * 300),
        snapshot(*(instance(number, update_domain=number, fault_domain=number) for number in range(1000))),
        snapshot(*(instance(number, update_domain=None, fault_domain=None) for number in range(1000))),
    ],
    ids=["one panel", "30 panels", "long versions", "1000 domains", "no domains"],
)
def test_a_thousand_instances_are_under_300_kb(world: Any) -> None:
    heatmap = grid(world, "health", title="web")
    assert len(render_page(heatmap).encode()) < 300_000
    assert len(render_svg(heatmap).encode()) < 300_000


def test_the_suffix_decides_the_format(tmp_path: Path) -> None:
    heatmap = grid(spread(20), title="web")
    heatmap.save(str(tmp_path / "x.html"))
    heatmap.save(str(tmp_path / "x.SVG"))
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == render_page(heatmap)
    assert (tmp_path / "x.SVG").read_text(encoding="utf-8") == render_svg(heatmap)
    with pytest.raises(InvalidInput, match=r"\.html or \.svg"):
        heatmap.save(str(tmp_path / "x.png"))


def test_plan_and_verdict_show_as_cards() -> None:
    stage = Stage(Seed.build())
    plan_ = plan(stage.arm, *stage.address, "22.04.202611120")
    assert repr(plan_) == "<Plan web: 20 of 20 instances in 5 batches>"
    text = check_safe(plan_._repr_html_()).text
    assert "batch 5" in text
    assert "at least 16 instances" in text
    check_safe(replace(plan_, changes=tuple(HOSTILE), warnings=tuple(HOSTILE))._repr_html_())


def test_an_arm_shows_its_address_and_no_secret() -> None:
    stage = Stage(Seed.build())
    az.get_vmss(stage.arm, *stage.address)
    text = check_safe(stage.arm._repr_html_()).text
    assert "EMULATOR" in text
    assert "https://localhost" in text
    assert "requests left" in text
    token = stage.arm.credential.get_token("https://localhost/.default").token
    for hidden in (token, stage.address.subscription_id):
        assert hidden not in stage.arm._repr_html_()


def test_an_operation_shows_its_status_and_error() -> None:
    stage = Stage(Seed.build())
    stage.simulation.faults.add(on="upgrade", instance="3", effect="fail")
    az.patch_vmss(stage.arm, *stage.address, {"properties": {"virtualMachineProfile": {"licenseType": "None"}}}).wait()
    operation = az.manual_upgrade_instances(stage.arm, *stage.address, ["3"])
    assert "POST: InProgress" in check_safe(operation._repr_html_()).text
    with pytest.raises(az.OperationFailed):
        operation.wait()
    text = check_safe(operation._repr_html_()).text
    assert "POST: Failed" in text
    assert "error" in text
    assert str(operation.request_id) in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_diff_is_a_table_of_text(hostile: str) -> None:
    difference = az.diff({"tags": {hostile: hostile, "a": 1}}, {"tags": {hostile: "x", "a": 2}})
    page = check_safe(difference._repr_html_())
    assert "2 changes of the model" in page.text
    assert set(page.elements) == {"div", "table", "caption", "tr", "th", "td"}
    assert str(az.diff({}, {})) == "no change"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_verdict_with_hostile_text_is_safe(hostile: str) -> None:
    verdict = Verdict("stopped", hostile, {"0": "failed", "1": "updated"}, hostile, 2, 61.0, 1, hostile)
    assert "fewest healthy" in check_safe(verdict._repr_html_()).text
    assert repr(verdict).startswith("<Verdict stopped: ")
    assert not STEERING & set(repr(verdict))
