"""NetworkSettings: the trusted CAs and the proxy of a connection. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, repr=False)
class NetworkSettings:
    """The trusted CAs and the proxy of a connection. Loopback addresses are never proxied.

    `ca_file`: a PEM file that replaces the usual CAs. `proxy`: an address such as `http://host:port`; it may hold a
    password, so no repr, JSON or pickle shows it. `no_proxy`: hosts and domains without proxy, separated by commas, or
    `*`. `strict=False`: certificates need not follow RFC 5280 to the letter, as before Python 3.13; they are verified
    all the same.
    """

    ca_file: str | None = None
    proxy: str | None = None
    no_proxy: str = ""
    strict: bool = True

    def __repr__(self) -> str:
        proxy = "a proxy" if self.proxy else "no proxy"
        return f"<NetworkSettings: {proxy}, ca_file={self.ca_file!r}, no_proxy={self.no_proxy!r}, strict={self.strict}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the address of a proxy may hold a password and cannot be pickled or copied")

    def proxy_for(self, base: str) -> str | None:
        """The proxy for an address, or None."""
        parts = urlsplit(base)
        host = parts.hostname or ""
        if not self.proxy or parts.scheme != "https" or host in LOOPBACK:
            return None
        entries = [entry.strip().lower().lstrip(".") for entry in self.no_proxy.split(",") if entry.strip()]
        names = ("*", host, f"{host}:{parts.port or 443}")
        is_excluded = any(entry in names or host.endswith("." + entry) for entry in entries)
        return None if is_excluded else self.proxy


DIRECT = NetworkSettings()


def network_from_environment(env: Mapping[str, str]) -> NetworkSettings:
    """The settings in REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, HTTPS_PROXY, ALL_PROXY and NO_PROXY."""
    both = {name: env.get(name) or env.get(name.lower()) for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")}
    proxy = both["HTTPS_PROXY"] or both["ALL_PROXY"]
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return NetworkSettings(
        env.get("REQUESTS_CA_BUNDLE") or env.get("CURL_CA_BUNDLE") or None, proxy, both["NO_PROXY"] or ""
    )
