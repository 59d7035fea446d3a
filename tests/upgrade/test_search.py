"""Every state of the machine: no floor is broken, no guard is left, no class is wrong, nothing goes round for ever.

CI explores about 200,000 states with two misfortunes on a path; AZURERM_LITE_SEARCH=long (`nox -s long`) explores all
of them, with three on a path where there are three instances. A machine with one branch less is noticed.
"""

import os

import pytest

from azurerm_lite.upgrade.rules.machine import Kind

from .search import mutants
from .search.cases import CASES, LARGER
from .search.explore import Case, Report, explore

LONG = os.environ.get("AZURERM_LITE_SEARCH") == "long"
MOST = 10**9 if LONG else 10_000 if os.environ.get("CI") else 2_500
IDS = [case.name for case in (*CASES, *LARGER)]


def told(report: Report) -> str:
    return "; ".join(f"{count} x {what}: {' -> '.join(report.examples[what])}" for what, count in report.broken.items())


@pytest.mark.parametrize("case", [*CASES, *LARGER], ids=IDS)
def test_no_promise_is_broken_whatever_happens(case: Case) -> None:
    report = explore(case, misfortunes=3 if LONG and case in CASES else 2, most=MOST)
    assert not report.broken, told(report)
    assert report.states > 500


def test_one_misfortune_is_explored_to_the_end_and_every_action_is_met() -> None:
    kinds: set[str] = set()
    for case in (*CASES, *LARGER):
        report = explore(case, misfortunes=1)
        assert report.whole
        assert not report.broken, told(report)
        kinds |= set(report.kinds)
    assert kinds >= set(Kind.__args__)


BRANCHES = mutants.branches()


@pytest.mark.parametrize("branch", BRANCHES, ids=lambda branch: "-".join(map(str, branch)))
def test_a_machine_that_never_or_always_takes_one_of_its_branches_is_noticed(branch: mutants.Branch) -> None:
    assert mutants.noticed_by_tables(mutants.mutant(branch))


def test_a_machine_with_all_of_its_branches_is_not() -> None:
    assert len(BRANCHES) > 180
    assert not mutants.noticed_by_tables(mutants.unchanged())
