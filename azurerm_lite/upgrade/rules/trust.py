"""Checks that a journal belongs to this endpoint and that its patches make the planned change. PURE.

`journal` and `stored` check the file's owner, mode and seal. These checks also detect a changed file that was sealed
again: a patch must turn the model before the plan into the planned model, and change only the paths of the plan.
"""

from collections.abc import Mapping
from typing import Any

from ... import model
from ...errors import InvalidInput, printable
from ...types import JsonDict

Entry = Mapping[str, Any]
_IMAGE = ".".join(map(str, model.IMAGE))


def paths_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the paths in which two models differ, without secrets and read-only fields."""
    return sorted({change.path for change in model.diff(_plain(before), _plain(after))})


def _plain(vmss: Mapping[str, Any]) -> Any:
    return model.without_secrets(model.without_read_only(vmss))


def refuse_other_endpoint(first: Entry, endpoint: str) -> None:
    """InvalidInput if the journal belongs to another endpoint of Azure Resource Manager."""
    named = first.get("endpoint", "")
    if named != endpoint:
        where = printable(named, 200) if named else "an endpoint that it does not name"
        raise InvalidInput(
            f"that journal is of {where}, and this connection leads to {endpoint}: connect to the former"
        )


def refuse_other_world(first: Entry, world: str) -> None:
    """InvalidInput if the journal belongs to another emulator, or to Azure and this is an emulator, or vice versa."""
    named = first.get("world", "")
    if named != world:
        was = f"the emulator {printable(named, 40)}" if named else "Azure"
        answers = f"the emulator {printable(world, 40)}" if world else "Azure"
        raise InvalidInput(f"that journal is of {was}, but this connection leads to {answers}")


def refuse_other_change(first: Entry, leg: Entry, vmss: JsonDict, after: JsonDict) -> None:
    """InvalidInput if a leg of the journal does not write a planned model.

    `leg`: the leg as stored in the journal; `vmss`: the present model; `after`: the model after the write. If the model
    has changed since the plan, nothing is refused here: the run itself stops for that.
    """
    now, other = model.fingerprint(vmss), "patch" in leg and leg["patch"] != first["patch"]
    if not other and "patch" in leg and now != leg.get("before"):
        return
    leads = now != leg.get("before") or model.fingerprint(after) == leg.get("after")
    if other or not leads or _beside(first, vmss, after):
        raise InvalidInput("the patch in that journal is not the change that it names: plan the upgrade anew")


def refuse_other_undo(first: Entry, vmss: JsonDict) -> None:
    """InvalidInput if the rollback patch does not undo the planned change. `vmss`: the present model."""
    back: Any = model.apply_merge_patch(model.without_read_only(vmss), first["undo"])
    planned = model.fingerprint(vmss) == first["fingerprint_after"]
    leads = not planned or model.fingerprint(back) == first["fingerprint_before"]
    if not leads or _beside(first, vmss, back):
        raise InvalidInput(
            "the way back in that journal does not undo the change that it names: plan an upgrade instead"
        )


def _beside(first: Entry, vmss: JsonDict, after: JsonDict) -> list[str]:
    """Return the changed paths that are not in the plan. If the plan changes the image, all image fields may change."""
    planned = set(first["paths"])
    moves_image = any(path.startswith(_IMAGE) for path in planned)
    others = [path for path in paths_of(vmss, after) if path not in planned]
    return [path for path in others if not (moves_image and path.startswith(_IMAGE))]
