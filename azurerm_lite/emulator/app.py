"""The emulator as one WSGI application: bytes to ArmRequest, Answer to bytes, and what ARM's front door does between.

Case-blind routing, api-version, bearer token, roles, subscription and resource group, the headers of every answer.
What a scale set does with a request is not known here.
"""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from . import compute, front_door, identity, throttle
from .exchange import DISTURBED, Answer, ArmRequest, Json, Refusal
from .faults import Fault, misled, refusal
from .journal import Entry, Journal, headers_kept, redacted, redacted_login
from .world import World

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
    """The routes of logins and of ARM: compiled once for all applications of a process."""
    logins = Map([Rule(path, methods=[m], endpoint=handler) for m, path, handler in identity.ROUTES])
    every = [*compute.ROUTES, *front_door.ROUTES]
    rules = [Rule(_lowered(path), methods=[m], endpoint=(h, action)) for m, path, h, action in every]
    return logins, Map(rules, strict_slashes=False, merge_slashes=False)


class Dropped(Exception):
    """The connection is to break here, without a word."""


class ArmApp:
    """ARM and Entra over one world. Every request holds the world's lock and lets the world catch up first."""

    def __init__(self, world: World, *, hosts: Iterable[str] = HOSTS) -> None:
        self.world, self.journal, self._hosts = world, Journal(), frozenset(hosts)
        self.compact = False  # bodies without the provider's line breaks: a tenth of the time, for rehearsals
        self._logins, self._routes = _maps()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request, refused = _understood(environ)
        with self.world.lock:
            self.world.settle()
            rule = self.world.faults.for_request(request.method, request.path)
        if rule is not None and rule.delay:
            self.world.clock.sleep(rule.delay)
        if rule is not None and rule.drop == "before":
            raise Dropped
        with self.world.lock:
            self.world.settle()
            self._befall(rule, request)
            answer = refused.answer if refused else self._answer(request, rule)
            body = rendered(answer, compact=self.compact) if rule is None or not rule.garbage else rule.garbage.encode()
            headers = self._headers(request, answer, body)
            if rule is not None:
                headers[DISTURBED] = "asked for"
            self._note(request, answer, headers)
        if rule is not None and rule.drop == "after":
            raise Dropped
        start_response(f"{answer.status} {_REASONS.get(answer.status, 'Status')}", list(headers.items()))
        return [body] if rule is None or rule.truncate < 0 else _cut(body, rule.truncate)

    def _befall(self, rule: Fault | None, request: ArmRequest) -> None:
        """What a fault does to the caller: other rights, or a token that is over."""
        if rule is None or not (rule.role is not None or rule.expire):
            return
        principal = self.world.identity.principal_of(request.headers.get("authorization", ""))
        if rule.role is not None:
            principal.role = rule.role
        if rule.expire:
            self.world.identity.expire_tokens(principal.client_id)

    def _answer(self, request: ArmRequest, rule: Fault | None) -> Answer:
        if rule is not None and rule.status >= 400 and not rule.drop and not rule.late:
            return refusal(rule, self.world.now)  # refused before it had an effect
        answer = self._real_answer(request)
        if rule is not None and rule.link:
            misled(answer, request.base_url, rule.link)
        if rule is not None and not rule.status:
            answer.headers = {name: value for name, value in (answer.headers | rule.headers).items() if value}
        return refusal(rule, self.world.now) if rule is not None and rule.status else answer

    def _real_answer(self, request: ArmRequest) -> Answer:
        try:
            host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
            if host.lower() not in self._hosts:
                raise Refusal(403, "Forbidden", "This emulator answers to localhost only.", gateway=True)
            return self._login(request) if _is_login(request.path) else self._arm(request)
        except Refusal as refused:
            return refused.answer

    def _login(self, request: ArmRequest) -> Answer:
        managed = identity.MANAGED_ROUTES.get(request.path.rstrip("/"))
        if managed is not None and request.method == "GET":
            return managed(self.world, request)
        handler, parts = _match(self._logins, request.method, request.path)
        found: Answer = handler(self.world, request, **parts)
        return found

    def _arm(self, request: ArmRequest) -> Answer:
        if request.path.lower().rstrip("/") == "/metadata/endpoints":
            return front_door.metadata_endpoints(self.world, request)
        principal = self.world.identity.principal_of(request.headers.get("authorization", ""))
        if not request.api_version:
            text = "The api-version query parameter (?api-version=) is required for all requests."
            raise Refusal(400, "MissingApiVersionParameter", text, gateway=True)
        (handler, action), parts = _match(self._routes, request.method, _lowered_request(request.path))
        parts = _as_sent(parts, request.path)
        self.world.identity.check_tenants(request, principal)
        self._check_scope(parts)
        self._check_role(principal, action, request.path)
        return self._within_limits(handler, request, parts)

    def _within_limits(self, handler: Any, request: ArmRequest, parts: Mapping[str, str]) -> Answer:
        """The provider's answer, drawn from its buckets; what ARM answers in its place costs nothing."""
        draw = throttle.draw_of(request)
        if draw is not None and (refused := self.world.throttle.take(draw)) is not None:
            return refused
        try:
            found: Answer = handler(self.world, request, **parts)
        except Refusal as refusal_:
            found = refusal_.answer
        if draw is not None and found.counted and not (found.gateway and found.status >= 400):
            found.headers = {**found.headers, **self.world.throttle.headers(draw, request, found)}
        return found

    def _check_scope(self, parts: Mapping[str, str]) -> None:
        if "subscription_id" not in parts:
            return
        subscription, group = parts["subscription_id"].lower(), parts.get("resource_group")
        known = self.world.resource_groups
        if subscription not in {one for one, _ in known}:
            text = f"The subscription '{parts['subscription_id']}' could not be found."
            raise Refusal(404, "SubscriptionNotFound", text, gateway=True)
        if group is not None and (subscription, group.lower()) not in known:
            text = f"Resource group '{group}' could not be found."
            raise Refusal(404, "ResourceGroupNotFound", text, gateway=True)

    def _check_role(self, principal: identity.Principal, action: str, scope: str) -> None:
        if principal.role != "Contributor" and not (principal.role == "Reader" and action.endswith("/read")):
            who = principal.client_id
            text = (
                f"The client '{who}' with object id '{who}' does not have authorization "
                f"to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently "
                "granted, please refresh your credentials."
            )
            raise Refusal(403, "AuthorizationFailed", text, gateway=True)

    def _headers(self, request: ArmRequest, answer: Answer, body: bytes) -> dict[str, str]:
        guid = self.world.guid()
        correlation = request.headers.get("x-ms-correlation-request-id") or guid
        stamp = self.world.timestamp()[:19].replace("-", "").replace(":", "")
        headers = {
            "Cache-Control": "no-cache",
            "Pragma": "no-cache",
            "Expires": "-1",
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "X-Content-Type-Options": "nosniff",
            "x-ms-request-id": guid,
            "x-ms-correlation-request-id": correlation,
            "x-ms-routing-request-id": f"WESTUS2:{stamp}Z:{guid}",
            "x-emulator-world": self.world.id,
            "Server": SERVER,
            "Content-Length": str(len(body)),
        }
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        if answer.gateway and answer.status >= 400 and not _is_login(request.path):
            headers["x-ms-failure-cause"] = "gateway"
        if not _is_login(request.path):
            kind = {"GET": "reads", "DELETE": "deletes"}.get(request.method, "writes")
            left, scope = (3749, "global-") if kind == "reads" else (199, "")
            headers[f"x-ms-ratelimit-remaining-subscription-{scope}{kind}"] = str(left)
        if request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
            headers["x-ms-client-request-id"] = request.headers.get("x-ms-client-request-id", "")
        return paced({**headers, **answer.headers}, answer, self.world.pace)

    def _note(self, request: ArmRequest, answer: Answer, headers: dict[str, str]) -> None:
        login, kept = _is_login(request.path), headers_kept(dict(request.headers))
        query, body, said = dict(request.query), redacted(request.body), answer.body
        if login:
            query, body, said = redacted_login(query), redacted_login(body), redacted_login(said)
            headers = {name: value for name, value in headers.items() if name != "Location"}  # which has the code
        asked = (self.world.now, request.method, request.path, query, kept, body)
        entry = Entry(*asked, answer.status, headers, said if self.journal.keeps_answers else None)
        (self.journal.add_login if login else self.journal.add)(entry)


def paced(headers: dict[str, str], answer: Answer, pace: float) -> dict[str, str]:
    """In a world that runs faster than its callers, what they are asked to wait is shorter by as much.

    Retry-After has whole seconds only, so the header in milliseconds takes its place; a running operation that asks
    for nothing would make clients wait their own 30 s. At real pace nothing is changed.
    """
    status = answer.body.get("status") if isinstance(answer.body, dict) else None
    running = status == "InProgress" or "Azure-AsyncOperation" in headers
    if pace == 1.0 or not (running or "Retry-After" in headers):
        return headers
    seconds = float(headers.get("Retry-After", "10"))
    kept = {name: value for name, value in headers.items() if name != "Retry-After"}
    return {**kept, "x-ms-retry-after-ms": str(max(1, round(1000 * seconds / pace)))}


def _cut(body: bytes, length: int) -> Iterator[bytes]:
    """So many bytes of a body, and then no more, whatever Content-Length has promised."""
    yield body[:length]
    raise Dropped


def rendered(answer: Answer, *, compact: bool = False) -> bytes:
    """A body as Azure writes it: the provider's pretty with CRLF, the gateway's compact."""
    if answer.body is None or isinstance(answer.body, bytes):
        return answer.body or b""
    if answer.gateway or compact:
        return json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()
    return json.dumps(answer.body, ensure_ascii=False, indent=2).replace("\n", "\r\n").encode()


def _is_login(path: str) -> bool:
    return (
        "/oauth2/" in path
        or path.startswith("/msi/")
        or path.endswith(("/.well-known/openid-configuration", "/common/discovery/instance"))
    )


def _understood(environ: Environ) -> tuple[ArmRequest, Refusal | None]:
    """The request that WSGI brings, and the refusal that it deserves before anybody looks at it."""
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    base = f"{environ['wsgi.url_scheme']}://{headers.get('host', '')}"
    query = dict(_pairs(environ.get("QUERY_STRING", "")))
    refusal: Refusal | None = None
    try:
        body = _body(environ)
    except Refusal as found:
        body, refusal = None, found
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    method = environ["REQUEST_METHOD"]
    return ArmRequest(method, path, query, headers, body, base, query.get("api-version", "")), refusal


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for pair in filter(None, text.split("&")):
        key, _, value = pair.partition("=")
        yield unquote(key).lower(), unquote(value)


def _body(environ: Environ) -> Json:
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise Refusal(413, "RequestContentTooLarge", f"The body may have {LARGEST_BODY} bytes at most.", gateway=True)
    data = environ["wsgi.input"].read(int(length)) if int(length) else b""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if not data:
        return None
    if kind == "application/x-www-form-urlencoded" and _is_login(environ.get("PATH_INFO", "")):
        return data.decode("utf-8", "replace")
    if kind != "application/json":
        raise Refusal(415, "UnsupportedMediaType", "The content media type must be application/json.", gateway=True)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = "The request content was invalid and could not be deserialized."
        raise Refusal(400, "InvalidRequestContent", text, gateway=True) from None


def _lowered(rule: str) -> str:
    """A rule with its fixed parts in lower case: ARM's paths are case-blind, its parameters are kept as sent."""
    return "/".join(part if part.startswith("<") else part.lower() for part in rule.split("/"))


def _lowered_request(path: str) -> str:
    return path.lower().rstrip("/")


def _as_sent(parts: Mapping[str, str], path: str) -> dict[str, str]:
    """The parameters in the spelling of the request; matching has lowered them."""
    spelt = {part.lower(): part for part in path.split("/")}
    return {name: spelt.get(value, value) for name, value in parts.items()}


@functools.lru_cache(maxsize=4096)
def _route(routes: Map, method: str, path: str) -> tuple[Any, Mapping[str, str]]:
    """A client asks for the same few paths over and over, and matching is dear."""
    found: tuple[Any, Mapping[str, str]] = routes.bind("localhost").match(path, method)
    return found


def _match(routes: Map, method: str, path: str) -> tuple[Any, dict[str, str]]:
    try:
        endpoint, parts = _route(routes, method, path)
    except HTTPException as error:
        status = error.code or 404
        text = f"No HTTP resource was found that matches the request URI '{path}'."
        raise Refusal(status, "NotFound" if status == 404 else "MethodNotAllowed", text, gateway=True) from None
    return endpoint, dict(parts)
