"""docs/performance.md from the figures, and the limits that they are held against."""

import platform
import ssl
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from .measure import Fresh, Series, ratio, spread

Costs = Mapping[str, Mapping[str, Series]]  # by task and client
US, BASE = "azurerm_lite", "requests.Session"


class Found(NamedTuple):
    """All figures of one run, by client; calls also by "task, scheme", memory by task."""

    calls: dict[str, dict[str, Series]]
    memory: dict[str, dict[str, Series]]
    scripts: dict[str, dict[int, Fresh]]
    imports: dict[str, Series]

    def costs(self) -> Costs:
        script = {name: {number: tuple(one[:2]) for number, one in each.items()} for name, each in self.scripts.items()}
        return {**self.calls, **self.memory, "import": self.imports, "script": script}


class Limit(NamedTuple):
    """What we promise: our cost at most so many times that of another client."""

    task: str
    against: str
    most: float


LIMITS = (
    Limit("get, http", BASE, 0.65),
    Limit("get, https", BASE, 0.65),
    Limit("get, http", "azure-mgmt-compute", 0.24),
    Limit("get, https", "azure-mgmt-compute", 0.24),
    Limit("get, https", "azurerm", 0.03),
    Limit("reconnect, https", BASE, 0.15),
    # Every object of a list is looked at: its keys stand once, its numbers are finite, and it is not too deep.
    Limit("list, http", BASE, 2.5),
    Limit("list, https", BASE, 2.5),
    Limit("list, http", "azure-mgmt-compute", 0.13),
    Limit("list, https", "azure-mgmt-compute", 0.13),
    Limit("memory of iterating", "azure-mgmt-compute", 0.50),
    Limit("import", "requests and msal", 0.25),
    Limit("script", "requests and msal", 1.10),
    Limit("script", "azure-mgmt-compute", 0.40),
)

WORDS = {
    "get": "GET of a 4 KB model",
    "put": "PUT of the same model, with its response",
    "list": "List of 1,000 instances with instance view, in 10 pages",
    "upgrade": "manualUpgrade and one poll of its operation",
    "reconnect": "GET that needs a new connection",
}


def kept(costs: Costs) -> list[tuple[Limit, float]]:
    """The limits with what was measured, of the clients that were."""
    return [
        (one, ratio(costs[one.task][US], costs[one.task][one.against]))
        for one in LIMITS
        if one.against in costs.get(one.task, ())
    ]


def broken(costs: Costs, margin: float = 1.0) -> list[str]:
    """The limits that do not hold, as text."""
    over = [(one, found) for one, found in kept(costs) if found > margin * one.most]
    return [f"{one.task}: {found:.3f} of {one.against}, promised {one.most:.2f}" for one, found in over]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def promises(costs: Costs) -> str:
    rows = [(one.task, one.against, f"{one.most:.2f}", f"{found:.3f}") for one, found in kept(costs)]
    return table(("what", "relative to", "at most", "measured"), rows)


def calls(by_task: Costs) -> str:
    """One table for each task: milliseconds of CPU, their spread, wall, and the ratio to a plain Session."""
    parts = []
    for task, costs in by_task.items():
        rows = []
        for name, series in costs.items():
            low, middle, high = (f"{1000 * one:.2f}" for one in spread(series))
            wall = 1000 * statistics.median(one[1] for one in series.values())
            rows.append((name, middle, f"{low} to {high}", f"{wall:.2f}", f"{ratio(series, costs[BASE]):.2f}"))
        name, _, scheme = task.partition(", ")
        head = ("client", "CPU ms", "middle half", "wall ms", f"CPU / {BASE}")
        parts.append(f"### {WORDS[name]}, {scheme}\n\n{table(head, rows)}")
    return "\n".join(parts)


def scripts(found: Mapping[str, Mapping[int, Fresh]]) -> str:
    rows = []
    for name, each in found.items():
        cpu, wall, memory = (statistics.median(one[place] for one in each.values()) for place in range(3))
        rows.append((name, f"{1000 * cpu:.0f}", f"{1000 * wall:.0f}", f"{memory / 1e6:.0f}"))
    return table(("script", "CPU ms", "wall ms", "process at most, MB"), rows)


def weights(imports: Mapping[str, Series], sizes: Mapping[str, Mapping[str, int]]) -> str:
    rows = []
    for name, series in imports.items():
        size = sizes[name]
        middle = f"{1000 * spread(series)[1]:.0f}"
        rows.append((name, middle, f"{size['bytes'] / 1e6:.1f}", str(size["distributions"])))
    return table(("client", "import, CPU ms", "installed, MB", "distributions"), rows)


def memories(memory: Costs) -> str:
    rows = [
        (name, *(f"{memory[f'memory of {task}'][name][0][0] / 1e6:.1f}" for task in ("iterating", "listing")))
        for name in memory["memory of iterating"]
    ]
    return table(("client", "one by one, MB", "all in a list, MB"), rows)


def machine() -> str:
    about = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in about if "model name" in line), platform.processor())
    when = datetime.now(UTC).date().isoformat()
    return f"{when}; {cpu}; {platform.system()}; Python {platform.python_version()}; {ssl.OPENSSL_VERSION}"


def whole(found: Found, sizes: Mapping[str, Mapping[str, int]], versions: Mapping[str, str], count: int) -> str:
    """The page."""
    return f"""# How fast

Written by `python -m tests.benchmarks --write`, never by hand.

{machine()}.
{", ".join(f"{name} {version}" for name, version in versions.items())}.

## What is promised

Each row compares the cost of azurerm_lite with the cost of another client: CPU time, or bytes for memory. CI runs a
short form of the same programs. It fails when a value exceeds its limit by more than 15 %, twice in a row.

{promises(found.costs())}
## How it was measured

- The server is a stub in its own process on another core. It sends canned bytes with the headers of Compute's
  responses, over HTTP/1.1, kept alive and not compressed. Azure itself takes far longer than any client. These
  figures show what a client costs the machine that it runs on, not how long an upgrade takes.
- Every client has its own process. All of them run on one core and take turns with a few calls: {count} rounds, after
  one that does not count, and half as many for whole processes. CPU time is the time of the client's process. A ratio
  is computed within each round, so other work of the machine affects both parts; the table shows the median of the
  rounds. "Middle half" is the range of the middle half of the rounds. The machine had other work to do, which affects
  the wall time most. Slow clients (azurerm, and azure-mgmt-compute for lists) do a tenth of the calls, in every third
  round.
- The CA file is as long as the usual one, and the same for every client.
- Each client is used as its users do: `requests.Session` with a header and a CA file; azure-mgmt-compute with its
  models; azurerm in its own environment. "Prepared request" is the fastest known use of requests (no environment, no
  redirects, the GET prepared once).
- The stub asks for no wait, so each client polls the operation of manualUpgrade once, without a pause.
- Memory is the peak size of Python objects (tracemalloc), without those that existed before, and with warm caches.

## One call

{calls(found.calls)}
## Memory for 1,000 instances with instance view

{memories(found.memory)}
`iter_vmss_vms` keeps one page in memory. It does not request the next page early. The link to it is at the end of the
current page, so that would not be faster; it would waste requests if you stop early; and it would keep two pages in
memory.

## A script, from its start to its first response, with login

{scripts(found.scripts)}
## Import and size

The table shows the CPU time of the import in a fresh process. `azurerm_lite` imports requests and msal when they are
first needed; its size includes both.

{weights(found.imports, sizes)}"""
