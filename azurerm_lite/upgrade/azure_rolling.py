"""Azure's own rolling upgrade, driven and watched from here, for sets whose upgrade mode is Rolling.

Azure chooses batches, order and pace by the set's rolling upgrade policy; what is ours is the start, the watch, the
cancel, and a verdict by instance, which Azure does not give: it counts only.
https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._common import arguments
from .._common.secrecy import conceal_locals
from .._http import wire
from ..arm import Arm, Auth, arm_of
from ..endpoints import images, rolling_upgrades, vmss
from ..errors import (
    ArmError,
    AzurermLiteError,
    BusyError,
    ConflictError,
    InvalidInput,
    NotFoundError,
    OutcomeUnknown,
    ProtocolError,
    ThrottledError,
    TransportError,
)
from ..model import edits
from ..operation import Operation
from ..types import JsonDict, ScaleSet
from ..update import update_vmss
from .rules import checks, preflight, selection
from .rules.preflight import PlanRefused
from .rules.selection import current
from .rules.snapshot import InstanceStatus, Snapshot, behind
from .rules.verdict import Verdict
from .run.planning import is_flexible, pin, resolved, take_snapshot
from .run.runner import OnEvent, Stop, _never, _silent

POLL_SECONDS = 15.0  # `rollingUpgrades/latest` may be read 12 times a minute
APPEARS_SECONDS = 120.0  # how long a run may take to show after the model was written
SETTLE_SECONDS = 600.0  # how long instances may be on their way when the run has ended
MOST_LOOKS = 3  # at instances that are not as the end of the run has them
_OUTCOMES = {"completed": "succeeded", "cancelled": "cancelled", "canceled": "cancelled", "faulted": "stopped"}
# What is no failure of the upgrade.
_DONE = frozenset({
    *("updated", "already-current", "arrived-current", "skipped-protected", "still-unavailable", "evicted", "vanished")
})  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things are waited for, in seconds."""

    timeout: float
    outage: float
    throttle: float


@dataclass(slots=True)
class Run:
    """What is known of one rolling upgrade: where, who tells, and since when.

    `status`: the newest answer of `rollingUpgrades/latest`; `request_id`: of the request that began it, else of the
    answer that showed it. `earlier`: when the run before it began, None to take the newest there is.
    """

    arm: Arm
    address: ScaleSet
    limits: Limits
    on_event: OnEvent
    begun: float
    before: Snapshot = field(default_factory=lambda: Snapshot({}, 0.0))
    earlier: str | None = None
    status: JsonDict = field(default_factory=dict)
    request_id: str = ""
    operation: Operation | None = None
    has_begun: bool = False  # Azure shows a run that may be ours


class Unanswered(Exception):
    """Azure has not answered for longer than may be waited; `refusal`: its answer, where waiting would not help."""

    refusal: AzurermLiteError | None = None


@conceal_locals
def azure_rolling_upgrade(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: str | Callable[[Any], Any] | None = None,
    *,
    timeout: float = 86_400.0,
    outage_timeout_seconds: float = 1800.0,
    throttle_timeout_seconds: float = 3600.0,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> Verdict:
    """Start Azure's own rolling upgrade, follow it to its end, and return its Verdict.

    `change`: an image version ("latest" is resolved and pinned) or a function on the model; writing it starts Azure's
    engine. None upgrades to the newest image of a model that says `latest`. `timeout` in seconds. When `should_stop`
    returns True, the upgrade is cancelled; instances that were upgraded stay upgraded.

    An outage is waited out for `outage_timeout_seconds`, a throttle for `throttle_timeout_seconds`. After that the
    verdict is `paused` and says when to come back: Azure goes on, and `watch_azure_rolling_upgrade` follows it.

    Raises: InvalidInput for wrong arguments, PlanRefused unless the upgrade mode is Rolling, ArmError when Azure
    refuses the change. After the change is written, nothing is raised.
    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-configure-rolling-upgrades
    """
    checks.of_plan(change, None)
    checks.of_run(None, None, on_event, should_stop)
    limits = _limits(timeout, outage_timeout_seconds, throttle_timeout_seconds)
    arm, address = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name)
    run = Run(arm, address, limits, on_event, arm.time())
    before: JsonDict = {**vmss.get_vmss(arm, *address)}
    _refuse(before)
    earlier, run.before = _newest(run), take_snapshot(arm, address, flexible=is_flexible(before))
    if _is_running(earlier):
        raise PlanRefused(
            "Azure runs a rolling upgrade of this scale set already: watch_azure_rolling_upgrade() follows it"
        )
    _refuse_a_surge_without_room(arm, address, before, len(run.before.members))
    run.earlier = str(_status(earlier).get("startTime", ""))
    try:
        begun = _patiently(run, "the change", lambda: _begin(run, before, change))
    except Unanswered as unanswered:
        if unanswered.refusal is not None:
            raise unanswered.refusal from None
        return _verdict(_hurried(run), "paused", f"nothing was begun: {unanswered}")
    if not begun:
        return _verdict(run, "succeeded", "nothing changed, so nothing was begun")
    return _follow(run, should_stop)


@conceal_locals
def watch_azure_rolling_upgrade(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    *,
    timeout: float = 86_400.0,
    outage_timeout_seconds: float = 1800.0,
    throttle_timeout_seconds: float = 3600.0,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> Verdict:
    """Follow Azure's rolling upgrade of the scale set to its end, and return its Verdict.

    It only reads, unless `should_stop` returns True, which cancels the upgrade. `timeout` in seconds. Outages and
    throttles are waited out as `azure_rolling_upgrade` does.

    Raises: InvalidInput for wrong arguments, NotFoundError when there never was a rolling upgrade.
    https://learn.microsoft.com/rest/api/compute/virtual-machine-scale-set-rolling-upgrades/get-latest
    """
    checks.of_run(None, None, on_event, should_stop)
    limits = _limits(timeout, outage_timeout_seconds, throttle_timeout_seconds)
    arm, address = arm_of(auth), ScaleSet(subscription_id, resource_group, vmss_name)
    run = Run(arm, address, limits, on_event, arm.time())
    try:
        model = _patiently(run, "the scale set", lambda: {**vmss.get_vmss(arm, *address)})
        if not _patiently(run, "the rolling upgrade", lambda: _newest(run)):
            rolling_upgrades.get_rolling_upgrade(arm, *address)  # whose 404 says what there is none of
        run.before = _patiently(run, "the instances", lambda: take_snapshot(arm, address, flexible=is_flexible(model)))
    except Unanswered as unanswered:
        return _verdict(_hurried(run), "paused", str(unanswered))
    run.has_begun = True
    return _follow(run, should_stop)


def _limits(timeout: float, outage: float, throttle: float) -> Limits:
    names = {"timeout": timeout, "outage_timeout_seconds": outage, "throttle_timeout_seconds": throttle}
    for name, value in names.items():
        arguments.seconds(value, name)
    return Limits(timeout, outage, throttle)


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
        batch = selection.floor(int(policy.get("maxBatchInstancePercent", 20)), there)
        usages = images.list_usages(arm, address.subscription_id, str(found.get("location", "")))
        preflight.refuse_by_quota(batch * each, usages, "a batch with maxSurge")


def _begin(run: Run, before: JsonDict, change: Any) -> bool:
    """Write the change, which starts Azure's engine, or start it by name; False when there is nothing to write."""
    try:
        if change is None:
            run.operation = rolling_upgrades.start_os_rolling_upgrade(run.arm, *run.address)
        else:
            run.operation = update_vmss(run.arm, *run.address, _changer(run, before, change))
    except OutcomeUnknown:  # it shows whether a run begins
        return True
    run.request_id = (run.operation.request_id or "") if run.operation else ""
    return run.operation is not None


def _changer(run: Run, before: JsonDict, change: Any) -> Callable[[Any], Any]:
    if not isinstance(change, str):
        changer: Callable[[Any], Any] = change
        return changer
    version = resolved(run.arm, run.address, before, change)
    return lambda model: edits.set_image_version(model, version)


# --- what Azure says -------------------------------------------------------------------------------------------------


def _newest(run: Run) -> JsonDict:
    """The newest run as Azure shows it; {} when there never was one."""
    path = f"{vmss.vmss_path(*run.address)}/rollingUpgrades/latest?api-version={run.arm.api_version}"
    try:
        _, headers, body = run.arm.read(path)
    except NotFoundError:
        return {}
    run.status = body if isinstance(body, dict) else {}
    if run.operation is None:
        run.request_id = headers.get("x-ms-request-id") or run.request_id
    return run.status


def _status(run: Mapping[str, Any]) -> Mapping[str, Any]:
    status = (run.get("properties") or {}).get("runningStatus")
    return status if isinstance(status, Mapping) else {}


def _is_running(run: Mapping[str, Any]) -> bool:
    return str(_status(run).get("code", "")).lower() in ("rollingforward", "rollingback")


def _patiently(run: Run, what: str, ask: Callable[[], T]) -> T:
    """The answer, once there is one; Unanswered, with Azure's reason and when to come back, when it takes too long."""
    since = run.arm.time()
    while True:
        try:
            return ask()
        except AzurermLiteError as error:
            if isinstance(error, NotFoundError | InvalidInput | PlanRefused):
                raise
            _wait(run, what, since, error)


def _wait(run: Run, what: str, since: float, error: AzurermLiteError) -> None:
    """Wait until it may be asked again, unless that would be too late."""
    if not _may_pass(error):
        unanswered = Unanswered(f"{what} could not be had: {error}")
        unanswered.refusal = error
        raise unanswered from None
    throttled = isinstance(error, ThrottledError)
    limit = run.limits.throttle if throttled else run.limits.outage
    seconds, now = max(getattr(error, "retry_after", None) or 0.0, POLL_SECONDS), run.arm.time()
    if now + seconds > min(since + limit, run.begun + run.limits.timeout):
        cause = "Azure has refused for too many requests" if throttled else "Azure has given no answer"
        raise Unanswered(f"{cause} for {now - since:.0f} s: {error}; come back in {seconds:.0f} s") from None
    reason = {"cause": "throttled" if throttled else "outage", "deadline": since + limit, "reason": str(error)}
    run.on_event({"kind": "waiting", "at": now, "seconds": seconds, **reason})
    run.arm.pause(seconds)


def _may_pass(error: AzurermLiteError) -> bool:
    """Whether the same question may be answered later; a response that is not as ARM's is read again, too."""
    return isinstance(error, BusyError | ProtocolError) or (
        isinstance(error, ArmError | TransportError) and wire.is_transient(error)
    )


def _hurried(run: Run) -> Run:
    """The same run when nothing more is to be waited for."""
    run.limits = Limits(run.limits.timeout, 0.0, 0.0)
    return run


def _follow(run: Run, should_stop: Stop) -> Verdict:
    """Look until the run has ended, or may not be waited for any longer."""
    try:
        return _followed(run, should_stop)
    except Unanswered as unanswered:
        reason = f"{unanswered}. Azure goes on with it by itself, and watch_azure_rolling_upgrade() follows it"
        return _verdict(_hurried(run), "paused", reason)


def _followed(run: Run, should_stop: Stop) -> Verdict:
    begun, cancelled = run.arm.time(), False
    while run.arm.time() < begun + run.limits.timeout:
        latest = _patiently(run, "the state of the rolling upgrade", lambda: _newest(run))
        status = _status(latest)
        fresh = bool(status) and (run.earlier is None or str(status.get("startTime", "")) != run.earlier)
        if fresh and not run.has_begun:
            run.has_begun, run.before = True, behind(run.before)
        if fresh and not _is_running(latest):
            code = str(status.get("code", ""))
            return _verdict(run, _OUTCOMES.get(code.lower(), "stopped"), _reason(latest, code))
        if not fresh and run.arm.time() > begun + APPEARS_SECONDS:
            return _verdict(run, "stopped", _why_nothing_began(run))
        run.on_event({"kind": "platform", "at": run.arm.time(), "status": dict(status), "progress": _counts(latest)})
        if fresh and not cancelled and should_stop():
            _patiently(run, "the cancel", lambda: _cancel(run))
            cancelled = True
        run.arm.pause(POLL_SECONDS)
    reason = (
        f"it did not end within {run.limits.timeout:g} s; Azure goes on, and watch_azure_rolling_upgrade() follows it"
    )
    return _verdict(run, "paused", reason)


def _cancel(run: Run) -> None:
    with contextlib.suppress(ConflictError, OutcomeUnknown):  # it has ended meanwhile, or the state will show it
        rolling_upgrades.cancel_rolling_upgrade(run.arm, *run.address)


def _counts(run: Mapping[str, Any]) -> dict[str, int]:
    progress = (run.get("properties") or {}).get("progress") or {}
    return {key.removesuffix("InstanceCount"): value for key, value in progress.items() if isinstance(value, int)}


def _error(run: Mapping[str, Any]) -> str:
    """Azure's code and message of a run that has ended badly."""
    error = (run.get("properties") or {}).get("error") or {}
    return f"{error.get('code', '')}: {error.get('message', '')}" if error else ""


def _reason(run: Mapping[str, Any], code: str) -> str:
    error = _error(run)
    return "" if code.lower() == "completed" and not error else f"Azure's rolling upgrade is {code}. {error}".strip()


def _why_nothing_began(run: Run) -> str:
    """That no run has begun, and what the write of the change says of it."""
    text, operation = "Azure began no rolling upgrade of its own", run.operation
    if operation is None:
        return text
    with contextlib.suppress(AzurermLiteError):
        operation.poll()
    return f"{text}: {operation.error}" if operation.error is not None else text


# --- how each instance came out --------------------------------------------------------------------------------------


def _verdict(run: Run, outcome: str, reason: str) -> Verdict:
    """Each instance in its class, as its own view has it: Azure's word for the whole is not enough for `succeeded`."""
    after = run.before
    try:
        after, version = _settled(run, outcome)
    except (Unanswered, NotFoundError) as unread:
        classes, version = _unread_classes(run), ""
        hint = f"the instances could not be read at the end ({unread})"
        outcome, reason = "paused" if outcome == "succeeded" else outcome, "; ".join(filter(None, (reason, hint)))
    else:
        classes = instance_classes(run.before, after, version)
    if outcome == "succeeded" and (left := [one for one, kind in classes.items() if kind not in _DONE]):
        outcome = "paused" if {classes[one] for one in left} == {"in-flight"} else "stopped"
        names = ", ".join(left[:10])
        reason = f"Azure calls it completed, and {len(left)} instances ({names}) are not on the model and available"
    elif in_flight := [one for one, kind in classes.items() if kind == "in-flight"]:
        reason = f"{reason}; in flight: {', '.join(in_flight[:10])}"
    return Verdict(
        outcome,
        reason,
        classes,
        version,
        0,
        run.arm.time() - run.begun,
        sum(map(after.fit, after.members.values())),
        failures={one: _failure(run, after, one) for one, kind in classes.items() if kind == "failed"},
    )


def _settled(run: Run, outcome: str) -> tuple[Snapshot, str]:
    """The instances when they have come to rest, and the version that they shall run.

    What a list says that contradicts the end of the run is read again; instances on their way are waited for, unless
    Azure still works on the whole.
    """
    since, looks = run.arm.time(), 0
    while True:
        after, version = _patiently(run, "the instances", lambda: _look(run))
        looks += 1
        kinds = set(instance_classes(run.before, after, version).values())
        odd = "vanished" in kinds or (outcome == "succeeded" and kinds & {"not-reached", "failed"})
        moving = "in-flight" in kinds and outcome != "paused"
        waited = run.arm.time() - since
        if not ((odd and looks < MOST_LOOKS) or (moving and waited < SETTLE_SECONDS)):
            return after, version
        facts = {"cause": "implausible" if odd else "health", "deadline": since + SETTLE_SECONDS}
        run.on_event({"kind": "waiting", "at": run.arm.time(), "seconds": POLL_SECONDS, **facts, "reason": "settling"})
        run.arm.pause(POLL_SECONDS)


def _look(run: Run) -> tuple[Snapshot, str]:
    """The instances now, which report health if they ever did, and the version of the model."""
    model = {**vmss.get_vmss(run.arm, *run.address)}
    seen = take_snapshot(run.arm, run.address, flexible=is_flexible(model))
    return seen._replace(reports=seen.reports or run.before.reports), pin(model)


def _unread_classes(run: Run) -> dict[str, str]:
    """The classes by what was seen last: what was not on the model then may be in Azure's hands."""
    rest = "in-flight" if run.has_begun or run.operation is not None else "not-reached"
    marks = {True: "skipped-protected", False: rest}
    before = behind(run.before) if run.operation is not None else run.before
    return {
        name: "already-current" if member.latest and run.has_begun else marks[member.protected]
        for name, member in before.members.items()
    }


def _failure(run: Run, after: Snapshot, instance_id: str) -> str:
    """Azure's code, message and request id for an instance that failed."""
    member = after.members[instance_id]
    parts = [member.trouble or _error(run.status) or f"{member.state}, {member.power or 'no power state'}"]
    parts += [f"health {member.health}"] if member.health not in ("", "healthy") else []
    parts += [f"request id {run.request_id}"] if run.request_id else []
    return "; ".join(parts)


def instance_classes(before: Snapshot, after: Snapshot, version: str) -> dict[str, str]:
    """Every instance that was ever seen, each in exactly one class."""
    names = {**before.members, **after.members}
    return {one: _class(before, after, version, one) for one in names}


def _class(before: Snapshot, after: Snapshot, version: str, instance_id: str) -> str:
    was, now = before.members.get(instance_id), after.members.get(instance_id)
    if now is None or (was is not None and was.vm_id and now.vm_id and was.vm_id != now.vm_id):
        return "vanished"
    if was is None:
        return "arrived-current" if current(now, version) else "not-reached"
    return _of_reached(before, after, was, now, version) if current(now, version) else _of_outdated(was, now)


def _of_reached(before: Snapshot, after: Snapshot, was: InstanceStatus, now: InstanceStatus, version: str) -> str:
    """The class of an instance that is on the model."""
    if after.fit(now):
        return "already-current" if current(was, version) and was == now else "updated"
    if now.settling:
        return "in-flight"
    if not before.fit(was) and not was.settling:
        return "still-unavailable"
    return "evicted" if now.is_stopped else "failed"


def _of_outdated(was: InstanceStatus, now: InstanceStatus) -> str:
    """The class of an instance that is not on the model."""
    if now.protected:
        return "skipped-protected"
    if now.state in ("Creating", "Updating"):
        return "in-flight"
    if now.state == "Failed" and was.state != "Failed":
        return "failed"
    return "evicted" if now.is_stopped and not was.is_stopped else "not-reached"
