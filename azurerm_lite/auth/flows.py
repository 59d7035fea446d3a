"""Ways to get a token: one function for each, all by msal (in `login`) or by calling out, and the walk through the
environment.

Secrets live in closures here and in no message, repr, log or file; what an acquisition raises loses its frames.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import functools
import hashlib
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .. import _advice, clouds
from .._common import arguments, forks
from .._common.parsing import parse_json, parse_with
from .._common.secrecy import conceals
from ..clouds import Reach
from ..errors import CredentialError, InvalidInput, TransportError, printable, short_repr
from ..types import JsonDict
from . import tenants
from ._msal import DEFAULT_LOGIN, Login, LoginHttp, by_msal
from .credential import Credential
from .tokens import UNFIT, Acquire, Token, end_of, is_token

log = logging.getLogger(__name__)


@conceals
def client_secret_credential(tenant_id: str, client_id: str, secret: str, login: Login = DEFAULT_LOGIN) -> Credential:
    """A service principal with a client secret."""
    if not isinstance(secret, str) or not secret:
        raise InvalidInput("client secret must be a non-empty string")
    _check_principal(tenant_id, client_id, login)
    return _service_principal("client secret", tenant_id, client_id, lambda: secret, login)


def _service_principal(kind: str, tenant_id: str, client_id: str, proof: Callable[[], Any], login: Login) -> Credential:
    """Client credentials flow; `proof` is asked at each acquisition for what msal calls client_credential."""
    title = f"{kind} of client {client_id}"

    def acquire_in(tenant: str) -> Acquire:
        def acquire(scope: str, claims: str | None) -> Token:
            def ask(msal: Any, http: LoginHttp, claims: str | None) -> Any:
                app = msal.ConfidentialClientApplication(
                    client_id,
                    client_credential=proof(),
                    authority=f"{login.authority}/{tenant}",
                    instance_discovery=False,
                    http_client=http,
                )
                return app.acquire_token_for_client(scopes=[scope], claims_challenge=claims)

            return by_msal(title, login, ask)(claims)

        return acquire

    return Credential(title, acquire_in(tenant_id), now=login.now, sleep=login.sleep, acquire_in=acquire_in)


def _check_principal(tenant_id: str, client_id: str, login: Login) -> None:
    tenants.check_tenant(tenant_id)
    if not isinstance(client_id, str) or not tenants.TENANT.fullmatch(client_id):
        raise InvalidInput(f"client id must be a GUID, not {short_repr(client_id)}")
    arguments.typed(Login, login=login)
    arguments.typed(Reach, reach=login.reach)
    arguments.typed(Callable, now=login.now, sleep=login.sleep)
    clouds.base_address(login.authority, "login.authority")


@conceals
def get_access_token(
    tenant_id: str, client_id: str, client_secret: str, *, env: Mapping[str, str] | None = None
) -> str:
    """A bearer token for Azure Resource Manager, good for about an hour: azurerm's call, under its own name.

    `env` (by default the environment of the process) may name the cloud, a CA file and a proxy. Prefer `connect()`: an
    Arm renews its token by itself.
    """
    names = arguments.environment(os.environ if env is None else env)
    cloud = clouds.cloud_from_environment(names)
    login = Login(cloud.authority, clouds.reach_from_environment(names))
    return client_secret_credential(tenant_id, client_id, client_secret, login).get_token(cloud.scope).token


# --- other proofs of the same principal ------------------------------------------------------------------------------


@conceals
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
    _check_principal(tenant_id, client_id, login)
    arguments.typed(str, path=path, password="" if password is None else password)
    arguments.switch(send_chain, "send_chain")
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
    _check_principal(tenant_id, client_id, login)
    arguments.typed(str, token_file=token_file)

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
    *,
    env: Mapping[str, str] | None = None,
    run: Run = subprocess.run,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> Credential:
    """Whoever is logged in to az on this machine: `az account get-access-token`, without a shell.

    `env`: by default the environment of the process. az is looked for on its PATH, never in the current folder.
    """
    arguments.environment({} if env is None else env)
    arguments.typed(Callable, run=run)
    tenants: dict[str, str] = {}  # the tenant of the last token

    def acquire_in(tenant: str) -> Acquire:
        def acquire(scope: str, claims: str | None) -> Token:
            if claims is not None:
                raise _stronger_login(claims, tenant or tenants.get("", ""), scope)
            names = os.environ if env is None else env
            program = find_az(names)
            if program is None:
                raise CredentialError("az is not installed, or not on PATH", code="az_not_found")
            line = [program, "account", "get-access-token", "--output", "json"]
            line += ["--resource", scope.removesuffix("/.default"), *(["--tenant", tenant] if tenant else [])]
            document = _document_of_az(_run_az(line, names, run))
            tenants[tenant] = str(document.get("tenant") or "")
            return _token_of_az(document)

        return acquire

    return Credential("az login", acquire_in(""), now=now, sleep=sleep, acquire_in=acquire_in)


def find_az(env: Mapping[str, str], platform: str = os.name) -> str | None:
    """The path of az in one of the folders that PATH names, or None.

    Relative folders are passed over. So is the current one, where Windows and shutil.which look first: whoever may
    write there could run a program of their own as az.
    """
    is_windows = platform == "nt"
    path = next((value for name, value in env.items() if name == "PATH" or (is_windows and name.upper() == "PATH")), "")
    for folder in path.split(";" if is_windows else ":"):
        folder = folder.strip('"') if is_windows else folder  # noqa: PLW2901
        for name in ("az.cmd", "az.exe", "az.bat") if is_windows else ("az",):
            program = os.path.join(folder, name)  # noqa: PTH118
            if os.path.isabs(folder) and os.path.isfile(program) and os.access(program, os.X_OK):  # noqa: PTH117, PTH113
                return program
    return None


def _run_az(line: list[str], env: Mapping[str, str], run: Run) -> "subprocess.CompletedProcess[bytes]":
    """Run az away from the current folder: what it starts itself (Python, cmd) is not to be taken from there."""
    safe = {**env, "NoDefaultCurrentDirectoryInExePath": "1"} if os.name == "nt" else dict(env)
    folder = env.get("SYSTEMROOT") if os.name == "nt" else "/"
    try:
        return run(line, env=safe, cwd=folder, capture_output=True, timeout=AZ_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"az could not be run: {type(error).__name__} after at most {AZ_SECONDS:g} s"
    raise CredentialError(text, code="az_failed")


def _document_of_az(done: "subprocess.CompletedProcess[bytes]") -> JsonDict:
    """What az printed; CredentialError with az's own words when it failed, which may be for a while only.

    az says why in a line that begins with ERROR, and after it, line by line, the command that helps.
    """
    if done.returncode:
        lines = done.stderr[:20_000].decode("utf-8", "replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()] or ["no reason given"]
        first = next((number for number, line in enumerate(lines) if line.startswith("ERROR")), -1)
        text = " ".join(lines[first:])
        passing = any(map(_advice.is_transient, re.findall(r"AADSTS\d+", text)))
        raise CredentialError(f"az gave no token: {printable(text, 14_000)}", code="az_failed", is_transient=passing)
    document = parse_json(done.stdout, _not_from_az)
    if not isinstance(document, dict):
        raise _not_from_az("")
    return document


def _token_of_az(document: JsonDict) -> Token:
    text = document.get("accessToken")
    if "expires_on" not in document or text is None:
        raise _not_from_az("")
    if not is_token(text):
        raise CredentialError(f"what az gave {UNFIT}", code="az_failed")
    return Token(text, end_of(document["expires_on"], "az login"))


def _not_from_az(why: str) -> CredentialError:
    reason = f" ({why})" if why else ""
    text = f"az did not answer with accessToken and expires_on{reason}: az 2.54 or newer is needed"
    return CredentialError(text, code="az_failed")


def _stronger_login(claims: str, tenant: str, scope: str) -> CredentialError:
    """https://learn.microsoft.com/entra/identity/authentication/concept-mandatory-multifactor-authentication"""
    command = _advice.login_command(claims, tenant if tenants.TENANT.fullmatch(tenant) else "", scope)
    text = f"Azure demands a stronger login, such as multi-factor authentication. Run this, then try again: {command}"
    return CredentialError(text, code="claims_challenge")


# --- the machine's own identity --------------------------------------------------------------------------------------

IMDS = "http://169.254.169.254"
PROBE_SECONDS = 1.5  # the whole of a probe by connect(): a machine that is not Azure's costs no more
IDENTITY_SECONDS = 10.0  # of one request for a token; the metadata service is slow under load
# The metadata service answers 404 and 410 while it is updated, the latter for up to 70 s.
_TRANSIENT_IMDS = frozenset({404, 408, 410, 429})
_MANAGED = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "AZURE_POD_IDENTITY_AUTHORITY_HOST")


def managed_identity_credential(
    *,
    client_id: str | None = None,
    object_id: str | None = None,
    resource_id: str | None = None,
    env: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
    request_seconds: float = IDENTITY_SECONDS,
) -> Credential:
    """The identity that Azure gave to this VM, App Service or container: the system's own, or the one that is named.

    msal reads where it is from the process's own environment, whatever `env` says. What its service refuses for a while
    (404, 410, 429, 5xx) is asked again. `request_seconds`: the most that one request may take.
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance
    """
    named = {"ClientId": client_id, "ObjectId": object_id, "ResourceId": resource_id}
    chosen = {key: arguments.text(value, key, 2000) for key, value in named.items() if value not in (None, "")}
    if len(chosen) > 1:
        raise InvalidInput("a managed identity is named by one of client_id, object_id and resource_id")
    kind, name = next(iter(chosen.items()), ("SystemAssigned", None))
    login = Login(_identity_address(arguments.environment(os.environ if env is None else env)), now=now, sleep=sleep)
    return _managed_identity(kind, name, login, arguments.seconds(request_seconds, "request_seconds"))


def _managed_identity(kind: str, name: str | None, login: Login, seconds: float = IDENTITY_SECONDS) -> Credential:
    """`login.authority` is where the identity is asked for."""
    title = "managed identity" + (f" {name}" if name else "")

    def ask(msal: Any, http: LoginHttp, claims: str | None, scope: str) -> Any:
        client = msal.ManagedIdentityClient({"ManagedIdentityIdType": kind, "Id": name}, http_client=http)
        options = {"claims_challenge": claims} if claims else {}
        return client.acquire_token_for_client(resource=scope.removesuffix("/.default"), **options)

    def acquire(scope: str, claims: str | None) -> Token:
        http = LoginHttp((login.authority,), clouds.DIRECT, seconds)
        try:
            return by_msal(title, login, functools.partial(ask, scope=scope), lambda: http, _TRANSIENT_IMDS)(claims)
        except CredentialError as error:
            if http.status not in (0, 401, 403, 404):
                raise
            failure = error
        why = f"no identity answers at {login.authority}: does this machine have one?"
        code = "no_identity" if http.status else failure.code
        text = f"{why} ({failure})"
        raise CredentialError(text, code=code, retry_after=failure.retry_after, is_transient=failure.is_transient)

    return Credential(title, acquire, now=login.now, sleep=login.sleep)


def _identity_address(env: Mapping[str, str]) -> str:
    """Where this machine asks for its own identity; the addresses of Azure's hosts themselves are plain http."""
    names = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
    name = next((name for name in names if env.get(name)), "")
    if not name:
        return IMDS
    parts = parse_with(_web_address, env[name], InvalidInput, name)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidInput(f"{name} is not a web address of the form http://host[:port]/path")
    return f"{parts.scheme}://{parts.netloc}"


def _web_address(text: str) -> SplitResult:
    parts = urlsplit(text)
    return parts if parts.port != 0 else parts._replace(netloc="")


def _is_identity_there(env: Mapping[str, str], login: Login) -> bool:
    """Whether Azure answers where a VM's identity lives: without the header that it wants, by 400 and no token.

    Other clouds have a metadata service at the same address, and say that they know no such page, or not to us. Azure's
    says 404 too while it is updated, so that is asked again.
    """
    if env.get("IDENTITY_ENDPOINT") or env.get("MSI_ENDPOINT"):
        return True
    status = 0
    for pause in (1.0, 2.0, 0.0):
        http = LoginHttp((login.authority,), clouds.DIRECT, PROBE_SECONDS)
        try:
            url = f"{login.authority}/metadata/identity/oauth2/token?api-version=2018-02-01"
            status = http.get(url).status_code
        except TransportError:
            return False
        finally:
            http.close()
        if status != 404 or not pause:
            break
        login.sleep(pause)
    return status not in (401, 403, 404)


# --- people ----------------------------------------------------------------------------------------------------------

AZ_CLIENT_ID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"  # az's own public client, known to every tenant


def device_code_credential(
    prompt: Callable[[str], object],
    tenant_id: str = "organizations",
    client_id: str = AZ_CLIENT_ID,
    login: Login = DEFAULT_LOGIN,
) -> Credential:
    """Somebody who logs in with a browser elsewhere: `prompt` is given the sentence with address and code to show.

    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
    """

    arguments.typed(Callable, prompt=prompt)

    def begin(app: Any, scopes: list[str], claims: str | None) -> Any:
        flow = app.initiate_device_flow(scopes=scopes)
        if "user_code" not in flow:
            return flow
        prompt(printable(str(flow.get("message", "")), 400))
        return app.acquire_token_by_device_flow(flow, **({"claims_challenge": claims} if claims else {}))

    return _person("device code", tenant_id, client_id, begin, login)


def interactive_browser_credential(
    tenant_id: str = "organizations",
    client_id: str = AZ_CLIENT_ID,
    *,
    timeout: float = 300.0,
    login: Login = DEFAULT_LOGIN,
) -> Credential:
    """Somebody who logs in with the browser of this machine, within `timeout` seconds.

    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
    """

    arguments.seconds(timeout, "timeout")

    def begin(app: Any, scopes: list[str], claims: str | None) -> Any:
        return app.acquire_token_interactive(scopes=scopes, timeout=timeout, claims_challenge=claims)

    return _person("browser", tenant_id, client_id, begin, login)


class _Refreshable:
    """msal's memory of one person: the refresh token, which is good for every tenant of theirs."""

    def __init__(self) -> None:
        self.cache: Any = None
        forks.register(self)

    def after_fork(self) -> None:
        """msal's cache has a lock, which a thread of the parent may have held."""
        if self.cache is not None:
            self.cache._lock = threading.RLock()


def _person(
    kind: str, tenant_id: str, client_id: str, begin: Callable[[Any, list[str], str | None], Any], login: Login
) -> Credential:
    """A person logs in once; after that the refresh token, which msal keeps in memory, does."""
    _check_principal(tenant_id, client_id, login)
    memory = _Refreshable()

    def acquire_in(tenant: str) -> Acquire:
        def acquire(scope: str, claims: str | None) -> Token:
            def ask(msal: Any, http: LoginHttp, claims: str | None) -> Any:
                memory.cache = memory.cache or msal.TokenCache()
                place = {"authority": f"{login.authority}/{tenant}", "instance_discovery": False}
                app = msal.PublicClientApplication(client_id, http_client=http, token_cache=memory.cache, **place)
                for account in app.get_accounts():
                    options = {"account": account, "force_refresh": True, "claims_challenge": claims}
                    result = app.acquire_token_silent([scope], **options)
                    if result and "access_token" in result:
                        return result
                return begin(app, [scope], claims)

            return by_msal(kind, login, ask)(claims)

        return acquire

    return Credential(kind, acquire_in(tenant_id), now=login.now, sleep=login.sleep, acquire_in=acquire_in)


# --- what the environment has ----------------------------------------------------------------------------------------


@conceals
def from_environment(env: Mapping[str, str], login: Login) -> Credential:
    """The first credential that the environment has what it needs for; CredentialError lists what was tried.

    In this order: client secret, certificate, federated token file, managed identity, az login.
    AZURE_TOKEN_CREDENTIALS=prod leaves out az, =dev everything else.
    """
    _check_principal("t", "c", login)
    choice = arguments.environment(env).get("AZURE_TOKEN_CREDENTIALS", "").lower()
    tried = []
    for name, group, find in _CHAIN:
        if choice in ("prod", "dev") and choice != group:
            continue
        credential = find(env, login)
        if isinstance(credential, Credential):
            log.info("credential: %s", credential.kind)
            return credential
        tried.append(f"{name} ({credential})")
    raise CredentialError(
        f"no credential found. Tried: {'; '.join(tried)}. "
        "To try azurerm_lite without Azure, run: python -m azurerm_lite.emulator --env"
    )


def _principal(env: Mapping[str, str], proof: str) -> tuple[str, str, str] | str:
    """Tenant, client and what proves it; or what is missing of these."""
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", proof)
    tenant, client, proved = (env.get(name, "") for name in names)
    absent = [name for name in names if not env.get(name)]
    return f"{', '.join(absent)} not set" if absent else (tenant, client, proved)


def _secret_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_CLIENT_SECRET")
    return principal if isinstance(principal, str) else client_secret_credential(*principal, login)


def _certificate_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_CLIENT_CERTIFICATE_PATH")
    chain = env.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    password = env.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
    return (
        principal
        if isinstance(principal, str)
        else certificate_credential(*principal, password, send_chain=chain, login=login)
    )


def _federated_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_FEDERATED_TOKEN_FILE")
    return principal if isinstance(principal, str) else workload_identity_credential(*principal, login)


def _managed_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if any(env.get(name) != os.environ.get(name) for name in _MANAGED):
        return "its variables must stand in the environment of the process itself"
    identity = Login(_identity_address(env), now=login.now, sleep=login.sleep)
    if not _is_identity_there(env, identity):
        return f"nothing answers as Azure does at {identity.authority}"
    name = env.get("AZURE_CLIENT_ID") or None
    return _managed_identity("ClientId" if name else "SystemAssigned", name, identity)


def _az_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if find_az(env) is None:
        return "az is not on PATH"
    return azure_cli_credential(env=env, now=login.now, sleep=login.sleep)


_CHAIN: tuple[tuple[str, str, Callable[[Mapping[str, str], Login], Credential | str]], ...] = (
    ("client secret", "prod", _secret_from),
    ("certificate", "prod", _certificate_from),
    ("federated token file", "prod", _federated_from),
    ("managed identity", "prod", _managed_from),
    ("az login", "dev", _az_from),
)
