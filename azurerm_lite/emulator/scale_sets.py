"""How scale sets behave: models, instances, and what time does to them. No HTTP here: handlers are in `compute`.

Everything that takes time is an event of the World. Durations are drawn from what was recorded of Azure.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .actions import scale
from .exchange import Json, Refusal
from .operations import OperationRecord
from .rolling import RollingUpgrade
from .world import World

READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData"})
READ_ONLY_PROPERTIES = frozenset({"provisioningState", "uniqueId", "timeCreated"})
SECRETS = frozenset({"adminPassword", "customData", "protectedSettings"})
# What an instance is made from: a change here leaves every instance behind the model.
_MODES = {mode.lower(): mode for mode in ("Automatic", "Manual", "Rolling")}
MOST_MODELS = 10
_UNHEALTHY = {
    "code": "HealthState/unhealthy",
    "level": "Info",
    "displayStatus": "The VM is reporting itself as unhealthy",
}
Done = Callable[[dict[str, Any] | None], None]  # told when an upgrade has ended, with Azure's error if it failed


def merged(old: Json, new: Json, *, null_deletes: bool) -> Json:
    """`new` laid over `old`: what is absent stays, lists are replaced, null deletes (PATCH) or stays out (PUT)."""
    if not isinstance(new, Mapping):
        return copy.deepcopy(new)
    result = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            if null_deletes:
                result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, null_deletes=null_deletes)
    return result


def without_secrets(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items() if key not in SECRETS}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


@dataclass(slots=True, eq=False)
class Instance:
    """One VM. `document` is what GET shows but for what moves; `generation` the model that it was made from."""

    instance_id: str
    document: dict[str, Any]
    view: dict[str, Any]
    generation: int = 0
    state: str = "Succeeded"
    state_since: float = 0.0
    power: str = "running"
    etag: int = 2
    upgrades: list[tuple[float, int]] = field(default_factory=list)

    @property
    def available(self) -> bool:
        return self.state == "Succeeded" and self.power == "running"


@dataclass(slots=True, eq=False)
class ScaleSet:
    """One scale set: its model as stored, its instances by id, and the operation that holds it, if any."""

    subscription_id: str
    resource_group: str
    name: str
    model: dict[str, Any]
    instances: dict[str, Instance] = field(default_factory=dict)
    generation: int = 0
    etag: int = 3
    state: str = "Succeeded"
    upgrading: OperationRecord | None = None
    rolling: RollingUpgrade | None = None

    @property
    def resource_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.name}"
        )

    @property
    def location(self) -> str:
        return str(self.model.get("location", "westus"))

    @property
    def mode(self) -> str:
        return str(self.model["properties"].get("upgradePolicy", {}).get("mode", "Manual"))

    @property
    def profile(self) -> dict[str, Any]:
        found = self.model["properties"].get("virtualMachineProfile")
        return found if isinstance(found, dict) else {}

    @property
    def image(self) -> dict[str, Any]:
        return dict(self.profile.get("storageProfile", {}).get("imageReference") or {})


class ScaleSets:
    """All scale sets of the world, found whatever the case of their names."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sets: dict[tuple[str, str, str], ScaleSet] = {}
        # Judges read this: (time, scale set, instance id, available), appended whenever that changes.
        self.history: list[tuple[float, str, str, bool]] = []

    def __iter__(self) -> Any:
        return iter(self._sets.values())

    def add(self, scale_set: ScaleSet) -> None:
        key = (scale_set.subscription_id.lower(), scale_set.resource_group.lower(), scale_set.name.lower())
        self._sets[key] = scale_set
        for instance in scale_set.instances.values():
            self.history.append((self._world.now, scale_set.name, instance.instance_id, instance.available))

    def find(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet | None:
        return self._sets.get((subscription_id.lower(), resource_group.lower(), name.lower()))

    def get(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet:
        found = self.find(subscription_id, resource_group, name)
        if found is None:
            raise Refusal(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group "
                f"'{resource_group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
                gateway=True,
            )
        return found

    def delete(self, scale_set: ScaleSet) -> OperationRecord:
        """The whole set goes, with everything in it."""
        world = self._world
        scale_set.state = "Deleting"
        record = world.operations.begin("DELETE", scale_set.subscription_id, scale_set.location)
        key = (scale_set.subscription_id.lower(), scale_set.resource_group.lower(), scale_set.name.lower())

        def gone() -> None:
            self._sets.pop(key, None)
            world.operations.end(record)

        world.after(world.rng.uniform(2, 60), gone)
        return record

    def new_instance(self, instance_id: str, document: dict[str, Any], view: dict[str, Any]) -> Instance:
        return Instance(instance_id, document, view, state_since=self._world.now)

    # --- the model ---------------------------------------------------------------------------------------------------

    def write(self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool) -> OperationRecord:
        """Lay a PUT or PATCH body over the model, and begin whatever that sets in motion."""
        world = self._world
        model = self._written(scale_set, change, null_deletes=null_deletes)
        renewed = _made_from(model) != _made_from(scale_set.model)
        if renewed:
            self._refuse_too_many_models(scale_set)
            scale_set.generation += 1
        resized = model.get("sku", {}).get("capacity") != scale_set.model.get("sku", {}).get("capacity")
        scale_set.model, scale_set.state = model, "Updating"
        scale_set.etag += 1
        record = world.operations.begin("PUT", scale_set.subscription_id, scale_set.location)
        seconds = (scale(world, scale_set) if resized else 0.0) + world.rng.uniform(0.03, 0.5)
        world.after(seconds, lambda: self._written_down(scale_set, record, renewed))
        return record

    def _written(self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool) -> dict[str, Any]:
        kept = {key: value for key, value in change.items() if key not in READ_ONLY}
        if isinstance(kept.get("properties"), Mapping):
            inner = kept["properties"]
            kept["properties"] = {key: value for key, value in inner.items() if key not in READ_ONLY_PROPERTIES}
        model: dict[str, Any] = merged(scale_set.model, kept, null_deletes=null_deletes)
        _normalise(model)
        before, after = scale_set.image, _image(model)
        if _kind(before) != _kind(after):
            raise Refusal(
                409,
                "PropertyChangeNotAllowed",
                "Changing property 'imageReference' is not allowed.",
                target="imageReference",
            )
        if before != after:
            self._world.images.exact(after)
        return model

    def _refuse_too_many_models(self, scale_set: ScaleSet) -> None:
        models = {instance.generation for instance in scale_set.instances.values()} | {scale_set.generation + 1}
        if len(models) > MOST_MODELS:
            raise Refusal(
                409,
                "OperationNotAllowed",
                f"VM Scale Set '{scale_set.name}' has reached the limit of {MOST_MODELS} models: bring its instances "
                "to the latest model before changing the model again.",
            )

    def _written_down(self, scale_set: ScaleSet, record: OperationRecord, renewed: bool) -> None:
        scale_set.state = "Succeeded"
        self._world.operations.end(record)
        if renewed and scale_set.mode == "Automatic":
            self._upgrade(scale_set, list(scale_set.instances.values()), lambda _error: None)
        elif renewed and scale_set.mode == "Rolling":
            self._roll(scale_set)

    def _roll(self, scale_set: ScaleSet) -> None:
        """Azure's own engine in its simplest form: batches of a share of the set, one after another."""
        policy = scale_set.model["properties"].get("upgradePolicy", {}).get("rollingUpgradePolicy") or {}
        size = max(1, math.floor(len(scale_set.instances) * policy.get("maxBatchInstancePercent", 20) / 100))
        behind = [one for one in scale_set.instances.values() if one.generation != scale_set.generation]
        if behind:
            self._upgrade(scale_set, behind[:size], lambda error: None if error else self._roll(scale_set))

    # --- manual upgrade ----------------------------------------------------------------------------------------------

    def select(self, scale_set: ScaleSet, ids: Iterable[Json], target: str) -> list[Instance]:
        """The instances with these ids (`*`: all); the refusal that Azure gives when one of them is none."""
        wanted = [str(one) for one in ids]
        if wanted == ["*"]:
            return list(scale_set.instances.values())
        for one in wanted:
            if one not in scale_set.instances:
                raise Refusal(
                    400,
                    "InvalidParameter",
                    f"The provided instanceId {one} is not an active Virtual Machine Scale Set VM instanceId.",
                    target=target,
                )
        return [scale_set.instances[one] for one in dict.fromkeys(wanted)]

    def manual_upgrade(self, scale_set: ScaleSet, instances: list[Instance]) -> OperationRecord:
        """Bring instances to the latest model. A second upgrade while one runs is a conflict, as Azure has it."""
        if scale_set.upgrading is not None and not scale_set.upgrading.done:
            raise Refusal(
                409,
                "Conflict",
                "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
                "https://aka.ms/activitylog to get more details on the conflicting requests.",
            )
        world = self._world
        record = world.operations.begin("POST", scale_set.subscription_id, scale_set.location)
        scale_set.upgrading = record
        scale_set.etag += 1
        self._upgrade(scale_set, instances, lambda error: world.operations.end(record, error))
        return record

    def _upgrade(self, scale_set: ScaleSet, instances: list[Instance], done: Done) -> None:
        """Upgrade together; those that are on the latest model already are left alone."""
        world, generation = self._world, scale_set.generation
        behind = [one for one in instances if one.generation != generation]
        for instance in behind:
            self.set_state(scale_set, instance, "Updating")
            instance.upgrades.append((world.now, generation))
        # Recorded: 0.6 to 174 s, median 36 s.
        seconds = min(174.0, max(5.0, world.rng.lognormvariate(math.log(36), 0.6))) if behind else 0.6
        world.after(seconds, lambda: self._upgraded(scale_set, behind, generation, done))

    def _upgraded(self, scale_set: ScaleSet, instances: list[Instance], generation: int, done: Done) -> None:
        scale_set.etag += 1
        error, hangs = None, False
        for instance in (one for one in instances if one.instance_id in scale_set.instances):
            fault = self._world.faults.for_instance("upgrade", instance.instance_id)
            if fault is not None and fault.effect == "hang":
                hangs = True
                continue
            if fault is not None and fault.effect == "fail":
                self.set_state(scale_set, instance, "Failed")
                error = {"code": fault.code, "message": fault.message, "target": instance.instance_id}
                continue
            instance.generation = generation
            self.remake(scale_set, instance)
            if fault is not None:
                instance.view["vmHealth"] = {"status": _UNHEALTHY}
            self.set_state(scale_set, instance, "Succeeded")
        if not hangs:
            done(error)

    def remake(self, scale_set: ScaleSet, instance: Instance) -> None:
        """What an instance shows after it was made from the present model: its image, to the exact version."""
        storage = instance.document["properties"].setdefault("storageProfile", {})
        image = scale_set.image
        if image:
            exact = self._world.images.exact(image)
            storage["imageReference"] = {**image, "exactVersion": exact} if exact else image
        disk = scale_set.profile.get("storageProfile", {}).get("osDisk", {})
        if "image" in disk:
            storage.setdefault("osDisk", {})["image"] = dict(disk["image"])
        sku = scale_set.model.get("sku", {})
        instance.document["sku"] = {key: sku[key] for key in ("name", "tier") if key in sku}
        instance.document["properties"]["hardwareProfile"] = {"vmSize": sku.get("name")}

    def set_state(self, scale_set: ScaleSet, instance: Instance, state: str) -> None:
        before = instance.available
        instance.state, instance.state_since = state, self._world.now
        instance.etag += 1
        if instance.available != before:
            self.history.append((self._world.now, scale_set.name, instance.instance_id, instance.available))


def _image(model: Mapping[str, Any]) -> dict[str, Any]:
    profile = model["properties"].get("virtualMachineProfile") or {}
    return dict(profile.get("storageProfile", {}).get("imageReference") or {})


def _kind(image: Mapping[str, Any]) -> tuple[bool, bool]:
    return bool(image.get("publisher")), bool(image.get("id"))


def _made_from(model: Mapping[str, Any]) -> Json:
    return model["properties"].get("virtualMachineProfile"), model.get("sku", {}).get("name"), model.get("zones")


def _normalise(model: dict[str, Any]) -> None:
    """What Azure mends by itself: enum values in any case, a capacity sent as text."""
    policy = model["properties"].get("upgradePolicy")
    if isinstance(policy, dict) and "mode" in policy:
        mode = _MODES.get(str(policy["mode"]).lower())
        if mode is None:
            raise Refusal(
                400,
                "InvalidParameter",
                f"The value '{policy['mode']}' of parameter 'upgradePolicy.mode' is invalid.",
                target="upgradePolicy.mode",
            )
        policy["mode"] = mode
    capacity = model.get("sku", {}).get("capacity")
    if isinstance(capacity, str) and capacity.isdigit():
        model["sku"]["capacity"] = int(capacity)
