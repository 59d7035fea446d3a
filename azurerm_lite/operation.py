"""Operation: the handle on one long-running call.

Azure-AsyncOperation is followed first, then Location, then the resource's own provisioningState. Failing to read a
status says nothing about the operation (ARM's contract), so that is tolerated for a while and then settled by looking
at the resource. Every wait has an end, and a handle can be stored as JSON and taken up by another process.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

from ._common import arguments
from ._common.secrecy import conceal_locals
from ._http import handles, responses, wire
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
from .types import Json, JsonDict

FASTEST_SECONDS = 1.0  # between two polls, whatever a server asks for
FIRST_SECONDS = 1.0  # many writes are done by then, whatever their first Retry-After says
SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 4.0, 15.0, 600.0
MOST_UNREAD, MOST_UNREAD_SECONDS = 5, 300.0
MOST_PAGES = 1000


@runtime_checkable
class Reader(Protocol):
    """What an Operation needs of an Arm: to read a path, the time, and a way to wait.

    It may have a `time_scale`: how much faster than real time the clock of its endpoint, an emulator, runs.
    """

    base: str

    def read(self, path: str) -> tuple[int, Mapping[str, str], Json]: ...
    def pause(self, seconds: float) -> None: ...
    def time(self) -> float: ...


class Operation:
    """One long-running call on Azure. `status`: InProgress, Succeeded, Failed or Canceled, as of the last poll."""

    def __init__(
        self,
        reader: Reader,
        method: str,
        path: str,
        monitor: Monitor,
        *,
        status: str = RUNNING,
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
        self._instances = instances  # where an upgrade can be watched when its status cannot be read
        self.method, self.path, self.status = method, path, status
        self.request_id, self.correlation_id = request_id, correlation_id
        self.started_at = reader.time() if started_at is None else started_at
        self._resource, self._retry_after = resource, retry_after
        self._unread, self._unread_since = 0, 0.0
        self.error: ArmError | None = None
        self.seconds: float | None = None  # how long it took by Azure's own clock, once that is known
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
        """Whether it ended, well or not."""
        return self.status in TERMINAL

    @property
    def asks_to_wait(self) -> bool:
        """Whether Azure's last answer said when to come back; of an upgrade it does not."""
        return bool(self._retry_after)

    @property
    def resource(self) -> Json:
        """The resource as Azure last showed it: the model after a PUT or PATCH, None after most actions."""
        return self._resource

    def poll(self) -> str:
        """The status now, by one request; the first terminal status that is seen is final. Failure does not raise."""
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
            if not self._is_gone(error):
                return self._could_not_read(error)
            state, body, seconds = SUCCEEDED, None, None
        self._unread = 0
        if state in TERMINAL:
            self.seconds = seconds
            self._end(state, body)
        return self.status

    def wait(self, timeout: float = 3600.0, on_poll: Callable[["Operation"], object] | None = None) -> "Operation":
        """This operation once it has succeeded. `timeout` in seconds; `on_poll` is called after each poll.

        Raises OperationFailed (OperationCanceled, OperationSuperseded) with Azure's code and message, or
        OperationTimeout, which leaves the operation running and this handle usable.
        """
        arguments.typed(Callable | None, on_poll=on_poll)
        if not arguments.seconds(timeout, "timeout", 1e300):
            raise InvalidInput("timeout must be a positive number of seconds, not 0")
        deadline = self._reader.time() + timeout
        while not self.done:
            gap = self.next_poll_seconds()
            if self._reader.time() + gap > deadline:
                self._ran_out(timeout, gap)
            self._reader.pause(gap)
            self.poll()
            if on_poll is not None:
                on_poll(self)
        if self.error is not None:
            raise self.error
        return self

    def next_poll_seconds(self) -> float:
        """How long to leave it alone: what Azure asked for, within bounds; else a share of its age."""
        if self.polls == 0 and self._unread == 0:
            retry_after = FIRST_SECONDS if self._retry_after is None else self._retry_after
            return min(FIRST_SECONDS, max(retry_after, self._fastest))
        if self._retry_after:
            floor = SHORTEST_SECONDS if self._retry_after >= 1 else self._fastest
            return min(LONGEST_SECONDS, max(floor, self._retry_after))
        age = max(0.0, self._reader.time() - self.started_at)
        return min(USUAL_SECONDS, max(SHORTEST_SECONDS, age / 8))

    def to_dict(self) -> JsonDict:
        """This handle as plain JSON, without hosts or tokens; Operation.from_dict takes it up again."""
        return {
            "kind": handles.KIND,
            "schema": handles.SCHEMA,
            "method": self.method,
            "path": self.path,
            "monitor": handles.monitor_dict(self._monitor),
            "status": self.status,
            "request_id": self.request_id,
            "correlation_id": self.correlation_id,
            "started_at": self.started_at,
            **({"instances": handles.monitor_dict(self._instances)} if self._instances else {}),
        }

    @classmethod
    @conceal_locals
    def from_dict(cls, reader: Reader, stored: Mapping[str, Any]) -> "Operation":
        """The operation that `to_dict` stored, polled through `reader` (an Arm); InvalidInput for anything else."""
        arguments.typed(Reader, reader=reader)
        checked = handles.checked(stored, reader.base)
        operation = cls(reader, **checked)
        if operation.status in (FAILED, CANCELED):
            operation.error = operation._failure(operation.status, {})
        return operation

    def read_by(self, reader: Reader) -> "Operation":
        """This operation, polled through another connection from now on."""
        arguments.typed(Reader, reader=reader)
        self._reader = reader
        return self

    def _read_monitor(self) -> tuple[int, Mapping[str, str], Json]:
        status, headers, body = self._reader.read(self._monitor.path)
        if self._monitor.kind != "instances":
            return status, headers, body
        items, following = wire.page_of(body, self._reader.base)
        pages = 1
        while following is not None and pages < MOST_PAGES:
            more, following = wire.page_of(self._reader.read(following)[2], self._reader.base)
            items, pages = items + more, pages + 1
        state, failed_ids = wire.instances_state(items, self._monitor.ids)
        document: JsonDict = {"status": state}
        if failed_ids:
            text = f"the upgrade left instances {failed_ids} as Failed; why is in their instance views"
            document["error"] = {"code": "InstanceFailed", "message": text, "target": failed_ids}
        return status, headers, document

    def _is_gone(self, error: Exception) -> bool:
        return self.method == "DELETE" and self._monitor.kind == "resource" and isinstance(error, NotFoundError)

    def _state(self, status: int, headers: Mapping[str, str], body: Json) -> str:
        """The state that a response shows; ProtocolError for a response that cannot be one to this question."""
        if self._monitor.kind == "instances":
            return wire.operation_state(body) or RUNNING
        if self._monitor.kind == "status":
            state = wire.operation_state(body)
            if state is None or not wire.is_of(body, self._monitor.path):
                raise ProtocolError(f"the operation's status document is {responses.shape(body)} without its status")
            return state
        if self._monitor.kind == "location" and status == 202:
            self._follow(headers)
            return RUNNING
        if self._monitor.kind == "location" and (self.method not in ("PUT", "PATCH") or body is None):
            responses.check_write("POST", status, body)
            return SUCCEEDED
        if not responses.is_resource(body):
            raise ProtocolError(f"expected the resource, got {responses.shape(body)}")
        state = wire.provisioning_state(body)
        return RUNNING if self.method == "DELETE" and state == SUCCEEDED else state  # it is still there

    def _follow(self, headers: Mapping[str, str]) -> None:
        """Poll where the response says from now on. A link that cannot be followed counts as an unread status."""
        if headers.get("location"):
            path = responses.own_path(headers["location"], self._reader.base)
            self._monitor = Monitor("location", path, path)

    def _result(self, state: str, body: Json) -> tuple[str, Json]:
        """What a call that succeeded made: the state and the resource after PUT or PATCH, the output of an action.

        The document that told of the success is it, unless that was the status of the operation.
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
            raise ProtocolError(f"expected the resource at {path.partition('?')[0]}, got {responses.shape(resource)}")
        resource_state = wire.provisioning_state(resource)
        return SUCCEEDED if resource_state == RUNNING else resource_state, resource

    def _end(self, state: str, body: Json) -> None:
        self.status = state
        if state == SUCCEEDED:
            self._resource = body
        else:
            self.error = self._failure(state, body)

    def _failure(self, state: str, body: Json) -> ArmError:
        document = body if isinstance(body, dict) and "error" in body else {}
        if not document:
            resource_state = wire.provisioning_state(body) if isinstance(body, dict) and "properties" in body else state
            text = f"the operation ended as {state}; the resource's provisioning state is {resource_state}"
            document = {"error": {"code": "", "message": text}}
        context = {"request_id": self.request_id, "correlation_id": self.correlation_id}
        return wire.operation_error(state, document, method=self.method, path=self.path.partition("?")[0], **context)

    def _could_not_read(self, error: TransportError | ArmError) -> str:
        """Count a status that could not be read; when that goes on too long, look at the resource instead."""
        now = self._reader.time()
        self._unread_since = self._unread_since if self._unread else now
        self._unread += 1
        self._retry_after = error.retry_after if isinstance(error, ThrottledError) else None
        if self._unread > MOST_UNREAD or now - self._unread_since > MOST_UNREAD_SECONDS:
            instead = self._instead()
            if instead is not None:
                self._monitor, self._unread = instead, 0
            elif not wire.is_passing(error):
                raise OutcomeUnknown(f"{self!r} may have ended; its state cannot be read: {error}") from None
        return self.status

    def _instead(self) -> Monitor | None:
        """What else tells how the operation does; what is watched there already tells no more."""
        if self._monitor.kind in ("resource", "instances"):
            return None
        return self._instances or (Monitor("resource", self.path) if self.method != "POST" else None)

    def _ran_out(self, timeout: float, gap: float) -> NoReturn:
        request = f"; the server asked to wait another {gap:g} s" if self._retry_after else ""
        raise OperationTimeout(f"{self!r} did not end within {timeout:g} s{request}. It may still be running.", self)
