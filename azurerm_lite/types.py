"""Types of Azure's documents, of credentials and of addresses.

The documents are TypedDicts with Azure's own names: plain dicts at run time, in which unknown keys are kept. Keys that
Azure always sends are Required, so that `vmss["sku"]["capacity"]` type-checks.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, Required, TypedDict, runtime_checkable

from .errors import InvalidInput, short_repr

Json = Any
JsonDict = dict[str, Any]
OperationState = Literal["InProgress", "Succeeded", "Failed", "Canceled"]
MonitorKind = Literal["status", "location", "resource", "instances", "none"]


# Characters that no name in Azure has and that would end or change a path, and names of dots alone.
_NOT_A_NAME = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f<>%&:\\\\?/#\"'`{}|^*\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|^[.]*$"
)


@runtime_checkable
class AccessToken(Protocol):
    """An access token of a credential: `token`, and `expires_on` in seconds since 1970."""

    @property
    def token(self) -> str: ...
    @property
    def expires_on(self) -> int: ...


@runtime_checkable
class TokenCredential(Protocol):
    """An object with azure-identity's `get_token`: every credential of azure-identity and of azurerm_lite."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken: ...


@runtime_checkable
class TokenInfoCredential(Protocol):
    """An object with azure-core's newer `get_token_info`."""

    def get_token_info(self, *scopes: str, **options: Any) -> AccessToken: ...


class ScaleSet(NamedTuple):
    """The address of a scale set, to pass as `get_vmss(arm, *web)`."""

    subscription_id: str
    resource_group: str
    vmss_name: str

    @classmethod
    def parse(cls, resource_id: str) -> "ScaleSet":
        """The scale set in a resource id, of the scale set itself or of an instance.

        Raises: InvalidInput for any other id.
        """
        parts = resource_id.strip("/").split("/") if isinstance(resource_id, str) else []
        words = ["subscriptions", "resourcegroups", "providers", "microsoft.compute", "virtualmachinescalesets"]
        names = [parts[1], parts[3], parts[7], *parts[8:]] if len(parts) >= 8 else [""]
        keys = [part.lower() for part in (*parts[0:5:2], *parts[5:7])]
        if keys != words or any(_NOT_A_NAME.search(name) for name in names):
            raise InvalidInput(
                f"not the resource id of a scale set: {short_repr(resource_id, 200)}; it reads /subscriptions/…"
                "/resourceGroups/…/providers/Microsoft.Compute/virtualMachineScaleSets/…"
            )
        return cls(*names[:3])

    @property
    def resource_id(self) -> str:
        """The ARM resource id."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Compute/virtualMachineScaleSets/{self.vmss_name}"
        )


class Sku(TypedDict, total=False):
    name: Required[str]
    tier: str
    capacity: Required[int]


class ImageReference(TypedDict, total=False):
    publisher: str
    offer: str
    sku: str
    version: str
    exactVersion: str
    id: str
    sharedGalleryImageId: str
    communityGalleryImageId: str


class OSDisk(TypedDict, total=False):
    createOption: str
    osType: str
    caching: str
    image: dict[str, str]
    managedDisk: JsonDict
    diffDiskSettings: JsonDict
    diskSizeGB: int


class StorageProfile(TypedDict, total=False):
    imageReference: ImageReference
    osDisk: OSDisk
    dataDisks: list[JsonDict]


class VirtualMachineProfile(TypedDict, total=False):
    storageProfile: StorageProfile
    osProfile: JsonDict
    networkProfile: JsonDict
    extensionProfile: JsonDict
    hardwareProfile: JsonDict


class RollingUpgradePolicy(TypedDict, total=False):
    maxBatchInstancePercent: int
    maxUnhealthyInstancePercent: int
    maxUnhealthyUpgradedInstancePercent: int
    pauseTimeBetweenBatches: str
    enableCrossZoneUpgrade: bool
    prioritizeUnhealthyInstances: bool
    rollbackFailedInstancesOnPolicyBreach: bool
    maxSurge: bool


class UpgradePolicy(TypedDict, total=False):
    mode: Required[str]
    rollingUpgradePolicy: RollingUpgradePolicy
    automaticOSUpgradePolicy: JsonDict


class VmssProperties(TypedDict, total=False):
    provisioningState: Required[str]
    upgradePolicy: UpgradePolicy
    virtualMachineProfile: VirtualMachineProfile
    orchestrationMode: str
    overprovision: bool
    singlePlacementGroup: bool
    platformFaultDomainCount: int
    uniqueId: str
    timeCreated: str


class Vmss(TypedDict, total=False):
    """The model of a scale set."""

    id: Required[str]
    name: Required[str]
    type: str
    location: Required[str]
    tags: dict[str, str]
    sku: Required[Sku]
    identity: JsonDict
    zones: list[str]
    plan: dict[str, str]
    etag: str
    properties: Required[VmssProperties]


class Status(TypedDict, total=False):
    code: Required[str]
    level: str
    displayStatus: str
    message: str
    time: str


class StatusCount(TypedDict):
    code: str
    count: int


class StatusesSummary(TypedDict):
    statusesSummary: list[StatusCount]


class VmssInstanceView(TypedDict, total=False):
    virtualMachine: Required[StatusesSummary]
    extensions: list[JsonDict]
    statuses: Required[list[Status]]
    orchestrationServices: list[JsonDict]


class VmHealth(TypedDict):
    status: Status


class VmssVmInstanceView(TypedDict, total=False):
    statuses: Required[list[Status]]
    platformUpdateDomain: int
    platformFaultDomain: int
    placementGroupId: str
    vmHealth: VmHealth
    vmAgent: JsonDict
    extensions: list[JsonDict]
    disks: list[JsonDict]


class ProtectionPolicy(TypedDict, total=False):
    protectFromScaleIn: bool
    protectFromScaleSetActions: bool


class VmssVmProperties(TypedDict, total=False):
    latestModelApplied: bool
    modelDefinitionApplied: str
    provisioningState: Required[str]
    vmId: str
    hardwareProfile: JsonDict
    storageProfile: StorageProfile
    osProfile: JsonDict
    protectionPolicy: ProtectionPolicy
    instanceView: VmssVmInstanceView
    timeCreated: str


class VmssVm(TypedDict, total=False):
    """One instance of a scale set."""

    id: Required[str]
    name: Required[str]
    type: str
    location: str
    tags: dict[str, str]
    instanceId: Required[str]
    sku: dict[str, str]
    zones: list[str]
    etag: str
    properties: Required[VmssVmProperties]


class ImageVersion(TypedDict, total=False):
    """One version of a platform image; `name` is the version."""

    id: Required[str]
    name: Required[str]
    location: Required[str]
    properties: JsonDict


Ids = Sequence[str] | str  # instance ids; a string is a JSON list of ids, as in azurerm
