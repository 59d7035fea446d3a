"""The position and state of each instance, as a value that text, HTML and SVG are rendered from. PURE.

Every state has a color that color-blind people can tell apart (Okabe and Ito) and a sign of its own, so that the
heatmap can be read without color.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from .._common import arguments
from ..errors import InvalidInput, short_repr
from ..upgrade.rules.snapshot import Member, Observation, natural, observe

GREEN, ORANGE, SKY, BLUE = "#009E73", "#E69F00", "#56B4E9", "#0072B2"
VERMILLION, PURPLE, YELLOW, GRAY, BLACK = "#D55E00", "#CC79A7", "#F0E442", "#999999", "#000000"


class Style(NamedTuple):
    """The sign (one ASCII character) and the background color (`#RRGGBB`) of a state."""

    sign: str
    color: str

    @property
    def text_color(self) -> str:
        """White or black, whichever is readable on the background color."""
        return "#fff" if self.color in (BLUE, BLACK) else "#000"


ColorBy = Literal["power", "health", "model", "progress"]
UNKNOWN = Style("?", PURPLE)
STYLES: Mapping[str, Mapping[str, Style]] = {
    "power": {
        "running": Style("R", GREEN),
        "starting": Style("+", SKY),
        "creating": Style("C", SKY),
        "stopping": Style("-", YELLOW),
        "stopped": Style("S", ORANGE),
        "deallocating": Style("/", GRAY),
        "deallocated": Style("D", GRAY),
        "unknown": UNKNOWN,
    },
    "health": {
        "healthy": Style("H", GREEN),
        "initializing": Style("I", SKY),
        "busy": Style("B", BLUE),
        "no report": Style("N", GRAY),
        "off": Style("O", ORANGE),
        "unhealthy": Style("U", VERMILLION),
        "failed": Style("F", VERMILLION),
        "unknown": UNKNOWN,
    },
    "model": {"latest": Style("L", GREEN), "behind": Style("B", ORANGE)},
    "progress": {
        "updated": Style("U", GREEN),
        "already-current": Style("A", SKY),
        "arrived-current": Style("C", SKY),
        "in-batch": Style("*", BLUE),
        "not-reached": Style("W", YELLOW),
        "rolled-back": Style("R", GREEN),
        "in-flight": Style("I", BLUE),
        "still-unavailable": Style("S", PURPLE),
        "evicted": Style("E", PURPLE),
        "skipped-protected": Style("P", ORANGE),
        "skipped-stopped": Style("O", ORANGE),
        "not-selected": Style("N", GRAY),
        "vanished": Style("V", BLACK),
        "failed": Style("F", VERMILLION),
        "unknown": UNKNOWN,
    },
}
Position = tuple[int | None, int | None]


class Cell(NamedTuple):
    """One instance. `state`: the key of its style; `group`: its placement group; an unknown domain is None."""

    instance_id: str
    zone: str
    group: str
    update_domain: int | None
    fault_domain: int | None
    state: str
    power: str
    health: str
    provisioning: str
    latest: bool
    version: str
    protected: bool

    @property
    def position(self) -> Position:
        """The update domain (row) and the fault domain (column)."""
        return self.update_domain, self.fault_domain


class Panel(NamedTuple):
    """One zone and placement group. Rows are update domains, columns fault domains; an unknown domain comes last."""

    zone: str
    group: str
    rows: tuple[int | None, ...]
    columns: tuple[int | None, ...]
    cells: Mapping[Position, tuple[Cell, ...]]


@dataclass(frozen=True, slots=True, repr=False)
class Grid:
    """A heatmap: prints as plain text, displays as HTML in notebooks, saves as HTML or SVG.

    `color_by`: power, health, model or progress; `at`: when the instances were listed, in seconds since 1970.
    """

    color_by: ColorBy
    cells: tuple[Cell, ...]
    title: str = ""
    at: float = 0.0
    emulator: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The cells by zone and placement group."""
        grouped: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            grouped.setdefault((cell.zone, cell.group), []).append(cell)
        return tuple(_panel(*key, grouped[key]) for key in sorted(grouped, key=lambda key: (natural(key[0]), key[1])))

    @property
    def counts(self) -> dict[str, int]:
        """The number of instances in each state that occurs, in the order of the legend."""
        counts = Counter(cell.state for cell in self.cells)
        order = [*STYLES[self.color_by], *counts]
        return {state: counts[state] for state in dict.fromkeys(order) if counts[state]}

    @property
    def timestamp(self) -> str:
        """`at` as text in UTC, or "" when it is unknown."""
        if not 0 < self.at < 253_402_300_800:  # the last second that a date can hold
            return ""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def caption(self) -> str:
        """The title, the number of instances, what colors them, the time, and EMULATOR if it is one."""
        subject = f"{len(self.cells)} instance{'' if len(self.cells) == 1 else 's'} by {self.color_by}"
        titled = f"{self.title}: {subject}" if self.title else subject
        parts = [titled, self.timestamp, "EMULATOR" if self.emulator else ""]
        return ", ".join(part for part in parts if part)

    def style_of(self, state: str) -> Style:
        """The style of a state; a state that has none of its own gets that of "unknown"."""
        return STYLES[self.color_by].get(state, UNKNOWN)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dict per instance: the fields of Cell and `sign`. `pandas.DataFrame` takes the list."""
        return [{**cell._asdict(), "sign": self.style_of(cell.state).sign} for cell in self.cells]

    def save(self, path: str) -> None:
        """Write a self-contained .html or .svg file; the suffix of `path` decides.

        Raises: InvalidInput for another suffix, OSError when the file cannot be written.
        """
        from . import html  # noqa: PLC0415

        html.save(self, path)

    def _repr_html_(self) -> str:
        from . import html  # noqa: PLC0415

        return html.render_fragment(self)

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Any]:
        from . import text  # noqa: PLC0415

        yield from text.render(self, options.max_width)

    def __str__(self) -> str:
        from .lines import render_text  # noqa: PLC0415

        return render_text(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"<Grid {self.title!r} by {self.color_by}: {counts or 'no instances'}>"


def grid(
    instances: Observation | Iterable[Mapping[str, Any]],
    color_by: ColorBy = "power",
    *,
    classes: Mapping[str, str] | None = None,
    title: str = "",
    at: float = 0.0,
    emulator: bool = False,
) -> Grid:
    """Make a heatmap of the instances of a scale set.

    `instances`: what `list_vmss_vms(..., expand="instanceView")` returned, or an Observation. `color_by`: "power",
    "health", "model" or "progress". `classes`, with "progress" only: the state of an upgrade as `{instance id: class}`,
    as in `Verdict.classes`; without it the instances' own state is shown. `at`: when they were listed, in seconds
    since 1970 (an Observation knows that itself). `emulator`: adds EMULATOR to the caption.

    Raises: InvalidInput for an unknown `color_by`, for `classes` without "progress", and for values of other types.
    """
    arguments.word(color_by, "color_by", STYLES)
    if not isinstance(instances, Observation):
        instances = arguments.sequence(instances, "instances", "what list_vmss_vms returns")
    arguments.json_object({} if classes is None else classes, "classes")
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise InvalidInput(f"at must be a number of seconds, not {short_repr(at)}")
    if classes is not None and color_by != "progress":
        raise InvalidInput(f"classes need color_by='progress', not {color_by!r}")
    snapshot = instances if isinstance(instances, Observation) else observe(instances, at)
    rows = [*snapshot.members.values(), *_vanished(snapshot, classes or {})]
    state_of = _STATE_OF[color_by]
    cells = tuple(_cell(row, (classes or {}).get(row.instance_id) or state_of(row)) for row in rows)
    return Grid(color_by, cells, title, snapshot.at, emulator)


def _vanished(snapshot: Observation, classes: Mapping[str, str]) -> list[Member]:
    """Instances that have a class and no longer exist; they have no domains."""
    missing = sorted(set(classes) - set(snapshot.members), key=natural)
    return [Member(instance_id, "", "", "", None, None, False, "", "", "", "", False) for instance_id in missing]


def _cell(instance: Member, state: str) -> Cell:
    return Cell(
        instance_id=instance.instance_id,
        zone=instance.zone,
        group=instance.group,
        update_domain=instance.update_domain,
        fault_domain=instance.fault_domain,
        state=state,
        power=instance.power,
        health=instance.health,
        provisioning=instance.state,
        latest=instance.latest,
        version=instance.version,
        protected=instance.protected,
    )


def _panel(zone: str, group: str, cells: list[Cell]) -> Panel:
    by_position: dict[Position, list[Cell]] = {}
    for cell in cells:
        by_position.setdefault(cell.position, []).append(cell)
    rows, columns = ({position[axis] for position in by_position} for axis in (0, 1))
    frozen = {position: tuple(group_cells) for position, group_cells in by_position.items()}
    return Panel(zone, group, _unknown_last(rows), _unknown_last(columns), frozen)


def _unknown_last(domains: set[int | None]) -> tuple[int | None, ...]:
    numbers = sorted(domain for domain in domains if domain is not None)
    return (*numbers, None) if None in domains else tuple(numbers)


def _power(instance: Member) -> str:
    if not instance.power and instance.state == "Creating":
        return "creating"
    return instance.power if instance.power in STYLES["power"] else "unknown"


def _health(instance: Member) -> str:
    """The worst known state, by the engine's rule that unknown health does not count as healthy."""
    if instance.state == "Failed":
        return "failed"
    if instance.health == "unhealthy":
        return "unhealthy"
    if instance.power not in ("running", ""):
        return "off"
    if instance.state in ("Creating", "Updating", "Deleting"):
        return "busy"
    return instance.health or ("no report" if instance.state == "Succeeded" else "unknown")


def _model(instance: Member) -> str:
    return "latest" if instance.latest else "behind"


def _progress(instance: Member) -> str:
    if instance.state == "Failed":
        return "failed"
    if instance.state in ("Creating", "Updating", "Deleting"):
        return "in-batch"
    if instance.latest:
        return "already-current"
    return "skipped-protected" if instance.protected else "not-reached"


_STATE_OF: Mapping[str, Callable[[Member], str]] = {
    "power": _power,
    "health": _health,
    "model": _model,
    "progress": _progress,
}
