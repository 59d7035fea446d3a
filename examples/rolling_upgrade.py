"""Plan, run, resume and roll back a rolling upgrade without downtime.

    python examples/rolling_upgrade.py --emulator 22.04.202611120 --yes
    python examples/rolling_upgrade.py -r web-rg -s web 22.04.202611120 --canary 1 --journal web.jsonl
    python examples/rolling_upgrade.py --resume web.jsonl
    python examples/rolling_upgrade.py --rollback web.jsonl

It logs in with the credential in the environment. An upgrade and a rollback show their plan and ask for confirmation,
unless --yes is passed. Ctrl-C stops at a safe point, a second Ctrl-C at once. Exit codes: 0 done; 1 stopped, and the
last line says why; 2 wrong usage or refused, nothing was changed; 3 not confirmed.
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
    parse.add_argument("--percent", type=int, default=20, help="largest batch, in percent of the scale set")
    parse.add_argument("--floor", type=int, default=80, help="minimum of healthy instances, in percent")
    parse.add_argument("--canary", type=int, default=0, metavar="N", help="first upgrade N instances alone")
    parse.add_argument("--bake", type=float, default=0, metavar="SECONDS", help="how long each batch must stay healthy")
    parse.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="wait between two batches")
    parse.add_argument(
        "--checkpoint", type=int, action="append", default=[], metavar="PERCENT", help="pause at this progress"
    )
    parse.add_argument("--rollback-on-failure", action="store_true", help="after a failure, roll back")
    parse.add_argument("--suspend-repairs", action="store_true", help="suspend automatic repairs during the upgrade")
    parse.add_argument("--journal", metavar="FILE", help="write the journal, for --resume and --rollback")
    parse.add_argument("--resume", metavar="FILE", help="resume the upgrade of this journal")
    parse.add_argument("--rollback", metavar="FILE", help="roll back the upgrade of this journal")
    parse.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parse.add_argument("--emulator", action="store_true", help="run on the built-in emulator, in virtual time")
    return parse.parse_args()


@contextlib.contextmanager
def connect(options: argparse.Namespace) -> Iterator[tuple[az.Arm, az.ScaleSet]]:
    """An Arm and the address of the scale set, on Azure or on an emulator that runs during the block."""
    if not options.emulator:
        with az.connect() as arm:
            subscription = os.environ.get("AZURE_SUBSCRIPTION_ID", "")
            yield arm, az.ScaleSet(subscription, options.resource_group or "", options.scale_set or "")
        return
    from azurerm_lite.emulator import VirtualClock, serve  # noqa: PLC0415  (needs the extra `emulator`)

    clock = VirtualClock()
    with serve(clock=clock) as emulator:
        web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        with az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time) as arm:
            yield arm, web


def run(options: argparse.Namespace, arm: az.Arm, web: az.ScaleSet, stopping: list[int]) -> Verdict | None:
    def stop() -> bool:
        return bool(stopping)

    if options.resume is not None:
        with progress.for_stream(sys.stdout) as view:  # a live picture on a terminal, lines in a pipe
            return resume(arm, options.resume, on_event=view, should_stop=stop)
    is_rollback = options.rollback is not None
    planned = rollback_plan(arm, options.rollback) if is_rollback else upgrade_plan(options, arm, web)
    print(planned, flush=True)
    if not options.yes and not confirm():
        return None
    with progress.for_stream(sys.stdout) as view:
        return upgrade(arm, planned, journal=options.journal, on_event=view, should_stop=stop)


def upgrade_plan(options: argparse.Namespace, arm: az.Arm, web: az.ScaleSet) -> Plan:
    """Plan the upgrade. Reads only."""
    policy = Policy(
        batch_by=options.batch_by,
        max_batch_instance_percent=options.percent,
        min_healthy_instance_percent=options.floor,
        canary_instances=options.canary,
        bake_seconds=options.bake,
        pause_seconds=options.pause,
        checkpoints=tuple(options.checkpoint),
        rollback_on_failure=options.rollback_on_failure,
        suspend_repairs=options.suspend_repairs,
    )
    return plan(arm, *web, options.version, policy=policy)


def rollback_plan(arm: az.Arm, path: str) -> Plan:
    """Plan a rollback of the upgrade in a journal. Reads only."""
    return plan_rollback(arm, path)


def confirm() -> bool:
    """Ask the user; without a terminal to read from, the answer is no."""
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def on_interrupt(number: int, stopping: list[int]) -> None:
    """Ask the upgrade to stop at a safe point; the second time exit at once, which leaves a valid journal."""
    if stopping:
        if sys.stdout.isatty():
            print("\x1b[?25h", end="", flush=True)  # show the cursor, which the live view hides
        print("stopped at once: the journal, if there is one, can be resumed", file=sys.stderr, flush=True)
        os._exit(128 + number)
    stopping.append(number)


def main() -> int:
    options, stopping = arguments(), list[int]()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: on_interrupt(received, stopping))
    try:
        with connect(options) as (arm, web):
            verdict = run(options, arm, web, stopping)
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
