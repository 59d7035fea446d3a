"""One client in a process of its own: `python -m tests.benchmarks.clients NAME BASE CA_FILE`.

Each line of JSON that comes in names a task and how often; the line that goes out has the CPU and wall seconds of one
call. Only what the client itself needs is imported, so that every process is as large as that client makes it.
"""

import gc
import json
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

SUBSCRIPTION, GROUP = "5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "web-rg"
TENANT, TOKEN, API = "11111111-2222-4333-8444-555555555555", "t" * 1500, "2024-07-01"
SET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/web"
CLOSING = f"{SET}-closing"  # a scale set whose answers end the connection, so that each call needs a new one
PAGES = 10
QUERY, VIEWS = f"?api-version={API}", f"?api-version={API}&$expand=instanceView"

Tasks = dict[str, Callable[[], Any]]


def azurerm_lite(base: str, ca_file: str) -> Tasks:
    import azurerm_lite as az

    cloud = az.custom_cloud(base, base)
    arm = az.Arm(TOKEN, cloud=cloud, ca_file=ca_file, sleep=float)
    web = az.ScaleSet(SUBSCRIPTION, GROUP, "web")
    closing = web._replace(vmss_name="web-closing")
    model = az.get_vmss(arm, *web)
    return {
        "get": lambda: az.get_vmss(arm, *web),
        "put": lambda: az.put_vmss(arm, *web, model),
        "list": lambda: az.list_vmss_vms(arm, *web, expand="instanceView"),
        "upgrade": lambda: az.manual_upgrade_instances(arm, *web, ["0", "1"]).wait(),
        "reconnect": lambda: az.get_vmss(arm, *closing),
        "iterating": lambda: used(az.iter_vmss_vms(arm, *web, expand="instanceView")),
    }


def used(items: Any) -> int:
    """Go over all items without keeping one."""
    return sum(1 for _ in items)


def over_http(get: Callable[[str], Any], put: Callable[[str, Any], Any], post: Callable[[str, Any], Any]) -> Tasks:
    """The tasks as people write them by hand around a client that gives JSON."""
    model = get(SET + QUERY)

    def items() -> Any:
        url = f"{SET}/virtualMachines{VIEWS}"
        while url:
            page = get(url)
            yield from page["value"]
            url = page.get("nextLink")

    def upgrade() -> None:
        where = post(f"{SET}/manualupgrade{QUERY}", {"instanceIds": ["0", "1"]}).headers["Azure-AsyncOperation"]
        while get(where)["status"] == "InProgress":
            pass

    return {
        "get": lambda: get(SET + QUERY),
        "put": lambda: put(SET + QUERY, model).json(),
        "list": lambda: list(items()),
        "upgrade": upgrade,
        "reconnect": lambda: get(CLOSING + QUERY),
        "iterating": lambda: used(items()),
    }


def requests_session(base: str, ca_file: str) -> Tasks:
    import requests

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    session.verify = ca_file

    def full(url: str) -> str:
        return url if url.startswith(base) else base + url

    return over_http(
        lambda url: session.get(full(url)).json(),
        lambda url, body: session.put(full(url), json=body),
        lambda url, body: session.post(full(url), json=body),
    )


def requests_prepared(base: str, ca_file: str) -> Tasks:
    """As quick as a Session can be made: no environment, no redirects, the GET prepared once."""
    import requests

    session = requests.Session()
    session.trust_env, session.verify = False, ca_file
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    prepared: dict[str, Any] = {}

    def get(url: str) -> Any:
        if url not in prepared:
            full = url if url.startswith(base) else base + url
            prepared[url] = session.prepare_request(requests.Request("GET", full))
        return session.send(prepared[url], verify=ca_file, allow_redirects=False, proxies={}).json()

    return over_http(
        get, lambda url, body: session.put(base + url, json=body), lambda url, body: session.post(base + url, json=body)
    )


def httpx_client(base: str, ca_file: str) -> Tasks:
    import ssl

    import httpx

    context = ssl.create_default_context(cafile=ca_file)
    client = httpx.Client(base_url=base, verify=context, headers={"Authorization": f"Bearer {TOKEN}"})
    return over_http(
        lambda url: client.get(url).json(),
        lambda url, body: client.put(url, json=body),
        lambda url, body: client.post(url, json=body),
    )


def azure_mgmt_compute(base: str, ca_file: str) -> Tasks:
    from azure.core.credentials import AccessToken
    from azure.mgmt.compute import ComputeManagementClient

    class Static:
        def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            return AccessToken(TOKEN, int(time.time()) + 3600)

    client = ComputeManagementClient(
        Static(), SUBSCRIPTION, base_url=base, credential_scopes=["x/.default"], connection_verify=ca_file
    )
    sets, vms = client.virtual_machine_scale_sets, client.virtual_machine_scale_set_vms
    more = {"enforce_https": False}
    model = sets.get(GROUP, "web", **more)
    ids = {"instanceIds": ["0", "1"]}

    def items() -> Any:
        return vms.list(GROUP, "web", expand="instanceView", **more)

    return {
        "get": lambda: sets.get(GROUP, "web", **more),
        "put": lambda: sets.begin_create_or_update(GROUP, "web", model, polling_interval=0, **more).result(),
        "list": lambda: list(items()),
        "upgrade": lambda: sets.begin_update_instances(GROUP, "web", ids, polling_interval=0, **more).result(),
        "reconnect": lambda: sets.get(GROUP, "web-closing", **more),
        "iterating": lambda: used(items()),
    }


def azurerm(base: str, ca_file: str) -> Tasks:
    os.environ |= {"AZURE_RM_ENDPOINT": base, "REQUESTS_CA_BUNDLE": ca_file}
    import azurerm as old

    where = (TOKEN, SUBSCRIPTION, GROUP, "web")
    model = json.dumps(old.get_vmss(*where))

    def upgrade() -> None:
        answer = old.upgrade_vmss_vms(*where, '["0", "1"]')
        old.restfns.do_get(answer.headers["Azure-AsyncOperation"], TOKEN)

    return {
        "get": lambda: old.get_vmss(*where),
        "put": lambda: old.update_vmss(*where, model).json(),
        "list": lambda: old.list_vmss_vm_instance_view(*where)["value"],
        "upgrade": upgrade,
        "reconnect": lambda: old.get_vmss(TOKEN, SUBSCRIPTION, GROUP, "web-closing"),
        "iterating": lambda: used(old.list_vmss_vm_instance_view(*where)["value"]),
    }


CLIENTS: dict[str, Callable[[str, str], Tasks]] = {
    "azurerm_lite": azurerm_lite,
    "requests.Session": requests_session,
    "prepared request": requests_prepared,
    "httpx": httpx_client,
    "azure-mgmt-compute": azure_mgmt_compute,
    "azurerm": azurerm,
}


def spent(task: Callable[[], Any], times: int) -> dict[str, float]:
    """CPU and wall seconds of one call, over so many."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        task()
    return {"cpu": (time.process_time() - cpu) / times, "wall": (time.perf_counter() - wall) / times}


def peak(task: Callable[[], Any]) -> dict[str, float]:
    """The most memory that Python objects took during a call, beyond what was there before it."""
    gc.collect()
    tracemalloc.start()
    task()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"bytes": most, "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main(name: str, base: str, ca_file: str) -> None:
    tasks = CLIENTS[name](base, ca_file)
    print(json.dumps({"ready": name}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        task = tasks["list" if order["task"] == "listing" else order["task"]]
        found = peak(task) if order.get("memory") else spent(task, order["times"])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
