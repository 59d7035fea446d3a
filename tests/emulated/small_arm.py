"""A server on real sockets, with TLS, that answers as ARM does, and with any bytes at all where a test says so."""

import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

import azurerm_lite as az
from azurerm_lite.clouds import custom_cloud
from azurerm_lite.emulator import VirtualClock

WEB = az.ScaleSet("11111111-2222-3333-4444-555555555555", "rg", "web")
MODEL: dict[str, Any] = {
    "id": WEB.resource_id,
    "name": "web",
    "location": "westus2",
    "tags": {"a": "old"},
    "sku": {"name": "Standard_D2s_v5", "tier": "Standard", "capacity": 2},
    "properties": {"provisioningState": "Succeeded", "upgradePolicy": {"mode": "Manual"}},
}
OPERATION = "/subscriptions/x/providers/Microsoft.Compute/locations/westus2/operations/1"
AT_ONCE = {
    "/versions": [{"name": "1.0.0", "id": "/x", "location": "westus2"}],
    "/retrieveBootDiagnosticsData": {"consoleScreenshotBlobUri": "https://x"},
    "/convertToSinglePlacementGroup": None,
}
Wrong = Callable[[str, str, str], bytes | None]  # method, path, the server's own address: bytes, or None for ARM's own


def instance(number: int, *, latest: bool = False) -> dict[str, Any]:
    properties = {"latestModelApplied": latest, "provisioningState": "Succeeded"}
    name = f"{WEB.resource_id}/virtualMachines/{number}"
    return {"id": name, "name": f"web_{number}", "instanceId": str(number), "properties": properties}


def reply(body: object = None, status: str = "200 OK", **headers: str) -> bytes:
    """A response as it should be: `body` as JSON, nothing for None."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class SmallArm:
    """Answers every request as ARM does, unless `wrong` gives other bytes. `requests`: what it was asked, in order."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"https://localhost:{self._listener.getsockname()[1]}"
        self.requests: list[tuple[str, str]] = []
        self.wrong: Wrong = lambda *_: None
        self.model = MODEL
        self.latest = False
        self.operation_state = "Succeeded"
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, **options: Any) -> az.Arm:
        """An Arm that leads here and waits by a virtual clock, `arm.clock`."""
        clock = VirtualClock()
        options = {"retry": az.Retry(attempts=3), "sleep": clock.sleep, "now": clock.time, **options}
        return az.Arm("the-token", cloud=custom_cloud(self.base, self.base), ca_file=self.ca_file, **options)

    def counts(self, method: str, part: str = "") -> int:
        return sum(known == method and part in path for known, path in self.requests)

    def reset(self, wrong: Wrong) -> None:
        self.requests.clear()
        self.wrong, self.model, self.latest, self.operation_state = wrong, MODEL, False, "Succeeded"

    def close(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
            secure.settimeout(10)
            stream = secure.makefile("rb")
            while request := self._read(stream):
                self.requests.append(request)
                wrong = self.wrong(*request, self.base)
                secure.sendall(self._right(*request) if wrong is None else wrong)
                if wrong is not None and b"Connection: close" in wrong:
                    return

    @staticmethod
    def _read(stream: Any) -> tuple[str, str] | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return None
            head += line
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        stream.read(int(length[1]) if length else 0)
        method, target, _ = head.split(b" ", 2)
        return method.decode(), target.decode()

    def _right(self, method: str, target: str) -> bytes:
        path = target.partition("?")[0]
        link = {"Azure_AsyncOperation": f"{self.base}{OPERATION}?api-version=2024-07-01"}
        if path == OPERATION:
            return reply({"status": self.operation_state})
        if path.endswith("/virtualMachines"):
            number = 1 if "page=2" in target else 0
            page: dict[str, Any] = {"value": [instance(number, latest=self.latest)]}
            return reply(page if number else {**page, "nextLink": f"{self.base}{path}?api-version=2024-07-01&page=2"})
        for end, body in AT_ONCE.items():
            if path.endswith(end):
                return reply(body)
        if method in ("PUT", "PATCH"):
            return reply({**MODEL, "properties": {"provisioningState": "Updating"}}, **link)
        return reply(self.model) if method == "GET" else reply(None, "202 Accepted", **link)
