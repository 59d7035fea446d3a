"""A roll-out as HTML that needs nothing else and runs nothing, for notebooks. PURE."""

from ..heatmap.html import fragment
from ..markup import FRAME, escaped
from .layout import Shares, floor_of, shares
from .watched import Told, Watched
from .words import about, span, time_of_day

SHOWN = 6
# As in the heatmap: done, under way, failed; what is still to come is only outlined.
COLOURS = ("#009E73", "#0072B2", "#D55E00", "transparent")
_LABEL = 'style="text-align:left;font-weight:400;opacity:.7;padding:0 16px 0 0"'
_VALUE = 'style="text-align:left;padding:0 16px 0 0;font-variant-numeric:tabular-nums"'


def fragment_of(watched: Watched) -> str:
    """The whole view: title, bar, facts, heatmap, last events."""
    grid = watched.picture
    return (
        f'<div style="{FRAME};max-width:900px">\n{_heading(watched)}{_bar(watched)}{_facts(watched)}</div>\n'
        f"{fragment(grid) if grid is not None else ''}"
        f'<div style="{FRAME};max-width:900px">{_events(watched.told)}</div>\n'
    )


def _heading(watched: Watched) -> str:
    emulator = " · EMULATOR" if watched.now is not None and watched.now.emulator else ""
    return f'<div style="font-weight:600;font-size:15px">{escaped(watched.title)}{emulator}</div>\n'


def _bar(watched: Watched) -> str:
    if watched.now is None:
        return ""
    found = shares(watched.now)
    words = _in_words(found)
    parts = "".join(
        f'<div style="flex:{part} 0 0;background:{colour}"></div>'
        for part, colour in zip(found, COLOURS, strict=True)
        if part
    )
    return (
        f'<div title="{words}" style="display:flex;height:10px;margin:6px 0 2px;border:1px solid GrayText">'
        f"{parts}</div>\n<div>{words}</div>\n"
    )


def _in_words(found: Shares) -> str:
    words = f"{found.done} of {sum(found)} done"
    words += f", {found.busy} under way" if found.busy else ""
    return words + (f", {found.failed} failed" if found.failed else "")


def _facts(watched: Watched) -> str:
    now = watched.now
    if now is None:
        counts = ", ".join(f"{count} {kind}" for kind, count in watched.counts.items())
        return f"<div>{escaped(counts or watched.doing)}</div>"
    left = now.seconds_left
    until = f"about {about(left)} left, until {time_of_day(watched.at + left, seconds=False)} UTC" if left else ""
    available = "?" if now.available is None else str(now.available)
    ended = watched.verdict["outcome"] if watched.verdict is not None else ""
    rows = [
        ("batch", f"{now.batch_number} of {now.batches}", ended or watched.doing),
        ("available", f"{available} of {now.instances}", floor_of(now).text),
        ("time", span(watched.at - now.first["at"]), until or f"ended {time_of_day(watched.at)} UTC"),
    ]
    cells = "".join(
        f'<tr><th scope="row" {_LABEL}>{name}</th><td {_VALUE}>{escaped(value)}</td>'
        f"<td {_VALUE}>{escaped(more)}</td></tr>\n"
        for name, value, more in rows
    )
    return f'<table style="border-collapse:collapse;margin-top:6px">{cells}</table>\n'


def _events(told: tuple[Told, ...]) -> str:
    lines = "".join(
        f'<div style="white-space:nowrap;overflow:hidden;text-overflow:ellipsis{";font-weight:600" * one.bad}">'
        f'<span style="opacity:.7">{time_of_day(one.at)}</span> {escaped(one.text, 300)}</div>\n'
        for one in told[-SHOWN:]
    )
    return f'<div style="font:12px/1.5 ui-monospace,monospace">\n{lines}</div>'
