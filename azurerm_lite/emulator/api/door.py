"""What every request passes before an endpoint has it: bodies of the right shape, locations that exist, sets that stay.

Answers are of Azure's kind: 400 `InvalidRequestContent` for a value of another type, `InvalidParameter` for one that is
out of range or missing, `BadRequest` for a property that a type does not have (azure-cli#18855).
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from .. import schema
from ..messages import ErrorResponse, Json, Request
from ..simulation import locations
from ..simulation.compose import Simulation
from ..simulation.secrets import NAMES

_PROVIDER = "microsoft.compute/"
_DELETE_SET = "microsoft.compute/virtualmachinescalesets/delete"
_LONGEST = 80  # characters of a wrong value that a message repeats


def admit(simulation: Simulation, request: Request, action: str, names: Mapping[str, str]) -> Request:
    """The request with its body as Azure reads it; ErrorResponse where Azure would refuse it before it has an effect.

    action: what the caller needs the right for, `Microsoft.Compute/virtualMachineScaleSets/write`. names: the
    parameters of the path.
    """
    if request.method in ("GET", "HEAD"):
        return request
    _refuse_on_leaving_set(simulation, request, action, names)
    text = schema.body_of(f"{request.method} {action.lower().removeprefix(_PROVIDER)}")
    if text is None:  # an operation without a body: what is sent all the same is not looked at
        return replace(request, body=None)
    if request.body is None and not schema.parse_spec(text).required:
        return request
    rules = schema.rules_for(
        request.method, request.api_version, names="unknown-property-refused" in simulation.settings.habits
    )
    try:
        body = schema.fit(request.body, text, rules)
    except schema.Misfit as misfit:
        raise refusal(misfit) from None
    return replace(request, body=_normalize_location(simulation, body, action))


def _refuse_on_leaving_set(simulation: Simulation, request: Request, action: str, names: Mapping[str, str]) -> None:
    if "vmss_name" not in names or action.lower() == _DELETE_SET:
        return
    scale_set = simulation.scale_sets.find(names["subscription_id"], names["resource_group"], names["vmss_name"])
    if scale_set is not None and scale_set.state == "Deleting":
        text = (
            f"Operation '{request.method}' is not allowed on Virtual Machine Scale Set '{scale_set.name}' since it is "
            "marked for deletion. You can only retry the Delete operation (or wait for an ongoing one to complete)."
        )
        raise ErrorResponse(409, "OperationNotAllowed", text)


def _normalize_location(simulation: Simulation, body: Json, action: str) -> Json:
    """The body with its location as Azure shows it; ErrorResponse for a place that no Azure has."""
    if not isinstance(body, Mapping) or not body.get("location"):
        return body
    place = locations.normalize(body["location"])
    known = locations.known_regions(place for _, _, place in simulation.state.resource_groups.values())
    if place not in known:
        kind = action.rpartition("/")[0]
        text = (
            f"The provided location '{body['location'][:_LONGEST]}' is not available for resource type '{kind}'. "
            f"List of available regions for the resource type is '{','.join(sorted(known))}'."
        )
        raise ErrorResponse(400, "LocationNotAvailableForResourceType", text, gateway=True)
    return {**body, "location": place}


def refusal(misfit: schema.Misfit) -> ErrorResponse:
    """The answer to a body that does not fit, in Azure's words."""
    if misfit.why == "unknown":
        name = misfit.path.rpartition(".")[2]
        text = f"Could not find member '{name}' on object of type '{misfit.owner}'. Path '{misfit.path}'."
        return ErrorResponse(400, "BadRequest", text, target=misfit.path)
    if misfit.path == "location" and misfit.why == "missing":
        text = "The location property is required for this definition."
        return ErrorResponse(400, "LocationRequired", text, gateway=True)
    if misfit.why == "type":
        text = f"The request content was invalid and could not be deserialized: '{_reason(misfit)}'."
        return ErrorResponse(400, "InvalidRequestContent", text, gateway=True)
    name = misfit.path.removeprefix("properties.")
    if misfit.why == "missing":
        text = f"Required parameter '{name.rpartition('.')[2]}' is missing (null)."
    else:
        text = f"The value {_quote(misfit)} of parameter '{name}' is invalid. Allowed: {misfit.domain}."
    return ErrorResponse(400, "InvalidParameter", text, target=name)


def _reason(misfit: schema.Misfit) -> str:
    """What Azure's JSON reader says of a value of another type."""
    if isinstance(misfit.value, Mapping | list):
        kind = "object" if isinstance(misfit.value, Mapping) else "array"
        return f"Cannot deserialize the current JSON {kind} into type '{misfit.domain}'. Path '{misfit.path}'."
    return f"Error converting value {_quote(misfit)} to type '{misfit.domain}'. Path '{misfit.path}'."


def _quote(misfit: schema.Misfit) -> str:
    """A wrong value for a message, never one of a secret."""
    if not NAMES.isdisjoint(misfit.path.replace("[", ".").split(".")):
        return "{hidden}"
    if misfit.value is None:
        return "{null}"
    return json.dumps(misfit.value, ensure_ascii=False)[:_LONGEST]
