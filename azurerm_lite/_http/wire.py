"""Every fact of ARM's protocol: bodies, errors, long-running answers, paging, Retry-After, safe URLs. PURE.

Takes and returns plain values (status, headers with lower-case names, bytes). No HTTP library, no clock.
https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from .. import errors
from .._common import arguments, parsing
from ..errors import ArmError, InvalidInput, ProtocolError, printable, short_repr
from ..types import Json, JsonDict
from . import responses
from .responses import objects, shape

Headers = Mapping[str, str]
own_path = responses.own_path

# --- paths and addresses ---------------------------------------------------------------------------------------------

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_\-()~]+(\.[A-Za-z0-9_\-()~]+)*")
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_FORBIDDEN_IN_SEGMENT = re.compile("[\x00-\x1f\x7f-\x9f<>%&:\\\\?/#\"'`{}|^*\ud800-\udfff]")
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z0-9.]+)?")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def segment(value: str, what: str, longest: int = 260) -> str:
    """One path segment, percent-encoded, or InvalidInput when ARM could not have a name like that."""
    if isinstance(value, str) and len(value) <= longest and _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{what} must be a non-empty string, not {short_repr(value)}")
    if len(value) > longest or value != value.strip() or value.strip(".") == "" or _FORBIDDEN_IN_SEGMENT.search(value):
        raise InvalidInput(f"{what} {short_repr(value)} is not a name that Azure could have given")
    return quote(value, safe="")


def subscription_segment(value: str) -> str:
    if isinstance(value, str) and _GUID.fullmatch(value):
        return value
    raise InvalidInput(f"subscription id must be a GUID, not {short_repr(value)}")


def resource_group_segment(value: str) -> str:
    if isinstance(value, str) and value.endswith("."):
        raise InvalidInput(f"resource group {short_repr(value)} may not end in a dot")
    return segment(value, "resource group", 90)


def api_version(value: str) -> str:
    if isinstance(value, str) and _API_VERSION.fullmatch(value):
        return value
    raise InvalidInput(f"api-version must look like 2024-07-01, not {short_repr(value)}")


def header_value(value: str, what: str) -> str:
    """A value that may travel as an HTTP header, verbatim."""
    if isinstance(value, str) and value and value == value.strip() and value.isascii() and value.isprintable():
        return value
    raise InvalidInput(f"{what} cannot be sent as a header: {short_repr(value)}")


def region(name: object) -> str:
    """A region as Azure compares it: `East US` is eastus."""
    return name.replace(" ", "").lower() if isinstance(name, str) else ""


_LONGEST_OPTION = 4000  # of a query; longer addresses are refused by servers and proxies


def query_value(value: object, name: str) -> str:
    """A value of the query, percent-encoded, or InvalidInput when it is no text that could be sent."""
    if not isinstance(value, str) or len(value) > _LONGEST_OPTION:
        raise InvalidInput(f"{name} must be a text of at most {_LONGEST_OPTION} characters, not {short_repr(value)}")
    return parsing.parse_with(lambda text: quote(text, safe=""), value, InvalidInput, f"{name} {short_repr(value)}")


_INSTANCE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def instance_ids(ids: object, *, all_instances: bool = False) -> list[str]:
    """Instance ids as Azure wants them: unique strings, in the order given; `["*"]` where all were asked for.

    Takes any sequence of ids, or azurerm's JSON text of one: numbers in Uniform sets, VM names in Flexible ones.
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
        raise InvalidInput(
            "'*' means every instance at once, which is downtime: pass all_instances=True if you mean it"
        )
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
    """The JSON value in a body, None for an empty one; ProtocolError for anything else, never a lossy reading."""
    if not data:
        return None

    def error(why: str) -> ProtocolError:
        kind = printable(headers.get("content-type", "no content-type"), 80)
        start = printable(data[:60].decode("utf-8", "replace"), 120)
        return ProtocolError(f"expected JSON, got {kind} beginning with {start!r} ({why})")

    return parsing.parse_json(data, error)


def encode_json(body: Json) -> bytes:
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
    """The error in an answer >= 400, whatever its body: enveloped, bare (Compute's 429), or no JSON at all."""
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
    """code, message, target, details and the rest of an error document in any of the forms that ARM uses."""
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
    """Which class an error is. 429 and 409 each mean two things, and only the codes tell them apart."""
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
    """The object that a JSON text holds; an empty one where there is none."""
    try:
        value = parsing.parse_json(text, ValueError)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# --- waiting and limits ----------------------------------------------------------------------------------------------

_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?")


def retry_after(headers: Headers) -> float | None:
    """The seconds that the server asks to wait; None when it says nothing that ARM could mean (never a date)."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value) and value.isascii():
        return float(value)
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = headers.get(name, "").strip()
        if _SECONDS.fullmatch(value) and value.isascii():
            return float(value) / 1000
    return None


def remaining_requests(headers: Headers) -> dict[str, int]:
    """What is left in each of Compute's throttling buckets: {"GetVMScaleSetResource": 32, ...}."""
    remaining = {}
    for item in headers.get("x-ms-ratelimit-remaining-resource", "").split(","):
        name, _, count = item.strip().rpartition(";")
        if name and count.isascii() and count.isdigit():
            remaining[name.rpartition("/")[2]] = int(count[:12])
    return remaining


def claims_challenge(headers: Headers) -> str | None:
    """The claims that a 401 demands (continuous access evaluation), as JSON text; None when it demands none.

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

SUCCEEDED, FAILED, CANCELED, RUNNING = "Succeeded", "Failed", "Canceled", "InProgress"
TERMINAL = frozenset({SUCCEEDED, FAILED, CANCELED})
_STATES = {"succeeded": SUCCEEDED, "failed": FAILED, "canceled": CANCELED, "cancelled": CANCELED}


class Monitor(NamedTuple):
    """How an operation can be watched: `kind` is status (Azure-AsyncOperation), location, resource, instances, none."""

    kind: str
    path: str = ""
    result_path: str = ""  # where the result of a POST waits after the status says Succeeded
    ids: tuple[str, ...] = ()  # of the instances that an upgrade is about; none means all


def monitor(method: str, path: str, status: int, headers: Headers, body: Json, base: str) -> Monitor:
    """How to follow what this answer started: Azure-AsyncOperation first, then Location, then the resource itself.

    Raises UnusableLink where a link that is needed cannot be followed.
    """
    location = headers.get("location", "")
    if headers.get("azure-asyncoperation"):
        result = own_path(location, base) if location and method == "POST" else ""
        return Monitor("status", own_path(headers["azure-asyncoperation"], base), result)
    if location and status in (201, 202):
        path = own_path(location, base)
        return Monitor("location", path, path)
    if method in ("PUT", "PATCH"):
        done = status != 202 and provisioning_state(body) in TERMINAL
        return Monitor("none" if done else "resource", path)
    return Monitor("resource" if status == 202 else "none", path)


def normal_state(value: Json) -> str:
    """A status in ARM's spelling; every word that is not a terminal one means still running."""
    return _STATES.get(value.strip().lower(), RUNNING) if isinstance(value, str) else RUNNING


def provisioning_state(resource: Json) -> str:
    """The state of a resource as an operation state; a resource without one is Succeeded (ARM's contract)."""
    properties = resource.get("properties") if isinstance(resource, dict) else None
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return SUCCEEDED if state is None else normal_state(state)


def operation_state(document: Json) -> str | None:
    """The state in an operation document; None when the document says nothing, which is not a failure."""
    status = document.get("status") if isinstance(document, dict) else None
    return normal_state(status) if isinstance(status, str) and status.strip() else None


def is_of(document: Json, path: str) -> bool:
    """Whether an operation document is that of the operation at `path`, and not of one before: its name says so."""
    name = document.get("name") if isinstance(document, dict) else None
    expected = path.partition("?")[0].rpartition("/")[2]
    if not isinstance(name, str) or not (_GUID.fullmatch(name) and _GUID.fullmatch(expected)):
        return True
    return name.lower() == expected.lower()


def is_passing(error: Exception) -> bool:
    """Whether what could not be read may be readable soon: throttles, 5xx, broken connections."""
    if isinstance(error, ArmError):
        return error.status in (408, 429) or error.status >= 500
    return not isinstance(error, ProtocolError)


_PASSING_CODES = ("operationpreempted", "conflictingconcurrentwritenotallowed", "anotheroperationinprogress")


def is_retryable(code: str) -> bool:
    """Whether Azure's code for a failed operation says that the same may work when it is asked for again."""
    return code.lower().startswith("retryable") or code.lower() in _PASSING_CODES


def operation_seconds(document: Json) -> float | None:
    """How long an operation took by Azure's own clock (endTime less startTime); None where it does not say."""
    started, ended = (
        (_moment(document.get(key)) for key in ("startTime", "endTime")) if isinstance(document, dict) else (None, None)
    )
    return None if started is None or ended is None else max(0.0, ended - started)


def _moment(text: Json) -> float | None:
    """Seconds since 1970 of Azure's timestamps, whose fraction has up to seven digits."""
    match = (
        re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", text)
        if isinstance(text, str)
        else None
    )
    if match is None:
        return None
    try:
        whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return None
    return whole + float(match[2] or 0)


def _chosen(items: list[Any], ids: Sequence[str]) -> list[JsonDict]:
    instances = [item for item in items if isinstance(item, dict)]
    return [instance for instance in instances if not ids or _instance_id(instance) in ids]


def _instance_id(instance: JsonDict) -> str:
    value = instance.get("instanceId")
    return value if isinstance(value, str) else ""


def _on_latest_model(instance: JsonDict) -> bool:
    properties = instance.get("properties")
    return isinstance(properties, dict) and properties.get("latestModelApplied") is True


def upgrade_begun(items: list[Any], ids: Sequence[str]) -> bool:
    """Whether an upgrade of these instances shows in them: one is being changed or has failed, or none is behind.

    One that had failed before is taken for a sign too: watching what never began is safe, sending it twice is not.
    """
    chosen = _chosen(items, ids)
    return all(map(_on_latest_model, chosen)) or any(provisioning_state(instance) != SUCCEEDED for instance in chosen)


def instances_state(items: list[Any], ids: Sequence[str]) -> tuple[str, str]:
    """Where an upgrade of these instances stands by their own word, and who failed; those that are gone are done."""
    states = {_instance_id(instance): provisioning_state(instance) for instance in _chosen(items, ids)}
    failed = [instance_id for instance_id, state in states.items() if state == FAILED]
    behind = [instance for instance in _chosen(items, ids) if not _on_latest_model(instance)]
    if RUNNING in states.values() or (behind and not failed):
        return RUNNING, ""
    return (FAILED, ", ".join(failed)) if failed else (SUCCEEDED, "")


def operation_error(state: str, document: Json, **context: Any) -> ArmError:
    """The error of an operation that ended as Failed or Canceled, with Azure's code, message, target and details."""
    fields = error_fields(document)
    preempted = fields["code"].lower() == "operationpreempted"
    usual = errors.OperationCanceled if state == CANCELED else errors.OperationFailed
    kind = errors.OperationSuperseded if preempted else usual
    text = fields["message"] or f"the operation ended as {state}"
    context |= {key: fields[key] for key in ("target", "details", "additional")}
    return kind(text, code=fields["code"] or f"Operation{state}", **context)


# --- paging ----------------------------------------------------------------------------------------------------------


def page_of(document: Json, base: str) -> tuple[list[Any], str | None]:
    """The items of one page, and path and query of the next; an empty page may still have a next one."""
    if not isinstance(document, dict):
        raise ProtocolError(f"expected a list document with `value`, got {shape(document)}")
    items = objects(document.get("value"), "a list of objects in `value`")
    link = document.get("nextLink")
    return items, None if link is None or link == "" else own_path(link, base)
