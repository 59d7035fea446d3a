"""The emulator on this machine's own address: TLS on 127.0.0.1 with a CA made for the run.

`with serve() as emulator:` gives an Emulator that says where it is and how to log in.
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

from . import compute, identity
from . import habits as _habits
from .app import HOSTS, SERVER, ArmApp, Dropped
from .clock import Clock, ScaledClock
from .disturbances import Happening
from .faults import FaultError, Faults
from .journal import Journal
from .proxy import HOSTS as PROXIED
from .proxy import Proxy
from .seed import Seed
from .world import World

THREADS, BACKLOG = 40, 512  # connections served at once, and those that wait to be taken
STOPS_WITHIN = 0.02  # seconds: so often an idle server looks whether it shall end, and a suite starts hundreds
JOURNAL_VARIABLE = "AZURERM_LITE_EMULATOR_JOURNAL"


class _LateHandshake(BuiltinSSLAdapter):
    """TLS whose handshake is done by the worker that reads, so that one silent client does not stall the others."""

    def __init__(self, file: str) -> None:
        """Without cheroot's own, which reads every CA of the system and shakes hands with itself to describe `file`."""
        super(BuiltinSSLAdapter, self).__init__(file, file)  # pyright: ignore[reportAbstractUsage]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(file)

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, do_handshake_on_connect=False, server_side=True)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _Patient(Server):
    """A connection gets a worker when its first byte is there: those who connect and say nothing hold none."""

    _connections: Any

    def process_conn(self, conn: Any) -> None:
        if getattr(conn, "spoke", False):
            super().process_conn(conn)
        else:
            conn.spoke = True
            self._connections.put(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """What goes wrong in here, on stderr as cheroot does it; that a guest has hung up is nothing wrong in here."""
        if not msg.startswith("socket.error"):
            super().error_log(msg, level, traceback)


class _Connection(HTTPConnection):
    """One guest: no traceback where TLS ends early, and no write buffer that flushes to what is gone."""

    def communicate(self) -> bool:
        try:
            inherited: Any = super().communicate
            return bool(inherited())
        except ssl.SSLError as error:
            reason: Any = error
            while reason.__context__ is not None:  # cheroot tried to answer, which hid why it could not
                reason = reason.__context__
            why = getattr(reason, "reason", None) or type(reason).__name__
            hint = "this is https" if why == "HTTP_REQUEST" else "does it trust the CA of this run?"
            self.server.error_log(f"a client broke TLS off ({why}): {hint}")
            return False

    def close(self) -> None:
        """Before the socket: left to be collected, the buffer would try to flush."""
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()
        super().close()


class _Gateway(Gateway_10):
    """cheroot's gateway, which hangs up when the application says so."""

    def respond(self) -> None:
        try:
            super().respond()
        except Dropped:
            self.req.close_connection = True
            with contextlib.suppress(OSError):
                self.req.conn.socket.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(errno.ECONNRESET, "dropped on purpose") from None


class Emulator:
    """A running emulator: where it is, how to log in, and the world behind it."""

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
        self.world = World(clock, seed=random_seed, habits=habits)
        principal = identity.install(self.world)
        compute.install(self.world, seed)
        for description in faults:
            self.faults.add(**description)
        self.app = ArmApp(self.world, hosts=HOSTS | PROXIED if proxy else HOSTS)
        self.tenant_id, self.client_id = self.world.identity.tenant_id, principal.client_id
        self.client_secret = principal.secret
        self.subscription_id, self.resource_group = seed.subscription_id, seed.resource_group
        self.vmss_name = seed.vmss_name
        self._folder = Path(tempfile.mkdtemp(prefix="azurerm-lite-emulator-"))
        self._forget = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
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
        """Managed identity is asked for by plain http on the machine itself; nothing else is answered there."""
        server = _Patient(("127.0.0.1", 0), _metadata_only(self.app), numthreads=4, server_name=SERVER)
        server.expiration_interval = STOPS_WITHIN
        _prepare(server)
        threading.Thread(target=server.serve, name="azurerm-lite-metadata", daemon=True).start()
        return server

    @property
    def metadata_endpoint(self) -> str:
        """Where a managed identity is asked for; it is there from when it is first looked for."""
        return f"http://127.0.0.1:{self._metadata.bind_addr[1]}"

    @property
    def journal(self) -> Journal:
        return self.app.journal

    @property
    def faults(self) -> Faults:
        return self.world.faults

    @property
    def happenings(self) -> list[Happening]:
        """What faults and habits have done, and when: the record that judges read, oldest first."""
        return self.world.disturbances.record

    def unused_habits(self) -> list[str]:
        """The habits that were asked for as events and have had no effect so far."""
        return [disturbance.habit for disturbance in self.world.disturbances.unused()]

    @property
    def identity(self) -> identity.Identity:
        return self.world.identity

    def set_health(self, instance_id: str, state: str) -> None:
        """Let the application of an instance of the first scale set report this: healthy, unhealthy, …"""
        with self.world.lock:
            self.world.settle()
            scale_set = self.world.scale_sets.get(self.subscription_id, self.resource_group, self.vmss_name)
            self.world.scale_sets.set_health(scale_set, scale_set.instances[instance_id], state)

    def ready(self) -> dict[str, str | None]:
        """What a client needs to know, as the one line of JSON that the command prints."""
        names = ("arm_endpoint", "authority", "ca_file", "tenant_id", "client_id", "client_secret")
        also = ("subscription_id", "resource_group", "vmss_name")
        return {name: getattr(self, name) for name in (*names, *also, "proxy", "metadata_endpoint")}

    def env(self) -> dict[str, str]:
        """The same as environment variables that azurerm_lite, az, azure-identity and azurerm understand."""
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
        if self.world.pace != 1.0:  # so that azurerm_lite may poll as much faster
            env["AZURERM_LITE_TIME_SCALE"] = f"{self.world.pace:g}"
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
        """What a VM ("imds") or an App Service ("app-service") with a managed identity has in its environment."""
        if kind == "app-service":
            header = self.world.identity.managed_header
            return {"IDENTITY_ENDPOINT": f"{self.metadata_endpoint}/msi/token", "IDENTITY_HEADER": header}
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self.metadata_endpoint}

    def add(self, seed: Seed) -> None:
        """One more scale set, in its own resource group if the seed says so."""
        with self.world.lock:
            self.world.settle()
            compute.plant(self.world, seed)

    def set_time_scale(self, scale: float) -> None:
        """Let time go on faster or slower (not for a virtual clock)."""
        clock: Any = self.clock
        with self.world.lock:
            clock.rescale(scale)
            self.world.pace = scale

    def reset(self) -> None:
        """Back to the seed: its instances, no faults, an empty journal; who is logged in stays so.

        The habits that it was made with begin anew; what was added since is gone.
        """
        with self.world.lock:
            self.faults.clear()
            self.journal.clear()
            self.world.forget_events()
            self.world.resource_groups.clear()
            compute.install(self.world, self.seed)

    def stop(self) -> None:
        """Close the server and remove the CA of this run."""
        if "_metadata" in vars(self):
            self._metadata.stop()
        if self._proxy:
            self._proxy.stop()
        self._server.stop()
        self._thread.join(timeout=10)
        self.journal.close()
        self._forget()

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _metadata_only(app: ArmApp) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").rstrip("/") not in identity.MANAGED_ROUTES:
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
    server = _Patient(("127.0.0.1", port), app, numthreads=THREADS, server_name=SERVER, request_queue_size=BACKLOG)
    server.ssl_adapter = _LateHandshake(str(key_file))
    server.gateway, server.ConnectionClass = _Gateway, _Connection
    server.expiration_interval = STOPS_WITHIN
    _prepare(server)
    return server


def _prepare(server: Any) -> None:
    """Bind it and start its workers, as daemons: a program that forgets to stop its emulator ends all the same."""
    wrong: list[BaseException] = []

    def prepare() -> None:
        try:
            server.prepare()
        except BaseException as error:
            wrong.append(error)

    starter = threading.Thread(target=prepare, daemon=True)  # workers inherit it
    starter.start()
    starter.join()
    if wrong:
        raise wrong[0]


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
    journal: str | None = None,
    habits: _habits.Habits = _habits.USUAL,
    env: Mapping[str, str] | None = None,
) -> Emulator:
    """A running emulator, to be used in a `with` block or stopped by `stop()`.

    `seed`: a Seed, the name of one of ours, or a file. `clock`: real time by default, `time_scale` times as fast; a
    VirtualClock moves only when it is told to. `faults`: what shall go wrong, as objects or in a JSON file of them.
    `throttle`: refuse what goes beyond Compute's limits (they are shown in any case).
    `proxy`: be reachable under Azure's own names through a loopback proxy.
    `journal`: append every exchange to this file, a JSON object a line; by default to the one that the environment
    names in AZURERM_LITE_EMULATOR_JOURNAL, if it does, so that an emulator inside of a program can be listened to.
    `habits`: reported behaviour by name, or as an object with `habit` and parameters (`habits.HABITS` has them all);
    by default the usual ones. Raises FaultError, before it listens, for a habit or a parameter that there is not.
    """
    planted = seed if isinstance(seed, Seed) else Seed.load(seed or "default")
    emulator = Emulator(
        planted, clock or ScaledClock(time_scale), port=port, random_seed=random_seed, proxy=proxy, habits=habits
    )
    emulator.world.throttle.enforced = throttle
    try:
        if isinstance(faults, str):
            emulator.faults.load(faults)
        else:
            for description in faults or ():
                emulator.faults.add(**description)
        if to_file := journal or (os.environ if env is None else env).get(JOURNAL_VARIABLE):
            emulator.journal.write_to(to_file)
    except (FaultError, OSError):
        emulator.stop()
        raise
    return emulator
