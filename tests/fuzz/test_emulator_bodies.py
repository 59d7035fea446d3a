"""Bodies of every kind for every write of the emulator: an answer of ARM's form, and a scale set that works afterwards.

What is sent comes from the table of types, from what GET shows, and from nowhere. What is judged: the answer and the
world, never what the table says. A refused request has changed nothing; a request that was taken leaves a set that can
be read, listed and upgraded.
"""

import copy
import http.client
import io
import itertools
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from azurerm_lite.emulator import Seed, VirtualClock, schema, serve
from azurerm_lite.emulator.api import routes
from azurerm_lite.emulator.habits import USUAL
from azurerm_lite.upgrade.rehearsal import Stage

MOST_CPU_SECONDS = 2.0
WRONG: tuple[Any, ...] = (None, True, -3, 2.7, 10**400, "x", [], [None], {}, {"a": {"b": []}})
# What a type may be as well, so that values of every type stand in the place of every other.
NESTED: tuple[Any, ...] = ([[]], [{}], [1, "x"], {"a": None}, "", "\x00", 0)
# What fits many types and says nothing: it is tried everywhere.
EMPTY: tuple[Any, ...] = ([], {}, "")
RAW = (
    b'{"sku":{"capacity":NaN}}',
    b'{"sku":{"capacity":Infinity}}',
    b'{"sku":{"capacity":1e400}}',
    b'{"sku":{"capacity":' + b"9" * 5000 + b"}}",
    b'{"tags":{"x":"\\ud800"}}',
    b'{"tags":{"\\udfff":"x"}}',
    b'{"tags":{"x":"\xff"}}',
    b'{"tags":{"x":"\xed\xa0\x80"}}',
    b"[" * 100_000,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b'{"properties":' * 100 + b"{}" + b"}" * 100,
    b"nothing",
    b'{"tags":',
    b"null",
    b"7",
    b'"x"',
    b"\xef\xbb\xbf{}",
)


class Case(NamedTuple):
    method: str
    path: str  # below the scale set; "" is the set itself
    body: Any


# --- a world, and what is asked of it --------------------------------------------------------------------------------


class Bench:
    """A fresh world for each request that is taken; the same one for those that are refused."""

    def __init__(self, seed: Seed, version: str = schema.API_VERSION) -> None:
        self._seed, self._version, self.requests, self.taken = seed, version, 0, 0
        self.renew()

    def renew(self) -> None:
        self.stage = Stage(copy.deepcopy(self._seed))
        self.authorization = f"Bearer {self.stage.arm.credential.get_token('x').token}"
        self.instance = next(iter(self.stage.scale_set.instances))
        self.before = self.state()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document of one request; its answer must be ARM's, and cost little."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines: list[str] = []
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": self.stage.address.resource_id + path,
            "QUERY_STRING": f"api-version={self._version}",
            "CONTENT_LENGTH": str(len(data)),
            "CONTENT_TYPE": "application/json",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(data),
            "HTTP_HOST": "localhost",
            "HTTP_AUTHORIZATION": self.authorization,
        }
        began = time.thread_time()
        answer = b"".join(self.stage.app(environ, lambda line, _headers: lines.append(line)))
        assert time.thread_time() - began < MOST_CPU_SECONDS, (method, path, data[:200])
        status, document = int(lines[0][:3]), json.loads(answer) if answer else None
        assert status < 500, (method, path, data[:200], document)
        if status >= 400:
            assert {"code", "message"} <= set(document["error"]), document
        return status, document

    def state(self) -> tuple[Any, Any]:
        return self.ask("GET", "")[1], self.ask("GET", "/virtualMachines")[1]

    def judge(self, case: Case) -> int:
        """Send a case, and look at what it has left."""
        status, _ = self.ask(case.method, case.path, case.body)
        self.requests += 1
        if status >= 400:
            assert self.state() == self.before, case
            return status
        self.taken += 1
        self.settled()
        assert self.works(), case
        self.renew()
        return status

    def settled(self) -> None:
        self.stage.clock.advance(7 * 86400.0)
        self.ask("GET", "")

    def works(self) -> bool:
        """Whether the set can be read and listed, and an instance of it upgraded."""
        model, listed = self.state()
        assert model["properties"]["provisioningState"] in ("Succeeded", "Failed"), model
        if not listed["value"]:
            return True
        instance_id = listed["value"][0].get("instanceId") or listed["value"][0]["name"]
        status, document = self.ask("POST", "/manualupgrade", {"instanceIds": [instance_id]})
        assert status == 202, document
        self.settled()
        shown = self.ask("GET", f"/virtualMachines/{instance_id}")[1]
        assert self.ask("GET", "/skus")[0] == 200
        self.grows(len(listed["value"]) + 1)
        return bool(shown["properties"].get("latestModelApplied", True))

    def grows(self, capacity: int) -> None:
        """A larger capacity is refused, or brings instances that can be read."""
        if self.ask("PATCH", "", {"sku": {"capacity": capacity}})[0] == 200:
            self.settled()
            assert len(self.state()[1]["value"]) >= capacity


def bench(orchestration: str = "Uniform", version: str = schema.API_VERSION) -> Bench:
    domains = {"fault_domains": 1} if orchestration == "Flexible" else {}
    return Bench(Seed.build(capacity=2, orchestration=orchestration, health_source="extension", **domains), version)  # type: ignore[arg-type]


# --- bodies ----------------------------------------------------------------------------------------------------------


def paths(text: str, around: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each property that a body of this type can have: the types that lead to it, and its text. `*`: an item."""
    spec = schema.parse_spec(text)
    if spec.kind in ("list", "map"):
        yield from paths(spec.inner, (*around, "[]" if spec.kind == "list" else "{}"))
    elif spec.kind == "type" and around.count(f"<{spec.inner}>") == 0:
        for key, inner in schema.types()[spec.inner].items():
            yield (*around, key), inner
            yield from paths(inner, (*around, f"<{spec.inner}>", key))


def laid(document: Any, path: tuple[str, ...], value: Any) -> Any:
    """The document with this value at a path of the type, whose objects and lists are made where there are none."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if key[0] == "<":
        return laid(document, rest, value)
    if key == "[]":
        items = document if isinstance(document, list) else []
        return [laid(items[0] if items else None, rest, value), *items[1:]]
    fields, key = document if isinstance(document, dict) else {}, "name" if key == "{}" else key
    return {**fields, key: laid(fields.get(key), rest, value)}


def positions(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield path
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, inner in entries:
        yield from positions(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with this value at a place; `...` leaves the place out."""
    if not path:
        return value
    document = copy.copy(document)
    if len(path) == 1 and value is ...:
        del document[path[0]]
    else:
        document[path[0]] = changed(document[path[0]], path[1:], value)
    return document


def by_type(operation: str, path: str = "", base: Any = None) -> Iterator[Case]:
    """A wrong value for each property of a body, by itself or in a base; which values, turns with the property."""
    text, method = schema.body_of(operation), operation.partition(" ")[0]
    assert text is not None
    values = itertools.cycle((*WRONG, *NESTED))
    for place, _ in paths(text):
        for value in (*itertools.islice(values, 2), *(EMPTY if base else ())):
            yield Case(method, path, laid(base, place, value))


def by_document(method: str, document: Any, path: str = "") -> Iterator[Case]:
    """What GET shows with one value changed, for each of its places."""
    values = itertools.cycle((*WRONG, *NESTED))
    for place in positions(document):
        for value in itertools.islice(values, 4):
            yield Case(method, path, changed(document, place, value))


def lacking(method: str, tried: Bench) -> Iterator[Case]:
    """What GET shows, without one of its parts or with an empty one, for each of its places."""
    shown = tried.before[0]
    for place in positions(shown):
        if place and isinstance(place[-1], str):
            yield Case(method, "", changed(shown, place, ...))
        for empty in ({}, [], "x"):
            yield Case(method, "", changed(shown, place, empty))


def on_actions() -> Iterator[Case]:
    """Bodies for every action and every resource below the set and its instances."""
    bodies = (*WRONG, *NESTED, *({"instanceIds": value} for value in (*WRONG, *NESTED, ["0"], ["*", "0"], ["9"])))
    for method, rule, _, _ in routes.ARM:
        if "<vmss_name>/" in rule and method != "GET":
            path = rule.partition("<vmss_name>")[2]
            for name in ("instance_id", "name", "event_name"):
                path = path.replace(f"<{name}>", "0" if name == "instance_id" else "x")
            yield from (Case(method, path, body) for body in bodies)


def judged(tried: Bench, cases: Iterator[Case]) -> list[int]:
    return [tried.judge(case) for case in cases]


# --- tests -----------------------------------------------------------------------------------------------------------

COUNTS: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _nothing_failed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No event of the simulation has failed either, which no response would show."""
    yield
    failures = [record.getMessage() for record in caplog.get_records("call") if record.levelname == "ERROR"]
    assert failures == []


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_wrong_value_in_each_property_of_a_set(method: str) -> None:
    tried = bench()
    operation = f"{method} virtualMachineScaleSets/write"
    statuses = judged(tried, itertools.chain(by_type(operation), by_type(operation, base=tried.before[0])))
    COUNTS[method] = len(statuses)
    assert statuses.count(400) > len(statuses) / 2


@pytest.mark.parametrize("orchestration", ["Uniform", "Flexible"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_get_shows_with_one_value_changed(method: str, orchestration: str) -> None:
    tried = bench(orchestration)
    statuses = judged(tried, by_document(method, tried.before[0]))
    COUNTS[f"{method} {orchestration}"] = len(statuses)
    assert {200, 400} <= set(statuses)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_versions_of_the_api_that_are_newer_than_the_table(method: str) -> None:
    """Only types are judged there, so more is taken: words that are not known, and objects without required parts."""
    tried = bench(version="2031-01-01")
    cases = itertools.chain(
        by_type(f"{method} virtualMachineScaleSets/write", base=tried.before[0]),
        by_document(method, tried.before[0]),
        lacking(method, tried),
    )
    COUNTS[f"{method} newer"] = len(judged(tried, cases))


def test_wrong_values_in_instances_and_extensions() -> None:
    tried = bench()
    shown = tried.before[1]["value"][0]
    cases = itertools.chain(
        by_document("PUT", shown, "/virtualMachines/0"),
        by_type("PUT virtualMachineScaleSets/extensions/write", "/extensions/x"),
        by_type("PUT virtualMachineScaleSets/virtualMachines/extensions/write", "/virtualMachines/0/extensions/x"),
        by_type("PUT virtualMachineScaleSets/virtualMachines/runCommands/write", "/virtualMachines/0/runCommands/x"),
    )
    COUNTS["instances"] = len(judged(tried, cases))


def test_bodies_on_every_action() -> None:
    COUNTS["actions"] = len(judged(bench(), on_actions()))


def test_a_new_set_of_a_body_with_one_value_changed_works_or_is_refused() -> None:
    """It stands beside the set that was there, which is the one that is looked at as well."""
    tried = bench()
    shown = {key: value for key, value in tried.before[0].items() if key in ("location", "sku", "properties", "tags")}
    for case in by_document("PUT", shown):
        status, _ = tried.ask("PUT", "2", case.body)
        if status < 400:
            tried.settled()
            assert tried.ask("GET", "2/virtualMachines")[0] == 200
            assert tried.ask("POST", "2/manualupgrade", {"instanceIds": ["*"]})[0] == 202, case
            tried.settled()
            tried.renew()
        COUNTS["new"] = COUNTS.get("new", 0) + 1


def test_bytes_of_any_kind() -> None:
    tried = bench()
    for method, path in (("PUT", ""), ("PATCH", ""), ("POST", "/manualupgrade"), ("POST", "/deallocate")):
        for data in RAW:
            tried.judge(Case(method, path, data))


def test_a_connection_stays_whatever_is_sent_on_it() -> None:
    habits = [*USUAL, "unknown-property-refused"]  # what is kept is shown, and the OpenAPI does not know it
    with serve(Seed.build(capacity=2), clock=VirtualClock(), habits=habits) as emulator:
        login = f"client_id={emulator.client_id}&client_secret={emulator.client_secret}&grant_type=client_credentials"
        host, _, port = emulator.arm_endpoint.partition("//")[2].partition(":")
        trust = ssl.create_default_context(cafile=emulator.ca_file)
        connection = http.client.HTTPSConnection(host, int(port), context=trust)
        connection.request(
            "POST",
            f"/{emulator.tenant_id}/oauth2/v2.0/token",
            f"{login}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        token = json.loads(connection.getresponse().read())["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        path = (
            f"/subscriptions/{emulator.subscription_id}/resourceGroups/{emulator.resource_group}/providers"
            f"/Microsoft.Compute/virtualMachineScaleSets/{emulator.vmss_name}?api-version=2024-07-01"
        )
        connected = connection.sock
        for data in (*RAW, *(json.dumps({"sku": value}).encode() for value in (*WRONG, *NESTED))):
            connection.request("PATCH", path, data, headers)
            response = connection.getresponse()
            assert response.status < 500, data[:100]
            json.loads(response.read())
            assert connection.sock is connected, data[:100]
        connection.close()


def test_enough_was_tried() -> None:
    """The counts of the tests above; of those that were run."""
    assert len(COUNTS) < 11 or sum(COUNTS.values()) >= 2500, COUNTS
