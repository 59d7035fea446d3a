"""The cells of a heatmap and their styles, from which text, HTML and SVG are rendered. PURE.

The colors are those of Okabe and Ito, which color-blind people can distinguish. Each state also has a sign, so that the
heatmap can be read without color.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ..upgrade.rules.snapshot import natural

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
    """An instance. `state`: the key of its style. `group`: its placement group. An unknown domain is None."""

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
    """The cells of a zone and placement group. Rows are update domains, columns fault domains, the unknown one last."""

    zone: str
    group: str
    rows: tuple[int | None, ...]
    columns: tuple[int | None, ...]
    cells: Mapping[Position, tuple[Cell, ...]]


@dataclass(frozen=True, slots=True, repr=False)
class CellGrid:
    """The instances of a scale set as cells, in panels of rows and columns.

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
        """The title, the number of instances, `color_by`, the time, and EMULATOR for an emulator."""
        subject = f"{len(self.cells)} instance{'' if len(self.cells) == 1 else 's'} by {self.color_by}"
        titled = f"{self.title}: {subject}" if self.title else subject
        parts = [titled, self.timestamp, "EMULATOR" if self.emulator else ""]
        return ", ".join(part for part in parts if part)

    def style_of(self, state: str) -> Style:
        """The style of a state; an unknown state gets that of "unknown"."""
        return STYLES[self.color_by].get(state, UNKNOWN)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dict per instance: the fields of Cell and `sign`. `pandas.DataFrame` takes the list."""
        return [{**cell._asdict(), "sign": self.style_of(cell.state).sign} for cell in self.cells]


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
