"""What exists in the simulation: scale sets, instances, operations, rolling upgrades.

Data only, which imports nothing of ours; the modules beside this one change it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Json = Any
Secrets = dict[str, Json]  # by place: "osProfile/customData", "extensions/health" (the name in lower case)
Key = tuple[str, str, str]  # subscription id, resource group and name of a scale set in lower case


@dataclass(slots=True)
class Settings:
    """How the emulator behaves, whatever exists. A reset of the simulation keeps it.

    `habits`: the names of the habits that are on. `page_size`: instances on a page of their list, 0 for all on one.
    `compact_views`: leave out of instances what no engine reads, for rehearsals by the thousand. `concurrency`: a
    second write during an upgrade is a 409 ("conflict") or ends the upgrade ("preempt").
    """

    habits: frozenset[str] = frozenset()
    page_size: int = 0
    compact_views: bool = False
    concurrency: str = "conflict"


@dataclass(slots=True)
class OperationRecord:
    """One long-running operation. `error`: Azure's error object. `output`: what the operation returns at its end."""

    guid: str
    subscription_id: str
    location: str
    kind: str  # CREATE, PUT, DELETE or POST
    start_time: float
    status: str = "InProgress"
    end_time: float | None = None
    error: dict[str, Json] | None = None
    polls: int = 0
    output: Json = None

    @property
    def is_done(self) -> bool:
        """Whether the operation has ended."""
        return self.status != "InProgress"


@dataclass(slots=True, eq=False)
class Instance:
    """One VM. `document` is what GET shows, except for what changes.

    `model_version`: the model that it was upgraded to. `disk_version`: the model of its customData and OS disk, which
    only creation and reimage renew. `health`: what its application reports, "" for no report. `upgrades`: time and
    model version of each upgrade. `resources`: its extensions and run commands, kind -> name -> document. `marks`:
    how habits change what is shown of it ("unlisted", "no-power", "silent", "view-..."), and "stuck" in Updating.
    `failure`: code and message of its failed provisioning. `on_release`: ends an upgrade in which it was stuck.
    """

    instance_id: str
    document: dict[str, Any]
    view: dict[str, Any]
    model_version: int = 0
    disk_version: int = 0
    state: str = "Succeeded"
    state_since: float = 0.0
    power: str = "running"
    health: str = ""
    health_since: float = 0.0
    etag: int = 2
    upgrades: list[tuple[float, int]] = field(default_factory=list)
    resources: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    failure: tuple[str, str] | None = None
    on_release: Callable[[], None] | None = None

    @property
    def is_available(self) -> bool:
        """Whether the instance is provisioned, running and healthy, or reports no health."""
        return self.state == "Succeeded" and self.power == "running" and self.health in ("", "healthy")

    @property
    def zone(self) -> str | None:
        """The availability zone; None for a regional instance."""
        zones = self.document.get("zones")
        return str(zones[0]) if zones and zones[0] is not None else None

    @property
    def is_protected(self) -> bool:
        """Whether actions on the whole set leave the instance out."""
        policy = self.document["properties"].get("protectionPolicy") or {}
        return bool(policy.get("protectFromScaleSetActions"))

    @property
    def is_protected_from_scale_in(self) -> bool:
        """Whether a smaller capacity leaves the instance alive."""
        policy = self.document["properties"].get("protectionPolicy") or {}
        return bool(policy.get("protectFromScaleIn") or policy.get("protectFromScaleSetActions"))


@dataclass(slots=True, eq=False)
class RollingUpgrade:
    """One rolling upgrade by Azure. `code`: RollingForward, Completed, Cancelled or Faulted."""

    record: OperationRecord
    policy: dict[str, Json]
    pending: list[Instance]
    start_time: float
    code: str = "RollingForward"
    last_action: str = "Start"
    last_action_time: float = 0.0
    end_time: float | None = None
    batch: list[Instance] = field(default_factory=list)
    succeeded: int = 0
    failed: int = 0
    rollbacks: int = 0
    error: dict[str, Json] | None = None
    initiator: str = "User"
    kind: str = "OS"
    previous: "RollingUpgrade | None" = None

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.code == "RollingForward"


@dataclass(slots=True, eq=False)
class ScaleSet:
    """One scale set: its model as stored, its instances by id, and the operations that hold it.

    `ghosts`: deleted instances that a habit still lists. `marks`: those of instances that hold for all of them.
    `holds`: operations at work on the set. `upgrade`: the newest manual upgrade. `rolling_upgrade`: the newest one.
    `explicit_properties`: properties of the model that a caller has sent; Azure has filled in the others.
    """

    subscription_id: str
    resource_group: str
    name: str
    model: dict[str, Any]
    instances: dict[str, Instance] = field(default_factory=dict)
    ghosts: dict[str, Instance] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    model_version: int = 0
    etag: int = 3
    state: str = "Succeeded"
    holds: int = 0
    upgrade: OperationRecord | None = None
    rolling_upgrade: RollingUpgrade | None = None
    placement_groups: list[str] = field(default_factory=list)
    last_id: int = -1
    repairs_state: str = "Running"
    explicit_properties: frozenset[str] = frozenset()
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
        """The region."""
        return str(self.model.get("location", "westus"))

    @property
    def mode(self) -> str:
        """The mode of the upgrade policy: Manual, Automatic or Rolling."""
        return str(self.model["properties"].get("upgradePolicy", {}).get("mode", "Manual"))

    @property
    def is_flexible(self) -> bool:
        """Whether the orchestration mode is Flexible."""
        return str(self.model["properties"].get("orchestrationMode", "Uniform")) == "Flexible"

    @property
    def is_single_group(self) -> bool:
        """Whether all instances are in one placement group."""
        return self.model["properties"].get("singlePlacementGroup") is not False

    @property
    def profile(self) -> dict[str, Any]:
        """The VM profile of the model; {} for none."""
        profile = self.model["properties"].get("virtualMachineProfile")
        return profile if isinstance(profile, dict) else {}

    @property
    def image(self) -> dict[str, Any]:
        """The image reference of the model; {} for none."""
        return dict(self.profile.get("storageProfile", {}).get("imageReference") or {})

    @property
    def extensions(self) -> list[dict[str, Any]]:
        """The extensions of the model."""
        extensions = (self.profile.get("extensionProfile") or {}).get("extensions")
        return extensions if isinstance(extensions, list) else []

    @property
    def has_ephemeral_disks(self) -> bool:
        """Whether the OS disks are ephemeral."""
        return bool(self.profile.get("storageProfile", {}).get("osDisk", {}).get("diffDiskSettings"))

    def instance_name(self, instance_id: str) -> str:
        """The name of the instance with this id."""
        return instance_id if self.is_flexible else f"{self.name}_{instance_id}"

    def has(self, instance: Instance) -> bool:
        """Whether this very instance still exists: not deleted, not replaced by another with the same id."""
        return self.instances.get(instance.instance_id) is instance

    def hold(self) -> None:
        """Let an operation begin to work on the set: until it ends, the set is Updating.

        The state Updating itself was never recorded, only what it leaves: two etag increments, and Failed.
        """
        self.holds += 1
        if self.state in ("Succeeded", "Failed"):
            self.state = "Updating"

    def release(self, *, failed: bool = False) -> None:
        """Let an operation end; the end of the last one sets the state."""
        self.holds -= 1
        if not self.holds and self.state in ("Creating", "Updating"):
            self.state = "Failed" if failed else "Succeeded"


@dataclass(slots=True, eq=False)
class State:
    """All that exists. A reset of the simulation makes a new one.

    `resource_groups`: (subscription, name) in lower case -> (subscription, name, location) as written.
    `availability`: what judges read: (time, scale set, instance id, whether it is available), one entry for each
    change.
    """

    scale_sets: dict[Key, ScaleSet] = field(default_factory=dict)
    deleted_scale_sets: set[Key] = field(default_factory=set)
    resource_groups: dict[tuple[str, str], tuple[str, str, str]] = field(default_factory=dict)
    availability: list[tuple[float, str, str, bool]] = field(default_factory=list)

    def __iter__(self) -> Iterator[ScaleSet]:
        return iter(self.scale_sets.values())
