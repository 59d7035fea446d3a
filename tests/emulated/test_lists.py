"""Lists as streams: a page at a time, nothing asked for that is not used, memory that does not grow with the set."""

import io
import json
import tracemalloc
from itertools import islice
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

import azurerm_lite as az


def lists_asked_for(emulator: Any) -> int:
    return sum(1 for entry in emulator.recorder.entries if entry.path.endswith("/virtualMachines"))


def test_each_page_is_asked_for_when_it_is_needed_and_not_before(arm: az.Arm, azurerm_emulator: Any, web: Any) -> None:
    azurerm_emulator.simulation.settings.page_size = 6
    instances = az.iter_vmss_vms(arm, *web, expand="instanceView")
    assert lists_asked_for(azurerm_emulator) == 0
    first = list(islice(instances, 6))
    assert (len(first), lists_asked_for(azurerm_emulator)) == (6, 1)
    assert first + list(instances) == az.list_vmss_vms(arm, *web, expand="instanceView")
    assert lists_asked_for(azurerm_emulator) == 8


def test_bad_input_is_refused_before_the_first_instance_is_wanted(arm: az.Arm, web: Any) -> None:
    with pytest.raises(az.InvalidInput):
        az.iter_vmss_vms(arm, web.subscription_id, web.resource_group, "..")
    with pytest.raises(az.InvalidInput):
        az.iter_vmss_vms(arm, *web, api_version="newest")


class Pages(BaseAdapter):
    """A network that knows a list of so many pages, each of about 100 KB."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        self.left -= 1
        vms = [{"instanceId": str(number), "name": f"{self.left} {'x' * 900}"} for number in range(100)]
        page: dict[str, Any] = {"value": vms}
        if self.left:
            page["nextLink"] = f"https://management.azure.com/list?page={self.left}"
        return HTTPResponse(io.BytesIO(json.dumps(page).encode()), status=200, preload_content=False)

    def close(self) -> None: ...


def peak_bytes(pages: int) -> int:
    web = az.ScaleSet("5a6b7c8d-1111-4222-8333-9e0f1a2b3c4d", "web-rg", "web")
    instances = az.iter_vmss_vms(az.Arm("token", adapter=Pages(pages)), *web)
    tracemalloc.start()
    assert sum(1 for _ in instances) == 100 * pages
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_forty_pages_take_hardly_more_memory_than_one() -> None:
    peak_bytes(1)  # imports, caches
    assert peak_bytes(40) <= 1.2 * peak_bytes(1)
