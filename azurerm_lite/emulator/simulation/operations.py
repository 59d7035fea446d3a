"""Long-running operations: how they begin and end. `api.operations` shows them.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..messages import ErrorResponse, Json
from .events import Events
from .state import OperationRecord, ScaleSet

CONFLICT = (
    "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests."
)
PREEMPTED = "Operation execution has been preempted by a more recent operation."
CANCELED = "OperationCanceled"
_NO_FAILURES = frozenset({CANCELED, "OperationPreempted"})  # ends that leave the set as it was


class Outcome(NamedTuple):
    """How a habit ends an operation.

    `unchanged`: all its instances are as before. `unchanged_ids`: those with these ids are. `hangs`: it never ends.
    """

    error: dict[str, Any] | None = None
    unchanged: bool = False
    unchanged_ids: frozenset[str] = frozenset()
    hangs: bool = False

    def spares(self, instance_id: str) -> bool:
        """Whether the operation leaves this instance as it was."""
        return self.unchanged or instance_id in self.unchanged_ids


@dataclass(eq=False)
class Operations:
    """Every operation by its guid."""

    events: Events
    records: dict[str, OperationRecord] = field(default_factory=dict)

    def begin(self, kind: str, scale_set: ScaleSet) -> OperationRecord:
        """A new operation on this scale set. `kind`: CREATE, PUT, DELETE or POST."""
        guid, start = self.events.guid(), self.events.now
        record = OperationRecord(guid, scale_set.subscription_id, scale_set.location, kind, start)
        self.records[guid] = record
        return record

    def end(self, record: OperationRecord, error: dict[str, Json] | None = None, status: str = "") -> None:
        """End an operation; one that has ended already stays as it is."""
        if not record.is_done:
            record.status = status or ("Failed" if error else "Succeeded")
            record.error, record.end_time = error, self.events.now

    def end_on_set(self, scale_set: ScaleSet, record: OperationRecord, error: dict[str, Json] | None) -> None:
        """End an operation that has held its scale set."""
        code = error["code"] if error else ""
        scale_set.release(failed=error is not None and code not in _NO_FAILURES)
        self.end(record, error, "Canceled" if code == CANCELED else "")

    def begin_timed(self, scale_set: ScaleSet, shortest: float, longest: float) -> OperationRecord:
        """A new operation that only takes its time: so many seconds, and succeeds."""
        record = self.begin("POST", scale_set)
        self.events.schedule_in(self.events.random.uniform(shortest, longest), lambda: self.end(record))
        return record

    def get(self, guid: str) -> OperationRecord:
        """The operation with this guid; 404 for none."""
        record = self.records.get(guid.lower())
        if record is None:
            raise ErrorResponse(404, "NotFound", "The entity was not found in this Azure location.")
        return record
