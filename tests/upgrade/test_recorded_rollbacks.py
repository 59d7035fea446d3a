"""A rollback on a copy of every recorded scale set: each instance is back on the exact version that it ran before."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import Seed
from azurerm_lite.upgrade import PlanRefused, Policy, plan_rollback, rollback

from .lab import Lab

FOLDER = Path(os.environ.get("AZURERM_LITE_ARM_DATA", "/nonexistent")) / "traffic"
OLDER, BEFORE, AFTER = "1.0.20250101", "1.0.20250202", "9.9.20250303"
pytestmark = pytest.mark.usefixtures("arm_data")


def is_model(interaction: dict[str, Any]) -> bool:
    parts = interaction["request"]["path"].partition("?")[0].strip("/").split("/")
    is_get = interaction["request"]["method"] == "GET" and interaction["response"]["status"] == 200
    return is_get and len(parts) == 8 and parts[6].lower() == "virtualmachinescalesets"


def recorded_models() -> Iterator[Any]:
    """Each different model of a scale set that any session shows."""
    shapes: set[str] = set()
    for path in sorted(FOLDER.glob("*.json")):
        for interaction in filter(is_model, json.loads(path.read_text())["interactions"]):
            model = interaction["response"]["body"]
            profile = model["properties"].get("virtualMachineProfile") or {}
            parts = (model["sku"], model.get("zones"), profile.get("storageProfile"), len(model["properties"]))
            shape = json.dumps([path.stem, *parts], sort_keys=True)
            if profile.get("storageProfile") and shape not in shapes:
                shapes.add(shape)
                yield pytest.param(model, id=f"{path.stem}-{len(shapes)}")
    if not shapes:
        yield pytest.param(None, id="no recorded traffic")


MODELS = list(recorded_models())


def is_platform(model: Any) -> bool:
    profile = ((model or {}).get("properties") or {}).get("virtualMachineProfile") or {}
    return model is None or bool(profile["storageProfile"]["imageReference"].get("publisher"))


def lab_of(model: Any, *, several: bool = False) -> Lab:
    """The recorded set in Manual mode, with an older and a newer version of its platform image around it."""
    model = copy.deepcopy(model)
    model["properties"]["upgradePolicy"] = {"mode": "Manual"}
    model["properties"]["provisioningState"] = "Succeeded"
    extensions = model["properties"]["virtualMachineProfile"].get("extensionProfile") or {}
    for extension in extensions.get("extensions", ()):  # two sessions show text here, which no seed accepts
        if isinstance(extension["properties"].get("settings"), str):
            extension["properties"]["settings"] = {}
    image = model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    named = [image.get(key, "") for key in ("publisher", "offer", "sku")]
    lab = Lab(Seed(model, None, [[*named, OLDER, BEFORE]] if image.get("publisher") else ()))
    if image.get("publisher"):
        lab.simulation.images.publish(*named, AFTER)
    if several and image.get("publisher"):
        for name in list(lab.instances)[::2]:
            reference = lab.instances[name].document["properties"]["storageProfile"]["imageReference"]
            reference["exactVersion"] = OLDER
    return lab


def exact_images(lab: Lab) -> dict[str, str]:
    """What each instance runs by the emulator's own record: its exact version, or the id of its image."""
    references = {
        name: vm.document["properties"]["storageProfile"]["imageReference"] for name, vm in lab.instances.items()
    }
    return {name: str(one.get("exactVersion") or one.get("id")) for name, one in references.items()}


def change_of(lab: Lab) -> Any:
    if lab.scale_set.image.get("publisher"):
        return AFTER
    return lambda model: az.set_image_id(model, lab.scale_set.image["id"] + "-next")


def policy_of(lab: Lab, **options: Any) -> Policy:
    return Policy(batch_by="batch", min_healthy_instance_percent=0, min_healthy_zone_percent=0, batch_size=1, **options)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_a_rollback_brings_each_instance_of_a_recorded_set_back(model: Any, several: bool, tmp_path: Any) -> None:
    """Most recorded models say `latest`: the words of the model would bring nothing back."""
    lab, journal = lab_of(model, several=several), str(tmp_path / "web.jsonl")
    before = exact_images(lab)
    verdict = lab.run(change_of(lab), policy_of(lab), journal=journal)
    assert verdict.ok, verdict
    after = exact_images(lab)
    assert all(before[name] != after[name] for name in before)
    plan = plan_rollback(lab.arm, journal)
    verdict = rollback(lab.arm, journal)
    assert (verdict.outcome == "succeeded") == (exact_images(lab) == before), verdict
    assert verdict.ok or plan.unreturnable, (verdict, plan)


@pytest.mark.parametrize("model", MODELS)
def test_an_automatic_rollback_brings_each_touched_instance_back(model: Any, tmp_path: Any) -> None:
    """The last instance fails, and the policy has it rolled back."""
    lab, journal = lab_of(model), str(tmp_path / "web.jsonl")
    before = exact_images(lab)
    lab.faults(on="upgrade", instance=list(lab.instances)[-1], effect="fail")
    verdict = lab.run(change_of(lab), policy_of(lab, rollback_on_failure=True), journal=journal)
    assert verdict.outcome == "rolled-back", verdict
    assert exact_images(lab) == before


@pytest.mark.parametrize("model", [param for param in MODELS if is_platform(param.values[0])])
def test_a_version_that_is_gone_is_named_before_anything_is_written(model: Any, tmp_path: Any) -> None:
    """The plan says what cannot be brought back; no rollback of it is called succeeded."""
    lab, journal = lab_of(model), str(tmp_path / "web.jsonl")
    before = exact_images(lab)
    assert lab.run(change_of(lab), policy_of(lab), journal=journal).ok
    image = lab.scale_set.image
    versions = lab.simulation.images.versions(image["publisher"], image["offer"], image["sku"])
    for version in set(before.values()):
        versions.remove(version)
    written = len(lab.app.recorder.writes())
    with pytest.raises(PlanRefused, match="brought back"):
        rollback(lab.arm, journal)
    assert len(lab.app.recorder.writes()) == written
    assert exact_images(lab) != before
