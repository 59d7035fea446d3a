"""Ways to log in: one function for each kind of credential, and the choice from the environment.

A secret is held in a closure; no message, repr, log or file shows it, and errors of an acquisition lose their frames.
"""

import base64
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
from ..clouds import NetworkSettings
from ..errors import CredentialError, InvalidInput, TransportError, printable, short_repr
from ..types import JsonDict
from . import tenants
from ._msal import DEFAULT_LOGIN, Login, LoginHttpClient, acquire_with_msal
from .credential import Credential
from .tokens import UNFIT, Acquire, Token, end_of, is_token

log = logging.getLogger(__name__)


@conceals
def client_secret_credential(tenant_id: str, client_id: str, secret: str, login: Login = DEFAULT_LOGIN) -> Credential:
    """The Credential of a service principal with a client secret.

    Raises: InvalidInput.
    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """
    if not isinstance(secret, str) or not secret:
        raise InvalidInput("client secret must be a non-empty string")
    _check_principal(tenant_id, client_id, login)
    return _service_principal("client secret", tenant_id, client_id, lambda: secret, login)


def _service_principal(
    kind: str, tenant_id: str, client_id: str, client_credential: Callable[[], Any], login: Login
) -> Credential:
    """The Credential of a service principal. `client_credential`: returns msal's argument, for each acquisition."""
    title = f"{kind} of client {client_id}"

    def acquire_in(tenant: str) -> Acquire:
        place = {"authority": f"{login.authority}/{tenant}", "instance_discovery": False}

        def acquire(scope: str, claims: str | None) -> Token:
            def with_msal(msal: Any, http: LoginHttpClient) -> Any:
                options = {"client_credential": client_credential(), "http_client": http, **place}
                app = msal.ConfidentialClientApplication(client_id, **options)
                return app.acquire_token_for_client(scopes=[scope], claims_challenge=claims)

            return acquire_with_msal(title, login, with_msal)

        return acquire

    return Credential(title, acquire_in(tenant_id), now=login.now, sleep=login.sleep, acquire_in=acquire_in)


def _check_principal(tenant_id: str, client_id: str, login: Login) -> None:
    tenants.check_tenant(tenant_id)
    if not isinstance(client_id, str) or not tenants.TENANT.fullmatch(client_id):
        raise InvalidInput(f"client id must be a GUID, not {short_repr(client_id)}")
    arguments.typed(Login, login=login)
    arguments.typed(NetworkSettings, network=login.network)
    arguments.typed(Callable, now=login.now, sleep=login.sleep)
    clouds.base_address(login.authority, "login.authority")


@conceals
def get_access_token(
    tenant_id: str, client_id: str, client_secret: str, *, env: Mapping[str, str] | None = None
) -> str:
    """Get a bearer token for Azure Resource Manager with a client secret, as azurerm's function of this name did.

    It is valid for about an hour; `connect()` makes an Arm that renews its token. `env`: names the cloud, a CA file and
    a proxy; by default the environment of the process.
    Raises: InvalidInput, CredentialError.
    """
    names = arguments.environment(os.environ if env is None else env)
    cloud = clouds.cloud_from_environment(names)
    login = Login(cloud.authority, clouds.network_from_environment(names))
    return client_secret_credential(tenant_id, client_id, client_secret, login).get_token(cloud.scope).token


# --- service principals without a client secret ----------------------------------------------------------------------


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
    """The Credential of a service principal with a certificate.

    `path`: a PEM file with key and certificate, or a PFX file; it is read for each acquisition. `send_chain=True`: use
    subject name and issuer authentication, so that a renewed certificate needs no new registration.
    Raises: InvalidInput.
    https://learn.microsoft.com/entra/identity-platform/certificate-credentials
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
        credential: JsonDict = {"private_key_pfx_path": path, "passphrase": password}
        return {**credential, "public_certificate": True} if send_chain else credential
    text = data.decode("ascii", "replace")
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    keys = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", text, re.DOTALL)
    if not blocks or not keys:
        raise CredentialError(f"{path} must hold a private key and its certificate in PEM form")
    credential = {"private_key": keys[0], "passphrase": password}
    if send_chain:
        return {**credential, "public_certificate": "\n".join(blocks)}
    return {**credential, "thumbprint": _thumbprint(blocks[0])}


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
    """The Credential of a service principal with a federated token, such as one of AKS or GitHub.

    `token_file`: holds the token of the other issuer; it is read for each acquisition.
    Raises: InvalidInput.
    https://learn.microsoft.com/entra/workload-id/workload-identity-federation
    """
    _check_principal(tenant_id, client_id, login)
    arguments.typed(str, token_file=token_file)

    def client_credential() -> JsonDict:
        assertion = _read(token_file, "federated token").decode("ascii", "replace").strip()
        if not assertion:
            raise CredentialError(f"the federated token file {token_file} is empty")
        return {"client_assertion": lambda: assertion}

    return _service_principal("workload identity", tenant_id, client_id, client_credential, login)


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
    """The Credential of the user or principal that is logged in to az on this machine.

    It runs `az account get-access-token` without a shell. `env`: by default the environment of the process; its PATH is
    searched for az, the current folder never.
    Raises: nothing; `get_token` of the Credential raises CredentialError.
    https://learn.microsoft.com/cli/azure/account#az-account-get-access-token
    """
    arguments.environment({} if env is None else env)
    arguments.typed(Callable, run=run)
    tenant_of_token: dict[str, str] = {}

    def acquire_in(tenant: str) -> Acquire:
        def acquire(scope: str, claims: str | None) -> Token:
            if claims is not None:
                raise _stronger_login(claims, tenant or tenant_of_token.get("", ""), scope)
            names = os.environ if env is None else env
            program = find_az(names)
            if program is None:
                raise CredentialError("az is not installed, or not on PATH", code="az_not_found")
            line = [program, "account", "get-access-token", "--output", "json"]
            line += ["--resource", scope.removesuffix("/.default"), *(["--tenant", tenant] if tenant else [])]
            document = _az_document(_run_az(line, names, run))
            tenant_of_token[tenant] = str(document.get("tenant") or "")
            return _az_token(document)

        return acquire

    return Credential("az login", acquire_in(""), now=now, sleep=sleep, acquire_in=acquire_in)


def find_az(env: Mapping[str, str], platform: str = os.name) -> str | None:
    """The path of az in an absolute folder of PATH, or None.

    shutil.which would search the current folder first on Windows, where another user may have put a program named az.
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
    """Run az in another folder than the current one, from which az would start a planted Python or cmd."""
    safe = {**env, "NoDefaultCurrentDirectoryInExePath": "1"} if os.name == "nt" else dict(env)
    folder = env.get("SYSTEMROOT") if os.name == "nt" else "/"
    try:
        return run(line, env=safe, cwd=folder, capture_output=True, timeout=AZ_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"az could not be run: {type(error).__name__} after at most {AZ_SECONDS:g} s"
    raise CredentialError(text, code="az_failed")


def _az_document(done: "subprocess.CompletedProcess[bytes]") -> JsonDict:
    """The JSON that az printed. Raises: CredentialError with az's message.

    The message is the line that begins with ERROR and those after it, which say what to do.
    """
    if done.returncode:
        lines = done.stderr[:20_000].decode("utf-8", "replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()] or ["no reason given"]
        first = next((number for number, line in enumerate(lines) if line.startswith("ERROR")), -1)
        text = " ".join(lines[first:])
        transient = any(map(_advice.is_transient, re.findall(r"AADSTS\d+", text)))
        raise CredentialError(f"az gave no token: {printable(text, 14_000)}", code="az_failed", is_transient=transient)
    document = parse_json(done.stdout, _not_from_az)
    if not isinstance(document, dict):
        raise _not_from_az("")
    return document


def _az_token(document: JsonDict) -> Token:
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


# --- managed identities ----------------------------------------------------------------------------------------------

IMDS = "http://169.254.169.254"
PROBE_SECONDS = 1.5  # how long connect() waits for the metadata service, which only Azure's machines have
IDENTITY_SECONDS = 10.0  # for one token; the metadata service is slow under load
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
    """The Credential of the managed identity of this VM, App Service or container.

    `client_id`, `object_id`, `resource_id`: at most one of them, for a user-assigned identity; by default it is the
    system-assigned one. `env`: by default the environment of the process; msal always reads that one for the address
    of the service. `request_seconds`: the timeout of one request.
    Raises: InvalidInput.
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance
    """
    ids = {"ClientId": client_id, "ObjectId": object_id, "ResourceId": resource_id}
    passed = {key: arguments.text(value, key, 2000) for key, value in ids.items() if value not in (None, "")}
    if len(passed) > 1:
        raise InvalidInput("a managed identity is named by one of client_id, object_id and resource_id")
    kind, name = next(iter(passed.items()), ("SystemAssigned", None))
    login = Login(_identity_address(arguments.environment(os.environ if env is None else env)), now=now, sleep=sleep)
    return _managed_identity(kind, name, login, arguments.seconds(request_seconds, "request_seconds"))


def _managed_identity(kind: str, name: str | None, login: Login, seconds: float = IDENTITY_SECONDS) -> Credential:
    """`kind`: msal's ManagedIdentityIdType. `login.authority`: the address of the identity service."""
    title = "managed identity" + (f" {name}" if name else "")

    def acquire(scope: str, claims: str | None) -> Token:
        def with_msal(msal: Any, http: LoginHttpClient) -> Any:
            client = msal.ManagedIdentityClient({"ManagedIdentityIdType": kind, "Id": name}, http_client=http)
            options = {"claims_challenge": claims} if claims else {}
            return client.acquire_token_for_client(resource=scope.removesuffix("/.default"), **options)

        http = LoginHttpClient((login.authority,), clouds.DIRECT, seconds)
        try:
            return acquire_with_msal(title, login, with_msal, http, _TRANSIENT_IMDS)
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
    """The address of the identity service of this machine; it may be plain http. Raises: InvalidInput."""
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


def _has_metadata_service(env: Mapping[str, str], login: Login) -> bool:
    """Whether this machine has Azure's metadata service.

    Azure answers a request without its special header with 400. Other clouds have a metadata service at the same
    address, which answers 401, 403 or 404. Azure's answers 404 too while it is updated, so a 404 is tried again.
    """
    if env.get("IDENTITY_ENDPOINT") or env.get("MSI_ENDPOINT"):
        return True
    status = 0
    for pause in (1.0, 2.0, 0.0):
        http = LoginHttpClient((login.authority,), clouds.DIRECT, PROBE_SECONDS)
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
    """The Credential for an interactive login with a browser on any machine.

    `prompt`: called with the sentence to show, which has the address and the code.
    Raises: InvalidInput.
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
    """The Credential for an interactive login with the browser of this machine, within `timeout` seconds.

    Raises: InvalidInput.
    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
    """

    arguments.seconds(timeout, "timeout")

    def begin(app: Any, scopes: list[str], claims: str | None) -> Any:
        return app.acquire_token_interactive(scopes=scopes, timeout=timeout, claims_challenge=claims)

    return _person("browser", tenant_id, client_id, begin, login)


class _RefreshTokens:
    """msal's cache of a person's refresh token, which is valid in all tenants of that person."""

    def __init__(self) -> None:
        self.cache: Any = None
        forks.register(self)

    def after_fork(self) -> None:
        """Replace the lock of the cache, which a thread of the parent may have held."""
        if self.cache is not None:
            self.cache._lock = threading.RLock()


def _person(
    kind: str, tenant_id: str, client_id: str, begin: Callable[[Any, list[str], str | None], Any], login: Login
) -> Credential:
    """The Credential of a person: one interactive login, then tokens from the refresh token in memory.

    `begin(app, scopes, claims)`: lets the person log in, and returns msal's result.
    """
    _check_principal(tenant_id, client_id, login)
    refresh_tokens = _RefreshTokens()

    def acquire_in(tenant: str) -> Acquire:
        def acquire(scope: str, claims: str | None) -> Token:
            def with_msal(msal: Any, http: LoginHttpClient) -> Any:
                refresh_tokens.cache = cache = refresh_tokens.cache or msal.TokenCache()
                place = {"authority": f"{login.authority}/{tenant}", "instance_discovery": False}
                app = msal.PublicClientApplication(client_id, http_client=http, token_cache=cache, **place)
                for account in app.get_accounts():
                    options = {"account": account, "force_refresh": True, "claims_challenge": claims}
                    result = app.acquire_token_silent([scope], **options)
                    if result and "access_token" in result:
                        return result
                return begin(app, [scope], claims)

            return acquire_with_msal(kind, login, with_msal)

        return acquire

    return Credential(kind, acquire_in(tenant_id), now=login.now, sleep=login.sleep, acquire_in=acquire_in)


# --- the environment -------------------------------------------------------------------------------------------------


@conceals
def from_environment(env: Mapping[str, str], login: Login) -> Credential:
    """The first credential whose variables the environment has.

    The order: client secret, certificate, federated token file, managed identity, az login. With
    AZURE_TOKEN_CREDENTIALS=prod az is left out, with =dev all others are.
    Raises: CredentialError, which lists what was tried.
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


def _principal(env: Mapping[str, str], variable: str) -> tuple[str, str, str] | str:
    """The tenant id, the client id and the value of `variable`, or a text that says which are not set."""
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", variable)
    tenant, client, value = (env.get(name, "") for name in names)
    absent = [name for name in names if not env.get(name)]
    return f"{', '.join(absent)} not set" if absent else (tenant, client, value)


def _secret_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_CLIENT_SECRET")
    return principal if isinstance(principal, str) else client_secret_credential(*principal, login)


def _certificate_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_CLIENT_CERTIFICATE_PATH")
    if isinstance(principal, str):
        return principal
    chain = env.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    password = env.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
    return certificate_credential(*principal, password, send_chain=chain, login=login)


def _federated_from(env: Mapping[str, str], login: Login) -> Credential | str:
    principal = _principal(env, "AZURE_FEDERATED_TOKEN_FILE")
    return principal if isinstance(principal, str) else workload_identity_credential(*principal, login)


def _managed_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if any(env.get(name) != os.environ.get(name) for name in _MANAGED):
        return "its variables must stand in the environment of the process itself"
    identity = Login(_identity_address(env), now=login.now, sleep=login.sleep)
    if not _has_metadata_service(env, identity):
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
