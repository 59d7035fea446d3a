"""What every test may use: where the recorded traffic is, and a guard against sleeping and against the Internet."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .openapi_judge import ELSEWHERE, STARTERS, OpenApiJudge

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-comparison", action="store_true", help="write docs/comparison.md anew")
    parser.addoption("--write-images", action="store_true", help="make the pictures of the editor in docs/images anew")


def pytest_configure() -> None:
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if folder and not (Path(folder) / "traffic").is_dir():
        pytest.exit(f"AZURERM_LITE_ARM_DATA names a folder without recorded traffic: {folder}", returncode=2)


@pytest.fixture(scope="session")
def arm_data() -> Path:
    """Recorded Azure traffic, the published OpenAPI and its checker; kept outside the project."""
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        pytest.skip("AZURERM_LITE_ARM_DATA is not set: no recorded Azure traffic at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def journal_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where emulators in processes of their own write down what they were asked and answered, for the judge."""
    return str(tmp_path_factory.mktemp("journal") / "elsewhere.jsonl")


@pytest.fixture(scope="session", autouse=True)
def _every_emulator_was_stopped() -> Iterator[None]:
    """Begun before, and so over after, whatever else a session has."""
    yield
    left = [one.name for one in threading.enumerate() if one.name.startswith("CP Server")]
    assert not left, f"still at work after the last test: {left}"


@pytest.fixture(scope="session", autouse=True)
def openapi_judge(request: pytest.FixtureRequest, journal_file: str) -> Iterator[OpenApiJudge | None]:
    """At the end of the run: every exchange that the OpenAPI covers had to pass it, and there had to be enough."""
    folder = os.environ.get("AZURERM_LITE_ARM_DATA")
    if not folder:
        yield None
        return
    from azurerm_lite.emulator.recorder import Recorder, read

    judge = OpenApiJudge(Path(folder))
    Recorder.listeners.append(judge.hear)
    yield judge
    Recorder.listeners.remove(judge.hear)
    for entry in read(journal_file) if Path(journal_file).exists() else ():
        judge.hear(entry, ELSEWHERE)
    _JUDGES.append(judge.to_dict())
    _FILES.update(item.nodeid.partition("::")[0] for item in request.session.items)


# What judges of this process and of its workers heard, and the files that they collected.
_JUDGES: list[dict[str, Any]] = []
_FILES: set[str] = set()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist has heard."""
    output = getattr(node, "workeroutput", {})
    _JUDGES.extend(output.get("openapi_judges", []))
    _FILES.update(output.get("test_files", []))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the verdict about the exchanges of all processes, or hand this one's to the process that gives it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output.update(openapi_judges=_JUDGES, test_files=sorted(_FILES))
    elif _JUDGES:
        _give_verdict(session, OpenApiJudge.merged(Path(os.environ["AZURERM_LITE_ARM_DATA"]), _JUDGES))


def _give_verdict(session: pytest.Session, judge: OpenApiJudge) -> None:
    complaints = judge.verdict(_whole_files(session))
    numbers = f"{judge.checked} different exchanges of {sum(judge.heard.values())}; heard: {dict(judge.heard)}"
    lines = [f"{len(complaints)} complaints about {numbers}", *complaints[:20]] if complaints else []
    if reporter := session.config.pluginmanager.getplugin("terminalreporter"):
        reporter.write_line("")
        for line in lines or [f"the OpenAPI passed {numbers}"]:
            reporter.write_line(line, red=bool(lines))
    if complaints:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _whole_files(session: pytest.Session) -> set[str]:
    """The files whose every test was run and passed: what they bring to the judge can be counted on."""
    config: Any = session.config
    chosen = config.option.keyword or config.option.markexpr or any("::" in argument for argument in config.args)
    if chosen or session.testsfailed or session.shouldfail or session.shouldstop:
        return set()
    return {*_FILES, ELSEWHERE} if set(STARTERS) <= _FILES else _FILES


_sleep = time.sleep


def _no_sleep(seconds: float) -> None:
    """Foreign clients and servers may wait; our own code and our tests have clocks to inject."""
    caller = sys._getframe(1).f_code.co_filename
    assert "/site-packages/" in caller or "/lib/python" in caller, f"{caller} slept for {seconds} s: inject a clock"
    _sleep(seconds)


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sleeps, and none talks to anything but this machine."""
    monkeypatch.setattr(time, "sleep", _no_sleep)
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host == "169.254.169.254":
            raise TimeoutError("this machine is none of Azure's")  # what the probe for a VM's identity meets elsewhere
        assert host in _LOOPBACK, f"a test tried to reach {host}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def _signal_handlers_stay() -> Iterator[None]:
    """No test leaves a handler of Ctrl-C behind: the next test that sends one would end the process."""
    before = _signal_handlers()
    yield
    after = _signal_handlers()
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before, "the test must restore the signal handlers that it replaced"


def _signal_handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
