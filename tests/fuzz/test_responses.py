"""Whatever a server sends, a file stores or a caller passes: an error of ours, or something that keeps its promises."""

import contextlib
import json
import math
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

import azurerm_lite as az
from azurerm_lite import _lost_responses
from azurerm_lite._common import parsing
from azurerm_lite._http import responses, stored_operation, wire
from azurerm_lite._http.retry import AttemptResult, Retry, decide, wait_seconds
from azurerm_lite._http.transport import Timeouts
from azurerm_lite._text import duration
from azurerm_lite.clouds import custom_cloud
from azurerm_lite.errors import ArmError, InvalidInput, ProtocolError, short_repr
from azurerm_lite.operation import Operation

from . import ANYTHING, DEEP, JSON, fuzz, some

BASE = "https://management.azure.com"
ODD = [
    "[" * 100_000,
    '{"a":' * 3000,
    "9" * 5000,
    *["NaN", "1e999", '{"a":1,"a":2}', '"\\ud800"', "<p>"],
    "\ufeff{}",
    "\x00",
]


def as_json(value: Any) -> bytes:
    """A value as JSON.dumps would write it, whatever is in it."""
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except ValueError:  # a number of 5,000 digits
        return b"1e999"


BODIES = JSON.map(as_json) | st.binary(max_size=100) | st.sampled_from(ODD).map(str.encode)
HOSTS = [
    "https://",
    "http://",
    "management.azure.com",
    "evil.example",
    "localhost",
    "[::1]",
    "[:::]",
    "[",
    "]",
    "@",
    ":",
    "\\",
]
PIECES = [
    *HOSTS,
    *["/", "//", "..", "%2e%2e", ":443", ":0", ":99999", ":-1", ":+443", "?", "#", "x", "é"],
    " ",
    "\u202e",
    "\x00",
]
URLS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=40)
LINKS = URLS | URLS.map((BASE + "{}").format)
ODD_NUMBERS = ["17", "0", "-1", "nan", "1e9", "5, 9", "٣", "9" * 400, "1." + "9" * 400]
TEXTS = st.text(max_size=30) | st.sampled_from(ODD_NUMBERS)
NAMES = "retry-after x-ms-retry-after-ms www-authenticate location azure-asyncoperation content-type content-length"
HEADERS = st.dictionaries(
    st.sampled_from([*NAMES.split(), "x-ms-ratelimit-remaining-resource", "x-ms-request-id"]), TEXTS | LINKS
)
METHODS = st.sampled_from(["GET", "PUT", "PATCH", "POST", "DELETE"])


def is_line(text: str, longest: int = 10_000) -> bool:
    return len(text) <= longest and not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


def attempt(kind: type[Exception], function: Any, *arguments: Any) -> tuple[Any, str]:
    """What a function gives, and the text of its error of this kind."""
    try:
        return function(*arguments), ""
    except kind as error:
        return None, str(error)


# --- bodies ----------------------------------------------------------------------------------------------------------


@fuzz
@given(BODIES, HEADERS)
def test_a_body_is_read_without_loss_or_refused(data: bytes, headers: dict[str, str]) -> None:
    assert isinstance(responses.is_truncated(headers, data), bool)
    value, refusal = attempt(ProtocolError, wire.decode_json, data, headers)
    assert is_line(refusal, 500)
    assert value is None or wire.decode_json(wire.encode_json(value), {}) == value


@fuzz
@given(JSON | DEEP | st.text() | st.binary())
def test_a_text_is_parsed_or_refused_with_the_callers_error(value: Any) -> None:
    for text in (value, *([json.dumps(value, default=str)] if _shallow(value) else [])):
        with contextlib.suppress(InvalidInput):
            parsing.parse_json(text, InvalidInput, "the text")
    if isinstance(value, bytes):
        assert isinstance(parsing.is_unfinished(value), bool)
    with contextlib.suppress(InvalidInput):
        parsing.parse_with(int, value, InvalidInput, "the number") if isinstance(value, str) else None


def _shallow(value: Any) -> bool:
    try:
        json.dumps(value, default=str)
    except (ValueError, RecursionError):
        return False
    return True


@fuzz
@given(ANYTHING)
def test_a_number_is_finite_and_within_bounds_or_refused(value: Any) -> None:
    with contextlib.suppress(InvalidInput):
        assert 0 <= parsing.finite_number(value, InvalidInput, "it", least=0, most=1e12) <= 1e12


@fuzz
@given(st.integers(100, 999), HEADERS, BODIES)
def test_every_error_becomes_one_line_of_ours(status: int, headers: dict[str, str], body: bytes) -> None:
    error = wire.decode_error(status, headers, body, method="GET", path="/x")
    assert isinstance(error, ArmError)
    assert is_line(str(error))


@fuzz
@given(ANYTHING | DEEP)
def test_any_document_has_a_state_or_is_refused(document: Any) -> None:
    assert wire.operation_state(document) in {None, "InProgress", "Succeeded", "Failed", "Canceled"}
    assert wire.provisioning_state(document) in {"InProgress", "Succeeded", "Failed", "Canceled"}
    assert isinstance(wire.belongs_to(document, "/operations/1"), bool)
    seconds = wire.operation_seconds(document)
    assert seconds is None or 0 <= seconds < math.inf
    assert isinstance(responses.is_resource(document), bool)
    assert isinstance(responses.describe_shape(document), str)
    assert is_line(short_repr(document), 81)


@fuzz
@given(ANYTHING)
def test_any_error_document_becomes_an_error_of_ours(document: Any) -> None:
    error = wire.operation_error("Failed", document)
    assert isinstance(error, ArmError)
    assert is_line(str(error))


@fuzz
@given(st.lists(ANYTHING | st.dictionaries(st.sampled_from(["instanceId", "properties"]), ANYTHING)), ANYTHING)
def test_any_list_of_instances_has_a_state(items: list[Any], value: Any) -> None:
    items = [*items, {"instanceId": value, "properties": {"provisioningState": value, "latestModelApplied": value}}]
    assert wire.instances_state(items, ())[0] in ("InProgress", "Succeeded", "Failed")
    assert isinstance(wire.has_upgrade_begun(items, ["0"]), bool)


# --- links and operations --------------------------------------------------------------------------------------------


@fuzz
@given(LINKS | ANYTHING)
def test_a_link_is_followed_on_our_own_origin_or_not_at_all(link: Any) -> None:
    path, refusal = attempt(ProtocolError, wire.same_origin_path, link, BASE)
    assert is_line(refusal, 600)
    if refusal:
        return
    assert urlsplit(BASE + path).hostname == "management.azure.com" == parse_url(BASE + path).host
    assert path.startswith("/")
    assert ".." not in urlsplit(BASE + path).path.split("/")


@fuzz
@given(JSON | st.fixed_dictionaries({"value": JSON}, optional={"nextLink": LINKS | JSON}))
def test_a_page_has_objects_only_and_a_link_of_our_own(document: Any) -> None:
    with contextlib.suppress(ProtocolError):
        items, link = wire.parse_page(document, BASE)
        assert all(isinstance(item, dict) for item in items)
        assert link is None or link.startswith("/")


@fuzz
@given(METHODS, st.integers(200, 299), HEADERS, JSON, st.booleans())
def test_what_a_write_started_is_watched_on_our_own_origin(
    method: str, status: int, headers: dict[str, str], body: Any, upgrade: bool
) -> None:
    instances = wire.Monitor("instances", "/vms?api-version=1", "", ("0",)) if upgrade else None
    write = _lost_responses.PendingWrite(method, "/x?api-version=1", instances=instances)
    with contextlib.suppress(ProtocolError):
        responses.check_write(method, status, body, has_status=bool(headers.get("azure-asyncoperation")))
        how = _lost_responses.monitor(write, status, headers, body, BASE)
        assert all(path == "" or path.startswith("/") for path in (how.path, how.result_path))
        if how.kind == "none" and method in ("PUT", "PATCH"):
            assert responses.is_resource(body)


@fuzz
@given(HEADERS)
def test_waits_and_limits_are_numbers_or_nothing(headers: dict[str, str]) -> None:
    seconds = wire.retry_after(headers)
    assert seconds is None or (0 <= seconds < math.inf and is_line(duration(seconds), 60))
    assert all(count >= 0 for count in wire.remaining_requests(headers).values())
    claims = wire.claims_challenge(headers)
    assert claims is None or isinstance(json.loads(claims), dict)


STATUSES = st.sampled_from([0, 101, 199, 200, 299, 300, 399, 400, 401, 404, 408, 409, 412, 429, 500, 501, 599, 999])


@fuzz
@given(
    METHODS,
    st.builds(AttemptResult, STATUSES, st.booleans(), st.none() | st.floats(0, 1e12), st.booleans()),
    st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_nothing_is_sent_again_blindly(method: str, outcome: AttemptResult, attempt: int, chance: float) -> None:
    limits = Retry()
    decision = decide(limits, method, outcome, attempt=attempt, waited=0.0, refreshed=False, jitter=chance)
    if decision.action == "again":
        assert not outcome.permanent
        assert method == "GET" or outcome.status == 429 or not outcome.sent
        assert decision.wait_seconds >= max(limits.base_seconds, outcome.retry_after or 0)
    assert wait_seconds(limits, outcome.retry_after, attempt, chance) >= limits.base_seconds


# --- what callers pass -----------------------------------------------------------------------------------------------


@fuzz
@given(ANYTHING | DEEP | st.text())
def test_arguments_become_parts_of_a_request_or_are_refused(value: Any) -> None:
    checks: list[Any] = [wire.segment, wire.header_value, wire.query_value]
    for check in checks:
        with contextlib.suppress(InvalidInput):
            assert check(value, "it").isascii()
    for check in (wire.subscription_segment, wire.resource_group_segment, wire.api_version):
        with contextlib.suppress(InvalidInput):
            assert check(value).isascii()
    with contextlib.suppress(InvalidInput):
        ids = wire.instance_ids(value)
        assert ids
        assert all(re.fullmatch(r"[\w.-]+", instance_id, re.ASCII) for instance_id in ids)


@fuzz
@given(ANYTHING)
def test_a_body_becomes_json_or_is_refused(value: Any) -> None:
    with contextlib.suppress(InvalidInput):
        json.loads(wire.encode_json(value))


PARTS = st.lists(
    st.sampled_from(["subscriptions", "s", "resourceGroups", "rg", "providers", "Microsoft.Compute", "", "..", "a b"])
    | st.just("virtualMachineScaleSets")
    | st.text(max_size=5),
    max_size=11,
)
WHOLE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/"


@fuzz
@given(PARTS.map("/".join) | st.text(max_size=8).map((WHOLE + "{}").format) | ANYTHING | DEEP)
def test_a_resource_id_is_one_of_a_scale_set_or_refused(resource_id: Any) -> None:
    address, refusal = attempt(InvalidInput, az.ScaleSet.parse, resource_id)
    assert is_line(refusal, 500)
    if refusal:
        return
    assert az.ScaleSet.parse(address.resource_id) == address
    assert is_line(address.resource_id)
    assert all(part and part.strip(".") and not set(part) & set("/\\?#% ") for part in address)


# --- stored operations -----------------------------------------------------------------------------------------------

MONITOR = {"kind": "status", "path": "/op?api-version=1", "result_path": "", "ids": ["0"]}
HANDLE: dict[str, Any] = {
    "kind": stored_operation.KIND,
    "schema": stored_operation.SCHEMA,
    "method": "PUT",
    "path": "/x?api-version=1",
    "monitor": MONITOR,
    "status": "InProgress",
    "request_id": "r",
    "correlation_id": None,
    "started_at": 1.0,
    "instances": {**MONITOR, "kind": "instances"},
}
DAMAGE = ANYTHING | LINKS | st.dictionaries(st.sampled_from([*MONITOR]), ANYTHING | LINKS)

DAMAGES = st.dictionaries(st.sampled_from([*HANDLE]), DAMAGE, max_size=3)


class Silent:
    """What a stored operation is taken up by; nothing is read before it is polled."""

    base = BASE

    def read(self, path: str) -> Any:
        raise AssertionError(path)

    def pause(self, seconds: float) -> None:
        raise AssertionError(seconds)

    def time(self) -> float:
        return 1.0


@fuzz
@given(DAMAGES, st.dictionaries(st.sampled_from([*MONITOR]), DAMAGE))
def test_a_stored_operation_is_taken_up_or_refused(damage: dict[str, Any], inner: dict[str, Any]) -> None:
    stored = {**HANDLE, "monitor": {**MONITOR, **inner}, **damage}
    operation, refusal = attempt(InvalidInput, Operation.from_dict, Silent(), stored)
    assert is_line(refusal, 2000)
    if refusal:
        return
    assert is_line(repr(operation))
    assert 0 < operation.next_poll_seconds() <= 600
    again = json.loads(json.dumps(operation.to_dict()))
    assert Operation.from_dict(Silent(), again).to_dict() == again


@fuzz
@given(ANYTHING | DEEP)
def test_what_is_no_stored_operation_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Operation.from_dict(Silent(), value)


# --- over a socket ---------------------------------------------------------------------------------------------------


class Fuzzed:
    """A server that answers each connection with `response`, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.response = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(self.response)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    server = Fuzzed()
    yield server
    server.close()


STATUS_LINES = st.sampled_from(
    ["200 OK", *(f"{code} X" for code in (201, 202, 204, 206, 100, 101, 103, 302, 404, 999))]
)
HEAD_LINES = st.sampled_from([
    *(f"Content-Length: {length}" for length in ("2", "+2", "-2", "99", "x")),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Content-Encoding: gzip", "Content-Encoding: br"),
    *("Location: https://[:::]/x", "Location: /x", "Azure-AsyncOperation: https://127.0.0.1:99999/", "Retry-After: 0"),
    *("x-ms-ratelimit-remaining-resource: a;1,b;x", ": x", "x", " folded", "X:" + "y" * 70_000),
])  # fmt: skip
CHUNKS = [b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}", b"zz\r\n", b"\x1f\x8b"]
TAILS = BODIES | st.sampled_from(CHUNKS)


@st.composite
def whole_responses(draw: st.DrawFn) -> bytes:
    interim = draw(st.lists(STATUS_LINES, max_size=2))
    lines = [f"HTTP/1.1 {draw(STATUS_LINES)}", *draw(st.lists(HEAD_LINES, max_size=4))]
    heads = "".join(f"HTTP/1.1 {line}\r\n\r\n" for line in interim) + "\r\n".join(lines) + "\r\n\r\n"
    return heads.encode() + draw(TAILS)


@some
@given(whole_responses() | st.binary(max_size=60))
def test_bytes_from_a_server_end_in_an_object_or_an_error_of_ours(fuzzed: Fuzzed, response: bytes) -> None:
    fuzzed.response = response
    cloud = custom_cloud(fuzzed.base, "https://login.invalid")
    options: dict[str, Any] = {"retry": Retry(attempts=1), "timeouts": Timeouts(2, 2, 4), "sleep": lambda _: None}
    with az.Arm("the-token", cloud=cloud, **options) as arm:
        with contextlib.suppress(az.AzurermLiteError):
            assert isinstance(arm.get("/x"), dict)
        with contextlib.suppress(az.AzurermLiteError):
            assert all(isinstance(item, dict) for item in arm.list("/x"))
        with contextlib.suppress(az.AzurermLiteError):
            operation = arm.start("PUT", "/x", {"a": 1})
            assert operation.status == "InProgress" or responses.is_resource(operation.resource)
