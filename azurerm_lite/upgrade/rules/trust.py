"""Whether a journal may be acted on here: it is of this endpoint, and its patches do what was planned. PURE.

The file's owner, mode and seal are `journal`'s and `entries`'. What is checked here holds for a file that somebody has
sealed anew, too: a patch leads from the model that was planned on to the model that was planned, and changes nothing
beside the paths of the plan.
"""

from collections.abc import Mapping
from typing import Any

from ... import model
from ...errors import InvalidInput, printable
from ...types import JsonDict

Entry = Mapping[str, Any]
_IMAGE = ".".join(map(str, model.IMAGE))


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


def refuse_other_change(first: Entry, leg: Entry, found: JsonDict, after: JsonDict) -> None:
    """InvalidInput when a model that is to be written is not one that was planned.

    `leg`: what is to be written, as the journal has it; `found`: the model as it is now; `after`: what would become of
    it. A forward change of a model that is not the one which was planned on is left to the run, which ends for it.
    """
    now, other = model.fingerprint(found), "patch" in leg and leg["patch"] != first["patch"]
    if not other and "patch" in leg and now != leg.get("before"):
        return
    leads = now != leg.get("before") or model.fingerprint(after) == leg.get("after")
    if other or not leads or _beside(first, found, after):
        raise InvalidInput("the patch in that journal is not the change that it names: plan the upgrade anew")


def refuse_other_undo(first: Entry, found: JsonDict) -> None:
    """InvalidInput when the way back does not undo the planned change. `found`: the model as it is now."""
    back: Any = model.apply_merge_patch(model.without_read_only(found), first["undo"])
    planned = model.fingerprint(found) == first["fingerprint_after"]
    leads = not planned or model.fingerprint(back) == first["fingerprint_before"]
    if not leads or _beside(first, found, back):
        raise InvalidInput(
            "the way back in that journal does not undo the change that it names: plan an upgrade instead"
        )


def _beside(first: Entry, found: JsonDict, after: JsonDict) -> list[str]:
    """The paths that a change would touch beside those of the plan; an image may become exact by any of its fields."""
    planned = set(first["paths"])
    moves_image = any(path.startswith(_IMAGE) for path in planned)
    others = [path for path in paths_of(found, after) if path not in planned]
    return [path for path in others if not (moves_image and path.startswith(_IMAGE))]
