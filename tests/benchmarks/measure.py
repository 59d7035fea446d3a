"""Taking turns: every client does a few calls, then the next one, round after round, all on one core.

CPU seconds are the client process's own, so that neither the stub nor other work on the machine is counted; what is
reported is the median over the rounds, and how far apart the middle half of them is.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Figure(NamedTuple):
    """CPU and wall seconds of one call: medians, and the quartiles of the CPU."""

    cpu: float
    wall: float
    low: float
    high: float


def on_core(core: int, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """A process of ours that stays on one core; without proxies or CA files of the environment that we stand in."""
    taken = ("_proxy", "_bundle")
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith(taken)}
    cores = sorted(os.sched_getaffinity(0))
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(cores[core % len(cores)]), *command],
        cwd=ROOT,
        env={**clean, "PYTHONHASHSEED": "0", **(env or {})},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


@contextmanager
def stub() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        process = on_core(0, [sys.executable, "-m", "tests.benchmarks.stub", folder])
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait()


class Client:
    """A client's process, asked by lines of JSON."""

    def __init__(self, name: str, python: str, base: str, ca_file: str) -> None:
        command = [python, "-W", "ignore", "-m", "tests.benchmarks.clients", name, base, ca_file]
        self.process = on_core(1, command, stdin=subprocess.PIPE)
        self.process.stdout.readline()

    def ask(self, **order: Any) -> dict[str, float]:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        found: dict[str, float] = json.loads(self.process.stdout.readline() or "{}")
        if not found:
            raise SystemExit(f"{self.process.args} ended at {order}")
        return found

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def clients(pythons: Mapping[str, str], base: str, ca_file: str) -> Iterator[dict[str, Client]]:
    """One process for each client, by name; `pythons` says which interpreter has it."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Client(name, python, base, ca_file)) for name, python in pythons.items()}


def rounds(
    running: Mapping[str, Client], task: str, *, times: int, count: int, slow: Sequence[str] = ()
) -> dict[str, Figure]:
    """What one call costs each client. Those that are `slow` do a tenth of the calls."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in running}
    for number in range(count + 1):
        for name, client in running.items():
            spent = client.ask(task=task, times=max(1, times // 10) if name in slow else times)
            if number:  # the first round warms up
                found[name].append(spent)
    return {name: figure(each) for name, each in found.items()}


def figure(each: Sequence[Mapping[str, float]]) -> Figure:
    cpu = [one["cpu"] for one in each]
    low, _, high = statistics.quantiles(cpu, n=4) if len(cpu) > 1 else (cpu[0], 0, cpu[0])
    return Figure(statistics.median(cpu), statistics.median(one["wall"] for one in each), low, high)
