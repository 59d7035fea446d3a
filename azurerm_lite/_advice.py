"""The hints of errors: what to do about each kind of 401 and 403, by Azure's codes and fields. PURE.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Transient failures of a login: codes of OAuth, of HTTP, our own, and Entra's numbers without AADSTS.
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_TRANSIENT_LOGIN = (
    *("temporarily_unavailable", "server_error", "service_unavailable", "request_timeout", "timeout", "unreachable"),
    *("too_many_requests", "408", "410", "429", "90006", "90012", "90024", "90025", "90033", "90055"),
)
MOST_POLICIES = 3


def is_transient(code: str) -> bool:
    """Whether another attempt at a login that failed with this code may succeed."""
    number = code.lower().removeprefix("aadsts")
    return number in _TRANSIENT_LOGIN or re.fullmatch("5[0-9][0-9]", number) is not None


def login_command(claims: str, tenant: str = "", scope: str = "") -> str:
    """The az command that logs in with the claims (JSON text) that Azure demands.

    https://learn.microsoft.com/cli/azure/authenticate-azure-cli-interactively
    """
    words = ["az", "login"]
    words += ["--tenant", f'"{tenant}"'] if tenant else []
    words += ["--scope", f'"{scope}"'] if scope else []
    encoded = base64.b64encode(claims.encode("utf-8", "surrogatepass")).decode()
    return " ".join([*words, "--claims-challenge", f'"{encoded}"'])


def of_unauthorized(code: str, claims: str | None) -> str:
    """The hint for a 401 that also came with a new token."""
    if claims:
        return (
            "Azure demands a stronger login, such as multi-factor authentication. Log in with the claims that it "
            f"demands, then try again: {login_command(claims)}"
        )
    if code.lower() == "invalidauthenticationtokentenant":
        return (
            "The token is of another tenant than the subscription: check tenant and subscription. Other tenants that "
            "are needed besides are named by connect(auxiliary_tenants=...)."
        )
    return "The token was refused: check tenant, audience and this machine's clock."


_BY_CODE = {
    "denyassignmentauthorizationfailed": (
        "A deny assignment at that scope forbids it, whatever the roles allow: its owner (often a managed application "
        "or a deployment stack) must change it."
    ),
    "requestdisallowedbyazure": (
        "Azure itself restricts this subscription, often its regions or sizes; a role does not help. "
        "Choose another region or size, or ask the owner of the subscription."
    ),
}


def of_forbidden(code: str, path: str) -> str:
    """The hint for a 403 by its code and the path of the request."""
    if text := _BY_CODE.get(code.lower()):
        return text
    if code.lower() != "authorizationfailed":
        return "The identity is known, but may not do this: ask the owner of the resource."
    kind = path.lower()
    if "/providers/microsoft.compute/galleries/" in kind:
        return "Ask for a role that reads the gallery (Compute Gallery Artifacts Reader, or Reader) at its scope."
    if "/virtualmachinescalesets" in kind:
        return "Ask for a role that allows it (Virtual Machine Contributor covers upgrades) at resource-group scope."
    return "Ask for a role that has the action which is named above, at the scope which is named there."


def of_refusal(code: str, message: str, additional: Mapping[str, Any], details: Sequence[Any]) -> str:
    """The hint for a refusal by a policy or because of a linked resource; "" for any other error."""
    inner = [entry for entry in details if isinstance(entry, Mapping)]
    inner += [deep for entry in inner for deep in _listed(entry.get("details")) if isinstance(deep, Mapping)]
    codes = {code.lower(), *(str(entry.get("code", "")).lower() for entry in inner)}
    if "requestdisallowedbypolicy" in codes:
        return _by_policy([additional, *inner])
    if "linkedauthorizationfailed" in codes:
        messages = [message, *(str(entry.get("message", "")) for entry in inner)]
        return _linked(next((text for text in messages if _QUOTED.search(text)), ""))
    return ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- policies --------------------------------------------------------------------------------------------------------


def _by_policy(entries: Sequence[Mapping[Any, Any]]) -> str:
    """https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-policy-requestdisallowedbypolicy"""
    names = list(dict.fromkeys(_policies(entries)))
    more = [f"and {len(names) - MOST_POLICIES} more"] if len(names) > MOST_POLICIES else []
    listed = "; ".join([*names[:MOST_POLICIES], *more])
    refused = f"It is refused by {listed}. " if names else "A policy refuses it. "
    return f"{refused}A role does not help: send what the policy allows, or ask its owner for an exemption."


def _policies(entries: Sequence[Mapping[Any, Any]]) -> Iterator[str]:
    for entry in entries:
        infos = _lowered(entry).get("additionalinfo")
        for item in infos if isinstance(infos, list) else [infos]:
            if text := _policy(_lowered(_lowered(item).get("info"))):
                yield text


def _lowered(value: Any) -> dict[str, Any]:
    """A mapping with its keys in lower case; an empty one for any other value."""
    return {str(key).lower(): field for key, field in value.items()} if isinstance(value, Mapping) else {}


def _policy(info: Mapping[str, Any]) -> str:
    """A policy as text: the name of its definition, and the name and id of its assignment."""
    known = {key: value for key, value in info.items() if isinstance(value, str) and value}
    definition = _first(known, "policydefinitiondisplayname", "policydefinitionname", "policydefinitionid")
    assignment = _first(known, "policyassignmentdisplayname", "policyassignmentname")
    place = known.get("policyassignmentid", "")[:300]
    assigned = " at ".join([*([f"'{assignment}'"] if assignment else []), *([place] if place else [])])
    if not definition and not assigned:
        return ""
    return (f"policy '{definition}'" if definition else "a policy") + (f" (assignment {assigned})" if assigned else "")


def _first(known: Mapping[str, str], *names: str) -> str:
    return next((known[name][:200] for name in names if name in known), "")


# --- linked resources ------------------------------------------------------------------------------------------------

_QUOTED = re.compile(r"'([^']{1,400})'")
_ACTION = re.compile(r"[A-Za-z.]+/[\w./-]+/(?:action|read|write|delete)", re.IGNORECASE)
_IN_SUBSCRIPTION = re.compile(r"/subscriptions/[^,;\s]+", re.IGNORECASE)
_AUXILIARY = (
    'If the resource is in a subscription of another tenant, name that tenant: connect(auxiliary_tenants=("...",)); '
    "the same principal needs a role there."
)


def _linked(message: str) -> str:
    """The hint for a linked resource, from the quoted parts of Azure's message; no field of the error has them.

    The message quotes the action that is allowed and its scope, then the missing actions and their scopes.
    https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
    """
    quoted = [text for part in _QUOTED.findall(message[:8000]) for text in re.split(r"[,;]\s*", part)]
    actions = [text for text in quoted if _ACTION.fullmatch(text)]
    scopes = [text for text in quoted if _IN_SUBSCRIPTION.fullmatch(text)]
    missing = list(dict.fromkeys(actions[1:]))
    if not missing:
        other = f" (Azure quotes {' and '.join(quoted[-2:])})" if len(quoted) >= 2 else ""
        return (
            f"The linked resource, such as the gallery of the image, is in a subscription of another tenant{other}. "
            'Name that tenant: connect(auxiliary_tenants=("...",)); the same principal needs a role there.'
        )
    linked = [scope for scope in scopes[1:] if scope != scopes[0]] or scopes[-1:]
    where = f" on {', '.join(linked)}" if linked else " on the linked resource"
    if any(action.lower().endswith("/assign/action") for action in missing):
        role = "Managed Identity Operator has it"
    elif any("/galleries/" in action.lower() for action in missing):
        role = "Reader has it"
    elif any("/join/action" in action.lower() for action in missing):
        role = "Network Contributor has it"
    else:
        role = "ask the owner of that resource for a role with it"
    return f"Missing is {', '.join(missing)}{where}: {role}. {_AUXILIARY}"
