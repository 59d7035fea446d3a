"""What was asked and answered, in order: for tests and for people who want to see what a tool really sends.

Logins are left out, and tokens and secrets are never kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .exchange import Json

_HIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-identity-header"})
_HIDDEN_FIELDS = frozenset({"adminPassword", "customData", "userData", "protectedSettings"})
MOST_ENTRIES = 20_000


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


def redacted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _hidden(inner) if key in _HIDDEN_FIELDS else redacted(inner) for key, inner in value.items()}
    return [redacted(inner) for inner in value] if isinstance(value, list) else value


def _hidden(value: Json) -> Json:
    """A secret's place, of the type that the secret has."""
    return {"hidden": "(secret)"} if isinstance(value, dict) else "(secret)"


class Journal:
    """The newest exchanges, oldest first. `listeners` hear of every exchange of every emulator in this process."""

    listeners: ClassVar[list[Callable[[Entry], object]]] = []

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.keeps_answers = True

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        for listener in self.listeners if self.keeps_answers else ():
            listener(entry)
        if len(self.entries) > MOST_ENTRIES:
            del self.entries[: MOST_ENTRIES // 10]

    def find(self, method: str = "", path: str = "") -> list[Entry]:
        """Exchanges with this method and with this text in their path (case-blind)."""
        return [e for e in self.entries if method in ("", e.method) and path.lower() in e.path.lower()]

    def writes(self) -> list[Entry]:
        """Everything that was not a GET."""
        return [e for e in self.entries if e.method != "GET"]


def headers_kept(headers: dict[str, str]) -> dict[str, Any]:
    return {key: "(secret)" if key in _HIDDEN_HEADERS else value for key, value in headers.items()}
