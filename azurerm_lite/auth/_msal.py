"""Run msal over our own transport, restricted to the login hosts, and turn its results into Token or CredentialError.

msal is imported when the first token is needed. Each acquisition uses new msal objects without their caches, which
would keep an error for a minute and lose a valid token to a 503; Credential caches and retries instead. Only the
refresh tokens of people stay in a cache of msal.
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
from ..clouds import NetworkSettings
from ..errors import CredentialError, ProtocolError, TransportError, printable
from .tokens import LATEST_END, UNFIT, Token, is_token

if TYPE_CHECKING:
    from .._http.transport import Response, Transport


class Login(NamedTuple):
    """How to connect to the login service. `authority`: its address."""

    authority: str = clouds.PUBLIC.authority
    network: NetworkSettings = clouds.DIRECT
    now: Callable[[], float] = time.time
    sleep: Callable[[float], object] = time.sleep


DEFAULT_LOGIN = Login()

# The discovery document of Azure China points to this host.
_ALSO_ALLOWED = {clouds.CHINA.authority: ("https://login.partner.microsoftonline.cn",)}


class LoginHttpClient:
    """An HTTP client for msal that uses our transport and connects to the given origins only.

    `status`, `retry_after`: of the last response; msal does not report them.
    """

    def __init__(self, origins: tuple[str, ...], network: NetworkSettings, seconds: float = 60.0) -> None:
        self._origins, self._network, self._seconds = origins, network, seconds
        self._transports: dict[str, Transport] = {}
        self.status = 0
        self.retry_after: float | None = None

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> "_LoginResponse":
        return self._send("GET", _with_query(url, params), headers, None)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> "_LoginResponse":
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        body = data if isinstance(data, bytes | str) else urlencode(data or {})
        return self._send("POST", _with_query(url, params), {**form, **(headers or {})}, body)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _send(self, method: str, url: str, headers: Any, body: bytes | str | None) -> "_LoginResponse":
        origin = next((allowed for allowed in self._origins if url.startswith(allowed + "/")), None)
        if origin is None:
            raise ProtocolError(f"the login service pointed to {printable(url, 120)}: not followed")
        data = body.encode() if isinstance(body, str) else body
        lengths = {} if data is None else {"Content-Length": str(len(data))}
        self.status, self.retry_after = 0, None
        response = self._transport(origin).send(method, url[len(origin) :], {**(headers or {}), **lengths}, data)
        self.status, self.retry_after = response.status, wire.retry_after(response.headers)
        return _LoginResponse(response)

    def _transport(self, origin: str) -> "Transport":
        with forks.importing:
            from .._http.transport import Timeouts, Transport  # noqa: PLC0415  (imports requests)

        if origin not in self._transports:
            limits = Timeouts(min(5.0, self._seconds), min(30.0, self._seconds), self._seconds)
            self._transports[origin] = Transport(origin, self._network, timeouts=limits)
        return self._transports[origin]


class _LoginResponse:
    """A response as msal reads it. A body that is not JSON is dropped, since msal would log it with any token in it.

    A 5xx with an error code gets the status 400, because msal reports the code of a 4xx only.
    """

    def __init__(self, response: "Response") -> None:
        self.status_code, self.headers = response.status, response.headers
        try:
            document = parse_json(response.body, CredentialError)
        except CredentialError:
            document = {"error": "invalid_response", "error_description": "the login service did not answer in JSON"}
        if response.status >= 500 and isinstance(document, dict) and document.get("error"):
            self.status_code = 400
        self.text = json.dumps(document)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise CredentialError(f"the login service answered {self.status_code}", code=str(self.status_code))


def _with_query(url: str, params: Any) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url


def acquire_with_msal(
    kind: str,
    login: Login,
    acquire: Callable[[Any, LoginHttpClient], Any],
    http: LoginHttpClient | None = None,
    transient: frozenset[int] = frozenset({408, 429}),
) -> Token:
    """Acquire a token with `acquire(msal, http)`, which returns msal's result.

    `kind`: of the credential, for messages. `http`: by default a client for `login`. `transient`: the statuses below
    500 after which another attempt may succeed.
    Raises: CredentialError, whatever msal raises or returns.
    """
    with forks.importing:
        import msal  # noqa: PLC0415  (imported when the first token is needed)

    http = http or LoginHttpClient((login.authority, *_ALSO_ALLOWED.get(login.authority, ())), login.network)
    try:
        return _token_of(kind, acquire(msal, http), login)
    except CredentialError as error:
        failure = error
    except TransportError as error:
        is_transient, code = error.is_transient, "unreachable" if error.is_transient else "refused"
        failure = CredentialError(f"{kind}: {error}", code=code, is_transient=is_transient)
    except Exception as error:  # msal has no common base of its errors
        text = f"{kind}: no token from {login.authority}: {first_line(error)}"
        failure = CredentialError(text, code=type(error).__name__)
    finally:
        http.close()
    if http.status in transient or http.status >= 500:
        failure.is_transient, failure.retry_after = True, http.retry_after
    raise failure


def _token_of(kind: str, result: Any, login: Login) -> Token:
    """The token in msal's result. Raises: CredentialError with Entra's code and first line."""
    result = result if isinstance(result, Mapping) else {}
    if not result.get("access_token"):
        raise _refusal(kind, result, login)
    if not is_token(result["access_token"]):
        raise CredentialError(f"{kind}: what {login.authority} gave {UNFIT}")

    def failure(why: str) -> CredentialError:
        return CredentialError(f"{kind}: {login.authority} gave a token without an end: {why}", code="bad_expires_in")

    lifetime = finite_number(result.get("expires_in", 600), failure, "expires_in", least=-LATEST_END, most=LATEST_END)
    return Token(result["access_token"], int(login.now()) + int(lifetime))


def _refusal(kind: str, result: Mapping[str, Any], login: Login) -> CredentialError:
    """The error in msal's result. By Entra's error numbers it is transient or not."""
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
