"""Arguments of plans, runs and fleets, checked before anything is read. PURE."""

from collections.abc import Callable, Mapping
from typing import Any

from ..._common import arguments
from ...errors import InvalidInput, short_repr
from .policy import Policy


def of_plan(change: object, policy: object) -> None:
    """InvalidInput for a change or a policy of another type."""
    if not (change is None or isinstance(change, str) or callable(change)):
        raise InvalidInput(f"change must be a version, a function or None, not {short_repr(change)}")
    if not (policy is None or isinstance(policy, Policy)):
        raise InvalidInput(f"policy must be a Policy or None, not {short_repr(policy)}")


def of_run(journal: object, gate: object, on_event: object, should_stop: object) -> None:
    """InvalidInput for a path or a function of another type."""
    path(journal, "journal")
    if gate is not None:
        arguments.typed(Callable, gate=gate)
    arguments.typed(Callable, on_event=on_event, should_stop=should_stop)


def of_resume(journal: object, gate: object, on_event: object, should_stop: object) -> None:
    """The same for a run that goes on from a journal, which must be there."""
    needed_path(journal, "journal")
    of_run(journal, gate, on_event, should_stop)


def path(value: object, name: str) -> None:
    """InvalidInput for what is neither None nor a path that a file may have."""
    if value is None:
        return
    to_path: Any = getattr(value, "__fspath__", None)
    plain = value if isinstance(value, str) or to_path is None else to_path()
    if not isinstance(plain, str) or not plain or "\0" in plain:
        raise InvalidInput(f"{name} must be a path, not {short_repr(value)}")


def needed_path(value: object, name: str) -> None:
    """InvalidInput for what is no path that a file may have."""
    if value is None:
        raise InvalidInput(f"{name} must be the path of a journal, not None")
    path(value, name)


def faults(value: object) -> tuple[Mapping[str, Any], ...]:
    """The faults of a rehearsal, each an object."""
    items = arguments.sequence(value, "faults", "[{'on': 'upgrade', 'instance': '3', 'effect': 'fail'}]")
    return tuple(arguments.json_object(item, "each of faults") for item in items)
