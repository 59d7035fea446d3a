"""The endpoints of Entra ID and of managed identity: discovery, tokens by every flow.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

import base64
import hashlib
import html
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, quote

from ..messages import Json, Request, Response
from ..simulation.compose import Simulation
from ..simulation.identity import DeviceLogin, Principal, encode_segment, entra_error


def openid_configuration(simulation: Simulation, request: Request, *, tenant: str) -> Response:
    """The v2.0 discovery document; a domain name is answered with the tenant's GUID."""
    identity = simulation.identity
    tenant_id = tenant.lower() if tenant.lower() in identity.other_tenants else identity.tenant_id
    if tenant.lower() not in (tenant_id, "common", "organizations") and "." not in tenant:
        raise entra_error(simulation.events, 400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
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
    return Response(200, document, gateway=True)


def token(simulation: Simulation, request: Request, *, tenant: str) -> Response:
    """A token by any flow, in the v2.0 form (scope) or the v1 form (resource, numbers as text)."""
    identity = simulation.identity
    other = tenant.lower() if tenant.lower() in identity.other_tenants else ""
    if tenant.lower() not in (identity.tenant_id, other, "organizations", "common") and "." not in tenant:
        raise entra_error(simulation.events, 400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
    raw = request.body if isinstance(request.body, str) else ""
    form = {key: values[0] for key, values in parse_qs(raw, keep_blank_values=True).items()}
    grant = _GRANTS.get(form.get("grant_type", ""))
    if grant is None:
        text = f"The app requested an unsupported grant type '{form.get('grant_type', '')}'."
        raise entra_error(simulation.events, 400, "unsupported_grant_type", 70003, text)
    principal, nonce = grant(simulation, form)
    version_two = "/v2.0/" in request.path
    if version_two and not any(scope.endswith("/.default") for scope in form.get("scope", _ANY_SCOPE).split()):
        text = f"The provided value for scope {form.get('scope', '')} is not valid."
        raise entra_error(simulation.events, 400, "invalid_scope", 1002012, text)
    seconds, issued = identity.token_seconds, identity.issue(principal.client_id, form.get("claims", ""), other)
    if version_two:
        body: dict[str, Json] = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds}
        extra = {} if grant is _by_secret_or_assertion else _user_fields(simulation, request, principal, form, nonce)
        return Response(200, {**body, "access_token": issued, **extra}, gateway=True)
    times = {"expires_in": seconds, "ext_expires_in": seconds, "expires_on": int(simulation.events.now) + seconds}
    body = {"token_type": "Bearer", **{key: str(value) for key, value in times.items()}}
    return Response(200, {**body, "resource": form.get("resource", ""), "access_token": issued}, gateway=True)


_ANY_SCOPE = "https://management.azure.com/.default"
Grant = tuple[Principal, str]  # and the nonce of an interactive login


def _by_secret_or_assertion(simulation: Simulation, form: Mapping[str, str]) -> Grant:
    return simulation.identity.verify(dict(form)), ""


def _user(simulation: Simulation, client_id: str) -> Principal:
    """The principal of a user, by the id of the public client; it is a Contributor."""
    identity = simulation.identity
    return identity.principals.setdefault(client_id, Principal(client_id, ""))


def _by_device_code(simulation: Simulation, form: Mapping[str, str]) -> Grant:
    login = simulation.identity.device_logins.get(form.get("device_code", ""))
    if login is None:
        raise entra_error(simulation.events, 400, "bad_verification_code", 70018, "The device code is not known.")
    if login.expires <= simulation.events.now:
        raise entra_error(simulation.events, 400, "expired_token", 70020, "The device code has expired.")
    if login.state != "confirmed":
        number = 70016 if login.state == "authorization_pending" else 70001
        raise entra_error(simulation.events, 400, login.state, number, "The end user has not finished the login.")
    return _user(simulation, login.client_id), ""


def _by_refresh(simulation: Simulation, form: Mapping[str, str]) -> Grant:
    client_id = simulation.identity.refresh_tokens.get(form.get("refresh_token", ""))
    if client_id is None:
        raise entra_error(simulation.events, 400, "invalid_grant", 70000, "The refresh token is not valid.")
    return _user(simulation, client_id), ""


def _by_code(simulation: Simulation, form: Mapping[str, str]) -> Grant:
    """By the code of an interactive login, with the proof key of the client that began it (PKCE)."""
    login = simulation.identity.codes.pop(form.get("code", ""), None)
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    proof = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if login is None or login["code_challenge"] != proof or login["redirect_uri"] != form.get("redirect_uri"):
        raise entra_error(simulation.events, 400, "invalid_grant", 70008, "The authorization code is not valid.")
    return _user(simulation, login["client_id"]), login.get("nonce", "")


_GRANTS: dict[str, Callable[[Simulation, Mapping[str, str]], Grant]] = {
    "client_credentials": _by_secret_or_assertion,
    "urn:ietf:params:oauth:grant-type:device_code": _by_device_code,
    "device_code": _by_device_code,
    "refresh_token": _by_refresh,
    "authorization_code": _by_code,
}


def _user_fields(
    simulation: Simulation, request: Request, principal: Principal, form: Mapping[str, str], nonce: str
) -> dict[str, Json]:
    """The fields beside the token of a user: refresh token, id token, client info."""
    identity = simulation.identity
    refresh = f"refresh.{simulation.events.guid()}"
    identity.refresh_tokens[refresh] = principal.client_id
    person = {"oid": principal.client_id, "sub": principal.client_id, "preferred_username": "person@emulator.invalid"}
    issuer = f"{request.base_url}/{identity.tenant_id}/v2.0"
    times = {"iat": int(simulation.events.now), "exp": int(simulation.events.now) + 400_000_000}
    claims = {"iss": issuer, "aud": principal.client_id, "tid": identity.tenant_id, **person, **times, "nonce": nonce}
    id_token = f"{encode_segment({'alg': 'none', 'typ': 'JWT'})}.{encode_segment(claims)}."
    info = encode_segment({"uid": principal.client_id, "utid": identity.tenant_id})
    scope = form.get("scope", _ANY_SCOPE)
    return {"refresh_token": refresh, "id_token": id_token, "client_info": info, "scope": scope}


def device_code(simulation: Simulation, request: Request, *, tenant: str) -> Response:
    """Begin a device login. https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code"""
    raw = request.body if isinstance(request.body, str) else ""
    form = {key: values[0] for key, values in parse_qs(raw).items()}
    code, user_code = simulation.events.guid(), simulation.events.guid()[:8].upper()
    login = DeviceLogin(
        form.get("client_id", ""), user_code, simulation.events.now + 900 * simulation.events.time_scale
    )
    if simulation.identity.confirms_at_once:
        login.state = "confirmed"
    simulation.identity.device_logins[code] = login
    page = f"{request.base_url}/{tenant}/oauth2/deviceauth"
    body = {
        "user_code": user_code,
        "device_code": code,
        "verification_uri": page,
        "expires_in": 900,
        "interval": 1,
        "message": f"To sign in, use a web browser to open the page {page} and enter the code {user_code}.",
    }
    return Response(200, body, gateway=True)


def authorize(simulation: Simulation, request: Request, *, tenant: str) -> Response:  # noqa: ARG001
    """The login page after the user has agreed: back to the client with a code."""
    query = request.query
    redirect = query.get("redirect_uri", "")
    if not redirect.startswith(("http://localhost", "http://127.0.0.1")) or not query.get("code_challenge"):
        raise entra_error(
            simulation.events, 400, "invalid_request", 50011, "The redirect URI or the code challenge is missing."
        )
    code = simulation.events.guid()
    names = ("client_id", "redirect_uri", "code_challenge", "nonce")
    simulation.identity.codes[code] = {name: query.get(name, "") for name in names}
    info = encode_segment({"uid": query.get("client_id", ""), "utid": simulation.identity.tenant_id})
    if query.get("response_mode") == "form_post":  # as msal wants it: the code never stands in an address
        fields = {"code": code, "state": query.get("state", ""), "client_info": info}
        inputs = "".join(f'<input type="hidden" name="{k}" value="{html.escape(v)}">' for k, v in fields.items())
        form = f'<form method="post" action="{html.escape(redirect)}">{inputs}</form>'
        page = f"<!doctype html><title>Signed in</title>{form}<script>document.forms[0].submit()</script>"
        return Response(200, page.encode(), {"Content-Type": "text/html; charset=utf-8"}, gateway=True)
    location = f"{redirect}?code={code}&state={quote(query.get('state', ''))}&client_info={info}"
    return Response(302, None, {"Location": location}, gateway=True)


# --- managed identity: plain http on this machine, as on a VM and in an App Service ---------------------------------


def imds_token(simulation: Simulation, request: Request) -> Response:
    """https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token"""
    if request.headers.get("metadata", "").lower() != "true":
        return Response(
            400, {"error": "invalid_request", "error_description": "Required metadata header not specified"}
        )
    principal = _managed(simulation, request)
    if isinstance(principal, Response):
        return principal
    seconds = simulation.identity.token_seconds
    return _managed_token(simulation, request, principal, expires_in=str(seconds), ext_expires_in=str(seconds))


def app_service_token(simulation: Simulation, request: Request) -> Response:
    """https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference"""
    if request.headers.get("x-identity-header") != simulation.identity.managed_header:
        return Response(401, {"statusCode": 401, "message": "X-IDENTITY-HEADER is missing or wrong."})
    principal = _managed(simulation, request)
    return principal if isinstance(principal, Response) else _managed_token(simulation, request, principal)


def _managed(simulation: Simulation, request: Request) -> Principal | Response:
    query = request.query
    if not query.get("resource"):
        return Response(400, {"error": "invalid_request", "error_description": "Required query variable 'resource'"})
    chosen_id = next(
        (query[key] for key in ("client_id", "mi_res_id", "msi_res_id", "object_id") if query.get(key)), ""
    )
    for principal in simulation.identity.managed:
        if chosen_id.lower() in ("", principal.client_id, principal.object_id, principal.resource_id.lower()):
            return principal
    return Response(400, {"error": "invalid_request", "error_description": "Identity not found"})


def _managed_token(simulation: Simulation, request: Request, principal: Principal, **extra: str) -> Response:
    body = {
        "access_token": simulation.identity.issue(principal.client_id),
        "client_id": principal.client_id,
        "expires_on": str(int(simulation.events.now) + simulation.identity.token_seconds),
        "resource": request.query["resource"],
        "token_type": "Bearer",
        **extra,
    }
    return Response(200, body, gateway=True)


def discover_instance(simulation: Simulation, request: Request) -> Response:
    """Which authorities are trusted, as clients ask the public login service: every one of them is the emulator."""
    identity = simulation.identity
    host = request.base_url.partition("://")[2]
    document = {
        "tenant_discovery_endpoint": f"{request.base_url}/{identity.tenant_id}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
    return Response(200, document, gateway=True)


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
