"""The client: an Arm holds a credential, a cloud and a connection pool, and sends, retries and pages requests.

Threads may share an Arm. It sends requests to one origin only, sends a write again only when the first provably had no
effect, waits only through its clock, and shows no secret in its repr, errors or log.
"""

import dataclasses
import functools
import logging
import os
import random as _random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from . import _lost_responses, clouds
from ._common import arguments, forks, parsing
from ._common.secrecy import Headers, conceal_locals, conceals
from ._http import responses, wire
from ._http.retry import AttemptResult, Retry, decide, throttle_delay
from ._lost_responses import PendingWrite
from ._network_settings import LOOPBACK
from ._version import __version__
from .auth import foreign
from .auth.principal import Principal, authorization
from .auth.tokens import Token
from .clouds import Cloud, NetworkSettings
from .errors import (
    ArmError,
    ConcurrencyError,
    InvalidInput,
    OutcomeUnknown,
    ProtocolError,
    TransportError,
    UnclearResponse,
    short_repr,
)
from .operation import Operation
from .types import Json, OperationState, TokenCredential, TokenInfoCredential

if TYPE_CHECKING:
    from ._http.transport import Response, Timeouts, Transport

log = logging.getLogger(__name__)

USER_AGENT = f"azurerm-lite/{__version__}"
API_VERSION = "2024-07-01"
MOST_PAGES = 1000
MAX_TRACKED_PATHS = 1000  # whose remaining quota is remembered
LONG_SECONDS = 60.0  # a wait from this length on is logged as a warning
DEFAULT_RETRY = Retry()


class Arm:
    """A client for one cloud and one identity. `connect()` makes one from the environment.

    `credential`: a bare token, a Credential, or any object with `get_token`. `auxiliary_tenants`: up to three other
    tenants that hold linked resources; the credential must be able to get a token for each. `ca_file` and
    `strict_certificates` override those of `network`. `adapter`: a requests adapter that replaces the network, such as
    that of an emulator in the same process. `jitter`: returns random numbers in [0, 1) for the waits between attempts.
    `time_scale`: how many times faster than real time the clock of an emulator runs; operations are then polled more
    than once a second. After a fork the child opens its own connections.

    Raises: InvalidInput; CredentialError for a bare token that is not printable.
    """

    @conceals
    def __init__(
        self,
        credential: TokenCredential | TokenInfoCredential | str,
        *,
        cloud: Cloud = clouds.PUBLIC,
        api_version: str = API_VERSION,
        network: NetworkSettings = clouds.DIRECT,
        ca_file: str | None = None,
        strict_certificates: bool = True,
        auxiliary_tenants: Sequence[str] = (),
        retry: Retry = DEFAULT_RETRY,
        timeouts: "Timeouts | None" = None,
        adapter: Any = None,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = _random.random,
        correlation_id: str | None = None,
        time_scale: float = 1.0,
    ) -> None:
        if not isinstance(cloud, Cloud) or not isinstance(network, NetworkSettings):
            raise InvalidInput("cloud must be a Cloud and network a NetworkSettings, both from azurerm_lite.clouds")
        self.cloud = clouds.custom_cloud(cloud.resource_manager, cloud.authority, cloud.scope, name=cloud.name)
        self.base, self.api_version = self.cloud.resource_manager, wire.api_version(api_version)
        self.credential = foreign.as_credential(credential, now=now)
        self._principal = Principal(self.credential, self.cloud.scope, auxiliary_tenants)
        run_id = str(uuid.uuid4()) if correlation_id is None else correlation_id
        self.correlation_id = wire.header_value(run_id, "correlation_id")
        self.time_scale = parsing.finite_number(time_scale, InvalidInput, "time_scale", least=1e-3, most=1e9)
        if self.time_scale != 1.0 and not self.is_emulator:
            raise InvalidInput(f"time_scale is for an emulator on this machine, not for {self.base}")
        strict = arguments.switch(strict_certificates, "strict_certificates") and network.strict
        arguments.typed(str | None, ca_file=ca_file)
        arguments.typed(Callable, sleep=sleep, now=now, monotonic=monotonic, jitter=jitter)
        arguments.typed(Retry, retry=retry)
        arguments.whole_number(retry.attempts, "retry.attempts", 1, 1_000_000, "a whole number")
        for seconds in retry[1:]:
            arguments.seconds(seconds, "each number of seconds of retry", 1e12)
        self._network = dataclasses.replace(network, ca_file=ca_file or network.ca_file, strict=strict)
        self._retry, self._timeouts, self._adapter = retry, timeouts, adapter
        self._sleep, self._now, self._monotonic, self._jitter = sleep, now, monotonic, jitter
        self._open_transport: Transport | None = None
        self.remaining: dict[str, int] = {}
        # The id of the emulator that sent the last response; "" for Azure, None before the first response.
        self.world: str | None = None
        self.requests = 0  # the number of requests sent, retries included
        self._remaining_by_path: dict[tuple[str, str], tuple[dict[str, int], float]] = {}
        self._sends_once = False

    def without_retries(self) -> "Arm":
        """An Arm with the same connections that sends each request once: no retry, no wait, no recovery.

        A write whose response is lost raises OutcomeUnknown at once.
        """
        self._transport()
        twin = object.__new__(Arm)
        twin.__dict__.update(self.__dict__)
        twin._retry, twin._sends_once = self._retry._replace(attempts=1), True
        return twin

    def __repr__(self) -> str:
        emulator = " EMULATOR" if self.is_emulator else ""
        return f"<Arm{emulator} {self.cloud.name} {self.base} by {self.credential.kind}>"

    def _repr_html_(self) -> str:
        from ._common.markup import card  # noqa: PLC0415

        rows = [("endpoint", self.base), ("identity", self.credential.kind), ("api-version", self.api_version)]
        remaining = [f"{name} {count}" for name, count in sorted(self.remaining.items())]
        rows += [("requests left", ", ".join(remaining))] if remaining else []
        return card(f"Arm: {self.cloud.name}{', EMULATOR' if self.is_emulator else ''}", rows)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Arm holds a credential and cannot be pickled or copied: make a new one where it is needed")

    def __enter__(self) -> "Arm":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_emulator(self) -> bool:
        """Whether the address is on this machine, so that an emulator answers and not Azure."""
        return urlsplit(self.base).hostname in LOOPBACK

    @property
    def lock_scope(self) -> str:
        """The address as part of a lock's name; an emulator inside this process has a scope of its own."""
        return self.base if self._adapter is None else f"{self.base} {os.getpid()} {id(self._adapter)}"

    def close(self) -> None:
        """Close the pooled connections; another request would open new ones."""
        if self._open_transport is not None:
            self._open_transport.close()

    # --- for the endpoint functions ----------------------------------------------------------------------------------

    def get(self, path: str, *, api_version: str | None = None, **query: str | None) -> Any:
        """GET the JSON object at a path. Raises: ProtocolError for other content, ArmError, TransportError."""
        response = self._send("GET", self._target(path, api_version, query))
        return responses.check_object(wire.decode_json(response.body, response.headers), f"an object at {path}")

    def get_list(self, path: str, *, api_version: str | None = None, **query: str | None) -> list[Any]:
        """GET a bare JSON list without pages, such as the versions of a platform image."""
        response = self._send("GET", self._target(path, api_version, query))
        return responses.check_objects(
            wire.decode_json(response.body, response.headers), f"a list of objects at {path}"
        )

    def _pages(self, path: str, target: str | None) -> Iterator[list[Any]]:
        """Yield the items page by page, with one request each; a link to an earlier page is a ProtocolError."""
        targets: set[str] = set()
        while target is not None:
            if target in targets or len(targets) >= MOST_PAGES:
                raise ProtocolError(f"the list at {path} does not end: {len(targets)} pages, then one already seen")
            targets.add(target)
            items, target = wire.parse_page(self.read(target)[2], self.base)
            yield items
            del items  # so that one page at a time is in memory

    def items(self, path: str, *, api_version: str | None = None, **query: str | None) -> Iterator[Any]:
        """Iterate over the items of a list; the next page is requested when the previous one is used up."""
        return chain.from_iterable(self._pages(path, self._target(path, api_version, query)))

    def list(self, path: str, *, api_version: str | None = None, **query: str | None) -> list[Any]:
        """GET all items of a list, over all its pages."""
        return list(self.items(path, api_version=api_version, **query))

    @conceal_locals
    def start(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        api_version: str | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        by_instances: tuple[str, tuple[str, ...]] | None = None,
        **query: Any,
    ) -> Operation:
        """Send a write that Azure may run as a long operation, and return its Operation.

        When the response to a PUT or PATCH is lost, the resource is read to find out whether the write happened. An
        upgrade is looked for in its instances: `by_instances` is the path of their list and their ids.
        """
        target = self._target(path, api_version, query)
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        chosen = {name: wire.header_value(value, name) for name, value in headers.items() if value is not None}
        data = None if body is None else wire.encode_json(arguments.json_object(body, "body"))
        instances = None
        if by_instances is not None:
            instances = wire.Monitor("instances", self._target(by_instances[0], api_version, {}), "", by_instances[1])
        write = PendingWrite(method, target, body, data, chosen, instances)
        if self._sends_once:
            return self.send(write)
        try:
            return self.send(write)
        except OutcomeUnknown as unknown:
            if unknown.status == 202 and method not in ("PUT", "PATCH"):
                raise  # Azure has accepted it: it must not be sent again
            return _lost_responses.recover(self, write, unknown)
        except ConcurrencyError as error:
            current = _lost_responses.read_resource(self, write)
            raise _lost_responses.add_etags(error, write, current) from None

    @conceal_locals
    def send(self, write: PendingWrite) -> Operation:
        """Send a write without recovery. Raises: OutcomeUnknown when its response is lost or is not an ARM response."""
        response = self._send(write.method, write.target, write.data, write.headers)
        try:
            return self._operation(write, response)
        except ProtocolError as error:
            raise _unclear(str(write), response, error) from None

    @conceal_locals
    def act(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        api_version: str | None = None,
        wants_object: bool = False,
        **query: Any,
    ) -> Any:
        """Send an action that Azure completes at once, and return the JSON object of the response, or None.

        `wants_object`: a response without an object is an error.
        Raises: OutcomeUnknown when the response is lost or is not an ARM response.
        """
        data = None if body is None else wire.encode_json(arguments.json_object(body, "body"))
        response = self._send(method, self._target(path, api_version, query), data)
        try:
            value = wire.decode_json(response.body, response.headers)
            if wants_object or value is not None:
                responses.check_object(value, f"an object of {method} {path}")
        except ProtocolError as error:
            raise _unclear(f"{method} {path}", response, error) from None
        return value

    # --- for Operation -----------------------------------------------------------------------------------------------

    def read(self, path: str) -> tuple[int, Mapping[str, str], Json]:
        """GET a path that has its api-version: the status, headers and JSON of the response."""
        arguments.typed(str, path=path)
        response = self._send("GET", path)
        return response.status, response.headers, wire.decode_json(response.body, response.headers)

    def pause(self, seconds: float) -> None:
        self._sleep(seconds)

    def time(self) -> float:
        return self._now()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _target(self, path: str, api_version: str | None, query: Mapping[str, str | None]) -> str:
        arguments.typed(str, path=path)
        version = self.api_version if api_version is None else wire.api_version(api_version)
        extra = [f"&{name}={wire.query_value(value, name)}" for name, value in query.items() if value is not None]
        return f"{path}?api-version={version}{''.join(extra)}"

    def _send(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> "Response":
        """The response to a call, after retries. Raises: ArmError, TransportError."""
        arguments.word(method, "method", ("GET", "PUT", "PATCH", "POST", "DELETE"))
        if not target.startswith("/"):
            raise InvalidInput(f"path must be a text that begins with /, not {short_repr(target)}")
        attempt, waited, tokens, refreshed = 0, 0.0, self._principal.tokens(self._sleep), False
        ids: list[str] = []
        self._wait_for_quota(method, target)
        while True:
            attempt += 1
            response, failure = self._attempt(method, target, tokens, body, headers, ids)
            if response is not None and 200 <= response.status < 300:
                return response
            error = failure or self._error(method, target, response)
            result = _attempt_result(error)
            jitter = self._jitter()
            decision = decide(
                self._retry, method, result, attempt=attempt, waited=waited, refreshed=refreshed, jitter=jitter
            )
            if decision.action == "refresh" and response is not None and self.credential.renewable:
                claims = wire.claims_challenge(response.headers)
                tokens, refreshed = self._principal.renew(tokens, claims, self._sleep), True
                continue
            if decision.action == "again":
                seconds = decision.wait_seconds
                level = logging.WARNING if seconds >= LONG_SECONDS else logging.INFO
                log.log(level, "%s %s: %s; again in %.1f s", method, _without_query(target), _short(error), seconds)
                self._sleep(seconds)
                waited += seconds
                tokens = self._principal.tokens(self._sleep)
                continue
            if decision.action == "unknown":
                kind = UnclearResponse if isinstance(error, ProtocolError) else OutcomeUnknown
                error = kind(f"{method} {_without_query(target)} may have happened: {error}", status=result.status)
            error.request_ids = tuple(ids)
            # The frames below this one hold the request and its token.
            raise error.with_traceback(None)

    def _wait_for_quota(self, method: str, target: str) -> None:
        """Wait when the last response from this path said that the quota is nearly used up."""
        if self._sends_once:
            return
        remaining, at = self._remaining_by_path.get((method, _without_query(target)), ({}, 0.0))
        seconds = throttle_delay(method, remaining, self._now() - at)
        if seconds:
            log.info("%s %s: nearly throttled (%s); waiting %.1f s", method, _without_query(target), remaining, seconds)
            self._sleep(seconds)

    def _attempt(
        self,
        method: str,
        target: str,
        tokens: Sequence[Token],
        body: bytes | None,
        headers: Mapping[str, str] | None,
        ids: MutableSequence[str],
    ) -> tuple["Response | None", TransportError | None]:
        """Send a request once: its response, or the error instead of one. Appends the request id to `ids`."""
        request_id, path = str(uuid.uuid4()), _without_query(target)
        sent = Headers(
            {
                **authorization(tokens),
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": USER_AGENT,
                "x-ms-client-request-id": request_id,
                "x-ms-correlation-request-id": self.correlation_id,
            }
        )
        if body is not None:
            sent.update({"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))})
        elif method != "GET":
            sent["Content-Length"] = "0"
        sent.update(headers or {})
        started = self._monotonic()
        self.requests += 1
        try:
            response = self._transport().send(method, target, sent, body)
        except TransportError as error:
            log.info("%s %s: %s (client request id %s)", method, path, error, request_id)
            ids.append(request_id)
            return None, error
        except BaseException:
            sent.clear()  # the traceback keeps the frames that hold these headers
            raise
        azure_id = response.headers.get("x-ms-request-id")
        ids.append(azure_id or request_id)
        if response.status < 300:
            self.world = response.headers.get("x-emulator-world", "")
        if method == "GET" and response.status < 300 and responses.is_truncated(response.headers, response.body):
            return None, TransportError(f"GET {path}: the connection ended in the middle of the answer")
        self._remember_quota(method, path, response.headers)
        if log.isEnabledFor(logging.INFO):
            spent = 1000 * (self._monotonic() - started)
            log.info("%s %s: %d in %.0f ms, request id %s", method, path, response.status, spent, azure_id)
        return response, None

    def _remember_quota(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        if "x-ms-ratelimit-remaining-resource" in headers:
            remaining = wire.remaining_requests(headers)
            self.remaining |= remaining
            if len(self._remaining_by_path) > MAX_TRACKED_PATHS:
                self._remaining_by_path.clear()
            self._remaining_by_path[method, path] = remaining, self._now()

    def _error(self, method: str, target: str, response: "Response | None") -> ArmError:
        assert response is not None  # noqa: S101  (without a response there is a TransportError)
        path = _without_query(target)
        return wire.decode_error(response.status, response.headers, response.body, method=method, path=path)

    def _transport(self) -> "Transport":
        if self._open_transport is None:
            with forks.importing:
                from ._http import transport  # noqa: PLC0415  (imports requests)

                if self._open_transport is None:
                    limits = self._timeouts or transport.DEFAULT_TIMEOUTS
                    self._open_transport = transport.Transport(
                        self.base, self._network, timeouts=limits, adapter=self._adapter
                    )
        return self._open_transport

    def _operation(self, write: PendingWrite, response: "Response") -> Operation:
        """The Operation of a write from its 2xx response. Raises: ProtocolError for one that ARM would not send."""
        method, status = write.method, response.status
        accepted = status == 202 and method not in ("PUT", "PATCH")
        body = None if accepted else wire.decode_json(response.body, response.headers)
        responses.check_write(method, status, body, has_status=bool(response.headers.get("azure-asyncoperation")))
        monitor = _lost_responses.monitor(write, status, response.headers, body, self.base)
        state: OperationState = wire.RUNNING
        if monitor.kind == "none":
            state = wire.provisioning_state(body) if method in ("PUT", "PATCH") else wire.SUCCEEDED
        request_id = response.headers.get("x-ms-request-id")
        if state in (wire.FAILED, wire.CANCELED):
            path = _without_query(write.target)
            raise wire.operation_error(state, body, method=method, path=path, request_id=request_id)
        return Operation(
            self,
            method,
            write.target,
            monitor,
            status=state,
            resource=body or None,
            request_id=request_id,
            correlation_id=response.headers.get("x-ms-correlation-request-id"),
            retry_after=wire.retry_after(response.headers),
            instances=write.instances,
        )


# The type of the first argument of every endpoint function.
Auth = Arm | TokenCredential | TokenInfoCredential | str


def _attempt_result(error: TransportError | ArmError) -> AttemptResult:
    if isinstance(error, ArmError):
        return AttemptResult(error.status, retry_after=error.retry_after)
    return AttemptResult(sent=error.sent, permanent=not error.is_transient)


def _unclear(write: str, response: "Response", error: ProtocolError) -> UnclearResponse:
    text = f"{write} was answered {response.status}, so it may have happened, but: {error}"
    unclear = UnclearResponse(text, status=response.status)
    unclear.request_ids = tuple(filter(None, [response.headers.get("x-ms-request-id")]))
    return unclear


def _without_query(target: str) -> str:
    return target.partition("?")[0]


def _short(error: Exception) -> str:
    return f"{error.status} {error.code}" if isinstance(error, ArmError) else str(error)


@conceals
def arm_of(auth: Auth) -> Arm:
    """The Arm for an `auth` argument: the Arm itself, or a new one for the cloud that the environment names."""
    if isinstance(auth, Arm):
        return auth
    if auth is None:
        raise InvalidInput("auth is None; azurerm_lite.connect() finds a credential by itself")
    network = clouds.network_from_environment(os.environ)
    cloud = clouds.cloud_from_environment(os.environ)
    arm = Arm(auth, cloud=cloud, network=network, time_scale=clouds.time_scale_from_environment(os.environ, cloud))
    arm._open_transport = _shared_transport(arm.base, arm._network)
    return arm


@functools.lru_cache(maxsize=8)
def _shared_transport(base: str, network: NetworkSettings) -> "Transport":
    """The connection pool of calls whose `auth` is no Arm; they share it."""
    with forks.importing:
        from ._http.transport import Transport  # noqa: PLC0415  (imports requests)

    return Transport(base, network)
