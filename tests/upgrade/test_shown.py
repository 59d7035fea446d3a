"""Names, tags, versions and messages that come from Azure steer no terminal, wherever a result is shown."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from unicodedata import category

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import PlanRefused, Verdict, plan, rehearse, upgrade_fleet
from azurerm_lite.upgrade.fleet import FleetReport
from azurerm_lite.upgrade.rehearsal import Stage

EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\u202eALL DONE\u2066\u200f\ud800"
NEW = "22.04.202611120"


@pytest.fixture(name="stage", scope="module")
def _stage() -> Stage:
    return Stage(Seed.build(capacity=5))


def shown(value: Any) -> Iterator[str]:
    for method in ("__str__", "__repr__", "_repr_html_"):
        if hasattr(value, method):
            yield getattr(value, method)()


def hidden(text: str, allowed: str = "\n") -> list[str]:
    return [one for one in text if category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") and one not in allowed]


def results(stage: Stage) -> Iterator[Any]:
    wanted = plan(stage.arm, *stage.address, NEW)
    evil: dict[str, Any] = {
        "changes": (EVIL,),
        "version": EVIL,
        "batches": ((EVIL,), ("1", EVIL)),
        "lowest": {"": 4, f"zone {EVIL}": 1},
        "warnings": (EVIL, EVIL * 100),
        "stages": (EVIL,),
        "address": stage.address._replace(vmss_name=EVIL),
    }
    yield dataclasses.replace(wanted, **evil)
    verdict = Verdict(EVIL, EVIL, {EVIL: EVIL, "1": "updated"}, EVIL, 1, 1.0, 4, EVIL)
    yield verdict
    yield dataclasses.replace(rehearse(stage.arm, *stage.address, NEW), verdict=verdict)
    yield FleetReport(EVIL, {EVIL: verdict}, {EVIL: EVIL}, (EVIL,), 1.0)
    yield az.diff({"tags": {EVIL: "a"}}, {"tags": {EVIL: EVIL}})
    yield az.diff({"tags": {EVIL: "a"}}, {"tags": {EVIL: EVIL}})[0]


def test_no_result_shows_a_character_that_hides_or_steers(stage: Stage) -> None:
    for result in results(stage):
        for text in shown(result):
            assert not hidden(text), (type(result), ascii(text[:400]))
            assert "\nALL DONE" not in text


def test_a_plan_keeps_its_lines(stage: Stage) -> None:
    wanted = plan(stage.arm, *stage.address, NEW)
    assert str(wanted).splitlines()[1].startswith("  change  properties.")
    assert f"  batch  1  {wanted.batches[0][0]}" in str(wanted)


@pytest.mark.parametrize(
    "error",
    [az.AzurermLiteError, az.InvalidInput, PlanRefused, az.CredentialError, az.TransportError, az.ProtocolError],
)
def test_an_error_is_one_line(error: Callable[[str], Exception]) -> None:
    text = str(error(EVIL))
    assert not hidden(text, allowed=""), ascii(text)


def test_a_fleet_that_refuses_a_set_names_it_safely(stage: Stage) -> None:
    report = upgrade_fleet(stage.arm, [stage.address], lambda model: {**model, "tags": {EVIL: 5}}, workers=1)
    for text in shown(report):
        assert not hidden(text), ascii(text)
