"""Whole runs of the engine: begin one from a plan, take one up from its journal, take one back, tidy up after one.

Here is what surrounds the steps: the lock on this machine, the journal's file, the loop that waits between two steps.
What one step does is `runner`'s.
"""

from typing import Any

from ... import model
from ..._common import arguments
from ..._common.secrecy import conceal_locals
from ..._http import wire
from ...arm import Arm, Auth, arm_of
from ...endpoints import vmss
from ...errors import ArmError, InvalidInput, TransportError, short_repr
from ...types import JsonDict, ScaleSet
from ..rules import checks, preflight, selection, trust
from ..rules.preflight import PlanRefused
from ..rules.snapshot import Snapshot
from ..rules.state import State
from ..rules.verdict import Verdict
from . import guards
from . import journal as _journal
from .gates import Gate
from .journal import Journal
from .planning import Plan, is_flexible, seen_model, take_snapshot
from .rollbacks import patch_of, rollback_of, undo
from .runner import OnEvent, Runner, Stop, _never, _silent

STOP_SECONDS = 5.0  # how soon a wish to stop is heard
FRESH_SECONDS = 30.0  # a plan that is younger needs no second look at its instances


@conceal_locals
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
    the plan, Locked when this machine upgrades that scale set already, another ArmError when Azure refuses the first
    read: nothing was begun then. An outage is waited for from the start, and pauses the run.
    """
    checks.of_run(journal, gate, on_event, should_stop)
    if not isinstance(plan, Plan):
        raise InvalidInput(f"plan must be a Plan, as plan() returns it, not {short_repr(plan)}")
    runner = opened(lasting(auth), plan, journal, gate=gate, on_event=on_event)
    return _run(runner, should_stop)


def opened(
    arm: Arm, plan: Plan, journal: str | None, *, gate: Gate | None = None, on_event: OnEvent = _silent
) -> Runner:
    """A Runner at the begin of what the plan says, its journal open and the scale set locked on this machine."""
    kept = Journal(journal)
    kept.lock(plan.address.resource_id, arm.lock_scope, arm.correlation_id)
    try:
        baseline = _refuse_a_moved_world(arm, plan)
        kept.create()
        entry = first_entry(plan, arm.time(), gated=gate is not None, baseline=baseline)
        kept.append({**entry, **_origin(arm, plan)})
        runner = Runner(arm, kept, on_event, gate)
        runner.patch = plan.patch
        runner.seen = None if on_event is _silent else plan.observation
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
    kept.lock(first["scale_set"], arm.lock_scope, arm.correlation_id)
    try:
        kept.reopen()
        if kept.entries[:1] != [first]:
            raise InvalidInput(f"the journal {kept.path} became another one while it was opened: try again")
        found = _refuse_other_world(arm, first)
        if found is not None:
            _refuse_other_plan(first, _journal.fold(kept.entries), found)
    except BaseException:
        kept.close()
        raise
    return kept


def _refuse_other_world(arm: Arm, first: _journal.Entry) -> JsonDict | None:
    """The model as it is now; InvalidInput when another world answers than the one that the journal is of.

    None where nothing answers: the run finds that out by itself, and what is known of the world stands.
    """
    try:
        found: JsonDict | None = {**vmss.get_vmss(arm, *ScaleSet.parse(first["scale_set"]))}
    except (ArmError, TransportError):
        found = None
    if found is not None or arm.world is not None:
        trust.refuse_other_world(first, arm.world or "")
    return found


def _refuse_other_plan(first: _journal.Entry, state: State, found: JsonDict) -> None:
    """InvalidInput when a model that is still to be written is not one of the plan."""
    for number, leg in enumerate(state.legs[state.leg :]):
        if number or state.model != "written":
            trust.refuse_other_change(first, leg.stored, found, _model_after(leg.stored, found))


def _model_after(leg: Any, found: JsonDict) -> JsonDict:
    return dict(model.apply_patch(model.without_read_only(found), patch_of(leg, found)))


def _origin(arm: Arm, plan: Plan) -> dict[str, Any]:
    """Where the journal is from, and the paths that its patches may change."""
    legs = plan.legs or ({"patch": plan.patch},)
    paths = {path for leg in legs for path in trust.paths_of(plan.before, _model_after(leg, plan.before))}
    return {"endpoint": arm.base, "world": arm.world or "", "paths": sorted(paths)}


def _run(runner: Runner, should_stop: Stop) -> Verdict:
    try:
        return _drive(runner, should_stop)
    except BaseException:
        runner.release()
        raise
    finally:
        runner.journal.close()


@conceal_locals
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


@conceal_locals
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
    """Bring the instances that the upgrade in `journal` has touched back to the exact versions that they ran before.

    The model is brought back with them, and names that version afterwards; several old versions are several writes.
    What GET never shows (passwords, protected settings) is not sent. `plan_rollback` shows what it would do. Raises
    PlanRefused where somebody has written the model since, unless `over_later_changes`; InvalidInput for a journal of
    another endpoint, or one that others may have written. A rollback cannot be taken back itself.
    """
    checks.of_resume(journal, gate, on_event, should_stop)
    checks.path(new_journal, "new_journal")
    arm = lasting(auth)
    wanted = plan_rollback(arm, journal, over_later_changes=over_later_changes)
    return upgrade(arm, wanted, journal=new_journal, gate=gate, on_event=on_event, should_stop=should_stop)


@conceal_locals
def plan_rollback(auth: Auth, journal: str, *, over_later_changes: bool = False) -> Plan:
    """The plan that rolls an upgrade back, from its journal.

    Only reads are sent. Each instance that was touched goes back to the exact version that it ran before, and the model
    names that version afterwards. `over_later_changes`: plan it even when another writer has changed the model since.

    Raises: PlanRefused for what cannot be brought back and for a journal of a rollback, InvalidInput for a journal that
    may not be acted on, another ArmError, TransportError.
    """
    checks.of_resume(journal, None, _silent, _never)
    arguments.switch(over_later_changes, "over_later_changes")
    arm, entries = arm_of(auth), _journal.read_trusted(journal)
    first = _journal.begun(entries)
    trust.refuse_other_endpoint(first, arm.base)
    found = _refuse_other_world(arm, first)
    if found is not None and not first["takes_back"]:
        trust.refuse_other_undo(first, found)
    return rollback_of(arm, entries, over_later_changes=over_later_changes)


@conceal_locals
def clean_up(auth: Auth, journal: str) -> bool:
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

            def note(ids: list[str]) -> None:
                kept.append({"kind": "freed", "at": arm.time(), "ids": ids})

            guards.unprotect(arm, address, state.shielded, note)
            kept.append({"kind": "shielded", "at": arm.time(), "ids": [], "batch": []})
        return state.guarded or bool(state.shielded)
    finally:
        kept.close()


@conceal_locals
def lasting(auth: Auth) -> Arm:
    arm = arm_of(auth)
    if not arm.credential.renewable:
        raise InvalidInput(
            "an upgrade outlives a bare token, which cannot be renewed: give it a credential, or connect()"
        )
    return arm


def _refuse_a_moved_world(arm: Arm, plan: Plan) -> Snapshot:
    """The instances as the run finds them; PlanRefused when the model, or what the plan moves, is not what it was.

    In an outage those of the plan: the run waits for Azure, and compares the model before it writes anything.
    """
    try:
        return _baseline(arm, plan)
    except (ArmError, TransportError) as error:
        if arm.world is None or not wire.is_transient(error):
            raise
        return plan.observation


def _baseline(arm: Arm, plan: Plan) -> Snapshot:
    """The instances at the begin of a run; PlanRefused when the plan does not fit them any more."""
    found = vmss.get_vmss(arm, *plan.address)
    if model.fingerprint(found) not in (plan.fingerprint_before, plan.fingerprint_after):
        raise PlanRefused("the model has changed since it was planned: plan again")
    if arm.time() - plan.observation.at < FRESH_SECONDS:
        return plan.observation
    seen = take_snapshot(arm, plan.address, flexible=is_flexible(found))
    mine = {one for ids in plan.batches for one in ids}
    if gone := [one for one in mine if one not in seen.members]:
        raise PlanRefused(f"instances of the plan are gone: {', '.join(sorted(gone)[:10])}: plan again")
    return seen._replace(source=plan.observation.source, model=seen_model(found))


def first_entry(plan: Plan, at: float, *, gated: bool = False, baseline: Snapshot | None = None) -> dict[str, Any]:
    """What the journal of an upgrade begins with: all that is needed to go on with it, and to undo it.

    `baseline`: the instances when the run begins, which what they become is compared with; else those of the plan.
    """
    seen = plan.observation if baseline is None else baseline
    begun = selection.plain(plan.policy, seen, plan.version)
    disk = ((plan.before.get("properties") or {}).get("virtualMachineProfile") or {}).get("storageProfile") or {}
    images: dict[str, list[str]] = {}
    for member in seen.members.values():
        images.setdefault(member.image, []).append(member.instance_id)
    return {
        "kind": "begin",
        "schema": _journal.SCHEMA,
        "at": at,
        **{key: value for key, value in plan.to_dict().items() if key not in ("seconds", "requests", "lowest")},
        "patch": model.without_secrets(plan.patch),
        "withheld": model.without_secrets(plan.patch) != plan.patch,
        "legs": _legs(plan),
        "undo": undo(plan),
        "fingerprint_before": plan.fingerprint_before,
        "fingerprint_after": plan.fingerprint_after,
        "flexible": is_flexible(plan.before),
        "reports": seen.reports,
        "source": plan.source,
        "grace_seconds": preflight.grace_seconds(model.apply_patch(plan.before, plan.patch)),
        "gated": gated,
        "takes_back": plan.takes_back,
        "unreturnable": list(plan.unreturnable),
        "broken": list(plan.broken),
        "ephemeral": bool((disk.get("osDisk") or {}).get("diffDiskSettings")),
        "anew": plan.anew,
        "hosted": plan.hosted,
        "size": preflight.size(model.apply_patch(plan.before, plan.patch)),
        "capacity": begun.capacity,
        "zone_sizes": dict(begun.zone_sizes),
        "unavailable": sorted(begun.unavailable),
        "deallocated": list(plan.deallocated),
        "known": sorted(begun.known),
        "images": [{"image": image, "instances": names} for image, names in images.items()],
    }


def _legs(plan: Plan) -> list[dict[str, Any]]:
    if plan.legs:
        first, *others = plan.legs
        return [{**first, "before": plan.fingerprint_before}, *map(dict, others)]
    return [_forward_leg(plan)]


def _forward_leg(plan: Plan) -> dict[str, Any]:
    return {
        "version": plan.version,
        "before": plan.fingerprint_before,
        "after": plan.fingerprint_after,
        "outline": plan.outline,
        "patch": model.without_secrets(plan.patch),
        "hidden": model.without_secrets(plan.patch) != plan.patch,
    }


def _drive(runner: Runner, should_stop: Stop) -> Verdict:
    """Step until it ends. What cannot be gone on with pauses it: the journal knows where, and resume goes on."""
    runner.should_stop = should_stop
    while (wait := runner.step()) is not None:
        # A wish that the machine knows of and has not followed yet cuts no wait short.
        _rest(runner.arm, wait, _never if runner.state.stopping else should_stop)
    assert runner.verdict is not None  # noqa: S101  (every end is recorded)
    return runner.verdict


def _rest(arm: Arm, seconds: float, should_stop: Stop) -> None:
    """Wait, but not on when somebody asks to stop: the step after it could begin another batch."""
    while seconds > 0 and not should_stop():
        arm.pause(min(seconds, STOP_SECONDS))
        seconds -= STOP_SECONDS
