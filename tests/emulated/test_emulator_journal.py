"""The emulator's journal: everything that was said, logins too, on paper if asked for, and no secret in any of it."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import azurerm_lite as az
from azurerm_lite.emulator import VirtualClock, serve
from azurerm_lite.emulator.recorder import Entry, read


def secrets_of(emulator: Any) -> list[str]:
    return [emulator.client_secret, *emulator.identity.tokens, *emulator.identity.refresh_tokens, "R2VoZWltMSE="]


def upgraded(emulator: Any) -> None:
    clock: Any = emulator.clock
    web = (emulator.subscription_id, emulator.resource_group, emulator.vmss_name)
    with az.connect(env=emulator.env(), sleep=clock.sleep, now=clock.time) as arm:
        profile = {"osProfile": {"customData": "R2VoZWltMSE="}}
        az.patch_vmss(arm, *web, {"properties": {"virtualMachineProfile": profile}}).wait()


def test_logins_stand_in_it_and_no_secret_does(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    with serve(clock=VirtualClock(), record=path) as emulator:
        upgraded(emulator)
        asked, given = emulator.recorder.logins
        secrets = secrets_of(emulator)
        kept = [*emulator.recorder.logins, *emulator.recorder.entries]
    assert (asked.method, asked.path.rpartition("/")[2]) == ("GET", "openid-configuration")
    assert (given.method, given.status) == ("POST", 200)
    assert given.body["grant_type"] == "client_credentials"
    assert (given.body["client_secret"], given.response["access_token"]) == ("(secret)", "(secret)")
    text = Path(path).read_text() + repr(kept)
    assert not [one for one in secrets if one in text]


def test_a_file_holds_what_the_journal_holds_and_belongs_to_its_owner(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    for _ in range(2):  # the second is appended
        with serve(clock=VirtualClock(), record=path) as emulator:
            upgraded(emulator)
            emulator.recorder.clear()  # which the file outlives
    found = list(read(path))
    assert all(isinstance(one, Entry) for one in found)
    assert [one.method for one in found].count("PATCH") == 2
    assert found[0].time == pytest.approx(1_790_000_000.0)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    with pytest.raises(IsADirectoryError):
        serve(clock=VirtualClock(), record=str(tmp_path))


def test_the_environment_names_one_for_emulators_inside_of_programs(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with serve(clock=VirtualClock(), env={"AZURERM_LITE_EMULATOR_RECORD": str(path)}) as emulator:
        upgraded(emulator)
    assert len(list(read(str(path)))) >= 4


def test_the_command_refuses_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "azurerm_lite.emulator", "--record", str(tmp_path / "none" / "j.jsonl")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "No such file" in done.stderr


def test_an_interactive_login_leaves_no_code_in_it(azurerm_emulator: Any) -> None:
    import requests

    query = {"client_id": "c", "redirect_uri": "http://localhost:9", "code_challenge": "x", "state": "s"}
    with requests.Session() as session:
        session.trust_env, session.verify = False, azurerm_emulator.ca_file
        address = f"{azurerm_emulator.authority}/{azurerm_emulator.tenant_id}/oauth2/v2.0"
        for mode in ("form_post", "query"):
            session.get(f"{address}/authorize", params={**query, "response_mode": mode}, allow_redirects=False)
        session.post(f"{address}/devicecode", data={"client_id": "c"})
    told = json.dumps(
        [[one.query, one.body, one.response, one.response_headers] for one in azurerm_emulator.recorder.logins]
    )
    assert len(azurerm_emulator.recorder.logins) == 3
    identity = azurerm_emulator.identity
    codes = [*identity.codes, *identity.device_logins, *(one.user_code for one in identity.device_logins.values())]
    assert len(codes) == 4
    assert not [one for one in codes if one in told]
