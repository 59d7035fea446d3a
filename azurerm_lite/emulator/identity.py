"""Entra ID as far as clients need it: discovery, tokens by every flow, and what ARM makes of a bearer token.

Tokens look like Entra's, stand in a list, and end by the world's clock. Errors have the AADSTS codes and the shape
that msal reads.
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote

import jwt

from .exchange import Answer, ArmRequest, Json, Refusal
from .world import World

TOKEN_SECONDS = 3599


@dataclass(slots=True)
class Principal:
    """Who may log in, and what the role lets it do: Contributor, Reader, or "" for nothing at all."""

    client_id: str
    secret: str
    role: str = "Contributor"
    object_id: str = ""
    resource_id: str = ""  # of a user-assigned managed identity

    def __repr__(self) -> str:
        return f"Principal({self.client_id}, {self.role})"


@dataclass(slots=True)
class Token:
    """A token that was given out, and the claims that it was asked to have."""

    client_id: str
    ends: float
    claims: str = ""
    tenant_id: str = ""  # "" for the tenant of the subscriptions here


@dataclass(slots=True)
class DeviceLogin:
    """A login on another device that somebody has to confirm by its user code."""

    client_id: str
    user_code: str
    ends: float
    state: str = "authorization_pending"


class Identity:
    """One tenant: its principals, and the tokens that it has given out."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tenant_id = world.guid()
        self.token_seconds = TOKEN_SECONDS
        self.principals: dict[str, Principal] = {}
        self.tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.device_logins: dict[str, DeviceLogin] = {}
        self.demanded_claims = ""
        self.managed_header = world.guid()
        self.managed: list[Principal] = []
        # Users who confirm a device login at once, or wait for `confirm`.
        self.confirms_at_once = False
        self._keys: dict[str, list[tuple[str, str]]] = {}
        self.other_tenants: dict[str, set[str]] = {}  # tenant -> its subscriptions, in lower case

    def add_tenant(self, *subscription_ids: str) -> str:
        """Another tenant, with these subscriptions, in which every principal may log in too; its id."""
        tenant_id = self._world.guid()
        self.other_tenants[tenant_id] = {subscription.lower() for subscription in subscription_ids}
        return tenant_id

    def tenant_of(self, subscription_id: str) -> str:
        """The other tenant that a subscription is in; "" for those of this one."""
        lower = subscription_id.lower()
        return next((tenant for tenant, known in self.other_tenants.items() if lower in known), "")

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
        self.principals[principal.client_id] = principal
        return principal

    def register_managed(self, *, role: str = "Contributor", resource_id: str = "") -> Principal:
        """A managed identity: the first is the system's own, the others are chosen by one of their ids."""
        principal = self.register(role=role)
        principal.object_id, principal.resource_id = self._world.guid(), resource_id
        self.managed.append(principal)
        return principal

    def set_role(self, client_id: str, role: str) -> None:
        """Give or take rights while things run: "Contributor", "Reader" or ""."""
        self.principals[client_id].role = role

    def expire_tokens(self, client_id: str = "") -> None:
        """Let the tokens that are out be over at once, whatever was said when they were given."""
        for token_ in self.tokens.values():
            if client_id in ("", token_.client_id):
                token_.ends = self._world.now

    def demand_claims(self, claims: str) -> None:
        """Continuous access evaluation: from now on a token must have been asked for with these claims (JSON)."""
        self.demanded_claims = claims

    def issue(self, client_id: str, claims: str = "", tenant_id: str = "") -> str:
        issued = self._jwt(client_id, tenant_id or self.tenant_id)
        end = self._world.now + self.token_seconds * self._world.pace
        self.tokens[issued] = Token(client_id, end, claims, tenant_id)
        return issued

    def _jwt(self, client_id: str, tenant_id: str) -> str:
        """A token in Entra's form, for clients that read who they are out of it. Nobody signs or checks it here."""
        principal = self.principals.get(client_id)
        now = int(self._world.now)
        claims: dict[str, Json] = {"aud": "https://management.azure.com/", "tid": tenant_id, "appid": client_id}
        claims |= {"oid": (principal and principal.object_id) or client_id, "iat": now, "nbf": now}
        claims |= {"exp": now + self.token_seconds, "iss": f"https://sts.windows.net/{tenant_id}/", "ver": "1.0"}
        if principal in self.managed:
            claims["xms_mirid"] = (
                principal and principal.resource_id
            ) or "/subscriptions/emulated/virtualMachines/here"
        signature = self._world.guid().replace("-", "") + self._world.guid().replace("-", "")
        return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(claims)}.{signature}"

    def principal_of(self, authorization: str) -> Principal:
        """Who a bearer token stands for, or ARM's 401 for a token that is missing, unknown or over."""
        kind, _, token_ = authorization.partition(" ")
        if kind.lower() != "bearer" or not token_:
            raise _unauthorized(
                self.tenant_id, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        known = self.tokens.get(token_)
        if known is None:
            raise _unauthorized(self.tenant_id, "InvalidAuthenticationToken", "The access token is invalid.")
        if known.ends <= self._world.now:
            raise _unauthorized(self.tenant_id, "ExpiredAuthenticationToken", "The access token expiry is over.")
        if self.demanded_claims and not _has_claims(known.claims, self.demanded_claims):
            raise _challenged(self.tenant_id, self.demanded_claims)
        if known.tenant_id:
            raise self._wrong_tenant(known.tenant_id, self.tenant_id)
        return self.principals[known.client_id]

    def _wrong_tenant(self, has: str, wants: str) -> Refusal:
        issuer = "https://sts.windows.net"
        text = (
            f"The access token is from the wrong issuer '{issuer}/{has}/'. It must match the tenant "
            f"'{issuer}/{wants}/' associated with this subscription. Please use the authority (URL) "
            f"'https://login.microsoftonline.com/{wants}' to get the token."
        )
        return _unauthorized(wants, "InvalidAuthenticationTokenTenant", text)

    def check_tenants(self, request: ArmRequest, principal: Principal) -> None:
        """A Refusal of what is in another tenant: the subscription that is asked for, or a linked image.

        An image needs a token of the same principal in its tenant, in the header for auxiliary tokens.
        https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
        """
        tenants = self._auxiliary_tenants(request, principal)
        parts = request.path.split("/")
        if len(parts) > 2 and (other := self.tenant_of(parts[2])):
            raise self._wrong_tenant(self.tenant_id, other)
        image = _image_id(request.body) if request.method in ("PUT", "PATCH") else ""
        subscription = image.split("/")[2] if image.count("/") > 2 else ""
        if (other := self.tenant_of(subscription)) and other not in tenants:
            text = (
                "The client has permission to perform action 'Microsoft.Compute/galleries/images/versions/read' on "
                f"scope '{request.path}', however the current tenant '{self.tenant_id}' is not authorized to access "
                f"linked subscription '{subscription}'."
            )
            raise Refusal(403, "LinkedAuthorizationFailed", text, gateway=True)

    def _auxiliary_tenants(self, request: ArmRequest, principal: Principal) -> set[str]:
        """The tenants that the auxiliary tokens of a request are of; a Refusal when one of them is no good."""
        header = request.headers.get("x-ms-authorization-auxiliary", "")
        tokens = [part.strip() for part in header.split(",")] if header else []
        known = [self.tokens.get(text.removeprefix("Bearer ")) for text in tokens if text.startswith("Bearer ")]
        good = [
            t for t in known if t and t.ends > self._world.now and t.client_id == principal.client_id and t.tenant_id
        ]
        if len(tokens) > 3 or len(good) < len(tokens):
            text = (
                f"Authentication failed for auxiliary token: {len(tokens) - len(good)} of {len(tokens)} are not valid."
            )
            raise _unauthorized(self.tenant_id, "InvalidAuxiliaryTokens", text)
        return {token.tenant_id for token in good}

    def confirm(self, user_code: str = "", *, decline: bool = False) -> None:
        """Somebody types the code of a device login (any, if none is named) and says yes, or no."""
        for login in self.device_logins.values():
            if user_code in ("", login.user_code):
                login.state = "authorization_declined" if decline else "confirmed"

    def verify(self, form: dict[str, str]) -> Principal:
        """The principal that a token request proves to be; Entra's refusal otherwise."""
        principal = self.principals.get(form.get("client_id", ""))
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
    """Give a world its tenant, a first service principal who may do everything, and a managed identity."""
    world.identity = Identity(world)
    principal = world.identity.register()
    world.identity.register_managed()
    return principal


def _image_id(body: Json) -> str:
    """The id of the image that a model or a part of one names, if it names any."""
    for key in ("properties", "virtualMachineProfile", "storageProfile", "imageReference", "id"):
        body = body.get(key) if isinstance(body, Mapping) else None
    return body if isinstance(body, str) else ""


def _has_claims(asked: str, demanded: str) -> bool:
    """Whether a token was asked for with what is demanded (clients may add claims of their own)."""
    try:
        have, want = json.loads(asked or "{}"), json.loads(demanded)
    except ValueError:
        return False
    mine, theirs = have.get("access_token") or {}, want.get("access_token") or {}
    return all(mine.get(key) == value for key, value in theirs.items())


def _challenged(tenant_id: str, claims: str) -> Refusal:
    encoded = base64.b64encode(claims.encode()).decode()
    challenge = (
        f'Bearer realm="", authorization_uri="https://login.microsoftonline.com/{tenant_id}", '
        f'error="insufficient_claims", claims="{encoded}"'
    )
    text = "Continuous access evaluation resulted in challenge with code: TokenIssuedBeforeRevocationTimestamp."
    code = "TokenIssuedBeforeRevocationTimestamp"
    return Refusal(401, code, text, gateway=True, headers={"WWW-Authenticate": challenge})


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
    tenant_id = tenant.lower() if tenant.lower() in identity.other_tenants else identity.tenant_id
    if tenant.lower() not in (tenant_id, "common", "organizations") and "." not in tenant:
        raise _aadsts(world, 400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
    base = f"{request.base_url}/{tenant_id}"
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
    """A token by any of the flows, in the v2.0 form (scope) or the v1 form (resource, numbers as text)."""
    identity = world.identity
    other = tenant.lower() if tenant.lower() in identity.other_tenants else ""
    if tenant.lower() not in (identity.tenant_id, other, "organizations", "common") and "." not in tenant:
        raise _aadsts(world, 400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
    raw = request.body if isinstance(request.body, str) else ""
    form = {key: values[0] for key, values in parse_qs(raw, keep_blank_values=True).items()}
    grant = _GRANTS.get(form.get("grant_type", ""))
    if grant is None:
        text = f"The app requested an unsupported grant type '{form.get('grant_type', '')}'."
        raise _aadsts(world, 400, "unsupported_grant_type", 70003, text)
    principal, nonce = grant(world, form)
    version_two = "/v2.0/" in request.path
    if version_two and not any(one.endswith("/.default") for one in form.get("scope", _ANY_SCOPE).split()):
        text = f"The provided value for scope {form.get('scope', '')} is not valid."
        raise _aadsts(world, 400, "invalid_scope", 1002012, text)
    seconds, given = identity.token_seconds, identity.issue(principal.client_id, form.get("claims", ""), other)
    if version_two:
        body: dict[str, Json] = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds}
        extra = {} if grant is _by_secret_or_assertion else _of_user(world, request, principal, form, nonce)
        return Answer(200, {**body, "access_token": given, **extra}, gateway=True)
    times = {"expires_in": seconds, "ext_expires_in": seconds, "expires_on": int(world.now) + seconds}
    body = {"token_type": "Bearer", **{key: str(value) for key, value in times.items()}}
    return Answer(200, {**body, "resource": form.get("resource", ""), "access_token": given}, gateway=True)


_ANY_SCOPE = "https://management.azure.com/.default"
Granted = tuple[Principal, str]  # and the nonce of an interactive login


def _by_secret_or_assertion(world: World, form: Mapping[str, str]) -> Granted:
    return world.identity.verify(dict(form)), ""


def _user(world: World, client_id: str) -> Principal:
    """People log in by a public client of any name; here they may do what the first principal may."""
    identity = world.identity
    return identity.principals.setdefault(client_id, Principal(client_id, ""))


def _by_device_code(world: World, form: Mapping[str, str]) -> Granted:
    login = world.identity.device_logins.get(form.get("device_code", ""))
    if login is None:
        raise _aadsts(world, 400, "bad_verification_code", 70018, "The device code is not known.")
    if login.ends <= world.now:
        raise _aadsts(world, 400, "expired_token", 70020, "The device code has expired.")
    if login.state != "confirmed":
        number = 70016 if login.state == "authorization_pending" else 70001
        raise _aadsts(world, 400, login.state, number, "The end user has not finished the login.")
    return _user(world, login.client_id), ""


def _by_refresh(world: World, form: Mapping[str, str]) -> Granted:
    client_id = world.identity.refresh_tokens.get(form.get("refresh_token", ""))
    if client_id is None:
        raise _aadsts(world, 400, "invalid_grant", 70000, "The refresh token is not valid.")
    return _user(world, client_id), ""


def _by_code(world: World, form: Mapping[str, str]) -> Granted:
    """The code of an interactive login, with the proof that it comes to whoever began it (PKCE)."""
    asked = world.identity.codes.pop(form.get("code", ""), None)
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if asked is None or asked["code_challenge"] != proof or asked["redirect_uri"] != form.get("redirect_uri"):
        raise _aadsts(world, 400, "invalid_grant", 70008, "The authorization code is not valid.")
    return _user(world, asked["client_id"]), asked.get("nonce", "")


_GRANTS: dict[str, Callable[[World, Mapping[str, str]], Granted]] = {
    "client_credentials": _by_secret_or_assertion,
    "urn:ietf:params:oauth:grant-type:device_code": _by_device_code,
    "device_code": _by_device_code,
    "refresh_token": _by_refresh,
    "authorization_code": _by_code,
}


def _encoded(document: Mapping[str, Json]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _of_user(
    world: World, request: ArmRequest, principal: Principal, form: Mapping[str, str], nonce: str
) -> dict[str, Json]:
    """What comes with the token of a person: a refresh token, and who it is."""
    identity = world.identity
    refresh = f"refresh.{world.guid()}"
    identity.refresh_tokens[refresh] = principal.client_id
    who = {"oid": principal.client_id, "sub": principal.client_id, "preferred_username": "person@emulator.invalid"}
    issuer = f"{request.base_url}/{identity.tenant_id}/v2.0"
    times = {"iat": int(world.now), "exp": int(world.now) + 400_000_000}
    claims = {"iss": issuer, "aud": principal.client_id, "tid": identity.tenant_id, **who, **times, "nonce": nonce}
    id_token = f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(claims)}."
    info = _encoded({"uid": principal.client_id, "utid": identity.tenant_id})
    scope = form.get("scope", _ANY_SCOPE)
    return {"refresh_token": refresh, "id_token": id_token, "client_info": info, "scope": scope}


def device_code(world: World, request: ArmRequest, *, tenant: str) -> Answer:
    """Begin a login on another device. https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code"""
    raw = request.body if isinstance(request.body, str) else ""
    form = {key: values[0] for key, values in parse_qs(raw).items()}
    code, user_code = world.guid(), world.guid()[:8].upper()
    login = DeviceLogin(form.get("client_id", ""), user_code, world.now + 900 * world.pace)
    if world.identity.confirms_at_once:
        login.state = "confirmed"
    world.identity.device_logins[code] = login
    page = f"{request.base_url}/{tenant}/oauth2/deviceauth"
    body = {
        "user_code": user_code,
        "device_code": code,
        "verification_uri": page,
        "expires_in": 900,
        "interval": 1,
        "message": f"To sign in, use a web browser to open the page {page} and enter the code {user_code}.",
    }
    return Answer(200, body, gateway=True)


def authorize(world: World, request: ArmRequest, *, tenant: str) -> Answer:  # noqa: ARG001
    """The login page, where somebody has just said yes: back to the client with a code."""
    query = request.query
    redirect = query.get("redirect_uri", "")
    if not redirect.startswith(("http://localhost", "http://127.0.0.1")) or not query.get("code_challenge"):
        raise _aadsts(world, 400, "invalid_request", 50011, "The redirect URI or the code challenge is missing.")
    code = world.guid()
    names = ("client_id", "redirect_uri", "code_challenge", "nonce")
    world.identity.codes[code] = {name: query.get(name, "") for name in names}
    info = _encoded({"uid": query.get("client_id", ""), "utid": world.identity.tenant_id})
    if query.get("response_mode") == "form_post":  # what msal asks for: the code never stands in an address
        fields = {"code": code, "state": query.get("state", ""), "client_info": info}
        inputs = "".join(f'<input type="hidden" name="{k}" value="{html.escape(v)}">' for k, v in fields.items())
        form = f'<form method="post" action="{html.escape(redirect)}">{inputs}</form>'
        page = f"<!doctype html><title>Signed in</title>{form}<script>document.forms[0].submit()</script>"
        return Answer(200, page.encode(), {"Content-Type": "text/html; charset=utf-8"}, gateway=True)
    location = f"{redirect}?code={code}&state={quote(query.get('state', ''))}&client_info={info}"
    return Answer(302, None, {"Location": location}, gateway=True)


# --- managed identity: http on this machine, as a VM and an App Service have it ---------------------------------------


def imds_token(world: World, request: ArmRequest) -> Answer:
    """https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token"""
    if request.headers.get("metadata", "").lower() != "true":
        return Answer(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
    found = _managed(world, request)
    if isinstance(found, Answer):
        return found
    seconds = world.identity.token_seconds
    return _managed_token(world, request, found, expires_in=str(seconds), ext_expires_in=str(seconds))


def app_service_token(world: World, request: ArmRequest) -> Answer:
    """https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference"""
    if request.headers.get("x-identity-header") != world.identity.managed_header:
        return Answer(401, {"statusCode": 401, "message": "X-IDENTITY-HEADER is missing or wrong."})
    found = _managed(world, request)
    return found if isinstance(found, Answer) else _managed_token(world, request, found)


def _managed(world: World, request: ArmRequest) -> Principal | Answer:
    query = request.query
    if not query.get("resource"):
        return Answer(400, {"error": "invalid_request", "error_description": "Required query variable 'resource'"})
    wanted = next((query[key] for key in ("client_id", "mi_res_id", "msi_res_id", "object_id") if query.get(key)), "")
    for principal in world.identity.managed:
        if wanted.lower() in ("", principal.client_id, principal.object_id, principal.resource_id.lower()):
            return principal
    return Answer(400, {"error": "invalid_request", "error_description": "Identity not found"})


def _managed_token(world: World, request: ArmRequest, principal: Principal, **extra: str) -> Answer:
    body = {
        "access_token": world.identity.issue(principal.client_id),
        "client_id": principal.client_id,
        "expires_on": str(int(world.now) + world.identity.token_seconds),
        "resource": request.query["resource"],
        "token_type": "Bearer",
        **extra,
    }
    return Answer(200, body, gateway=True)


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


MANAGED_ROUTES = {"/metadata/identity/oauth2/token": imds_token, "/msi/token": app_service_token}
ROUTES = [
    ("GET", "/common/discovery/instance", discover_instance),
    ("GET", "/<tenant>/v2.0/.well-known/openid-configuration", openid_configuration),
    ("GET", "/<tenant>/.well-known/openid-configuration", openid_configuration),
    ("POST", "/<tenant>/oauth2/v2.0/token", token),
    ("POST", "/<tenant>/oauth2/token", token),
    ("POST", "/<tenant>/oauth2/v2.0/devicecode", device_code),
    ("GET", "/<tenant>/oauth2/v2.0/authorize", authorize),
]
