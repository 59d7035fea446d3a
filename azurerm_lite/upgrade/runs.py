"""Whole runs of the engine: begin one from a plan, take one up from its journal, take one back, tidy up after one.

Here is what surrounds the steps: the lock on this machine, the journal's file, the loop that waits between two steps.
What one step does is `runner`'s.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import arguments, model, vmss
from ..arm import Arm, Auth, arm_of
from ..errors import ArmError, AzurermLiteError, InvalidInput, TransportError
from ..secrecy import conceal_tokens
from ..types import ScaleSet, Vmss
from . import checks, guards, planner, trust
from . import journal as _journal
from .health import Gate
from .journal import Journal
from .planning import Plan, is_flexible, look
from .preflight import PlanRefused
from .runner import DRIFTED, OnEvent, Runner, Stop, _never, _silent, safe_step
from .undo import undo, way_back
from .verdict import Verdict

STOP_SECONDS = 5.0  # how soon a wish to stop is heard
FRESH_SECONDS = 30.0  # a plan that is younger needs no second look at its instances


def upgrade(
    auth: Auth,
    plan: Plan,
    *,
    journal: str | None = None,
    gate: Gate | None = None,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
) -> Verdict:
    """Do what the plan says, batch by batch; the Verdict says how it came out, instance by instance.

    `journal`: a new file in which each step stands before it is taken; `resume(auth, journal)` goes on from it in any
    process. `gate` is asked of each batch once Azure calls it healthy: only True lets it pass (see `health`).
    `should_stop` is asked between steps: True ends it at a safe point. Raises PlanRefused when the world has moved from
    the plan, Locked when this machine upgrades that scale set already.
    """
    checks.of_run(journal, gate, on_event, should_stop)
    if not isinstance(plan, Plan):
        raise InvalidInput(f"plan must be a Plan, as plan() returns it, not {arguments.shown(plan)}")
    runner = opened(lasting(auth), plan, journal, gate=gate, on_event=on_event)
    return _run(runner, should_stop)


def opened(
    arm: Arm, plan: Plan, journal: str | None, *, gate: Gate | None = None, on_event: OnEvent = _silent
) -> Runner:
    """A Runner at the begin of what the plan says, its journal open and the scale set locked on this machine."""
    kept = Journal(journal)
    kept.lock(plan.address.resource_id, arm.place, arm.correlation_id)
    try:
        found = _refuse_a_moved_world(arm, plan)
        kept.create()
        kept.append({**first_entry(plan, arm.time(), gated=gate is not None), **_origin(arm, plan)})
        runner = Runner(arm, kept, on_event, gate)
        runner.patch = plan.patch
        runner.found, runner.seen = found, None if on_event is _silent else plan.observation
        return runner
    except BaseException:
        kept.close()
        raise


def taken_up(arm: Arm, journal: str, *, gate: Gate | None = None, on_event: OnEvent = _silent) -> Runner:
    """A Runner where the journal ends, its file open and the scale set locked on this machine."""
    kept = reopened(arm, journal)
    try:
        runner = Runner(arm, kept, on_event, gate)
    except BaseException:
        kept.close()
        raise
    runner.take_up()
    return runner


def reopened(arm: Arm, journal: str) -> Journal:
    """The journal of an upgrade, to be gone on with; the scale set is locked on this machine."""
    kept = Journal(journal)
    first = _journal.begun(_journal.read_trusted(journal))
    trust.refuse_other_endpoint(first, arm.base)
    kept.lock(first["scale_set"], arm.place, arm.correlation_id)
    try:
        kept.reopen()
        if kept.entries[:1] != [first]:
            raise InvalidInput(f"the journal {kept.path} became another one while it was opened: try again")
        _refuse_other_world(arm, first, written=_journal.fold(kept.entries).model_written)
    except BaseException:
        kept.close()
        raise
    return kept


def _refuse_other_world(arm: Arm, first: _journal.Entry, *, written: bool) -> None:
    """InvalidInput when another world answers here, or the patch that is still to be written is not the planned one.

    Where nothing answers, the run finds out by itself, and what is known of the world stands.
    """
    try:
        found = vmss.get_vmss(arm, *ScaleSet.parse(first["scale_set"]))
    except (ArmError, TransportError):
        found = None
    if found is not None or arm.world is not None:
        trust.refuse_other_world(first, arm.world or "")
    if found is not None and not written:
        trust.refuse_other_patch(first, {**found})


def _origin(arm: Arm, plan: Plan) -> dict[str, Any]:
    """Where the journal is from, and the paths that its patches may change."""
    after: Any = model.apply_patch(plan.before, plan.patch)
    return {"endpoint": arm.base, "world": arm.world or "", "paths": trust.paths_of(plan.before, after)}


def _run(runner: Runner, should_stop: Stop) -> Verdict:
    try:
        verdict = _drive(runner, should_stop)
    finally:
        runner.journal.close()
    return taken_back(runner, verdict, should_stop=should_stop)


def taken_back(runner: Runner, verdict: Verdict, *, should_stop: Stop = _never) -> Verdict:
    """The verdict, after the upgrade was taken back when the policy asks for that and a rule has stopped it.

    Only its own model is taken back: one that somebody else wrote, before it or since, stays as it is.
    """
    begun = runner.policy.rollback_on_failure and runner.state.model_written
    if not begun or verdict.outcome != "stopped":
        return verdict
    kept = runner.journal
    options: Any = {"gate": runner.gate, "on_event": runner.on_event, "should_stop": should_stop}
    try:
        if runner.drifted():
            raise PlanRefused(DRIFTED)
        back = upgrade(runner.arm, way_back(runner.arm, kept.entries), journal=_beside(kept.path), **options)
    except AzurermLiteError as error:
        return replace(verdict, outcome="rollback-failed", reason=f"{verdict.reason}; not taken back: {error}")
    outcome = "rolled-back" if back.ok else "rollback-failed"
    reason = f"{verdict.reason}; taken back: {back.outcome} {back.reason}".strip()
    return replace(verdict, outcome=outcome, reason=reason, seconds=verdict.seconds + back.seconds)


def _beside(path: Path | None) -> str | None:
    return None if path is None else str(path.with_name(f"{path.name}.rollback"))


def resume(
    auth: Auth, journal: str, *, gate: Gate | None = None, on_event: OnEvent = _silent, should_stop: Stop = _never
) -> Verdict:
    """Go on with an upgrade from its journal, in this process, without repeating what was done.

    One that was begun with a gate needs it again.
    """
    checks.of_resume(journal, gate, on_event, should_stop)
    runner = taken_up(lasting(auth), journal, gate=gate, on_event=on_event)
    if runner.verdict is not None:
        runner.journal.close()
        return runner.verdict
    return _run(runner, should_stop)


def rollback(
    auth: Auth,
    journal: str,
    *,
    new_journal: str | None = None,
    gate: Gate | None = None,
    on_event: OnEvent = _silent,
    should_stop: Stop = _never,
    over_later_changes: bool = False,
) -> Verdict:
    """Bring back the model from before, and the instances that the upgrade in `journal` has touched.

    Raises PlanRefused when somebody else has changed the same parts of the model since, unless `over_later_changes`;
    InvalidInput for a journal of another endpoint, or one that others may have written.
    What GET never shows (passwords, protected settings) is not sent. Each roll-out can be taken back once; a roll-out
    that takes one back cannot.
    """
    checks.of_resume(journal, gate, on_event, should_stop)
    checks.path(new_journal, "new_journal")
    arguments.switch(over_later_changes, "over_later_changes")
    arm = lasting(auth)
    entries = _journal.read_trusted(journal)
    first = _journal.begun(entries)
    trust.refuse_other_endpoint(first, arm.base)
    _refuse_other_world(arm, first, written=True)
    wanted = way_back(arm, entries, over_later_changes=over_later_changes)
    return upgrade(arm, wanted, journal=new_journal, gate=gate, on_event=on_event, should_stop=should_stop)


def repair(auth: Auth, journal: str) -> bool:
    """Take back what an upgrade that did not end has left behind: resume automatic repairs, end the protection from
    scale-in. Whether there was any.

    Safe at any time; `resume` does the same when it ends. Raises AzurermLiteError for an instance that is still being
    upgraded.
    """
    checks.of_resume(journal, None, _silent, _never)
    arm = arm_of(auth)
    kept = reopened(arm, journal)
    try:
        state, address = _journal.fold(kept.entries), ScaleSet.parse(_journal.begun(kept.entries)["scale_set"])
        if state.guarded:
            guards.set_repairs(arm, address, "Resume")
            kept.append({"kind": "guarded", "at": arm.time(), "on": False})
        if state.shielded:
            for one in guards.protect(arm, address, state.shielded, False):
                one.wait()
            kept.append({"kind": "shielded", "at": arm.time(), "ids": [], "batch": []})
        return state.guarded or bool(state.shielded)
    finally:
        kept.close()


def lasting(auth: Auth) -> Arm:
    arm = arm_of(auth)
    if not arm.credential.lasting:
        raise InvalidInput(
            "an upgrade outlives a bare token, which cannot be renewed: give it a credential, or connect()"
        )
    return arm


def _refuse_a_moved_world(arm: Arm, plan: Plan) -> Vmss:
    """The model as it is now; PlanRefused when it, or what the plan moves, is no longer what it was."""
    found = vmss.get_vmss(arm, *plan.address)
    if model.fingerprint(found) not in (plan.fingerprint_before, plan.fingerprint_after):
        raise PlanRefused("the model has changed since it was planned: plan again")
    if arm.time() - plan.observation.at < FRESH_SECONDS:
        return found
    seen = look(arm, plan.address, flexible=is_flexible(found))
    mine = {one for ids in plan.batches for one in ids}
    if gone := [one for one in mine if one not in seen.members]:
        raise PlanRefused(f"instances of the plan are gone: {', '.join(sorted(gone)[:10])}: plan again")
    return found


def first_entry(plan: Plan, at: float, *, gated: bool = False) -> dict[str, Any]:
    """What the journal of an upgrade begins with: all that is needed to go on with it, and to undo it."""
    begun = planner.begin(plan.observation, plan.version)
    disk = ((plan.before.get("properties") or {}).get("virtualMachineProfile") or {}).get("storageProfile") or {}
    return {
        "kind": "begin",
        "schema": _journal.SCHEMA,
        "at": at,
        **{key: value for key, value in plan.to_dict().items() if key not in ("seconds", "requests", "lowest")},
        "patch": model.without_secrets(plan.patch),
        "withheld": model.without_secrets(plan.patch) != plan.patch,
        "undo": undo(plan),
        "fingerprint_before": plan.fingerprint_before,
        "fingerprint_after": plan.fingerprint_after,
        "flexible": is_flexible(plan.before),
        "reports": plan.observation.reports,
        "gated": gated,
        "takes_back": plan.takes_back,
        "ephemeral": bool((disk.get("osDisk") or {}).get("diffDiskSettings")),
        "capacity": begun.capacity,
        "zone_sizes": dict(begun.zone_sizes),
        "sick_before": sorted(begun.sick_before),
        "known": sorted(begun.known),
    }


def _drive(runner: Runner, should_stop: Stop) -> Verdict:
    """Step until it ends. What cannot be gone on with pauses it: the journal knows where, and resume goes on."""
    runner.should_stop = should_stop
    for wait in _steps(runner):
        _rest(runner.arm, wait, should_stop)
        if should_stop():
            runner.end("cancelled", "stopped on request; resume goes on with it", None)
            break
    assert runner.verdict is not None  # noqa: S101  (every end is recorded)
    return runner.verdict


def _rest(arm: Arm, seconds: float, should_stop: Stop) -> None:
    """Wait, but not on when somebody asks to stop: the step after it could begin another batch."""
    while seconds > 0 and not should_stop():
        arm.pause(min(seconds, STOP_SECONDS))
        seconds -= STOP_SECONDS


def _steps(runner: Runner) -> Iterator[float]:
    while (wait := safe_step(runner)) is not None:
        yield wait


conceal_tokens(globals(), arm_of)
