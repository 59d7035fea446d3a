"""Rehearse an upgrade: run the same code on a copy of the scale set in an emulator with virtual time.

This is the only module that imports both the emulator and the client. The availability that it reports comes from the
emulator's record of each instance, not from the upgrade.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._common import arguments
from .._common.secrecy import conceal_locals
from ..arm import Arm, Auth, arm_of
from ..auth.credential import Credential
from ..auth.tokens import Token
from ..clouds import custom_cloud
from ..emulator import habits as habits_table
from ..emulator.clock import VirtualClock
from ..emulator.faults import EFFECTS, FaultError, Faults
from ..emulator.habits import USUAL, Habits
from ..emulator.http.adapter import InProcessAdapter
from ..emulator.http.app import ArmApp
from ..emulator.seed import Seed, SeedError, publish_gallery_image
from ..emulator.simulation.compose import Simulation
from ..emulator.simulation.disturbances import Happening
from ..endpoints.vmss import get_vmss
from ..endpoints.vmss_vm import get_flexible_vm_instance_view
from ..endpoints.vmss_vms import list_vmss_vms
from ..errors import CredentialError, InvalidInput, NotFoundError, short_repr
from ..types import JsonDict, ScaleSet
from .rules import checks, preflight
from .rules.policy import Policy
from .rules.verdict import Verdict
from .run.planning import Change, Plan, changed_model, is_flexible, plan, resolve_version
from .run.runner import OnEvent, _never, _silent
from .run.runs import upgrade


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The result of a rehearsal: the plan and the verdict of the upgrade on the copy.

    `seconds`: virtual time. `lowest`: the fewest instances that were available, by the emulator's record. `requests`:
    their number by HTTP method. `happenings`: the effects of faults and habits, with time and instances.
    """

    plan: Plan
    verdict: Verdict
    seconds: float
    lowest: int
    requests: Mapping[str, int] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()

    def __str__(self) -> str:
        request_count = sum(self.requests.values())
        return f"rehearsed: {self.verdict}; at least {self.lowest} available, {request_count} requests"


class Stage:
    """A simulation of one scale set and an Arm that sends its requests to it.

    `start`: the virtual time at the beginning, in seconds since 1970.
    """

    def __init__(
        self, seed: Seed, *, random_seed: int = 0, start: float = 1_790_000_000.0, habits: Habits = USUAL
    ) -> None:
        self.clock = VirtualClock(start)
        self.simulation = Simulation(self.clock, seed=random_seed, habits=habits)
        seed.add_to(self.simulation)
        self.app = ArmApp(self.simulation)
        self.app.is_compact = self.simulation.settings.compact_views = True
        self.app.recorder.keeps_responses = False
        self.address = ScaleSet(seed.subscription_id, seed.resource_group, seed.vmss_name)
        self._client_id = self.simulation.principal.client_id
        credential = Credential("rehearsal", self._token, now=self.clock.time)
        self.arm = Arm(
            credential,
            cloud=custom_cloud("https://localhost", "https://localhost"),
            adapter=InProcessAdapter(self.app),
            sleep=self.clock.sleep,
            now=self.clock.time,
            monotonic=self.clock.time,
            jitter=self.simulation.events.random.random,
        )

    def _token(self, _scope: str, _claims: str | None) -> Token:
        """A token that never expires; CredentialError while a fault or habit makes the login service fail."""
        refused = self.simulation.faults.for_request("POST", "/oauth2/v2.0/token")
        if refused is not None and refused.status >= 400:
            raise CredentialError(f"the login service answered {refused.status}, because of a fault or habit")
        token = Token(self.simulation.identity.issue(self._client_id), 2**40)
        self.simulation.identity.tokens[token.token].expires = float(2**40)
        return token

    @property
    def scale_set(self) -> Any:
        return self.simulation.scale_sets.get(*self.address)

    def lowest(self) -> int:
        """The fewest instances that were available at any time."""
        up: dict[str, bool] = {}
        least, has_started = 10**9, False
        for when, _, instance_id, available in self.simulation.state.availability:
            has_started = has_started or when > self.simulation.state.availability[0][0]
            if has_started:
                least = min(least, sum(up.values()))
            up[instance_id] = available
        return min(least, sum(up.values()))


@conceal_locals
def capture(auth: Auth, address: ScaleSet) -> JsonDict:
    """Read everything that a rehearsal needs: {"model": {...}, "instances": [{...}], "page_size": 100}.

    Each instance has its instance view, null where Azure shows none. In Flexible orchestration mode each view is read
    by itself. `page_size`: the number of instances on a page of their list, 0 when one page holds all.

    Raises: InvalidInput for wrong arguments, ArmError, TransportError.
    """
    arguments.typed(ScaleSet, address=address)
    arm = arm_of(auth)
    model: JsonDict = {**get_vmss(arm, *address)}
    flexible, before = is_flexible(model), arm.requests
    listed = _instances(arm, address, flexible)
    if len(listed) < int((model.get("sku") or {}).get("capacity") or 0):  # the list may be incomplete
        before, listed = arm.requests, _instances(arm, address, flexible)
    pages = arm.requests - before
    instances = [_with_view(arm, address, entry, flexible=flexible) for entry in listed]
    return {"model": model, "instances": instances, "page_size": -(-len(listed) // pages) if pages > 1 else 0}


def _instances(arm: Arm, address: ScaleSet, flexible: bool) -> list[JsonDict]:
    items = list_vmss_vms(arm, *address, expand=None if flexible else "instanceView")
    return [{**item} for item in items if isinstance(item, dict) and item.get("instanceId")]


def _with_view(arm: Arm, address: ScaleSet, instance: JsonDict, *, flexible: bool) -> JsonDict:
    properties = instance.get("properties") or {}
    view = properties.get("instanceView")
    if flexible:
        try:
            view = get_flexible_vm_instance_view(arm, address[0], address[1], str(instance["instanceId"]))
        except NotFoundError:
            view = None
    return {**instance, "properties": {**properties, "instanceView": view}}


@conceal_locals
def rehearse(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: Change = None,
    *,
    policy: Policy | None = None,
    faults: Iterable[Mapping[str, Any]] = (),
    habits: Habits = (),
    failure_percent: float = 0.0,
    random_seed: int = 0,
    on_event: OnEvent = _silent,
) -> Rehearsal:
    """Run the upgrade on a copy of the scale set in the emulator and return the Rehearsal.

    Azure gets read requests only. `change`, `policy`: as in `plan`.
    `faults`: faults of the emulator, such as `[{"on": "upgrade", "instance": "3", "effect": "fail"}]`.
    `habits`: behaviours of Azure beyond the usual ones, as names or as `[{"habit": "evictions", ...}]` with parameters.
    Their times count from the start of the upgrade.
    `failure_percent`: the share of the instances that fail besides, 0 to 100. `random_seed`: selects these instances
    and their failures. `on_event`: called with each event.

    Raises, before the first request: InvalidInput for unknown faults or habits and for other wrong arguments. Raises
    also: PlanRefused, as `plan` does; ArmError, TransportError for the reads.
    """
    checks.of_plan(change, policy)
    faults = checks.faults(faults)
    _check_failure_percent(failure_percent)
    checks.of_run(None, None, on_event, _never)
    arguments.whole_number(random_seed, "random_seed", -(2**63), 2**63, "a whole number")
    faults, habits = _check_faults(faults), _check_habits(habits)
    captured, change = _copy(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    return rehearse_captured(
        captured,
        change,
        policy=policy,
        faults=faults,
        habits=habits,
        failure_percent=failure_percent,
        random_seed=random_seed,
        on_event=on_event,
    )


@conceal_locals
def rehearse_failures(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: Change = None,
    *,
    policy: Policy | None = None,
    habits: Habits = (),
) -> dict[str, Rehearsal]:
    """Rehearse the upgrade once for each kind of failure and return the Rehearsals by a title.

    The first Rehearsal, "nothing goes wrong", has no failure. In the others the first instance fails in one way, or the
    image makes all instances fail. `change`, `policy`: as in `plan`. `habits`: one more rehearsal for each of these,
    by name, or as `{"habit": "evictions", ...}` with parameters; `emulator.habits.EVENTS` has the names.

    Raises, before the first request: InvalidInput for unknown habits and other wrong arguments. Raises also:
    PlanRefused, as `plan` does; ArmError, TransportError for the reads.
    """
    checks.of_plan(change, policy)
    habit_list = _check_habits(habits)
    captured, change = _copy(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    calm = rehearse_captured(captured, change, policy=policy)
    first = next((ids[0] for ids in calm.plan.batches), "")
    ways: dict[str, dict[str, Any]] = {
        f"{first} {outcome}": {"instance": first, "effect": effect} for effect, outcome in _EFFECTS_ON_ONE.items()
    }
    ways |= {
        f"the image lets all {outcome}": {"effect": effect, "times": 10**6}
        for effect, outcome in _EFFECTS_ON_ALL.items()
    }
    faults: dict[str, list[dict[str, Any]]] = {name: [{"on": "upgrade", **way}] for name, way in ways.items() if first}
    bad = {
        name: rehearse_captured(captured, change, policy=policy, faults=fault_list)
        for name, fault_list in faults.items()
    }
    rude = {_title(habit): rehearse_captured(captured, change, policy=policy, habits=[habit]) for habit in habit_list}
    return {"nothing goes wrong": calm, **bad, **rude}


def _title(habit: str | Mapping[str, Any]) -> str:
    """The name of a habit with its parameters."""
    if isinstance(habit, str):
        return habit
    parameters = ", ".join(f"{key} {value}" for key, value in habit.items() if key != "habit")
    return f"{habit['habit']} ({parameters})" if parameters else str(habit["habit"])


_EFFECTS_ON_ONE = {
    "fail": "fails",
    "unhealthy": "stays unhealthy",
    "flap": "flaps",
    "vanish": "vanishes",
    "hang": "hangs",
}
_EFFECTS_ON_ALL = {"fail": "fail", "unhealthy": "be unhealthy"}


def _copy(auth: Auth, address: ScaleSet, change: Change) -> tuple[JsonDict, Change]:
    """Capture the scale set, and resolve "latest" with Azure, since the copy does not know Azure's versions."""
    captured = capture(auth, address)
    model: Any = captured["model"]
    return captured, resolve_version(arm_of(auth), address, model, change) if isinstance(change, str) else change


def _publish(stage: Stage, change: Any) -> None:
    """Publish the image of the change in the emulator, whether or not Azure has it."""
    after, _ = changed_model(stage.arm, stage.address, stage.scale_set.model, change)
    image = preflight.image(after)
    if image.get("publisher") and image.get("version") != "latest":
        publisher, offer, sku = (str(image.get(key, "")) for key in ("publisher", "offer", "sku"))
        stage.simulation.images.publish(publisher, offer, sku, str(image.get("version", "")))
    elif image.get("id"):
        name, _, version = str(image["id"]).partition("/versions/")
        publish_gallery_image(stage.simulation, f"{name}/versions/{version or '1.0.0'}", stage.scale_set.location)


@conceal_locals
def rehearse_captured(
    captured: Mapping[str, Any] | Seed,
    change: Change = None,
    *,
    policy: Policy | None = None,
    faults: Iterable[Mapping[str, Any]] = (),
    habits: Habits = (),
    failure_percent: float = 0.0,
    random_seed: int = 0,
    on_event: OnEvent = _silent,
) -> Rehearsal:
    """Rehearse an upgrade on the result of `capture` or on a Seed, without requests to Azure.

    The other arguments, and the errors, are those of `rehearse`.
    """
    checks.of_plan(change, policy)
    checks.of_run(None, None, on_event, _never)
    _check_failure_percent(failure_percent)
    arguments.whole_number(random_seed, "random_seed", -(2**63), 2**63, "a whole number")
    faults, habits = _check_faults(checks.faults(faults)), _check_habits(habits)
    names, events = habits_table.check(habits)
    seed = captured if isinstance(captured, Seed) else _seed(captured)
    stage = Stage(seed, random_seed=random_seed, habits=USUAL | (names - habits_table.EVENTS.keys()))
    if change is not None and change != "latest":
        _publish(stage, change)
    upgrade_plan = plan(stage.arm, *stage.address, change, policy=policy, accept_failed=True)
    for fault in [*faults, *_draw_failures(stage, upgrade_plan, failure_percent)]:
        stage.simulation.faults.add(**fault)
    for event in events:
        stage.simulation.disturbances.add(event)
    started_at = stage.clock.time()
    verdict = upgrade(stage.arm, upgrade_plan, on_event=on_event)
    requests = Counter(entry.method for entry in stage.app.recorder.entries)
    seconds, happenings = stage.clock.time() - started_at, tuple(stage.simulation.disturbances.record)
    return Rehearsal(upgrade_plan, verdict, seconds, stage.lowest(), dict(requests), happenings)


def _check_faults(faults: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The faults as a list; InvalidInput for a fault that the emulator does not know."""
    listed, trial = list(faults), Faults()
    trial.add_habit = habits_table.use
    try:
        for fault in listed:
            trial.add(**fault)
    except (FaultError, TypeError) as error:
        raise InvalidInput(f"a fault of the rehearsal: {error}") from None
    return listed


def _seed(captured: object) -> Seed:
    try:
        return Seed.from_captured(captured)
    except SeedError as error:
        raise InvalidInput(f"captured is not a scale set: {error}") from None


def _check_habits(habits: Habits) -> list[str | Mapping[str, Any]]:
    """The habits as a list; InvalidInput for a habit that the emulator does not know."""
    is_single = isinstance(habits, str) or (isinstance(habits, Mapping) and "habit" in habits)
    for habit in arguments.sequence([habits] if is_single else habits, "habits", "['evictions']"):
        arguments.typed(str | Mapping, habit=habit)
    try:
        habits_table.check(habits)
    except FaultError as error:
        raise InvalidInput(f"a habit of the rehearsal: {error}") from None
    return habits_table.as_list(habits)


def _check_failure_percent(percent: float) -> None:
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InvalidInput(f"failure_percent is a number from 0 to 100, not {short_repr(percent)}")


def _draw_failures(stage: Stage, upgrade_plan: Plan, percent: float) -> Iterator[dict[str, Any]]:
    """Draw instances with this probability in percent, and a failure for each."""
    for instance in [instance_id for ids in upgrade_plan.batches for instance_id in ids] if percent else ():
        if 100 * stage.simulation.events.random.random() < percent:
            yield {"on": "upgrade", "instance": instance, "effect": stage.simulation.events.random.choice(EFFECTS)}
