"""Every wrong response to every kind of call: which error it is, and how often anything was sent.

A read of a wrong response is a ProtocolError, and is not repeated. A write may have happened: the resource, or the
instances, are looked at, and what they do not show is an OutcomeUnknown. A status that cannot be read says nothing of
the operation: it is read some times more, then the resource is looked at, and then the outcome is unknown.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import azurerm_lite as az
from azurerm_lite.errors import UnclearResponse

from .small_arm import MODEL, OPERATION, WEB, SmallArm, reply

CLOSE = b"Content-Type: application/json\r\nConnection: close\r\n"


def body(data: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n".encode() + CLOSE + b"\r\n" + data


def raw(head: bytes, data: bytes = b"{}", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + head + CLOSE + b"\r\n" + data


LONG = b'"x":[' + b",".join([b"1"] * 150_000) + b"]"
# What nothing can be made of, whatever was asked.
UNREADABLE = {
    "101": raw(b"Upgrade: h2c\r\n", b"", b"101 Switching Protocols"),
    "interim responses without an end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40,
    "redirect": raw(b"Location: https://localhost:1/x\r\nContent-Length: 2\r\n", status=b"302 Found"),
    "304": raw(b"", b"", b"304 Not Modified"),
    "399": body(b"{}", "399 Odd"),
    "HTML": body(b"<html>Please log in</html>"),
    "not UTF-8": body(b'{"id":"\xff"}'),
    "UTF-16": body('{"id":"x"}'.encode("utf-16")),
    "half a character": body(b'{"id":"\\ud800"}'),
    "a key twice": body(b'{"id":"a","id":"b"}'),
    "a key twice in 300 KB": body(b'{"id":"a",' + LONG + b',"id":"b"}'),
    "deep": body(b"[" * 100_000),
    "deep and whole": body(b'{"id":' * 3000 + b"1" + b"}" * 3000),
    "deep, without a length": raw(b"", b"[" * 100_000),
    "a number without an end": body(b'{"id":"x","properties":{"a":1e999}}'),
    "an integer without an end": body(b'{"id":"x","properties":{"a":%s}}' % str(10**400).encode()),
    "NaN": body(b'{"id":"x","properties":{"a":NaN}}'),
    "two values": body(b"{} {}"),
    "a length with a sign": raw(b"Content-Length: +2\r\n"),
    "a length with an underscore": raw(b"Content-Length: 0_2\r\n"),
    "two lengths": raw(b"Content-Length: 2\r\nContent-Length: 3\r\n"),
    "a list of lengths": raw(b"Content-Length: 2, 3\r\n"),
    "an encoding nobody knows": raw(b"Transfer-Encoding: gzip, chunked\r\n"),
    "a chunk with a sign": raw(b"Transfer-Encoding: chunked\r\n", b"+2\r\n{}\r\n0\r\n\r\n"),
}
# JSON, but not what was asked for.
NO_OBJECT = {
    "nothing": body(b""),
    "204": raw(b"", b"", b"204 No Content"),
    "null": body(b"null"),
    "a list": body(b"[]"),
    "a list of a number": body(b"[5]"),
    "a text": body(b'"x"'),
    "a number": body(b"5"),
    "true": body(b"true"),
    "properties that are a list": body(b'{"id":"/x","properties":[]}'),
    "properties that are null": body(b'{"id":"/x","properties":null}'),
}
NO_RESOURCE = {
    "an empty object": body(b"{}"),
    "an id that is a number": body(b'{"id":5,"properties":{}}'),
    "an error with 200": body(b'{"error":{"code":"Conflict","message":"no"}}'),
}
NO_LIST = {
    "a value that is an object": body(b'{"value":{}}'),
    "a list that holds a number": body(b'{"value":[{"id":"/x"},1]}'),
    "a list that holds null": body(b'{"value":[null]}'),
    "a list that holds a list": body(b'{"value":[[]]}'),
    "an item whose properties are a number": body(b'{"value":[{},{"properties":5}]}'),
    "a link that is a number": body(b'{"value":[],"nextLink":0}'),
    "a link to a port that cannot be": body(b'{"value":[],"nextLink":"https://localhost:99999/x"}'),
    "a link to a host that cannot be": body(b'{"value":[],"nextLink":"https://[:::]/x"}'),
    "a link with a blank": body(b'{"value":[],"nextLink":"https://localhost/a b"}'),
    "a foreign link": body(b'{"value":[],"nextLink":"https://example.com/x"}'),
}
# What may pass: a read is repeated, a write is not.
PASSING = {
    "cut": raw(b"Content-Length: 99\r\n"),
    "a chunk that is cut": raw(b"Transfer-Encoding: chunked\r\n", b"7\r\n{"),
    "600": body(b"{}", "600 Odd"),
}


class Call(NamedTuple):
    """A kind of call: what it is, and to which request of it the wrong response comes."""

    run: Callable[[az.Arm], Any]
    method: str
    path: str
    rows: dict[str, bytes]


IMAGE = (WEB.subscription_id, "westus2", "Canonical", "ubuntu", "server")
OBJECT = UNREADABLE | NO_OBJECT
LIST = OBJECT | NO_LIST | {"an object without a list": body(b"{}")}
RESOURCE = OBJECT | NO_RESOURCE
ACTION = {name: wrong for name, wrong in OBJECT.items() if name not in ("nothing", "204", "null")}
CHANGE = {"tags": {"a": "new"}}
WHOLE = {**MODEL, **CHANGE}

READS = {
    "get": Call(lambda arm: az.get_vmss(arm, *WEB), "GET", "/web?", OBJECT),
    "list, page 1": Call(lambda arm: az.list_vmss_vms(arm, *WEB), "GET", "/virtualMachines?", LIST),
    "list, page 2": Call(lambda arm: az.list_vmss_vms(arm, *WEB), "GET", "page=2", LIST),
    "bare list": Call(
        lambda arm: az.list_image_versions(arm, *IMAGE),
        "GET",
        "/versions",
        UNREADABLE | {name: wrong for name, wrong in (NO_OBJECT | NO_RESOURCE).items() if name != "a list"},
    ),
}
WRITES = {
    "put": Call(lambda arm: az.put_vmss(arm, *WEB, WHOLE), "PUT", "/web?", RESOURCE),
    "patch": Call(lambda arm: az.patch_vmss(arm, *WEB, CHANGE), "PATCH", "/web?", RESOURCE),
    "upgrade": Call(lambda arm: az.manual_upgrade_instances(arm, *WEB, ["0"]), "POST", "/manualupgrade", ACTION),
    "restart": Call(lambda arm: az.restart_vmss_vms(arm, *WEB, ["0"]), "POST", "/restart", ACTION),
    "delete": Call(lambda arm: az.delete_vmss(arm, *WEB), "DELETE", "/web?", ACTION),
    "action at once": Call(
        lambda arm: az.convert_vmss_to_single_placement_group(arm, *WEB), "POST", "/convertTo", ACTION
    ),
    "action with a result": Call(
        lambda arm: az.retrieve_boot_diagnostics_vmss_vm(arm, *WEB, "0"), "POST", "/retrieveBoot", OBJECT
    ),
}
POLLS = {
    "status of an action": Call(
        lambda arm: az.restart_vmss_vms(arm, *WEB, ["0"]).wait(900), "GET", "/operations/", OBJECT | NO_RESOURCE
    ),
    "status of a write": Call(
        lambda arm: az.patch_vmss(arm, *WEB, CHANGE).wait(900), "GET", "/operations/", OBJECT | NO_RESOURCE
    ),
    "resource at the end": Call(lambda arm: az.put_vmss(arm, *WEB, WHOLE).wait(900), "GET", "/web?", RESOURCE),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallArm]:
    running = SmallArm(tmp_path_factory.mktemp("small-arm"))
    yield running
    running.close()


@pytest.fixture
def arm(server: SmallArm) -> Iterator[az.Arm]:
    with server.arm() as connected:
        yield connected


def table(calls: dict[str, Call], rows: dict[str, bytes] | None = None) -> list[Any]:
    return [
        pytest.param(call, wrong, id=f"{name}: {row}")
        for name, call in calls.items()
        for row, wrong in (call.rows if rows is None else rows).items()
    ]


def misbehave(server: SmallArm, call: Call, wrong: bytes) -> None:
    """Have the server answer the requests of a call with these bytes, and all others as ARM does."""
    server.reset(lambda method, path, _: wrong if method == call.method and call.path in path else None)


@pytest.mark.parametrize(("call", "wrong"), table(READS))
def test_a_read_of_a_wrong_response_is_a_protocol_error(
    server: SmallArm, arm: az.Arm, call: Call, wrong: bytes
) -> None:
    misbehave(server, call, wrong)
    with pytest.raises(az.ProtocolError):
        call.run(arm)
    assert server.counts("GET", call.path) == 1


@pytest.mark.parametrize(("call", "wrong"), table(WRITES))
def test_a_write_with_a_wrong_response_is_an_unknown_outcome_after_a_look(
    server: SmallArm, arm: az.Arm, call: Call, wrong: bytes
) -> None:
    misbehave(server, call, wrong)
    with pytest.raises(UnclearResponse):
        call.run(arm)
    sent = [index for index, (method, _) in enumerate(server.requests) if method != "GET"]
    if call.method in ("PUT", "PATCH"):
        assert [method for method, _ in server.requests] == [call.method, "GET"]
    elif call is WRITES["upgrade"]:  # looked for twice in the instances, where it does not show, and sent once more
        looks = [path for _, path in server.requests[sent[0] + 1 : sent[1]] if "/virtualMachines?" in path]
        assert (len(sent), len(looks)) == (2, 4)
    else:
        assert len(server.requests) == 1


@pytest.mark.parametrize(("call", "wrong"), table({name: WRITES[name] for name in ("put", "patch")}))
def test_a_write_that_the_resource_shows_has_happened(server: SmallArm, arm: az.Arm, call: Call, wrong: bytes) -> None:
    misbehave(server, call, wrong)
    server.model = WHOLE
    operation = call.run(arm)
    assert (operation.status, operation.resource) == ("Succeeded", WHOLE)
    assert server.counts(call.method) == 1


@pytest.mark.parametrize(("call", "wrong"), table({"upgrade": WRITES["upgrade"]}))
def test_an_upgrade_that_the_instances_show_has_happened(
    server: SmallArm, arm: az.Arm, call: Call, wrong: bytes
) -> None:
    misbehave(server, call, wrong)
    server.latest = True
    assert call.run(arm).wait().status == "Succeeded"
    assert server.counts("POST") == 1


@pytest.mark.parametrize(("call", "wrong"), table(POLLS))
def test_an_operation_that_cannot_be_read_is_neither_succeeded_nor_failed(
    server: SmallArm, arm: az.Arm, call: Call, wrong: bytes
) -> None:
    misbehave(server, call, wrong)
    if call is POLLS["status of a write"]:  # which its resource settles
        assert call.run(arm).resource == MODEL
    else:
        with pytest.raises(az.OutcomeUnknown, match="may have ended"):
            call.run(arm)
    assert 6 <= server.counts("GET", call.path) <= 12
    assert sum(method != "GET" for method, _ in server.requests) == 1


@pytest.mark.parametrize(("call", "wrong"), table(READS | POLLS, PASSING))
def test_a_read_that_may_pass_is_repeated(server: SmallArm, arm: az.Arm, call: Call, wrong: bytes) -> None:
    misbehave(server, call, wrong)
    if call is POLLS["status of a write"]:
        assert call.run(arm).resource == MODEL
        return
    with pytest.raises((az.TransportError, az.ArmError, az.OperationTimeout)) as caught:
        call.run(arm)
    assert not isinstance(caught.value, az.ProtocolError)
    assert server.counts("GET", call.path) >= 3
    assert sum(method != "GET" for method, _ in server.requests) <= 1


@pytest.mark.parametrize(("call", "wrong"), table(WRITES, PASSING))
def test_a_write_whose_response_is_lost_is_an_unknown_outcome_after_a_look(
    server: SmallArm, arm: az.Arm, call: Call, wrong: bytes
) -> None:
    misbehave(server, call, wrong)
    with pytest.raises(az.OutcomeUnknown) as caught:
        call.run(arm)
    assert not isinstance(caught.value, az.ProtocolError)
    assert server.counts(call.method) == (2 if call is WRITES["upgrade"] else 1)


# --- interim responses -----------------------------------------------------------------------------------------------

INTERIM = [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Odd"]
REFUSED = reply({"error": {"code": "QuotaExceeded", "message": "no"}}, "409 Conflict")


@pytest.mark.parametrize("interim", INTERIM)
@pytest.mark.parametrize("call", [*READS.values(), *WRITES.values()], ids=[*READS, *WRITES])
def test_interim_responses_are_passed_over(server: SmallArm, arm: az.Arm, call: Call, interim: bytes) -> None:
    before = b"HTTP/1.1 " + interim + b"\r\nLink: </x>; rel=preload\r\n\r\n"
    server.reset(lambda *request: before * 3 + server._right(*request[:2]))
    call.run(arm)
    server.reset(lambda *_: before + REFUSED)
    with pytest.raises(az.ConflictError, match="QuotaExceeded"):
        call.run(arm)
    assert len(server.requests) == 1


# --- links -----------------------------------------------------------------------------------------------------------

UNUSABLE = {
    "https://localhost:99999/x": "port '99999', which cannot be",
    "https://localhost:0/x": "port '0', which cannot be",
    "https://localhost:/x": "port '', which cannot be",
    "https://[:::]/x": r"host '\[:::\]', which cannot be",
    "https://[::1/x": "which cannot be",
    "https:///x": "names no host",
    "{base}/a b": "has a blank",
    "{base}/caf\xe9": "has letters outside ASCII",
    "{base}/a|b": "which no address may",
    "{base}/a/../b": "does not stay put",
    "nonsense": "no address of the form",
}
LINKS = [pytest.param(link, why, id=link) for link, why in UNUSABLE.items()]


def link_headers(kind: str, link: str) -> bytes:
    return f"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n{kind}: {link}\r\n\r\n".encode("latin-1")


@pytest.mark.parametrize("kind", ["Azure-AsyncOperation", "Location"])
@pytest.mark.parametrize(("link", "why"), LINKS)
def test_an_accepted_upgrade_with_a_link_that_cannot_be_followed_is_watched_in_its_instances(
    server: SmallArm, arm: az.Arm, caplog: pytest.LogCaptureFixture, kind: str, link: str, why: str
) -> None:
    server.reset(lambda method, _, base: link_headers(kind, link.format(base=base)) if method == "POST" else None)
    operation = az.manual_upgrade_instances(arm, *WEB, ["0"])
    assert operation.poll() == "InProgress"
    server.latest = True
    assert operation.wait().status == "Succeeded"
    assert server.counts("POST") == 1
    assert "watched elsewhere" in caplog.text


@pytest.mark.parametrize("kind", ["Azure-AsyncOperation", "Location"])
@pytest.mark.parametrize(("link", "why"), LINKS)
def test_an_accepted_action_with_such_a_link_says_what_is_wrong_with_it(
    server: SmallArm, arm: az.Arm, kind: str, link: str, why: str
) -> None:
    server.reset(lambda method, _, base: link_headers(kind, link.format(base=base)) if method == "POST" else None)
    with pytest.raises(UnclearResponse, match=why) as caught:
        az.restart_vmss_vms(arm, *WEB, ["0"])
    assert "is not on" not in str(caught.value)
    assert server.requests == [server.requests[0]]


@pytest.mark.parametrize(("link", "why"), LINKS)
def test_an_accepted_deletion_with_such_a_link_is_watched_in_its_resource(
    server: SmallArm, arm: az.Arm, link: str, why: str
) -> None:
    gone = reply({"error": {"code": "ResourceNotFound", "message": "gone"}}, "404 Not Found")

    def wrong(method: str, _: str, base: str) -> bytes | None:
        if method == "DELETE":
            return link_headers("Location", link.format(base=base))
        return gone if len(server.requests) > 3 else None

    server.reset(wrong)
    assert az.delete_vmss(arm, *WEB).wait().status == "Succeeded"
    assert [method for method, _ in server.requests] == ["DELETE", "GET", "GET", "GET"]


@pytest.mark.parametrize(("link", "why"), LINKS)
def test_a_write_with_such_a_link_is_looked_for_in_the_resource(
    server: SmallArm, arm: az.Arm, link: str, why: str
) -> None:
    def wrong(method: str, _: str, base: str) -> bytes | None:
        head = link_headers("Azure-AsyncOperation", link.format(base=base))
        return head if method == "PATCH" else None

    server.reset(wrong)
    with pytest.raises(UnclearResponse, match=why):
        az.patch_vmss(arm, *WEB, CHANGE)
    server.model = WHOLE
    assert az.patch_vmss(arm, *WEB, CHANGE).status == "Succeeded"


@pytest.mark.parametrize(("link", "why"), LINKS)
def test_a_poll_whose_location_cannot_be_followed_counts_as_unread(
    server: SmallArm, arm: az.Arm, link: str, why: str
) -> None:
    def wrong(method: str, path: str, base: str) -> bytes | None:
        if method == "POST":
            return link_headers("Location", f"{base}{OPERATION}")
        return link_headers("Location", link.format(base=base)) if OPERATION in path else None

    server.reset(wrong)
    with pytest.raises(az.OutcomeUnknown, match=why):
        az.restart_vmss_vms(arm, *WEB, ["0"]).wait()
    assert server.counts("POST") == 1


# --- pace ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [{"x_ms_retry_after_ms": "1"}, {"Retry_After": "0"}, {"retry_after_ms": "0.001"}])
def test_a_server_cannot_make_us_poll_more_than_once_a_second(server: SmallArm, header: dict[str, str]) -> None:
    server.reset(
        lambda _, path, base: (
            reply({"status": "InProgress"}, **header)
            if OPERATION in path
            else reply(None, "202 Accepted", Azure_AsyncOperation=f"{base}{OPERATION}", **header)
        )
    )
    with server.arm() as arm, pytest.raises(az.OperationTimeout):
        az.restart_vmss_vms(arm, *WEB, ["0"]).wait(60)
    assert 4 <= server.counts("GET") <= 60


def test_throttles_that_ask_for_no_wait_are_not_repeated_at_once(server: SmallArm) -> None:
    waits: list[float] = []
    throttled = reply({"error": {"code": "TooMany", "message": "no"}}, "429 Too Many", x_ms_retry_after_ms="1")
    server.reset(lambda *_: throttled)
    with server.arm(sleep=waits.append) as arm, pytest.raises(az.ThrottledError, match=r"come back in 0\.001 s"):
        az.get_vmss(arm, *WEB)
    assert len(waits) == 2
    assert min(waits) >= 1.0
