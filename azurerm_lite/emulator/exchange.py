"""What the emulator's rooms say to each other: a request that was understood, an answer, a refusal.

No HTTP library here. `app` turns bytes into an ArmRequest and an Answer into bytes; the rooms that know
scale sets, images or identity see only these.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
DISTURBED = "x-emulator-fault"  # the header of answers that a fault or a habit has changed


@dataclass(frozen=True, slots=True)
class ArmRequest:
    method: str
    path: str
    query: Mapping[str, str]  # keys in lower case ("$expand", "api-version", "monitor"), values as decoded
    headers: Mapping[str, str]  # keys in lower case
    body: Json  # parsed JSON, or None when there was none
    base_url: str  # scheme://host:port of this very request: every link is built from it
    api_version: str
    client_id: str = ""  # who asks (service principal), "" where the route needs no token


@dataclass(slots=True)
class Answer:
    """One answer. `gateway`: made by ARM itself (compact JSON), not by the Compute provider (CRLF-pretty)."""

    status: int = 200
    body: Json = None  # None: no body, Content-Length 0. bytes: already rendered JSON
    headers: dict[str, str] = field(default_factory=dict)
    gateway: bool = False
    counted: bool = True  # whether it draws from the provider's buckets and says so
    charge: int = 1  # what it counts against the limits of the provider


class Refusal(Exception):
    """An error answer, raised from wherever the reason is found."""

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
        self.answer = Answer(status, {"error": error}, dict(headers or {}), gateway)


Handler = Callable[..., Answer]
# A route: method, Werkzeug rule (paths are matched case-blind), handler(world, request, **path_parts), and the
# action a principal needs ("Microsoft.Compute/virtualMachineScaleSets/write"; "" for none).
Route = tuple[str, str, Handler, str]
