"""What every handler of a resource checks first: the address, the body, the etag."""

from collections.abc import Mapping
from typing import Any

from ..messages import ErrorResponse, Request
from ..simulation.compose import Simulation
from ..simulation.state import Instance, ScaleSet
from . import views

NOT_FOUND = "The entity was not found in this Azure location."


def address(names: Mapping[str, str]) -> tuple[str, str, str]:
    """Subscription id, resource group and name of a scale set, from the parts of a path."""
    return names["subscription_id"], names["resource_group"], names["vmss_name"]


def find_scale_set(simulation: Simulation, names: Mapping[str, str]) -> ScaleSet:
    """The scale set of a path; 404 for none."""
    return simulation.scale_sets.get(*address(names))


def find_instance(simulation: Simulation, names: Mapping[str, str]) -> tuple[ScaleSet, Instance]:
    """The scale set and the instance of a path; 404 for none."""
    scale_set = find_scale_set(simulation, names)
    instance = scale_set.instances.get(names["instance_id"])
    if instance is None or "unlisted" in instance.marks:
        raise ErrorResponse(404, "NotFound", NOT_FOUND)
    return scale_set, instance


def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; 400 for any other body."""
    if isinstance(request.body, dict):
        return request.body
    text = "The request content was invalid and could not be deserialized: 'expected a JSON object'."
    raise ErrorResponse(400, "InvalidRequestContent", text, gateway=True)


def check_etag(request: Request, etag: int) -> None:
    """Raise ErrorResponse (412) unless the etag headers of the request fit the resource."""
    if not views.has_etag(request):
        return
    if_match = request.headers.get("if-match", "")
    if if_match not in ("", "*", f'"{etag}"'):
        refuse_etag(if_match, f'"{etag}"')
    if request.headers.get("if-none-match") == "*":
        text = "The resource already exists, and the if-none-match header says that it must not."
        raise ErrorResponse(412, "PreconditionFailed", text)


def refuse_etag(if_match: str, etag: str) -> None:
    """Raise ErrorResponse (412): the If-Match header does not fit the etag."""
    text = f"Etag provided in if-match header {if_match} does not match etag {etag} of resource."
    raise ErrorResponse(412, "PreconditionFailed", text)


def action_of(request: Request) -> str:
    """The action in the last part of the path, in lower case."""
    return request.path.rstrip("/").rpartition("/")[2].lower()
