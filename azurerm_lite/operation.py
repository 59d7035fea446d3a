"""Operation: a long-running call on Azure, to poll, wait for and store.

It is polled at the Azure-AsyncOperation link, else at the Location link, else by the provisioningState of the resource.
A status that cannot be read says nothing about the operation: after a few failures the resource is read instead. Every
wait has a timeout. `to_dict` stores an operation, and another process continues with `from_dict`.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

from ._common import arguments
from ._common.secrecy import conceal_locals
from ._http import responses, stored_operation, wire
from ._http.wire import CANCELED, FAILED, RUNNING, SUCCEEDED, TERMINAL, Monitor
from .errors import (
    ArmError,
    AuthError,
    ForbiddenError,
    InvalidInput,
    NotFoundError,
    OperationTimeout,
    OutcomeUnknown,
    ProtocolError,
    ThrottledError,
    TransportError,
    printable,
)
from .types import Json, JsonDict, OperationState

FASTEST_SECONDS = 1.0  # between two polls, whatever a server asks for
FIRST_SECONDS = 1.0  # many writes end within it, even when their first Retry-After is longer
SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 4.0, 15.0, 600.0
MAX_UNREAD_POLLS, MAX_UNREAD_SECONDS = 5, 300.0
MOST_PAGES = 1000


@runtime_checkable
class Reader(Protocol):
    """The part of an Arm that an Operation uses.

    An optional attribute `time_scale` says how many times faster than real time the clock of an emulator runs.
    """

    base: str

    def read(self, path: str) -> tuple[int, Mapping[str, str], Json]: ...
    def pause(self, seconds: float) -> None: ...
    def time(self) -> float: ...


class Operation:
    """A long-running call on Azure. `status`: InProgress, Succeeded, Failed or Canceled, as of the last poll.

    `seconds`: how long it took by Azure's clock, None until that is known. `error`: why it failed. `polls`: how often
    it has been polled.
    """

    def __init__(
        self,
        reader: Reader,
        method: str,
        path: str,
        monitor: Monitor,
        *,
        status: OperationState = RUNNING,
        resource: Json = None,
        request_id: str | None = None,
        correlation_id: str | None = None,
        retry_after: float | None = None,
        started_at: float | None = None,
        instances: Monitor | None = None,
    ) -> None:
        arguments.typed(Reader, reader=reader)
        arguments.typed(Monitor, monitor=monitor)
        arguments.typed(str, method=method, path=path, status=status)
        self._reader, self._monitor = reader, monitor
        self._instances = instances  # the fallback of an upgrade whose status cannot be read
        self.method, self.path = method, path
        self.status: OperationState = status
        self.request_id, self.correlation_id = request_id, correlation_id
        self.started_at = reader.time() if started_at is None else started_at
        self._resource, self._retry_after = resource, retry_after
        self._unread, self._unread_since = 0, 0.0
        self.error: ArmError | None = None
        self.seconds: float | None = None
        self.polls = 0
        self._fastest = max(0.05, FASTEST_SECONDS / getattr(reader, "time_scale", 1.0))

    def __repr__(self) -> str:
        where = printable(self.path.partition("?")[0])
        return f"<Operation {self.method} {where}: {self.status}, request id {self.request_id}>"

    def _repr_html_(self) -> str:
        from ._common.markup import card  # noqa: PLC0415

        rows = [("of", self.path.partition("?")[0]), ("request id", self.request_id or "")]
        rows += [("correlation id", self.correlation_id)] if self.correlation_id else []
        rows += [("took", f"{self.seconds:.0f} s")] if self.seconds is not None else []
        rows += [("error", str(self.error))] if self.error is not None else []
        return card(f"{self.method}: {self.status}", rows)

    @property
    def done(self) -> bool:
        """Whether the operation has ended, in success or failure."""
        return self.status in TERMINAL

    @property
    def has_retry_after(self) -> bool:
        """Whether the last response had a Retry-After header; those about an upgrade have none."""
        return bool(self._retry_after)

    @property
    def resource(self) -> Json:
        """The result: the resource after a PUT or PATCH, the output of an action, or None."""
        return self._resource

    def poll(self) -> OperationState:
        """Poll once and return the status; after the operation has ended no request is sent.

        A failed operation sets `error` and raises nothing. A status that cannot be read counts as InProgress for a
        while. Raises: AuthError, ForbiddenError, OutcomeUnknown when neither status nor resource can be read.
        """
        if self.done:
            return self.status
        self.polls += 1
        try:
            status, headers, body = self._read_monitor()
            self._retry_after = wire.retry_after(headers)
            state = self._state(status, headers, body)
            seconds = wire.operation_seconds(body)
            state, body = self._result(state, body) if state == SUCCEEDED else (state, body)
        except (AuthError, ForbiddenError):
            raise
        except (TransportError, ArmError) as error:
            if not self._proves_deletion(error):
                return self._tolerate_unread(error)
            state, body, seconds = SUCCEEDED, None, None
        self._unread = 0
        if state in TERMINAL:
            self.seconds = seconds
            self._finish(state, body)
        return self.status

    def wait(self, timeout: float = 3600.0, on_poll: Callable[["Operation"], object] | None = None) -> "Operation":
        """Poll until the operation has succeeded, and return it. `timeout`: in seconds.

        `on_poll`: called with the operation after each poll.
        Raises: OperationFailed, OperationCanceled or OperationSuperseded with Azure's code and message;
        OperationTimeout, after which the operation still runs and can be waited for again; those of `poll`.
        """
        arguments.typed(Callable | None, on_poll=on_poll)
        if not arguments.seconds(timeout, "timeout", 1e300):
            raise InvalidInput("timeout must be a positive number of seconds, not 0")
        deadline = self._reader.time() + timeout
        while not self.done:
            gap = self.next_poll_seconds()
            if self._reader.time() + gap > deadline:
                self._raise_timeout(timeout, gap)
            self._reader.pause(gap)
            self.poll()
            if on_poll is not None:
                on_poll(self)
        if self.error is not None:
            raise self.error
        return self

    def next_poll_seconds(self) -> float:
        """Seconds to wait before the next poll: Azure's Retry-After within bounds, or an eighth of the age."""
        if self.polls == 0 and self._unread == 0:
            retry_after = FIRST_SECONDS if self._retry_after is None else self._retry_after
            return min(FIRST_SECONDS, max(retry_after, self._fastest))
        if self._retry_after:
            floor = SHORTEST_SECONDS if self._retry_after >= 1 else self._fastest
            return min(LONGEST_SECONDS, max(floor, self._retry_after))
        age = max(0.0, self._reader.time() - self.started_at)
        return min(USUAL_SECONDS, max(SHORTEST_SECONDS, age / 8))

    def to_dict(self) -> JsonDict:
        """The operation as plain JSON, without hosts and tokens, for `Operation.from_dict`."""
        return {
            "kind": stored_operation.KIND,
            "schema": stored_operation.SCHEMA,
            "method": self.method,
            "path": self.path,
            "monitor": stored_operation.monitor_to_dict(self._monitor),
            "status": self.status,
            "request_id": self.request_id,
            "correlation_id": self.correlation_id,
            "started_at": self.started_at,
            **({"instances": stored_operation.monitor_to_dict(self._instances)} if self._instances else {}),
        }

    @classmethod
    @conceal_locals
    def from_dict(cls, reader: Reader, stored: Mapping[str, Any]) -> "Operation":
        """Restore an operation from `to_dict`. `reader`: the Arm that polls it.

        Raises: InvalidInput for anything else, before any request.
        """
        arguments.typed(Reader, reader=reader)
        operation = cls(reader, **stored_operation.validate(stored, reader.base))
        if operation.status in (FAILED, CANCELED):
            operation.error = operation._failure_error(operation.status, {})
        return operation

    def poll_through(self, reader: Reader) -> "Operation":
        """Poll through another Arm from now on, and return this operation."""
        arguments.typed(Reader, reader=reader)
        self._reader = reader
        return self

    def _read_monitor(self) -> tuple[int, Mapping[str, str], Json]:
        status, headers, body = self._reader.read(self._monitor.path)
        if self._monitor.kind != "instances":
            return status, headers, body
        items, following = wire.parse_page(body, self._reader.base)
        pages = 1
        while following is not None and pages < MOST_PAGES:
            more, following = wire.parse_page(self._reader.read(following)[2], self._reader.base)
            items, pages = items + more, pages + 1
        state, failed_ids = wire.instances_state(items, self._monitor.ids)
        document: JsonDict = {"status": state}
        if failed_ids:
            text = f"the upgrade left instances {failed_ids} as Failed; why is in their instance views"
            document["error"] = {"code": "InstanceFailed", "message": text, "target": failed_ids}
        return status, headers, document

    def _proves_deletion(self, error: Exception) -> bool:
        return self.method == "DELETE" and self._monitor.kind == "resource" and isinstance(error, NotFoundError)

    def _state(self, status: int, headers: Mapping[str, str], body: Json) -> OperationState:
        """The state in the response to a poll. Raises: ProtocolError for a response of another shape."""
        if self._monitor.kind == "instances":
            return wire.operation_state(body) or RUNNING
        if self._monitor.kind == "status":
            state = wire.operation_state(body)
            if state is None or not wire.belongs_to(body, self._monitor.path):
                raise ProtocolError(
                    f"the operation's status document is {responses.describe_shape(body)} without its status"
                )
            return state
        if self._monitor.kind == "location" and status == 202:
            self._follow(headers)
            return RUNNING
        if self._monitor.kind == "location" and (self.method not in ("PUT", "PATCH") or body is None):
            responses.check_write("POST", status, body)
            return SUCCEEDED
        if not responses.is_resource(body):
            raise ProtocolError(f"expected the resource, got {responses.describe_shape(body)}")
        state = wire.provisioning_state(body)
        return RUNNING if self.method == "DELETE" and state == SUCCEEDED else state  # the resource still exists

    def _follow(self, headers: Mapping[str, str]) -> None:
        """Poll at the Location of the response from now on. A link that is refused counts as an unread status."""
        if headers.get("location"):
            path = responses.same_origin_path(headers["location"], self._reader.base)
            self._monitor = Monitor("location", path, path)

    def _result(self, state: OperationState, body: Json) -> tuple[OperationState, Json]:
        """The state and the result of a call that succeeded: the resource after PUT or PATCH, or an action's output.

        `body`: the response of the last poll, which is the result itself unless a status link was polled.
        """
        write = self.method in ("PUT", "PATCH")
        if self._monitor.kind in ("instances", "resource") or (self._monitor.kind == "location" and body is not None):
            return state, body if write or self._monitor.kind != "resource" else None
        path = self.path if write else self._monitor.result_path if self._monitor.kind == "status" else ""
        if not path or self.method == "DELETE":
            return state, None
        try:
            status, _, resource = self._reader.read(path)
        except NotFoundError:
            return state, None
        if not write:
            responses.check_write(self.method, status, resource)
            return state, resource
        if not responses.is_resource(resource):
            raise ProtocolError(
                f"expected the resource at {path.partition('?')[0]}, got {responses.describe_shape(resource)}"
            )
        resource_state = wire.provisioning_state(resource)
        return SUCCEEDED if resource_state == RUNNING else resource_state, resource

    def _finish(self, state: OperationState, body: Json) -> None:
        self.status = state
        if state == SUCCEEDED:
            self._resource = body
        else:
            self.error = self._failure_error(state, body)

    def _failure_error(self, state: str, body: Json) -> ArmError:
        document = body if isinstance(body, dict) and "error" in body else {}
        if not document:
            resource_state = wire.provisioning_state(body) if isinstance(body, dict) and "properties" in body else state
            text = f"the operation ended as {state}; the resource's provisioning state is {resource_state}"
            document = {"error": {"code": "", "message": text}}
        context = {"request_id": self.request_id, "correlation_id": self.correlation_id}
        return wire.operation_error(state, document, method=self.method, path=self.path.partition("?")[0], **context)

    def _tolerate_unread(self, error: TransportError | ArmError) -> OperationState:
        """Count a status that could not be read; after too many, poll the resource."""
        now = self._reader.time()
        self._unread_since = self._unread_since if self._unread else now
        self._unread += 1
        self._retry_after = error.retry_after if isinstance(error, ThrottledError) else None
        if self._unread > MAX_UNREAD_POLLS or now - self._unread_since > MAX_UNREAD_SECONDS:
            fallback = self._fallback_monitor()
            if fallback is not None:
                self._monitor, self._unread = fallback, 0
            elif not wire.is_transient(error):
                raise OutcomeUnknown(f"{self!r} may have ended; its state cannot be read: {error}") from None
        return self.status

    def _fallback_monitor(self) -> Monitor | None:
        """Another source of the status, or None when there is none left to try."""
        if self._monitor.kind in ("resource", "instances"):
            return None
        return self._instances or (Monitor("resource", self.path) if self.method != "POST" else None)

    def _raise_timeout(self, timeout: float, gap: float) -> NoReturn:
        request = f"; the server asked to wait another {gap:g} s" if self._retry_after else ""
        raise OperationTimeout(f"{self!r} did not end within {timeout:g} s{request}. It may still be running.", self)
