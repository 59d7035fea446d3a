"""Whether to send a request again, and when: one value of limits and one pure decision. PURE.

Reads are repeated freely. A write is repeated only when it provably never reached Azure, on 429 (not executed), or
once after a 401 with a fresh token (not executed either). Any other trouble with a write is an unknown outcome, and
unknown means look first. A Retry-After header alone is never a reason.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Retry(NamedTuple):
    """`budget_seconds`: most that one call may spend waiting between attempts. A longer Retry-After ends it at once."""

    attempts: int = 4
    budget_seconds: float = 300.0
    base_seconds: float = 1.0
    cap_seconds: float = 60.0


Action = Literal["accept", "again", "refresh", "unknown", "give up"]


class Outcome(NamedTuple):
    """What one attempt led to: a status, or no usable answer (status 0; `sent` False: provably nothing left)."""

    status: int = 0
    sent: bool = True
    retry_after: float | None = None
    busy: bool = False  # a 429 or 409 that means "another operation is running"
    foreign: bool = False  # something answered, but not as ARM does


class Decision(NamedTuple):
    action: Action
    wait_seconds: float = 0.0


_TRANSIENT = frozenset({0, 408, 500, 502, 503, 504})


def decide(
    limits: Retry, method: str, outcome: Outcome, *, attempt: int, waited: float, refreshed: bool, chance: float
) -> Decision:
    """What to do after attempt number `attempt` (from 1). `chance`: a random number in [0, 1) for the jitter."""
    status, write = outcome.status, method != "GET"
    if outcome.foreign:
        return Decision("unknown" if write and outcome.sent else "give up")
    if 200 <= status < 300:
        return Decision("accept")
    if status == 401:
        return Decision("give up" if refreshed else "refresh")
    passing = status in _TRANSIENT or status >= 600  # which RFC 9110 (15) calls a server's error
    repeatable = status == 429 or (passing and not write) or (status == 0 and not outcome.sent)
    if not repeatable:
        return Decision("unknown" if write and passing else "give up")
    wait = wait_seconds(limits, outcome.retry_after, attempt, chance)
    if attempt >= limits.attempts or waited + wait > limits.budget_seconds:
        return Decision("give up")
    return Decision("again", wait)


SCARCE = 1  # requests left in a bucket at which the next one waits
REFILL_SECONDS = {"GET": 5.0}  # every published per-resource bucket gives a read back within 6 s, a write within 15
SLOWEST_REFILL = 15.0


def breather(method: str, remaining: Mapping[str, int], age: float) -> float:
    """Seconds to wait before the next request of a kind whose buckets held so many requests `age` seconds ago.

    https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
    """
    counted = [count for name, count in remaining.items() if "Queued" not in name]
    if not counted or min(counted) > SCARCE:
        return 0.0
    return max(0.0, REFILL_SECONDS.get(method, SLOWEST_REFILL) - max(0.0, age))


def wait_seconds(limits: Retry, retry_after: float | None, attempt: int, chance: float) -> float:
    """Exponential with jitter; never less than the server asked for, and a little more, so that many wake apart.

    Nor less than `base_seconds`, so that no server makes us ask again at once.
    """
    spread = min(limits.cap_seconds, limits.base_seconds * 2.0 ** min(attempt - 1, 30))
    if retry_after is None:
        return min(limits.cap_seconds, limits.base_seconds + spread * chance)
    return max(retry_after, limits.base_seconds) + min(limits.cap_seconds, max(1.0, retry_after * 0.1)) * chance
