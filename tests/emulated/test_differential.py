"""Recorded Azure sessions, request by request, against an emulator seeded from them.

Same status, same header names, same body shape (keys and types). Where the two differ for a reason, the reason is in
ALLOWED; everything else fails. What steers the emulator is only what a recording cannot say: which instance is meant
(ids are mapped in order), when it is later (the virtual clock runs until the recorded state is reached), which fault
befell Azure at that time.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from azurerm_lite.emulator import Seed, VirtualClock
from azurerm_lite.emulator.http.app import ArmApp
from azurerm_lite.emulator.simulation.compose import Simulation

from .test_recorded_traffic import SESSIONS

Interaction = dict[str, Any]
pytestmark = pytest.mark.usefixtures("arm_data")

# Header names that recorders keep: what a source never shows was stripped when it was recorded, or is of the transport.
_TRANSPORT = {"content-length", "date", "server", "content-encoding"}
# (what, reason): a regular expression on "METHOD path: difference".
OLD = r"(azure-sdk-for-net|azure-libraries-for-net|azure-libraries-for-java)"
GENEVA = "the Geneva extension, which Microsoft puts into its own subscriptions"
OF_2020 = "Azure of 2020; the emulator is the Azure of 2024"
_LATER = (
    "osType|disableTcpStateTracking|orchestrationMode|vmSize|exactVersion|maxSurge|rollbackFailed|timeCreated|patchS"
)
ALLOWED = [
    (r"networkInterfaces", "Microsoft.Network answers there, not Compute; the emulator has no network"),
    (r"Microsoft\.Authorization", "role assignments are another provider's"),
    (r"internalData", "shown to Microsoft's own test subscriptions only"),
    (rf"(extensionProfile|\.extensions|enableAutomaticUpgrade|extensionHandlers).* {OLD}", GENEVA),
    (r"\.settings is text, recorded", "the recording has REDACTED in the place of the settings"),
    (r"resilientVMDeletionStatus", "not in the published API of that version; the OpenAPI is the judge"),
    (rf"({_LATER}|azure-asyncnotification).* {OLD}", OF_2020),
    (r"enableVMAgentPlatformUpdates", "shown by some regions and api-versions; nothing acts on it"),
    (r"nstanceView: \.statuses\[\]\.time.*azure-sdk-for-net", "taken while updating; the order is lost"),
    (r"/providers/Microsoft.Compute/virtualMachineScaleSets: header x-ms-rate", "of a subscription: not everywhere"),
    (r"hardwareProfile.vmSize is too much azure-cli", "that one set of 2024 lacks it; the other twenty lists have it"),
    (r"retry-after.*azure-libraries-for-java", "Java recordings force Retry-After to 0 on every answer"),
    (r"userAssignedIdentities.*(principalId|clientId) is too much", "Entra makes them while the PATCH runs"),
    (r"(encryptionSettings|substatuses) is too much", "of the first state only a later view is known, and seeded"),
]


def in_order(interactions: list[Interaction]) -> list[Interaction]:
    """.NET recordings are sorted by URL: put polls behind their write, and models behind the write that they show."""
    writes = [one for one in interactions if one["request"]["method"] != "GET"]
    after: list[list[Interaction]] = [[] for _ in (None, *writes)]
    for one in (one for one in interactions if one["request"]["method"] == "GET"):
        path, best = one["request"]["path"], 0
        guid = path.partition("/operations/")[2].partition("?")[0]
        if guid:
            best = next((n for n, w in enumerate(writes, 1) if guid in str(w["response"]["headers"])), 0)
        elif is_set(path):
            found = [(unlike(w["response"]["body"], one["response"]["body"]), n) for n, w in enumerate(writes, 1)
                     if w["request"]["method"] in ("PUT", "PATCH")]  # fmt: skip
            best = min(found)[1]
        elif path.partition("?")[0].endswith("/rollingUpgrades/latest"):
            verb = (
                "/cancel"
                if one["response"]["body"]["properties"]["runningStatus"]["lastAction"] == "Cancel"
                else "Upgrade"
            )
            best = next(n for n, w in enumerate(writes, 1) if w["request"]["path"].partition("?")[0].endswith(verb))
        else:
            earlier = interactions[: interactions.index(one)]
            best = sum(other["request"]["method"] != "GET" for other in earlier)
        after[best].append(one)
    for behind in after:
        behind.sort(key=lambda one: "/operations/" not in one["request"]["path"])
    return [
        one for write, behind in zip((None, *writes), after, strict=True) for one in ([write] if write else []) + behind
    ]


def is_set(path: str) -> bool:
    return len(path.partition("?")[0].strip("/").split("/")) == 8


def unlike(left: Any, right: Any) -> int:
    """How many leaves differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        return sum(unlike(left.get(key), right.get(key)) for key in {**left, **right})
    if isinstance(left, list) and isinstance(right, list):
        return sum(map(unlike, left, right)) + abs(len(left) - len(right))
    return left != right


def lower(headers: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in headers.items()}


def shape(value: Any) -> Any:
    """Keys and types; the elements of a list are one shape, laid over each other."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        found: Any = None
        for one in value:
            found = overlaid(found, shape(one))
        return [found] if value else []
    return {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}[type(value)]


def overlaid(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: overlaid(old.get(key), new.get(key)) for key in {**old, **new}}
    if isinstance(old, list) and isinstance(new, list):
        return [overlaid(old[0], new[0])] if old and new else old or new
    return new if old is None else old


def differences(recorded: Any, ours: Any, path: str = "") -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(ours, dict):
        for key in {**recorded, **ours}:
            if key not in ours:
                yield f"{path}.{key} is missing"
            elif key not in recorded:
                yield f"{path}.{key} is too much"
            else:
                yield from differences(recorded[key], ours[key], f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(ours, list):
        if recorded and ours:
            yield from differences(recorded[0], ours[0], f"{path}[]")
    elif recorded != ours:
        yield f"{path} is {ours}, recorded {recorded}"


SET = re.compile(
    r"(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.compute/virtualmachinescalesets/[^/]+)(.*)", re.I
)


class Session:
    """One recording, and the world that answers in Azure's place."""

    def __init__(self, source: str, interactions: list[Interaction], kept: set[str]) -> None:
        self.source, self.kept = source, kept
        self.interactions = in_order(interactions) if source == "azure-sdk-for-net" else interactions
        self.clock = VirtualClock(1_724_660_000.0)
        self.simulation = Simulation(self.clock, seed=1)
        self.principal = self.simulation.principal
        self.app = ArmApp(self.simulation)
        self.operations: dict[str, str] = {}  # recorded guid -> ours
        self.ids: dict[str, dict[str, str]] = {}  # set -> recorded id -> ours
        self.found: list[str] = []
        self.excused: set[str] = set()
        self.seed()

    # --- what was there before the recording began

    def seed(self) -> None:
        created: set[str] = set()
        for index, one in enumerate(self.interactions):
            match = SET.match(unquote(urlsplit(one["request"]["path"]).path))
            path = urlsplit(one["request"]["path"]).path
            parts = path.strip("/").split("/")
            if len(parts) > 3 and parts[2].lower() == "resourcegroups":
                key = (parts[1].lower(), parts[3].lower())
                self.simulation.state.resource_groups.setdefault(key, (parts[1], parts[3], "westus"))
            elif len(parts) > 1:
                self.simulation.state.resource_groups.setdefault(
                    (parts[1].lower(), "none"), (parts[1], "none", "westus")
                )
            if not match or match[1].lower() in created:
                continue
            created.add(match[1].lower())
            if one["response"]["status"] in (201, 204, 404):
                continue
            self.plant(match[1], self.interactions[index:])

    def plant(self, resource_id: str, later: list[Interaction]) -> None:
        """A set that was there before: its first model and instances are the first that the recording shows."""
        shown = [one for one in later if one["response"]["status"] == 200 and one["request"]["method"] == "GET"]

        def first(suffix: str) -> Any:
            wanted = (resource_id + suffix).lower()
            paths = [(unquote(urlsplit(one["request"]["path"]).path).lower(), one["response"]["body"]) for one in shown]
            return next((json.loads(json.dumps(body)) for path, body in paths if path == wanted and body), None)

        model, listed = first(""), (first("/virtualMachines") or {}).get("value")
        instances = listed or [one for one in (first(f"/virtualMachines/{n}") for n in range(10)) if one] or None
        if model is None:
            parts = resource_id.strip("/").split("/")
            built = Seed.build(
                parts[7], resource_group=parts[3], subscription_id=parts[1], capacity=len(instances or "ab")
            )
            model = self.evictable(resource_id, built.model, later)
        scale_set = Seed.from_captured({"model": model, "instances": instances}).add_to(self.simulation)
        scale_set.explicit_properties = frozenset(model["properties"])
        if instances is None:  # the model as recorded, not as completed
            scale_set.model["properties"] = {k: v for k, v in model["properties"].items() if k != "provisioningState"}
        if "$expand=userData" in str([one["request"]["path"] for one in later]):
            scale_set.profile.setdefault("userData", "dXNlckRhdGE=")
            for instance in scale_set.instances.values():
                instance.document["properties"].setdefault("userData", "dXNlckRhdGE=")

    @staticmethod
    def evictable(resource_id: str, model: dict[str, Any], later: list[Interaction]) -> dict[str, Any]:
        """Spot or not, and what becomes of the evicted: known from what happened when Azure was asked to evict."""
        mine = [one for one in later if one["request"]["path"].lower().startswith(resource_id.lower() + "/")]
        seen = {
            (one["request"]["path"].partition("?")[0].rpartition("/")[2], one["response"]["status"]) for one in mine
        }
        if ("simulateEviction", 204) in seen:
            policy = "Delete" if ("instanceView", 404) in seen else "Deallocate"
            model["properties"]["virtualMachineProfile"] |= {"priority": "Spot", "evictionPolicy": policy}
        return model

    # --- asking

    def ask(self, method: str, path: str, body: Any) -> tuple[int, dict[str, str], Any]:
        data = b"" if body is None else json.dumps(body).encode()
        parts = urlsplit(path)
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(parts.path).encode().decode("latin-1"),
            "QUERY_STRING": parts.query,
            "CONTENT_LENGTH": str(len(data)),
            "CONTENT_TYPE": "application/json",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(data),
            "HTTP_HOST": "localhost",
            "HTTP_AUTHORIZATION": f"Bearer {self.simulation.identity.issue(self.principal.client_id)}",
        }
        seen: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
            seen.update(status=int(status[:3]), headers=dict(headers))

        text = b"".join(self.app(environ, start))
        return seen["status"], seen["headers"], json.loads(text) if text else None

    def translated(self, path: str) -> str:
        """The recorded path with our operation and our instances in it."""
        for theirs, ours in self.operations.items():
            path = path.replace(theirs, ours)
        match = re.match(r"(.*/virtualmachinescalesets/[^/]+/virtualmachines/)([^/?]+)(.*)", path, re.I)
        if match and match[2] not in ("%2A", "*"):
            return f"{match[1]}{self.instance(match[1], match[2])}{match[3]}"
        return path

    def instance(self, prefix: str, theirs: str) -> str:
        names = prefix.strip("/").split("/")
        scale_set = self.simulation.scale_sets.find(names[1], names[3], names[7])
        known = self.ids.setdefault(names[7].lower(), {})
        if scale_set is not None and theirs in scale_set.instances:
            known.setdefault(theirs, theirs)
        if scale_set is None or theirs in known:
            return known.get(theirs, theirs)
        free = [one for one in scale_set.instances if one not in known.values()]
        known[theirs] = free[0] if free else theirs
        return known[theirs]

    def body(self, one: Interaction) -> Any:
        given = one["request"]["body"]
        if given is None and one["request"]["method"] in ("PUT", "PATCH"):
            return one["response"]["body"]  # Java recordings hold no request bodies: what was answered was asked
        if given is None and "manualupgrade" in one["request"]["path"]:
            return {"instanceIds": ["*"]}
        if isinstance(given, dict) and isinstance(given.get("instanceIds"), list):
            match = SET.match(unquote(urlsplit(one["request"]["path"]).path))
            assert match
            ids = [i if i == "*" else self.instance(match[1] + "/", i) for i in given["instanceIds"]]
            return {**given, "instanceIds": ids}
        return given

    def until_recorded(self, one: Interaction, path: str) -> None:
        """Let time pass until the emulator is where the recording was."""
        body = one["response"]["body"] if isinstance(one["response"]["body"], dict) else {}
        if "/operations/" in path and "monitor=true" not in path:
            guid = path.partition("/operations/")[2].partition("?")[0]
            if body.get("status") == "InProgress":
                return
            record = self.simulation.operations.get(guid)
            if body.get("status") == "Failed" and record.kind == "CREATE":
                self.simulation.operations.end(record, body["error"])
            self.run_until(lambda: record.is_done)
        elif "/operations/" not in path:
            properties = body.get("properties") or {}
            wanted = properties.get("provisioningState")
            if wanted == "Succeeded" or one["response"]["status"] == 404 or not wanted:
                self.run_until(lambda: False)

    def run_until(self, done: Any) -> None:
        for _ in range(500):
            self.simulation.events.run_due_events()
            due = self.simulation.events.next_due()
            if done() or due is None or due > self.clock.time() + 40_000:
                return
            self.clock.advance(max(0.0, due - self.clock.time()) + 0.001)

    # --- comparing

    def replay(self) -> list[str]:
        for one in self.interactions:
            self.one(one)
        return self.found

    def one(self, one: Interaction) -> None:
        method, answer = one["request"]["method"], one["response"]
        path = self.translated(one["request"]["path"])
        if (
            "/operations/" in path
            and path.partition("/operations/")[2].partition("?")[0] not in self.operations.values()
        ):
            return  # an operation that was begun before the recording, by something that is not in it
        if method == "GET":
            self.until_recorded(one, path)
        elif method == "POST" and not path.partition("?")[0].endswith("/cancel"):
            self.run_until(lambda: False)
        self.appear(one)
        self.befall(one)
        asked = self.body(one)
        if method in ("PUT", "PATCH") and isinstance(asked, dict):
            self.publish(asked)
        status, headers, body = self.ask(method, path, asked)
        theirs, ours = lower(answer["headers"]), lower(headers)
        where = f"{method} " + SET.sub(r"SET\2", path.partition("?")[0])
        if status != answer["status"]:
            self.report(where, f"status is {status}, recorded {answer['status']} {body if status >= 400 else ''}")
            return
        if "azure-asyncoperation" in theirs and "azure-asyncoperation" in ours:
            link = re.compile(r"/operations/([0-9a-f-]+)")
            if found := link.search(theirs["azure-asyncoperation"]):
                self.operations[found[1]] = link.search(ours["azure-asyncoperation"])[1]  # type: ignore[index]
        for name in (set(theirs) ^ set(ours)) & self.kept - _TRANSPORT:
            self.report(where, f"header {name} is {'missing' if name in theirs else 'too much'} ")
        if "/virtualMachineScaleSets" in path and isinstance(body, dict) and is_list_of_sets(path):
            known = {one["id"].lower() for one in body["value"]}  # others have sets in that subscription too
            answer = {**answer, "body": {"value": [o for o in answer["body"]["value"] if o["id"].lower() in known]}}
        if answer["body"] or body:
            for difference in differences(shape(answer["body"]), shape(body)):
                self.report(where, difference)

    def appear(self, one: Interaction) -> None:
        """A set that a deployment outside the recording has made meanwhile."""
        match = SET.match(unquote(urlsplit(one["request"]["path"]).path))
        if one["request"]["method"] == "GET" and one["response"]["status"] == 200 and match:
            parts = match[1].strip("/").split("/")
            if self.simulation.scale_sets.find(parts[1], parts[3], parts[7]) is None:
                self.plant(match[1], self.interactions[self.interactions.index(one) :])

    def publish(self, body: Any) -> None:
        """The images that there were in those days."""
        profile = ((body or {}).get("properties") or {}).get("virtualMachineProfile") or {}
        image = (profile.get("storageProfile") or {}).get("imageReference") or {}
        if image.get("publisher"):
            version = image["version"] if image.get("version") != "latest" else "1.0.0"
            self.simulation.images.publish(image["publisher"], image["offer"], image["sku"], version)

    def befall(self, one: Interaction) -> None:
        """The misfortune that Azure had at this point."""
        if one["request"]["method"] != "POST" or "manualupgrade" not in one["request"]["path"]:
            return
        link = lower(one["response"]["headers"]).get("azure-asyncoperation", "")
        guid = link.partition("/operations/")[2].partition("?")[0]
        polls = [i["response"]["body"] for i in self.interactions if guid and guid in i["request"]["path"]]
        failed = next((b["error"] for b in polls if isinstance(b, dict) and b.get("status") == "Failed"), None)
        if failed:
            self.simulation.faults.add(
                on="upgrade", effect="fail", code=failed["code"], message=failed["message"], times=99
            )

    def report(self, where: str, what: str) -> None:
        line = f"{where}: {what} {self.source}"
        reasons = {pattern for pattern, _ in ALLOWED if re.search(pattern, line)}
        self.excused |= reasons
        if not reasons:
            self.found.append(line)


def is_list_of_sets(path: str) -> bool:
    return path.partition("?")[0].rstrip("/").lower().endswith("/virtualmachinescalesets")


def kept_by(source: str) -> set[str]:
    found: set[str] = set()
    for path in SESSIONS:
        if path.stem.startswith(f"{source}__"):
            for one in json.loads(path.read_text())["interactions"]:
                found |= set(lower(one["response"]["headers"]))
    return found


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SESSIONS])
def test_the_emulator_answers_as_recorded_azure_did(path: Path) -> None:
    source = path.stem.partition("__")[0]
    session = Session(source, json.loads(path.read_text())["interactions"], kept_by(source))
    assert session.replay() == []


def test_every_allowed_difference_is_still_one() -> None:
    """A reason that excuses nothing any more is taken off the list."""
    used: set[str] = set()
    for path in SESSIONS:
        source = path.stem.partition("__")[0]
        session = Session(source, json.loads(path.read_text())["interactions"], kept_by(source))
        session.replay()
        used |= session.excused
    assert used == {pattern for pattern, _ in ALLOWED}
