"""Compute's limits: which buckets a request draws from, what is left in them, and the 429 when one is empty.

Recorded Azure names the buckets in `x-ms-ratelimit-remaining-resource` of every answer of the provider.
https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .exchange import Answer, ArmRequest

if TYPE_CHECKING:
    from .world import World

# Per minute and most, of the bucket of one resource and of that of the subscription.
_BUCKETS = {
    "GetVMScaleSet": ((12, 36), (800, 2400)),
    "HighCostGetVMScaleSet": ((10, 30), (360, 1080)),
    "CreateVMScaleSet": ((4, 12), (125, 375)),
    "DeleteVMScaleSet": ((4, 12), (160, 480)),
    "VMScaleSetActions": ((4, 12), (500, 1500)),
    "GetVMScaleSetVM": ((12, 36), (2000, 6000)),
    "VMScaleSetVMActions": ((4, 12), (500, 1500)),
    "DeleteVMScaleSetVM": ((4, 12), (500, 1500)),
    "GetOperation": ((15, 45), (5000, 15000)),
    "VMScaleSetVMViews": ((0, 0), (10000, 30000)),
    "VMScaleSetBatchedVMRequests": ((0, 0), (2000, 6000)),
}
_DELETING = frozenset({"deallocate", "poweroff", "delete"})
_BATCHED = frozenset({"manualupgrade", "deallocate", "poweroff", "delete", "restart", "start", "reimage", "reimageall"})


@dataclass(slots=True)
class Bucket:
    """Tokens that come back with time."""

    per_minute: float
    most: float
    left: float
    at: float

    def refill(self, now: float) -> None:
        self.left = min(self.most, self.left + (now - self.at) * self.per_minute / 60)
        self.at = now


@dataclass(frozen=True, slots=True)
class Draw:
    """What a request draws from: the class of its buckets, those that Azure names, and the resource it is about."""

    kind: str
    resource: str
    own: bool = True  # whether the bucket of the one resource is named
    views: bool = False
    first: bool = False  # GetOperation names the resource's bucket first

    @property
    def subscription(self) -> str:
        return self.resource.split("/")[2]


def draw_of(request: ArmRequest) -> Draw | None:
    """The buckets of a request to the Compute provider; None for what ARM answers itself."""
    path = request.path.lower().rstrip("/")
    if "/operations/" in path:
        return Draw("GetOperation", path, first=True)
    _, found, rest = path.partition("/virtualmachinescalesets")
    if not found:
        return None
    parts = rest.strip("/").split("/") if rest.strip("/") else []
    scale_set = path[: len(path) - len(rest)] + "/" + (parts[0] if parts else "")
    if len(parts) < 2 or parts[1] != "virtualmachines":
        return _draw_of_set(request, parts, scale_set)
    if len(parts) < 3:
        return Draw("HighCostGetVMScaleSet", scale_set, views=True)
    instance, rest_of = f"{scale_set}/{parts[2]}", parts[3:]
    if request.method == "GET":
        return Draw("GetVMScaleSetVM", instance, views=not rest_of or rest_of[0] == "instanceview")
    deletes = request.method == "DELETE" or (rest_of and rest_of[0] in _DELETING)
    return Draw("DeleteVMScaleSetVM" if deletes else "VMScaleSetVMActions", instance)


def _draw_of_set(request: ArmRequest, parts: list[str], scale_set: str) -> Draw | None:
    if not parts:
        return Draw("HighCostGetVMScaleSet", scale_set, own=False)
    below = parts[1] if len(parts) > 1 else ""
    if request.method == "GET":
        return Draw("HighCostGetVMScaleSet" if below == "instanceview" else "GetVMScaleSet", scale_set)
    if not below:
        kind = {"PUT": "CreateVMScaleSet", "DELETE": "DeleteVMScaleSet"}.get(request.method, "VMScaleSetActions")
        return Draw(kind, scale_set)
    if below in _BATCHED:
        kind = "DeleteVMScaleSet" if below in ("deallocate", "poweroff") else "VMScaleSetActions"
        return Draw(kind, scale_set, own=False)
    return Draw("VMScaleSetActions", scale_set)


class Throttle:
    """All buckets of one world. They are always counted; they refuse only when `enforced`."""

    def __init__(self, world: "World") -> None:
        self._world, self._buckets = world, dict[str, Bucket]()
        self.enforced = False
        self.refused = 0

    def _bucket(self, name: str, key: str, rates: tuple[int, int]) -> Bucket:
        bucket = self._buckets.get(f"{name}|{key}")
        if bucket is None:
            bucket = self._buckets[f"{name}|{key}"] = Bucket(*rates, left=rates[1], at=self._world.now)
        bucket.refill(self._world.now)
        return bucket

    def take(self, draw: Draw) -> Answer | None:
        """Draw a token of each bucket; Compute's 429 when one is empty and limits are enforced."""
        mine, shared = _BUCKETS[draw.kind]
        buckets = [(f"{draw.kind}Resource", self._bucket(draw.kind, draw.resource, mine))]
        buckets.append((f"{draw.kind}SubscriptionMaximum", self._bucket(draw.kind, draw.subscription, shared)))
        for name, bucket in buckets:
            if self.enforced and bucket.left < 1:
                self.refused += 1
                return refusal(self._world, name, bucket)
        for _, bucket in buckets:
            floor = 0.0 if self.enforced else bucket.most / 2  # nobody has to hurry slowly where nothing is refused
            bucket.left = max(floor, bucket.left - 1)
        return None

    def headers(self, draw: Draw, request: ArmRequest, answer: Answer) -> dict[str, str]:
        """What an answer says of the buckets, and what it has cost."""
        mine, shared = _BUCKETS[draw.kind]
        named = [(f"{draw.kind}SubscriptionMaximum", self._bucket(draw.kind, draw.subscription, shared))]
        if draw.own:
            named.append((f"{draw.kind}Resource", self._bucket(draw.kind, draw.resource, mine)))
        if draw.first:
            named.reverse()
        left = [(name, int(bucket.left)) for name, bucket in named]
        if draw.views:
            views = self._bucket("VMScaleSetVMViews", draw.subscription, _BUCKETS["VMScaleSetVMViews"][1])
            left.append(("VMScaleSetVMViewsSubscriptionMaximum", int(views.left)))
        running = request.method != "GET" and "Azure-AsyncOperation" in answer.headers
        if running and answer.charge >= 0:
            batched = self._bucket(
                "VMScaleSetBatchedVMRequests", draw.subscription, _BUCKETS["VMScaleSetBatchedVMRequests"][1]
            )
            left += [
                ("VMScaleSetBatchedVMRequestsSubscriptionMaximum", int(batched.left)),
                ("VmssQueuedVMOperations", 0),
            ]
        text = ",".join(f"Microsoft.Compute/{name};{count}" for name, count in left)
        counted = (running and answer.charge >= 0) or (draw.views and answer.charge > 0)
        charged = {"x-ms-request-charge": str(answer.charge)} if counted else {}
        return {"x-ms-ratelimit-remaining-resource": text, **charged}


def refusal(world: "World", policy: str, bucket: Bucket) -> Answer:
    """Compute's own 429: not wrapped in `error`, with a code that it shares with other refusals."""
    wait = max(1.0, (1 - bucket.left) * 60 / bucket.per_minute) if bucket.per_minute else 60.0
    measured = {
        "operationGroup": policy,
        "startTime": world.timestamp(world.now - 60),
        "endTime": world.timestamp(),
        "allowedRequestCount": int(bucket.most),
        "measuredRequestCount": int(bucket.most) + 1,
    }
    detail = {"code": "TooManyRequests", "target": policy, "message": json.dumps(measured, separators=(",", ":"))}
    body: dict[str, Any] = {
        "code": "OperationNotAllowed",
        "message": "The server rejected the request because too many requests have been received for this "
        "subscription.",
        "details": [detail],
        "innererror": {"internalErrorCode": "TooManyRequestsReceived"},
    }
    headers = {"Retry-After": str(int(wait) + 1)}
    headers["x-ms-ratelimit-remaining-resource"] = f"Microsoft.Compute/{policy};0"
    return Answer(429, body, headers)
