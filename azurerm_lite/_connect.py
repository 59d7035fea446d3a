"""connect(): an Arm from what the environment has, and the cloud that a resource manager says it belongs to.

What a script needs once, at its start. Which credentials are tried, and in which order, is in `credentials`.
"""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import clouds
from ._common import arguments, forks
from ._common.secrecy import conceals
from ._http import wire
from .arm import Arm
from .auth import flows, tenants
from .auth._msal import Login
from .clouds import Cloud, Reach
from .types import TokenCredential, TokenInfoCredential


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
    **options: Any,
) -> Arm:
    """An Arm for the cloud and the credential that the environment names, unless arguments say otherwise.

    Without a credential anywhere it raises CredentialError, which lists what was tried and how to try the emulator.
    `env`: by default the environment of the process. `options` go to Arm.
    `cloud`: a Cloud, the name of one (public, us-government, china), or the address of a resource manager that says by
    itself where its login service is (Azure Stack, an emulator).
    `ca_file` wins over REQUESTS_CA_BUNDLE. `strict_certificates=False` accepts a CA that is not as RFC 5280 wants it,
    which Python 3.13 and later refuse; see docs/troubleshooting.md.
    `auxiliary_tenants`: up to three other tenants that linked resources are in, such as the gallery of an image.
    https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
    """
    names = arguments.environment(os.environ if env is None else env)
    arguments.typed(str | None, ca_file=ca_file, proxy=proxy)
    strict = arguments.switch(strict_certificates, "strict_certificates")
    others = tenants.auxiliary(auxiliary_tenants)
    reach = clouds.reach_from_environment(names)
    reach = dataclasses.replace(reach, ca_file=ca_file or reach.ca_file, proxy=proxy or reach.proxy, strict=strict)
    chosen = _chosen_cloud(cloud, names, reach)
    if credential is None:
        login = Login(chosen.authority, reach, options.get("now", time.time), options.get("sleep", time.sleep))
        credential = flows.from_environment(names, login)
    if "sleep" not in options:  # whoever injects a clock has the emulator's pace in it
        options.setdefault("time_scale", clouds.time_scale_from_environment(names, chosen))
    return Arm(credential, cloud=chosen, reach=reach, auxiliary_tenants=others, **options)


def _chosen_cloud(cloud: Cloud | str | None, env: Mapping[str, str], reach: Reach) -> Cloud:
    if isinstance(cloud, Cloud):
        return clouds.custom_cloud(cloud.resource_manager, cloud.authority, cloud.scope, name=cloud.name)
    if cloud is None:
        return clouds.cloud_from_environment(env)
    arguments.typed(str, cloud=cloud)
    return clouds.BY_NAME.get(cloud) or fetch_cloud(cloud, reach)


def fetch_cloud(resource_manager: str, reach: Reach = clouds.DIRECT) -> Cloud:
    """The cloud of a resource manager, as its `/metadata/endpoints` describes it. Needs no credential.

    https://learn.microsoft.com/azure-stack/user/azure-stack-rest-api-use
    """
    with forks.importing:
        from ._http.transport import Transport  # noqa: PLC0415  (imports requests)

    base = clouds.base_address(resource_manager, "resource manager")
    arguments.typed(Reach, reach=reach)
    transport = Transport(base, reach)
    try:
        answer = transport.send("GET", "/metadata/endpoints?api-version=2022-09-01", {"Accept": "application/json"})
    finally:
        transport.close()
    if answer.status != 200:
        raise wire.decode_error(answer.status, answer.headers, answer.body, method="GET", path="/metadata/endpoints")
    document = wire.decode_json(answer.body, answer.headers)
    return clouds.cloud_from_metadata(base, document if isinstance(document, dict) else {})
