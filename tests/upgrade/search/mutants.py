"""Machines that are wrong in one place: for each branch of `decide` that returns an action, one without that branch."""

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from azurerm_lite.upgrade.rules import machine

from . import explore

_ACTION = ("Action", "Action | None")


def branches() -> list[tuple[str, int]]:
    """Function and number of each branch that returns an action: an `if` whose body ends with a return."""
    return [(name, number) for name, number, _ in _branches(_parsed())]


def _parsed() -> ast.Module:
    return ast.parse(Path(str(machine.__file__)).read_text(encoding="utf-8"))


def _branches(tree: ast.Module) -> Iterator[tuple[str, int, ast.If]]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and ast.unparse(function.returns or ast.Constant(0)) in _ACTION:
            conditions = [node for node in ast.walk(function) if isinstance(node, ast.If)]
            returning = [node for node in conditions if _returns_action(node)]
            yield from ((function.name, number, node) for number, node in enumerate(returning))


def _returns_action(node: ast.If) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Return) and last.value is not None and ast.unparse(last.value) != "None"


def mutant(name: str, number: int) -> dict[str, Any]:
    """The names of a machine that never takes this branch."""
    tree = _parsed()
    target = next(node for function, count, node in _branches(tree) if (function, count) == (name, number))
    target.test = ast.BoolOp(ast.And(), [target.test, ast.Constant(value=False)])
    module = ModuleType("azurerm_lite.upgrade.rules.machine")
    module.__package__ = "azurerm_lite.upgrade.rules"
    names: dict[str, Any] = module.__dict__
    exec(compile(ast.fix_missing_locations(tree), str(machine.__file__), "exec"), names)
    return names


@contextlib.contextmanager
def in_place(names: dict[str, Any]) -> Iterator[None]:
    """The search runs with this machine instead of the real one."""
    real = machine.decide
    setattr(machine, "decide", names["decide"])  # noqa: B010
    try:
        yield
    finally:
        setattr(machine, "decide", real)  # noqa: B010


def differs(case: explore.Case, names: dict[str, Any], expected: explore.Report, *, misfortunes: int, most: int) -> str:
    """What the search notices of this machine, "" for nothing: a broken promise, a crash, an end that is never reached
    any more, or one that was never there before."""
    with in_place(names):
        try:
            report = explore.explore(case, misfortunes=misfortunes, most=most)
        except (AttributeError, AssertionError, TypeError, KeyError, RecursionError) as error:
            return f"{type(error).__name__}: {error}"
    if report.broken:
        return next(iter(report.broken))
    if set(report.outcomes) != set(expected.outcomes):
        return f"ends: {set(report.outcomes) ^ set(expected.outcomes)}"
    if set(report.kinds) != set(expected.kinds):
        return f"actions: {set(report.kinds) ^ set(expected.kinds)}"
    return "" if report.whole != expected.whole or report.states == expected.states else "other states"
