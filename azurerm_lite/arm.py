"""Arm: one connection to Azure Resource Manager. Credential, cloud and connection pool; send, retry, page.

An Arm can be shared between threads. It follows only its own origin, never repeats a write blindly, waits only through
the `sleep` that it was given, and shows nothing secret in its repr, its errors or its log.
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

from . import _lost_answers, clouds
from ._common import arguments, forks, parsing
from ._common.secrecy import Headers, conceal_locals, conceals
from ._http import responses, wire
from ._http.retry import Outcome, Retry, breather, decide
from ._lost_answers import Write
from ._reach import LOOPBACK
from ._version import __version__
from .auth import foreign
from .auth.principal import Principal, authorization
from .auth.tokens import Token
from .clouds import Cloud, Reach
from .errors import (
    ArmError,
    BusyError,
    ConcurrencyError,
    InvalidInput,
    OutcomeUnknown,
    ProtocolError,
    TransportError,
    UnclearResponse,
    short_repr,
)
from .operation import Operation
from .types import Json, TokenCredential, TokenInfoCredential

if TYPE_CHECKING:
    from ._http.transport import Answer, Timeouts, Transport

log = logging.getLogger(__name__)

USER_AGENT = f"azurerm-lite/{__version__}"
API_VERSION = "2024-07-01"
MOST_PAGES = 1000
MOST_BUCKETS = 1000  # kinds of requests whose limits are remembered
LONG_SECONDS = 60.0  # a wait that somebody who looks on should know of
DEFAULT_RETRY = Retry()


class Arm:
    """A connection to one cloud, as one identity. `connect()` makes one from what the environment has.

    `credential`: a bare token, anything with get_token, or one of ours. Time, chance and waiting come in as arguments,
    and `adapter` replaces the network (an emulator in the same process). `auxiliary_tenants`: up to three other tenants
    that linked resources are in; `credential` must have tokens of each. `time_scale` is for an emulator whose clock
    runs so many times as fast: its operations may be polled more often than once a second. Azure may not ask for that.
    A forked child opens connections of its own.
    """

    @conceals
    def __init__(
        self,
        credential: TokenCredential | TokenInfoCredential | str,
        *,
        cloud: Cloud = clouds.PUBLIC,
        api_version: str = API_VERSION,
        reach: Reach = clouds.DIRECT,
        ca_file: str | None = None,
        strict_certificates: bool = True,
        auxiliary_tenants: Sequence[str] = (),
        retry: Retry = DEFAULT_RETRY,
        timeouts: "Timeouts | None" = None,
        adapter: Any = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = _random.random,
        correlation_id: str | None = None,
        time_scale: float = 1.0,
    ) -> None:
        if not isinstance(cloud, Cloud) or not isinstance(reach, Reach):
            raise InvalidInput("cloud must be a Cloud and reach a Reach, as azurerm_lite.clouds makes them")
        self.cloud = clouds.custom_cloud(cloud.resource_manager, cloud.authority, cloud.scope, name=cloud.name)
        self.base, self.api_version = self.cloud.resource_manager, wire.api_version(api_version)
        self.credential = foreign.as_credential(credential, now=now)
        self._principal = Principal(self.credential, self.cloud.scope, auxiliary_tenants)
        run_id = str(uuid.uuid4()) if correlation_id is None else correlation_id
        self.correlation_id = wire.header_value(run_id, "correlation_id")
        self.time_scale = parsing.finite_number(time_scale, InvalidInput, "time_scale", least=1e-3, most=1e9)
        if self.time_scale != 1.0 and not self.is_emulator:
            raise InvalidInput(f"time_scale is for an emulator on this machine, not for {self.base}")
        strict = arguments.switch(strict_certificates, "strict_certificates") and reach.strict
        arguments.typed(str | None, ca_file=ca_file)
        arguments.typed(Callable, sleep=sleep, now=now, monotonic=monotonic, chance=chance)
        arguments.typed(Retry, retry=retry)
        arguments.whole_number(retry.attempts, "retry.attempts", 1, 1_000_000, "a whole number")
        for seconds in retry[1:]:
            arguments.seconds(seconds, "each number of seconds of retry", 1e12)
        self._reach = dataclasses.replace(reach, ca_file=ca_file or reach.ca_file, strict=strict)
        self._retry, self._timeouts, self._adapter = retry, timeouts, adapter
        self._sleep, self._now, self._monotonic, self._chance = sleep, now, monotonic, chance
        self._transport_made: Transport | None = None
        self.remaining: dict[str, int] = {}
        self.world: str | None = None  # the id of the emulator that answered last, "" for Azure, None before any answer
        self.requests = 0  # how many were sent, those that were sent again included
        self._remaining_by_path: dict[tuple[str, str], tuple[dict[str, int], float]] = {}
        self._once = False

    def once(self) -> "Arm":
        """This connection for requests that are sent once: nothing is waited for, sent again or looked for.

        What came of a request, or that nobody knows, is the caller's to act on.
        """
        self._transport()
        twin = object.__new__(Arm)
        twin.__dict__.update(self.__dict__)
        twin._retry, twin._once = self._retry._replace(attempts=1), True
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
        """Whether this leads to the machine itself, so to an emulator and not to Azure."""
        return urlsplit(self.base).hostname in LOOPBACK

    @property
    def place(self) -> str:
        """Where this leads, for locks on this machine: an emulator inside a process is a place of its own."""
        return self.base if self._adapter is None else f"{self.base} {os.getpid()} {id(self._adapter)}"

    def close(self) -> None:
        """Close the pooled connections; the next request would open new ones."""
        if self._transport_made is not None:
            self._transport_made.close()

    # --- what the endpoint functions call ----------------------------------------------------------------------------

    def get(self, path: str, *, api_version: str | None = None, **query: str | None) -> Any:
        """The JSON object at a path; ProtocolError when something else is there."""
        response = self._send("GET", self._target(path, api_version, query))
        return responses.check_object(wire.decode_json(response.body, response.headers), f"an object at {path}")

    def get_list(self, path: str, *, api_version: str | None = None, **query: str | None) -> list[Any]:
        """The JSON objects at a path that answers with a bare list, without pages: versions of platform images."""
        response = self._send("GET", self._target(path, api_version, query))
        return responses.objects(wire.decode_json(response.body, response.headers), f"a list of objects at {path}")

    def _pages(self, path: str, target: str | None) -> Iterator[list[Any]]:
        """One request for each page; a link that comes back to a page already seen is an error."""
        targets: set[str] = set()
        while target is not None:
            if target in targets or len(targets) >= MOST_PAGES:
                raise ProtocolError(f"the list at {path} does not end: {len(targets)} pages, then one already seen")
            targets.add(target)
            items, target = wire.page_of(self.read(target)[2], self.base)
            yield items
            del items  # so that two pages are never held at once

    def items(self, path: str, *, api_version: str | None = None, **query: str | None) -> Iterator[Any]:
        """The items of a list, page by page; the next page is asked for when the one before is used up."""
        return chain.from_iterable(self._pages(path, self._target(path, api_version, query)))

    def list(self, path: str, *, api_version: str | None = None, **query: str | None) -> list[Any]:
        """All items of a list, over all its pages."""
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
        """Send what Azure may run long; an Operation, done already when Azure was quick.

        When the answer to a PUT or PATCH is lost, the resource itself says whether it happened; `by_instances` (path
        of their list, ids) lets the instances say it for an upgrade.
        """
        target = self._target(path, api_version, query)
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        chosen = {name: wire.header_value(value, name) for name, value in headers.items() if value is not None}
        data = None if body is None else wire.encode_json(arguments.json_object(body, "body"))
        instances = None
        if by_instances is not None:
            instances = wire.Monitor("instances", self._target(by_instances[0], api_version, {}), "", by_instances[1])
        write = Write(method, target, body, data, chosen, instances)
        if self._once:
            return self.send(write)
        try:
            return self.send(write)
        except OutcomeUnknown as unknown:
            if unknown.status == 202 and method not in ("PUT", "PATCH"):
                raise  # Azure has accepted it, so there is nothing to look for before it could be sent again
            return _lost_answers.settle(self, write, unknown)
        except ConcurrencyError as error:
            raise _lost_answers.refused(self, write, error) from None

    @conceal_locals
    def send(self, write: Write) -> Operation:
        """A write, sent once; OutcomeUnknown when its response is lost, or is not as ARM's."""
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
        """Send what Azure does at once; the JSON object that it answers, if any. `wants_object`: there has to be one.

        OutcomeUnknown when the response is lost, or is not as ARM's.
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

    # --- what an Operation needs -------------------------------------------------------------------------------------

    def read(self, path: str) -> tuple[int, Mapping[str, str], Json]:
        """Status, headers and JSON at a path that carries its own api-version."""
        arguments.typed(str, path=path)
        answer = self._send("GET", path)
        return answer.status, answer.headers, wire.decode_json(answer.body, answer.headers)

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
    ) -> "Answer":
        """The answer to one call, over as many attempts as the rules allow; ArmError or TransportError otherwise."""
        arguments.word(method, "method", ("GET", "PUT", "PATCH", "POST", "DELETE"))
        if not target.startswith("/"):
            raise InvalidInput(f"path must be a text that begins with /, not {short_repr(target)}")
        attempt, waited, tokens, refreshed = 0, 0.0, self._principal.tokens(self._sleep), False
        ids: list[str] = []
        self._breathe(method, target)
        while True:
            attempt += 1
            answer, failure = self._attempt(method, target, tokens, body, headers, ids)
            if failure is None and answer is not None and 200 <= answer.status < 300:
                return answer
            error = failure or self._error(method, target, answer)
            outcome = _outcome(error)
            chance = self._chance()
            decision = decide(
                self._retry, method, outcome, attempt=attempt, waited=waited, refreshed=refreshed, chance=chance
            )
            if decision.action == "refresh" and answer is not None and self.credential.lasting:
                claims = wire.claims_challenge(answer.headers)
                tokens, refreshed = self._principal.renewed(tokens, claims, self._sleep), True
                continue
            if decision.action == "again":
                level = logging.WARNING if decision.wait_seconds >= LONG_SECONDS else logging.INFO
                log.log(
                    level,
                    "%s %s: %s; again in %.1f s",
                    method,
                    _without_query(target),
                    _short(error),
                    decision.wait_seconds,
                )
                self._sleep(decision.wait_seconds)
                waited += decision.wait_seconds
                tokens = self._principal.tokens(self._sleep)
                continue
            if decision.action == "unknown":
                kind = UnclearResponse if isinstance(error, ProtocolError) else OutcomeUnknown
                error = kind(f"{method} {_without_query(target)} may have happened: {error}", status=outcome.status)
            error.request_ids = tuple(ids)
            # Without the frames below this one, which hold the request and its token.
            raise error.with_traceback(None)

    def _breathe(self, method: str, target: str) -> None:
        """Wait a little when the last answer to such a request said that its bucket is nearly empty."""
        if self._once:
            return
        remaining, at = self._remaining_by_path.get((method, _without_query(target)), ({}, 0.0))
        seconds = breather(method, remaining, self._now() - at)
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
    ) -> tuple["Answer | None", TransportError | None]:
        request_id = str(uuid.uuid4())
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
            answer = self._transport().send(method, target, sent, body)
        except TransportError as error:
            log.info("%s %s: %s (client request id %s)", method, _without_query(target), error, request_id)
            ids.append(request_id)
            return None, error
        except BaseException:
            sent.clear()  # the frames that hold it stay in the traceback
            raise
        ids.append(answer.headers.get("x-ms-request-id") or request_id)
        if answer.status < 300:
            self.world = answer.headers.get("x-emulator-world", "")
        if method == "GET" and answer.status < 300 and responses.is_cut(answer.headers, answer.body):
            return None, TransportError(
                f"GET {_without_query(target)}: the connection ended in the middle of the answer"
            )
        if "x-ms-ratelimit-remaining-resource" in answer.headers:
            remaining = wire.remaining_requests(answer.headers)
            self.remaining |= remaining
            if len(self._remaining_by_path) > MOST_BUCKETS:
                self._remaining_by_path.clear()
            self._remaining_by_path[method, _without_query(target)] = remaining, self._now()
        if log.isEnabledFor(logging.INFO):
            spent = 1000 * (self._monotonic() - started)
            azure_id = answer.headers.get("x-ms-request-id")
            log.info(
                "%s %s: %d in %.0f ms, request id %s", method, _without_query(target), answer.status, spent, azure_id
            )
        return answer, None

    def _error(self, method: str, target: str, answer: "Answer | None") -> ArmError:
        assert answer is not None  # noqa: S101  (no answer means a TransportError, which is not asked about here)
        return wire.decode_error(answer.status, answer.headers, answer.body, method=method, path=_without_query(target))

    def _transport(self) -> "Transport":
        if self._transport_made is None:
            with forks.importing:
                from ._http import transport  # noqa: PLC0415  (imports requests)

                if self._transport_made is None:
                    limits = self._timeouts or transport.DEFAULT_TIMEOUTS
                    self._transport_made = transport.Transport(
                        self.base, self._reach, timeouts=limits, adapter=self._adapter
                    )
        return self._transport_made

    def _operation(self, write: Write, response: "Answer") -> Operation:
        """The Operation of a write that was answered with success; ProtocolError for what ARM would not answer."""
        method, status = write.method, response.status
        accepted = status == 202 and method not in ("PUT", "PATCH")
        body = None if accepted else wire.decode_json(response.body, response.headers)
        responses.check_write(method, status, body, has_status=bool(response.headers.get("azure-asyncoperation")))
        how = _lost_answers.monitor(write, status, response.headers, body, self.base)
        state = wire.RUNNING
        if how.kind == "none":
            state = wire.provisioning_state(body) if method in ("PUT", "PATCH") else wire.SUCCEEDED
        request_id = response.headers.get("x-ms-request-id")
        if state in (wire.FAILED, wire.CANCELED):
            raise wire.operation_error(
                state, body, method=method, path=_without_query(write.target), request_id=request_id
            )
        return Operation(
            self,
            method,
            write.target,
            how,
            status=state,
            resource=body or None,
            request_id=request_id,
            correlation_id=response.headers.get("x-ms-correlation-request-id"),
            retry_after=wire.retry_after(response.headers),
            instances=write.instances,
        )


# What may stand as the first argument of every endpoint function.
Auth = Arm | TokenCredential | TokenInfoCredential | str


def _outcome(error: TransportError | ArmError) -> Outcome:
    if isinstance(error, ArmError):
        return Outcome(error.status, retry_after=error.retry_after, busy=isinstance(error, BusyError))
    return Outcome(sent=error.sent, foreign=not error.is_transient)


def _unclear(write: str, response: "Answer", error: ProtocolError) -> UnclearResponse:
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
    """What may stand as `auth`, as an Arm: an Arm itself, else one for the cloud that the environment names."""
    if isinstance(auth, Arm):
        return auth
    if auth is None:
        raise InvalidInput("auth is None; azurerm_lite.connect() finds a credential by itself")
    reach = clouds.reach_from_environment(os.environ)
    cloud = clouds.cloud_from_environment(os.environ)
    arm = Arm(auth, cloud=cloud, reach=reach, time_scale=clouds.time_scale_from_environment(os.environ, cloud))
    arm._transport_made = _shared_transport(arm.base, arm._reach)
    return arm


@functools.lru_cache(maxsize=8)
def _shared_transport(base: str, reach: Reach) -> "Transport":
    """One pool for all calls that come with a bare token or a foreign credential instead of an Arm."""
    with forks.importing:
        from ._http.transport import Transport  # noqa: PLC0415  (imports requests)

    return Transport(base, reach)
