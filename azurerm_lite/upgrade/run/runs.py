"""Run an upgrade: start it from a plan, resume it from its journal, roll it back, clean up after it.

This module takes the lock, opens the journal and waits between the steps. The steps are in `runner`.
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
from .planning import Plan, is_flexible, snapshot_model, take_snapshot
from .rollbacks import make_rollback_plan, patch_of, undo_patch
from .runner import OnEvent, Runner, Stop, _never, _silent

STOP_SECONDS = 5.0  # the longest time between two calls of `should_stop`
FRESH_SECONDS = 30.0  # the instances are not read again for a younger plan


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
    """Carry out a plan batch by batch and return the Verdict, with a class for each instance.

    `plan`: as `plan` returned it. `journal`: the path of a new file, which gets each step before it is taken; with it
    `resume(auth, journal)` goes on in any process. `gate`: called with each batch once Azure shows it healthy; only
    True lets the batch pass. `on_event`: called with each event. `should_stop`: called between steps; after True the
    upgrade ends at the next safe point. An outage of Azure is waited out, and pauses the upgrade when it lasts.

    Raises, before anything is changed: PlanRefused when the scale set has changed since the plan, Locked when another
    process on this machine upgrades the scale set, ArmError when Azure refuses the first read, TransportError without
    an answer, InvalidInput for wrong arguments. Later errors are in the Verdict.
    """
    checks.of_run(journal, gate, on_event, should_stop)
    if not isinstance(plan, Plan):
        raise InvalidInput(f"plan must be a Plan, as plan() returns it, not {short_repr(plan)}")
    runner = start_runner(renewable_arm(auth), plan, journal, gate=gate, on_event=on_event)
    return _run(runner, should_stop)


def start_runner(
    arm: Arm, plan: Plan, journal: str | None, *, gate: Gate | None = None, on_event: OnEvent = _silent
) -> Runner:
    """Return a Runner at the start of a plan, with its journal open and the scale set locked on this machine.

    Raises: PlanRefused, Locked, ArmError, InvalidInput, as `upgrade` does.
    """
    journal_file = Journal(journal)
    journal_file.lock(plan.address.resource_id, arm.lock_scope, arm.correlation_id)
    try:
        baseline = _find_baseline(arm, plan)
        journal_file.create()
        entry = first_entry(plan, arm.time(), gated=gate is not None, baseline=baseline)
        journal_file.append({**entry, **_origin(arm, plan)})
        runner = Runner(arm, journal_file, on_event, gate)
        runner.patch = plan.patch
        runner.snapshot = None if on_event is _silent else plan.observation
        return runner
    except BaseException:
        journal_file.close()
        raise


def resume_runner(arm: Arm, journal: str, *, gate: Gate | None = None, on_event: OnEvent = _silent) -> Runner:
    """Return a Runner that goes on where the journal ends, with its file open and the scale set locked.

    Raises: Locked, InvalidInput, as `resume` does.
    """
    journal_file = reopen_journal(arm, journal)
    try:
        runner = Runner(arm, journal_file, on_event, gate)
    except BaseException:
        journal_file.close()
        raise
    runner.take_up()
    return runner


def reopen_journal(arm: Arm, journal: str) -> Journal:
    """Open the journal of an upgrade to append to it, and lock the scale set on this machine."""
    journal_file = Journal(journal)
    first = _journal.begin_entry(_journal.read_trusted(journal))
    trust.refuse_other_endpoint(first, arm.base)
    journal_file.lock(first["scale_set"], arm.lock_scope, arm.correlation_id)
    try:
        journal_file.reopen()
        if journal_file.entries[:1] != [first]:
            raise InvalidInput(f"the journal {journal_file.path} was replaced while it was opened: try again")
        current = _refuse_other_world(arm, first)
        if current is not None:
            _refuse_other_plan(first, _journal.fold(journal_file.entries), current)
    except BaseException:
        journal_file.close()
        raise
    return journal_file


def _refuse_other_world(arm: Arm, first: _journal.Entry) -> JsonDict | None:
    """Read the model; InvalidInput unless the Azure or the emulator that answers is the one of the journal.

    Returns None without an answer: the run will wait for one.
    """
    try:
        current: JsonDict | None = {**vmss.get_vmss(arm, *ScaleSet.parse(first["scale_set"]))}
    except (ArmError, TransportError):
        current = None
    if current is not None or arm.world is not None:
        trust.refuse_other_world(first, arm.world or "")
    return current


def _refuse_other_plan(first: _journal.Entry, state: State, current: JsonDict) -> None:
    """InvalidInput when a model that is still to be written does not match the plan in the first entry."""
    for number, leg in enumerate(state.legs[state.leg :]):
        if number or state.model != "written":
            trust.refuse_other_change(first, leg.stored, current, _model_after(leg.stored, current))


def _model_after(leg: Any, current: JsonDict) -> JsonDict:
    return dict(model.apply_patch(model.without_read_only(current), patch_of(leg, current)))


def _origin(arm: Arm, plan: Plan) -> dict[str, Any]:
    """The fields "endpoint", "world" (the id of an emulator, "" for Azure) and "paths" (which patches may change)."""
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
    """Go on with an upgrade from its journal and return the Verdict.

    No completed step is repeated. An upgrade that has ended is not changed, and its Verdict is returned; one that was
    paused or cancelled goes on. `journal`: the path of its journal. `gate`: required if the upgrade started with one.
    `on_event`, `should_stop`: as in `upgrade`.

    Raises: InvalidInput for wrong arguments and for a journal that is of another endpoint, may have been written by
    another user, or was changed after it was written; Locked when another process on this machine upgrades it.
    """
    checks.of_resume(journal, gate, on_event, should_stop)
    runner = resume_runner(renewable_arm(auth), journal, gate=gate, on_event=on_event)
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
    """Roll an upgrade back: return its instances to the exact versions that they ran before, and the model too.

    Afterwards the model names the old version. With several old versions the model is written several times. Passwords
    and protected settings, which GET does not show, are not restored. `plan_rollback` shows what would be done. A
    rollback cannot be rolled back.

    `journal`: the path of the upgrade's journal. `new_journal`: the path of a new file for the journal of the rollback.
    `over_later_changes`: roll back even when another writer has changed the model since. `gate`, `on_event`,
    `should_stop`: as in `upgrade`.

    Raises: PlanRefused for what cannot be rolled back and for later changes of the model; InvalidInput for wrong
    arguments and for a journal of another endpoint or user; Locked when another process upgrades the scale set;
    ArmError, TransportError.
    """
    checks.of_resume(journal, gate, on_event, should_stop)
    checks.path(new_journal, "new_journal")
    arm = renewable_arm(auth)
    rollback_plan = plan_rollback(arm, journal, over_later_changes=over_later_changes)
    return upgrade(arm, rollback_plan, journal=new_journal, gate=gate, on_event=on_event, should_stop=should_stop)


@conceal_locals
def plan_rollback(auth: Auth, journal: str, *, over_later_changes: bool = False) -> Plan:
    """Plan the rollback of an upgrade from its journal, with read requests only.

    Each instance that the upgrade reached returns to the exact version that it ran before, and the model names that
    version afterwards. `journal`: the path of the upgrade's journal. `over_later_changes`: plan the rollback even when
    another writer has changed the model since.

    Raises: PlanRefused for what cannot be rolled back and for the journal of a rollback; InvalidInput for a journal of
    another endpoint or user; ArmError, TransportError.
    """
    checks.of_resume(journal, None, _silent, _never)
    arguments.switch(over_later_changes, "over_later_changes")
    arm, entries = arm_of(auth), _journal.read_trusted(journal)
    first = _journal.begin_entry(entries)
    trust.refuse_other_endpoint(first, arm.base)
    current = _refuse_other_world(arm, first)
    if current is not None and not first["takes_back"]:
        trust.refuse_other_undo(first, current)
    return make_rollback_plan(arm, entries, over_later_changes=over_later_changes)


@conceal_locals
def clean_up(auth: Auth, journal: str) -> bool:
    """Remove the guards of an unfinished upgrade; return True when there were any.

    Automatic repairs are resumed, and the protection from scale-in is removed. It may be called at any time; an upgrade
    that is resumed does the same at its end. `journal`: the path of the upgrade's journal.

    Raises: AzurermLiteError for an instance that is still being upgraded, Locked while another process on this machine
    upgrades the scale set, InvalidInput for wrong arguments or a journal of another endpoint or user.
    """
    checks.of_resume(journal, None, _silent, _never)
    arm = arm_of(auth)
    journal_file = reopen_journal(arm, journal)
    try:
        state, address = (
            _journal.fold(journal_file.entries),
            ScaleSet.parse(_journal.begin_entry(journal_file.entries)["scale_set"]),
        )
        if state.guarded:
            guards.set_repairs(arm, address, "Resume")
            journal_file.append({"kind": "guarded", "at": arm.time(), "on": False})
        if state.shielded:

            def note(ids: list[str]) -> None:
                journal_file.append({"kind": "freed", "at": arm.time(), "ids": ids})

            guards.unprotect(arm, address, state.shielded, note)
            journal_file.append({"kind": "shielded", "at": arm.time(), "ids": [], "batch": []})
        return state.guarded or bool(state.shielded)
    finally:
        journal_file.close()


@conceal_locals
def renewable_arm(auth: Auth) -> Arm:
    """The Arm of `auth`; InvalidInput for a bare token, which expires during an upgrade."""
    arm = arm_of(auth)
    if not arm.credential.renewable:
        raise InvalidInput(
            "an upgrade takes longer than a bare token is valid: pass a credential, or the result of connect()"
        )
    return arm


def _find_baseline(arm: Arm, plan: Plan) -> Snapshot:
    """The instances at the start of a run; PlanRefused when the model or the instances of the plan have changed.

    In an outage the Snapshot of the plan is returned. The run waits for Azure and compares the model before it writes.
    """
    try:
        return _read_baseline(arm, plan)
    except (ArmError, TransportError) as error:
        if arm.world is None or not wire.is_transient(error):
            raise
        return plan.observation


def _read_baseline(arm: Arm, plan: Plan) -> Snapshot:
    """The instances at the start of a run; PlanRefused when the plan no longer fits them."""
    current = vmss.get_vmss(arm, *plan.address)
    if model.fingerprint(current) not in (plan.fingerprint_before, plan.fingerprint_after):
        raise PlanRefused("the model has changed since it was planned: plan again")
    if arm.time() - plan.observation.at < FRESH_SECONDS:
        return plan.observation
    snapshot = take_snapshot(arm, plan.address, flexible=is_flexible(current))
    mine = {name for ids in plan.batches for name in ids}
    if gone := [name for name in mine if name not in snapshot.members]:
        raise PlanRefused(f"instances of the plan are gone: {', '.join(sorted(gone)[:10])}: plan again")
    return snapshot._replace(source=plan.observation.source, model=snapshot_model(current))


def first_entry(plan: Plan, at: float, *, gated: bool = False, baseline: Snapshot | None = None) -> dict[str, Any]:
    """Return the first entry of a journal: everything that resuming or rolling back the upgrade needs.

    `at`: seconds since 1970. `gated`: whether the upgrade has a gate. `baseline`: the Snapshot at the start of the run,
    against which later ones are compared; the plan's own by default.
    """
    snapshot = plan.observation if baseline is None else baseline
    start = selection.plain(plan.policy, snapshot, plan.version)
    disk = ((plan.before.get("properties") or {}).get("virtualMachineProfile") or {}).get("storageProfile") or {}
    images: dict[str, list[str]] = {}
    for member in snapshot.members.values():
        images.setdefault(member.image, []).append(member.instance_id)
    return {
        "kind": "begin",
        "schema": _journal.SCHEMA,
        "at": at,
        **{key: value for key, value in plan.to_dict().items() if key not in ("seconds", "requests", "lowest")},
        "patch": model.without_secrets(plan.patch),
        "withheld": model.without_secrets(plan.patch) != plan.patch,
        "legs": _legs(plan),
        "undo": undo_patch(plan),
        "fingerprint_before": plan.fingerprint_before,
        "fingerprint_after": plan.fingerprint_after,
        "flexible": is_flexible(plan.before),
        "reports": snapshot.reports,
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
        "capacity": start.capacity,
        "zone_sizes": dict(start.zone_sizes),
        "unavailable": sorted(start.unavailable),
        "deallocated": list(plan.deallocated),
        "known": sorted(start.known),
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
    """Take steps until the upgrade has ended or is paused."""
    runner.should_stop = should_stop
    while (wait := runner.step()) is not None:
        # Once the machine knows that it should stop, its waits are not cut short.
        _pause(runner.arm, wait, _never if runner.state.stopping else should_stop)
    assert runner.verdict is not None  # noqa: S101  (every end is recorded)
    return runner.verdict


def _pause(arm: Arm, seconds: float, should_stop: Stop) -> None:
    """Wait until `seconds` are over or `should_stop` returns True."""
    while seconds > 0 and not should_stop():
        arm.pause(min(seconds, STOP_SECONDS))
        seconds -= STOP_SECONDS
