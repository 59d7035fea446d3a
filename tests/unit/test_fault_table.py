"""docs/faults.md maps every row of the fault matrix, and names tests that there are."""

import ast
import functools
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "faults.md"
WANTED = range(1, 159)


def rows() -> dict[int, str]:
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", TABLE.read_text(), re.M)
    return {int(number): tests for number, tests in found}


@functools.cache
def _tests_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_is_mapped_once() -> None:
    numbers = re.findall(r"^\| (\d+) \|", TABLE.read_text(), re.M)
    assert len(numbers) == len(set(numbers))
    assert set(WANTED) <= set(rows())


def test_every_test_that_is_named_exists_and_a_row_without_one_says_why() -> None:
    for number, cell in rows().items():
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", cell)
        assert named or cell.startswith("does not apply: "), f"row {number}: {cell}"
        for file, test in named:
            assert test in _tests_of(file), f"{file}::{test}"
