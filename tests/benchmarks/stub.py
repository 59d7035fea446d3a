"""An ARM of canned answers, quick enough never to be what is measured: `python -m tests.benchmarks.stub FOLDER`.

Bytes that were made before the first request, sent by an asyncio protocol, over http and https on 127.0.0.1. It prints
one line of JSON when it is ready: both addresses, and a CA file as long as the usual one, as companies have them.
"""

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any, cast

import certifi
import trustme

from .clients import CLOSING, PAGES, SET, SUBSCRIPTION, TENANT

INSTANCES = 1000
SEED = Path(__file__).parents[2] / "azurerm_lite/emulator/seeds/default.json"
# What Compute's answers carry, in ARM's own form.
HEADERS = """Cache-Control: no-cache
Pragma: no-cache
Content-Type: application/json; charset=utf-8
Expires: -1
Strict-Transport-Security: max-age=31536000; includeSubDomains
Server: Microsoft-HTTPAPI/2.0
x-ms-ratelimit-remaining-resource: Microsoft.Compute/GetVMScaleSetResource;35,Microsoft.Compute/GetVMScaleSetSubscriptionMaximum;4999
x-ms-ratelimit-remaining-subscription-reads: 11999
x-ms-request-id: 0b2d4c9e-6f0e-4f5b-9d38-2d3a4e9a7c11
x-ms-correlation-request-id: 7f4e1f0a-51a5-4a39-9a33-4d9b0f1f0a55
x-ms-routing-request-id: WESTUS2:20261126T120000Z:7f4e1f0a-51a5-4a39-9a33-4d9b0f1f0a55
X-Content-Type-Options: nosniff
X-Cache: CONFIG_NOCACHE
Date: Thu, 26 Nov 2026 12:00:00 GMT
""".replace("\n", "\r\n")  # noqa: E501
OPERATION = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westus2/operations/1"


def model() -> dict[str, Any]:
    """A model of about 4 KB: the emulator's, with the extensions that most scale sets have."""
    found: dict[str, Any] = json.loads(SEED.read_text())["model"]
    names = ("HealthExtension", "AzureMonitorLinuxAgent", "CustomScript")
    extensions = [
        {
            "name": name,
            "properties": {
                "autoUpgradeMinorVersion": True,
                "enableAutomaticUpgrade": True,
                "provisionAfterExtensions": [],
                "publisher": "Microsoft.ManagedServices",
                "type": name,
                "typeHandlerVersion": "1.0",
                "settings": {"protocol": "http", "port": 80, "requestPath": "/health", "note": "x" * 180},
            },
        }
        for name in names
    ]
    found["properties"]["virtualMachineProfile"]["extensionProfile"] = {"extensions": extensions}
    return found


def status(code: str, shown: str) -> dict[str, str]:
    return {"code": code, "level": "Info", "displayStatus": shown, "time": "2026-11-26T11:58:12.0000000+00:00"}


def instance(number: int) -> dict[str, Any]:
    """An instance with its instance view, of about 4.5 KB."""
    found: dict[str, Any] = json.loads(json.dumps(json.loads(SEED.read_text())["instances"][0]))
    found["instanceId"], found["name"] = str(number), f"web_{number}"
    found["id"] = found["id"].rpartition("/")[0] + f"/{number}"
    ready = status("ProvisioningState/succeeded", "Ready")
    found["properties"]["instanceView"] = {
        "placementGroupId": "f1b7c4a2-7f0e-4f5b-9d38-2d3a4e9a7c11",
        "platformUpdateDomain": number % 5,
        "platformFaultDomain": number % 5,
        "computerName": f"web{number:06}",
        "osName": "ubuntu",
        "osVersion": "22.04",
        "vmAgent": {
            "vmAgentVersion": "2.11.1.12",
            "statuses": [{**ready, "message": "Guest Agent is running"}],
            "extensionHandlers": [{"type": "Microsoft.ManagedServices.ApplicationHealthLinux", "status": ready}],
        },
        "disks": [{"name": f"web_web_{number}_OsDisk", "statuses": [ready]}],
        "vmHealth": {"status": status("HealthState/healthy", "The VM is reporting itself as healthy")},
        "extensions": [{"name": "HealthExtension", "type": "ApplicationHealthLinux", "statuses": [ready]}],
        "statuses": [ready, status("PowerState/running", "VM running")],
    }
    return found


def answer(body: bytes, first: str = "200 OK", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {first}\r\n{HEADERS}{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def pages(base: str) -> dict[bytes, bytes]:
    """The list of instances; the number of the page stands in the query, as Azure's skiptoken does."""
    each, found = INSTANCES // PAGES, {}
    for number in range(PAGES):
        document: dict[str, Any] = {"value": [instance(each * number + one) for one in range(each)]}
        if number + 1 < PAGES:
            link = f"{base}{SET}/virtualMachines?api-version=2024-07-01&$expand=instanceView&$skiptoken={number + 1}"
            document["nextLink"] = link
        found[str(number).encode()] = answer(json.dumps(document, separators=(",", ":")).encode())
    return found


def login(base: str) -> dict[bytes, bytes]:
    """What msal asks of Entra before it gives a token."""
    about = f"{base}/{TENANT}"
    configuration = {
        "token_endpoint": f"{about}/oauth2/v2.0/token",
        "authorization_endpoint": f"{about}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{about}/oauth2/v2.0/devicecode",
        "issuer": f"{about}/v2.0",
    }
    token = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "t" * 1500}
    return {
        f"GET /{TENANT}/v2.0/.well-known/openid-configuration".encode(): answer(json.dumps(configuration).encode()),
        f"POST /{TENANT}/oauth2/v2.0/token".encode(): answer(json.dumps(token).encode()),
    }


def canned(base: str) -> dict[bytes, bytes]:
    whole = json.dumps(model(), separators=(",", ":")).encode()
    where = f"Azure-AsyncOperation: {base}{OPERATION}?api-version=2024-07-01\r\nRetry-After: 0\r\n"
    done = {"name": "1", "status": "Succeeded", "startTime": "2026-11-26T12:00:00+00:00"}
    return {
        f"GET {SET}".encode(): answer(whole),
        f"PUT {SET}".encode(): answer(whole),
        f"GET {CLOSING}".encode(): answer(whole, extra="Connection: close\r\n"),
        f"POST {SET}/manualupgrade".encode(): answer(b"", "202 Accepted", where),
        f"GET {OPERATION}".encode(): answer(json.dumps(done).encode()),
        **login(base),
    }


class Stub(asyncio.Protocol):
    """One connection: looks for the end of a request, and answers with what lies ready."""

    def __init__(self, answers: dict[bytes, bytes], listed: dict[bytes, bytes]) -> None:
        self.answers, self.listed, self.buffer = answers, listed, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            lower = head.lower()
            at = lower.find(b"\r\ncontent-length:")
            body = int(lower[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + body:
                return
            self.buffer = self.buffer[end + 4 + body :]
            self.respond(head)

    def respond(self, head: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        path, _, query = target.partition(b"?")
        if path.endswith(b"/virtualMachines"):
            found: bytes | None = self.listed[query.partition(b"skiptoken=")[2] or b"0"]
        else:
            found = self.answers.get(method + b" " + path.replace(b"manualUpgrade", b"manualupgrade"))
        self.transport.write(found or answer(b'{"error":{"code":"NotFound","message":"not canned"}}', "404 Not Found"))
        if path.endswith(b"closing"):
            self.transport.close()


async def serve(folder: Path) -> None:
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    # As long as the usual bundle: what loading it costs is part of what is measured.
    ca_file.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + authority.cert_pem.bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    loop, ready = asyncio.get_running_loop(), {"ca_file": str(ca_file)}
    for scheme, tls in (("http", None), ("https", context)):
        answers: dict[bytes, bytes] = {}
        listed: dict[bytes, bytes] = {}
        server = await loop.create_server(lambda a=answers, b=listed: Stub(a, b), "127.0.0.1", 0, ssl=tls)
        base = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}"
        answers.update(canned(base))
        listed.update(pages(base))
        ready[scheme] = base
    print(json.dumps(ready), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
