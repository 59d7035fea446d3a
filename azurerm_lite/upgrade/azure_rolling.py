"""Start and watch Azure's own rolling upgrade, for scale sets whose upgrade mode is Rolling.

Azure chooses the batches, their order and their pace by the rolling upgrade policy of the scale set. This module
starts, watches and cancels the upgrade and returns a class for each instance; Azure itself returns only counts.
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
from .rules.selection import is_current
from .rules.snapshot import InstanceStatus, Snapshot, behind
from .rules.verdict import Verdict
from .run.planning import is_flexible, pin, resolve_version, take_snapshot
from .run.runner import OnEvent, Stop, _never, _silent

POLL_SECONDS = 15.0  # `rollingUpgrades/latest` may be read 12 times a minute
APPEARS_SECONDS = 120.0  # the longest time from the write of the model until Azure shows a run
SETTLE_SECONDS = 600.0  # the longest wait for instances after the run has ended
MOST_LOOKS = 3  # reads of the instances while they contradict the end of the run
_OUTCOMES = {"completed": "succeeded", "cancelled": "cancelled", "canceled": "cancelled", "faulted": "stopped"}
# Classes that are no failure of the upgrade.
_DONE = frozenset({
    *("updated", "already-current", "arrived-current", "skipped-protected", "still-unavailable", "evicted", "vanished")
})  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest waits, in seconds: for the whole upgrade, in an outage, in a throttle."""

    timeout: float
    outage: float
    throttle: float


@dataclass(slots=True)
class Run:
    """The state of one rolling upgrade.

    `before`: the Snapshot at the start. `status`: the newest answer of `rollingUpgrades/latest`. `request_id`: of the
    request that started the run, or else of the newest answer. `earlier`: the start time of the previous run; None to
    watch the newest run.
    """

    arm: Arm
    address: ScaleSet
    limits: Limits
    on_event: OnEvent
    started_at: float
    before: Snapshot = field(default_factory=lambda: Snapshot({}, 0.0))
    earlier: str | None = None
    status: JsonDict = field(default_factory=dict)
    request_id: str = ""
    operation: Operation | None = None
    has_begun: bool = False  # Azure shows a run that is not the previous one


class Unanswered(Exception):
    """Azure did not answer in time. `refusal`: Azure's error when waiting would not help."""

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
            "Azure is running a rolling upgrade of this scale set already: watch_azure_rolling_upgrade() follows it"
        )
    _refuse_a_surge_without_room(arm, address, before, len(run.before.members))
    run.earlier = str(_status(earlier).get("startTime", ""))
    try:
        is_sent = _retry(run, "the change", lambda: _begin(run, before, change))
    except Unanswered as unanswered:
        if unanswered.refusal is not None:
            raise unanswered.refusal from None
        return _verdict(_without_waits(run), "paused", f"nothing was begun: {unanswered}")
    if not is_sent:
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
        model = _retry(run, "the scale set", lambda: {**vmss.get_vmss(arm, *address)})
        if not _retry(run, "the rolling upgrade", lambda: _newest(run)):
            rolling_upgrades.get_rolling_upgrade(arm, *address)  # raises NotFoundError with Azure's message
        run.before = _retry(run, "the instances", lambda: take_snapshot(arm, address, flexible=is_flexible(model)))
    except Unanswered as unanswered:
        return _verdict(_without_waits(run), "paused", str(unanswered))
    run.has_begun = True
    return _follow(run, should_stop)


def _limits(timeout: float, outage: float, throttle: float) -> Limits:
    names = {"timeout": timeout, "outage_timeout_seconds": outage, "throttle_timeout_seconds": throttle}
    for name, value in names.items():
        arguments.seconds(value, name)
    return Limits(timeout, outage, throttle)


def _refuse(model: Mapping[str, Any]) -> None:
    mode = str(((model.get("properties") or {}).get("upgradePolicy") or {}).get("mode", "Manual"))
    if mode.lower() != "rolling":
        raise PlanRefused(f"the upgrade mode is {mode}, not Rolling: for mode Manual use plan() and upgrade()")


def _refuse_a_surge_without_room(arm: Arm, address: ScaleSet, model: Mapping[str, Any], instance_count: int) -> None:
    """Refuse maxSurge without quota: Azure would silently upgrade the old instances in place.

    https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-maxsurge
    """
    policy = ((model.get("properties") or {}).get("upgradePolicy") or {}).get("rollingUpgradePolicy") or {}
    each = preflight.cores(preflight.size(model))
    if policy.get("maxSurge") is True and each is not None:
        batch = selection.floor(int(policy.get("maxBatchInstancePercent", 20)), instance_count)
        usages = images.list_usages(arm, address.subscription_id, str(model.get("location", "")))
        preflight.refuse_by_quota(batch * each, usages, "a batch with maxSurge")


def _begin(run: Run, before: JsonDict, change: Any) -> bool:
    """Write the change, or start the upgrade without a change; False when the change leaves the model as it is."""
    try:
        if change is None:
            run.operation = rolling_upgrades.start_os_rolling_upgrade(run.arm, *run.address)
        else:
            run.operation = update_vmss(run.arm, *run.address, _change_function(run, before, change))
    except OutcomeUnknown:  # `rollingUpgrades/latest` will show whether a run has started
        return True
    run.request_id = (run.operation.request_id or "") if run.operation else ""
    return run.operation is not None


def _change_function(run: Run, before: JsonDict, change: Any) -> Callable[[Any], Any]:
    if not isinstance(change, str):
        changer: Callable[[Any], Any] = change
        return changer
    version = resolve_version(run.arm, run.address, before, change)
    return lambda model: edits.set_image_version(model, version)


# --- Azure's answers -------------------------------------------------------------------------------------------------


def _newest(run: Run) -> JsonDict:
    """Read the newest run; {} when there was never one."""
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


def _retry(run: Run, what: str, ask: Callable[[], T]) -> T:
    """Call `ask` until Azure answers; Unanswered, with Azure's reason, when that takes too long."""
    since = run.arm.time()
    while True:
        try:
            return ask()
        except AzurermLiteError as error:
            if isinstance(error, NotFoundError | InvalidInput | PlanRefused):
                raise
            _wait(run, what, since, error)


def _wait(run: Run, what: str, since: float, error: AzurermLiteError) -> None:
    """Wait before the next try; Unanswered when that would take too long."""
    if not _may_pass(error):
        unanswered = Unanswered(f"{what} failed: {error}")
        unanswered.refusal = error
        raise unanswered from None
    throttled = isinstance(error, ThrottledError)
    limit = run.limits.throttle if throttled else run.limits.outage
    seconds, now = max(getattr(error, "retry_after", None) or 0.0, POLL_SECONDS), run.arm.time()
    if now + seconds > min(since + limit, run.started_at + run.limits.timeout):
        cause = "Azure has throttled the requests" if throttled else "Azure has not answered"
        raise Unanswered(f"{cause} for {now - since:.0f} s: {error}; come back in {seconds:.0f} s") from None
    reason = {"cause": "throttled" if throttled else "outage", "deadline": since + limit, "reason": str(error)}
    run.on_event({"kind": "waiting", "at": now, "seconds": seconds, **reason})
    run.arm.pause(seconds)


def _may_pass(error: AzurermLiteError) -> bool:
    """Whether a later try may succeed. A response that is not ARM's counts as well."""
    return isinstance(error, BusyError | ProtocolError) or (
        isinstance(error, ArmError | TransportError) and wire.is_transient(error)
    )


def _without_waits(run: Run) -> Run:
    """Set the limits of a run to zero, so that nothing is waited for any longer."""
    run.limits = Limits(run.limits.timeout, 0.0, 0.0)
    return run


def _follow(run: Run, should_stop: Stop) -> Verdict:
    """Watch the run to its end; `paused` when Azure does not answer in time."""
    try:
        return _follow_to_end(run, should_stop)
    except Unanswered as unanswered:
        reason = f"{unanswered}. Azure goes on with the upgrade: watch_azure_rolling_upgrade() follows it"
        return _verdict(_without_waits(run), "paused", reason)


def _follow_to_end(run: Run, should_stop: Stop) -> Verdict:
    started_at, cancelled = run.arm.time(), False
    while run.arm.time() < started_at + run.limits.timeout:
        latest = _retry(run, "the state of the rolling upgrade", lambda: _newest(run))
        status = _status(latest)
        fresh = bool(status) and (run.earlier is None or str(status.get("startTime", "")) != run.earlier)
        if fresh and not run.has_begun:
            run.has_begun, run.before = True, behind(run.before)
        if fresh and not _is_running(latest):
            code = str(status.get("code", ""))
            return _verdict(run, _OUTCOMES.get(code.lower(), "stopped"), _reason(latest, code))
        if not fresh and run.arm.time() > started_at + APPEARS_SECONDS:
            return _verdict(run, "stopped", _why_nothing_began(run))
        run.on_event({"kind": "platform", "at": run.arm.time(), "status": dict(status), "progress": _counts(latest)})
        if fresh and not cancelled and should_stop():
            _retry(run, "the cancel", lambda: _cancel(run))
            cancelled = True
        run.arm.pause(POLL_SECONDS)
    reason = f"it did not end within {run.limits.timeout:g} s; Azure goes on: watch_azure_rolling_upgrade() follows it"
    return _verdict(run, "paused", reason)


def _cancel(run: Run) -> None:
    with contextlib.suppress(ConflictError, OutcomeUnknown):  # the run has ended, or its state will show the cancel
        rolling_upgrades.cancel_rolling_upgrade(run.arm, *run.address)


def _counts(run: Mapping[str, Any]) -> dict[str, int]:
    progress = (run.get("properties") or {}).get("progress") or {}
    return {key.removesuffix("InstanceCount"): value for key, value in progress.items() if isinstance(value, int)}


def _error(run: Mapping[str, Any]) -> str:
    """Azure's code and message of a failed run, "" without an error."""
    error = (run.get("properties") or {}).get("error") or {}
    return f"{error.get('code', '')}: {error.get('message', '')}" if error else ""


def _reason(run: Mapping[str, Any], code: str) -> str:
    error = _error(run)
    return "" if code.lower() == "completed" and not error else f"Azure's rolling upgrade is {code}. {error}".strip()


def _why_nothing_began(run: Run) -> str:
    """A text that no run has started, with the error of the write of the change."""
    text, operation = "Azure did not start a rolling upgrade", run.operation
    if operation is None:
        return text
    with contextlib.suppress(AzurermLiteError):
        operation.poll()
    return f"{text}: {operation.error}" if operation.error is not None else text


# --- the class of each instance --------------------------------------------------------------------------------------


def _verdict(run: Run, outcome: str, reason: str) -> Verdict:
    """The verdict of the run, with the class of each instance by its own view.

    `succeeded` needs every instance to be on the model and available; Azure's status of the run is not enough.
    """
    after = run.before
    try:
        after, version = _take_settled_snapshot(run, outcome)
    except (Unanswered, NotFoundError) as unread:
        classes, version = _unread_classes(run), ""
        hint = f"the instances could not be read at the end ({unread})"
        outcome, reason = "paused" if outcome == "succeeded" else outcome, "; ".join(filter(None, (reason, hint)))
    else:
        classes = instance_classes(run.before, after, version)
    if outcome == "succeeded" and (unfinished := [name for name, kind in classes.items() if kind not in _DONE]):
        outcome = "paused" if {classes[name] for name in unfinished} == {"in-flight"} else "stopped"
        ids = f"{len(unfinished)} instances ({', '.join(unfinished[:10])})"
        reason = f"Azure reports it as completed, but {ids} are not on the model and available"
    elif in_flight := [name for name, kind in classes.items() if kind == "in-flight"]:
        reason = f"{reason}; in flight: {', '.join(in_flight[:10])}"
    return Verdict(
        outcome,
        reason,
        classes,
        version,
        0,
        run.arm.time() - run.started_at,
        sum(map(after.is_available, after.members.values())),
        failures={name: _failure(run, after, name) for name, kind in classes.items() if kind == "failed"},
    )


def _take_settled_snapshot(run: Run, outcome: str) -> tuple[Snapshot, str]:
    """A Snapshot of the instances once none of them changes, and the version that they should run.

    A list that contradicts the end of the run is read again. Instances that still change are waited for, unless the
    run itself goes on.
    """
    since, looks = run.arm.time(), 0
    while True:
        after, version = _retry(run, "the instances", lambda: _look(run))
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
    """A Snapshot of the instances, and the version of the model."""
    model = {**vmss.get_vmss(run.arm, *run.address)}
    snapshot = take_snapshot(run.arm, run.address, flexible=is_flexible(model))
    return snapshot._replace(reports=snapshot.reports or run.before.reports), pin(model)


def _unread_classes(run: Run) -> dict[str, str]:
    """The classes by the last Snapshot, when the instances cannot be read: those not on the model may be in flight."""
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
    """The class of every instance in either Snapshot."""
    names = {**before.members, **after.members}
    return {name: _class(before, after, version, name) for name in names}


def _class(before: Snapshot, after: Snapshot, version: str, instance_id: str) -> str:
    was, now = before.members.get(instance_id), after.members.get(instance_id)
    if now is None or (was is not None and was.vm_id and now.vm_id and was.vm_id != now.vm_id):
        return "vanished"
    if was is None:
        return "arrived-current" if is_current(now, version) else "not-reached"
    return (
        _class_on_model(before, after, was, now, version) if is_current(now, version) else _class_behind_model(was, now)
    )


def _class_on_model(before: Snapshot, after: Snapshot, was: InstanceStatus, now: InstanceStatus, version: str) -> str:
    """The class of an instance that is on the model."""
    if after.is_available(now):
        return "already-current" if is_current(was, version) and was == now else "updated"
    if now.is_settling:
        return "in-flight"
    if not before.is_available(was) and not was.is_settling:
        return "still-unavailable"
    return "evicted" if now.is_stopped else "failed"


def _class_behind_model(was: InstanceStatus, now: InstanceStatus) -> str:
    """The class of an instance that is not on the model."""
    if now.protected:
        return "skipped-protected"
    if now.state in ("Creating", "Updating"):
        return "in-flight"
    if now.state == "Failed" and was.state != "Failed":
        return "failed"
    return "evicted" if now.is_stopped and not was.is_stopped else "not-reached"
