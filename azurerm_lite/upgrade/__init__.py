"""Upgrade a scale set without downtime: plan it, run it, resume it, take it back, rehearse it.

from azurerm_lite.upgrade import Policy, plan, upgrade
wanted = plan(arm, *web, "22.04.202611120", policy=Policy(canary_instances=1))
print(wanted)
verdict = upgrade(arm, wanted, journal="web.jsonl")
"""

from typing import TYPE_CHECKING

from .. import _lazy

if TYPE_CHECKING:
    from .azure_rolling import azure_rolling_upgrade as azure_rolling_upgrade
    from .azure_rolling import watch_azure_rolling_upgrade as watch_azure_rolling_upgrade
    from .fleet import FleetReport as FleetReport
    from .fleet import upgrade_fleet as upgrade_fleet
    from .rehearsal import Rehearsal as Rehearsal
    from .rehearsal import rehearse as rehearse
    from .rehearsal import rehearse_failures as rehearse_failures
    from .rules.policy import Policy as Policy
    from .rules.preflight import PlanRefused as PlanRefused
    from .rules.snapshot import Snapshot as Snapshot
    from .rules.verdict import Verdict as Verdict
    from .run.gates import Gate as Gate
    from .run.gates import command_gate as command_gate
    from .run.gates import http_gate as http_gate
    from .run.gates import tcp_gate as tcp_gate
    from .run.journal import Journal as Journal
    from .run.lock import Locked as Locked
    from .run.planning import Plan as Plan
    from .run.planning import plan as plan
    from .run.planning import take_snapshot as take_snapshot
    from .run.runner import Runner as Runner
    from .run.runs import clean_up as clean_up
    from .run.runs import plan_rollback as plan_rollback
    from .run.runs import resume as resume
    from .run.runs import rollback as rollback
    from .run.runs import upgrade as upgrade

_EXPORTS = {
    "fleet": "FleetReport upgrade_fleet",
    "run.gates": "Gate command_gate http_gate tcp_gate",
    "run.journal": "Journal",
    "run.lock": "Locked",
    "rules.snapshot": "Snapshot",
    "run.planning": "Plan plan take_snapshot",
    "azure_rolling": "azure_rolling_upgrade watch_azure_rolling_upgrade",
    "rules.policy": "Policy",
    "rules.preflight": "PlanRefused",
    "rehearsal": "Rehearsal rehearse rehearse_failures",
    "run.runner": "Runner",
    "run.runs": "clean_up plan_rollback resume rollback upgrade",
    "rules.verdict": "Verdict",
}
_MODULE_OF, __getattr__ = _lazy.names(__name__, _EXPORTS)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
