"""Upgrade a scale set without downtime: plan it, run it, resume it, take it back, rehearse it.

from azurerm_lite.upgrade import Policy, plan, upgrade
wanted = plan(arm, *web, "22.04.202611120", policy=Policy(canary_instances=1))
print(wanted)
verdict = upgrade(arm, wanted, journal="web.jsonl")
"""

from typing import TYPE_CHECKING

from .. import _lazy

if TYPE_CHECKING:
    from .azure_rolling import roll as roll
    from .azure_rolling import watch as watch
    from .fleet import FleetReport as FleetReport
    from .fleet import upgrade_fleet as upgrade_fleet
    from .rehearsal import Rehearsal as Rehearsal
    from .rehearsal import rehearse as rehearse
    from .rehearsal import what_if as what_if
    from .rules.policy import Policy as Policy
    from .rules.preflight import PlanRefused as PlanRefused
    from .rules.snapshot import Observation as Observation
    from .rules.verdict import Verdict as Verdict
    from .run.gates import Gate as Gate
    from .run.gates import command_gate as command_gate
    from .run.gates import http_gate as http_gate
    from .run.gates import tcp_gate as tcp_gate
    from .run.journal import Journal as Journal
    from .run.lock import Locked as Locked
    from .run.planning import Plan as Plan
    from .run.planning import look as look
    from .run.planning import plan as plan
    from .run.runner import Runner as Runner
    from .run.runs import plan_rollback as plan_rollback
    from .run.runs import repair as repair
    from .run.runs import resume as resume
    from .run.runs import rollback as rollback
    from .run.runs import upgrade as upgrade

_EXPORTS = {
    "fleet": "FleetReport upgrade_fleet",
    "run.gates": "Gate command_gate http_gate tcp_gate",
    "run.journal": "Journal",
    "run.lock": "Locked",
    "rules.snapshot": "Observation",
    "run.planning": "Plan look plan",
    "azure_rolling": "roll watch",
    "rules.policy": "Policy",
    "rules.preflight": "PlanRefused",
    "rehearsal": "Rehearsal rehearse what_if",
    "run.runner": "Runner",
    "run.runs": "plan_rollback repair resume rollback upgrade",
    "rules.verdict": "Verdict",
}
_MODULE_OF, __getattr__ = _lazy.names(__name__, _EXPORTS)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
