"""The emulator as a server: TLS on 127.0.0.1, with a CA made for the run.

`with serve() as emulator:` gives an Emulator that knows its address and the credentials of its clients.
"""

import contextlib
import errno
import functools
import os
import shutil
import socket
import ssl
import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import trustme
from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Gateway_10, Server

from .. import habits as _habits
from ..api.routes import MANAGED_IDENTITY
from ..api.throttle import Throttle
from ..clock import Clock, ScaledClock
from ..faults import FaultError, Faults
from ..recorder import Recorder
from ..seed import Seed
from ..simulation.compose import Simulation
from ..simulation.disturbances import Happening
from ..simulation.identity import Identity
from .app import HOSTS, SERVER, ArmApp, ConnectionDrop
from .proxy import HOSTS as PROXIED
from .proxy import Proxy

THREADS, BACKLOG = 40, 512  # connections in service, and in the queue
STOPS_WITHIN = 0.02  # seconds between two checks of an idle server for its end; a suite starts hundreds of servers
RECORD_VARIABLE = "AZURERM_LITE_EMULATOR_RECORD"


class _LateHandshake(BuiltinSSLAdapter):
    """TLS with the handshake in the worker that reads, so that a silent client does not stall the others."""

    def __init__(self, file: str) -> None:
        """Skip cheroot's own, which reads every CA of the system and shakes hands with itself to describe `file`."""
        super(BuiltinSSLAdapter, self).__init__(file, file)  # pyright: ignore[reportAbstractUsage]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(file)

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, do_handshake_on_connect=False, server_side=True)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _PatientServer(Server):
    """A connection gets a worker with its first byte, so that silent clients hold no worker."""

    _connections: Any

    def process_conn(self, conn: Any) -> None:
        if getattr(conn, "has_data", False):
            super().process_conn(conn)
        else:
            conn.has_data = True
            self._connections.put(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Write errors to stderr, as cheroot does, but for connections that a client has closed."""
        if not msg.startswith("socket.error"):
            super().error_log(msg, level, traceback)


class _Connection(HTTPConnection):
    """A connection without a traceback for broken TLS, and without a late flush to a closed socket."""

    def communicate(self) -> bool:
        try:
            inherited: Any = super().communicate
            return bool(inherited())
        except ssl.SSLError as error:
            reason: Any = error
            while reason.__context__ is not None:  # cheroot tried to respond, which hides the reason
                reason = reason.__context__
            why = getattr(reason, "reason", None) or type(reason).__name__
            hint = "this is https" if why == "HTTP_REQUEST" else "does it trust the CA of this run?"
            self.server.error_log(f"a client broke TLS off ({why}): {hint}")
            return False

    def close(self) -> None:
        """Close the buffer before the socket: at garbage collection it would try to flush."""
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()
        super().close()


class _Gateway(Gateway_10):
    """cheroot's gateway, which breaks the connection on ConnectionDrop."""

    def respond(self) -> None:
        try:
            super().respond()
        except ConnectionDrop:
            self.req.close_connection = True
            with contextlib.suppress(OSError):
                self.req.conn.socket.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(errno.ECONNRESET, "dropped on purpose") from None


class Emulator:
    """A running emulator: its address, its credentials, and the simulation behind it.

    `simulation` is what exists and happens; `recorder` has every request; `faults` lets things go wrong.
    """

    def __init__(
        self,
        seed: Seed,
        clock: Clock,
        *,
        port: int = 0,
        random_seed: int = 0,
        proxy: bool = False,
        habits: _habits.Habits = _habits.USUAL,
        faults: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.clock, self.seed = clock, seed
        self.simulation = Simulation(clock, seed=random_seed, habits=habits)
        seed.add_to(self.simulation)
        for description in faults:
            self.faults.add(**description)
        self.app = ArmApp(self.simulation, hosts=HOSTS | PROXIED if proxy else HOSTS)
        principal = self.simulation.principal
        self.tenant_id, self.client_id = self.identity.tenant_id, principal.client_id
        self.client_secret = principal.secret
        self.subscription_id, self.resource_group = seed.subscription_id, seed.resource_group
        self.vmss_name = seed.vmss_name
        self._folder = Path(tempfile.mkdtemp(prefix="azurerm-lite-emulator-"))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.ca_file = str(self._folder / "ca.pem")
        self._server = _server(self.app, self._folder, port)
        self.arm_endpoint = self.authority = f"https://localhost:{self._server.bind_addr[1]}"
        self._proxy = Proxy(self._server.bind_addr[1]) if proxy else None
        self.proxy = self._proxy.url if self._proxy else None
        self._thread = threading.Thread(target=self._server.serve, name="azurerm-lite-emulator", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Emulator {self.arm_endpoint} with {self.resource_group}/{self.vmss_name}>"

    @functools.cached_property
    def _metadata(self) -> Any:
        """The plain HTTP server for tokens of managed identities, and for nothing else."""
        server = _PatientServer(("127.0.0.1", 0), _metadata_only(self.app), numthreads=4, server_name=SERVER)
        server.expiration_interval = STOPS_WITHIN
        _prepare(server)
        threading.Thread(target=server.serve, name="azurerm-lite-metadata", daemon=True).start()
        return server

    @property
    def metadata_endpoint(self) -> str:
        """The address for tokens of managed identities. Its server starts at the first use."""
        return f"http://127.0.0.1:{self._metadata.bind_addr[1]}"

    @property
    def recorder(self) -> Recorder:
        """Every request and response so far."""
        return self.app.recorder

    @property
    def throttle(self) -> Throttle:
        """Compute's limits; `throttle.is_enforced = True` lets them refuse requests."""
        return self.app.throttle

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.simulation.faults

    @property
    def happenings(self) -> list[Happening]:
        """The effects of faults and habits so far, oldest first."""
        return self.simulation.disturbances.record

    def unused_habits(self) -> list[str]:
        """The names of the habits without an effect so far."""
        return [disturbance.habit for disturbance in self.simulation.disturbances.unused()]

    @property
    def identity(self) -> Identity:
        """The tenant: principals, roles, tokens."""
        return self.simulation.identity

    def set_health(self, instance_id: str, state: str) -> None:
        """Let the application of an instance of the first scale set report this state: healthy, unhealthy, …"""
        with self.simulation.lock:
            self.simulation.events.run_due_events()
            scale_set = self.simulation.scale_sets.get(self.subscription_id, self.resource_group, self.vmss_name)
            self.simulation.health.set_health(scale_set, scale_set.instances[instance_id], state)

    def ready(self) -> dict[str, str | None]:
        """What a client needs to connect: the line of JSON that the command prints."""
        names = ("arm_endpoint", "authority", "ca_file", "tenant_id", "client_id", "client_secret")
        also = ("subscription_id", "resource_group", "vmss_name")
        return {name: getattr(self, name) for name in (*names, *also, "proxy", "metadata_endpoint")}

    def env(self) -> dict[str, str]:
        """What a client needs to connect, as environment variables of azurerm_lite, az, azure-identity and azurerm."""
        env = {
            "AZURE_TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self.client_id,
            "AZURE_CLIENT_SECRET": self.client_secret,
            "AZURE_SUBSCRIPTION_ID": self.subscription_id,
            "AZURERM_LITE_RESOURCE_GROUP": self.resource_group,
            "AZURERM_LITE_VMSS_NAME": self.vmss_name,
            "REQUESTS_CA_BUNDLE": self.ca_file,
            "CURL_CA_BUNDLE": self.ca_file,
            "NO_PROXY": "localhost,127.0.0.1",
        }
        if self.simulation.events.time_scale != 1.0:  # so that azurerm_lite may poll as much faster
            env["AZURERM_LITE_TIME_SCALE"] = f"{self.simulation.events.time_scale:g}"
        if self.proxy:  # Azure's own names lead here by the proxy
            return {**env, "HTTPS_PROXY": self.proxy}
        return {
            **env,
            "AZURE_AUTHORITY_HOST": self.authority,
            "AZURE_AUTH_ENDPOINT": f"{self.authority}/",
            "AZURE_RM_ENDPOINT": self.arm_endpoint,
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        }

    def managed_identity_env(self, kind: str = "imds") -> dict[str, str]:
        """The environment variables of a VM ("imds") or an App Service ("app-service") with a managed identity."""
        if kind == "app-service":
            header = self.identity.managed_header
            return {"IDENTITY_ENDPOINT": f"{self.metadata_endpoint}/msi/token", "IDENTITY_HEADER": header}
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.metadata_endpoint}

    def add(self, seed: Seed) -> None:
        """Add a scale set, and its resource group if there is none of that name."""
        with self.simulation.lock:
            self.simulation.events.run_due_events()
            seed.add_to(self.simulation)

    def set_time_scale(self, scale: float) -> None:
        """Let time pass faster or slower (not for a virtual clock)."""
        clock: Any = self.clock
        with self.simulation.lock:
            clock.rescale(scale)
            self.simulation.events.time_scale = scale

    def reset(self) -> None:
        """Go back to the seed: its instances, no faults, no entries of the recorder. Logins stay.

        The habits of the start begin anew; those that were added later are removed.
        """
        with self.simulation.lock:
            self.simulation.reset()
            self.app.reset()
            self.seed.add_to(self.simulation)

    def stop(self) -> None:
        """Close the server and remove the CA of this run."""
        if "_metadata" in vars(self):
            self._metadata.stop()
        if self._proxy:
            self._proxy.stop()
        self._server.stop()
        self._thread.join(timeout=10)
        self.recorder.close()
        self._remove_folder()

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _metadata_only(app: ArmApp) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").rstrip("/") not in MANAGED_IDENTITY:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        return app(environ, start_response)

    return answer


def _server(app: ArmApp, folder: Path, port: int) -> Any:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1", "::1", *sorted(PROXIED))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    key_file = folder / "server.pem"
    with open(os.open(key_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123
        file.write(certificate.private_key_and_cert_chain_pem.bytes())
    server = _PatientServer(
        ("127.0.0.1", port), app, numthreads=THREADS, server_name=SERVER, request_queue_size=BACKLOG
    )
    server.ssl_adapter = _LateHandshake(str(key_file))
    server.gateway, server.ConnectionClass = _Gateway, _Connection
    server.expiration_interval = STOPS_WITHIN
    _prepare(server)
    return server


def _prepare(server: Any) -> None:
    """Bind a server and start its workers, as daemons, so that a program can end without `stop`."""
    errors: list[BaseException] = []

    def prepare() -> None:
        try:
            server.prepare()
        except BaseException as error:
            errors.append(error)

    starter = threading.Thread(target=prepare, daemon=True)  # workers inherit it
    starter.start()
    starter.join()
    if errors:
        raise errors[0]


def serve(
    seed: Seed | str | None = None,
    *,
    port: int = 0,
    clock: Clock | None = None,
    time_scale: float = 1.0,
    random_seed: int = 0,
    faults: str | Iterable[Mapping[str, Any]] | None = None,
    proxy: bool = False,
    throttle: bool = False,
    record: str | None = None,
    habits: _habits.Habits = _habits.USUAL,
    env: Mapping[str, str] | None = None,
) -> Emulator:
    """Start an emulator. Use it in a `with` block, or end it by `stop()`.

    `seed`: a Seed, the name of one of ours, or a file. `clock`: real time by default, `time_scale` times as fast; a
    VirtualClock moves only by `advance` and `sleep`. `faults`: what goes wrong, as objects or in a JSON file of them.
    `throttle`: refuse requests beyond Compute's limits (responses show the limits in any case).
    `proxy`: serve Azure's own host names too, through a loopback proxy.
    `record`: append every request and response to this file, a JSON object a line; by default to the file that the
    environment names in AZURERM_LITE_EMULATOR_RECORD, which works for an emulator inside another program too.
    `habits`: reported behaviour by name, or as an object with `habit` and parameters (`habits.HABITS` has them all);
    by default the usual habits. Raises SeedError, and FaultError for an unknown habit or parameter, before it listens.
    """
    first_seed = seed if isinstance(seed, Seed) else Seed.load(seed or "default")
    emulator = Emulator(
        first_seed, clock or ScaledClock(time_scale), port=port, random_seed=random_seed, proxy=proxy, habits=habits
    )
    emulator.throttle.is_enforced = throttle
    try:
        if isinstance(faults, str):
            emulator.faults.load(faults)
        else:
            for description in faults or ():
                emulator.faults.add(**description)
        if to_file := record or (os.environ if env is None else env).get(RECORD_VARIABLE):
            emulator.recorder.write_to(to_file)
    except (FaultError, OSError):
        emulator.stop()
        raise
    return emulator
