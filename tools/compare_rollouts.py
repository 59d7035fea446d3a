"""Four ways to upgrade a scale set, side by side on the same emulator: `python tools/compare_rollouts.py [--check]`.

Writes the table in docs/comparison.md between its markers; with --check it writes nothing and exits 1 if the page is
not current. Every run has its own emulator with the same seed and virtual time, so the figures never vary.
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
BATCH_SECONDS = 60.0  # for every contender: the recorded time of a rolling policy
UNHEALTHY = ("17", "18", "19")  # in other update domains than the first batch
RECOVERY_SECONDS = 3600.0  # an instance that is not healthy by then stays unhealthy
CHANGE = {"properties": {"virtualMachineProfile": {"storageProfile": {"imageReference": {"version": NEW}}}}}

Faults = tuple[Mapping[str, Any], ...]
SCENARIOS: dict[str, Faults] = {
    "all goes well": (),
    "an image on which no instance becomes healthy": ({"on": "upgrade", "effect": "unhealthy", "times": 10**6},),
    "two instances fail": tuple(
        {"on": "upgrade", "instance": instance, "effect": "fail", "times": 9} for instance in ("6", "12")
    ),
    "a request is lost and three other instances become unhealthy": (
        {"habit": "request-lost-before", "nth": 1},
        *(
            {"habit": "instance-unhealthy", "when": "at", "at": 20, "instance": instance, "seconds": 900}
            for instance in UNHEALTHY
        ),
    ),
    "two instances are evicted": tuple(
        {"habit": "instance-evicted", "when": "at", "at": 20, "instance": instance} for instance in ("3", "5")
    ),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did to the scale set, by the emulator's record. `reported`: the outcome by the tool's own account."""

    reported: str
    upgraded: int
    lowest: int
    harmed: int
    seconds: float
    requests: int


# --- the contenders: each upgrades a scale set and returns the outcome -----------------------------------------------


def ours(arm: Arm, address: ScaleSet) -> str:
    """This library's engine with its default policy."""
    return upgrade(arm, plan(arm, *address, NEW)).outcome


def ours_with_a_canary(arm: Arm, address: ScaleSet) -> str:
    """This library's engine with a canary of one instance."""
    return upgrade(arm, plan(arm, *address, NEW, policy=Policy(canary_instances=1))).outcome


def ours_with_a_budget(arm: Arm, address: ScaleSet) -> str:
    """This library's engine with a failure budget of two instances."""
    return upgrade(arm, plan(arm, *address, NEW, policy=Policy(failure_budget=2))).outcome


def script_of_2016(arm: Arm, address: ScaleSet) -> str:
    """The algorithm of vmssupgrade, for one update domain after another. A broken connection ends it."""
    try:
        _domain_by_domain(arm.without_retries(), address)
    except OutcomeUnknown:
        return "traceback"
    return "succeeded"


def _domain_by_domain(arm: Arm, address: ScaleSet) -> None:
    for domain in range(UPDATE_DOMAINS):
        model = vmss.get_vmss(arm, *address)
        image = model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
        if image["version"] != NEW:
            image["version"] = NEW
            vmss.put_vmss(arm, *address, model)
        _upgrade_domain(arm, address, domain)


def _upgrade_domain(arm: Arm, address: ScaleSet, domain: int) -> None:
    instances = list_vmss_vms(arm, *address, expand="instanceView")
    ids = sorted(
        instance["instanceId"]
        for instance in instances
        if instance["properties"]["instanceView"]["platformUpdateDomain"] == domain
    )
    _ignoring_refusals(lambda: vmss.manual_upgrade_instances(arm, *address, ids))
    while not _set_is_through(vmss.get_vmss_instance_view(arm, *address)):
        arm.pause(5.0)
    arm.pause(5.0)


def _ignoring_refusals(act: Callable[[], object]) -> None:
    try:
        act()
    except ArmError:
        return  # the script prints the response and continues


def _set_is_through(view: Mapping[str, Any]) -> bool:
    """Whether no instance is Updating. The script looked only at the state of the set, which would end at once here."""
    summary = view["virtualMachine"]["statusesSummary"]
    return not any(instance["code"] == "ProvisioningState/updating" for instance in (*view["statuses"], *summary))


def all_at_once(arm: Arm, address: ScaleSet) -> str:
    """`az vmss update`, then `az vmss update-instances --instance-ids "*"`. Neither sends a POST again."""
    _as_the_sdk_polls(arm, vmss.patch_vmss(arm, *address, CHANGE), 10.0)
    try:
        operation = vmss.manual_upgrade_instances(arm.without_retries(), *address, ["*"], all_instances=True)
    except OutcomeUnknown:
        return "error"
    _as_the_sdk_polls(arm, operation, 30.0)
    return "failed" if operation.error else "succeeded"


def rolling_policy(arm: Arm, address: ScaleSet) -> str:
    """Azure's rolling upgrade: the model is written, and the upgrade that Azure starts is watched every 30 s."""
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


# --- a run -----------------------------------------------------------------------------------------------------------


def stage_for(contender: Contender, faults: Faults) -> Stage:
    """The emulator for a run; only the upgrade mode differs between contenders."""
    mode = "Rolling" if contender is rolling_policy else "Manual"
    seed = Seed.build("rollout", capacity=CAPACITY, mode=mode, health_source="extension")
    stage = Stage(seed, random_seed=2016)
    stage.simulation.events.durations["upgrade"] = (BATCH_SECONDS, BATCH_SECONDS)
    stage.app.throttle.is_enforced = True
    for fault in faults:
        stage.simulation.faults.add(**fault)
    return stage


def run(contender: Contender, faults: Faults) -> Outcome:
    """Run one contender in one scenario."""
    stage = stage_for(contender, faults)
    before, started = available(stage), stage.clock.time()
    reported = contender(stage.arm, stage.address)
    seconds, requests = stage.clock.time() - started, len(stage.app.recorder.entries)
    stage.clock.advance(RECOVERY_SECONDS)
    stage.simulation.events.run_due_events()
    harmed = before - available(stage)
    return Outcome(reported, upgraded(stage), stage.lowest(), len(harmed), seconds, requests)


def available(stage: Stage) -> set[str]:
    """The instances that are available now."""
    return {instance.instance_id for instance in stage.scale_set.instances.values() if instance.is_available}


def upgraded(stage: Stage) -> int:
    """How many instances are available now and run the new image."""
    serving = [instance for instance in stage.scale_set.instances.values() if instance.is_available]
    images = [instance.document["properties"]["storageProfile"]["imageReference"] for instance in serving]
    return sum(image["exactVersion"] == NEW for image in images)


def results() -> dict[str, dict[str, Outcome]]:
    """The outcomes as `{scenario: {contender: outcome}}`."""
    return {
        scenario: {name: run(contender, faults) for name, contender in CONTENDERS.items()}
        for scenario, faults in SCENARIOS.items()
    }


# --- the page --------------------------------------------------------------------------------------------------------


def table(results_by_scenario: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The results as Markdown, one table for each scenario."""
    parts = []
    for scenario, outcomes in results_by_scenario.items():
        head = f"**{scenario[0].upper()}{scenario[1:]}**"
        columns = (
            "| | outcome | available on the new image | fewest available | no longer available | seconds | requests |"
        )
        lines = [f"| {name} | {_cells(outcome)} |" for name, outcome in outcomes.items()]
        parts.append("\n".join([head, "", columns, "|---|---|--:|--:|--:|--:|--:|", *lines]))
    return "\n\n".join(parts)


def _cells(outcome: Outcome) -> str:
    facts = (
        outcome.reported,
        outcome.upgraded,
        outcome.lowest,
        outcome.harmed,
        round(outcome.seconds),
        outcome.requests,
    )
    return " | ".join(map(str, facts))


def page_with(text: str, content: str) -> str:
    """The page with this table in place of the one between its markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE} has no {BEGIN} … {END}")
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the page; returns 1 when --check finds that it is not current."""
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
