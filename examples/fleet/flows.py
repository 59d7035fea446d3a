"""Each scale set a durable flow on Prefect: a worker may die in mid-rollout, another goes on from the journal.

    python flows.py deploy                                  # once: pool, deployment, and who takes over
    python flows.py begin VERSION RESOURCE_ID...            # one flow run for each scale set
    prefect worker start --pool scale-sets                  # on as many machines as you like

The journals stand in FLEET_JOURNALS, a folder that every worker can reach. A worker that dies leaves its runs without
heartbeat; the automation made by `deploy` schedules them again, and whichever worker takes one reads in the journal
what was sent already. Nothing is sent twice. `rehearse.py` shows it.
"""

import argparse
import contextlib
import os
import sys
from datetime import timedelta
from pathlib import Path

from prefect import flow, get_client, get_run_logger
from prefect.automations import Automation
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists

from azurerm_lite import ScaleSet, connect
from azurerm_lite.upgrade import Verdict, plan, resume, upgrade

POOL, DEPLOYMENT = "scale-sets", "upgrade-scale-set/fleet"
SILENT_SECONDS = int(os.environ.get("FLEET_SILENT_SECONDS", "90"))  # without a heartbeat (one each 30 s) a run is lost
BEAT, ENDS = "prefect.flow-run.heartbeat", ("Completed", "Failed", "Cancelled", "Crashed")


@flow(name="upgrade-scale-set", flow_run_name="{vmss_name}")
def upgrade_scale_set(subscription_id: str, resource_group: str, vmss_name: str, version: str) -> str:
    """Begin the upgrade, or go on with the one whose journal is there. Fails when the verdict is not a success."""
    log, arm = get_run_logger(), connect()
    journal = Path(os.environ["FLEET_JOURNALS"]) / f"{subscription_id}-{resource_group}-{vmss_name}-{version}.jsonl"

    def hear(event: dict[str, object]) -> None:
        log.info("%s %s", event["kind"], event.get("ids") or event.get("reason") or "")

    if journal.exists():
        log.info("going on from %s", journal)
        verdict = resume(arm, str(journal), on_event=hear)
    else:
        wanted = plan(arm, subscription_id, resource_group, vmss_name, version)
        log.info("%s", wanted)
        verdict = upgrade(arm, wanted, journal=str(journal), on_event=hear)
    return _told(verdict)


def _told(verdict: Verdict) -> str:
    if not verdict.ok:
        raise RuntimeError(str(verdict))
    return str(verdict)


def deploy() -> None:
    """The pool that workers serve, the deployment in it, and the automation that gives lost runs to somebody else."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    source = upgrade_scale_set.from_source(str(Path(__file__).parent), "flows.py:upgrade_scale_set")
    source.deploy(name="fleet", work_pool_name=POOL, ignore_warnings=True, print_next_steps=False)
    lost = EventTrigger(
        after={BEAT},
        expect={BEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=SILENT_SECONDS),
    )
    again = ChangeFlowRunState(state=StateType.SCHEDULED, message="no heartbeat: another worker takes over", force=True)
    Automation(name="lost scale-set upgrades are taken over", trigger=lost, actions=[again]).create()


def begin(version: str, resource_ids: list[str]) -> None:
    """A flow run for each scale set. One that was begun already is known by its key and not begun twice."""
    for address in map(ScaleSet.parse, resource_ids):
        key = f"{address.resource_id}@{version}"
        wanted = {**address._asdict(), "version": version}
        run = run_deployment(DEPLOYMENT, parameters=wanted, timeout=0, idempotency_key=key, as_subflow=False)
        print(f"{address.vmss_name}: {run.id}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Upgrade many scale sets, each a durable flow.")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("deploy", help="make the pool, the deployment and the automation")
    starting = what.add_parser("begin", help="one flow run for each scale set")
    starting.add_argument("version", help="image version, such as 22.04.202611120")
    starting.add_argument("resource_ids", nargs="+")
    chosen = parser.parse_args(arguments)
    if chosen.what == "deploy":
        deploy()
    else:
        begin(chosen.version, chosen.resource_ids)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
