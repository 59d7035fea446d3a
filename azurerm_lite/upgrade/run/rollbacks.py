"""The way back: which models and which instances a rollback needs, and what it cannot bring back.

Each instance goes back to the exact image that it ran when the upgrade began. Where they ran several, each of them is a
leg of its own: one write of the model, and the batches of the instances that ran it.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ... import model
from ..._common import markup
from ...arm import Arm
from ...endpoints import vmss
from ...types import JsonDict, ScaleSet
from ..rules import preflight
from ..rules.machine import DRIFTED
from ..rules.policy import Policy
from ..rules.preflight import PlanRefused
from ..rules.snapshot import natural, reference_of
from ..rules.state import ORDER, Entry, State, left_deallocated
from . import journal as _journal
from .planning import Plan, image_problem, planned

IMAGE = ("properties", "virtualMachineProfile", "storageProfile", "imageReference")


def patch_of(stored: Entry, found: Mapping[str, Any]) -> JsonDict:
    """The PATCH that writes the model of a leg over the model that is there."""
    if "patch" in stored:
        return dict(stored["patch"])
    return model.merge_patch(found, model_of(stored, found))


def on_present_tags(patch: Mapping[str, Any], undo: Mapping[str, Any], found: Mapping[str, Any]) -> JsonDict:
    """The PATCH of a plan for the tags that the model has now: tags that others wrote since the plan stay.

    `undo`: the JSON merge that takes the change back; with the patch it says which tags there were.
    """
    tags = model.apply_merge_patch(patch.get("tags") or {}, undo.get("tags") or {})
    return model.rebase_tags(patch, {"tags": tags}, found)


def model_of(stored: Entry, found: Mapping[str, Any]) -> JsonDict:
    """The model of a leg of a rollback: the present one without the change, naming the exact old image."""
    after: Any = model.apply_merge_patch(model.without_read_only(found), stored["undo"])
    image = str(stored.get("image") or "")
    reference = reference_of(image) if image else {}
    if reference:
        storage: Any = {**after["properties"]["virtualMachineProfile"]["storageProfile"], "imageReference": reference}
        profile: Any = {**after["properties"]["virtualMachineProfile"], "storageProfile": storage}
        after = {**after, "properties": {**after["properties"], "virtualMachineProfile": profile}}
    return dict(after)


def touched(state: State) -> tuple[str, ...]:
    """The instances that requests of an upgrade have, or may have, reached."""
    batch = state.batch
    away = () if batch is None or (batch.status == "intended" and not batch.done) else batch.ids
    gone = {name for name, kind in state.classes.items() if kind == "vanished"}
    return tuple(sorted((set(state.sends) | set(away)) - gone))


def legs_back(arm: Arm, found: JsonDict, names: Iterable[str], state: State, first: Entry) -> dict[str, Any]:
    """{"legs": how to bring these instances back, "unreturnable": what cannot be, and why}, from the present model."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[state.images.get(name, "")].append(name)
    if not groups:
        groups[""] = []
    moved = _moves_image(first["undo"])
    legs, problems = list[JsonDict](), list[str]()
    for image in sorted(groups, key=lambda image: (len(groups[image]), image)):
        stored: JsonDict = {"undo": first["undo"], "image": image, "instances": sorted(groups[image])}
        why = _problem(arm, ScaleSet.parse(first["scale_set"]), found, stored, moved=moved) or _stays(stored, first)
        if why:
            problems.append(f"{markup.listing(sorted(groups[image], key=natural))}: {why}")
        else:
            legs.append({**stored, **_marks(stored, found)})
    if problems and not legs and first["undo"] and not _moves_instances(first["undo"]):
        rest: JsonDict = {"undo": first["undo"], "image": "", "instances": []}  # tags, capacity, policies
        legs.append({**rest, **_marks(rest, found)})
    return {"legs": legs, "unreturnable": problems}


def _stays(stored: Entry, first: Entry) -> str:
    """Why a leg would leave its instances as they are, "" when it moves them.

    Instances follow the model. Where the old model differs in nothing that shows, they have no way back to it.
    """
    image, version = str(stored["image"]), str(first["version"]).lower()
    same = not reference_of(image) if image else True
    if not stored["instances"] or _moves_instances(first["undo"]):
        return ""
    if not same and version not in (image.lower(), _version_of(image).lower()):
        return ""
    if first.get("withheld"):
        return "no GET shows the passwords, customData or protected settings that they had before"
    return "the model that they were made from before is not known"


def _moves_instances(undo: Mapping[str, Any]) -> bool:
    """Whether what takes a change back changes what instances are made from."""
    properties, sku = undo.get("properties") or {}, undo.get("sku") or {}
    group = "proximityPlacementGroup" in properties
    return bool(properties.get("virtualMachineProfile")) or group or "name" in sku or "zones" in undo


def _moves_image(undo: Mapping[str, Any]) -> bool:
    inner: Any = undo
    for key in IMAGE[:-1]:
        inner = (inner or {}).get(key)
    return bool(inner) and "imageReference" in inner


def _problem(arm: Arm, address: ScaleSet, found: JsonDict, stored: Entry, *, moved: bool) -> str:
    """Why instances cannot be brought back to an image, "" when they can."""
    if not stored["image"] or not stored["instances"]:
        return "the exact version that it ran is not known" if moved and stored["instances"] else ""
    return image_problem(arm, address, found, model_of(stored, found))


def _marks(stored: Entry, found: JsonDict) -> dict[str, Any]:
    """How the model of a leg is recognized, and which version its instances run in the end."""
    after = model_of(stored, found)
    version = _version_of(str(stored["image"]))
    marks = {"version": version, "after": model.fingerprint(after), "outline": model.outline(after)}
    return {**marks, "size": preflight.size(after)}


def _version_of(image: str) -> str:
    """The version that an exact image is, "" where it has none."""
    if "/versions/" in image:
        return image.rpartition("/versions/")[2]
    return "" if image.startswith("/") else image.rpartition(":")[2]


def way_back(arm: Arm, state: State, first: Entry) -> dict[str, Any]:
    """What an automatic rollback is to do: its legs, and what cannot be brought back."""
    found: JsonDict = {**vmss.get_vmss(arm, *ScaleSet.parse(first["scale_set"]))}
    if model.fingerprint(found) != state.fingerprint:
        return {"legs": [], "unreturnable": [DRIFTED]}
    return legs_back(arm, found, touched(state), state, first)


def rollback_of(arm: Arm, entries: list[dict[str, Any]], *, over_later_changes: bool = False) -> Plan:
    """The plan that takes back what these entries did. Each upgrade can be taken back; a rollback cannot."""
    first, state = _journal.begun(entries), _journal.fold(entries)
    if first.get("takes_back"):
        raise PlanRefused("that journal is of a rollback itself: plan an upgrade instead")
    if (state.verdict or {}).get("outcome") == "rolled-back":
        raise PlanRefused("that upgrade has been rolled back already: plan an upgrade instead")
    address = ScaleSet.parse(first["scale_set"])
    found: JsonDict = {**vmss.get_vmss(arm, *address)}
    made = legs_back(arm, found, touched(state), state, first)
    _refuse_a_later_change(found, state, first, made["legs"], over_later_changes=over_later_changes)
    if made["unreturnable"] and not made["legs"]:
        raise PlanRefused(f"nothing can be brought back: {'; '.join(made['unreturnable'])}")
    return _planned(arm, address, state, first, made)


def _refuse_a_later_change(
    found: JsonDict, state: State, first: Entry, legs: list[JsonDict], *, over_later_changes: bool
) -> None:
    """A model that somebody else has written since is taken away only where that was asked for."""
    shown = model.fingerprint(found)
    ours = {state.fingerprint, first["fingerprint_before"], first["fingerprint_after"]}
    known = ours | {leg["after"] for leg in legs} | {leg.after for leg in state.legs}
    if not over_later_changes and shown not in known and model.outline(found) not in _outlines(state, legs):
        raise PlanRefused(
            "somebody has written the model since that upgrade, and a rollback would take that away too: "
            "over_later_changes=True allows it"
        )


def _outlines(state: State, legs: list[JsonDict]) -> set[str]:
    return {leg["outline"] for leg in legs} | {leg.outline for leg in state.legs}


def _planned(arm: Arm, address: ScaleSet, state: State, first: Entry, made: Mapping[str, Any]) -> Plan:
    """The plan of the first leg, with the batches of the others after it."""
    policy = replace(Policy.from_dict(first["policy"]), canary_instances=0, checkpoints=(), rollback_on_failure=False)
    policy = replace(policy, instances=None, zones=None, update_domains=None, fault_domains=None)
    broken = frozenset(name for name, kind in state.classes.items() if kind == "failed")
    goal = {"broken": broken, "deallocated": left_deallocated(state)}
    plans = [_of_leg(arm, address, leg, policy, goal) for leg in made["legs"]]
    versions = ", ".join(dict.fromkeys(leg["version"] for leg in made["legs"] if leg["version"]))
    notes = [f"cannot be brought back: {text}" for text in made["unreturnable"]]
    notes += [f"afterwards the model names {versions}"] * bool(versions)
    if first.get("withheld") and not made["unreturnable"]:
        notes.append(
            "the passwords, customData or protected settings that the upgrade wrote stay: no GET shows old ones"
        )
    wanted = functools.reduce(_joined, plans)
    return replace(
        wanted,
        takes_back=True,
        legs=tuple(made["legs"]),
        unreturnable=tuple(made["unreturnable"]),
        broken=tuple(sorted(broken)),
        warnings=(*wanted.warnings, *notes),
    )


def _of_leg(arm: Arm, address: ScaleSet, leg: JsonDict, policy: Policy, goal: Mapping[str, Any]) -> Plan:
    only = frozenset(leg["instances"])
    return planned(arm, address, _change(leg), policy, accept_failed=True, only=only, image=str(leg["image"]), **goal)


def _change(leg: JsonDict) -> Any:
    return lambda found: model_of(leg, found)


def _joined(first: Plan, second: Plan) -> Plan:
    lowest = {place: min(count, second.lowest.get(place, count)) for place, count in first.lowest.items()}
    changes = (*first.changes, *(change for change in second.changes if change not in first.changes))
    return replace(
        first,
        batches=(*first.batches, *second.batches),
        changes=changes,
        lowest=lowest,
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        seconds=first.seconds + second.seconds,
        requests=first.requests + second.requests,
        stages=tuple(request for request in ORDER if request in (*first.stages, *second.stages)),
        deallocated=tuple(sorted({*first.deallocated, *second.deallocated})),
    )


def undo(wanted: Plan) -> JsonDict:
    """The patch that takes the change of a plan back."""
    after: Any = model.without_secrets(model.apply_patch(wanted.before, wanted.patch))
    before: Any = model.without_secrets(wanted.before)
    return _difference(after, before)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> JsonDict:
    """The smallest JSON merge that turns one model into the other: it is never sent, only applied."""
    patch: JsonDict = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _difference(before, value):
                patch[key] = inner
        elif key not in old or value != before or type(value) is not type(before):
            patch[key] = value
    return patch
