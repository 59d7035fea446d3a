"""Ways to get a token: one function for each, all by msal or by calling out, and the walk through the environment.

msal is imported when the first token is needed. Its objects are made anew each time and its caches are not used: they
would keep an error for a minute, and lose a token in hand to a 503. The cache is Credential's alone.
Secrets live in closures here and in no message, repr, log or file.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from . import clouds
from .auth import Credential, Token, checked_token, first_line
from .clouds import Reach
from .errors import CredentialError, InvalidInput, ProtocolError, TransportError, printable
from .types import JsonDict

if TYPE_CHECKING:
    from .transport import Answer, Transport

log = logging.getLogger(__name__)

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


class Login(NamedTuple):
    """How to reach the login service: everything that a flow needs besides who is asking."""

    authority: str = clouds.PUBLIC.authority
    reach: Reach = clouds.DIRECT
    now: Callable[[], float] = time.time


DEFAULT_LOGIN = Login()

# Azure China's discovery document sends clients on to this host.
_ALSO_ALLOWED = {clouds.CHINA.authority: ("https://login.partner.microsoftonline.cn",)}


class LoginHttp:
    """The HTTP client that msal is given: our transport, to the hosts that we name and to no others."""

    def __init__(self, origins: tuple[str, ...], reach: Reach) -> None:
        self._origins, self._reach = origins, reach
        self._transports: dict[str, Transport] = {}

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
        origin = next((one for one in self._origins if url.startswith(one + "/")), None)
        if origin is None:
            raise ProtocolError(f"the login service pointed to {printable(url, 120)}: not followed")
        data = body.encode() if isinstance(body, str) else body
        lengths = {} if data is None else {"Content-Length": str(len(data))}
        answer = self._transport(origin).send(method, url[len(origin) :], {**(headers or {}), **lengths}, data)
        return _LoginAnswer(answer)

    def _transport(self, origin: str) -> "Transport":
        from .transport import Timeouts, Transport  # noqa: PLC0415  (imports requests)

        if origin not in self._transports:
            limits = Timeouts(connect=5.0, read=30.0, total=60.0)
            self._transports[origin] = Transport(origin, self._reach, timeouts=limits)
        return self._transports[origin]


class _LoginAnswer:
    """What msal reads of an answer. A body that is not JSON is dropped here: msal would log it, token and all."""

    def __init__(self, answer: "Answer") -> None:
        self.status_code, self.headers = answer.status, answer.headers
        try:
            self.text = json.dumps(json.loads(answer.body))
        except (ValueError, RecursionError):
            self.text = '{"error":"invalid_response","error_description":"the login service did not answer in JSON"}'

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise CredentialError(f"the login service answered {self.status_code}", code=str(self.status_code))


def _with_query(url: str, params: Any) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url


def _by_msal(
    kind: str, login: Login, ask: Callable[[Any, LoginHttp, str | None], Any]
) -> Callable[[str | None], Token]:
    """An acquisition by msal: `ask(msal, http, claims)` does it, and every way to fail becomes one clear line."""

    def acquire(claims: str | None) -> Token:
        import msal  # noqa: PLC0415  (imported when the first token is needed)

        http = LoginHttp((login.authority, *_ALSO_ALLOWED.get(login.authority, ())), login.reach)
        try:
            result = ask(msal, http, claims)
        except CredentialError:
            raise
        except TransportError as error:
            reason, code = f"{kind}: {error}", "unreachable"
        except Exception as error:  # msal raises ValueError, its own errors and others for one thing: no token
            reason, code = f"{kind}: no token from {login.authority}: {first_line(error)}", type(error).__name__
        else:
            return _token_of(kind, result, login)
        finally:
            http.close()
        raise CredentialError(reason, code=code)

    return acquire


def _token_of(kind: str, result: Any, login: Login) -> Token:
    """The token in msal's answer, or an error with Entra's own code and first line."""
    result = result if isinstance(result, Mapping) else {}
    if not result.get("access_token"):
        code = str(result.get("error") or "no_token")
        text = str(result.get("error_description") or "the login service gave no token").partition("\n")[0]
        text = re.sub(r"\s*Trace ID:.*", "", text)
        raise CredentialError(
            f"{kind}: {login.authority} refused ({printable(code, 60)}): {printable(text, 400)}", code=code
        )
    try:
        lifetime = int(result.get("expires_in") or 0)
    except (TypeError, ValueError):
        lifetime = 0
    return Token(checked_token(result["access_token"], "what the login service gave"), int(login.now()) + lifetime)


def client_secret_credential(tenant_id: str, client_id: str, secret: str, login: Login = DEFAULT_LOGIN) -> Credential:
    """A service principal with a client secret."""
    _check_principal(tenant_id, client_id)
    if not isinstance(secret, str) or not secret:
        raise InvalidInput("client secret must be a non-empty string")
    return _service_principal("client secret", tenant_id, client_id, lambda: secret, login)


def _service_principal(kind: str, tenant_id: str, client_id: str, proof: Callable[[], Any], login: Login) -> Credential:
    """Client credentials flow; `proof` is asked at each acquisition for what msal calls client_credential."""
    title = f"{kind} of client {client_id}"

    def acquire(scope: str, claims: str | None) -> Token:
        def ask(msal: Any, http: LoginHttp, claims: str | None) -> Any:
            app = msal.ConfidentialClientApplication(
                client_id,
                client_credential=proof(),
                authority=f"{login.authority}/{tenant_id}",
                instance_discovery=False,
                http_client=http,
            )
            return app.acquire_token_for_client(scopes=[scope], claims_challenge=claims)

        return _by_msal(title, login, ask)(claims)

    return Credential(title, acquire, now=login.now)


def _check_principal(tenant_id: str, client_id: str) -> None:
    if not isinstance(tenant_id, str) or not _TENANT.fullmatch(tenant_id):
        raise InvalidInput(f"tenant must be a GUID or a domain name, not {printable(repr(tenant_id), 80)}")
    if not isinstance(client_id, str) or not _TENANT.fullmatch(client_id):
        raise InvalidInput(f"client id must be a GUID, not {printable(repr(client_id), 80)}")


def get_access_token(tenant_id: str, client_id: str, client_secret: str, *, env: Mapping[str, str] = os.environ) -> str:
    """A bearer token for Azure Resource Manager, good for about an hour: azurerm's call, under its own name.

    The environment may name the cloud, a CA file and a proxy. Prefer `connect()`: an Arm renews its token by itself.
    """
    cloud = clouds.cloud_from_environment(env)
    login = Login(cloud.authority, clouds.reach_from_environment(env))
    return client_secret_credential(tenant_id, client_id, client_secret, login).get_token(cloud.scope).token


# --- other proofs of the same principal ------------------------------------------------------------------------------


def certificate_credential(
    tenant_id: str,
    client_id: str,
    path: str,
    password: str | None = None,
    *,
    send_chain: bool = False,
    login: Login = DEFAULT_LOGIN,
) -> Credential:
    """A service principal with a certificate: PEM with key and certificate, or PFX. Read anew at each acquisition.

    `send_chain`: subject name and issuer authentication, where a renewed certificate needs no new registration.
    """
    _check_principal(tenant_id, client_id)
    return _service_principal(
        "certificate", tenant_id, client_id, lambda: _certificate(path, password, send_chain), login
    )


def _certificate(path: str, password: str | None, send_chain: bool) -> JsonDict:
    data = _read(path, "certificate")
    if b"-----BEGIN" not in data:
        proof: JsonDict = {"private_key_pfx_path": path, "passphrase": password}
        return {**proof, "public_certificate": True} if send_chain else proof
    text = data.decode("ascii", "replace")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    keys = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", text, re.DOTALL)
    if not blocks or not keys:
        raise CredentialError(f"{path} must hold a private key and its certificate in PEM form")
    proof = {"private_key": keys[0], "passphrase": password}
    if send_chain:
        return {**proof, "public_certificate": "\n".join(blocks)}
    return {**proof, "thumbprint": _thumbprint(blocks[0])}


def _thumbprint(pem: str) -> str:
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return hashlib.sha1(der, usedforsecurity=False).hexdigest()  # what Entra calls the thumbprint


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(65_536)
    except OSError as error:
        raise CredentialError(f"cannot read the {what} file {path}: {error.strerror}") from None


def workload_identity_credential(
    tenant_id: str, client_id: str, token_file: str, login: Login = DEFAULT_LOGIN
) -> Credential:
    """A service principal proved by another issuer's token in a file (AKS, GitHub). Re-read at each acquisition.

    https://learn.microsoft.com/entra/workload-id/workload-identity-federation
    """
    _check_principal(tenant_id, client_id)

    def proof() -> JsonDict:
        assertion = _read(token_file, "federated token").decode("ascii", "replace").strip()
        if not assertion:
            raise CredentialError(f"the federated token file {token_file} is empty")
        return {"client_assertion": lambda: assertion}

    return _service_principal("workload identity", tenant_id, client_id, proof, login)


# --- az ------------------------------------------------------------------------------------------------------------

AZ_SECONDS = 30.0
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def azure_cli_credential(
    *, env: Mapping[str, str] = os.environ, run: Run = subprocess.run, now: Callable[[], float] = time.time
) -> Credential:
    """Whoever is logged in to az on this machine: `az account get-access-token`, without a shell."""

    def acquire(scope: str, claims: str | None) -> Token:
        if claims is not None:
            raise CredentialError("Azure wants a token with more claims: log in again with az login")
        program = shutil.which("az", path=env.get("PATH", ""))
        if program is None:
            raise CredentialError("az is not installed, or not on PATH", code="az_not_found")
        resource = scope.removesuffix("/.default")
        line = [program, "account", "get-access-token", "--output", "json", "--resource", resource]
        try:
            done = run(line, env=dict(env), capture_output=True, timeout=AZ_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = f"az could not be run: {type(error).__name__} after at most {AZ_SECONDS:g} s"
        else:
            return _token_of_az(done)
        raise CredentialError(reason, code="az_failed")

    return Credential("az login", acquire, now=now)


def _token_of_az(done: "subprocess.CompletedProcess[bytes]") -> Token:
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise CredentialError(f"az gave no token: {printable(lines[-1], 300)}", code="az_failed")
    try:
        found = json.loads(done.stdout)
        token, expires_on = found["accessToken"], int(found["expires_on"])
    except (ValueError, KeyError, TypeError):
        reason = "az did not answer with accessToken and expires_on: az 2.54 or newer is needed"
    else:
        return Token(checked_token(token, "what az gave"), expires_on)
    raise CredentialError(reason, code="az_failed")


# --- what the environment has ----------------------------------------------------------------------------------------


def from_environment(env: Mapping[str, str], login: Login) -> Credential:
    """The first credential that the environment has what it needs for; CredentialError lists what was tried.

    In this order: client secret, certificate, federated token file, az login. AZURE_TOKEN_CREDENTIALS=prod leaves out
    az, =dev everything else.
    """
    choice = env.get("AZURE_TOKEN_CREDENTIALS", "").lower()
    tried = []
    for name, group, find in _CHAIN:
        if choice in ("prod", "dev") and choice != group:
            continue
        found = find(env, login)
        if isinstance(found, Credential):
            log.info("credential: %s", found.kind)
            return found
        tried.append(f"{name} ({found})")
    raise CredentialError(
        f"no credential found. Tried: {'; '.join(tried)}. "
        "To try azurerm_lite without Azure, run: python -m azurerm_lite.emulator --env"
    )


def _missing(env: Mapping[str, str], *names: str) -> str:
    absent = [name for name in names if not env.get(name)]
    return f"{', '.join(absent)} not set" if absent else ""


def _secret_from(env: Mapping[str, str], login: Login) -> Credential | str:
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
    if missing := _missing(env, *names):
        return missing
    tenant, client, secret = (env[name] for name in names)
    return client_secret_credential(tenant, client, secret, login)


def _certificate_from(env: Mapping[str, str], login: Login) -> Credential | str:
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH")
    if missing := _missing(env, *names):
        return missing
    chain = env.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    password = env.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
    tenant, client, path = (env[name] for name in names)
    return certificate_credential(tenant, client, path, password, send_chain=chain, login=login)


def _federated_from(env: Mapping[str, str], login: Login) -> Credential | str:
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")
    if missing := _missing(env, *names):
        return missing
    tenant, client, file = (env[name] for name in names)
    return workload_identity_credential(tenant, client, file, login)


def _az_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if shutil.which("az", path=env.get("PATH", "")) is None:
        return "az is not on PATH"
    return azure_cli_credential(env=env, now=login.now)


_CHAIN: tuple[tuple[str, str, Callable[[Mapping[str, str], Login], Credential | str]], ...] = (
    ("client secret", "prod", _secret_from),
    ("certificate", "prod", _certificate_from),
    ("federated token file", "prod", _federated_from),
    ("az login", "dev", _az_from),
)
