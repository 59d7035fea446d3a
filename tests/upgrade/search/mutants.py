"""Machines that are wrong in one place: each branch of `decide` that returns an action is never, or always, taken.

A branch is an `if` whose body ends with the return of an action, an action in a conditional expression, and the action
at the end of a function. The tables notice all of them in seconds; the search notices those that break a promise.
"""

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from azurerm_lite.upgrade.rules import machine

from . import explore, tables

_ACTION = ("Action", "Action | None")
_ERRORS = (AttributeError, AssertionError, TypeError, KeyError, RecursionError, ValueError, UnboundLocalError)
Branch = tuple[str, int, str]  # function, number, and whether it is never or always taken


def branches() -> list[Branch]:
    """Each branch that returns an action, and what is wrong with it."""
    places = list(_branches(_parsed()))
    never = [(name, number, "never") for name, number, _ in places]
    return [*never, *((name, number, "always") for name, number, node in places if not isinstance(node, ast.Return))]


def _parsed() -> ast.Module:
    return ast.parse(Path(str(machine.__file__)).read_text(encoding="utf-8"))


def _branches(tree: ast.Module) -> Iterator[tuple[str, int, ast.AST]]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and ast.unparse(function.returns or ast.Constant(0)) in _ACTION:
            places = [node for node in ast.walk(function) if _is_branch(node)]
            last = function.body[-1]
            ends = [last] if len(function.body) > 1 and _returns_action(last) else []
            yield from ((function.name, number, node) for number, node in enumerate([*places, *ends]))


def _is_branch(node: ast.AST) -> bool:
    if isinstance(node, ast.IfExp):
        return "Action(" in ast.unparse(node) or "_replace(kind=" in ast.unparse(node)
    return isinstance(node, ast.If) and _returns_action(node.body[-1])


def _returns_action(node: ast.stmt) -> bool:
    return isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None"


def mutant(branch: Branch) -> dict[str, Any]:
    """The names of a machine that never, or always, takes this branch."""
    tree, always = _parsed(), branch[2] == "always"
    target = next(node for name, number, node in _branches(tree) if (name, number) == branch[:2])
    if isinstance(target, ast.If | ast.IfExp):
        target.test = ast.BoolOp(ast.Or() if always else ast.And(), [target.test, ast.Constant(value=always)])
    elif isinstance(target, ast.Return):
        target.value = ast.parse("Action('end', reason='taken out')", mode="eval").body
    return _compiled(tree)


def unchanged() -> dict[str, Any]:
    """The names of the machine as it is, compiled as the mutants are."""
    return _compiled(_parsed())


def _compiled(tree: ast.Module) -> dict[str, Any]:
    module = ModuleType("azurerm_lite.upgrade.rules.machine")
    module.__package__ = "azurerm_lite.upgrade.rules"
    names: dict[str, Any] = module.__dict__
    exec(compile(ast.fix_missing_locations(tree), str(machine.__file__), "exec"), names)
    return names


def noticed_by_tables(names: dict[str, Any]) -> str:
    """The first row that this machine decides otherwise, "" for none."""
    for label, (state, snapshot, expected) in tables.rows().items():
        try:
            differences = tables.differences(names["decide"](state, snapshot, tables.NOW), expected)
        except _ERRORS as error:
            return f"{label}: {type(error).__name__}"
        if differences:
            return f"{label}: {differences[0]}"
    return ""


@contextlib.contextmanager
def in_place(names: dict[str, Any]) -> Iterator[None]:
    """The search runs with this machine instead of the real one."""
    real = machine.decide
    setattr(machine, "decide", names["decide"])  # noqa: B010
    try:
        yield
    finally:
        setattr(machine, "decide", real)  # noqa: B010


def noticed_by_search(case: explore.Case, names: dict[str, Any], *, misfortunes: int, most: int) -> str:
    """The first promise that this machine breaks in a search, or how it breaks itself; "" for neither."""
    with in_place(names):
        try:
            report = explore.explore(case, misfortunes=misfortunes, most=most)
        except _ERRORS as error:
            return f"{type(error).__name__}: {error}"
    return next(iter(report.broken), "")
