"""Habits: behaviour of Azure that users report and that no contract states. A habit is on or off, by its name.

    serve(habits=USUAL | {"..."})   World(clock, habits=NONE)

Ask for one in the code with `"patch-drops-disks" in world.habits`. A new habit is one more row of HABITS, with what it
does and who saw it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .faults import FaultError


class Habit(NamedTuple):
    """What the emulator does when the habit is on, and who reported it. `usual`: on by default."""

    does: str
    sources: tuple[str, ...]
    usual: bool = False


HABITS: dict[str, Habit] = {
    "patch-drops-disks": Habit(
        "A PATCH that names imageReference derives osDisk and dataDisks anew from the image where it leaves them out.",
        (
            "azure-rest-api-specs#13164",
            "azure-rest-api-specs#10373",
            "terraform-provider-azurerm#8273",
            "terraform-provider-azurerm#10626",
            "azure-powershell#11896",
        ),
        usual=True,
    ),
    "patch-wants-image": Habit(
        "A PATCH below storageProfile without imageReference is refused: 400 InvalidParameter, ImageReference is null.",
        ("azure-rest-api-specs#10322", "terraform-provider-azurerm#7957"),
        usual=True,
    ),
    "patch-wants-upgrade-policy": Habit(
        "A PATCH of properties of a set in mode Rolling or Automatic is refused without upgradePolicy (400 "
        "InvalidParameter), and without the health probe that the set has (400 BadRequest).",
        (
            "terraform-provider-azurerm internal/services/compute/linux_virtual_machine_scale_set_resource.go, Update",
            "terraform-provider-azurerm#5430",
            "azure-rest-api-specs#7355",
        ),
    ),
    "rolling-policy-stays": Habit(
        "`rollingUpgradePolicy: null` in a PATCH has no effect.", ("azure-rest-api-specs#3751",)
    ),
    "tags-refuse-null": Habit(
        "A null as the value of a tag is refused: 400 InvalidRequestContent.", ("typespec-azure#1234",), usual=True
    ),
}
USUAL = frozenset(name for name, habit in HABITS.items() if habit.usual)
NONE: frozenset[str] = frozenset()


def checked(names: Iterable[str]) -> frozenset[str]:
    """These habits; FaultError for a name that is none."""
    chosen = frozenset([names] if isinstance(names, str) else names)
    if unknown := sorted(str(name) for name in chosen if name not in HABITS):
        raise FaultError(f"no habit is named {', '.join(unknown)}; there are {', '.join(HABITS)}")
    return chosen
