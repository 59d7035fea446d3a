"""The web application: who may ask (security), what is asked (routes), and the answer as JSON. Werkzeug, no more."""

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer
from werkzeug.wrappers import Request, Response

import azurerm_lite as az
from azurerm_lite.endpoints.images import list_gallery_image_versions
from azurerm_lite.heatmap import ColorBy, grid
from azurerm_lite.upgrade import Locked, PlanRefused, plan

from . import messages, rollout, security, serving, views
from .desk import Desk, Outdated, Proposal
from .security import Door

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ROUTES = Map([
    Rule("/", endpoint="page", methods=["GET"]),
    Rule("/looks.css", endpoint="looks", methods=["GET"]),
    Rule("/static/<name>", endpoint="static", methods=["GET"]),
    Rule("/api/sets", endpoint="list_sets", methods=["GET"]),
    Rule("/api/sets/<group>/<name>/picture", endpoint="picture", methods=["GET"]),
    Rule("/api/sets/<group>/<name>/now", endpoint="now", methods=["GET"]),
    Rule("/api/sets/<group>/<name>/choices", endpoint="choices", methods=["GET"]),
    Rule("/api/sets/<group>/<name>/draft", endpoint="draft", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/write", endpoint="write", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/act", endpoint="act", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/plan", endpoint="shown_plan", methods=["GET"]),
    Rule("/api/sets/<group>/<name>/plan", endpoint="make_plan", methods=["POST"]),
    Rule("/api/sets/<group>/<name>/upgrade", endpoint="steer", methods=["POST"]),
], merge_slashes=False)  # fmt: skip
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
        except Exception:
            traceback.print_exc()  # a fault of the editor: the terminal says which, the page stays as safe as ever
            response = _failure(500, "the editor has a fault: its terminal shows which")
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
        return _no_session()
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
        opened = door.enter(token, request.cookies.get(door.cookie, ""))
        if opened is None:
            raise Refused("that link was used, is too old, or is of another editor: press Enter in the terminal")
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
    return Response(serving.failure(status, text), status, mimetype="application/json")


def _no_session() -> Response:
    """The session has ended, and with it what the browser stored for it."""
    response = _failure(401, "this page has no session, or it has ended: press Enter in the terminal for a new link")
    response.headers["Clear-Site-Data"] = '"storage"'
    return response


def status_of(error: az.AzurermLiteError) -> int:
    """The HTTP status that says to the page what an error means."""
    if isinstance(error, az.ConcurrencyError):
        return 412
    if isinstance(error, PlanRefused | Locked | Outdated | az.ConflictError):
        return 409
    if isinstance(error, az.NotFoundError):
        return 404
    return 400 if isinstance(error, az.InvalidInput) else 502


def _body(request: Request) -> Json:
    try:
        data = request.get_data()
    except (OSError, ValueError):  # cut off, or chunks that are none
        raise az.InvalidInput("the request did not arrive whole") from None
    return messages.body(data)


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
    classes = rollout.classes(running, seen.instances) if by == "progress" and running is not None else None
    timeless = seen.instances._replace(at=0.0)  # so that a page which has this picture is told so
    drawn = grid(timeless, cast(ColorBy, by), classes=classes, title=address.vmss_name, emulator=desk.arm.is_emulator)
    fit = sum(map(seen.instances.is_available, seen.instances.members.values()))
    return {
        "properties": views.properties(seen.model),
        "editable": views.editable(seen.model),
        "picture": views.picture(drawn),
        "fit": fit,
    }


def now(desk: Desk, address: az.ScaleSet, asked: Mapping[str, str]) -> Json:
    """What is under way, which plan can be started, and the log since the line that the page has."""
    running, proposal = desk.last_rollout(address), desk.proposal(address)
    return {
        "log": desk.lines(address, messages.line_number(asked.get("after", "0"))),
        "working": desk.working(address),
        "rollout": running.to_dict() if running else None,
        "plan": proposal.number if proposal else 0,
    }


def shown_plan(desk: Desk, address: az.ScaleSet, _asked: Mapping[str, str]) -> Json:
    """The newest plan of a set, which can be started; its number is 0 when there is none."""
    proposal = desk.proposal(address)
    return _proposal(proposal) if proposal else {"number": 0}


def _proposal(proposal: Proposal) -> Json:
    return views.plan(proposal.plan, proposal.number, "rollback" if proposal.undoes else "upgrade")


def choices(desk: Desk, address: az.ScaleSet, asked: Mapping[str, str]) -> Json:
    """The versions and VM sizes that there are to choose from, newest first."""
    model = desk.seen(address).model
    sizes = [str((one.get("sku") or {}).get("name", "")) for one in az.list_vmss_skus(desk.arm, *address)]
    return {"versions": _versions(desk, model, asked.get("sku", ""))[::-1], "sizes": sorted(filter(None, sizes))}


def _versions(desk: Desk, model: Mapping[str, Any], sku: str) -> list[str]:
    image = views.image(model)
    if image.get("publisher"):
        names = (str(image["publisher"]), str(image.get("offer", "")), sku or str(image.get("sku", "")))
        return az.list_image_versions(desk.arm, desk.subscription_id, str(model.get("location", "")), *names)
    parts = str(image.get("id", "")).strip("/").split("/")
    if len(parts) < 10 or parts[6].lower() != "galleries":
        return []
    found = list_gallery_image_versions(desk.arm, parts[1], parts[3], parts[7], parts[9])
    return [str(one["name"]) for one in found]


# --- what is done ----------------------------------------------------------------------------------------------------


def draft(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """What an edit would change; kept under a number, so that it can be written as it was shown."""
    return desk.draft(address, messages.wishes(asked))


def write(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """Write the edit with that number."""
    desk.write(address, messages.number(asked))
    return {}


def act(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """Begin an action on the ids that were sent; on all of them only when that was said in so many words."""
    desk.act(address, *messages.action(asked))
    return {}


def make_plan(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """What an upgrade or a rollback would do; kept under a number, so that it can be started as it was shown.

    A rollback names the upgrade that it is of: `{"rollback": number}`.
    """
    if "rollback" not in asked:
        version, policy = messages.upgrade_wish(asked)
        return _proposal(desk.propose(address, plan(desk.arm, *address, version, policy=policy)))
    running = desk.known_rollout(address, messages.number(asked, "rollback"), "roll back")
    return _proposal(desk.propose(address, rollout.rollback_plan(desk.arm, running), undoes=running))


def steer(desk: Desk, address: az.ScaleSet, asked: Json) -> Json:
    """Start the plan with that number, or pause, cancel or resume the upgrade with that number.

    Outdated (409) when something else is the newest by now: what a click begins is what the page showed.
    """
    word, number = messages.order(asked)
    with desk.steering(address):
        if word in ("start", "roll back"):
            _start(desk, address, desk.take(address, number, word))
        elif word == "resume":
            running = desk.known_rollout(address, number, word)
            desk.roll(address, running, rollout.resuming(desk.arm, running))
        else:
            desk.known_rollout(address, number, word).wish = word
            desk.say(address, f"{word} asked for: it stops at the next safe point")
    return {}


def _start(desk: Desk, address: az.ScaleSet, proposal: Proposal) -> None:
    undoes = proposal.undoes
    path = rollout.rollback_path(undoes) if undoes else desk.new_journal(address)
    begun = rollout.planned(proposal.plan, path, desk.pace, "rollback" if undoes else "upgrade")
    desk.roll(address, begun, rollout.upgrading(desk.arm, proposal.plan, begun))


READS: Mapping[str, Callable[[Desk, az.ScaleSet, Mapping[str, str]], Json]] = {
    "picture": picture,
    "now": now,
    "choices": choices,
    "shown_plan": shown_plan,
}
WRITES: Mapping[str, Callable[[Desk, az.ScaleSet, Json], Json]] = {
    "draft": draft,
    "write": write,
    "act": act,
    "make_plan": make_plan,
    "steer": steer,
}


# --- serving ---------------------------------------------------------------------------------------------------------


def serve(
    desk: Desk, port: int = 0, *, now: Callable[[], float] = time.time, silent_seconds: float = serving.SILENT_SECONDS
) -> tuple[BaseWSGIServer, Door]:
    """A server on this machine's own address, which nobody else can reach, and the door to it.

    `now`: the time by which links and sessions end. `silent_seconds`: within which a request must arrive whole.
    """
    server = serving.server(port, silent_seconds)
    door = Door(server.server_port, now)
    server.app = application(desk, door)
    return server, door
