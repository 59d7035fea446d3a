"""Tokens in hand: the Credential that holds and renews them, and what else may stand as `auth`.

One acquisition at a time, however many threads ask; renewed five minutes early; a token that still works is never lost
to a login service that stumbles. How a token is got is `credentials`' affair.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from .errors import CredentialError, InvalidInput, printable
from .types import JsonDict, TokenCredential

log = logging.getLogger(__name__)

RENEW_SECONDS = 300  # a token is renewed this long before it ends
REFETCH_SECONDS = 30  # and never asked for more often than this while the one in hand still works


class Token(NamedTuple):
    """A bearer token and the second (since 1970) in which it ends."""

    token: str
    expires_on: int

    def __repr__(self) -> str:
        return f"Token(token='(secret)', expires_on={self.expires_on})"


class Headers(dict[str, str]):
    """The headers of a request, whose values no traceback and no log shows."""

    def __repr__(self) -> str:
        return f"<Headers: {', '.join(self)}>"


# scope, claims that a server demanded (JSON text or None) -> token
Acquire = Callable[[str, str | None], Token]


class Credential:
    """A source of tokens that threads may share: one acquisition at a time, however many ask.

    It has azure-identity's `get_token`, so it can be handed to the official SDK too.
    """

    def __init__(
        self, kind: str, acquire: Acquire, *, now: Callable[[], float] = time.time, lasting: bool = True
    ) -> None:
        self.kind, self.lasting = kind, lasting
        self._acquire, self._now, self._lock = acquire, now, threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._fetched: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Credential: {self.kind}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential holds secrets and cannot be pickled or copied: make a new one where it is needed")

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Token:
        """A token that is good for five minutes or more, from the cache when there is one."""
        if len(scopes) != 1:
            raise InvalidInput(f"exactly one scope is needed, not {len(scopes)}")
        token = self._tokens.get(scopes[0])
        if token is not None and claims is None and token.expires_on - self._now() > RENEW_SECONDS:
            return token
        return self._renew(scopes[0], claims, token)

    def renew(self, scope: str, refused: Token, claims: str | None = None) -> Token:
        """Another token than `refused`, which a server did not accept; somebody else may have fetched it already."""
        with self._lock:
            token = self._tokens.get(scope)
            if token is not None and token.token != refused.token and claims is None:
                return token
            self._tokens.pop(scope, None)
            return self._fetch(scope, claims)

    def _renew(self, scope: str, claims: str | None, seen: Token | None) -> Token:
        with self._lock:
            token = self._tokens.get(scope)
            if token is not None and claims is None:
                left = token.expires_on - self._now()
                recent = self._now() - self._fetched.get(scope, float("-inf")) < REFETCH_SECONDS
                if left > RENEW_SECONDS or recent or (token is not seen and left > 0):
                    return token
            try:
                return self._fetch(scope, claims)
            except CredentialError:
                if token is None or claims is not None or token.expires_on <= self._now():
                    raise
                log.warning("%s: renewal failed, going on with the token in hand", self.kind)
                self._fetched[scope] = self._now()
                return token

    def _fetch(self, scope: str, claims: str | None) -> Token:
        self._fetched[scope] = self._now()
        token = self._tokens[scope] = self._acquire(scope, claims)
        log.info("%s: new token, good for %d s", self.kind, token.expires_on - self._now())
        return token


# --- tokens that come from outside -----------------------------------------------------------------------------------


def as_credential(auth: object, *, now: Callable[[], float] = time.time) -> Credential:
    """What may stand as `auth`, as a Credential: ours, a bare token, or anything with get_token or get_token_info."""
    if isinstance(auth, Credential):
        return auth
    if isinstance(auth, str):
        return bearer_credential(auth)
    if callable(getattr(auth, "get_token_info", None)) or isinstance(auth, TokenCredential):
        return Credential(f"{type(auth).__name__} object", _from_foreign(auth), now=now)
    raise InvalidInput(
        f"auth must be a token, an Arm, or a credential with get_token, not {printable(type(auth).__name__, 80)}; "
        "azurerm_lite.connect() finds a credential by itself"
    )


def bearer_credential(token: str) -> Credential:
    """A bare token as a Credential. It cannot be renewed: what outlives it (an upgrade) refuses it."""
    kept = Token(token.strip(), 2**62)
    if not is_token(kept.token):
        token = ""  # a traceback shows what a function was given
        raise CredentialError(f"the token given {UNFIT}")

    def acquire(_scope: str, claims: str | None) -> Token:
        if claims is not None:
            raise CredentialError("Azure wants a new token with more claims, and a bare token cannot be renewed")
        return kept

    return Credential("bare token", acquire, lasting=False)


def _from_foreign(credential: Any) -> Acquire:
    def acquire(scope: str, claims: str | None) -> Token:
        found = _asked(credential, scope, {} if claims is None else {"claims": claims, "enable_cae": True})
        if isinstance(found, Token):
            return found
        raise CredentialError(f"{type(credential).__name__} {found}")

    return acquire


def _asked(credential: Any, scope: str, options: JsonDict) -> Token | str:
    """A foreign credential's token, or why it gave none: whatever it raises or returns means one thing."""
    try:
        if callable(getattr(credential, "get_token_info", None)):
            found = credential.get_token_info(scope, **({"options": options} if options else {}))
        else:
            found = credential.get_token(scope, **options)
        token = Token(found.token, int(found.expires_on))
    except Exception as error:
        return f"gave no token: {type(error).__name__}: {first_line(error)}"
    return token if is_token(token.token) else f"gave what {UNFIT}"


def first_line(error: BaseException) -> str:
    return printable(str(error).partition("\n")[0], 300)


UNFIT = "is not a bearer token: it must be one printable word"


def is_token(token: object) -> bool:
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable() and " " not in token
