"""The emulator without a socket: an adapter for requests that calls the application in this process."""

import io
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

from .app import ArmApp, ConnectionDrop


class InProcessAdapter(BaseAdapter):
    """For Arm(adapter=...) or a requests.Session; nothing leaves the process."""

    def __init__(self, app: ArmApp) -> None:
        super().__init__()
        self._app = app

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """The bare urllib3 response, as azurerm_lite's transport reads it. Raises ConnectionError on a dropped one."""
        head: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            head.update(status=int(status[:3]), headers=headers)

        try:
            body = b"".join(self._app(_environ(request), start_response))
        except ConnectionDrop:
            raise requests.ConnectionError("the emulator broke the connection, as a fault says") from None
        headers = dict(head["headers"])
        return HTTPResponse(io.BytesIO(body), headers=headers, status=head["status"], preload_content=False)

    def close(self) -> None:
        """Nothing is open."""


def _environ(request: requests.PreparedRequest) -> dict[str, Any]:
    parts = urlsplit(str(request.url))
    body = request.body.encode() if isinstance(request.body, str) else (request.body or b"")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote(parts.path).encode().decode("latin-1"),
        "QUERY_STRING": parts.query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "HTTP_HOST": parts.netloc,
    }
    for name, value in (request.headers or {}).items():
        if name.lower() == "content-type":
            environ["CONTENT_TYPE"] = value
        elif name.lower() != "content-length":
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
