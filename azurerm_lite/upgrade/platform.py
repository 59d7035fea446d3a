"""Azure's own rolling upgrade, driven and watched from here, for sets whose upgrade mode is Rolling.

Azure chooses batches, order and pace by the set's rolling upgrade policy; what is ours is the start, the watch, the
cancel, and a verdict by instance, which Azure does not give: it counts only.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from .. import edits, images, rolling_upgrades, vmss
from ..arm import Arm, Auth, arm_of
from ..errors import ConflictError, NotFoundError
from ..secrecy import conceal_tokens
from ..types import JsonDict, ScaleSet
from ..update import update_vmss
from . import planner, preflight
from .observe import Observation
from .planner import current
from .planning import is_flexible, look, pin, resolved
from .preflight import PlanRefused
from .runner import OnEvent, Stop, _never, _silent
from .verdict import Verdict

POLL_SECONDS = 15.0  # `rollingUpgrades/latest` may be read 12 times a minute
APPEARS_SECONDS = 120.0  # how long a run may take to show after the model was written
_OUTCOMES = {"completed": "succeeded", "cancelled": "cancelled", "canceled": "cancelled", "faulted": "stopped"}


def roll(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: str | Callable[[Any], Any] | None = None,
    *,
    timeout: float = 86_400.0,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> Verdict:
    """Let Azure upgrade the set by its own rolling policy, and say how each instance came out.

    `change`: an image version ("latest" is resolved and pinned) or a function on the model; writing it starts Azure's
    engine. None rolls to the newest image of a model that says `latest`. `timeout` in seconds; `should_stop` cancels
    it, which leaves what was upgraded as it is. Raises PlanRefused unless the upgrade mode is Rolling.
    """
    arm, address = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name)
    before: JsonDict = {**vmss.get_vmss(arm, *address)}
    _refuse(before)
    earlier, seen = _newest(arm, address), look(arm, address, flexible=is_flexible(before))
    if _running(earlier):
        raise PlanRefused("Azure runs a rolling upgrade of this scale set already: watch() follows it")
    _refuse_a_surge_without_room(arm, address, before, len(seen.members))
    written = _begin(arm, address, before, change)
    if not written:
        return _verdict(arm, address, seen, "succeeded", "nothing changed, so nothing was begun", arm.time())
    started = str(_status(earlier).get("startTime", ""))
    return _follow(arm, address, seen, started, timeout, on_event, should_stop)


def watch(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    timeout: float = 86_400.0,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> Verdict:
    """Follow the rolling upgrade that Azure runs now, whoever began it, to its end. Reads only, unless it is stopped.

    `should_stop` answered with True cancels it. NotFoundError when there never was one.
    """
    arm, address = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name)
    found = {**vmss.get_vmss(arm, *address)}
    rolling_upgrades.get_rolling_upgrade(arm, *address)
    seen = look(arm, address, flexible=is_flexible(found))
    return _follow(arm, address, seen, None, timeout, on_event, should_stop)


def _refuse(found: Mapping[str, Any]) -> None:
    mode = str(((found.get("properties") or {}).get("upgradePolicy") or {}).get("mode", "Manual"))
    if mode.lower() != "rolling":
        raise PlanRefused(f"the upgrade mode is {mode}, not Rolling: plan() and upgrade() are for mode Manual")


def _refuse_a_surge_without_room(arm: Arm, address: ScaleSet, found: Mapping[str, Any], there: int) -> None:
    """Where there is no quota for new instances Azure upgrades the old ones in place, and says nothing of it.

    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-maxsurge
    """
    policy = ((found.get("properties") or {}).get("upgradePolicy") or {}).get("rollingUpgradePolicy") or {}
    each = preflight.cores(preflight.size(found))
    if policy.get("maxSurge") is True and each is not None:
        batch = planner.floor(int(policy.get("maxBatchInstancePercent", 20)), there)
        usages = images.list_usages(arm, address.subscription_id, str(found.get("location", "")))
        preflight.refuse_by_quota(batch * each, usages, "a batch with maxSurge")


def _begin(arm: Arm, address: ScaleSet, before: JsonDict, change: Any) -> bool:
    """Write the change, which starts Azure's engine, or start it by name; False when there is nothing to write."""
    if change is None:
        rolling_upgrades.start_os_rolling_upgrade(arm, *address)
        return True
    if isinstance(change, str):
        version = resolved(arm, address, before, change)
        return update_vmss(arm, *address, lambda found: edits.set_image_version(found, version)) is not None
    return update_vmss(arm, *address, change) is not None


def _newest(arm: Arm, address: ScaleSet) -> JsonDict:
    """The newest run as Azure shows it; {} when there never was one."""
    try:
        return rolling_upgrades.get_rolling_upgrade(arm, *address)
    except NotFoundError:
        return {}


def _status(run: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (run.get("properties") or {}).get("runningStatus")
    return found if isinstance(found, Mapping) else {}


def _running(run: Mapping[str, Any]) -> bool:
    return str(_status(run).get("code", "")).lower() in ("rollingforward", "rollingback")


def _follow(
    arm: Arm,
    address: ScaleSet,
    before: Observation,
    not_this: str | None,
    timeout: float,
    on_event: OnEvent,
    should_stop: Stop,
) -> Verdict:
    """Look until the run has ended. `not_this`: when the run before ours began, None to take the newest there is."""
    begun, cancelled = arm.time(), False
    while arm.time() < begun + timeout:
        run = _newest(arm, address)
        status = _status(run)
        fresh = bool(status) and (not_this is None or str(status.get("startTime", "")) != not_this)
        if fresh and not _running(run):
            code = str(status.get("code", ""))
            outcome = _OUTCOMES.get(code.lower(), "stopped")
            return _verdict(arm, address, before, outcome, _reason(run, code), begun)
        if not fresh and arm.time() > begun + APPEARS_SECONDS:
            return _verdict(arm, address, before, "stopped", "Azure began no rolling upgrade of its own", begun)
        on_event({"kind": "platform", "at": arm.time(), "status": dict(status), "progress": _counts(run)})
        if fresh and not cancelled and should_stop():
            _cancel(arm, address)
            cancelled = True
        arm.pause(POLL_SECONDS)
    reason = f"it did not end within {timeout:g} s; Azure goes on with it, and watch() follows it"
    return _verdict(arm, address, before, "paused", reason, begun)


def _cancel(arm: Arm, address: ScaleSet) -> None:
    with contextlib.suppress(ConflictError):  # it has ended meanwhile
        rolling_upgrades.cancel_rolling_upgrade(arm, *address).wait()


def _counts(run: Mapping[str, Any]) -> dict[str, int]:
    found = (run.get("properties") or {}).get("progress") or {}
    return {key.removesuffix("InstanceCount"): value for key, value in found.items() if isinstance(value, int)}


def _reason(run: Mapping[str, Any], code: str) -> str:
    error = (run.get("properties") or {}).get("error") or {}
    said = f"{error.get('code', '')}: {error.get('message', '')}" if error else ""
    return "" if code.lower() == "completed" and not said else f"Azure's rolling upgrade is {code}. {said}".strip()


def _verdict(arm: Arm, address: ScaleSet, before: Observation, outcome: str, reason: str, begun: float) -> Verdict:
    """Each instance in its class, as its own view has it: Azure's word for the whole is not enough for `succeeded`."""
    found = {**vmss.get_vmss(arm, *address)}
    version = pin(found)
    after = look(arm, address, flexible=is_flexible(found))
    classes = {one: _class(before, after, version, one) for one in {**before.members, **after.members}}
    if outcome == "succeeded" and "failed" in classes.values():
        outcome, reason = "stopped", reason or "Azure calls it completed, and not every instance is well"
    fit = sum(map(after.fit, after.members.values()))
    return Verdict(outcome, reason, classes, version, 0, arm.time() - begun, fit)


def _class(before: Observation, after: Observation, version: str, instance_id: str) -> str:
    was, now = before.members.get(instance_id), after.members.get(instance_id)
    if now is None or (was is not None and was.vm_id and now.vm_id and was.vm_id != now.vm_id):
        return "vanished"
    if was is None:
        return "arrived-current" if current(now, version) else "not-reached"
    if current(now, version) and (after.fit(now) or now.settling):
        return "already-current" if current(was, version) and was == now else "updated"
    if now.protected:
        return "skipped-protected"
    return "failed" if now.state == "Failed" or current(now, version) else "not-reached"


conceal_tokens(globals(), arm_of)
