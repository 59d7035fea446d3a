"""Entra ID behind its endpoints: principals, their roles, the tokens in use, and ARM's check of a bearer token.

Tokens look like Entra's and expire by the clock of the simulation. Errors have the AADSTS codes and the shape that
msal reads. `api.entra` has the endpoints.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from ..messages import ErrorResponse, Json, Request
from .events import Events

TOKEN_SECONDS = 3599


@dataclass(slots=True)
class Principal:
    """An identity that can log in. `role`: Contributor, Reader, or "" for no rights.

    `object_id`, `resource_id`: of a managed identity; a system-assigned one has no resource id.
    """

    client_id: str
    secret: str
    role: str = "Contributor"
    object_id: str = ""
    resource_id: str = ""

    def __repr__(self) -> str:
        return f"Principal({self.client_id}, {self.role})"


@dataclass(slots=True)
class Token:
    """An issued token. `claims`: those of its request. `tenant_id`: "" for the tenant of the emulated subscriptions."""

    client_id: str
    expires: float
    claims: str = ""
    tenant_id: str = ""


@dataclass(slots=True)
class DeviceLogin:
    """A device login: it waits until its user code is confirmed or declined, or until it expires."""

    client_id: str
    user_code: str
    expires: float
    state: str = "authorization_pending"


class Identity:
    """One tenant: its principals, and the tokens that it has issued.

    `confirms_at_once`: users confirm a device login at once, without `confirm`. `other_tenants`: tenant -> its
    subscriptions, in lower case.
    """

    def __init__(self, events: Events) -> None:
        self.events = events
        self.tenant_id = events.guid()
        self.token_seconds = TOKEN_SECONDS
        self.principals: dict[str, Principal] = {}
        self.tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.device_logins: dict[str, DeviceLogin] = {}
        self.demanded_claims = ""
        self.managed_header = events.guid()
        self.managed: list[Principal] = []
        self.confirms_at_once = False
        self._keys: dict[str, list[tuple[str, str]]] = {}
        self.other_tenants: dict[str, set[str]] = {}

    def add_tenant(self, *subscription_ids: str) -> str:
        """Add another tenant with these subscriptions, in which every principal can log in too. Returns its id."""
        tenant_id = self.events.guid()
        self.other_tenants[tenant_id] = {subscription.lower() for subscription in subscription_ids}
        return tenant_id

    def tenant_of(self, subscription_id: str) -> str:
        """The other tenant of a subscription; "" for a subscription of this tenant."""
        lower = subscription_id.lower()
        return next((tenant for tenant, known in self.other_tenants.items() if lower in known), "")

    def trust_key(self, client_id: str, public_key: str, *, issuer: str = "") -> None:
        """Accept assertions of a principal that are signed with this key (PEM). `issuer`: by default itself."""
        self._keys.setdefault(client_id, []).append((public_key, issuer or client_id))

    def _verify_assertion(self, principal: Principal, assertion: str) -> None:
        """Raise Entra's error unless signature, issuer and time of a client assertion are right."""
        for key, issuer in self._keys.get(principal.client_id, []):
            try:
                options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
                claims = jwt.decode(assertion, key, algorithms=["RS256", "PS256"], issuer=issuer, options=options)
            except jwt.PyJWTError:
                continue
            if float(claims.get("exp", 0)) <= self.events.now:
                text = "Client assertion is not within its valid time range."
                raise entra_error(self.events, 401, "invalid_client", 700024, text)
            return
        text = "Client assertion failed signature validation: the certificate or key is not registered."
        raise entra_error(self.events, 401, "invalid_client", 700027, text)

    def register(self, *, role: str = "Contributor") -> Principal:
        """A new service principal with a new secret. Roles: Contributor, Reader."""
        secret = f"emulator~{self.events.guid().replace('-', '')}"
        principal = Principal(self.events.guid(), secret, role)
        self.principals[principal.client_id] = principal
        return principal

    def register_managed(self, *, role: str = "Contributor", resource_id: str = "") -> Principal:
        """A new managed identity. The first is system-assigned; clients choose the others by one of their ids."""
        principal = self.register(role=role)
        principal.object_id, principal.resource_id = self.events.guid(), resource_id
        self.managed.append(principal)
        return principal

    def set_role(self, client_id: str, role: str) -> None:
        """Change the rights of a principal: "Contributor", "Reader" or "" for none."""
        self.principals[client_id].role = role

    def expire_tokens(self, client_id: str = "") -> None:
        """Expire the tokens of a client at once, or of all clients."""
        for token_ in self.tokens.values():
            if client_id in ("", token_.client_id):
                token_.expires = self.events.now

    def demand_claims(self, claims: str) -> None:
        """Demand these claims (JSON) of every token from now on, as continuous access evaluation does."""
        self.demanded_claims = claims

    def issue(self, client_id: str, claims: str = "", tenant_id: str = "") -> str:
        """A new token of a client, as text. `claims`: those of its request."""
        issued = self._jwt(client_id, tenant_id or self.tenant_id)
        end = self.events.now + self.token_seconds * self.events.time_scale
        self.tokens[issued] = Token(client_id, end, claims, tenant_id)
        return issued

    def _jwt(self, client_id: str, tenant_id: str) -> str:
        """A token in Entra's form, for clients that read their own identity from it. It has no true signature."""
        principal = self.principals.get(client_id)
        now = int(self.events.now)
        claims: dict[str, Json] = {"aud": "https://management.azure.com/", "tid": tenant_id, "appid": client_id}
        claims |= {"oid": (principal and principal.object_id) or client_id, "iat": now, "nbf": now}
        claims |= {"exp": now + self.token_seconds, "iss": f"https://sts.windows.net/{tenant_id}/", "ver": "1.0"}
        if principal in self.managed:
            resource_id = principal and principal.resource_id
            claims["xms_mirid"] = resource_id or "/subscriptions/emulated/virtualMachines/here"
        signature = self.events.guid().replace("-", "") + self.events.guid().replace("-", "")
        return f"{encode_segment({'alg': 'none', 'typ': 'JWT'})}.{encode_segment(claims)}.{signature}"

    def principal_of(self, authorization: str) -> Principal:
        """The principal of an Authorization header; ARM's 401 for a token that is missing, unknown or expired."""
        kind, _, token_ = authorization.partition(" ")
        if kind.lower() != "bearer" or not token_:
            raise _unauthorized(
                self.tenant_id, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        known = self.tokens.get(token_)
        if known is None:
            raise _unauthorized(self.tenant_id, "InvalidAuthenticationToken", "The access token is invalid.")
        if known.expires <= self.events.now:
            raise _unauthorized(self.tenant_id, "ExpiredAuthenticationToken", "The access token expiry is over.")
        if self.demanded_claims and not _has_claims(known.claims, self.demanded_claims):
            raise _claims_challenge(self.tenant_id, self.demanded_claims)
        if known.tenant_id:
            raise self._wrong_tenant(known.tenant_id, self.tenant_id)
        return self.principals[known.client_id]

    def _wrong_tenant(self, has: str, wants: str) -> ErrorResponse:
        issuer = "https://sts.windows.net"
        text = (
            f"The access token is from the wrong issuer '{issuer}/{has}/'. It must match the tenant "
            f"'{issuer}/{wants}/' associated with this subscription. Please use the authority (URL) "
            f"'https://login.microsoftonline.com/{wants}' to get the token."
        )
        return _unauthorized(wants, "InvalidAuthenticationTokenTenant", text)

    def check_tenants(self, request: Request, principal: Principal) -> None:
        """Raise ErrorResponse where the subscription, or a linked image, is in another tenant.

        An image is allowed with a token of the same principal in its tenant, in the header for auxiliary tokens.
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
            raise ErrorResponse(403, "LinkedAuthorizationFailed", text, gateway=True)

    def _auxiliary_tenants(self, request: Request, principal: Principal) -> set[str]:
        """The tenants of the auxiliary tokens of a request; ErrorResponse for one that is not valid."""
        header = request.headers.get("x-ms-authorization-auxiliary", "")
        tokens = [part.strip() for part in header.split(",")] if header else []
        known = [self.tokens.get(text.removeprefix("Bearer ")) for text in tokens if text.startswith("Bearer ")]
        now, client_id = self.events.now, principal.client_id
        good = [t for t in known if t and t.expires > now and t.client_id == client_id and t.tenant_id]
        if len(tokens) > 3 or len(good) < len(tokens):
            text = (
                f"Authentication failed for auxiliary token: {len(tokens) - len(good)} of {len(tokens)} are not valid."
            )
            raise _unauthorized(self.tenant_id, "InvalidAuxiliaryTokens", text)
        return {token.tenant_id for token in good}

    def confirm(self, user_code: str = "", *, decline: bool = False) -> None:
        """Confirm or decline the device login with this user code, by default every one."""
        for login in self.device_logins.values():
            if user_code in ("", login.user_code):
                login.state = "authorization_declined" if decline else "confirmed"

    def verify(self, form: dict[str, str]) -> Principal:
        """The principal of a token request, by secret or assertion; Entra's error for a wrong one."""
        principal = self.principals.get(form.get("client_id", ""))
        if principal is None:
            text = f"Application with identifier '{form.get('client_id', '')}' was not found in the directory."
            raise entra_error(self.events, 400, "unauthorized_client", 700016, text)
        if form.get("client_assertion"):
            self._verify_assertion(principal, form["client_assertion"])
            return principal
        if form.get("client_secret") != principal.secret:
            text = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{principal.client_id}'."
            )
            raise entra_error(self.events, 401, "invalid_client", 7000215, text)
        return principal


def _image_id(body: Json) -> str:
    """The id of the image in a model or in a part of one; "" for none."""
    for key in ("properties", "virtualMachineProfile", "storageProfile", "imageReference", "id"):
        body = body.get(key) if isinstance(body, Mapping) else None
    return body if isinstance(body, str) else ""


def _has_claims(requested: str, demanded: str) -> bool:
    """Whether the request of a token had the demanded claims; clients may add more."""
    try:
        have, want = json.loads(requested or "{}"), json.loads(demanded)
    except ValueError:
        return False
    mine, theirs = have.get("access_token") or {}, want.get("access_token") or {}
    return all(mine.get(key) == value for key, value in theirs.items())


def _claims_challenge(tenant_id: str, claims: str) -> ErrorResponse:
    encoded = base64.b64encode(claims.encode()).decode()
    challenge = (
        f'Bearer realm="", authorization_uri="https://login.microsoftonline.com/{tenant_id}", '
        f'error="insufficient_claims", claims="{encoded}"'
    )
    text = "Continuous access evaluation resulted in challenge with code: TokenIssuedBeforeRevocationTimestamp."
    code = "TokenIssuedBeforeRevocationTimestamp"
    return ErrorResponse(401, code, text, gateway=True, headers={"WWW-Authenticate": challenge})


def _unauthorized(tenant_id: str, code: str, message: str) -> ErrorResponse:
    challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{tenant_id}", error="invalid_token"'
    return ErrorResponse(401, code, message, gateway=True, headers={"WWW-Authenticate": challenge})


class EntraError(ErrorResponse):
    """An error in the form of Entra."""


def entra_error(events: Events, status: int, code: str, number: int, text: str) -> EntraError:
    """An error of Entra with its AADSTS number, trace and correlation ids."""
    trace, correlation = events.guid(), events.guid()
    stamp = events.timestamp()[:19].replace("T", " ") + "Z"
    ids = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
    error = EntraError(status, code, text)
    error.response.body = {
        "error": code,
        "error_description": f"AADSTS{number}: {text} {ids}",
        "error_codes": [number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }
    error.response.gateway = True
    return error


def encode_segment(document: Mapping[str, Json]) -> str:
    """A part of a JSON web token: the document as base64 text."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
