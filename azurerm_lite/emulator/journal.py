"""What was asked and answered, in order: for tests and for people who want to see what a tool really sends.

Tokens and secrets are never kept, whichever way they went. The logins stand apart, in `logins`: most questions are
about what ARM was asked. `write_to` makes a file that grows as things happen, one JSON object a line; `read` reads it.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import parse_qsl

from azurerm_lite._common.parsing import parse_json

from .exchange import Json

_HIDDEN_HEADERS = frozenset(
    {"authorization", "x-ms-authorization-auxiliary", "cookie", "proxy-authorization", "x-identity-header"}
)
_HIDDEN_FIELDS = frozenset({"adminPassword", "customData", "userData", "protectedSettings"}) | {
    *("protectedParameters", "runAsPassword")  # of run commands
}
# Of logins: in the forms that are sent, in the answers, and in the addresses of the interactive one.
_HIDDEN_OF_LOGINS = frozenset({
    *("client_secret", "client_assertion", "refresh_token", "code", "code_verifier", "device_code"),
    *("access_token", "id_token", "user_code", "message"),
})  # fmt: skip
MOST_ENTRIES = 20_000
# A link is not followed, a FIFO without a reader is an error instead of a wait, and Windows changes no byte.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange. `time` is the world's."""

    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json
    status: int
    answer_headers: dict[str, str]
    answer: Json


def redacted(value: Json, hidden: frozenset[str] = _HIDDEN_FIELDS) -> Json:
    if isinstance(value, dict):
        return {key: _hidden(one) if key in hidden else redacted(one, hidden) for key, one in value.items()}
    return [redacted(one, hidden) for one in value] if isinstance(value, list) else value


def _hidden(value: Json) -> Json:
    """A secret's place, of the type that the secret has; that there is none is no secret."""
    if value in (None, {}, []):
        return value
    if isinstance(value, list):
        return [dict.fromkeys(one, "(secret)") if isinstance(one, dict) else "(secret)" for one in value]
    return {"hidden": "(secret)"} if isinstance(value, dict) else "(secret)"


def redacted_login(value: Json) -> Json:
    """A form or a document of the login service, without what would let somebody log in."""
    if isinstance(value, str):
        value = dict(parse_qsl(value, keep_blank_values=True))
    return redacted(value, _HIDDEN_OF_LOGINS) if isinstance(value, dict) else None


class RecordError(ValueError):
    """A line that is no exchange, and where it stands."""


class Journal:
    """The newest exchanges, oldest first. `listeners` hear of every exchange of every emulator in this process."""

    listeners: ClassVar[list[Callable[[Entry], object]]] = []

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.logins: list[Entry] = []
        self.keeps_answers = True
        self._file: BinaryIO | None = None

    def add(self, entry: Entry) -> None:
        self._keep(self.entries, entry)
        for listener in self.listeners if self.keeps_answers else ():
            listener(entry)

    def add_login(self, entry: Entry) -> None:
        self._keep(self.logins, entry)

    def _keep(self, kept: list[Entry], entry: Entry) -> None:
        kept.append(entry)
        if self._file is not None:
            self._file.write(_line(entry))
        if len(kept) > MOST_ENTRIES:
            del kept[: MOST_ENTRIES // 10]

    def write_to(self, path: str) -> None:
        """Append every exchange from now on to a file, which only its owner may read."""
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
        if hasattr(os, "fchmod"):  # on Windows since Python 3.13 only
            os.fchmod(opened, 0o600)  # whoever made it readable for others before
        self._file = os.fdopen(opened, "ab", buffering=0)

    def clear(self) -> None:
        """Forget what was said; a file keeps it."""
        self.entries.clear()
        self.logins.clear()

    def close(self) -> None:
        """Write to no file any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def find(self, method: str = "", path: str = "") -> list[Entry]:
        """Exchanges with this method and with this text in their path (case-blind)."""
        return [e for e in self.entries if method in ("", e.method) and path.lower() in e.path.lower()]

    def writes(self) -> list[Entry]:
        """Everything that was not a GET."""
        return [e for e in self.entries if e.method != "GET"]


def _line(entry: Entry) -> bytes:
    return json.dumps({one.name: getattr(entry, one.name) for one in fields(entry)}).encode() + b"\n"


def read(path: str) -> Iterator[Entry]:
    """The exchanges in a file that `write_to` has made, oldest first; RecordError for a line that is none."""
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path!a} line {number} is no exchange"
            found = parse_json(line, RecordError, where)
            if not isinstance(found, dict) or set(found) != {one.name for one in fields(Entry)}:
                raise RecordError(where)
            yield Entry(**found)


def headers_kept(headers: dict[str, str]) -> dict[str, Any]:
    return {key: "(secret)" if key in _HIDDEN_HEADERS else value for key, value in headers.items()}
