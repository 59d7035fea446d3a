"""Measure the CPU time of the engine: `python tools/measure_engine.py [--check]`.

It upgrades scale sets of 100 to 10,000 instances in virtual time, planning included. The emulator runs in another
process behind TLS, so the figures contain the client's TLS and parsing but not the emulator. `bare` is the CPU time of
only reading and parsing the same lists, which calibrates the machine. With --check it exits 1 if an upgrade of 1,000
instances takes more than 1.5 times `bare`, a plan of 10,000 more than a seventh of it (0.6 s and 57 ms where `bare`
takes 0.4 s), if a second connection is opened, or if the cost grows faster than the number of instances.
"""

import contextlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from azurerm_lite import ScaleSet, connect, iter_vmss_vms
from azurerm_lite.upgrade import Policy, plan, upgrade
from azurerm_lite.upgrade.rules import selection
from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Snapshot

NEW = "22.04.202611120"
BATCH_SECONDS = (301.0, 325.0)
MOST_OF_BARE, MOST_PLANNER_OF_BARE, MOST_EXPONENT = 1.5, 1 / 7, 1.1
SIZES = (100, 300, 1000, 3000, 10_000)


class Cost(NamedTuple):
    """CPU seconds of this process for one upgrade and for only reading its lists, and the number of connections."""

    instances: int
    cpu: float
    bare: float
    connections: int


# --- the process of the emulator -------------------------------------------------------------------------------------


def serve_emulator(capacity: int) -> None:
    """Serve a scale set until stdin ends; each line of stdin is a number of seconds by which the clock advances."""
    from azurerm_lite.emulator import Seed, VirtualClock, serve  # noqa: PLC0415  (in this process only)

    clock = VirtualClock()
    with serve(Seed.build(capacity=capacity, page_size=100), clock=clock) as emulator:
        emulator.simulation.events.durations["upgrade"] = BATCH_SECONDS
        print(json.dumps({"env": emulator.env(), "now": clock.time(), "scale_set": emulator.vmss_name}), flush=True)
        for line in sys.stdin:
            clock.advance(float(line))
            print(flush=True)


class RemoteClock:
    """Starts the emulator's process, and reads and advances its virtual clock."""

    def __init__(self, capacity: int) -> None:
        command = [sys.executable, __file__, "--serve", str(capacity)]
        pipe = subprocess.PIPE
        process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._process = process
        ready = json.loads(self._process.stdout.readline())
        self.env: dict[str, str] = ready["env"]
        self._now: float = ready["now"]

    def time(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._process.stdin.write(f"{seconds!r}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        self._now += seconds

    def close(self) -> None:
        self._process.communicate()


# --- the process of the engine ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def connect_to_emulator(capacity: int) -> Iterator[tuple[Any, ScaleSet]]:
    remote = RemoteClock(capacity)
    env = remote.env
    names = ("AZURE_SUBSCRIPTION_ID", "AZURERM_LITE_RESOURCE_GROUP", "AZURERM_LITE_VMSS_NAME")
    try:
        with connect(env=env, sleep=remote.sleep, now=remote.time, monotonic=remote.time) as arm:
            yield arm, ScaleSet(*(env[name] for name in names))
    finally:
        remote.close()


def measure_upgrade(capacity: int) -> Cost:
    """Measure one upgrade, from the plan to the verdict, after login and imports."""
    with connect_to_emulator(capacity) as (arm, scale_set):
        arm.get(scale_set.resource_id)
        started_at = time.process_time()
        verdict = upgrade(arm, plan(arm, *scale_set, NEW))
        cpu = time.process_time() - started_at
        if verdict.counts != {"updated": capacity}:
            raise RuntimeError(f"the upgrade failed: {verdict}")
        return Cost(capacity, cpu, measure_lists(arm, scale_set), arm._transport()._adapter._pool.num_connections)


def measure_lists(arm: Any, scale_set: ScaleSet) -> float:
    """CPU seconds of reading the lists of an upgrade: for its plan, its start, and its five batches."""
    started_at = time.process_time()
    for _ in range(7):
        for _item in iter_vmss_vms(arm, *scale_set, expand="instanceView"):
            pass
    return time.process_time() - started_at


def measure_plan(instances: int) -> float:
    """CPU seconds of the planner alone: three zones of five update domains, all instances outdated."""
    members = [
        InstanceStatus(
            str(n), "v", str(n % 3 + 1), "g", n % 5, n % 3, False, "1", "Succeeded", "running", "healthy", False
        )
        for n in range(instances)
    ]
    snapshot = Snapshot({member.instance_id: member for member in members}, 0.0, True)
    started_at = time.process_time()
    batches, problem = selection.simulate(Policy(), snapshot, "2")
    cpu = time.process_time() - started_at
    if problem or sum(map(len, batches)) != instances:
        raise RuntimeError(f"the plan failed: {problem}")
    return cpu


def exponent(costs: Sequence[tuple[float, float]]) -> float:
    """The exponent b of the best fit cost = a * size ** b."""
    points = [(math.log(size), math.log(cost)) for size, cost in costs]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points))


def main(argv: list[str]) -> int:
    if argv[:1] == ["--serve"]:
        serve_emulator(int(argv[1]))
        return 0
    costs = [measure_cheapest(size) for size in SIZES]
    for cost in costs:
        print(
            f"{cost.instances:>6} instances: {cost.cpu:6.3f} s of CPU, bare {cost.bare:6.3f} s, "
            f"{cost.connections} connection(s)"
        )
    growth = exponent([(cost.instances, cost.cpu) for cost in costs])
    planner_seconds = min(measure_plan(10_000) for _ in range(5))
    print(f"grows with the power {growth:.2f} of the instances; a plan of 10,000 takes {1000 * planner_seconds:.0f} ms")
    thousand = next(cost for cost in costs if cost.instances == 1000)
    passed = (
        thousand.cpu <= MOST_OF_BARE * thousand.bare
        and planner_seconds <= MOST_PLANNER_OF_BARE * thousand.bare
        and growth <= MOST_EXPONENT
        and {cost.connections for cost in costs} == {1}
    )
    return 0 if passed or argv[:1] != ["--check"] else 1


def measure_cheapest(size: int) -> Cost:
    """The cheapest of three measurements (of one for large sets), since disturbances only add CPU time."""
    return min((measure_upgrade(size) for _ in range(3 if size <= 1000 else 1)), key=lambda cost: cost.cpu)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
