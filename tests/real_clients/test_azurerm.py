"""azurerm 0.10.0 from PyPI, unmodified, by the proxy: it knows nothing but Azure's own host names."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azurerm_lite.emulator import VirtualClock, serve

from .conftest import Watch

NEW = "22.04.202611120"
# One call a line comes in, what azurerm gave for it goes out.
SCRIPT = """
import json, os, sys, azurerm
it = json.loads(os.environ["EMULATOR"])
token = azurerm.get_access_token(it["tenant_id"], it["client_id"], it["client_secret"])
for line in sys.stdin:
    name, *arguments = json.loads(line)
    given = getattr(azurerm, name)(token, it["subscription_id"], it["resource_group"], it["vmss_name"], *arguments)
    print(json.dumps(given if isinstance(given, dict) else given.status_code), flush=True)
"""
Call = Callable[..., Any]


@pytest.fixture
def python() -> str:
    """The Python of an environment that has azurerm 0.10.0."""
    found = os.environ.get("AZURERM_LITE_AZURERM_PYTHON")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("CI must set AZURERM_LITE_AZURERM_PYTHON")
        pytest.skip("AZURERM_LITE_AZURERM_PYTHON does not name a Python with azurerm 0.10.0")
    return found


@pytest.fixture
def emulator() -> Iterator[Any]:
    with serve(clock=VirtualClock(), proxy=True) as running:
        running.identity.token_seconds = 10**6
        yield running


@pytest.fixture
def azurerm(python: str, emulator: Any) -> Iterator[Call]:
    """Call a function of azurerm in its own Python; five minutes later what it has begun is over."""
    trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), emulator.ca_file)
    known = {"EMULATOR": json.dumps(emulator.ready()), "HTTPS_PROXY": emulator.proxy}
    command, pipe = [python, "-W", "ignore", "-c", SCRIPT], subprocess.PIPE
    env = {"PATH": os.environ["PATH"], **known, **trust}
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:

        def call(*what: str) -> Any:
            assert child.stdin
            assert child.stdout
            child.stdin.write(json.dumps(what) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
            assert answer or child.wait(10) is None, child.stderr and child.stderr.read()
            emulator.clock.advance(301)
            emulator.simulation.events.run_due_events()
            return json.loads(answer)

        try:
            yield call
        finally:
            child.kill()


def test_it_logs_in_looks_writes_upgrades_and_scales(azurerm: Call, emulator: Any, watch: Watch) -> None:
    model = azurerm("get_vmss")
    assert model["sku"]["capacity"] == 20
    (login,) = [one for one in emulator.recorder.logins if one.method == "POST"]
    assert (login.status, login.path.endswith("/oauth2/token")) == (200, True)  # v1, which adal speaks
    model["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]["version"] = NEW
    assert azurerm("update_vmss", json.dumps(model)) == 200
    assert watch.scale_set.image["version"] == NEW
    views = azurerm("list_vmss_vm_instance_view")["value"]
    assert sorted(v["properties"]["instanceView"]["platformUpdateDomain"] for v in views) == sorted([*range(5)] * 4)
    assert azurerm("upgrade_vmss_vms", '["0", "1"]') == 202
    assert watch.running(NEW) == {"0", "1"} == watch.interrupted()
    assert azurerm("get_vmss_instance_view")["statuses"][0]["code"] == "ProvisioningState/succeeded"
    assert azurerm("scale_vmss", "21") == 200
    assert (watch.scale_set.model["sku"]["capacity"], len(watch.there)) == (21, 21)


def test_its_power_and_reimage_calls_do_to_those_instances_what_they_say(azurerm: Call, watch: Watch) -> None:
    everyone = set(watch.scale_set.instances)
    rest = everyone - {"3"}
    stopped, deallocated = {"running": rest, "stopped": {"3"}}, {"running": rest, "deallocated": {"3"}}
    up: dict[str, set[str]] = {"running": everyone}
    for name, of, power, interrupted in [
        ("poweroff_vmss_vms", ['["3"]'], stopped, set()),
        ("start_vmss_vms", ['["3"]'], up, set()),
        ("restart_vmss_vms", ['["3"]'], up, {"3"}),
        ("reimage_vmss_vms", ['["3"]'], up, {"3"}),
        ("stopdealloc_vmss_vms", ['["3"]'], deallocated, set()),
        ("start_vmss", [], up, everyone - {"3"}),
        ("restart_vmss", [], up, everyone),
        ("poweroff_vmss", [], {"stopped": everyone}, set()),
        ("stopdealloc_vmss", [], {"deallocated": everyone}, set()),
    ]:
        assert azurerm(name, *of) == 202, name
        assert (watch.power(), watch.interrupted()) == (power, interrupted), name
    assert azurerm("delete_vmss_vms", '["3"]') == 202
    assert set(watch.scale_set.instances) == everyone - {"3"}


def test_its_reimage_brings_an_instance_the_custom_data_of_the_model(azurerm: Call, watch: Watch) -> None:
    model = azurerm("get_vmss")
    model["properties"]["virtualMachineProfile"]["osProfile"]["customData"] = "ZWNobw=="
    assert azurerm("update_vmss", json.dumps(model)) == 200
    assert azurerm("upgrade_vmss_vms", '["3", "4"]') == 202
    assert watch.made_anew() == set()
    assert azurerm("reimage_vmss_vms", '["3"]') == 202
    assert watch.made_anew() == {"3"}
