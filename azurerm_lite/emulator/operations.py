"""Long-running operations as ARM shows them: the first answer's headers, the status document, the result at Location.

Recorded Azure is the model: the status is always 200, keys in this order, Retry-After on the first InProgress poll of
a write to the model only, and an empty 200 at Location after success.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from dataclasses import dataclass

from .exchange import Answer, ArmRequest, Json, Refusal
from .world import World

# Seconds that Azure asks to wait on the first InProgress poll after each kind of write; actions ask for nothing.
_FIRST_POLL = {"PUT": 37, "CREATE": 61, "DELETE": 11}


@dataclass(slots=True)
class OperationRecord:
    guid: str
    subscription_id: str
    location: str
    kind: str  # CREATE, PUT, DELETE or POST
    started: float
    status: str = "InProgress"
    ended: float | None = None
    error: dict[str, Json] | None = None
    polls: int = 0
    output: Json = None  # what runCommand has to say

    @property
    def done(self) -> bool:
        return self.status != "InProgress"


class Operations:
    """Every operation ever started in the world, by its guid."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._records: dict[str, OperationRecord] = {}

    def begin(self, kind: str, subscription_id: str, location: str) -> OperationRecord:
        record = OperationRecord(self._world.guid(), subscription_id, location, kind, self._world.now)
        self._records[record.guid] = record
        return record

    def end(self, record: OperationRecord, error: dict[str, Json] | None = None, status: str = "") -> None:
        """The first end is the last: what ended stays as it ended."""
        if not record.done:
            record.status = status or ("Failed" if error else "Succeeded")
            record.error, record.ended = error, self._world.now

    def records(self) -> list[OperationRecord]:
        """All of them, oldest first."""
        return list(self._records.values())

    def find(self, guid: str) -> OperationRecord:
        record = self._records.get(guid.lower())
        if record is None:
            raise Refusal(404, "NotFound", "The entity was not found in this Azure location.")
        return record


def accepted(record: OperationRecord, request: ArmRequest, status: int, body: Json = None) -> Answer:
    """The first answer of a long-running call: how Azure says that it has begun, and where to look."""
    path = f"/subscriptions/{record.subscription_id}/providers/Microsoft.Compute/locations/{record.location}"
    link = f"{request.base_url}{path}/operations/{record.guid}?"
    version = f"api-version={request.api_version}"
    headers = {
        "Azure-AsyncNotification": "Enabled",
        "Azure-AsyncOperation": f"{link}{version}",
        "x-ms-request-id": record.guid,
    }
    if status == 202:
        headers["Location"] = f"{link}monitor=true&{version}"
    if record.kind != "POST":
        headers["Retry-After"] = "10"
    return Answer(status, body, headers)


def get_operation(world: World, request: ArmRequest, *, operation_id: str, **_: str) -> Answer:
    """The status document, or with monitor=true what the operation gave."""
    record: OperationRecord = world.operations.find(operation_id)
    if request.query.get("monitor") == "true":
        return _result(record, request)
    record.polls += 1
    document: dict[str, Json] = {"startTime": world.timestamp(record.started)}
    if record.ended is not None:
        document["endTime"] = world.timestamp(record.ended)
    document["status"] = record.status
    if record.done and record.output is not None:
        document["properties"] = {"output": record.output}
    if record.error is not None:
        document["error"] = record.error
    document["name"] = record.guid
    wait = _FIRST_POLL.get(record.kind) if record.polls == 1 and not record.done else None
    return Answer(200, document, {"Retry-After": str(wait)} if wait else {})


def _result(record: OperationRecord, request: ArmRequest) -> Answer:
    if record.done and record.error is not None:
        return Answer(409, {"error": record.error})
    return Answer(200, record.output) if record.done else accepted(record, request, 202)
