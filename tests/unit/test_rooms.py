"""How the rooms of the package hang together: who imports whom, TYPE_CHECKING included."""

import ast
from collections.abc import Iterator
from pathlib import Path

import azurerm_lite

PACKAGE = Path(azurerm_lite.__file__).parent
MOST_PAIRS = 110


def modules() -> dict[str, Path]:
    """Each module of the package by its dotted name."""
    paths = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in paths.items()}


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in it."""
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{source}.{alias.name}"
                yield from [target] if target in known else [source] if source in known else []


def room(name: str) -> str:
    """The module or folder at the top of the package that a module belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def test_the_rooms_have_few_pairs_of_importer_and_imported() -> None:
    known = modules()
    pairs = {(room(name), room(target)) for name, path in known.items() for target in imports(name, path, known)}
    pairs = {pair for pair in pairs if pair[0] != pair[1]}
    assert 0 < len(pairs) <= MOST_PAIRS, sorted(pairs)
