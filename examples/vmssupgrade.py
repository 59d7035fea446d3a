"""Upgrade a scale set to another image: chosen instances, one update domain, or every update domain in turn.

    python examples/vmssupgrade.py --emulator -n 22.04.202611120 --all -y
    python examples/vmssupgrade.py -r web-rg -s web -n 22.04.202611120 -u 0

Logs in with what the environment has (AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, ...), or with the file
vmssconfig.json (tenantId, appId, appSecret, subscriptionId). With --emulator it runs on a scale set of its own, on this
machine and in no time: a virtual clock does the waiting.

Exit codes: 0 done; 1 Azure refused, an instance failed, or the network did; 2 wrong usage, nothing was sent;
3 stopped before anything was changed (not confirmed, or the upgrade mode would upgrade everything at once).
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import azurerm_lite as az


class Stopped(Exception):
    """Nothing was changed, on purpose."""


class Batch(NamedTuple):
    title: str
    ids: list[str]


# --- what was asked for ----------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parse = argparse.ArgumentParser(prog="vmssupgrade", description=__doc__, formatter_class=form)
    parse.add_argument("-r", "--resourcegroup", metavar="NAME", help="resource group")
    parse.add_argument("-s", "--vmssname", metavar="NAME", help="scale set")
    parse.add_argument("--subscription", metavar="ID", help="subscription (default: AZURE_SUBSCRIPTION_ID)")
    image = parse.add_mutually_exclusive_group()
    image.add_argument("-n", "--newversion", metavar="VERSION", help="image version, such as 22.04.202611120")
    image.add_argument("-c", "--customuri", metavar="URI", help="custom image by URI (osDisk.image.uri)")
    image.add_argument("--image-id", metavar="ID", help="gallery image or managed image by resource id")
    parse.add_argument("--sku", metavar="SKU", help="image SKU, alone or together with -n")
    which = parse.add_mutually_exclusive_group(required=True)
    which.add_argument("-u", "--updatedomain", type=int, metavar="N", help="upgrade this update domain")
    which.add_argument("-i", "--vmid", metavar="ID", help="upgrade this instance")
    which.add_argument("-l", "--vmlist", metavar="IDS", help="""upgrade these: 0,3,5 or '["0", "3", "5"]'""")
    which.add_argument("--all", action="store_true", help="upgrade every update domain, one after another")
    parse.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")
    parse.add_argument("-w", "--nowait", action="store_true", help="do not wait: print the operation as JSON")
    parse.add_argument("-v", "--verbose", action="store_true", help="show each poll")
    parse.add_argument(
        "--whatever-the-mode", action="store_true", help="go on although the mode is Automatic or Rolling"
    )
    parse.add_argument("--emulator", nargs="?", const="default", metavar="SEED", help="run on the built-in emulator")
    return parse


def checked(arguments: argparse.Namespace, parse: argparse.ArgumentParser) -> argparse.Namespace:
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
def connected(arguments: argparse.Namespace) -> Iterator[tuple[az.Arm, az.ScaleSet]]:
    """An Arm and the scale set's address: on Azure, or on an emulator that lives as long as this block."""
    if not arguments.emulator:
        env = {**os.environ, **config_file(Path("vmssconfig.json"))}
        subscription = arguments.subscription or env.get("AZURE_SUBSCRIPTION_ID", "")
        with az.connect(env=env) as arm:
            yield arm, az.ScaleSet(subscription, arguments.resourcegroup, arguments.vmssname)
        return
    from azurerm_lite.emulator import VirtualClock, serve  # noqa: PLC0415  (only when it is asked for)

    clock = VirtualClock()
    with serve(arguments.emulator, clock=clock) as emulator:
        names = (arguments.resourcegroup or emulator.resource_group, arguments.vmssname or emulator.vmss_name)
        subscription = arguments.subscription or emulator.subscription_id
        with az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time) as arm:
            yield arm, az.ScaleSet(subscription, *names)


def config_file(path: Path) -> dict[str, str]:
    """The four values of the 2016 tool's vmssconfig.json, under the names of today; nothing when there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = {"tenantId": "TENANT_ID", "appId": "CLIENT_ID", "appSecret": "CLIENT_SECRET"}
        names["subscriptionId"] = "SUBSCRIPTION_ID"
        return {f"AZURE_{new}": str(found[old]) for old, new in names.items()}
    except (OSError, ValueError, KeyError, TypeError):
        raise az.InvalidInput(f"{path} must be JSON with tenantId, appId, appSecret and subscriptionId") from None


# --- what follows from it --------------------------------------------------------------------------------------------


def edited(model: Any, arguments: argparse.Namespace) -> az.Edit:
    if arguments.customuri:
        return az.set_image_uri(model, arguments.customuri)
    if arguments.image_id:
        return az.set_image_id(model, arguments.image_id)
    if arguments.sku:
        return az.set_image_sku(model, arguments.sku, version=arguments.newversion)
    return az.set_image_version(model, arguments.newversion)


def by_number(instance_id: str) -> tuple[int, int | str]:
    """Ids of Uniform sets are numbers and sort as such; those of Flexible sets are names."""
    return (0, int(instance_id)) if instance_id.isdigit() else (1, instance_id)


def domains(vms: list[Any]) -> dict[tuple[str, Any], list[str]]:
    """Instance ids by placement group and update domain; a domain's number means something only inside its group."""
    found: dict[tuple[str, Any], list[str]] = {}
    for vm in sorted(vms, key=lambda vm: by_number(vm["instanceId"])):
        view = vm["properties"].get("instanceView", {})
        key = (view.get("placementGroupId", ""), view.get("platformUpdateDomain"))
        found.setdefault(key, []).append(vm["instanceId"])
    return found


def batches(vms: list[Any], arguments: argparse.Namespace) -> list[Batch]:
    """The instances to upgrade, in the order in which they will be; an error when one that was named is not there."""
    if arguments.vmid is not None or arguments.vmlist is not None:
        named = [arguments.vmid] if arguments.vmid is not None else listed(arguments.vmlist)
        known = {vm["instanceId"] for vm in vms}
        if unknown := [one for one in named if one not in known]:
            raise az.InvalidInput(
                f"no such instance: {', '.join(unknown)} (there are {listing(sorted(known, key=by_number))})"
            )
        return [Batch("chosen instances", sorted(set(named), key=by_number))]
    grouped = sorted(domains(vms).items(), key=lambda item: (str(item[0][1]), item[0][0]))
    if arguments.updatedomain is not None:
        grouped = [item for item in grouped if item[0][1] == arguments.updatedomain]
        if not grouped:
            raise az.InvalidInput(f"no instance is in update domain {arguments.updatedomain}")
    several = len({group for (group, _), _ in grouped}) > 1
    return [
        Batch(title(domain, group if several else ""), ids)
        for (group, domain), ids in grouped
        for ids in split(domain, ids)
    ]


def split(domain: Any, ids: list[str]) -> list[list[str]]:
    """One batch a domain. Without domains (zonal sets) a fifth of the instances at a time, never all at once."""
    size = len(ids) if domain is not None else max(1, len(ids) // 5)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def title(domain: Any, group: str) -> str:
    name = "instances without update domain" if domain is None else f"update domain {domain}"
    return f"{name} of placement group {group[:8]}" if group else name


def listed(text: str) -> list[str]:
    try:
        found = json.loads(text) if text.lstrip().startswith("[") else text.split(",")
    except ValueError:
        raise az.InvalidInput(f"not a list of instance ids: {text!r}") from None
    return [str(one).strip() for one in found]


def listing(ids: list[str]) -> str:
    return ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")


# --- doing it --------------------------------------------------------------------------------------------------------


def check_mode(model: Any, arguments: argparse.Namespace) -> None:
    mode = model["properties"].get("upgradePolicy", {}).get("mode", "Manual")
    if mode == "Manual" or arguments.whatever_the_mode:
        return
    effects = {
        "Automatic": "upgrade every instance at once, which is downtime",
        "Rolling": "make Azure start a rolling upgrade",
    }
    raise Stopped(
        f"the upgrade mode is {mode}: writing the model would {effects.get(mode, 'upgrade instances')}. "
        "Nothing was changed. Set the mode to Manual first, or pass --whatever-the-mode."
    )


def confirm(arguments: argparse.Namespace, ask: Callable[[str], str] = input) -> None:
    if arguments.yes:
        return
    try:
        answer = ask("Go on? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Stopped("not confirmed. Nothing was changed.")


def run(arm: az.Arm, scale_set: az.ScaleSet, arguments: argparse.Namespace) -> int:
    model = az.get_vmss(arm, *scale_set)
    where = "EMULATOR, not Azure" if arm.is_emulator else arm.cloud.name
    print(f"{scale_set.vmss_name} in {scale_set.resource_group} ({where}), {model['sku']['capacity']} instances")
    print(f"image now: {az.image_text(model)}")
    edit = edited(model, arguments)
    check_mode(model, arguments)
    plan = batches(az.list_vmss_vms(arm, *scale_set, expand="instanceView"), arguments)
    for change in az.diff(model, edit.model):
        print(f"  change {change}")
    for batch in plan:
        print(f"  upgrade {batch.title}: {listing(batch.ids)}")
    confirm(arguments)
    write_model(arm, scale_set, model, edit)
    wanted = wanted_version(edit.model)
    if arguments.nowait:
        operation = az.manual_upgrade_instances(arm, *scale_set, plan[0].ids)
        print(json.dumps(operation.to_dict()))
        return 0
    done = [upgrade(arm, scale_set, batch, wanted, arguments) for batch in plan]
    print(f"done: {sum(done)} instances run {wanted or az.image_text(edit.model)}")
    return 0


def write_model(arm: az.Arm, scale_set: az.ScaleSet, model: Any, edit: az.Edit) -> None:
    if not edit.paths:
        print("the model has this image already: not written")
        return
    patch = az.merge_patch(model, edit.model)
    az.patch_vmss(arm, *scale_set, patch, if_match=model.get("etag")).wait()
    print("model written")


def wanted_version(model: Any) -> str | None:
    """The version that instances must show; None where only Azure knows it (`latest`, custom images)."""
    image = model["properties"]["virtualMachineProfile"]["storageProfile"].get("imageReference") or {}
    version = image.get("version")
    return version if image.get("publisher") and version != "latest" else None


def upgrade(
    arm: az.Arm, scale_set: az.ScaleSet, batch: Batch, wanted: str | None, arguments: argparse.Namespace
) -> int:
    """Upgrade one batch to its real end and show what became of each instance; raises when one did not make it."""
    print(f"{batch.title}: upgrading {listing(batch.ids)}")
    began = arm.time()
    operation = az.manual_upgrade_instances(arm, *scale_set, batch.ids)
    operation.wait(on_poll=show_poll if arguments.verbose else None)
    vms = {vm["instanceId"]: vm for vm in az.list_vmss_vms(arm, *scale_set, expand="instanceView")}
    results = [(one, *outcome(vms.get(one), wanted)) for one in batch.ids]
    for one, good, text in results:
        print(f"  {'ok    ' if good else 'FAILED'} instance {one:>4}: {text}")
    bad = [one for one, good, _ in results if not good]
    print(f"{batch.title}: {len(batch.ids) - len(bad)} of {len(batch.ids)} done in {arm.time() - began:.0f} s")
    if bad:
        raise az.AzurermLiteError(f"stopped: not upgraded are {listing(bad)}; the other batches were not begun")
    return len(batch.ids)


def outcome(vm: Any, wanted: str | None) -> tuple[bool, str]:
    """Whether an instance is where it should be (state, model and the version that it really runs), and how it is."""
    if vm is None:
        return False, "gone"
    inner = vm["properties"]
    running = inner.get("storageProfile", {}).get("imageReference", {}).get("exactVersion")
    state, latest = inner["provisioningState"], inner.get("latestModelApplied", False)
    good = state == "Succeeded" and latest and (wanted is None or running == wanted)
    power = [
        s["code"].partition("/")[2] for s in inner.get("instanceView", {}).get("statuses", []) if "Power" in s["code"]
    ]
    return good, f"{running or 'custom image'}, {state}, {power[0] if power else 'power unknown'}" + (
        "" if latest else ", old model"
    )


def show_poll(operation: az.Operation) -> None:
    print(f"  poll {operation.polls}: {operation.status}")


def main(argv: list[str] | None = None) -> int:
    parse = parser()
    arguments = checked(parse.parse_args(argv), parse)
    try:
        with connected(arguments) as (arm, scale_set):
            return run(arm, scale_set, arguments)
    except Stopped as stopped:
        print(f"vmssupgrade: {stopped}", file=sys.stderr)
        return 3
    except az.InvalidInput as error:
        print(f"vmssupgrade: {error}", file=sys.stderr)
        return 2
    except az.AzurermLiteError as error:
        print(f"vmssupgrade: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vmssupgrade: interrupted; what was begun on Azure goes on there", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
