"""Four ways to upgrade a scale set, side by side on the same emulator: `python tools/compare_rollouts.py [--check]`.

Writes the table in docs/comparison.md between its markers; with --check it writes nothing and exits 1 when the page is
not current. Every run has a world of its own from the same seed, in virtual time, so the figures never vary.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azurerm_lite.arm import Arm
from azurerm_lite.emulator.seed import Seed
from azurerm_lite.endpoints import rolling_upgrades, vmss
from azurerm_lite.endpoints.vmss_vms import list_vmss_vms
from azurerm_lite.errors import ArmError, OutcomeUnknown
from azurerm_lite.operation import Operation
from azurerm_lite.types import ScaleSet
from azurerm_lite.upgrade import Policy, plan, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
BEGIN, END = "<!-- rollouts:begin -->", "<!-- rollouts:end -->"
NEW = "22.04.202611120"
CAPACITY, UPDATE_DOMAINS = 20, 5
BATCH_SECONDS = 60.0  # for everybody: what the emulated rolling policy takes, as recorded
UNLUCKY = ("17", "18", "19")  # of other update domains than the first batch
AFTERMATH_SECONDS = 3600.0  # an instance that is not healthy by then stays unhealthy
CHANGE = {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}}

Faults = tuple[Mapping[str, Any], ...]
SCENARIOS: dict[str, Faults] = {
    "all goes well": (),
    "an image on which no instance becomes healthy": ({"on": "upgrade", "effect": "unhealthy", "times": 10**6},),
    "two instances fail": tuple(
        {"on": "upgrade", "instance": one, "effect": "fail", "times": 9} for one in ("6", "12")
    ),
    "a request is lost and three other instances become unhealthy": (
        {"habit": "request-lost-before", "nth": 1},
        *({"habit": "instance-unhealthy", "when": "at", "at": 20, "instance": one, "seconds": 900} for one in UNLUCKY),
    ),
    "two instances are evicted": tuple(
        {"habit": "instance-evicted", "when": "at", "at": 20, "instance": one} for one in ("3", "5")
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did to the set, by the emulator's own record. `said`: how the tool itself calls it."""

    said: str
    upgraded: int
    lowest: int
    harmed: int
    seconds: float
    requests: int


# --- the contenders: each acts on a scale set and says how it came out -----------------------------------------------


def ours(arm: Arm, address: ScaleSet) -> str:
    """This library's engine as it comes."""
    return upgrade(arm, plan(arm, *address, NEW)).outcome


def ours_with_a_canary(arm: Arm, address: ScaleSet) -> str:
    """The same with one instance before all others."""
    return upgrade(arm, plan(arm, *address, NEW, policy=Policy(canary_instances=1))).outcome


def ours_with_a_budget(arm: Arm, address: ScaleSet) -> str:
    """The same, when two failures are agreed to."""
    return upgrade(arm, plan(arm, *address, NEW, policy=Policy(failure_budget=2))).outcome


def script_of_2016(arm: Arm, address: ScaleSet) -> str:
    """The algorithm of vmssupgrade, run once for each update domain in turn. A broken connection ends it."""
    try:
        _domain_by_domain(arm.once(), address)
    except OutcomeUnknown:
        return "traceback"
    return "succeeded"


def _domain_by_domain(arm: Arm, address: ScaleSet) -> None:
    for domain in range(UPDATE_DOMAINS):
        found = vmss.get_vmss(arm, *address)
        image = found["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
        if image["version"] != NEW:
            image["version"] = NEW
            vmss.put_vmss(arm, *address, found)
        _upgrade_domain(arm, address, domain)


def _upgrade_domain(arm: Arm, address: ScaleSet, domain: int) -> None:
    instances = list_vmss_vms(arm, *address, expand="instanceView")
    ids = sorted(
        one["instanceId"] for one in instances if one["properties"]["instanceView"]["platformUpdateDomain"] == domain
    )
    _ignoring_refusals(lambda: vmss.manual_upgrade_instances(arm, *address, ids))
    while not _set_is_through(vmss.get_vmss_instance_view(arm, *address)):
        arm.pause(5.0)
    arm.pause(5.0)


def _ignoring_refusals(act: Callable[[], object]) -> None:
    try:
        act()
    except ArmError:
        return  # the script prints what came back and goes on


def _set_is_through(view: Mapping[str, Any]) -> bool:
    """In the script's favour: a wait on the state of the set alone ends at once here, or never after a failure."""
    summary = view["virtualMachine"]["statusesSummary"]
    return not any(one["code"] == "ProvisioningState/updating" for one in (*view["statuses"], *summary))


def all_at_once(arm: Arm, address: ScaleSet) -> str:
    """`az vmss update`, then `az vmss update-instances --instance-ids "*"`. Neither sends a POST again."""
    _as_the_sdk_polls(arm, vmss.patch_vmss(arm, *address, CHANGE), 10.0)
    try:
        operation = vmss.manual_upgrade_instances(arm.once(), *address, ["*"], all_instances=True)
    except OutcomeUnknown:
        return "error"
    _as_the_sdk_polls(arm, operation, 30.0)
    return "failed" if operation.error else "succeeded"


def rolling_policy(arm: Arm, address: ScaleSet) -> str:
    """Azure's own: the model is written, the mode does the rest; watched every 30 s until it ends."""
    _as_the_sdk_polls(arm, vmss.patch_vmss(arm, *address, CHANGE), 10.0)
    while (code := _rolling_code(arm, address)) == "RollingForward":
        arm.pause(30.0)
    return code.lower()


def _rolling_code(arm: Arm, address: ScaleSet) -> str:
    return str(rolling_upgrades.get_rolling_upgrade(arm, *address)["properties"]["runningStatus"]["code"])


def _as_the_sdk_polls(arm: Arm, operation: Operation, seconds: float) -> None:
    while not operation.done:
        arm.pause(seconds)
        operation.poll()


Contender = Callable[[Arm, ScaleSet], str]
CONTENDERS: dict[str, Contender] = {
    "azurerm_lite": ours,
    "azurerm_lite, one canary first": ours_with_a_canary,
    "azurerm_lite, failure budget 2": ours_with_a_budget,
    "the 2016 script, domain by domain": script_of_2016,
    '`az vmss update-instances "*"`': all_at_once,
    "Azure's rolling policy, 20/20/20": rolling_policy,
}


# --- a run, measured -------------------------------------------------------------------------------------------------


def stage_for(contender: Contender, faults: Faults) -> Stage:
    """The world in which a contender runs: the same for all, but for the mode that Azure's own policy needs."""
    mode = "Rolling" if contender is rolling_policy else "Manual"
    seed = Seed.build("rollout", capacity=CAPACITY, mode=mode, health_source="extension")
    made = Stage(seed, random_seed=2016)
    made.simulation.events.durations["upgrade"] = (BATCH_SECONDS, BATCH_SECONDS)
    made.app.throttle.is_enforced = True
    for fault in faults:
        made.simulation.faults.add(**fault)
    return made


def run(contender: Contender, faults: Faults) -> Outcome:
    """One contender in one scenario."""
    made = stage_for(contender, faults)
    before, begun = available(made), made.clock.time()
    said = contender(made.arm, made.address)
    seconds, requests = made.clock.time() - begun, len(made.app.recorder.entries)
    made.clock.advance(AFTERMATH_SECONDS)
    made.simulation.events.run_due_events()
    harmed = before - available(made)
    return Outcome(said, upgraded(made), made.lowest(), len(harmed), seconds, requests)


def available(made: Stage) -> set[str]:
    """The instances that are available now."""
    return {one.instance_id for one in made.scale_set.instances.values() if one.is_available}


def upgraded(made: Stage) -> int:
    """How many instances are available now and run the new image."""
    serving = [one for one in made.scale_set.instances.values() if one.is_available]
    images = [one.document["properties"]["storageProfile"]["imageReference"] for one in serving]
    return sum(image["exactVersion"] == NEW for image in images)


def results() -> dict[str, dict[str, Outcome]]:
    """Scenario to contender to what it did."""
    return {
        scenario: {name: run(contender, faults) for name, contender in CONTENDERS.items()}
        for scenario, faults in SCENARIOS.items()
    }


# --- the page --------------------------------------------------------------------------------------------------------


def table(found: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The results as Markdown, one table for each scenario."""
    parts = []
    for scenario, outcomes in found.items():
        head = f"**{scenario[0].upper()}{scenario[1:]}**"
        columns = (
            "| | outcome | available on the new image | fewest available | no longer available | seconds | requests |"
        )
        lines = [f"| {name} | {_cells(outcome)} |" for name, outcome in outcomes.items()]
        parts.append("\n".join([head, "", columns, "|---|---|--:|--:|--:|--:|--:|", *lines]))
    return "\n\n".join(parts)


def _cells(one: Outcome) -> str:
    return f"{one.said} | {one.upgraded} | {one.lowest} | {one.harmed} | {one.seconds:.0f} | {one.requests}"


def page_with(text: str, made: str) -> str:
    """The page with this table in place of the one between its markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """0, or 1 when --check finds a page that is not current."""
    old = PAGE.read_text(encoding="utf-8")
    new = page_with(old, table(results()))
    if old == new:
        return 0
    if "--check" in arguments:
        print(f"{PAGE} is not current: run tools/compare_rollouts.py")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
