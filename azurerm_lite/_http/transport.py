"""Transport: send a request to one origin and read the response. Only this module uses requests, TLS and sockets.

`send` makes one attempt: there are no retries, redirects, cookies, `.netrc` or environment variables. The connection
pool belongs to one origin, so no request can reach another host. The module is imported with the first request, since
it imports requests.
"""

import functools
import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
import urllib3.connection
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from .._common import arguments, forks
from .._common.secrecy import conceals, without_frames
from ..clouds import DIRECT, NetworkSettings
from ..errors import PROXY_LOGIN, CertificateError, InvalidInput, ProtocolError, TransportError, printable


class Timeouts(NamedTuple):
    """Timeouts of one attempt, in seconds: to connect, between two reads, and in total.

    ARM waits 60 s for a provider before it answers 504, so a shorter read timeout would cause failures of its own.
    """

    connect: float = 10.0
    read: float = 75.0
    total: float = 120.0


DEFAULT_TIMEOUTS = Timeouts()


class Response(NamedTuple):
    """A response. `headers`: lower-case names; the values of a repeated header are joined by ", "."""

    status: int
    headers: dict[str, str]
    body: bytes


@functools.lru_cache(maxsize=16)
def tls_context(ca_file: str | None, strict: bool = True) -> ssl.SSLContext:
    """A TLS context that verifies certificates, cached for each CA file since loading one takes 17 ms.

    `strict=False`: without the check of RFC 5280 that Python 3.13 has added.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or DEFAULT_CA_BUNDLE_PATH)
    except OSError as error:
        raise InvalidInput(f"cannot read the CA file {ca_file}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not strict:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


_current_request = threading.local()  # .deadline: the end of this thread's request, by time.monotonic()


class _DeadlineReader(socket.SocketIO):
    """Reads from a socket until the deadline of the request.

    A socket's own timeout starts anew with each read, so a server that sends byte by byte would never exceed it.
    """

    def __init__(self, sock: Any, deadline: float) -> None:
        super().__init__(sock, "r")
        self._deadline, self._usual = deadline, sock.gettimeout()

    def readinto(self, b: Any) -> int | None:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("the total deadline of the request is over")
        if self._usual is not None and self._usual <= seconds_left:
            return super().readinto(b)
        self._sock.settimeout(seconds_left)  # type: ignore[attr-defined]
        try:
            return super().readinto(b)
        finally:
            self._sock.settimeout(self._usual)  # type: ignore[attr-defined]


MOST_INTERIM = 20  # interim responses before the final one
_LENGTH = re.compile("[0-9]{1,15}")
_CHUNK = re.compile(rb"[0-9a-fA-F]{1,12}[ \t]*")
_SENDABLE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class _TimedResponse(http.client.HTTPResponse):
    """An http.client response that keeps the deadline, skips every interim response and checks lengths.

    http.client skips only 100 among the interim responses, and accepts `+5` and `5_0` as lengths.
    https://www.rfc-editor.org/rfc/rfc9112#section-6
    """

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        deadline = getattr(_current_request, "deadline", None)
        if deadline is not None:
            plain = self.fp
            sock._io_refs += 1  # as socket.makefile does: the socket stays open until this reader is closed
            self.fp = io.BufferedReader(_DeadlineReader(sock, deadline))
            plain.close()

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the final response, after any interim ones (RFC 9110, 15.2)."""
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise ProtocolError("the server answered 101 (Switching Protocols), which nobody asked for")
            if not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise ProtocolError(f"the server sent more than {MOST_INTERIM} interim responses (1xx) and no final one")

    def begin(self) -> None:
        is_first_call = self.headers is None
        super().begin()
        if is_first_call and self.headers is not None:
            _check_framing(self.headers)

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_LONGEST_LINE)
        size = line.partition(b";")[0].rstrip(b"\r\n")
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(b"")
        if not _CHUNK.fullmatch(size):
            raise ProtocolError("the server sent a chunk whose size is no hexadecimal number")
        return int(size, 16)


_LONGEST_LINE = 65_536


def _check_framing(headers: http.client.HTTPMessage) -> None:
    """Raise ProtocolError for headers that two HTTP parsers could read as two different lengths of the body."""
    lengths = {part.strip() for value in headers.get_all("Content-Length", []) for part in value.split(",")}
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length) for length in lengths):
        raise ProtocolError(f"the server sent a Content-Length that is no length: {', '.join(sorted(lengths))}")
    encodings = headers.get_all("Transfer-Encoding", [])
    if encodings and [encoding.strip().lower() for encoding in encodings] != ["chunked"]:
        raise ProtocolError(f"the server sent a Transfer-Encoding other than chunked: {', '.join(encodings)}")


class _ProxyStatus(Exception):
    """A proxy answered CONNECT with another status than 200. `schemes`: the authentication schemes that it offers."""

    def __init__(self, status: int, reason: str, schemes: str) -> None:
        super().__init__(status)
        self.status, self.reason, self.schemes = status, reason, schemes


class _TunnelResponse(_TimedResponse):
    """The response of a proxy to CONNECT; of its status http.client keeps only the text of an error."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()
        if status != http.HTTPStatus.OK:
            offers = http.client.parse_headers(self.fp).get_all("Proxy-Authenticate", [])
            raise _ProxyStatus(status, reason, ", ".join(offer.partition(" ")[0] for offer in offers))
        return version, status, reason


class _TimedHTTP(urllib3.connection.HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPS(urllib3.connection.HTTPSConnection):
    response_class = _TimedResponse

    def _tunnel(self) -> None:
        self.response_class = _TunnelResponse
        try:
            super()._tunnel()
        except _ProxyStatus as error:
            self.close()
            refusal = _proxy_refusal(self.proxy, error)
        else:
            return
        finally:
            self.response_class = _TimedResponse
        raise refusal


def _proxy_refusal(proxy: Any, error: _ProxyStatus) -> TransportError:
    """The error for a proxy that refused CONNECT, so that nothing was sent. Only a 5xx is transient."""
    text = f"the proxy {proxy.host}:{proxy.port} answered {error.status} {error.reason}".rstrip()
    if error.status == http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        offers = f"; it offers {error.schemes}" if error.schemes else ""
        return ProtocolError(f"{text}{offers}: {PROXY_LOGIN}", sent=False)
    if error.status >= 500:
        return TransportError(f"{text}: it may reach Azure later", sent=False)
    return ProtocolError(f"{text}: ask its administrator to let this host through, or see NO_PROXY", sent=False)


class OriginAdapter(HTTPAdapter):
    """A requests adapter with one TLS context and a connection pool for one origin."""

    def __init__(self, base: str, context: ssl.SSLContext, proxy: str | None, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_maxsize=pool_size)
        parts = urlsplit(base)
        manager = self.proxy_manager_for(proxy, ssl_context=context) if proxy else self.poolmanager
        self._pool = manager.connection_from_host(parts.hostname, parts.port, parts.scheme)
        self._pool.ConnectionCls = _TimedHTTPS if parts.scheme == "https" else _TimedHTTP

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def after_fork(self) -> None:
        """Empty the pool in the child, which must not read the parent's responses.

        The queue is initialized again in place, because urllib3 holds it until the process ends and a thread of the
        parent may have held its lock. The parent's connections stay open.
        """
        idle: Any = self._pool.pool
        if idle is None:
            return
        for connection in list(idle.queue):
            if connection is not None:
                connection.close()
        idle.__init__(idle.maxsize)
        for _ in range(idle.maxsize):
            idle.put(None)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context verifies certificates, and no argument or environment variable changes that."""

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:  # noqa: ARG002
        return str(request.url)[len(request.base) :]

    def build_response(self, req: Any, resp: Any) -> Any:  # noqa: ARG002
        """The urllib3 response as it is, without requests' cookies, encoding and history."""
        return resp


class _Prepared(requests.PreparedRequest):
    """A prepared request. `base`: the origin at the beginning of its URL."""

    base: str


class Transport:
    """A pool of connections to one origin; threads may share it.

    `base`: the origin. `adapter`: replaces the network, as in tests. `max_bytes`: the largest body that is read.
    """

    def __init__(
        self,
        base: str,
        network: NetworkSettings = DIRECT,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        adapter: BaseAdapter | None = None,
        pool_size: int = 32,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        arguments.typed(Timeouts, timeouts=timeouts)
        if not all(arguments.seconds(value, "each of timeouts") for value in timeouts):
            raise InvalidInput("timeouts are positive numbers of seconds")
        if adapter is not None:
            arguments.typed(Callable, adapter=getattr(adapter, "send", None))
        self.base, self._timeouts, self._max_bytes = base, timeouts, max_bytes
        self._adapter: Any = adapter or _origin_adapter(base, network, pool_size)
        forks.register(self)
        self._timeout = urllib3.Timeout(connect=timeouts.connect, read=timeouts.read)

    def after_fork(self) -> None:
        """Make the child open its own connections."""
        if isinstance(self._adapter, OriginAdapter):
            self._adapter.after_fork()

    def close(self) -> None:
        """Close the pooled connections."""
        self._adapter.close()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Send one request and return the response with status 200 to 299 or 400 and above.

        `path`: with its query. Raises: TransportError when there is no usable response.
        """
        for name, value in headers.items():
            if not isinstance(value, str) or not _SENDABLE.fullmatch(value):
                raise InvalidInput(f"the header {name} cannot be sent: it has a line break or a letter outside Latin-1")
        prepared = _Prepared()
        prepared.base, prepared.method, prepared.url = self.base, method, self.base + path
        prepared.headers, prepared.body = headers, body  # type: ignore[assignment]
        _current_request.deadline = time.monotonic() + self._timeouts.total
        try:
            response = self._adapter.send(prepared, stream=True, timeout=self._timeout, proxies={})
            return self._response(response)
        except TransportError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            failure: BaseException = describe(error, self.base, method)
        except BaseException as error:  # such as Ctrl-C
            failure = without_frames(error)
        # Raised outside the except block: the library's error and its frames hold the request with its token.
        raise failure

    def _response(self, response: Any) -> Response:
        raw = getattr(response, "raw", response)
        try:
            body = self._read(raw) if hasattr(raw, "release_conn") else response.content
            if 300 <= raw.status < 400:
                raise ProtocolError(
                    f"{self.base} answered {raw.status} (a redirect), which ARM never does: not followed"
                )
            if raw.status < 200:
                raise ProtocolError(f"{self.base} answered {raw.status}, which is no final response")
            headers = {name.lower(): value for name, value in raw.headers.itermerged()}
            return Response(raw.status, headers, body)
        except BaseException:
            raw.close()
            raise

    def _read(self, raw: Any) -> bytes:
        """The whole body. Raises: ProtocolError when it is larger than `max_bytes`."""
        body: bytes = raw.read(self._max_bytes + 1, decode_content=True)
        if len(body) > self._max_bytes:
            raise ProtocolError(f"{self.base} sent more than {self._max_bytes} bytes: stopped reading")
        raw.release_conn()
        return body


def _origin_adapter(base: str, network: NetworkSettings, pool_size: int) -> OriginAdapter:
    context, is_proxied = tls_context(network.ca_file, network.strict), bool(network.proxy_for(base))
    try:
        return _concealed_adapter(base, context, network, pool_size)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        what = "the proxy" if is_proxied else base
        text = f"{what} cannot be used ({type(error).__name__}): a proxy is an address of the form http://host:port"
    raise InvalidInput(text)


@conceals
def _concealed_adapter(base: str, context: ssl.SSLContext, network: NetworkSettings, pool_size: int) -> OriginAdapter:
    return OriginAdapter(base, context, network.proxy_for(base), pool_size)


# OpenSSL's error numbers of X509_STRICT, which concern the form of a certificate and not its issuer.
# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_STRICT = range(80, 94)


def describe(error: BaseException, base: str, method: str) -> TransportError:
    """The TransportError for an error of requests, urllib3 or a socket."""
    cause = _innermost(error)
    where_to = f"{method} to {base}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateError(_untrusted(cause, base), sent=False)
    if isinstance(error, requests.exceptions.ProxyError | urllib3.exceptions.ProxyError):
        return TransportError(f"{where_to}: the proxy refused or could not be reached ({_reason(cause)})", sent=False)
    if isinstance(error, requests.ConnectTimeout) or any(
        isinstance(link, urllib3.exceptions.NewConnectionError) for link in _chain(error)
    ):
        text = f"cannot reach {base} ({_reason(cause)}): check the address, the network and the proxy settings"
        return TransportError(text, sent=False)
    if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return TransportError(f"{where_to}: no answer in time")
    return TransportError(f"{where_to}: the connection broke before the whole answer was here ({_reason(cause)})")


def _untrusted(error: ssl.SSLCertVerificationError, base: str) -> str:
    """What is wrong with a certificate, and what to do about it."""
    text = f"the certificate of {base} is not trusted ({printable(error.verify_message, 200)})"
    if error.verify_code not in _STRICT:
        return f"{text}: pass ca_file= for a private CA"
    return (
        f"{text}: the CA is known, but a certificate in the chain is not as RFC 5280 wants it, which Python 3.13 and "
        "later check. Ask whoever runs the CA (often a proxy that inspects TLS) to issue it anew. Until then "
        "connect(strict_certificates=False) leaves out this one check"
    )


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes, which requests and urllib3 also keep in `args` and `reason`."""
    errors: list[BaseException] = []
    queue = [error]
    while queue and len(errors) < 20:
        current = queue.pop(0)
        if current not in errors:
            errors.append(current)
            inner = [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
            queue += [item for item in inner if isinstance(item, BaseException)]
    return errors


def _innermost(error: BaseException) -> BaseException:
    chain = _chain(error)
    return next((wrapped for wrapped in reversed(chain) if isinstance(wrapped, OSError) and wrapped.errno), chain[-1])


def _reason(cause: BaseException) -> str:
    words = getattr(cause, "strerror", None) or getattr(cause, "reason", None) or type(cause).__name__
    return printable(words if isinstance(words, str) else type(cause).__name__, 120)
