"""Who may talk to the editor: one browser, on this machine, and no page but our own.

The link in the terminal holds a token that works once, for some minutes. It becomes two secrets: a cookie that no
script can read, and a key that only pages of our own origin can (cookies know no ports: a browser shows ours to every
server on 127.0.0.1). What is asked of /api needs both. A session ends when no page has asked for an hour, and after
twelve hours in any case.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# No script or style but ours, none of it inline, and no way from a string to markup: the page is built of text nodes.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
KEY_HEADER = "X-Vmsseditor-Key"
MOST_BYTES = 100_000  # of a request
LINK_SECONDS = 300.0  # that an unused link works
IDLE_SECONDS, SESSION_SECONDS = 3600.0, 12 * 3600.0  # that a session lasts without a request, and at most


@dataclass
class Session:
    """What a link became: the key of its pages, and when it began and was last used."""

    key: str
    began: float
    used: float


class Door:
    """The links that still open, and the sessions that they opened. `now`: the time in seconds."""

    def __init__(self, port: int, now: Callable[[], float] = time.time) -> None:
        self.cookie = f"vmsseditor-{port}"
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.on_enter: Callable[[], None] = lambda: None
        self._port, self._now = port, now
        self._tokens: dict[str, float] = {}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def link(self) -> str:
        """The address to open, once, within `LINK_SECONDS`."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._expire()
            self._tokens[token] = self._now()
        return f"http://127.0.0.1:{self._port}/?token={token}"

    def enter(self, token: str, session: str = "") -> tuple[str, str] | None:
        """A session and its key for a token that still works; None for any other.

        `session`: the one that the browser has already. It goes on, so that an older tab is not shut out.
        """
        with self._lock:
            self._expire()
            if self._tokens.pop(token, None) is None:
                return None
            if session not in self._sessions:
                session = secrets.token_urlsafe(32)
            known = self._sessions.get(session)
            key = known.key if known else secrets.token_urlsafe(32)
            self._sessions[session] = Session(key, self._now(), self._now())
        self.on_enter()
        return session, key

    def has_session(self, session: str) -> bool:
        """Whether a cookie belongs to a session that has not ended; it counts as used."""
        return bool(self._key(session))

    def has_key(self, session: str, key: str) -> bool:
        """Whether cookie and key belong together, and to a session that has not ended."""
        known = self._key(session)
        return bool(known) and hmac.compare_digest(known.encode(), key.encode("utf-8", "replace"))

    def _key(self, session: str) -> str:
        with self._lock:
            self._expire()
            if (known := self._sessions.get(session)) is None:
                return ""
            known.used = self._now()
            return known.key

    def _expire(self) -> None:
        now = self._now()
        self._tokens = {token: at for token, at in self._tokens.items() if now - at <= LINK_SECONDS}
        self._sessions = {
            name: session
            for name, session in self._sessions.items()
            if now - session.used <= IDLE_SECONDS and now - session.began <= SESSION_SECONDS
        }


def foreign_host(hosts: set[str], headers: Mapping[str, str]) -> str:
    """Why a request is not for us: a name that was made to lead here is not our name."""
    host = headers.get("Host", "")
    return "" if host in hosts else "this editor answers under its own address only"


def foreign_page(method: str, headers: Mapping[str, str]) -> str:
    """Why a request does not come from our page; "" when it does."""
    ours = f"http://{headers.get('Host', '')}"
    origin = headers.get("Origin")
    if origin not in (None, ours) or headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "another page asked for this"
    if method == "POST" and origin is None:
        return "a write must say which page it comes from"
    if method == "POST" and headers.get("Content-Type", "").partition(";")[0] != "application/json":
        return "a write is JSON"
    return ""
