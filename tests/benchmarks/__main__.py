"""Measure, and write or judge: `python -m tests.benchmarks --write`, or `--guard` for the quick form that CI runs.

Both need the extra `benchmark`; `--write` also a Python with azurerm 0.10.0, named by AZURERM_LITE_AZURERM_PYTHON.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from azurerm_lite._version import __version__

from . import page
from .clients import SUBSCRIPTION, TENANT
from .measure import ROOT, Client, Fresh, Series, clients, fresh, rounds, stub
from .scripts import IMPORT, IMPORTS, SCRIPTS, SIZE, SIZES

PAGE = ROOT / "docs" / "performance.md"
TIMES = {"get": 20, "put": 20, "upgrade": 15, "list": 1, "reconnect": 3}
Tasks = Mapping[str, Sequence[str]]
SLOW = {"list": ("azure-mgmt-compute", "azurerm")}
GUARDED = ("azurerm_lite", "requests.Session", "azure-mgmt-compute")
OTHERS = ("prepared request", "httpx", "azurerm")


def interpreter(name: str) -> str:
    if name != "azurerm":
        return sys.executable
    found = os.environ.get("AZURERM_LITE_AZURERM_PYTHON")
    if not found:
        raise SystemExit("AZURERM_LITE_AZURERM_PYTHON does not name a Python with azurerm 0.10.0")
    return found


def measured(names: Sequence[str], tasks: Tasks, memory: Sequence[str], count: int) -> page.Found:
    """All figures of one run: tasks by scheme, and those whose memory is looked at too."""
    with stub() as ready:
        processes = max(5, count // 2)
        found = page.Found({}, {}, started(ready, processes), imported(names, processes))
        for scheme, several in tasks.items():
            with clients({name: interpreter(name) for name in names}, ready[scheme], ready["ca_file"]) as running:
                for task in several:
                    slow = SLOW.get(task, ("azurerm",))
                    each = rounds(running, task, times=TIMES[task], count=count, slow=slow)
                    found.calls[f"{task}, {scheme}"] = each
                if scheme == "https":
                    found.memory.update({f"memory of {task}": peaks(running, task) for task in memory})
    return found


def peaks(running: Mapping[str, Client], task: str) -> dict[str, Series]:
    return {name: {0: (client.ask(task=task, memory=True)["bytes"],)} for name, client in running.items()}


def started(ready: Mapping[str, str], count: int) -> dict[str, dict[int, Fresh]]:
    """The three scripts, from the start of the process to its end."""
    env = {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": "66666666-7777-4888-8999-000000000000",
        "AZURE_CLIENT_SECRET": "not a secret",
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RM_ENDPOINT": ready["https"],
        "AZURE_AUTHORITY_HOST": ready["https"],
        "REQUESTS_CA_BUNDLE": ready["ca_file"],
    }
    found = fresh({name: [sys.executable, "-c", text] for name, text in SCRIPTS.items()}, env, count)
    answers = {one.said for each in found.values() for one in each.values()}
    if answers != {"20"}:
        raise SystemExit(f"the scripts answered {answers}, not 20")
    return found


def imported(names: Sequence[str], count: int) -> dict[str, Series]:
    wanted = {name: what for name, what in IMPORTS.items() if name in names or name == "requests and msal"}
    commands = {name: [interpreter(name), "-W", "ignore", "-c", IMPORT.format(what)] for name, what in wanted.items()}
    found = fresh(commands, {}, count)
    return {name: {number: (float(one.said),) for number, one in each.items()} for name, each in found.items()}


def told(name: str, code: str, *arguments: str) -> Any:
    """What a snippet prints in the Python of that client."""
    command = [interpreter(name), "-c", code, *arguments]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def sized() -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {name: told(name, SIZE, *what) for name, what in SIZES.items()}
    own = sum(one.stat().st_size for one in (ROOT / "azurerm_lite").rglob("*") if one.suffix in (".py", ".json"))
    needed = sizes["requests and msal"]
    sizes["azurerm_lite"] = {"bytes": needed["bytes"] + own, "distributions": needed["distributions"] + 1}
    return sizes


def versions() -> dict[str, str]:
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    ours = ("requests", "urllib3", "msal", "httpx", "azure-mgmt-compute", "azure-core", "azure-identity")
    return {"azurerm_lite": __version__, **told("requests", code, *ours), **told("azurerm", code, "azurerm")}


def guard() -> int:
    """Whether a quick run keeps the limits, with a margin. One that does not is taken once more before it counts."""
    tasks = {"https": ("get", "list", "reconnect"), "http": ("get",)}
    for _ in range(2):
        costs = measured(GUARDED, tasks, ("iterating",), 6).costs()
        over = page.broken(costs, margin=1.15)
        print(page.promises(costs), *over, sep="\n")
        if not over:
            return 0
    return 1


def write(count: int) -> int:
    everything = tuple(TIMES)
    tasks = {"http": everything[:-1], "https": everything}
    found = measured((*GUARDED, *OTHERS), tasks, ("iterating", "listing"), count)
    PAGE.write_text(page.whole(found, sized(), versions(), count))
    over = page.broken(found.costs())
    print(*(over or ["every promise is kept"]), sep="\n")
    return 1 if over else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write docs/performance.md")
    what.add_argument("--guard", action="store_true", help="measure quickly, and fail when a promise is broken")
    parser.add_argument("--rounds", type=int, default=24)
    asked = parser.parse_args()
    sys.exit(guard() if asked.guard else write(asked.rounds))
