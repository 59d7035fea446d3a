"""Render an upgrade as lines of text for a window of a given size, in pieces that carry their style. PURE.

Top to bottom: title, progress bar, key figures, heatmap, last events. A heatmap that is too tall is reduced to one line
per panel. The events are beside the heatmap if the window is wide enough, otherwise below it.
"""

from collections import Counter
from typing import NamedTuple

from .._common.markup import listing
from ..heatmap.grid import Grid
from ..heatmap.lines import Line, Piece, line_width, pad, render_legend, render_panels, render_summary, truncate
from ..upgrade.rules.events import Now
from .event_text import format_duration, format_estimate, format_time
from .state import EventLine, ViewState

EVENTS_WIDTH, GAP = 52, 4  # the least width for events beside the heatmap, and the gap between them
MIN_EVENTS, MAX_EVENTS = 3, 8
LABEL_WIDTH = 11
MAX_BAR_WIDTH = 120  # a longer bar cannot be read at a glance
# The styles of text; those of instance states are in heatmap.cells.
QUIET, STRONG, GOOD, BAD, BUSY = "quiet", "strong", "good", "bad", "busy"
DONE = ("updated", "already-current", "arrived-current")
EXCLUDED = ("not-selected", "skipped-protected", "vanished")


class BarCharacters(NamedTuple):
    """The characters of the progress bar; they differ, so that the bar can be read without color."""

    done: str
    busy: str
    failed: str
    remaining: str


UNICODE_BAR, ASCII_BAR = BarCharacters("━", "╍", "x", "─"), BarCharacters("#", "*", "x", "-")


class InstanceCounts(NamedTuple):
    """How many instances are upgraded, under way, failed, and still to come; excluded ones are not counted."""

    done: int
    busy: int
    failed: int
    remaining: int


def count_instances(now: Now) -> InstanceCounts:
    """The progress of an upgrade in instances."""
    counts = Counter(now.classes.values())
    done, excluded = (sum(counts[kind] for kind in kinds) for kinds in (DONE, EXCLUDED))
    busy, failed = counts["in-batch"], counts["failed"]
    return InstanceCounts(done, busy, failed, counts.total() - done - excluded - busy - failed)


def render_window(
    state: ViewState, at: float, width: int, height: int = 1000, characters: BarCharacters = UNICODE_BAR
) -> list[Line]:
    """The whole view. `at`: the time now, in seconds since 1970; `width` and `height` in columns and lines."""
    width = max(width, 40)
    top = min(width, MAX_BAR_WIDTH)
    head = [_heading(state, top), *_bar(state, top, characters), [], *_figures(state, at, width)]
    grid, space = state.grid, height - len(head) - 1
    body = _events(state.events, width, space - 1) if grid is None else _body(state, grid, width, space)
    return [*head, *_after_a_gap(body)][: max(height, 1)]


def _heading(state: ViewState, width: int) -> Line:
    mark = "EMULATOR" if state.now is not None and state.now.emulator else ""
    space = width - len(mark)
    return [Piece(pad(truncate(state.title, space - 2), space), STRONG), Piece(mark, STRONG)]


def _bar(state: ViewState, width: int, characters: BarCharacters) -> list[Line]:
    if state.now is None:
        return []
    counts = count_instances(state.now)
    label = f"  {counts.done} of {sum(counts)} done"
    sizes = bar_widths(counts, width - len(label))
    styles = (GOOD, BUSY, BAD, QUIET)
    parts = zip(characters, sizes, styles, strict=True)
    return [[*(Piece(character * size, style) for character, size, style in parts), Piece(label)]]


def bar_widths(parts: tuple[int, ...], width: int) -> list[int]:
    """The width of each part of a bar, in proportion; they sum to `width`, and a part above 0 gets at least 1."""
    total = sum(parts)
    if not total or width <= 0:
        return [0] * len(parts)
    sizes = [max(width * part // total, 1) if part else 0 for part in parts]
    largest = max(range(len(parts)), key=lambda index: sizes[index])
    sizes[largest] += width - sum(sizes)
    return sizes


# --- the key figures -------------------------------------------------------------------------------------------------


def _figures(state: ViewState, at: float, width: int) -> list[Line]:
    if state.now is None:
        counts = ", ".join(f"{count} {kind}" for kind, count in state.counts.items())
        text = truncate(counts or state.activity, width - LABEL_WIDTH)
        return [[Piece(pad("instances", LABEL_WIDTH), QUIET), Piece(text)]]
    now, elapsed = state.now, format_duration(at - state.now.first["at"])
    values = [_ratio(now.batch_number, now.batches), _ratio(now.available, now.instances), elapsed]
    widest = max(map(len, values)) + 3
    space = width - LABEL_WIDTH - widest
    details = [_activity(state, at, space), describe_floor(now), _time_left(state, at)]
    return [
        [
            Piece(pad(name, LABEL_WIDTH), QUIET),
            Piece(pad(value, widest), STRONG),
            Piece(truncate(detail.text, space), detail.state),
        ]
        for name, value, detail in zip(("batch", "available", "time"), values, details, strict=True)
    ]


def _ratio(part: int | None, total: int) -> str:
    return f"{'?' if part is None else part} of {total}"


def _activity(state: ViewState, at: float, width: int) -> Piece:
    """The outcome, or what the upgrade is doing: for a batch that Azure upgrades, its instances and for how long."""
    if state.verdict is not None:
        reason = f": {state.verdict['reason']}" if state.verdict["reason"] else ""
        styles = {"succeeded": GOOD, "paused": STRONG}
        return Piece(f"{state.verdict['outcome']}{reason}", styles.get(state.verdict["outcome"], BAD))
    batch = state.now.batch if state.now is not None else None
    if batch is not None and batch.ended is None:
        elapsed = format_duration(at - batch.intended_at)
        text = f"upgrading {listing(batch.ids)} for {elapsed}"
        return Piece(text if len(text) <= width else f"upgrading {len(batch.ids)} instances for {elapsed}", BUSY)
    return Piece(state.activity, BAD if state.events and state.events[-1].bad else "")


def describe_floor(now: Now) -> Piece:
    """The floor, and the number of available instances above it."""
    if now.available is None:
        return Piece(f"floor {now.floor}", QUIET)
    spare = now.available - now.floor
    if spare < 0:
        return Piece(f"BELOW the floor of {now.floor}", BAD)
    return Piece(f"floor {now.floor}, {spare or 'none'} to spare", QUIET)


def _time_left(state: ViewState, at: float) -> Piece:
    seconds = state.now.seconds_left if state.now is not None else None
    if seconds is None:
        return Piece(f"ended {format_time(state.at)} UTC", QUIET)
    seconds = max(0.0, seconds - (at - state.at))
    end = format_time(at + seconds, seconds=False)
    return Piece(f"about {format_estimate(seconds)} left, until {end} UTC", QUIET)


# --- the heatmap and the events --------------------------------------------------------------------------------------


def _body(state: ViewState, grid: Grid, width: int, height: int) -> list[Line]:
    panels = render_panels(grid, width)
    widest = max(map(line_width, panels), default=0)
    legend = render_legend(grid, width)
    if width >= widest + GAP + EVENTS_WIDTH:
        heatmap = _shorten(panels, grid, width, height - len(legend) - 1)
        return [*_beside(heatmap, state, width), [], *legend]
    available = min(MAX_EVENTS, len(state.events))
    count = max(min(MIN_EVENTS, available), min(available, height - len(panels) - len(legend) - 2))
    heatmap = _shorten(panels, grid, width, height - len(legend) - count - 2)
    return [*heatmap, [], *legend, *_after_a_gap(_events(state.events, width, count))]


def _shorten(panels: list[Line], grid: Grid, width: int, height: int) -> list[Line]:
    """The heatmap if it fits the height; otherwise one line per panel, as many as fit."""
    if len(panels) <= height:
        return panels
    lines = render_summary(grid, width)
    if len(lines) <= height:
        return lines
    count = height - 1
    if count < 1:
        return []
    return [*lines[:count], [Piece(f"and {len(lines) - count} lines more", QUIET)]]


def _beside(heatmap: list[Line], state: ViewState, width: int) -> list[Line]:
    """The heatmap with the events to its right."""
    column = max(map(line_width, heatmap), default=0) + GAP
    events = _events(state.events, width - column, len(heatmap))
    lines = []
    for number, line in enumerate(heatmap):
        event = [Piece(" " * (column - line_width(line))), *events[number]] if number < len(events) else []
        lines.append([*line, *event])
    return lines


def _events(events: tuple[EventLine, ...], width: int, count: int) -> list[Line]:
    """The last events, newest at the bottom."""
    return [_event(event, width) for event in events[-min(count, MAX_EVENTS) :]] if count > 0 else []


def _event(event: EventLine, width: int) -> Line:
    style = BAD if event.bad else ""
    return [Piece(pad(format_time(event.at), 10), QUIET), Piece(truncate(event.text, width - 10), style)]


def _after_a_gap(block: list[Line]) -> list[Line]:
    return [[], *block] if block else []
