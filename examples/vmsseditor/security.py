"""Who may talk to the editor: one browser, on this machine, and no page but our own.

The link in the terminal holds a token that works once. It becomes two secrets: a cookie that no script can read, and a
key that only pages of our own origin can (cookies know no ports: a browser shows ours to every server on 127.0.0.1).
What is asked of /api needs both.
"""

import hmac
import secrets
from collections.abc import Mapping

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


class Door:
    """The tokens that still open, and the sessions that they opened."""

    def __init__(self, port: int) -> None:
        self.cookie = f"vmsseditor-{port}"
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._port = port
        self._tokens: set[str] = set()
        self._sessions: dict[str, str] = {}

    def link(self) -> str:
        """The address to open, once."""
        token = secrets.token_urlsafe(32)
        self._tokens.add(token)
        return f"http://127.0.0.1:{self._port}/?token={token}"

    def enter(self, token: str) -> tuple[str, str] | None:
        """A session and its key for a token that has not been used; None for any other."""
        try:
            self._tokens.remove(token)
        except KeyError:
            return None
        session, key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._sessions[session] = key
        return session, key

    def has_session(self, session: str) -> bool:
        return session in self._sessions

    def has_key(self, session: str, key: str) -> bool:
        known = self._sessions.get(session, "")
        return bool(known) and hmac.compare_digest(known.encode(), key.encode("utf-8", "replace"))


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
