"""Upgrade instances, an update domain or a whole scale set to another image, as the vmssupgrade of 2016 did.

    python examples/vmssupgrade.py --emulator -n 22.04.202611120 --all -y
    python examples/vmssupgrade.py -r web-rg -s web -n 22.04.202611120 -u 0

It has the options and the vmssconfig.json (tenantId, appId, appSecret, subscriptionId) of that tool, and upgrades with
azurerm_lite.upgrade. The selected instances are upgraded together, with --all at most a quarter of the set at a time.
For canaries, journal, resume and rollback see examples/rolling_upgrade.py. With --emulator it runs on an emulated scale
set in virtual time.

Exit codes: 0 done; 1 Azure refused, an instance failed, or the network failed; 2 wrong usage, nothing was sent;
3 stopped before anything was changed (not confirmed, or the plan was refused).
"""

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azurerm_lite as az
from azurerm_lite.errors import printable
from azurerm_lite.model import rebase_tags
from azurerm_lite.upgrade import Locked, Plan, PlanRefused, Policy, plan, upgrade


class NotConfirmed(Exception):
    """The user did not confirm, so nothing was changed."""


# --- options ---------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parse = argparse.ArgumentParser(prog="vmssupgrade", description=__doc__, formatter_class=form)
    parse.add_argument("-r", "--resourcegroup", metavar="NAME", help="resource group")
    parse.add_argument("-s", "--vmssname", metavar="NAME", help="scale set")
    parse.add_argument("--subscription", metavar="ID", help="subscription (default: AZURE_SUBSCRIPTION_ID)")
    image = parse.add_mutually_exclusive_group()
    image.add_argument(
        "-n", "--newversion", metavar="VERSION", help="image version, such as 22.04.202611120; or latest"
    )
    image.add_argument("-c", "--customuri", metavar="URI", help="custom image by URI (osDisk.image.uri)")
    image.add_argument("--image-id", metavar="ID", help="gallery image or managed image by resource id")
    parse.add_argument("--sku", metavar="SKU", help="image SKU, alone or together with -n")
    which = parse.add_mutually_exclusive_group(required=True)
    which.add_argument("-u", "--updatedomain", type=int, metavar="N", help="upgrade this update domain")
    which.add_argument("-i", "--vmid", metavar="ID", help="upgrade this instance")
    which.add_argument("-l", "--vmlist", metavar="IDS", help="""upgrade these: 0,3,5 or '["0", "3", "5"]'""")
    which.add_argument("--all", action="store_true", help="upgrade every update domain, one after another")
    parse.add_argument(
        "--floor", type=int, default=0, metavar="PERCENT", help="minimum of healthy instances, in percent"
    )
    parse.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parse.add_argument("-w", "--nowait", action="store_true", help="do not wait: print the operation as JSON")
    parse.add_argument("-v", "--verbose", action="store_true", help="show each step")
    parse.add_argument(
        "--allow-automatic", action="store_true", help="in modes Automatic and Rolling: let Azure upgrade"
    )
    parse.add_argument("--emulator", nargs="?", const="default", metavar="SEED", help="run on the built-in emulator")
    return parse


def check_arguments(arguments: argparse.Namespace, parse: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments themselves, or exit with a usage message."""
    if not (arguments.newversion or arguments.customuri or arguments.image_id or arguments.sku):
        parse.error("one of -n/--newversion, --sku, -c/--customuri or --image-id is needed")
    if arguments.sku and (arguments.customuri or arguments.image_id):
        parse.error("--sku goes with a platform image only")
    if arguments.nowait and arguments.all:
        parse.error("--all waits for each update domain, so it does not go with --nowait")
    if not arguments.emulator and not (arguments.resourcegroup and arguments.vmssname):
        parse.error("-r/--resourcegroup and -s/--vmssname are needed (or --emulator)")
    return arguments


@contextlib.contextmanager
def connect(arguments: argparse.Namespace) -> Iterator[tuple[az.Arm, az.ScaleSet]]:
    """An Arm and the address of the scale set, on Azure or on an emulator that runs during the block."""
    if not arguments.emulator:
        env = {**os.environ, **config_file(Path("vmssconfig.json"))}
        subscription = arguments.subscription or env.get("AZURE_SUBSCRIPTION_ID", "")
        with az.connect(env=env) as arm:
            yield arm, az.ScaleSet(subscription, arguments.resourcegroup, arguments.vmssname)
        return
    from azurerm_lite.emulator import VirtualClock, serve  # noqa: PLC0415  (needs the extra `emulator`)

    clock = VirtualClock()
    with serve(arguments.emulator, clock=clock) as emulator:
        names = (arguments.resourcegroup or emulator.resource_group, arguments.vmssname or emulator.vmss_name)
        subscription = arguments.subscription or emulator.subscription_id
        with az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time) as arm:
            yield arm, az.ScaleSet(subscription, *names)


def config_file(path: Path) -> dict[str, str]:
    """The values in the vmssconfig.json of 2016 as environment variables; empty when there is no file."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        names = {"tenantId": "TENANT_ID", "appId": "CLIENT_ID", "appSecret": "CLIENT_SECRET"}
        names["subscriptionId"] = "SUBSCRIPTION_ID"
        return {f"AZURE_{new}": str(config[old]) for old, new in names.items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise az.InvalidInput(f"{path} must be JSON with tenantId, appId, appSecret and subscriptionId") from None


def edit_image(model: Any, arguments: argparse.Namespace) -> az.Edit:
    if arguments.customuri:
        return az.set_image_uri(model, arguments.customuri)
    if arguments.image_id:
        return az.set_image_id(model, arguments.image_id)
    if arguments.sku:
        return az.set_image_sku(model, arguments.sku, version=arguments.newversion)
    return az.set_image_version(model, arguments.newversion)


def policy(arguments: argparse.Namespace) -> Policy:
    """Upgrade the selected instances together, or with --all each update domain by itself, a quarter at a time."""
    ids = [arguments.vmid] if arguments.vmid is not None else parse_ids(arguments.vmlist)
    return Policy(
        batch_by="update_domain" if ids is None else "batch",
        max_batch_instance_percent=25 if arguments.all else 100,
        min_healthy_instance_percent=arguments.floor,
        min_healthy_zone_percent=arguments.floor,
        instances=None if ids is None else tuple(ids),
        update_domains=None if arguments.updatedomain is None else (arguments.updatedomain,),
    )


def parse_ids(text: str | None) -> list[str] | None:
    if text is None:
        return None
    try:
        ids = json.loads(text) if text.lstrip().startswith("[") else text.split(",")
    except (ValueError, RecursionError):
        raise az.InvalidInput(f"not a list of instance ids: {text[:80]!r}") from None
    return [str(instance_id).strip() for instance_id in ids]


# --- the upgrade -----------------------------------------------------------------------------------------------------


def run(arm: az.Arm, scale_set: az.ScaleSet, arguments: argparse.Namespace) -> int:
    model = az.get_vmss(arm, *scale_set)
    where = "EMULATOR, not Azure" if arm.is_emulator else arm.cloud.name
    print(f"{scale_set.vmss_name} in {scale_set.resource_group} ({where}), image now: {az.image_text(model)}")
    if arguments.allow_automatic and model["properties"].get("upgradePolicy", {}).get("mode", "Manual") != "Manual":
        return upgrade_by_azure(arm, scale_set, arguments)
    plain = arguments.newversion and not arguments.sku
    change = arguments.newversion if plain else lambda model: edit_image(model, arguments)
    planned = plan(arm, *scale_set, change, policy=policy(arguments))
    print(planned)
    confirm(arguments)
    return start(arm, planned) if arguments.nowait else run_upgrade(arm, planned, arguments)


def confirm(arguments: argparse.Namespace) -> None:
    if arguments.yes:
        return
    try:
        answer = input("Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise NotConfirmed("not confirmed. Nothing was changed.")


def upgrade_by_azure(arm: az.Arm, scale_set: az.ScaleSet, arguments: argparse.Namespace) -> int:
    """Write the model; in modes Automatic and Rolling, Azure then upgrades every instance by itself."""
    print("the mode is not Manual: once the model is written, Azure upgrades every instance by itself")
    confirm(arguments)
    if operation := az.update_vmss(arm, *scale_set, lambda model: edit_image(model, arguments)):
        operation.wait()
    print("model written")
    return 0


def start(arm: az.Arm, planned: Plan) -> int:
    """Write the model, start the upgrade, and print its Operation as JSON for Operation.from_dict."""
    write_model(arm, planned)
    if ids := [instance_id for batch in planned.batches for instance_id in batch]:
        print(json.dumps(az.manual_upgrade_instances(arm, *planned.address, ids).to_dict()))
    return 0


def write_model(arm: az.Arm, planned: Plan) -> None:
    """Write the planned change, unless the model has changed since; the current tags are kept."""
    model = az.get_vmss(arm, *planned.address)
    if az.fingerprint(model) != planned.fingerprint_before:
        raise PlanRefused("the model has changed since it was planned: plan again")
    if planned.patch:
        patch = rebase_tags(planned.patch, planned.before, model)
        az.patch_vmss(arm, *planned.address, patch, if_match=model.get("etag")).wait()


def run_upgrade(arm: az.Arm, planned: Plan, arguments: argparse.Namespace) -> int:
    """Upgrade batch by batch, and wait for each to be healthy; Ctrl-C stops between two steps."""
    stopping, errors = list[int](), list[str]()
    signal.signal(signal.SIGINT, lambda number, _frame: stopping.append(number))

    def show(event: dict[str, Any]) -> None:
        if arguments.verbose:
            print(printable(f"  {event['kind']} {event.get('error') or event.get('reason') or ''}".rstrip()))
        if event["kind"] == "intent":
            print(printable(f"{title(planned, event['ids'])}: upgrading {', '.join(event['ids'])}"), flush=True)
        if event["kind"] == "settled":
            for instance_id, outcome in event["classes"].items():
                mark = "ok    " if outcome == "updated" else "FAILED"
                print(printable(f"  {mark} instance {instance_id:>4}: {text(planned, outcome)}"))
        if event.get("error"):
            errors.append(event["error"])

    verdict = upgrade(arm, planned, on_event=show, should_stop=lambda: bool(stopping))
    if not verdict.ok:
        raise az.AzurermLiteError("; ".join([str(verdict), *errors[:1]]))
    count = sum(verdict.counts.get(kind, 0) for kind in ("updated", "already-current", "arrived-current"))
    version = planned.version or az.image_text(az.get_vmss(arm, *planned.address))
    print(f"done: {count} instances run {version}")
    return 0


def title(planned: Plan, ids: list[str]) -> str:
    members = planned.observation.members
    domains = {members[instance_id].update_domain for instance_id in ids if instance_id in members}
    (first, *others) = domains or {None}
    return "chosen instances" if others or first is None else f"update domain {first}"


def text(planned: Plan, outcome: str) -> str:
    return f"{planned.version or 'the new model'}, healthy" if outcome == "updated" else outcome


def main(argv: list[str] | None = None) -> int:
    parse = parser()
    arguments = check_arguments(parse.parse_args(argv), parse)
    try:
        with connect(arguments) as (arm, scale_set):
            return run(arm, scale_set, arguments)
    except (NotConfirmed, PlanRefused, Locked) as error:
        print(f"vmssupgrade: {error}", file=sys.stderr)
        return 3
    except az.InvalidInput as error:
        print(f"vmssupgrade: {error}", file=sys.stderr)
        return 2
    except az.AzurermLiteError as error:
        print(f"vmssupgrade: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vmssupgrade: interrupted before anything was changed", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
