"""Token: a bearer token, the check of one, and the waits between attempts to acquire one. PURE."""

from collections.abc import Callable
from typing import NoReturn

from .._common.parsing import finite_number
from ..errors import CredentialError

LATEST_END = 2**62  # seconds since 1970
RETRY_SECONDS = 90.0  # of waits for one acquisition; Azure's metadata service can be unavailable for 70 s
UNREACHABLE_SECONDS = 10.0  # of waits when no connection can be made
LONGEST_PAUSE = 20.0
UNFIT = "is not a bearer token: it must be one printable word"

Acquire = Callable[[str, str | None], "Token"]  # (scope, claims as JSON text or None) -> token


class Token:
    """A bearer token. `expires_on`: when it ends, in seconds since 1970. No repr, JSON or pickle shows the token."""

    __slots__ = ("expires_on", "token")

    def __init__(self, token: str, expires_on: int) -> None:
        self.token, self.expires_on = token, expires_on

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and (self.token, self.expires_on) == (other.token, other.expires_on)

    def __hash__(self) -> int:
        return hash((self.token, self.expires_on))

    def __repr__(self) -> str:
        return f"Token(token='(secret)', expires_on={self.expires_on})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is secret and cannot be pickled or copied")


def pause_seconds(error: CredentialError, attempt: int, waited: float) -> float | None:
    """Seconds to wait before the next attempt to acquire a token, or None when there should be none.

    `attempt`: the number of the failed one, from 1. `waited`: seconds of earlier waits.

    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#retry-guidance
    """
    pause = max(min(LONGEST_PAUSE, 2.0 ** min(attempt - 1, 10)), error.retry_after or 0.0)
    limit = UNREACHABLE_SECONDS if error.code == "unreachable" else RETRY_SECONDS
    return pause if error.is_transient and waited + pause <= limit else None


def end_of(value: object, kind: str) -> int:
    """The end of a token in seconds since 1970. `kind`: of the credential. Raises: CredentialError for no number."""

    def failure(why: str) -> CredentialError:
        return CredentialError(f"{kind}: {why}", code="bad_expires_on")

    return int(finite_number(value, failure, "the end of the token", least=0, most=LATEST_END))


def is_token(token: object) -> bool:
    """Whether a value can be a bearer token: one printable ASCII word."""
    return isinstance(token, str) and token != "" and token.isascii() and token.isprintable() and " " not in token
