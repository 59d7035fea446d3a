"""What ARM itself answers besides resources: clouds, subscriptions, resource groups, providers.

`az cloud register --endpoint-resource-manager` configures itself from `/metadata/endpoints`.
"""

from typing import Any

from .exchange import Answer, ArmRequest, Json, Route
from .world import World


def metadata_endpoints(_world: World, request: ArmRequest) -> Answer:
    """Where everything is, for clients that know only the resource manager's address. Needs no token."""
    base = request.base_url
    document: dict[str, Json] = {
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [f"{base}/", base],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "media": base,
        "graphAudience": base,
        "graph": base,
        "name": "AzureEmulator",
        "suffixes": {"storage": "core.emulator.invalid", "keyVaultDns": "vault.emulator.invalid"},
        "batch": base,
        "resourceManager": base,
        "vmImageAliasDoc": f"{base}/aliases.json",
        "activeDirectoryDataLake": base,
        "sqlManagement": base,
        "microsoftGraphResourceId": base,
        "appInsightsResourceId": base,
        "gallery": base,
    }
    return Answer(200, document, gateway=True)


def _subscription(world: World, subscription_id: str) -> dict[str, Json]:
    return {
        "id": f"/subscriptions/{subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription_id,
        "tenantId": world.identity.tenant_id,
        "displayName": "Emulated subscription",
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def list_subscriptions(world: World, _request: ArmRequest) -> Answer:
    found = [_subscription(world, one) for one in sorted({one for one, _, _ in world.resource_groups.values()})]
    return Answer(200, {"value": found, "count": {"type": "Total", "value": len(found)}}, gateway=True)


def get_subscription(world: World, _request: ArmRequest, *, subscription_id: str) -> Answer:
    return Answer(200, _subscription(world, subscription_id.lower()), gateway=True)


def _group(subscription_id: str, name: str, location: str) -> dict[str, Json]:
    return {
        "id": f"/subscriptions/{subscription_id}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": location,
        "properties": {"provisioningState": "Succeeded"},
    }


def _groups(world: World, subscription_id: str) -> dict[str, Any]:
    found = world.resource_groups.items()
    return {name: _group(*spelt) for (owner, name), spelt in found if owner == subscription_id.lower()}


def list_resource_groups(world: World, _request: ArmRequest, *, subscription_id: str) -> Answer:
    return Answer(200, {"value": list(_groups(world, subscription_id).values())}, gateway=True)


def get_resource_group(world: World, _request: ArmRequest, *, subscription_id: str, resource_group: str) -> Answer:
    return Answer(200, _groups(world, subscription_id)[resource_group.lower()], gateway=True)


def list_locations(world: World, _request: ArmRequest, *, subscription_id: str) -> Answer:
    names = _locations(world, subscription_id)
    found = [{"id": f"/subscriptions/{subscription_id}/locations/{n}", "name": n, "displayName": n} for n in names]
    return Answer(200, {"value": found}, gateway=True)


def _locations(world: World, subscription_id: str) -> list[str]:
    groups = world.resource_groups.values()
    return sorted({location for owner, _, location in groups if owner.lower() == subscription_id.lower()})


_TYPES = {
    "Microsoft.Compute": ("virtualMachineScaleSets", "virtualMachineScaleSets/virtualMachines", "locations/operations"),
    "Microsoft.Resources": ("subscriptions", "subscriptions/resourceGroups"),
}


def _provider(world: World, subscription_id: str, namespace: str) -> dict[str, Json]:
    known, where = {name.lower(): types for name, types in _TYPES.items()}, _locations(world, subscription_id)
    types = [
        {"resourceType": one, "locations": where, "apiVersions": ["2024-07-01", "2019-03-01"]}
        for one in known.get(namespace.lower(), ())
    ]
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{namespace}",
        "namespace": namespace,
        "resourceTypes": types,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
    }


def list_providers(world: World, _request: ArmRequest, *, subscription_id: str) -> Answer:
    return Answer(200, {"value": [_provider(world, subscription_id, one) for one in _TYPES]}, gateway=True)


def get_provider(world: World, _request: ArmRequest, *, subscription_id: str, namespace: str) -> Answer:
    return Answer(200, _provider(world, subscription_id, namespace), gateway=True)


def register_provider(world: World, request: ArmRequest, *, subscription_id: str, namespace: str) -> Answer:
    """What is registered already stays so."""
    return get_provider(world, request, subscription_id=subscription_id, namespace=namespace)


_ONE = "/subscriptions/<subscription_id>"
ROUTES: list[Route] = [
    ("GET", "/subscriptions", list_subscriptions, "Microsoft.Resources/subscriptions/read"),
    ("GET", _ONE, get_subscription, "Microsoft.Resources/subscriptions/read"),
    ("GET", f"{_ONE}/locations", list_locations, "Microsoft.Resources/subscriptions/locations/read"),
    ("GET", f"{_ONE}/resourceGroups", list_resource_groups, "Microsoft.Resources/subscriptions/resourceGroups/read"),
    (
        "GET",
        f"{_ONE}/resourceGroups/<resource_group>",
        get_resource_group,
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    ("GET", f"{_ONE}/providers", list_providers, "Microsoft.Resources/subscriptions/providers/read"),
    ("GET", f"{_ONE}/providers/<namespace>", get_provider, "Microsoft.Resources/subscriptions/providers/read"),
    ("POST", f"{_ONE}/providers/<namespace>/register", register_provider, "Microsoft.Compute/register/action"),
]
