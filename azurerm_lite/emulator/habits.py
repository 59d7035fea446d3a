"""Habits: behaviour of Azure that users report and that no contract states, by name, with its sources.

    serve(habits=USUAL | {"instance-evicted"})
    emulator.faults.add(habit="instance-evicted", when="at", at=60, instance="3")

A rule is on or off: the code asks `"patch-drops-disks" in settings.habits`. An event happens when its parameters say;
`simulation.habit_effects` does it. A new habit is one more row of HABITS, with its effect and its sources.
"""

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .faults import FaultError

Parameters = Mapping[str, Any]
Habits = Iterable[str | Mapping[str, Any]]  # names, or objects with `habit` and parameters


class Habit(NamedTuple):
    """What happens when the habit is on (`effect`), and the reports of it.

    `usual`: on by default. `parameters`: of an event, each with its default; None for a rule, which has none.
    """

    effect: str
    sources: tuple[str, ...]
    usual: bool = False
    parameters: Parameters | None = None


class Use(NamedTuple):
    """One use of an event: its name, and a value for each of its parameters."""

    habit: str
    parameters: dict[str, Any]


# --- parameters of events --------------------------------------------------------------------------------------------

OPERATIONS = ("upgrade", "write", "start", "restart", "poweroff", "deallocate", "reimage", "redeploy", "delete")
_CHOICES: dict[str, tuple[str, ...]] = {
    "when": ("at", "during", "after", "read"),
    "among": ("any", "batch", "others"),
    "policy": ("", "Deallocate", "Delete"),
    "form": ("null", "absent", "empty", "no-statuses"),
    "answer": ("503", "reset"),
    "operation": OPERATIONS,
}
_AT_LEAST = {"nth": 1, "times": 1}

# When: `at` seconds after it was added; or during or after the `nth` upgrade of instances, and `times` of them in a
# row; or after the nth `read` of the list of instances; `delay` seconds later.
_MOMENT: dict[str, Any] = {"when": "during", "at": 0.0, "nth": 1, "times": 1, "delay": 0.0, "vmss_name": ""}
# Which: this instance, or `count` (0: all) by chance of the `seed`, among any, those of the batch, or the others.
_CHOICE: dict[str, Any] = {"instance": "", "count": 1, "among": "any", "seed": 0}
_READ: dict[str, Any] = {"nth": 1, "times": 1, "vmss_name": ""}
_OPERATION: dict[str, Any] = {"operation": "upgrade", "nth": 1, "times": 1, "vmss_name": ""}
_REQUEST: dict[str, Any] = {"method": "POST", "path": "manualupgrade", "nth": 1, "times": 1}


def _event(effect: str, *sources: str, **parameters: Any) -> Habit:
    return Habit(effect, sources, parameters=MappingProxyType(parameters))


def _of_instances(effect: str, *sources: str, **parameters: Any) -> Habit:
    return _event(effect, *sources, **{**_MOMENT, **_CHOICE, **parameters})


def _of_requests(effect: str, *sources: str, **parameters: Any) -> Habit:
    return _event(effect, *sources, **{**_REQUEST, **parameters})


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
    "write-preempts": Habit(
        "A second write while instances are upgraded is no 409: it ends the upgrade's operation as Failed with "
        "OperationPreempted.",
        ("azure-rest-api-specs#22434", "fault matrix 65"),
    ),
    "tags-refuse-null": Habit(
        "A null as the value of a tag is refused: 400 InvalidRequestContent.", ("typespec-azure#1234",), usual=True
    ),
}
EVENTS: dict[str, Habit] = {
    # --- instances
    "instance-unhealthy": _of_instances(
        "An application reports Unhealthy, for `seconds` (0: for good).",
        "azure-powershell#23105",
        "fault matrix 91",
        "fault matrix 94",
        seconds=0.0,
    ),
    "instance-flaps": _of_instances(
        "An application reports Unhealthy and Healthy in turn, every `interval` seconds, `flips` times.",
        "fault matrix 92",
        interval=60.0,
        flips=6,
    ),
    "instance-evicted": _of_instances(
        "An instance is evicted as Spot instances are: deallocated, or deleted while the capacity stays. `policy` "
        "(Deallocate or Delete) is by default the model's.",
        "azure-cli#11187",
        "opencga#987",
        "autoscaler#5548",
        policy="",
    ),
    "instance-stuck": _of_instances(
        "An instance stays in Updating, for `seconds` (0: for good); its operation goes on as long, or ends without "
        "it where `operation_ends`.",
        "fault matrix 109",
        among="batch",
        seconds=0.0,
        operation_ends=False,
    ),
    "instance-vanishes": _of_instances(
        "Another client deletes an instance, and the capacity falls with it.", "fault matrix 99"
    ),
    "instance-unlisted": _of_instances(
        "An existing instance is missing in lists, and its GET is 404, for `seconds`; then it is listed again.",
        "fault matrix 127",
        "cloud-provider-azure#4798",
        seconds=120.0,
    ),
    "instance-listed-though-gone": _of_instances(
        "A deleted instance is listed as before for `seconds` (0: for good); requests that name it are refused: not "
        "an active Virtual Machine Scale Set VM instanceId.",
        "terraform-provider-azurerm#14499",
        "cloud-provider-azure#2386",
        seconds=900.0,
    ),
    "instance-replaced": _of_instances("Automatic repairs replace an instance by a new one.", "fault matrix 110"),
    "instance-protected": _of_instances(
        "Another client protects an instance from scale-set actions.", "fault matrix 104", among="others"
    ),
    "zone-down": _event(
        'No instance of a zone runs, for `seconds` (0: for good). `zone`: "" is that of the first instance.',
        "fault matrix 112",
        **_MOMENT,
        zone="",
        seconds=0.0,
    ),
    # --- what is shown of instances
    "power-state-missing": _of_instances(
        "The instance view has no power state, for `seconds` (0: for good), as where the host does not answer.",
        "azure-libraries-for-net#630",
        "azure-sdk-for-python#3406",
        seconds=0.0,
    ),
    "instance-view-missing": _of_instances(
        "The instance view is null, absent, empty or has no statuses (`form`: null, absent, empty, no-statuses), for "
        "`seconds` (0: for good); in place of the first two the view of a Flexible VM is 404.",
        "azure-libraries-for-net#1249",
        "cloud-provider-azure#4807",
        "AzureTRE#2603",
        form="null",
        seconds=0.0,
    ),
    "health-silent": _of_instances(
        "Instances report no health, for `seconds` (0: for good).", "fault matrix 93", count=0, seconds=0.0
    ),
    "health-unknown": _of_instances(
        "The health of instances is Unknown, for `seconds` (0: for good).", "fault matrix 93", count=0, seconds=0.0
    ),
    # --- lists of instances
    "list-empty": _event("A list of instances is empty.", "fault matrix 127", **_READ),
    "list-short": _event(
        "A list of instances lacks the named instance, or `count` of them by chance of the `seed`.",
        "fault matrix 127",
        "cloud-provider-azure#2386",
        **_READ,
        instance="",
        count=1,
        seed=0,
    ),
    "list-old": _event(
        "A list of instances shows the state of `age` seconds ago, as from a replica that lags.",
        "fault matrix 127",
        **_READ,
        age=60.0,
    ),
    "list-garbage": _event(
        "A list of instances has null, a number and an empty object in the place of instances.",
        "fault matrix 61",
        "fault matrix 127",
        **_READ,
    ),
    # --- operations
    "operation-failed-wrongly": _event(
        "An operation ends as Failed with `code`, and all its instances are healthy.",
        "azure-cli#33307",
        "fault matrix 98",
        **_OPERATION,
        code="VMExtensionProvisioningError",
    ),
    "operation-succeeded-wrongly": _event(
        "An operation ends as Succeeded, but the named instance, or `count` of its instances, are as before.",
        "fault matrix 97",
        **_OPERATION,
        instance="",
        count=1,
        seed=0,
    ),
    "operation-canceled": _event(
        "An operation ends as Canceled; its instances are as before.", "fault matrix 56", **_OPERATION
    ),
    "operation-preempted": _event(
        "An operation ends as Failed with OperationPreempted; its instances are as before.",
        "azure-rest-api-specs#22434",
        "fault matrix 65",
        **_OPERATION,
    ),
    "operation-allocation-failed": _event(
        "An operation ends as Failed with AllocationFailed; its instances are as before.",
        "azure-sdk-for-net#3396",
        "autoscaler#1975",
        "autoscaler#2607",
        **_OPERATION,
    ),
    "operation-hangs": _event(
        "An operation never ends, and all its instances are healthy.", "fault matrix 57", **_OPERATION
    ),
    "operation-status-lost": _of_requests(
        "The status of an operation is 404.", "fault matrix 52", method="GET", path="operations", times=3
    ),
    # --- requests
    "request-lost-before": _of_requests(
        "The connection breaks before a request has its effect.", "azure-cli#31459", "fault matrix 7"
    ),
    "request-lost-after": _of_requests(
        "The connection breaks after a request has had its effect.", "azure-cli#31459", "fault matrix 6"
    ),
    "gateway-timeout": _of_requests(
        "ARM gives up after 60 s with a 504 on a request that has its effect.", "fault matrix 22"
    ),
    "throttled": _of_requests(
        "Compute responds 429 with a wait of `seconds`; earlier requests get the seconds that remain.",
        "azure-cli#31459",
        "AKS#1187",
        "autoscaler#2817",
        "aks-engine#1860",
        "fault matrix 70",
        seconds=1200.0,
    ),
    "outage": _event(
        "Requests with `path` in their path get a 503, or the connection breaks (`answer`), for `seconds`.",
        "azure-cli#31459",
        "azure-rest-api-specs#13843",
        **_MOMENT,
        method="GET",
        path="virtualMachines",
        seconds=300.0,
        answer="503",
    ),
    "busy": _event(
        "Another client's operation holds the scale set for `seconds`: it is Updating, and writes are 409 with `code`.",
        "azure-powershell#23105",
        "azure-powershell#25627",
        "bosh-azure-cpi#762",
        "fault matrix 82",
        **_MOMENT,
        seconds=300.0,
        code="Conflict",
    ),
    # --- other writers
    "scaled-out": _event("Another client adds `by` instances.", "fault matrix 101", **_MOMENT, by=1),
    "scaled-in": _event("Another client removes `by` instances.", "fault matrix 102", **_MOMENT, by=1),
    "tags-changed": _event("Another client adds a tag to the scale set.", "fault matrix 84", **_MOMENT),
    "model-changed": _event(
        "Another client changes the model: its instances are outdated.", "fault matrix 105", **_MOMENT
    ),
    # --- tokens and rights
    "token-expires": _of_requests("The caller's tokens expire.", "terraform-provider-azurerm#20867"),
    "login-outage": _event(
        "The login service responds 503 with AADSTS90033, for `seconds`.",
        "msal-dotnet#4998",
        "fault matrix 32",
        **_MOMENT,
        seconds=300.0,
    ),
    "rights-removed": _event(
        "The caller may write nothing, for `seconds`: 403 AuthorizationFailed.",
        "fault matrix 31",
        **_MOMENT,
        seconds=300.0,
    ),
}
HABITS |= EVENTS
USUAL = frozenset(name for name, habit in HABITS.items() if habit.usual)
NONE: frozenset[str] = frozenset()


def check(names: Habits) -> tuple[frozenset[str], tuple[Use, ...]]:
    """The names of these habits, and the uses of those that are events. Raises FaultError for an unknown habit.

    `names`: each a name, or an object with `habit` and parameters.
    """
    parsed = [use({"habit": entry} if isinstance(entry, str) else entry) for entry in as_list(names)]
    return frozenset(entry.habit for entry in parsed), tuple(entry for entry in parsed if entry.habit in EVENTS)


def as_list(names: Habits) -> list[str | Mapping[str, Any]]:
    """Habits as a list; a single name or object is a list of itself."""
    alone = isinstance(names, str) or (isinstance(names, Mapping) and "habit" in names)
    if not alone and not isinstance(names, Iterable):
        raise FaultError(f"habits are names, or objects with `habit`, not {names!r}")
    return [names] if alone else list(names)  # type: ignore[list-item]


def use(description: Mapping[str, Any]) -> Use:
    """The use of a habit, with defaults for missing parameters. Raises FaultError for a wrong name or value."""
    name = description.get("habit") if isinstance(description, Mapping) else description
    if not isinstance(name, str) or name not in HABITS:
        raise FaultError(f"no habit is named {name!r}; there are {', '.join(HABITS)}")
    known = HABITS[name].parameters or {}
    parameters = {key: value for key, value in description.items() if key != "habit"}
    if unknown := sorted(str(key) for key in parameters if key not in known):
        has = f"it has {', '.join(known)}" if known else "it has no parameters"
        raise FaultError(f"the habit {name} has no {', '.join(unknown)}; {has}")
    for key, value in parameters.items():
        if problem := _problem(key, value, known[key]):
            raise FaultError(f"the habit {name}: {key} {problem}, not {value!r}")
    return Use(name, {**known, **parameters})


def _problem(key: str, value: Any, default: Any) -> str:
    """Why a parameter cannot have this value; "" if it can."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "is true or false"
    if isinstance(default, str):
        if key in _CHOICES:
            return "" if value in _CHOICES[key] else f"is one of {', '.join(map(repr, _CHOICES[key]))}"
        return "" if isinstance(value, str) else "is a text"
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        return "is a whole number" if whole else "is a number of seconds"
    least = _AT_LEAST.get(key, 0)
    return "" if value >= least else f"is at least {least}"
