"""A process that forks: whatever the parent did with an Arm, the child has connections and locks of its own."""

import contextlib
import json
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite import arm as arm_module
from azurerm_lite._common import forks
from azurerm_lite._http.retry import Retry
from azurerm_lite.auth.credential import Credential
from azurerm_lite.auth.tokens import Token
from azurerm_lite.clouds import custom_cloud
from azurerm_lite.emulator import Seed, serve

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
SCOPE = "https://management.azure.com/.default"
SECONDS = 240  # in which a child must answer; one that waits for a lock of the parent never does


def in_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin `work` in a forked child; what is returned waits for its result. It leaves by os._exit, without pytest."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(reading)
            try:
                result: Any = work()
            except BaseException as error:
                result = f"{type(error).__name__}: {error}"
            os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)

    def result_of() -> Any:
        ready, _, _ = select.select([reading], [], [], SECONDS)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(reading, "rb") as file:
            data = file.read()
        os.waitpid(pid, 0)
        assert ready, "the child waits for ever"
        return json.loads(data)

    return result_of


@pytest.fixture
def busy() -> Iterator[Any]:
    """An emulator in real time with sets of many names: the name in a response says to whom it belongs."""
    with serve(time_scale=1) as emulator:
        for name in [*(f"parent-{n}" for n in range(4)), *(f"child-{n}" for n in range(8))]:
            emulator.add(Seed.build(name, capacity=1))
        yield emulator


class Plain:
    """A resource manager without TLS, in whose responses a mix-up of two processes cannot be noticed by TLS."""

    subscription_id, resource_group = "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "web-rg"

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version, wbufsize = "HTTP/1.1", -1

            def do_GET(self) -> None:
                body = json.dumps({"name": self.path.partition("?")[0].rpartition("/")[2]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(params=["TLS", "plain"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Any, az.Arm]]:
    """A server, and an Arm to it that does not try again: a connection that broke is an error."""
    once = Retry(attempts=1)
    if request.param == "TLS":
        emulator = request.getfixturevalue("busy")
        with az.connect(env=emulator.env(), retry=once) as arm:
            yield emulator, arm
        return
    plain = Plain()
    with az.Arm("a.b.c", cloud=custom_cloud(plain.base, plain.base), retry=once) as arm:
        yield plain, arm
    plain.server.shutdown()
    plain.server.server_close()


def names_read(arm: az.Arm, emulator: Any, prefix: str, count: int) -> list[str]:
    """What was wrong in so many GETs: other names, or errors."""
    wrong = []
    for number in range(count):
        name = f"{prefix}-{number % 4}"
        try:
            got = az.get_vmss(arm, emulator.subscription_id, emulator.resource_group, name)["name"]
        except az.AzurermLiteError as error:
            got = f"{type(error).__name__}: {error}"
        wrong += [got] if got != name else []
    return wrong


def in_threads(work: Callable[[int], list[str]], count: int) -> list[str]:
    wrong: list[str] = []
    threads = [threading.Thread(target=lambda n=n: wrong.extend(work(n))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_600_gets_over_one_arm_in_two_processes_are_answered_to_whoever_asked(place: tuple[Any, az.Arm]) -> None:
    server, arm = place
    assert names_read(arm, server, "parent", 4) == []
    result_of = in_child(lambda: names_read(arm, server, "child", 300))
    assert names_read(arm, server, "parent", 300) == []
    assert result_of() == []


def test_threads_before_and_after_the_fork_are_answered_too(place: tuple[Any, az.Arm]) -> None:
    """Four threads keep the pool busy while the process forks; the child has four threads of its own."""
    server, arm = place
    began = threading.Barrier(5)

    def ask(_number: int) -> list[str]:
        wrong = names_read(arm, server, "parent", 4)
        began.wait(30)
        return wrong + names_read(arm, server, "parent", 60)

    wrong: list[str] = []
    asking = threading.Thread(target=lambda: wrong.extend(in_threads(ask, 4)))
    asking.start()
    began.wait(30)
    results = [in_child(lambda: in_threads(lambda _n: names_read(arm, server, "child", 20), 4)) for _ in range(2)]
    assert [result_of() for result_of in results] == [[], []]
    asking.join()
    assert wrong == []
    assert names_read(arm, server, "parent", 8) == []


def test_a_child_of_a_child_has_connections_of_its_own(busy: Any) -> None:
    with az.connect(env=busy.env()) as arm:
        names_read(arm, busy, "parent", 1)

        def work() -> list[str]:
            wrong = names_read(arm, busy, "child", 4)
            result_of = in_child(lambda: names_read(arm, busy, "parent", 40))
            return wrong + names_read(arm, busy, "child", 40) + result_of()

        result_of = in_child(work)
        assert names_read(arm, busy, "parent", 40) == []
        assert result_of() == []


def test_calls_with_a_bare_token_share_a_pool_that_a_fork_does_not_share(
    busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in busy.env().items():
        monkeypatch.setenv(name, value)
    arm_module._shared_transport.cache_clear()
    with az.connect(env=busy.env()) as arm:
        token = arm.credential.get_token(arm.cloud.scope).token
    names_read(token, busy, "parent", 4)  # type: ignore[arg-type]
    result_of = in_child(lambda: names_read(token, busy, "child", 100))  # type: ignore[arg-type]
    assert names_read(token, busy, "parent", 100) == []  # type: ignore[arg-type]
    assert result_of() == []
    arm_module._shared_transport.cache_clear()


def test_closing_in_the_child_leaves_the_parent_its_connections(busy: Any) -> None:
    with az.connect(env=busy.env()) as arm:
        names_read(arm, busy, "parent", 4)
        assert in_child(lambda: arm.close() or "closed")() == "closed"
        assert names_read(arm, busy, "parent", 4) == []


def test_a_fork_while_a_thread_gets_a_token_leaves_no_lock_behind() -> None:
    asked, go_on = threading.Event(), threading.Event()
    in_parent = os.getpid()

    def acquire(_scope: str, _claims: str | None) -> Token:
        if os.getpid() == in_parent:
            asked.set()
            go_on.wait(SECONDS)
        return Token(f"token-of-the-{'parent' if os.getpid() == in_parent else 'child'}", 2**40)

    credential = Credential("test", acquire)
    thread = threading.Thread(target=credential.get_token, args=(SCOPE,))
    thread.start()
    assert asked.wait(SECONDS)
    result_of = in_child(lambda: credential.get_token(SCOPE).token)
    assert result_of() == "token-of-the-child"
    go_on.set()
    thread.join()
    assert credential.get_token(SCOPE).token == "token-of-the-parent"


def test_a_fork_while_a_thread_waits_for_a_response_leaves_no_lock_behind(busy: Any) -> None:
    """The thread holds a connection of the pool, and the queue of idle ones is used at the same time."""
    with az.connect(env=busy.env()) as arm:
        names_read(arm, busy, "parent", 1)
        busy.faults.next("GET", "/parent-3", delay=1.0)
        thread = threading.Thread(target=names_read, args=(arm, busy, "parent", 4))
        thread.start()
        pool = arm._transport()._adapter._pool.pool
        with pool.mutex:  # as a thread may hold it at the moment of the fork
            result_of = in_child(lambda: names_read(arm, busy, "child", 8))
        assert result_of() == []
        thread.join()


def test_a_fork_waits_for_an_import_and_not_for_a_login() -> None:
    """What is half imported would stay locked in the child for ever."""
    begun, finish, forked = threading.Event(), threading.Event(), threading.Event()

    def imports() -> None:
        with forks.importing:
            begun.set()
            finish.wait(SECONDS)

    thread = threading.Thread(target=imports)
    thread.start()
    begun.wait(SECONDS)

    def fork() -> None:
        assert in_child(lambda: forks.importing.acquire(timeout=5))() is True
        forked.set()

    forking = threading.Thread(target=fork)
    forking.start()
    assert not forked.wait(0.2)
    finish.set()
    assert forked.wait(SECONDS)
    thread.join()
    forking.join()


def test_an_emulator_in_the_same_process_and_what_was_thrown_away_are_no_trouble(arm: az.Arm, web: az.ScaleSet) -> None:
    del arm
    gone = Credential("gone", lambda *_: Token("x", 2**40))
    del gone
    assert in_child(lambda: "alive")() == "alive"
