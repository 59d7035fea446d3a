"""Render an upgrade as a self-contained HTML fragment without scripts, for notebooks. PURE."""

from .._common.markup import FRAME, escape_html
from ..heatmap.html import render_fragment
from .event_text import format_duration, format_estimate, format_time
from .layout import InstanceCounts, count_instances, describe_floor
from .state import EventLine, ViewState

MAX_EVENTS = 6
# Done, under way and failed have the heatmap's colors; the remaining part of the bar is empty.
BAR_COLORS = ("#009E73", "#0072B2", "#D55E00", "transparent")
_LABEL = 'style="text-align:left;font-weight:400;opacity:.7;padding:0 16px 0 0"'
_VALUE = 'style="text-align:left;padding:0 16px 0 0;font-variant-numeric:tabular-nums"'


def render_html(state: ViewState) -> str:
    """The whole view: title, bar, key figures, heatmap, last events."""
    grid = state.grid
    return (
        f'<div style="{FRAME};max-width:900px">\n{_heading(state)}{_bar(state)}{_figures(state)}</div>\n'
        f"{render_fragment(grid) if grid is not None else ''}"
        f'<div style="{FRAME};max-width:900px">{_events(state.events)}</div>\n'
    )


def _heading(state: ViewState) -> str:
    emulator = " · EMULATOR" if state.now is not None and state.now.emulator else ""
    return f'<div style="font-weight:600;font-size:15px">{escape_html(state.title)}{emulator}</div>\n'


def _bar(state: ViewState) -> str:
    if state.now is None:
        return ""
    counts = count_instances(state.now)
    label = _label(counts)
    parts = "".join(
        f'<div style="flex:{part} 0 0;background:{color}"></div>'
        for part, color in zip(counts, BAR_COLORS, strict=True)
        if part
    )
    return (
        f'<div title="{label}" style="display:flex;height:10px;margin:6px 0 2px;border:1px solid GrayText">'
        f"{parts}</div>\n<div>{label}</div>\n"
    )


def _label(counts: InstanceCounts) -> str:
    busy = f", {counts.busy} under way" if counts.busy else ""
    failed = f", {counts.failed} failed" if counts.failed else ""
    return f"{counts.done} of {sum(counts)} done{busy}{failed}"


def _figures(state: ViewState) -> str:
    now = state.now
    if now is None:
        counts = ", ".join(f"{count} {kind}" for kind, count in state.counts.items())
        return f"<div>{escape_html(counts or state.activity)}</div>"
    seconds = now.seconds_left
    end = format_time(state.at + (seconds or 0.0), seconds=False)
    estimate = f"about {format_estimate(seconds)} left, until {end} UTC" if seconds else ""
    available = "?" if now.available is None else str(now.available)
    ended = state.verdict["outcome"] if state.verdict is not None else ""
    rows = [
        ("batch", f"{now.batch_number} of {now.batches}", ended or state.activity),
        ("available", f"{available} of {now.instances}", describe_floor(now).text),
        ("time", format_duration(state.at - now.first["at"]), estimate or f"ended {format_time(state.at)} UTC"),
    ]
    cells = "".join(
        f'<tr><th scope="row" {_LABEL}>{name}</th><td {_VALUE}>{escape_html(value)}</td>'
        f"<td {_VALUE}>{escape_html(detail)}</td></tr>\n"
        for name, value, detail in rows
    )
    return f'<table style="border-collapse:collapse;margin-top:6px">{cells}</table>\n'


def _events(events: tuple[EventLine, ...]) -> str:
    lines = "".join(
        f'<div style="white-space:nowrap;overflow:hidden;text-overflow:ellipsis{_weight(event)}">'
        f'<span style="opacity:.7">{format_time(event.at)}</span> {escape_html(event.text, 300)}</div>\n'
        for event in events[-MAX_EVENTS:]
    )
    return f'<div style="font:12px/1.5 ui-monospace,monospace">\n{lines}</div>'


def _weight(event: EventLine) -> str:
    return ";font-weight:600" if event.bad else ""
