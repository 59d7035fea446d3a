"""What the engine itself costs in CPU: `python tools/measure_engine.py [--check]`.

Roll-outs of 100 to 10,000 instances in virtual time, planning included. The emulator is a process of its own, reached
over TLS as Azure would be, so its CPU is not in the figures; TLS and the reading of each answer are. `bare` is what the
same lists cost who only reads and parses them: the measure of a machine. With --check it exits 1 when the engine costs
more than half as much again, a plan of 10,000 more than a seventh of `bare` for 1,000 (0.6 s and 57 ms where `bare`
takes 0.4 s), when it opens a second connection, or when the cost grows faster than the set.
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
    """CPU seconds of this process for one roll-out and for bare reading, and the connections that were opened."""

    instances: int
    cpu: float
    bare: float
    connections: int


# --- the emulator's side ---------------------------------------------------------------------------------------------


def be_the_emulator(capacity: int) -> None:
    """Serve a scale set until stdin ends; each line on it moves the clock by so many seconds."""
    from azurerm_lite.emulator import Seed, VirtualClock, serve  # noqa: PLC0415  (in this process only)

    clock = VirtualClock()
    with serve(Seed.build(capacity=capacity, page_size=100), clock=clock) as emulator:
        emulator.simulation.events.durations["upgrade"] = BATCH_SECONDS
        print(json.dumps({"env": emulator.env(), "now": clock.time(), "scale_set": emulator.vmss_name}), flush=True)
        for line in sys.stdin:
            clock.advance(float(line))
            print(flush=True)


class Elsewhere:
    """The virtual clock of that process, as this one reads and moves it."""

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


# --- the engine's side -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(capacity: int) -> Iterator[tuple[Any, ScaleSet]]:
    there = Elsewhere(capacity)
    env = there.env
    names = ("AZURE_SUBSCRIPTION_ID", "AZURERM_LITE_RESOURCE_GROUP", "AZURERM_LITE_VMSS_NAME")
    try:
        with connect(env=env, sleep=there.sleep, now=there.time, monotonic=there.time) as arm:
            yield arm, ScaleSet(*(env[name] for name in names))
    finally:
        there.close()


def rolled_out(capacity: int) -> Cost:
    """One roll-out, from the plan to the verdict; logged in and everything imported before."""
    with connected(capacity) as (arm, scale_set):
        arm.get(scale_set.resource_id)
        begun = time.process_time()
        verdict = upgrade(arm, plan(arm, *scale_set, NEW))
        cpu = time.process_time() - begun
        if verdict.counts != {"updated": capacity}:
            raise RuntimeError(f"the roll-out went wrong: {verdict}")
        return Cost(capacity, cpu, bare(arm, scale_set), arm._transport()._adapter._pool.num_connections)


def bare(arm: Any, scale_set: ScaleSet) -> float:
    """CPU seconds that the lists of a roll-out cost who reads them only: its plan, its start, and its five batches."""
    begun = time.process_time()
    for _ in range(7):
        for _item in iter_vmss_vms(arm, *scale_set, expand="instanceView"):
            pass
    return time.process_time() - begun


def planned(instances: int) -> float:
    """CPU seconds of one plan, nothing but the planner: three zones of five update domains, all of them behind."""
    members = [
        InstanceStatus(
            str(n), "v", str(n % 3 + 1), "g", n % 5, n % 3, False, "1", "Succeeded", "running", "healthy", False
        )
        for n in range(instances)
    ]
    seen = Snapshot({one.instance_id: one for one in members}, 0.0, True)
    begun = time.process_time()
    batches, why_not = selection.simulate(Policy(), seen, "2")
    cpu = time.process_time() - begun
    if why_not or sum(map(len, batches)) != instances:
        raise RuntimeError(f"the plan went wrong: {why_not}")
    return cpu


def exponent(costs: Sequence[tuple[float, float]]) -> float:
    """b of the best cost = a * size ** b."""
    points = [(math.log(size), math.log(cost)) for size, cost in costs]
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return float(sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points))


def main(argv: list[str]) -> int:
    if argv[:1] == ["--serve"]:
        be_the_emulator(int(argv[1]))
        return 0
    costs = [best(size) for size in SIZES]
    for one in costs:
        print(
            f"{one.instances:>6} instances: {one.cpu:6.3f} s of CPU, bare {one.bare:6.3f} s, "
            f"{one.connections} connection(s)"
        )
    grows = exponent([(one.instances, one.cpu) for one in costs])
    planner_seconds = min(planned(10_000) for _ in range(5))
    print(f"grows with the power {grows:.2f} of the instances; a plan of 10,000 takes {1000 * planner_seconds:.0f} ms")
    thousand = next(one for one in costs if one.instances == 1000)
    fine = (
        thousand.cpu <= MOST_OF_BARE * thousand.bare
        and planner_seconds <= MOST_PLANNER_OF_BARE * thousand.bare
        and grows <= MOST_EXPONENT
        and {one.connections for one in costs} == {1}
    )
    return 0 if fine or argv[:1] != ["--check"] else 1


def best(size: int) -> Cost:
    """The cheapest of three, of one where it takes long: what disturbs a measurement makes it dearer only."""
    return min((rolled_out(size) for _ in range(3 if size <= 1000 else 1)), key=lambda one: one.cpu)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
