"""No module imports itself by way of others, not even for types: imports under TYPE_CHECKING and in functions count."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import azurerm_lite

PACKAGE = Path(azurerm_lite.__file__).parent
MOST_PAIRS = 110


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, source: str, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in its source."""
    is_package = name in known and known[name].name == "__init__.py"
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{target}.{alias.name}"
                if submodule in known:
                    yield submodule
                elif target in known:
                    yield target


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules that reach each other by imports."""
    reach = {name: reachable(graph, name) for name in graph}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]
    }
    return [set(group) for group in groups]


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """The modules that a module imports, directly or by way of others."""
    result: set[str] = set()
    queue = [start]
    while queue:
        for target in graph.get(queue.pop(), set()) - result:
            result.add(target)
            queue.append(target)
    return result


def imports_of_all() -> dict[str, set[str]]:
    """The modules that each module of the package imports."""
    known = modules()
    return {name: set(imports(name, path.read_text(encoding="utf-8"), known)) - {name} for name, path in known.items()}


def room(name: str) -> str:
    """The module or folder at the top of the package that a module belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def test_there_is_no_circle() -> None:
    graph = imports_of_all()
    assert len(graph) > 100
    assert circles(graph) == []


def test_the_rooms_have_few_pairs_of_importer_and_imported() -> None:
    pairs = {(room(name), room(target)) for name, targets in imports_of_all().items() for target in targets}
    pairs = {pair for pair in pairs if pair[0] != pair[1]}
    assert 50 < len(pairs) <= MOST_PAIRS, sorted(pairs)


def test_imports_of_every_kind_are_seen() -> None:
    known = {name: Path(f"{name}.py") for name in ("p.a", "p.b", "p.c", "p.q.d", "p.q.e")} | {"p": Path("__init__.py")}
    source = """
from typing import TYPE_CHECKING
import p.a
from .. import b
from . import e
from ..c import something
if TYPE_CHECKING:
    from p import name
def late():
    from .e import other
"""
    assert sorted(imports("p.q.d", source, known)) == ["p", "p.a", "p.b", "p.c", "p.q.e", "p.q.e"]


def test_a_circle_is_found_whatever_its_length() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"f"}}
    assert sorted(map(sorted, circles(graph))) == [["a", "b", "c"], ["f"]]
