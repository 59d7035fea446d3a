"""The errors of azurerm_lite: one class per meaning. PURE.

Every error says what was tried, what Azure answered (code, message, request id) and, if known, what to do next. No
error holds a token, a secret, a request or a response.
"""

from collections.abc import Mapping
from typing import Any

from . import _advice, _text

printable, short_repr = _text.printable, _text.short_repr

_LONGEST_COMMAND = 16_000  # a login command contains claims, which can be long and must not be cut
_MOST_DETAILS = 5


PROXY_LOGIN = (
    "give user and password in its address, HTTPS_PROXY=http://user:password@host:port, with percent-encoding "
    "(%5C for a backslash, %40 for @). Only Basic is spoken here: NTLM and Kerberos need a local relay such as px"
)


class AzurermLiteError(Exception):
    """Base of all errors of azurerm_lite.

    `request_ids`: one for each attempt at the call, Azure's if it answered, otherwise the client request id.
    """

    request_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return printable(super().__str__(), _LONGEST_COMMAND)


def _format_ids(what: str, ids: tuple[str | None, ...]) -> str:
    known = [printable(identifier, 80) for identifier in ids if identifier]
    return f" [{what}{'s' if len(known) > 1 else ''} {', '.join(known)}]" if known else ""


class InvalidInput(AzurermLiteError, ValueError):
    """An argument is invalid, or would do more than it says. Nothing was sent."""


class CredentialError(AzurermLiteError):
    """No token could be obtained. `code`: why, by Entra or the credential, such as `invalid_client`.

    `is_transient`: another attempt may succeed, after `retry_after` seconds if the service named them.
    """

    def __init__(
        self, message: str, *, code: str = "", retry_after: float | None = None, is_transient: bool | None = None
    ) -> None:
        super().__init__(printable(message, _LONGEST_COMMAND))
        self.code, self.retry_after = code, retry_after
        self.is_transient = _advice.is_transient(code) if is_transient is None else is_transient


class TransportError(AzurermLiteError):
    """There was no usable response. `sent`: False when the request provably never left.

    `is_transient`: False when another attempt cannot succeed, such as with a certificate that is not trusted.
    """

    is_transient = True

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(printable(message))
        self.sent = sent

    def __str__(self) -> str:
        return f"{super().__str__()}{_format_ids('request id', self.request_ids)}"


class OutcomeUnknown(TransportError):
    """A write may have happened: its response was lost or was a 5xx. Read the resource before repeating it."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message, sent=True)
        self.status = status

    def with_finding(self, finding: str) -> "OutcomeUnknown":
        """This error with a sentence on what the resource shows."""
        error = type(self)(f"{self.args[0]}; {finding}", status=self.status)
        error.request_ids = self.request_ids
        return error


class ProtocolError(TransportError):
    """The response is not ARM's: a web page, a redirect, broken JSON, or a link to a foreign host."""

    is_transient = False


class CertificateError(TransportError):
    """The certificate of the server, or its CA, is not accepted. Nothing was sent."""

    is_transient = False


class UnclearResponse(OutcomeUnknown, ProtocolError):
    """A write may have happened: its response is not ARM's. Read the resource before repeating it."""


class OperationTimeout(AzurermLiteError, TimeoutError):
    """The timeout of `wait` passed and the operation still runs. `operation` can be waited for again."""

    def __init__(self, message: str, operation: Any) -> None:
        super().__init__(printable(message))
        self.operation = operation


class ArmError(AzurermLiteError):
    """Azure refused a request (status 400 or above), or a long-running operation failed.

    `details`: Azure's list of inner errors, complete; `str()` is cut and printable. `retry_after`: the seconds that
    Azure asks to wait, or None. `hint`: what to do next, or "".
    """

    usual_hint = ""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        target: str | None = None,
        details: list[Any] | None = None,
        additional: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        correlation_id: str | None = None,
        method: str = "",
        path: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.status, self.target = message, code, status, target
        self.details, self.additional = details or [], dict(additional or {})
        self.request_id, self.correlation_id = request_id, correlation_id
        self.method, self.path, self.retry_after = method, path, retry_after

    @property
    def hint(self) -> str:
        """What to do next, or ""."""
        texts = _advice.of_refusal(self.code, self.message, self.additional, self.details)
        return printable(texts, _LONGEST_COMMAND) if texts else self.usual_hint

    def __str__(self) -> str:
        tried = printable(f"{self.method} {self.path}".strip(), 300)
        parts = [f"{tried}: " if tried else "", f"{self.status} " if self.status else "", printable(self.code, 100)]
        parts.append(f": {printable(self.message)}")
        if self.target:
            parts.append(f" (target {printable(self.target, 200)})")
        parts += [f"; {text}" for text in self._detail_texts()]
        ids = self.request_ids if len(self.request_ids) > 1 else (self.request_id,)
        parts += [_format_ids("request id", ids), _format_ids("correlation id", (self.correlation_id,))]
        if self.retry_after is not None:
            parts.append(f" Azure asks to come back in {_text.duration(self.retry_after)}.")
        parts += [f" {self.hint}" if self.hint else ""]
        return "".join(parts)

    def _detail_texts(self) -> list[str]:
        details = [detail for detail in self.details[:_MOST_DETAILS] if isinstance(detail, dict)]
        pairs = [[detail.get(key, "") for key in ("code", "message")] for detail in details]
        texts = [printable(": ".join(_text.plain(value, 300) for value in pair), 300) for pair in pairs]
        more = len(self.details) - len(details)
        return [*texts, f"and {more} more details"] if more > 0 else texts


class NotFoundError(ArmError):
    """404: no such subscription, resource group, scale set, instance or version."""


class AuthError(ArmError):
    """401, also with a new token. `claims`: what the login must prove in addition, as JSON text, or None."""

    claims: str | None = None

    @property
    def hint(self) -> str:
        return _advice.of_unauthorized(self.code, self.claims)


class ForbiddenError(ArmError):
    """403: the identity may not do this. `hint` says what is missing, such as a role or a tenant."""

    @property
    def hint(self) -> str:
        return super().hint or _advice.of_forbidden(self.code, self.path)


class ConflictError(ArmError):
    """409: the state of the resource does not allow this."""


class BusyError(ConflictError):
    """Another operation is running on the resource (a 409 or 429 with such a code): wait, then try again."""


class ConcurrencyError(ArmError):
    """412: the resource has changed since it was read. `sent_etag`, `current_etag`: the etags that differ."""

    usual_hint = "Read it again, apply your change to what is there now, and write that."
    sent_etag: str | None = None
    current_etag: str | None = None


class ThrottledError(ArmError):
    """429: too many requests. `policy`: Azure's name of the limit; `measured`, `allowed`: requests, or None."""

    usual_hint = "Poll less often, or share one Arm between your threads so that its budget is shared."
    policy: str | None = None
    allowed: int | None = None
    measured: int | None = None


class OperationFailed(ArmError):
    """A long-running operation failed. `state`: its final status, "Failed" or "Canceled"."""

    state = "Failed"


class OperationCanceled(OperationFailed):
    """A long-running operation was cancelled."""

    state = "Canceled"


class OperationSuperseded(OperationFailed):
    """A newer operation on the resource replaced this one (OperationPreempted): read the model before continuing."""
