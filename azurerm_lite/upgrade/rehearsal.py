"""An upgrade on a copy of the scale set: the same plan, the same engine, an emulator in virtual time.

The only room that knows the emulator and the core. What it says of availability comes from the emulator's own record
of each instance, not from the engine.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..arm import Arm, Auth, arm_of
from ..auth import Credential
from ..clouds import custom_cloud
from ..emulator import compute, identity
from ..emulator.adapter import InProcessAdapter
from ..emulator.app import ArmApp
from ..emulator.clock import VirtualClock
from ..emulator.faults import EFFECTS
from ..emulator.seed import Seed, publish_gallery_image
from ..emulator.world import World
from ..errors import InvalidInput
from ..secrecy import conceal_tokens
from ..tokens import Token
from ..types import JsonDict, ScaleSet
from ..vmss import get_vmss
from ..vmss_vms import list_vmss_vms
from . import preflight
from .planning import Change, Plan, changed, plan, resolved
from .policy import Policy
from .runner import OnEvent, _silent
from .runs import upgrade
from .verdict import Verdict


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would happen. `lowest`: the fewest instances that were really available, by the emulator's own record."""

    plan: Plan
    verdict: Verdict
    seconds: float
    lowest: int
    requests: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        asked = sum(self.requests.values())
        return f"rehearsed: {self.verdict}; at least {self.lowest} available, {asked} requests"


class Stage:
    """A world of one scale set, and an Arm in it."""

    def __init__(self, seed: Seed, *, random_seed: int = 0, start: float = 1_790_000_000.0) -> None:
        self.clock = VirtualClock(start)
        self.world = World(self.clock, seed=random_seed)
        principal = identity.install(self.world)
        compute.install(self.world, seed)
        self.app = ArmApp(self.world)
        self.app.compact = self.world.lean = True
        self.app.journal.keeps_answers = False
        self.address = ScaleSet(seed.subscription_id, seed.resource_group, seed.vmss_name)
        token = Token(self.world.identity.issue(principal.client_id), 2**40)
        self.world.identity.tokens[token.token].ends = float(2**40)
        credential = Credential("rehearsal", lambda _scope, _claims: token, now=self.clock.time)
        self.arm = Arm(
            credential,
            cloud=custom_cloud("https://localhost", "https://localhost"),
            adapter=InProcessAdapter(self.app),
            sleep=self.clock.sleep,
            now=self.clock.time,
            monotonic=self.clock.time,
            chance=self.world.rng.random,
        )

    @property
    def scale_set(self) -> Any:
        return self.world.scale_sets.get(*self.address)

    def lowest(self) -> int:
        """The fewest instances that were available at any moment."""
        up: dict[str, bool] = {}
        least, begun = 10**9, False
        for when, _, instance_id, available in self.world.scale_sets.history:
            begun = begun or when > self.world.scale_sets.history[0][0]
            if begun:
                least = min(least, sum(up.values()))
            up[instance_id] = available
        return min(least, sum(up.values()))


def capture(auth: Auth, address: ScaleSet) -> JsonDict:
    """A scale set as GET shows it, which is all that a rehearsal needs: {"model": …, "instances": …}."""
    arm = arm_of(auth)
    return {
        "model": {**get_vmss(arm, *address)},
        "instances": [{**one} for one in list_vmss_vms(arm, *address, expand="instanceView")],
    }


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
    unlucky_percent: float = 0.0,
    random_seed: int = 0,
    on_event: OnEvent = _silent,
) -> Rehearsal:
    """What that upgrade would do, tried on a copy of the scale set. Of Azure it reads only.

    `faults`: what shall go wrong, in the emulator's words: {"on": "upgrade", "instance": "3", "effect": "fail"}.
    `unlucky_percent`: of the instances, how many fare badly besides, in whatever way; `random_seed` says which and how.
    """
    _refuse_odd_luck(unlucky_percent)
    found, change = _copied(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    return rehearse_captured(
        found,
        change,
        policy=policy,
        faults=faults,
        unlucky_percent=unlucky_percent,
        random_seed=random_seed,
        on_event=on_event,
    )


def what_if(
    auth: Auth,
    /,
    subscription_id: str,
    resource_group: str,
    vmss_name: str,
    change: Change = None,
    *,
    policy: Policy | None = None,
) -> dict[str, Rehearsal]:
    """What each failure would do: a rehearsal for each way in which the first instance, or the image, may be bad.

    The first one is without any.
    """
    found, change = _copied(auth, ScaleSet(subscription_id, resource_group, vmss_name), change)
    calm = rehearse_captured(found, change, policy=policy)
    first = next((ids[0] for ids in calm.plan.batches), "")
    ways: dict[str, dict[str, Any]] = {
        f"{first} {said}": {"instance": first, "effect": effect} for effect, said in _ONE.items()
    }
    ways |= {f"the image lets all {said}": {"effect": effect, "times": 10**6} for effect, said in _ALL.items()}
    faults: dict[str, list[dict[str, Any]]] = {name: [{"on": "upgrade", **way}] for name, way in ways.items() if first}
    bad = {name: rehearse_captured(found, change, policy=policy, faults=one) for name, one in faults.items()}
    return {"nothing goes wrong": calm, **bad}


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
        stage.world.images.publish(publisher, offer, sku, str(image.get("version", "")))
    elif image.get("id"):
        name, _, version = str(image["id"]).partition("/versions/")
        publish_gallery_image(stage.world, f"{name}/versions/{version or '1.0.0'}", stage.scale_set.location)


def rehearse_captured(
    captured: Mapping[str, Any] | Seed,
    change: Change = None,
    *,
    policy: Policy | None = None,
    faults: Iterable[Mapping[str, Any]] = (),
    unlucky_percent: float = 0.0,
    random_seed: int = 0,
    on_event: OnEvent = _silent,
) -> Rehearsal:
    """The same from what was captured before, or from a Seed; without any Azure."""
    _refuse_odd_luck(unlucky_percent)
    stage = Stage(captured if isinstance(captured, Seed) else Seed.from_captured(captured), random_seed=random_seed)
    if change is not None and change != "latest":
        _publish(stage, change)
    wanted = plan(stage.arm, *stage.address, change, policy=policy, accept_failed=True)
    for fault in [*faults, *_bad_luck(stage, wanted, unlucky_percent)]:
        stage.world.faults.add(**fault)
    begun = stage.clock.time()
    verdict = upgrade(stage.arm, wanted, on_event=on_event)
    requests = Counter(entry.method for entry in stage.app.journal.entries)
    return Rehearsal(wanted, verdict, stage.clock.time() - begun, stage.lowest(), dict(requests))


def _refuse_odd_luck(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise InvalidInput(f"unlucky_percent is a number from 0 to 100, not {percent!r}")


def _bad_luck(stage: Stage, wanted: Plan, percent: float) -> Iterator[dict[str, Any]]:
    """For each instance that is drawn, one of the ways in which an upgrade may come out badly."""
    for instance in [one for ids in wanted.batches for one in ids] if percent else ():
        if 100 * stage.world.rng.random() < percent:
            yield {"on": "upgrade", "instance": instance, "effect": stage.world.rng.choice(EFFECTS)}


conceal_tokens(globals(), arm_of)
