"""Tables for the pure protocol room: what each form that ARM uses, or an enemy could send, must mean."""

import base64
import json

import pytest

from azurerm_lite import errors
from azurerm_lite._http import wire
from azurerm_lite.errors import InvalidInput, ProtocolError

BASE = "https://management.azure.com"


@pytest.mark.parametrize("name", ["web", "web-rg", "web_1", "a.b", "(x)", "a~b", "0"])
def test_plain_names_pass_unchanged(name: str) -> None:
    assert wire.segment(name, "name") == name


def test_other_letters_are_encoded() -> None:
    assert wire.segment("größe", "name") == "gr%C3%B6%C3%9Fe"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "...",
        "%2e%2e",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a%62",
        "a\x00b",
        "a\nb",
        " a",
        "a ",
        "x" * 261,
        "<b>",
        "a&b",
        "a:b",
        '"',
        None,
        3,
        b"a",
        chr(0xD800),
    ],
)
def test_names_that_azure_could_not_have_given_are_refused(name: object) -> None:
    with pytest.raises(InvalidInput, match="name"):
        wire.segment(name, "name")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "x", "00000000-0000-0000-0000-00000000000", "../x", None, 7])
def test_subscription_ids_are_guids(value: object) -> None:
    with pytest.raises(InvalidInput):
        wire.subscription_segment(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["2024-07-01&x=1", "2024", "", "latest", "2024-07-01\n", None])
def test_api_versions_are_dates(value: object) -> None:
    with pytest.raises(InvalidInput):
        wire.api_version(value)  # type: ignore[arg-type]
    assert wire.api_version("2024-03-01-preview") == "2024-03-01-preview"


@pytest.mark.parametrize(
    "url",
    [
        f"{BASE}/subscriptions/x?p=1&t=a%3Db",
        "HTTPS://Management.Azure.com/subscriptions/x?p=1&t=a%3Db",
        f"{BASE}:443/subscriptions/x?p=1&t=a%3Db",
        "/subscriptions/x?p=1&t=a%3Db",
        f"{BASE}/subscriptions/x?p=1&t=a%3Db#part",
    ],
)
def test_links_to_our_own_origin_are_reduced_to_path_and_query(url: str) -> None:
    assert wire.same_origin_path(url, BASE) == "/subscriptions/x?p=1&t=a%3Db"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "https://evil.example\\@management.azure.com/x",
        "https://management.azure.com\\@evil.example/x",
        "https://management.azure.com@evil.example/x",
        "https://user:pass@management.azure.com/x",
        "https://management.azure.com.evil.example/x",
        "https://management.azure.com%2eevil.example/x",
        "https://management.azure.com:8443/x",
        "https://management.azure.com:/x",
        "http://management.azure.com/x",
        "//evil.example/x",
        "/\\evil.example/x",
        "https:///evil.example/x",
        "https:/evil.example/x",
        "https:evil.example/x",
        "\thttps://management.azure.com/x",
        "https://management.azure.com/a\nb",
        "https://management.azure.com/a b",
        "https://management.azure.com/../x",
        "https://management.azure.com/a/%2e%2e/x",
        "https://management.azure.com/a/%252e%252e/x",
        "https://management.azure.com/a%2f..%2fx",
        "https://management.azure.com//evil.example/x",
        "https://management.azure.com./x",
        "ftp://management.azure.com/x",
        "javascript:alert(1)",
        "x",
        "",
        None,
        7,
        "https://manag\u0435ment.azure.com/x",
        "/" + "x" * 20000,
    ],
)
def test_links_that_lead_elsewhere_or_nowhere_plain_are_not_followed(url: object) -> None:
    with pytest.raises(ProtocolError):
        wire.same_origin_path(url, BASE)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["0", "3"], ["0", "3"]),
        ([3, "0", 3], ["3", "0"]),
        ('["5", "6"]', ["5", "6"]),
        (("vm_1a",), ["vm_1a"]),
        (iter("12"), ["1", "2"]),
    ],
)
def test_instance_ids_become_unique_strings_in_order(given: object, wanted: list[str]) -> None:
    assert wire.instance_ids(given) == wanted


@pytest.mark.parametrize(
    "given",
    [
        [],
        "",
        "3",
        "*",
        ["*"],
        ["1", "*"],
        None,
        3,
        b"12",
        {"1": 2},
        [None],
        [True],
        ['"'],
        ["1/2"],
        ["../1"],
        '["*"]',
        '{"a":1}',
        [[]],
    ],
)
def test_instance_ids_that_could_mean_something_else_are_refused(given: object) -> None:
    with pytest.raises(InvalidInput):
        wire.instance_ids(given)


def test_all_instances_must_be_asked_for_in_so_many_words() -> None:
    assert wire.instance_ids(None, all_instances=True) == ["*"] == wire.instance_ids(["*"], all_instances=True)
    with pytest.raises(InvalidInput):
        wire.instance_ids(["1"], all_instances=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "17"}, 17),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "7.5"}, 7.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "5, 9"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"x-ms-retry-after-ms": "50"}, 0.05),
        ({"retry-after": "1", "retry-after-ms": "50"}, 1),
    ],
)
def test_retry_after_is_read_as_seconds_or_not_at_all(headers: dict[str, str], seconds: float | None) -> None:
    assert wire.retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Succeeded", "Succeeded"),
        (" succeeded ", "Succeeded"),
        ("FAILED", "Failed"),
        ("Cancelled", "Canceled"),
        ("Canceled", "Canceled"),
        ("Updating", "InProgress"),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_operation_states_are_read_case_blind_and_in_both_spellings(status: object, state: str | None) -> None:
    assert wire.operation_state({"status": status}) == state


def test_a_resource_without_provisioning_state_is_done() -> None:
    assert wire.provisioning_state({"properties": {}}) == wire.provisioning_state(None) == "Succeeded"


LINK, POLL = f"{BASE}/operations/1?m=true", f"{BASE}/operations/1"


@pytest.mark.parametrize(
    ("method", "status", "headers", "body", "kind"),
    [
        ("POST", 202, {"azure-asyncoperation": POLL, "location": LINK}, None, "status"),
        ("POST", 202, {"location": LINK}, None, "location"),
        ("POST", 202, {}, None, "resource"),
        ("POST", 200, {}, None, "none"),
        ("PUT", 200, {}, {"properties": {"provisioningState": "Succeeded"}}, "none"),
        ("PUT", 201, {}, {"properties": {"provisioningState": "Creating"}}, "resource"),
        ("PUT", 200, {"azure-asyncoperation": POLL}, {"properties": {"provisioningState": "Updating"}}, "status"),
        ("PUT", 200, {"location": LINK}, {"properties": {"provisioningState": "Updating"}}, "resource"),
        ("DELETE", 204, {}, None, "none"),
    ],
)
def test_the_monitor_is_chosen_as_arm_says(
    method: str, status: int, headers: dict[str, str], body: object, kind: str
) -> None:
    assert wire.monitor(method, "/it", status, headers, body, BASE).kind == kind


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error":{"code":"C","message":"M"}}', "C", "M"),
        (b'{"code":"C","message":"M","details":null}', "C", "M"),
        (b'{"Message":"M"}', "", "M"),
        (b'{"error":"M"}', "", "M"),
        (b'{"error":{"code":"C","message":{"lang":"en","value":"M"}}}', "C", "M"),
        (b'"x"', "", "x"),
        (b"[]", "", "HTTP 400 without a message"),
        (b"null", "", "HTTP 400 without a message"),
        (b"", "", "HTTP 400 without a message"),
        (b"3", "", "HTTP 400 without a message"),
    ],
)
def test_errors_are_decoded_from_every_form_of_body(body: bytes, code: str, message: str) -> None:
    error = wire.decode_error(400, {"x-ms-request-id": "r"}, body)
    assert (error.code, error.message, error.request_id, error.status) == (code, message, "r", 400)


def test_an_error_page_in_html_is_named_as_such() -> None:
    error = wire.decode_error(502, {"content-type": "text/html"}, b"<html>\x1b[31mBad gateway")
    assert "text/html" in str(error)
    assert "\x1b" not in str(error)


THROTTLED = {
    "code": "OperationNotAllowed",
    "message": "The server rejected the request because too many requests have been received for this subscription.",
    "details": [
        {
            "code": "TooManyRequests",
            "target": "HighCostGetVMScaleSet3Min",
            "message": json.dumps({"operationGroup": "x", "allowedRequestCount": 280, "measuredRequestCount": 937}),
        }
    ],
}


@pytest.mark.parametrize("body", [THROTTLED, {"error": THROTTLED}])
def test_computes_own_429_names_the_policy_and_the_counts(body: dict[str, object]) -> None:
    error = wire.decode_error(429, {"retry-after": "120"}, json.dumps(body).encode())
    assert isinstance(error, errors.ThrottledError)
    assert (error.policy, error.allowed, error.measured) == ("HighCostGetVMScaleSet3Min", 280, 937)
    assert error.retry_after == 120


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "ExpiredAuthenticationToken", errors.AuthError),
        (403, "AuthorizationFailed", errors.ForbiddenError),
        (404, "ResourceNotFound", errors.NotFoundError),
        (409, "OperationNotAllowed", errors.ConflictError),
        (409, "Conflict", errors.BusyError),
        (409, "AnotherOperationInProgress", errors.BusyError),
        (412, "PreconditionFailed", errors.ConcurrencyError),
        (429, "OperationNotAllowed", errors.ThrottledError),
        (429, "RetryableErrorDueToAnotherOperation", errors.BusyError),
        (500, "InternalServerError", errors.ArmError),
    ],
)
def test_each_meaning_has_its_class(status: int, code: str, kind: type[errors.ArmError]) -> None:
    assert wire.error_kind(status, code, []) is kind


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":1e999',
        b'{"a":1,"a":2}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b"[" * 200_000,
        b"9" * 5000,
    ],
)
def test_bodies_that_cannot_be_read_without_loss_are_protocol_errors(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        wire.decode_json(body, {"content-type": "application/json"})
    assert len(str(caught.value)) < 500
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_byte_order_mark_and_every_letter_survive() -> None:
    text = '{"tags": {"é": "🦀"}}'
    assert wire.decode_json(b"\xef\xbb\xbf" + text.encode(), {}) == {"tags": {"é": "🦀"}}
    assert wire.decode_json(wire.encode_json({"é": "🦀"}), {}) == {"é": "🦀"}


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}, {"a": object()}])
def test_bodies_that_are_not_json_are_refused(body: object) -> None:
    with pytest.raises(InvalidInput):
        wire.encode_json(body)


def test_remaining_requests_are_read_per_bucket() -> None:
    header = (
        "Microsoft.Compute/GetVMScaleSetSubscriptionMaximum;2393, Microsoft.Compute/GetVMScaleSetResource;0,junk,x;y"
    )
    assert wire.remaining_requests({"x-ms-ratelimit-remaining-resource": header}) == {
        "GetVMScaleSetSubscriptionMaximum": 2393,
        "GetVMScaleSetResource": 0,
    }


def test_claims_are_read_with_and_without_padding_and_garbage_is_none() -> None:
    claims = '{"access_token":{"nbf":{"essential":true}}}'
    encoded = base64.urlsafe_b64encode(claims.encode()).decode()
    for form in (encoded, encoded.rstrip("=")):
        header = f'Bearer realm="", error="insufficient_claims", claims="{form}"'
        assert wire.claims_challenge({"www-authenticate": header}) == claims
    for bad in ('claims="!!"', 'error="insufficient_claims", claims="AAAA"', ""):
        assert wire.claims_challenge({"www-authenticate": bad}) is None


def test_a_page_may_be_empty_and_still_have_a_next_one() -> None:
    assert wire.parse_page({"value": [], "nextLink": f"{BASE}/x?$skiptoken=1"}, BASE) == ([], "/x?$skiptoken=1")
    assert wire.parse_page({"value": [{"a": 1}]}, BASE) == ([{"a": 1}], None)
    for bad in (None, [], {}, {"value": {}}, {"value": [1]}, {"value": [{}, None]}, {"value": [], "nextLink": 0}):
        with pytest.raises(ProtocolError):
            wire.parse_page(bad, BASE)


def test_preempted_operations_are_superseded_not_failed() -> None:
    document = {"error": {"code": "OperationPreempted", "message": "…"}}
    assert isinstance(wire.operation_error("Canceled", document), errors.OperationSuperseded)


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2024-08-26T08:35:06.0607564+00:00", "2024-08-26T08:35:36.0607564+00:00", 30.0),
        ("2020-03-20T23:27:56.1573006-07:00", "2020-03-21T06:28:56.1573006Z", 60.0),
        ("2024-08-26T08:35:06+00:00", "2024-08-26T08:35:06.5+00:00", 0.5),
        ("2024-08-26T08:35:06+00:00", "2024-08-26T08:35:01+00:00", 0.0),
        ("yesterday", "2024-08-26T08:35:06+00:00", None),
        (None, 7, None),
        ("2024-13-99T08:35:06+00:00", "2024-08-26T08:35:06+00:00", None),
    ],
)
def test_how_long_an_operation_took_by_azures_own_clock(start: object, end: object, seconds: float | None) -> None:
    found = wire.operation_seconds({"startTime": start, "endTime": end})
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-5))
    assert wire.operation_seconds(None) is None
