"""The way back from an upgrade, as a plan: the old model, and only the instances that were touched."""

from dataclasses import replace
from typing import Any

from .. import model, vmss
from ..arm import Arm
from ..types import ScaleSet
from . import journal as _journal
from . import trust
from .planning import Plan, look, plan
from .policy import Policy
from .preflight import PlanRefused


def way_back(arm: Arm, entries: list[_journal.Entry], *, over_later_changes: bool = False) -> Plan:
    """The plan that takes back what these entries did. Each roll-out can be taken back; one that takes back cannot."""
    first, state = _journal.begun(entries), _journal.fold(entries)
    if first.get("takes_back"):
        raise PlanRefused("that journal is of a rollback itself: plan an upgrade instead")
    assert state.progress is not None  # noqa: S101  (folded from the first entry)
    address = ScaleSet.parse(first["scale_set"])
    there = look(arm, address, flexible=first["flexible"]).members
    touched = tuple(one for one in sorted(state.progress.posted) if one in there)
    undo: Any = first["undo"]
    trust.refuse_other_undo(first, {**vmss.get_vmss(arm, *address)}, over_later_changes=over_later_changes)
    policy = replace(Policy.from_dict(first["policy"]), canary_instances=0, checkpoints=(), rollback_on_failure=False)
    policy = policy.for_instances(touched)
    written = first.get("patch") or {}

    def back(found: Any) -> Any:
        return model.apply_patch(found, model.retagged(undo, written, found))

    wanted = plan(arm, *address, back, policy=policy, accept_failed=True)
    return replace(wanted, takes_back=True)


def undo(plan: Plan) -> dict[str, Any]:
    """The patch that takes the change back."""
    after: Any = model.without_secrets(model.apply_patch(plan.before, plan.patch))
    before: Any = model.without_secrets(plan.before)
    return model.merge_patch(after, before)
