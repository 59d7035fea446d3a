"""The examples as a user runs them: their own process, real HTTPS, real msal, what they print and what they leave."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import serve

from .conftest import EXAMPLES, NEW, OLD, Run

FOLDER = Path(os.environ.get("AZURERM_LITE_ARM_DATA", "/nonexistent")) / "traffic"


def exact_versions(emulator: Any) -> dict[str, str]:
    (scale_set,) = emulator.simulation.scale_sets
    images = {one.instance_id: one.document["properties"]["storageProfile"] for one in scale_set.instances.values()}
    return {one: storage["imageReference"]["exactVersion"] for one, storage in images.items()}


def test_one_command_upgrades_every_update_domain_in_turn(run_example: Run) -> None:
    done = run_example("vmssupgrade.py", "--emulator", "-n", NEW, "--all", "-y")
    assert (done.returncode, done.stderr) == (0, "")
    began = re.findall(r"^update domain (\d): upgrading (.*)$", done.stdout, re.MULTILINE)
    assert [domain for domain, _ in began] == ["0", "1", "2", "3", "4"]
    assert began[0][1] == "0, 6, 13, 19"
    assert len(re.findall(rf"^  ok     instance +\d+: {NEW}, healthy$", done.stdout, re.MULTILINE)) == 20
    assert f"done: 20 instances run {NEW}" in done.stdout
    assert "EMULATOR" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "moved"),
    [
        (["-n", NEW, "-u", "1"], {"1", "8", "14", "20"}),
        (["--newversion", NEW, "--updatedomain", "1"], {"1", "8", "14", "20"}),
        (["-n", NEW, "-i", "10"], {"10"}),
        (["--newversion", NEW, "--vmid", "10", "--verbose"], {"10"}),
        (["-n", NEW, "-l", "10,3"], {"3", "10"}),
        (["-n", NEW, "--vmlist", '["10", "3"]'], {"3", "10"}),
        (["--sku", "22_04-lts", "-n", NEW, "-i", "0"], {"0"}),
    ],
)
def test_the_options_of_the_2016_tool_do_what_they_did(
    run_example: Run, running: Any, arguments: list[str], moved: set[str]
) -> None:
    named = ["-r", running.resource_group, "-s", running.vmss_name]
    done = run_example("vmssupgrade.py", *named, *arguments, "-y", env=running.env())
    assert (done.returncode, done.stderr) == (0, "")
    assert {one for one, version in exact_versions(running).items() if version == NEW} == moved


def test_long_names_work_and_nowait_prints_a_handle(run_example: Run, running: Any) -> None:
    named = ["--resourcegroup", running.resource_group, "--vmssname", running.vmss_name]
    done = run_example("vmssupgrade.py", *named, "-n", NEW, "-i", "0", "--nowait", "--yes", env=running.env())
    assert done.returncode == 0
    handle = json.loads(done.stdout.splitlines()[-1])
    assert (handle["kind"], handle["status"]) == ("azurerm_lite.operation", "InProgress")


def test_the_version_that_is_there_already_is_not_written_again(run_example: Run, running: Any) -> None:
    named = ["-r", running.resource_group, "-s", running.vmss_name, "-n", NEW, "-y"]
    for one in ("0", "1", "1"):
        done = run_example("vmssupgrade.py", *named, "-i", one, env=running.env())
        assert (done.returncode, done.stderr) == (0, "")
    assert [entry.method for entry in running.recorder.writes()] == ["PATCH", "POST", "POST"]


def test_without_a_yes_nothing_is_changed(run_example: Run, running: Any) -> None:
    named = ["-r", running.resource_group, "-s", running.vmss_name]
    done = run_example("vmssupgrade.py", *named, "-n", NEW, "--all", env=running.env())
    assert done.returncode == 3
    assert "Nothing was changed" in done.stderr
    assert running.recorder.writes() == []


@pytest.mark.parametrize("mode", ["Automatic", "Rolling"])
def test_a_mode_that_would_upgrade_by_itself_stops_it_and_says_what_would_happen(
    run_example: Run, running: Any, mode: str
) -> None:
    (scale_set,) = running.simulation.scale_sets
    scale_set.model["properties"]["upgradePolicy"]["mode"] = mode
    named = ["-r", running.resource_group, "-s", running.vmss_name, "-n", NEW, "--all", "-y"]
    done = run_example("vmssupgrade.py", *named, env=running.env())
    assert done.returncode == 3
    assert f"the upgrade mode is {mode}: writing the model would" in done.stderr
    assert running.recorder.writes() == []
    assert run_example("vmssupgrade.py", *named, "--allow-automatic", env=running.env()).returncode == 0


FAILURES = {
    "wrong secret": ({"AZURE_CLIENT_SECRET": "wrong"}, {}, "AADSTS7000215"),
    "unknown client": ({"AZURE_CLIENT_ID": "nobody"}, {}, "AADSTS700016"),
    "unknown tenant": ({"AZURE_TENANT_ID": "00000000-0000-0000-0000-000000000000"}, {}, "refused|no token"),
    "wrong resource group": ({}, {"-r": "nix"}, "ResourceGroupNotFound: Resource group 'nix' could not be found"),
    "wrong scale set": ({}, {"-s": "nix"}, "ResourceNotFound"),
    "wrong instance id": ({}, {"-i": "999"}, "999"),
    "instance id that is none": ({}, {"-i": "a/b"}, "a/b"),
    "wrong version string": ({}, {"-n": "newest"}, "image version must be three numbers|does not exist"),
    "version that does not exist": ({}, {"-n": "9.9.9"}, "PlatformImageNotFound"),
    "unreachable host": (
        {"AZURE_RM_ENDPOINT": "https://127.0.0.1:9", "AZURE_AUTHORITY_HOST": "https://127.0.0.1:9"},
        {},
        "cannot reach https://127.0.0.1:9",
    ),
    "untrusted certificate": ({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}, {}, "is not trusted"),
    "no credentials": ({"AZURE_CLIENT_ID": "", "PATH": "/nonexistent"}, {}, "no credential found"),
}


@pytest.mark.parametrize("case", FAILURES)
@pytest.mark.parametrize("script", ["vmssupgrade.py", "upgrade_version.py"])
def test_what_goes_wrong_is_one_clear_line_and_changes_nothing(
    run_example: Run, running: Any, script: str, case: str
) -> None:
    env_changes, argument_changes, text = FAILURES[case]
    chosen = {"-r": running.resource_group, "-s": running.vmss_name, "-n": NEW, "-i": "0", **argument_changes}
    env = {**running.env(), **env_changes}
    if script == "vmssupgrade.py":
        arguments = [*(word for pair in chosen.items() for word in pair), "-y"]
    else:
        env |= {"AZURERM_LITE_RESOURCE_GROUP": chosen["-r"], "AZURERM_LITE_VMSS_NAME": chosen["-s"]}
        arguments = [chosen["-n"], chosen["-i"]]
    done = run_example(script, *arguments, env=env)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1
    assert re.search(text, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    assert running.client_secret not in done.stderr + done.stdout
    assert [entry for entry in running.recorder.writes() if entry.status < 400] == []
    assert set(exact_versions(running).values()) == {OLD}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--all"],
        ["-n", NEW],
        ["-n", NEW, "--all"],
        ["-n", NEW, "-c", "https://a/b", "--all", "--emulator"],
        ["-n", NEW, "--all", "-w", "--emulator"],
        ["--sku", "x", "--image-id", "y", "--all", "--emulator"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_sends_nothing(run_example: Run, arguments: list[str]) -> None:
    done = run_example("vmssupgrade.py", *arguments)
    assert done.returncode == 2
    assert "usage: vmssupgrade" in done.stderr


# --- the emulator as a command ---------------------------------------------------------------------------------------


@pytest.fixture
def command(journal_file: str) -> Iterator[Any]:
    """`python -m azurerm_lite.emulator` in another process; what it printed, and its end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        line = [sys.executable, "-m", "azurerm_lite.emulator", "--time-scale", "200", "--record", journal_file]
        process = subprocess.Popen([*line, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def stopped(process: "subprocess.Popen[str]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=20)


def test_upgrade_version_runs_against_the_emulators_printed_json(command: Any, run_example: Run) -> None:
    process = command()
    ready = json.loads(process.stdout.readline())
    env = {
        "AZURE_TENANT_ID": ready["tenant_id"],
        "AZURE_CLIENT_ID": ready["client_id"],
        "AZURE_CLIENT_SECRET": ready["client_secret"],
        "AZURE_AUTHORITY_HOST": ready["authority"],
        "AZURE_RM_ENDPOINT": ready["arm_endpoint"],
        "AZURE_SUBSCRIPTION_ID": ready["subscription_id"],
        "AZURERM_LITE_RESOURCE_GROUP": ready["resource_group"],
        "AZURERM_LITE_VMSS_NAME": ready["vmss_name"],
        "REQUESTS_CA_BUNDLE": ready["ca_file"],
    }
    done = run_example("upgrade_version.py", NEW, "3", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"instance 3: version {NEW}, Succeeded"
    assert stopped(process) == 0
    assert not Path(ready["ca_file"]).exists()


def test_upgrade_version_runs_against_the_emulators_env_lines(command: Any, run_example: Run) -> None:
    process = command("--env")
    lines = [process.stdout.readline() for _ in range(13)]
    env = dict(re.fullmatch(r"export ([A-Z_]+)='?([^'\n]*)'?\n", line).groups() for line in lines)  # type: ignore[union-attr]
    done = run_example("upgrade_version.py", NEW, "3", env=env)
    assert done.stdout.splitlines()[-1] == f"instance 3: version {NEW}, Succeeded"
    assert stopped(process) == 0


def tunnel(proxy: str, request: str) -> bytes:
    """The first line of what a proxy says to this request line."""
    with socket.create_connection(("127.0.0.1", int(proxy.rpartition(":")[2])), timeout=10) as raw:
        raw.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return raw.recv(65536).split(b"\r\n")[0]


def test_the_proxy_of_the_command_leads_to_azures_names_and_to_nothing_else(command: Any) -> None:
    process = command("--proxy")
    proxy = json.loads(process.stdout.readline())["proxy"]
    assert proxy.startswith("http://127.0.0.1:")
    for host in ("management.azure.com", "LOGIN.microsoftonline.com", "login.windows.net"):
        assert b" 200 " in tunnel(proxy, f"CONNECT {host}:443")
    others = ["example.com:443", "management.azure.com:80", "management.azure.com.example.com:443", "127.0.0.1:443"]
    others += ["localhost:22", "[::1]:443", "x@management.azure.com:443", "management.azure.com", ":443", ""]
    for host in others:
        assert b" 403 " in tunnel(proxy, f"CONNECT {host}"), host
    for line in ("GET http://management.azure.com/", "GET http://example.com/", "POST https://management.azure.com/"):
        assert b" 403 " in tunnel(proxy, line), line
    assert stopped(process) == 0


def test_the_command_takes_faults_from_a_file_and_enforces_limits(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps([{"method": "GET", "path": "/skus", "status": 418, "code": "Teapot"}]))
    process = command("--env", "--faults", str(file), "--throttle", "--time-scale", "1")
    lines = [process.stdout.readline() for _ in range(13)]
    env = dict(re.fullmatch(r"export ([A-Z_]+)='?([^'\n]*)'?\n", line).groups() for line in lines)  # type: ignore[union-attr]
    web = az.ScaleSet(env["AZURE_SUBSCRIPTION_ID"], env["AZURERM_LITE_RESOURCE_GROUP"], env["AZURERM_LITE_VMSS_NAME"])
    with az.connect(env=env, retry=az.Retry(attempts=1)) as arm:
        with pytest.raises(az.ArmError, match="418 Teapot"):
            az.list_vmss_skus(arm, *web)
        assert az.list_vmss_skus(arm, *web)
        headers = {"Authorization": f"Bearer {arm.credential.get_token(arm.cloud.scope).token}"}
        path = f"{web.resource_id}?api-version=2024-07-01"
        statuses = {arm._transport().send("GET", path, headers).status for _ in range(50)}
    assert statuses == {200, 429}


@pytest.mark.parametrize(
    "arguments", [["--seed", "nix"], ["--seed", "/nonexistent/x.json"], ["--time-scale", "-1"], ["--port", "999999"]]
)
def test_the_command_refuses_nonsense_in_one_line(arguments: list[str]) -> None:
    line = [sys.executable, "-m", "azurerm_lite.emulator", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_upgrade_version_is_a_screenful() -> None:
    code = (EXAMPLES / "upgrade_version.py").read_text().split('"""', 2)[2]
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) < 40


# --- real input ------------------------------------------------------------------------------------------------------


def captured(session: Path) -> dict[str, Any] | None:
    """The model and the instances of a recorded session, with a newer image version to go to."""
    interactions = json.loads(session.read_text())["interactions"]
    read = [one for one in interactions if one["request"]["method"] == "GET" and one["response"]["status"] == 200]
    lists = [
        one for one in read if re.search(r"/virtualMachines\?[^$]*(\$expand=instanceView)?$", one["request"]["path"])
    ]
    full = [one for one in lists if all("location" in vm for vm in one["response"]["body"]["value"])]
    for one in full:
        path = one["request"]["path"].partition("/virtualMachines?")[0]
        models = [m["response"]["body"] for m in read if m["request"]["path"].startswith(path + "?")]
        if models and one["response"]["body"]["value"]:
            return {"model": models[0], "instances": one["response"]["body"]}
    return None


def recorded() -> list[Any]:
    found = [pytest.param(captured(path), id=path.stem) for path in sorted(FOLDER.glob("*.json")) if captured(path)]
    return found or [pytest.param({}, id="no recorded traffic")]


@pytest.mark.usefixtures("arm_data")
@pytest.mark.parametrize("document", recorded())
def test_a_recorded_scale_set_is_upgraded_by_the_script(
    run_example: Run, tmp_path: Path, document: dict[str, Any]
) -> None:
    model = document["model"]
    storage = model["properties"]["virtualMachineProfile"]["storageProfile"]
    image = storage["imageReference"]
    seed = tmp_path / "captured.json"
    new = "99.1.202611"
    document["images"] = [[image["publisher"], image["offer"], image["sku"], new]]
    model["properties"]["upgradePolicy"] = {"mode": "Manual"}
    for instance in document["instances"]["value"]:  # some were recorded while they were created
        instance["properties"]["provisioningState"] = "Succeeded"
    seed.write_text(json.dumps(document))
    done = run_example("vmssupgrade.py", "--emulator", str(seed), "-n", new, "--all", "-y")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"done: {len(document['instances']['value'])} instances run {new}" in done.stdout


@pytest.mark.usefixtures("arm_data")
def test_enough_recorded_scale_sets_were_upgraded() -> None:
    assert len(recorded()) >= 5


@pytest.mark.usefixtures("arm_data")
@pytest.mark.parametrize("document", recorded())
def test_a_recorded_scale_set_is_shown_by_the_emulator_as_it_was(tmp_path: Path, document: dict[str, Any]) -> None:
    seed = tmp_path / "captured.json"
    seed.write_text(json.dumps(document))
    with serve(str(seed)) as emulator:
        (scale_set,) = emulator.simulation.scale_sets
        assert scale_set.model["properties"] == document["model"]["properties"]
