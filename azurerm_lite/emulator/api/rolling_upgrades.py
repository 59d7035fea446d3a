"""The ARM resource `rollingUpgrades` of a scale set, and its history of OS upgrades.

https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades
"""

from typing import Any

from ..messages import ErrorResponse, Json, Request, Response, Route
from ..simulation.compose import Simulation
from ..simulation.events import Events
from ..simulation.state import RollingUpgrade, ScaleSet
from .operations import accepted
from .preconditions import find_scale_set

_HISTORY = 5  # upgrades that the history shows
_ALWAYS = ("maxSurge", "rollbackFailedInstancesOnPolicyBreach")  # parts of the policy that are shown in any case
_SET_TYPE = "Microsoft.Compute/virtualMachineScaleSets"
_TYPE = f"{_SET_TYPE}/rollingUpgrades"


def start_rolling_upgrade(simulation: Simulation, request: Request, **names: str) -> Response:
    run = simulation.rolling_upgrades.start(find_scale_set(simulation, names))
    return accepted(run.record, request, 202)


def start_extension_upgrade(simulation: Simulation, request: Request, **names: str) -> Response:
    run = simulation.rolling_upgrades.start(find_scale_set(simulation, names), kind="Extension")
    return accepted(run.record, request, 202)


def cancel_rolling_upgrade(simulation: Simulation, request: Request, **names: str) -> Response:
    return accepted(simulation.rolling_upgrades.cancel(find_scale_set(simulation, names)), request, 202)


def get_rolling_upgrade(simulation: Simulation, _request: Request, **names: str) -> Response:
    """The newest upgrade: counts, and no instance ids."""
    scale_set, events = find_scale_set(simulation, names), simulation.events
    run = scale_set.rolling_upgrade
    if run is None:
        raise ErrorResponse(404, "NotFound", "The entity was not found in this Azure location.")
    properties: dict[str, Json] = {
        "policy": {**run.policy, **{key: run.policy.get(key, False) for key in _ALWAYS}},
        "runningStatus": {
            "code": run.code,
            "lastAction": run.last_action,
            "lastActionTime": events.timestamp(run.last_action_time),
            "startTime": events.timestamp(run.start_time),
        },
        "progress": _progress(run),
    }
    if run.error is not None:
        properties["error"] = run.error
    return Response(200, {"type": _TYPE, "location": scale_set.location, "properties": properties})


def _progress(run: RollingUpgrade) -> dict[str, int]:
    return {
        "successfulInstanceCount": run.succeeded,
        "failedInstanceCount": run.failed,
        "inProgressInstanceCount": len(run.batch),
        "pendingInstanceCount": len(run.pending),
    }


def list_os_upgrades(simulation: Simulation, _request: Request, **names: str) -> Response:
    """The newest OS upgrades that have ended."""
    scale_set = find_scale_set(simulation, names)
    entries: list[dict[str, Any]] = []
    run = scale_set.rolling_upgrade
    while run is not None and len(entries) < _HISTORY:
        if run.end_time is not None and run.kind == "OS":
            entries.append(_history_entry(simulation.events, scale_set, run))
        run = run.previous
    return Response(200, {"value": entries})


def _history_entry(events: Events, scale_set: ScaleSet, run: RollingUpgrade) -> dict[str, Any]:
    image = {k: v for k, v in scale_set.image.items() if k in ("publisher", "offer", "sku", "version")}
    start, end = events.timestamp(run.start_time), events.timestamp(run.end_time)
    properties: dict[str, Json] = {
        "runningStatus": {"code": run.code, "startTime": start, "endTime": end},
        "progress": _progress(run),
        "startedBy": run.initiator,
        "targetImageReference": image,
        "rollbackInfo": {"successfullyRolledbackInstanceCount": run.rollbacks, "failedRolledbackInstanceCount": 0},
    }
    if run.error is not None:
        properties["error"] = run.error
    return {"type": _TYPE, "location": scale_set.location, "properties": properties}


_SET = f"/subscriptions/<subscription_id>/resourceGroups/<resource_group>/providers/{_SET_TYPE}/<vmss_name>"
ROUTES: list[Route] = [
    ("POST", f"{_SET}/osRollingUpgrade", start_rolling_upgrade, f"{_SET_TYPE}/osRollingUpgrade/action"),
    ("POST", f"{_SET}/extensionRollingUpgrade", start_extension_upgrade, f"{_SET_TYPE}/extensionRollingUpgrade/action"),
    ("POST", f"{_SET}/rollingUpgrades/cancel", cancel_rolling_upgrade, f"{_SET_TYPE}/rollingUpgrades/cancel/action"),
    ("GET", f"{_SET}/rollingUpgrades/latest", get_rolling_upgrade, f"{_SET_TYPE}/rollingUpgrades/latest/read"),
    ("GET", f"{_SET}/osUpgradeHistory", list_os_upgrades, f"{_SET_TYPE}/osUpgradeHistory/read"),
]
