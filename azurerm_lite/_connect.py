"""connect(): make an Arm from the environment. `auth/flows.py` says which credentials are tried."""

import dataclasses
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import clouds
from ._common import arguments, forks
from ._common.secrecy import conceals
from ._http import wire
from ._http.retry import Retry
from .arm import API_VERSION, DEFAULT_RETRY, Arm
from .auth import flows, tenants
from .auth._msal import Login
from .clouds import Cloud, NetworkSettings
from .types import TokenCredential, TokenInfoCredential

if TYPE_CHECKING:
    from ._http.transport import Timeouts


@conceals
def connect(
    credential: TokenCredential | TokenInfoCredential | str | None = None,
    *,
    cloud: Cloud | str | None = None,
    env: Mapping[str, str] | None = None,
    ca_file: str | None = None,
    proxy: str | None = None,
    strict_certificates: bool = True,
    auxiliary_tenants: Sequence[str] = (),
    api_version: str = API_VERSION,
    retry: Retry = DEFAULT_RETRY,
    timeouts: "Timeouts | None" = None,
    adapter: Any = None,
    sleep: Callable[[float], object] | None = None,
    now: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
    correlation_id: str | None = None,
    time_scale: float | None = None,
) -> Arm:
    """Make an Arm for the cloud and the credential that the environment names, unless arguments say otherwise.

    `credential`: as for Arm; by default the first that the environment has. `cloud`: a Cloud; "public",
    "us-government" or "china"; or the address of a resource manager that describes its login service (Azure Stack, an
    emulator). `env`: by default the environment of the process. `ca_file`, `proxy`: override REQUESTS_CA_BUNDLE and
    HTTPS_PROXY. `strict_certificates=False`: accept a CA that violates RFC 5280, which Python 3.13 and later refuse;
    see docs/troubleshooting.md. `auxiliary_tenants`: up to three other tenants that hold linked resources, such as the
    gallery of an image. `time_scale`: by default AZURERM_LITE_TIME_SCALE, or 1 with a `sleep` of your own. The other
    arguments are those of Arm.

    Raises: CredentialError, which lists what was tried; InvalidInput; TransportError for a resource manager's address.
    https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
    """
    variables = arguments.environment(os.environ if env is None else env)
    arguments.typed(str | None, ca_file=ca_file, proxy=proxy)
    others = tenants.auxiliary(auxiliary_tenants)
    network = _network(variables, ca_file, proxy, arguments.switch(strict_certificates, "strict_certificates"))
    chosen = _choose_cloud(cloud, variables, network)
    wait = time.sleep if sleep is None else sleep
    if time_scale is None:  # an injected sleep already runs at the emulator's speed
        time_scale = clouds.time_scale_from_environment(variables, chosen) if sleep is None else 1.0
    options: Any = {"cloud": chosen, "network": network, "api_version": api_version, "retry": retry}
    options |= {"timeouts": timeouts, "adapter": adapter, "sleep": wait, "now": now, "monotonic": monotonic}
    options |= {"jitter": jitter, "correlation_id": correlation_id, "time_scale": time_scale}
    if credential is None:
        Arm("none", **options)  # an invalid option is reported before a missing credential
        credential = flows.from_environment(variables, Login(chosen.authority, network, now, wait))
    return Arm(credential, auxiliary_tenants=others, **options)


def _network(env: Mapping[str, str], ca_file: str | None, proxy: str | None, strict: bool) -> NetworkSettings:
    base = clouds.network_from_environment(env)
    return dataclasses.replace(base, ca_file=ca_file or base.ca_file, proxy=proxy or base.proxy, strict=strict)


def _choose_cloud(cloud: Cloud | str | None, env: Mapping[str, str], network: NetworkSettings) -> Cloud:
    if isinstance(cloud, Cloud):
        return clouds.custom_cloud(cloud.resource_manager, cloud.authority, cloud.scope, name=cloud.name)
    if cloud is None:
        return clouds.cloud_from_environment(env)
    arguments.typed(str, cloud=cloud)
    return clouds.BY_NAME.get(cloud) or fetch_cloud(cloud, network)


def fetch_cloud(resource_manager: str, network: NetworkSettings = clouds.DIRECT) -> Cloud:
    """Get the cloud that a resource manager describes at `/metadata/endpoints`.

    No credential is needed. `resource_manager`: its address, `https://host[:port]`. `network`: how to connect to it.
    Raises: InvalidInput, ArmError, TransportError.
    https://learn.microsoft.com/azure-stack/user/azure-stack-rest-api-use
    """
    with forks.importing:
        from ._http.transport import Transport  # noqa: PLC0415  (imports requests)

    base = clouds.base_address(resource_manager, "resource manager")
    arguments.typed(NetworkSettings, network=network)
    transport = Transport(base, network)
    try:
        path = "/metadata/endpoints"
        response = transport.send("GET", f"{path}?api-version=2022-09-01", {"Accept": "application/json"})
    finally:
        transport.close()
    if response.status != 200:
        raise wire.decode_error(response.status, response.headers, response.body, method="GET", path=path)
    document = wire.decode_json(response.body, response.headers)
    return clouds.cloud_from_metadata(base, document if isinstance(document, dict) else {})
