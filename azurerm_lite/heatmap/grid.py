"""Where each instance stands and in which state: a value that text, HTML and SVG are made from. PURE.

Every state has a colour that the colour-blind can tell apart (Okabe and Ito) and a sign of its own, so that the
picture says the same without colour.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..errors import InvalidInput
from ..upgrade.rules.snapshot import Member, Observation, natural, observe

GREEN, ORANGE, SKY, BLUE = "#009E73", "#E69F00", "#56B4E9", "#0072B2"
VERMILLION, PURPLE, YELLOW, GREY, BLACK = "#D55E00", "#CC79A7", "#F0E442", "#999999", "#000000"


class Look(NamedTuple):
    """How a state is shown: its sign and its colour."""

    sign: str
    colour: str

    @property
    def ink(self) -> str:
        """What can be read on that colour."""
        return "#fff" if self.colour in (BLUE, BLACK) else "#000"


STRANGE = Look("?", PURPLE)
COLOURS: Mapping[str, Mapping[str, Look]] = {
    "power": {
        "running": Look("R", GREEN),
        "starting": Look("+", SKY),
        "creating": Look("C", SKY),
        "stopping": Look("-", YELLOW),
        "stopped": Look("S", ORANGE),
        "deallocating": Look("/", GREY),
        "deallocated": Look("D", GREY),
        "unknown": STRANGE,
    },
    "health": {
        "healthy": Look("H", GREEN),
        "initializing": Look("I", SKY),
        "busy": Look("B", BLUE),
        "no report": Look("N", GREY),
        "off": Look("O", ORANGE),
        "unhealthy": Look("U", VERMILLION),
        "failed": Look("F", VERMILLION),
        "unknown": STRANGE,
    },
    "model": {"latest": Look("L", GREEN), "behind": Look("B", ORANGE)},
    "progress": {
        "updated": Look("U", GREEN),
        "already-current": Look("A", SKY),
        "arrived-current": Look("C", SKY),
        "in-batch": Look("*", BLUE),
        "not-reached": Look("W", YELLOW),
        "rolled-back": Look("R", GREEN),
        "in-flight": Look("I", BLUE),
        "still-unavailable": Look("S", PURPLE),
        "evicted": Look("E", PURPLE),
        "skipped-protected": Look("P", ORANGE),
        "skipped-stopped": Look("O", ORANGE),
        "not-selected": Look("N", GREY),
        "vanished": Look("V", BLACK),
        "failed": Look("F", VERMILLION),
        "unknown": STRANGE,
    },
}
Place = tuple[int | None, int | None]


class Cell(NamedTuple):
    """One instance in its place. `state`: the word behind its colour and sign; a domain of None is not known."""

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
    def place(self) -> Place:
        return self.update_domain, self.fault_domain


class Panel(NamedTuple):
    """One zone and placement group: rows are update domains, columns fault domains, the unknown ones last."""

    zone: str
    group: str
    rows: tuple[int | None, ...]
    columns: tuple[int | None, ...]
    places: Mapping[Place, tuple[Cell, ...]]


@dataclass(frozen=True, slots=True, repr=False)
class Grid:
    """All instances by place and state. Prints as plain text, shows as HTML in notebooks, saves as HTML or SVG."""

    colour: str
    cells: tuple[Cell, ...]
    title: str = ""
    at: float = 0.0
    emulator: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        """The cells by zone and placement group."""
        homes: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            homes.setdefault((cell.zone, cell.group), []).append(cell)
        return tuple(_panel(*home, homes[home]) for home in sorted(homes, key=lambda one: (natural(one[0]), one[1])))

    @property
    def counts(self) -> dict[str, int]:
        """How many are in which state, in the order of the legend; states that nobody is in are left out."""
        found = Counter(cell.state for cell in self.cells)
        order = [*COLOURS[self.colour], *found]
        return {state: found[state] for state in dict.fromkeys(order) if found[state]}

    @property
    def when(self) -> str:
        """The time at which it was seen, or "" where nobody said."""
        if not 0 < self.at < 253_402_300_800:  # the last second that a date can hold
            return ""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def caption(self) -> str:
        """What this is a picture of: the set, how many, by what, when, and whether any of it is real."""
        many = f"{len(self.cells)} instance{'' if len(self.cells) == 1 else 's'} by {self.colour}"
        parts = [f"{self.title}: {many}" if self.title else many, self.when, "EMULATOR" if self.emulator else ""]
        return ", ".join(part for part in parts if part)

    def look(self, state: str) -> Look:
        """The sign and colour of a state; a word that nobody foresaw is shown as strange."""
        return COLOURS[self.colour].get(state, STRANGE)

    def to_records(self) -> list[dict[str, Any]]:
        """One flat dict for each instance, as `pandas.DataFrame` takes them."""
        return [{**cell._asdict(), "sign": self.look(cell.state).sign} for cell in self.cells]

    def save(self, path: str) -> None:
        """Written to a file that needs nothing else: .html or .svg by its name."""
        from . import html  # noqa: PLC0415

        html.save(self, path)

    def _repr_html_(self) -> str:
        from . import html  # noqa: PLC0415

        return html.fragment(self)

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Any]:
        from . import text  # noqa: PLC0415

        yield from text.rendered(self, options.max_width)

    def __str__(self) -> str:
        from .lines import plain  # noqa: PLC0415

        return plain(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"<Grid {self.title!r} by {self.colour}: {counts or 'no instances'}>"


def grid(
    instances: Observation | Iterable[Mapping[str, Any]],
    colour: str = "power",
    *,
    classes: Mapping[str, str] | None = None,
    title: str = "",
    at: float = 0.0,
    emulator: bool = False,
) -> Grid:
    """Every instance in its place, coloured by "power", "health", "model" or "progress".

    `instances`: what `list_vmss_vms` gave with their instance views, or an Observation. `classes`: how an upgrade
    stands, instance id to class, as a Verdict has it; with "progress" only. Without it progress is what instances show.
    """
    if colour not in COLOURS:
        raise InvalidInput(f"colour is one of {', '.join(COLOURS)}, not {colour!r}")
    if classes is not None and colour != "progress":
        raise InvalidInput("classes colour by progress: colour='progress'")
    seen = instances if isinstance(instances, Observation) else observe(instances, at)
    members = [*seen.members.values(), *_absent(seen, classes or {})]
    state = _STATES[colour]
    cells = tuple(_cell(one, (classes or {}).get(one.instance_id) or state(one)) for one in members)
    return Grid(colour, cells, title, seen.at, emulator)


def _absent(seen: Observation, classes: Mapping[str, str]) -> list[Member]:
    """Instances that an upgrade knew and that are no more: their place is unknown, but they are not left out."""
    gone = sorted(set(classes) - set(seen.members), key=natural)
    return [Member(one, "", "", "", None, None, False, "", "", "", "", False) for one in gone]


def _cell(one: Member, state: str) -> Cell:
    home = (one.instance_id, one.zone, one.group, one.update_domain, one.fault_domain)
    return Cell(*home, state, one.power, one.health, one.state, one.latest, one.version, one.protected)


def _panel(zone: str, group: str, cells: list[Cell]) -> Panel:
    found: dict[Place, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.place, []).append(cell)
    places = {place: tuple(there) for place, there in found.items()}
    rows, columns = ({place[axis] for place in places} for axis in (0, 1))
    return Panel(zone, group, _known_first(rows), _known_first(columns), places)


def _known_first(domains: set[int | None]) -> tuple[int | None, ...]:
    known: list[int | None] = list(sorted(one for one in domains if one is not None))  # noqa: C413
    return (*known, *([None] if None in domains else []))


def _power(one: Member) -> str:
    if not one.power and one.state == "Creating":
        return "creating"
    return one.power if one.power in COLOURS["power"] else "unknown"


def _health(one: Member) -> str:
    """The worst that is known of it, as the engine would take it: unknown health is not health."""
    if one.state == "Failed":
        return "failed"
    if one.health == "unhealthy":
        return "unhealthy"
    if one.power not in ("running", ""):
        return "off"
    if one.state in ("Creating", "Updating", "Deleting"):
        return "busy"
    return one.health or ("no report" if one.state == "Succeeded" else "unknown")


def _model(one: Member) -> str:
    return "latest" if one.latest else "behind"


def _progress(one: Member) -> str:
    if one.state == "Failed":
        return "failed"
    if one.state in ("Creating", "Updating", "Deleting"):
        return "in-batch"
    if one.latest:
        return "already-current"
    return "skipped-protected" if one.protected else "not-reached"


_STATES: Mapping[str, Callable[[Member], str]] = {
    "power": _power,
    "health": _health,
    "model": _model,
    "progress": _progress,
}
