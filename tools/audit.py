"""Check the dependencies of the package and its extras for known vulnerabilities: `python tools/audit.py [--strict]`.

pip-audit is run for the newest versions that pyproject.toml allows and for the oldest (the floors). Dependencies that
it could not look up are printed and do not count as sound. Exit code 1: a known vulnerability; with --strict, also a
dependency that could not be looked up.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
USED = ("core", "cli", "emulator", "notebook", "editor")  # installed by users; the other extras are for development
Audit = Callable[[list[str], bool], Any]


class Findings(NamedTuple):
    """pip-audit's result: vulnerable dependencies, those that it could not look up, and the number of sound ones."""

    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]
    sound: int


# --- requirements ----------------------------------------------------------------------------------------------------


def requirements(project: Mapping[str, Any], build_system: Mapping[str, Any]) -> dict[str, list[str]]:
    """The requirements of "core", "build" and each extra, without those that name another extra of the project."""
    own_extra = re.compile(rf"{re.escape(project['name'])}\[")
    extras = {
        name: [entry for entry in entries if not own_extra.match(entry)]
        for name, entries in project["optional-dependencies"].items()
    }
    return {"core": project["dependencies"], "build": build_system["requires"], **extras}


def floor(requirement: str) -> str:
    """A requirement of the oldest version that is allowed: `x>=1.2,<2` becomes `x==1.2`."""
    return re.sub(r">=([\w.]+).*", r"==\1", requirement)


def project_requirements(root: Path = ROOT) -> dict[str, list[str]]:
    """The requirements in pyproject.toml."""
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return requirements(document["project"], document["build-system"])


def floors(required: Mapping[str, list[str]], parts: Iterable[str]) -> list[str]:
    """Requirements of the oldest versions that the parts ("core", an extra) allow."""
    return sorted({floor(entry) for part in parts for entry in required[part]})


def audits(required: Mapping[str, list[str]]) -> list[tuple[str, list[str], bool]]:
    """The runs of pip-audit: a title, requirements, and whether their dependencies are audited too.

    The floors of all extras cannot be installed together (azure-identity needs a newer msal than the core), so the
    floors of the development extras are audited without their dependencies.
    """
    newest = sorted({entry for entries in required.values() for entry in entries})
    rest = [part for part in required if part not in USED]
    return [
        ("newest versions, all extras", newest, True),
        (f"floors of {', '.join(USED)}", floors(required, USED), True),
        (f"floors of {', '.join(rest)}", floors(required, rest), False),
    ]


# --- findings --------------------------------------------------------------------------------------------------------


def parse_findings(document: Mapping[str, Any]) -> Findings:
    """The findings in pip-audit's JSON."""
    vulnerable, unknown, sound = [], [], 0
    for dependency in document["dependencies"]:
        name = f"{dependency['name']} {dependency.get('version', '')}".strip()
        if "skip_reason" in dependency:
            unknown.append(dependency["skip_reason"])
        elif vulnerabilities := dependency["vulns"]:
            vulnerable.append(f"{name}: {', '.join(map(_describe, vulnerabilities))}")
        else:
            sound += 1
    return Findings(tuple(vulnerable), tuple(unknown), sound)


def _describe(vulnerability: Mapping[str, Any]) -> str:
    fixed = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
    return f"{vulnerability['id']} (fixed in {fixed})"


def report(title: str, result: Findings) -> list[str]:
    """The result of one audit as lines of text."""
    lines = [f"NOT LOOKED UP: {reason}" for reason in result.unknown]
    lines += [f"VULNERABLE: {dependency}" for dependency in result.vulnerable]
    total = result.sound + len(result.vulnerable) + len(result.unknown)
    if not result.sound and not result.vulnerable:
        return [*lines, f"{title}: none of the {total} dependencies could be looked up"]
    known = f"{len(result.vulnerable)} with known vulnerabilities, {result.sound} without"
    rest = f"; {len(result.unknown)} could not be looked up" if result.unknown else ""
    return [*lines, f"{title}: of {total} dependencies {known}{rest}"]


def exit_code(findings: Iterable[Findings], strict: bool) -> int:
    """1 for a known vulnerability and, if `strict`, for a dependency that could not be looked up; else 0."""
    return int(any(result.vulnerable or (strict and (result.unknown or not result.sound)) for result in findings))


# --- pip-audit -------------------------------------------------------------------------------------------------------


def pip_audit(entries: list[str], resolve: bool) -> Any:
    """Run pip-audit on requirements, and with `resolve` on their dependencies; returns its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(entries), encoding="utf-8")
        line = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--format", "json"]
        line += ["--progress-spinner", "off", *([] if resolve else ["--no-deps", "--disable-pip"])]
        # On stderr it says "No known vulnerabilities found" even when it could look up nothing.
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{done.stderr}\npip-audit printed no JSON (exit code {done.returncode})")


def main(arguments: list[str], audit: Audit = pip_audit) -> int:
    parser = argparse.ArgumentParser(prog="audit", description="Check the dependencies for known vulnerabilities.")
    parser.add_argument("--strict", action="store_true", help="fail if a dependency could not be looked up")
    options, required = parser.parse_args(arguments), project_requirements()
    findings = []
    for title, entries, resolve in audits(required):
        findings.append(parse_findings(audit(entries, resolve)))
        print("\n".join(report(title, findings[-1])), flush=True)
    return exit_code(findings, options.strict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
