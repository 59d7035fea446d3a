"""A write whose answer was lost, or that somebody else's write came before: look first, then decide.

A model is found again in the resource, an upgrade in its instances. What can be found in neither stays unknown, and is
never sent again. How requests travel is not known here.
https://learn.microsoft.com/azure/architecture/best-practices/retry-service-specific
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from . import model
from ._http import responses, wire
from .errors import ArmError, ConcurrencyError, OutcomeUnknown, TransportError
from .operation import Operation, Reader
from .types import Json, JsonDict

log = logging.getLogger(__name__)

LOOKS, LOOK_SECONDS = 2, 5.0  # how an upgrade whose answer was lost is looked for


class Write(NamedTuple):
    """One write that is meant, ready to be sent. `instances`: where an upgrade can be watched."""

    method: str
    target: str
    body: Json = None
    data: bytes | None = None
    headers: Mapping[str, str] = {}
    instances: wire.Monitor | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.target.partition('?')[0]}"

    @property
    def etag(self) -> str | None:
        return self.headers.get("If-Match")


class Writer(Reader, Protocol):
    """What is needed of an Arm here: to read, to list, to wait, and to send a write once."""

    def list(self, path: str, *, api_version: str | None = None) -> list[Any]: ...
    def send(self, write: Write) -> Operation: ...


def monitor(write: Write, status: int, headers: Mapping[str, str], body: Json, base: str) -> wire.Monitor:
    """Where a write that was answered with success can be watched; UnusableLink when that is nowhere.

    An upgrade that Azure has accepted is watched in its instances, and a deletion in its resource, when there is no
    link that could be followed. A whole link to a foreign host is no slip of the pen: it is always an error.
    """
    try:
        how = wire.monitor(write.method, write.target, status, headers, body, base)
    except responses.UnusableLink as link:
        if link.foreign or status != 202 or (write.instances is None and write.method != "DELETE"):
            raise
        log.warning("%s: %s; watched elsewhere", write, link)
        how = wire.Monitor("resource", write.target)
    if how.kind == "resource" and write.instances is not None:
        return write.instances  # accepted, and no word on where to look
    if how.kind == "status" and write.instances is not None:
        return how._replace(result_path="")  # of an upgrade nothing waits at Location
    return how


def settle(arm: Writer, write: Write, unknown: OutcomeUnknown) -> Operation:
    """The Operation of a write whose answer was lost; `unknown` itself when nobody can tell whether it happened."""
    if write.instances is not None:
        return _by_instances(arm, write, write.instances, unknown)
    if write.method not in ("PUT", "PATCH") or not isinstance(write.body, Mapping):
        raise unknown
    current = _look(arm, write)
    if current is None:
        raise unknown
    if _shows(current, write):
        return _operation_on(arm, write, current)
    if write.etag is None or current.get("etag") != write.etag:
        raise unknown.with_finding(
            f"the resource (etag {current.get('etag')}) does not show it. "
            "Somebody else may have written since: read it before writing again"
        )
    try:
        return arm.send(write)  # untouched since it was read, and If-Match lets it happen once at most
    except ConcurrencyError as refused:
        if (current := _look(arm, write)) is not None and _shows(current, write):
            return _operation_on(arm, write, current)  # the first one was late, and refuses the second
        raise with_etags(refused, write, current) from None


def refused(arm: Writer, write: Write, error: ConcurrencyError) -> ConcurrencyError:
    """The 412 of a write, with the etag that was sent and the one that the resource has now."""
    return with_etags(error, write, _look(arm, write))


def with_etags(error: ConcurrencyError, write: Write, current: JsonDict | None) -> ConcurrencyError:
    error.sent_etag = write.etag
    error.current_etag = current.get("etag") if current else None
    return error


def _shows(resource: JsonDict, write: Write) -> bool:
    return model.reflects(resource, model.without_read_only(write.body))


def _look(arm: Writer, write: Write) -> JsonDict | None:
    """The resource that a write was for; None when it cannot be read."""
    try:
        resource = arm.read(write.target)[2]
    except (ArmError, TransportError):
        return None
    return resource if responses.is_resource(resource) else None


def _operation_on(arm: Writer, write: Write, resource: JsonDict) -> Operation:
    """An Operation on a write that is seen in the resource: the resource's own state tells when it is done."""
    log.info("%s: its answer was lost, and it has happened", write)
    state = wire.provisioning_state(resource)
    if state in (wire.FAILED, wire.CANCELED):
        raise wire.operation_error(state, resource, method=write.method, path=write.target.partition("?")[0])
    here = wire.Monitor("resource", write.target)
    return Operation(arm, write.method, write.target, here, status=state, resource=resource)


def _by_instances(arm: Writer, write: Write, instances: wire.Monitor, unknown: OutcomeUnknown) -> Operation:
    """An upgrade whose answer was lost: watched in its instances when it shows there, sent again when it does not.

    Looked for twice, a few seconds apart. Sent again it could do no harm: Azure upgrades no instance twice to the
    same model, and refuses a second upgrade while one runs. Instances that are Failed may have been so before: then
    nobody can tell, and neither the failure nor a second upgrade is made of it.
    """
    path, _, version = instances.path.partition("?api-version=")
    failed = ""
    for _ in range(LOOKS):
        try:
            items = arm.list(path, api_version=version)
        except (ArmError, TransportError):
            raise unknown from None
        state, failed = wire.instances_state(items, instances.ids)
        if wire.upgrade_begun(items, instances.ids) and state != wire.FAILED:
            log.info("%s: its answer was lost, and it shows in the instances", write)
            return Operation(arm, write.method, write.target, instances)
        arm.pause(LOOK_SECONDS)
    if failed:
        raise unknown.with_finding(f"{failed} is Failed, by this upgrade or an earlier one")
    return arm.send(write)
