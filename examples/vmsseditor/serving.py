"""The web server: connections that stay silent or drip are closed, and its own refusals carry our headers too."""

import io
import json
import socket
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

from . import security

SILENT_SECONDS = 20.0  # within which a whole request arrives, and within which each part of an answer is taken


def server(port: int, silent_seconds: float = SILENT_SECONDS) -> BaseWSGIServer:
    """A server on this machine's own address, which nobody else can reach. Its `app` is still to be set."""

    class Bounded(Handler):
        timeout = silent_seconds

    return make_server("127.0.0.1", port, Response("not yet"), threaded=True, request_handler=Bounded)


def failure(status: int, text: str) -> bytes:
    """The JSON that says to the page why a request failed."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    return json.dumps({"error": {"status": status, "title": title, "text": text}}).encode()


class _Deadline(io.RawIOBase):
    """What arrives at a socket until a moment; after that, TimeoutError, however busily it drips."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not arrive in time")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(self._seconds)


class Handler(WSGIRequestHandler):
    """No line for each request (they hold what the user looks at), and no request that takes for ever."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vmsseditor", ""
    timeout = SILENT_SECONDS

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Deadline(self.connection, self.timeout))

    def parse_request(self) -> bool:
        """Whether the request line and headers are such that an application can be asked."""
        if not super().parse_request():
            return False
        try:
            urlsplit(self.path)
        except ValueError:
            self.send_error(400, "that is no address")
            return False
        return True

    def send_error(self, code: int, *_texts: str | None, **_more: str | None) -> None:
        """Refuse what never reached the application: as JSON, with its headers, and nothing of the request in it."""
        body = failure(code, "that is no HTTP request which this editor understands")
        self.close_connection = True
        self.request_version = self.protocol_version  # HTTP/0.9, which is what nonsense counts as, knows no headers
        self.send_response(code)
        for name, value in {**security.HEADERS, "Content-Type": "application/json", "Connection": "close"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...

    def log(self, type: str, message: str, *args: Any) -> None: ...
