"""What each habit that is an event does to instances, requests and models. A new such habit is one more entry here.

`emulator.habits` names the habits and their parameters; `disturbances` decides when they happen.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..messages import ErrorResponse
from .disturbances import Disturbance, Disturbances, Effect, choose, copy_instance
from .events import Events
from .health import Health, has_source
from .instances import Instances
from .operations import CONFLICT
from .power import Power
from .repairs import Repairs
from .scale_sets import ScaleSets
from .state import Instance, ScaleSet

WRITE_AGAIN_SECONDS, MOST_WRITES = 10.0, 100  # of another writer whose write Azure refuses for the moment
Batch = Sequence[Instance]
Change = Callable[[Disturbance, ScaleSet], dict[str, Any] | None]  # the body that another writer sends


@dataclass(eq=False)
class HabitEffects:
    """The effects of the habits that are events."""

    events: Events
    disturbances: Disturbances
    instances: Instances
    health: Health
    power: Power
    repairs: Repairs
    scale_sets: ScaleSets

    def table(self) -> dict[str, Effect]:
        """Every effect by the name of its habit."""
        return {
            "instance-unhealthy": functools.partial(self._report, "unhealthy"),
            "instance-flaps": self._flap,
            "instance-evicted": self._evict,
            "instance-stuck": self._stick,
            "instance-vanishes": self._vanish,
            "instance-unlisted": functools.partial(self._mark, lambda _: "unlisted"),
            "instance-listed-though-gone": self._delete_but_list,
            "instance-replaced": self._replace,
            "instance-protected": self._protect,
            "zone-down": self._stop_zone,
            "power-state-missing": functools.partial(self._mark, lambda _: "no-power"),
            "instance-view-missing": functools.partial(self._mark, lambda parameters: f"view-{parameters['form']}"),
            "health-silent": functools.partial(self._mark, lambda _: "silent"),
            "health-unknown": functools.partial(self._report, "unknown"),
            "outage": self._outage,
            "busy": self._busy,
            "scaled-out": functools.partial(self._write, _capacity),
            "scaled-in": functools.partial(self._write, _capacity),
            "tags-changed": functools.partial(self._write, _tags),
            "model-changed": functools.partial(self._write, _model),
            "login-outage": self._login_outage,
            "rights-removed": self._remove_rights,
        }

    # --- instances

    def _report(self, state: str, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        """Applications report another health, and in the end the same as before."""
        if not has_source(scale_set):
            return None
        chosen = _choose(use, scale_set, batch, lambda it: it.power == "running" and it.health not in ("", state))
        before = [(instance, instance.health) for instance in chosen]
        for instance in chosen:
            self.health.set_health(scale_set, instance, state)

        def end() -> None:
            for instance, previous in before:
                if scale_set.has(instance) and instance.health == state:
                    back = "healthy" if previous == "initializing" else previous
                    self.health.set_health(scale_set, instance, back)

        self.disturbances.end_later(use, scale_set, chosen, end)
        return chosen or None

    def _flap(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        if not has_source(scale_set):
            return None
        chosen = _choose(use, scale_set, batch, _is_running)
        for instance in chosen:
            self.health.flap(scale_set, instance, use.parameters["flips"], use.parameters["interval"])
        return chosen or None

    def _evict(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        policy = use.parameters["policy"] or str(scale_set.profile.get("evictionPolicy", "Deallocate"))
        chosen = _choose(use, scale_set, batch, _is_running)
        for instance in chosen:
            if policy.lower() == "delete":
                self.instances.discard(scale_set, instance)
            else:
                self.instances.update(scale_set, instance, power="deallocated", health="")
        return chosen or None

    def _stick(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        chosen = _choose(use, scale_set, batch, lambda instance: "stuck" not in instance.marks)
        for instance in chosen:
            instance.marks |= {"stuck", *(["alone"] if use.parameters["operation_ends"] else [])}
            if instance.state != "Updating":
                self.instances.update(scale_set, instance, state="Updating")
                instance.marks.add("idle")

        def end() -> None:
            for instance in chosen:
                self.instances.release_stuck(scale_set, instance)

        self.disturbances.end_later(use, scale_set, chosen, end)
        return chosen or None

    def _vanish(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        chosen = _choose(use, scale_set, batch)
        for instance in chosen:
            self.instances.delete(scale_set, instance)
        return chosen or None

    def _delete_but_list(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        chosen = _choose(use, scale_set, batch)
        for instance in chosen:
            ghost = copy_instance(instance)
            self.instances.delete(scale_set, instance)
            scale_set.ghosts[instance.instance_id] = ghost

        def end() -> None:
            for instance in chosen:
                scale_set.ghosts.pop(instance.instance_id, None)

        self.disturbances.end_later(use, scale_set, chosen, end)
        return chosen or None

    def _mark(
        self, mark_of: Callable[[Mapping[str, Any]], str], use: Disturbance, scale_set: ScaleSet, batch: Batch
    ) -> list[Instance] | None:
        """Mark instances, so that views and lists show them otherwise than they are."""
        mark = mark_of(use.parameters)
        chosen = _choose(use, scale_set, batch, lambda instance: mark not in instance.marks)
        all_of_set = not use.parameters["count"] and not use.parameters["instance"] and use.parameters["among"] == "any"
        holders: list[Instance | ScaleSet] = [*chosen, *([scale_set] if all_of_set else [])]  # for new instances too
        for holder in holders:
            holder.marks.add(mark)

        def end() -> None:
            for holder in holders:
                holder.marks.discard(mark)

        self.disturbances.end_later(use, scale_set, chosen, end)
        return chosen or None

    def _replace(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        chosen = _choose(use, scale_set, batch)
        for instance in chosen:
            self.repairs.repair(scale_set, instance, "replace")
        return chosen or None

    def _protect(self, use: Disturbance, scale_set: ScaleSet, batch: Batch) -> list[Instance] | None:
        chosen = _choose(use, scale_set, batch, lambda instance: not instance.is_protected)
        for instance in chosen:
            properties = instance.document["properties"]
            policy = properties.get("protectionPolicy") or {}
            properties["protectionPolicy"] = {**policy, "protectFromScaleSetActions": True}
            instance.etag += 1
        return chosen or None

    def _stop_zone(self, use: Disturbance, scale_set: ScaleSet, _batch: Batch) -> list[Instance] | None:
        zones = [instance.zone for instance in scale_set.instances.values() if instance.zone]
        zone = use.parameters["zone"] or (zones[0] if zones else "")
        in_zone = [instance for instance in scale_set.instances.values() if zone and instance.zone == zone]
        running = [instance for instance in in_zone if _is_running(instance)]
        for instance in running:
            self.instances.update(scale_set, instance, power="stopped", health="")

        def end() -> None:
            for instance in running:
                if scale_set.has(instance) and instance.power == "stopped":
                    self.instances.update(scale_set, instance, power="running")
                    self.health.warm_up(scale_set, instance)

        self.disturbances.end_later(use, scale_set, running, end)
        return running or None

    # --- requests, for a while

    def _outage(self, use: Disturbance, _scale_set: ScaleSet, _batch: Batch) -> list[Instance]:
        parameters = use.parameters
        breaks = parameters["answer"] == "reset"
        answer = {"drop": "before"} if breaks else {"status": 503, "code": "ServiceUnavailable"}
        return self._refuse(use, method=parameters["method"], path=parameters["path"], **answer)

    def _refuse(self, use: Disturbance, **description: Any) -> list[Instance]:
        """Add a fault for all requests that match, for the `seconds` of the habit."""
        rule = self.disturbances.add_fault(use, **description)
        rule.ends = self.events.now + use.parameters["seconds"]
        return []

    def _busy(self, use: Disturbance, scale_set: ScaleSet, _batch: Batch) -> list[Instance]:
        scale_set.hold()
        self.events.schedule_in(use.parameters["seconds"], scale_set.release)
        path = f"virtualMachineScaleSets/{scale_set.name}"
        return self._refuse(use, method="WRITE", path=path, status=409, code=use.parameters["code"], message=CONFLICT)

    def _login_outage(self, use: Disturbance, _scale_set: ScaleSet, _batch: Batch) -> list[Instance]:
        text = "AADSTS90033: A transient error has occurred. Please try again."
        body = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90033]}
        return self._refuse(use, path="oauth2", status=503, body=body)

    def _remove_rights(self, use: Disturbance, _scale_set: ScaleSet, _batch: Batch) -> list[Instance]:
        text = "The client does not have authorization to perform this action."
        return self._refuse(
            use, method="WRITE", path="subscriptions", status=403, code="AuthorizationFailed", message=text
        )

    # --- other writers

    def _write(self, change: Change, use: Disturbance, scale_set: ScaleSet, _batch: Batch) -> list[Instance] | None:
        """Write the model as another client; try again later where Azure refuses it for the moment."""
        return [] if self._try_write(change, use, scale_set, MOST_WRITES) else None

    def _try_write(self, change: Change, use: Disturbance, scale_set: ScaleSet, tries: int) -> bool:
        body = None if use.is_over or scale_set.state == "Deleting" else change(use, scale_set)
        if body is None:
            return False
        try:
            self.scale_sets.write(scale_set, body, null_deletes=True)
        except ErrorResponse:
            if tries:
                again = functools.partial(self._write_again, change, use, scale_set, tries - 1)
                self.events.schedule_in(WRITE_AGAIN_SECONDS, again)
            return False
        return True

    def _write_again(self, change: Change, use: Disturbance, scale_set: ScaleSet, tries: int) -> None:
        if self._try_write(change, use, scale_set, tries):
            self.disturbances.note(use, scale_set, ())


def _is_running(instance: Instance) -> bool:
    return instance.power == "running"


def _choose(
    use: Disturbance, scale_set: ScaleSet, batch: Batch, fits: Callable[[Instance], bool] | None = None
) -> list[Instance]:
    """The instances that a habit is about, but for those that are being created or deleted."""
    pool = [instance for instance in scale_set.instances.values() if instance.state not in ("Creating", "Deleting")]
    return choose(use, pool, batch, fits)


def _capacity(use: Disturbance, scale_set: ScaleSet) -> dict[str, Any] | None:
    """A capacity that is `by` larger or smaller, at least 1."""
    now = int(scale_set.model["sku"].get("capacity") or 0)
    capacity = now + use.parameters["by"] if use.habit == "scaled-out" else max(1, now - use.parameters["by"])
    return None if capacity == now else {"sku": {"capacity": capacity}}


def _tags(_use: Disturbance, scale_set: ScaleSet) -> dict[str, Any]:
    return {"tags": {**(scale_set.model.get("tags") or {}), "changed-by": f"another-writer-{scale_set.etag}"}}


def _model(_use: Disturbance, scale_set: ScaleSet) -> dict[str, Any] | None:
    """Boot diagnostics switched on or off, which every instance can follow."""
    if not scale_set.profile:
        return None
    before = (scale_set.profile.get("diagnosticsProfile") or {}).get("bootDiagnostics") or {}
    diagnostics = {"bootDiagnostics": {"enabled": not before.get("enabled", False)}}
    policy = scale_set.model["properties"].get("upgradePolicy")
    unchanged = {"upgradePolicy": policy} if policy else {}
    return {"properties": {**unchanged, "virtualMachineProfile": {"diagnosticsProfile": diagnostics}}}
