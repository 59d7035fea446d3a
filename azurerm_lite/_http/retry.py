"""Decide whether to send a request again, and when. PURE.

A read is sent again after any transient failure. A write is sent again only when Azure cannot have executed it: the
request never left, the response was 429, or it was 401 and the token has been renewed. After any other failure of a
write its outcome is unknown, and the resource must be read first. A Retry-After header alone is no reason to retry.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Retry(NamedTuple):
    """The limits of retries.

    `attempts`: requests for one call, the first included. `budget_seconds`: the time that one call may spend waiting
    between attempts; a Retry-After beyond it ends the call at once. `base_seconds`, `cap_seconds`: the shortest wait
    between two attempts, and the longest that is not the server's wish.
    """

    attempts: int = 4
    budget_seconds: float = 300.0
    base_seconds: float = 1.0
    cap_seconds: float = 60.0


Action = Literal["again", "refresh", "unknown", "give up"]


class AttemptResult(NamedTuple):
    """How one attempt failed: the status of the response, or 0 when there was no usable response.

    `sent`: False when the request provably never left. `permanent`: another attempt would fail as well, such as after
    a response that is not ARM's. `retry_after`: in seconds, as the server asked.
    """

    status: int = 0
    sent: bool = True
    retry_after: float | None = None
    permanent: bool = False


class Decision(NamedTuple):
    """`refresh`: renew the token and send again. `unknown`: a write may have been executed, or not."""

    action: Action
    wait_seconds: float = 0.0


_TRANSIENT = frozenset({0, 408, 500, 502, 503, 504})


def decide(
    limits: Retry, method: str, result: AttemptResult, *, attempt: int, waited: float, refreshed: bool, jitter: float
) -> Decision:
    """Decide whether to send a request again after a failed attempt.

    `attempt`: its number, from 1. `waited`: seconds of earlier waits. `refreshed`: the token has been renewed for this
    call. `jitter`: a random number in [0, 1).
    """
    status, write = result.status, method != "GET"
    if result.permanent:
        return Decision("unknown" if write and result.sent else "give up")
    if status == 401:
        return Decision("give up" if refreshed else "refresh")
    transient = status in _TRANSIENT or status >= 600  # RFC 9110, 15: treat as a server error
    repeatable = status == 429 or (transient and not write) or (status == 0 and not result.sent)
    if not repeatable:
        return Decision("unknown" if write and transient else "give up")
    wait = wait_seconds(limits, result.retry_after, attempt, jitter)
    if attempt >= limits.attempts or waited + wait > limits.budget_seconds:
        return Decision("give up")
    return Decision("again", wait)


LOW_REMAINING = 1  # with so many requests left in a bucket, the next request waits
# Every published per-resource bucket refills by one read within 6 s and by one write within 15 s.
READ_REFILL_SECONDS, WRITE_REFILL_SECONDS = 5.0, 15.0


def throttle_delay(method: str, remaining: Mapping[str, int], age: float) -> float:
    """Seconds to wait before the next request, so that it is not refused with 429.

    `remaining`: requests left in each throttling bucket, as of `age` seconds ago.
    https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
    """
    counted = [count for name, count in remaining.items() if "Queued" not in name]
    if not counted or min(counted) > LOW_REMAINING:
        return 0.0
    return max(0.0, (READ_REFILL_SECONDS if method == "GET" else WRITE_REFILL_SECONDS) - max(0.0, age))


def wait_seconds(limits: Retry, retry_after: float | None, attempt: int, jitter: float) -> float:
    """Seconds to wait before the next attempt: exponential with jitter, or Retry-After plus up to a tenth.

    It is never less than `base_seconds`, whatever the server asks. The addition spreads clients that were refused
    together.
    """
    spread = min(limits.cap_seconds, limits.base_seconds * 2.0 ** min(attempt - 1, 30))
    if retry_after is None:
        return min(limits.cap_seconds, limits.base_seconds + spread * jitter)
    return max(retry_after, limits.base_seconds) + min(limits.cap_seconds, max(1.0, retry_after * 0.1)) * jitter
