"""Credential: acquire, cache and renew tokens.

A token is renewed five minutes before it ends, by one thread at a time. When the renewal fails, the current token is
used while it lasts; transient failures are retried for a limited time.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from .._common import arguments, forks
from .._common.secrecy import without_frames
from ..errors import CredentialError, InvalidInput
from . import tenants
from .tokens import UNFIT, Acquire, Token, end_of, is_token, pause_seconds

log = logging.getLogger(__name__)

RENEW_EARLY_SECONDS = 300  # before the token ends
REFETCH_SECONDS = 30  # between two attempts to renew a token that has not ended

Sleep = Callable[[float], object]


class Credential:
    """A source of tokens that threads may share; the official SDK accepts it too, since it has `get_token`.

    `kind`: what it is, for messages. `acquire(scope, claims)`: returns a new token. `renewable=False`: there is only
    one token. `acquire_in(tenant_id)`: returns the `acquire` of the same identity in another tenant.
    """

    def __init__(
        self,
        kind: str,
        acquire: Acquire,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = time.sleep,
        renewable: bool = True,
        acquire_in: Callable[[str], Acquire] | None = None,
    ) -> None:
        arguments.typed(Callable, acquire=acquire, now=now, monotonic=monotonic, sleep=sleep)
        arguments.typed(Callable | None, acquire_in=acquire_in)
        arguments.typed(str, kind=kind)
        self.kind, self.renewable = kind, arguments.switch(renewable, "renewable")
        self._acquire, self._acquire_in = acquire, acquire_in
        self._now, self._monotonic, self._sleep = now, monotonic, sleep
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self._fetched: dict[str, float] = {}
        self._ends: dict[str, float] = {}  # of the tokens, by the monotonic clock
        forks.register(self)

    def __repr__(self) -> str:
        return f"<Credential: {self.kind}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a credential holds secrets and cannot be pickled or copied: make a new one where it is needed")

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Token:
        """A token that has not ended, from the cache if possible; usually valid for five minutes or more.

        `scopes`: exactly one, such as `https://management.azure.com/.default`. `claims`: JSON text that a 401 demanded.
        Raises: InvalidInput; CredentialError, after retrying transient failures for up to 90 s.
        """
        if len(scopes) != 1:
            raise InvalidInput(f"exactly one scope is needed, not {len(scopes)}")
        return self.obtain(scopes[0], claims, self._sleep)

    def obtain(self, scope: str, claims: str | None = None, sleep: Sleep | None = None) -> Token:
        """A token as from `get_token`; `sleep` replaces the credential's own wait between attempts."""
        token = self._tokens.get(scope)
        if token is not None and claims is None and self._is_fresh(scope, token):
            return token
        return self._renew(scope, claims, token, sleep or self._sleep)

    def renew(self, scope: str, refused: Token, claims: str | None = None, sleep: Sleep | None = None) -> Token:
        """A token to replace one that a server refused; if another thread has renewed it already, that one."""
        with self._lock:
            token = self._tokens.get(scope)
            if (
                token is not None
                and token.token != refused.token
                and claims is None
                and self._seconds_left(scope, token) > 0
            ):
                return token
            self._tokens.pop(scope, None)
            return self._fetch(scope, claims, sleep or self._sleep)

    def in_tenant(self, tenant_id: str) -> "Credential":
        """The credential of the same identity in another tenant.

        Raises: InvalidInput when this kind of credential has tokens of its own tenant only.
        """
        tenants.check_tenant(tenant_id)
        if self._acquire_in is None:
            raise InvalidInput(f"a credential of the kind '{self.kind}' has tokens of its own tenant only")
        clocks: Any = {"now": self._now, "monotonic": self._monotonic, "sleep": self._sleep}
        return Credential(f"{self.kind} in tenant {tenant_id}", self._acquire_in(tenant_id), **clocks)

    def _seconds_left(self, scope: str, token: Token) -> float:
        """Seconds until the token ends: the lesser of two clocks, so that setting the clock back adds none."""
        return min(token.expires_on - self._now(), self._ends.get(scope, float("inf")) - self._monotonic())

    def _is_fresh(self, scope: str, token: Token) -> bool:
        is_clock_set_back = self._now() < self._fetched.get(scope, float("-inf"))
        return self._seconds_left(scope, token) > RENEW_EARLY_SECONDS and not is_clock_set_back

    def _renew(self, scope: str, claims: str | None, before: Token | None, sleep: Sleep) -> Token:
        with self._lock:
            token = self._tokens.get(scope)
            if token is None or claims is not None or self._seconds_left(scope, token) <= 0:
                return self._fetch(scope, claims, sleep)
            is_recent = 0 <= self._now() - self._fetched.get(scope, float("-inf")) < REFETCH_SECONDS
            if self._is_fresh(scope, token) or is_recent or token is not before:
                return token
            try:
                return self._fetch(scope, None, None)
            except CredentialError:
                if self._seconds_left(scope, token) <= 0:
                    raise
                log.warning("%s: renewal failed, going on with the current token", self.kind)
                return token

    def _fetch(self, scope: str, claims: str | None, sleep: Sleep | None) -> Token:
        """Acquire a new token. `sleep`: waits between attempts; None for a single attempt."""
        attempt, waited = 0, 0.0
        while True:
            attempt += 1
            self._fetched[scope] = self._now()
            try:
                return self._store_token(scope, self._acquire_token(scope, claims))
            except CredentialError as error:
                pause = pause_seconds(error, attempt, waited)
                if sleep is None or pause is None:
                    raise
                log.info("%s; again in %.0f s", error, pause)
            sleep(pause)
            waited += pause

    def _acquire_token(self, scope: str, claims: str | None) -> Token:
        """Acquire a token once. Errors lose their frames, which hold secrets and responses."""
        try:
            return self._acquire(scope, claims)
        except BaseException as error:
            failure = without_frames(error)
        raise failure

    def _store_token(self, scope: str, token: Token) -> Token:
        """Cache a new token. Raises: CredentialError when it has already ended."""
        if not isinstance(token, Token) or not is_token(token.token):
            raise CredentialError(f"{self.kind}: what the acquisition gave {UNFIT}")
        token = Token(token.token, end_of(token.expires_on, self.kind))
        seconds = token.expires_on - self._now()
        if seconds <= 0:
            raise CredentialError(
                f"{self.kind}: the new token ended {-seconds:.0f} s ago: set the clock", code="expired_token"
            )
        self._tokens[scope], self._ends[scope] = token, self._monotonic() + seconds
        log.info("%s: new token, good for %.0f s", self.kind, seconds)
        return token
