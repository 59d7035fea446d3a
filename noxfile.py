"""Everything that a contributor runs: `nox --list` shows it, `nox -s fast` is the quick one.

An interpreter that is missing is an error in CI and a skipped session elsewhere; nox says which.
"""

import os
import runpy
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
# What hardly depends on the Python or on the versions of requests and msal: long searches, loads and foreign clients.
# They run once, in the whole suite.
SLOW = (
    "tests/browser",
    "tests/docs",
    "tests/fuzz",
    "tests/property",
    "tests/progress/test_notebook.py",
    "tests/progress/test_terminal.py",
    "tests/real_clients",
    "tests/unit/test_release.py",
    "tests/upgrade/test_compare_rollouts.py",
    "tests/upgrade/test_cost.py",
    "tests/upgrade/test_engine.py",
    "tests/upgrade/test_fleet_journals.py",
    "tests/upgrade/test_floor.py",
    "tests/upgrade/test_health_truth.py",
    "tests/upgrade/test_hostile.py",
    "tests/upgrade/test_journal_trust.py",
    "tests/upgrade/test_plan_figures.py",
    "tests/upgrade/test_promises.py",
    "tests/upgrade/test_recorded_rollbacks.py",
    "tests/upgrade/test_recovery.py",
    "tests/upgrade/test_rehearsal.py",
    "tests/upgrade/test_rolling_upgrade_example.py",
    "tests/upgrade/test_search.py",
    "tests/upgrade/test_state_machine.py",
    "tests/upgrade/test_thousand.py",
    "tests/upgrade/test_two_upgrades.py",
    "tests/emulated/test_emulator.py",
    "tests/emulated/test_emulator_behaviour.py",
    "tests/emulated/test_emulator_faults.py",
    "tests/emulated/test_emulator_load.py",
    "tests/emulated/test_example_arguments.py",
    "tests/emulated/test_examples.py",
    "tests/emulated/test_habits.py",
)
SLOW_ONES = ("no_schedule_of_faults", "mode_that_would_upgrade_by_itself", "rehearsals_fit_in_two_minutes")

nox.options.default_venv_backend = "uv|venv"  # uv where it is installed: it is quicker
nox.options.error_on_missing_interpreters = bool(os.environ.get("CI"))
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["fast"]
# Tests without an emulator: tables, properties, rules of the project.
PURE = (
    "tests/heatmap",
    "tests/unit",
    "tests/upgrade/test_batches.py",
    "tests/upgrade/test_machine.py",
    "tests/upgrade/test_selection.py",
)


@nox.session(python=PYTHONS[0])
def fast(session: nox.Session) -> None:
    """Lint, types, laws and pure tests: in less than a minute, once it is installed."""
    session.install("--quiet", "--editable", ".[test,lint]")
    _lint(session)
    not_pure = ("tests/unit/test_release.py", "tests/unit/test_package.py")
    wanted = session.posargs or [*PURE, *(f"--ignore={path}" for path in not_pure)]
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses", "auto", *wanted)


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Style, types, and the laws between the rooms."""
    session.install("--quiet", "--editable", ".[test,lint]")
    _lint(session)


def _lint(session: nox.Session) -> None:
    session.run("ruff", "check", "--quiet", ".")
    session.run("ruff", "format", "--quiet", "--check", ".")
    session.run("mypy")
    session.run("pyright", "--pythonpath", str(Path(session.bin) / "python"))
    session.run("lint-imports")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """What may differ between versions of Python. `nox -s tests-3.13 -- tests/emulated` runs other tests."""
    session.install("--quiet", "--editable", ".[test]")
    _pytest(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The same on the oldest Python with the oldest dependencies that pyproject.toml allows, those of extras too."""
    audit = runpy.run_path("tools/audit.py")
    needed = audit["project_requirements"]()
    floors = audit["floors"](needed, audit["USED"])
    # azure-identity wants a newer msal than we do; only tests/real_clients need it.
    tools = [entry for entry in needed["test"] if not entry.startswith("azure-identity")]
    session.install("--quiet", *floors, *tools)
    session.install("--quiet", *floors, "--editable", ".[cli,emulator,notebook,editor]")
    _pytest(session)


@nox.session
def audit(session: nox.Session) -> None:
    """Known holes in what every extra depends on. `nox -s audit -- --strict` fails on what could not be looked up."""
    session.install("--quiet", "pip-audit", "zizmor")
    session.run("zizmor", "--offline", "--min-severity", "medium", ".github")  # holes in the workflows themselves
    session.run("python", "tools/audit.py", *session.posargs)


def _pytest(session: nox.Session) -> None:
    wanted = session.posargs or [*(f"--ignore={one}" for one in SLOW), "-k", f"not ({' or '.join(SLOW_ONES)})"]
    session.run(
        "python", "-c", "import msal, requests, sys; print(sys.version, requests.__version__, msal.__version__)"
    )
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *wanted)


@nox.session(python=PYTHONS[0])
def long(session: nox.Session) -> None:
    """The searches in full, which take hours: 20,000 examples of each fuzz and property test, all states of the
    machine, 10,000 upgrades in a rude world, 1,000 plans held against their runs.
    """
    session.install("--quiet", "--editable", ".[test]")
    session.env.update(
        AZURERM_LITE_FUZZ_EXAMPLES="20000",
        AZURERM_LITE_SEARCH="long",
        AZURERM_LITE_ROLLOUTS="10000",
        AZURERM_LITE_PLANS="1000",
    )
    searches = ("test_search.py", "test_state_machine.py", "test_plan_figures.py")
    wanted = session.posargs or ["tests/fuzz", "tests/property", *(f"tests/upgrade/{name}" for name in searches)]
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *wanted)


@nox.session(python=PYTHONS[0])
def coverage(session: nox.Session) -> None:
    """Every branch of what decides an upgrade is reached by its tables, without an emulator."""
    session.install("--quiet", "--editable", ".[test]")
    tables = ("tests/upgrade/test_machine.py", "tests/upgrade/test_batches.py")
    session.run("python", "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tables)
    session.run("python", "-m", "coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, without a warning: docs/_build."""
    session.install("--quiet", "--editable", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", "docs/_build")


@nox.session
def release(session: nox.Session) -> None:
    """Wheel and sdist in dist/, looked into by twine and check-wheel-contents."""
    # One version of setuptools, which writes its own into the wheel: the same bytes on another day, too.
    session.install("--quiet", "build==1.6.1", "setuptools==84.2.1", "twine", "check-wheel-contents")
    session.run("python", "tools/build_release.py", "dist")
    files = sorted(str(path) for path in Path("dist").iterdir())
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", *(path for path in files if path.endswith(".whl")))
