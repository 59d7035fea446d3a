"""Known holes in what the package and every extra depend on: `python tools/audit.py [--strict]`.

Asks pip-audit about the newest versions that pyproject.toml allows, and about the oldest (the floors). What pip-audit
could not look up is printed and never counts as sound. Exit code 1: a known hole; with --strict, also a dependency that
could not be looked up.
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
USED = ("core", "cli", "emulator", "notebook", "editor")  # what users install; the rest is for development
Ask = Callable[[list[str], bool], Any]


class Finding(NamedTuple):
    """What pip-audit says: the dependencies with holes, those that it could not look up, and how many are sound."""

    holes: tuple[str, ...]
    unknown: tuple[str, ...]
    sound: int


# --- what is asked ---------------------------------------------------------------------------------------------------


def requirements(project: Mapping[str, Any], build_system: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is needed, by where it stands: "core", "build", and each extra without the extras that it names."""
    own = re.compile(rf"{re.escape(project['name'])}\[")
    extras = {
        name: [entry for entry in entries if not own.match(entry)]
        for name, entries in project["optional-dependencies"].items()
    }
    return {"core": project["dependencies"], "build": build_system["requires"], **extras}


def floor(requirement: str) -> str:
    """The oldest version that a requirement allows, as a requirement: `x>=1.2,<2` becomes `x==1.2`."""
    return re.sub(r">=([\w.]+).*", r"==\1", requirement)


def project_requirements(root: Path = ROOT) -> dict[str, list[str]]:
    """What this project needs, as pyproject.toml says."""
    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return requirements(document["project"], document["build-system"])


def floors(needed: Mapping[str, list[str]], parts: Iterable[str]) -> list[str]:
    """The oldest versions that these parts ("core", an extra) allow."""
    return sorted({floor(entry) for part in parts for entry in needed[part]})


def questions(needed: Mapping[str, list[str]]) -> list[tuple[str, list[str], bool]]:
    """What to ask about: a title, requirements, and whether what they bring is asked about too.

    The floors of all extras cannot be installed together (azure-identity wants a newer msal than the core), so those of
    what is for development are looked up alone.
    """
    newest = sorted({entry for entries in needed.values() for entry in entries})
    rest = [part for part in needed if part not in USED]
    return [
        ("newest versions, all extras", newest, True),
        (f"floors of {', '.join(USED)}", floors(needed, USED), True),
        (f"floors of {', '.join(rest)}", floors(needed, rest), False),
    ]


# --- what is said ----------------------------------------------------------------------------------------------------


def finding(document: Mapping[str, Any]) -> Finding:
    """What stands in pip-audit's JSON."""
    holes, unknown, sound = [], [], 0
    for dependency in document["dependencies"]:
        name = f"{dependency['name']} {dependency.get('version', '')}".strip()
        if "skip_reason" in dependency:
            unknown.append(dependency["skip_reason"])
        elif vulnerabilities := dependency["vulns"]:
            holes.append(f"{name}: {', '.join(map(_shown, vulnerabilities))}")
        else:
            sound += 1
    return Finding(tuple(holes), tuple(unknown), sound)


def _shown(vulnerability: Mapping[str, Any]) -> str:
    mended = ", ".join(vulnerability.get("fix_versions") or ()) or "no version yet"
    return f"{vulnerability['id']} (mended in {mended})"


def report(what: str, result: Finding) -> list[str]:
    """Lines that say it plainly, the dependencies that could not be looked up first."""
    lines = [f"NOT LOOKED UP: {reason}" for reason in result.unknown]
    lines += [f"HOLE: {hole}" for hole in result.holes]
    total = result.sound + len(result.holes) + len(result.unknown)
    if not result.sound and not result.holes:
        return [*lines, f"{what}: nothing could be looked up, so nothing is known of these {total} dependencies"]
    known = f"{len(result.holes)} with known holes, {result.sound} without"
    rest = f"; {len(result.unknown)} could not be looked up" if result.unknown else ""
    return [*lines, f"{what}: of {total} dependencies {known}{rest}"]


def exit_code(findings: Iterable[Finding], strict: bool) -> int:
    """1 for a known hole, and where it is strict for anything that could not be looked up."""
    return int(any(result.holes or (strict and (result.unknown or not result.sound)) for result in findings))


# --- asking ----------------------------------------------------------------------------------------------------------


def pip_audit(entries: list[str], resolve: bool) -> Any:
    """pip-audit's JSON about these requirements, and where they are resolved about all that they bring."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(entries), encoding="utf-8")
        line = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--format", "json"]
        line += ["--progress-spinner", "off", *([] if resolve else ["--no-deps", "--disable-pip"])]
        # It says "No known vulnerabilities found" on stderr even where it could look up nothing.
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{done.stderr}\npip-audit said nothing that can be read (exit code {done.returncode})")


def main(arguments: list[str], ask: Ask = pip_audit) -> int:
    parser = argparse.ArgumentParser(prog="audit", description="Known holes in what the package depends on.")
    parser.add_argument("--strict", action="store_true", help="fail on what could not be looked up")
    chosen, needed = parser.parse_args(arguments), project_requirements()
    findings = []
    for what, entries, resolve in questions(needed):
        findings.append(finding(ask(entries, resolve)))
        print("\n".join(report(what, findings[-1])), flush=True)
    return exit_code(findings, chosen.strict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
