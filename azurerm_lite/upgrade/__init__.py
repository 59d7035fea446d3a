"""Upgrade a scale set without downtime: plan it, run it, resume it, take it back, rehearse it.

from azurerm_lite.upgrade import Policy, plan, upgrade
wanted = plan(arm, *web, "22.04.202611120", policy=Policy(canary_instances=1))
print(wanted)
verdict = upgrade(arm, wanted, journal="web.jsonl")
"""

from typing import TYPE_CHECKING

from .. import _lazy

if TYPE_CHECKING:
    from .fleet import FleetReport as FleetReport
    from .fleet import upgrade_fleet as upgrade_fleet
    from .health import Gate as Gate
    from .health import command_gate as command_gate
    from .health import http_gate as http_gate
    from .health import tcp_gate as tcp_gate
    from .journal import Journal as Journal
    from .lock import Locked as Locked
    from .planning import Plan as Plan
    from .planning import look as look
    from .planning import plan as plan
    from .platform import roll as roll
    from .platform import watch as watch
    from .rehearsal import Rehearsal as Rehearsal
    from .rehearsal import rehearse as rehearse
    from .rehearsal import what_if as what_if
    from .rules.policy import Policy as Policy
    from .rules.preflight import PlanRefused as PlanRefused
    from .rules.snapshot import Observation as Observation
    from .rules.verdict import Verdict as Verdict
    from .runner import Runner as Runner
    from .runs import plan_rollback as plan_rollback
    from .runs import repair as repair
    from .runs import resume as resume
    from .runs import rollback as rollback
    from .runs import upgrade as upgrade

_HOME = {
    "fleet": "FleetReport upgrade_fleet",
    "health": "Gate command_gate http_gate tcp_gate",
    "journal": "Journal",
    "lock": "Locked",
    "rules.snapshot": "Observation",
    "planning": "Plan look plan",
    "platform": "roll watch",
    "rules.policy": "Policy",
    "rules.preflight": "PlanRefused",
    "rehearsal": "Rehearsal rehearse what_if",
    "runner": "Runner",
    "runs": "plan_rollback repair resume rollback upgrade",
    "rules.verdict": "Verdict",
}
_ROOM_OF, __getattr__ = _lazy.names(__name__, _HOME)
__all__ = sorted(_ROOM_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted(_ROOM_OF)
