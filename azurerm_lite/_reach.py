"""How to get to a server: which CAs to trust, and by which proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, repr=False)
class Reach:
    """How to get there: a CA file that replaces the usual ones, and an https proxy. Loopback is never proxied.

    `strict` False: accept CAs that are not as RFC 5280 wants them, as Python did before 3.13. Every certificate is
    checked all the same.
    The address of a proxy may hold a password, so no repr, JSON or pickle shows it.
    """

    ca_file: str | None = None
    proxy: str | None = None
    no_proxy: str = ""
    strict: bool = True

    def __repr__(self) -> str:
        proxy = "a proxy" if self.proxy else "no proxy"
        return f"<Reach: {proxy}, ca_file={self.ca_file!r}, no_proxy={self.no_proxy!r}, strict={self.strict}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the address of a proxy may hold a password and cannot be pickled or copied")

    def proxy_for(self, base: str) -> str | None:
        """The proxy for an address, or None: `no_proxy` lists hosts and domains, or `*` for all."""
        parts = urlsplit(base)
        host = parts.hostname or ""
        if not self.proxy or parts.scheme != "https" or host in LOOPBACK:
            return None
        excepted = [entry.strip().lower().lstrip(".") for entry in self.no_proxy.split(",") if entry.strip()]
        spared = any(e in ("*", host, f"{host}:{parts.port or 443}") or host.endswith("." + e) for e in excepted)
        return None if spared else self.proxy


DIRECT = Reach()


def reach_from_environment(env: Mapping[str, str]) -> Reach:
    """CA file and proxy as the environment has them, read once: REQUESTS_CA_BUNDLE, HTTPS_PROXY, NO_PROXY."""
    both = {name: env.get(name) or env.get(name.lower()) for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")}
    proxy = both["HTTPS_PROXY"] or both["ALL_PROXY"]
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return Reach(env.get("REQUESTS_CA_BUNDLE") or env.get("CURL_CA_BUNDLE") or None, proxy, both["NO_PROXY"] or "")
