"""Scale sets: how a PUT, PATCH or DELETE changes one, and what that sets in motion.

Everything that takes time is an event. Durations are drawn from what was recorded of Azure.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..messages import ErrorResponse, Json
from . import defaults, secrets, writes
from .disturbances import Disturbances
from .events import Events
from .images import Images
from .instances import Instances
from .manual_upgrade import ManualUpgrades
from .operations import Operations, Outcome
from .power import Power
from .rolling_upgrade import RollingUpgrades
from .secrets import without_secrets
from .state import Key, OperationRecord, ScaleSet, Settings, State

READ_ONLY = frozenset({"id", "name", "type", "etag", "systemData"})
READ_ONLY_PROPERTIES = frozenset({"provisioningState", "uniqueId", "timeCreated"})
_MODES = {mode.lower(): mode for mode in ("Automatic", "Manual", "Rolling")}
MOST_MODELS = 10


@dataclass(eq=False)
class ScaleSets:
    """All scale sets; their names are case-blind. `tenant_id`: of the managed identities of new scale sets."""

    events: Events
    state: State
    settings: Settings
    tenant_id: str
    operations: Operations
    images: Images
    instances: Instances
    power: Power
    manual_upgrades: ManualUpgrades
    rolling_upgrades: RollingUpgrades
    disturbances: Disturbances

    def __iter__(self) -> Iterator[ScaleSet]:
        return iter(self.state)

    def add(self, scale_set: ScaleSet) -> None:
        """Add a scale set as it is."""
        self.state.scale_sets[_key(scale_set.subscription_id, scale_set.resource_group, scale_set.name)] = scale_set
        for instance in scale_set.instances.values():
            self.instances.record_availability(scale_set, instance, instance.is_available)

    def find(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet | None:
        """The scale set of this name, or None."""
        return self.state.scale_sets.get(_key(subscription_id, resource_group, name))

    def get(self, subscription_id: str, resource_group: str, name: str) -> ScaleSet:
        """The scale set of this name; ARM's 404 for an unknown one, the provider's own for one deleted before."""
        scale_set = self.find(subscription_id, resource_group, name)
        if scale_set is not None:
            return scale_set
        if _key(subscription_id, resource_group, name) in self.state.deleted_scale_sets:
            raise ErrorResponse(404, "NotFound", "The entity was not found in this Azure location.")
        text = (
            f"The Resource 'Microsoft.Compute/virtualMachineScaleSets/{name}' under resource group '{resource_group}' "
            "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        )
        raise ErrorResponse(404, "ResourceNotFound", text, gateway=True)

    def create(
        self, subscription_id: str, resource_group: str, name: str, body: Mapping[str, Any]
    ) -> tuple[ScaleSet, OperationRecord]:
        """A new scale set of this body, and the operation that creates its instances."""
        scale_set = ScaleSet(subscription_id, resource_group, name, {}, etag=1, state="Creating")
        body = writes.check_tags(self.settings.habits, body)
        model = defaults.new_model(self.events, self.tenant_id, scale_set.resource_id, body)
        scale_set.model = without_secrets(model)
        scale_set.secrets = secrets.after_write({}, _profile_of(body))
        scale_set.explicit_properties = frozenset(body.get("properties") or {})
        _normalize(scale_set.model)
        if scale_set.image:
            self.images.exact_version(scale_set.image)
        self.add(scale_set)
        scale_set.hold()
        record = self.operations.begin("CREATE", scale_set)
        self.resize(scale_set, lambda: self._finish_write(scale_set, record, outdates=False))
        return scale_set, record

    def delete(self, scale_set: ScaleSet) -> OperationRecord:
        """Begin to delete a scale set with all its instances. Returns the operation."""
        scale_set.state = "Deleting"
        record = self.operations.begin("DELETE", scale_set)
        key = _key(scale_set.subscription_id, scale_set.resource_group, scale_set.name)

        def finish() -> None:
            self.state.scale_sets.pop(key, None)
            self.state.deleted_scale_sets.add(key)
            self.operations.end(record)

        self.events.schedule_in(self.events.duration("delete_vmss", 2, 60), finish)
        return record

    def resize(self, scale_set: ScaleSet, on_end: Callable[[], None]) -> None:
        """Bring the number of instances to the capacity of the model, then call `on_end`.

        Overprovisioning creates more instances and deletes the surplus at the end, so that ids have gaps.
        """
        capacity, count = int(scale_set.model["sku"].get("capacity", 0)), len(scale_set.instances)
        missing = max(0, capacity - count)
        surplus = defaults.surplus(missing) if scale_set.model["properties"].get("overprovision") else 0
        new = [self.instances.create(scale_set) for _ in range(missing + surplus)]
        old = [instance for instance in reversed(scale_set.instances.values()) if instance not in new]
        spare = [instance for instance in old if not instance.is_protected_from_scale_in]
        leaving = spare[: max(0, count - capacity)]
        for instance in leaving:
            self.instances.update(scale_set, instance, state="Deleting")

        def finish() -> None:
            for instance in (*leaving, *self.events.random.sample(new, surplus if new else 0)):
                self.instances.discard(scale_set, instance)
            for instance in new:
                self.power.finish_creation(scale_set, instance)
            on_end()

        self.events.schedule_in(self.events.duration("scale", 20, 60) if missing or leaving else 0.1, finish)

    # --- writes to the model

    def put(self, scale_set: ScaleSet, body: Mapping[str, Any]) -> OperationRecord:
        """Merge the body of a PUT into the model: tags are replaced, nulls are ignored."""
        return self.write(scale_set, writes.check_tags(self.settings.habits, body), null_deletes=False)

    def patch(self, scale_set: ScaleSet, body: Mapping[str, Any]) -> OperationRecord:
        """Merge the body of a PATCH into the model, by ARM's contract and the habits that are on."""
        habits = self.settings.habits
        patch = writes.read_patch(habits, scale_set, writes.check_tags(habits, body))
        return self.write(scale_set, patch, null_deletes=True, is_patch=True)

    def write(
        self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool, is_patch: bool = False
    ) -> OperationRecord:
        """Merge a change into the model, and begin what that sets in motion. Returns the operation.

        `is_patch`: a caller's PATCH, for which the habits of a PATCH hold.
        """
        model = self._new_model(scale_set, change, null_deletes=null_deletes, is_patch=is_patch)
        new_secrets = secrets.after_write(scale_set.secrets, _profile_of(change))
        outdates = (_parts_of_instances(model), new_secrets) != (
            _parts_of_instances(scale_set.model),
            scale_set.secrets,
        )
        if outdates:
            self.manual_upgrades.refuse_or_preempt(scale_set)
            _refuse_too_many_models(scale_set)
            scale_set.model_version += 1
        resizes = model.get("sku", {}).get("capacity") != scale_set.model.get("sku", {}).get("capacity")
        scale_set.model, scale_set.secrets = model, new_secrets
        scale_set.hold()
        scale_set.etag += 1
        record = self.operations.begin("PUT", scale_set)

        def finish() -> None:
            seconds = self.events.duration("write", 0.03, 0.5)
            self.events.schedule_in(seconds, lambda: self._finish_write(scale_set, record, outdates=outdates))

        if resizes:
            self.resize(scale_set, finish)
        else:
            finish()
        return record

    def _new_model(
        self, scale_set: ScaleSet, change: Mapping[str, Any], *, null_deletes: bool, is_patch: bool
    ) -> dict[str, Any]:
        """The model after a write of this change; ErrorResponse where Azure refuses it."""
        body = _match_identity_case(_without_read_only(change), scale_set.model)
        base = writes.without_replaced(self.settings.habits, scale_set.model, body, is_patch=is_patch)
        model: dict[str, Any] = merge(base, without_secrets(body), null_deletes=null_deletes)
        _complete(model, scale_set.model)
        if body.get("identity"):
            identity = defaults.complete_identity(self.events, self.tenant_id, model["identity"])
            model = {k: v for k, v in {**model, "identity": identity}.items() if v is not None}
        _normalize(model)
        before, after = scale_set.image, _image(model)
        _refuse_trusted_launch(model, after)
        if before and _kind(before) != _kind(after):
            raise ErrorResponse(
                409,
                "PropertyChangeNotAllowed",
                "Changing property 'imageReference' is not allowed.",
                target="imageReference",
            )
        if before != after:
            self.images.exact_version(after)
        return model

    def _finish_write(self, scale_set: ScaleSet, record: OperationRecord, *, outdates: bool) -> None:
        """End a write, and begin the upgrade that the mode of the set asks for."""
        outcome = self.disturbances.outcome("write", scale_set, ()) or Outcome()
        if outcome.hangs:
            return
        self.operations.end_on_set(scale_set, record, outcome.error)
        if outdates and scale_set.mode == "Automatic":
            free = [instance for instance in scale_set.instances.values() if not instance.is_protected]
            self.manual_upgrades.upgrade(scale_set, free, lambda _error: None)
        elif outdates and scale_set.mode == "Rolling":
            self.rolling_upgrades.start_after_write(scale_set)


def merge(old: Json, new: Json, *, null_deletes: bool) -> Json:
    """`new` merged into `old`: absent keys stay, lists are replaced, null deletes (PATCH) or is ignored (PUT)."""
    if not isinstance(new, Mapping):
        return copy.deepcopy(new)
    result = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            if null_deletes:
                result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value, null_deletes=null_deletes)
    return result


def _key(subscription_id: str, resource_group: str, name: str) -> Key:
    return subscription_id.lower(), resource_group.lower(), name.lower()


def _without_read_only(change: Mapping[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in change.items() if key not in READ_ONLY}
    if isinstance(body.get("properties"), Mapping):
        properties = body["properties"].items()
        body["properties"] = {key: value for key, value in properties if key not in READ_ONLY_PROPERTIES}
    return body


def _refuse_too_many_models(scale_set: ScaleSet) -> None:
    versions = {instance.model_version for instance in scale_set.instances.values()} | {scale_set.model_version + 1}
    if len(versions) > MOST_MODELS:
        raise ErrorResponse(
            409,
            "OperationNotAllowed",
            f"VM Scale Set '{scale_set.name}' has reached the limit of {MOST_MODELS} models: bring its instances "
            "to the latest model before changing the model again.",
        )


def _profile_of(body: Mapping[str, Any]) -> Json:
    return (body.get("properties") or {}).get("virtualMachineProfile")


def _image(model: Mapping[str, Any]) -> dict[str, Any]:
    profile = model["properties"].get("virtualMachineProfile") or {}
    return dict(profile.get("storageProfile", {}).get("imageReference") or {})


def _kind(image: Mapping[str, Any]) -> tuple[bool, bool]:
    return bool(image.get("publisher")), bool(image.get("id"))


def _parts_of_instances(model: Mapping[str, Any]) -> Json:
    """The parts of a model that instances are made from: a change of them outdates every instance."""
    profile = model["properties"].get("virtualMachineProfile")
    parts = {key: value for key, value in profile.items() if key != "timeCreated"} if profile else profile
    return parts, model.get("sku", {}).get("name"), model.get("zones")


def _match_identity_case(body: dict[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the ids of identities as the model writes them; in any case they name the same identity."""
    identity = body.get("identity")
    if not isinstance(identity, Mapping) or not isinstance(identity.get("userAssignedIdentities"), Mapping):
        return body
    stored = {key.lower(): key for key in (model.get("identity") or {}).get("userAssignedIdentities") or {}}
    users = {stored.get(key.lower(), key): value for key, value in identity["userAssignedIdentities"].items()}
    return {**body, "identity": {**identity, "userAssignedIdentities": users}}


def _refuse_trusted_launch(model: Mapping[str, Any], image: Mapping[str, Any]) -> None:
    security = (model["properties"].get("virtualMachineProfile") or {}).get("securityProfile") or {}
    managed = "/providers/microsoft.compute/images/" in str(image.get("id", "")).lower()
    if managed and security.get("securityType") == "TrustedLaunch":
        text = "Managed Images are not supported for virtual machines with security type TrustedLaunch."
        raise ErrorResponse(400, "BadRequest", text)


def _complete(model: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Fill in Azure's defaults in the parts of a model that a write has changed."""
    properties, old = model["properties"], before["properties"]
    if properties.get("upgradePolicy") != old.get("upgradePolicy"):
        properties["upgradePolicy"] = defaults.complete_policy(properties.get("upgradePolicy") or {})
    profile = properties.get("virtualMachineProfile")
    if profile and profile != old.get("virtualMachineProfile"):
        if profile.get("userData") == "":
            profile = {key: value for key, value in profile.items() if key != "userData"}
        if str((profile.get("securityProfile") or {}).get("securityType", "")).lower() == "standard":
            profile = {**profile, "securityProfile": _standard(profile["securityProfile"])}
        profile = defaults.complete_profile(profile, keeps_empty=defaults.is_flexible(properties))
        defaults.keep_acceleration(profile, old.get("virtualMachineProfile") or {})
        properties["virtualMachineProfile"] = profile


def _standard(security: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded of a write of the type Standard: neither the type nor settings of UEFI are shown afterwards."""
    return {key: value for key, value in security.items() if key not in ("securityType", "uefiSettings")}


def _normalize(model: dict[str, Any]) -> None:
    """Correct what Azure corrects, in place: the mode in any case, a capacity as text, zones without a zone."""
    policy = model["properties"].get("upgradePolicy")
    if isinstance(policy, dict) and "mode" in policy:
        mode = _MODES.get(str(policy["mode"]).lower())
        if mode is None:
            raise ErrorResponse(
                400,
                "InvalidParameter",
                f"The value '{policy['mode']}' of parameter 'upgradePolicy.mode' is invalid.",
                target="upgradePolicy.mode",
            )
        policy["mode"] = mode
    if defaults.is_no_zone(model.get("zones")):
        del model["zones"]
    capacity = model.get("sku", {}).get("capacity")
    if isinstance(capacity, str) and capacity.isdigit():
        model["sku"]["capacity"] = int(capacity)
