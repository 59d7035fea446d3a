"""Upgrades on an emulator in virtual time, with their events."""

from typing import Any

from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import Plan, Policy, Verdict, plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW, OLD = "22.04.202611120", "22.04.202608150"
Event = dict[str, Any]


def make_stage(*faults: dict[str, Any], **seed: Any) -> Stage:
    stage = Stage(Seed.build(**seed))
    for fault in faults:
        stage.simulation.faults.add(**fault)
    return stage


def make_plan(stage: Stage, **policy: Any) -> Plan:
    return plan(stage.arm, *stage.address, NEW, policy=Policy(**policy))


def run_upgrade(stage: Stage, *views: Any, gate: Any = None, **policy: Any) -> tuple[Verdict, list[Event]]:
    """Run an upgrade; returns its verdict and events, which go to `views` as well."""
    events: list[Event] = []

    def record(event: Event) -> None:
        for view in (events.append, *views):
            view(event)

    return upgrade(stage.arm, make_plan(stage, **policy), gate=gate, on_event=record), events


FAILING = {"on": "upgrade", "instance": "3", "effect": "fail"}
