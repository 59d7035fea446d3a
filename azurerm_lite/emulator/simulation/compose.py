"""The one place where the simulation is put together: each part gets what it needs, and nothing else."""

import threading
import uuid

from .. import habits as _habits
from ..clock import Clock
from ..faults import Faults
from .disturbances import Disturbances
from .events import Events
from .habit_effects import HabitEffects
from .health import Health
from .identity import Identity
from .images import Images
from .instances import Instances
from .manual_upgrade import ManualUpgrades
from .operations import Operations
from .power import Power
from .repairs import Repairs
from .rolling_upgrade import RollingUpgrades
from .scale_sets import ScaleSets
from .state import Settings, State


class Simulation:
    """An Azure with nothing in it but a tenant.

    `lock`: hold it while you read or change anything. `id`: never the same for two simulations. `principal`: the first
    service principal, a Contributor. `seed`: of all chance; the same seed and calls give the same history. `habits`:
    names or descriptions, as in `serve`; raises FaultError for unknown ones.
    """

    state: State
    operations: Operations
    images: Images
    instances: Instances
    health: Health
    power: Power
    repairs: Repairs
    manual_upgrades: ManualUpgrades
    rolling_upgrades: RollingUpgrades
    scale_sets: ScaleSets
    disturbances: Disturbances

    def __init__(self, clock: Clock, *, seed: int = 0, habits: _habits.Habits = _habits.USUAL) -> None:
        self.lock, self.id = threading.RLock(), uuid.uuid4().hex
        self.events = Events(clock, seed)
        self.faults = Faults(lambda: self.events.now)
        names, self._uses = _habits.check(habits)
        self.settings = Settings(habits=names)
        self.identity = Identity(self.events)
        self.principal = self.identity.register()
        self.identity.register_managed()
        self._compose()

    def reset(self) -> None:
        """Remove all that exists, all faults and all events. Logins and settings stay; habits begin anew."""
        self.faults.clear()
        self.events.clear()
        self._compose()

    def _compose(self) -> None:
        events, faults, settings = self.events, self.faults, self.settings
        self.state = state = State()
        self.operations = operations = Operations(events)
        self.images = images = Images()
        self.disturbances = disturbances = Disturbances(events, state, faults)
        self.instances = instances = Instances(events, state, images)
        self.health = health = Health(events, instances)
        self.power = Power(events, operations, instances, health, disturbances)
        self.repairs = Repairs(events, instances, self.power)
        health.on_unhealthy = self.repairs.schedule
        self.manual_upgrades = ManualUpgrades(events, settings, faults, operations, instances, health, disturbances)
        self.rolling_upgrades = RollingUpgrades(events, faults, operations, images, instances, health, disturbances)
        self.scale_sets = ScaleSets(
            events,
            state,
            settings,
            self.identity.tenant_id,
            operations,
            images,
            instances,
            self.power,
            self.manual_upgrades,
            self.rolling_upgrades,
            disturbances,
        )
        disturbances.effects = HabitEffects(
            events, disturbances, instances, health, self.power, self.repairs, self.scale_sets
        ).table()
        for use in self._uses:
            disturbances.add(use)
