"""The audit of what we depend on: what it asks, and that what could not be looked up never counts as sound."""

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "audit.py"))
SOUND: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}, {"id": "X", "fix_versions": []}],
}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("requirement", "floor"),
    [
        ("requests>=2.33,<3", "requests==2.33"),
        ("pyjwt[crypto]>=2.13,<3", "pyjwt[crypto]==2.13"),
        ("azure-mgmt-compute==39.0.0", "azure-mgmt-compute==39.0.0"),
        ("types-requests>=2.33.0.20260327", "types-requests==2.33.0.20260327"),
    ],
)
def test_the_floor_of_a_requirement(requirement: str, floor: str) -> None:
    assert AUDIT["floor"](requirement) == floor


@pytest.mark.parametrize(
    ("dependencies", "code", "strict", "texts"),
    [
        ([SOUND], 0, 0, ["t: of 1 dependencies 0 with known vulnerabilities, 1 without"]),
        ([SOUND, VULNERABLE], 1, 1, ["VULNERABLE: b 2: CVE-1 (fixed in 2.1), X (fixed in no version yet)"]),
        ([SOUND, UNKNOWN], 0, 1, ["NOT LOOKED UP: Dependency not found", "1 could not be looked up"]),
        ([UNKNOWN, UNKNOWN], 0, 1, ["none of the 2 dependencies could be looked up"]),
        ([VULNERABLE, UNKNOWN], 1, 1, ["VULNERABLE", "NOT LOOKED UP", "1 could not be looked up"]),
        ([], 0, 1, ["none of the 0 dependencies could be looked up"]),
    ],
)
def test_what_is_said_and_when_it_fails(
    capsys: pytest.CaptureFixture[str], dependencies: list[Any], code: int, strict: int, texts: list[str]
) -> None:
    findings = AUDIT["parse_findings"]({"dependencies": dependencies})
    text = "\n".join(AUDIT["report"]("t", findings))
    assert all(expected in text for expected in texts)
    assert "no known" not in text.lower()
    answers = iter([dependencies, [SOUND], [SOUND]])
    assert AUDIT["main"]([], lambda _entries, _resolve: {"dependencies": next(answers)}) == code
    answers = iter([[SOUND], [SOUND], dependencies])
    assert AUDIT["main"](["--strict"], lambda _entries, _resolve: {"dependencies": next(answers)}) == strict
    assert texts[0] in capsys.readouterr().out


def test_every_extra_is_asked_about_at_its_newest_and_at_its_oldest() -> None:
    needed = AUDIT["project_requirements"]()
    (_, newest, resolve), *oldest = AUDIT["audits"](needed)
    assert resolve
    assert {"core", "build", "emulator", "cli", "notebook", "editor", "test", "docs", "browser", "lint"} <= set(needed)
    floors = {entry for _, entries, _ in oldest for entry in entries}
    for part, entries in needed.items():
        assert set(entries) <= set(newest), part
        assert {AUDIT["floor"](entry) for entry in entries} <= floors, part
    assert oldest[0][2]  # what users install, with all that it brings
