"""ARM's protocol: paths, bodies, errors, Retry-After, quotas, long-running operations and paging. PURE.

The functions take and return plain values: status, headers with lower-case names, bytes, JSON.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from .. import errors
from .._common import arguments, parsing
from ..errors import ArmError, InvalidInput, ProtocolError, printable, short_repr
from ..types import Json, JsonDict, MonitorKind, OperationState
from . import responses
from .responses import check_objects, describe_shape

Headers = Mapping[str, str]
same_origin_path = responses.same_origin_path

# --- paths and addresses ---------------------------------------------------------------------------------------------

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_\-()~]+(\.[A-Za-z0-9_\-()~]+)*")
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_FORBIDDEN_IN_SEGMENT = re.compile("[\x00-\x1f\x7f-\x9f<>%&:\\\\?/#\"'`{}|^*\ud800-\udfff]")
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z0-9.]+)?")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def segment(value: str, what: str, longest: int = 260) -> str:
    """A name as a percent-encoded path segment. Raises: InvalidInput for what cannot be a name in Azure."""
    if isinstance(value, str) and len(value) <= longest and _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{what} must be a non-empty string, not {short_repr(value)}")
    if len(value) > longest or value != value.strip() or value.strip(".") == "" or _FORBIDDEN_IN_SEGMENT.search(value):
        raise InvalidInput(f"{what} {short_repr(value)} is not a name that Azure could have given")
    return quote(value, safe="")


def subscription_segment(value: str) -> str:
    """A subscription id as a path segment. Raises: InvalidInput unless it is a GUID."""
    if isinstance(value, str) and _GUID.fullmatch(value):
        return value
    raise InvalidInput(f"subscription id must be a GUID, not {short_repr(value)}")


def resource_group_segment(value: str) -> str:
    """The name of a resource group as a path segment. Raises: InvalidInput."""
    if isinstance(value, str) and value.endswith("."):
        raise InvalidInput(f"resource group {short_repr(value)} may not end in a dot")
    return segment(value, "resource group", 90)


def api_version(value: str) -> str:
    """The api-version itself. Raises: InvalidInput unless it looks like 2024-07-01."""
    if isinstance(value, str) and _API_VERSION.fullmatch(value):
        return value
    raise InvalidInput(f"api-version must look like 2024-07-01, not {short_repr(value)}")


def header_value(value: str, what: str) -> str:
    """The value itself. Raises: InvalidInput unless it can be sent as an HTTP header unchanged."""
    if isinstance(value, str) and value and value == value.strip() and value.isascii() and value.isprintable():
        return value
    raise InvalidInput(f"{what} cannot be sent as a header: {short_repr(value)}")


def region(name: object) -> str:
    """A region in the form in which Azure compares it: `East US` is eastus."""
    return name.replace(" ", "").lower() if isinstance(name, str) else ""


_LONGEST_OPTION = 4000  # characters of a query value; servers and proxies refuse longer addresses


def query_value(value: object, name: str) -> str:
    """A query value, percent-encoded. Raises: InvalidInput unless it is a string that can be sent."""
    if not isinstance(value, str) or len(value) > _LONGEST_OPTION:
        raise InvalidInput(f"{name} must be a text of at most {_LONGEST_OPTION} characters, not {short_repr(value)}")
    return parsing.parse_with(lambda text: quote(text, safe=""), value, InvalidInput, f"{name} {short_repr(value)}")


_INSTANCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def instance_ids(ids: object, *, all_instances: bool = False) -> list[str]:
    """Instance ids for a request body: unique strings in the caller's order, or `["*"]` for all instances.

    `ids`: an iterable of ids or its JSON text, as in azurerm; numbers in Uniform sets, VM names in Flexible sets.
    Raises: InvalidInput for no ids, invalid ids, and ids together with `all_instances`.
    """
    items = _json_text(ids) if isinstance(ids, str) else ids
    if arguments.switch(all_instances, "all_instances"):
        if items is not None and list(items if isinstance(items, Iterable) else []) != ["*"]:
            raise InvalidInput("all_instances=True takes no list of ids besides it")
        return ["*"]
    if not isinstance(items, Iterable) or isinstance(items, Mapping | bytes | bytearray):
        raise InvalidInput("instance ids must be a sequence of ids such as ['0', '3'], not one bare value")
    texts = [_id_text(item) for item in items]
    if not texts:
        raise InvalidInput("no instance ids: an empty list would not mean none to Azure. Nothing was sent")
    return list(dict.fromkeys(texts))


def _id_text(instance_id: object) -> str:
    is_number = isinstance(instance_id, int) and not isinstance(instance_id, bool) and abs(instance_id) < 10**20
    text = str(instance_id) if is_number else instance_id
    if text == "*":
        raise InvalidInput("'*' means every instance at once, which is downtime: pass all_instances=True to confirm")
    if not isinstance(text, str) or not _INSTANCE_ID.fullmatch(text):
        raise InvalidInput(f"not an instance id: {short_repr(instance_id)}")
    return text


def _json_text(text: str) -> object:
    refusal = InvalidInput(f"instance ids must be a sequence such as ['0', '3'], not the text {short_repr(text)}")
    ids = parsing.parse_json(text, lambda _: refusal)
    if not isinstance(ids, list):
        raise refusal
    return ids


# --- bodies ----------------------------------------------------------------------------------------------------------


def decode_json(data: bytes, headers: Headers) -> Json:
    """The JSON value of a body, None for an empty body. Raises: ProtocolError for anything else."""
    if not data:
        return None

    def error(why: str) -> ProtocolError:
        kind = printable(headers.get("content-type", "no content-type"), 80)
        start = printable(data[:60].decode("utf-8", "replace"), 120)
        return ProtocolError(f"expected JSON, got {kind} beginning with {start!r} ({why})")

    return parsing.parse_json(data, error)


def encode_json(body: Json) -> bytes:
    """A request body as bytes. Raises: InvalidInput for a value that JSON cannot hold."""
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        why = type(error).__name__ if isinstance(error, UnicodeError) else printable(error, 200)
    # Outside the except block: the error and its frames hold the whole body, which may hold secrets.
    raise InvalidInput(f"the body cannot be written as JSON: {why}")


# --- errors ----------------------------------------------------------------------------------------------------------

_BUSY_CODES = frozenset(
    {
        "conflict",
        "anotheroperationinprogress",
        "conflictingconcurrentwritenotallowed",
        "retryableerror",
        "retryableerrorduetoanotheroperation",
        "operationpreempted",
    }
)
_BY_STATUS: dict[int, type[ArmError]] = {
    401: errors.AuthError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    412: errors.ConcurrencyError,
    429: errors.ThrottledError,
}


def decode_error(status: int, headers: Headers, data: bytes, *, method: str = "", path: str = "") -> ArmError:
    """The error of a response with status 400 or above; its body may be JSON in any of ARM's forms, or other text."""
    try:
        document = decode_json(data, headers)
    except ProtocolError as not_json:
        document = {"message": str(not_json)}
    fields = error_fields(document)
    error = error_kind(status, fields["code"], fields["details"])(
        fields["message"] or f"HTTP {status} without a message",
        code=fields["code"],
        status=status,
        target=fields["target"],
        details=fields["details"],
        additional=fields["additional"],
        request_id=headers.get("x-ms-request-id"),
        correlation_id=headers.get("x-ms-correlation-request-id"),
        method=method,
        path=path,
        retry_after=retry_after(headers),
    )
    if isinstance(error, errors.AuthError):
        error.claims = claims_challenge(headers)
    if status == 407:
        error.usual_hint = f"A proxy asks for a login: {errors.PROXY_LOGIN}."
    if isinstance(error, errors.ThrottledError):
        error.policy, error.allowed, error.measured = _throttle_facts(fields["details"])
    return error


def error_fields(document: Json) -> JsonDict:
    """code, message, target, details and `additional` fields of an error document, in any form that ARM uses."""
    inner = document
    if isinstance(document, dict):
        inner = next((document[key] for key in ("error", "Error", "odata.error") if document.get(key)), document)
    if not isinstance(inner, dict):
        inner = {"message": inner} if isinstance(inner, str) else {}
    lower = {str(key).lower(): value for key, value in inner.items()}
    message, details = lower.pop("message", None), lower.pop("details", None)
    if isinstance(message, dict):  # OData: {"message": {"lang": "en-us", "value": "..."}}
        message = message.get("value")
    code, target = lower.pop("code", None), lower.pop("target", None)
    return {
        "code": code if isinstance(code, str) else short_repr(code) if isinstance(code, int) else "",
        "message": message if isinstance(message, str) else "",
        "target": target if isinstance(target, str) else None,
        "details": details if isinstance(details, list) else [],
        "additional": lower,
    }


def error_kind(status: int, code: str, details: list[Any]) -> type[ArmError]:
    """The class of an error. Of a 409 or 429 only the code tells whether another operation is running."""
    inner = [detail.get("code") for detail in details if isinstance(detail, dict)]
    codes = {text.lower() for text in (code, *inner) if isinstance(text, str)}
    if status in (409, 429) and codes & _BUSY_CODES:
        return errors.BusyError
    return _BY_STATUS.get(status, ArmError)


def _throttle_facts(details: list[Any]) -> tuple[str | None, int | None, int | None]:
    for detail in details:
        if isinstance(detail, dict) and detail.get("code") == "TooManyRequests":
            facts = _object_in(detail.get("message"))
            counts = [facts.get(key) for key in ("allowedRequestCount", "measuredRequestCount")]
            allowed, measured = (count if isinstance(count, int) else None for count in counts)
            return printable(detail.get("target") or "", 100) or None, allowed, measured
    return None, None, None


def _object_in(text: Json) -> JsonDict:
    """The JSON object in a text, or an empty dict."""
    try:
        value = parsing.parse_json(text, ValueError)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# --- waiting and limits ----------------------------------------------------------------------------------------------

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")


def retry_after(headers: Headers) -> float | None:
    """The seconds that the server asks to wait, or None. A date is ignored: ARM never sends one."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value) and value.isascii():
        return float(value)
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = headers.get(name, "").strip()
        if _SECONDS.fullmatch(value) and value.isascii():
            return float(value) / 1000
    return None


def remaining_requests(headers: Headers) -> dict[str, int]:
    """The requests left in each of Compute's throttling buckets: `{"GetVMScaleSetResource": 32, ...}`."""
    remaining = {}
    for item in headers.get("x-ms-ratelimit-remaining-resource", "").split(","):
        name, _, count = item.strip().rpartition(";")
        if name and count.isascii() and count.isdigit():
            remaining[name.rpartition("/")[2]] = int(count[:12])
    return remaining


def claims_challenge(headers: Headers) -> str | None:
    """The claims that a 401 demands (continuous access evaluation) as JSON text, or None.

    https://learn.microsoft.com/entra/identity-platform/claims-challenge
    """
    challenge = headers.get("www-authenticate", "")
    match = re.search(r'claims="([A-Za-z0-9+/_=-]{1,8192})"', challenge)
    if not match or "insufficient_claims" not in challenge:
        return None
    text = match[1].rstrip("=").replace("+", "-").replace("/", "_")
    try:
        claims = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
        return claims if isinstance(parsing.parse_json(claims, ValueError), dict) else None
    except ValueError:
        return None


# --- long-running operations -----------------------------------------------------------------------------------------

SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
CANCELED: Final = "Canceled"
RUNNING: Final = "InProgress"
TERMINAL: frozenset[OperationState] = frozenset({SUCCEEDED, FAILED, CANCELED})
_STATES: Mapping[str, OperationState] = {
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "canceled": CANCELED,
    "cancelled": CANCELED,
}


class Monitor(NamedTuple):
    """How to watch an operation: by which document at which path.

    `kind`: status (the Azure-AsyncOperation link), location (that link), resource (its provisioningState), instances
    (of an upgrade), or none when the operation has ended. `result_path`: where the result of a POST is, once the status
    is Succeeded. `ids`: the instances of an upgrade; empty for all.
    """

    kind: MonitorKind
    path: str = ""
    result_path: str = ""
    ids: tuple[str, ...] = ()


def monitor(method: str, path: str, status: int, headers: Headers, body: Json, base: str) -> Monitor:
    """How to watch the operation that a response started: by Azure-AsyncOperation, else Location, else the resource.

    Raises: UnusableLink for a link that must not be followed.
    """
    location = headers.get("location", "")
    if headers.get("azure-asyncoperation"):
        result = same_origin_path(location, base) if location and method == "POST" else ""
        return Monitor("status", same_origin_path(headers["azure-asyncoperation"], base), result)
    if location and status in (201, 202):
        path = same_origin_path(location, base)
        return Monitor("location", path, path)
    if method in ("PUT", "PATCH"):
        done = status != 202 and provisioning_state(body) in TERMINAL
        return Monitor("none" if done else "resource", path)
    return Monitor("resource" if status == 202 else "none", path)


def normal_state(value: Json) -> OperationState:
    """A status in one spelling. Every word except the terminal ones means that the operation is running."""
    return _STATES.get(value.strip().lower(), RUNNING) if isinstance(value, str) else RUNNING


def provisioning_state(resource: Json) -> OperationState:
    """The provisioningState of a resource as an operation state. By ARM's contract none means Succeeded."""
    properties = resource.get("properties") if isinstance(resource, dict) else None
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return SUCCEEDED if state is None else normal_state(state)


def operation_state(document: Json) -> OperationState | None:
    """The state in a status document, or None when it has none, which is no failure of the operation."""
    status = document.get("status") if isinstance(document, dict) else None
    return normal_state(status) if isinstance(status, str) and status.strip() else None


def belongs_to(document: Json, path: str) -> bool:
    """Whether the name in a status document is that of the operation at `path`, and not of an earlier one."""
    name = document.get("name") if isinstance(document, dict) else None
    expected = path.partition("?")[0].rpartition("/")[2]
    if not isinstance(name, str) or not (_GUID.fullmatch(name) and _GUID.fullmatch(expected)):
        return True
    return name.lower() == expected.lower()


def is_transient(error: Exception) -> bool:
    """Whether a read that failed may succeed soon: after throttling, a 5xx or a broken connection."""
    if isinstance(error, ArmError):
        return error.status in (408, 429) or error.status >= 500
    return not isinstance(error, ProtocolError)


_TRANSIENT_CODES = ("operationpreempted", "conflictingconcurrentwritenotallowed", "anotheroperationinprogress")


def is_retryable(code: str) -> bool:
    """Whether an operation that failed with this code may succeed when it is started again."""
    return code.lower().startswith("retryable") or code.lower() in _TRANSIENT_CODES


def operation_seconds(document: Json) -> float | None:
    """The seconds from startTime to endTime in a status document, or None."""
    fields = document if isinstance(document, dict) else {}
    started, ended = _moment(fields.get("startTime")), _moment(fields.get("endTime"))
    return None if started is None or ended is None else max(0.0, ended - started)


def _moment(text: Json) -> float | None:
    """One of Azure's timestamps (up to seven decimals) in seconds since 1970, or None."""
    pattern = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)"
    match = re.fullmatch(pattern, text) if isinstance(text, str) else None
    if match is None:
        return None
    try:
        whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None
    return whole + float(match[2] or 0)


def _select(items: list[Any], ids: Sequence[str]) -> list[JsonDict]:
    instances = [item for item in items if isinstance(item, dict)]
    return [instance for instance in instances if not ids or _instance_id(instance) in ids]


def _instance_id(instance: JsonDict) -> str:
    value = instance.get("instanceId")
    return value if isinstance(value, str) else ""


def _on_latest_model(instance: JsonDict) -> bool:
    properties = instance.get("properties")
    return isinstance(properties, dict) and properties.get("latestModelApplied") is True


def has_upgrade_begun(items: list[Any], ids: Sequence[str]) -> bool:
    """Whether instances show that an upgrade of them has begun: one is Updating or Failed, or all are current.

    An earlier failure counts as well: to watch an upgrade that never began is safe, to send it twice is not.
    """
    chosen = _select(items, ids)
    return all(map(_on_latest_model, chosen)) or any(provisioning_state(instance) != SUCCEEDED for instance in chosen)


def instances_state(items: list[Any], ids: Sequence[str]) -> tuple[OperationState, str]:
    """The state of an upgrade by its instances, and the ids of the failed ones. Deleted instances count as done."""
    states = {_instance_id(instance): provisioning_state(instance) for instance in _select(items, ids)}
    failed = [instance_id for instance_id, state in states.items() if state == FAILED]
    outdated = [instance for instance in _select(items, ids) if not _on_latest_model(instance)]
    if RUNNING in states.values() or (outdated and not failed):
        return RUNNING, ""
    return (FAILED, ", ".join(failed)) if failed else (SUCCEEDED, "")


def operation_error(state: str, document: Json, **context: Any) -> ArmError:
    """The error of an operation that ended as Failed or Canceled, from the error in its last document."""
    fields = error_fields(document)
    kind = errors.OperationCanceled if state == CANCELED else errors.OperationFailed
    kind = errors.OperationSuperseded if fields["code"].lower() == "operationpreempted" else kind
    text = fields["message"] or f"the operation ended as {state}"
    context |= {key: fields[key] for key in ("target", "details", "additional")}
    return kind(text, code=fields["code"] or f"Operation{state}", **context)


# --- paging ----------------------------------------------------------------------------------------------------------


def parse_page(document: Json, base: str) -> tuple[list[Any], str | None]:
    """The items of one page, and the path and query of the next page or None. An empty page can have a next one."""
    if not isinstance(document, dict):
        raise ProtocolError(f"expected a list document with `value`, got {describe_shape(document)}")
    items = check_objects(document.get("value"), "a list of objects in `value`")
    link = document.get("nextLink")
    return items, None if link is None or link == "" else same_origin_path(link, base)
