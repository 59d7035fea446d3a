"""Certificates of a CA that is not as RFC 5280 wants it: what Python 3.13 and later refuse, and what helps."""

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import azurerm_lite as az
from azurerm_lite._http import transport
from azurerm_lite.clouds import custom_cloud

WEB = ("5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "web-rg", "web")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def builder(subject: str, key: Any) -> x509.CertificateBuilder:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, "Inspecting proxy CA")]
    made = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    return made.serial_number(7).not_valid_before(START).not_valid_after(START.replace(year=2056))


def certificates(folder: Path, *, critical: bool, key_usage: bool) -> None:
    """A CA in ca.pem, which may lack what RFC 5280 wants, and a server's certificate with its key in server.pem."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = builder("Inspecting proxy CA", ca_key).add_extension(x509.BasicConstraints(True, None), critical=critical)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
    if key_usage:
        ca = ca.add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = builder("127.0.0.1", key).add_extension(loopback, False)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem) + private)


class Server:
    """It answers any GET, and counts the connections that were begun."""

    def __init__(self, folder: Path) -> None:
        self.connections = 0
        counting = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "14")
                self.end_headers()
                self.wfile.write(b'{"name":"web"}')

            def log_message(self, *_: object) -> None: ...

        class Counting(http.server.ThreadingHTTPServer):
            def get_request(self) -> Any:
                sock, address = super().get_request()
                counting.connections += 1
                sock.settimeout(10)
                return sock, address

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                try:
                    request = context.wrap_socket(request, server_side=True)
                except OSError:
                    return self.shutdown_request(request)
                return super().process_request_thread(request, client_address)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        self.server = Counting(("127.0.0.1", 0), Handler)
        self.base = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture(params=[(False, True), (True, False)], ids=["not critical", "no key usage"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    critical, key_usage = request.param
    certificates(tmp_path, critical=critical, key_usage=key_usage)
    server = Server(tmp_path)
    yield server, str(tmp_path / "ca.pem")
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As Python 3.13 and later make a context, on every Python."""
    usual = ssl.create_default_context

    def create(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = usual(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)
    transport.tls_context.cache_clear()
    yield
    transport.tls_context.cache_clear()


def arm_at(server: Server, ca_file: str, **options: Any) -> az.Arm:
    slept: list[float] = []
    return az.connect(
        "a.b.c", cloud=custom_cloud(server.base, server.base), env={}, ca_file=ca_file, sleep=slept.append, **options
    )


def test_a_ca_that_the_strict_check_refuses_is_tried_once_and_gets_advice_that_helps(
    odd: tuple[Server, str], strict: None
) -> None:
    server, ca_file = odd
    with pytest.raises(az.CertificateError) as caught:
        az.get_vmss(arm_at(server, ca_file), *WEB)
    text = str(caught.value)
    assert "RFC 5280" in text
    assert "issue it anew" in text
    assert "connect(strict_certificates=False)" in text
    assert "pass ca_file=" not in text
    assert (server.connections, caught.value.sent, caught.value.is_transient) == (1, False, False)
    with pytest.raises(az.CertificateError):
        az.restart_vmss_vms(arm_at(server, ca_file), *WEB, ["0"])
    assert server.connections == 2


def test_the_one_check_can_be_left_out_and_no_other(odd: tuple[Server, str], strict: None, tmp_path: Path) -> None:
    server, ca_file = odd
    assert az.get_vmss(arm_at(server, ca_file, strict_certificates=False), *WEB)["name"] == "web"
    cloud = custom_cloud(server.base, server.base)
    assert az.get_vmss(az.Arm("a.b.c", cloud=cloud, ca_file=ca_file, strict_certificates=False), *WEB)["name"] == "web"
    with pytest.raises(az.CertificateError, match="pass ca_file="):
        az.get_vmss(az.connect("a.b.c", cloud=cloud, env={}, strict_certificates=False), *WEB)
    other = f"https://localhost:{server.server.server_port}"  # a name that the certificate does not have
    elsewhere = az.Arm("a.b.c", cloud=custom_cloud(other, other), ca_file=ca_file, strict_certificates=False)
    with pytest.raises(az.CertificateError):
        az.get_vmss(elsewhere, *WEB)
    context = transport.tls_context(ca_file, False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_the_login_leaves_the_check_out_too_and_is_tried_once_otherwise(odd: tuple[Server, str], strict: None) -> None:
    server, ca_file = odd
    env = {
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c",
        "AZURE_CLIENT_SECRET": "s",
        "AZURE_AUTHORITY_HOST": server.base,
    }
    with pytest.raises(az.CredentialError, match=r"connect\(strict_certificates=False\)"):
        az.get_vmss(az.connect(env=env, ca_file=ca_file), *WEB)
    assert server.connections == 1
    with pytest.raises(az.CredentialError) as caught:
        az.get_vmss(az.connect(env=env, ca_file=ca_file, strict_certificates=False), *WEB)
    assert "certificate" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 0, 1, "no", ""])
def test_the_switch_is_true_or_false(value: Any) -> None:
    for call in (az.connect, az.Arm):
        with pytest.raises(az.InvalidInput, match="strict_certificates must be True or False"):
            call("a.b.c", strict_certificates=value)
