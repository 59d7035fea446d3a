"""Grid: a heatmap of a scale set, which prints as text and displays as HTML."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._common import arguments
from ..errors import InvalidInput, short_repr
from ..upgrade.rules.snapshot import InstanceStatus, Snapshot, natural, observe
from . import html, lines, text
from .cells import STYLES, Cell, CellGrid, ColorBy


@dataclass(frozen=True, slots=True, repr=False)
class Grid(CellGrid):
    """A heatmap: prints as plain text, displays as HTML in notebooks, saves as HTML or SVG.

    `color_by`: power, health, model or progress; `at`: when the instances were listed, in seconds since 1970.
    """

    def save(self, path: str) -> None:
        """Write a self-contained .html or .svg file; the suffix of `path` decides.

        Raises: InvalidInput for another suffix, OSError when the file cannot be written.
        """
        html.save(self, path)

    def _repr_html_(self) -> str:
        return html.render_fragment(self)

    def __rich_console__(self, _console: Any, options: Any) -> Iterator[Any]:
        yield from text.render(self, options.max_width)

    def __str__(self) -> str:
        return lines.render_text(self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"<Grid {self.title!r} by {self.color_by}: {counts or 'no instances'}>"


def grid(
    instances: Snapshot | Iterable[Mapping[str, Any]],
    color_by: ColorBy = "power",
    *,
    classes: Mapping[str, str] | None = None,
    title: str = "",
    at: float = 0.0,
    emulator: bool = False,
) -> Grid:
    """Make a heatmap of the instances of a scale set.

    `instances`: what `list_vmss_vms(..., expand="instanceView")` returned, or a Snapshot. `color_by`: "power",
    "health", "model" or "progress". `classes`, with "progress" only: the state of an upgrade as `{instance id: class}`,
    as in `Verdict.classes`; by default the state of the instances is shown. `at`: when they were listed, in seconds
    since 1970; a Snapshot has its own time. `emulator`: adds EMULATOR to the caption.

    Raises: InvalidInput for an unknown `color_by`, for `classes` without "progress", and for values of other types.
    """
    arguments.word(color_by, "color_by", STYLES)
    if not isinstance(instances, Snapshot):
        instances = arguments.sequence(instances, "instances", "what list_vmss_vms returns")
    arguments.json_object({} if classes is None else classes, "classes")
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise InvalidInput(f"at must be a number of seconds, not {short_repr(at)}")
    if classes is not None and color_by != "progress":
        raise InvalidInput(f"classes need color_by='progress', not {color_by!r}")
    snapshot = instances if isinstance(instances, Snapshot) else observe(instances, at)
    rows = [*snapshot.members.values(), *_vanished(snapshot, classes or {})]
    state_of = _STATE_OF[color_by]
    cells = tuple(_cell(row, (classes or {}).get(row.instance_id) or state_of(row)) for row in rows)
    return Grid(color_by, cells, title, snapshot.at, emulator)


def _vanished(snapshot: Snapshot, classes: Mapping[str, str]) -> list[InstanceStatus]:
    """An InstanceStatus without domains for each instance that has a class and no longer exists."""
    missing = sorted(set(classes) - set(snapshot.members), key=natural)
    return [
        InstanceStatus(instance_id, "", "", "", None, None, False, "", "", "", "", False) for instance_id in missing
    ]


def _cell(instance: InstanceStatus, state: str) -> Cell:
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


def _power(instance: InstanceStatus) -> str:
    if not instance.power and instance.state == "Creating":
        return "creating"
    return instance.power if instance.power in STYLES["power"] else "unknown"


def _health(instance: InstanceStatus) -> str:
    """The worst known state; as in the engine, unknown health does not count as healthy."""
    if instance.state == "Failed":
        return "failed"
    if instance.health == "unhealthy":
        return "unhealthy"
    if instance.power not in ("running", ""):
        return "off"
    if instance.state in ("Creating", "Updating", "Deleting"):
        return "busy"
    return instance.health or ("no report" if instance.state == "Succeeded" else "unknown")


def _model(instance: InstanceStatus) -> str:
    return "latest" if instance.latest else "behind"


def _progress(instance: InstanceStatus) -> str:
    if instance.state == "Failed":
        return "failed"
    if instance.state in ("Creating", "Updating", "Deleting"):
        return "in-batch"
    if instance.latest:
        return "already-current"
    return "skipped-protected" if instance.protected else "not-reached"


_STATE_OF: Mapping[str, Callable[[InstanceStatus], str]] = {
    "power": _power,
    "health": _health,
    "model": _model,
    "progress": _progress,
}
