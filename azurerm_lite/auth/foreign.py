"""Wrap a bare token, or a credential of another library, in a Credential."""

import time
from collections.abc import Callable
from typing import Any

from .._common import arguments
from .._common.secrecy import conceals
from .._text import first_line
from ..errors import CredentialError, InvalidInput, printable
from ..types import JsonDict, TokenCredential
from .credential import Credential
from .tokens import LATEST_END, UNFIT, Acquire, Token, end_of, is_token


@conceals
def as_credential(auth: object, *, now: Callable[[], float] = time.time) -> Credential:
    """The Credential for an `auth` argument: a Credential, a bare token, or an object with a token method.

    Raises: InvalidInput for other objects, CredentialError for a token that is not printable.
    """
    if isinstance(auth, Credential):
        return auth
    if isinstance(auth, str):
        return bearer_credential(auth)
    if callable(getattr(auth, "get_token_info", None)) or isinstance(auth, TokenCredential):
        kind = f"{type(auth).__name__} object"
        return Credential(kind, _acquire_by(auth), now=now, acquire_in=lambda tenant: _acquire_by(auth, tenant))
    raise InvalidInput(
        f"auth must be a token, an Arm, or a credential with get_token, not {printable(type(auth).__name__, 80)}; "
        "azurerm_lite.connect() finds a credential by itself"
    )


@conceals
def bearer_credential(token: str) -> Credential:
    """A Credential with one token, which cannot be renewed. Upgrades refuse it, since they outlast a token."""
    arguments.typed(str, token=token)
    bare = Token(token.strip(), LATEST_END)
    if not is_token(bare.token):
        raise CredentialError(f"the token given {UNFIT}")

    def acquire(_scope: str, claims: str | None) -> Token:
        if claims is not None:
            raise CredentialError("Azure wants a new token with more claims, and a bare token cannot be renewed")
        return bare

    return Credential("bare token", acquire, renewable=False)


def _acquire_by(credential: Any, tenant: str | None = None) -> Acquire:
    """An `acquire` that calls another library's credential. `tenant`: passed on as azure-identity's `tenant_id`."""

    def acquire(scope: str, claims: str | None) -> Token:
        options: JsonDict = {} if claims is None else {"claims": claims, "enable_cae": True}
        if tenant is not None:
            options["tenant_id"] = tenant
        kind = type(credential).__name__
        try:
            if callable(getattr(credential, "get_token_info", None)):
                answer = credential.get_token_info(scope, **({"options": options} if options else {}))
            else:
                answer = credential.get_token(scope, **options)
            token = Token(answer.token, end_of(answer.expires_on, kind))
        except Exception as error:
            raise CredentialError(f"{kind} gave no token: {type(error).__name__}: {first_line(error, 4000)}") from None
        if not is_token(token.token):
            raise CredentialError(f"{kind} gave what {UNFIT}")
        return token

    return acquire
