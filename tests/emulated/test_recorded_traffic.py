"""Recorded Azure traffic judges the core: bodies survive, operations end as they ended, errors say what Azure said."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

import azurerm_lite as az
from azurerm_lite._http import wire
from azurerm_lite.clouds import Cloud

FOLDER = Path(os.environ.get("AZURERM_LITE_ARM_DATA", "/nonexistent")) / "traffic"
SESSIONS = sorted(FOLDER.glob("*.json"))
pytestmark = pytest.mark.usefixtures("arm_data")
Interaction = dict[str, Any]


def key(method: str, url: str) -> tuple[str, str, str]:
    """What makes two requests the same one: not the order of the query, nor how it is quoted."""
    parts = urlsplit(url)
    return method, unquote(parts.path), str(sorted(parse_qsl(parts.query)))


class Replay(BaseAdapter):
    """The network, as recorded: answers in the order in which they came, per method and path; the last one stays."""

    def __init__(self, interactions: list[Interaction]) -> None:
        super().__init__()
        self.answers: dict[tuple[str, str, str], list[Interaction]] = {}
        self.bodies: list[bytes] = []
        for one in interactions:
            self.answers.setdefault(key(one["request"]["method"], one["request"]["path"]), []).append(one["response"])

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        assert request.url is not None
        queue = self.answers[key(request.method or "", request.url)]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        self.bodies.append(request.body if isinstance(request.body, bytes) else b"")
        body = b"" if answer["body"] is None else json.dumps(answer["body"], ensure_ascii=False).encode()
        headers = {
            k: v for k, v in answer["headers"].items() if k.lower() not in ("content-length", "content-encoding")
        }
        return HTTPResponse(io.BytesIO(body), headers=headers, status=answer["status"], preload_content=False)

    def close(self) -> None: ...


def sessions() -> list[Any]:
    return list(_sessions())


def _sessions() -> Iterator[Any]:
    for path in SESSIONS:
        yield pytest.param(json.loads(path.read_text())["interactions"], id=path.stem)
    if not SESSIONS:
        yield pytest.param([], id="no recorded traffic")


def replaying(interactions: list[Interaction]) -> tuple[az.Arm, Replay]:
    links = [
        v for one in interactions for k, v in one["response"]["headers"].items() if k.lower().startswith("azure-async")
    ]
    origins = {f"{urlsplit(link).scheme}://{urlsplit(link).netloc}" for link in links if "://" in link}
    base = origins.pop() if origins else "https://management.azure.com"
    network, clock = Replay(interactions), [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    cloud = Cloud("recorded", base, "https://login.invalid", f"{base}/.default")
    arm = az.Arm("token", cloud=cloud, adapter=network, sleep=sleep, now=lambda: clock[0], retry=az.Retry(attempts=1))
    return arm, network


def is_model(one: Interaction) -> bool:
    parts = one["request"]["path"].partition("?")[0].strip("/").split("/")
    return len(parts) == 8 and parts[6].lower() == "virtualmachinescalesets"


@pytest.mark.parametrize("interactions", sessions())
def test_every_recorded_model_survives_get_and_put_with_every_key_in_its_order(interactions: list[Interaction]) -> None:
    models = [one for one in interactions if one["request"]["method"] == "GET" and is_model(one)]
    for recorded in (one for one in models if one["response"]["status"] == 200):
        arm, network = replaying([recorded])
        address = az.ScaleSet.parse(recorded["request"]["path"].partition("?")[0])
        query = dict(parse_qsl(recorded["request"]["path"].partition("?")[2]))
        model = az.get_vmss(arm, *address, api_version=query["api-version"], expand=query.get("$expand"))
        put = {
            "request": {**recorded["request"], "method": "PUT"},
            "response": {"status": 200, "headers": {}, "body": {"id": address.resource_id}},
        }
        put["request"]["path"] = f"{address.resource_id}?api-version={query['api-version']}"
        arm, network = replaying([put])
        az.put_vmss(arm, *address, model, if_match=None, api_version=query["api-version"])
        assert json.dumps(json.loads(network.bodies[0])) == json.dumps(recorded["response"]["body"])


def long_running(interactions: list[Interaction]) -> Iterator[tuple[Interaction, list[Interaction]]]:
    """Each recorded write with a monitor, and what was read at its operation and at its resource afterwards."""
    for index, one in enumerate(interactions):
        headers = {key.lower(): value for key, value in one["response"]["headers"].items()}
        link = headers.get("azure-asyncoperation") or headers.get("location")
        if one["request"]["method"] == "GET" or one["response"]["status"] not in (200, 201, 202) or not link:
            continue
        later = interactions[index + 1 :]
        polls = [p for p in later if p["request"]["path"].startswith(urlsplit(link).path)]
        if any("monitor=true" not in p["request"]["path"] for p in polls):
            yield one, later


@pytest.mark.parametrize("interactions", sessions())
def test_every_recorded_operation_reaches_the_end_that_was_recorded(interactions: list[Interaction]) -> None:
    for write, later in long_running(interactions):
        arm, network = replaying([write, *later])
        path, _, query = write["request"]["path"].partition("?")
        options = dict(parse_qsl(query))
        version = options.pop("api-version")
        operation = arm.start(
            write["request"]["method"], path, write["request"]["body"], api_version=version, **options
        )
        monitor = operation._monitor.path
        ends = [p["response"]["body"] for p in later if p["request"]["path"] == monitor]
        wanted = next(body["status"] for body in reversed(ends) if isinstance(body, dict))
        if wanted == "InProgress":  # the recording stopped watching before it ended
            operation.poll()
            assert not operation.done
            continue
        final = key("GET", operation.path)
        if operation.method in ("PUT", "PATCH") and final not in network.answers:
            network.answers[final] = [write["response"]]  # the client that was recorded did not look at the result
        result = key("GET", operation._monitor.result_path)
        network.answers.setdefault(result, [{"status": 200, "headers": {}, "body": None}])
        while not operation.done:
            operation.poll()
        assert operation.status == wanted
        if wanted == "Failed":
            recorded = ends[-1]["error"]
            assert operation.error is not None
            assert (operation.error.code, operation.error.message) == (recorded["code"], recorded["message"])
            with pytest.raises(az.OperationFailed):
                operation.wait()


@pytest.mark.parametrize("interactions", sessions())
def test_every_recorded_error_is_decoded_to_its_code_and_message(interactions: list[Interaction]) -> None:
    for one in (one for one in interactions if one["response"]["status"] >= 400):
        arm, _ = replaying([one])
        with pytest.raises(az.ArmError) as caught:
            arm._send(one["request"]["method"], one["request"]["path"])
        recorded = one["response"]["body"]["error"]
        assert (caught.value.code, caught.value.message) == (recorded["code"], recorded["message"])
        assert caught.value.status == one["response"]["status"]
        assert caught.value.target == recorded.get("target")


def test_the_recordings_hold_what_these_tests_are_for() -> None:
    """Guards against an empty folder that would make the tests above pass by doing nothing."""
    every = [one for session in SESSIONS for one in json.loads(session.read_text())["interactions"]]
    assert len(SESSIONS) >= 28
    assert sum(1 for _ in long_running_all()) > 80
    assert sum(one["response"]["status"] >= 400 for one in every) >= 6
    assert {"Succeeded", "Failed", "Canceled"} == wire.TERMINAL


def long_running_all() -> Iterator[Interaction]:
    for session in SESSIONS:
        for write, _ in long_running(json.loads(session.read_text())["interactions"]):
            yield write
