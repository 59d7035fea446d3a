"""Principal: the tokens of one identity in its own tenant and, for linked resources, in up to three others.

https://learn.microsoft.com/azure/azure-resource-manager/management/authenticate-multi-tenant
"""

from collections.abc import Sequence

from .._common.secrecy import Headers
from . import tenants
from .credential import Credential, Sleep
from .tokens import Token


class Principal:
    """The tokens of a credential for one scope: that of its own tenant first, then those of auxiliary tenants."""

    def __init__(self, credential: Credential, scope: str, auxiliary_tenants: Sequence[str] = ()) -> None:
        others = [credential.in_tenant(tenant) for tenant in tenants.auxiliary(auxiliary_tenants)]
        self._credentials, self._scope = [credential, *others], scope

    def tokens(self, sleep: Sleep) -> tuple[Token, ...]:
        """The tokens, none of which has ended."""
        return tuple(credential.obtain(self._scope, sleep=sleep) for credential in self._credentials)

    def renew(self, refused: Sequence[Token], claims: str | None, sleep: Sleep) -> tuple[Token, ...]:
        """New tokens in place of those that were refused. `claims` concern the identity in its own tenant."""
        demands = [claims, *(None for _ in refused[1:])]
        return tuple(
            credential.renew(self._scope, token, demand, sleep)
            for credential, token, demand in zip(self._credentials, refused, demands, strict=True)
        )


def authorization(tokens: Sequence[Token]) -> Headers:
    """The headers that carry the tokens."""
    first, *others = (f"Bearer {token.token}" for token in tokens)
    auxiliary = {"x-ms-authorization-auxiliary": ", ".join(others)} if others else {}
    return Headers({"Authorization": first, **auxiliary})
