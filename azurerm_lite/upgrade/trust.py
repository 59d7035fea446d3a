"""Whether a journal may be acted on here: it is of this endpoint, and its patches do what was planned. PURE.

The file's owner, mode and seal are `journal`'s and `entries`'. What is checked here holds for a file that somebody has
sealed anew, too: a patch leads from the model that was planned on to the model that was planned, and changes nothing
beside the paths of the plan.
"""

from collections.abc import Mapping
from typing import Any

from .. import model
from ..errors import InvalidInput, printable
from ..types import JsonDict
from .preflight import PlanRefused

Entry = Mapping[str, Any]


def paths_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths in which two models differ, besides what only Azure sets and what no model shows."""
    return sorted({change.path for change in model.diff(_plain(before), _plain(after))})


def _plain(found: Mapping[str, Any]) -> Any:
    return model.without_secrets(model.without_read_only(found))


def refuse_other_endpoint(first: Entry, endpoint: str) -> None:
    """InvalidInput when the journal is of another cloud's resource manager than this one."""
    named = first.get("endpoint", "")
    if named != endpoint:
        where = printable(named, 200) if named else "an endpoint that it does not name"
        raise InvalidInput(
            f"that journal is of {where}, and this connection leads to {endpoint}: connect to the former"
        )


def refuse_other_world(first: Entry, world: str) -> None:
    """InvalidInput when the journal is of another emulator than the one that answers, or of Azure and an emulator."""
    named = first.get("world", "")
    if named != world:
        was = f"the emulator {printable(named, 40)}" if named else "Azure"
        answers = f"the emulator {printable(world, 40)}" if world else "Azure"
        raise InvalidInput(f"that journal is of {was}, and here answers {answers}: a world that it knows nothing of")


def refuse_other_patch(first: Entry, found: JsonDict) -> None:
    """InvalidInput when the patch would not make of the model what was planned. `found`: the model as it is now.

    A model that is not the one which was planned on is left to the run, which ends for it.
    """
    if model.fingerprint(found) != first["fingerprint_before"]:
        return
    after: Any = model.apply_patch(model.without_read_only(found), first["patch"])
    leads = model.fingerprint(after) == first["fingerprint_after"]
    if not leads or not set(paths_of(found, after)) <= set(first.get("paths", [])):
        raise InvalidInput("the patch in that journal is not the change that it names: plan the upgrade anew")


def refuse_other_undo(first: Entry, found: JsonDict, *, over_later_changes: bool = False) -> None:
    """Refuse a way back that is not the planned one, or that would overwrite a later change by somebody else.

    `found`: the model as it is now. Raises InvalidInput for the former, PlanRefused for the latter, unless
    `over_later_changes`.
    """
    back: Any = model.apply_patch(model.without_read_only(found), first["undo"])
    paths = set(paths_of(found, back))
    now = model.fingerprint(found)
    leads = now != first["fingerprint_after"] or model.fingerprint(back) == first["fingerprint_before"]
    if not leads or not paths <= set(first.get("paths", [])):
        raise InvalidInput(
            "the way back in that journal is not that of the change which it names: plan an upgrade instead"
        )
    later = now != first["fingerprint_before"] and not model.reflects(found, first["patch"])
    if later and not over_later_changes:
        raise PlanRefused(
            "somebody has changed the model since that upgrade, and a rollback would overwrite it: plan an upgrade "
            "instead, or roll back with over_later_changes=True"
        )
