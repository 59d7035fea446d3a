"""Entra ID as far as clients need it: discovery, tokens for service principals, and what ARM makes of a bearer token.

Tokens are opaque words that end by the world's clock. Errors have the AADSTS codes and the shape that msal reads.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import jwt

from .exchange import Answer, ArmRequest, Json, Refusal
from .world import World

TOKEN_SECONDS = 3599


@dataclass(frozen=True, slots=True)
class Principal:
    client_id: str
    secret: str
    role: str = "Contributor"

    def __repr__(self) -> str:
        return f"Principal({self.client_id}, {self.role})"


class Identity:
    """One tenant: its service principals, and the tokens that it has given out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tenant_id = world.guid()
        self.token_seconds = TOKEN_SECONDS
        self._principals: dict[str, Principal] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self._keys: dict[str, list[tuple[str, str]]] = {}

    def trust_key(self, client_id: str, public_key: str, *, issuer: str = "") -> None:
        """Let a principal prove itself by assertions signed with a key (PEM): its own, or a federated issuer's."""
        self._keys.setdefault(client_id, []).append((public_key, issuer or client_id))

    def _verify_assertion(self, principal: Principal, assertion: str) -> None:
        """Signature, issuer and time of a client assertion, by the world's clock; Entra's refusal otherwise."""
        for key, issuer in self._keys.get(principal.client_id, []):
            try:
                options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
                claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], issuer=issuer, options=options)
            except jwt.PyJWTError:
                continue
            if float(claims.get("exp", 0)) <= self._world.now:
                text = "Client assertion is not within its valid time range."
                raise _aadsts(self._world, 401, "invalid_client", 700024, text)
            return
        text = "Client assertion failed signature validation: the certificate or key is not registered."
        raise _aadsts(self._world, 401, "invalid_client", 700027, text)

    def register(self, *, role: str = "Contributor") -> Principal:
        """A new service principal with a secret of its own. Roles: Contributor, Reader."""
        secret = f"emulator~{self._world.guid().replace('-', '')}"
        principal = Principal(self._world.guid(), secret, role)
        self._principals[principal.client_id] = principal
        return principal

    def issue(self, client_id: str) -> str:
        token = f"emu.{self._world.guid()}.{self._world.guid()}".replace("-", "")
        self._tokens[token] = (client_id, self._world.now + self.token_seconds * self._world.pace)
        return token

    def principal_of(self, authorization: str) -> Principal:
        """Who a bearer token stands for, or ARM's 401 for a token that is missing, unknown or over."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise _unauthorized(
                self.tenant_id, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        if token not in self._tokens:
            raise _unauthorized(self.tenant_id, "InvalidAuthenticationToken", "The access token is invalid.")
        client_id, ends = self._tokens[token]
        if ends <= self._world.now:
            raise _unauthorized(self.tenant_id, "ExpiredAuthenticationToken", "The access token expiry is over.")
        return self._principals[client_id]

    def verify(self, form: dict[str, str]) -> Principal:
        """The principal that a token request proves to be; Entra's refusal otherwise."""
        principal = self._principals.get(form.get("client_id", ""))
        if principal is None:
            text = f"Application with identifier '{form.get('client_id', '')}' was not found in the directory."
            raise _aadsts(self._world, 400, "unauthorized_client", 700016, text)
        if form.get("client_assertion"):
            self._verify_assertion(principal, form["client_assertion"])
            return principal
        if form.get("client_secret") != principal.secret:
            text = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{principal.client_id}'."
            )
            raise _aadsts(self._world, 401, "invalid_client", 7000215, text)
        return principal


def install(world: World) -> Principal:
    """Give a world its tenant and a first service principal, who may do everything."""
    world.identity = Identity(world)
    return world.identity.register()


def _unauthorized(tenant_id: str, code: str, message: str) -> Refusal:
    challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{tenant_id}", error="invalid_token"'
    return Refusal(401, code, message, gateway=True, headers={"WWW-Authenticate": challenge})


class AadRefusal(Refusal):
    """Entra's own form of an error."""


def _aadsts(world: World, status: int, error: str, number: int, text: str) -> AadRefusal:
    trace, correlation = world.guid(), world.guid()
    stamp = world.timestamp()[:19].replace("T", " ") + "Z"
    traced = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
    refusal = AadRefusal(status, error, text)
    refusal.answer.body = {
        "error": error,
        "error_description": f"AADSTS{number}: {text} {traced}",
        "error_codes": [number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }
    refusal.answer.gateway = True
    return refusal


def openid_configuration(world: World, request: ArmRequest, *, tenant: str) -> Answer:
    """The v2.0 discovery document; a domain name is answered with the tenant's GUID."""
    identity = world.identity
    if tenant.lower() not in (identity.tenant_id, "common", "organizations") and "." not in tenant:
        raise _aadsts(world, 400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
    base = f"{request.base_url}/{identity.tenant_id}"
    document: dict[str, Json] = {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_types_supported": ["code", "id_token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": f"{base}/v2.0",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "tenant_region_scope": None,
        "cloud_instance_name": "microsoftonline.com",
    }
    return Answer(200, document, gateway=True)


def token(world: World, request: ArmRequest, *, tenant: str) -> Answer:
    """A token for client credentials, in the v2.0 form (scope) or the v1 form (resource, numbers as text)."""
    identity = world.identity
    if tenant.lower() != identity.tenant_id and "." not in tenant:
        raise _aadsts(world, 400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
    raw = request.body if isinstance(request.body, str) else ""
    form = {key: values[0] for key, values in parse_qs(raw, keep_blank_values=True).items()}
    if form.get("grant_type") != "client_credentials":
        text = f"The app requested an unsupported grant type '{form.get('grant_type', '')}'."
        raise _aadsts(world, 400, "unsupported_grant_type", 70003, text)
    principal = identity.verify(form)
    version_two = "/v2.0/" in request.path
    if version_two and not form.get("scope", "").endswith("/.default"):
        text = f"The provided value for scope {form.get('scope', '')} is not valid."
        raise _aadsts(world, 400, "invalid_scope", 1002012, text)
    seconds, given = identity.token_seconds, identity.issue(principal.client_id)
    if version_two:
        body = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": given}
        return Answer(200, body, gateway=True)
    times = {"expires_in": seconds, "ext_expires_in": seconds, "expires_on": int(world.now) + seconds}
    body = {"token_type": "Bearer", **{key: str(value) for key, value in times.items()}}
    return Answer(200, {**body, "resource": form.get("resource", ""), "access_token": given}, gateway=True)


def discover_instance(world: World, request: ArmRequest) -> Answer:
    """What clients ask the public login service before they trust another: every authority here is this one."""
    identity = world.identity
    host = request.base_url.partition("://")[2]
    document = {
        "tenant_discovery_endpoint": f"{request.base_url}/{identity.tenant_id}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
    return Answer(200, document, gateway=True)


ROUTES = [
    ("GET", "/common/discovery/instance", discover_instance),
    ("GET", "/<tenant>/v2.0/.well-known/openid-configuration", openid_configuration),
    ("GET", "/<tenant>/.well-known/openid-configuration", openid_configuration),
    ("POST", "/<tenant>/oauth2/v2.0/token", token),
    ("POST", "/<tenant>/oauth2/token", token),
]
