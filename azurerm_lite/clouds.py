"""Azure's clouds: the addresses of Resource Manager and the login service, and the scope of tokens.

The scope can differ from the address of Resource Manager, as it does in US Government.
https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ._common import arguments, parsing
from ._network_settings import DIRECT as DIRECT  # noqa: PLC0414
from ._network_settings import LOOPBACK
from ._network_settings import NetworkSettings as NetworkSettings  # noqa: PLC0414
from ._network_settings import network_from_environment as network_from_environment  # noqa: PLC0414
from .errors import InvalidInput, short_repr


class Cloud(NamedTuple):
    """A cloud. `resource_manager`, `authority` (the login service): https addresses. `scope` ends in `/.default`."""

    name: str
    resource_manager: str
    authority: str
    scope: str


PUBLIC = Cloud(
    "public",
    "https://management.azure.com",
    "https://login.microsoftonline.com",
    "https://management.azure.com/.default",
)
US_GOVERNMENT = Cloud(
    "us-government",
    "https://management.usgovcloudapi.net",
    "https://login.microsoftonline.us",
    "https://management.core.usgovcloudapi.net/.default",
)
CHINA = Cloud(
    "china",
    "https://management.chinacloudapi.cn",
    "https://login.chinacloudapi.cn",
    "https://management.chinacloudapi.cn/.default",
)
# The names in capitals are the values of azure-core's variable AZURE_SDK_CLOUD_CONF.
BY_NAME: Mapping[str, Cloud] = {
    "public": PUBLIC,
    "us-government": US_GOVERNMENT,
    "china": CHINA,
    "AZURE_PUBLIC_CLOUD": PUBLIC,
    "AZURE_US_GOVERNMENT": US_GOVERNMENT,
    "AZURE_CHINA_CLOUD": CHINA,
}


def base_address(url: str, what: str) -> str:
    """The canonical form of an address: scheme://host[:port].

    Raises: InvalidInput for any other form, and for plain http unless the whole host name is a loopback name.
    """
    if not isinstance(url, str):
        raise InvalidInput(f"{what} must be an address of the form https://host[:port], not {short_repr(url)}")
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host.encode("ascii")
    except ValueError as error:
        raise InvalidInput(f"{what} {url!r} is not a web address of the form https://host[:port]") from error
    clean = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
    if not host or not clean or port == 0 or set(url) & set("\\%\t\r\n ") or "@" in url:
        raise InvalidInput(f"{what} must be an address of the form https://host[:port], with nothing after it")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise InvalidInput(f"{what} must be https: a token sent over {parts.scheme} can be read on the way")
    netloc = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{netloc}" + (f":{port}" if port and port != default else "")


def custom_cloud(resource_manager: str, authority: str, scope: str | None = None, *, name: str = "custom") -> Cloud:
    """Describe a cloud that is not Azure's own, such as Azure Stack Hub or an emulator.

    `resource_manager`, `authority`: https addresses (http for loopback only), without a path. `scope`: by default
    `<resource_manager>/.default`.
    Raises: InvalidInput for an address of another form.
    """
    address = base_address(resource_manager, "resource manager")
    arguments.typed(str, name=name, scope="" if scope is None else scope)
    return Cloud(name, address, base_address(authority, "authority"), scope or f"{address}/.default")


def cloud_from_metadata(resource_manager: str, document: Mapping[str, object]) -> Cloud:
    """The cloud in the `/metadata/endpoints` document of a resource manager (api-version 2022-09-01)."""
    login = document.get("authentication")
    endpoint, audiences = (login.get("loginEndpoint"), login.get("audiences")) if isinstance(login, dict) else (0, 0)
    if not isinstance(endpoint, str) or not isinstance(audiences, list) or not audiences:
        raise InvalidInput("that /metadata/endpoints document has no authentication.loginEndpoint and audiences")
    scope = str(audiences[0]).rstrip("/") + "/.default"
    return custom_cloud(resource_manager, endpoint, scope, name=str(document.get("name") or "custom"))


def cloud_from_environment(env: Mapping[str, str]) -> Cloud:
    """The cloud that AZURE_SDK_CLOUD_CONF names, with the addresses of other variables where they are set.

    These are AZURE_AUTHORITY_HOST, and azurerm's AZURE_AUTH_ENDPOINT, AZURE_RM_ENDPOINT and AZURE_RESOURCE_ENDPOINT.
    """
    chosen = arguments.environment(env).get("AZURE_SDK_CLOUD_CONF", "")
    if chosen and chosen not in BY_NAME:
        raise InvalidInput(f"AZURE_SDK_CLOUD_CONF is {chosen!r}; known are {', '.join(sorted(BY_NAME))}")
    cloud = BY_NAME.get(chosen, PUBLIC)
    if authority := env.get("AZURE_AUTHORITY_HOST") or env.get("AZURE_AUTH_ENDPOINT"):
        cloud = cloud._replace(authority=base_address(authority, "AZURE_AUTHORITY_HOST"))
    if manager := env.get("AZURE_RM_ENDPOINT"):
        cloud = cloud._replace(resource_manager=base_address(manager, "AZURE_RM_ENDPOINT"), name="custom")
        resource = env.get("AZURE_RESOURCE_ENDPOINT")
        cloud = cloud._replace(scope=resource.rstrip("/") + "/.default" if resource else cloud.scope)
    return cloud


def time_scale_from_environment(env: Mapping[str, str], cloud: Cloud) -> float:
    """How many times faster than real time an emulator's clock runs: AZURERM_LITE_TIME_SCALE, 1 for Azure."""
    if urlsplit(cloud.resource_manager).hostname not in LOOPBACK:
        return 1.0
    text = env.get("AZURERM_LITE_TIME_SCALE") or "1"
    return parsing.finite_number(text, InvalidInput, "AZURERM_LITE_TIME_SCALE", least=1e-3, most=1e9)
