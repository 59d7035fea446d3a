"""Whatever comes in, the pure rooms answer or refuse in their own words, and keep their promises."""

import json
import math
from typing import Any
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from azurerm_lite import model
from azurerm_lite._http import stored_operation, wire
from azurerm_lite._http.retry import AttemptResult, Retry, decide
from azurerm_lite.errors import ArmError, AzurermLiteError, InvalidInput, ProtocolError, printable
from azurerm_lite.model import edits

BASE = "https://management.azure.com"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-ms-retry-after-ms", "www-authenticate", "x-ms-ratelimit-remaining-resource"]),
    st.text(max_size=40) | st.sampled_from(["17", "0", "-1", "nan", "1e9", "5, 9", "Wed, 21 Oct 2026 07:28:00 GMT"]),
)
PIECES = [
    "https://",
    "http://",
    "management.azure.com",
    "evil.example",
    "@",
    "\\",
    "/",
    "//",
    "..",
    "%2e%2e",
    ":443",
    "?",
    "#",
    "x",
]
LINKS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join) | st.text(max_size=60)


@given(LINKS)
def test_a_link_is_followed_on_our_own_origin_or_not_at_all(link: str) -> None:
    try:
        path = wire.same_origin_path(link, BASE)
    except ProtocolError:
        return
    whole = BASE + path
    assert urlsplit(whole).hostname == "management.azure.com" == parse_url(whole).host
    assert path.startswith("/")
    assert ".." not in urlsplit(whole).path.split("/")


@given(HEADERS)
def test_waits_and_limits_are_read_without_an_exception(headers: dict[str, str]) -> None:
    seconds = wire.retry_after(headers)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
    assert all(count >= 0 for count in wire.remaining_requests(headers).values())
    claims = wire.claims_challenge(headers)
    assert claims is None or isinstance(json.loads(claims), dict)


@given(st.integers(100, 599), HEADERS, st.binary(max_size=200) | JSON.map(lambda one: json.dumps(one).encode()))
def test_every_error_body_becomes_an_arm_error_that_can_be_printed(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    error = wire.decode_error(status, headers, body, method="GET", path="/x")
    assert isinstance(error, ArmError)
    assert error.status == status
    text = str(error)
    assert text.isprintable() or all(ord(letter) >= 0x20 for letter in text)
    assert len(text) < 10_000


@given(JSON)
def test_operation_documents_of_any_shape_have_a_state_or_none(document: Any) -> None:
    assert wire.operation_state(document) in {None, "InProgress", "Succeeded", "Failed", "Canceled"}
    assert wire.provisioning_state(document) in {"InProgress", "Succeeded", "Failed", "Canceled"}
    assert isinstance(wire.operation_error("Failed", document), ArmError)


LINK_HEADERS = st.dictionaries(st.sampled_from(["location", "azure-asyncoperation", "retry-after"]), LINKS)


@given(st.sampled_from(["PUT", "PATCH", "POST", "DELETE"]), st.integers(100, 599), LINK_HEADERS, JSON)
def test_what_to_watch_is_on_our_own_origin_or_refused(
    method: str, status: int, headers: dict[str, str], body: Any
) -> None:
    try:
        how = wire.monitor(method, "/x?api-version=1", status, headers, body, BASE)
    except ProtocolError:
        return
    assert how.kind in ("status", "location", "resource", "none")
    assert all(path == "" or path.startswith("/") for path in (how.path, how.result_path))
    assert isinstance(wire.belongs_to(body, how.path), bool)


KEYS = ["kind", "schema", "method", "path", "monitor", "status", "request_id", "started_at", "instances"]
GOOD = {
    "kind": stored_operation.KIND,
    "schema": 1,
    "method": "PUT",
    "path": "/x",
    "status": "InProgress",
    "started_at": 1.0,
}


@given(st.dictionaries(st.sampled_from(KEYS), JSON | LINKS, max_size=3), st.booleans())
def test_a_stored_handle_of_any_shape_is_taken_or_refused(damage: dict[str, Any], whole: bool) -> None:
    monitor = {"kind": "status", "path": "/op", "result_path": "", "ids": []}
    stored = {**({**GOOD, "monitor": monitor} if whole else {}), **damage}
    try:
        found = stored_operation.validate(stored, BASE)
    except InvalidInput:
        return
    assert found["path"] == "" or found["path"].startswith("/")


@given(st.binary(max_size=300))
def test_bodies_are_read_or_refused(data: bytes) -> None:
    try:
        found = wire.decode_json(data, {})
    except ProtocolError:
        return
    assert found is None or wire.decode_json(wire.encode_json(found), {}) == found


@given(JSON | st.binary())
def test_instance_ids_are_plain_words_or_refused(ids: Any) -> None:
    try:
        found = wire.instance_ids(ids)
    except InvalidInput:
        return
    assert found
    assert len(set(found)) == len(found)
    assert all(one.replace("_", "").replace("-", "").replace(".", "").isalnum() for one in found)


@given(st.text(max_size=300))
def test_names_are_one_path_segment_or_refused(name: str) -> None:
    try:
        found = wire.segment(name, "name")
    except InvalidInput:
        return
    assert not set(found) & set("/\\?#")
    assert found not in (".", "..")


@given(
    st.sampled_from(["GET", "PUT", "PATCH", "POST", "DELETE"]),
    st.builds(
        AttemptResult,
        status=st.sampled_from([0, 200, 400, 401, 404, 408, 409, 412, 429, 500, 501, 502, 503, 504, 505]),
        sent=st.booleans(),
        retry_after=st.none() | st.floats(0, 1e12),
        permanent=st.booleans(),
    ),
    st.integers(1, 10**6),
    st.floats(0, 1e6),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
)
def test_a_write_is_repeated_only_when_it_was_not_executed(
    method: str, outcome: AttemptResult, attempt: int, waited: float, refreshed: bool, chance: float
) -> None:
    limits = Retry()
    decision = decide(limits, method, outcome, attempt=attempt, waited=waited, refreshed=refreshed, jitter=chance)
    if decision.action == "again":
        assert attempt < limits.attempts
        assert 0 <= decision.wait_seconds <= limits.budget_seconds - waited
        assert outcome.retry_after is None or decision.wait_seconds >= outcome.retry_after
        if method != "GET":
            assert outcome.status == 429 or (outcome.status == 0 and not outcome.sent)
    if decision.action == "refresh":
        assert outcome.status == 401
        assert not refreshed


@given(OBJECT, OBJECT)
def test_a_merge_patch_leads_from_one_model_to_the_other(old: Any, new: Any) -> None:
    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
        return value

    old, new = without_nulls(old), without_nulls(new)
    patch = model.merge_patch(old, new)
    assert model.apply_merge_patch(old, patch) == new
    assert model.merge_patch(new, new) == {}
    assert (model.diff(old, new) == []) == (patch == {} or old == new)


@given(st.text(max_size=400), st.integers(1, 300))
def test_printable_text_is_one_bounded_line(text: str, longest: int) -> None:
    line = printable(text, longest)
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in line)
    assert len(line) <= longest + 1


@given(JSON)
def test_edits_of_models_of_any_shape_are_made_or_refused(anything: Any) -> None:
    document = anything if isinstance(anything, dict) else {"properties": anything}
    for edit in (edits.set_image_version, edits.set_image_uri, edits.set_image_id, edits.set_image_sku):
        try:
            edit(document, "1.2.3")
        except AzurermLiteError:
            continue
    assert edits.image_text(document)
