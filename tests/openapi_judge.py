"""The published OpenAPI as a judge: every exchange of the run that it covers has to pass it.

Emulators in this process are heard as they answer; those in processes of their own write a journal, which is read when
the run ends. What is equal is looked at once: of a list, each element. What is left out stands in EXEMPT and BEYOND.
"""

import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# What the judge does not look at, and why. What real Azure shows beyond its OpenAPI is in BEYOND.
EXEMPT: dict[str, Callable[[Any], bool]] = {
    "made wrong on purpose by a fault": lambda one: "x-emulator-fault" in one.response_headers,
    "Compute's own 429, which its documentation shows and the OpenAPI does not": lambda one: one.status == 429,
    "$select leaves out what the OpenAPI requires, as recorded of Azure": lambda one: "$select" in one.query,
}
# Findings that are not the emulator's: what its seeds show, recorded of Azure or published, beyond the OpenAPI.
BEYOND = {
    r"/vmSize: enum 'Standard_": "an open enumeration (modelAsString): a published example has a size born later",
    r"VMs_\w+ 200: .*/(priority|evictionPolicy|billingProfile): undefined": "of Spot instances, as recorded",
    r"/upgradePolicy/automaticOSUpgrade: undefined": "recorded of 2018",
    r"request .*/protectedSettings: type None": "null erases as an empty object does; a test sends it on purpose",
    r"/settings: type '": "a text in the place of the settings, which the recording left out",
}
# Operations of the OpenAPI that the emulator does not have: it is about scale sets, and VMs are theirs alone.
NOT_OURS = re.compile(
    r"VirtualMachines_(?!Get$|InstanceView$)|VirtualMachine(Extensions|Sizes)_|VirtualMachineImages.*Edge|Operations_List"
)
ELSEWHERE = "emulators in processes of their own"
# The files that start such emulators.
STARTERS = ("tests/emulated/test_examples.py", "tests/upgrade/test_rolling_upgrade_example.py")
# The fewest exchanges that each of these must bring to the judge when it is run as a whole.
LEAST: dict[str, int] = {
    "tests/emulated/test_emulator.py": 100,
    "tests/emulated/test_emulator_behaviour.py": 400,
    "tests/emulated/test_emulator_load.py": 300,
    "tests/emulated/test_differential.py": 600,
    "tests/emulated/test_examples.py": 90,
    "tests/emulated/test_long_operations.py": 70,
    "tests/real_clients/test_azure_sdk.py": 70,
    ELSEWHERE: 100,
}


def checkers(folder: Path) -> Iterator[Any]:
    """One checker for each published document, with all that it refers to read beforehand: ten times as fast."""
    sys.path.insert(0, str(folder / "tools"))
    try:
        from referencing.jsonschema import DRAFT4
        from swagger_check import SpecChecker
    finally:
        sys.path.pop(0)
    for path in sorted((folder / "openapi").rglob("*.json")):
        if not json.loads(path.read_text(encoding="utf-8-sig")).get("paths"):
            continue
        checker = SpecChecker(str(path))
        known = checker.registry.get_or_retrieve(checker.base).registry.crawl()
        for other in sorted((folder / "openapi").rglob("*.json")):
            address = f"file://{other}"
            known = known.with_resource(address, DRAFT4.create_resource(checker._doc(address)))
        checker.registry = known.crawl()
        yield checker


class OpenApiJudge:
    """`failures` so far, how many exchanges it has heard of by whom, and which operations of the OpenAPI those were."""

    def __init__(self, folder: Path) -> None:
        self._checkers = list(checkers(folder))
        self._lock, self._seen, self._excused = threading.Lock(), set[int](), set[str]()
        self.blind_to_digits = False  # take exchanges for equal that differ in digits only
        self.failures: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.operations: set[str] = set()
        self.checked = 0

    def published(self) -> set[str]:
        """The operations of the OpenAPI."""
        return {operation["operationId"] for checker in self._checkers for *_, operation in checker.ops}

    def hear(self, entry: Any, of: str = "") -> None:
        """Look at one exchange, if it is one for the judge."""
        if any(left_out(entry) for left_out in EXEMPT.values()):
            return
        url = f"https://x{entry.path}?" + "&".join(f"{key}={value}" for key, value in entry.query.items())
        for checker in self._checkers:
            operation = checker.operation(entry.method, url)
            if operation is not None:
                with self._lock:
                    self.heard[of or os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]] += 1
                    if entry.status < 400:
                        self.operations.add(operation["operationId"])
                    self._judge(checker, operation["operationId"], url, entry)
                return

    def _judge(self, checker: Any, operation: str, url: str, entry: Any) -> None:
        answer = json.loads(json.dumps(entry.response))
        said = [operation, entry.status, entry.body]
        if isinstance(answer, dict) and isinstance(answer.get("value"), list):
            answer["value"] = [one for one in answer["value"] if self._is_new([operation, one])]
            if not answer["value"] and not self._is_new([*said, sorted(answer)]):
                return
        elif not self._is_new([*said, answer]):
            return
        self.checked += 1
        ours = "azurerm-lite/" in entry.headers.get("user-agent", "")
        for where, *what in checker.check(entry.method, url, entry.body, entry.status, answer):
            if where == "response" or (ours and entry.status < 400):
                place = re.sub(r"/[0-9]+(?=/|$)", "/*", str(what[1]))
                self._find(f"{operation} {entry.status}: {where} {place}: {what[0]} {what[2][:90]}")

    def _find(self, finding: str) -> None:
        excuses = {pattern for pattern in BEYOND if re.search(pattern, finding)}
        self._excused |= excuses
        if not excuses:
            self.failures[finding] += 1

    def _is_new(self, what: Any) -> bool:
        text = json.dumps(what, sort_keys=True)
        key = hash(re.sub(r"[0-9a-f-]{36}|[0-9]+", "0", text) if self.blind_to_digits else text)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def to_dict(self) -> dict[str, Any]:
        """What it has heard, as plain JSON, for the judge of another process."""
        counts = {"failures": dict(self.failures), "heard": dict(self.heard), "checked": self.checked}
        return {**counts, "operations": sorted(self.operations), "excused": sorted(self._excused)}

    @classmethod
    def merged(cls, folder: Path, judges: Iterable[Mapping[str, Any]]) -> "OpenApiJudge":
        """A judge that has heard what the judges of several processes have."""
        judge = cls(folder)
        for stored in judges:
            judge.failures.update(stored["failures"])
            judge.heard.update(stored["heard"])
            judge.operations.update(stored["operations"])
            judge._excused.update(stored["excused"])
            judge.checked += stored["checked"]
        return judge

    def verdict(self, whole: Container[str]) -> list[str]:
        """What is wrong with the run. `whole`: the files that were run as a whole, which have to bring enough."""
        missing = [
            f"{name}: the judge heard {self.heard[name]} exchanges, of {least} at least"
            for name, least in LEAST.items()
            if name in whole and self.heard[name] < least
        ]
        if all(name in whole for name in LEAST):
            missing += [f"nobody needs the excuse {one!r} any more" for one in BEYOND if one not in self._excused]
            unheard = self.published() - self.operations
            missing += [f"the judge heard of no {one}" for one in sorted(unheard) if not NOT_OURS.match(one)]
        return [*missing, *(f"{count} x {what}" for what, count in self.failures.most_common())]
