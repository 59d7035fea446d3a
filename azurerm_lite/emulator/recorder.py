"""Recorder: every request and response in order, for tests, and to see what a tool really sends.

Tokens and secrets are never recorded. Logins are apart, in `logins`. `write_to` appends each entry to a file, one JSON
object a line; `read` reads it.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import parse_qsl

from azurerm_lite._common.parsing import parse_json

from .messages import Json

_HIDDEN_HEADERS = frozenset(
    {"authorization", "x-ms-authorization-auxiliary", "cookie", "proxy-authorization", "x-identity-header"}
)
_HIDDEN_FIELDS = frozenset({"adminPassword", "customData", "userData", "protectedSettings"}) | {
    *("protectedParameters", "runAsPassword")  # of run commands
}
# Of logins: in the forms of requests, in responses, and in the URLs of the interactive login.
_HIDDEN_OF_LOGINS = frozenset({
    *("client_secret", "client_assertion", "refresh_token", "code", "code_verifier", "device_code"),
    *("access_token", "id_token", "user_code", "message"),
})  # fmt: skip
MOST_ENTRIES = 20_000
# Follow no link, do not wait for the reader of a FIFO, and let Windows change no byte.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and its response. `time`: that of the simulation."""

    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json
    status: int
    response_headers: dict[str, str]
    response: Json


def redact(value: Json, hidden: frozenset[str] = _HIDDEN_FIELDS) -> Json:
    """The value with its secrets replaced, at any depth. `hidden`: the names of secret fields."""
    if isinstance(value, dict):
        return {key: _hide(inner) if key in hidden else redact(inner, hidden) for key, inner in value.items()}
    return [redact(inner, hidden) for inner in value] if isinstance(value, list) else value


def _hide(value: Json) -> Json:
    """A placeholder of the secret's type; an empty value stays."""
    if value in (None, {}, []):
        return value
    if isinstance(value, list):
        return [dict.fromkeys(inner, "(secret)") if isinstance(inner, dict) else "(secret)" for inner in value]
    return {"hidden": "(secret)"} if isinstance(value, dict) else "(secret)"


def redact_login(value: Json) -> Json:
    """A form or a document of the login service without its secrets; None for any other value."""
    if isinstance(value, str):
        value = dict(parse_qsl(value, keep_blank_values=True))
    return redact(value, _HIDDEN_OF_LOGINS) if isinstance(value, dict) else None


class RecordError(ValueError):
    """A line of a file is no entry; the message names the line."""


class Recorder:
    """The newest entries, oldest first.

    `listeners` are called with every entry of every emulator in this process. `keeps_responses`: False leaves the
    bodies of responses out, and calls no listener.
    """

    listeners: ClassVar[list[Callable[[Entry], object]]] = []

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.logins: list[Entry] = []
        self.keeps_responses = True
        self._file: BinaryIO | None = None

    def add(self, entry: Entry) -> None:
        """Record a request to ARM."""
        self._append(self.entries, entry)
        for listener in self.listeners if self.keeps_responses else ():
            listener(entry)

    def add_login(self, entry: Entry) -> None:
        """Record a request to the login service."""
        self._append(self.logins, entry)

    def _append(self, entries: list[Entry], entry: Entry) -> None:
        entries.append(entry)
        if self._file is not None:
            self._file.write(_line(entry))
        if len(entries) > MOST_ENTRIES:
            del entries[: MOST_ENTRIES // 10]

    def write_to(self, path: str) -> None:
        """Append every entry from now on to a file, which only its owner may read."""
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
        if hasattr(os, "fchmod"):  # on Windows since Python 3.13 only
            os.fchmod(number, 0o600)  # an older file may be readable for others
        self._file = os.fdopen(number, "ab", buffering=0)

    def clear(self) -> None:
        """Drop all entries; the file keeps them."""
        self.entries.clear()
        self.logins.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def find(self, method: str = "", path: str = "") -> list[Entry]:
        """The entries with this method and with this text in their path, in any case; "" for any."""
        return [e for e in self.entries if method in ("", e.method) and path.lower() in e.path.lower()]

    def writes(self) -> list[Entry]:
        """The entries whose method is not GET."""
        return [e for e in self.entries if e.method != "GET"]


def _line(entry: Entry) -> bytes:
    return json.dumps({field.name: getattr(entry, field.name) for field in fields(entry)}).encode() + b"\n"


def read(path: str) -> Iterator[Entry]:
    """The entries of a file of `write_to`, oldest first. Raises RecordError for a line that is no entry."""
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            problem = f"{path!a} line {number} is no entry of the recorder"
            document = parse_json(line, RecordError, problem)
            if not isinstance(document, dict) or set(document) != {field.name for field in fields(Entry)}:
                raise RecordError(problem)
            yield Entry(**document)


def redact_headers(headers: dict[str, str]) -> dict[str, Any]:
    """The headers with their secrets replaced."""
    return {key: "(secret)" if key in _HIDDEN_HEADERS else value for key, value in headers.items()}
