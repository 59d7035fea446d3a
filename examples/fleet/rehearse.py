"""See a worker die in mid-rollout and another go on: `python examples/fleet/rehearse.py`. Takes three to five minutes.

Everything runs on this machine: an emulated Azure with two scale sets, Prefect's own server with its embedded database,
and two workers, of which the first is killed with all its processes. Exits 1 when an instance was sent twice, or when
any scale set did not arrive. Needs azurerm_lite[emulator] and requirements.txt.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from azurerm_lite.emulator import Emulator, Seed, serve

VERSION, SETS, INSTANCES = "22.04.202611120", ("web", "api"), 10
HERE = Path(__file__).parent
PREFECT = Path(sys.executable).with_name("prefect")
SCALE = 6  # how much faster than Azure the emulator is; Prefect waits for heartbeats in real time
PORT = int(os.environ.get("FLEET_PORT", "4242"))
API = f"http://127.0.0.1:{PORT}/api"


def environment(emulator: Emulator, folder: str) -> dict[str, str]:
    """What server and workers get: the emulator's address and login, and a short patience."""
    return {
        **os.environ,
        **emulator.env(),
        "PREFECT_HOME": f"{folder}/prefect",
        "PREFECT_API_URL": API,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "FLEET_SILENT_SECONDS": "60",
        "FLEET_JOURNALS": folder,
    }


def started(env: Mapping[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([PREFECT, *arguments], env=env, stdout=output, stderr=subprocess.STDOUT)


def kill_with_children(process: subprocess.Popen[bytes]) -> None:
    """As when the machine dies: no process of it gets a chance to say goodbye."""
    doomed = [process.pid]
    for pid in doomed:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        doomed += map(int, found.stdout.split())
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.kill(pid, signal.SIGKILL)
    process.wait()


def until(what: str, happens: Callable[[], bool], seconds: float = 420.0) -> None:
    begun = time.monotonic()
    while not happens():
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"gave up after {seconds:.0f} s: {what}")
        time.sleep(1.0)
    print(f"{what} ({time.monotonic() - begun:.0f} s)", flush=True)


def server_is_up() -> bool:
    try:
        return bool(urllib.request.urlopen(f"{API}/health", timeout=2).status == 200)  # noqa: S310  (loopback)
    except OSError:
        return False


def runs() -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"{API}/flow_runs/filter", data=b"{}", headers=headers)  # noqa: S310  (loopback)
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310  (loopback)
        found: list[dict[str, Any]] = json.load(answer)
    return found


def sent(emulator: Emulator) -> Counter[tuple[str, str]]:
    """How often each instance was sent to be upgraded, by the emulator's own journal."""
    posts = [entry for entry in emulator.recorder.find("POST", "manualupgrade") if entry.status < 400]
    return Counter((entry.path.split("/")[8], instance) for entry in posts for instance in entry.body["instanceIds"])


def rehearse(emulator: Emulator, folder: str) -> list[str]:
    """What is not as it must be after one worker was killed and another took over."""
    env, logs = environment(emulator, folder), Path(folder)
    group = f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}"
    ids = [f"{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{name}" for name in SETS]
    flows = [sys.executable, str(HERE / "flows.py")]
    processes = [started(env, logs / "server.log", "server", "start", "--host", "127.0.0.1", "--port", str(PORT))]
    worker = ("worker", "start", "--pool", "scale-sets", "--name")
    try:
        until("Prefect's server is up", server_is_up)
        subprocess.run([*flows, "deploy"], env=env, check=True)
        subprocess.run([*flows, "begin", VERSION, *ids], env=env, check=True)
        processes.append(started(env, logs / "first.log", *worker, "first"))
        until("the first worker has sent instances of each", lambda: len({name for name, _ in sent(emulator)}) == 2)
        kill_with_children(processes.pop())
        print(f"the first worker is dead, with {len(sent(emulator))} of {2 * INSTANCES} instances sent", flush=True)
        processes.append(started(env, logs / "second.log", *worker, "second"))
        until("the second worker has gone on to the end", lambda: all(run["end_time"] for run in runs()))
        ends = [fault for run in runs() for fault in _faults_of(run)]
    finally:
        for process in processes:
            kill_with_children(process)
    twice = [f"instance {instance} of {name} was sent twice" for (name, instance), n in sent(emulator).items() if n > 1]
    short = 2 * INSTANCES - len(sent(emulator))
    return [*ends, *twice, *([f"{short} instances were not sent"] if short else [])]


def _faults_of(run: Mapping[str, Any]) -> list[str]:
    """A run must have completed, and not in the process that was killed."""
    state = run["state"]["name"]
    found = [] if state == "Completed" else [f"{run['name']} is {state}"]
    return found + ([] if run["run_count"] > 1 else [f"{run['name']} was not taken over"])


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Seed.build(SETS[0], capacity=INSTANCES), time_scale=SCALE) as emulator,
    ):
        emulator.add(Seed.build(SETS[1], capacity=INSTANCES))
        faults = rehearse(emulator, folder)
    print("\n".join(faults) or "done: every instance was sent once, and both scale sets arrived")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
