"""What the parts of the emulator exchange: a parsed request, a response, an error response.

No HTTP library here. `http.app` turns bytes into a Request and a Response into bytes; everything below it sees only
these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
FAULT_HEADER = "x-emulator-fault"  # the header of responses that a fault or a habit has changed


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request."""

    method: str
    path: str
    query: Mapping[str, str]  # keys in lower case ("$expand", "api-version", "monitor"), values decoded
    headers: Mapping[str, str]  # keys in lower case
    body: Json  # parsed JSON, or None for no body
    base_url: str  # scheme://host:port of this very request: every link is built from it
    api_version: str


@dataclass(slots=True)
class Response:
    """One response.

    `body`: JSON to write, bytes that are JSON already, or None for no body. `gateway`: ARM itself responds (compact
    JSON), not the Compute provider (pretty JSON with CRLF). `uses_quota`: whether the request counts against the
    provider's limits, and the response shows them. `charge`: how many requests it counts as.
    """

    status: int = 200
    body: Json = None
    headers: dict[str, str] = field(default_factory=dict)
    gateway: bool = False
    uses_quota: bool = True
    charge: int = 1


class ErrorResponse(Exception):
    """An error response of Azure, raised from wherever its reason is known. `response` is what the caller gets."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        target: str | None = None,
        details: list[Json] | None = None,
        gateway: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        error: dict[str, Json] = {"code": code, "message": message}
        if target is not None:
            error["target"] = target
        if details is not None:
            error["details"] = details
        self.response = Response(status, {"error": error}, dict(headers or {}), gateway)


Handler = Callable[..., Response]
# A route: method, Werkzeug rule (paths are matched case-blind), handler(simulation, request, **path_parts), and the
# action that a principal needs ("Microsoft.Compute/virtualMachineScaleSets/write"; "" for none).
Route = tuple[str, str, Handler, str]
