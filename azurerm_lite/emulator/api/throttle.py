"""Compute's limits: the buckets of each request, what remains in them, and the 429 for an empty one.

Recorded Azure names the buckets in `x-ms-ratelimit-remaining-resource` of every response of the provider.
https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
"""

import json
from dataclasses import dataclass
from typing import Any

from ..messages import Request, Response
from ..simulation.events import Events

# Tokens per minute and at most: of the bucket of a resource, and of the bucket of the subscription.
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
    """Tokens, refilled with time. `time`: that of the last refill."""

    per_minute: float
    most: float
    remaining: float
    time: float

    def refill(self, now: float) -> None:
        """Add the tokens of the time since the last refill."""
        self.remaining = min(self.most, self.remaining + (now - self.time) * self.per_minute / 60)
        self.time = now


@dataclass(frozen=True, slots=True)
class Quota:
    """The buckets of a request: their class and the resource.

    `names_resource`: whether Azure names the bucket of the resource, and `resource_first`: before the subscription's.
    `names_views`: whether Azure names the bucket of instance views.
    """

    kind: str
    resource: str
    names_resource: bool = True
    names_views: bool = False
    resource_first: bool = False

    @property
    def subscription(self) -> str:
        """The subscription id."""
        return self.resource.split("/")[2]


def quota_of(request: Request) -> Quota | None:
    """The buckets of a request to the Compute provider; None for a request to ARM itself."""
    path = request.path.lower().rstrip("/")
    if "/operations/" in path:
        return Quota("GetOperation", path, resource_first=True)
    _, separator, rest = path.partition("/virtualmachinescalesets")
    if not separator:
        return None
    parts = rest.strip("/").split("/") if rest.strip("/") else []
    scale_set = path[: len(path) - len(rest)] + "/" + (parts[0] if parts else "")
    if len(parts) < 2 or parts[1] != "virtualmachines":
        return _quota_of_set(request, parts, scale_set)
    if len(parts) < 3:
        return Quota("HighCostGetVMScaleSet", scale_set, names_views=True)
    instance, below = f"{scale_set}/{parts[2]}", parts[3:]
    if request.method == "GET":
        return Quota("GetVMScaleSetVM", instance, names_views=not below or below[0] == "instanceview")
    deletes = request.method == "DELETE" or (below and below[0] in _DELETING)
    return Quota("DeleteVMScaleSetVM" if deletes else "VMScaleSetVMActions", instance)


def _quota_of_set(request: Request, parts: list[str], scale_set: str) -> Quota | None:
    if not parts:
        return Quota("HighCostGetVMScaleSet", scale_set, names_resource=False)
    below = parts[1] if len(parts) > 1 else ""
    if request.method == "GET":
        return Quota("HighCostGetVMScaleSet" if below == "instanceview" else "GetVMScaleSet", scale_set)
    if not below:
        kind = {"PUT": "CreateVMScaleSet", "DELETE": "DeleteVMScaleSet"}.get(request.method, "VMScaleSetActions")
        return Quota(kind, scale_set)
    if below in _BATCHED:
        kind = "DeleteVMScaleSet" if below in ("deallocate", "poweroff") else "VMScaleSetActions"
        return Quota(kind, scale_set, names_resource=False)
    return Quota("VMScaleSetActions", scale_set)


class Throttle:
    """All buckets. They always count; they refuse requests only when `is_enforced`. `refusals`: how many so far."""

    def __init__(self, events: Events) -> None:
        self._events, self._buckets = events, dict[str, Bucket]()
        self.is_enforced = False
        self.refusals = 0

    def _bucket(self, name: str, key: str, rates: tuple[int, int]) -> Bucket:
        bucket = self._buckets.get(f"{name}|{key}")
        if bucket is None:
            bucket = self._buckets[f"{name}|{key}"] = Bucket(*rates, remaining=rates[1], time=self._events.now)
        bucket.refill(self._events.now)
        return bucket

    def take(self, quota: Quota) -> Response | None:
        """Draw a token of each bucket; Compute's 429 when one is empty and limits are enforced."""
        mine, shared = _BUCKETS[quota.kind]
        buckets = [(f"{quota.kind}Resource", self._bucket(quota.kind, quota.resource, mine))]
        buckets.append((f"{quota.kind}SubscriptionMaximum", self._bucket(quota.kind, quota.subscription, shared)))
        for name, bucket in buckets:
            if self.is_enforced and bucket.remaining < 1:
                self.refusals += 1
                return too_many_requests(self._events, name, bucket)
        for _, bucket in buckets:
            # Without limits never below half full, or clients would slow down.
            floor = 0.0 if self.is_enforced else bucket.most / 2
            bucket.remaining = max(floor, bucket.remaining - 1)
        return None

    def headers(self, quota: Quota, request: Request, response: Response) -> dict[str, str]:
        """The headers of a response that say what remains in the buckets, and the charge of the request."""
        mine, shared = _BUCKETS[quota.kind]
        named = [(f"{quota.kind}SubscriptionMaximum", self._bucket(quota.kind, quota.subscription, shared))]
        if quota.names_resource:
            named.append((f"{quota.kind}Resource", self._bucket(quota.kind, quota.resource, mine)))
        if quota.resource_first:
            named.reverse()
        remaining = [(name, int(bucket.remaining)) for name, bucket in named]
        if quota.names_views:
            views = self._bucket("VMScaleSetVMViews", quota.subscription, _BUCKETS["VMScaleSetVMViews"][1])
            remaining.append(("VMScaleSetVMViewsSubscriptionMaximum", int(views.remaining)))
        running = request.method != "GET" and "Azure-AsyncOperation" in response.headers
        if running and response.charge >= 0:
            batched = self._bucket(
                "VMScaleSetBatchedVMRequests", quota.subscription, _BUCKETS["VMScaleSetBatchedVMRequests"][1]
            )
            remaining += [
                ("VMScaleSetBatchedVMRequestsSubscriptionMaximum", int(batched.remaining)),
                ("VmssQueuedVMOperations", 0),
            ]
        text = ",".join(f"Microsoft.Compute/{name};{count}" for name, count in remaining)
        charges = (running and response.charge >= 0) or (quota.names_views and response.charge > 0)
        charge = {"x-ms-request-charge": str(response.charge)} if charges else {}
        return {"x-ms-ratelimit-remaining-resource": text, **charge}


def too_many_requests(events: Events, policy: str, bucket: Bucket) -> Response:
    """Compute's own 429: no `error` around it, and a code that it shares with other errors."""
    wait = max(1.0, (1 - bucket.remaining) * 60 / bucket.per_minute) if bucket.per_minute else 60.0
    measured = {
        "operationGroup": policy,
        "startTime": events.timestamp(events.now - 60),
        "endTime": events.timestamp(),
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
    return Response(429, body, headers)
