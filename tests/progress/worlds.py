"""Upgrades to watch: whole ones on an emulator in virtual time, with their events kept."""

from typing import Any

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Plan, Policy, Verdict, plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW, OLD = "22.04.202611120", "22.04.202608150"
Event = dict[str, Any]


def stage(*faults: dict[str, Any], **seed: Any) -> Stage:
    made = Stage(Seed.build(**seed))
    for fault in faults:
        made.world.faults.add(**fault)
    return made


def wanted(made: Stage, **policy: Any) -> Plan:
    return plan(made.arm, *made.address, NEW, policy=Policy(**policy))


def watched(made: Stage, *views: Any, gate: Any = None, **policy: Any) -> tuple[Verdict, list[Event]]:
    """An upgrade, all its events, and whatever else shall hear them."""
    events: list[Event] = []

    def hear(event: Event) -> None:
        for view in (events.append, *views):
            view(event)

    return upgrade(made.arm, wanted(made, **policy), gate=gate, on_event=hear), events


FAILING = {"on": "upgrade", "instance": "3", "effect": "fail"}
