"""The editor's JSON: whatever a page sends and Azure's models look like, a value or our own error comes of it."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import azurerm_lite as az
from azurerm_lite.emulator import Seed, serve

from . import EXAMPLES, fuzz

pytest.importorskip("werkzeug", reason="the editor needs azurerm_lite[editor]")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

over_sockets = settings(fuzz, max_examples=max(20, EXAMPLES // 20))  # each asks the emulator several times
WORDS = (
    *("action", "all", "ids", "number", "do", "version", "policy", "rollback", "capacity", "sku", "size", "image_id"),
    *(
        "instances",
        "zones",
        "checkpoints",
        "batch_by",
        "batch_size",
        "bake_seconds",
        "rollback_on_failure",
        "on_protected",
    ),
)
VALUES = ("start", "pause", "roll back", "latest", "22.04.202611120", "0", "restart", "protect", "\x00", "\u202e")
HIDING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
TEXT = st.sampled_from(VALUES) | st.text(max_size=20)
KEYS = st.sampled_from(WORDS) | st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(0, 5) | st.floats() | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=10
)
DOCUMENTS = st.dictionaries(KEYS, JSON, max_size=6)
BODIES = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | DOCUMENTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.integers(0, 60_000).map(lambda depth: b"[" * depth)
)


@fuzz
@given(BODIES)
def test_a_body_is_a_json_object_or_invalid_input(data: bytes) -> None:
    from vmsseditor import messages

    try:
        document = messages.body(data)
    except az.InvalidInput:
        return
    assert isinstance(document, dict)


@fuzz
@given(DOCUMENTS, st.sampled_from(["wishes", "action", "upgrade_wish", "order", "number"]))
def test_what_a_document_asks_for_is_read_or_refused(document: dict[str, Any], reader: str) -> None:
    from vmsseditor import messages

    try:
        getattr(messages, reader)(document)
    except az.InvalidInput:
        return


@fuzz
@given(st.text(max_size=30) | st.text("0123456789\xb2\u0660", max_size=6000))
def test_any_line_number_is_a_number(text: str) -> None:
    from vmsseditor import messages

    assert 0 <= messages.line_number(text) < 10**17


MODEL_KEYS = st.sampled_from(
    (
        *(
            "properties",
            "sku",
            "tags",
            "zones",
            "name",
            "capacity",
            "location",
            "virtualMachineProfile",
            "storageProfile",
        ),
        *("imageReference", "osDisk", "image", "uri", "publisher", "id", "upgradePolicy", "osProfile", "overprovision"),
    )
)
MODELS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MODEL_KEYS, inner, max_size=6), max_leaves=12
).filter(lambda value: isinstance(value, dict))


@fuzz
@given(MODELS, MODELS)
def test_any_model_is_shown(model: dict[str, Any], other: dict[str, Any]) -> None:
    from vmsseditor import views

    shown = [views.properties(model), views.editable(model), views.changes(model, other)]
    assert not [text for _, text in shown[0] if HIDING & set(map(category, text))]
    json.dumps(shown)


# --- over a real socket ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Posts bytes to an editor before an emulator, as a page with a session does; the status and headers come back."""
    from http.client import HTTPConnection

    from vmsseditor import app
    from vmsseditor.desk import Desk

    folder = tmp_path_factory.mktemp("journals")
    with (
        serve(Seed.build("web", capacity=3), time_scale=1000) as emulator,
        az.connect(env=emulator.env(), sleep=emulator.clock.sleep, now=emulator.clock.time) as arm,
    ):
        server, door = app.serve(Desk(arm, emulator.subscription_id, folder, pace=1000))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        session, key = door.enter(door.link().partition("token=")[2]) or ("", "")
        own = {"Cookie": f"{door.cookie}={session}", "X-Vmsseditor-Key": key, "Content-Type": "application/json"}
        own["Origin"] = f"http://127.0.0.1:{server.server_port}"

        def send(method: str, path: str, body: bytes | None) -> tuple[int, dict[str, str]]:
            connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request(method, path, body, own)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status, dict(answer.getheaders())

        yield send
        server.shutdown()
        thread.join()
        for working in threading.enumerate():  # what was begun ends before the emulator does
            if working.name.startswith(("upgrade ", "rollback ", "write ", "restart", "start", "protect")):
                working.join(60)


@over_sockets
@given(st.sampled_from(["draft", "write", "act", "plan", "upgrade"]), BODIES)
def test_no_body_is_answered_with_a_500(browser: Any, route: str, data: bytes) -> None:
    status, headers = browser("POST", f"/api/sets/web-rg/web/{route}", data)
    assert status in (200, 400, 404, 409, 412, 502), status  # 502: what Azure refused
    assert headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@over_sockets
@given(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["picture?by=", "now?after=", "choices?sku=", "plan?x=", "nothing?"]),
)
def test_no_address_is_answered_with_a_500(browser: Any, name: str, query: str, route: str) -> None:
    from urllib.parse import quote

    status, headers = browser("GET", f"/api/sets/web-rg/{quote(name, safe='')}/{route}{quote(query)}", None)
    assert status in (200, 400, 404, 405, 502), status
    assert headers["Content-Security-Policy"]
