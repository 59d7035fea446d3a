"""The language of the package, counted: names that say nothing, and pronouns for things in docstrings and comments.

A ceiling is the figure of the day when it was written, and only goes down. Lower it when you have renamed something; a
module or folder without an entry must have none at all. The aim is 0.5 % of all names.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import azurerm_lite

PACKAGE = Path(azurerm_lite.__file__).parent
EMPTY_NAMES = {
    "one", "ones", "found", "told", "said", "made", "given", "kept", "left", "own", "there", "who", "whoever", "heard",
    "meant", "asked", "seen", "wanted", "begun", "taken", "shown",
}  # fmt: skip
EMPTY_NAME_CEILINGS: dict[str, int] = {}
PRONOUNS = re.compile(r"\b(?:who|whoever|somebody|nobody|everybody|anybody)\b", re.IGNORECASE)
PRONOUN_CEILINGS = {"model": 2, "upgrade": 22}


def bound_names(source: str) -> Iterator[str]:
    """Every name that the source binds: functions, classes, parameters, variables, attributes, aliases, captures."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name


def empty_names(source: str) -> list[str]:
    return [name for name in bound_names(source) if name.strip("_") in EMPTY_NAMES]


def prose(source: str) -> Iterator[str]:
    """Docstrings and comments."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def pronouns(source: str) -> list[str]:
    return [word for text in prose(source) for word in PRONOUNS.findall(text)]


def counts(count: Callable[[str], Iterable[str]]) -> Counter[str]:
    """The findings in each module and folder at the top of the package."""
    totals: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        totals[part] += len(list(count(path.read_text(encoding="utf-8"))))
    return totals


@pytest.mark.parametrize(
    ("count", "ceilings"), [(empty_names, EMPTY_NAME_CEILINGS), (pronouns, PRONOUN_CEILINGS)], ids=["names", "pronouns"]
)
def test_no_part_is_above_its_ceiling(count: Callable[[str], list[str]], ceilings: dict[str, int]) -> None:
    totals = counts(count)
    assert {
        part: (total, ceilings.get(part, 0)) for part, total in totals.items() if total > ceilings.get(part, 0)
    } == {}


def test_names_of_every_kind_are_counted() -> None:
    source = """
import os as one
def told(found, *, kept): seen = [own for own in found]; self._left = 1
class Who: pass
try: pass
except OSError as meant: pass
match 1:
    case [*there]: pass
    case given: pass
"""
    names = ["_left", "found", "given", "kept", "meant", "one", "own", "seen", "there", "told"]
    assert sorted(empty_names(source)) == names


def test_pronouns_in_docstrings_and_comments_are_counted_and_those_in_strings_are_not() -> None:
    source = '''"""Whoever asks."""\nx = "nobody"  # somebody else\n'''
    assert pronouns(source) == ["Whoever", "somebody"]
