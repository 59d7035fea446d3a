"""What to do about a refusal: each kind of 401 and 403 has advice of its own, and no other's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azurerm_lite import _advice
from azurerm_lite._http import wire

SET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/web"
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/gal/images/i/versions"
ROLE = "Virtual Machine Contributor"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
JOIN = "Microsoft.Network/virtualNetworks/subnets/join/action"
SUBNET = "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/n"


def linked(action: str, scope: str) -> str:
    return (
        "The client 'c' with object id 'o' has permission to perform action "
        f"'Microsoft.Compute/virtualMachineScaleSets/write' on scope '{SET}'; however, it does not have permission to "
        f"perform action(s) '{action}' on the linked scope(s) '{scope}' (respectively) or the linked scope(s) are "
        "invalid."
    )


OTHER_TENANT = (
    "The client has permission to perform action 'Microsoft.Compute/galleries/images/versions/read' on scope "
    "'{0}', however the current tenant '{1}' is not authorized to access linked subscription '{2}'."
)


def refused(code: str, message: str = "no", *, path: str = SET, status: int = 403, **error: Any) -> str:
    document = {"error": {"code": code, "message": message, **error}}
    return str(wire.decode_error(status, {}, wire.encode_json(document), method="PUT", path=path))


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        (refused("AuthorizationFailed"), [ROLE], ["auxiliary", "policy"]),
        (refused("AuthorizationFailed", path=GALLERY), ["reads the gallery"], [ROLE, "auxiliary"]),
        (refused("AuthorizationFailed", path="/subscriptions/s/resourceGroups/g"), ["the action"], [ROLE]),
        (refused("Forbidden"), ["ask the owner"], [ROLE, "auxiliary"]),
        (refused("DenyAssignmentAuthorizationFailed"), ["deny assignment"], [ROLE]),
        (refused("RequestDisallowedByAzure"), ["another region"], [ROLE]),
        (
            refused(
                "LinkedAuthorizationFailed",
                linked("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", IDENTITY),
            ),
            [
                "Missing is Microsoft.ManagedIdentity/userAssignedIdentities/assign/action on ",
                f"{IDENTITY}: Managed Identity Operator has it",
            ],
            [ROLE],
        ),
        (
            refused(
                "LinkedAuthorizationFailed", linked("Microsoft.Network/virtualNetworks/subnets/join/action", SUBNET)
            ),
            [f"subnets/join/action on {SUBNET}: Network Contributor"],
            [ROLE, "Managed Identity"],
        ),
        (
            refused("LinkedAuthorizationFailed", linked("Microsoft.Compute/galleries/images/versions/read", GALLERY)),
            ["Missing is Microsoft.Compute/galleries/images/versions/read", "Reader", "auxiliary_tenants"],
            [ROLE],
        ),
        (
            refused("LinkedAuthorizationFailed", OTHER_TENANT.format(SET, "tenant-a", "subscription-b")),
            ["another tenant (Azure quotes tenant-a and subscription-b)", "connect(auxiliary_tenants="],
            [ROLE, "Missing"],
        ),
        (refused("LinkedAuthorizationFailed", "nothing is quoted"), ["auxiliary_tenants"], [ROLE, "quotes"]),
        (refused("RequestDisallowedByPolicy"), ["A policy refuses it", "exemption"], [ROLE]),
        (refused("InvalidAuthenticationToken", status=401), ["this machine's clock"], [ROLE]),
        (refused("InvalidAuthenticationTokenTenant", status=401), ["another tenant"], ["clock"]),
    ],
)
def test_each_refusal_has_its_own_advice(text: str, wanted: list[str], unwanted: list[str]) -> None:
    assert not [part for part in wanted if part not in text], text
    assert not [part for part in unwanted if part in text.partition(": no")[2]], text
    assert "\n" not in text


def policy(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "PolicyViolation", "info": {"policyDefinitionDisplayName": name, **more}}


@pytest.mark.parametrize(
    ("error", "names"),
    [
        ({"additionalInfo": [policy("A"), policy("B")]}, ["policy 'A'", "policy 'B'"]),
        ({"AdditionalInfo": [{"Type": "x", "Info": {"PolicyDefinitionDisplayName": "A"}}]}, ["policy 'A'"]),
        ({"additionalInfo": policy("A")}, ["policy 'A'"]),
        ({"details": [{"code": "RequestDisallowedByPolicy", "additionalInfo": [policy("A")]}]}, ["policy 'A'"]),
        (
            {"additionalInfo": [{"info": {"policyDefinitionId": "/p/d", "policyAssignmentName": "as"}}]},
            ["/p/d", "'as'"],
        ),
        ({"additionalInfo": [{"info": {"policyAssignmentId": "/p/a"}}]}, ["a policy (assignment /p/a)"]),
        ({"additionalInfo": [policy(f"N{n}") for n in range(9)]}, ["policy 'N2'", "and 6 more"]),
        ({"additionalInfo": [5, None, {"info": 5}, {"info": {"policyDefinitionName": 5}}]}, ["A policy refuses it"]),
        ({"additionalInfo": [policy("\x1b[2J\u202e")]}, ["policy '\\x1b[2J\\u202e'"]),
    ],
)
def test_policies_are_named_wherever_azure_puts_them(error: dict[str, Any], names: list[str]) -> None:
    text = refused("RequestDisallowedByPolicy", **error)
    assert not [name for name in names if name not in text], text
    assert ROLE not in text


def test_a_policy_behind_another_code_is_named_too() -> None:
    inner = {"code": "RequestDisallowedByPolicy", "message": "m", "additionalInfo": [policy("Deep")]}
    details = [{"code": "InvalidTemplateDeployment", "details": [inner]}]
    assert "policy 'Deep'" in refused("InvalidTemplateDeployment", status=400, details=details)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
CODES = ["RequestDisallowedByPolicy", "LinkedAuthorizationFailed", "AuthorizationFailed"]


@given(st.sampled_from(CODES), st.text(max_size=200), values, values)
def test_any_refusal_has_printable_advice(code: str, message: str, info: Any, details: Any) -> None:
    additional = {"additionalinfo": info, "info": details}
    inner = details if isinstance(details, list) else [details]
    text = _advice.of_refusal(code, message, additional, inner) or _advice.of_forbidden(code, message)
    assert 0 < len(text) < 8000


@given(st.text(max_size=300), st.text(max_size=20))
def test_a_login_command_holds_any_claims_on_one_line(claims: str, code: str) -> None:
    assert "\n" not in _advice.login_command(claims)
    assert _advice.of_unauthorized(code, claims)
