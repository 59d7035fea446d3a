"""Gates: checks of your own that a batch must pass before it counts as upgraded.

A gate is a callable that takes the InstanceStatus values of a batch. After True the upgrade goes on, after False the
batch has failed. After another result, an exception or a timeout the upgrade pauses, and `resume` asks the gate again.
"""

import http.client
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..._common import arguments
from ...errors import InvalidInput, printable
from ..rules.snapshot import InstanceStatus

Gate = Callable[[Sequence[InstanceStatus]], object]
AddressOf = Callable[[InstanceStatus], str]


def tcp_gate(address_of: AddressOf, port: int, *, timeout: float = 5.0) -> Gate:
    """Return a gate that passes when every instance of the batch accepts a TCP connection.

    `address_of`: a function from an InstanceStatus to its host name or IP address, as this machine reaches it.
    `port`: 1 to 65535. `timeout`: seconds for each connection.

    Raises: InvalidInput for wrong arguments.
    """
    arguments.typed(Callable, address_of=address_of)
    arguments.whole_number(port, "port", 1, 65_535, "a port")
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool:
        return all(_accepts(address_of(instance), port, timeout) for instance in members)

    return gate


def http_gate(url_of: AddressOf, *, status: int = 200, timeout: float = 5.0) -> Gate:
    """Return a gate that passes when every instance of the batch answers a GET with `status`.

    `url_of`: a function from an InstanceStatus to its http or https URL. Certificates are verified, redirects are not
    followed. `status`: 100 to 599. `timeout`: seconds for each request.

    Raises: InvalidInput for wrong arguments.
    """
    arguments.typed(Callable, url_of=url_of)
    arguments.whole_number(status, "status", 100, 599, "a status")
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool:
        return all(_status(url_of(instance), timeout) == status for instance in members)

    return gate


def command_gate(command: Sequence[str], *, timeout: float = 60.0) -> Gate:
    """Return a gate that runs a command and passes when the command exits with 0.

    Exit code 1 fails the batch; any other code pauses the upgrade. `command`: the program and its arguments, such as
    `["./check.sh", "--fast"]`, run without a shell. The environment variable AZURERM_LITE_INSTANCES holds the instance
    ids, separated by commas. `timeout`: seconds.

    Raises: InvalidInput for wrong arguments.
    """
    parts = [arguments.text(part, "each part of command", 100_000) for part in _parts(command)]
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool | None:
        ids = ",".join(instance.instance_id for instance in members)
        # The environment is in no local variable: a traceback with local variables would show its secrets.
        ended = subprocess.run(  # noqa: S603
            parts,
            env={**os.environ, "AZURERM_LITE_INSTANCES": ids},
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return {0: True, 1: False}.get(ended.returncode)

    return gate


def _parts(command: object) -> tuple[Any, ...]:
    parts = arguments.sequence(command, "command", "['curl', '--fail', 'https://…']")
    if not parts:
        raise InvalidInput("command is a list: the program and its arguments")
    return parts


def ask(gate: Gate, members: Sequence[InstanceStatus], timeout: float) -> tuple[str, str]:
    """Run a gate and return ("pass" | "fail" | "inconclusive", reason).

    Only True passes. After `timeout` seconds the gate's thread is abandoned and the result is "inconclusive".
    """
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(gate(members))
        except BaseException as error:  # SystemExit from a gate says nothing about the instances
            answers.append(error)

    worker = threading.Thread(target=run, name="azurerm_lite gate", daemon=True)
    worker.start()
    worker.join(timeout)
    if not answers:
        return "inconclusive", f"the gate gave no answer in {timeout:g} s"
    answer = answers[0]
    if answer is True:
        return "pass", ""
    if answer is False:
        return "fail", "the gate returned False"
    return "inconclusive", f"the gate could not tell: {printable(f'{type(answer).__name__} {answer}')}"


def _accepts(host: str, port: int, timeout: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def _status(url: str, timeout: float) -> int:
    """Send one GET and return its status; 0 without an answer."""
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise InvalidInput(f"a probe needs an http or https URL, not {printable(url)}")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        return int(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
