"""The docstring of every public function: one plain sentence, the errors, the shapes of bodies, and Azure's page."""

import ast
import builtins
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import azurerm_lite
import azurerm_lite.upgrade

PACKAGES = ("azurerm_lite", *(f"azurerm_lite.{name}" for name in ("upgrade", "heatmap", "progress", "emulator")))
ENDPOINT_MODULES = ("vmss", "vmss_vm", "vmss_vms", "extensions", "rolling_upgrades", "images", "network")

# Functions whose docstrings do not pass yet. Take a name out with the rewrite of its docstring; add none.
NOT_YET = {"merge_patch", "emulator.serve"}


def exceptions(module: ModuleType) -> set[str]:
    return {name for name in dir(module) if name[0] != "_" and is_exception(getattr(module, name))}


def is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def public_names(package: ModuleType) -> list[str]:
    """`__all__`, or else the names that the package shows to type checkers."""
    if hasattr(package, "__all__"):
        return list(package.__all__)
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return [alias.asname or alias.name for node in imports for alias in node.names]


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for name in public_names(package):
            if inspect.isfunction(value := getattr(package, name)):
                yield f"{package_name}.{name}".removeprefix("azurerm_lite."), value


FUNCTIONS = dict(public_functions())
ERRORS = set[str]().union(*(exceptions(module) for module in (builtins, azurerm_lite, azurerm_lite.upgrade)))


def first_line_faults(text: str) -> Iterator[str]:
    first, *rest = text.split("\n")
    if not re.fullmatch(r"[A-Z`].*[A-Za-z0-9`)\"%]\.", first):
        yield "the first line is not a sentence that ends with a period"
    if re.search(r"[a-z`)\"]\. [A-Z`]", first):
        yield "the first line holds more than one sentence"
    if rest and rest[0]:
        yield "the first sentence goes on in a second line"


def error_faults(text: str) -> Iterator[str]:
    section = " ".join(re.findall(r"^(Raises\b.*?)(?=\n\n|\nhttps://|\Z)", text, re.S | re.M))
    words = re.findall(r"\b[A-Z][A-Za-z]+\b", section)
    if not ERRORS.intersection(words) and "nothing" not in section:
        yield "no errors are named"
    for word in words:
        if re.search(r"[a-z](Error|Failed|Timeout|Refused|Unknown)$", word) and word not in ERRORS:
            yield f"{word} is not an error"


def bodies(function: Callable[..., Any]) -> Iterator[str]:
    """The parameters that take a JSON object."""
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = str(parameter.annotation).replace("collections.abc.", "").replace("typing.", "")
        if re.search(r"Mapping\[str, Any\]|JsonDict|\bdict\[str, Any\]", annotation) and "Callable" not in annotation:
            yield name


def body_faults(function: Callable[..., Any], text: str) -> Iterator[str]:
    """A body is described by its keys, or as what another function returned."""
    for name in bodies(function):
        described = re.search(rf"`{name}`[^\n]*?:(?P<shape>.*?)(?=\n`\w+`[^\n]*:|\nRaises|\n\n|\Z)", text, re.S)
        if described is None or not re.search(r"`[^`]*\{|returned|get_vmss|list_vmss", described["shape"]):
            yield f"the shape of {name} is not stated"


def faults(name: str) -> list[str]:
    function = FUNCTIONS[name]
    text = inspect.getdoc(function) or ""
    if not text:
        return ["no docstring"]
    page = is_endpoint(function) and "https://learn.microsoft.com/" not in text
    missing_page = ["Azure's page is missing"] if page else []
    return [*first_line_faults(text), *error_faults(text), *body_faults(function, text), *missing_page]


def is_endpoint(function: Callable[..., Any]) -> bool:
    """True for the functions that send one request to Azure."""
    module = function.__module__.removeprefix("azurerm_lite.").removeprefix("endpoints.")
    return module in ENDPOINT_MODULES and "auth" in inspect.signature(function).parameters


def test_there_are_public_functions_in_every_package() -> None:
    assert len(FUNCTIONS) > 100
    for package in PACKAGES[1:]:
        assert any(name.startswith(package.removeprefix("azurerm_lite.")) for name in FUNCTIONS), package


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in NOT_YET])
def test_a_docstring_says_what_a_caller_must_know(name: str) -> None:
    assert faults(name) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("The model. And more.", "more than one sentence"),
        ("the model", "not a sentence"),
        ("Get the model\nof a scale set.", "not a sentence"),
        ("Get the model.", "no errors"),
        ("Get the model.\n\nRaises: StrangeError, InvalidInput.", "StrangeError"),
    ],
)
def test_a_fault_of_a_docstring_is_seen(text: str, fault: str) -> None:
    assert fault in " ".join([*first_line_faults(text), *error_faults(text)])


def test_a_body_without_a_shape_is_seen() -> None:
    def put(model: dict[str, Any], command: dict[str, Any]) -> None:
        """Send it.

        `model`: `{"location": ...}`. `command`: what to run.
        """

    assert list(body_faults(put, inspect.getdoc(put) or "")) == ["the shape of command is not stated"]
