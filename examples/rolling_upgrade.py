"""A rolling upgrade without downtime, by the engine: plan it, show it, run it; stop it and go on; roll it back.

    python examples/rolling_upgrade.py --emulator 22.04.202611120 --yes
    python examples/rolling_upgrade.py -r web-rg -s web 22.04.202611120 --canary 1 --journal web.jsonl
    python examples/rolling_upgrade.py --resume web.jsonl
    python examples/rolling_upgrade.py --rollback web.jsonl

Logs in with what the environment has. An upgrade and a rollback show their plan and ask before they begin, unless --yes
is given. Ctrl-C stops at a safe point, a second one at once. Exit codes: 0 done; 1 it stopped, and the last line says
why; 2 wrong usage or refused, nothing was changed; 3 not confirmed.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import azurerm_lite as az
from azurerm_lite import progress
from azurerm_lite.upgrade import Locked, Plan, PlanRefused, Policy, Verdict, plan, plan_rollback, resume, upgrade


def arguments() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parse = argparse.ArgumentParser(prog="rolling_upgrade", description=__doc__, formatter_class=form)
    parse.add_argument("version", nargs="?", default="latest", help="image version (default: the newest)")
    parse.add_argument("-r", "--resource-group", default=os.environ.get("AZURERM_LITE_RESOURCE_GROUP"))
    parse.add_argument("-s", "--scale-set", default=os.environ.get("AZURERM_LITE_VMSS_NAME"))
    parse.add_argument("--batch-by", default="update_domain", help="update_domain, fault_domain, zone or batch")
    parse.add_argument("--percent", type=int, default=20, help="at most so many percent at once")
    parse.add_argument("--floor", type=int, default=80, help="at least so many percent stay healthy")
    parse.add_argument("--canary", type=int, default=0, metavar="N", help="begin with so many instances")
    parse.add_argument("--bake", type=float, default=0, metavar="SECONDS", help="healthy for so long after each batch")
    parse.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="between two batches")
    parse.add_argument("--checkpoint", type=int, action="append", default=[], metavar="PERCENT", help="pause there")
    parse.add_argument("--take-back", action="store_true", help="after a failure, bring the old model back")
    parse.add_argument("--suspend-repairs", action="store_true", help="no automatic repairs meanwhile")
    parse.add_argument("--journal", metavar="FILE", help="write each step down, so that --resume can go on")
    parse.add_argument("--resume", metavar="FILE", help="go on with the upgrade of that journal")
    parse.add_argument("--rollback", metavar="FILE", help="roll the upgrade of that journal back")
    parse.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parse.add_argument("--emulator", action="store_true", help="on the built-in emulator, in no time")
    return parse.parse_args()


@contextlib.contextmanager
def connected(chosen: argparse.Namespace) -> Iterator[tuple[az.Arm, az.ScaleSet]]:
    """An Arm and the address: on Azure, or on an emulator that lives as long as this block."""
    if not chosen.emulator:
        with az.connect() as arm:
            subscription = os.environ.get("AZURE_SUBSCRIPTION_ID", "")
            yield arm, az.ScaleSet(subscription, chosen.resource_group or "", chosen.scale_set or "")
        return
    from azurerm_lite.emulator import VirtualClock, serve  # noqa: PLC0415  (only when it is asked for)

    clock = VirtualClock()
    with serve(clock=clock) as emulator:
        web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        with az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time) as arm:
            yield arm, web


def run(chosen: argparse.Namespace, arm: az.Arm, web: az.ScaleSet, stopping: list[int]) -> Verdict | None:
    def stop() -> bool:
        return bool(stopping)

    if chosen.resume is not None:
        with progress.for_stream(sys.stdout) as view:  # a live picture on a terminal, lines in a pipe
            return resume(arm, chosen.resume, on_event=view, should_stop=stop)
    is_rollback = chosen.rollback is not None
    wanted = rollback_plan(arm, chosen.rollback) if is_rollback else upgrade_plan(chosen, arm, web)
    print(wanted, flush=True)
    if not chosen.yes and not confirmed():
        return None
    with progress.for_stream(sys.stdout) as view:
        return upgrade(arm, wanted, journal=chosen.journal, on_event=view, should_stop=stop)


def upgrade_plan(chosen: argparse.Namespace, arm: az.Arm, web: az.ScaleSet) -> Plan:
    """The plan of the upgrade that was asked for."""
    policy = Policy(
        batch_by=chosen.batch_by,
        max_batch_instance_percent=chosen.percent,
        min_healthy_instance_percent=chosen.floor,
        canary_instances=chosen.canary,
        bake_seconds=chosen.bake,
        pause_seconds=chosen.pause,
        checkpoints=tuple(chosen.checkpoint),
        rollback_on_failure=chosen.take_back,
        suspend_repairs=chosen.suspend_repairs,
    )
    return plan(arm, *web, chosen.version, policy=policy)


def rollback_plan(arm: az.Arm, path: str) -> Plan:
    """What a rollback of the upgrade in this journal would do. Reads only."""
    return plan_rollback(arm, path)


def confirmed() -> bool:
    """Whether somebody says yes; where nobody can, that is a no."""
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def interrupted(number: int, stopping: list[int]) -> None:
    """The first time: stop at a safe point. The second: at once; the journal is valid at every moment."""
    if stopping:
        if sys.stdout.isatty():
            print("\x1b[?25h", end="", flush=True)  # the cursor, which the live picture has hidden
        print("stopped at once: the journal, if there is one, can be resumed", file=sys.stderr, flush=True)
        os._exit(128 + number)
    stopping.append(number)


def main() -> int:
    chosen, stopping = arguments(), list[int]()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _frame: interrupted(got, stopping))
    try:
        with connected(chosen) as (arm, web):
            verdict = run(chosen, arm, web, stopping)
    except (PlanRefused, Locked, az.InvalidInput, az.CredentialError) as error:
        print(f"rolling_upgrade: {error}", file=sys.stderr)
        return 2
    except az.AzurermLiteError as error:
        print(f"rolling_upgrade: {error}", file=sys.stderr)
        return 1
    if verdict is None:
        return 3
    print(verdict)
    if verdict.outcome in ("paused", "cancelled") and verdict.journal:
        print(f"go on with: python examples/rolling_upgrade.py --resume {verdict.journal}", file=sys.stderr)
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
