"""Check tenant ids. PURE."""

import re
from collections.abc import Iterable

from .._common import arguments
from ..errors import InvalidInput, short_repr

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
MOST_AUXILIARY = 3  # Azure's limit for one request


def check_tenant(tenant_id: object) -> None:
    """Raise InvalidInput unless a tenant id is a GUID or a domain name."""
    if not isinstance(tenant_id, str) or not TENANT.fullmatch(tenant_id):
        raise InvalidInput(f"tenant must be a GUID or a domain name, not {short_repr(tenant_id)}")


def auxiliary(tenants: Iterable[str]) -> tuple[str, ...]:
    """Up to three different tenants as a tuple. Raises: InvalidInput."""
    tenants = arguments.sequence(tenants, "auxiliary_tenants", "['contoso.com']")
    if len(tenants) > MOST_AUXILIARY:
        raise InvalidInput(f"auxiliary_tenants may have {MOST_AUXILIARY} tenants at most, not {len(tenants)}")
    for tenant in tenants:
        check_tenant(tenant)
    if len({tenant.lower() for tenant in tenants}) < len(tenants):
        raise InvalidInput("auxiliary_tenants names a tenant twice")
    return tenants
