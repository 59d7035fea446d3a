"""Take an upgrade back: the old model, and only the instances that were touched, with the same care."""

from dataclasses import replace
from typing import Any

from .. import model
from ..arm import Arm, Auth, arm_of
from ..types import ScaleSet
from . import journal as _journal
from .planning import look, plan
from .policy import Policy
from .preflight import PlanRefused
from .runner import OnEvent, Stop, _never, _silent, upgrade
from .verdict import Verdict


def rollback(
    auth: Auth, journal: str, *, new_journal: str | None = None, on_event: OnEvent = _silent, should_stop: Stop = _never
) -> Verdict:
    """Bring back the model from before, and the instances that the upgrade in `journal` has touched.

    What GET never shows (passwords, protected settings) was not changed and is not sent. Each roll-out can be taken
    back once; a roll-out that takes one back cannot.
    """
    entries = _journal.read(journal)
    return take_back(arm_of(auth), entries, new_journal, on_event=on_event, should_stop=should_stop)


def take_back(arm: Arm, entries: list[_journal.Entry], new_journal: str | None, **options: Any) -> Verdict:
    """The same from the entries of an upgrade; `options` are those of `upgrade`."""
    first, state = _journal.begun(entries), _journal.fold(entries)
    if first.get("takes_back"):
        raise PlanRefused("that journal is of a rollback itself: plan an upgrade instead")
    assert state.progress is not None  # noqa: S101  (folded from the first entry)
    address = ScaleSet.parse(first["scale_set"])
    there = look(arm, address, flexible=first["flexible"]).members
    touched = tuple(one for one in sorted(state.progress.posted) if one in there)
    undo: Any = first["undo"]
    policy = replace(Policy.from_dict(first["policy"]), canary_instances=0, checkpoints=(), rollback_on_failure=False)
    policy = replace(policy, instances=touched, zones=None, update_domains=None, fault_domains=None)
    wanted = plan(arm, *address, lambda found: model.merged(found, undo), policy=policy, accept_failed=True)
    return upgrade(arm, replace(wanted, takes_back=True), journal=new_journal, **options)
