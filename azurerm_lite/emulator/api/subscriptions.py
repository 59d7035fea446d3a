"""What ARM itself responds: clouds, subscriptions, resource groups, locations, providers.

`az cloud register --endpoint-resource-manager` configures itself from `/metadata/endpoints`.
"""

from typing import Any

from ..messages import Json, Request, Response, Route
from ..simulation.compose import Simulation


def metadata_endpoints(_simulation: Simulation, request: Request) -> Response:
    """The endpoints of this cloud, for clients that know only the resource manager's. Needs no token."""
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
    return Response(200, document, gateway=True)


def _subscription(simulation: Simulation, subscription_id: str) -> dict[str, Json]:
    return {
        "id": f"/subscriptions/{subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription_id,
        "tenantId": simulation.identity.tenant_id,
        "displayName": "Emulated subscription",
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def list_subscriptions(simulation: Simulation, _request: Request) -> Response:
    subscriptions = [
        _subscription(simulation, item)
        for item in sorted({item for item, _, _ in simulation.state.resource_groups.values()})
    ]
    return Response(
        200, {"value": subscriptions, "count": {"type": "Total", "value": len(subscriptions)}}, gateway=True
    )


def get_subscription(simulation: Simulation, _request: Request, *, subscription_id: str) -> Response:
    return Response(200, _subscription(simulation, subscription_id.lower()), gateway=True)


def _group(subscription_id: str, name: str, location: str) -> dict[str, Json]:
    return {
        "id": f"/subscriptions/{subscription_id}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": location,
        "properties": {"provisioningState": "Succeeded"},
    }


def _groups(simulation: Simulation, subscription_id: str) -> dict[str, Any]:
    groups = simulation.state.resource_groups.items()
    return {name: _group(*as_written) for (owner, name), as_written in groups if owner == subscription_id.lower()}


def list_resource_groups(simulation: Simulation, _request: Request, *, subscription_id: str) -> Response:
    return Response(200, {"value": list(_groups(simulation, subscription_id).values())}, gateway=True)


def get_resource_group(
    simulation: Simulation, _request: Request, *, subscription_id: str, resource_group: str
) -> Response:
    return Response(200, _groups(simulation, subscription_id)[resource_group.lower()], gateway=True)


def list_locations(simulation: Simulation, _request: Request, *, subscription_id: str) -> Response:
    names = _locations(simulation, subscription_id)
    locations = [{"id": f"/subscriptions/{subscription_id}/locations/{n}", "name": n, "displayName": n} for n in names]
    return Response(200, {"value": locations}, gateway=True)


def _locations(simulation: Simulation, subscription_id: str) -> list[str]:
    groups = simulation.state.resource_groups.values()
    return sorted({location for owner, _, location in groups if owner.lower() == subscription_id.lower()})


_TYPES = {
    "Microsoft.Compute": ("virtualMachineScaleSets", "virtualMachineScaleSets/virtualMachines", "locations/operations"),
    "Microsoft.Resources": ("subscriptions", "subscriptions/resourceGroups"),
}


def _provider(simulation: Simulation, subscription_id: str, namespace: str) -> dict[str, Json]:
    known, where = {name.lower(): types for name, types in _TYPES.items()}, _locations(simulation, subscription_id)
    types = [
        {"resourceType": kind, "locations": where, "apiVersions": ["2024-07-01", "2019-03-01"]}
        for kind in known.get(namespace.lower(), ())
    ]
    return {
        "id": f"/subscriptions/{subscription_id}/providers/{namespace}",
        "namespace": namespace,
        "resourceTypes": types,
        "registrationState": "Registered",
        "registrationPolicy": "RegistrationRequired",
    }


def list_providers(simulation: Simulation, _request: Request, *, subscription_id: str) -> Response:
    return Response(
        200, {"value": [_provider(simulation, subscription_id, namespace) for namespace in _TYPES]}, gateway=True
    )


def get_provider(simulation: Simulation, _request: Request, *, subscription_id: str, namespace: str) -> Response:
    return Response(200, _provider(simulation, subscription_id, namespace), gateway=True)


def register_provider(simulation: Simulation, request: Request, *, subscription_id: str, namespace: str) -> Response:
    """Register a provider, which changes nothing."""
    return get_provider(simulation, request, subscription_id=subscription_id, namespace=namespace)


_SUBSCRIPTION = "/subscriptions/<subscription_id>"
ROUTES: list[Route] = [
    ("GET", "/subscriptions", list_subscriptions, "Microsoft.Resources/subscriptions/read"),
    ("GET", _SUBSCRIPTION, get_subscription, "Microsoft.Resources/subscriptions/read"),
    ("GET", f"{_SUBSCRIPTION}/locations", list_locations, "Microsoft.Resources/subscriptions/locations/read"),
    (
        "GET",
        f"{_SUBSCRIPTION}/resourceGroups",
        list_resource_groups,
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    (
        "GET",
        f"{_SUBSCRIPTION}/resourceGroups/<resource_group>",
        get_resource_group,
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    ("GET", f"{_SUBSCRIPTION}/providers", list_providers, "Microsoft.Resources/subscriptions/providers/read"),
    ("GET", f"{_SUBSCRIPTION}/providers/<namespace>", get_provider, "Microsoft.Resources/subscriptions/providers/read"),
    ("POST", f"{_SUBSCRIPTION}/providers/<namespace>/register", register_provider, "Microsoft.Compute/register/action"),
]
