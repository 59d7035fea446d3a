"""Ways to get a token: one function for each, all by msal (in `login`) or by calling out, and the walk through the
environment.

Secrets live in closures here and in no message, repr, log or file.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from . import clouds
from .auth import UNFIT, Credential, Token, is_token
from .errors import CredentialError, InvalidInput, TransportError, printable
from .login import DEFAULT_LOGIN, Login, LoginHttp, by_msal, login_http
from .types import JsonDict

log = logging.getLogger(__name__)

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


def client_secret_credential(tenant_id: str, client_id: str, secret: str, login: Login = DEFAULT_LOGIN) -> Credential:
    """A service principal with a client secret."""
    if not isinstance(secret, str) or not secret:
        raise InvalidInput("client secret must be a non-empty string")
    try:
        _check_principal(tenant_id, client_id)
    except InvalidInput:
        secret = ""  # a traceback shows what a function was given
        raise
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

        return by_msal(title, login, ask)(claims)

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
    try:
        credential = client_secret_credential(tenant_id, client_id, client_secret, login)
    finally:
        del client_secret  # a traceback shows what a function was given
    return credential.get_token(cloud.scope).token


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
        found: Token | str
        resource = scope.removesuffix("/.default")
        line = [program, "account", "get-access-token", "--output", "json", "--resource", resource]
        try:
            done = run(line, env=dict(env), capture_output=True, timeout=AZ_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            found = f"az could not be run: {type(error).__name__} after at most {AZ_SECONDS:g} s"
        else:
            found = _token_of_az(done)
            del done  # a traceback would show it
        if isinstance(found, Token):
            return found
        raise CredentialError(found, code="az_failed")

    return Credential("az login", acquire, now=now)


def _token_of_az(done: "subprocess.CompletedProcess[bytes]") -> Token | str:
    """The token that az printed, or why there is none."""
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        return f"az gave no token: {printable(lines[-1], 300)}"
    try:
        found = json.loads(done.stdout)
        token = Token(found["accessToken"], int(found["expires_on"]))
    except (ValueError, KeyError, TypeError):
        return "az did not answer with accessToken and expires_on: az 2.54 or newer is needed"
    return token if is_token(token.token) else f"what az gave {UNFIT}"


# --- the machine's own identity --------------------------------------------------------------------------------------

IMDS = "http://169.254.169.254"
IMDS_SECONDS = 1.5  # the whole of a probe: a machine that is none of Azure's costs no more
_MANAGED = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET", "AZURE_POD_IDENTITY_AUTHORITY_HOST")


def managed_identity_credential(
    *,
    client_id: str | None = None,
    object_id: str | None = None,
    resource_id: str | None = None,
    env: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
) -> Credential:
    """The identity that Azure gave to this VM, App Service or container: the system's own, or the one that is named.

    msal reads where it is from the process's own environment, whatever `env` says.
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
    """
    named = {"ClientId": client_id, "ObjectId": object_id, "ResourceId": resource_id}
    chosen = {key: value for key, value in named.items() if value}
    if len(chosen) > 1:
        raise InvalidInput("a managed identity is named by one of client_id, object_id and resource_id")
    kind, who = next(iter(chosen.items()), ("SystemAssigned", None))
    return _managed_identity(kind, who, env, now, there=False)


def _managed_identity(
    kind: str, who: str | None, env: Mapping[str, str], now: Callable[[], float], *, there: bool
) -> Credential:
    """`there`: something answers where the identity is asked for; else that is found out before the first token."""
    title = "managed identity" + (f" {who}" if who else "")

    def ask(msal: Any, http: LoginHttp, claims: str | None, scope: str) -> Any:
        client = msal.ManagedIdentityClient({"ManagedIdentityIdType": kind, "Id": who}, http_client=http)
        wanted = {"claims_challenge": claims} if claims else {}
        return client.acquire_token_for_client(resource=scope.removesuffix("/.default"), **wanted)

    def acquire(scope: str, claims: str | None) -> Token:
        nonlocal there
        here = _identity_address(env)
        there = there or _identity_is_there(env)
        if not there:
            message = f"nothing answers as Azure does at {here}: this machine has no identity"
            raise CredentialError(message, code="no_identity")
        login = Login(here, now=now)
        asked = functools.partial(ask, scope=scope)
        return by_msal(title, login, asked, lambda: LoginHttp((here,), clouds.DIRECT, 10.0))(claims)

    return Credential(title, acquire, now=now)


def _identity_address(env: Mapping[str, str]) -> str:
    """Where this machine asks for its own identity; the addresses of Azure's hosts themselves are plain http."""
    address = env.get("IDENTITY_ENDPOINT") or env.get("MSI_ENDPOINT") or env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
    parts = urlsplit(address or IMDS)
    return f"{parts.scheme}://{parts.netloc}"


def _identity_is_there(env: Mapping[str, str]) -> bool:
    """Whether Azure answers where a VM's identity lives: without the header that it wants, by 400 and no token.

    Other clouds have a metadata service at the same address, and say that they know no such page, or not to us.
    """
    if env.get("IDENTITY_ENDPOINT") or env.get("MSI_ENDPOINT"):
        return True
    http = LoginHttp((_identity_address(env),), clouds.DIRECT, IMDS_SECONDS)
    try:
        answer = http.get(f"{_identity_address(env)}/metadata/identity/oauth2/token?api-version=2018-02-01")
    except TransportError:
        return False
    finally:
        http.close()
    return answer.status_code not in (401, 403, 404)


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

    def begin(app: Any, scopes: list[str], claims: str | None) -> Any:
        return app.acquire_token_interactive(scopes=scopes, timeout=timeout, claims_challenge=claims)

    return _person("browser", tenant_id, client_id, begin, login)


def _person(
    kind: str, tenant_id: str, client_id: str, begin: Callable[[Any, list[str], str | None], Any], login: Login
) -> Credential:
    """A person logs in once; after that the refresh token, which msal keeps in memory, does."""
    _check_principal(tenant_id, client_id)
    kept: dict[str, Any] = {}

    def acquire(scope: str, claims: str | None) -> Token:
        def ask(msal: Any, http: LoginHttp, claims: str | None) -> Any:
            if "app" not in kept:
                where = f"{login.authority}/{tenant_id}"
                options = {"authority": where, "instance_discovery": False, "http_client": http}
                kept["app"] = msal.PublicClientApplication(client_id, **options)
            for account in kept["app"].get_accounts():
                found = kept["app"].acquire_token_silent(
                    [scope], account=account, force_refresh=True, claims_challenge=claims
                )
                if found and "access_token" in found:
                    return found
            return begin(kept["app"], [scope], claims)

        http = kept.setdefault("http", login_http(login))
        return by_msal(kind, login, ask, lambda: http)(claims)

    return Credential(kind, acquire, now=login.now)


# --- what the environment has ----------------------------------------------------------------------------------------


def from_environment(env: Mapping[str, str], login: Login) -> Credential:
    """The first credential that the environment has what it needs for; CredentialError lists what was tried.

    In this order: client secret, certificate, federated token file, managed identity, az login.
    AZURE_TOKEN_CREDENTIALS=prod leaves out az, =dev everything else.
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


def _principal(env: Mapping[str, str], proof: str) -> tuple[str, str, str] | str:
    """Tenant, client and what proves it; or what is missing of these."""
    names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", proof)
    tenant, client, proved = (env.get(name, "") for name in names)
    absent = [name for name in names if not env.get(name)]
    return f"{', '.join(absent)} not set" if absent else (tenant, client, proved)


def _secret_from(env: Mapping[str, str], login: Login) -> Credential | str:
    found = _principal(env, "AZURE_CLIENT_SECRET")
    return found if isinstance(found, str) else client_secret_credential(*found, login)


def _certificate_from(env: Mapping[str, str], login: Login) -> Credential | str:
    found = _principal(env, "AZURE_CLIENT_CERTIFICATE_PATH")
    chain = env.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    password = env.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None
    return found if isinstance(found, str) else certificate_credential(*found, password, send_chain=chain, login=login)


def _federated_from(env: Mapping[str, str], login: Login) -> Credential | str:
    found = _principal(env, "AZURE_FEDERATED_TOKEN_FILE")
    return found if isinstance(found, str) else workload_identity_credential(*found, login)


def _managed_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if any(env.get(name) != os.environ.get(name) for name in _MANAGED):
        return "its variables must stand in the environment of the process itself"
    if not _identity_is_there(env):
        return f"nothing answers as Azure does at {_identity_address(env)}"
    who = env.get("AZURE_CLIENT_ID") or None
    return _managed_identity("ClientId" if who else "SystemAssigned", who, env, login.now, there=True)


def _az_from(env: Mapping[str, str], login: Login) -> Credential | str:
    if shutil.which("az", path=env.get("PATH", "")) is None:
        return "az is not on PATH"
    return azure_cli_credential(env=env, now=login.now)


_CHAIN: tuple[tuple[str, str, Callable[[Mapping[str, str], Login], Credential | str]], ...] = (
    ("client secret", "prod", _secret_from),
    ("certificate", "prod", _certificate_from),
    ("federated token file", "prod", _federated_from),
    ("managed identity", "prod", _managed_from),
    ("az login", "dev", _az_from),
)
