"""A thousand scale sets of 20 instances upgraded at once, by one process in virtual time: `tools/measure_fleet.py`.

With --check it exits 1 when any of them fails, when Compute's limits refuse a request, when an instance is sent twice,
or when the process, with the emulated world in it, needs 300 MB.
"""

import resource
import sys
import time
from collections import Counter

from azurerm_lite.emulator.recorder import Entry, Recorder
from azurerm_lite.emulator.seed import Seed
from azurerm_lite.types import ScaleSet
from azurerm_lite.upgrade import FleetReport, upgrade_fleet
from azurerm_lite.upgrade.rehearsal import Stage

NEW = "22.04.202611120"
SETS, INSTANCES, SUBSCRIPTIONS = 1000, 20, 10
MOST_MB = 300


class Tally(Recorder):
    """Counts instead of keeping: requests, and how often each instance was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.requests, self.sent = 0, Counter[str]()

    def add(self, entry: Entry, *, login: bool = False) -> None:  # noqa: ARG002
        self.requests += 1
        if entry.path.endswith("/manualupgrade"):
            self.sent.update(f"{entry.path} {one}" for one in entry.body["instanceIds"])


def world(tally: Tally) -> tuple[Stage, list[ScaleSet]]:
    """So many scale sets in ten subscriptions, under limits that refuse."""
    seeds = [
        Seed.build(
            f"web{n:04}", capacity=INSTANCES, subscription_id=f"{n % SUBSCRIPTIONS:08}-1111-4222-8333-9e0f1a2b3c4d"
        )
        for n in range(SETS)
    ]
    made = Stage(seeds[0])
    for seed in seeds[1:]:
        seed.add_to(made.simulation)
    made.app.throttle.is_enforced, made.app.recorder = True, tally
    return made, [ScaleSet(one.subscription_id, one.resource_group, one.vmss_name) for one in seeds]


def faults(made: Stage, tally: Tally, report: FleetReport, megabytes: float) -> list[str]:
    """What is not as it must be."""
    sent = tally.sent
    found = [] if report.ok else [str(report)]
    found += [f"{made.app.throttle.refusals} requests were refused"] if made.app.throttle.refusals else []
    found += [f"{len(sent)} instances were sent"] if len(sent) != SETS * INSTANCES else []
    found += ["an instance was sent twice"] if max(sent.values()) > 1 else []
    return found + ([f"{megabytes:.0f} MB"] if megabytes >= MOST_MB else [])


def main() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, files[1]), files[1]))  # each scale set holds its lock
    tally = Tally()
    made, sets = world(tally)
    begun, virtual = time.process_time(), made.clock.time()
    report = upgrade_fleet(made.arm, sets, NEW, at_once=SETS, workers=1)
    spent, hours = time.process_time() - begun, (made.clock.time() - virtual) / 60
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{SETS} scale sets of {INSTANCES}: {report!r}")
    print(f"{hours:.0f} virtual minutes, {spent:.1f} s CPU with the emulator's own, {megabytes:.0f} MB,", end=" ")
    print(f"{tally.requests} requests, {made.app.throttle.refusals} refused")
    found = faults(made, tally, report, megabytes)
    print("\n".join(found))
    return 1 if found and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
