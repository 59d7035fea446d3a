"""A scale set of a few instances as a value: what it shows, and all that may become of it at one moment."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

from azurerm_lite.upgrade.rules.snapshot import InstanceStatus, Model, Snapshot

OLD, NEW = "1", "2"
IMAGE = "publisher:offer:sku:"


class Instance(NamedTuple):
    """One instance. `effects`: which upgrades and reimages took effect, by model; `parked`: deallocated by us."""

    state: str = "Succeeded"
    version: str = OLD
    latest: bool = True
    health: str = "healthy"
    power: str = "running"
    protected: bool = False
    guarded: bool = False
    effects: tuple[str, ...] = ()
    size: str = ""
    parked: bool = False

    @property
    def available(self) -> bool:
        return (self.state, self.health, self.power) == ("Succeeded", "healthy", "running")


class Place(NamedTuple):
    """Where an instance is."""

    zone: str = ""
    group: str = ""
    domain: int = 0


class World(NamedTuple):
    """`running`: the ids of a request that Azure works on, and how many looks it has been seen in; None for none.

    `anew`: an upgrade changes the model of an instance alone, and its disk is made anew by a reimage.
    """

    instances: tuple[Instance | None, ...]
    places: tuple[Place, ...]
    model: str = OLD
    writes: int = 0
    running: tuple[str, ...] | None = None
    request: str = "upgrade"
    looks: int = 0
    anew: bool = False
    stuck: bool = False
    silent: bool = False
    repairs: bool = True
    touched: frozenset[str] = frozenset()

    def put(self, number: int, instance: Instance | None) -> "World":
        items = self.instances
        return self._replace(instances=(*items[:number], instance, *items[number + 1 :]))

    def change(self, number: int, **values: object) -> "World":
        instance = self.instances[number]
        return self if instance is None else self.put(number, instance._replace(**values))


@functools.lru_cache(maxsize=100_000)
def member(number: int, instance: Instance, place: Place, *, silent: bool) -> InstanceStatus:
    health = "" if silent or instance.power != "running" else instance.health
    return InstanceStatus(
        str(number),
        f"vm{number}",
        place.zone,
        place.group,
        place.domain,
        place.domain,
        instance.latest,
        instance.version,
        instance.state,
        instance.power,
        health,
        instance.protected,
        instance.size,
        image=IMAGE + instance.version,
    )


def snapshot(world: World, now: float) -> Snapshot:
    """What a look at it shows."""
    return _timeless(world)._replace(at=now, ended=now)


@functools.cache
def _timeless(world: World) -> Snapshot:
    members = {
        str(number): member(number, instance, world.places[number], silent=world.silent)
        for number, instance in enumerate(world.instances)
        if instance is not None
    }
    mark = f"model-{world.model}" + (f"-{world.writes}" if world.writes else "")
    model = Model(mark, mark, len(world.places), "Succeeded", shows=False)
    return Snapshot(members, 0.0, reports=True, ended=0.0, model=model)


def written(world: World, model: str) -> World:
    """The model is another one: no instance is on the latest."""
    items = tuple(None if one is None else one._replace(latest=False) for one in world.instances)
    return world._replace(model=model, instances=items)


def begun(world: World, ids: tuple[str, ...], request: str = "upgrade") -> World:
    """Azure works on a request on these."""
    for name in ids:
        instance = world.instances[int(name)]
        if instance is not None and not (request == "upgrade" and instance.latest):
            effect = [f"{request} {world.model}-{world.writes}"] * (request in ("upgrade", "reimage"))
            world = world.put(int(name), instance._replace(state="Updating", effects=(*instance.effects, *effect)))
    return world._replace(running=ids, request=request, looks=0, touched=world.touched | set(ids))


KINDS = ("unhealthy", "failed", "unchanged", "initializing", "stopped")
SIMPLE = ("failed", "unchanged")  # how a deallocation or a start may fare


def kinds(world: World) -> tuple[str, ...]:
    """How the request may fare that Azure works on."""
    parked = any(one is not None and one.parked for one in world.instances)
    return KINDS if world.request in ("upgrade", "reimage") and not parked else SIMPLE


@functools.lru_cache(maxsize=100_000)
def ended(world: World, name: str = "", kind: str = "") -> World:
    """The request is over: well, but for one instance that fared badly."""
    for one in world.running or ():
        instance = world.instances[int(one)]
        if instance is None or instance.state != "Updating":
            continue
        to = _after(world, instance)
        if one == name:
            counts = world.request in ("upgrade", "reimage")
            to = {
                "unhealthy": {**to, "health": "unhealthy"},
                "failed": {"state": "Failed"},
                "unchanged": {"state": "Succeeded", "effects": instance.effects[:-1] if counts else instance.effects},
                "initializing": {**to, "health": "initializing"},
                "stopped": {**to, "power": "stopped"},
            }[kind]
        world = world.change(int(one), **to)
    return world._replace(running=None, request="upgrade", looks=0)


def _after(world: World, instance: Instance) -> dict[str, object]:
    """What the request makes of an instance."""
    if world.request == "deallocate":
        return {"state": "Succeeded", "power": "deallocated", "parked": True}
    if world.request == "start":
        return {"state": "Succeeded", "power": "running", "health": "healthy", "parked": False}
    to: dict[str, object] = {"state": "Succeeded", "latest": True, "size": "big"}
    if not world.anew or world.request == "reimage":
        to["version"] = world.model
    return {**to, "health": "healthy"} if instance.power == "running" else to


@functools.lru_cache(maxsize=100_000)
def misfortunes(world: World) -> tuple[tuple[str, World], ...]:
    """All that others, or chance, may do to it at one moment."""
    return tuple(_misfortunes(world))


def _misfortunes(world: World) -> Iterator[tuple[str, World]]:
    for number, instance in enumerate(world.instances):
        if instance is None:
            continue
        if instance.state == "Succeeded":
            if instance.health == "healthy" and instance.power == "running":
                yield f"{number} becomes unhealthy", world.change(number, health="unhealthy")
                yield f"{number} is evicted", world.change(number, power="deallocated")
            yield f"{number} is changed by others", world.change(number, state="Updating")
        if not instance.protected:
            yield f"{number} is protected", world.change(number, protected=True)
        if not instance.guarded:
            yield f"{number} vanishes", world.put(number, None)
    if not world.silent:
        yield "all reports cease", world._replace(silent=True)
    if world.running is not None and not world.stuck:
        yield "the upgrade gets stuck", world._replace(stuck=True)
    if world.model == NEW and not world.writes:
        drifted = written(world, NEW)
        yield "somebody writes the model", drifted._replace(writes=1)


@functools.lru_cache(maxsize=100_000)
def recovered(world: World) -> World:
    """What mends itself with time: instances that others change, that start, whose application warms up."""
    for number, instance in enumerate(world.instances):
        if instance is not None and instance.health == "initializing":
            world = world.change(number, health="healthy")
    return world
