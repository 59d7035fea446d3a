"""A second listener on another host name, offered as link and redirect: what we do, and what the official SDK does.

`python -m pytest tests/emulated/test_comparison.py --write-comparison` writes the table in docs/comparison.md anew.
"""

import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.core.exceptions import AzureError
from azure.mgmt.compute import ComputeManagementClient

import azurerm_lite as az
from azurerm_lite.emulator import Emulator, Seed, serve

DOCS = Path(__file__).parents[2] / "docs"
LINKS = ["nextLink", "Azure-AsyncOperation", "Location", "redirect"]
SCHEMES = ["https", "http"]


class Twin:
    """Another host: the same machine by another name. It writes down who came, and whether with a token."""

    def __init__(self, ca: trustme.CA) -> None:
        import socket

        self.seen: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(self._context)
        self._listeners = {scheme: socket.create_server(("127.0.0.1", 0)) for scheme in SCHEMES}
        self.base = {
            scheme: f"{scheme}://127.0.0.1:{listener.getsockname()[1]}" for scheme, listener in self._listeners.items()
        }
        for scheme, listener in self._listeners.items():
            threading.Thread(target=self._serve, args=(scheme, listener), daemon=True).start()

    def _serve(self, scheme: str, listener: Any) -> None:
        body = b'{"status": "Succeeded", "value": [], "name": "x"}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                connection = self._context.wrap_socket(raw, server_side=True) if scheme == "https" else raw
                self.seen.append(connection.recv(65536))
                connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
                connection.close()
            except OSError:
                raw.close()

    def stop(self) -> None:
        for listener in self._listeners.values():
            listener.close()

    def came(self) -> str:
        """ "nothing", "a request without it", or "a request with the token"."""
        if not self.seen:
            return "nothing"
        return "a request with the token" if any(b"earer" in one for one in self.seen) else "a request without it"


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Emulator, Twin, str]]:
    """The emulator, the other host, and one CA file that vouches for both."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    ca = trustme.CA()
    with serve(Seed.build(capacity=3, page_size=2), time_scale=2000) as emulator:
        twin = Twin(ca)
        both = tmp_path / "both.pem"
        both.write_bytes(Path(emulator.ca_file).read_bytes() + ca.cert_pem.bytes())
        yield emulator, twin, str(both)
        twin.stop()


def lure(emulator: Emulator, twin: Twin, link: str, scheme: str) -> None:
    """Have the next answer lead elsewhere."""
    foreign = twin.base[scheme]
    if link == "nextLink":
        emulator.faults.next("GET", "/virtualMachines", link=foreign)
    elif link == "redirect":
        moved = {"Location": f"{foreign}/somewhere"}
        emulator.faults.next("GET", "/web/virtualMachines", status=307, body={}, headers=moved, times=9)
    else:
        keep = {"Azure-AsyncOperation": f"{foreign}/op"} if link == "Azure-AsyncOperation" else {}
        if link == "Location":
            keep = {"Location": f"{foreign}/op", "Azure-AsyncOperation": ""}
        emulator.faults.next("POST", "/restart", headers=keep)


def ours(emulator: Emulator, ca_file: str, link: str) -> None:
    web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
    with az.connect(env={**emulator.env(), "REQUESTS_CA_BUNDLE": ca_file}, sleep=threading.Event().wait) as arm:
        if link in ("nextLink", "redirect"):
            az.list_vmss_vms(arm, *web)
        else:
            az.restart_vmss_vms(arm, *web, ["0"]).wait(timeout=60)


def theirs(emulator: Emulator, ca_file: str, link: str) -> None:
    class Fixed:
        def get_token(self, *_: str, **__: Any) -> Any:
            from azure.core.credentials import AccessToken

            return AccessToken(emulator.identity.issue(emulator.client_id), 2**33)

    options = {"base_url": emulator.arm_endpoint, "connection_verify": ca_file, "polling_interval": 0.05}
    with ComputeManagementClient(Fixed(), emulator.subscription_id, retry_total=0, **options) as client:
        where = (emulator.resource_group, emulator.vmss_name)
        if link in ("nextLink", "redirect"):
            list(client.virtual_machine_scale_set_vms.list(*where))
        else:
            client.virtual_machine_scale_sets.begin_restart(*where, {"instanceIds": ["0"]}).result(30)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_of_ours_reaches_another_host(stage: Any, link: str, scheme: str) -> None:
    emulator, twin, ca_file = stage
    lure(emulator, twin, link, scheme)
    with pytest.raises(az.ProtocolError):
        ours(emulator, ca_file, link)
    assert twin.came() == "nothing"


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_the_official_sdk_does_is_what_the_page_says(
    stage: Any, link: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    emulator, twin, ca_file = stage
    lure(emulator, twin, link, scheme)
    try:
        theirs(emulator, ca_file, link)
        end = "continues"
    except (AzureError, ValueError) as error:
        end = type(error).__name__
    row = f"| {link} | {scheme} | {twin.came()} | {end} | nothing | ProtocolError |"
    page = DOCS / "comparison.md"
    if request.config.getoption("--write-comparison"):
        pattern = re.compile(rf"^\| {re.escape(link)} \| {scheme} \|.*$", re.M)
        page.write_text(pattern.sub(row, page.read_text()))
    assert row in page.read_text()
