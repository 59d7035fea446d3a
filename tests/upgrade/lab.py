"""A scale set in virtual time with a judge: what counts is the emulator's own state at each request on instances."""

import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import requests
from urllib3.response import HTTPResponse

from azurerm_lite.arm import Arm
from azurerm_lite.clouds import custom_cloud
from azurerm_lite.emulator import Seed
from azurerm_lite.emulator.http.adapter import InProcessAdapter
from azurerm_lite.upgrade import Plan, Policy, Verdict, plan, resume, upgrade
from azurerm_lite.upgrade.rehearsal import Stage

NEW, OLD = "22.04.202611120", "22.04.202608150"
CORE = ("manualupgrade", "reimage", "deallocate", "start", "delete")
Response = tuple[int, Mapping[str, str], Any]
Before = Callable[[requests.PreparedRequest], Response | None]
After = Callable[[requests.PreparedRequest, int, Any], Response | None]


class EndlessLoop(BaseException):
    """More requests than any upgrade of this size needs."""


class Killed(BaseException):
    """The process ends here."""


class Sent(NamedTuple):
    """A request on instances that the emulator accepted: when, on which, and how many others were available."""

    at: float
    ids: tuple[str, ...]
    left: int


class Wire(InProcessAdapter):
    """Between the client and the emulator: `before` may respond itself, `after` may change a response."""

    def __init__(self, app: Any, before: Before | None = None, after: After | None = None) -> None:
        super().__init__(app)
        self.before, self.after = before, after

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        response = self.before(request) if self.before else None
        headers: dict[str, str] = {}
        if response is None:
            raw: Any = super().send(request, *args, **options)
            if self.after is None:
                return raw
            status, headers, body = raw.status, dict(raw.headers), raw.read()
            document = json.loads(body) if body[:1] in (b"{", b"[") else None
            response = self.after(request, status, document)
            if response is None:
                return HTTPResponse(io.BytesIO(body), headers=headers, status=status, preload_content=False)
        status, more, document = response
        body = b"" if document is None else json.dumps(document).encode()
        headers = {key: value for key, value in headers.items() if key.lower() != "content-length"}
        headers |= {**more, "Content-Type": "application/json", "Content-Length": str(len(body))}
        return HTTPResponse(io.BytesIO(body), headers=headers, status=status, preload_content=False)


class Lab:
    """One scale set, an Arm to it, and what was wrong with the requests that it was sent."""

    def __init__(
        self, seed: Seed | None = None, *, before: Before | None = None, after: After | None = None, **options: Any
    ) -> None:
        self.stage = Stage(seed or Seed.build(**options))
        self.clock, self.simulation, self.address = self.stage.clock, self.stage.simulation, self.stage.address
        self.app, self.wire = self.stage.app, Wire(self.stage.app, before, after)
        local = custom_cloud("https://localhost", "https://localhost")
        self.arm = Arm(
            self.stage.arm.credential,
            cloud=local,
            adapter=self.wire,
            sleep=self.clock.sleep,
            now=self.clock.time,
            monotonic=self.clock.time,
            jitter=self.simulation.events.random.random,
        )
        self.policy, self.limit = Policy(), 20_000
        self.size, self.start = len(self.instances), self.clock.time()
        self.sent: list[Sent] = []
        self.breaches: list[str] = []
        self._watch()

    def _watch(self) -> None:
        record, select = self.app.recorder.add, self.simulation.instances.select

        def recorded(entry: Any) -> None:
            record(entry)
            if len(self.app.recorder.entries) > self.limit:
                raise EndlessLoop(f"{self.limit} requests")

        def selected(scale_set: Any, ids: Iterable[Any], target: str) -> Any:
            instances = select(scale_set, ids, target)
            self._judge(tuple(instance.instance_id for instance in instances))
            return instances

        self.app.recorder.add = recorded  # type: ignore[method-assign]
        self.simulation.instances.select = selected  # type: ignore[method-assign]

    # --- the judge ---------------------------------------------------------------------------------------------------

    def _judge(self, ids: tuple[str, ...]) -> None:
        """The floor of the set, of each zone and of each placement group, by what is true now."""
        available = [name for name, vm in self.instances.items() if vm.is_available]
        left = [name for name in available if name not in ids]
        self.sent.append(Sent(self.clock.time() - self.start, ids, len(left)))
        hit = [name for name in ids if name in available]
        if self.scale_set.upgrade is not None and not self.scale_set.upgrade.is_done:
            self._breach(ids, "another upgrade is in flight")
        need = math.ceil(self.policy.min_healthy_instance_percent * max(self.size, len(self.instances)) / 100)
        if hit and len(left) < need:
            self._breach(ids, f"{len(left)} of {need} are left")
        self._breach_of_places(ids, hit, left)
        for name in ids:
            if self.instances[name].is_protected:
                self._breach(ids, f"{name} is protected")

    def _breach_of_places(self, ids: tuple[str, ...], hit: list[str], left: list[str]) -> None:
        for place in (lambda vm: vm.zone, lambda vm: vm.view.get("placementGroupId")):
            sizes = Counter(place(vm) for vm in self.instances.values())
            for name in {place(self.instances[one]) for one in hit} - {None, ""}:
                stay = sum(place(self.instances[one]) == name for one in left)
                if stay < math.ceil(self.policy.min_healthy_zone_percent * sizes[name] / 100):
                    self._breach(ids, f"{stay} are left in {name}")

    def _breach(self, ids: tuple[str, ...], text: str) -> None:
        self.breaches.append(f"t={self.clock.time() - self.start:.0f} {', '.join(ids)}: {text}")

    # --- what is done ------------------------------------------------------------------------------------------------

    def plan(self, change: Any = NEW, policy: Policy | None = None, **options: Any) -> Plan:
        self.policy = policy or Policy()
        return plan(self.arm, *self.address, change, policy=self.policy, **options)

    def run(self, change: Any = NEW, policy: Policy | None = None, **options: Any) -> Verdict:
        return upgrade(self.arm, self.plan(change, policy), **options)

    def run_until(self, kind: str, journal: str, *, number: int = 1, change: Any = NEW, **options: Any) -> None:
        """Run until the `number`-th entry of this kind stands in the journal, and end the process there."""
        count = 0

        def kill(event: Mapping[str, Any]) -> None:
            nonlocal count
            count += event["kind"] == kind
            if event["kind"] == kind and count == number:
                raise Killed

        try:
            self.run(change, options.pop("policy", None), journal=journal, on_event=kill, **options)
        except Killed:
            return
        raise AssertionError(f"there was no {kind} number {number}")

    def resume(self, journal: str, *, after: float = 0.0, **options: Any) -> Verdict:
        self.clock.advance(after)
        self.simulation.events.run_due_events()
        return resume(self.arm, journal, **options)

    # --- what befalls it ---------------------------------------------------------------------------------------------

    def health(self, name: str, state: str) -> None:
        self.simulation.events.run_due_events()
        self.simulation.health.set_health(self.scale_set, self.instances[name], state)

    def power(self, name: str, state: str) -> None:
        self.simulation.events.run_due_events()
        self.simulation.instances.update(self.scale_set, self.instances[name], power=state)

    def state(self, name: str, state: str) -> None:
        self.simulation.events.run_due_events()
        self.simulation.instances.update(self.scale_set, self.instances[name], state=state)

    def faults(self, **fault: Any) -> None:
        self.simulation.faults.add(**fault)

    # --- what is true ------------------------------------------------------------------------------------------------

    @property
    def scale_set(self) -> Any:
        return self.stage.scale_set

    @property
    def instances(self) -> dict[str, Any]:
        return dict(self.scale_set.instances)

    def exact(self, name: str) -> str:
        image = self.instances[name].document["properties"]["storageProfile"]["imageReference"]
        return str(image.get("exactVersion") or "")

    def versions(self) -> Counter[str]:
        return Counter(self.exact(name) for name in self.instances)

    def requests(self, kind: str = "manualupgrade") -> list[Any]:
        return [entry for entry in self.app.recorder.entries if entry.method == "POST" and entry.path.endswith(kind)]

    def available(self) -> int:
        return sum(vm.is_available for vm in self.instances.values())

    def upgraded(self, name: str) -> int:
        """How often Azure brought an instance to another model."""
        return len(self.instances[name].upgrades)


def at(kind: str, number: int, act: Callable[[], object]) -> Callable[[Mapping[str, Any]], None]:
    """An on_event that acts once, at the `number`-th event of this kind."""
    count = 0

    def hear(event: Mapping[str, Any]) -> None:
        nonlocal count
        count += event["kind"] == kind
        if event["kind"] == kind and count == number:
            act()

    return hear
