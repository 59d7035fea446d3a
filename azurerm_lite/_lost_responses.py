"""Recover a write whose response was lost: read the resource, then decide whether it happened.

A PUT or PATCH is looked for in the resource, an upgrade in its instances. When neither shows what happened, the outcome
stays unknown and nothing is sent again.
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

CHECKS, CHECK_SECONDS = 2, 5.0  # how often, and how far apart, the instances are read to find an upgrade


class PendingWrite(NamedTuple):
    """A prepared PUT, PATCH, POST or DELETE. `instances`: how to watch an upgrade without a status link."""

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
    """The part of an Arm that recovery uses."""

    def list(self, path: str, *, api_version: str | None = None) -> list[Any]: ...
    def send(self, write: PendingWrite) -> Operation: ...


def monitor(write: PendingWrite, status: int, headers: Mapping[str, str], body: Json, base: str) -> wire.Monitor:
    """How to watch a write after its 2xx response.

    Without a usable link an accepted upgrade is watched in its instances, and a deletion in its resource.
    Raises: UnusableLink when there is no other way, and always for a complete link to a foreign host.
    """
    try:
        source = wire.monitor(write.method, write.target, status, headers, body, base)
    except responses.UnusableLink as link:
        if link.foreign or status != 202 or (write.instances is None and write.method != "DELETE"):
            raise
        log.warning("%s: %s; watched elsewhere", write, link)
        source = wire.Monitor("resource", write.target)
    if source.kind == "resource" and write.instances is not None:
        return write.instances
    if source.kind == "status" and write.instances is not None:
        return source._replace(result_path="")  # an upgrade has no result to read at Location
    return source


def recover(arm: Writer, write: PendingWrite, unknown: OutcomeUnknown) -> Operation:
    """The Operation of a write whose response was lost, after it was found to have happened or was sent again.

    Raises: `unknown` when the resource does not show whether it happened; ConcurrencyError, ArmError, TransportError.
    """
    if write.instances is not None:
        return _recover_upgrade(arm, write, write.instances, unknown)
    if write.method not in ("PUT", "PATCH") or not isinstance(write.body, Mapping):
        raise unknown
    current = read_resource(arm, write)
    if current is None:
        raise unknown
    if _shows_write(current, write):
        return _operation_on(arm, write, current)
    if write.etag is None or current.get("etag") != write.etag:
        raise unknown.with_finding(
            f"the resource (etag {current.get('etag')}) does not show it. "
            "Another write may have happened since: read it before writing again"
        )
    try:
        return arm.send(write)  # the resource has not changed, and If-Match lets the write happen only once
    except ConcurrencyError as error:
        if (current := read_resource(arm, write)) is not None and _shows_write(current, write):
            return _operation_on(arm, write, current)  # the first request arrived late, so the second got a 412
        raise add_etags(error, write, current) from None


def add_etags(error: ConcurrencyError, write: PendingWrite, current: JsonDict | None) -> ConcurrencyError:
    """The 412 of a write, with the etag that was sent and that of the `current` resource."""
    error.sent_etag = write.etag
    error.current_etag = current.get("etag") if current else None
    return error


def _shows_write(resource: JsonDict, write: PendingWrite) -> bool:
    return model.matches_written(resource, model.without_read_only(write.body))


def read_resource(arm: Reader, write: PendingWrite) -> JsonDict | None:
    """The resource at the path of a write, or None when it cannot be read."""
    try:
        resource = arm.read(write.target)[2]
    except (ArmError, TransportError):
        return None
    return resource if responses.is_resource(resource) else None


def _operation_on(arm: Writer, write: PendingWrite, resource: JsonDict) -> Operation:
    """The Operation of a write that the resource shows; it is watched by the provisioningState of the resource."""
    log.info("%s: its response was lost, and it has happened", write)
    state = wire.provisioning_state(resource)
    if state in (wire.FAILED, wire.CANCELED):
        raise wire.operation_error(state, resource, method=write.method, path=write.target.partition("?")[0])
    source = wire.Monitor("resource", write.target)
    return Operation(arm, write.method, write.target, source, status=state, resource=resource)


def _recover_upgrade(arm: Writer, write: PendingWrite, instances: wire.Monitor, unknown: OutcomeUnknown) -> Operation:
    """The Operation of an upgrade whose response was lost: watched in its instances, or sent again.

    The instances are read twice. Sending an upgrade again does no harm: Azure upgrades no instance twice to the same
    model, and refuses a second upgrade while one runs. Failed instances may have failed before this upgrade, so then
    its outcome stays unknown.
    """
    path, _, version = instances.path.partition("?api-version=")
    failed = ""
    for _ in range(CHECKS):
        try:
            items = arm.list(path, api_version=version)
        except (ArmError, TransportError):
            raise unknown from None
        state, failed = wire.instances_state(items, instances.ids)
        if wire.has_upgrade_begun(items, instances.ids) and state != wire.FAILED:
            log.info("%s: its response was lost, and the instances show it", write)
            return Operation(arm, write.method, write.target, instances)
        arm.pause(CHECK_SECONDS)
    if failed:
        raise unknown.with_finding(f"{failed} is Failed, by this upgrade or an earlier one")
    return arm.send(write)
