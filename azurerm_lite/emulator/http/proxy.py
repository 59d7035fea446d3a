"""A loopback CONNECT proxy, so that an unmodified tool reaches the emulator under Azure's own host names.

The tool needs only HTTPS_PROXY and REQUESTS_CA_BUNDLE. Every tunnel ends in the emulator, whose certificate has these
names. Any other host is refused, and nothing is ever forwarded to a network.
"""

import contextlib
import socket
import socketserver
import threading
from typing import Any, cast

HOSTS = frozenset({"management.azure.com", "login.microsoftonline.com", "login.windows.net", "login.microsoft.com"})
_LONGEST_HEAD = 8192
_IDLE_SECONDS = 120.0


class _Tunnel(socketserver.BaseRequestHandler):
    """The tunnel of a client: its CONNECT line, then bytes both ways until either end closes."""

    def handle(self) -> None:
        self.request.settimeout(_IDLE_SECONDS)
        with contextlib.suppress(OSError):
            host = _connect_host(self._head())
            if host not in HOSTS:
                text = f"this proxy leads to the emulator only, not to {host or 'that'}"
                self.request.sendall(f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
                return
            with socket.create_connection(("127.0.0.1", cast("Proxy", self.server).target_port), timeout=10) as onward:
                onward.settimeout(_IDLE_SECONDS)
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(onward, self.request), daemon=True)
                back.start()
                _pump(self.request, onward)
                back.join(timeout=_IDLE_SECONDS)

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
            piece = self.request.recv(1024)
            if not piece:
                break
            head += piece
        return head


def _connect_host(head: bytes) -> str:
    words = head.split(b"\r\n")[0].decode("latin-1").split()
    if len(words) != 3 or words[0] != "CONNECT":
        return ""
    host, _, port = words[1].rpartition(":")
    return host.lower() if port == "443" else ""


def _pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Proxy(socketserver.ThreadingTCPServer):
    """The proxy on a free port of 127.0.0.1; `url` is the value for HTTPS_PROXY."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.target_port = target_port
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="emulator-proxy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the proxy."""
        self.shutdown()
        self._thread.join(timeout=10)
        self.server_close()
