"""Plan a rollback: the models that it writes, the instances that it moves, and what it cannot restore.

Each instance returns to the exact image that it ran when the upgrade began. For each of these images the rollback has a
leg: one write of the model, then the batches of the instances that ran the image.
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
from ..rules.state import ORDER, Entry, State, find_deallocated
from . import journal as _journal
from .planning import Plan, image_problem, make_plan

IMAGE = ("properties", "virtualMachineProfile", "storageProfile", "imageReference")


def patch_of(stored: Entry, current: Mapping[str, Any]) -> JsonDict:
    """The PATCH that changes the current model into the model of a leg."""
    if "patch" in stored:
        return dict(stored["patch"])
    return model.merge_patch(current, model_of(stored, current))


def keep_present_tags(patch: Mapping[str, Any], undo: Mapping[str, Any], current: Mapping[str, Any]) -> JsonDict:
    """Adapt the PATCH of a plan to the current tags, so that tags of other writers since the plan stay.

    `undo`: the JSON merge patch that reverts the change; with `patch` it gives the tags at the time of the plan.
    """
    tags = model.apply_merge_patch(patch.get("tags") or {}, undo.get("tags") or {})
    return model.rebase_tags(patch, {"tags": tags}, current)


def model_of(stored: Entry, current: Mapping[str, Any]) -> JsonDict:
    """The model of a rollback leg: the current model with the change reverted and the exact old image."""
    after: Any = model.apply_merge_patch(model.without_read_only(current), stored["undo"])
    image = str(stored.get("image") or "")
    reference = reference_of(image) if image else {}
    if reference:
        storage: Any = {**after["properties"]["virtualMachineProfile"]["storageProfile"], "imageReference": reference}
        profile: Any = {**after["properties"]["virtualMachineProfile"], "storageProfile": storage}
        after = {**after, "properties": {**after["properties"], "virtualMachineProfile": profile}}
    return dict(after)


def reached_instances(state: State) -> tuple[str, ...]:
    """The instances that requests of the upgrade have reached or may have reached."""
    batch = state.batch
    away = () if batch is None or (batch.status == "intended" and not batch.done) else batch.ids
    gone = {name for name, kind in state.classes.items() if kind == "vanished"}
    return tuple(sorted((set(state.sends) | set(away)) - gone))


def make_legs(arm: Arm, current: JsonDict, names: Iterable[str], state: State, first: Entry) -> dict[str, Any]:
    """Return the legs that roll these instances back from the current model, and the problems.

    {"legs": [leg, ...], "unreturnable": ["instances: reason", ...]}
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[state.images.get(name, "")].append(name)
    if not groups:
        groups[""] = []
    moved = _moves_image(first["undo"])
    legs, problems = list[JsonDict](), list[str]()
    for image in sorted(groups, key=lambda image: (len(groups[image]), image)):
        stored: JsonDict = {"undo": first["undo"], "image": image, "instances": sorted(groups[image])}
        why = _why_no_image(arm, ScaleSet.parse(first["scale_set"]), current, stored, moved=moved) or _why_unmoved(
            stored, first
        )
        if why:
            problems.append(f"{markup.listing(sorted(groups[image], key=natural))}: {why}")
        else:
            legs.append({**stored, **_marks(stored, current)})
    if problems and not legs and first["undo"] and not _moves_instances(first["undo"]):
        rest: JsonDict = {"undo": first["undo"], "image": "", "instances": []}  # reverts tags, capacity and policies
        legs.append({**rest, **_marks(rest, current)})
    return {"legs": legs, "unreturnable": problems}


def _why_unmoved(stored: Entry, first: Entry) -> str:
    """The reason why a leg would not change its instances; "" when it would.

    Azure upgrades an instance only when the model differs from it. Without a visible difference between the old and the
    new model no write of the model can roll the instance back.
    """
    image, version = str(stored["image"]), str(first["version"]).lower()
    same = not reference_of(image) if image else True
    if not stored["instances"] or _moves_instances(first["undo"]):
        return ""
    if not same and version not in (image.lower(), _version_of(image).lower()):
        return ""
    if first.get("withheld"):
        return "GET does not show the passwords, customData or protected settings that they had before"
    return "the model that they were created from is not known"


def _moves_instances(undo: Mapping[str, Any]) -> bool:
    """Whether reverting the change alters the parts of the model that instances are created from."""
    properties, sku = undo.get("properties") or {}, undo.get("sku") or {}
    group = "proximityPlacementGroup" in properties
    return bool(properties.get("virtualMachineProfile")) or group or "name" in sku or "zones" in undo


def _moves_image(undo: Mapping[str, Any]) -> bool:
    inner: Any = undo
    for key in IMAGE[:-1]:
        inner = (inner or {}).get(key)
    return bool(inner) and "imageReference" in inner


def _why_no_image(arm: Arm, address: ScaleSet, current: JsonDict, stored: Entry, *, moved: bool) -> str:
    """The reason why instances cannot return to an image; "" when they can."""
    if not stored["image"] or not stored["instances"]:
        return "the exact version that it ran is not known" if moved and stored["instances"] else ""
    return image_problem(arm, address, current, model_of(stored, current))


def _marks(stored: Entry, current: JsonDict) -> dict[str, Any]:
    """The marks by which the model of a leg is recognized, and the version of its instances after it."""
    after = model_of(stored, current)
    version = _version_of(str(stored["image"]))
    marks = {"version": version, "after": model.fingerprint(after), "outline": model.outline(after)}
    return {**marks, "size": preflight.size(after)}


def _version_of(image: str) -> str:
    """The version of an exact image; "" for an image without versions."""
    if "/versions/" in image:
        return image.rpartition("/versions/")[2]
    return "" if image.startswith("/") else image.rpartition(":")[2]


def make_rollback_entry(arm: Arm, state: State, first: Entry) -> dict[str, Any]:
    """The journal's entry of an automatic rollback: its legs, and what cannot be rolled back."""
    current: JsonDict = {**vmss.get_vmss(arm, *ScaleSet.parse(first["scale_set"]))}
    if model.fingerprint(current) != state.fingerprint:
        return {"legs": [], "unreturnable": [DRIFTED]}
    return make_legs(arm, current, reached_instances(state), state, first)


def make_rollback_plan(arm: Arm, entries: list[dict[str, Any]], *, over_later_changes: bool = False) -> Plan:
    """Plan the rollback of the upgrade in these entries.

    Raises: PlanRefused for the journal of a rollback, after a later change of the model unless `over_later_changes`,
    and when nothing can be rolled back.
    """
    first, state = _journal.begin_entry(entries), _journal.fold(entries)
    if first.get("takes_back"):
        raise PlanRefused("that journal is of a rollback, which cannot be rolled back: plan an upgrade instead")
    if (state.verdict or {}).get("outcome") == "rolled-back":
        raise PlanRefused("that upgrade has been rolled back already: plan an upgrade instead")
    address = ScaleSet.parse(first["scale_set"])
    current: JsonDict = {**vmss.get_vmss(arm, *address)}
    parts = make_legs(arm, current, reached_instances(state), state, first)
    _refuse_a_later_change(current, state, first, parts["legs"], over_later_changes=over_later_changes)
    if parts["unreturnable"] and not parts["legs"]:
        raise PlanRefused(f"nothing can be rolled back: {'; '.join(parts['unreturnable'])}")
    return _plan_legs(arm, address, state, first, parts)


def _refuse_a_later_change(
    current: JsonDict, state: State, first: Entry, legs: list[JsonDict], *, over_later_changes: bool
) -> None:
    """Refuse to overwrite a model that another writer has changed since, unless `over_later_changes`."""
    fingerprint = model.fingerprint(current)
    ours = {state.fingerprint, first["fingerprint_before"], first["fingerprint_after"]}
    known = ours | {leg["after"] for leg in legs} | {leg.after for leg in state.legs}
    if not over_later_changes and fingerprint not in known and model.outline(current) not in _outlines(state, legs):
        raise PlanRefused(
            "another writer has changed the model since that upgrade, and a rollback would revert that too: "
            "over_later_changes=True allows it"
        )


def _outlines(state: State, legs: list[JsonDict]) -> set[str]:
    return {leg["outline"] for leg in legs} | {leg.outline for leg in state.legs}


def _plan_legs(arm: Arm, address: ScaleSet, state: State, first: Entry, parts: Mapping[str, Any]) -> Plan:
    """One plan of all legs, in their order."""
    policy = replace(Policy.from_dict(first["policy"]), canary_instances=0, checkpoints=(), rollback_on_failure=False)
    policy = replace(policy, instances=None, zones=None, update_domains=None, fault_domains=None)
    broken = frozenset(name for name, kind in state.classes.items() if kind == "failed")
    goal = {"broken": broken, "deallocated": find_deallocated(state)}
    plans = [_plan_leg(arm, address, leg, policy, goal) for leg in parts["legs"]]
    versions = ", ".join(dict.fromkeys(leg["version"] for leg in parts["legs"] if leg["version"]))
    notes = [f"cannot be rolled back: {text}" for text in parts["unreturnable"]]
    notes += [f"afterwards the model names {versions}"] * bool(versions)
    if first.get("withheld") and not parts["unreturnable"]:
        notes.append(
            "the passwords, customData or protected settings of the upgrade stay: GET does not show the old ones"
        )
    whole = functools.reduce(_join_plans, plans)
    return replace(
        whole,
        takes_back=True,
        legs=tuple(parts["legs"]),
        unreturnable=tuple(parts["unreturnable"]),
        broken=tuple(sorted(broken)),
        warnings=(*whole.warnings, *notes),
    )


def _plan_leg(arm: Arm, address: ScaleSet, leg: JsonDict, policy: Policy, goal: Mapping[str, Any]) -> Plan:
    only = frozenset(leg["instances"])
    return make_plan(arm, address, _change(leg), policy, accept_failed=True, only=only, image=str(leg["image"]), **goal)


def _change(leg: JsonDict) -> Any:
    return lambda current: model_of(leg, current)


def _join_plans(first: Plan, second: Plan) -> Plan:
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


def undo_patch(plan: Plan) -> JsonDict:
    """The JSON merge patch that reverts the change of a plan."""
    after: Any = model.without_secrets(model.apply_patch(plan.before, plan.patch))
    before: Any = model.without_secrets(plan.before)
    return _difference(after, before)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> JsonDict:
    """The smallest JSON merge patch that turns one model into the other. It is applied here, never sent."""
    patch: JsonDict = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _difference(before, value):
                patch[key] = inner
        elif key not in old or value != before or type(value) is not type(before):
            patch[key] = value
    return patch
