"""Taking turns: every client does a few calls, then the next one, round after round, all on one core.

CPU seconds are the client process's own, so that neither the stub nor other work on the machine is counted; what is
reported is the median over the rounds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


Series = dict[int, tuple[float, ...]]  # by round: CPU seconds (or bytes, where memory is meant), then wall seconds


class Fresh(NamedTuple):
    """What a whole process took: CPU and wall seconds, bytes of memory at most, and what it printed."""

    cpu: float
    wall: float
    bytes: float
    said: str


def on_core(core: int, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """A process of ours that stays on one core, without the proxies, CA files and Python settings that we stand in."""
    taken = ("_proxy", "_bundle", "dontwritebytecode")
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
) -> dict[str, Series]:
    """What one call costs each client, by round. The `slow` do a tenth of the calls, in every third round."""
    found: dict[str, Series] = {name: {} for name in running}
    for number in range(count + 1):
        for name, client in running.items():
            if name in slow and (number % 3 or not number):
                continue
            spent = client.ask(task=task, times=max(1, times // 10) if name in slow else times)
            if number:  # the first round warms up
                found[name][number] = spent["cpu"], spent["wall"]
    return found


def ratio(ours: Series, theirs: Series) -> float:
    """The median over the rounds of one cost relative to the other in the same round.

    Whatever else the machine did in that round it did to both.
    """
    return statistics.median(ours[number][0] / theirs[number][0] for number in ours.keys() & theirs.keys())


def spread(series: Series) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of the CPU."""
    cpu = [one[0] for one in series.values()]
    return tuple(statistics.quantiles(cpu, n=4)) if len(cpu) > 1 else (cpu[0],) * 3  # type: ignore[return-value]


def fresh(commands: Mapping[str, Sequence[str]], env: Mapping[str, str], count: int) -> dict[str, dict[int, Fresh]]:
    """Processes from their start to their end, in turns."""
    found: dict[str, dict[int, Fresh]] = {name: {} for name in commands}
    for number in range(count + 1):
        for name, command in commands.items():
            one = run(command, env)
            if number:  # the first round fills the caches of the disk
                found[name][number] = one
    return found


def run(command: Sequence[str], env: Mapping[str, str]) -> Fresh:
    begun = time.perf_counter()
    process = on_core(1, command, env)
    said = process.stdout.read()
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = code
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return Fresh(used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss * 1024, said.strip())
