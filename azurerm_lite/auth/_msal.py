"""How msal is let out: the login service that it may talk to, by our own transport, and what becomes of its responses.

msal is imported when the first token is needed. Its objects are made anew each time and its caches are not used, but
for the refresh tokens of people: they would keep an error for a minute, and lose a valid token to a 503. The cache, and
trying again, are Credential's alone.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from .. import _advice, clouds
from .._common import forks
from .._common.parsing import finite_number, parse_json
from .._http import wire
from .._text import first_line
from ..clouds import Reach
from ..errors import CredentialError, ProtocolError, TransportError, printable
from .tokens import LATEST_END, UNFIT, Token, is_token

if TYPE_CHECKING:
    from .._http.transport import Answer, Transport


class Login(NamedTuple):
    """How to reach the login service: everything that a flow needs besides who is asking."""

    authority: str = clouds.PUBLIC.authority
    reach: Reach = clouds.DIRECT
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep


DEFAULT_LOGIN = Login()


# Azure China's discovery document sends clients on to this host.
_ALSO_ALLOWED = {clouds.CHINA.authority: ("https://login.partner.microsoftonline.cn",)}


class LoginHttp:
    """The HTTP client that msal is given: our transport, to the hosts that we name and to no others.

    `status` and `retry_after` are those of the last response: msal does not pass them on.
    """

    def __init__(self, origins: tuple[str, ...], reach: Reach, seconds: float = 60.0) -> None:
        self._origins, self._reach, self._seconds = origins, reach, seconds
        self._transports: dict[str, Transport] = {}
        self.status = 0
        self.retry_after: float | None = None

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> "_LoginAnswer":
        return self._send("GET", _with_query(url, params), headers, None)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> "_LoginAnswer":
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        body = data if isinstance(data, bytes | str) else urlencode(data or {})
        return self._send("POST", _with_query(url, params), {**form, **(headers or {})}, body)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _send(self, method: str, url: str, headers: Any, body: bytes | str | None) -> "_LoginAnswer":
        origin = next((allowed for allowed in self._origins if url.startswith(allowed + "/")), None)
        if origin is None:
            raise ProtocolError(f"the login service pointed to {printable(url, 120)}: not followed")
        data = body.encode() if isinstance(body, str) else body
        lengths = {} if data is None else {"Content-Length": str(len(data))}
        self.status, self.retry_after = 0, None
        answer = self._transport(origin).send(method, url[len(origin) :], {**(headers or {}), **lengths}, data)
        self.status, self.retry_after = answer.status, wire.retry_after(answer.headers)
        return _LoginAnswer(answer)

    def _transport(self, origin: str) -> "Transport":
        with forks.importing:
            from .._http.transport import Timeouts, Transport  # noqa: PLC0415  (imports requests)

        if origin not in self._transports:
            limits = Timeouts(min(5.0, self._seconds), min(30.0, self._seconds), self._seconds)
            self._transports[origin] = Transport(origin, self._reach, timeouts=limits)
        return self._transports[origin]


class _LoginAnswer:
    """What msal reads of a response. A body that is not JSON is dropped here: msal would log it, token and all.

    A failure of the service is shown as a refusal when it has a code: of a 5xx msal says the status alone.
    """

    def __init__(self, answer: "Answer") -> None:
        self.status_code, self.headers = answer.status, answer.headers
        try:
            document = parse_json(answer.body, CredentialError)
        except CredentialError:
            document = {"error": "invalid_response", "error_description": "the login service did not answer in JSON"}
        if answer.status >= 500 and isinstance(document, dict) and document.get("error"):
            self.status_code = 400
        self.text = json.dumps(document)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise CredentialError(f"the login service answered {self.status_code}", code=str(self.status_code))


def _with_query(url: str, params: Any) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url


Ask = Callable[[Any, LoginHttp, str | None], Any]


def by_msal(
    kind: str,
    login: Login,
    ask: Ask,
    http_of: Callable[[], LoginHttp] | None = None,
    transient: frozenset[int] = frozenset({408, 429}),
) -> Callable[[str | None], Token]:
    """An acquisition by msal: `ask(msal, http, claims)` does it, and every way to fail becomes one clear line.

    `transient`: the statuses below 500 after which asking again may help.
    """

    def acquire(claims: str | None) -> Token:
        with forks.importing:
            import msal  # noqa: PLC0415  (imported when the first token is needed)

        origins = (login.authority, *_ALSO_ALLOWED.get(login.authority, ()))
        http = http_of() if http_of else LoginHttp(origins, login.reach)
        try:
            return token_of(kind, ask(msal, http, claims), login)
        except CredentialError as error:
            failure = error
        except TransportError as error:
            is_transient, code = error.is_transient, "unreachable" if error.is_transient else "refused"
            failure = CredentialError(f"{kind}: {error}", code=code, is_transient=is_transient)
        except Exception as error:  # msal raises ValueError, its own errors and others for one thing: no token
            text = f"{kind}: no token from {login.authority}: {first_line(error)}"
            failure = CredentialError(text, code=type(error).__name__)
        finally:
            http.close()
        if http.status in transient or http.status >= 500:
            failure.is_transient, failure.retry_after = True, http.retry_after
        raise failure

    return acquire


def token_of(kind: str, result: Any, login: Login) -> Token:
    """The token in msal's answer, or an error with Entra's own code and first line."""
    result = result if isinstance(result, Mapping) else {}
    if not result.get("access_token"):
        raise _refused(kind, result, login)
    if not is_token(result["access_token"]):
        raise CredentialError(f"{kind}: what {login.authority} gave {UNFIT}")

    def failure(why: str) -> CredentialError:
        return CredentialError(f"{kind}: {login.authority} gave a token without an end: {why}", code="bad_expires_in")

    lifetime = finite_number(result.get("expires_in", 600), failure, "expires_in", least=-LATEST_END, most=LATEST_END)
    return Token(result["access_token"], int(login.now()) + int(lifetime))


def _refused(kind: str, result: Mapping[str, Any], login: Login) -> CredentialError:
    """The refusal in msal's answer. Entra's numbers say whether asking again may help."""
    code = str(result.get("error") or "no_token")
    text = str(result.get("error_description") or "the login service gave no token").partition("\n")[0]
    numbers = result.get("error_codes")
    codes = [code, *map(str, numbers if isinstance(numbers, list) else []), *re.findall(r"AADSTS\d+", text)]
    text = re.sub(r"\s*Trace ID:.*", "", text)
    return CredentialError(
        f"{kind}: {login.authority} refused ({printable(code, 60)}): {printable(text, 400)}",
        code=code,
        is_transient=any(map(_advice.is_transient, codes)),
    )
