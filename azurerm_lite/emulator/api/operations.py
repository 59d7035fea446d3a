"""The ARM resource `locations/operations`: how a long-running operation is announced, shown, and gives its result.

Recorded Azure is the model: the status is always 200, keys in this order, Retry-After on the first InProgress poll of
a write to the model only, and an empty 200 at Location after success.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from ..messages import Json, Request, Response, Route
from ..simulation.compose import Simulation
from ..simulation.state import OperationRecord

# Seconds that Azure asks to wait on the first InProgress poll after each kind of write; actions ask for nothing.
_FIRST_POLL = {"PUT": 37, "CREATE": 61, "DELETE": 11}


def accepted(record: OperationRecord, request: Request, status: int, body: Json = None) -> Response:
    """The first response of a long-running request: the headers that say where to poll."""
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
    return Response(status, body, headers)


def get_operation(simulation: Simulation, request: Request, *, operation_id: str, **_: str) -> Response:
    """The status document; with monitor=true the result."""
    record = simulation.operations.get(operation_id)
    if request.query.get("monitor") == "true":
        return _result(record, request)
    record.polls += 1
    events = simulation.events
    document: dict[str, Json] = {"startTime": events.timestamp(record.start_time)}
    if record.end_time is not None:
        document["endTime"] = events.timestamp(record.end_time)
    document["status"] = record.status
    if record.is_done and record.output is not None:
        document["properties"] = {"output": record.output}
    if record.error is not None:
        document["error"] = record.error
    document["name"] = record.guid
    wait = _FIRST_POLL.get(record.kind) if record.polls == 1 and not record.is_done else None
    return Response(200, document, {"Retry-After": str(wait)} if wait else {})


def _result(record: OperationRecord, request: Request) -> Response:
    if record.is_done and record.error is not None:
        return Response(409, {"error": record.error})
    return Response(200, record.output) if record.is_done else accepted(record, request, 202)


ROUTES: list[Route] = [
    (
        "GET",
        "/subscriptions/<subscription_id>/providers/Microsoft.Compute/locations/<location>/operations/<operation_id>",
        get_operation,
        "Microsoft.Compute/locations/operations/read",
    )
]
