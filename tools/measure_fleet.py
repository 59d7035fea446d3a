"""A thousand scale sets of 20 instances upgraded at once, by one process in virtual time: `tools/measure_fleet.py`.

With --check it exits 1 if an upgrade fails, a request is throttled, an instance is upgraded twice, or the process,
which includes the emulator, needs 300 MB.
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
    """Counts the requests, and the upgrade requests for each instance, instead of storing them."""

    def __init__(self) -> None:
        super().__init__()
        self.requests, self.sent = 0, Counter[str]()

    def add(self, entry: Entry, *, login: bool = False) -> None:  # noqa: ARG002
        self.requests += 1
        if entry.path.endswith("/manualupgrade"):
            self.sent.update(f"{entry.path} {instance_id}" for instance_id in entry.body["instanceIds"])


def build_stage(tally: Tally) -> tuple[Stage, list[ScaleSet]]:
    """An emulator with the scale sets in ten subscriptions that enforces Compute's limits."""
    seeds = [
        Seed.build(
            f"web{n:04}", capacity=INSTANCES, subscription_id=f"{n % SUBSCRIPTIONS:08}-1111-4222-8333-9e0f1a2b3c4d"
        )
        for n in range(SETS)
    ]
    stage = Stage(seeds[0])
    for seed in seeds[1:]:
        seed.add_to(stage.simulation)
    stage.app.throttle.is_enforced, stage.app.recorder = True, tally
    return stage, [ScaleSet(seed.subscription_id, seed.resource_group, seed.vmss_name) for seed in seeds]


def faults(stage: Stage, tally: Tally, report: FleetReport, megabytes: float) -> list[str]:
    """The reasons why the run failed."""
    sent = tally.sent
    problems = [] if report.ok else [str(report)]
    problems += [f"{stage.app.throttle.refusals} requests were refused"] if stage.app.throttle.refusals else []
    problems += [f"{len(sent)} instances were sent"] if len(sent) != SETS * INSTANCES else []
    problems += ["an instance was sent twice"] if max(sent.values()) > 1 else []
    return problems + ([f"{megabytes:.0f} MB"] if megabytes >= MOST_MB else [])


def main() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, files[1]), files[1]))  # each upgrade holds a lock file
    tally = Tally()
    stage, sets = build_stage(tally)
    started_at, virtual = time.process_time(), stage.clock.time()
    report = upgrade_fleet(stage.arm, sets, NEW, at_once=SETS, workers=1)
    spent, hours = time.process_time() - started_at, (stage.clock.time() - virtual) / 60
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{SETS} scale sets of {INSTANCES}: {report!r}")
    print(f"{hours:.0f} virtual minutes, {spent:.1f} s CPU with the emulator's own, {megabytes:.0f} MB,", end=" ")
    print(f"{tally.requests} requests, {stage.app.throttle.refusals} refused")
    problems = faults(stage, tally, report, megabytes)
    print("\n".join(problems))
    return 1 if problems and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
