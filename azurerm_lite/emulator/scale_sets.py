"""What scale sets are: models, instances, and what a write to a model sets in motion. No HTTP here.

How instances are upgraded is in `upgrading`, what else is done to them in `actions`, Azure's own engine in `rolling`.
Everything that takes time is an event of the World. Durations are drawn from what was recorded of Azure.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import actions, creation, health, rolling, secrets, upgrading, writes
from .exchange import Json, Refusal
from .operations import OperationRecord
from .rolling import RollingUpgrade
from .secrets import Secrets, without_secrets
from .world import World

READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData"})
READ_ONLY_PROPERTIES = frozenset({"provisioningState", "uniqueId", "timeCreated"})
_MODES = {mode.lower(): mode for mode in ("Automatic", "Manual", "Rolling")}
MOST_MODELS = 10


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


@dataclass(slots=True, eq=False)
class Instance:
    """One VM. `document` is what GET shows but for what moves.

    `generation`: the model that it was upgraded to; `booted`: the one whose customData and OS disk it really runs,
    which only creation and reimage renew. `health`: what its application reports, "" when nothing does.
    """

    instance_id: str
    document: dict[str, Any]
    view: dict[str, Any]
    generation: int = 0
    booted: int = 0
    state: str = "Succeeded"
    state_since: float = 0.0
    power: str = "running"
    health: str = ""
    health_since: float = 0.0
    etag: int = 2
    upgrades: list[tuple[float, int]] = field(default_factory=list)
    # Extensions and run commands of this instance: kind -> name -> document; and what its extensions hide.
    stored: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=dict)
    # How it is shown otherwise than it is, by habit: "unlisted", "no-power", "silent"; "stuck": it stays in Updating.
    marks: set[str] = field(default_factory=set)
    failure: tuple[str, str] | None = None  # code and message of a provisioning that has failed
    when_released: Callable[[], None] | None = None  # what an upgrade does with it when it is stuck no more

    @property
    def available(self) -> bool:
        return self.state == "Succeeded" and self.power == "running" and self.health in ("", "healthy")

    @property
    def zone(self) -> str | None:
        zones = self.document.get("zones")
        return str(zones[0]) if zones and zones[0] is not None else None

    @property
    def protected(self) -> bool:
        """From what is done to the whole set."""
        policy = self.document["properties"].get("protectionPolicy") or {}
        return bool(policy.get("protectFromScaleSetActions"))


@dataclass(slots=True, eq=False)
class ScaleSet:
    """One scale set: its model as stored, its instances by id, and the operation that holds it, if any."""

    subscription_id: str
    resource_group: str
    name: str
    model: dict[str, Any]
    instances: dict[str, Instance] = field(default_factory=dict)
    ghosts: dict[str, Instance] = field(default_factory=dict)  # gone, and listed all the same
    marks: set[str] = field(default_factory=set)  # those of instances that hold for all of them
    generation: int = 0
    etag: int = 3
    state: str = "Succeeded"
    held: int = 0  # operations that are at work on it
    upgrading: OperationRecord | None = None
    rolling: RollingUpgrade | None = None
    placement_groups: list[str] = field(default_factory=list)
    last_id: int = -1
    repairs_state: str = "Running"
    # Properties of the model that a caller has named; the others were filled in.
    asked_for: frozenset[str] = frozenset()
    lifecycle_events: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=dict)
    resource_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.resource_id = (
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
    def flexible(self) -> bool:
        return str(self.model["properties"].get("orchestrationMode", "Uniform")) == "Flexible"

    @property
    def single_group(self) -> bool:
        return self.model["properties"].get("singlePlacementGroup") is not False

    @property
    def profile(self) -> dict[str, Any]:
        found = self.model["properties"].get("virtualMachineProfile")
        return found if isinstance(found, dict) else {}

    @property
    def image(self) -> dict[str, Any]:
        return dict(self.profile.get("storageProfile", {}).get("imageReference") or {})

    @property
    def ephemeral(self) -> bool:
        return bool(self.profile.get("storageProfile", {}).get("osDisk", {}).get("diffDiskSettings"))

    def instance_name(self, instance_id: str) -> str:
        return instance_id if self.flexible else f"{self.name}_{instance_id}"


def _key(subscription_id: str, resource_group: str, name: str) -> tuple[str, str, str]:
    return subscription_id.lower(), resource_group.lower(), name.lower()


class ScaleSets:
    """All scale sets of the world, found whatever the case of their names."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sets: dict[tuple[str, str, str], ScaleSet] = {}
        self._deleted: set[tuple[str, str, str]] = set()
        # Judges read this: (time, scale set, instance id, available), appended whenever that changes.
        self.history: list[tuple[float, str, str, bool]] = []

    def __iter__(self) -> Iterator[ScaleSet]:
        return iter(self._sets.values())

    def add(self, scale_set: ScaleSet) -> None:
        self._sets[_key(scale_set.subscription_id, scale_set.resource_group, scale_set.name)] = scale_set
        for instance in scale_set.instances.values():
            self.history.append((self._world.now, scale_set.name, instance.instance_id, instance.available))

    def find(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet | None:
        return self._sets.get(_key(subscription_id, resource_group, name))

    def get(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet:
        """The scale set; ARM's 404 when there is none, the provider's own when it has just been deleted."""
        found = self.find(subscription_id, resource_group, name)
        if found is not None:
            return found
        if _key(subscription_id, resource_group, name) in self._deleted:
            raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
        text = (
            f"The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group '{resource_group}' "
            "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        )
        raise Refusal(404, "ResourceNotFound", text, gateway=True)

    def create(
        self, subscription_id: str, resource_group: str, name: str, body: Mapping[str, Any]
    ) -> tuple[ScaleSet, OperationRecord]:
        """A new scale set of this body, whose instances begin to be made."""
        world = self._world
        scale_set = ScaleSet(subscription_id, resource_group, name, {}, etag=1, state="Creating")
        body = writes.checked_tags(world, body)
        scale_set.model = without_secrets(creation.new_model(world, scale_set.resource_id, body))
        scale_set.secrets = secrets.after({}, _profile_of(body))
        scale_set.asked_for = frozenset(body.get("properties") or {})
        _normalise(scale_set.model)
        if scale_set.image:
            world.images.exact(scale_set.image)
        self.add(scale_set)
        self.hold(scale_set)
        record = world.operations.begin("CREATE", subscription_id, scale_set.location)
        actions.scale(world, scale_set, lambda: self._written_down(scale_set, record, renewed=False))
        return scale_set, record

    def hold(self, scale_set: ScaleSet) -> None:
        """An operation begins to work on the set: until it ends, the set is Updating.

        Recorded is only what this leaves: an etag that has been raised twice, and Failed after a failed operation.
        """
        scale_set.held += 1
        if scale_set.state in ("Succeeded", "Failed"):
            scale_set.state = "Updating"

    def release(self, scale_set: ScaleSet, *, failed: bool = False) -> None:
        """The operation has ended; with the last one the set is what that one has left."""
        scale_set.held -= 1
        if not scale_set.held and scale_set.state in ("Creating", "Updating"):
            scale_set.state = "Failed" if failed else "Succeeded"

    def delete(self, scale_set: ScaleSet) -> OperationRecord:
        """The whole set goes, with everything in it."""
        world = self._world
        scale_set.state = "Deleting"
        record = world.operations.begin("DELETE", scale_set.subscription_id, scale_set.location)
        key = _key(scale_set.subscription_id, scale_set.resource_group, scale_set.name)

        def gone() -> None:
            self._sets.pop(key, None)
            self._deleted.add(key)
            world.operations.end(record)

        world.after(world.seconds("delete_vmss", 2, 60), gone)
        return record

    # --- instances ---------------------------------------------------------------------------------------------------

    def new_instance(self, scale_set: ScaleSet, *, position: int | None = None) -> Instance:
        """A new instance on the latest model, in the emptiest zone and domains; it is not running yet."""
        world = self._world
        zone = creation.next_zone(scale_set)
        instance_id = creation.next_id(world, scale_set)
        document = creation.instance_document(world, scale_set, instance_id, zone)
        view = creation.view_of(world, scale_set, zone, position)
        instance = Instance(instance_id, document, view, state="Creating", power="starting", state_since=world.now)
        instance.generation = instance.booted = scale_set.generation
        scale_set.instances[instance_id] = instance
        upgrading.remake(world, scale_set, instance)
        return instance

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

    def changing(self, scale_set: ScaleSet, instance: Instance, **fields: str) -> None:
        """Set state, power or health of an instance; whether it was available before and after goes into history."""
        before = instance.available
        if "state" in fields:
            instance.state_since = self._world.now
            instance.etag += 1
            instance.failure = instance.failure if fields["state"] == "Failed" else None
        for name, value in fields.items():
            setattr(instance, name, value)
        if instance.available != before and scale_set.instances.get(instance.instance_id) is instance:
            self.history.append((self._world.now, scale_set.name, instance.instance_id, instance.available))

    def set_state(self, scale_set: ScaleSet, instance: Instance, state: str) -> None:
        self.changing(scale_set, instance, state=state)

    def repair(self, scale_set: ScaleSet, instance: Instance, action: str) -> None:
        """What automatic repairs do with a sick instance: replace it by a new one, reimage or restart it."""
        world = self._world
        if action in ("reimage", "restart"):
            actions.act(world, scale_set, [instance], action)
            return
        self.changing(scale_set, instance, state="Deleting")
        fresh = self.new_instance(scale_set)

        def replaced() -> None:
            actions.forget(world, scale_set, instance)
            actions.created(world, scale_set, fresh)

        world.after(world.seconds("create", 60, 180), replaced)

    # --- the model ---------------------------------------------------------------------------------------------------

    def put(self, scale_set: ScaleSet, body: Mapping[str, Any]) -> OperationRecord:
        """Lay the body of a PUT over the model: tags are replaced, nulls are left out."""
        return self.write(scale_set, writes.checked_tags(self._world, body), null_deletes=False)

    def patch(self, scale_set: ScaleSet, body: Mapping[str, Any]) -> OperationRecord:
        """Lay the body of a PATCH over the model, as ARM's contract and the habits of this world have it."""
        taken = writes.as_patch(self._world, scale_set, writes.checked_tags(self._world, body))
        return self.write(scale_set, taken, null_deletes=True, habitual=True)

    def write(
        self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool, habitual: bool = False
    ) -> OperationRecord:
        """Lay a change over the model, and begin whatever that sets in motion. `habitual`: it is a caller's PATCH."""
        world = self._world
        model = self._written(scale_set, change, null_deletes=null_deletes, habitual=habitual)
        hidden = secrets.after(scale_set.secrets, _profile_of(change))
        renewed = (_made_from(model), hidden) != (_made_from(scale_set.model), scale_set.secrets)
        if renewed:
            upgrading.refuse_or_preempt(world, scale_set)
            self._refuse_too_many_models(scale_set)
            scale_set.generation += 1
        resized = model.get("sku", {}).get("capacity") != scale_set.model.get("sku", {}).get("capacity")
        scale_set.model, scale_set.secrets = model, hidden
        self.hold(scale_set)
        scale_set.etag += 1
        record = world.operations.begin("PUT", scale_set.subscription_id, scale_set.location)

        def written() -> None:
            world.after(
                world.seconds("write", 0.03, 0.5), lambda: self._written_down(scale_set, record, renewed=renewed)
            )

        if resized:
            actions.scale(world, scale_set, written)
        else:
            written()
        return record

    def _written(
        self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool, habitual: bool
    ) -> dict[str, Any]:
        kept = {key: value for key, value in change.items() if key not in READ_ONLY}
        if isinstance(kept.get("properties"), Mapping):
            inner = kept["properties"]
            kept["properties"] = {key: value for key, value in inner.items() if key not in READ_ONLY_PROPERTIES}
        _blind_to_case(kept, scale_set.model)
        base = writes.before_merge(self._world, scale_set.model, kept, patch=habitual)
        model: dict[str, Any] = merged(base, without_secrets(kept), null_deletes=null_deletes)
        _complete(model, scale_set.model)
        if kept.get("identity"):
            identity = creation.completed_identity(self._world, model["identity"])
            model = {k: v for k, v in {**model, "identity": identity}.items() if v is not None}
        _normalise(model)
        before, after = scale_set.image, _image(model)
        _refuse_trusted_launch(model, after)
        if before and _kind(before) != _kind(after):
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

    def _written_down(self, scale_set: ScaleSet, record: OperationRecord, *, renewed: bool) -> None:
        outcome = self._world.disturbances.outcome("write", scale_set, ()) or upgrading.Outcome()
        if outcome.hangs:
            return
        upgrading.end(self._world, scale_set, record, outcome.error)
        if renewed and scale_set.mode == "Automatic":
            behind = [one for one in scale_set.instances.values() if not one.protected]
            upgrading.upgrade(self._world, scale_set, behind, lambda _error: None)
        elif renewed and scale_set.mode == "Rolling":
            rolling.roll(self._world, scale_set)

    # Kept under their short names for those who drive a world by hand.
    def manual_upgrade(self, scale_set: ScaleSet, instances: list[Instance]) -> OperationRecord:
        return upgrading.manual_upgrade(self._world, scale_set, instances)

    def set_health(self, scale_set: ScaleSet, instance: Instance, state: str) -> None:
        health.set_health(self._world, scale_set, instance, state)


def _profile_of(body: Mapping[str, Any]) -> Json:
    return (body.get("properties") or {}).get("virtualMachineProfile")


def _image(model: Mapping[str, Any]) -> dict[str, Any]:
    profile = model["properties"].get("virtualMachineProfile") or {}
    return dict(profile.get("storageProfile", {}).get("imageReference") or {})


def _kind(image: Mapping[str, Any]) -> tuple[bool, bool]:
    return bool(image.get("publisher")), bool(image.get("id"))


def _made_from(model: Mapping[str, Any]) -> Json:
    """What an instance is made from: a change here leaves every instance behind the model."""
    profile = model["properties"].get("virtualMachineProfile")
    kept = {key: value for key, value in profile.items() if key != "timeCreated"} if profile else profile
    return kept, model.get("sku", {}).get("name"), model.get("zones")


def _blind_to_case(change: dict[str, Any], model: Mapping[str, Any]) -> None:
    """Resource ids that are keys name the same identity in any case."""
    identity = change.get("identity")
    if not isinstance(identity, Mapping) or not isinstance(identity.get("userAssignedIdentities"), Mapping):
        return
    spelt = {key.lower(): key for key in (model.get("identity") or {}).get("userAssignedIdentities") or {}}
    users = {spelt.get(key.lower(), key): value for key, value in identity["userAssignedIdentities"].items()}
    change["identity"] = {**identity, "userAssignedIdentities": users}


def _refuse_trusted_launch(model: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    security = (model["properties"].get("virtualMachineProfile") or {}).get("securityProfile") or {}
    managed = "/providers/microsoft.compute/images/" in str(image.get("id", "")).lower()
    if managed and security.get("securityType") == "TrustedLaunch":
        text = "Managed Images are not supported for virtual machines with security type TrustedLaunch."
        raise Refusal(400, "BadRequest", text)


def _complete(model: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Fill in what a written part of the model leaves open, as Azure does."""
    properties, old = model["properties"], before["properties"]
    if properties.get("upgradePolicy") != old.get("upgradePolicy"):
        properties["upgradePolicy"] = creation.completed_policy(properties.get("upgradePolicy") or {})
    profile = properties.get("virtualMachineProfile")
    if profile and profile != old.get("virtualMachineProfile"):
        if profile.get("userData") == "":
            profile = {key: value for key, value in profile.items() if key != "userData"}
        if str((profile.get("securityProfile") or {}).get("securityType", "")).lower() == "standard":
            profile = {**profile, "securityProfile": _standard(profile["securityProfile"])}
        profile = creation.completed_profile(profile, keeps_empty=creation.is_flexible(properties))
        creation.keep_acceleration(profile, old.get("virtualMachineProfile") or {})
        properties["virtualMachineProfile"] = profile


def _standard(security: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded of a write of the type Standard: neither the type nor settings of UEFI are shown afterwards."""
    return {key: value for key, value in security.items() if key not in ("securityType", "uefiSettings")}


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
    if creation.is_no_zone(model.get("zones")):
        del model["zones"]
    capacity = model.get("sku", {}).get("capacity")
    if isinstance(capacity, str) and capacity.isdigit():
        model["sku"]["capacity"] = int(capacity)
