"""What the editor answers to requests that no page of ours sends: never a 500, and always with the security headers."""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Stand

SET = "/api/sets/web-rg/web"
HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cache-Control")
Answer = tuple[int, dict[str, str], Any]


class Page:
    """A session of the editor without a browser: it holds the cookie and the key, and sends what it is told to."""

    def __init__(self, stand: Stand) -> None:
        self.port = stand.server.server_port
        with urllib.request.urlopen(stand.door.link()) as answer:  # noqa: S310  (loopback)
            cookie = answer.headers["Set-Cookie"].split(";")[0]
            key = re.search(r'key" content="([^"]+)', answer.read().decode())
        assert key is not None
        self.headers = {"Cookie": cookie, "X-Vmsseditor-Key": key[1], "Origin": f"http://127.0.0.1:{self.port}"}

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            sent = {**self.headers, "Content-Type": "application/json", **headers}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, dict(answer.getheaders()), json.loads(text) if text.startswith((b"{", b"[")) else text

    def post(self, path: str, document: Any) -> Answer:
        return self.send("POST", SET + path, json.dumps(document).encode())

    def get(self, path: str) -> Any:
        status, _, document = self.send("GET", SET + path)
        assert status == 200
        return document


@pytest.fixture
def page(stand: Stand) -> Page:
    return Page(stand)


def is_safe(answer: Answer) -> bool:
    return all(answer[1].get(name) for name in HEADERS)


# --- numbers ---------------------------------------------------------------------------------------------------------

ONE = {"version": "latest", "policy": {"instances": ["3"], "batch_size": 1}}
ALL = {"version": "latest", "policy": {"batch_size": 1}}


def test_a_start_begins_the_plan_that_was_shown_or_nothing(stand: Stand, page: Page) -> None:
    shown = page.post("/plan", ONE)[2]
    assert shown["batches"] == [["3"]]
    other = page.post("/plan", ALL)[2]
    for document, status in (
        ({"do": "start"}, 400),
        ({"do": "start", "number": shown["number"]}, 409),
        ({"do": "start", "number": other["number"] + 1}, 409),
        ({"do": "roll back", "number": other["number"]}, 409),
    ):
        answer = page.post("/upgrade", document)
        assert answer[0] == status
        assert "look at" in answer[2]["error"]["text"]
    assert stand.emulator.recorder.writes() == []
    assert page.get("/plan") == other
    newest = page.post("/plan", ONE)[2]
    assert page.post("/upgrade", {"do": "start", "number": newest["number"]})[0] == 200
    assert page.post("/upgrade", {"do": "start", "number": newest["number"]})[0] == 409  # a double click
    finished(stand)
    posts = stand.emulator.recorder.find("POST", "manualupgrade")
    assert [post.body["instanceIds"] for post in posts] == [["3"]]


def until(happens: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < end


def finished(stand: Stand) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith(("upgrade ", "rollback ")):
            thread.join(60)
            assert not thread.is_alive()


def test_pause_resume_and_rollback_reach_the_upgrade_that_was_shown_or_none(stand: Stand, page: Page) -> None:
    slow = {"version": "latest", "policy": {"batch_size": 1, "pause_seconds": 600}}
    number = page.post("/plan", slow)[2]["number"]
    assert page.post("/upgrade", {"do": "start", "number": number})[0] == 200
    first = page.get("/now")["rollout"]["number"]
    assert page.post("/upgrade", {"do": "pause", "number": number})[0] == 409
    assert page.post("/upgrade", {"do": "resume", "number": first})[0] == 409  # it runs
    until(lambda: page.get("/now")["rollout"]["done"] == 1)
    assert page.post("/upgrade", {"do": "pause", "number": first})[0] == 200
    assert page.post("/upgrade", {"do": "pause", "number": first})[0] == 409  # it was asked for
    finished(stand)
    assert page.post("/plan", {"rollback": number})[0] == 409
    back = page.post("/plan", {"rollback": first})
    assert back[0] == 200
    assert back[2]["kind"] == "rollback"
    assert page.post("/upgrade", {"do": "resume", "number": first})[0] == 200
    second = page.get("/now")["rollout"]["number"]
    assert second > first
    for word in ("pause", "resume", "cancel"):
        assert page.post("/upgrade", {"do": word, "number": first})[0] == 409
    # The rollback was planned for what had been upgraded before it was resumed.
    assert page.post("/upgrade", {"do": "roll back", "number": back[2]["number"]})[0] == 409
    assert page.post("/upgrade", {"do": "cancel", "number": second})[0] == 200
    finished(stand)
    touched = {post.body["instanceIds"][0] for post in stand.emulator.recorder.find("POST", "manualupgrade")}
    back = page.post("/plan", {"rollback": second})
    assert {one for batch in back[2]["batches"] for one in batch} == touched
    assert page.post("/upgrade", {"do": "roll back", "number": second})[0] == 409  # not without a plan
    assert page.post("/upgrade", {"do": "roll back", "number": back[2]["number"]})[0] == 200
    finished(stand)
    assert page.get("/now")["rollout"]["outcome"] == "succeeded"


def test_of_two_starts_at_once_one_begins(stand: Stand, page: Page) -> None:
    number = page.post("/plan", ONE)[2]["number"]
    statuses: list[int] = []
    clicks = [
        threading.Thread(target=lambda: statuses.append(page.post("/upgrade", {"do": "start", "number": number})[0]))
        for _ in range(6)
    ]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert sorted(statuses) == [200, *[409] * 5]
    finished(stand)


# --- wrong requests --------------------------------------------------------------------------------------------------

DEEP = b"[" * 50_000
BODIES = [
    *(("/act", body) for body in ({"action": "restart", "ids": 5}, {"action": "restart", "ids": "0"}, {"ids": ["0"]})),
    *(("/act", {"action": "restart", "ids": ids}) for ids in ([], [0], [""], [["0"]], {"0": 1}, None, ["0" * 999])),
    *(("/act", {"action": "restart", "all": whole}) for whole in (1, "yes", None)),
    *(("/act", {"action": action, "ids": ["0"]}) for action in (5, None, [], {}, "explode")),
    *(("/draft", {name: 5}) for name in ("version", "sku", "size", "image_id", "image_uri", "nothing")),
    *(("/draft", {"capacity": value}) for value in ("x", True, None, [], 1.5, -1, 10**6)),
    *(("/write", {"number": value}) for value in (None, "1", True, [], 1.5, -1, 10**300)),
    *(("/plan", {"version": value}) for value in (5, [], {}, True, "x\n", "\x00")),
    *(("/plan", {"policy": value}) for value in (5, "x", [], True, {"nothing": 1})),
    *(("/plan", {"policy": {"checkpoints": value}}) for value in (5, "50", ["a"], [True], {"a": 1}, None)),
    *(("/plan", {"policy": {"instances": value}}) for value in (5, "01", [0], {"0": 1}, [None], [["0"]])),
    *(
        ("/plan", {"policy": {name: "yes"}})
        for name in ("rollback_on_failure", "suspend_repairs", "prioritize_unhealthy_instances")
    ),
    *(
        ("/plan", {"policy": {name: value}})
        for name in ("batch_by", "on_protected")
        for value in (5, None, [], {}, "x")
    ),
    *(("/plan", {"policy": {"batch_size": value}}) for value in ("1", 0, 1.5, True, 10**300)),
    *(("/plan", {"policy": {"bake_seconds": value}}) for value in ("1", -1, True, [], 1e300)),
    *(("/plan", {"rollback": value}) for value in (None, "1", [], True)),
    *(("/upgrade", {"do": word, "number": 1}) for word in (None, 5, "", "explode", ["start"])),
    *(("/upgrade", {"do": "start", "number": value}) for value in (None, "1", True, 0.5)),
]
RAW = [b"", b"{", b"null", b"5", b'"x"', b"[]", DEEP, b'{"a":' * 15_000, b"\xff\xfe", b'{"do":"start","do":"pause"}']
RAW += [b'{"number": NaN}', b'{"number": 1e999}', b'{"number": ' + b"9" * 5000 + b"}", b'{"action": "\\ud800"}']


@pytest.mark.parametrize(("path", "document"), BODIES, ids=[f"{path} {json.dumps(body)[:60]}" for path, body in BODIES])
def test_wrong_json_is_a_400_that_says_why(stand: Stand, page: Page, path: str, document: Any) -> None:
    answer = page.post(path, document)
    assert answer[0] == 400
    assert is_safe(answer)
    assert answer[2]["error"]["text"]
    assert stand.emulator.recorder.writes() == []


@pytest.mark.parametrize("path", ["/act", "/draft", "/write", "/plan", "/upgrade"])
def test_what_is_no_json_object_is_a_400(stand: Stand, page: Page, path: str) -> None:
    for body in RAW:
        answer = page.send("POST", SET + path, body)
        assert answer[0] == 400, body[:40]
        assert is_safe(answer)
    assert page.send("POST", SET + path, b" " * 200_000)[0] == 413
    assert page.send("POST", SET + path, b"zz\r\n", **{"Transfer-Encoding": "chunked"})[0] == 400
    assert stand.emulator.recorder.writes() == []


@pytest.mark.parametrize("after", ["%C2%B2", "9" * 5000, "-1", "x", "", "1e3", "%D9%A1", "0"])
def test_a_strange_line_number_shows_the_whole_log(page: Page, after: str) -> None:
    assert page.get(f"/now?after={after}")["log"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "//api//sets", 404),
        ("GET", "/static/nothing", 404),
        ("GET", "/static/..%2f__init__.py", 404),
        ("GET", f"{SET}/picture?by=nothing", 400),
        ("GET", "/api/sets/web-rg/web%0d%0a/picture", 400),
        ("GET", "/api/sets/..%2f/web/picture", 404),
        ("DELETE", f"{SET}/plan", 405),
        ("PUT", "/api/sets", 405),
        ("BREW", "/", 405),
        ("POST", "/", 405),
    ],
)
def test_refusals_have_the_security_headers(page: Page, method: str, path: str, status: int) -> None:
    answer = page.send(method, path)
    assert answer[0] == status
    assert is_safe(answer)
    assert "Werkzeug" not in answer[1].get("Server", "")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /api/sets/web-rg/web/act HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_the_security_headers(stand: Stand, page: Page, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as client:
        client.sendall(data)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head = answer.partition(b"\r\n\r\n")[0].decode()
    assert head.startswith(("HTTP/1.1 4", "HTTP/1.1 505"))
    assert all(name in head for name in HEADERS)
    assert "nonsense" not in answer.decode()


def test_a_fault_of_the_editor_itself_is_a_500_with_the_security_headers(
    stand: Stand, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.now.folder = None  # what it cannot work with
    answer = page.send("GET", f"{SET}/now")
    assert answer[0] == 500
    assert is_safe(answer)
    assert "Traceback" not in str(answer[2])
    assert "AttributeError" in capsys.readouterr().err  # its terminal says what


# --- journals in the folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"kind":"begin","schema":1}\n',
        b'{"kind":"begin","schema":1,"scale_set":5}\n',
        b'{"kind":"begin","schema":1,"scale_set":null,"version":1}\n{"kind":"end"}\n',
        b"5\n",
        b"null\n",
        b"\xff\xfe\x00\n",
        b"",
    ],
)
def test_a_bad_journal_in_the_folder_breaks_nothing(stand: Stand, page: Page, content: bytes) -> None:
    (stand.folder / "vmsseditor-20990101-000000-1-web.jsonl").write_bytes(content)
    assert page.get("/now")["rollout"] is None


def test_a_fifo_or_folder_named_like_a_journal_holds_nobody(stand: Stand, page: Page) -> None:
    import os

    os.mkfifo(stand.folder / "vmsseditor-20990101-000000-1-web.jsonl")
    (stand.folder / "vmsseditor-20990101-000000-2-web.jsonl").mkdir()
    assert page.get("/now")["rollout"] is None


# --- links, sessions, connections ------------------------------------------------------------------------------------


def test_an_unused_link_ends_after_five_minutes(stand: Stand) -> None:
    old = stand.door.link()
    stand.clock += 299
    fresh = stand.door.link()
    stand.clock += 2
    for link, status in ((old, 403), (fresh, 200)):
        path = link.partition(str(stand.server.server_port))[2]
        assert _status(stand, path) == status


def _status(stand: Stand, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stand.server.server_port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def test_a_session_ends_an_hour_after_its_last_request_and_after_twelve_hours(stand: Stand) -> None:
    idle, busy = Page(stand), Page(stand)
    for _ in range(12):
        stand.clock += 3599
        assert busy.send("GET", "/api/sets")[0] == 200
    assert idle.send("GET", "/api/sets")[0] == 401
    stand.clock += 3599
    answer = busy.send("GET", "/api/sets")
    assert answer[0] == 401
    assert answer[1]["Clear-Site-Data"] == '"storage"'
    assert is_safe(answer)


def test_a_second_link_in_the_same_browser_keeps_the_first_tab(stand: Stand, page: Page) -> None:
    path = stand.door.link().partition(str(page.port))[2]
    status, headers, _ = page.send("GET", path)
    assert status == 200
    assert headers["Set-Cookie"].split(";")[0] == page.headers["Cookie"]
    assert page.send("GET", "/api/sets")[0] == 200


@pytest.fixture
def short(stand: Stand) -> Iterator[int]:
    """The port of an editor that waits a quarter of a second for a request."""
    from vmsseditor import app

    server, _ = app.serve(stand.desk(Path()), silent_seconds=0.25)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_silent_and_dripping_connections_are_dropped(short: int) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", short), 30)) for _ in range(100)]
        for number, client in enumerate(silent):
            if number % 2:
                client.sendall(b"GET / HTTP/1.1\r\nHost: ")
        for client in silent:
            with contextlib.suppress(ConnectionError):
                assert client.recv(1000) == b""
        # One byte at a time does not renew the time that a request has.
        client = stack.enter_context(socket.create_connection(("127.0.0.1", short), 0.05))
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                with contextlib.suppress(TimeoutError):
                    client.sendall(b"G")
                    assert client.recv(1000) == b""
                    break
            else:
                pytest.fail("a dripping request was let in for ten seconds")
    here = [thread for thread in threading.enumerate() if "process_request" in thread.name]
    for thread in here:
        thread.join(10)
    assert not [thread for thread in here if thread.is_alive()]
