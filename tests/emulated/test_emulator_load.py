"""The emulator under load: a thousand instances in pages, and many clients at once whose answers are not crossed."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import azurerm_lite as az
from azurerm_lite.emulator import Seed, VirtualClock, serve

# CI takes the half minute; who tries the tests for the first time need not wait for it.
SECONDS = float(os.environ.get("AZURERM_LITE_SOAK_SECONDS", "30" if os.environ.get("CI") else "5"))
CLIENTS = 32


@contextlib.contextmanager
def equal_but_for_digits(judge: Any) -> Iterator[None]:
    """A thousand instances, or turns, say the same in other digits; to look at each would take longer than they do."""
    if judge:
        judge.blind_to_digits = True
    yield
    if judge:
        judge.blind_to_digits = False


def test_a_thousand_instances_in_ten_placement_groups_are_listed_with_their_views_in_time(openapi_judge: Any) -> None:
    with serve(Seed.build(capacity=1000, page_size=100), clock=VirtualClock()) as emulator:
        web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
        with az.connect(env=emulator.env()) as arm:
            az.get_vmss(arm, *web)
            with equal_but_for_digits(openapi_judge):
                az.list_vmss_vms(arm, *web, expand="instanceView")
            emulator.recorder.listeners = []  # the same again is not for the judge: its time is not what is measured
            took = []
            for _ in range(3):
                began = time.perf_counter()
                vms = az.list_vmss_vms(arm, *web, expand="instanceView")
                took.append(time.perf_counter() - began)
        assert len({vm["properties"]["instanceView"]["placementGroupId"] for vm in vms}) == 10
        assert len({vm["instanceId"] for vm in vms}) == 1000
        assert len(emulator.recorder.find("GET", "web/virtualMachines")) == 40
        assert min(took) < 1.5, f"took {took}"


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def one_client(emulator: Any, number: int, until: float, done: list[int], wrong: list[str]) -> None:
    """Reads and writes of its own scale set, over and over; every answer must be about that one."""
    web = az.ScaleSet(emulator.subscription_id, emulator.resource_group, f"web{number}")
    try:
        with az.connect(env=emulator.env(), sleep=pause) as arm:
            turn = 0
            while time.monotonic() < until:
                turn += 1
                model = az.get_vmss(arm, *web)
                if model["name"] != web.vmss_name or model["tags"].get("turn", "0") != str(turn - 1):
                    wrong.append(f"{web.vmss_name} in turn {turn}: {json.dumps(model['tags'])}")
                az.patch_vmss(arm, *web, {"tags": {"turn": str(turn)}, "etag": model["etag"]}).wait()
                names = {vm["name"].rpartition("_")[0] for vm in az.list_vmss_vms(arm, *web, expand="instanceView")}
                if names != {web.vmss_name}:
                    wrong.append(f"{web.vmss_name} got instances of {names}")
            done.append(turn)
    except Exception as error:
        wrong.append(f"{web.vmss_name}: {error!r}")


def test_many_clients_at_once_get_no_error_and_no_answer_of_another(openapi_judge: Any) -> None:
    done: list[int] = []
    wrong: list[str] = []
    with serve(Seed.build("web0", capacity=3), time_scale=200) as emulator:
        for number in range(1, CLIENTS):
            emulator.add(Seed.build(f"web{number}", capacity=3))
        until = time.monotonic() + SECONDS
        threads = [
            threading.Thread(target=one_client, args=(emulator, number, until, done, wrong))
            for number in range(CLIENTS)
        ]
        with equal_but_for_digits(openapi_judge):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert wrong == []
    assert len(done) == CLIENTS
    assert min(done) >= 3
