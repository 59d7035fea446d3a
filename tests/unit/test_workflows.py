"""What runs on GitHub: actions are pinned by commit, rights are the least, no credentials stay, the audit is strict."""

import re
from pathlib import Path

import pytest

GITHUB = Path(__file__).parents[2] / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTION = re.compile(r"^\s*- uses: (\S+)(.*)$", re.MULTILINE)


def steps(text: str) -> list[str]:
    """The steps of a workflow as they stand."""
    return re.split(r"^      - ", text, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_says_its_version(path: Path) -> None:
    for action, comment in ACTION.findall(path.read_text()):
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+(\.\d+)*", comment), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_the_least_and_no_credentials_stay(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^permissions:\n((?:  .+\n)+)", text, re.MULTILINE) == ["  contents: read\n"]
    assert re.findall(r"^    permissions:\n((?:      .+\n)+)", text, re.MULTILINE) in ([], ["      id-token: write\n"])
    assert "pull_request_target" not in text
    checkouts = [step for step in steps(text) if "actions/checkout@" in step]
    assert all("persist-credentials: false" in step for step in checkouts)
    for step in checkouts:
        assert "repository:" not in step or "ref: ${{ vars.ARM_DATA_REF }}" in step


def test_the_audit_fails_on_what_it_could_not_look_up() -> None:
    assert "nox -s audit -- --strict" in (GITHUB / "workflows" / "ci.yml").read_text()


def test_the_pins_are_kept_current() -> None:
    assert "package-ecosystem: github-actions" in (GITHUB / "dependabot.yml").read_text()
