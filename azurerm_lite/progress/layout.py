"""A roll-out as lines of text for a window of a given size, in pieces that know their style. PURE.

From above: what becomes of whom, how far it is, the facts that one looks for, the heatmap, the last events. A heatmap
that is too tall becomes one line for each panel; where events have no room beside it, they stand below.
"""

from collections import Counter
from typing import NamedTuple

from ..heatmap.grid import Grid
from ..heatmap.lines import Line, Piece, fitted, legend, length, padded, panels, summary
from ..markup import listing
from ..upgrade.rules.events import Now
from .watched import Told, Watched
from .words import about, span, time_of_day

BESIDE, BETWEEN = 52, 4  # what events need to stand beside the heatmap, and the gap
FEWEST_EVENTS, MOST_EVENTS = 3, 8
LABEL = 11
WIDEST_BAR = 120  # beyond that its two ends are not seen at one glance
# Styles besides the states of instances, which look as in the heatmap.
QUIET, STRONG, GOOD, BAD, BUSY = "quiet", "strong", "good", "bad", "busy"
DONE = ("updated", "already-current", "arrived-current")
ASIDE = ("not-selected", "skipped-protected", "vanished")


class Marks(NamedTuple):
    """The characters of the bar: for each share one that is told from the others without colour."""

    done: str
    busy: str
    failed: str
    rest: str


DRAWN, ASCII = Marks("━", "╍", "x", "─"), Marks("#", "*", "x", "-")


class Shares(NamedTuple):
    """How many are through, under way, failed and still to come; others have no part in it."""

    done: int
    busy: int
    failed: int
    rest: int


def shares(now: Now) -> Shares:
    """How far an upgrade is, by instances."""
    counts = Counter(now.classes.values())
    done, aside = (sum(counts[kind] for kind in kinds) for kinds in (DONE, ASIDE))
    busy, failed = counts["in-batch"], counts["failed"]
    return Shares(done, busy, failed, counts.total() - done - aside - busy - failed)


def picture(watched: Watched, at: float, width: int, height: int = 1000, marks: Marks = DRAWN) -> list[Line]:
    """All of it. `at`: the time now."""
    width = max(width, 40)
    top = min(width, WIDEST_BAR)
    head = [_heading(watched, top), *_bar(watched, top, marks), [], *_facts(watched, at, width)]
    grid, room = watched.picture, height - len(head) - 1
    body = _events(watched.told, width, room - 1) if grid is None else _body(watched, grid, width, room)
    return [*head, *_after_a_gap(body)][: max(height, 1)]


def _heading(watched: Watched, width: int) -> Line:
    mark = "EMULATOR" if watched.now is not None and watched.now.emulator else ""
    room = width - len(mark)
    return [Piece(padded(fitted(watched.title, room - 2), room), STRONG), Piece(mark, STRONG)]


def _bar(watched: Watched, width: int, marks: Marks) -> list[Line]:
    if watched.now is None:
        return []
    found = shares(watched.now)
    words = f"  {found.done} of {sum(found)} done"
    sizes = spread(found, width - len(words))
    styles = (GOOD, BUSY, BAD, QUIET)
    return [[*(Piece(*one) for one in zip(map(_times, marks, sizes), styles, strict=True)), Piece(words)]]


def _times(mark: str, size: int) -> str:
    return mark * size


def spread(parts: tuple[int, ...], width: int) -> list[int]:
    """A width shared out by size: together they fill it, and nobody who is there is left without."""
    total = sum(parts)
    if not total or width <= 0:
        return [0] * len(parts)
    sizes = [max(width * part // total, 1) if part else 0 for part in parts]
    largest = max(range(len(parts)), key=lambda one: sizes[one])
    sizes[largest] += width - sum(sizes)
    return sizes


# --- the facts -------------------------------------------------------------------------------------------------------


def _facts(watched: Watched, at: float, width: int) -> list[Line]:
    if watched.now is None:
        counts = ", ".join(f"{count} {kind}" for kind, count in watched.counts.items())
        return [[Piece(padded("instances", LABEL), QUIET), Piece(fitted(counts or watched.doing, width - LABEL))]]
    now, passed = watched.now, span(at - watched.now.first["at"])
    values = [_of(now.batch_number, now.batches), _of(now.available, now.instances), passed]
    widest = max(map(len, values)) + 3
    room = width - LABEL - widest
    rest = [_doing(watched, at, room), floor_of(now), _rest(watched, at)]
    return [
        [
            Piece(padded(name, LABEL), QUIET),
            Piece(padded(value, widest), STRONG),
            Piece(fitted(more.text, room), more.state),
        ]
        for name, value, more in zip(("batch", "available", "time"), values, rest, strict=True)
    ]


def _of(some: int | None, all_: int) -> str:
    return f"{'?' if some is None else some} of {all_}"


def _doing(watched: Watched, at: float, room: int) -> Piece:
    """What it is at; of an operation on Azure also for how long, and who is in it where there is room for that."""
    if watched.verdict is not None:
        why = f": {watched.verdict['reason']}" if watched.verdict["reason"] else ""
        styles = {"succeeded": GOOD, "paused": STRONG}
        return Piece(f"{watched.verdict['outcome']}{why}", styles.get(watched.verdict["outcome"], BAD))
    batch = watched.now.batch if watched.now is not None else None
    if batch is not None and batch.ended is None:
        since = span(at - batch.begun)
        who = f"upgrading {listing(batch.ids)} for {since}"
        return Piece(who if len(who) <= room else f"upgrading {len(batch.ids)} instances for {since}", BUSY)
    return Piece(watched.doing, BAD if watched.told and watched.told[-1].bad else "")


def floor_of(now: Now) -> Piece:
    """The floor, and how far above it the set is now."""
    if now.available is None:
        return Piece(f"floor {now.floor}", QUIET)
    spare = now.available - now.floor
    if spare < 0:
        return Piece(f"BELOW the floor of {now.floor}", BAD)
    return Piece(f"floor {now.floor}, {spare or 'none'} to spare", QUIET)


def _rest(watched: Watched, at: float) -> Piece:
    left = watched.now.seconds_left if watched.now is not None else None
    if left is None:
        return Piece(f"ended {time_of_day(watched.at)} UTC", QUIET)
    left = max(0.0, left - (at - watched.at))
    return Piece(f"about {about(left)} left, until {time_of_day(at + left, seconds=False)} UTC", QUIET)


# --- the heatmap and the events --------------------------------------------------------------------------------------


def _body(watched: Watched, grid: Grid, width: int, room: int) -> list[Line]:
    drawn = panels(grid, width)
    widest = max(map(length, drawn), default=0)
    if width >= widest + BETWEEN + BESIDE:
        keys = legend(grid, width)
        return [*_beside(_tall(drawn, grid, width, room - len(keys) - 1), watched, width), [], *keys]
    keys = legend(grid, width)
    wanted = min(MOST_EVENTS, len(watched.told))
    events = max(min(FEWEST_EVENTS, wanted), min(wanted, room - len(drawn) - len(keys) - 2))
    body = _tall(drawn, grid, width, room - len(keys) - events - 2)
    return [*body, [], *keys, *_after_a_gap(_events(watched.told, width, events))]


def _tall(drawn: list[Line], grid: Grid, width: int, room: int) -> list[Line]:
    """The heatmap if it is not too tall; else a line for each panel, as many as there is room for."""
    if len(drawn) <= room:
        return drawn
    short = summary(grid, width)
    if len(short) <= room:
        return short
    shown = room - 1
    if shown < 1:
        return []
    return [*short[:shown], [Piece(f"and {len(short) - shown} lines more", QUIET)]]


def _beside(body: list[Line], watched: Watched, width: int) -> list[Line]:
    """The heatmap, and right of it the events."""
    left = max(map(length, body), default=0) + BETWEEN
    told = _events(watched.told, width - left, len(body))
    lines = []
    for number, line in enumerate(body):
        beside = [Piece(" " * (left - length(line))), *told[number]] if number < len(told) else []
        lines.append([*line, *beside])
    return lines


def _events(told: tuple[Told, ...], width: int, count: int) -> list[Line]:
    """The last events, the newest below."""
    return [_event(one, width) for one in told[-min(count, MOST_EVENTS) :]] if count > 0 else []


def _event(one: Told, width: int) -> Line:
    moment = time_of_day(one.at)
    return [Piece(padded(moment, 10), QUIET), Piece(fitted(one.text, width - 10), BAD if one.bad else "")]


def _after_a_gap(block: list[Line]) -> list[Line]:
    return [[], *block] if block else []
