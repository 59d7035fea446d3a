"""Gates: what is asked, besides Azure, before a batch counts as upgraded.

A gate is any callable that takes the InstanceStatus values of a batch. It returns True (go on), False (they have
failed) or anything else (it cannot tell: the upgrade pauses, and `resume` asks again). An exception, or no
result in time, counts as "cannot tell".
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
    """A gate that is passed when each instance of the batch accepts a TCP connection.

    `address_of` gives the host name or IP address of an InstanceStatus, as seen from here; `timeout` in seconds.
    """
    arguments.typed(Callable, address_of=address_of)
    arguments.whole_number(port, "port", 1, 65_535, "a port")
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool:
        return all(_accepts(address_of(one), port, timeout) for one in members)

    return gate


def http_gate(url_of: AddressOf, *, status: int = 200, timeout: float = 5.0) -> Gate:
    """A gate that is passed when each instance of the batch answers a GET with `status`; redirects are not followed.

    `url_of` gives the http or https URL of an InstanceStatus; certificates are checked as usual; `timeout` in seconds.
    """
    arguments.typed(Callable, url_of=url_of)
    arguments.whole_number(status, "status", 100, 599, "a status")
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool:
        return all(_status(url_of(one), timeout) == status for one in members)

    return gate


def command_gate(command: Sequence[str], *, timeout: float = 60.0) -> Gate:
    """A gate that is passed when a command ends with 0; 1 means that they failed, anything else that it cannot tell.

    The command is run without a shell and finds the instance ids, separated by commas, in AZURERM_LITE_INSTANCES.
    """
    parts = [arguments.text(part, "each part of command", 100_000) for part in _parts(command)]
    arguments.seconds(timeout, "timeout")

    def gate(members: Sequence[InstanceStatus]) -> bool | None:
        ids = ",".join(one.instance_id for one in members)
        # No local variable holds the environment: the frames of what fails here would show it.
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
    """("pass" | "fail" | "inconclusive", why). Only True passes; a gate that hangs is left behind after `timeout`."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(gate(members))
        except BaseException as error:  # a gate that exits says nothing about its instances either
            found.append(error)

    worker = threading.Thread(target=run, name="azurerm_lite gate", daemon=True)
    worker.start()
    worker.join(timeout)
    if not found:
        return "inconclusive", f"the gate gave no answer in {timeout:g} s"
    answer = found[0]
    if answer is True:
        return "pass", ""
    if answer is False:
        return "fail", "the gate said that they are not well"
    return "inconclusive", f"the gate could not tell: {printable(f'{type(answer).__name__} {answer}')}"


def _accepts(host: str, port: int, timeout: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def _status(url: str, timeout: float) -> int:
    """The status of one GET; 0 when nothing answered."""
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
