"""When to look at a batch's operation again. PURE.

Azure asks for nothing between the polls of an upgrade, and grants 15 a minute. Whoever asks every g seconds is up to g
seconds late and has asked d/g times, so what counts is to know where the end may be.

The first batch is a bet. Few instances take about half a minute (recorded: a median of 36 s, 174 s at most), five to
six minutes are reported of others (https://github.com/Azure/AKS/issues/3818): often there, elsewhere at a distance
that grows with the age. From then on Azure's own clock says how long each batch took. Nothing is asked until shortly
before the fastest, or a little below the slowest; then every few seconds; past the slowest less and less often.

For five batches of 301 to 325 s, whatever their order, that is at most 64 polls and 14 s (tests/unit/test_polling.py).
"""

from collections.abc import Sequence

SHORTEST, LONGEST = 5.0, 30.0
GROWTH = 2.5  # the distance to the next poll is this part of the age
LIKELY = (300.0, 360.0)  # where else the first batch may end
CLOSE = 2.75  # seconds between polls where the end is expected
SPREAD = 0.066  # how far below the slowest a batch may end
ACROSS = 12  # polls at most from where it is expected to the slowest so far
LEVELLING = 10  # past the slowest, the distance is this part of what it is late


def next_gap(age: float, before: Sequence[float]) -> float:
    """Seconds to wait, for an operation of this age, knowing how long the batches before it took."""
    return _expected(age, min(before), max(before)) if before else _unknown(age)


def _unknown(age: float) -> float:
    begin, end = LIKELY
    if begin <= age < end:
        return CLOSE
    gap = min(LONGEST, max(SHORTEST, age / GROWTH))
    return begin - age if 0 < begin - age < 1.5 * gap else gap


def _expected(age: float, fastest: float, slowest: float) -> float:
    start = min(fastest, (1 - SPREAD) * slowest)
    if start - age > 0.5:  # what is left of a rounded wait is no reason to ask twice
        return start - age
    return min(LONGEST, max(CLOSE, (slowest - start) / ACROSS, (age - slowest) / LEVELLING))
