"""What only a rude server does, byte by byte: the transport ends it, names it, and gives nothing away."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite._http.transport import Timeouts
from azurerm_lite.clouds import custom_cloud

PATH = "/subscriptions/x"
# The server hangs up after each answer and says so, or a pooled connection could be used once more before it is seen.
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


Scripted = bytes | None | Callable[[str], bytes]  # an answer, silence, or one that names the server's own address


class Rude:
    """A server of plain bytes: each connection gets the next of `answers`, whatever it asked."""

    def __init__(self, answers: Iterable[Scripted]) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = list[socket.socket]()
        self.hung_up = threading.Semaphore(0)  # once for each connection that it has closed
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._answers = [one(self.base) if callable(one) else one for one in answers]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.asked.append(connection.recv(65536))
            if answer is not None:
                connection.sendall(answer)
                if b"keep" not in answer:
                    connection.close()
                    self.hung_up.release()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes an accept that waits
        self._listener.close()
        for connection in self._open:
            connection.close()
        self._thread.join(timeout=5)


Start = Callable[..., Rude]


@pytest.fixture
def rude() -> Iterator[Start]:
    started: list[Rude] = []

    def start(*answers: Scripted) -> Rude:
        started.append(Rude(answers))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def arm_at(base: str, **options: Any) -> az.Arm:
    options = {"retry": az.Retry(attempts=1), "sleep": lambda _seconds: None, **options}
    return az.Arm("the-token", cloud=custom_cloud(base, "https://login.invalid"), **options)


def sized(body: bytes, length: int | None = None) -> bytes:
    return HEAD + f"Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def test_a_server_that_never_answers_is_given_up_within_the_read_timeout(rude: Start) -> None:
    arm = arm_at(rude(None).base, timeouts=Timeouts(read=0.2))
    with pytest.raises(az.TransportError, match="no answer in time"):
        arm.get(PATH)


def test_the_default_timeouts_are_finite_and_longer_than_arms_own() -> None:
    limits = Timeouts()
    assert 65 <= limits.read <= 120
    assert 0 < limits.connect <= 30
    assert limits.read <= limits.total <= 300


def test_a_body_that_unpacks_to_too_much_is_stopped_at_the_cap(rude: Start) -> None:
    bomb = gzip.compress(bytes(50 * 1024 * 1024))
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: " + str(len(bomb)).encode() + b"\r\n\r\n"
    with pytest.raises(az.ProtocolError, match="sent more than 16777216 bytes"):
        arm_at(rude(head + bomb).base).get(PATH)


CUT = [sized(b'{"a": 1', 99), HEAD + b'Transfer-Encoding: chunked\r\n\r\n7\r\n{"a": 1\r\n', b""]


@pytest.mark.parametrize("answer", CUT)
def test_a_body_that_is_cut_is_asked_for_again(rude: Start, answer: bytes) -> None:
    server = rude(answer, sized(b'{"a": 1}'))
    assert arm_at(server.base, retry=az.Retry()).get(PATH) == {"a": 1}
    assert len(server.asked) == 2


@pytest.mark.parametrize("answer", CUT)
def test_a_write_whose_answer_is_cut_is_an_unknown_outcome(rude: Start, answer: bytes) -> None:
    server = rude(answer, sized(b"{}"))
    with pytest.raises(az.OutcomeUnknown):
        arm_at(server.base, retry=az.Retry()).start("POST", PATH, {"instanceIds": ["0"]})
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"NONSENSE\r\n\r\n",
        HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
        HEAD + b"X-Long: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_ends_in_a_typed_error_and_not_in_endless_tries(rude: Start, answer: bytes) -> None:
    server = rude(answer, answer, answer, answer, answer, answer)
    with pytest.raises(az.TransportError):
        arm_at(server.base, retry=az.Retry()).get(PATH)
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_nobody_else_is_asked(rude: Start, status: int) -> None:
    twin = rude(sized(b"{}"))
    link = twin.base.replace("127.0.0.1", "localhost").encode()
    server = rude(b"HTTP/1.1 %d Go\r\nLocation: %s/x\r\nContent-Length: 0\r\n\r\n" % (status, link))
    with pytest.raises(az.ProtocolError, match="redirect"):
        arm_at(server.base).get(PATH)
    assert twin.asked == []


def test_netrc_and_proxies_of_the_environment_have_no_say(
    rude: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login thief password thief\n")
    proxy = rude(sized(b"{}"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.base)
    server = rude(sized(b"{}"))
    arm_at(server.base).get(PATH)
    assert b"Authorization: Bearer the-token\r\n" in server.asked[0]
    assert proxy.asked == []


def test_cookies_are_not_kept(rude: Start) -> None:
    server = rude(HEAD + b"Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}", sized(b"{}"))
    arm = arm_at(server.base)
    arm.get(PATH)
    arm.get(PATH)
    assert not any(b"cookie" in asked.lower() for asked in server.asked)


def test_nothing_listening_is_tried_again_even_for_a_write_since_nothing_was_sent(rude: Start) -> None:
    server = rude()
    server.stop()
    waits: list[float] = []
    with pytest.raises(az.TransportError, match="cannot reach") as caught:
        arm_at(server.base, retry=az.Retry(), sleep=waits.append).start("POST", PATH, {})
    assert len(waits) == 3
    assert not caught.value.sent


@pytest.mark.parametrize(
    "address",
    [
        "http://example.com",
        "http://127.0.0.1.evil.example",
        "https://user:pw@management.azure.com",
        "https://a/b",
        "https://a?b",
        "https://",
        "ftp://localhost",
        "https://a\\@b",
        "https://a:0",
        "https://a:99999",
    ],
)
def test_an_address_that_a_token_should_not_go_to_is_refused_when_it_is_given(address: str) -> None:
    with pytest.raises(az.InvalidInput):
        custom_cloud(address, "https://login.invalid")
