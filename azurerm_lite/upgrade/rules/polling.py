"""The time of the next poll of a batch's operation. PURE.

Azure names no interval for the polls of an upgrade, and allows 15 a minute. Polls every g seconds notice the end up to
g seconds late and take d/g requests, so polls are frequent only around the expected end.

The end of the first batch is unknown. A few instances take about half a minute (recorded: a median of 36 s, 174 s at
most); other sets take five to six minutes (https://github.com/Azure/AKS/issues/3818). Polls are frequent in the
sixth minute, and otherwise at intervals that grow with the age. Later batches use the times that Azure reported for
earlier batches: no poll until shortly before the fastest, or a little below the slowest; then every few seconds; after
the slowest less and less often.

For five batches of 301 to 325 s, whatever their order, that is at most 64 polls and 14 s (tests/unit/test_polling.py).
"""

from collections.abc import Sequence

SHORTEST, LONGEST = 5.0, 30.0
GROWTH = 2.5  # the age divided by this is the interval
LIKELY = (300.0, 360.0)  # the other likely time of the end of the first batch
CLOSE = 2.75  # seconds between polls near the expected end
SPREAD = 0.066  # a batch may take this share less than the slowest
ACROSS = 12  # polls at most between the earliest expected end and the slowest batch
LEVELLING = 10  # after the slowest, the delay divided by this is the interval


def next_gap(age: float, before: Sequence[float]) -> float:
    """Return the seconds to the next poll. `age`: of the operation; `before`: the seconds of earlier batches."""
    return _expected(age, min(before), max(before)) if before else _unknown(age)


def _unknown(age: float) -> float:
    begin, end = LIKELY
    if begin <= age < end:
        return CLOSE
    gap = min(LONGEST, max(SHORTEST, age / GROWTH))
    return begin - age if 0 < begin - age < 1.5 * gap else gap


def _expected(age: float, fastest: float, slowest: float) -> float:
    start = min(fastest, (1 - SPREAD) * slowest)
    if start - age > 0.5:  # the rest of a rounded wait is not worth a second poll
        return start - age
    return min(LONGEST, max(CLOSE, (slowest - start) / ACROSS, (age - slowest) / LEVELLING))
