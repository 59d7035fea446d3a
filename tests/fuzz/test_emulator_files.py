"""Seeds and faults from files: whatever they hold, a world or an error of the emulator's own comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azurerm_lite.emulator import Seed, VirtualClock
from azurerm_lite.emulator import recorder as record
from azurerm_lite.emulator.faults import Fault, FaultError, Faults
from azurerm_lite.emulator.seed import SeedError
from azurerm_lite.upgrade.rehearsal import Stage, capture

from . import EXAMPLES, documents, fuzz

with_files = settings(fuzz, suppress_health_check=[*fuzz.suppress_health_check, HealthCheck.function_scoped_fixture])
few = settings(with_files, max_examples=max(20, EXAMPLES // 10))


def captured(**options: Any) -> dict[str, Any]:
    """A scale set as GET shows it."""
    stage = Stage(Seed.build(capacity=3, **options))
    return {**capture(stage.arm, stage.address), "images": [["p", "o", "s", "1.0.0"]]}


SEEDS = [
    captured(health_source="extension"),
    captured(orchestration="Flexible", fault_domains=1),
    captured(zones=["1"]),
]


@with_files
@given(data=st.data())
def test_a_changed_seed_is_a_seed_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    document = data.draw(documents.altered(data.draw(st.sampled_from(SEEDS))))
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(document))
    try:
        Seed.load(str(path))
    except SeedError as error:
        documents.shows_nothing_hidden(error)


@few
@given(data=st.data())
def test_a_seed_that_is_taken_can_be_looked_at(data: st.DataObject) -> None:
    document = data.draw(documents.altered(data.draw(st.sampled_from(SEEDS))))
    try:
        stage = Stage(Seed.from_captured(document))
    except SeedError:
        return
    capture(stage.arm, stage.address)


@with_files
@given(data=st.binary(max_size=60) | documents.ODD_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_file_of_anything_is_read_or_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(data)
    for load, refused in ((Seed.load, SeedError), (Faults().load, FaultError)):
        try:
            load(str(path))  # type: ignore[operator]
        except refused as error:
            documents.shows_nothing_hidden(error)


# --- faults ----------------------------------------------------------------------------------------------------------

NAMES = [name for name in Fault.__dataclass_fields__ if name != "seen"]
RIGHT: dict[str, Any] = {"method": "GET", "path": "", "times": 3}
VALUES = documents.JSON | st.sampled_from([0, 1, 200, 204, 404, 503, -1, 0.5, "before", "after", "fail", "upgrade"])


@with_files
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), st.booleans())
def test_a_fault_is_refused_when_it_is_read_or_breaks_no_request(fault: dict[str, Any], plain: bool) -> None:
    """Not even one of another type is a 500 later."""
    stage = STAGE
    stage.simulation.faults.clear()
    try:
        stage.simulation.faults.add(**({**RIGHT, **fault} if plain else fault))
    except FaultError:
        return
    status: list[str] = []
    body = ask(stage, status)
    assert not status or int(status[0][:3]) == fault.get("status") or b"internal" not in body.lower()


STAGE = Stage(Seed.build(capacity=2))


def ask(stage: Stage, status: list[str]) -> bytes:
    """What the application answers to a GET of the scale set, as the server would send it."""
    from azurerm_lite.emulator.http.app import ConnectionDrop

    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": stage.address.resource_id,
        "QUERY_STRING": "api-version=2024-07-01",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": f"Bearer {stage.arm.credential.get_token('x').token}",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
    }

    def start_response(line: str, headers: list[tuple[str, str]]) -> None:
        status.append(line)
        for name, value in headers:
            assert value.encode("latin-1").isascii(), name
            assert "\n" not in value

    assert isinstance(stage.clock, VirtualClock)
    try:
        return b"".join(stage.app(environ, start_response))
    except ConnectionDrop:
        return b""


@pytest.mark.parametrize(
    "fault",
    [
        *({"status": one} for one in ("503", 5, 99, 600, True, 1.5, None, [503], 10**400)),
        *({"headers": one} for one in ("x", ["x"], {"a": 1}, {"a": "b\nc"}, {"": "x"}, {"a": "ä"}, None)),
        *({"path": one} for one in (5, None, ["x"], "\ud800")),
        *({"nth": one} for one in ("1", 0, True, 1.5, None)),
        *({"times": one} for one in ("1", -1, True, 1.5, None)),
        *({"delay": one} for one in ("1", -1, float("nan"), float("inf"), True, None)),
        *({"truncate": one} for one in ("1", -2, 1.5, True, None)),
        *({"retry_after": one} for one in ("1", -1, float("nan"), True)),
        *({"method": one} for one in (5, None, ["GET"])),
        *({"late": one} for one in ("no", 1, None)),
        *({"expire": one} for one in ("no", 0)),
        *({"garbage": one} for one in (5, b"x", None, "\udfff")),
        *({"link": one} for one in (5, None)),
        *({"role": one} for one in (5, ["Reader"])),
        *({"body": one} for one in (float("nan"), b"x", "\ud800", {1, 2})),
        *({"on": "upgrade", "effect": "fail", "instance": one} for one in (3, None)),
        *({"code": one} for one in (5, None)),
        {"nothing": 1},
    ],
)
def test_a_fault_of_another_type_is_refused_when_it_is_read(fault: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        Faults().add(**fault)


@with_files
@given(data=st.data())
def test_a_line_of_a_record_is_an_exchange_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    document = data.draw(documents.altered(RECORD) | documents.JSON)
    path = tmp_path / "record.jsonl"
    path.write_text(json.dumps(document) + "\n")
    try:
        assert len(list(record.read(str(path)))) == 1
    except record.RecordError as error:
        documents.shows_nothing_hidden(error)


RECORD = {name: {} for name in ("query", "headers", "body", "response_headers", "response")}
RECORD |= {"time": 1.0, "method": "GET", "path": "/x", "status": 200}  # type: ignore[dict-item]
