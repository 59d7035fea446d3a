"""When to look at a batch's operation again. PURE.

Azure asks for nothing between the polls of an upgrade, and grants 15 a minute. How long the batches before took says
when it is worth asking often: little is asked until shortly before that, then every few seconds.
"""

from collections.abc import Sequence

FIRST, USUAL = 4.0, 10.0
CLOSE = 3.0  # seconds between polls once the end is near
NEAR = 0.965  # of the shortest batch so far: from there on it may be over


def next_gap(age: float, before: Sequence[float]) -> float:
    """Seconds to wait, for an operation of this age, knowing how long the batches before it took."""
    if before and min(before) > 60:
        wait = NEAR * min(before) - age
        if wait > 0.5:  # what is left of a rounded wait is no reason to ask twice
            return wait
        if age < 1.04 * max(before):
            return CLOSE
        return 2 * CLOSE if age < 1.25 * max(before) else USUAL
    return min(USUAL, max(FIRST, age / 2))
