"""The request budget of a fleet: one for each subscription and region, so that Compute throttles no upgrade. PURE.

Compute counts requests by kind, for one scale set and for a whole subscription in a region. One upgrade alone stays far
below both; a thousand at once do not, so each step waits here until the shared buckets hold the requests that it needs.
https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
"""

from collections.abc import Mapping
from typing import NamedTuple

# Requests a minute that Compute allows one subscription in one region; its buckets hold three times as many.
LIMITS: Mapping[str, int] = {
    "GetVMScaleSet": 800,
    "HighCostGetVMScaleSet": 360,
    "VMScaleSetActions": 500,
    "GetOperation": 5000,
}
SHARE = 0.5  # of every limit: the rest is for other clients of the subscription
HELD_MINUTES = 1.0

Cost = Mapping[str, int]
Place = tuple[str, str]  # subscription id and region


class _Bucket(NamedTuple):
    requests: float
    at: float


class Budget:
    """The buckets of all places. A step that needs more than a bucket holds waits: first come, first served."""

    def __init__(self, limits: Mapping[str, int] = LIMITS, share: float = SHARE) -> None:
        self._rates = {kind: limit * share for kind, limit in limits.items()}
        self._buckets: dict[tuple[Place, str], _Bucket] = {}

    def draw(self, place: Place, cost: Cost, now: float) -> float:
        """Draw the requests of a step; return the seconds until it may send them, 0.0 for at once."""
        return max((self._draw_kind(place, kind, count, now) for kind, count in cost.items()), default=0.0)

    def _draw_kind(self, place: Place, kind: str, count: int, now: float) -> float:
        rate = self._rates[kind] / 60
        most = rate * 60 * HELD_MINUTES
        before = self._buckets.get((place, kind), _Bucket(most, now))
        requests = min(most, before.requests + max(0.0, now - before.at) * rate) - count
        self._buckets[place, kind] = _Bucket(requests, max(now, before.at))
        return max(0.0, -requests / rate)
