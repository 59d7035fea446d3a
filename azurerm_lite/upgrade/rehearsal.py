"""An upgrade on a copy of the scale set: the same plan, the same engine, an emulator in virtual time.

The only room that knows the emulator and the core. What it says of availability comes from the emulator's own record
of each instance, not from the engine.
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
from .run.planning import Change, Plan, changed, is_flexible, plan, resolved
from .run.runner import OnEvent, _never, _silent
from .run.runs import upgrade


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would happen. `lowest`: the fewest instances that were really available, by the emulator's own record.

    `happenings`: what faults and habits have done, when and to which instances, by that record.
    """

    plan: Plan
    verdict: Verdict
    seconds: float
    lowest: int
    requests: Mapping[str, int] = field(default_factory=dict)
    happenings: tuple[Happening, ...] = ()

    def __str__(self) -> str:
        asked = sum(self.requests.values())
        return f"rehearsed: {self.verdict}; at least {self.lowest} available, {asked} requests"


class Stage:
    """A simulation of one scale set, and an Arm that uses it."""

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
        """A token that does not end by itself; none while a fault or habit keeps the login service away."""
        refused = self.simulation.faults.for_request("POST", "/oauth2/v2.0/token")
        if refused is not None and refused.status >= 400:
            raise CredentialError(f"the login service answered {refused.status}, as it was told to")
        token = Token(self.simulation.identity.issue(self._client_id), 2**40)
        self.simulation.identity.tokens[token.token].expires = float(2**40)
        return token

    @property
    def scale_set(self) -> Any:
        return self.simulation.scale_sets.get(*self.address)

    def lowest(self) -> int:
        """The fewest instances that were available at any moment."""
        up: dict[str, bool] = {}
        least, begun = 10**9, False
        for when, _, instance_id, available in self.simulation.state.availability:
            begun = begun or when > self.simulation.state.availability[0][0]
            if begun:
                least = min(least, sum(up.values()))
            up[instance_id] = available
        return min(least, sum(up.values()))


@conceal_locals
def capture(auth: Auth, address: ScaleSet) -> JsonDict:
    """A scale set as GET shows it, which is all that a rehearsal needs: {"model": …, "instances": …, "page_size": …}.

    Each instance has its instance view, null where Azure shows none; of a Flexible set each VM is asked for its own.
    `page_size`: how many instances a page of their list has, 0 where one page has all.
    """
    arguments.typed(ScaleSet, address=address)
    arm = arm_of(auth)
    model: JsonDict = {**get_vmss(arm, *address)}
    flexible, before = is_flexible(model), arm.requests
    listed = _instances(arm, address, flexible)
    if len(listed) < int((model.get("sku") or {}).get("capacity") or 0):  # a list may be short once
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
    """What that upgrade would do, tried on a copy of the scale set. Of Azure it reads only.

    `faults`: what shall go wrong, in the emulator's words: {"on": "upgrade", "instance": "3", "effect": "fail"}.
    `habits`: what Azure has been seen to do, besides the usual: names, or objects with `habit` and parameters. Their
    time begins with the upgrade.
    `failure_percent`: of the instances, how many fare badly besides, in whatever way; `random_seed` says which and how.
    Raises InvalidInput, before Azure is asked, for faults, habits and shares that there are not.
    """
    checks.of_plan(change, policy)
    faults = checks.faults(faults)
    _refuse_odd_luck(failure_percent)
    checks.of_run(None, None, on_event, _never)
    arguments.whole_number(random_seed, "random_seed", -(2**63), 2**63, "a whole number")
    faults, habits = _checked_faults(faults), _checked_habits(habits)
    found, change = _copied(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    return rehearse_captured(
        found,
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
    """What each failure would do: a rehearsal for each way in which the first instance, or the image, may be bad.

    The first one is without any. `habits`: a rehearsal more for each of these, by its name (`emulator.habits.EVENTS`
    has all that happen). Raises InvalidInput for one that there is not, before Azure is asked.
    """
    checks.of_plan(change, policy)
    asked = _checked_habits(habits)
    found, change = _copied(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    calm = rehearse_captured(found, change, policy=policy)
    first = next((ids[0] for ids in calm.plan.batches), "")
    ways: dict[str, dict[str, Any]] = {
        f"{first} {said}": {"instance": first, "effect": effect} for effect, said in _ONE.items()
    }
    ways |= {f"the image lets all {said}": {"effect": effect, "times": 10**6} for effect, said in _ALL.items()}
    faults: dict[str, list[dict[str, Any]]] = {name: [{"on": "upgrade", **way}] for name, way in ways.items() if first}
    bad = {name: rehearse_captured(found, change, policy=policy, faults=one) for name, one in faults.items()}
    rude = {_title(one): rehearse_captured(found, change, policy=policy, habits=[one]) for one in asked}
    return {"nothing goes wrong": calm, **bad, **rude}


def _title(habit: str | Mapping[str, Any]) -> str:
    """A habit by its name, with the parameters that were asked for."""
    if isinstance(habit, str):
        return habit
    wanted = ", ".join(f"{key} {value}" for key, value in habit.items() if key != "habit")
    return f"{habit['habit']} ({wanted})" if wanted else str(habit["habit"])


_ONE = {"fail": "fails", "unhealthy": "stays unhealthy", "flap": "flaps", "vanish": "vanishes", "hang": "hangs"}
_ALL = {"fail": "fail", "unhealthy": "be unhealthy"}


def _copied(auth: Auth, address: ScaleSet, change: Change) -> tuple[JsonDict, Change]:
    """The scale set as it is, and the change; "latest" is what Azure has now, which the copy cannot know."""
    found = capture(auth, address)
    model: Any = found["model"]
    return found, resolved(arm_of(auth), address, model, change) if isinstance(change, str) else change


def _publish(stage: Stage, change: Any) -> None:
    """Make the image exist that is asked for, whatever Azure has of it."""
    after, _ = changed(stage.arm, stage.address, stage.scale_set.model, change)
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
    """A rehearsal on what was captured before, or on a Seed; without any Azure. The arguments are those of rehearse."""
    checks.of_plan(change, policy)
    checks.of_run(None, None, on_event, _never)
    _refuse_odd_luck(failure_percent)
    arguments.whole_number(random_seed, "random_seed", -(2**63), 2**63, "a whole number")
    faults, habits = _checked_faults(checks.faults(faults)), _checked_habits(habits)
    names, events = habits_table.check(habits)
    seed = captured if isinstance(captured, Seed) else _seed(captured)
    stage = Stage(seed, random_seed=random_seed, habits=USUAL | (names - habits_table.EVENTS.keys()))
    if change is not None and change != "latest":
        _publish(stage, change)
    wanted = plan(stage.arm, *stage.address, change, policy=policy, accept_failed=True)
    for fault in [*faults, *_bad_luck(stage, wanted, failure_percent)]:
        stage.simulation.faults.add(**fault)
    for event in events:
        stage.simulation.disturbances.add(event)
    begun = stage.clock.time()
    verdict = upgrade(stage.arm, wanted, on_event=on_event)
    requests = Counter(entry.method for entry in stage.app.recorder.entries)
    seconds, happenings = stage.clock.time() - begun, tuple(stage.simulation.disturbances.record)
    return Rehearsal(wanted, verdict, seconds, stage.lowest(), dict(requests), happenings)


def _checked_faults(faults: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """These faults; InvalidInput for what the emulator would not understand."""
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
        raise InvalidInput(f"captured is no scale set: {error}") from None


def _checked_habits(habits: Habits) -> list[str | Mapping[str, Any]]:
    """These habits; InvalidInput for what is none."""
    is_single = isinstance(habits, str) or (isinstance(habits, Mapping) and "habit" in habits)
    for habit in arguments.sequence([habits] if is_single else habits, "habits", "['evictions']"):
        arguments.typed(str | Mapping, habit=habit)
    try:
        habits_table.check(habits)
    except FaultError as error:
        raise InvalidInput(f"a habit of the rehearsal: {error}") from None
    return habits_table.as_list(habits)


def _refuse_odd_luck(percent: float) -> None:
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InvalidInput(f"failure_percent is a number from 0 to 100, not {short_repr(percent)}")


def _bad_luck(stage: Stage, wanted: Plan, percent: float) -> Iterator[dict[str, Any]]:
    """For each instance that is drawn, one of the ways in which an upgrade may come out badly."""
    for instance in [one for ids in wanted.batches for one in ids] if percent else ():
        if 100 * stage.simulation.events.random.random() < percent:
            yield {"on": "upgrade", "instance": instance, "effect": stage.simulation.events.random.choice(EFFECTS)}
