"""docs/faults.md maps every row of the fault matrix, and names tests that there are."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "faults.md"
WANTED = range(1, 159)


def rows() -> dict[int, str]:
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", TABLE.read_text(), re.M)
    return {int(number): tests for number, tests in found}


def test_every_row_is_mapped_once() -> None:
    numbers = re.findall(r"^\| (\d+) \|", TABLE.read_text(), re.M)
    assert len(numbers) == len(set(numbers))
    assert set(WANTED) <= set(rows())


def test_every_test_that_is_named_exists_and_a_row_without_one_says_why() -> None:
    for number, cell in rows().items():
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", cell)
        assert named or cell.startswith("does not apply: "), f"row {number}: {cell}"
        for file, test in named:
            tree = ast.parse((TESTS / file).read_text())
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"
