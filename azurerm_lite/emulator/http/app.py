"""The emulator as one WSGI application: it parses requests, finds their handler, and writes responses.

Between them is what ARM does for every resource: case-blind routing, api-version, bearer token, roles, subscription
and resource group, headers. The handlers are in `api`.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from ..api import routes as api_routes
from ..api.throttle import Throttle, quota_of
from ..faults import Fault, fault_response, redirect_links
from ..messages import FAULT_HEADER, ErrorResponse, Json, Request, Response
from ..recorder import Entry, Recorder, redact, redact_headers, redact_login
from ..simulation.compose import Simulation
from ..simulation.identity import Principal

LARGEST_BODY = 4 * 1024 * 1024
HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SERVER = "azurerm-lite-emulator"
_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized"}
_REASONS |= {403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 412: "Precondition Failed"}
_REASONS |= {413: "Payload Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests"}

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


@functools.cache
def _maps() -> tuple[Map, Map]:
    """The routes of logins and of ARM, compiled once for all applications of a process."""
    logins = Map([Rule(path, methods=[method], endpoint=handler) for method, path, handler in api_routes.LOGIN])
    rules = [Rule(_lower_rule(path), methods=[m], endpoint=(h, action)) for m, path, h, action in api_routes.ARM]
    return logins, Map(rules, strict_slashes=False, merge_slashes=False)


class ConnectionDrop(Exception):
    """The connection breaks here, without a response."""


class ArmApp:
    """ARM and Entra of one simulation. Every request holds the lock, and runs the due events first.

    `is_compact`: write bodies without the provider's line breaks, in a tenth of the time, for rehearsals.
    """

    def __init__(self, simulation: Simulation, *, hosts: Iterable[str] = HOSTS) -> None:
        self.simulation, self.recorder, self._hosts = simulation, Recorder(), frozenset(hosts)
        self.throttle = Throttle(simulation.events)
        self.is_compact = False
        self._logins, self._routes = _maps()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request, error = _parse_request(environ)
        with self.simulation.lock:
            self.simulation.events.run_due_events()
            rule = self.simulation.faults.for_request(request.method, request.path)
        if rule is not None and rule.delay:
            self.simulation.events.clock.sleep(rule.delay)
        if rule is not None and rule.drop == "before":
            raise ConnectionDrop
        with self.simulation.lock:
            self.simulation.events.run_due_events()
            self._change_caller(rule, request)
            response = error.response if error else self._respond(request, rule)
            body = rule.garbage.encode() if rule is not None and rule.garbage else self._write_body(response)
            headers = self._headers(request, response, body)
            if rule is not None:
                headers[FAULT_HEADER] = "asked for"
            self._record(request, response, headers)
        if rule is not None and rule.drop == "after":
            raise ConnectionDrop
        start_response(f"{response.status} {_REASONS.get(response.status, 'Status')}", list(headers.items()))
        return [body] if rule is None or rule.truncate < 0 else _truncate(body, rule.truncate)

    def reset(self) -> None:
        """Drop all entries of the recorder, and fill the buckets of the limits; they refuse nothing any more."""
        self.recorder.clear()
        self.throttle = Throttle(self.simulation.events)

    def _write_body(self, response: Response) -> bytes:
        return write_body(response, is_compact=self.is_compact)

    def _change_caller(self, rule: Fault | None, request: Request) -> None:
        """Change the rights of the caller, or expire its tokens, as a fault says."""
        if rule is None or not (rule.role is not None or rule.expire):
            return
        principal = self.simulation.identity.principal_of(request.headers.get("authorization", ""))
        if rule.role is not None:
            principal.role = rule.role
        if rule.expire:
            self.simulation.identity.expire_tokens(principal.client_id)

    def _respond(self, request: Request, rule: Fault | None) -> Response:
        """The response to a request, changed as the fault says."""
        if rule is None:
            return self._real_response(request)
        if rule.status >= 400 and not rule.drop and not rule.late:
            return fault_response(rule, self.simulation.events.now)  # before the request has an effect
        response = self._real_response(request)
        if rule.link:
            redirect_links(response, request.base_url, rule.link)
        if rule.status:
            return fault_response(rule, self.simulation.events.now)
        response.headers = {name: value for name, value in (response.headers | rule.headers).items() if value}
        return response

    def _real_response(self, request: Request) -> Response:
        try:
            host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
            if host.lower() not in self._hosts:
                raise ErrorResponse(403, "Forbidden", "This emulator answers to localhost only.", gateway=True)
            return self._login(request) if _is_login(request.path) else self._arm(request)
        except ErrorResponse as error:
            return error.response

    def _login(self, request: Request) -> Response:
        managed = api_routes.MANAGED_IDENTITY.get(request.path.rstrip("/"))
        if managed is not None and request.method == "GET":
            return managed(self.simulation, request)
        handler, parts = _match(self._logins, request.method, request.path)
        response: Response = handler(self.simulation, request, **parts)
        return response

    def _arm(self, request: Request) -> Response:
        metadata = api_routes.METADATA.get(request.path.lower().rstrip("/"))
        if metadata is not None:
            return metadata(self.simulation, request)
        principal = self.simulation.identity.principal_of(request.headers.get("authorization", ""))
        if not request.api_version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            raise ErrorResponse(400, "MissingApiVersionParameter", text, gateway=True)
        (handler, action), parts = _match(self._routes, request.method, _lower_path(request.path))
        parts = _as_written(parts, request.path)
        self.simulation.identity.check_tenants(request, principal)
        self._check_scope(parts)
        self._check_role(principal, action, request.path)
        return self._within_limits(handler, request, parts)

    def _within_limits(self, handler: Any, request: Request, parts: Mapping[str, str]) -> Response:
        """The response of the handler, counted in the provider's buckets; the errors of ARM itself cost nothing."""
        quota = quota_of(request)
        if quota is not None and (too_many := self.throttle.take(quota)) is not None:
            return too_many
        response: Response
        try:
            response = handler(self.simulation, request, **parts)
        except ErrorResponse as error:
            response = error.response
        if quota is not None and response.uses_quota and not (response.gateway and response.status >= 400):
            response.headers = {**response.headers, **self.throttle.headers(quota, request, response)}
        return response

    def _check_scope(self, parts: Mapping[str, str]) -> None:
        if "subscription_id" not in parts:
            return
        subscription, group = parts["subscription_id"].lower(), parts.get("resource_group")
        known = self.simulation.state.resource_groups
        if subscription not in {subscription_id for subscription_id, _ in known}:
            text = f"The subscription '{parts['subscription_id']}' could not be found."
            raise ErrorResponse(404, "SubscriptionNotFound", text, gateway=True)
        if group is not None and (subscription, group.lower()) not in known:
            text = f"Resource group '{group}' could not be found."
            raise ErrorResponse(404, "ResourceGroupNotFound", text, gateway=True)

    def _check_role(self, principal: Principal, action: str, scope: str) -> None:
        if principal.role != "Contributor" and not (principal.role == "Reader" and action.endswith("/read")):
            client = principal.client_id
            text = (
                f"The client '{client}' with object id '{client}' does not have authorization "
                f"to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently "
                "granted, please refresh your credentials."
            )
            raise ErrorResponse(403, "AuthorizationFailed", text, gateway=True)

    def _headers(self, request: Request, response: Response, body: bytes) -> dict[str, str]:
        events = self.simulation.events
        guid = events.guid()
        correlation = request.headers.get("x-ms-correlation-request-id") or guid
        stamp = events.timestamp()[:19].replace("-", "").replace(":", "")
        headers = {
            "Cache-Control": "no-cache",
            "Pragma": "no-cache",
            "Expires": "-1",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "x-ms-request-id": guid,
            "x-ms-correlation-request-id": correlation,
            "x-ms-routing-request-id": f"WESTUS2:{stamp}Z:{guid}",
            "x-emulator-world": self.simulation.id,
            "Server": SERVER,
            "Content-Length": str(len(body)),
        }
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        if response.gateway and response.status >= 400 and not _is_login(request.path):
            headers["x-ms-failure-cause"] = "gateway"
        if not _is_login(request.path):
            kind = {"GET": "reads", "DELETE": "deletes"}.get(request.method, "writes")
            remaining, scope = (3749, "global-") if kind == "reads" else (199, "")
            headers[f"x-ms-ratelimit-remaining-subscription-{scope}{kind}"] = str(remaining)
        if request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
            headers["x-ms-client-request-id"] = request.headers.get("x-ms-client-request-id", "")
        return scale_waits({**headers, **response.headers}, response, events.time_scale)

    def _record(self, request: Request, response: Response, headers: dict[str, str]) -> None:
        is_login, recorder = _is_login(request.path), self.recorder
        query, body, document = dict(request.query), redact(request.body), response.body
        if is_login:
            query, body, document = redact_login(query), redact_login(body), redact_login(document)
            headers = {name: value for name, value in headers.items() if name != "Location"}  # which has the code
        entry = Entry(
            time=self.simulation.events.now,
            method=request.method,
            path=request.path,
            query=query,
            headers=redact_headers(dict(request.headers)),
            body=body,
            status=response.status,
            response_headers=headers,
            response=document if recorder.keeps_responses else None,
        )
        (recorder.add_login if is_login else recorder.add)(entry)


def scale_waits(headers: dict[str, str], response: Response, time_scale: float) -> dict[str, str]:
    """The headers with the waits of clients divided by the time scale.

    Retry-After has whole seconds only, so the header in milliseconds takes its place; a running operation without one
    would make clients wait their own 30 s. In real time nothing changes.
    """
    status = response.body.get("status") if isinstance(response.body, dict) else None
    running = status == "InProgress" or "Azure-AsyncOperation" in headers
    if time_scale == 1.0 or not (running or "Retry-After" in headers):
        return headers
    seconds = float(headers.get("Retry-After", "10"))
    others = {name: value for name, value in headers.items() if name != "Retry-After"}
    return {**others, "x-ms-retry-after-ms": str(max(1, round(1000 * seconds / time_scale)))}


def _truncate(body: bytes, length: int) -> Iterator[bytes]:
    """So many bytes of a body, then break the connection, whatever Content-Length says."""
    yield body[:length]
    raise ConnectionDrop


def write_body(response: Response, *, is_compact: bool = False) -> bytes:
    """A body as Azure writes it: pretty with CRLF from the provider, compact from ARM itself."""
    if response.body is None or isinstance(response.body, bytes):
        return response.body or b""
    if response.gateway or is_compact:
        return json.dumps(response.body, ensure_ascii=False, separators=(",", ":")).encode()
    return json.dumps(response.body, ensure_ascii=False, indent=2).replace("\n", "\r\n").encode()


def _is_login(path: str) -> bool:
    return (
        "/oauth2/" in path
        or path.startswith("/msi/")
        or path.endswith(("/.well-known/openid-configuration", "/common/discovery/instance"))
    )


def _parse_request(environ: Environ) -> tuple[Request, ErrorResponse | None]:
    """The request of WSGI, and the error response to a body that cannot be read."""
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    base = f"{environ['wsgi.url_scheme']}://{headers.get('host', '')}"
    query = dict(_pairs(environ.get("QUERY_STRING", "")))
    error: ErrorResponse | None = None
    try:
        body = _body(environ)
    except ErrorResponse as problem:
        body, error = None, problem
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    method = environ["REQUEST_METHOD"]
    return Request(method, path, query, headers, body, base, query.get("api-version", "")), error


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for pair in filter(None, text.split("&")):
        key, _, value = pair.partition("=")
        yield unquote(key).lower(), unquote(value)


def _body(environ: Environ) -> Json:
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise ErrorResponse(
            413, "RequestContentTooLarge", f"The body may have {LARGEST_BODY} bytes at most.", gateway=True
        )
    data = environ["wsgi.input"].read(int(length)) if int(length) else b""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if not data:
        return None
    if kind == "application/x-www-form-urlencoded" and _is_login(environ.get("PATH_INFO", "")):
        return data.decode("utf-8", "replace")
    if kind != "application/json":
        raise ErrorResponse(
            415, "UnsupportedMediaType", "The content media type must be application/json.", gateway=True
        )
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = "The request content was invalid and could not be deserialized."
        raise ErrorResponse(400, "InvalidRequestContent", text, gateway=True) from None


def _lower_rule(rule: str) -> str:
    """A rule with its fixed parts in lower case; the names of its parameters stay."""
    return "/".join(part if part.startswith("<") else part.lower() for part in rule.split("/"))


def _lower_path(path: str) -> str:
    return path.lower().rstrip("/")


def _as_written(parts: Mapping[str, str], path: str) -> dict[str, str]:
    """The parameters as the request writes them; matching is in lower case."""
    written = {part.lower(): part for part in path.split("/")}
    return {name: written.get(value, value) for name, value in parts.items()}


@functools.lru_cache(maxsize=4096)
def _route(routes: Map, method: str, path: str) -> tuple[Any, Mapping[str, str]]:
    """Cached, for matching is slow and clients send the same few paths over and over."""
    match: tuple[Any, Mapping[str, str]] = routes.bind("localhost").match(path, method)
    return match


def _match(routes: Map, method: str, path: str) -> tuple[Any, dict[str, str]]:
    try:
        endpoint, parts = _route(routes, method, path)
    except HTTPException as error:
        status = error.code or 404
        text = f"No HTTP resource was found that matches the request URI '{path}'."
        raise ErrorResponse(status, "NotFound" if status == 404 else "MethodNotAllowed", text, gateway=True) from None
    return endpoint, dict(parts)
