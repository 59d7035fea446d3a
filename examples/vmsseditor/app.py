"""The web application: who may ask (security), what is asked (routes), and the answer as JSON. Werkzeug, no more."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

import azurerm_lite as az
from azurerm_lite.heatmap import ColorBy, grid
from azurerm_lite.images import list_gallery_image_versions
from azurerm_lite.upgrade import Locked, PlanRefused, Policy, plan

from . import rollout, security, views
from .desk import Desk
from .security import Door

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ROUTES = Map([
    Rule("/", endpoint="page"),
    Rule("/looks.css", endpoint="looks"),
    Rule("/static/<name>", endpoint="static"),
    Rule("/api/sets", endpoint="list_sets"),
    Rule("/api/sets/<group>/<name>/picture", endpoint="picture"),
    Rule("/api/sets/<group>/<name>/now", endpoint="now"),
    Rule("/api/sets/<group>/<name>/choices", endpoint="choices"),
    Rule("/api/sets/<group>/<name>/draft", endpoint="draft", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/write", endpoint="write", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/act", endpoint="act", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/plan", endpoint="make_plan", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/upgrade", endpoint="steer", methods=["POST"]),
])  # fmt: skip
Json = dict[str, Any]


class Refused(Exception):
    """A request that is turned away, and why."""


def application(desk: Desk, door: Door) -> Callable[..., Iterable[bytes]]:
    """The editor as a WSGI application."""

    @Request.application
    def answer(request: Request) -> Response:
        request.max_content_length = security.MOST_BYTES
        try:
            if why := security.foreign_host(door.hosts, dict(request.headers)):
                raise Refused(why)
            endpoint, values = ROUTES.bind_to_environ(request.environ).match()
            response = _answer(desk, door, request, endpoint, values)
        except HTTPException as error:
            response = _failure(error.code or 500, error.description or "")
        except Refused as error:
            response = _failure(403, str(error))
        except az.AzurermLiteError as error:
            response = _failure(status_of(error), str(error))
        response.headers.update(security.HEADERS)
        return response

    return answer


def _answer(desk: Desk, door: Door, request: Request, endpoint: str, values: Mapping[str, str]) -> Response:
    if endpoint == "page":
        return _page(door, request)
    if endpoint == "static":
        return _file(values["name"])
    if endpoint == "looks":
        return Response(views.stylesheet(), mimetype="text/css")
    if why := security.foreign_page(request.method, dict(request.headers)):
        raise Refused(why)
    if not door.has_key(request.cookies.get(door.cookie, ""), request.headers.get(security.KEY_HEADER, "")):
        return _failure(401, "this page has no session: open the link that the terminal shows")
    return _api(desk, request, endpoint, values)


def _api(desk: Desk, request: Request, endpoint: str, values: Mapping[str, str]) -> Response:
    if endpoint == "list_sets":
        return _fresh(request, list_sets(desk))
    address = az.ScaleSet(desk.subscription_id, values["group"], values["name"])
    if request.method == "POST":
        return _json(WRITES[endpoint](desk, address, _body(request)))
    return _fresh(request, READS[endpoint](desk, address, request.args))


# --- pages and files -------------------------------------------------------------------------------------------------


def _page(door: Door, request: Request) -> Response:
    if token := request.args.get("token"):
        opened = door.enter(token)
        if opened is None:
            raise Refused("that link has been used, or is of another editor: press Enter in the terminal for a new one")
        session, key = opened
        response = Response((STATIC / "enter.html").read_text().replace("{key}", key), mimetype="text/html")
        response.set_cookie(door.cookie, session, httponly=True, samesite="Strict")
        return response
    if not door.has_session(request.cookies.get(door.cookie, "")):
        raise Refused("open the link that the terminal shows")
    return _file("index.html")


def _file(name: str) -> Response:
    known = {path.name: path for path in STATIC.iterdir()}
    if name not in known:
        return _failure(404, "there is no such file")
    return Response(known[name].read_bytes(), mimetype=TYPES.get(known[name].suffix, "text/plain"))


def _json(document: Any, status: int = 200) -> Response:
    return Response(json.dumps(document), status, mimetype="application/json")


def _fresh(request: Request, document: Any) -> Response:
    """The document, or 304 when the page has it already."""
    response = _json(document)
    response.add_etag()
    return response.make_conditional(request)


def _failure(status: int, text: str) -> Response:
    return _json({"error": {"status": status, "title": HTTPStatus(status).phrase, "text": text}}, status)


def status_of(error: az.AzurermLiteError) -> int:
    """The HTTP status that says to the page what an error means."""
    if isinstance(error, az.ConcurrencyError):
        return 412
    if isinstance(error, PlanRefused | Locked | az.ConflictError):
        return 409
    if isinstance(error, az.NotFoundError):
        return 404
    return 400 if isinstance(error, az.InvalidInput) else 502


def _body(request: Request) -> Json:
    found = request.get_json()
    if not isinstance(found, dict):
        raise az.InvalidInput("a request is a JSON object")
    return found


# --- what is read ----------------------------------------------------------------------------------------------------


def list_sets(desk: Desk) -> Json:
    """The scale sets of the subscription, and where they are."""
    found = [views.summary(one) for one in az.list_vmss_sub(desk.arm, desk.subscription_id)]
    found.sort(key=lambda one: (one["group"].lower(), one["name"].lower()))
    return {"sets": found, "subscription": desk.subscription_id, "emulator": desk.arm.is_emulator, "pace": desk.pace}


def picture(desk: Desk, address: az.ScaleSet, asked: Mapping[str, str]) -> Json:
    """A set as it is now: its properties, and its instances by power, health, model or progress."""
    seen, by = desk.seen(address), asked.get("by", "power")
    running = desk.last_rollout(address)
    classes = None
    if by == "progress" and running is not None and (running.classes or running.ids):
        classes = {**running.classes, **dict.fromkeys(running.ids, "in-batch")}
    timeless = seen.instances._replace(at=0.0)  # so that a page which has this picture is told so
    drawn = grid(timeless, cast(ColorBy, by), classes=classes, title=address.vmss_name, emulator=desk.arm.is_emulator)
    fit = sum(map(seen.instances.fit, seen.instances.members.values()))
    return {
        "properties": views.properties(seen.model),
        "editable": views.editable(seen.model),
        "picture": views.picture(drawn),
        "fit": fit,
    }


def now(desk: Desk, address: az.ScaleSet, asked: Mapping[str, str]) -> Json:
    """What is under way, and what happened since the line of the log that the page has."""
    after = asked.get("after", "0")
    running = desk.last_rollout(address)
    return {
        "log": desk.lines(address, int(after) if after.isdigit() else 0),
        "working": desk.working(address),
        "rollout": running.to_dict() if running else None,
    }


def choices(desk: Desk, address: az.ScaleSet, asked: Mapping[str, str]) -> Json:
    """The versions and VM sizes that there are to choose from, newest first."""
    model = desk.seen(address).model
    sizes = [str((one.get("sku") or {}).get("name", "")) for one in az.list_vmss_skus(desk.arm, *address)]
    return {"versions": _versions(desk, model, asked.get("sku", ""))[::-1], "sizes": sorted(filter(None, sizes))}


def _versions(desk: Desk, model: Mapping[str, Any], sku: str) -> list[str]:
    storage = model["properties"].get("virtualMachineProfile", {}).get("storageProfile", {})
    image = storage.get("imageReference") or {}
    if image.get("publisher"):
        names = (image["publisher"], image["offer"], sku or image["sku"])
        return az.list_image_versions(desk.arm, desk.subscription_id, model["location"], *names)
    parts = str(image.get("id", "")).strip("/").split("/")
    if len(parts) < 10 or parts[6].lower() != "galleries":
        return []
    found = list_gallery_image_versions(desk.arm, parts[1], parts[3], parts[7], parts[9])
    return [str(one["name"]) for one in found]


# --- what is done ----------------------------------------------------------------------------------------------------


def draft(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    return desk.draft(address, asked)


def write(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    desk.write(address, asked.get("number", 0))
    return {}


def act(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """Begin an action on the ids that were sent; on all of them only when that was said in so many words."""
    ids = None if asked.get("all") is True and "ids" not in asked else asked.get("ids", [])
    desk.act(address, str(asked.get("action")), ids)
    return {}


def make_plan(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """What an upgrade would do; kept, so that it can be begun as it was shown."""
    version = asked.get("version") or None
    made = plan(desk.arm, *address, version, policy=Policy.from_dict(asked.get("policy") or {}))
    desk.plans[address] = made
    found = made.to_dict()
    return {name: found[name] for name in ("changes", "version", "batches", "lowest", "warnings", "seconds", "stages")}


def steer(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """Begin the planned upgrade, or pause, cancel, resume or take back the one that is there."""
    wish, running = asked.get("do"), desk.last_rollout(address)
    if wish == "start" and (made := desk.plans.pop(address, None)):
        begun = rollout.planned(made, desk.new_journal(address), desk.pace)
        desk.roll(address, begun, rollout.upgrading(desk.arm, made, begun))
    elif running is None or wish not in running.offers:
        raise az.InvalidInput(f"there is nothing to {wish}: look at it again")
    elif wish in ("pause", "cancel"):
        running.wish = wish
        desk.say(address, f"{wish} asked for: it stops at the next safe point")
    elif wish == "resume":
        desk.roll(address, running, rollout.resuming(desk.arm, running))
    else:
        desk.roll(address, *rollout.taking_back(desk.arm, running))
    return {}


READS: Mapping[str, Callable[[Desk, az.ScaleSet, Mapping[str, str]], Json]] = {
    "picture": picture,
    "now": now,
    "choices": choices,
}
WRITES: Mapping[str, Callable[[Desk, az.ScaleSet, Json], Json]] = {
    "draft": draft,
    "write": write,
    "act": act,
    "make_plan": make_plan,
    "steer": steer,
}


# --- serving ---------------------------------------------------------------------------------------------------------


class _Quiet(WSGIRequestHandler):
    """No line for each request (they hold what the user looks at), and connections that stay open."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vmsseditor", ""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


def serve(desk: Desk, port: int = 0) -> tuple[BaseWSGIServer, Door]:
    """A server on this machine's own address, which nobody else can reach, and the door to it."""
    server = make_server("127.0.0.1", port, Response("not yet"), threaded=True, request_handler=_Quiet)
    door = Door(server.server_port)
    server.app = application(desk, door)
    return server, door
